"""Two processes that share every batch do what one would, to within rounding (seen: 6e-6); killed, they go on."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lhotse")
pytest.importorskip("lightning_fabric")

from data_prep import shard  # noqa: E402
from wakeword.acoustic.encoder import EncoderSizes  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.pretraining import pretrain, teacher  # noqa: E402
from wakeword.pretraining.data import Source, read_sources  # noqa: E402
from wakeword.pretraining.pretrain_config import Config, Stage  # noqa: E402

RUN = """
import gc, json, os, signal, sys
from pathlib import Path
import torch
from wakeword.pretraining import pretrain, processes
from wakeword.pretraining.pretrain_config import Config
from wakeword.settings import from_dict
from wakeword.pretraining.shards import Shards

config, marker = from_dict(Config, json.loads(sys.argv[1]), "argument"), Path(sys.argv[2])
if os.environ["RANK"] == "1" and not marker.exists():  # the second process dies once, two steps after a checkpoint
    steps, real = [], torch.optim.AdamW.step
    def step(self, *args, **kwargs):
        steps.append(1)
        if len(steps) == 13:
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, *args, **kwargs)
    torch.optim.AdamW.step = step
if os.environ["RANK"] != "0":
    def never(*ignored, **also):
        raise AssertionError("the first process alone validates")
    pretrain.validate = Shards.validation = never
finish = processes.finish
def alone(fabric):  # a DDP that outlives the group can wait for the other process for ever
    kept = [thing for thing in gc.get_objects() if isinstance(thing, torch.nn.parallel.DistributedDataParallel)]
    assert not kept, "DistributedDataParallel is still there"
    finish(fabric)
processes.finish = alone
pretrain.pretrain(config)
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory, write_corpus, speech_like):
    """Distillation, then CTC beside it; utterances of unequal length, some without a transcript, one unreadable.

    Batches of a few utterances, the last of an epoch often of one: then the second process has none.
    """
    folder = tmp_path_factory.mktemp("processes")
    rng = np.random.default_rng(0)
    names = [f"u{i}" for i in range(24)]
    recordings = {name: speech_like(float(rng.uniform(0.5, 2.5)), index) for index, name in enumerate(names)}
    texts = {name: ("abc", "bad cab", "")[index % 3] for index, name in enumerate(names)}
    manifest = write_corpus(folder, recordings, texts=texts, speakers={name: name for name in names})
    matrix = rng.standard_normal((16, 8)).astype(np.float32) / 4

    def encode(samples):
        from wakeword.features.log_mel import extract

        frames = extract(samples, FeatureSettings(mels=16))
        frames = np.pad(frames, [(0, -len(frames) % 4), (0, 0)], mode="edge")
        return np.tanh(frames.reshape(-1, 4, 16).mean(axis=1) @ matrix)

    config = Config(
        size="tiny",
        output=str(folder / "one.safetensors"),
        folder=str(folder / "one"),
        data=(Source(str(manifest)),),
        held_out=0.15,
        teacher="fake",
        teacher_cache=str(folder / "teacher"),
        delay_frames=1,
        stages=(
            Stage(steps=8, distil=1.0),
            Stage(steps=6, distil=1.0, ctc=0.3),
            Stage(steps=6, distil=1.0, ctc=0.3, frozen_norms=True),
        ),
        batch_seconds=6.0,
        learning_rate=2e-3,
        warmup=4,
        workers=0,
        threads=1,
        device="cpu",
        settle_batches=3,
        checkpoint_every=5,
        validate_every=10,
        noise=(str(folder / "u0.wav"),),
        sizes=EncoderSizes(mels=16, stem=16, channels=24, dilations=(1, 2), taps=(2,)),
        features=FeatureSettings(mels=16),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(teacher, "load_teacher", lambda *ignored: teacher.Teacher("fake", encode))
        patch.setattr(pretrain, "LOG_EVERY", 1)
        teacher.cache_teacher(read_sources(list(config.data)), "fake", config.teacher_cache)
        (folder / "u3.wav").write_bytes(b"")  # one that was there for the teacher and now is not
        pretrain.pretrain(config)
    return config


def curve(config: Config) -> list[dict]:
    return [json.loads(line) for line in (Path(config.folder) / "log.jsonl").read_text().splitlines()]


def same_curves(one: Config, two: Config) -> list[int]:
    """The steps of `two`'s log, whose losses must be those of `one`."""
    one_rows = {row["step"]: row for row in curve(one) if "held_out" not in row}
    rows = [row for row in curve(two) if "held_out" not in row]
    for row in rows:
        expected = one_rows[row["step"]]
        assert row.keys() == expected.keys()
        for name in {"distil", "ctc", "hours"} & row.keys():
            assert row[name] == pytest.approx(expected[name], rel=1e-4), (row, expected)
    assert any("ctc" in row for row in rows)
    return [row["step"] for row in rows]


def torchrun(config: Config, marker: Path, restarts: int) -> subprocess.CompletedProcess:
    script = marker.with_suffix(".py")
    script.write_text("from wakeword.pretraining import pretrain\npretrain.LOG_EVERY = 1\n" + RUN)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", str(restarts), str(script), json.dumps(dataclasses.asdict(config)), str(marker)]
    root = str(Path(__file__).parents[1])
    # Without the second, restarted processes find the addresses of the dead ones in torchrun's store.
    settings = {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
    environment = {**os.environ, "PYTHONPATH": root, **settings}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=root, env=environment)


def test_two_processes_give_the_loss_curve_of_one_and_go_on_when_one_is_killed(config, tmp_path):
    two = dataclasses.replace(config, folder=str(tmp_path / "two"), output=str(tmp_path / "two.safetensors"))
    done = torchrun(two, tmp_path / "killed", restarts=1)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "killed").exists(), "the second process was never killed"
    steps = same_curves(config, two)
    assert sorted(set(steps)) == list(range(1, 21)) and steps.count(11) == 2, "it did not take up step 10's checkpoint"

    model, two_model = (checkpoint.load(run.output)[0] for run in (config, two))
    for name, tensor in model.items():
        torch.testing.assert_close(two_model[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


def test_two_processes_that_read_shards_do_what_one_does(config, tmp_path, monkeypatch):
    """Both losses in all steps, so that DDP has no unused layer to look for."""
    manifest = config.data[0].manifest
    made = shard.write_shards([manifest], tmp_path / "shards", "fake", config.teacher_cache, shard_size=9)
    assert (made.shards, made.cuts, len(made.skipped)) == (3, 23, 1)
    one = dataclasses.replace(
        config,
        data=(Source(shar=str(tmp_path / "shards")),),
        stages=(Stage(steps=8, distil=1.0, ctc=0.3),),
        folder=str(tmp_path / "one"),
        output=str(tmp_path / "one.safetensors"),
        validate_every=4,
    )
    monkeypatch.setattr(pretrain, "LOG_EVERY", 1)
    pretrain.pretrain(one)
    two = dataclasses.replace(one, folder=str(tmp_path / "two"), output=str(tmp_path / "two.st"), compile=True)
    (tmp_path / "no death").touch()
    done = torchrun(two, tmp_path / "no death", restarts=0)
    assert done.returncode == 0, done.stderr
    assert same_curves(one, two) == list(range(1, 9))
    held = [[row["held_out"] for row in curve(run) if "held_out" in row] for run in (one, two)]
    assert len(held[0]) == len(held[1]) == 2
    assert done.stderr.count("several go on without") == 1
    assert "find_unused_parameters" not in done.stderr and "UserWarning" not in done.stderr
