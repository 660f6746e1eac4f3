"""Whether `--unfreeze auto` stands the test of the transfer study."""

from __future__ import annotations

import math
import statistics
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from wakeword.acoustic.encoder import EncoderSizes
from wakeword.head.transfer import ALL_FROM, NARROW, TOP_BLOCKS, UNFREEZE_FROM, choose_unfreeze

sys.path.insert(0, str(Path(__file__).parents[1]))
import studies  # noqa: E402

HEADS = ("acoustic model", "new layers", "clips in all", "condition", "auto", "best", "difference", "auto is")
HEADS += ("less from scratch",)
CLIPS = 2
"""Of those that test, so many must be missed more for a pick to be worse."""
WIDTH = 0.01
"""Of an interval in points: a narrower one is of seeds that differ by the same number of clips, and means nothing."""
TRAINS = {"none": "frozen", "all": "all layers", "retrain": "all layers, as from scratch", "scratch": "from scratch"}


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


def judged(lines: list[dict], rate: float) -> list[dict]:
    """For each model, depth, number of clips and condition: what `auto` picks, which way to train the pretrained
    encoder was best, and whether the pick is worse than that, and than an encoder of this size from scratch.

    The differences are of trials with one seed, which have the same clips and, of the study's encoders, the same
    encoder. Worse is a pick whose 95 % interval of them (`studies.paired`) lies above 0, by `CLIPS` or more: where each
    seed differs by one and the same clip, the interval has no width and means nothing. Where the pick or another was
    not tried with two seeds, nothing is said.
    """
    found = []
    for (acoustic, depth, _), tried in points_of([line for line in lines if "missed" in line]).items():
        tried = {unfreeze: done for unfreeze, done in tried.items() if len(done) > 1}
        first = next((line for done in tried.values() for line in done.values()), None)
        if first is None:
            continue
        blocks = first["blocks"]
        sizes = EncoderSizes(channels=first["channels"], dilations=(1,) * blocks, taps=(blocks,))
        boundary = choose_unfreeze("auto", first["trained"], sizes).boundary
        picks = [
            unfreeze
            for unfreeze in tried
            if unfreeze not in ("scratch", "retrain") and choose_unfreeze(unfreeze, 0, sizes).boundary == boundary
        ]
        if not picks or len(tried) < 2:
            continue
        point = {"acoustic": acoustic, "depth": depth, "trained": first["trained"], "auto": picks[0]}
        for name in conditions([first]):
            wrong = wrong_of(tried, name, rate)
            scratch, pick = wrong.pop("scratch", {}), wrong[picks[0]]
            # By the seeds that both have, since seeds differ more than choices do; of equals the pick.
            apart = {choice: interval([(pick, other)]) for choice, other in wrong.items()}
            best = max((choice for choice in apart if apart[choice]), key=lambda c: (apart[c][0], c == picks[0]))
            made = {**point, "condition": name, "best": best, "found": wrong}
            for kind, least in (("", apart[best]), ("_scratch", interval([(pick, scratch)]))):
                worse = least is not None and least[1] > 0 and least[0] * first["tested"] >= CLIPS
                made |= {f"apart{kind}": least, f"worse{kind}": worse}
            found.append(made)
    return found


def points_of(lines: list[dict]) -> dict[tuple[str, int, int], dict[str, dict[int, dict]]]:
    """The trials by model, depth and number of clips, then by what trains, then by seed.

    Those from scratch stand beside all models of their size: they have heard none.
    """
    points = defaultdict(lambda: defaultdict(dict))
    acoustics = {(line["acoustic"], *sizes_of(line)) for line in lines if line["unfreeze"] != "scratch"}
    for line in lines:
        scratch = line["unfreeze"] == "scratch"
        alike = [name for name, *sizes in acoustics if sizes == sizes_of(line)] if scratch else [line["acoustic"]]
        for acoustic in alike:
            points[acoustic, line["depth"], line["clips"]][line["unfreeze"]][line["seed"]] = line
    return points


def wrong_of(tried: dict[str, dict[int, dict]], condition: str, rate: float) -> dict[str, dict[int, float]]:
    """What the trials of a point got wrong in a condition (`value`), by what trains and by seed."""
    return {
        unfreeze: {seed: value(line, condition, rate) for seed, line in done.items()}
        for unfreeze, done in tried.items()
    }


def sizes_of(line: dict) -> list[int]:
    """What tells an encoder of one size from others."""
    return [line["blocks"], line["channels"]]


def interval(pairs: Iterable[tuple[dict[int, float], dict[int, float]]]) -> tuple[float, float, float] | None:
    """`studies.paired` of what the first of a pair got wrong by seed less what the second did, the mean of the pairs.

    Of the seeds that all have; None if these are fewer than two.
    """
    pairs = list(pairs)
    seeds = set.intersection(*(set(each) for pair in pairs for each in pair)) if pairs else set()
    if len(seeds) < 2:
        return None
    return studies.paired([statistics.mean(one[seed] - other[seed] for one, other in pairs) for seed in sorted(seeds)])


def fixed(points: list[dict]) -> list[tuple[str, str, int, tuple[float, float, float]]]:
    """`auto` less the same choice at every point: condition, choice, number of points, and `interval`."""
    rows = []
    for condition in dict.fromkeys(point["condition"] for point in points):
        those = [point["found"] for point in points if point["condition"] == condition]
        autos = [point["auto"] for point in points if point["condition"] == condition]
        for choice in dict.fromkeys(name for found in those for name in found):
            both = [(found[pick], found[choice]) for found, pick in zip(those, autos, strict=True) if choice in found]
            apart = interval(both)
            if apart is not None and apart != (0.0, 0.0, 0.0):
                rows.append((condition, choice, len(both), apart))
    return rows


def less(apart: tuple[float, float, float] | None) -> str:
    """A difference and its interval, in points of a hundred."""
    if apart is None:
        return "–"
    mean, low, high = (100 * each for each in apart)
    if high - low < WIDTH:
        return f"{mean:+.1f} (each seed alike)"
    return f"{mean:+.1f} ({low:+.1f} to {high:+.1f})"


def brought(lines: list[dict], rate: float) -> list[str]:
    """As Markdown what each way to train a pretrained encoder gets wrong less what one from scratch does, paired by
    seed; empty where no point has two seeds of both."""
    ways = [way for way in dict.fromkeys(line["unfreeze"] for line in lines) if way != "scratch"]
    rows = []
    by_clips = sorted(points_of(lines).items(), key=lambda point: (*point[0][:2], point[0][2] or math.inf))
    for (acoustic, depth, _), tried in by_clips:
        for name in conditions(lines):
            wrong = wrong_of(tried, name, rate)
            apart = [interval([(wrong.get(way, {}), wrong.get("scratch", {}))]) for way in ways]
            if any(apart):
                first = next(line for done in tried.values() for line in done.values())
                cells = [f"`{Path(acoustic).stem}`", layers(depth), str(first["trained"]), name, *map(less, apart)]
                rows.append("| " + " | ".join(cells) + " |")
    if not rows:
        return []
    heads = ["acoustic model", "new layers", "clips in all", "condition", *map(trains, ways)]
    told = "Less from scratch, percentage points, paired by seed, with the 95 % t interval of the seeds' differences:"
    return [told, "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows]


def verdict(lines: list[dict], rate: float) -> list[str]:
    """Both as Markdown, with what three seeds can tell; empty where there is nothing to judge."""
    points = judged(lines, rate)
    if not points:
        return []
    text = [
        "What `--unfreeze auto` picks, beside the best of the row. The difference (auto less the best, percentage",
        "points) is paired by seed, with its 95 % t interval. Of three seeds that reaches 2.5 standard deviations to",
        "either side, of six one: only large or very regular differences are told, and what is not told may be there.",
        "The best is picked in hindsight among the row's ways to train a pretrained encoder, so by chance more than",
        f"one row in forty would be worse; it is called so only if {CLIPS} clips or more are missed more. The last",
        "column: auto less an encoder of this size from scratch.",
        "",
        "| " + " | ".join(HEADS) + " |",
        "|" + "---|" * len(HEADS),
    ]
    for each in points:
        told = "**worse**" if each["worse"] else "the best" if each["auto"] == each["best"] else "not apart"
        cells = [f"`{Path(each['acoustic']).stem}`", layers(each["depth"]), str(each["trained"]), each["condition"]]
        for unfreeze in (each["auto"], each["best"]):
            cells.append(f"{trains(unfreeze)}: {studies.spread(list(each['found'][unfreeze].values()))}")
        cells.append("–" if each["auto"] == each["best"] else less(each["apart"]))
        scratch = less(each["apart_scratch"])
        cells += [told, f"**{scratch}**" if each["worse_scratch"] else scratch]
        text.append("| " + " | ".join(cells) + " |")
    rows = [
        f"| {condition} | {trains(choice)} | {count} | {less(apart)} |"
        for condition, choice, count, apart in fixed(points)
    ]
    if rows:
        text += ["", "`auto` less one choice for all of these points, paired by seed (mean over the points):", ""]
        text += ["| condition | always | points | difference |", "|" + "---|" * 4, *rows]
    if all(line["channels"] <= NARROW for line in lines):
        text += [
            "",
            f"Of an encoder of more than {NARROW} channels, as `base`, of which all would train for too long, `auto`",
            f"trains the top {TOP_BLOCKS} blocks from {UNFREEZE_FROM} clips to {ALL_FROM}: no row here tests that.",
        ]
    return text
