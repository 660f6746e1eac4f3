"""An exported folder for ESPHome in pymicro-wakeword: what a device computes, for parity and tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wakeword.audio.waveform import pcm16
from wakeword.errors import ModelError, require
from wakeword.features.log_mel import FRAME_S, FRAMES_PER_STEP
from wakeword.features.micro_features import FIXED
from wakeword.model.folders import read_folder
from wakeword.model.litert import signed


class EsphomeHost:
    """The wake word of an exported folder; its `reset` and `scores` are those of a `Detector`, for all that judges one.

    Raises:
        ModelError: `folder` is not what `export_esphome` wrote, or damaged.
        WakewordError: pymicro-wakeword is not installed.
    """

    def __init__(self, folder: Path):
        self._package = require("pymicro_wakeword", package="pymicro-wakeword")
        try:
            told = read_folder(folder)
            self.info = told["meta"]
            self.phrases = tuple(each["phrase"] for each in self.info["phrases"])
            signed((folder / told["manifest"]).with_suffix(".tflite"))  # the package ends the process on a damaged one
            self.wake = self._package.MicroWakeWord.from_config(folder / told["manifest"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{folder}: not a directory that 'wakeword export --format esphome' wrote") from error
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, behind two hops of silence, as a detector's does: so its frames are the same."""
        self.wake.reset()
        self._features, self._frames = self._package.MicroWakeWordFeatures(), 0
        self._hear(bytes(2 * (FIXED["window"] - FIXED["hop"])))

    def scores(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Detector.scores`; the samples are rounded to 16 bits first."""
        before = self._frames // FRAMES_PER_STEP
        found = self._hear(pcm16(samples))
        return FRAME_S * (before + 1 + np.arange(len(found))), np.array(found, np.float32).reshape(-1, 1)

    def _hear(self, audio: bytes) -> list[float]:
        means = []
        for features in self._features.process_streaming(audio):
            mean = self.wake.process_streaming_prob(features)
            self._frames += 1
            if self._frames % FRAMES_PER_STEP == 0:
                means.append(mean)
        return means
