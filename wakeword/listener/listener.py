"""From a microphone, a file or raw samples to hits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wakeword.audio.clips import MANIFEST_SUFFIXES
from wakeword.audio.input_devices import list_devices
from wakeword.audio.microphone import BLOCK_S, Capture, microphone_blocks
from wakeword.audio.waveform import SAMPLE_RATE, file_blocks, pcm_samples, told_of_faults
from wakeword.errors import AudioError

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector, Hit
    from wakeword.listener.near_misses import NearMisses

__all__ = ["Heard", "file_blocks", "hear", "list_devices", "listen", "microphone_blocks", "pcm_blocks"]


@dataclass(frozen=True)
class Heard:
    """A block of a stream and the hits in it.

    Attributes:
        samples: float32 `[n]`, 16 kHz mono.
        time_s: seconds of audio heard with the block's end, of the same clock as the hits' `time_s`.
        hits: with the index of the detector of each.
        arrived_s: when the block's end came in, by `time.monotonic`; None for a file, which comes faster than sound.
    """

    samples: np.ndarray
    time_s: float
    hits: list[tuple[int, Hit]]
    arrived_s: float | None

    def delay_s(self, hit: Hit) -> float | None:
        """Seconds from when the last sound that made the hit came in until now; None for a file.

        What a microphone's driver and the resampler hold back (some tens of milliseconds) comes before that.
        """
        if self.arrived_s is None:
            return None
        return time.monotonic() - self.arrived_s + self.time_s - hit.time_s

    def event(self, hit: Hit, model: str) -> dict:
        """What a hit is to the outside: what a JSON line, a command, a web address and a page get."""
        delay_s = self.delay_s(hit)
        return {
            "utc": datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "phrase": hit.phrase,
            "model": model,
            "score": hit.score,
            "time_s": round(hit.time_s, 3),
            "delay_s": None if delay_s is None else round(delay_s, 3),
        }


def listen(
    detectors: list[Detector],
    device: str | int | None = None,
    file: str | os.PathLike | None = None,
    raw: BinaryIO | None = None,
    on_status: Callable[[str], None] | None = None,
    keep: NearMisses | None = None,
) -> Iterator[Hit]:
    """Yield hits as they are heard: from a file until its end, from raw samples, or else from a microphone for ever.

    Arguments and errors are those of `hear`, which gives each block too.
    """
    for heard in hear(detectors, device, file, raw, on_status, keep=keep):
        for _, hit in heard.hits:
            yield hit


def hear(
    detectors: list[Detector],
    device: str | int | None = None,
    file: str | os.PathLike | None = None,
    raw: BinaryIO | None = None,
    on_status: Callable[[str], None] | None = None,
    capture: Capture | None = None,
    keep: NearMisses | None = None,
) -> Iterator[Heard]:
    """Yield each block as it is heard, with its hits: from a file or raw samples, or else from a microphone for ever.

    The detectors start afresh, and again after a microphone was lost. `time_s` of a hit counts the seconds of audio
    heard since the start of listening; time without a microphone does not count.

    Args:
        detectors: see `together.load_together` for several.
        device: microphone, by its index or a part of its name (see `list_devices`); None for the system's default.
        raw: a binary stream of 16-bit little-endian mono samples at 16 kHz, such as `sys.stdin.buffer`.
        on_status: told, in one line each, of a microphone lost or back and of sound that was dropped; a warning is
            logged if it is None.
        capture: kept up to date with what the microphone has been through.
        keep: keeps clips of hits and near misses; made for the same detectors, and begun afresh with them. Its `close`
            is the caller's to call.

    Raises:
        DeviceError: there is no such device or it cannot be opened. AudioError: the file cannot be read; or, once
            it has been heard to its end, it was silent or clipped, so that the absence of hits means nothing.
    """
    capture = capture or Capture()
    if file is not None:
        blocks: Iterator[np.ndarray | None] = told_of_faults(_one_file(file), partial(_refuse, file))
    elif raw is not None:
        blocks = pcm_blocks(raw, capture)
    else:
        blocks = microphone_blocks(device, on_status, capture)
    heard = begun = 0

    def begin() -> None:
        for each in (*detectors, *filter(None, [keep])):
            each.reset()

    begin()
    for block in blocks:
        if block is None:
            begun = heard
            begin()
            continue
        heard += len(block)
        hits = []
        if keep is not None:
            keep.hear(block)
        for index, detector in enumerate(detectors):
            for hit in detector.process(block) if keep is None else keep.process(detector, block):
                hits.append((index, replace(hit, time_s=hit.time_s + begun / SAMPLE_RATE) if begun else hit))
        capture.resting = all(detector.resting for detector in detectors)
        yield Heard(block, heard / SAMPLE_RATE, hits, capture.arrived_s)


def _refuse(file: str | os.PathLike, fault: str) -> None:
    raise AudioError(f"{file}: {fault}")


def _one_file(file: str | os.PathLike) -> Iterator[np.ndarray]:
    if os.path.isfile(file) and str(file).lower().endswith(MANIFEST_SUFFIXES):
        raise AudioError(f"{file}: a manifest: listen takes one audio file; 'wakeword score' takes manifests")
    return file_blocks(file, round(BLOCK_S * SAMPLE_RATE))


def pcm_blocks(stream: BinaryIO, capture: Capture | None = None) -> Iterator[np.ndarray]:
    """Read 16-bit little-endian mono samples at 16 kHz as float32 [samples] blocks until the stream ends.

    `capture` is told when each came.
    """
    held = b""
    # read1 gives what is there; read would wait until a whole block is.
    read = getattr(stream, "read1", stream.read)
    while data := read(2 * round(BLOCK_S * SAMPLE_RATE)):
        held += data
        if capture is not None:
            capture.arrived_s = time.monotonic()
        even = len(held) // 2 * 2
        if even:
            yield pcm_samples(held[:even], 2)
        held = held[even:]
