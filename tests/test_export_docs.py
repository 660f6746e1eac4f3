"""The commands of docs/export.md on what the demo leaves: budgets, files, the ONNX program."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from documented import DOCS, command, program

pytest.importorskip("torch")
pytest.importorskip("onnx")

from data_prep.voices import installed_voices  # noqa: E402
from wakeword.audio.clips import find_clips  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.export.c_size import parse_size  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import save_wakeword, stacked  # noqa: E402
from wakeword.model.runtimes import load_model  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("kind", "acoustic", "package"),
    [
        ("c", "micro", "torch"),
        ("litert-int8", "micro", "ai_edge_litert"),
        ("esphome", "micro-esphome", "ai_edge_litert"),
    ],
)
def test_the_documented_budgets_hold(kind, acoustic, package, wake_meta, sounds, tmp_path, capsys):
    """Of a model of the size that the demo trains on this acoustic model; its new layers are as they begin."""
    pytest.importorskip(package, reason=f"NO {package}: the budgets of {kind} were not tried")
    if kind == "esphome":
        pytest.importorskip("pymicro_features", reason="NO FRONT END: the budgets of esphome were not tried")
    model, meta = stacked(acoustic, HeadSizes())
    save_wakeword(tmp_path / "m.wakeword", model.eval(), wake_meta(said=("computer",), features=meta["features"]))
    words = command(f"wakeword export .* --format {kind} ")[1:]
    calibrate, output = words.index("--calibrate-on"), words.index("--output")
    assert words[calibrate + 1 :] == [f"demo/data/{name}.jsonl.gz" for name in ("positives", "negatives", "noise")]
    words[calibrate + 1 :] = [str(sounds)]
    words[1], words[output + 1] = str(tmp_path / "m.wakeword"), str(tmp_path / words[output + 1])
    assert main([*words, "--json"]) == 0, capsys.readouterr().err
    report = json.loads(capsys.readouterr().out)
    for what in ("flash", "ram"):
        budget = parse_size(words[words.index(f"--budget-{what}") + 1])
        assert 0.3 * budget < report[what] <= budget, "a budget of far more than it takes says little"


def test_make_passes_arguments_to_the_demo():
    done = subprocess.run([*command("make demo"), "-n"], cwd=ROOT, capture_output=True, text=True)
    assert "recipes/demo/run.py --acoustic micro" in done.stdout, done.stderr


def test_make_emulate_runs_the_demos_model_on_what_the_documentation_installs(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    targets = importlib.import_module("embedded_targets").TARGETS
    done = subprocess.run(
        [*command("make emulate"), "-n", "ARGS=--targets m4"], cwd=ROOT, capture_output=True, text=True
    )
    installed, *run = [line.split() for line in done.stdout.splitlines() if "-arm" in line or "embedded" in line]
    assert installed[1:] == command("apt-get install gcc-arm")[2:], done.stderr
    assert set(installed[1:]) == {each for target in targets.values() for each in target.packages.split()}
    words = command("python benchmarks/embedded.py")
    words[words.index("computer-c/")] = "demo/computer-c"
    assert run == [[run[0][0], *words[1 : words.index("--seconds")], "--targets", "m4"]]


def test_the_mhz_of_the_documentation_are_those_of_its_own_counts(monkeypatch):
    """The column of the mean, and that of the block in which the network runs; as `embedded.py` writes them."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    embedded = importlib.import_module("embedded")
    at = DOCS.index("| target | hits |")
    head, _, *rows = [line.strip("| ").split(" | ") for line in DOCS[at : DOCS.index("\n\n", at)].splitlines()]
    names = {target.name: name for name, target in embedded.TARGETS.items()}
    written = 0
    for cells in rows:
        if len(cells) == len(head):
            flash, ram, stack, most = (int(cells[column].replace(",", "")) for column in (2, 3, 4, 6))
            run = embedded.Run((), flash, ram, stack, 1e6 * float(cells[5].removesuffix(" M")), most)
            made = embedded.table([("host", run), (names[cells[0]], run)], 30).splitlines()
            assert made[2].strip("| ").split(" | ") == head
            again = made[-1].strip("| ").split(" | ")
            # What is told in tenths of a million may lie on either side of a whole MHz.
            assert abs(int(again[7].split()[0]) - int(cells[7].split()[0])) <= 1
            assert again[2:7] == cells[2:7] and again[8:] == cells[8:]
            written += 1
    assert written == 5


def test_the_demo_of_synthetic_voices_leaves_the_files_that_are_named(tmp_path, monkeypatch):
    voices = [each for each in installed_voices() if each.engine in ("espeak", "flite")][:4]
    if not voices:
        pytest.skip("NO TEXT-TO-SPEECH VOICE: apt-get install espeak-ng flite; this test did not run")
    monkeypatch.syspath_prepend(str(ROOT / "recipes" / "demo"))
    recordings = importlib.import_module("recordings")
    monkeypatch.setattr(recordings, "installed_voices", lambda: voices)
    made = recordings.synthetic("computer", tmp_path / "data", 0.01, lambda *_: None)
    named = set(re.findall(r"demo/data/([\w-]+\.jsonl\.gz)", DOCS))
    assert named and named <= {path.name for path in (tmp_path / "data").iterdir()}
    for part in made.parts():
        clips = find_clips(part.manifest)
        assert len(clips) == part.clips and all(clip.path.is_file() for clip in clips)
        assert part.hours > 0
    others = set(re.findall(r"demo/[\w.-]+", DOCS)) - {"demo/data", "demo/computer-c"}
    assert others == {"demo/computer.wakeword", "demo/computer.onnx", "demo/stream.wav"}


@pytest.mark.parametrize("integer", [False, True])
def test_the_onnx_program_prints_the_posteriors(integer, several_files, tmp_path, speech_like):
    """It reads computer.onnx and demo/stream.wav; both formats have the inputs and outputs of the table."""
    start = r"wakeword export .* --format onnx-int8 " if integer else r"wakeword export \S+ --output computer\.onnx"
    words = command(start)[1:]
    words[words.index("--output") + 1] = str(tmp_path / "computer.onnx")
    words[words.index("demo/computer.wakeword")] = str(several_files[0])
    assert main(words) == 0
    (tmp_path / "with_onnx.py").write_text(program("with_onnx.py"))
    write_wav(tmp_path / "demo" / "stream.wav", speech_like(2, 5))
    done = subprocess.run([sys.executable, "with_onnx.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    step, state, meta = load_model(several_files[0])
    frames = extract(read_audio(tmp_path / "demo" / "stream.wav"), FeatureSettings(**meta["features"]))
    expected = step(frames[None, : len(frames) // 4 * 4], state)[0][:, 0]
    found = [float(line.split()[1]) for line in done.stdout.splitlines()]
    np.testing.assert_allclose(found, expected, atol=0.05 if integer else 6e-5)
    assert np.ptp(expected) > 0.2, "nothing moved"

    session = pytest.importorskip("onnxruntime").InferenceSession(str(tmp_path / "computer.onnx"))
    ends = [*session.get_inputs(), *session.get_outputs()]
    table = re.search(r"## ONNX Runtime\n.*?\|---.*?\n(.*?)\n\n", DOCS, re.DOTALL)[1]
    assert [each.name for each in ends] == re.findall(r"put `(\w+)`", table)
    assert [len(each.shape) for each in ends] == [3, 2, 3, 2]
    assert session.get_inputs()[0].shape == [1, "frames", 16] and session.get_outputs()[0].shape == [1, "steps", 3]
