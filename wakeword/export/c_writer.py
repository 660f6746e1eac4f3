"""A trained model as a directory of C99: `wakeword export MODEL --format c`."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from wakeword.clips import Clip, clip_blocks, find_clips, for_development, for_training
from wakeword.detector import Detector
from wakeword.errors import ConfigError, Skipped, WakewordError
from wakeword.export import c_model
from wakeword.export.c_size import Size, measured, told
from wakeword.export.layers import Layer, flat
from wakeword.export.quantise import Integers, integer_step, peaks_of, quantise
from wakeword.features import FRAMES_PER_STEP, FeatureSettings, log_mel
from wakeword.runtimes import Step, running
from wakeword.transfer import load_wakeword

SOURCES = Path(__file__).parent / "c"
DTYPES = ("int8", "float32")
MOST_SECONDS = 600.0
"""Of the calibration audio so much is heard, clips from all of it."""
SAME_S = 0.1 + 1e-6


@dataclass(frozen=True)
class Parity:
    """A quantised model beside the float model on the same audio: posteriors, and hits at the model's thresholds.

    `same_hits` are those of the float model that the quantised one has too, at most `SAME_S` away.
    """

    seconds: float
    largest_difference: float
    mean_difference: float
    hits: int
    same_hits: int
    hits_quantised: int

    def summary(self) -> str:
        return (
            f"posteriors within {self.largest_difference:.3f} of the float model's, {self.mean_difference:.1e} on "
            f"average, over {self.seconds:.0f} s of the calibration audio; {self.hits} hit(s) there before, "
            f"{self.hits_quantised} after, {self.same_hits} the same"
        )


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
        What `model.json` in the directory holds: `dtype`, `flash`, `ram`, `measured` how, `parity` and the meta.

    Raises:
        ModelError: `source` is not a trained model.
        ConfigError: an unknown dtype, int8 without audio to calibrate on, or features that the C code cannot compute.
        WakewordError: `output` is there already or cannot be written, no audio can be read, or a budget is exceeded;
            nothing is written then.
    """
    output = Path(output)
    if dtype not in DTYPES:
        raise ConfigError(f"dtype {dtype!r}: int8 or float32")
    if output.exists() or output.is_symlink():
        raise WakewordError(f"{output}: is there already: remove it or choose another place")
    if dtype == "int8" and not calibrate_on:
        raise ConfigError("int8 needs audio that sets its ranges: --calibrate-on PATHS (speech and noise), or float32")
    model, meta = load_wakeword(source)
    settings, layers = FeatureSettings(**meta["features"]), flat(model)
    parity, skipped, scale, unit = None, Skipped(), np.ones(layers[-1].size), None
    if dtype == "int8":
        heard = calibration_audio(calibrate_on, skipped, progress)
        integers = calibrated(layers, heard, settings)
        parity = compared(running(model, meta), integers, meta, heard)
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
    temporary = None
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=output.parent, prefix=f".{output.name}-unfinished-"))
        for path in sorted(SOURCES.iterdir()):
            name, _, kind = path.stem.rpartition("_")
            if kind not in DTYPES:
                shutil.copyfile(path, temporary / path.name)
            elif kind == dtype:
                shutil.copyfile(path, temporary / f"{name}.c")
        for name, text in generated.items():
            (temporary / name).write_text(text, encoding="utf-8")
        size = measured(temporary) or arrays
        for what, taken, budget in (("flash", size.flash, budget_flash), ("RAM", size.ram, budget_ram)):
            if budget is not None and taken > budget:
                raise WakewordError(
                    f"{source}: {taken} bytes of {what} ({told(size)}) are more than --budget-{what.lower()} {budget}: "
                    f"{'raise it' if dtype == 'int8' else 'use int8 or raise it'}, or train on a smaller model"
                )
        report = {"dtype": dtype, **asdict(size), "parity": parity and asdict(parity), "skipped": skipped.reasons}
        (temporary / "model.json").write_text(json.dumps({**report, "meta": meta}, indent=1), encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(output)
    except OSError as error:
        raise WakewordError(
            f"{output}: cannot be written ({error.strerror or error}): free space or choose another place"
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    summary = "" if parity is None else parity.summary()
    return {"output": str(output), **report, "size": told(size), "summary": summary}


def in_steps(features: np.ndarray) -> np.ndarray:
    """`[frames, mels]` -> `[frames / 4, 4 * mels]`."""
    steps = len(features) // FRAMES_PER_STEP
    return features[: FRAMES_PER_STEP * steps].reshape(steps, -1)


def calibrated(layers: list[Layer], heard: list[np.ndarray], settings: FeatureSettings) -> Integers:
    """A model in integers, its ranges by recordings float32 `[samples]`."""
    peaks = peaks_of(layers, (in_steps(log_mel(samples, settings)) for samples in heard))
    return quantise(layers, peaks, settings)


def calibration_audio(paths: Sequence[str], skipped: Skipped, progress: Callable) -> list[np.ndarray]:
    """Some minutes of the clips that PATHs name, of each path alike, those kept for testing left out.

    Raises:
        WakewordError: a path that is not there, or no clip that can be read.
    """
    for_development(find_clips(paths))  # refuses paths of test clips alone
    # A clip of each path in turns, and those of a path from all over it: neighbours are often of one speaker.
    spread = [_spread(for_training(find_clips([path]))) for path in paths]
    turns = [clip for turn in zip_longest(*spread) for clip in turn if clip is not None]
    heard, seconds = [], 0.0
    for clip in turns:
        samples = _read(clip, skipped)
        heard.append(samples)
        seconds += len(samples) / 16000
        progress("calibrating", min(1.0, seconds / MOST_SECONDS))
        if seconds >= MOST_SECONDS:
            break
    if not sum(map(len, heard)):
        raise WakewordError(f"no audio to calibrate on: {skipped.summary() or 'the recordings are empty'}")
    return heard


def _spread(clips: list[Clip]) -> list[Clip]:
    # Multiples of the golden section, modulo 1, never cluster.
    return [clips[index] for index in np.argsort(np.arange(len(clips)) * 0.618034 % 1)]


def _read(clip: Clip, skipped: Skipped) -> np.ndarray:
    try:
        samples = np.concatenate([np.zeros(0, np.float32), *clip_blocks(clip)])
        return samples[: int(16000 * MOST_SECONDS)]
    except WakewordError as error:
        skipped.add(clip.path, error)
        return np.zeros(0, np.float32)


def compared(reference: tuple[Step, np.ndarray, dict], model: Integers, meta: dict, heard: list[np.ndarray]) -> Parity:
    """The quantised model beside a reference on recordings float32 `[samples]`, each from the zero state."""
    step, state, _ = reference
    detectors = Detector(step, state, meta), Detector(*integer_step(model), meta)
    differences, hits, settings = [], ([], []), detectors[0].feature_settings
    for number, samples in enumerate(heard):
        frames = log_mel(samples, settings)
        frames = frames[None, : len(frames) // FRAMES_PER_STEP * FRAMES_PER_STEP]
        if frames.shape[1]:
            pair = [each._step(frames, each._zero_state)[0] for each in detectors]
            differences.append(np.abs(pair[0] - pair[1]).ravel())
        for detector, found in zip(detectors, hits, strict=True):
            detector.reset()
            found += [(number, hit.phrase, hit.time_s) for hit in detector.process(samples)]
    every = np.concatenate([np.zeros(1), *differences])
    return Parity(
        sum(map(len, heard)) / 16000,
        float(every.max()),
        float(every.mean()),
        len(hits[0]),
        sum(any(one[:2] == other[:2] and abs(one[2] - other[2]) <= SAME_S for other in hits[1]) for one in hits[0]),
        len(hits[1]),
    )
