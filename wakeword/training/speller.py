"""Spelling as a second task of a head's training: its layers must keep what tells the phrase's letters apart.

CTC (Graves et al. 2006, https://doi.org/10.1145/1143844.1143891) on the phrase's own text, where it lies in its clips,
by output nodes that only training has (Caruana, "Multitask Learning", Machine Learning 28, 1997).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from wakeword.acoustic import tokens
from wakeword.training.examples import Example


class Speller(nn.Module):
    """Nodes for the letters of `texts`, on what the head's output nodes hear, `width` values a frame."""

    def __init__(self, width: int, texts: Sequence[str]):
        super().__init__()
        self.ids = [tokens.encode(text) for text in texts]
        self.letters = nn.Linear(width, len(tokens.SYMBOLS))

    def forward(self, hidden: Tensor, batch: Sequence[Example]) -> Tensor:
        """The mean CTC loss, a token of the phrase, over the examples that hold one: a scalar, 0 without any.

        Args:
            hidden: `[examples, frames, width]`, of whose frames each example's `place` is looked at.
        """
        said = [(row, *each.place, self.ids[each.output]) for row, each in enumerate(batch) if each.place is not None]
        if not said:
            return hidden.sum() * 0
        heard = [self.letters(hidden[row, first:last]) for row, first, last, _ in said]
        log_probs = torch.log_softmax(nn.utils.rnn.pad_sequence(heard), dim=-1)
        targets = [torch.tensor(ids) for *_, ids in said]
        lengths = torch.tensor([len(each) for each in heard]), torch.tensor([len(each) for each in targets])
        # "mean" divides each loss by its tokens; a place too short for the text has none.
        return functional.ctc_loss(
            log_probs, torch.cat(targets), *lengths, blank=tokens.BLANK, reduction="mean", zero_infinity=True
        )
