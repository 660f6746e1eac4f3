"""What pretraining minimises, and how fast: distillation, CTC, the stages and the learning rate."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from wakeword import tokens
from wakeword.acoustic import AcousticModel
from wakeword.pretrain_config import Config, Stage


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
