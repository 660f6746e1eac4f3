"""Labels of the frames of a clip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lhotse")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic.encoder import Encoder  # noqa: E402
from wakeword.audio.levels import active_span  # noqa: E402
from wakeword.augmentation.augment import Augmentation  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402
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
