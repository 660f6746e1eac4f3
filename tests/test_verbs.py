"""The verbs on a small model: what they refuse, what they warn of, what they print."""

from __future__ import annotations

import json
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.model.checkpoint import rewrite_meta, rewrite_onnx_meta, shipped  # noqa: E402


@pytest.fixture
def model(model_files) -> str:
    return str(model_files[1])


@pytest.fixture
def recordings(tmp_path, speech_like) -> Path:
    """Of two seconds each: `good.wav`, `silent.wav`, `clipped.wav`, `nan.wav` (float samples)."""
    soundfile = pytest.importorskip("soundfile")
    folder = tmp_path / "recordings"
    sound = speech_like(2, 1)
    write_wav(folder / "good.wav", sound)
    write_wav(folder / "silent.wav", sound * 1e-4)
    write_wav(folder / "clipped.wav", np.clip(sound * 100, -1, 1))
    sound[20000] = np.nan
    soundfile.write(folder / "nan.wav", sound, 16000, subtype="FLOAT")
    return folder


def lines_of(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("threshold", ["5", "0", "-0.5", "nan", "inf"])
def test_listen_refuses_a_threshold_that_no_posterior_has(model, recordings, threshold, capsys):
    assert main(["listen", model, "--file", str(recordings / "good.wav"), f"--threshold={threshold}"]) == 2
    told = lines_of(capsys.readouterr().err)
    assert len(told) == 1 and "threshold" in told[0] and "above 0 and at most 1" in told[0]
    assert "small.onnx" not in told[0], "the file is not at fault"


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_no_input_device_is_said(monkeypatch, flags, capsys):
    sound = types.SimpleNamespace(default=types.SimpleNamespace(device=(-1, -1)), query_devices=lambda: [])
    monkeypatch.setitem(sys.modules, "sounddevice", sound)
    assert main(["listen", "--list-devices", *flags]) == 2
    said = capsys.readouterr()
    assert said.out == "", "an object a line: none for no device"
    assert len(lines_of(said.err)) == 1 and "no input device" in said.err and "connect one" in said.err


@pytest.mark.parametrize("number", ["²", "9" * 5000], ids=["superscript", "long"])
def test_a_device_by_a_number_that_is_none_is_said(monkeypatch, model, number, capsys):
    devices = [{"name": "mic A", "max_input_channels": 1, "default_samplerate": 16000.0}]
    sound = types.SimpleNamespace(
        default=types.SimpleNamespace(device=(-1, -1)), query_devices=lambda: devices, PortAudioError=OSError
    )
    monkeypatch.setitem(sys.modules, "sounddevice", sound)
    assert main(["listen", model, "--device", number]) == 3
    told = lines_of(capsys.readouterr().err)
    assert len(told) == 1 and "choose one of: 0 mic A" in told[0]


def test_listen_takes_a_microphone_or_a_file(model, recordings, capsys):
    assert main(["listen", model, "--file", str(recordings / "good.wav"), "--device", "0"]) == 2
    said = capsys.readouterr()
    assert not said.out and len(lines_of(said.err)) == 1 and "--device and --file" in said.err


def test_listen_to_a_closed_standard_input_is_said(monkeypatch, model, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["listen", model, "--file", "-"]) == 2
    told = lines_of(capsys.readouterr().err)
    assert len(told) == 1 and "standard input is closed" in told[0]


@pytest.mark.parametrize("name, reason", [("silent", "silent (peak"), ("clipped", "clipped (")])
def test_listen_refuses_a_file_that_cannot_hold_the_phrase_once_it_is_heard(model, recordings, name, reason, capsys):
    path = recordings / f"{name}.wav"
    assert main(["listen", model, "--file", str(path), "--threshold", "1e-6", "--json"]) == 2
    said = capsys.readouterr()
    assert len(lines_of(said.out)) == 1, "it is heard all the same"
    assert [line for line in lines_of(said.err) if f"{path}: {reason}" in line and "record it again" in line]
    assert len(lines_of(said.err)) == 1


def test_listen_says_nothing_of_a_good_file_and_refuses_one_with_nan(model, recordings, capsys):
    assert main(["listen", model, "--file", str(recordings / "good.wav")]) == 0
    assert len(lines_of(capsys.readouterr().err)) == 1
    assert main(["listen", model, "--file", str(recordings / "nan.wav")]) == 2
    assert "nan.wav: holds samples that are NaN" in capsys.readouterr().err


def test_score_warns_and_scores(model, recordings, tmp_path, capsys):
    output = str(tmp_path / "scores.npz")
    assert main(["score", model, str(recordings), "--output", output, "--json"]) == 0
    said = capsys.readouterr()
    report = json.loads(said.out)
    silent, clipped, bad = (str(recordings / f"{name}.wav") for name in ("silent", "clipped", "nan"))
    assert report["files"] == 3 and set(report["warnings"]) == {silent, clipped} and set(report["skipped"]) == {bad}
    assert "silent (peak" in report["warnings"][silent] and "clipped (" in report["warnings"][clipped]
    warned = [line for line in lines_of(said.err) if "warning: " in line]
    assert len(warned) == 2 and any(silent in line for line in warned) and any(clipped in line for line in warned)
    with np.load(output) as arrays:
        assert arrays[f"{silent}/time_s"].shape == (50,) and arrays[f"{silent}/score"].shape == (50, 1)
        assert arrays["phrases"].tolist() == report["phrases"] == ["hello"]


def test_many_warnings_are_counted_in_a_line(model, tmp_path, capsys):
    for index in range(13):
        write_wav(tmp_path / "clips" / f"{index}.wav", np.zeros(8000, np.float32))
    assert main(["score", model, str(tmp_path / "clips"), "--output", str(tmp_path / "scores.npz")]) == 0
    warned = [line for line in lines_of(capsys.readouterr().err) if "warning: " in line]
    assert len(warned) == 11 and "3 more" in warned[-1]


@pytest.mark.parametrize("name", ["cuts.jsonl.gz", "CUTS.JSONL"])
def test_a_manifest_to_listen_to_is_named_so(model, tmp_path, name, capsys):
    (tmp_path / name).touch()
    assert main(["listen", model, "--file", str(tmp_path / name)]) == 2
    told = lines_of(capsys.readouterr().err)
    assert len(told) == 1 and "a manifest: listen takes one audio file; 'wakeword score' takes manifests" in told[0]


@pytest.mark.parametrize("name, remedy", [("none.wav", "no such file: check the spelling"), (".", "name a file in it")])
def test_a_file_that_is_none_is_named_with_a_remedy(model, tmp_path, name, remedy, capsys):
    assert main(["listen", model, "--file", str(tmp_path / name)]) == 2
    assert remedy in capsys.readouterr().err


def test_calibrate_changes_the_exported_model_itself(model, tmp_path, speech_like, capsys):
    path = tmp_path / "m.onnx"
    path.write_bytes(Path(model).read_bytes())
    write_wav(tmp_path / "negatives.wav", speech_like(90, 3))
    arguments = ["--negatives", str(tmp_path / "negatives.wav"), "--budget", "100/h", "--json"]
    assert main(["calibrate", str(path), *arguments]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["phrases"]
    detector = Detector.load(path)
    assert detector.thresholds == (entry["threshold"],) != (0.5,) and detector.info["phrases"] == [entry]
    assert entry["phrase"] == "hello" and entry["calibration"]["threshold"] == entry["threshold"]


@pytest.fixture
def several(several_files, tmp_path) -> list[str]:
    """Copies of the trained and of the exported model of the phrases "one", "two" and "three"."""
    paths = [tmp_path / path.name for path in several_files]
    for path, source in zip(paths, several_files, strict=True):
        path.write_bytes(source.read_bytes())
    return [str(path) for path in paths]


def test_calibrate_sets_all_thresholds_or_that_of_one_phrase(several, tmp_path, speech_like, capsys):
    write_wav(tmp_path / "negatives.wav", speech_like(90, 3))
    arguments = ["--negatives", str(tmp_path / "negatives.wav"), "--budget", "100/h", "--json"]
    for path in several:
        assert main(["calibrate", path, "--phrase", "two", *arguments]) == 0
        (entry,) = json.loads(capsys.readouterr().out)["phrases"]
        assert entry["phrase"] == "two" and Detector.load(path).thresholds == (0.5, entry["threshold"], 0.5)
        assert [each["calibration"] is None for each in Detector.load(path).info["phrases"]] == [True, False, True]
        assert main(["calibrate", path, *arguments]) == 0
        entries = json.loads(capsys.readouterr().out)["phrases"]
        assert entries == Detector.load(path).info["phrases"] and entries[1] == entry
        assert len({each["threshold"] for each in entries}) == 3
        assert main(["calibrate", path, *arguments[:-1]]) == 0
        told = [line for line in lines_of(capsys.readouterr().out) if line.startswith(path)]
        assert [line.split("'")[1] for line in told] == ["one", "two", "three"]
        assert main(["info", path, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["phrases"] == entries


def test_scores_of_several_phrases_have_a_column_each(several, recordings, tmp_path, capsys):
    output, good = str(tmp_path / "scores.npz"), str(recordings / "good.wav")
    assert main(["score", several[1], good, "--output", output, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phrases"] == ["one", "two", "three"]
    with np.load(output) as arrays:
        assert arrays["phrases"].tolist() == ["one", "two", "three"]
        expected = Detector.load(several[0]).scores(read_audio(good))[1]
        np.testing.assert_allclose(arrays[f"{good}/score"], expected, atol=1e-4)


def test_listen_names_the_phrase_of_each_hit(several, recordings, capsys):
    file = ["--file", str(recordings / "good.wav"), "--threshold", "1e-6"]
    assert main(["listen", several[1], *file, "--json"]) == 0
    hits = [json.loads(line) for line in lines_of(capsys.readouterr().out)]
    assert [hit["phrase"] for hit in hits] == ["one", "two", "three"] and {hit["time_s"] for hit in hits} == {0.04}
    assert main(["listen", several[1], *file]) == 0
    assert [line.split()[2] for line in lines_of(capsys.readouterr().out)] == ["one", "two", "three"]


def test_evaluate_asks_which_phrase(several, recordings, tmp_path, speech_like, capsys):
    write_wav(tmp_path / "negatives.wav", speech_like(60, 3))
    audio = ["--positives", str(recordings / "good.wav"), "--negatives", str(tmp_path / "negatives.wav")]
    for phrase in ([], ["--phrase", "four"]):
        assert main(["evaluate", several[1], *phrase, *audio]) == 2
        told = lines_of(capsys.readouterr().err)
        assert len(told) == 1 and "listens for 'one', 'two', 'three'" in told[0]
    assert main(["calibrate", several[1], "--phrase", "four", *audio[2:], "--budget", "1/h"]) == 2
    assert "--phrase four: the model listens for 'one'" in capsys.readouterr().err
    assert main(["evaluate", several[1], "--phrase", "two", *audio, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phrase"] == "two"


@pytest.mark.parametrize(
    ("snrs", "noise", "named"),
    [
        (["5"], False, "--snr belongs to --noise"),
        (["nan"], True, "an SNR of nan dB: must be from -100 to 100"),
        (["10", "inf"], True, "an SNR of inf dB"),
        (["10000"], True, "an SNR of 10000 dB"),
    ],
)
def test_evaluate_refuses_snrs_that_cannot_be_heard(model, recordings, snrs, noise, named, capsys):
    audio = str(recordings / "good.wav")
    command = ["evaluate", model, "--positives", audio, "--negatives", audio, *["--noise", audio] * noise]
    assert main([*command, "--snr", *snrs]) == 2
    (told,) = lines_of(capsys.readouterr().err)
    assert named in told


def test_clips_that_are_positives_and_negatives_are_refused(model, tmp_path, speech_like, capsys):
    path = tmp_path / "m.onnx"
    path.write_bytes(Path(model).read_bytes())
    write_wav(tmp_path / "all" / "clips" / "a.wav", speech_like(2, 1))
    write_wav(tmp_path / "all" / "other.wav", speech_like(60, 3))
    clips, everything, other = (str(tmp_path / name) for name in ("all/clips", "all", "all/other.wav"))
    evaluate = ["evaluate", str(path), "--positives", clips, "--negatives"]
    for command, named in (
        (
            ["calibrate", str(path), "--positives", clips, "--negatives", everything, "--budget", "1/h"],
            "--positives and --negatives",
        ),
        ([*evaluate, everything], "positives and negatives"),
        ([*evaluate, everything, "--robustness"], "positives and negatives"),
        ([*evaluate, other, "--dev", everything], "positives and development negatives"),
        ([*evaluate, other, "--other-words", clips], "positives and other trigger words"),
    ):
        assert main(command) == 2
        (told,) = lines_of(capsys.readouterr().err)
        assert f"clips/a.wav: in {named} both" in told and "leave it out of one" in told
    assert path.read_bytes() == Path(model).read_bytes()


@pytest.fixture
def curved(curved_files, tmp_path) -> list[str]:
    """Copies of the calibrated models."""
    paths = [tmp_path / path.name for path in curved_files]
    for path, source in zip(paths, curved_files, strict=True):
        path.write_bytes(source.read_bytes())
    return [str(path) for path in paths]


def test_calibrate_states_what_the_hours_can_show_and_writes_a_curve(model, tmp_path, speech_like, capsys):
    path = tmp_path / "m.onnx"
    path.write_bytes(Path(model).read_bytes())
    write_wav(tmp_path / "negatives.wav", speech_like(120, 3))
    arguments = ["calibrate", str(path), "--negatives", str(tmp_path / "negatives.wav"), "--budget", "1 per 24 h"]
    assert main(arguments) == 0
    first, *lines = lines_of(capsys.readouterr().out)
    detector = Detector.load(path)
    (threshold,), (curve,) = detector.thresholds, detector.curves
    # 0.03 h tell nothing of what is rarer than once in a hundred times as many.
    expected = "expected fewer than 1 per 3.33 h by a fitted tail, seen 0 in 0.03 h"
    assert f"'hello': threshold {threshold:.4f} for 1 per 24 h: {expected}" in first
    assert "0.03 h of negatives are too few to show 0.0417" in first and "so the rate is below" in first
    assert "misses not known (no --positives)" in first
    assert curve.budget == 1 / 24 and curve.threshold_at(1 / 24) == threshold and len(curve.points) == 11
    shown = [line for line in lines if f"{threshold:.4f}" in line]
    assert shown and "1 per 24 h" in shown[0] and "not known" in shown[0]
    assert main([*arguments, "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["phrases"]
    assert len(entry["calibration"]["curve"]) == 11 and entry["calibration"]["clips"] == 0
    assert "takes the place" not in first + "".join(lines), "of as many hours as before, or of none"
    write_wav(tmp_path / "negatives.wav", speech_like(90, 3))
    assert main(arguments) == 0
    assert "it takes the place of one by 0.03 h of negatives, which tell more" in capsys.readouterr().out


def test_calibrate_tells_the_misses_on_given_clips_or_on_those_held_out(several, tmp_path, speech_like, capsys):
    write_wav(tmp_path / "negatives.wav", speech_like(90, 3))
    for index in range(8):
        write_wav(tmp_path / "clips" / f"{index}.wav", speech_like(1.5, 50 + index))
    (tmp_path / "clips" / "broken.wav").write_bytes(b"RIFF")
    audio = ["--negatives", str(tmp_path / "negatives.wav"), "--budget", "100/h"]
    clips = ["--positives", str(tmp_path / "clips")]
    for path in several:
        assert main(["calibrate", path, *audio, *clips]) == 2
        assert "choose one with --phrase" in capsys.readouterr().err, "whose clips are they?"
        assert main(["calibrate", path, *audio, "--phrase", "two", "--json"]) == 0
        (plain,) = json.loads(capsys.readouterr().out)["phrases"]
        assert main(["calibrate", path, *audio, *clips, "--phrase", "two", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        (entry,) = report["phrases"]
        assert entry["threshold"] == plain["threshold"], "clips that are given choose nothing"
        assert list(report["skipped"]) == [str(tmp_path / "clips" / "broken.wav")]
        found = entry["calibration"]
        assert found["clips"] == 8 and found["positives"] == "given to calibrate"
        assert main(["evaluate", path, "--phrase", "two", *clips, *audio[:2], "--json"]) == 0
        own = json.loads(capsys.readouterr().out)["operating_points"][0]
        assert own["threshold"] == entry["threshold"]
        assert own["conditions"]["clean"]["missed"] == found["missed"]
        assert own["conditions"]["clean"]["interval"] == found["miss_interval"]
        missed = [each["missed"] for each in found["curve"]]
        assert {each["clips"] for each in found["curve"]} == {8} and len(set(missed)) > 1

        held_out = {"clips": 40, "thresholds": [entry["threshold"], 0.99], "missed": [4, 39]}
        card = {"phrases": {"two": {"held_out_misses": held_out}}}
        (rewrite_onnx_meta if path.endswith("onnx") else rewrite_meta)(path, {"card": card})
        assert main(["calibrate", path, *audio]) == 0
        told = [line for line in lines_of(capsys.readouterr().out) if line.startswith(path)]
        assert "missed 10.0% (4.0% to 23.1%), 4 of 40 clips held out of training" in told[1]
        assert "misses not known" in told[0] and "misses not known" in told[2]
        held_out["thresholds"] = [(1 + entry["threshold"]) / 2, 0.999]
        (rewrite_onnx_meta if path.endswith("onnx") else rewrite_meta)(path, {"card": card})
        for given in ([], clips):  # clips that training held out raise it, whosever misses are told
            assert main(["calibrate", path, *audio, *given, "--phrase", "two", "--json"]) == 0
            (raised,) = json.loads(capsys.readouterr().out)["phrases"]
            assert entry["threshold"] < raised["threshold"] < held_out["thresholds"][0]
            assert raised["calibration"]["clips"] == (8 if given else 40)
        (rewrite_onnx_meta if path.endswith("onnx") else rewrite_meta)(
            path, {"card": {"phrases": {"two": {"held_out_misses": 3}}}}
        )
        assert main(["calibrate", path, *audio]) == 2
        told = lines_of(capsys.readouterr().err)[-1]
        assert f"{path}: held_out_misses" in told and "train it again" in told


def test_calibrate_refuses_a_budget_before_it_hears_anything(model, recordings, capsys):
    assert main(["calibrate", model, "--negatives", str(recordings), "--budget", "seldom"]) == 2
    told = lines_of(capsys.readouterr().err)
    assert len(told) == 1 and "'seldom' is not understood" in told[0]


def test_listen_moves_along_the_curve(curved, recordings, capsys):
    file = ["--file", str(recordings / "good.wav"), "--json"]
    hits = {}
    for sensitivity in ("0", "0.5", "1"):
        assert main(["listen", curved[1], *file, "--sensitivity", sensitivity]) == 0
        said = capsys.readouterr()
        hits[sensitivity] = len(lines_of(said.out)) if said.out else 0
        thresholds = Detector.load(curved[1], sensitivity=float(sensitivity)).thresholds
        for phrase, threshold in zip(("one", "two", "three"), thresholds, strict=True):
            assert f"wakeword: '{phrase}': threshold {threshold:.4f}" in said.err
    assert hits["0"] <= hits["0.5"] <= hits["1"] and hits["0"] < hits["1"]
    assert main(["listen", curved[1], *file, "--budget", "1 per 2 h"]) == 0
    assert "'one': threshold 0.9000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--sensitivity", "2"], "sensitivity 2.0: must be a number from 0 to 1"),
        (["--sensitivity", "0.5", "--threshold", "0.5"], "and not several of them"),
        (["--sensitivity", "0.5", "--budget", "1/h"], "and not several of them"),
        (["--budget", "1 per week"], "run 'wakeword calibrate' with this budget"),
        (["--budget", "often"], "is not understood"),
    ],
)
def test_listen_refuses_in_a_line_what_no_curve_has(curved, recordings, given, told, capsys):
    assert main(["listen", curved[1], "--file", str(recordings / "good.wav"), *given]) == 2
    said = lines_of(capsys.readouterr().err)
    assert len(said) == 1 and told in said[0]


def test_listen_says_of_a_model_without_a_curve_what_to_run(model, recordings, capsys):
    for given in (["--sensitivity", "0.7"], ["--budget", "1/h"]):
        assert main(["listen", model, "--file", str(recordings / "good.wav"), *given]) == 2
        said = lines_of(capsys.readouterr().err)
        assert len(said) == 1 and "small.onnx: no curve" in said[0] and "'wakeword calibrate'" in said[0]


def test_info_shows_the_curves(curved, capsys):
    for path in curved:
        assert main(["info", path]) == 0
        text = capsys.readouterr().out
        assert "'two', calibrated for 1 per 20 h" in text and "15.0% (5.0% to 36.0%), 3 of 20" in text
        lines = [line.split() for line in text.splitlines()]
        for words in (["1", "per", "2", "h", "0.9000*"], ["20", "per", "h", "0.1000"]):
            assert any(line[: len(words)] == words for line in lines), words
        assert '"curve"' not in text and '"fa_per_hour_budget": 0.05' in text
        assert main(["info", path, "--json"]) == 0
        entries = json.loads(capsys.readouterr().out)["phrases"]
        assert [len(entry["calibration"]["curve"]) for entry in entries] == [3, 3, 3]
        entries[1]["calibration"]["curve"][0]["threshold"] = 0.1
        (rewrite_onnx_meta if path.endswith("onnx") else rewrite_meta)(path, {"phrases": entries})
        for verb in (["info", path], ["listen", path, "--file", "-"]):
            assert main(verb) == 2
            said = lines_of(capsys.readouterr().err)
            assert len(said) == 1 and path in said[0] and "curve: thresholds of 0.1 and, for more, 0.8" in said[0]


def test_info_tells_the_runs_of_an_acoustic_model_in_a_line_each(tmp_path, capsys):
    path = str(tmp_path / "micro.safetensors")
    shutil.copy(shipped("micro"), path)
    first = {"hours_heard": 10.0, "steps": 50, "note": "From random weights.", "commit": "aaa"}
    first["resumed"] = [{"step": 20, "commit": "bbb"}]
    card = {"hours_heard": 15.5, "steps": 7, "note": "Longer.", "commit": "ccc", "begun_from": [first]}
    card["error_rates"] = {"a set": {"all": {"cer": 0.25}, "gender: female": {"cer": 0.5}}}
    rewrite_meta(path, {"card": card})
    assert main(["info", path]) == 0
    text = capsys.readouterr().out
    assert "run 1, commit aaa, then bbb: 10 h, 50 steps. From random weights.\n" in text
    assert "run 2, commit ccc: 5.5 h, 7 steps. Longer.\nin all 15.5 h, 57 steps\n" in text
    assert '"note"' not in text and "gender: female" not in text
    assert text.splitlines()[-1].startswith("--json shows all of it: the error rates by groups of speakers")
    assert main(["info", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == card
    odd_ones = [
        {**card, key: value} for key, value in (("begun_from", 3), ("begun_from", [None]), ("hours_heard", None))
    ]
    for odd in (*odd_ones, {"note": "without hours"}):
        rewrite_meta(path, {"card": odd})
        assert main(["info", path]) == 0
        text = capsys.readouterr().out
        assert "run 1" not in text and '"note"' in text
