"""The phones of English (ARPAbet, as the CMU dictionary writes them) and how far sequences of them lie apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from wakeword.errors import WakewordError

# Place, manner, voice (Handbook of the International Phonetic Association, 1999, on American English).
CONSONANTS = {
    "P": ("labial", "stop", "voiceless"),
    "B": ("labial", "stop", "voiced"),
    "T": ("alveolar", "stop", "voiceless"),
    "D": ("alveolar", "stop", "voiced"),
    "K": ("velar", "stop", "voiceless"),
    "G": ("velar", "stop", "voiced"),
    "CH": ("postalveolar", "affricate", "voiceless"),
    "JH": ("postalveolar", "affricate", "voiced"),
    "F": ("labial", "fricative", "voiceless"),
    "V": ("labial", "fricative", "voiced"),
    "TH": ("dental", "fricative", "voiceless"),
    "DH": ("dental", "fricative", "voiced"),
    "S": ("alveolar", "fricative", "voiceless"),
    "Z": ("alveolar", "fricative", "voiced"),
    "SH": ("postalveolar", "fricative", "voiceless"),
    "ZH": ("postalveolar", "fricative", "voiced"),
    "HH": ("glottal", "fricative", "voiceless"),
    "M": ("labial", "nasal", "voiced"),
    "N": ("alveolar", "nasal", "voiced"),
    "NG": ("velar", "nasal", "voiced"),
    "L": ("alveolar", "lateral", "voiced"),
    "R": ("postalveolar", "approximant", "voiced"),
    "Y": ("palatal", "approximant", "voiced"),
    "W": ("labial", "approximant", "voiced"),
}
# Height, backness, rounding, and what it glides to.
VOWELS = {
    "IY": ("close", "front", "unrounded", ""),
    "IH": ("near-close", "front", "unrounded", ""),
    "EH": ("mid", "front", "unrounded", ""),
    "AE": ("open", "front", "unrounded", ""),
    "AH": ("mid", "central", "unrounded", ""),
    "AA": ("open", "back", "unrounded", ""),
    "AO": ("mid", "back", "rounded", ""),
    "UH": ("near-close", "back", "rounded", ""),
    "UW": ("close", "back", "rounded", ""),
    "ER": ("mid", "central", "unrounded", "r"),
    "EY": ("mid", "front", "unrounded", "front"),
    "AY": ("open", "central", "unrounded", "front"),
    "OY": ("mid", "back", "rounded", "front"),
    "AW": ("open", "central", "unrounded", "back"),
    "OW": ("mid", "back", "rounded", "back"),
}
PHONES = (*CONSONANTS, *VOWELS)
INDEX = {phone: index for index, phone in enumerate(PHONES)}
NO_PHONE = -1
"""The code of a sound that is not known: as far as can be from every phone."""


def parse(text: str) -> tuple[str, ...]:
    """Phones that a user wrote, "HH EY1 k": any case, stress digits dropped.

    Raises:
        WakewordError: none, or one that ARPAbet does not have.
    """
    phones = tuple(phone.rstrip("012") for phone in text.upper().split())
    wrong = [phone for phone in phones if phone not in INDEX]
    if wrong or not phones:
        raise WakewordError(
            f"--phones {text!r}: {wrong[0] + ' is no phone' if wrong else 'no phones'}: "
            f"write ARPAbet, parted by spaces: {' '.join(PHONES)}"
        )
    return phones


def syllables(phones: Sequence[str]) -> int:
    """As many as there are vowels."""
    return sum(phone in VOWELS for phone in phones)


def encoded(phones: Sequence[str]) -> np.ndarray:
    """Codes int64 `[phones]`, for `substitution_costs`."""
    return np.array([INDEX.get(phone, NO_PHONE) for phone in phones], np.int64)


def substitution_costs() -> np.ndarray:
    """What it costs to hear one phone for another, from 0 to 1: the share of descriptors in which they differ.

    Of place, manner and voice for consonants, and of height, backness, rounding and glide for vowels; 1 between a
    consonant and a vowel. Bailey and Hahn (2005, Journal of Memory and Language 52) compared measures of the similarity
    of English consonants and found the simplest count of shared features the best. The vowels are done alike, without
    a study to show for it.

    Returns:
        float32 `[40, 40]` by code; the last row and column are `NO_PHONE`.
    """
    costs = np.ones((len(PHONES) + 1, len(PHONES) + 1), np.float32)
    for kind in (CONSONANTS, VOWELS):
        for one, its in kind.items():
            for other, others in kind.items():
                differ = sum(a != b for a, b in zip(its, others, strict=True))
                costs[INDEX[one], INDEX[other]] = differ / len(its)
    return costs


def prefix_distances(
    words: Sequence[np.ndarray], phrase: np.ndarray, costs: np.ndarray, free_start: bool = False
) -> np.ndarray:
    """Edit distances (Wagner and Fischer 1974) of many words to every beginning of a phrase at once.

    To leave a symbol out or put one in costs 1.

    Args:
        words: codes `[length]` each. phrase: codes `[n]`. costs: as `substitution_costs` gives them.
        free_start: what comes first in a word costs nothing: the distance is that of its nearest ending, which may be
            empty.

    Returns:
        float32 `[words, n + 1]`: column `j` is the distance to the phrase's first `j` symbols.
    """
    codes, lengths, order = _padded(words)
    rows = np.tile(np.arange(len(phrase) + 1, dtype=np.float32), (len(words), 1))
    for position in range(codes.shape[1]):
        above = rows[: np.count_nonzero(lengths > position)]
        row = np.empty_like(above)
        row[:, 0] = 0 if free_start else position + 1
        changed = above[:, :-1] + costs[codes[: len(above), position][:, None], phrase[None]]
        for j in range(len(phrase)):
            row[:, j + 1] = np.minimum(np.minimum(changed[:, j], above[:, j + 1] + 1), row[:, j] + 1)
        rows[: len(above)] = row
    found = np.empty_like(rows)
    found[order] = rows
    return found


def occurrences(
    streams: Sequence[np.ndarray], phrase: np.ndarray, costs: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where in longer sequences something like a phrase ends (Sellers 1980: an edit distance with a free beginning).

    Args:
        streams: codes `[length]` each. phrase: codes `[n]`. costs: as `substitution_costs` gives them.

    Returns:
        For each stream and each position in it, the least distance float32 `[length]` of a stretch that ends there,
        and where the shortest such stretch begins, int64 `[length]`.
    """
    codes, lengths, order = _padded(streams)
    least, begins = np.empty(codes.shape, np.float32), np.empty(codes.shape, np.int64)
    indel = np.arange(len(phrase) + 1)
    distance = np.tile(indel.astype(np.float32), (len(streams), 1))
    begin = np.zeros(distance.shape, np.int64)
    for position in range(codes.shape[1]):
        left = np.count_nonzero(lengths > position)
        distance, begin = distance[:left], begin[:left]
        changed = distance[:, :-1] + costs[codes[:left, position][:, None], phrase[None]]
        put_in = distance[:, 1:] + 1
        row, origin = np.zeros_like(distance), np.full_like(begin, position + 1)
        row[:, 1:] = np.minimum(changed, put_in)
        origin[:, 1:] = np.where(changed <= put_in, begin[:, :-1], begin[:, 1:])
        # Symbols of the phrase left out, 1 each: the running minimum of row - j, and where it was reached.
        shifted = row - indel
        lowest = np.minimum.accumulate(shifted, axis=1)
        reached = np.maximum.accumulate(np.where(shifted <= lowest, indel, 0), axis=1)
        distance, begin = lowest + indel, np.take_along_axis(origin, reached, axis=1)
        least[:left, position], begins[:left, position] = distance[:, -1], begin[:, -1]
    place = np.argsort(order)
    return [(least[row, : lengths[row]], begins[row, : lengths[row]]) for row in place]


def _padded(sequences: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Codes `[sequences, longest]`, the longest first, so that those that go on are the first rows; the `lengths` of
    the rows; and which sequence each is."""
    lengths = np.array([len(sequence) for sequence in sequences], np.int64)
    order = np.argsort(-lengths, kind="stable")
    codes = np.full((len(sequences), max(lengths, default=0)), NO_PHONE)
    if codes.size:
        inside = np.arange(codes.shape[1]) < lengths[order][:, None]
        codes[inside] = np.concatenate([sequences[index] for index in order])
    return codes, lengths[order], order
