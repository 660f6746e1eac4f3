"""A trained model as a folder that detects in a browser: `wakeword export MODEL --format web`."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from string import Template

import numpy as np
import torch

from wakeword._version import __version__
from wakeword.errors import ConfigError, WakewordError
from wakeword.export.layers import folded
from wakeword.export.onnx_graph import END, Graph, proto_of, streaming_graph
from wakeword.export.tolerance import noise, refuse_apart
from wakeword.features import log_mel, micro_features
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings
from wakeword.files import new_folder
from wakeword.head.layers import WakeModel
from wakeword.head.transfer import load_wakeword
from wakeword.model.runtimes import check_new_folder, open_onnx, running

RUNTIME, RUNTIME_VERSION = "onnxruntime-web", "1.30.0"
_RUNTIME_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
_SOURCES = Path(__file__).parent / "web"
_SHARED = Path(__file__).parents[1] / "listener" / "web"  # the page of `wakeword demo`
_SHARED_FILES = ("worklet.js", "microphone.js", "drawing.js", "panel.js", "style.css", "icon.svg")


def export_web(source: str | Path, output: str | Path, runtime: str | Path | None = None) -> dict:
    """Write a trained model as a folder that any web server can serve: see docs/export.md.

    Args:
        runtime: the folder of the npm package onnxruntime-web; None for the nearest `node_modules`, of the working
            folder or one above it.

    Returns:
        `output`, `bytes` of the graph, `runtime_version`, and `largest_difference` of posteriors and states from the
        model's.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: its features are not log-mel, or an output named like a model file.
        WakewordError: `output` is there already or cannot be written, there is no onnxruntime-web, or the graph
            differs from the model by more than 1e-4; nothing is written then.
    """
    output = Path(output)
    check_new_folder(output)
    package, version = found_runtime(runtime)
    model, meta = load_wakeword(source)
    settings = FeatureSettings(**meta["features"])
    micro_features.refuse(settings, source, "which browsers do not compute: export it as onnx or esphome")
    with torch.no_grad():
        graph, states = web_proto(model, settings)
    with new_folder(output) as temporary:
        (temporary / "runtime").mkdir()
        for name in _RUNTIME_FILES:
            shutil.copyfile(package / "dist" / name, temporary / "runtime" / name)
        for path in (*_SOURCES.iterdir(), *(_SHARED / name for name in _SHARED_FILES)):
            shutil.copyfile(path, temporary / path.name)
        content = graph.SerializeToString()
        (temporary / "model.onnx").write_bytes(content)
        difference = apart(model, meta, open_onnx(temporary / "model.onnx"), states)
        refuse_apart(output, difference)
        about = {
            "step_samples": FRAMES_PER_STEP * settings.hop,
            "states": states,
            "sha256": hashlib.sha256(content).hexdigest(),
            "runtime_version": version,
            "wakeword_version": __version__,
            "largest_difference": difference,
            "meta": meta,
        }
        (temporary / "model.json").write_text(json.dumps(about, indent=1), encoding="utf-8")
        readme = temporary / "README.md"
        said = {"phrases": ", ".join(f'"{each["phrase"]}"' for each in meta["phrases"]), "version": version}
        readme.write_text(Template(readme.read_text(encoding="utf-8")).substitute(said), encoding="utf-8")
    told = {"output": str(output), "bytes": len(content)}
    return {**told, "runtime_version": version, "largest_difference": difference}


def found_runtime(folder: str | Path | None) -> tuple[Path, str]:
    """The folder and version of the npm package onnxruntime-web: `folder`, or the one that Node.js would find.

    Raises:
        ConfigError: `folder` is none.
        WakewordError: none is found.
    """
    remedy = f"run 'npm install {RUNTIME}@{RUNTIME_VERSION}'"
    if folder is not None:
        version = _version(Path(folder))
        if version is None:
            raise ConfigError(f"--runtime {folder}: not the npm package {RUNTIME}, or not whole: {remedy}")
        return Path(folder), version
    here = Path.cwd()
    for place in (above / "node_modules" / RUNTIME for above in (here, *here.parents)):
        if (version := _version(place)) is not None:
            return place, version
    raise WakewordError(f"no ONNX Runtime Web in {here} or above: {remedy} here, or give its folder with --runtime")


def _version(package: Path) -> str | None:
    try:
        said = json.loads((package / "package.json").read_bytes())
        whole = said["name"] == RUNTIME and all((package / "dist" / name).is_file() for name in _RUNTIME_FILES)
        return str(said["version"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def web_proto(model: WakeModel, settings: FeatureSettings) -> tuple:
    """The `onnx.ModelProto` of a streaming step from samples, and the shapes of its states, zeros at first.

    From `samples` [1, `FRAMES_PER_STEP` hop n], `past` [1, window - hop] (samples) and `state` [1, size] come
    `posterior` [1, n, outputs], `next_past` and `next_state`.
    """
    graph = streaming_graph(folded(model))
    count = len(graph.nodes)
    _add_features(graph, settings)
    graph.nodes = graph.nodes[count:] + graph.nodes[:count]  # a node follows those that it needs
    states = {"past": [1, settings.window - settings.hop], "state": list(model.initial_state().shape)}
    outputs = {"posterior": [1, "steps", model.head.sizes.outputs]}
    after = {f"next_{name}": shape for name, shape in states.items()}
    return proto_of(graph, {"samples": [1, "samples"], **states}, {**outputs, **after}), states


def _add_features(graph: Graph, settings: FeatureSettings) -> None:
    """`log_mel.step` as nodes: windows and Fourier transform are one convolution, mel filters another."""
    window, filters = log_mel.window_and_filters(settings)
    past = settings.window - settings.hop
    heard = graph.add("Concat", ["past", "samples"], axis=1)
    graph.add("Slice", [heard, *(graph.constant([each]) for each in (-past or END, END, 1))], ["next_past"])
    used = np.flatnonzero(filters.any(axis=1))
    turns = 2 * np.pi / settings.fft * np.outer(used, np.arange(settings.window))
    waves = (np.concatenate([np.cos(turns), np.sin(turns)]) * window).astype(np.float32)
    wave = graph.add("Conv", [graph.reshape(heard, [1, 1, -1]), graph.constant(waves[:, None])], strides=[settings.hop])
    bands = np.concatenate([filters[used]] * 2).T[:, :, None]  # of real and of imaginary parts
    floor = np.full(settings.mels, settings.floor, np.float32)
    mel = graph.add("Conv", [graph.add("Mul", [wave, wave]), graph.constant(bands), graph.constant(floor)])
    offset, scale = (graph.constant(np.float32([each])) for each in (settings.offset, settings.scale))
    scaled = graph.add("Div", [graph.add("Sub", [graph.add("Log", [mel]), offset]), scale])
    graph.add("Transpose", [scaled], ["features"], perm=[0, 2, 1])


def apart(model: WakeModel, meta: dict, session, states: dict[str, list[int]], blocks: int = 20) -> float:
    """The largest difference of posteriors and states on noise of changing loudness, in blocks of random size.

    The states are compared since they are far from 0 where a trained model hears nothing.
    """
    settings, worst = FeatureSettings(**meta["features"]), 0.0
    step, state, _ = running(model, meta)
    heard = log_mel.initial_state(settings)
    after = {name: np.zeros(shape, np.float32) for name, shape in states.items()}
    for samples in noise(settings, blocks):
        frames, heard = log_mel.step(samples, heard, settings)
        wanted, state = step(frames[None], state)
        posterior, *values = session.run(
            ["posterior", *(f"next_{name}" for name in after)], {"samples": samples[None], **after}
        )
        after = dict(zip(after, values, strict=True))
        apart = (np.abs(wanted - posterior[0]).max(), np.abs(state - after["state"]).max())
        worst = float(np.max([worst, *apart]))  # not max(), which passes over what is no number
    return worst
