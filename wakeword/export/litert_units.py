"""What one unit of each value of a LiteRT graph is worth, and which values have 8 bits.

Those do that cost nothing which shows, by `benchmarks/int8_values.py`: docs/export.md has the table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wakeword.export.layers import Frames, Layer, Linear
from wakeword.export.quantise import feature_range, scales_of
from wakeword.features.log_mel import FeatureSettings


@dataclass(frozen=True)
class Int8:
    """int8 units; `zero` is the number that stands for 0."""

    worth: float
    zero: int = 0


Unit = Int8 | float | None
"""What a value's tensor holds: int8, int16 of that worth, or float32."""
LOGITS = "logits"
LOGIT = Int8(0.1)
"""Of logits: up to 12.7, a posterior of 0.999997. Posteriors of int8 have none between 255 / 256 and 1."""
_FINER = 128  # int16 units in one of int8: the most, of powers of two, with which all numbers of int8 fit


def int8_of(low: float, high: float) -> Int8:
    """The finest units that reach from `low` to `high`, and 0."""
    low, high = min(low, 0.0), max(high, 1e-3)
    worth = (high - low) / 255
    return Int8(worth, round(-128 - low / worth))


def within(peak: float, negative: bool) -> Int8:
    """Those of values of at most such a magnitude."""
    return int8_of(-peak if negative else 0.0, peak)


def exact(unit: Int8) -> float:
    """The worth of an int16 unit in which every number of int8 units has one of its own."""
    return unit.worth / _FINER


def dtype_of(unit: Unit) -> type:
    """The numpy type of a tensor of such units."""
    return np.float32 if unit is None else np.int8 if isinstance(unit, Int8) else np.int16


def worth_of(unit: Unit) -> tuple[float | None, int]:
    """What one is worth (None: float32), and the number that stands for 0."""
    return (unit.worth, unit.zero) if isinstance(unit, Int8) else (unit, 0)


def most(unit: Int8) -> float:
    """The largest value of such units."""
    return (127 - unit.zero) * unit.worth


def mixed_units(layers: list[Layer], peaks: list[float], settings: FeatureSettings) -> tuple[list[Unit], Int8]:
    """The units of each value of `litert-int8`, and those that the encoder's int16 values have as the head hears them.

    Args:
        peaks: the largest magnitudes in the calibration audio; int8 reaches just as far, int16 twice.
    """
    units: list[Unit] = [*scales_of(layers, peaks, settings)]
    units[0] = int8_of(*feature_range(settings))
    units[-1] = LOGIT
    head = head_of(layers)
    for number, layer in enumerate(layers[head:-1], head + 1):
        negative = not (isinstance(layer, Linear) and layer.relu)
        same = isinstance(layer, Frames)
        units[number] = units[layer.sources[0]] if same else within(peaks[number], negative)
    return units, within(max(peaks[source] for source in layers[head].sources), False)


def head_of(layers: list[Layer]) -> int:
    """Which layer (from 0) is the head's first: after the two that begin the encoder, that without a residual."""
    return next(i for i, each in enumerate(layers) if i > 1 and isinstance(each, Linear) and each.add is None)
