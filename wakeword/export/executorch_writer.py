"""A trained model as a `.pte` file for ExecuTorch, its XNNPACK delegate doing all: `--format executorch`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wakeword.errors import ConfigError, require
from wakeword.export.layers import Depthwise, Frames, Layer, flat, initial_pasts
from wakeword.export.onnx_graph import compare
from wakeword.export.tolerance import refuse_apart
from wakeword.features.log_mel import FRAMES_PER_STEP
from wakeword.files import check_new, replacing
from wakeword.head.transfer import load_wakeword
from wakeword.model.pte import packed
from wakeword.model.runtimes import is_pte

EXTRA = "executorch"


class FrameStep(nn.Module):
    """One encoder frame through a flat list of layers, in operators that the XNNPACK delegate takes: no reshaping, for
    which it would hand over to other kernels and back.
    """

    def __init__(self, layers: list[Layer]):
        super().__init__()
        self.layers = layers
        for index, layer in enumerate(layers):
            for name in ("weight", "bias"):
                if hasattr(layer, name):
                    value = torch.from_numpy(np.ascontiguousarray(getattr(layer, name)))
                    self.register_buffer(f"{name}_{index}", value)

    def forward(self, features: Tensor, *pasts: Tensor) -> tuple[Tensor, ...]:
        """`features` [1, 4 * mels], of each layer that looks back its past [frames, channels] -> the posterior
        [1, outputs], and the next pasts."""
        values, after, waiting = [features], [], list(pasts)
        for index, layer in enumerate(self.layers):
            heard = values[layer.sources[0]]
            if len(layer.sources) > 1:
                heard = torch.cat([values[source] for source in layer.sources], 1)
            rows = [heard]
            if layer.past_frames:
                past = waiting.pop(0)
                after.append(torch.cat([past, heard])[1:])
                rows = [past[start : start + 1] for start in range(0, layer.past_frames, layer.dilation)] + rows
            values.append(self.compute(index, layer, rows, values))
        return (torch.sigmoid(values[-1]), *after)

    def compute(self, index: int, layer: Layer, rows: list[Tensor], values: list[Tensor]) -> Tensor:
        """A layer's value: as `layers.compute_float`, the frames that it hears each [1, channels]."""
        if isinstance(layer, Frames):
            return torch.cat(rows, 1)
        weight = getattr(self, f"weight_{index}")
        if isinstance(layer, Depthwise):
            parts = [row * weight[number : number + 1] for number, row in enumerate(rows)]
            return sum(parts[1:], parts[0])
        bias, columns = getattr(self, f"bias_{index}"), weight.shape[1]
        if layer.repeat > 1:  # a slice of all columns would be no operator of the delegate
            parts = [rows[0][:, start : start + columns] for start in range(0, layer.repeat * columns, columns)]
            y = torch.cat([nn.functional.linear(part, weight, bias) for part in parts], 1)
        else:
            y = nn.functional.linear(rows[0], weight, bias)
        if layer.add is not None:
            y = y + values[layer.add]
        return torch.relu(y) if layer.relu else y


def lowered(layers: list[Layer], mels: int) -> tuple[bytes, list[dict]]:
    """The program of a flat list of layers, and the names and shapes of its inputs.

    Raises:
        WakewordError: executorch is not installed.
    """
    exir = require("executorch.exir", EXTRA)
    partition = require("executorch.backends.xnnpack.partition.xnnpack_partitioner", EXTRA)
    # The package brings its own compiler of flatbuffers, which it finds by itself in an activated environment alone.
    tools = require("executorch.data.bin", EXTRA).__file__
    os.environ.setdefault("FLATC_EXECUTABLE", str(Path(tools).with_name("flatc")))
    pasts = [torch.from_numpy(past) for past in initial_pasts(layers) if len(past)]
    example = (torch.zeros(1, FRAMES_PER_STEP * mels), *pasts)
    names = ["features", *(f"state_{index}" for index in range(len(pasts)))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.export.export(FrameStep(layers).eval(), example)
        edge = exir.to_edge_transform_and_lower(traced, partitioner=[partition.XnnpackPartitioner()])
        program = bytes(edge.to_executorch().buffer)
    inputs = [{"name": name, "shape": list(each.shape)} for name, each in zip(names, example, strict=True)]
    return program, inputs


def export_executorch(source: str | Path, output: str | Path) -> float:
    """Write a trained model as an ExecuTorch program of one encoder frame with explicit states: see docs/export.md.

    Returns:
        The largest difference between the posteriors of the program and of the model on a random stream in blocks.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: an output not named `.pte`.
        WakewordError: executorch is not installed, `output` is there already or cannot be written, or the program
            differs from the model by more than 1e-4; nothing is written then.
    """
    output = Path(output)
    if not is_pte(output):
        raise ConfigError(f"{output}: name it .pte: by that a model file is known")
    check_new(output)
    require("executorch.exir", EXTRA)  # before anything else is loaded
    model, meta = load_wakeword(source)
    program, inputs = lowered(flat(model), model.encoder.sizes.mels)
    with replacing(output) as temporary:
        temporary.write_bytes(packed(program, {"wakeword": meta, "inputs": inputs}))
        difference = compare(model, temporary)
        refuse_apart(output, difference)
    return difference
