"""What may happen to a phrase on its way to the detector, a condition each: noise, rooms, levels, speeds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from wakeword.audio.clips import Clip, read_clips
from wakeword.audio.levels import active_power
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import Skipped, WakewordError, require
from wakeword.evaluation.streams import Change

NOISE, REVERBERATION, LEVEL, SPEED = "noise", "reverberation", "level", "speed"
SNRS_DB = (20.0, 15.0, 10.0, 5.0, 0.0)
LEVELS_DBFS = (-40.0, -30.0, -20.0, -10.0, 0.0)
SPEEDS = (0.8, 0.9, 1.1, 1.25)
T60_S = (0.3, 0.6)  # between a car or a furnished room, an office or living room, and a kitchen or hall
ROOMS = 100
ROOMS_SEED = 60  # not training's: these rooms are new to every model
SNR_MOST_DB = 100.0  # beyond, either way, one of the two is all that 16 bits hold
EVALUATED_DB = (-5.0, -25.0)  # of ISO 3382-1: T20


@dataclass(frozen=True)
class Condition:
    """How the clips of a phrase are heard: with noise at `snr_db`, or changed; as they are where both are None.

    Conditions of one `axis` make one table; `name` is unique among all.
    """

    axis: str
    name: str
    snr_db: float | None = None
    change: Change | None = None


CLEAN = Condition(NOISE, "clean")


def noisy(snr_db: float | None) -> Condition:
    """Noise at an SNR, or none.

    Raises:
        WakewordError: an SNR that is no number, or beyond all sense.
    """
    if snr_db is None:
        return CLEAN
    if not abs(snr_db) <= SNR_MOST_DB:  # nor nan
        raise WakewordError(f"an SNR of {snr_db:g} dB: must be from {-SNR_MOST_DB:g} to {SNR_MOST_DB:g}")
    return Condition(NOISE, f"{snr_db:g} dB", snr_db)


def ordered(conditions: Iterable[Condition]) -> dict[str, Condition]:
    """Conditions by name, each once, in order: noise from clean to the lowest SNR, then the others as they came."""
    by_name = {condition.name: condition for condition in conditions}
    noise = [each for each in by_name.values() if each.axis == NOISE]
    noise.sort(key=lambda each: -math.inf if each.snr_db is None else -each.snr_db)
    return {each.name: each for each in [*noise, *(each for each in by_name.values() if each.axis != NOISE)]}


def robustness(rir: Sequence[Clip] = (), skipped: Skipped | None = None, seed: int = 0) -> list[Condition]:
    """The conditions of a robustness report: SNRs, reverberation times, levels and speeds.

    Args:
        rir: recorded impulse responses, classed beside the simulated ones.
        skipped: gets those that cannot be read.

    Raises:
        WakewordError: a package of the extra `train` is missing, or none of `rir` can be read.
    """
    rooms = rooms_by_time(rir, skipped if skipped is not None else Skipped(), seed)
    return [
        *map(noisy, SNRS_DB),
        *(Condition(REVERBERATION, name, change=_in_rooms(responses)) for name, responses in rooms.items()),
        *(Condition(LEVEL, f"{dbfs:g} dBFS", change=_at_level(dbfs)) for dbfs in LEVELS_DBFS),
        *(Condition(SPEED, f"speed {factor:g}", change=_at_speed(factor)) for factor in SPEEDS),
    ]


def rooms_by_time(rir: Sequence[Clip], skipped: Skipped, seed: int = 0) -> dict[str, list[np.ndarray]]:
    """Impulse responses, float32 `[samples]` each, by class of reverberation time: simulated rooms, then `rir`."""
    recorded = [samples for _, samples in read_clips(rir, skipped, check=False) if np.any(samples)]
    if rir and not recorded:
        raise WakewordError(f"none of {len(rir)} impulse responses can be used. {skipped.summary()}")
    sources = {"simulated": _augment().simulated_rooms(ROOMS, ROOMS_SEED + seed), "recorded": recorded}
    found: dict[str, list[np.ndarray]] = {}
    for source, responses in sources.items():
        classes: dict[str, list[np.ndarray]] = {name: [] for name in map(_time_class, (0.0, *T60_S, None))}
        for response in responses:
            classes[_time_class(reverberation_time(response))].append(response)
        found |= {f"{name}, {len(kept)} {source}": kept for name, kept in classes.items() if kept}
    return found


def reverberation_time(response: np.ndarray) -> float | None:
    """T60 in seconds of an impulse response, float32 `[samples]`, from its loudest path on: as ISO 3382-1's T20.

    The energy that is still to come (Schroeder, "New method of measuring reverberation time", JASA 37, 1965) falls on
    a line between -5 and -25 dB, which is carried on to -60 dB. None where that takes longer than the response itself:
    the recording's own noise then covers the decay, or it was cut off. 0 where nothing follows the direct sound.
    """
    power = np.asarray(response, np.float64)[int(np.argmax(np.abs(response))) :] ** 2
    left = np.cumsum(power[::-1])[::-1]
    level = 10 * np.log10(np.maximum(left / max(left[0], 1e-30), 1e-30))
    inside = np.flatnonzero((level <= EVALUATED_DB[0]) & (level >= EVALUATED_DB[1]))
    if len(inside) < 2:
        return 0.0
    slope = np.polyfit(inside / SAMPLE_RATE, level[inside], 1)[0]
    seconds = -60 / slope if slope < 0 else math.inf
    return float(seconds) if seconds <= len(response) / SAMPLE_RATE else None


def _time_class(seconds: float | None) -> str:
    if seconds is None:
        return "T60 not measurable"
    low, high = T60_S
    if seconds < low:
        return f"T60 under {low:g} s"
    return f"T60 {low:g} to {high:g} s" if seconds < high else f"T60 over {high:g} s"


def _in_rooms(responses: list[np.ndarray]) -> Change:
    def change(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        wet = _augment().reverberated(samples, responses[rng.integers(len(responses))])
        # As loud as before, so that it is the room that is judged.
        return _augment().at_level(wet, 10 * math.log10(active_power(samples)), active_power(wet))

    return change


def _at_level(dbfs: float) -> Change:
    return lambda samples, rng: _augment().at_level(samples, dbfs, active_power(samples))


def _at_speed(factor: float) -> Change:
    return lambda samples, rng: _augment().at_speed(samples, factor)


def _augment():
    for package in ("lhotse", "scipy"):
        require(package)
    from wakeword.augmentation import augment

    return augment
