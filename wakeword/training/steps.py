"""The steps of a head's training, whatever its loss: optimiser, learning rates, when the encoder thaws, averages."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from wakeword.head.layers import WakeModel

WARM_UP = 50
"""Steps over which a learning rate rises to what it is asked to be."""


class Steps:
    """The parameters of a head and of what trains of the encoder, with their optimiser (AdamW) and their average.

    A pretrained encoder rests for a third of the steps, until the head above it has learnt something, and then trains
    at `config.encoder_learning_rate`. One in train mode (`transfer.retrain`, `transfer.from_scratch`) trains from the
    first step on, as fast as the head. Rates rise over `WARM_UP` steps and fall along half a cosine.

    `average` is a moving average of the weights over the steps (Polyak and Juditsky 1992,
    https://doi.org/10.1137/0330046).
    """

    def __init__(self, model: WakeModel, encoder_parameters: list[Tensor], config, more: nn.Module | None = None):
        """`config` is a `train_config.TrainConfig`; `more` trains as fast as the head, and is no part of the model."""
        self.config, self.encoder = config, encoder_parameters
        at_once = model.encoder.training
        self.thaw = 0 if at_once else config.steps // 3
        self.rates = [config.learning_rate, config.learning_rate if at_once else config.encoder_learning_rate]
        head = list(model.head.parameters())
        self.more = list(more.parameters()) if more is not None else []
        self.parameters = head + encoder_parameters
        groups = [{"params": part, "lr": 0.0} for part in (head + self.more, encoder_parameters) if part]
        self.optimizer = torch.optim.AdamW(groups, weight_decay=1e-2, fused=True)
        self.average = [parameter.detach().clone() for parameter in self.parameters]

    def begin(self, step: int) -> None:
        """Set the learning rates of a step, and whether the encoder trains in it; before its loss is computed."""
        decay = 0.5 * (1 + np.cos(np.pi * step / self.config.steps)) + 0.01
        since = (step, step - self.thaw)
        for group, rate, steps in zip(self.optimizer.param_groups, self.rates, since, strict=False):
            group["lr"] = rate * decay * min(1.0, max(0.0, (steps + 1) / WARM_UP))
        for parameter in self.encoder:
            parameter.requires_grad_(step >= self.thaw)

    def take(self, step: int, loss: Tensor) -> None:
        """Make the loss smaller, and take the weights into their average."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 5.0)
        self.optimizer.step()
        # It begins as a plain mean, so that the first steps do not weigh on it for long.
        keep = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(self.average, self.parameters, strict=True):
                mean.lerp_(parameter, 1 - keep)

    @torch.no_grad()
    def finish(self) -> None:
        """Leave the averages as the weights, unless `config.average` is off."""
        if self.config.average:
            for mean, parameter in zip(self.average, self.parameters, strict=True):
                parameter.copy_(mean)
