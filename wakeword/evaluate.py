"""A detector against streams of positives and negatives: one report, at thresholds of named origin."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from wakeword.calibrate import choose_threshold, lowest_within
from wakeword.clips import Clip
from wakeword.detector import Detector, output_of
from wakeword.errors import Skipped, WakewordError
from wakeword.metrics import (
    Det,
    Track,
    alarms,
    delay_stats,
    det_curve,
    hits,
    poisson_interval,
    too_wide,
    wilson_interval,
)
from wakeword.report import format_report, write_report
from wakeword.streams import Event, Progress, Stream, negative_stream, noise_bed, positive_stream, score_stream

__all__ = ["evaluate", "format_report"]

GROUPS = ("gender", "age", "accent")
GROUP_LEAST = 10  # clips
WORST_SHOWN = 20
MISS_WIDE = 0.2  # width of the interval above which a miss rate says little
AGES = (
    (13, "under 13"),
    (20, "13-19"),
    (30, "20-29"),
    (40, "30-39"),
    (50, "40-49"),
    (60, "50-59"),
    (200, "60 and over"),
)


def evaluate(
    detector: Detector,
    positives: Sequence[Clip],
    negatives: Sequence[Clip],
    noise: Sequence[Clip] | None = None,
    snrs: Sequence[float | None] = (None, 10.0),
    fa_rates: Sequence[float] = (0.5, 0.1),
    report_dir: str | os.PathLike | None = None,
    dev: Sequence[Clip] | None = None,
    noisy_negatives: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    phrase: str | None = None,
) -> dict[str, Any]:
    """Measure misses, false alarms and delay of one phrase; each stream is scored once.

    Operating points: the model's own threshold, which was chosen on other data; for each of `fa_rates` the threshold
    chosen on `dev` (negatives that are not among `negatives`), if given; and for each the lowest threshold that
    keeps it on these very negatives, in hindsight, marked so, since it flatters.

    Args:
        positives, negatives: clips with and without the phrase. Negatives are concatenated, in the order given.
        noise: recordings mixed under the positives at each SNR of `snrs`; None in `snrs` is the clean condition.
        report_dir: a folder for report.json, report.md and det.png.
        noisy_negatives: mix noise under the negatives also, so that each condition has its own false alarms.
        progress: called with (stage, fraction of it).
        phrase: which of the detector's phrases; None for the only one.

    Returns:
        What report.json holds: see `_operating_point` and `_condition`. Rates are per hour, times in seconds.

    Raises:
        WakewordError: no positive or no negative could be read, the report cannot be written, or no `phrase` is
            named of several.
    """
    output = output_of(phrase, detector.phrases)
    skipped, notes = Skipped(), []
    conditions, bed = _conditions(noise, snrs, seed, skipped, notes)

    def heard(pieces: Iterable[Stream], clips: int, stage: str) -> tuple[Track, list[Event]]:
        tracks, events = score_stream(detector, pieces, clips, progress, stage)
        return tracks[output], events

    def negatives_at(snr_db: float | None, clips: Sequence[Clip], stage: str) -> tuple[Track, list[Event]]:
        pieces = negative_stream(clips, noise=bed, snr_db=snr_db, seed=seed, skipped=skipped)
        return heard(pieces, len(clips), stage)

    negative = {"clean": negatives_at(None, negatives, "negatives")}
    if negative["clean"][0].hours <= 0:
        raise WakewordError(f"no negatives to count false alarms on: {skipped.summary() or 'none given'}")
    positive = {}
    for name, snr_db in conditions.items():
        pieces = positive_stream(positives, noise=bed, snr_db=snr_db, seed=seed, skipped=skipped)
        positive[name] = heard(pieces, len(positives), f"positives, {name}")
        if not positive[name][1]:
            raise WakewordError(f"no positives to measure misses on: {skipped.summary() or 'none given'}")
        if noisy_negatives and snr_db is not None:
            negative[name] = negatives_at(snr_db, negatives, f"negatives, {name}")

    pause_s = detector.refractory_s
    dets = {
        n: det_curve([t], [negative.get(n, negative["clean"])[0]], refractory_s=pause_s)
        for n, (t, _) in positive.items()
    }
    own = detector.thresholds[output]
    thresholds = [("the model's own threshold", "development data before this test", None, own)]
    if dev:
        track, _ = negatives_at(None, dev, "development negatives")
        for rate in fa_rates:
            chosen = choose_threshold([track.score], track.hours, rate, pause_s, track.frame_s)
            origin = f"{track.hours:.2f} h of development negatives" + (", extrapolated" if chosen.extrapolated else "")
            thresholds.append((f"{rate:g} false alarms per hour", origin, rate, chosen.threshold))
    for rate in fa_rates:
        track, _ = negative["clean"]
        # The whole budget is spent: another condition may need it, though the clean one does not.
        threshold = lowest_within([track], track.hours, rate, pause_s)
        origin = "these very negatives, in hindsight"
        thresholds.append((f"{rate:g} false alarms per hour", origin, rate, threshold))
    if not noisy_negatives and len(conditions) > 1:
        notes.append("false alarms are counted on clean negatives in every condition")
    if len(skipped):
        notes.append(skipped.summary())
    points = [_operating_point(*t, positive, negative, pause_s) for t in thresholds]
    clean, events = negative["clean"]
    clips = [e.clip for e in next(iter(positive.values()))[1]]
    report = {
        "phrase": detector.phrases[output],
        "refractory_s": pause_s,
        "positives": {"clips": len(clips), "speakers": len({c.speaker for c in clips if c.speaker}) or None},
        "negatives": {"clips": len(events), "hours": clean.hours, "hours_by_corpus": _hours_by_corpus(events)},
        "conditions": list(conditions),
        "operating_points": points,
        "det": {name: _det_table(det) for name, det in dets.items()},
        "skipped": dict(skipped.reasons),
        "notes": notes,
    }
    if report_dir is not None:
        write_report(report, report_dir)
    return report


def _conditions(noise, snrs, seed, skipped, notes) -> tuple[dict[str, float | None], np.ndarray | None]:
    conditions = {"clean" if snr is None else f"{snr:g} dB": snr for snr in snrs}
    if not conditions:
        raise WakewordError("no condition to evaluate: name at least one SNR, or None for clean")
    if not noise and any(snr is not None for snr in conditions.values()):
        notes.append("no noise was given, so only the clean condition was measured")
        conditions = {"clean": None}
    bed = noise_bed(noise, skipped, seed) if noise and set(conditions) != {"clean"} else None
    return conditions, bed


def _operating_point(name, chosen_on, rate, threshold, positive, negative, refractory_s) -> dict[str, Any]:
    """What a threshold gives: false alarms (in each condition that has negatives) and misses in each condition."""
    return {
        "name": name,
        "chosen_on": chosen_on,
        "asked_fa_per_hour": rate,
        "threshold": float(threshold),
        "false_alarms": {n: _false_alarms(*scored, threshold, rate, refractory_s) for n, scored in negative.items()},
        "conditions": {n: _condition(*scored, threshold, refractory_s) for n, scored in positive.items()},
    }


def _false_alarms(track: Track, events: list[Event], threshold, rate, refractory_s) -> dict[str, Any]:
    times = alarms(track.time_s, track.score, threshold, refractory_s)
    # A score in the pause still belongs to the clip before.
    clips = np.maximum(np.searchsorted(track.starts_s, times, side="right") - 1, 0)
    hours = _hours_by_corpus(events)
    counts = Counter(_corpus(events[i].clip) for i in clips)
    first = np.searchsorted(track.time_s, times)
    after = np.searchsorted(track.time_s, times + refractory_s, side="right")
    peaks = np.asarray([track.score[i:j].max() for i, j in zip(first, after, strict=True)])
    low, high = poisson_interval(len(times), track.hours)
    return {
        "count": len(times),
        "per_hour": len(times) / track.hours,
        "interval": [low, high],
        "hours": track.hours,
        "note": "" if rate is None else too_wide(track.hours, rate),
        "by_corpus": {
            c: {"count": counts[c], "hours": hours[c], "per_hour": counts[c] / hours[c] if hours[c] else None}
            for c in hours
        },
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


def _condition(track: Track, events: list[Event], threshold, refractory_s) -> dict[str, Any]:
    """Misses with their interval, the delay after the phrase's end by energy, and misses by speakers' groups."""
    found = hits(track, threshold, refractory_s)
    missed = np.isnan(found)
    groups = {}
    for attribute in GROUPS:
        values = np.asarray([group_of(e.clip, attribute) for e in events])
        for value in sorted(set(values) - {""}):
            if (values == value).sum() >= GROUP_LEAST:
                groups[f"{attribute}: {value}"] = _miss(missed[values == value])
    delay = found - np.asarray([e.speech_end_s for e in events])
    return {**_miss(missed), "delay": delay_stats(delay), "groups": groups}


def _miss(missed: np.ndarray) -> dict[str, Any]:
    k, n = int(missed.sum()), len(missed)
    low, high = wilson_interval(k, n)
    wide = high - low > MISS_WIDE
    note = f"{n} clips leave the miss rate between {low:.0%} and {high:.0%}: record more" if wide else ""
    return {"clips": n, "missed": k, "miss_rate": k / n, "interval": [low, high], "note": note}


def _hours_by_corpus(events: list[Event]) -> dict[str, float]:
    hours: Counter = Counter()
    for event in events:
        hours[_corpus(event.clip)] += (event.end_s - event.start_s) / 3600
    return dict(hours)


def _corpus(clip: Clip) -> str:
    return clip.corpus or "unnamed"


def group_of(clip: Clip, attribute: str) -> str:
    value = clip.attributes.get(attribute)
    if value is None or str(value).strip() == "":
        return ""
    try:
        age = float(value)
    except (TypeError, ValueError):
        return str(value).strip().lower()
    return next((label for below, label in AGES if age < below), "") if attribute == "age" else str(value)


def _det_table(det: Det) -> dict[str, list[float]]:
    # Many thresholds share a point; the highest of each is kept, where the fewest false alarms are certain.
    corner = np.ones(len(det.thresholds), bool)
    corner[:-1] = (np.diff(det.miss_rate) != 0) | (np.diff(det.fa_per_hour) != 0)
    return {
        "threshold": det.thresholds[corner].tolist(),
        "miss_rate": det.miss_rate[corner].tolist(),
        "fa_per_hour": det.fa_per_hour[corner].tolist(),
    }
