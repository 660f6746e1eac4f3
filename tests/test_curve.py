"""Curves of thresholds: how they are made, what sensitivity makes of them, and which files are refused."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from wakeword.errors import ConfigError
from wakeword.evaluation.calibrate import Calibration, choose_threshold, choose_thresholds
from wakeword.evaluation.misses import Misses
from wakeword.model.budget import in_words, parse_budget
from wakeword.model.curve import BUDGETS, Curve, Point, budgets_around, curve_of, logit, table


def point(budget: float, threshold: float, **more) -> Point:
    return Point(budget, threshold, budget, budget, (0.0, 2 * budget), **more)


@st.composite
def curves(draw) -> Curve:
    """Any valid curve."""
    logs = draw(st.lists(st.floats(-9, 9), min_size=1, max_size=12, unique=True))
    budgets = [10**log for log in sorted(logs)]
    assume(all(a * (1 + 2e-6) < b for a, b in zip(budgets, budgets[1:], strict=False)))
    levels = st.one_of(st.just(1.0), st.floats(1e-12, 1.0), st.floats(-20, 20).map(lambda x: 1 / (1 + math.exp(-x))))
    thresholds = sorted(draw(st.lists(levels, min_size=len(budgets), max_size=len(budgets))), reverse=True)
    return Curve(tuple(map(point, budgets, thresholds)), draw(st.sampled_from(budgets)))


@given(curve=curves(), chosen=st.lists(st.floats(0, 1), min_size=2, max_size=20))
@example(curve=Curve((point(0.5, 0.5),), 0.5), chosen=[0.0, 0.5, 1.0])
@example(curve=Curve((point(0.1, 1.0), point(1.0, 1e-9)), 0.1), chosen=[0.5, 0.6, 1.0])
def test_of_two_sensitivities_the_higher_never_has_the_higher_threshold(curve, chosen):
    chosen = sorted([0.0, *chosen, 0.5, 1.0])
    budgets = [curve.budget_at(sensitivity) for sensitivity in chosen]
    thresholds = [curve.threshold_at(budget) for budget in budgets]
    assert budgets == sorted(budgets) and thresholds == sorted(thresholds, reverse=True)
    assert all(0 < threshold <= 1 for threshold in thresholds)
    assert curve.points[-1].threshold <= thresholds[-1] and thresholds[0] <= curve.points[0].threshold
    calibrated = next(p.threshold for p in curve.points if p.fa_per_hour_budget == curve.budget)
    assert thresholds[chosen.index(0.5)] == calibrated, "0.5 is the calibrated threshold itself"


@given(curve=curves(), share=st.floats(0, 1))
def test_between_two_budgets_lies_a_threshold_between_theirs(curve, share):
    for before, after in zip(curve.points, curve.points[1:], strict=False):
        assert curve.threshold_at(before.fa_per_hour_budget) == before.threshold
        between = before.fa_per_hour_budget * (after.fa_per_hour_budget / before.fa_per_hour_budget) ** share
        between = min(max(between, before.fa_per_hour_budget), after.fa_per_hour_budget)
        assert after.threshold <= curve.threshold_at(between) <= before.threshold


def test_sensitivity_is_a_dial_of_the_logarithm_of_the_budget():
    curve = Curve(tuple(point(b, t) for b, t in ((0.05, 0.99), (0.5, 0.9), (5.0, 0.5), (50.0, 0.2))), 0.5)
    assert [curve.budget_at(s) for s in (0, 0.5, 1)] == pytest.approx([0.05, 0.5, 5.0])
    assert curve.budget_at(0.6) == pytest.approx(0.5 * 10**0.2)
    assert curve.threshold_at(curve.budget_at(0.0)) == 0.99 and curve.threshold_at(curve.budget_at(1.0)) == 0.5
    # Half way between the budgets, half way between the logits: of 0.9, log 9, and of 0.5, 0.
    assert curve.threshold_at(0.5 * math.sqrt(10)) == pytest.approx(3 / (1 + 3))
    assert curve.threshold_at(curve.budget_at(0.75)) == pytest.approx(3 / (1 + 3))
    short = Curve(curve.points[1:3], 0.5)
    assert [short.budget_at(s) for s in (0, 0.4, 1)] == [0.5, 0.5, 5.0], "no further than the curve goes"


@pytest.mark.parametrize("sensitivity", [-0.01, 1.01, 50, float("nan"), "0.5", True, [0.5]])
def test_a_sensitivity_is_from_0_to_1(sensitivity):
    with pytest.raises(ConfigError, match="must be a number from 0 to 1"):
        Curve((point(1.0, 0.5),), 1.0).budget_at(sensitivity)


@pytest.mark.parametrize("budget", [0.049, 51.0, 1 / 168])
def test_a_budget_beyond_the_ends_of_a_curve_is_refused_with_them(budget):
    curve = Curve((point(0.05, 0.9), point(50.0, 0.1)), 0.05)
    with pytest.raises(ConfigError, match="from 1 per 20 h to 50 per h: run 'wakeword calibrate' with"):
        curve.threshold_at(budget)


@given(st.floats(1e-9, 1e9))
def test_a_rate_in_words_is_read_back(rate):
    said = in_words(rate)
    assert "e+" not in said and parse_budget(said) == pytest.approx(rate, rel=6e-3)
    assert in_words(parse_budget(said)) == said


@given(st.floats(1e-8, 1e8))
@example(1 / 24)
@example(0.5)
def test_a_curve_reaches_as_far_as_sensitivity_does(budget):
    budgets = budgets_around(budget)
    curve = Curve(tuple(point(each, 0.5) for each in budgets), budget)
    assert budget in budgets and budgets == sorted(budgets) and len(budgets) >= len(BUDGETS)
    for sensitivity, wanted in ((0.0, budget / 10), (1.0, budget * 10)):
        assert curve.budget_at(sensitivity) == pytest.approx(wanted)


def test_the_usual_budgets_are_on_each_curve():
    assert budgets_around(0.5) == sorted([*BUDGETS, 0.05])
    assert len(budgets_around(1.0)) == len(BUDGETS)
    assert budgets_around(30.0) == [*BUDGETS[:8], *sorted([3.0, 10.0, 30.0, 300.0])][:7] + [3.0, 5.0, 10.0, 30.0, 300.0]


@st.composite
def scored(draw) -> np.ndarray:
    """A stream of scores with peaks of any kind: few or many, high or low, alike or different."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    count = draw(st.integers(30, 4000))
    width, scale, shift = draw(st.sampled_from([1, 3, 9])), draw(st.floats(0.1, 4)), draw(st.floats(-8, 4))
    logit = scale * np.convolve(rng.standard_normal(count), np.ones(width) / width**0.5, "same") + shift
    score = (1 / (1 + np.exp(-logit))).astype(np.float32)
    if draw(st.booleans()):
        score = np.round(score, 1)  # zeros, ones, and many peaks of one height
    return score


def assert_expected_is_within_its_budget(found, hours):
    within = found.fa_per_hour_expected <= found.fa_per_hour_budget * (1 + 1e-9)
    assert within or (found.expected_fewer and found.fa_per_hour_expected == 1 / (100 * hours))


@given(score=scored(), hours=st.sampled_from([0.02, 0.3, 5.0, 80.0]), budget=st.sampled_from([1 / 24, 0.5, 30.0]))
@settings(max_examples=30)
def test_the_less_is_allowed_the_higher_is_the_threshold(score, hours, budget):
    budgets = budgets_around(budget)
    found = choose_thresholds([score], hours, budgets)
    thresholds = [each.threshold for each in found]
    assert thresholds == sorted(thresholds, reverse=True) and all(0 < threshold <= 1 for threshold in thresholds)
    assert [each.fa_per_hour_budget for each in found] == budgets
    assert found == [choose_threshold([score], hours, each) for each in budgets], "in one pass or alone"
    for each in found:
        low, high = each.interval
        assert low <= each.fa_per_hour_observed <= high
        if each.threshold < 1:
            assert each.fa_per_hour_observed <= each.fa_per_hour_budget * (1 + 1e-9)
            assert_expected_is_within_its_budget(each, hours)
        assert each.fa_per_hour_expected >= each.fa_per_hour_observed
        by_tail = max(each.fa_per_hour_budget, 1 / (100 * hours))
        assert each.fa_per_hour_expected == by_tail or not each.extrapolated
    # As a model's meta holds it, in JSON.
    chosen = found[budgets.index(budget)]
    whole = dataclasses.replace(chosen, curve=tuple(found))
    curve = curve_of(json.loads(json.dumps(dataclasses.asdict(whole))), chosen.threshold)
    assert [p.threshold for p in curve.points] == thresholds and curve.budget == budget


@given(
    score=scored(),
    hours=st.sampled_from([0.02, 5.0, 80.0]),
    peaks=st.lists(st.floats(0.01, 0.999), min_size=1, max_size=40, unique=True),
)
@settings(max_examples=30)
def test_held_out_clips_raise_a_threshold_half_the_way_to_where_one_more_is_missed(score, hours, peaks):
    """The clips are missed above their peaks, one after the other."""
    peaks = sorted(peaks)
    clips = Misses(len(peaks), tuple(peaks), tuple(range(len(peaks))))
    budgets = budgets_around(0.5)
    plain = choose_thresholds([score], hours, budgets)
    found = choose_thresholds([score], hours, budgets, held_out=clips)
    thresholds = [each.threshold for each in found]
    assert thresholds == sorted(thresholds, reverse=True)
    for low, high in zip(plain, found, strict=True):
        assert clips.at(high.threshold) == clips.at(low.threshold), "none of the known clips is lost by it"
        above = [peak for peak in peaks if peak > low.threshold]
        if not above:
            assert high == low
        else:
            share = min(len(peaks) / 20, 1) / 2
            between = (1 - share) * logit(low.threshold) + share * logit(above[0])
            assert logit(high.threshold) == pytest.approx(between, abs=1e-6)
        if high.threshold < 1:  # a higher one may split an alarm in two, but never beyond the budget
            assert high.fa_per_hour_observed <= high.fa_per_hour_budget * (1 + 1e-9)
            assert_expected_is_within_its_budget(high, hours)
    assert choose_thresholds([score], hours, budgets, held_out=Misses()) == plain


def test_detectors_that_hear_nothing_but_the_phrase_are_set_between_the_two():
    """The case that this is for: the negatives at hand are easier than those to come, and the clips far above both."""
    rng = np.random.default_rng(1)
    at_hand = 1 / (1 + np.exp(8 - rng.standard_normal(20_000)))
    clips = Misses(30, (0.999,), (0,))
    (plain, found) = (choose_threshold([at_hand], 1.0, 1.0, held_out=known) for known in (None, clips))
    assert plain.threshold < 0.05 and found.threshold > 0.5
    assert f"raised from {plain.threshold:.4f} to {found.threshold:.4f}" in found.note


@pytest.mark.parametrize("allowed", [1, 2, 4, 10])
def test_the_upper_end_holds_though_the_alarms_chose_the_threshold(allowed):
    """Peaks of a known distribution: in how many streams does the true rate lie above the interval?"""
    hours, per_hour, above = 10.0, 20.0, 0
    for seed in range(400):
        rng = np.random.default_rng([seed, allowed])
        count = rng.poisson(per_hour * hours)
        score = np.zeros(30 * (count + 1))
        score[30 * np.arange(1, count + 1)] = rng.random(count)
        found = choose_threshold([score], hours, allowed / hours)
        true = per_hour * (1 - found.threshold)
        above += true > found.interval[1]
    # 2.5 % of 400 are 10, with a standard deviation of 3.1.
    assert above <= 20
    assert above >= 2 or allowed < 3, "where no tail raises the threshold, the interval is no wider than it must be"


def test_few_hours_are_told_with_what_they_can_show():
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(-(rng.standard_normal(20_000) - 6)))
    found = choose_threshold([score], 5.3, 1 / 24)
    assert "5.30 h of negatives are too few to show 0.0417 false alarms per hour" in found.note
    assert "can show at best 1 per 1.77 h with 95 % confidence, and 72 h would be needed" in found.note
    assert "no alarm was seen, so the rate is below 0.565 an hour (95 %, one-sided)" in found.note
    assert found.extrapolated and found.fa_per_hour_expected == 1 / 24 and found.fa_per_hour_observed == 0
    said = found.summary()
    assert (
        "for 1 per 24 h: expected 1 per 24 h by a fitted tail, seen 0 in 5.30 h, so 0 to 0.696 an hour (95 %)" in said
    )
    assert "misses not known" in said and "\n" not in said
    enough = choose_threshold([score], 5.3, 2.0)
    assert enough.note == "" and enough.fa_per_hour_expected == enough.fa_per_hour_observed


def test_no_rarer_alarms_are_told_than_a_hundred_times_the_hours_could_show():
    """A clip far above all negatives raises the threshold to where the fitted tail speaks of millions of years."""
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(12 - 0.3 * rng.standard_normal(8_000)))
    hours, budgets = 0.09, budgets_around(0.5)
    for each in choose_thresholds([score], hours, budgets, held_out=Misses(30, (0.999,), (0,))):
        assert each.expected_fewer and each.fa_per_hour_expected == 1 / (100 * hours), "also of a rarer budget"
        assert "expected fewer than 1 per 9 h by a fitted tail" in each.summary()
    asked = choose_threshold([score], hours, 0.5, held_out=Misses(30, (0.999,), (0,)))
    assert "for 1 per 2 h: expected fewer than 1 per 9 h by a fitted tail, seen 0 in 0.09 h" in asked.summary()
    assert "<1 per 9 h" in table([asked])[1] and table([asked])[-1].startswith("<: fewer than this")
    plain = choose_threshold([score], hours, 0.5)
    assert plain.fa_per_hour_expected == 0.5 and not plain.expected_fewer and "fewer" not in plain.summary()
    assert "<" not in "".join(table([plain]))
    rarer = choose_threshold([score], hours, 1 / 24)
    assert (
        rarer.extrapolated
        and rarer.expected_fewer
        and "for 1 per 24 h: expected fewer than 1 per 9 h" in rarer.summary()
    )


def test_what_was_seen_is_expected_though_the_tail_says_less():
    """One recording far above all others, a clip above it: the margin lies between, and the tail far below."""
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(8 - rng.standard_normal(20_000)))
    score[10_000] = 0.99
    found = choose_threshold([score], 2.5, 0.5, held_out=Misses(30, (0.9,), (0,)))
    assert 0.01 < found.threshold < 0.99
    assert found.fa_per_hour_expected == found.fa_per_hour_observed == 1 / 2.5
    assert "expected 1 per 2.5 h, seen 1 in 2.50 h, so 0.0101 to 2.23 an hour (95 %)" in found.summary()


@pytest.mark.parametrize(("clips", "share", "told"), [(40, 0.5, "half"), (20, 0.5, "half"), (2, 0.05, "5% of")])
def test_few_clips_draw_a_threshold_less(clips, share, told):
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(6 - rng.standard_normal(20_000)))
    plain = choose_threshold([score], 5.3, 1 / 4)
    clip = float(1 / (1 + np.exp(-(logit(plain.threshold) + 1.0))))
    found = choose_threshold([score], 5.3, 1 / 4, held_out=Misses(clips, (clip,), (0,)))
    assert logit(found.threshold) - logit(plain.threshold) == pytest.approx(share, abs=1e-3)
    assert f", {told} the way to where a further clip is missed" in found.note


def test_within_a_hundred_times_the_hours_the_tail_tells_the_rate():
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(6 - rng.standard_normal(20_000)))
    plain = choose_threshold([score], 5.3, 1 / 4)
    clip = float(1 / (1 + np.exp(-(logit(plain.threshold) + 1.0))))  # half the way to it is 0.5 in the logit
    found = choose_threshold([score], 5.3, 1 / 4, held_out=Misses(30, (clip,), (0,)))
    assert 1 / 530 < found.fa_per_hour_expected < 1 / 4 and not found.expected_fewer
    assert "fewer than" not in found.summary()


def test_a_budget_that_the_hours_show_is_not_told_to_give_no_alarm_for_ever():
    """Clips raise its threshold above all peaks: what was seen, nothing, is no rate to expect."""
    rng = np.random.default_rng(0)
    score = 1 / (1 + np.exp(6 - rng.standard_normal(20_000)))
    budgets = budgets_around(0.5)
    peak = float(score.max())
    clip = float(1 / (1 + np.exp(-(logit(peak) + 1.0))))
    found = choose_thresholds([score], 5.3, budgets, held_out=Misses(30, (clip,), (0,)))
    silent = [each for each in found if each.fa_per_hour_observed == 0]
    assert any(each.fa_per_hour_budget * 5.3 >= 3 for each in silent)
    for each in silent:
        assert 0 < each.fa_per_hour_expected <= each.fa_per_hour_budget
    expected = [each.fa_per_hour_expected for each in found]
    assert expected == sorted(expected), "the lower the threshold, the more alarms are to be expected"


def test_a_table_says_what_is_known_of_each_point():
    lines = table(
        [point(1 / 24, 0.9, extrapolated=True), point(2.0, 0.5, clips=40, missed=3, miss_interval=(0.03, 0.2))]
    )
    assert "1 per 24 h" in lines[1] and "0.9000*" in lines[1] and "not known" in lines[1]
    assert "2 per h" in lines[2] and "0.5000 " in lines[2] and "7.5% (3.0% to 20.0%), 3 of 40" in lines[2]
    assert "extrapolated" in lines[-1] and "extrapolated" not in table([point(1.0, 0.5)])[-1]


GOOD = [
    {
        "fa_per_hour_budget": budget,
        "threshold": threshold,
        "fa_per_hour_expected": budget,
        "fa_per_hour_observed": 0.0,
        "interval": [0.0, 1.0],
        "extrapolated": True,
        "clips": 10,
        "missed": 1,
        "miss_interval": [0.02, 0.4],
        "expected_fewer": False,
    }
    for budget, threshold in ((0.05, 0.9), (0.5, 0.8), (5, 0.7))
]


def changed(index: int, **changes) -> list[dict]:
    return [{**each, **(changes if place == index else {})} for place, each in enumerate(GOOD)]


BROKEN_CURVES = {
    "a number": 3,
    "text": "0.5",
    "no points": [],
    "numbers": [[0.1, 0.9]],
    "nothing": [None],
    "a key is missing": [{"threshold": 0.5}],
    "budgets fall": GOOD[::-1],
    "a budget twice": changed(1, fa_per_hour_budget=0.05),
    "budgets as good as the same": changed(0, fa_per_hour_budget=0.5 * (1 - 1e-10)),
    "thresholds rise": changed(2, threshold=0.85),
    "threshold above 1": changed(0, threshold=1.5),
    "threshold 0": changed(2, threshold=0),
    "threshold NaN": changed(0, threshold=float("nan")),
    "threshold text": changed(1, threshold="0.8"),
    "another threshold than the phrase's": changed(1, threshold=0.81),
    "another budget than the phrase's": changed(1, fa_per_hour_budget=0.6),
    "budget 0": changed(0, fa_per_hour_budget=0),
    "budget infinite": changed(2, fa_per_hour_budget=float("inf")),
    "budget a bool": changed(2, fa_per_hour_budget=True),
    "rate below 0": changed(0, fa_per_hour_observed=-1.0),
    "expected null": changed(0, fa_per_hour_expected=None),
    "interval of one": changed(0, interval=[0.0]),
    "interval falls": changed(0, interval=[1.0, 0.0]),
    "interval text": changed(0, interval="01"),
    "extrapolated a number": changed(0, extrapolated=1),
    "more missed than clips": changed(0, missed=11),
    "half a clip": changed(0, missed=0.5),
    "miss rate above 1": changed(0, miss_interval=[0.5, 1.5]),
}


def test_a_good_curve_is_read_and_others_keys_are_no_harm():
    curve = curve_of({"fa_per_hour_budget": 0.5, "curve": changed(0, more="said")}, 0.8)
    assert curve.budget == 0.5 and [p.threshold for p in curve.points] == [0.9, 0.8, 0.7]
    assert curve.points[0] == Point(0.05, 0.9, 0.05, 0.0, (0.0, 1.0), True, 10, 1, (0.02, 0.4))


@pytest.mark.parametrize("calibration", [None, {}, {"fa_per_hour_budget": 0.5, "threshold": 0.8}, {"curve": None}])
def test_a_calibration_of_before_curves_has_none(calibration):
    assert curve_of(calibration, 0.8) is None


@pytest.mark.parametrize("broken", BROKEN_CURVES.values(), ids=BROKEN_CURVES)
def test_a_malformed_curve_is_refused_in_a_line(broken):
    with pytest.raises(ConfigError, match="curve") as caught:
        curve_of({"fa_per_hour_budget": 0.5, "curve": broken}, 0.8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("budget", [None, "0.5", float("nan"), True, [0.5]])
def test_a_curve_without_the_calibrated_budget_is_refused(budget):
    with pytest.raises(ConfigError, match="budget"):
        curve_of({"fa_per_hour_budget": budget, "curve": GOOD}, 0.8)


@given(
    said=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*GOOD[0], "x"]), inner),
        max_leaves=20,
    )
)
def test_any_json_is_a_curve_or_refused(said):
    try:
        curve_of({"fa_per_hour_budget": 0.5, "curve": said}, 0.8)
    except ConfigError as error:
        assert "\n" not in str(error)


def test_calibrations_are_points():
    assert issubclass(Calibration, Point) and {f.name for f in dataclasses.fields(Point)} == set(GOOD[0])
