"""Character error rates: counted per group of speakers, with noise, and what cannot be read or spelt is skipped."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wakeword import checkpoint, tokens  # noqa: E402
from wakeword.audio import write_wav  # noqa: E402
from wakeword.clips import Clip, find_clips  # noqa: E402
from wakeword.error_rates import error_rates  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.pretrain_config import read_config  # noqa: E402
from wakeword.transcribe import Hearing, Transcript, Word  # noqa: E402


class Ears:
    """Hears what it is told to."""

    symbols = list(tokens.SYMBOLS)

    def __init__(self, heard):
        self.heard = heard

    def hear(self, blocks) -> Transcript:
        return Transcript((Word(self.heard(np.concatenate(list(blocks))), 0.0, 0.0),), 0.0)


def test_rates_are_edits_over_characters_by_group(tmp_path, speech_like):
    clips = []
    for index in range(24):
        write_wav(tmp_path / f"{index}.wav", speech_like(0.5, index))
        about = {"gender": "female"} if index < 20 else {"gender": "male", "age": "8"}
        clips.append(Clip(tmp_path / f"{index}.wav", speaker=f"s{index % 3}", text="abcd", attributes=about))
    clips.append(Clip(tmp_path / "0.wav", speaker="s9", text="room 101"))
    clips.append(Clip(tmp_path / "0.wav", speaker="s9"))
    clips.append(Clip(tmp_path / "gone.wav", speaker="s9", text="abcd"))
    heard = iter(["abcd", "abd"] * 12)
    skipped = Skipped()
    found = error_rates(Ears(lambda samples: next(heard)), clips, skipped=skipped)
    # Every second text lacks one of four characters. Groups under 20 utterances say nothing.
    assert found == {
        "all": {"cer": 0.125, "utterances": 24, "characters": 96, "speakers": 3},
        "gender: female": {"cer": 0.125, "utterances": 20, "characters": 80, "speakers": 3},
    }
    assert len(skipped) == 2 and any("outside the alphabet" in str(reason) for reason in skipped.reasons.values())


def test_several_corpora_have_rates_of_their_own(tmp_path, speech_like):
    write_wav(tmp_path / "0.wav", speech_like(0.5, 0))
    clips = [Clip(tmp_path / "0.wav", text="ab", corpus="words" if index < 30 else "read") for index in range(50)]
    heard = iter(["ab"] * 30 + ["b"] * 20)
    found = error_rates(Ears(lambda samples: next(heard)), clips)
    assert {name: row["cer"] for name, row in found.items()} == {"all": 0.2, "corpus: words": 0.0, "corpus: read": 0.5}
    alone = error_rates(Ears(lambda samples: "ab"), clips[:30])
    assert set(alone) == {"all"}


def test_noise_is_mixed_in_and_differs_from_clip_to_clip(tmp_path, speech_like):
    for index in range(2):
        write_wav(tmp_path / f"{index}.wav", speech_like(1.0, 5))
    clips = [Clip(tmp_path / f"{index}.wav", text="a") for index in range(2)]
    heard = []
    ears = Ears(lambda samples: heard.append(samples) or "a")
    noise = np.random.default_rng(0).standard_normal(80000).astype(np.float32)
    error_rates(ears, clips)
    error_rates(ears, clips, noise, 10.0)
    assert np.array_equal(heard[0], heard[1])
    assert not np.allclose(heard[2], heard[0], atol=1e-3) and not np.allclose(heard[2], heard[3], atol=1e-3)


def test_the_shipped_base_reads_speech_better_than_chance(shared):
    hearing = Hearing("base")
    texts = {}
    reader = sorted((shared / "LibriSpeech" / "train-clean-5").iterdir())[0]
    for file in reader.rglob("*.trans.txt"):
        texts |= dict(line.split(" ", 1) for line in file.read_text().splitlines())
    clips = [Clip(clip.path, text=texts[clip.path.stem]) for clip in find_clips(reader)[:6]]
    right = error_rates(hearing, clips)["all"]
    others = [Clip(clip.path, text=other.text) for clip, other in zip(clips, clips[1:] + clips[:1], strict=True)]
    wrong = error_rates(hearing, others)["all"]
    assert right["utterances"] == 6 and right["cer"] < wrong["cer"] - 0.1


def test_a_card_is_written_into_the_model_and_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "recipes" / "pretrain"), *sys.path])
    import card

    path = tmp_path / "micro.safetensors"
    shutil.copy(checkpoint.shipped("micro"), path)
    row = {"cer": 0.25, "utterances": 30, "characters": 100, "speakers": 3}
    rates = {"VoxForge, clean": {"all": row, "gender: female": {**row, "cer": 0.5}}}
    before = checkpoint.load(path)[0]
    about = checkpoint.read_meta(path, "acoustic")["card"]
    card.write_card(path, {**card.attributed(about), "error_rates": rates})
    after, meta = checkpoint.load(path, "acoustic")
    assert meta["card"]["error_rates"] == rates and meta["card"]["name"] == "micro"
    assert json.loads(path.with_suffix(".json").read_text()) == meta["card"]
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)
    assert all(corpus["attribution"] for corpus in meta["card"]["data"].values())
    assert "MIT" in meta["card"]["teacher"]
    with pytest.raises(WakewordError, match="names nobody for the corpus 'foreign'"):
        card.attributed({**about, "data": {"foreign": {"hours": 1.0, "licence": "?"}}})
    config = read_config(Path(card.__file__).with_name("data.toml"))
    card.check({**about, "held_out": config.held_out, "commit": "0123"}, config, ship=True)
    with pytest.raises(WakewordError, match="held out 0.005.*0.06"):
        card.check({**about, "held_out": 0.005}, config, ship=False)
    with pytest.raises(WakewordError, match="0123-dirty"):
        card.check({**about, "commit": "0123-dirty"}, config, ship=True)
    with pytest.raises(WakewordError, match="shards.*--config"):
        card.sets(read_config(Path(card.__file__).with_name("base.toml")), "exp/manifests")
    assert card.table({"micro": rates, "base": rates})[2:] == [
        "| VoxForge, clean | all | 30 | 3 | 25.0% | 25.0% |",
        "| VoxForge, clean | gender: female | 30 | 3 | 50.0% | 50.0% |",
    ]


def test_an_installed_model_is_the_shipped_one_of_its_name(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[1] / "recipes" / "pretrain"), *sys.path])
    import card

    shipped = tmp_path / "weights"
    shutil.copytree(checkpoint.WEIGHTS, shipped)
    monkeypatch.setattr(checkpoint, "WEIGHTS", shipped)
    path = tmp_path / "base.safetensors"
    shutil.copy(shipped / "micro.safetensors", path)
    about = checkpoint.read_meta(path, "acoustic")["card"]
    card.write_card(path, {**about, "note": "another one"})
    card.install(path, shipped)
    assert checkpoint.read_meta(checkpoint.shipped("base"), "acoustic")["card"]["note"] == "another one"
    assert json.loads((shipped / "base.json").read_text())["note"] == "another one"
    assert checkpoint.shipped("micro").parent == shipped, "the others stay as they were"
    (shipped / "base.safetensors").write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WakewordError, match="checksum"):
        checkpoint.shipped("base")
