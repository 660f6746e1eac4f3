"""What the acoustic model hears: words and times from a best path, any chunking, real speech, the verb."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
torchaudio = pytest.importorskip("torchaudio")
pytest.importorskip("safetensors")

from wakeword.acoustic import tokens, transcribe  # noqa: E402
from wakeword.acoustic.acoustic_file import save_acoustic  # noqa: E402
from wakeword.acoustic.encoder import AcousticModel  # noqa: E402
from wakeword.acoustic.transcribe import Hearing, Word, best_path, timed_words  # noqa: E402
from wakeword.audio.clips import Clip  # noqa: E402
from wakeword.audio.waveform import read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402


def path_of(text: str) -> list[int]:
    """A best path from a character a frame; `_` is the blank."""
    return [tokens.BLANK if letter == "_" else tokens.SYMBOLS.index(letter) for letter in text]


@pytest.fixture(scope="module")
def acoustic_file(tmp_path_factory, lively, small_sizes):
    """A small random acoustic model that is fond of no token, so that its text is full of letters."""
    torch.manual_seed(0)
    model = lively(AcousticModel(small_sizes, len(tokens.SYMBOLS)), 0)
    path = tmp_path_factory.mktemp("acoustic") / "small.safetensors"
    with torch.no_grad():
        model.ctc.bias.copy_(-model.ctc(model.encoder(torch.randn(1, 2000, 16))[-1]).mean(dim=(0, 1)))
    save_acoustic(path, model, FeatureSettings(mels=16), {})
    return path


@pytest.fixture(scope="module")
def hearing(acoustic_file) -> Hearing:
    return Hearing(acoustic_file)


def test_words_and_times_of_a_best_path_by_hand():
    words = list(timed_words(path_of("__hh_e__ yy_oo__oo __"), list(tokens.SYMBOLS), 0.04))
    assert words == [Word("he", 0.08, 0.24), Word("yoo", 0.36, 0.72)]
    assert (
        list(timed_words([], list(tokens.SYMBOLS), 0.04))
        == list(timed_words(path_of("_ _ "), list(tokens.SYMBOLS), 0.04))
        == []
    )


PHONES = list(tokens.UNITS["phones"])


def phones_path(text: str) -> list[int]:
    """A best path from a phone a frame; `_` is the blank, `/` the space."""
    return [PHONES.index({"_": "<blank>", "/": " "}.get(phone, phone)) for phone in text.split()]


def test_the_phones_of_a_word_are_joined_by_hyphens():
    path = phones_path("_ K K AE _ T T _ / _ AH / / Z _ Z _")
    assert list(timed_words(path, PHONES, 0.04)) == [
        Word("K-AE-T", 0.04, 0.28),
        Word("AH", 0.4, 0.44),
        Word("Z-Z", 0.52, 0.64),
    ]
    # A word of one phone whose name is one letter still lies between spaces alone.
    assert [word.text for word in timed_words(phones_path("K / T S"), PHONES, 0.04)] == ["K", "T-S"]


@given(st.lists(st.sampled_from(["_", "/", "K", "AE", "ZH"]), max_size=40))
def test_the_words_in_phones_are_those_of_the_merged_path(path):
    path = phones_path(" ".join(path))
    merged = " ".join(PHONES[index] for index in tokens.merged(path))
    words = [word.text.replace("-", " ") for word in timed_words(path, PHONES, 0.04)]
    assert words == [word.strip() for word in merged.replace("   ", "/").split("/") if word.strip()]


def test_frames_of_20_ms_halve_the_times():
    path = path_of("__hh_e__ yy_oo__oo __")
    usual, half = (list(timed_words(path, list(tokens.SYMBOLS), frame_s)) for frame_s in (0.04, 0.02))
    assert [word.text for word in usual] == [word.text for word in half] == ["he", "yoo"]
    for one, other in zip(usual, half, strict=True):
        assert (other.start_s, other.end_s) == pytest.approx((one.start_s / 2, one.end_s / 2))


@given(st.text(alphabet="_ ab'", max_size=40))
def test_the_words_are_those_of_decoding_and_their_times_in_order(text):
    path = path_of(text)
    words = list(timed_words(path, list(tokens.SYMBOLS), 0.04))
    assert " ".join(word.text for word in words) == " ".join(tokens.decode(path).split())
    times = [time for word in words for time in (word.start_s, word.end_s)]
    assert times == sorted(times) and all(word.start_s < word.end_s for word in words)
    assert not times or (times[0] >= 0 and times[-1] <= round(0.04 * len(path), 2))


@pytest.fixture(scope="module")
def phones_hearing(tmp_path_factory, lively, small_sizes) -> Hearing:
    """As `hearing`, but it writes phones, a frame each 20 ms."""
    torch.manual_seed(1)
    model = lively(AcousticModel(small_sizes, len(PHONES)), 1)
    path = tmp_path_factory.mktemp("phones") / "phones.safetensors"
    with torch.no_grad():
        model.ctc.bias.copy_(-model.ctc(model.encoder(torch.randn(1, 2000, 16))[-1]).mean(dim=(0, 1)))
    save_acoustic(path, model, FeatureSettings(mels=16, hop=80), {}, "phones")
    return Hearing(path)


@settings(max_examples=10)
@given(st.lists(st.integers(0, 70000), max_size=6))
def test_a_model_of_phones_and_of_20_ms_is_heard_in_any_chunks(phones_hearing, speech_like, cuts):
    samples = speech_like(7.3, 1)
    whole = phones_hearing.hear([samples])
    assert phones_hearing.hear(np.split(samples, sorted(cuts))) == whole
    spelt = {phone for word in whole.words for phone in word.text.split("-")}
    assert len(spelt) > 5 and spelt <= set(PHONES[2:])
    assert 6 < whole.words[-1].end_s <= whole.seconds == pytest.approx(7.3)
    assert any(round(word.start_s / 0.02) % 2 for word in whole.words), "no word begins between frames of 40 ms"


@settings(max_examples=25)
@given(st.lists(st.integers(0, 70000), max_size=6))
def test_any_chunking_gives_the_same_transcript(hearing, speech_like, cuts):
    samples = speech_like(7.3, 1)
    whole = hearing.hear([samples])
    assert len(whole.text) > 30 and whole.seconds == pytest.approx(7.3)
    assert hearing.hear(np.split(samples, sorted(cuts))) == whole


@pytest.mark.parametrize("frames", [1, 7, 1000])
def test_the_state_carries_over_pieces_of_any_length(hearing, speech_like, monkeypatch, frames):
    samples = speech_like(7.3, 2)
    with torch.inference_mode():
        features = torch.from_numpy(extract(samples, hearing.settings)[:728])[None]
        expected = hearing.model.log_probs(features)[0].argmax(-1).tolist()
    monkeypatch.setattr(transcribe, "PIECE_FRAMES", frames)
    assert list(best_path(hearing.model, hearing.settings, [samples])) == expected


def test_an_endless_stream_is_heard_as_it_comes(hearing, speech_like):
    block = speech_like(1, 3)
    path = best_path(hearing.model, hearing.settings, itertools.repeat(block))
    assert len(list(itertools.islice(path, 500))) == 500


def test_speech_to_the_very_end_keeps_its_last_frame(hearing, speech_like):
    samples = speech_like(2.02, 4)
    transcript = hearing.hear([samples])
    assert transcript.seconds == pytest.approx(2.02) and transcript.words[-1].end_s <= transcript.seconds


def test_a_letter_that_comes_late_is_heard_in_the_silence_behind_the_end(hearing, speech_like, monkeypatch):
    """And its word ends where the recording does."""
    samples, heard = speech_like(2, 4), []

    def late(model, settings, blocks):
        heard.extend(blocks)
        frames = sum(map(len, heard)) // 640
        return [tokens.BLANK] * (frames - 1) + path_of("a")

    monkeypatch.setattr(transcribe, "best_path", late)
    assert hearing.hear([samples]).words == (Word("a", 2.0, 2.0),)
    behind = np.concatenate(heard)[len(samples) :]
    assert len(behind) == 0.24 * 16000 and not behind.any()


@pytest.mark.parametrize("seconds", [0, 0.001])
def test_almost_nothing_gives_a_transcript(hearing, seconds):
    transcript = hearing.hear([np.zeros(round(16000 * seconds), np.float32)])
    assert transcript.seconds == pytest.approx(seconds) and all(word.end_s <= seconds for word in transcript.words)


def test_the_shipped_base_model_reads_real_speech_better_than_chance(shared):
    """Measured on 40 clips: 57 % of the letters wrong (68 % in the worst), 80 % against another clip's text."""
    folder = shared / "LibriSpeech" / "train-clean-5" / "1088" / "134315"
    lines = (folder / "1088-134315.trans.txt").read_text().splitlines()[:4]
    said = {folder / f"{name}.opus": tokens.normalise(text) for name, text in (line.split(" ", 1) for line in lines)}
    base = Hearing("base")
    heard = {path: base.transcribe(path) for path in said}

    def error(shift: int) -> float:
        texts = list(said.values())
        texts = texts[shift:] + texts[:shift]
        pairs = [(list(one.text), list(text)) for one, text in zip(heard.values(), texts, strict=True)]
        return sum(torchaudio.functional.edit_distance(*pair) for pair in pairs) / sum(map(len, said.values()))

    assert error(0) < 0.66
    assert error(0) < error(1) - 0.1
    for transcript in heard.values():
        assert 0 < transcript.words[0].start_s < 3 and transcript.seconds - 3 < transcript.words[-1].end_s


def test_a_part_of_a_file_is_read_alone(hearing, speech_like, tmp_path):
    write_wav(tmp_path / "a.wav", speech_like(4, 5))
    whole = read_audio(tmp_path / "a.wav")
    part = hearing.transcribe(Clip(tmp_path / "a.wav", start_s=1.0, duration_s=2.0))
    assert part == hearing.hear([whole[16000:48000]])
    assert hearing.transcribe(tmp_path / "a.wav") == hearing.hear([whole])


def test_the_verb_prints_words_and_counts_what_it_cannot_read(acoustic_file, speech_like, tmp_path, capsys):
    write_wav(tmp_path / "a" / "good.wav", speech_like(3, 6))
    write_wav(tmp_path / "a" / "silent.wav", np.zeros(16000, np.float32))
    (tmp_path / "a" / "bad.wav").write_bytes(b"no audio")
    arguments = ["transcribe", str(tmp_path / "a"), "--acoustic", str(acoustic_file)]
    assert main(arguments) == 0
    said = capsys.readouterr()
    assert "skipped 1 file(s)" in said.out and "bad.wav" in said.out and "silent.wav: silent (peak" in said.err
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    good = str(tmp_path / "a" / "good.wav")
    assert list(report["skipped"]) == [str(tmp_path / "a" / "bad.wav")] and good in report["files"]
    told = report["files"][good]
    assert told["text"] == " ".join(word["text"] for word in told["words"]) and told["seconds"] == 3.0
    first = told["words"][0]
    assert f"{first['start_s']:9.2f} {first['end_s']:9.2f}  {first['text']}" in said.out


def test_the_verb_prints_each_file_as_it_is_done(acoustic_file, speech_like, tmp_path, capsys, monkeypatch):
    for name in ("a", "b"):
        write_wav(tmp_path / f"{name}.wav", speech_like(1, 6))
    real, before = Hearing.transcribe, []

    def heard(self, clip, warn=None):
        before.append(capsys.readouterr().out)
        return real(self, clip, warn)

    monkeypatch.setattr(Hearing, "transcribe", heard)
    assert main(["transcribe", str(tmp_path), "--acoustic", str(acoustic_file)]) == 0
    assert before[0] == "" and before[1].startswith(f"{tmp_path / 'a.wav'}: ") and "b.wav" not in before[1]
    assert capsys.readouterr().out.startswith(f"{tmp_path / 'b.wav'}: ")
    before.clear()
    assert main(["transcribe", str(tmp_path), "--acoustic", str(acoustic_file), "--json"]) == 0
    assert before == ["", ""] and len(json.loads(capsys.readouterr().out)["files"]) == 2


def test_the_verb_refuses_an_empty_name(acoustic_file, speech_like, tmp_path, capsys, monkeypatch):
    write_wav(tmp_path / "a.wav", speech_like(1, 6))
    monkeypatch.chdir(tmp_path)
    assert main(["transcribe", "", "--acoustic", str(acoustic_file)]) == 2
    assert "empty name" in capsys.readouterr().err


@pytest.mark.parametrize("name, told", [("bad.wav", "none of 1 file(s) could be transcribed"), ("no.wav", "no such")])
def test_the_verb_refuses_what_leaves_nothing(acoustic_file, tmp_path, name, told, capsys):
    (tmp_path / "bad.wav").write_bytes(b"no audio")
    assert main(["transcribe", str(tmp_path / name), "--acoustic", str(acoustic_file)]) == 2
    assert told in capsys.readouterr().err


def test_the_verb_refuses_a_model_that_is_none(speech_like, tmp_path, capsys):
    write_wav(tmp_path / "a.wav", speech_like(1, 6))
    assert main(["transcribe", str(tmp_path / "a.wav"), "--acoustic", str(tmp_path / "none.safetensors")]) == 2
    assert "none.safetensors" in capsys.readouterr().err
