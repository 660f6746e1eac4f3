"""A phrase spoken by text-to-speech voices, to train on where recordings are few; what is without it, and what is like
it, in the same voices.

The clips are those of `data_prep.synthesise`. That synthetic speech in many voices trains a detector, and how little of
it says of people, is from J. Lin et al., "Training keyword spotters with limited and synthesized speech data", ICASSP
2020. The acoustic model listens to each clip first: a voice that reads the phrase as another word teaches that word.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.sentences import SENTENCES
from data_prep.synthesise import Synthesised, synthesise, synthesise_speech
from data_prep.takes import split_voices
from data_prep.voices import NO_VOICES, Voice, installed_voices
from wakeword.acoustic import tokens
from wakeword.acoustic.acoustic_file import load_acoustic
from wakeword.acoustic.align import align, spelled
from wakeword.audio.clips import Clip, find_clips, read_clips
from wakeword.audio.levels import active_span
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import Skipped, WakewordError
from wakeword.features.log_mel import FeatureSettings
from wakeword.settings import from_dict

SPOKEN = 200
"""Clips of a phrase that is given as a text alone."""
HELD_OUT_SHARE = 0.25
"""For each clip that trains, so many are spoken by other voices and held out."""
SENTENCES_SPOKEN = (900, 300)
"""Sentences without the phrase, where no recordings are given: some 0.7 h to train on, 0.25 h for the threshold."""
SAID = -2.0
"""Below this confidence (`align.Heard`) a voice has said something else. Of 563 recorded clips of three words, 4.3 %
(`base`) and 5.3 % (`micro`) lie below it when asked for their own; when asked for another of the three, all but 0.1 and
0.7 % (benchmarks/places.py).
"""
MOST_POOR = 0.5
"""If more than this share of the clips are not understood, it is the acoustic model that does not know the phrase."""
MARGIN_S = 0.15
"""Kept of the silence around the phrase."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Spoken:
    """Clips of a phrase to train on, float32 `[samples]` each, in `voices` voices; and, not yet read, those of
    `held_out_voices` others that are held out (none where too few voices are installed to part them)."""

    clips: list[np.ndarray]
    voices: int
    held_out: list[Clip]
    held_out_voices: int


def speak_phrase(
    phrase: str,
    folder: str | os.PathLike,
    count: int,
    seed: int,
    acoustic: str | os.PathLike,
    skipped: Skipped,
    progress: Progress,
) -> Spoken:
    """Speak `count` clips to train on, and a quarter as many in other voices.

    What a voice cannot say, and clips in which the acoustic model does not find the phrase, go to `skipped`. Clips
    that `folder` holds already are kept; the same arguments and installed voices give the same clips.

    Raises:
        WakewordError: no voice is installed, or none can say the phrase; the folder cannot be written.
    """
    training, others = voices_to_speak()
    counts = {"train": count, "held-out": max(1, round(HELD_OUT_SHARE * count)) if others else 0}
    found: dict[str, list[tuple[Clip, np.ndarray]]] = {}
    for (name, number), voices in zip(counts.items(), (training, others), strict=True):
        place = place_of(folder, name, phrase, seed, voices)
        made = synthesise(phrase, place, number, seed, voices, told_by(progress, name)) if number else None
        found[name] = understood(clips_of(made, skipped), phrase, acoustic, skipped) if made else []
    held_out = [clip for clip, _ in found["held-out"]]
    return Spoken(
        [trimmed(samples) for _, samples in found["train"]],
        len({clip.speaker for clip, _ in found["train"]}),
        held_out,
        len({clip.speaker for clip in held_out}),
    )


def speak_sentences(
    avoid: Sequence[str], folder: str | os.PathLike, seed: int, skipped: Skipped, progress: Progress
) -> tuple[list[Clip], list[Clip]]:
    """Speech without the phrases of `avoid`: to train on, and for the threshold, of other voices and sentences.

    Raises:
        WakewordError: as `speak_phrase`.
    """
    training, others = voices_to_speak()
    found = []
    for name, count, voices, first in zip(
        ("speech", "speech-dev"), SENTENCES_SPOKEN, (training, others or training), (0, 1), strict=True
    ):
        place = place_of(folder, name, *avoid, seed, voices)
        said = SENTENCES[first::2]
        made = synthesise_speech(said, place, count, seed, avoid, voices, told_by(progress, name))
        found.append(clips_of(made, skipped))
    return found[0], found[1]


def understood(
    clips: Sequence[Clip], phrase: str, acoustic: str | os.PathLike, skipped: Skipped
) -> list[tuple[Clip, np.ndarray]]:
    """The clips in which the acoustic model finds the phrase (with a confidence of `SAID`), read; others are skipped.

    All of them, if the model cannot spell the phrase, or does not find it in most of them.

    Raises:
        ModelError: no such acoustic model.
    """
    read = list(read_clips(clips, skipped))
    found = confidences([samples for _, samples in read], phrase, acoustic)
    if found is None or (found < SAID).sum() > MOST_POOR * len(found):
        return read
    for (clip, _), confidence in zip(read, found, strict=True):
        if confidence < SAID:
            skipped.add(clip.path, f"{clip.speaker} says something other than '{phrase}', by the acoustic model")
    return [each for each, confidence in zip(read, found, strict=True) if confidence >= SAID]


def confidences(clips: Sequence[np.ndarray], phrase: str, acoustic: str | os.PathLike) -> np.ndarray | None:
    """How surely an acoustic model finds the phrase in each clip, float64 `[clips]` (`align.Heard`); -inf in one too
    short for it. None if the model cannot spell the phrase.

    Raises:
        ModelError: no such acoustic model.
    """
    model, meta = load_acoustic(acoustic)
    try:
        ids = spelled(phrase, meta)
    except tokens.TextError:
        return None
    heard = align(model, from_dict(FeatureSettings, meta["features"], str(acoustic)), clips, ids)
    return np.array([-np.inf if each is None else each.confidence for each in heard])


def trimmed(samples: np.ndarray) -> np.ndarray:
    """Its loudest stretch of sound and `MARGIN_S` of what is around: speech in a room begins and ends anywhere."""
    start_s, end_s = active_span(samples)
    return samples[max(0, int((start_s - MARGIN_S) * SAMPLE_RATE)) : int((end_s + MARGIN_S) * SAMPLE_RATE)]


def voices_to_speak() -> tuple[list[Voice], list[Voice]]:
    """The voices that train, and others; none, where too few are installed to part them."""
    voices = installed_voices()
    if not voices:
        raise WakewordError(NO_VOICES)
    training, others = split_voices(voices)
    return sorted(training), [] if set(training) & set(others) else sorted(others)


def place_of(folder: str | os.PathLike, name: str, *made_of: object) -> Path:
    """A folder of its own for all that is made of something else, so that what it holds can be kept."""
    return Path(folder) / f"{name}-{zlib.crc32(repr(made_of).encode()):08x}"


def told_by(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, count: progress(f"speaking {name}", done / count)


def clips_of(made: Synthesised, skipped: Skipped) -> list[Clip]:
    """What was spoken, not yet read; what could not be said goes to `skipped`."""
    skipped.reasons.update(made.skipped.reasons)
    return find_clips(made.manifest)
