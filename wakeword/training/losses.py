"""What a wake head is trained to make small: errors of logits on clips of the phrases and on other audio.

Three kinds, compared in recipes/one_hour/STUDY.md:

- `frames`: binary cross-entropy, averaged over the frames of the phrase, and summed over a clip's or window's other
  frames, so that one false peak weighs as much as a phrase.
- `focal`: the same, each frame weighed by the square of its error (Lin et al. 2017, https://arxiv.org/abs/1708.02002):
  frames that are nearly right count for little.
- `max-pool`: of each clip the frame of the phrase, and of each clip or window the other frame, whose logit is highest
  (Sun et al. 2016, https://arxiv.org/abs/1705.02411): what a threshold would see.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LOSSES = ("frames", "focal", "max-pool")
OTHERS = 0.3
"""Of the sum over a clip's frames without the phrase, beside the mean over those with it."""


def phrase_loss(logits: Tensor, labels: Tensor, kind: str = "frames", smoothing: float = 0.0) -> Tensor:
    """The loss of clips of the phrases: a scalar.

    The frames without the phrase are taken apart over the pairs of a clip with the output of its phrase, and over the
    pairs with the other outputs; each is divided by its own number of pairs. So each of the three terms is the mean
    over the outputs.

    Args:
        logits: float32 `[clips, frames, outputs]`.
        labels: int8, as many: 1 where the output's phrase has just ended, 0 where it has not, -1 does not count.
        smoothing: what the target of the phrase's frames is short of 1. Logits then have no reason to grow beyond
            log(1 / smoothing - 1), where scores are all but 1 and thresholds cannot be told apart (Szegedy et al. 2016,
            https://arxiv.org/abs/1512.00567; of the positives alone: Salimans et al. 2016,
            https://arxiv.org/abs/1606.03498).
    """
    said, unsaid = labels == 1, labels == 0
    own = said.any(dim=1)
    other = unsaid.any(dim=1) & ~own
    if kind == "max-pool":
        highest = _highest(logits, said)
        loss = _mean(functional.softplus(-highest) + smoothing * highest, own)
        false = functional.softplus(_highest(logits, unsaid))
    else:
        error = _errors(logits, (1 - smoothing) * said, kind)
        loss = (error * said).sum() / said.sum().clamp(min=1)
        false = OTHERS * (error * unsaid).sum(dim=1)
    return loss + _mean(false, own) + _mean(false, other)


def other_loss(logits: Tensor, kind: str = "frames") -> Tensor:
    """The loss of windows without any of the phrases, logits float32 `[windows, frames, outputs]`: a scalar."""
    if kind == "max-pool":
        return functional.softplus(logits.amax(dim=1)).mean()
    return _errors(logits, torch.zeros_like(logits), kind).sum(dim=1).mean()


def _errors(logits: Tensor, target: Tensor, kind: str) -> Tensor:
    """Binary cross-entropy a frame, weighed where `kind` asks for it: as `logits`."""
    error = functional.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
    return error * (1 - torch.exp(-error)) ** 2 if kind == "focal" else error


def _highest(logits: Tensor, counts: Tensor) -> Tensor:
    """The highest logit `[clips, outputs]` of the frames that count; very low where none does."""
    return logits.masked_fill(~counts, -1e4).amax(dim=1)


def _mean(values: Tensor, pairs: Tensor) -> Tensor:
    return (values * pairs).sum() / pairs.sum().clamp(min=1)
