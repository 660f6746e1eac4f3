"""What of pretraining helps a wake head: each variant of study.toml, with several seeds and equal data.

    python recipes/pretrain/study.py [--only NAME ...] [--seeds 1 2] [--limit N]     from the repository's root

First: what study.toml says. A trial pretrains a small encoder, then trains and tests the words of
recipes/one_hour on it, frozen, and adds a line to study.jsonl, which is kept in the repository: what stands there is
not run again, and an interrupted trial goes on where it was. The table goes to RESULTS.md.
"""

from __future__ import annotations

import json
import statistics
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wakeword.pretraining.pretrain_config import Config, config_of
from wakeword.settings import from_dict, read_toml

HERE = Path(__file__).parent
LINES = HERE / "study.jsonl"
RESULTS = HERE / "RESULTS.md"
HEADING = "## What helps: the study"
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "one_hour")]
import probe  # noqa: E402
import studies  # noqa: E402
from studies import Variant  # noqa: E402


@dataclass(frozen=True)
class Study:
    """`pretraining` is the TOML file that all start from, `common` what all of them change in it.

    `reading` is what its maker reads from the table, for the page.
    """

    pretraining: str = ""
    words_config: str = ""
    folder: str = "exp/study"
    seeds: tuple[int, ...] = (1, 2, 3)
    common: dict = field(default_factory=dict)
    words: dict = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()
    reading: str = ""


def read_study(path: Path) -> Study:
    """The study of a TOML file.

    Raises:
        ConfigError: an unknown key, a variant whose settings cannot work, or two of one name.
    """
    study = from_dict(Study, read_toml(path), str(path))
    studies.check_names(study.variants, path)
    for variant in study.variants:
        pretraining_of(study, variant, seed=1)
        probe.training_of(words_of(study, seed=1), head_of(variant))
    return study


def pretraining_of(study: Study, variant: Variant, seed: int) -> Config:
    """The pretraining of one trial."""
    folder = Path(study.folder) / f"{variant.name}-{seed}"
    note = f"A trial of recipes/pretrain/study.py: {variant.name}."
    own = {"seed": seed, "folder": str(folder), "output": str(folder / "acoustic.safetensors"), "card": note}
    changes = {name: value for name, value in variant.changes.items() if name != "head"}
    values = {**read_toml(study.pretraining), **study.common, **changes, **own}
    return config_of(values, f"{study.pretraining} as variant '{variant.name}'")


def head_of(variant: Variant) -> dict:
    """What a variant changes in the training of the heads."""
    return variant.changes.get("head", {})


def words_of(study: Study, seed: int) -> probe.one_hour.Config:
    """The words that the heads learn, and how long."""
    return probe.words_of(study.words_config, study.words, Path(study.folder) / "negatives", seed)


def trial(study: Study, variant: Variant, seed: int) -> dict:
    """Pretrain, train and test one variant with one seed: a line of study.jsonl."""
    from wakeword.pretraining.pretrain import pretrain
    from wakeword.pretraining.pretrain_state import refuse_changed

    config = pretraining_of(study, variant, seed)
    if Path(config.output).exists():  # whole: to settle and validate it again would change nothing
        refuse_changed(Path(config.folder) / "training.safetensors", asdict(config))
    else:
        pretrain(config)  # an interrupted one goes on; one of other settings is refused
    card = json.loads(Path(config.output).with_suffix(".json").read_text())
    words = words_of(study, seed)
    told = {"parameters": card["parameters"], "hours_heard": card["hours_heard"], "held_out": card["held_out_speakers"]}
    return {"variant": variant.name, "seed": seed, **told, **probe.probed(config.output, words, head_of(variant))}


def table(study: Study, lines: list[dict]) -> list[str]:
    """The study as Markdown; empty where no trial is done."""

    def hours(done: list[dict]) -> str:
        return f"{statistics.mean(row['hours_heard'] for row in done):.1f}"

    def errors(done: list[dict]) -> str:
        found = [row["held_out"]["cer"] for row in done if "cer" in row["held_out"]]
        return f"{statistics.mean(found):.0%}" if found else "–"

    return studies.table(study.variants, lines, {"hours heard": hours, "character errors": errors})


def apart(study: Study, lines: list[dict]) -> list[str]:
    """The variants that lie apart, with a heading and an empty line; empty where none does."""
    found = studies.apart(study.variants, lines)
    heading = (
        f"Apart from `{study.variants[0].name}`, or the row named (all seeds of the one below all of the other), at so "
        "many FA/h:"
    )
    return [heading, "", *found, ""] if found else []


def section(study: Study, lines: list[dict]) -> list[str]:
    """The study's part of RESULTS.md, without its heading."""
    return [
        "Written by `python recipes/pretrain/study.py` (study.toml beside it, a line a trial in study.jsonl): each",
        "variant changes what its row says in the pretraining of a small encoder; a head is then trained on it,",
        "frozen, for the words of ../one_hour together. Miss rates are means over the words, with the range of the",
        f"seeds, on development data ({studies.counted(lines)}, and noise, of which the heads hear none), at the",
        "thresholds that give so many false alarms per hour on the same, in hindsight: to compare variants with each",
        "other, since all are trained less than the models that ship. The range is wide: variants whose ranges",
        "overlap are undecided. At 0.1 an hour that is no false alarm at all, so one recording decides: it is too",
        "little to tell 0.1 from its neighbours. The encoders have heard the noise, and all speakers of their data but",
        "6 % (`held_out`), so most of those who test the heads: rows that differ in the amount or choice of data",
        "compare encoders that have heard more or fewer of them, and more data may look better by that alone.",
        "Character errors are of held-out speakers of the variant's own data; about 100 % or more: its CTC layer is",
        "not trained.",
        "",
        *(table(study, lines) or ["No trial is done yet."]),
        "",
        *apart(study, lines),
        *study.reading.splitlines(),
    ]


def write_section(study: Study, lines: list[dict], path: Path = RESULTS) -> list[str]:
    """Replace the study's part, the last one, of RESULTS.md; the table."""
    studies.write_section(HEADING, section(study, lines), path)
    return table(study, lines)


if __name__ == "__main__":
    sys.exit(studies.run(__doc__, HERE / "study.toml", LINES, read_study, trial, write_section))
