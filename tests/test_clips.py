"""PATHs to clips: folders, files and manifests, and what is wrong with them."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wakeword.audio.clips import Clip, find_clips, for_development, read_clips, refuse_shared
from wakeword.audio.waveform import SAMPLE_RATE, write_wav
from wakeword.errors import ManifestError, Skipped, WakewordError

SHARED = Path(__file__).parents[2] / "shared" / "corpora"
quick = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

NOISE = (0.1 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)).astype(np.float32)


def cut(path: object, **changed) -> dict:
    """A line of a lhotse CutSet, as `CutSet.to_file` writes it."""
    return {
        "id": "a",
        "start": 0.5,
        "duration": 1.0,
        "channel": 0,
        "supervisions": [
            {"id": "s", "recording_id": "r", "start": 0, "duration": 1.0, "channel": 0, "text": "hey you"}
            | {"speaker": "anna", "gender": "F", "language": "en"}
        ],
        "recording": {
            "id": "r",
            "sources": [{"type": "file", "channels": [0], "source": str(path)}],
            "sampling_rate": 16000,
            "num_samples": 32000,
            "duration": 2.0,
            "channel_ids": [0],
        },
        "custom": {"corpus": "mine", "split": "test", "age": "30", "licence": "CC0-1.0"},
        "type": "MonoCut",
    } | changed


def manifest(path: Path, *lines: object) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b/2.wav", "b/1.WAV", "a.wav", ".hidden/x.wav", "b/._1.wav"):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        write_wav(tmp_path / "clips" / name, NOISE)
    (tmp_path / "clips" / "notes.txt").write_text("no audio")
    return tmp_path / "clips"


def fails(path: object, kind: type, *words: str) -> None:
    with pytest.raises(kind) as caught:
        find_clips([path])
    message = str(caught.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_an_empty_name_is_not_the_working_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert len(find_clips(["."])) == 3
    fails("", WakewordError, "empty name")


def test_a_folder_is_searched_through_in_order(folder: Path) -> None:
    names = [clip.path.relative_to(folder).as_posix() for clip in find_clips([folder])]
    assert names == ["a.wav", "b/1.WAV", "b/2.wav"]
    assert find_clips(folder) == find_clips([str(folder)])


def test_paths_keep_their_order(folder: Path) -> None:
    listed = manifest(folder / "m.jsonl", cut(folder / "a.wav"))
    found = find_clips([folder / "b" / "2.wav", listed, folder / "b"])
    assert [clip.path.name for clip in found] == ["2.wav", "a.wav", "1.WAV", "2.wav"]
    assert found[0] == Clip(folder / "b" / "2.wav")


@pytest.mark.parametrize("name", ["m.jsonl", "m.jsonl.gz"])
def test_a_manifest_says_who_speaks_what(folder: Path, name: str) -> None:
    path = manifest(folder / name, cut(folder / "a.wav"), "", cut(folder / "a.wav", start=0, duration=2.0, custom=None))
    part, whole = find_clips(path)
    about = {"age": "30", "gender": "F", "language": "en", "licence": "CC0-1.0"}
    assert part == Clip(folder / "a.wav", 0.5, 1.0, "anna", "hey you", "mine", "test", about)
    assert (whole.start_s, whole.duration_s, whole.corpus) == (0.0, None, None)
    (_, some), (_, every) = read_clips([part, whole], Skipped())
    assert len(some) == SAMPLE_RATE and np.array_equal(some, every[8000:24000])


def test_a_relative_path_may_start_from_the_manifest(folder: Path, monkeypatch) -> None:
    path = manifest(folder / "m.jsonl", cut("b/2.wav"))
    assert find_clips(path)[0].path == folder / "b" / "2.wav"
    monkeypatch.chdir(folder)
    assert find_clips("m.jsonl")[0].path == Path("b/2.wav")


def test_what_lhotse_writes_is_read(folder: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    recording = lhotse.Recording.from_file(folder / "a.wav")
    segment = lhotse.SupervisionSegment("s", recording.id, 0, 2.0, text="hello", speaker="bob")
    whole = lhotse.MonoCut("c", 0, 2.0, 0, [segment], recording=recording, custom={"corpus": "x", "split": "train"})
    cuts = [whole, whole.truncate(offset=0.25, duration=0.5).with_id("d")]
    lhotse.CutSet.from_cuts(cuts).to_file(folder / "m.jsonl.gz")
    found = find_clips(folder / "m.jsonl.gz")
    assert [(clip.text, clip.speaker, clip.split) for clip in found] == [("hello", "bob", "train")] * 2
    for clip, (_, samples) in zip(cuts, read_clips(found, Skipped()), strict=True):
        assert np.abs(samples - clip.load_audio()[0]).max() < 1e-6
    lhotse.CutSet.from_cuts([whole.pad(duration=3.0)]).to_file(folder / "padded.jsonl")
    fails(folder / "padded.jsonl", ManifestError, "line 1", "MixedCut")


def test_clips_of_two_sets_are_found_by_file_start_and_channel(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    there = find_clips(folder)
    for again in (find_clips(folder.parent / "link" / "b"), find_clips(folder / "b" / ".." / "b")):
        with pytest.raises(WakewordError) as caught:
            refuse_shared(there, again, "one and other", "it would be wrong")
        assert f"{again[0].name} (and 1 more): in one and other both: it would be wrong: leave" in str(caught.value)
    path = folder / "a.wav"
    cuts = [Clip(path, 0.0, 0.5), Clip(path, 0.5, 0.5), Clip(path, 1.0, 0.5, channel=0)]
    refuse_shared(cuts, [Clip(path, 0.75, 0.25), Clip(path, 1.0, 0.5, channel=1), Clip(Path("no\0name"))], "", "")
    for other in (Clip(path), Clip(path, 0.5, 1.5), Clip(path, 1.0), Clip(path, 1.0, channel=0)):
        with pytest.raises(WakewordError, match="leave it out of one"):
            refuse_shared(cuts, [other], "", "")


def test_real_folders() -> None:
    if not SHARED.is_dir():
        pytest.skip("no recordings beside the repository")
    found = find_clips([SHARED / "wake-words" / "alexa", SHARED / "noise"])
    assert len(found) > 300 and {clip.path.suffix for clip in found} == {".opus", ".ogg"}


def test_what_is_not_there(tmp_path: Path) -> None:
    fails(tmp_path / "none", WakewordError, "none: no such file or folder")
    fails("nul\0", WakewordError)
    (tmp_path / "empty").mkdir()
    fails(tmp_path / "empty", WakewordError, "no audio in this folder")
    (tmp_path / "empty" / "x.txt").touch()
    fails(tmp_path / "empty", WakewordError, "no audio in this folder")


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("{", "not JSON"),
        ("[" * 5000, "line 2"),
        ("9" * 5000, "line 2"),
        ("[1]", "not a cut but a list"),
        ("{}", "'recording' is missing"),
        (cut("x.wav", type="MixedCut"), "'MixedCut' is not supported"),
        (cut("x.wav", type="PaddingCut"), "'PaddingCut' is not supported"),
        (cut("x.wav", type="MultiCut", channel=[3, 1]), "its channel [3, 1] is none"),
        (cut("x.wav", channel=1), "its channel 1 is none"),
        (cut("x.wav", start=-1), "'start'"),
        (cut("x.wav", start=None), "'start'"),
        (cut("x.wav", start=True), "'start'"),
        (cut("x.wav", duration=0), "'duration'"),
        (cut("x.wav", duration=float("nan")), "'duration'"),
        (cut("x.wav", duration=float("inf")), "'duration'"),
        (cut("x.wav", duration=10**400), "line 2"),
        (cut("x.wav", duration="1"), "'duration'"),
        (cut("x.wav", recording=None), "'recording'"),
        (cut("x.wav", recording={"sources": []}), "not in one file"),
        (cut("x.wav", recording={"sources": [3]}), "not in one file"),
        (cut("x.wav", recording={"sources": [{"type": "url", "source": "http://x"}]}), "not in one file"),
        (cut("x.wav", recording={"sources": [{"type": "file", "source": 5}]}), "'source'"),
        (
            cut("x.wav", recording={"sources": [{"type": "file", "source": "x", "channels": 2}]}),
            "its channel 0 is none",
        ),
        (cut("x.wav", recording=cut("x.wav")["recording"] | {"transforms": [{"name": "Speed"}]}), "transforms"),
        (cut("x.wav", supervisions=[3]), "'supervisions'"),
        (cut("x.wav", supervisions={"text": 1}), "'supervisions'"),
        (cut("x.wav", custom=[1]), "'custom'"),
    ],
)
def test_malformed_manifests_name_the_line(tmp_path: Path, line: object, word: str) -> None:
    fails(manifest(tmp_path / "m.jsonl", cut("x.wav"), line), ManifestError, "m.jsonl: line 2", word)


def test_empty_and_broken_manifests(tmp_path: Path) -> None:
    for name in ("m.jsonl", "m.jsonl.gz"):
        fails(manifest(tmp_path / name, "", " "), ManifestError, name, "empty manifest")
        (tmp_path / name).write_bytes(b"")
        fails(tmp_path / name, ManifestError, name)
    whole = manifest(tmp_path / "m.jsonl.gz", *[cut(f"{i}.wav", id=i) for i in range(500)]).read_bytes()
    (tmp_path / "m.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    fails(tmp_path / "m.jsonl.gz", ManifestError, "cannot be read")
    (tmp_path / "m.jsonl.gz").write_bytes(whole[:40] + bytes(20) + whole[60:])
    fails(tmp_path / "m.jsonl.gz", ManifestError, "line")
    (tmp_path / "m.jsonl.gz").write_bytes(b"no gzip")
    fails(tmp_path / "m.jsonl.gz", ManifestError, "cannot be read")
    (tmp_path / "m.jsonl").write_bytes(b'{"id": "\xff\xfe"}')
    fails(tmp_path / "m.jsonl", ManifestError, "cannot be read")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
places = ["id", "start", "duration", "channel", "supervisions", "recording", "custom", "type"]
places += ["recording.sources", "recording.duration", "recording.sources.0", "recording.sources.0.source"]
places += ["recording.sources.0.type", "recording.sources.0.channels", "supervisions.0", "supervisions.0.text"]
places += ["supervisions.0.speaker", "custom.corpus", "custom.split", "recording.transforms"]


@quick
@given(st.lists(st.tuples(st.sampled_from(places), json_values), min_size=1, max_size=3))
def test_any_value_at_any_place_gives_clips_or_one_line(tmp_path: Path, changes: list) -> None:
    line = cut("x.wav")
    for place, value in changes:
        *way, last = [int(part) if part.isdigit() else part for part in place.split(".")]
        at = line
        try:
            for part in way:
                at = at[part]
            at[last] = value
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took the place away
    _clips_or_one_line(manifest(tmp_path / "m.jsonl", cut("x.wav"), line))


@quick
@given(st.integers(0, 700), st.binary(max_size=20), st.integers(0, 50), st.booleans())
def test_mangled_bytes_give_clips_or_one_line(tmp_path: Path, at: int, junk: bytes, gone: int, packed: bool) -> None:
    path = manifest(tmp_path / ("m.jsonl.gz" if packed else "m.jsonl"), cut("x.wav"), cut("y.wav"))
    data = path.read_bytes()
    path.write_bytes(data[:at] + junk + data[at + gone :])
    _clips_or_one_line(path)


def _clips_or_one_line(path: Path) -> None:
    try:
        clips = find_clips([path])
    except WakewordError as error:
        assert "\n" not in str(error)
    else:
        assert clips
        skipped = Skipped()
        assert list(read_clips(clips, skipped)) == [] and len(skipped)


def test_bad_clips_are_skipped_and_counted(tmp_path: Path) -> None:
    write_wav(tmp_path / "1.wav", NOISE)
    write_wav(tmp_path / "2.wav", np.zeros(SAMPLE_RATE, np.float32))
    write_wav(tmp_path / "3.wav", np.sign(NOISE))
    (tmp_path / "4.wav").write_text("no audio")
    write_wav(tmp_path / "5.wav", NOISE)
    skipped = Skipped()
    good = [clip.path.name for clip, _ in read_clips(find_clips(tmp_path), skipped)]
    assert good == ["1.wav", "5.wav"] and len(skipped) == 3
    assert "silent" in skipped.summary() and "clipped" in skipped.summary() and "not audio" in skipped.summary()
    lenient = Skipped()
    assert len(list(read_clips(find_clips(tmp_path), lenient, check=False))) == 4 and len(lenient) == 1


def test_parts_of_one_file_are_counted_apart(tmp_path: Path) -> None:
    path = manifest(tmp_path / "m.jsonl", cut("none.wav"), cut("none.wav", start=0.1), cut("none.wav", start=1.5))
    skipped = Skipped()
    assert list(read_clips(find_clips(path), skipped)) == [] and len(skipped) == 3


def test_what_is_prepared_of_many_channels_is_heard(tmp_path: Path) -> None:
    """Stereo speech, noise and an impulse response of eight channels: each manifest is read as it was written."""
    pytest.importorskip("lhotse")
    from data_prep.noise import prepare_noise
    from data_prep.rir import prepare_rir
    from data_prep.wakewords import prepare_wakewords

    rng = np.random.default_rng(0)
    for prepare, channels in ((prepare_noise, 2), (prepare_rir, 8), (prepare_wakewords, 2)):
        folder = tmp_path / prepare.__name__
        folder.mkdir()
        samples = rng.uniform(-0.5, 0.5, (8000, channels)).astype(np.float32)
        soundfile.write(folder / "a.wav", samples, 16000, subtype="FLOAT")
        more = {"phrase": "alexa"} if prepare is prepare_wakewords else {}
        made = prepare(folder, tmp_path, **more)
        ((_, heard),) = read_clips(find_clips([made.manifest]), Skipped())
        np.testing.assert_allclose(heard, samples[:, 0], atol=1e-6)


def test_what_is_kept_for_testing_chooses_no_threshold() -> None:
    clips = [Clip(Path("a"), split="test"), Clip(Path("b"), split="dev"), Clip(Path("c"))]
    assert for_development(clips) == clips[1:]
    with pytest.raises(WakewordError, match="all 1 recordings are kept for testing by their manifests: give others$"):
        for_development(clips[:1])
