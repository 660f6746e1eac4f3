"""Pretraining throughput in hours of audio a minute: the data pipeline and its parts, the step, and all together.

    python benchmarks/training.py recipes/pretrain/micro.toml --steps 30

Nothing of the run that the configuration describes is touched: its folder and output are replaced by a temporary
folder. The teacher's frames are read from the configuration's cache where there is one, else made in that folder for
the utterances that are used. What is timed is wall time between batches or steps, from the second one on: the first
one starts worker processes and warms caches.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import random
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import wakeword  # noqa: F401  (before torch: it tells torch's threads how to wait)

# isort: split
import torch
from machine import about, add_outputs, machine, markdown, publish
from training_data import data_alone, parts_alone, rates, reading_alone

from wakeword.acoustic import tokens
from wakeword.acoustic.encoder import AcousticModel
from wakeword.cli import exit_status, number
from wakeword.pretraining import pretrain, processes
from wakeword.pretraining.batches import batches
from wakeword.pretraining.data import read_sources, with_tokens
from wakeword.pretraining.objectives import Objective, optimizer_of
from wakeword.pretraining.pretrain_config import Config, config_of
from wakeword.pretraining.pretrain_mixed import augmentation_of
from wakeword.pretraining.pretrain_state import Progress
from wakeword.pretraining.shards import Shards
from wakeword.pretraining.teacher import cache_teacher
from wakeword.settings import read_toml

DATA = ("data", "teacher", "teacher_cache")
"""The settings that `--data` takes over."""


class Clock:
    """Stands where the progress bar does and notes when each step ended, and how much audio it was."""

    def __init__(self, progress: Progress):
        self.progress, self.marks = progress, []

    def update(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time(), self.progress.seconds))

    def set_postfix(self, values: dict) -> None:
        """The loop tells its losses; they do not matter here."""


def chosen(config: Config, steps: int, scratch: Path):
    """Utterances enough for the steps, drawn from all of the configuration's, with tokens and the teacher's frames.

    Shards are not drawn from: as they are, they are mixed and read one after the other.
    """
    if any(source.shar for source in config.data):
        return Shards(config.data, 0.0, config.teacher, config.units)
    cuts = list(read_sources(list(config.data)))
    random.Random(config.seed).shuffle(cuts)
    wanted, taken = 1.3 * (steps + 2) * config.batch_seconds, []
    while cuts and wanted > 0:
        taken.append(cuts.pop())
        wanted -= taken[-1].duration
    from lhotse import CutSet

    found = CutSet.from_cuts(taken)
    if config.teacher:
        cache = Path(config.teacher_cache or Path(config.folder) / "teacher")
        # A cache begun here would be standardised by what these few utterances are.
        cache = cache if (cache / "statistics.json").exists() else scratch / "teacher"
        found, _ = cache_teacher(found, config.teacher, cache, config.threads)
    return with_tokens(found, config.units)[0]


def training(
    cuts, config: Config, steps: int, scratch: Path, held: list[dict] | None = None, compiled: bool = False
) -> list[tuple]:
    """The marks of `steps + 1` real training steps; from `held` batches in memory, if given."""
    torch.manual_seed(config.seed)
    fabric = processes.start(config)
    if isinstance(cuts, Shards):
        dims = cuts.teacher_dims()
    else:
        dims = next((cut.teacher.shape[1] for cut in cuts if cut.has_custom("teacher")), 0)
    model = AcousticModel(config.sizes, len(tokens.UNITS[config.units]), dims)
    objective = fabric.setup_module(Objective(model, compiled))
    optimizer = optimizer_of(model, config)
    augmentation = augmentation_of(config)
    progress = Progress()
    clock = Clock(progress)
    supply = (lambda *ignored, **also: held) if held else batches
    with mock.patch.object(pretrain, "batches", supply):
        latest = scratch / "training.safetensors"
        log = io.StringIO()
        pretrain.run(
            objective, optimizer, cuts, [], config, augmentation, progress, steps + 1, fabric, log, clock, latest, {}
        )
    return clock.marks


def report(config: Config, steps: int, scratch: Path, compiled: bool = False) -> dict:
    """The measurements as `{"machine", "size", "precision", "threads", "workers", "training": [rows]}`."""
    found = {
        "machine": machine(),
        "size": config.size,
        "precision": config.precision,
        "threads": config.threads,
        "workers": config.workers,
    }
    torch.set_num_threads(config.threads)
    config = dataclasses.replace(config, checkpoint_every=10**9, validate_every=10**9)
    cuts = chosen(config, steps, scratch)
    reading = reading_alone(cuts, config, steps)
    parts = parts_alone(cuts, config, steps, scratch)
    data, held = data_alone(cuts, config, steps)
    step = rates("step alone", training(cuts, config, steps, scratch, held))
    rows = [reading, *parts, data, step]
    if compiled:
        # Batches of other lengths compile again: what is timed comes after a pass over the same ones.
        training(cuts, config, steps, scratch, held, compiled)
        rows.append(rates("step alone, compiled", training(cuts, config, steps, scratch, held, compiled)))
    rows.append(rates("together", training(cuts, config, steps, scratch)))
    if compiled:
        training(cuts, config, steps, scratch, compiled=True)
        rows.append(rates("together, compiled", training(cuts, config, steps, scratch, compiled=True)))
    return {**found, "training": rows}


def text(found: dict) -> str:
    """The report as Markdown."""
    run = (
        f"`{found['size']}`, precision {found['precision']}, {found['threads']} thread(s) for the step, "
        f"{found['workers']} worker(s) for the data:"
    )
    return f"{about(found['machine'])}\n\nPretraining {run}\n\n{markdown(found['training'])}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("config", type=Path, help="a pretraining configuration (TOML)")
    parser.add_argument("--steps", type=number(least=1), default=30, help="steps that are timed")
    parser.add_argument(
        "--data", type=Path, help="a configuration whose utterances to take (recipes/pretrain/data.toml)"
    )
    parser.add_argument("--threads", type=number(least=1), help="instead of the configuration's")
    parser.add_argument("--workers", type=number(least=0), help="instead of the configuration's")
    parser.add_argument("--precision", choices=["32", "bf16"], help="instead of the configuration's")
    parser.add_argument("--compile", action="store_true", help="also with torch.compile: the step alone, and together")
    add_outputs(parser)
    options = parser.parse_args()

    def work() -> None:
        values = read_toml(options.config)
        if options.data:
            other = read_toml(options.data)
            values |= {name: other[name] for name in DATA if name in other}
        config = config_of(values, str(options.config))
        changes = {name: getattr(options, name) for name in ("threads", "workers", "precision")}
        config = dataclasses.replace(config, **{k: v for k, v in changes.items() if v is not None})
        with tempfile.TemporaryDirectory() as scratch:
            publish(report(config, options.steps, Path(scratch), options.compile), text, options)

    return exit_status(work, "training")


if __name__ == "__main__":
    sys.exit(main())
