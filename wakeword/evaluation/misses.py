"""How many clips of a phrase are missed at each threshold, counted once, so that no later threshold needs the clips."""

from __future__ import annotations

import dataclasses
import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from wakeword.audio.clips import Clip
from wakeword.errors import ConfigError, ModelError, Skipped
from wakeword.evaluation.metrics import Track, candidate_thresholds, hits, wilson_interval
from wakeword.evaluation.streams import Progress, positive_stream, score_stream
from wakeword.model.curve import Point
from wakeword.settings import from_dict

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector

GRID = 1 / (1 + np.exp(-np.arange(-16.0, 16.5, 0.5)))
"""Thresholds, half a logit apart, that misses are counted at beside the clips' own maxima."""

HELD_OUT = "held out of training"

AnyPoint = TypeVar("AnyPoint", bound=Point)


@dataclass(frozen=True)
class Misses:
    """Of `clips` clips, how many are missed at rising thresholds; all of them above the last. `clips_are` says which
    clips these are, after their number.

    Raises:
        ConfigError: a table that cannot be.
    """

    clips: int = 0
    thresholds: tuple[float, ...] = ()
    missed: tuple[int, ...] = ()
    clips_are: str = HELD_OUT

    def __post_init__(self):
        rising = all(a < b for a, b in zip(self.thresholds, self.thresholds[1:], strict=False))
        if len(self.thresholds) != len(self.missed) or not rising:
            raise ConfigError("thresholds and missed must be as many, and the thresholds rise")
        if not all(0 <= count <= self.clips for count in self.missed):
            raise ConfigError(f"missed must be counts of {self.clips} clips")

    def at(self, threshold: float) -> int:
        """How many are missed at a threshold: as many as were counted at the next that is not below it."""
        index = bisect_left(self.thresholds, threshold)
        return self.missed[index] if index < len(self.missed) else self.clips

    def as_few_up_to(self, threshold: float) -> float:
        """The highest threshold at which as few are missed as at this one, or as at any above it, if fewer; this one
        where no clip is found at it or above."""
        above = self.missed[bisect_left(self.thresholds, threshold) :]
        if min(above, default=self.clips) == self.clips:
            return threshold  # else as high as `GRID` goes, where nothing would ever be heard
        return self.thresholds[max(index for index, count in enumerate(self.missed) if count <= min(above))]


def count_misses(
    detector: Detector, output: int, clips: Sequence[Clip], skipped: Skipped, progress: Progress | None = None
) -> Misses:
    """The clips of one of a detector's phrases, heard as one clean stream (`streams.positive_stream`).

    Unusable clips go to `skipped`.
    """
    pieces = positive_stream(clips, skipped=skipped)
    tracks, _ = score_stream(detector, pieces, len(clips), progress, "positives")
    return misses_of(tracks[output], detector.refractory_s)


def misses_of(track: Track, refractory_s: float) -> Misses:
    """The misses (`metrics.hits`) among a track's events, at their own maxima and at `GRID`."""
    thresholds = np.unique(np.concatenate([candidate_thresholds([], [track]), GRID]))
    thresholds = thresholds[thresholds > 0]
    missed = np.array([int(np.isnan(hits(track, threshold, refractory_s)).sum()) for threshold in thresholds])
    # Of thresholds in a row that miss as many, the highest says it for all.
    kept = np.append(np.diff(missed) != 0, True)
    clips = len(track.starts_s)
    return Misses(clips, tuple(thresholds[kept].tolist()), tuple(missed[kept].tolist()))


def held_out_misses(path: str | os.PathLike, info: dict) -> dict[str, Misses]:
    """By phrase, the misses among the clips that training held out, where a model file's meta (`info`) says them.

    Raises:
        ModelError: what it says cannot be.
    """
    card = info.get("card")
    phrases = card.get("phrases") if isinstance(card, dict) else None
    found = {}
    for phrase, about in phrases.items() if isinstance(phrases, dict) else ():
        said = about.get("held_out_misses") if isinstance(about, dict) else None
        if said is not None:
            try:
                found[phrase] = from_dict(Misses, said, "held_out_misses")
            except ConfigError as error:
                raise ModelError(f"{path}: {error}: damaged: train it again") from error
    return found


def with_misses(point: AnyPoint, misses: Misses) -> AnyPoint:
    """The point with the misses at its threshold."""
    missed = misses.at(point.threshold)
    interval = wilson_interval(missed, misses.clips)
    return dataclasses.replace(point, clips=misses.clips, missed=missed, miss_interval=interval)
