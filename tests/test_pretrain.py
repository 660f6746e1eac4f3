from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword import __version__  # noqa: E402
from wakeword.acoustic import tokens  # noqa: E402
from wakeword.acoustic.acoustic_file import load_acoustic, save_acoustic  # noqa: E402
from wakeword.acoustic.encoder import SIZES, AcousticModel, EncoderSizes  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.errors import ConfigError, ManifestError, ModelError, WakewordError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.model import checkpoint, lineage  # noqa: E402
from wakeword.pretraining import pretrain, pretrain_card, pretrain_state, teacher  # noqa: E402
from wakeword.pretraining.data import Source, held_out  # noqa: E402
from wakeword.pretraining.objectives import learning_rate, losses  # noqa: E402
from wakeword.pretraining.pretrain_config import Config, Stage, read_config  # noqa: E402
from wakeword.pretraining.pretrain_mixed import Mixed, augmentation_of  # noqa: E402
from wakeword.pretraining.pretrain_state import Progress, load_weights  # noqa: E402

SPEAKERS = 20
WORDS = ["abba", "cab", "dad", "bead", "deed"]


def word_of(text, seed):
    """A made language: each letter a chord of its own, with gaps; speakers differ in pitch and level."""
    rng = np.random.default_rng(seed)
    pieces = [np.zeros(1600)]
    for letter in text:
        hz = (300 + 450 * (ord(letter) - ord("a"))) * rng.uniform(0.97, 1.03)
        time = np.arange(int(rng.integers(2400, 3200))) / 16000
        pieces.append(0.2 * (np.sin(2 * np.pi * hz * time) + 0.5 * np.sin(4 * np.pi * hz * time)))
        pieces.append(np.zeros(600))
    samples = np.concatenate([*pieces, np.zeros(1600)])
    return (samples + 0.003 * rng.standard_normal(len(samples))).astype(np.float32)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus):
    folder = tmp_path_factory.mktemp("corpus")
    said = {f"s{s}-{word}": (s, word) for s in range(SPEAKERS) for word in WORDS}
    assert 0 < sum(held_out(f"s{s}", 0.2) for s in range(SPEAKERS)) < SPEAKERS // 2
    return write_corpus(
        folder,
        {key: word_of(word, index) for index, (key, (_, word)) in enumerate(said.items())},
        texts={key: word for key, (_, word) in said.items()},
        speakers={key: f"s{speaker}" for key, (speaker, _) in said.items()},
    )


@pytest.fixture
def config(corpus, tmp_path):
    return Config(
        size="tiny",
        output=str(tmp_path / "tiny.safetensors"),
        folder=str(tmp_path / "run"),
        data=(Source(str(corpus)),),
        held_out=0.2,
        stages=(Stage(steps=24, distil=0.0, ctc=1.0),),
        batch_seconds=8.0,
        learning_rate=5e-3,
        warmup=4,
        workers=0,
        threads=1,
        device="cpu",
        settle_batches=2,
        checkpoint_every=5,
        validate_every=12,
        noise=(str(corpus),),
        rir_probability=0.15,
        simulated_rooms=4,
        sizes=EncoderSizes(mels=16, stem=16, channels=24, dilations=(1, 2), taps=(2,)),
        features=FeatureSettings(mels=16),
        card="made for a test",
    )


def weights(path):
    return checkpoint.load(path)[0]


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


KILLED = """
import json, os, signal, sys
from pathlib import Path
import torch
from wakeword.model import checkpoint
from wakeword.pretraining import pretrain
from wakeword.pretraining.pretrain_config import Config
from wakeword.settings import from_dict

kind, config = sys.argv[1], from_dict(Config, json.loads(sys.argv[2]), "argument")
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
if kind == "step":  # in the middle of a step, two after a checkpoint
    count, real = 0, torch.optim.AdamW.step
    def step(self, *args, **kwargs):
        global count
        count += 1
        if count == 13:
            die()
        return real(self, *args, **kwargs)
    torch.optim.AdamW.step = step
else:  # while the third checkpoint is being written: half of it is there
    count, real = 0, Path.write_bytes
    def write_bytes(self, content):
        global count
        count += self.name.startswith(".training")
        if count == 3:
            with open(self, "wb") as file:
                file.write(content[: len(content) // 2])
            die()
        return real(self, content)
    Path.write_bytes = write_bytes
pretrain.pretrain(config)
"""


def test_a_killed_run_goes_on_bit_for_bit(config, tmp_path, monkeypatch):
    killed = {}
    for kind in ("step", "write"):
        there = dataclasses.replace(config, folder=str(tmp_path / kind), output=str(tmp_path / f"{kind}.safetensors"))
        arguments = [sys.executable, "-c", KILLED, kind, json.dumps(dataclasses.asdict(there))]
        killed[kind] = there, subprocess.Popen(arguments, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1])

    steps, step = [], torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: steps.append(1) or step(self))
    pretrain.pretrain(config)
    assert len(steps) == 24
    whole = weights(Path(config.folder) / "training.safetensors")
    for there, process in killed.values():
        _, errors = process.communicate(timeout=300)
        assert process.returncode == -9, errors.decode()
        latest = Path(there.folder) / "training.safetensors"
        assert checkpoint.read_meta(latest, "training")["progress"]["step"] == 10
        assert not Path(there.output).exists()
        steps.clear()
        pretrain.pretrain(there)
        assert len(steps) == 24 - 10, "it began again, or skipped some"
        assert equal(weights(latest), whole), "weights, moments or statistics differ from those of the unbroken run"
        assert equal(weights(there.output), weights(config.output))
        rows = [json.loads(line) for line in (Path(there.folder) / "log.jsonl").read_text().splitlines()]
        assert rows[-1]["step"] == 24


@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_a_compiled_run_goes_the_same_way(config, tmp_path):
    sizes = dataclasses.replace(config.sizes, separable=True)
    config = dataclasses.replace(config, sizes=sizes, stages=(Stage(steps=8, distil=0.0, ctc=1.0),))
    losses = {}
    for compiled in (False, True):
        there = dataclasses.replace(config, compile=compiled, folder=str(tmp_path / f"{compiled}"))
        pretrain.pretrain(there)
        losses[compiled] = json.loads((Path(there.folder) / "log.jsonl").read_text().splitlines()[-1])["ctc"]
    assert losses[True] == pytest.approx(losses[False], rel=0.01)


def test_compiling_without_a_compiler_is_one_line(config, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ConfigError, match="no C\\+\\+ compiler"):
        pretrain.pretrain(dataclasses.replace(config, compile=True))


def test_a_run_stopped_at_steps_and_read_by_workers_is_the_same(config, tmp_path):
    pretrain.pretrain(config)
    there = dataclasses.replace(config, folder=str(tmp_path / "parts"), output=str(tmp_path / "parts.safetensors"))
    pretrain.pretrain(there, max_steps=7)
    assert checkpoint.read_meta(Path(there.folder) / "training.safetensors")["progress"]["step"] == 7
    torch.randn(100)  # whatever else drew from the process's generator
    pretrain.pretrain(dataclasses.replace(there, workers=1), max_steps=12)
    pretrain.pretrain(there)
    name = "training.safetensors"
    assert equal(weights(Path(there.folder) / name), weights(Path(config.folder) / name))


def test_training_learns_and_writes_what_it_says(config):
    longer = dataclasses.replace(config, stages=(Stage(steps=240, distil=0.0, ctc=1.0),), validate_every=40)
    longer = dataclasses.replace(longer, noise=(), rir_probability=0.0, checkpoint_every=100, batch_seconds=25.0)
    path = pretrain.pretrain(longer)
    rows = [json.loads(line) for line in (Path(longer.folder) / "log.jsonl").read_text().splitlines()]
    held = [row["held_out"] for row in rows if "held_out" in row]
    assert held[-1]["ctc"] < 0.5 * held[0]["ctc"] and held[-1]["cer"] < 0.5

    model, meta = load_acoustic(path)
    assert not model.training and model.teacher is None
    card = meta["card"]
    assert card == json.loads(path.with_suffix(".json").read_text())
    assert card["steps"] == 240 and card["note"] == "made for a test"
    assert card["data"]["made"]["licence"] == "none" and card["data"]["made"]["hours"] > 0
    assert 0 < card["held_out_speakers"]["cer"] < 0.5 or card["held_out_speakers"]["cer"] == 0.0
    assert card["parameters"] == sum(p.numel() for p in model.encoder.parameters())

    # The file alone reads words of a speaker that training has not heard.
    right = 0
    for index, word in enumerate(WORDS):
        features = extract(word_of(word, 5000 + index), FeatureSettings(**meta["features"]))
        with torch.no_grad():
            best = model.log_probs(torch.from_numpy(features[: len(features) // 4 * 4])[None]).argmax(-1)
        right += tokens.decode(best[0].tolist()) == word
    assert right >= 3


def test_the_normalisation_is_measured_anew_over_training_audio(config):
    """Its last batches leave it wherever they were; afterwards it is that of the corpus, and nothing else changed."""
    loose, settled = (
        weights(
            pretrain.pretrain(
                dataclasses.replace(config, settle_batches=count, output=f"{config.output}.{count}"), max_steps=3
            )
        )
        for count in (0, 4)
    )
    for name in loose:
        measured = name.endswith(("running_mean", "running_var"))
        assert measured or name.endswith("num_batches_tracked") or torch.equal(loose[name], settled[name]), name
        if measured:
            # After three steps the loose ones are still near their start (0 and 1), with a momentum of a tenth.
            assert not torch.equal(loose[name], settled[name]), name
    again = pretrain.pretrain(
        dataclasses.replace(config, settle_batches=4, output=f"{config.output}.again"), max_steps=3
    )
    assert equal(weights(again), settled)


def test_a_frozen_stage_trains_the_network_that_runs(config, tmp_path):
    """Its statistics are measured where it begins and stay, also when it is interrupted; all else goes on training."""
    stages = (Stage(steps=6, distil=0.0, ctc=1.0), Stage(steps=8, distil=0.0, ctc=1.0, frozen_norms=True))
    config = dataclasses.replace(config, stages=stages, validate_every=4)
    latest = Path(config.folder) / "training.safetensors"
    at = {}
    for steps in (6, 7, 14):
        pretrain.pretrain(config, max_steps=steps)
        at[steps] = weights(latest)
    straight = dataclasses.replace(config, folder=str(tmp_path / "straight"), output=str(tmp_path / "straight.st"))
    pretrain.pretrain(straight)
    assert equal(weights(Path(straight.folder) / "training.safetensors"), at[14])
    written = weights(config.output)
    for name, tensor in at[7].items():
        if name.endswith(("running_mean", "running_var")):
            assert not torch.equal(tensor, at[6][name]), name
            assert torch.equal(tensor, at[14][name]), name
            assert torch.equal(tensor, written[name.removeprefix("model/")]), "measured again at the end"
        elif name.startswith("model/") and tensor.is_floating_point():
            assert not torch.equal(tensor, at[14][name]), name


def test_what_a_frozen_stage_makes_smaller_is_the_loss_of_evaluation(config, monkeypatch):
    stage = Stage(steps=4, distil=0.0, ctc=1.0, frozen_norms=True)
    config = dataclasses.replace(config, stages=(stage,))
    seen = []

    class Watched(pretrain.Objective):
        def forward(self, batch, names, delay):
            found = super().forward(batch, names, delay)
            with torch.no_grad():
                self.model.eval()
                seen.append((float(found["ctc"][0].detach()), float(super().forward(batch, names, delay)["ctc"][0])))
                pretrain.train_mode(self.model, stage)
            return found

    monkeypatch.setattr(pretrain, "Objective", Watched)
    pretrain.pretrain(config)
    assert len(seen) == 4
    for trained, evaluated in seen:
        assert trained == pytest.approx(evaluated, rel=1e-5)


@pytest.fixture
def without_a_loss(monkeypatch):
    """A list of the steps, counted from 0 over all runs, whose loss becomes NaN."""
    steps, at = [], iter(range(10**6))

    class Spoilt(pretrain.Objective):
        def forward(self, batch, names, delay):
            spoil = float("nan") if next(at) in steps else 1.0
            return {
                name: (total * spoil, count) for name, (total, count) in super().forward(batch, names, delay).items()
            }

    monkeypatch.setattr(pretrain, "Objective", Spoilt)
    return steps


def test_steps_without_a_finite_loss_are_counted_and_told(config, without_a_loss, capsys):
    without_a_loss += [1, 5]
    pretrain.pretrain(config, max_steps=7)
    told = [line for line in capsys.readouterr().err.splitlines() if "NaN" in line]
    assert told == ["2 of 7 steps trained nothing: their loss was NaN or infinite"]
    pretrain.pretrain(config, max_steps=9)
    assert "trained nothing" not in capsys.readouterr().err


def test_a_run_that_trains_nothing_is_an_error_however_often_it_is_taken_up(config, without_a_loss):
    without_a_loss += range(1000)
    for _ in range(2):  # the second time from the checkpoint of step 5
        with pytest.raises(WakewordError, match="of . steps trained nothing.*begin in another folder") as caught:
            pretrain.pretrain(config, max_steps=7)
        assert len(str(caught.value).splitlines()) == 1
    assert checkpoint.read_meta(Path(config.folder) / "training.safetensors")["progress"]["step"] == 5
    assert not Path(config.output).exists()


def test_a_run_that_trains_nothing_any_more_ends(config, without_a_loss, monkeypatch):
    monkeypatch.setattr("wakeword.pretraining.objectives.MOST_NOT_FINITE", 4)
    without_a_loss += [1, 2, 3, *range(7, 1000)]
    with pytest.raises(WakewordError, match="7 of 11 steps trained nothing.*the last 4 in a row"):
        pretrain.pretrain(config)
    assert not Path(config.output).exists()


def test_the_written_weights_are_those_trained_to_half_precision(config):
    path = pretrain.pretrain(dataclasses.replace(config, settle_batches=0), max_steps=3)
    trained = {
        name.removeprefix("model/"): tensor
        for name, tensor in weights(Path(config.folder) / "training.safetensors").items()
        if name.startswith("model/")
    }
    written = weights(path)
    assert written.keys() == trained.keys()
    for name, tensor in trained.items():
        expected = tensor.half().float() if tensor.is_floating_point() and tensor.dim() > 1 else tensor
        assert torch.equal(written[name], expected), name


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 1e-3},
        {"seed": 5},
        {"precision": "bf16"},
        {"batch_seconds": 9.0},
        {"stages": (Stage(steps=25, distil=0.0, ctc=1.0),)},
        {"features": FeatureSettings(mels=16, floor=1e-6)},
        {"noise": ()},
        {"sizes": EncoderSizes(mels=16, stem=16, channels=20, dilations=(1, 2), taps=(2,))},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_run_does_not_go_on_with_another_configuration(config, started, change):
    config = dataclasses.replace(config, folder=started)
    before = (Path(started) / "training.safetensors").read_bytes()
    with pytest.raises(ConfigError, match=f"training.safetensors.*'{next(iter(change))}' .*only card, .* may change"):
        pretrain.pretrain(dataclasses.replace(config, **change))
    assert (Path(started) / "training.safetensors").read_bytes() == before


@pytest.fixture
def started(config, tmp_path):
    """The folder of a run of one step."""
    pretrain.pretrain(config, max_steps=1)
    return config.folder


def test_what_the_steps_do_not_depend_on_may_change(config, started, tmp_path):
    others = dict(card="other", threads=2, workers=1, device="auto", settle_batches=3, output=str(tmp_path / "o.st"))
    others |= dict(folder=str(tmp_path / "moved"), checkpoint_every=1, validate_every=1, compile=False)
    assert set(others) == set(pretrain_state.UNBINDING)
    shutil.move(started, others["folder"])
    other = dataclasses.replace(config, **others)
    pretrain.pretrain(other, max_steps=2)
    assert load_acoustic(other.output)[1]["card"]["note"] == "other"
    documented = Config.__doc__.partition("goes on from its")[2]
    assert all(f"`{name}`" in documented for name in others)


def test_a_checkpoint_that_left_out_what_may_change_goes_on(config, started):
    """Earlier versions wrote these settings empty."""
    latest = Path(started) / "training.safetensors"
    before = checkpoint.read_meta(latest)["config"] | dict(card="", threads=0, device="", validate_every=7)
    for stage in before["stages"]:
        del stage["frozen_norms"]  # which came later
    checkpoint.rewrite_meta(latest, {"config": before})
    pretrain.pretrain(config, max_steps=2)
    assert checkpoint.read_meta(latest)["progress"]["step"] == 2


def test_a_damaged_or_foreign_checkpoint_is_a_model_error(config, started, model_files):
    latest = Path(started) / "training.safetensors"
    content = latest.read_bytes()
    for damaged in (content[:-7], b"", model_files[0].read_bytes()):
        latest.write_bytes(damaged)
        with pytest.raises(ModelError, match="training.safetensors"):
            pretrain.pretrain(config)


def test_a_checkpoint_that_is_whole_but_another_is_a_model_error(config, started):
    """Renamed, missing, unknown: of a later version, or edited."""
    latest = Path(started) / "training.safetensors"
    tensors, meta = checkpoint.load(latest)
    own = {key: meta[key] for key in ("progress", "config")}
    weight, moment = "model/ctc.weight", next(name for name in tensors if name.endswith("/exp_avg"))

    def without(table, name, **more):
        return {key: value for key, value in table.items() if key != name} | more

    def of(**changes):
        return {"config": own["config"] | changes}

    wrong = [
        ({"progress": without(own["progress"], "step")}, {}, "'step'"),
        ({"progress": own["progress"] | {"stage": 2}}, {}, "'stage'"),
        ({"progress": own["progress"] | {"step": "1"}}, {}, "step"),
        ({"progress": None}, {}, ""),
        ({"progress": [1]}, {}, ""),
        ({"config": None}, {}, ""),
        (of(later=1), {}, "'later' is unknown"),
        (of(stages=[own["config"]["stages"][0] | {"later": 1}]), {}, "later"),
        (of(stages=3), {}, ""),
        (of(data=[3]), {}, ""),
        ({}, without(tensors, weight), "'ctc.weight'"),
        ({}, without(tensors, weight, **{"model/ctc.weights": tensors[weight]}), "'ctc.weight"),
        ({}, tensors | {weight: tensors[weight][:-1]}, "'ctc.weight'"),
        ({}, tensors | {moment: torch.zeros(3, 3, 3, 3)}, moment),
        ({}, without(tensors, moment), "has only exp_avg_sq, step"),
        ({}, without(tensors, moment, **{f"{moment}s": tensors[moment]}), moment),
        ({}, tensors | {"optimizer/999/step": torch.tensor(1.0)}, "optimizer/999/step"),
        ({}, tensors | {"optimizer/x": torch.tensor(1.0)}, "optimizer/x"),
    ]
    wrong = [(own | told, kept, named) for told, kept, named in wrong]
    wrong += [(without(own, name), {}, f"no '{name}'") for name in own]
    for told, kept, named in wrong:
        checkpoint.save(latest, kept or tensors, "training", told)
        with pytest.raises(ModelError, match=f"training.safetensors: no whole .*{named}.*: delete it") as caught:
            pretrain.pretrain(config, max_steps=2)
        assert len(str(caught.value).splitlines()) == 1
    checkpoint.save(latest, tensors, "training", own)
    pretrain.pretrain(config, max_steps=2)


def test_the_entry_and_key_that_changed_are_named(config, started):
    """Behind the first 100 characters too."""
    (source,) = config.data
    there = dataclasses.replace(source, languages=("en",))
    latest = Path(started) / "training.safetensors"
    shown = dataclasses.asdict(config) | {"data": (there, there, source)}
    fewer = dataclasses.replace(source, splits=("train",))
    for now, told in (
        (
            (there, there, fewer),
            r'data\[2\].splits\[1\] = "validation", now no',
        ),
        ((there, there), r"data\[2\] = .*, now nothing; of 3, now 2 entries"),
        ((there, dataclasses.replace(there, manifest="m"), source), r'data\[1\].manifest = ".*", now "m"'),
    ):
        tensors, meta = checkpoint.load(latest)
        was = json.loads(json.dumps(shown, default=dataclasses.asdict))
        checkpoint.save(latest, tensors, "training", {"progress": meta["progress"], "config": was})
        with pytest.raises(ConfigError, match=f"another 'data' .{told}"):
            pretrain_state.refuse_changed(latest, shown | {"data": now})
    pretrain_state.refuse_changed(latest, shown)


@pytest.mark.parametrize(
    ("output", "told"),
    [("m.json", "end in .safetensors"), ("m.JSON", "safetensors"), ("run/training.safetensors", "to resume from")],
)
def test_an_output_that_something_else_would_overwrite_is_refused(config, tmp_path, output, told):
    unread = (Source(str(tmp_path / "none.jsonl.gz")),)
    config = dataclasses.replace(config, data=unread, output=str(tmp_path / output))
    with pytest.raises(ConfigError, match=f"output = '.*{told}"):
        pretrain.pretrain(config)
    assert not Path(config.output).exists()


def test_audio_that_has_gone_ends_the_run(config, corpus, tmp_path):
    """Not one file can be read: an error, and no endless search for a batch."""
    lines = Path(shutil.copy(corpus, tmp_path / "gone.jsonl.gz"))
    import lhotse

    cuts = lhotse.CutSet.from_file(lines).to_eager()
    for cut in cuts:
        cut.recording.sources[0].source = str(tmp_path / "gone" / Path(cut.recording.sources[0].source).name)
    cuts.to_file(tmp_path / "moved.jsonl.gz")
    moved = dataclasses.replace(config, data=(Source(str(tmp_path / "moved.jsonl.gz")),), noise=())
    with pytest.raises(WakewordError, match="can be read"):
        pretrain.pretrain(moved)


def test_data_that_cannot_be_divided_is_refused(config, tmp_path, write_corpus):
    one = write_corpus(tmp_path / "one", {"u": word_of("abba", 0)}, texts={"u": "abba"})
    for share in (0.2, 1.0):
        with pytest.raises(WakewordError, match="held_out"):
            pretrain.pretrain(dataclasses.replace(config, data=(Source(str(one)),), held_out=share))
    with pytest.raises(ManifestError, match="none.jsonl.gz"):
        pretrain.pretrain(dataclasses.replace(config, data=(Source(str(tmp_path / "none.jsonl.gz")),)))


@pytest.mark.parametrize("teacher", ["", "fake"])
def test_ctc_without_a_transcript_is_refused_before_the_teacher_works(config, tmp_path, write_corpus, teacher):
    said = {f"u{i}": word_of("abba", i) for i in range(8)}
    speakers = {name: f"s{index}" for index, name in enumerate(said)}
    texts = {"u0": "", "u1": "5", "u2": "привет"}
    for units in ("characters", "phones"):
        manifest = write_corpus(tmp_path / units, said, texts, speakers)
        stages = (Stage(steps=2, distil=1.0), Stage(steps=2, ctc=0.3)) if teacher else (Stage(2, distil=0.0, ctc=1.0),)
        untold = dataclasses.replace(
            config, data=(Source(str(manifest)),), held_out=0.0, stages=stages, teacher=teacher, units=units
        )
        with pytest.raises(ConfigError, match=f"no utterance that trains has .*transcript.*{units}.*ctc = 0"):
            pretrain.pretrain(untold)
        assert not Path(config.output).exists() and not (Path(config.folder) / "teacher").exists()


@pytest.mark.parametrize("setting", ["output", "folder"])
def test_a_place_that_cannot_be_written_is_refused_before_anything_is_read(config, tmp_path, setting):
    place = tmp_path / "there"
    place.mkdir() if setting == "output" else place.touch()
    unread = dataclasses.replace(config, data=(Source(str(tmp_path / "none.jsonl.gz")),), **{setting: str(place)})
    with pytest.raises(WakewordError, match=r"there.*cannot be written"):
        pretrain.pretrain(unread)


@pytest.mark.parametrize("steps", ["0", "-3", "many"])
def test_a_run_of_no_steps_is_refused(config, tmp_path, steps, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["pretrain", str(tmp_path / "run.toml"), "--steps", steps])
    assert caught.value.code == 2
    assert f"--steps: must be a whole number, 1 or more, not '{steps}'" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="max_steps = 0"):
        pretrain.pretrain(config, max_steps=0)


def test_training_starts_from_another_model(config, tmp_path):
    """Its encoder and CTC layer, and what normalisation measured, are there before the first step."""
    before = pretrain.pretrain(config, max_steps=12)
    still = dict(learning_rate=1e-12, weight_decay=0.0, settle_batches=0, folder=str(tmp_path / "second"))
    second = dataclasses.replace(config, init=str(before), output=str(tmp_path / "second.safetensors"), **still)
    pretrain.pretrain(second, max_steps=1)
    first, then = weights(before), weights(second.output)
    for name, tensor in first.items():
        if not name.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(then[name], tensor, rtol=1e-3, atol=1e-6, msg=name)
        if name.endswith("num_batches_tracked"):
            assert then[name] == tensor + 1, "the statistics began anew"


def test_few_minutes_of_a_manifest_train_and_all_held_out_speakers_validate(config):
    cards = []
    for minutes in (0.0, 0.1):
        run = dataclasses.replace(config, minutes=minutes, stages=(Stage(steps=2, distil=0.0, ctc=1.0),))
        run = dataclasses.replace(run, folder=f"{config.folder}-{minutes}")
        cards.append(json.loads(pretrain.pretrain(run).with_suffix(".json").read_text()))
    hours = [card["data"]["made"]["hours"] for card in cards]
    assert [card["data"]["made"]["transcribed_hours"] for card in cards] == hours, "all have transcripts"
    assert 0.05 < 60 * hours[1] <= 0.1 < 60 * hours[0]
    assert cards[0]["held_out_utterances"] == cards[1]["held_out_utterances"] > 0


def cut_of(corpus, licence, seconds):
    return SimpleNamespace(custom={"corpus": corpus, "licence": licence}, duration=seconds)


def test_hours_of_synthetic_speech_are_counted_by_engine():
    cuts = [cut_of("made", "that of the voice", 900) for _ in range(3)]
    for cut, speaker in zip(cuts, ("flite:slt", "hibari:heart-gb", "flite:awb"), strict=True):
        cut.custom["synthetic"], cut.supervisions = True, [SimpleNamespace(speaker=speaker)]
    found = pretrain_card.hours_of([*cuts, cut_of("read", "CC0", 1800)])
    made = {"hours": 0.75, "licence": "that of the voice", "engines": {"flite": 0.5, "hibari": 0.25}}
    read = {"hours": 0.5, "licence": "CC0", "transcribed_hours": 0.0}
    assert found == {"made": {**made, "transcribed_hours": 0.0}, "read": read}


def test_hours_of_many_short_utterances_are_not_rounded_one_by_one():
    cuts = [cut_of("words", "MIT", 2.048) for _ in range(1000)]
    for cut in cuts:
        cut.custom |= {"tokens": [1], "synthetic": True}
        cut.supervisions = [SimpleNamespace(speaker="flite:slt")]
    told = pretrain_card.hours_of(cuts)["words"]
    whole = round(1000 * 2.048 / 3600, 5)
    assert (told["hours"], told["transcribed_hours"], told["engines"]) == (whole, whole, {"flite": whole})


def card_after(config, hours, **changes):
    """The card of a run that heard so many hours, written with a model of random weights; `changes` are settings."""
    config = dataclasses.replace(config, noise=(), **changes)
    cuts = [cut_of("a", "CC0", 1800), cut_of("b", "CC-BY", 900), cut_of("a", "CC0", 1800)]
    progress = Progress(step=7, seconds=3600 * hours, origin=pretrain_card.origin(config))
    held = [cut_of("a", "CC0", 180), cut_of("b", "CC0", 180)]
    for cut in (cuts[0], held[1]):
        cut.custom["tokens"] = [1, 2]
    card = pretrain_card.card_of(config, cuts, held, 1, progress, {"ctc": 0.123456, "per": 0.5})
    model = AcousticModel(config.sizes, len(tokens.UNITS[config.units]))
    save_acoustic(Path(config.output), model, config.features, card, config.units)
    return card


def test_a_card_says_how_and_from_what_the_model_was_made(config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/wakeword", "pretrain", "my.toml"])
    monkeypatch.setattr(pretrain_card, "commit", lambda: "0123456789ab-dirty")
    card = card_after(config, 12.34, features=FeatureSettings(mels=16, hop=80))
    assert (card["command"], card["commit"]) == ("wakeword pretrain my.toml", "0123456789ab-dirty")
    assert card["version"] == __version__ and card["begun_from"] == [] and card["mixed_in"] == {}
    assert card["data"] == {
        "a": {"hours": 1.0, "transcribed_hours": 0.5, "licence": "CC0"},
        "b": {"hours": 0.25, "transcribed_hours": 0.0, "licence": "CC-BY"},
    }
    assert card["held_out_transcribed"] == 1
    assert (card["hours_heard"], card["steps"], card["held_out_hours"]) == (12.3, 7, 0.1)
    assert (card["held_out_utterances"], card["validated_utterances"]) == (2, 1)
    assert card["held_out_speakers"] == {"ctc": 0.1235, "per": 0.5}
    assert card["distillation_delay_s"] == pytest.approx(4 * 0.02)
    assert json.loads(Path(config.output).with_suffix(".json").read_text())["units"] == "characters"


def test_a_card_tells_the_hours_of_a_short_run(config, tmp_path):
    first = card_after(config, 0.0384)
    assert (first["hours_heard"], first["hours_of_this_run"]) == (0.038, 0.038)
    card_after(config, 12.34)
    then = card_after(config, 0.0384, init=config.output)
    assert (then["hours_heard"], then["hours_of_this_run"]) == (12.338, 0.038)
    assert "0.038 h" in lineage.as_lines(then)[1] and lineage.as_lines(then)[2].startswith("in all 12.338 h")


@pytest.mark.parametrize(
    ("program", "torchrun", "command"),
    [
        ("/usr/bin/wakeword", "", "wakeword pretrain a.toml"),
        ("/site/wakeword/__main__.py", "", "python -m wakeword pretrain a.toml"),
        ("/site/wakeword/cli.py", "2", "torchrun --nproc-per-node 2 -m wakeword.cli pretrain a.toml"),
    ],
)
def test_a_card_names_a_command_that_can_be_typed(monkeypatch, program, torchrun, command):
    monkeypatch.setattr(sys, "argv", [program, "pretrain", "a.toml"])
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    if torchrun:
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
        monkeypatch.setenv("LOCAL_WORLD_SIZE", torchrun)
    assert pretrain_card.made_by()["command"] == command


def test_a_resumed_run_says_since_when_another_commit_or_command_made_it(config, monkeypatch):
    first, second = (dataclasses.replace(config, stages=(Stage(steps=4, distil=0.0, ctc=1.0),)) for _ in range(2))
    for commit, steps in (("one", 1), ("one", 2), ("two", 3), ("two", 4)):
        monkeypatch.setattr(pretrain_card, "commit", lambda commit=commit: commit)
        monkeypatch.setattr(sys, "argv", ["wakeword", "pretrain"])
        pretrain.pretrain(first, steps)
    card = json.loads(Path(second.output).with_suffix(".json").read_text())
    assert card["commit"] == "one" and card["held_out"] == config.held_out
    assert card["resumed"] == [{"step": 2, "command": "wakeword pretrain", "commit": "two"}]


def test_a_card_adds_up_what_the_runs_before_it_heard(config, tmp_path, monkeypatch):
    cards, init = [], ""
    for index, hours in enumerate((10.0, 5.5, 2.25)):
        monkeypatch.setattr(pretrain_card, "commit", lambda index=index: f"commit {index}")
        own = dict(init=init, output=str(tmp_path / f"{index}.safetensors"), teacher=f"teacher {index}", card="a note")
        cards.append(card_after(config, hours, **own))
        init = own["output"]
    assert [card["hours_heard"] for card in cards] == pytest.approx([10.0, 15.5, 17.8], abs=0.051)
    assert [card["hours_of_this_run"] for card in cards] == pytest.approx([10.0, 5.5, 2.3], abs=0.051)
    assert [(card["steps"], card["steps_in_all"]) for card in cards] == [(7, 7), (7, 14), (7, 21)]
    assert [card["commit"] for card in cards] == ["commit 0", "commit 1", "commit 2"]
    assert [[run["commit"] for run in card["begun_from"]] for card in cards] == [
        [],
        ["commit 0"],
        ["commit 0", "commit 1"],
    ]
    first, second = cards[2]["begun_from"]
    assert set(first) == set(pretrain_card.LINEAGE) and first == {key: cards[0][key] for key in pretrain_card.LINEAGE}
    assert second["hours_heard"] == 15.5 and second["teacher"] == "teacher 1" and "begun_from" not in second


def test_a_card_of_an_earlier_version_is_a_beginning_too(config, tmp_path):
    """The models that ship were made before cards said the command and the commit."""
    card_after(config, 3.0)
    old = {"hours_heard": 3.0, "steps": 7, "teacher": "t"}
    checkpoint.rewrite_meta(Path(config.output), {"card": old})
    card = card_after(config, 1.0, init=config.output, output=str(tmp_path / "next.safetensors"))
    assert card["hours_heard"] == 4.0 and card["begun_from"] == [old]


def test_a_card_names_all_that_was_mixed_in_with_its_licence(config, tmp_path, write_corpus):
    import lhotse

    paths = {}
    for name in ("noise", "rirs", "babble"):
        manifest = write_corpus(tmp_path / name, {f"{name}{i}": word_of("ab", i) for i in range(2)})
        cuts = lhotse.CutSet.from_file(manifest).to_eager()
        for cut in cuts:
            cut.custom |= {"corpus": f"the {name}", "licence": f"licence of {name}"}
        paths[name] = str(tmp_path / name / "named.jsonl.gz")
        cuts.to_file(paths[name])
    config = dataclasses.replace(
        config,
        noise=(paths["noise"], str(tmp_path / "noise")),
        rirs=(paths["rirs"],),
        babble=(Source(paths["babble"]),),
        babble_mixtures=1,
        held_out=0.0,
    )

    def told():
        mixed = Mixed()
        augmentation_of(config, mixed=mixed)
        return pretrain_card.card_of(config, [], [], 0, Progress(), {}, (), mixed.licences)["mixed_in"], mixed.skipped

    wanted = {f"the {name}": f"licence of {name}" for name in ("babble", "noise", "rirs")}
    found, skipped = told()
    assert found == {**wanted, "unnamed": "?"} and not skipped
    # The manifest's noise cannot be read any more, the folder's can: one of the files is of both.
    named = lhotse.CutSet.from_file(paths["noise"]).to_eager()
    for cut in named:
        cut.recording.sources[0].source = str(tmp_path / "gone" / f"{cut.id}.wav")
    named.to_file(paths["noise"])
    (tmp_path / "babble" / "babble1.wav").write_bytes(b"RIFF")
    found, skipped = told()
    assert set(found) == {"the babble", "the rirs", "unnamed"}, "the card tells of what was not mixed in"
    assert len(skipped) == 3 and "babble1" in skipped.reasons
    (tmp_path / "babble" / "babble0.wav").unlink()
    with pytest.raises(WakewordError, match="babble: nothing of .*named.jsonl.gz can be mixed in. skipped 2 file"):
        told()


def test_what_cannot_be_mixed_in_is_told_of(config, tmp_path, write_corpus, capsys):
    write_corpus(tmp_path / "noise", {f"n{i}": word_of("ab", i) for i in range(2)})
    (tmp_path / "noise" / "n1.wav").write_bytes(b"RIFF")
    config = dataclasses.replace(config, noise=(str(tmp_path / "noise"),), babble=config.data, babble_mixtures=1)
    pretrain.pretrain(config, max_steps=1)
    assert "to be mixed in: skipped 1 file(s): " in (said := capsys.readouterr().err) and "n1.wav" in said
    silent = write_corpus(tmp_path / "silent", {"s": np.zeros(16000, np.float32)})
    with pytest.raises(WakewordError, match="babble: nothing of"):
        pretrain.pretrain(dataclasses.replace(config, babble=(Source(str(silent)),), folder=str(tmp_path / "other")))


def test_training_writes_phones_and_counts_their_errors(config, tmp_path):
    pytest.importorskip("pocketsphinx", reason="the dictionary needs wakeword[phrase]")
    spoken = dataclasses.replace(config, units="phones", noise=(), rir_probability=0.0, babble=config.data)
    spoken = dataclasses.replace(spoken, made_noise=2, babble_mixtures=2)
    spoken = dataclasses.replace(spoken, channel_probability=0.5, speed_probability=0.5)
    model, meta = load_acoustic(pretrain.pretrain(spoken))
    assert meta["tokens"] == list(tokens.UNITS["phones"]) and model.ctc.out_features == 41
    assert meta["card"]["units"] == "phones" and meta["card"]["mixed_in"] == {"made": "none"}
    assert meta["card"]["held_out_speakers"]["per"] > 0 and "cer" not in meta["card"]["held_out_speakers"]
    rows = [json.loads(line) for line in (Path(config.folder) / "log.jsonl").read_text().splitlines()]
    assert all("per" in row["held_out"] for row in rows if "held_out" in row)
    losses_of = [row["ctc"] for row in rows if "ctc" in row]
    assert losses_of and np.isfinite(losses_of).all()
    letters = dataclasses.replace(config, init=config.output, folder=str(tmp_path / "letters"))
    with pytest.raises(ConfigError, match="init = .*has tokens"):
        pretrain.pretrain(letters)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"sizes": EncoderSizes(mels=16, stem=16, channels=20, dilations=(1, 2), taps=(2,))}, "sizes"),
        ({"features": FeatureSettings(mels=16, floor=1e-6)}, "features"),
    ],
)
def test_a_model_of_another_shape_is_no_start(config, started, tmp_path, change, named):
    new = dataclasses.replace(config, init=config.output, folder=str(tmp_path / "new"), **change)
    with pytest.raises(ConfigError, match=f"init = '.*tiny.safetensors'.*{named}") as caught:
        pretrain.pretrain(new)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ModelError, match="nowhere"):
        pretrain.pretrain(dataclasses.replace(new, init="nowhere"))


def test_from_a_model_of_another_front_end_only_the_stem_begins_anew(config, tmp_path, capsys):
    pytest.importorskip("pymicro_features")
    pretrain.pretrain(config, max_steps=1)
    start, _ = load_acoustic(config.output)
    micro = dict(features=FeatureSettings(front_end="micro", mels=40, window=480), init=config.output)
    micro |= dict(sizes=dataclasses.replace(config.sizes, mels=40), folder=str(tmp_path / "micro"))
    micro = dataclasses.replace(config, **micro, output=str(tmp_path / "micro.safetensors"), settle_batches=0)
    fresh = AcousticModel(micro.sizes, len(tokens.UNITS["characters"]))
    stem = fresh.encoder.stem[0].weight.clone()
    assert load_weights(fresh, micro) == ["stem"]
    assert torch.equal(fresh.encoder.stem[0].weight, stem) and equal(fresh.ctc.state_dict(), start.ctc.state_dict())
    for part in ("widen", "stack"):
        has, had = (getattr(each.encoder, part).state_dict() for each in (fresh, start))
        assert equal(has, had)
    capsys.readouterr()
    model, meta = load_acoustic(pretrain.pretrain(micro, max_steps=2))
    assert capsys.readouterr().err.count("hears other features: stem begins anew\n") == 1
    assert meta["features"] == dataclasses.asdict(micro.features) and model.encoder.sizes.mels == 40
    assert meta["card"]["begun_anew"] == ["stem"] and "Begun anew: stem." in lineage.as_lines(meta["card"])[1]
    # What goes on from it takes over all, as ever.
    longer = dataclasses.replace(micro, init=micro.output, folder=str(tmp_path / "on"), output=str(tmp_path / "on.st"))
    assert load_weights(AcousticModel(micro.sizes, len(tokens.UNITS["characters"])), longer) == []
    with pytest.raises(ConfigError, match="init = .*: has sizes"):
        load_weights(fresh, dataclasses.replace(micro, sizes=dataclasses.replace(micro.sizes, stem=20)))


def test_training_in_bfloat16_follows_that_in_float32(config, tmp_path):
    longer = dataclasses.replace(config, stages=(Stage(steps=40, distil=0.0, ctc=1.0),), validate_every=40)
    half = dataclasses.replace(longer, precision="bf16", folder=str(tmp_path / "half"), output=str(tmp_path / "h.st"))
    curves = []
    for run in (longer, half):
        pretrain.pretrain(run)
        rows = [json.loads(line) for line in (Path(run.folder) / "log.jsonl").read_text().splitlines()]
        curves.append([row["ctc"] for row in rows if "ctc" in row])
    assert curves[1] == pytest.approx(curves[0], rel=0.1) and curves[1] != curves[0]
    kept = weights(Path(half.folder) / "training.safetensors")
    assert {t.dtype for t in kept.values() if t.is_floating_point()} == {torch.float32}
    with pytest.raises(ConfigError, match="precision"):
        pretrain.pretrain(dataclasses.replace(half, precision="32"))


def test_a_run_of_an_earlier_version_goes_on(config, started):
    latest = Path(started) / "training.safetensors"
    before = checkpoint.read_meta(latest)["config"]
    newer = (
        "precision",
        "init",
        "units",
        "minutes",
        "made_noise",
        "babble",
        "channel_probability",
        "speed_probability",
    )
    before = {key: value for key, value in before.items() if key not in newer}
    for source in before["data"]:
        del source["shar"]
    del before["features"]["front_end"]
    checkpoint.rewrite_meta(latest, {"config": before})
    pretrain.pretrain(config, max_steps=2)
    assert checkpoint.read_meta(latest)["progress"]["step"] == 2
    checkpoint.rewrite_meta(latest, {"config": before})
    with pytest.raises(ConfigError, match="'speed_probability'"):
        pretrain.pretrain(dataclasses.replace(config, speed_probability=0.3))


def test_a_gpu_that_is_not_there_is_a_config_error(config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for device, processes in (("cuda:1", 1), ("cuda", 2)):
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
        with pytest.raises(ConfigError, match="device"):
            pretrain.pretrain(dataclasses.replace(config, device=device))


class Fake:
    """A teacher that hears loudness and pitch: eight numbers a frame, made from log-mels."""

    def __init__(self, name="fake"):
        self.matrix = np.random.default_rng(0).standard_normal((16, 8)).astype(np.float32) / 4

    def load(self, source, threads=2):
        return teacher.Teacher(source, self.encode)

    def encode(self, samples):
        frames = extract(samples, FeatureSettings(mels=16))
        frames = np.pad(frames, [(0, -len(frames) % 4), (0, 0)], mode="edge")
        return np.tanh(frames.reshape(-1, 4, 16).mean(axis=1) @ self.matrix)


def test_distillation_lowers_its_loss(config, monkeypatch):
    monkeypatch.setattr(teacher, "load_teacher", Fake().load)
    distilled = dataclasses.replace(
        config,
        teacher="fake",
        delay_frames=1,
        stages=(Stage(steps=50, distil=1.0), Stage(steps=10, distil=1.0, ctc=0.1)),
        validate_every=10,
        noise=(),
        rir_probability=0.0,
    )
    path = pretrain.pretrain(distilled)
    rows = [json.loads(line) for line in (Path(config.folder) / "log.jsonl").read_text().splitlines()]
    held = [row["held_out"]["distil"] for row in rows if "held_out" in row]
    assert len(held) == 6 and held[-1] < 0.5 * held[0]
    assert [set(row) & {"distil", "ctc"} for row in rows if "distil" in row] == [{"distil"}] * 2 + [{"distil", "ctc"}]
    assert not any(name.startswith("teacher") for name in weights(path))
    assert len(list((Path(config.folder) / "teacher").rglob("*.npy"))) == SPEAKERS * len(WORDS)
    assert load_acoustic(path)[1]["card"]["teacher"] == "fake"


def test_a_student_of_20_ms_learns_from_a_teacher_of_40(config, monkeypatch):
    monkeypatch.setattr(teacher, "load_teacher", Fake().load)
    fine = dataclasses.replace(
        config,
        teacher="fake",
        delay_frames=2,
        stages=(Stage(steps=50, distil=1.0),),
        validate_every=10,
        noise=(),
        rir_probability=0.0,
        speed_probability=0.3,
        features=FeatureSettings(mels=16, hop=80),
    )
    card = load_acoustic(pretrain.pretrain(fine))[1]["card"]
    rows = [json.loads(line) for line in (Path(config.folder) / "log.jsonl").read_text().splitlines()]
    held = [row["held_out"]["distil"] for row in rows if "held_out" in row]
    assert held[-1] < 0.7 * held[0]
    assert card["distillation_delay_s"] == pytest.approx(0.04)
    assert card["receptive_field_s"] == pytest.approx(0.02 * 7 + 0.02)


def batch_of(lengths, teacher_lengths, token_lengths, dims=5):
    generator = torch.Generator().manual_seed(1)
    frames = max(lengths)
    ids = torch.randint(1, 29, (len(lengths), max(1, *token_lengths)), generator=generator)
    return {
        "features": torch.randn(len(lengths), 4 * frames, 16, generator=generator),
        "lengths": torch.tensor(lengths),
        "teacher": torch.randn(len(lengths), frames, dims, generator=generator),
        "teacher_lengths": torch.tensor(teacher_lengths),
        "tokens": ids,
        "token_lengths": torch.tensor(token_lengths),
    }


@pytest.fixture(scope="module")
def student(lively, small_sizes):
    return lively(AcousticModel(small_sizes, 29, 5), 1)


@given(
    lengths=st.lists(st.integers(1, 15), min_size=2, max_size=4),
    delay=st.integers(0, 6),
    data=st.data(),
)
@torch.no_grad()
def test_distillation_is_the_mean_over_known_frames_at_the_delay(student, lengths, delay, data):
    known = [data.draw(st.integers(0, length)) for length in lengths]
    batch = batch_of(lengths, known, [0] * len(lengths))
    found = losses(student, batch, Stage(distil=1.0, ctc=1.0), delay)
    if all(min(these, length - delay) <= 0 for these, length in zip(known, lengths, strict=True)):
        assert found == {}, "a loss of nothing would look perfect"
        return
    assert set(found) == {"distil"}
    predicted = student.teacher(student.encoder(batch["features"])[-1])
    each = []
    for row, length in enumerate(lengths):
        for t in range(min(known[row], length - delay)):
            p, q = predicted[row, t + delay], batch["teacher"][row, t]
            each.append(float((p - q).square().mean() + 1 - torch.dot(p, q) / (p.norm() * q.norm())))
    assert float(found["distil"]) == pytest.approx(np.mean(each), rel=1e-3, abs=1e-5)


@torch.no_grad()
def test_ctc_leaves_out_what_has_no_transcript_and_padding(student):
    batch = batch_of([12, 9, 15], [0, 0, 0], [3, 0, 4])
    found = losses(student, batch, Stage(distil=0.0, ctc=1.0), 0)
    assert set(found) == {"ctc"}
    batch["tokens"][1] = 7
    batch["features"][0, 48:] = 5.0  # behind the end of the first, all of the second
    batch["features"][1] = 5.0
    again = losses(student, batch, Stage(distil=0.0, ctc=1.0), 0)
    torch.testing.assert_close(again["ctc"], found["ctc"])
    rows = torch.tensor([0, 2])
    log_probs = student.log_probs(batch["features"])[rows].transpose(0, 1)
    expected = torch.nn.functional.ctc_loss(
        log_probs, batch["tokens"][rows], batch["lengths"][rows], batch["token_lengths"][rows], reduction="none"
    )
    assert float(found["ctc"]) == pytest.approx(float((expected / torch.tensor([3.0, 4.0])).mean()), rel=1e-4)


def test_the_learning_rate_rises_then_falls():
    config = Config(learning_rate=1e-3, warmup=10)
    rates = [learning_rate(step, 100, config) for step in range(101)]
    assert rates[:10] == pytest.approx([1e-3 * (i + 1) / 10 for i in range(10)])
    assert max(rates) == pytest.approx(1e-3) and all(np.diff(rates[10:]) < 0)
    assert rates[-1] == pytest.approx(1e-5)


def test_stages_follow_one_another():
    stages = (Stage(steps=2), Stage(steps=3, ctc=0.5), Stage(steps=1, ctc=1.0))
    found = [pretrain.stage_at(step, stages).ctc for step in range(7)]
    assert found == [0.0, 0.0, 0.5, 0.5, 0.5, 1.0, 1.0]


def test_a_training_checkpoint_holds_all_moments(tmp_path, small_sizes):
    torch.manual_seed(0)
    model = AcousticModel(small_sizes, 29, 5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        model.log_probs(torch.randn(2, 16, 16)).sum().backward()
        optimizer.step()
    progress = Progress(step=3, epoch=1, batch=2, seconds=4.5)
    pretrain_state.save_training(tmp_path / "t.safetensors", model, optimizer, progress, {"a": 1})
    other = AcousticModel(small_sizes, 29, 5)
    fresh = torch.optim.AdamW(other.parameters(), lr=1e-3)
    assert pretrain_state.resume(tmp_path / "t.safetensors", other, fresh, {"a": 1}) == progress
    assert equal(dict(model.state_dict()), dict(other.state_dict()))
    kept, read = optimizer.state_dict()["state"], fresh.state_dict()["state"]
    assert kept.keys() == read.keys() and len(kept) > 5
    assert all(equal(kept[index], read[index]) for index in kept)


GOOD = """
size = "micro"
[[data]]
manifest = "m.jsonl.gz"
[[stages]]
steps = 10
distil = 0
ctc = 1
"""


TWO_SPLITS = GOOD + "[[data]]\nmanifest = 'm.jsonl.gz'\nsplits = ['a', 'b']\n[[data]]\nmanifest = 'm.jsonl.gz'\n"


def read(tmp_path, text):
    (tmp_path / "run.toml").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_config(tmp_path / "run.toml")


def test_a_configuration_is_read(tmp_path):
    config = read(tmp_path, GOOD + "[features]\nfloor = 1e-6\n")
    assert config.sizes == SIZES["micro"] and config.data == (Source("m.jsonl.gz"),)
    assert config.stages == (Stage(10, 0.0, 1.0),) and config.features == FeatureSettings(floor=1e-6)
    own = read(tmp_path, GOOD.replace("micro", "mine") + "[sizes]\nchannels = 32\ndilations = [1, 2]\ntaps = [2]\n")
    assert len(read(tmp_path, TWO_SPLITS + "splits = ['a']\n").data) == 3, "overlapping is as meant"
    assert own.size == "mine" and own.sizes == EncoderSizes(channels=32, dilations=(1, 2), taps=(2,))


def test_the_recipes_are_read():
    recipes = Path(__file__).parents[1] / "recipes" / "pretrain"
    for size in SIZES:
        config = read_config(recipes / f"{size}.toml")
        assert config.sizes == SIZES[config.size] and config.data
    config = read_config(recipes / "micro-esphome.toml")
    assert config.sizes == dataclasses.replace(SIZES["micro"], mels=40) and config.features.front_end == "micro"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("size = ", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        ("", "no .*data"),
        (GOOD.replace("micro", "huge"), "huge.*base, micro"),
        ("learning_rte = 1e-3\n" + GOOD, "learning_rte"),
        ("learning_rate = 'fast'\n" + GOOD, "learning_rate"),
        ("seed = 1.5\n" + GOOD, "seed"),
        ("noise = 'folder'\n" + GOOD, "noise"),
        ("noise = [1]\n" + GOOD, "noise"),
        ("data = 3\n", "data"),
        ("data = ['m.jsonl.gz']\n", "data"),
        (GOOD.replace("manifest", "manifst"), "manifst"),
        (GOOD.replace('manifest = "m.jsonl.gz"', ""), "manifest"),
        (GOOD.replace("steps = 10", "steps = 0"), r"stages\[0\]: steps = 0: must be 1 or more"),
        (GOOD.replace("steps = 10", "steps = 'many'"), r"stages\[0\].*steps"),
        ("stages = []\n[[data]]\nmanifest = 'm'\n", "stages"),
        (GOOD.replace("distil = 0", "distil = 1"), "teacher"),
        (GOOD.replace("ctc = 1", "ctc = -0.1"), r"stages\[0\]: ctc = -0.1: must be 0 or more"),
        (GOOD.replace("ctc = 1", "ctc = 0"), r"stages\[0\]: .*learn nothing"),
        (GOOD.replace("ctc = 1", "ctc = nan"), r"stages\[0\]: ctc = nan"),
        ("data = []\n", "no .*data"),
        (GOOD + "[[data]]\n", r"data\[1\]: name a manifest"),
        (GOOD + "[sizes]\ntaps = [3, 1]\n", "taps"),
        (GOOD + "[sizes]\nchannels = 0\n", "1 or more"),
        (GOOD + "[features]\nmels = 20\n", "mels"),
        (GOOD + "[features]\nmels = -1\n", "features: mels = -1: must be 1 or more"),
        (GOOD + "[features]\nhop = 0\n", "features: hop = 0: must be 1 or more"),
        (GOOD + "[features]\nwindow = -400\n", "features: window = -400: must be hop"),
        (GOOD + "[features]\nfft = 256\n", "features: fft = 256: must be window"),
        (GOOD + "[features]\nsample_rate = 8000\n", "features: sample_rate = 8000: must be 16000"),
        (GOOD + "[features]\nlow_hz = 7700.0\n", "features: low_hz"),
        (GOOD + "[features]\nhigh_hz = 9000.0\n", "features: high_hz"),
        (GOOD + "[features]\nfloor = 0.0\n", "features: floor"),
        (GOOD + "[features]\nscale = 0.0\n", "features: scale"),
        ("seed = -1\n" + GOOD, "seed = -1: must be from 0"),
        ("weight_decay = -0.1\n" + GOOD, "weight_decay"),
        ("settle_batches = -1\n" + GOOD, "settle_batches"),
        ("noise_probability = 1.01\n" + GOOD, "noise_probability = 1.01: must be from 0 to 1"),
        ("rir_probability = nan\n" + GOOD, "rir_probability"),
        ("held_out = 1.5\n" + GOOD, "held_out"),
        ("minutes = -1\n" + GOOD, "minutes = -1.0: must be 0 or more"),
        ("batch_seconds = 0\n" + GOOD, "batch_seconds"),
        ("learning_rate = -1.0\n" + GOOD, "learning_rate"),
        ("learning_rate = inf\n" + GOOD, "learning_rate = inf: should be finite"),
        ("snr_db = [0, nan]\n" + GOOD, r"snr_db\[1\] = nan: should be finite"),
        ("threads = 100000\n" + GOOD, "threads = 100000: must be at most 1024"),
        ("workers = 100000\n" + GOOD, "workers = 100000: must be at most 1024"),
        (GOOD + "[[data]]\nmanifest = './m.jsonl.gz'\n", r"data\[1\]: '.*m.jsonl.gz' is data\[0\] again"),
        (GOOD.replace("manifest", "shar") + "[[data]]\nshar = 'm.jsonl.gz'\n", r"data\[1\]: .* again"),
        (TWO_SPLITS + "splits = ['b', 'a']\n", r"data\[2\]: .* is data\[1\] again"),
        ("snr_db = [5]\n" + GOOD, "snr_db"),
        ("snr_db = [25, 0]\n" + GOOD, "snr_db"),
        ("checkpoint_every = 0\n" + GOOD, "checkpoint_every"),
        ("delay_frames = -1\n" + GOOD, "delay_frames"),
        ("delay_frames = 51\n" + GOOD, "delay_frames = 51: must be at most 50"),
        ("threads = 0\n" + GOOD, "threads"),
        ("device = 'gpu'\n" + GOOD, "device"),
        ("device = 'cuda:x'\n" + GOOD, "device"),
        ("precision = '16'\n" + GOOD, "precision"),
        ("units = 'words'\n" + GOOD, "units = words: must be characters or phones"),
        ("channel_probability = 1.5\n" + GOOD, "channel_probability"),
        ("speed_probability = -0.1\n" + GOOD, "speed_probability"),
        ("made_noise = -1\n" + GOOD, "made_noise"),
        ("babble = 'folder'\n" + GOOD, "babble"),
    ],
)
def test_a_configuration_that_cannot_work_is_a_config_error(tmp_path, text, named):
    with pytest.raises(ConfigError, match=f"run.toml.*{named}") as caught:
        read(tmp_path, text)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["none.toml", "."])
def test_no_configuration_is_a_config_error(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_config(tmp_path / name)


@pytest.mark.parametrize(
    "wrong", ["noise", "rirs", "babble", "unreadable", "unreadable babble", "init", "settings", "checkpoint"]
)
def test_what_is_refused_is_refused_before_the_teacher_works(config, tmp_path, monkeypatch, write_corpus, wrong):
    def works(*_):
        raise AssertionError("the teacher was asked")

    config = dataclasses.replace(config, teacher="fake", noise=())
    latest = Path(config.folder) / "training.safetensors"
    if wrong in ("settings", "checkpoint"):
        pretrain.pretrain(dataclasses.replace(config, teacher=""), max_steps=1)
        told = "made with another 'teacher'"
        if wrong == "checkpoint":
            latest.write_bytes(latest.read_bytes()[:-100])
            told = "training.safetensors: no whole checkpoint .*: delete it, and the run begins anew"
    else:
        nowhere, damaged = str(tmp_path / "nowhere"), write_corpus(tmp_path / "damaged", {"u": word_of("a", 0)})
        (tmp_path / "damaged" / "u.wav").write_bytes(b"RIFF")
        changes = {
            "noise": {"noise": (nowhere,)},
            "rirs": {"rirs": (nowhere,)},
            "babble": {"babble": (Source(nowhere),), "babble_mixtures": 1},
            "unreadable": {"noise": (str(damaged),)},
            "unreadable babble": {"babble": (Source(str(damaged)),), "babble_mixtures": 1},
            "init": {"init": nowhere},
        }
        config, told = dataclasses.replace(config, **changes[wrong]), "damaged" if "un" in wrong else "nowhere"
    monkeypatch.setattr(pretrain, "cache_teacher", works)
    with pytest.raises(WakewordError, match=told) as caught:
        pretrain.pretrain(config)
    assert len(str(caught.value).splitlines()) == 1
