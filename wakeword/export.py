"""The same model for elsewhere: one ONNX graph of a streaming step, its state explicit, its meta inside."""

from __future__ import annotations

import copy
import json
import logging
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from wakeword.acoustic import fold_norm
from wakeword.errors import WakewordError, require
from wakeword.files import replacing
from wakeword.head import WakeModel
from wakeword.transfer import load_wakeword


class Streaming(nn.Module):
    """`(features, state) -> (posterior, next_state)`, with every normalisation folded into the layer before it."""

    def __init__(self, model: WakeModel):
        super().__init__()
        self.model = folded(model)

    def forward(self, features: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        logits, state = self.model.step(features, state)
        return torch.sigmoid(logits), state


def folded(model: WakeModel) -> WakeModel:
    """A copy in eval mode without batch normalisation: its scale and shift moved into the linear layers."""
    model = copy.deepcopy(model).eval()
    pairs = [model.encoder.stem, model.encoder.widen]
    if model.head.narrow is not None:
        pairs.append(model.head.narrow)
    for pair in pairs:
        pair[0], pair[1] = fold_norm(*pair), nn.Identity()
    for block in [*model.encoder.stack.blocks, *model.head.stack.blocks]:
        block.linear, block.norm = fold_norm(block.linear, block.norm), nn.Identity()
    return model


def export_onnx(source: str | Path, output: str | Path) -> float:
    """Write a trained model as ONNX: inputs `features` [1, 4 n, mels] and `state` [1, size], outputs `posterior`
    [1, n] and `next_state`. The features stay beside the graph (`wakeword.features`, numpy).

    Returns:
        The largest difference between the posteriors of the graph and of the model on a random stream in blocks.

    Raises:
        ModelError: `source` is not a trained model.
        WakewordError: the export differs from the model by more than 1e-4, or cannot be written.
    """
    onnx = require("onnx")
    require("onnxscript")
    model, meta = load_wakeword(source)
    streaming = Streaming(model).eval()
    example = torch.zeros(1, 8, model.encoder.sizes.mels), model.initial_state()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            streaming,
            example,
            input_names=["features", "state"],
            output_names=["posterior", "next_state"],
            dynamic_shapes={"features": {1: 4 * torch.export.Dim("steps", min=1, max=100_000)}, "state": None},
            opset_version=18,
            dynamo=True,
            verbose=False,
        )
    proto = program.model_proto
    entry = proto.metadata_props.add()
    entry.key, entry.value = "wakeword", json.dumps(meta)
    onnx.checker.check_model(proto)
    with replacing(output) as temporary:
        temporary.write_bytes(proto.SerializeToString())
        difference = compare(model, temporary)
        if not difference <= 1e-4:
            raise WakewordError(f"{output}: the exported model differs by {difference:.1e}: not written")
    return difference


def compare(model: WakeModel, path: Path, blocks: int = 40) -> float:
    """The largest difference of posteriors, model against exported graph, over a stream in blocks of random size."""
    from wakeword.detector import load_onnx

    step, state, _ = load_onnx(path)
    rng = np.random.default_rng(0)
    worst, model_state = 0.0, model.initial_state()
    for _ in range(blocks):
        features = rng.standard_normal((1, 4 * int(rng.integers(1, 20)), model.encoder.sizes.mels)).astype(np.float32)
        posterior, state = step(features, state)
        with torch.no_grad():
            logits, model_state = model.step(torch.from_numpy(features), model_state)
        worst = max(worst, float(np.abs(torch.sigmoid(logits)[0].numpy() - posterior).max()))
    return worst


def set_onnx_meta(path: str | Path, changes: dict) -> None:
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
