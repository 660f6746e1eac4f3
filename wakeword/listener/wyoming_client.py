"""One Wyoming client: what it asks for, its audio through detectors of its own, and what it is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.error import Error
from wyoming.event import Event, Eventable, async_write_event
from wyoming.info import Attribution, Describe, Info, WakeModel, WakeProgram
from wyoming.ping import Ping, Pong
from wyoming.wake import Detect, Detection, NotDetected

from wakeword._version import __version__
from wakeword.audio.waveform import StreamResampler, pcm_samples
from wakeword.detector.detector import Detector, Hit
from wakeword.errors import WakewordError
from wakeword.listener.wyoming_events import (
    PcmFormat,
    Refused,
    audio_format,
    read_event,
    shown,
    timestamp,
    wanted_names,
)

PIECE_S = 0.5
WRITE_S = 10.0


def names_of(detectors: Sequence[Detector]) -> dict[str, str]:
    """For each phrase its name in the protocol, by phrase: "hey computer" is `hey_computer`.

    Raises:
        WakewordError: two models listen for one phrase, so that a client could not tell them apart.
    """
    names: dict[str, str] = {}
    for phrase in [phrase for detector in detectors for phrase in detector.phrases]:
        if _alike(phrase) in map(_alike, names):
            raise WakewordError(f"several models listen for '{phrase}': serve one of them")
        names[phrase] = phrase.replace(" ", "_")
    return names


def _alike(name: str) -> str:
    """Names that differ by case alone, or by spaces for underscores, are one, as for other Wyoming services."""
    return name.lower().replace("_", " ").strip()


def info_of(names: dict[str, str]) -> Info:
    """What a client is told that there is: each phrase as a model, with its name."""
    said = {"attribution": Attribution(name="wakeword", url=""), "installed": True, "version": __version__}
    models = [
        WakeModel(name=name, description=phrase, phrase=phrase, languages=[], **said) for phrase, name in names.items()
    ]
    return Info(wake=[WakeProgram(name="wakeword", description="Detectors of your own phrases", models=models, **said)])


class _Stream:
    """A client's audio from its start on, heard by detectors that nobody else uses."""

    def __init__(self, detectors: Sequence[Detector], phrases: set[str], audio: PcmFormat, start_ms: int):
        self.format, self.start_ms = audio, start_ms
        self.chunk_ms: int | None = None
        self.detected = False
        self._phrases = phrases
        self._detectors = [detector.twin() for detector in detectors if phrases & set(detector.phrases)]
        self._resampler = StreamResampler(audio.rate, audio.channels)

    def hear(self, pcm: bytes) -> list[Hit]:
        return self._hits(self._resampler.process(pcm_samples(pcm, self.format.width)))

    def end(self) -> list[Hit]:
        return self._hits(self._resampler.flush())

    def _hits(self, samples) -> list[Hit]:
        hits = [hit for detector in self._detectors for hit in detector.process(samples)] if len(samples) else []
        return sorted((hit for hit in hits if hit.phrase in self._phrases), key=lambda hit: hit.time_s)


class Client:
    """A connection. What clients share is the weights: everything that one says or sends stays in its own `Client`.

    Attributes:
        active_s: when the last event came, on the monotonic clock.
        hits: how many detections it was told of.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        work: Callable[..., Awaitable[list[Hit]]],
        tell: Callable[[str], None],
    ):
        """`work(function, *arguments)` runs what takes long elsewhere than in the event loop; `tell` takes a line."""
        self.active_s, self.hits = time.monotonic(), 0
        self._detectors, self._names = detectors, names_of(detectors)
        self._phrases = set(self._names)
        self._reader, self._writer, self._work, self._tell = reader, writer, work, tell
        self._stream: _Stream | None = None
        self._asked_amiss = False

    async def converse(self) -> None:
        """Answer one event after the other until the client leaves.

        Raises:
            Refused: it sent what no client may, or does not read what it is sent.
        """
        while (event := await read_event(self._reader)) is not None:
            self.active_s = time.monotonic()
            await self._answer(event)
            # Reading and writing need not wait for anything: without this, one that floods would never let others in.
            await asyncio.sleep(0)

    async def _answer(self, event: Event) -> None:
        # Events of other types are passed over, as the protocol wants it: newer clients say more than this knows.
        if AudioChunk.is_type(event.type):
            await self._hear(audio_format(event.data), timestamp(event.data), event.payload or b"")
        elif AudioStart.is_type(event.type):
            self._begin(audio_format(event.data), timestamp(event.data))
        elif AudioStop.is_type(event.type):
            await self._end()
        elif Detect.is_type(event.type):
            await self._choose(wanted_names(event.data))
        elif Describe.is_type(event.type):
            await self._send(info_of(self._names))
        elif Ping.is_type(event.type):
            await self._send(Pong(text=event.data.get("text")))

    async def _choose(self, wanted: list[str]) -> None:
        """Listen for these names from now on, for all where none is named. Of unknown ones the client is told."""
        self._stream = None
        phrases = {_alike(name): phrase for phrase, name in self._names.items()}
        known = {phrases[_alike(name)] for name in wanted if _alike(name) in phrases}
        self._phrases = known if wanted else set(self._names)
        unknown = [shown(name) for name in wanted if _alike(name) not in phrases]
        if unknown:
            reason = f"'{unknown[0]}' is not served here, but {', '.join(self._names.values())}"
            await self._send(Error(text=reason, code="unknown-name"))
            if not self._asked_amiss:  # once: a line for each would let a client fill a log
                self._tell(f"asks for what there is not: {reason}")
            self._asked_amiss = True

    def _begin(self, audio: PcmFormat, start_ms: int | None) -> None:
        self._stream = _Stream(self._detectors, self._phrases, audio, start_ms or 0)

    async def _hear(self, audio: PcmFormat, chunk_ms: int | None, pcm: bytes) -> None:
        if self._stream is None:  # some clients send no audio-start
            self._begin(audio, chunk_ms)
        stream = self._stream
        if audio != stream.format:
            raise Refused("audio in another format than it began with")
        if len(pcm) % audio.frame_bytes:
            raise Refused(f"audio of {len(pcm)} bytes, which are no whole samples of {audio.frame_bytes}")
        stream.chunk_ms = chunk_ms
        # In pieces, each of which waits for its turn: the longest chunk holds up others no more than a short one.
        piece = round(PIECE_S * audio.rate) * audio.frame_bytes
        for begin in range(0, len(pcm), piece):
            await self._report(await self._work(stream.hear, pcm[begin : begin + piece]))

    async def _end(self) -> None:
        if self._stream is not None:
            await self._report(await self._work(self._stream.end))
        if self._stream is None or not self._stream.detected:
            await self._send(NotDetected())
        self._stream = None

    async def _report(self, hits: list[Hit]) -> None:
        for hit in hits:
            self._stream.detected = True
            self.hits += 1
            when = self._stream.chunk_ms
            if when is None:
                when = self._stream.start_ms + round(1000 * hit.time_s)
            await self._send(Detection(name=self._names[hit.phrase], timestamp=when))

    async def _send(self, what: Eventable) -> None:
        try:
            await asyncio.wait_for(async_write_event(what.event(), self._writer), WRITE_S)
        except asyncio.TimeoutError:
            raise Refused(f"has not read what it was sent for {WRITE_S:g} s") from None
        except ValueError:  # half a surrogate pair, which JSON can say and UTF-8 cannot
            raise Refused("an event with text that is no Unicode") from None
