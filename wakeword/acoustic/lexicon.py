"""How English words are pronounced, and how frequent they are. Needs the extra `phrase`.

Pronunciations: the CMU Pronouncing Dictionary, without stress, as PocketSphinx carries it (BSD). Frequencies: wordfreq
(R. Speer 2022, https://doi.org/10.5281/zenodo.7199437; Apache-2.0, its data CC BY-SA 4.0).
"""

from __future__ import annotations

import itertools
from functools import cache

from wakeword.errors import WakewordError, require

MOST_WAYS = 8


@cache
def pronunciations() -> dict[str, list[tuple[str, ...]]]:
    """The dictionary: a word in lower case to its pronunciations, the usual one first.

    Raises:
        WakewordError: the extra is not installed, or its dictionary is not where it should be.
    """
    path = require("pocketsphinx", "phrase").get_model_path("en-us/cmudict-en-us.dict")
    found: dict[str, list[tuple[str, ...]]] = {}
    try:
        with open(path, encoding="utf-8") as lines:
            for line in lines:
                word, *phones = line.split()
                found.setdefault(word.partition("(")[0], []).append(tuple(phones))
    except (OSError, ValueError) as error:
        raise WakewordError(f"{path}: no dictionary to read ({error}): pip install 'wakeword[phrase]'") from error
    return found


@cache
def frequent_words() -> dict[str, float]:
    """The words of the dictionary that come at least once in a million, with occurrences a million words.

    Single letters other than "a" and "i" are left out: they come as names of letters alone.

    Raises:
        WakewordError: the extra is not installed.
    """
    known = pronunciations()
    per_word = require("wordfreq", "phrase").get_frequency_dict("en", wordlist="small")
    return {
        word: 1e6 * share
        for word, share in per_word.items()
        if word in known and share >= 1e-6 and (len(word) > 1 or word in "ai")
    }


def ways_to_say(phrase: str) -> list[tuple[str, ...]]:
    """The pronunciations of a normalised phrase, in phones, the usual one first; at most eight.

    Raises:
        WakewordError: a word is not in the dictionary, or the extra is not installed.
    """
    known = pronunciations()
    words = phrase.split()
    missing = [word for word in words if word not in known]
    if missing:
        raise WakewordError(
            f"'{missing[0]}' is not in the CMU dictionary: give the whole phrase in ARPAbet, "
            'as --phones "HH EY K AH M P Y UW T ER" does for "hey computer"'
        )
    ways = itertools.product(*(known[word] for word in words))
    return list(dict.fromkeys(tuple(itertools.chain(*way)) for way in itertools.islice(ways, MOST_WAYS)))
