"""Files that are either whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wakeword.errors import WakewordError


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffix); rename it to `path` when the block ends without an error.

    Raises:
        WakewordError: the folder cannot be written, the disk is full, or `path` is a folder or a device; `path` is
            then as it was.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # A rename would put a file in the place of a device or a folder.
        raise WakewordError(f"{path}: cannot be written (it is there, and no regular file): choose another place")
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # mkstemp makes files that only their owner can read; what a user asked for gets the usual permissions.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        # Code inside the block may raise errors of its own about other files; those pass unchanged.
        if error.filename is not None and Path(error.filename) not in (path, path.parent, temporary):
            raise
        raise WakewordError(
            f"{path}: cannot be written ({error.strerror or error}): free space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
