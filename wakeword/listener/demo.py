"""A web page on this machine: what detectors hear, live, and clips recorded for training.

A page needs a server for its token and its detectors, and a websocket for its sound. Both are the package
`websockets`': it takes one GET a connection, refuses a body or a message by its declared length, times out what is not
whole, and needs nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import webbrowser
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from wakeword.detector.detector import Detector
from wakeword.errors import WakewordError
from wakeword.listener.demo_door import Denied, Door
from wakeword.listener.demo_page import MESSAGE_BYTES, Page, Refused
from wakeword.listener.signals import stop_at_signals

if TYPE_CHECKING:
    from data_prep.recorded import ClipFolder

HOST = "127.0.0.1"
DEFAULT_PORT = 10480
MOST_PAGES = 4
MOST_CONNECTIONS = 24  # a browser opens up to six at once for a page's files
REQUEST_S = 10.0
CLOSE_S = 2.0
PING_S = 20.0


@dataclass
class Shown:
    """What a server did: pages that were opened, hits they were told of, clips recorded, requests refused."""

    pages: int = 0
    hits: int = 0
    clips: int = 0
    refused: int = 0


def demo(
    detectors: Sequence[Detector],
    models: Sequence[str],
    port: int = DEFAULT_PORT,
    clips: ClipFolder | None = None,
    tell: Callable[[str], None] = print,
    open_browser: bool = False,
) -> Shown:
    """Serve the page on 127.0.0.1 until SIGINT or SIGTERM; to be called in the main thread.

    Args:
        detectors: see `together.load_together`; each page has states of its own in them.
        models: the file of each, as it is shown.
        port: 0 takes a free one.
        clips: where clips are recorded to; None if none are.
        tell: told, in one line each, the address to open, and the first of each kind of request that was refused.
        open_browser: open the page in the default browser.

    Raises:
        WakewordError: the port cannot be had.
    """
    return asyncio.run(_Server(detectors, models, clips, tell).run(port, open_browser))


class _Server:
    def __init__(
        self,
        detectors: Sequence[Detector],
        models: Sequence[str],
        clips: ClipFolder | None,
        tell: Callable[[str], None],
    ):
        self._detectors, self._models, self._clips, self._tell = detectors, models, clips, tell
        self._shown = Shown()
        self._pages: set[Page] = set()
        self._told: set[str] = set()

    async def run(self, port: int, open_browser: bool) -> Shown:
        stop = stop_at_signals()
        silent = logging.Logger("wakeword.demo", logging.CRITICAL + 1)  # it would print a traceback a broken request
        with ExitStack() as stack:
            self._hear, self._write = (
                partial(asyncio.get_running_loop().run_in_executor, stack.enter_context(ThreadPoolExecutor(1, name)))
                for name in ("wakeword-hear", "wakeword-write")
            )
            try:
                server = await serve(
                    self._converse,
                    HOST,
                    port,
                    process_request=self._answer,
                    create_connection=_bounded(MOST_CONNECTIONS, self._refuse),
                    compression=None,  # a message is as long as it says
                    max_size=MESSAGE_BYTES,
                    max_queue=8,
                    open_timeout=REQUEST_S,
                    close_timeout=CLOSE_S,
                    ping_interval=PING_S,
                    ping_timeout=PING_S,
                    server_header=None,
                    logger=silent,
                    start_serving=False,
                )
                self._door = Door(server.sockets[0].getsockname()[1])
                await server.start_serving()
            except (OSError, OverflowError) as error:
                reason = getattr(error, "strerror", None) or error
                raise WakewordError(
                    f"--port {port}: cannot listen on {HOST} there ({reason}): is another one running? Choose another "
                    "port, or 0 for any"
                ) from error
            self._tell(f"open {self._door.address()} (it is for you alone: whoever has this address can use it)")
            if open_browser:
                asyncio.get_running_loop().run_in_executor(None, webbrowser.open, self._door.address_once())
            await stop.wait()
            server.close()
            await server.wait_closed()
        return self._shown

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """None lets a websocket begin."""
        try:
            # Older versions take no other method, and do not name it.
            method = getattr(request, "method", "GET")
            answer = self._door.check(method, request.path, request.headers.get_all)
        except Denied as denied:
            self._refuse(f"a request was refused: {denied}")
            return _response(denied.status, f"{denied}\n".encode(), [("Content-Type", "text/plain")])
        return None if answer.body is None else _response(HTTPStatus.OK, answer.body, answer.headers)

    async def _converse(self, connection: ServerConnection) -> None:
        if len(self._pages) >= MOST_PAGES:
            self._refuse(f"a page was refused: {MOST_PAGES} are open")
            await connection.close(CloseCode.TRY_AGAIN_LATER, f"{MOST_PAGES} pages are open already: close one")
            return
        page = Page(connection, self._detectors, self._models, self._clips, self._hear, self._write)
        self._pages.add(page)
        self._shown.pages += 1
        try:
            await page.greet()
            async for message in connection:
                await page.receive(message)
        except Refused as reason:
            self._refuse(f"a page was disconnected: it {reason}")
            await connection.close(CloseCode.POLICY_VIOLATION, str(reason)[:100])
        except ConnectionClosed as closed:
            if closed.sent is not None and closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
                self._refuse(f"a page was disconnected: it sends more than {MESSAGE_BYTES} bytes at once")
        except Exception as error:  # whatever the sound of one page does here, the others go on
            self._refuse(f"a page was disconnected: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
            await connection.close(CloseCode.INTERNAL_ERROR, "an error within the server")
        finally:
            self._pages.discard(page)
            self._shown.hits += page.hits
            self._shown.clips += page.clips

    def _refuse(self, reason: str) -> None:
        """Counted; each reason is told once, since who is refused may try without end."""
        self._shown.refused += 1
        if reason not in self._told and len(self._told) < 100:
            self._told.add(reason)
            self._tell(reason)


def _response(status: int, body: bytes, headers: Sequence[tuple[str, str]]) -> Response:
    said = Headers([*headers, ("Content-Length", str(len(body))), ("Connection", "close")])
    return Response(status, HTTPStatus(status).phrase, said, body)


def _bounded(most: int, refuse: Callable[[str], None]) -> type[ServerConnection]:
    """Connections of which no more than `most` are open at once; what comes then is cut off.

    `refuse` is told of those, and of requests that `websockets` does not hand on: it answers them, or cuts them off.
    """

    class Bounded(ServerConnection):
        count = 0
        refused = asked = False

        def connection_made(self, transport) -> None:
            Bounded.count += 1
            super().connection_made(transport)
            if Bounded.count > most:
                self.refused = True
                refuse(f"a connection was refused: {most} are open")
                transport.abort()

        def data_received(self, data: bytes) -> None:
            self.asked = True  # browsers also open connections to have them, and ask for nothing
            super().data_received(data)

        def connection_lost(self, error: Exception | None) -> None:
            Bounded.count -= 1
            if self.asked and self.request is None and not self.refused:
                fault = self.protocol.handshake_exc
                half = fault is None or isinstance(fault.__cause__, EOFError)
                # In words of ours: what the client sent may be anything.
                reason = f"not whole after {REQUEST_S:g} s, or ends before" if half else "no plain GET, or too large"
                refuse(f"a request was refused: it is {reason}")
            super().connection_lost(error)

    return Bounded
