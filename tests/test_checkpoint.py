from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from wakeword.acoustic.acoustic_file import load_acoustic  # noqa: E402
from wakeword.acoustic.encoder import EncoderSizes  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import ConfigError, ModelError, WakewordError  # noqa: E402
from wakeword.features.log_mel import FeatureSettings  # noqa: E402
from wakeword.head.transfer import load_wakeword  # noqa: E402
from wakeword.model import checkpoint  # noqa: E402
from wakeword.model.checkpoint import load, read_meta, rewrite_meta, save, shipped  # noqa: E402
from wakeword.settings import from_dict  # noqa: E402

TENSORS = {
    "weight": torch.arange(12, dtype=torch.float32).reshape(3, 4) / 7,
    "half": torch.arange(6, dtype=torch.float32).half() / 8,
    "count": torch.tensor(5),
    "transposed": torch.arange(6.0).reshape(2, 3).T,
    "empty": torch.zeros(0, 3),
}
META = {"phrases": [{"phrase": "hé «jo»", "threshold": 0.1}], "card": {"hours": [1, 2.5, None], "note": "a\nb"}}


@pytest.fixture
def file(tmp_path):
    save(tmp_path / "m.wakeword", TENSORS, "wakeword", META)
    return tmp_path / "m.wakeword"


def test_what_is_saved_is_read(file):
    tensors, meta = load(file, "wakeword")
    assert meta == {"format": 2, "kind": "wakeword", **META} == read_meta(file)
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == (torch.float32 if tensor.dtype == torch.float16 else tensor.dtype)
        assert torch.equal(tensors[name], tensor.to(tensors[name].dtype))
    assert os.listdir(file.parent) == [file.name], "a temporary file was left"


def test_saving_creates_the_folder_and_gives_usual_permissions(tmp_path):
    save(tmp_path / "a" / "b" / "m.wakeword", TENSORS, "wakeword", META)
    umask = os.umask(0)
    os.umask(umask)
    assert (tmp_path / "a" / "b" / "m.wakeword").stat().st_mode & 0o777 == 0o666 & ~umask


@given(data=st.data())
def test_a_file_cut_anywhere_is_a_model_error(model_files, tmp_path_factory, data):
    content = model_files[0].read_bytes()
    header = 8 + struct.unpack("<Q", content[:8])[0]
    cut = data.draw(st.one_of(st.integers(0, 20), st.integers(0, header + 10), st.integers(0, len(content) - 1)))
    path = tmp_path_factory.mktemp("cut") / "m.wakeword"
    path.write_bytes(content[:cut])
    for reader in (read_meta, load, load_wakeword, load_acoustic):
        with pytest.raises(ModelError, match="m.wakeword") as caught:
            reader(path)
        assert len(str(caught.value).splitlines()) == 1


@given(data=st.data(), length=st.integers(1, 30))
@settings(max_examples=150)
def test_a_damaged_header_is_a_model_error_or_harmless(model_files, tmp_path_factory, data, length):
    content = bytearray(model_files[0].read_bytes())
    header = 8 + struct.unpack("<Q", content[:8])[0]
    start = data.draw(st.integers(0, header - 1))
    content[start : start + length] = data.draw(st.binary(min_size=length, max_size=length))
    path = tmp_path_factory.mktemp("damaged") / "m.wakeword"
    path.write_bytes(bytes(content))
    try:
        load_wakeword(path)
    except ModelError as error:
        assert len(str(error).splitlines()) == 1


@pytest.mark.parametrize("which", [0, 1])
@given(data=st.data())
@settings(max_examples=30)
def test_weights_that_changed_on_the_way_are_a_model_error(model_files, tmp_path_factory, which, data):
    """A byte of the weights of a `.wakeword` file or of an ONNX graph that is another one than was written."""
    content = bytearray(model_files[which].read_bytes())
    # An ONNX file's weights come before its description; those of safetensors after it.
    first = 8 + struct.unpack("<Q", content[:8])[0] if which == 0 else 2000
    last = len(content) if which == 0 else content.rindex(b"wakeword", 0, content.rindex(b"sha256")) - 2000
    place = data.draw(st.integers(first, last - 1))
    content[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("changed") / f"m{model_files[which].suffix}"
    path.write_bytes(bytes(content))
    with pytest.raises(ModelError, match=path.name) as caught:
        Detector.load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_of_before_checksums_is_read(model_files, tmp_path):
    content = model_files[0].read_bytes()
    size = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:size])
    del header["__metadata__"]["sha256"]
    load_wakeword(with_header(tmp_path / "old.wakeword", json.dumps(header).encode(), content[size:]))


@given(content=st.one_of(st.binary(max_size=60), st.text().map(str.encode)))
def test_foreign_content_is_a_model_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("foreign") / "m.wakeword"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="m.wakeword"):
        load(path)


def with_header(path: Path, header: bytes, body: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + body)
    return path


@pytest.mark.parametrize(
    "header",
    [
        b"{}",
        b"[]",
        b"null",
        b"[" * 100_000,
        b'{"a": 3}',
        b'{"a": {"data_offsets": "xy"}}',
        b'{"__metadata__": {"wakeword": "{}"}}',
        b'{"__metadata__": {"wakeword": "[1]"}}',
        b'{"__metadata__": {"wakeword": "3"}}',
        b'{"__metadata__": {"wakeword": 3}}',
        b'{"__metadata__": {"other": "x"}}',
        b'{"__metadata__": null}',
        b"\xff\xfe{}",
    ],
)
def test_headers_of_other_programs_are_model_errors(tmp_path, header):
    path = with_header(tmp_path / "x.wakeword", header)
    for reader in (read_meta, load, load_wakeword):
        with pytest.raises(ModelError):
            reader(path)


def test_safetensors_of_another_program_is_named_so(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file({"a": torch.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="not a wakeword model"):
        load(tmp_path / "other.safetensors")


def test_trailing_bytes_are_damage(file):
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="damaged"):
        load(file)


@pytest.mark.parametrize("version", [0, 1, 3, None, "2"])
def test_another_format_is_refused_with_both_numbers(file, version):
    content = file.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    header["__metadata__"]["wakeword"] = json.dumps({**META, "format": version, "kind": "wakeword"})
    with_header(file, json.dumps(header).encode(), content[end:])
    with pytest.raises(ModelError) as caught:
        read_meta(file)
    told = f"written in format {version}, this version reads 2: train or export it again"
    assert str(caught.value) == f"{file}: {told}"


@pytest.mark.parametrize("kind", ["acoustic", "training"])
def test_each_kind_has_a_format_of_its_own(tmp_path, kind):
    """What an encoder's file is has not changed since the first version, when a detector had one phrase."""
    save(tmp_path / "m.safetensors", TENSORS, kind, {"card": {}})
    assert load(tmp_path / "m.safetensors", kind)[1] == {"format": 1, "kind": kind, "card": {}}


@pytest.mark.parametrize("kind", ["other", None, ["acoustic"]])
def test_an_unknown_kind_is_named(file, kind):
    content = file.read_bytes()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8:end])
    header["__metadata__"]["wakeword"] = json.dumps({**META, "format": 1, "kind": kind})
    with_header(file, json.dumps(header).encode(), content[end:])
    with pytest.raises(ModelError, match="m.wakeword: holds a model of kind .*, which this version does not know"):
        read_meta(file)


def test_another_kind_is_refused_with_both_kinds(file, model_files):
    with pytest.raises(ModelError, match="'wakeword'.*'acoustic' is wanted"):
        load(file, "acoustic")
    with pytest.raises(ModelError, match="'acoustic' is wanted"):
        load_acoustic(model_files[0])


def test_places_without_a_file_are_model_errors(tmp_path, file):
    for path in (tmp_path / "none.wakeword", tmp_path, file / "below", tmp_path / ("x" * 300), "", "a\0b"):
        for reader in (read_meta, load, load_wakeword, load_acoustic):
            with pytest.raises(ModelError) as caught:
                reader(path)
            assert len(str(caught.value).splitlines()) == 1


def test_weights_that_do_not_fit_their_sizes_are_a_model_error(tmp_path, model_files):
    tensors, meta = load(model_files[0])
    other = {key: value for key, value in meta.items() if key not in ("format", "kind")}
    cases = [
        {**other, "sizes": {**meta["sizes"], "head": {"depth": 2, "channels": 8}}},
        {**other, "sizes": {**meta["sizes"], "head": {"width": 2}}},
        {**other, "sizes": {**meta["sizes"], "head": {**meta["sizes"]["head"], "outputs": 2}}},
        {**other, "phrases": other["phrases"] * 2},
        {key: value for key, value in other.items() if key != "phrases"},
        {**other, "sizes": {**meta["sizes"], "encoder": {"dilations": ["a"]}}},
        {**other, "sizes": 3},
        {key: value for key, value in other.items() if key != "sizes"},
    ]
    for case in cases:
        save(tmp_path / "odd.wakeword", tensors, "wakeword", case)
        with pytest.raises(ModelError, match="odd.wakeword"):
            load_wakeword(tmp_path / "odd.wakeword")


def test_a_card_alone_changes_nothing_of_what_a_file_computes_with(file):
    before = checkpoint.digest_without_card(file)
    rewrite_meta(file, {"card": {"error_rates": "measured later"}})
    assert checkpoint.digest_without_card(file) == before
    rewrite_meta(file, {"more": 1})
    other = checkpoint.digest_without_card(file)
    tensors, meta = load(file)
    save(file, {**tensors, "count": torch.tensor(6)}, meta["kind"], meta)
    assert len({before, other, checkpoint.digest_without_card(file)}) == 3


def test_rewriting_meta_keeps_the_weights_bit_for_bit(file):
    before, _ = load(file)
    body = file.read_bytes()[8 + struct.unpack("<Q", file.read_bytes()[:8])[0] :]
    rewrite_meta(file, {"more": 0.731, "note": "x" * 1001})
    rewrite_meta(file, {"more": 0.25})
    content = file.read_bytes()
    assert content[8 + struct.unpack("<Q", content[:8])[0] :] == body
    after, meta = load(file, "wakeword")
    assert meta == {"format": 2, "kind": "wakeword", **META, "more": 0.25, "note": "x" * 1001}
    assert all(torch.equal(before[name], after[name]) for name in before)


FULL_DISK = """
import resource, signal, sys
import torch
from wakeword.model import checkpoint
from wakeword.errors import WakewordError

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path = sys.argv[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for write in (
    lambda: checkpoint.save(path, {"weight": torch.zeros(5000)}, "wakeword", {}),
    lambda: checkpoint.rewrite_meta(path, {"note": "x" * 5000}),
):
    try:
        write()
    except WakewordError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Unix does")
def test_a_write_that_the_system_cuts_short_leaves_the_old_file(file):
    """A real short write: the process may write no more than 2000 bytes to any file."""
    before = file.read_bytes()
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(file)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 and all("m.wakeword: cannot be written" in line for line in lines), done.stdout
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name], "half a file was left"


def test_a_full_disk_leaves_the_old_file(file, monkeypatch):
    before = file.read_bytes()

    def full(self, content):
        with open(self, "wb") as half:
            half.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    for write in (
        lambda: save(file, {"weight": torch.ones(3)}, "wakeword", {}),
        lambda: rewrite_meta(file, {"note": "x"}),
    ):
        with pytest.raises(WakewordError, match="No space left.*free space"):
            write()
    assert file.read_bytes() == before
    assert os.listdir(file.parent) == [file.name], "half a file was left"


def test_a_folder_in_the_way_is_one_line(tmp_path):
    (tmp_path / "taken.wakeword").mkdir()
    (tmp_path / "taken.wakeword" / "x").touch()
    (tmp_path / "plain").touch()
    for path in (tmp_path / "taken.wakeword", tmp_path / "plain" / "m.wakeword"):
        with pytest.raises(WakewordError, match="cannot be written"):
            save(path, TENSORS, "wakeword", META)
    assert sorted(os.listdir(tmp_path)) == ["plain", "taken.wakeword"]


def test_a_shipped_model_is_checked(tmp_path, monkeypatch, file):
    monkeypatch.setattr(checkpoint, "WEIGHTS", tmp_path / "weights")
    with pytest.raises(ModelError, match="base: neither"):
        shipped("base")
    save(tmp_path / "weights" / "base.safetensors", TENSORS, "acoustic", META)
    weights = tmp_path / "weights" / "base.safetensors"
    sums = tmp_path / "weights" / "SHA256SUMS"
    with pytest.raises(ModelError, match="checksum"):
        shipped("base")
    sums.write_text(f"{hashlib.sha256(weights.read_bytes()).hexdigest()}  base.safetensors\n")
    assert shipped("base") == weights
    assert shipped(str(file)) == file
    with pytest.raises(ModelError, match=r"tiny: neither a shipped acoustic model \(base\)"):
        shipped("tiny")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    with pytest.raises(ModelError, match="checksum"):
        shipped("base")
    sums.write_text("nonsense\n")
    with pytest.raises(ModelError, match="checksum"):
        shipped("base")


@dataclass(frozen=True)
class Part:
    path: str
    weight: float = 1.0


@dataclass(frozen=True)
class Whole:
    name: str = "x"
    count: int = 3
    rate: float = 0.5
    fast: bool = False
    limits: tuple[float, ...] = (0.0, 1.0)
    names: tuple[str, ...] = ()
    features: FeatureSettings = FeatureSettings()
    parts: tuple[Part, ...] = field(default=(), metadata={"items": Part})


def test_tables_become_dataclasses():
    made = from_dict(
        Whole,
        {
            "count": 4,
            "rate": 2,
            "fast": True,
            "limits": [1, 2.5],
            "names": ["a"],
            "features": {"mels": 20},
            "parts": [{"path": "p"}, {"path": "q", "weight": 3}],
        },
        "file.toml",
    )
    assert made == Whole("x", 4, 2.0, True, (1, 2.5), ("a",), FeatureSettings(mels=20), (Part("p"), Part("q", 3.0)))
    assert type(made.rate) is float and type(made.parts[1].weight) is float
    assert from_dict(Whole, json.loads(json.dumps(dataclasses.asdict(made))), "again") == made


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"nmae": "y"}, "nmae"),
        ({"features": {"mel": 3}}, "features.*mel"),
        ({"parts": [{"path": "p"}, {"path": "q", "wieght": 1}]}, r"parts\[1\].*wieght"),
        ({"parts": [{"weight": 1.0}]}, r"parts\[0\].*path"),
        ({"name": 3}, "name = 3.*str"),
        ({"count": 2.0}, "count = 2.0.*int"),
        ({"count": "3"}, "count"),
        ({"count": True}, "count"),
        ({"rate": False}, "rate"),
        ({"rate": "fast"}, "rate"),
        ({"fast": 1}, "fast"),
        ({"limits": 3}, "limits"),
        ({"limits": ["a", "b"]}, "limits"),
        ({"names": "abc"}, "names"),
        ({"names": [1]}, "names"),
        ({"features": 3}, "features"),
        ({"features": [1]}, "features"),
        ({"features": {"mels": "many"}}, "features: mels"),
        ({"parts": 3}, "parts"),
        ({"parts": ["p"]}, "parts"),
        ({"parts": {"path": "p"}}, "parts"),
        ({"name": None}, "name"),
    ],
)
def test_unknown_keys_and_wrong_types_are_config_errors(values, named):
    with pytest.raises(ConfigError, match=f"file.toml.*{named}") as caught:
        from_dict(Whole, values, "file.toml")
    assert len(str(caught.value).splitlines()) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    kind=st.sampled_from([Whole, EncoderSizes, FeatureSettings]),
    values=st.one_of(
        JSON,
        st.dictionaries(
            st.sampled_from([f.name for f in dataclasses.fields(Whole)] + ["taps", "dilations", "mels"]), JSON
        ),
    ),
)
@settings(max_examples=300)
def test_no_parsed_table_raises_anything_else(kind, values):
    try:
        made = from_dict(kind, values, "file.toml")
    except ConfigError:
        return
    for entry in dataclasses.fields(kind):
        value, wanted = getattr(made, entry.name), type(getattr(kind(), entry.name))
        assert type(value) is wanted, f"{entry.name} = {value!r}"


def test_a_device_is_not_replaced_by_a_file(tmp_path):
    import os

    from wakeword.files import replacing

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(WakewordError, match="no regular file"), replacing(pipe) as temporary:
        temporary.write_bytes(b"x")
    assert not pipe.is_file() and [entry.name for entry in tmp_path.iterdir()] == ["pipe"]
