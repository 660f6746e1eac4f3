from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
lhotse = pytest.importorskip("lhotse")

from wakeword.errors import ManifestError, WakewordError  # noqa: E402
from wakeword.pretraining import teacher  # noqa: E402
from wakeword.pretraining.data import read_manifest  # noqa: E402
from wakeword.pretraining.teacher import Teacher, cache_teacher, find_model, load_teacher  # noqa: E402
from wakeword.pretraining.teacher_layers import with_layers  # noqa: E402


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
    assert {p.suffix for p in (tmp_path / "cut").rglob("*.*")} <= {".npy", ".json", ".jsonl"}
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


def test_the_frames_of_another_utterance_of_the_same_name_are_not_taken(fake, corpus, tmp_path):
    cuts, _ = cache_teacher(read_manifest(corpus), "fake", tmp_path)
    lengths = {cut.id: cut.teacher.shape[0] for cut in cuts}
    other = read_manifest(corpus).to_eager()
    first = next(iter(other))
    shorter = first.truncate(duration=first.duration / 2)
    shorter.id = first.id
    fake.calls = 0
    again, _ = cache_teacher(type(other).from_cuts([shorter]), "fake", tmp_path)
    assert fake.calls == 1 and next(iter(again)).teacher.shape[0] == pytest.approx(lengths[first.id] / 2, abs=1)


def test_the_frames_of_another_recording_of_the_same_name_and_length_are_not_taken(fake, tmp_path, write_corpus):
    def frames(folder, level):
        """The frames of the first utterance of a corpus of that level, and how many windows the teacher heard."""
        recordings = {name: np.full(32000, level, np.float32) for name in ("a", "b")}
        recordings["a"][1] = 0.9  # the teacher's input is levelled
        manifest = tmp_path / folder / "cuts.jsonl.gz"
        cuts = read_manifest(manifest if manifest.exists() else write_corpus(tmp_path / folder, recordings))
        for cut in cuts:
            cut.recording.sources[0].source = cut.recording.sources[0].source.replace("/a.wav", f"/{folder}-a.wav")
        if not (tmp_path / folder / f"{folder}-a.wav").exists():
            (tmp_path / folder / "a.wav").rename(tmp_path / folder / f"{folder}-a.wav")
        fake.calls = 0
        found, _ = cache_teacher(cuts, "fake", tmp_path / "cache")
        return [cut.load_teacher() for cut in found][0], fake.calls

    first, calls = frames("one", 0.1)
    assert calls and not frames("one", 0.1)[1]
    other, calls = frames("two", 0.8)
    assert calls == 1 and not np.array_equal(first, other), "stale frames of the first recording"
    again, calls = frames("one", 0.1)
    assert calls == 1 and np.array_equal(first, again)
    index = tmp_path / "cache" / "recordings.jsonl"
    index.write_text(index.read_text() + '["a", [160')  # the last line is broken off by a kill
    assert not frames("one", 0.1)[1]
    index.unlink()  # a cache of an earlier version
    assert not frames("two", 0.8)[1], "an earlier version's cache was made again"


def test_two_recordings_of_one_name_are_refused_and_one_listed_twice_is_not(fake, tmp_path, write_corpus, speech_like):
    one = read_manifest(write_corpus(tmp_path / "one", {"a": speech_like(2, 1), "b": speech_like(2, 2)}))
    other = read_manifest(write_corpus(tmp_path / "other", {"a": speech_like(2, 3)}))
    with pytest.raises(ManifestError, match="two utterances are named 'a' .*one/a.wav and .*other/a.wav.*--name"):
        cache_teacher(lhotse.CutSet.from_cuts([*one, *other]), "fake", tmp_path / "cache")
    assert not (tmp_path / "cache").exists() and not fake.calls
    twice, _ = cache_teacher(lhotse.CutSet.from_cuts([*one, *one]), "fake", tmp_path / "cache")
    assert len(twice) == 4


def test_a_cache_stays_valid_where_its_corpus_moves(fake, tmp_path, write_corpus, speech_like):
    manifest = write_corpus(tmp_path / "here", {"a": speech_like(2, 1)})
    cache_teacher(read_manifest(manifest), "fake", tmp_path / "cache")
    moved = write_corpus(tmp_path / "there", {"a": speech_like(2, 1)})
    fake.calls = 0
    cache_teacher(read_manifest(moved), "fake", tmp_path / "cache")
    assert not fake.calls


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


def test_a_sample_that_is_no_number_costs_its_own_utterance_alone(fake, tmp_path, write_corpus, speech_like):
    """The others share its window, and all the standardisation."""
    recordings = {f"u{i}": speech_like(2, i) for i in range(6)}
    manifest = write_corpus(tmp_path / "c", recordings)
    soundfile = pytest.importorskip("soundfile")
    for name, value in (("u1", np.nan), ("u4", np.inf)):
        spoilt = recordings[name].copy()
        spoilt[700] = value
        soundfile.write(tmp_path / "c" / f"{name}.wav", spoilt, 16000, subtype="FLOAT")
    cuts, skipped = cache_teacher(read_manifest(manifest), "fake", tmp_path / "cache")
    assert [cut.id for cut in cuts] == ["u0", "u2", "u3", "u5"]
    assert skipped.reasons.keys() == {"u1", "u4"} and all("NaN" in reason for reason in skipped.reasons.values())
    statistics = json.loads((tmp_path / "cache" / "statistics.json").read_text())
    for cut in cuts:
        frames = cut.load_teacher()
        np.testing.assert_allclose(frames, expected(cut, statistics)[: len(frames)], atol=0.02)


def test_what_is_no_number_in_a_cache_is_made_anew_or_refused(fake, corpus, tmp_path):
    cuts, _ = cache_teacher(read_manifest(corpus), "fake", tmp_path)
    before = files_of(tmp_path)
    spoilt = next(tmp_path.rglob("u03.npy"))
    array = np.load(spoilt)
    array[5, 1] = np.nan
    np.save(spoilt, array)
    fake.calls = 0
    again, skipped = cache_teacher(read_manifest(corpus), "fake", tmp_path)
    after = files_of(tmp_path)
    assert fake.calls == 1 and len(again) == 8 and not skipped
    assert after.keys() == before.keys() and all(after[name][1] == before[name][1] for name in before)
    file = tmp_path / "statistics.json"
    statistics = json.loads(file.read_text())
    for key in ("mean", "deviation"):
        file.write_text(json.dumps({**statistics, key: [1.0, float("nan")]}))
        with pytest.raises(WakewordError, match="statistics.json: holds NaN.*delete its folder"):
            cache_teacher(read_manifest(corpus), "fake", tmp_path)


def test_a_teacher_whose_frames_are_no_numbers_is_refused_or_its_utterance_left_out(
    fake, corpus, tmp_path, monkeypatch
):
    def spoilt(samples):
        return np.full_like(features_of(samples), np.nan)

    monkeypatch.setattr(fake, "encode", spoilt)
    with pytest.raises(WakewordError, match="teacher 'fake': its frames are NaN"):
        cache_teacher(read_manifest(corpus), "fake", tmp_path)
    assert not files_of(tmp_path) and not (tmp_path / "statistics.json").exists()
    monkeypatch.undo()
    monkeypatch.setattr(teacher, "load_teacher", fake.load)
    cache_teacher(read_manifest(corpus), "fake", tmp_path)
    monkeypatch.setattr(fake, "encode", spoilt)
    next(tmp_path.rglob("u03.npy")).unlink()
    kept, skipped = cache_teacher(read_manifest(corpus), "fake", tmp_path)
    assert len(kept) == 7 and skipped.reasons.keys() == {"u03"} and "NaN" in skipped.summary()


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
    with pytest.raises(WakewordError, match="model: has a model.bin but no tokenizer.json: fetch the whole folder"):
        find_model(str(tmp_path))
    (tmp_path / "deep" / "model" / "tokenizer.json").touch()
    assert find_model(str(tmp_path / "deep" / "model")) == tmp_path / "deep" / "model"
    assert find_model(str(tmp_path)) == tmp_path / "deep" / "model"
    package = tmp_path / "packages" / "some_model_package"
    (package / "inside").mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "inside" / "model.bin").touch()
    (package / "inside" / "tokenizer.json").touch()
    monkeypatch.syspath_prepend(tmp_path / "packages")
    assert find_model("some_model_package") == package / "inside"


@pytest.mark.parametrize("source", ["", "nothing_of_this_name", "no/such/folder", "json", "numpy.core", "a\0b"])
def test_no_model_is_one_line(source, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WakewordError, match="no CTranslate2 Whisper model there") as caught:
        find_model(source)
    assert len(str(caught.value).splitlines()) == 1


def test_a_missing_recognizer_names_its_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(WakewordError, match=r"wakeword\[teacher\]"):
        load_teacher(str(tmp_path))


def text_of(name):
    return struct.pack("<H", len(name) + 1) + name.encode() + b"\0"


def variable(name, values):
    """A variable of float32 numbers as CTranslate2 writes it: name, shape, type 0, bytes."""
    values = np.asarray(values, np.float32)
    shape = struct.pack(f"<B{values.ndim}I", values.ndim, *values.shape)
    return text_of(name) + shape + struct.pack("<BI", 0, values.nbytes) + values.tobytes()


LAYERS = 12
NAMES = ["decoder/embeddings/weight", "decoder/layer_11/ffn/bias", "encoder/conv1/bias"]
NAMES += [f"encoder/layer_{layer}/{part}" for layer in range(LAYERS) for part in ("ffn/bias", "norm/gamma")]
NAMES += ["encoder/layer_norm/gamma", "encoder/num_heads"]
VALUES = {name: np.random.default_rng(i).standard_normal([(), (3,), (2, 4)][i % 3]) for i, name in enumerate(NAMES)}
ALIASES = struct.pack("<I", 1) + text_of("decoder/projection/weight") + text_of("decoder/embeddings/weight")


def below(layers):
    """The names without those of the upper layers."""
    upper = tuple(f"encoder/layer_{layer}/" for layer in range(layers, LAYERS))
    return [name for name in NAMES if not name.startswith(upper)]


def model_of(names, version=6):
    head = struct.pack("<I", version) + text_of("WhisperSpec") + struct.pack("<II", 3, len(names))
    return head + b"".join(variable(name, VALUES[name]) for name in names) + ALIASES


@pytest.fixture
def model_folder(tmp_path):
    """A folder of a model of twelve layers with its other files."""
    folder = tmp_path / "some" / "whisper"
    folder.mkdir(parents=True)
    (folder / "model.bin").write_bytes(model_of(NAMES))
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "vocabulary.txt").symlink_to(folder / "config.json")
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize("layers", [1, 2, 10, LAYERS])
def test_the_lower_layers_stay_and_all_that_is_no_layer(model_folder, tmp_path, layers):
    """Layer 11 of the decoder too, and 10 is no lower layer than 2 for its first digit."""
    out = tmp_path / "out"
    out.mkdir()
    whole = (model_folder / "model.bin").read_bytes()
    assert with_layers(model_folder, str(layers), out, "it") == out
    kept = below(layers)
    assert len(kept) == len(NAMES) - 2 * (LAYERS - layers)
    assert (out / "model.bin").read_bytes() == model_of(kept)
    assert sorted(path.name for path in out.iterdir()) == [
        "config.json",
        "model.bin",
        "tokenizer.json",
        "vocabulary.txt",
    ]
    assert (model_folder / "model.bin").read_bytes() == whole
    assert layers < LAYERS or model_of(kept) == whole


@pytest.mark.parametrize("layer", ["0", "13", "x", "", "-1", "1.5", "2 ", "²"])
def test_a_layer_that_is_not_there_is_one_line(model_folder, tmp_path, layer):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(WakewordError, match="teacher 'mine@.*': its encoder has layers 1 to 12") as caught:
        with_layers(model_folder, layer, out, f"mine@{layer}")
    assert len(str(caught.value).splitlines()) == 1 and not list(out.iterdir())


def test_a_file_of_another_form_is_one_line(model_folder, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    file = model_folder / "model.bin"
    whole, behind = model_of(NAMES), len(ALIASES)
    cuts = [0, 3, 5, 20, 25, 30, 40, len(whole) // 2, len(whole) - behind - 1]
    other = [b"RIFF" * 100, b"\xff" * 1000, model_of(NAMES, version=5)]
    for content in [*(whole[:cut] for cut in cuts), *other]:
        file.write_bytes(content)
        with pytest.raises(WakewordError, match="model.bin: not a CTranslate2 model of a known form") as caught:
            with_layers(model_folder, "2", out, "it")
        assert len(str(caught.value).splitlines()) == 1 and not list(out.iterdir())


@pytest.fixture
def opened(monkeypatch):
    """In place of faster-whisper: what it is given to open, the bytes of each model."""
    found = []

    def whisper_model(folder, **_):
        found.append((Path(folder) / "model.bin").read_bytes())
        assert (Path(folder) / "config.json").exists()
        return SimpleNamespace()

    monkeypatch.setitem(sys.modules, "faster_whisper", SimpleNamespace(WhisperModel=whisper_model))
    return found


def test_a_damaged_or_incomplete_teacher_is_one_line(tmp_path):
    pytest.importorskip("faster_whisper", reason="a teacher needs wakeword[teacher]")
    (tmp_path / "tokenizer.json").write_text("{}")
    for content in (b"", b"not a model\n", model_of(NAMES)):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(WakewordError, match=f"teacher '{tmp_path}': cannot be loaded .*fetch the whole") as caught:
            load_teacher(str(tmp_path))
        assert len(str(caught.value).splitlines()) == 1


def test_a_teacher_is_a_folder_or_the_layers_below_one_of_its(model_folder, opened):
    for source, names in ((str(model_folder), NAMES), (f"{model_folder}@2", below(2)), (f"{model_folder}@12", NAMES)):
        assert load_teacher(source).name == source
        assert opened.pop() == model_of(names)
    for wrong in ("0", "13", "x", ""):
        with pytest.raises(WakewordError, match=f"teacher '{model_folder}@{wrong}': its encoder has layers 1 to 12"):
            load_teacher(f"{model_folder}@{wrong}")
    with pytest.raises(WakewordError, match="teacher 'nowhere_at_all': no CTranslate2"):
        load_teacher("nowhere_at_all@2")
    assert not opened


def test_a_folder_may_have_the_sign_in_its_name(model_folder, opened):
    there = model_folder.rename(model_folder.parent / "me@home")
    load_teacher(str(there))
    load_teacher(f"{there}@3")
    assert opened == [model_of(NAMES), model_of(below(3))]


def test_what_ctranslate2_writes_is_cut_to_what_it_would_write_of_fewer_layers(tmp_path):
    model_spec = pytest.importorskip("ctranslate2.specs.model_spec", reason="needs wakeword[teacher]")

    class Layer(model_spec.LayerSpec):
        def __init__(self, **parts):
            self.__dict__.update(parts)

    class Small(model_spec.ModelSpec):
        name, revision = "WhisperSpec", 3

        def __init__(self, layers):
            super().__init__()
            parts = [dict(bias=np.full(3, i, np.float32), half=np.full((2, 1), i, np.float16)) for i in range(layers)]
            self.encoder = Layer(layer=[Layer(**each) for each in parts], gamma=np.eye(3, dtype=np.float32))
            self.gamma = self.encoder.gamma  # written as an alias

    for layers in (2, 3):
        (tmp_path / str(layers)).mkdir()
        spec = Small(layers)
        spec.validate()
        spec.optimize()
        spec.save(tmp_path / str(layers))
    (tmp_path / "out").mkdir()
    with_layers(tmp_path / "3", "2", tmp_path / "out", "it")
    files = [(tmp_path / name / "model.bin").read_bytes() for name in ("out", "2", "3")]
    assert files[0] == files[1] != files[2]
