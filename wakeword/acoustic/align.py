"""Where in its clip a phrase lies: by the acoustic model that spells it, or by energy alone.

CTC forced alignment (Graves et al. 2006, https://doi.org/10.1145/1143844.1143891): of all ways to read the phrase's
tokens in the clip, the likeliest (Viterbi). What comes before and after is free, as if the likeliest token of each
frame were wanted there: speech or noise beside the phrase does not pull at it. torchaudio's `forced_align` has no free
ends; with wildcards for them it ran into ties, of which it does not take the best.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wakeword.acoustic import tokens
from wakeword.acoustic.acoustic_file import load_acoustic
from wakeword.acoustic.encoder import AcousticModel
from wakeword.audio.levels import Span, active_span
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings, extract
from wakeword.settings import from_dict

LABELS = ("energy", "aligned")
"""What can say where a phrase lies: `levels.active_span`, or this module."""

PADDING_S = 0.2
"""Silence put before and behind a clip, in which letters that come out late still do."""
BATCH = 32

LATE_S = (0.27, 0.17)
"""How much later than the sound the phrase's first token begins and its last one ends: CTC spikes within a letter, and
late. Medians against energy of the clips of three words, on the two models that ship (benchmarks/places.py): 0.25 to
0.30 s, and 0.11 to 0.24 s, for "jarvis" the least, as its S is known before it ends."""
NEAR_S = 0.15
FEWEST = 10
"""From so many clips on that are late by `LATE_S` to within `NEAR_S`, the phrase's own medians serve instead."""

HEARD = -2.75
"""Below this confidence a phrase counts as not found: 0.5 % (`base`) and 1.1 % (`micro`) of 563 clips of three words;
asked for another of the three, 98 and 92 % of the same (benchmarks/places.py)."""
SURE = -1.5
"""From this confidence on the model is believed against energy."""
OVERLAP = 0.5
"""The two disagree if energy's stretch has less than this share of the model's span."""
STRETCH = 1.75
"""By what factor a span may be longer or shorter than the median of its phrase's: beyond, speech beside the phrase has
been taken for a part of it."""


@dataclass(frozen=True)
class Heard:
    """A phrase as the model spells it: seconds from its first token's first frame to its last one's end, from the
    clip's start (a little below 0 or beyond its end, where that is in `PADDING_S`); the model's delay is in them.

    `confidence` is the logarithm of how likely the phrase is there, beside whatever the model hears most likely in
    the same frames, divided by the tokens of the phrase: 0 at most, which says that the model spells just that.
    """

    start_s: float
    end_s: float
    confidence: float


@dataclass(frozen=True)
class Located:
    """A phrase's places in its clips, in seconds; in `aligned` of the clips the acoustic model found it.

    `reason` says why the model was not asked, where it was to be.
    """

    spans: list[Span]
    aligned: int = 0
    reason: str = ""

    def summary(self, phrase: str) -> str:
        """One line: in how many clips what found the phrase."""
        if self.reason:
            return f"'{phrase}' found by energy in all {len(self.spans)} clips: {self.reason}"
        return (
            f"'{phrase}' found by the acoustic model in {self.aligned} of {len(self.spans)} clips; "
            f"by energy in {len(self.spans) - self.aligned}"
        )


def locate(
    labels: str, clips: Sequence[Sequence[np.ndarray]], phrases: Sequence[str], acoustic: str | os.PathLike
) -> list[Located]:
    """Where each phrase lies in each of its clips.

    Args:
        labels: one of `LABELS`.
        clips: for each phrase its clips, float32 `[samples]` each.
        acoustic: an acoustic model's name or file; with "energy" it is not looked at.

    Raises:
        ModelError: no such model. WakewordError: it spells in phones, and the extra `phrase` is not installed.
    """
    energy = [[active_span(samples) for samples in said] for said in clips]
    if labels == "energy":
        return [Located(spans) for spans in energy]
    model, meta = load_acoustic(acoustic)
    settings = from_dict(FeatureSettings, meta["features"], str(acoustic))
    found = []
    for phrase, said, by_energy in zip(phrases, clips, energy, strict=True):
        try:
            ids = spelled(phrase, meta)
        except tokens.TextError as error:
            found.append(Located(by_energy, reason=str(error)))
        else:
            found.append(chosen(by_energy, align(model, settings, said, ids)))
    return found


def spelled(phrase: str, meta: dict) -> list[int]:
    """The phrase in the tokens of an acoustic model, by its meta.

    Raises:
        TextError: the model's units cannot spell it, or are none that are known.
        WakewordError: as `tokens.encode`.
    """
    units = next((name for name, symbols in tokens.UNITS.items() if list(symbols) == list(meta["tokens"])), None)
    if units is None:
        raise tokens.TextError("the acoustic model's output units are neither characters nor phones")
    return tokens.encode(phrase, units)


def align(
    model: AcousticModel, settings: FeatureSettings, clips: Sequence[np.ndarray], ids: Sequence[int]
) -> list[Heard | None]:
    """The tokens `ids` in each clip, float32 `[samples]`; None in a clip too short for them."""
    padding = round(PADDING_S * SAMPLE_RATE)
    features = [extract(np.pad(samples, padding), settings) for samples in clips]
    found: list[Heard | None] = [None] * len(clips)
    # Like lengths together: what a batch is padded with is heard too.
    order = sorted(range(len(clips)), key=lambda index: len(features[index]))
    for start in range(0, len(order), BATCH):
        batch = order[start : start + BATCH]
        lengths = [len(features[index]) // FRAMES_PER_STEP for index in batch]
        frames = np.zeros((len(batch), lengths[-1] * FRAMES_PER_STEP, settings.mels), np.float32)
        for row, (index, length) in enumerate(zip(batch, lengths, strict=True)):
            frames[row, : length * FRAMES_PER_STEP] = features[index][: length * FRAMES_PER_STEP]
        with torch.inference_mode():
            log_probs = model.log_probs(torch.from_numpy(frames)).numpy()
        for index, place in zip(batch, best_places(log_probs, lengths, ids), strict=True):
            if place is not None:
                first, last, confidence = place
                start_s, end_s = (edge * settings.frame_s - PADDING_S for edge in (first, last + 1))
                found[index] = Heard(start_s, end_s, confidence)
    return found


def best_places(
    log_probs: np.ndarray, lengths: Sequence[int], ids: Sequence[int]
) -> list[tuple[int, int, float] | None]:
    """The likeliest place of tokens among others: their first and last frame, and the confidence (see `Heard`).

    Args:
        log_probs: `[batch, frames, tokens]`, of which token `tokens.BLANK` is CTC's blank. lengths: the frames of each.

    Returns:
        None where there are too few frames: one for each token, and for a blank between two that are the same.
    """
    # The states of the path: the tokens, with a blank between each two, which may be passed over if they differ.
    states = np.full(2 * len(ids) - 1, tokens.BLANK)
    states[::2] = ids
    passed = np.zeros(len(states), bool)
    passed[2::2] = states[2::2] != states[:-2:2]
    # Beside the likeliest token of each frame, which is what the frames before and after the phrase are.
    ratios = (log_probs - log_probs.max(axis=2, keepdims=True))[:, :, states]
    scores = np.full((len(log_probs), len(states) + 2), -np.inf, np.float32)  # two that are never reached lead
    begins = np.zeros(scores.shape, np.int64)
    best, places = np.full(len(log_probs), -np.inf), np.zeros((len(log_probs), 2), np.int64)
    rows = np.arange(len(log_probs))[:, None]
    for frame in range(log_probs.shape[1]):
        before = np.stack([scores[:, 2:], scores[:, 1:-1], np.where(passed, scores[:, :-2], -np.inf)])
        start = np.stack([begins[:, 2:], begins[:, 1:-1], begins[:, :-2]])
        before[1, :, 0], start[1, :, 0] = 0, frame  # the phrase may begin anywhere
        way = before.argmax(axis=0)  # the first of equals, which for the first token is the longer one
        scores[:, 2:] = before[way, rows, np.arange(len(states))] + ratios[:, frame]
        begins[:, 2:] = start[way, rows, np.arange(len(states))]
        better = (scores[:, -1] >= best) & (scores[:, -1] > -np.inf) & (frame < np.asarray(lengths))
        best[better] = scores[better, -1]
        places[better] = np.column_stack([begins[better, -1], np.full(better.sum(), frame)])
    return [
        None if score == -np.inf else (first, last, score / len(ids))
        for (first, last), score in zip(places.tolist(), best.tolist(), strict=True)
    ]


def chosen(energy: Sequence[Span], heard: Sequence[Heard | None]) -> Located:
    """For each clip of a phrase the model's span, its delay taken off, where it can be trusted; else energy's.

    It is not where the clip is too short, the confidence is below `HEARD`, the span is `STRETCH` times longer or
    shorter than the phrase's mostly are, or most of it lies outside energy's stretch and the confidence is below
    `SURE`. A mere difference is no reason: under white noise at 5 dB, the place that energy gave in the clean clip
    taken for the truth, the end of 563 clips of three words was more than 0.2 s off in 95 % by energy, in 3 % (`base`)
    and 8 % (`micro`) by the model, in 16 % by this choice (benchmarks/places.py).

    Args:
        energy: a span for each clip, in seconds, as `levels.active_span` gives it.
        heard: what `align` gives for the same clips.
    """
    known = [index for index, each in enumerate(heard) if each is not None and each.confidence >= HEARD]
    if not known:
        return Located(list(energy))
    raw = np.array([(heard[index].start_s, heard[index].end_s) for index in known])
    by_energy = np.array([energy[index] for index in known])
    spans = raw - delay(raw, by_energy)
    length = spans[:, 1] - spans[:, 0]
    usual = np.median(length)
    shared = np.minimum(spans[:, 1], by_energy[:, 1]) - np.maximum(spans[:, 0], by_energy[:, 0])
    sure = np.array([heard[index].confidence >= SURE for index in known])
    trusted = (length < STRETCH * usual) & (length > usual / STRETCH) & (sure | (shared >= OVERLAP * length))
    found = {
        index: (max(0.0, float(start_s)), float(end_s))
        for index, (start_s, end_s), use in zip(known, spans, trusted, strict=True)
        if use
    }
    return Located([found.get(index, span) for index, span in enumerate(energy)], aligned=len(found))


def delay(raw: np.ndarray, energy: np.ndarray) -> np.ndarray:
    """Seconds, float64 `[2]`, by which the model is late at a phrase's start and at its end.

    It hangs on the model and on the phrase's first and last letters, so it is measured on the phrase's own clips: the
    medians over those that are late by `LATE_S` to within `NEAR_S`, which clips whose energy misleads mostly are not.
    With fewer than `FEWEST` such clips it is `LATE_S`.

    Args:
        raw: starts and ends with the delay in them, float64 `[clips, 2]`. energy: the same by energy.
    """
    late = raw - energy
    near = late[(np.abs(late - LATE_S) < NEAR_S).all(axis=1)]
    return np.median(near, axis=0) if len(near) >= FEWEST else np.array(LATE_S)
