"""The comparison with other engines, without them: what it makes of scores, what it keeps, what it says."""

from __future__ import annotations

import importlib
import io
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")
pytest.importorskip("matplotlib")

from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.metrics import Track, count_alarms, hits  # noqa: E402

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
    pseudo_score = module("peers_listening").pseudo_score
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
    """Operating points of an engine whose only scores in an hour of negatives and on three clips are these."""
    time_s = 0.1 * np.arange(1, 36001)
    score = np.zeros(len(time_s), np.float32)
    score[1000 + 100 * np.arange(len(false_at))] = false_at
    negatives = Track(time_s, score, 1.0)
    starts = np.array([10.0, 20.0, 30.0])
    heard = np.zeros(400, np.float32)
    heard[[104, 204, 304]] = fired_at
    positives = Track(0.1 * np.arange(1, 401), heard, 0.001, starts, starts + 1)
    return module("peers_report").judged(negatives, {"clean": (positives, np.array([True, False, True]))})


def test_misses_are_told_at_the_rates(module):
    found = judged_track(module, [0.5, 0.3], [0.6, 0.4, 0.2])
    points = {point["asked_per_hour"]: point for point in found["points"]}
    assert points[1.0]["false_alarms"] == 1 and points[1.0]["missed"] == {"clean": 1}
    assert points[0.5]["false_alarms"] == points[0.1]["false_alarms"] == 0
    assert points[0.1]["missed"] == {"clean": 2} and points[0.1]["fresh_missed"] == {"clean": 1}
    assert all(point["reached"] for point in points.values())
    assert (found["clips"], found["fresh"], found["hours"]) == (3, 2, 1.0)
    det = list(zip(found["det"]["clean"]["fa_per_hour"], np.array(found["det"]["clean"]["miss_rate"]) * 3, strict=True))
    assert (2.0, 0) in [(fa, round(miss)) for fa, miss in det] and max(fa for fa, _ in det) == 2.0


def test_a_rate_below_the_lowest_sensitivity_is_not_reached(module):
    found = judged_track(module, [1.0, 1.0], [1.0, 1.0, 0.5])
    assert [point["reached"] for point in found["points"]] == [False, False, False]
    assert found["points"][0]["missed"] == {"clean": 3}


def comparison(module) -> dict:
    """What `page` wants, with two engines."""
    results = [
        {**judged_track(module, [0.5, 0.3], [0.6, 0.4, 0.2]), "engine": "base", "version": ""},
        {**judged_track(module, [1.0, 1.0], [1.0, 1.0, 0.5]), "engine": "porcupine", "version": "1.2.3"},
    ]
    costs = [{"cpu_s_per_hour": 14.2, "peak_mb": 85.4}, {"cpu_s_per_hour": 17.0, "peak_mb": 34.0}]
    return {
        "machine": {"cpu": "z80", "cores": 1},
        "titles": {"base": "ours, `base`", "porcupine": "Porcupine {version}"},
        "words": ["computer", "jarvis"],
        "corpora": ["voxforge"],
        "limited": None,
        "sensitivities": [0.0, 0.5],
        "nothing_mb": 27.0,
        "results": [{**result, **cost, "word": "computer"} for result, cost in zip(results, costs, strict=True)],
    }


def test_the_page_says_what_was_measured_on_what(module, tmp_path):
    found = comparison(module)
    module("peers_report").write_comparison(found, tmp_path / "comparison.md")
    page = (tmp_path / "comparison.md").read_text()
    assert "| computer | ours, `base` | 3 | 1 (1.00) | 33.3 % (6.1–79.2), 1 |" in page
    assert "| computer | Porcupine 1.2.3 | 3 | not reached | – |" in page
    assert "| computer | ours, `base` | 2 | 0 (0.00) | 50.0 % (9.5–90.5), 1 |" in page  # of those without a copy
    assert "| ours, `base` | 14 | 85 |" in page and "Machine: cpu z80" in page
    assert "1.00 h cannot prove this rate" in page and "A trial" not in page
    assert (tmp_path / "comparison.png").read_bytes().startswith(b"\x89PNG")
    assert "A trial, on the first 0.1 h" in module("peers_report").page({**found, "limited": 0.1}, "x.png")


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


def test_porcupine_is_run_at_each_sensitivity(module, monkeypatch, tmp_path):
    listening, streams = module("peers_listening"), module("peers_streams")
    asked = []

    def heard(python, engine, sound, options, out):
        asked.append((options["sensitivity"], out.name))
        fired = np.zeros(100)
        fired[[10, 50] if options["sensitivity"] >= 0.5 else [10]] = 1
        return {
            "score": fired,
            "hop_s": 0.032,
            "cpu_s": 1.0 + options["sensitivity"],
            "seconds": 3600.0,
            "peak_mb": 30.0,
        }

    monkeypatch.setattr(listening, "heard", heard)
    engine = listening.Engine("porcupine", "Porcupine", "porcupine", ("alexa",), "pvporcupine")
    sound = streams.Sound(tmp_path / "alexa-clean-0.raw", np.zeros(1), np.ones(1), np.ones(1, bool))
    found = listening.listened(engine, "python", {"word": "alexa"}, sound, tmp_path)
    assert [value for value, _ in asked] == sorted(listening.SENSITIVITIES) and len({name for _, name in asked}) == 11
    assert asked[1][1] == "porcupine-alexa-clean-0-at-0.1.npz"
    assert found.track.score[10] == 1 and found.track.score[50] == pytest.approx(6 / 11)
    assert found.cpu_s_per_hour == pytest.approx(1.5) and found.track.time_s[0] == pytest.approx(0.032)


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


def test_the_transfer_network_learns_and_runs_without_torch(module):
    engines, transfer = module("peers_engines"), module("peers_transfer")
    rng = np.random.default_rng(0)
    frames = rng.standard_normal((900, 96)).astype(np.float32)
    labels = np.zeros(900, np.int8)
    labels[100::40] = 1
    frames[99::40] += 3.0  # what precedes the label by a frame
    unsaid = transfer.Heard(rng.standard_normal((900, 96)).astype(np.float32), np.zeros(900, np.int8))
    head = transfer.fitted(transfer.Heard(frames, labels), unsaid, 60, seed=0)
    windows = np.stack([frames[end - 15 : end + 1] for end in range(15, 900)])
    scores = engines.probability(windows, head)
    assert scores[labels[15:] == 1].min() > np.quantile(scores[labels[15:] == 0], 0.95)
    network = transfer.Network()
    network.load_state_dict({k: torch.from_numpy(v) for k, v in head.items() if k not in ("mean", "deviation")})
    with torch.no_grad():
        expected = torch.sigmoid(network(torch.from_numpy((windows - head["mean"]) / head["deviation"])))
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-5)


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
    assert sound.fresh.all() and sound.hours == pytest.approx(3 / 3600, rel=1e-3)
    samples = np.fromfile(sound.path, "<i2")
    assert len(samples) > 16000 * 3 and np.abs(samples).max() > 300
    before = sound.path.stat().st_mtime_ns
    again = streams.positives("hello", manifest, [], None, tmp_path / "audio", Skipped())
    assert again.path == sound.path and again.path.stat().st_mtime_ns == before
    part = streams.negatives(manifest, tmp_path / "audio", 1.5 / 3600, Skipped())
    assert len(part.starts_s) == 2 and part.path != sound.path


def test_what_is_missing_is_named_with_the_command_that_makes_it(module, tmp_path):
    peers = module("peers")
    config = peers.one_hour.Config(words=("computer",), manifests=str(tmp_path), folder=str(tmp_path / "models"))
    (base,) = (engine for engine in peers.ENGINES if engine.name == "base")
    with pytest.raises(WakewordError, match=r"noise-esc10_cuts.*no such manifest: run 'python recipes/pretrain/prep"):
        peers.check(config, [])
    for name in ("noise-esc10", "noise-street", "noise-speech-commands", "rir", "wakewords-computer"):
        (tmp_path / f"{name}_cuts.jsonl.gz").touch()
    peers.check(config, [])
    with pytest.raises(WakewordError, match=r"computer\.wakeword: no such model: run 'python recipes/one_hour/run"):
        peers.check(config, [(base, "computer")])


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

    def listened(engine, python, options, sound, folder):
        calls.append(sound.path.name)
        score = np.full(1000, 0.1, np.float32)
        return module("peers_listening").Heard(
            Track(0.1 * np.arange(1, 1001), score, 1.0, sound.starts_s, sound.ends_s), 10.0, 50.0
        )

    def positives(word, manifest, noise, snr_db, folder, skipped):
        return streams.Sound(tmp_path / f"{word}-{snr_db}.raw", np.array([1.0]), np.array([2.0]), np.array([True]))

    monkeypatch.setattr(peers, "listened", listened)
    monkeypatch.setattr(peers, "positives", positives)
    config = peers.one_hour.Config(words=("cat", "dog"))
    (engine,) = (each for each in peers.ENGINES if each.name == "pocketsphinx")
    others = streams.Sound(tmp_path / "negatives-0.raw", np.array([0.0]), np.array([3600.0]), np.array([True]))
    result = tmp_path / "results" / "pocketsphinx-cat.json"
    arguments = engine, "cat", config, tmp_path, Path("python"), others, result, Skipped()
    peers.measure(*arguments)
    peers.measure(*arguments)
    assert calls == ["negatives-0.raw", "cat-None.raw", "cat-10.0.raw"]
    (found,) = peers.measured(result.parent, config.words)
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
        assert peers.version_of(package), package


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
