"""Where a pretraining begins: its checkpoint, from which it goes on bit for bit, or the weights of another model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch

from wakeword import checkpoint, tokens
from wakeword.acoustic import AcousticModel
from wakeword.acoustic_file import load_acoustic
from wakeword.errors import ConfigError, ModelError
from wakeword.pretrain_config import Config, Stage

UNBINDING = ("card", "output", "folder", "threads", "workers", "device", "compile")
UNBINDING += ("checkpoint_every", "validate_every", "settle_batches")
"""Settings that may change while a run is interrupted: the steps do not depend on them, but for rounding."""


@dataclass
class Progress:
    """Where a run is: enough, with the weights and moments, to go on bit for bit; and how it began, for its card."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    origin: dict = field(default_factory=dict)


def save_training(path: Path, model: AcousticModel, optimizer: torch.optim.AdamW, progress: Progress, config) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= checkpoint.optimizer_tensors(optimizer)
    checkpoint.save(path, tensors, "training", {"progress": dataclasses.asdict(progress), "config": config})


def refuse_changed(path: Path, config: dict) -> None:
    """Refuse a checkpoint of another value of a setting that is not `UNBINDING`; reads its header alone.

    Raises:
        ModelError: not a training checkpoint.
        ConfigError: there is such a setting.
    """
    meta = read_state(checkpoint.read_meta, path)
    told = lambda value: json.loads(json.dumps(value, default=dataclasses.asdict))  # noqa: E731
    # A run that an earlier version began goes on: it did what a setting that is newer does by default.
    before = {key: meta["config"].get(key, getattr(Config, key, None)) for key in config}
    if "data" in before:
        before["data"] = [{"shar": "", **source} for source in before["data"]]
    if "stages" in before:
        before["stages"] = [dataclasses.asdict(Stage(**stage)) for stage in told(before["stages"])]
    changed = [key for key in config if key not in UNBINDING and told(config[key]) != told(before[key])]
    if changed:
        was, now = (json.dumps(told(values[changed[0]]))[:100] for values in (before, config))
        raise ConfigError(
            f"{path}: was made with another '{changed[0]}' ({was}, now {now}): set it back, or choose another folder; "
            f"only {', '.join(UNBINDING)} may change"
        )


def read_state(read: Callable, path: Path):
    """What `read` makes of a checkpoint; the remedy for a damaged one is not that of a model."""
    try:
        return read(path, "training")
    except ModelError as error:
        raise ModelError(
            f"{path}: no whole checkpoint ({error}): delete it, and the run begins anew, or choose another folder"
        ) from error


def resume(path: Path, model: AcousticModel, optimizer: torch.optim.AdamW, config: dict) -> Progress:
    """Take up a run where its checkpoint left it.

    Raises:
        ModelError, ConfigError: as `refuse_changed`, or the checkpoint is damaged.
    """
    refuse_changed(path, config)
    tensors, meta = read_state(checkpoint.load, path)
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    checkpoint.load_optimizer(optimizer, tensors)
    return Progress(**meta["progress"])


def load_weights(model: AcousticModel, config: Config) -> None:
    """Give `model` the encoder and the CTC layer of the acoustic model that `init` names.

    Raises:
        ConfigError: that model has other dimensions, features or tokens.
        ModelError: there is none.
    """
    before, meta = load_acoustic(config.init)
    for what, has, wants in (
        ("sizes", meta["sizes"], dataclasses.asdict(config.sizes)),
        ("features", meta["features"], dataclasses.asdict(config.features)),
        ("tokens", meta["tokens"], list(tokens.UNITS[config.units])),
    ):
        if has != json.loads(json.dumps(wants)):
            raise ConfigError(f"init = '{config.init}': has {what} {has}, the run {wants}: make them equal")
    model.encoder.load_state_dict(before.encoder.state_dict())
    model.ctc.load_state_dict(before.ctc.state_dict())
