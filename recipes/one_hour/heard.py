"""What a model hears in a stream, for many models: the stream's features are computed once and kept in a file, and what
an encoder gives for it, where many heads hear the same one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wakeword.acoustic.encoder import Encoder
from wakeword.evaluation.metrics import Track
from wakeword.evaluation.streams import Stream
from wakeword.features import log_mel
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings
from wakeword.files import replacing
from wakeword.head.layers import WakeModel

SMOOTHING_S = 0.12
AT_A_TIME = 500 * FRAMES_PER_STEP
"""Log-mel frames that an encoder hears at a time: more do not fit a CPU's cache."""


@dataclass(frozen=True)
class Heard:
    """A stream's log-mel frames, float32 `[frames, mels]`, and its clips' starts and ends, seconds, `[clips]` each."""

    frames: np.ndarray
    starts_s: np.ndarray
    ends_s: np.ndarray

    @property
    def encoder_frames(self) -> int:
        """How many frames an encoder makes of it."""
        return len(self.frames) // FRAMES_PER_STEP


def heard(pieces: Iterable[Stream], settings: FeatureSettings) -> Heard:
    """The features of a whole stream, as a detector computes them piece by piece."""
    state, frames, events = log_mel.initial_state(settings), [], []
    for piece in pieces:
        events += piece.events
        found, state = log_mel.step(piece.samples, state, settings)
        frames.append(found)
    starts, ends = (np.array([getattr(event, name) for event in events]) for name in ("start_s", "end_s"))
    return Heard(np.concatenate(frames), starts, ends)


def kept(folder: str, settings: FeatureSettings, made_of: list, make: Callable[[], Iterable[Stream]]) -> Heard:
    """`heard` of a stream, from a file in `folder` where another probe left it; `made_of` tells it from others."""
    digest = hashlib.sha256(repr((settings, made_of)).encode()).hexdigest()[:16]
    path = Path(folder) / f"features_{digest}.npz"
    if not path.exists():
        found = heard(make(), settings)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(found))
    with np.load(path) as file:
        return Heard(**file)


def encoded(encoder: Encoder, stream: Heard) -> Iterator[Tensor]:
    """What an encoder gives for a stream, piece by piece, float32 `[1, encoder frames, dims]` each."""
    state = encoder.initial_state()
    frames = torch.from_numpy(stream.frames[: stream.encoder_frames * FRAMES_PER_STEP])[None]
    for piece in frames.split(AT_A_TIME, dim=1):
        taps, state = encoder.step(piece, state)
        yield torch.cat(taps, dim=-1)


@torch.inference_mode()
def kept_encoded(folder: str, encoder: Encoder, stream: Heard) -> Iterator[Tensor]:
    """`encoded`, from a file in `folder` where another probe left it. Only the last one stays: it may be gigabytes."""
    digest = hashlib.sha256(repr(encoder.sizes).encode())
    for values in (*encoder.state_dict().values(), torch.from_numpy(stream.frames)):
        digest.update(values.contiguous().numpy())
    path = Path(folder) / f"encoded_{digest.hexdigest()[:16]}.npy"
    try:
        values = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        values = _keep_encoded(path, encoder, stream)
    step = AT_A_TIME // FRAMES_PER_STEP
    return (torch.from_numpy(values[start : start + step].copy())[None] for start in range(0, len(values), step))


def _keep_encoded(path: Path, encoder: Encoder, stream: Heard) -> np.ndarray:
    for other in path.parent.glob("encoded_*.npy"):
        other.unlink(missing_ok=True)
    shape = stream.encoder_frames, encoder.sizes.channels * len(encoder.sizes.taps)
    with replacing(path) as temporary:
        # It is read from here, not opened again: another process may have put its own in the file's place by then.
        values, start = np.lib.format.open_memmap(temporary, "w+", np.float32, shape), 0
        for piece in encoded(encoder, stream):
            values[start : start + piece.shape[1]] = piece[0].numpy()
            start += piece.shape[1]
    return values


@torch.inference_mode()
def tracks(
    model: WakeModel, settings: FeatureSettings, stream: Heard, pieces: Iterable[Tensor] | None = None
) -> list[Track]:
    """The scores of a model over a stream, a track for each of its outputs.

    Args:
        pieces: what its encoder gives for the stream, where that is known already (`kept_encoded`).
    """
    head_state = torch.zeros(1, model.head.stack.state_size)
    posteriors: list[np.ndarray] = []
    for piece in encoded(model.encoder, stream) if pieces is None else pieces:
        logits, head_state = model.head(piece, head_state)
        posteriors.append(torch.sigmoid(logits[0]).numpy())
    window = np.full(round(SMOOTHING_S / settings.frame_s), settings.frame_s / SMOOTHING_S, np.float32)
    time_s = settings.frame_s * np.arange(1, stream.encoder_frames + 1)
    hours = float((stream.ends_s - stream.starts_s).sum()) / 3600
    return [
        Track(time_s, np.convolve(output, window)[: 1 - len(window)], hours, stream.starts_s, stream.ends_s)
        for output in np.concatenate(posteriors).T
    ]
