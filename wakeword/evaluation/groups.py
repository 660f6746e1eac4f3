"""Who speaks in a clip, and what kind of sound it is, as far as its manifest tells."""

from __future__ import annotations

from wakeword.audio.clips import Clip

GROUPS = ("gender", "age", "accent")
AGES = (
    (13, "under 13"),
    (20, "13-19"),
    (30, "20-29"),
    (40, "30-39"),
    (50, "40-49"),
    (60, "50-59"),
    (200, "60 and over"),
)
DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
AGE_IN_WORDS = {word: 25.0 + 10 * index for index, word in enumerate(DECADES)}
AGE_IN_WORDS |= {"teens": 16.5, "fourties": 45.0}  # as Common Voice spells it
CHILD_BELOW, ADULT_FROM = 16.0, 18.0  # between them voices are neither; Common Voice's "teens" are not told apart
GROWN = {"child": "child", "children": "child", "adult": "adult", "senior": "adult"}
LANGUAGE = "en"  # of the phrases: the acoustic models know no other


def groups_of(clip: Clip) -> list[str]:
    """The groups that the corpus puts a clip's speaker in: `speaker: child`, `gender: female`, `accent: mandarin`."""
    grown = grown_of(clip)
    named = [f"{attribute}: {value}" for attribute in GROUPS if (value := group_of(clip, attribute))]
    return [f"speaker: {grown}"] * bool(grown) + named


def group_of(clip: Clip, attribute: str) -> str:
    """A clip's value of an attribute in small letters, an age (in years, or Common Voice's words) as its range."""
    value = clip.attributes.get(attribute)
    text = "" if value is None else str(value).strip().lower()
    years = _years(text) if attribute == "age" else None
    return text if years is None else next((label for below, label in AGES if years < below), "")


def grown_of(clip: Clip) -> str:
    """ "child", "adult", or empty where the age is not told or between."""
    text = str(clip.attributes.get("age") or "").strip().lower()
    years = _years(text)
    if years is None:
        return GROWN.get(text, "")
    return "child" if years < CHILD_BELOW else "adult" if years >= ADULT_FROM else ""


def kind_of(clip: Clip) -> str:
    """What a negative is: "music", "noise", "other languages", "children", "speech", or "not told".

    Speech is what has a speaker, a text or a language. Without them, music is what its manifest or a folder of its
    path calls so, and noise what has another kind.
    """
    language = clip.attributes.get("language")
    if not (language or clip.text or clip.speaker):
        kind = str(clip.attributes.get("kind") or "").lower()
        if "music" in kind or any(part.lower() == "music" for part in clip.path.parent.parts):
            return "music"
        return "noise" if kind else "not told"
    if language and str(language).lower().replace("_", "-").partition("-")[0] != LANGUAGE:
        return "other languages"
    return "children" if grown_of(clip) == "child" else "speech"


def corpus_of(clip: Clip) -> str:
    return clip.corpus or "unnamed"


def _years(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return AGE_IN_WORDS.get(text)
