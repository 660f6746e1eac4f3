"""The benchmarks run and report what they say; how fast anything is, is no matter of tests."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402

FOLDER = Path(__file__).parents[1] / "benchmarks"
CONFIG = """
size = "small"
output = "{out}/small.safetensors"
folder = "{out}/run"
batch_seconds = 4.0
workers = 0
threads = 1
[sizes]
stem = 12
channels = 20
dilations = [1, 2]
taps = [2]
[[stages]]
steps = 5
distil = 0.0
ctc = 1.0
[[data]]
manifest = "{manifest}"
"""


def bench(name: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, FOLDER / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=FOLDER.parent)


@pytest.fixture
def module(monkeypatch):
    """`module(name)`: a benchmark imported, with what it sets for its own process undone afterwards."""
    import importlib

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_phrase_reports_each_part_of_training():
    done = bench("phrase.py", "--acoustic", "micro", "--minutes", 1, "--steps", 9, "--threads", 1, "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["phrase"]
    assert [row["model"] for row in rows] == ["micro"] * 4
    assert all(row["CPU s"] > 0 and row["clock s"] > 0 for row in rows)
    assert bench("phrase.py", "--acoustic", "nowhere").returncode == 2


def test_phrase_times_a_whole_training_on_clips_of_both_halves(module, write_corpus, speech_like, tmp_path):
    phrase = module("phrase")
    for number, name in enumerate(("talk", "noise-esc10", "noise-speech-commands", "rir")):
        recordings = {f"{name}-{each}": speech_like(8.0, 10 * number + each) for each in range(4)}
        write_corpus(tmp_path / "made" / name, recordings).rename(tmp_path / f"{name}_cuts.jsonl.gz")
    said = {f"clip-{each}": speech_like(1.0, 50 + each) for each in range(12)}
    tests = dict.fromkeys(list(said)[1::2], "test")
    write_corpus(tmp_path / "made" / "cat", said, splits=tests).rename(tmp_path / "wakewords-cat_cuts.jsonl.gz")
    source = (phrase.one_hour.Source("talk"),)
    config = phrase.one_hour.Config(
        words=("cat",), manifests=str(tmp_path), negatives=source, test_negatives=source, steps=3, copies=1, threads=1
    )
    row = phrase.whole("micro", config, "cat", clips=10)
    trained = int(row["measured"].split(" clips")[0].split()[-1])
    assert row["model"] == "micro" and 8 <= trained <= 11 and row["clock s"] > 0 and row["CPU s"] > 0
    with pytest.raises(WakewordError, match="'cat' has 12 clips, and 13 are"):
        phrase.whole("micro", config, "cat", clips=11)


def test_speed_reports_each_part_and_the_listening_process(model_files, tmp_path):
    arguments = ["--seconds", 2, "--repeats", 1, "--memory-seconds", 3, "--blocks", 40, 200, "--json"]
    done = bench("speed.py", "--model", model_files[0], "--output", tmp_path / "speed.md", *arguments)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert {"cpu", "cores", "python", "numpy", "onnxruntime", "torch"} <= set(found["machine"])
    cases = [(row["model"], row["runtime"], row["block ms"]) for row in found["speed"]]
    assert cases == [("small", runtime, ms) for runtime in ("ONNX Runtime", "torch") for ms in (40, 200)]
    for row in found["speed"]:
        assert all(row[part] > 0 for part in ("features", "encoder", "head", "whole")), row
    written = (tmp_path / "speed.md").read_text()
    assert "| small | ONNX Runtime | 40 " in written and written.count("\n| small") >= 4
    if Path("/proc/self/status").exists():
        (memory,) = found["memory"]
        assert memory["model"] == "small" and memory["CPU s/h"] > 0
        assert 10 < memory["early MB"] <= memory["peak MB"] and memory["steady MB"] <= memory["peak MB"]


def test_a_time_is_the_least_of_the_rounds_scaled_to_an_hour(module, monkeypatch):
    speed = module("speed")
    clock, costs = [0.0], iter([9.0, 0.5, 0.2, 0.3])

    def work():
        clock[0] += next(costs)

    monkeypatch.setattr(speed.time, "process_time", lambda: clock[0])
    found = speed.measure({("m", "r", 80, "whole"): work}, seconds=20.0, repeats=3)
    assert found == {("m", "r", 80, "whole"): pytest.approx(0.2 * 180)}


def test_a_random_model_hears_as_many_phrases_as_asked_for(module, tmp_path):
    from wakeword import Detector

    paths = [module("speed").random_model("micro", count, tmp_path) for count in (1, 10)]
    assert [path.name for path in paths] == ["micro.wakeword", "micro-10-phrases.wakeword"]
    assert [len(Detector.load(path).phrases) for path in paths] == [1, 10]


def test_how_long_a_gate_was_open_before_a_hit(module):
    is_open = np.array([1, 1, 0, 0, 1, 1, 1, 0, 1, 1], bool)
    found = module("gate").open_before(np.array([0.08, 0.20, 0.28, 0.40]), is_open, 0.04)
    np.testing.assert_allclose(found, [0.04, 0.0, 0.08, 0.04])


def test_clips_to_improve_on_are_no_copies_of_those_that_test(module):
    improve = module("improve")
    splits = {0: "train", 1: "test", 2: "train", 3: "test", 4: "train", 5: "test", 6: "train", 7: "test"}
    cuts = [{"id": str(index), "custom": {"split": split, "group": index}} for index, split in splits.items()]
    cuts[4]["custom"]["group"] = cuts[5]["custom"]["group"] = 0  # recordings that stand there three times
    cuts[7]["custom"]["group"] = 6
    own, home, tests = ([cut["id"] for cut in each] for each in improve.divided(cuts, 1))
    assert (own, home, tests) == (["0"], ["2", "6"], ["1", "3"])
    with pytest.raises(WakewordError, match="4 clips to train on are too few for --clips 5"):
        improve.divided(cuts, 5)


def test_a_kept_clip_is_reviewed_by_what_was_played(module, tmp_path, speech_like):
    from wakeword.evaluation.streams import Event
    from wakeword.listener.kept import HIT, NEAR_MISS, Bounds, Kept, keep

    improve, folder = module("improve"), tmp_path / "kept"
    folder.mkdir(mode=0o700)
    said = improve.within([Event(1.0, 2.0, 2.0, None), Event(5.0, 6.0, 6.0, None)])
    for kind, at_s in ((HIT, 1.5), (HIT, 2.9), (HIT, 3.5), (NEAR_MISS, 0.5), (NEAR_MISS, 5.5)):
        about = Kept("two", kind, 0.9, 0.8, 1.0, "2026-01-01T00:00:00Z", stream_s=at_s)
        keep(folder, speech_like(1, 3), about, Bounds())
    counted = {"hit, yes": 2, "hit, no": 1, "near miss, no": 1, "near miss, yes": 1}
    assert improve.reviewed(folder, said) == counted
    assert not improve.reviewed(folder, said), "what is decided stays"


@pytest.mark.parametrize("above_db", [None, 1e3])
def test_a_gate_is_told_by_what_it_loses(module, model_files, speech_like, tmp_path, monkeypatch, capsys, above_db):
    """As it is it loses nothing; one that shuts for good after its first seconds loses clips."""
    parts = {"positives": (9, 1.0), "negatives": (2, 4.0), "noise": (1, 5.0)}
    for name, (count, seconds) in parts.items():
        for index in range(count):
            (tmp_path / name).mkdir(exist_ok=True)
            write_wav(tmp_path / name / f"{index}.wav", speech_like(seconds, index))
    if above_db:
        monkeypatch.setattr("wakeword.detector.gate.ABOVE_DB", above_db)
    gate = module("gate")
    paths = [part for name in parts for part in (f"--{name}", str(tmp_path / name))]
    options = ["--snr", "10", "--cpu-seconds", "1", "--repeats", "1", "--json", "--output", str(tmp_path / "gate.md")]
    monkeypatch.setattr(sys, "argv", ["gate.py", str(model_files[1]), *paths, *options])
    assert gate.main() == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["condition"] for row in found["misses"]] == ["clean", "noise, 10 dB", "steady noise, 10 dB"]
    for row in found["misses"]:
        assert row["clips"] == 9 and (row["newly missed"] > 0) == bool(above_db)
        assert row["hits sooner than 0.32 s"] <= 9 and (row["least s from opening to hit"] or 0) >= 0
        assert (row["gate open %"] > 50) != bool(above_db)
    (alarms,) = found["alarms"]
    assert alarms["hours"] == pytest.approx(8 / 3600)
    assert [row["sound"] for row in found["cpu"]] == ["speech", "noise", "a fan", "a quiet room"]
    assert all(row["CPU s/h with"] > 0 and row["CPU s/h without"] > 0 for row in found["cpu"])
    assert "| steady noise, 10 dB |" in (tmp_path / "gate.md").read_text()
    # By itself: the clips lost are among those at whose end it is shut.
    alone = [part for name in ("positives", "noise") for part in (f"--{name}", str(tmp_path / name))]
    monkeypatch.setattr(sys, "argv", ["gate.py", str(model_files[1]), "--alone", *alone, "--snr", "10", "--json"])
    assert gate.main() == 0
    rows = json.loads(capsys.readouterr().out)["alone"]
    for row, beside in zip(rows, found["misses"], strict=True):
        assert row["clips"] == 9 and row["shut"] >= beside["newly missed"] and (row["shut"] > 0) == bool(above_db)
        assert row["at most %"] > 100 * row["shut"] / 9


def test_phrases_are_found_in_their_clips_and_not_in_others(shared, write_corpus, tmp_path):
    paths = [path for word in ("alexa", "computer") for path in sorted((shared / "wake-words" / word).glob("*"))[:48:2]]
    texts = {f"{path.parent.name}-{path.stem}": path.parent.name for path in paths}
    manifest = write_corpus(tmp_path, dict(zip(texts, map(read_audio, paths), strict=True)), texts)
    done = bench("places.py", manifest, "--acoustic", "micro")
    assert done.returncode == 0, done.stderr
    heads, _, row = ([cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines())
    found = dict(zip(heads, row, strict=True))
    share = {name: float(cell.rstrip("%")) for name, cell in found.items() if cell.endswith("%")}
    assert found["clips"] == "48" and share["below -2.75"] < 10 and share["others below -2.75"] > 80
    assert share["end off in noise: energy"] > 3 * share["the model"]


def test_clips_of_which_nothing_is_said_are_refused(tmp_path, speech_like):
    write_wav(tmp_path / "a.wav", speech_like(1.0))
    done = bench("places.py", tmp_path / "a.wav", "--acoustic", "micro")
    assert done.returncode == 2 and "its manifest does not say what it says" in done.stderr


@pytest.mark.parametrize("arguments", [["--model", "none.onnx"], ["--blocks", "50"], ["--phrases", "0"]])
def test_a_mistake_is_one_line(arguments):
    done = bench("speed.py", *arguments, "--seconds", 1)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert any(told in done.stderr for told in ("none.onnx", "40 ms", "--phrases: must be a whole number, 1 or more"))


def test_a_report_that_cannot_be_written_is_printed_first(module, tmp_path, capsys):
    machine = module("machine")
    options = argparse.Namespace(json=True, output=tmp_path)
    with pytest.raises(WakewordError, match="cannot be written"):
        machine.publish({"machine": machine.machine()}, lambda found: machine.about(found["machine"]), options)
    assert json.loads(capsys.readouterr().out)["machine"]["cores"]
    options = argparse.Namespace(json=False, output=tmp_path / "report.md")
    machine.publish({"machine": {"cpu": "z80", "cores": 1}}, lambda found: machine.about(found["machine"]), options)
    assert options.output.read_text() == "Machine: cpu z80, cores 1"
    assert capsys.readouterr().out == "Machine: cpu z80, cores 1\n"


def test_training_is_measured_without_touching_the_run(write_corpus, speech_like, tmp_path):
    recordings = {f"u{i}": speech_like(2.0, i) for i in range(8)}
    manifest = write_corpus(tmp_path / "corpus", recordings, texts=dict.fromkeys(recordings, "hello"))
    config = tmp_path / "small.toml"
    config.write_text(CONFIG.format(out=tmp_path / "out", manifest="elsewhere.jsonl.gz"))
    data = tmp_path / "data.toml"
    data.write_text(f'[[data]]\nmanifest = "{manifest}"\n')
    done = bench("training.py", config, "--data", data, "--steps", 3, "--json", "--output", tmp_path / "training.md")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = {row["measured"]: row for row in found["training"]}
    parts = ["reading alone", "noise and rooms alone", "features alone", "features cached"]
    assert list(rows) == [*parts, "data alone", "step alone", "together"]
    assert rows["features cached"]["s a step"] < rows["data alone"]["s a step"]
    for row in rows.values():
        assert row["audio s a step"] == pytest.approx(4.0, abs=0.1)
        assert row["hours a minute"] == pytest.approx(row["audio s a step"] / 60 / row["s a step"])
    assert not (tmp_path / "out").exists()
    assert "together" in (tmp_path / "training.md").read_text()


def test_a_wrong_configuration_is_one_line(tmp_path):
    (tmp_path / "c.toml").write_text("sise = 3\n")
    done = bench("training.py", tmp_path / "c.toml")
    assert done.returncode == 2 and "unknown key 'sise'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
