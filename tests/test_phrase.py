"""How well a phrase suits: distances between phones, what sounds alike, chance in transcripts, the verb."""

from __future__ import annotations

import json
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wakeword import lexicon, phones
from wakeword.cli import main
from wakeword.clips import Clip
from wakeword.errors import WakewordError

COSTS = phones.substitution_costs()
COMPUTER = "K AH M P Y UW T ER"
SEQUENCES = st.lists(st.sampled_from(["P", "B", "AA", "IY", "M"]), max_size=6)


@pytest.fixture(scope="module")
def dictionary():
    pytest.importorskip("pocketsphinx", reason="the dictionary needs wakeword[phrase]")
    pytest.importorskip("wordfreq", reason="frequencies need wakeword[phrase]")


def cost(one: str, other: str) -> float:
    return float(COSTS[phones.INDEX[one], phones.INDEX[other]])


def distance(one, other) -> float:
    """The edit distance by its recursive definition."""

    @cache
    def to(i: int, j: int) -> float:
        if not i or not j:
            return float(i + j)
        return min(to(i - 1, j) + 1, to(i, j - 1) + 1, to(i - 1, j - 1) + cost(one[i - 1], other[j - 1]))

    return to(len(one), len(other))


def test_phones_that_share_more_are_nearer():
    assert cost("P", "B") == pytest.approx(1 / 3), "voice alone"
    assert cost("P", "T") == pytest.approx(1 / 3), "place alone"
    assert cost("P", "Z") == cost("P", "AA") == 1
    assert cost("IY", "IH") == pytest.approx(1 / 4)
    assert len(phones.PHONES) == 39
    assert np.array_equal(COSTS, COSTS.T) and COSTS.min() == 0 and COSTS.max() == 1
    assert np.array_equal(np.argwhere(COSTS == 0), [[i, i] for i in range(39)]), "no two phones are the same"


@given(st.lists(SEQUENCES, max_size=4), SEQUENCES)
def test_distances_to_every_beginning_are_those_of_the_definition(words, phrase):
    found = phones.prefix_distances([phones.encoded(word) for word in words], phones.encoded(phrase), COSTS)
    assert found.shape == (len(words), len(phrase) + 1)
    for row, word in zip(found, words, strict=True):
        assert row == pytest.approx([distance(word, phrase[:end]) for end in range(len(phrase) + 1)], abs=1e-5)


@settings(max_examples=50)
@given(st.lists(SEQUENCES, min_size=1, max_size=3), SEQUENCES.filter(bool))
def test_occurrences_are_the_nearest_stretches_that_end_there(streams, phrase):
    found = phones.occurrences([phones.encoded(stream) for stream in streams], phones.encoded(phrase), COSTS)
    for stream, (least, begins) in zip(streams, found, strict=True):
        assert len(least) == len(begins) == len(stream)
        for end, (lowest, begin) in enumerate(zip(least, begins, strict=True)):
            every = [distance(stream[start : end + 1], phrase) for start in range(end + 2)]
            assert lowest == pytest.approx(min(every), abs=1e-5)
            assert every[begin] == pytest.approx(min(every), abs=1e-5)


def test_what_is_no_phone_is_far_from_all():
    assert phones.prefix_distances([phones.encoded(["?"])], phones.encoded(["K"]), COSTS)[0, 1] == 1


def test_written_phones_are_read():
    assert phones.parse(" hh EY1 k ") == ("HH", "EY", "K")
    assert phones.syllables(COMPUTER.split()) == 3
    for wrong in ("", "HH QQ", "1"):
        with pytest.raises(WakewordError, match="write ARPAbet"):
            phones.parse(wrong)


def test_the_dictionary_has_the_phones_that_are_described(dictionary):
    known = lexicon.pronunciations()
    assert {phone for ways in known.values() for way in ways for phone in way} == set(phones.PHONES)
    assert len(known) > 100_000 and len(lexicon.frequent_words()) > 20_000
    assert lexicon.ways_to_say("hey computer") == [tuple(f"HH EY {COMPUTER}".split())]
    assert len(lexicon.ways_to_say("a")) > 1


def test_a_computer_sounds_like_a_commuter(dictionary):
    from wakeword.phrase import NEAR, examine

    report = examine("computer")
    assert (report.phones, report.syllables, report.ways, report.chance) == (8, 3, (COMPUTER,), None)
    words = {each.words: each for each in report.words}
    assert words["commuter"].distance == words["compute"].distance == words["computers"].distance == 1
    assert words["commuter"].relative == 0.125 and words["commuter"].phones == "K AH M Y UW T ER"
    assert "computer" not in words and "window" not in words
    assert 3 <= report.words_near < 50
    assert all(each.relative <= NEAR and len(each.words.split()) == 2 for each in report.pairs)
    assert "come future" in {each.words for each in report.pairs}
    relative = [each.relative for each in report.words]
    assert relative == sorted(relative)


def test_words_that_sound_the_same_are_at_no_distance(dictionary):
    from wakeword.phrase import examine

    assert {each.words for each in examine("two").words if each.distance == 0} >= {"to", "too"}


def test_pairs_are_exact_and_nearer_than_their_words(dictionary):
    from wakeword.phrase import similar

    way = phones.parse("HH EY JH AA R V AH S")
    words, pairs = similar([way], "hey jarvis")
    alone = {each.words: each.distance for each in words}
    assert pairs and "hey jarvis" not in {each.words for each in pairs}
    for each in pairs[:10]:
        assert each.distance == pytest.approx(distance(each.phones.split(), way), abs=1e-3)
        assert all(each.distance < alone.get(word, 99) for word in each.words.split())


def test_a_longer_phrase_has_fewer_words_near(dictionary):
    from wakeword.phrase import examine

    near = [examine(phrase).words_near for phrase in ("cat", "computer", "hey computer")]
    assert near == sorted(near, reverse=True) and near[0] > 5 * near[1]


def test_words_that_the_dictionary_lacks_can_be_spelled_in_phones(dictionary):
    from wakeword.phrase import examine

    with pytest.raises(WakewordError, match="'zyzzlo' is not in the CMU dictionary: .*--phones"):
        examine("hey zyzzlo")
    report = examine("zyzzlo", ["Z IH1 Z L OW0", "Z AY Z L OW"])
    assert (report.phones, report.syllables) == (5, 2) and report.ways == ("Z IH Z L OW", "Z AY Z L OW")
    with pytest.raises(WakewordError, match="spell it in letters"):
        examine("7 up")


@pytest.fixture
def spoken(write_corpus, tmp_path):
    """A manifest of five clips of 36 s: 0.03 h that do not say "computer", and one clip each of the other kinds."""
    pytest.importorskip("lhotse")
    texts = {
        "a": "The commuter went home, the COMMUTER came back.",
        "b": "nothing like it",
        "c": "zyzzlo come 7 puter",
        "d": "a computer is one",
        "e": "",
    }
    return write_corpus(tmp_path, {key: np.zeros(16000 * 36, np.float32) for key in texts}, texts=texts)


def test_chance_is_counted_by_the_hour(dictionary, spoken):
    from wakeword.chance import LIMITS
    from wakeword.clips import find_clips
    from wakeword.phrase import examine

    found = examine("computer", speech=find_clips(spoken)).chance
    assert (found.hours, found.clips, found.with_phrase, found.without_transcript) == (0.03, 3, 1, 1)
    assert found.unknown_share == pytest.approx(3 / 15)
    assert dict(zip(LIMITS, found.counts, strict=True)) == {0.0: 0, 0.1: 0, 0.2: 2, 0.3: 2}
    assert found.per_hour[2] == pytest.approx(2 / 0.03)
    assert [(each.words, each.relative, each.count) for each in found.examples] == [("commuter", 0.125, 2)]


def test_chance_counts_across_words_and_not_through_unknown_ones(dictionary, spoken):
    from wakeword.chance import chance
    from wakeword.clips import find_clips

    clips = find_clips(spoken)
    across = chance([phones.parse("W EH N T HH OW M")], "wenthome", clips)
    assert across.counts == (1, 1, 1, 1) and across.examples[0].words == "went home"
    assert chance([phones.parse(COMPUTER)], "computer", clips[2:3]).counts == (0, 0, 0, 0)


def test_without_a_transcript_nothing_is_counted(dictionary, tmp_path):
    from wakeword.phrase import examine

    with pytest.raises(WakewordError, match="no transcript to count in: 1 clip"):
        examine("computer", speech=[Clip(tmp_path / "a.wav")])


def test_real_transcripts_hold_a_short_phrase_more_often(dictionary, shared):
    from wakeword.chance import chance

    folder = shared / "LibriSpeech" / "train-clean-5" / "1088" / "134315"
    lines = [line.split(" ", 1) for line in (folder / "1088-134315.trans.txt").read_text().splitlines()]
    clips = [Clip(folder / f"{name}.opus", text=text) for name, text in lines]
    short = chance(lexicon.ways_to_say("alexa"), "alexa", clips)
    long = chance(lexicon.ways_to_say("hey computer"), "hey computer", clips)
    assert 0.01 < short.hours < 1 and short.unknown_share < 0.1
    assert short.counts[-1] > 5 > long.counts[-1]
    assert list(short.counts) == sorted(short.counts)


def test_the_verb_reports(dictionary, spoken, capsys):
    arguments = ["phrase", "computer", "--speech", str(spoken)]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "'computer': 8 phones, 3 syllables: K AH M P Y UW T ER" in said and "commuter" in said
    assert "in 0.03 h of transcribed speech" in said and "within 0.2 edits a phone: 2 (66.67 an hour)" in said
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["phones"] == 8 and report["chance"]["counts"] == [0, 0, 2, 2]
    assert main(["phrase", "computer", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["chance"] is None


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["zyzzlo"], "not in the CMU dictionary"),
        (["zyzzlo", "--phones", "Z QQ"], "QQ is no phone"),
        (["computer", "--speech", "none.jsonl"], "no such file"),
        ([""], "no letters"),
    ],
)
def test_the_verb_names_the_mistake_in_a_line(dictionary, arguments, told, capsys):
    assert main(["phrase", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert told in said and len(said.splitlines()) == 1


def test_without_the_extra_it_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "pocketsphinx", None)
    lexicon.pronunciations.cache_clear()
    assert main(["phrase", "computer"]) == 2
    assert "pip install 'wakeword[phrase]'" in capsys.readouterr().err
