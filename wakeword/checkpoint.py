"""One safetensors file: the weights, and in its header what they are (sizes, features, phrase, threshold, card)."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path

from wakeword.errors import ConfigError, ModelError, require
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
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise ModelError(f"{path}: no model file there ({error.strerror}): check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: not a wakeword model, or a truncated one: copy or train it again") from error
    return checked(path, meta, kind)


def checked(path: str | Path, meta: dict, kind: str | None) -> dict:
    """`meta`, if this version reads it and it is of the wanted kind."""
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


def shipped(name: str) -> Path:
    """The file of an acoustic model that ships in the package, its checksum verified; or `name` itself if it is a path.

    Raises:
        ModelError: neither, or the file is not the one that was shipped.
    """
    path = WEIGHTS / f"{name}.safetensors"
    if not path.is_file():
        if Path(name).is_file():
            return Path(name)
        names = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*.safetensors")))
        raise ModelError(f"{name}: neither a shipped acoustic model ({names}) nor a file")
    sums = dict(reversed(line.split()) for line in (WEIGHTS / "SHA256SUMS").read_text().splitlines() if line.strip())
    if hashlib.sha256(path.read_bytes()).hexdigest() != sums.get(path.name):
        raise ModelError(f"{path}: its checksum is not the shipped one: install wakeword again")
    return path


def from_dict(kind: type, values: dict, where: str):
    """A dataclass from parsed TOML or JSON; nested dataclasses and tuples are made from tables and lists.

    Raises:
        ConfigError: an unknown key, a missing one, or a value of the wrong type, named with `where`.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}
    unknown = set(values) - set(fields)
    if unknown:
        raise ConfigError(f"{where}: unknown key '{sorted(unknown)[0]}': known are {', '.join(sorted(fields))}")
    made = {}
    for name, value in values.items():
        made[name] = _converted(value, fields[name], f"{where}: {name}")
    try:
        return kind(**made)
    except TypeError as error:
        raise ConfigError(f"{where}: {error}".replace("__init__() ", "")) from error


def _converted(value, field, where: str):
    default = field.default if field.default is not dataclasses.MISSING else None
    if default is None and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if dataclasses.is_dataclass(default) and isinstance(value, dict):
        return from_dict(type(default), value, where)
    item = field.metadata.get("items")
    if item is not None and isinstance(value, (list, tuple)) and all(isinstance(entry, dict) for entry in value):
        return tuple(from_dict(item, entry, f"{where}[{index}]") for index, entry in enumerate(value))
    wanted = {"int": int, "float": (int, float), "str": str, "bool": bool}.get(str(field.type))
    if str(field.type).startswith("tuple"):
        wanted = (list, tuple)
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool)):
        raise ConfigError(f"{where} = {value!r}: should be of type {field.type}")
    if isinstance(value, list):
        return tuple(value)
    return float(value) if str(field.type) == "float" else value
