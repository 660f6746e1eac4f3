"""What of pretraining helps a wake head: each variant of study.toml, with several seeds and equal data.

    python recipes/pretrain/study.py [--only NAME ...] [--seeds 1 2] [--limit N]     from the repository's root

First: what study.toml says. A trial pretrains a small encoder, then trains and tests the words of
recipes/one_hour on it, frozen, and adds a line to study.jsonl, which is kept in the repository: what stands there is
not run again, and an interrupted trial goes on where it was. The table goes to RESULTS.md.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from wakeword.errors import ConfigError, WakewordError
from wakeword.files import replacing
from wakeword.pretrain_config import Config, config_of
from wakeword.settings import from_dict, read_toml

HERE = Path(__file__).parent
LINES = HERE / "study.jsonl"
RESULTS = HERE / "RESULTS.md"
HEADING = "## What helps: the study"
sys.path.insert(0, str(HERE))
from probe import one_hour, probe  # noqa: E402


@dataclass(frozen=True)
class Variant:
    """A name, the question that it answers, and the settings of pretraining that it changes."""

    name: str = ""
    asks: str = ""
    changes: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """`pretraining` is the TOML file that all start from, `common` what all of them change in it."""

    pretraining: str = ""
    words_config: str = ""
    folder: str = "exp/study"
    seeds: tuple[int, ...] = (1, 2, 3)
    common: dict = field(default_factory=dict)
    words: dict = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()


def read_study(path: Path) -> Study:
    """The study of a TOML file.

    Raises:
        ConfigError: an unknown key, a variant whose settings cannot work, or two of one name.
    """
    study = from_dict(Study, read_toml(path), str(path))
    names = [variant.name for variant in study.variants]
    if not names or not all(names) or len(set(names)) < len(names):
        raise ConfigError(f"{path}: give [[variants]], each with a name of its own")
    for variant in study.variants:
        pretraining_of(study, variant, seed=1)
    return study


def pretraining_of(study: Study, variant: Variant, seed: int) -> Config:
    """The pretraining of one trial."""
    folder = Path(study.folder) / f"{variant.name}-{seed}"
    note = f"A trial of recipes/pretrain/study.py: {variant.name}."
    own = {"seed": seed, "folder": str(folder), "output": str(folder / "acoustic.safetensors"), "card": note}
    values = {**read_toml(study.pretraining), **study.common, **variant.changes, **own}
    return config_of(values, f"{study.pretraining} as variant '{variant.name}'")


def trial(study: Study, variant: Variant, seed: int) -> dict:
    """Pretrain, train and test one variant with one seed: a line of study.jsonl."""
    from wakeword.pretrain import pretrain

    config = pretraining_of(study, variant, seed)
    began = cpu_seconds()
    pretrain(config)  # an interrupted one goes on; one of other settings is refused
    pretraining_s = cpu_seconds() - began
    card = json.loads(Path(config.output).with_suffix(".json").read_text())
    words = from_dict(one_hour.Config, {**read_toml(study.words_config), **study.words}, study.words_config)
    words = replace(words, folder=str(Path(study.folder) / "negatives"), seed=seed)
    missed = probe(config.output, words)
    return {
        "variant": variant.name,
        "seed": seed,
        "parameters": card["parameters"],
        "hours_heard": card["hours_heard"],
        "held_out": card["held_out_speakers"],
        "cpu_seconds": round(pretraining_s),
        "probe_cpu_seconds": round(cpu_seconds() - began - pretraining_s),
        "missed": missed,
    }


def cpu_seconds() -> float:
    """Of this process, and of its workers that have ended."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in usage)


def read_lines(path: Path = LINES) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_line(line: dict, path: Path = LINES) -> None:
    with replacing(path) as temporary:
        temporary.write_text("".join(json.dumps(row) + "\n" for row in [*read_lines(path), line]))


def table(study: Study, lines: list[dict]) -> list[str]:
    """The study as Markdown: for each variant the mean over words and seeds, and the seeds' spread.

    Empty where no trial is done.
    """
    columns = sorted({(c, r) for row in lines for word in row["missed"].values() for c in word for r in word[c]})
    columns.sort(key=lambda column: (column[0] != "clean", -float(column[1])))
    if not columns:
        return []
    rows = []
    for variant in study.variants:
        done = [row for row in lines if row["variant"] == variant.name]
        if not done:
            continue
        cells = [variant.name, variant.asks, str(len(done)), f"{statistics.mean(r['hours_heard'] for r in done):.1f}"]
        for condition, rate in columns:
            each = [statistics.mean(word[condition][rate] for word in row["missed"].values()) for row in done]
            spread = f" ({min(each):.1%}–{max(each):.1%})" if len(each) > 1 else ""
            cells.append(f"{statistics.mean(each):.1%}{spread}")
        errors = [row["held_out"]["cer"] for row in done if "cer" in row["held_out"]]
        cells.append(f"{statistics.mean(errors):.0%}" if errors else "–")
        rows.append("| " + " | ".join(cells) + " |")
    names = [f"missed, {condition}, {rate} FA/h" for condition, rate in columns]
    heads = ["variant", "what it asks", "seeds", "hours heard", *names, "character errors"]
    return ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads), *rows]


def section(study: Study, lines: list[dict]) -> list[str]:
    """The study's part of RESULTS.md."""
    return [
        HEADING,
        "",
        "Written by `python recipes/pretrain/study.py` (study.toml beside it, a line a trial in study.jsonl): each",
        "variant changes what its row says in the pretraining of a small encoder; a head is then trained on it,",
        "frozen, for each word of ../one_hour. Miss rates are means over the words, with the range of the seeds, at",
        "the thresholds that give so many false alarms per hour on the test negatives, in hindsight: to compare",
        "variants with each other, since all are trained less than the models that ship. Character errors are of",
        "held-out speakers of the variant's own data.",
        "",
        *(table(study, lines) or ["No trial is done yet."]),
        "",
    ]


def write_section(study: Study, lines: list[dict], path: Path = RESULTS) -> None:
    """Replace the study's part, the last one, of RESULTS.md; the rest stays."""
    before = path.read_text(encoding="utf-8").partition(HEADING)[0].rstrip() if path.exists() else ""
    with replacing(path) as temporary:
        temporary.write_text("\n".join([before, "", *section(study, lines)]), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE / "study.toml")
    parser.add_argument("--only", nargs="+", help="these variants")
    parser.add_argument("--seeds", nargs="+", type=int, help="instead of the configuration's")
    parser.add_argument("--limit", type=int, default=10**6, help="stop after so many trials")
    args = parser.parse_args()
    try:
        study = read_study(args.config)
        unknown = set(args.only or ()) - {variant.name for variant in study.variants}
        if unknown:
            raise ConfigError(f"{args.config}: no variant named {', '.join(sorted(unknown))}")
        done = {(row["variant"], row["seed"]) for row in read_lines()}
        variants = [variant for variant in study.variants if variant.name in (args.only or [variant.name])]
        wanted = [(variant, seed) for seed in args.seeds or study.seeds for variant in variants]
        left = [(variant, seed) for variant, seed in wanted if (variant.name, seed) not in done]
        for variant, seed in left[: args.limit]:
            print(f"== {variant.name}, seed {seed}", flush=True)
            add_line(trial(study, variant, seed))
            write_section(study, read_lines())
    except WakewordError as error:
        print(f"study: {error}", file=sys.stderr)
        return 2
    print("\n".join(table(study, read_lines())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
