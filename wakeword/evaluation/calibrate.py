"""Thresholds for a budget of false alarms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING

import numpy as np

from wakeword.audio.clips import Clip
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.metrics import Track, candidate_thresholds, count_alarms, poisson_interval, too_wide
from wakeword.evaluation.misses import Misses, with_misses
from wakeword.evaluation.streams import Progress, negative_stream, score_stream
from wakeword.features.log_mel import FRAME_S
from wakeword.model.budget import in_words, parse_budget, three_digits
from wakeword.model.curve import Point, budgets_around, logit, score_of

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector

FIT_PEAKS = 50  # peaks that the tail's slope is taken from, at most
FIT_LEAST = 10
EDGE_CLIPS = 20  # held-out clips that tell where one in twenty would be missed; fewer draw a threshold less
TAIL_REACH = 100.0
"""A fitted tail tells of no rarer alarm than one in so many times the hours that were heard."""
LEAST_SEEN = 3
"""Fewer alarms than these tell no rate: see `metrics.too_wide`."""
LEAST_HOURS = 1 / 60


@dataclass(frozen=True)
class Calibration(Point):
    """The point of a curve that a budget asked for, and what stands around it.

    Attributes:
        hours: hours of negatives.
        note: what a user should know, one line; empty if the budget was shown on enough audio.
        skipped: files that could not be read.
        positives: which clips the misses are of, "" where there are none.
        curve: points for several budgets (`curve.budgets_around`), this one among them; `curve.Curve` reads it.
    """

    hours: float = 0.0
    note: str = ""
    skipped: int = 0
    positives: str = ""
    curve: tuple[Point, ...] = ()

    def summary(self) -> str:
        """The threshold, its false alarms and its misses in a line."""
        low, high = self.interval
        expected = "fewer than " * self.expected_fewer + in_words(self.fa_per_hour_expected)
        by_tail = " by a fitted tail" if self.fa_per_hour_expected != self.fa_per_hour_observed else ""
        missed = f"missed {self.misses} clips {self.positives}" if self.clips else "misses not known (no --positives)"
        return (
            f"threshold {self.threshold:.4f} for {in_words(self.fa_per_hour_budget)}: expected {expected}{by_tail}, "
            f"seen {round(self.fa_per_hour_observed * self.hours)} in {self.hours:.2f} h, so {three_digits(low)} to "
            f"{three_digits(high)} an hour (95 %); {missed}. {self.note}"
        ).rstrip()


@dataclass(frozen=True)
class _Tail:
    """`count` peaks in `hours`: their logits exceed `base` by `excess` in the mean, exponentially distributed."""

    base: float
    excess: float
    count: int
    hours: float

    def level(self, fa_per_hour: float) -> float:
        """The score that peaks exceed at a rate, one lower than that of `base`."""
        above = self.excess * math.log(self.count / (self.hours * fa_per_hour))
        return score_of(self.base + above)

    def rate(self, score: float) -> float:
        """How often an hour peaks exceed a score, one above `base`."""
        above = max(0.0, float(logit(score)) - self.base)
        return self.count / self.hours * math.exp(-above / max(self.excess, 1e-9))


def lowest_within(tracks: Sequence[Track], hours: float, fa_per_hour: float, refractory_s: float = 1.0) -> float:
    """The lowest threshold at which, as at all higher ones that were tried, false alarms stay within a rate."""
    return _lowest_within(tracks, hours, [fa_per_hour], refractory_s)[0]


def _lowest_within(tracks: Sequence[Track], hours: float, rates: Sequence[float], refractory_s: float) -> list[float]:
    """`lowest_within` for several rates, each threshold tried once."""
    # The last candidate lies above every peak, so it is within any budget; from there down until one is not.
    candidates = candidate_thresholds(tracks)
    candidates = candidates[candidates > 0]
    threshold, found = float(candidates[-1]), {}
    for candidate in candidates[::-1]:
        count = count_alarms(tracks, [candidate], refractory_s)[0]
        found |= {rate: threshold for rate in rates if rate not in found and _beyond(count, rate, hours)}
        if len(found) == len(rates):
            break
        threshold = float(candidate)
    return [found.get(rate, threshold) for rate in rates]


def _beyond(count: int, fa_per_hour: float, hours: float) -> bool:
    """Whether so many alarms are more than a rate allows, but for rounding."""
    return count > fa_per_hour * hours * (1 + 1e-9)


def choose_threshold(
    scores: Sequence[np.ndarray],
    hours: float,
    fa_per_hour: float,
    refractory_s: float = 1.0,
    frame_s: float = FRAME_S,
    held_out: Misses | None = None,
) -> Calibration:
    """A threshold that keeps the false alarms of negative audio within a rate.

    At the lowest such one and at all higher ones that were tried (`metrics.candidate_thresholds`), the detector's own
    alarms are within the budget. If the hours cannot show such a rate (fewer than 3 alarms expected), the few highest
    peaks would decide by luck, so the tail is extrapolated from more of them: peaks over a high threshold, here of the
    logit, are taken as exponentially distributed, and the threshold is raised to the level that this tail exceeds at
    the asked rate (Weissman, "Estimation of parameters and large quantiles based on the k largest observations",
    JASA 73, 1978; Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, chapter 4, shape 0).
    It is an estimate for audio like this, and is marked `extrapolated`. Of a threshold above that level, and of one
    above which fewer than `LEAST_SEEN` alarms remain, the tail tells the expected rate, but never a lower one than was
    seen, and none below one alarm in `TAIL_REACH` times the hours: there it is only told to be fewer than that. It is
    told to be more than the budget where the budget is rarer than that, and where negatives score 1, so that no
    threshold keeps it: then as many as were seen.

    The upper end of the interval holds although the alarms are counted on the audio that chose the threshold: where
    k alarms remain because the threshold lies just above the (k + 1)th highest peak, the true rate times the hours is
    distributed as Gamma(k + 1), and Garwood's upper end is a quantile of just that. It takes alarms as independent of
    each other; a speaker who says the same word again and again makes it too narrow.

    That is the least that the budget asks of these negatives. Other audio scores higher (other rooms, languages,
    programmes), and other people's clips lower, so the threshold need not lie at the edge of either. With `held_out` it
    goes on, half the way in the logit to the highest at which no further held-out clip is missed: a margin to both
    sides, as of a separating line between two classes (Vapnik, "The Nature of Statistical Learning Theory", 1995,
    section 5.4), which costs none of the clips that are known. Of fewer than `EDGE_CLIPS` the way is as much shorter:
    of two clips the lower one says little of where others lie.

    Args:
        scores: float [frames] for each stream of negatives, one score each `frame_s`.
        hours: hours of audio that they come from.
        fa_per_hour: the budget, above 0.
        held_out: misses of clips of the phrase that did not train.

    Raises:
        WakewordError: no negatives.
    """
    return choose_thresholds(scores, hours, [fa_per_hour], refractory_s, frame_s, held_out)[0]


def choose_thresholds(
    scores: Sequence[np.ndarray],
    hours: float,
    rates: Sequence[float],
    refractory_s: float = 1.0,
    frame_s: float = FRAME_S,
    held_out: Misses | None = None,
) -> list[Calibration]:
    """`choose_threshold` for several budgets; the threshold of a lower one is never lower."""
    if hours <= 0 or not any(len(s) for s in scores):
        raise WakewordError("no negative audio to calibrate with: give hours of speech and sound without the phrase")
    tracks = [Track(frame_s * np.arange(1, len(s) + 1), np.asarray(s), 0.0) for s in scores]
    tail = _fitted_tail(scores, hours, max(1, round(refractory_s / frame_s)))
    lowest = _lowest_within(tracks, hours, rates, refractory_s)
    return [_chosen(tracks, hours, *each, tail, refractory_s, held_out) for each in zip(rates, lowest, strict=True)]


def _chosen(
    tracks: Sequence[Track],
    hours: float,
    fa_per_hour: float,
    threshold: float,
    tail: _Tail | None,
    refractory_s: float,
    held_out: Misses | None,
) -> Calibration:
    """The threshold for a budget, from the lowest that keeps it on these tracks, and what is known of it."""
    notes, extrapolated, few = [], False, bool(too_wide(hours, fa_per_hour))
    if few and tail is None:
        notes.append(f"too few peaks (under {FIT_LEAST}) to extrapolate from, so there is no safety margin")
    elif few:
        level = tail.level(fa_per_hour)
        if level > threshold:
            margin = logit(level) - logit(threshold)
            notes.append(f"raised from {threshold:.4f} to {level:.4f} ({margin:.2f} in the logit) by a fitted tail")
            threshold, extrapolated = level, True
        else:
            notes.append(f"the fitted tail asks for {level:.4f}, which the highest peak already exceeds")
    within = threshold
    if held_out is not None:
        share = min(1.0, held_out.clips / EDGE_CLIPS) / 2
        threshold = _towards(threshold, held_out.as_few_up_to(threshold), share)
        if threshold > within:
            way = f"{'half' if share == 0.5 else f'{share:.0%} of'} the way to where a further clip is missed"
            notes.append(f"raised from {within:.4f} to {threshold:.4f}, {way}")
    threshold = min(threshold, 1.0)
    count = int(count_alarms(tracks, [threshold], refractory_s)[0])
    expected, by_tail, fewer = count / hours, False, False
    if threshold == 1 and _beyond(count, fa_per_hour, hours):
        extrapolated = False
        notes.append("the negatives score 1, where a detector still fires: no threshold keeps the budget: train longer")
    elif extrapolated and threshold == within:
        expected, by_tail = fa_per_hour, True
    elif tail is not None and (few or count < LEAST_SEEN):
        # One recording may lie far above a tail that is fitted to fifty: what was seen is expected again.
        expected, by_tail = max(expected, min(tail.rate(threshold), fa_per_hour)), True
    # Far above the peaks the tail goes on as it was fitted, for as long as anyone asks; the audio does not.
    least = 1 / (TAIL_REACH * hours)
    if by_tail and expected < least:
        expected, fewer = least, True
    return Calibration(
        fa_per_hour,
        threshold,
        expected,
        count / hours,
        poisson_interval(count, hours),
        extrapolated,
        expected_fewer=fewer,
        hours=hours,
        note="; ".join(filter(None, [too_wide(hours, fa_per_hour, count), *notes])),
    )


def calibrate(
    detector: Detector,
    negatives: Sequence[Clip],
    budget: str | float,
    progress: Progress | None = None,
    held_out: Mapping[str, Misses] | None = None,
    told: Mapping[str, Misses] | None = None,
) -> list[Calibration]:
    """Score negatives as one stream and choose each phrase's threshold for a budget (see `budget.parse_budget`).

    The budget is each phrase's own: a model of ten phrases raises up to ten times as many alarms. The detector's
    thresholds are left as they are. Use negatives that neither trained the model nor will test it. Each calibration
    has a curve for other budgets too.

    Args:
        held_out: by phrase, the misses of clips that did not train (`misses.count_misses`, `misses.held_out_misses`):
            they raise thresholds as `choose_threshold` says.
        told: by phrase, those of other clips, which choose nothing, to be told in place of the held-out ones'.

    Raises:
        WakewordError: a malformed budget, or less than a minute of negatives that could be read.
    """
    fa_per_hour, skipped = parse_budget(budget), Skipped()
    pieces = negative_stream(negatives, skipped=skipped)
    tracks, _ = score_stream(detector, pieces, len(negatives), progress, "negatives")
    hours = tracks[0].hours
    if hours <= 0:
        raise WakewordError(f"no negatives to calibrate with: {skipped.summary() or 'none given'}")
    if hours < LEAST_HOURS:
        raise WakewordError(
            f"only {hours * 3600:.0f} s of negatives to calibrate with: give a minute at least, and better hours"
            + (f" ({skipped.summary()})" if skipped else "")
        )
    budgets, calibrations = budgets_around(fa_per_hour), []
    for phrase, track in zip(detector.phrases, tracks, strict=True):
        clips = (held_out or {}).get(phrase)
        found = choose_thresholds([track.score], hours, budgets, detector.refractory_s, track.frame_s, clips)
        known = (told or {}).get(phrase, clips)
        if known is not None and known.clips:
            found = [replace(with_misses(each, known), positives=known.clips_are) for each in found]
        chosen = found[budgets.index(fa_per_hour)]
        calibrations.append(
            replace(
                chosen,
                skipped=len(skipped),
                note="; ".join(filter(None, [chosen.note, skipped.summary()])),
                curve=tuple(map(_bare, found)),
            )
        )
    return calibrations


def calibrated(entry: dict, calibration: Calibration) -> dict:
    """A phrase's entry of a model's meta with the threshold of a calibration, and the calibration."""
    return {**entry, "threshold": calibration.threshold, "calibration": asdict(calibration)}


def _towards(low: float, high: float, share: float) -> float:
    """The score that lies a share of the way from one to a higher one, by their logits; `low` if it is not the lower
    one."""
    return max(low, score_of(float((1 - share) * logit(low) + share * logit(high)))) if high > low else low


def _bare(calibration: Calibration) -> Point:
    return Point(**{field.name: getattr(calibration, field.name) for field in fields(Point)})


def _fitted_tail(scores: Sequence[np.ndarray], hours: float, apart: int) -> _Tail | None:
    """An exponential tail of the highest peaks; None if there are too few."""
    peaks = np.sort(np.concatenate([_separate_peaks(np.asarray(s, np.float64), apart) for s in scores]))[::-1]
    count = min(FIT_PEAKS, len(peaks) // 4)
    if count < FIT_LEAST:
        return None
    base = peaks[count]
    return _Tail(float(base), float((peaks[:count] - base).mean()), count, hours)


def _separate_peaks(score: np.ndarray, apart: int) -> np.ndarray:
    """Logits float64 of peaks, the highest in each stretch of `apart` frames: about one for each alarm."""
    starts = np.arange(0, len(score), apart)
    if starts.size == 0:
        return np.zeros(0)
    top = np.maximum.reduceat(score, starts)
    # A slope cut by the border between two stretches is no peak of the second.
    padded = np.concatenate([[-np.inf], score, [-np.inf]])
    peak = np.where((score >= padded[:-2]) & (score >= padded[2:]), score, -np.inf)
    return logit(top[np.maximum.reduceat(peak, starts) == top])
