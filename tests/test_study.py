"""The studies: their variants are runs that differ, their lines and tables, what their probe hears."""

import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from wakeword.audio.clips import Clip, find_clips  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import ConfigError  # noqa: E402
from wakeword.evaluation.streams import negative_stream, positive_stream, score_stream  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.head.layers import HeadSizes  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.model.runtimes import running  # noqa: E402

ROOT = Path(__file__).parents[1]
MODULES = ("run", "probe", "divided", "heard", "study", "studies", "results", "synthetic")


@pytest.fixture
def recipes(monkeypatch):
    """The folder of the recipe as one from which its modules are imported; the working folder is the root."""
    monkeypatch.chdir(ROOT)
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", [str(ROOT / "recipes" / "pretrain"), *sys.path])
    yield
    for name in MODULES:
        sys.modules.pop(name, None)


@pytest.fixture
def study(recipes):
    import study

    return study


@pytest.fixture
def head_study(recipes):
    sys.path.insert(0, str(ROOT / "recipes" / "one_hour"))
    import study

    return study


@pytest.fixture
def probe(recipes):
    sys.path.insert(0, str(ROOT / "recipes" / "one_hour"))
    import probe

    return probe


@pytest.fixture
def hearing(recipes):
    sys.path.insert(0, str(ROOT / "recipes" / "one_hour"))
    import heard

    return heard


@pytest.fixture
def synthetic(recipes):
    pytest.importorskip("pocketsphinx", reason="the dictionary needs wakeword[phrase]")
    pytest.importorskip("wordfreq", reason="frequencies need wakeword[phrase]")
    import synthetic

    return synthetic


def test_the_course_of_a_model_is_that_of_its_own_runs(recipes):
    import results

    def rows(size, run, *steps):
        return [{"size": size, "run": run, "step": step} for step in steps]

    old = [*rows("base", 1, 1, 2), *rows("base", 2, 1, 2), *rows("micro", 1, 1)]
    third, again, anew = rows("base", 3, 1), rows("base", 2, 1), rows("base", 1, 5)
    assert results.merged(old, third) == [*old[:4], *third, *old[4:]]
    assert results.merged(old, again) == [*old[:2], *again, *old[4:]]
    assert results.merged(old, anew) == [*anew, *old[4:]], "the runs of the model that was there before are not its own"
    assert results.merged(old, []) == old
    assert results.commits({"commit": "a", "resumed": [{"commit": "b"}, {"commit": "b"}]}) == ["a", "b"]


def line(variant: str, seed: int, miss: float) -> dict:
    missed = {"alexa": {"clean": {"0.5": miss}}, "jarvis": {"clean": {"0.5": miss + 0.1}}}
    told = {"hours_heard": 13.0, "held_out": {"cer": 0.5}, "tested": 219, "hours": 5.06}
    return {"variant": variant, "seed": seed, **told, "missed": missed}


def test_each_variant_is_a_run_of_its_own_with_as_much_audio(study):
    read = study.read_study(ROOT / "recipes" / "pretrain" / "study.toml")
    runs = [study.pretraining_of(read, variant, seed) for variant in read.variants for seed in read.seeds]
    assert len({run.output for run in runs}) == len({run.folder for run in runs}) == len(runs) >= 30
    assert len({sum(stage.steps for stage in run.stages) * run.batch_seconds for run in runs}) == 1
    bare = {repr(run).replace(run.folder, "").replace(run.card, "") for run in runs}
    assert len(bare) == len(runs), "two variants are the same run"


def test_the_study_is_read_where_its_shards_and_manifests_are_not(study, tmp_path, monkeypatch):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    read = study.read_study(Path("recipes/pretrain/study.toml"))
    runs = {variant.name: study.pretraining_of(read, variant, 1) for variant in read.variants}
    assert all(source.shar and not Path(source.shar).exists() for run in runs.values() for source in run.data)
    assert runs["phones"].units == "phones" and runs["distil"].units == "characters"
    assert runs["frames-20-ms"].features.frame_s == runs["distil"].features.frame_s / 2
    assert not runs["ctc"].teacher and all(run.init == "" for run in runs.values())


@pytest.mark.parametrize(
    ("changes", "named"),
    [("delay_frames = -1", "delay_frames = -1: must be"), ("dilay_frames = 1", "unknown key 'dilay_frames'")],
)
def test_a_variant_that_cannot_work_is_named(study, tmp_path, changes, named):
    path = tmp_path / "study.toml"
    path.write_text(
        'pretraining = "recipes/pretrain/micro.toml"\nwords_config = "recipes/one_hour/config.toml"\n'
        f'[[variants]]\nname = "odd"\nchanges = {{ {changes} }}\n'
    )
    with pytest.raises(ConfigError, match=f"variant 'odd'.*{named}"):
        study.read_study(path)


def test_lines_add_up_and_the_table_is_their_mean_and_range(study, tmp_path):
    lines = tmp_path / "study.jsonl"
    for made in (line("distil", 1, 0.1), line("distil", 2, 0.3), line("ctc", 1, 0.5)):
        study.studies.add_line(made, lines)
    assert [json.loads(row)["seed"] for row in lines.read_text().splitlines()] == [1, 2, 1]
    read = study.read_study(ROOT / "recipes" / "pretrain" / "study.toml")
    head, _, distil, ctc = study.table(read, study.studies.read_lines(lines))
    assert "missed, clean, 0.5 FA/h" in head
    assert "| 2 | 25.0% (15.0%–35.0%) | 13.0 | 50% |" in distil and "| 1 | 55.0% | 13.0 | 50% |" in ctc
    study.studies.add_line({**line("phones", 1, 0.4), "held_out": {"per": 0.3}}, lines)
    assert "| 1 | 45.0% | 13.0 | – |" in study.table(read, study.studies.read_lines(lines))[-1], (
        "errors in phones are no characters"
    )

    results = tmp_path / "RESULTS.md"
    results.write_text("# Before\n\nkept\n")
    for _ in range(2):
        study.write_section(read, study.studies.read_lines(lines), results)
    page = results.read_text()
    assert page.count(study.HEADING) == 1 and page.startswith("# Before\n\nkept\n")
    assert "219 clips, 5.06 h of negatives" in page and "have heard more or fewer of them" in page


def test_trials_on_weights_that_no_longer_ship_are_neither_done_nor_shown(study, tmp_path, monkeypatch, capsys):
    studies, lines, shown = study.studies, tmp_path / "study.jsonl", []
    variants = [studies.Variant("first"), studies.Variant("own")]
    read = SimpleNamespace(variants=variants, seeds=(1, 2))
    monkeypatch.setattr(studies.sys, "argv", ["study.py"])

    def run(acoustic):
        ran = []
        trial = lambda study, variant, seed: ran.append((variant.name, seed)) or line(variant.name, seed, 0.1)  # noqa: E731
        write = lambda study, rows: shown.append(rows) or []  # noqa: E731
        acoustic_of = lambda study, variant: acoustic if variant.name == "first" else ""  # noqa: E731
        assert studies.run("", tmp_path / "x.toml", lines, lambda path: read, trial, write, acoustic_of) == 0
        return ran

    assert run("micro") == [("first", 1), ("own", 1), ("first", 2), ("own", 2)] and run("micro") == []
    assert run("base") == [("first", 1), ("first", 2)], "the own encoders are those of before"
    assert len(lines.read_text().splitlines()) == 6 and len(shown[-1]) == 4
    assert {row["weights"] for row in shown[-1] if "weights" in row} == {studies.digest_of("base")}
    assert "2 trials in" in capsys.readouterr().out
    assert run("base") == []


def test_a_trial_that_another_process_has_done_meanwhile_is_not_done_again(study, tmp_path, monkeypatch):
    studies, lines, ran = study.studies, tmp_path / "study.jsonl", []
    monkeypatch.setattr(studies.sys, "argv", ["study.py"])

    def trial(_, variant, seed):
        ran.append(seed)
        if seed == 1:  # the other has just finished its own
            studies.add_line(line(variant.name, 2, 0.2), lines)
        return line(variant.name, seed, 0.1)

    read = SimpleNamespace(variants=[studies.Variant("own")], seeds=(1, 2, 3))
    assert studies.run("", tmp_path / "x.toml", lines, lambda path: read, trial, lambda study, rows: []) == 0
    assert ran == [1, 3] and len(studies.read_lines(lines)) == 3


def test_apart_are_variants_whose_seeds_all_lie_on_one_side(study):
    lines = [line("distil", 1, 0.2), line("distil", 2, 0.3), line("ctc", 1, 0.4), line("ctc", 2, 0.5)]
    lines += [line("clean", 1, 0.25), line("clean", 2, 0.5), line("phones", 1, 0.1), line("phones", 2, 0.1)]
    lines += [line("distil-and-ctc", 1, 0.2), line("distil-and-ctc", 2, 0.2), line("noisier", 1, 0.9)]
    read = study.read_study(ROOT / "recipes" / "pretrain" / "study.toml")
    columns = ", ".join(" ".join(each) for each in study.studies.columns_of(lines))
    assert study.studies.apart(read.variants, lines) == [
        f"- `ctc` from `distil`: worse: {columns}",
        f"- `phones` from `distil-and-ctc`: better: {columns}",
    ], "one that overlaps, or has one seed, is not apart; phones are compared with characters"
    assert study.apart(read, lines)[0].startswith("Apart from `distil`") and study.apart(read, []) == []


def test_an_encoder_that_is_whole_is_not_trained_again(study, tmp_path, monkeypatch):
    read = study.read_study(ROOT / "recipes" / "pretrain" / "study.toml")
    read = dataclasses.replace(read, folder=str(tmp_path))
    config = study.pretraining_of(read, read.variants[0], 1)
    begun = {"config": dataclasses.asdict(config)}
    checkpoint.save(Path(config.folder) / "training.safetensors", {"weight": torch.zeros(1)}, "training", begun)
    Path(config.output).touch()
    card = {"parameters": 1, "hours_heard": 10.1, "held_out_speakers": {"cer": 0.5}}
    Path(config.output).with_suffix(".json").write_text(json.dumps(card))
    monkeypatch.setattr("wakeword.pretraining.pretrain.pretrain", lambda config: pytest.fail("trained again"))
    found = {"missed": {}, "tested": 219, "hours": 5.06}
    monkeypatch.setattr(study.probe, "probed", lambda acoustic, *more: found if acoustic == config.output else None)
    made = study.trial(read, read.variants[0], 1)
    assert (made["tested"], made["hours"], made["hours_heard"]) == (219, 5.06, 10.1)
    changed = dataclasses.replace(read, common={**read.common, "warmup": 7})
    with pytest.raises(ConfigError, match="was made with another 'warmup'"):
        study.trial(changed, read.variants[0], 1)


def test_the_page_of_the_heads_counts_what_the_rates_are_of(head_study, tmp_path, monkeypatch):
    monkeypatch.setattr(head_study, "PAGE", tmp_path / "STUDY.md")
    read = head_study.read_study(ROOT / "recipes" / "one_hour" / "study.toml")
    head_study.write(read, [])
    assert "no clips, no h of negatives" in (tmp_path / "STUDY.md").read_text()
    head_study.write(read, [line("plain", 1, 0.1), line("plain", 2, 0.2)])
    assert "219 clips, 5.06 h of negatives" in (tmp_path / "STUDY.md").read_text()


def test_each_variant_of_the_heads_is_a_training_of_its_own(head_study):
    read = head_study.read_study(ROOT / "recipes" / "one_hour" / "study.toml")
    words = head_study.words_of(read, seed=2)
    runs = [head_study.probe.training_of(words, {**read.common, **each.changes}) for each in read.variants]
    assert len(set(runs)) == len(runs) >= 15 and all(run.seed == 2 and run.steps == words.steps for run in runs)


def test_a_variant_of_the_heads_that_cannot_work_is_named(head_study, tmp_path):
    path = tmp_path / "study.toml"
    for changes, named in (('loss = "least"', "loss = 'least'"), ("lose = 1", "unknown key 'lose'")):
        path.write_text(
            f'words_config = "recipes/one_hour/config.toml"\n[[variants]]\nname = "odd"\nchanges = {{ {changes} }}\n'
        )
        with pytest.raises(ConfigError, match=f"variant 'odd'.*{named}"):
            head_study.read_study(path)


@pytest.fixture
def clips(tmp_path, speech_like):
    for index, seconds in enumerate((1.3, 0.033, 2.71, 4.2)):
        write_wav(tmp_path / f"{index}.wav", speech_like(seconds, index))
    return find_clips(tmp_path)


@pytest.mark.parametrize("hop", [80, 160])
def test_the_probe_gives_the_scores_of_the_detector(hearing, small_model, wake_meta, clips, hop):
    """Over a stream in pieces, whatever the head's depth."""
    settings = FeatureSettings(mels=16, hop=hop)
    noise = (0.1 * np.random.default_rng(1).standard_normal(16000)).astype(np.float32)
    for pieces in (lambda: negative_stream(clips), lambda: positive_stream(clips, noise=noise, snr_db=5.0)):
        scores = []
        for model in (small_model(0), small_model(1, HeadSizes(depth=3, channels=8))):
            (track,) = hearing.tracks(model, settings, hearing.heard(pieces(), settings))
            meta = wake_meta(features=dataclasses.asdict(settings), smoothing_frames=round(0.12 / settings.frame_s))
            (expected,), _ = score_stream(Detector(*running(model, meta)), pieces())
            assert expected.score.std() > 0.02
            np.testing.assert_allclose(track.score, expected.score, atol=1e-5)
            np.testing.assert_allclose(track.time_s, expected.time_s, atol=1e-9)
            np.testing.assert_array_equal(track.starts_s, expected.starts_s)
            np.testing.assert_array_equal(track.ends_s, expected.ends_s)
            assert track.hours == pytest.approx(expected.hours) and track.frame_s == pytest.approx(4 * hop / 16000)
            scores.append(track.score)
        assert np.abs(scores[0] - scores[1]).max() > 0.05, "another model, and the same scores"


def test_what_an_encoder_gives_is_kept_until_another_is_heard(hearing, small_model, clips, tmp_path, monkeypatch):
    settings = FeatureSettings(mels=16)
    stream = hearing.heard(negative_stream(clips), settings)
    monkeypatch.setattr(hearing, "AT_A_TIME", 40)
    shallow, deep = small_model(0), small_model(0, HeadSizes(depth=3, channels=8))
    deep.encoder.load_state_dict(shallow.encoder.state_dict())
    heard, step = [], type(shallow.encoder).step
    monkeypatch.setattr(type(shallow.encoder), "step", lambda self, *args: heard.append(self) or step(self, *args))
    for model, computed in ((shallow, True), (deep, False), (small_model(1), True), (shallow, True), (deep, False)):
        pieces = hearing.kept_encoded(tmp_path / "kept", model.encoder, stream)
        assert bool(heard) == computed and len(list((tmp_path / "kept").iterdir())) == 1
        (found,) = hearing.tracks(model, settings, stream, pieces)
        assert bool(heard) == computed
        (expected,) = hearing.tracks(model, settings, stream)
        np.testing.assert_array_equal(found.score, expected.score)
        np.testing.assert_array_equal(found.time_s, expected.time_s)
        heard.clear()
    other = hearing.heard(negative_stream(clips[1:]), settings)
    hearing.kept_encoded(tmp_path / "kept", deep.encoder, other)
    assert heard, "what was kept is of another stream"


def test_the_probe_hears_each_output(hearing, small_model, clips):
    settings = FeatureSettings(mels=16)
    model = small_model(0, HeadSizes(depth=2, channels=8, outputs=3))
    found = hearing.tracks(model, settings, hearing.heard(negative_stream(clips), settings))
    assert len(found) == 3 and np.abs(found[0].score - found[2].score).max() > 0.01


def test_fewer_clips_are_the_first_of_more(probe):
    clips = [Clip(Path(f"{n}.wav")) for n in range(30)]
    few, more = (probe.chosen_clips(clips, most, 3) for most in (5, 20))
    assert more[:5] == few and len({clip.path for clip in more}) == 20
    assert probe.chosen_clips(clips, 5, 4) != few and probe.chosen_clips(clips, 0, 3) == clips


def test_the_probe_keeps_a_stream_apart_from_others(probe, clips, tmp_path):
    calls = []

    def kept(settings, clips):
        make = lambda: calls.append(1) or negative_stream(clips)  # noqa: E731
        return probe.kept(str(tmp_path), settings, clips, make)

    first = kept(FeatureSettings(), clips)
    again = kept(FeatureSettings(), clips)
    assert len(calls) == 1 and first.frames.dtype == np.float32 and first.frames.std() > 0
    for name in ("frames", "starts_s", "ends_s"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert len(kept(FeatureSettings(), clips[:1]).starts_s) == 1
    assert kept(FeatureSettings(mels=24), clips).frames.shape[1] == 24
    assert len(calls) == 3


def test_random_sentences_are_words_of_the_dictionary_and_hang_on_the_seed(synthetic):
    from wakeword.acoustic.lexicon import frequent_words, pronunciations

    said = synthetic.random_sentences(60, 3)
    assert said == synthetic.random_sentences(60, 3) and said[:20] == synthetic.random_sentences(20, 3)
    assert not set(said) & set(synthetic.random_sentences(60, 4)) and synthetic.random_sentences(0, 3) == []
    lengths = {len(sentence.split()) for sentence in said}
    assert lengths == set(range(3, 10))
    words = [word for sentence in said for word in sentence.split()]
    known, per_million = pronunciations(), frequent_words()
    assert all(type(sentence) is str for sentence in said)
    assert all(word in known and word in per_million and len(word) > 1 for word in words)
    assert len(set(words)) > 0.6 * len(words), "the same words again and again"
    # Frequent words come more often than if all were alike.
    assert np.median([per_million[word] for word in words]) > 2 * np.median(list(per_million.values()))
