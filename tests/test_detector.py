from __future__ import annotations

import dataclasses
import gc
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword import Detector, Hit  # noqa: E402
from wakeword.acoustic.encoder import SIZES  # noqa: E402
from wakeword.audio.clips import find_clips  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.detector.detector import output_of  # noqa: E402
from wakeword.errors import AudioError, ConfigError, ModelError, WakewordError  # noqa: E402
from wakeword.evaluation.metrics import alarms  # noqa: E402
from wakeword.evaluation.streams import join, negative_stream, score_stream  # noqa: E402
from wakeword.export import export_onnx  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import load_wakeword, save_wakeword  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402

CHUNKS = st.lists(
    st.one_of(st.just(1), st.integers(0, 700), st.sampled_from([160, 640, 1600, 16000]), st.integers(0, 90_000)),
    max_size=60,
)


@pytest.fixture(scope="module")
def both(model_files):
    """The same model run by torch and by ONNX Runtime."""
    return [Detector.load(path) for path in model_files]


@pytest.fixture(scope="module")
def several(several_files):
    """The same model of three phrases run by torch and by ONNX Runtime."""
    return [Detector.load(path) for path in several_files]


@pytest.fixture(scope="module")
def fine_files(tmp_path_factory, small_model, wake_meta):
    """A small model whose features have a hop of 5 ms, and its encoder frames so 20 ms."""
    folder = tmp_path_factory.mktemp("fine")
    meta = wake_meta(features=dataclasses.asdict(FeatureSettings(mels=16, hop=80)))
    save_wakeword(folder / "fine.wakeword", small_model(2), meta)
    export_onnx(folder / "fine.wakeword", folder / "fine.onnx")
    return folder / "fine.wakeword", folder / "fine.onnx"


@pytest.fixture(scope="module")
def fine(fine_files):
    return [Detector.load(path) for path in fine_files]


@pytest.fixture(scope="module")
def base_files(tmp_path_factory, lively, small_model, wake_meta):
    """A model of the size that ships, with random weights."""
    folder = tmp_path_factory.mktemp("base")
    save_wakeword(folder / "base.wakeword", small_model(1, HeadSizes(), SIZES["base"]), wake_meta(48))
    export_onnx(folder / "base.wakeword", folder / "base.onnx")
    return folder / "base.wakeword", folder / "base.onnx"


def offline(path, samples):
    """Smoothed posteriors `[frames, phrases]` without the detector: one forward pass over the whole recording."""
    model, meta = load_wakeword(path)
    frames = extract(samples, FeatureSettings(**meta["features"]))
    with torch.no_grad():
        logits = model(torch.from_numpy(frames[: len(frames) // 4 * 4])[None])
    posterior = torch.sigmoid(logits)[0].double().numpy()
    padded = np.concatenate([np.zeros((meta["smoothing_frames"] - 1, posterior.shape[1])), posterior])
    return np.lib.stride_tricks.sliding_window_view(padded, meta["smoothing_frames"], axis=0).mean(axis=-1)


def in_chunks(detector, samples, sizes):
    detector.reset()
    found, start = [], 0
    for size in [*sizes, len(samples)]:
        found.append(detector.scores(samples[start : start + size]))
        start = min(len(samples), start + size)
    return np.concatenate([time_s for time_s, _ in found]), np.concatenate([score for _, score in found])


def middling(score):
    """A threshold that cuts one phrase's scores often, and that no rounding can put on the other side of one."""
    values = np.sort(score.astype(np.float64))
    values = values[len(values) // 2 : len(values) * 9 // 10]
    gap = int(np.argmax(np.diff(values)))
    assert values[gap + 1] - values[gap] > 1e-4
    return float(values[gap : gap + 2].mean())


@given(seconds=st.floats(0, 12), sizes=CHUNKS, seed=st.integers(0, 3))
@example(seconds=1.0, sizes=[1] * 16000, seed=0)
@example(seconds=12.0, sizes=[], seed=1)
def test_torch_onnx_and_offline_agree_for_any_chunking(
    both, several, model_files, several_files, speech_like, seconds, sizes, seed
):
    samples = speech_like(seconds, seed)
    for detectors, files, outputs in ((both, model_files, 1), (several, several_files, 3)):
        expected = offline(files[0], samples) if len(samples) >= 640 else np.zeros((0, outputs))
        for detector in detectors:
            time_s, score = in_chunks(detector, samples, sizes)
            assert score.dtype == np.float32 and time_s.dtype == np.float64
            assert len(time_s) == len(samples) // 640 and score.shape == (len(time_s), outputs)
            np.testing.assert_allclose(time_s, 0.04 * np.arange(1, len(score) + 1), atol=1e-9)
            np.testing.assert_allclose(score, expected, atol=1e-4)


@given(seconds=st.floats(0, 8), sizes=CHUNKS, seed=st.integers(0, 3))
@example(seconds=0.5, sizes=[1] * 8000, seed=0)
@settings(max_examples=40)
def test_a_model_of_20_ms_scores_each_20_ms_in_any_chunks(fine, fine_files, speech_like, seconds, sizes, seed):
    samples = speech_like(seconds, seed)
    expected = offline(fine_files[0], samples) if len(samples) >= 320 else np.zeros((0, 1))
    for detector in fine:
        time_s, score = in_chunks(detector, samples, sizes)
        assert len(score) == len(time_s) == len(samples) // 320
        np.testing.assert_allclose(time_s, 0.02 * np.arange(1, len(score) + 1), atol=1e-9)
        np.testing.assert_allclose(score, expected, atol=1e-4)


def test_a_score_of_20_ms_is_known_with_its_last_sample_and_not_before(fine, speech_like):
    samples = speech_like(1)
    for detector in fine:
        detector.reset()
        assert len(detector.scores(samples[:319])[0]) == 0
        assert detector.scores(samples[319:320])[0].tolist() == pytest.approx([0.02])
        assert detector.scores(samples[320:1000])[0].tolist() == pytest.approx([0.04, 0.06])


def test_hits_of_a_model_of_20_ms_keep_their_refractory_time_in_seconds(fine, speech_like):
    samples = speech_like(20, 4)
    for detector in fine:
        time_s, score = in_chunks(detector, samples, [])
        score = score[:, 0]
        assert score.std() > 0.05, "equal constants would agree as well"
        detector.thresholds = [middling(score)]
        try:
            detector.reset()
            found = [hit.time_s for start in range(0, 320_000, 777) for hit in detector.process(samples[start:][:777])]
        finally:
            detector.thresholds = [0.5]
        assert found == pytest.approx(alarms(time_s, score, middling(score), detector.refractory_s).tolist())
        assert len(found) > 5 and np.diff(found).min() >= 1 - 1e-6
        assert any(round(time / 0.02) % 2 for time in found), "all hits lie at frames of 40 ms"


def test_a_stream_of_clips_is_scored_each_20_ms(fine, speech_like, tmp_path):
    for index in range(3):
        write_wav(tmp_path / f"{index}.wav", speech_like(1.5 + index, index))
    clips = find_clips(tmp_path)
    whole = join(negative_stream(clips))
    for detector in fine:
        (track,), events = score_stream(detector, negative_stream(clips))
        assert track.frame_s == pytest.approx(0.02) and len(events) == 3
        assert len(track.score) == len(whole.samples) // 320
        np.testing.assert_allclose(track.score, in_chunks(detector, whole.samples, [])[1][:, 0], atol=1e-4)


def test_the_scores_of_the_small_models_say_something(model_files, several_files, speech_like):
    for path in (model_files[0], several_files[0]):
        for score in offline(path, speech_like(12, 1)).T:
            assert score.std() > 0.05 and score.min() < 0.4 and score.max() > 0.6, "constants would agree as well"
    assert np.abs(np.corrcoef(offline(several_files[0], speech_like(12, 1)).T)[np.triu_indices(3, 1)]).max() < 0.95


def test_blocks_of_minutes_agree(both, model_files, speech_like):
    samples = speech_like(150, 5)
    expected = offline(model_files[0], samples)
    for detector in both:
        for sizes in ([], [1, 160 * 16001, 3], [16000 * 61]):
            np.testing.assert_allclose(in_chunks(detector, samples, sizes)[1], expected, atol=1e-4)


@pytest.mark.parametrize("sizes", [[], [1600] * 160, [1, 639, 641, 10_000, 1, 1, 52_345]])
def test_the_size_that_ships_agrees(base_files, speech_like, sizes):
    samples = speech_like(16, 6)
    expected = offline(base_files[0], samples)
    assert expected.std() > 0.01
    for path in base_files:
        np.testing.assert_allclose(in_chunks(Detector.load(path), samples, sizes)[1], expected, atol=1e-4)


def test_real_speech_agrees(base_files, shared):
    paths = sorted((shared / "wake-words" / "alexa").glob("*.opus"))[:6]
    samples = np.concatenate([read_audio(path) for path in paths])
    expected = offline(base_files[0], samples)
    for path in base_files:
        np.testing.assert_allclose(in_chunks(Detector.load(path), samples, [1024] * 60)[1], expected, atol=1e-4)


def test_a_score_is_known_with_its_last_sample(both, speech_like):
    samples = speech_like(1)
    for detector in both:
        detector.reset()
        assert len(detector.scores(samples[:639])[0]) == 0
        assert detector.scores(samples[639:640])[0].tolist() == pytest.approx([0.04])
        assert len(detector.scores(samples[640:640])[0]) == 0
        assert detector.scores(samples[640:1920])[0].tolist() == pytest.approx([0.08, 0.12])


@given(sizes=CHUNKS, seed=st.integers(0, 2))
@settings(max_examples=40)
def test_hits_are_the_alarms_of_the_metrics(both, several, speech_like, sizes, seed):
    """Of each phrase, at its own threshold, whatever the others do; all in order of time."""
    samples = speech_like(12, seed)
    for detector in [*both, *several]:
        time_s, score = in_chunks(detector, samples, [])
        before = detector.thresholds
        detector.thresholds = thresholds = [middling(column) for column in score.T]
        try:
            detector.reset()
            found, start = [], 0
            for size in [*sizes, len(samples)]:
                found += detector.process(samples[start : start + size])
                start = min(len(samples), start + size)
        finally:
            detector.thresholds = before
        assert [hit.time_s for hit in found] == sorted(hit.time_s for hit in found)
        for output, phrase in enumerate(detector.phrases):
            expected = alarms(time_s, score[:, output], thresholds[output], detector.refractory_s)
            assert len(expected) >= 2, "no alarm, nothing compared"
            assert [hit.time_s for hit in found if hit.phrase == phrase] == pytest.approx(expected.tolist())
        for hit in found:
            output = detector.phrases.index(hit.phrase)
            assert isinstance(hit, Hit) and type(hit.score) is float and hit.score >= thresholds[output]
            assert hit.score == pytest.approx(float(score[round(hit.time_s / 0.04) - 1, output]), abs=1e-4)


def test_reset_forgets_everything(both, speech_like):
    first, second = speech_like(3.01, 7), speech_like(2.37, 8)
    for detector in both:
        detector.reset()
        detector.thresholds = [1e-9]  # fires at once, and disarms
        hits = detector.process(first)
        scores = in_chunks(detector, first, [100])[1]
        detector.process(second)
        detector.reset()
        assert detector.process(first) == hits
        np.testing.assert_array_equal(in_chunks(detector, first, [100])[1], scores)
        detector.thresholds = [0.5]


@pytest.mark.parametrize("twins", [False, True])
def test_two_detectors_of_one_file_share_nothing(model_files, speech_like, twins):
    for path in model_files:
        one = Detector.load(path)
        one.scores(speech_like(1, 3))
        one, other = (one.twin(), one) if twins else (Detector.load(path), Detector.load(path))
        expected = in_chunks(Detector.load(path), speech_like(2, 1), [])[1]
        found = []
        for start in range(0, 32000, 1600):
            found.append(one.scores(speech_like(2, 1)[start : start + 1600])[1])
            other.scores(speech_like(2, 2)[start : start + 1600])
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


def test_a_twin_begins_afresh_with_the_same_thresholds_and_goes_its_own_way(several_files, speech_like):
    sound = speech_like(4, 1)
    one = Detector.load(several_files[1], threshold=0.7)
    expected = one.process(sound)
    twin = one.twin()
    assert expected and twin.process(sound) == expected
    twin.thresholds = [0.9, 0.8, 0.7]
    assert one.thresholds == (0.7, 0.7, 0.7) and twin.thresholds == (0.9, 0.8, 0.7)


def test_blocks_are_not_changed_or_kept(both, speech_like):
    samples = speech_like(2, 3)
    for detector in both:
        expected = in_chunks(detector, samples, [1111])[1]
        detector.reset()
        found = []
        for start in range(0, len(samples), 1000):
            block = samples[start : start + 1000].copy()
            before = block.copy()
            found.append(detector.scores(block)[1])
            np.testing.assert_array_equal(block, before)
            block[:] = 9  # the device writes the next block over it
        np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_sound_that_is_not_a_number_is_heard_as_zeros(both, speech_like, bad):
    samples = speech_like(3, 4)
    samples[8000:8200] = 0
    broken = samples.copy()
    broken[8000:8200] = bad
    for detector in both:
        expected, found = in_chunks(detector, samples, [])[1], in_chunks(detector, broken, [])[1]
        np.testing.assert_array_equal(found, expected)


def held_bytes(detector) -> int:
    """The bytes of all arrays that a detector holds, with what their views keep alive."""
    total = 0
    for value in vars(detector).values():
        while isinstance(value, np.ndarray) and value.base is not None and isinstance(value.base, np.ndarray):
            value = value.base
        total += value.nbytes if isinstance(value, np.ndarray) else 0
    return total


def resident_bytes() -> int | None:
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    except OSError:
        return None


def test_an_hour_takes_no_more_memory_than_a_minute(model_files, speech_like):
    detector = Detector.load(model_files[1])
    minute = speech_like(60, 9)

    def hear(minutes: int, block: int) -> None:
        for _ in range(minutes):
            for start in range(0, len(minute), block):
                detector.process(minute[start : start + block])

    hear(1, 777)
    hear(2, 8000)
    gc.collect()
    held, resident = held_bytes(detector), resident_bytes()
    tracemalloc.start()
    hear(1, 8000)
    before, _ = tracemalloc.get_traced_memory()
    hear(20, 8000)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    hear(36, 8000)
    time_s, _ = detector.scores(minute[:640])
    assert time_s[0] == pytest.approx(3600 + 0.04, abs=1e-6), "the clock drifted"
    # One number kept for each of the 9600 blocks would be 230 kB; the interpreter's free lists fluctuate below.
    assert after - before < 150_000
    assert held_bytes(detector) <= held + 50_000 and held_bytes(detector) < 200_000
    if resident is not None:
        assert resident_bytes() - resident < 8_000_000


def test_what_the_file_says_is_at_hand(both, model_files, wake_meta):
    for detector, path in zip(both, model_files, strict=True):
        assert (detector.phrases, detector.thresholds, detector.refractory_s) == (("hello",), (0.5,), 1.0)
        assert {key: detector.info[key] for key in wake_meta()} == wake_meta()
        assert Detector.load(path, threshold=1.0).thresholds == (1.0,)
        assert Detector.load(str(path), threshold=0.9).thresholds == (0.9,)


@pytest.mark.parametrize("threshold", [5, 0, 0.0, -1.0, 1.0000001, float("nan"), float("inf"), "0.5", True, [0.5]])
def test_a_threshold_is_above_0_and_at_most_1(model_files, threshold):
    detector = Detector.load(model_files[1])
    for give in (
        lambda: Detector.load(model_files[1], threshold=threshold),
        lambda: Detector(detector._step, detector._zero_state, detector.info, threshold),
        lambda: setattr(detector, "thresholds", [threshold]),
    ):
        with pytest.raises(ConfigError, match="must be a number above 0 and at most 1") as caught:
            give()
        assert "\n" not in str(caught.value)
    assert detector.thresholds == (0.5,)
    detector.thresholds = [np.float32(0.25)]
    assert detector.thresholds == (0.25,)


def test_each_phrase_has_its_threshold(several_files):
    for path in several_files:
        detector = Detector.load(path, threshold=0.75)
        assert (detector.phrases, detector.thresholds) == (("one", "two", "three"), (0.75, 0.75, 0.75))
        detector.thresholds = np.array([0.25, 0.5, 1.0])
        assert detector.thresholds == (0.25, 0.5, 1.0)
        for wrong in (0.5, [], [0.5], [0.5, 0.5], [0.5] * 4, [0.5, 0.5, 0.0], [0.5, 0.5, "0.5"], None, "0.5"):
            with pytest.raises(ConfigError, match="threshold") as caught:
                detector.thresholds = wrong
            assert "\n" not in str(caught.value) and detector.thresholds == (0.25, 0.5, 1.0)


def test_sensitivity_moves_each_phrase_along_its_own_curve(curved_files):
    for path in curved_files:
        calibrated = Detector.load(path)
        assert calibrated.thresholds == (0.9, 0.8, 0.6) == Detector.load(path, sensitivity=0.5).thresholds
        assert Detector.load(path, sensitivity=0).thresholds == (0.95, 0.99, 0.7)
        assert Detector.load(path, sensitivity=np.float32(1)).thresholds == (0.5, 0.6, 0.1)
        # A quarter above the middle is half of a decade, and so half way between the logits.
        assert Detector.load(path, sensitivity=0.75).thresholds[0] == pytest.approx(0.75)
        before = calibrated.thresholds
        found = np.array([calibrated.thresholds_at(sensitivity=s) for s in np.linspace(0, 1, 21)])
        assert np.all(np.diff(found, axis=0) < 0) and calibrated.thresholds == before
        calibrated.thresholds = [*calibrated.thresholds_at(1.0)[:1], *before[1:]]
        assert calibrated.thresholds == (0.5, 0.8, 0.6)


def test_a_budget_is_asked_for_directly(curved_files):
    for path in curved_files:
        assert Detector.load(path, budget="1 per 2 h").thresholds == pytest.approx((0.9, 0.6, 0.6618), abs=1e-4)
        assert Detector.load(path, budget=0.5).thresholds == Detector.load(path, budget="0.5/h").thresholds
        with pytest.raises(ConfigError, match="curve goes from 1 per 20 h to 5 per h.*'wakeword calibrate'"):
            Detector.load(path, budget="1 per week")
        with pytest.raises(WakewordError, match="'often' is not understood"):
            Detector.load(path, budget="often")


@pytest.mark.parametrize("sensitivity", [-0.1, 1.1, 50, float("nan"), "0.5", True, [0.5] * 3])
def test_a_sensitivity_is_a_number_from_0_to_1(curved_files, sensitivity):
    for path in curved_files:
        with pytest.raises(ConfigError, match="must be a number from 0 to 1"):
            Detector.load(path, sensitivity=sensitivity)


def test_a_threshold_a_sensitivity_and_a_budget_exclude_each_other(curved_files):
    for two in (dict(threshold=0.5, sensitivity=0.5), dict(sensitivity=0.5, budget=1), dict(threshold=0.5, budget=1)):
        with pytest.raises(ConfigError, match="not several of them"):
            Detector.load(curved_files[1], **two)
    for wrong in (dict(), dict(sensitivity=0.5, budget=1)):
        with pytest.raises(ConfigError, match="a sensitivity or a budget"):
            Detector.load(curved_files[1]).thresholds_at(**wrong)


def test_a_model_without_a_curve_says_how_to_get_one(several_files, small_model, wake_meta, calibrated_entry, tmp_path):
    """Those of before curves load as ever, and so does one that was calibrated then."""
    old = {"threshold": 0.75, "fa_per_hour_budget": 0.5, "fa_per_hour_observed": 0.2, "interval": [0.0, 1.0]}
    entries = [calibrated_entry("one", 0.5, (0.9, 0.8, 0.7)), {"phrase": "two", "threshold": 0.75, "calibration": old}]
    save_wakeword(tmp_path / "m.wakeword", small_model(1, HeadSizes(outputs=2)), wake_meta(phrases=entries))
    assert Detector.load(tmp_path / "m.wakeword").thresholds == (0.8, 0.75)
    for path, missing in ((tmp_path / "m.wakeword", "'two'"), *((p, "'one', 'two', 'three'") for p in several_files)):
        assert Detector.load(path, threshold=0.25).thresholds[0] == 0.25
        for wanted in (dict(sensitivity=0.7), dict(budget="0.5/h")):
            with pytest.raises(ModelError) as caught:
                Detector.load(path, **wanted)
            told = str(caught.value)
            assert told.startswith(f"{path}: no curve") and f"for {missing}: run 'wakeword calibrate'" in told
            assert "\n" not in told


def test_a_phrase_is_asked_for_by_name_where_there_are_several():
    assert output_of(None, ("one",)) == output_of("one", ("one",)) == 0
    assert output_of("two", ("one", "two")) == 1
    for wanted, phrases in ((None, ("one", "two")), ("three", ("one", "two")), ("two", ("one",)), ("", ("one", "two"))):
        with pytest.raises(WakewordError, match="listens for 'one'.*"):
            output_of(wanted, phrases)


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.int64, bool, object])
def test_integers_are_refused_and_not_taken_for_loud_sound(both, speech_like, kind):
    samples = (speech_like(1, 1) * 100).astype(kind)
    for detector in both:
        for hear in (detector.scores, detector.process):
            with pytest.raises(AudioError, match=r"float32 in \[-1, 1\].* 32768") as caught:
                hear(samples)
            assert "\n" not in str(caught.value)


def test_other_floats_are_converted_and_other_shapes_refused(both, speech_like):
    samples = speech_like(2, 1)
    for detector in both:
        expected = in_chunks(detector, samples, [700])[1]
        detector.reset()
        np.testing.assert_array_equal(in_chunks(detector, samples.astype(np.float64), [700])[1], expected)
        for shape in ((-1, 1), (2, -1), (1, 2, -1)):
            with pytest.raises(AudioError, match="one channel"):
                detector.scores(samples.reshape(shape))
        with pytest.raises(AudioError, match="one channel"):
            detector.process(samples[0])


@given(data=st.data())
@settings(max_examples=60)
def test_an_exported_file_cut_anywhere_is_a_model_error(model_files, tmp_path_factory, data):
    content = model_files[1].read_bytes()
    cut = data.draw(st.one_of(st.integers(0, 200), st.integers(0, len(content) - 1)))
    path = tmp_path_factory.mktemp("cut") / "m.onnx"
    path.write_bytes(content[:cut])
    with pytest.raises(ModelError, match="m.onnx") as caught:
        Detector.load(path)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["m.onnx", "m.wakeword", "m"])
def test_places_without_a_model_are_model_errors(tmp_path, name):
    (tmp_path / "plain").write_bytes(b"plain")
    (tmp_path / "folder" / name).mkdir(parents=True)
    (tmp_path / name).write_bytes(b"RIFF....WAVEfmt ")
    places = [tmp_path / name, tmp_path / "none" / name, tmp_path / "folder" / name, tmp_path / "plain" / name]
    for path in [*places, "x" * 300 + name, "a\0" + name]:
        with pytest.raises(ModelError) as caught:
            Detector.load(path)
        assert len(str(caught.value).splitlines()) == 1


def test_an_acoustic_model_is_no_detector(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, "acoustic", {})
    with pytest.raises(ModelError, match="'acoustic', 'wakeword' is wanted"):
        Detector.load(tmp_path / "a.safetensors")


BROKEN_META = [
    {"phrases": None},
    {"phrases": []},
    {"phrases": {"phrase": "hello", "threshold": 0.5}},
    {"phrases": ["hello"]},
    {"phrases": [{"phrase": None, "threshold": 0.5}]},
    {"phrases": [{"phrase": "hello"}]},
    {"phrases": [{"threshold": 0.5}]},
    {"phrases": [{"phrase": "hello", "threshold": 0.5}] * 2},
    {"phrases": [{"phrase": "hel\x1b[2Jlo", "threshold": 0.5}]},
    {"phrases": [{"phrase": "hello\u2028", "threshold": 0.5}]},
    {"phrases": [{"phrase": "hello", "threshold": "high"}]},
    {"phrases": [{"phrase": "hello", "threshold": None}]},
    {"phrases": [{"phrase": "hello", "threshold": 5.0}]},
    {"phrases": [{"phrase": "hello", "threshold": 0}]},
    {"phrases": [{"phrase": "hello", "threshold": 0.5, "calibration": 3}]},
    {"phrases": [{"phrase": "hello", "threshold": 0.5, "calibration": {"curve": 3}}]},
    {"phrases": [{"phrase": "hello", "threshold": 0.5, "calibration": {"curve": [[0.1, 0.9]]}}]},
    {"phrases": [{"phrase": "hello", "threshold": 0.5, "calibration": {"fa_per_hour_budget": 1.0, "curve": [{}]}}]},
    {"smoothing_frames": 0},
    {"smoothing_frames": "3"},
    {"refractory_s": None},
    {"refractory_s": "1"},
    {"features": None},
    {"features": {"mel": 3}},
    {"features": {"mels": "16"}},
]


@pytest.mark.parametrize("change", BROKEN_META, ids=json.dumps)
def test_a_description_that_cannot_be_used_is_a_model_error(tmp_path, small_model, wake_meta, change):
    path = tmp_path / "odd.wakeword"
    for meta in (wake_meta(**change), {k: v for k, v in wake_meta().items() if k not in change}):
        save_wakeword(path, small_model(), meta)
        with pytest.raises(ModelError, match="odd.wakeword") as caught:
            Detector.load(path)
        assert len(str(caught.value).splitlines()) == 1


def test_a_description_that_says_more_is_read(tmp_path, small_model, wake_meta):
    entry = {"phrase": "hello", "threshold": 0.25, "calibration": None, "curve": [[0.1, 0.9]]}
    save_wakeword(tmp_path / "m.wakeword", small_model(), wake_meta(phrases=[entry], more=True))
    assert Detector.load(tmp_path / "m.wakeword").thresholds == (0.25,)
