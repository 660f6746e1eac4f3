"""Batch normalisation whose statistics are those of all processes' rows together.

`torch.nn.SyncBatchNorm` does the same, but for CUDA alone; this one runs wherever the processes can sum a vector, so
that what many GPUs will do can be tested on two CPU processes.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class SyncedNorm(nn.BatchNorm1d):
    """As `BatchNorm1d` over `[rows, channels]`, of which each process holds some (or none, but all must call it).

    The gradient goes through the shared statistics to every process's rows. Parameters, buffers and evaluation are
    those of `BatchNorm1d`; the running statistics come out the same in all processes.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        rows = x.float()
        # Sums around the running mean instead of zero: squares of a large mean would swallow a small variance.
        centre = self.running_mean
        offset = rows - centre
        count = offset.new_full((1,), len(x))
        sums = all_reduce(torch.cat([offset.sum(0), offset.square().sum(0), count]))
        first, second, total = sums[: self.num_features], sums[self.num_features : -1], sums[-1].detach()
        mean = first / total
        variance = (second / total - mean.square()).clamp(min=0)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            unbiased = variance * total / (total - 1).clamp(min=1)
            self.running_var.lerp_(unbiased, share)
        y = (offset - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias
        with torch.no_grad():
            self.running_mean = centre + share * mean
        return y.to(x.dtype)


def sync_norms(module: nn.Module) -> None:
    """Put a `SyncedNorm` in the place of each `BatchNorm1d` below `module`; parameters and buffers stay the same."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm1d:
            synced = SyncedNorm(child.num_features, child.eps, child.momentum)
            synced.weight, synced.bias = child.weight, child.bias
            for buffer, value in child.named_buffers():
                setattr(synced, buffer, value)
            setattr(module, name, synced)
        else:
            sync_norms(child)
