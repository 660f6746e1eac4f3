"""The output units of CTC: the letters of English, apostrophe and space."""

from __future__ import annotations

import unicodedata

from wakeword.errors import WakewordError

BLANK = 0
SYMBOLS = ("<blank>", " ", "'", *"abcdefghijklmnopqrstuvwxyz")
_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}
_SILENT = set('.,;:!?"()[]{}<>*_…“”„«»¡¿')
_AS_SPACE = set("-–—/\\\t\n\r\u00a0")
_AS_APOSTROPHE = set("’‘`")


class TextError(WakewordError):
    """A transcript with characters outside the alphabet."""


def normalise(text: str) -> str:
    """Lower case, accents off, punctuation out, single spaces.

    Raises:
        TextError: a character (a digit, another script) has no place in the alphabet: spell it out.
    """
    letters = []
    # The acute accent on its own is typed for an apostrophe; NFKD would make a space and an accent of it.
    for character in unicodedata.normalize("NFKD", text.replace("´", "'")).lower():
        if character in _AS_SPACE:
            character = " "
        elif character in _AS_APOSTROPHE:
            character = "'"
        if character in _SILENT or unicodedata.combining(character):
            continue
        if character not in _INDEX:
            raise TextError(f"{text[:60]!r}: the character {character!r} is outside the alphabet: spell it in letters")
        letters.append(character)
    return " ".join("".join(letters).split())


def encode(text: str) -> list[int]:
    """Token ids of a transcript.

    Raises:
        TextError: as `normalise`; or nothing is left.
    """
    ids = [_INDEX[character] for character in normalise(text)]
    if not ids:
        raise TextError(f"{text[:60]!r}: no letters in the transcript")
    return ids


def decode(ids) -> str:
    """The text of a best path: repeats merged, blanks out (Graves et al. 2006)."""
    letters, previous = [], BLANK
    for index in ids:
        if index != previous and index != BLANK:
            letters.append(SYMBOLS[index])
        previous = index
    return "".join(letters).strip()
