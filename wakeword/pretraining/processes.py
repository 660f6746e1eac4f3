"""One process or many (`torchrun`), CPU or GPU: Lightning Fabric underneath, and batches that processes share.

The processes work on one batch together, each on its rows. So that N of them do what one would:

- losses are sums over rows, divided by the count over all processes (`objectives.terms`), and DDP adds the gradients;
- batch normalisation sums over all processes (`synced_norm`), padding included: so all pad to the same length;
- every process has the same batches in the same order, whatever it is given of them; one that is given nothing
  takes part with no rows. All decide alike whether a step is taken, from sums that are the same everywhere.
"""

from __future__ import annotations

import os
import shutil
from datetime import timedelta

import torch
from torch import Tensor
from torch.distributed import ReduceOp

from wakeword.errors import ConfigError, require
from wakeword.features.log_mel import FRAMES_PER_STEP
from wakeword.pretraining.pretrain_config import Config

PATIENCE = timedelta(days=1)
"""How long processes wait for the first, which alone validates."""

PRECISIONS = {"32": "32-true", "bf16": "bf16-mixed"}


def start(config: Config):
    """The Fabric of this process, in its group if `torchrun` started several.

    Raises:
        ConfigError: the device is not there, there are fewer of them than processes, or no compiler for `compile`.
        WakewordError: lightning-fabric is not installed.
    """
    fabric = require("lightning_fabric")
    from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
    from lightning_fabric.strategies import DDPStrategy, SingleDeviceStrategy

    world, local = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    kind, _, index = config.device.partition(":")
    there = torch.cuda.device_count()
    if kind == "auto":
        kind = "cuda" if there else "cpu"
    if kind == "cuda" and there < max(local, int(index or 0) + 1):
        raise ConfigError(
            f"device = '{config.device}': {there} GPU(s) here for {local} process(es): choose another device, or "
            "start as many processes as there are GPUs"
        )
    compilers = os.environ.get("CXX", "g++"), "clang++"
    if config.compile and world == 1 and kind == "cpu" and not any(map(shutil.which, compilers)):
        raise ConfigError("compile = true: there is no C++ compiler: install one (g++), or set it to false")
    if world == 1:
        device = torch.device(kind, int(index or 0)) if kind == "cuda" else torch.device(kind)
        # The environment is named so that Fabric does not look for a cluster's, and wait for its other tasks.
        strategy, devices, environment = SingleDeviceStrategy(device), 1, LightningEnvironment()
    else:
        if index:
            raise ConfigError(f"device = '{config.device}': each of several processes has its own: write '{kind}'")
        # The statistics of normalisation are the same already.
        unused = leaves_layers_unused(config)
        strategy = DDPStrategy(timeout=PATIENCE, find_unused_parameters=unused, broadcast_buffers=False)
        devices, environment = local, TorchElasticEnvironment()
    made = fabric.Fabric(
        accelerator=kind,
        devices=devices,
        num_nodes=world // local,
        strategy=strategy,
        precision=PRECISIONS[config.precision],
        plugins=[environment],
    )
    made.launch()
    return made


def leaves_layers_unused(config: Config) -> bool:
    """Whether a stage does without CTC's layer, or without that towards the teacher: DDP then has to look for it."""
    return any(not stage.ctc or (config.teacher and not stage.distil) for stage in config.stages)


def finish(fabric) -> None:
    """Wait for the other processes and leave their group."""
    fabric.barrier()
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def together(fabric, values: dict[str, float]) -> dict[str, float]:
    """The sums of numbers over all processes; all must call it, with the same names."""
    if not values:
        return {}
    summed = _reduced(fabric, torch.tensor(list(values.values()), dtype=torch.float64), ReduceOp.SUM)
    return dict(zip(values, summed.tolist(), strict=True))


def _reduced(fabric, tensor: Tensor, how) -> Tensor:
    # Not Fabric's all_reduce, which puts a barrier before each.
    if fabric.world_size > 1:
        tensor = tensor.to(fabric.device)
        torch.distributed.all_reduce(tensor, how)
    return tensor


def aligned(fabric, batch: dict, mels: int) -> dict | None:
    """This process's share of a batch on its device, padded to the longest utterance of any share.

    Args:
        batch: what `data.collate` makes, or without `features` where this process has no utterance.

    Returns:
        The batch, with no rows where there was none; None if no process has any.
    """
    features: Tensor = batch.get("features", torch.zeros(0, 0, mels))
    longest = int(_reduced(fabric, torch.tensor(features.shape[1]), ReduceOp.MAX))
    if not longest:
        return None
    if not len(features):
        none = torch.zeros(0, dtype=torch.long)
        batch = {
            **batch,
            **dict.fromkeys(("lengths", "teacher_lengths", "token_lengths"), none),
            "teacher": None,
            "tokens": none[:, None],
            "seconds": 0.0,
        }
    more = longest - features.shape[1]
    if more and len(features):
        # As `collate` pads: with the least value of each row.
        padding = features.amin(dim=(1, 2), keepdim=True).expand(-1, more, mels)
        features = torch.cat([features, padding], dim=1)
        if batch["teacher"] is not None:
            batch["teacher"] = torch.nn.functional.pad(batch["teacher"], (0, 0, 0, more // FRAMES_PER_STEP))
    elif more:
        features = features.new_zeros(0, longest, mels)
    batch["features"] = features
    return to_device(batch, fabric.device)


def to_device(batch: dict, device: torch.device) -> dict:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
