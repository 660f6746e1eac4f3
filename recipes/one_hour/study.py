"""What of a phrase's training helps: each variant of study.toml, with several seeds, on the same acoustic model.

    python recipes/one_hour/study.py [--only NAME ...] [--seeds 1 2] [--limit N]     from the repository's root

First: python recipes/pretrain/prepare.py --shared ../shared/corpora --out exp/manifests
A trial trains and tests all words (probe.py beside this), and adds a line to study.jsonl, which is kept in the
repository: what stands there is not run again. The table goes to STUDY.md.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path

from wakeword.errors import ConfigError
from wakeword.settings import from_dict, read_toml

HERE = Path(__file__).parent
LINES = HERE / "study.jsonl"
PAGE = HERE / "STUDY.md"
sys.path[:0] = [str(HERE.parent), str(HERE)]
import probe  # noqa: E402
import studies  # noqa: E402
from studies import Variant  # noqa: E402


@dataclass(frozen=True)
class Study:
    """`words` changes the configuration of the words, `common` the settings of training in all variants; `reading` is
    what its maker reads from the table."""

    words_config: str = ""
    acoustic: str = "micro"
    folder: str = "exp/head_study"
    seeds: tuple[int, ...] = (1, 2, 3)
    reading: str = ""
    words: dict = field(default_factory=dict)
    common: dict = field(default_factory=dict)
    variants: tuple[Variant, ...] = ()


def read_study(path: Path) -> Study:
    """The study of a TOML file.

    Raises:
        ConfigError: an unknown key, a variant whose settings cannot work, or two of one name.
    """
    study = from_dict(Study, read_toml(path), str(path))
    studies.check_names(study.variants, path)
    words = words_of(study, seed=1)
    for variant in study.variants:
        try:
            probe.training_of(words, {**study.common, **variant.changes})
        except ConfigError as error:
            raise ConfigError(f"{path}: variant '{variant.name}': {error}") from error
    return study


def words_of(study: Study, seed: int) -> probe.one_hour.Config:
    """The words, and how long they train."""
    return probe.words_of(study.words_config, study.words, study.folder, seed)


def trial(study: Study, variant: Variant, seed: int) -> dict:
    """Train and test one variant with one seed: a line of study.jsonl."""
    found = probe.probed(study.acoustic, words_of(study, seed), {**study.common, **variant.changes})
    return {"variant": variant.name, "seed": seed, **found}


def write(study: Study, lines: list[dict]) -> list[str]:
    """Write STUDY.md; the table."""
    table, apart = studies.table(study.variants, lines), studies.apart(study.variants, lines)
    text = [
        "",
        "Written by `python recipes/one_hour/study.py` (study.toml beside it, a line a trial in study.jsonl): each",
        f"variant changes what its row says in the training of a head on the frozen encoder of `{study.acoustic}`, for",
        "all words of config.toml together. Miss rates are means over the words, with the range of the seeds, on",
        f"development data ({studies.counted(lines)}, and noise, of which the heads hear none), at the",
        "thresholds that give so many false alarms per hour on the same, in hindsight: to compare variants with each",
        f"other, since all train for less than `wakeword train` does. In its pretraining `{study.acoustic}` has heard",
        "nearly all of these speakers, and the noise: alike for all variants.",
        "",
        *(table or ["No trial is done yet."]),
        *(["", "All seeds to one side of all of the other's:", "", *apart] if apart else []),
        *(["", *study.reading.strip().splitlines()] if table and study.reading else []),
    ]
    studies.write_section("# What helps in training a phrase: the study", text[1:], PAGE)
    return table


if __name__ == "__main__":
    sys.exit(
        studies.run(
            __doc__, HERE / "study.toml", LINES, read_study, trial, write, lambda study, variant: study.acoustic
        )
    )
