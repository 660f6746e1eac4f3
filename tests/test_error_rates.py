"""Character error rates: counted per group of speakers, with noise, and what cannot be read or spelt is skipped."""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from wakeword.acoustic import tokens  # noqa: E402
from wakeword.acoustic.transcribe import Hearing, Transcript, Word  # noqa: E402
from wakeword.audio.clips import Clip, find_clips  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.evaluation.error_rates import error_rates  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.pretraining.data import Source  # noqa: E402
from wakeword.pretraining.pretrain_config import read_config  # noqa: E402


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


@pytest.fixture
def recipe(monkeypatch):
    """The folder of the scripts, from which they are imported."""
    folder = Path(__file__).parents[1] / "recipes" / "pretrain"
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


def test_a_card_is_written_into_the_model_and_beside_it(tmp_path, recipe):
    import card
    import rates_page

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
    config = read_config(recipe / "data.toml")
    card.check({**about, "held_out": config.held_out, "commit": "0123"}, config, ship=True)
    with pytest.raises(WakewordError, match="held out 0.005.*0.06"):
        card.check({**about, "held_out": 0.005}, config, ship=False)
    with pytest.raises(WakewordError, match="0123-dirty"):
        card.check({**about, "commit": "0123-dirty"}, config, ship=True)
    gone_on = {"step": 5, "command": "c", "commit": "4567-dirty"}
    with pytest.raises(WakewordError, match="4567-dirty"):
        card.check({**about, "commit": "0123", "resumed": [{**gone_on, "commit": "89ab"}, gone_on]}, config, ship=True)
    card.check({**about, "commit": "0123", "resumed": [gone_on]}, config, ship=False)
    before = {"steps": 5, "commit": "0123", "resumed": [gone_on]}
    card.check({**about, "commit": "0123", "resumed": [], "begun_from": [before]}, config, ship=True)
    with pytest.raises(WakewordError, match="shards.*--config"):
        card.sets(dataclasses.replace(config, data=(Source(shar="exp/shards"),)), "exp/manifests")
    assert rates_page.table({"micro": rates, "base": rates})[2:] == [
        "| VoxForge, clean | all | 30 | 3 | 25.0% | 25.0% |",
        "| VoxForge, clean | gender: female | 30 | 3 | 50.0% | 50.0% |",
    ]


@pytest.mark.parametrize("name", checkpoint.shipped_names())
def test_a_shipped_card_is_of_its_file_and_its_page_and_groups_are_as_the_corpora_say(name, recipe):
    import rates_page

    card = checkpoint.read_meta(checkpoint.shipped(name), "acoustic")["card"]
    assert card["name"] == name
    files = sorted(checkpoint.WEIGHTS.glob("*.json"))
    cards = {file.stem: json.loads(file.read_text()) for file in files}
    assert cards[name] == card
    page = (recipe / "ERROR_RATES.md").read_text(encoding="utf-8")
    assert page == "\n".join(rates_page.error_rates_text(cards))
    for condition in ("clean", "10 dB"):
        rows = card["error_rates"][f"{rates_page.HELD_OUT}, {condition}"]
        # The one corpus with a named accent whose held-out speakers are enough: DSPSpeech tells none.
        assert rows["accent: mandarin"] == rows["corpus: speechocean762"]


def test_an_installed_model_is_the_shipped_one_of_its_name(tmp_path, recipe, monkeypatch):
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


def test_synthetic_speech_has_the_licences_of_the_engines_that_spoke(recipe):
    from attribution import attributed

    made = {"hours": 1.0, "licence": "that of the voice", "engines": {"espeak": 0.4, "hibari": 0.6}}
    before = {"data": {"synthetic-speech": {"hours": 1.0, "licence": "that of the voice"}}}
    card = attributed({"data": {"synthetic-speech": made}, "teacher": "", "begun_from": [before]})
    now, then = card["data"]["synthetic-speech"], card["begun_from"][0]["data"]["synthetic-speech"]
    assert now["licence"] == "espeak-ng, GPL (what it says is free); hibari-tts voices, Apache-2.0"
    assert now["engines"] == made["engines"], "the hours stay"
    assert "flite, BSD-like" in then["licence"] and "that of the voice" not in json.dumps(card)
    assert attributed(card) == card
    with pytest.raises(WakewordError, match="no licence of the engine 'parrot'"):
        attributed({"data": {"synthetic-speech": {**made, "engines": {"parrot": 1.0}}}})


def test_a_card_of_an_earlier_version_gets_the_hours_with_transcripts(
    recipe, tmp_path, write_corpus, speech_like, capsys
):
    import card

    recordings = {f"s{index}": speech_like(2.0 + index / 10, index) for index in range(8)}
    texts = dict.fromkeys(recordings, "hello") | {"s0": "room 101", "s1": ""}
    speakers = {name: f"speaker {name}" for name in recordings}
    manifest = write_corpus(tmp_path / "made", recordings, texts=texts, speakers=speakers)
    config = tmp_path / "data.toml"
    config.write_text(f'teacher = "none"\n[[data]]\nmanifest = "{manifest}"\n')
    config = read_config(config)
    told = {"held_out": 0.0, "held_out_also": ["speaker s3"], "held_out_utterances": 1, "units": "characters"}
    told |= {"hours_heard": 30.5, "steps": 7, "begun_from": [{"hours_heard": 10.0, "steps": 5}, {"hours_heard": 20.0}]}
    hours = sum(len(samples) for name, samples in recordings.items() if name != "s3") / 16000 / 3600
    found = card.completed({**told, "data": {"made": {"hours": hours, "licence": "CC0"}}}, config)
    assert found["data"]["made"]["transcribed_hours"] == pytest.approx(hours - 4.1 / 3600, abs=1e-4)
    assert (found["held_out_transcribed"], found["hours_of_this_run"]) == (1, 10.5)
    assert "encoder" in found["parameters_are"]
    assert "steps_in_all" not in found, "one run does not tell"
    assert card.completed(found, config) == found
    foreign = {"made": {"hours": 9.0, "licence": "CC0"}}
    other = card.completed({**told, "held_out_utterances": 3, "data": foreign}, config)
    assert other["data"] == foreign and "held_out_transcribed" not in other
    assert "made: 0.00" in capsys.readouterr().out


def test_the_32_bits_of_a_checkpoint_are_read_in_place_of_16(recipe, tmp_path):
    import card

    shipped = tmp_path / "micro.safetensors"
    shutil.copy(checkpoint.shipped("micro"), shipped)
    tensors = checkpoint.load(shipped)[0]
    # Less than half of the last of 16 bits' places: what rounding took away.
    whole = {name: t * (1 + 1e-4) if t.is_floating_point() and t.dim() > 1 else t for name, t in tensors.items()}
    trained = {f"model/{name}": tensor for name, tensor in whole.items()}
    checkpoint.save(tmp_path / "training.safetensors", trained, "training", {})
    card.write_unrounded(shipped, tmp_path / "training.safetensors", tmp_path / "whole.safetensors")
    found = checkpoint.load(tmp_path / "whole.safetensors", "acoustic")[0]
    assert all(torch.equal(found[name], whole[name]) for name in tensors)
    assert any(not torch.equal(found[name], tensors[name]) for name in tensors)
    assert Hearing(tmp_path / "whole.safetensors").hear([np.zeros(16000, np.float32)]).seconds == 1.0
    checkpoint.save(tmp_path / "other.safetensors", {k: t * 2 for k, t in trained.items()}, "training", {})
    with pytest.raises(WakewordError, match="other.safetensors: not the checkpoint that .*micro"):
        card.write_unrounded(shipped, tmp_path / "other.safetensors", tmp_path / "no.safetensors")


def test_the_page_compares_with_the_run_only_where_the_utterances_are_the_same(recipe):
    import rates_page

    row = {"cer": 0.3308, "utterances": 657, "characters": 20106, "speakers": 31}
    card = {"held_out_utterances": 717, "validated_utterances": 717, "held_out_transcribed": 657}
    card |= {"held_out_speakers": {"cer": 0.3328}, "error_rates": {rates_page.CLEAN: {"all": row}}}
    page = "\n".join(rates_page.error_rates_text({"base": {**card, "unrounded_cer": 0.3309}, "new": {"name": "new"}}))
    assert "held out 717 utterances" in page and "657 are English" in page and "16 bits" in page
    assert "at its run's end: 33.28%" in page and "32 bits: 33.09%, 16 bits as shipped: 33.08%" in page
    for other in ({"validated_utterances": 400}, {"held_out_transcribed": 650}, {"held_out_speakers": {"ctc": 1.0}}):
        page = "\n".join(rates_page.error_rates_text({"base": {**card, **other}}))
        assert "at its run's end" not in page and "32 bits" not in page and "717 utterances" in page
    old = {"base": {"error_rates": card["error_rates"]}}
    assert "717" not in "\n".join(rates_page.error_rates_text(old))
