"""The study of little data: its cases, a trial on made recordings with real voices, its page and curve."""

import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")
pytest.importorskip("matplotlib")

from data_prep.voices import installed_voices  # noqa: E402
from wakeword.errors import ConfigError  # noqa: E402
from wakeword.pretraining.data import held_out  # noqa: E402
from wakeword.training import spoken  # noqa: E402

ROOT = Path(__file__).parents[1]
MODULES = ("run", "probe", "divided", "heard", "study", "studies")
FEW = [voice for voice in installed_voices() if voice.engine == "flite" or voice.name.startswith("en-us+m")]


@pytest.fixture
def study(monkeypatch, tmp_path):
    """The recipe's module, which writes its page and curve below `tmp_path`."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", [str(ROOT / "recipes" / "little_data"), *sys.path])
    for name in MODULES:
        monkeypatch.delitem(sys.modules, name, raising=False)
    import study

    monkeypatch.setattr(study, "PAGE", tmp_path / "RESULTS.md")
    monkeypatch.setattr(study, "PLOT", tmp_path / "curve.png")
    yield study
    for name in MODULES:
        sys.modules.pop(name, None)


def line(case, seed, missed):
    words = case.words or ("alexa", "jarvis")
    rates = {word: {"clean": {"0.5": missed}, "10 dB": {"0.5": missed + 0.1}} for word in words}
    made = {"variant": case.name, "seed": seed, "missed": rates, "cpu_seconds": 100 * seed}
    count, hours = (280, 4.1) if case.manifest else (60, 4.9)
    return {
        **made,
        "test_clips": dict.fromkeys(words, count),
        "negative_hours": hours,
        "blocks_trained": 9 * bool(case.clips),
    }


def test_every_number_of_clips_comes_with_and_without_spoken_ones(study):
    read = study.read_study(ROOT / "recipes" / "little_data" / "study.toml")
    alone = [case for case in read.variants if case.voices_alone]
    assert [case.acoustic for case in alone] == list(read.acoustic) == ["micro", "base", "micro-esphome"]
    assert not any(case.clips for case in alone)
    cases = [case for case in read.variants if not case.words and "confusables" not in case.changes]
    cases = [case for case in cases if case not in alone]
    for acoustic in read.acoustic:
        found = {(case.clips, "spoken" in case.changes) for case in cases if case.acoustic == acoustic}
        assert found == {(clips, said) for clips in read.clips for said in (False, True)} - {(0, False)}
    person = [case for case in read.variants if case.words and not case.manifest]
    assert {case.words for case in person} == {("athena",)} and len(person) == 12
    many = [case for case in read.variants if case.manifest]
    assert {case.clips for case in many} == {100, 200} and len(many) == 12
    assert {(case.manifest, len(case.words)) for case in many} == {("dspspeech20", 3)}
    runs = [
        (
            study.probing.training_of(study.words_of(read, case, 2), {**case.changes, "acoustic": case.acoustic}),
            case.clips,
        )
        for case in read.variants
    ]
    assert len(set(runs)) == len(runs) and all(run.seed == 2 and run.steps == 400 for run, _ in runs)
    assert {run.unfreeze for run, _ in runs} == {"auto"}, "as much of the encoder as the tool trains"


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ("clips = [-1]", "must be 0 or more"),
        ("clips = [3]\nspoken = 0", "spoken 1 or more"),
        ('personal = "athena"', "personal_clips how many"),
        ('clips = [3]\npersonal = "athena"\npersonal_clips = [-1]', "1 or more each"),
        ('many = ["signal"]\nmany_clips = [3]', "many_manifest who says them"),
        ('many = ["signal"]\nmany_manifest = "talk"\nmany_clips = [0]', "how many train, 1 or more"),
        ("clips = [3, 3]", "a name of its own"),
        ("clip = 3", "unknown key 'clip'"),
        ("[words]\nstep = 3", "unknown key 'step'"),
    ],
)
def test_a_study_that_cannot_work_is_named(study, tmp_path, settings, named):
    path = tmp_path / "study.toml"
    path.write_text(f'words_config = "recipes/one_hour/config.toml"\n{settings}\n')
    with pytest.raises(ConfigError, match=named):
        study.read_study(path)


def test_the_page_holds_the_tables_the_counts_and_the_curve(study, tmp_path):
    read = study.read_study(ROOT / "recipes" / "little_data" / "study.toml")
    study.write(read, [])
    assert "No trial is done yet" in study.PAGE.read_text() and not study.PLOT.exists()
    lines = [line(case, seed, 0.5 / (1 + case.clips) + 0.01 * seed) for case in read.variants for seed in (1, 2, 3)]
    for _ in range(2):
        study.write(read, lines)
    page = study.PAGE.read_text()
    assert "(60 of alexa, 60 of jarvis; 4.9 h of speech)" in page and "(60 of athena; 4.9 h of speech):" in page
    assert "(280 of speech, 280 of signal, 280 of project; 4.1 h of speech):" in page
    assert page.count("# Little and no data") == 1 and study.PLOT.read_bytes().startswith(b"\x89PNG")
    row = next(each for each in page.splitlines() if each.startswith("| micro, 0 clips + spoken |"))
    assert "| 3 | 52.0% (51.0%–53.0%) | 62.0% (61.0%–63.0%) | none | 200 |" in row
    assert next(each for each in page.splitlines() if each.startswith("| micro, 3 clips |")).endswith("| 9 | 200 |")
    _, _, person = page.partition("One speaker's own word")
    person, _, many = person.partition("Words with more clips")
    assert "| micro, athena, 3 clips + spoken |" in person and "| micro, speech/signal/project, 200 clips |" in many


@pytest.mark.skipif(len(FEW) < 8, reason="NO TEXT-TO-SPEECH VOICES: apt-get install espeak-ng flite")
def test_a_trial_trains_on_recorded_and_spoken_clips(study, tmp_path, monkeypatch, write_corpus, speech_like):
    monkeypatch.setattr(spoken, "installed_voices", lambda: list(FEW))
    manifests = tmp_path / "manifests"

    def corpus(name, count, seconds, seed):
        made = {f"{name}-{n}": speech_like(seconds, seed + n) for n in range(count)}
        names, texts = {key: key for key in made}, dict.fromkeys(made, "signal" if name == "said" else "")
        write_corpus(manifests, made, texts, names, name=f"{name}_cuts.jsonl.gz")

    for seed, (name, count, seconds) in enumerate(
        [("wakewords-computer", 10, 1.0), ("talk", 6, 15.0), ("noise-esc10", 2, 3.0), ("noise-street", 1, 3.0)]
        + [("noise-speech-commands", 1, 3.0), ("rir", 1, 0.1), ("said", 10, 1.0)]
    ):
        corpus(name, count, seconds, 100 * seed)
    (tmp_path / "words.toml").write_text(
        f'words = ["computer"]\nmanifests = "{manifests}"\n[[negatives]]\nmanifest = "talk"\n'
    )
    (tmp_path / "study.toml").write_text(
        f'words_config = "{tmp_path}/words.toml"\nfolder = "{tmp_path}/probes"\nclips = [0, 3]\nspoken = 8\n'
        'many = ["signal"]\nmany_manifest = "said"\nmany_clips = [3]\n'
        '[words]\nunfreeze = "1"\nthreads = 1\nsteps = 2\ncopies = 1\nfa_rates = [0.5]\n'
    )
    read = study.read_study(tmp_path / "study.toml")
    spoke = tmp_path / "probes" / "spoken"
    negatives, learn = [], study.probing.learn

    def learnt(model, settings, chosen, run, said, located, heard, *more):
        negatives.append(heard)
        assert bool(run.noise or run.rir) == (len(heard) == len([clip for clip in heard if clip.corpus == "made"]))
        return learn(model, settings, chosen, run, said, located, heard, *more)

    monkeypatch.setattr(study.probing, "learn", learnt)
    monkeypatch.setattr(spoken, "SENTENCES_SPOKEN", (6, 2))
    lines = []
    for case in read.variants:
        lines.append(study.trial(read, case, 1))
        heard = {clip.corpus for clip in negatives.pop()}
        assert heard == ({"synthetic-speech"} if case.voices_alone else {"made"})
        assert spoke.exists() or "spoken" not in case.changes
        assert case.manifest or "spoken" in case.changes or not spoke.exists(), "spoken only where it is asked for"
    assert [each["variant"] for each in lines] == [
        "micro, 3 clips",
        "micro, 0 clips + spoken",
        "micro, 3 clips + spoken",
        "micro, text alone",
        "micro, signal, 3 clips",
        "micro, signal, 3 clips + spoken",
    ]
    unheard = sum(held_out(f"said-{n}", study.HELD_OUT) for n in range(10))
    for each in lines:
        word, count = ("signal", unheard) if "signal" in each["variant"] else ("computer", 4)
        assert (
            each["blocks_trained"] == 1
            and each["test_clips"] == {word: count}
            and each["negative_hours"] >= 0.01
            and each["cpu_seconds"] >= 0
        )
        assert all(0 <= each["missed"][word][name]["0.5"] <= 1 for name in ("clean", "10 dB"))
    study.write(read, lines)
    assert "| micro, 0 clips + spoken |" in study.PAGE.read_text()
