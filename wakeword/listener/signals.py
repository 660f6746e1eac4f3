"""How a server is ended."""

from __future__ import annotations

import asyncio
import signal


def stop_at_signals() -> asyncio.Event:
    """An event that is set at SIGINT or SIGTERM; to be called in the main thread, in the event loop.

    Also where SIGINT was ignored: a shell starts background jobs so.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
