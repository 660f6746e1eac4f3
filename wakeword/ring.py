"""Where an audio callback leaves its blocks: bounded, made beforehand, and never waiting for the reader."""

from __future__ import annotations

import queue
import time

import numpy as np


class Ring:
    """A ring of `slots` blocks of up to `frames` x `channels` float32 samples, for one writer and one reader thread.

    Attributes:
        overruns: blocks that found no free slot and were dropped.
    """

    def __init__(self, slots: int, frames: int, channels: int):
        self._blocks = np.zeros((slots, frames, channels), np.float32)
        # The sizes and times of what lies in the ring. SimpleQueue.put is one C call that never waits for a reader.
        self._held: queue.SimpleQueue[tuple[int, int, float]] = queue.SimpleQueue()
        self._written = self._read = 0
        self.overruns = 0

    def put(self, block: np.ndarray) -> None:
        """Copy a block `[n, channels]` in, `n` at most `frames`; drop it and count that, where there is no room."""
        size = len(block)
        if self._written - self._read >= len(self._blocks) or size > self._blocks.shape[1]:
            self.overruns += 1
            return
        slot = self._written % len(self._blocks)
        self._blocks[slot, :size] = block
        self._written += 1
        self._held.put((slot, size, time.monotonic()))

    def get(self, timeout_s: float) -> tuple[np.ndarray, float]:
        """A copy of the oldest block, and when it was put there (`time.monotonic`).

        Raises:
            queue.Empty: none came in `timeout_s` seconds.
        """
        slot, size, arrived_s = self._held.get(timeout=timeout_s)
        block = self._blocks[slot, :size].copy()
        self._read += 1
        return block, arrived_s
