"""Noise made by rule, and babble out of speech."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword.augmentation.noises import RMS, SECONDS, babble, clatter, coloured, hum, made_noise, music

COUNT = int(SECONDS * 16000)
KINDS = (coloured, hum, clatter, music)


def rms(samples):
    return np.sqrt(np.mean(np.square(samples, dtype=np.float64)))


def spectra(samples):
    """Power spectra of quarter seconds, float64 `[frames, bins]` of 4 Hz."""
    frames = samples[: len(samples) // 4000 * 4000].reshape(-1, 4000).astype(np.float64)
    return np.abs(np.fft.rfft(frames * np.hanning(4000), axis=1)) ** 2


def tonality(samples):
    """How far single lines stand out of the spectrum's bands of 160 Hz: about 0 for noise."""
    bands = spectra(samples).mean(axis=0)[20:1900].reshape(-1, 40)
    return float(np.mean(np.log(bands.mean(axis=1)) - np.log(bands + 1e-20).mean(axis=1)))


def steadiness(samples):
    """How alike the spectra of neighbouring quarter seconds are, from 0 to 1."""
    found = spectra(samples)
    found /= np.linalg.norm(found, axis=1, keepdims=True) + 1e-20
    return float((found[1:] * found[:-1]).sum(axis=1).mean())


def unevenness(samples):
    """How much the level moves from 20 ms to 20 ms, in means of it."""
    levels = np.sqrt((samples[: len(samples) // 320 * 320].reshape(-1, 320).astype(np.float64) ** 2).mean(axis=1))
    return float(levels.std() / levels.mean())


def spikiness(samples):
    """Kurtosis: 3 for Gaussian noise, many times that where a few moments hold the power."""
    samples = samples.astype(np.float64)
    return float(np.mean(samples**4) / np.mean(samples**2) ** 2)


@pytest.fixture(scope="module")
def medians():
    """`medians(measure)`: what each kind of noise has of it, in the middle over some seeds."""
    made = {kind.__name__: [kind(np.random.default_rng(seed)) for seed in range(9)] for kind in KINDS}
    return lambda measure: {name: float(np.median([measure(one) for one in each])) for name, each in made.items()}


def test_each_kind_has_a_spectrum_of_its_own(medians):
    tonal = medians(tonality)
    assert min(tonal["hum"], tonal["music"]) > 3 * max(tonal["coloured"], tonal["clatter"])
    steady = medians(steadiness)
    assert steady["hum"] > steady["music"] + 0.2 and steady["coloured"] > steady["clatter"] + 0.2


def test_each_kind_has_a_rhythm_of_its_own(medians):
    uneven = medians(unevenness)
    assert uneven["hum"] < 0.7 * uneven["music"] and uneven["music"] < 0.5 * uneven["clatter"]
    spiky = medians(spikiness)
    assert spiky["clatter"] > 5 * spiky["music"] and spiky["coloured"] < 4.5


def test_no_two_of_a_kind_are_alike():
    for kind in KINDS:
        one, other = (kind(np.random.default_rng(seed)) for seed in (1, 2))
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.5
        shapes = [spectra(each).mean(axis=0) for each in (one, other)]
        assert abs(np.log(shapes[0] / shapes[0].sum()) - np.log(shapes[1] / shapes[1].sum())).mean() > 0.2


def test_the_kinds_come_in_turn_at_one_level():
    noises = made_noise(8, 5)
    assert len(noises) == 8
    for index, noise in enumerate(noises):
        assert noise.dtype == np.float32 and noise.shape == (COUNT,) and np.isfinite(noise).all()
        assert rms(noise) == pytest.approx(RMS, rel=1e-3)
        again = KINDS[index % 4](np.random.default_rng([5, index]))
        assert np.corrcoef(noise, again)[0, 1] > 0.9999, "another kind"


def test_noise_hangs_on_the_seed_alone_and_more_begin_with_the_fewer():
    state = np.random.get_state()[1].copy()
    noises = made_noise(4)
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    made_noise.cache_clear()
    np.random.rand(3)  # as a resumed run finds it elsewhere
    for one, again in zip(noises, made_noise(5), strict=False):
        np.testing.assert_array_equal(one, again)
    for one, other in zip(noises, made_noise(4, 1), strict=True):
        assert not np.array_equal(one, other)
    assert made_noise(0) == ()


@pytest.fixture(scope="module")
def tones():
    """Ten talkers who hold a tone each, 300 Hz, 500 Hz and so on, for three seconds."""
    time = np.arange(3 * 16000) / 16000
    return [np.sin(2 * np.pi * (300 + 200 * talker) * time).astype(np.float32) for talker in range(10)]


def test_several_talkers_speak_at_once_and_none_drowns_the_rest(tones):
    mixed = babble(tones, 6, 3)
    assert len(mixed) == 6
    heard = []
    for noise in mixed:
        assert noise.dtype == np.float32 and noise.shape == (COUNT,)
        assert rms(noise) == pytest.approx(RMS, rel=1e-3)
        power = spectra(noise)[:, 75:600:50]
        talking = power > 0.003 * power.sum(axis=1, keepdims=True)  # -25 dB: all are within 12 dB of each other
        heard.append(talking.sum(axis=1).mean())
    assert min(heard) > 1.2 and max(heard) > 3, "one talker is no babble"
    assert np.ptp(heard) > 1, "as many talkers everywhere"


@given(seed=st.integers(0, 10_000), seconds=st.floats(0.001, 12), count=st.integers(0, 2))
@settings(max_examples=15)
def test_babble_is_made_of_speech_of_any_length_at_one_level(speech_like, seed, seconds, count):
    speech = [speech_like(seconds, 1), np.zeros(8000, np.float32), speech_like(2, 2), np.zeros(0, np.float32)]
    before = [each.copy() for each in speech]
    mixed = babble(speech, count, seed)
    assert len(mixed) == count
    for noise in mixed:
        assert noise.shape == (COUNT,) and np.isfinite(noise).all()
        assert rms(noise) == pytest.approx(RMS, rel=1e-3)
    for one, other in zip(speech, before, strict=True):
        np.testing.assert_array_equal(one, other)


def test_babble_hangs_on_its_seed_and_differs_within_it(speech_like):
    speech = [speech_like(3, seed) for seed in range(5)]
    one, again, other = (babble(speech, 2, seed) for seed in (1, 1, 2))
    for left, right in zip(one, again, strict=True):
        np.testing.assert_array_equal(left, right)
    assert abs(np.corrcoef(*one)[0, 1]) < 0.5 and abs(np.corrcoef(one[0], other[0])[0, 1]) < 0.5


@pytest.mark.parametrize("speech", [[], [np.zeros(16000, np.float32)], [np.zeros(0, np.float32)]])
def test_there_is_no_babble_without_speech(speech):
    assert babble(speech, 3) == ()
