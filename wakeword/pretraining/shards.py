"""Shards (lhotse Shar): tars of many utterances' audio, read one after the other from disk or by URL.

For more data than a manifest in memory and a file an utterance can serve. Nothing is held but a buffer of utterances;
a pass reads the shards in another order each time, and what an utterance is held out by is the same hash as anywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

import lhotse
from lhotse.serialization import open_best

from wakeword.errors import ConfigError, ManifestError, require
from wakeword.pretraining.data import (
    Source,
    chosen,
    fewer,
    fitted,
    held_out,
    lowest_of_each,
    none_chosen,
    of_people,
    speaker_of,
)

INDEX = "shards.json"
"""Written last: {"cuts": number, "hours", "teacher": its name or "", "statistics": SHA-256 of its
standardisation, "files": {field: [names]}}."""


def read_index(place: str) -> dict:
    """The index of a folder of shards, or of such a folder's URL (what `smart_open` opens, s3:// or https://).

    Raises:
        ManifestError: there is none, it is damaged, or cannot be reached.
        WakewordError: it is a URL, and what opens it is not installed.
    """
    if "://" in place:
        for module in ("smart_open", *(["boto3"] if place.startswith("s3") else [])):
            require(module, "scale")
    try:
        with open_best(f"{place}/{INDEX}", "r") as file:
            index = json.load(file)
        if index["cuts"] < 1 or not index["files"]["cuts"]:
            raise ValueError("no utterances")
        for field in ("recording", *(["teacher"] if index["teacher"] else [])):
            if len(index["files"][field]) != len(index["files"]["cuts"]):
                raise ValueError(f"not as many files of '{field}' as of 'cuts'")
        return index
    except Exception as error:  # whatever a store raises
        raise ManifestError(f"{place}: no whole folder of shards ({_reason(error)}): {_remedy(place)}") from error


def _reason(error: Exception) -> str:
    """What went wrong, in a line. lhotse's `open_best` tells to install smart_open whatever the store answered."""
    if "pip install smart_open" in str(error) and error.__context__ is not None:
        error = error.__context__
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _remedy(place: str) -> str:
    remedy = "make the shards with 'python -m data_prep.shard', or copy them again"
    return f"check address, credentials and network (docs/scaling.md), or {remedy}" if "://" in place else remedy


@dataclass(frozen=True)
class Whole:
    """The utterances of a folder, lazily, as often as they are gone through; `count` is how many its index tells.

    Raises:
        ManifestError: on the way, where a shard is damaged or cannot be reached; at the end, where some are missing.
    """

    place: str
    cuts: lhotse.CutSet
    count: int

    is_lazy = True

    def __iter__(self) -> Iterator:
        read, latest = 0, "none"
        try:
            for cut in self.cuts:
                read, latest = read + 1, cut.shard_origin.rpartition("/")[2]
                yield cut
            # A tar that ends between two utterances ends in order, and lhotse goes through what belongs together.
            if read != self.count:
                raise EOFError(f"{read} utterances, the index tells of {self.count}")
        except Exception as error:  # whatever tar, gzip, a codec or a store raises
            raise ManifestError(
                f"{self.place}: its shards are damaged, out of reach, or do not belong together ({_reason(error)}; the "
                f"last shard read: {latest}): {_remedy(self.place)}"
            ) from error


def read_shards(place: str, index: dict, seed: int, fields: tuple[str, ...]) -> Whole:
    """The utterances of a folder, the shards in an order that hangs on `seed`; `cuts` alone: without audio."""
    files = {field: [f"{place}/{name}" for name in index["files"][field]] for field in fields}
    cuts = lhotse.CutSet.from_shar(files, shuffle_shards=True, stateful_shuffle=False, seed=seed)
    return Whole(place, cuts, index["cuts"])


def untaught(cut, units: str):
    """`data.fitted`, and without the teacher's frames, which are not read: the utterance would only point at them."""
    cut.drop_custom("teacher")
    return fitted(cut, units)


@dataclass(frozen=True)
class Shards:
    """The utterances that train: of `sources`, without those of the held-out speakers (share `fraction`).

    With `each` the speaker with the lowest hash of each corpus is held out too, for which all shards are gone through
    once, undecoded; they are `also`.

    `teacher` is whose frames are read along; empty: none. `units` are those of the token ids.

    Raises:
        ManifestError: a folder is no whole folder of shards, or holds no utterance that its source takes.
        ConfigError: its frames are another teacher's, or standardised by another mean and deviation.
    """

    sources: tuple[Source, ...]
    fraction: float
    teacher: str = ""
    units: str = "characters"
    each: bool = False

    def __post_init__(self):
        indexes = [read_index(source.shar) for source in self.sources]
        for source, index in zip(self.sources, indexes, strict=True):
            if self.teacher and index["teacher"] != self.teacher:
                raise ConfigError(
                    f"{source.shar}: holds frames of the teacher '{index['teacher']}', the run wants "
                    f"'{self.teacher}': set teacher, or make the shards with --teacher"
                )
        # Folders of an earlier version do not tell.
        told = {index.get("statistics") for index in indexes} - {None}
        if self.teacher and len(told) > 1:
            places = ", ".join(source.shar for source in self.sources)
            raise ConfigError(
                f"{places}: their teacher's frames are not standardised alike: make them with one --teacher-cache, or "
                "copy its statistics.json into the others before they begin"
            )
        object.__setattr__(self, "indexes", indexes)
        read = [
            (source, read_shards(source.shar, index, 0, ("cuts",)))
            for source, index in zip(self.sources, indexes, strict=True)
        ]
        for source, cuts in read:
            if not any(chosen(cut, source) for cut in cuts):
                raise none_chosen(source, cuts)
        taken = (cut for source, cuts in read if self.each for cut in cuts if chosen(cut, source))
        object.__setattr__(self, "also", lowest_of_each(taken))

    def opened(self, seed: int, epoch: int) -> lhotse.CutSet:
        """The training utterances with audio, lazily, in the order of an epoch; folders mixed by their sizes."""
        return self._read(seed * 1_000_003 + epoch, False, self._fields())

    def few(self, minutes: float, seed: int) -> lhotse.CutSet:
        """Those of the training utterances that `data.fewer` takes, with their audio in memory."""
        kept = {cut.id for cut in fewer(self, minutes, seed)}
        return lhotse.CutSet.from_cuts(cut for cut in self.opened(0, 0) if cut.id in kept)

    def validation(self, most: int) -> lhotse.CutSet:
        """The first `most` utterances of `held`, with their audio in memory."""
        return lhotse.CutSet.from_cuts(islice(self.held(self._fields()), most))

    def held(self, fields: tuple[str, ...] = ("cuts",)) -> Iterator:
        """All utterances of held-out people, without their audio; synthetic voices are left out."""
        return of_people(self._read(0, True, fields))

    def __iter__(self) -> Iterator:
        """The training utterances without their audio."""
        return iter(self._read(0, False, ("cuts",)))

    def teacher_dims(self) -> int:
        """Numbers in a frame of the teacher; 0 without one."""
        cut = next(iter(self.opened(0, 0)), None) if self.teacher else None
        return cut.teacher.shape[1] if cut is not None else 0

    def _fields(self) -> tuple[str, ...]:
        return ("cuts", "recording", "teacher") if self.teacher else ("cuts", "recording")

    def _read(self, seed: int, held: bool, fields: tuple[str, ...]) -> lhotse.CutSet:
        wanted = partial(self._wanted, held=held)
        marked = partial(fitted if self.teacher else untaught, units=self.units)
        read = [
            lhotse.CutSet(read_shards(source.shar, index, seed, fields)).filter(partial(wanted, source)).map(marked)
            for source, index in zip(self.sources, self.indexes, strict=True)
        ]
        if len(read) == 1:
            return read[0]
        return lhotse.CutSet.mux(*read, weights=[index["cuts"] for index in self.indexes], seed=seed)

    def _wanted(self, source: Source, cut, held: bool) -> bool:
        return chosen(cut, source) and held_out(speaker_of(cut), self.fraction, self.also) == held
