"""Utterances to training batches: lhotse buckets and cuts; features are made here as everywhere else."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from itertools import islice

import lhotse
import numpy as np
import torch
from lhotse.dataset import DynamicBucketingSampler, DynamicCutSampler

from wakeword.augmentation.augment import Augmentation, at_speed, augment, mask
from wakeword.features.log_mel import FRAME_S, FRAMES_PER_STEP, SAMPLE_RATE, FeatureSettings, extract
from wakeword.pretraining.data import spoken_in

# Utterances are in memory where they fit, and one that is longer than a batch is a batch: both are meant so.
for _told in (r"You are using Dynamic\w+ with an eagerly read CutSet", "We have exceeded the max_duration constraint"):
    warnings.filterwarnings("ignore", _told, UserWarning, r"lhotse\.dataset\.sampling\.")

BUFFER = 4000
"""Utterances that bucketing holds at once where they are read as it goes, with their audio."""


class Utterances(torch.utils.data.Dataset):
    """Indexed with a CutSet (a batch), gives what `collate` makes of it, and the ids of those that cannot be read as
    `unreadable`; that alone where none can be. What is random hangs on (seed, epoch, utterance).
    """

    def __init__(self, settings: FeatureSettings, augmentation: Augmentation | None, seed: int, epoch: int):
        self.settings, self.augmentation, self.seed, self.epoch = settings, augmentation, seed, epoch

    def __getitem__(self, cuts) -> dict:
        found = [(cut.id, self.item(cut)) for cut in cuts]
        items = [item for _, item in found if item is not None]
        return (collate(items) if items else {}) | {"unreadable": [name for name, item in found if item is None]}

    def item(self, cut) -> dict | None:
        digest = hashlib.sha256(f"{self.seed}/{self.epoch}/{cut.id}".encode()).digest()
        rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
        try:
            samples = cut.resample(SAMPLE_RATE).load_audio()[0]
            teacher = cut.load_teacher() if cut.has_custom("teacher") else None
        except Exception:  # A file damaged since the manifest was made: the batch goes on without it.
            return None
        if not np.isfinite(samples).all():
            return None
        speed = 1.0
        if self.augmentation:
            samples, speed = at_random(samples, self.augmentation, rng)
        features = extract(samples, self.settings)
        features = features[: len(features) // FRAMES_PER_STEP * FRAMES_PER_STEP]
        if not len(features):
            return None
        if self.augmentation:
            features = mask(features, self.augmentation, rng)
        if teacher is not None:
            teacher = paced(teacher, self.settings.frame_s * speed / FRAME_S)
        ids = cut.tokens if cut.has_custom("tokens") else []
        if not spoken_in(ids, len(features) // FRAMES_PER_STEP):  # said too fast now
            ids = []
        seconds = len(features) * self.settings.hop / self.settings.sample_rate
        return {"id": cut.id, "features": features, "teacher": teacher, "tokens": ids, "seconds": seconds}


def at_random(samples: np.ndarray, augmentation: Augmentation, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """An utterance, float32 `[samples]`, at another speed and as it may sound elsewhere; and the speed."""
    speed = 1.0
    if rng.random() < augmentation.speed_probability:
        speed = float(rng.uniform(*augmentation.speeds))
        samples = at_speed(samples, speed)
    return augment(samples, augmentation, rng), speed


def paced(teacher: np.ndarray, step: float) -> np.ndarray:
    """The teacher's frames `[frames, dims]` for a student that hears `step` of them in each of its own frames."""
    if step == 1.0:
        return teacher
    return teacher[np.minimum((np.arange(int(len(teacher) / step)) + 0.5) * step, len(teacher) - 1).astype(int)]


def collate(items: list[dict]) -> dict:
    """Pad to one batch, each utterance with its own least value: what it becomes does not hang on the others.

    Returns:
        `features` float32 `[batch, frames, mels]`; `lengths` of the encoder's frames `[batch]`; `teacher` float32
        `[batch, frames / 4, dims]` or None, `teacher_lengths` (0 where there is none); `tokens` `[batch, most]`,
        `token_lengths` (0 where there is no transcript); `seconds` of audio.
    """
    frames = max(len(item["features"]) for item in items)
    mels = items[0]["features"].shape[1]
    features = np.empty((len(items), frames, mels), np.float32)
    dims = next((item["teacher"].shape[1] for item in items if item["teacher"] is not None), 0)
    teacher = np.zeros((len(items), frames // FRAMES_PER_STEP, dims), np.float32)
    most = max(len(item["tokens"]) for item in items)
    ids = np.zeros((len(items), max(1, most)), np.int64)
    teacher_lengths = []
    for row, item in enumerate(items):
        features[row, : len(item["features"])] = item["features"]
        features[row, len(item["features"]) :] = item["features"].min()
        known = 0
        if item["teacher"] is not None:
            known = min(len(item["teacher"]), len(item["features"]) // FRAMES_PER_STEP)
            teacher[row, :known] = item["teacher"][:known]
        teacher_lengths.append(known)
        ids[row, : len(item["tokens"])] = item["tokens"]
    return {
        "features": torch.from_numpy(features),
        "lengths": torch.tensor([len(item["features"]) // FRAMES_PER_STEP for item in items]),
        "teacher": torch.from_numpy(teacher) if dims else None,
        "teacher_lengths": torch.tensor(teacher_lengths),
        "tokens": torch.from_numpy(ids),
        "token_lengths": torch.tensor([len(item["tokens"]) for item in items]),
        "seconds": sum(item["seconds"] for item in items),
    }


class _Sharing:
    """Of a sampler's batches, without the first ones (how a resumed run comes back to its place in the epoch), the
    part of process `rank` of `world`; it may be empty.
    """

    def __init__(self, sampler, skip: int, rank: int, world: int):
        self.sampler, self.skip, self.rank, self.world = sampler, skip, rank, world

    def __iter__(self) -> Iterator:
        for cuts in islice(iter(self.sampler), self.skip, None):
            yield lhotse.CutSet.from_cuts(list(cuts)[self.rank :: self.world])


def batches(
    cuts,
    dataset: Utterances,
    max_seconds: float,
    skip: int = 0,
    workers: int = 0,
    shuffle: bool = True,
    rank: int = 0,
    world: int = 1,
):
    """The batches of one epoch, of about equal length inside a batch (lhotse's dynamic bucketing).

    The order hangs on the dataset's seed and epoch alone; `skip` leaves out the first batches without reading them.
    With several processes (`world`) all go through the same batches, and each reads every `world`th utterance of
    them, from its `rank` on.
    """
    # lhotse would deal out whole batches: here the processes work on each one together.
    settings = dict(max_duration=max_seconds, shuffle=shuffle, seed=dataset.seed, world_size=1, rank=0)
    count = sum(1 for _ in islice(iter(cuts), 400))
    if count < 100:
        sampler = DynamicCutSampler(cuts, **settings)
    else:
        if cuts.is_lazy:
            settings |= dict(buffer_size=BUFFER, num_cuts_for_bins_estimate=BUFFER // 2)
        sampler = DynamicBucketingSampler(cuts, num_buckets=min(20, count // 20), **settings)
    sampler.set_epoch(dataset.epoch)
    shares = _Sharing(sampler, skip, rank, world)
    return torch.utils.data.DataLoader(
        dataset, sampler=shares, batch_size=None, num_workers=workers, persistent_workers=False
    )
