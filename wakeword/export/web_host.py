"""An exported web folder's graph as a detector of this machine: what a page computes, for parity."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from wakeword.detector.detector import Detector
from wakeword.errors import ModelError
from wakeword.model.checkpoint import verify
from wakeword.model.folders import read_folder
from wakeword.model.runtimes import open_onnx


def web_host(folder: Path) -> Detector:
    """A detector that feeds samples to the folder's graph, which has the features inside; ONNX Runtime runs it here.

    Raises:
        ModelError: not what `web_writer.export_web` wrote, or damaged.
    """
    told, graph = read_folder(folder), folder / "model.onnx"
    session, states = open_onnx(graph), told.get("states")
    verify(graph, graph.read_bytes(), told.get("sha256"))
    if states != {each.name: each.shape for each in session.get_inputs() if each.name != "samples"}:
        raise ModelError(f"{folder}: not a folder that 'wakeword export --format web' wrote, or a damaged one")

    def step(frames: np.ndarray, state: list[np.ndarray]) -> tuple[np.ndarray, list[np.ndarray]]:
        given = {"samples": frames.reshape(1, -1), **dict(zip(states, state, strict=True))}
        posterior, *state = session.run(["posterior", *(f"next_{name}" for name in states)], given)
        return posterior[0], state

    detector = Detector(step, [np.zeros(shape, np.float32) for shape in states.values()], told["meta"])
    # In the place of features: the samples themselves, a frame's new ones in each row.
    detector.take_features(partial(_hops, hop=detector.feature_settings.hop), np.zeros(0, np.float32))
    return detector


def _hops(samples: np.ndarray, waiting: np.ndarray, hop: int) -> tuple[np.ndarray, np.ndarray]:
    heard = np.concatenate([waiting, samples.astype(np.float32, copy=False)])
    whole = len(heard) // hop * hop
    return heard[:whole].reshape(-1, hop), heard[whole:]
