"""Another target on the same encoder: which of several words was said, a classifier for clips of one word each.

Encoder and head are those of wake words, and what is frozen, unfrozen or trained from scratch is the same; only the
loss is another: the head's outputs are averaged over the frames where a word has just ended, and a softmax over the
words is trained with cross-entropy, as in keyword spotting on Speech Commands (Warden 2018,
https://arxiv.org/abs/1804.03209).
"""

from __future__ import annotations

import sys
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from wakeword.acoustic.align import locate
from wakeword.audio.clips import Clip, read_clips
from wakeword.augmentation.augment import Augmentation
from wakeword.errors import Skipped
from wakeword.evaluation.streams import noise_bed
from wakeword.features.log_mel import FeatureSettings
from wakeword.head.layers import HeadSizes, WakeModel
from wakeword.head.transfer import choose_unfreeze, stacked, trainable
from wakeword.settings import from_dict
from wakeword.training import examples
from wakeword.training.examples import Example
from wakeword.training.fit import logits_of, padded
from wakeword.training.steps import Steps
from wakeword.training.train import augmentation_of
from wakeword.training.train_config import TrainConfig

sys.path.insert(0, str(Path(__file__).parents[1] / "one_hour"))
import divided  # noqa: E402
import probe  # noqa: E402

UNCHANGED = Augmentation(noise_probability=0.0, rir_probability=0.0, level_dbfs=(-25.0, -25.0))
AT_A_TIME = 64
"""Test clips that a model hears at a time."""


def tried(
    acoustic: str,
    config: probe.one_hour.Config,
    changes: dict,
    most_clips: int,
    clips: dict[str, list[Clip]],
    held_out: float = 0.0,
) -> dict:
    """Train a classifier of the words and test it on speakers that it has not heard.

    Args:
        clips: those of each word; the others as `probe.probed`, whose speakers and clips are chosen alike.

    Returns:
        `errors`, the share of test clips taken for another word, by condition; `by_speaker`, the same on clean clips;
        `tested`, the number of clips behind them; `trained` and `minutes` as `probe.probed`.

    Raises:
        ConfigError: as `probe.training_of`.
        ManifestError: as `divided.divide` and `divided.divide_noise`.
    """
    skipped = Skipped()
    run = probe.training_of(config, {**changes, "acoustic": acoustic})
    _, noise = divided.divide_noise(config)
    clips = divided.divide(clips, held_out)
    said = probe.read_chosen(clips, most_clips, config.seed, skipped)
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model, meta = stacked(acoustic, HeadSizes(run.depth, run.channels, outputs=len(said)))
    settings = from_dict(FeatureSettings, meta["features"], acoustic)
    learn(model, settings, run, said)

    heard = [list(read_clips(test, skipped)) for _, test in clips.values()]
    bed = noise_bed(noise, skipped)
    noisy = replace(UNCHANGED, noise=(bed,), noise_probability=1.0, snr_db=(config.snr_db, config.snr_db))
    wrong = {
        name: mistakes(model, settings, run, [[samples for _, samples in each] for each in heard], surroundings)
        for name, surroundings in (("clean", UNCHANGED), (f"{config.snr_db:g} dB", noisy))
    }
    by_speaker = defaultdict(list)
    for (clip, _), mistaken in zip((pair for each in heard for pair in each), wrong["clean"], strict=True):
        by_speaker[clip.speaker or "unnamed"].append(mistaken)
    return {
        "errors": {name: round(float(found.mean()), 4) for name, found in wrong.items()},
        "by_speaker": {name: round(float(np.mean(found)), 4) for name, found in sorted(by_speaker.items())},
        "tested": len(wrong["clean"]),
        **probe.amount(said),
    }


def learn(model: WakeModel, settings: FeatureSettings, run: TrainConfig, said: list[list[np.ndarray]]) -> None:
    """Train the head of `model`, and what `run.unfreeze` says of its encoder, on each word's clips, float32
    `[samples]` each.
    """
    chosen = choose_unfreeze(run.unfreeze, sum(map(len, said)), model.encoder.sizes)
    steps = Steps(model, trainable(model, chosen, run.seed), run)
    found = spoken(model, settings, run, said, augmentation_of(run, []), chosen.boundary, run.copies)
    model.head.train()
    for step in range(run.steps):
        steps.begin(step)
        rng = np.random.default_rng([run.seed, 3, step])
        batch = [each[index] for each in found for index in rng.integers(len(each), size=run.batch)]
        words = torch.arange(len(found)).repeat_interleave(run.batch)
        steps.take(step, functional.cross_entropy(scores(model, batch, chosen.boundary), words))
    steps.finish()
    model.eval()


def spoken(
    model: WakeModel,
    settings: FeatureSettings,
    run: TrainConfig,
    said: list[list[np.ndarray]],
    augmentation: Augmentation,
    boundary: int,
    copies: int,
) -> list[list[Example]]:
    """For each word its clips as `examples.positives` makes them, in quiet or what `augmentation` says."""
    spans = [each.spans for each in locate(run.labels, said, [phrase.text for phrase in run.phrases], run.acoustic)]
    elsewhere = np.zeros((len(said), len(said)), np.int8)
    made = augmentation, model.encoder, settings, boundary, run.seed
    return examples.positives(said, spans, elsewhere, copies, [], *made, lambda stage, fraction: None)


def scores(model: WakeModel, batch: list[Example], boundary: int) -> Tensor:
    """Logits `[batch, words]`: means over the frames where the word has just ended."""
    inputs, labels = padded(batch)
    ended = (labels == 1).any(dim=-1, keepdim=True)
    return (logits_of(model, inputs, boundary) * ended).sum(dim=1) / ended.sum(dim=1).clamp(min=1)


@torch.no_grad()
def mistakes(
    model: WakeModel,
    settings: FeatureSettings,
    run: TrainConfig,
    said: list[list[np.ndarray]],
    augmentation: Augmentation,
) -> np.ndarray:
    """Whether each clip, word after word, is taken for another word: bool `[clips]`."""
    found = spoken(model, settings, run, said, augmentation, 0, 1)  # the whole encoder, whatever of it has trained
    heard = [example for each in found for example in each]
    pieces = [heard[start : start + AT_A_TIME] for start in range(0, len(heard), AT_A_TIME)]
    best = np.concatenate([scores(model, piece, 0).argmax(dim=-1).numpy() for piece in pieces])
    return best != np.repeat(np.arange(len(found)), [len(each) for each in found])
