"""The streaming detector: audio in blocks of any size, hits out. Live, offline and exported models run this code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from wakeword.detector.gate import Behind, gate_of, gated, memory_frames
from wakeword.detector.trigger import Trigger
from wakeword.errors import AudioError, ConfigError, ModelError, WakewordError
from wakeword.features import log_mel
from wakeword.features.log_mel import FRAMES_PER_STEP
from wakeword.model.budget import parse_budget
from wakeword.model.curve import checked_threshold, curve_of
from wakeword.model.description import described
from wakeword.model.runtimes import Step, load_model

_MOST_SAMPLES = 16000 * 10


@dataclass(frozen=True)
class Hit:
    """A phrase was heard: known `time_s` seconds into the stream, with the smoothed posterior `score`."""

    phrase: str
    time_s: float
    score: float


def output_of(phrase: str | None, phrases: Sequence[str]) -> int:
    """Which of a model's outputs hears `phrase`; None asks for the only one there is.

    Raises:
        WakewordError: the model does not listen for it; or it listens for several, and none is named.
    """
    if phrase is None and len(phrases) == 1:
        return 0
    if phrase not in phrases:
        listens = f"the model listens for {', '.join(map(repr, phrases))}"
        raise WakewordError(f"--phrase {phrase}: {listens}" if phrase else f"{listens}: choose one with --phrase")
    return list(phrases).index(phrase)


class Detector:
    """Hears one stream. `scores` gives the smoothed posteriors of each encoder frame (40 ms), `process` the hits.

    Attributes:
        phrases: what it listens for, a tuple; the order is that of thresholds and scores.
        thresholds: for each phrase the smoothed posterior that makes a hit, a tuple; set from any sequence of as many
            numbers above 0 and at most 1, ConfigError for anything else.
        curves: for each phrase its `curve.Curve`, None where it was not calibrated; a tuple. See `thresholds_at`.
        peaks: for each phrase its highest score in the last block that completed one; None before.
        refractory_s: the least time between two hits of one phrase; phrases do not wait for each other.
        info: what the model file says: the phrases with their thresholds and calibrations, features and card.
    """

    def __init__(self, step: Step, state: np.ndarray, info: dict, threshold: float | None = None):
        said, phrases = described(info)
        self.info = info
        self.phrases = tuple(each.phrase for each in phrases)
        self.curves = tuple(curve_of(each.calibration, each.threshold) for each in phrases)
        self.refractory_s = said.refractory_s
        self.feature_settings = said.features
        self.encoder: Callable | None = None
        self._hear = partial(log_mel.step, settings=said.features)
        self._silence = log_mel.initial_state(said.features)
        self._step, self._zero_state = step, state
        self._smoothing_frames = said.smoothing_frames
        self._triggers = [
            Trigger(each.threshold if threshold is None else checked_threshold(threshold), said.refractory_s)
            for each in phrases
        ]
        self.reset()

    @classmethod
    def load(
        cls,
        path: str | Path,
        threshold: float | None = None,
        sensitivity: float | None = None,
        budget: str | float | None = None,
        gate: bool = False,
    ) -> Detector:
        """A detector from a trained model (`.wakeword`, needs torch) or an exported one (`.onnx`,
        `.tflite`, needs ai-edge-litert, or `.pte`, needs executorch and torch).

        Args:
            threshold: for all phrases, in place of the file's own.
            sensitivity, budget: in place of a threshold; for all phrases, along the curve of each: see `thresholds_at`.
            gate: spare the CPU where nothing is heard but the room: see `take_gate`.

        Raises:
            ModelError: no such file, or a foreign, truncated or older one; or a phrase has no curve.
            ConfigError: `threshold` is not above 0 and at most 1, `sensitivity` not from 0 to 1, or more than one of
                the three is given.
            WakewordError: a `.wakeword` file, and torch is not installed; or a malformed budget.
        """
        if threshold is not None:
            checked_threshold(threshold)  # here, where it is not yet mistaken for what the file says
        if sum(given is not None for given in (threshold, sensitivity, budget)) > 1:
            raise ConfigError("give a threshold, a sensitivity or a budget, and not several of them")
        try:
            detector = cls(*load_model(path), threshold=threshold)
        except ConfigError as error:
            raise ModelError(
                f"{path}: {error}: damaged, or made by another version: train or export it again"
            ) from error
        try:
            if sensitivity is not None or budget is not None:
                detector.thresholds = detector.thresholds_at(sensitivity, budget)
            if gate:
                detector.take_gate(*gate_of(detector.feature_settings))
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
        return detector

    def thresholds_at(self, sensitivity: float | None = None, budget: str | float | None = None) -> tuple[float, ...]:
        """For each phrase the threshold at a sensitivity, or for a budget of false alarms, by its curve.

        The model's own thresholds stay as they are: set `thresholds` to what this gives, or to a part of it.

        Args:
            sensitivity: from 0 to 1, the higher the fewer misses and the more false alarms. 0.5 is the calibrated
                threshold; 1 stands for ten times as many false alarms, 0 for a tenth, evenly in their logarithm
                (`curve.Curve.budget_at`).
            budget: false alarms of each phrase, such as "1 per 24 h" or a number an hour, in place of a sensitivity.

        Raises:
            ModelError: a phrase has no curve.
            ConfigError: a sensitivity that is not from 0 to 1, a budget beyond a curve's ends, or both or none given.
            WakewordError: a malformed budget.
        """
        if (sensitivity is None) == (budget is None):
            raise ConfigError("give a sensitivity or a budget")
        missing = [repr(phrase) for phrase, curve in zip(self.phrases, self.curves, strict=True) if curve is None]
        if missing:
            raise ModelError(
                f"no curve of false alarms for {', '.join(missing)}: run 'wakeword calibrate' on the model, or give a "
                "threshold"
            )
        rate = None if budget is None else parse_budget(budget)
        return tuple(
            curve.threshold_at(curve.budget_at(sensitivity) if rate is None else rate) for curve in self.curves
        )

    @property
    def thresholds(self) -> tuple[float, ...]:
        return tuple(trigger.threshold for trigger in self._triggers)

    @thresholds.setter
    def thresholds(self, values: Sequence[float]) -> None:
        if not isinstance(values, (Sequence, np.ndarray)) or len(values) != len(self.phrases):
            raise ConfigError(f"thresholds {values!r}: give one for each of {len(self.phrases)} phrase(s), in a list")
        for trigger, value in zip(self._triggers, [checked_threshold(value) for value in values], strict=True):
            trigger.threshold = value

    def take_features(self, hear: Callable, silence: np.ndarray) -> None:
        """Compute features with a step, and from a zero state, that other detectors have too; begins a new stream."""
        self._hear, self._silence = hear, silence
        self.reset()

    def take_encoder(self, encoder: Callable, step: Callable, state: object) -> None:
        """Run the model with a step, and from a zero state, that shares `encoder`; begins a new stream."""
        self.encoder, self._step, self._zero_state = encoder, step, state
        self.reset()

    @property
    def memory_frames(self) -> int:
        """How many earlier encoder frames a posterior depends on.

        Raises:
            ModelError: the model file does not say so.
        """
        zero = self._zero_state.model if isinstance(self._zero_state, Behind) else self._zero_state
        parts = zero if isinstance(zero, (tuple, list)) else (zero,)
        return memory_frames(self.info, sum(map(np.size, parts)))

    def take_gate(self, decide: Callable, room: object, memory: int | None = None) -> None:
        """Run the model only while a gate is open (`gate.step`, or one that others share); begins a new stream.

        Scores are 0 while it is shut, at the times that they always have. Those of an open gate are as without one,
        but for the averaging with zeros in its first `smoothing_frames` - 1.

        Args:
            decide, room: the gate's step and zero state.
            memory: how many encoder frames the model hears again when it opens; None for `memory_frames`.

        Raises:
            ModelError: as `memory_frames`.
        """
        memory = self.memory_frames if memory is None else memory
        self._step, self._zero_state = gated(self._step, self._zero_state, decide, room, memory, len(self.phrases))
        self.reset()

    @property
    def gate_open(self) -> float | None:
        """The share of the stream for which the gate was open so far; None without a gate."""
        if not isinstance(self._state, Behind):
            return None
        return self._state.opened / max(1, self._frames)

    @property
    def resting(self) -> bool:
        """Whether the gate was shut in the last frame: no score but 0 comes before it opens."""
        return isinstance(self._state, Behind) and self._state.skipped > 0

    def twin(self) -> Detector:
        """A detector for another stream, with the thresholds that this one has now; the weights are shared.

        Twins may run at the same time, each in a thread of its own.
        """
        other = copy(self)
        other._triggers = [Trigger(each.threshold, self.refractory_s) for each in self._triggers]
        other.reset()
        return other

    def reset(self) -> None:
        """Begin a new stream."""
        self._samples = self._silence
        self.peaks: tuple[float, ...] | None = None
        self._waiting = np.zeros((0, self.feature_settings.mels), np.float32)
        self._state = self._zero_state
        self._recent = np.zeros((self._smoothing_frames - 1, len(self.phrases)), np.float32)
        self._frames = 0
        for trigger in self._triggers:
            trigger.reset()

    def scores(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The scores that a block completes, of all phrases.

        Args:
            samples: float32 `[n]` in [-1, 1], 16 kHz mono; any `n`. Other floats are converted; where a sample is NaN
                or infinite, zero is heard, since the states would keep it for seconds.

        Returns:
            `time_s` float64 `[m]`, the seconds of stream after which each score is known, and `score` float32
            `[m, phrases]`, the posteriors averaged over the last `smoothing_frames` frames.

        Raises:
            AudioError: integers, or not one channel.
        """
        samples = np.asarray(samples)
        if samples.dtype.kind != "f" or samples.ndim != 1:
            raise _unfit(samples)
        if not np.isfinite(samples).all():
            samples = np.where(np.isfinite(samples), samples, 0)
        if len(samples) <= _MOST_SAMPLES:
            posteriors = self._posteriors(samples)
        else:
            found = [self._posteriors(samples[i : i + _MOST_SAMPLES]) for i in range(0, len(samples), _MOST_SAMPLES)]
            posteriors = np.concatenate(found)
        count = len(posteriors)
        heard = np.concatenate([self._recent, posteriors])
        self._recent = heard[count:].copy()
        score = sum(heard[start : start + count] for start in range(self._smoothing_frames))
        score /= np.float32(self._smoothing_frames)
        time_s = self.feature_settings.frame_s * (self._frames + 1 + np.arange(count))
        self._frames += count
        return time_s, score

    def process(self, samples: np.ndarray) -> list[Hit]:
        """The hits in a block, in order of time: float32 `[n]` in [-1, 1], 16 kHz mono, any `n`.

        Raises:
            AudioError: as `scores`.
        """
        return self.hits_in(*self.scores(samples))

    def hits_in(self, time_s: np.ndarray, score: np.ndarray) -> list[Hit]:
        """The hits in the scores that a block completed, as `scores` gives them, each block's once and in order."""
        if not len(score):
            return []
        hits: list[Hit] = []
        # Nearly all blocks reach no threshold. That is seen for all phrases at once, so that one more costs nothing.
        self.peaks = tuple(np.fmax.reduce(score).tolist())
        for output, peak in enumerate(self.peaks):
            trigger = self._triggers[output]
            if peak < trigger.threshold:
                trigger.rest()
                continue
            fired = trigger.step(time_s, score[:, output])
            hits += [Hit(self.phrases[output], float(time_s[i]), float(score[i, output])) for i in fired]
        return sorted(hits, key=lambda hit: hit.time_s)

    def listen(self, device: int | str | None = None) -> Iterator[Hit]:
        """Hits from a microphone (the default one, or chosen by number or a part of its name), as they come.

        Raises:
            WakewordError: there is no microphone, or no PortAudio library.
        """
        from wakeword.listener.listener import listen

        return listen([self], device=device)

    def _posteriors(self, samples: np.ndarray) -> np.ndarray:
        frames, self._samples = self._hear(samples, self._samples)
        if len(self._waiting):
            frames = np.concatenate([self._waiting, frames])
        ready = len(frames) // FRAMES_PER_STEP * FRAMES_PER_STEP
        self._waiting = frames[ready:]
        if not ready:
            return np.zeros((0, len(self.phrases)), np.float32)
        posteriors, self._state = self._step(frames[None, :ready], self._state)
        return posteriors


def _unfit(samples: np.ndarray) -> AudioError:
    if samples.ndim != 1:
        return AudioError(f"samples of shape {list(samples.shape)}: give one channel, [n]: average or choose channels")
    return AudioError(
        f"samples of type {samples.dtype}: give float32 in [-1, 1]; 16-bit integers are divided by 32768 for that"
    )
