"""Manifests to training batches: lhotse reads, buckets and cuts; features are made here as everywhere else."""

from __future__ import annotations

import hashlib
import warnings
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import lhotse
import numpy as np
import torch
from lhotse.dataset import DynamicBucketingSampler, DynamicCutSampler

from wakeword import tokens
from wakeword.augment import Augmentation, at_speed, augment, mask
from wakeword.clips import share_of
from wakeword.cut_checks import check_cut
from wakeword.errors import ConfigError, ManifestError, Skipped
from wakeword.features import FRAME_S, FRAMES_PER_STEP, SAMPLE_RATE, FeatureSettings, extract

MIN_S, MAX_S = 0.3, 35.0
"""Shorter and longer utterances do not batch well."""

# Utterances are in memory where they fit, and one that is longer than a batch is a batch: both are meant so.
for _told in (r"You are using Dynamic\w+ with an eagerly read CutSet", "We have exceeded the max_duration constraint"):
    warnings.filterwarnings("ignore", _told, UserWarning, r"lhotse\.dataset\.sampling\.")

CUTS = (lhotse.MonoCut, lhotse.MultiCut)
"""Of one recording, as what is held out by its name must be."""

BUFFER = 4000
"""Utterances that bucketing holds at once where they are read as it goes, with their audio."""


@dataclass(frozen=True)
class Source:
    """A manifest or a folder of shards (`shards.py`), and which of its utterances to take: all, or those of the named
    languages and splits.

    Raises:
        ConfigError: neither, or both.
    """

    manifest: str = ""
    shar: str = ""
    languages: tuple[str, ...] = ()
    splits: tuple[str, ...] = ("train", "validation", "dev", "")

    def __post_init__(self):
        if bool(self.manifest) == bool(self.shar):
            raise ConfigError("name a manifest, or a folder of shards as shar")


def chosen(cut, source: Source) -> bool:
    """Whether the source takes an utterance: its language, split and length."""
    supervision = cut.supervisions[0] if cut.supervisions else None
    if source.languages and (supervision is None or supervision.language not in source.languages):
        return False
    return ((cut.custom or {}).get("split") or "") in source.splits and MIN_S <= cut.duration <= MAX_S


def held_out(speaker: str, fraction: float, also: Collection[str] = ()) -> bool:
    """Whether a speaker is kept from training: decided by a hash of the name, so that no list of corpora moves it.

    `also` are speakers who are kept from it whatever their hash (`lowest_of_each`).
    """
    return share_of(speaker) < fraction or speaker in also


def lowest_of_each(cuts) -> frozenset[str]:
    """Of each corpus with two named speakers or more the one with the lowest hash: whom any fraction takes first.

    A small corpus may have nobody below a small fraction; one that has somebody there holds out no more by this.
    """
    speakers: dict[str, set[str]] = {}
    for cut in cuts:
        if cut.supervisions and cut.supervisions[0].speaker:
            speakers.setdefault((cut.custom or {}).get("corpus") or "", set()).add(cut.supervisions[0].speaker)
    return frozenset(min(names, key=share_of) for names in speakers.values() if len(names) > 1)


def speaker_of(cut) -> str:
    return (cut.supervisions[0].speaker if cut.supervisions else None) or cut.recording_id


def read_manifest(path: str | Path) -> lhotse.CutSet:
    """The utterances of a lhotse manifest, in memory.

    Raises:
        ManifestError: missing, malformed, or empty; of a line with a time or a text that is none, its number.
    """
    try:
        cuts = lhotse.CutSet.from_file(path)
        if cuts is None:  # lhotse's answer to a file without a line
            raise ManifestError(f"{path}: the manifest is empty: make it with 'wakeword prepare'")
        cuts = cuts.to_eager()
        count = len(cuts)
        other = next((type(cut).__name__ for cut in cuts if not isinstance(cut, CUTS)), None)
    except ManifestError:
        raise
    except FileNotFoundError as error:
        raise ManifestError(f"{path}: no such manifest: make it with 'wakeword prepare'") from error
    except Exception as error:  # lhotse raises whatever the broken line provokes.
        raise ManifestError(
            f"{path}: not a manifest of utterances ({error}): make it with 'wakeword prepare'"
        ) from error
    if other:
        raise ManifestError(f"{path}: a manifest of {other}s, not of utterances: make it with 'wakeword prepare'")
    if not count:
        raise ManifestError(f"{path}: the manifest is empty")
    for number, cut in enumerate(cuts, 1):
        check_cut(cut, f"{path}: line {number}")
    return cuts


def read_sources(sources: list[Source]) -> lhotse.CutSet:
    """The chosen utterances of several manifests, one CutSet.

    Raises:
        ManifestError: a manifest is unusable, or nothing is left of it.
    """
    taken = []
    for source in sources:
        found = read_manifest(source.manifest)
        kept = [cut for cut in found if chosen(cut, source)]
        if not kept:
            raise none_chosen(source, found)
        taken += kept
    return lhotse.CutSet.from_cuts(taken)


def none_chosen(source: Source, cuts) -> ManifestError:
    """The error of a source that takes no utterance: what it asks for, and what there is."""
    languages, splits = Counter(), Counter()
    for cut in cuts:
        languages[(cut.supervisions[0].language if cut.supervisions else None) or ""] += 1
        splits[(cut.custom or {}).get("split") or ""] += 1
    wanted = f"languages = {list(source.languages)}, " if source.languages else ""
    there = "; ".join(
        f"{name}: " + ", ".join(f"'{value}' ({count})" for value, count in counts.most_common(20))
        for name, counts in (("languages", languages), ("splits", splits))
    )
    return ManifestError(
        f"{source.manifest or source.shar}: no utterance of {MIN_S} to {MAX_S} s has {wanted}splits = "
        f"{list(source.splits)}: it holds {there}"
    )


def split_speakers(cuts, fraction: float, also: Collection[str] = ()) -> tuple[lhotse.CutSet, lhotse.CutSet]:
    """Training utterances, and those of the held-out speakers."""
    return (
        lhotse.CutSet.from_cuts(cut for cut in cuts if not held_out(speaker_of(cut), fraction, also)),
        lhotse.CutSet.from_cuts(cut for cut in cuts if held_out(speaker_of(cut), fraction, also)),
    )


def of_people(cuts) -> Iterator:
    """The utterances without those of synthetic voices, which do not tell how a model does on people."""
    return (cut for cut in cuts if not (cut.custom or {}).get("synthetic"))


def fewer(cuts, minutes: float, seed: int) -> lhotse.CutSet:
    """Of the utterances those whose names have the lowest hash, as many as `minutes` hold, in their order.

    Of fewer minutes they are among those of more. All if there are no more; one at least.
    """
    cuts = list(cuts)
    if not cuts:
        return lhotse.CutSet.from_cuts(cuts)
    ranked = sorted(cuts, key=lambda cut: share_of(f"{seed}/{cut.id}"))
    ends = np.cumsum([cut.duration for cut in ranked])
    kept = {cut.id for cut, end in zip(ranked, ends, strict=True) if end <= 60 * minutes} or {ranked[0].id}
    return lhotse.CutSet.from_cuts(cut for cut in cuts if cut.id in kept)


def with_tokens(cuts, units: str = "characters") -> tuple[lhotse.CutSet, Skipped]:
    """Put token ids on the utterances whose transcript fits the units; the others train without CTC."""
    unusable = Skipped()
    for cut in cuts:
        try:
            tokenised(cut, units)
        except tokens.TextError as error:
            unusable.add(cut.id, f"{cut.id}: {error}")
    return cuts, unusable


def fitted(cut, units: str = "characters"):
    """The utterance with token ids if its transcript fits, else as it is."""
    with suppress(tokens.TextError):
        tokenised(cut, units)
    return cut


def tokenised(cut, units: str) -> None:
    """Put token ids on an English utterance that has a transcript.

    Raises:
        TextError: the transcript does not fit the alphabet, or the utterance.
    """
    text = cut.supervisions[0].text if cut.supervisions else None
    if text and (cut.supervisions[0].language or "en").lower().startswith("en"):
        ids = tokens.encode(text, units)
        if not spoken_in(ids, cut.duration / FRAME_S):
            raise tokens.TextError("more letters than frames")
        cut.tokens = ids


def spoken_in(ids: list[int], frames: float) -> bool:
    """Whether CTC can write the tokens in so many frames: one each, and a blank between equal neighbours."""
    return len(ids) + sum(a == b for a, b in zip(ids, ids[1:], strict=False)) <= frames


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
