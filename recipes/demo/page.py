"""The demo's report: one Markdown page."""

from __future__ import annotations

import statistics
from pathlib import Path

from recordings import Recordings
from stream import Outcome, Recorded

from wakeword.evaluation.metrics import wilson_interval


def page(
    phrase: str,
    acoustic: str,
    recordings: Recordings,
    trained,
    calibration,
    evaluation: dict,
    stream: Recorded,
    outcome: Outcome,
    times: dict[str, tuple[float, float]],
    model: Path,
    budget: str,
) -> str:
    """What was heard, what was trained, what came of it, how long each step took (seconds: clock, CPU)."""
    lines = [f"# A detector for '{phrase}', from clips to detections", "", recordings.note, ""]
    lines += ["## Recordings", "", "| use | what | clips | hours | licence |", "|---|---|---|---|---|"]
    lines += [f"| {p.use} | {p.source} | {p.clips} | {p.hours:.2f} | {p.licence} |" for p in recordings.parts()]
    lines += [
        "",
        "## Model",
        "",
        f"Acoustic model: `{acoustic}`. What trained beside the new layers: {trained.unfrozen}.",
        "",
    ]
    lines += [
        f"Threshold {calibration.threshold:.4f} for a budget of {calibration.fa_per_hour_budget:g} false alarms per "
        f"hour, chosen on {calibration.hours:.2f} h of negatives used for nothing else: "
        f"{calibration.fa_per_hour_observed:.2f} per hour there. {calibration.note}".strip(),
        "",
    ]
    lines += ["## Test", ""]
    point = evaluation["operating_points"][0]
    alarms = point["false_alarms"]["clean"]
    low, high = alarms["interval"]
    lines += [
        f"At this threshold, on {alarms['hours']:.2f} h of other speech: {alarms['count']} false alarms, "
        f"{alarms['per_hour']:.2f} per hour (95 % interval {low:.2f} to {high:.2f}).",
        "",
        "| condition | clips | missed | miss rate | 95 % interval | delay, median |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in point["conditions"].items():
        low, high = found["interval"]
        median = found["delay"]["median_s"]
        delay = "" if median is None else f"{median:.2f} s"
        lines.append(
            f"| {name} | {found['clips']} | {found['missed']} | {found['miss_rate']:.1%} | {low:.1%} to {high:.1%} "
            f"| {delay} |"
        )
    lines += ["", "More, with the DET curve: [evaluation/report.md](evaluation/report.md).", ""]
    lines += ["## A recorded stream, heard without torch", "", stream_line(stream, outcome), ""]
    lines += ["| step | clock | CPU |", "|---|---|---|"]
    lines += [f"| {name} | {clock:.0f} s | {cpu:.0f} s |" for name, (clock, cpu) in times.items()]
    clock, cpu = (sum(each[i] for each in times.values()) for i in (0, 1))
    lines += [
        f"| all | {clock:.0f} s | {cpu:.0f} s |",
        "",
        "## The same by hand",
        "",
        "```",
        *by_hand(phrase, acoustic, recordings, model, budget),
    ]
    return "\n".join([*lines, "```", ""])


def stream_line(stream: Recorded, outcome: Outcome) -> str:
    """One sentence on the stream."""
    low, high = wilson_interval(outcome.found, len(outcome.delays_s))
    delays = [delay for delay in outcome.delays_s if delay is not None]
    late = f"; half of the hits came within {statistics.median(delays):.2f} s of the phrase's end" if delays else ""
    return (
        f"{stream.path.name} ({stream.seconds / 60:.1f} min, test clips between test speech): found {outcome.found} of "
        f"{len(outcome.delays_s)} ({low:.0%} to {high:.0%}), {len(outcome.false_alarms_s)} false alarms{late}."
    )


def by_hand(phrase: str, acoustic: str, recordings: Recordings, model: Path, budget: str) -> list[str]:
    """The demo's steps as command lines."""
    exported, out = model.with_suffix(".onnx"), model.parent
    rir = f" --rir {recordings.rir.manifest}" if recordings.rir else ""
    return [
        f'wakeword train --phrase "{phrase}" --positives {recordings.positives.manifest} --negatives '
        f"{recordings.negatives.manifest} --noise {recordings.noise.manifest}{rir} --acoustic {acoustic} "
        f'--budget "{budget}" --output {model}',
        f'wakeword calibrate {model} --negatives {recordings.dev.manifest} --budget "{budget}"',
        f"rm -f {exported}",
        f"wakeword export {model} --output {exported}",
        f"wakeword evaluate {exported} --positives {recordings.test_positives.manifest} --negatives "
        f"{recordings.test_negatives.manifest} --noise {recordings.test_noise.manifest} --report {out / 'evaluation'}",
        f"wakeword listen {exported} --file {out / 'stream.wav'}",
        f"wakeword listen {exported}",
    ]
