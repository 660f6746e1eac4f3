"""How well a phrase suits detection, from text alone: its length, what sounds like it, how often that is said."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from wakeword.acoustic import lexicon, phones, tokens
from wakeword.audio.clips import Clip
from wakeword.phrases.chance import Chance, chance
from wakeword.phrases.neighbours import LIMITS, NEAR, Neighbour, Neighbours, Pair, english, neighbours

SHOWN = 10
WIDTH = 120


@dataclass(frozen=True)
class PhraseReport:
    """What is known of a phrase: `ways` to say it in phones (the lengths are the usual one's); what sounds like it in
    frequent words; and, where speech was given, how often something like it is said in that."""

    phrase: str
    ways: tuple[str, ...]
    phones: int
    syllables: int
    neighbours: Neighbours
    chance: Chance | None

    def as_dict(self) -> dict:
        """For JSON: what `neighbours` holds stands beside the rest."""
        report = dataclasses.asdict(self)
        return {**report, **report.pop("neighbours"), "chance": report.pop("chance")}


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
    return PhraseReport(
        phrase=phrase,
        ways=tuple(" ".join(way) for way in said),
        phones=len(said[0]),
        syllables=phones.syllables(said[0]),
        neighbours=neighbours(said, spelling, english()),
        chance=None if speech is None else chance(said, spelling, speech),
    )


def format_report(report: PhraseReport, shown: int = SHOWN) -> str:
    """The report as text for a terminal, with up to so many words in each list."""
    found = report.neighbours
    lines = [f"'{report.phrase}': {report.phones} phones, {report.syllables} syllables: {' or '.join(report.ways)}"]
    lines.append("the nearest frequent words as a whole (edits a phone, times in a million words):")
    for each in found.nearest:
        lines.append(f"  {each.relative:4.2f}  {each.words:20} {each.phones:32} {each.per_million:9.1f}")
    lines.append("frequent words that sound like it as a whole or in a part (times in a million words of English):")
    for at in found.within:
        listed = _listed(found.containing, at.limit, shown)
        lines.append(_wrapped(f"{_up_to(at.limit)}: {at.words} words, {_figure(at.words_per_million)}{listed}"))
    if found.spelled:
        rest = (f"{each.words} {each.relative:.2f} ({_figure(each.per_million)})" for each in found.spelled[:shown])
        lines.append(_wrapped(f"spelled with it, but further off (edits a phone): {', '.join(rest)}"))
    lines.append("across two words, neither counted above (times in a million if words followed each other by chance):")
    for at in found.within:
        listed = _listed(found.pairs, at.limit, shown)
        lines.append(_wrapped(f"{_up_to(at.limit)}: {_figure(at.pairs_per_million_by_chance)}{listed}"))
    return "\n".join(lines + (report.chance.lines() if report.chance else []))


def format_comparison(reports: Sequence[PhraseReport]) -> str:
    """Phrases in a table, a line each."""
    heads = ["", "phones", "syllables", *map(_up_to, LIMITS)]
    rows = [
        [
            report.phrase,
            str(report.phones),
            str(report.syllables),
            *(
                f"{_figure(at.words_per_million)} + {_figure(at.pairs_per_million_by_chance)}"
                for at in report.neighbours.within
            ),
        ]
        for report in reports
    ]
    if all(report.chance for report in reports):
        heads.append(f"an hour of the speech, {_up_to(NEAR)}")
        for row, report in zip(rows, reports, strict=True):
            row.append(f"{report.chance.per_hour[LIMITS.index(NEAR)]:.2f}")
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = [
        "compared, in a million words: frequent words, as a whole or in a part, + across two that are none of them:"
    ]
    for row in (heads, *rows):
        cells = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"  {row[0]:{widths[0]}}  {'  '.join(cells)}")
    return "\n".join(lines)


def _listed(found: Sequence[Neighbour | Pair], limit: float, shown: int) -> str:
    """The most frequent of those that a limit takes in and the one below does not."""
    below = max((each for each in LIMITS if each < limit), default=-1.0)
    new = [each for each in found if below < each.relative <= limit][:shown]
    often = (each.per_million if isinstance(each, Neighbour) else each.per_million_by_chance for each in new)
    return f": {', '.join(f'{each.words} {_figure(rate)}' for each, rate in zip(new, often, strict=True))}" * bool(new)


def _up_to(limit: float) -> str:
    return f"within {limit:g}" if limit else "exactly"


def _figure(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _wrapped(line: str) -> str:
    return textwrap.fill(line, WIDTH, initial_indent="  ", subsequent_indent="    ")
