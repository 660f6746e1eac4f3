"""A model file as a function of a stream's next frames: trained models by torch, exported ones by ONNX Runtime here,
by LiteRT in `litert`, by ExecuTorch in `pte`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wakeword.errors import ConfigError, ModelError, require
from wakeword.files import check_new
from wakeword.model.checkpoint import checked, read_meta, rewrite_meta, rewrite_onnx_meta, verify_onnx
from wakeword.model.folders import is_folder, read_folder, rewrite_folder_meta

Step = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""features float32 [1, frames, mels], state [1, size] (of some a list of arrays) -> posteriors float32
[frames / 4, phrases], the next state"""


def is_onnx(path: str | Path) -> bool:
    """Whether a model file is an exported graph for ONNX Runtime, by its name."""
    return str(path).lower().endswith(".onnx")


def is_litert(path: str | Path) -> bool:
    """Whether a model file is one exported for LiteRT, by its name."""
    return str(path).lower().endswith(".tflite")


def is_pte(path: str | Path) -> bool:
    """Whether a model file is one exported for ExecuTorch, by its name."""
    return str(path).lower().endswith(".pte")


def is_exported(path: str | Path) -> bool:
    """Whether a model file is an exported one, by its name."""
    return is_onnx(path) or is_litert(path) or is_pte(path)


def check_new_folder(path: str | Path) -> None:
    """Refuse a path for an exported folder where something is, or whose name is that of a model file.

    Raises:
        ConfigError: all that takes models would look for a file there. WakewordError: something is there.
    """
    if is_exported(path):
        raise ConfigError(f"{path}: this format is a folder, by its name it would be a file: leave out the suffix")
    check_new(Path(path))


def load_model(path: str | Path) -> tuple[Step, np.ndarray, dict]:
    """The step function, zero state and meta of a model file, run by what its name says.

    Raises:
        ModelError: as `load_onnx`, `litert.load_litert`, `pte.load_pte` or `load_torch`.
        WakewordError: a package is not installed.
    """
    if is_litert(path):
        from wakeword.model.litert import load_litert

        return load_litert(path)
    if is_pte(path):
        from wakeword.model.pte import load_pte

        return load_pte(path)
    return load_onnx(path) if is_onnx(path) else load_torch(path)


def exported_meta(path: str | Path) -> dict:
    """The meta of an exported model, a file or a folder, its checksum verified. Only ONNX graphs are opened for it.

    Raises:
        ModelError: it is none, or a damaged one. WakewordError: a `.tflite` file, and ai-edge-litert, which brings the
            schema of its metadata, is not installed.
    """
    if is_folder(path):
        return read_folder(path)["meta"]
    if not is_exported(path):
        raise ModelError(f"{path}: not an exported model: give a file or folder that 'wakeword export' wrote")
    if is_litert(path):
        from wakeword.model.litert import read_litert

        return read_litert(path)[1]
    if is_pte(path):
        from wakeword.model.pte import read_pte

        return read_pte(path)[1]["wakeword"]
    return load_onnx(path)[2]


def rewrite_model_meta(path: str | Path, changes: dict) -> None:
    """Change entries of the meta of a model file, or of an exported folder, in place, whatever its kind; the weights
    stay what they are.

    Raises:
        ModelError: neither. WakewordError: it cannot be written, or a package is not installed.
    """
    if is_folder(path):
        return rewrite_folder_meta(path, changes)
    if is_litert(path):
        from wakeword.model.litert import rewrite_litert_meta

        return rewrite_litert_meta(path, changes)
    if is_pte(path):
        from wakeword.model.pte import rewrite_pte_meta

        return rewrite_pte_meta(path, changes)
    return rewrite_onnx_meta(path, changes) if is_onnx(path) else rewrite_meta(path, changes)


def open_onnx(path: str | Path, content: bytes | None = None):
    """The `onnxruntime.InferenceSession` of a graph, on one thread; `content` in place of what the file holds.

    Raises:
        ModelError: no such file, or not a whole ONNX model.
    """
    onnxruntime = require("onnxruntime", "")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # The arena keeps the memory of the largest block ever seen; a listener wants it small.
    options.enable_cpu_mem_arena = False
    # Int8 matrices are multiplied by float32 values; newer versions would round the values to 8 bits too.
    options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if not os.path.isfile(path):
        raise ModelError(f"{path}: no model file there: check the path")
    try:
        return onnxruntime.InferenceSession(content or str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has its own exception types for each way a file can be broken.
        reason = str(error).splitlines()[0][:120]
        raise ModelError(f"{path}: not an ONNX model, or a truncated one ({reason}): export it again") from error


def load_onnx(path: str | Path) -> tuple[Step, np.ndarray, dict]:
    """The step function, zero state and meta of an exported model, run by ONNX Runtime on one thread.

    Raises:
        ModelError: no such file, or not one that `wakeword export` wrote.
    """
    session = open_onnx(path)
    text = session.get_modelmeta().custom_metadata_map.get("wakeword")
    if text is None:
        raise ModelError(f"{path}: an ONNX model that 'wakeword export' did not write")
    try:
        meta = checked(path, json.loads(text), "wakeword")
        verify_onnx(path, session.get_modelmeta().custom_metadata_map.get("sha256"))
        size = {entry.name: entry.shape for entry in session.get_inputs()}["state"][1]
        outputs = {entry.name: entry.shape for entry in session.get_outputs()}["posterior"][-1]
        if len(meta["phrases"]) != outputs:
            raise ValueError("as many outputs as phrases are wanted")
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: a damaged export, or not one of 'wakeword export': export it again") from error

    def step(frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        posterior, state = session.run(["posterior", "next_state"], {"features": frames, "state": state})
        return posterior[0], state

    return step, np.zeros((1, size), np.float32), meta


def load_torch(path: str | Path) -> tuple[Step, np.ndarray, dict]:
    """The step function, zero state and meta of a trained model, run by torch.

    Raises:
        ModelError: no such file, or a foreign, truncated or older one.
        WakewordError: torch is not installed.
    """
    read_meta(path, "wakeword")
    require("torch")
    from wakeword.head.transfer import load_wakeword

    return running(*load_wakeword(path))


@contextmanager
def on_one_thread() -> Iterator[None]:
    """torch on one thread of the CPU inside the block, and afterwards on as many as before.

    A block of a stream is too little work to be shared: threads that wait for each other cost several times as much.
    """
    torch = require("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def running(model, meta: dict) -> tuple[Step, np.ndarray, dict]:
    """The step function and zero state of a `head.WakeModel` in eval mode, with its meta. It steps on one thread."""
    torch = require("torch")

    def step(frames: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with on_one_thread(), torch.inference_mode():
            logits, after = model.step(torch.from_numpy(frames), torch.from_numpy(state))
            return torch.sigmoid(logits)[0].numpy(), after.numpy()

    return step, model.initial_state().numpy(), meta
