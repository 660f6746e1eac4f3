"""A Wyoming server: Home Assistant and other clients stream audio and are told of hits."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from os import cpu_count
from urllib.parse import urlsplit

from wakeword.detector.detector import Detector
from wakeword.errors import WakewordError
from wakeword.listener.signals import stop_at_signals
from wakeword.listener.wyoming_client import WRITE_S, Client, names_of
from wakeword.listener.wyoming_events import HEADER_BYTES, Refused

DEFAULT_URI = "tcp://127.0.0.1:10400"  # the port of wake-word services
MOST_CLIENTS = 32


@dataclass
class Served:
    """What a server did: how many clients it had, how many hits they were told of."""

    clients: int = 0
    hits: int = 0


def serve(detectors: Sequence[Detector], uri: str = DEFAULT_URI, tell: Callable[[str], None] = print) -> Served:
    """Serve the Wyoming protocol until SIGINT or SIGTERM; to be called in the main thread.

    Every client has states of its own in the detectors (`Detector.twin`), with their weights and thresholds. At most
    `MOST_CLIENTS` are served at once; one more takes the place of the one that has been quiet for longest.

    Args:
        uri: `tcp://HOST:PORT`; port 0 takes a free one.
        tell: told, in one line each, where it listens, and of each client that was refused and why.

    Raises:
        WakewordError: a malformed or unusable address, or two models that listen for one phrase.
    """
    host, port = _address(uri)
    names_of(detectors)
    return asyncio.run(_Server(detectors, tell).run(uri, host, port))


def _address(uri: str) -> tuple[str, int]:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts = host = port = None
    if not parts or parts.scheme != "tcp" or not host or port is None:
        raise WakewordError(f"--uri {uri}: give an address as tcp://HOST:PORT, such as {DEFAULT_URI}")
    return host, port


class _Server:
    def __init__(self, detectors: Sequence[Detector], tell: Callable[[str], None]):
        self._detectors, self._tell, self._served = detectors, tell, Served()
        self._clients: dict[asyncio.Task, tuple[Client, str, asyncio.WriteTransport]] = {}
        self._tasks: set[asyncio.Task] = set()
        # One piece of work a client at a time, first come first served: so none gets more than its share.
        self._pool = ThreadPoolExecutor(cpu_count() or 1, "wakeword-serve")

    async def run(self, uri: str, host: str, port: int) -> Served:
        stop = stop_at_signals()
        try:
            server = await asyncio.start_server(self._connected, host, port, limit=HEADER_BYTES)
        except (OSError, UnicodeError) as error:  # the latter for a name that no host can have
            reason = getattr(error, "strerror", None) or error
            raise WakewordError(
                f"--uri {uri}: cannot listen there ({reason}): is another server running? Choose another port, or an "
                "address of this machine"
            ) from error
        bound = [socket.getsockname() for socket in server.sockets]
        names = ", ".join(names_of(self._detectors).values())
        self._tell(f"serving {names} on " + ", ".join(f"tcp://{_shown(each)}" for each in bound))
        if not all(ipaddress.ip_address(each[0]).is_loopback for each in bound):
            self._tell("whoever reaches this address can use it: the protocol has no password and no encryption")
        try:
            await stop.wait()
        finally:
            server.close()
            # Again and again: before Python 3.12 a cancellation is lost where `wait_for` has just got its result,
            # as it often has with a client that floods.
            while self._tasks:
                for task in self._tasks:
                    task.cancel()
                await asyncio.wait(self._tasks, timeout=0.1)
            self._pool.shutdown(cancel_futures=True)
        return self._served

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task, peer = asyncio.current_task(), _shown(writer.get_extra_info("peername"))
        work = partial(asyncio.get_running_loop().run_in_executor, self._pool)
        client = Client(self._detectors, reader, writer, work, lambda line: self._tell(f"client {peer} {line}"))
        self._make_room()
        self._tasks.add(task)
        self._clients[task] = client, peer, writer.transport
        self._served.clients += 1
        try:
            await client.converse()
            writer.close()
            await asyncio.wait_for(writer.wait_closed(), WRITE_S)
        except Refused as reason:
            self._tell(f"client {peer} disconnected: {reason}")
        except (ConnectionError, asyncio.TimeoutError, asyncio.CancelledError):
            pass  # it is gone, or has to go
        except Exception as error:  # whatever one client's audio does here, the others are served on
            self._tell(f"client {peer} disconnected: {type(error).__name__}: {' '.join(str(error).split())[:120]}")
        finally:
            self._served.hits += client.hits
            self._clients.pop(task, None)
            self._tasks.discard(task)
            writer.transport.abort()

    def _make_room(self) -> None:
        if len(self._clients) >= MOST_CLIENTS:
            quiet = min(self._clients, key=lambda task: self._clients[task][0].active_s)
            _, peer, transport = self._clients.pop(quiet)
            self._tell(f"client {peer} disconnected: there are more than {MOST_CLIENTS}, and it was quiet for longest")
            quiet.cancel()
            transport.abort()  # before Python 3.12 a cancellation may be lost


def _shown(address: tuple | None) -> str:
    if not address:  # it left before it was looked at
        return "?"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
