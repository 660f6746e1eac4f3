"""Batch normalisation while training: whose statistics, and when they stop changing.

What runs later is normalised by fixed statistics, folded into the weights. In training mode each batch has its own, to
which the weights adapt: with fixed ones the same model is then worse, the more so the smaller and the more alike
batches are within, and unlike each other (Wu and Johnson 2021, https://arxiv.org/abs/2105.07576). So at some step
they are measured over many batches, and training goes on with them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


def norms_of(module: nn.Module) -> list[nn.BatchNorm1d]:
    return [part for part in module.modules() if isinstance(part, nn.BatchNorm1d)]


def freeze(norms: list[nn.BatchNorm1d]) -> None:
    """Keep the statistics from here on, while the scales and offsets go on training; until `train()` is called."""
    for norm in norms:
        norm.eval()


@contextmanager
def measuring(norms: list[nn.BatchNorm1d]) -> Iterator[None]:
    """Measure the statistics anew, in training mode, as plain means over what the model hears inside the block."""
    before = [(norm, norm.momentum) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        yield
    for norm, momentum in before:
        norm.momentum = momentum
