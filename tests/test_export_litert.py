"""The LiteRT export: against the float model and the integer reference, LiteRT against Lite Micro, refusals."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
absent = "NO LITERT: pip install 'wakeword[litert]', these tests did not run"
pytest.importorskip("ai_edge_litert", reason=absent)

from documented import program  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.export import c_size, litert_micro  # noqa: E402
from wakeword.export.calibration import calibration_audio, peaks_heard  # noqa: E402
from wakeword.export.layers import flat  # noqa: E402
from wakeword.export.litert_graph import litert_graph, litert_model  # noqa: E402
from wakeword.export.litert_units import LOGIT  # noqa: E402
from wakeword.export.litert_writer import export_litert  # noqa: E402
from wakeword.export.onnx_graph import compare  # noqa: E402
from wakeword.export.quantise import integer_step, quantise, scales_of  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import load_wakeword, save_wakeword  # noqa: E402
from wakeword.model.litert import DIGEST, META, add_metadata, load_litert, packed, schema  # noqa: E402
from wakeword.model.runtimes import rewrite_model_meta  # noqa: E402

DTYPES = ("int8", "float32")
MICRO = {"CONCATENATION", "STRIDED_SLICE", "CONV_2D", "DEPTHWISE_CONV_2D", "ADD"}


@pytest.fixture(scope="module")
def micro():
    return pytest.importorskip("tflite_micro", reason="NO TFLITE-MICRO: pip install 'wakeword[litert]'")


@pytest.fixture(scope="module")
def files(tmp_path_factory, several_files, sounds) -> dict[str, Path]:
    """A model of three phrases, by dtype."""
    folder = tmp_path_factory.mktemp("litert")
    for dtype in DTYPES:
        export_litert(several_files[0], folder / f"{dtype}.tflite", dtype, [str(sounds)])
    return {dtype: folder / f"{dtype}.tflite" for dtype in DTYPES}


def blocks_of(samples: np.ndarray, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return np.split(samples, np.cumsum(rng.integers(1, 3000, len(samples) // 1500)).clip(max=len(samples)))


@pytest.mark.parametrize(
    "head",
    [
        HeadSizes(depth=0, outputs=2),
        HeadSizes(depth=1, channels=7),
        HeadSizes(depth=4, channels=6, separable=True, kernel=4),
        HeadSizes(depth=4, channels=8, outputs=3),
    ],
)
def test_heads_of_any_kind_are_the_model_step_by_step(tmp_path, small_model, wake_meta, sounds, head):
    said = ("one", "two", "three")[: head.outputs]
    save_wakeword(tmp_path / "m.wakeword", small_model(1, head), wake_meta(said=said))
    report = export_litert(tmp_path / "m.wakeword", tmp_path / "m.tflite", "float32")
    assert report["largest_difference"] < 1e-5
    assert compare(small_model(2, head), tmp_path / "m.tflite", blocks=3) > 1e-2  # it finds another model
    parity = export_litert(tmp_path / "m.wakeword", tmp_path / "8.tflite", "int8", [str(sounds)])["parity"]
    assert 0 < parity["mean_difference"] < 0.03 and parity["largest_difference"] < 0.2, parity


def test_integers_are_near_the_numpy_reference_and_the_model(files, several_files, sounds, speech_like):
    model, _ = load_wakeword(several_files[0])
    settings, layers = FeatureSettings(mels=16), flat(model)
    heard = calibration_audio([str(sounds)], Skipped(), lambda *_: None)
    reference, zero = integer_step(quantise(layers, peaks_heard(layers, heard, settings), settings))
    frames = extract(speech_like(8, 7), settings)[None, :800]
    step, state, _ = load_litert(files["int8"])
    found = step(frames, state)[0]
    assert np.ptp(found) > 0.5, "nothing moved"
    # Half a unit of the logits alone is 0.0125 in the middle.
    assert np.abs(found - reference(frames, zero)[0]).max() < 0.06
    with torch.no_grad():
        posteriors = torch.sigmoid(model.step(torch.from_numpy(frames), model.initial_state())[0])[0].numpy()
    assert np.abs(found - posteriors).max() < 0.07


def test_a_file_of_int16_ends_is_heard_as_before(several_files, sounds, tmp_path, speech_like):
    """What earlier versions wrote, and the measurements compare with."""
    model, meta = load_wakeword(several_files[0])
    settings, layers = FeatureSettings(mels=16), flat(model)
    heard = calibration_audio([str(sounds)], Skipped(), lambda *_: None)
    peaks = peaks_heard(layers, heard, settings)
    made = litert_model(litert_graph(layers, scales_of(layers, peaks, settings), settings.mels))
    add_metadata(made, META, json.dumps(meta).encode())
    add_metadata(made, DIGEST, b"")
    (tmp_path / "m.tflite").write_bytes(packed(made))
    frames = extract(speech_like(8, 7), settings)[None, :800]
    step, state, _ = load_litert(tmp_path / "m.tflite")
    reference, zero = integer_step(quantise(layers, peaks, settings))
    found = step(frames, state)[0]
    assert np.ptp(found) > 0.5 and {each.dtype for each in state} == {np.dtype(np.int16)}
    assert np.abs(found - reference(frames, zero)[0]).max() < 0.02


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_of_any_size_give_the_same_hits(files, speech_like, dtype):
    samples = speech_like(12, 3)
    expected = Detector.load(files[dtype], threshold=0.6).process(samples)
    assert expected, "no hit, nothing compared"
    for seed in range(2):
        detector = Detector.load(files[dtype], threshold=0.6)
        found = [hit for block in blocks_of(samples, seed) for hit in detector.process(block)]
        assert [(hit.phrase, hit.time_s) for hit in found] == [(hit.phrase, hit.time_s) for hit in expected]
        # The features of a block are within rounding those of all at once.
        np.testing.assert_allclose([hit.score for hit in found], [hit.score for hit in expected], atol=1e-4)


def test_hits_are_those_of_the_float_model(files, several_files, speech_like):
    samples = speech_like(12, 3)
    detectors = [Detector.load(path, threshold=0.6) for path in (several_files[1], files["float32"])]
    expected, found = (detector.process(samples) for detector in detectors)
    assert len(expected) == len(found) > 1
    assert [(hit.phrase, hit.time_s) for hit in expected] == [(hit.phrase, hit.time_s) for hit in found]


@pytest.mark.parametrize("dtype", DTYPES)
def test_lite_micro_computes_what_litert_does(micro, files, speech_like, dtype):
    frames = extract(speech_like(8, 7), FeatureSettings(mels=16))[None, :800]
    step, state, _ = load_litert(files[dtype])
    small, zero, outputs = litert_micro.running_micro(files[dtype].read_bytes())
    found, after = step(frames, state)
    on_device, then = small(frames, zero)
    assert outputs == 3 and np.ptp(found) > 0.5
    # In int16 bit for bit; LiteRT's int8 kernels may round to the other neighbour.
    apart = [np.abs(one - other.astype(np.float32)).max() for one, other in zip(after, then, strict=True)]
    kinds = [each.dtype for each in after]
    if dtype == "int8":
        logits = [np.log(each / (1 - each)) for each in (found, on_device)]
        assert np.abs(logits[0] - logits[1]).max() < 2.5 * LOGIT.worth
        assert {np.dtype(np.int8), np.dtype(np.int16)} == set(kinds)
        assert all(each <= (kind == np.int8) for each, kind in zip(apart, kinds, strict=True))
    else:
        assert np.abs(found - on_device).max() <= 1e-5 and max(apart) <= 1e-5


@pytest.mark.parametrize(("dtype", "kinds"), [("int8", (np.int16, np.int8, np.int64)), ("float32", (np.float32,))])
def test_operators_and_tensors_are_those_stated(files, dtype, kinds):
    model = schema().Model.GetRootAs(files[dtype].read_bytes())
    names = {value: name for name, value in vars(schema().BuiltinOperator).items() if not name.startswith("_")}
    assert {names[model.OperatorCodes(index).BuiltinCode()] for index in range(model.OperatorCodesLength())} == (
        MICRO | {"QUANTIZE" if dtype == "int8" else "LOGISTIC"}
    )
    graph = model.Subgraphs(0)
    types = {value: name for name, value in vars(schema().TensorType).items() if not name.startswith("_")}
    found = {types[graph.Tensors(index).Type()] for index in range(graph.TensorsLength())}
    assert found == {np.dtype(each).name.upper() for each in kinds} | {
        "INT32"
    }  # int32: where slices begin, and an int8 kernel's bias
    inputs = [graph.Tensors(graph.Inputs(index)).Name().decode() for index in range(graph.InputsLength())]
    outputs = [graph.Tensors(graph.Outputs(index)).Name().decode() for index in range(graph.OutputsLength())]
    states = [f"state_{index}" for index in range(len(inputs) - 1)]
    first = "logits" if dtype == "int8" else "posterior"
    assert inputs == ["features", *states] and outputs == [first, *(f"next_{each}" for each in states)]
    ends = {types[graph.Tensors(each).Type()] for each in (graph.Inputs(0), graph.Outputs(0))}
    assert ends == {dtype.upper()}
    for index in range(graph.TensorsLength()):
        data = model.Buffers(graph.Tensors(index).Buffer())
        if not data.DataIsNone():
            # Where the constants begin in the file, in multiples of 16 bytes.
            assert (data._tab.Vector(data._tab.Offset(4))) % 16 == 0


def test_meta_is_inside_and_changed_in_place(files, several_files, tmp_path, speech_like):
    path = tmp_path / "m.tflite"
    shutil.copy(files["int8"], path)
    _, meta = load_wakeword(several_files[0])
    assert Detector.load(path).info == meta
    before = Detector.load(path).scores(speech_like(3))[1]
    entries = [{**entry, "threshold": 0.25, "note": "x" * 5000} for entry in meta["phrases"]]
    rewrite_model_meta(path, {"phrases": entries})
    assert Detector.load(path).thresholds == (0.25,) * 3
    np.testing.assert_array_equal(Detector.load(path).scores(speech_like(3))[1], before)
    assert litert_micro.arena_bytes(path) > 0 if litert_micro.installed() else True


def test_it_runs_without_torch_and_onnx(files, speech_like, tmp_path):
    np.save(tmp_path / "samples.npy", speech_like(4))
    code = """
import sys
for name in ("torch", "onnx", "onnxruntime", "safetensors"): sys.modules[name] = None
import numpy
from wakeword import Detector
numpy.save("scores.npy", Detector.load(sys.argv[1]).scores(numpy.load("samples.npy"))[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(files["int8"])], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    expected = Detector.load(files["int8"]).scores(speech_like(4))[1]
    np.testing.assert_array_equal(np.load(tmp_path / "scores.npy"), expected)


def test_a_gate_knows_how_far_back_it_hears(files, several_files, speech_like):
    gated = Detector.load(files["float32"], gate=True)
    assert gated.memory_frames == Detector.load(several_files[0]).memory_frames
    scores = gated.scores(speech_like(3, 5))[1]
    assert gated.gate_open == 1.0
    np.testing.assert_array_equal(scores, Detector.load(files["float32"]).scores(speech_like(3, 5))[1])


def test_it_listens_beside_another_model(files, several_files, sounds, capsys):
    """Two files of one encoder, of which the one for LiteRT cannot be cut in two: both run as they are."""
    paths = [str(files["float32"]), str(several_files[1])]
    assert main(["listen", *paths, "--file", str(sounds / "1.wav"), "--threshold", "0.55", "--json"]) == 0
    hits = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    by_model = [[(hit["phrase"], hit["time_s"]) for hit in hits if hit["model"] == path] for path in paths]
    assert by_model[0] and by_model[0] == by_model[1]


def test_the_verbs_take_it(files, sounds, capsys):
    assert main(["info", str(files["int8"]), "--json"]) == 0
    assert [each["phrase"] for each in json.loads(capsys.readouterr().out)["phrases"]] == ["one", "two", "three"]
    assert main(["score", str(files["float32"]), str(sounds), "--output", str(sounds / "scores.npz")]) == 0


def told_of(arguments: list[str], capsys) -> str:
    """The one line that a refused command prints."""
    assert main(arguments) != 0
    lines = [line for line in capsys.readouterr().err.strip().splitlines() if not line.startswith("calibrating")]
    assert len(lines) == 1 and "Traceback" not in lines[0], lines
    return lines[0]


def test_bad_input_is_one_line_and_leaves_nothing(several_files, sounds, tmp_path, capsys):
    model, output = str(several_files[0]), tmp_path / "out" / "m.tflite"
    export = ["export", model, "--output", str(output), "--format"]
    audio = ["--calibrate-on", str(sounds)]
    assert "--calibrate-on" in told_of([*export, "litert-int8"], capsys)
    assert "belongs to --format c" in told_of([*export, "litert", "--dtype", "int8"], capsys)
    assert "belongs to --format c, litert-int8" in told_of([*export, "litert", *audio], capsys)
    assert "--budget-flash 1024" in told_of([*export, "litert-int8", *audio, "--budget-flash", "1K"], capsys)
    assert "--budget-ram 1024" in told_of([*export, "litert", "--budget-ram", "1K"], capsys)
    named = ["export", model, "--format", "litert", "--output", str(tmp_path / "m.bin")]
    assert "name it .tflite" in told_of(named, capsys)
    assert not output.exists() and not any(tmp_path.glob("**/*unfinished*"))
    output.parent.mkdir()
    output.write_bytes(b"mine")
    assert "there already" in told_of([*export, "litert"], capsys) and output.read_bytes() == b"mine"
    paths = ["--positives", "x", "--negatives", "y", "--phrase", "one", "--output", str(tmp_path / "z.wakeword")]
    assert "exported model cannot be trained on" in told_of(["improve", str(output), "reviewed", *paths], capsys)


def test_damaged_files_are_one_line(files, tmp_path, capsys):
    path, content = tmp_path / "m.tflite", files["int8"].read_bytes()
    assert "no model file there" in told_of(["info", str(path)], capsys)
    rng = np.random.default_rng(0)
    for cut in [0, 3, 8, *rng.integers(9, len(content), 20).tolist()]:
        path.write_bytes(content[:cut])
        assert str(path) in told_of(["info", str(path)], capsys)
    for at in rng.integers(0, len(content), 40).tolist():
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        assert str(path) in told_of(["info", str(path)], capsys)


def test_a_missing_package_is_named_with_its_extra(several_files, tmp_path, monkeypatch, capsys, files):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    export = ["export", str(several_files[0]), "--format", "litert", "--output", str(tmp_path / "m.tflite")]
    assert "wakeword[litert]" in told_of(export, capsys)
    assert "wakeword[litert]" in told_of(["info", str(files["int8"])], capsys)


def test_info_needs_the_schema_alone(files, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    assert main(["info", str(files["int8"]), "--json"]) == 0
    assert [each["phrase"] for each in json.loads(capsys.readouterr().out)["phrases"]] == ["one", "two", "three"]


def test_sizes_without_lite_micro(several_files, tmp_path, monkeypatch):
    from wakeword.export import litert_writer

    monkeypatch.setattr(litert_writer, "installed", lambda: False)
    report = export_litert(several_files[0], tmp_path / "m.tflite", "float32")
    assert report["measured"] == "file" and report["flash"] == (tmp_path / "m.tflite").stat().st_size
    assert "not installed" in report["size"] == c_size.told(c_size.Size(0, 0, "file"))


def test_the_arena_is_measured_and_what_lite_micro_refuses_is_told(micro, files, tmp_path):
    arena = litert_micro.arena_bytes(files["int8"])
    assert 1000 < arena < 100_000
    code = f"""
from tflite_micro import runtime
runtime.Interpreter.from_file({str(files["int8"])!r}, arena_size={arena - 4096})
"""
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode, "less would have done"
    with pytest.raises(WakewordError, match="refuses it"):
        (tmp_path / "m.tflite").write_bytes(b"\0" * 100)
        litert_micro.arena_bytes(tmp_path / "m.tflite")


def test_the_example_of_the_documentation_runs(micro, files, tmp_path, speech_like):
    """It reads computer.tflite and demo/stream.wav, and prints the scores that a detector gives."""
    (tmp_path / "on_device.py").write_text(program("on_device.py"))
    shutil.copy(files["int8"], tmp_path / "computer.tflite")
    write_wav(tmp_path / "demo" / "stream.wav", speech_like(2, 5))
    done = subprocess.run([sys.executable, "on_device.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    detector = Detector.load(files["int8"])
    samples = read_audio(tmp_path / "demo" / "stream.wav")
    step, state, _ = load_litert(files["int8"])
    frames = extract(samples, detector.feature_settings)
    expected = step(frames[None, : len(frames) // 4 * 4], state)[0][:, 0]
    found = [float(line.split()[1]) for line in done.stdout.splitlines()]
    apart = np.abs(np.array(found) - expected)
    assert apart.max() < LOGIT.worth and np.median(apart) < 6e-5  # one unit of logits at most, and seldom
