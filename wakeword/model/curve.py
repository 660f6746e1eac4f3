"""A phrase's curve: thresholds for several budgets of false alarms, and the dial of sensitivity that moves along it."""

from __future__ import annotations

import math
import numbers
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wakeword.errors import ConfigError
from wakeword.model.budget import in_words, three_digits
from wakeword.settings import known

BUDGETS = (1 / 168, 1 / 24, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""False alarms per hour that every curve has a point for."""
REACH = 10.0
"""How many times as many false alarms, or as few, sensitivities of 1 and 0 stand for."""
APART = 1e-6
"""By what share of itself one budget of a curve is below the next, at the least."""
LOGIT_EDGE = 1e-7  # float32 cannot tell higher posteriors from 1


@dataclass(frozen=True)
class Point:
    """A threshold for one budget of false alarms, and what is known of it.

    Attributes:
        fa_per_hour_budget: what was asked for.
        threshold: on the smoothed posterior, above 0 and at most 1.
        fa_per_hour_expected: on other audio like the negatives: by a fitted tail where the hours are too few to show
            the budget, or too few alarms were seen to show a rate, and there are peaks enough to fit one, but no fewer
            than observed; else as observed.
        fa_per_hour_observed: counted on the negatives.
        interval: exact 95 % Poisson interval of the observed rate, per hour.
        extrapolated: whether the threshold lies above what the negatives themselves ask for, by the fitted tail.
        clips, missed, miss_interval: clips of the phrase, how many of them are missed, and the 95 % interval of that
            share; no clips where it is not known.
        expected_fewer: whether fewer than `fa_per_hour_expected` are expected, and the hours cannot tell how many.
    """

    fa_per_hour_budget: float
    threshold: float
    fa_per_hour_expected: float
    fa_per_hour_observed: float
    interval: tuple[float, ...]
    extrapolated: bool = False
    clips: int = 0
    missed: int = 0
    miss_interval: tuple[float, ...] = (0.0, 1.0)
    expected_fewer: bool = False

    def __post_init__(self):
        if not 0 < self.fa_per_hour_budget < math.inf:
            raise ConfigError(f"fa_per_hour_budget = {self.fa_per_hour_budget}: must be above 0")
        checked_threshold(self.threshold)
        for name in ("fa_per_hour_expected", "fa_per_hour_observed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be 0 or more")
        for name, most in (("interval", math.inf), ("miss_interval", 1.0)):
            ends = getattr(self, name)
            if len(ends) != 2 or not 0 <= ends[0] <= ends[1] <= most:
                raise ConfigError(f"{name} = {list(ends)}: must be two ascending numbers of what can be")
        if not 0 <= self.missed <= self.clips:
            raise ConfigError(f"missed = {self.missed} of {self.clips} clips: cannot be")

    @property
    def misses(self) -> str:
        """The miss rate with its interval as text."""
        if not self.clips:
            return "not known"
        low, high = self.miss_interval
        return f"{self.missed / self.clips:.1%} ({low:.1%} to {high:.1%}), {self.missed} of {self.clips}"


@dataclass(frozen=True)
class Curve:
    """Points by ascending budget, so by falling threshold, and the budget that the model is calibrated for.

    Raises:
        ConfigError: no point, budgets that do not rise, thresholds that rise, or no point of the budget.
    """

    points: tuple[Point, ...]
    budget: float

    def __post_init__(self):
        if not self.points:
            raise ConfigError("no points")
        for before, after in zip(self.points, self.points[1:], strict=False):
            if not before.fa_per_hour_budget * (1 + APART) < after.fa_per_hour_budget:
                raise ConfigError(f"budgets of {before.fa_per_hour_budget:g} and then {after.fa_per_hour_budget:g}")
            if not before.threshold >= after.threshold:
                raise ConfigError(f"thresholds of {before.threshold:g} and, for more, {after.threshold:g}")
        if self.budget not in [point.fa_per_hour_budget for point in self.points]:
            raise ConfigError(f"no point for the budget of {self.budget:g}")

    def budget_at(self, sensitivity: float) -> float:
        """False alarms per hour that a sensitivity in [0, 1] stands for.

        0.5 is the calibrated budget; each 0.1 more is `REACH` ** 0.2 = 1.58 times as many, so that 1 is ten times as
        many and 0 a tenth. Where the curve does not reach so far, its end.

        Raises:
            ConfigError: not a number from 0 to 1.
        """
        if not (_is_number(sensitivity) and 0 <= sensitivity <= 1):
            raise ConfigError(f"sensitivity {sensitivity!r}: must be a number from 0 to 1")
        wanted = self.budget * REACH ** (2 * float(sensitivity) - 1)
        return min(max(wanted, self.points[0].fa_per_hour_budget), self.points[-1].fa_per_hour_budget)

    def threshold_at(self, fa_per_hour: float) -> float:
        """The threshold for a budget: between two points, the logit goes straight with the logarithm of the budget.

        So does a threshold along the fitted tail of `calibrate.choose_threshold`, which is where most of a curve's low
        end comes from.

        Raises:
            ConfigError: a budget beyond the curve's ends.
        """
        budgets = [point.fa_per_hour_budget for point in self.points]
        for point in self.points:
            if math.isclose(point.fa_per_hour_budget, fa_per_hour, rel_tol=1e-9):  # 0.1 * 0.3 is not 0.3 / 10
                return point.threshold
        if not budgets[0] < fa_per_hour < budgets[-1]:
            raise ConfigError(
                f"a budget of {in_words(fa_per_hour)}: the curve goes from {in_words(budgets[0])} to "
                f"{in_words(budgets[-1])}: run 'wakeword calibrate' with this budget"
            )
        index = bisect_left(budgets, fa_per_hour)
        before, after = self.points[index - 1 : index + 1]
        share = math.log(fa_per_hour / before.fa_per_hour_budget)
        share /= math.log(after.fa_per_hour_budget / before.fa_per_hour_budget)
        high, low = logit(before.threshold), logit(after.threshold)
        level = float(high + share * (low - high))
        return min(max(score_of(level), after.threshold), before.threshold)


def curve_of(calibration: dict | None, threshold: float) -> Curve | None:
    """The curve in a phrase's calibration, as a model file's meta holds it; None where there is none.

    Raises:
        ConfigError: a malformed one, or one that does not go through the phrase's threshold.
    """
    if calibration is None:
        return None
    if not isinstance(calibration, dict):
        raise ConfigError(f"calibration = {calibration!r}: must be a table")
    said = calibration.get("curve")
    if said is None:
        return None
    if not isinstance(said, (list, tuple)):
        raise ConfigError(f"curve = {said!r}: must be a list of points")
    budget = calibration.get("fa_per_hour_budget")
    if not _is_number(budget):
        raise ConfigError(f"fa_per_hour_budget = {budget!r}: must be a number")
    points = tuple(known(Point, each, f"curve[{index}]") for index, each in enumerate(said))
    try:
        curve = Curve(points, budget)
        if curve.threshold_at(curve.budget) != threshold:
            raise ConfigError(f"another threshold than {threshold:g} for the budget of {budget:g}")
    except ConfigError as error:
        raise ConfigError(f"curve: {error}") from error
    return curve


def budgets_around(fa_per_hour: float) -> list[float]:
    """The budgets of a curve for a model that is calibrated for `fa_per_hour`, ascending.

    `BUDGETS`, that one itself, and as far on both sides as sensitivity reaches.
    """
    chosen = [fa_per_hour]
    for budget in (fa_per_hour / REACH, fa_per_hour * REACH, *BUDGETS):
        if not any(math.isclose(budget, other, rel_tol=2 * APART) for other in chosen):
            chosen.append(budget)
    return sorted(chosen)


def table(points: Sequence[Point]) -> list[str]:
    """A curve as lines of text: a heading, and a line a point."""
    row = "{:>12} {:>10} {:>13} {:>8} {:>14}  {}".format
    lines = [row("budget", "threshold ", "expected", "seen", "95 %", "missed")]
    for point in points:
        low, high = map(three_digits, point.interval)
        lines.append(
            row(
                in_words(point.fa_per_hour_budget),
                f"{point.threshold:.4f}" + ("*" if point.extrapolated else " "),
                "<" * point.expected_fewer + in_words(point.fa_per_hour_expected),
                three_digits(point.fa_per_hour_observed),
                f"{low} to {high}",
                point.misses,
            )
        )
    lines.append("seen: false alarms an hour on the negatives, with their 95 % interval")
    if any(point.extrapolated for point in points):
        lines.append("*: extrapolated, the negatives are too few hours to show this budget")
    if any(point.expected_fewer for point in points):
        lines.append("<: fewer than this, the negatives are too few hours to tell how many")
    return lines


def checked_threshold(value: float) -> float:
    """`value` as a float, if it can be a threshold on posteriors.

    Raises:
        ConfigError: not a number above 0 and at most 1.
    """
    if not (_is_number(value) and 0 < value <= 1):
        shown = repr(float(value) if _is_number(value) else value)
        raise ConfigError(f"threshold {shown}: must be a number above 0 and at most 1")
    return float(value)


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def logit(score: np.ndarray | float) -> np.ndarray:
    """log(s / (1 - s)) of scores, float64, finite also for 0 and 1."""
    score = np.clip(score, LOGIT_EDGE, 1 - LOGIT_EDGE)
    return np.log(score / (1 - score))


def score_of(level: float) -> float:
    """The score whose logit is `level`."""
    return 1 / (1 + math.exp(-level))
