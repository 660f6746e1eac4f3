"""Whether a model got worse: two models on the same clips and hours, and what of the difference chance may do.

Rates of two models on the same test are not independent: what is hard is hard for both. So the clips that only one of
them misses are counted, and the alarms that only one raises; if neither model were better, each of these would fall to
either with the same chance (McNemar, Psychometrika 12, 1947; for counts in the same hours, Przyborowski and Wilenski,
Biometrika 31, 1940). Two 95 % intervals may overlap widely where this leaves little doubt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wakeword.audio.clips import Clip
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.metrics import alarms, delay_stats, hits, poisson_interval, too_wide, wilson_interval
from wakeword.evaluation.misses import Misses, misses_of
from wakeword.evaluation.streams import Progress, negative_stream, positive_stream, score_stream

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector

CHANCE = 0.2
"""A loss that chance alone would bring more seldom than this is taken for one. It is not 0.05: a good model refused
costs a training, a worse one taken costs every day and shows late; 3 more misses and none fewer are refused."""
MISS_MOST = 0.05
"""A miss rate that rises by more than this is a loss whatever the chance: few clips are no excuse. Few hours are none
either: a rise of the false alarms by more than their budget is a loss."""
SAME_ALARM_S = 1.0
"""Alarms of two models no farther apart than this are of the same sound."""


@dataclass(frozen=True)
class Judged:
    """One model on one phrase's test.

    Attributes:
        threshold: the model's own.
        missed: bool [clips].
        alarms_s: float64 [alarms], when in the stream of negatives it fired.
        hours: of negatives.
        misses: the misses at other thresholds.
        delay_s: from the phrase's end, by energy, to the hit, the median in seconds; None if all was missed.
    """

    threshold: float
    missed: np.ndarray
    alarms_s: np.ndarray
    hours: float
    misses: Misses
    delay_s: float | None

    def report(self) -> dict:
        """Rates with their 95 % intervals (Wilson's; Garwood's), ready for JSON."""
        missed, clips, count = int(self.missed.sum()), len(self.missed), len(self.alarms_s)
        return {
            "threshold": self.threshold,
            "clips": clips,
            "missed": missed,
            "miss_rate": missed / clips,
            "miss_interval": list(wilson_interval(missed, clips)),
            "false_alarms": count,
            "hours": self.hours,
            "fa_per_hour": count / self.hours,
            "fa_interval": list(poisson_interval(count, self.hours)),
            "delay_s": self.delay_s,
        }


def judge(
    detector: Detector,
    positives: Sequence[Sequence[Clip]],
    negatives: Sequence[Clip],
    skipped: Skipped,
    progress: Progress | None = None,
) -> list[Judged]:
    """A detector at its thresholds on clean streams: for each of its phrases the misses and the false alarms.

    The same clips give the same streams, so that what one model hears is what another one hears.

    Args:
        positives: for each of its phrases the clips.

    Raises:
        WakewordError: no clip of a phrase, or no negative, could be read.
    """
    tracks, _ = score_stream(detector, negative_stream(negatives, skipped=skipped), len(negatives), progress, "test")
    if tracks[0].hours <= 0:
        raise WakewordError(f"no negatives to test with: {skipped.summary() or 'none given'}")
    found = []
    for output, (phrase, clips) in enumerate(zip(detector.phrases, positives, strict=True)):
        pieces = positive_stream(clips, skipped=skipped)
        heard, events = score_stream(detector, pieces, len(clips), progress, "test clips")
        if not events:
            raise WakewordError(f"no clips of '{phrase}' to test with: {skipped.summary() or 'none given'}")
        threshold, pause_s = detector.thresholds[output], detector.refractory_s
        at = hits(heard[output], threshold, pause_s)
        late = delay_stats(at - np.asarray([event.speech_end_s for event in events]))
        track = tracks[output]
        fired = alarms(track.time_s, track.score, threshold, pause_s)
        misses = misses_of(heard[output], pause_s)
        found.append(Judged(threshold, np.isnan(at), fired, track.hours, misses, late["median_s"]))
    return found


def compare(before: Judged, after: Judged, budget: float) -> dict:
    """Both models' rates, what only one of them missed or raised, and in `worse` why the second is the worse one.

    It is worse in misses, or in false alarms, if more clips are newly missed than newly found (more alarms new than
    gone), and chance alone would bring so many more, or yet more, with a probability below `CHANCE`; or if its miss
    rate rose by more than `MISS_MOST`, or its false alarms by more than `budget`, in an hour. What is better in one
    does not make up for what is worse in the other: that trade is a threshold's, and needs no other model. A test of
    whose clips neither model hears one is held against the second too. An empty `worse` says that no loss was seen,
    which is as much as the test can show: `least` is the smallest loss that would have been refused, where nothing is
    gained.
    """
    lost, found = int((after.missed & ~before.missed).sum()), int((before.missed & ~after.missed).sum())
    new, gone = unmatched(before.alarms_s, after.alarms_s)
    clips, hours = len(before.missed), before.hours
    worse = []
    by_chance = at_least_by_chance(lost, lost + found)
    if lost > found and (by_chance < CHANCE or lost - found > MISS_MOST * clips):
        worse.append(f"it misses {lost} clip(s) that were found, and finds {found} that were missed, of {clips}")
    if new > gone and (at_least_by_chance(new, new + gone) < CHANCE or new - gone > budget * hours):
        worse.append(f"it has {new} new false alarm(s), and {gone} fewer of the old ones, in {hours:.2f} h")
    if before.missed.all() and after.missed.all():
        worse.append(f"neither model hears any of the {clips} clip(s), which shows nothing: are they of this phrase?")
    fewest = next(k for k in range(1, 100) if at_least_by_chance(k, k) < CHANCE)
    least_missed = min(fewest, math.floor(MISS_MOST * clips) + 1)
    least_alarms = min(fewest, math.floor(budget * hours) + 1)
    return {
        "before": before.report(),
        "after": after.report(),
        "newly_missed": lost,
        "newly_found": found,
        "new_alarms": new,
        "alarms_gone": gone,
        "least": {"miss_rate": least_missed / clips, "fa_per_hour": least_alarms / hours},
        "worse": worse,
    }


def at_least_by_chance(k: int, n: int) -> float:
    """How likely k or more of n are heads, of a fair coin (the one-sided sign test)."""
    return sum(math.comb(n, i) for i in range(k, n + 1)) / 2**n


def unmatched(before_s: np.ndarray, after_s: np.ndarray) -> tuple[int, int]:
    """How many of the second times, and of the first, have no partner within `SAME_ALARM_S`; both ascending."""
    matched = i = j = 0
    while i < len(before_s) and j < len(after_s):
        apart = after_s[j] - before_s[i]
        close = bool(abs(apart) <= SAME_ALARM_S)
        matched += close
        i, j = i + (close or apart > 0), j + (close or apart < 0)
    return len(after_s) - matched, len(before_s) - matched


def table(found: dict, budget: float) -> list[str]:
    """A comparison as lines of text."""
    row = "{:<7} {:>9}  {:<36} {}".format
    lines = [row("", "threshold", "missed", "false alarms an hour")]
    for name in ("before", "after"):
        said = found[name]
        (low, high), (least, most) = said["miss_interval"], said["fa_interval"]
        alarms_in = f"{said['false_alarms']} in {said['hours']:.2f} h"
        lines.append(
            row(
                name,
                f"{said['threshold']:.4f}",
                f"{said['miss_rate']:.1%} ({low:.1%} to {high:.1%}), {said['missed']} of {said['clips']}",
                f"{said['fa_per_hour']:.2f} ({least:.2f} to {most:.2f}), {alarms_in}",
            )
        )
    lines.append(
        f"newly missed {found['newly_missed']}, newly found {found['newly_found']}; new false alarms "
        f"{found['new_alarms']}, gone {found['alarms_gone']} (intervals: 95 %)"
    )
    least = found["least"]
    lines.append(
        f"a loss that this test would not have let pass, with no gain beside it: {least['miss_rate']:.1%} of the "
        f"clips, or {least['fa_per_hour']:.2f} false alarms an hour"
    )
    few = too_wide(found["after"]["hours"], budget, found["after"]["false_alarms"])
    return lines + [few] * bool(few)
