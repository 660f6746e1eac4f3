"""Real synthesis, with whatever voices this machine has."""

import argparse
import hashlib
import os
import re
from pathlib import Path

import numpy as np
import pytest

from data_prep import synthesise as module
from data_prep import voices as voices_module
from data_prep.cuts import read_cuts
from data_prep.sentences import SENTENCES
from data_prep.synthesise import check_phrase, synthesise, synthesise_speech
from data_prep.takes import in_turn
from data_prep.vary import shift_formants, stretch, vary
from data_prep.voices import Voice, installed_voices, speak
from wakeword.audio.clips import find_clips
from wakeword.audio.waveform import check_clip, read_audio
from wakeword.errors import ManifestError, WakewordError

INSTALLED = installed_voices()
QUICK = [v for v in INSTALLED if v.engine in ("hibari", "flite") or v.name in ("en-us+f2", "en-us+m3", "en-gb-x-rp+m1")]
needs_voices = pytest.mark.skipif(
    not QUICK, reason="NO TEXT-TO-SPEECH VOICE: pip install hibari-tts, or espeak-ng, flite"
)


def digests(folder):
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(Path(folder).glob("*.wav"))}


def vowel(pitch, formants=((700, 80), (1200, 90), (2600, 120)), seconds=1.0, rate=16000):
    """A pulse train through two-pole resonators: a vowel of known pitch and formants."""
    x = np.diff(np.floor(np.arange(1, round(seconds * rate) + 1) * pitch / rate), prepend=0.0)
    for frequency, bandwidth in formants:
        radius = np.exp(-np.pi * bandwidth / rate)
        a, b = 2 * radius * np.cos(2 * np.pi * frequency / rate), -(radius**2)
        y = np.zeros(len(x) + 2)
        for i, value in enumerate(x):
            y[i + 2] = value + a * y[i + 1] + b * y[i]
        x = y[2:]
    return (0.5 * x / np.abs(x).max()).astype(np.float32)


def pitch_of(x, rate=16000):
    """The lag of the autocorrelation's peak between 60 and 400 Hz, interpolated."""
    x = x[len(x) // 4 : -len(x) // 4].astype(float)
    r = np.fft.irfft(np.abs(np.fft.rfft(x, 2 * len(x))) ** 2)[: len(x)]
    first, last = rate // 400, rate // 60
    at = first + int(np.argmax(r[first:last]))
    below, peak, above = r[at - 1 : at + 2]
    return rate / (at + 0.5 * (below - above) / (below - 2 * peak + above))


def centre(x, rate=16000):
    """The centroid of the power spectrum in Hz: about the formant of a vowel that has only one."""
    power = np.abs(np.fft.rfft(x * np.hanning(len(x)))) ** 2
    return float((np.arange(len(power)) * rate / len(x) * power).sum() / power.sum())


@pytest.mark.parametrize("tempo", [0.8, 1.0, 1.25])
@pytest.mark.parametrize("semitones", [-3.0, 0.0, 3.0])
def test_tempo_and_pitch_are_what_was_asked(tempo, semitones):
    x = vowel(120.0, ((1500, 80),))
    y = vary(x, 16000, tempo=tempo, semitones=semitones)
    assert len(y) == round(len(x) / tempo) and y.dtype == np.float32
    assert pitch_of(y) == pytest.approx(120.0 * 2 ** (semitones / 12), rel=0.01)
    assert np.std(y) == pytest.approx(np.std(x), rel=0.3)
    # The formants stay although the pitch moves.
    assert centre(y) == pytest.approx(centre(x), rel=0.05)


@pytest.mark.parametrize("factor", [0.85, 1.2])
def test_formants_move_and_pitch_stays(factor):
    x = vowel(120.0, ((1500, 80),))
    y = vary(x, 16000, formants=factor)
    assert len(y) == len(x)
    assert pitch_of(y) == pytest.approx(120.0, rel=0.005)
    assert centre(y) / centre(x) == pytest.approx(factor, abs=0.06)


def test_vary_resamples_and_refuses_nothing_silently():
    assert len(vary(np.zeros(24000, np.float32), 24000)) == 16000
    assert np.array_equal(vary(vowel(120.0), 16000), vowel(120.0))
    for arguments in ({"tempo": 0.0}, {"formants": -1.0}):
        with pytest.raises(ValueError, match="positive"):
            vary(vowel(120.0), 16000, **arguments)
    with pytest.raises(ValueError, match="too short"):
        vary(np.zeros(0, np.float32), 16000)


@pytest.mark.parametrize("samples", [1, 50, 239, 480, 1601])
def test_the_shortest_sounds_can_be_varied(samples):
    x = np.random.default_rng(0).standard_normal(samples).astype(np.float32)
    assert len(stretch(x, 2 * samples)) == 2 * samples
    assert len(stretch(x, max(1, samples // 3))) == max(1, samples // 3)
    assert np.isfinite(shift_formants(x, 1.2)).all()
    assert np.isfinite(stretch(np.zeros(samples, np.float32), samples * 2)).all()


@needs_voices
def test_clips_are_whole_sound_and_where_the_manifest_says(tmp_path):
    calls = []
    made = synthesise("hey computer", tmp_path, n=12, voices=QUICK, progress=lambda done, n: calls.append((done, n)))
    assert len(made.paths) == 12 == sum(made.by_voice.values()) and not made.skipped
    assert calls[0] == (0, 12) and calls[-1] == (12, 12)
    cuts = read_cuts(made.manifest)
    assert [Path(cut["recording"]["sources"][0]["source"]) for cut in cuts] == made.paths
    for index, (path, cut) in enumerate(zip(made.paths, cuts, strict=True)):
        assert re.fullmatch(rf"{index:05d}_.*_0_[0-9a-f]{{6}}\.wav", path.name)
        samples = read_audio(path)
        found = check_clip(samples, path)
        assert -12.5 < found.peak_dbfs < -2.5 and found.clipped_fraction == 0
        supervision = cut["supervisions"][0]
        assert cut["duration"] == len(samples) / 16000
        assert 0.25 < supervision["duration"] < 3.0
        start = round(supervision["start"] * 16000)
        end = round((supervision["start"] + supervision["duration"]) * 16000)
        assert 4800 <= start <= 16000 and 4800 <= len(samples) - end <= 16000
        around = np.concatenate([samples[:start], samples[end:]])
        # Noise, not zeros: digital silence would be a mark of synthetic clips.
        assert 0 < np.std(around) < 10 ** (-64 / 20) and np.std(samples[start:end]) > 20 * np.std(around)
        # The ends of the speech are in it: its first and last 60 ms are louder than the noise around.
        assert min(np.std(samples[start : start + 960]), np.std(samples[end - 960 : end])) > 2 * np.std(around)
    assert [clip.text for clip in find_clips(made.manifest)] == ["hey computer"] * 12
    assert {clip.speaker for clip in find_clips(made.manifest)} == set(made.by_voice)


@needs_voices
def test_the_manifest_is_one_of_lhotse(tmp_path):
    lhotse = pytest.importorskip("lhotse")
    made = synthesise("hey computer", tmp_path, n=2, voices=QUICK)
    cuts = list(lhotse.CutSet.from_file(made.manifest))
    for cut in cuts:
        lhotse.qa.validate(cut, read_data=True)
        assert cut.supervisions[0].text == "hey computer" and cut.custom["corpus"] == "synthetic-wake-phrase"


@needs_voices
def test_same_arguments_same_clips_other_seed_others(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        synthesise("hey computer", tmp_path / name, n=5, seed=seed, voices=QUICK)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again and not set(first.values()) & set(other.values())
    assert len(set(first.values())) == 5


@needs_voices
def test_an_interrupted_run_is_continued(tmp_path):
    whole = synthesise("hey computer", tmp_path / "whole", n=6, voices=QUICK)

    def interrupt(done, n):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        synthesise("hey computer", tmp_path / "part", n=6, voices=QUICK, progress=interrupt)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "part").glob("*.wav")}
    assert len(kept) == 3
    damaged = sorted(kept)[0]
    damaged.write_bytes(b"")
    made = synthesise("hey computer", tmp_path / "part", n=6)  # the voices are those that began the folder
    assert digests(tmp_path / "part") == digests(tmp_path / "whole") and len(made.paths) == len(whole.paths)
    assert all(p.stat().st_mtime_ns == when for p, when in kept.items() if p != damaged)
    more = synthesise("hey computer", tmp_path / "part", n=8)
    assert [p.name for p in more.paths[:6]] == [p.name for p in whole.paths] and len(more.paths) == 8
    for other in (("hey jarvis", 0, None), ("hey computer", 1, None), ("hey computer", 0, [Voice("flite", "slt")])):
        with pytest.raises(WakewordError, match="choose another folder"):
            synthesise(other[0], tmp_path / "part", n=6, seed=other[1], voices=other[2])
    (tmp_path / "part" / "synthesis.json").write_text("[")
    with pytest.raises(WakewordError, match="synthesis.json: cannot be read"):
        synthesise("hey computer", tmp_path / "part", n=6)


@pytest.mark.parametrize("phrase", ["", "  ", "?!", "-- ...", "a\x00b"])
def test_a_phrase_without_anything_to_say(phrase, tmp_path):
    with pytest.raises(WakewordError, match="no letter or digit"):
        synthesise(phrase, tmp_path / "out", n=2, voices=[Voice("hibari", "heart-us")])
    assert not (tmp_path / "out").exists()


def test_phrases_long_spaced_and_of_digits():
    assert check_phrase(" hey \n computer ") == "hey computer"
    assert check_phrase("404") == "404"
    with pytest.raises(WakewordError, match="longer than 100"):
        check_phrase("a" * 101)


@needs_voices
def test_digits_hyphens_and_options_are_said(tmp_path):
    for index, phrase in enumerate(("42", "-v hello", "$(date) hello", "it's o'clock")):
        made = synthesise(phrase, tmp_path / str(index), n=len(QUICK), voices=QUICK)
        assert len(made.paths) == len(QUICK) and not made.skipped


@needs_voices
def test_voices_that_fail_are_skipped_and_counted(tmp_path):
    good, bad = QUICK[0], Voice("flite", "nobody'(here)")
    made = synthesise("hello there", tmp_path / "some", n=6, voices=[good, bad])
    assert made.paths and made.skipped and len(made.paths) + len(made.skipped) == 6
    assert list(made.by_voice) == [str(good)] and "flite" in made.skipped.summary()
    with pytest.raises(WakewordError, match="no clip could be made: skipped 3 file"):
        synthesise("hello there", tmp_path / "none", n=3, voices=[Voice("nothing", "x")])


def test_without_voices_the_error_names_the_remedies(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "installed_voices", lambda: [])
    with pytest.raises(WakewordError, match=r"wakeword\[tts\].*espeak-ng"):
        synthesise("hey computer", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_is_found_where_nothing_is_installed(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert {voice.engine for voice in installed_voices()} <= {"hibari", "kokoro", "piper"}
    with pytest.raises(WakewordError, match="espeak-ng is not installed"):
        speak(Voice("espeak", "en-us+m1"), "hello")


def test_a_program_that_hangs_is_ended(monkeypatch, tmp_path):
    program = tmp_path / "espeak-ng"
    program.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(voices_module, "TIMEOUT_S", 0.3)
    with pytest.raises(WakewordError, match="took more than 0.3 s"):
        speak(Voice("espeak", "en-us+m1"), "hello")


def test_natural_engines_speak_more_and_every_voice_in_turn():
    voices = [Voice("hibari", n) for n in "ab"] + [Voice("espeak", f"{n:02d}") for n in range(40)]
    turns = in_turn(sorted(voices), 200, seed=0)
    hibari = sum(v.engine == "hibari" for v in turns)
    assert 100 < hibari < 140 and len({v for v in turns if v.engine == "espeak"}) == 40
    assert turns[:50] == in_turn(sorted(voices), 50, seed=0) and turns != in_turn(sorted(voices), 200, seed=1)


def test_sentences_are_many_and_different():
    assert len(SENTENCES) >= 300 and len(set(SENTENCES)) == len(SENTENCES)
    assert all(3 <= len(sentence.split()) <= 16 and sentence.isascii() for sentence in SENTENCES)


@needs_voices
def test_speech_never_holds_the_phrase(tmp_path):
    said = ["Hey computers are here.", "The comp. Uter is odd.", "A dog barked.", "Rain fell on the roof.", "  "]
    made = synthesise_speech(said, tmp_path, n=5, avoid="computer", voices=QUICK)
    texts = [cut["supervisions"][0]["text"] for cut in read_cuts(made.manifest)]
    assert sorted(set(texts)) == ["A dog barked.", "Rain fell on the roof."] and len(texts) == 5
    assert read_cuts(made.manifest)[0]["custom"]["corpus"] == "synthetic-speech"
    with pytest.raises(WakewordError, match="no sentence is left"):
        synthesise_speech(said[:2], tmp_path / "none", avoid=["computer"], voices=QUICK)


@needs_voices
def test_the_command(tmp_path):
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    text = tmp_path / "text.txt"
    text.write_text("A dog barked.\nHey computer, wake up.\n")
    engine = QUICK[0].engine
    arguments = ["hey computer", f"{tmp_path}/clips", "-n", "3", "--voices", str(QUICK[0])]
    arguments += ["--speech", f"{tmp_path}/speech", "--sentences", str(text)]
    result = module.run(parser.parse_args(arguments))
    assert result["clips"] == 3 and result["engines"] == {engine: 3} and result["speech"]["clips"] == 1
    for wrong, message in (
        (["hey", "out", "--voices", "nosuch"], "no installed voice begins so"),
        (["hey", "out", "--sentences", str(text)], "give --speech DIR"),
        (["hey", "out", "--speech", "d", "--sentences", f"{tmp_path}/none"], "cannot be read as sentences"),
        (["hey", "out", "-n", "0"], "at least 1 clip"),
    ):
        with pytest.raises(WakewordError, match=message):
            module.run(parser.parse_args(wrong))


def test_a_damaged_manifest_is_named(tmp_path):
    (tmp_path / "recorded_cuts.jsonl.gz").write_bytes(b"no gzip")
    with pytest.raises(ManifestError, match="recorded_cuts"):
        read_cuts(tmp_path / "recorded_cuts.jsonl.gz")
