"""Training from a text alone, and from few recorded clips, with the voices that this machine has."""

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from data_prep import voices as voices_module  # noqa: E402
from data_prep.synthesise import synthesise  # noqa: E402
from data_prep.takes import split_voices  # noqa: E402
from data_prep.voices import Voice, installed_voices  # noqa: E402
from wakeword.audio.clips import Clip, find_clips, read_clips  # noqa: E402
from wakeword.audio.levels import active_span  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.training import material, spoken  # noqa: E402
from wakeword.training.confusables import EACH, confusables, likest, speak_confusables  # noqa: E402
from wakeword.training.material import HELD_OUT_VOICES, MOST_TIMES, phrase_material, weighed  # noqa: E402
from wakeword.training.train import train  # noqa: E402
from wakeword.training.train_config import Phrase, TrainConfig  # noqa: E402

VARIANTS = ("m1", "m2", "m3", "m4", "m7", "f1", "f2", "f4")
FEW = [v for v in installed_voices() if v.engine == "flite" or v.name in [f"en-us+{each}" for each in VARIANTS]]
needs_voices = pytest.mark.skipif(
    len(FEW) < 8, reason="NO TEXT-TO-SPEECH VOICES: apt-get install espeak-ng flite, this test did not run"
)
quiet = lambda stage, fraction: None  # noqa: E731


@pytest.fixture
def few_voices(monkeypatch):
    """Those that speak fast, and few sentences."""
    monkeypatch.setattr(spoken, "installed_voices", lambda: list(FEW))
    monkeypatch.setattr(spoken, "SENTENCES_SPOKEN", (60, 40))


def speak(folder, count=8, seed=0, skipped=None):
    return spoken.speak_phrase(
        "hey computer", folder, count, seed, "micro", Skipped() if skipped is None else skipped, quiet
    )


@needs_voices
def test_the_phrase_is_spoken_by_voices_that_train_and_by_others(few_voices, tmp_path):
    found = speak(tmp_path)
    assert 6 <= len(found.clips) <= 8 and found.voices >= 5 and len(found.held_out) in (1, 2)
    training, others = (set(map(str, voices)) for voices in split_voices(FEW))
    assert {clip.speaker for clip in found.held_out} <= others and not training & others
    for clip in found.held_out:
        assert clip.attributes["synthetic"] is True and clip.text == "hey computer"
    for samples in found.clips:
        start_s, end_s = active_span(samples)
        rest_s = len(samples) / 16000 - end_s
        assert samples.dtype == np.float32 and start_s < 0.25 and rest_s < 0.25, "what is around is cut off"
        assert 0.4 < end_s - start_s < 2.0


@needs_voices
def test_what_is_spoken_is_kept_and_the_same_again(few_voices, tmp_path):
    first = speak(tmp_path / "a")
    when = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.wav")}
    next(iter(when)).unlink()
    again, elsewhere = speak(tmp_path / "a"), speak(tmp_path / "b")
    written = [path for path, time in when.items() if path.stat().st_mtime_ns != time]
    assert written == [next(iter(when))], "one was missing, the others were kept"
    for other in (again, elsewhere):
        assert all(map(np.array_equal, first.clips, other.clips)) and len(first.clips) == len(other.clips)
    assert not any(
        np.array_equal(*pair) for pair in zip(first.clips, speak(tmp_path / "a", seed=1).clips, strict=False)
    )


@needs_voices
def test_a_voice_that_says_something_else_is_left_out_and_counted(tmp_path):
    said = {text: synthesise(text, tmp_path / text, n=8, voices=FEW) for text in ("hey computer", "banana")}
    right, wrong = (find_clips(made.manifest) for made in said.values())
    skipped = Skipped()
    kept = {clip.path for clip, _ in spoken.understood([*right, *wrong[:4]], "hey computer", "micro", skipped)}
    assert len(kept & {clip.path for clip in right}) >= 7 and not kept & {clip.path for clip in wrong}
    assert len(skipped) == 12 - len(kept) and "something other than 'hey computer'" in skipped.summary()
    # Where the model finds the phrase in hardly any, it is the model that does not know it.
    assert len(spoken.understood(wrong, "hey computer", "micro", Skipped())) == 8


@pytest.fixture(scope="module")
def from_text(tmp_path_factory):
    """A detector from text alone: its file, and what the command printed."""
    if len(FEW) < 8:
        pytest.skip("NO TEXT-TO-SPEECH VOICES: this test did not run")
    folder, patch = tmp_path_factory.mktemp("text"), pytest.MonkeyPatch()
    patch.setattr(spoken, "installed_voices", lambda: list(FEW))
    patch.setattr(spoken, "SENTENCES_SPOKEN", (60, 40))
    config = TrainConfig(
        phrases=(Phrase("hey computer"),),
        output=str(folder / "hey.wakeword"),
        spoken=24,
        acoustic="micro",
        copies=4,
        steps=150,
        batch=12,
        budget="20 per h",
        noise_probability=0.0,
        rir_probability=0.0,
        threads=1,
    )
    found = train(config)
    patch.undo()
    return found


def test_a_text_alone_makes_a_detector_of_the_phrase(from_text, tmp_path):
    detector = Detector.load(from_text.path)
    _, others = split_voices(FEW)
    heard = {}
    for text in ("hey computer", "good morning", "may I come in", "that is enough"):
        clips = find_clips(synthesise(text, tmp_path / text, n=8, seed=5, voices=others).manifest)
        best = [detector.scores(samples)[1].max() for _, samples in read_clips(clips, Skipped())]
        heard[text] = int((np.array(best) >= detector.thresholds[0]).sum())
    assert heard.pop("hey computer") >= 6 and sum(heard.values()) <= 2, heard


def test_the_estimate_of_synthetic_voices_says_so(from_text):
    (estimate,), (calibration,) = from_text.estimates, from_text.calibrations
    assert estimate["clips"] >= 4 and estimate["clips_are"] == HELD_OUT_VOICES
    assert "synthetic voices" in calibration.summary() and calibration.positives == HELD_OUT_VOICES
    card = Detector.load(from_text.path).info["card"]["phrases"]["hey computer"]
    assert card["spoken_clips"] == card["clips"] >= 20 and card["held_out_misses"]["clips_are"] == HELD_OUT_VOICES
    about, negatives = from_text.notes
    assert "0 recorded clips" in about and HELD_OUT_VOICES in about
    assert "no negatives given" in negatives and "calibrate" in negatives


@needs_voices
def test_calibrating_again_still_says_whose_clips_were_missed(from_text, speech_like, tmp_path, capsys):
    path = tmp_path / "again.wakeword"
    path.write_bytes(from_text.path.read_bytes())
    write_wav(tmp_path / "negatives.wav", speech_like(90, 3))
    assert main(["calibrate", str(path), "--negatives", str(tmp_path / "negatives.wav"), "--budget", "100/h"]) == 0
    assert HELD_OUT_VOICES in capsys.readouterr().out


def recorded(folder, count, speech_like):
    for index in range(count):
        write_wav(folder / f"{index}.wav", speech_like(1.0, 20 + index))
    return Phrase("hey computer", (str(folder),))


@pytest.mark.parametrize(("count", "trains"), [(3, 3), (4, 3), (10, 8)])
def test_three_clips_all_train_and_of_more_some_are_held_out(tmp_path, speech_like, count, trains):
    found = phrase_material(recorded(tmp_path, count, speech_like), TrainConfig(), Skipped(), quiet)
    assert (len(found.clips), found.recorded, len(found.held_out)) == (trains, trains, count - trains)


def test_two_clips_are_too_few_without_spoken_ones(tmp_path, speech_like):
    with pytest.raises(WakewordError, match="only 2 usable.*3 are needed: record more, or let voices speak"):
        phrase_material(recorded(tmp_path, 2, speech_like), TrainConfig(), Skipped(), quiet)


@needs_voices
def test_one_clip_is_enough_beside_spoken_ones_and_recorded_clips_alone_are_held_out(few_voices, tmp_path, speech_like):
    config = TrainConfig(spoken=8, output=str(tmp_path / "o"), acoustic="micro")
    found = phrase_material(recorded(tmp_path / "one", 1, speech_like), config, Skipped(), quiet)
    assert found.recorded == 1 and len(found.clips) >= 7 and found.held_out_are == HELD_OUT_VOICES
    np.testing.assert_allclose(found.clips[0], speech_like(1.0, 20), atol=1e-4)
    found = phrase_material(recorded(tmp_path / "ten", 10, speech_like), config, Skipped(), quiet)
    assert found.recorded == 8 and {clip.path.parent for clip in found.held_out} == {tmp_path / "ten"}
    assert found.held_out_are == "held out of training"


def test_few_recorded_clips_are_heard_more_often_but_not_without_end():
    assert weighed([*"ab", *"xyzxyz"], 2) == [*"ababab", *"xyzxyz"]
    assert (
        weighed([*"abc", *"x"], 3) == [*"abcx"]
        and weighed([*"xyz"], 0) == [*"xyz"]
        and weighed([*"abc"], 3) == [*"abc"]
    )
    assert weighed(["a", *"x" * 200], 1).count("a") == MOST_TIMES


def test_without_voices_the_error_names_the_remedies(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(spoken, "installed_voices", lambda: [])
    assert main(["train", "--text", "hey computer", "--acoustic", "micro", "--output", str(tmp_path / "o")]) == 2
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("wakeword: ")]
    assert "wakeword[tts]" in told and "apt-get install espeak-ng" in told
    assert list(tmp_path.iterdir()) == []


def test_voices_that_say_nothing_are_an_error_in_a_line(monkeypatch, tmp_path):
    monkeypatch.setattr(spoken, "installed_voices", lambda: [Voice("espeak", f"en+m{n}") for n in range(8)])
    monkeypatch.setitem(voices_module._SPEAK, "espeak", lambda name, text, speed: (np.zeros(8000), 16000))
    with pytest.raises(WakewordError, match="no clip could be made: skipped 8 file.*says nothing") as caught:
        speak(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--text", "42"], "outside the alphabet: spell it in letters"),
        (["--text", "?!"], "no letters"),
        (["--text", "hey computer", "--phrase", "jarvis"], "--text in place of it"),
        ([], "--text in place of it"),
        (["--phrase", "jarvis"], "--phrase is given 1 time.s. and --positives 0"),
        (["--text", "one", "--text", "two", "--positives", "clips"], "--text is given 2 time.s. and --positives 1"),
        (["--text", "one", "--spoken", "0"], "--text is given 1 time.s. and --positives 0"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_a_line(given, named, tmp_path, capsys):
    assert main(["train", *given, "--acoustic", "micro", "--output", str(tmp_path / "o")]) == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert __import__("re").search(named, told), told


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--noise", "nowhere"], "nowhere: no such file or folder"),
        (["--rir", "nowhere"], "nowhere: no such file or folder"),
        (["--unfreeze", "99"], "--unfreeze 99"),
        (["--confusables", "3", "--text", "okay nabuzz"], "'nabuzz' of 'okay nabuzz' is not in the CMU dictionary"),
    ],
)
def test_what_cannot_be_is_refused_before_minutes_of_speaking(given, named, tmp_path, capsys, monkeypatch):
    if "--confusables" in given:
        pytest.importorskip("pocketsphinx")
    monkeypatch.setattr(spoken, "voices_to_speak", lambda: pytest.fail("it went on to speak"))
    given = [*given, "--text", "hey computer", "--acoustic", "micro", "--output", str(tmp_path / "o")]
    assert main(["train", *given]) == 2
    assert named in capsys.readouterr().err


def test_what_sounds_like_a_phrase():
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("wordfreq")
    found = confusables("Hey, computer!", 20)
    assert found[:2] == ["hey", "computer"] and "hey commuter" in found and len(set(found)) == len(found) == 20
    assert not any("hey computer" in text for text in found) and confusables("hey computer", 5) == found[:5]
    with pytest.raises(WakewordError, match="confusables: 'nabuzz'.*CMU dictionary"):
        confusables("okay nabuzz", 5)


@needs_voices
def test_confusables_are_negatives_that_train(few_voices, tmp_path):
    pytest.importorskip("pocketsphinx")
    pytest.importorskip("wordfreq")
    clips = speak_confusables(["hey computer"], 3, tmp_path, 0, "micro", Skipped(), quiet)
    texts = {clip.text for clip in clips}
    assert len(clips) == 3 * EACH and len(texts) == 3
    # Of a dozen that the dictionary names, "hey" alone, which has too few letters for the phrase, among them.
    assert texts < set(confusables("hey computer", 12)) and "hey" not in texts
    assert {clip.speaker for clip in clips} <= set(map(str, split_voices(FEW)[0]))


def test_confusables_train_and_choose_no_threshold(monkeypatch, tmp_path, speech_like):
    """The texts of all phrases, as many as are asked for."""
    alike, asked = Clip(tmp_path / "commuter.wav", text="commuter"), []
    monkeypatch.setattr(material, "speak_confusables", lambda *given: asked.append(given[:2]) or [alike])
    others = recorded(tmp_path, 8, speech_like).positives
    config = TrainConfig(phrases=(Phrase("one"), Phrase("two")), negatives=others, confusables=3)
    training, dev = material.negative_material(config, material.split_negatives(config), Skipped(), quiet)
    assert asked == [(["one", "two"], 3)] and training[-1] == alike and len(training) + len(dev) == 9
    assert dev and alike not in dev


@needs_voices
def test_the_acoustic_model_says_what_it_takes_for_the_phrase_soonest(tmp_path):
    said = []
    for text in ("banana", "computers"):
        made = synthesise(text, tmp_path / text, n=3, voices=FEW)
        said += read_clips(find_clips(made.manifest), Skipped())
    texts = ["banana", "never heard", "computers"]
    assert likest("computer", texts, said, "micro") == ["computers", "banana", "never heard"]
    assert likest("banana", texts, said, "micro")[0] == "banana"
    assert likest("computer", texts, [], "micro") == texts


@needs_voices
def test_sentences_for_the_threshold_are_of_other_voices_and_texts(few_voices, tmp_path):
    training, dev = spoken.speak_sentences(["computer"], tmp_path, 0, Skipped(), quiet)
    assert (len(training), len(dev)) == (60, 40)
    for about in ("speaker", "text"):
        apart = [{getattr(clip, about) for clip in clips} for clips in (training, dev)]
        assert not apart[0] & apart[1], about
    assert not any("computer" in clip.text.lower() for clip in [*training, *dev])


@needs_voices
def test_the_command_speaks_beside_recorded_clips(few_voices, tmp_path, speech_like, capsys):
    phrase = recorded(tmp_path / "clips", 3, speech_like)
    given = ["--text", phrase.text, "--positives", *phrase.positives, "--spoken", "8", "--acoustic", "micro"]
    given += ["--negatives", *recorded(tmp_path / "others", 3, speech_like).positives]
    given += ["--steps", "2", "--threads", "1", "--json"]
    assert main(["train", *given, "--output", str(tmp_path / "o.wakeword")]) == 0
    report = json.loads(capsys.readouterr().out)
    spoken = int(report["unfrozen"].removeprefix("auto: ").partition(" clips")[0]) - 3
    assert 1 <= spoken <= 8, "spoken clips count too, of which the acoustic model may leave some out"
    (about,) = report["notes"]
    assert "3 recorded clips" in about and HELD_OUT_VOICES in about
    assert sorted(path.name.partition("-")[0] for path in Path(f"{tmp_path}/o.wakeword.spoken").iterdir()) == [
        "held",
        "train",
    ]
