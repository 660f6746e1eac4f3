"""The same model for elsewhere: one ONNX graph of a streaming step, its state explicit, its meta inside.

With `integer`, matrices are int8 with a scale for each output channel, and values stay float32: beside int8 matrices
ONNX Runtime knows values of 8 bits, which cost far more than the matrices do (docs/export.md), and none of 16.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wakeword.acoustic.encoder import SeparableBlock, Stack, WholeBlock
from wakeword.errors import ConfigError, require
from wakeword.export.layers import flat, folded, standardised
from wakeword.export.quantise import float_step, int8_weights, rounded_weights
from wakeword.export.tolerance import refuse_apart
from wakeword.files import check_new, replacing
from wakeword.head.layers import WakeModel
from wakeword.head.transfer import load_wakeword
from wakeword.model.runtimes import is_onnx, load_model, running

OPSET, IR_VERSION = 18, 8  # read by ONNX Runtime 1.14 and later
END = 2**63 - 1  # of a slice: to the last row


@dataclass
class Graph:
    """Nodes and constants of an ONNX graph as it is written down, each value under a name of its own."""

    nodes: list = field(default_factory=list)
    constants: list = field(default_factory=list)
    integer: bool = False

    def add(self, op: str, inputs: list[str], outputs: list[str] | None = None, **attributes) -> str:
        """One node more; the name of its first output."""
        outputs = outputs or [f"{op.lower()}_{len(self.nodes)}"]
        self.nodes.append(require("onnx.helper").make_node(op, inputs, outputs, **attributes))
        return outputs[0]

    def constant(self, value) -> str:
        """A constant: a numpy array, or a list of int64."""
        name = f"constant_{len(self.constants)}"
        value = np.asarray(value, None if isinstance(value, np.ndarray) else np.int64)
        self.constants.append(require("onnx.numpy_helper").from_array(np.ascontiguousarray(value), name))
        return name

    def reshape(self, x: str, shape: list[int], output: str | None = None) -> str:
        return self.add("Reshape", [x, self.constant(shape)], output and [output])

    def rows(self, x: str, start: int, end: int) -> str:
        """`x[start:end]`."""
        return self.add("Slice", [x, self.constant([start]), self.constant([end]), self.constant([0])])

    def linear(self, x: str, weight: Tensor, bias: Tensor) -> str:
        weight, bias = weight.detach().numpy(), self.constant(bias.detach().numpy())
        if not self.integer:
            return self.add("Gemm", [x, self.constant(weight.T), bias])
        integers, unit = int8_weights(weight, 0)
        floats = self.add("DequantizeLinear", [self.constant(integers.T), self.constant(unit)], axis=1)
        return self.add("Gemm", [x, floats, bias])

    def split(self, x: str, sizes: list[int], names: list[str], axis: int) -> None:
        self.add("Split", [x, self.constant(sizes)], names, axis=axis)

    def product(self, block: WholeBlock | SeparableBlock, shifted: list[str]) -> str:
        """A folded block before its ReLU, the residual connection in it: from its frames, the present one last."""
        present = shifted[-1]
        if isinstance(block, SeparableBlock):
            parts = [
                self.add("Mul", [x, self.constant(weight.detach().numpy())])
                for x, weight in zip(shifted, block.depthwise, strict=True)
            ]
            y = parts[0]
            for part in parts[1:]:
                y = self.add("Add", [y, part])
            return self.add("Add", [present, self.linear(y, block.linear.weight, block.linear.bias)])
        if self.integer:
            y = self.linear(self.add("Concat", shifted, axis=1), block.linear.weight, block.linear.bias)
            return self.add("Add", [present, y])
        # An identity added to the weights of the present frame; in int8 it would take their scale.
        weight = block.linear.weight.detach().clone()
        weight[:, -len(weight) :] += torch.eye(len(weight))
        return self.linear(self.add("Concat", shifted, axis=1), weight, block.linear.bias)

    def stack(self, stack: Stack, x: str, state: str, after: str) -> list[str]:
        """A stack's blocks: `x` [frames, channels], `state` [1, state_size] -> the outputs; `after` names the next."""
        pasts = [f"{state}_{index}" for index in range(len(stack.blocks))]
        sizes = [block.past_frames for block in stack.blocks]
        self.split(self.reshape(state, [-1, stack.channels]), sizes, pasts, axis=0)
        outputs, ends = [], []
        for block, past in zip(stack.blocks, pasts, strict=True):
            heard = self.add("Concat", [past, x], axis=0)
            ends.append(self.rows(heard, -block.past_frames, END))
            shifted = [
                self.rows(heard, start, start - block.past_frames)
                for start in range(0, block.past_frames, block.dilation)
            ]
            x = self.add("Relu", [self.product(block, [*shifted, x])])
            outputs.append(x)
        self.reshape(self.add("Concat", ends, axis=0), [1, -1], after)
        return outputs


def streaming_graph(model: WakeModel, integer: bool = False) -> Graph:
    """A step of a folded model as a graph; with `integer`, its matrices are int8.

    From `features` [1, 4 n, mels] and `state` [1, size] come `posterior` [1, n, outputs] and `next_state`. Inside,
    frames are rows of matrices: with the sizes of all but `n` known, no node computes a shape. The encoder ends at
    `taps` and, of a head with blocks, `next_encoder_state`: there the graph can be cut.
    """
    graph = Graph(integer=integer)
    encoder, head = model.encoder, model.head
    x = "features"
    for linear in (encoder.stem[0], encoder.widen[0]):
        x = graph.linear(graph.reshape(x, [-1, linear.in_features]), linear.weight, linear.bias)
        x = graph.add("Relu", [x])
    state, after = "state", "next_state"
    if head.stack.blocks:
        state, after = "encoder_state", "next_encoder_state"
        sizes = [encoder.stack.state_size, head.stack.state_size]
        graph.split("state", sizes, ["encoder_state", "head_state"], axis=1)
    outputs = graph.stack(encoder.stack, x, state, after)
    graph.add("Concat", [outputs[tap - 1] for tap in encoder.sizes.taps], ["taps"], axis=1)
    x = graph.linear("taps", *standardised(head.standardise, head.narrow[0] if head.narrow else head.output))
    if head.narrow:
        x = graph.add("Relu", [x])
        if head.stack.blocks:
            x = graph.stack(head.stack, x, "head_state", "next_head_state")[-1]
            graph.add("Concat", ["next_encoder_state", "next_head_state"], ["next_state"], axis=1)
        x = graph.linear(x, head.output.weight, head.output.bias)
    graph.reshape(graph.add("Sigmoid", [x]), [1, -1, head.sizes.outputs], "posterior")
    return graph


def model_proto(model: WakeModel, integer: bool = False):
    """The `onnx.ModelProto` of a trained model's streaming step; with `integer`, its matrices are int8."""
    graph = streaming_graph(folded(model), integer)
    size = model.initial_state().shape[1]
    features = {"features": [1, "frames", model.encoder.sizes.mels], "state": [1, size]}
    return proto_of(graph, features, {"posterior": [1, "steps", model.head.sizes.outputs], "next_state": [1, size]})


def proto_of(graph: Graph, inputs: dict[str, list], outputs: dict[str, list]):
    """The checked `onnx.ModelProto` of a graph; inputs and outputs, all float32, by name with their shapes."""
    onnx = require("onnx")
    ends = [
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in each.items()]
        for each in (inputs, outputs)
    ]
    body = onnx.helper.make_graph(graph.nodes, "wakeword", *ends, graph.constants)
    opsets = [onnx.helper.make_opsetid("", OPSET)]
    proto = onnx.helper.make_model(body, opset_imports=opsets, ir_version=IR_VERSION, producer_name="wakeword")
    onnx.checker.check_model(proto)
    return proto


def export_onnx(source: str | Path, output: str | Path, integer: bool = False) -> float:
    """Write a trained model as ONNX: inputs `features` [1, 4 n, mels] and `state` [1, size], outputs `posterior`
    [1, n, outputs] and `next_state`. The features stay beside the graph (`wakeword.features.log_mel`, numpy).

    Args:
        integer: matrices as int8.

    Returns:
        The largest difference between the posteriors of the graph and of the model on a random stream in blocks.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: `output` is not named `.onnx`.
        WakewordError: `output` is there already or cannot be written, or the export differs from the model (with
            `integer`, of rounded matrices) by more than 1e-4; nothing is written then.
    """
    output = Path(output)
    if not is_onnx(output):
        raise ConfigError(f"{output}: name it .onnx: by that a model file is known; or choose another --format")
    check_new(output)
    model, meta = load_wakeword(source)
    with torch.no_grad():
        proto = model_proto(model, integer)
    digest = hashlib.sha256(proto.graph.SerializeToString()).hexdigest()
    for key, value in (("wakeword", json.dumps(meta)), ("sha256", digest)):
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    with replacing(output) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        meant = float_step(rounded_weights(flat(model))) if integer else running(model, meta)[:2]
        difference = apart(meant, temporary, model.encoder.sizes.mels)
        refuse_apart(output, difference)
        return compare(model, temporary) if integer else difference


def compare(model: WakeModel, path: Path, blocks: int = 40) -> float:
    """The largest difference of posteriors, model against exported graph, over a stream in blocks of random size."""
    return apart(running(model, {})[:2], path, model.encoder.sizes.mels, blocks)


def apart(reference: tuple, path: Path, mels: int, blocks: int = 40) -> float:
    """As `compare`, of any `runtimes.Step` with its zero state."""
    (expected, expected_state), (step, state, _) = reference, load_model(path)
    rng, worst = np.random.default_rng(0), 0.0
    for _ in range(blocks):
        features = rng.standard_normal((1, 4 * int(rng.integers(1, 20)), mels)).astype(np.float32)
        posterior, state = step(features, state)
        wanted, expected_state = expected(features, expected_state)
        # Not max(), which passes over what is no number.
        worst = float(np.maximum(worst, np.abs(wanted - posterior).max()))
    return worst
