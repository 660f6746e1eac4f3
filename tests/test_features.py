import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeword.audio.waveform import read_audio
from wakeword.features.log_mel import FeatureSettings, extract, initial_state, mel_filters, step

SETTINGS = FeatureSettings()
CHUNKS = st.lists(st.one_of(st.integers(0, 500), st.integers(0, 12000)), max_size=40)


def in_chunks(samples, sizes, settings):
    """The frames that a stream gives, block by block; what the sizes leave over comes in one last block."""
    state, found, start = initial_state(settings), [], 0
    for size in [*sizes, len(samples)]:
        frames, state = step(samples[start : start + size], state, settings)
        found.append(frames)
        start = min(len(samples), start + size)
    return found


def reference(samples, settings, floor=None):
    """The log-mels of the same settings from librosa's short-time Fourier transform and filters, float64."""
    librosa = pytest.importorskip("librosa")
    pad = (settings.fft - settings.window) // 2
    heard = np.concatenate([np.zeros(pad + settings.window - settings.hop), samples, np.zeros(pad)])
    spectrum = librosa.stft(
        heard,
        n_fft=settings.fft,
        hop_length=settings.hop,
        win_length=settings.window,
        window="hann",
        center=False,
    )
    window = librosa.filters.get_window("hann", settings.window, fftbins=True)
    power = np.abs(spectrum.T) ** 2 / np.sum(window**2)
    filters = librosa.filters.mel(
        sr=settings.sample_rate,
        n_fft=settings.fft,
        n_mels=settings.mels,
        fmin=settings.low_hz,
        fmax=settings.high_hz,
        htk=True,
        norm=None,
    )
    return (np.log(power @ filters.T + settings.floor) - settings.offset) / settings.scale


@given(seconds=st.floats(0, 3), sizes=CHUNKS)
def test_any_chunking_gives_what_the_whole_gives(speech_like, seconds, sizes):
    samples = speech_like(seconds, 1)
    whole = extract(samples)
    streamed = np.concatenate(in_chunks(samples, sizes, SETTINGS))
    assert whole.shape == streamed.shape == (len(samples) // 160, 48)
    assert whole.dtype == streamed.dtype == np.float32
    np.testing.assert_allclose(streamed, whole, atol=1e-5)


@given(
    hop=st.sampled_from([80, 160, 200]),
    window=st.sampled_from([200, 400, 512]),
    mels=st.integers(4, 30),
    sizes=CHUNKS,
)
def test_other_settings_stream_as_well(speech_like, hop, window, mels, sizes):
    settings = FeatureSettings(hop=hop, window=window, mels=mels, low_hz=100, high_hz=7000)
    samples = speech_like(1.3, 2)
    whole, _ = step(samples, initial_state(settings), settings)
    assert len(whole) == len(samples) // hop
    np.testing.assert_allclose(np.concatenate(in_chunks(samples, sizes, settings)), whole, atol=1e-5)


def test_a_frame_comes_with_its_last_sample_and_not_before(speech_like):
    found = in_chunks(speech_like(0.1), [159, 1, 0, 159, 1, 160, 480], SETTINGS)
    assert [len(frames) for frames in found[:7]] == [0, 1, 0, 0, 1, 1, 3]


def test_pieces_of_a_long_recording_join_without_a_seam(speech_like):
    samples = speech_like(45)
    whole, _ = step(samples, initial_state(SETTINGS), SETTINGS)
    np.testing.assert_allclose(extract(samples), whole, atol=1e-5)
    assert len(extract(samples)) == 4500


def test_a_step_keeps_no_more_than_a_window_and_leaves_its_input_alone(speech_like):
    samples = speech_like(2)
    before, state = samples.copy(), initial_state(SETTINGS)
    for start in range(0, len(samples), 777):
        _, state = step(samples[start : start + 777], state, SETTINGS)
        assert len(state) < SETTINGS.window and (state.base is None or state.base.size < SETTINGS.window)
    np.testing.assert_array_equal(samples, before)
    kept = state.copy()
    samples[:] = 0
    np.testing.assert_array_equal(state, kept)


def test_filters_are_librosas():
    librosa = pytest.importorskip("librosa")
    expected = librosa.filters.mel(sr=16000, n_fft=512, n_mels=48, fmin=60, fmax=7600, htk=True, norm=None)
    np.testing.assert_allclose(mel_filters(SETTINGS), expected.T, atol=1e-6)
    assert (mel_filters(SETTINGS).max(axis=0) > 0).all(), "a filter between two bins hears nothing"


def test_filters_are_torchaudios():
    functional = pytest.importorskip("torchaudio").functional
    expected = functional.melscale_fbanks(257, 60.0, 7600.0, 48, 16000, norm=None, mel_scale="htk").numpy()
    np.testing.assert_allclose(mel_filters(SETTINGS), expected, atol=2e-5)


def test_log_mels_are_librosas(speech_like):
    samples = speech_like(3)
    np.testing.assert_allclose(extract(samples), reference(samples, SETTINGS), atol=2e-4)


def test_log_mels_of_real_speech_are_librosas_in_any_blocks(shared):
    path = sorted((shared / "LibriSpeech").rglob("*.opus"))[0]
    samples = read_audio(path)
    whole = extract(samples)
    np.testing.assert_allclose(whole, reference(samples, SETTINGS), atol=5e-4)
    np.testing.assert_allclose(np.concatenate(in_chunks(samples, [1, 333, 1600, 7, 48000], SETTINGS)), whole, atol=1e-5)
    assert -1.5 < whole.mean() < 1.5 and 0.3 < whole.std() < 2, "speech should come out about standardised"


@given(rms_db=st.floats(-60, -6), gain_db=st.floats(1, 20))
def test_a_gain_shifts_every_band_alike(rms_db, gain_db):
    settings = FeatureSettings(floor=1e-30)
    noise = np.random.default_rng(3).standard_normal(16000).astype(np.float32) * np.float32(10 ** (rms_db / 20))
    louder = extract(noise * np.float32(10 ** (gain_db / 20)), settings)
    shift = gain_db / 10 * np.log(10) / settings.scale
    np.testing.assert_allclose(louder - extract(noise, settings), shift, atol=1e-3)


def test_white_noise_has_its_mean_power_in_every_bin():
    rms = 0.05
    noise = rms * np.random.default_rng(4).standard_normal(16000 * 60).astype(np.float32)
    energy = np.exp(extract(noise) * SETTINGS.scale + SETTINGS.offset)[2:].mean(axis=0)
    expected = rms**2 * mel_filters(SETTINGS).sum(axis=0)
    np.testing.assert_allclose(energy / expected, 1, atol=0.06)


def test_a_tone_is_loudest_in_the_band_around_it():
    edges = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7600 / 700), 50)
    for band in (3, 17, 30, 46):
        centre = 700 * (10 ** (edges[band + 1] / 2595) - 1)
        tone = 0.1 * np.sin(2 * np.pi * centre * np.arange(8000) / 16000)
        assert (extract(tone.astype(np.float32))[5:].argmax(axis=1) == band).all()


def test_silence_is_the_floor_and_a_quiet_room_is_near_it():
    silence = extract(np.zeros(16000, np.float32))
    np.testing.assert_allclose(silence, (np.log(1e-7) + 9) / 4, atol=1e-6)
    room = extract(np.random.default_rng(5).standard_normal(16000).astype(np.float32) * np.float32(10 ** (-85 / 20)))
    assert np.abs(room - silence).max() < 0.2


def test_samples_that_are_not_numbers_spoil_only_their_windows(speech_like):
    samples = speech_like(1)
    broken = samples.copy()
    broken[8000:8100] = np.nan
    found = extract(broken)
    touched = np.isnan(found).any(axis=1)
    assert np.flatnonzero(touched)[0] >= 50 and np.flatnonzero(touched)[-1] <= (8100 + 240) // 160
    np.testing.assert_allclose(found[~touched], extract(samples)[~touched], atol=1e-5)
