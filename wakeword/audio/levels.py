"""How loud speech is where there is speech, and where that is."""

from __future__ import annotations

import numpy as np

from wakeword.audio.waveform import SAMPLE_RATE

FRAME_S = 0.02
DIGITAL_SILENCE = 1e-10  # the power of padding, and of what a codec makes of it
MARGIN_DB = 15.9  # of P.56: how far below the active level a frame may lie and still be speech
CLICK = 10.0  # a frame this many times over its neighbours' median is a click
HOP_S, WINDOW_S = 0.01, 0.02  # a click touches two windows, so a median of five removes it
LONGEST_GAP_S = 0.3  # inside a phrase: stops and the gap between its words
RANGE_DB = 25.0  # under the peak; what lies lower is the room's tail or breath

Span = tuple[float, float]
"""Where something begins and ends, in seconds."""


def active_power(samples: np.ndarray) -> float:
    """Mean power of speech over the time in which there is speech; full scale squared is 1; 0 for silence.

    The idea of ITU-T P.56 (method B): the threshold of activity lies 15.9 dB below the level that it yields. Here on
    the powers of 20 ms frames, smoothed by a median of five so that clicks do not count, in place of P.56's envelope
    with hangover. Stationary noise is active throughout, so its power is its mean power.
    """
    power = _frame_power(samples, FRAME_S, FRAME_S)
    if power.size == 0:
        return 0.0
    smooth = _median5(power)
    order = np.argsort(-smooth, kind="stable")
    smooth, power = smooth[order], np.minimum(power, CLICK * smooth)[order]
    level = np.cumsum(power) / np.arange(1, power.size + 1)
    inactive = np.flatnonzero(smooth * 10 ** (MARGIN_DB / 10) < level)
    count = inactive[0] if inactive.size else power.size
    return float(level[max(count, 1) - 1])


def noise_power(samples: np.ndarray) -> float:
    """Mean power of a noise recording, without frames of digital silence, which pad many; 0 if nothing is left."""
    power = _frame_power(samples, FRAME_S, FRAME_S)
    power = power[power > DIGITAL_SILENCE]
    return float(power.mean()) if power.size else 0.0


def active_span(samples: np.ndarray) -> Span:
    """Where in a clip its loudest stretch of sound begins and ends, in seconds: the phrase, in a clip of one.

    Frame energies in dB after pre-emphasis (against hum and rumble), smoothed by a median of five (against clicks) and
    a mean of three, are active where they exceed 40 % of the way from the clip's floor (the 10th percentile, without
    digital silence) to its peak, and the peak less 25 dB. The stretch around the peak reaches as far as gaps up to
    0.3 s lead. A clip without 6 dB between floor and peak is all active. Where digital silence is all there is beside
    the phrase, the floor is the phrase's own and its ends may be cut by up to 0.1 s.
    """
    seconds = len(samples) / SAMPLE_RATE
    power = _frame_power(np.diff(samples, prepend=samples[:1]), WINDOW_S, HOP_S)
    if power.size < 5:
        return 0.0, seconds
    level = 10 * np.log10(_median5(power) + 1e-12)
    level = np.convolve(np.pad(level, 1, mode="edge"), np.full(3, 1 / 3), mode="valid")
    peak = level.max()
    heard = level[power > DIGITAL_SILENCE]
    floor = max(np.quantile(heard, 0.1), peak - 60) if heard.size else peak
    if peak - floor < 6:
        return 0.0, seconds
    active = np.flatnonzero(level > max(peak - RANGE_DB, floor + 0.4 * (peak - floor)))
    breaks = np.flatnonzero(np.diff(active) * HOP_S > LONGEST_GAP_S)
    around = int(np.searchsorted(active[breaks], np.argmax(level)))
    first = active[0] if around == 0 else active[breaks[around - 1] + 1]
    last = active[breaks[around]] if around < len(breaks) else active[-1]
    middle = (WINDOW_S - HOP_S) / 2
    return float(first * HOP_S + middle), float(min(last * HOP_S + middle + HOP_S, seconds))


def _frame_power(samples: np.ndarray, window_s: float, hop_s: float) -> np.ndarray:
    """Mean power float64 [frames]; a rest shorter than a window is left out unless there is nothing else."""
    square = np.asarray(samples, np.float64) ** 2
    window, hop = round(window_s * SAMPLE_RATE), round(hop_s * SAMPLE_RATE)
    if square.size < window:
        return square.mean(keepdims=True) if square.size else np.zeros(0)
    total = np.concatenate([[0.0], np.cumsum(square)])
    starts = np.arange(0, square.size - window + 1, hop)
    return np.maximum(total[starts + window] - total[starts], 0.0) / window


def _median5(values: np.ndarray) -> np.ndarray:
    padded = np.pad(values, 2, mode="edge")
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)
