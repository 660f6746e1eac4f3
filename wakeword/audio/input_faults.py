"""What a microphone does wrong while it gives sound, each told once or once in a while: never a line a block."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from wakeword.audio.waveform import CLIPPED_MOST, FULL_SCALE

SILENCE_S, LATER_SILENCE_S = 10.0, 60.0
REPORT_EVERY_S = 60.0
SUSPENDED_S = 1.0


class InputFaults:
    """Tells of sound that is dropped, no number, clipped or nothing but zeros.

    Dropped and unusable sound, and clipping, are told at most once a minute each. Zeros are told after 10 s at the
    start and later, since some microphones give zeros in a quiet room, after 60 s; again only when sound has come.
    """

    def __init__(self, tell: Callable[[str], None], name: str):
        self._tell, self._name = tell, name
        now = time.monotonic()
        self._told = self._told_clipped = now - REPORT_EVERY_S
        self._before = (0, 0)
        self._zeros_from, self._zeros_told, self._patience_s = now, False, SILENCE_S
        self._full = self._count = 0
        self._counted_from = now

    def block(self, block: np.ndarray, dropped: int, nonfinite: int) -> None:
        """A block of the device, and how much was dropped and no number since the start."""
        now = time.monotonic()
        if (dropped, nonfinite) != self._before and now - self._told >= REPORT_EVERY_S:
            self._tell(
                f"microphone '{self._name}': {dropped} block(s) of sound dropped (is the machine too slow?), "
                f"{nonfinite} sample(s) NaN or infinite"
            )
            self._told, self._before = now, (dropped, nonfinite)
        self._clipping(block, now)
        if block.any():
            self._zeros_from, self._zeros_told, self._patience_s = now, False, LATER_SILENCE_S
        elif not self._zeros_told and now - self._zeros_from > self._patience_s:
            self._tell(f"microphone '{self._name}' gives only zeros: is it muted, or may this program not use it?")
            self._zeros_told = True

    def _clipping(self, block: np.ndarray, now: float) -> None:
        # Counted over seconds: a door that slams is no wrong gain.
        self._full += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
        self._count += block.size
        if now - self._counted_from < SILENCE_S:
            return
        clipped = self._full / self._count
        if clipped > CLIPPED_MOST and now - self._told_clipped >= REPORT_EVERY_S:
            self._tell(f"microphone '{self._name}': {clipped:.0%} of its samples at full scale: turn its gain down")
            self._told_clipped = now
        self._full, self._count, self._counted_from = 0, 0, now


def suspended_s() -> float:
    """Seconds that the machine has slept since it started (Linux; 0 elsewhere): a monotonic clock leaves them out."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.clock_gettime(clock) - time.monotonic() if clock is not None else 0.0
