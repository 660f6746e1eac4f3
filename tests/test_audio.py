"""Audio: every format, rate and kind of damage that a user's file may have."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wakeword.audio import decode
from wakeword.audio.waveform import (
    SAMPLE_RATE,
    StreamResampler,
    check_clip,
    file_blocks,
    pcm_samples,
    quality,
    read_audio,
    write_wav,
)
from wakeword.errors import AudioError, WakewordError

SHARED = Path(__file__).parents[2] / "shared" / "corpora"
quick = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def tone(rate: int, seconds: float = 1.0, hz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)).astype(np.float32)


def noisy(seconds: float = 10.0) -> np.ndarray:
    noise = 0.1 * np.random.default_rng(0).standard_normal(round(SAMPLE_RATE * seconds))
    return (tone(SAMPLE_RATE, seconds) + noise).astype(np.float32)


def fails(path: Path, *words: str) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path)
    message = str(caught.value)
    assert "\n" not in message and path.name.strip("\0") in message, message
    assert all(word in message for word in words), message
    with pytest.raises(AudioError):
        list(file_blocks(path))
    return message


# --- what can be read ---


@pytest.mark.parametrize(
    ("suffix", "subtype", "rates"),
    [
        ("wav", "PCM_16", (8000, 11025, 16000, 44100, 96000)),
        ("wav", "PCM_U8", (8000, 16000)),
        ("wav", "FLOAT", (48000,)),
        ("wav", "ULAW", (8000,)),
        ("flac", "PCM_24", (96000,)),
        ("ogg", "VORBIS", (44100,)),
        ("opus", "OPUS", (16000, 48000)),
        ("mp3", "MPEG_LAYER_III", (22050, 44100)),
        ("aiff", "PCM_16", (32000,)),
    ],
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_formats_rates_and_channels(tmp_path: Path, suffix: str, subtype: str, rates: tuple, channels: int) -> None:
    if channels > 2 and suffix in ("ogg", "opus", "mp3"):
        channels = 2  # MP3 has no more; the others take one of six for a subwoofer and drop what is not bass
    for rate in rates:
        path = tmp_path / f"{rate}.{suffix}"
        form = "OGG" if suffix in ("ogg", "opus") else suffix.upper()
        # One loud channel of several: the mean of the channels is the definition.
        gains = np.linspace(0, 2, channels) if channels > 1 else np.ones(1)
        soundfile.write(path, 0.5 * tone(rate)[:, None] * gains, rate, format=form, subtype=subtype)
        heard, wanted = read_audio(path), 0.5 * tone(SAMPLE_RATE)
        assert heard.dtype == np.float32 and heard.ndim == 1
        assert abs(len(heard) - SAMPLE_RATE) <= (0.15 * SAMPLE_RATE if suffix == "mp3" else 2)
        middle = slice(4000, 12000)
        rms = np.sqrt(np.mean(heard[middle] ** 2))
        assert rms == pytest.approx(np.sqrt(np.mean(wanted[middle] ** 2)), rel=0.08)
        if suffix in ("wav", "flac", "aiff") and subtype not in ("PCM_U8", "ULAW"):
            assert np.abs(heard[middle] - wanted[middle]).max() < 2e-3


def test_resampling_keeps_what_lies_below_8_khz_and_nothing_else(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", tone(96000, hz=7000) + tone(96000, hz=20000), 96000, subtype="FLOAT")
    heard = read_audio(tmp_path / "x.wav")
    spectrum = np.abs(np.fft.rfft(heard[4000:12000] * np.hanning(8000)))
    assert spectrum.argmax() * 2 == 7000
    others = np.delete(spectrum, range(3400, 3600))
    assert others.max() < 1e-3 * spectrum.max()


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
def test_a_part_of_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noisy(), SAMPLE_RATE)
    whole = read_audio(path)
    assert np.abs(read_audio(path, 2.5, 1.25) - whole[40000:60000]).max() < 1e-4
    assert np.abs(read_audio(path, 9.0, 5.0) - whole[144000:]).max() < 1e-4
    assert np.abs(read_audio(path, 9.5) - whole[152000:]).max() < 1e-4
    for start_s, duration_s in ((11.0, None), (-1.0, None), (0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0)):
        with pytest.raises(AudioError):
            read_audio(path, start_s, duration_s)


def test_names_that_look_like_something_else(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("-i.wav", "a b.wav", "ünï.wav", "x.WAV", "no_suffix", "wrong.mp3", "wrong.raw.flac"):
        soundfile.write("x.tmp", tone(SAMPLE_RATE), SAMPLE_RATE, format="WAV")
        os.replace("x.tmp", name)
        assert len(read_audio(name)) == SAMPLE_RATE


def test_recordings_can_be_read_and_hold_sound() -> None:
    if not SHARED.is_dir():
        pytest.skip("no recordings beside the repository")
    found = sorted(SHARED.rglob("*.opus"))[::500] + sorted(SHARED.rglob("*.ogg"))[::40]
    assert found
    for path in found:
        assert quality(read_audio(path)).peak_dbfs > -60, path


# --- what cannot ---


def test_missing_folder_empty_and_foreign_files(tmp_path: Path) -> None:
    fails(tmp_path / "missing.wav", "no such file")
    (tmp_path / "folder.wav").mkdir()
    fails(tmp_path / "folder.wav", "a folder")
    (tmp_path / "empty.wav").touch()
    fails(tmp_path / "empty.wav", "empty")
    fails(tmp_path / "nul\0.wav".replace("nul", ""), "cannot be read")
    (tmp_path / "x.wav").write_text("This is no audio.\n" * 100)
    (tmp_path / "x.raw").write_bytes(bytes(3200))
    for name in ("x.wav", "x.raw"):
        fails(tmp_path / name, "not audio")


def test_without_ffmpeg_it_is_named_as_the_remedy(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
    fails(tmp_path / "x.m4a", "install the program ffmpeg")


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "opus"])
def test_a_truncated_header(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noisy(1.0), SAMPLE_RATE, format="OGG" if suffix == "opus" else None, subtype=None)
    path.write_bytes(path.read_bytes()[:20])
    fails(path, "not audio" if suffix in ("wav", "flac") else "truncated")


def test_no_samples_at_all(tmp_path: Path) -> None:
    for name in ("x.wav", "x.aiff"):
        soundfile.write(tmp_path / name, np.zeros(0, np.float32), SAMPLE_RATE)
        fails(tmp_path / name, "no samples")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path: Path, bad: float) -> None:
    samples = tone(48000)
    samples[30000] = bad
    soundfile.write(tmp_path / "x.wav", np.stack([samples, tone(48000)], 1), 48000, subtype="FLOAT")
    fails(tmp_path / "x.wav", "NaN or infinite")


def damage(data: bytes, how: str) -> bytes:
    middle, size = len(data) // 2, min(3000, len(data) // 8)
    if how == "zeros":
        return data[:middle] + bytes(size) + data[middle + size :]
    if how == "noise":
        return data[:middle] + np.random.default_rng(1).bytes(size) + data[middle + size :]
    if how == "hole":
        return data[:middle] + data[middle + size :]
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


@pytest.mark.parametrize("how", ["zeros", "noise", "hole", "bit"])
@pytest.mark.parametrize(("suffix", "subtype"), [("flac", "PCM_16"), ("ogg", "VORBIS"), ("opus", "OPUS")])
def test_damage_in_the_middle(tmp_path: Path, suffix: str, subtype: str, how: str) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noisy(), SAMPLE_RATE, format="FLAC" if suffix == "flac" else "OGG", subtype=subtype)
    assert len(read_audio(path)) == 160000
    path.write_bytes(damage(path.read_bytes(), how))
    fails(path, "damaged", "copy or record it again")


@pytest.mark.parametrize("how", ["zeros", "noise", "hole", "bit"])
def test_damage_in_a_real_recording(tmp_path: Path, how: str) -> None:
    found = sorted(SHARED.glob("LibriSpeech/train-clean-5/*/*/*.opus"))
    if not found:
        pytest.skip("no recordings beside the repository")
    path = tmp_path / "x.opus"
    path.write_bytes(damage(found[0].read_bytes(), how))
    fails(path, "damaged")


def test_an_mp3_with_a_gap_of_zeros_is_damaged_and_one_that_lies_about_its_length_is_not(tmp_path: Path) -> None:
    path = tmp_path / "x.mp3"
    soundfile.write(path, noisy(), SAMPLE_RATE)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 2500])
    heard = read_audio(path)
    assert 0 < soundfile.info(path).frames - len(heard) < SAMPLE_RATE
    path.write_bytes(data[: len(data) // 2])
    fails(path, "damaged")
    path.write_bytes(damage(data, "zeros"))
    fails(path, "damaged after")


def test_a_wav_header_that_promises_more_than_there_is(tmp_path: Path) -> None:
    # What a recorder leaves that was cut off, or wrote to a pipe: the length is not known.
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(SAMPLE_RATE), SAMPLE_RATE)
    data = path.read_bytes()
    for size in (b"\xff\xff\xff\xff", b"\x00\xff\xff\x7f"):
        path.write_bytes(data[:4] + size + data[8:40] + size + data[44:])
        assert len(read_audio(path)) == SAMPLE_RATE


def test_a_wav_cut_off_in_its_samples(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(SAMPLE_RATE), SAMPLE_RATE)
    path.write_bytes(path.read_bytes()[:20000])
    fails(path, "truncated")


def test_float_samples_far_beyond_full_scale(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    soundfile.write(path, tone(SAMPLE_RATE) * 1e30, SAMPLE_RATE, subtype="FLOAT")
    fails(path, "scale them")


@pytest.mark.parametrize(("suffix", "subtype"), [("ogg", "VORBIS"), ("opus", "OPUS")])
@pytest.mark.parametrize("kept", [0.5, 0.8, 0.95, 0.999])
def test_an_ogg_file_cut_off_anywhere_is_truncated(tmp_path: Path, suffix: str, subtype: str, kept: float) -> None:
    path = tmp_path / f"x.{suffix}"
    soundfile.write(path, noisy(6), SAMPLE_RATE, format="OGG", subtype=subtype)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept)])
    fails(path, "truncated")
    path.write_bytes(data + b"TAG of another program")
    assert len(read_audio(path)) >= 6 * SAMPLE_RATE - 2000


@pytest.mark.parametrize("channel", [0, 1])
def test_one_channel_of_several(tmp_path: Path, channel: int) -> None:
    path = tmp_path / "x.wav"
    both = np.stack([tone(SAMPLE_RATE), noisy(1)], axis=1)
    soundfile.write(path, both, SAMPLE_RATE, subtype="FLOAT")
    np.testing.assert_allclose(read_audio(path, channel=channel), both[:, channel], atol=1e-6)
    np.testing.assert_array_equal(
        np.concatenate(list(file_blocks(path, 777, channel))), read_audio(path, channel=channel)
    )
    np.testing.assert_allclose(read_audio(path), both.mean(axis=1), atol=1e-6)
    with pytest.raises(AudioError, match="no channel 2"):
        read_audio(path, channel=2)


@quick
@given(st.sampled_from(["wav", "flac", "ogg", "mp3"]), st.integers(0, 3000), st.binary(max_size=40), st.booleans())
def test_mangled_files_give_audio_or_one_line(tmp_path: Path, suffix: str, at: int, junk: bytes, cut: bool) -> None:
    path = tmp_path / f"x.{suffix}"
    if not (tmp_path / f"good.{suffix}").exists():
        soundfile.write(tmp_path / f"good.{suffix}", noisy(0.5), SAMPLE_RATE)
    data = (tmp_path / f"good.{suffix}").read_bytes()
    path.write_bytes(data[:at] + junk + (b"" if cut else data[at + len(junk) :]))
    try:
        assert np.isfinite(read_audio(path)).all()
    except AudioError as error:
        assert "\n" not in str(error)


# --- formats that libsndfile does not know ---

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not installed")


def encoded(tmp_path: Path, suffix: str) -> Path:
    soundfile.write(tmp_path / "source.wav", np.stack([noisy(3.0), noisy(3.0)], 1), SAMPLE_RATE)
    path = tmp_path / f"x.{suffix}"
    command = ["ffmpeg", "-nostdin", "-y", "-v", "error", "-i", tmp_path / "source.wav", path]
    if subprocess.run(command, capture_output=True, timeout=60).returncode:
        pytest.skip(f"this ffmpeg has no encoder for {suffix}")
    return path


@needs_ffmpeg
@pytest.mark.parametrize("suffix", ["m4a", "aac", "webm", "wma", "mka"])
def test_ffmpeg_reads_the_rest(tmp_path: Path, suffix: str) -> None:
    heard, wanted = read_audio(encoded(tmp_path, suffix)), noisy(3.0)
    assert abs(len(heard) - len(wanted)) < 0.15 * SAMPLE_RATE
    # Encoders delay; find the best fit within 0.15 s.
    fits = [np.corrcoef(heard[4000 + lag : 20000 + lag], wanted[4000:20000])[0, 1] for lag in range(-2400, 2400, 4)]
    assert max(fits) > 0.7
    part = read_audio(tmp_path / f"x.{suffix}", 1.0, 0.5)
    assert abs(len(part) - 8000) < 2400
    assert sum(map(len, file_blocks(tmp_path / f"x.{suffix}", 777))) == len(heard)


@needs_ffmpeg
def test_ffmpeg_on_what_is_no_audio(tmp_path: Path) -> None:
    (tmp_path / "x.m4a").write_bytes(b"\0\0\0\x20ftypM4A " + bytes(5000))
    fails(tmp_path / "x.m4a", "ffmpeg")
    whole = encoded(tmp_path, "m4a")
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    fails(whole, "x.m4a")
    (tmp_path / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/x.ts\n#EXT-X-ENDLIST\n")
    fails(tmp_path / "list.m3u8", "ffmpeg")


@needs_ffmpeg
def test_leaving_an_ffmpeg_stream_early_ends_the_program(tmp_path: Path) -> None:
    blocks = file_blocks(encoded(tmp_path, "m4a"), 160)
    assert len(next(blocks)) == 160
    blocks.close()


def test_an_ffmpeg_that_hangs_is_given_up_on(tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "ffmpeg"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))
    monkeypatch.setattr(decode, "FFMPEG_PATIENCE_S", 0.2)
    (tmp_path / "x.m4a").write_bytes(bytes(100))
    fails(tmp_path / "x.m4a", "ffmpeg gave nothing")


# --- streams ---


@pytest.fixture(scope="module")
def long_files(tmp_path_factory) -> dict[int, tuple[Path, np.ndarray]]:
    files = {}
    for rate in (8000, 16000, 44100):
        path = tmp_path_factory.mktemp("long") / f"{rate}.wav"
        soundfile.write(path, np.random.default_rng(rate).uniform(-0.5, 0.5, (5 * rate, 2)), rate)
        files[rate] = path, read_audio(path)
    return files


@quick
@given(st.integers(1, 100_000), st.sampled_from([8000, 16000, 44100]))
def test_blocks_of_a_file_make_the_whole(long_files, size: int, rate: int) -> None:
    path, whole = long_files[rate]
    size = max(size, 50)
    blocks = list(file_blocks(path, size))
    assert all(len(each) == size for each in blocks[:-1]) and 0 < len(blocks[-1]) <= size
    assert np.array_equal(np.concatenate(blocks), whole)


def test_blocks_come_before_the_file_is_read_whole(tmp_path: Path) -> None:
    # An hour would be 230 MB as float32; the first block must not need it.
    path = tmp_path / "x.flac"
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1) as file:
        for _ in range(60):
            file.write(np.zeros(60 * SAMPLE_RATE, np.float32))
    blocks = file_blocks(path, 1600)
    whole_s = _seconds(lambda: sum(map(len, file_blocks(path, 1600))))
    assert _seconds(lambda: next(blocks)) < whole_s / 5


def _seconds(action) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


@quick
@given(
    st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000, 96000]),
    st.integers(1, 3),
    st.lists(st.integers(0, 3000), min_size=1, max_size=20),
    st.booleans(),
)
def test_resampling_does_not_depend_on_the_blocks(rate: int, channels: int, sizes: list[int], integer: bool) -> None:
    total = 20000
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, (total, channels)).astype(np.float32)
    sound = (sound * 32767).astype(np.int16) if integer else sound
    once = StreamResampler(rate, channels)
    whole = np.concatenate([once.process(sound), once.flush()])
    cuts = np.unique(np.clip(np.cumsum(sizes), 0, total))
    often = StreamResampler(rate, channels)
    parts = [often.process(each) for each in np.split(sound, cuts)] + [often.flush()]
    assert all(each.dtype == np.float32 for each in parts)
    assert len(whole) == pytest.approx(total * SAMPLE_RATE / rate, abs=1.5)
    assert np.allclose(np.concatenate(parts), whole, atol=1e-5)


def test_a_stream_with_samples_that_are_no_numbers_goes_on() -> None:
    resampler = StreamResampler(48000, 2)
    sound = np.full((4800, 2), 0.25, np.float32)
    sound[100, 0], sound[200] = np.nan, np.inf
    heard = np.concatenate([resampler.process(sound), resampler.process(np.full((4800, 2), 0.25)), resampler.flush()])
    assert np.isfinite(heard).all() and resampler.nonfinite == 2


@pytest.mark.parametrize(
    ("width", "sent"),
    [
        (1, b"\x00\x40\x80\xff"),
        (2, b"\x00\x80\x00\xc0\x00\x00\x00\x7f"),
        (3, b"\x00\x00\x80\x00\x00\xc0\x00\x00\x00\x00\x00\x7f"),
        (4, b"\x00\x00\x00\x80\x00\x00\x00\xc0\x00\x00\x00\x00\x00\x00\x00\x7f"),
    ],
)
def test_raw_integers_of_each_width(width: int, sent: bytes) -> None:
    found = pcm_samples(sent, width)
    assert found.dtype == np.float32 and found.tolist() == [-1.0, -0.5, 0.0, 127 / 128]
    assert pcm_samples(b"", width).shape == (0,)


# --- level and writing ---


def test_levels() -> None:
    found = quality(tone(SAMPLE_RATE))
    assert found.peak_dbfs == pytest.approx(-6.02, abs=0.01) and found.rms_dbfs == pytest.approx(-9.03, abs=0.01)
    assert found.clipped_fraction == 0
    assert quality(np.zeros(0, np.float32)).peak_dbfs == quality(np.zeros(10, np.float32)).rms_dbfs == -np.inf
    assert quality(np.clip(10 * tone(SAMPLE_RATE), -1, 1)).clipped_fraction > 0.8


def test_silent_and_clipped_clips() -> None:
    assert check_clip(tone(SAMPLE_RATE), "x.wav") == quality(tone(SAMPLE_RATE))
    assert check_clip(0.003 * tone(SAMPLE_RATE), "x.wav").peak_dbfs < -50
    for quiet in (np.zeros(100, np.float32), 0.001 * tone(SAMPLE_RATE)):
        with pytest.raises(AudioError, match=r"x\.wav: silent"):
            check_clip(quiet, "x.wav")
    with pytest.raises(AudioError, match=r"x\.wav: clipped \(\d+% of"):
        check_clip(np.clip(10 * tone(SAMPLE_RATE), -1, 1), "x.wav")


@quick
@given(st.lists(st.floats(-1.5, 1.5, width=32), min_size=1, max_size=200))
def test_what_is_written_is_read_again(tmp_path: Path, values: list[float]) -> None:
    samples = np.array(values, np.float32)
    write_wav(tmp_path / "x.wav", samples)
    again = read_audio(tmp_path / "x.wav")
    assert np.abs(again - np.clip(samples, -1, 32767 / 32768)).max() <= 0.5 / 32768 + 1e-7
    write_wav(tmp_path / "y.wav", again)
    assert (tmp_path / "x.wav").read_bytes() == (tmp_path / "y.wav").read_bytes()


def test_a_wav_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WakewordError, match="cannot be written"):
        write_wav(tmp_path / "file" / "x.wav", tone(SAMPLE_RATE))
    with pytest.raises(AudioError, match="NaN"):
        write_wav(tmp_path / "x.wav", np.array([np.nan], np.float32))
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
