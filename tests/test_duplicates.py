"""Copies of one recording: found through codecs, cuts, levels and noise, kept on one side of a split, listed."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from wakeword.audio.clips import Clip, find_clips
from wakeword.audio.waveform import read_audio, write_wav
from wakeword.training.duplicates import SAME, closed, duplicate_groups, groups_of_clips, likenesses


def encoded_again(samples: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    soundfile.write(file, samples, 16000, format="OGG", subtype="OPUS", compression_level=0.95)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0]


def changed(samples: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    cut, end = rng.integers(800, 4800, 2)
    noisy = samples + samples.std() * 10 ** (-15 / 20) * rng.standard_normal(len(samples)).astype(np.float32)
    trimmed = samples[cut : len(samples) - end]
    return [encoded_again(samples), -0.3 * samples, trimmed, noisy, encoded_again(0.5 * noisy[cut:])]


def test_copies_are_found_and_other_sounds_are_not(speech_like):
    rng = np.random.default_rng(0)
    quiet = 0.0005 * rng.standard_normal(8000).astype(np.float32)
    # Voiced sounds: a codec does not keep the wave of mere noise.
    originals = [np.concatenate([quiet, speech_like(0.6, seed), quiet]) for seed in range(3)]
    clips, expected = list(originals), list(range(3))
    for index, samples in enumerate(originals):
        clips += changed(samples, rng)
        expected += [index] * 5
    assert duplicate_groups(clips) == expected
    assert duplicate_groups([]) == [] and duplicate_groups(clips[:1]) == [0]
    odd = [np.zeros(0, np.float32), np.zeros(16000, np.float32), quiet[:20], np.zeros(16000, np.float32)]
    assert duplicate_groups(odd) == [0, 1, 2, 3]


def test_likeness_is_symmetric_and_does_not_hang_on_the_others(speech_like):
    clips = [speech_like(0.5 + 0.1 * seed, seed) for seed in range(5)]
    alike = likenesses(clips)
    np.testing.assert_array_equal(alike, alike.T)
    np.testing.assert_allclose(likenesses(clips[1:3]), alike[1:3, 1:3], atol=1e-4)
    assert (np.diag(alike) == 1).all() and alike.min() >= 0 and alike.max() < 1.01


def test_related_pairs_are_closed_in_chains():
    assert closed(6, [(0, 2), (1, 2), (4, 3)]) == [0, 0, 0, 3, 3, 5]
    assert closed(0, []) == []


def test_a_file_that_cannot_be_read_is_alone(tmp_path, speech_like):
    for name in ("a", "c"):
        write_wav(tmp_path / f"{name}.wav", speech_like(0.7, 1))
    (tmp_path / "b.wav").write_bytes(b"no audio")
    assert groups_of_clips(find_clips(tmp_path)) == [0, 1, 0]


def test_copies_stay_on_one_side():
    pytest.importorskip("torch")
    pytest.importorskip("lhotse")
    from wakeword.training.material import split_clips

    clips = [Clip(Path(f"/x/{index}.wav")) for index in range(40)]
    alone = list(range(40))
    assert split_clips(clips, 0.3, 0, groups=alone) == split_clips(clips, 0.3, 0)
    groups = [index % 20 for index in range(40)]
    for seed in range(5):
        _, apart = split_clips(clips, 0.3, seed)
        _, out = split_clips(clips, 0.3, seed, groups=groups)
        sides = [clip in out for clip in clips]
        assert sides[:20] == sides[20:] and len(out) == 12 == len(apart)
    # A copy joins two speakers.
    clips = [Clip(Path(f"/x/{index}.wav"), speaker=f"s{index // 4}") for index in range(40)]
    alone[39] = 0
    for seed in range(5):
        out = {clip.speaker for clip in split_clips(clips, 0.3, seed, groups=alone)[1]}
        assert ("s0" in out) == ("s9" in out)


def test_copies_of_one_speaker_stay_on_one_side_too():
    """Clips of one speaker are held out one by one, the copies that a manifest tells of together."""
    from wakeword.training.material import may_hide_copies, split_clips

    def clip(index: int, speaker: str, **about) -> Clip:
        return Clip(Path(f"{index}.wav"), speaker=speaker, attributes=about)

    clips = [clip(index, "one", group=index // 2) for index in range(40)]
    assert not may_hide_copies(clips)
    for seed in range(10):
        out = split_clips(clips, 0.2, seed)[1]
        assert sorted(each.attributes["group"] for each in out) == sorted(2 * [*{c.attributes["group"] for c in out}])
        assert 6 <= len(out) <= 10
    assert may_hide_copies([clip(index, f"{index % 3}") for index in range(9)])
    assert not may_hide_copies([clip(index, f"{index % 4}") for index in range(9)])
    assert may_hide_copies([clip(index, f"{index}" if index else "") for index in range(9)])


def test_training_keeps_copies_together(tmp_path, speech_like, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("lhotse")
    from wakeword.errors import Skipped
    from wakeword.training.material import usable_clips
    from wakeword.training.train_config import Phrase, TrainConfig

    for index in range(12):
        write_wav(tmp_path / f"{index}.wav", speech_like(0.7, index))
        write_wav(tmp_path / f"{index}-again.wav", 0.5 * speech_like(0.7, index))
    phrase = Phrase("hello", (str(tmp_path),))
    for seed in range(4):
        _, held_out, _ = usable_clips(phrase, TrainConfig(held_out=0.25, seed=seed), Skipped())
        names = sorted(clip.path.stem.removesuffix("-again") for clip in held_out)
        assert len(names) == 6 and names[::2] == names[1::2]


def test_the_command_lists_the_copies_across_manifests_and_splits(tmp_path, speech_like, write_corpus, capsys):
    pytest.importorskip("lhotse")
    from data_prep.duplicates import main

    sounds = {name: speech_like(0.7, seed) for seed, name in enumerate("abcd")}
    one = write_corpus(tmp_path / "one", {**sounds, "e": 0.5 * sounds["a"]}, splits={"e": "test"})
    two = write_corpus(tmp_path / "two", {"f": -sounds["a"], "g": speech_like(0.7, 9)})
    assert main([str(one), str(two), "--json"]) == 0
    printed = capsys.readouterr()
    (group,) = map(json.loads, printed.out.splitlines())
    assert [Path(each["clip"]).stem for each in group["clips"]] == ["a", "e", "f"]
    assert [each["split"] for each in group["clips"]] == ["train", "test", "train"]
    assert f"1 clips of {one} train have a twin in {one} test" in printed.err
    assert main([str(one), str(two)]) == 0
    assert "3 clips are copies of each other, of 1 recordings" in capsys.readouterr().out
    assert main([str(tmp_path / "nowhere")]) == 2 and "no such file" in capsys.readouterr().err


def test_clips_too_many_to_be_compared_are_told(tmp_path, speech_like, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("lhotse")
    from wakeword.errors import Skipped
    from wakeword.training import material
    from wakeword.training.train_config import Phrase, TrainConfig

    for index in range(8):
        write_wav(tmp_path / f"{index}.wav", speech_like(0.7, index))
    given = Phrase("hello", (str(tmp_path),)), TrainConfig(), Skipped(), lambda *told: None
    assert material.phrase_material(*given).note == ""
    monkeypatch.setattr(material, "MOST_COMPARED", 7)
    assert "'hello': 8 clips of unnamed speakers are too many" in material.phrase_material(*given).note


@pytest.mark.parametrize("word", ["alexa", "computer"])
def test_real_copies_part_from_real_other_takes(shared, word):
    clips = [read_audio(path) for path in sorted((shared / "wake-words" / word).glob("*.opus"))[:120:2]]
    rng = np.random.default_rng(0)
    alike = likenesses(clips)[np.triu_indices(len(clips), 1)]
    assert not ((alike > SAME - 0.05) & (alike < SAME + 0.03)).any()
    for samples in clips[:8]:
        again = likenesses([samples, *changed(samples, rng)])[0, 1:]
        assert (again >= SAME).all(), again
