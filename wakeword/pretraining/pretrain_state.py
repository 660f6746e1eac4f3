"""Where a pretraining begins: its checkpoint, from which it goes on bit for bit, or the weights of another model."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import zip_longest
from pathlib import Path

import torch

from wakeword.acoustic import tokens
from wakeword.acoustic.acoustic_file import load_acoustic
from wakeword.acoustic.encoder import AcousticModel
from wakeword.errors import ConfigError, ModelError
from wakeword.features.log_mel import FeatureSettings
from wakeword.model import checkpoint
from wakeword.pretraining.pretrain_config import Config, Stage
from wakeword.settings import from_dict

UNBINDING = ("card", "output", "folder", "threads", "workers", "device", "compile")
UNBINDING += ("checkpoint_every", "validate_every", "settle_batches")
"""Settings that may change while a run is interrupted: the steps do not depend on them, but for rounding."""

HEARS_FEATURES = "stem"
"""The encoder's layers that hear the features: for those of another front end they begin anew."""

NOTHING = object()


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
        ModelError: not a training checkpoint, or not one of a pretraining.
        ConfigError: there is such a setting.
    """
    before = read_state(partial(_settings, config), path)
    now = _told(config)
    for key in config:
        if key not in UNBINDING and now[key] != before[key]:
            raise ConfigError(
                f"{path}: was made with another '{key}' ({difference(before[key], now[key], key)}): set it back, or "
                f"choose another folder; only {', '.join(UNBINDING)} may change"
            )


def _told(settings: dict) -> dict:
    """Settings as a checkpoint tells them."""
    return json.loads(json.dumps(settings, default=dataclasses.asdict))


def _settings(config: dict, path: Path, kind: str) -> dict:
    """A checkpoint's settings. A run that an earlier version began goes on: it did what a setting that is newer does
    by default."""
    before = checkpoint.read_meta(path, kind)["config"]
    unknown = [key for key in before if key not in config]
    if unknown:
        raise ValueError(f"its setting '{unknown[0]}' is unknown to this version")
    before = _told({key: before.get(key, getattr(Config, key, None)) for key in config})
    if "data" in before:
        before["data"] = [{"shar": "", **source} for source in before["data"]]
    if "stages" in before:
        before["stages"] = [dataclasses.asdict(Stage(**stage)) for stage in before["stages"]]
    if "features" in before:
        before["features"] = dataclasses.asdict(FeatureSettings(**before["features"]))
    return before


def difference(was, now, where: str) -> str:
    """Where two values of a setting differ first, and how: entry and key, `data[3].splits = ["dev"], now ["train"]`."""
    if isinstance(was, dict) and isinstance(now, dict):
        pairs = ((f".{key}", was.get(key, NOTHING), now.get(key, NOTHING)) for key in sorted({*was, *now}))
    elif isinstance(was, list) and isinstance(now, list):
        pairs = ((f"[{index}]", *pair) for index, pair in enumerate(zip_longest(was, now, fillvalue=NOTHING)))
    else:
        shown = ("nothing" if each is NOTHING else json.dumps(each, sort_keys=True)[:200] for each in (was, now))
        return f"{where} = {', now '.join(shown)}"
    key, before, after = next(pair for pair in pairs if pair[1] != pair[2])
    counts = f"; of {len(was)}, now {len(now)} entries" if isinstance(was, list) and len(was) != len(now) else ""
    return difference(before, after, where + key) + counts


def read_state(read: Callable, path: Path):
    """What `read` makes of a checkpoint; the remedy for one that is damaged, or another's, is not that of a model."""
    try:
        return read(path, "training")
    except (ModelError, ConfigError, LookupError, TypeError, ValueError, AttributeError) as error:
        told = f"no {error}" if isinstance(error, KeyError) else str(error)
        reason = " ".join(told.split())[:300]
        raise ModelError(
            f"{path}: no whole checkpoint ({reason}): delete it, and the run begins anew, or choose another folder"
        ) from error


def resume(path: Path, model: AcousticModel, optimizer: torch.optim.AdamW, config: dict) -> Progress:
    """Take up a run where its checkpoint left it.

    Raises:
        ModelError, ConfigError: as `refuse_changed`, or the checkpoint is damaged, or of another model.
    """
    refuse_changed(path, config)
    return read_state(partial(_taken_up, model, optimizer), path)


def _taken_up(model: AcousticModel, optimizer: torch.optim.AdamW, path: Path, kind: str) -> Progress:
    tensors, meta = checkpoint.load(path, kind)
    missing = [field.name for field in dataclasses.fields(Progress) if field.name not in meta["progress"]]
    if set(missing) - {"origin"}:  # which came later
        raise ValueError(f"its progress has no '{missing[0]}'")
    progress = from_dict(Progress, meta["progress"], "progress")
    weights = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
    wanted = model.state_dict()
    for name in sorted({*weights, *wanted}):
        if name not in weights or name not in wanted or weights[name].shape != wanted[name].shape:
            raise ValueError(f"its tensor '{name}' is not that of the model")
    checkpoint.load_optimizer(optimizer, tensors)
    model.load_state_dict(weights)
    return progress


def load_weights(model: AcousticModel, config: Config) -> list[str]:
    """Give `model` the encoder and the CTC layer of the acoustic model that `init` names.

    Returns:
        The names of the layers that begin anew, because that model hears the features of another front end.

    Raises:
        ConfigError: that model has other dimensions, tokens, or features of the same front end.
        ModelError: there is none.
    """
    before, meta = load_acoustic(config.init)
    features, sizes = from_dict(FeatureSettings, meta["features"], config.init), before.encoder.sizes
    anew = []
    if features.front_end != config.features.front_end and features.hop == config.features.hop:
        anew, features = [HEARS_FEATURES], config.features
        sizes = dataclasses.replace(sizes, mels=features.mels)
    for what, has, wants in (
        ("sizes", dataclasses.asdict(sizes), dataclasses.asdict(config.sizes)),
        ("features", dataclasses.asdict(features), dataclasses.asdict(config.features)),
        ("tokens", meta["tokens"], list(tokens.UNITS[config.units])),
    ):
        if has != wants:
            raise ConfigError(f"init = '{config.init}': has {what} {has}, the run {wants}: make them equal")
    for name, part in before.encoder.named_children():
        if name not in anew:
            getattr(model.encoder, name).load_state_dict(part.state_dict())
    model.ctc.load_state_dict(before.ctc.state_dict())
    return anew
