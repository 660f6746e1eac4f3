import os
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio.clips import Clip, find_clips
from wakeword.audio.levels import active_power, active_span, noise_power
from wakeword.audio.waveform import SAMPLE_RATE, read_audio, write_wav
from wakeword.errors import AudioError, Skipped
from wakeword.evaluation.streams import (
    TAIL_S,
    join,
    mix_at_snr,
    negative_stream,
    noise_bed,
    positive_stream,
    score_stream,
)

SHARED = Path(__file__).parents[1] / ".." / "shared" / "corpora"


def speech_like(seed=0, before=0.5, active=0.6, after=0.7, level=0.1, floor=1e-4):
    """Modulated noise between two stretches of floor."""
    rng = np.random.default_rng(seed)
    counts = [int(x * SAMPLE_RATE) for x in (before, active, after)]
    samples = rng.standard_normal(sum(counts)) * floor
    hum = 0.6 + 0.4 * np.sin(np.arange(counts[1]) / SAMPLE_RATE * 2 * np.pi * 5)
    samples[counts[0] : counts[0] + counts[1]] += rng.standard_normal(counts[1]) * hum * level
    return samples.astype(np.float32)


def db(ratio):
    return 10 * np.log10(ratio)


@pytest.fixture
def clips(tmp_path):
    for i in range(4):
        write_wav(tmp_path / f"{i}.wav", speech_like(i, level=0.05 * (i + 1)))
    return find_clips(tmp_path)


def test_active_power_is_that_of_the_speech_not_of_the_clip():
    samples = speech_like(active=0.6, before=2, after=2)
    inside = samples[2 * SAMPLE_RATE : int(2.6 * SAMPLE_RATE)].astype(np.float64)
    assert abs(db(active_power(samples) / np.mean(inside**2))) < 0.5
    assert db(active_power(samples) / np.mean(samples.astype(np.float64) ** 2)) > 8
    longer = np.concatenate([samples, samples[: 2 * SAMPLE_RATE]])
    assert active_power(longer) == pytest.approx(active_power(samples), rel=0.02)


def test_active_power_of_stationary_noise_is_its_mean_power_and_clicks_do_not_count():
    noise = (np.random.default_rng(1).standard_normal(SAMPLE_RATE) * 0.01).astype(np.float32)
    assert abs(db(active_power(noise) / 1e-4)) < 0.1
    samples = speech_like(level=0.02)
    clicked = samples.copy()
    clicked[2000:2010] = 1.0
    assert abs(db(active_power(clicked) / active_power(samples))) < 0.5
    assert active_power(np.zeros(5000)) == 0.0 and active_power(np.zeros(0)) == 0.0


def test_noise_power_leaves_out_padding():
    noise = np.random.default_rng(1).standard_normal(SAMPLE_RATE) * 0.1
    padded = np.concatenate([noise, np.zeros(4 * SAMPLE_RATE)])
    assert noise_power(padded) == pytest.approx(0.01, rel=0.05)
    assert noise_power(np.zeros(1000)) == 0.0


@pytest.mark.parametrize("floor", [0.0, 1e-4, 3e-3, 1e-2])
@pytest.mark.parametrize("click", [False, True])
def test_active_span_finds_the_phrase(floor, click):
    samples = speech_like(before=1.0, active=0.6, after=0.9, floor=floor)
    if click:
        samples[[int(0.2 * SAMPLE_RATE), int(2.3 * SAMPLE_RATE)]] = 1.0
    # Without any floor the phrase's own weak ends are taken for it.
    assert active_span(samples) == pytest.approx((1.0, 1.6), abs=0.05 if floor else 0.1)


def test_active_span_hears_the_phrase_over_rumble_and_beside_padding():
    samples = speech_like(before=1.0, active=0.6, after=0.9, floor=1e-3)
    samples += np.sin(np.arange(len(samples)) / SAMPLE_RATE * 2 * np.pi * 50).astype(np.float32) * 0.2
    samples = np.concatenate([samples, np.zeros(SAMPLE_RATE, np.float32)])
    assert active_span(samples) == pytest.approx((1.0, 1.6), abs=0.05)


def test_active_span_bridges_short_gaps_and_drops_far_sounds():
    word = speech_like(before=0, active=0.3, after=0)
    gap, long = (np.zeros(int(s * SAMPLE_RATE), np.float32) for s in (0.2, 0.8))
    samples = np.concatenate([long, word * 0.3, long, word, gap, word * 0.7, long])
    start, end = active_span(samples)
    assert start == pytest.approx(1.9, abs=0.05)
    assert end == pytest.approx(2.7, abs=0.05)


def test_active_span_of_stationary_or_tiny_clips_is_all():
    noise = np.random.default_rng(2).standard_normal(SAMPLE_RATE) * 0.1
    assert active_span(noise) == (0.0, 1.0)
    assert active_span(np.zeros(SAMPLE_RATE)) == (0.0, 1.0)
    assert active_span(np.zeros(160)) == (0.0, 0.01)
    assert active_span(np.zeros(0)) == (0.0, 0.0)


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 10.0, 25.0])
def test_mix_has_the_asked_snr(snr_db):
    speech = speech_like(before=1, after=1, level=0.05)
    noise = (np.random.default_rng(3).standard_normal(7001) * 0.3).astype(np.float32)  # shorter: looped
    mixed = mix_at_snr(speech, noise, snr_db, seed=5)
    assert mixed.dtype == np.float32 and len(mixed) == len(speech)
    added = mixed - speech
    word = speech[SAMPLE_RATE : int(1.6 * SAMPLE_RATE)].astype(np.float64)
    assert db(np.mean(word**2) / np.mean(added.astype(np.float64) ** 2)) == pytest.approx(snr_db, abs=0.5)
    assert not np.array_equal(mixed, mix_at_snr(speech, noise, snr_db, seed=6))
    assert np.array_equal(mixed, mix_at_snr(speech, noise, snr_db, seed=5))


def test_mix_that_would_clip_is_scaled_down():
    speech = speech_like(level=0.3)
    noise = np.random.default_rng(3).standard_normal(SAMPLE_RATE).astype(np.float32)
    mixed = mix_at_snr(speech, noise, -10)
    assert np.abs(mixed).max() == pytest.approx(0.99, abs=1e-3)


def test_silent_noise_is_refused():
    for noise in (np.zeros(0), np.zeros(5000)):
        with pytest.raises(AudioError):
            mix_at_snr(speech_like(), noise, 10)


def test_stream_holds_every_clip_where_it_says(clips):
    stream = join(positive_stream(clips, seed=1))
    assert [e.clip.path.name for e in stream.events] == ["0.wav", "1.wav", "2.wav", "3.wav"]
    before = 0.0
    for event in stream.events:
        assert 0.499 <= event.start_s - before <= 1.501
        clip = read_audio(event.clip.path)
        begin = round(event.start_s * SAMPLE_RATE)
        there = stream.samples[begin : round(event.end_s * SAMPLE_RATE)]
        assert np.array_equal(there[80:-80], clip[80:-80])  # but for the fades at its ends
        assert event.speech_end_s - event.start_s == pytest.approx(1.1, abs=0.05)
        pause = stream.samples[round(before * SAMPLE_RATE) : begin]
        assert 0 < np.abs(pause).max() < 1e-3  # faint, not digital zero
        before = event.end_s
    assert len(stream.samples) / SAMPLE_RATE - before == pytest.approx(TAIL_S, abs=1e-3)


def test_stream_is_seeded_and_noise_leaves_the_pauses_alone(clips):
    noise = (np.random.default_rng(3).standard_normal(3 * SAMPLE_RATE) * 0.1).astype(np.float32)
    clean, again, other = (join(positive_stream(clips, seed=s)) for s in (1, 1, 2))
    assert np.array_equal(clean.samples, again.samples)
    assert clean.events[-1].start_s != other.events[-1].start_s
    noisy = join(positive_stream(clips, seed=1, noise=noise, snr_db=10))
    assert noisy.events == clean.events


def test_noisy_stream_has_the_snr_at_each_clip_and_noise_in_the_pauses(clips):
    noise = (np.random.default_rng(3).standard_normal(3 * SAMPLE_RATE) * 0.1).astype(np.float32)
    clean = join(positive_stream(clips, seed=1))
    noisy = join(positive_stream(clips, seed=1, noise=noise, snr_db=10))
    added = noisy.samples.astype(np.float64) - clean.samples
    for event in clean.events:
        begin = round(event.start_s * SAMPLE_RATE)
        word = clean.samples[begin + SAMPLE_RATE // 2 : begin + int(1.1 * SAMPLE_RATE)].astype(np.float64)
        under = added[begin : round(event.end_s * SAMPLE_RATE)]
        assert db(np.mean(word**2) / np.mean(under**2)) == pytest.approx(10, abs=0.5)
    frames = np.sqrt((added[: len(added) // 320 * 320].reshape(-1, 320) ** 2).mean(axis=1))
    assert frames.min() > 1e-3  # it never stops
    assert np.abs(np.diff(np.log(frames))).max() < 0.8  # and never jumps


def test_unreadable_and_silent_clips_are_skipped_and_counted(clips, tmp_path):
    (tmp_path / "damaged.wav").write_bytes(b"RIFF\x00\x00")
    write_wav(tmp_path / "silent.wav", np.zeros(SAMPLE_RATE, np.float32))
    given = find_clips(tmp_path)
    skipped = Skipped()
    assert len(join(positive_stream(given, skipped=skipped)).events) == 4
    assert len(skipped) == 2
    skipped = Skipped()
    assert len(join(negative_stream(given, skipped=skipped)).events) == 5  # silence is a fair negative
    assert len(skipped) == 1
    assert len(join(positive_stream([Clip(tmp_path / "damaged.wav")])).samples) == 0


def test_noise_bed_evens_levels_and_is_cut(tmp_path):
    rng = np.random.default_rng(4)
    for name, level in (("loud", 0.3), ("faint", 0.001)):
        write_wav(tmp_path / f"{name}.wav", (rng.standard_normal(SAMPLE_RATE) * level).astype(np.float32))
    write_wav(tmp_path / "none.wav", np.zeros(SAMPLE_RATE, np.float32))
    skipped = Skipped()
    bed = noise_bed(find_clips(tmp_path), skipped)
    assert len(bed) == 2 * SAMPLE_RATE and len(skipped) == 1
    assert abs(db(noise_power(bed[:SAMPLE_RATE]) / noise_power(bed[SAMPLE_RATE:]))) < 0.2
    assert len(noise_bed(find_clips(tmp_path), skipped, most_s=1.5)) == 1.5 * SAMPLE_RATE
    with pytest.raises(AudioError, match="silent"):
        noise_bed([Clip(tmp_path / "none.wav")], Skipped())


class Counter:
    """A detector of two phrases: for the first it scores nothing, for the second it counts frames."""

    phrases = ("nothing", "frames")

    def reset(self):
        self.heard = 0

    def scores(self, samples):
        frames = np.arange(self.heard // 640 + 1, (self.heard + len(samples)) // 640 + 1)
        self.heard += len(samples)
        return frames * 0.04, np.stack([np.zeros(len(frames)), frames], axis=1).astype(np.float32)


def test_score_stream_hears_all_and_counts_hours_of_clips(clips):
    detector, fractions = Counter(), []
    (track, other), events = score_stream(
        detector, negative_stream(clips), len(clips), lambda stage, fraction: fractions.append((stage, fraction)), "n"
    )
    assert detector.heard == len(join(negative_stream(clips)).samples)
    assert track.hours == pytest.approx(4 * 1.8 / 3600)
    assert len(events) == 4 and len(track.score) == detector.heard // 640 and not track.score.any()
    np.testing.assert_allclose(other.score * 0.04, other.time_s, rtol=1e-6)
    assert other.hours == track.hours and other.starts_s.tolist() == track.starts_s.tolist()
    assert fractions[-1] == ("n", 1.0) and [f for _, f in fractions] == sorted(f for _, f in fractions)


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real recordings in ../shared")
def test_active_span_on_real_wake_words():
    folder = SHARED / "wake-words" / "computer"
    names = sorted(os.listdir(folder))[::10]
    lengths, ends = [], []
    for name in names:
        samples = read_audio(folder / name)
        start, end = active_span(samples)
        lengths.append(end - start)
        ends.append(end / (len(samples) / SAMPLE_RATE))
    assert 0.35 < np.median(lengths) < 1.0
    assert np.mean(np.asarray(lengths) < 1.6) > 0.85
    assert np.mean(np.asarray(ends) < 0.98) > 0.8
