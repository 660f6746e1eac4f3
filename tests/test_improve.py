"""Kept clips, reviewed, to a better model, or to none: rising sweeps are the phrase, falling ones the false alarms."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from sweeps import sweep, sweep_material  # noqa: E402

from wakeword.audio.clips import find_clips  # noqa: E402
from wakeword.audio.levels import active_span  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import Skipped  # noqa: E402
from wakeword.listener.kept import HIT, NEAR_MISS, Bounds, Kept, decide, keep, kept_clips, private_folder, read_kept  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.training import guard  # noqa: E402
from wakeword.training import improve as improvement  # noqa: E402
from wakeword.training.improve import ImproveConfig  # noqa: E402
from wakeword.training.improve_material import cut, divided, negatives_of, reviewed  # noqa: E402
from wakeword.training.train import train  # noqa: E402
from wakeword.training.train_config import Phrase, TrainConfig  # noqa: E402


@pytest.fixture(scope="module")
def material(tmp_path_factory, lively, speech_like, write_corpus):
    """As `sweep_material`, with a model of rising sweeps, `up.wakeword`, that has never heard falling ones; audio to
    calibrate on (`dev`) and to test on (`test`), both with falling sweeps, and clips to test on (`judge`); what was
    listened to, `room.wav`."""
    folder = sweep_material(tmp_path_factory.mktemp("improve"), lively, speech_like, write_corpus)
    train(
        TrainConfig(
            phrases=(Phrase("going up", (str(folder / "up"),)),),
            negatives=(str(folder / "other" / "cuts.jsonl.gz"),),
            acoustic=str(folder / "small.safetensors"),
            unfreeze="all",
            budget="30 per h",
            output=str(folder / "up.wakeword"),
            depth=3,
            channels=16,
            copies=2,
            steps=150,
            batch=8,
            negative_hours=0.1,
            encoder_learning_rate=2e-3,
            threads=1,
        )
    )
    # Nothing in the negatives that it knows is like a sweep, so that the threshold chosen on them is near 0.
    entry = {"phrase": "going up", "threshold": 0.5, "calibration": None}
    checkpoint.rewrite_meta(folder / "up.wakeword", {"phrases": [entry]})
    for name, first in (("dev", 50), ("test", 60)):
        for index in range(3):
            write_wav(folder / name / f"{index}.wav", speech_like(25, first + index))
        for index in range(18):
            write_wav(folder / name / f"down-{index}.wav", sweep(False, 10 * first + index))
    for index in range(40):
        write_wav(folder / "judge" / f"{index}.wav", sweep(True, 400 + index))
    pause = np.random.default_rng(0).standard_normal(3 * 16000).astype(np.float32) * 1e-3
    room = [part for index in range(12) for up in (True, False) for part in (pause, sweep(up, 300 + index))]
    write_wav(folder / "room.wav", np.concatenate([*room, pause]))
    return folder


def given(material: Path, output: Path, *more: str) -> list[str]:
    """The command line of an improvement of `up.wakeword`, by what `near` kept. The audio can show the budget."""
    paths = {
        "--positives": material / "up",
        "--negatives": material / "other" / "cuts.jsonl.gz",
        "--test-positives": material / "judge",
        "--test-negatives": material / "test",
        "--dev": material / "dev",
        "--output": output,
    }
    named = [str(part) for pair in paths.items() for part in pair]
    return [
        "improve",
        str(material / "up.wakeword"),
        str(material / "near"),
        *named,
        "--threads",
        "1",
        "--budget",
        "120 per h",
        *more,
    ]


@pytest.fixture(scope="module")
def near(material) -> Path:
    """What a listener kept of the room, reviewed by someone who knows: rising sweeps come first in each 7 s or so."""
    folder = material / "near"
    command = ["listen", str(material / "up.wakeword"), "--file", str(material / "room.wav")]
    assert main([*command, "--save-near-misses", str(folder)]) == 0
    for path, about in kept_clips(folder, Skipped()):
        decide(path, about, "yes" if rises(read_audio(path), about.at_s) else "no")
    return folder


def rises(samples: np.ndarray, at_s: float) -> bool:
    """Whether the sweep that ends last before a time rises: by where the energy lies in its halves."""
    last = samples[: round(at_s * 16000)][-9600:]
    loud = np.flatnonzero(np.abs(last) > 0.02)
    halves = np.array_split(last[loud[0] : loud[-1]], 2)
    crossings = [np.count_nonzero(np.diff(np.signbit(half))) for half in halves]
    return crossings[1] > crossings[0]


def hits_in(model: Path, folder: Path) -> int:
    """How many clips of a folder the model hits."""
    (found,) = guard.judge(Detector.load(model), [find_clips(folder)], find_clips(folder), Skipped())
    return int((~found.missed).sum())


def test_false_alarms_that_were_reviewed_go_and_the_phrase_stays(material, near, tmp_path, capsys):
    decisions = [about.decision for _, about in kept_clips(near, Skipped())]
    assert decisions.count("yes") >= 8 and decisions.count("no") >= 8, decisions
    old, new = material / "up.wakeword", tmp_path / "new.wakeword"
    before = old.read_bytes()
    assert main([*given(material, new, "--steps", "150"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    (found,) = report["phrases"]
    assert report["written"] and found["confirmed"] == decisions.count("yes")
    assert found["refused"] == decisions.count("no")
    # The test's falling sweeps are others than the kept ones, and the budget lets some fire.
    assert found["before"]["false_alarms"] >= 10 and found["after"]["false_alarms"] <= 5
    assert found["after"]["clips"] == 40 and found["after"]["missed"] <= 2
    assert hits_in(old, material / "test-down") >= 10 and hits_in(new, material / "test-down") <= 5
    assert old.read_bytes() == before and not Path(f"{new}.begun").exists()
    # The card says it, and the file's curve has the misses of the test.
    meta = checkpoint.read_meta(new)
    (step,) = meta["card"]["improved"]
    assert step["phrases"] == report["phrases"] and step["from_sha256"] == hashlib.sha256(before).hexdigest()
    assert meta["card"]["phrases"]["going up"]["estimate"]["clips"] == 40
    calibration = meta["phrases"][0]["calibration"]
    assert calibration["fa_per_hour_budget"] == 120.0 and calibration["clips"] == 40
    assert found["after"]["threshold"] == meta["phrases"][0]["threshold"] == Detector.load(new).thresholds[0]
    # The encoder is the old one, bit for bit.
    tensors = [checkpoint.load(path, "wakeword")[0] for path in (old, new)]
    same = {name: torch.equal(tensors[0][name], tensors[1][name]) for name in tensors[0]}
    assert all(equal for name, equal in same.items() if name.startswith("encoder.")) and not all(same.values())


def test_a_model_that_got_worse_is_refused_and_what_is_there_stays(material, near, tmp_path, capsys):
    """Someone pressed the wrong keys: each hit of the phrase was refused, each false alarm confirmed."""
    wrong = tmp_path / "wrong"
    shutil.copytree(near, wrong)
    for path, about in kept_clips(wrong, Skipped()):
        decide(path, about, {"yes": "no", "no": "yes"}[about.decision])
    there = tmp_path / "there.wakeword"
    there.write_bytes((material / "up.wakeword").read_bytes())
    command = given(material, there, "--steps", "150")
    command[2] = str(wrong)
    assert main(command) == 2
    said = capsys.readouterr()
    assert "before" in said.out and "after" in said.out and "written" not in said.out
    told = said.err.strip().splitlines()[-1]
    assert f"{there}: not written, the new model is worse: 'going up': it " in told
    assert there.read_bytes() == (material / "up.wakeword").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["there.wakeword", "wrong"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"--test-positives": "up"}, "in --positives and --test-positives both"),
        ({"--test-negatives": "dev"}, "and --test-negatives both"),
        ({"--negatives": "up"}, "in --positives of 'going up' and --negatives both"),
        ({"--test-negatives": "judge"}, "in clips of 'going up' to test on and negatives both"),
        ({"--dev": "up/0.wav"}, "less than a minute of negatives to calibrate on"),
        ({"--positives": "nowhere"}, "nowhere: no such file or folder"),
    ],
)
def test_material_that_would_show_nothing_is_refused_before_training(material, near, tmp_path, change, told, capsys):
    command = given(material, tmp_path / "new.wakeword")
    for option, name in change.items():
        command[command.index(option) + 1] = str(material / name)
    assert main(command) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert told in error and not list(tmp_path.iterdir())


def test_what_cannot_be_improved_is_told_in_a_line(material, near, model_files, tmp_path, capsys):
    undecided = tmp_path / "undecided"
    shutil.copytree(near, undecided)
    for path, about in kept_clips(undecided, Skipped()):
        decide(path, about, "skip")
    command = given(material, tmp_path / "new.wakeword")
    for place, value, told in (
        (1, str(model_files[1]), "an exported model cannot be trained on"),
        (1, str(model_files[0]), "nothing reviewed of 'hello'"),
        (2, str(undecided), "nothing reviewed of 'going up' (0 clip(s) undecided)"),
        (2, str(material / "up"), "no kept clips in it"),
    ):
        changed = [*command]
        changed[place] = value
        assert main(changed) == 2
        assert told in capsys.readouterr().err.strip().splitlines()[-1]
    assert main([*command, "--phrase", "going down"]) == 2
    assert "listens for 'going up'" in capsys.readouterr().err


def test_each_phrase_is_tested_on_its_own_clips_in_whatever_order_they_are_given(tmp_path, speech_like):
    for index, name in enumerate(("one", "two", "one-test", "two-test")):
        for clip in range(4):
            write_wav(tmp_path / name / f"{clip}.wav", speech_like(1, 10 * index + clip))
    for index, name in enumerate(("negatives", "dev", "test")):
        write_wav(tmp_path / name / "long.wav", speech_like(65, 100 + index))
    path = lambda name: (str(tmp_path / name),)  # noqa: E731
    model = tmp_path / "model.wakeword"
    model.touch()
    config = ImproveConfig(
        str(model),
        "",
        str(tmp_path / "new.wakeword"),
        phrases=(Phrase("two", path("two")), Phrase("one", path("one"))),
        tests=(path("two-test"), path("one-test")),
        negatives=path("negatives"),
        dev=path("dev"),
        test_negatives=path("test"),
    )
    meta = {"phrases": [{"phrase": "one"}, {"phrase": "two"}], "smoothing_frames": 3, "refractory_s": 1.0}
    given = divided(config, improvement._training(config, meta), Skipped())
    assert [{clip.path.parent.name for clip in test} for test in given.tests] == [{"one-test"}, {"two-test"}]


class Ear:
    """A detector that scores highest `late_s` after the last sound of a rising sweep, of its second phrase alone."""

    def __init__(self, late_s: float):
        self.late_s, self.heard = late_s, 0

    def reset(self):
        self.heard = 0

    def scores(self, samples):
        assert self.heard == 0, "each clip by itself"
        self.heard = len(samples)
        time_s = 0.04 * np.arange(1, self.heard // 640 + 1)
        loud = np.flatnonzero(np.abs(samples) > 0.3 * np.abs(samples).max())
        far = np.abs(time_s - loud[-1] / 16000 - self.late_s)
        return time_s, np.stack([np.ones(len(far)), 0.6 * np.exp(-far)], axis=1)


@pytest.mark.parametrize("hit_s", [-0.15, 0.0, 0.18])
@pytest.mark.parametrize("late_s", [0.05, 0.3])
def test_a_confirmed_clip_is_placed_by_the_highest_score_whatever_was_said_before(tmp_path, speech_like, hit_s, late_s):
    folder = private_folder(tmp_path / "near")
    known = [sweep(True, index) for index in range(3)]
    spans = [active_span(clip) for clip in known]
    said = sweep(True, 7)
    samples = np.concatenate([0.05 * speech_like(3, 1), said, np.zeros(4800, np.float32)])
    end_s = 3 + active_span(said)[1]
    short = samples[round((end_s - 0.1) * 16000) :]
    at_s = late_s + hit_s
    clips = [
        keep(folder, recording, Kept("going up", HIT, 0.9, 0.8, at_s, "2026-01-01T00:00:00Z"), Bounds())
        for recording, at_s in ((samples, end_s + at_s), (short, max(0.0, 0.1 + at_s)), (samples, 60.0))
    ]
    skipped = Skipped()
    found, places = cut([(path, read_kept(path)) for path in clips], Ear(late_s), 1, known, spans, skipped)
    ((start, end),) = places
    longest, usual = (float(np.quantile([b - a for a, b in spans], share)) for share in (0.95, 0.5))
    assert end == pytest.approx(1.25 * longest + 0.2, abs=0.06) and end - start == pytest.approx(usual, abs=1e-6)
    # From there to the recording's end: what follows the phrase is its own.
    first = len(samples) - len(found[0])
    assert first / 16000 + end == pytest.approx(end_s, abs=0.06)
    np.testing.assert_allclose(found[0][1000:-1000], samples[first:][1000:-1000], atol=1e-3)
    assert len(skipped) == 2 and "too little before the hit" in skipped.summary()
    assert "a hit at 60 s, in a recording of" in str(skipped.reasons)


def test_a_refused_clip_that_may_hold_another_phrase_does_not_train(tmp_path, speech_like):
    folder = private_folder(tmp_path / "near")
    for phrase, kind, second, decision in (
        ("one", HIT, 1, "no"),
        ("two", HIT, 3, "yes"),
        ("one", NEAR_MISS, 30, "no"),
        ("two", NEAR_MISS, 31, "no"),
        ("three", HIT, 32, "yes"),
        ("one", HIT, 50, ""),
    ):
        utc = f"2026-01-01T00:00:{second:02d}.000Z"
        keep(folder, speech_like(1, second), Kept(phrase, kind, 0.9, 0.8, 0.9, utc, decision), Bounds())
    skipped = Skipped()
    confirmed, refused = reviewed(str(folder), ["one", "two"], skipped)
    assert [about.utc[17:19] for _, about in confirmed["two"]] == ["03"] and confirmed["one"] == []
    assert [about.utc[17:19] for _, about in refused] == ["30", "31"]
    assert "may hold a hit of another phrase" in skipped.summary()


def test_all_refused_clips_train_however_many_hours_are_given(tmp_path, speech_like):
    for index in range(6):
        write_wav(tmp_path / f"{index}.wav", speech_like(20, index))
    refused = [tmp_path / "refused-a.wav", tmp_path / "refused-b.wav"]
    chosen = negatives_of(find_clips(tmp_path), refused, 50 / 3600, seed=0)
    names = [clip.path.name for clip in chosen]
    assert names.count("refused-a.wav") == names.count("refused-b.wav") == 4
    assert len(names) - 8 == 3 and len(set(names)) == 5
