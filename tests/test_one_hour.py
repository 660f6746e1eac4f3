"""recipes/one_hour: what it leaves out of the test, when it trains and tests again, what its page says."""

from __future__ import annotations

import json
import types
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("lhotse")
torch = pytest.importorskip("torch")

from wakeword.audio.clips import find_clips  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402

ROOT = Path(__file__).parents[1]


@pytest.fixture
def config(one_hour, write_corpus, speech_like, tmp_path):
    """Two words, with a clip of each and four negatives, two of which hold one of the words."""
    texts = {"a": "MY COMPUTER, too", "b": "computers", "c": "hey\nJarvis", "d": "nothing of it"}
    recordings = {key: speech_like(1.0, seed) for seed, key in enumerate(texts)}
    write_corpus(tmp_path / "made", recordings, texts).rename(tmp_path / "talk_cuts.jsonl.gz")
    for name in (
        "wakewords-computer",
        "wakewords-jarvis",
        "noise-esc10",
        "noise-street",
        "noise-speech-commands",
        "rir",
    ):
        write_corpus(tmp_path / "made" / name, {name: speech_like(1.0)}).rename(tmp_path / f"{name}_cuts.jsonl.gz")
    source = one_hour.Source("talk")
    return one_hour.Config(
        words=("computer", "jarvis"),
        manifests=str(tmp_path),
        folder=str(tmp_path / "models"),
        negatives=(source,),
        test_negatives=(source,),
    )


def test_negatives_that_say_a_word_do_not_test(one_hour, config):
    found = one_hour.negatives_of(config)
    assert [clip.text for clip in find_clips([found.test])] == ["computers", "nothing of it"]
    assert len(find_clips([found.train])) == 4
    assert "2 utterances" in found.left_out and "(2 s)" in found.left_out and "computer, jarvis" in found.left_out
    found = one_hour.negatives_of(replace(config, words=("jarvis",)))
    assert len(find_clips([found.test])) == 3 and "1 utterances" in found.left_out


def test_only_clips_and_noise_that_no_training_heard_test(one_hour, config, write_corpus, speech_like, tmp_path):
    """Of four clips two test; one of these is the same recording as one that trains."""
    import lhotse

    def corpus(name, keys, tests):
        recordings = {key: speech_like(1.0, seed) for seed, key in enumerate(keys)}
        made = write_corpus(tmp_path / "made" / name, recordings, splits=dict.fromkeys(tests, "test"))
        return made.rename(tmp_path / f"{name}_cuts.jsonl.gz")

    manifest = corpus("wakewords-jarvis", "abcd", "bd")
    cuts = lhotse.load_manifest(manifest).to_eager()
    for cut in cuts:
        cut.custom["group"] = {"a": "one", "b": "one"}.get(cut.id)
    cuts.to_file(manifest)
    positives, fresh = one_hour.said(config, "jarvis")
    assert ([c.path.stem for c in positives], [c.path.stem for c in fresh]) == (["b", "d"], ["d"])
    corpus("noise-esc10", "ef", "f")
    assert [clip.path.stem for clip in one_hour.unheard_noise(config)] == ["f"]


@pytest.fixture
def trainings(one_hour, monkeypatch):
    """The settings that training was called with; it writes nothing but a file."""
    called = []

    def train(settings, progress):
        called.append(settings)
        Path(settings.output).parent.mkdir(parents=True, exist_ok=True)
        Path(settings.output).write_text(f"model {len(called)}")
        return types.SimpleNamespace(unfrozen="none")

    monkeypatch.setattr("wakeword.training.train.train", train)
    return called


def test_a_word_is_trained_again_when_what_it_is_made_of_changes(one_hour, config, trainings, monkeypatch, tmp_path):
    weights = tmp_path / "tiny.safetensors"
    checkpoint.save(weights, {"weight": torch.zeros(2)}, "acoustic", {"card": {}})
    monkeypatch.setattr(one_hour, "shipped", lambda name: weights)

    def train(config):
        return one_hour.trained(one_hour.settings_of(config, "jarvis", "base", one_hour.negatives_of(config).train))

    run = train(config)
    assert (run["word"], run["unfrozen"], run["budget"]) == ("jarvis", "none", "0.5 per h") and run["cpu_seconds"] >= 0
    train(replace(config, threads=1))  # which changes no model
    one_hour.negatives_of.cache_clear()
    train(config)  # with its manifest written anew
    assert len(trainings) == 1
    train(replace(config, steps=7))
    assert len(trainings) == 2 and trainings[-1].steps == 7
    train(config)
    assert len(trainings) == 3
    with monkeypatch.context() as patch:
        patch.setattr(one_hour, "NARROW_FROM", 10**6)  # `auto` would choose otherwise
        train(config)
    assert len(trainings) == 4
    train(config)
    del trainings[3:]
    checkpoint.rewrite_meta(weights, {"card": {"error_rates": "measured later"}})
    train(config)
    assert len(trainings) == 3
    checkpoint.save(weights, {"weight": torch.ones(2)}, "acoustic", {"card": {}})
    train(config)
    assert len(trainings) == 4
    (tmp_path / "noise-esc10_cuts.jsonl.gz").write_bytes((tmp_path / "talk_cuts.jsonl.gz").read_bytes())
    train(config)
    train(config)
    assert len(trainings) == 5
    Path(trainings[-1].output).unlink()
    train(config)
    assert len(trainings) == 6


def test_what_a_training_left_when_it_was_interrupted_is_not_taken(one_hour, config, trainings, monkeypatch):
    settings = one_hour.settings_of(config, "jarvis", "micro", one_hour.negatives_of(config).train)
    one_hour.trained(settings)

    def interrupted(settings, progress):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("wakeword.training.train.train", interrupted)
        one_hour.trained(replace(settings, steps=9))
    one_hour.trained(settings)
    assert len(trainings) == 2


def test_a_model_is_tested_again_when_it_or_the_test_changes(one_hour, config, trainings, monkeypatch):
    tested = []

    def score_negatives(detector, negatives, **options):
        return len(negatives), []

    def evaluate(detector, positives, negatives, report_dir, heard_before, **options):
        tested.append((len(positives), len(negatives) + heard_before[0], options.keys()))
        report_dir.mkdir(parents=True, exist_ok=True)
        (report_dir / "report.json").write_text("{}")

    monkeypatch.setattr(one_hour, "evaluate", evaluate)
    monkeypatch.setattr(one_hour, "score_negatives", score_negatives)
    monkeypatch.setattr(one_hour.Detector, "load", lambda path: None)

    def test(config):
        negatives = one_hour.negatives_of(config)
        one_hour.one(config, one_hour.settings_of(config, "jarvis", "micro", negatives.train), negatives.test)

    test(config)
    test(config)
    assert [(positives, negatives) for positives, negatives, _ in tested] == [(1, 2)] and "dev" not in tested[0][2]
    test(replace(config, words=("jarvis",)))  # fewer negatives are left out
    assert [negatives for _, negatives, _ in tested] == [2, 3]
    (stale,) = Path(config.folder).glob("*/report")
    (stale.parent / "report_fresh").mkdir()  # of manifests in which a recording was on both sides
    test(replace(config, words=("jarvis",), steps=3))
    assert len(tested) == 3 and len(trainings) == 2 and not (stale.parent / "report_fresh").exists()


@pytest.mark.parametrize("more", [[], ["--robustness"]])
def test_a_word_that_the_config_does_not_name_is_one_line(one_hour, monkeypatch, tmp_path, capsys, more):
    (tmp_path / "c.toml").write_text('words = ["computer", "jarvis"]\n')
    arguments = ["--config", str(tmp_path / "c.toml"), "--words", "jarvis", "banana", *more]
    monkeypatch.setattr("sys.argv", ["run.py", *arguments])
    assert one_hour.main() == 2
    (told,) = capsys.readouterr().err.strip().splitlines()
    assert told == f"one_hour: --words banana: {tmp_path}/c.toml has computer, jarvis"


def report(alarms: list[int]) -> dict:
    """What `evaluate` gives of the model's own threshold and of those of hindsight, as far as the page tells it."""
    asked = [None, 0.5, 0.1]
    condition = {"missed": 1, "miss_rate": 0.05, "interval": [0.01, 0.2], "delay": {"median_s": 0.1, "p95_s": 0.3}}
    worst = [{"path": f"/far/away{n}.wav", "peak": 0.9 - n / 10, "text": f"Said {n}"} for n in range(max(alarms))]
    points = [
        {
            "asked_fa_per_hour": rate,
            "chosen_on": "these very negatives, in hindsight" if rate else "development data before this test",
            "false_alarms": {
                "clean": {"count": count, "per_hour": count / 4, "interval": [0.25, 2.5], "worst": worst[:count]}
            },
            "conditions": {"clean": condition, "10 dB": condition},
        }
        for rate, count in zip(asked, alarms, strict=True)
    ]
    negatives = {"hours": 4.0, "hours_by_corpus": {"talk": 4.0}}
    return {"positives": {"clips": 20}, "negatives": negatives, "operating_points": points}


def test_the_page_tells_the_models_own_threshold_and_the_budget_it_was_asked_for(one_hour, config, tmp_path):
    run = {"word": "jarvis", "acoustic": "base", "budget": "1 per 2 h", "folder": tmp_path}
    for name, alarms in (("report", [4, 2, 0]), ("report_fresh", [4, 1, 0])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "report.json").write_text(json.dumps(report(alarms)))
    left_out = one_hour.negatives_of(config).left_out
    one_hour.write_results([{**run, "cpu_seconds": 9, "unfrozen": "all"}], config, tmp_path / "R.md", left_out)
    page = (tmp_path / "R.md").read_text()
    own = "| jarvis | base | its own, for 1 per 2 h | 4 (1.00; 0.25–2.50) | 1 (5.0%; 1.0%–20.0%) | 0.10 / 0.30 |"
    assert page.count(own) == 2, "with and without the clips that have copies"
    assert "| hindsight, 0.5 per h | 2 (0.50" in page and "| hindsight, 0.5 per h | 1 (0.25" in page
    assert page.count("| hindsight, 0.1 per h |") == 2 and "2 utterances" in page
    assert "development" not in page
    assert "| jarvis | base | 0.9000 | away0 | said 0 |" in page and "away2" in page and "away3" not in page
