"""A trained model as a wake word of ESPHome's micro_wake_word: `wakeword export MODEL --format esphome`.

That component and the package pymicro-wakeword take a `.tflite` file and a manifest (JSON, version 2). What is asked of
both is in ESPHome's repository, esphome/components/micro_wake_word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from string import Template

import numpy as np

from wakeword._version import __version__
from wakeword.errors import ConfigError, Skipped
from wakeword.export.c_size import Size, check_budgets, told
from wakeword.export.calibration import calibration_audio, compared, peaks_heard
from wakeword.export.esphome_graph import (
    MOST_VARIABLES,
    PROBABILITY_UNIT,
    component_features,
    esphome_graph,
    feature_unit,
    hearing_units,
)
from wakeword.export.layers import flat
from wakeword.export.litert_graph import Graph, litert_model
from wakeword.export.litert_micro import arena_bytes, installed
from wakeword.export.quantise import scales_of
from wakeword.features import micro_features
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings
from wakeword.files import new_folder
from wakeword.head.transfer import load_wakeword
from wakeword.model.folders import ABOUT
from wakeword.model.litert import DIGEST, add_metadata, opened, packed, schema
from wakeword.model.runtimes import check_new_folder, running

ARENA_ROOM = 1024
"""Bytes that the manifest asks for beyond what was measured."""
_LONGEST_NAME = 64  # of a file, which no system has to refuse
_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_README = Path(__file__).parent / "esphome" / "README.md"


def export_esphome(
    source: str | Path,
    output: str | Path,
    calibrate_on: Sequence[str] = (),
    budget_flash: int | None = None,
    budget_ram: int | None = None,
    progress: Callable[[str, float], None] = lambda text, share: None,
    languages: Sequence[str] = ("en",),
) -> dict:
    """Write a trained model as a directory for ESPHome: see docs/export.md.

    Args:
        calibrate_on: PATHs of speech and noise that set the ranges of int16 values; clips kept for testing are left
            out.
        budget_flash, budget_ram: bytes that the file and the arena may take.
        languages: of the phrase, for the manifest; Home Assistant shows them.

    Returns:
        What `model.json` in the directory holds: `dtype`, `flash`, `ram`, `measured` how, `manifest` (its name),
        `probability_cutoff`, `parity` of LiteRT with the float model, `skipped`, `warnings` of the calibration
        audio, and the meta.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: it hears other features or several phrases, or has more states than the component holds; there is
            no audio to calibrate on; a language is no code of one; or the output is named like a model file.
        WakewordError: ai-edge-litert or pymicro-features is not installed, `output` is there already or cannot be
            written, no audio can be read, or a budget is exceeded; nothing is written then.
    """
    schema()  # before anything is heard
    output = Path(output)
    check_new_folder(output)
    if not calibrate_on:
        raise ConfigError("esphome needs audio that sets its ranges: --calibrate-on PATHS (speech and noise)")
    if not languages or not all(map(_LANGUAGE.fullmatch, languages)):
        raise ConfigError(f"--language {' '.join(languages) or 'of no code'}: give codes such as en or pt-BR")
    model, meta = load_wakeword(source)
    settings, layers, skipped = FeatureSettings(**meta["features"]), flat(model), Skipped()
    _check(source, meta, settings)
    heard = calibration_audio(calibrate_on, skipped, progress)
    units = [feature_unit(), *scales_of(layers, peaks_heard(layers, heard, settings), settings)[1:]]
    graph = esphome_graph(hearing_units(layers), units, settings.mels)
    if graph.states > MOST_VARIABLES:
        raise ConfigError(
            f"{source}: {graph.states} of its layers look back, ESPHome's component holds the past of "
            f"{MOST_VARIABLES}: train on a smaller acoustic model or with fewer new layers"
        )
    made = litert_model(graph)
    add_metadata(made, DIGEST, b"")
    content = packed(made)
    parity = compared(running(model, meta)[:2], running_inside(lambda: begun(content)), meta, heard)
    phrase, window = meta["phrases"][0], meta["smoothing_frames"]
    name = re.sub(r"[^a-z0-9]+", "_", phrase["phrase"].lower())[:_LONGEST_NAME].strip("_")
    if name in ("", Path(ABOUT).stem):
        name = "wake_word"
    with new_folder(output) as temporary:
        (temporary / f"{name}.tflite").write_bytes(content)
        size = Size(len(content), arena_bound(graph), "bound")
        if installed():
            size = Size(size.flash, arena_bytes(temporary / f"{name}.tflite") + ARENA_ROOM, "arena")
        check_budgets(source, size, budget_flash, budget_ram, True)
        said = manifest(name, phrase, window, size.ram, languages)
        report = {
            "dtype": "int8",
            **asdict(size),
            "manifest": f"{name}.json",
            "probability_cutoff": said["micro"]["probability_cutoff"],
            "parity": asdict(parity),
            "skipped": skipped.reasons,
            "warnings": parity.warnings(),
        }
        calibrated = phrase.get("calibration")
        words = {
            "phrase": phrase["phrase"],
            "name": name,
            "window": window,
            "cutoff": report["probability_cutoff"],
            "threshold": phrase["threshold"],
            "origin": "was calibrated to" if calibrated else "was not calibrated, its threshold is",
            "version": __version__,
            "flash": size.flash,
            "ram": size.ram,
            "size": told(size),
            "summary": parity.summary(),
        }
        texts = {
            f"{name}.json": json.dumps(said, indent=2, ensure_ascii=False),
            ABOUT: json.dumps({**report, "meta": meta}, indent=1),
            "README.md": Template(_README.read_text(encoding="utf-8")).substitute(words),
        }
        for file, text in texts.items():
            (temporary / file).write_text(text, encoding="utf-8")
    return {"output": str(output), **report, "size": told(size), "summary": parity.summary()}


def _check(source: object, meta: dict, settings: FeatureSettings) -> None:
    """Refuse a model that the component cannot run."""
    if settings.front_end != micro_features.NAME:
        raise ConfigError(
            f"{source}: its features are {settings.front_end}, ESPHome computes others: train it on the acoustic model "
            "micro-esphome"
        )
    if len(meta["phrases"]) != 1:
        said = ", ".join(repr(each["phrase"]) for each in meta["phrases"])
        raise ConfigError(f"{source}: hears {said}, a wake word of ESPHome is one phrase: train each by itself")


def manifest(name: str, phrase: dict, window: int, arena: int, languages: Sequence[str]) -> dict:
    """What the component and pymicro-wakeword read: the model's file is `name`.tflite; `arena` in bytes."""
    return {
        "type": "micro",
        "wake_word": phrase["phrase"],
        "author": f"trained with wakeword {__version__}",
        "model": f"{name}.tflite",
        "trained_languages": list(languages),
        "version": 2,
        "micro": {
            "probability_cutoff": cutoff_of(phrase["threshold"], window),
            "sliding_window_size": window,
            "feature_step_size": 10,
            "tensor_arena_size": arena,
            "minimum_esphome_version": "2024.7.0",
        },
    }


def cutoff_of(threshold: float, window: int) -> float:
    """The cutoff by which the component hears what a detector does at `threshold`, to half a unit of 1 / 255.

    The component compares sums of `window` probabilities, times 255 and rounded, with its cutoff times 255, rounded
    down; pymicro-wakeword compares means with the cutoff itself; both ask for more than it. A cutoff between two sums
    is the same for both.
    """
    units = min(max(round(threshold / PROBABILITY_UNIT - 1 / window), 0), 254)
    return round((units + 0.5 / window) * PROBABILITY_UNIT, 5)


def arena_bound(graph: Graph) -> int:
    """Bytes that no arena of TensorFlow Lite Micro exceeds: all tensors side by side, each variable once more, what
    kernels keep of each channel of their weights, and the interpreter's structures (on a 64-bit machine)."""
    kinds, names = schema().TensorType, {1: "INT8 UINT8", 2: "INT16", 4: "INT32 RESOURCE", 8: "INT64"}
    sizes = {getattr(kinds, name): size for size, each in names.items() for name in each.split()}
    total = 0
    for part in (graph, graph.first):
        for tensor in part.tensors:
            if tensor.buffer == 0:
                copies = 2 if str(tensor.name).startswith("state_") else 1
                total += copies * (sizes[tensor.type] * int(np.prod(tensor.shape)) + 16)
            elif tensor.quantization is not None:
                total += 8 * len(tensor.quantization.scale)
        total += 32 * len(part.tensors) + 224 * len(part.operators)
    return total


def running_inside(begin: Callable[[], Callable[[np.ndarray], np.ndarray]]) -> tuple[Callable, None]:
    """A model whose states are inside its interpreter as a `runtimes.Step`, with its zero state.

    `begin` starts an interpreter: a function from features int8 [1, 4, mels] to a probability. A stream's state is that
    function (None before the stream), so that each goes on once.
    """

    def step(frames: np.ndarray, state: Callable | None) -> tuple[np.ndarray, Callable]:
        hear = state or begin()
        steps = component_features(frames).reshape(-1, 1, FRAMES_PER_STEP, frames.shape[-1])
        return np.array([hear(each) for each in steps], np.float32).reshape(len(steps), 1), hear

    return step, None


def begun(content: bytes) -> Callable[[np.ndarray], np.ndarray]:
    """A file's content in LiteRT, for `running_inside`."""
    interpreter = opened(content)
    heard, probability = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def hear(features: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(heard, features)
        interpreter.invoke()
        return interpreter.get_tensor(probability) * np.float32(PROBABILITY_UNIT)

    return hear
