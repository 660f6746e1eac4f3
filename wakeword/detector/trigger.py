"""From scores to alarms: threshold, re-arming and refractory time, the same code live and in evaluation."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np

# Frame times are multiples of 40 ms in binary floating point: without this, 25 frames may be "less" than 1 s.
TIME_TOLERANCE_S = 1e-6


class Trigger:
    """Fires when the score reaches the threshold, at most once an excursion and once in `refractory_s` seconds.

    A frame fires if the trigger is armed, its score is at or above the threshold and the last firing lies at least
    `refractory_s` back. Firing disarms; a score below the threshold (or NaN) arms again. So a score that stays high
    fires once, and an excursion that begins inside the refractory time fires when that time is over, if it lasts.

    Any split of a stream into calls of `step` gives the same firings.
    """

    def __init__(self, threshold: float, refractory_s: float = 1.0) -> None:
        self.threshold = threshold
        self.refractory_s = refractory_s
        self.reset()

    def reset(self) -> None:
        """Begin a new stream: armed, with no firing behind it."""
        self._armed = True
        self._last_s = -np.inf

    def rest(self) -> None:
        """What `step` does of one or more frames that are all below the threshold: arm again."""
        self._armed = True

    def step(self, time_s: np.ndarray, score: np.ndarray) -> np.ndarray:
        """Indices int64 [k] of the frames that fire.

        Args:
            time_s: float [n], seconds, ascending, also over calls.
            score: float [n].
        """
        # float64: a float32 array would round the threshold, and the same threshold must cut alike everywhere.
        above = np.asarray(score, np.float64) >= float(self.threshold)
        if not above.any():  # almost every block
            self._armed = self._armed or above.size > 0
            return np.zeros(0, np.int64)
        time_s = np.asarray(time_s, np.float64)
        # One excursion: consecutive frames at or above the threshold, start inclusive, end exclusive.
        edges = np.flatnonzero(above[1:] != above[:-1]) + 1
        if above[0]:
            edges = np.concatenate([[0], edges])
        if above[-1]:
            edges = np.concatenate([edges, [above.size]])
        starts, ends = edges[0::2], edges[1::2]
        spent = above[0] and not self._armed
        if spent:
            starts, ends = starts[1:], ends[1:]
        fired = self._fire(time_s, starts, ends)
        if fired.size:
            self._last_s = float(time_s[fired[-1]])
        if not above[-1]:
            self._armed = True
        elif starts.size:  # the last excursion goes on: is its one firing used up?
            self._armed = not (fired.size and fired[-1] >= starts[-1])
        return fired

    def _fire(self, time_s: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
        wait = self.refractory_s - TIME_TOLERANCE_S
        if starts.size == 0:
            return np.zeros(0, np.int64)
        begins = time_s[starts]
        # The usual case, excursions far apart, needs no loop: each fires where it begins.
        if begins[0] - self._last_s >= wait and np.all(np.diff(begins) >= wait):
            return starts.astype(np.int64)
        first, after, last_s, fired, excursion = starts.tolist(), ends.tolist(), self._last_s, [], 0
        while True:
            ready = int(np.searchsorted(time_s, last_s + wait)) if np.isfinite(last_s) else 0
            excursion = max(excursion, bisect_right(after, ready))  # skip those that end too early
            if excursion >= len(first):
                return np.asarray(fired, np.int64)
            frame = max(first[excursion], ready)
            fired.append(frame)
            last_s = float(time_s[frame])
            excursion += 1
