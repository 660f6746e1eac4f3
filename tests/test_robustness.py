"""The robustness report: from a detector of tones, what noise, level and speed do to it and what sets it off."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")
pytest.importorskip("lhotse")

from tones import ToneDetector, clip_of  # noqa: E402

from wakeword.audio.clips import Clip  # noqa: E402
from wakeword.audio.waveform import SAMPLE_RATE, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402
from wakeword.evaluation.evaluate import evaluate, evaluate_robustness, format_report  # noqa: E402
from wakeword.evaluation.robustness import tables  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    children = [{"gender": "female", "age": "8"}, {"gender": "male", "age": "thirties"}]
    positives = [
        Clip(clip_of(folder / f"p{i}.wav", 0.2, i), corpus="tones", attributes=children[i % 2]) for i in range(24)
    ]
    # A tone in every sixth; every tenth by a child, every fifteenth in French.
    about = [
        {"language": "fr" if i % 15 == 1 else "en", "age": "9" if i % 10 == 0 else "40", "gender": "female"}
        for i in range(120)
    ]
    negatives = [
        Clip(clip_of(folder / f"n{i}.wav", 0.1 if i % 6 == 0 else 0, 100 + i), corpus="talk", attributes=about[i])
        for i in range(120)
    ]
    others = [
        Clip(clip_of(folder / f"o{i}.wav", 0.2 if i < 3 else 0, 300 + i), corpus="bell" if i % 2 else "gong")
        for i in range(12)
    ]
    noise = []
    for name in ("street", "music/band"):
        write_wav(
            folder / f"{name}.wav", np.random.default_rng(1).standard_normal(5 * SAMPLE_RATE).astype(np.float32) / 9
        )
        noise.append(Clip(folder / f"{name}.wav", corpus="sounds", attributes={"kind": "street"}))
    time = np.arange(SAMPLE_RATE // 2) / SAMPLE_RATE
    response = np.random.default_rng(2).standard_normal(len(time)) * 10 ** (-3 * time / 0.4) * 0.2
    response[0] = 0.9
    write_wav(folder / "room.wav", response.astype(np.float32))
    return folder, positives, negatives, others, noise, [Clip(folder / "room.wav")]


@pytest.fixture(scope="module")
def measured(material, tmp_path_factory):
    _, positives, negatives, others, noise, rir = material
    folder = tmp_path_factory.mktemp("report")
    report = evaluate_robustness(
        ToneDetector(0.8),
        positives,
        negatives,
        noise,
        rir,
        {"other trigger words": others},
        noisy_hours=0.02,
        fa_rates=(100.0,),
        report_dir=folder,
    )
    return report, folder


def of(report, axis, point=0):
    found = report["operating_points"][point]["conditions"]
    return {name: found[name]["missed"] for name in report["axes"][axis]}


def test_misses_rise_as_the_snr_falls(measured):
    missed = of(measured[0], "noise")
    assert list(missed) == ["clean", "20 dB", "15 dB", "10 dB", "5 dB", "0 dB"]
    assert list(missed.values()) == sorted(missed.values())
    assert missed["clean"] == missed["20 dB"] == 0 and missed["0 dB"] == 24


def test_each_other_cause_has_its_own_effect(measured):
    report = measured[0]
    # The detector hears 1 kHz alone, at any level: another speed is another pitch.
    assert set(of(report, "speed").values()) == {24}
    assert list(of(report, "level").values())[:3] == [0, 0, 0]
    rooms = of(report, "reverberation")
    assert list(rooms)[-1] == "T60 0.3 to 0.6 s, 1 recorded" and len(rooms) == 4
    assert all(0 <= missed < 24 for missed in rooms.values())
    for each in report["operating_points"][0]["conditions"].values():
        assert each["clips"] == 24 and each["interval"][0] <= each["miss_rate"] <= each["interval"][1]


def test_speakers_are_told_apart_in_each_condition(measured):
    groups = measured[0]["operating_points"][0]["conditions"]["0 dB"]["groups"]
    assert {name: found["clips"] for name, found in groups.items()} == {
        "age: 30-39": 12,
        "age: under 13": 12,
        "gender: female": 12,
        "gender: male": 12,
        "speaker: adult": 12,
        "speaker: child": 12,
    }
    assert groups["speaker: child"]["missed"] == 12
    assert groups["speaker: child"]["note"], "twelve of twelve are between 76 and 100 %: too wide"


def test_false_alarms_by_kind_add_up_and_the_others_are_apart(measured, material):
    report = measured[0]
    for point in report["operating_points"]:
        found = point["false_alarms"]["clean"]
        kinds = found["by_kind"]
        assert list(kinds) == ["children", "other languages", "speech"]
        for what in ("count", "clips", "hours"):
            assert sum(kind[what] for kind in kinds.values()) == pytest.approx(found[what])
        assert found["by_group"]["speaker: child"]["clips"] == kinds["children"]["clips"] == 12
    own, hindsight = report["operating_points"]
    # 0, 30, 60 and 90 are a child's and a tone.
    assert own["false_alarms"]["clean"]["by_kind"]["children"]["count"] == 4
    assert own["false_alarms"]["clean"]["count"] == 20
    assert own["others"]["other trigger words"]["count"] == 3
    assert own["others"]["other trigger words"]["by_corpus"]["gong"]["count"] == 2
    assert list(own["others"]) == ["other trigger words", "noise", "music"]
    assert hindsight["asked_fa_per_hour"] == 100 and hindsight["false_alarms"]["clean"]["per_hour"] <= 100
    alone = evaluate(ToneDetector(0.8), *material[1:3], fa_rates=(100.0,))
    assert alone["operating_points"][1]["threshold"] == hindsight["threshold"]


def test_a_rate_is_wide_where_it_cannot_be_told_from_the_one_asked_for(measured):
    own = measured[0]["operating_points"][0]
    assert own["held_against_fa_per_hour"] == 100
    # 400 an hour are more than 100 for certain; none in 10 s could be none or 1300.
    assert not own["false_alarms"]["clean"]["wide"]
    assert own["others"]["noise"]["count"] == 0 and own["others"]["noise"]["wide"]
    french = own["false_alarms"]["clean"]["by_kind"]["other languages"]
    assert french["count"] == 0 and french["interval"][1] > 500 and french["wide"]
    speech = measured[0]["operating_points"][1]["false_alarms"]["clean"]["by_kind"]["speech"]
    assert speech["interval"][0] <= 100 and speech["interval"][1] < 500 and not speech["wide"]


def test_negatives_in_noise_are_compared_with_themselves(measured):
    alarms = measured[0]["operating_points"][0]["false_alarms"]
    assert list(alarms) == ["clean", "20 dB", "15 dB", "10 dB", "5 dB", "0 dB"]
    for name in list(alarms)[1:]:
        assert alarms[name]["hours"] == pytest.approx(0.02, rel=0.05) and alarms[name]["clean_count"] > 0
    assert alarms["20 dB"]["count"] > alarms["0 dB"]["count"] == 0, "the tones drown"


def test_the_same_seed_gives_the_same_report_and_another_another(material):
    _, positives, negatives, others, noise, rir = material

    def once(seed):
        return evaluate_robustness(
            ToneDetector(0.8),
            positives[:4],
            negatives[:8],
            noise,
            rir,
            {"o": others[:2]},
            0.002,
            seed,
            fa_rates=(100.0,),
        )

    first = once(0)
    assert once(0) == first and once(1)["operating_points"] != first["operating_points"]


def test_the_page_has_a_table_for_each_cause(measured):
    report, folder = measured
    assert json.loads((folder / "report.json").read_text()) == report
    page = (folder / "report.md").read_text()
    for heading in ("Noise", "Reverberation", "Level", "Speed", "Speakers", "False alarms by kind of sound"):
        assert f"\n### {heading}\n" in page
    rows = [line for line in tables(report) if line.startswith("| 0 dB |")]
    assert rows[0].startswith("| 0 dB | 24 | 24: 100.0% (86.2%–100.0%) |")
    assert "without noise" in rows[1]
    assert any(line.startswith("| other trigger words: gong | 6 |") for line in tables(report))
    assert any(line.startswith("| speaker: child | 12 | ") and "†" in line for line in tables(report))
    assert "False alarms by who speaks" not in page, "0.05 h"
    assert "Too wide to mean anything" in tables(report)[-1] and "(100 per hour) and 5 times it" in tables(report)[-1]
    columns = [line for line in tables(report) if line.startswith("| condition | clips |")]
    assert len(columns) == 4 and all("at A (400.00/h in 0.05 h)" in line for line in columns)
    assert "other trigger words: 60" in format_report(report)


def test_noise_among_the_negatives_is_not_taken_for_the_noise_that_is_apart(measured, one_hour):
    report = copy.deepcopy(measured[0])
    for point in report["operating_points"]:
        kinds = point["false_alarms"]["clean"]["by_kind"]
        kinds["noise"] = {**kinds["speech"], "count": 77}
    lines = sys.modules["pages"].summary([{"word": "bell", "robustness": report}], -1)
    for shown in (lines, tables(report)):
        assert sum(line.startswith("| noise | ") and "77: " in line for line in shown) == 1
        assert sum(line.startswith("| noise, apart | ") and "77: " not in line for line in shown) == 1


def test_every_row_of_a_table_has_its_columns(measured):
    width = None
    for line in tables(measured[0]):
        if not line.startswith("|"):
            width = None
            continue
        width = width or line.count(" | ")
        assert line.count(" | ") == width, line


def test_without_noise_and_groups_the_page_says_so(material):
    folder, positives, negatives, *_ = material
    plain = [Clip(clip.path) for clip in positives[:6]]
    report = evaluate_robustness(ToneDetector(0.8), plain, [Clip(clip.path) for clip in negatives[:12]])
    assert report["axes"]["noise"] == ["clean"] and any("no noise" in note for note in report["notes"])
    text = "\n".join(tables(report))
    assert "name no group of speakers" in text and "| not told | 12 |" in text and "by who speaks" not in text
    assert set(report["operating_points"][0]["false_alarms"]) == {"clean"}


def test_a_room_that_cannot_be_read_is_reported(material):
    folder, positives, negatives, _, _, rir = material
    (folder / "broken.wav").write_bytes(b"RIFF")
    report = evaluate_robustness(
        ToneDetector(0.8), positives[:3], negatives[:6], rir=[*rir, Clip(folder / "broken.wav")]
    )
    assert list(report["skipped"]) == [str(folder / "broken.wav")]


def test_the_verb_measures_and_writes(model_files, tmp_path, speech_like, capsys):
    for folder, count in (("said", 4), ("unsaid", 3), ("noise", 1), ("words", 2)):
        for index in range(count):
            write_wav(tmp_path / folder / f"{index}.wav", speech_like(1.5, index))
    paths = [str(tmp_path / name) for name in ("said", "unsaid", "noise", "words")]
    arguments = ["evaluate", str(model_files[1]), "--positives", paths[0], "--negatives", paths[1]]
    assert main([*arguments, "--rir", paths[2]]) == 2
    assert "--rir belongs to --robustness" in capsys.readouterr().err
    further = ["--noise", paths[2], "--other-words", paths[3], "--report", str(tmp_path / "report")]
    assert main([*arguments, *further, "--robustness", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["axes"]) == ["noise", "reverberation", "level", "speed"] and len(report["conditions"]) == 18
    assert report["operating_points"][0]["others"]["other trigger words"]["clips"] == 2
    assert "## Robustness" in (tmp_path / "report" / "report.md").read_text()
    assert main([*arguments, *further]) == 0
    assert "other trigger words: " in capsys.readouterr().out
    assert "## Robustness" not in (tmp_path / "report" / "report.md").read_text()


def test_the_recipe_measures_once_and_writes_all_words(one_hour, material, write_corpus, tmp_path, monkeypatch):
    folder = material[0]
    from wakeword.audio.waveform import read_audio

    for word, letter, splits in (("bell", "p", {}), ("gong", "o", {})):
        recordings = {f"{word}-{i}": read_audio(folder / f"{letter}{i}.wav") for i in range(12)}
        splits = {key: "test" if i % 2 else "train" for i, key in enumerate(recordings)}
        made = write_corpus(tmp_path / "made" / word, recordings, splits=splits)
        made.rename(tmp_path / f"wakewords-{word}_cuts.jsonl.gz")
    for name, files in (("talk", [f"n{i}" for i in range(12)]), ("rir", ["room"]), ("noise-esc10", ["street"])):
        recordings = {f"{name}-{file}": read_audio(folder / f"{file}.wav") for file in files}
        write_corpus(tmp_path / "made" / name, recordings).rename(tmp_path / f"{name}_cuts.jsonl.gz")
    for name in ("noise-street", "noise-speech-commands"):
        (tmp_path / f"{name}_cuts.jsonl.gz").write_bytes((tmp_path / "noise-esc10_cuts.jsonl.gz").read_bytes())
    config = one_hour.Config(
        words=("bell", "gong"),
        manifests=str(tmp_path),
        folder=str(tmp_path / "models"),
        other_words=("bell", "gong"),
        test_rir=("rir",),
        noisy_hours=0.01,
    )
    loaded = []
    monkeypatch.setattr(one_hour.Detector, "load", lambda path: loaded.append(path) or ToneDetector(0.8))
    negatives = str(tmp_path / "talk_cuts.jsonl.gz")
    runs = []
    for word in config.words:
        settings = one_hour.settings_of(config, word, "base", negatives)
        training = Path(settings.output).parent / "training.json"
        training.parent.mkdir(parents=True)
        training.write_text(json.dumps({"cpu_seconds": 1.0, "unfrozen": "none"}))
        Path(settings.output).touch()
        training.with_name("made_of.txt").write_text(one_hour.trained_of(settings))
        runs.append(one_hour.robust(config, settings, negatives))
        again = one_hour.robust(config, settings, negatives)
        assert again == runs[-1], "what is measured already is read"
    assert len(loaded) == 2
    others = [run["robustness"]["operating_points"][0]["others"]["other trigger words"] for run in runs]
    assert [found["clips"] for found in others] == [12, 12] and [run["word"] for run in runs] == ["bell", "gong"]
    assert others[1]["count"] == 12 and others[0]["count"] == 3, "each is set off by the other's tones"
    one_hour.write_robustness(runs, config, tmp_path / "ROBUSTNESS.md")
    text = (tmp_path / "ROBUSTNESS.md").read_text()
    assert "| missed | bell (6 clips) | gong (6 clips) |" in text and "## gong, `base`" in text
    assert text.count("### Reverberation") == 2 and "| other trigger words | 3: " in text


def test_a_report_without_a_condition_is_one_line(material):
    _, positives, negatives, *_ = material
    with pytest.raises(WakewordError, match="name at least one SNR"):
        evaluate_robustness(ToneDetector(), positives, negatives, snrs=())
