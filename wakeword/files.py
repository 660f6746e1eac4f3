"""Files that are either whole or not there."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NoReturn

from wakeword.errors import WakewordError

MARK = "-unfinished-"
LEFTOVER = re.compile(rf"\..+{MARK}[a-z0-9_]{{8}}(\.[^.]*)?")
LEFTOVER_AGE_S = 3600.0


def check_new(path: Path) -> None:
    """Refuse a path where something is.

    Raises:
        WakewordError: it is.
    """
    if path.exists() or path.is_symlink():
        raise WakewordError(f"{path}: is there already: remove it or choose another place")


@contextmanager
def replacing(path: str | os.PathLike, mode: int | None = None) -> Iterator[Path]:
    """Give a temporary path beside `path` (same suffix); rename it to `path` when the block ends without an error.

    `mode` are the file's permissions, those that the umask leaves if None. However the block ends, the temporary file
    is gone; what a killed process left in the folder is removed by the next that writes there, once it is an hour old.

    Raises:
        WakewordError: the folder cannot be written, the disk is full, or `path` is a folder or a device; `path` is
            then as it was, and folders above it that were not there are not there.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        # A rename would put a file in the place of a device or a folder.
        raise WakewordError(f"{path}: cannot be written (it is there, and no regular file): choose another place")
    temporary, made = None, _missing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute())
        name = path.parent / f".{path.stem}{MARK}{secrets.token_hex(4)}{path.suffix}"
        # Not mkstemp, whose files are their owner's alone: what the umask would have left can only be read by setting
        # it, which for a moment holds for all threads.
        handle = os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if mode is None else mode)
        usual = os.fstat(handle).st_mode & 0o777
        os.close(handle)
        temporary = name
        yield temporary
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        # Some writers put a file of their own there.
        temporary.chmod(usual if mode is None else mode)
        temporary.replace(path)
        made = []
    except _Untouched:
        made = []
        raise
    except OSError as error:
        _refuse(error, path, temporary)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        _remove_empty(made)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder beside `path`; rename it to `path` when the block ends without an error.

    Raises:
        WakewordError: something is at `path`, or the folder cannot be written; `path` and what is above it are then as
            they were.
    """
    check_new(path)
    temporary, made = None, _missing(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path.parent.absolute())
        temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}{MARK}"))
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(path)
        made = []
    except OSError as error:
        _refuse(error, path, temporary)
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(made)


def check_writable(path: str | os.PathLike) -> None:
    """Refuse now what `replacing` would refuse in the end: before hours of work whose result is to go there.

    Raises:
        WakewordError: as `replacing`.
    """
    with suppress(_Untouched), replacing(path):
        raise _Untouched


class _Untouched(Exception):
    pass


def _refuse(error: OSError, path: Path, temporary: Path | None) -> NoReturn:
    """Raise what a user is told of an error in writing `path`.

    Code inside the block may raise errors of its own about other files; those pass unchanged.
    """
    named = error.filename is not None and Path(error.filename)
    ours = named and (named in (path, *path.parents) or temporary in (named, *named.parents))
    if temporary is not None and named and not ours:
        raise error
    raise unwritable(path, error) from error


def unwritable(path: Path, error: OSError) -> WakewordError:
    """What a user is told of a file or folder that cannot be written."""
    return WakewordError(f"{path}: cannot be written ({error.strerror or error}): free space or choose another place")


def _missing(path: Path) -> list[Path]:
    """The folders above `path` that are not there, the lowest first."""
    return [folder for folder in path.parents if not folder.exists()]


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()


@cache  # once a folder: some hold a file for each of 100 000 utterances
def _sweep(folder: Path) -> None:
    """Remove the temporary files and folders that killed processes left; not what another process may be writing."""
    with suppress(OSError):
        for name in os.listdir(folder):
            if LEFTOVER.fullmatch(name):
                with suppress(OSError):
                    _remove_old(folder / name)


def _remove_old(left: Path) -> None:
    if time.time() - left.lstat().st_mtime <= LEFTOVER_AGE_S:
        return
    if left.is_dir() and not left.is_symlink():
        shutil.rmtree(left, ignore_errors=True)
    else:
        left.unlink()
