from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
lhotse = pytest.importorskip("lhotse")

from wakeword import teacher  # noqa: E402
from wakeword.data import read_manifest  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402
from wakeword.teacher import Teacher, cache_teacher, find_model, load_teacher  # noqa: E402


class Fake:
    """A recognizer whose frame depends on its own 40 ms alone: level and zero crossings, two numbers."""

    def __init__(self, fail_at=None):
        self.calls, self.fail_at, self.loads = 0, fail_at, 0

    def load(self, source, threads=2):
        self.loads += 1
        return Teacher(source, self.encode)

    def encode(self, samples):
        self.calls += 1
        if self.calls == self.fail_at:
            raise KeyboardInterrupt
        assert samples.dtype == np.float32 and len(samples) <= 16000 * 30
        return features_of(samples)


def features_of(samples):
    frames = np.zeros((-(-len(samples) // 640), 640), np.float32)
    frames.flat[: len(samples)] = samples
    crossings = np.abs(np.diff(np.sign(frames), axis=1)).mean(axis=1)
    return np.stack([np.abs(frames).mean(axis=1), crossings], axis=1)


@pytest.fixture
def fake(monkeypatch):
    made = Fake()
    monkeypatch.setattr(teacher, "load_teacher", made.load)
    return made


@pytest.fixture(scope="module")
def corpus(tmp_path_factory, write_corpus, speech_like):
    """Short utterances, quiet and loud, one of more than the teacher's window, one of odd length."""
    folder = tmp_path_factory.mktemp("corpus")
    recordings = {f"u{i:02d}": speech_like(3 + i * 0.77, i) * np.float32(10 ** (-i / 6)) for i in range(7)}
    recordings["long/one"] = speech_like(34.5, 20)
    (folder / "long").mkdir()
    return write_corpus(folder, recordings)


def expected(cut, statistics):
    """What the fake hears of this utterance alone, levelled and standardised as the cache says."""
    samples = cut.load_audio()[0]
    levelled = samples * min(30.0, 0.6 / np.abs(samples).max())
    return np.clip(
        (features_of(levelled) - np.asarray(statistics["mean"])) / np.asarray(statistics["deviation"]), -10, 10
    )


def test_each_utterance_gets_the_frames_of_its_own_audio(fake, corpus, tmp_path):
    cuts, skipped = cache_teacher(read_manifest(corpus), "fake", tmp_path / "cache")
    statistics = json.loads((tmp_path / "cache" / "statistics.json").read_text())
    assert len(cuts) == 8 and len(skipped) == 0
    for cut in cuts:
        frames = cut.load_teacher()
        assert frames.dtype == np.float16
        assert abs(len(frames) - cut.duration / 0.04) <= 1
        np.testing.assert_allclose(frames, expected(cut, statistics)[: len(frames)], atol=0.02)


def test_frames_are_standardised_over_the_corpus(fake, corpus, tmp_path):
    cuts, _ = cache_teacher(read_manifest(corpus), "fake", tmp_path)
    frames = np.concatenate([cut.load_teacher() for cut in cuts]).astype(np.float32)
    assert np.abs(frames.mean(axis=0)).max() < 0.25 and np.abs(frames.std(axis=0) - 1).max() < 0.25


def test_utterances_share_the_window(fake, corpus, tmp_path):
    """30 s a call is what a large model costs: short utterances go in together."""
    cuts = read_manifest(corpus)
    seconds = []
    cache_teacher(cuts, "fake", tmp_path, progress=seconds.append)
    statistics_calls = fake.calls - len(seconds)
    assert len(seconds) <= 5 and statistics_calls <= 5
    assert sum(seconds) == pytest.approx(sum(cut.duration for cut in cuts), abs=0.01)


def files_of(folder):
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.npy")}


def test_an_interrupted_run_goes_on_where_it_was(fake, corpus, tmp_path):
    cuts = read_manifest(corpus)
    cache_teacher(cuts, "fake", tmp_path / "whole")
    whole, windows = files_of(tmp_path / "whole"), fake.calls

    fake.calls, fake.fail_at = 0, windows - 1
    with pytest.raises(KeyboardInterrupt):
        cache_teacher(read_manifest(corpus), "fake", tmp_path / "cut")
    before = files_of(tmp_path / "cut")
    assert 0 < len(before) < len(whole), "interrupted before or after everything"
    assert {p.suffix for p in (tmp_path / "cut").rglob("*.*")} <= {".npy", ".json"}
    assert not [p for p in (tmp_path / "cut").rglob(".*")], "half a file was left"

    fake.calls, fake.fail_at = 0, None
    resumed, _ = cache_teacher(read_manifest(corpus), "fake", tmp_path / "cut")
    after = files_of(tmp_path / "cut")
    assert 0 < fake.calls < windows
    assert all(after[name] == before[name] for name in before), "an array was computed again"
    assert {name: content for name, (_, content) in after.items()} == {n: c for n, (_, c) in whole.items()}
    assert len(resumed) == 8


def test_a_finished_cache_needs_no_teacher(fake, corpus, tmp_path, monkeypatch):
    cache_teacher(read_manifest(corpus), "fake", tmp_path)

    def missing(*_):
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr(teacher, "load_teacher", missing)
    cuts, _ = cache_teacher(read_manifest(corpus), "fake", tmp_path)
    assert len(cuts) == 8 and all(cut.has_custom("teacher") for cut in cuts)


def test_another_teachers_folder_is_refused(fake, corpus, tmp_path):
    cache_teacher(read_manifest(corpus), "fake", tmp_path)
    before = files_of(tmp_path)
    for known in (True, False):
        if not known:
            next(tmp_path.rglob("u01.npy")).unlink()
            del before["u01.npy"]
        with pytest.raises(WakewordError, match="'fake'.*'larger' another folder"):
            cache_teacher(read_manifest(corpus), "larger", tmp_path)
        assert files_of(tmp_path) == before


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"teacher": "fake"}'])
def test_damaged_statistics_are_named(fake, corpus, tmp_path, content):
    cache_teacher(read_manifest(corpus), "fake", tmp_path)
    (tmp_path / "statistics.json").write_text(content)
    with pytest.raises(WakewordError, match="statistics.json"):
        cache_teacher(read_manifest(corpus), "fake", tmp_path)


def test_damaged_files_are_counted_and_left_out(fake, tmp_path, write_corpus, speech_like):
    manifest = write_corpus(tmp_path / "c", {f"u{i}": speech_like(2, i) for i in range(4)})
    (tmp_path / "c" / "u1.wav").write_bytes(b"RIFF")
    (tmp_path / "c" / "u2.wav").unlink()
    cuts, skipped = cache_teacher(read_manifest(manifest), "fake", tmp_path / "cache")
    assert [cut.id for cut in cuts] == ["u0", "u3"]
    assert set(skipped.reasons) == {"u1", "u2"}
    assert len(skipped.summary().splitlines()) == 1
    for i in (0, 3):
        (tmp_path / "c" / f"u{i}.wav").unlink()
    with pytest.raises(WakewordError, match="no utterance could be read"):
        cache_teacher(read_manifest(manifest), "fake", tmp_path / "other")


def test_a_part_of_a_recording_gets_the_frames_of_its_part(fake, corpus, tmp_path):
    part = read_manifest(corpus)["u06"].truncate(offset=2.0, duration=4.0)
    part.id = "part"
    cuts, _ = cache_teacher(lhotse.CutSet.from_cuts([part]), "fake", tmp_path)
    cut = next(iter(cuts))
    statistics = json.loads((tmp_path / "statistics.json").read_text())
    frames = cut.load_teacher()
    assert len(frames) == 100
    np.testing.assert_allclose(frames, expected(part, statistics), atol=0.02)


def test_a_model_is_found_in_its_folder_or_package(tmp_path, monkeypatch):
    (tmp_path / "deep" / "model").mkdir(parents=True)
    (tmp_path / "deep" / "model" / "model.bin").touch()
    assert find_model(str(tmp_path / "deep" / "model")) == tmp_path / "deep" / "model"
    assert find_model(str(tmp_path)) == tmp_path / "deep" / "model"
    package = tmp_path / "packages" / "some_model_package"
    (package / "inside").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "inside" / "model.bin").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    assert find_model("some_model_package") == package / "inside"


@pytest.mark.parametrize("source", ["", "nothing_of_this_name", "no/such/folder", "json", "numpy.core", "a\0b"])
def test_no_model_is_one_line(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WakewordError, match="no CTranslate2 Whisper model there") as caught:
        find_model(source)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_recognizer_names_its_extra(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(WakewordError, match=r"wakeword\[teacher\]"):
        load_teacher(str(tmp_path))
