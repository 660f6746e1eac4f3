"""A trained model as a directory of C99: `wakeword export MODEL --format c`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from wakeword.errors import ConfigError, Skipped
from wakeword.export import c_model
from wakeword.export.c_size import Size, check_budgets, measured, told
from wakeword.export.calibration import calibration_audio, compared, peaks_heard
from wakeword.export.layers import Layer, flat
from wakeword.export.quantise import Integers, integer_step, quantise
from wakeword.features import micro_features
from wakeword.features.log_mel import FeatureSettings
from wakeword.files import check_new, new_folder
from wakeword.head.transfer import load_wakeword
from wakeword.model.runtimes import running

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
        What `model.json` in the directory holds: `dtype`, `flash`, `ram`, `measured` how, `parity`, `warnings`
        of the calibration audio, and the meta.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: an unknown dtype, int8 without audio to calibrate on or float32 with it, or features that the C
            code cannot compute.
        WakewordError: `output` is there already or cannot be written, no audio can be read, or a budget is exceeded;
            nothing is written then.
    """
    output = Path(output)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: int8 or float32")
    check_new(output)
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
        (temporary / "model.json").write_text(json.dumps({**report, "meta": meta}, indent=1), encoding="utf-8")
    summary = "" if parity is None else parity.summary()
    return {"output": str(output), **report, "size": told(size), "summary": summary}


def calibrated(layers: list[Layer], heard: list[np.ndarray], settings: FeatureSettings) -> Integers:
    """A model in integers, its ranges by recordings float32 `[samples]`."""
    return quantise(layers, peaks_heard(layers, heard, settings), settings)
