"""The ring between the audio callback and the reader."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeword.audio.ring import Ring


def raw(block: np.ndarray) -> memoryview:
    """A block as PortAudio gives it: bytes that it will write over."""
    return block.data.cast("B")


@given(
    st.lists(st.one_of(st.integers(1, 7), st.tuples(st.just("get"), st.integers(1, 5))), max_size=60), st.integers(1, 4)
)
def test_blocks_come_out_as_they_went_in_and_those_without_room_are_counted(steps, slots) -> None:
    ring, expected, overruns, value = Ring(slots, 6, 2), [], 0, 0.0
    for step in steps:
        if isinstance(step, tuple):
            most = step[1]
            if expected:
                np.testing.assert_array_equal(ring.get(1.0, most)[0], np.concatenate(expected[:most]))
                del expected[:most]
            else:
                with pytest.raises(queue.Empty):
                    ring.get(0.0, most)
            continue
        value += 1
        block = np.full((step, 2), value, np.float32)
        ring.put(raw(block))
        if len(expected) < slots and step <= 6:
            expected.append(block.copy())
        else:
            overruns += 1
        block[:] = -1  # PortAudio writes the next block over it
        assert ring.overruns == overruns
    for block in expected:
        np.testing.assert_array_equal(ring.get(1.0)[0], block)


def test_a_reader_that_sleeps_never_holds_up_the_writer_and_gets_the_oldest_blocks() -> None:
    ring, block = Ring(100, 1280, 1), np.zeros((1280, 1), np.float32)
    longest = 0.0
    for number in range(5000):
        block[:] = number
        began = time.thread_time()
        ring.put(raw(block))
        longest = max(longest, time.thread_time() - began)
    assert ring.overruns == 4900 and [ring.get(1)[0][0, 0] for _ in range(100)] == list(range(100))
    assert longest < 0.05


def test_a_writer_and_a_reader_at_once_lose_nothing_that_is_not_counted() -> None:
    ring, got = Ring(8, 16, 1), []

    def read() -> None:
        while (block := ring.get(30.0, 3)[0])[0, 0] >= 0:
            blocks = block.reshape(-1, 16)
            assert (blocks == blocks[:, :1]).all(), "written over while it was read"
            got.extend(blocks[:, 0].astype(int).tolist())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(3000):
        ring.put(raw(np.full((16, 1), number, np.float32)))
    lost = ring.overruns
    while ring._written != ring._read:
        time.sleep(0.001)
    ring.put(raw(np.full((16, 1), -1, np.float32)))
    reader.join(30)
    assert len(got) + lost == 3000 and got == sorted(set(got)) and got[:8] == list(range(8))


def test_a_block_says_when_it_came() -> None:
    ring = Ring(2, 4, 1)
    before = time.monotonic()
    ring.put(raw(np.zeros((4, 1), np.float32)))
    after = time.monotonic()
    time.sleep(0.05)
    assert before <= ring.get(1)[1] <= after


def test_blocks_that_are_read_together_came_when_the_last_of_them_did() -> None:
    ring, block = Ring(4, 4, 1), np.zeros((4, 1), np.float32)
    ring.put(raw(block))
    ring.put(raw(block))
    time.sleep(0.05)
    before = time.monotonic()
    ring.put(raw(block))
    blocks, arrived_s = ring.get(1, 9)
    assert len(blocks) == 12 and before <= arrived_s <= time.monotonic()
