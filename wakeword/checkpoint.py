"""One safetensors file: the weights, and in its header what they are (sizes, features, phrase, threshold, card)."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path

from wakeword.errors import ModelError, require
from wakeword.files import replacing

FORMAT = 1
WEIGHTS = Path(__file__).parent / "weights"


def save(path: str | Path, tensors: dict, kind: str, meta: dict) -> None:
    """Write `tensors` (torch, name -> tensor) and `meta` (anything JSON takes) as one safetensors file.

    Args:
        kind: "acoustic", "wakeword" or "training"; a reader that wants another kind refuses the file.

    Raises:
        WakewordError: the place cannot be written or is full.
    """
    safetensors = require("safetensors.torch")
    header = {"wakeword": json.dumps({"format": FORMAT, "kind": kind, **meta})}
    flat = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # Serialised here and not by save_file, whose own error for a full disk names no file.
    content = safetensors.save(flat, metadata=header)
    with replacing(path) as temporary:
        temporary.write_bytes(content)


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
                raise ModelError(
                    f"{path}: not a wakeword model (no safetensors header): give a .wakeword or .onnx file"
                )
            text = file.read(length)
            held = path.stat().st_size - 8 - length
        header = json.loads(text)
        needed = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        if held != needed:
            raise ModelError(f"{path}: {'truncated' if held < needed else 'damaged'} model file: copy it again")
        meta = json.loads(header.get("__metadata__", {})["wakeword"])
    except OSError as error:
        raise ModelError(f"{path}: no model file there ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{path}: not a wakeword model, or a truncated one: copy or train it again") from error
    return checked(path, meta, kind)


def checked(path: str | Path, meta: dict, kind: str | None) -> dict:
    """`meta`, if this version reads it and it is of the wanted kind."""
    if not isinstance(meta, dict):
        raise ModelError(f"{path}: not a wakeword model, or a damaged one: copy or train it again")
    if meta.get("format") != FORMAT:
        raise ModelError(
            f"{path}: written in format {meta.get('format')}, this version reads {FORMAT}: train or export it again"
        )
    if kind is not None and meta.get("kind") != kind:
        raise ModelError(f"{path}: holds a model of kind '{meta.get('kind')}', '{kind}' is wanted here")
    return meta


def load(path: str | Path, kind: str | None = None) -> tuple[dict, dict]:
    """The tensors (name -> torch tensor, float32 where stored in 16 bits) and the meta of a model file.

    Raises:
        ModelError: as `read_meta`.
    """
    meta = read_meta(path, kind)
    torch, safetensors = require("torch"), require("safetensors.torch")
    try:
        tensors = safetensors.load_file(str(path))
    except Exception as error:  # safetensors has its own exception types.
        raise ModelError(f"{path}: cannot be read as safetensors ({error}): copy it again") from error
    return {name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()}, meta


def rewrite_meta(path: str | Path, changes: dict) -> None:
    """Change entries of a model file's meta, in place (the weights stay bit for bit)."""
    meta = {**read_meta(path), **changes}
    with open(path, "rb") as file:
        length = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(length))
        weights = file.read()
    header["__metadata__"]["wakeword"] = json.dumps(meta)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary:
        temporary.write_bytes(struct.pack("<Q", len(text)) + text + weights)


def rewrite_onnx_meta(path: str | Path, changes: dict) -> None:
    """Change entries of an exported model's meta, in place.

    Raises:
        WakewordError: the onnx package is not installed.
    """
    onnx = require("onnx")
    proto = onnx.load(str(path))
    for entry in proto.metadata_props:
        if entry.key == "wakeword":
            entry.value = json.dumps({**json.loads(entry.value), **changes})
    with replacing(path) as temporary:
        temporary.write_bytes(proto.SerializeToString())


def optimizer_tensors(optimizer) -> dict:
    """An optimizer's moments as named tensors, for `save`."""
    torch = require("torch")
    return {
        f"optimizer/{index}/{name}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }


def load_optimizer(optimizer, tensors: dict) -> None:
    """Put back what `optimizer_tensors` gave."""
    state: dict[int, dict] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer/"):
            _, index, key = name.split("/")
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def shipped(name: str) -> Path:
    """The file of an acoustic model that ships in the package, its checksum verified; or `name` itself if it is a path.

    Raises:
        ModelError: neither, or the file is not the one that was shipped.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not os.path.isfile(path):
        if os.path.isfile(name):
            return Path(name)
        names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors")))
        raise ModelError(f"{name}: neither a shipped acoustic model ({names}) nor a file")
    sums = WEIGHTS / "SHA256SUMS"
    listed = sums.read_text().splitlines() if sums.is_file() else []
    if [hashlib.sha256(path.read_bytes()).hexdigest(), path.name] not in [line.split() for line in listed]:
        raise ModelError(f"{path}: its checksum is not the shipped one: install wakeword again")
    return path
