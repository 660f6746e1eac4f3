"""How well a phrase suits: distances between phones, what sounds alike, chance in transcripts, the verb."""

from __future__ import annotations

import json
import sys
from functools import cache

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from wakeword.acoustic import lexicon, phones
from wakeword.audio.clips import Clip
from wakeword.cli import main
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
    from wakeword.phrases.phrase import examine

    report = examine("computer")
    assert (report.phones, report.syllables, report.ways, report.chance) == (8, 3, (COMPUTER,), None)
    words = {each.words: each for each in report.neighbours.nearest}
    assert words["commuter"].relative == words["compute"].relative == words["computers"].relative == 1 / 8
    assert words["commuter"].phones == words["commuter"].part == "K AH M Y UW T ER"
    assert "computer" not in words and "window" not in words and len(words) == 10
    relative = [each.relative for each in report.neighbours.nearest]
    assert relative == sorted(relative)
    assert "come future" in {each.words for each in report.neighbours.pairs}


def test_words_that_sound_the_same_are_at_no_distance(dictionary):
    from wakeword.phrases.phrase import examine

    assert {each.words for each in examine("two").neighbours.nearest if each.relative == 0} >= {"to", "too"}


def test_words_that_have_the_phrase_in_them_are_found(dictionary):
    from wakeword.phrases.neighbours import LIMITS, NEAR
    from wakeword.phrases.phrase import examine

    found = examine("man").neighbours
    containing = {each.words: each for each in found.containing}
    assert {"many", "woman", "human", "german", "manage", "management"} <= set(containing) and "man" not in containing
    assert containing["management"].relative == 0 and containing["management"].part == "M AE N"
    assert containing["woman"].part == "M AH N" and containing["woman"].phones == "W UH M AH N"
    often = [each.per_million for each in found.containing]
    assert often == sorted(often, reverse=True) and len(containing) == len(often)
    for limit, at in zip(LIMITS, found.within, strict=True):
        if limit <= NEAR:
            held = [each.per_million for each in found.containing if each.relative <= limit]
            assert (at.limit, at.words) == (limit, len(held))
            assert at.words_per_million == pytest.approx(sum(held), rel=1e-3)
    assert not found.spelled, "all that are spelled with it sound like it too"


def test_what_woke_smart_speakers_is_found(dictionary):
    """Two words that Schönherr et al. (2020) found to wake Alexa."""
    from wakeword.phrases.phrase import examine

    found = examine("alexa").neighbours
    assert {"election", "unacceptable"} <= {each.words for each in found.containing}
    spelled = {each.words: each for each in found.spelled}
    assert spelled["alexander"].relative > 0.2 and "alexis" not in spelled


def sounds(draw_from: str = "P B AA IY M", least: int = 0, most: int = 4):
    return st.lists(st.sampled_from(draw_from.split()), min_size=least, max_size=most).map(tuple)


@settings(max_examples=100)
@given(sounds(" ".join(phones.PHONES), 1, 6), *[sounds(" ".join(phones.PHONES))] * 2, st.data())
def test_a_word_that_contains_the_phrase_is_found_whatever_is_around_it(phrase, before, after, data):
    from wakeword.phrases.neighbours import NEAR, neighbours, vocabulary

    assume(phrase != ("ZH",))  # the word's other pronunciation
    among = vocabulary({"word": 5.0, "other": 2.0}, {"word": [("ZH",), before + phrase + after], "other": [("?",) * 9]})
    found = neighbours([phrase], "phrase", among)
    (word,) = found.containing
    assert (word.words, word.relative, word.part) == ("word", 0, " ".join(phrase))
    assert word.phones == " ".join(before + phrase + after) and not found.pairs
    assert all((at.words, at.words_per_million) == (1, 5) for at in found.within)
    # One phone heard for another: found where that is within the limit, and never further than that.
    at = data.draw(st.integers(0, len(phrase) - 1))
    heard = data.draw(st.sampled_from(phones.PHONES))
    said = before + phrase[:at] + (heard,) + phrase[at + 1 :] + after
    near = neighbours([phrase], "phrase", vocabulary({"word": 5.0}, {"word": [said]}))
    away = cost(phrase[at], heard) / len(phrase)
    if away <= NEAR:
        assert near.containing[0].relative <= round(away, 3)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(sounds(least=1, most=4), min_size=2, max_size=5),
    st.lists(sounds(least=1, most=5), min_size=1, max_size=2),
    st.data(),
)
def test_pairs_and_their_rates_are_those_of_every_stretch_of_every_pair(said, ways, data):
    from wakeword.phrases.neighbours import LIMITS, NEAR, PAIR_PER_MILLION, neighbours, vocabulary

    names = [f"w{index}" for index in range(len(said))]
    rates = {name: data.draw(st.sampled_from([1.0, 40.0, 900.0, 70000.0])) for name in names}
    # The first word can be said in two ways; the first two words are the phrase itself, perhaps said as they are.
    ways = ways + [said[0] + said[1]] * data.draw(st.booleans())
    spoken = {name: [way] for name, way in zip(names, said, strict=True)}
    spoken[names[0]] = [said[0], said[0][::-1]]
    found = neighbours(ways, f"{names[0]} {names[1]}", vocabulary(rates, spoken))

    def nearest(sequence) -> float:
        ends = range(len(sequence) + 1)
        parts = {sequence[begin:end] for begin in ends for end in ends[begin:]}
        return min(distance(part, way) / len(way) for part in parts for way in ways)

    alone = {name: min(map(nearest, spoken[name])) for name in names}
    pairs = {
        (one, two): min(nearest(left + right) for left in spoken[one] for right in spoken[two])
        for one in names
        for two in names
        if (one, two) != (names[0], names[1])
    }
    for limit, at in zip(LIMITS, found.within, strict=True):
        near = [name for name in names if alone[name] <= limit + 1e-4]
        assert at.words == len(near) and at.words_per_million == pytest.approx(sum(rates[name] for name in near))
        across = [
            rates[one] * rates[two] / 1e6
            for (one, two), away in pairs.items()
            if away <= limit + 1e-4 and not {one, two} & set(near)
        ]
        assert at.pairs_per_million_by_chance == pytest.approx(sum(across), abs=0.01)
    expected = {
        f"{one} {two}": round(away, 3)
        for (one, two), away in pairs.items()
        if away <= NEAR + 1e-4
        and any(away <= limit + 1e-4 < min(alone[one], alone[two]) for limit in LIMITS)
        and rates[one] * rates[two] / 1e6 >= PAIR_PER_MILLION
    }
    assert {each.words: each.relative for each in found.pairs} == pytest.approx(expected, abs=2e-3)
    for each in found.pairs:
        one, two = each.words.split()
        assert each.per_million_by_chance == pytest.approx(rates[one] * rates[two] / 1e6, abs=0.01)


def test_pairs_are_exact_and_often_enough_by_chance(dictionary):
    from wakeword.phrases.neighbours import LIMITS, NEAR, PAIR_PER_MILLION, english, neighbours

    way = phones.parse("HH EY K AH M P Y UW T ER")
    found = neighbours([way], "hey computer", english())
    alone = {each.words: each.relative for each in found.containing}
    per_million = dict(zip(english().words, english().per_million, strict=True))
    assert len(found.pairs) > 10 and "hey computer" not in {each.words for each in found.pairs}
    assert found.pairs[0].words == "a computer", "'the computer' is no nearer than what 'computer' counts as"
    for each in found.pairs:
        assert each.relative == pytest.approx(distance(each.part.split(), way) / len(way), abs=1e-3)
        assert each.part in each.phones and each.relative <= NEAR
        one, two = each.words.split()
        assert any(each.relative <= limit < min(alone.get(one, 99), alone.get(two, 99)) for limit in LIMITS)
        assert each.per_million_by_chance == pytest.approx(per_million[one] * per_million[two] / 1e6, abs=0.01)
        assert each.per_million_by_chance >= PAIR_PER_MILLION
    often = [each.per_million_by_chance for each in found.pairs]
    assert often == sorted(often, reverse=True)


def test_a_longer_phrase_is_in_fewer_words(dictionary):
    from wakeword.phrases.phrase import examine

    within = [examine(phrase).neighbours.within[2] for phrase in ("cat", "alexa", "computer", "hey jarvis")]
    assert [at.limit for at in within] == [0.2] * 4
    for each in ("words", "words_per_million", "pairs_per_million_by_chance"):
        figures = [getattr(at, each) for at in within]
        assert figures == sorted(figures, reverse=True) and figures[0] > 50 * figures[2]


def test_a_phrase_of_one_phone_is_in_most_words_and_across_none(dictionary):
    from wakeword.phrases.phrase import examine

    found = examine("oh", ["OW"]).neighbours
    assert found.within[0].words > 1000 and found.pairs == () and found.within[-1].pairs_per_million_by_chance == 0


def test_words_that_the_dictionary_lacks_can_be_spelled_in_phones(dictionary):
    from wakeword.phrases.phrase import examine

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
    from wakeword.audio.clips import find_clips
    from wakeword.phrases.chance import LIMITS
    from wakeword.phrases.phrase import examine

    found = examine("computer", speech=find_clips(spoken)).chance
    assert found.words == 15
    assert (found.hours, found.clips, found.with_phrase, found.without_transcript) == (0.03, 3, 1, 1)
    assert found.unknown_share == pytest.approx(3 / 15)
    assert dict(zip(LIMITS, found.counts, strict=True)) == {0.0: 0, 0.1: 0, 0.2: 2, 0.3: 2}
    assert found.per_hour[2] == pytest.approx(2 / 0.03)
    assert [(each.words, each.relative, each.count) for each in found.examples] == [("commuter", 0.125, 2)]


def test_chance_counts_across_words_and_not_through_unknown_ones(dictionary, spoken):
    from wakeword.audio.clips import find_clips
    from wakeword.phrases.chance import chance

    clips = find_clips(spoken)
    across = chance([phones.parse("W EH N T HH OW M")], "wenthome", clips)
    assert across.counts == (1, 1, 1, 1) and across.examples[0].words == "went home"
    assert chance([phones.parse(COMPUTER)], "computer", clips[2:3]).counts == (0, 0, 0, 0)


def test_without_a_transcript_nothing_is_counted(dictionary, tmp_path):
    from wakeword.phrases.phrase import examine

    with pytest.raises(WakewordError, match="no transcript to count in: 1 clip"):
        examine("computer", speech=[Clip(tmp_path / "a.wav")])


def test_real_transcripts_hold_a_short_phrase_more_often(dictionary, shared):
    from wakeword.phrases.chance import chance

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
    assert report["phones"] == 8 and report["chance"]["counts"] == [0, 0, 2, 2] and report["compared"] == []
    assert main(["phrase", "computer", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["chance"] is None
    assert {"words", "phones", "part", "relative", "per_million"} == set(report["containing"][0])
    assert "per_million_by_chance" in report["pairs"][0] and "per_million" not in report["pairs"][0]


def test_the_verb_shows_as_many_words_as_asked(dictionary, capsys):
    said = []
    for most in (0, 2, 1000):
        assert main(["phrase", "man", "--most", str(most)]) == 0
        said.append(capsys.readouterr().out)
    exactly = [next(line for line in each.splitlines() if line.startswith("  exactly: ")) for each in said]
    assert exactly[1].startswith(exactly[0] + ": management ") and exactly[1].count(",") == exactly[0].count(",") + 1
    assert all(f" {word} " in said[2].replace("\n", " ") for word in ["many", "woman", "human", "german", "manage"])
    assert "if words followed each other by chance" in said[0]


def test_phrases_are_compared_as_each_is_measured_alone(dictionary, spoken, capsys):
    from wakeword.audio.clips import find_clips
    from wakeword.phrases.phrase import examine

    arguments = ["phrase", "computer", "--compare", "alexa", "went home", "--speech", str(spoken)]
    assert main(arguments) == 0
    table = capsys.readouterr().out.partition("compared, in a million words")[2].splitlines()
    assert [line.split()[0] for line in table[2:]] == ["computer", "alexa", "went"] and "an hour" in table[1]
    assert table[2].split()[:3] == ["computer", "8", "3"] and table[2].endswith("66.67")
    assert main([*arguments, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    alone = [
        json.loads(json.dumps(examine(each, None, find_clips(spoken)).as_dict())) for each in ("alexa", "went home")
    ]
    assert report["compared"] == alone


@pytest.mark.parametrize(
    "arguments, told",
    [
        (["zyzzlo"], "not in the CMU dictionary"),
        (["zyzzlo", "--phones", "Z QQ"], "QQ is no phone"),
        (["computer", "--speech", "none.jsonl"], "no such file"),
        ([""], "no letters"),
        (["computer", "--compare", "alexa", "zyzzlo"], "--compare 'zyzzlo': 'zyzzlo' is not in the CMU dictionary"),
        (["computer", "--most", "-1"], "--most -1"),
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
