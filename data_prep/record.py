"""Recording one's own clips of a phrase, one after the other, each checked before it is kept."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.recorded import SECONDS, ClipFolder, problem
from wakeword.audio.loudspeaker import play
from wakeword.audio.microphone import microphone_blocks
from wakeword.audio.waveform import SAMPLE_RATE, quality
from wakeword.errors import WakewordError

Recorder = Callable[[float, Callable[[], None]], np.ndarray]
Player = Callable[[np.ndarray], None]


@dataclass(frozen=True)
class Recorded:
    """The clips that this call kept, how many takes it dropped, the folder's manifest, and whether all were made."""

    paths: list[Path]
    dropped: int
    manifest: Path
    complete: bool


def record(
    phrase: str,
    out_dir: str | os.PathLike,
    n: int = 20,
    device: str | int | None = None,
    speaker: str | None = None,
    seconds: float = SECONDS,
    input_fn: Callable[[str], str] = input,
    recorder: Recorder | None = None,
    player: Player | None = None,
    say: Callable[[str], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Recorded:
    """Guide someone through `n` clips of `phrase`: count down, record, check the level, and keep, repeat or play each.

    The clips and their manifest lie in `out_dir` (`recorded.ClipFolder`); another call continues the count. Ctrl-C, q
    and the end of the input end the session; what was kept is there.

    Args:
        input_fn: gives a line from the keyboard.
        recorder: called with (seconds, ready); calls `ready()` once it hears, and gives float32 [seconds * 16000],
            16 kHz. The microphone if None.
        player: plays float32 [samples], 16 kHz. The loudspeaker if None.
        say: shows a line; on standard error if None.

    Raises:
        WakewordError: the phrase, `n`, `seconds` or the speaker's name is no good; there is no keyboard, microphone or
            PortAudio; the folder cannot be written or its manifest is damaged.
    """
    if n < 1:
        raise WakewordError(f"{n} clips cannot be recorded: give 1 or more")
    clips = ClipFolder(out_dir, phrase, speaker, seconds)
    text = clips.text
    recorder = recorder or (lambda length, ready: from_microphone(length, ready, device))
    player, say = player or play, say or (lambda line: print(line, file=sys.stderr, flush=True))

    paths: list[Path] = []
    dropped = 0
    asked = False
    try:
        say(f"{n} clips of '{text}', {seconds:g} s each. Vary distance, loudness and pace.")
        say("Ctrl-C ends; what was kept stays.")
        say("Press Enter to begin.")
        input_fn("")
        asked = True
        while len(paths) < n:
            samples = _take(text, f"{len(paths) + 1}/{n}", seconds, recorder, say, sleep)
            choice = _choice(samples, player, say, input_fn)
            if choice == "keep":
                paths.append(clips.keep(samples))
            else:
                dropped += 1
                if choice == "quit":
                    break
    except EOFError:
        if not asked:
            raise WakewordError("no keyboard (standard input is at its end): run this in a terminal") from None
    except KeyboardInterrupt:
        say("")
    say(f"{len(paths)} clip(s) kept in {clips.folder}.")
    return Recorded(paths, dropped, clips.manifest, len(paths) == n)


def from_microphone(seconds: float, ready: Callable[[], None], device: str | int | None = None) -> np.ndarray:
    """Record float32 [seconds * 16000], 16 kHz, from a microphone; `ready` is called when the first block is in.

    Raises:
        WakewordError: no PortAudio, no such microphone, or it was lost meanwhile.
    """
    wanted = round(seconds * SAMPLE_RATE)
    held: list[np.ndarray] = []
    with contextlib.closing(microphone_blocks(device)) as blocks:
        next(blocks)  # opening a device often clicks
        ready()
        while sum(map(len, held)) < wanted:
            block = next(blocks)
            if block is None:
                raise WakewordError("the microphone was lost in the middle of a clip: connect it and run this again")
            held.append(block)
    return np.concatenate(held)[:wanted]


def _take(
    text: str,
    number: str,
    seconds: float,
    recorder: Recorder,
    say: Callable[[str], None],
    sleep: Callable[[float], None],
) -> np.ndarray:
    for left in ("3", "2", "1"):
        say(f"[{number}] {left}")
        sleep(0.6)
    samples = recorder(seconds, lambda: say(f"[{number}] now: {text}"))
    return np.asarray(samples, np.float32).reshape(-1)


def _choice(samples: np.ndarray, player: Player, say: Callable[[str], None], input_fn: Callable[[str], str]) -> str:
    """Ask what to do with a take: "keep", "retry" or "quit"."""
    bad = problem(samples)
    meaning = {"k": "keep", "r": "retry", "q": "quit", "": "retry" if bad else "keep"}
    if bad:
        say(f"  {bad}")
    else:
        say(f"  good (peak {quality(samples).peak_dbfs:.0f} dBFS)")
    while True:
        say(
            "  Enter: " + ("again, k: keep all the same" if bad else "keep, r: again") + ", p: play, q: drop it and end"
        )
        answer = input_fn("").strip().lower()[:1]
        if answer == "p":
            try:
                player(samples)
            except WakewordError as error:
                say(f"  {error}")
        elif answer in meaning:
            return meaning[answer]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `wakeword record`."""
    parser.add_argument("phrase", help="what is said, e.g. 'hey computer'")
    parser.add_argument("out", help="folder for the clips; what is there is added to")
    parser.add_argument("-n", type=int, default=20, help="how many clips (default 20)")
    parser.add_argument("--device", help="the microphone's number or a part of its name (default: the system's)")
    parser.add_argument("--speaker", help="who speaks; part of the files' names and of the manifest")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"length of a clip (default {SECONDS:g})")


def run(args: argparse.Namespace) -> dict:
    """Do what the command line asks for; give what was made, ready for JSON.

    Raises:
        WakewordError: as `record`.
    """
    done = record(args.phrase, args.out, args.n, args.device, args.speaker, args.seconds, input, sleep=time.sleep)
    return {
        "clips": len(done.paths),
        "dropped": done.dropped,
        "complete": done.complete,
        "folder": str(done.manifest.parent),
        "manifest": str(done.manifest) if done.manifest.exists() else None,
        "files": [str(path) for path in done.paths],
    }
