"""The front end of ESPHome's micro_wake_word: its stream, its settings, and models that hear it."""

from __future__ import annotations

import dataclasses
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pymicro_features")

from pymicro_features import MicroFrontend  # noqa: E402

from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import ConfigError, ModelError, WakewordError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract, initial_state, step  # noqa: E402
from wakeword.features.micro_features import PEAK  # noqa: E402
from wakeword.settings import from_dict  # noqa: E402

SETTINGS = FeatureSettings(front_end="micro", mels=40, window=480)
CHUNKS = st.lists(st.one_of(st.integers(0, 500), st.integers(0, 12000)), max_size=40)


def as_on_the_device(samples: np.ndarray) -> np.ndarray:
    """The package fed as its README says, after 20 ms of silence."""
    units = np.clip(np.rint(np.concatenate([np.zeros(320), samples]) * 32768), -32768, 32767)
    front_end, data, found = MicroFrontend(), units.astype("<i2").tobytes(), []
    while len(data) >= 320:
        output = front_end.process_samples(data[:320])
        data = data[2 * output.samples_read :]
        if output.features:
            found.append(output.features)
    return np.array(found, np.float32).reshape(-1, 40)


@given(seconds=st.floats(0, 3), sizes=CHUNKS)
def test_any_chunking_gives_what_the_device_computes(speech_like, seconds, sizes):
    samples = speech_like(seconds, 1)
    state, found, start = initial_state(SETTINGS), [], 0
    for size in [*sizes, len(samples)]:
        frames, state = step(samples[start : start + size], state, SETTINGS)
        found.append(frames)
        start = min(len(samples), start + size)
    streamed = np.concatenate(found)
    assert streamed.shape == (len(samples) // 160, 40) and streamed.dtype == np.float32
    np.testing.assert_array_equal(streamed, as_on_the_device(samples))
    np.testing.assert_array_equal(streamed, extract(samples, SETTINGS))


def test_a_frame_hears_the_window_that_ends_with_its_last_sample(speech_like):
    samples = speech_like(1, 2)
    changed = samples.copy()
    changed[160 * 50] += 0.5
    differ = (extract(samples, SETTINGS) != extract(changed, SETTINGS)).any(axis=1)
    # What was loud stays in the estimate of the noise, so later frames may differ too.
    assert not differ[:50].any() and differ[50:53].any()
    last = samples.copy()
    last[160 * 50 - 1] += 0.5
    assert (extract(samples, SETTINGS) != extract(last, SETTINGS)).any(axis=1).argmax() in (49, 50)


def test_values_are_the_packages_own_and_fit_the_int8_that_the_device_makes_of_them(speech_like):
    clicks = np.zeros(32000, np.float32)
    clicks[16000::1000] = 1
    for samples in (speech_like(3), clicks, np.full(16000, 9.0, np.float32), np.full(16000, -np.inf, np.float32)):
        found = extract(samples, SETTINGS)
        assert found.min() >= 0 and found.max() <= PEAK
        units = found * 25.6
        np.testing.assert_array_equal(units, np.rint(units))
    silence = extract(np.full(16000, np.nan, np.float32), SETTINGS)
    np.testing.assert_array_equal(silence, extract(np.zeros(16000, np.float32), SETTINGS))


def test_many_streams_begin_from_one_state_but_one_goes_on_from_the_next(speech_like):
    samples, zero = speech_like(1), initial_state(SETTINGS)
    first, after = step(samples[:8000], zero, SETTINGS)
    again, _ = step(samples[:8000], zero, SETTINGS)
    np.testing.assert_array_equal(first, again)
    second, _ = step(samples[8000:], after, SETTINGS)
    np.testing.assert_array_equal(np.concatenate([first, second]), extract(samples, SETTINGS))
    with pytest.raises(ValueError, match="gone on"):
        step(samples[8000:], after, SETTINGS)


def test_settings_are_those_that_the_front_end_has():
    told = dataclasses.asdict(SETTINGS)
    assert from_dict(FeatureSettings, told, "a file") == SETTINGS
    assert {"low_hz": 125.0, "high_hz": 7500.0, "offset": 0.0, "scale": 1.0}.items() <= told.items()
    before = dataclasses.asdict(FeatureSettings(mels=16))
    del before["front_end"]
    assert from_dict(FeatureSettings, before, "an older file") == FeatureSettings(mels=16)
    wrong = dict(mels=48, window=400, hop=80, low_hz=100.0, high_hz=8000.0, scale=2.0, floor=1e-6, sample_rate=8000)
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=f"^{name} = {value}: must be .* with front_end = 'micro'$"):
            FeatureSettings(**{"front_end": "micro", "mels": 40, "window": 480, name: value})
    with pytest.raises(ConfigError, match="front_end = 'mfcc': must be log-mel or micro"):
        FeatureSettings(front_end="mfcc")


@pytest.fixture(scope="module")
def files(tmp_path_factory, small_model, small_sizes, wake_meta):
    """A small model that hears these features, as `.wakeword` and `.onnx`."""
    pytest.importorskip("onnx")
    from wakeword.export import export_onnx
    from wakeword.head.transfer import save_wakeword

    folder = tmp_path_factory.mktemp("micro")
    model = small_model(3, sizes=dataclasses.replace(small_sizes, mels=40))
    with_torch = folder / "m.wakeword"
    model.encoder.stem[0].weight.data /= 4  # the features are that much wider than the noise it was centred on
    save_wakeword(with_torch, model, wake_meta(features=dataclasses.asdict(SETTINGS)))
    export_onnx(with_torch, folder / "m.onnx")
    return with_torch, folder / "m.onnx"


def test_models_hear_it_wherever_they_run(files, speech_like):
    samples = speech_like(4, 5)
    scores = []
    for path, block in ((files[0], 1280), (files[1], 777), (files[1], 64000)):
        detector = Detector.load(path)
        twin = detector.twin()
        for each in (detector, twin):
            pieces = [each.scores(samples[i : i + block])[1] for i in range(0, len(samples), block)]
            scores.append(np.concatenate(pieces))
        detector.reset()
        scores.append(detector.scores(samples)[1])
    assert len(scores[0]) == 100 and scores[0].std() > 0.01
    for other in scores[1:]:
        np.testing.assert_allclose(other, scores[0], atol=1e-4)


def test_detectors_on_one_stream_stay_right_when_one_hears_something_else(files, speech_like):
    from wakeword.detector.together import load_together

    alone, (first, second) = Detector.load(files[1]), load_together([files[1], files[0]])
    sound, noise = speech_like(2, 3), speech_like(2, 4)
    expected = [alone.scores(sound)[1], alone.scores(noise)[1]]
    found = [[each.scores(sound)[1] for each in (first, second)]]
    second.scores(speech_like(1, 6))
    np.testing.assert_allclose(first.scores(noise)[1], expected[1], atol=1e-4)
    for each in found[0]:
        np.testing.assert_allclose(each, expected[0], atol=1e-4)


def test_a_gate_and_exports_that_compute_log_mels_are_refused(files, tmp_path):
    from wakeword.detector.together import load_together
    from wakeword.export.c_writer import export_c
    from wakeword.export.web_writer import export_web

    with pytest.raises(ModelError, match="m.onnx: its features .*'micro'.* run it without"):
        Detector.load(files[1], gate=True)
    with pytest.raises(ModelError, match="front_end 'micro'"):
        load_together(files, gate=True)
    with pytest.raises(ConfigError, match="m.wakeword: .*'micro'.*: export it as onnx"):
        export_c(files[0], tmp_path / "c", "float32")
    runtime = tmp_path / "onnxruntime-web"
    (runtime / "dist").mkdir(parents=True)
    (runtime / "package.json").write_text('{"name": "onnxruntime-web", "version": "0"}')
    for name in ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"):
        (runtime / "dist" / name).touch()
    with pytest.raises(ConfigError, match="m.wakeword: .*'micro'.*: export it as onnx"):
        export_web(files[0], tmp_path / "web", runtime)
    assert not (tmp_path / "c").exists() and not (tmp_path / "web").exists()


def test_without_the_package_it_says_which_extra_brings_it(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymicro_features", None)
    with pytest.raises(WakewordError, match=r"pymicro_features.*wakeword\[esphome\]"):
        Detector.load(files[1])
