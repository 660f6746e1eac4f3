"""ExecuTorch model files (`.pte`): what they say of themselves, and their program as a function of a stream's next
frames.

The runtime reads a program and ignores what follows it in the file. There follow: a description, JSON, with `wakeword`
(the meta) and `inputs` (the names and shapes of the program's inputs); the SHA-256 of all before it, 64 characters; the
description's length in bytes, unsigned, 8 bytes, little-endian; and `MARK`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from functools import cache
from pathlib import Path

import numpy as np

from wakeword.errors import ModelError, require
from wakeword.files import replacing
from wakeword.model.checkpoint import checked
from wakeword.model.litert import stepping

MARK = b"wakeword"
_END = 64 + 8 + len(MARK)


def packed(program: bytes, description: dict) -> bytes:
    """A program and its description as a file's content."""
    text = json.dumps(description).encode()
    digest = hashlib.sha256(program + text).hexdigest().encode()
    return program + text + digest + struct.pack("<Q", len(text)) + MARK


def read_pte(path: str | Path) -> tuple[bytes, dict]:
    """A file's program, which has the checksum that was written with it, and its description.

    Needs neither torch nor executorch.

    Raises:
        ModelError: no such file, a damaged one, or not one that `wakeword export` wrote.
    """
    if not os.path.isfile(path):
        raise ModelError(f"{path}: no model file there: check the path")
    content = Path(path).read_bytes()
    if len(content) < _END or not content.endswith(MARK):
        raise ModelError(f"{path}: a truncated ExecuTorch model, or one that 'wakeword export' did not write")
    body, digest = content[:-_END], content[-_END : 64 - _END]
    (length,) = struct.unpack("<Q", content[-8 - len(MARK) : -len(MARK)])
    if hashlib.sha256(body).hexdigest().encode() != digest or length > len(body):
        raise ModelError(f"{path}: damaged: it has not the checksum that it was written with: copy it again")
    try:
        description = json.loads(body[len(body) - length :])
        checked(path, description["wakeword"], "wakeword")
        return body[: len(body) - length], description
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: a damaged export, or not one of 'wakeword export': export it again") from error


@cache
def _runtime():
    """ExecuTorch's runtime, on one thread from now on."""
    runtime = require("executorch.runtime", "executorch").Runtime.get()
    with _unheard():
        require("executorch.extension.pybindings.portable_lib", "executorch")._unsafe_reset_threadpool(1)
    return runtime


@contextmanager
def _unheard() -> Iterator[None]:
    """Keep stderr shut, where C++ code tells of the files in which it looked for the processor's name."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def load_pte(path: str | Path):
    """The step function, zero state (a list of arrays) and meta of an exported model, run by ExecuTorch on one thread.

    Raises:
        ModelError: no such file, or not one that `wakeword export` wrote.
        WakewordError: executorch is not installed.
    """
    program, description = read_pte(path)
    meta = description["wakeword"]
    try:
        step, state, outputs = running_pte(program)
    except RuntimeError as error:
        reason = str(error).splitlines()[0][:120]
        raise ModelError(f"{path}: ExecuTorch refuses it ({reason}): export it again") from error
    if len(meta["phrases"]) != outputs:
        raise ModelError(f"{path}: not as many outputs as phrases: export it again")
    return step, state, meta


def running_pte(program: bytes):
    """The step function and zero state of a program, and the number of its outputs, as `litert.stepping` makes them."""
    runtime, torch = _runtime(), require("torch")
    # The checks of the flatbuffer are not in the wheel, which says so on stderr; the checksum stands for them.
    verification = require("executorch.runtime", "executorch").Verification.Minimal
    with redirect_stderr(io.StringIO()):  # what it tells there of its own files, and of errors that it raises
        loaded = runtime.load_program(program, verification=verification)
        method = loaded.load_method("forward")
    tensors = method.metadata
    inputs = [tensors.input_tensor_meta(index) for index in range(tensors.num_inputs())]
    details = [{"shape": each.sizes(), "dtype": np.float32} for each in (*inputs, tensors.output_tensor_meta(0))]

    def invoke(values: list[np.ndarray], held=loaded) -> list[np.ndarray]:
        # `held` keeps the program's bytes, in which the method's constants lie, for as long as the method.
        return [each.numpy() for each in method.execute([torch.from_numpy(value) for value in values])]

    return stepping(invoke, details[:-1], details[-1:])


def rewrite_pte_meta(path: str | Path, changes: dict) -> None:
    """Change entries of an exported model's meta, in place; the program stays bit for bit. Needs no executorch.

    Raises:
        ModelError: not an exported model.
    """
    program, description = read_pte(path)
    with replacing(path) as temporary:
        meta = {**description["wakeword"], **changes}
        temporary.write_bytes(packed(program, {**description, "wakeword": meta}))
        read_pte(temporary)
