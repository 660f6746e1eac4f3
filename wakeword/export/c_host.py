"""An exported C directory as a library of this machine: what a device computes, for parity and tests."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from wakeword.audio.waveform import int16_of
from wakeword.errors import ModelError, WakewordError
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings
from wakeword.model.folders import read_folder

COMPILER = "cc"
FLAGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC")


class _Hit(ctypes.Structure):
    _fields_ = (("phrase", ctypes.c_int), ("score", ctypes.c_float), ("samples", ctypes.c_uint64))


class CHost:
    """The C code of a directory; its `reset` and `scores` are those of a `Detector`, for all that judges one.

    One stream, as the code itself: what one method hears begins the stream of all anew, except for `scores`.

    Raises:
        ModelError: `folder` is not what `export_c` wrote.
        WakewordError: there is no C compiler, or it refuses the code.
    """

    def __init__(self, folder: Path, library: Path, compiler: str = COMPILER):
        try:
            told = read_folder(folder)
            self.dtype, self.info = told["dtype"], told["meta"]
            self.phrases = tuple(each["phrase"] for each in self.info["phrases"])
        except (ModelError, KeyError, TypeError) as error:
            raise ModelError(f"{folder}: not a directory that 'wakeword export --format c' wrote") from error
        self.refractory_s = self.info["refractory_s"]
        self.feature_settings = FeatureSettings(**self.info["features"])
        sources = sorted(str(path) for path in folder.glob("*.c") if path.name != "example.c")
        if not sources:
            raise ModelError(f"{folder}: no C code there, or its model.json is damaged: export it again")
        try:
            done = subprocess.run(
                [compiler, *FLAGS, "-o", str(library), *sources, "-lm"], capture_output=True, text=True
            )
        except OSError as error:
            raise WakewordError(f"no C compiler ({compiler}): apt-get install gcc libc6-dev") from error
        if done.returncode:
            raise WakewordError(f"{folder}: {compiler} refuses it: {done.stderr.splitlines()[0]}")
        self._c = ctypes.CDLL(str(library.absolute()))
        self._c.wakeword_score.restype = ctypes.c_float
        kind = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Hit), ctypes.c_void_p)
        self._hits: list[tuple[int, float, int]] = []
        self._keep = kind(lambda hit, _: self._hits.append((hit[0].phrase, hit[0].score, hit[0].samples)))
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, with the model's thresholds."""
        self._hits.clear()
        self._c.wakeword_init(self._keep, None)
        self._heard = 0

    def names(self) -> list[str]:
        """The phrases as the C code spells them."""
        count = ctypes.c_int.in_dll(self._c, "wakeword_phrase_count").value
        return [each.decode() for each in (ctypes.c_char_p * count).in_dll(self._c, "wakeword_phrases")]

    def scores(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `Detector.scores`; the samples are rounded to 16 bits first."""
        samples = int16_of(samples)
        step = FRAMES_PER_STEP * self.feature_settings.hop
        first = (self._heard // step + 1) * step - self._heard
        found = []
        for block in np.split(samples, range(first, len(samples), step)):
            self._process(block)
            if len(block) and self._heard % step == 0:
                found.append([self._c.wakeword_score(phrase) for phrase in range(len(self.phrases))])
        steps = self._heard // step - len(found) + 1 + np.arange(len(found))
        return self.feature_settings.frame_s * steps, np.asarray(found, np.float32).reshape(-1, len(self.phrases))

    def hits(self, samples: np.ndarray, blocks: Iterable[int], threshold: float | None = None) -> list:
        """`(phrase, score, samples of the stream)` of all hits in int16 samples, heard in blocks of these sizes.

        `blocks` sum to all samples or more; `threshold` is for all phrases in place of their own.
        """
        self.reset()
        for phrase in range(len(self.phrases) if threshold is not None else 0):
            self._c.wakeword_set_threshold(phrase, ctypes.c_float(threshold))
        told = 0
        for count in blocks:
            told += self._process(samples[:count])
            samples = samples[count:]
        if told != len(self._hits) or len(samples):
            raise WakewordError(f"{told} hits were returned and {len(self._hits)} told, {len(samples)} samples unheard")
        return list(self._hits)

    def features(self, samples: np.ndarray) -> np.ndarray:
        """int16 samples to features `[frames, mels]`, int16 or float32 as the network takes them, from silence on."""
        window, hop, mels = self.feature_settings.window, self.feature_settings.hop, self.feature_settings.mels
        heard = np.concatenate([np.zeros(window - hop, np.int16), samples])
        kind = np.int16 if self.dtype == "int8" else np.float32
        found = np.zeros(((len(heard) - window) // hop + 1, mels), kind)
        for frame, row in enumerate(found):
            at = ctypes.c_void_p(heard[frame * hop :].ctypes.data)
            self._c.ww_features(at, ctypes.c_void_p(row.ctypes.data))
        return found

    def logits(self, features: np.ndarray) -> np.ndarray:
        """int16 or float32 `[frames, 4 * mels]`, as the network takes them, to logits, from the zero state."""
        found = np.zeros((len(features), len(self.phrases)), np.int32 if features.dtype == np.int16 else np.float32)
        self.reset()
        for frame, row in zip(np.ascontiguousarray(features), found, strict=True):
            self._c.ww_step(ctypes.c_void_p(frame.ctypes.data), ctypes.c_void_p(row.ctypes.data))
        return found

    def _process(self, block: np.ndarray) -> int:
        block = np.ascontiguousarray(block)
        self._heard += len(block)
        return self._c.wakeword_process(ctypes.c_void_p(block.ctypes.data), ctypes.c_size_t(len(block)))
