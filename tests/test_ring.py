"""The ring between the audio callback and the reader."""

from __future__ import annotations

import queue
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wakeword.ring import Ring


@given(st.lists(st.one_of(st.integers(1, 7), st.just("get")), max_size=60), st.integers(1, 4))
def test_blocks_come_out_as_they_went_in_and_those_without_room_are_counted(steps, slots) -> None:
    ring, expected, overruns, value = Ring(slots, 6, 2), [], 0, 0.0
    for step in steps:
        if step == "get":
            if expected:
                np.testing.assert_array_equal(ring.get(1.0)[0], expected.pop(0))
            else:
                with pytest.raises(queue.Empty):
                    ring.get(0.0)
            continue
        value += 1
        block = np.full((step, 2), value, np.float32)
        ring.put(block)
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
        ring.put(block)
        longest = max(longest, time.thread_time() - began)
    assert ring.overruns == 4900 and [ring.get(1)[0][0, 0] for _ in range(100)] == list(range(100))
    assert longest < 0.05


def test_a_writer_and_a_reader_at_once_lose_nothing_that_is_not_counted() -> None:
    ring, got = Ring(8, 16, 1), []

    def read() -> None:
        while (block := ring.get(30.0)[0])[0, 0] >= 0:
            assert (block == block[0]).all(), "written over while it was read"
            got.append(int(block[0, 0]))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(3000):
        ring.put(np.full((16, 1), number, np.float32))
    lost = ring.overruns
    while ring._written != ring._read:
        time.sleep(0.001)
    ring.put(np.full((16, 1), -1, np.float32))
    reader.join(30)
    assert len(got) + lost == 3000 and got == sorted(set(got)) and got[:8] == list(range(8))


def test_a_block_says_when_it_came() -> None:
    ring = Ring(2, 4, 1)
    before = time.monotonic()
    ring.put(np.zeros((4, 1), np.float32))
    after = time.monotonic()
    time.sleep(0.05)
    assert before <= ring.get(1)[1] <= after
