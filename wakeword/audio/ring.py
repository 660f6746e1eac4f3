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
        # The writer copies bytes: numpy would cost it more than all else, after the pause that each block follows.
        self._bytes = memoryview(self._blocks).cast("B")
        self._slot_bytes, self._frame_bytes = self._blocks[0].nbytes, self._blocks[0, 0].nbytes
        # The sizes and times of what lies in the ring. SimpleQueue.put is one C call that never waits for a reader.
        self._held: queue.SimpleQueue[tuple[int, int, float]] = queue.SimpleQueue()
        self._written = self._read = 0
        self.overruns = 0

    def put(self, block: bytes | memoryview) -> None:
        """Copy a block `[n, channels]` in, its float32 samples as bytes, `n` at most `frames`; drop it and count that,
        where there is no room."""
        size = len(block)
        if self._written - self._read >= len(self._blocks) or size > self._slot_bytes:
            self.overruns += 1
            return
        slot = self._written % len(self._blocks)
        start = slot * self._slot_bytes
        self._bytes[start : start + size] = block
        self._written += 1
        self._held.put((slot, size, time.monotonic()))

    def get(self, timeout_s: float, most: int = 1) -> tuple[np.ndarray, float]:
        """The oldest block, with those that lie there already after it, `most` in all, as one copy `[n, channels]`;
        and when the last of them was put there (`time.monotonic`).

        Raises:
            queue.Empty: none came in `timeout_s` seconds.
        """
        held = [self._held.get(timeout=timeout_s)]
        while len(held) < most and not self._held.empty():
            held.append(self._held.get())
        blocks = np.concatenate([self._blocks[slot, : size // self._frame_bytes] for slot, size, _ in held])
        self._read += len(held)
        return blocks, held[-1][2]
