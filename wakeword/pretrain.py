"""Pretrain the acoustic model: distillation from a teacher's encoder and CTC, in the stages that a TOML file names.

The loop reads from top to bottom: `pretrain` sets up, `run` trains, `save_training` and `resume` make a kill harmless.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from wakeword import checkpoint, tokens
from wakeword.acoustic import SIZES, AcousticModel, EncoderSizes
from wakeword.augment import Augmentation, read_recordings
from wakeword.data import Source, Utterances, batches, read_sources, split_speakers, with_tokens
from wakeword.errors import ConfigError, WakewordError, require
from wakeword.features import FeatureSettings
from wakeword.files import replacing
from wakeword.teacher import cache_teacher


@dataclass(frozen=True)
class Stage:
    """A stretch of training: how many steps, and the weight of each loss. A weight of 0 leaves its loss out."""

    steps: int = 1000
    distil: float = 1.0
    ctc: float = 0.0


@dataclass(frozen=True)
class Config:
    """A pretraining run. Manifests come from `wakeword prepare`."""

    size: str = "base"
    output: str = "acoustic.safetensors"
    folder: str = "exp"
    data: tuple[Source, ...] = field(default=(), metadata={"items": Source})
    held_out: float = 0.06
    noise: tuple[str, ...] = ()
    rirs: tuple[str, ...] = ()
    teacher: str = ""
    teacher_cache: str = ""
    delay_frames: int = 4
    stages: tuple[Stage, ...] = field(default=(Stage(),), metadata={"items": Stage})
    batch_seconds: float = 120.0
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    clip_gradient: float = 5.0
    seed: int = 0
    workers: int = 1
    threads: int = 2
    device: str = "auto"
    checkpoint_every: int = 250
    validate_every: int = 500
    snr_db: tuple[float, ...] = (0.0, 25.0)
    noise_probability: float = 0.6
    rir_probability: float = 0.25
    sizes: EncoderSizes = EncoderSizes()
    features: FeatureSettings = FeatureSettings()
    card: str = ""


def read_toml(path: str | Path) -> dict:
    """A TOML file's tables.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    try:
        import tomllib
    except ModuleNotFoundError:
        tomllib = require("tomli")
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def read_config(path: str | Path) -> Config:
    """A run from its TOML file; relative paths inside it are seen from the working folder.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, a value of the wrong type or out of range.
    """
    values = read_toml(path)
    config = checkpoint.from_dict(Config, values, str(path))
    if config.size not in SIZES and "sizes" not in values:
        raise ConfigError(f"{path}: size = '{config.size}': one of {', '.join(SIZES)}, or give a [sizes] table")
    if "sizes" not in values:
        config = dataclasses.replace(config, sizes=SIZES[config.size])
    if not config.data:
        raise ConfigError(f"{path}: no [[data]] table: name at least one manifest")
    if any(stage.distil for stage in config.stages) and not config.teacher:
        raise ConfigError(f"{path}: a stage distils, but 'teacher' names none: set it, or distil = 0")
    if not config.stages or min(stage.steps for stage in config.stages) < 1:
        raise ConfigError(f"{path}: stages: each needs at least one step")
    wrong = out_of_range(config)
    if wrong:
        raise ConfigError(f"{path}: {wrong}")
    return config


def out_of_range(config: Config) -> str:
    """The first setting that cannot work, with what it must be; empty if there is none."""
    positive = ("batch_seconds", "learning_rate", "clip_gradient", "checkpoint_every", "validate_every", "threads")
    shares = ("noise_probability", "rir_probability")
    rules = [(name, getattr(config, name) > 0, "above 0") for name in positive]
    rules += [(name, getattr(config, name) >= 0, "0 or more") for name in ("warmup", "workers", "delay_frames")]
    rules += [(name, 0 <= getattr(config, name) <= 1, "from 0 to 1") for name in shares]
    rules += [
        ("held_out", 0 <= config.held_out < 1, "from 0 to below 1"),
        ("snr_db", len(config.snr_db) == 2 and config.snr_db[0] <= config.snr_db[1], "the lowest and the highest"),
        ("device", config.device.partition(":")[0] in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
    ]
    for name, fine, must in rules:
        if not fine:
            return f"{name} = {getattr(config, name)}: must be {must}"
    if config.features.mels != config.sizes.mels:
        return f"mels are {config.features.mels} in features, {config.sizes.mels} in sizes: must be equal"
    return ""


def losses(model: AcousticModel, batch: dict, stage: Stage, delay: int) -> dict[str, Tensor]:
    """The losses that the stage weighs: `distil` and `ctc`, each a mean over frames or tokens.

    Distillation: the encoder's frame `t + delay` predicts the teacher's frame `t` through one linear layer; mean
    squared error and (1 - cosine). The delay is what the student may hear of the future; it adds none to the model.
    """
    hidden = model.encoder(batch["features"])[-1]
    found = {}
    if stage.distil and batch["teacher"] is not None:
        predicted = model.teacher(hidden[:, delay:])
        target = batch["teacher"][:, : predicted.shape[1]].to(predicted.dtype)
        known = (
            torch.arange(predicted.shape[1], device=hidden.device)[None]
            < torch.minimum(batch["teacher_lengths"], batch["lengths"] - delay).clamp(min=0)[:, None]
        )
        error = (predicted - target).square().mean(-1) + 1 - functional.cosine_similarity(predicted, target, dim=-1)
        found["distil"] = (error * known).sum() / known.sum().clamp(min=1)
    if stage.ctc and (batch["token_lengths"] > 0).any():
        rows = batch["token_lengths"] > 0
        log_probs = torch.log_softmax(model.ctc(hidden[rows]).float(), dim=-1).transpose(0, 1)
        found["ctc"] = functional.ctc_loss(
            log_probs,
            batch["tokens"][rows],
            batch["lengths"][rows],
            batch["token_lengths"][rows],
            blank=tokens.BLANK,
            zero_infinity=True,
        )
    return found


def learning_rate(step: int, total: int, config: Config) -> float:
    """Linear warm-up, then half a cosine down to a hundredth."""
    if step < config.warmup:
        return config.learning_rate * (step + 1) / config.warmup
    done = (step - config.warmup) / max(1, total - config.warmup)
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def stage_at(step: int, stages: tuple[Stage, ...]) -> Stage:
    for stage in stages:
        if step < stage.steps:
            return stage
        step -= stage.steps
    return stages[-1]


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
        if not batch:
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
    frozen_config = dataclasses.asdict(dataclasses.replace(config, card="", threads=0, workers=0, device=""))
    latest = folder / "training.safetensors"
    progress = resume(latest, model, optimizer, frozen_config) if latest.exists() else Progress()

    total = sum(stage.steps for stage in config.stages)
    last = min(total, max_steps or total)
    folder.mkdir(parents=True, exist_ok=True)
    with (
        open(folder / "log.jsonl", "a", buffering=1) as log,
        tqdm(total=last, initial=progress.step, unit="step", desc=config.size) as bar,
    ):
        run(model, optimizer, training, validation, config, progress, last, device, log, bar, latest, frozen_config)

    result = validate(model, validation, config, device, limit=10**6) if len(validation) else {}
    write_acoustic(Path(config.output), model, config, training, validation, progress, result)
    return Path(config.output)


def run(model, optimizer, training, validation, config, progress, last, device, log, bar, latest, frozen) -> None:
    """Train until step `last`, epoch after epoch; `progress` is always where the next batch begins."""
    augmentation = Augmentation(
        noise_probability=config.noise_probability,
        snr_db=config.snr_db,
        rir_probability=config.rir_probability,
        noise=read_recordings(config.noise),
        rirs=read_recordings(config.rirs),
    )
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
            if not batch:
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


def write_acoustic(path: Path, model, config: Config, training, validation, progress: Progress, result: dict) -> None:
    """The acoustic model as it ships: encoder and CTC layer in 16 bits, without the layer towards the teacher."""
    hours: dict[str, dict] = {}
    for cut in training:
        custom = cut.custom or {}
        corpus = hours.setdefault(custom.get("corpus", "?"), {"hours": 0.0, "licence": custom.get("licence", "?")})
        corpus["hours"] += cut.duration / 3600
    for corpus in hours.values():
        corpus["hours"] = round(corpus["hours"], 3)
    parameters = sum(parameter.numel() for parameter in model.encoder.parameters())
    card = {
        "name": config.size,
        "data": hours,
        "held_out_hours": round(sum(cut.duration for cut in validation) / 3600, 3),
        "held_out_speakers": {name: round(value, 4) for name, value in result.items()},
        "teacher": config.teacher,
        "hours_heard": round(progress.seconds / 3600, 1),
        "steps": progress.step,
        "parameters": parameters,
        "receptive_field_s": round(model.encoder.receptive_field_s, 3),
        "look_ahead_s": 0.0,
        "distillation_delay_s": config.delay_frames * 0.04,
        "units": "".join(tokens.SYMBOLS[1:]),
        "note": config.card,
    }
    meta = {
        "sizes": dataclasses.asdict(config.sizes),
        "features": dataclasses.asdict(config.features),
        "tokens": list(tokens.SYMBOLS),
        "card": card,
    }
    tensors = {name: t for name, t in model.state_dict().items() if not name.startswith("teacher.")}
    tensors = {name: t.half() if t.is_floating_point() and t.dim() > 1 else t for name, t in tensors.items()}
    checkpoint.save(path, tensors, "acoustic", meta)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")


def load_acoustic(path: str | Path) -> tuple[AcousticModel, dict]:
    """An acoustic model in eval mode, and its meta.

    Args:
        path: the name of a shipped model (`base`, `micro`) or a file.

    Raises:
        ModelError: no such model, or a foreign, truncated or older file.
    """
    tensors, meta = checkpoint.load(checkpoint.shipped(str(path)), "acoustic")
    try:
        model = AcousticModel(checkpoint.from_dict(EncoderSizes, meta["sizes"], str(path)), len(meta["tokens"]))
        model.load_state_dict(tensors)
    except (RuntimeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise checkpoint.ModelError(f"{path}: its weights do not fit its sizes: it is damaged") from error
    return model.eval(), meta
