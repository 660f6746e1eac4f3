"""What the studies of the recipes share: variants with several seeds, a line a trial, and a table of their means."""

from __future__ import annotations

import argparse
import fnmatch
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from pathlib import Path

from wakeword.cli import exit_status, number
from wakeword.errors import ConfigError
from wakeword.files import replacing
from wakeword.model.checkpoint import digest_without_card, shipped

COUNTS = ("tested", "hours")
STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)
"""The 97.5 % quantiles of Student's t for 1 to 9 degrees of freedom; of more the last is a little too wide."""


@dataclass(frozen=True)
class Variant:
    """A name, the question that it answers, and the settings that it changes.

    `apart` compares it with the variant `against`: with a study's first where that is empty.
    """

    name: str = ""
    asks: str = ""
    changes: dict = field(default_factory=dict)
    against: str = field(default="", kw_only=True)


def check_names(variants: Sequence, path: Path, kind: str = "variants") -> None:
    """Refuse variants, or what else is called `kind`, without a name of their own.

    Raises:
        ConfigError: there are such, or none at all.
    """
    names = [variant.name for variant in variants]
    if not names or not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"{path}: give [[{kind}]], each with a name of its own")


def read_lines(path: Path) -> list[dict]:
    """The trials that are done."""
    return [json.loads(line) for line in path.read_text().splitlines() if line.strip()] if path.exists() else []


def add_line(line: dict, path: Path) -> None:
    """One more of them: in one write to the file's end, since two processes may share a study."""
    with path.open("ab", buffering=0) as file:
        file.write((json.dumps(line) + "\n").encode())


def of_these_weights(lines: Sequence[dict], weights: dict[str, str]) -> list[dict]:
    """The trials whose heads are on the acoustic models that ship now.

    Args:
        weights: for each variant whose heads are on a model that ships, the digest of it that a line of today tells.
    """
    return [row for row in lines if row.get("weights", "") == weights.get(row["variant"], "")]


@cache
def digest_of(acoustic: str) -> str:
    """What tells the weights of a model that ships from those of another of the same name; empty for no name.

    Raises:
        WakewordError: there is none of this name.
    """
    return digest_without_card(shipped(acoustic))[:12] if acoustic else ""


def spread(values: Sequence[float]) -> str:
    """The mean of rates, and of several the least and the most."""
    shown = f"{statistics.mean(values):.1%}"
    return shown + (f" ({min(values):.1%}–{max(values):.1%})" if len(values) > 1 else "")


def missed(row: dict, condition: str, rate: str) -> float:
    """The mean over the words of a trial's miss rates."""
    return statistics.mean(word[condition][rate] for word in row["missed"].values())


def counted(lines: Sequence[dict]) -> str:
    """The clips and hours that the rates of trials are of."""
    clips, hours = (" or ".join(f"{each:g}" for each in sorted({line[name] for line in lines})) for name in COUNTS)
    return f"{clips or 'no'} clips, {hours or 'no'} h of negatives"


def paired(differences: Sequence[float]) -> tuple[float, float, float]:
    """The mean of differences, one a seed, and the ends of its 95 % interval (Student's t): of two or more."""
    mean = statistics.mean(differences)
    quantile = STUDENT[min(len(differences) - 2, len(STUDENT) - 1)]
    half = quantile * statistics.stdev(differences) / len(differences) ** 0.5
    return mean, mean - half, mean + half


def table(
    variants: Iterable[Variant], lines: list[dict], more: dict[str, Callable[[list[dict]], str]] | None = None
) -> list[str]:
    """A study as Markdown: for each variant the mean over words and seeds, and the seeds' spread.

    Empty where no trial is done. A line's `missed` holds miss rates by word, condition and false alarms per hour.

    Args:
        more: further columns: their heads, and what gives a cell for the lines of a variant.
    """
    columns = columns_of(lines)
    if not columns:
        return []
    rows = []
    for variant in variants:
        done = [row for row in lines if row["variant"] == variant.name]
        if not done:
            continue
        cells = [variant.name, variant.asks, str(len(done))]
        for condition, rate in columns:
            cells.append(spread([missed(row, condition, rate) for row in done]))
        cells += [cell(done) for cell in (more or {}).values()]
        rows.append("| " + " | ".join(cells) + " |")
    names = [f"missed, {condition}, {rate} FA/h" for condition, rate in columns]
    heads = ["variant", "what it asks", "seeds", *names, *(more or {})]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows]


def apart(variants: Sequence[Variant], lines: list[dict]) -> list[str]:
    """Which variants lie apart from the one that they are compared with: all seeds of the one below all of the other.

    A line each, Markdown, with the columns of `table` in which they do; without variants of fewer than two seeds.
    """
    seeds = {variant.name: [row for row in lines if row["variant"] == variant.name] for variant in variants}
    found = []
    for variant in variants:
        compared = variant.against or variants[0].name
        own, others = seeds[variant.name], seeds.get(compared, [])
        if own is others or min(len(own), len(others)) < 2:
            continue
        places: dict[str, list[str]] = {"better": [], "worse": []}
        for condition, rate in columns_of(lines):
            one, other = ([missed(row, condition, rate) for row in rows] for rows in (own, others))
            if max(one) < min(other):
                places["better"].append(f"{condition} {rate}")
            if min(one) > max(other):
                places["worse"].append(f"{condition} {rate}")
        told = "; ".join(f"{how}: {', '.join(where)}" for how, where in places.items() if where)
        if told:
            found.append(f"- `{variant.name}` from `{compared}`: {told}")
    return found


def columns_of(lines: list[dict]) -> list[tuple[str, str]]:
    """The conditions and false alarms per hour that trials tell, clean and many alarms first."""
    columns = {(c, r) for row in lines for word in row["missed"].values() for c in word for r in word[c]}
    return sorted(columns, key=lambda column: (column[0] != "clean", -float(column[1])))


def write_section(heading: str, text: Sequence[str], path: Path) -> None:
    """Replace a page's last part, which begins with `heading`; what lies before stays."""
    before = path.read_text(encoding="utf-8").partition(heading)[0].rstrip() if path.exists() else ""
    with replacing(path) as temporary:
        temporary.write_text("\n".join([before, "", heading, "", *text, ""]).lstrip("\n"), encoding="utf-8")


def run(
    doc: str,
    config: Path,
    lines: Path,
    read: Callable,
    trial: Callable,
    write: Callable,
    acoustic_of: Callable[..., str] = lambda study, variant: "",
) -> int:
    """A study's command line: run the trials that are not done, each adding its line; then print the table.

    Args:
        doc: what --help says.
        config: the study's TOML file, unless --config names another.
        lines: where the trials that are done stand.
        read: the configuration of a file, with its `variants` and `seeds`.
        trial: runs a variant of a study with a seed, and gives its line.
        write: the table's lines, from a study and its lines, having written them to its page.
        acoustic_of: from a study and a variant the model that ships on which the heads are, or "" where the trial makes
            its own. A line tells its weights, and one of other weights is neither shown nor taken for done.

    Returns:
        The exit status.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=config)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these variants; '*' in a name stands for anything")
    parser.add_argument("--seeds", nargs="+", type=number(least=0), help="instead of the configuration's")
    parser.add_argument("--limit", type=number(least=0), default=10**6, help="stop after so many trials")
    args = parser.parse_args()

    def work() -> None:
        study = read(args.config)
        names = [variant.name for variant in study.variants]
        unknown = [name for name in args.only or () if not fnmatch.filter(names, name)]
        if unknown:
            raise ConfigError(f"{args.config}: no variant named {', '.join(unknown)}")
        weights = {variant.name: digest_of(acoustic_of(study, variant)) for variant in study.variants}

        def current() -> list[dict]:
            return of_these_weights(read_lines(lines), weights)

        if others := len(read_lines(lines)) - len(current()):
            print(f"{others} trials in {lines} are of acoustic models that no longer ship: left out", flush=True)

        def done() -> set[tuple[str, int]]:
            return {(row["variant"], row["seed"]) for row in current()}

        asked = {found for name in args.only or ["*"] for found in fnmatch.filter(names, name)}
        variants = [variant for variant in study.variants if variant.name in asked]
        wanted = [(variant, seed) for seed in args.seeds or study.seeds for variant in variants]
        # Looked up when its turn has come: another process may have done it by then.
        left = ((variant, seed) for variant, seed in wanted if (variant.name, seed) not in done())
        for variant, seed in islice(left, args.limit):
            print(f"== {variant.name}, seed {seed}", flush=True)
            told = {"weights": weights[variant.name]} if weights[variant.name] else {}
            add_line({**trial(study, variant, seed), **told}, lines)
            write(study, current())
        print("\n".join(write(study, current())))

    return exit_status(work, Path(sys.argv[0]).stem)
