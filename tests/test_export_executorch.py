"""The ExecuTorch export: against the float model in any blocks, what the program is made of, its file, refusals."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
absent = "NO EXECUTORCH: pip install 'wakeword[executorch]', these tests did not run"
pytest.importorskip("executorch.runtime", reason=absent)

from documented import program  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import ModelError  # noqa: E402
from wakeword.export import executorch_writer  # noqa: E402
from wakeword.export.executorch_writer import export_executorch  # noqa: E402
from wakeword.export.onnx_graph import compare  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import load_wakeword, save_wakeword, stacked  # noqa: E402
from wakeword.model.checkpoint import shipped  # noqa: E402
from wakeword.model.pte import load_pte, packed, read_pte  # noqa: E402
from wakeword.model.runtimes import rewrite_model_meta  # noqa: E402


@pytest.fixture(scope="module")
def file(tmp_path_factory, several_files) -> Path:
    """A model of three phrases, exported by the command."""
    path = tmp_path_factory.mktemp("executorch") / "m.pte"
    assert main(["export", str(several_files[0]), "--format", "executorch", "--output", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def other(tmp_path_factory, small_model, wake_meta) -> Path:
    """A trained model of the same sizes that `file` was not made of."""
    path = tmp_path_factory.mktemp("other") / "m.wakeword"
    save_wakeword(path, small_model(9, HeadSizes(depth=3, channels=8, outputs=3)), wake_meta(said=("a", "b", "c")))
    return path


def blocks_of(samples: np.ndarray, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.split(samples, np.cumsum(rng.integers(1, 3000, len(samples) // 1500)).clip(max=len(samples)))


def heard_alike(trained: Path, exported: Path, samples: np.ndarray) -> int:
    """Compares scores and hits of both, the exported model fed in blocks of three kinds; how many hits there were."""
    reference, detector = Detector.load(trained), Detector.load(exported)
    expected = reference.scores(samples)[1]
    assert np.ptp(expected) > 0.1, "nothing to compare"
    middle = np.quantile(expected, 0.9, axis=0)
    for blocks in (blocks_of(samples, 1), np.split(samples, range(640, len(samples), 640)), [samples]):
        detector.reset()
        found = np.concatenate([detector.scores(block)[1] for block in blocks])
        np.testing.assert_allclose(found, expected, atol=1e-4)
    for each in (reference, detector):
        each.reset()
        each.thresholds = middle
    hits = reference.process(samples)
    found = [hit for block in blocks_of(samples, 2) for hit in detector.process(block)]
    assert [(hit.phrase, hit.time_s) for hit in found] == [(hit.phrase, hit.time_s) for hit in hits]
    return len(hits)


def test_scores_and_hits_are_the_models_in_any_blocks(file, several_files, speech_like):
    noise = 0.1 * np.random.default_rng(3).standard_normal(16000 * 4).astype(np.float32)
    assert heard_alike(several_files[0], file, np.concatenate([speech_like(8, 7), noise])) > 1


@pytest.mark.parametrize(
    "head", [HeadSizes(depth=0, outputs=2), HeadSizes(depth=3, channels=6, separable=True, kernel=4)]
)
def test_heads_of_other_kinds_are_the_model_step_by_step(tmp_path, small_model, wake_meta, head):
    save_wakeword(tmp_path / "m.wakeword", small_model(1, head), wake_meta(said=("one", "two")[: head.outputs]))
    assert export_executorch(tmp_path / "m.wakeword", tmp_path / "m.pte") < 1e-5
    assert compare(small_model(2, head), tmp_path / "m.pte", blocks=3) > 1e-2  # it finds another model


def test_the_shipped_base_encoder(tmp_path, wake_meta, speech_like):
    torch.manual_seed(0)
    model, _ = stacked(shipped("base"), HeadSizes())
    model.eval()
    with torch.no_grad():
        model.head.output.weight.mul_(10)
        model.head.output.bias.zero_()
    save_wakeword(tmp_path / "m.wakeword", model, wake_meta(mels=48))
    export_executorch(tmp_path / "m.wakeword", tmp_path / "m.pte")
    assert heard_alike(tmp_path / "m.wakeword", tmp_path / "m.pte", speech_like(4, 7)) > 0


def test_all_is_the_delegates(file):
    """One call of the delegate and no other operator: a device needs none of ExecuTorch's own kernels."""
    from executorch.exir._serialize._program import deserialize_pte_binary

    read = deserialize_pte_binary(read_pte(file)[0])
    plan = getattr(read, "program", read).execution_plan[0]
    assert [each.id for each in plan.delegates] == ["XnnpackBackend"] and not plan.operators


def test_description_is_inside_and_changed_in_place(file, several_files, tmp_path, speech_like):
    path = tmp_path / "m.pte"
    shutil.copy(file, path)
    _, meta = load_wakeword(several_files[0])
    program, description = read_pte(path)
    _, state, _ = load_pte(path)
    shapes = [each["shape"] for each in description["inputs"]]
    assert description["wakeword"] == meta and shapes == [[1, 64], *([*each.shape] for each in state)]
    assert [each["name"] for each in description["inputs"][:3]] == ["features", "state_0", "state_1"]
    before = Detector.load(path).scores(speech_like(3))[1]
    entries = [{**entry, "threshold": 0.25, "note": "é" * 5000} for entry in meta["phrases"]]
    rewrite_model_meta(path, {"phrases": entries})
    assert Detector.load(path).thresholds == (0.25,) * 3 and read_pte(path)[0] == program
    np.testing.assert_array_equal(Detector.load(path).scores(speech_like(3))[1], before)


def test_the_whole_file_is_a_program_for_any_runtime(file):
    from executorch.runtime import Runtime, Verification

    program = Runtime.get().load_program(file, verification=Verification.Minimal)
    method = program.load_method("forward")
    values = [torch.zeros(each["shape"]) for each in read_pte(file)[1]["inputs"]]
    step, state, _ = load_pte(file)
    expected, _ = step(np.zeros((1, 4, 16), np.float32), state)
    np.testing.assert_allclose(method.execute(values)[0].numpy(), expected, atol=1e-6)


def test_twins_do_not_disturb_each_other(file, speech_like):
    one = Detector.load(file)
    other, samples = one.twin(), [speech_like(3, seed) for seed in (1, 2)]
    alone = [one.scores(each)[1] for each in samples[:1]] + [other.scores(samples[1])[1]]
    for each in (one, other):
        each.reset()
    found = ([], [])
    for start in range(0, 48000, 4000):
        for detector, heard, scores in zip((one, other), samples, found, strict=True):
            scores.append(detector.scores(heard[start : start + 4000])[1])
    for scores, expected in zip(found, alone, strict=True):
        np.testing.assert_allclose(np.concatenate(scores), expected, atol=1e-5)


def test_the_verbs_take_it(file, several_files, sounds, tmp_path, capsys):
    assert main(["info", str(file), "--json"]) == 0
    assert [each["phrase"] for each in json.loads(capsys.readouterr().out)["phrases"]] == ["one", "two", "three"]
    assert main(["score", str(file), str(sounds), "--output", str(tmp_path / "scores.npz")]) == 0
    paths = [str(file), str(several_files[1])]
    capsys.readouterr()
    assert main(["listen", *paths, "--file", str(sounds / "1.wav"), "--threshold", "0.55", "--json"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_model = [[(hit["phrase"], hit["time_s"]) for hit in hits if hit["model"] == path] for path in paths]
    assert by_model[0] and by_model[0] == by_model[1]


def told_of(arguments: list[str], capsys) -> str:
    """The one line that a refused command prints."""
    assert main(arguments) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


def test_bad_input_is_one_line_and_leaves_nothing(file, other, tmp_path, monkeypatch, capsys):
    model, output = str(other), tmp_path / "out" / "m.pte"
    export = ["export", model, "--format", "executorch", "--output"]
    assert "belongs to --format c" in told_of([*export, str(output), "--budget-ram", "64K"], capsys)
    assert "name it .pte" in told_of([*export, str(tmp_path / "m.bin")], capsys)
    again = ["export", str(file), "--format", "executorch", "--output", str(output)]
    assert str(file) in told_of(again, capsys)
    program, description = read_pte(file)  # of another model
    monkeypatch.setattr(executorch_writer, "lowered", lambda *_: (program, description["inputs"]))
    assert "not written" in told_of([*export, str(output)], capsys)
    monkeypatch.setitem(sys.modules, "executorch.exir", None)
    assert "wakeword[executorch]" in told_of([*export, str(output)], capsys)
    assert not [each for each in tmp_path.glob("**/*") if each.is_file()]
    output.parent.mkdir(exist_ok=True)
    output.write_bytes(b"mine")
    assert "there already" in told_of([*export, str(output)], capsys) and output.read_bytes() == b"mine"


def test_damaged_files_are_one_line(file, tmp_path, capsys):
    path, content = tmp_path / "m.pte", file.read_bytes()
    assert "no model file there" in told_of(["info", str(path)], capsys)
    rng = np.random.default_rng(0)
    for cut in [0, 3, 8, *rng.integers(9, len(content), 20).tolist()]:
        path.write_bytes(content[:cut])
        assert str(path) in told_of(["info", str(path)], capsys)
    for at in [*rng.integers(0, len(content), 40).tolist(), *range(len(content) - 80, len(content))]:
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        assert str(path) in told_of(["info", str(path)], capsys)
    program, description = read_pte(file)
    path.write_bytes(packed(b"no program", description))
    with pytest.raises(ModelError, match="ExecuTorch refuses it"):
        load_pte(path)
    path.write_bytes(packed(program, {**description, "wakeword": 3}))
    assert str(path) in told_of(["info", str(path)], capsys)
    short = {**description["wakeword"], "phrases": description["wakeword"]["phrases"][:1]}
    path.write_bytes(packed(program, {**description, "wakeword": short}))
    with pytest.raises(ModelError, match="not as many outputs as phrases"):
        load_pte(path)


def test_a_missing_runtime_is_named_with_its_extra(file):
    """In a process of its own: where the runtime was loaded, it is kept."""
    code = """
import sys
sys.modules["executorch"] = None
from wakeword.cli import main
raise SystemExit(main(["listen", sys.argv[1], "--file", "any.wav"]))
"""
    done = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and "wakeword[executorch]" in done.stderr


def test_the_example_of_the_documentation_runs(file, tmp_path, speech_like):
    """It reads computer.pte and demo/stream.wav, and prints the posteriors that the model gives."""
    (tmp_path / "with_executorch.py").write_text(program("with_executorch.py"))
    shutil.copy(file, tmp_path / "computer.pte")
    write_wav(tmp_path / "demo" / "stream.wav", speech_like(2, 5))
    done = subprocess.run([sys.executable, "with_executorch.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    step, state, _ = load_pte(file)
    frames = extract(read_audio(tmp_path / "demo" / "stream.wav"), FeatureSettings(mels=16))
    expected = step(frames[None, : len(frames) // 4 * 4], state)[0][:, 0]
    found = [float(line.split()[1]) for line in done.stdout.splitlines()]
    np.testing.assert_allclose(found, expected, atol=6e-5)


def test_the_trailer_is_as_documented(file):
    """Read by the rules in the module's docstring alone."""
    content = file.read_bytes()
    assert content[-8:] == b"wakeword"
    (length,) = struct.unpack("<Q", content[-16:-8])
    assert json.loads(content[-80 - length : -80]) == read_pte(file)[1]
    assert content[4:6] == b"ET"  # the file identifier of a program
