"""The page of the transfer study: tables, plots, and whether `--unfreeze auto` stands the test of the tables."""

from __future__ import annotations

import statistics
import sys
from collections import defaultdict
from pathlib import Path

from wakeword.files import replacing
from wakeword.report import blank
from wakeword.transfer import choose_unfreeze

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
import studies  # noqa: E402

TRAINS = {"none": "frozen", "all": "all layers", "scratch": "from scratch"}


def write(study, lines: list[dict], folder: Path = HERE) -> list[str]:
    """Write RESULTS.md and a plot for each part into `folder`; the lines of its tables.

    Args:
        study: a `study.Study`.

    Raises:
        WakewordError: matplotlib is not installed.
    """
    text = [
        "# What transfer brings",
        "",
        "Written by `python recipes/transfer_study/study.py` (study.toml beside it, a line a trial in study.jsonl).",
        "Means, with the range of the seeds, on development data: two fifths of the clips that train elsewhere, of",
        "other speakers where the manifests name them, and speech of speakers whom the heads do not hear. Miss rates",
        f"are means over the words at the thresholds that give {study.rate:g} false alarms per hour on that speech, in",
        "hindsight: to compare the rows with each other, since all train for less than `wakeword train` does. Ranges",
        "that overlap are undecided.",
    ]
    tables = []
    for part in study.parts:
        done = [line for line in lines if line["part"] == part.name]
        made = table(part, done, study.rate)
        text += ["", f"## {part.asks}", "", *(made or ["No trial is done yet."])]
        if done:
            plot(part, done, study.rate, folder / f"{part.name}.png")
            text += ["", footing(done), "", f"![{part.asks}]({part.name}.png)"]
        judged = auto_table(done, study.rate)
        if judged:
            text += ["", "What `--unfreeze auto` picks, beside the best (worse: all its seeds are):", "", *judged]
        text += ["", *part.reading.splitlines()] if part.reading else []
        tables += [*made, *judged, ""]
    with replacing(folder / "RESULTS.md") as temporary:
        temporary.write_text("\n".join([*text, ""]), encoding="utf-8")
    return tables


def value(line: dict, condition: str, rate: float) -> float:
    """What a trial got wrong: the mean miss rate of its words, or the error rate of its commands."""
    if "errors" in line:
        return line["errors"][condition]
    return studies.missed(line, condition, f"{rate:g}")


def conditions(lines: list[dict]) -> list[str]:
    """The conditions of the trials' tests, clean first."""
    tested = [next(iter(line["missed"].values())) if "missed" in line else line["errors"] for line in lines]
    return sorted({name for each in tested for name in each}, key=lambda name: (name != "clean", name))


def trains(unfreeze: str) -> str:
    return TRAINS.get(unfreeze, f"top {unfreeze} blocks")


def layers(depth: int) -> str:
    return f"{depth} and the output nodes" if depth else "output nodes alone"


def described(line: dict, names: list[str]) -> str:
    """The named settings of a trial in words."""
    told = {
        "acoustic": line["acoustic"],
        "depth": layers(line["depth"]),
        "unfreeze": trains(line["unfreeze"]),
        "clips": f"{line['clips'] or 'all'} clips a word",
    }
    return ", ".join(told[name] for name in names)


def table(part, lines: list[dict], rate: float) -> list[str]:
    """A part as Markdown: a row for each model, depth and number of clips, a column for what trains and a condition.

    Empty where no trial is done.
    """
    groups = defaultdict(list)
    for line in lines:
        groups[line["acoustic"], line["depth"], line["clips"], line["unfreeze"]].append(line)
    columns = [(unfreeze, name) for unfreeze in part.unfreeze for name in conditions(lines)]
    rows = []
    for acoustic in part.acoustics:
        for depth in part.depths:
            for clips in part.clips:
                done = [line for unfreeze in part.unfreeze for line in groups[acoustic, depth, clips, unfreeze]]
                if not done:
                    continue
                cells = [f"`{acoustic}`", f"{done[0]['source_minutes']:.0f}", layers(depth)]
                minutes = statistics.mean(line["minutes"] for line in done)
                cells += [str(clips or "all"), str(done[0]["trained"]), f"{minutes:.1f}"]
                cells.append(str(max(len(groups[acoustic, depth, clips, unfreeze]) for unfreeze in part.unfreeze)))
                for unfreeze, name in columns:
                    found = [value(line, name, rate) for line in groups[acoustic, depth, clips, unfreeze]]
                    cells.append(studies.spread(found) if found else "–")
                rows.append("| " + " | ".join(cells) + " |")
    heads = ["acoustic model", "source, minutes", "new layers", "clips a word", "in all", "trigger, minutes", "seeds"]
    heads += [f"{trains(unfreeze)}, {name}" for unfreeze, name in columns]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows] if rows else []


def footing(lines: list[dict]) -> str:
    """What the rates of a part are counted on, and what its trials cost."""
    line = lines[0]
    if "errors" in line:
        speakers = len(line["by_speaker"])
        tested = f"Of {line['tested']} clips of {speakers} speakers, the share taken for another word."
    else:
        tested = f"Missed: of {line['tested']} clips, at {line['hours']:g} h of negatives."
    cost = sum(sum(each["cpu_seconds"].values()) for each in lines) / 3600
    return f"{tested} {len(lines)} trials, {cost:.1f} CPU hours, pretraining included."


def auto_judged(lines: list[dict], rate: float) -> list[dict]:
    """For each model, depth, number of clips and condition: what `auto` picks, what was best, and whether it is worse.

    Worse is what is apart: all seeds of `auto`'s choice missed more than all of the best. Where its choice or another
    was not tried with two seeds, nothing is said.
    """
    points = defaultdict(lambda: defaultdict(list))
    for line in lines:
        if "missed" in line:
            points[line["acoustic"], line["depth"], line["clips"]][line["unfreeze"]].append(line)
    judged = []
    for (acoustic, depth, clips), tried in points.items():
        tried = {unfreeze: done for unfreeze, done in tried.items() if len(done) > 1}
        first = next((done[0] for done in tried.values()), None)
        if first is None:
            continue
        boundary = choose_unfreeze("auto", first["trained"], first["blocks"]).boundary
        picks = [
            unfreeze
            for unfreeze in tried
            if unfreeze != "scratch" and choose_unfreeze(unfreeze, 0, first["blocks"]).boundary == boundary
        ]
        if not picks or len(tried) < 2:
            continue
        for name in conditions([first]):
            found = {unfreeze: [value(line, name, rate) for line in done] for unfreeze, done in tried.items()}
            best = min(found, key=lambda unfreeze: statistics.mean(found[unfreeze]))
            worse = min(found[picks[0]]) > max(found[best])
            point = {"acoustic": acoustic, "depth": depth, "clips": clips, "trained": first["trained"]}
            judged.append({**point, "condition": name, "auto": picks[0], "best": best, "found": found, "worse": worse})
    return judged


def auto_table(lines: list[dict], rate: float) -> list[str]:
    """`auto_judged` as Markdown; empty where there is nothing to judge."""
    rows = []
    for each in auto_judged(lines, rate):
        verdict = "**worse**" if each["worse"] else "the best" if each["auto"] == each["best"] else "not apart"
        cells = [f"`{each['acoustic']}`", layers(each["depth"]), str(each["trained"]), each["condition"]]
        for unfreeze in (each["auto"], each["best"]):
            cells.append(f"{trains(unfreeze)}: {studies.spread(each['found'][unfreeze])}")
        rows.append("| " + " | ".join([*cells, verdict]) + " |")
    heads = ["acoustic model", "new layers", "clips in all", "condition", "auto", "best", "auto is"]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows] if rows else []


def curves_of(part, lines: list[dict]) -> dict[tuple[str, str], dict[tuple, list[dict]]]:
    """The trials by curve, which is a colour and a label, and by point of it."""
    source = part.axis == "source"
    others = ("clips", "depth", "unfreeze") if source else ("acoustic", "depth")
    varied = [name for name in others if len({line[name] for line in lines}) > 1]
    curves = defaultdict(lambda: defaultdict(list))
    for line in lines:
        colour = line["objective"] if source else trains(line["unfreeze"])
        # From scratch no acoustic model is heard.
        names = [name for name in varied if (name, line["unfreeze"]) != ("acoustic", "scratch")]
        label = ", ".join(filter(None, [colour, described(line, names)]))
        curves[colour, label][line["acoustic"], line["clips"]].append(line)
    return curves


def plot(part, lines: list[dict], rate: float, path: Path) -> None:
    """Curves as PNG, a panel a condition: means over the seeds, with bars from the least to the most.

    Raises:
        WakewordError: matplotlib is not installed.
    """
    names = conditions(lines)
    size = (1 + 4.6 * len(names), 5.0)
    figure = blank(figsize=size, dpi=90, layout="constrained")
    axis = "source_minutes" if part.axis == "source" else "minutes"
    curves = curves_of(part, lines)
    colours = list(dict.fromkeys(colour for colour, _ in curves))
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False, sharey=True)[0], names, strict=True):
        drawn = dict.fromkeys(colours, 0)
        for (colour, label), points in curves.items():
            found = sorted(
                (statistics.mean(line[axis] for line in done), [value(line, name, rate) for line in done])
                for done in points.values()
            )
            means = [statistics.mean(each) for _, each in found]
            below = [mean - min(each) for mean, (_, each) in zip(means, found, strict=True)]
            above = [max(each) - mean for mean, (_, each) in zip(means, found, strict=True)]
            axes.errorbar(
                [x for x, _ in found],
                means,
                yerr=[below, above],
                label=label,
                color=f"C{colours.index(colour)}",
                linestyle=("-", "--", ":", "-.")[drawn[colour] % 4],
                marker="o",
                markersize=3,
                linewidth=1.3,
                capsize=2,
            )
            drawn[colour] += 1
        ticks = sorted({statistics.mean(x[axis] for x in done) for each in curves.values() for done in each.values()})
        apart = [x for last, x in zip([0, *ticks], ticks, strict=False) if x > 1.15 * last]
        axes.set(xscale="log", title=name)
        axes.set_xticks([], minor=True)
        axes.set_xticks(apart, [f"{x:.3g}" for x in apart])
        axes.grid(True, alpha=0.25)
    figure.axes[0].set_ylim(bottom=0)
    source = part.axis == "source"
    figure.supxlabel("minutes of speech in pretraining" if source else "minutes of clips, of all words", fontsize=10)
    wrong = "taken for another word" if "errors" in lines[0] else f"missed at {rate:g} false alarms per hour"
    figure.supylabel(wrong, fontsize=10)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")
