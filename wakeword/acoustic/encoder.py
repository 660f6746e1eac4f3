"""The acoustic model: a small causal streaming encoder, and the output layer that reads characters from it (CTC)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wakeword.errors import ConfigError
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings


@dataclass(frozen=True)
class EncoderSizes:
    """The encoder's dimensions; stored with its weights, so that a file alone rebuilds it.

    `dilations` has an entry a block, in encoder frames; `taps` are the blocks, counted from 1 in rising order, that a
    wake head hears. The last block is one of them: CTC reads it, and blocks above the last tap would serve nobody.
    `kernel` is how many frames a block hears; a block is a `SeparableBlock` or a `WholeBlock`.

    Raises:
        ConfigError: a dimension below 1, or taps that are not so.
    """

    mels: int = 48
    stem: int = 128
    channels: int = 256
    kernel: int = 3
    separable: bool = False
    dilations: tuple[int, ...] = (1, 1, 2, 2, 3, 4, 4, 6, 6, 8)
    taps: tuple[int, ...] = (4, 7, 10)

    def __post_init__(self):
        object.__setattr__(self, "dilations", tuple(self.dilations))
        object.__setattr__(self, "taps", tuple(self.taps))
        if min(self.mels, self.stem, self.channels, *self.dilations, 1) < 1 or self.kernel < 2:
            raise ConfigError("mels, stem, channels and dilations must be 1 or more, kernel 2 or more")
        blocks = len(self.dilations)
        rising = list(self.taps) == sorted(set(self.taps))
        # A wake head would never hear blocks above the last tap: they would only cost time.
        if not self.taps or not rising or self.taps[0] < 1 or self.taps[-1] != blocks:
            raise ConfigError(
                f"taps = {list(self.taps)}: name blocks in rising order, from 1 on, and the last of them, "
                f"{blocks} (as many as there are dilations)"
            )


SIZES = {
    "base": EncoderSizes(channels=448, separable=True),
    "micro": EncoderSizes(stem=64, channels=160, separable=True, dilations=(1, 1, 2, 2, 3, 4, 4, 6, 8), taps=(4, 6, 9)),
}


class WholeBlock(nn.Module):
    """A residual block over `kernel` frames, `dilation` apart, that ends with the present one.

    The frames are laid side by side and multiplied by one matrix: a causal dilated convolution as a plain product.
    """

    def __init__(self, channels: int, kernel: int, dilation: int):
        super().__init__()
        self.dilation, self.past_frames = dilation, (kernel - 1) * dilation
        self.linear = nn.Linear(kernel * channels, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`x` [batch, frames, channels], `past` [batch, past_frames, channels] -> the same, and the next past."""
        heard, frames = torch.cat([past, x], dim=1), x.shape[1]
        shifted = [heard.narrow(1, start, frames) for start in range(0, self.past_frames + 1, self.dilation)]
        y = normalised(self.norm, self.linear(torch.cat(shifted, dim=2)))
        return torch.relu(x + y), heard[:, frames:]


class SeparableBlock(nn.Module):
    """A residual block: each channel over `kernel` frames, `dilation` apart, the present one last; then all channels.

    A causal, dilated depthwise-separable convolution (Howard et al. 2017, https://arxiv.org/abs/1704.04861): with as
    many weights it has far more channels than a whole one. Between its halves is a normalisation and no ReLU, so that
    all folds into `kernel` weights a channel and one matrix.
    """

    def __init__(self, channels: int, kernel: int, dilation: int):
        super().__init__()
        self.dilation, self.past_frames = dilation, (kernel - 1) * dilation
        self.depthwise = nn.Parameter(torch.empty(kernel, channels).uniform_(-(kernel**-0.5), kernel**-0.5))
        self.depthwise_norm = nn.BatchNorm1d(channels)
        self.linear = nn.Linear(channels, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`x` [batch, frames, channels], `past` [batch, past_frames, channels] -> the same, and the next past."""
        heard, frames = torch.cat([past, x], dim=1), x.shape[1]
        y = self.depthwise[-1] * x
        # Sums of shifted frames: on CPUs faster than a depthwise convolution kernel, which wants frames last.
        for index, weight in enumerate(self.depthwise[:-1]):
            y = torch.addcmul(y, weight, heard.narrow(1, index * self.dilation, frames))
        y = normalised(self.norm, self.linear(normalised(self.depthwise_norm, y)))
        return torch.relu(x + y), heard[:, frames:]


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """Batch normalisation (Ioffe and Szegedy 2015) of `[batch, frames, channels]` over batch and frames."""
    return norm(x.reshape(-1, x.shape[-1])).reshape(x.shape)


class Stack(nn.Module):
    """Blocks one on another, whose pasts lie in one flat tensor that the caller holds."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], separable: bool):
        super().__init__()
        self.channels = channels
        block = SeparableBlock if separable else WholeBlock
        self.blocks = nn.ModuleList(block(channels, kernel, dilation) for dilation in dilations)
        self.state_size = self.memory_frames() * channels

    def memory_frames(self, first: int = 0) -> int:
        """How many earlier frames of what goes into block `first` (from 0) a frame of the output depends on."""
        return sum(block.past_frames for block in self.blocks[first:])

    def forward(self, x: Tensor, state: Tensor) -> tuple[list[Tensor], Tensor]:
        """`x` [batch, frames, channels], `state` [batch, state_size] -> the output of each block, the next state."""
        outputs, pasts, start = [], [], 0
        for block in self.blocks:
            size = block.past_frames * self.channels
            past = state[:, start : start + size].reshape(x.shape[0], block.past_frames, self.channels)
            x, past = block(x, past)
            outputs.append(x)
            pasts.append(past.reshape(x.shape[0], size))
            start += size
        return outputs, torch.cat([*pasts, state[:, start:]], dim=1)


class Encoder(nn.Module):
    """Log-mel frames (10 ms) to frames of 40 ms: a stem that halves the rate twice, then a `Stack`. No look-ahead."""

    def __init__(self, sizes: EncoderSizes):
        super().__init__()
        self.sizes = sizes
        self.stem = nn.ModuleList([nn.Linear(2 * sizes.mels, sizes.stem, bias=False), nn.BatchNorm1d(sizes.stem)])
        self.widen = nn.ModuleList(
            [nn.Linear(2 * sizes.stem, sizes.channels, bias=False), nn.BatchNorm1d(sizes.channels)]
        )
        self.stack = Stack(sizes.channels, sizes.kernel, sizes.dilations, sizes.separable)

    def initial_state(self, batch: int = 1) -> Tensor:
        """The state before the stream: zeros `[batch, state_size]`."""
        return torch.zeros(batch, self.stack.state_size, device=self.stem[0].weight.device)

    def step(self, features: Tensor, state: Tensor) -> tuple[list[Tensor], Tensor]:
        """A block of a stream.

        Args:
            features: `[batch, frames, mels]`, `frames` a multiple of `FRAMES_PER_STEP`.
            state: `[batch, state_size]`, from the step before or `initial_state`.

        Returns:
            The outputs of the named `taps` blocks, each `[batch, frames / 4, channels]`, and the next state.
        """
        outputs, state = self.stack(self.subsample(features), state)
        return [outputs[tap - 1] for tap in self.sizes.taps], state

    def forward(self, features: Tensor) -> list[Tensor]:
        """A whole utterance: one step from the zero state."""
        return self.step(features, self.initial_state(features.shape[0]))[0]

    def subsample(self, features: Tensor) -> Tensor:
        """`[batch, frames, mels]` -> `[batch, frames / 4, channels]`: two frames make one, twice."""
        batch, frames, mels = features.shape
        linear, norm = self.stem
        x = torch.relu(normalised(norm, linear(features.reshape(batch, frames // 2, 2 * mels))))
        linear, norm = self.widen
        return torch.relu(normalised(norm, linear(x.reshape(batch, frames // FRAMES_PER_STEP, linear.in_features))))

    def receptive_field_s(self, features: FeatureSettings) -> float:
        """Seconds of audio that one output frame can depend on."""
        frames = 1 + self.stack.memory_frames()
        return frames * features.frame_s + (features.window - features.hop) / features.sample_rate


class AcousticModel(nn.Module):
    """The encoder with the output layers of pretraining: characters (CTC) and, while distilling, the teacher's frames.

    CTC: Graves et al. 2006, https://doi.org/10.1145/1143844.1143891.
    """

    def __init__(self, sizes: EncoderSizes, tokens: int, teacher: int = 0):
        super().__init__()
        self.encoder = Encoder(sizes)
        self.ctc = nn.Linear(sizes.channels, tokens)
        self.teacher = nn.Linear(sizes.channels, teacher) if teacher else None

    def log_probs(self, features: Tensor) -> Tensor:
        """`[batch, frames, mels]` -> log-probabilities of the tokens `[batch, frames / 4, tokens]`."""
        return torch.log_softmax(self.ctc(self.encoder(features)[-1]), dim=-1)


def fold_norm(linear: nn.Linear, norm: nn.BatchNorm1d) -> nn.Linear:
    """One linear layer that does what `linear` and then `norm` (in eval mode) do."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    folded = nn.Linear(linear.in_features, linear.out_features)
    with torch.no_grad():
        folded.weight.copy_(linear.weight * scale[:, None])
        bias = linear.bias if linear.bias is not None else torch.zeros_like(norm.running_mean)
        folded.bias.copy_(norm.bias + (bias - norm.running_mean) * scale)
    return folded


def fold_block(block: WholeBlock | SeparableBlock) -> None:
    """Move the normalisations of a block (in eval mode) into its weights, in place."""
    block.linear, block.norm = fold_norm(block.linear, block.norm), nn.Identity()
    if isinstance(block, SeparableBlock):
        norm = block.depthwise_norm
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        with torch.no_grad():
            block.depthwise.mul_(scale)
            block.linear.bias.add_(block.linear.weight @ (norm.bias - norm.running_mean * scale))
        block.depthwise_norm = nn.Identity()
