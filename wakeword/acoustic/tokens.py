"""The output units of CTC: the letters of English, apostrophe and space; or the phones of English and the space."""

from __future__ import annotations

import re
import unicodedata

from wakeword.acoustic import lexicon, phones
from wakeword.errors import WakewordError

BLANK = 0
SYMBOLS = ("<blank>", " ", "'", *"abcdefghijklmnopqrstuvwxyz")
UNITS = {"characters": SYMBOLS, "phones": ("<blank>", " ", *phones.PHONES)}
"""The symbols of each kind of units, by their ids."""
_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}
_SILENT = set('.,;:!?"()[]{}<>*_…“”„«»¡¿')
_AS_SPACE = set("-–—/\\\t\n\r\u00a0")
_AS_APOSTROPHE = set("’‘`")
_UNSPACED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]")


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


def words(text: str) -> list[str]:
    """The words of a text in any script, as texts are compared: without case and punctuation, and in the letters of
    `normalise` where they have them. In scripts without spaces (Han, kana, Thai) every character is a word."""
    found: list[str] = []
    for word in text.split():
        try:
            found += normalise(word).split()
        except TextError:
            folded = unicodedata.normalize("NFKC", word).casefold()
            kept = "".join(each if unicodedata.category(each)[0] in "LMN" else " " for each in folded)
            found += "".join(f" {each} " if _UNSPACED.match(each) else each for each in kept).split()
    return found


def in_letters(text: str) -> bool:
    """Whether a text has letters, of any script, and no digits."""
    kinds = {unicodedata.category(each)[0] for each in text}
    return "L" in kinds and "N" not in kinds


def encode(text: str, units: str = "characters") -> list[int]:
    """Token ids of a transcript, in `units`; phones are those of each word's usual pronunciation.

    Raises:
        TextError: as `normalise`; nothing is left; or, for phones, a word that the CMU dictionary does not have.
        WakewordError: phones, and the extra `phrase`, which brings the dictionary, is not installed.
    """
    spelled = normalise(text)
    if not spelled:
        raise TextError(f"{text[:60]!r} has no letters: write what is said")
    if units == "characters":
        return [_INDEX[character] for character in spelled]
    known = lexicon.pronunciations()
    missing = [word for word in spelled.split() if word not in known]
    if missing:
        raise TextError(f"{text[:60]!r}: '{missing[0]}' is not in the CMU dictionary")
    space = UNITS[units].index(" ")
    ids: list[int] = []
    for word in spelled.split():
        ids += [space] * bool(ids) + [UNITS[units].index(phone) for phone in known[word][0]]
    return ids


def merged(path) -> list[int]:
    """The token ids of a best path: repeats merged, blanks out (Graves et al. 2006)."""
    found, previous = [], BLANK
    for index in path:
        if index != previous and index != BLANK:
            found.append(index)
        previous = index
    return found


def compared(ids: list[int], units: str) -> list[int]:
    """Token ids as an error rate counts them: characters without spaces at the ends, phones without any."""
    space = UNITS[units].index(" ")
    if units == "phones":
        return [index for index in ids if index != space]
    first = next((place for place, index in enumerate(ids) if index != space), len(ids))
    last = next((place for place, index in enumerate(reversed(ids)) if index != space), 0)
    return ids[first : len(ids) - last]


def decode(path) -> str:
    """The text of a best path of characters."""
    return "".join(SYMBOLS[index] for index in merged(path)).strip()
