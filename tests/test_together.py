"""Several models on one stream: each as if it were alone, and the common work done once."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from wakeword import Detector  # noqa: E402
from wakeword.acoustic.encoder import Stack  # noqa: E402
from wakeword.detector import together  # noqa: E402
from wakeword.detector.together import Once, encoders, load_together  # noqa: E402
from wakeword.export import export_onnx  # noqa: E402
from wakeword.features import log_mel  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import save_wakeword  # noqa: E402
from wakeword.model.checkpoint import read_meta, rewrite_meta, rewrite_onnx_meta  # noqa: E402
from wakeword.model.halves import halves_of  # noqa: E402
from wakeword.model.runtimes import load_onnx  # noqa: E402

HEADS = {
    "deep": HeadSizes(depth=3, channels=8),
    "wide": HeadSizes(depth=4, channels=12, outputs=2),
    "narrow": HeadSizes(depth=1, channels=6),
    "bare": HeadSizes(depth=0),
}


@pytest.fixture(scope="module")
def family(tmp_path_factory, small_model, wake_meta):
    """Files by name: heads of all kinds over one encoder, `tuned` over one whose top block differs in one weight."""
    folder = tmp_path_factory.mktemp("family")
    encoder = small_model(0).encoder.state_dict()
    made = {}

    def keep(name, model, meta):
        save_wakeword(folder / f"{name}.wakeword", model, meta)
        export_onnx(folder / f"{name}.wakeword", folder / f"{name}.onnx")
        made[name] = {suffix: folder / f"{name}.{suffix}" for suffix in ("wakeword", "onnx")}

    for seed, (name, head) in enumerate(HEADS.items()):
        model = small_model(seed + 10, head)
        model.encoder.load_state_dict(encoder)
        keep(name, model, wake_meta(said=tuple(f"{name} {index}" for index in range(head.outputs))))
    model = small_model(20)
    model.encoder.load_state_dict(encoder)
    model.encoder.stack.blocks[-1].linear.weight.data[0, 0] += 1e-3
    keep("tuned", model, wake_meta(said=("tuned",)))
    fine = dataclasses.asdict(FeatureSettings(mels=16, hop=80))
    keep("fine", small_model(10, HEADS["deep"]), wake_meta(said=("fine",), features=fine))
    return made


def streamed(detectors, samples, block=1280):
    """The scores of each detector, all fed block by block in turn."""
    found = [[] for _ in detectors]
    for start in range(0, len(samples), block):
        for scores, detector in zip(found, detectors, strict=True):
            scores.append(detector.scores(samples[start : start + block])[1])
    return [np.concatenate(scores) for scores in found]


@pytest.mark.parametrize("suffix", ["wakeword", "onnx"])
@pytest.mark.parametrize("block", [1280, 777])
def test_each_model_scores_as_if_alone_and_the_common_parts_run_once(family, speech_like, suffix, block, monkeypatch):
    names = ["deep", "tuned", "wide", "narrow", "bare", "fine"]
    paths = [family[name][suffix] for name in names]
    samples = speech_like(4, 2)
    alone = [streamed([Detector.load(path)], samples, block)[0] for path in paths]
    computed, step = [], log_mel.step
    monkeypatch.setattr(
        log_mel, "step", lambda x, state, settings: computed.append(settings) or step(x, state, settings)
    )
    detectors = load_together(paths)
    runs, once = [], {id(each.encoder): each.encoder for each in detectors if each.encoder}
    for each in once.values():
        inner = each._step
        each._step = lambda x, state, inner=inner: runs.append(1) or inner(x, state)
    for one, other in zip(streamed(detectors, samples, block), alone, strict=True):
        assert one.std() > 0.01
        np.testing.assert_allclose(one, other, atol=1e-5)
    blocks = -(-len(samples) // block)
    assert len(computed) == 2 * blocks, "once for each feature setting"
    assert len(once) == 1 and len(runs) <= blocks, "the encoder ran for each model"
    assert [each.encoder is not None for each in detectors] == [True, False, True, True, True, False]
    assert encoders(detectors) == 3


def test_trained_models_step_on_one_thread_and_leave_torch_as_it_was(family, speech_like, monkeypatch):
    threads, forward = [], Stack.forward

    def counted(*given):
        threads.append(torch.get_num_threads())
        return forward(*given)

    monkeypatch.setattr(Stack, "forward", counted)
    alone = [Detector.load(family["deep"]["wakeword"])]
    sharing = load_together([family["deep"]["wakeword"], family["wide"]["wakeword"]])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        for detectors in (alone, sharing):
            streamed(detectors, speech_like(1, 1))
            assert set(threads) == {1} and torch.get_num_threads() == 3
            threads.clear()
    finally:
        torch.set_num_threads(before)


def test_the_key_tells_encoders_apart_and_not_heads(family):
    for suffix in ("wakeword", "onnx"):
        keys = {name: halves_of(paths[suffix]).key for name, paths in family.items()}
        assert len({keys[name] for name in HEADS}) == 1
        assert len({keys["deep"], keys["tuned"], keys["fine"]}) == 3
    assert halves_of(family["deep"]["onnx"]).key != halves_of(family["deep"]["wakeword"]).key


def test_a_file_of_before_a_setting_has_the_same_key(family, tmp_path):
    for suffix, rewrite in (("wakeword", rewrite_meta), ("onnx", rewrite_onnx_meta)):
        path = tmp_path / f"older.{suffix}"
        shutil.copy(family["deep"][suffix], path)
        meta = load_onnx(path)[2] if suffix == "onnx" else read_meta(path)
        del meta["features"]["front_end"]
        rewrite(path, {"features": meta["features"]})
        assert halves_of(path).key == halves_of(family["deep"][suffix]).key


def test_trained_and_exported_files_listen_together(family, speech_like):
    paths = [family["deep"]["wakeword"], family["deep"]["onnx"]]
    one, other = streamed(load_together(paths), speech_like(3, 1))
    np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_reset_or_another_block_is_not_answered_from_memory(family, speech_like):
    """A buffer that is written over, a detector alone reset, detectors that hear different things."""
    paths = [family["deep"]["onnx"], family["wide"]["onnx"]]
    first, second = load_together(paths)
    alone = Detector.load(paths[0]), Detector.load(paths[1])
    sound, noise = speech_like(2, 3), speech_like(2, 4)
    buffer = np.zeros(16000, np.float32)
    for detectors in ((first, alone[0]), (second, alone[1])):
        for content in (sound, noise):
            buffer[:] = content[:16000]
            expected, found = (each.scores(buffer)[1] for each in detectors[::-1])
            np.testing.assert_allclose(found, expected, atol=1e-5)
            for each in detectors:
                each.reset()
    first.scores(sound), second.scores(sound)
    first.reset()
    alone[0].reset(), alone[1].reset(), alone[1].scores(sound)
    np.testing.assert_allclose(first.scores(noise)[1], alone[0].scores(noise)[1], atol=1e-5)
    np.testing.assert_allclose(second.scores(noise)[1], alone[1].scores(noise)[1], atol=1e-5)


def test_once_computes_again_for_any_other_input_or_state():
    calls = []
    once = Once(lambda x, state: calls.append(1) or (x + 1, state))
    x, state = np.zeros(3, np.float32), np.zeros(2)
    once(x, state), once(x.copy(), state)
    assert len(calls) == 1
    once(x, state.copy()), once(x[:2], state)
    x[0] = 1
    assert once(x, state)[0][0] == 2 and len(calls) == 4


def test_one_model_alone_is_left_as_it_is(family):
    (detector,) = load_together([family["deep"]["onnx"]], threshold=0.3)
    assert detector.encoder is None and detector.thresholds == (0.3,) and together.encoders([detector]) == 1
