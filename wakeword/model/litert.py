"""LiteRT model files (`.tflite`): what they say of themselves, and their graph as a function of a stream's next frames.

The file is a flatbuffer; its schema comes with the package ai-edge-litert. Two of its metadata entries are ours: the
meta as JSON (`wakeword`) and the SHA-256 of the whole file, for which its own 64 characters count as zeros (`sha256`).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wakeword.errors import ModelError, require
from wakeword.features.log_mel import FRAMES_PER_STEP, integer_features
from wakeword.files import replacing
from wakeword.model.checkpoint import checked

META, DIGEST = b"wakeword", b"sha256"
_UNSIGNED = b"0" * 64


def schema():
    """The module of the flatbuffer's classes.

    Raises:
        WakewordError: ai-edge-litert is not installed.
    """
    return require("ai_edge_litert.schema_py_generated", "litert")


def packed(model) -> bytes:
    """A `schema().ModelT` as a file's content, signed.

    Buffers lie at multiples of 16 bytes, as the format wants and what the object interface does not see to.
    """
    flatbuffers = require("flatbuffers", "litert")

    class Aligned(schema().BufferT):
        def Pack(self, builder):
            data = None
            if self.data is not None and len(self.data):
                content = np.asarray(self.data, np.uint8).tobytes()
                builder.StartVector(1, len(content), 16)
                builder.head -= len(content)  # as in flatbuffers.Builder.CreateByteVector
                builder.Bytes[builder.head : builder.head + len(content)] = content
                data = builder.EndVector()
            schema().BufferStart(builder)
            if data is not None:
                schema().BufferAddData(builder, data)
            return schema().BufferEnd(builder)

    model.buffers = [Aligned(buffer.data) for buffer in model.buffers]
    entry = next(entry for entry in model.metadata if entry.name in (DIGEST, DIGEST.decode()))
    model.buffers[entry.buffer].data = np.frombuffer(_UNSIGNED, np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    content = bytes(builder.Output())
    return content.replace(_UNSIGNED, hashlib.sha256(content).hexdigest().encode(), 1)


def add_metadata(model, name: bytes, content: bytes) -> None:
    """Put an entry among a `ModelT`'s metadata, in the place of one of that name."""
    model.metadata = [entry for entry in model.metadata or [] if entry.name not in (name, name.decode())]
    model.buffers.append(schema().BufferT(np.frombuffer(content, np.uint8)))
    model.metadata.append(schema().MetadataT(name.decode(), len(model.buffers) - 1))


def signed(path: str | Path) -> tuple[bytes, dict[bytes, bytes]]:
    """A file's content, which has the checksum that was written with it, and its metadata entries by name.

    Raises:
        ModelError: no such file, a damaged one, or not one that `wakeword export` wrote.
        WakewordError: ai-edge-litert is not installed.
    """
    classes = schema()
    if not os.path.isfile(path):
        raise ModelError(f"{path}: no model file there: check the path")
    content = Path(path).read_bytes()
    try:
        if content[4:8] != b"TFL3":
            raise ValueError("no LiteRT model")
        model, found = classes.Model.GetRootAs(content), {}
        for index in range(model.MetadataLength()):
            entry = model.Metadata(index)
            found[entry.Name()] = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    except Exception as error:  # a broken flatbuffer breaks its accessors in many ways
        raise ModelError(f"{path}: not a LiteRT model, or a damaged one: export it again") from error
    if DIGEST not in found:
        raise ModelError(f"{path}: a LiteRT model that 'wakeword export' did not write")
    digest = found[DIGEST]
    if hashlib.sha256(content.replace(digest, _UNSIGNED, 1)).hexdigest().encode() != digest:
        raise ModelError(f"{path}: damaged: it has not the checksum that it was written with: copy it again")
    return content, found


def read_litert(path: str | Path) -> tuple[bytes, dict]:
    """A file's content, which has the checksum that was written with it, and its meta.

    Raises:
        ModelError: as `signed`, or its states are inside: a file of an ESPHome folder.
        WakewordError: ai-edge-litert is not installed.
    """
    content, found = signed(path)
    if META not in found:
        raise ModelError(f"{path}: made for ESPHome, whose component alone runs it: export it as litert")
    try:
        return content, checked(path, json.loads(found[META]), "wakeword")
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: a damaged export, or not one of 'wakeword export': export it again") from error


def load_litert(path: str | Path):
    """The step function, zero state (a list of arrays) and meta of an exported model, run by LiteRT on one thread.

    Raises:
        ModelError: no such file, or not one that `wakeword export` wrote.
        WakewordError: ai-edge-litert is not installed.
    """
    content, meta = read_litert(path)
    step, state, outputs = running_litert(content)
    if len(meta["phrases"]) != outputs:
        raise ModelError(f"{path}: not as many outputs as phrases: export it again")
    return step, state, meta


def opened(content: bytes):
    """LiteRT's interpreter of a file's content, ready, on one thread.

    Raises:
        WakewordError: ai-edge-litert is not installed.
    """
    module = require("ai_edge_litert.interpreter", "litert")
    # No delegate: it announces itself on stderr and takes memory, and the layers are small.
    kernels = module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = module.Interpreter(model_content=content, num_threads=1, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    return interpreter


def running_litert(content: bytes):
    """The step function and zero state of a file's content, and the number of its outputs.

    The interpreter holds a stream's values while it runs, so one call waits for another; the state is outside.
    """
    interpreter = opened(content)
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()

    def invoke(values: list[np.ndarray]) -> list[np.ndarray]:
        for each, value in zip(inputs, values, strict=True):
            interpreter.set_tensor(each["index"], value)
        interpreter.invoke()
        return [interpreter.get_tensor(each["index"]) for each in outputs]

    return stepping(invoke, inputs, outputs)


def stepping(invoke: Callable[[list[np.ndarray]], list[np.ndarray]], inputs: list[dict], outputs: list[dict]):
    """The step function, zero state and number of outputs of an interpreter that `invoke` feeds all inputs and asks for
    all outputs; `inputs` and `outputs` are its details of them."""
    lock = threading.Lock()
    features, posterior = inputs[0], outputs[0]

    def step(frames: np.ndarray, state: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        steps = frames.shape[1] // FRAMES_PER_STEP
        found = np.zeros((steps, posterior["shape"][-1]), np.float32)
        with lock:
            for frame, row in zip(frames.reshape(steps, *features["shape"]), found, strict=True):
                if features["dtype"] != np.float32:
                    frame = integer_features(frame, *_grid(features), features["dtype"])
                score, *state = invoke([frame, *state])
                row[:] = _posterior(score.ravel(), posterior)
        return found, state

    return step, [_zeros(each) for each in inputs[1:]], int(posterior["shape"][-1])


def _zeros(tensor: dict) -> np.ndarray:
    """What stands for zeros in a tensor, by an interpreter's details of it."""
    return np.full(tensor["shape"], _grid(tensor)[1] if tensor["dtype"] == np.int8 else 0, tensor["dtype"])


def _grid(tensor: dict) -> tuple[np.float32, int]:
    """What one unit of a tensor is worth, and the number that stands for 0, by an interpreter's details of it."""
    quantised = tensor["quantization_parameters"]
    return np.float32(quantised["scales"][0]), int(quantised["zero_points"][0])


def _posterior(found: np.ndarray, tensor: dict) -> np.ndarray:
    """The first output as posteriors float32: it has them in float32 or, in older files, int16; int8 are logits."""
    if found.dtype == np.float32:
        return found
    unit, zero = _grid(tensor)
    values = (found.astype(np.float32) - zero) * unit
    return values if found.dtype == np.int16 else 1 / (1 + np.exp(-values))


def rewrite_litert_meta(path: str | Path, changes: dict) -> None:
    """Change entries of an exported model's meta, in place; the graph stays what it is.

    Raises:
        ModelError: not an exported model.
    """
    content, meta = read_litert(path)
    model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(content))
    entry = next(entry for entry in model.metadata if entry.name in (META, META.decode()))
    model.buffers[entry.buffer].data = np.frombuffer(json.dumps({**meta, **changes}).encode(), np.uint8)
    with replacing(path) as temporary:
        temporary.write_bytes(packed(model))
        read_litert(temporary)
