"""The comparison with other engines, without them: what it makes of scores, what it keeps, what it says."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import types
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")
pytest.importorskip("matplotlib")

from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.evaluation.calibrate import lowest_within  # noqa: E402
from wakeword.evaluation.metrics import Track, count_alarms, hits  # noqa: E402

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def module(monkeypatch):
    """`module(name)`: a benchmark imported, with what it sets for its own process undone afterwards."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return importlib.import_module


def test_a_pseudo_score_gives_the_points_of_each_sensitivity(module):
    """At the threshold of a sensitivity the track fires as the engine did; what a lower one heard counts as well."""
    pseudo_score = module("peers_sensitivities").pseudo_score
    time_s = 0.1 * np.arange(1, 101)
    fired = np.zeros((3, 100), int)
    fired[0, [20]] = 1
    fired[1, [19, 60]] = 1  # the same phrase a frame earlier
    fired[2, [19, 40, 60, 90]] = 1
    score = pseudo_score(list(fired))
    assert score.max() == 1 and set(np.unique(score)) == {0, *(np.arange(1, 4) / 3)}
    starts = np.array([1.5, 3.9, 5.5])
    track = Track(time_s, score.astype(np.float32), 0.001, starts, starts + 0.6)
    for index, (missed, alarms) in enumerate([(2, 1), (1, 2), (0, 4)]):
        threshold = (3 - index - 0.5) / 3
        assert np.isnan(hits(track, threshold)).sum() == missed
        assert count_alarms([track], [threshold])[0] == alarms
    assert count_alarms([track], [1.01])[0] == 0


def judged_track(module, false_at: list[float], fired_at: list[float]):
    """Operating points of an engine whose only scores in an hour of negatives and on three clips are these.

    The negatives are two clips of half an hour; the first, in which all of the scores lie but the last, is "foreign".
    """
    time_s = 0.1 * np.arange(1, 36001)
    score = np.zeros(len(time_s), np.float32)
    score[1000 + 100 * np.arange(len(false_at))] = false_at
    score[[1000 + 100 * (len(false_at) - 1), 30000]] = 0, false_at[-1]
    negatives = Track(time_s, score, 1.0, np.array([0.0, 1800.0]), np.array([1800.0, 3600.0]))
    starts = np.array([10.0, 20.0, 30.0])
    heard = np.zeros(400, np.float32)
    heard[[104, 204, 304]] = fired_at
    positives = Track(0.1 * np.arange(1, 401), heard, 0.001, starts, starts + 1)
    kinds = {"all": np.array([True, True]), "foreign": np.array([True, False])}
    return module("peers_judged").judged(negatives, kinds, {"clean": (positives, np.array([True, False, True]))})


def test_misses_are_told_at_the_rates(module):
    found = judged_track(module, [0.5, 0.3], [0.6, 0.4, 0.2])
    points = {point["asked_per_hour"]: point for point in found["kinds"]["all"]["points"]}
    assert points[1.0]["false_alarms"] == 1 and points[1.0]["missed"] == {"clean": [2]}
    assert points[0.5]["false_alarms"] == points[0.1]["false_alarms"] == 0
    assert points[0.1]["missed"] == {"clean": [1, 2]}
    assert module("peers_judged").missed_of(points[0.1], "clean", found["fresh"]) == {2}
    assert all(point["reached"] for point in points.values())
    assert (found["clips"], found["fresh"], found["kinds"]["all"]["hours"]) == (3, [True, False, True], 1.0)
    det = list(zip(found["det"]["clean"]["fa_per_hour"], np.array(found["det"]["clean"]["miss_rate"]) * 3, strict=True))
    assert (2.0, 0) in [(fa, round(miss)) for fa, miss in det] and max(fa for fa, _ in det) == 2.0


def test_a_part_of_the_negatives_has_thresholds_and_hours_of_its_own(module):
    """Half an hour allows no alarm at 1 an hour, but the alarm of the other half does not count."""
    found = judged_track(module, [0.1, 0.5], [0.6, 0.4, 0.2])
    every, foreign = (found["kinds"][kind] for kind in ("all", "foreign"))
    assert (every["hours"], foreign["hours"]) == (1.0, 0.5)
    assert [point["threshold"] for point in foreign["points"]] == pytest.approx([0.1] * 3)
    assert foreign["points"][0]["false_alarms"] == 0 and foreign["points"][0]["missed"] == {"clean": []}
    assert every["points"][0]["missed"] == {"clean": []} and every["points"][1]["missed"] == {"clean": [1, 2]}


def test_a_stream_knows_which_negatives_are_foreign(module, tmp_path):
    streams = module("peers_streams")
    five = np.arange(5.0)

    def kinds(*corpora):
        return streams.Sound(tmp_path, five, five, five > 9, np.array(corpora)).kinds

    found = kinds("voxforge", "speechocean762", "commonvoice", "librispeech-audio", "voxforge")
    assert found["all"].all() and found["foreign"].tolist() == [True, False, True, False, True]
    assert list(kinds("kathleen")) == list(kinds("voxforge")) == ["all"], "nothing to tell apart"


def test_a_rate_below_the_lowest_sensitivity_is_not_reached(module):
    found = judged_track(module, [1.0, 1.0], [1.0, 1.0, 0.5])["kinds"]["all"]
    assert [point["reached"] for point in found["points"]] == [False, False, False]
    assert found["points"][0]["missed"] == {"clean": [0, 1, 2]}


def result_of(missed: list[int], clips: int, engine: str, word: str = "computer", reached: bool = True) -> dict:
    """A result in which an engine misses these clips at every rate, in both conditions, on 6 h and 2 h of negatives.

    The first half of the clips have no copy.
    """
    points = [
        {"asked_per_hour": rate, "threshold": 0.5, "reached": reached, "false_alarms": 3}
        | {"missed": {"clean": missed, "10 dB": missed}}
        for rate in (1.0, 0.5, 0.1)
    ]
    kinds = {"all": {"hours": 6.0, "points": points}, "foreign": {"hours": 2.0, "points": points}}
    det = {"fa_per_hour": [2.0, 0.0], "miss_rate": [0.0, 1.0]}
    about = {"engine": engine, "version": "", "word": word, "cpu_s_per_hour": 14.2, "peak_mb": 85.4, "streams": []}
    fresh = [index < clips // 2 for index in range(clips)]
    return {**about, "clips": clips, "fresh": fresh, "kinds": kinds, "det": {"clean": det, "10 dB": det}}


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict", "chance"),
    [
        ([], [], "undecided", 1.0),
        ([1, 2], [1, 2], "undecided", 1.0),
        ([], [1, 2, 3, 4, 5], "undecided", 2 / 32),
        ([], [1, 2, 3, 4, 5, 6], "fewer", 2 / 64),
        ([1, 2, 3, 4, 5, 6], [], "more", 2 / 64),
        ([1, 2, 3], [4, 5, 6], "undecided", 1.0),  # as many of others
        ([9, *range(20, 30)], [*range(1, 9), *range(20, 30)], "fewer", 2 * 10 / 512),  # what both miss says nothing
    ],
)
def test_misses_of_the_same_clips_give_a_verdict(module, ours, theirs, verdict, chance):
    results = [result_of(ours, 40, "base"), result_of(theirs, 40, "other"), result_of([], 40, "other", "jarvis")]
    clean, noisy = module("peers_judged").beside(results, "base", ["other"], "all", 0.5)
    assert (clean.condition, noisy.condition, clean.word) == ("clean", "10 dB", "computer")
    assert clean.verdict == verdict and clean.chance == pytest.approx(chance)
    assert (clean.ours, clean.theirs) == (len(ours), len(theirs))
    assert (clean.only_ours, clean.only_theirs) == (len({*ours} - {*theirs}), len({*theirs} - {*ours}))


def test_clips_with_a_copy_and_rates_that_are_not_kept_are_told_apart(module):
    beside = module("peers_judged").beside
    results = [result_of([3, 30], 40, "base"), result_of([30, 31, 32], 40, "other")]
    (fresh, _) = beside(results, "base", ["other"], "all", 0.5, fresh=True)
    assert (fresh.ours, fresh.theirs, fresh.only_ours) == (1, 0, 1)
    silent = result_of(list(range(40)), 40, "other", reached=False)
    assert {pair.verdict for pair in beside([results[0], silent], "base", ["other"], "foreign", 0.1)} == {
        "rate not reached"
    }
    silent = {**silent, "engine": "base"}
    assert next(beside([silent, results[1]], "base", ["other"], "all", 0.1)).verdict == "rate not reached by ours"


def comparison(*results: dict) -> dict:
    """What `page` wants."""
    return {
        "machine": {"cpu": "z80", "cores": 1},
        "titles": {"base": "ours, `base`", "micro": "ours, `micro`", "porcupine": "Porcupine {version}"},
        "ours": ["base", "micro"],
        "missing": ["pocketsphinx (jarvis)"],
        "words": ["computer", "jarvis"],
        "corpora": ["voxforge", "speechocean762"],
        "foreign": ["voxforge"],
        "left_out": "4 utterances are left out.",
        "limited": None,
        "nothing_mb": 27.0,
        "results": list(results),
    }


def test_the_page_says_what_was_measured_on_what(module, tmp_path):
    rival = result_of([1, *range(4, 20), 30], 40, "porcupine") | {"version": "1.2.3", "cpu_s_per_hour": 17.0}
    silent = result_of([], 40, "porcupine", "jarvis", reached=False) | {"version": "1.2.3"}
    found = comparison(result_of([1, 30, 31], 40, "base"), rival, result_of([1], 40, "base", "jarvis"), silent)
    module("peers_report").write_comparison(found, tmp_path / "comparison.md")
    page = (tmp_path / "comparison.md").read_text()
    # Of all negatives and of the foreign ones, at three rates each.
    assert page.count("| computer | ours, `base` | 40 | 3 (0.50; 0.10–1.46) | 7.5 % (2.6–19.9), 3 |") == 3
    assert page.count("| computer | ours, `base` | 40 | 3 (1.50; 0.31–4.38) | 7.5 % (2.6–19.9), 3 |") == 3
    assert page.count("| computer | ours, `base` | 20 | 3 (0.50; 0.10–1.46) | 5.0 % (0.9–23.6), 1 |") == 3
    assert page.count("| computer | ours, `base` | 20 | 3 (1.50; 0.31–4.38) | 5.0 % (0.9–23.6), 1 |") == 3
    assert page.count("| jarvis | Porcupine 1.2.3 | 40 | rate not reached | – | – |") == 6
    assert page.count("| computer | Porcupine 1.2.3 | fewer (1 : 16, p 0.00027) |") == 6
    assert page.count("| computer | Porcupine 1.2.3 | fewer (0 : 16, p 3.1e-05) |") == 6
    assert "| ours, `base` | 14 | 85 |" in page and "Machine: cpu z80" in page and "4 utterances are left out" in page
    assert "6.00 h cannot prove this rate" in page and "2.00 h cannot prove this rate" in page and "A trial" not in page
    assert "2.00 h that are foreign to all: voxforge" in page and "ways to transfer learning" not in page
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "A trial, on the first 0.1 h" in module("peers_report").page({**found, "limited": 0.1}, "x.png")


def test_one_false_alarm_in_all_hours_is_told_too(module):
    """Of 6 h: by the DET curves, where a rate of 1 / 6 is one alarm."""

    def heard(engine, **rates):
        det = {name: {"fa_per_hour": [2.0, 1 / 6, 0.0], "miss_rate": [0.0, *each]} for name, each in rates.items()}
        return result_of([], 40, engine) | {"det": {"clean": det["clean"], "10 dB": det["noise"]}}

    base = heard("base", clean=[0.1, 0.5], noise=[0.2, 0.9])
    rival = heard("porcupine", clean=[0.2, 0.3], noise=[0.2, 0.3])
    loud = result_of([], 40, "pocketsphinx") | {
        "det": dict.fromkeys(("clean", "10 dB"), {"fa_per_hour": [2.0], "miss_rate": [0.0]})
    }
    *_, told, _ = module("peers_report").at_one_alarm(comparison(base, rival, loud))
    assert told == "- `base`: fewer clips in 1, as many in 1, more in 0."
    *_, told, _ = module("peers_report").at_one_alarm(comparison(loud | {"engine": "base"}, rival))
    assert told == "- `base`: fewer clips in 0, as many in 0, more in 2.", "ours cannot keep it"


def test_the_page_says_which_aims_hold(module):
    base, rival = result_of([1], 40, "base"), result_of(list(range(10)), 40, "porcupine")
    micro = result_of([1, 2], 40, "micro") | {"cpu_s_per_hour": 10.4}
    near, silent = result_of([3, 4], 40, "porcupine"), result_of([], 40, "porcupine", reached=False)

    def rows(*results):
        lines = module("peers_report").summary(comparison(*results), ["all"])
        return [
            [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| `")
        ], lines

    found, lines = rows(base, micro, rival)
    assert [row[:4] for row in found[:4]] == [
        ["`base`", "all negatives", clips, rate]
        for clips in ("all", "without a copy")
        for rate in ("0.5 per h", "0.1 per h")
    ]
    assert found[0][4:] == ["2", "2", "0", "0", "2", "0", "0", "yes, and shown"] and len(found) == 8
    assert any("`base`: 14.2; the aim, at most 24, holds" in line for line in lines)
    assert any("`micro`: 10.4; the aim, at most 10, does not hold" in line for line in lines)
    assert any("pocketsphinx (jarvis)" in line for line in lines)
    assert rows(base, near)[0][0][4:] == ["2", "2", "0", "0", "0", "0", "0", "yes, not shown"]
    assert rows(micro, near)[0][0][4:] == ["2", "0", "2", "0", "0", "0", "0", "no"]
    assert rows(base | {"engine": "micro"}, base | {"engine": "porcupine"})[0][0][-1] == "no"
    perfect, as_good = result_of([], 40, "base"), result_of([], 40, "porcupine")
    assert rows(perfect, as_good)[0][0][4:8] == ["2", "0", "2", "0"]
    assert rows(perfect, as_good)[0][0][-1] == "but for 2 where neither misses any"
    assert rows(base, silent)[0][0][4:] == ["2", "0", "0", "0", "0", "0", "2", "nobody else keeps the rate"]


def write_samples(path: Path, seconds: float) -> Path:
    np.arange(int(16000 * seconds), dtype="<i2").tofile(path)
    return path


@pytest.mark.parametrize("piped", [False, True])
def test_the_child_hears_a_file_or_its_input(tmp_path, piped):
    audio = write_samples(tmp_path / "a.raw", 1.0)
    command = [
        sys.executable,
        "-I",
        FOLDER / "peers_engines.py",
        "nothing",
        "-" if piped else audio,
        tmp_path / "o.npz",
    ]
    subprocess.run(list(map(str, command)), input=audio.read_bytes() if piped else None, check=True)
    with np.load(tmp_path / "o.npz") as found:
        assert found["score"].shape == (12,) and found["score"].dtype == np.float32  # the rest is no whole block
        assert (found["hop_s"], found["seconds"]) == (0.08, pytest.approx(0.96))
        assert found["cpu_s"] >= 0 and not found["peak_mb"] < 5


FAKE = """
import sys
from pathlib import Path
sys.path.insert(0, {folder!r})
import numpy as np
import peers_engines
def fake(options):
    with open(options["log"], "a") as log:
        log.write("heard\\n")
    if options.get("broken"):
        raise OSError("no such keyword")
    return 1600, lambda block: np.array([block.min(), block.max()]) / 32768
peers_engines.ENGINES["fake"] = fake
sys.exit(peers_engines.main())
"""


def test_an_engine_is_heard_once_and_again_when_asked_for_something_else(module, tmp_path):
    heard = module("peers_listening").heard
    child, log, out = tmp_path / "fake.py", tmp_path / "log", tmp_path / "scores" / "fake.npz"
    child.write_text(FAKE.format(folder=str(FOLDER)))
    audio, model = write_samples(tmp_path / "a.raw", 0.5), tmp_path / "model"
    model.write_text("first")
    options = {"log": str(log), "model": str(model)}
    found = [heard(sys.executable, "fake", audio, options, out, child) for _ in range(2)]
    assert log.read_text().count("heard") == 1
    np.testing.assert_array_equal(found[0]["score"], found[1]["score"])
    assert found[0]["hop_s"] == 0.05  # two scores a block of 100 ms
    np.testing.assert_allclose(found[0]["score"][:4], np.array([0, 1599, 1600, 3199]) / 32768, rtol=1e-6)
    model.write_text("trained anew")
    heard(sys.executable, "fake", audio, options, out, child)
    assert log.read_text().count("heard") == 2
    out.write_bytes(out.read_bytes()[:100])  # damaged
    heard(sys.executable, "fake", audio, options, out, child)
    assert log.read_text().count("heard") == 3
    with pytest.raises(WakewordError, match="fake: its process.*OSError: no such keyword") as error:
        heard(sys.executable, "fake", audio, {**options, "broken": True}, out, child)
    assert "\n" not in str(error.value)
    assert [path.name for path in out.parent.iterdir()] == ["fake.npz"]


def test_an_engine_of_sensitivities_is_run_at_each(module, monkeypatch, tmp_path):
    listening, streams = module("peers_listening"), module("peers_streams")
    asked = []

    def heard(python, engine, sound, options, out):
        asked.append((options["sensitivity"], out.name))
        fired = np.zeros(100)
        fired[[10, 50] if options["sensitivity"] >= 0.5 else [10]] = 1
        cost = {"cpu_s": 1.0 + options["sensitivity"], "seconds": 3600.0, "peak_mb": 30.0}
        return {"score": fired, "hop_s": 0.032, **cost}

    monkeypatch.setattr(listening, "heard", heard)
    engine = listening.Engine("porcupine", "Porcupine", "porcupine", ("alexa",), "pvporcupine")
    one = np.ones(1)
    sound = streams.Sound(tmp_path / "alexa-clean-0.raw", 0 * one, one, one > 0, np.array(["a"]))
    at = (0.0, 0.1, 0.4125, 0.5, 0.9)
    found = listening.listened(engine, "python", {"word": "alexa"}, sound, tmp_path, at)
    assert asked[2] == (0.4125, "porcupine-alexa-clean-0-at-0.4125.npz") and [value for value, _ in asked] == list(at)
    assert found.track.score[10] == 1 and found.track.score[50] == pytest.approx(2 / 5)
    assert found.cpu_s_per_hour == pytest.approx(1 + np.mean(at)) and found.track.time_s[0] == pytest.approx(0.032)


def stand_in(alarms_from: list[float], hours: float = 4.0):
    """An engine that fires at each of these sensitivities and all above, in as many places of `hours` of negatives.

    Gives `hear(sensitivity)` and the list of those that it was run at.
    """
    time_s = np.arange(1.0, 3600 * hours + 1)
    asked = []

    def hear(sensitivity: float) -> Track:
        asked.append(sensitivity)
        score = np.zeros(len(time_s))
        score[[100 * index + 50 for index, least in enumerate(alarms_from) if sensitivity >= least]] = 1
        return Track(time_s, score, hours, np.arange(4) * 900 * hours, np.arange(1, 5) * 900 * hours)

    return hear, asked


def test_sensitivities_are_refined_around_each_rate(module):
    """Of 4 h, 1 an hour allows 4 alarms: the fifth comes at 0.537, the third (0.5 an hour) at 0.271."""
    sensitivities = module("peers_sensitivities")
    hear, asked = stand_in([0.02, 0.25, 0.271, 0.52, 0.537, 0.55, 0.9])
    found = sensitivities.refined(hear, [np.ones(4, bool)], (1.0, 0.5))
    assert len(asked) == len(set(asked)) == 11 + 3 + 3 and found == tuple(sorted(asked))
    assert {0.525, 0.5375, 0.2625, 0.275} < set(found)
    runs = [hear(value) for value in found]
    joined = replace(runs[0], score=sensitivities.pseudo_score([run.score for run in runs]))
    for rate, alarms, highest in ((1.0, 4, 0.525), (0.5, 2, 0.2625)):
        threshold = lowest_within([joined], 4.0, rate)
        assert count_alarms([joined], [threshold])[0] == alarms, "all of the budget is spent"
        assert round((1 - threshold) * len(found)) <= found.index(highest) + 1


def test_sensitivities_are_refined_only_where_a_rate_is_passed(module):
    refined, every = module("peers_sensitivities").refined, np.ones(4, bool)
    hear, asked = stand_in([0.0] * 9)  # the lowest sensitivity gives too many
    assert refined(hear, [every], (1.0, 0.1)) == tuple(asked) and len(asked) == 11
    hear, asked = stand_in([0.9])  # the highest keeps the rate
    assert refined(hear, [every], (1.0,)) == tuple(asked) and len(asked) == 11
    hear, asked = stand_in([0.31, 0.77], hours=0.2)  # 180 s a clip: the first alarm in the first, the second too
    assert len(refined(hear, [every, np.arange(4) > 0], (1.0,))) == 14, "the others have no alarm to refine around"


def test_pocketsphinx_tells_each_detection_once_over_several_utterances(module, monkeypatch):
    """A stand-in spots the loudest samples; the 1.5 s before a new utterance are heard again, and not told again."""
    engines = module("peers_engines")

    class Decoder:
        def __init__(self, **options):
            self.logmath = types.SimpleNamespace(log=lambda probability: probability)
            self.lookup_word = lambda word: "K AE T" if word == "cat" else None

        def start_utt(self):
            self.heard = np.zeros(0, np.int16)

        def end_utt(self):
            pass

        def process_raw(self, data, no_search, full_utterance):
            self.heard = np.concatenate([self.heard, np.frombuffer(data, np.int16)])

        def seg(self):
            places = np.flatnonzero(self.heard)
            return [types.SimpleNamespace(end_frame=place // 160, prob=-500) for place in places] or None

    monkeypatch.setitem(sys.modules, "pocketsphinx", types.SimpleNamespace(Decoder=Decoder))
    monkeypatch.setattr(engines, "MANY_SPOTTED", 3)
    samples = np.zeros(16000 * 20, np.int16)
    spoken = 8000 + 16000 * np.arange(19)
    samples[spoken] = 1
    found = engines.listen("pocketsphinx", io.BytesIO(samples.tobytes()), {"word": "cat"})["score"]
    assert np.flatnonzero(found).tolist() == (spoken // 1280).tolist()
    exponent = 1000 * 1024 * np.log10(1.0001)
    assert found.max() == pytest.approx((exponent + 60) / 200, rel=1e-5)
    with pytest.raises(ValueError, match="dictionary"):
        engines.listen("pocketsphinx", io.BytesIO(b""), {"word": "qwzx"})


def test_engines_of_packages_hear_every_sample_and_their_scores_are_taken_as_they_are(module, monkeypatch):
    """Stand-ins with the packages' interfaces; a ramp of samples tells what each was given."""
    engines = module("peers_engines")
    samples = np.arange(16000, dtype="<i2")
    given: dict[str, list] = {"porcupine": [], "openwakeword": [], "microwakeword": []}

    def fires(block):
        given["porcupine"].append(block)
        return 0 if 5120 in block else -1  # the index of the keyword

    asked = []
    create = lambda **options: asked.append(options) or types.SimpleNamespace(frame_length=512, process=fires)  # noqa: E731
    monkeypatch.setitem(sys.modules, "pvporcupine", types.SimpleNamespace(create=create))

    def model(wakeword_models, inference_framework):
        def predict(block):
            given["openwakeword"].append(block)
            return {"alexa": block[0] / 32768, "other": 1.0}

        return types.SimpleNamespace(predict=predict)

    monkeypatch.setitem(sys.modules, "openwakeword", types.SimpleNamespace(Model=model))

    class Micro:
        """Answers each third frame with the first sample of it, as a share of full scale, and 0 else."""

        stride, from_builtin = 3, classmethod(lambda cls, model: cls())

        def __init__(self):
            self.frames = 0

        def process_streaming_prob(self, frame):
            self.frames += 1
            return frame / 32768 if self.frames % 3 == 0 else 0.0

    class Features:
        def process_streaming(self, data):
            given["microwakeword"].append(data)
            return np.frombuffer(data, "<i2")[::160]

    package = types.SimpleNamespace(MicroWakeWord=Micro, MicroWakeWordFeatures=Features, Model=str)
    monkeypatch.setitem(sys.modules, "pymicro_wakeword", package)

    def heard(engine, **options):
        return engines.listen(engine, io.BytesIO(samples.tobytes()), {"word": "alexa", **options})

    found = heard("porcupine", sensitivity=0.3)
    assert asked == [{"keywords": ["alexa"], "sensitivities": [0.3]}] and found["hop_s"] == 0.032
    assert np.flatnonzero(found["score"]).tolist() == [10] and found["score"].max() == 1
    assert np.concatenate(given["porcupine"]).tolist() == samples[: 31 * 512].tolist()
    found = heard("openwakeword", beside=["other"])
    np.testing.assert_allclose(found["score"], 1280 * np.arange(12) / 32768)
    assert np.concatenate(given["openwakeword"]).tolist() == samples[: 12 * 1280].tolist()
    found = heard("microwakeword", beside=["other"])
    assert found["hop_s"] == pytest.approx(0.03)
    np.testing.assert_allclose(found["score"], (480 * np.arange(33) + 320) / 32768, rtol=1e-6)
    assert b"".join(given["microwakeword"]) == samples[: 33 * 480].tobytes()


def test_the_transfer_network_learns_and_runs_without_torch(module):
    engines, transfer = module("peers_engines"), module("peers_transfer")
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((900, 96)).astype(np.float32)
    labels = np.zeros(900, np.int8)
    labels[100::40] = 1
    frames[99::40] += 3.0  # what precedes the label by a frame
    unsaid = transfer.Heard(rng.standard_normal((900, 96)).astype(np.float32), np.zeros(900, np.int8))
    setting = transfer.Setting(width=32)
    head = transfer.fitted(transfer.Heard(frames, labels), unsaid, 20, seed=0, setting=setting)
    windows = np.stack([frames[end - 15 : end + 1] for end in range(15, 900)])
    scores = engines.probability(windows, head)
    assert scores[labels[15:] == 1].min() > np.quantile(scores[labels[15:] == 0], 0.95)
    assert head["second.weight"].shape == (32, 32)
    network = transfer.Network(32)
    network.load_state_dict({k: torch.from_numpy(v) for k, v in head.items() if k not in ("mean", "deviation")})
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.from_numpy((windows - head["mean"]) / head["deviation"])))
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)


def test_the_search_takes_what_is_best_and_joins_the_best_of_each_axis(module):
    search, setting = module("peers_search"), module("peers_transfer").Setting
    rates = {setting(): 0.3, setting(width=256): 0.2, setting(learning_rate=3e-4): 0.25}
    asked = []

    def missed(each):
        asked.append(each)
        return rates.get(each, 0.4)

    together = setting(width=256, learning_rate=3e-4)
    found = search.searched(missed)
    assert asked == [*search.GRID, together] and found[0] == (setting(width=256), 0.2) and found[-1][1] == 0.4
    assert search.searched(lambda each: 0.1 if each == together else missed(each))[0] == (together, 0.1)
    assert search.searched(lambda each: 0.5)[0][0] == setting(), "of equals the usual one"


def test_the_network_is_scored_as_its_engine_scores(module, monkeypatch):
    engines, search, transfer = (module(f"peers_{name}") for name in ("engines", "search", "transfer"))
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((40, 96)).astype(np.float32)
    head = {name: tensor.numpy() for name, tensor in transfer.Network(8).state_dict().items()}
    head |= {"mean": np.float32(rng.standard_normal(96)), "deviation": np.ones(96, np.float32)}
    monkeypatch.setattr(search, "AT_A_TIME", 7)
    fed = iter(frames)
    monkeypatch.setattr(engines, "embedding", lambda options: (1280, lambda block: next(fed)[None]))
    monkeypatch.setattr(engines.np, "load", lambda path: contextlib.nullcontext(head))
    _, step = engines.transfer({"head": "head.npz"})
    expected = np.concatenate([step(None) for _ in frames])
    np.testing.assert_allclose(search.scored(frames, head), expected, rtol=1e-5)


def test_the_best_network_is_chosen_on_held_out_clips_alone(module, write_corpus, speech_like, tmp_path, monkeypatch):
    """Embeddings that tell the phrase by a tone; of two settings the one that cannot learn in a step is not taken."""
    search, transfer = module("peers_search"), module("peers_transfer")
    time_s = np.arange(8000) / 16000
    tone = np.concatenate([np.zeros(4000), 0.3 * np.sin(2 * np.pi * 1000 * time_s), np.zeros(4000)]).astype(np.float32)
    clips = {f"w{i}": tone + 0.001 * speech_like(1.0, i) for i in range(12)}
    splits = {key: "test" if index % 2 else "train" for index, key in enumerate(clips)}
    each = {key: key for key in clips}
    made = write_corpus(tmp_path / "w", clips, dict.fromkeys(clips, "cat"), each, splits)
    made.rename(tmp_path / "wakewords-cat_cuts.jsonl.gz")
    talk = {f"t{i}": speech_like(20.0, 100 + i) for i in range(8)}
    texts = {key: "a cat" if key == "t0" else "no" for key in talk}
    negatives = write_corpus(tmp_path / "t", talk, texts, {key: key for key in talk})
    for name in ("noise-esc10", "noise-speech-commands", "rir"):
        write_corpus(tmp_path / name, {name: speech_like(2.0, 7)}).rename(tmp_path / f"{name}_cuts.jsonl.gz")
    heard = []

    def embed(path: Path) -> np.ndarray:
        heard.append(path.name)
        samples = np.fromfile(path, "<i2").astype(np.float32)
        blocks = samples[: len(samples) // 1280 * 1280].reshape(-1, 1280) / 32768
        power = np.abs(np.fft.rfft(blocks, axis=1))[:, 32:128]  # around 1000 Hz, the 80th
        return np.log(power + 1e-3).astype(np.float32)

    config = types.SimpleNamespace(
        words=("cat",), copies=2, negative_copies=1, negative_hours=1.0, seed=0, steps=30, snr_db=10.0
    )
    manifest = lambda name: str(tmp_path / f"{name}_cuts.jsonl.gz")  # noqa: E731
    task = transfer.Task(config, manifest, str(negatives), tmp_path / "kept", embed, Skipped())
    training, held_out = task.clips("cat")
    assert len(training) + len(held_out) == 6 and held_out and all(clip.split == "train" for clip in held_out)
    unsaid, aside = task.unsaid()
    assert len(unsaid) + len(aside) == 7 and len(aside) == 2, "not the one that says the word"
    usual = transfer.Setting()
    grid = usual, replace(usual, learning_rate=0.0), replace(usual, noisy=False)
    tests = search.development(task, "cat")
    assert [len(sound.starts_s) for sound in tests] == [len(held_out)] * 2 and len(held_out) < len(training)
    path = search.trained(task, "cat", grid)
    with np.load(path) as file:
        head = dict(file)
    found = json.loads(str(head["search"]))
    missed = {(row["learning_rate"], row["noisy"]): row["missed"] for row in found["tried"]}
    assert len(missed) == 3 and found["tried"][0]["missed"] == min(missed.values()) < missed[0.0, True]
    assert found["tried"][0]["steps"] == 90 and found["hours"] == pytest.approx(40 / 3600)
    assert found["rates"] == [1.0, 0.5, 0.1]
    # The clips in two ways, the negatives, the held-out clips in two conditions, the held-out speakers.
    assert len(heard) == 6 and search.trained(task, "cat", grid) == path and len(heard) == 6
    for kept in (tmp_path / "kept").glob("cat-network-*"):
        kept.unlink()
    monkeypatch.setattr(search, "fitted", None)
    assert search.trained(task, "cat", grid) == path and len(heard) == 6, "networks are kept, one by one"


def test_pieces_are_embedded_with_labels_once(module, tmp_path):
    transfer = module("peers_transfer")
    calls = []

    def embed(samples: Path) -> np.ndarray:
        calls.append(samples.stat().st_size)
        return np.zeros((calls[-1] // 2 // 1280, 96), np.float32)

    def pieces():
        yield np.zeros(1280 * 10 + 7, np.float32), 0.0, 0.0
        yield np.zeros(1280 * 20, np.float32), 0.2, 0.8

    for _ in range(2):
        found = transfer.embedded(pieces(), tmp_path / "clips.npz", embed)
    assert calls == [2 * 1280 * 30] and len(found.frames) == len(found.labels) == 30
    assert np.flatnonzero(found.labels == 1).tolist() == [19, 20, 21, 22]  # from 0.8 s on
    assert [path.name for path in tmp_path.iterdir()] == ["clips.npz"]


def test_a_stream_is_written_once_and_knows_its_copies(module, tmp_path, write_corpus, speech_like):
    streams = module("peers_streams")
    recordings = {f"u{i}": speech_like(1.0, i) for i in range(3)}
    manifest = str(write_corpus(tmp_path / "corpus", recordings, texts=dict.fromkeys(recordings, "hello")))
    sound = streams.positives("hello", manifest, [], None, tmp_path / "audio", Skipped())
    assert sound.fresh.all() and set(sound.corpus) == {"made"} and sound.hours == pytest.approx(3 / 3600, rel=1e-3)
    samples = np.fromfile(sound.path, "<i2")
    assert len(samples) > 16000 * 3 and np.abs(samples).max() > 300
    before = sound.path.stat().st_mtime_ns
    again = streams.positives("hello", manifest, [], None, tmp_path / "audio", Skipped())
    assert again.path == sound.path and again.path.stat().st_mtime_ns == before
    part = streams.negatives(manifest, tmp_path / "audio", 1.5 / 3600, Skipped())
    assert len(part.starts_s) == 2 and part.path != sound.path


def test_only_clips_and_noise_that_no_training_heard_are_in_a_stream(module, tmp_path, write_corpus, speech_like):
    """Of six clips the odd test; one of these is the same recording as one that trains."""
    import lhotse

    streams = module("peers_streams")
    recordings = {f"u{i}": speech_like(1.0 + i / 10, i) for i in range(6)}
    splits = {key: "test" if index % 2 else "train" for index, key in enumerate(recordings)}
    manifest = str(write_corpus(tmp_path / "corpus", recordings, splits=splits))
    cuts = lhotse.load_manifest(manifest).to_eager()
    for cut in cuts:
        cut.custom["group"] = {"u0": "one", "u1": "one", "u3": "two", "u5": "two"}.get(cut.id)
    cuts.to_file(manifest)
    hum = {name: np.full(16000, level, np.float32) for name, level in (("heard", 0.5), ("unheard", 0.01))}
    noise = str(write_corpus(tmp_path / "noise", hum, splits={"heard": "train", "unheard": "test"}))
    under = []
    bed = streams.noise_bed
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "noise_bed", lambda clips, skipped: under.extend(clips) or bed(clips, skipped))
        for snr_db in (None, 10.0):
            sound = streams.positives("w", manifest, [noise], snr_db, tmp_path / "audio", Skipped())
            assert (sound.ends_s - sound.starts_s).tolist() == pytest.approx([1.1, 1.3, 1.5], abs=1e-3)
            assert sound.fresh.tolist() == [False, True, True]
    assert [clip.path.stem for clip in under] == ["unheard"]


def test_what_is_missing_is_named_with_the_command_that_makes_it(module, write_corpus, tmp_path):
    peers = module("peers")
    config = peers.one_hour.Config(words=("computer",), manifests=str(tmp_path), folder=str(tmp_path / "models"))
    (base,) = (engine for engine in peers.ENGINES if engine.name == "base")
    with pytest.raises(WakewordError, match=r"noise-esc10_cuts.*no such manifest: run 'python recipes/pretrain/prep"):
        peers.check(config, [])
    names = "noise-esc10", "noise-street", "noise-speech-commands", "rir", "wakewords-computer", "talk"
    for name in names:
        write_corpus(tmp_path / name, {name: np.zeros(8000, np.float32)}).rename(tmp_path / f"{name}_cuts.jsonl.gz")
    peers.check(config, [])
    with pytest.raises(WakewordError, match=r"computer\.wakeword: no such model: run 'python recipes/one_hour/run"):
        peers.check(config, [(base, "computer")])
    source = (peers.one_hour.Source("talk"),)
    config = replace(config, negatives=source, test_negatives=source)
    settings = peers.one_hour.settings_of(config, "computer", "base", peers.one_hour.negatives_of(config).train)
    model = Path(settings.output)
    model.parent.mkdir(parents=True)
    model.touch()
    model.with_name("made_of.txt").write_text(peers.one_hour.trained_of(settings))
    peers.check(config, [(base, "computer")])
    with pytest.raises(WakewordError, match=r"computer\.wakeword: its settings.*have changed.*run 'python recipes"):
        peers.check(replace(config, steps=7), [(base, "computer")])


def test_a_mistake_is_one_line(tmp_path):
    (tmp_path / "c.toml").write_text(f'words = ["computer"]\nmanifests = "{tmp_path}"\n')
    for arguments, said in (
        (["--words", "banana"], "banana"),
        ([], "no such manifest"),
        (["--config", "nowhere.toml"], "nowhere.toml"),
    ):
        command = [sys.executable, FOLDER / "peers.py", "--config", tmp_path / "c.toml", "--folder", tmp_path / "peers"]
        done = subprocess.run([*map(str, command), *arguments], capture_output=True, text=True, timeout=300)
        assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
        assert said in done.stderr and len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "peers").exists()


def test_what_is_measured_is_kept_until_something_changes(module, monkeypatch, tmp_path):
    peers, streams = module("peers"), module("peers_streams")
    calls = []

    def listened(engine, python, options, sound, folder, sensitivities):
        calls.append(sound.path.name)
        score = np.full(1000, 0.1, np.float32)
        return module("peers_listening").Heard(
            Track(0.1 * np.arange(1, 1001), score, 1.0, sound.starts_s, sound.ends_s), 10.0, 50.0
        )

    def positives(word, manifest, noise, snr_db, folder, skipped):
        one = np.ones(1)
        return streams.Sound(tmp_path / f"{word}-{snr_db}.raw", one, 2 * one, one > 0, np.array(["made"]))

    monkeypatch.setattr(peers, "listened", listened)
    monkeypatch.setattr(peers, "positives", positives)
    config = peers.one_hour.Config(words=("cat", "dog"))
    (engine,) = (each for each in peers.ENGINES if each.name == "pocketsphinx")
    one = np.ones(1)
    others = streams.Sound(tmp_path / "negatives-0.raw", 0 * one, 3600 * one, one > 0, np.array(["made"]))
    result = tmp_path / "results" / "pocketsphinx-cat.json"
    arguments = engine, "cat", config, tmp_path, Path("python"), others, result, Skipped()
    peers.measure(*arguments)
    peers.measure(*arguments)
    assert calls == ["negatives-0.raw", "cat-None.raw", "cat-10.0.raw"]
    (found,) = peers.measured(result.parent, config)
    assert (found["engine"], found["word"]) == ("pocketsphinx", "cat") and set(found["det"]) == {"clean", "10 dB"}
    assert found["version"] == module("peers_listening").version_of("pocketsphinx") != ""
    monkeypatch.setattr(peers, "RATES", (1.0,))
    peers.measure(*arguments)
    assert len(calls) == 6
    (tmp_path / "scores").mkdir()
    for name in ("pocketsphinx-cat-clean-0.npz", "pocketsphinx-dog-clean-0.npz"):
        (tmp_path / "scores" / name).touch()
    peers.forget([(engine, "cat")], tmp_path, result.parent)
    assert not result.exists()
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["pocketsphinx-dog-clean-0.npz"]


def test_engines_are_chosen_by_name_and_by_the_words_they_have(module):
    peers = module("peers")
    config = peers.one_hour.Config(words=("alexa", "computer"))
    args = peers.parsed(["--only", "openwakeword", "pocketsphinx", "--limit-hours", "0.1"])
    pairs = [(engine.name, word) for engine, word in peers.chosen_pairs(config, args)]
    assert pairs == [("openwakeword", "alexa"), ("pocketsphinx", "alexa"), ("pocketsphinx", "computer")]
    assert args.output == Path("exp/peers/trial.md")
    assert peers.parsed([]).output == FOLDER.parent / "docs" / "comparison.md"
    for package in {engine.package for engine in peers.ENGINES} - {""}:
        assert module("peers_listening").version_of(package), package


def test_only_misses_of_the_same_clips_are_compared(module, tmp_path, capsys):
    peers = module("peers")
    for seconds, (engine, streams) in enumerate([("base", ["n", "old"]), ("porcupine", ["n"]), ("micro", ["n"])]):
        path = tmp_path / f"{engine}-cat.json"
        path.write_text(json.dumps({"engine": engine, "word": "cat", "streams": streams}))
        os.utime(path, (seconds, seconds))
    found = peers.measured(tmp_path, peers.one_hour.Config(words=("cat", "dog"), folder=str(tmp_path)))
    assert [result["engine"] for result in found] == ["micro", "porcupine"]
    assert "base-cat.json: of other clips" in capsys.readouterr().err
    assert peers.absent(found, ["cat"]) == ["base (cat)", "transfer (cat)", "pocketsphinx (cat)"]


def test_our_models_are_compared_as_they_were_trained_last(module, tmp_path, capsys):
    peers, models = module("peers"), module("peers_models")
    config = peers.one_hour.Config(words=("cat",), folder=str(tmp_path / "one_hour"))
    micro = next(engine for engine in peers.ENGINES if engine.name == "micro")
    model = models.model_of(config, micro, "cat")
    model.parent.mkdir(parents=True)
    model.write_bytes(b"first")
    trained = {"micro": models.model_digest(config, micro, "cat"), "porcupine": ""}
    for engine, digest in trained.items():
        line = {"engine": engine, "word": "cat", "streams": ["n"], "model": digest}
        (tmp_path / f"{engine}-cat.json").write_text(json.dumps(line))
    assert [result["engine"] for result in peers.measured(tmp_path, config)] == ["micro", "porcupine"]
    model.write_bytes(b"trained anew")
    assert [result["engine"] for result in peers.measured(tmp_path, config)] == ["porcupine"]
    assert "micro-cat.json: of a model that has been trained anew" in capsys.readouterr().err


def test_the_environment_is_made_once_and_says_why_pip_fails(module, monkeypatch, tmp_path):
    listening = module("peers_listening")
    made = []

    class Builder:
        def __init__(self, **options):
            pass

        def create(self, folder):
            made.append(folder)
            python = Path(folder) / "bin" / "python"
            python.parent.mkdir(parents=True, exist_ok=True)
            python.write_text(
                "#!/bin/sh\necho collecting\ntest -e \"$0.good\" || { echo 'ERROR: no such wheel'; exit 1; }\n"
            )
            python.chmod(0o755)

    monkeypatch.setattr(listening.venv, "EnvBuilder", Builder)
    requirements, folder = tmp_path / "requirements.txt", tmp_path / "venv"
    requirements.write_text("some==1.0  # a comment\n")
    with pytest.raises(WakewordError, match="pip failed .ERROR: no such wheel.*venv.log") as error:
        listening.environment(folder, requirements)
    assert "\n" not in str(error.value) and "collecting" in (tmp_path / "venv.log").read_text()
    (folder / "bin" / "python.good").touch()
    for _ in range(2):
        assert listening.environment(folder, requirements) == folder / "bin" / "python"
    assert len(made) == 2
    requirements.write_text("some==1.1\n")
    listening.environment(folder, requirements)
    assert len(made) == 3 and json.dumps(listening.version_of("some", requirements)) == '"1.1"'
