"""Labels of the frames of a clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lhotse")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic.encoder import Encoder  # noqa: E402
from wakeword.audio.clips import find_clips  # noqa: E402
from wakeword.audio.levels import active_span  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.augmentation.augment import Augmentation  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.training import examples  # noqa: E402
from wakeword.training.examples import LATEST_S, UNSURE_S, label, on_disk  # noqa: E402


@given(
    frame_s=st.sampled_from([0.02, 0.04, 0.05]),
    start_s=st.floats(0, 3),
    length_s=st.floats(0.1, 2),
    seconds=st.floats(0, 8),
)
def test_labels_lie_where_the_phrase_does_in_seconds(frame_s, start_s, length_s, seconds):
    end_s, middle_s = start_s + length_s, start_s + length_s / 2
    labels = label(int(seconds / frame_s), frame_s, start_s, end_s)
    assert labels.dtype == np.int8
    for index, found in enumerate(labels.tolist()):
        known_s = frame_s * (index + 1)
        edges = (middle_s, end_s, end_s + LATEST_S, end_s + LATEST_S + UNSURE_S)
        if min(abs(known_s - edge) for edge in edges) < 1e-6:
            continue  # rounding decides
        if end_s < known_s < end_s + LATEST_S:
            assert found == 1
        elif middle_s < known_s < end_s + LATEST_S + UNSURE_S:
            assert found == -1
        else:
            assert found == 0


def test_a_phrase_counts_as_long_whatever_its_frames():
    for frame_s, frames in ((0.02, 14), (0.04, 7)):
        assert (label(200, frame_s, 0.5, 1.21) == 1).sum() == frames


def test_pieces_on_disk_are_the_pieces_joined():
    rng = np.random.default_rng(0)
    pieces = [rng.standard_normal((count, 6)).astype(np.float16) for count in (3, 0, 5)]
    found = on_disk(iter(pieces))
    np.testing.assert_array_equal(found, np.concatenate(pieces))
    assert found.dtype == np.float16 and found.flags.writeable
    assert on_disk([]).shape == (0, 0) and on_disk(pieces[1:2]).shape == (0, 6)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no full device here")
def test_a_full_disk_is_one_line(monkeypatch):
    monkeypatch.setattr(examples.tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(WakewordError, match="no room.*TMPDIR"):
        on_disk([np.zeros((3, 2), np.float16)])


def test_examples_are_labelled_for_the_output_of_their_phrase_and_for_the_others(lively, small_sizes, speech_like):
    clips = [[speech_like(0.7, seed) for seed in (1, 2)], [speech_like(0.7, seed) for seed in (3, 4, 5)]]
    elsewhere = np.array([[-1, 0], [-1, -1]], np.int8)
    encoder, settings, told = lively(Encoder(small_sizes)), FeatureSettings(mels=16), []

    def made(clips, elsewhere):
        quiet = Augmentation(noise_probability=0.0, rir_probability=0.0)
        spans = [[active_span(samples) for samples in said] for said in clips]
        common = [], quiet, encoder, settings, 2, 0, lambda *at: told.append(at)
        return examples.positives(clips, spans, elsewhere, 2, *common)

    found = made(clips, elsewhere)
    assert [len(said) for said in found] == [4, 6] and told[-1] == ("clips", 1.0) and len(told) == 10
    for output, said in enumerate(found):
        for example in said:
            assert example.labels.shape == (len(example.frames), 2) and example.labels.dtype == np.int8
            assert (example.labels[:, output] == 1).sum() == 7 and (example.labels[:, output] == 0).any()
            ends = np.flatnonzero(example.labels[:, output] == 1)
            # From before the frames that do not matter, half of the phrase, to the last that is labelled as it.
            assert example.output == output and abs(example.place[1] - 1 - ends[-1]) <= 1
            assert example.place[0] < np.flatnonzero(example.labels[:, output] == -1)[0] < example.place[1]
            assert set(example.labels[:, 1 - output].tolist()) == {int(elsewhere[output, 1 - output])}
    alone = made(clips[:1], elsewhere[:1, :1])
    for mine, theirs in zip(alone[0], found[0], strict=True):
        np.testing.assert_array_equal(mine.frames, theirs.frames)
        np.testing.assert_array_equal(mine.labels[:, 0], theirs.labels[:, 0])
    assert elsewhere.tolist() == [[-1, 0], [-1, -1]]


@pytest.mark.parametrize("speed", [1.0, 1.25])
def test_labels_follow_the_span_that_is_given_and_parts_are_cut_by_it(speech_like, speed):
    """Not the sound, which is the same in all of them."""
    samples, rng = speech_like(2.0, 1), np.random.default_rng
    quiet = Augmentation(noise_probability=0.0, rir_probability=0.0, speed_probability=1.0, speeds=(speed, speed))
    (_, start_s, end_s), (_, later_s, last_s) = (
        examples.positive(samples, span, [], quiet, rng(7)) for span in ((0.4, 1.0), (0.9, 1.7))
    )
    longer = (end_s - start_s) / 0.6
    assert longer == pytest.approx(1 / speed)
    assert later_s - start_s == pytest.approx(0.5 * longer) and last_s - end_s == pytest.approx(0.7 * longer)
    for seed in range(8):
        part = examples.partly(samples, (0.5, 1.5), rng(seed))
        begins = np.array_equal(part[200:-200], samples[200 : len(part) - 200])
        cut_s = (len(part) if begins else len(samples) - len(part)) / 16000
        assert 0.75 <= cut_s <= 1.15 if begins else 0.85 <= cut_s <= 1.25


def sine(hz: float, seconds: float, level: float) -> np.ndarray:
    return (level * np.sqrt(2) * np.sin(2 * np.pi * hz * np.arange(round(seconds * 16000)) / 16000)).astype(np.float32)


def test_a_copy_at_another_pitch_keeps_its_place_and_none_leaves_the_others_as_they_were():
    samples, rng = sine(400, 2.0, 0.1), np.random.default_rng
    still = Augmentation(noise_probability=0.0, rir_probability=0.0)
    higher = replace(still, pitch_probability=1.0, pitch_semitones=(4.0, 4.0))
    (plain, *span), (unasked, *_), (moved, *same_span) = (
        examples.positive(samples, (0.4, 1.0), [], settings, rng(7))
        for settings in (still, replace(still, pitch_semitones=(4.0, 4.0)), higher)
    )
    np.testing.assert_array_equal(plain, unasked)
    hz = [np.argmax(np.abs(np.fft.rfft(each))) * 16000 / len(each) for each in (plain, moved)]
    assert hz == pytest.approx([400, 400 * 2 ** (4 / 12)], rel=0.01)
    assert span[1] - span[0] == pytest.approx(same_span[1] - same_span[0])


def power_at(samples: np.ndarray, hz: float) -> float:
    time = np.arange(len(samples)) / 16000
    return float(2 * np.abs(np.mean(samples * np.exp(-2j * np.pi * hz * time))) ** 2)


def test_a_clip_is_put_amid_running_speech_about_half_of_the_time_unless_asked_otherwise():
    """At a level near its own, whatever that of the recordings is."""
    clip, speech = sine(400, 1.0, 0.1), [sine(1000, 5.0, 0.001), sine(1000, 5.0, 0.9)]
    dry, levels = Augmentation(noise_probability=0.0, rir_probability=0.0, level_dbfs=(-30.0, -30.0)), []
    for seed in range(120):
        samples, start_s, _ = examples.positive(clip, (0.0, 1.0), speech, dry, np.random.default_rng(seed))
        said = samples[int(start_s * 16000) :][:16000]
        levels.append(samples[: int((start_s - 0.01) * 16000)].std() / said.std())
    amid = np.array([level for level in levels if level > 0.01])
    assert 0.35 < len(amid) / len(levels) < 0.65 and 0.25 < amid.min() < 0.45 and 1.05 < amid.max() < 1.3
    never, always = (replace(dry, amid_probability=share) for share in (0.0, 1.0))
    for seed in range(8):
        for amid, settings, loud in (([], dry, False), (speech, never, False), (speech, always, True)):
            alone = examples.positive(clip, (0.0, 1.0), amid, settings, np.random.default_rng(seed))
            before = alone[0][: int(alone[1] * 16000) - 160]
            assert (before.std() > 0.01 * alone[0].std()) == loud


def test_noise_under_a_clip_is_at_its_snr_beside_the_phrase_alone():
    """Not beside the quiet around it, which is up to three times as long."""
    noisy = Augmentation(noise_probability=1.0, snr_db=(10.0, 10.0), rir_probability=0.0, noise=(sine(1600, 9.0, 0.3),))
    clip = np.concatenate([np.zeros(8000, np.float32), sine(400, 1.0, 0.1), np.zeros(8000, np.float32)])
    for seed in range(5):
        samples, start_s, end_s = examples.positive(clip, (0.5, 1.5), [], noisy, np.random.default_rng(seed))
        said = samples[int(start_s * 16000) : int(end_s * 16000)]
        assert 10 * np.log10(power_at(said, 400) / power_at(said, 1600)) == pytest.approx(10, abs=0.3)


def test_negatives_are_heard_as_they_are_and_then_otherwise(tmp_path, speech_like):
    given = [speech_like(3, 1), speech_like(25, 2)]
    for index, samples in enumerate(given):
        write_wav(tmp_path / f"{index}.wav", samples)
    noisy = Augmentation(noise_probability=1.0, rir_probability=0.0, noise=(speech_like(9, 3),))
    common = noisy, 0, Skipped(), lambda *told: None
    found = list(examples.negative_pieces(find_clips(tmp_path), 3, 1.0, *common))
    assert sorted(len(piece) for piece in found) == sorted(3 * [3 * 16000, examples.LONGEST, 5 * 16000])
    for samples in given:
        for start in range(0, len(samples), examples.LONGEST):
            piece = samples[start : start + examples.LONGEST]
            same = [each for each in found if len(each) == len(piece)]
            as_it_is = [np.allclose(each, piece, atol=1e-4) for each in same]
            assert as_it_is.count(True) == 1 and not np.allclose(same[1], same[2], atol=1e-3)
    fewer = list(examples.negative_pieces(find_clips(tmp_path), 1, 1 / 3600, *common))
    assert len(fewer) < 3, "no more than the hours that are asked for, and the recording that reaches them"
