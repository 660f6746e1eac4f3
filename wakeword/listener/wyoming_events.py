"""Wyoming events off a socket: bounded in size and time, and refused where they are malformed, before they are held."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from wyoming.event import Event

HEADER_BYTES = DATA_BYTES = 1 << 16
PAYLOAD_BYTES = 1 << 20  # 32 s of 16 kHz mono, 2.7 s of 48 kHz stereo in 32 bits; clients send a tenth of a second
EVENT_S = 30.0
LEAST_RATE, MOST_RATE, MOST_CHANNELS = 4000, 384000, 64
_SHOWN = 40


class Refused(Exception):
    """Why a client is not served any longer, as the end of a sentence about it."""


@dataclass(frozen=True)
class PcmFormat:
    """How a client's audio lies in bytes: samples a second, bytes a sample (little-endian), channels (interleaved)."""

    rate: int
    width: int
    channels: int

    def __post_init__(self):
        if not LEAST_RATE <= self.rate <= MOST_RATE:
            raise Refused(f"audio at {shown(self.rate)} Hz, not at {LEAST_RATE} to {MOST_RATE}")
        if not 1 <= self.width <= 4:
            raise Refused(f"audio of {shown(self.width)} bytes a sample, not 1 to 4")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise Refused(f"audio of {shown(self.channels)} channels, not 1 to {MOST_CHANNELS}")

    @property
    def frame_bytes(self) -> int:
        return self.width * self.channels


async def read_event(reader: asyncio.StreamReader) -> Event | None:
    """The next event; None once the client has left between two events.

    The stream's limit is the most that a header may have. A client may be quiet between events for as long as it
    likes, but an event that has begun must be whole within `EVENT_S` seconds.

    Raises:
        Refused: the event is malformed, too large, too slow or cut off. What it declares is not read first.
    """
    begin = await reader.read(1)
    if not begin:
        return None
    try:
        return await asyncio.wait_for(_rest(begin, reader), EVENT_S)
    except asyncio.TimeoutError:
        raise Refused(f"an event that was not whole after {EVENT_S:g} s") from None
    except asyncio.LimitOverrunError:
        raise Refused(f"an event with more than {HEADER_BYTES} bytes of header") from None
    except asyncio.IncompleteReadError:
        raise Refused("an event that was cut off") from None


async def _rest(begin: bytes, reader: asyncio.StreamReader) -> Event:
    header = _object(begin + await reader.readuntil(b"\n"), "header")
    kind, data = header.get("type"), header.get("data")
    if not isinstance(kind, str):
        raise Refused("an event without a type")
    if data is not None and not isinstance(data, dict):
        raise Refused(f"'{shown(kind)}' with data that is no JSON object")
    # Both are looked at before either is read.
    more, audio = _length(header, "data_length", DATA_BYTES), _length(header, "payload_length", PAYLOAD_BYTES)
    data = dict(data or {})
    if more:
        data.update(_object(await reader.readexactly(more), "data"))
    return Event(type=kind, data=data, payload=await reader.readexactly(audio) if audio else None)


def _object(text: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused(f"an event whose {what} is no JSON") from None
    if not isinstance(value, dict):
        raise Refused(f"an event whose {what} is no JSON object")
    return value


def _length(header: dict[str, Any], name: str, most: int) -> int:
    value = header.get(name)
    if value is None:
        return 0
    if type(value) is not int or value < 0:
        raise Refused(f"an event with {name} {shown(value)}, which is no number of bytes")
    if value > most:
        raise Refused(f"an event with {name} {shown(value)}: more than {most} bytes")
    return value


def audio_format(data: dict[str, Any]) -> PcmFormat:
    """The format that an audio-start or audio-chunk declares.

    Raises:
        Refused: it is missing or none that audio has.
    """
    values = [data.get(name) for name in ("rate", "width", "channels")]
    if not all(type(value) is int for value in values):
        raise Refused("audio without a whole number for each of rate, width and channels")
    return PcmFormat(*values)


def timestamp(data: dict[str, Any]) -> int | None:
    """The milliseconds that an audio event declares, None where it says none.

    Raises:
        Refused: they are no number.
    """
    value = data.get("timestamp")
    if value is None:
        return None
    if type(value) not in (int, float) or not abs(value) < 2**63:
        raise Refused(f"audio with timestamp {shown(value)}, which is no number of milliseconds")
    return int(value)


def wanted_names(data: dict[str, Any]) -> list[str]:
    """The names that a detect event asks for; empty for whatever there is.

    Raises:
        Refused: they are no list of texts.
    """
    names = data.get("names") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise Refused("'detect' with names that are no list of texts")
    return names


def shown(value: object) -> str:
    """What a client sent, fit for one line: short, without control characters."""
    text = ascii(value)[1:-1] if isinstance(value, str) else ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
