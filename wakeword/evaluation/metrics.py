"""Miss rate against false alarms per hour, with intervals, from scores that were computed once.

A detection system is judged by two errors at one threshold: the share of phrases missed and the false alarms in an
hour of other audio. Their trade-off over all thresholds is the DET curve (Martin et al., "The DET curve in assessment
of detection task performance", Eurospeech 1997), here with logarithmic axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from wakeword.detector.trigger import Trigger
from wakeword.features.log_mel import FRAME_S
from wakeword.model.budget import in_words, three_digits

GRACE_S = 1.0  # a detection this long after its clip's end still counts


@dataclass
class Track:
    """The scores of one stream.

    Attributes:
        time_s: float64 [frames], seconds of stream heard when the score is known.
        score: float [frames].
        hours: hours of audio that count (pauses between clips do not).
        starts_s, ends_s: float64 [events], where each clip begins and ends in the stream, ascending.
    """

    time_s: np.ndarray
    score: np.ndarray
    hours: float
    starts_s: np.ndarray = field(default_factory=lambda: np.zeros(0))
    ends_s: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def frame_s(self) -> float:
        """Seconds between two scores; those of the usual hop where there are not two."""
        return float(self.time_s[1] - self.time_s[0]) if len(self.time_s) > 1 else FRAME_S


@dataclass
class Det:
    """Operating points by ascending threshold; see `det_curve`. All float64 [points]."""

    thresholds: np.ndarray
    miss_rate: np.ndarray
    fa_per_hour: np.ndarray


@dataclass
class Point:
    """One operating point of a DET curve."""

    threshold: float
    miss_rate: float
    fa_per_hour: float


def alarms(time_s: np.ndarray, score: np.ndarray, threshold: float, refractory_s: float = 1.0) -> np.ndarray:
    """Times float64 [k] at which a detector with this threshold fires on a stream; see `trigger.Trigger`."""
    return np.asarray(time_s, np.float64)[Trigger(threshold, refractory_s).step(time_s, score)]


def hits(track: Track, threshold: float, refractory_s: float = 1.0, grace_s: float = GRACE_S) -> np.ndarray:
    """The time of the first alarm for each event, float64 [events]; NaN where the phrase was missed.

    An alarm belongs to an event from its clip's start to `grace_s` after its end, or to the next clip's start if that
    comes first, so that no alarm counts twice.
    """
    fired = alarms(track.time_s, track.score, threshold, refractory_s)
    index = np.searchsorted(fired, track.starts_s, side="right")
    found = np.append(fired, np.inf)[index]
    return np.where(found <= _until(track, grace_s), found, np.nan)


def _until(track: Track, grace_s: float) -> np.ndarray:
    """Until when an alarm belongs to each event, float64 [events]."""
    until = track.ends_s + grace_s
    if len(until) > 1:
        until[:-1] = np.minimum(until[:-1], track.starts_s[1:])
    return until


def count_alarms(negatives: Sequence[Track], thresholds: Sequence[float], refractory_s: float = 1.0) -> np.ndarray:
    """False alarms int64 [thresholds] over all streams; an hour of scores takes a few milliseconds a threshold."""
    counts = np.zeros(len(thresholds), np.int64)
    for track in negatives:
        score = np.asarray(track.score, np.float64)
        for i, threshold in enumerate(thresholds):
            counts[i] += Trigger(threshold, refractory_s).step(track.time_s, score).size
    return counts


def local_maxima(score: np.ndarray) -> np.ndarray:
    """The values float64 of all local maxima of a score track, in order of time; plateaus count a few times."""
    score = np.asarray(score, np.float64)
    padded = np.concatenate([[-np.inf], score, [-np.inf]])
    return score[(score >= padded[:-2]) & (score >= padded[2:])]


def candidate_thresholds(
    negatives: Sequence[Track], positives: Sequence[Track] = (), top: int = 300, rest: int = 100
) -> np.ndarray:
    """Thresholds float64, ascending, at which the errors change.

    Just above each of the `top` highest local maxima of the negatives, where every single false alarm comes or goes,
    so that the low end of the curve is exact; `rest` quantiles of the lower maxima; and the events' own maxima, where
    misses come and go (`rest` quantiles of them if there are more than `top`).
    """
    values = [np.zeros(1)]
    below = np.unique(np.concatenate([local_maxima(t.score) for t in negatives])) if negatives else np.zeros(0)
    values.append(np.nextafter(below[-top:].astype(np.float32), np.float32(np.inf)))
    if below.size > top:
        values.append(np.quantile(below[:-top], np.linspace(0, 1, rest)))
    above = np.concatenate([_event_maxima(t) for t in positives]) if positives else np.zeros(0)
    values.append(above if above.size <= top else np.quantile(above, np.linspace(0, 1, rest)))
    return np.unique(np.concatenate([np.asarray(v, np.float64) for v in values]))


def _event_maxima(track: Track) -> np.ndarray:
    if len(track.starts_s) == 0 or len(track.time_s) == 0:
        return np.zeros(0)
    first = np.searchsorted(track.time_s, track.starts_s, side="right")
    after = np.searchsorted(track.time_s, _until(track, GRACE_S), side="right")
    score = np.asarray(track.score, np.float64)
    return np.asarray([score[i:j].max() for i, j in zip(first, after, strict=True) if j > i])


def det_curve(
    positives: Sequence[Track],
    negatives: Sequence[Track],
    thresholds: np.ndarray | None = None,
    refractory_s: float = 1.0,
) -> Det:
    """The DET curve as the frontier that can be reached.

    Alarms are counted exactly as the detector fires. That count need not fall as the threshold rises: two peaks of
    one excursion are one alarm at a low threshold and two at a higher one. So a point states the most false alarms
    at its threshold or any higher one, and the fewest misses among these: both fall or rise with the threshold, and
    an operator who allows that many false alarms can reach that miss rate.

    Raises:
        ValueError: no events in the positives, or no hours of negatives.
    """
    events, hours = sum(len(t.starts_s) for t in positives), sum(t.hours for t in negatives)
    if events == 0 or hours <= 0:
        raise ValueError("a DET curve needs positive events and hours of negatives")
    if thresholds is None:
        thresholds = candidate_thresholds(negatives, positives)
    thresholds = np.unique(np.asarray(thresholds, np.float64))
    missed = [sum(int(np.isnan(hits(t, x, refractory_s)).sum()) for t in positives) for x in thresholds]
    false_alarms = count_alarms(negatives, thresholds, refractory_s)
    return Det(
        thresholds,
        np.minimum.accumulate(np.asarray(missed)[::-1])[::-1] / events,
        np.maximum.accumulate(false_alarms[::-1])[::-1] / hours,
    )


def miss_at(det: Det, fa_per_hour: float) -> Point | None:
    """The point of the curve with the fewest misses within a false-alarm rate; None if every threshold exceeds it.

    Its threshold is the highest with that few misses: where two serve as well, the one with fewer false alarms.
    """
    within = np.flatnonzero(det.fa_per_hour <= fa_per_hour * (1 + 1e-9))
    if within.size == 0:
        return None
    best = within[det.miss_rate[within] == det.miss_rate[within[0]]][-1]
    return Point(float(det.thresholds[best]), float(det.miss_rate[best]), float(det.fa_per_hour[best]))


def wilson_interval(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for a proportion k/n (Wilson, "Probable inference", JASA 22, 1927; without continuity correction).

    It stays sensible at k = 0 and k = n, where k/n plus or minus its standard error does not. It takes clips as
    independent: few speakers with many clips each make it too narrow.
    """
    if n <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    centre, spread = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    # At the ends the formula gives exactly 0 and 1; rounding would leave 1e-17.
    low = 0.0 if k == 0 else (centre - spread) / (n + z * z)
    return low, 1.0 if k == n else (centre + spread) / (n + z * z)


def poisson_interval(k: int, hours: float, confidence: float = 0.95) -> tuple[float, float]:
    """Exact interval for a rate per hour after k events in `hours` (Garwood, Biometrika 28, 1936).

    The lower end is the mean for which k or more events have probability (1 - confidence) / 2, the upper end the one
    for which k or fewer have; both by bisection on the Poisson distribution function.
    """
    if hours <= 0:
        return 0.0, math.inf
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, k + 1)))])
    counts = np.arange(k + 1)

    def at_most(most: int, mean: float) -> float:
        return float(np.exp(counts[: most + 1] * math.log(mean) - mean - log_factorial[: most + 1]).sum())

    def mean_where(most: int, probability: float) -> float:  # at_most falls as the mean rises
        low, high = 0.0, k + 10 * math.sqrt(k + 1) + 20
        for _ in range(80):
            middle = (low + high) / 2
            low, high = (middle, high) if at_most(most, middle) > probability else (low, middle)
        return (low + high) / 2

    tail = (1 - confidence) / 2
    return (mean_where(k - 1, 1 - tail) / hours if k else 0.0), mean_where(k, tail) / hours


def too_wide(hours: float, fa_per_hour: float, count: int | None = None) -> str:
    """A sentence if so few hours cannot show so low a rate, else an empty string.

    The rule of three (Hanley and Lippman-Hand, JAMA 249, 1983): after no event at all the rate may still be 3 / hours
    with 95 % confidence, so fewer than 3 expected alarms show nothing. With `count`, the alarms that were seen, the
    sentence says also what can be claimed of them: the one-sided 95 % bound of `poisson_interval`.
    """
    if hours * fa_per_hour >= 3:
        return ""
    sentence = (
        f"{hours:.2f} h of negatives are too few to show {three_digits(fa_per_hour)} false alarms per hour: they can "
        f"show at best {in_words(3 / max(hours, 1e-9))} with 95 % confidence, and {3 / fa_per_hour:.0f} h would be "
        "needed"
    )
    if count is not None:
        seen = {0: "no alarm was", 1: "1 alarm was"}.get(count, f"{count} alarms were")
        below = poisson_interval(count, hours, confidence=0.9)[1]
        sentence += f"; {seen} seen, so the rate is below {three_digits(below)} an hour (95 %, one-sided)"
    return sentence


def delay_stats(delay_s: np.ndarray) -> dict[str, float | None]:
    """Median and 95th percentile, in seconds, of delays; NaN (missed) entries are left out."""
    delay_s = np.asarray(delay_s, np.float64)
    delay_s = delay_s[~np.isnan(delay_s)]
    if delay_s.size == 0:
        return {"median_s": None, "p95_s": None}
    return {"median_s": float(np.median(delay_s)), "p95_s": float(np.quantile(delay_s, 0.95))}
