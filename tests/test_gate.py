"""The gate: when it opens, that nothing which follows is other than without it, and what it spares."""

from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")  # the models below are made with it
pytest.importorskip("onnx")

from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector import gate  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.detector.gate import gate_of  # noqa: E402
from wakeword.detector.together import load_together  # noqa: E402
from wakeword.errors import ModelError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import load_wakeword  # noqa: E402
from wakeword.model.checkpoint import rewrite_onnx_meta  # noqa: E402

CHUNKS = st.lists(
    st.one_of(st.just(1), st.integers(0, 700), st.sampled_from([160, 640, 1280, 16000]), st.integers(0, 90_000)),
    max_size=60,
)


def room(seconds: float, dbfs: float, tilt: float = -0.5, seed: int = 0) -> np.ndarray:
    """Steady noise float32 `[samples]` whose amplitude falls with the frequency to the power of `tilt`."""
    count = round(seconds * 16000)
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    noise = np.fft.irfft(spectrum * np.maximum(np.fft.rfftfreq(count, 1 / 16000), 30) ** tilt, count)
    return (noise * 10 ** (dbfs / 20) / np.sqrt(np.mean(noise**2))).astype(np.float32)


def opened(samples: np.ndarray, settings: FeatureSettings | None = None) -> np.ndarray:
    settings = settings or FeatureSettings()
    decide, zero = gate_of(settings)
    frames = extract(samples, settings)
    return np.array(decide(frames[: len(frames) // 4 * 4], zero)[0])


def with_pauses(speech_like, seed: int) -> np.ndarray:
    """Two loud stretches in a quiet room, 7 s apart: far more than a small model remembers."""
    samples = room(16, -65, seed=seed)
    for start_s, seconds in ((5.0, 0.7), (12.5, 1.1)):
        at = round(start_s * 16000)
        loud = speech_like(seconds, seed)
        samples[at : at + len(loud)] += loud
    return samples


@pytest.mark.parametrize("dbfs", [-90, -60, -40, -15])
@pytest.mark.parametrize("tilt", [0, -0.5, -1])
def test_steady_noise_of_any_level_leaves_it_shut(dbfs, tilt):
    found = opened(room(30, dbfs, tilt, seed=round(tilt * 2 - dbfs)))
    assert found[: round(gate.START_S / 0.04)].all() and found[100:].mean() < 0.02


@pytest.mark.parametrize("snr_db", [6, 10, 30])
def test_a_sound_above_the_noise_opens_it_until_a_while_after(speech_like, snr_db):
    samples, sound = room(12, -45), speech_like(0.8, 5)
    sound *= 10 ** ((snr_db - 45) / 20) / np.sqrt(np.mean(sound**2))
    samples[16000 * 8 : 16000 * 8 + len(sound)] += sound
    found = np.flatnonzero(opened(samples)[100:]) * 0.04 + 4.0
    assert 7.9 < found[0] < 8.35 and 8.8 + gate.HOLD_S - 0.7 < found[-1] < 8.9 + gate.HOLD_S + 0.3
    assert (np.diff(found) < 0.05).all()


def test_noise_that_grows_opens_it_until_the_floor_has_followed():
    found = opened(np.concatenate([room(10, -60), room(60, -48)]))[100:]
    shut_s = 4.0 + 0.04 * np.flatnonzero(found)[-1]
    assert not found[:140].any() and found[160:500].all()
    assert 10 + 9 / gate.RISE_DB_PER_S < shut_s < 10 + 16 / gate.RISE_DB_PER_S


def test_speech_does_not_draw_the_floor_up(shared):
    """Two minutes of one reader: the gate is open nearly always, at the end as at the beginning."""
    from wakeword.audio.waveform import read_audio

    paths = sorted((shared / "LibriSpeech").rglob("*.opus"))[:10]
    found = opened(np.concatenate([read_audio(path) for path in paths]))
    assert len(found) > 25 * 60 and found[: len(found) // 2].mean() > 0.95 and found[len(found) // 2 :].mean() > 0.95


def heard(detector, samples, sizes=()) -> tuple[np.ndarray, np.ndarray, list]:
    """Times, scores and hits, of blocks of these sizes and the rest."""
    detector.reset()
    found, hits, start = [], [], 0
    for size in [*sizes, len(samples)]:
        time_s, score = detector.scores(samples[start : start + size])
        found.append((time_s, score))
        hits += [(hit.phrase, hit.time_s) for hit in detector.hits_in(time_s, score)]
        start = min(len(samples), start + size)
    return np.concatenate([time_s for time_s, _ in found]), np.concatenate([score for _, score in found]), hits


@pytest.fixture(scope="module")
def pairs(several_files):
    """The same model of three phrases by torch and by ONNX Runtime: without a gate and with."""
    return [(Detector.load(path, 0.6), Detector.load(path, 0.6, gate=True)) for path in several_files]


@given(sizes=CHUNKS, seed=st.integers(0, 3))
@example(sizes=[1] * 6000, seed=0)
@example(sizes=[1280] * 200, seed=1)
@settings(max_examples=8)
def test_in_any_chunks_an_open_gate_gives_the_scores_of_none_and_a_shut_one_zero(pairs, speech_like, sizes, seed):
    samples = with_pauses(speech_like, seed)
    is_open = opened(samples, FeatureSettings(mels=16))
    # The average of three frames: for two after the gate moved it holds posteriors of both sides.
    inside, outside = (np.convolve(np.pad(each, (2, 0)), np.ones(3), mode="valid") == 3 for each in (is_open, ~is_open))
    assert 0.2 < inside.mean() < 0.7 and outside.mean() > 0.2
    for plain, gated in pairs:
        time_s, score, hits = heard(gated, samples, sizes)
        expected = heard(plain, samples)
        assert score.shape == expected[1].shape and expected[1][inside].std() > 0.05
        np.testing.assert_array_equal(time_s, expected[0])
        np.testing.assert_allclose(score[inside], expected[1][inside], atol=1e-4)
        assert not score[outside].any()
        assert hits == heard(gated, samples)[2] and len(hits) > 2
        assert gated.gate_open == pytest.approx(is_open.mean()) and plain.gate_open is None


def test_the_model_runs_only_while_it_is_open_and_hears_what_led_up_to_it(model_files, speech_like):
    samples, given = with_pauses(speech_like, 0), []
    plain = Detector.load(model_files[1])
    step = plain._step
    plain._step = lambda frames, state: given.append((frames.shape[1] // 4, not state.any())) or step(frames, state)
    plain.take_gate(*gate_of(plain.feature_settings))
    is_open = opened(samples, plain.feature_settings)
    heard(plain, samples, [1280] * 200)
    openings = np.flatnonzero(np.diff(is_open.astype(int)) == 1)
    assert len(openings) == 2
    # Blocks of two frames; at each opening the memory once more, from the zero state.
    assert sum(frames for frames, _ in given) == is_open.sum() + 2 * plain.memory_frames
    assert [zero for frames, zero in given if frames > 2] == [True, True]


def test_a_short_pause_is_made_up_for_from_where_it_stopped(model_files, speech_like):
    """Shut for less than the model remembers: no frame is given twice."""
    given, shut = [], {10, 11, 12, 20}
    detector = Detector.load(model_files[1])
    step, expected = detector._step, heard(detector, speech_like(2, 1))[1]
    detector._step = lambda frames, state: given.append(frames.shape[1] // 4) or step(frames, state)

    def decide(frames, count):
        after = count + len(frames) // 4
        return [frame not in shut for frame in range(count, after)], after

    detector.take_gate(decide, 0)
    score = heard(detector, speech_like(2, 1), [700] * 50)[1]
    assert sum(given) == 50 and max(given) == 4
    same = np.array([not shut & {frame, frame - 1, frame - 2} for frame in range(50)])
    np.testing.assert_allclose(score[same], expected[same], atol=1e-5)


def test_memory_is_what_a_posterior_depends_on(several_files):
    model, _ = load_wakeword(several_files[0])
    frames = model.encoder.stack.memory_frames() + model.head.memory_frames
    assert [Detector.load(path).memory_frames for path in several_files] == [frames, frames]


def test_several_models_share_one_gate_and_their_encoder(tmp_path, small_model, wake_meta, speech_like, monkeypatch):
    from wakeword.export import export_onnx
    from wakeword.head.transfer import save_wakeword

    encoder, paths = small_model(0).encoder.state_dict(), []
    for depth in (1, 4):
        model = small_model(depth, HeadSizes(depth=depth, channels=8))
        model.encoder.load_state_dict(encoder)
        save_wakeword(tmp_path / f"{depth}.wakeword", model, wake_meta())
        export_onnx(tmp_path / f"{depth}.wakeword", tmp_path / f"{depth}.onnx")
        paths.append(tmp_path / f"{depth}.onnx")
    samples, decided, step = with_pauses(speech_like, 2), [], gate.step
    alone = [heard(Detector.load(path, gate=True), samples, [1280] * 200)[1] for path in paths]
    monkeypatch.setattr(gate, "step", lambda *given, **named: decided.append(1) or step(*given, **named))
    detectors, runs = load_together(paths, gate=True), []
    encoder, inner = detectors[0].encoder, detectors[0].encoder._step
    assert encoder is detectors[1].encoder
    encoder._step = lambda frames, state: runs.append(frames.shape[1] // 4) or inner(frames, state)
    found = [[], []]
    for start in range(0, len(samples), 1280):
        for scores, detector in zip(found, detectors, strict=True):
            scores.append(detector.scores(samples[start : start + 1280])[1])
    for scores, expected in zip(found, alone, strict=True):
        assert expected.std() > 0.01
        np.testing.assert_allclose(np.concatenate(scores), expected, atol=1e-5)
    assert len(decided) == 200, "the gate decided for each model"
    is_open = opened(samples, detectors[0].feature_settings)
    assert sum(runs) == is_open.sum() + 2 * max(map(frames_of, paths)), "the encoder ran for each model"


def frames_of(path) -> int:
    return Detector.load(path).memory_frames


def test_it_rests_while_the_gate_is_shut_and_not_without_one(pairs, speech_like):
    samples = with_pauses(speech_like, 1)
    is_open = opened(samples, FeatureSettings(mels=16))
    for plain, gated in pairs:
        plain.reset(), gated.reset()
        assert not gated.resting
        found = []
        for start in range(0, len(samples), 640):
            gated.scores(samples[start : start + 640])
            found.append(gated.resting)
            plain.scores(samples[start : start + 640])
            assert not plain.resting
        np.testing.assert_array_equal(found, ~is_open)
        gated.scores(samples[:100])
        assert gated.resting == found[-1], "less than a frame changes nothing"
        gated.reset()
        assert not gated.resting


def test_twins_of_a_gated_detector_hear_streams_of_their_own(model_files, speech_like):
    one = Detector.load(model_files[1], gate=True)
    other = one.twin()
    samples = with_pauses(speech_like, 3)
    expected = heard(one, samples)[1]
    other.scores(samples[: 16000 * 5]), one.reset(), one.scores(samples[: 16000 * 6])
    np.testing.assert_allclose(heard(other, samples)[1], expected, atol=1e-6)


def test_listen_with_a_gate_gives_the_same_hits_and_says_how_long_it_was_open(
    several_files, speech_like, tmp_path, capsys
):
    samples, said = with_pauses(speech_like, 0), []
    write_wav(tmp_path / "a.wav", samples)
    for options in ([], ["--gate"]):
        command = ["listen", str(several_files[1]), "--file", str(tmp_path / "a.wav"), "--threshold", "0.6", *options]
        assert main(command) == 0
        said.append(capsys.readouterr())
    share = opened(samples, FeatureSettings(mels=16)).mean()
    assert f"overrun(s); the gate was open for {share:.0%} of the last stream" in said[1].err
    assert "gate" not in said[0].err
    hits = heard(Detector.load(several_files[1], 0.6, gate=True), samples)[2]
    told = [(line.split()[2], float(line.split()[0])) for line in said[1].out.splitlines()]
    assert told == [(phrase, pytest.approx(time_s, abs=0.006)) for phrase, time_s in hits]
    assert len(hits) > 2 and said[0].out == said[1].out


def test_listen_says_for_each_gate_how_long_it_was_open(
    tmp_path, small_model, wake_meta, model_files, several_files, speech_like, capsys
):
    """Models of other features have a gate of their own, which hears the room otherwise."""
    from wakeword.export import export_onnx
    from wakeword.head.transfer import save_wakeword

    deaf = FeatureSettings(mels=16, floor=0.1)
    save_wakeword(tmp_path / "deaf.wakeword", small_model(), wake_meta(features=dataclasses.asdict(deaf)))
    export_onnx(tmp_path / "deaf.wakeword", tmp_path / "deaf.onnx")
    samples = with_pauses(speech_like, 0)
    write_wav(tmp_path / "a.wav", samples)
    models = [str(model_files[1]), str(several_files[1]), str(tmp_path / "deaf.onnx")]
    assert main(["listen", *models, "--gate", "--file", str(tmp_path / "a.wav")]) == 0
    share, deaf_share = (opened(samples, each).mean() for each in (FeatureSettings(mels=16), deaf))
    assert f"{share:.0%}" != f"{deaf_share:.0%}"
    told = f"the gate was open for {share:.0%} (small.onnx, several.onnx) and {deaf_share:.0%} (deaf.onnx) of the"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"sizes": None}, "export it again"),
        (
            {"features": dataclasses.asdict(FeatureSettings(front_end="micro", window=480, mels=40))},
            "run it without one",
        ),
    ],
)
def test_a_model_that_cannot_have_a_gate_is_refused_and_named(model_files, tmp_path, changes, told):
    path = tmp_path / "old.onnx"
    path.write_bytes(model_files[1].read_bytes())
    rewrite_onnx_meta(path, changes)
    assert Detector.load(path) and len(load_together([model_files[1], path])) == 2
    for load in (
        partial(Detector.load, path),
        partial(load_together, [path]),
        partial(load_together, [model_files[1], path]),
    ):
        with pytest.raises(ModelError, match=rf"old\.onnx: .*{told}"):
            load(gate=True)
