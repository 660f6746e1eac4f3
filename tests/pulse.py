"""`benchmarks/virtual_sound.py` for tests: they are skipped, with the reason, where there is no virtual microphone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))

import virtual_sound  # noqa: E402

from wakeword.errors import WakewordError  # noqa: E402


@contextmanager
def pulse_null_sink() -> Iterator[virtual_sound.Pulse]:
    """Run a daemon of one's own for the time of the block; skips the test where that is not possible."""
    with ExitStack() as stack:
        try:
            pulse = stack.enter_context(virtual_sound.pulse_null_sink())
        except WakewordError as error:
            pytest.skip(str(error))
        yield pulse
