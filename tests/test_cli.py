"""What commands and scripts share: an exit status with one line for a mistake, and numbers that make sense."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path

import pytest

from data_prep.voices import Voice
from wakeword.audio.waveform import write_wav
from wakeword.cli import exit_status, number, show
from wakeword.errors import ConfigError

ROOT = Path(__file__).parents[1]
SCRIPTS = {
    "shard": "data_prep.shard",
    "prepare": "prepare",
    "synthetic": "synthetic",
    "card": "card",
    "training": "training",
    "speed": "speed",
}


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ConfigError("a.toml: seed = -1: must be 0 or more"), "script: a.toml: seed = -1: must be 0 or more"),
        (OSError(28, "No space left on device"), "script: the output: No space left on device"),
        (PermissionError(13, "Permission denied", "exp/log"), "script: exp/log: Permission denied"),
        (NotADirectoryError(20, "Not a directory", "exp/a"), "script: exp/a: Not a directory"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(error, told, capsys):
    assert exit_status(raising(error), "script") == 2
    assert capsys.readouterr().err == told + "\n"


def test_the_status_is_what_the_work_returns(capsys):
    assert exit_status(lambda: None) == 0 and exit_status(lambda: 1) == 1
    assert exit_status(raising(KeyboardInterrupt()), "script") == 130
    with pytest.raises(ZeroDivisionError):  # a bug of ours keeps its traceback
        exit_status(lambda: 1 // 0)


@pytest.mark.parametrize(
    ("convert", "good", "bad"),
    [
        (number(least=1), {"1": 1, "20": 20}, ["0", "-3", "1.5", "nan", "many", "1" * 400]),
        (number(float, above=0), {"1e-3": 1e-3, "2": 2.0}, ["0", "-0.5", "nan", "inf", ""]),
        (number(float, least=1), {"1": 1.0}, ["0.99", "nan"]),
    ],
)
def test_numbers_that_make_no_sense_are_refused(convert, good, bad):
    assert {text: convert(text) for text in good} == good
    for text in bad:
        with pytest.raises(argparse.ArgumentTypeError, match="must be a"):
            convert(text)


@pytest.fixture
def script(monkeypatch):
    """`script(name, arguments)`: the exit status of one of the `SCRIPTS`, run in this process."""
    pytest.importorskip("torch")
    pytest.importorskip("lhotse")
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # as speed.py sets them, put back afterwards
    monkeypatch.setattr(sys, "path", [str(ROOT / "recipes" / "pretrain"), str(ROOT / "benchmarks"), *sys.path])
    before = set(sys.modules)

    def run(name, arguments):
        module = importlib.import_module(SCRIPTS[name])
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments)])
        try:
            return module.main()
        except SystemExit as end:
            return end.code

    yield run
    for name in {*SCRIPTS.values(), "machine", "listening"} - before:
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("shard", ["m.jsonl.gz", "--out", "o", "--size", "0"], "--size: must be a whole number, 1 or more"),
        ("shard", ["m.jsonl.gz", "--out", "o", "--threads", "-1"], "--threads: must be a whole number, 1 or more"),
        ("synthetic", ["--hours", "nan"], "--hours: must be a number, above 0"),
        ("synthetic", ["--hours", "-1"], "--hours: must be a number, above 0"),
        ("training", ["c.toml", "--steps", "0"], "--steps: must be a whole number, 1 or more"),
        ("speed", ["--repeats", "0"], "--repeats: must be a whole number, 1 or more"),
        ("speed", ["--seconds", "nan"], "--seconds: must be a number, above 0"),
    ],
)
def test_a_script_refuses_a_number_that_makes_no_sense(script, name, arguments, told, capsys):
    assert script(name, arguments) == 2
    assert told in capsys.readouterr().err.splitlines()[-1]


def test_an_engine_that_is_not_there_is_named_beside_those_that_are(script, tmp_path, capsys, monkeypatch):
    importlib.import_module("synthetic")
    for module in ("synthetic", "data_prep.synthesise"):
        monkeypatch.setattr(f"{module}.installed_voices", lambda: [Voice("kokoro", "a"), Voice("piper", "b")])
    place = ["--clips", tmp_path / "clips", "--out", tmp_path / "out", "--hours", "0.001"]
    for engines, told in ((["--engines", "kokoro,fite"], "--engines 'fite'"), ([], "--engines 'hibari'")):
        assert script("synthetic", [*engines, *place]) == 2
        assert f"{told}: no installed voice begins so: installed are kokoro, piper" in capsys.readouterr().err
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize("name", ["shard", "synthetic"])
def test_a_folder_that_is_a_file_is_one_line(script, name, tmp_path, write_corpus, speech_like, capsys):
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "below"
    arguments = {
        "shard": [write_corpus(tmp_path / "corpus", {"u": speech_like(1, 1)}), "--out", place],
        "synthetic": ["--clips", place, "--out", place, "--hours", "0.001"],
    }[name]
    assert script(name, arguments) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith(f"{name}: {place}") and "cannot be written (Not a directory): free space or" in last


def test_corpora_whose_manifests_cannot_be_written_are_not_probed(script, tmp_path, speech_like, capsys, monkeypatch):
    write_wav(tmp_path / "rir" / "speechbrain" / "r.wav", speech_like(1, 1))
    (tmp_path / "file").touch()
    monkeypatch.setattr("data_prep.common.probe", lambda path: pytest.fail(f"{path} was probed"))
    assert script("prepare", ["--shared", tmp_path, "--out", tmp_path / "file"]) == 1
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rir ")]
    assert "rir_cuts.jsonl.gz: cannot be written (" in row


def test_a_report_names_the_first_of_many_skipped_files(capsys):
    reasons = {f"{i}.wav": f"{i}.wav: empty" for i in range(336)}
    show({"cuts": 3, "reasons": reasons}, as_json=False)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "cuts: 3" and second.startswith("reasons: 0.wav: empty; 1.wav: empty")
    assert second.endswith("9.wav: empty; and 326 more: --json lists all")
    show({"reasons": reasons}, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"reasons": reasons}


def test_what_a_report_counts_by_name_is_shown_with_the_names(capsys):
    speech = {"clips": 2, "skipped": {"a.wav": "a.wav: empty"}}
    read = {"librispeech": {"hours": 2.08, "licence": "CC BY 4.0"}}
    show({"made": {"noises": 0, "rooms": 3}, "data": read, "speech": speech, "mixed_in": {}}, as_json=False)
    assert capsys.readouterr().out.splitlines() == [
        "made: noises 0; rooms 3",
        "data: librispeech (hours 2.08; licence CC BY 4.0)",
        "speech: clips 2; skipped (a.wav: empty)",
        "mixed_in: ",
    ]
