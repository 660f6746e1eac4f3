"""Streaming features, for training, listening and scoring alike: log-mel in numpy, or those of `micro_features`."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np

from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import ConfigError
from wakeword.features import micro_features

FRAMES_PER_STEP = 4
"""Feature frames (10 ms) in one encoder frame: a step of the encoder takes a multiple of these."""

FRAME_S = 0.04
"""Seconds of audio in one encoder frame, at the usual hop; `FeatureSettings.frame_s` is a model's own."""

FEW_FRAMES = 16

LOG_MEL = "log-mel"
FRONT_ENDS = (LOG_MEL, micro_features.NAME)


@dataclass(frozen=True)
class FeatureSettings:
    """What a model was trained on; stored with it, so that a file alone remakes its features.

    Frame `t` sees the `window` samples that end with sample `hop * (t + 1)`. Its log-mel energies are
    `(log(mel + floor) - offset) / scale`; `floor` is about -70 dBFS of white noise a band, so that digital silence and
    a quiet room look alike.

    With `front_end` "micro" they are those of `micro_features`, which has no choices: `window` and `mels` must be what
    it computes, and the others are left out (or given as they are there) and become its own.

    Raises:
        ConfigError: settings of which no features can be made.
    """

    sample_rate: int = SAMPLE_RATE
    window: int = 400
    hop: int = 160
    fft: int = 512
    mels: int = 48
    low_hz: float = 60.0
    high_hz: float = 7600.0
    floor: float = 1e-7
    offset: float = -9.0
    scale: float = 4.0
    front_end: str = LOG_MEL

    def __post_init__(self):
        if self.front_end not in FRONT_ENDS:
            raise ConfigError(f"front_end = '{self.front_end}': must be {' or '.join(FRONT_ENDS)}")
        if self.front_end == micro_features.NAME:
            self._take_micro()
        for name, fine, must in (
            ("sample_rate", self.sample_rate == SAMPLE_RATE, f"{SAMPLE_RATE}: all audio is brought to it"),
            ("hop", self.hop >= 1, "1 or more"),
            ("window", self.window >= self.hop, f"hop ({self.hop}) or more"),
            ("fft", self.fft >= self.window, f"window ({self.window}) or more"),
            ("mels", self.mels >= 1, "1 or more"),
            ("low_hz", 0 <= self.low_hz < self.high_hz, f"from 0 to below high_hz ({self.high_hz:g})"),
            ("high_hz", self.high_hz <= self.sample_rate / 2, f"at most {self.sample_rate / 2:g}"),
            ("floor", self.floor > 0, "above 0"),
            ("scale", self.scale > 0, "above 0"),
        ):
            if not fine:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be {must}")

    def _take_micro(self) -> None:
        defaults = {field.name: field.default for field in fields(self)}
        for name, own in micro_features.OWN.items():
            if getattr(self, name) == defaults[name]:
                object.__setattr__(self, name, own)
        floor = {"floor": defaults["floor"]}
        for name, own in (micro_features.FIXED | micro_features.OWN | floor).items():
            if getattr(self, name) != own:
                raise ConfigError(f"{name} = {getattr(self, name)}: must be {own} with front_end = '{self.front_end}'")

    @property
    def frame_s(self) -> float:
        """Seconds of audio in one encoder frame, and so between two scores."""
        return FRAMES_PER_STEP * self.hop / self.sample_rate


def hz_to_mel(hz):
    """The mel scale of O'Shaughnessy (1987), as HTK has it."""
    return 2595.0 * np.log10(1.0 + np.asarray(hz, dtype=np.float64) / 700.0)


def mel_to_hz(mel):
    return 700.0 * (10.0 ** (np.asarray(mel, dtype=np.float64) / 2595.0) - 1.0)


@lru_cache(maxsize=8)
def mel_filters(settings: FeatureSettings) -> np.ndarray:
    """Triangular filters of equal width on the mel scale (Davis and Mermelstein 1980), peak 1.

    Returns:
        float32 `[fft // 2 + 1, mels]`.
    """
    bins = np.linspace(0, settings.sample_rate / 2, settings.fft // 2 + 1)
    edges = mel_to_hz(np.linspace(hz_to_mel(settings.low_hz), hz_to_mel(settings.high_hz), settings.mels + 2))
    rise = (bins[:, None] - edges[None, :-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[None, 2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    return np.maximum(0.0, np.minimum(rise, fall)).astype(np.float32)


@lru_cache(maxsize=8)
def _window(settings: FeatureSettings) -> np.ndarray:
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(settings.window) / settings.window)
    # Scaled so that a spectrum's power is the mean power of the samples, whatever the window.
    return (hann / np.sqrt(np.sum(hann**2))).astype(np.float32)


@lru_cache(maxsize=8)
def window_and_filters(settings: FeatureSettings) -> tuple[np.ndarray, np.ndarray]:
    """The window float32 `[window]` and `mel_filters`."""
    return _window(settings), mel_filters(settings)


def initial_state(settings: FeatureSettings) -> np.ndarray | micro_features.Heard:
    """Before the stream: silence, so that the first frame is complete after one hop. For log-mel its samples.

    Raises:
        WakewordError: the package that computes the features is not installed.
    """
    if settings.front_end == micro_features.NAME:
        return micro_features.initial_state()
    return np.zeros(settings.window - settings.hop, dtype=np.float32)


def step(
    samples: np.ndarray, state: np.ndarray | micro_features.Heard, settings: FeatureSettings
) -> tuple[np.ndarray, np.ndarray | micro_features.Heard]:
    """Frames of a block of a stream.

    Args:
        samples: float32 `[n]` at `settings.sample_rate`; any `n`, also 0.
        state: what the step before returned, or `initial_state`. That of `micro_features` goes on once.

    Returns:
        float32 `[frames, mels]` and the next state; `frames` is how many hops are complete.
    """
    if settings.front_end == micro_features.NAME:
        return micro_features.step(samples, state)
    heard = np.concatenate([state, samples.astype(np.float32, copy=False)])
    frames = max(0, (len(heard) - settings.window) // settings.hop + 1)
    if frames == 0:
        return np.zeros((0, settings.mels), np.float32), heard
    # Overlapping rows of `heard` without a copy; sliding_window_view costs as much as the Fourier transform of a block.
    size = heard.itemsize
    windows = np.ndarray((frames, settings.window), np.float32, heard, strides=(settings.hop * size, size))
    window, filters = window_and_filters(settings)
    spectrum = np.fft.rfft(windows * window, settings.fft)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32, copy=False)
    mel = _filtered(power, filters)
    features = (np.log(mel + np.float32(settings.floor)) - np.float32(settings.offset)) / np.float32(settings.scale)
    return features, heard[frames * settings.hop :].copy()


def _filtered(power: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """`power @ filters`, a few frames at a time: products so small stay on one thread of OpenBLAS.

    On several, its threads and torch's wait for each other in busy loops on the same cores, which made computing
    features and encoder in turns four times slower.
    """
    whole = len(power) // FEW_FRAMES * FEW_FRAMES
    if not whole:
        return power @ filters
    mel = np.empty((len(power), filters.shape[1]), np.float32)
    in_stacks = power[:whole].reshape(-1, FEW_FRAMES, power.shape[1])
    np.matmul(in_stacks, filters, out=mel[:whole].reshape(-1, FEW_FRAMES, filters.shape[1]))
    np.matmul(power[whole:], filters, out=mel[whole:])
    return mel


def extract(samples: np.ndarray, settings: FeatureSettings | None = None) -> np.ndarray:
    """Frames of a whole recording, log-mel or as `settings` say: one step from the initial state.

    Long recordings are taken in pieces, so that memory does not grow with the spectrum of all of it.

    Returns:
        float32 `[len(samples) // hop, mels]`.
    """
    settings = settings or FeatureSettings()
    state = initial_state(settings)
    pieces = [np.zeros((0, settings.mels), np.float32)]
    for start in range(0, len(samples), 16000 * 20):
        frames, state = step(samples[start : start + 16000 * 20], state, settings)
        pieces.append(frames)
    return np.concatenate(pieces)


def integer_features(features: np.ndarray, scale: float, zero: int = 0, dtype=np.int16) -> np.ndarray:
    """Features float32 `[..., mels]` as units of `scale`, int16, or int8 of which `zero` stands for 0."""
    units = np.floor(features * np.float32(1 / scale) + np.float32(0.5)) + np.float32(zero)
    least, most = (-32767, 32767) if dtype == np.int16 else (-128, 127)
    return np.clip(units, least, most).astype(dtype)
