"""A detector against streams of positives and negatives: one report, at thresholds of named origin."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from wakeword.audio.clips import BOTH_TESTED, Clip, evenly, in_pieces, refuse_shared
from wakeword.detector.detector import Detector, output_of
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.calibrate import choose_threshold, lowest_within
from wakeword.evaluation.conditions import CLEAN, Condition, noisy, ordered, robustness
from wakeword.evaluation.groups import corpus_of, kind_of
from wakeword.evaluation.metrics import Det, Track, det_curve
from wakeword.evaluation.operating import Scored, hours_by, operating_point
from wakeword.evaluation.report import format_report, write_report
from wakeword.evaluation.streams import (
    Event,
    Progress,
    Stream,
    negative_stream,
    noise_bed,
    positive_stream,
    score_stream,
)

__all__ = ["evaluate", "evaluate_robustness", "format_report"]

NOISY_HOURS = 0.5  # of negatives, at each SNR: it costs as much as the clips in all other conditions


def evaluate(
    detector: Detector,
    positives: Sequence[Clip],
    negatives: Sequence[Clip],
    noise: Sequence[Clip] | None = None,
    snrs: Sequence[float | None] = (None, 10.0),
    fa_rates: Sequence[float] = (0.5, 0.1),
    report_dir: str | os.PathLike | None = None,
    dev: Sequence[Clip] | None = None,
    noisy_hours: float = 0.0,
    seed: int = 0,
    progress: Progress | None = None,
    phrase: str | None = None,
    conditions: Sequence[Condition] = (),
    others: Mapping[str, Sequence[Clip]] | None = None,
    skipped: Skipped | None = None,
    heard_before: Scored | None = None,
) -> dict[str, Any]:
    """Measure misses, false alarms and delay of one phrase; each stream is scored once.

    Operating points: the model's own threshold, which was chosen on other data; for each of `fa_rates` the threshold
    chosen on `dev` (negatives that are not among `negatives`), if given; and for each the lowest threshold that
    keeps it on these very negatives, in hindsight, marked so, since it flatters.

    Args:
        positives, negatives: clips with and without the phrase. Negatives are concatenated, in the order given.
        noise: recordings mixed under the positives at each SNR of `snrs`; None in `snrs` is the clean condition.
        report_dir: a folder for report.json, report.md and det.png.
        noisy_hours: so many hours of the negatives, drawn evenly, are heard with the noise of each SNR too, so that
            it has false alarms of its own; `math.inf` for all of them.
        progress: called with (stage, fraction of it).
        phrase: which of the detector's phrases; None for the only one.
        conditions: further ones in which the positives are heard (`conditions.robustness`), without a DET curve.
        others: further negatives by kind ("other trigger words"), whose false alarms are counted apart: they choose
            no threshold, and no other rate has them.
        skipped: gets what cannot be read; the report lists it, with what it held before.
        heard_before: what `score_negatives` heard in these very negatives.

    Returns:
        What report.json holds: see `operating.operating_point`. Rates are per hour, times in seconds.

    Raises:
        WakewordError: a clip is a positive and a negative (of `negatives`, `dev` or `others`), no positive or no
            negative could be read, an SNR is none, the report cannot be written, or no `phrase` is named of several.
    """
    output = output_of(phrase, detector.phrases)
    positives = list(positives)
    for name, clips in {"negatives": negatives, "development negatives": dev or (), **(others or {})}.items():
        refuse_shared(positives, clips, f"positives and {name}", BOTH_TESTED)
    skipped, notes = skipped if skipped is not None else Skipped(), []
    chosen, bed = _conditions(noise, snrs, conditions, seed, skipped, notes)

    def heard(pieces: Iterable[Stream], clips: int, stage: str) -> Scored:
        tracks, events = score_stream(detector, pieces, clips, progress, stage)
        return tracks[output], events

    def negatives_at(snr_db: float | None, clips: Sequence[Clip], stage: str) -> Scored:
        pieces = negative_stream(clips, noise=bed, snr_db=snr_db, seed=seed, skipped=skipped)
        return heard(pieces, len(clips), stage)

    negative = {"clean": heard_before or score_negatives(detector, negatives, seed, progress, phrase, skipped)}
    if negative["clean"][0].hours <= 0:
        raise WakewordError(f"no negatives to count false alarms on: {skipped.summary() or 'none given'}")
    again = _evenly(*negative["clean"], noisy_hours)
    positive = {}
    for name, condition in chosen.items():
        noise_of = dict(noise=bed, snr_db=condition.snr_db)
        pieces = positive_stream(positives, **noise_of, seed=seed, skipped=skipped, change=condition.change)
        positive[name] = heard(pieces, len(positives), f"positives, {name}")
        if not positive[name][1]:
            raise WakewordError(f"no positives to measure misses on: {skipped.summary() or 'none given'}")
        if len(again) and condition.snr_db is not None:
            clips = [negative["clean"][1][i].clip for i in again]
            negative[name] = negatives_at(condition.snr_db, clips, f"negatives, {name}")
    apart = {kind: negatives_at(None, clips, kind) for kind, clips in (others or {}).items()}
    apart = {kind: scored for kind, scored in apart.items() if scored[1]}

    pause_s = detector.refractory_s
    whole = len(again) == len(negative["clean"][1])
    under = negative if whole else {}
    dets = {
        name: det_curve([positive[name][0]], [under.get(name, negative["clean"])[0]], refractory_s=pause_s)
        for name in ordered([CLEAN, *map(noisy, snrs)])
        if name in positive
    }
    held_back = negatives_at(None, dev, "development negatives")[0] if dev else None
    thresholds = [("the model's own threshold", "development data before this test", None, detector.thresholds[output])]
    thresholds += _thresholds(negative["clean"][0], held_back, fa_rates, pause_s)
    clean, events = negative["clean"]
    if not len(again) and len(chosen) > 1:
        notes.append("false alarms are counted on clean negatives in every condition")
    elif len(again) and not whole:
        notes.append(f"false alarms in noise are counted on {len(again)} of {len(events)} negatives, drawn evenly")
    if len(skipped):
        notes.append(skipped.summary())
    # What a rate is held against where the threshold was not chosen for one.
    usual = fa_rates[0] if len(fa_rates) else None
    scored = positive, negative, apart, again, pause_s
    points = [
        {"name": name, "chosen_on": origin, **operating_point(at, *scored, rate, usual if rate is None else rate)}
        for name, origin, rate, at in thresholds
    ]
    clips = [e.clip for e in next(iter(positive.values()))[1]]
    axes = defaultdict(list)
    for name, condition in chosen.items():
        axes[condition.axis].append(name)
    report = {
        "phrase": detector.phrases[output],
        "refractory_s": pause_s,
        "positives": {"clips": len(clips), "speakers": len({c.speaker for c in clips if c.speaker}) or None},
        "negatives": {
            "clips": len(events),
            "hours": clean.hours,
            "hours_by_corpus": hours_by(events, lambda clip: [corpus_of(clip)]),
        },
        "conditions": list(chosen),
        "axes": dict(axes),
        "operating_points": points,
        "det": {name: _det_table(det) for name, det in dets.items()},
        "skipped": dict(skipped.reasons),
        "notes": notes,
    }
    if report_dir is not None:
        write_report(report, report_dir)
    return report


def score_negatives(
    detector: Detector,
    negatives: Sequence[Clip],
    seed: int = 0,
    progress: Progress | None = None,
    phrase: str | None = None,
    skipped: Skipped | None = None,
) -> Scored:
    """What `evaluate` hears in its negatives as they are: most of its time, which reports that share them need once."""
    pieces = negative_stream(negatives, seed=seed, skipped=skipped)
    tracks, events = score_stream(detector, pieces, len(negatives), progress, "negatives")
    return tracks[output_of(phrase, detector.phrases)], events


def evaluate_robustness(
    detector: Detector,
    positives: Sequence[Clip],
    negatives: Sequence[Clip],
    noise: Sequence[Clip] | None = None,
    rir: Sequence[Clip] = (),
    others: Mapping[str, Sequence[Clip]] | None = None,
    noisy_hours: float = NOISY_HOURS,
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """`evaluate` in all that `conditions.robustness` lists, with the noise alone as a further kind of negative.

    Twenty conditions take twenty times as long as the clips last; report.md then has a table for each cause.

    Args:
        rir: recorded impulse responses, beside simulated rooms.
        options: further arguments of `evaluate`.

    Raises:
        WakewordError: as `evaluate` and `conditions.robustness`.
    """
    apart: dict[str, list[Clip]] = {kind: list(clips) for kind, clips in (others or {}).items()}
    for clip in in_pieces(noise or ()):
        apart.setdefault("music" if kind_of(clip) == "music" else "noise", []).append(clip)
    skipped = Skipped()
    options |= dict(conditions=robustness(rir, skipped, seed), others=apart, noisy_hours=noisy_hours)
    return evaluate(detector, positives, negatives, noise, seed=seed, skipped=skipped, **options)


def _conditions(noise, snrs, conditions, seed, skipped, notes) -> tuple[dict[str, Condition], np.ndarray | None]:
    if not snrs:
        raise WakewordError("no condition to evaluate: name at least one SNR, or None for clean")
    chosen = ordered([*map(noisy, snrs), *conditions])
    in_noise = any(condition.snr_db is not None for condition in chosen.values())
    if in_noise and not noise:
        notes.append("no noise was given, so nothing was measured in noise")
        quiet = [condition for condition in chosen.values() if condition.snr_db is None]
        chosen, in_noise = ordered([CLEAN, *quiet]), False
    return chosen, noise_bed(noise, skipped, seed) if in_noise else None


def _thresholds(track: Track, dev: Track | None, fa_rates, refractory_s) -> list[tuple[str, str, float, float]]:
    """Name, origin, false alarms per hour and threshold: chosen on development negatives, then on the tested ones."""
    found = []
    for rate in fa_rates if dev is not None else ():
        chosen = choose_threshold([dev.score], dev.hours, rate, refractory_s, dev.frame_s)
        origin = f"{dev.hours:.2f} h of development negatives" + (", extrapolated" if chosen.extrapolated else "")
        found.append((origin, rate, chosen.threshold))
    for rate in fa_rates:
        # The whole budget is spent: another condition may need it, though the clean one does not.
        found.append(
            ("these very negatives, in hindsight", rate, lowest_within([track], track.hours, rate, refractory_s))
        )
    return [(f"{rate:g} false alarms per hour", origin, rate, threshold) for origin, rate, threshold in found]


def _evenly(track: Track, events: list[Event], hours: float) -> np.ndarray:
    """Indices int64 of clips that make about so many hours, drawn evenly from all of a stream's."""
    count = int(np.ceil(len(events) * min(1.0, max(0.0, hours) / track.hours)))
    return evenly(len(events), count)


def _det_table(det: Det) -> dict[str, list[float]]:
    # Many thresholds share a point; the highest of each is kept, where the fewest false alarms are certain.
    corner = np.ones(len(det.thresholds), bool)
    corner[:-1] = (np.diff(det.miss_rate) != 0) | (np.diff(det.fa_per_hour) != 0)
    return {
        "threshold": det.thresholds[corner].tolist(),
        "miss_rate": det.miss_rate[corner].tolist(),
        "fa_per_hour": det.fa_per_hour[corner].tolist(),
    }
