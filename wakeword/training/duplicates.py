"""Clips that are the same recording, though cut, shifted or scaled differently: a split that parts them is no split."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from wakeword.audio.clips import Clip
from wakeword.audio.levels import active_span
from wakeword.audio.waveform import SAMPLE_RATE, read_audio
from wakeword.errors import AudioError

BAND_HZ = (200.0, 2000.0)  # above mains hum, which would make any two clips of one room alike
RATE = 8000  # twice what the band needs, for lags of a part of a sample
LONGEST_S = 10.0
PHRASE_S = 0.8
"""How much of a clip's loudest stretch is looked for in the others."""
AROUND_S = 0.2
"""How far beyond their own loudest stretches: its ends move with noise and with what is cut off."""
BLOCK = 64
SAME = 0.88
"""Clips as alike as this are one recording. Any two of 1,124 crowd-recorded clips of three words are at least 0.91
alike (so are all whose whole waves correlate at 0.9) or at most 0.84, and so are different takes of one speaker's word.
Of 600 copies of 120 clips (encoded again as Opus, at another level, cut by 50 to 300 ms at either end, under noise 15
to 25 dB below, or all of it) 598 are 0.9 or more like their originals, the others 0.85 and 0.88. What an acoustic model
makes of clips tells less: the mean of `micro`'s taps over the phrase has a cosine of up to 0.95 for other takes, and
down to -0.3 for one recording under noise; log-mel frames correlate up to 0.95, and down to 0.3."""


def duplicate_groups(clips: Iterable[np.ndarray], threshold: float = SAME) -> list[int]:
    """For each clip the index of the first clip that is the same recording; its own index if there is none before it.

    Two clips are the same if their `likenesses` reach `threshold`; that relation is closed transitively. A clip that
    is empty or silent in the band is a group of its own.

    Args:
        clips: float32 `[samples]` each, 16 kHz; of each the first `LONGEST_S` are heard.
    """
    alike = likenesses(clips)
    return closed(len(alike), np.argwhere(np.triu(alike, 1) >= threshold).tolist())


def likenesses(clips: Iterable[np.ndarray]) -> np.ndarray:
    """How far each two clips are one recording: float32 `[clips, clips]`, symmetric, from 0 to about 1.

    The loudest stretch of one clip is laid over that of the other at every lag, from 200 to 2000 Hz, and the largest
    normalised cross-correlation of the waves counts, in size; of the two ways round the greater. Every pair is
    compared, about 0.15 ms each, and a clip takes 0.2 MB: meant for some thousand clips at most.
    """
    pairs = [_stretches(samples[: round(LONGEST_S * SAMPLE_RATE)]) for samples in clips]
    found = np.zeros((len(pairs), len(pairs)), np.float32)
    if not pairs:
        return found
    longest, widest = (max(16, max(len(pair[side]) for pair in pairs)) for side in (0, 1))
    # So long that the circular correlation of the FFT does not wrap around.
    size = 1 << int(np.ceil(np.log2(longest + widest)))
    phrases, wide = (_spectra([pair[side] for pair in pairs], size) for side in (0, 1))
    energy = np.zeros((len(pairs), size + 1), np.float32)
    for row, (_, surroundings) in zip(energy, pairs, strict=True):
        row[1 : len(surroundings) + 1] = np.cumsum(surroundings**2)
        row[len(surroundings) + 1 :] = row[len(surroundings)]
    for i, (phrase, _) in enumerate(pairs):
        count = size - len(phrase)
        for start in range(0, len(pairs), BLOCK):
            block = slice(start, start + BLOCK)
            lags = np.abs(np.fft.irfft(phrases[i].conj() * wide[block], size, axis=1)[:, :count])
            local = energy[block, len(phrase) : size] - energy[block, :count]
            # A stretch of little energy is no phrase, however like it is.
            least = np.maximum(0.5 * energy[block, -1:], 1e-9)
            found[i, block] = (lags / np.sqrt(np.maximum(local, least))).max(axis=1)
    np.fill_diagonal(found, 1.0)
    return np.maximum(found, found.T)


def groups_of_clips(clips: Sequence[Clip], threshold: float = SAME) -> list[int]:
    """`duplicate_groups` of clips that are not read yet; one that cannot be read is a group of its own."""
    return duplicate_groups(map(_read, clips), threshold)


def _stretches(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The loudest stretch, at most `PHRASE_S` of it, of unit energy, and what lies around it: float32, at `RATE`."""
    start_s, end_s = active_span(samples)
    end_s = min(end_s, start_s + PHRASE_S)
    banded = _in_band(samples)
    phrase, wide = (
        banded[max(0, round((start_s - around) * RATE)) : round((end_s + around) * RATE)] for around in (0, AROUND_S)
    )
    energy = float(np.sum(phrase**2))
    return (phrase / np.sqrt(energy) if energy > 1e-7 * len(phrase) else np.zeros_like(phrase)), wide


def _in_band(samples: np.ndarray) -> np.ndarray:
    """What of 16 kHz lies in the band, at `RATE`."""
    size = len(samples) // 4 * 4
    if size < 64:
        return np.zeros(0, np.float32)
    spectrum = np.fft.rfft(samples[:size])
    frequency = np.arange(len(spectrum)) * SAMPLE_RATE / size
    spectrum[(frequency < BAND_HZ[0]) | (frequency >= BAND_HZ[1])] = 0
    half = size * RATE // SAMPLE_RATE
    return np.fft.irfft(spectrum[: half // 2 + 1], half).astype(np.float32) * (half / size)


def _spectra(pieces: list[np.ndarray], size: int) -> np.ndarray:
    found = np.zeros((len(pieces), size // 2 + 1), np.complex64)
    for row, piece in zip(found, pieces, strict=True):
        row[:] = np.fft.rfft(piece, size)
    return found


def _read(clip: Clip) -> np.ndarray:
    try:
        return read_audio(clip.path, clip.start_s, min(LONGEST_S, clip.duration_s or LONGEST_S), clip.channel)
    except AudioError:
        return np.zeros(0, np.float32)


def closed(count: int, related: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` items the first that a chain of related pairs leads to."""
    first = list(range(count))

    def root(i: int) -> int:
        while first[i] != i:
            i = first[i]
        return i

    for pair in related:
        low, high = sorted(map(root, pair))
        first[high] = low
    return [root(i) for i in range(count)]
