"""When phrases came out of a virtual sound card, and how long after their end each hit came."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator

import numpy as np
from virtual_sound import Pulse

from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.evaluation.streams import Event

GRACE_S = 2.0  # a hit this long after the phrase's end is still its own
SEARCH_S = 1.5
LIKE = 0.5  # a correlation coefficient; of other clips it is below 0.2


class Recorder:
    """Records from the monitor with little delay, and knows when each sample came: int16, 16 kHz, mono."""

    def __init__(self, pulse: Pulse):
        how = ["--device=sink.monitor", "--raw", "--format=s16le", f"--rate={SAMPLE_RATE}", "--channels=1"]
        self.process = subprocess.Popen(["parec", *how, "--latency-msec=20"], env=pulse.env, stdout=subprocess.PIPE)
        self.samples = bytearray()
        self.counts: list[int] = []
        self.early: list[float] = []
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while data := self.process.stdout.read1(4096):
            self.samples += data
            count = len(self.samples) // 2
            self.counts.append(count)
            self.early.append(time.time() - count / SAMPLE_RATE)

    def close(self) -> None:
        self.process.terminate()
        self._thread.join(10)
        self.process.wait(10)

    def when(self, sample: float) -> float:
        """When a sample came, in seconds of `time.time`: by the promptest of the readings within 30 s of it."""
        near = slice(*np.searchsorted(self.counts, [sample - 30 * SAMPLE_RATE, sample + 30 * SAMPLE_RATE]))
        return min(self.early[near]) + sample / SAMPLE_RATE


def played_at(recorder: Recorder, played: np.ndarray, events: list[Event], began_s: float) -> Iterator[float]:
    """When each event's phrase ended, in seconds of `time.time`; NaN where its clip is not found in the recording.

    Args:
        played: int16 [samples], what was played from about `began_s` on.
    """
    recorded = np.frombuffer(bytes(recorder.samples[: len(recorder.samples) // 2 * 2]), "<i2").astype(np.float32)
    offset = (began_s - recorder.when(0)) * SAMPLE_RATE
    search_s = 2 * SEARCH_S  # a player takes a while to begin
    for event in events:
        start, end = round(event.start_s * SAMPLE_RATE), round(event.end_s * SAMPLE_RATE)
        clip = played[start:end].astype(np.float32)
        first = max(0, round(start + offset - search_s * SAMPLE_RATE))
        window = recorded[first : round(end + offset + search_s * SAMPLE_RATE)]
        at, likeness = best_match(window, clip)
        if likeness < LIKE:
            yield np.nan
            continue
        offset, search_s = first + at - start, SEARCH_S
        yield recorder.when(event.speech_end_s * SAMPLE_RATE + offset)


def best_match(window: np.ndarray, clip: np.ndarray) -> tuple[int, float]:
    """Where in a window, float32 [samples], a clip lies, and the correlation coefficient there; (0, 0) if nowhere."""
    if len(window) < len(clip) or not clip.any():
        return 0, 0.0
    size = 2 ** (len(window) + len(clip)).bit_length()
    product = np.fft.irfft(np.fft.rfft(window, size) * np.conj(np.fft.rfft(clip, size)), size)
    energy = np.cumsum(np.concatenate([[0.0], window.astype(np.float64) ** 2]))
    count = len(window) - len(clip) + 1
    under = energy[len(clip) :] - energy[:count]
    likeness = product[:count] / np.sqrt(np.maximum(under, 1.0) * float((clip.astype(np.float64) ** 2).sum()))
    at = int(np.argmax(likeness))
    return at, float(likeness[at])


def delays(ends_s: np.ndarray, lengths_s: np.ndarray, hits_s: list[float]) -> tuple[np.ndarray, int]:
    """Seconds from each phrase's end to its first hit, NaN where there is none, and how many hits belong to none.

    Args:
        ends_s: when each phrase ended; lengths_s: from the clip's start to there.
    """
    hits_s = np.sort(hits_s)
    starts_s = ends_s - lengths_s
    found, taken = np.full(len(ends_s), np.nan), 0
    for index, (start_s, end_s) in enumerate(zip(starts_s, ends_s, strict=True)):
        until_s = min([end_s + GRACE_S, *starts_s[index + 1 : index + 2]])
        own = hits_s[(hits_s >= start_s) & (hits_s <= until_s)]
        taken += len(own)
        if len(own):
            found[index] = own[0] - end_s
    return found, len(hits_s) - taken
