"""Training end to end on sounds that a small encoder learns in seconds: sweeps, up for one phrase, down for another."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from sweeps import sweep_material  # noqa: E402

from wakeword.acoustic.align import Located  # noqa: E402
from wakeword.audio.clips import Clip, find_clips  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import ConfigError, Skipped, WakewordError  # noqa: E402
from wakeword.evaluation.metrics import alarms, hits  # noqa: E402
from wakeword.evaluation.misses import held_out_misses  # noqa: E402
from wakeword.evaluation.streams import positive_stream, score_stream  # noqa: E402
from wakeword.export import export_onnx  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.head.transfer import Unfreeze  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.model.curve import budgets_around  # noqa: E402
from wakeword.training import train as train_module  # noqa: E402
from wakeword.training.duplicates import groups_of_clips  # noqa: E402
from wakeword.training.estimates import lasting  # noqa: E402
from wakeword.training.material import (  # noqa: E402
    check_apart,
    heard_before,
    holds,
    may_hide_copies,
    split_clips,
    split_negatives,
    usable_clips,
)
from wakeword.training.train import labels_elsewhere, train  # noqa: E402
from wakeword.training.train_config import Phrase, TrainConfig, check  # noqa: E402


@pytest.fixture(scope="module")
def material(tmp_path_factory, lively, speech_like, write_corpus):
    return sweep_material(tmp_path_factory.mktemp("sweeps"), lively, speech_like, write_corpus)


def both(material) -> tuple[Phrase, ...]:
    return Phrase("going up", (str(material / "up"),)), Phrase("going down", (str(material / "down"),))


TOLD: list[str] = []


@pytest.fixture(scope="module")
def trained(material):
    output = str(material / "sweeps.wakeword")
    return train(
        TrainConfig(
            phrases=both(material),
            negatives=(str(material / "other" / "cuts.jsonl.gz"),),
            acoustic=str(material / "small.safetensors"),
            unfreeze="all",
            budget="30 per h",
            output=output,
            depth=3,
            channels=16,
            copies=2,
            steps=200,
            batch=8,
            negative_hours=0.1,
            encoder_learning_rate=2e-3,
            threads=1,
        ),
        tell=TOLD.append,
    )


def test_what_is_known_so_far_is_told_before_training_ends(trained):
    assert len(TOLD) == 2
    for line, phrase, clips in zip(TOLD, ("going up", "going down"), trained.estimates, strict=True):
        assert line.startswith(f"'{phrase}' after a third of the training: at the threshold for 30 per h on 0.")
        assert f"of {clips['clips']} clips held out of training" in line
    clips = [Clip(Path(f"{index}.wav"), duration_s=10.0) for index in range(100)]
    assert [clip.path.stem for clip in lasting(clips, 50.0)] == ["0", "20", "40", "60", "80"]
    assert lasting(clips, 5000.0) == clips and lasting(clips[:1], 1.0) == clips[:1] and lasting([], 1.0) == []


def test_what_is_known_so_far_is_told_without_negatives_too(material, tmp_path):
    told, few = [], tuple(str(material / "down" / f"{index}.wav") for index in range(3))
    phrases, output = (both(material)[0], Phrase("going down", few)), str(tmp_path / "o.wakeword")
    common = {"acoustic": str(material / "small.safetensors"), "steps": 3, "copies": 1, "threads": 1}
    found = train(TrainConfig(phrases=phrases, output=output, **common), tell=told.append)
    warned, up, down = told
    assert warned.startswith("warning: no negatives: ")
    assert up.startswith("'going up' after a third of the training: at 0.5, as too few negatives were held out")
    assert f"of {found.estimates[0]['clips']} clips held out of training" in up and "not known" in down


def test_two_phrases_are_detected_and_not_taken_for_each_other(material, trained, tmp_path):
    export_onnx(trained.path, tmp_path / "sweeps.onnx")
    detector = Detector.load(tmp_path / "sweeps.onnx")
    assert detector.phrases == ("going up", "going down")
    # Nothing in these negatives is like a sweep, so that a threshold for false alarms on them is near 0.
    detector.thresholds = [0.5, 0.5]
    for said, name in enumerate(("up", "down")):
        tracks, events = score_stream(detector, positive_stream(find_clips(material / f"test-{name}")))
        found = int(np.isfinite(hits(tracks[said], detector.thresholds[said])).sum())
        other = tracks[1 - said]
        confused = len(alarms(other.time_s, other.score, detector.thresholds[1 - said]))
        assert len(events) == 18 and found >= 16 and confused <= 1, (name, found, confused)


def test_output_nodes_alone_on_an_encoder_from_scratch_learn_too(material, tmp_path):
    """The head without layers through training, streaming and export."""
    config = TrainConfig(
        phrases=both(material),
        acoustic=str(material / "small.safetensors"),
        unfreeze="scratch",
        output=str(tmp_path / "sweeps.wakeword"),
        depth=0,
        copies=2,
        steps=150,
        batch=8,
        learning_rate=4e-3,
        threads=1,
    )
    assert "random weights" in train(config).unfrozen
    assert export_onnx(config.output, tmp_path / "sweeps.onnx") < 1e-4
    assert checkpoint.read_meta(config.output)["sizes"]["head"]["depth"] == 0
    detector = Detector.load(tmp_path / "sweeps.onnx")
    for said, name in enumerate(("up", "down")):
        tracks, events = score_stream(detector, positive_stream(find_clips(material / f"test-{name}")))
        found = [int(np.isfinite(hits(track, 0.5)).sum()) for track in tracks]
        assert len(events) == 18 and found[said] >= 14 and found[1 - said] <= 4, (name, found)


def test_the_file_says_of_each_phrase_what_is_known(material, trained):
    _, meta = checkpoint.load(trained.path, "wakeword")
    assert [entry["phrase"] for entry in meta["phrases"]] == ["going up", "going down"]
    assert [entry["calibration"] for entry in meta["phrases"]] == json.loads(
        json.dumps([dataclasses.asdict(each) for each in trained.calibrations])
    )
    assert [entry["threshold"] for entry in meta["phrases"]] == [each.threshold for each in trained.calibrations]
    assert len(trained.calibrations) == 2 and Detector.load(trained.path).thresholds == tuple(
        each.threshold for each in trained.calibrations
    )
    card = meta["card"]["phrases"]
    assert [card[phrase]["estimate"] for phrase in ("going up", "going down")] == trained.estimates
    for phrase in card.values():
        assert phrase["clips"] + phrase["held_out_clips"] == 18 and phrase["held_out_clips"] >= 1
        assert phrase["estimate"]["clips"] == phrase["held_out_clips"]
    assert not (material / "sweeps.wakeword.begun").exists()


def test_a_trained_model_has_a_curve_with_the_misses_of_the_clips_held_out(material, trained, tmp_path):
    export_onnx(trained.path, tmp_path / "sweeps.onnx")
    for path in (trained.path, tmp_path / "sweeps.onnx"):
        detector = Detector.load(path)
        assert [curve.budget for curve in detector.curves] == [30.0, 30.0]
        assert [curve.points for curve in detector.curves] == [each.curve for each in trained.calibrations]
        assert Detector.load(path, sensitivity=0.5).thresholds == detector.thresholds
        strict, keen = (Detector.load(path, sensitivity=sensitivity).thresholds for sensitivity in (0, 1))
        assert all(a > b > c for a, b, c in zip(strict, detector.thresholds, keen, strict=True))
    for curve, calibration, estimate in zip(detector.curves, trained.calibrations, trained.estimates, strict=True):
        assert [p.fa_per_hour_budget for p in curve.points] == budgets_around(30.0)
        chosen = next(point for point in curve.points if point.fa_per_hour_budget == 30.0)
        assert chosen.threshold == calibration.threshold and chosen.interval == calibration.interval
        assert (chosen.clips, chosen.missed) == (estimate["clips"], estimate["missed"])
        assert {point.clips for point in curve.points} == {estimate["clips"]} and estimate["clips"] >= 3
        assert "held out of training" in calibration.summary()


def test_the_held_out_clips_are_counted_as_the_detector_hears_them(material, trained):
    """The misses at each threshold of the curve, against the alarms on the clips themselves."""
    detector = Detector.load(trained.path)
    for output, (name, curve) in enumerate(zip(("up", "down"), detector.curves, strict=True)):
        clips = find_clips(material / name)
        _, held_out = split_clips(clips, 0.2, 0, fewest=1, groups=groups_of_clips(clips))
        tracks, events = score_stream(detector, positive_stream(held_out))
        assert len(events) == curve.points[0].clips
        known = held_out_misses(str(trained.path), detector.info)[detector.phrases[output]]
        for point in curve.points:
            found = int(np.isnan(hits(tracks[output], point.threshold)).sum())
            # Between two thresholds of the table, the higher one's misses are told.
            assert abs(found - point.missed) <= 1 and point.missed == known.at(point.threshold)
        for threshold in known.thresholds:
            assert known.at(threshold) == int(np.isnan(hits(tracks[output], threshold)).sum())


def test_calibrating_again_replaces_the_curve_and_keeps_the_misses(material, trained, tmp_path, capsys):
    path = tmp_path / "again.wakeword"
    path.write_bytes(trained.path.read_bytes())
    other = str(material / "other" / "cuts.jsonl.gz")
    assert main(["calibrate", str(path), "--negatives", other, "--budget", "60 per h", "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)["phrases"]
    for entry, estimate, before in zip(entries, trained.estimates, trained.calibrations, strict=True):
        found = entry["calibration"]
        assert found["fa_per_hour_budget"] == 60.0 and found["clips"] == estimate["clips"]
        assert found["hours"] == pytest.approx(12 * 25 / 3600) and found["hours"] > 2 * before.hours
        assert [each["fa_per_hour_budget"] for each in found["curve"]] == budgets_around(60.0)
    again = Detector.load(path, sensitivity=0.9)
    assert [curve.budget for curve in again.curves] == [60.0, 60.0]
    # Clips of its own that calibrate is given take the place of those that were held out.
    given = ["--phrase", "going down", "--positives", str(material / "test-down")]
    assert main(["calibrate", str(path), "--negatives", other, "--budget", "60 per h", *given]) == 0
    assert "of 18 clips given to calibrate" in capsys.readouterr().out
    assert Detector.load(path).info["phrases"][0] == entries[0]


def test_the_command_line_pairs_phrases_and_clips_by_their_order(material, tmp_path, capsys):
    given = ["--phrase", "going up", "--phrase", "going down"]
    given += [
        "--positives",
        *[str(material / "up" / f"{i}.wav") for i in range(5)],
        "--positives",
        str(material / "down"),
    ]
    given += ["--acoustic", str(material / "small.safetensors"), "--steps", "1", "--threads", "1", "--json"]
    shutil.copytree(material / "down", tmp_path / "noise")
    (tmp_path / "noise" / "bad.wav").write_bytes(b"RIFF")
    given += ["--noise", str(tmp_path / "noise")]
    assert main(["train", *given, "--output", str(tmp_path / "two.wakeword")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["skipped"]) == [str(tmp_path / "noise" / "bad.wav")]
    assert [each["phrase"] for each in report["phrases"]] == ["going up", "going down"]
    assert all(each["calibration"] is None and each["estimate"]["clips"] >= 1 for each in report["phrases"])
    card = checkpoint.read_meta(tmp_path / "two.wakeword")["card"]["phrases"]
    assert [card[name]["clips"] + card[name]["held_out_clips"] for name in ("going up", "going down")] == [5, 18]
    assert "aligned_clips" not in card["going up"]


def test_training_tells_once_what_found_the_phrase(material, tmp_path, capsys):
    """The acoustic model, where it can spell it; this one cannot."""
    given = ["--phrase", "going up", "--positives", str(material / "up"), "--labels", "aligned"]
    given += ["--acoustic", str(material / "small.safetensors"), "--steps", "1", "--threads", "1"]
    assert main(["train", *given, "--output", str(tmp_path / "up.wakeword")]) == 0
    printed = capsys.readouterr().out
    assert printed.count("'going up' found by energy in all") == 1 and "neither characters nor phones" in printed
    assert checkpoint.read_meta(tmp_path / "up.wakeword")["card"]["phrases"]["going up"]["aligned_clips"] == 0
    assert main(["train", *given, "--labels", "loud", "--output", str(tmp_path / "up.wakeword")]) == 2
    assert "labels = 'loud': must be one of energy, aligned" in capsys.readouterr().err


@pytest.mark.parametrize("speakers", [False, True])
def test_what_is_held_out_is_the_share_asked_for_and_does_not_hang_on_where_the_clips_lie(speakers):
    def of(folder):
        return [
            Clip(Path(folder) / f"{n % 3}" / f"{n}.wav", speaker=f"s{n % 10}" if speakers else None) for n in range(40)
        ]

    train, out = split_clips(of("/home/one"), 0.2, seed=0)
    assert len(out) == 8 and len(train) == 32
    assert not {clip.speaker for clip in out} & {clip.speaker for clip in train} - {None}
    assert [clip.path.name for clip in split_clips(of("elsewhere"), 0.2, seed=0)[1]] == [clip.path.name for clip in out]
    assert split_clips(of("/home/one"), 0.2, seed=1)[1] != out


@pytest.mark.parametrize("friends", [1, 3, 12])
def test_a_speaker_who_has_most_of_the_clips_is_not_held_out_with_all_of_them(friends):
    """His hundred would be, of one seed in some, and the others' few train."""
    clips = [Clip(Path(f"{n}.wav"), speaker="me") for n in range(100)]
    clips += [Clip(Path(f"{n}.wav"), speaker=f"friend {n // 2}") for n in range(100, 100 + 2 * friends)]
    for seed in range(30):
        training, out = split_clips(clips, 0.2, seed, fewest=1)
        assert len(out) == pytest.approx(0.2 * len(clips), abs=1) and len(training) + len(out) == len(clips)
    assert may_hide_copies(clips), "copies of one of his recordings could fall on both sides"
    even = [Clip(Path(f"{n}.wav"), speaker=f"s{n % 4}") for n in range(100)]
    assert len(split_clips(even, 0.2, 0)[1]) == 25 and not may_hide_copies(even)


def test_a_group_that_is_null_in_the_manifest_is_none():
    clips = [Clip(Path(f"{n}.wav"), attributes={"group": None}) for n in range(40)]
    assert len(split_clips(clips, 0.2, 0)[1]) == 8 and may_hide_copies(clips)
    assert not may_hide_copies([Clip(Path(f"{n}.wav"), attributes={"group": n // 2}) for n in range(8)])


def test_too_few_clips_of_one_of_the_phrases_are_named(material, tmp_path):
    few = tuple(str(material / "down" / f"{index}.wav") for index in range(2))
    config = TrainConfig(
        phrases=(Phrase("going up", (str(material / "up"),)), Phrase("going down", few)),
        acoustic=str(material / "small.safetensors"),
        output=str(tmp_path / "o.wakeword"),
        threads=1,
    )
    with pytest.raises(WakewordError, match="usable clip.* of 'going down' left"):
        train(config)


@pytest.mark.parametrize(
    ("phrases", "named"),
    [
        ((), "no phrase"),
        ((Phrase("", ("a",)),), "a phrase is empty: give its words"),
        ((Phrase("one", ("a",)), Phrase("two")), "--positives of 'two' names nothing"),
        ((Phrase("one", ("a",)), Phrase("two", ("b",)), Phrase("One!", ("c",))), "--phrase One!: named twice"),
        ((Phrase("one", ("a",)), Phrase("2", ("b",))), "outside the alphabet"),
        ((Phrase("one\ntwo", ("a",)),), "one line of text"),
    ],
)
def test_phrases_that_cannot_be_trained_are_refused_in_a_line(phrases, named):
    with pytest.raises(WakewordError, match=named) as caught:
        check(TrainConfig(phrases=phrases, output="o"))
    assert "\n" not in str(caught.value)
    check(TrainConfig(phrases=(Phrase("one", ("a",)), Phrase("one two", ("b",))), output="o"))
    with pytest.raises(ConfigError, match="--output"):
        check(TrainConfig(phrases=(Phrase("one", ("a",)),)))


def test_an_output_that_cannot_be_is_refused_before_anything_is_heard(tmp_path):
    def config(output):
        return TrainConfig(phrases=(Phrase("one", ("nowhere",)),), output=str(output))

    with pytest.raises(WakewordError, match="no regular file"):
        train(config(tmp_path))
    with pytest.raises(ConfigError, match="one.onnx: the name of an exported model"):
        train(config(tmp_path / "one.onnx"))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"speeds": (0.0, 1.1)}, r"speeds = \[0.0, 1.1\]"),
        ({"speeds": (1.2, 0.9)}, "speeds = "),
        ({"level_dbfs": (-10.0, -20.0)}, "level_dbfs = "),
        ({"snr_db": (1.0,)}, "snr_db = "),
        ({"threads": 100_000}, "threads = 100000: must be at most 1024"),
        ({"seed": 10**30}, "seed = 10*: must be at most 9223372036854775807"),
        ({"depth": 101}, "depth = 101: must be at most 100"),
        ({"pitch_semitones": (3.0, -3.0)}, "pitch_semitones = .*: must be the least and the most, in semitones"),
        ({"pitch_probability": -0.1}, "pitch_probability = -0.1: must be from 0 to 1"),
        ({"amid_probability": 1.1}, "amid_probability = 1.1: must be from 0 to 1"),
        ({"speed_probability": 1.5}, "speed_probability = 1.5: must be from 0 to 1"),
    ],
)
def test_settings_of_what_is_heard_that_cannot_work_are_refused_in_a_line(changes, named):
    with pytest.raises(ConfigError, match=named) as caught:
        check(TrainConfig(phrases=(Phrase("one", ("a",)),), output="o", **changes))
    assert "\n" not in str(caught.value)


def test_what_is_heard_in_training_is_what_the_settings_say(material, speech_like):
    config = TrainConfig(
        noise=(str(material / "test-up"),),
        rir=(str(material / "test-down"),),
        made_noise=3,
        babble=2,
        noise_probability=0.1,
        snr_db=(1.0, 2.0),
        rir_probability=0.2,
        channel_probability=0.3,
        speed_probability=0.4,
        speeds=(0.8, 1.2),
        level_dbfs=(-9.0, -8.0),
        pitch_probability=0.5,
        pitch_semitones=(-1.0, 2.0),
        amid_probability=0.6,
    )
    found = train_module.augmentation_of(config, [speech_like(3, 1)])
    pitch = ("pitch_probability", "pitch_semitones")
    same = (
        "amid_probability",
        "noise_probability",
        "snr_db",
        "rir_probability",
        "channel_probability",
        "speed_probability",
        "speeds",
    )
    assert all(getattr(found, name) == getattr(config, name) for name in (*same, "level_dbfs", *pitch))
    assert len(found.noise) == 18 + 3 + 2 and len(found.rirs) == 18 and len(found.rooms) == train_module.ROOMS
    assert len(train_module.augmentation_of(config, []).noise) == 18 + 3, "no babble without voices"


def test_what_is_fitted_goes_by_whose_clips_they_are(material, tmp_path, monkeypatch):
    """Clips of a phrase within another are no negatives of it, and few recorded clips are heard more often."""
    fitted = []
    monkeypatch.setattr(train_module, "fit", lambda *given: fitted.append(given))
    clips = [[np.full(8000, 0.1, np.float32)] * 2, [np.full(8000, 0.1, np.float32)] * 3]
    config = TrainConfig(phrases=(Phrase("computer"), Phrase("hey computer")), copies=1, parts=2)
    model, acoustic = train_module.stacked(str(material / "small.safetensors"), HeadSizes(2, 8, outputs=2))
    settings, frozen = train_module.FeatureSettings(**acoustic["features"]), Unfreeze(3, "")
    located = [Located([(0.1, 0.4)] * len(said)) for said in clips]
    rest = lambda *told: None  # noqa: E731
    train_module.learn(
        model, settings, frozen, config, clips, located, [], Skipped(), rest, tmp_path / "begun", recorded=[2, 1]
    )
    ((_, _, found, cut, stream, *_),) = fitted
    assert [len(said) for said in found] == [2, 2 + 2] and [len(said) for said in cut] == [4, 8] and not len(stream)
    labels = [{output: {*each.labels[:, output].tolist()} for output in (0, 1)} for said in found for each in said]
    assert all(each == {0: {-1, 0, 1}, 1: {0}} for each in labels[:2]), "'computer' is not 'hey computer'"
    assert all(each == {0: {-1}, 1: {-1, 0, 1}} for each in labels[2:]), "in 'hey computer' is 'computer'"


def test_a_training_tells_of_negatives_that_the_acoustic_model_has_heard(material, tmp_path, write_corpus, speech_like):
    acoustic = tmp_path / "heard.safetensors"
    shutil.copy(material / "small.safetensors", acoustic)
    other = {f"speaker{index}": speech_like(40, index) for index in range(8)}
    negatives = write_corpus(tmp_path / "other", other, speakers={name: name for name in other})
    config = TrainConfig(
        phrases=(Phrase("up", (str(material / "up"),)),),
        negatives=(str(negatives),),
        acoustic=str(acoustic),
        output=str(tmp_path / "up.wakeword"),
        steps=1,
        copies=1,
        threads=1,
    )
    assert train(config).notes == []
    checkpoint.rewrite_meta(acoustic, {"card": {"data": {"made": {"hours": 1.0}}}})
    (told,) = train(config).notes
    assert told.startswith("100% of the negatives that chose the threshold") and "(made)" in told


def test_a_phrase_within_another_is_no_negative_of_it():
    found = labels_elsewhere(["computer", "hey computer", "jarvis", "commuter"])
    assert found.dtype == np.int8
    assert found.tolist() == [[-1, 0, 0, 0], [-1, -1, 0, 0], [0, 0, -1, 0], [0, 0, 0, -1]]


def test_recorded_clips_may_say_a_phrase_in_any_script_that_nothing_has_to_spell():
    for phrase in ("привет дом", "Straße", "你好小爱", "ok 你好", "γειά σου"):
        check(TrainConfig(phrases=(Phrase(phrase, ("a",)),), output="o"))
        for changes in ({"spoken": 10}, {"ctc": 0.3}, {"confusables": 5}):
            with pytest.raises(WakewordError, match="outside the alphabet: spell it in letters"):
                check(TrainConfig(phrases=(Phrase(phrase, ("a",)),), output="o", **changes))
    for phrase in ("9", "канал 9", "!?", "…"):
        with pytest.raises(WakewordError, match="alphabet|no letters"):
            check(TrainConfig(phrases=(Phrase(phrase, ("a",)),), output="o"))
    with pytest.raises(ConfigError, match="named twice"):
        check(TrainConfig(phrases=(Phrase("Привет", ("a",)), Phrase("привет!", ("b",))), output="o"))
    assert holds("Ну, Привет!", "привет") and not holds("приветы", "привет") and not holds("", "привет")
    assert holds("請問你好小愛,在嗎", "你好小愛") and not holds("你好", "你好小愛")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("In 1990 the Computer, failed", True),
        ("hey-computer now", True),
        ("—  computer…", True),
        ("computer 中文", True),
        ("hey 2 computers", False),
        ("", False),
    ],
)
def test_a_phrase_is_found_in_a_transcript_beside_what_has_no_letters(text, said):
    assert holds(text, "computer") == said
    assert not holds("hey 1 computer", "hey computer") and holds("42 hey  computer", "hey computer")


def test_negatives_that_say_one_of_the_phrases_do_not_train(monkeypatch):
    said = ["Hey, computer!", "a commuter", None, "jarvis and computers", "x 12", "ask Jarvis"]
    clips = [Clip(Path(f"{index}.wav"), text=text, duration_s=1.0) for index, text in enumerate(said)]
    monkeypatch.setattr("wakeword.training.material.find_clips", lambda paths: clips)
    config = TrainConfig(phrases=(Phrase("computer"), Phrase("jarvis")), negatives=("somewhere",))
    kept = [clip.text for part in split_negatives(config) for clip in part]
    assert sorted(map(str, kept)) == sorted(map(str, ["a commuter", None, "x 12"]))


@pytest.mark.parametrize(
    ("clips", "told"),
    [
        (
            [Clip(Path("a.wav"), split="test"), Clip(Path("b.wav"), split="test")],
            "none of the 2 .* 2 are kept for testing",
        ),
        (
            [Clip(Path("a.wav"), split="test"), Clip(Path("b.wav"), text="Ask the computer.")],
            "none .* 1 are kept.* in 1 a phrase",
        ),
    ],
)
def test_negatives_none_of_which_can_train_are_refused(monkeypatch, clips, told):
    """Rather than a training without any, which reports success."""
    monkeypatch.setattr("wakeword.training.material.find_clips", lambda paths: clips)
    with pytest.raises(WakewordError, match=f"speech: {told}") as caught:
        split_negatives(TrainConfig(phrases=(Phrase("computer"),), negatives=("speech",)))
    assert "\n" not in str(caught.value)


def test_negatives_that_cannot_be_heard_are_refused_and_one_alone_trains(material, tmp_path, capsys):
    given = ["--phrase", "up", "--positives", *[str(material / "up" / f"{i}.wav") for i in range(3)], "--steps", "1"]
    given += [
        "--acoustic",
        str(material / "small.safetensors"),
        "--threads",
        "1",
        "--output",
        str(tmp_path / "o.wakeword"),
    ]
    (tmp_path / "bad.wav").write_bytes(b"RIFF")
    write_wav(tmp_path / "blink.wav", np.full(100, 0.1, np.float32))
    for name, told in (("bad.wav", "skipped 1 file"), ("blink.wav", "they are too short")):
        assert main(["train", *given, "--negatives", str(tmp_path / name)]) == 2
        assert f"none of the 1 negatives that train can be heard: {told}" in capsys.readouterr().err
    assert main(["train", *given, "--negatives", str(material / "test-up" / "0.wav")]) == 0
    told, warned = capsys.readouterr()
    assert "the negatives are one recording" in told and "to calibrate, give --negatives" not in told
    assert "no negatives" not in warned
    assert main(["train", *given]) == 0
    told, warned = capsys.readouterr()
    assert "to calibrate, give --negatives" in told and "warning: no negatives: " in warned


def test_a_clip_that_is_named_twice_counts_once(tmp_path, speech_like):
    for index in range(10):
        write_wav(tmp_path / "new" / f"{index}.wav", speech_like(0.7, index))
    folders = tuple(str(tmp_path / name) for name in ("new", "new/../new", "."))
    (clips, held_out, _), (again, out, _) = (
        usable_clips(Phrase("computer", given), TrainConfig(), Skipped()) for given in (folders[:1], folders)
    )
    assert len(clips) == len(again) == 8 and len(out) == 2 and out == held_out
    assert all(map(np.array_equal, clips, again))


def test_recordings_too_long_for_a_phrase_neither_train_nor_test(tmp_path, speech_like, monkeypatch):
    """A batch is as long as the longest of its clips."""
    for index in range(10):
        write_wav(tmp_path / f"{index}.wav", speech_like(0.7, index))
    for index in range(10, 14):
        write_wav(tmp_path / f"{index}.wav", speech_like(21, index))
    for told in (True, False):
        skipped = Skipped()
        clips, held_out, _ = usable_clips(Phrase("computer", (str(tmp_path),)), TrainConfig(), skipped)
        assert max(map(len, clips)) < 16000 and len(clips) + len(held_out) == (10 if told else 10 + 4 - len(skipped))
        assert skipped.reasons and all(
            "21 s are no clip of a phrase: cut it" in each for each in skipped.reasons.values()
        )
        monkeypatch.setattr("wakeword.training.material.told_seconds", lambda clip: None)
    with pytest.raises(WakewordError, match="only 0 usable.*21 s are no clip"):
        usable_clips(Phrase("a", tuple(str(tmp_path / f"{n}.wav") for n in range(10, 14))), TrainConfig(), Skipped())


def test_clips_that_are_kept_for_testing_are_counted_where_too_few_are_left(monkeypatch):
    clips = [Clip(Path(f"{index}.wav"), split="test") for index in range(5)]
    monkeypatch.setattr("wakeword.training.material.find_clips", lambda paths: clips)
    with pytest.raises(WakewordError, match="only 0 usable .*5 more are kept for testing by their manifests"):
        usable_clips(Phrase("computer", ("said",)), TrainConfig(), Skipped())


def test_clips_that_would_train_against_themselves_are_refused(material, tmp_path):
    """As negatives, in a folder above, or for another phrase; nothing is read or written before."""
    up, down = (str(material / name) for name in ("up", "down"))
    clip = str(material / "up" / "3.wav")
    output = str(tmp_path / "out" / "m.wakeword")
    for phrases, negatives, told in (
        ((Phrase("one", (up,)),), (down, up), "in --positives of 'one' and --negatives both"),
        ((Phrase("one", (up,)),), (str(material),), "in --positives of 'one' and --negatives both"),
        ((Phrase("one", (down,)), Phrase("two", (up,))), (clip,), f"{clip}: in --positives of 'two' and --negatives"),
        (
            (Phrase("one", (up,)), Phrase("two", (down, clip))),
            (),
            f"{clip}: in --positives of 'one' and --positives of",
        ),
    ):
        with pytest.raises(WakewordError) as caught:
            train(TrainConfig(phrases=phrases, negatives=negatives, acoustic="nowhere", output=output))
        assert told in str(caught.value) and "leave it out of one" in str(caught.value)
        assert "\n" not in str(caught.value) and not list(tmp_path.glob("out/*"))


def test_one_recording_may_hold_positives_and_negatives(monkeypatch):
    """Where manifests say which part is which, by start or by what is said."""
    path = Path("evening.wav")
    said = [Clip(path, 2.0, 1.0, text="computer"), Clip(path, 5.0, 1.0)]
    other = [Clip(path, 8.0, 1.0), Clip(path, 2.0, 1.0, text="ask the computer"), Clip(path, 5.0, 1.0, split="test")]
    monkeypatch.setattr("wakeword.training.material.find_clips", lambda paths: {"said": said, "other": other}[paths[0]])
    config = TrainConfig(phrases=(Phrase("computer", ("said",)), Phrase("jarvis")), negatives=("other",))
    check_apart(config)
    other.append(Clip(path, 5.0, 1.0))
    with pytest.raises(WakewordError, match="evening.wav@5: in --positives of 'computer' and --negatives both"):
        check_apart(config)


def test_negatives_that_the_acoustic_model_has_heard_are_told_of():
    card = {"data": {"librispeech": {"hours": 5.0}}}
    clips = [Clip(Path(f"{index}.wav"), corpus=corpus) for index, corpus in enumerate(["librispeech", "radio", None])]
    assert heard_before(clips, card).startswith("33% of the negatives that chose the threshold are of corpora")
    assert "(librispeech)" in heard_before(clips, card) and "wakeword calibrate" in heard_before(clips, card)
    assert heard_before(clips[1:], card) == heard_before(clips, {}) == heard_before(clips, {"data": 3}) == ""
