"""The wake head: the new layers for phrases, on top of the encoder whose output layers were taken off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wakeword.acoustic.encoder import Encoder, EncoderSizes, Stack, normalised


@dataclass(frozen=True)
class HeadSizes:
    """The head's dimensions: `depth` counts the new layers before the output nodes (0: output nodes alone).

    Each of the `outputs` nodes hears a phrase of its own; all the layers below are shared.
    """

    depth: int = 4
    channels: int = 48
    kernel: int = 3
    separable: bool = False
    outputs: int = 1

    @property
    def dilations(self) -> tuple[int, ...]:
        return tuple(2 ** (block % 3) for block in range(max(0, self.depth - 1)))


class Head(nn.Module):
    """Standardised taps of the encoder, a layer that narrows them, dilated causal blocks, an output node a phrase."""

    def __init__(self, inputs: int, sizes: HeadSizes):
        super().__init__()
        self.sizes = sizes
        self.standardise = nn.BatchNorm1d(inputs, affine=False)
        width = sizes.channels if sizes.depth else inputs
        self.narrow = None
        if sizes.depth:
            self.narrow = nn.ModuleList([nn.Linear(inputs, width, bias=False), nn.BatchNorm1d(width)])
        self.stack = Stack(width, sizes.kernel, sizes.dilations, sizes.separable)
        self.width = width
        self.output = nn.Linear(width, sizes.outputs)
        # Nearly all frames are of no phrase: starting there saves the first steps of training.
        nn.init.constant_(self.output.bias, -3.0)

    def forward(self, taps: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """`taps` [batch, frames, inputs], `state` [batch, state_size] -> logits [batch, frames, outputs] and state."""
        x, state = self.hidden(taps, state)
        return self.output(x), state

    def hidden(self, taps: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The same, but in place of the logits what the output nodes hear: [batch, frames, width]."""
        x = normalised(self.standardise, taps)
        if self.narrow is not None:
            linear, norm = self.narrow
            x = torch.relu(normalised(norm, linear(x)))
        if len(self.stack.blocks):
            outputs, state = self.stack(x, state)
            x = outputs[-1]
        return x, state

    @property
    def memory_frames(self) -> int:
        """How many earlier encoder frames a logit depends on."""
        return self.stack.memory_frames()


class WakeModel(nn.Module):
    """Encoder and head as one streaming model: log-mel frames to the logits that a phrase has just ended."""

    def __init__(self, encoder_sizes: EncoderSizes, head_sizes: HeadSizes):
        super().__init__()
        self.encoder = Encoder(encoder_sizes)
        self.head = Head(encoder_sizes.channels * len(encoder_sizes.taps), head_sizes)

    def initial_state(self, batch: int = 1) -> Tensor:
        """The state before the stream: zeros `[batch, state_size]`, the encoder's and the head's."""
        size = self.encoder.stack.state_size + self.head.stack.state_size
        return torch.zeros(batch, size, device=self.head.output.weight.device)

    def step(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """A block of a stream.

        Args:
            features: `[batch, frames, mels]`, `frames` a multiple of `FRAMES_PER_STEP`.
            state: `[batch, state_size]`, from the step before or `initial_state`.

        Returns:
            Logits `[batch, frames / 4, outputs]` and the next state.
        """
        split = self.encoder.stack.state_size
        taps, encoder_state = self.encoder.step(features, state[:, :split])
        logits, head_state = self.head(torch.cat(taps, dim=-1), state[:, split:])
        return logits, torch.cat([encoder_state, head_state], dim=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits `[batch, frames / 4, outputs]` of whole recordings: one step from the zero state."""
        return self.step(features, self.initial_state(features.shape[0]))[0]
