"""Who speaks and what sounds, from what a manifest says and from nothing."""

from pathlib import Path

import pytest

from wakeword.audio.clips import Clip
from wakeword.evaluation.groups import corpus_of, groups_of, kind_of


def clip(path="a/b.wav", text=None, speaker=None, **attributes) -> Clip:
    return Clip(Path(path), text=text, speaker=speaker, attributes=attributes)


@pytest.mark.parametrize(
    "age, groups",
    [
        ("6", ["speaker: child", "age: under 13"]),
        (15, ["speaker: child", "age: 13-19"]),
        ("16", ["age: 13-19"]),
        ("18", ["speaker: adult", "age: 13-19"]),
        ("teens", ["age: 13-19"]),
        ("twenties", ["speaker: adult", "age: 20-29"]),
        ("fourties", ["speaker: adult", "age: 40-49"]),
        ("forties", ["speaker: adult", "age: 40-49"]),
        ("eighties", ["speaker: adult", "age: 60 and over"]),
        ("Adult", ["speaker: adult", "age: adult"]),
        ("Youth", ["age: youth"]),
        ("nan", []),
        (" ", []),
        (None, []),
    ],
)
def test_ages_in_years_and_in_words_make_the_same_groups(age, groups):
    assert groups_of(clip(age=age)) == groups


def test_groups_are_in_small_letters_and_only_those_that_are_told():
    assert groups_of(clip(gender="Female", accent=" Indian English ")) == ["gender: female", "accent: indian english"]
    assert groups_of(clip()) == []


@pytest.mark.parametrize(
    "found, kind",
    [
        (clip(text="hello", language="en"), "speech"),
        (clip(speaker="s1", language="en-US", age="30"), "speech"),
        (clip(text="hello", language="en", age="7"), "children"),
        (clip(text="bonjour", language="fr", age="7"), "other languages"),
        (clip(language="zh-CN"), "other languages"),
        (clip(speaker="s1"), "speech"),
        (clip(text="la la", path="music/a.wav"), "speech"),
        (clip(kind="dog"), "noise"),
        (clip(kind="Music"), "music"),
        (clip(kind="fma", path="musan/music/fma/1.wav"), "music"),
        (clip(path="musical/1.wav"), "not told"),
        (clip(path="music.wav"), "not told"),
        (clip(), "not told"),
    ],
)
def test_kinds_of_sound(found, kind):
    assert kind_of(found) == kind


def test_a_corpus_has_a_name():
    assert corpus_of(clip()) == "unnamed" and corpus_of(Clip(Path("a"), corpus="c")) == "c"
