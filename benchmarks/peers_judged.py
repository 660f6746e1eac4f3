"""Scores to operating points, and two engines' misses of the same clips to a verdict."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from wakeword.evaluation.calibrate import lowest_within
from wakeword.evaluation.metrics import Track, candidate_thresholds, count_alarms, det_curve, hits
from wakeword.training.guard import at_least_by_chance

RATES = (1.0, 0.5, 0.1)
"""False alarms per hour at which misses are told."""
CHANCE = 0.05
"""A difference that chance alone would bring more seldom than this, in either direction, is taken for one."""
FEWER, MORE, UNDECIDED = "fewer", "more", "undecided"
NOT_REACHED, OURS_NOT_REACHED = "rate not reached", "rate not reached by ours"


def only(track: Track, kept: np.ndarray) -> Track:
    """A track of negatives of which the clips `kept`, bool [clips], alone count: it scores 0 in the others."""
    clip = np.maximum(np.searchsorted(track.starts_s, track.time_s, side="right") - 1, 0)
    hours = float((track.ends_s - track.starts_s)[kept].sum()) / 3600
    return replace(track, score=np.where(kept[clip], track.score, np.float32(0)), hours=hours)


def within(counts: np.ndarray, hours: float, rate: float) -> np.ndarray:
    """Whether so many false alarms in so many hours keep a rate per hour, as `calibrate.lowest_within` has it."""
    return np.asarray(counts) <= rate * hours * (1 + 1e-9)


def judged(negatives: Track, kinds: dict[str, np.ndarray], positives: dict[str, tuple[Track, np.ndarray]]) -> dict:
    """Operating points at thresholds of hindsight, and the DET curves.

    Args:
        kinds: of negatives, by name: which of the clips they are, bool [clips].
        positives: by condition, a track and which of its clips have no copy in training, bool [events].

    Returns:
        clips, their number; fresh, whether each has no copy; kinds: for each kind of negatives its hours and points,
        for each of `RATES` the threshold, its false_alarms, whether it is reached (False if only a threshold above
        every score keeps the rate), and which clips are missed, by condition their indices; det: over all negatives by
        condition fa_per_hour and miss_rate, ascending in threshold.
    """
    fresh = next(iter(positives.values()))[1]
    tracks = {name: track for name, (track, _) in positives.items()}
    return {
        "clips": len(fresh),
        "fresh": fresh.tolist(),
        "kinds": {name: points(only(negatives, kept), tracks) for name, kept in kinds.items()},
        "det": {name: corners(track, negatives) for name, track in tracks.items()},
    }


def points(negatives: Track, positives: dict[str, Track]) -> dict:
    """The hours of negatives, and an operating point for each of `RATES`."""
    found = []
    for rate in RATES:
        threshold = lowest_within([negatives], negatives.hours, rate)
        missed = {name: np.flatnonzero(np.isnan(hits(track, threshold))) for name, track in positives.items()}
        found.append(
            {
                "asked_per_hour": rate,
                "threshold": threshold,
                "reached": threshold <= 1.0,
                "false_alarms": int(count_alarms([negatives], [threshold])[0]),
                "missed": {name: indices.tolist() for name, indices in missed.items()},
            }
        )
    return {"hours": negatives.hours, "points": found}


def corners(positives: Track, negatives: Track) -> dict[str, list[float]]:
    """The points of a DET curve where it turns."""
    thresholds = candidate_thresholds([negatives], [positives])
    # At 0 an engine that is silent would fire, once.
    det = det_curve([positives], [negatives], thresholds[thresholds > 0])
    kept = np.ones(len(det.thresholds), bool)
    kept[:-1] = (np.diff(det.miss_rate) != 0) | (np.diff(det.fa_per_hour) != 0)
    return {"fa_per_hour": det.fa_per_hour[kept].tolist(), "miss_rate": det.miss_rate[kept].tolist()}


def point_of(result: dict, kind: str, rate: float) -> dict:
    """What `judged` found for a kind of negatives at a rate."""
    return next(point for point in result["kinds"][kind]["points"] if point["asked_per_hour"] == rate)


def missed_of(point: dict, condition: str, kept: Sequence[bool]) -> set[int]:
    """The clips that are missed in a condition, of those that are `kept`."""
    return {index for index in point["missed"][condition] if kept[index]}


@dataclass(frozen=True)
class Beside:
    """One of our models beside another engine, on the same clips of a word, in a condition and at a rate.

    Attributes:
        ours, theirs: how many clips each misses; only_ours, only_theirs: how many it misses and the other finds.
        chance: how likely so uneven a division of these is, or a more uneven one, if neither is better (the sign test,
            two-sided: McNemar, Psychometrika 12, 1947).
        verdict: whether ours misses fewer.
    """

    word: str
    engine: str
    condition: str
    ours: int
    theirs: int
    only_ours: int
    only_theirs: int
    chance: float
    verdict: str


def beside(results: Sequence[dict], name: str, others: Collection[str], kind: str, rate: float, fresh: bool = False):
    """Our model `name` beside each of the `others`, an iterator of `Beside` by word, engine and condition.

    Args:
        results: what `judged` gives, each with its `word` and `engine`.
        fresh: on the clips without a copy in training alone.
    """
    for ours, theirs in same_word(results, name, others):
        yield from _beside(ours, theirs, kind, rate, fresh)


def same_word(results: Sequence[dict], name: str, others: Collection[str]) -> Iterator[tuple[dict, dict]]:
    """The results of our model `name`, each with those of the `others` on its word."""
    for ours in (result for result in results if result["engine"] == name):
        for theirs in results:
            if theirs["word"] == ours["word"] and theirs["engine"] in others:
                yield ours, theirs


def _beside(ours: dict, theirs: dict, kind: str, rate: float, fresh: bool) -> Iterator[Beside]:
    kept = ours["fresh"] if fresh else [True] * ours["clips"]
    point, other = point_of(ours, kind, rate), point_of(theirs, kind, rate)
    for condition in point["missed"]:
        missed, by_them = (missed_of(each, condition, kept) for each in (point, other))
        counts = len(missed - by_them), len(by_them - missed)
        chance = min(1.0, 2 * at_least_by_chance(max(counts), sum(counts)))
        verdict = UNDECIDED if chance >= CHANCE else FEWER if counts[0] < counts[1] else MORE
        if not (point["reached"] and other["reached"]):
            verdict = NOT_REACHED if point["reached"] else OURS_NOT_REACHED
        named = ours["word"], theirs["engine"], condition
        yield Beside(*named, len(missed), len(by_them), *counts, chance, verdict)
