"""What a threshold gives: misses in each condition, false alarms by corpus, kind of sound and speakers' group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from wakeword.audio.clips import Clip
from wakeword.evaluation.groups import corpus_of, groups_of, kind_of
from wakeword.evaluation.metrics import Track, alarms, delay_stats, hits, poisson_interval, too_wide, wilson_interval
from wakeword.evaluation.streams import Event

GROUP_LEAST = 10  # clips
WORST_SHOWN = 20
MISS_WIDE = 0.2  # width of the interval above which a miss rate says little
RATE_WIDE = 5.0  # times the rate held against: false alarms that may be that many, or none too many, say little

Scored = tuple[Track, list[Event]]


def operating_point(
    threshold: float,
    positive: Mapping[str, Scored],
    negative: Mapping[str, Scored],
    others: Mapping[str, Scored],
    again: np.ndarray,
    refractory_s: float,
    asked: float | None,
    held_against: float | None,
) -> dict[str, Any]:
    """What a report says of a threshold.

    Args:
        positive: scores and clips by condition.
        negative: the same, of the conditions that have negatives of their own; "clean" is one.
        others: further negatives, by kind, that are counted apart.
        again: int64 `[clips]`, which of the clean negatives the other conditions heard too.
        asked: false alarms per hour that the threshold was chosen for.
        held_against: false alarms per hour that rates are `wide` against: see `alarm_figures`.
    """
    counting = dict(threshold=threshold, refractory_s=refractory_s, asked=asked, held_against=held_against)
    false_alarms = {name: _false_alarms(*scored, **counting) for name, scored in negative.items()}
    if len(false_alarms) > 1:
        same = int(np.isin(_alarms(negative["clean"][0], threshold, refractory_s)[1], again).sum())
        for name in false_alarms.keys() - {"clean"}:
            false_alarms[name]["clean_count"] = same  # of the same clips without noise
    return {
        "threshold": float(threshold),
        "asked_fa_per_hour": asked,
        "held_against_fa_per_hour": held_against,
        "false_alarms": false_alarms,
        "others": {kind: _false_alarms(*scored, **counting) for kind, scored in others.items()},
        "conditions": {name: _condition(*scored, threshold, refractory_s) for name, scored in positive.items()},
    }


def _alarms(track: Track, threshold, refractory_s) -> tuple[np.ndarray, np.ndarray]:
    """Times float64 [k] of the alarms in a stream, and indices int64 [k] of the clips that they are laid to."""
    times = alarms(track.time_s, track.score, threshold, refractory_s)
    # A score in the pause still belongs to the clip before.
    return times, np.maximum(np.searchsorted(track.starts_s, times, side="right") - 1, 0)


def _false_alarms(track: Track, events: list[Event], threshold, refractory_s, asked, held_against) -> dict[str, Any]:
    times, clips = _alarms(track, threshold, refractory_s)
    first = np.searchsorted(track.time_s, times)
    after = np.searchsorted(track.time_s, times + refractory_s, side="right")
    peaks = np.asarray([track.score[i:j].max() for i, j in zip(first, after, strict=True)])
    return {
        **alarm_figures(len(times), track.hours, len(events), held_against),
        "note": "" if asked is None else too_wide(track.hours, asked),
        "by_corpus": _rates_by(events, clips, lambda clip: [corpus_of(clip)], held_against),
        "by_kind": _rates_by(events, clips, lambda clip: [kind_of(clip)], held_against),
        "by_group": _rates_by(events, clips, groups_of, held_against, GROUP_LEAST),
        "worst": [
            {
                "path": str(events[clips[i]].clip.path),
                "at_s": round(float(times[i] - events[clips[i]].start_s) + events[clips[i]].clip.start_s, 2),
                "peak": float(peaks[i]),
                "text": events[clips[i]].clip.text,
            }
            for i in np.argsort(-peaks, kind="stable")[:WORST_SHOWN]
        ],
    }


def alarm_figures(count: int, hours: float, clips: int, held_against: float | None) -> dict[str, Any]:
    """False alarms and their rate, and whether its interval is too `wide` to mean anything.

    It is where the rate may keep within what it is held against, and may as well be several times as high.
    """
    low, high = poisson_interval(count, hours)
    return {
        "count": count,
        "clips": clips,
        "hours": hours,
        "per_hour": count / hours if hours else None,
        "interval": [low, high],
        "wide": held_against is not None and low <= held_against < high / RATE_WIDE,
    }


def _rates_by(
    events: list[Event],
    alarmed: Iterable[int],
    names_of: Callable[[Clip], list[str]],
    held_against: float | None,
    least_clips: int = 1,
) -> dict[str, dict[str, Any]]:
    """False alarms by what a clip is, in the order in which that is met; `alarmed` are indices, one an alarm."""
    names = [names_of(event.clip) for event in events]
    hours, clips = hours_by(events, names_of), _tally(names)
    counts = _tally(names[i] for i in alarmed)
    return {
        name: alarm_figures(counts.get(name, 0), hours[name], clips[name], held_against)
        for name in clips
        if clips[name] >= least_clips
    }


def _tally(names: Iterable[list[str]]) -> dict[str, int]:
    found: dict[str, int] = defaultdict(int)
    for each in names:
        for name in each:
            found[name] += 1
    return found


def hours_by(events: list[Event], names_of: Callable[[Clip], list[str]]) -> dict[str, float]:
    """Hours of clips by what they are."""
    hours: dict[str, float] = defaultdict(float)
    for event in events:
        for name in names_of(event.clip):
            hours[name] += (event.end_s - event.start_s) / 3600
    return dict(hours)


def _condition(track: Track, events: list[Event], threshold, refractory_s) -> dict[str, Any]:
    """Misses with their interval, the delay after the phrase's end by energy, and misses by speakers' groups."""
    found = hits(track, threshold, refractory_s)
    missed = np.isnan(found)
    members = defaultdict(list)
    for index, event in enumerate(events):
        for group in groups_of(event.clip):
            members[group].append(index)
    groups = {
        group: miss_figures(missed[members[group]]) for group in sorted(members) if len(members[group]) >= GROUP_LEAST
    }
    delay = found - np.asarray([e.speech_end_s for e in events])
    return {**miss_figures(missed), "delay": delay_stats(delay), "groups": groups}


def miss_figures(missed: np.ndarray) -> dict[str, Any]:
    """Misses (bool [clips]) and their rate with its 95 % interval, and a note where so few clips leave it open."""
    k, n = int(missed.sum()), len(missed)
    low, high = wilson_interval(k, n)
    wide = high - low > MISS_WIDE
    note = f"{n} clips leave the miss rate between {low:.0%} and {high:.0%}: record more" if wide else ""
    return {"clips": n, "missed": k, "miss_rate": k / n, "interval": [low, high], "note": note}
