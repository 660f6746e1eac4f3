"""Noise for augmentation where recordings are few: sounds made by rule, and babble out of many talkers' speech.

Recorded noise is better, kind for kind; these only make sure that a model has heard every sort of spectrum and rhythm
under speech, of which a few minutes of recordings hold few.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from wakeword.features.log_mel import SAMPLE_RATE

SECONDS = 8.0
RMS = 0.05
TALKERS = (2, 8)
"""The fewest and most talkers of babble: two are a conversation nearby, eight a crowd."""


@lru_cache(maxsize=2)
def made_noise(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """`count` noises of eight seconds, float32 `[samples]` each, the kinds in turn; equal for equal `seed`s."""
    kinds = (coloured, hum, clatter, music)
    return tuple(_levelled(kinds[index % len(kinds)](np.random.default_rng([seed, index]))) for index in range(count))


def babble(speech: Sequence[np.ndarray], count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """`count` mixtures of random pieces of `speech`, float32 `[samples]` each, as long as the noises of `made_noise`.

    The talkers are as loud as each other to within a few dB. Empty where there is no speech.
    """
    voices = [recording for recording in speech if np.any(recording)]
    mixed = []
    for index in range(count if voices else 0):
        rng = np.random.default_rng([seed, 7, index])
        total = np.zeros(int(SECONDS * SAMPLE_RATE), np.float32)
        for _ in range(int(rng.integers(TALKERS[0], TALKERS[1] + 1))):
            said = _levelled(_filled(voices, len(total), rng))
            total += said * np.float32(10 ** (rng.uniform(-6, 6) / 20))
        mixed.append(_levelled(total))
    return tuple(mixed)


def coloured(rng: np.random.Generator) -> np.ndarray:
    """Steady or swelling noise of a random spectrum: wind, traffic, a fan, hiss. float32 `[samples]`."""
    tilt_db = rng.uniform(-9, 2)  # an octave
    bands = rng.normal(0, rng.uniform(0, 6), size=12)

    def gain(hz: np.ndarray) -> np.ndarray:
        octaves = np.log2(np.maximum(hz, 30.0) / 30.0)
        return 10 ** ((tilt_db * octaves + np.interp(octaves, np.linspace(0, 8, len(bands)), bands)) / 20)

    return _shaped(rng, gain) * _swell(rng, rng.uniform(0, 0.9))


def hum(rng: np.random.Generator) -> np.ndarray:
    """A motor, mains or engine: harmonics of a wandering fundamental over some noise. float32 `[samples]`."""
    count = int(SECONDS * SAMPLE_RATE)
    wander = np.interp(np.arange(count), np.linspace(0, count, 9), rng.normal(0, rng.uniform(0, 0.04), size=9))
    phase = 2 * np.pi * np.cumsum(rng.uniform(45, 400) * (1 + wander)) / SAMPLE_RATE
    fall = rng.uniform(0.5, 1.6)
    tones = sum(
        rng.uniform(0.2, 1) * n**-fall * np.sin(n * phase + rng.uniform(0, 6.28)) for n in range(1, rng.integers(6, 25))
    )
    return (_levelled(tones) + coloured(rng) * rng.uniform(0.02, 0.5)).astype(np.float32) * _swell(rng, 0.5)


def clatter(rng: np.random.Generator) -> np.ndarray:
    """Knocks, clicks, dishes, keys: ringing impacts at random times over a faint floor. float32 `[samples]`."""
    count = int(SECONDS * SAMPLE_RATE)
    out = coloured(rng).astype(np.float64) * rng.uniform(0.001, 0.02)
    for _ in range(rng.poisson(SECONDS * rng.uniform(0.7, 8)) + 1):
        start = int(rng.integers(count - 10))
        length = min(count - start, int(rng.uniform(0.01, 0.5) * SAMPLE_RATE))
        time = np.arange(length) / SAMPLE_RATE
        ring = sum(
            rng.uniform(0.2, 1) * np.sin(2 * np.pi * rng.uniform(150, 7000) * time) for _ in range(rng.integers(1, 6))
        )
        hit = (ring + rng.uniform(0, 2) * rng.standard_normal(length)) * np.exp(-time * rng.uniform(8, 150))
        out[start : start + length] += hit * 10 ** (rng.uniform(-12, 6) / 20)
    return out.astype(np.float32)


def music(rng: np.random.Generator) -> np.ndarray:
    """Chords, a melody and a beat of plain harmonic tones: of music, its rhythm and spectra. float32 `[samples]`."""
    count = int(SECONDS * SAMPLE_RATE)
    out = np.zeros(count)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.5 else [0, 2, 3, 5, 7, 8, 10])
    root, beat = rng.uniform(36, 55), 60 / rng.uniform(60, 170)
    for _ in range(int(rng.integers(1, 4))):
        pace = beat * float(rng.choice([0.5, 1, 2, 4]))
        fall, decay, attack = rng.uniform(0.6, 2.2), rng.uniform(0.3, 8), rng.uniform(0.002, 0.08)
        chord, octave, loudness = int(rng.integers(1, 4)), 12 * int(rng.integers(0, 3)), rng.uniform(0.2, 1)
        for onset in np.arange(0, SECONDS, pace):
            if rng.random() < 0.2:
                continue
            degree = int(rng.integers(len(scale)))
            start = int(onset * SAMPLE_RATE)
            time = np.arange(min(count - start, int(1.5 * pace * SAMPLE_RATE))) / SAMPLE_RATE
            envelope = np.minimum(time / attack, 1) * np.exp(-decay * time) * loudness
            for third in range(chord):
                step = degree + 2 * third
                key = root + octave + scale[step % len(scale)] + 12 * (step // len(scale))
                hz = 440 * 2 ** ((key - 69) / 12)
                tone = sum(n**-fall * np.sin(2 * np.pi * hz * n * time) for n in range(1, 9) if hz * n < 7500)
                out[start : start + len(time)] += envelope * tone
    if rng.random() < 0.6:
        drum = rng.standard_normal(int(0.1 * SAMPLE_RATE)) * np.exp(-np.arange(int(0.1 * SAMPLE_RATE)) / 500)
        for onset in np.arange(0, SECONDS - 0.2, beat / 2):
            start = int(onset * SAMPLE_RATE)
            out[start : start + len(drum)] += drum * rng.choice([0, 0.3, 1.0])
    return out.astype(np.float32)


def _filled(recordings: Sequence[np.ndarray], samples: int, rng: np.random.Generator) -> np.ndarray:
    """Random recordings one after the other."""
    parts, held = [], 0
    while held < samples:
        part = recordings[rng.integers(len(recordings))]
        start = int(rng.integers(len(part)))
        parts.append(part[start : start + samples - held])
        held += len(parts[-1])
    return np.concatenate(parts)


def _shaped(rng: np.random.Generator, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    count = int(SECONDS * SAMPLE_RATE)
    spectrum = np.fft.rfft(rng.standard_normal(count)) * gain(np.fft.rfftfreq(count, 1 / SAMPLE_RATE))
    return _levelled(np.fft.irfft(spectrum, count))


def _swell(rng: np.random.Generator, depth: float) -> np.ndarray:
    """A slowly moving gain, float32 `[samples]`, between 1 - `depth` and 1."""
    count = int(SECONDS * SAMPLE_RATE)
    knots = int(rng.integers(3, 40))
    moving = np.interp(np.arange(count), np.linspace(0, count, knots), rng.uniform(0, 1, size=knots))
    return (1 - depth * moving).astype(np.float32)


def _levelled(samples: np.ndarray) -> np.ndarray:
    rms = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
    return (samples * (RMS / max(rms, 1e-9))).astype(np.float32)
