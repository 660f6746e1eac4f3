"""Transfer: the acoustic model's output layers come off, the head goes on, and the amount of data says what trains."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wakeword.acoustic.acoustic_file import load_acoustic
from wakeword.acoustic.encoder import Encoder, EncoderSizes
from wakeword.errors import ConfigError, ModelError
from wakeword.head.layers import HeadSizes, WakeModel
from wakeword.model import checkpoint
from wakeword.model.description import described
from wakeword.model.runtimes import is_exported
from wakeword.settings import from_dict

UNFREEZE_FROM, ALL_FROM = 60, 2000
"""Recorded clips from which on the top blocks of a wide encoder train, and all of it; other numbers were not tried."""
TOP_BLOCKS = 3
NARROW = 256
"""Channels up to which a whole encoder trains in minutes. Of `base`, with 448, a step then takes three times as long as
with its top blocks (benchmarks/phrase.py --unfreeze all)."""
NARROW_FROM = 9
"""Clips from which on all of a narrow encoder trains, recorded or spoken: the fewest with which that was better."""


@dataclass(frozen=True)
class Unfreeze:
    """What of the encoder trains with the head: the blocks above `boundary`; 0 means all of it, stem too.

    With `scratch` all of it begins from random weights (`from_scratch`); with `retrain` it trains as if it did.
    """

    boundary: int
    reason: str
    scratch: bool = False
    retrain: bool = False


def choose_unfreeze(wanted: str, recorded: int, sizes: EncoderSizes, spoken: int = 0) -> Unfreeze:
    """What to unfreeze: `auto` by the number of training clips and the encoder's size, `none`, `all`, or so many top
    blocks.

    Clips that are `spoken` by synthetic voices count on a narrow encoder alone.

    What `auto` picks is held against the alternatives in recipes/transfer_study/RESULTS.md. `scratch` forgets what
    pretraining learnt, to see there what transfer brings; `retrain` is that but for the weights to begin with.

    Raises:
        ConfigError: none of these, or more blocks than there are.
    """
    blocks = len(sizes.dilations)
    if wanted == "auto":
        clips, first, whole_from = recorded, UNFREEZE_FROM, ALL_FROM
        if sizes.channels <= NARROW:
            clips, first, whole_from = recorded + spoken, NARROW_FROM, NARROW_FROM
        if clips < first:
            return Unfreeze(blocks, f"auto: {clips} clips, fewer than {first}: only the new layers train")
        if clips >= whole_from:
            return Unfreeze(0, f"auto: {clips} clips, {whole_from} or more: the whole encoder trains")
        top = min(TOP_BLOCKS, blocks)
        why = f"auto: {clips} clips, fewer than {whole_from} for so large an encoder"
        return Unfreeze(blocks - top, f"{why}: its top {top} blocks train too")
    if wanted == "none":
        return Unfreeze(blocks, "as asked: only the new layers train")
    if wanted == "all":
        return Unfreeze(0, "as asked: the whole encoder trains")
    if wanted == "scratch":
        return Unfreeze(0, "as asked: an encoder of this size trains from random weights", scratch=True)
    if wanted == "retrain":
        return Unfreeze(0, "as asked: the whole encoder trains as if its weights were random", retrain=True)
    if wanted.isdecimal() and 0 <= int(wanted) < blocks:
        return Unfreeze(blocks - int(wanted), f"as asked: the top {int(wanted)} blocks of the encoder train too")
    raise ConfigError(
        f"--unfreeze {wanted}: one of auto, none, all, retrain, scratch, or a number of blocks below {blocks}"
    )


def stacked(acoustic: str | Path, head: HeadSizes) -> tuple[WakeModel, dict]:
    """The encoder of a pretrained acoustic model, without its output layers, under a new head; and its meta.

    Raises:
        ModelError: no such acoustic model.
    """
    pretrained, meta = load_acoustic(acoustic)
    model = WakeModel(pretrained.encoder.sizes, head)
    model.encoder.load_state_dict(pretrained.encoder.state_dict())
    return model, meta


def unfreeze(model: WakeModel, boundary: int) -> list[torch.nn.Parameter]:
    """Freeze the encoder below `boundary`; return its parameters that train.

    The whole encoder stays in eval mode: its normalisation keeps what pretraining measured over many hours.
    """
    model.encoder.eval()
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(boundary == 0)
    for block in model.encoder.stack.blocks[boundary:]:
        block.requires_grad_(True)
    return [parameter for parameter in model.encoder.parameters() if parameter.requires_grad]


def retrain(model: WakeModel) -> list[torch.nn.Parameter]:
    """Return the encoder's parameters, all of which train from the first step on, as fast as the head.

    It is in train mode: its normalisation has the statistics of each batch, and learns new ones. By that mode training
    knows what it has before it (`steps.Steps`).
    """
    model.encoder.train().requires_grad_(True)
    return list(model.encoder.parameters())


def from_scratch(model: WakeModel, seed: int) -> list[torch.nn.Parameter]:
    """Give the encoder random weights; return its parameters, which train as by `retrain`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.encoder.load_state_dict(Encoder(model.encoder.sizes).state_dict())
    return retrain(model)


def trainable(model: WakeModel, chosen: Unfreeze, seed: int) -> list[torch.nn.Parameter]:
    """Make of the encoder what was chosen; return its parameters that train."""
    if chosen.scratch:
        return from_scratch(model, seed)
    return retrain(model) if chosen.retrain else unfreeze(model, chosen.boundary)


def lower(encoder: Encoder, features: Tensor, boundary: int) -> Tensor:
    """What the frozen part makes of a recording; it never changes, so it is computed once.

    Args:
        features: `[batch, frames, mels]`.

    Returns:
        `[batch, frames / 4, dims]`: the taps at and below `boundary`, and the output of that block where it is no
        tap; with `boundary` 0 the features themselves, four frames side by side.
    """
    batch, frames, mels = features.shape
    if boundary == 0:
        return features.reshape(batch, frames // 4, 4 * mels)
    outputs, _ = encoder.stack(encoder.subsample(features), encoder.initial_state(batch))
    wanted = [tap for tap in encoder.sizes.taps if tap < boundary] + [boundary]
    return torch.cat([outputs[block - 1] for block in wanted], dim=-1)


def upper(encoder: Encoder, cached: Tensor, boundary: int) -> Tensor:
    """The taps `[batch, frames, channels * taps]` from what `lower` gave: the part that trains."""
    sizes = encoder.sizes
    if boundary == 0:
        batch, frames, width = cached.shape
        return torch.cat(encoder(cached.reshape(batch, frames * 4, width // 4)), dim=-1)
    x = cached[..., -sizes.channels :]
    kept = cached if boundary in sizes.taps else cached[..., : -sizes.channels]
    taps = [kept] if kept.shape[-1] else []
    for index, block in enumerate(encoder.stack.blocks[boundary:], start=boundary + 1):
        x, _ = block(x, x.new_zeros(x.shape[0], block.past_frames, sizes.channels))
        if index in sizes.taps:
            taps.append(x)
    return torch.cat(taps, dim=-1)


def memory_frames(encoder: Encoder, boundary: int) -> int:
    """How many earlier frames of `lower`'s output one frame of `upper`'s depends on."""
    return encoder.stack.memory_frames(boundary)


def save_wakeword(path: str | Path, model: WakeModel, meta: dict) -> None:
    """One file: weights, phrases with their thresholds, features, card."""
    sizes = {"encoder": dataclasses.asdict(model.encoder.sizes), "head": dataclasses.asdict(model.head.sizes)}
    checkpoint.save(path, model.state_dict(), "wakeword", {**meta, "sizes": sizes})


def load_wakeword(path: str | Path) -> tuple[WakeModel, dict]:
    """A trained model in eval mode, and its meta.

    Raises:
        ModelError: no such file, or a foreign, truncated or older one, or an exported one; or its description is not
            one that a detector can go by, or a weight is no finite number.
    """
    if is_exported(path):
        raise ModelError(f"{path}: an exported model: give the .wakeword file that it was made of")
    tensors, meta = checkpoint.load(path, "wakeword")
    try:
        sizes = meta["sizes"]
        encoder = from_dict(EncoderSizes, sizes["encoder"], str(path))
        model = WakeModel(encoder, from_dict(HeadSizes, sizes["head"], str(path)))
        model.load_state_dict(tensors)
        if len(meta["phrases"]) != model.head.sizes.outputs:
            raise ValueError("as many outputs as phrases are wanted")
    except (RuntimeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise ModelError(f"{path}: its weights do not fit its sizes: damaged, or of another version") from error
    try:
        said, _ = described(meta)
        if said.features.mels != encoder.mels:
            raise ConfigError(f"features of {said.features.mels} bands, weights for {encoder.mels}")
    except ConfigError as error:
        raise ModelError(f"{path}: {error}: damaged, or made by another version: train it again") from error
    if not all(bool(torch.isfinite(each).all()) for each in model.state_dict().values()):
        raise ModelError(f"{path}: not all of its weights are finite numbers: train it again")
    return model.eval(), meta
