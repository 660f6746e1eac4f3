"""What shards give is what the manifests gave, in another order; training on them resumes like any other."""

from __future__ import annotations

import dataclasses
import gzip
import json
import shutil
import sys
import tarfile
import threading
import warnings
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from data_prep import shard  # noqa: E402
from wakeword.acoustic import tokens  # noqa: E402
from wakeword.acoustic.encoder import EncoderSizes  # noqa: E402
from wakeword.audio.clips import share_of  # noqa: E402
from wakeword.errors import ConfigError, ManifestError, WakewordError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.pretraining import pretrain, teacher  # noqa: E402
from wakeword.pretraining.batches import Utterances, batches  # noqa: E402
from wakeword.pretraining.data import Source, held_out, read_manifest, read_sources, with_tokens  # noqa: E402
from wakeword.pretraining.pretrain_config import Config, Stage, read_config  # noqa: E402
from wakeword.pretraining.shards import INDEX, Shards, read_index  # noqa: E402

COUNT = 130
SETTINGS = FeatureSettings(mels=16)


def test_shards_hold_the_audio_transcripts_and_teacher_of_the_manifest(shard_corpus, shard_folder):
    training = Shards((Source(shar=shard_folder),), 0.2, "fake")
    expected, _ = with_tokens(read_manifest(shard_corpus))
    wanted = [cut.id for cut in expected if cut.custom["split"] != "test"]
    frames, _ = teacher.cache_teacher(read_manifest(shard_corpus), "fake", Path(shard_folder).parent / "teacher")
    heard = {cut.id: cut for cut in training.opened(0, 0)}
    held = {cut.id: cut for cut in training.validation(1000)}
    assert sorted([*heard, *held]) == sorted(wanted)
    assert {cut.supervisions[0].speaker for cut in held.values()} == {
        f"s{i}" for i in range(26) if held_out(f"s{i}", 0.2)
    }
    assert sorted(cut.id for cut in training) == sorted(heard)
    assert training.teacher_dims() == 3 and len(training.validation(2)) == 2
    for name in ("u3", "u17", "u121"):
        cut, original = (heard | held)[name], expected[name]
        np.testing.assert_allclose(cut.load_audio(), original.load_audio(), atol=1.6e-5)
        assert cut.has_custom("tokens") == original.has_custom("tokens")
        np.testing.assert_array_equal(cut.load_teacher(), frames[name].load_teacher())


def test_no_bar_goes_beyond_its_end(tmp_path, write_corpus, speech_like, fake_teacher, monkeypatch, capsys):
    """2.4 s are more than 2."""
    tqdm = pytest.importorskip("tqdm")
    manifest = write_corpus(tmp_path, {f"u{i}": speech_like(1.2, i) for i in range(2)}, speakers={"u0": "a", "u1": "b"})
    monkeypatch.setattr(teacher, "load_teacher", fake_teacher)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)  # the bar of shards shows on terminals alone
    config = Config(data=(Source(str(manifest)),), held_out=0.0, teacher="fake", folder=str(tmp_path / "run"))
    alone = SimpleNamespace(is_global_zero=True, rank_zero_first=nullcontext)
    with warnings.catch_warnings():
        warnings.simplefilter("error", tqdm.TqdmWarning)
        pretrain.from_manifests(config, alone)
        shard.write_shards([str(manifest)], tmp_path / "shards", "fake")
    assert capsys.readouterr().err.count("/3 [") >= 2


def test_shards_are_spelt_in_the_units_asked_for(shard_corpus, shard_folder):
    pytest.importorskip("pocketsphinx", reason="the dictionary needs wakeword[phrase]")
    for units in ("characters", "phones"):
        expected, _ = with_tokens(read_manifest(shard_corpus), units)
        read = list(Shards((Source(shar=shard_folder),), 0.0, units=units))
        spelt = {cut.id: cut.tokens for cut in read if cut.has_custom("tokens")}
        assert len(spelt) > 30
        assert spelt == {cut.id: cut.tokens for cut in expected if cut.has_custom("tokens") and cut.id in spelt}
        assert spelt["u3"] == tokens.encode("abc", units)


def test_an_epoch_has_its_own_order_and_every_utterance_once(shard_folder):
    training = Shards((Source(shar=shard_folder), Source(shar=shard_folder, splits=("test",))), 0.0)
    orders = []
    for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0)):
        found = batches(training.opened(seed, epoch), Ids(seed, epoch), 20.0)
        orders.append([name for batch in found for name in batch])
        assert sorted(orders[-1]) == sorted(f"u{i}" for i in range(COUNT))
    assert orders[0] == orders[1] and orders[0] != orders[2] and orders[0] != orders[3]


class Ids(Utterances):
    """Which utterances a batch holds."""

    def __init__(self, seed, epoch):
        super().__init__(SETTINGS, None, seed, epoch)

    def __getitem__(self, cuts):
        return [cut.id for cut in cuts]


def test_processes_divide_each_batch_of_shards(shard_folder):
    training = Shards((Source(shar=shard_folder),), 0.0)
    whole, first, second = (
        list(batches(training.opened(0, 0), Ids(0, 0), 10.0, rank=rank, world=world))
        for rank, world in ((0, 1), (0, 2), (1, 2))
    )
    assert len(whole) == len(first) == len(second) > 5
    for batch, one, other in zip(whole, first, second, strict=True):
        assert batch[::2] == one and batch[1::2] == other


def test_shards_are_read_by_url(shard_folder):
    pytest.importorskip("smart_open")
    pytest.importorskip("requests")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *ignored):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=shard_folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        far = Shards((Source(shar=f"http://127.0.0.1:{server.server_port}"),), 0.2)
        near = Shards((Source(shar=shard_folder),), 0.2)
        pairs = list(zip(far.opened(0, 1), near.opened(0, 1), strict=True))
        assert len(pairs) > 50
        for one, other in pairs[:5]:
            assert one.id == other.id
            np.testing.assert_array_equal(one.load_audio(), other.load_audio())
        server.shutdown()


@pytest.fixture
def config(shard_folder, tmp_path):
    return Config(
        size="tiny",
        output=str(tmp_path / "tiny.safetensors"),
        folder=str(tmp_path / "run"),
        data=(Source(shar=shard_folder),),
        teacher="fake",
        delay_frames=1,
        held_out=0.2,
        stages=(Stage(steps=14, distil=1.0, ctc=0.1),),
        batch_seconds=40.0,
        workers=0,
        threads=1,
        device="cpu",
        settle_batches=2,
        checkpoint_every=4,
        validate_every=7,
        sizes=EncoderSizes(mels=16, stem=16, channels=24, dilations=(1, 2), taps=(2,)),
        features=SETTINGS,
    )


def test_training_on_shards_resumes_bit_for_bit(config, tmp_path):
    """Fourteen steps are more than two epochs; the stop is amid the second, and a worker reads in the second half."""
    path = pretrain.pretrain(config)
    parts = dataclasses.replace(config, folder=str(tmp_path / "parts"), output=str(tmp_path / "parts.safetensors"))
    pretrain.pretrain(parts, max_steps=9)
    assert checkpoint.read_meta(tmp_path / "parts" / "training.safetensors")["progress"]["epoch"] == 1
    pretrain.pretrain(dataclasses.replace(parts, workers=1))
    one, other = (checkpoint.load(run.output)[0] for run in (config, parts))
    assert all(torch.equal(one[name], other[name]) for name in one)
    card = json.loads(path.with_suffix(".json").read_text())
    assert card["data"]["made"]["hours"] > 0 and card["held_out_speakers"]["distil"] > 0


def test_a_run_on_few_minutes_of_shards_hears_those_alone_and_holds_out_the_same_speakers(config, shard_folder):
    whole = Shards((Source(shar=shard_folder),), 0.2, "fake")
    few = whole.few(0.2, seed=0)
    assert 8 < sum(cut.duration for cut in few) <= 12 and {cut.id for cut in few} < {cut.id for cut in whole}
    assert all(cut.load_audio().shape[1] == cut.num_samples and len(cut.load_teacher()) for cut in few)
    short = dataclasses.replace(config, minutes=0.2, stages=(Stage(steps=6, distil=1.0, ctc=0.1),), batch_seconds=5.0)
    card = json.loads(pretrain.pretrain(short).with_suffix(".json").read_text())
    assert card["data"]["made"]["hours"] == pytest.approx(sum(cut.duration for cut in few) / 3600, abs=1e-4)
    spelt = sum(cut.duration for cut in few if cut.supervisions[0].text == "abc")
    assert card["data"]["made"]["transcribed_hours"] == pytest.approx(spelt / 3600, abs=1e-4) and spelt > 1
    assert card["held_out_utterances"] == len(whole.validation(1000))
    assert card["hours_heard"] >= 0 and card["steps"] == 6


def test_a_run_without_a_teacher_takes_shards_that_have_one(config, shard_folder):
    alone = dataclasses.replace(config, teacher="", stages=(Stage(steps=4, distil=0.0, ctc=1.0),))
    card = json.loads(pretrain.pretrain(alone).with_suffix(".json").read_text())
    assert np.isfinite(card["held_out_speakers"]["ctc"])
    assert not any(cut.has_custom("teacher") for cut in Shards((Source(shar=shard_folder),), 0.2).opened(0, 0))


def test_a_folder_that_is_no_shards_or_has_another_teacher_is_refused(config, shard_corpus, shard_folder, tmp_path):
    (tmp_path / "half").mkdir()
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / INDEX).write_text('{"cuts": 3')
    for name in ("none", "half", "damaged"):
        with pytest.raises(ManifestError, match=f"{name}.*data_prep.shard") as caught:
            read_index(str(tmp_path / name))
        assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ConfigError, match="'fake'.*'other'"):
        pretrain.pretrain(dataclasses.replace(config, teacher="other"))
    text = 'size = "micro"\n[[stages]]\ndistil = 0\nctc = 1\n[[data]]\nshar = "a"\n'
    for more, named in (
        ('[[data]]\nmanifest = "m"\n', "not both"),
        ("[[data]]\n", "manifest.*shar"),
        ('manifest="m"', "shar"),
    ):
        (tmp_path / "run.toml").write_text(text + more)
        with pytest.raises(ConfigError, match=f"run.toml.*{named}"):
            read_config(tmp_path / "run.toml")


def test_a_run_holds_out_one_of_each_corpus_where_asked_and_its_card_says_whom(config, shard_folder):
    each = Shards((Source(shar=shard_folder),), 0.0, each=True)
    (name,) = each.also
    assert name == min((f"s{i}" for i in range(26)), key=share_of)
    assert {cut.supervisions[0].speaker for cut in each.validation(1000)} == {name}
    assert name not in {cut.supervisions[0].speaker for cut in each}
    short = dataclasses.replace(config, held_out=0.0, held_out_each=True, stages=(Stage(steps=1, distil=1.0, ctc=0.1),))
    card = json.loads(pretrain.pretrain(short).with_suffix(".json").read_text())
    assert card["held_out_also"] == [name] and card["held_out_utterances"] == len(each.validation(1000)) > 0


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"languages": ("de", "fr")}, r"has languages = \['de', 'fr'\], .*holds languages: 'en' \(130\)"),
        ({"splits": ("other",)}, r"has splits = \['other'\]: .*splits: 'train' \(117\), 'test' \(13\)"),
    ],
)
def test_shards_without_what_is_asked_for_say_what_they_hold(shard_folder, asked, told):
    with pytest.raises(ManifestError, match=f"made: no utterance .*{told}") as caught:
        Shards((Source(shar=shard_folder), Source(shar=shard_folder, **asked)), 0.2)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("damage", ["no recording", "no teacher", "no teacher's name", "fewer recordings"])
def test_a_damaged_index_is_one_line(shard_folder, tmp_path, damage):
    shutil.copytree(shard_folder, tmp_path / "copy")
    index = read_index(shard_folder)
    if damage == "no teacher's name":
        del index["teacher"]
    elif damage == "fewer recordings":
        index["files"]["recording"].pop()
    else:
        del index["files"][damage.removeprefix("no ")]
    (tmp_path / "copy" / INDEX).write_text(json.dumps(index))
    with pytest.raises(ManifestError, match="copy: no whole folder of shards .*data_prep.shard") as caught:
        Shards((Source(shar=str(tmp_path / "copy")),), 0.1)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    "damage",
    ["tar cut short", "tar ends early", "tar empty", "cuts cut short", "cuts end early", "tars swapped", "tar missing"],
)
def test_damaged_shards_are_one_line_that_names_the_folder(shard_folder, tmp_path, damage):
    place = tmp_path / "copy"
    shutil.copytree(shard_folder, place)
    tars, cuts = sorted(place.glob("recording.*.tar")), sorted(place.glob("cuts.*.jsonl.gz"))
    if damage == "tars swapped":
        first, second = tars[0].read_bytes(), tars[1].read_bytes()
        tars[0].write_bytes(second)
        tars[1].write_bytes(first)
    elif damage == "tar missing":
        tars[0].unlink()
    elif damage == "tar ends early":  # between two utterances: for tarfile that is the end
        with tarfile.open(tars[0]) as tar:
            end = tar.getmembers()[20].offset
        tars[0].write_bytes(tars[0].read_bytes()[:end])
    elif damage == "cuts end early":
        lines = gzip.decompress(cuts[0].read_bytes()).splitlines(keepends=True)
        cuts[0].write_bytes(gzip.compress(b"".join(lines[:20])))
    else:
        file = cuts[0] if damage == "cuts cut short" else tars[0]
        whole = file.read_bytes()
        file.write_bytes(b"" if damage == "tar empty" else whole[: len(whole) // 2])
    with pytest.raises(ManifestError, match="copy.*damaged.*data_prep.shard") as caught:
        list(Shards((Source(shar=str(place)),), 0.1, "fake").opened(0, 0))
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_skips_what_it_cannot_read_and_overwrites_nothing(tmp_path, write_corpus, speech_like, capsys):
    manifest = write_corpus(tmp_path, {f"u{i}": speech_like(1, i) for i in range(5)})
    (tmp_path / "u1.wav").write_bytes(b"")
    out = tmp_path / "out"
    assert shard.main([str(manifest), "--out", str(out), "--size", "2"]) == 0
    assert "4 utterances" in (said := capsys.readouterr().out) and "skipped 1 file(s): u1" in said
    assert {cut.id for cut in Shards((Source(shar=str(out)),), 0.0)} == {"u0", "u2", "u3", "u4"}
    assert len(list(out.glob("recording.*.tar"))) == 2
    before = (out / INDEX).read_bytes()
    assert shard.main([str(manifest), "--out", str(out)]) == 2
    assert "holds shards already" in capsys.readouterr().err and (out / INDEX).read_bytes() == before
    with pytest.raises(WakewordError, match="nothing can be read"):
        for path in tmp_path.glob("*.wav"):
            path.unlink()
        shard.write_shards([str(manifest)], tmp_path / "empty")
    assert not (tmp_path / "empty" / INDEX).exists()


@pytest.fixture
def two_corpora(tmp_path, write_corpus, speech_like, fake_teacher, monkeypatch):
    """`config(text)`: a configuration of two manifests, `one` and `other`, with a fake teacher; its path."""
    monkeypatch.setattr(teacher, "load_teacher", fake_teacher)
    for name in ("one", "other"):
        recordings = {f"{name}{i}": speech_like(1 + 0.1 * i, i) for i in range(6)}
        splits = {f"{name}0": "test"}
        write_corpus(tmp_path / name, recordings, splits=splits, name=f"{name}_cuts.jsonl.gz")

    def config(text: str = "") -> str:
        tables = "".join(
            f'[[data]]\nmanifest = "{tmp_path}/{name}/{name}_cuts.jsonl.gz"\n' for name in ("one", "other")
        )
        start = f'teacher = "fake"\nteacher_cache = "{tmp_path}/teacher"\nthreads = 1\n'
        (tmp_path / "data.toml").write_text(start + tables + text)
        return str(tmp_path / "data.toml")

    return config


def everything_in(folder):
    return {path: path.read_bytes() for path in sorted(Path(folder).rglob("*")) if path.is_file()}


def test_a_configuration_becomes_a_folder_a_manifest(two_corpora, tmp_path, capsys):
    out = tmp_path / "out"
    assert shard.main(["--config", two_corpora(), "--out", str(out), "--size", "3"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(",")[0] for line in said] == [f"{out}/{name}: 5 utterances" for name in ("one", "other")]
    read = read_config(two_corpora())
    for source, name in zip(read.data, ("one", "other"), strict=True):
        assert read_index(str(out / name))["teacher"] == "fake"
        held = {cut.id: cut for cut in Shards((Source(shar=str(out / name)),), 0.0, "fake").opened(0, 0)}
        assert set(held) == {f"{name}{i}" for i in range(1, 6)}, "the test split trains"
        frames, _ = teacher.cache_teacher(read_sources([source]), "fake", tmp_path / "teacher")
        for cut in frames:
            np.testing.assert_array_equal(held[cut.id].load_teacher(), cut.load_teacher())
            np.testing.assert_allclose(held[cut.id].load_audio(), cut.load_audio(), atol=1.6e-5)


def test_a_second_call_keeps_what_is_there_and_adds_what_is_not(two_corpora, tmp_path, capsys):
    out = tmp_path / "out"
    first = shard.write_shards_of(two_corpora(), out)
    assert set(first) == {str(out / "one"), str(out / "other")}
    before = everything_in(out)
    assert shard.write_shards_of(two_corpora(), out) == {} and everything_in(out) == before
    (out / "other" / INDEX).unlink()  # as an interrupted call leaves it
    again = shard.write_shards_of(two_corpora(), out)
    assert [(place, each.cuts) for place, each in again.items()] == [(str(out / "other"), 5)]
    assert everything_in(out / "one") == {
        path: content for path, content in before.items() if path.is_relative_to(out / "one")
    }
    assert read_index(str(out / "other"))["cuts"] == 5


def test_another_teacher_than_the_configuration_s_keeps_its_frames_apart(two_corpora, tmp_path):
    shard.write_shards_of(two_corpora(), tmp_path / "out")
    before = everything_in(tmp_path / "teacher")
    command = ["--config", two_corpora(), "--teacher", "another", "--out", str(tmp_path / "more")]
    assert shard.main(command) == 0
    assert read_index(str(tmp_path / "more" / "one"))["teacher"] == "another"
    assert everything_in(tmp_path / "teacher") == before
    assert (tmp_path / "more" / "teacher" / "statistics.json").exists()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ('[[data]]\nmanifest = "elsewhere/one.jsonl"\n', "two of its manifests are named one"),
        ("[[data]]\n", "name a manifest, or a folder of shards"),
        ('[[data]]\nmanifest = "none_cuts.jsonl.gz"\n', "none_cuts.jsonl.gz: no such manifest"),
    ],
)
def test_a_configuration_that_cannot_be_sharded_is_refused(two_corpora, tmp_path, capsys, more, named):
    assert shard.main(["--config", two_corpora(more), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert named in said
    config = tmp_path / "shards.toml"
    config.write_text('teacher = "fake"\n[[data]]\nshar = "a"\n')
    assert shard.main(["--config", str(config), "--out", str(tmp_path / "out")]) == 2
    assert "shards already" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [[], ["a_cuts.jsonl.gz", "--config", "data.toml"]])
def test_the_command_takes_manifests_or_a_configuration(tmp_path, arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        shard.main([*arguments, "--out", str(tmp_path / "out")])
    assert caught.value.code == 2 and "give manifests, or --config" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_data_that_ships_are_manifests_to_be_sharded():
    config = read_config(Path(__file__).parents[1] / "recipes" / "pretrain" / "data.toml")
    assert config.teacher and all(source.manifest for source in config.data)
    assert len({Path(source.manifest).name for source in config.data}) == len(config.data)
