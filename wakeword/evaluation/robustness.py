"""What makes a phrase be missed, and what sets it off: an evaluation's report as tables, one for each cause."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

from wakeword.evaluation.conditions import CLEAN, LEVEL, NOISE, REVERBERATION, SPEED
from wakeword.evaluation.operating import MISS_WIDE, RATE_WIDE

ABOUT = {
    NOISE: (
        "Noise",
        "The SNR is that of the speech's active power over the noise's mean power. At each of them the same piece of "
        "noise lies under a clip.",
    ),
    REVERBERATION: (
        "Reverberation",
        "In rooms by reverberation time, as loud as before. Simulated rooms are boxes with the talker 0.2 to 6 m away.",
    ),
    LEVEL: (
        "Level",
        "The level is that of the speech, while there is speech. What does not fit below full scale is clipped, as by "
        "an input that is turned up too far.",
    ),
    SPEED: ("Speed", "As a tape that runs slower or faster: the pitch moves along."),
}
WIDE = "†"
LEAST_HOURS = 0.1  # of a group of speakers among the negatives


def tables(report: dict[str, Any], level: int = 2) -> list[str]:
    """Lines of Markdown: the thresholds, then misses and false alarms at each of them; headings of this level."""
    points = dict(zip(ascii_uppercase, report["operating_points"], strict=False))
    lines = [
        *table(["", "threshold", "chosen on", "false alarms per hour, without noise"], _thresholds(points)),
        "",
        "In all tables: how many, the rate and its 95 % interval (Wilson's for misses, Garwood's for alarms), which",
        "takes clips and alarms as independent of each other.",
    ]
    for axis, names in report["axes"].items():
        title, about = ABOUT[axis]
        rows = [CLEAN.name, *names] if axis != NOISE and CLEAN.name in report["conditions"] else names
        lines += ["", f"{'#' * level} {title}", "", about, "", *_misses(points, rows)]
        if axis == NOISE:
            lines += _in_noise(points)
    lines += ["", f"{'#' * level} Speakers", "", *_speakers(points, report["axes"].get(NOISE, []))]
    lines += ["", f"{'#' * level} False alarms by kind of sound", "", *_kinds(points)]
    groups = [each["false_alarms"][CLEAN.name]["by_group"] for each in points.values()]
    enough = sorted(name for name, found in groups[0].items() if found["hours"] >= LEAST_HOURS)
    if enough:
        about = f"Groups with {LEAST_HOURS:g} h or more; a speaker is in several."
        lines += ["", f"{'#' * level} False alarms by who speaks", "", about, ""]
        lines += _alarms(points, [{name: each[name] for name in enough} for each in groups])
    if any(WIDE in line for line in lines):
        lines += ["", _footnote(points)]
    return lines


def missed(found: dict[str, Any]) -> str:
    """A cell: how many were missed, the rate and its interval; marked where that is too wide."""
    low, high = found["interval"]
    return f"{found['missed']}: {found['miss_rate']:.1%} ({low:.1%}–{high:.1%}){WIDE if found['note'] else ''}"


def alarmed(found: dict[str, Any]) -> str:
    """A cell: how many false alarms, the rate per hour and its interval; marked where that is too wide."""
    low, high = found["interval"]
    return f"{found['count']}: {found['per_hour']:.2f} ({low:.2f}–{high:.2f}){WIDE if found['wide'] else ''}"


def apart_of(point: dict[str, Any]) -> dict[str, dict]:
    """False alarms of the kinds that are counted apart, by names that no kind among the negatives has."""
    kinds = point["false_alarms"][CLEAN.name]["by_kind"]
    return {f"{kind}, apart" if kind in kinds else kind: found for kind, found in point["others"].items()}


def _footnote(points: dict[str, dict]) -> str:
    rates = sorted({each["held_against_fa_per_hour"] for each in points.values()} - {None})
    asked = " or ".join(f"{rate:g}" for rate in rates)
    return (
        f"{WIDE} Too wide to mean anything: the interval of a miss rate spans more than {100 * MISS_WIDE:.0f} points"
        + f"; that of false alarms holds the rate asked for ({asked} per hour) and {RATE_WIDE:g} times it."
        * bool(rates)
    )


def _thresholds(points: dict[str, dict]) -> list[list[str]]:
    return [
        [letter, f"{each['threshold']:.4f}", f"{each['name']}: {each['chosen_on']}", _overall(each)]
        for letter, each in points.items()
    ]


def _overall(point: dict[str, Any]) -> str:
    found = point["false_alarms"][CLEAN.name]
    return f"{alarmed(found)} in {found['hours']:.2f} h"


def _headings(points: dict[str, dict], what: str) -> list[str]:
    """A heading a threshold, with the false alarms that it costs."""
    found = {letter: each["false_alarms"][CLEAN.name] for letter, each in points.items()}
    return [f"{what} at {letter} ({f['per_hour']:.2f}/h in {f['hours']:.2f} h)" for letter, f in found.items()]


def _misses(points: dict[str, dict], names: list[str]) -> list[str]:
    rows = []
    for name in names:
        found = [each["conditions"][name] for each in points.values()]
        rows.append([name, str(found[0]["clips"]), *map(missed, found)])
    return table(["condition", "clips", *_headings(points, "missed")], rows)


def _in_noise(points: dict[str, dict]) -> list[str]:
    """False alarms of negatives that were heard with noise, and how many the same clips raised without."""
    first = next(iter(points.values()))["false_alarms"]
    names = [name for name in first if name != CLEAN.name]
    if not names:
        return []
    rows = []
    for name in names:
        found = [each["false_alarms"][name] for each in points.values()]
        cells = [f"{alarmed(each)}; without noise {each['clean_count']}" for each in found]
        rows.append([name, f"{first[name]['hours']:.2f}", *cells])
    headings = [f"false alarms per hour at {letter}" for letter in points]
    about = "False alarms of negatives with the same noise under them, and of the same negatives without it:"
    return ["", about, "", *table(["condition", "hours", *headings], rows)]


def _speakers(points: dict[str, dict], names: list[str]) -> list[str]:
    groups = next(iter(points.values()))["conditions"][names[0]]["groups"] if names else {}
    if not groups:
        return ["The clips' manifests name no group of speakers with ten clips, so nothing can be said of any."]
    lines = []
    for heading, each in zip(_headings(points, "Missed"), points.values(), strict=True):
        found = [each["conditions"][name] for name in names]
        rows = [["all", str(found[0]["clips"]), *map(missed, found)]]
        rows += [[g, str(found[0]["groups"][g]["clips"]), *(missed(f["groups"][g]) for f in found)] for g in groups]
        lines += ["", f"{heading}:", "", *table(["speakers", "clips", *names], rows)]
    return lines[1:]


def _kinds(points: dict[str, dict]) -> list[str]:
    """Kinds among the negatives, then those that are counted apart; the words of each corpus of other words."""
    found = []
    for each in points.values():
        kinds = dict(each["false_alarms"][CLEAN.name]["by_kind"])
        for name, apart in apart_of(each).items():
            kinds[name] = apart
            if len(apart["by_corpus"]) > 1 and name.removesuffix(", apart") not in ("noise", "music"):
                kinds |= {f"{name}: {corpus}": one for corpus, one in apart["by_corpus"].items()}
        found.append(kinds)
    return _alarms(points, found)


def _alarms(points: dict[str, dict], found: list[dict[str, dict]]) -> list[str]:
    headings = ["of", "clips", "hours", *(f"false alarms per hour at {letter}" for letter in points)]
    rows = [
        [name, str(each["clips"]), f"{each['hours']:.2f}", *(alarmed(one[name]) for one in found)]
        for name, each in found[0].items()
    ]
    return table(headings, rows)


def table(headings: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    shown = [headings, ["---"] * len(headings), *rows]
    return ["| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in row) + " |" for row in shown]
