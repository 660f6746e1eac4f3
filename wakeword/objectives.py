"""What pretraining minimises, and how fast: distillation, CTC, the stages and the learning rate."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword import tokens
from wakeword.acoustic import AcousticModel
from wakeword.pretrain_config import Config, Stage


class Objective(nn.Module):
    """`terms` as a module: what DDP and autocast are wrapped around. `compiled` by torch.compile, for any lengths."""

    def __init__(self, model: AcousticModel, compiled: bool = False):
        super().__init__()
        self.model = model
        if compiled:
            self.forward = torch.compile(self.forward, dynamic=True)

    def forward(self, batch: dict, names: tuple[str, ...], delay: int) -> dict[str, tuple[Tensor, Tensor]]:
        return terms(self.model, batch, names, delay)


def terms(model: AcousticModel, batch: dict, names: tuple[str, ...], delay: int) -> dict[str, tuple[Tensor, Tensor]]:
    """The sum and the count of each loss in `names`: `distil` over frames, `ctc` over utterances.

    Distillation: the encoder's frame `t + delay` predicts the teacher's frame `t` through one linear layer; mean
    squared error and (1 - cosine). The delay is what the student may hear of the future; it adds none to the model.
    CTC: the negative log-likelihood of an utterance's transcript, divided by its tokens.

    A batch that has nothing for a loss gives a sum of 0 that still depends on all weights: the processes that share a
    batch must agree on which gradients there are, and in which order they come.
    """
    hidden = model.encoder(batch["features"])[-1]
    found = {}
    if "distil" in names and model.teacher is not None:
        predicted = model.teacher(hidden[:, delay:]).float()
        if batch["teacher"] is None:
            found["distil"] = predicted.sum() * 0, batch["teacher_lengths"].sum()
        else:
            target = batch["teacher"][:, : predicted.shape[1]]
            known = (
                torch.arange(predicted.shape[1], device=hidden.device)[None]
                < torch.minimum(batch["teacher_lengths"], batch["lengths"] - delay).clamp(min=0)[:, None]
            )
            error = (predicted - target).square().mean(-1) + 1 - functional.cosine_similarity(predicted, target, dim=-1)
            found["distil"] = (error * known).sum(), known.sum()
    if "ctc" in names:
        rows = batch["token_lengths"] > 0
        log_probs = torch.log_softmax(model.ctc(hidden[rows]).float(), dim=-1).transpose(0, 1)
        if rows.any():
            each = functional.ctc_loss(
                log_probs,
                batch["tokens"][rows],
                batch["lengths"][rows],
                batch["token_lengths"][rows],
                blank=tokens.BLANK,
                reduction="none",
                zero_infinity=True,
            )
            found["ctc"] = (each / batch["token_lengths"][rows]).sum(), rows.sum()
        else:
            found["ctc"] = log_probs.sum() * 0, rows.sum()
    return found


def weights_of(stage: Stage) -> dict[str, float]:
    """The losses that the stage weighs, and how much."""
    return {name: weight for name, weight in (("distil", stage.distil), ("ctc", stage.ctc)) if weight}


def losses(model: AcousticModel, batch: dict, stage: Stage, delay: int) -> dict[str, Tensor]:
    """The means of the `terms` that the stage weighs and for which the batch has a target."""
    found = terms(model, batch, tuple(weights_of(stage)), delay)
    return {name: total / count for name, (total, count) in found.items() if count}


def optimizer_of(model: nn.Module, config: Config) -> torch.optim.AdamW:
    """AdamW; fused, since parameter by parameter it takes a tenth of a step of `micro` on a CPU."""
    return torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)


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


def begins(step: int, stages: tuple[Stage, ...]) -> bool:
    """Whether `step` is the first of a stage."""
    return step in itertools.accumulate((stage.steps for stage in stages), initial=0)
