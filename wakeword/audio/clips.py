"""PATHs (a folder, an audio file, a manifest) to clips, and clips to samples."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from wakeword.audio.cut_checks import seconds, typed
from wakeword.audio.waveform import AUDIO_SUFFIXES, check_clip, file_blocks, read_audio, told_of_faults
from wakeword.errors import AudioError, ManifestError, Skipped, WakewordError

MANIFEST_SUFFIXES = (".jsonl", ".jsonl.gz")
BOTH_TESTED = "a hit on it would be right and wrong"
"""Why no clip that tests is a positive and a negative (`refuse_shared`)."""


@dataclass(frozen=True)
class Clip:
    """A recording or a part of one: `duration_s` seconds of `path` from `start_s`; None means to its end.

    `channel` is the one that is heard, from 0; None means the mean of all.
    """

    path: Path
    start_s: float = 0.0
    duration_s: float | None = None
    speaker: str | None = None
    text: str | None = None
    corpus: str | None = None
    split: str | None = None
    attributes: dict[str, Any] = field(default_factory=dict)
    channel: int | None = None

    @property
    def name(self) -> str:
        """Its path, and for a part of a recording where it starts."""
        return str(self.path) + (f"@{self.start_s:g}" if self.duration_s is not None else "")


def find_clips(paths: Iterable[str | os.PathLike] | str | os.PathLike) -> list[Clip]:
    """List the clips that PATHs name: folders (recursively, sorted by name), audio files and manifests, in that order.

    A manifest is a lhotse CutSet, `.jsonl` or `.jsonl.gz`, a cut a line, with its audio in files; of several
    channels that a cut has (a MultiCut) the first is heard. A relative path in it starts from the working folder, as
    in lhotse, or else from the manifest's own.

    Raises:
        WakewordError: a path is empty or does not exist, or a folder holds no audio.
        ManifestError: a manifest is empty, or one of its lines is malformed or another kind of cut.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    clips: list[Clip] = []
    for given in paths:
        if not os.fspath(given):  # it would be the working folder
            raise WakewordError("an empty name where audio is asked for: name a folder, an audio file or a manifest")
        path = Path(given)
        try:
            is_folder, is_there = path.is_dir(), path.exists()
        except (OSError, ValueError) as error:
            raise WakewordError(f"{str(path)!r}: cannot be looked up ({error}): check the spelling") from error
        if is_folder:
            clips += _in_folder(path)
        elif not is_there:
            make = ", or make it with 'wakeword prepare'" * path.name.lower().endswith(MANIFEST_SUFFIXES)
            raise WakewordError(f"{path}: no such file or folder: check the spelling{make}")
        elif path.name.lower().endswith(MANIFEST_SUFFIXES):
            clips += _in_manifest(path)
        else:
            clips.append(Clip(path))
    return clips


def share_of(name: str) -> float:
    """A number in [0, 1) from a hash of a name: to hold out names so that no list of others moves them."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64


def evenly(total: int, count: int) -> np.ndarray:
    """Indices int64 of `count` out of `total` clips, evenly from all over them."""
    return np.arange(count) * total // max(count, 1)


def for_training(clips: Iterable[Clip]) -> list[Clip]:
    """The clips that their manifests do not keep for testing."""
    return [clip for clip in clips if clip.split != "test"]


def for_testing(clips: Iterable[Clip]) -> list[Clip]:
    """The test clips of each corpus that keeps some; all clips of the others."""
    clips = list(clips)
    divided = {clip.corpus for clip in clips if clip.split == "test"}
    return [clip for clip in clips if clip.split == "test" or clip.corpus not in divided]


def for_development(clips: Iterable[Clip]) -> list[Clip]:
    """The clips on which a threshold, or the ranges of int8, may be chosen: those that their manifests do not keep for
    testing.

    Raises:
        WakewordError: none is left.
    """
    clips = list(clips)
    kept = for_training(clips)
    if clips and not kept:
        raise WakewordError(f"all {len(clips)} recordings are kept for testing by their manifests: give others")
    return kept


def refuse_shared(one: Iterable[Clip], other: Iterable[Clip], where: str, why: str) -> None:
    """Refuse audio that two sets of clips hold both: the same file, however it is named, from the same start.

    Cuts of one recording at different starts, or of different channels of it, are different clips.

    Args:
        where: what the two sets are. why: what is wrong with it.

    Raises:
        WakewordError: there is such a clip; the first of `other` is named.
    """
    resolved: dict[Path, str] = {}  # asks the disk; a recording may have thousands of cuts

    def place(clip: Clip) -> tuple[str, float]:
        if clip.path not in resolved:
            try:
                resolved[clip.path] = os.path.realpath(clip.path)
            except (OSError, ValueError):
                resolved[clip.path] = str(clip.path)  # no possible name; reading the clip says so
        return resolved[clip.path], clip.start_s

    there: dict[tuple[str, float], set[int | None]] = {}
    for clip in one:
        there.setdefault(place(clip), set()).add(clip.channel)
    shared = [
        clip
        for clip in other
        if (channels := there.get(place(clip))) and (clip.channel in channels or None in {clip.channel, *channels})
    ]
    if shared:
        more = f" (and {len(shared) - 1} more)" if len(shared) > 1 else ""
        raise WakewordError(
            f"{shared[0].name}{more}: in {where} both: {why}: leave it out of one (a folder is read with the folders "
            "in it)"
        )


def in_pieces(clips: Iterable[Clip], longest_s: float = 60.0) -> list[Clip]:
    """The same audio with whole recordings of more than `longest_s` seconds cut into pieces of that length."""
    pieces = []
    for clip in clips:
        # Without a length known beforehand, whoever reads it decodes it whole, or skips it.
        length_s = told_seconds(clip) or 0.0
        if length_s <= 1.5 * longest_s:
            pieces.append(clip)
            continue
        for start_s in np.arange(0.0, length_s - longest_s / 2, longest_s).tolist():
            length = longest_s if start_s + 1.5 * longest_s < length_s else None
            if length is None and clip.duration_s is not None:
                length = clip.duration_s - start_s
            pieces.append(replace(clip, start_s=clip.start_s + start_s, duration_s=length))
    return pieces


def told_seconds(clip: Clip) -> float | None:
    """How long a clip is by its manifest or its file's header; None for other containers and damaged files."""
    if clip.duration_s is not None:
        return clip.duration_s
    try:
        return soundfile.info(str(clip.path)).duration - clip.start_s
    except (soundfile.SoundFileError, OSError):
        return None


def clip_blocks(clip: Clip, warn: Callable[[str], None] | None = None) -> Iterable[np.ndarray]:
    """A clip as a stream of float32 blocks `[samples]`, 16 kHz mono; `warn` is told if it is silent or clipped.

    Whole files are read in blocks of two seconds, so that an hour needs no more memory than a minute.

    Raises:
        AudioError: it cannot be read; of whole files, once the damage is reached.
    """
    whole = clip.start_s == 0 and clip.duration_s is None
    part = () if whole else (read_audio(clip.path, clip.start_s, clip.duration_s, clip.channel),)
    blocks = file_blocks(clip.path, 32000, clip.channel) if whole else part
    return blocks if warn is None else told_of_faults(blocks, warn)


def read_clips(clips: Iterable[Clip], skipped: Skipped, check: bool = True) -> Iterator[tuple[Clip, np.ndarray]]:
    """Read clips one by one as (clip, float32 [samples], 16 kHz mono).

    Those that cannot be read, and with `check` those that are silent or clipped, go to `skipped` instead.
    """
    for clip in clips:
        try:
            samples = read_audio(clip.path, clip.start_s, clip.duration_s, clip.channel)
            if check:
                check_clip(samples, clip.path)
        except AudioError as error:
            part = "" if clip.duration_s is None else f" at {clip.start_s:g} s"
            skipped.add(f"{clip.path}{part}", error)
            continue
        yield clip, samples


def _in_folder(folder: Path) -> list[Clip]:
    found = []
    # Hidden files are mostly remains of copying ("._a.wav"), and no audio.
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, n) for n in names if Path(n).suffix.lower() in AUDIO_SUFFIXES and not n.startswith(".")]
    if not found:
        raise WakewordError(f"{folder}: no audio in this folder: give a folder of WAV, FLAC, Ogg, Opus or MP3 files")
    return [Clip(path) for path in sorted(found)]


def _in_manifest(manifest: Path) -> list[Clip]:
    open_text = gzip.open if manifest.name.lower().endswith(".gz") else open
    clips: list[Clip] = []
    number = 0
    try:
        with open_text(manifest, "rt", encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    clips.append(_clip_of_line(line, manifest, number))
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise ManifestError(
            f"{manifest}: line {number + 1}: cannot be read ({error}): make the manifest again"
        ) from error
    if not clips:
        raise ManifestError(f"{manifest}: an empty manifest, no cut in it: make it again")
    return clips


def _clip_of_line(line: str, manifest: Path, number: int) -> Clip:
    place = f"{manifest}: line {number}"
    try:
        # json reads NaN and huge integers; neither is a time, and the latter raise ValueError.
        cut = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place}: not JSON ({error}): make the manifest again") from error
    if not isinstance(cut, dict):
        raise ManifestError(f"{place}: not a cut but a {type(cut).__name__}: make the manifest again")
    kind = cut.get("type", "MonoCut")
    if kind not in ("MonoCut", "MultiCut"):
        raise ManifestError(
            f"{place}: a cut of type {kind!r} is not supported: save MonoCuts or MultiCuts (of one recording)"
        )
    recording = typed(cut, "recording", dict, place)
    sources = typed(recording, "sources", list, place)
    source = sources[0] if sources and isinstance(sources[0], dict) else {}
    if len(sources) != 1 or source.get("type") != "file":
        raise ManifestError(f"{place}: its audio is not in one file: save the recordings as files")
    if recording.get("transforms"):
        raise ManifestError(f"{place}: a recording with transforms is not supported: save the changed audio as a file")
    start = seconds(cut.get("start"), "start", place, least=0.0)
    duration = seconds(cut.get("duration"), "duration", place, least=1e-4)
    supervisions = cut.get("supervisions") or []
    if not isinstance(supervisions, list) or not all(isinstance(each, dict) for each in supervisions):
        raise ManifestError(f"{place}: 'supervisions' is not a list of them: make the manifest again")
    custom = cut.get("custom") or {}
    if not isinstance(custom, dict):
        raise ManifestError(f"{place}: 'custom' is not a table: make the manifest again")
    supervision = supervisions[0] if supervisions else {}
    known = ("text", "speaker", "corpus", "split")
    about = {**{name: supervision[name] for name in ("gender", "language") if supervision.get(name)}, **custom}
    # A cut of the whole file is read whole, so that damage anywhere in it is noticed.
    whole = start == 0 and duration == recording.get("duration")
    return Clip(
        path=_source_path(typed(source, "source", str, place), manifest),
        start_s=start,
        duration_s=None if whole else duration,
        speaker=_text(supervision.get("speaker")),
        text=_text(supervision.get("text")),
        corpus=_text(custom.get("corpus")),
        split=_text(custom.get("split")),
        channel=_channel(cut.get("channel", 0), source.get("channels", [0]), place),
        attributes={name: value for name, value in about.items() if name not in known},
    )


def _channel(chosen: Any, channels: Any, place: str) -> int | None:
    """Where in its file the first of a cut's channels lies; None where the file has but one."""
    first = chosen[0] if isinstance(chosen, list) and chosen else chosen
    if not isinstance(channels, list) or first not in channels:
        raise ManifestError(f"{place}: its channel {chosen!r} is none of the recording's: make the manifest again")
    return channels.index(first) if len(channels) > 1 else None


def _source_path(name: str, manifest: Path) -> Path:
    beside = manifest.parent / name
    try:
        return beside if not Path(name).exists() and beside.exists() else Path(name)
    except (OSError, ValueError):
        return Path(name)  # no possible name; reading the clip says so


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
