"""Going through kept clips (kept.py): each is played, and someone says whether the phrase was said."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.audio.loudspeaker import play
from wakeword.audio.waveform import read_audio
from wakeword.errors import Skipped, WakewordError
from wakeword.listener.kept import HIT, NO, SKIP, YES, Kept, decide, kept_clips

QUESTION = "  is it said at the end? y, n, s: skip (unsure, or said earlier), p: again, q: quit; then Enter"
ANSWERS = {"y": YES, "n": NO, "s": SKIP}


@dataclass(frozen=True)
class Reviewed:
    """What this session decided, by decision; how many clips are undecided still; those that could not be read."""

    decided: dict[str, int]
    left: int
    skipped: Skipped


def review(
    folder: str | os.PathLike,
    skipped_again: bool = False,
    input_fn: Callable[[str], str] = input,
    player: Callable[[np.ndarray], None] = play,
    say: Callable[[str], None] = print,
) -> Reviewed:
    """Play each clip that is undecided, the oldest first, and ask; each decision is written before the next clip.

    So another session goes on where this one ended. Ctrl-C, q and the end of the input end it. Where a clip cannot be
    played, its path is there to be heard elsewhere, and the session goes on.

    Args:
        skipped_again: ask also about the clips that were skipped before.
        input_fn: gives a line from the keyboard.
        player: plays float32 [samples], 16 kHz, and raises WakewordError where it cannot.

    Raises:
        WakewordError: as `kept.kept_clips`; there is no keyboard; a decision cannot be written.
    """
    skipped = Skipped()
    clips = kept_clips(folder, skipped)
    waiting = [
        (path, about) for path, about in clips if not about.decision or (skipped_again and about.decision == SKIP)
    ]
    decided = dict.fromkeys((YES, NO, SKIP), 0)
    done = 0
    try:
        for index, (path, about) in enumerate(waiting):
            say(f"[{index + 1}/{len(waiting)}] {described(path, about)}")
            try:
                samples = read_audio(path)
            except WakewordError as error:
                skipped.add(path, error)
                say(f"  {error}")
                continue
            answer = _answer(path, samples, player, say, input_fn)
            if answer is None:
                break
            try:
                decide(path, about, answer)
            except WakewordError:
                if path.is_file():
                    raise
                skipped.add(path, f"{path}: removed meanwhile, to make room")
                continue
            done += 1
            decided[answer] += 1
    except EOFError:
        if not done:
            raise WakewordError("no keyboard (standard input is at its end): run this in a terminal") from None
    except KeyboardInterrupt:
        say("")
    unread = sum(str(path) in skipped.reasons for path, _ in waiting)
    return Reviewed(decided, len(waiting) - done - unread, skipped)


def described(path: Path, about: Kept) -> str:
    """A clip in a line: what was heard, how surely, when, and where it lies."""
    nearly = "a hit" if about.kind == HIT else "a near miss"
    return f"'{about.phrase}', {nearly}, score {about.score:.3f} of {about.threshold:.3f}, {about.utc}: {path}"


def _answer(
    path: Path,
    samples: np.ndarray,
    player: Callable[[np.ndarray], None],
    say: Callable[[str], None],
    input_fn: Callable[[str], str],
) -> str | None:
    """A decision from the keyboard; None to end."""
    again = True
    while True:
        if again:
            try:
                player(samples)
            except WakewordError as error:
                say(f"  not played: {error}. The clip lies at {path}")
        say(QUESTION)
        answer = input_fn("").strip().lower()[:1]
        if answer == "q":
            return None
        if answer in ANSWERS:
            return ANSWERS[answer]
        again = answer == "p"
