"""The LiteRT graph as ESPHome's component micro_wake_word runs it: its inputs and outputs, states inside.

The component (esphome/components/micro_wake_word in ESPHome's repository) gives `features` int8 [1, 4, 40], of a fixed
scale, and takes a probability uint8 [1, 1]; its interpreter knows few operators, and these are all of those used here:
CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE, RESHAPE, FULLY_CONNECTED, CONCATENATION, STRIDED_SLICE, CONV_2D,
DEPTHWISE_CONV_2D, ADD, LOGISTIC, QUANTIZE. Between the two, values and states are int16, as in `litert-int8`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wakeword.export.layers import Layer, Linear, sizes_of
from wakeword.export.litert_graph import SIGMOID_UNIT, Graph, Value, add_network
from wakeword.export.quantise import int8_weights
from wakeword.features.log_mel import FRAMES_PER_STEP
from wakeword.model.litert import schema

FEATURE_UNIT = 666 * 10 / 256**2
"""The component makes int8 of the front end's integers by `(value * 256 + 333) / 666 - 128`; a feature is such an
integer times 10 / 256."""
FEATURE_ZERO = -128
PROBABILITY_UNIT = 1 / 255
"""The component's cutoff is a probability times 255, so here 255 is 1 too."""
MOST_VARIABLES = 20
"""For so many the component has room."""
_ONE = 128  # in int16, of a unit of 1 / 128


def component_features(frames: np.ndarray) -> np.ndarray:
    """Features float32 of the front end as the int8 that the component gives a model."""
    units = np.rint(frames / FEATURE_UNIT) + FEATURE_ZERO
    return np.clip(units, -128, 127).astype(np.int8)


def hearing_units(layers: list[Layer]) -> list[Layer]:
    """The same layers, but what goes in is `FEATURE_UNIT` times the component's int8: features less 13."""
    made = []
    for layer in layers:
        if layer.sources == (0,) and isinstance(layer, Linear):
            # Of the weights as they will be rounded: what goes in is far from zero on average.
            integers, unit = int8_weights(layer.weight, 0)
            away = FEATURE_ZERO * FEATURE_UNIT * (integers * unit[:, None].astype(np.float64)).sum(axis=1)
            layer = replace(layer, bias=layer.bias - away)
        made.append(layer)
    return made


def feature_unit() -> float:
    """What one int16 unit of what goes into the network is worth."""
    return FEATURE_UNIT / _ONE


def esphome_graph(layers: list[Layer], units: list[float], mels: int) -> Graph:
    """The graph of `hearing_units` layers with one output; `units` as for `litert_graph`, `feature_unit` the first."""
    classes, first = schema(), Graph()
    graph = Graph(buffers=first.buffers, codes=first.codes, first=first)
    count, width = FRAMES_PER_STEP * mels, sizes_of(layers)[-1]
    heard = graph.tensor("features", (1, FRAMES_PER_STEP, mels), np.int8, FEATURE_UNIT, zero=FEATURE_ZERO)
    graph.inputs.append(heard)
    graph.add("CALL_ONCE", [], None, classes.CallOnceOptionsT(1))
    # No operator of the component's makes int16 of int8 in TensorFlow Lite too (its QUANTIZE does not). A product does,
    # of 1 as int16 with the features as its weights; weights have no zero but 0, which `hearing_units` allows for.
    weights = graph.tensor("", (count, 1), np.int8, FEATURE_UNIT)
    graph.add("RESHAPE", [heard], Value(weights, 0, 0, None), classes.ReshapeOptionsT(np.array([count, 1], np.int32)))
    row = graph.tensor("", (1, count), np.int16, units[0])
    one = graph.constant(np.array([[_ONE]], np.int16), 1 / _ONE)
    graph.add("FULLY_CONNECTED", [one, weights, -1], Value(row, 0, 0, None), classes.FullyConnectedOptionsT())
    features = graph.value(FRAMES_PER_STEP, mels, units[0])
    graph.add("RESHAPE", [row], features, classes.ReshapeOptionsT(np.array([1, 1, FRAMES_PER_STEP, mels], np.int32)))
    logits = add_network(graph, layers, units, features)
    at = graph.add("LOGISTIC", [logits.index], graph.value(1, width, SIGMOID_UNIT)).index
    # int16 to uint8 takes two steps.
    for shape, dtype, zero in (((1, 1, 1, width), np.int8, -128), ((1, 1, 1, width), np.uint8, 0)):
        at, before = graph.tensor("", shape, dtype, PROBABILITY_UNIT, zero=zero), at
        graph.add("QUANTIZE", [before], Value(at, 0, 0, None))
    probability = graph.tensor("probability", (1, width), np.uint8, PROBABILITY_UNIT)
    graph.add("RESHAPE", [at], Value(probability, 0, 0, None), classes.ReshapeOptionsT(np.array([1, width], np.int32)))
    graph.outputs.append(probability)
    return graph
