"""Corpus modules on small generated trees in each published layout, and on the real recordings where they are."""

from __future__ import annotations

import argparse
import hashlib
import http.server
import io
import json
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sf = pytest.importorskip("soundfile")
lhotse = pytest.importorskip("lhotse", reason="corpora need wakeword[train]")

from data_prep import CORPORA, command, common, download, librispeech, listings  # noqa: E402
from data_prep.alphanumeric import prepare_alphanumeric  # noqa: E402
from data_prep.commonvoice import prepare_commonvoice  # noqa: E402
from data_prep.librispeech import prepare_librispeech, prepare_librispeech_audio  # noqa: E402
from data_prep.ljspeech import prepare_ljspeech  # noqa: E402
from data_prep.negatives import prepare_negatives  # noqa: E402
from data_prep.noise import prepare_noise  # noqa: E402
from data_prep.rir import prepare_rir  # noqa: E402
from data_prep.speech_commands import prepare_speech_commands  # noqa: E402
from data_prep.speechocean762 import prepare_speechocean762  # noqa: E402
from data_prep.text_beside import prepare_text_beside  # noqa: E402
from data_prep.voxforge import prepare_voxforge  # noqa: E402
from data_prep.wakewords import prepare_wakewords  # noqa: E402
from data_prep.words import prepare_dspspeech20, prepare_spoken_digits  # noqa: E402
from wakeword import cli  # noqa: E402
from wakeword.errors import ManifestError, WakewordError  # noqa: E402

SHARED = Path(__file__).resolve().parents[2] / "shared" / "corpora"


def tone(path: Path, seconds: float = 0.5, channels: int = 1, rate: int = 16000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.3 * np.sin(2 * np.pi * 300 * np.arange(round(seconds * rate)) / rate)
    if path.suffix == ".opus":
        sf.write(path, wave, rate, format="OGG", subtype="OPUS")
    else:
        sf.write(path, np.stack([wave] * channels, axis=1), rate)
    return path


def write(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def cuts_of(made: common.Prepared) -> dict:
    cuts = {cut.id: cut for cut in lhotse.CutSet.from_file(made.manifest)}
    assert len(cuts) == made.cuts
    assert made.hours == pytest.approx(sum(cut.duration for cut in cuts.values()) / 3600)
    for cut in cuts.values():
        assert cut.load_audio().shape[-1] == cut.num_samples
        assert {"corpus", "licence", "split"} <= set(cut.custom)
        sources = cut.recording.sources
        assert all(Path(source.source).is_absolute() for source in sources)
    return cuts


def libri(root: Path, suffix: str = ".opus") -> Path:
    for subset, speaker in (("train-clean-5", "12"), ("dev-clean-2", "34")):
        chapter = root / "LibriSpeech" / subset / speaker / "7"
        key = f"{speaker}-7"
        for n in range(2):
            tone(chapter / f"{key}-000{n}{suffix}", 0.5 + n)
        write(chapter / f"{key}.trans.txt", f"{key}-0000 HELLO THERE\n{key}-0001 A SECOND ONE\n")
    write(root / "LibriSpeech" / "SPEAKERS.TXT", ";ID\n12 | F | train-clean-5 | 1 | A\n34 | M | dev-clean-2 | 1 | B\n")
    return root / "LibriSpeech"


def test_librispeech_all_subsets_and_fields(tmp_path):
    made = prepare_librispeech(libri(tmp_path), tmp_path / "out")
    cuts = cuts_of(made)
    assert made.manifest == tmp_path / "out" / "librispeech_cuts.jsonl.gz"
    assert (made.cuts, made.speakers, len(made.skipped)) == (4, 2, 0)
    cut = cuts["librispeech-12-7-0001"]
    (supervision,) = cut.supervisions
    assert (supervision.text, supervision.speaker) == ("A SECOND ONE", "librispeech-12")
    assert (supervision.language, supervision.gender) == ("en", "female")
    assert cut.custom["split"] == "train" and cuts["librispeech-34-7-0000"].custom["split"] == "dev"
    assert cut.duration == pytest.approx(1.5) == supervision.duration


@pytest.mark.parametrize("suffix", [".flac", ".wav", ".ogg", ".opus"])
def test_any_audio_suffix_gives_the_same_utterances(tmp_path, suffix):
    made = prepare_librispeech(libri(tmp_path, suffix), tmp_path / "out")
    assert (made.cuts, len(made.skipped)) == (4, 0)


def test_a_subset_alone_still_finds_the_genders(tmp_path):
    cuts = cuts_of(prepare_librispeech(libri(tmp_path) / "train-clean-5", tmp_path / "out"))
    assert {c.supervisions[0].gender for c in cuts.values()} == {"female"}


def test_missing_empty_damaged_and_silent_files_are_skipped_and_counted(tmp_path):
    src = libri(tmp_path, ".flac")
    chapter = src / "train-clean-5/12/7"
    (chapter / "12-7-0000.flac").unlink()
    whole = (chapter / "12-7-0001.flac").read_bytes()
    (chapter / "12-7-0001.flac").write_bytes(whole[: len(whole) // 2])
    chapter = src / "dev-clean-2/34/7"
    (chapter / "34-7-0000.flac").write_bytes(b"")
    sf.write(chapter / "34-7-0001.flac", np.zeros(8000), 16000)
    with pytest.raises(ManifestError, match="nothing to prepare.*skipped 4"):
        prepare_librispeech(src, tmp_path / "out")
    assert list((tmp_path / "out").glob("*")) == [] or not (tmp_path / "out").exists()
    tone(chapter / "34-7-0001.flac")
    made = prepare_librispeech(src, tmp_path / "out")
    assert made.cuts == 1 and len(made.skipped) == 3
    assert "no such file" in made.skipped.reasons[str(src / "train-clean-5/12/7/12-7-0000.flac")]


def test_a_damaged_ogg_page_is_not_prepared(tmp_path):
    path = tone(tmp_path / "clips/a.ogg", 2.0)
    tone(tmp_path / "clips/b.ogg", 2.0)
    raw = bytearray(path.read_bytes())
    raw[-40] ^= 0xFF
    path.write_bytes(raw)
    made = prepare_wakewords(tmp_path / "clips", tmp_path, "hey")
    assert made.cuts == 1 and list(made.skipped.reasons) == [str(path)]


def test_an_utterance_listed_twice_counts_once(tmp_path):
    src = libri(tmp_path)
    with open(src / "dev-clean-2/34/7/34-7.trans.txt", "a") as listing:
        listing.write("34-7-0001 AGAIN\n")
    made = prepare_librispeech(src, tmp_path / "out")
    assert made.cuts == 4 and "listed twice" in made.skipped.summary()


def test_librispeech_audio_shares_speakers_with_the_transcribed(tmp_path):
    src = tmp_path / "data"
    tone(src / "librispeech_train-clean-100/12-9-0000.opus")
    tone(src / "librispeech_test-other/77/77-1-0000.opus")
    tone(src / "librispeech_test-other/77/notes.opus")
    cuts = cuts_of(prepare_librispeech_audio(src, tmp_path))
    assert {c.supervisions[0].speaker: c.custom["split"] for c in cuts.values()} == {
        "librispeech-12": "train",
        "librispeech-77": "test",
    }
    assert all(c.supervisions[0].text is None for c in cuts.values())


CV_HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccent\tlocale\tsegment\n"


def test_commonvoice_tsv_of_many_languages(tmp_path):
    src = tmp_path / "cv"
    write(src / "en/validated.tsv", CV_HEADER + 'ab\ta.mp3\tSay "hi\t2\t0\ttwenties\tfemale\tus\ten\t\n')
    write(src / "de/validated.tsv", CV_HEADER + "cd\tb.mp3\tGrüße\t2\t0\t\tother\t\tde\t\n")
    write(src / "de/test.tsv", CV_HEADER + "cd\tb.mp3\tGrüße\t2\t0\t\t\t\tde\t\n")
    tone(src / "en/clips/a.opus")
    tone(src / "de/clips/b.opus")
    cuts = cuts_of(prepare_commonvoice(src, tmp_path))
    english, german = cuts["commonvoice-a"], cuts["commonvoice-b"]
    assert english.supervisions[0].text == 'Say "hi' and german.supervisions[0].text == "Grüße"
    assert english.supervisions[0].speaker == "commonvoice-ab"
    assert (english.custom["age"], english.custom["accent"]) == ("twenties", "us")
    assert german.supervisions[0].gender is None and "age" not in german.custom
    assert (english.custom["split"], german.custom["split"]) == ("train", "test")
    only = prepare_commonvoice(src, tmp_path / "2", languages=["de"])
    assert only.cuts == 1
    with pytest.raises(ManifestError, match="no clip in xx"):
        prepare_commonvoice(src, tmp_path / "3", languages=["xx"])


def test_commonvoice_csv_with_quotes(tmp_path):
    src = tmp_path / "cv"
    header = CV_HEADER.replace("\t", ",")
    write(src / "validated.csv", header + 'ab,a.wav,"One, two.",2,1,,male,us,en,\n')
    tone(src / "data/a.opus")
    cuts = cuts_of(prepare_commonvoice(src, tmp_path, name="rit"))
    assert cuts["rit-a"].supervisions[0].text == "One, two."
    assert cuts["rit-a"].supervisions[0].speaker == "commonvoice-ab"


def test_a_commonvoice_clip_of_nobody_has_no_speaker(tmp_path):
    """Else all such clips would be one speaker's, held out or not together."""
    src = tmp_path / "cv"
    write(src / "validated.tsv", CV_HEADER + "\ta.mp3\tHi\t2\t0\t\t\t\ten\t\nab\tb.mp3\tHi\t2\t0\t\t\t\ten\t\n")
    tone(src / "clips/a.opus")
    tone(src / "clips/b.opus")
    made = prepare_commonvoice(src, tmp_path)
    assert [cut.supervisions[0].speaker for cut in cuts_of(made).values()] == [None, "commonvoice-ab"]
    assert made.speakers == 1


def kaldi(src: Path) -> Path:
    for split, key in (("train", "000010011"), ("test", "000030012")):
        speaker = key[:5]
        write(src / split / "text", f"{key}\tWE CALL IT BEAR\n")
        write(src / split / "wav.scp", f"{key}\tWAVE/SPEAKER{speaker}/{key}.WAV\n")
        write(src / split / "utt2spk", f"{key} {speaker}\n")
        write(src / split / "spk2gender", f"{speaker}\tm\n")
        write(src / split / "spk2age", f"{speaker}\t6\n")
        tone(src / f"WAVE/SPEAKER{speaker}/{key}.opus")
    return src


def test_speechocean762_keeps_the_publishers_split(tmp_path):
    cuts = cuts_of(prepare_speechocean762(kaldi(tmp_path / "so"), tmp_path))
    test = cuts["speechocean762-000030012"]
    assert test.custom["split"] == "test" and test.custom["age"] == "6"
    assert test.supervisions[0].gender == "male" and test.supervisions[0].speaker == "speechocean762-00003"
    (tmp_path / "so/test/utt2spk").write_text("other 1\n")
    with pytest.raises(ManifestError, match="000030012"):
        prepare_speechocean762(tmp_path / "so", tmp_path)


def test_voxforge_sessions(tmp_path):
    src = tmp_path / "vox"
    for session in ("José-20090919-fot", "anonymous-20100101-aaa", "anonymous-20100101-bbb"):
        write(src / session / "etc/PROMPTS", f"{session}/mfc/a0502 HELLO\n{session}/mfc/a0503 GONE\n")
        tone(src / session / "wav/a0502.opus")
    readme = "User Name:José\n\nGender: male;\nAge range: [adult];\nPronunciation dialect: Other\n"
    write(src / "José-20090919-fot/etc/README", readme, "latin-1")
    made = prepare_voxforge(src, tmp_path)
    cuts = cuts_of(made)
    assert (made.cuts, made.speakers, len(made.skipped)) == (3, 3, 3)
    cut = cuts["voxforge-José-20090919-fot-a0502"]
    assert cut.custom["split"] == "test" and cut.custom["licence"] == "GPL-3.0" and cut.custom["age"] == "adult"
    assert cut.supervisions[0].gender == "male" and cut.supervisions[0].text == "HELLO"


def test_speech_commands_lists_and_background(tmp_path):
    src = tmp_path / "sc"
    for name in ("bed/aa_nohash_0", "bed/bb_nohash_0", "cat/aa_nohash_0"):
        tone(src / f"{name}.opus")
    tone(src / "_background_noise_/tap.wav", 61.0)
    write(src / "testing_list.txt", "bed/bb_nohash_0.wav\n")
    write(src / "validation_list.txt", "cat/aa_nohash_0.wav\n")
    made = prepare_speech_commands(src, tmp_path)
    cuts = cuts_of(made)
    assert made.speakers == 2
    words = [c for c in cuts.values() if c.supervisions]
    splits = {c.supervisions[0].text + c.supervisions[0].speaker[-2:]: c.custom["split"] for c in words}
    assert splits == {"bedaa": "train", "bedbb": "test", "cataa": "dev"}
    background = [c for c in cuts.values() if not c.supervisions]
    assert sorted(c.duration for c in background) == [1.0, 30.0, 30.0]
    assert sum(c.duration for c in background) == pytest.approx(61.0)
    write(src / "testing_list.txt", "dog/x.wav\n")
    with pytest.raises(ManifestError, match="testing_list.txt.*dog/x.wav"):
        prepare_speech_commands(src, tmp_path)


def test_word_corpora(tmp_path):
    tone(tmp_path / "dsp/speech_data/17/17-19-17.opus")
    tone(tmp_path / "dsp/speech_data/17/17-00-01.opus")
    cuts = cuts_of(prepare_dspspeech20(tmp_path / "dsp", tmp_path))
    project = cuts["dspspeech20-17-19-17"].supervisions[0]
    assert (project.text, project.language, project.speaker) == ("project", "en", "dspspeech20-17")
    assert cuts["dspspeech20-17-00-01"].supervisions[0].language == "zh"
    tone(tmp_path / "digits/recordings/7_jackson_5.opus")
    tone(tmp_path / "digits/recordings/7_jackson_4.opus")
    cuts = cuts_of(prepare_spoken_digits(tmp_path / "digits", tmp_path))
    assert cuts["spoken-digits-7_jackson_5"].supervisions[0].text == "seven"
    assert [c.custom["split"] for _, c in sorted(cuts.items())] == ["test", "train"]
    tone(tmp_path / "dsp/speech_data/17/17-20-01.opus")
    with pytest.raises(ManifestError, match="17-20-01"):
        prepare_dspspeech20(tmp_path / "dsp", tmp_path)


def test_ljspeech_prefers_the_normalised_text(tmp_path):
    write(tmp_path / "lj/metadata.csv", 'L1|In 1455 "so|In fourteen "so\nL2|Plain\n')
    tone(tmp_path / "lj/wavs/L1.flac")
    tone(tmp_path / "lj/wavs/L2.wav")
    cuts = cuts_of(prepare_ljspeech(tmp_path / "lj", tmp_path))
    assert cuts["ljspeech-L1"].supervisions[0].text == 'In fourteen "so'
    assert cuts["ljspeech-L2"].supervisions[0].text == "Plain"
    write(tmp_path / "lj/metadata.csv", "L1|a\nL2 no text\n")
    with pytest.raises(ManifestError, match="metadata.csv: line 2"):
        prepare_ljspeech(tmp_path / "lj", tmp_path)


def test_text_beside_counts_what_has_no_text(tmp_path):
    tone(tmp_path / "me/data/a.opus")
    tone(tmp_path / "me/data/b.opus")
    write(tmp_path / "me/data/a.txt", "May drought\r\ndestroy.")
    made = prepare_text_beside(tmp_path / "me", tmp_path, speaker="me", gender="f")
    (cut,) = cuts_of(made).values()
    assert cut.supervisions[0].text == "May drought destroy." and cut.supervisions[0].gender == "female"
    assert len(made.skipped) == 1


def test_alphanumeric_takes_the_text_of_the_folder(tmp_path):
    src = tmp_path / "al"
    header = "Response_ID,file_name,Age,Gender,Native Language,Name,Number,Address\n"
    row = 'R1,audio_data/{}/R1.wav,24,Female,Marathi,Saffron Robles,8885112931,"48, Ridge Road"\n'
    write(src / "metadata.csv", header + "".join(row.format(k) for k in ("Names", "Numbers", "Addresses")))
    for kind in ("Names", "Numbers", "Addresses"):
        tone(src / f"audio_data/{kind}/R1.opus")
    made = prepare_alphanumeric(src, tmp_path)
    texts = {c.custom["kind"]: c.supervisions[0].text for c in cuts_of(made).values()}
    number = "eight eight eight five one one two nine three one"
    assert texts == {"name": None, "number": number, "address": "48, Ridge Road"}
    assert made.speakers == 1


def test_wakewords_even_and_odd_by_sorted_order(tmp_path):
    for n in (0, 1, 10, 2):
        tone(tmp_path / f"clips/{n}.opus")
    cuts = cuts_of(prepare_wakewords(tmp_path / "clips", tmp_path, "Hey Anna", even_odd=True))
    order = sorted(["0.opus", "1.opus", "10.opus", "2.opus"])
    for index, file in enumerate(order):
        cut = cuts[f"wakewords-hey-anna-{file.removesuffix('.opus')}"]
        assert cut.custom["split"] == ("test" if index % 2 else "train") and cut.custom["index"] == index
        assert cut.supervisions[0].text == "Hey Anna" and cut.supervisions[0].speaker is None
    cuts = cuts_of(prepare_wakewords(tmp_path / "clips", tmp_path, "Hey Anna"))
    assert {c.custom["split"] for c in cuts.values()} == {"train"}


def test_duplicates_are_found_shifted_scaled_and_noisy_but_not_other_takes(tmp_path):
    rng = np.random.default_rng(3)
    envelope = np.hanning(16000)
    first, second = (envelope * np.convolve(rng.normal(size=16000), np.ones(6) / 6, "same") for _ in range(2))
    hum = 0.5 * np.sin(2 * np.pi * 50 * np.arange(24000) / 16000)

    def clip(wave, offset, gain):
        padded = hum + 0.001 * rng.normal(size=24000)
        padded[offset : offset + 16000] += gain * wave
        return 0.3 * padded

    waves = {
        "a": clip(first, 1000, 1.0),
        "b": clip(second, 1000, 1.0),
        "c": clip(first, 6000, -0.3),
        "d": clip(second, 1000, 0.5),
        "e": hum,
    }
    for key, wave in waves.items():
        (tmp_path / "clips").mkdir(exist_ok=True)
        sf.write(tmp_path / f"clips/{key}.wav", wave, 16000)
    made = prepare_wakewords(tmp_path / "clips", tmp_path, "hey", even_odd=True, duplicates=True)
    groups = {cut.id[-1]: cut.custom["group"] for cut in lhotse.CutSet.from_file(made.manifest)}
    assert groups == {"a": 0, "b": 1, "c": 0, "d": 1, "e": 4}


def test_noise_kinds_folds_and_pieces(tmp_path):
    tone(tmp_path / "n/002 - Rain/4-182395-A.ogg", 1.0)
    tone(tmp_path / "n/002 - Rain/3-182395-B-10.wav", 1.0)
    tone(tmp_path / "n/street/long.wav", 70.5, channels=2)
    cuts = cuts_of(prepare_noise(tmp_path / "n", tmp_path))
    told = cuts["noise-002-Rain-4-182395-A"].custom
    assert (told["fold"], told["split"], told["kind"]) == (4, "test", "002 - Rain")
    assert cuts["noise-002-Rain-3-182395-B-10"].custom["split"] == "train"
    pieces = [c for c in cuts.values() if c.custom["kind"] == "street"]
    assert sorted(c.duration for c in pieces) == [10.5, 30.0, 30.0]
    assert all(not c.supervisions and c.num_channels == 2 for c in pieces)


def test_rir_keeps_all_channels(tmp_path):
    tone(tmp_path / "r/a.wav", 0.3, channels=4)
    tone(tmp_path / "r/b.wav", 0.3)
    cuts = cuts_of(prepare_rir(tmp_path / "r", tmp_path))
    assert cuts["rir-a"].load_audio().shape == (4, 4800) and cuts["rir-b"].load_audio().shape == (1, 4800)
    assert lhotse.RecordingSet.from_recordings(c.recording for c in cuts.values())["rir-a"].num_channels == 4


def test_negatives_pieces_and_speakers(tmp_path):
    tone(tmp_path / "g/anna/radio show.wav", 60.4)
    made = prepare_negatives(tmp_path / "g", tmp_path, name="radio", speaker_folders=True, split="test")
    cuts = cuts_of(made)
    assert sorted(c.duration for c in cuts.values()) == pytest.approx([30.0, 30.4])
    assert {c.supervisions[0].speaker for c in cuts.values()} == {"radio-anna"} and made.speakers == 1


@given(st.floats(0.01, 5000), st.one_of(st.none(), st.floats(1.0, 100)))
def test_pieces_cover_a_recording_without_a_short_rest(duration, piece_s):
    starts = common._starts(duration, piece_s)
    lengths = [b - a for a, b in zip(starts, [*starts[1:], duration], strict=True)]
    assert starts[0] == 0 and sum(lengths) == pytest.approx(duration)
    assert len(lengths) == 1 or min(lengths) > 0.99
    assert piece_s is None or max(lengths) < piece_s + 1.01


WORD = st.text(st.characters(exclude_categories=("Z", "C")), min_size=1, max_size=8)


@settings(max_examples=50)
@given(st.lists(st.tuples(WORD, st.lists(WORD, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_pairs_give_back_what_was_listed(tmp_path_factory, entries):
    path = tmp_path_factory.mktemp("list") / "text"
    write(path, "".join(f"{key} {' '.join(words)}\r\n" for key, words in entries))
    assert list(listings.pairs(path, "")) == [(key, " ".join(words)) for key, words in entries]


@pytest.mark.parametrize(
    ("prepare", "message"),
    [(corpus.prepare, name) for name, corpus in CORPORA.items() if name not in ("esc50", "musan", "rirs-noises")],
)
def test_a_missing_and_an_empty_folder_are_one_clear_line(tmp_path, prepare, message):
    extra = {"phrase": "hey"} if prepare is prepare_wakewords else {}
    (tmp_path / "empty").mkdir()
    for src in (tmp_path / "none", tmp_path / "empty"):
        with pytest.raises(WakewordError) as caught:
            prepare(src, tmp_path / "out", **extra)
        assert str(src) in str(caught.value) and "\n" not in str(caught.value), message
    assert not list(tmp_path.glob("out/*"))


def test_malformed_lines_name_the_file_and_the_line(tmp_path):
    src = libri(tmp_path)
    listing = src / "dev-clean-2/34/7/34-7.trans.txt"
    write(listing, "34-7-0000 FINE\n34-7-0001\n")
    with pytest.raises(ManifestError, match=r"34-7\.trans\.txt: line 2 "):
        prepare_librispeech(src, tmp_path / "out")
    write(tmp_path / "cv/validated.tsv", CV_HEADER + "ab\ta.mp3\n")
    with pytest.raises(ManifestError, match=r"validated\.tsv: row 2 has 2 fields where the header has 10"):
        prepare_commonvoice(tmp_path / "cv", tmp_path / "out")
    write(tmp_path / "cv/validated.tsv", "path\tsentence\n")
    with pytest.raises(ManifestError, match="no column client_id"):
        prepare_commonvoice(tmp_path / "cv", tmp_path / "out")


def test_an_interrupted_prepare_leaves_the_old_manifest(tmp_path, monkeypatch):
    src = libri(tmp_path)
    made = prepare_librispeech(src, tmp_path / "out")
    before = made.manifest.read_bytes()
    probe, calls = common.probe, []

    def interrupted(path):
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return probe(path)

    monkeypatch.setattr(common, "probe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_librispeech(src, tmp_path / "out")
    assert made.manifest.read_bytes() == before and list((tmp_path / "out").iterdir()) == [made.manifest]


def test_importing_needs_no_lhotse():
    code = "import sys, data_prep, data_prep.command; print(sorted({'lhotse', 'torch', 'tqdm'} & set(sys.modules)))"
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args([str(word) for word in words])


def test_command_gives_json_and_refuses_what_a_corpus_does_not_know(tmp_path):
    tone(tmp_path / "clips/a.opus")
    tone(tmp_path / "clips/b.opus")
    report = command.run(parsed("wakewords", tmp_path / "clips", tmp_path, "--phrase", "hey", "--even-odd"))
    assert json.loads(json.dumps(report))["cuts"] == 2
    assert Path(report["manifest"]).name == "wakewords-hey_cuts.jsonl.gz"
    with pytest.raises(WakewordError, match="--phrase"):
        command.run(parsed("wakewords", tmp_path / "clips", tmp_path))
    with pytest.raises(WakewordError, match="no option --phrase"):
        command.run(parsed("librispeech", tmp_path, tmp_path, "--phrase", "hey"))
    with pytest.raises(WakewordError, match="commonvoice.mozilla.org"):
        command.run(parsed("commonvoice", tmp_path, tmp_path, "--download"))
    report = command.run(parsed("musan", tmp_path / "clips", tmp_path))
    (cut, *_) = lhotse.CutSet.from_file(report["manifest"])
    assert cut.custom["corpus"] == "musan" and cut.custom["licence"] == "CC BY 4.0"


def test_text_outside_the_alphabet_is_kept_counted_and_told_last(tmp_path, capsys):
    texts = {"a": "It's ten o'clock, café!", "b": "ROOM 12", "c": "...", "d": "привет", "e": "Über acht"}
    for name, text in texts.items():
        tone(tmp_path / f"src/{name}.wav", 2.0)
        write(tmp_path / f"src/{name}.txt", text)
    words = ("text-beside", tmp_path / "src", tmp_path / "out", "--name", "mine")
    report = command.run(parsed(*words))
    assert (report["cuts"], report["skipped"], report["outside_alphabet"]) == (5, 0, 3)
    held = {cut.id: cut.supervisions[0].text for cut in lhotse.CutSet.from_file(report["manifest"])}
    assert held == {f"mine-{name}": text for name, text in texts.items()}
    told = "3 utterances have text outside the alphabet (first: mine-b 'ROOM 12'): CTC training will skip them"
    assert list(report.items())[-1] == ("note", told)
    assert cli.main(["prepare", *map(str, words)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"note: {told}"
    assert cli.main(["prepare", *map(str, words), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outside_alphabet"] == 3
    pytest.importorskip("torch")
    from wakeword.pretraining import data

    # What CTC skips is what was counted, and a language that it never learns is not.
    _, unusable = data.with_tokens(lhotse.CutSet.from_file(report["manifest"]).to_eager())
    assert set(unusable.reasons) == {"mine-b", "mine-c", "mine-d"}
    report = command.run(parsed(*words, "--language", "ru"))
    assert report["outside_alphabet"] == 0 and "note" not in report


@pytest.mark.parametrize("name", ["", "  ", "a/b", "/"])
def test_a_name_that_is_none_is_refused(tmp_path, name):
    tone(tmp_path / "src/a.wav", 2.0)
    with pytest.raises(WakewordError, match=r"^--name .*: no name for NAME_cuts.jsonl.gz"):
        command.run(parsed("negatives", tmp_path / "src", tmp_path / "out", "--name", name))
    assert not (tmp_path / "out").exists()


# Downloads, from a server on this machine.


def archive_bytes(root: Path) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        archive.add(libri(root), "LibriSpeech")
    return held.getvalue()


@pytest.fixture
def server():
    """Serves `body`; breaks off after `cut` bytes once; honours ranges if `ranges`; answers `status` if set."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            it = self.server
            asked = self.headers.get("Range")
            it.asked.append(asked)
            if it.status:
                self.send_error(it.status)
                return
            start = int(asked[6:-1]) if asked and it.ranges else 0
            if start >= len(it.body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(it.body)}")
                self.end_headers()
                return
            body = it.body[start:]
            self.send_response(206 if asked and it.ranges else 200)
            self.send_header("Content-Length", str(len(body)))
            if asked and it.ranges:
                self.send_header("Content-Range", f"bytes {start}-{len(it.body) - 1}/{len(it.body)}")
            self.end_headers()
            cut, it.cut = it.cut, None
            self.wfile.write(body[:cut])

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as it:
        it.asked, it.cut, it.ranges, it.status, it.body = [], None, True, None, b""
        threading.Thread(target=it.serve_forever, daemon=True).start()
        it.url = f"http://127.0.0.1:{it.server_address[1]}/corpus.tar.gz"
        yield it
        it.shutdown()


def digest(body: bytes) -> str:
    return "md5:" + hashlib.md5(body, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_download_resumes_and_is_marked(tmp_path, server, ranges, monkeypatch):
    server.body, server.cut, server.ranges = archive_bytes(tmp_path / "made"), 1000, ranges
    archive = download.Archive(server.url, digest(server.body))
    monkeypatch.setattr(download.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(librispeech, "PARTS", {"train-clean-5": archive})
    src = librispeech.download_librispeech(tmp_path / "got", ["train-clean-5"])
    assert server.asked == [None, "bytes=1000-"]
    assert (src / "train-clean-5/.completed").is_file()
    assert sorted(p.name for p in (tmp_path / "got").iterdir()) == ["LibriSpeech"]
    assert prepare_librispeech(src, tmp_path).cuts == 4
    librispeech.download_librispeech(tmp_path / "got", ["train-clean-5"])
    assert len(server.asked) == 2


def test_a_whole_part_is_not_fetched_again(tmp_path, server):
    server.body = b"x" * 5000
    (tmp_path / "corpus.tar.gz.part").write_bytes(server.body)
    assert download.fetch(download.Archive(server.url, digest(server.body)), tmp_path).read_bytes() == server.body
    assert server.asked == ["bytes=5000-"]


def test_a_part_of_another_file_is_fetched_anew(tmp_path, server):
    server.body = b"x" * 5000
    (tmp_path / "corpus.tar.gz.part").write_bytes(b"y" * 9000)
    got = download.fetch(download.Archive(server.url), tmp_path, pause_s=0.0)
    assert got.read_bytes() == server.body


def test_download_failures_are_clear_and_leave_no_mark(tmp_path, server):
    server.body = b"not what was published"
    archive = download.Archive(server.url, digest(b"something else"))
    with pytest.raises(WakewordError, match="not what was published"):
        download.download(archive, tmp_path)
    with pytest.raises(WakewordError, match="damaged archive"):
        download.download(download.Archive(server.url), tmp_path)
    server.status = 404
    with pytest.raises(WakewordError, match="404"):
        download.download(archive, tmp_path)
    server.status = 503
    with pytest.raises(WakewordError, match="503"):
        download.fetch(archive, tmp_path, attempts=2, pause_s=0.0)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WakewordError, match="cannot be fetched.*resumes"):
        download.fetch(download.Archive("http://127.0.0.1:9/x.tar.gz"), tmp_path, attempts=1)
    with pytest.raises(WakewordError, match="no part dev-dirty"):
        librispeech.download_librispeech(tmp_path, ["dev-dirty"])


def test_an_archive_without_a_digest_is_checked_by_its_own_checksum(tmp_path, server):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        # As loud audio: stored as it is, so that a wrong byte in it unpacks without complaint.
        noise = np.random.default_rng(0).bytes(200_000)
        member = tarfile.TarInfo("corpus/a.wav")
        member.size = len(noise)
        archive.addfile(member, io.BytesIO(noise))
    body = held.getvalue()
    server.body = body[:100_000] + bytes([body[100_000] ^ 1]) + body[100_001:]
    with pytest.raises(WakewordError, match="damaged archive .*CRC.*removed"):
        download.download(download.Archive(server.url), tmp_path, "corpus")
    assert [path.name for path in tmp_path.rglob("*")] == ["corpus", "a.wav"], "marked as whole, or kept"
    server.body = body
    download.download(download.Archive(server.url), tmp_path, "corpus")
    assert (tmp_path / "corpus" / ".completed").is_file()


def test_an_archive_cannot_write_outside(tmp_path, server):
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        member = tarfile.TarInfo("../outside.txt")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"no"))
    server.body = held.getvalue()
    with pytest.raises(WakewordError, match="damaged archive"):
        download.download(download.Archive(server.url), tmp_path / "in")
    assert not (tmp_path / "outside.txt").exists()


real = pytest.mark.skipif(not SHARED.is_dir(), reason=f"no recordings at {SHARED}")


@real
def test_real_voxforge_speakers(tmp_path):
    made = prepare_voxforge(SHARED / "voxforge", tmp_path)
    assert (made.cuts, made.speakers, len(made.skipped)) == (2350, 69, 0)
    assert made.hours == pytest.approx(3.1, abs=0.1)


@real
def test_real_wakewords_and_noise(tmp_path):
    made = prepare_wakewords(SHARED / "wake-words/alexa", tmp_path, "alexa", even_odd=True)
    splits = [cut.custom["split"] for cut in lhotse.CutSet.from_file(made.manifest)]
    assert (made.cuts, splits.count("train"), splits.count("test")) == (329, 165, 164)
    made = prepare_noise(SHARED / "noise/esc10", tmp_path)
    cuts = list(lhotse.CutSet.from_file(made.manifest))
    assert len(made.skipped) == 0 and {cut.custom["fold"] for cut in cuts} == {1, 2, 3, 4}
    assert all((cut.custom["split"] == "test") == (cut.custom["fold"] == 4) for cut in cuts)
