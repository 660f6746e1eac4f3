import string
import sys
import unicodedata
from itertools import groupby

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from wakeword.acoustic import lexicon, phones
from wakeword.acoustic.tokens import BLANK, SYMBOLS, UNITS, TextError, decode, encode, merged, normalise
from wakeword.errors import WakewordError

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


def test_each_kind_of_units_has_the_blank_and_the_space_in_the_same_place():
    assert set(UNITS) == {"characters", "phones"} and UNITS["characters"] == SYMBOLS
    for symbols in UNITS.values():
        assert symbols[BLANK] == "<blank>" and symbols[1] == " " and len(set(symbols)) == len(symbols)
    assert len(UNITS["phones"]) == 41 and set(UNITS["phones"][2:]) == set(phones.PHONES)


@given(st.lists(st.integers(0, 4), max_size=30))
def test_a_best_path_is_merged_as_ctc_says(path):
    assert merged(path) == [index for index, _ in groupby(path) if index != BLANK]


@pytest.fixture(scope="module")
def dictionary():
    pytest.importorskip("pocketsphinx", reason="the dictionary needs wakeword[phrase]")
    return lexicon.pronunciations()


def said(ids):
    return " ".join(UNITS["phones"][index] for index in ids)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The cat!", "DH AH   K AE T"),
        ("computer", "K AH M P Y UW T ER"),
        ("Don’t — stop", "D OW N T   S T AA P"),
        ("zoo", "Z UW"),
    ],
)
def test_words_are_spelt_in_their_usual_phones(dictionary, text, expected):
    assert said(encode(text, "phones")) == expected


@pytest.fixture(scope="module")
def some_words(dictionary):
    """Words from all over the dictionary that are written as transcripts are."""
    return [word for word in list(dictionary)[::300] if set(word) <= set(string.ascii_lowercase + "'")]


@given(data=st.data())
def test_any_words_of_the_dictionary_are_encoded_one_after_the_other(dictionary, some_words, data):
    words = data.draw(st.lists(st.sampled_from(some_words), min_size=1, max_size=5))
    ids = encode("  ".join(words), "phones")
    assert said(ids).split("   ") == [" ".join(dictionary[word][0]) for word in words]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("the jxqv sat", "'jxqv' is not in the CMU dictionary"),
        ("7 up", "outside the alphabet"),
        ("...", "no letters"),
        ("' '", "is not in the CMU dictionary"),
        ("x" * 300, "is not in the CMU dictionary"),
    ],
)
def test_what_cannot_be_said_in_phones_is_a_text_error(dictionary, text, named):
    with pytest.raises(TextError, match=named) as caught:
        encode(text, "phones")
    assert len(str(caught.value).splitlines()) == 1


def test_phones_without_the_dictionary_name_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    lexicon.pronunciations.cache_clear()
    try:
        with pytest.raises(WakewordError, match=r"wakeword\[phrase\]") as caught:
            encode("the cat", "phones")
        assert not isinstance(caught.value, TextError), "it would be taken for a transcript that does not fit"
        assert encode("the cat") == [SYMBOLS.index(letter) for letter in "the cat"]
    finally:
        lexicon.pronunciations.cache_clear()
