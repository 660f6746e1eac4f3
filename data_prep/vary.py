"""Other speakers out of one: tempo, pitch and formants of a clip changed independently, with numpy and soxr alone.

Pitch: the clip is played faster or slower (band-limited resampling), which moves pitch and formants together.
Tempo: WSOLA, waveform-similarity overlap-add (W. Verhelst and M. Roelands, "An overlap-add technique based on waveform
similarity (WSOLA) for high quality time-scale modification of speech", ICASSP 1993) gives it the duration wanted.
Formants: the spectral envelope of each frame, by cepstral smoothing (A. Röbel and X. Rodet, "Efficient spectral
envelope estimation and its application to pitch shifting and envelope preservation", DAFx 2005), is stretched along
the frequency axis, as another vocal-tract length would (L. Lee and R. Rose, "A frequency warping approach to speaker
normalization", IEEE Trans. SAP 6(1), 1998).
"""

from __future__ import annotations

import numpy as np
import soxr

from wakeword.audio.waveform import SAMPLE_RATE

HOP = 240  # samples between WSOLA's windows of 2 * HOP, 30 ms: two pitch periods or more of most voices
SEARCH = 128  # samples either side; twice that is the longest pitch period found, of 62 Hz
FFT, STEP = 512, 128
QUEFRENCY = 40  # samples, 2.5 ms: below the pitch period of a voice of 400 Hz
MOST_DB = 18.0  # no partial gains or loses more: beyond, it is noise that would be raised


def vary(
    samples: np.ndarray, rate: float, tempo: float = 1.0, semitones: float = 0.0, formants: float = 1.0
) -> np.ndarray:
    """Change float32 [n] of `rate` Hz to float32 [m], 16 kHz, with m = n * 16000 / rate / tempo.

    Args:
        tempo: how many times as fast (1.25: a fifth shorter), at the same pitch.
        semitones: how much higher the pitch, formants unchanged.
        formants: by what the formants' frequencies are multiplied (1.2: a shorter vocal tract), pitch unchanged.

    Raises:
        ValueError: tempo or formants are not positive, or nothing would be left of the clip.
    """
    if not (tempo > 0 and formants > 0 and rate > 0):
        raise ValueError(f"tempo {tempo}, formants {formants} and rate {rate} must be positive")
    wanted = round(len(samples) * SAMPLE_RATE / rate / tempo)
    if wanted < 1:
        raise ValueError(f"{len(samples)} samples at {rate:g} Hz are too short for a tempo of {tempo:g}")
    pitch = 2.0 ** (semitones / 12.0)
    mono = np.ascontiguousarray(samples, np.float32)
    if rate * pitch != SAMPLE_RATE:
        mono = soxr.resample(mono, rate * pitch, SAMPLE_RATE).astype(np.float32)
    if len(mono) != wanted:
        mono = stretch(mono, wanted)
    warp = formants / pitch
    return mono if abs(warp - 1.0) < 0.005 else shift_formants(mono, warp)


def stretch(samples: np.ndarray, wanted: int) -> np.ndarray:
    """Make float32 [n] last `wanted` samples at the same pitch, by WSOLA."""
    window = np.hanning(2 * HOP + 1)[:-1].astype(np.float32)
    step = HOP * len(samples) / wanted
    frames = wanted // HOP + 2
    # Room for the search before the first window, and behind the last one for its continuation.
    source = np.pad(samples, (HOP + SEARCH, 4 * HOP + 2 * SEARCH + int(step)))
    out = np.zeros(frames * HOP + HOP, np.float32)
    at = SEARCH
    for frame in range(frames):
        if frame:
            natural = source[at + HOP : at + 3 * HOP]
            first = min(round(frame * step), len(source) - 2 * SEARCH - 3 * HOP)
            region = source[first : first + 2 * SEARCH + 2 * HOP]
            energy = np.cumsum(np.concatenate([[0.0], region.astype(np.float64) ** 2]))
            likeness = np.correlate(region, natural, "valid") / np.sqrt(energy[2 * HOP :] - energy[: -2 * HOP] + 1e-6)
            at = first + int(np.argmax(likeness))
        out[frame * HOP : (frame + 2) * HOP] += window * source[at : at + 2 * HOP]
    return out[HOP : HOP + wanted]


def shift_formants(samples: np.ndarray, factor: float) -> np.ndarray:
    """Multiply the frequencies of the spectral envelope of float32 [n], 16 kHz, by `factor`; pitch and length stay."""
    window = np.hanning(FFT + 1)[:-1]
    padded = np.pad(samples.astype(np.float64), (FFT, FFT + STEP))
    spectra = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(padded, FFT)[::STEP] * window)
    size = np.abs(spectra)
    envelope = _envelope(np.log(size + 1e-4 * size.max() + 1e-12))
    bins = np.arange(envelope.shape[1])
    moved = np.minimum(bins / factor, bins[-1])
    low = np.minimum(moved.astype(int), bins[-1] - 1)
    part = moved - low
    wanted = envelope[:, low] * (1 - part) + envelope[:, low + 1] * part
    most = MOST_DB * np.log(10) / 20
    gain = np.exp(np.clip(wanted - envelope, -most, most))
    pieces = np.fft.irfft(spectra * gain, FFT) * window
    out, weight = np.zeros(len(padded)), np.zeros(len(padded))
    for index, piece in enumerate(pieces):
        out[index * STEP : index * STEP + FFT] += piece
        weight[index * STEP : index * STEP + FFT] += window**2
    return (out / np.maximum(weight, 1e-3))[FFT : FFT + len(samples)].astype(np.float32)


def _envelope(log_size: np.ndarray) -> np.ndarray:
    """The smooth curve over the partials of each frame [frames, bins]; a few rounds lift it from the valleys."""
    lifter = np.zeros(FFT)
    taper = np.cos(np.linspace(0, np.pi / 2, QUEFRENCY // 4 + 1))[:-1] ** 2
    half = np.concatenate([np.ones(QUEFRENCY - len(taper)), taper])
    lifter[: len(half)] = half
    lifter[-len(half) + 1 :] = half[:0:-1]
    target = log_size
    for _ in range(4):
        smooth = np.fft.rfft(np.fft.irfft(target, FFT) * lifter).real
        target = np.maximum(log_size, smooth)
    return smooth
