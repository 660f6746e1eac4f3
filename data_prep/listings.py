"""Reading the lists that corpora come with: lines, `KEY VALUE` pairs, tables."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path

from wakeword.errors import ManifestError


def lines(path: Path, remedy: str) -> list[str]:
    """The lines of a listing that are not blank. Old corpora mix UTF-8 and Latin-1, so what is not UTF-8 is Latin-1.

    Raises:
        ManifestError: the file is missing or cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: the listing cannot be read ({error.strerror or error}): {remedy}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    # Not splitlines(): a transcript may hold U+2028 and the like.
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def pairs(path: Path, remedy: str) -> Iterator[tuple[str, str]]:
    """`key text` lines (Kaldi's text, wav.scp, utt2spk; LibriSpeech's trans.txt).

    Raises:
        ManifestError: the file is missing, or a line has a key alone.
    """
    for number, line in enumerate(lines(path, remedy), 1):
        key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
        if not value.strip():
            raise ManifestError(f"{path}: line {number} is not 'KEY VALUE' ({line[:60]!r}): {remedy}")
        yield key, value.strip()


def table(path: Path, required: Iterable[str], remedy: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table with a header line. In a TSV quotes are letters like any other (as Common Voice has it).

    Raises:
        ManifestError: the file is missing, a required column is, or a row has more or fewer fields than the header.
    """
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader((line + "\n" for line in lines(path, remedy)), delimiter=delimiter, quoting=quoting)
    try:
        header = next(rows, [])
        if missing := [name for name in required if name not in header]:
            raise ManifestError(f"{path}: the header has no column {', '.join(missing)}: {remedy}")
        for row in rows:
            if len(row) != len(header):
                raise ManifestError(
                    f"{path}: row {rows.line_num} has {len(row)} fields where the header has {len(header)}: {remedy}"
                )
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ManifestError(f"{path}: line {rows.line_num} cannot be read ({error}): {remedy}") from error


def gender_of(published: str | None) -> str | None:
    """ "female" or "male" for what corpora write (F, m, Female, "male;"), None for anything else."""
    return {"f": "female", "m": "male"}.get((published or "").strip(" ;[]()").lower()[:1])
