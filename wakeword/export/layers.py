"""A trained wake model as a flat list of plain layers, without normalisation: what formats for small devices build on.

Values are numbered: 0 is what goes in, `[frames, 4 * mels]` (the four feature frames of an encoder frame side by side),
and layer `i` (from 0) makes value `i + 1`. The last value are the logits. Layers name their sources by number.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from wakeword.acoustic.encoder import SeparableBlock, Stack, fold_block, fold_norm
from wakeword.features.log_mel import FRAMES_PER_STEP
from wakeword.head.layers import WakeModel


@dataclass(frozen=True)
class Linear:
    """`x @ weight.T + bias`, for each of `repeat` equal parts of the sources side by side; then `add`, then ReLU.

    `weight` float32 `[rows, columns]`, `bias` `[rows]`; `add` is a value of the same size, or None.
    """

    sources: tuple[int, ...]
    weight: np.ndarray
    bias: np.ndarray
    relu: bool = True
    add: int | None = None
    repeat: int = 1

    past_frames = 0

    @property
    def size(self) -> int:
        return self.repeat * len(self.weight)


@dataclass(frozen=True)
class Depthwise:
    """Each channel over `kernel` frames, `dilation` apart: `weight` float32 `[kernel, channels]`, the present last."""

    sources: tuple[int]
    weight: np.ndarray
    dilation: int

    add = None

    @property
    def kernel(self) -> int:
        return len(self.weight)

    @property
    def size(self) -> int:
        return self.weight.shape[1]

    @property
    def past_frames(self) -> int:
        return (self.kernel - 1) * self.dilation


@dataclass(frozen=True)
class Frames:
    """`kernel` frames, `dilation` apart, side by side, the present last."""

    sources: tuple[int]
    channels: int
    kernel: int
    dilation: int

    add = None

    @property
    def size(self) -> int:
        return self.kernel * self.channels

    @property
    def past_frames(self) -> int:
        return (self.kernel - 1) * self.dilation


Layer = Linear | Depthwise | Frames


def folded(model: WakeModel) -> WakeModel:
    """A copy in eval mode without batch normalisation: its scale and shift moved into the linear layers."""
    model = copy.deepcopy(model).eval()
    pairs = [model.encoder.stem, model.encoder.widen]
    if model.head.narrow is not None:
        pairs.append(model.head.narrow)
    for pair in pairs:
        pair[0], pair[1] = fold_norm(*pair), nn.Identity()
    for block in [*model.encoder.stack.blocks, *model.head.stack.blocks]:
        fold_block(block)
    return model


def standardised(norm: nn.BatchNorm1d, linear: nn.Linear) -> tuple[Tensor, Tensor]:
    """Weight and bias of one layer that does what `norm` (in eval mode, no scale and shift) and then `linear` do."""
    # In double precision: where a mean is far larger than its deviation, the terms of the bias nearly cancel.
    weight = linear.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return weight.float(), (linear.bias.double() - weight @ norm.running_mean.double()).float()


def flat(model: WakeModel) -> list[Layer]:
    """The layers of a trained model, normalisation folded in."""
    model, layers = folded(model), []
    encoder, head = model.encoder, model.head

    def add(layer: Layer) -> int:
        layers.append(layer)
        return len(layers)

    def stacked(stack: Stack, x: int) -> list[int]:
        outputs = []
        for block in stack.blocks:
            if isinstance(block, SeparableBlock):
                heard = add(Depthwise((x,), _array(block.depthwise), block.dilation))
            else:
                kernel = block.past_frames // block.dilation + 1
                heard = add(Frames((x,), stack.channels, kernel, block.dilation))
            x = add(Linear((heard,), _array(block.linear.weight), _array(block.linear.bias), add=x))
            outputs.append(x)
        return outputs

    x, parts = 0, FRAMES_PER_STEP
    for linear in (encoder.stem[0], encoder.widen[0]):
        parts //= 2
        x = add(Linear((x,), _array(linear.weight), _array(linear.bias), repeat=parts))
    outputs = stacked(encoder.stack, x)
    taps = tuple(outputs[tap - 1] for tap in encoder.sizes.taps)
    first = standardised(head.standardise, head.narrow[0] if head.narrow else head.output)
    x = add(Linear(taps, *map(_array, first), relu=bool(head.narrow)))
    if head.narrow:
        x = (stacked(head.stack, x) or [x])[-1]
        add(Linear((x,), _array(head.output.weight), _array(head.output.bias), relu=False))
    return layers


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().numpy().astype(np.float32)


def sizes_of(layers: list[Layer]) -> list[int]:
    """How many numbers a frame of each value holds."""
    first = next(layer for layer in layers if layer.sources == (0,))
    return [first.repeat * first.weight.shape[1], *(layer.size for layer in layers)]


def initial_pasts(layers: list[Layer], dtype=np.float32) -> list[np.ndarray]:
    """The state before the stream: for each layer zeros `[past_frames, size of its source]`."""
    sizes = sizes_of(layers)
    return [np.zeros((layer.past_frames, sizes[layer.sources[0]]), dtype) for layer in layers]


def run(layers: list, x: np.ndarray, pasts: list[np.ndarray], compute: Callable | None = None) -> tuple[list, list]:
    """Some frames of a stream through all layers.

    Args:
        x: `[frames, 4 * mels]`; any number of frames, one at a time gives the same as all at once.
        pasts: `initial_pasts`, or what the call before returned.
        compute: `(index, layer, heard, add)` -> value `[frames, size]`, the arithmetic; in floating point if None.
            `heard` is `[frames, columns]`, for layers with a past `[frames, kernel, channels]`.

    Returns:
        All values, the logits last, and the next pasts.
    """
    compute = compute or compute_float
    values, after = [x], []
    for index, (layer, past) in enumerate(zip(layers, pasts, strict=True)):
        heard = values[layer.sources[0]]
        if len(layer.sources) > 1:
            heard = np.concatenate([values[source] for source in layer.sources], axis=1)
        if layer.past_frames:
            stream = np.concatenate([past, heard])
            past = stream[len(heard) :]
            starts = range(0, layer.past_frames + 1, layer.dilation)
            heard = np.stack([stream[start : start + len(heard)] for start in starts], axis=1)
        after.append(past)
        values.append(compute(index, layer, heard, None if layer.add is None else values[layer.add]))
    return values, after


def compute_float(index: int, layer: Layer, heard: np.ndarray, add: np.ndarray | None) -> np.ndarray:
    """A layer in floating point: see `run`."""
    if isinstance(layer, Frames):
        return heard.reshape(len(heard), -1)
    if isinstance(layer, Depthwise):
        return np.einsum("nkc,kc->nc", heard, layer.weight)
    y = heard.reshape(len(heard) * layer.repeat, -1) @ layer.weight.T + layer.bias
    y = y.reshape(len(heard), -1) if add is None else y.reshape(len(heard), -1) + add
    return np.maximum(y, 0) if layer.relu else y
