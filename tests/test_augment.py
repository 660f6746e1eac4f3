from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lhotse")
pytest.importorskip("pyroomacoustics")

from hypothesis import example, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.augmentation.augment import (  # noqa: E402
    Augmentation,
    at_level,
    at_pitch,
    at_speed,
    augment,
    mask,
    piece_of,
    read_recordings,
    reverberated,
    simulated_rooms,
    through_channel,
)
from wakeword.errors import Skipped, WakewordError  # noqa: E402

SEEDS = st.integers(0, 10_000)
DRY = dict(rir_probability=0.0, noise_probability=0.0)


def tone(hz, seconds, level=0.1):
    return (level * np.sqrt(2) * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def level_of(samples):
    return 10 * np.log10(np.mean(samples.astype(np.float64) ** 2))


def share_at(samples, hz):
    """The mean power of the tone of this frequency (a whole number of periods) in a recording."""
    time = np.arange(len(samples)) / 16000
    return 2 * np.abs(np.mean(samples.astype(np.float64) * np.exp(-2j * np.pi * hz * time))) ** 2


@given(snr=st.floats(-10, 35), seed=SEEDS, speech_level=st.floats(0.001, 0.5), noise_level=st.floats(0.001, 0.5))
def test_noise_comes_at_the_snr_asked_for(snr, seed, speech_level, noise_level):
    settings = Augmentation(
        noise_probability=1.0,
        snr_db=(snr, snr),
        rir_probability=0.0,
        level_dbfs=(-25.0, -25.0),
        noise=(tone(1600, 3, noise_level),),
    )
    mixed = augment(tone(400, 1, speech_level), settings, np.random.default_rng(seed))
    assert mixed.dtype == np.float32 and len(mixed) == 16000
    found = 10 * np.log10(share_at(mixed, 400) / share_at(mixed, 1600))
    assert found == pytest.approx(snr, abs=0.1)
    assert level_of(mixed) == pytest.approx(-25, abs=0.05)
    # Quiet around a phrase does not count.
    spoken = slice(16000, 32000)
    around = np.concatenate([np.zeros(16000, np.float32), tone(400, 1, speech_level), np.zeros(16000, np.float32)])
    mixed = augment(around, settings, np.random.default_rng(seed), spoken)[spoken]
    assert 10 * np.log10(share_at(mixed, 400) / share_at(mixed, 1600)) == pytest.approx(snr, abs=0.1)


@given(low=st.floats(-60, -30), span=st.floats(0, 20), seed=SEEDS)
@example(low=-30.0, span=20.0, seed=236)
def test_the_level_lies_where_asked(speech_like, low, span, seed):
    samples = speech_like(1, 3)
    out = augment(samples, Augmentation(**DRY, level_dbfs=(low, low + span)), np.random.default_rng(seed))
    assert low - 0.1 <= level_of(out) <= low + span + 0.1
    # Only the level changed, and peaks that do not fit are clipped.
    loudest = np.argmax(np.where(np.abs(out) < 1, np.abs(out), 0))
    np.testing.assert_allclose(out, np.clip(samples * (out[loudest] / samples[loudest]), -1, 1), atol=1e-5)


def test_levels_snrs_and_chances_spread_over_what_is_asked(speech_like):
    samples = speech_like(0.5, 1)
    settings = Augmentation(noise_probability=0.5, rir_probability=0.0, noise=(tone(6000, 2),), level_dbfs=(-45, -25))
    outs = [augment(samples, settings, np.random.default_rng(seed)) for seed in range(300)]
    levels = np.array([level_of(out) for out in outs])
    assert levels.min() < -43 and levels.max() > -27 and abs(levels.mean() + 35) < 1.5
    noisy = np.mean([share_at(out, 6000) / np.mean(out**2) > 1e-3 for out in outs])
    assert 0.4 < noisy < 0.6


@given(seed=SEEDS)
@settings(max_examples=20)
def test_the_same_seed_gives_the_same_sound(speech_like, seed):
    rir = (np.exp(-np.arange(1600) / 200) * np.random.default_rng(1).standard_normal(1600)).astype(np.float32)
    chances = Augmentation(
        rir_probability=0.7, simulated_rir_share=0.5, noise=(speech_like(2, 8),), rirs=(rir,), rooms=simulated_rooms(3)
    )
    samples = speech_like(0.6, 2)
    before = samples.copy()
    one = augment(samples, chances, np.random.default_rng(seed))
    np.testing.assert_array_equal(augment(samples, chances, np.random.default_rng(seed)), one)
    np.testing.assert_array_equal(samples, before)
    assert one.shape == samples.shape and one.dtype == np.float32 and np.isfinite(one).all()
    assert not np.array_equal(one, augment(samples, chances, np.random.default_rng(seed + 1)))


def test_a_simulated_room_keeps_length_and_time():
    noise = np.random.default_rng(4).standard_normal(16000).astype(np.float32)
    samples = np.concatenate([np.zeros(8000, np.float32), 0.1 * noise])
    rooms = simulated_rooms(8)
    for seed, response in enumerate(rooms):
        room = Augmentation(rir_probability=1.0, noise_probability=0.0, rooms=(response,))
        out = augment(samples, room, np.random.default_rng(seed))
        assert len(out) == len(samples)
        assert np.corrcoef(out, samples)[0, 1] < 0.999, "no room was heard"
        # The loudest path stays in its place: where a phrase ends is trained by the frame.
        lag = np.argmax(np.correlate(out.astype(float), samples.astype(float)[400:-400], "valid")) - 400
        assert abs(lag) <= 160


def test_simulated_rooms_hang_on_the_seed_alone():
    """pyroomacoustics draws from numpy's global state where one lets it."""
    simulated_rooms.cache_clear()
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    rooms = simulated_rooms(3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.random.seed(2)  # as a resumed run finds it elsewhere
    simulated_rooms.cache_clear()
    for one, again in zip(rooms, simulated_rooms(3), strict=True):
        np.testing.assert_array_equal(one, again)
        assert one.dtype == np.float32 and np.abs(one).max() == 1 and 0.05 < len(one) / 16000 < 1.2
    assert not np.array_equal(rooms[0], rooms[1])
    others = simulated_rooms(3, seed=1)
    assert not any(np.array_equal(one, other) for one, other in zip(rooms, others, strict=True))
    for one, first in zip(rooms, simulated_rooms(5), strict=False):
        np.testing.assert_array_equal(one, first)


def direct_to_reverberant_db(response):
    """The power of the loudest path, and 2.5 ms around it, over that of all that comes later."""
    peak, power = int(np.argmax(np.abs(response))), response.astype(np.float64) ** 2
    return 10 * np.log10(power[max(0, peak - 40) : peak + 40].sum() / power[peak + 40 :].sum())


def test_simulated_rooms_go_from_dry_to_reverberant():
    rooms = simulated_rooms(30)
    ratios = np.array([direct_to_reverberant_db(room) for room in rooms])
    assert ratios.min() < -4 and ratios.max() > 8 and 3 < ratios.std() < 10
    assert 2 * min(map(len, rooms)) < max(map(len, rooms))
    for room in rooms:
        power = room.astype(np.float64) ** 2
        peak = int(np.argmax(power))
        # It dies away: little is left where it is cut off.
        assert power[-len(room) // 8 :].sum() < 0.05 * power[peak:].sum()


def test_rooms_come_from_both_kinds_by_their_share_and_none_where_there_is_none():
    click = np.zeros(3000, np.float32)
    click[0] = 0.5
    recorded, simulated = np.float32([1, 0, 0, 0.5]), np.float32([1, 0, 0, 0, 0, 0.5])
    both = dict(rir_probability=0.5, noise_probability=0.0, simulated_rir_share=0.8)
    settings = Augmentation(**both, rirs=(recorded,), rooms=(simulated,))
    outs = [augment(click, settings, np.random.default_rng(seed)) for seed in range(400)]
    shares = [np.mean([abs(out[place]) > 1e-3 for out in outs]) for place in (3, 5)]
    assert abs(shares[0] - 0.1) < 0.05 and abs(shares[1] - 0.4) < 0.08
    bare = augment(click, Augmentation(rir_probability=1.0, noise_probability=0.0), np.random.default_rng(0))
    assert np.count_nonzero(np.abs(bare) > 1e-6) == 1


@given(delay=st.integers(0, 3000), tail=st.integers(1, 5000), count=st.integers(1, 4000))
def test_a_recorded_room_is_heard_in_time_with_its_loudest_path(delay, tail, count):
    rng = np.random.default_rng(delay)
    rir = np.concatenate([np.zeros(delay), [1.0], rng.uniform(-0.5, 0.5, tail) * np.exp(-np.arange(tail) / 300)])
    samples = rng.standard_normal(count).astype(np.float32)
    out = reverberated(samples, rir.astype(np.float32))
    np.testing.assert_allclose(out, np.convolve(samples, rir)[delay : delay + count], atol=1e-3)
    assert out.dtype == np.float32 and len(out) == count


@given(rms=st.floats(-90, 0), wanted=st.floats(-60, 10))
def test_levelling_reaches_its_level_and_never_full_scale(rms, wanted):
    noise = np.random.default_rng(6).standard_normal(4000).astype(np.float32) * np.float32(10 ** (rms / 20))
    out = at_level(noise, wanted)
    assert np.abs(out).max() <= 1.0
    if wanted < -15:
        assert level_of(out) == pytest.approx(wanted, abs=0.01)


def test_silence_stays_silence_and_nothing_stays_nothing():
    assert not at_level(np.zeros(100, np.float32), -20).any()
    assert len(at_level(np.zeros(0, np.float32), -20)) == 0
    settings = Augmentation(noise_probability=1.0, rir_probability=0.0, noise=(tone(500, 1),))
    assert not augment(np.zeros(1600, np.float32), settings, np.random.default_rng(0)).any()
    quiet = Augmentation(noise_probability=1.0, rir_probability=0.0, noise=(np.zeros(100, np.float32),))
    assert np.isfinite(augment(tone(500, 1), quiet, np.random.default_rng(0))).all()


@given(length=st.integers(1, 300), wanted=st.integers(1, 1000), seed=SEEDS)
def test_a_piece_is_a_stretch_of_its_recording(length, wanted, seed):
    recording = np.arange(length, dtype=np.float32)
    piece = piece_of([recording], wanted, np.random.default_rng(seed))
    assert len(piece) == wanted
    np.testing.assert_array_equal(piece[1:], (piece[:-1] + 1) % length if wanted > length else piece[:-1] + 1)


def test_pieces_begin_everywhere():
    rng = np.random.default_rng(0)
    starts = {int(piece_of([np.arange(10.0)], 8, rng)[0]) for _ in range(200)}
    assert starts == {0, 1, 2}


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch(factor):
    out = at_speed(tone(500, 2), factor)
    assert len(out) == pytest.approx(32000 / factor, abs=2)
    middle = out[4000:20000]
    spectrum = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    assert spectrum.argmax() * 16000 / len(middle) == pytest.approx(500 * factor, abs=2)


class Channel:
    """A random generator that lets `through_channel` take this kind: 0 telephone, 1 codec, 2 and 3 microphones."""

    def __init__(self, kind, seed):
        self.kind, self.rng = kind, np.random.default_rng(seed)

    def integers(self, *_):
        return self.kind

    def __getattr__(self, name):
        return getattr(self.rng, name)


TELEPHONE, CODEC, MICROPHONE = range(3)


@given(seed=SEEDS, count=st.integers(1, 20_000), level=st.floats(-70, 0))
@settings(max_examples=40)
def test_any_channel_keeps_the_length_and_gives_numbers(speech_like, seed, count, level):
    samples = speech_like(20_000 / 16000, seed % 7)[:count] * np.float32(10 ** (level / 20))
    before = samples.copy()
    for kind in range(4):
        heard = through_channel(samples, Channel(kind, seed))
        assert heard.dtype == np.float32 and heard.shape == samples.shape and np.isfinite(heard).all()
        assert not through_channel(np.zeros(count, np.float32), Channel(kind, seed)).any(), "silence makes a sound"
    np.testing.assert_array_equal(samples, before)


def test_the_telephone_hears_nothing_above_4_khz():
    low, high = tone(1000, 1), tone(6000, 1)
    heard = through_channel(low + high, Channel(TELEPHONE, 0))
    assert share_at(heard, 6000) < 1e-4 * share_at(high, 6000)
    assert share_at(heard, 1000) == pytest.approx(share_at(low, 1000), rel=0.1)
    assert share_at(through_channel(low + high, Channel(MICROPHONE, 0)), 6000) > 1e-3 * share_at(high, 6000)


@pytest.mark.parametrize(("kind", "likeness"), [(TELEPHONE, 0.7), (CODEC, 0.95), (MICROPHONE, 0.7)])
def test_a_channel_keeps_speech_in_its_place_and_at_about_its_level(speech_like, kind, likeness):
    for seed in range(6):
        spectrum = np.fft.rfft(speech_like(1.5, seed))
        spectrum[4500:] = 0  # what lies above 3 kHz
        samples = np.fft.irfft(spectrum).astype(np.float32)
        heard = through_channel(samples, Channel(kind, seed))
        assert likeness < np.corrcoef(samples, heard)[0, 1] < 0.99999, seed
        assert abs(level_of(heard) - level_of(samples)) < 8, seed
        lag = np.argmax(np.correlate(heard.astype(float), samples.astype(float)[200:-200], "valid")) - 200
        assert abs(lag) <= 16, "the phrase has moved by more than a millisecond"


def test_each_microphone_has_its_own_colour():
    rng = np.random.default_rng(1)
    noise = rng.standard_normal(16000).astype(np.float32)
    gains = []
    for seed in range(8):
        heard = through_channel(noise, Channel(MICROPHONE, seed))
        bands = [np.abs(np.fft.rfft(each)[:8000].reshape(16, 500)) ** 2 for each in (heard, noise)]
        gains.append(10 * np.log10(bands[0].mean(axis=1) / bands[1].mean(axis=1)))
    spread = np.std(gains, axis=0)
    assert spread.min() > 0.5 and np.mean(spread) > 2


def test_channels_come_as_often_as_asked_and_all_kinds_of_them():
    samples, level = tone(1000, 0.2) + tone(6000, 0.2), (-25.0, -25.0)
    plain = augment(samples, Augmentation(**DRY, level_dbfs=level), np.random.default_rng(0))
    settings = Augmentation(**DRY, level_dbfs=level, channel_probability=0.4)
    outs = [augment(samples, settings, np.random.default_rng(seed)) for seed in range(300)]
    changed = [out for out in outs if not np.allclose(out, plain, atol=1e-6)]
    assert 0.32 < len(changed) / 300 < 0.48
    assert all(len(out) == len(samples) and level_of(out) == pytest.approx(-25, abs=0.1) for out in outs)
    # The telephone does the same to the same sound each time, the codec one of a few things, a microphone never does.
    _, counts = np.unique(np.stack(changed), axis=0, return_counts=True)
    assert 0.12 < counts.max() / len(changed) < 0.4
    assert 0.3 < (counts == 1).sum() / len(changed) < 0.8


@pytest.mark.parametrize("chance", ["channel_probability", "noise_probability", "rir_probability"])
def test_nothing_stays_nothing_in_every_channel_room_and_noise(chance):
    certain = {**DRY, chance: 1.0}
    settings = Augmentation(**certain, noise=(tone(500, 1),), rooms=(np.float32([1, 0.5]),))
    for seed in range(8):
        out = augment(np.zeros(0, np.float32), settings, np.random.default_rng(seed))
        assert out.shape == (0,) and out.dtype == np.float32


@given(frames=st.integers(1, 200), seed=SEEDS)
def test_masks_are_as_wide_as_asked_and_the_rest_is_untouched(frames, seed):
    features = np.random.default_rng(1).standard_normal((frames, 30)).astype(np.float32)
    before = features.copy()
    widths = Augmentation(time_masks=2, time_mask_frames=5, frequency_masks=1, frequency_mask_bands=4)
    masked = mask(features, widths, np.random.default_rng(seed))
    np.testing.assert_array_equal(features, before)
    changed = masked != features
    rows, columns = changed.all(axis=1), changed.all(axis=0)
    assert (rows.sum() <= 10 or frames <= 10) and (columns.sum() <= 4 or rows.all())
    outside = changed[~rows][:, ~columns]
    assert not outside.any()
    if changed.any():
        np.testing.assert_allclose(masked[changed], features.mean(), atol=1e-6)


def test_masks_do_mask():
    features = np.random.default_rng(1).standard_normal((100, 30)).astype(np.float32)
    shares = [(mask(features, Augmentation(), np.random.default_rng(seed)) != features).mean() for seed in range(50)]
    assert 0.2 < np.mean(shares) < 0.6
    none = Augmentation(time_masks=0, frequency_masks=0)
    np.testing.assert_array_equal(mask(features, none, np.random.default_rng(0)), features)


def test_recordings_for_testing_stay_out(tmp_path, write_corpus):
    recordings = {f"r{i}": np.full(16000, 0.01 * (i + 1), np.float32) for i in range(4)}
    manifest = write_corpus(tmp_path / "noise", recordings, splits={"r1": "test", "r3": "test"})
    found = sorted(round(float(samples[0]), 3) for samples in read_recordings([manifest]))
    assert found == [0.01, 0.03]


def test_recordings_are_limited_by_their_hours_and_chosen_by_the_seed(tmp_path):
    for i in range(8):
        write_wav(tmp_path / f"{i}.wav", np.full(16000, 0.01 * (i + 1), np.float32))
    few = read_recordings([tmp_path], most_hours=2.5 / 3600)
    assert len(few) == 3
    chosen = {tuple(round(float(s[0]), 2) for s in read_recordings([tmp_path], 2.5 / 3600, seed)) for seed in range(6)}
    assert len(chosen) > 1
    assert len(read_recordings([tmp_path])) == 8


def test_recordings_that_cannot_be_read_are_passed_over_until_none_is_left(tmp_path):
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    with pytest.raises(WakewordError, match="none of the recordings can be heard.*broken.wav"):
        read_recordings([tmp_path])
    write_wav(tmp_path / "silent.wav", np.zeros(16000, np.float32))
    with pytest.raises(WakewordError, match="silent.wav: silent"):
        read_recordings([tmp_path / "silent.wav"])
    write_wav(tmp_path / "good.wav", tone(300, 1))
    skipped, read = Skipped(), []
    assert len(read_recordings([tmp_path], skipped=skipped, read=read)) == 1
    assert sorted(skipped.reasons) == [str(tmp_path / name) for name in ("broken.wav", "silent.wav")]
    assert [clip.path.name for clip in read] == ["good.wav"]
    assert read_recordings([]) == ()
    with pytest.raises(WakewordError, match="no such file"):
        read_recordings([tmp_path / "none"])


@pytest.mark.parametrize("semitones", [-4.0, 0.0, 3.0])
def test_pitch_moves_what_is_said_up_or_down_at_the_same_speed(semitones):
    time = np.arange(24000) / 16000
    tone = (0.1 * np.sin(2 * np.pi * 500 * time) * (time > 0.5)).astype(np.float32)
    moved = at_pitch(tone, semitones)
    assert len(moved) == len(tone) and moved.dtype == np.float32
    loudest = np.argmax(np.abs(np.fft.rfft(moved[12000:]))) * 16000 / 12000
    assert loudest == pytest.approx(500 * 2 ** (semitones / 12), rel=0.01)
    assert np.abs(moved[:7000]).max() < 0.01 < np.abs(moved[9000:]).max(), "it begins when it began"
    assert len(at_pitch(tone[:0], semitones)) == 0
