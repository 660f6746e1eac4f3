import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tones import ToneDetector, clip_of

from wakeword.audio.clips import Clip
from wakeword.audio.waveform import SAMPLE_RATE, write_wav
from wakeword.errors import WakewordError
from wakeword.evaluation.calibrate import calibrate
from wakeword.evaluation.evaluate import evaluate, evaluate_robustness, format_report, score_negatives
from wakeword.evaluation.metrics import Track
from wakeword.evaluation.operating import operating_point
from wakeword.evaluation.streams import Event


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    folder = tmp_path_factory.mktemp("audio")
    positives = [
        Clip(
            clip_of(folder / f"p{i}.wav", 0.01 if i % 6 == 5 else 0.2, i),
            speaker=f"s{i % 4}",
            attributes={"gender": "female" if i % 2 else "male", "age": 8 if i < 12 else "thirties"},
        )
        for i in range(24)
    ]
    # 15 of 90 sound like the phrase.
    negatives = [
        Clip(
            clip_of(folder / f"n{i}.wav", 0.04 if i % 6 == 0 else 0, 100 + i),
            corpus="a" if i < 60 else "b",
            text=f"t {i}",
        )
        for i in range(90)
    ]
    rng = np.random.default_rng(1)
    write_wav(folder / "noise.wav", (rng.standard_normal(5 * SAMPLE_RATE) * 0.1).astype(np.float32))
    (folder / "damaged.wav").write_bytes(b"RIFF")
    return folder, positives, negatives, [Clip(folder / "noise.wav")]


def test_evaluate_end_to_end(material, tmp_path):
    folder, positives, negatives, noise = material
    stages = []
    report = evaluate(
        ToneDetector(0.5),
        [*positives, Clip(folder / "damaged.wav")],
        negatives,
        noise,
        snrs=(None, 10.0, -10.0),
        fa_rates=(200.0, 0.5),
        report_dir=tmp_path / "report",
        progress=lambda stage, fraction: stages.append((stage, fraction)),
    )
    assert report["positives"] == {"clips": 24, "speakers": 4}
    assert report["negatives"]["clips"] == 90
    assert report["negatives"]["hours"] == pytest.approx(90 * 1.5 / 3600)
    assert list(report["skipped"]) == [str(folder / "damaged.wav")]
    own = report["operating_points"][0]
    assert own["threshold"] == 0.5 and own["asked_fa_per_hour"] is None
    clean = own["conditions"]["clean"]
    # The four faint tones lie in noise twice as strong, and only they are missed.
    assert (clean["missed"], clean["clips"]) == (4, 24)
    assert clean["interval"][0] < 4 / 24 < clean["interval"][1]
    # The tone is detected in its first frames: about 0.4 s before its end.
    assert -0.4 < clean["delay"]["median_s"] < -0.25
    assert clean["groups"]["gender: male"]["missed"] == 0 and clean["groups"]["gender: female"]["missed"] == 4
    assert clean["groups"]["age: under 13"]["clips"] == 12 and clean["groups"]["age: 30-39"]["clips"] == 12
    assert own["conditions"]["-10 dB"]["missed"] > own["conditions"]["10 dB"]["missed"] >= 4
    false = own["false_alarms"]["clean"]
    assert false["count"] == 15 and false["by_corpus"]["a"]["count"] == 10 and false["by_corpus"]["b"]["count"] == 5
    assert false["per_hour"] == pytest.approx(15 / report["negatives"]["hours"])
    assert all(int(w["text"].split()[1]) % 6 == 0 and 0.4 < w["at_s"] < 1.0 for w in false["worst"])
    assert own["conditions"].keys() == {"clean", "10 dB", "-10 dB"}
    for point in report["operating_points"][1:]:
        assert "hindsight" in point["chosen_on"]
        assert point["false_alarms"]["clean"]["per_hour"] <= point["asked_fa_per_hour"]
    assert "too few" in report["operating_points"][2]["false_alarms"]["clean"]["note"]
    assert "-10 dB" in report["det"] and stages[-1][1] == 1.0
    files = tmp_path / "report"
    assert json.loads((files / "report.json").read_text()) == report
    assert (files / "det.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    page, text = (files / "report.md").read_text(), format_report(report)
    for shown in (page, text):
        assert "16.7%" in shown and "4 of 24" in shown and "too few" in shown and "damaged.wav" in shown
    assert sorted(p.name for p in files.iterdir()) == ["det.png", "report.json", "report.md"]


@pytest.mark.parametrize(("threshold", "missed", "alarms"), [(0.7, 3, 0), (0.5, 2, 1), (0.3, 1, 2), (0.1, 0, 3)])
def test_what_a_point_tells_is_counted_at_its_threshold(threshold, missed, alarms):
    """Clips of 1 s whose only scores are these; so are the negatives."""
    time_s = 0.04 * np.arange(1, 251)
    starts = np.array([1.0, 4.0, 7.0])
    score = np.zeros(250)
    score[np.searchsorted(time_s, starts + 0.5)] = 0.6, 0.4, 0.2
    track = Track(time_s, score, 3 / 3600, starts, starts + 1)
    events = [Event(start, start + 1, start + 0.3, Clip(Path(f"{start}.wav"))) for start in starts]
    clean = {"clean": (track, events)}
    found = operating_point(threshold, clean, clean, {"apart": (track, events)}, np.zeros(0, np.int64), 1.0, None, 0.5)
    assert found["conditions"]["clean"]["missed"] == missed and found["conditions"]["clean"]["clips"] == 3
    assert found["false_alarms"]["clean"]["count"] == found["others"]["apart"]["count"] == alarms
    if alarms:
        assert found["conditions"]["clean"]["delay"]["median_s"] == pytest.approx(0.2, abs=0.04)


def test_negatives_that_were_heard_before_are_not_heard_again(material):
    _, positives, negatives, noise = material
    options = dict(noise=noise, snrs=(None, -10.0), seed=3)
    stages = []
    before = score_negatives(ToneDetector(0.5), negatives, seed=3)
    again = evaluate(
        ToneDetector(0.5), positives, (), heard_before=before, progress=lambda *told: stages.append(told[0]), **options
    )
    assert again == evaluate(ToneDetector(0.5), positives, negatives, **options) and "negatives" not in stages


def test_a_threshold_from_development_negatives(material):
    _, positives, negatives, _ = material
    rate = 400.0
    report = evaluate(ToneDetector(), positives, negatives[:45], fa_rates=(rate,), dev=negatives[45:])
    named = {p["chosen_on"]: p for p in report["operating_points"]}
    dev = next(p for origin, p in named.items() if "development negatives" in origin)
    (calibration,) = calibrate(ToneDetector(), negatives[45:], rate)
    assert dev["threshold"] == calibration.threshold
    assert report["conditions"] == ["clean"] and any("no noise" in note for note in report["notes"])


def test_noisy_negatives_have_their_own_false_alarms(material):
    _, positives, negatives, noise = material
    report = evaluate(ToneDetector(), positives, negatives, noise, snrs=(None, -10.0), noisy_hours=math.inf)
    found = report["operating_points"][0]["false_alarms"]
    assert found["-10 dB"]["count"] < found["clean"]["count"] == found["-10 dB"]["clean_count"]  # the tones drown
    assert found["-10 dB"]["clips"] == 90 and "-10 dB: " in format_report(report)


def test_a_part_of_the_negatives_is_heard_in_noise_and_compared_with_itself(material):
    _, positives, negatives, noise = material
    hours = 90 * 1.5 / 3600
    report = evaluate(ToneDetector(), positives, negatives, noise, snrs=(None, 40.0), noisy_hours=hours / 3)
    found = report["operating_points"][0]["false_alarms"]["40 dB"]
    assert found["clips"] == 30 and found["hours"] == pytest.approx(hours / 3)
    # Every third clip from the first on, and of these every second sounds like the phrase.
    assert found["count"] == found["clean_count"] == 15
    assert "30 of 90 negatives, drawn evenly" in report["notes"][0]
    assert report["det"]["40 dB"]["fa_per_hour"] == report["det"]["clean"]["fa_per_hour"], "all of them, in the curve"


@pytest.mark.parametrize(
    "also, where", [("negatives", "negatives"), ("dev", "development negatives"), ("others", "alexa")]
)
def test_a_clip_that_is_a_positive_and_a_negative_is_refused(material, also, where):
    """A hit on it would be right and wrong; so it is in all that calls `evaluate`, and before hours are heard."""
    folder, positives, negatives, noise = material
    given = {"negatives": negatives[:6], "dev": negatives[6:9], "others": {"alexa": negatives[9:12]}}
    again = [Clip(folder / ".." / folder.name / "p3.wav"), *negatives[:3]]
    given[also] = {"alexa": again} if also == "others" else again
    stages = []
    for measure in (evaluate, evaluate_robustness):
        with pytest.raises(WakewordError, match=f"p3.wav: in positives and {where} both: a hit on it") as error:
            measure(ToneDetector(), positives, noise=noise, progress=lambda *stage: stages.append(stage), **given)
        assert "\n" not in str(error.value) and not stages


def test_missing_positives_or_negatives_are_one_line(material):
    folder, positives, negatives, _ = material
    bad = [Clip(folder / "damaged.wav")]
    for p, n, what in ((bad, negatives, "positives"), (positives, bad, "negatives"), (positives, [], "negatives")):
        with pytest.raises(WakewordError, match=f"no {what}") as error:
            evaluate(ToneDetector(), p, n)
        assert "\n" not in str(error.value)


def test_without_matplotlib_the_rest_is_written(material, tmp_path, monkeypatch):
    _, positives, negatives, _ = material
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    report = evaluate(ToneDetector(), positives[:6], negatives[:6], report_dir=tmp_path)
    assert any("wakeword[plot]" in note for note in report["notes"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.json", "report.md"]
    assert "det.png)" not in (tmp_path / "report.md").read_text()


def test_no_detection_at_all_is_reported(material, tmp_path):
    _, positives, negatives, _ = material
    report = evaluate(ToneDetector(2.0), positives, negatives[:20], report_dir=tmp_path)
    own = report["operating_points"][0]
    assert own["conditions"]["clean"]["miss_rate"] == 1.0 and own["false_alarms"]["clean"]["count"] == 0
    assert "none detected" in format_report(report)
    assert not any(math.isnan(v) for v in own["conditions"]["clean"]["interval"])


def test_calibrate_keeps_the_budget(material):
    folder, positives, negatives, _ = material
    hours = 90 * 1.5 / 3600
    budget = 7 / hours
    detector = ToneDetector(0.123)
    (found,) = calibrate(detector, [*negatives, Clip(folder / "damaged.wav")], f"{budget}/h")
    assert detector.thresholds == (0.123,)
    assert found.hours == pytest.approx(hours) and found.skipped == 1 and "skipped 1" in found.note
    assert found.fa_per_hour_observed <= budget * (1 + 1e-9)
    report = evaluate(ToneDetector(found.threshold), positives[:5], negatives)
    assert report["operating_points"][0]["false_alarms"]["clean"]["per_hour"] == pytest.approx(
        found.fa_per_hour_observed
    )


@pytest.mark.parametrize("frame", [320, 640])
def test_the_refractory_time_is_counted_in_the_detectors_own_frames(material, tmp_path, frame):
    """Two tones 0.7 s apart are one alarm, whether a score comes each 20 ms or each 40 ms."""
    clips, inside = [], int(0.2 * SAMPLE_RATE)
    for index in range(40):
        samples = np.random.default_rng(index).standard_normal(3 * SAMPLE_RATE) * 1e-3
        for start in (int(0.5 * SAMPLE_RATE), int(1.2 * SAMPLE_RATE)):
            samples[start : start + inside] += 0.04 * np.sin(2 * np.pi * 1000 / SAMPLE_RATE * np.arange(inside))
        write_wav(tmp_path / f"{index}.wav", samples.astype(np.float32))
        clips.append(Clip(tmp_path / f"{index}.wav"))
    hours = 40 * 3 / 3600
    rate = 40 / hours
    (found,) = calibrate(ToneDetector(0.5, frame), clips, rate)
    assert found.fa_per_hour_observed == pytest.approx(rate), "each pair is one alarm, and so within the budget"
    report = evaluate(ToneDetector(found.threshold, frame), material[1][:6], clips, fa_rates=(rate,), dev=clips)
    own, chosen, _ = report["operating_points"]
    assert own["false_alarms"]["clean"]["count"] == chosen["false_alarms"]["clean"]["count"] == 40
    assert "development negatives" in chosen["chosen_on"] and chosen["threshold"] == found.threshold


def test_of_several_phrases_one_is_evaluated(material):
    _, positives, negatives, _ = material
    detector = ToneDetector(tones=(3000, 1000))
    detector.thresholds = (0.9, 0.5)
    both = {name: evaluate(detector, positives, negatives[:20], phrase=name) for name in ("3000 Hz", "1000 Hz")}
    alone = evaluate(ToneDetector(), positives, negatives[:20])
    assert both["1000 Hz"] == {**alone, "phrase": "1000 Hz"}
    point = both["3000 Hz"]["operating_points"][0]
    assert point["threshold"] == 0.9 and point["conditions"]["clean"]["miss_rate"] == 1.0
    assert point["false_alarms"]["clean"]["count"] == 0 and both["3000 Hz"]["phrase"] == "3000 Hz"
    for name in (None, "500 Hz"):
        with pytest.raises(WakewordError, match="listens for '3000 Hz', '1000 Hz'"):
            evaluate(detector, positives, negatives, phrase=name)


def test_all_phrases_are_calibrated_in_one_pass(material):
    _, _, negatives, _ = material
    stages = []
    found = calibrate(ToneDetector(tones=(1000, 3000, 500)), negatives, 400.0, lambda *told: stages.append(told))
    alone = [calibrate(ToneDetector(tones=(tone,)), negatives, 400.0) for tone in (1000, 3000, 500)]
    assert [[each] for each in found] == alone and len({each.threshold for each in found}) == 3
    assert len(stages) == len(negatives) + 2, "a call a clip, one for the end of the stream, one for all of it"


def test_calibrate_on_nothing_is_one_line(material):
    folder, *_ = material
    with pytest.raises(WakewordError, match="no negatives"):
        calibrate(ToneDetector(), [Clip(folder / "damaged.wav")], 1.0)


def test_base_install_suffices():
    heavy = {"torch", "lhotse", "librosa", "tqdm", "matplotlib", "scipy"}
    code = (
        "import sys; from wakeword.evaluation import calibrate, evaluate, report\n"
        "from wakeword.detector import trigger\n"
        f"print(sorted({heavy!r} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
