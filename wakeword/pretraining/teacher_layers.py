"""A CTranslate2 Whisper model without the upper layers of its encoder: how a layer below the last becomes the teacher.

CTranslate2 returns what the last layer gives, and takes as many layers as the file has variables for. The file's form
is that of `ctranslate2.specs.model_spec`, version 6. The normalisation behind the last layer stays: what comes out is
the layer's output with each frame divided by its own deviation.
"""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

from wakeword.errors import WakewordError

LAYER = re.compile(rb"encoder/layer_(\d+)/")


def with_layers(folder: Path, layers: str, out: Path, source: str) -> Path:
    """Write the model of `folder` to `out`, with the first `layers` of its encoder's layers alone.

    Args:
        source: what the user wrote, which an error names.

    Returns:
        `out`.

    Raises:
        WakewordError: `layers` is no number of them, or the file is of another form.
    """
    file = folder / "model.bin"
    data = file.read_bytes()
    try:
        head, variables, rest = _parts(data)
    except struct.error as error:
        raise WakewordError(f"{file}: not a CTranslate2 model of a known form: convert it again") from error
    numbers = {int(match[1]) for name, _ in variables if (match := LAYER.match(name))}
    if not (layers.isdecimal() and 1 <= int(layers) <= len(numbers)):
        raise WakewordError(f"teacher '{source}': its encoder has layers 1 to {len(numbers)}")
    kept = [whole for name, whole in variables if not ((match := LAYER.match(name)) and int(match[1]) >= int(layers))]
    for other in folder.iterdir():
        if other.is_file() and other.name != file.name:
            shutil.copy(other, out)
    (out / file.name).write_bytes(b"".join([head, struct.pack("<I", len(kept)), *kept, rest]))
    return out


def _parts(data: bytes) -> tuple[bytes, list[tuple[bytes, bytes]], bytes]:
    """What stands before the number of variables, each variable's name and all its bytes, and what follows them."""
    version, name_length = struct.unpack_from("<IH", data)
    if version != 6:
        raise struct.error(f"version {version}")
    at = 6 + name_length + 4
    head = data[:at]
    (count,) = struct.unpack_from("<I", data, at)
    at += 4
    variables = []
    for _ in range(count):
        start = at
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length]
        (rank,) = struct.unpack_from("<B", data, at + 2 + length)
        at += 3 + length + 4 * rank + 1
        (size,) = struct.unpack_from("<I", data, at)
        at += 4 + size
        if at > len(data):
            raise struct.error("truncated")
        variables.append((name, data[start:at]))
    return head, variables, data[at:]
