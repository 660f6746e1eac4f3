"""How often something that sounds like a phrase is said in transcribed speech that does not hold the phrase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from wakeword.acoustic import lexicon, phones, tokens
from wakeword.audio.clips import Clip, clip_blocks, told_seconds
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import AudioError, Skipped, WakewordError
from wakeword.phrases.neighbours import LIMITS, TOLERANCE

EXAMPLES = 5
TOGETHER = 256


@dataclass(frozen=True)
class Example:
    """Words in which the phrase was found `count` times, at a distance of `relative` a phone of the phrase."""

    words: str
    relative: float
    count: int


@dataclass(frozen=True)
class Chance:
    """What was counted.

    `counts` and `per_hour` go with `LIMITS`: stretches whose edit distance to the phrase is at most that much a phone
    of it. `examples` are the nearest of them. Clips that say the phrase itself
    (`with_phrase`), and those without a transcript, count in neither the hours nor the words nor the stretches; words
    that are not in the dictionary (`unknown_share`) match nothing.
    """

    hours: float
    words: int
    clips: int
    with_phrase: int
    without_transcript: int
    unknown_share: float
    limits: tuple[float, ...]
    counts: tuple[int, ...]
    per_hour: tuple[float, ...]
    examples: tuple[Example, ...]
    skipped: dict[str, str]

    def lines(self) -> list[str]:
        """The same as text."""
        told = f"in {self.hours:.2f} h of transcribed speech ({self.words} words in {self.clips} clips; "
        told += f"{self.with_phrase} that say the phrase and {self.without_transcript} without transcript left out; "
        lines = [told + f"{self.unknown_share:.1%} of the words are not in the dictionary):"]
        for limit, count, rate in zip(self.limits, self.counts, self.per_hour, strict=True):
            lines.append(f"  within {limit:g} edits a phone: {count} ({rate:.2f} an hour)")
        if self.examples:
            shown = (f"'{each.words}' {each.relative:.2f} ({each.count})" for each in self.examples)
            lines.append("  the nearest, with their number: " + ", ".join(shown))
        if self.skipped:
            lines.append("  " + Skipped(self.skipped).summary())
        return lines


def chance(ways: Sequence[tuple[str, ...]], spelling: str, clips: Sequence[Clip]) -> Chance:
    """Count in the transcripts of clips, each word in its usual pronunciation, across the bounds of words.

    Stretches that overlap count once, as the nearest of them. What is counted is text: it does not tell how the words
    were said, nor what a detector makes of them.

    Args:
        ways: the pronunciations of the phrase, in phones; the nearest counts. spelling: the phrase, normalised.

    Raises:
        WakewordError: none of the clips has a transcript, or all that have say the phrase.
    """
    skipped, seconds, used, with_phrase, without, unknown, total = Skipped(), 0.0, [], 0, 0, 0, 0
    known = lexicon.pronunciations()
    for clip in clips:
        words = [_plain(word) for word in (clip.text or "").replace("-", " ").split()]
        if not words:
            without += 1
        elif f" {spelling} " in f" {' '.join(words)} ":
            with_phrase += 1
        else:
            try:
                seconds += _seconds(clip)
            except AudioError as error:
                skipped.add(clip.path, error)
                continue
            used.append(words)
            total += len(words)
            unknown += sum(word not in known for word in words)
    if not used:
        raise WakewordError(
            f"no transcript to count in: {without} clip(s) without one, {with_phrase} that say the phrase. "
            f"Give manifests of transcribed speech ('wakeword prepare'). {skipped.summary()}".strip()
        )
    counts, found = np.zeros(len(LIMITS), int), Counter()
    for start in range(0, len(used), TOGETHER):
        for relative, said in _stretches(ways, used[start : start + TOGETHER]):
            counts += relative <= np.array(LIMITS) + TOLERANCE
            found[round(relative, 3), said] += 1
    hours = seconds / 3600
    nearest = sorted(found, key=lambda key: (key[0], -found[key], key[1]))
    return Chance(
        hours=round(hours, 4),
        words=total,
        clips=len(used),
        with_phrase=with_phrase,
        without_transcript=without,
        unknown_share=unknown / total,
        limits=LIMITS,
        counts=tuple(counts.tolist()),
        per_hour=tuple((counts / hours).round(4).tolist()),
        examples=tuple(Example(said, relative, found[relative, said]) for relative, said in nearest[:EXAMPLES]),
        skipped=skipped.reasons,
    )


def _stretches(ways: Sequence[tuple[str, ...]], texts: list[list[str]]) -> Iterator[tuple[float, str]]:
    """Stretches of some texts within the widest limit: their distance a phone of the phrase, and their words."""
    known = lexicon.pronunciations()
    # A word that nobody can pronounce parts what is around it: as many unknown sounds as the phrase has phones.
    wall = ("?",) * max(map(len, ways))
    said = [[known[word][0] if word in known else wall for word in words] for words in texts]
    streams = [phones.encoded([phone for way in each for phone in way]) for each in said]
    found: list[list[tuple[float, int, int]]] = [[] for _ in texts]
    for way in ways:
        ends = phones.occurrences(streams, phones.encoded(way), phones.substitution_costs())
        for stretches, (least, begins) in zip(found, ends, strict=True):
            relative = least / len(way)
            near = np.flatnonzero(relative <= LIMITS[-1] + TOLERANCE)
            stretches += [(float(relative[end]), int(begins[end]), int(end)) for end in near]
    for words, each, stretches in zip(texts, said, found, strict=True):
        word_of = np.repeat(np.arange(len(words)), [len(way) for way in each])
        taken: list[tuple[int, int]] = []
        for relative, begin, end in sorted(stretches):
            if all(end < other_begin or begin > other_end for other_begin, other_end in taken):
                taken.append((begin, end))
                yield relative, " ".join(words[word_of[begin] : word_of[end] + 1])


def _plain(word: str) -> str:
    try:
        return tokens.normalise(word)
    except tokens.TextError:
        return word  # a number or another script: the dictionary does not know it


def _seconds(clip: Clip) -> float:
    told = told_seconds(clip)
    return sum(map(len, clip_blocks(clip))) / SAMPLE_RATE if told is None else told
