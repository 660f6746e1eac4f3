"""Commands and web addresses that are told of hits: what they get, and that none of them holds up who tells."""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from web import web_server

from wakeword.errors import ConfigError
from wakeword.listener.receivers import MOST_WAITING, Receiver, command, webhook

EVIL = "$(touch pwned); `touch pwned` | \"'\\ && touch pwned\n"
EVENT = {"utc": "2024-05-01T10:00:00.000Z", "phrase": "hey computer", "model": "c.onnx", "score": 0.91, "time_s": 12.08}
KEEP = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ), sys.stdin.read()], open(sys.argv[1], 'w'))"


def python(code: str, *arguments: object) -> str:
    return shlex.join([sys.executable, "-S", "-c", code, *map(str, arguments)])


def test_a_command_gets_the_hit_in_its_environment_and_as_json(tmp_path: Path) -> None:
    event = {**EVENT, "delay_s": None}  # of a file
    command(python(KEEP, tmp_path / "said", "two words"))(event)
    arguments, environment, text = json.loads((tmp_path / "said").read_text())
    assert arguments == [str(tmp_path / "said"), "two words"]
    assert environment["WAKEWORD_PHRASE"] == "hey computer" and environment["WAKEWORD_SCORE"] == "0.91"
    assert environment["PATH"] == os.environ["PATH"] and environment["WAKEWORD_DELAY_S"] == ""
    assert json.loads(text) == event and text.endswith("\n")


def test_no_phrase_and_no_part_of_a_command_meets_a_shell(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    command(python(KEEP, tmp_path / "said", "$HOME", "a;touch pwned", "*"))({**EVENT, "phrase": EVIL + "\0"})
    arguments, environment, text = json.loads((tmp_path / "said").read_text())
    assert arguments[1:] == ["$HOME", "a;touch pwned", "*"], "a shell has read it"
    assert environment["WAKEWORD_PHRASE"] == EVIL and json.loads(text)["phrase"] == EVIL + "\0"
    assert [path.name for path in tmp_path.iterdir()] == ["said"]


@pytest.mark.parametrize(
    "given, told",
    [("'open", "quote"), ("  ", "empty"), ("no-such-program x", "no such program"), ("/etc/passwd", "executable")],
)
def test_a_command_that_cannot_run_is_refused_before_the_listening(given: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        command(given)
    assert "\n" not in str(caught.value)


def script(path: Path, text: str, mode: int = 0o755) -> str:
    path.write_text(text)
    path.chmod(mode)
    return shlex.quote(str(path))


@pytest.mark.parametrize(
    "text, mode, told",
    [
        ("echo hit\n", 0o755, "names no interpreter: begin it with '#!/bin/sh'"),
        ("", 0o755, "names no interpreter"),
        ("#!/bin/sh\n", 0o644, "not executable"),
        ("#!/no/such/shell -e\n", 0o755, "'/no/such/shell', which is not there"),
        ("#!/bin/sh\r\necho hit\r\n", 0o755, r"'/bin/sh\\r', which is not there"),
        ("#!\necho hit\n", 0o755, "'', which is not there"),
    ],
)
def test_a_script_that_the_kernel_would_not_start_is_refused_before_the_listening(tmp_path, text, mode, told) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        command(script(tmp_path / "on hit.sh", text, mode) + " loud")
    assert "\n" not in str(caught.value) and "on hit.sh" in str(caught.value)


@pytest.mark.parametrize("line", ["#!/bin/sh", "#! /bin/sh -e", "#!/usr/bin/env sh", "#!\t/bin/sh\t-e"])
def test_a_script_on_the_path_is_run_with_its_arguments(tmp_path, monkeypatch, line) -> None:
    script(tmp_path / "on-hit", line + '\necho "$1" > "$2"\n')
    script(tmp_path / "bare", 'echo "$1" > "$2"\n')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    for begin in ("on-hit", f"sh {tmp_path}/bare"):
        command(shlex.join([*begin.split(), "two words", str(tmp_path / "said")]))(EVENT)
        assert (tmp_path / "said").read_text() == "two words\n"
        (tmp_path / "said").unlink()


STARTS = (
    "import os, subprocess, sys, time; p = subprocess.Popen(['sleep', '100']); "
    "open(sys.argv[1] + '~', 'w').write(str(p.pid)); os.rename(sys.argv[1] + '~', sys.argv[1]); time.sleep(100)"
)


def test_a_command_over_its_time_is_killed_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    deliver = command(python(STARTS, mark), limit_s=6.0)
    limit = threading.Event()
    began = time.monotonic()

    def run() -> None:
        with pytest.raises(RuntimeError, match="killed after 6 s"):
            deliver(EVENT)
        limit.set()

    threading.Thread(target=run, daemon=True).start()
    assert limit.wait(60) and time.monotonic() - began >= 6
    assert ends_soon(int(mark.read_text())), "its child lives on"


def test_a_command_that_still_runs_when_the_listener_ends_is_killed_with_what_it_started(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    listener = (
        "import os, sys, time; from wakeword.listener.receivers import Receiver, command; "
        "Receiver('--on-hit', command(sys.argv[1]), print).give({'phrase': 'two'})\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.05)"
    )
    subprocess.run([sys.executable, "-c", listener, python(STARTS, mark), mark], check=True, timeout=60)
    assert ends_soon(int(mark.read_text())), "its child lives on"


def ends_soon(pid: int) -> bool:
    ends = time.monotonic() + 20
    while not ended(pid) and time.monotonic() < ends:
        time.sleep(0.05)
    return ended(pid)


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_receiver_that_hangs_holds_up_nobody_and_what_is_too_much_is_counted() -> None:
    held, got = threading.Event(), []
    receiver = Receiver("--on-hit", lambda event: (held.wait(60), got.append(event)), lambda line: None)
    began = time.monotonic()
    receiver.give({"number": -1})
    while receiver._waiting.qsize():
        time.sleep(0.01)
    for number in range(MOST_WAITING + 5):
        receiver.give({"number": number})
    receiver.close(timeout_s=0.1)
    assert time.monotonic() - began < 30, "it was waited for"
    assert receiver.delivered == 0 and receiver.dropped >= 5 and not got
    held.set()


def test_what_waits_is_delivered_in_order_at_the_end() -> None:
    got = []
    receiver = Receiver("x", lambda event: (time.sleep(0.01), got.append(event["number"])), lambda line: None)
    for number in range(5):
        receiver.give({"number": number})
    receiver.close()
    assert got == [0, 1, 2, 3, 4] and receiver.summary() == "x: 5 delivered, 0 failed, 0 dropped"


def test_failures_are_told_once_a_minute_and_the_next_event_is_delivered() -> None:
    told, got = [], []

    def deliver(event: dict) -> None:
        if event["fails"]:
            raise RuntimeError("it is dead")
        got.append(event)

    receiver = Receiver("--webhook", deliver, told.append)
    for fails in (True, True, False):
        receiver.give({"fails": fails})
    receiver.close()
    assert told == ["--webhook: it is dead"] and len(got) == 1 and receiver.failed == 2


def test_a_command_that_fails_says_its_status() -> None:
    with pytest.raises(RuntimeError, match="exit status 3"):
        command(python("raise SystemExit(3)"))(EVENT)


# --- web addresses ---


@pytest.fixture
def server():
    with web_server() as served:
        yield served


def test_a_hit_is_posted_as_json(server) -> None:
    webhook(server.url.replace("//", "//me:s%20x@") + "/api/hook?a=b c")(EVENT)
    ((path, headers, event),) = server.got
    assert path == "/api/hook?a=b%20c" and event == EVENT and headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Basic bWU6cyB4"


@pytest.mark.parametrize("status", [302, 404, 500])
def test_another_answer_is_a_failure_and_no_redirect_is_followed(server, status: int) -> None:
    server.status = status
    with pytest.raises(RuntimeError, match=f"127.0.0.1 answers with status {status}"):
        webhook(server.url + "/secret")(EVENT)
    assert len(server.got) == 1


@pytest.mark.parametrize("drips", [False, True])
def test_a_server_that_never_answers_whole_is_given_up_on(drips: bool) -> None:
    """Silent, or with a byte of a header line now and then, which a socket's own time limit does not end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            client, _ = listening.accept()
            with client:
                try:
                    client.sendall(b"HTTP/1.1 204 No Content\r\nX: " if drips else b"")
                    for _ in range(600):
                        time.sleep(0.1)
                        client.sendall(b"x" if drips else b"")
                except OSError:
                    pass

        threading.Thread(target=answer, daemon=True).start()
        began = time.monotonic()
        with pytest.raises(RuntimeError, match="127.0.0.1: no answer in 0.5 s") as caught:
            webhook(f"http://127.0.0.1:{listening.getsockname()[1]}/secret", limit_s=0.5)(EVENT)
        assert time.monotonic() - began < 20 and "secret" not in str(caught.value)


def test_a_name_that_is_looked_up_for_long_is_given_up_on_and_nothing_is_posted_later(server, monkeypatch) -> None:
    found, done = socket.getaddrinfo, threading.Event()

    def slow(*given, **more):
        time.sleep(3)
        done.set()
        return found(*given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    began = time.monotonic()
    with pytest.raises(RuntimeError, match="localhost: no answer in 0.2 s"):
        webhook(server.url.replace("127.0.0.1", "localhost"), limit_s=0.2)(EVENT)
    assert time.monotonic() - began < 2.5
    assert done.wait(30)
    time.sleep(0.5)
    assert not server.got


def test_nobody_there_is_a_failure() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(RuntimeError, match="refused"):
        webhook(f"http://127.0.0.1:{port}/")(EVENT)


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://x/", "localhost:8123/x", "http://", "http://x:port/", "http://[", "http://a b/"],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="http") as caught:
        webhook(url)
    assert "\n" not in str(caught.value)
