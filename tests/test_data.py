from __future__ import annotations

import gzip
import json
import shutil

import numpy as np
import pytest

torch = pytest.importorskip("torch")
lhotse = pytest.importorskip("lhotse")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic import tokens  # noqa: E402
from wakeword.audio.clips import share_of  # noqa: E402
from wakeword.augmentation.augment import Augmentation, at_speed, simulated_rooms  # noqa: E402
from wakeword.errors import ManifestError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings, extract  # noqa: E402
from wakeword.pretraining.batches import Utterances, batches, collate, paced  # noqa: E402
from wakeword.pretraining.data import (  # noqa: E402
    Source,
    fewer,
    held_out,
    lowest_of_each,
    read_manifest,
    read_sources,
    split_speakers,
    with_tokens,
)

SETTINGS = FeatureSettings(mels=16)


def cut_of(name, seconds=1.0, speaker=None, text="", language="en", split="train"):
    """An utterance without audio, for what only counts and orders."""
    recording = lhotse.Recording(
        name, [lhotse.AudioSource("file", [0], f"{name}.wav")], 16000, round(seconds * 16000), seconds
    )
    cut = recording.to_cut()
    cut.id = name
    cut.supervisions = [
        lhotse.SupervisionSegment(name, name, 0, seconds, text=text, speaker=speaker, language=language)
    ]
    cut.custom = {"split": split, "corpus": "c"}
    return cut


def saved(path, cuts):
    lhotse.CutSet.from_cuts(cuts).to_file(path)
    return str(path)


class Ids:
    """In place of `Utterances`: which utterances a batch holds."""

    def __init__(self, seed, epoch):
        self.seed, self.epoch = seed, epoch

    def __getitem__(self, cuts):
        return [cut.id for cut in cuts]

    def __len__(self):
        return 0


@pytest.mark.parametrize("fraction", [0.0, 0.06, 0.2, 0.5, 1.0])
def test_the_held_out_share_is_near_what_is_asked(fraction):
    share = np.mean([held_out(f"speaker-{i}", fraction) for i in range(20_000)])
    assert abs(share - fraction) < 0.01


@given(speaker=st.text(), low=st.floats(0, 1), high=st.floats(0, 1))
def test_a_speaker_held_out_of_less_is_held_out_of_more(speaker, low, high):
    low, high = sorted([low, high])
    assert held_out(speaker, low) <= held_out(speaker, high)
    assert not held_out(speaker, 0.0) and held_out(speaker, 1.0)


def test_who_is_held_out_never_changes():
    """These hang on nothing but the names: a later version must not move a test speaker into training."""
    assert [i for i in range(60) if held_out(f"speaker{i}", 0.06)] == [18, 28, 43]


def test_speakers_are_divided_whole():
    cuts = lhotse.CutSet.from_cuts(cut_of(f"u{i}", speaker=f"s{i % 40}") for i in range(200))
    training, validation = split_speakers(cuts, 0.25)
    assert len(training) + len(validation) == 200 and len(validation) > 0
    speakers = [{cut.supervisions[0].speaker for cut in part} for part in (training, validation)]
    assert not speakers[0] & speakers[1]
    assert speakers[1] == {f"s{i}" for i in range(40) if held_out(f"s{i}", 0.25)}


def test_each_corpus_can_hold_out_a_speaker_and_none_of_the_others_moves():
    said = {"digits": ["s0", "s1", "s2", "s3", "s4"], "alone": ["s5"], "large": [f"s{i}" for i in range(10, 60)]}
    cuts = [cut_of(name, speaker=name) for names in said.values() for name in names]
    for cut in cuts:
        cut.custom["corpus"] = next(corpus for corpus, names in said.items() if cut.id in names)
    nobody = cut_of("u", speaker=None)
    also = lowest_of_each([*cuts, nobody])
    assert also == lowest_of_each(cuts[::-1]) and len(also) == 2
    (digits,) = also & set(said["digits"])
    assert all(held_out(name, share_of(digits)) is False for name in said["digits"]), "not the first to be held out"
    before, after = (
        {cut.id for cut in split_speakers(lhotse.CutSet.from_cuts(cuts), 0.06, names)[1]} for names in ((), also)
    )
    assert before and before < set(said["large"]) and after == before | {digits}


def test_where_no_speaker_is_named_the_recording_counts():
    cuts = lhotse.CutSet.from_cuts(cut_of(f"u{i}", speaker=None) for i in range(100))
    _, validation = split_speakers(cuts, 0.3)
    assert {cut.id for cut in validation} == {f"u{i}" for i in range(100) if held_out(f"u{i}", 0.3)}


def test_a_source_gives_the_languages_splits_and_lengths_asked_for(tmp_path):
    cuts = [
        cut_of("a"),
        cut_of("b", language="de"),
        cut_of("c", split="test"),
        cut_of("d", seconds=0.2),
        cut_of("e", seconds=36),
        cut_of("f", split=""),
        cut_of("g", language=None),
        cut_of("h", split="validation"),
    ]
    manifest = saved(tmp_path / "m.jsonl.gz", cuts)
    ids = lambda **wanted: [cut.id for cut in read_sources([Source(manifest, **wanted)])]  # noqa: E731
    assert ids() == ["a", "b", "f", "g", "h"]
    assert ids(languages=("de", "fr")) == ["b"]
    assert ids(splits=("test",)) == ["c"]
    with pytest.raises(ManifestError, match=r"m.jsonl.gz: no utterance.*\['fr'\].*holds languages: .*'de' \(1\)"):
        ids(languages=("fr",))
    other = saved(tmp_path / "n.jsonl.gz", [cut_of("z")])
    assert [cut.id for cut in read_sources([Source(other), Source(manifest)])] == ["z", "a", "b", "f", "g", "h"]


GOOD = json.dumps(cut_of("a").to_dict())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\n",
        b"hello\n",
        b"{}\n",
        b"[]\n",
        b"3\n",
        b"null\n",
        GOOD.encode()[: len(GOOD) // 2],
        GOOD.encode() + b"\n{",
        GOOD.replace('"MonoCut"', '"NoCut"').encode(),
        GOOD.replace('"recording"', '"record"').encode(),
        GOOD.replace('"supervisions": [', '"supervisions": [3, ').encode(),
        json.dumps(cut_of("a").recording.to_dict()).encode(),
        json.dumps(cut_of("a").supervisions[0].to_dict()).encode(),
        b"\xff\xfe\x00",
    ],
)
@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_a_malformed_or_empty_manifest_is_a_manifest_error(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(ManifestError, match=name) as caught:
        read_sources([Source(str(path))])
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ({"duration": "1"}, "'duration' is no time"),
        ({"duration": float("nan")}, "'duration' is no time"),
        ({"start": "0"}, "'start' is no time"),
        ({"id": 7}, "'id' is of type int, not text"),
        ({"recording": None}, "'recording' is missing"),
        ({"recording": {"id": 7}}, "'recording' is of type"),
        ({"custom": {"split": 1}}, "'split' is of type"),
        ({"custom": {"corpus": ["a"]}}, "'corpus' is of type list, not text"),
        ({"supervisions": {"speaker": 1088}}, "'speaker' is of type"),
        ({"supervisions": {"text": 5}}, "'text' is of type"),
        ({"supervisions": {"language": ["en"]}}, "'language' is of type"),
    ],
)
def test_a_line_of_a_wrong_type_is_named(tmp_path, where, told):
    """lhotse reads all of these; what came of it later was a traceback."""
    line = json.loads(GOOD)
    for name, value in where.items():
        if value is None:
            del line[name]
        elif name == "supervisions":
            line[name][0] |= value
        elif name in ("custom", "recording"):
            line[name] |= value
        else:
            line[name] = value
    (tmp_path / "m.jsonl").write_text(f"{GOOD}\n{json.dumps(line)}\n")
    with pytest.raises(ManifestError, match=f"m.jsonl.*{told}") as caught:
        read_manifest(tmp_path / "m.jsonl")
    assert len(str(caught.value).splitlines()) == 1 and "m.jsonl: line 2: " in str(caught.value)


def test_what_a_manifest_calls_as_training_calls_its_own_is_left_out(tmp_path):
    """Token ids of another alphabet would train CTC, and what is no array would be taken for the teacher's."""
    line = json.loads(GOOD)
    line["custom"] |= {"tokens": [999], "teacher": {"name": "Miss Smith"}, "own": "kept"}
    (tmp_path / "m.jsonl").write_text(json.dumps(line) + "\n")
    custom = read_manifest(tmp_path / "m.jsonl")[0].custom
    assert custom["own"] == "kept" and "tokens" not in custom and "teacher" not in custom


def test_a_manifest_of_mixtures_is_refused(tmp_path):
    (tmp_path / "m").mkdir()
    mixed = saved(tmp_path / "m" / "cuts.jsonl", [cut_of("a").pad(duration=3.0)])
    with pytest.raises(ManifestError, match="a manifest of MixedCuts"):
        read_manifest(mixed)


@given(data=st.data())
@settings(max_examples=60)
def test_a_manifest_cut_or_damaged_anywhere_is_a_manifest_error_or_harmless(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("manifest")
    cuts = [cut_of(f"u{i}", text="hello there", speaker="s") for i in range(3)]
    zipped = data.draw(st.booleans())
    path = folder / ("m.jsonl.gz" if zipped else "m.jsonl")
    saved(path, cuts)
    content = bytearray(path.read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        content = content[:start]
    else:
        content[start] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    try:
        read_sources([Source(str(path))])
    except ManifestError as error:
        assert len(str(error).splitlines()) == 1


def test_no_manifest_is_a_manifest_error(tmp_path):
    (tmp_path / "folder.jsonl.gz").mkdir()
    (tmp_path / "sound.wav").write_bytes(b"RIFF")
    for name in ("none.jsonl.gz", "folder.jsonl.gz", "sound.wav", "none"):
        with pytest.raises(ManifestError, match=name) as caught:
            read_manifest(tmp_path / name)
        assert len(str(caught.value).splitlines()) == 1


def test_tokens_go_on_english_that_fits_and_the_rest_is_counted():
    cuts = [
        cut_of("good", text="Hello, Ann!"),
        cut_of("digits", text="take 5"),
        cut_of("fast", text="a" * 13),
        cut_of("fits", text="ab" * 6 + "a"),
        cut_of("none", text=""),
        cut_of("german", text="hallo", language="de"),
        cut_of("british", text="hello", language="en-GB"),
        cut_of("unsaid", text="hello", language=None),
    ]
    for cut in cuts[2:4]:
        cut.duration = 0.56  # 14 frames of 40 ms
    marked, unusable = with_tokens(lhotse.CutSet.from_cuts(cuts))
    with_ids = {cut.id: cut.tokens for cut in marked if cut.has_custom("tokens")}
    assert set(with_ids) == {"good", "fits", "british", "unsaid"}
    assert with_ids["good"] == tokens.encode("hello ann")
    assert set(unusable.reasons) == {"digits", "fast"}
    assert "'5'" in unusable.reasons["digits"] and "more letters" in unusable.reasons["fast"]


def test_phones_go_on_what_the_dictionary_can_say():
    pytest.importorskip("pocketsphinx", reason="the dictionary needs wakeword[phrase]")
    cuts = [
        cut_of("good", text="The cat!"),
        cut_of("unknown", text="the jxqv"),
        cut_of("fast", seconds=0.3, text="the cat sat"),
        cut_of("german", text="die", language="de"),
    ]
    marked, unusable = with_tokens(lhotse.CutSet.from_cuts(cuts), "phones")
    with_ids = {cut.id: cut.tokens for cut in marked if cut.has_custom("tokens")}
    assert set(with_ids) == {"good"} and with_ids["good"] == tokens.encode("the cat", "phones")
    assert set(unusable.reasons) == {"unknown", "fast"} and "'jxqv'" in unusable.reasons["unknown"]


@given(count=st.sampled_from([3, 40, 99, 100, 130]), seed=st.integers(0, 50), epoch=st.integers(0, 5), data=st.data())
@settings(max_examples=12)
def test_batches_hang_on_seed_and_epoch_and_skipping_leaves_out_the_first(count, seed, epoch, data):
    rng = np.random.default_rng(count)
    seconds = [round(float(s), 2) for s in rng.uniform(0.4, 6, count)]
    cuts = lhotse.CutSet.from_cuts(cut_of(f"u{i}", seconds[i]) for i in range(count))
    order = list(batches(cuts, Ids(seed, epoch), 20.0))
    assert order == list(batches(cuts, Ids(seed, epoch), 20.0))
    heard = [name for batch in order for name in batch]
    assert sorted(heard) == sorted(cut.id for cut in cuts), "an epoch holds each utterance once"
    # lhotse stops where one more as long as the longest yet would not fit: the next may be longer.
    for lengths in ([seconds[int(name[1:])] for name in batch] for batch in order):
        assert sum(lengths) <= 20.0 + max(lengths) - min(lengths) + 1e-6
    skip = data.draw(st.integers(0, len(order) + 2))
    assert list(batches(cuts, Ids(seed, epoch), 20.0, skip)) == order[skip:]
    if count >= 40:
        assert order != list(batches(cuts, Ids(seed, epoch + 1), 20.0))
        assert order != list(batches(cuts, Ids(seed + 1, epoch), 20.0))
        unshuffled = list(batches(cuts, Ids(seed, epoch), 20.0, shuffle=False))
        assert unshuffled == list(batches(cuts, Ids(seed, epoch + 1), 20.0, shuffle=False))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, speech_like):
    folder = tmp_path_factory.mktemp("corpus")
    recordings = {f"u{i}": speech_like(0.5 + 0.1 * i, i) for i in range(8)}
    return write_corpus(folder, recordings, texts={f"u{i}": "ab" for i in range(8)})


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) if isinstance(one[key], torch.Tensor) else one[key] == other[key]
        for key in one
    )


def test_a_batch_is_the_same_again_and_other_in_another_epoch(corpus, speech_like):
    cuts, _ = with_tokens(read_manifest(corpus))
    chances = Augmentation(rir_probability=0.5, noise=(speech_like(2, 50),), rooms=simulated_rooms(3))
    one, again, later, other = (
        Utterances(SETTINGS, chances, seed, epoch)[cuts] for seed, epoch in [(1, 2), (1, 2), (1, 3), (2, 2)]
    )
    assert same(one, again)
    assert not torch.equal(one["features"], later["features"])
    assert not torch.equal(one["features"], other["features"])


def test_what_an_utterance_becomes_does_not_hang_on_its_batch_or_worker(corpus, speech_like):
    cuts, _ = with_tokens(read_manifest(corpus))
    dataset = Utterances(
        SETTINGS, Augmentation(rir_probability=0.5, noise=(speech_like(2, 50),), rooms=simulated_rooms(3)), 3, 0
    )
    alone = dataset[lhotse.CutSet.from_cuts([cuts["u5"]])]["features"][0]
    row = [cut.id for cut in cuts].index("u5")
    torch.testing.assert_close(dataset[cuts]["features"][row, : len(alone)], alone, atol=0, rtol=0)
    here = list(batches(cuts, dataset, 3.0))
    there = list(batches(cuts, dataset, 3.0, workers=1))
    assert len(here) > 1 and all(same(a, b) for a, b in zip(here, there, strict=True))


def test_without_augmentation_features_are_those_of_the_detector(corpus):
    cuts, _ = with_tokens(read_manifest(corpus))
    batch = Utterances(SETTINGS, None, 0, 0)[cuts]
    for row, cut in enumerate(cuts):
        frames = 4 * int(batch["lengths"][row])
        expected = extract(cut.load_audio()[0], SETTINGS)
        assert frames == len(expected) // 4 * 4
        np.testing.assert_array_equal(batch["features"][row, :frames].numpy(), expected[:frames])
    assert batch["token_lengths"].tolist() == [2] * 8
    assert batch["tokens"].tolist() == [tokens.encode("ab")] * 8
    assert batch["seconds"] == pytest.approx(sum(batch["lengths"].tolist()) * 0.04)
    assert batch["teacher"] is None and batch["teacher_lengths"].tolist() == [0] * 8


@given(frames=st.integers(1, 800), step=st.floats(0.4, 2.5))
def test_a_paced_teacher_is_heard_from_its_start_to_its_end(frames, step):
    """Frame `j` of the student is heard around `(j + 1/2) * step` of the teacher's frames, and gets the one there."""
    teacher = np.arange(frames, dtype=np.float16)[:, None] * np.ones(3, np.float16)
    heard = paced(teacher, step)
    assert heard.shape == (int(frames / step), 3) and heard.dtype == teacher.dtype
    if len(heard):
        places = heard[:, 0].astype(float)
        assert np.abs(places + 0.5 - (np.arange(len(heard)) + 0.5) * step).max() <= 0.5 + 1e-6
        assert (np.diff(places) >= 0).all() and places[0] <= step and places[-1] >= frames - 1 - 1.5 * step


@given(frames=st.integers(1, 200))
def test_a_teacher_at_another_pace_by_whole_numbers(frames):
    teacher = np.random.default_rng(frames).standard_normal((frames, 4)).astype(np.float32)
    np.testing.assert_array_equal(paced(teacher, 1.0), teacher)
    np.testing.assert_array_equal(paced(teacher, 0.5), np.repeat(teacher, 2, axis=0))
    np.testing.assert_array_equal(paced(teacher, 2.0), teacher[1::2])


@pytest.fixture(scope="module")
def taught(tmp_path_factory, write_corpus, speech_like):
    """Utterances of which a teacher's frame is the place: how far into the utterance it lies, from 0 to 1."""
    from lhotse.array import Array, TemporalArray

    folder = tmp_path_factory.mktemp("taught")
    recordings = {name: speech_like(seconds, 1) for name, seconds in {"a": 1.0, "b": 2.51, "c": 4.37}.items()}
    cuts = read_manifest(write_corpus(folder, recordings))
    for cut in cuts:
        places = (np.arange(-(-round(cut.duration * 16000) // 640)) + 0.5) * 0.04 / cut.duration
        np.save(folder / f"{cut.id}.npy", np.stack([places, -places], axis=1).astype(np.float16))
        array = Array("numpy_files", str(folder), f"{cut.id}.npy", [len(places), 2])
        cut.teacher = TemporalArray(array, temporal_dim=0, frame_shift=0.04, start=cut.start)
    return cuts


@pytest.mark.parametrize("hop", [80, 160])
@pytest.mark.parametrize("speeds", [(1.0, 1.0), (0.8, 0.8), (1.25, 1.25), (0.9, 1.1)])
def test_the_teacher_keeps_pace_with_the_student(taught, hop, speeds):
    """At any speed and hop: as many frames, and in each the teacher's for what the student hears there."""
    settings = FeatureSettings(mels=16, hop=hop)
    still = dict(noise_probability=0, rir_probability=0, time_masks=0, frequency_masks=0, level_dbfs=(-25, -25))
    for epoch, cut in enumerate(taught):
        item = Utterances(settings, Augmentation(**still, speed_probability=1.0, speeds=speeds), 0, epoch).item(cut)
        steps = len(item["features"]) // 4
        assert abs(steps - len(item["teacher"])) <= 2
        assert item["seconds"] == pytest.approx(4 * steps * hop / 16000)
        assert cut.duration / speeds[1] - 0.05 < item["seconds"] < cut.duration / speeds[0] + 0.05
        known = min(steps, len(item["teacher"]))
        place = item["teacher"][:known, 0].astype(float)
        assert np.abs(place - (np.arange(known) + 0.5) / steps).max() < 0.05 / cut.duration


def test_frames_of_20_ms_hear_each_of_the_teachers_twice(taught):
    cut = taught["b"]
    frames = cut.load_teacher()
    item = Utterances(FeatureSettings(mels=16, hop=80), None, 0, 0).item(cut)
    np.testing.assert_array_equal(item["teacher"], np.repeat(frames, 2, axis=0))
    batch = Utterances(FeatureSettings(mels=16, hop=80), None, 0, 0)[taught]
    usual = Utterances(SETTINGS, None, 0, 0)[taught]
    assert all(abs(2 * a - b) <= 1 for a, b in zip(usual["lengths"].tolist(), batch["lengths"].tolist(), strict=True))
    assert batch["seconds"] == pytest.approx(usual["seconds"], abs=0.15)
    assert batch["teacher_lengths"].tolist() == batch["lengths"].tolist()
    np.testing.assert_array_equal(Utterances(SETTINGS, None, 0, 0).item(cut)["teacher"], frames)


def test_speed_changes_as_many_as_asked_by_as_much(taught):
    still = dict(noise_probability=0, rir_probability=0, time_masks=0, frequency_masks=0, level_dbfs=(-25, -25))
    cut = taught["b"]
    settings = Augmentation(**still, speed_probability=0.3, speeds=(0.8, 1.2))
    factors = [cut.duration / Utterances(SETTINGS, settings, 0, epoch).item(cut)["seconds"] for epoch in range(200)]
    changed = [factor for factor in factors if abs(factor - 1) > 0.025]
    assert 0.18 < len(changed) / 200 < 0.38
    assert 0.78 < min(changed) < 0.85 and 1.15 < max(changed) < 1.23
    fast = Augmentation(**still, speed_probability=1.0, speeds=(1.2, 1.2))
    heard = Utterances(SETTINGS, fast, 0, 0).item(cut)["features"]
    samples = at_speed(cut.load_audio()[0], 1.2)
    expected = extract(samples * np.float32(10 ** (-25 / 20) / samples.std()), SETTINGS)
    np.testing.assert_allclose(heard, expected[: len(heard)], atol=0.01)


def test_no_augmentation_loses_an_utterance(taught, speech_like):
    """What fails in it is counted as audio that cannot be read: it must not happen."""
    certain = dict(noise_probability=1.0, rir_probability=1.0, channel_probability=1.0, speed_probability=1.0)
    chances = Augmentation(**certain, noise=(speech_like(2, 50),), rooms=simulated_rooms(3))
    for epoch in range(12):
        batch = Utterances(SETTINGS, chances, 0, epoch)[taught]
        assert batch["unreadable"] == [] and len(batch["features"]) == 3
        assert torch.isfinite(batch["features"]).all() and (batch["lengths"] - batch["teacher_lengths"]).max() <= 2


def test_a_damaged_file_is_left_out_of_its_batch(tmp_path, write_corpus, speech_like):
    recordings = {f"u{i}": speech_like(1, i) for i in range(5)}
    cuts = read_manifest(write_corpus(tmp_path, recordings))
    (tmp_path / "u0.wav").write_bytes(b"")
    (tmp_path / "u1.wav").unlink()
    (tmp_path / "u2.wav").write_bytes((tmp_path / "u2.wav").read_bytes()[:9000])
    (tmp_path / "u3.wav").write_bytes(b"\x07" * 40_000)
    for chances in (None, Augmentation()):
        dataset = Utterances(SETTINGS, chances, 0, 0)
        batch = dataset[cuts]
        assert batch["features"].shape == (1, 100, 16)
        assert batch["lengths"].tolist() == [25]
        assert batch["unreadable"] == [cut.id for cut in cuts][:4]
        assert dataset[cuts.subset(first=4)] == {"unreadable": batch["unreadable"]}


def test_a_rate_of_its_own_is_resampled(tmp_path):
    import soundfile

    tone = 0.1 * np.sin(2 * np.pi * 1000 * np.arange(44100) / 44100)
    soundfile.write(tmp_path / "a.wav", tone, 44100)
    cut = lhotse.Recording.from_file(tmp_path / "a.wav").to_cut()
    batch = Utterances(SETTINGS, None, 0, 0)[lhotse.CutSet.from_cuts([cut])]
    expected = extract((0.1 * np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)).astype(np.float32), SETTINGS)
    np.testing.assert_allclose(batch["features"][0, 10:90, 4:8].numpy(), expected[10:90, 4:8], atol=0.05)


@given(lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6), data=st.data())
def test_padding_hides_nothing(lengths, data):
    rng = np.random.default_rng(len(lengths))
    items = []
    for index, length in enumerate(lengths):
        teacher_frames = data.draw(st.one_of(st.none(), st.integers(1, 14)))
        items.append(
            {
                "id": str(index),
                "features": rng.standard_normal((4 * length, 3)).astype(np.float32),
                "seconds": 0.04 * length,
                "teacher": None if teacher_frames is None else rng.standard_normal((teacher_frames, 2)).astype("f2"),
                "tokens": [1] * data.draw(st.integers(0, 5)),
            }
        )
    batch = collate(items)
    assert batch["lengths"].tolist() == lengths
    for row, item in enumerate(items):
        np.testing.assert_array_equal(batch["features"][row, : 4 * lengths[row]].numpy(), item["features"])
        assert (batch["features"][row, 4 * lengths[row] :] == item["features"].min()).all(), "not its own least value"
        known = int(batch["teacher_lengths"][row])
        assert known == (0 if item["teacher"] is None else min(len(item["teacher"]), lengths[row]))
        if known:
            np.testing.assert_array_equal(batch["teacher"][row, :known].numpy(), item["teacher"][:known])
        count = int(batch["token_lengths"][row])
        assert batch["tokens"][row, :count].tolist() == item["tokens"] and batch["tokens"].shape[1] >= 1
    assert (batch["teacher"] is None) == all(item["teacher"] is None for item in items)
    assert torch.isfinite(batch["features"]).all()


def test_an_utterance_too_short_for_a_frame_is_left_out(tmp_path, write_corpus, speech_like):
    cuts = read_manifest(write_corpus(tmp_path, {"short": speech_like(0.03), "long": speech_like(1)}))
    assert Utterances(SETTINGS, None, 0, 0)[cuts]["lengths"].tolist() == [25]


def test_a_prepared_corpus_makes_batches(shared, tmp_path):
    from data_prep.librispeech import prepare_librispeech

    chapter = sorted((shared / "LibriSpeech" / "train-clean-5").glob("*/*/"))[0]
    shutil.copytree(chapter, tmp_path / "LibriSpeech" / "train-clean-5" / chapter.parent.name / chapter.name)
    prepare_librispeech(tmp_path / "LibriSpeech", tmp_path / "out")
    manifest = next((tmp_path / "out").rglob("*cuts*.jsonl.gz"))
    cuts, unusable = with_tokens(read_sources([Source(str(manifest))]).subset(first=8))
    assert len(unusable) == 0
    dataset = Utterances(FeatureSettings(), Augmentation(), 0, 0)
    found = list(batches(cuts, dataset, 40.0))
    assert sum(len(batch["lengths"]) for batch in found) == 8
    assert all(batch["token_lengths"].min() > 5 and torch.isfinite(batch["features"]).all() for batch in found)


@given(minutes=st.floats(0.01, 3.0), more=st.floats(0.0, 3.0), seed=st.integers(0, 3))
def test_fewer_minutes_are_a_part_of_more_and_fit(minutes, more, seed):
    cuts = [cut_of(f"u{index}", seconds=0.5 + index % 7) for index in range(40)]
    few, many = (fewer(cuts, each, seed) for each in (minutes, minutes + more))
    names = [cut.id for cut in few]
    assert set(names) <= {cut.id for cut in many} and names == [cut.id for cut in cuts if cut.id in names]
    seconds = sum(cut.duration for cut in few)
    assert len(few) == 1 or seconds <= 60 * minutes
    assert len(few) == 40 or seconds > 60 * minutes - 6.5 or len(few) == 1
    assert len(fewer(cuts, 100.0, seed)) == 40 and len(fewer([], minutes, seed)) == 0


def test_which_minutes_train_hangs_on_the_seed():
    cuts = [cut_of(f"u{index}") for index in range(40)]
    assert {cut.id for cut in fewer(cuts, 0.2, 0)} != {cut.id for cut in fewer(cuts, 0.2, 1)}
