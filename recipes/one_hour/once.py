"""Work that is done once, and again where what it was made of has changed."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path

from wakeword.files import replacing

STAMP = "made_of.txt"


def made_of(*settings: object, files: Iterable[str | Path] = ()) -> str:
    """A short name for settings and for what files hold, unpacked, since a packed file tells when it was packed."""
    digest = hashlib.sha256(repr(settings).encode())
    for file in files:
        with gzip.open(file) if str(file).endswith(".gz") else open(file, "rb") as opened:
            digest.update(hashlib.sha256(opened.read()).digest())
    return digest.hexdigest()[:16]


def is_made(path: Path, made: str) -> bool:
    """Whether a file is there and was made of this."""
    stamp = path.with_name(STAMP)
    return path.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == made


def once(path: Path, made: str, make: Callable[[], object]) -> None:
    """Make a file, the last of its folder to be made, unless it was made of the same before."""
    if is_made(path, made):
        return
    stamp = path.with_name(STAMP)
    stamp.unlink(missing_ok=True)  # what is half replaced, if this is interrupted, is neither the old nor the new
    make()
    with replacing(stamp) as temporary:
        temporary.write_text(made, encoding="utf-8")
