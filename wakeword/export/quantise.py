"""Post-training quantisation: 8-bit weights, 16-bit values, integers alone between the features and the logits.

Weights are symmetric int8 with a scale for each row (output channel), biases int32, values between layers symmetric
int16 with one scale, sums int32: the scheme "16x8" of TensorFlow Lite; R. Krishnamoorthi 2018
(https://arxiv.org/abs/1806.08342) describes its parts. Values that are added or laid side by side share a scale, so
that the residual connections and the taps cost no rounding. A layer's arithmetic, exactly, with `>>` rounding down:

    Linear      sum = bias + weight @ x                                    (int32; the last layer ends here)
                y = clamp(add + ((((sum * multiplier) >> 16) + 2^(shift-1)) >> shift))   (the product int64)
    Depthwise   y = clamp((sum of weight[k] * x[k] + 2^(shift-1)) >> shift)     (int32; weight int16)
    clamp       to [0, 32767] with ReLU, else to [-32767, 32767]

`compute_integer` is that in numpy; the C code gives the same logits, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from wakeword.errors import WakewordError
from wakeword.export.layers import Depthwise, Frames, Layer, Linear, initial_pasts, run
from wakeword.features import micro_features
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings, integer_features
from wakeword.model.runtimes import Step

LARGEST = 32767
HEADROOM = 2.0
"""How far beyond the largest value in the calibration audio a value's range goes: a bit of sixteen is easily spared,
and no clipping is then worth weighing against rounding, as it is with eight."""

_SMALLEST_PEAK = 1e-3  # of a value that the calibration audio leaves at zero


@dataclass(frozen=True)
class IntegerLinear(Linear):
    """`weight` int8 `[rows, columns]`, `bias` int32, `multiplier` int16, `shift` uint8 `[rows]`; none in the last."""

    multiplier: np.ndarray | None = None
    shift: np.ndarray | None = None


@dataclass(frozen=True)
class IntegerDepthwise(Depthwise):
    """`weight` int16 `[kernel, channels]`: requantisation is in the weights, but for the power of two `shift`."""

    shift: int = 0


@dataclass(frozen=True)
class Integers:
    """A quantised model: its layers, the worth of one unit of what goes in, and of one unit of each logit."""

    layers: list[Layer]
    feature_scale: float
    logit_scale: np.ndarray


def feature_range(settings: FeatureSettings) -> tuple[float, float]:
    """No feature is smaller or larger, whatever the audio: none at all, or full scale in one band."""
    if settings.front_end == micro_features.NAME:
        return 0.0, micro_features.PEAK
    # Parseval: the power of all bins of a frame sums to at most fft times the mean power of the samples, which is <= 1.
    low, high = (
        (np.log(power) - settings.offset) / settings.scale for power in (settings.floor, settings.fft + settings.floor)
    )
    return float(low), float(high)


def feature_peak(settings: FeatureSettings) -> float:
    """No feature is of a larger magnitude."""
    return max(map(abs, feature_range(settings)))


def int8_weights(weight: np.ndarray, axis: int, least: np.ndarray | float = 1e-9) -> tuple[np.ndarray, np.ndarray]:
    """Weights as int8 of their shape, and the worth of a unit for each channel along `axis`, `least` or more."""
    others = tuple(other for other in range(weight.ndim) if other != axis)
    # A channel of no weight at all still needs a unit, for its bias.
    unit = np.maximum(np.abs(weight).max(axis=others).astype(np.float64) / 127, np.maximum(least, 1e-9))
    return np.rint(weight / np.expand_dims(unit, others)).astype(np.int8), unit.astype(np.float32)


def rounded_weights(layers: list[Layer]) -> list[Layer]:
    """The layers with the matrices that int8 weights stand for, still float32."""
    made = []
    for layer in layers:
        if isinstance(layer, Linear):
            integers, unit = int8_weights(layer.weight, 0)
            layer = replace(layer, weight=integers * unit[:, None])
        made.append(layer)
    return made


def peaks_of(layers: list[Layer], clips: Iterable[np.ndarray]) -> list[float]:
    """The largest magnitude of each value over the features `[frames, 4 * mels]` of clips.

    Raises:
        WakewordError: there is no frame.
    """
    peaks, frames = np.zeros(len(layers) + 1), 0
    for features in clips:
        if len(features):
            values, _ = run(layers, features, initial_pasts(layers))
            peaks = np.maximum(peaks, [np.abs(value).max() for value in values])
            frames += len(features)
    if not frames:
        raise WakewordError("no audio to calibrate the quantisation on: give recordings of a second or more")
    return peaks.tolist()


def quantise(layers: list[Layer], peaks: list[float], settings: FeatureSettings) -> Integers:
    """A model in integers, from its float layers and the largest magnitudes of their values."""
    scales = scales_of(layers, peaks, settings)
    made: list[Layer] = []
    for index, layer in enumerate(layers):
        before = scales[layer.sources[0]]
        if isinstance(layer, Depthwise):
            # What is so quiet beside its source that the weights would not fit gets a wider range.
            ratio = layer.weight.astype(np.float64) * before
            scales[index + 1] = max(scales[index + 1], float(np.abs(ratio).sum(axis=0).max()) / (LARGEST / 4))
            made.append(_depthwise(layer, ratio / scales[index + 1]))
        elif isinstance(layer, Linear):
            last = index == len(layers) - 1
            integer, row_scale = _linear(layer, before, scales[index + 1], last)
            made.append(integer)
        else:
            made.append(layer)
    return Integers(made, scales[0], row_scale.astype(np.float32))


def scales_of(layers: list[Layer], peaks: list[float], settings: FeatureSettings) -> list[float]:
    """What one int16 unit of each value is worth; the same for values that are added or laid side by side."""
    group = list(range(len(layers) + 1))
    for index, layer in enumerate(layers):
        ties = [(layer.sources[0], source) for source in layer.sources[1:]]
        ties += [(layer.add, index + 1)] if layer.add is not None else []
        ties += [(layer.sources[0], index + 1)] if isinstance(layer, Frames) else []
        for one, other in ties:
            group = [group[one] if each == group[other] else each for each in group]
    highest = [max(peaks[i] for i in range(len(group)) if group[i] == each) for each in group]
    scales = [HEADROOM * max(peak, _SMALLEST_PEAK) / LARGEST for peak in highest]
    scales[0] = feature_peak(settings) / LARGEST
    return scales


def _depthwise(layer: Depthwise, ratio: np.ndarray) -> IntegerDepthwise:
    # The weights of a channel sum to at most 32767: no sum of products with 32767 leaves an int32.
    shift = min(15, int(np.floor(np.log2(LARGEST / max(np.abs(ratio).sum(axis=0).max(), 1e-9)))))
    return IntegerDepthwise(layer.sources, np.trunc(ratio * 2.0**shift).astype(np.int16), layer.dilation, shift)


def _linear(layer: Linear, before: float, after: float, last: bool) -> tuple[IntegerLinear, np.ndarray]:
    """The integer layer, and what one unit of each of its sums is worth."""
    weight, bias = layer.weight.astype(np.float64), layer.bias.astype(np.float64)
    scale = np.abs(weight).max(axis=1) / 127
    # Rows of next to no weight: their bias must fit, and their shift.
    scale = np.maximum.reduce([scale, np.abs(bias) / before / 2**29, np.full(len(bias), after / before / 2**30)])
    while True:
        integer = np.rint(weight / scale[:, None])
        units = np.rint(bias / (scale * before))
        large = LARGEST * np.abs(integer).sum(axis=1) + np.abs(units) >= 2**31
        if not large.any():
            break
        scale = np.where(large, 2 * scale, scale)
    multiplier = shift = None
    if not last:
        factor = scale * before / after
        shift = np.maximum(1, -1 - np.frexp(factor)[1])  # the multiplier has fifteen bits, unless the factor is large
        multiplier = np.minimum(np.rint(factor * 2.0 ** (16 + shift)), LARGEST)
        if factor.max() >= 2**-2:
            raise WakewordError("a layer's values are too small beside its weights to quantise: export float32")
    made = IntegerLinear(
        layer.sources,
        integer.astype(np.int8),
        units.astype(np.int32),
        layer.relu,
        layer.add,
        layer.repeat,
        None if last else multiplier.astype(np.int16),
        None if last else shift.astype(np.uint8),
    )
    return made, scale * before


def compute_integer(index: int, layer: Layer, heard: np.ndarray, add: np.ndarray | None) -> np.ndarray:
    """A layer in integers, for `layers.run`: what the C code computes, bit for bit; int64 arrays."""
    if isinstance(layer, Frames):
        return heard.reshape(len(heard), -1)
    if isinstance(layer, Depthwise):
        total = np.einsum("nkc,kc->nc", heard.astype(np.int64), layer.weight.astype(np.int64))
        return np.clip(_rounded(total, layer.shift), -LARGEST, LARGEST)
    # float64 holds these sums exactly, and multiplies far faster than int64.
    parts = heard.reshape(len(heard) * layer.repeat, -1).astype(np.float64)
    total = (parts @ layer.weight.T.astype(np.float64)).astype(np.int64) + layer.bias
    if layer.multiplier is None:
        return total
    y = _rounded((total * layer.multiplier) >> 16, layer.shift.astype(np.int64)).reshape(len(heard), -1)
    return np.clip(y if add is None else y + add, 0 if layer.relu else -LARGEST, LARGEST)


def _rounded(x: np.ndarray, shift) -> np.ndarray:
    return (x + (np.int64(1) << (np.int64(shift) - 1))) >> shift


def float_step(layers: list[Layer]) -> tuple[Step, list[np.ndarray]]:
    """Layers in floating point as a `runtimes.Step`, with its zero state."""

    def step(frames: np.ndarray, pasts: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        values, pasts = run(layers, frames.reshape(frames.shape[1] // FRAMES_PER_STEP, -1), pasts)
        return np.float32(1) / (np.float32(1) + np.exp(-values[-1])), pasts

    return step, initial_pasts(layers)


def integer_step(model: Integers) -> tuple[Step, list[np.ndarray]]:
    """A quantised model as a `runtimes.Step`, with its zero state: for a `Detector`, and all that judges one."""

    def step(frames: np.ndarray, pasts: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        units = integer_features(frames.reshape(frames.shape[1] // FRAMES_PER_STEP, -1), model.feature_scale)
        values, pasts = run(model.layers, units.astype(np.int64), pasts, compute_integer)
        logits = values[-1].astype(np.float32) * model.logit_scale
        return np.float32(1) / (np.float32(1) + np.exp(-logits)), pasts

    return step, initial_pasts(model.layers, np.int64)
