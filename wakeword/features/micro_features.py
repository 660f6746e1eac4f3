"""The audio front end of TensorFlow Lite Micro, which ESPHome's micro_wake_word computes on the device.

Mel energies, from which steady noise is subtracted, and whose level is evened out a band (per-channel energy
normalisation: Wang et al., "Trainable frontend for robust and far-field keyword spotting", ICASSP 2017); all in fixed
point. `pymicro-features` is the device's code, and so gives the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from wakeword.audio.waveform import int16_of
from wakeword.errors import ConfigError, require

NAME = "micro"

FIXED = {"sample_rate": 16000, "window": 480, "hop": 160, "mels": 40}
"""What the front end is made for: other values are refused."""

OWN = {"fft": 512, "low_hz": 125.0, "high_hz": 7500.0, "offset": 0.0, "scale": 1.0}
"""What it does where log-mel has a choice; by offset and scale its values stay as they are, multiples of 10 / 256."""

PEAK = 26.1
"""No value is larger: full-scale clicks, noise and square waves after silence reach 26.02."""

_HOP_BYTES = 2 * FIXED["hop"]


def _package() -> ModuleType:
    return require("pymicro_features", "esphome")


class _FrontEnd:
    """The package's object, which cannot be copied, and how many frames it has given."""

    def __init__(self):
        self._process, self.given = _package().MicroFrontend().process_samples, 0
        for _ in range(FIXED["window"] // FIXED["hop"] - 1):
            self._process(bytes(_HOP_BYTES))

    def frames(self, data: bytes) -> list[list[float]]:
        # A call takes one hop, however much it is given.
        found = [self._process(data[i : i + _HOP_BYTES]).features for i in range(0, len(data), _HOP_BYTES)]
        self.given += len(found)
        return found


@dataclass(frozen=True)
class Heard:
    """Where a stream stands: int16 samples short of a hop, and the front end after `given` frames (None before any).

    From the first state many streams can begin. One after a frame goes on once, since the front end moves along.
    """

    samples: np.ndarray
    front_end: _FrontEnd | None = None
    given: int = 0


def initial_state() -> Heard:
    """Before the stream: silence, so that the first frame is complete after one hop.

    Raises:
        WakewordError: pymicro-features is not installed.
    """
    _package()
    return Heard(np.zeros(0, np.int16))


def step(samples: np.ndarray, state: Heard) -> tuple[np.ndarray, Heard]:
    """Frames of a block of a stream: `log_mel.step` of this front end.

    Args:
        samples: float32 `[n]` in [-1, 1]; any `n`. They are rounded to 16 bits; what is not a number is silence.

    Returns:
        float32 `[frames, 40]`, from 0 to `PEAK`, and the next state.

    Raises:
        ValueError: the stream has already gone on from `state`.
    """
    heard = np.concatenate([state.samples, int16_of(np.nan_to_num(samples, nan=0.0))])
    whole = len(heard) // FIXED["hop"] * FIXED["hop"]
    if not whole:
        return np.zeros((0, FIXED["mels"]), np.float32), Heard(heard, state.front_end, state.given)
    front_end = state.front_end or _FrontEnd()
    if front_end.given != state.given:
        raise ValueError("the stream has gone on from this state: begin anew, from the initial state")
    frames = np.array(front_end.frames(heard[:whole].tobytes()), np.float32)
    return frames, Heard(heard[whole:].copy(), front_end, front_end.given)


def refuse(settings, source: object, wants: str) -> None:
    """Refuse a model of these features for what is made for log-mel alone.

    Args:
        settings: `FeatureSettings` of the model that `source` names.
        wants: what it is wanted for and the remedy: the end of the sentence.

    Raises:
        ConfigError: they are of this front end.
    """
    if settings.front_end == NAME:
        raise ConfigError(f"{source}: its features are of the front end '{NAME}', {wants}")
