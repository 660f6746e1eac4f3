"""One open page: the sound it sends through detectors of its own, the clips that are recorded there, what it is told.

Both sides send JSON objects as text: a page says what it asks for (`ask`), the server what it tells (`tell`). The
page's sound comes as binary messages, 16 bits, one channel, of the rate that `begin` said; what is to be played goes
back as such, at 16 kHz.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from wakeword.audio.waveform import SAMPLE_RATE, StreamResampler, pcm16, pcm_samples, quality, read_audio
from wakeword.detector.detector import Detector
from wakeword.errors import WakewordError
from wakeword.listener.listener import Heard

if TYPE_CHECKING:
    from data_prep.recorded import ClipFolder

MESSAGE_BYTES = 65536
TEXT_CHARACTERS = 1000
LOWEST_RATE, HIGHEST_RATE = 8000, 192000
WRITE_S = 10.0
QUIETEST_DBFS = -99.0

Work = Callable[..., Awaitable]


class Refused(Exception):
    """What no page sends: the connection ends with this reason."""


class Page:
    """A connection. `hits` and `clips` count what it was told of and what it recorded.

    Args:
        connection: a websocket, for `send`; it is read by the caller.
        detectors: with models in common where they have any (`together.load_together`); this page has twins of them.
        models: the file of each, as the user named it.
        clips: where recorded clips go; None if nothing is recorded.
        hear, write: each `(function, *arguments)` runs what takes long in one thread, in turn: what hears, which
            detectors that share steps need, and what reads and writes files, so that a slow disk holds up no hearing.
    """

    def __init__(
        self,
        connection,
        detectors: Sequence[Detector],
        models: Sequence[str],
        clips: ClipFolder | None,
        hear: Work,
        write: Work,
    ):
        self.hits = self.clips = 0
        self._connection, self._models, self._folder = connection, models, clips
        self._detectors = [detector.twin() for detector in detectors]
        self._work, self._write = hear, write
        self._resampler: StreamResampler | None = None
        self._heard = 0
        self._taking: list[np.ndarray] | None = None
        self._take: np.ndarray | None = None

    async def greet(self) -> None:
        """Tell what is listened for and what can be recorded."""
        phrases = [
            {"phrase": phrase, "model": model, "threshold": threshold}
            for detector, model in zip(self._detectors, self._models, strict=True)
            for phrase, threshold in zip(detector.phrases, detector.thresholds, strict=True)
        ]
        recording = None
        if self._folder is not None:
            recording = {
                "phrase": self._folder.text,
                "seconds": self._folder.seconds,
                "speaker": self._folder.speaker,
                "folder": str(self._folder.folder),
            }
        await self._tell("hello", phrases=phrases, recording=recording)

    async def receive(self, message: str | bytes) -> None:
        """Hear or answer one message.

        Raises:
            Refused: no page of ours sends it, or this one does not read what it is sent.
        """
        if isinstance(message, bytes):
            await self._hear(message)
            return
        ask, said = _request(message)
        try:
            if ask == "begin":
                self._begin(said.get("rate"))
            elif ask == "end":
                self._resampler = self._taking = None
            elif self._folder is None:
                raise Refused("asks for clips where none are recorded")
            elif ask == "clips":
                await self._tell_clips()
            elif ask == "record":
                self._begin_take()
            elif ask == "drop":
                self._taking = self._take = None
            elif ask == "keep":
                await self._keep()
            elif ask == "play":
                await self._play(said.get("clip"))
            elif ask == "delete":
                await self._write(self._folder.remove, said.get("clip"))
                await self._tell_clips()
            else:
                raise Refused("asks for what there is not")
        except WakewordError as error:  # the disk is full, the clip is gone: the page says so and goes on
            await self._tell("problem", text=str(error))

    def _begin(self, rate: object) -> None:
        if type(rate) is not int or not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise Refused(f"gives a rate that is no whole number from {LOWEST_RATE} to {HIGHEST_RATE}")
        self._resampler, self._heard, self._taking = StreamResampler(rate), 0, None
        for detector in self._detectors:
            detector.reset()

    async def _hear(self, pcm: bytes) -> None:
        if self._resampler is None:
            raise Refused("sends sound before it said of what rate")
        if len(pcm) % 2 or not pcm:
            raise Refused(f"sends sound of {len(pcm)} bytes, which are no whole samples")
        heard, scores = await self._work(self._process, pcm, time.monotonic())
        level = quality(heard.samples)
        await self._tell(
            "heard",
            time_s=round(heard.time_s, 3),
            rms_dbfs=round(max(level.rms_dbfs, QUIETEST_DBFS), 1),
            peak_dbfs=round(max(level.peak_dbfs, QUIETEST_DBFS), 1),
            scores=scores,
        )
        for index, hit in heard.hits:
            self.hits += 1
            await self._tell("hit", **heard.event(hit, self._models[index]))
        if self._taking is not None:
            await self._take_more(heard.samples)

    def _process(self, pcm: bytes, arrived_s: float) -> tuple[Heard, list]:
        """A block through all detectors; for each phrase also its scores, as `[time_s, score]`."""
        samples = self._resampler.process(pcm_samples(pcm, 2))
        self._heard += len(samples)
        hits, curves = [], []
        for index, detector in enumerate(self._detectors):
            time_s, score = detector.scores(samples)
            hits += [(index, hit) for hit in detector.hits_in(time_s, score)]
            times = np.round(time_s, 2).tolist()
            curves += [list(zip(times, each, strict=True)) for each in np.round(score.T.astype(float), 4).tolist()]
        return Heard(samples, self._heard / SAMPLE_RATE, hits, arrived_s), curves

    def _begin_take(self) -> None:
        if self._resampler is None:
            raise WakewordError("there is no sound yet: start the microphone first")
        self._taking, self._take = [], None

    async def _take_more(self, samples: np.ndarray) -> None:
        self._taking.append(samples)
        wanted = round(self._folder.seconds * SAMPLE_RATE)
        if sum(map(len, self._taking)) < wanted:
            return
        from data_prep.recorded import problem

        self._take, self._taking = np.concatenate(self._taking)[:wanted], None
        peak = max(quality(self._take).peak_dbfs, QUIETEST_DBFS)
        await self._tell("take", problem=await self._work(problem, self._take), peak_dbfs=round(peak, 1))

    async def _keep(self) -> None:
        if self._take is None:
            raise WakewordError("there is no take to keep: record one")
        take, self._take = self._take, None
        try:
            path = await self._write(self._folder.keep, take)
        except WakewordError:
            self._take = take  # it can be tried again once there is room
            raise
        self.clips += 1
        await self._tell("kept", clip=path.name)
        await self._tell_clips()

    async def _play(self, name: object) -> None:
        """Send a clip, or the take that waits for a decision where none is named."""
        samples = self._take if name is None else await self._write(self._samples_of, name)
        if samples is None:
            raise WakewordError("there is no take to play: record one")
        await self._send(pcm16(samples))

    def _samples_of(self, name: object) -> np.ndarray:
        from data_prep.recorded import MOST_SECONDS

        return read_audio(self._folder.find(name), duration_s=MOST_SECONDS)

    async def _tell_clips(self) -> None:
        names = [path.name for path in await self._write(self._folder.clips)]
        await self._tell("clips", clips=names)

    async def _tell(self, what: str, **said) -> None:
        await self._send(json.dumps({"tell": what, **said}))

    async def _send(self, message: str | bytes) -> None:
        try:
            await asyncio.wait_for(self._connection.send(message), WRITE_S)
        except asyncio.TimeoutError:
            raise Refused(f"has not read what it was sent for {WRITE_S:g} s") from None


def _request(message: str) -> tuple[object, dict]:
    if len(message) > TEXT_CHARACTERS:
        raise Refused(f"asks with more than {TEXT_CHARACTERS} characters")
    try:
        said = json.loads(message)
    except (ValueError, RecursionError):
        raise Refused("asks with what is no JSON") from None
    if not isinstance(said, dict):
        raise Refused("asks with no JSON object")
    return said.get("ask"), said
