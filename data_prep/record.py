"""Recording one's own clips of a phrase, one after the other, each checked before it is kept."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cuts import mono_cut, read_cuts, write_cuts
from data_prep.synthesise import check_phrase
from wakeword.audio import SAMPLE_RATE, SILENT_DBFS, quality, write_wav
from wakeword.errors import WakewordError
from wakeword.loudspeaker import play
from wakeword.microphone import microphone_blocks

SECONDS = 2.5
QUIET_DBFS = -35.0  # a peak below this leaves 16-bit speech near the noise of most microphones
CLIPPED = 0.001  # of the samples: a single overloaded vowel
OVER_ROOM_DB = 12.0  # the loudest 25 ms over the quietest fifth
EDGE_S, EDGE_DB = 0.05, 12.0  # speech as loud as this below the loudest, this near an end, is cut off

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

    The clips are `PHRASE_0001.wav` (`PHRASE_SPEAKER_0001.wav` with a speaker), 16 kHz mono, in `out_dir`; another call
    continues the count. `recorded_cuts.jsonl.gz` is their manifest, written after each clip. Ctrl-C, q and the end of
    the input end the session; what was kept is there.

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
    text = check_phrase(phrase)
    if n < 1 or not 0.5 <= seconds <= 30:
        raise WakewordError(f"{n} clip(s) of {seconds:g} s cannot be recorded: give 1 or more, of 0.5 to 30 s")
    if speaker is not None and not _slug(speaker):
        raise WakewordError(f"the speaker {speaker!r} has no letter or digit: give a name")
    recorder = recorder or (lambda length, ready: from_microphone(length, ready, device))
    player, say = player or play, say or (lambda line: print(line, file=sys.stderr, flush=True))
    out_dir = Path(out_dir).expanduser().resolve()
    manifest = out_dir / "recorded_cuts.jsonl.gz"
    cuts = read_cuts(manifest)
    stem = "_".join(filter(None, [_slug(text), _slug(speaker or "")]))
    first = _last_number(out_dir, stem) + 1

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
            path = out_dir / f"{stem}_{first + len(paths):04d}.wav"
            samples = _take(text, f"{len(paths) + 1}/{n}", seconds, recorder, say, sleep)
            choice = _choice(samples, player, say, input_fn)
            if choice == "keep":
                write_wav(path, samples)
                paths.append(path)
                custom = {"corpus": "recorded", "licence": "own", "split": "train"}
                cuts = [cut for cut in cuts if cut["id"] != path.stem]
                cuts.append(mono_cut(path, len(samples), text, speaker, custom))
                write_cuts(manifest, cuts)
            else:
                dropped += 1
                if choice == "quit":
                    break
    except EOFError:
        if not asked:
            raise WakewordError("no keyboard (standard input is at its end): run this in a terminal") from None
    except KeyboardInterrupt:
        say("")
    say(f"{len(paths)} clip(s) kept in {out_dir}.")
    return Recorded(paths, dropped, manifest, len(paths) == n)


def problem(samples: np.ndarray) -> str | None:
    """Why a take, float32 [samples] at 16 kHz, should be repeated, in words for who speaks; None if it is good."""
    found = quality(samples)
    if found.peak_dbfs < SILENT_DBFS:
        return "silence: is the microphone muted, or the wrong one?"
    if found.clipped_fraction > CLIPPED:
        return f"clipped ({found.clipped_fraction:.1%} of the samples): move back, or turn the gain down"
    if found.peak_dbfs < QUIET_DBFS:
        return f"too quiet (peak {found.peak_dbfs:.0f} dBFS): come nearer, or turn the gain up"
    size = SAMPLE_RATE // 40
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    loudest = level.max()
    if loudest - np.quantile(level, 0.2) < OVER_ROOM_DB:
        return "no phrase heard over the noise of the room: speak louder, or find a quieter place"
    edge = round(EDGE_S * SAMPLE_RATE / size)
    if level[:edge].max() > loudest - EDGE_DB:
        return "cut off at the start: wait for 'now'"
    if level[-edge:].max() > loudest - EDGE_DB:
        return "cut off at the end: begin sooner after 'now', or record longer clips"
    return None


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


def _slug(text: str) -> str:
    return re.sub(r"[\W_]+", "-", text.casefold()).strip("-")


def _last_number(out_dir: Path, stem: str) -> int:
    pattern = re.compile(re.escape(stem) + r"_(\d{4,})\.wav")
    try:
        found = [pattern.fullmatch(name) for name in os.listdir(out_dir)]
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise WakewordError(f"{out_dir}: cannot be listed ({error.strerror}): choose another folder") from error
    return max((int(match[1]) for match in found if match), default=0)


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
