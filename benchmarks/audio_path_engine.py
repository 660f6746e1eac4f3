"""Another engine as a live listener: `python audio_path_engine.py ENGINE [OPTIONS]`; audio_path.py runs it.

It runs in the peers' environment, takes 16 kHz from the microphone `pulse` through PortAudio, and prints a JSON line
`{"utc": seconds, "score": ...}` for each hit: the score reaches OPTIONS' `threshold`, was below it before, and the last
hit lies a second back.
"""

from __future__ import annotations

import json
import queue
import sys
import time
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).parent))  # isolated (-I), Python does not look there

from peers_engines import ENGINES, SAMPLE_RATE  # noqa: E402

REFRACTORY_S = 1.0


class Trigger:
    """Fires where a score reaches the threshold, once an excursion and once in `REFRACTORY_S`."""

    def __init__(self, threshold: float):
        self._threshold, self._armed, self._last_s = threshold, True, -REFRACTORY_S

    def fires(self, score: float, time_s: float) -> bool:
        above = score >= self._threshold
        fires = above and self._armed and time_s - self._last_s >= REFRACTORY_S
        if fires:
            self._last_s = time_s
        self._armed = not above or (self._armed and not fires)
        return fires


def main() -> None:
    import sounddevice

    engine, *options = sys.argv[1:]
    said = json.loads(options[0]) if options else {}
    size, step = ENGINES[engine](said)
    trigger, blocks, heard = Trigger(said.get("threshold", 0.5)), queue.Queue(), 0
    stream = sounddevice.RawInputStream(
        SAMPLE_RATE, size, "pulse", 1, "int16", callback=lambda data, *_: blocks.put(bytes(data))
    )
    with stream:
        while True:
            score = float(np.max(step(np.frombuffer(blocks.get(), "<i2"))))
            heard += size
            if trigger.fires(score, heard / SAMPLE_RATE):
                print(json.dumps({"utc": time.time(), "score": score}), flush=True)


if __name__ == "__main__":
    main()
