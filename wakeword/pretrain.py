"""Pretrain the acoustic model: distillation from a teacher's encoder and CTC, in the stages that a TOML file names.

The loop reads from top to bottom: `pretrain` sets up, `run` trains, `save_training` and `resume` make a kill harmless.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path

import lhotse
import numpy as np
import torch
from torch import Tensor

from wakeword import checkpoint, tokens
from wakeword.acoustic import AcousticModel
from wakeword.acoustic_file import save_acoustic
from wakeword.augment import Augmentation, read_recordings, simulated_rooms
from wakeword.data import Utterances, batches, read_sources, split_speakers, with_tokens
from wakeword.errors import ConfigError, Skipped, WakewordError, require
from wakeword.features import FRAME_S
from wakeword.objectives import learning_rate, losses, stage_at
from wakeword.pretrain_config import Config, Stage
from wakeword.teacher import cache_teacher

UNBINDING = dict(card="", output="", folder="", threads=0, workers=0, device="", settle_batches=0)
"""Settings that may change while a run is interrupted: the steps do not depend on them."""


@dataclass
class Progress:
    """Where a run is: enough, with the weights and moments, to go on bit for bit."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0


def save_training(path: Path, model: AcousticModel, optimizer: torch.optim.AdamW, progress: Progress, config) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= checkpoint.optimizer_tensors(optimizer)
    checkpoint.save(path, tensors, "training", {"progress": dataclasses.asdict(progress), "config": config})


def resume(path: Path, model: AcousticModel, optimizer: torch.optim.AdamW, config: dict) -> Progress:
    """Take up a run where its checkpoint left it.

    Raises:
        ModelError: not a training checkpoint.
        ConfigError: it was made with another configuration.
    """
    tensors, meta = checkpoint.load(path, "training")
    changed = [key for key in config if json.loads(json.dumps(config[key])) != meta["config"].get(key)]
    if changed:
        raise ConfigError(f"{path}: was made with another '{changed[0]}': set it back, or choose another folder")
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    checkpoint.load_optimizer(optimizer, tensors)
    return Progress(**meta["progress"])


@torch.no_grad()
def settle(model: AcousticModel, training, config: Config, device: torch.device) -> None:
    """Measure the normalisation's means and variances anew, over `settle_batches` batches of training audio.

    While training they are averages over the last ten batches or so, which may all be of one corpus or length ("precise
    batch normalisation", Wu and Johnson 2021, https://arxiv.org/abs/2105.07576).
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm1d)]
    if not config.settle_batches:
        return
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    model.train()
    order = np.random.default_rng(config.seed).permutation(len(training))
    mixed = lhotse.CutSet.from_cuts(training[int(index)] for index in order[: 60 * config.settle_batches])
    dataset = Utterances(config.features, augmentation_of(config), config.seed, epoch=2**31 - 1)
    loader = batches(mixed, dataset, config.batch_seconds, workers=config.workers)
    for _, batch in zip(range(config.settle_batches), loader, strict=False):
        if "features" in batch:
            model.encoder(batch["features"].to(device))
    for norm in norms:
        norm.momentum = 0.1


def augmentation_of(config: Config) -> Augmentation:
    """The run's augmentation, its recordings read."""
    return Augmentation(
        noise_probability=config.noise_probability,
        snr_db=config.snr_db,
        rir_probability=config.rir_probability,
        noise=read_recordings(config.noise),
        rirs=read_recordings(config.rirs),
        rooms=simulated_rooms(config.simulated_rooms),
    )


def to_device(batch: dict, device: torch.device) -> dict:
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


@torch.no_grad()
def validate(model: AcousticModel, cuts, config: Config, device: torch.device, limit: int = 400) -> dict[str, float]:
    """Losses and the character error rate on held-out speakers, without augmentation."""
    torchaudio = require("torchaudio")
    model.eval()
    dataset = Utterances(config.features, None, config.seed, 0)
    total: dict[str, float] = {"characters": 0, "errors": 0}
    count = 0
    both = Stage(distil=1.0 if model.teacher is not None else 0.0, ctc=1.0)
    for batch in batches(cuts.subset(first=min(limit, len(cuts))), dataset, config.batch_seconds, shuffle=False):
        if "features" not in batch:
            continue
        batch = to_device(batch, device)
        for name, value in losses(model, batch, both, config.delay_frames).items():
            total[name] = total.get(name, 0.0) + float(value)
        count += 1
        best = model.log_probs(batch["features"]).argmax(-1).cpu()
        for row, length in enumerate(batch["token_lengths"].tolist()):
            if length:
                heard = tokens.decode(best[row, : batch["lengths"][row]].tolist())
                said = "".join(tokens.SYMBOLS[index] for index in batch["tokens"][row, :length].tolist())
                total["errors"] += torchaudio.functional.edit_distance(heard, said)
                total["characters"] += len(said)
    model.train()
    report = {name: total[name] / max(1, count) for name in ("distil", "ctc") if name in total}
    if total["characters"]:
        report["cer"] = total["errors"] / total["characters"]
    return report


def pretrain(config: Config, max_steps: int | None = None) -> Path:
    """Run, or resume, a pretraining; write the acoustic model and its card.

    Args:
        max_steps: stop (with a checkpoint) after this many steps in all, however long the stages are.

    Returns:
        The path of the acoustic model.

    Raises:
        WakewordError: unusable data, teacher or checkpoint.
    """
    tqdm = require("tqdm").tqdm
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    device = torch.device(
        ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
    )
    folder = Path(config.folder)
    cuts = read_sources(list(config.data))
    skipped = None
    if config.teacher:
        seconds = sum(cut.duration for cut in cuts)
        with tqdm(total=round(seconds), unit="s", desc="teacher") as bar:
            cache = config.teacher_cache or folder / "teacher"
            cuts, skipped = cache_teacher(cuts, config.teacher, cache, config.threads, bar.update)
    cuts, unusable = with_tokens(cuts)
    training, validation = split_speakers(cuts, config.held_out)
    if not len(training) or (config.held_out and not len(validation)):
        raise WakewordError(
            f"held_out = {config.held_out}: {len(cuts)} utterances do not divide into two sets of speakers"
        )
    for reason in filter(None, (skipped.summary() if skipped else "", unusable.summary())):
        print(reason)
    dims = next((cut.teacher.shape[1] for cut in cuts if cut.has_custom("teacher")), 0)

    model = AcousticModel(config.sizes, len(tokens.SYMBOLS), dims).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay)
    frozen_config = dataclasses.asdict(dataclasses.replace(config, **UNBINDING))
    latest = folder / "training.safetensors"
    progress = resume(latest, model, optimizer, frozen_config) if latest.exists() else Progress()

    total = sum(stage.steps for stage in config.stages)
    last = min(total, max_steps or total)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open(folder / "log.jsonl", "a", buffering=1) as log,
        tqdm(total=last, initial=progress.step, unit="step", desc=config.size) as bar,
    ):
        unreadable = run(
            model, optimizer, training, validation, config, progress, last, device, log, bar, latest, frozen_config
        )
    if unreadable:
        print(f"{unreadable.summary()}: check the files, or prepare their corpus again")

    settle(model, training, config, device)
    result = validate(model, validation, config, device, limit=10**6) if len(validation) else {}
    card = card_of(config, training, validation, progress, result)
    save_acoustic(Path(config.output), model, config.features, card)
    return Path(config.output)


def run(model, optimizer, training, validation, config, progress, last, device, log, bar, latest, frozen) -> Skipped:
    """Train until step `last`, epoch after epoch; `progress` is always where the next batch begins.

    Returns:
        The utterances that could not be read; the batches went on without them.
    """
    unreadable = Skipped()
    augmentation = augmentation_of(config)
    total = sum(stage.steps for stage in config.stages)
    model.train()
    began, heard = time.monotonic(), progress.seconds
    while progress.step < last:
        dataset = Utterances(config.features, augmentation, config.seed, progress.epoch)
        whole_epoch, before = progress.batch == 0, progress.step
        for batch in batches(training, dataset, config.batch_seconds, progress.batch, config.workers):
            if progress.step >= last:
                break
            progress.batch += 1
            for name in batch["unreadable"]:
                unreadable.add(name, f"{name}: its audio can no longer be read")
            if "features" not in batch:
                continue
            stage = stage_at(progress.step, config.stages)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(progress.step, total, config)
            found = losses(model, to_device(batch, device), stage, config.delay_frames)
            weights = {"distil": stage.distil, "ctc": stage.ctc}
            loss = sum((weights[name] * value for name, value in found.items()), torch.zeros((), device=device))
            if found and torch.isfinite(loss):
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_gradient)
                optimizer.step()
            progress.step += 1
            progress.seconds += batch["seconds"]
            bar.update()
            if progress.step % 20 == 0 or progress.step == last:
                rate = (progress.seconds - heard) / 60 / max(1e-9, time.monotonic() - began)
                row = {
                    "step": progress.step,
                    **{name: round(float(value.detach()), 5) for name, value in found.items()},
                }
                bar.set_postfix({**row, "h/min": f"{rate:.2f}"})
                log.write(json.dumps({**row, "hours": progress.seconds / 3600, "hours_a_minute": rate}) + "\n")
            if progress.step % config.validate_every == 0 and len(validation):
                log.write(
                    json.dumps({"step": progress.step, "held_out": validate(model, validation, config, device)}) + "\n"
                )
            if progress.step % config.checkpoint_every == 0 or progress.step == last:
                save_training(latest, model, optimizer, progress, frozen)
        else:
            if whole_epoch and progress.step == before:
                raise WakewordError("none of the training audio can be read: check the paths in the manifests")
            progress.epoch += 1
            progress.batch = 0
    return unreadable


def card_of(config: Config, training, validation, progress: Progress, result: dict) -> dict:
    """On what, with which teacher and how long a model was trained, and what it does on held-out speakers."""
    hours: dict[str, dict] = {}
    for cut in training:
        custom = cut.custom or {}
        corpus = hours.setdefault(custom.get("corpus", "?"), {"hours": 0.0, "licence": custom.get("licence", "?")})
        corpus["hours"] = round(corpus["hours"] + cut.duration / 3600, 5)
    return {
        "name": config.size,
        "data": hours,
        "held_out_hours": round(sum(cut.duration for cut in validation) / 3600, 3),
        "held_out_speakers": {name: round(value, 4) for name, value in result.items()},
        "teacher": config.teacher,
        "hours_heard": round(progress.seconds / 3600, 1),
        "steps": progress.step,
        "distillation_delay_s": config.delay_frames * FRAME_S,
        "note": config.card,
    }
