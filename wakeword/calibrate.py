"""Thresholds for a budget of false alarms."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import numpy as np

from wakeword.clips import Clip
from wakeword.errors import Skipped, WakewordError
from wakeword.features import FRAME_S
from wakeword.metrics import Track, candidate_thresholds, count_alarms, poisson_interval, too_wide
from wakeword.streams import Progress, negative_stream, score_stream

if TYPE_CHECKING:
    from wakeword.detector import Detector

FIT_PEAKS = 50  # peaks that the tail's slope is taken from, at most
FIT_LEAST = 10
LEAST_HOURS = 1 / 60
LOGIT_EDGE = 1e-7  # float32 cannot tell higher posteriors from 1

UNIT_HOURS = {"s": 1 / 3600, "min": 1 / 60, "m": 1 / 60, "h": 1.0, "hr": 1.0, "d": 24.0, "w": 168.0}
UNIT_HOURS |= {"second": 1 / 3600, "minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0, "month": 730.5}
BUDGET = re.compile(
    r"(?P<count>once|one|twice|\d+(?:\.\d*)?|\.\d+)\s*(?:times?|false alarms?|fa)?"
    r"(?:\s*(?:/|per\b|a\b|an\b|every\b|in\b)\s*(?P<length>\d+(?:\.\d*)?|\.\d+)?\s*(?P<unit>[a-z]+))?"
)


@dataclass
class Calibration:
    """A threshold, and what is known of its false alarms.

    Attributes:
        threshold: on the smoothed posterior, above 0 and at most 1.
        fa_per_hour_budget, fa_per_hour_observed: asked for, and counted at this threshold on these negatives.
        interval: exact 95 % Poisson interval of the rate, per hour.
        hours: hours of negatives.
        extrapolated: whether the threshold lies above what the negatives themselves ask for, by a fitted tail.
        note: what a user should know, one line; empty if the budget was shown on enough audio.
        skipped: files that could not be read.
    """

    threshold: float
    fa_per_hour_budget: float
    fa_per_hour_observed: float
    interval: tuple[float, float]
    hours: float
    extrapolated: bool = False
    note: str = ""
    skipped: int = 0

    def summary(self) -> str:
        """The threshold and its false alarms in a line."""
        return (
            f"threshold {self.threshold:.4f}, {self.fa_per_hour_observed:.3f} false alarms per hour on "
            f"{self.hours:.2f} h of negatives. {self.note}"
        ).rstrip()


def parse_budget(budget: str | float) -> float:
    """False alarms per hour from "0.5/h", "1 per 24 h", "2 per day", "once a week", or a number (per hour).

    Raises:
        WakewordError: anything else, or a rate that is not above zero.
    """
    remedy = "say it as '0.5/h', '1 per 24 h', '2 per day' or a number of false alarms per hour"
    match = BUDGET.fullmatch(str(budget).strip().lower())
    if match is None:
        raise WakewordError(f"false-alarm budget {str(budget)!r} is not understood: {remedy}")
    count = float({"once": 1, "one": 1, "twice": 2}.get(match["count"], match["count"]))
    hours = 1.0
    if match["unit"] is not None:
        unit = match["unit"] if match["unit"] in UNIT_HOURS else match["unit"].removesuffix("s")
        if unit not in UNIT_HOURS:
            raise WakewordError(f"false-alarm budget {str(budget)!r}: unknown unit {match['unit']!r}: {remedy}")
        hours = UNIT_HOURS[unit] * (1.0 if match["length"] is None else float(match["length"]))
    if hours <= 0 or not 0 < count / hours < math.inf:
        raise WakewordError(f"false-alarm budget {str(budget)!r} is not above zero: no detector can promise that")
    return count / hours


def lowest_within(tracks: Sequence[Track], hours: float, fa_per_hour: float, refractory_s: float = 1.0) -> float:
    """The lowest threshold at which, as at all higher ones that were tried, false alarms stay within a rate."""
    # The last candidate lies above every peak, so it is within any budget; from there down until one is not.
    candidates = candidate_thresholds(tracks)
    candidates = candidates[candidates > 0]
    threshold = float(candidates[-1])
    for candidate in candidates[::-1]:
        if count_alarms(tracks, [candidate], refractory_s)[0] > fa_per_hour * hours * (1 + 1e-9):
            break
        threshold = float(candidate)
    return threshold


def choose_threshold(
    scores: Sequence[np.ndarray], hours: float, fa_per_hour: float, refractory_s: float = 1.0, frame_s: float = FRAME_S
) -> Calibration:
    """The lowest threshold that keeps the false alarms of negative audio within a rate.

    At it and at all higher thresholds that were tried (`metrics.candidate_thresholds`), the detector's own alarms
    are within the budget. If the hours cannot show such a rate (fewer than 3 alarms expected), the few highest peaks
    would decide by luck, so the tail is extrapolated from more of them: peaks over a high threshold, here of the
    logit, are taken as exponentially distributed, and the threshold is raised to the level that this tail exceeds at
    the asked rate (Weissman, "Estimation of parameters and large quantiles based on the k largest observations",
    JASA 73, 1978; Coles, "An Introduction to Statistical Modeling of Extreme Values", 2001, chapter 4, shape 0).
    It is an estimate for audio like this, and is marked `extrapolated`.

    Args:
        scores: float [frames] for each stream of negatives, one score each `frame_s`.
        hours: hours of audio that they come from.
        fa_per_hour: the budget, above 0.

    Raises:
        WakewordError: no negatives.
    """
    if hours <= 0 or not any(len(s) for s in scores):
        raise WakewordError("no negative audio to calibrate with: give hours of speech and sound without the phrase")
    tracks = [Track(frame_s * np.arange(1, len(s) + 1), np.asarray(s), 0.0) for s in scores]
    threshold = lowest_within(tracks, hours, fa_per_hour, refractory_s)
    notes, extrapolated = [], False
    few = too_wide(hours, fa_per_hour)
    if few:
        notes.append(few)
        level = _tail_level(scores, hours, fa_per_hour, max(1, round(refractory_s / frame_s)))
        if level is None:
            notes.append(f"too few peaks (under {FIT_LEAST}) to extrapolate from, so there is no safety margin")
        elif level > threshold:
            margin = _logit(level) - _logit(threshold)
            notes.append(f"raised from {threshold:.4f} to {level:.4f} ({margin:.2f} in the logit) by a fitted tail")
            threshold, extrapolated = level, True
        else:
            notes.append(f"the fitted tail asks for {level:.4f}, which the highest peak already exceeds")
    if threshold >= 1:
        threshold = 1.0
        notes.append("the negatives score 1, so only a threshold that never fires would keep the budget: train longer")
    observed = int(count_alarms(tracks, [threshold], refractory_s)[0])
    return Calibration(
        threshold,
        fa_per_hour,
        observed / hours,
        poisson_interval(observed, hours),
        hours,
        extrapolated,
        "; ".join(notes),
    )


def calibrate(
    detector: Detector, negatives: Sequence[Clip], budget: str | float, progress: Progress | None = None
) -> list[Calibration]:
    """Score negatives as one stream and choose each phrase's threshold for a budget (see `parse_budget`).

    The budget is each phrase's own: a model of ten phrases raises up to ten times as many alarms. The detector's
    thresholds are left as they are. Use negatives that neither trained the model nor will test it.

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
    calibrations = []
    for track in tracks:
        found = choose_threshold([track.score], hours, fa_per_hour, detector.refractory_s, track.frame_s)
        found.skipped = len(skipped)
        found.note = "; ".join(filter(None, [found.note, skipped.summary()]))
        calibrations.append(found)
    return calibrations


def calibrated(entry: dict, calibration: Calibration) -> dict:
    """A phrase's entry of a model's meta with the threshold of a calibration, and the calibration."""
    return {**entry, "threshold": calibration.threshold, "calibration": asdict(calibration)}


def _tail_level(scores: Sequence[np.ndarray], hours: float, fa_per_hour: float, apart: int) -> float | None:
    """The level that peaks exceed `fa_per_hour` times an hour, by an exponential tail; None if there are too few."""
    peaks = np.sort(np.concatenate([_separate_peaks(np.asarray(s, np.float64), apart) for s in scores]))[::-1]
    count = min(FIT_PEAKS, len(peaks) // 4)
    if count < FIT_LEAST:
        return None
    base = peaks[count]
    mean_excess = float((peaks[:count] - base).mean())
    return float(1 / (1 + math.exp(-(base + mean_excess * math.log(count / (hours * fa_per_hour))))))


def _separate_peaks(score: np.ndarray, apart: int) -> np.ndarray:
    """Logits float64 of peaks, the highest in each stretch of `apart` frames: about one for each alarm."""
    starts = np.arange(0, len(score), apart)
    if starts.size == 0:
        return np.zeros(0)
    top = np.maximum.reduceat(score, starts)
    # A slope cut by the border between two stretches is no peak of the second.
    padded = np.concatenate([[-np.inf], score, [-np.inf]])
    peak = np.where((score >= padded[:-2]) & (score >= padded[2:]), score, -np.inf)
    return _logit(top[np.maximum.reduceat(peak, starts) == top])


def _logit(score: np.ndarray | float) -> np.ndarray:
    score = np.clip(score, LOGIT_EDGE, 1 - LOGIT_EDGE)
    return np.log(score / (1 - score))
