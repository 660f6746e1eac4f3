"""A trained model as a directory of C99: `wakeword export MODEL --format c`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from wakeword.audio.waveform import int16_of
from wakeword.errors import ConfigError, Skipped
from wakeword.export import c_model
from wakeword.export.c_host import COMPILER, CHost
from wakeword.export.c_size import Size, check_budgets, measured, told
from wakeword.export.calibration import calibration_audio, compared, in_steps, peaks_heard
from wakeword.export.layers import Layer, flat
from wakeword.export.quantise import Integers, integer_step, quantise
from wakeword.export.tolerance import noise, refuse_apart
from wakeword.features import micro_features
from wakeword.features.log_mel import FeatureSettings, extract
from wakeword.files import new_folder
from wakeword.head.layers import WakeModel
from wakeword.head.transfer import load_wakeword
from wakeword.model.folders import ABOUT
from wakeword.model.runtimes import check_new_folder, running

SOURCES = Path(__file__).parent / "c"
DTYPES = ("int8", "float32")


def export_c(
    source: str | Path,
    output: str | Path,
    dtype: str = "int8",
    calibrate_on: Sequence[str] = (),
    budget_flash: int | None = None,
    budget_ram: int | None = None,
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> dict:
    """Write a trained model as a directory of C99 that needs no other file: see docs/export.md.

    Args:
        dtype: `int8` (weights; values are int16) or `float32`.
        calibrate_on: PATHs of speech and noise that set the ranges of int8; clips kept for testing are left out.
        budget_flash, budget_ram: bytes that it may take.

    Returns:
        What `model.json` in the directory holds: `dtype`, `flash`, `ram`, `measured` how, `parity` (int8) or
        `largest_difference` of posteriors (float32; None without a C compiler), `warnings`, and the meta.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: an unknown dtype, int8 without audio to calibrate on or float32 with it, or features that the C
            code cannot compute, or an output named like a model file.
        WakewordError: `output` is there already or cannot be written, no audio can be read, a budget is exceeded, or
            the float32 code, compiled for this machine, differs from the model by more than 1e-4; nothing is written
            then.
    """
    output = Path(output)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: int8 or float32")
    check_new_folder(output)
    if dtype == "int8" and not calibrate_on:
        raise ConfigError("int8 needs audio that sets its ranges: --calibrate-on PATHS (speech and noise), or float32")
    if dtype == "float32" and calibrate_on:
        raise ConfigError("float32 needs no audio: leave out --calibrate-on, or choose int8")
    model, meta = load_wakeword(source)
    settings, layers = FeatureSettings(**meta["features"]), flat(model)
    micro_features.refuse(settings, source, "which the C code does not compute: export it as onnx or esphome")
    parity, skipped, scale, unit = None, Skipped(), np.ones(layers[-1].size), None
    if dtype == "int8":
        heard = calibration_audio(calibrate_on, skipped, progress)
        integers = calibrated(layers, heard, settings)
        parity = compared(running(model, meta)[:2], integer_step(integers), meta, heard)
        layers, scale, unit = integers.layers, integers.logit_scale, integers.feature_scale
    arrays = Size(
        c_model.constant_bytes(layers, settings, unit),
        c_model.state_bytes(layers, settings, unit is not None),
        "arrays",
    )
    generated = {
        "ww_config.h": c_model.config_header(layers, meta, settings, unit),
        "ww_model.c": c_model.model_source(layers, meta, settings, unit, scale),
    }
    with new_folder(output) as temporary:
        for path in sorted(SOURCES.iterdir()):
            name, _, kind = path.stem.rpartition("_")
            if kind not in DTYPES:
                shutil.copyfile(path, temporary / path.name)
            elif kind == dtype:
                shutil.copyfile(path, temporary / f"{name}.c")
        for name, text in generated.items():
            (temporary / name).write_text(text, encoding="utf-8")
        size = measured(temporary) or arrays
        check_budgets(source, size, budget_flash, budget_ram, dtype == "int8")
        report = {"dtype": dtype, **asdict(size), "parity": parity and asdict(parity), "skipped": skipped.reasons}
        report["warnings"] = parity.warnings() if parity else []
        _tell(temporary, {**report, "meta": meta})
        if parity is None:
            difference = report["largest_difference"] = _apart(model, settings, temporary)
            if difference is None:
                report["warnings"].append(f"not compared with {source}: no C compiler ({COMPILER}) on this machine")
                summary = ""
            else:
                refuse_apart(output, difference)
                summary = f"posteriors within {difference:.1e} of {source}"
            _tell(temporary, {**report, "meta": meta})
        else:
            summary = parity.summary()
    return {"output": str(output), **report, "size": told(size), "summary": summary}


def _tell(folder: Path, about: dict) -> None:
    (folder / ABOUT).write_text(json.dumps(about, indent=1), encoding="utf-8")


def _apart(model: WakeModel, settings: FeatureSettings, folder: Path) -> float | None:
    """How far at most posteriors of the C code, compiled here, lie from the model's, on 16-bit noise of changing
    loudness; None without a C compiler.

    Logits are compared, a quarter of whose difference posteriors reach: where a trained model hears nothing, posteriors
    are all next to 0.
    """
    if shutil.which(COMPILER) is None:
        return None
    samples = int16_of(np.concatenate([*noise(settings, 40)]))
    features = extract(samples / np.float32(32768), settings)
    with torch.inference_mode():
        wanted = model.step(torch.from_numpy(features[None]), model.initial_state())[0][0].numpy()
    with tempfile.TemporaryDirectory() as temporary:
        host = CHost(folder, Path(temporary) / "c.so")
        found = host.logits(in_steps(host.features(samples)))
    return float(np.abs(found - wanted).max()) / 4


def calibrated(layers: list[Layer], heard: list[np.ndarray], settings: FeatureSettings) -> Integers:
    """A model in integers, its ranges by recordings float32 `[samples]`."""
    return quantise(layers, peaks_heard(layers, heard, settings), settings)
