"""The network of `export --format litert-int8` in numpy, with any of its values at 8 bits: for `int8_values.py`.

Weights are as in that graph. Values of 16 bits have its units; one of 8 bits has a zero of its own and the range that
it had in the calibration audio, as LiteRT's int8 kernels want it. Sums are exact, and rounded once, to the nearest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from wakeword.export.calibration import in_steps
from wakeword.export.layers import Depthwise, Frames, Layer, Linear, compute_float, initial_pasts, run
from wakeword.export.litert_graph import SIGMOID_UNIT
from wakeword.export.litert_units import Int8, head_of, int8_of
from wakeword.export.quantise import LARGEST, int8_weights, rounded_weights
from wakeword.model.runtimes import Step

Place = tuple[str, int]
"""What is rounded: `value`, by its number in `layers` (0: the features); or of the layer that makes it `past` (the
frames that it looks back on), `beside` (its sources, side by side), `term` (what it adds to the residual)."""
Rounding = Callable[[Place, np.ndarray], np.ndarray]
POSTERIORS = {"posterior": Int8(1 / 256, -128), "posterior, 255 is 1": Int8(1 / 255, -128)}
"""Units of an int8 posterior: the only one of LiteRT's int8 sigmoid, and that of ESPHome's component."""


def in_8_bits(x: np.ndarray, unit: Int8) -> np.ndarray:
    """Values as int8 units hold them, still float32."""
    units = np.clip(np.rint(x * np.float32(1 / unit.worth)), -128 - unit.zero, 127 - unit.zero)
    return units * np.float32(unit.worth)


def int8_layers(layers: list[Layer]) -> list[Layer]:
    """The layers with the weights that the graph's int8 weights stand for, still float32."""
    made = []
    for layer in rounded_weights(layers):
        if isinstance(layer, Depthwise):
            integers, unit = int8_weights(layer.weight, 1)
            layer = replace(layer, weight=integers * unit)
        made.append(layer)
    return made


def places_of(layers: list[Layer]) -> dict[str, set[Place]]:
    """All places, by what they are called."""
    head = head_of(layers)
    found: dict[str, set[Place]] = {"features": {("value", 0)}, "first layer": {("value", 1)}}
    for number, layer in enumerate(layers[1:-1], 2):
        part = "encoder" if number <= head else "head"
        if isinstance(layer, Depthwise | Frames):
            found.setdefault(f"{part}: states", set()).add(("past", number))
        if isinstance(layer, Depthwise):
            found.setdefault(f"{part}: depthwise", set()).add(("value", number))
        elif isinstance(layer, Linear):
            found.setdefault(f"{part}: residual stream", set()).add(("value", number))
            if layer.add is not None:
                found.setdefault(f"{part}: terms of the residual", set()).add(("term", number))
            if len(layer.sources) > 1:
                found.setdefault("head: taps", set()).add(("beside", number))
    return found


def computing(layers: list[Layer], rounding: Rounding) -> Callable:
    """`layers.run`'s arithmetic with `rounding` at each place but the features."""
    bare = [replace(layer, add=None, relu=False) if isinstance(layer, Linear) else layer for layer in layers]

    def compute(index: int, layer: Layer, heard: np.ndarray, add: np.ndarray | None) -> np.ndarray:
        number = index + 1
        if layer.past_frames:
            heard = np.concatenate([rounding(("past", number), heard[:, :-1]), heard[:, -1:]], axis=1)
        if len(layer.sources) > 1:
            heard = rounding(("beside", number), heard)
        y = compute_float(index, bare[index], heard, None)
        if isinstance(layer, Frames):
            return y
        if add is not None:
            y = rounding(("term", number), y) + add
        if isinstance(layer, Linear) and layer.relu:
            y = np.maximum(y, 0)
        return rounding(("value", number), y)

    return compute


def eight_of(layers: list[Layer], clips: Iterable[np.ndarray]) -> dict[Place, Int8]:
    """Of each place the int8 units of what it holds over the features [frames, mels] of clips."""
    low, high = {}, {}

    def observed(place: Place, x: np.ndarray) -> np.ndarray:
        if x.size:
            low[place] = min(low.get(place, 0.0), float(x.min()))
            high[place] = max(high.get(place, 0.0), float(x.max()))
        return x

    compute = computing(layers, observed)
    for features in clips:
        run(layers, observed(("value", 0), in_steps(features)), initial_pasts(layers), compute)
    return {place: int8_of(low[place], high[place]) for place in low}


def rounded_step(layers: list[Layer], units: list[float], eight: dict[Place, Int8], posterior: Int8 | None) -> Step:
    """A `runtimes.Step` of `int8_layers`: at the places of `eight` in those int8 units, elsewhere at 16 bits.

    Args:
        units: of 16 bits, `quantise.scales_of`.
        posterior: the units of an int8 posterior; None: of 16 bits, or of float32 where the logits have 8.
    """
    last = ("value", len(layers))

    def rounding(place: Place, x: np.ndarray) -> np.ndarray:
        if place in eight:
            return in_8_bits(x, eight[place])
        if place[0] != "value":
            return x  # of the unit of the residual stream already, or soon added to what is
        unit = np.float32(units[place[1]])
        return np.clip(np.rint(x / unit), -LARGEST, LARGEST) * unit

    compute = computing(layers, rounding)

    def step(frames: np.ndarray, pasts: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        values, pasts = run(layers, rounding(("value", 0), in_steps(frames[0])), pasts, compute)
        found = np.float32(1) / (np.float32(1) + np.exp(-values[-1]))
        if posterior is not None:
            found = in_8_bits(found, posterior)
        elif last not in eight:
            found = np.minimum(np.rint(found / np.float32(SIGMOID_UNIT)), LARGEST) * np.float32(SIGMOID_UNIT)
        return found, pasts

    return step
