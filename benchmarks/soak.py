"""A simulated week of listening, faster than real time: memory, the clock of the scores, the hits.

    python benchmarks/soak.py                                  # a week, by a model of cheap features: a minute of CPU
    python benchmarks/soak.py --model computer.onnx --hours 24 --block-s 0.08       # a model of yours, as it runs live

Ten minutes of sound that sets the detector off now and then are repeated. A detector forgets (its memory is some
seconds), so each repetition must give the hits of the one before, ten minutes later to within a microsecond, and those
that scoring all of it at once gives. The default model has random weights and feature frames of 100 ms in place of
10, and hears blocks of a minute: that is what makes a week short. It is the code of every other model that runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from listening import resident, sound  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.cli import exit_status, json_flag, number, show  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402
from wakeword.evaluation.metrics import alarms  # noqa: E402
from wakeword.features.log_mel import SAMPLE_RATE, FeatureSettings  # noqa: E402

TILE_S = 600.0
CHEAP = FeatureSettings(window=1600, hop=1600, fft=1600, mels=8)


@dataclasses.dataclass(frozen=True)
class Soak:
    """What a long run gave: seconds heard, hits, how far the clock and the hits were off, memory in MB."""

    hours: float
    hits: int
    hits_offline: int
    clock_error_s: float
    hit_error_s: float
    early_mb: float
    end_mb: float
    cpu_s: float


def cheap_model(path: Path) -> Path:
    """Write an exported model with random weights and the features `CHEAP`."""
    import torch

    from wakeword.acoustic.encoder import EncoderSizes
    from wakeword.export import export_onnx
    from wakeword.head.layers import HeadSizes, WakeModel
    from wakeword.head.transfer import save_wakeword

    torch.manual_seed(0)
    sizes = EncoderSizes(CHEAP.mels, 8, 8, separable=True, dilations=(1, 2, 4), taps=(3,))
    model = WakeModel(sizes, HeadSizes(depth=2, channels=8)).eval()
    model.head.output.bias.data.zero_()
    meta = {
        "phrases": [{"phrase": "hello", "threshold": 0.5, "calibration": None}],
        "smoothing_frames": 3,
        "refractory_s": 1.0,
        "features": dataclasses.asdict(CHEAP),
    }
    save_wakeword(path.with_suffix(".wakeword"), model, meta)
    export_onnx(path.with_suffix(".wakeword"), path)
    return path


def tile_of(seconds: float) -> np.ndarray:
    """Float32 `[samples]`: like syllables, and loud for two seconds of each eleven."""
    samples = sound(seconds)
    time_s = np.arange(len(samples)) / SAMPLE_RATE
    return (samples * np.where(time_s % 11 < 2, 1.0, 0.01)).astype(np.float32)


def between(score: np.ndarray) -> float:
    """A threshold that one in six scores or fewer reach, in the widest gap there: no rounding moves one across it."""
    values = np.sort(score.astype(np.float64))
    values = values[len(values) * 5 // 6 : len(values) * 49 // 50]
    gap = int(np.argmax(np.diff(values)))
    return float(values[gap : gap + 2].mean())


def soak(detector: Detector, hours: float, block_s: float, tile: np.ndarray) -> Soak:
    """Let a detector of one phrase hear `tile` over and over, in blocks of `block_s` seconds.

    Raises:
        WakewordError: `hours` is less than three tiles, or the tile sets the detector off too seldom to compare.
    """
    tile_s = len(tile) / SAMPLE_RATE
    count = int(hours * 3600 / tile_s)
    if count < 3:
        raise WakewordError(f"--hours {hours:g}: give {3 * tile_s / 3600:g} or more")
    detector.reset()
    time_s, score = detector.scores(np.concatenate([tile, tile]))
    detector.thresholds = [between(score[:, 0])]
    found = alarms(time_s, score[:, 0], detector.thresholds[0], detector.refractory_s)
    # What is heard of the first tile begins from silence; of all others from the end of the one before.
    first, repeated = found[found <= tile_s + 1e-6], found[found > tile_s + 1e-6]
    if len(repeated) < 5:
        raise WakewordError("the sound sets this detector off too seldom: give another model")
    detector.reset()
    block = round(block_s * SAMPLE_RATE)
    hits, hit_error_s, early_mb, began = 0, 0.0, 0.0, time.process_time()
    for index in range(count):
        # Compared at once and forgotten: a list of a week's hits would look like a leak.
        heard = [
            hit.time_s for start in range(0, len(tile), block) for hit in detector.process(tile[start : start + block])
        ]
        expected = repeated + tile_s * (index - 1) if index else first
        hits += len(heard)
        error_s = np.abs(heard - expected).max(initial=0.0) if len(heard) == len(expected) else np.inf
        hit_error_s = max(hit_error_s, float(error_s))
        if index == 1:
            early_mb = resident(os.getpid())[0]
    cpu_s = time.process_time() - began
    end_mb = resident(os.getpid())[0]
    # One frame more: its time is that of all the audio heard and itself.
    frame_s = detector.feature_settings.frame_s
    last_s = float(detector.scores(np.zeros(round(frame_s * SAMPLE_RATE), np.float32))[0][0])
    return Soak(
        hours=count * tile_s / 3600,
        hits=hits,
        hits_offline=len(first) + len(repeated) * (count - 1),
        clock_error_s=abs(last_s - (count * tile_s + frame_s)),
        hit_error_s=hit_error_s,
        early_mb=early_mb,
        end_mb=end_mb,
        cpu_s=cpu_s,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="an exported model of one phrase (one with random weights)")
    parser.add_argument("--hours", type=number(float, above=0), default=168.0)
    parser.add_argument("--block-s", type=number(float, above=0), default=60.0, help="seconds in a block (60)")
    json_flag(parser)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        detector = Detector.load(args.model or cheap_model(Path(folder) / "cheap.onnx"))
    found = soak(detector, args.hours, args.block_s, tile_of(TILE_S))
    show(dataclasses.asdict(found), args.json)
    if found.hits != found.hits_offline or found.hit_error_s > 1e-6 or found.clock_error_s > 1e-6:
        raise WakewordError("the hits or the clock are not those of scoring all at once")


if __name__ == "__main__":
    sys.exit(exit_status(main, "soak"))
