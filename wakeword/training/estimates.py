"""What a training knows of its own detector: misses of the clips held out, and thresholds by the negatives held out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from wakeword.audio.clips import Clip, evenly, told_seconds
from wakeword.detector.detector import Detector
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.calibrate import Calibration, calibrate
from wakeword.evaluation.metrics import wilson_interval
from wakeword.evaluation.misses import Misses, count_misses
from wakeword.head.layers import WakeModel
from wakeword.model.runtimes import running
from wakeword.training.material import Material

EARLY_S = 900.0
"""Seconds of the negatives held out that an early look hears."""

Progress = Callable[[str, float], None]


def measure(
    model: WakeModel,
    meta: dict,
    material: Sequence[Material],
    negatives: Sequence[Clip],
    budget: str,
    skipped: Skipped,
    progress: Progress,
) -> tuple[dict[str, Misses], list[Calibration]]:
    """A model in eval mode on what is held out: by phrase the misses, and the calibrations.

    Too little to calibrate on must not lose what was trained: then there are no calibrations, and `skipped` says why.

    Args:
        meta: as a model file has it. material: of each of its phrases. negatives: to calibrate on; may be none.
    """
    detector = Detector(*running(model, meta))
    misses = {
        phrase: dataclasses.replace(
            count_misses(detector, output, each.held_out, skipped, progress), clips_are=each.held_out_are
        )
        for output, (phrase, each) in enumerate(zip(detector.phrases, material, strict=True))
    }
    calibrations: list[Calibration] = []
    if negatives:
        try:
            calibrations = calibrate(detector, negatives, budget, progress, misses)
        except WakewordError as error:
            skipped.add("calibration", f"not calibrated: {error}")
    return misses, calibrations


def early(
    model: WakeModel, meta: dict, material: Sequence[Material], negatives: Sequence[Clip], budget: str
) -> list[str]:
    """A line for each phrase: what `measure` finds with a quarter of an hour of the negatives, before training ends.

    Where it finds no threshold, for want of negatives, the misses are those at the phrase's own, and the line says so.
    """
    few = lasting(negatives, EARLY_S)
    misses, calibrations = measure(model, meta, material, few, budget, Skipped(), lambda stage, fraction: None)
    lines = []
    if not calibrations:
        for entry in meta["phrases"]:
            known, threshold = misses[entry["phrase"]], entry["threshold"]
            missed = f"misses {known.at(threshold)} of {known.clips} clips {known.clips_are}"
            lines.append(
                f"'{entry['phrase']}' after a third of the training: at {threshold:g}, as too few negatives were held "
                f"out to choose a threshold, {missed if known.clips else 'misses are not known'}"
            )
        return lines
    for entry, each in zip(meta["phrases"], calibrations, strict=True):
        missed = f"misses {each.misses} clips {each.positives}" if each.clips else "misses are not known"
        lines.append(
            f"'{entry['phrase']}' after a third of the training: at the threshold for {budget} on {each.hours:.2f} h "
            f"of negatives {missed}"
        )
    return lines


def lasting(clips: Sequence[Clip], seconds: float) -> list[Clip]:
    """A choice of clips, evenly from all over the list, that lasts about so long, or all of them."""
    whole = sum(told_seconds(clip) or 0.0 for clip in clips)
    count = len(clips) if whole <= seconds else max(1, round(len(clips) * seconds / whole))
    return [clips[index] for index in evenly(len(clips), count)]


def estimate(misses: Misses, threshold: float) -> dict:
    """Misses of one phrase at its threshold, on clips that did not train, with a 95 % interval."""
    missed = misses.at(threshold)
    low, high = wilson_interval(missed, misses.clips)
    interval = [round(low, 4), round(high, 4)]
    return {"clips": misses.clips, "missed": missed, "miss_rate_interval": interval, "clips_are": misses.clips_are}
