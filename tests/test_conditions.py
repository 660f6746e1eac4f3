"""What happens to clips on their way: only what the condition says, the same each time."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("pyroomacoustics")
pytest.importorskip("lhotse")

from wakeword.audio.clips import Clip, find_clips  # noqa: E402
from wakeword.audio.levels import active_power  # noqa: E402
from wakeword.audio.waveform import SAMPLE_RATE, write_wav  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.evaluation.conditions import (  # noqa: E402
    CLEAN,
    Condition,
    noisy,
    ordered,
    reverberation_time,
    robustness,
    rooms_by_time,
)
from wakeword.evaluation.streams import join, positive_stream  # noqa: E402


def decaying(t60_s, seconds=2.0, seed=0, direct=1.0):
    """Noise that falls by 60 dB in `t60_s`, behind 10 ms of silence."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tail = np.random.default_rng(seed).standard_normal(len(time)) * 10 ** (-3 * time / t60_s)
    tail[0] = direct * np.abs(tail).max()
    return np.concatenate([np.zeros(160), tail]).astype(np.float32)


@pytest.fixture(scope="module")
def clips(tmp_path_factory, speech_like):
    folder = tmp_path_factory.mktemp("clips")
    for index in range(6):
        quiet = np.zeros(8000, np.float32)
        spoken = np.concatenate([quiet, speech_like(0.8, index), quiet])
        write_wav(folder / f"{index}.wav", spoken * 0.3 / np.abs(spoken).max())
    return find_clips(folder)


@pytest.fixture(scope="module")
def found():
    return {condition.name: condition for condition in robustness()}


def heard(clips, condition, noise=None):
    return join(positive_stream(clips, noise=noise, snr_db=condition.snr_db, seed=4, change=condition.change))


def pieces(stream):
    return [
        stream.samples[round(event.start_s * SAMPLE_RATE) : round(event.end_s * SAMPLE_RATE)] for event in stream.events
    ]


def level_db(samples):
    return 10 * np.log10(active_power(samples))


def test_noise_comes_first_from_clean_to_the_lowest_snr_and_each_name_once():
    level = Condition("level", "-10 dBFS", change=lambda samples, rng: samples)
    names = list(ordered([level, noisy(0.0), noisy(20.0), noisy(None), noisy(7.5), noisy(20), CLEAN]))
    assert names == ["clean", "20 dB", "7.5 dB", "0 dB", "-10 dBFS"]


def test_the_conditions_of_a_report(found):
    axes = {axis: [each.name for each in group] for axis, group in itertools.groupby(found.values(), lambda c: c.axis)}
    assert list(axes) == ["noise", "reverberation", "level", "speed"]
    assert axes["noise"] == ["20 dB", "15 dB", "10 dB", "5 dB", "0 dB"]
    assert axes["level"] == ["-40 dBFS", "-30 dBFS", "-20 dBFS", "-10 dBFS", "0 dBFS"]
    assert axes["speed"] == ["speed 0.8", "speed 0.9", "speed 1.1", "speed 1.25"]
    assert [name.rpartition(", ")[0] for name in axes["reverberation"]] == [
        "T60 under 0.3 s",
        "T60 0.3 to 0.6 s",
        "T60 over 0.6 s",
    ]
    assert all(int(name.split(", ")[1].removesuffix(" simulated")) >= 5 for name in axes["reverberation"])


def test_under_a_clip_lies_the_same_noise_at_each_snr(clips):
    noise = (np.random.default_rng(3).standard_normal(5 * SAMPLE_RATE) * 0.1).astype(np.float32)
    clean = pieces(heard(clips, CLEAN))
    at = {snr: pieces(heard(clips, noisy(snr), noise)) for snr in (20.0, 10.0)}
    for index, dry in enumerate(clean):
        more, less = at[10.0][index] - dry, at[20.0][index] - dry
        assert np.corrcoef(more, less)[0, 1] > 0.9999
        assert 20 * np.log10(np.std(more) / np.std(less)) == pytest.approx(10, abs=0.01)


@pytest.mark.parametrize("dbfs", [-40, -30, -20])
def test_a_level_is_that_of_the_speech(clips, found, dbfs):
    for samples in pieces(heard(clips, found[f"{dbfs} dBFS"])):
        assert level_db(samples) == pytest.approx(dbfs, abs=0.1)


def test_what_does_not_fit_is_clipped(clips, found):
    for samples in pieces(heard(clips, found["0 dBFS"])):
        assert np.abs(samples).max() == 1 and np.mean(np.abs(samples) == 1) > 0.05


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.25])
def test_speed_changes_length_and_pitch(clips, found, factor):
    clean, fast = heard(clips, CLEAN), heard(clips, found[f"speed {factor:g}"])
    for before, after in zip(clean.events, fast.events, strict=True):
        assert after.end_s - after.start_s == pytest.approx((before.end_s - before.start_s) / factor, abs=1e-3)
    tone = np.sin(2 * np.pi * 1000 * np.arange(SAMPLE_RATE) / SAMPLE_RATE).astype(np.float32)
    changed = found[f"speed {factor:g}"].change(tone, np.random.default_rng(0))
    spectrum = np.abs(np.fft.rfft(changed * np.hanning(len(changed))))
    assert np.argmax(spectrum) * SAMPLE_RATE / len(changed) == pytest.approx(1000 * factor, abs=2)


def test_a_room_is_heard_and_as_loud_as_before(clips, found):
    clean = pieces(heard(clips, CLEAN))
    likeness = []
    for name in (name for name in found if "T60" in name):
        once, again = heard(clips, found[name]), heard(clips, found[name])
        np.testing.assert_array_equal(once.samples, again.samples)
        alike = []
        for wet, dry in zip(pieces(once), clean, strict=True):
            assert len(wet) == len(dry) and level_db(wet) == pytest.approx(level_db(dry), abs=0.5)
            alike.append(np.corrcoef(wet, dry)[0, 1])
        assert max(alike) < 0.9999
        likeness.append(np.mean(alike))
    assert likeness[0] > likeness[-1], "the dry class sounds more like the clip"


def test_the_rooms_are_not_those_of_training(found):
    from wakeword.augmentation.augment import simulated_rooms
    from wakeword.training.train import ROOMS

    heard_in_training = {len(room): room for room in simulated_rooms(ROOMS)}
    for rooms in rooms_by_time((), Skipped()).values():
        for room in rooms:
            assert not np.array_equal(room, heard_in_training.get(len(room)))


@given(st.floats(0.1, 1.2), st.integers(0, 50), st.floats(1e-3, 1.0))
@settings(max_examples=30)
def test_the_time_of_a_known_decay_at_any_level(t60_s, seed, gain):
    response = decaying(t60_s, seed=seed)
    seconds = reverberation_time(response)
    assert seconds == pytest.approx(t60_s, rel=0.12)
    assert reverberation_time(np.concatenate([np.zeros(777), gain * response])) == pytest.approx(seconds, rel=1e-3)


def test_a_decay_that_cannot_be_seen_has_no_time():
    # A direct path over stationary noise, as some published responses have it; and one that was cut off.
    floor = np.random.default_rng(0).standard_normal(SAMPLE_RATE).astype(np.float32) * 0.01
    floor[100] = 1.0
    assert reverberation_time(floor) is None
    assert reverberation_time(decaying(4.0, seconds=0.5)) is None
    click = np.zeros(1000, np.float32)
    click[3] = -1
    assert reverberation_time(click) == 0.0 and reverberation_time(np.zeros(100, np.float32)) == 0.0


def test_recorded_responses_are_classed_beside_the_simulated(tmp_path):
    for name, t60_s in (("car", 0.15), ("office", 0.45), ("hall", 1.1), ("hall2", 0.9)):
        write_wav(tmp_path / f"{name}.wav", 0.5 * decaying(t60_s) / 4)
    (tmp_path / "damaged.wav").write_bytes(b"RIFF")
    skipped = Skipped()
    rooms = rooms_by_time(find_clips(tmp_path), skipped)
    recorded = {name: len(kept) for name, kept in rooms.items() if "recorded" in name}
    assert recorded == {
        "T60 under 0.3 s, 1 recorded": 1,
        "T60 0.3 to 0.6 s, 1 recorded": 1,
        "T60 over 0.6 s, 2 recorded": 2,
    }
    assert list(skipped.reasons) == [str(tmp_path / "damaged.wav")] and len(rooms) == 6
    with pytest.raises(WakewordError, match="none of 1 impulse responses can be used"):
        robustness([Clip(tmp_path / "damaged.wav")])


def test_the_published_responses_are_classed(shared):
    rooms = rooms_by_time(find_clips(shared / "rir" / "speechbrain"), Skipped())
    assert sum(len(kept) for name, kept in rooms.items() if "recorded" in name) == 4
    assert len(rooms["T60 not measurable, 2 recorded"]) == 2, "their own noise covers the decay"
