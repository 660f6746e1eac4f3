"""Several models on one stream: features are computed once, and so is an encoder that models have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from wakeword.detector.detector import Detector
from wakeword.detector.gate import Room, gate_of
from wakeword.errors import ModelError
from wakeword.features import log_mel
from wakeword.model.halves import halves_of
from wakeword.model.runtimes import Step


class Once:
    """A step of a stream that several detectors take with the same input: computed for the first, kept for the others.

    What is kept is given only for the same samples or frames after the very same state, so a detector that was reset,
    or hears something else, gets what is right for it. Detectors that share one run in one thread.
    """

    def __init__(self, step: Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]):
        self._step = step
        self._input: np.ndarray | None = None
        self._state: Any = None
        self._found: tuple[np.ndarray, Any] | None = None

    def __call__(self, x: np.ndarray, state: Any) -> tuple[np.ndarray, Any]:
        if self._found is None or state is not self._state or not np.array_equal(x, self._input):
            self._found = self._step(x, state)
            # A copy: the owner of a block may write the next one over it.
            self._input, self._state = x.copy(), state
        return self._found


def load_together(
    paths: Sequence[str | Path],
    threshold: float | None = None,
    sensitivity: float | None = None,
    budget: str | float | None = None,
    gate: bool = False,
) -> list[Detector]:
    """A detector for each model file, as `Detector.load` gives it, to be given the same blocks of one stream.

    Detectors of the same log-mel settings compute them once. Those of the same runtime whose encoders have the same
    weights (`halves.Halves.key`: clips too few to train the encoder along, or `train --unfreeze none`) run it once.
    Where the encoder or its upper blocks were trained along each model runs its own. With `gate`, one gate for each
    feature setting decides for all, and all hear as much again when it opens as the one that needs most, so that
    encoders stay shared.

    Raises:
        ModelError, ConfigError, WakewordError: as `Detector.load`.
    """
    detectors = [Detector.load(path, threshold, sensitivity, budget) for path in paths]
    if len(detectors) > 1:
        _share_features(detectors)
        _share_encoders(detectors, paths)
    if gate:
        _share_gates(detectors, paths)
    return detectors


def encoders(detectors: Sequence[Detector]) -> int:
    """How many encoders run for these detectors."""
    return len({id(detector.encoder or detector) for detector in detectors})


def _share_features(detectors: list[Detector]) -> None:
    shared: dict[log_mel.FeatureSettings, tuple[Once, np.ndarray]] = {}
    for detector in detectors:
        settings = detector.feature_settings
        if settings.front_end != log_mel.LOG_MEL:
            continue  # their state goes on once: a detector that hears something else needs its own
        if settings not in shared:
            shared[settings] = Once(partial(log_mel.step, settings=settings)), log_mel.initial_state(settings)
        detector.take_features(*shared[settings])


def _share_encoders(detectors: list[Detector], paths: Sequence[str | Path]) -> None:
    halves = [halves_of(path) for path in paths]
    keys = Counter(half.key for half in halves if half is not None)
    shared: dict[str, tuple[Once, np.ndarray]] = {}
    for detector, half in zip(detectors, halves, strict=True):
        if half is None or keys[half.key] == 1:
            continue
        encode, encoder_zero, head, head_zero = half.open()
        once, zero = shared.setdefault(half.key, (Once(encode), encoder_zero))
        detector.take_encoder(once, partial(_above, once, head), (zero, head_zero))


def _share_gates(detectors: list[Detector], paths: Sequence[str | Path]) -> None:
    shared: dict[log_mel.FeatureSettings, tuple[Once, Room]] = {}
    memory = 0
    for detector, path in zip(detectors, paths, strict=True):
        settings = detector.feature_settings
        try:
            if settings not in shared:
                decide, room = gate_of(settings)
                shared[settings] = Once(decide), room
            memory = max(memory, detector.memory_frames)
        except ModelError as error:
            raise ModelError(f"{path}: {error}") from error
    for detector in detectors:
        detector.take_gate(*shared[detector.feature_settings], memory)


def _above(encode: Once, head: Step, frames: np.ndarray, state: tuple) -> tuple[np.ndarray, tuple]:
    """A whole model's step from its halves; its state is a pair."""
    taps, encoder_state = encode(frames, state[0])
    posteriors, head_state = head(taps, state[1])
    return posteriors, (encoder_state, head_state)
