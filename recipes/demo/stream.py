"""A recorded stream with the phrase here and there in running speech, and a listener without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.audio.clips import find_clips
from wakeword.audio.waveform import SAMPLE_RATE, write_wav
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.metrics import GRACE_S
from wakeword.evaluation.streams import Event, join, positive_stream

# What `wakeword listen` does, in a process in which the packages for training cannot be imported.
LISTENER = """
import sys
for name in ("torch", "torchaudio", "lhotse", "librosa", "matplotlib"):
    sys.modules[name] = None
from wakeword.cli import main
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True)
class Recorded:
    """A stream as a file: where the phrase is in it, and how long it is in seconds."""

    path: Path
    said: list[Event]
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """What a listener made of a stream: for each time the phrase was said the hit's delay (None: missed)."""

    delays_s: list[float | None]
    false_alarms_s: list[float]

    @property
    def found(self) -> int:
        return sum(delay is not None for delay in self.delays_s)


def record(positives: Path, negatives: Path, path: Path, phrases: int, seed: int = 0) -> Recorded:
    """Write a WAV in which `phrases` clips of the phrase each follow one to three pieces of other speech.

    Raises:
        WakewordError: no clip of the phrase can be read, or the file cannot be written.
    """
    rng = np.random.default_rng([seed, 11])
    phrase, other = find_clips(positives), find_clips(negatives)
    chosen = [phrase[i] for i in rng.permutation(len(phrase))[:phrases]]
    order, speech = [], iter(rng.permutation(len(other)).tolist() * 3)
    for clip in chosen:
        order += [other[next(speech, 0)] for _ in range(rng.integers(1, 4))] + [clip]
    skipped = Skipped()
    stream = join(positive_stream(order, seed=seed, skipped=skipped))
    said = [event for event in stream.events if any(event.clip is clip for clip in chosen)]
    if not said:
        raise WakewordError(f"{positives}: no clip could be put into the stream: {skipped.summary()}")
    write_wav(path, stream.samples)
    truth = [{"start_s": e.start_s, "end_s": e.end_s, "phrase_end_s": e.speech_end_s} for e in said]
    path.with_suffix(".json").write_text(json.dumps(truth, indent=1) + "\n")
    return Recorded(path, said, len(stream.samples) / SAMPLE_RATE)


def listen(model: Path, stream: Recorded, progress: Callable[[str, float], None]) -> list[float]:
    """The times of the hits, in seconds of stream, as `wakeword listen MODEL --file STREAM --json` prints them.

    Raises:
        WakewordError: the listener failed; what it said goes to standard error.
    """
    command = [sys.executable, "-c", LISTENER, "listen", str(model), "--file", str(stream.path), "--json"]
    times = []
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            times.append(float(json.loads(line)["time_s"]))
            progress("listening", min(0.999, times[-1] / stream.seconds))
    if process.returncode:
        raise WakewordError(f"{model}: the listener ended with code {process.returncode} on {stream.path}")
    progress("listening", 1.0)
    return times


def compare(times: list[float], said: list[Event]) -> Outcome:
    """Hits against truth: one from a clip's start to a second after its end finds it, every other is a false alarm."""
    left, delays = sorted(times), []
    for event in said:
        mine = [time for time in left if event.start_s <= time <= event.end_s + GRACE_S]
        delays.append(mine[0] - event.speech_end_s if mine else None)
        left = [time for time in left if time not in mine[:1]]
    return Outcome(delays, left)
