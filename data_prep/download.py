"""Fetching corpus archives: resumed after a break, checked against the publisher's digest, unpacked, marked."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import re
import shutil
import ssl
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from wakeword.errors import WakewordError, require

BLOCK = 1 << 20
PATIENCE_S = 60.0
ATTEMPTS = 5
# What a network does; an OSError of another kind is the disk.
BREAKS = (urllib.error.URLError, http.client.HTTPException, ssl.SSLError, TimeoutError, ConnectionError)


@dataclass(frozen=True)
class Archive:
    """A .tar.* or .zip archive. `digest` is "md5:..." or "sha256:..." as its publisher gives it, or None."""

    url: str
    digest: str | None = None


def download(archive: Archive, target_dir: Path, root: str = "") -> Path:
    """Fetch and unpack an archive whose contents lie in the folder `root`; give `target_dir/root`.

    The file `.completed` in that folder says that it is whole, and nothing is fetched again. What a broken download
    left (`*.part`) is resumed by the next one. The archive is removed once it is unpacked.

    Raises:
        WakewordError: the server cannot be reached or refuses, the file is not what the publisher announced, the
            archive is damaged, or the disk is full or cannot be written.
    """
    folder = Path(target_dir).expanduser().resolve() / root
    if (folder / ".completed").is_file():
        return folder
    target_dir = Path(target_dir).expanduser().resolve()
    try:
        target_dir.mkdir(parents=True, exist_ok=True)
        packed = fetch(archive, target_dir)
        _unpack(packed, target_dir)
        if not folder.is_dir():
            raise WakewordError(f"{packed}: holds no folder {root} (the publisher changed it): unpack it by hand")
        (folder / ".completed").touch()
        packed.unlink()
    except OSError as error:
        raise WakewordError(f"{target_dir}: {error.strerror or error}: free space or choose another place") from error
    return folder


def fetch(archive: Archive, target_dir: Path, attempts: int = ATTEMPTS, pause_s: float = 1.0) -> Path:
    """Fetch a file by HTTP into `target_dir`, resuming its `.part` with a range request (RFC 9110, section 14).

    A server that ignores the range sends the whole file, which then replaces the part. Breaks are tried again
    `attempts` times in all, after `pause_s`, then twice as long each time.

    Raises:
        WakewordError: as `download`. OSError: the disk.
    """
    whole = target_dir / archive.url.rsplit("/", 1)[-1]
    part = whole.with_name(whole.name + ".part")
    if not whole.is_file():
        for attempt in range(1, attempts + 1):
            try:
                _fetch_part(archive.url, part)
                break
            except urllib.error.HTTPError as error:
                if error.code < 500 and error.code not in (408, 429) or attempt == attempts:
                    raise WakewordError(
                        f"{archive.url}: the server answers {error.code} ({error.reason}): "
                        "try later, or fetch it by hand and prepare without --download"
                    ) from error
            except BREAKS as error:
                if attempt == attempts:
                    reason = getattr(error, "reason", None) or error
                    raise WakewordError(
                        f"{archive.url}: cannot be fetched ({reason}): check the network and run it again; "
                        f"it resumes from {part}"
                    ) from error
            time.sleep(pause_s * 2 ** (attempt - 1))
        part.replace(whole)
    if archive.digest and (found := _digest(whole, archive.digest.partition(":")[0])) != archive.digest:
        whole.unlink()
        raise WakewordError(
            f"{archive.url}: what came is not what was published ({found} instead of {archive.digest}); "
            "it was removed: run it again"
        )
    return whole


def _fetch_part(url: str, part: Path) -> None:
    """One request for what `part` lacks; returns only if the announced size is reached."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "wakeword"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.urlopen(request, timeout=PATIENCE_S)
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing behind the part: it is whole, or of another file; then the next attempt starts anew.
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return
        part.unlink()
        raise ConnectionError(f"{part} does not fit the server's file") from error
    with response:
        length = response.headers.get("Content-Length")
        span = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range") or "")
        resumed = response.status == 206 and span is not None and int(span[1]) == have
        if response.status == 206 and not resumed:
            part.unlink(missing_ok=True)
            raise ConnectionError("the server sent another range than was asked for")
        have = have if resumed else 0
        total = have + int(length) if length else None
        if total and total - have > (free := shutil.disk_usage(part.parent).free):
            raise WakewordError(f"{part.parent}: {free >> 20} MB free, {(total - have) >> 20} MB needed: free space")
        bar = require("tqdm").tqdm(
            initial=have, total=total, desc=part.stem, unit="B", unit_scale=True, unit_divisor=1024, disable=None
        )
        with bar, open(part, "ab" if resumed else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total is not None and (size := part.stat().st_size) < total:
        raise ConnectionError(f"broken off at {size} of {total} bytes")


def _digest(path: Path, kind: str) -> str:
    made = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            made.update(block)
    return f"{kind}:{made.hexdigest()}"


def _unpack(packed: Path, target_dir: Path) -> None:
    """Unpack with nothing outside of `target_dir` (PEP 706 for tar; zipfile strips such paths itself)."""
    try:
        if zipfile.is_zipfile(packed):
            with zipfile.ZipFile(packed) as archive:
                archive.extractall(target_dir)
        elif hasattr(tarfile, "data_filter"):
            with tarfile.open(packed) as archive:
                archive.extractall(target_dir, filter="data")
                # The checksum of the compressed stream stands behind the last file, where nobody has read yet.
                while archive.fileobj.read(BLOCK):
                    pass
        else:
            raise WakewordError(f"{packed}: this Python unpacks tar archives unsafely: update it, or unpack by hand")
    except (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error) as error:
        packed.unlink()
        raise WakewordError(f"{packed}: damaged archive ({error}); it was removed: run it again") from error
