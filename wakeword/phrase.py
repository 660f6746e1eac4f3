"""How well a phrase suits detection, from text alone: its length, what sounds like it, how often that is said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from wakeword import lexicon, phones, tokens
from wakeword.chance import Chance, chance
from wakeword.clips import Clip

NEAR = 0.25
"""Up to this distance a phone of the phrase, words count as similar."""
PAIR_PER_MILLION = 10.0
"""Of pairs, each word comes at least this often in a million."""
SHOWN = 10


@dataclass(frozen=True)
class Neighbour:
    """A word, or two in a row, that sounds like the phrase.

    `distance` is the edit distance in phones (`phones.substitution_costs`), `relative` the same a phone of the phrase.
    `per_million` is how often the word comes in a million words; of two, how often the rarer one does.
    """

    words: str
    phones: str
    distance: float
    relative: float
    per_million: float


@dataclass(frozen=True)
class PhraseReport:
    """What is known of a phrase: `ways` to say it in phones (the lengths are the usual one's); its nearest neighbours,
    and how many there are within `NEAR`; and, where speech was given, how often something like it is said in that."""

    phrase: str
    ways: tuple[str, ...]
    phones: int
    syllables: int
    words_near: int
    pairs_near: int
    words: tuple[Neighbour, ...]
    pairs: tuple[Neighbour, ...]
    chance: Chance | None


def examine(phrase: str, ways: Sequence[str] | None = None, speech: Sequence[Clip] | None = None) -> PhraseReport:
    """Measure a phrase.

    Args:
        phrase: its words. ways: how it is said, in ARPAbet ("HH EY K AH M P Y UW T ER"); None takes the dictionary's.
        speech: clips with transcripts, to count in.

    Raises:
        WakewordError: a word is not in the dictionary and no `ways` are given; a way is not in ARPAbet; the extra
            `phrase` is not installed; no clip of `speech` has a transcript; or as `tokens.encode`.
    """
    tokens.encode(phrase)  # refuses what has no letters
    spelling = tokens.normalise(phrase)
    said = [phones.parse(way) for way in ways] if ways else lexicon.ways_to_say(spelling)
    words, pairs = similar(said, spelling)
    return PhraseReport(
        phrase=phrase,
        ways=tuple(" ".join(way) for way in said),
        phones=len(said[0]),
        syllables=phones.syllables(said[0]),
        words_near=sum(word.relative <= NEAR for word in words),
        pairs_near=len(pairs),
        words=tuple(words[:SHOWN]),
        pairs=tuple(pairs[:SHOWN]),
        chance=None if speech is None else chance(said, spelling, speech),
    )


def similar(ways: Sequence[tuple[str, ...]], spelling: str = "") -> tuple[list[Neighbour], list[Neighbour]]:
    """Frequent words (`lexicon.frequent_words`) by distance to a phrase, and pairs of the more frequent ones within
    `NEAR`: those nearer than either of their words alone. The nearest come first, and of equals the most frequent.

    The distance of two words in a row is exact: some place in the phrase parts what aligns with the one from what
    aligns with the other, and all places are tried.
    """
    frequency, known = lexicon.frequent_words(), lexicon.pronunciations()
    entries = [(word, way) for word in frequency for way in known[word] if word != spelling]
    per_million = np.array([frequency[word] for word, _ in entries])
    forward = [phones.encoded(way) for _, way in entries]
    backward = [codes[::-1] for codes in forward]
    costs = phones.substitution_costs()
    words: dict[str, Neighbour] = {}
    pairs: dict[str, Neighbour] = {}

    def keep(found: dict, text: str, way: str, distance: float, length: int, often: float) -> None:
        one = Neighbour(
            text, way, round(float(distance), 3), round(float(distance) / length, 3), round(float(often), 1)
        )
        if text not in found or one.relative < found[text].relative:
            found[text] = one

    for way in ways:
        codes, length = phones.encoded(way), len(way)
        begins = phones.prefix_distances(forward, codes, costs)
        ends = phones.prefix_distances(backward, codes[::-1], costs)
        alone = begins[:, -1]
        for index in np.argsort(alone, kind="stable")[: max(20 * SHOWN, int((alone <= NEAR * length).sum()))]:
            word, said = entries[index]
            keep(words, word, " ".join(said), alone[index], length, per_million[index])
        common = per_million >= PAIR_PER_MILLION
        for cut in range(1, length):
            first, second = begins[:, cut], ends[:, length - cut]
            left = np.flatnonzero(common & (first <= NEAR * length - second.min()))
            right = np.flatnonzero(common & (second <= NEAR * length - first.min()))
            total = first[left][:, None] + second[right][None]
            nearer = np.minimum(alone[left][:, None], alone[right][None])
            for i, j in np.argwhere((total <= NEAR * length) & (total < nearer)):
                (one, one_way), (two, two_way) = entries[left[i]], entries[right[j]]
                if f"{one} {two}" != spelling:
                    often = min(per_million[left[i]], per_million[right[j]])
                    keep(pairs, f"{one} {two}", " ".join((*one_way, *two_way)), total[i, j], length, often)

    def order(found: dict[str, Neighbour]) -> list[Neighbour]:
        return sorted(found.values(), key=lambda each: (each.relative, -each.per_million, each.words))

    return order(words), order(pairs)


def format_report(report: PhraseReport) -> str:
    """The report as text for a terminal."""
    lines = [f"'{report.phrase}': {report.phones} phones, {report.syllables} syllables: {' or '.join(report.ways)}"]
    found = (("words", report.words_near, report.words), ("pairs of words", report.pairs_near, report.pairs))
    for name, near, neighbours in found:
        rest = "; the nearest (edits a phone, times in a million words):" if neighbours else ""
        lines.append(f"frequent {name} within {NEAR:g} edits a phone: {near}{rest}")
        lines += [
            f"  {each.relative:4.2f}  {each.words:20} {each.phones:32} {each.per_million:9.1f}" for each in neighbours
        ]
    return "\n".join(lines + (report.chance.lines() if report.chance else []))
