"""Who is told of a hit: a command or a web address, beside the listening, which never waits for them."""

from __future__ import annotations

import atexit
import base64
import contextlib
import http.client
import json
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from urllib.parse import quote, unquote, urlsplit

from wakeword.errors import ConfigError

LIMIT_S = 10.0
MOST_WAITING = 16
TELL_EVERY_S = 60.0


class Receiver:
    """Hands events, one after the other and in a thread of its own, to a function that may be slow or fail.

    At most `MOST_WAITING` events wait; what comes then is dropped and counted. Failures are told at most once a minute.

    Attributes:
        delivered, failed, dropped: how many events were; those that still waited at the end were dropped.
    """

    def __init__(self, name: str, deliver: Callable[[dict], None], tell: Callable[[str], None]):
        self._name, self._deliver, self._tell = name, deliver, tell
        self._waiting: queue.SimpleQueue[dict | None] = queue.SimpleQueue()
        self._told_s: float | None = None
        self.delivered = self.failed = self.dropped = 0
        self._over = threading.Event()  # `join` would, interrupted, take the thread for ended
        # A daemon: a receiver that hangs cannot keep the process.
        threading.Thread(target=self._work, daemon=True).start()

    def give(self, event: dict) -> None:
        """Queue an event and return at once."""
        if self._waiting.qsize() < MOST_WAITING:
            self._waiting.put(event)
        else:
            self.dropped += 1

    def close(self, timeout_s: float = LIMIT_S) -> None:
        """Wait until all is delivered that waits, and no longer than `timeout_s`; what is left counts as dropped."""
        self._waiting.put(None)
        try:
            self._over.wait(timeout_s)
        finally:
            if not self._over.is_set():  # what it is at, and what waits without the end mark
                self.dropped += max(1, self._waiting.qsize())

    def summary(self) -> str:
        return f"{self._name}: {self.delivered} delivered, {self.failed} failed, {self.dropped} dropped"

    def _work(self) -> None:
        while (event := self._waiting.get()) is not None:
            try:
                self._deliver(event)
                self.delivered += 1
            except Exception as error:  # whatever a receiver does, the listening goes on
                self.failed += 1
                now = time.monotonic()
                if self._told_s is None or now - self._told_s >= TELL_EVERY_S:
                    self._told_s = now
                    with contextlib.suppress(Exception):  # a standard error that is gone
                        self._tell(f"{self._name}: {error}")
        self._over.set()


def command(text: str, quiet: bool = False, limit_s: float = LIMIT_S) -> Callable[[dict], None]:
    """A function that runs a command for an event: the event as JSON on its standard input, and in `WAKEWORD_*`.

    The text is split into arguments as a shell would (`shlex`), once, and no shell ever runs: nothing that a model
    file or a recording says can become a part of the command. What the command prints goes to our standard error, or
    nowhere if `quiet`. After `limit_s` seconds, or when this program ends, it is killed with all that it started in its
    process group.

    Raises:
        ConfigError: quotes that do not close, nothing in it, no such program, or a script without an interpreter.
    """
    try:
        arguments = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"--on-hit {text}: {error}: quote it as for a shell") from error
    if not arguments:
        raise ConfigError("--on-hit: an empty command: name a program")
    program = shutil.which(arguments[0])
    if program is None:
        raise ConfigError(f"--on-hit {arguments[0]}: no such program, or not executable: give its full path")
    if fault := _script_fault(program):
        raise ConfigError(f"--on-hit {arguments[0]}: {fault}")
    output = subprocess.DEVNULL if quiet else 2  # standard output holds hits and nothing else
    running: list[subprocess.Popen] = []

    # A listener that ends meanwhile takes the thread that would kill it with it.
    @atexit.register
    def end() -> None:
        for process in running:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def deliver(event: dict) -> None:
        # An environment variable ends at a NUL; a null is empty there.
        said = {key: "" if value is None else str(value).replace("\0", "") for key, value in event.items()}
        told = {f"WAKEWORD_{key.upper()}": value for key, value in said.items()}
        process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **told},
            start_new_session=True,
        )
        running[:] = [process]
        try:
            process.communicate(json.dumps(event).encode() + b"\n", limit_s)
        except subprocess.TimeoutExpired:
            # Not yet waited for, so the number is still that of its group.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise RuntimeError(f"killed after {limit_s:g} s: put into the background what takes longer") from None
        if process.returncode:
            raise RuntimeError(f"exit status {process.returncode}")

    return deliver


def _script_fault(program: str) -> str | None:
    """Why the kernel would not start an executable file, where that can be seen in it: else it shows at the first hit.

    A shell starts a text without an interpreter's line all the same, and so hides that it has none.
    """
    try:
        with open(program, "rb") as file:
            start = file.read(256)
    except OSError:  # it may be executed and not read
        return None
    if start.startswith(b"#!"):
        line = start[2:].partition(b"\n")[0].replace(b"\t", b" ")
        interpreter = os.fsdecode(line.strip(b" ").partition(b" ")[0])
        if os.path.isfile(interpreter) and os.access(interpreter, os.X_OK):
            return None
        return f"its first line names the interpreter {interpreter!r}, which is not there: correct that line"
    if b"\0" in start:  # a program, of whichever kind
        return None
    return "a script whose first line names no interpreter: begin it with '#!/bin/sh', or give 'sh' before its name"


def webhook(url: str, limit_s: float = LIMIT_S) -> Callable[[dict], None]:
    """A function that posts an event as JSON; any answer but a 2xx is a failure. Redirects are not followed.

    Raises:
        ConfigError: not an http or https address.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"--webhook: {error}: give an address such as http://127.0.0.1:8123/api/webhook/x") from error
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError("--webhook: not an http or https address: give one such as http://127.0.0.1:8123/x")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        kind(parts.hostname, port)
    except http.client.InvalidURL as error:  # a name with a space, which no host has
        raise ConfigError(
            "--webhook: no host has such a name: give an address such as http://127.0.0.1:8123/x"
        ) from error
    target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe="/%?=&+:@,;~$!*'()[]")
    headers = {"Content-Type": "application/json", "User-Agent": "wakeword"}
    if parts.username is not None:
        secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(secret).decode()

    def deliver(event: dict) -> None:
        connection = kind(parts.hostname, port, timeout=limit_s)
        late, answer = threading.Event(), []

        def ask() -> None:
            try:
                connection.connect()
                if not late.is_set():  # a name may be found long after we have given up
                    connection.request("POST", target, json.dumps(event).encode(), headers)
                    answer.append(connection.getresponse().status)
            except Exception as error:
                answer.append(error)
            finally:
                connection.close()

        # In a thread: the looking up of a name has no time limit, and the socket's own is for each read, so that a
        # server that drips bytes would hold us for hours.
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        asking.join(limit_s)
        if asking.is_alive():
            late.set()
            with contextlib.suppress(OSError, AttributeError):
                connection.sock.shutdown(2)
            raise RuntimeError(f"{parts.hostname}: no answer in {limit_s:g} s")
        (status,) = answer
        if isinstance(status, Exception):
            reason = f"no answer in {limit_s:g} s" if isinstance(status, TimeoutError) else str(status)
            raise RuntimeError(f"{parts.hostname}: {reason}") from status
        if not 200 <= status < 300:
            raise RuntimeError(f"{parts.hostname} answers with status {status}")

    return deliver
