"""The flat list of layers (`layers`) as a LiteRT graph of one encoder frame, in float32 or in integers.

Written here, operator by operator, and not by a converter (litert-torch 0.10 with ai-edge-quantizer), which chooses
operators and scales itself. These few operators need nothing but the schema, and all of them are among TensorFlow Lite
Micro's: CONCATENATION, STRIDED_SLICE, CONV_2D, DEPTHWISE_CONV_2D, ADD, LOGISTIC, QUANTIZE. Scales: `litert_units`.

Inputs are `features` [1, 1, 4, mels] and, of each layer that looks back, `state_i` [1, 1, frames, channels]; outputs
`posterior` or `logits` [1, 1, 1, outputs] and `next_state_i`, in the same order. Frames lie along the third axis, so
that a layer's frames, `dilation` apart, are one dilated convolution, with one result. Or the states are variables
inside the graph (`Graph.first`): `esphome_graph` makes such a one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from wakeword.export.layers import Depthwise, Frames, Layer, Linear, sizes_of
from wakeword.export.litert_units import LOGIT, LOGITS, Int8, Unit, dtype_of, exact, most, within, worth_of
from wakeword.export.quantise import int8_weights
from wakeword.features.log_mel import FRAMES_PER_STEP
from wakeword.model.litert import schema

SIGMOID_UNIT = 1 / 32768  # LiteRT's sigmoid of 16 bits has no other
VALID, RELU = 1, 1  # of the schema's enumerations Padding and ActivationFunctionType
_VERSIONS = {"CONCATENATION": 3, "CONV_2D": 4, "DEPTHWISE_CONV_2D": 5, "ADD": 3, "LOGISTIC": 3, "FULLY_CONNECTED": 7}
"""Of the operators, those that brought their 16-bit kernels; 1 of all others."""
_ALL_FRAMES, _ALL_BUT_FRAMES = 0b1111, 0b1011  # the axes whose beginning or end a slice leaves as it is


@dataclass(frozen=True)
class Value:
    """A tensor [1, 1, frames, channels]: its number, its unit, its frames' distance."""

    index: int
    frames: int
    channels: int
    unit: Unit
    dilation: int = 1


@dataclass
class Graph:
    """Tensors, operators and buffers as they are written down.

    With `first`, states are variables inside the graph and not among its inputs and outputs: that is the subgraph that
    sets them to zeros, which the graph must call once; the two share `buffers` and `codes`.
    """

    tensors: list = field(default_factory=list)
    operators: list = field(default_factory=list)
    buffers: list = field(default_factory=list)
    codes: list[str] = field(default_factory=list)
    shared: dict[tuple, int] = field(default_factory=dict)
    inputs: list[int] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
    states: int = 0
    first: Graph | None = None

    def tensor(
        self, name: str, shape, dtype, unit=None, axis: int = 0, data: np.ndarray | None = None, zero: int = 0
    ) -> int:
        """One tensor more, with the worth of its units (of each along `axis`); `data` makes it a constant.

        `zero` is the number that stands for 0, where that is another.
        """
        classes = schema()
        kinds, buffer = classes.TensorType, 0
        kind = {"f4": kinds.FLOAT32, "i1": kinds.INT8, "i2": kinds.INT16, "i4": kinds.INT32, "i8": kinds.INT64}
        kind["u1"] = kinds.UINT8
        if data is not None:
            content = np.ascontiguousarray(data, np.dtype(dtype)).view(np.uint8).ravel()
            self.buffers.append(classes.BufferT(content))
            buffer = len(self.buffers)  # 0 is the empty one
        made = classes.TensorT(
            np.array(shape, np.int32), kind[np.dtype(dtype).str[1:]], buffer, name or str(len(self.tensors))
        )
        if unit is not None:
            units = np.atleast_1d(np.asarray(unit, np.float32))
            zeros = np.full(len(units), zero, np.int64)
            made.quantization = classes.QuantizationParametersT(scale=units, zeroPoint=zeros, quantizedDimension=axis)
        self.tensors.append(made)
        return len(self.tensors) - 1

    def value(self, frames: int, channels: int, unit: Unit, name: str = "", dilation: int = 1) -> Value:
        worth, zero = worth_of(unit)
        index = self.tensor(name, (1, 1, frames, channels), dtype_of(unit), worth, zero=zero)
        return Value(index, frames, channels, unit, dilation)

    def constant(self, data: np.ndarray, unit: float | None = None) -> int:
        """A constant tensor, the same for all that ask for it."""
        key = (data.dtype.str, data.shape, data.tobytes(), unit)
        if key not in self.shared:
            self.shared[key] = self.tensor("", data.shape, data.dtype, unit, data=data)
        return self.shared[key]

    def add(self, operator: str, inputs: list[int], output: Value | None = None, options=None) -> Value | None:
        """One operator more; its output."""
        classes = schema()
        if operator not in self.codes:
            self.codes.append(operator)
        kind = 0 if options is None else getattr(classes.BuiltinOptions, type(options).__name__.removesuffix("T"))
        inputs, outputs = np.array(inputs, np.int32), np.array([output.index] if output else [], np.int32)
        self.operators.append(
            classes.OperatorT(
                self.codes.index(operator), inputs, outputs, builtinOptionsType=kind, builtinOptions=options
            )
        )
        return output

    def beside(self, values: list[Value], axis: int) -> Value:
        """Values one after another along `axis`: 2 frames, 3 channels."""
        frames = sum(each.frames for each in values) if axis == 2 else values[0].frames
        channels = sum(each.channels for each in values) if axis == 3 else values[0].channels
        output = self.value(frames, channels, values[0].unit)
        return self.add("CONCATENATION", [each.index for each in values], output, schema().ConcatenationOptionsT(axis))

    def heard(self, x: Value, past: int, dilation: int) -> Value:
        """`past` frames and the present one; the state that they come from and the next one are made beside."""
        name, self.states = f"state_{self.states}", self.states + 1
        before, after = (self.value(past, x.channels, x.unit, each) for each in (name, f"next_{name}"))
        variable = None if self.first is None else self._variable(name, before, dilation)
        both = self.beside([before, x], 2)
        begin, end = (self.constant(np.array(each, np.int32)) for each in ((0, 0, 1, 0), (1, 1, 1, 1)))
        options = schema().StridedSliceOptionsT(_ALL_BUT_FRAMES, _ALL_FRAMES)
        self.add("STRIDED_SLICE", [both.index, begin, end, end], after, options)  # the end counts for nothing
        if variable is None:
            self.inputs.append(before.index)
            self.outputs.append(after.index)
        else:
            self.add("ASSIGN_VARIABLE", [variable, after.index])
        return Value(both.index, both.frames, both.channels, both.unit, dilation)

    def _variable(self, name: str, value: Value, parts: int) -> int:
        """The handle of a variable that is read into `value` here, and that `first` makes of `parts` times zeros."""
        handle, first = self._handle(name), self.first
        self.add("READ_VARIABLE", [handle], value)
        shape = (1, 1, value.frames // parts, value.channels)
        zeros = first.constant(np.zeros(shape, dtype_of(value.unit)), value.unit)
        zeros = first.beside([Value(zeros, shape[2], value.channels, value.unit)] * parts, 2)
        first.add("ASSIGN_VARIABLE", [first._handle(name), zeros.index])
        return handle

    def _handle(self, name: str) -> int:
        classes = schema()
        self.tensors.append(classes.TensorT(np.zeros(0, np.int32), classes.TensorType.RESOURCE, 0, f"{name}_handle"))
        handle = Value(len(self.tensors) - 1, 0, 0, None)
        self.add("VAR_HANDLE", [], handle, classes.VarHandleOptionsT("", name))
        return handle.index

    def weights(self, weight: np.ndarray, bias: np.ndarray | None, before: Unit, axis: int) -> list[int]:
        """Constants of a convolution of values `before`: float32, or int8 with a scale for each channel (`axis`) and
        integers for the bias, zeros where there is none: the kernels do not do without (LiteRT 2.3 crashes)."""
        if before is None:
            found = [self.tensor("", weight.shape, np.float32, data=weight)]
            if bias is None:
                return [*found, self.constant(np.zeros(weight.shape[axis], np.float32))]
            return [*found, self.tensor("", bias.shape, np.float32, data=bias)]
        worth, kind = worth_of(before)[0], np.int32 if isinstance(before, Int8) else np.int64
        sums = None if bias is None else bias.astype(np.float64) / worth
        # Of a channel of next to no weight the bias must fit all the same.
        integers, unit = int8_weights(weight, axis, 1e-9 if sums is None or kind is np.int64 else np.abs(sums) / 2**29)
        found = [self.tensor("", weight.shape, np.int8, unit, axis, integers)]
        if sums is None:
            return [*found, self.constant(np.zeros(weight.shape[axis], kind))]
        return [*found, self.tensor("", bias.shape, kind, data=np.rint(sums / unit.astype(np.float64)))]

    def in_units(self, x: Value, unit: Unit) -> Value:
        """The same value in other units."""
        if x.unit == unit:
            return x
        return self.add("QUANTIZE", [x.index], self.value(x.frames, x.channels, unit))


def litert_graph(layers: list[Layer], units: list[Unit] | None, mels: int, taps: Int8 | None = None) -> Graph:
    """The graph of a flat list of layers.

    Args:
        units: of each value: `litert_units.mixed_units`, or all int16 as by `quantise.scales_of`; None: float32.
            With int8 features the output are int8 logits, otherwise posteriors of the type of all values.
        taps: see `add_network`.
    """
    graph = Graph()
    units = units or [None] * len(sizes_of(layers))
    features = graph.value(FRAMES_PER_STEP, mels, units[0], "features")
    graph.inputs.append(features.index)
    found = add_network(graph, layers, units, features, taps)
    if isinstance(units[0], Int8):
        found = graph.in_units(found, LOGIT)
    else:
        posterior = graph.value(1, layers[-1].size, None if units[0] is None else SIGMOID_UNIT)
        found = graph.add("LOGISTIC", [found.index], posterior)
    graph.tensors[found.index].name = LOGITS if found.unit == LOGIT else "posterior"
    graph.outputs.insert(0, found.index)
    return graph


def add_network(graph: Graph, layers: list[Layer], units: list, features: Value, taps: Int8 | None = None) -> Value:
    """The operators from the features [1, 1, 4, mels] to the logits [1, 1, 1, outputs].

    A layer whose value has int8 units is computed by an int8 kernel; where int16 values go into one, `taps` are the
    units that they get.
    """
    classes, values = schema(), [features]
    for layer, unit in zip(layers, units[1:], strict=True):
        x = values[layer.sources[0]]
        if len(layer.sources) > 1:
            x = graph.beside([values[source] for source in layer.sources], 3)
        if isinstance(unit, Int8) and not isinstance(x.unit, Int8):
            x = graph.in_units(x, taps)
        elif isinstance(x.unit, Int8) and not isinstance(unit, Int8):
            x = graph.in_units(x, exact(x.unit))
        if layer.past_frames:
            x = graph.heard(x, layer.past_frames, layer.dilation)
        if isinstance(layer, Linear):
            x = _linear(graph, layer, x, unit, None if layer.add is None else values[layer.add])
        elif isinstance(layer, Depthwise):
            options = classes.DepthwiseConv2DOptionsT(VALID, 1, 1, 1, dilationWFactor=layer.dilation)
            inputs = [x.index, *graph.weights(layer.weight[None, None], None, x.unit, 3)]
            x = graph.add("DEPTHWISE_CONV_2D", inputs, graph.value(1, layer.size, unit), options)
        elif not isinstance(layer, Frames):
            raise TypeError(f"no LiteRT operator for a layer of type {type(layer).__name__}")
        values.append(x)
    return values[-1]


def _linear(graph: Graph, layer: Linear, x: Value, unit: Unit, add: Value | None) -> Value:
    """A convolution whose kernel is as wide as the layer's columns, and the residual connection."""
    classes = schema()
    kernel = layer.weight.shape[1] // x.channels
    stride = kernel if layer.repeat > 1 else 1
    options = classes.Conv2DOptionsT(VALID, stride, 1, dilationWFactor=x.dilation)
    relu, term = RELU if layer.relu else 0, unit
    if add is None:
        options.fusedActivationFunction = relu
    elif isinstance(unit, Int8):
        # More than the sum it cannot be, and what is below minus the other term gives zero.
        term = within(max(most(unit), most(add.unit)), True)
    weight = layer.weight.reshape(len(layer.weight), 1, kernel, x.channels)
    inputs = [x.index, *graph.weights(weight, layer.bias, x.unit, 0)]
    y = graph.add("CONV_2D", inputs, graph.value(layer.repeat, len(layer.weight), term), options)
    if add is None:
        return y
    options = classes.AddOptionsT(relu, potScaleInt16=False)
    return graph.add("ADD", [y.index, add.index], graph.value(y.frames, y.channels, unit), options)


def litert_model(graph: Graph):
    """The `schema().ModelT` of a graph, and of the one that sets its variables."""
    classes = schema()
    codes = []
    for name in graph.codes:
        code = getattr(classes.BuiltinOperator, name)
        old = min(code, classes.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        codes.append(classes.OperatorCodeT(old, None, _VERSIONS.get(name, 1), code))
    bodies = []
    for each in (graph, graph.first) if graph.first else (graph,):
        inputs, outputs = np.array(each.inputs, np.int32), np.array(each.outputs, np.int32)
        bodies.append(classes.SubGraphT(each.tensors, inputs, outputs, each.operators, "wakeword"))
    return classes.ModelT(3, codes, bodies, "wakeword", [classes.BufferT(), *graph.buffers])
