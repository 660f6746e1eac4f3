"""A trained model as a `.tflite` file: `wakeword export MODEL --format litert` (float32) and `litert-int8`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from wakeword.errors import ConfigError, Skipped
from wakeword.export.c_size import Size, check_budgets, told
from wakeword.export.calibration import calibration_audio, compared, peaks_heard
from wakeword.export.layers import flat
from wakeword.export.litert_graph import litert_graph, litert_model
from wakeword.export.litert_micro import arena_bytes, installed
from wakeword.export.litert_units import mixed_units
from wakeword.export.onnx_graph import compare
from wakeword.export.tolerance import refuse_apart
from wakeword.features.log_mel import FeatureSettings
from wakeword.files import check_new, replacing
from wakeword.head.transfer import load_wakeword
from wakeword.model.litert import DIGEST, META, add_metadata, load_litert, packed, schema
from wakeword.model.runtimes import is_litert, running


def export_litert(
    source: str | Path,
    output: str | Path,
    dtype: str = "int8",
    calibrate_on: Sequence[str] = (),
    budget_flash: int | None = None,
    budget_ram: int | None = None,
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> dict:
    """Write a trained model as a LiteRT graph of one encoder frame with explicit states: see docs/export.md.

    Args:
        dtype: `int8` (features, weights and logits; values between and states are int16) or `float32`.
        calibrate_on: PATHs of speech and noise that set the ranges of int8; clips kept for testing are left out.
        budget_flash, budget_ram: bytes that the file, and the arena with a copy of the states, may take.

    Returns:
        `dtype`, `flash`, `ram`, `measured` how, `parity` (int8) or `largest_difference` (float32), `skipped`,
        `warnings` of the calibration audio.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: an unknown dtype, int8 without audio to calibrate on, or an output not named `.tflite`.
        WakewordError: ai-edge-litert is not installed, `output` is there already or cannot be written, no audio can be
            read, the float32 graph differs from the model by more than 1e-4, or a budget is exceeded; nothing is
            written then.
    """
    schema()  # before anything is heard
    output, integer = Path(output), dtype == "int8"
    if dtype not in ("int8", "float32"):
        raise ConfigError(f"dtype {dtype!r}: int8 or float32")
    if not is_litert(output):
        raise ConfigError(f"{output}: name it .tflite: by that a model file is known")
    check_new(output)
    if integer and not calibrate_on:
        raise ConfigError("litert-int8 needs audio that sets its ranges: --calibrate-on PATHS (speech and noise)")
    model, meta = load_wakeword(source)
    settings, layers, skipped = FeatureSettings(**meta["features"]), flat(model), Skipped()
    heard = calibration_audio(calibrate_on, skipped, progress) if integer else []
    units = mixed_units(layers, peaks_heard(layers, heard, settings), settings) if integer else (None, None)
    made = litert_model(litert_graph(layers, units[0], settings.mels, units[1]))
    add_metadata(made, META, json.dumps(meta).encode())
    add_metadata(made, DIGEST, b"")
    with replacing(output) as temporary:
        temporary.write_bytes(packed(made))
        step, state, _ = load_litert(temporary)
        held = sum(each.nbytes for each in state)
        size = Size(temporary.stat().st_size, 2 * held, "file")
        if installed():
            size = Size(size.flash, arena_bytes(temporary) + held, "tflite-micro")
        check_budgets(source, size, budget_flash, budget_ram, integer)
        report = {"dtype": dtype, **asdict(size), "skipped": skipped.reasons, "warnings": []}
        if integer:
            parity = compared(running(model, meta)[:2], (step, state), meta, heard)
            report |= {"parity": asdict(parity), "warnings": parity.warnings()}
            summary = parity.summary()
        else:
            difference = compare(model, temporary)
            refuse_apart(output, difference)
            report["largest_difference"], summary = difference, f"posteriors within {difference:.1e} of {source}"
    return {"output": str(output), **report, "size": told(size), "summary": summary}
