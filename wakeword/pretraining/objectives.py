"""What pretraining minimises, and how fast: distillation, CTC, the stages and the learning rate."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.acoustic import tokens
from wakeword.acoustic.encoder import AcousticModel
from wakeword.errors import WakewordError
from wakeword.pretraining.pretrain_config import Config, Stage

MOST_NOT_FINITE = 100
"""Steps in a row without a finite loss, after which a run ends."""


@dataclass
class NotFinite:
    """Of the steps `of` a run so far those whose losses were NaN or infinite, so that they trained nothing."""

    steps: int = 0
    of: int = 0
    in_a_row: int = 0

    def add(self, finite: bool) -> None:
        self.of += 1
        self.steps += not finite
        self.in_a_row = 0 if finite else self.in_a_row + 1

    def check(self, ended: bool) -> None:
        """Refuse to go on where nothing trains any more.

        Raises:
            WakewordError: the last `MOST_NOT_FINITE` steps in a row are such ones, or all of a run that has ended.
        """
        if self.in_a_row >= MOST_NOT_FINITE or (ended and self.steps and self.steps == self.of):
            raise WakewordError(
                f"{self.summary()}; the last {self.in_a_row} in a row: delete the teacher's cache and make the shards "
                "again, or set a smaller learning_rate, and begin in another folder"
            )

    def summary(self) -> str:
        """One line: how many there are; empty if none."""
        return f"{self.steps} of {self.of} steps trained nothing: their loss was NaN or infinite" if self.steps else ""


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
