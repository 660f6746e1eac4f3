"""The page of the transfer study: tables, plots, and what auto.py says."""

from __future__ import annotations

import math
import statistics
import sys
from collections import Counter, defaultdict
from pathlib import Path

from wakeword.evaluation.report import blank
from wakeword.files import replacing

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
import auto  # noqa: E402
import studies  # noqa: E402
from auto import conditions, layers, trains, value  # noqa: E402


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
        "Means, with the range of the seeds, on development data: two fifths of the clips that train elsewhere, speech",
        f"without the words, and noise. The study's encoders hold {study.held_out:.0%} of the speakers out, chosen by",
        "a hash of their names. These alone test, with words and other speech, so neither encoder nor head has heard",
        "them, nor the noise of the tests. (Whoever said alexa, computer and jarvis is not named; no encoder has",
        "heard the clips.)",
        *heard_of(study),
        "Miss rates are means over the words at the thresholds that give",
        f"{study.rate:g} false alarms per hour on that speech, in hindsight: to compare the rows with each other,",
        "since all train for less than `wakeword train` does. Ranges that overlap are undecided; those that do not",
        f"may lie apart by luck, {by_luck(len(study.seeds))}.",
    ]
    tables = []
    for part in study.parts:
        done = beside(part, lines)
        made = table(part, done, study.rate)
        text += ["", f"## {part.asks}", "", *(made or ["No trial is done yet."])]
        if made:
            plot(part, done, study.rate, folder / f"{part.name}.png")
            text += ["", footing(part, done), "", f"![{part.asks}]({part.name}.png)"]
        judged = auto.verdict(done, study.rate) or auto.brought(done, study.rate)
        text += ["", *judged] if judged else []
        text += ["", *part.reading.splitlines()] if part.reading else []
        tables += [*made, *judged, ""]
    with replacing(folder / "RESULTS.md") as temporary:
        temporary.write_text("\n".join([*text, ""]), encoding="utf-8")
    return tables


def beside(part, lines: list[dict]) -> list[dict]:
    """The trials of a part, and those from scratch that stand beside them."""
    own = [line for line in lines if line["part"] == part.name]
    tried = {line["clips"] for line in own}
    others = [line for line in lines if line["part"] == part.scratch_of and line["unfreeze"] == "scratch"]
    return own + [line for line in others if line["clips"] in tried]


def by_luck(seeds: int) -> str:
    """How often the ranges of two things that are alike lie apart, of so many seeds each."""
    return f"as {seeds} seeds of two things that are alike do in one case of {math.comb(2 * seeds, seeds) // 2}"


def heard_of(study) -> list[str]:
    """What encoders that are not the study's own have heard of the tests, in lines; empty if there are none."""
    own = tuple(f"{name}-" for name in study.objectives)
    names = {acoustic for part in study.parts for acoustic in part.acoustics if not acoustic.startswith(own)}
    if not names:
        return []
    shown = ", ".join(f"`{Path(name).stem}`" for name in sorted(names))
    return [
        f"Not so of {shown}: they have heard nearly all of the speakers in pretraining, and the noise;",
        "compare the rows of one with each other: what they miss less than others do is in part of that.",
    ]


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

    Empty where no trial is done. What trains from scratch stands in the rows of all models: it has heard none.
    """
    groups = defaultdict(list)
    for line in lines:
        for acoustic in part.acoustics if line["unfreeze"] == "scratch" else [line["acoustic"]]:
            groups[acoustic, line["depth"], line["clips"], line["unfreeze"]].append(line)
    tried = [*part.unfreeze, *["scratch"] * bool(part.scratch_of)]
    columns = [(unfreeze, name) for unfreeze in tried for name in conditions(lines)]
    rows = []
    for acoustic in part.acoustics:
        for depth in part.depths:
            for clips in part.clips:
                done = [line for unfreeze in tried for line in groups[acoustic, depth, clips, unfreeze]]
                source = [line["source_minutes"] for line in done if line["unfreeze"] != "scratch"]
                if not source:
                    continue
                cells = [f"`{acoustic}`", f"{source[0]:.0f}", layers(depth)]
                minutes = statistics.mean(line["minutes"] for line in done)
                cells += [str(clips or "all"), str(done[0]["trained"]), f"{minutes:.1f}"]
                seeds = Counter(line["unfreeze"] for line in done).values()
                cells.append("–".join(str(each) for each in sorted({min(seeds), max(seeds)})))
                for unfreeze, name in columns:
                    found = [value(line, name, rate) for line in groups[acoustic, depth, clips, unfreeze]]
                    cells.append(studies.spread(found) if found else "–")
                rows.append("| " + " | ".join(cells) + " |")
    heads = ["acoustic model", "source, minutes", "new layers", "clips a word", "in all", "trigger, minutes", "seeds"]
    heads += [f"{trains(unfreeze)}, {name}" for unfreeze, name in columns]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows] if rows else []


def footing(part, shown: list[dict]) -> str:
    """What the rates of a part are counted on, and what its own trials of those that are `shown` cost."""
    lines = [line for line in shown if line["part"] == part.name]
    line = lines[0]
    if "errors" in line:
        speakers = len(line["by_speaker"])
        tested = f"Of {line['tested']} clips of {speakers} speakers, the share taken for another word."
    else:
        tested = f"Missed: of {studies.counted(lines)}."
    steps = sorted({(line["unfreeze"] == "scratch", line["steps"]) for line in shown})
    told = ", ".join(f"{count} from scratch" if scratch else f"{count}" for scratch, count in steps)
    cost = sum(sum(each["cpu_seconds"].values()) for each in lines) / 3600
    return f"{tested} Steps: {told}. {len(lines)} trials, {cost:.1f} CPU hours, pretraining included."


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
