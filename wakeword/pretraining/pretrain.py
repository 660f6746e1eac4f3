"""Pretrain the acoustic model: distillation from a teacher's encoder and CTC, in the stages that a TOML file names.

The loop reads from top to bottom: `pretrain` sets up, `run` trains, `save_training` and `resume` make a kill harmless.
`torchrun` may run it in several processes: all go through the same lines, each with its share of every batch
(`processes`); the first alone writes, and validates while the others wait.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import math
import os
import sys
import time
from pathlib import Path

import lhotse
import numpy as np
import torch

from wakeword.acoustic import norms, tokens
from wakeword.acoustic.acoustic_file import check_place, save_acoustic
from wakeword.acoustic.encoder import AcousticModel
from wakeword.augmentation.augment import Augmentation
from wakeword.errors import ConfigError, Skipped, WakewordError, require
from wakeword.features import log_mel
from wakeword.files import check_writable
from wakeword.pretraining import processes
from wakeword.pretraining.batches import Utterances, batches
from wakeword.pretraining.data import fewer, lowest_of_each, of_people, read_sources, split_speakers, with_tokens
from wakeword.pretraining.objectives import (
    NotFinite,
    Objective,
    begins,
    learning_rate,
    optimizer_of,
    stage_at,
    weights_of,
)
from wakeword.pretraining.pretrain_card import card_of, is_transcribed, origin, resumed
from wakeword.pretraining.pretrain_config import Config, Stage
from wakeword.pretraining.pretrain_mixed import Mixed, augmentation_of, check_mixed
from wakeword.pretraining.pretrain_state import Progress, load_weights, refuse_changed, resume, save_training
from wakeword.pretraining.pretrain_validation import MANY, note_unreadable, validate
from wakeword.pretraining.shards import Shards
from wakeword.pretraining.synced_norm import sync_norms
from wakeword.pretraining.teacher import cache_teacher

LOG_EVERY = 20
"""Steps between lines of the log."""


def train_mode(model: AcousticModel, stage: Stage) -> None:
    """Put the model in training mode; its normalisation stays as it is evaluated where the stage says so."""
    model.train()
    if stage.frozen_norms:
        norms.freeze(norms.norms_of(model))


def settle(model: AcousticModel, training, config: Config, augmentation: Augmentation, fabric) -> None:
    """Measure the normalisation's means and variances anew, over `settle_batches` batches of training audio.

    While training they are averages over the last ten batches or so, which may all be of one corpus or length.
    """
    if not config.settle_batches:
        return
    dataset = Utterances(config.features, augmentation, config.seed, epoch=2**31 - 1)
    mixed = of_epoch(training, config, dataset.epoch)
    if not mixed.is_lazy:
        order = np.random.default_rng(config.seed).permutation(len(mixed))
        mixed = lhotse.CutSet.from_cuts(mixed[int(index)] for index in order[: 60 * config.settle_batches])
    loader = batches(
        mixed, dataset, config.batch_seconds, 0, config.workers, rank=fabric.global_rank, world=fabric.world_size
    )
    with norms.measuring(norms.norms_of(model)):
        for _, batch in zip(range(config.settle_batches), loader, strict=False):
            batch = processes.aligned(fabric, batch, config.features.mels)
            if batch is not None:
                model.encoder(batch["features"])


def from_manifests(config: Config, fabric) -> tuple[lhotse.CutSet, lhotse.CutSet, int, frozenset[str]]:
    """Utterances that train and those of held-out people, with the teacher's frames; the dimensions of these; and
    the speakers held out whatever their hash.
    """
    cuts = read_sources(list(config.data))
    also = lowest_of_each(cuts) if config.held_out_each else frozenset()
    if config.minutes:
        training, held = split_speakers(cuts, config.held_out, also)
        cuts = fewer(training, config.minutes, config.seed) + held
    cuts, unusable = with_tokens(cuts, config.units)
    training, held = split_speakers(cuts, config.held_out, also)
    check_sets(config, training, any(True for _ in of_people(held)))  # before hours of the teacher's work
    first, skipped = fabric.is_global_zero, Skipped()
    if config.teacher:
        seconds = sum(cut.duration for cut in cuts)
        cache = config.teacher_cache or Path(config.folder) / "teacher"
        # The first process makes the teacher's frames, the others then find them all.
        with (
            fabric.rank_zero_first(),
            require("tqdm").tqdm(total=math.ceil(seconds), unit="s", desc="teacher", disable=not first) as bar,
        ):
            cuts, skipped = cache_teacher(cuts, config.teacher, cache, config.threads, bar.update)
    for reason in filter(None, (skipped.summary(), unusable.summary())):
        if first:
            print(reason, file=sys.stderr)
    dims = next((cut.teacher.shape[1] for cut in cuts if cut.has_custom("teacher")), 0)
    training, held = split_speakers(cuts, config.held_out, also)
    return training, lhotse.CutSet.from_cuts(of_people(held)), dims, also


def check_inputs(config: Config, latest: Path, settings: dict) -> None:
    """Refuse now what would be refused after hours of the teacher's work.

    Raises:
        WakewordError: no noise, impulse responses or babble that can be read, no such acoustic model to begin from, no
            package for the features, or a checkpoint of other settings.
    """
    check_mixed(config)
    log_mel.initial_state(config.features)
    if config.init:
        load_weights(AcousticModel(config.sizes, len(tokens.UNITS[config.units]), 0), config)
    if latest.exists():
        refuse_changed(latest, settings)


def check_sets(config: Config, training, some_held: bool) -> None:
    """Refuse utterances of which none would train, or validate, or teach CTC where a stage weighs it.

    Raises:
        ConfigError: there are none of one of these.
    """
    holds_out = config.held_out or config.held_out_each
    if next(iter(training), None) is None or (holds_out and not some_held):
        raise ConfigError(
            f"held_out = {config.held_out}: the utterances do not divide into two sets of speakers: name data of more "
            "speakers or another share (0 without held_out_each: none are held out)"
        )
    if any(stage.ctc for stage in config.stages) and not any(map(is_transcribed, training)):
        raise ConfigError(
            f"data: no utterance that trains has an English transcript that CTC could learn ({config.units}): set "
            "ctc = 0 in all stages, or name transcribed speech"
        )


def of_epoch(training: lhotse.CutSet | Shards, config: Config, epoch: int) -> lhotse.CutSet:
    """The training utterances: those in memory, or the shards as this epoch reads them."""
    return training.opened(config.seed, epoch) if isinstance(training, Shards) else training


def pretrain(config: Config, max_steps: int | None = None) -> Path:
    """Run, or resume, a pretraining; write the acoustic model and its card.

    Args:
        max_steps: stop (with a checkpoint) after this many steps in all, however long the stages are.

    Returns:
        The path of the acoustic model.

    Raises:
        WakewordError: unusable data, teacher or checkpoint; `output` or `folder` cannot be written.
    """
    tqdm = require("tqdm").tqdm
    if max_steps is not None and max_steps < 1:
        raise ConfigError(f"max_steps = {max_steps}: must be 1 or more")
    latest = Path(config.folder) / "training.safetensors"
    if os.environ.get("RANK", "0") == "0":  # the first of torchrun's processes alone writes
        check_place(Path(config.output))
        check_writable(latest)
    if Path(config.output).resolve() == latest.resolve():
        raise ConfigError(f"output = '{config.output}': is what the run keeps to resume from: choose another name")
    settings = dataclasses.asdict(config)
    check_inputs(config, latest, settings)
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    fabric = processes.start(config)
    first = fabric.is_global_zero
    folder = Path(config.folder)
    if any(source.shar for source in config.data):
        training = Shards(config.data, config.held_out, config.teacher, config.units, config.held_out_each)
        dims, also = training.teacher_dims(), training.also
        # The first process alone validates; the others need not look for held-out speakers in all the shards.
        validation, held = (training.validation(MANY), training.held()) if first else ((), ())
        if config.minutes:
            training = training.few(config.minutes, config.seed)
    else:
        training, validation, dims, also = from_manifests(config, fabric)
        held = validation
    check_sets(config, training, not first or len(validation) > 0)

    model = AcousticModel(config.sizes, len(tokens.UNITS[config.units]), dims)
    anew = load_weights(model, config) if config.init else []
    if fabric.world_size > 1:
        sync_norms(model)
    if config.compile and first and fabric.world_size > 1:
        print("compile = true: of one process alone; several go on without", file=sys.stderr)
    objective = fabric.setup_module(Objective(model, config.compile and fabric.world_size == 1))
    optimizer = optimizer_of(model, config)
    if latest.exists():
        progress = resume(latest, model, optimizer, settings)
        progress.origin = resumed(progress.origin, progress.step)
    else:
        progress = Progress(origin=origin(config, anew))
        if first and anew:
            print(f"init = '{config.init}': hears other features: {', '.join(anew)} begins anew", file=sys.stderr)

    mixed = Mixed()
    augmentation = augmentation_of(config, also, mixed)
    if first and mixed.skipped:
        print(f"to be mixed in: {mixed.skipped.summary()}", file=sys.stderr)
    total = sum(stage.steps for stage in config.stages)
    last = min(total, max_steps or total)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open(folder / "log.jsonl" if first else os.devnull, "a", buffering=1) as log,
        tqdm(total=last, initial=progress.step, unit="step", desc=config.size, disable=not first) as bar,
    ):
        unreadable, not_finite = run(
            objective,
            optimizer,
            training,
            validation,
            config,
            augmentation,
            progress,
            last,
            fabric,
            log,
            bar,
            latest,
            settings,
        )
    # DDP ends what it began while the other processes are still there; without them it would wait for them for ever.
    del objective
    gc.collect()
    if not stage_at(last - 1, config.stages).frozen_norms:
        settle(model, training, config, augmentation, fabric)
    if first:
        result = validate(model, validation, config, fabric.device, 10**6, unreadable) if len(validation) else {}
        card = card_of(config, training, held, len(validation), progress, result, also, mixed.licences)
        save_acoustic(Path(config.output), model, config.features, card, config.units)
    if first and not_finite.steps:
        print(not_finite.summary(), file=sys.stderr)
    if unreadable:
        print(f"{unreadable.summary()}: check the files, or prepare their corpus again", file=sys.stderr)
    processes.finish(fabric)
    return Path(config.output)


def run(
    objective, optimizer, training, validation, config, augmentation, progress, last, fabric, log, bar, latest, settings
) -> tuple[Skipped, NotFinite]:
    """Train until step `last`, epoch after epoch; `progress` is always where the next batch begins.

    Args:
        objective: `Objective` of the model, as `fabric.setup_module` gives it back.

    Returns:
        The utterances that this process could not read, without which the batches went on; and the steps that trained
        nothing because their losses were not finite.

    Raises:
        WakewordError: none of the audio can be read, or the losses stay NaN or infinite (`NotFinite.check`).
    """
    unreadable, not_finite = Skipped(), NotFinite()
    model = objective.module.model
    total = sum(stage.steps for stage in config.stages)
    rank, world = fabric.global_rank, fabric.world_size
    stage = stage_at(progress.step, config.stages)
    train_mode(model, stage)
    began, heard = time.monotonic(), progress.seconds
    while progress.step < last:
        dataset = Utterances(config.features, augmentation, config.seed, progress.epoch)
        whole_epoch, before = progress.batch == 0, progress.step
        cuts = of_epoch(training, config, progress.epoch)
        loader = batches(cuts, dataset, config.batch_seconds, progress.batch, config.workers, rank=rank, world=world)
        for batch in loader:
            if progress.step >= last:
                break
            progress.batch += 1
            note_unreadable(batch, unreadable)
            batch = processes.aligned(fabric, batch, config.features.mels)
            if batch is None:
                continue
            stage = stage_at(progress.step, config.stages)
            if begins(progress.step, config.stages):
                if stage.frozen_norms:
                    settle(model, training, config, augmentation, fabric)
                train_mode(model, stage)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress.step, total, config)
            weights = weights_of(stage)
            found = objective(batch, tuple(weights), config.delay_frames)
            # Sums over all processes: each then decides alike.
            counts = processes.together(fabric, {name: float(count) for name, (_, count) in found.items()})
            shares = {name: value / max(1.0, counts[name]) for name, (value, _) in found.items()}
            means = processes.together(fabric, {name: float(value.detach()) for name, value in shares.items()})
            heard_some, finite = any(counts.values()), all(map(math.isfinite, means.values()))
            if heard_some:
                not_finite.add(finite)
            if heard_some and finite:
                optimizer.zero_grad(set_to_none=True)
                # DDP takes the mean of the processes' gradients; their sum is wanted.
                fabric.backward(world * sum(weights[name] * value for name, value in shares.items()))
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_gradient)
                optimizer.step()
            progress.step += 1
            # Before the checkpoint: from one at the end the same command would write a model that trained nothing.
            not_finite.check(ended=progress.step == last)
            progress.seconds += processes.together(fabric, {"seconds": batch["seconds"]})["seconds"]
            bar.update()
            if progress.step % LOG_EVERY == 0 or progress.step == last:
                rate = (progress.seconds - heard) / 60 / max(1e-9, time.monotonic() - began)
                row = {
                    "step": progress.step,
                    **{name: round(value, 5) for name, value in means.items() if counts[name]},
                }
                bar.set_postfix({**row, "h/min": f"{rate:.2f}"})
                log.write(json.dumps({**row, "hours": progress.seconds / 3600, "hours_a_minute": rate}) + "\n")
            if fabric.is_global_zero and progress.step % config.validate_every == 0 and len(validation):
                found = validate(model, validation, config, fabric.device)
                train_mode(model, stage)
                row = {"step": progress.step, "hours": progress.seconds / 3600, "held_out": found}
                log.write(json.dumps(row) + "\n")
            if fabric.is_global_zero and (progress.step % config.checkpoint_every == 0 or progress.step == last):
                save_training(latest, model, optimizer, progress, settings)
        else:
            if whole_epoch and progress.step == before:
                raise WakewordError("none of the training audio can be read: check the paths in the manifests")
            progress.epoch += 1
            progress.batch = 0
    return unreadable, not_finite
