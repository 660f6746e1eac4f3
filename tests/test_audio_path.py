"""The benchmark of listeners at a virtual sound card: when phrases ended, what a hit belongs to, what it reports."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # the benchmark makes models with it

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """`module(name)`: a benchmark imported, with what it sets for its own process undone afterwards."""
    import importlib

    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "path", [*sys.path, str(FOLDER)])
    return importlib.import_module


def recorder(module, samples: np.ndarray, begun_s: float, late_s):
    """A recorder that was given samples in pieces of 320, each later than it could have come by `late_s(index)`."""
    found = object.__new__(module("audio_path_delays").Recorder)
    found.samples = bytearray(samples.astype("<i2").tobytes())
    found.counts = list(range(320, len(samples) + 1, 320))
    found.early = [begun_s + late_s(index) for index in range(len(found.counts))]
    return found


def test_the_end_of_each_phrase_is_found_in_what_was_recorded(module, speech_like):
    """The player begins late, drops out once and one clip never comes; the reader is mostly late."""
    from wakeword.audio.clips import Clip
    from wakeword.evaluation.streams import Event

    rng = np.random.default_rng(0)
    played = rng.normal(0, 5, 16000 * 20)
    events = []
    for index, start_s in enumerate((2.0, 7.0, 11.0, 15.0)):
        at = round(16000 * start_s)
        played[at : at + 16000] += 8000 * speech_like(1.0, index)
        events.append(Event(start_s, start_s + 1.0, start_s + 0.8, Clip("x")))
    come = played.copy()
    come[round(16000 * 11) : round(16000 * 12)] = 0
    come = np.concatenate([np.zeros(16000 * 3 + 4321), come[: 16000 * 5], np.zeros(2000), come[16000 * 5 :]])
    come = 0.5 * come + rng.normal(0, 5, len(come))
    heard = recorder(module, come, 1000.0, lambda index: 0.0 if index % 40 == 7 else 0.05 + 0.1 * rng.random())
    ends = list(module("audio_path_delays").played_at(heard, played, events, began_s=1002.0))
    late = 3 + 4321 / 16000
    assert ends[0] == pytest.approx(1000 + late + 2.8, abs=0.002)
    assert ends[1] == pytest.approx(1000 + late + 2000 / 16000 + 7.8, abs=0.002)
    assert np.isnan(ends[2])
    assert ends[3] == pytest.approx(1000 + late + 2000 / 16000 + 15.8, abs=0.002)


def test_a_hit_belongs_to_the_phrase_that_it_follows(module):
    ends = np.array([10.0, 20.0, 23.0, 40.0])
    found, others = module("audio_path_delays").delays(ends, np.full(4, 1.5), [9.9, 11.5, 21.4, 21.6, 30.0, 42.5])
    np.testing.assert_allclose(found, [-0.1, 1.4, -1.4, np.nan])
    assert others == 2
    found, others = module("audio_path_delays").delays(ends, np.full(4, 1.5), [])
    assert np.isnan(found).all() and others == 0


def test_another_engine_fires_once_an_excursion_and_once_a_second(module):
    trigger = module("audio_path_engine").Trigger(0.5)
    scores = [0.5, 0.9, 0.1, 0.6, 0.7, 0.2, 0.0, 0.9, 0.9]
    assert [trigger.fires(score, 0.25 * index) for index, score in enumerate(scores)] == [
        True, False, False, False, True, False, False, False, True,
    ]  # fmt: skip


def test_other_engines_run_with_one_model_and_with_as_many_as_ours(module):
    path = module("audio_path")
    found = path.peer_commands(Path("venv/bin/python"))
    assert [models for _, models, _ in found] == [1, path.MANY] * 2
    assert {name.split()[0] for name, _, _ in found} == {"openwakeword", "pymicro-wakeword"}
    for _, models, command in found:
        said = json.loads(command[-1])
        assert command[-2] in path.PEERS and said["word"] == "alexa" and len(said["beside"]) == models - 1
        assert command[0].endswith("venv/bin/python") and "alexa" not in said["beside"]


def test_a_row_says_cost_by_the_time_that_it_was_measured_in(module):
    path = module("audio_path")
    one = path.Listener("ours", 1, process=None, hits=[], cpu_s=[1.0, 1.5, 4.5], memory_mb=(70.0, 80.0))
    row = path.row_of(one, np.array([0.1, np.nan, 0.3, 0.2]), 2, idle_s=100.0, speech_s=300.0)
    assert row["% of a core, quiet"] == pytest.approx(0.5) and row["CPU s/h, quiet room"] == pytest.approx(18)
    assert row["CPU s/h"] == pytest.approx(36) and row["delay s, median"] == pytest.approx(0.2)
    assert row["missed %"].startswith("25.0") and row["other hits/h"].startswith("18.0")
    assert (row["memory MB"], row["peak MB"]) == (70.0, 80.0)
    assert "| ours " in path.text(
        {"machine": {}, "played": {"phrase": "x", "minutes": 5.0, "clips": 4, "lost": 1}, "listeners": [row]}
    )


def test_models_are_filled_up_with_others_of_the_same_size_that_share_nothing(module, tmp_path, monkeypatch):
    from wakeword.detector.together import encoders, load_together
    from wakeword.export import export_onnx

    export_onnx(module("speed").random_model("micro", 1, tmp_path, 9), tmp_path / "mine.onnx")
    path = module("audio_path")
    monkeypatch.setattr(path, "MANY", 3)
    paths = path.filled([tmp_path / "mine.onnx"], tmp_path)
    assert len(paths) == 3 and encoders(load_together(paths)) == 3
    assert len({each.stat().st_size for each in paths}) == 1


def test_what_is_played_is_a_quiet_room_and_then_clips_amid_pauses(module, tmp_path, speech_like):
    import argparse

    from wakeword.audio.waveform import write_wav
    from wakeword.errors import Skipped, WakewordError

    for index in range(2):
        write_wav(tmp_path / f"{index}.wav", speech_like(1.0, index))
    (tmp_path / "2.wav").write_bytes(b"none")
    path, skipped = module("audio_path"), Skipped()
    args = argparse.Namespace(positives=[str(tmp_path)], minutes=0.5, idle_minutes=0.1)
    samples, events = path.sound(args, skipped)
    assert len(events) > 3 and len(skipped) == 1 and 26 < len(samples) / 16000 <= 36
    assert events[0].start_s > 6 + path.PAUSE_S[0] and np.abs(samples[: 16000 * 6]).max() < 50 < samples.max()
    with pytest.raises(WakewordError, match="no clip fits"):
        path.sound(argparse.Namespace(positives=[str(tmp_path)], minutes=0.01, idle_minutes=0.1), skipped)
