"""What a listener nearly took for the phrase, and what it did: the last seconds before, kept as clips (kept.py)."""

from __future__ import annotations

import contextlib
import logging
import queue
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import ConfigError, WakewordError
from wakeword.listener.kept import HIT, NEAR_MISS, Bounds, Kept, keep, private_folder
from wakeword.model.curve import logit

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector, Hit

SECONDS = 4.0
NEAR = 2.0
"""How far in the logit below the threshold a peak may lie and still be a near miss: a seventh of the odds."""
LONGEST_S = 2.0
"""A score that stays near for longer is kept when it has lasted so long."""
REST_S = 1.0
"""So long after a clip was kept no near miss of the same phrase begins; a hit does."""
WAITING = 16
"""Clips that may wait for a slow disk."""
LAST_WAIT_S = 10.0
"""How long the end of listening waits for them."""

_log = logging.getLogger("wakeword")


@dataclass
class _Watch:
    """One phrase of one detector: the excursion of its score that goes on, if there is one."""

    near: float
    hit: Hit | None = None
    begun_s: float | None = None
    peak: float = 0.0
    peak_s: float = 0.0
    spent: bool = False
    rested_s: float = 0.0
    last_hit_s: float = 0.0


class NearMisses:
    """Keeps the last `seconds` before each hit and each near miss of some detectors, as clips with sidecars.

    A near miss is an excursion of the smoothed posterior to within `NEAR` of the threshold, in the logit, that ends
    without a hit. A clip is written once its excursion is over, or has lasted `LONGEST_S`; it begins no earlier than
    the last hit of the phrase, so that what is refused does not hold the phrase of another hit.

    A thread writes, so that a slow disk holds nobody up. What cannot be written (a full disk, or one too slow for more
    than `WAITING` clips) is told once and counted in `lost`; `kept` counts the others.
    """

    def __init__(
        self,
        folder: str | Path,
        detectors: Sequence[Detector],
        bounds: Bounds | None = None,
        seconds: float = SECONDS,
        on_status: Callable[[str], None] | None = None,
    ) -> None:
        """Make the folder, readable to its owner alone.

        Raises:
            WakewordError: as `kept.private_folder`. ConfigError: `seconds` not from 1 to 30.
        """
        if not 1 <= seconds <= 30:
            raise ConfigError(f"{seconds:g} s to keep before a hit: must be from 1 to 30")
        self.folder, self.bounds, self.seconds = private_folder(folder), bounds or Bounds(), seconds
        self.kept = self.lost = 0
        self._detectors = list(detectors)
        self._tell = on_status or _log.warning
        self._watches: list[list[_Watch]] = []
        self._waiting: queue.Queue[tuple[np.ndarray, Kept] | None] = queue.Queue(WAITING)
        self._written = threading.Event()  # `join` would, interrupted, take the thread for ended
        threading.Thread(target=self._write, daemon=True).start()
        self.reset()

    def notice(self) -> str:
        """What those who are heard should know, in a line."""
        return (
            f"the {self.seconds:g} s before each hit and near miss are kept as audio in {self.folder}, the last "
            f"{self.bounds.clips} clips and {self.bounds.megabytes:g} MB at most: tell those who are heard, and remove "
            "the folder when it has served"
        )

    def reset(self) -> None:
        """Begin a new stream, as the detectors do; an excursion that goes on is over."""
        self._end()
        self._blocks: deque[np.ndarray] = deque()
        self._held = self._heard = 0
        self._stream = secrets.token_hex(8)
        self._watches = [
            [_Watch(float(1 / (1 + np.exp(NEAR - logit(threshold))))) for threshold in detector.thresholds]
            for detector in self._detectors
        ]

    def hear(self, block: np.ndarray) -> None:
        """Take a block of audio, float32 [samples], before the detectors do."""
        self._blocks.append(block)
        self._heard += len(block)
        self._held += len(block)
        most = round((self.seconds + LONGEST_S + 1) * SAMPLE_RATE)
        while self._held - len(self._blocks[0]) >= most:
            self._held -= len(self._blocks.popleft())

    def process(self, detector: Detector, block: np.ndarray) -> list[Hit]:
        """What `detector.process` gives for a block that `hear` was given; what is near or a hit in it is kept."""
        time_s, score = detector.scores(block)
        hits = detector.hits_in(time_s, score)
        self.scored(detector, time_s, score, hits)
        return hits

    def scored(self, detector: Detector, time_s: np.ndarray, score: np.ndarray, hits: list[Hit]) -> None:
        """Follow the scores of one of the detectors, as `Detector.scores` gives them, and the hits in them."""
        watches = next(w for d, w in zip(self._detectors, self._watches, strict=True) if d is detector)
        for output, watch in enumerate(watches):
            mine = {hit.time_s: hit for hit in hits if hit.phrase == detector.phrases[output]}
            if mine or watch.begun_s is not None or watch.spent or (score[:, output] >= watch.near).any():
                for when, value in zip(time_s.tolist(), score[:, output].tolist(), strict=True):
                    self._follow(watch, detector, output, when, value, mine.get(when))

    def close(self) -> None:
        """Keep what goes on at the end, and wait for what is still to be written, `LAST_WAIT_S` at most."""
        self._end()
        ends = time.monotonic() + LAST_WAIT_S
        try:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=LAST_WAIT_S)
            self._written.wait(max(0.0, ends - time.monotonic()))
        finally:
            self.lost += 0 if self._written.is_set() else self._waiting.qsize()

    def _end(self) -> None:
        for detector, watches in zip(self._detectors, self._watches, strict=False):
            for output, watch in enumerate(watches):
                if watch.begun_s is not None:
                    self._keep(watch, detector, output, self._heard / SAMPLE_RATE)

    def _follow(
        self, watch: _Watch, detector: Detector, output: int, when: float, value: float, hit: Hit | None
    ) -> None:
        """One frame of a phrase's score."""
        near = value >= watch.near
        if hit is not None and watch.hit is not None:  # two hits in one excursion
            self._keep(watch, detector, output, when)
        if watch.begun_s is None and (hit is not None or (near and not watch.spent and when >= watch.rested_s)):
            watch.begun_s, watch.peak = when, -1.0
        if watch.begun_s is None:
            watch.spent = watch.spent and near
            return
        if hit is not None:
            watch.hit = hit
        if value > watch.peak:
            watch.peak, watch.peak_s = value, when
        if not near or when - watch.begun_s >= LONGEST_S:
            self._keep(watch, detector, output, when)
            watch.spent = near

    def _keep(self, watch: _Watch, detector: Detector, output: int, now_s: float) -> None:
        """Hand over the clip of an excursion, which is over, to be written."""
        hit, at_s = watch.hit, watch.hit.time_s if watch.hit is not None else watch.peak_s
        start_s = max(at_s - self.seconds, watch.last_hit_s, (self._heard - self._held) / SAMPLE_RATE)
        first = round(start_s * SAMPLE_RATE)
        samples = np.concatenate(self._blocks)[first - (self._heard - self._held) :]
        since = timedelta(seconds=self._heard / SAMPLE_RATE - at_s)
        about = Kept(
            phrase=detector.phrases[output],
            kind=NEAR_MISS if hit is None else HIT,
            score=watch.peak if hit is None else hit.score,
            threshold=detector.thresholds[output],
            at_s=max(0.0, round(at_s - first / SAMPLE_RATE, 3)),
            utc=(datetime.now(timezone.utc) - since).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            stream=self._stream,
            stream_s=round(at_s, 3),
        )
        watch.begun_s, watch.hit, watch.rested_s = None, None, now_s + REST_S
        if hit is not None:
            watch.last_hit_s = at_s
        try:
            self._waiting.put_nowait((np.nan_to_num(samples), about))
        except queue.Full:
            self._lose("the disk is too slow")

    def _write(self) -> None:
        while (waiting := self._waiting.get()) is not None:
            try:
                keep(self.folder, *waiting, self.bounds)
                self.kept += 1
            except WakewordError as error:
                self._lose(error)
        self._written.set()

    def _lose(self, why: object) -> None:
        self.lost += 1
        if self.lost == 1:
            self._tell(f"a clip was not kept: {why}; listening goes on, and this is not told again")
