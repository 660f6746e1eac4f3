"""Texts that sound like a phrase, to the dictionary and then to the acoustic model, spoken as negatives."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from data_prep.synthesise import synthesise_speech
from wakeword.acoustic import lexicon, tokens
from wakeword.audio.clips import Clip, read_clips
from wakeword.errors import Skipped, WakewordError
from wakeword.phrases.neighbours import english, neighbours
from wakeword.training.spoken import Progress, clips_of, confidences, place_of, told_by, voices_to_speak

EACH = 6
"""Clips of each text."""
CANDIDATES = 4
"""For each text that is wanted, so many that are spoken once for the acoustic model to choose from."""
SAME = 0.05
"""Closer to the phrase, in edits a phone, a text is the phrase to the ear."""


def speak_confusables(
    phrases: Sequence[str],
    count: int,
    folder: str | os.PathLike,
    seed: int,
    acoustic: str | os.PathLike,
    skipped: Skipped,
    progress: Progress,
) -> list[Clip]:
    """Clips of the `count` texts that the acoustic model takes for each phrase soonest, in the voices that train it.

    The dictionary names `CANDIDATES` times as many; each is spoken once, and those stay in which the model finds the
    phrase most surely (`spoken.confidences`). Where it cannot spell the phrase, the dictionary decides alone.

    Raises:
        WakewordError: as `spoken.speak_phrase` and `confusables`.
    """
    voices, _ = voices_to_speak()

    def speak(texts: list[str], name: str, each: int) -> list[Clip]:
        place = place_of(folder, name, *texts, seed, voices)
        number, told = each * len(texts), told_by(progress, name)
        return clips_of(synthesise_speech(texts, place, number, seed, phrases, voices, told), skipped)

    said: list[str] = []
    for phrase in phrases:
        texts = confusables(phrase, CANDIDATES * count)
        candidates = speak(texts, "candidates", 1) if len(texts) > count else []
        said += likest(phrase, texts, list(read_clips(candidates, skipped)), acoustic)[:count]
    return speak(list(dict.fromkeys(said)), "confusables", EACH)


def likest(
    phrase: str, texts: list[str], spoken: Sequence[tuple[Clip, np.ndarray]], acoustic: str | os.PathLike
) -> list[str]:
    """The texts, those first in whose clips the acoustic model finds the phrase most surely; unheard ones last."""
    found = confidences([samples for _, samples in spoken], phrase, acoustic) if spoken else None
    if found is None:
        return texts
    best: dict[str | None, float] = {}
    for (clip, _), confidence in zip(spoken, found, strict=True):
        best[clip.text] = max(best.get(clip.text, -np.inf), confidence)
    return sorted(texts, key=lambda text: -best.get(text, -np.inf))


def confusables(phrase: str, count: int) -> list[str]:
    """Texts that sound like a phrase, `count` at most: its words without the others ("hey", "computer"), then the
    likest of the frequent words and pairs of words (`neighbours`), as a whole or in a part, and of the phrase with
    another word in the place of one of its own ("hey commuter"). What sounds the same, or has it in it, is left out.

    Raises:
        WakewordError: a word is not in the dictionary, or the extra `phrase` is not installed.
    """
    spelling, words = tokens.normalise(phrase), known_words(phrase)
    ways = lexicon.ways_to_say(spelling)
    alike = neighbours(ways, spelling, english())
    near = {each.words: each.relative for each in (*alike.nearest, *alike.containing, *alike.pairs)}
    if len(words) > 1:
        for place, word in enumerate(words):
            said = lexicon.ways_to_say(word)
            for each in neighbours(said, word, english()).nearest:
                text = " ".join([*words[:place], each.words, *words[place + 1 :]])
                near.setdefault(text, each.relative * len(said[0]) / len(ways[0]))
    # "hey computers" says the phrase, whatever is behind.
    other = [text for text, relative in near.items() if relative >= SAME and _joined(spelling) not in _joined(text)]
    likest = sorted(other, key=lambda text: (near[text], text))
    parts = [
        " ".join(words[first:last])
        for first in range(len(words))
        for last in range(first + 1, len(words) + 1)
        if last - first < len(words)
    ]
    return list(dict.fromkeys([*parts, *likest]))[:count]


def known_words(phrase: str) -> list[str]:
    """The words of a phrase, all of which the dictionary knows.

    Raises:
        WakewordError: as `confusables`.
    """
    words, known = tokens.normalise(phrase).split(), lexicon.pronunciations()
    missing = [word for word in words if word not in known]
    if missing:
        raise WakewordError(
            f"confusables: '{missing[0]}' of '{phrase}' is not in the CMU dictionary, so what sounds like it is not "
            "known: leave --confusables out"
        )
    return words


def _joined(text: str) -> str:
    return text.replace(" ", "")
