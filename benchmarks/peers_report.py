"""Scores to operating points, and operating points to a page: tables and a DET plot."""

from __future__ import annotations

import textwrap
from pathlib import Path

import numpy as np
from machine import about

from wakeword.calibrate import lowest_within
from wakeword.files import replacing
from wakeword.metrics import (
    Track,
    candidate_thresholds,
    count_alarms,
    det_curve,
    hits,
    too_wide,
    wilson_interval,
)
from wakeword.report import blank

RATES = (1.0, 0.5, 0.1)
"""False alarms per hour at which misses are told."""
FRESH_RATE = 0.5

HEARD = """\
Written by `python benchmarks/peers.py`. Every engine heard the same samples (16 kHz, 16 bits), each stream from its
start to its end: the odd clips of each word as one stream with pauses,
{conditions} (ESC-10 fold 4, a street), and {hours:.2f} h of other, clean speech that no
training of ours has heard ({corpora}).
A detection in a clip or up to 1 s after it is a hit; an engine gives at most one alarm a second. Thresholds are those
of hindsight, the lowest that keep a rate of false alarms on these very negatives, for every engine alike: they compare
engines, and flatter all of them. Intervals are 95 % (Wilson), the count of misses follows.

## Before comparing

- Ours and transfer learning have trained on the even clips of these corpora, both on the same, so they know the rooms
  and some of the speakers; nothing says that the other engines do. The clips come from the wake-word benchmark of
  Porcupine's makers.
- Porcupine gives no score. Its points are runs at the sensitivities
  {sensitivities}; `not reached`: even the lowest gave more false alarms.
- The pretrained models of openWakeWord and microWakeWord have 'alexa' of these words (and 'hey jarvis', but the clips
  say 'jarvis'). PocketSphinx spots any word of its dictionary, here in one pass at a low threshold, which tells what
  it spots at higher ones.
- Transfer learning: openWakeWord's small network on Google's frozen speech embedding, trained here on the clips,
  negatives, noise and rooms that ours are trained on. One seed, as for ours."""

COPIES = """\
Some recordings stand in these corpora more than once, and on both sides of the split. The same on the test clips whose
recording has no copy among the training clips:"""

COST = """\
CPU seconds (process time, all threads) for an hour of audio, without loading, over the negatives, and the most resident
memory of the process while it heard the clips of a word; the range over the words, and for Porcupine the mean time over
its sensitivities. Each engine runs as its Python package runs it (openWakeWord's imports scikit-learn), ours and the
transfer learning in ONNX Runtime, on blocks of 80 ms where the engine leaves the choice. A Python process with numpy
that does nothing but read the samples has {nothing_mb:.0f} MB."""


def judged(negatives: Track, positives: dict[str, tuple[Track, np.ndarray]]) -> dict:
    """Operating points at thresholds of hindsight, and the DET curves.

    Args:
        positives: by condition, a track and which of its clips have no copy in training, bool [events].

    Returns:
        hours, clips, fresh (how many have no copy); points: for each of `RATES` the threshold, its false_alarms,
        whether it is reached (False if only a threshold above every score keeps the rate), missed and fresh_missed by
        condition; det: by condition fa_per_hour and miss_rate, ascending in threshold.
    """
    points = []
    for rate in RATES:
        threshold = lowest_within([negatives], negatives.hours, rate)
        found = {name: np.isnan(hits(track, threshold)) for name, (track, _) in positives.items()}
        points.append(
            {
                "asked_per_hour": rate,
                "threshold": threshold,
                "reached": threshold <= 1.0,
                "false_alarms": int(count_alarms([negatives], [threshold])[0]),
                "missed": {name: int(missed.sum()) for name, missed in found.items()},
                "fresh_missed": {name: int(missed[positives[name][1]].sum()) for name, missed in found.items()},
            }
        )
    fresh = next(iter(positives.values()))[1]
    return {
        "hours": negatives.hours,
        "clips": len(fresh),
        "fresh": int(fresh.sum()),
        "points": points,
        "det": {name: corners(track, negatives) for name, (track, _) in positives.items()},
    }


def corners(positives: Track, negatives: Track) -> dict[str, list[float]]:
    """The points of a DET curve where it turns."""
    thresholds = candidate_thresholds([negatives], [positives])
    # At 0 an engine that is silent would fire, once.
    det = det_curve([positives], [negatives], thresholds[thresholds > 0])
    kept = np.ones(len(det.thresholds), bool)
    kept[:-1] = (np.diff(det.miss_rate) != 0) | (np.diff(det.fa_per_hour) != 0)
    return {"fa_per_hour": det.fa_per_hour[kept].tolist(), "miss_rate": det.miss_rate[kept].tolist()}


def write_comparison(found: dict, path: Path) -> None:
    """The page, and beside it the plot of the same name as PNG."""
    plot = path.with_suffix(".png")
    with replacing(plot) as temporary:
        plot_det(found, temporary)
    with replacing(path) as temporary:
        temporary.write_text(page(found, plot.name), encoding="utf-8")


def page(found: dict, plot: str) -> str:
    """The comparison as Markdown; `found` is what `peers.compared` gives."""
    results = found["results"]
    hours, conditions = results[0]["hours"], list(results[0]["det"])
    unproven = [too_wide(hours, rate) for rate in RATES if too_wide(hours, rate)]
    text = ["# Beside other engines", ""]
    if found["limited"]:
        text += [f"A trial, on the first {found['limited']:g} h of negatives alone: its numbers show nothing.", ""]
    text += [
        HEARD.format(
            conditions=" and with held-out noise at ".join(conditions),
            hours=hours,
            corpora=", ".join(found["corpora"]),
            sensitivities=", ".join(f"{value:g}" for value in found["sensitivities"]),
        ),
        *(textwrap.fill(f"- {note}.", 120, subsequent_indent="  ") for note in unproven),
        "",
        f"![DET curves]({plot})",
    ]
    for rate in RATES:
        text += ["", f"## At most {rate:g} false alarms an hour", ""]
        if too_wide(hours, rate):
            text += [f"{hours:.2f} h cannot prove this rate; the table says what they show.", ""]
        text += table(found, rate, conditions)
    copied = [result["word"] for result in results if result["fresh"] < result["clips"]]
    if copied:
        text += ["", f"## Clips without a copy in training, at most {FRESH_RATE:g} an hour", "", COPIES, ""]
        text += table(found, FRESH_RATE, conditions, [word for word in found["words"] if word in copied])
    text += ["", "## Cost", "", COST.format(nothing_mb=found["nothing_mb"]), "", *costs(found)]
    return "\n".join([*text, "", about(found["machine"]), ""])


def table(found: dict, rate: float, conditions: list[str], only_fresh: list[str] | None = None) -> list[str]:
    """A row for each word and engine; `only_fresh` names the words of a table of the clips without a copy."""
    lines = [
        "| word | engine | clips | false alarms (per hour) | " + " | ".join(f"missed, {c}" for c in conditions) + " |"
    ]
    lines.append("|" + "---|" * (4 + len(conditions)))
    for result in found["results"]:
        if only_fresh is not None and result["word"] not in only_fresh:
            continue
        point = next(point for point in result["points"] if point["asked_per_hour"] == rate)
        clips = result["clips"] if only_fresh is None else result["fresh"]
        missed = point["missed" if only_fresh is None else "fresh_missed"]
        alarms = f"{point['false_alarms']} ({point['false_alarms'] / result['hours']:.2f})"
        cells = [result["word"], title(found, result), str(clips), alarms if point["reached"] else "not reached"]
        cells += [share(missed[name], clips) if point["reached"] else "–" for name in conditions]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def title(found: dict, result: dict) -> str:
    """An engine, with the version that was measured."""
    return found["titles"][result["engine"]].format(version=result["version"])


def share(missed: int, clips: int) -> str:
    """`3.7 % (1.7–7.8), 6`: the miss rate, its interval, the count."""
    low, high = wilson_interval(missed, clips)
    return f"{100 * missed / max(1, clips):.1f} % ({100 * low:.1f}–{100 * high:.1f}), {missed}"


def costs(found: dict) -> list[str]:
    """A row for each engine, over the words that it was measured on."""
    lines = ["| engine | CPU s/h | peak MB |", "|---|---|---|"]
    for name in found["titles"]:
        results = [result for result in found["results"] if result["engine"] == name]
        if results:
            spans = [span([result[key] for result in results]) for key in ("cpu_s_per_hour", "peak_mb")]
            lines.append("| " + " | ".join([title(found, results[0]), *spans]) + " |")
    return lines


def span(values: list[float]) -> str:
    """The least and the most, without decimals, or the one that they are."""
    low, high = (f"{value:.0f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


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
    least_fa = 0.5 / found["results"][0]["hours"]
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
            axes[row, column].axvline(3 / found["results"][0]["hours"], color="grey", linestyle=":", linewidth=1)
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
