"""A gate: while nothing is heard but the room, the model does not run; what it says of all else stays what it was."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import numpy as np

from wakeword.errors import ModelError
from wakeword.features.log_mel import FRAMES_PER_STEP, LOG_MEL, FeatureSettings
from wakeword.model.runtimes import Step

BANDS = 8
ABOVE_DB = 2.5  # chosen, like all of these, on training clips: benchmarks/README.md
AVERAGE_S = 0.18  # the time constant of a band's level
RISE_DB_PER_S = 0.5
HOLD_S = 1.0  # a model knows a phrase some tenths of a second after its end
START_S = 3.0  # open at first: until `HOLD_S` before its end the floors are the levels


@dataclass(frozen=True)
class Room:
    """What the gate goes by: level and floor of each band in dB, and for how many encoder frames it stays open."""

    levels: tuple[float, ...]
    floors: tuple[float, ...]
    left: int


@lru_cache(maxsize=8)
def _constants(settings: FeatureSettings) -> tuple[np.ndarray, float, float, int]:
    """Features to the mean dB of each band, float32 [mels, bands]; by a frame: share of the new, rise, hold."""
    bands = np.arange(settings.mels) * BANDS // settings.mels
    members = (bands[:, None] == np.unique(bands)).astype(np.float32)
    db = 10 / math.log(10) * settings.scale / FRAMES_PER_STEP
    new = 1 - math.exp(-settings.frame_s / AVERAGE_S)
    return members / members.sum(0) * np.float32(db), new, RISE_DB_PER_S * settings.frame_s, frames_in(HOLD_S, settings)


def frames_in(seconds: float, settings: FeatureSettings) -> int:
    return math.ceil(seconds / settings.frame_s - 1e-6)


def initial_state(settings: FeatureSettings) -> Room:
    """Open for `START_S`, in which it learns the room."""
    return Room((), (), frames_in(START_S, settings))


def step(frames: np.ndarray, state: Room, settings: FeatureSettings) -> tuple[list[bool], Room]:
    """Whether the gate is open in each encoder frame of a block of a stream.

    It opens where the level of any band (the mean of its log-mel energies, smoothed) is more than `ABOVE_DB` above its
    floor, and stays open for `HOLD_S`. A floor falls with the level at once and rises by `RISE_DB_PER_S`: a plain
    form of noise tracking by minima (Martin, "Spectral subtraction based on minimum statistics", EUSIPCO 1994), which
    follows steady noise of any level and is not drawn up by speech, whose pauses are short and frequent.

    Args:
        frames: features float32 `[frames, mels]`, `frames` a multiple of `FRAMES_PER_STEP`.
        state: from the step before or `initial_state`.
    """
    weights, new, rise, hold = _constants(settings)
    rows = (frames.reshape(-1, FRAMES_PER_STEP, settings.mels).sum(1) @ weights).tolist()
    if not rows:
        return [], state
    # Plain numbers: a live block holds two frames, for which numpy's calls cost more than they do.
    levels, floors, left, found = list(state.levels or rows[0]), list(state.floors or rows[0]), state.left, []
    for row in rows:
        heard = False
        for band, (now, level, floor) in enumerate(zip(row, levels, floors, strict=True)):
            levels[band] = level = level + new * (now - level)
            floors[band] = floor = level if left > hold else min(level, floor + rise)
            heard = heard or level > floor + ABOVE_DB
        left = max(left, hold) if heard else left
        found.append(left > 0)
        left = max(left - 1, 0)
    return found, Room(tuple(levels), tuple(floors), left)


def gate_of(settings: FeatureSettings) -> tuple[Callable[[np.ndarray, Room], tuple[list[bool], Room]], Room]:
    """`step` and `initial_state` for the features of a model.

    Raises:
        ModelError: features that do not tell how loud it is.
    """
    if settings.front_end != LOG_MEL:
        raise ModelError(
            f"its features (front_end '{settings.front_end}') do not tell how loud it is, which a gate goes by: run it "
            "without one"
        )
    return partial(step, settings=settings), initial_state(settings)


@dataclass(frozen=True)
class Behind:
    """Where a gated stream stands.

    Attributes:
        room: what the gate goes by.
        model: the model's state after the last frame that it was given.
        skipped: how many encoder frames it was not given since.
        held: features of the last of these, `[1, frames, mels]` each.
        opened: encoder frames for which the gate was open since the stream began.
    """

    room: Any
    model: Any
    skipped: int = 0
    held: tuple[np.ndarray, ...] = ()
    opened: int = 0


def memory_frames(info: dict, state_size: int) -> int:
    """How many earlier encoder frames a posterior depends on, by a model file's meta and the size of its state.

    Raises:
        ModelError: the meta does not say its sizes.
    """
    try:
        encoder, head = info["sizes"]["encoder"], info["sizes"]["head"]
        frames = (encoder["kernel"] - 1) * sum(encoder["dilations"])
        return frames + (state_size - frames * encoder["channels"]) // head["channels"]
    except (KeyError, TypeError) as error:
        raise ModelError("the file does not say how far back it hears, which a gate needs: export it again") from error


def gated(
    step: Step, zero: Any, decide: Callable, room: Any, memory: int, outputs: int
) -> tuple[Callable[[np.ndarray, Behind], tuple[np.ndarray, Behind]], Behind]:
    """A model's step that runs where a gate is open, and its zero state. Where it is shut, posteriors are 0.

    When the gate opens, the model hears what it was not given, as far back as its posteriors depend on it; so they are
    those of a model that was never stopped (to within rounding).

    Args:
        step, zero: the model's, as of `runtimes`.
        decide, room: the gate's: `step` and `initial_state`.
        memory: see `memory_frames`.
        outputs: how many phrases.
    """

    def behind_gate(frames: np.ndarray, state: Behind) -> tuple[np.ndarray, Behind]:
        opened, room = decide(frames[0], state.room)
        model, skipped, held = state.model, state.skipped, state.held
        posteriors = np.zeros((len(opened), outputs), np.float32)
        start = 0
        for is_open, run in groupby(opened):
            stop = start + len(list(run))
            piece = frames[:, start * FRAMES_PER_STEP : stop * FRAMES_PER_STEP]
            if not is_open:
                skipped += stop - start
                held = _last((*held, piece), memory * FRAMES_PER_STEP)
            else:
                if skipped > memory:
                    model = zero
                if skipped:
                    before = np.concatenate(held, axis=1)
                    wanted = min(skipped, memory) * FRAMES_PER_STEP
                    piece = np.concatenate([before[:, before.shape[1] - wanted :], piece], axis=1)
                found, model = step(piece, model)
                posteriors[start:stop] = found[len(found) - (stop - start) :]
                skipped, held = 0, ()
            start = stop
        return posteriors, Behind(room, model, skipped, held, state.opened + sum(opened))

    return behind_gate, Behind(room, zero)


def _last(blocks: tuple[np.ndarray, ...], frames: int) -> tuple[np.ndarray, ...]:
    """The last blocks that hold so many feature frames, or all."""
    spare = sum(block.shape[1] for block in blocks) - frames
    while spare >= (first := blocks[0].shape[1]) and len(blocks) > 1:
        blocks, spare = blocks[1:], spare - first
    return blocks
