import string
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wakeword.errors import WakewordError
from wakeword.tokens import BLANK, SYMBOLS, TextError, decode, encode, normalise

SPOKEN = st.text(alphabet=string.ascii_letters + " '", min_size=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", "hello world"),
        ("  It's\tten\no'clock  ", "it's ten o'clock"),
        ("don’t don‘t don`t don´t", "don't don't don't don't"),
        ("Café Ångström naïve ﬁre", "cafe angstrom naive fire"),
        ("well-known—and / or", "well known and or"),
        ("“Yes…” (he said)", "yes he said"),
        ("no\u00a0break", "no break"),
        ("İstanbul", "istanbul"),
    ],
)
def test_transcripts_are_brought_to_the_alphabet(text, expected):
    assert normalise(text) == expected


@pytest.mark.parametrize(
    "text", ["7 up", "the 2nd", "½", "x²", "привет", "你好", "مرحبا", "€", "a+b", "straße", "👋", "٣"]
)
def test_what_has_no_letters_here_is_named(text):
    with pytest.raises(TextError, match="outside the alphabet") as caught:
        encode(text)
    assert issubclass(caught.type, WakewordError)


@pytest.mark.parametrize("text", ["", "   ", "...", "?!", "\u0301", "—"])
def test_a_transcript_without_letters_is_refused(text):
    with pytest.raises(TextError, match="no letters"):
        encode(text)


@given(st.text())
@example("two\nlines and 3")
@example("\ud800")
@example("\x00")
def test_any_text_gives_tokens_or_a_text_error_of_one_line(text):
    try:
        ids = encode(text)
    except TextError as error:
        assert len(str(error).splitlines()) == 1
        str(error).encode()  # printable: no lone surrogates
    else:
        assert ids and all(0 < index < len(SYMBOLS) for index in ids)
        said = normalise(text)
        assert normalise(said) == said == "".join(SYMBOLS[index] for index in ids)


@given(SPOKEN.filter(lambda text: text.strip()), st.data())
def test_a_best_path_decodes_to_its_transcript(text, data):
    path, previous = [], None
    for index in encode(text):
        path += [BLANK] * data.draw(st.integers(index == previous, 2))
        path += [index] * data.draw(st.integers(1, 3))
        previous = index
    assert decode(path) == normalise(text)


def test_equal_neighbours_merge_unless_a_blank_parts_them():
    ids = encode("all")
    assert decode(ids) == "al"
    assert decode([ids[0], ids[1], BLANK, ids[2]]) == "all"
    assert decode([]) == decode([BLANK, BLANK]) == ""


def test_every_symbol_has_its_own_place():
    assert len(set(SYMBOLS)) == len(SYMBOLS) == 29
    assert SYMBOLS[BLANK] == "<blank>"
    assert all(unicodedata.normalize("NFKD", symbol) == symbol for symbol in SYMBOLS)
