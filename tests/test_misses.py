"""Misses by threshold: what the table says is what the detector would do."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wakeword.errors import ModelError
from wakeword.evaluation.metrics import Track, hits
from wakeword.evaluation.misses import GRID, Misses, held_out_misses, misses_of, with_misses
from wakeword.model.curve import Point


def track_of(seed: int, events: int) -> Track:
    """Events of 1 to 3 s with peaks of any height in a wandering score; some excursions last beyond their event."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(rng.uniform(2.0, 4.0, events))
    ends = starts + rng.uniform(1.0, 1.9, events)
    times = 0.04 * np.arange(1, int((ends[-1] + 3 if events else 5) / 0.04))
    score = 0.3 * rng.random(len(times)) ** 4
    for start in starts:
        first = int((start + rng.uniform(0.2, 0.9)) / 0.04)
        score[first : first + rng.integers(1, 60)] = rng.random()
    return Track(times, score.astype(np.float32), 1.0, starts, ends)


def missed(track: Track, threshold: float) -> int:
    return int(np.isnan(hits(track, threshold)).sum())


@given(seed=st.integers(0, 500), events=st.integers(1, 60))
@example(seed=0, events=400)
@settings(max_examples=30)
def test_the_table_is_what_the_trigger_does(seed, events):
    track = track_of(seed, events)
    misses = misses_of(track, 1.0)
    assert misses.clips == events and list(misses.thresholds) == sorted(set(misses.thresholds))
    assert len(misses.thresholds) <= len(GRID) + 301
    for threshold, count in zip(misses.thresholds, misses.missed, strict=True):
        assert misses.at(threshold) == count == missed(track, threshold)
    for threshold in GRID:
        assert misses.at(threshold) == missed(track, threshold)
    assert misses.at(1.0) == missed(track, 1.0)
    if events <= 60:  # and at each clip's own peak, where it comes and goes
        until = np.minimum(track.ends_s + 1.0, np.append(track.starts_s[1:], np.inf))
        for start, end in zip(track.starts_s, until, strict=True):
            peak = float(track.score[(track.time_s > start) & (track.time_s <= end)].max())
            assert misses.at(peak) == missed(track, peak)


def test_a_score_that_never_falls_hears_but_the_first_clip():
    """The peaks alone would say that none is missed."""
    track = track_of(3, 20)
    track.score[:] = np.maximum(track.score, 0.2)
    misses = misses_of(track, 1.0)
    assert misses.at(0.1) == missed(track, 0.1) >= 19
    assert misses.at(0.25) == missed(track, 0.25) < 19


@given(seed=st.integers(0, 500), events=st.integers(1, 60), threshold=st.floats(1e-6, 1.0))
@settings(max_examples=50)
def test_how_high_a_threshold_may_go_before_it_misses_more(seed, events, threshold):
    track = track_of(seed, events)
    misses = misses_of(track, 1.0)
    top = misses.as_few_up_to(threshold)
    assert top >= threshold and misses.at(top) <= misses.at(threshold)
    higher = [each for each in misses.thresholds if each > threshold]
    if min(map(misses.at, [threshold, *higher])) == events:
        assert top == threshold
        return
    for higher in misses.thresholds:
        if higher > top:
            assert missed(track, higher) > missed(track, top)


def test_where_no_clip_is_found_a_threshold_stays():
    """A single held-out clip that is missed must not make a detector that never fires."""
    time_s = 0.04 * np.arange(1, 151)
    score = np.where(np.arange(150) == 50, np.float32(0.3), np.float32(0.01))
    misses = misses_of(Track(time_s, score, 0.0, np.array([1.0]), np.array([3.0])), 1.0)
    assert misses.thresholds[-1] > 0.999 and misses.at(0.2) == 0
    assert misses.as_few_up_to(0.2) == pytest.approx(0.3)
    assert [misses.as_few_up_to(threshold) for threshold in (0.4, 0.9)] == [0.4, 0.9]


def test_a_score_that_never_falls_may_go_to_where_the_clips_are_heard():
    misses = Misses(30, (0.1, 0.2, 0.9, 0.95), (29, 3, 0, 12))
    assert [misses.as_few_up_to(threshold) for threshold in (0.05, 0.9, 0.93, 0.97)] == [0.9, 0.9, 0.95, 0.97]


def test_without_clips_nothing_is_known():
    misses = misses_of(track_of(0, 0), 1.0)
    assert misses.clips == 0 and misses.at(0.5) == 0
    assert Misses().as_few_up_to(0.5) == 0.5
    found = with_misses(Point(1.0, 0.5, 1.0, 1.0, (0.0, 2.0)), misses)
    assert found == Point(1.0, 0.5, 1.0, 1.0, (0.0, 2.0)) and found.misses == "not known"


def test_a_point_gets_its_misses():
    misses = Misses(40, (0.3, 0.6, 0.9), (0, 3, 39))
    assert [misses.at(threshold) for threshold in (0.1, 0.3, 0.31, 0.6, 0.7, 0.9, 0.91)] == [0, 0, 3, 3, 39, 39, 40]
    found = with_misses(Point(1.0, 0.5, 1.0, 1.0, (0.0, 2.0)), misses)
    assert (found.clips, found.missed) == (40, 3) and found.miss_interval == pytest.approx((0.0258, 0.1986), abs=1e-3)


def card(said) -> dict:
    return {"card": {"phrases": {"hello": {"clips": 3, "held_out_misses": said}, "there": {"clips": 3}}}}


def test_a_card_is_read_or_says_nothing():
    misses = Misses(40, (0.3, 0.6), (0, 3))
    said = json.loads(json.dumps(dataclasses.asdict(misses)))
    assert held_out_misses("m", card(said)) == {"hello": misses}
    for nothing in ({}, {"card": None}, {"card": {}}, {"card": {"phrases": []}}, {"card": {"phrases": {"hello": 3}}}):
        assert held_out_misses("m", nothing) == {}


@pytest.mark.parametrize(
    "said",
    [
        3,
        {"clips": 2, "thresholds": [0.5], "missed": [3]},
        {"clips": 2, "thresholds": [0.5], "missed": [-1]},
        {"clips": 2, "thresholds": [0.5, 0.5], "missed": [1, 2]},
        {"clips": 2, "thresholds": [0.5], "missed": []},
        {"clips": 2, "thresholds": [float("nan")], "missed": [1]},
        {"clips": 2.5, "thresholds": [0.5], "missed": [1]},
        {"clips": 2, "threshold": 0.5},
    ],
)
def test_a_malformed_card_is_refused_in_a_line(said):
    with pytest.raises(ModelError, match="m.onnx: held_out_misses") as caught:
        held_out_misses("m.onnx", card(said))
    assert "\n" not in str(caught.value)
