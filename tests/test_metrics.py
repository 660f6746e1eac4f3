import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword.detector.trigger import Trigger
from wakeword.errors import WakewordError
from wakeword.evaluation.calibrate import choose_threshold, lowest_within, parse_budget
from wakeword.evaluation.metrics import (
    Track,
    alarms,
    candidate_thresholds,
    count_alarms,
    delay_stats,
    det_curve,
    hits,
    miss_at,
    poisson_interval,
    too_wide,
    wilson_interval,
)

# A coarse grid, so that ties with the threshold happen.
levels = st.one_of(st.integers(0, 8).map(lambda k: k / 8), st.just(math.nan))
score_lists = st.lists(st.tuples(levels, st.integers(1, 12)), max_size=60).map(
    lambda runs: np.asarray([level for level, length in runs for _ in range(length)], np.float32)
)


def frame_times(count):
    return 0.04 * np.arange(1, count + 1)


def naive_alarms(times, scores, threshold, refractory_s):
    fired, armed, last = [], True, -math.inf
    for t, score in zip(times, scores, strict=True):
        if score >= threshold:
            if armed and t - last >= refractory_s - 1e-6:
                fired.append(t)
                armed, last = False, t
        else:
            armed = True
    return fired


@given(score_lists, st.integers(0, 9).map(lambda k: k / 8), st.sampled_from([0.0, 0.04, 0.2, 1.0, 1.3]), st.data())
def test_trigger_equals_a_frame_loop_for_any_chunks(scores, threshold, refractory_s, data):
    times = frame_times(len(scores))
    expected = naive_alarms(times, scores, threshold, refractory_s)
    assert alarms(times, scores, threshold, refractory_s).tolist() == expected
    cuts = sorted(data.draw(st.lists(st.integers(0, len(scores)), max_size=12)))
    trigger, found = Trigger(threshold, refractory_s), []
    for begin, end in zip([0, *cuts], [*cuts, len(scores)], strict=True):
        found += times[begin:end][trigger.step(times[begin:end], scores[begin:end])].tolist()
    assert found == expected


def test_trigger_fires_once_an_excursion_and_after_the_refractory_time():
    score = np.zeros(200, np.float32)
    score[10:60] = 0.9  # one long excursion: one alarm
    score[61:64] = 0.9  # within 1 s of nothing: 61 - 10 = 51 frames later
    score[70:100] = 0.9  # begins 9 frames after the last alarm, lasts beyond the refractory time
    assert Trigger(0.5, 1.0).step(frame_times(200), score).tolist() == [10, 61, 86]


def test_trigger_after_exactly_the_refractory_time_fires():
    # 25 frames of 40 ms are less than 1 s in floating point for some starts; none may be lost.
    for first in range(300):
        score = np.zeros(first + 30)
        score[[first, first + 25]] = 1
        assert Trigger(0.5, 1.0).step(frame_times(len(score)), score).tolist() == [first, first + 25]


def test_trigger_reset_forgets():
    trigger = Trigger(0.5)
    assert len(trigger.step(frame_times(3), np.ones(3))) == 1
    assert len(trigger.step(frame_times(6)[3:], np.ones(3))) == 0
    trigger.reset()
    assert len(trigger.step(frame_times(3), np.ones(3))) == 1


def test_float32_scores_are_not_rounded_against_the_threshold():
    score = np.asarray([0.1], np.float32)  # a little above 0.1 in float64
    assert len(alarms([0.04], score, 0.1)) == 1
    assert len(alarms([0.04], score, float(np.nextafter(np.float32(0.1), np.float32(1))))) == 0


def test_hits_belong_to_one_event_each():
    score = np.zeros(400)
    score[[20, 145, 220, 330]] = 1  # at 0.84, 5.84, 8.84 and 13.24 s
    track = Track(frame_times(400), score, 1.0, np.asarray([0.5, 5, 7, 10.0]), np.asarray([1.5, 6, 8, 12.0]))
    found = hits(track, 0.5)
    assert found[:3].tolist() == pytest.approx([0.84, 5.84, 8.84])  # the third 0.84 s after its clip's end
    assert math.isnan(found[3])  # 1.24 s after the end is too late
    near = Track(frame_times(400), score, 1.0, np.asarray([0.1, 0.8]), np.asarray([0.7, 1.4]))
    assert np.isnan(hits(near, 0.5)).tolist() == [True, False]  # the next clip has begun: not the first's hit


def walk(seed, frames=20000):
    rng = np.random.default_rng(seed)
    logit = np.convolve(rng.standard_normal(frames), np.ones(8) / 3, mode="same") - 2
    return (1 / (1 + np.exp(-logit))).astype(np.float32)


def tracks_of(seed):
    times = frame_times(20000)
    negative = Track(times, walk(seed), times[-1] / 3600)
    score, starts = walk(seed + 1) * 0.5, np.arange(5, 795, 5.0)
    for i, start in enumerate(starts):
        score[int((start + 1) * 25)] = 0.3 + 0.7 * (i * 37 % 100) / 100
    return Track(times, score, 0.2, starts, starts + 2), negative


def test_det_is_monotonic_and_its_points_can_be_reached():
    positive, negative = tracks_of(3)
    det = det_curve([positive], [negative])
    assert np.all(np.diff(det.thresholds) > 0)
    assert np.all(np.diff(det.miss_rate) >= 0) and np.all(np.diff(det.fa_per_hour) <= 0)
    assert det.fa_per_hour[-1] == 0
    for rate in (0, 5, 20, 100):
        point = miss_at(det, rate)
        assert np.isnan(hits(positive, point.threshold)).mean() == pytest.approx(point.miss_rate)
        assert len(alarms(negative.time_s, negative.score, point.threshold)) / negative.hours <= rate + 1e-9


def test_det_has_every_false_alarm_at_its_low_end():
    _, negative = tracks_of(5)
    counts = count_alarms([negative], candidate_thresholds([negative]))
    assert set(range(8)) <= set(counts.tolist())


def test_miss_at_finds_what_an_exhaustive_search_finds():
    positive, negative = tracks_of(8)
    best = {}
    for threshold in np.unique(np.concatenate([negative.score, positive.score]))[-3000::2]:
        threshold = float(np.nextafter(threshold, np.float32(2)))
        fa = len(alarms(negative.time_s, negative.score, threshold))
        best[fa] = min(best.get(fa, 1.0), np.isnan(hits(positive, threshold)).mean())
    det = det_curve([positive], [negative])
    for allowed in range(6):
        exact = min(miss for fa, miss in best.items() if fa <= allowed)
        assert miss_at(det, allowed / negative.hours).miss_rate <= exact + 1.01 / len(positive.starts_s)


def test_det_without_events_or_hours_is_refused():
    positive, negative = tracks_of(1)
    with pytest.raises(ValueError):
        det_curve([negative], [negative])
    with pytest.raises(ValueError):
        det_curve([positive], [Track(negative.time_s, negative.score, 0.0)])


def test_hours_of_scores_take_seconds():
    score = np.concatenate([walk(i, 90000) for i in range(5)])
    track = Track(frame_times(len(score)), score, 5.0)
    begun = time.process_time()
    count_alarms([track], np.linspace(0.01, 0.99, 100))
    assert time.process_time() - begun < 10


def test_wilson_interval_agrees_with_published_values():
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    for k, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson_interval(k, n) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(29, 29)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_poisson_interval_agrees_with_published_values():
    # Garwood 1936 / Ulm 1990: exact 95 % limits of a Poisson mean.
    for k, low, high in ((0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (10, 4.795, 18.390)):
        assert poisson_interval(k, 1.0) == pytest.approx((low, high), abs=6e-4)
    assert poisson_interval(100, 10.0) == pytest.approx((8.136, 12.163), abs=1e-3)
    assert poisson_interval(0, 0.0) == (0.0, math.inf)


def test_too_wide_is_the_rule_of_three():
    assert too_wide(6.0, 0.5) == ""
    assert "6 h would be needed" in too_wide(5.9, 0.5)
    assert "30 h would be needed" in too_wide(2.0, 0.1)


def test_delay_stats_leave_out_misses():
    found = delay_stats(np.asarray([0.1, np.nan, 0.3, 0.2]))
    assert found["median_s"] == pytest.approx(0.2)
    assert found["p95_s"] == pytest.approx(0.29)
    assert delay_stats(np.asarray([np.nan]))["median_s"] is None


@pytest.mark.parametrize(
    "text, rate",
    [("0.5/h", 0.5), ("1 per 24 h", 1 / 24), ("1 per 24h", 1 / 24), ("2 per day", 2 / 24), ("1 per hour", 1.0)]
    + [
        ("0.1", 0.1),
        (3, 3.0),
        ("once a week", 1 / 168),
        ("2 / 12 hours", 1 / 6),
        ("1 false alarm every 2 days", 1 / 48),
        (1e-5, 1e-5),
        (np.float64(2e-9), 2e-9),
        ("1e-05", 1e-5),
        ("3 per 5 mins", 36.0),
    ],
)
def test_budgets(text, rate):
    assert parse_budget(text) == pytest.approx(rate)


@pytest.mark.parametrize(
    "text",
    ["", "few", "0/h", "-1 per day", "1 per fortnight", "1 per 0 h", "inf", "nan", "1e400"]
    + [1e-10, "1e", "1e-5e", "1 per ms", "1 per ss", "1 per hs", "1 per s s", float("nan")],
)
def test_malformed_budgets_are_one_line(text):
    with pytest.raises(WakewordError) as error:
        parse_budget(text)
    assert "\n" not in str(error.value) and "false-alarm budget" in str(error.value)


def test_threshold_is_the_lowest_within_the_budget():
    score, hours = walk(21, 90000), 1.0
    found = choose_threshold([score], hours, 20.0)
    assert not found.extrapolated and found.note == ""
    times = frame_times(len(score))
    assert len(alarms(times, score, found.threshold)) == round(found.fa_per_hour_observed * hours) <= 20
    below = float(np.nextafter(np.float32(found.threshold), np.float32(0)))
    assert len(alarms(times, score, below)) > 20
    assert found.interval[0] < found.fa_per_hour_observed < found.interval[1]


def test_too_few_hours_extrapolate_and_hold_on_new_audio():
    # Thresholds for 1 alarm per hour from one hour each must hold, on average, on 12 other hours.
    fresh = [walk(1000 + i, 90000) for i in range(12)]
    rates = []
    for seed in range(8):
        found = choose_threshold([walk(seed, 90000)], 1.0, 1.0)
        assert "too few" in found.note
        rates.append(sum(len(alarms(frame_times(90000), f, found.threshold)) for f in fresh) / 12)
    assert 0.2 < np.mean(rates) < 2.0


def test_extrapolation_raises_the_threshold_only():
    score = walk(4, 90000)
    shown, raised = choose_threshold([score], 1.0, 3.0), choose_threshold([score], 1.0, 0.05)
    assert raised.threshold > score.max() > shown.threshold
    assert raised.extrapolated and "fitted tail" in raised.note


def test_negatives_that_score_one_are_named():
    score = np.zeros(2000)
    score[::40] = 1.0
    # What no detector takes as a threshold would lose the model; the rate at 1 is stated as it is, with many peaks
    # or few, in hours that can show the budget or cannot.
    for stream, budget in ((score, 1.0), (score, 0.05), (np.concatenate([np.zeros(40), [1.0] * 40]), 0.05)):
        found = choose_threshold([stream], 10.0, budget)
        assert "no threshold keeps the budget" in found.note and found.threshold == 1.0 and not found.extrapolated
        seen = len(alarms(frame_times(len(stream)), stream, 1.0)) / 10.0
        assert found.fa_per_hour_observed == found.fa_per_hour_expected == seen > budget and not found.expected_fewer
    assert "keeps the budget" not in choose_threshold([score], 10.0, 5.0).note


def test_a_budget_that_any_threshold_keeps_gives_one_that_a_detector_takes():
    assert 0 < choose_threshold([np.zeros(2000)], 1.0, 1000.0).threshold <= 1
    assert 0 < choose_threshold([np.full(2000, 0.25)], 1.0, 1000.0).threshold <= 1


def test_no_negatives_is_one_line():
    with pytest.raises(WakewordError):
        choose_threshold([], 0.0, 1.0)


@given(st.sampled_from([80, 160, 200]), st.integers(2, 200))
def test_a_track_says_how_far_apart_its_scores_are(hop, count):
    frame_s = 4 * hop / 16000
    times = frame_s * np.arange(1, count + 1)
    assert Track(times, np.zeros(count), 0.1).frame_s == pytest.approx(frame_s)
    for few in (0, 1):
        assert Track(times[:few], np.zeros(few), 0.1).frame_s == 0.04, "of the usual hop where two are not there"


@given(seed=st.integers(0, 1000), rate=st.sampled_from([0.0, 30.0, 100.0, 1e5]))
@settings(max_examples=10, deadline=None)
def test_the_lowest_threshold_within_a_rate_keeps_it_and_the_next_does_not(seed, rate):
    rng = np.random.default_rng(seed)
    score = np.clip(np.convolve(rng.random(2000), np.ones(5) / 5, "same"), 0, 1).astype(np.float32)
    track = Track(0.04 * np.arange(1, 2001), score, 2000 * 0.04 / 3600)
    threshold = lowest_within([track], track.hours, rate)
    candidates = candidate_thresholds([track])
    counts = dict(zip(candidates.tolist(), count_alarms([track], candidates).tolist(), strict=True))
    assert counts[threshold] <= rate * track.hours
    below = candidates[(candidates > 0) & (candidates < threshold)]
    assert not len(below) or counts[below[-1]] > rate * track.hours
