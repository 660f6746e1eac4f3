"""The encoders that the transfer study pretrains: who is kept from them, and from which settings they come."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from wakeword.model.checkpoint import read_meta, shipped
from wakeword.pretraining.pretrain_config import Config, config_of
from wakeword.settings import known, read_toml

sys.path.insert(0, str(Path(__file__).parents[1] / "one_hour"))
import divided  # noqa: E402
import probe  # noqa: E402


@dataclass(frozen=True)
class Pretraining:
    """What is taken from the study of pretraining: the TOML file that all start from, and what all change in it."""

    pretraining: str = ""
    common: dict = field(default_factory=dict)


def objective_of(study, acoustic: str) -> str:
    """Whose objective an encoder of the study has; empty: a shipped model, or a file."""
    name, dash, minutes = acoustic.rpartition("-")
    return name if dash and name in study.objectives and (minutes == "all" or minutes.isdecimal()) else ""


def pretraining_of(study, acoustic: str, seed: int) -> Config:
    """How an encoder of the study is pretrained; its folder is one of its own for each list of settings.

    Raises:
        ConfigError: a setting that cannot work.
    """
    before = known(Pretraining, read_toml(study.pretraining), study.pretraining)
    minutes = acoustic.rpartition("-")[2]
    values = {**read_toml(before.pretraining), **before.common, **study.encoder}
    values |= study.objectives[objective_of(study, acoustic)]
    values |= {"seed": seed, "minutes": 0.0 if minutes == "all" else float(minutes)}
    values |= {"held_out": study.held_out, "noise": [divided.training_noise(study.words_folder)]}
    values |= {"card": f"An encoder of recipes/transfer_study: {acoustic}."}
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    folder = Path(study.folder) / f"{acoustic}-{seed}-{digest}"
    own = {"folder": str(folder), "output": str(folder / "acoustic.safetensors")}
    return config_of({**values, **own}, f"{study.pretraining} as '{acoustic}'")


def pretrained(study, acoustic: str, seed: int) -> str:
    """The file or name of an acoustic model, pretrained if it is one of the study's that is not there yet."""
    if not objective_of(study, acoustic):
        return acoustic
    from wakeword.pretraining.pretrain import pretrain

    config = pretraining_of(study, acoustic, seed)
    if not Path(config.output).exists():
        divided.divide_noise(probe.words_of(study.words_config, study.words, study.words_folder, seed))
        pretrain(config)
    return config.output


def told(acoustic: str) -> dict[str, float]:
    """How much speech an acoustic model was pretrained on, by its card, and its encoder's blocks and channels."""
    meta = read_meta(shipped(acoustic), "acoustic")
    hours = [corpus["hours"] for corpus in meta["card"].get("data", {}).values()]
    sizes = meta["sizes"]
    minutes = round(60 * sum(hours), 1)
    return {"source_minutes": minutes, "blocks": len(sizes["dilations"]), "channels": sizes["channels"]}
