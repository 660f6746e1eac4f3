"""An engine that has sensitivities and no score: at which it is run, and scores from that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from peers_judged import only, within

from wakeword.evaluation.metrics import Track, count_alarms

SENSITIVITIES = tuple(round(0.1 * step, 1) for step in range(11))
"""Those that it is run at in any case."""
FINEST = 0.0125
"""Around the rates that are reported it is run at sensitivities no farther apart than this."""


def pseudo_score(fired: Sequence[np.ndarray]) -> np.ndarray:
    """Scores of an engine that only says whether it fires, from runs at ascending sensitivities.

    A frame scores 1 where it fires at the lowest of n sensitivities, 1/n where at the highest alone, and 0 where at
    none: a threshold above (n - i - 1) / n and up to (n - i) / n stands for sensitivity i, and for all it fires at
    below that, so that more sensitivity never hears less.

    Args:
        fired: 0 or 1 [frames] for each sensitivity, ascending.
    """
    score = np.zeros(len(fired[0]))
    for index, each in enumerate(fired):
        np.maximum(score, (len(fired) - index) / len(fired) * np.asarray(each).astype(bool), out=score)
    return score


def refined(hear: Callable[[float], Track], kinds: Iterable[np.ndarray], rates: Sequence[float]) -> tuple[float, ...]:
    """`SENSITIVITIES` and further ones, ascending: between the two around a rate of false alarms the middle, and so on
    until they lie as close as `FINEST`. So an engine of sensitivities spends a rate as one of thresholds does.

    Args:
        hear: gives the track of negatives at a sensitivity, 1 where the engine fires and 0 elsewhere.
        kinds: of negatives, for each of which the rates are spent: bool [clips], which of the negatives are.
        rates: false alarms per hour.
    """
    heard = {value: hear(value) for value in SENSITIVITIES}
    for kind in kinds:
        for rate in rates:
            while (between := around(heard, kind, rate)) and between[1] - between[0] > FINEST + 1e-9:
                middle = round(sum(between) / 2, 6)
                heard[middle] = hear(middle)
    return tuple(sorted(heard))


def around(heard: dict[float, Track], kind: np.ndarray, rate: float) -> tuple[float, float] | None:
    """The sensitivity up to which a rate is kept and the next one; None if the lowest exceeds it, or none does."""
    values, tracks = zip(*sorted(heard.items()), strict=True)
    counted = only(replace(tracks[0], score=pseudo_score([track.score for track in tracks])), kind)
    levels = (len(values) - np.arange(len(values)) - 0.5) / len(values)
    beyond = np.flatnonzero(~within(count_alarms([counted], levels), counted.hours, rate))
    return (values[beyond[0] - 1], values[beyond[0]]) if beyond.size and beyond[0] else None
