"""A model file in two: the encoder, which several models may have in common, and the new layers above it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from wakeword.features.log_mel import FeatureSettings
from wakeword.model.checkpoint import GRAPH, METADATA_PROPS
from wakeword.model.protobuf import field, fields
from wakeword.model.runtimes import Step, is_litert, is_onnx, is_pte, load_onnx, on_one_thread, open_onnx

# Tags of onnx.proto3's messages: 8 x field number + 2.
NODE, INITIALIZER, GRAPH_INPUT, GRAPH_OUTPUT = 0x0A, 0x2A, 0x5A, 0x62
NODE_INPUT, NODE_OUTPUT, NODE_NAME, TENSOR_NAME, VALUE_NAME = 0x0A, 0x12, 0x1A, 0x42, 0x0A
# A ValueInfoProto's type (2): a tensor (1) of float (1, a varint).
FLOAT_TYPE = field(0x12, field(0x0A, bytes([0x08, 0x01])))


@dataclass(frozen=True)
class Halves:
    """A model as two steps of a stream, one on the other.

    Attributes:
        key: equal for two models exactly if their encoders have the same structure, weights and feature settings.
        open: gives (`encode`, its zero state, `head`, its zero state); `encode` is a `runtimes.Step` from features to
            the taps `[..., frames / 4, channels * taps]`, and `head` one from these to posteriors.
    """

    key: str
    open: Callable[[], tuple[Step, np.ndarray, Step, np.ndarray]]


def halves_of(path: str | Path) -> Halves | None:
    """The halves of a trained (`.wakeword`) or exported (`.onnx`) model that `Detector.load` has accepted.

    Opening runs nothing yet: only models that share their encoder need to be opened. None for an export that has not
    the places where this version cuts, as all for LiteRT and ExecuTorch.
    """
    if is_litert(path) or is_pte(path):
        return None
    return _onnx_halves(path) if is_onnx(path) else _torch_halves(path)


def _torch_halves(path: str | Path) -> Halves:
    import torch

    from wakeword.head.transfer import load_wakeword

    model, meta = load_wakeword(path)
    digest = hashlib.sha256(_settings(meta))
    for name, tensor in sorted(model.encoder.state_dict().items()):
        if not name.endswith("num_batches_tracked"):  # it counts training's batches and changes nothing
            digest.update(name.encode() + b"\0" + tensor.numpy().tobytes())

    def encode(frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with on_one_thread(), torch.inference_mode():
            taps, after = model.encoder.step(torch.from_numpy(frames), torch.from_numpy(state))
            return torch.cat(taps, dim=-1).numpy(), after.numpy()

    def head(taps: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with on_one_thread(), torch.inference_mode():
            logits, after = model.head(torch.from_numpy(taps), torch.from_numpy(state))
            return torch.sigmoid(logits)[0].numpy(), after.numpy()

    head_state = np.zeros((1, model.head.stack.state_size), np.float32)
    encoder_state = model.encoder.initial_state().numpy()
    return Halves("torch " + digest.hexdigest(), lambda: (encode, encoder_state, head, head_state))


def _settings(meta: dict) -> bytes:
    # An older file does not tell of settings that came later, and means their defaults.
    features = asdict(FeatureSettings(**meta["features"]))
    return json.dumps([features, meta["sizes"]["encoder"]], sort_keys=True).encode()


def _onnx_halves(path: str | Path) -> Halves | None:
    rest, graph = [], []
    for tag, whole, value in fields(Path(path).read_bytes()):
        if tag == GRAPH:
            graph = list(fields(value))
        elif tag != METADATA_PROPS:
            rest.append(whole)
    nodes = [(whole, _Node.read(value)) for tag, whole, value in graph if tag == NODE]
    constants = {_name(value, TENSOR_NAME): (whole, value) for tag, whole, value in graph if tag == INITIALIZER}
    made = {name for _, node in nodes for name in node.outputs}
    meta = load_onnx(path)[2]
    told = meta["sizes"].get("encoder") if isinstance(meta.get("sizes"), dict) else None
    if "taps" not in made or not isinstance(told, dict) or not {"kernel", "dilations", "channels"} <= told.keys():
        return None
    # A head with blocks has a state of its own; otherwise the whole state is the encoder's (`export.streaming_graph`).
    own = "next_encoder_state" in made
    states = ("encoder_state", "next_encoder_state") if own else ("state", "next_state")
    lower = _needed(nodes, ("taps", states[1]), ("features", states[0]))
    key = hashlib.sha256(_settings(meta) + _fingerprint([node for _, node in lower], constants)).hexdigest()

    def session(inputs: Iterable[str], outputs: Iterable[str], part: list) -> object:
        wanted = {name for _, node in part for name in node.inputs}
        body = [whole for whole, _ in part]
        body += [whole for name, (whole, _) in constants.items() if name in wanted]
        body.append(field(0x12, b"half"))
        for tag, names in ((GRAPH_INPUT, inputs), (GRAPH_OUTPUT, outputs)):
            body += [field(tag, field(VALUE_NAME, name.encode()) + FLOAT_TYPE) for name in names]
        return open_onnx(path, b"".join(rest) + field(GRAPH, b"".join(body)))

    def open_halves() -> tuple[Step, np.ndarray, Step, np.ndarray]:
        encoder = session(("features", states[0]), ("taps", states[1]), lower)
        ends = ("posterior", "next_head_state") if own else ("posterior",)
        starts = ("taps", "head_state") if own else ("taps",)
        upper = session(starts, ends, _needed(nodes, ends, starts))

        def encode(frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            return tuple(encoder.run(["taps", states[1]], {"features": frames, states[0]: state}))

        def head(taps: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            found = upper.run(list(ends), {"taps": taps, "head_state": state} if own else {"taps": taps})
            return found[0][0], found[1] if own else state

        sizes = meta["sizes"]["encoder"]
        size = (sizes["kernel"] - 1) * sum(sizes["dilations"]) * sizes["channels"]
        whole = load_onnx(path)[1].shape[1]
        return encode, np.zeros((1, size), np.float32), head, np.zeros((1, whole - size), np.float32)

    return Halves("onnx " + key, open_halves)


@dataclass(frozen=True)
class _Node:
    """A node of an ONNX graph: what it takes and gives, and what else is said of it (operator, attributes)."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    said: bytes

    @classmethod
    def read(cls, message: bytes) -> _Node:
        parts = list(fields(message))
        inputs, outputs = (
            tuple(value.decode() for tag, _, value in parts if tag == wanted) for wanted in (NODE_INPUT, NODE_OUTPUT)
        )
        said = b"".join(whole for tag, whole, _ in parts if tag not in (NODE_INPUT, NODE_OUTPUT, NODE_NAME))
        return cls(inputs, outputs, said)


def _name(message: bytes, wanted: int) -> str:
    return next(value.decode() for tag, _, value in fields(message) if tag == wanted)


def _needed(nodes: list[tuple[bytes, _Node]], ends: Iterable[str], starts: Iterable[str] = ()) -> list:
    """The nodes, in their order, that make `ends`, when the values `starts` are given."""
    wanted, given, kept = set(ends), set(starts), []
    for whole, node in reversed(nodes):
        if wanted.intersection(node.outputs) and not given.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append((whole, node))
    return kept[::-1]


def _fingerprint(nodes: list[_Node], constants: dict[str, tuple[bytes, bytes]]) -> bytes:
    """A digest of a graph and its weights, whatever its values are called: names hold what lies elsewhere in a file."""
    numbers: dict[str, int] = {}
    digest = hashlib.sha256()
    for node in nodes:
        digest.update(field(0x0A, node.said))
        for name in (*node.inputs, "", *node.outputs):
            if name in constants:
                tensor = [whole for tag, whole, _ in fields(constants[name][1]) if tag != TENSOR_NAME]
                digest.update(field(0x12, b"".join(tensor)))
            else:
                digest.update(field(0x1A, str(numbers.setdefault(name, len(numbers))).encode()))
    return digest.digest()
