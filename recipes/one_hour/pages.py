"""RESULTS.md and ROBUSTNESS.md: what run.py measured, as tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from wakeword.evaluation.robustness import alarmed, apart_of, missed, table, tables
from wakeword.files import replacing
from wakeword.model.budget import in_words, parse_budget

if TYPE_CHECKING:
    from run import Config


HIGHEST = 3
"""False alarms that are listed of each model."""


def rows(run: dict, report_name: str) -> list[str]:
    """A table row for each operating point of a report."""
    path = run["folder"] / report_name / "report.json"
    if not path.exists():
        return []
    report = json.loads(path.read_text())
    found = []
    for point in report["operating_points"]:
        alarms, rate = point["false_alarms"]["clean"], point["asked_fa_per_hour"]
        low, high = alarms["interval"]
        cells = [
            run["word"],
            run["acoustic"],
            f"its own, for {in_words(parse_budget(run['budget']))}" if rate is None else f"hindsight, {rate:g} per h",
            f"{alarms['count']} ({alarms['per_hour']:.2f}; {low:.2f}–{high:.2f})",
        ]
        for condition in point["conditions"].values():
            low, high = condition["interval"]
            cells.append(f"{condition['missed']} ({condition['miss_rate']:.1%}; {low:.1%}–{high:.1%})")
            median, late = condition["delay"]["median_s"], condition["delay"]["p95_s"]
            cells.append("–" if median is None else f"{median:.2f} / {late:.2f}")
        cells.append(str(report["positives"]["clips"]))
        found.append("| " + " | ".join(cells) + " |")
    return found


def highest(run: dict) -> list[str]:
    """A table row for each of the highest false alarms of a report, clean: those at its threshold with the most."""
    report = json.loads((run["folder"] / "report" / "report.json").read_text())
    alarms = [point["false_alarms"]["clean"] for point in report["operating_points"]]
    most = max(alarms, key=lambda each: each["count"])
    rows = [[f"{each['peak']:.4f}", Path(each["path"]).stem, each["text"].lower()] for each in most["worst"][:HIGHEST]]
    return ["| " + " | ".join([run["word"], run["acoustic"], *row]) + " |" for row in rows]


def write_results(runs: list[dict], config: Config, path: Path, left_out: str) -> None:
    """RESULTS.md: what was measured, on what, and by which command; `left_out` as `negatives_of` says it."""
    first = json.loads((runs[0]["folder"] / "report" / "report.json").read_text())
    hours = ", ".join(f"{name} {value:.2f} h" for name, value in first["negatives"]["hours_by_corpus"].items())
    head = (
        f"| word | acoustic model | threshold | false alarms (per hour) | missed, clean | delay (s) | "
        f"missed, {config.snr_db:g} dB | delay (s) | clips |\n|" + "---|" * 9
    )
    text = [
        "# Three phrases from the shared clips",
        "",
        f"Written by `python recipes/one_hour/run.py --words {' '.join(config.words)}` (config.toml beside it).",
        "Even clips train, odd clips test, as",
        f"one stream, clean and with held-out noise (ESC-10 fold 4, a street) at {config.snr_db:g} dB. False alarms on",
        f"{first['negatives']['hours']:.2f} h of clean audio that no training has heard: {hours}.",
        left_out,
        "Miss rates with 95 % Wilson intervals, false alarms with Garwood's; delay from the phrase's end (by energy)",
        "to the hit, median / 95th percentile.",
        "",
        "Its own threshold is what a user gets: the one that training chose for a budget of false alarms on the",
        "negatives that it held out (a quarter of their speakers), and raised from there half the way to where a",
        "further held-out clip would be missed; other audio may give more than the budget. Hindsight: the lowest",
        "threshold that keeps so many on the very test negatives, to compare systems by.",
        f"{first['negatives']['hours']:.2f} h cannot prove 0.1 per hour: in hindsight it means no false alarm in all",
        "of them.",
        "",
        head,
        *[row for run in runs for row in rows(run, "report")],
        "",
        "Some recordings stand in these corpora more than once, and on both sides of the split. The same on the test",
        "clips whose recording has no copy in training, for the words that have such:",
        "",
        head,
        *[row for run in runs for row in rows(run, "report_fresh")],
        "",
        f"The {HIGHEST} highest false alarms of each, and what is said in them:",
        "",
        "| word | acoustic model | score | recording | text |\n|" + "---|" * 5,
        *[row for run in runs for row in highest(run)],
        "",
        "The test clips and negatives are those of all earlier versions of this page, and were used again each time",
        "the models changed, so they are no longer fresh.",
        "",
        "Training, CPU seconds and what was unfrozen:",
        "",
        *[f"- {run['word']}, {run['acoustic']}: {run['cpu_seconds']:.0f} s; {run['unfrozen']}" for run in runs],
        "",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


def write_robustness(runs: list[dict], config: Config, path: Path) -> None:
    """ROBUSTNESS.md: all words beside each other at their own thresholds and at those of hindsight, then each word's
    tables."""
    first = runs[0]["robustness"]
    hours = ", ".join(f"{name} {value:.2f} h" for name, value in first["negatives"]["hours_by_corpus"].items())
    text = [
        "# What is missed when, and what sets it off",
        "",
        f"Written by `python recipes/one_hour/run.py --robustness --words {' '.join(config.words)}`; the threshold in",
        "hindsight flatters, but is as strict for all. The positives are the test clips of RESULTS.md without those",
        "whose recording has a copy in training. The negatives are the same as there:",
        f"{first['negatives']['hours']:.2f} h ({hours}). The noise (ESC-10 fold 4,",
        "a street), the simulated rooms and the clips of other words are new to the models too; the recorded rooms are",
        "not: training plays them as well.",
        "",
    ]
    for acoustic in dict.fromkeys(run["acoustic"] for run in runs):
        those = [run for run in runs if run["acoustic"] == acoustic]
        text += [f"## All words, `{acoustic}`", "", *summary(those, 0), "", *summary(those, -1), ""]
    for run in runs:
        text += [f"## {run['word']}, `{run['acoustic']}`", "", *tables(run["robustness"], 3), ""]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(text), encoding="utf-8")


def summary(runs: list[dict], which: int) -> list[str]:
    """A table of an acoustic model's words: misses by condition, false alarms by kind, at one of the operating points:
    the first is the model's own threshold, the last that of hindsight at the first rate asked for."""
    points = [run["robustness"]["operating_points"][which] for run in runs]
    clean = [point["false_alarms"]["clean"] for point in points]
    conditions = [name for name in points[0]["conditions"] if all(name in point["conditions"] for point in points)]
    kinds = [{**found["by_kind"], **apart_of(point)} for found, point in zip(clean, points, strict=True)]
    shown = [kind for kind in kinds[0] if all(kind in found for found in kinds)]
    return [
        f"At {points[0]['name']}{', in hindsight' * (which != 0)}.",
        "",
        *table(
            ["missed", *(f"{run['word']} ({run['robustness']['positives']['clips']} clips)" for run in runs)],
            [[name, *(missed(point["conditions"][name]) for point in points)] for name in conditions],
        ),
        "",
        *table(
            ["false alarms per hour", *(run["word"] for run in runs)],
            [
                ["all negatives", *map(alarmed, clean)],
                *([kind, *(alarmed(found[kind]) for found in kinds)] for kind in shown),
            ],
        ),
    ]
