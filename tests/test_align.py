"""Where a phrase lies in its clip: forced alignment, its delay, and when energy is believed instead."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic import align, tokens  # noqa: E402
from wakeword.acoustic.acoustic_file import load_acoustic, save_acoustic  # noqa: E402
from wakeword.acoustic.align import FEWEST, HEARD, LATE_S, STRETCH, SURE, Heard, Located  # noqa: E402
from wakeword.acoustic.encoder import AcousticModel, EncoderSizes  # noqa: E402
from wakeword.audio.levels import active_span  # noqa: E402
from wakeword.audio.waveform import read_audio  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402

SAID = tokens.encode("hello")
CLIPS = 20


def best_place(log_probs: np.ndarray, ids: list[int]):
    return align.best_places(log_probs[None], [len(log_probs)], ids)[0]


def posteriors(path: list[int], sharp: float = 0.9) -> np.ndarray:
    """Log-probabilities `[frames, tokens]` of which `path` has `sharp` and the other tokens share the rest."""
    rest = (1 - sharp) / (len(tokens.SYMBOLS) - 1)
    found = np.full((len(path), len(tokens.SYMBOLS)), rest, np.float32)
    found[np.arange(len(path)), path] = sharp
    return np.log(found)


@given(
    before=st.lists(st.integers(0, 28), min_size=1, max_size=12),
    after=st.lists(st.integers(0, 28), min_size=1, max_size=12),
    repeats=st.lists(st.integers(1, 3), min_size=6, max_size=6),
)
def test_a_known_path_is_found_amid_anything(before, after, repeats):
    h, e, low, o = (tokens.encode(letter)[0] for letter in "helo")
    spoken = [each for each, count in zip((h, e, low, 0, low, o), repeats, strict=True) for _ in range(count)]
    # Neither another letter of the phrase at its edges, nor another "hello".
    before, after = [*(each for each in before if each not in SAID), 0], [0, *(each for each in after if each != o)]
    first, last, confidence = best_place(posteriors([*before, *spoken, *after]), SAID)
    assert (first, last) == (len(before), len(before) + len(spoken) - 1)
    assert confidence == pytest.approx(0.0, abs=1e-5)


def paths(frames: int, ids: list[int]):
    """Every path `[frames]` of CTC that reads `ids`, with a first and a last frame of them."""
    for path in itertools.product([0, *dict.fromkeys(ids)], repeat=frames):
        if path[0] and path[-1] and tokens.merged(path) == ids:
            yield path


@pytest.mark.parametrize("ids", [[3], [3, 4], [3, 3], [3, 4, 3]])
def test_no_other_path_is_likelier(ids):
    rng = np.random.default_rng(len(ids))
    for _ in range(20):
        log_probs = np.log(rng.dirichlet(np.full(6, 0.3), size=6)).astype(np.float32)
        ratios = log_probs - log_probs.max(axis=1, keepdims=True)
        best = max(
            ratios[first + np.arange(length), list(path)].sum()
            for length in range(1, 7)
            for path in paths(length, ids)
            for first in range(7 - length)
        )
        first, last, confidence = best_place(log_probs, ids)
        assert confidence * len(ids) == pytest.approx(best, rel=1e-5)
        inside = ratios[first : last + 1]
        reached = max(
            (inside[np.arange(len(inside)), list(path)].sum() for path in paths(len(inside), ids)), default=-np.inf
        )
        assert reached == pytest.approx(best, rel=1e-5), "the place is that of the path"


def test_the_confidence_is_the_ratio_a_token():
    path = [0, 0, *SAID[:3], 0, *SAID[3:], 0, 0]
    sharp = posteriors(path)
    wrong = sharp.copy()
    x = tokens.encode("x")[0]
    wrong[2, SAID[0]], wrong[2, x] = sharp[2, x], sharp[2, SAID[0]]
    *place, confidence = best_place(wrong, SAID)
    assert place == [2, 7] and confidence == pytest.approx(float(wrong[2, SAID[0]] - wrong[2, x]) / 5, rel=1e-4)
    assert best_place(posteriors([0] * 20), SAID)[2] < HEARD


def test_a_clip_too_short_for_the_tokens_has_no_place():
    least = len(SAID) + 1  # a blank between the two Ls
    assert best_place(posteriors([0] * (least - 1)), SAID) is None
    assert best_place(posteriors([0] * least), SAID) is not None


def heard_at(energy, late=LATE_S, confidence=0.0):
    return [Heard(start + late[0], end + late[1], confidence) for start, end in energy]


@pytest.fixture
def energy():
    rng = np.random.default_rng(0)
    starts = rng.uniform(0.5, 1.5, CLIPS)
    ends = starts + rng.uniform(0.5, 0.7, CLIPS)
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


@pytest.mark.parametrize("late", [LATE_S, (LATE_S[0] + 0.05, LATE_S[1] - 0.08)])
def test_the_delay_is_that_of_the_phrase_s_own_clips(energy, late):
    found = align.chosen(energy, heard_at(energy, late))
    np.testing.assert_allclose(found.spans, energy, atol=1e-9)
    assert found.aligned == CLIPS and found.reason == ""
    # Of some clips energy tells nothing: they do not move the others.
    noisy = [(0.0, 3.0)] * (FEWEST - 1) + energy[FEWEST - 1 :]
    np.testing.assert_allclose(align.chosen(noisy, heard_at(energy, late, SURE)).spans, energy, atol=1e-9)
    # Too few to measure it on.
    few = align.chosen(energy[: FEWEST - 1], heard_at(energy[: FEWEST - 1], late))
    np.testing.assert_allclose(few.spans, np.add(energy[: FEWEST - 1], np.subtract(late, LATE_S)))


def test_energy_serves_where_the_model_cannot_be_trusted(energy):
    heard = heard_at(energy, confidence=SURE)
    start, end = energy[0]
    away = Heard(3.0 + LATE_S[0], 3.6 + LATE_S[1], SURE - 0.1)
    heard[:4] = [
        None,  # a clip too short
        Heard(start, end, HEARD - 0.1),
        away,  # energy is elsewhere, and the model not sure
        Heard(start + LATE_S[0], start + STRETCH * 0.72 + LATE_S[1], 0.0),  # much longer than the others
    ]
    energy[3] = (start, end)
    found = align.chosen(energy, heard)
    assert found.aligned == CLIPS - 4 and found.spans[:4] == energy[:4]
    heard[2] = Heard(away.start_s, away.end_s, SURE)
    sure = align.chosen(energy, heard)
    assert sure.aligned == CLIPS - 3 and sure.spans[2] == pytest.approx((3.0, 3.6))
    assert sure.summary("hello") == "'hello' found by the acoustic model in 17 of 20 clips; by energy in 3"
    nothing = align.chosen(energy, [None] * CLIPS)
    assert nothing == Located(energy) and "in 0 of 20" in nothing.summary("hello")
    assert align.chosen([], []) == Located([])


def saved(folder, units: str, symbols=None):
    """The file of a small acoustic model."""
    torch.manual_seed(0)
    sizes = EncoderSizes(mels=16, stem=8, channels=8, dilations=(1, 2), taps=(2,))
    model, path = AcousticModel(sizes, len(tokens.UNITS[units])), folder / "small.safetensors"
    save_acoustic(path, model, FeatureSettings(mels=16), {}, units)
    if symbols:
        from wakeword.model.checkpoint import rewrite_meta

        rewrite_meta(path, {"tokens": symbols})
    return path


def test_without_a_spelling_it_is_energy_wholly(tmp_path, speech_like, monkeypatch):
    clips = [[speech_like(1.0, seed) for seed in (1, 2)], [speech_like(1.0, 3)]]
    by_energy = [[active_span(samples) for samples in said] for said in clips]
    odd = saved(tmp_path, "characters", ["?"] * 29)
    found = align.locate("aligned", clips, ["one", "two"], odd)
    assert [each.spans for each in found] == by_energy and not any(each.aligned for each in found)
    assert "neither characters nor phones" in found[0].summary("one") and "all 2 clips" in found[0].summary("one")
    monkeypatch.setattr("wakeword.acoustic.lexicon.pronunciations", lambda: {"one": [("W", "AH", "N")]})
    known, unknown = align.locate("aligned", clips, ["one", "zyx"], saved(tmp_path, "phones"))
    assert not known.reason and "CMU dictionary" in unknown.summary("zyx") and unknown.spans == by_energy[1]
    # By energy no model is looked for.
    assert [each.spans for each in align.locate("energy", clips, ["one", "two"], "nowhere")] == by_energy


def test_a_model_of_phones_spells_the_phrase_in_phones(monkeypatch):
    monkeypatch.setattr("wakeword.acoustic.lexicon.pronunciations", lambda: {"one": [("W", "AH", "N")]})
    symbols = tokens.UNITS["phones"]
    assert [symbols[index] for index in align.spelled("one", {"tokens": list(symbols)})] == ["W", "AH", "N"]


def test_batches_do_not_change_what_is_heard(tmp_path, speech_like):
    """Nor their order: each clip alone gives the same."""
    model, meta = load_acoustic(saved(tmp_path, "characters"))
    settings = FeatureSettings(**meta["features"])
    clips = [speech_like(0.01 + 0.05 * (seed * 7 % 41), seed) for seed in range(align.BATCH + 5)]
    together = align.align(model, settings, clips, SAID)
    alone = [align.align(model, settings, [samples], SAID)[0] for samples in clips]
    assert together[0] is not None and all(
        (one.start_s, one.end_s) == (other.start_s, other.end_s)
        and one.confidence == pytest.approx(other.confidence, abs=1e-3)
        for one, other in zip(together, alone, strict=True)
    )


OTHERS = ("hey snowboy", "alexa", "jarvis")


@pytest.fixture(scope="module")
def computers(shared):
    paths = sorted((shared / "wake-words" / "computer").glob("*.opus"))[:80:2]
    return [read_audio(path) for path in paths]


@pytest.mark.parametrize("acoustic", ["base", "micro"])
def test_real_clips_are_found_where_their_energy_is(computers, acoustic):
    (found,) = align.locate("aligned", [computers], ["computer"], acoustic)
    assert found.aligned >= 0.85 * len(computers)
    late = np.subtract(found.spans, [active_span(samples) for samples in computers])
    assert (abs(np.median(late, axis=0)) < 0.04).all()
    # Other words are not in them.
    others = [align.locate("aligned", [computers], [other], acoustic)[0].aligned for other in OTHERS]
    assert sum(others) < 0.15 * len(OTHERS) * len(computers)


def test_real_spans_move_with_the_clip(computers):
    model, meta = load_acoustic("micro")
    settings, ids = FeatureSettings(**meta["features"]), tokens.encode("computer")
    before = align.align(model, settings, computers, ids)
    moved_s = 1.0  # a whole number of frames
    later = align.align(model, settings, [np.pad(samples, (16000, 0)) for samples in computers], ids)
    shifts = [
        (after.start_s - first.start_s, after.end_s - first.end_s)
        for first, after in zip(before, later, strict=True)
        if first.confidence > HEARD
    ]
    # A clip that begins in sound is heard a little differently after silence.
    assert len(shifts) > 30 and np.mean(np.abs(np.subtract(shifts, moved_s)) < 0.05) > 0.95


def test_real_clips_in_noise_are_found_better_than_by_energy(computers):
    rng = np.random.default_rng(0)
    clean = np.array([active_span(samples) for samples in computers])
    noisy = [
        (samples + samples.std() * 0.56 * rng.standard_normal(len(samples))).astype(np.float32) for samples in computers
    ]
    (found,) = align.locate("aligned", [noisy], ["computer"], "base")
    energy = np.array([active_span(samples) for samples in noisy])
    wrong, wrong_by_energy = (
        np.mean(np.abs(spans[:, 1] - clean[:, 1]) > 0.2) for spans in (np.array(found.spans), energy)
    )
    assert wrong < wrong_by_energy, (wrong, wrong_by_energy)
