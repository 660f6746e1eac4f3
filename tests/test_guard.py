"""When a model counts as worse than the one before."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tones import ToneDetector, clip_of

from wakeword.audio.clips import find_clips
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.misses import Misses
from wakeword.training import guard
from wakeword.training.guard import Judged, at_least_by_chance, judge, table, unmatched


def judged(clips: int, missed=(), alarms=(), hours: float = 6.0) -> Judged:
    """A model that missed the clips of these numbers, and fired at these seconds."""
    return Judged(0.8, np.isin(np.arange(clips), list(missed)), np.array(sorted(alarms), float), hours, Misses(), 0.2)


def compare(before: Judged, after: Judged, budget: float = 0.5) -> dict:
    return guard.compare(before, after, budget)


@pytest.mark.parametrize(("k", "n", "chance"), [(0, 0, 1.0), (1, 1, 0.5), (3, 3, 0.125), (2, 3, 0.5), (4, 5, 6 / 32)])
def test_the_chance_of_so_many_heads(k, n, chance):
    assert at_least_by_chance(k, n) == pytest.approx(chance)


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        ((), (), False),
        ({1, 2, 3}, {1, 2, 3}, False),
        ((), {1, 2}, False),  # of 100: chance does as much one time in four
        ((), {1, 2, 3}, True),
        ({4, 5}, {1, 2, 3}, False),
        (set(range(20)), {1, 2, 3, *range(30, 33)}, False),  # many more are found
        (set(range(10)), set(range(5, 25)), True),
    ],
)
def test_misses_are_worse_where_chance_would_seldom_bring_so_many(before, after, worse):
    found = compare(judged(100, before), judged(100, after))
    assert bool(found["worse"]) == worse and all("misses" in reason for reason in found["worse"])
    assert (found["newly_missed"], found["newly_found"]) == (len({*after} - {*before}), len({*before} - {*after}))


def test_a_test_that_neither_model_hears_shows_nothing():
    (reason,) = compare(judged(20, range(20)), judged(20, range(20)))["worse"]
    assert "neither model hears any of the 20 clip(s)" in reason
    assert not compare(judged(20, range(20)), judged(20, range(19)))["worse"]


def test_few_clips_are_no_excuse():
    assert not compare(judged(20), judged(20, {1}))["worse"]
    assert compare(judged(20), judged(20, {1, 2}))["worse"] and not compare(judged(100), judged(100, {1, 2}))["worse"]
    assert compare(judged(20), judged(20))["least"]["miss_rate"] == 2 / 20
    assert compare(judged(100), judged(100))["least"] == {"miss_rate": 3 / 100, "fa_per_hour": 3 / 6}


def test_false_alarms_of_the_same_sounds_cancel_out():
    ten = [100.0 * index for index in range(10)]
    shifted = [second + 0.4 for second in ten]
    assert not compare(judged(50, (), ten), judged(50, (), [*shifted, 5000, 6000]))["worse"]
    (reason,) = compare(judged(50, (), ten), judged(50, (), [*shifted, 5000, 6000, 7000]))["worse"]
    assert "3 new false alarm(s), and 0 fewer" in reason and "6.00 h" in reason
    # As many of others instead are no loss.
    found = compare(judged(50, (), ten), judged(50, (), [5000 + second for second in ten]))
    assert not found["worse"] and (found["new_alarms"], found["alarms_gone"]) == (10, 10)


@pytest.mark.parametrize(
    ("hours", "budget", "before", "after", "worse"),
    [
        (0.03, 0.5, (), (10, 20), True),  # 67 an hour more
        (0.03, 0.5, (), (10,), True),
        (0.03, 0.5, (10,), (10.5,), False),
        (0.03, 120, (), (10, 20), False),  # within the budget, and chance does as much one time in four
        (0.03, 120, (), (10, 20, 30), True),
        (4, 0.5, (), (10, 20), False),
        (20, 0.5, range(0, 60, 10), [*range(100, 200, 10)], False),
        (2, 1 / 24, (), (10,), True),
    ],
)
def test_few_hours_are_no_excuse(hours, budget, before, after, worse):
    found = compare(judged(50, (), before, hours), judged(50, (), after, hours), budget)
    assert bool(found["worse"]) == worse and all("new false alarm(s)" in reason for reason in found["worse"])
    least = found["least"]["fa_per_hour"]
    assert least * hours == pytest.approx(1 if budget * hours < 1 else 3)
    said = "\n".join(table(found, budget))
    assert f"{least:.2f} false alarms an hour" in said
    assert ("are too few to show" in said and "seen, so the rate is below" in said) == (budget * hours < 3)


def test_fewer_false_alarms_do_not_make_up_for_misses():
    worse = compare(judged(100, (), range(0, 1000, 10)), judged(100, {1, 2, 3, 4}))["worse"]
    assert len(worse) == 1 and "misses 4 clip(s)" in worse[0]


def test_times_are_matched_one_to_one():
    assert unmatched(np.array([]), np.array([1.0, 2.0])) == (2, 0)
    assert unmatched(np.array([1.0, 5.0]), np.array([1.9, 2.5, 9.0])) == (2, 1)
    assert unmatched(np.array([1.0]), np.array([0.5, 1.5])) == (1, 0)


def test_a_comparison_is_told_with_intervals_and_goes_into_json():
    found = compare(judged(100, {1, 2}, [10, 20, 30]), judged(100, {2}, [10]))
    lines = "\n".join(table(found, 0.5))
    assert "2.0% (0.6% to 7.0%), 2 of 100" in lines and "0.50 (0.10 to 1.46), 3 in 6.00 h" in lines
    assert "newly missed 0, newly found 1; new false alarms 0, gone 2" in lines
    assert "3.0% of the clips, or 0.50 false alarms an hour" in lines and "are too few to show" not in lines
    assert "6.00 h of negatives are too few to show 0.1 false" in "\n".join(table(found, 0.1))
    assert json.loads(json.dumps(found)) == found


def test_a_detector_is_judged_on_real_audio_at_its_own_threshold(tmp_path):
    """Ten loud tones and two that are too faint; noise with three tones in it."""
    for index in range(12):
        clip_of(tmp_path / "clips" / f"{index:02d}.wav", 0.3 if index < 10 else 0.001, index)
    for index in range(6):
        clip_of(tmp_path / "other" / f"{index}.wav", 0.3 if index < 3 else 0, 50 + index, lead=3)
    skipped = Skipped()
    for threshold, missed, alarms in ((0.5, 2, 3), (1.0, 12, 0)):
        (found,) = judge(
            ToneDetector(threshold), [find_clips(tmp_path / "clips")], find_clips(tmp_path / "other"), skipped
        )
        report = found.report()
        assert (report["missed"], report["clips"], report["false_alarms"]) == (missed, 12, alarms)
        assert report["hours"] == pytest.approx(6 * 4.0 / 3600) and found.misses.at(threshold) == missed
        assert found.threshold == threshold and (found.delay_s is None) == (missed == 12)
    with pytest.raises(WakewordError, match="no clips of '1000 Hz' to test with"):
        judge(ToneDetector(), [[]], find_clips(tmp_path / "other"), skipped)
    with pytest.raises(WakewordError, match="no negatives to test with"):
        judge(ToneDetector(), [find_clips(tmp_path / "clips")], [], skipped)
