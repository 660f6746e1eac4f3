"""Sounds that a small encoder learns in seconds: sweeps, up for one phrase, down for another."""

import dataclasses
from pathlib import Path

import numpy as np

from wakeword.acoustic.encoder import AcousticModel, EncoderSizes
from wakeword.audio.waveform import write_wav
from wakeword.features.log_mel import FeatureSettings
from wakeword.model import checkpoint


def sweep(up: bool, seed: int) -> np.ndarray:
    """A tone that rises or falls by two octaves in about half a second, float32 `[samples]`."""
    rng = np.random.default_rng([seed, up])
    count = int(rng.uniform(0.4, 0.6) * 16000)
    octave = 2 * np.arange(count) / count if up else 2 - 2 * np.arange(count) / count
    phase = 2 * np.pi * np.cumsum(rng.uniform(350, 450) * 2**octave) / 16000
    tone = np.sin(phase) * np.sin(np.pi * np.arange(count) / count) ** 0.5 * rng.uniform(0.1, 0.3)
    pause = np.zeros(3200)
    samples = np.concatenate([pause, tone, pause])
    return (samples + 1e-3 * rng.standard_normal(len(samples))).astype(np.float32)


def sweep_material(folder: Path, lively, speech_like, write_corpus) -> Path:
    """Folders `up` and `down` of clips to train on, `test-up` and `test-down`, `other`; an acoustic model's file.

    The arguments are fixtures of conftest.py.
    """
    for index in range(18):
        for name, up in (("up", True), ("down", False)):
            write_wav(folder / name / f"{index}.wav", sweep(up, index))
            write_wav(folder / f"test-{name}" / f"{index}.wav", sweep(up, 100 + index))
    # Named speakers, so that the same ones are held out wherever the files lie.
    other = {f"speaker{index}": speech_like(25, index) for index in range(12)}
    write_corpus(folder / "other", other, speakers={name: name for name in other})
    sizes = EncoderSizes(mels=16, stem=16, channels=24, dilations=(1, 2, 4), taps=(1, 3))
    meta = {
        "sizes": dataclasses.asdict(sizes),
        "features": dataclasses.asdict(FeatureSettings(mels=16)),
        "tokens": list("x" * 29),
        "card": {"name": "small"},
    }
    checkpoint.save(folder / "small.safetensors", lively(AcousticModel(sizes, 29), 3).state_dict(), "acoustic", meta)
    return folder
