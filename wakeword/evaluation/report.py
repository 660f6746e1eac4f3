"""An evaluation's report for people: text for the terminal, Markdown, and the DET plot."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from wakeword.errors import WakewordError, require
from wakeword.evaluation.metrics import wilson_interval
from wakeword.evaluation.robustness import tables
from wakeword.files import replacing


def write_report(report: dict[str, Any], folder: str | os.PathLike) -> None:
    """Write report.json, report.md and det.png; without matplotlib the plot is left out and the notes say so.

    Raises:
        WakewordError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        with replacing(folder / "det.png") as temporary:
            plot_det(report, temporary)
        plotted = True
    except WakewordError as error:
        if "matplotlib" not in str(error):
            raise
        report["notes"].append(f"det.png is left out: {error}")
        plotted = False
    with replacing(folder / "report.json") as temporary:
        temporary.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    with replacing(folder / "report.md") as temporary:
        temporary.write_text(markdown(report, plotted), encoding="utf-8")


def format_report(report: dict[str, Any]) -> str:
    """The report for a terminal: a block of lines for each operating point."""
    lines = [_heading(report)]
    for point in report["operating_points"]:
        lines += ["", f"{point['name']} (threshold {point['threshold']:.4f}, chosen on {point['chosen_on']})"]
        for name, found in point["false_alarms"].items():
            lines.append(f"  false alarms  {_where(name, point['false_alarms'])}{false_alarms_text(found)}")
            lines += [f"    {found['note']}"] if found["note"] else []
            if len(found["by_corpus"]) > 1:
                lines += [f"    {c}: {f['count']} in {f['hours']:.2f} h" for c, f in found["by_corpus"].items()]
        lines += [f"  false alarms  {kind}: {false_alarms_text(found)}" for kind, found in point["others"].items()]
        for name, found in point["conditions"].items():
            lines.append(f"  missed        {name}: {missed_text(found)}, delay {_delay(found)}")
            lines += [f"    {found['note']}"] if found["note"] else []
            groups = found["groups"] if name in report["axes"]["noise"] else {}
            lines += [f"    {group}: {missed_text(each)}" for group, each in groups.items()]
    return "\n".join(lines + [""] * bool(report["notes"]) + [f"note: {note}" for note in report["notes"]])


def markdown(report: dict[str, Any], plotted: bool = True) -> str:
    """The report as a Markdown page."""
    lines = [f"# Evaluation: {report['phrase']}", "", _heading(report) + ".", ""]
    lines += ["| threshold | chosen on | condition | missed | false alarms per hour | delay, median / 95 % |"]
    lines += ["|---|---|---|---|---|---|"]
    for point in report["operating_points"]:
        for name in report["axes"]["noise"]:
            found = point["conditions"][name]
            alarms = point["false_alarms"].get(name, point["false_alarms"]["clean"])
            lines.append(
                f"| {point['name']}: {point['threshold']:.4f} | {point['chosen_on']} | {name} | {missed_text(found)} "
                f"| {false_alarms_text(alarms)} | {_delay(found)} |"
            )
    lines += [
        "",
        "Intervals are 95 %: Wilson's for misses, Garwood's exact Poisson interval for false alarms. The delay",
    ]
    lines += ["counts from the phrase's end, found by energy. A threshold chosen in hindsight flatters the model.", ""]
    lines += ["![DET](det.png)", ""] if plotted else []
    for point in report["operating_points"][:1]:
        lines += [f"## At {point['name']}", "", "| false alarms in | count | hours | per hour |", "|---|---|---|---|"]
        for corpus, found in point["false_alarms"]["clean"]["by_corpus"].items():
            rate = "" if found["per_hour"] is None else f"{found['per_hour']:.2f}"
            lines.append(f"| {_cell(corpus)} | {found['count']} | {found['hours']:.2f} | {rate} |")
        lines += ["", "| speakers | condition | missed |", "|---|---|---|"]
        for name in report["axes"]["noise"]:
            condition = point["conditions"][name]
            lines.append(f"| all | {name} | {missed_text(condition)} |")
            lines += [
                f"| {_cell(group)} | {name} | {missed_text(found)} |" for group, found in condition["groups"].items()
            ]
        worst = point["false_alarms"]["clean"]["worst"]
        if worst:
            lines += ["", "| false alarm in | at | peak | text |", "|---|---|---|---|"]
            lines += [
                f"| {_cell(w['path'])} | {w['at_s']} s | {w['peak']:.4f} | {_cell(w['text'] or '')} |" for w in worst
            ]
    if len(report["axes"]) > 1:
        lines += ["", "## Robustness", "", *tables(report, 3)]
    lines += ["", "## Notes", ""] + [f"- {note}" for note in all_notes(report) or ["none"]]
    return "\n".join(lines) + "\n"


def all_notes(report: dict[str, Any]) -> list[str]:
    """The report's notes and those of its figures, each once."""
    notes = list(report["notes"])
    for point in report["operating_points"]:
        in_noise = [point["conditions"][name] for name in report["axes"]["noise"]]
        notes += [found["note"] for found in [*point["false_alarms"].values(), *in_noise]]
    return [note for note in dict.fromkeys(notes) if note]


def blank(**options: Any):
    """An empty matplotlib figure that draws into files alone, whatever screen there is; `options` are those of Figure.

    Raises:
        WakewordError: matplotlib is not installed.
    """
    require("matplotlib", "plot")
    backend = require("matplotlib.backends.backend_agg", "plot")
    figure = require("matplotlib.figure", "plot").Figure(**options)
    backend.FigureCanvasAgg(figure)
    return figure


def plot_det(report: dict[str, Any], path: str | os.PathLike) -> None:
    """Plot misses against false alarms per hour, logarithmic, a line a condition with its 95 % band, as PNG.

    Raises:
        WakewordError: matplotlib is not installed.
    """
    figure = blank(figsize=(6.4, 4.8), dpi=120)
    axes = figure.add_subplot()
    clips, hours = report["positives"]["clips"], report["negatives"]["hours"]
    # Zero has no place on a logarithmic axis: it is drawn at half of one miss and half of one alarm.
    least_miss, least_fa = 0.5 / clips, 0.5 / hours
    for name, det in report["det"].items():
        x = [max(v, least_fa) for v in det["fa_per_hour"]]
        band = [wilson_interval(round(v * clips), clips) for v in det["miss_rate"]]
        (line,) = axes.step(x, [max(v, least_miss) for v in det["miss_rate"]], where="pre", label=name)
        low, high = [max(b[0], least_miss) for b in band], [max(b[1], least_miss) for b in band]
        axes.fill_between(x, low, high, step="pre", alpha=0.15, color=line.get_color(), linewidth=0)
    axes.axvline(3 / hours, color="grey", linestyle=":", linewidth=1)
    axes.annotate(f" {hours:.1f} h show nothing left of this", (3 / hours, 1.0), fontsize=7, color="grey", va="top")
    axes.set(
        xscale="log", yscale="log", xlabel="false alarms per hour", ylabel="miss rate", ylim=(least_miss * 0.8, 1.1)
    )
    axes.set_xlim(least_fa * 0.8, max(max(d["fa_per_hour"]) for d in report["det"].values()) * 1.2 + least_fa)
    axes.grid(True, which="both", alpha=0.25)
    axes.legend(title=f"{clips} clips, band: 95 %", fontsize=8, title_fontsize=8)
    axes.set_title(report["phrase"])
    figure.tight_layout()
    figure.savefig(path)


def _heading(report: dict[str, Any]) -> str:
    speakers = report["positives"]["speakers"]
    known = f" by {speakers} known speakers" if speakers else ""
    return (
        f"{report['phrase']}: {report['positives']['clips']} positives{known}, "
        f"{report['negatives']['hours']:.2f} h of negatives"
    )


def _where(name: str, conditions: dict[str, Any]) -> str:
    return f"{name}: " if len(conditions) > 1 else ""


def false_alarms_text(found: dict[str, Any]) -> str:
    """What `operating.alarm_figures` gives, as it is read."""
    low, high = found["interval"]
    return f"{found['per_hour']:.2f}/h ({low:.2f} to {high:.2f}), {found['count']} in {found['hours']:.2f} h"


def missed_text(found: dict[str, Any]) -> str:
    """What `operating.miss_figures` gives, as it is read."""
    low, high = found["interval"]
    return f"{found['miss_rate']:.1%} ({low:.1%} to {high:.1%}), {found['missed']} of {found['clips']}"


def _delay(found: dict[str, Any]) -> str:
    median, p95 = found["delay"]["median_s"], found["delay"]["p95_s"]
    return "none detected" if median is None else f"{median:.2f} s / {p95:.2f} s"


def _cell(text: str) -> str:
    return " ".join(str(text).split()).replace("|", "\\|")
