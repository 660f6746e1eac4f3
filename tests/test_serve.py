"""The Wyoming server: a process of its own, the wyoming package's client, and clients that mean no good."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("wyoming")

from running import LATE_S, Running  # noqa: E402
from wyoming.audio import AudioChunk, AudioStart, AudioStop  # noqa: E402
from wyoming.client import AsyncTcpClient  # noqa: E402
from wyoming.error import Error  # noqa: E402
from wyoming.event import Event  # noqa: E402
from wyoming.info import Describe, Info  # noqa: E402
from wyoming.ping import Ping, Pong  # noqa: E402
from wyoming.wake import Detect, Detection, NotDetected  # noqa: E402

from wakeword.audio.waveform import StreamResampler  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector, Hit  # noqa: E402
from wakeword.listener.serve import MOST_CLIENTS  # noqa: E402
from wakeword.listener.wyoming_events import HEADER_BYTES, PAYLOAD_BYTES, Refused, read_event  # noqa: E402

THRESHOLD = 0.7
SOON_S = 3
# Waits that are minutes in all would be as long in the tests: nothing else of the command is changed.
COMMAND = f"""
import sys
from wakeword import cli
from wakeword.listener import wyoming_client, wyoming_events
wyoming_client.WRITE_S = wyoming_events.EVENT_S = {SOON_S}
sys.exit(cli.main(["serve", *sys.argv[1:]]))
"""


class Server(Running):
    """The command, running."""

    def __init__(self, folder: Path, *arguments: str):
        super().__init__(folder, COMMAND, *arguments)
        self.port = int(re.search(r"on tcp://127\.0\.0\.1:(\d+)", self.wait_for("serving"))[1])

    def client(self) -> AsyncTcpClient:
        return AsyncTcpClient("127.0.0.1", self.port, read_timeout=LATE_S)


@pytest.fixture(scope="module")
def model(several_files) -> str:
    return str(several_files[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory, model):
    running = Server(
        tmp_path_factory.mktemp("serve"), model, "--uri", "tcp://127.0.0.1:0", "--threshold", str(THRESHOLD)
    )
    yield running
    assert running.process.poll() is None, running.lines()
    assert running.end() == 0
    assert not [line for line in running.lines() if "Traceback" in line or "Error" in line], running.lines()


@pytest.fixture(scope="module")
def speech(speech_like) -> np.ndarray:
    return speech_like(8, 1)


def pcm(samples: np.ndarray, width: int, channels: int = 1) -> bytes:
    """Samples as a client sends them: the same in all channels."""
    full = 2 ** (8 * width - 1)
    whole = np.clip(np.round(samples.astype(np.float64) * full), -full, full - 1).astype(np.int64)
    whole = np.repeat(whole[:, None], channels, axis=1)
    if width == 1:
        return (whole + 128).astype(np.uint8).tobytes()
    return whole.astype("<i8").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()


def hits_in(model: str, samples: np.ndarray, rate: int = 16000, width: int = 2) -> list[Hit]:
    """What a detector hears in the samples as they are after `pcm`, all at once."""
    full = 2 ** (8 * width - 1)
    heard = (np.clip(np.round(samples.astype(np.float64) * full), -full, full - 1) / full).astype(np.float32)
    resampler = StreamResampler(rate)
    detector = Detector.load(model, threshold=THRESHOLD)
    return detector.process(np.concatenate([resampler.process(heard), resampler.flush()]))


def named(hits: list[Hit], *names: str) -> list[tuple[str, int]]:
    return [(hit.phrase, round(1000 * hit.time_s)) for hit in hits if not names or hit.phrase in names]


async def told(client: AsyncTcpClient) -> list:
    """What the server has told until now: detections as `(name, timestamp)`, other events as themselves."""
    await client.write_event(Ping(text="now").event())
    found: list = []
    while not Pong.is_type((event := await client.read_event()).type):
        if Detection.is_type(event.type):
            said = Detection.from_event(event)
            found.append((said.name, said.timestamp))
        else:
            found.append((Error if Error.is_type(event.type) else NotDetected).from_event(event))
    assert Pong.from_event(event).text == "now"
    return found


async def send(client, samples, rate=16000, width=2, channels=1, chunk=1600, begin_ms=None, pause_s=0.0) -> None:
    """Stream samples in chunks, with timestamps from `begin_ms` on where it is given."""
    for first in range(0, len(samples), chunk):
        when = None if begin_ms is None else begin_ms + 1000 * first // rate
        audio = pcm(samples[first : first + chunk], width, channels)
        await client.write_event(AudioChunk(rate, width, channels, audio, timestamp=when).event())
        await asyncio.sleep(pause_s)


async def utterance(client, samples, names=None, rate=16000, width=2, channels=1, **how) -> list:
    if names is not None:
        await client.write_event(Detect(names=names).event())
    await client.write_event(AudioStart(rate, width, channels).event())
    await send(client, samples, rate, width, channels, **how)
    await client.write_event(AudioStop().event())
    return await told(client)


def heard(server: Server, *arguments, **how) -> list:
    async def one() -> list:
        async with server.client() as client:
            return await utterance(client, *arguments, **how)

    return asyncio.run(one())


async def closed(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server has closed the connection."""
    with contextlib.suppress(ConnectionError):
        return await asyncio.wait_for(reader.read(), LATE_S)
    return b""


def test_describe_names_each_phrase_and_nothing_else(server):
    async def ask() -> Info:
        async with server.client() as client:
            await client.write_event(Describe().event())
            return Info.from_event(await client.read_event())

    info = asyncio.run(ask())
    assert not (info.asr or info.tts or info.handle or info.intent or info.mic or info.snd or info.satellite)
    (program,) = info.wake
    assert program.name == "wakeword" and program.installed
    assert [(each.name, each.phrase, each.installed) for each in program.models] == [
        ("one", "one", True),
        ("two", "two", True),
        ("three", "three", True),
    ]


@pytest.mark.parametrize(
    ("rate", "width", "channels", "chunk"),
    [(16000, 2, 1, 1024), (44100, 2, 2, 4410), (48000, 4, 1, 100000), (22050, 3, 3, 999), (8000, 1, 2, 800)],
)
def test_the_hits_are_those_of_the_detector(server, model, speech, rate, width, channels, chunk):
    expected = named(hits_in(model, speech, rate, width))
    assert len(expected) >= 3
    assert heard(server, speech, None, rate, width, channels, chunk=chunk) == expected


def test_a_detection_has_the_timestamp_of_the_chunk_with_which_it_is_known(server, model, speech):
    begin_ms, chunk_ms = 7_000_000_000, 100
    expected = [
        (name, begin_ms + (time_ms - 1) // chunk_ms * chunk_ms) for name, time_ms in named(hits_in(model, speech))
    ]
    assert heard(server, speech, begin_ms=begin_ms) == expected


def test_names_choose_phrases(server, model, speech):
    hits = hits_in(model, speech)
    assert {hit.phrase for hit in hits} == {"one", "two", "three"}
    assert heard(server, speech, ["two"]) == named(hits, "two")
    assert heard(server, speech, ["Three", "two"]) == named(hits, "two", "three")
    assert heard(server, speech, []) == named(hits)


def test_an_unknown_name_is_an_error_event_and_the_known_ones_are_listened_for(server, model, speech):
    since = len(server.lines())
    error, *found = heard(server, speech, ["four\n\x1b[2J", "two"])
    assert (error.code, error.text) == ("unknown-name", "'four\\n\\x1b[2J' is not served here, but one, two, three")
    assert found == named(hits_in(model, speech), "two")
    assert "asks for what there is not: 'four\\n\\x1b[2J'" in server.wait_for("asks for", since)
    assert heard(server, speech, ["five"])[1:] == [NotDetected()]


def test_one_connection_hears_one_utterance_after_the_other_afresh(server, model, speech):
    silence = np.zeros(32000, np.float32)

    async def several() -> list:
        async with server.client() as client:
            found = [await utterance(client, silence, ["one"])]
            found += [await utterance(client, speech, []), await utterance(client, speech)]
            await client.write_event(AudioStop().event())
            await client.write_event(Event("something-of-tomorrow", {"a": 1}, b"payload"))
            found += [await told(client)]
            # As satellites do: another detect instead of a stop, and audio without a start.
            await send(client, speech[:20000])
            await told(client)
            await client.write_event(Detect().event())
            await send(client, speech)
            return [*found, await told(client)]

    expected = named(hits_in(model, speech))
    assert asyncio.run(several()) == [[NotDetected()], expected, expected, [NotDetected()], expected]


def test_it_answers_as_home_assistant_asks(server, model, speech):
    """Detect, start, chunks while it reads; at the first detection it leaves without a stop."""

    async def pipeline() -> Detection:
        async with server.client() as client:
            await client.write_event(Detect(names=["two"]).event())
            await client.write_event(AudioStart(16000, 2, 1).event())
            sending = asyncio.create_task(send(client, speech, begin_ms=500, pause_s=0.05))
            event = await client.read_event()
            assert not sending.done(), "it is told while audio still comes"
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            return Detection.from_event(event)

    first = next(hit for hit in hits_in(model, speech) if hit.phrase == "two")
    found = asyncio.run(pipeline())
    assert found.name == "two" and 0 < 500 + 1000 * first.time_s - found.timestamp <= 100


def test_clients_at_once_hear_each_its_own(server, model, speech_like):
    spoken = [speech_like(6, seed) for seed in range(4)]

    async def all_of_them() -> list:
        async def one(samples):
            async with server.client() as client:
                return await utterance(client, samples, pause_s=0.001)

        return await asyncio.gather(*map(one, spoken))

    expected = [named(hits_in(model, samples)) for samples in spoken]
    assert len(set(map(str, expected))) == 4
    assert asyncio.run(all_of_them()) == expected


def event_bytes(kind: str, payload: bytes = b"", **data) -> bytes:
    header = {"type": kind, "data": data}
    return json.dumps(header | ({"payload_length": len(payload)} if payload else {})).encode() + b"\n" + payload


CHUNK = {"rate": 16000, "width": 2, "channels": 1}
BAD = {
    "no JSON": b"GET / HTTP/1.1\r\n\r\n",
    "no JSON object": b"[1]\n",
    "header is no JSON": b"[" * 60000 + b"\n",
    "without a type": b"{}\n",
    "data that is no JSON object": b'{"type": "detect", "data": 3}\n',
    "data is no JSON": b'{"type": "detect", "data_length": 4}\n\xff\xfe\xfd\xfc',
    "data_length -1, which": b'{"type": "detect", "data_length": -1}\n',
    "payload_length True, which": b'{"type": "detect", "payload_length": true}\n',
    f"more than {HEADER_BYTES} bytes of header": b'{"type": "' + b"a" * 200000,
    "data_length 1000000000: more than": b'{"type": "detect", "data_length": 1000000000}\n' + b"a" * 100000,
    f"payload_length {PAYLOAD_BYTES + 1}: more than": b'{"type": "a", "payload_length": %d}\n' % (PAYLOAD_BYTES + 1),
    "names that are no list of texts": event_bytes("detect", names=["one", 2]),
    "without a whole number for each": event_bytes("audio-start", rate=16000, width=2.5, channels=1),
    "audio at 0 Hz": event_bytes("audio-chunk", b"aa", **CHUNK | {"rate": 0}),
    "audio of 5 bytes a sample": event_bytes("audio-start", **CHUNK | {"width": 5}),
    "audio of 1000 channels": event_bytes("audio-start", **CHUNK | {"channels": 1000}),
    "timestamp soon, which": event_bytes("audio-start", timestamp="soon", **CHUNK),
    "no whole samples of 2": event_bytes("audio-chunk", b"abc", **CHUNK),
    "another format than it began": event_bytes("audio-start", **CHUNK)
    + event_bytes("audio-chunk", b"aa", **CHUNK | {"rate": 8000}),
    "no Unicode": event_bytes("ping", text="\ud800"),
    "was not whole after": b'{"type": "ping"',
}


def test_what_is_malformed_or_oversized_ends_its_own_connection_alone(server, model, speech):
    async def beside() -> list:
        async with server.client() as client:
            await client.write_event(AudioStart(16000, 2, 1).event())
            pieces = np.array_split(speech, len(BAD) + 1)
            await send(client, pieces[0])
            for (reason, sent), piece in zip(BAD.items(), pieces[1:], strict=True):
                since = len(server.lines())
                reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
                writer.write(sent)
                assert await closed(reader) == b"", reason
                writer.close()
                line = server.wait_for("disconnected: ", since)
                assert reason in line and len(server.lines()) == since + 1, server.lines()[since:]
                await send(client, piece)
            await client.write_event(AudioStop().event())
            return await told(client)

    before = server.memory_mb()
    assert asyncio.run(beside()) == named(hits_in(model, speech))
    assert server.memory_mb() < before + 20


def test_a_client_that_breaks_off_says_one_line_and_one_that_just_leaves_none(server, speech):
    since = len(server.lines())
    for sent, reset in ((event_bytes("ping"), False), (b'{"type": "pi', False), (event_bytes("ping"), True)):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(sent)
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    assert "an event that was cut off" in server.wait_for("disconnected", since)
    assert heard(server, speech[:1600], ["one"]) == [NotDetected()]
    assert len(server.lines()) == since + 1


def test_one_client_too_many_takes_the_place_of_the_quietest(server, speech):
    async def crowd() -> list:
        async with contextlib.AsyncExitStack() as stack:
            clients = []
            for _ in range(MOST_CLIENTS):
                clients.append(await stack.enter_async_context(server.client()))
                assert await told(clients[-1]) == []
            assert await told(clients[0]) == []  # now the second is the quietest
            late = await stack.enter_async_context(server.client())
            assert await told(late) == [] and await told(clients[0]) == []
            assert await clients[1].read_event() is None
            return await utterance(late, speech[:1600], ["one"])

    since = len(server.lines())
    assert asyncio.run(crowd()) == [NotDetected()]
    assert "quiet for longest" in server.wait_for("disconnected", since) and len(server.lines()) == since + 1


def test_slow_and_flooding_clients_do_not_stop_the_others(server, model, speech):
    """Beside one that streams: three that send audio without end, one that sends events without end, one that asks
    without end and reads nothing, one that is quiet within an event; and new ones are answered."""
    ask, tiny = event_bytes("describe") * 1000, b'{"type": "x"}\n' * 10000
    audio = event_bytes("audio-chunk", bytes(PAYLOAD_BYTES), **CHUNK)

    async def flood(sent: bytes, repeat: bool = True) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            with contextlib.suppress(ConnectionError):
                writer.write(sent)
                while repeat:
                    await writer.drain()
                    writer.write(sent)
                await closed(reader)
        finally:
            writer.transport.abort()

    async def beside() -> tuple[list, float]:
        floods = [flood(audio), flood(audio), flood(audio), flood(tiny), flood(ask), flood(b"{", repeat=False)]
        tasks = [asyncio.create_task(each) for each in floods]
        async with server.client() as client:
            hearing = asyncio.create_task(utterance(client, speech, pause_s=0.02))
            slowest = 0.0
            # Those that read nothing or send no whole event have to go.
            while not (hearing.done() and tasks[4].done() and tasks[5].done()):
                begin = server.cpu_s()
                async with server.client() as another:
                    assert await told(another) == []
                slowest = max(slowest, server.cpu_s() - begin)
                await asyncio.sleep(0.2)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return await hearing, slowest

    since, before = len(server.lines()), server.memory_mb()
    found, slowest = asyncio.run(asyncio.wait_for(beside(), 5 * LATE_S))
    assert found == named(hits_in(model, speech))
    server.wait_for("has not read what it was sent", since)
    server.wait_for("was not whole after", since)
    assert slowest < 2, "CPU seconds of the server until a new client is answered"
    assert server.memory_mb() < before + 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_in_order(tmp_path, model, speech, number):
    # SIGINT is ignored in what a shell starts in the background, and yet ends it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        server = Server(tmp_path, model, "--uri", "tcp://127.0.0.1:0", "--threshold", str(THRESHOLD))
    finally:
        signal.signal(signal.SIGINT, before)

    async def cut_off() -> tuple[int, list, Event | None]:
        async with server.client() as client:
            await client.write_event(AudioStart(16000, 2, 1).event())
            await send(client, speech)
            found = await told(client)
            assert server.process.poll() is None
            return await asyncio.to_thread(server.end, number), found, await client.read_event()

    status, found, after = asyncio.run(cut_off())
    assert status == 0 and after is None
    assert server.lines()[1:] == [f"wakeword: 1 client(s), {len(named(hits_in(model, speech)))} hit(s)"]
    assert len(found) == len(hits_in(model, speech))


@pytest.mark.parametrize("uri", ["127.0.0.1:10400", "tcp://127.0.0.1", "tcp://:1", "tcp://a:99999", "unix:///a", "x"])
def test_an_address_that_is_none_is_refused_in_a_line(model, uri, capsys):
    assert main(["serve", model, "--uri", uri]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"--uri {uri}: give an address as tcp://HOST:PORT" in line


def test_a_port_that_is_taken_and_a_phrase_twice_are_refused_in_a_line(server, model, capsys):
    for place in (f"127.0.0.1:{server.port}", "a..b:1"):
        assert main(["serve", model, "--uri", f"tcp://{place}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{place}: cannot listen there" in line and "another server" in line
    assert main(["serve", model, model, "--uri", "tcp://127.0.0.1:0"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "several models listen for 'one'" in line


def test_it_listens_on_the_loopback_unless_told_otherwise_and_then_says_what_that_means(model, monkeypatch, capsys):
    from wakeword.listener import serve

    assert serve.DEFAULT_URI.startswith("tcp://127.0.0.1:")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setattr(serve.asyncio.Event, "wait", stopped_at_once)
    assert main(["serve", model, "--uri", f"tcp://127.0.0.1:{port}"]) == 0
    assert "password" not in capsys.readouterr().err
    assert main(["serve", model, "--uri", f"tcp://0.0.0.0:{port}"]) == 0
    assert "no password and no encryption" in capsys.readouterr().err


async def stopped_at_once(_) -> None:
    """In place of waiting for a signal."""


def read_all(sent: bytes) -> list[Event]:
    async def read() -> list[Event]:
        reader, found = asyncio.StreamReader(limit=HEADER_BYTES), []
        reader.feed_data(sent)
        reader.feed_eof()
        while (event := await read_event(reader)) is not None:
            found.append(event)
        return found

    return asyncio.run(read())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
)
headers = st.dictionaries(st.sampled_from(["type", "data", "data_length", "payload_length"]), json_values)


@given(st.binary(max_size=200) | st.tuples(headers, st.binary(max_size=50)))
@example(({"type": "a", "data": {"b": 1}, "data_length": 2, "payload_length": 3}, b"{}abc"))
def test_whatever_comes_is_events_or_refused(sent):
    if isinstance(sent, tuple):
        sent = json.dumps(sent[0]).encode() + b"\n" + sent[1]
    with contextlib.suppress(Refused):
        assert all(isinstance(event.type, str) and isinstance(event.data, dict) for event in read_all(sent))


def test_events_are_read_as_the_package_writes_them():
    old = b'{"type": "a", "data": {"b": 1, "c": 2}}\n'  # all in the header
    new = b'{"type": "a", "version": "1.8.0", "data_length": 9, "payload_length": 3}\n{"b": 10}xyz'
    assert [(each.type, each.data, each.payload) for each in read_all(old + new)] == [
        ("a", {"b": 1, "c": 2}, None),
        ("a", {"b": 10}, b"xyz"),
    ]
