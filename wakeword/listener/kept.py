"""A folder of clips that a listener kept: who may read it, how full it gets, what was heard and what was decided.

Each clip is `NNNNNN_hit.wav` or `NNNNNN_near-miss.wav`, 16 kHz mono, with a sidecar `.json` (`Kept`). The number rises
from clip to clip, so that a clock that jumps changes nothing of which is the oldest.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.audio.waveform import write_wav
from wakeword.errors import ConfigError, Skipped, WakewordError
from wakeword.files import replacing, unwritable
from wakeword.settings import from_dict

HIT, NEAR_MISS = "hit", "near miss"
YES, NO, SKIP = "yes", "no", "skip"
FILE_MODE, FOLDER_MODE = 0o600, 0o700
NAME = re.compile(r"(\d{6,})_(hit|near-miss)\.(wav|json)")


@dataclass(frozen=True)
class Bounds:
    """The most that a folder may hold, the sidecars counted in: clips, and megabytes (of 1,000,000 bytes)."""

    clips: int = 500
    megabytes: float = 100.0

    def __post_init__(self):
        if self.clips < 1 or not self.megabytes >= 1:
            raise ConfigError(f"{self.clips} clips and {self.megabytes:g} MB to keep: must be 1 or more of each")


@dataclass(frozen=True)
class Kept:
    """What is known of a kept clip.

    Attributes:
        phrase, kind: what was heard or nearly, and which of the two: "hit" or "near miss".
        score: the smoothed posterior, at a hit the one that made it, else the highest.
        threshold: the one it was held against.
        at_s: where in the clip that score was known, in seconds.
        utc: when it was heard, by the listener's clock, ISO 8601; a recording is heard faster than it sounds.
        decision: "" until it was reviewed; then "yes" (the phrase is said there), "no" or "skip".
        stream: which stream it is of, an id that each start of listening has for itself, and each return of a lost
            microphone; "" in files of before there were ids.
        stream_s: when in that stream the score was known, in seconds of its audio.
    """

    phrase: str
    kind: str
    score: float
    threshold: float
    at_s: float
    utc: str
    decision: str = ""
    stream: str = ""
    stream_s: float = 0.0

    def __post_init__(self):
        if self.kind not in (HIT, NEAR_MISS):
            raise ConfigError(f"kind = {self.kind!r}: must be '{HIT}' or '{NEAR_MISS}'")
        if self.decision not in ("", YES, NO, SKIP):
            raise ConfigError(f"decision = {self.decision!r}: must be '{YES}', '{NO}', '{SKIP}' or empty")
        if not self.at_s >= 0:
            raise ConfigError(f"at_s = {self.at_s}: must be 0 or more")


def private_folder(folder: str | os.PathLike) -> Path:
    """Make a folder that only its owner can read (0700), or take one that is there and is so, or holds nothing.

    Raises:
        WakewordError: others can read the folder and it holds files; it is no folder, or cannot be made.
    """
    folder = Path(folder).expanduser()
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        open_to_others = folder.stat().st_mode & 0o077
        if open_to_others and any(folder.iterdir()):
            raise WakewordError(
                f"{folder}: others may read this folder, and it holds files: choose a new one, or chmod 700 it"
            )
        if open_to_others:
            folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise WakewordError(
            f"{folder}: cannot be a folder for clips ({error.strerror}): choose another place"
        ) from error
    return folder


def keep(folder: Path, samples: np.ndarray, about: Kept, bounds: Bounds) -> Path:
    """Write a clip, float32 [samples], and its sidecar; the oldest clips go first where it would not fit.

    Raises:
        WakewordError: the folder cannot be written, or the disk is full.
    """
    there = _stems(folder)
    sidecar = _text(about)
    _make_room(folder, there, bounds, 2 * len(samples) + 44 + len(sidecar))
    claimed = _claim(folder, max(map(_number, there), default=0) + 1, about.kind)
    path = claimed.with_suffix(".wav")
    try:
        # The audio last: a clip that is there has its sidecar.
        _write_sidecar(claimed, sidecar)
        write_wav(path, samples, FILE_MODE)
    except WakewordError:
        claimed.unlink(missing_ok=True)
        raise
    return path


def _claim(folder: Path, number: int, kind: str) -> Path:
    """An empty sidecar of that number, or of the first above it that no other listener has taken meanwhile."""
    while True:
        path = folder / f"{number:06d}_{kind.replace(' ', '-')}.json"
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE))
        except FileExistsError:
            number += 1
        except OSError as error:
            raise unwritable(path, error) from error
        else:
            return path


def kept_clips(folder: str | os.PathLike, skipped: Skipped) -> list[tuple[Path, Kept]]:
    """The clips of a folder, the oldest first; one whose sidecar is missing or malformed goes to `skipped`.

    Raises:
        WakewordError: no such folder, or no clip in it.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise WakewordError(f"{folder}: no such folder: give the one that 'wakeword listen --save-near-misses' filled")
    found = []
    for stem in sorted(_stems(folder), key=_number):
        path = folder / f"{stem}.wav"
        if not path.is_file():
            continue
        try:
            found.append((path, read_kept(path)))
        except WakewordError as error:
            skipped.add(path, error)
    if not found:
        told = f"{folder}: no kept clips in it: 'wakeword listen --save-near-misses' fills it. {skipped.summary()}"
        raise WakewordError(told.rstrip())
    return found


def read_kept(path: Path) -> Kept:
    """The sidecar of a clip.

    Raises:
        WakewordError: it is missing or malformed.
    """
    sidecar = path.with_suffix(".json")
    try:
        said = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WakewordError(f"{sidecar}: cannot be read ({error}): remove the clip") from error
    return from_dict(Kept, said, str(sidecar))


def decide(path: Path, about: Kept, decision: str) -> Kept:
    """Write a decision into a clip's sidecar, whole or not at all.

    Raises:
        WakewordError: the clip is gone, or the sidecar cannot be written.
    """
    if not path.is_file():  # A listener that fills the folder makes room.
        raise WakewordError(f"{path}: removed meanwhile")
    about = dataclasses.replace(about, decision=decision)
    _write_sidecar(path.with_suffix(".json"), _text(about))
    return about


def _text(about: Kept) -> bytes:
    return json.dumps(dataclasses.asdict(about), ensure_ascii=False).encode() + b"\n"


def _write_sidecar(path: Path, text: bytes) -> None:
    with replacing(path, FILE_MODE) as temporary:
        temporary.write_bytes(text)


def _number(stem: str) -> int:
    return int(stem.partition("_")[0])


def _stems(folder: Path) -> dict[str, int]:
    """The clips of a folder by name without a suffix, also halves that a killed process left, and their bytes."""
    sizes: dict[str, int] = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    stem = entry.name.partition(".")[0]
                    sizes[stem] = sizes.get(stem, 0) + entry.stat().st_size
    except OSError as error:
        raise WakewordError(f"{folder}: cannot be listed ({error.strerror}): make it readable") from error
    return sizes


def _make_room(folder: Path, sizes: dict[str, int], bounds: Bounds, needed: int) -> None:
    count, held = len(sizes), sum(sizes.values())
    for stem in sorted(sizes, key=_number):
        if count < bounds.clips and held + needed <= bounds.megabytes * 1e6:
            return
        for suffix in (".wav", ".json"):  # a sidecar without audio is no clip, audio without a sidecar would be
            try:
                (folder / f"{stem}{suffix}").unlink(missing_ok=True)
            except OSError as error:
                raise WakewordError(f"{folder / stem}{suffix}: cannot be removed ({error.strerror})") from error
        count, held = count - 1, held - sizes[stem]
