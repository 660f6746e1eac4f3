"""The DET plot of the comparison."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wakeword.evaluation.report import blank


def plot_det(found: dict, path: Path) -> None:
    """DET curves as PNG: a column a word, a row a condition, a line an engine.

    Raises:
        WakewordError: matplotlib is not installed.
    """
    conditions = list(found["results"][0]["det"])
    words = [word for word in found["words"] if any(result["word"] == word for result in found["results"])]
    size = (1.2 + 3.6 * len(words), 0.8 + 3.2 * len(conditions))
    figure = blank(figsize=size, dpi=120)
    axes = figure.subplots(len(conditions), len(words), squeeze=False, sharex=True, sharey=True)
    colours = {name: f"C{index}" for index, name in enumerate(found["titles"])}
    # Zero has no place on a logarithmic axis: it is drawn at half of one miss and half of one alarm.
    hours = found["results"][0]["kinds"]["all"]["hours"]
    least_fa = 0.5 / hours
    least_miss = 0.5 / max(result["clips"] for result in found["results"])
    lines = {}
    for result in found["results"]:
        for row, condition in enumerate(conditions):
            det = result["det"][condition]
            (lines[result["engine"]],) = axes[row, words.index(result["word"])].step(
                np.maximum(det["fa_per_hour"], least_fa),
                np.maximum(det["miss_rate"], least_miss),
                where="pre",
                color=colours[result["engine"]],
                marker="o" if result["engine"] == "porcupine" else None,  # between its sensitivities nothing was heard
                markersize=3,
                linewidth=1.3,
            )
    for row, condition in enumerate(conditions):
        for column, word in enumerate(words):
            axes[row, column].set(xscale="log", yscale="log", title=f"{word}, {condition}")
            axes[row, column].set_xlim(least_fa * 0.8, 100)
            axes[row, column].set_ylim(least_miss * 0.8, 1.1)
            axes[row, column].axvline(3 / hours, color="grey", linestyle=":", linewidth=1)
            axes[row, column].grid(True, which="both", alpha=0.25)
    figure.supxlabel("false alarms per hour (left of the dotted line the hours show nothing)", fontsize=9)
    figure.supylabel("miss rate", fontsize=9)
    order = [name for name in found["titles"] if name in lines]
    figure.legend(
        [lines[name] for name in order],
        [found["titles"][name].format(version="").replace("`", "").strip() for name in order],
        loc="outside upper center",
        ncols=min(4, 2 * len(words)),
        fontsize=8,
    )
    figure.set_layout_engine("constrained")
    figure.savefig(path)
