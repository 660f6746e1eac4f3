"""The web page's server: a process of its own, pages over websockets, and requests that mean no good."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("websockets")

from running import LATE_S, Running  # noqa: E402
from test_record import take  # noqa: E402
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402
from websockets.sync.client import connect  # noqa: E402

from data_prep.cuts import read_cuts  # noqa: E402
from wakeword.audio.waveform import StreamResampler, pcm16, pcm_samples, quality, read_audio, write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.listener.demo import DEFAULT_PORT, HOST, MOST_CONNECTIONS, MOST_PAGES  # noqa: E402
from wakeword.listener.demo_door import Denied, Door  # noqa: E402
from wakeword.listener.demo_page import HIGHEST_RATE, MESSAGE_BYTES, TEXT_CHARACTERS  # noqa: E402

THRESHOLD = 0.7
SOON_S = 2
SECONDS = 1.5
# Waits that are minutes in all would be as long in the tests: nothing else of the command is changed.
COMMAND = f"""
import sys
from wakeword import cli
from wakeword.listener import demo, demo_page
demo.REQUEST_S = demo_page.WRITE_S = {SOON_S}
sys.exit(cli.main(["demo", *sys.argv[1:]]))
"""


class Server(Running):
    """The command, running."""

    def __init__(self, folder: Path, *arguments: str):
        super().__init__(folder, COMMAND, *arguments, "--port", "0")
        address = re.search(r"open http://127\.0\.0\.1:(\d+)/\?token=(\S+) ", self.wait_for("open http"))
        self.port, self.token = int(address[1]), address[2]
        self.host = f"127.0.0.1:{self.port}"
        self.cookie = f"Cookie: wakeword_{self.port}={self.token}"
        self.folder = folder / "clips"

    @contextmanager
    def page(self, origin: str = "http://{host}", **more):
        """A websocket as the page opens it, greeted."""
        name, _, value = self.cookie.partition(": ")
        origin = origin.format(host=self.host)
        with connect(
            f"ws://{self.host}/socket", origin=origin, additional_headers={name: value}, compression=None, **more
        ) as page:
            yield page, json.loads(page.recv(timeout=LATE_S))

    def raw(self, sent: bytes) -> bytes:
        """What comes back to these bytes, until the server has closed the connection."""
        with socket.create_connection((HOST, self.port), timeout=LATE_S) as connection:
            connection.sendall(sent)
            return received(connection)

    @contextmanager
    def socket(self):
        """A page's websocket before anything was said, as a bare connection that reads nothing by itself."""
        handshake = [
            f"GET /socket HTTP/1.1\r\nHost: {self.host}\r\n{self.cookie}\r\nOrigin: http://{self.host}",
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n",
        ]
        with socket.create_connection((HOST, self.port), timeout=LATE_S) as connection:
            connection.sendall("\r\n".join(handshake).encode())
            assert b"101 Switching" in connection.recv(100)
            yield connection

    def get(self, target: str, *headers: str, method: str = "GET", host: str | None = None) -> bytes:
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host or self.host}", *headers, "", ""]
        return self.raw("\r\n".join(lines).encode())


def received(connection: socket.socket) -> bytes:
    found = b""
    try:
        while more := connection.recv(65536):
            found += more
    except ConnectionError:
        pass
    return found


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def ask(page, what: str, **more) -> None:
    page.send(json.dumps({"ask": what, **more}))


def told(page, what: str, passed: list[dict] | None = None) -> dict:
    """The next message of this kind; others are passed over."""
    while True:
        message = page.recv(timeout=LATE_S)
        if isinstance(message, str):
            if (said := json.loads(message))["tell"] == what:
                return said
            if passed is not None:
                passed.append(said)


def begin(page, rate: int = 16000) -> None:
    ask(page, "begin", rate=rate)


def heard(page, samples: np.ndarray, size: int = 1280) -> tuple[list[dict], list[dict]]:
    """Send samples and give what is told of them: of each block, and the hits."""
    blocks, hits = [], []
    for first in range(0, len(samples), size):
        page.send(pcm16(samples[first : first + size]))
        blocks.append(told(page, "heard", hits))
    ask(page, "clips")  # answered in turn: by then all hits are told
    told(page, "clips", hits)
    return blocks, hits


@pytest.fixture(scope="module")
def model(several_files) -> str:
    return str(several_files[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    folder = tmp_path_factory.mktemp("demo")
    arguments = [model, "--threshold", str(THRESHOLD), "--record", str(folder / "clips"), "--phrase", "Hey, Computer"]
    running = Server(folder, *arguments, "--seconds", str(SECONDS))
    yield running
    assert running.process.poll() is None, running.lines()
    assert running.end() == 0
    assert not [line for line in running.lines() if "Traceback" in line or "Error" in line], running.lines()


@pytest.fixture(scope="module")
def speech(speech_like) -> np.ndarray:
    return speech_like(6, 1)


def test_the_address_gives_the_page_and_a_cookie_and_the_cookie_the_rest(server):
    answer = server.get(f"/?token={server.token}")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert status(answer) == 200 and b"<title>wakeword</title>" in body
    assert f"Set-Cookie: wakeword_{server.port}={server.token}; Path=/; HttpOnly; SameSite=Strict".encode() in head
    for header in (b"script-src 'self'", b"frame-ancestors 'none'", b"nosniff", b"no-store", b"no-referrer"):
        assert header in head
    assert status(server.get("/", server.cookie, host=f"localhost:{server.port}")) == 200
    assert b"unsafe" not in head and b"<script>" not in body and b" style=" not in body
    named = re.findall(rb'(?:src|href)="([^"]+)"', body)
    assert set(named) == {b"icon.svg", b"style.css", b"page.js"}
    for name in [*named, b"drawing.js", b"panel.js", b"microphone.js", b"recording.js", b"worklet.js"]:
        answer = server.get(f"/{name.decode()}", server.cookie)
        assert status(answer) == 200 and b"http" not in answer.partition(b"\r\n\r\n")[2].replace(
            b"http://www.w3.org/2000/svg", b""
        )


def refusals() -> dict[str, tuple]:
    """Requests by what is wrong with them: the status, the target, the headers, what else; all but the first have the
    token."""
    cases: dict[str, tuple] = {}
    for target in ("/", "/page.js", "/socket", "/nothing", "/?token=", "/?token=a"):
        cases[f"no token at {target}"] = (403, target, [], {"token": False})
    cases["a wrong cookie"] = (403, "/", ["Cookie: wakeword_{port}=a; wakeword=b; ="], {"token": False})
    cases["a part of the token"] = (403, "/?token={token:.20}", [], {"token": False})
    cases["the token elsewhere"] = (403, "/page.js?token={token}", [], {"token": False})
    for host in ("evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "[::1]:{port}", "127.0.0.1:{port}.evil.example"):
        cases[f"host {host}"] = (403, "/", [], {"host": host})
        cases[f"host {host}, token"] = (403, "/?token={token}", [], {"host": host})
    cases["two hosts"] = (403, "/", ["Host: evil.example"], {})
    for origin in ("http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost"):
        for target in ("/", "/socket", "/?token={token}"):
            cases[f"origin {origin} for {target}"] = (403, target, [f"Origin: {origin}"], {})
    cases["a socket of nowhere"] = (403, "/socket", [], {})
    cases["a socket of two pages"] = (403, "/socket", ["Origin: http://127.0.0.1:{port}"] * 2, {})
    for site in ("cross-site", "same-site"):
        cases[f"fetched {site}"] = (403, "/page.js", [f"Sec-Fetch-Site: {site}"], {})
    for target in (
        "/../../../etc/passwd",
        "/..%2f..%2fetc%2fpasswd",
        "/%2e%2e/demo.py",
        "/web/../demo.py",
        "/..\\demo.py",
        "//etc/passwd",
        "/page.js/",
        "/page.js%00",
        "/./page.js",
        "/index.html",
        "/clips/hey-computer_0001.wav",
        "page.js",
        "http://127.0.0.1:{port}/page.js",
    ):
        cases[f"no such page: {target}"] = (404, target, [], {})
    return cases


def test_requests_that_mean_no_good_are_refused(server):
    for name, (expected, target, headers, more) in refusals().items():
        known = {"port": server.port, "token": server.token}
        said = [header.format(**known) for header in headers]
        said += [server.cookie] if more.get("token", True) else []
        host = more.get("host")
        answer = server.get(target.format(**known), *said, host=host and host.format(**known))
        assert status(answer) == expected, (name, answer)
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"Set-Cookie" not in head and len(body) < 100 and server.token.encode() not in answer, name
    assert "without the token" in server.wait_for("a request was refused: a request without")


@pytest.mark.parametrize(
    "request_lines",
    [
        "POST / HTTP/1.1|Host: {host}|{cookie}|Content-Length: 5||hello",
        "DELETE /clips HTTP/1.1|Host: {host}|{cookie}||",
        "HEAD / HTTP/1.1|Host: {host}|{cookie}||",
        "GET / HTTP/1.1|Host: {host}|{cookie}|Content-Length: 1000000000000||",
        "GET / HTTP/1.1|Host: {host}|{cookie}|Transfer-Encoding: chunked||ffffffff|",
        "GET / HTTP/1.1|Host: {host}|{cookie}|Long: " + "a" * 20000 + "||",
        "GET /" + "a" * 20000 + " HTTP/1.1|Host: {host}|{cookie}||",
        "GET / HTTP/1.1|Host: {host}|{cookie}|" + "A: b|" * 500 + "|",
        "GET / HTTP/1.1|{cookie}||",
        "GET / HTTP/0.9||",
        "\x16\x03\x01\x00|",
        "hello||",
    ],
)
def test_other_methods_bodies_and_what_is_no_request_are_refused_unread(server, request_lines):
    sent = request_lines.format(host=server.host, cookie=server.cookie).replace("|", "\r\n").encode("latin-1")
    begun = time.monotonic()
    answer = server.raw(sent)
    assert (not answer or status(answer) >= 400) and b"<title>" not in answer
    assert time.monotonic() - begun < SOON_S, "refused by what it declares, and not for being late"


def test_each_kind_of_refusal_is_counted_and_its_first_is_told(tmp_path, model):
    """Also those of requests that are refused before there is a request to look at."""
    with Server(tmp_path, model) as server:
        known = f"Host: {server.host}\r\n{server.cookie}\r\n"
        large = f"GET / HTTP/1.1\r\n{known}Long: {'a' * 20000}\r\n\r\n".encode()
        assert status(server.raw(large)) == 431
        for sent in (f"POST / HTTP/1.1\r\n{known}Content-Length: 5\r\n\r\nhello", "hello\r\n\r\n"):
            server.raw(sent.encode())
        with socket.create_connection((HOST, server.port), timeout=LATE_S) as early:
            early.sendall(b"GET / HTTP/1.1\r\n")
            early.shutdown(socket.SHUT_WR)
            received(early)
        with socket.create_connection((HOST, server.port), timeout=LATE_S):
            pass  # as browsers do, to have one: no refusal
        assert status(server.get("/")) == 403
        with ExitStack() as stack:
            for _ in range(MOST_CONNECTIONS):
                stack.enter_context(socket.create_connection((HOST, server.port), timeout=LATE_S))
            time.sleep(0.2)
            assert server.raw(b"GET / HTTP/1.1\r\n") == b""
        assert server.end() == 0
        said = server.lines()
    refusals = [line.partition(" was refused: ")[2] for line in said if " was refused: " in line]
    assert len(refusals) == 4 and refusals[0] == "it is no plain GET, or too large", refusals
    assert refusals[1].startswith("it is not whole") and "without the token" in refusals[2]
    assert refusals[3] == f"{MOST_CONNECTIONS} are open"
    assert "6 refusal(s)" in said[-1]


def test_a_request_that_does_not_end_is_cut_off_and_so_are_too_many(server):
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection((HOST, server.port), timeout=LATE_S))
            for _ in range(MOST_CONNECTIONS)
        ]
        for connection in idle:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a")
        time.sleep(0.2)
        begun = time.monotonic()
        assert server.raw(b"GET / HTTP/1.1\r\n") == b"" and time.monotonic() - begun < SOON_S
        assert all(received(connection) == b"" for connection in idle)
    assert status(server.get("/", server.cookie)) == 200


def test_the_scores_levels_and_hits_are_those_of_the_detector(server, model, speech):
    detector = Detector.load(model, threshold=THRESHOLD)
    for rate, size in ((16000, 1280), (48000, 3840), (44100, 3528)):
        resampler = StreamResampler(rate)
        samples = pcm_samples(pcm16(speech), 2)
        blocks = [resampler.process(samples[first : first + size]) for first in range(0, len(samples), size)]
        detector.reset()
        found = [detector.scores(block) for block in blocks]
        expected = [hit for each in found for hit in detector.hits_in(*each)]
        with server.page() as (page, hello):
            assert [each["phrase"] for each in hello["phrases"]] == ["one", "two", "three"]
            assert {each["threshold"] for each in hello["phrases"]} == {THRESHOLD}
            begin(page, rate)
            told_of, hits = heard(page, speech, size)
        those = [(hit.phrase, round(hit.time_s, 3)) for hit in expected]
        assert [(hit["phrase"], hit["time_s"]) for hit in hits] == those
        assert len(expected) >= 3 or rate != 16000
        assert all(hit["model"] == model and 0 <= hit["delay_s"] < LATE_S for hit in hits)
        for output in range(3):
            points = np.array([point for block in told_of for point in block["scores"][output]])
            np.testing.assert_allclose(points[:, 0], np.concatenate([time_s for time_s, _ in found]), atol=0.006)
            np.testing.assert_allclose(points[:, 1], np.concatenate([s for _, s in found])[:, output], atol=1e-4)
        assert [block["rms_dbfs"] for block in told_of] == [
            round(max(quality(block).rms_dbfs, -99.0), 1) for block in blocks
        ]


def test_pages_beside_each_other_hear_each_its_own_and_start_afresh(server, speech, speech_like):
    other = speech_like(6, 2)
    with server.page() as (one, _), server.page() as (two, _):
        begin(one)
        begin(two)
        told_of = {id(page): [] for page in (one, two)}
        for first in range(0, len(speech), 1280):
            for page, samples in ((one, speech), (two, other)):
                page.send(pcm16(samples[first : first + 1280]))
            for page in (one, two):
                told_of[id(page)].append(told(page, "heard")["scores"])
        begin(two)
        again, _ = heard(two, speech)
    assert told_of[id(one)] == [block["scores"] for block in again] != told_of[id(two)]


def test_several_models_are_told_apart(tmp_path, model_files, model, speech):
    with Server(tmp_path, str(model_files[1]), model) as server, server.page() as (page, hello):
        assert [(each["model"], each["phrase"]) for each in hello["phrases"]] == [
            (str(model_files[1]), "hello"),
            *((model, phrase) for phrase in ("one", "two", "three")),
        ]
        assert hello["recording"] is None
        begin(page)
        page.send(pcm16(speech[:16000]))
        scores = told(page, "heard")["scores"]
        assert [len(each) for each in scores] == [25] * 4
        ask(page, "record")
        with pytest.raises(ConnectionClosed) as closed:
            told(page, "take")
        assert "where none are recorded" in closed.value.rcvd.reason
        assert server.end(signal.SIGINT) == 0
        assert re.search(r"1 page\(s\), \d+ hit\(s\), 0 clip\(s\) recorded, 1 refusal\(s\)", server.lines()[-1])


def record(page, samples: np.ndarray) -> dict:
    ask(page, "record")
    for first in range(0, len(samples), 1280):
        page.send(pcm16(samples[first : first + 1280]))
    return told(page, "take")


def test_a_clip_is_recorded_checked_kept_played_and_deleted(server):
    good = take(seconds=SECONDS, start=0.3)
    with server.page() as (page, hello):
        assert hello["recording"] == {
            "phrase": "Hey, Computer",
            "seconds": SECONDS,
            "speaker": None,
            "folder": str(server.folder),
        }
        ask(page, "record")
        assert "start the microphone" in told(page, "problem")["text"]
        begin(page)
        for bad, reason in ((0 * good, "silence"), (9 * good, "clipped"), (0.02 * good, "too quiet")):
            assert record(page, np.clip(bad, -1, 1))["problem"].startswith(reason)
        ask(page, "drop")
        ask(page, "keep")
        assert "no take to keep" in told(page, "problem")["text"]
        for count in (1, 2):
            said = record(page, good)
            assert said["problem"] is None and said["peak_dbfs"] == round(quality(good).peak_dbfs, 1)
            ask(page, "play")
            while isinstance(played := page.recv(timeout=LATE_S), str):
                pass
            assert played == pcm16(good)
            ask(page, "keep")
            assert told(page, "kept")["clip"] == f"hey-computer_000{count}.wav"
        assert told(page, "clips")["clips"] == ["hey-computer_0001.wav", "hey-computer_0002.wav"]
        first = server.folder / "hey-computer_0001.wav"
        np.testing.assert_array_equal(read_audio(first), pcm_samples(pcm16(good), 2))
        manifest = server.folder / "recorded_cuts.jsonl.gz"
        assert [path.stat().st_mode & 0o777 for path in (first, manifest, server.folder)] == [0o600, 0o600, 0o700]
        assert [cut["supervisions"][0]["text"] for cut in read_cuts(manifest)] == ["Hey, Computer"] * 2
        ask(page, "delete", clip="hey-computer_0001.wav")
        assert told(page, "clips")["clips"] == ["hey-computer_0002.wav"]
        ask(page, "play", clip="hey-computer_0002.wav")
        assert page.recv(timeout=LATE_S) == pcm16(good)
    assert not first.exists() and [cut["id"] for cut in read_cuts(manifest)] == ["hey-computer_0002"]


def test_only_clips_of_the_phrase_can_be_played_or_deleted(server, tmp_path):
    secret = tmp_path / "hey-computer_0001.wav"
    write_wav(secret, take())
    server.folder.mkdir(mode=0o700, exist_ok=True)
    (server.folder / "hey-computer_0099.wav").symlink_to(secret)
    write_wav(server.folder / "other_0001.wav", take())
    names = [
        *("../hey-computer_0001.wav", str(secret), "hey-computer_0099.wav", "other_0001.wav", "recorded_cuts.jsonl.gz"),
        *("..", "", "hey-computer_0001.wav\0", ["hey-computer_0002.wav"], {}, 3, True),
    ]
    with server.page() as (page, _):
        for name in names:
            for what in ("play", "delete"):
                ask(page, what, clip=name)
                assert "no such clip" in told(page, "problem")["text"], (what, name)
        ask(page, "clips")
        assert "hey-computer_0099.wav" not in told(page, "clips")["clips"]
    assert secret.exists() and (server.folder / "other_0001.wav").exists()
    (server.folder / "hey-computer_0099.wav").unlink()


def test_a_folder_that_fails_is_told_and_the_take_is_kept_for_another_try(server):
    aside = server.folder.with_name("aside")
    server.folder.mkdir(exist_ok=True)
    with server.page() as (page, _):
        begin(page)
        assert record(page, take(seconds=SECONDS, start=0.3))["problem"] is None
        server.folder.rename(aside)
        server.folder.write_text("no folder")
        ask(page, "keep")
        assert str(server.folder) in told(page, "problem")["text"]
        server.folder.unlink()
        aside.rename(server.folder)
        ask(page, "keep")
        assert told(page, "kept")["clip"].startswith("hey-computer_")


PAGE = """
const found = {}, asked = [];
const $of = (id) => (found[id] ??= { focus() {} });
globalThis.document = { getElementById: $of };
%s
const recording = new Recording({ phrase: "hey", folder: "/clips", seconds: 1 }, (what) => asked.push(what));
const offered = () => ["keep", "listen", "drop"].filter((id) => !$of(id).disabled).join();
const steps = {
  take: () => recording.take({ problem: null, peak_dbfs: -9 }),
  deleting: () => recording.failed(),
  keep: () => $of("keep").onclick(),
  failed: () => recording.failed(),
  again: () => $of("keep").onclick(),
  kept: () => recording.kept("hey_0001.wav"),
  late: () => recording.failed(),
};
console.log(JSON.stringify(Object.entries(steps).map(([name, step]) => (step(), [name, offered()]))));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="THE PAGE'S RECORDING WAS NOT RUN: node is missing")
def test_the_page_offers_a_take_that_was_not_kept_once_more():
    source = (resources.files("wakeword.listener") / "web" / "recording.js").read_text()
    command = ["node", "--input-type=module", "-"]
    said = subprocess.run(command, input=PAGE % source, capture_output=True, text=True, timeout=LATE_S, check=True)
    all_of_it = "keep,listen,drop"
    offered = {
        "take": all_of_it,
        "deleting": all_of_it,
        "keep": "",
        "failed": all_of_it,
        "again": "",
        "kept": "",
        "late": "",
    }
    assert dict(json.loads(said.stdout)) == offered


BAD = {
    "no JSON": "{",
    "no JSON, deep": "[" * 900,
    "no JSON object": "[]",
    "asks for what there is not": '{"ask": "shell"}',
    "asks for what there is not: nothing": "{}",
    f"more than {TEXT_CHARACTERS} characters": json.dumps({"ask": "a" * TEXT_CHARACTERS}),
    "whole number from 8000": '{"ask": "begin", "rate": 0}',
    f"to {HIGHEST_RATE}": '{"ask": "begin", "rate": 1e9}',
    "no whole number from 8000 to": '{"ask": "begin"}',
    "sound before it said": b"aaaa",
    "no whole samples": [json.dumps({"ask": "begin", "rate": 16000}), b"aaa"],
    "0 bytes, which are no whole samples": [json.dumps({"ask": "begin", "rate": 16000}), b""],
}


def test_what_no_page_sends_ends_its_own_connection_alone(server, speech):
    with server.page() as (good, _):
        begin(good)
        before, _ = heard(good, speech)
        begin(good)
        memory = server.memory_mb()
        for reason, messages in BAD.items():
            with server.page() as (page, _):
                for message in messages if isinstance(messages, list) else [messages]:
                    page.send(message)
                with pytest.raises(ConnectionClosed) as closed:
                    told(page, "take")
            assert reason.partition(": ")[0].partition(", deep")[0] in closed.value.rcvd.reason
            assert closed.value.rcvd.code == 1008
        after, _ = heard(good, speech)
    assert [block["scores"] for block in before] == [block["scores"] for block in after]
    assert server.memory_mb() < memory + 20


@pytest.mark.parametrize("declared", [MESSAGE_BYTES + 1, 2**40, 2**63 - 1])
def test_an_oversized_message_is_refused_by_the_length_that_it_declares(server, declared):
    with server.socket() as connection:
        connection.sendall(b"\x82\xff" + declared.to_bytes(8, "big") + b"mask" + b"a" * 1000)
        assert (1009).to_bytes(2, "big") in received(connection)  # "message too big"
    assert "more than 65536 bytes" in server.wait_for("it sends more than")


def test_a_page_that_does_not_read_is_cut_off_and_others_go_on(server, speech):
    server.folder.mkdir(mode=0o700, exist_ok=True)
    name = "hey-computer_0500.wav"
    write_wav(server.folder / name, np.tile(speech, 5))
    play = json.dumps({"ask": "play", "clip": name}).encode()
    with server.page() as (good, _), server.socket() as deaf:
        begin(good)
        for _ in range(20):  # 20 MB to be sent, which is more than the system holds for a connection
            deaf.sendall(b"\x81" + bytes([0x80 | len(play)]) + b"\0\0\0\0" + play)
        slowest, deadline = 0.0, time.monotonic() + LATE_S
        while not any("has not read what it was sent" in line for line in server.lines()):
            assert time.monotonic() < deadline, server.lines()
            begun = server.cpu_s()
            heard(good, speech[:1280])
            slowest = max(slowest, server.cpu_s() - begun)
            time.sleep(0.05)
    assert slowest < 2, "CPU seconds of the server until another page is answered"
    (server.folder / name).unlink()


def test_one_page_too_many_is_told_so(server):
    with ExitStack() as stack:
        for _ in range(MOST_PAGES):
            stack.enter_context(server.page())
        with pytest.raises(ConnectionClosed) as closed, server.page():
            pass
        assert closed.value.rcvd.code == 1013 and f"{MOST_PAGES} pages are open" in closed.value.rcvd.reason
    with server.page():
        pass


def test_a_socket_of_another_page_is_refused(server):
    with pytest.raises(InvalidStatus) as refused, server.page(origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403


def test_it_opens_a_browser_if_asked_and_ends_in_order_with_what_it_was_asked_last(tmp_path, monkeypatch):
    browser, opened = tmp_path / "browser", tmp_path / "opened"
    browser.write_text(f'#!/bin/sh\necho "$1" > {opened}.part && mv {opened}.part {opened}\n')
    browser.chmod(0o700)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    arguments = ["--record", str(tmp_path / "clips"), "--phrase", "hey", "--speaker", "Ann Lee", "--open"]
    with Server(tmp_path, *arguments) as server, server.page() as (page, hello):
        deadline = time.monotonic() + LATE_S
        while not opened.exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        address = opened.read_text().strip()
        assert server.token not in address and address.startswith(f"http://{server.host}/")
        assert [status(server.get(address.partition(server.host)[2])) for _ in range(2)] == [200, 403]
        assert hello["phrases"] == [] and hello["recording"]["speaker"] == "Ann Lee"
        begin(page)
        assert record(page, take())["problem"] is None
        ask(page, "keep")
        assert told(page, "kept")["clip"] == "hey_ann-lee_0001.wav"
        assert server.end() == 0
        with pytest.raises(ConnectionClosed) as closed:
            told(page, "take")
        assert closed.value.rcvd.code == 1001
    assert server.lines()[-1] == "wakeword: 1 page(s), 0 hit(s), 1 clip(s) recorded, 1 refusal(s)"


def test_it_is_for_this_machine_alone_and_each_start_has_a_token_of_its_own(server):
    assert HOST == "127.0.0.1" and len(server.token) >= 43
    with open("/proc/net/tcp") as listed:
        mine = [line.split()[1] for line in listed if line.split()[3] == "0A" and f":{server.port:04X}" in line]
    assert mine == [f"0100007F:{server.port:04X}"]
    assert Door(1).token != Door(1).token


def test_the_address_for_a_browser_opens_the_door_once():
    door = Door(DEFAULT_PORT)
    target = door.address_once().partition(f":{DEFAULT_PORT}")[2]
    host = {"Host": [f"127.0.0.1:{DEFAULT_PORT}"]}
    assert door.token not in target
    answer = door.check("GET", target, lambda name: host.get(name, []))
    assert b"<title>" in answer.body and f"={door.token};" in dict(answer.headers)["Set-Cookie"]
    for again in (target, "/?token=", "/?token=None"):
        with pytest.raises(Denied):
            door.check("GET", again, lambda name: host.get(name, []))


def test_a_clip_too_many_is_refused(tmp_path, monkeypatch):
    from data_prep import recorded
    from wakeword.errors import WakewordError

    monkeypatch.setattr(recorded, "MOST_CLIPS", 2)
    clips = recorded.ClipFolder(tmp_path / "clips", "hey", "bo")
    names = [clips.keep(take()).name for _ in range(2)]
    assert names == ["hey_bo_0001.wav", "hey_bo_0002.wav"]
    with pytest.raises(WakewordError, match="holds 2 clips of 'hey': choose another folder"):
        clips.keep(take())
    clips.remove("hey_bo_0001.wav")
    assert clips.keep(take()).name == "hey_bo_0003.wav"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to show"),
        (["missing.onnx"], "missing.onnx"),
        (["--record", "{folder}"], "say with --phrase"),
        (["{model}", "--record", "{folder}"], "say with --phrase"),
        (["{model}", "--phrase", "hey"], "say with --record"),
        (["--record", "{folder}", "--phrase", "hey", "--seconds", "99"], "0.5 to 30 s"),
        (["--record", "{folder}", "--phrase", "hey", "--seconds", "0"], "0.5 to 30 s"),
        (["--record", "{folder}", "--phrase", "?"], "no letter"),
        (["--record", "{folder}", "--phrase", ""], "no letter"),
        (["--record", "{file}", "--phrase", "hey"], "choose another"),
        (["--record", "{file}/clips", "--phrase", "hey"], "choose another"),
        (["{model}", "--port", "{port}"], "is another one running"),
        (["{model}", "--port", "70000"], "--port 70000"),
    ],
)
def test_what_cannot_be_served_is_one_line(arguments, message, model, server, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    known = {"model": model, "folder": tmp_path / "clips", "file": tmp_path / "file", "port": server.port}
    assert main(["demo", *(each.format(**known) for each in arguments)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
