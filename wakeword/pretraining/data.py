"""The utterances that train: read from manifests, chosen, held out by speaker, with their tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import lhotse
import numpy as np

from wakeword.acoustic import tokens
from wakeword.audio.clips import share_of
from wakeword.audio.cut_checks import check_cut
from wakeword.errors import ConfigError, ManifestError, Skipped
from wakeword.features.log_mel import FRAME_S

MIN_S, MAX_S = 0.3, 35.0
"""Shorter and longer utterances do not batch well."""

CUTS = (lhotse.MonoCut, lhotse.MultiCut)
"""Of one recording, as what is held out by its name must be."""

OWN = ("tokens", "teacher")
"""What training puts on an utterance itself; what a manifest calls so is something else, and is left out."""


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
        for name in OWN:
            if cut.has_custom(name):
                cut.drop_custom(name)
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
