"""Parity: what an exported model's card says against an independent count, what is refused, what becomes stale."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wakeword import Detector  # noqa: E402
from wakeword.audio.clips import find_clips  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402
from wakeword.evaluation.metrics import wilson_interval  # noqa: E402
from wakeword.evaluation.streams import join, negative_stream, positive_stream  # noqa: E402
from wakeword.export import export_onnx  # noqa: E402
from wakeword.export.c_writer import export_c  # noqa: E402
from wakeword.export.parity import at_most, host_of, in_common  # noqa: E402
from wakeword.export.web_writer import web_proto  # noqa: E402
from wakeword.head.transfer import load_wakeword, save_wakeword  # noqa: E402
from wakeword.model.folders import read_folder  # noqa: E402
from wakeword.model.runtimes import exported_meta, rewrite_model_meta  # noqa: E402

PHRASE, OUTPUT, THRESHOLD = "two", 1, 0.6


@pytest.fixture(scope="module")
def audio(tmp_path_factory, speech_like, write_corpus) -> dict[str, Path]:
    """A manifest of six clips, two of them not kept for testing; a folder of other sound."""
    folder = tmp_path_factory.mktemp("audio")
    clips = {f"c{seed}": speech_like(1.5, seed) for seed in range(6)}
    splits = {name: "train" if name in ("c1", "c3") else "test" for name in clips}
    (folder / "other").mkdir()
    for seed in range(4):
        write_wav(folder / "other" / f"{seed}.wav", speech_like(16, 30 + seed))
    return {"clips": write_corpus(folder / "clips", clips, splits=splits), "other": folder / "other"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, several_files) -> Path:
    """A model of three phrases whose threshold cuts through what it hears."""
    path = tmp_path_factory.mktemp("trained") / "m.wakeword"
    shutil.copy(several_files[0], path)
    meta = load_wakeword(path)[1]
    rewrite_model_meta(path, {"phrases": [{**each, "threshold": THRESHOLD} for each in meta["phrases"]]})
    return path


def exported_as(kind: str, trained: Path, folder: Path, sounds: Path) -> Path:
    if kind == "c":
        export_c(trained, folder / "c", "int8", [str(sounds)])
        return folder / "c"
    if kind == "litert-int8":
        pytest.importorskip("ai_edge_litert", reason="NO LITERT: pip install 'wakeword[litert]'")
        from wakeword.export.litert_writer import export_litert

        export_litert(trained, folder / "m.tflite", "int8", [str(sounds)])
        return folder / "m.tflite"
    if kind == "executorch":
        pytest.importorskip("executorch.runtime", reason="NO EXECUTORCH: pip install 'wakeword[executorch]'")
        from wakeword.export.executorch_writer import export_executorch

        export_executorch(trained, folder / "m.pte")
        return folder / "m.pte"
    if kind == "web":  # what `export_web` writes, without the runtime for browsers
        model, meta = load_wakeword(trained)
        with torch.no_grad():
            graph, states = web_proto(model, Detector.load(trained).feature_settings)
        (folder / "web").mkdir()
        (folder / "web" / "model.onnx").write_bytes(graph.SerializeToString())
        (folder / "web" / "model.json").write_text(json.dumps({"states": states, "meta": meta}))
        return folder / "web"
    export_onnx(trained, folder / "m.onnx", kind == "onnx-int8")
    return folder / "m.onnx"


def arguments(exported: Path, trained: Path, audio: dict[str, Path], *more: str) -> list[str]:
    heard = ["--positives", str(audio["clips"]), "--negatives", str(audio["other"]), "--phrase", PHRASE]
    return ["parity", str(exported), str(trained), *heard, *more]


def told_of(arguments: list[str], capsys) -> str:
    """The one line that refuses a command."""
    before = capsys.readouterr().err  # of what came before the command
    assert main(arguments) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, (before, lines)
    return lines[0]


@pytest.mark.parametrize("kind", ["onnx", "onnx-int8", "litert-int8", "executorch", "c", "web"])
def test_the_card_says_what_is_there(trained, audio, sounds, tmp_path, capsys, kind):
    exported = exported_as(kind, trained, tmp_path, sounds)
    assert main(arguments(exported, trained, audio, "--json")) == 0
    report = json.loads(capsys.readouterr().out)
    card = exported_meta(exported)["parity"][PHRASE]  # its checksum holds
    assert card == {**{key: report[key] for key in card}, "skipped": 0}
    assert card["clips"] == 4 and card["hours"] == pytest.approx(64 / 3600) and card["threshold"] == THRESHOLD

    # The same streams, heard here by each model on its own and counted by its own trigger.
    tested = [clip for clip in find_clips(audio["clips"]) if clip.split == "test"]
    streams = {
        "clean": join(positive_stream(tested)),
        "negatives": join(negative_stream(at_most(find_clips(audio["other"]), 1.0))),
    }
    apart = []
    hosts = [Detector.load(trained), host_of(exported, tmp_path / "m.so")[1]]
    for name, stream in streams.items():
        tracks = [host.scores(stream.samples) for host in hosts if host.reset() is None]
        whole = exported_meta(exported)["smoothing_frames"] - 1  # before, a device has no average
        apart.append(np.abs(tracks[0][1][:, OUTPUT] - tracks[1][1][:, OUTPUT])[whole:])
        fired = []
        for time_s, score in tracks:
            counting = Detector.load(trained)
            fired.append([hit.time_s for hit in counting.hits_in(time_s, score) if hit.phrase == PHRASE])
        found = card["heard"][name]
        assert found["largest_difference"] == pytest.approx(apart[-1].max(), abs=1e-6)
        assert (found["hits"]["float"], found["hits"]["exported"]) == tuple(map(len, fired)) and len(fired[0]) > 1
        if name == "negatives":
            assert [found["false_alarms"][side]["count"] for side in ("float", "exported")] == [*map(len, fired)]
            continue
        for side, times in zip(("float", "exported"), fired, strict=True):
            spans = [(event.start_s, event.end_s + 0.5) for event in stream.events]  # the least pause
            missed = sum(not any(start < time <= end for time in times) for start, end in spans)
            assert found["missed"][side]["missed"] == missed
            assert found["missed"][side]["interval"] == list(wilson_interval(missed, 4))
    every = np.concatenate(apart)
    assert card["largest_difference"] == pytest.approx(every.max(), abs=1e-6)
    assert card["mean_difference"] == pytest.approx(every.mean(), abs=1e-6)
    assert every.max() < (0.1 if kind in ("onnx-int8", "litert-int8", "c") else 1e-3)
    assert every.max() > 0 or kind == "onnx"


def test_clips_that_are_both_are_refused(trained, audio, sounds, tmp_path, capsys):
    exported = exported_as("onnx", trained, tmp_path, sounds)
    both = arguments(exported, trained, audio, "--negatives", str(audio["other"]), str(audio["clips"]))
    line = told_of(both, capsys)
    assert "--positives and --negatives" in line and "(and 3 more)" in line and "parity" not in exported_meta(exported)


def test_noise_makes_a_condition_of_its_own(trained, audio, sounds, tmp_path, capsys):
    exported = exported_as("onnx-int8", trained, tmp_path, sounds)
    more = ("--noise", str(sounds), "--snr", "5", "--fa", "900", "--hours", "0.008", "--json")
    assert main(arguments(exported, trained, audio, *more)) == 0
    card = json.loads(capsys.readouterr().out)
    assert [*card["heard"]] == ["clean", "5 dB", "negatives"] and card["hours"] == pytest.approx(32 / 3600)
    assert card["heard"]["5 dB"]["largest_difference"] != card["heard"]["clean"]["largest_difference"]
    for name in ("clean", "5 dB"):
        for side in ("float", "exported"):  # at more false alarms fewer are missed
            at, own = (card["heard"][name][key][side] for key in ("missed_at", "missed"))
            assert at["missed"] <= own["missed"] or at["threshold"] > THRESHOLD
    assert not card["note"]
    assert main(arguments(exported, trained, audio, "--fa", "0.5")) == 0
    assert "0.02 h of negatives are too few to show 0.5 false alarms per hour" in capsys.readouterr().out


def test_info_shows_it_and_marks_thresholds_changed_since(trained, audio, sounds, tmp_path, capsys):
    for kind in ("onnx", "c"):
        exported = exported_as(kind, trained, tmp_path, sounds)
        assert main(["info", str(exported)]) == 0 and "wakeword parity" not in capsys.readouterr().out
        assert main(arguments(exported, trained, audio)) == 0
        told = capsys.readouterr().out.splitlines()[:-1]
        assert main(["info", str(exported)]) == 0
        text = capsys.readouterr().out
        assert "\n".join(told) in text and "4 clips, 0.02 h of negatives" in text and "in common" in text
        assert "changed to" not in text and '"parity"' not in text
        assert main(["info", str(exported), "--json"]) == 0
        assert PHRASE in json.loads(capsys.readouterr().out)["parity"]
    exported = tmp_path / "m.onnx"
    calibrate = ["calibrate", str(exported), "--negatives", str(audio["other"]), "--budget", "200/h"]
    assert main([*calibrate, "--phrase", "one"]) == 0 and main(["info", str(exported)]) == 0
    assert "changed to" not in capsys.readouterr().out  # another phrase
    assert main(calibrate) == 0 and main(["info", str(exported)]) == 0
    assert "hits are those at the threshold 0.6000, which has been changed to" in capsys.readouterr().out
    assert main(arguments(exported, trained, audio)) == 0 and main(["info", str(exported)]) == 0
    assert "changed to" not in capsys.readouterr().out
    now = exported_meta(exported)
    assert now["parity"][PHRASE]["threshold"] == now["phrases"][OUTPUT]["threshold"] != THRESHOLD


def test_other_phrases_keep_theirs_and_nothing_else_changes(trained, audio, sounds, tmp_path, capsys, speech_like):
    exported = exported_as("c", trained, tmp_path, sounds)
    code = {path.name: path.read_bytes() for path in exported.iterdir() if path.name != "model.json"}
    before = read_folder(exported)
    assert main(arguments(exported, trained, audio)) == 0
    assert main([each.replace(PHRASE, "three") for each in arguments(exported, trained, audio)]) == 0
    after = read_folder(exported)
    assert [*after["meta"].pop("parity")] == [PHRASE, "three"] and after == before
    assert code == {path.name: path.read_bytes() for path in exported.iterdir() if path.name != "model.json"}
    onnx = exported_as("onnx", trained, tmp_path, sounds)
    heard = Detector.load(onnx).scores(speech_like(3))[1]
    assert main(arguments(onnx, trained, audio)) == 0
    np.testing.assert_array_equal(Detector.load(onnx).scores(speech_like(3))[1], heard)


def test_bad_input_is_one_line_and_leaves_the_card_alone(trained, several_files, audio, sounds, tmp_path, capsys):
    exported = exported_as("onnx", trained, tmp_path, sounds)
    content = exported.read_bytes()
    other, (model, meta) = tmp_path / "other.wakeword", load_wakeword(trained)
    save_wakeword(other, model, {**meta, "card": {"seed": 1}})
    line = told_of(arguments(exported, other, audio), capsys)
    assert f"{exported}: not made of {other}: give the .wakeword file that it was exported from" in line
    assert "no model file there" in told_of(arguments(tmp_path / "none.onnx", trained, audio), capsys)
    assert "not an exported model" in told_of(arguments(trained, trained, audio), capsys)
    assert "not an exported model" in told_of(arguments(tmp_path, trained, audio), capsys)
    (tmp_path / "model.json").write_text('{"meta": {"kind": "wake')
    assert "not a folder that 'wakeword export' wrote" in told_of(arguments(tmp_path, trained, audio), capsys)
    assert "--snr belongs to --noise" in told_of(arguments(exported, trained, audio, "--snr", "5"), capsys)
    assert "choose one with --phrase" in told_of(arguments(exported, trained, audio)[:-2], capsys)
    (tmp_path / "empty").mkdir()
    nothing = {**audio, "other": tmp_path / "empty"}
    assert "no audio in this folder" in told_of(arguments(exported, trained, nothing), capsys)
    (tmp_path / "empty" / "a.wav").write_bytes(b"no sound")
    assert main(arguments(exported, trained, nothing)) == 2
    assert "no negatives to compare on: skipped 1 file(s)" in capsys.readouterr().err.splitlines()[-1]
    assert exported.read_bytes() == content
    rewrite_model_meta(exported, {"parity": {PHRASE: {"threshold": "high"}}})
    assert main(["info", str(exported)]) == 0
    assert "its parity cannot be read" in capsys.readouterr().out


def test_damaged_folders_are_one_line(trained, audio, sounds, tmp_path, capsys):
    folder = exported_as("c", trained, tmp_path, sounds)
    about = read_folder(folder)
    phrase, *others = about["meta"]["phrases"]
    for changes in (
        {"refractory_s": ...},
        {"smoothing_frames": 0},
        {"features": 3},
        {"features": {**about["meta"]["features"], "mels": "many"}},
        {"phrases": [{**phrase, "threshold": "high"}, *others]},
        {"phrases": [phrase["phrase"]]},
    ):
        meta = {key: value for key, value in {**about["meta"], **changes}.items() if value is not ...}
        (folder / "model.json").write_text(json.dumps({**about, "meta": meta}))
        for command in (arguments(folder, trained, audio), ["info", str(folder)]):
            line = told_of(command, capsys)
            assert f"{folder / 'model.json'}: its description" in line and line.endswith("export it again")
    (folder / "model.json").write_text(json.dumps(about))
    for path in folder.glob("*.c"):  # as in a folder for ESPHome whose model.json names no manifest
        path.unlink()
    assert "no C code there" in told_of(arguments(folder, trained, audio), capsys)


def test_times_in_common_are_those_near_enough():
    one, other = np.array([1.0, 2.0, 3.0]), np.array([1.1, 2.5])
    assert (in_common(one, other), in_common(one, one), in_common(one, np.zeros(0))) == (1, 3, 0)


def test_the_benchmark_puts_all_formats_in_one_table(trained, audio, tmp_path):
    keep, page = tmp_path / "kept", tmp_path / "parity.md"
    command = [sys.executable, "benchmarks/parity.py", str(trained), *arguments(trained, trained, audio)[3:]]
    command += ["--formats", "onnx", "c, float32", "web", "--runtime", str(tmp_path)]
    command += ["--keep", str(keep), "--output", str(page)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.read_text().splitlines()]
    rows = [line[:7] for line in lines if len(line) > 2]
    assert [row[:2] for row in rows[2:]] == [[n, h] for n in ("onnx", "c, float32") for h in ("clean", "negatives")]
    assert "- web: not measured: --runtime" in page.read_text()
    cards = {"onnx": exported_meta(keep / "onnx.onnx"), "c, float32": exported_meta(keep / "c-float32")}
    for name, heard, apart, *counts in rows[2:]:
        card = cards[name]["parity"][PHRASE]["heard"][heard]
        assert counts[:3] == [str(card["hits"][key]) for key in ("float", "exported", "in_common")]
        assert float(apart.split(", ")[1]) == pytest.approx(card["mean_difference"], rel=0.1)
    assert sorted(path.name for path in keep.iterdir()) == ["c-float32", "onnx.onnx"]
    again = shutil.copytree(keep, tmp_path / "again")
    command = [sys.executable, "benchmarks/parity_sum.py", str(keep), str(again)]
    done = subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    summed = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines()][2:]
    assert len(summed) == len(rows) - 2
    for row, (name, heard, apart, *counts) in zip(summed, rows[2:], strict=True):
        assert row[:4] == [name, "2", heard, apart]
        assert row[4:7] == [str(2 * int(count)) for count in counts[:3]]


def test_the_benchmark_of_8_bits_tells_what_rounding_costs(trained, audio, sounds, monkeypatch, capsys, tmp_path):
    pytest.importorskip("ai_edge_litert", reason="NO LITERT: pip install 'wakeword[litert]'")
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    import int8_values

    command = ["int8_values.py", str(trained), *arguments(trained, trained, audio)[3:], "--calibrate-on", str(sounds)]
    monkeypatch.setattr(sys, "argv", [*command, "--json"])
    int8_values.main()
    (found,) = json.loads(capsys.readouterr().out)["values"]
    apart = {name: each["mean_difference"] for name, each in found.items()}
    assert apart["none"] == 0.0
    assert 0.0 < apart["logits"] <= 0.025 / 2  # a quarter of a unit is the mean, and the sigmoid's slope at most 1 / 4
    assert apart["head: states"] < apart["encoder: residual stream"] < apart["everything"]
    # What is computed here is what LiteRT computes, at both ends.
    assert apart["(none, in LiteRT)"] < apart["features and logits"] / 3
    assert apart["(the file, in LiteRT)"] == pytest.approx(apart["and the head"], rel=0.3)
    page = int8_values.page({"machine": {"cpu": "one"}, "values": [found, found], "skipped": ""})
    assert "2 model(s), 8 clips" in page and page.count("\n| ") == 2 + len(found)
    monkeypatch.setattr(sys, "argv", [*command, "--with", str(tmp_path / "none.json")])
    with pytest.raises(WakewordError, match="none.json: not what int8_values.py"):
        int8_values.main()
