"""Today's usual transfer learning: a small network on Google's frozen speech embedding, as openWakeWord trains its own.

It learns from what recipes/one_hour lets our models learn from: the same clips amid the same kinds of sound, the same
negatives, noise and rooms, in the same number of copies. What is held out there is held out here, and chooses how the
network is made (peers_search.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers_engines import BLOCK, DIMS, EMBEDDINGS
from peers_streams import digest
from torch import Tensor, nn
from torch.nn import functional

from wakeword.audio.clips import Clip, find_clips, for_training, in_pieces, read_clips
from wakeword.audio.levels import active_span
from wakeword.audio.waveform import SAMPLE_RATE, pcm16
from wakeword.augmentation.augment import Augmentation
from wakeword.errors import Skipped, WakewordError
from wakeword.files import replacing
from wakeword.training import examples
from wakeword.training.material import split_clips, without_phrases
from wakeword.training.train import augmentation_of
from wakeword.training.train_config import TrainConfig

HOP_S = BLOCK / SAMPLE_RATE
BATCH = 128
OTHERS = 4
"""Windows without the phrase for each with it."""
NOISE = ("esc10", "speech-commands")


@dataclass(frozen=True)
class Setting:
    """How a network is made: the width of its layers, its steps for one of ours (whose batches are larger), the
    learning rate, and whether noise is mixed into the clips that it learns from."""

    width: int = 128
    steps_each: int = 3
    learning_rate: float = 1e-3
    noisy: bool = True


@dataclass(frozen=True)
class Task:
    """What networks learn from.

    Attributes:
        config: of recipes/one_hour: its words, copies, hours of negatives, steps, seed and SNR.
        manifest: gives the file of a manifest's name.
        negatives: the manifest of those that train.
        folder: for all that is kept.
        embed: gives the embeddings float32 [frames, 96] of a file of int16 samples.
    """

    config: Any
    manifest: Callable[[str], str]
    negatives: str
    folder: Path
    embed: Callable[[Path], np.ndarray]
    skipped: Skipped

    def clips(self, word: str) -> tuple[list[Clip], list[Clip]]:
        """A word's clips that train, and those held out."""
        clips = for_training(find_clips([self.manifest(f"wakewords-{word}")]))
        return split_clips(clips, TrainConfig.held_out, self.config.seed, fewest=1)

    def unsaid(self) -> tuple[list[Clip], list[Clip]]:
        """The negatives that train, none of which holds one of the words, and those of held-out speakers."""
        clips = without_phrases(in_pieces(for_training(find_clips([self.negatives]))), self.config.words)
        return split_clips(clips, 0.25, self.config.seed)


@dataclass(frozen=True)
class Heard:
    """Embeddings float32 [frames, 96] of a stream, and labels int8 [frames] as `examples.label` gives them."""

    frames: np.ndarray
    labels: np.ndarray


class Network(nn.Module):
    """openWakeWord's: two layers with layer normalisation and an output. peers_engines.probability runs it."""

    def __init__(self, width: int = Setting.width):
        super().__init__()
        self.first = nn.Linear(EMBEDDINGS * DIMS, width)
        self.first_norm = nn.LayerNorm(width)
        self.second = nn.Linear(width, width)
        self.second_norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, 1)

    def forward(self, windows: Tensor) -> Tensor:
        """Standardised windows [batch, 16, 96] -> logits [batch]."""
        x = torch.relu(self.first_norm(self.first(windows.flatten(1))))
        x = torch.relu(self.second_norm(self.second(x)))
        return self.output(x)[:, 0]


def positive_pieces(
    clips: list[Clip], copies: int, speech: list[np.ndarray], settings: Augmentation, seed: int, skipped: Skipped
) -> Iterator[tuple[np.ndarray, float, float]]:
    """Clips in their surroundings, float32 [samples], with where the phrase begins and ends, in seconds."""
    read = [samples for _, samples in read_clips(clips, skipped)]
    if not read:
        raise WakewordError(f"none of {len(clips)} clips to train on could be read: make their manifest again")
    for index in range(len(read) * copies):
        rng = np.random.default_rng([seed, 1, index])
        clip = read[index % len(read)]
        yield examples.positive(clip, active_span(clip), speech, settings, rng)


def embedded(
    pieces: Iterable[tuple[np.ndarray, float, float]], path: Path, embed: Callable[[Path], np.ndarray]
) -> Heard:
    """The embeddings of pieces that follow each other as one stream, with labels; kept in `path`.

    Each piece is cut to whole frames. A phrase that ends where it starts (negatives) gives no label but 0.

    Args:
        embed: gives the embeddings [frames, 96] of a file of int16 samples.
    """
    if not path.exists():
        labels = []
        samples = path.with_suffix(".raw")
        with replacing(samples) as temporary, open(temporary, "wb") as file:
            for piece, start_s, end_s in pieces:
                frames = len(piece) // BLOCK
                file.write(pcm16(piece[: frames * BLOCK]))
                said = end_s > start_s
                labels.append(examples.label(frames, HOP_S, start_s, end_s) if said else np.zeros(frames, np.int8))
        frames = embed(samples)
        samples.unlink()
        with replacing(path) as temporary:
            np.savez(temporary, frames=frames, labels=np.concatenate(labels))
    with np.load(path) as file:
        return Heard(**file)


def windows_of(frames: Tensor, ends: Tensor) -> Tensor:
    """The 16 frames that end at each of `ends` [n], which are 15 at least: [n, 16, 96]."""
    return frames[ends[:, None] + torch.arange(1 - EMBEDDINGS, 1)]


def fitted(
    said: Heard,
    unsaid: Heard,
    steps: int,
    seed: int,
    setting: Setting = Setting(),  # noqa: B008
) -> dict[str, np.ndarray]:
    """Train a network in `steps` times `setting.steps_each` steps and give what `peers_engines.probability` needs.

    As `wakeword.training.fit` does: half of the negatives from where the network's own scores were highest at its last
    look, a learning rate that falls as a cosine, and an average of the weights over the steps.
    """
    torch.manual_seed(seed)
    steps *= setting.steps_each
    mean, deviation = unsaid.frames.mean(0), unsaid.frames.std(0) + 1e-3
    clips, stream = (torch.from_numpy((each.frames - mean) / deviation) for each in (said, unsaid))
    usable = np.arange(len(said.labels)) >= EMBEDDINGS
    phrase, around = (np.flatnonzero((said.labels == label) & usable) for label in (1, 0))
    network = Network(setting.width)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.99)
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=setting.learning_rate, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rng = np.random.default_rng([seed, 3])
    hard = np.zeros(0, np.int64)
    for step in range(steps):
        if step and step % max(50, steps // 6) == 0:
            hard = hardest(network, stream)
        others = rng.integers(EMBEDDINGS, len(stream), size=(OTHERS - 1) * BATCH)
        if len(hard):
            others[: len(others) // 2] = rng.choice(hard, size=len(others) // 2)
        batch = torch.cat(
            [
                windows_of(clips, torch.from_numpy(rng.choice(phrase, BATCH))),
                windows_of(clips, torch.from_numpy(rng.choice(around, BATCH))),
                windows_of(stream, torch.from_numpy(others)),
            ]
        )
        logits = network(batch)
        loss = functional.softplus(-logits[:BATCH]).mean() + OTHERS * functional.softplus(logits[BATCH:]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update_parameters(network)
    head = {name: tensor.numpy() for name, tensor in average.module.state_dict().items()}
    return {**head, "mean": mean, "deviation": deviation}


@torch.no_grad()
def hardest(network: Network, stream: Tensor, share: float = 0.002) -> np.ndarray:
    """The frames int64 [n] of a stream at which the windows that end there score highest."""
    ends = torch.arange(EMBEDDINGS, len(stream))
    scores = torch.cat([network(windows_of(stream, part)) for part in ends.split(4096)])
    return ends[scores.topk(min(len(ends), max(200, int(share * len(ends))))).indices].numpy()


def heard_of(task: Task, words: Iterable[str], noisy: Iterable[bool]) -> tuple[Heard, dict[tuple[str, bool], Heard]]:
    """The embeddings of the negatives, and by word and whether noise is mixed into them those of the clips."""
    config = task.config
    clips, _ = task.unsaid()
    drawn = [clips, config.negative_copies, config.negative_hours, config.seed]
    speech = examples.speech_of(clips, config.seed, task.skipped)
    noise = tuple(task.manifest(f"noise-{name}") for name in NOISE)
    augmentation = augmentation_of(TrainConfig(noise=noise, rir=(task.manifest("rir"),), seed=config.seed), speech)
    common = config.seed, task.skipped
    quiet = lambda stage, fraction: None  # noqa: E731
    # Generators: what is embedded already is not made again.
    unsaid = examples.negative_pieces(
        clips, config.negative_copies, config.negative_hours, augmentation, *common, quiet
    )
    others = ((piece, 0.0, 0.0) for piece in unsaid)
    stream = embedded(others, task.folder / f"negatives-{digest([drawn, noise])}.npz", task.embed)
    found = {}
    for word, in_noise in product(words, noisy):
        said, _ = task.clips(word)
        changed = augmentation if in_noise else replace(augmentation, noise_probability=0.0)
        path = task.folder / f"{word}-clips-{digest([word, said, config.copies, drawn, noise, in_noise])}.npz"
        found[word, in_noise] = embedded(
            positive_pieces(said, config.copies, speech, changed, *common), path, task.embed
        )
    return stream, found
