"""Clips that are the same recording, though cut, shifted or scaled differently: a split that parts them is no split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from wakeword.audio import SAMPLE_RATE, read_audio
from wakeword.errors import AudioError

BAND_HZ = (200.0, 2000.0)  # above mains hum, which would make any two clips of one room alike
LONGEST_S = 10.0
BLOCK = 64


def duplicate_groups(paths: Sequence[Path], threshold: float = 0.9) -> list[int]:
    """For each clip the index of the first clip that is the same recording; its own index if there is none before it.

    Two clips are the same if the peak of their normalised cross-correlation over all lags, 200 to 2000 Hz, is at
    least `threshold` in size; that relation is closed transitively. Two takes of one speaker stay below 0.8, one
    recording transcoded or shifted lies above 0.95. Every pair is compared, about 0.2 ms each: meant for hundreds
    of clips. A clip that cannot be read, or is silent in the band, is a group of its own.
    """
    audio = [_read(path) for path in paths]
    group = list(range(len(paths)))
    if not audio:
        return group
    # Twice the longest clip, so that the circular correlation of the FFT does not wrap around; with only the bins up
    # to 2 kHz kept, the correlation comes out at 4 kHz.
    size = 1 << int(np.ceil(np.log2(2 * max(max(map(len, audio)), 16))))
    bins = int(size * BAND_HZ[1] / SAMPLE_RATE) + 1
    frequency = np.arange(bins) * SAMPLE_RATE / size
    outside = (frequency < BAND_HZ[0]) | (frequency >= BAND_HZ[1])
    spectra = np.zeros((len(audio), bins), np.complex64)
    for row, samples in zip(spectra, audio, strict=True):
        row[:] = np.fft.rfft(samples, size)[:bins]
        row[outside] = 0
        energy = 2 * np.sum(np.abs(row) ** 2) / (2 * (bins - 1))
        if energy > 1e-9:
            row /= np.sqrt(energy)
    for i in range(len(audio) - 1):
        for start in range(i + 1, len(audio), BLOCK):
            lags = np.fft.irfft(spectra[i].conj() * spectra[start : start + BLOCK], axis=1)
            for j in start + np.flatnonzero(np.abs(lags).max(axis=1) >= threshold):
                _join(group, i, int(j))
    return [_first(group, i) for i in range(len(group))]


def _read(path: Path) -> np.ndarray:
    try:
        return read_audio(path, 0.0, LONGEST_S)
    except AudioError:
        return np.zeros(0, np.float32)


def _first(group: list[int], i: int) -> int:
    while group[i] != i:
        i = group[i]
    return i


def _join(group: list[int], i: int, j: int) -> None:
    low, high = sorted((_first(group, i), _first(group, j)))
    group[high] = low
