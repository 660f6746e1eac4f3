from __future__ import annotations

import json
import os
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from wakeword import Detector  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import ModelError, WakewordError  # noqa: E402
from wakeword.export import compare, export_onnx, onnx_graph, web_writer  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import load_wakeword, save_wakeword  # noqa: E402
from wakeword.model.checkpoint import read_meta, rewrite_meta, rewrite_onnx_meta  # noqa: E402
from wakeword.model.halves import halves_of  # noqa: E402
from wakeword.model.pte import packed  # noqa: E402
from wakeword.model.runtimes import load_onnx  # noqa: E402


def test_the_graph_is_the_model_step_by_step(model_files):
    model, _ = load_wakeword(model_files[0])
    assert compare(model, model_files[1]) < 1e-5


def test_comparing_finds_another_model(model_files, small_model):
    assert compare(small_model(5), model_files[1]) > 0.01


def test_the_graph_has_the_stated_inputs_and_outputs_and_no_normalisation(model_files):
    proto = onnx.load(str(model_files[1]))
    assert [value.name for value in proto.graph.input] == ["features", "state"]
    assert [value.name for value in proto.graph.output] == ["posterior", "next_state"]
    shape = [dim.dim_value or dim.dim_param for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    assert shape[0] == 1 and isinstance(shape[1], str) and shape[2] == 16
    kinds = [node.op_type for node in proto.graph.node]
    # The standardising of the taps comes before a layer without bias, and stays; the rest is folded.
    assert kinds.count("BatchNormalization") <= 1
    assert not any(tensor.data_location for tensor in proto.graph.initializer), "weights beside the file"


def test_the_meta_goes_with_it(model_files):
    _, state, meta = load_onnx(model_files[1])
    assert meta == read_meta(model_files[0])
    assert state.dtype == np.float32 and not state.any()


@pytest.mark.parametrize("outputs", [1, 3])
@pytest.mark.parametrize("separable", [False, True])
@pytest.mark.parametrize("depth", [0, 1, 4])
def test_heads_of_any_depth_export(tmp_path, small_model, wake_meta, depth, separable, outputs):
    head = HeadSizes(depth=depth, channels=6, separable=separable, kernel=4, outputs=outputs)
    meta = wake_meta(said=("a", "b", "c")[:outputs])
    save_wakeword(tmp_path / "m.wakeword", small_model(3, head), meta)
    assert export_onnx(tmp_path / "m.wakeword", tmp_path / "m.onnx") < 1e-5
    step, state, _ = load_onnx(tmp_path / "m.onnx")
    posterior, after = step(np.zeros((1, 8, 16), np.float32), state)
    assert posterior.shape == (2, outputs) and after.shape == state.shape


def test_each_output_of_a_graph_is_that_of_the_model(several_files, small_model):
    model, _ = load_wakeword(several_files[0])
    assert compare(model, several_files[1]) < 1e-5
    with torch.no_grad():
        for tensor in (model.head.output.weight, model.head.output.bias):
            tensor.copy_(tensor.flip(0))
    assert compare(model, several_files[1]) > 0.01, "exchanged outputs are no difference"
    shape = onnx.load(str(several_files[1])).graph.output[0].type.tensor_type.shape.dim
    assert [dim.dim_value or dim.dim_param for dim in shape] == [1, "steps", 3]


@pytest.mark.parametrize("separable", [False, True])
def test_int8_matrices_are_those_of_the_rounded_model(tmp_path, small_model, wake_meta, speech_like, separable):
    head = HeadSizes(depth=2, channels=6, separable=separable, outputs=2)
    save_wakeword(tmp_path / "m.wakeword", small_model(3, head), wake_meta(said=("a", "b")))
    for integer, name in ((False, "float.onnx"), (True, "int8.onnx")):
        difference = export_onnx(tmp_path / "m.wakeword", tmp_path / name, integer)
        assert (1e-5 < difference < 0.1) is integer
    kinds = [tensor.data_type for tensor in onnx.load(str(tmp_path / "int8.onnx")).graph.initializer]
    model, samples = small_model(3, head), speech_like(4)
    matrices = 2 + len(model.encoder.stack.blocks) + 1 + len(model.head.stack.blocks) + 1
    assert kinds.count(onnx.TensorProto.INT8) == matrices
    # Blocks of any size, and beside its other half, as the float one.
    detector = Detector.load(tmp_path / "int8.onnx")
    whole = detector.scores(samples)[1]
    detector.reset()
    parts = [detector.scores(part)[1] for part in np.split(samples, [700, 9000, 20000])]
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)
    encode, state, upper, head_state = halves_of(tmp_path / "int8.onnx").open()
    step, zero, _ = load_onnx(tmp_path / "int8.onnx")
    frames = np.random.default_rng(0).standard_normal((1, 40, 16)).astype(np.float32)
    np.testing.assert_allclose(upper(encode(frames, state)[0], head_state)[0], step(frames, zero)[0], atol=1e-6)


def test_a_graph_that_differs_is_not_written(model_files, tmp_path, monkeypatch):
    """An export that loses the folding's shift is caught before the file appears."""
    real = onnx_graph.folded

    def wrong(model):
        model = real(model)
        with torch.no_grad():
            model.encoder.stem[0].bias.add_(0.2)
        return model

    monkeypatch.setattr(onnx_graph, "folded", wrong)
    with pytest.raises(WakewordError, match="differs by"):
        export_onnx(model_files[0], tmp_path / "m.onnx")
    assert os.listdir(tmp_path) == []


def test_a_graph_that_gives_no_numbers_is_not_written(model_files, tmp_path, tmp_path_factory, monkeypatch):
    packages = tmp_path_factory.mktemp("npm")
    real = onnx_graph.folded

    def wrong(model):
        model = real(model)
        with torch.no_grad():
            model.head.output.bias.fill_(float("nan"))
        return model

    monkeypatch.setattr(onnx_graph, "folded", wrong)
    with pytest.raises(WakewordError, match="differs by nan"):
        export_onnx(model_files[0], tmp_path / "m.onnx")
    monkeypatch.setattr(web_writer, "folded", wrong)
    monkeypatch.setattr(web_writer, "found_runtime", lambda _: (packages / "package", "1"))
    (packages / "package" / "dist").mkdir(parents=True)
    for name in web_writer._RUNTIME_FILES:
        (packages / "package" / "dist" / name).touch()
    with pytest.raises(WakewordError, match="differs by nan"):
        web_writer.export_web(model_files[0], tmp_path / "web")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kind", ["onnx", "onnx-int8"])
def test_an_output_of_another_name_or_that_is_there_is_refused(model_files, tmp_path, capsys, kind):
    export = ["export", str(model_files[0]), "--format", kind, "--output"]
    assert main([*export, str(tmp_path / "m.tflite")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'm.tflite'}: name it .onnx" in line and "--format" in line
    assert os.listdir(tmp_path) == []
    (tmp_path / "m.onnx").write_bytes(b"the old one")
    assert main([*export, str(tmp_path / "m.onnx")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tmp_path / 'm.onnx'}: is there already" in line
    assert (tmp_path / "m.onnx").read_bytes() == b"the old one"
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_only_a_trained_model_is_exported(model_files, tmp_path):
    for source in (model_files[1], tmp_path / "none.wakeword", tmp_path):
        with pytest.raises(ModelError):
            export_onnx(source, tmp_path / "m.onnx")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"features": []}, "features"),
        ({"features": {"mels": 16, "bogus": 3}}, "bogus"),
        ({"features": {"mels": 20}}, "features of 20 bands, weights for 16"),
        ({"smoothing_frames": 0}, "smoothing_frames = 0"),
        ({"refractory_s": None}, "refractory_s"),
        ({"phrases": [{"phrase": "a", "threshold": "x"}]}, "threshold"),
        ({"phrases": [{"threshold": 0.5}]}, "phrase"),
    ],
)
@pytest.mark.parametrize("options", [["onnx"], ["onnx-int8"], ["c", "--dtype", "float32"]])
def test_a_damaged_description_is_one_line_that_names_the_file(model_files, tmp_path, capsys, changes, told, options):
    name = "m" if options[0] == "c" else "m.onnx"
    source, output = tmp_path / "m.wakeword", tmp_path / "out" / name
    source.write_bytes(model_files[0].read_bytes())
    rewrite_meta(source, changes)
    assert main(["export", str(source), "--output", str(output), "--format", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(source) in line and told in line and "train it again" in line
    assert os.listdir(tmp_path) == ["m.wakeword"]


def test_a_model_of_no_numbers_is_refused(tmp_path, small_model, wake_meta, capsys):
    model = small_model()
    with torch.no_grad():
        model.head.output.weight[0, 0] = float("nan")
    save_wakeword(tmp_path / "m.wakeword", model, wake_meta())
    for output, options in (("m.onnx", ["onnx"]), ("m.onnx", ["onnx-int8"]), ("m", ["c", "--dtype", "float32"])):
        command = ["export", str(tmp_path / "m.wakeword"), "--output", str(tmp_path / output), "--format"]
        assert main([*command, *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "m.wakeword: not all of its weights are finite numbers" in line
    assert os.listdir(tmp_path) == ["m.wakeword"]


def test_meta_is_changed_in_place_and_the_graph_stays(model_files, tmp_path, speech_like):
    path = tmp_path / "m.onnx"
    path.write_bytes(model_files[1].read_bytes())
    rewrite_onnx_meta(path, {"phrases": [{"phrase": "hello", "threshold": 0.75}], "note": "é"})
    detector = Detector.load(path)
    assert (detector.thresholds, detector.info["note"], detector.phrases) == ((0.75,), "é", ("hello",))
    samples = speech_like(2, 1)
    np.testing.assert_array_equal(detector.scores(samples)[1], Detector.load(model_files[1]).scores(samples)[1])
    assert onnx.load(str(path)).graph == onnx.load(str(model_files[1])).graph


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 129, 16383, 16384, 100_000])
def test_rewriting_touches_nothing_else_in_the_file(model_files, tmp_path, length):
    """Against the onnx package: other entries, and what comes before and after, whatever the lengths."""
    before = onnx.load(str(model_files[1]))
    meta = json.loads(before.metadata_props[0].value)
    before.metadata_props.insert(0, onnx.StringStringEntryProto(key="another", value="x" * length))
    before.metadata_props.append(onnx.StringStringEntryProto(key="wakewords", value="y"))
    before.doc_string, before.model_version = "z" * length, 2**40
    path = tmp_path / "m.onnx"
    path.write_bytes(before.SerializeToString())
    for note in ("n" * length, "again"):
        rewrite_onnx_meta(path, {"note": note})
        after = onnx.load(str(path))
        onnx.checker.check_model(after)
        entries = {entry.key: entry.value for entry in after.metadata_props}
        assert len(after.metadata_props) == 4
        assert json.loads(entries["wakeword"]) == {**meta, "note": note}
        assert entries["another"] == "x" * length and entries["wakewords"] == "y"
        del after.metadata_props[:]
        without = onnx.ModelProto.FromString(before.SerializeToString())
        del without.metadata_props[:]
        assert after == without
    assert os.listdir(tmp_path) == ["m.onnx"]


def test_only_an_exported_model_is_rewritten(tmp_path, wake_meta):
    path = foreign(tmp_path / "other.onnx", author="someone")
    before = path.read_bytes()
    with pytest.raises(ModelError, match="other.onnx"):
        rewrite_onnx_meta(path, {"note": "x"})
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["other.onnx"]


def test_info_of_a_pte_file_needs_no_runtime(tmp_path, wake_meta, capsys, monkeypatch):
    for package in ("executorch", "executorch.runtime", "ai_edge_litert.schema_py_generated"):
        monkeypatch.setitem(sys.modules, package, None)  # the second, as another test may have imported it
    meta = {"format": 2, "kind": "wakeword", **wake_meta()}
    (tmp_path / "m.pte").write_bytes(packed(b"a program", {"wakeword": meta, "inputs": []}))
    assert main(["info", str(tmp_path / "m.pte"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == meta
    assert main(["listen", str(tmp_path / "m.pte"), "--file", "any.wav"]) == 2
    assert "wakeword[executorch]" in capsys.readouterr().err


def foreign(path, **entries):
    """An identity graph, as another program may have made it."""
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", value[:1], value[1:])
    proto = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8)
    for key, text in entries.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, text
    path.write_bytes(proto.SerializeToString())
    return path


@pytest.mark.parametrize(
    "text",
    [None, "{", "3", "[]", "{}", json.dumps({"format": 9, "kind": "wakeword"}), json.dumps({"format": 2, "kind": "x"})],
)
def test_another_programs_graph_is_a_model_error(tmp_path, text):
    path = foreign(tmp_path / "other.onnx", **({} if text is None else {"wakeword": text}))
    with pytest.raises(ModelError, match="other.onnx") as caught:
        Detector.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_an_export_of_before_several_phrases_is_named_so(tmp_path):
    text = json.dumps({"format": 1, "kind": "wakeword", "phrase": "hello", "threshold": 0.5})
    with pytest.raises(ModelError) as caught:
        Detector.load(foreign(tmp_path / "old.onnx", wakeword=text))
    told = "written in format 1, this version reads 2: train or export it again"
    assert str(caught.value) == f"{tmp_path / 'old.onnx'}: {told}"


def test_an_export_with_as_many_outputs_as_phrases_is_wanted(model_files, tmp_path, wake_meta):
    proto = onnx.load(str(model_files[1]))
    entry = next(entry for entry in proto.metadata_props if entry.key == "wakeword")
    entry.value = json.dumps({**json.loads(entry.value), **wake_meta(said=("hello", "there"))})
    (tmp_path / "odd.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="odd.onnx: a damaged export"):
        Detector.load(tmp_path / "odd.onnx")


def test_a_graph_that_only_says_it_is_ours_is_a_model_error(tmp_path, wake_meta):
    text = json.dumps({"format": 2, "kind": "wakeword", **wake_meta()})
    with pytest.raises(ModelError, match="other.onnx"):
        Detector.load(foreign(tmp_path / "other.onnx", wakeword=text))
