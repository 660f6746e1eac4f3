"""One safetensors file: the weights, and in its header what they are (sizes, features, phrases, card)."""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
from pathlib import Path

from wakeword.errors import ModelError, require
from wakeword.files import replacing
from wakeword.model.protobuf import field, fields

FORMATS = {"acoustic": 1, "training": 1, "wakeword": 2}
"""The format that this version writes and reads of each kind of file."""
# Tags of protobuf: 8 x field number (7, 14, 1, 2) + 2, length-delimited.
GRAPH, METADATA_PROPS, KEY, VALUE = 0x3A, 0x72, 0x0A, 0x12
MOMENTS = ("exp_avg", "exp_avg_sq")
"""What AdamW holds of each parameter, beside its `step`."""
WEIGHTS = Path(__file__).parents[1] / "weights"


def save(path: str | Path, tensors: dict, kind: str, meta: dict) -> None:
    """Write `tensors` (torch, name -> tensor) and `meta` (anything JSON takes) as one safetensors file.

    Args:
        kind: one of `FORMATS`; a reader that wants another kind refuses the file.

    Raises:
        WakewordError: the place cannot be written or is full.
    """
    safetensors = require("safetensors.torch")
    header = {"wakeword": json.dumps({"format": FORMATS[kind], "kind": kind, **meta})}
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Serialised here and not by save_file, whose own error for a full disk names no file.
    content = safetensors.save(flat, metadata=header)
    described, weights = _parted(content)
    described["__metadata__"]["sha256"] = hashlib.sha256(weights).hexdigest()
    _write(path, described, weights)


def _parted(content: bytes) -> tuple[dict, bytes]:
    """The header and the weights of a safetensors file."""
    length = struct.unpack("<Q", content[:8])[0]
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def _write(path: str | Path, header: dict, weights: bytes) -> None:
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary:
        temporary.write_bytes(struct.pack("<Q", len(text)) + text + weights)


def read_meta(path: str | Path, kind: str | None = None) -> dict:
    """What a model file says of itself; needs neither torch nor safetensors.

    Raises:
        ModelError: missing, foreign, truncated, of another kind, or written by another version.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
            if not 2 <= length <= 100_000_000:
                acoustic = f"{', '.join(shipped_names())} or a .safetensors"
                wanted = acoustic if kind == "acoustic" else "a .wakeword or .onnx"
                raise ModelError(f"{path}: not a wakeword model (no safetensors header): give {wanted} file")
            text = file.read(length)
            held = path.stat().st_size - 8 - length
        header = json.loads(text)
        needed = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        if held != needed:
            raise ModelError(f"{path}: {'truncated' if held < needed else 'damaged'} model file: copy it again")
        meta = json.loads(header.get("__metadata__", {})["wakeword"])
    except OSError as error:
        if str(path) in shipped_names():
            trained = f"'wakeword train --acoustic {path}'"
            raise ModelError(f"{path}: an acoustic model, which hears no phrase: train one on it, {trained}") from error
        raise ModelError(f"{path}: no model file there ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a wakeword model, or a truncated one: copy or train it again") from error
    return checked(path, meta, kind)


def checked(path: str | Path, meta: dict, kind: str | None) -> dict:
    """`meta`, if this version reads it and it is of the wanted kind."""
    if not isinstance(meta, dict):
        raise ModelError(f"{path}: not a wakeword model, or a damaged one: copy or train it again")
    found = str(meta.get("kind"))
    if kind is not None and found != kind:
        raise ModelError(f"{path}: holds a model of kind '{found}', '{kind}' is wanted here")
    if found not in FORMATS:
        raise ModelError(f"{path}: holds a model of kind '{found}', which this version does not know")
    if meta.get("format") != FORMATS[found]:
        raise ModelError(
            f"{path}: written in format {meta.get('format')}, this version reads {FORMATS[found]}: "
            "train or export it again"
        )
    return meta


def load(path: str | Path, kind: str | None = None) -> tuple[dict, dict]:
    """The tensors (name -> torch tensor, float32 where stored in 16 bits) and the meta of a model file.

    Raises:
        ModelError: as `read_meta`; or the weights have not the checksum that was written with them.
    """
    meta = read_meta(path, kind)
    torch, safetensors = require("torch"), require("safetensors.torch")
    content = Path(path).read_bytes()
    header, weights = _parted(content)
    verify(path, weights, header["__metadata__"].get("sha256"))
    try:
        tensors = safetensors.load(content)
    except Exception as error:  # safetensors has its own exception types.
        raise ModelError(f"{path}: cannot be read as safetensors ({error}): copy it again") from error
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}, meta


def digest_without_card(path: str | Path) -> str:
    """The SHA-256 of all that a model file computes with: its weights and its meta, whatever its card tells of them.

    Raises:
        ModelError: foreign, truncated or missing.
    """
    meta = {name: value for name, value in read_meta(path).items() if name != "card"}
    digest = hashlib.sha256(json.dumps(meta, sort_keys=True).encode())
    digest.update(_parted(Path(path).read_bytes())[1])
    return digest.hexdigest()


def verify(path: str | Path, weights, digest: str | None) -> None:
    """Check the weights of a model file (bytes, or a view of them) against their SHA-256; old files have none.

    Raises:
        ModelError: they differ.
    """
    if digest and hashlib.sha256(weights).hexdigest() != digest:
        raise ModelError(
            f"{path}: damaged: its weights have not the checksum that they were written with: copy it again"
        )


def rewrite_meta(path: str | Path, changes: dict) -> None:
    """Change entries of a model file's meta, in place (the weights stay bit for bit)."""
    meta = {**read_meta(path), **changes}
    header, weights = _parted(Path(path).read_bytes())
    header["__metadata__"]["wakeword"] = json.dumps(meta)
    _write(path, header, weights)


def rewrite_onnx_meta(path: str | Path, changes: dict) -> None:
    """Change entries of an exported model's meta, in place; the graph stays bit for bit. Needs no onnx package.

    An ONNX file is a protobuf message (`ModelProto` of onnx.proto3). Of its fields, one after the other, the entry of
    `metadata_props` that holds the meta is left out, and a new one is put at the end.

    Raises:
        ModelError: not an exported model.
    """
    from wakeword.model.runtimes import load_onnx  # which imports this module

    meta = json.dumps({**load_onnx(path)[2], **changes})
    kept = []
    for tag, whole, value in fields(Path(path).read_bytes()):
        if tag != METADATA_PROPS or (KEY, b"wakeword") not in [(tag, part) for tag, _, part in fields(value)]:
            kept.append(whole)
    entry = field(KEY, b"wakeword") + field(VALUE, meta.encode())
    with replacing(path) as temporary:
        temporary.write_bytes(b"".join(kept) + field(METADATA_PROPS, entry))
        if load_onnx(temporary)[2] != json.loads(meta):
            raise ModelError(f"{path}: its description cannot be changed: export it again")


def verify_onnx(path: str | Path, digest: str | None) -> None:
    """Check the graph of an exported model against its SHA-256, as `verify`."""
    # A view, so that a listener on a small machine holds the weights but once.
    with (
        open(path, "rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        for tag, whole, value in fields(view):
            with whole, value:
                if tag == GRAPH:
                    verify(path, value, digest)


def optimizer_tensors(optimizer) -> dict:
    """An optimizer's moments as named tensors, for `save`."""
    torch = require("torch")
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimizer(optimizer, tensors: dict) -> None:
    """Put back what `optimizer_tensors` gave of an AdamW.

    Raises:
        ModelError: it is of other parameters, or of another optimizer; nothing is changed then.
    """
    state: dict[int, dict] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    shapes = {
        f"optimizer/{index}/{key}": parameter.shape if key in MOMENTS else ()
        for index, parameter in enumerate(parameters)
        for key in (*MOMENTS, "step")
    }
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            if tensor.shape != shapes.get(name):
                raise ModelError(f"'{name}' of shape {list(tensor.shape)} does not fit the optimizer")
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensor
    for index, held in state.items():
        if len(held) <= len(MOMENTS):
            raise ModelError(f"'optimizer/{index}' has only {', '.join(sorted(held))}")
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def shipped_names() -> list[str]:
    """The acoustic models that ship in the package."""
    return sorted(file.stem for file in WEIGHTS.glob("*.safetensors"))


def shipped(name: str) -> Path:
    """The file of an acoustic model that ships in the package, its checksum verified; or `name` itself if it is a path.

    Raises:
        ModelError: neither, or the file is not the one that was shipped.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not os.path.isfile(path):
        if os.path.isfile(name):
            return Path(name)
        names = ", ".join(shipped_names())
        raise ModelError(f"{name}: neither a shipped acoustic model ({names}) nor a file: check the spelling")
    sums = WEIGHTS / "SHA256SUMS"
    listed = sums.read_text().splitlines() if sums.is_file() else []
    if [hashlib.sha256(path.read_bytes()).hexdigest(), path.name] not in [line.split() for line in listed]:
        raise ModelError(f"{path}: its checksum is not the shipped one: install wakeword again")
    return path
