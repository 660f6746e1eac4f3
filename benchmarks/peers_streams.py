"""What all engines hear: streams of clips, as raw samples in files, the same for everyone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.audio.clips import Clip, find_clips, for_testing, in_pieces, told_seconds
from wakeword.audio.waveform import pcm16
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.groups import corpus_of
from wakeword.evaluation.streams import Stream, negative_stream, noise_bed, positive_stream
from wakeword.files import replacing

FOREIGN = ("voxforge", "commonvoice")
"""Corpora of negatives of which no training of ours has heard other speakers in the same language."""
PREPARE = "python recipes/pretrain/prepare.py --shared ../shared/corpora --out"


@dataclass(frozen=True)
class Sound:
    """A stream in a file of int16 samples.

    Attributes:
        path: named after what it is made of, so that other clips make another file.
        starts_s, ends_s: float64 [events], where its clips lie, in seconds.
        fresh: bool [events], whether the clip's recording has no copy among the training clips.
        corpus: str [events], where the clip comes from.
    """

    path: Path
    starts_s: np.ndarray
    ends_s: np.ndarray
    fresh: np.ndarray
    corpus: np.ndarray

    @property
    def hours(self) -> float:
        """Hours of clips; pauses do not count."""
        return float((self.ends_s - self.starts_s).sum()) / 3600

    @property
    def kinds(self) -> dict[str, np.ndarray]:
        """Which of its clips count as which kind of negatives, bool [events]: all, and those of `FOREIGN` corpora."""
        foreign = np.isin(self.corpus, FOREIGN)
        return {"all": np.ones(len(foreign), bool)} | ({"foreign": foreign} if 0 < foreign.sum() < len(foreign) else {})


def digest(made_of: object) -> str:
    """A short name for what something is made of."""
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]


def written(path: Path, make: Callable[[], Iterable[Stream]], copied: Callable[[Clip], bool]) -> Sound:
    """The stream in `path`, written there if it is not yet; `copied` tells clips that have a copy in training."""
    about = path.with_suffix(".npz")
    if not about.exists():
        events = []
        with replacing(path) as temporary, open(temporary, "wb") as file:
            for piece in make():
                file.write(pcm16(piece.samples))
                events += piece.events
        if not events:
            path.unlink()
            raise WakewordError(f"{path}: none of its clips could be read: make the manifests again")
        # Last, since it says that the samples are whole.
        with replacing(about) as temporary:
            np.savez(
                temporary,
                starts_s=np.array([event.start_s for event in events]),
                ends_s=np.array([event.end_s for event in events]),
                fresh=np.array([not copied(event.clip) for event in events]),
                corpus=np.array([corpus_of(event.clip) for event in events]),
            )
    with np.load(about) as file:
        return Sound(path, **file)


def first_hours(clips: Iterable[Clip], hours: float | None) -> list[Clip]:
    """The first clips that make so many hours together; all of them where that is None."""
    kept, seconds = [], 0.0
    for clip in clips:
        if hours is not None and seconds >= 3600 * hours:
            break
        kept.append(clip)
        seconds += told_seconds(clip) or 0.0
    return kept


def negatives(manifest: str, folder: Path, hours: float | None, skipped: Skipped) -> Sound:
    """Every negative of a manifest as one stream, or the first hours of them."""
    return unsaid("negatives", first_hours(in_pieces(find_clips([manifest])), hours), folder, skipped)


def unsaid(name: str, clips: list[Clip], folder: Path, skipped: Skipped) -> Sound:
    """Clips without the phrase as one stream, in a file whose name begins with `name`."""
    path = folder / f"{name}-{digest(clips)}.raw"
    return written(path, lambda: negative_stream(clips, skipped=skipped), lambda clip: False)


def positives(
    word: str, manifest: str, noise: list[str], snr_db: float | None, folder: Path, skipped: Skipped
) -> Sound:
    """The clips of a word that no training heard, as one stream; with `snr_db`, with the noise that none heard."""
    everything = find_clips([manifest])
    # Some recordings stand in the corpus several times, on both sides of the split.
    heard = {clip.attributes.get("group") for clip in everything if clip.split == "train"} - {None}
    bed = [] if snr_db is None else for_testing(find_clips(noise))
    return said(word, for_testing(everything), bed, snr_db, folder, skipped, heard)


def said(
    name: str,
    clips: list[Clip],
    bed: list[Clip],
    snr_db: float | None,
    folder: Path,
    skipped: Skipped,
    heard: Collection[str] = (),
) -> Sound:
    """Clips of a phrase as one stream, in a file whose name begins with `name`; with `snr_db` on a bed of noise.

    Args:
        heard: the groups of copies of which one is among the training clips.
    """
    condition = condition_name(snr_db).replace(" ", "")
    path = folder / f"{name}-{condition}-{digest([clips, bed, snr_db, sorted(map(str, heard))])}.raw"

    def make() -> Iterator[Stream]:
        under = noise_bed(bed, skipped) if bed else None
        return positive_stream(clips, noise=under, snr_db=snr_db, skipped=skipped)

    return written(path, make, lambda clip: clip.attributes.get("group") in heard)


def condition_name(snr_db: float | None) -> str:
    return "clean" if snr_db is None else f"{snr_db:g} dB"


def missing_manifests(manifests: Iterable[str]) -> None:
    """Say which command makes the manifests, if one is missing.

    Raises:
        WakewordError: one is.
    """
    for manifest in manifests:
        if not Path(manifest).exists():
            raise WakewordError(f"{manifest}: no such manifest: run '{PREPARE} {Path(manifest).parent}' first")
