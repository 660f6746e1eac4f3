"""Tables and constants of the features in C: in float32 (`c/ww_features_float32.c`) or in integers (`_int8.c`)."""

from __future__ import annotations

import math

import numpy as np

from wakeword.errors import ConfigError
from wakeword.features import log_mel
from wakeword.features.log_mel import FeatureSettings

LARGEST_BITS = 29
"""No number in the integer transform reaches 2^29: sums of two still fit 32 bits."""


def constants(settings: FeatureSettings, unit: float | None) -> dict[str, str]:
    """What `ww_config.h` says of the features; `unit` is the worth of one unit of an integer feature, None for float32.

    Raises:
        ConfigError: the C code cannot compute such features.
    """
    if settings.fft & (settings.fft - 1) or not 8 <= settings.fft <= 4096:
        raise ConfigError(f"fft = {settings.fft}: the C code transforms powers of two from 8 to 4096")
    if unit is None:
        return {name.upper(): f"({getattr(settings, name)!r}f)" for name in ("floor", "offset", "scale")}
    window, fraction, power = _bits(settings)
    # The power of samples in [-1, 1] is 1 at 2^30 in 16-bit units; weights and fractions come on top.
    one = 30 + 2 * fraction - power + 15
    per_octave = math.log(2) / (settings.scale * unit)
    floor = max(1, round(settings.floor * 2.0**one))
    zero = -one * per_octave - settings.offset / (settings.scale * unit) + 0.5
    return {
        "WINDOW_BITS": str(window),
        "FRACTION_BITS": str(fraction),
        "POWER_SHIFT": str(power),
        "FLOOR": f"UINT64_C({floor})",
        # The floor rises with the frame, and must fit 62 bits beside it.
        "MOST_LOUDER": str(max(0, min(12, (62 - floor.bit_length()) // 2))),
        "LOGARITHM_UNITS": f"INT64_C({round(per_octave * 2**16)})",
        "ZERO": f"INT64_C({round(zero * 2**36)})",
    }


def _bits(settings: FeatureSettings) -> tuple[int, int, int]:
    """Fractional bits of the window and of the wave, and how far a power is shifted down."""
    window, _ = log_mel.window_and_filters(settings)
    window_bits = 28  # its largest weight is below 1
    fraction = min(window_bits, LARGEST_BITS - 15 - math.ceil(math.log2(float(np.abs(window).sum()) * 1.001)))
    # All bins' powers sum to at most fft times a sample's; with the filters' 15 bits they must fit 63.
    return window_bits, fraction, max(0, 30 + 2 * fraction + int(math.log2(settings.fft)) + 15 - 63)


def tables(settings: FeatureSettings, unit: float | None) -> dict[str, np.ndarray]:
    """The constant arrays, by their declarations in C."""
    half = settings.fft // 2
    turn = 2 * np.pi * np.arange(half) / settings.fft
    bits = half.bit_length() - 1
    order = [int(f"{index:0{bits}b}"[::-1], 2) for index in range(half)]
    window, filters = log_mel.window_and_filters(settings)
    used = [np.flatnonzero(band) for band in filters.T]
    spans = [(int(bins[0]), int(bins[-1]) + 1) if len(bins) else (0, 0) for bins in used]
    weights = np.concatenate([filters[first:end, band] for band, (first, end) in enumerate(spans)])
    shared = {
        "uint16_t ww_order[WW_FFT / 2]": np.array(order, np.uint16),
        "uint16_t ww_first_bin[WW_MELS]": np.array([first for first, _ in spans], np.uint16),
        "uint16_t ww_bins[WW_MELS]": np.array([end - first for first, end in spans], np.uint16),
    }
    if unit is None:
        return {
            **shared,
            "float ww_window[WW_WINDOW]": window / np.float32(32768),
            "float ww_cosine[WW_FFT / 2]": np.cos(turn).astype(np.float32),
            "float ww_sine[WW_FFT / 2]": np.sin(turn).astype(np.float32),
            "float ww_filters[]": weights,
        }
    return {
        **shared,
        "int32_t ww_window[WW_WINDOW]": np.rint(window.astype(np.float64) * 2.0 ** _bits(settings)[0]).astype(np.int32),
        "int32_t ww_cosine[WW_FFT / 2]": _in_31_bits(np.cos(turn)),
        "int32_t ww_sine[WW_FFT / 2]": _in_31_bits(np.sin(turn)),
        "int16_t ww_filters[]": np.minimum(np.rint(weights.astype(np.float64) * 2**15), 32767).astype(np.int16),
        "int32_t ww_logarithm[65]": np.rint(np.log2(1 + np.arange(65) / 64) * 2**20).astype(np.int32),
    }


def _in_31_bits(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values * 2.0**31), -(2**31 - 1), 2**31 - 1).astype(np.int32)
