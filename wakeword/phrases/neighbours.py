"""What of English sounds like a phrase: words as a whole, words that have it in them, two words in a row.

Schönherr et al. (2020, https://arxiv.org/abs/2008.00508) searched a pronouncing dictionary in a like way, by a weighted
edit distance in phones, for what wakes smart speakers that should not.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from wakeword.acoustic import lexicon, phones

LIMITS = (0.0, 0.1, 0.2, 0.3)
"""Edits a phone of the phrase, up to which is counted what sounds like it."""
NEAR = 0.2
"""Up to this one, words and pairs are listed too."""
NEAREST = 10
"""So many words are listed as the nearest as a whole, however far they are."""
PAIR_PER_MILLION = 0.1
"""Pairs are listed that would come at least this often in a million words, if words followed each other by chance."""
FAR = 9.0
"""Stands for any distance beyond the limits."""
TOLERANCE = 1e-5
"""Sums of thirds and quarters in float32 miss the limits by less."""


@dataclass(frozen=True)
class Vocabulary:
    """Words, the most frequent first, `per_million` `[words]`; and their `ways` to be said, those of a word together:
    `word_of` `[ways]` tells whose each is, `codes` are its phones."""

    words: tuple[str, ...]
    per_million: np.ndarray
    ways: tuple[tuple[str, ...], ...]
    word_of: np.ndarray
    codes: tuple[np.ndarray, ...]

    def starts(self) -> np.ndarray:
        """Where each word's ways begin, `[words]`."""
        return np.searchsorted(self.word_of, np.arange(len(self.words)))


def vocabulary(per_million: Mapping[str, float], ways: Mapping[str, Sequence[tuple[str, ...]]]) -> Vocabulary:
    """Of words with how often each comes in a million, and the ways to say each."""
    words = tuple(sorted(per_million, key=lambda word: (-per_million[word], word)))
    said = [(index, way) for index, word in enumerate(words) for way in ways[word]]
    return Vocabulary(
        words=words,
        per_million=np.array([per_million[word] for word in words], np.float64),
        ways=tuple(way for _, way in said),
        word_of=np.array([index for index, _ in said], np.int64),
        codes=tuple(phones.encoded(way) for _, way in said),
    )


@cache
def english() -> Vocabulary:
    """The frequent words of the dictionary.

    Raises:
        WakewordError: as `lexicon.frequent_words`.
    """
    return vocabulary(lexicon.frequent_words(), lexicon.pronunciations())


@dataclass(frozen=True)
class Neighbour:
    """A word that sounds like the phrase, or in which something does.

    `phones` are the whole word's, `part` those that were compared; `relative` is their edit distance
    (`phones.substitution_costs`) a phone of the phrase; `per_million` is how often the word comes in a million words.
    """

    words: str
    phones: str
    part: str
    relative: float
    per_million: float


@dataclass(frozen=True)
class Pair:
    """Two words in a row, as `Neighbour`. How often they follow each other in English is not known:
    `per_million_by_chance` is how often they would, in a million words, if words followed each other by chance: the
    product of their shares."""

    words: str
    phones: str
    part: str
    relative: float
    per_million_by_chance: float


@dataclass(frozen=True)
class Within:
    """What sounds like the phrase up to `limit` edits a phone, as a whole or in a part: how many `words`, how often one
    of them comes in a million words; and how often pairs would (as `Pair`) neither word of which counts already."""

    limit: float
    words: int
    words_per_million: float
    pairs_per_million_by_chance: float


@dataclass(frozen=True)
class Neighbours:
    """`nearest`: words as a whole, the nearest first. `containing`: words a part of which, or the whole, is within
    `NEAR`, the most frequent first. `spelled`: of the others, those whose letters contain the phrase's. `pairs`: two
    words with a part across their bound that is within `NEAR`, and within a limit that neither word alone is; only such
    as would come at least `PAIR_PER_MILLION` by chance, the most frequent first."""

    within: tuple[Within, ...]
    nearest: tuple[Neighbour, ...]
    containing: tuple[Neighbour, ...]
    spelled: tuple[Neighbour, ...]
    pairs: tuple[Pair, ...]


def neighbours(ways: Sequence[tuple[str, ...]], spelling: str, among: Vocabulary) -> Neighbours:
    """Search a vocabulary for what sounds like a phrase, or has a stretch in it that does.

    Of the ways to say a word and of those to say the phrase, the nearest count. The phrase itself does not: neither a
    word nor a pair of its spelling.

    Args:
        ways: how the phrase is said, in phones. spelling: its words, normalised.
    """
    other = np.array([word != spelling for word in among.words], bool)
    whole, parts = _wholes(among, ways), _parts(among, ways)
    often = among.per_million
    across = _Across(among, ways)
    within = []
    for limit in LIMITS:
        counts = parts.relative <= limit + TOLERANCE
        by_chance = across.per_million(limit, often * ~counts, spelling)
        total = float(often[counts & other].sum())
        within.append(Within(limit, int((counts & other).sum()), round(total, 2), round(by_chance, 2)))
    near = parts.relative <= NEAR + TOLERANCE
    pairs = across.listed(parts.relative, spelling)
    spelled = [spelling in word for word in among.words]
    return Neighbours(
        within=tuple(within),
        nearest=whole.listed(np.flatnonzero(other)[np.argsort(whole.relative[other], kind="stable")[:NEAREST]]),
        containing=parts.listed(np.flatnonzero(near & other)),
        spelled=parts.listed(np.flatnonzero(~near & other & spelled)),
        pairs=_parts(pairs, ways).listed(np.arange(len(pairs.words)), Pair) if pairs.words else (),
    )


@dataclass(frozen=True)
class _Found:
    """For each word of a vocabulary the stretch of it that is nearest to a phrase: its distance, which `way` to say the
    word it lies in, where it begins and ends there; all `[words]`."""

    among: Vocabulary
    relative: np.ndarray
    way: np.ndarray
    begin: np.ndarray
    end: np.ndarray

    def listed(self, indices: np.ndarray, kind: type = Neighbour) -> tuple:
        found = []
        for index in indices:
            said = self.among.ways[self.way[index]]
            part = said[self.begin[index] : self.end[index]]
            relative, often = round(float(self.relative[index]), 3), round(float(self.among.per_million[index]), 2)
            found.append(kind(self.among.words[index], " ".join(said), " ".join(part), relative, often))
        return tuple(found)


def _nearest(among: Vocabulary, each: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> _Found:
    """The nearest of all ways: `each` way of the phrase brings `relative`, `begin` and `end` `[ways of the words]`."""
    relative, begin, end = (np.stack(values) for values in zip(*each, strict=True))
    of = relative.argmin(axis=0)
    relative, begin, end = (values[of, np.arange(values.shape[1])] for values in (relative, begin, end))
    # Sorted by word and then by distance, each word's nearest way comes where its first one stood.
    way = np.lexsort((relative, among.word_of))[among.starts()]
    return _Found(among, relative[way], way, begin[way], end[way])


def _wholes(among: Vocabulary, ways: Sequence[tuple[str, ...]]) -> _Found:
    costs, lengths = phones.substitution_costs(), np.array([len(codes) for codes in among.codes])
    distances = [phones.prefix_distances(among.codes, phones.encoded(way), costs)[:, -1] / len(way) for way in ways]
    return _nearest(among, [(relative, np.zeros_like(lengths), lengths) for relative in distances])


def _parts(among: Vocabulary, ways: Sequence[tuple[str, ...]]) -> _Found:
    costs, each = phones.substitution_costs(), []
    for way in ways:
        found = phones.occurrences(among.codes, phones.encoded(way), costs)
        last = np.array([least.argmin() for least, _ in found], np.int64)
        relative = np.array([least[at] for (least, _), at in zip(found, last, strict=True)], np.float32) / len(way)
        begin = np.array([begins[at] for (_, begins), at in zip(found, last, strict=True)], np.int64)
        each.append((relative, begin, last + 1))
    return _nearest(among, each)


class _Across:
    """The distance to a phrase of what lies across the bound of two words, for all pairs of a vocabulary.

    Some place in the phrase parts what aligns with an ending of the one word from what aligns with a beginning of the
    other; all places, in all ways to say the phrase, are tried, so that the distance is exact. Words with the same
    distances at all places are taken together, which leaves some hundreds of them.
    """

    def __init__(self, among: Vocabulary, ways: Sequence[tuple[str, ...]]) -> None:
        self.among, costs = among, phones.substitution_costs()
        reversed_codes = [codes[::-1] for codes in among.codes]
        ends, begins = [], []
        for way in ways:
            codes, length = phones.encoded(way), len(way)
            ends.append(phones.prefix_distances(among.codes, codes, costs, free_start=True)[:, 1:-1] / length)
            found = phones.prefix_distances(reversed_codes, codes[::-1], costs, free_start=True)
            begins.append(found[:, -2:0:-1] / length)
        starts = among.starts()
        first, second = (np.minimum.reduceat(np.concatenate(each, axis=1), starts) for each in (ends, begins))
        most = LIMITS[-1] + TOLERANCE
        beyond = (first + second.min(axis=0) > most, second + first.min(axis=0) > most)
        first[beyond[0]] = second[beyond[1]] = FAR
        firsts, self.first = np.unique(first.round(6), axis=0, return_inverse=True)
        seconds, self.second = np.unique(second.round(6), axis=0, return_inverse=True)
        self.first, self.second = self.first.ravel(), self.second.ravel()
        self.relative = np.full((len(firsts), len(seconds)), FAR, np.float32)
        for place in range(firsts.shape[1]):
            np.minimum(self.relative, firsts[:, place, None] + seconds[None, :, place], out=self.relative)

    def per_million(self, limit: float, often: np.ndarray, spelling: str) -> float:
        """How often pairs within a limit come in a million words, if words come as `often` `[words]`, by chance."""
        first = np.bincount(self.first, often, len(self.relative))
        second = np.bincount(self.second, often, self.relative.shape[1])
        total = float(first @ (self.relative <= limit + TOLERANCE) @ second)
        own = self._own(spelling)
        if own and self.relative[self.first[own[0]], self.second[own[1]]] <= limit + TOLERANCE:
            total -= float(often[own[0]] * often[own[1]])
        return max(0.0, total) / 1e6

    def listed(self, alone: np.ndarray, spelling: str) -> Vocabulary:
        """The pairs within `NEAR` that count at a limit at which neither word does, if often enough by chance.

        Args:
            alone: the distance of each word's nearest stretch, `[words]`.
        """
        often = self.among.per_million
        partners = np.searchsorted(-often, -PAIR_PER_MILLION * 1e6 / often, side="right")
        first = np.repeat(np.arange(len(often)), partners)
        second = np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
        relative = self.relative[self.first[first], self.second[second]]
        near = np.flatnonzero(relative <= NEAR + TOLERANCE)
        first, second, relative = first[near], second[near], relative[near]
        limits = np.array(LIMITS) + TOLERANCE
        counted = np.searchsorted(limits, np.minimum(alone[first], alone[second]))
        kept = np.searchsorted(limits, relative) < counted
        words, starts = self.among.words, [*self.among.starts(), len(self.among.ways)]
        rates, ways = {}, {}
        for one, two in zip(first[kept], second[kept], strict=True):
            text = f"{words[one]} {words[two]}"
            if text != spelling:
                rates[text] = float(often[one] * often[two] / 1e6)
                said = (self.among.ways[starts[each] : starts[each + 1]] for each in (one, two))
                ways[text] = [left + right for left, right in itertools.product(*said)]
        return vocabulary(rates, ways)

    def _own(self, spelling: str) -> tuple[int, int] | None:
        """The pair that is the phrase itself."""
        own = spelling.split()
        if len(own) == 2 and set(own) <= set(self.among.words):
            return self.among.words.index(own[0]), self.among.words.index(own[1])
        return None
