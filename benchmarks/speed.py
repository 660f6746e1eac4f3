"""CPU seconds for an hour of audio on one thread, part by part, and the memory of a listening process.

    python benchmarks/speed.py                                    # base and micro with random weights: as fast as real
    python benchmarks/speed.py --phrases 10                       # and the same sizes listening for ten phrases
    python benchmarks/speed.py --model computer.wakeword --output speed.md

A part's time is the process's CPU time over a stream of `--seconds`, the least of `--repeats` rounds that take turns
between all parts (a busy machine adds, never takes away), scaled to an hour. For ONNX, `encoder` and `head` are the two
halves of the exported graph, cut at the encoder's taps and run as graphs of their own; each pays for a call of its
own, so that features + encoder + head may exceed `whole`, which is the detector from samples to hits.
"""

from __future__ import annotations

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # read when numpy and torch are loaded, so before that

import argparse  # noqa: E402
import dataclasses  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
from listening import listening_memory, sound  # noqa: E402
from machine import about, add_outputs, machine, markdown, publish  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.cli import exit_status, number  # noqa: E402
from wakeword.features import log_mel  # noqa: E402
from wakeword.features.log_mel import SAMPLE_RATE, FeatureSettings  # noqa: E402
from wakeword.model.halves import halves_of  # noqa: E402
from wakeword.model.runtimes import Step  # noqa: E402
from wakeword.settings import from_dict  # noqa: E402

PARTS = ("features", "encoder", "head", "whole")
Case = tuple[str, str, int, str]
"""model, runtime, block in ms, part"""


def random_model(size: str, phrases: int, folder: Path, seed: int = 0) -> Path:
    """A wake model of a named size with the default head for so many phrases, and random weights."""
    import torch

    from wakeword.acoustic.encoder import SIZES
    from wakeword.head.layers import HeadSizes, WakeModel
    from wakeword.head.transfer import save_wakeword

    torch.manual_seed(seed)
    meta = {"smoothing_frames": 3, "refractory_s": 1.0, "features": dataclasses.asdict(FeatureSettings())}
    meta["phrases"] = [{"phrase": f"phrase {number}", "threshold": 0.9} for number in range(phrases)]
    path = folder / (f"{size}.wakeword" if phrases == 1 else f"{size}-{phrases}-phrases.wakeword")
    save_wakeword(path, WakeModel(SIZES[size], HeadSizes(outputs=phrases)).eval(), meta)
    return path


def sliced(values: np.ndarray, size: int) -> list[np.ndarray]:
    return [values[start : start + size] for start in range(0, len(values) - size + 1, size)]


def features_over(blocks: list[np.ndarray], settings: FeatureSettings) -> Callable[[], None]:
    def run() -> None:
        state = log_mel.initial_state(settings)
        for block in blocks:
            _, state = log_mel.step(block, state, settings)

    return run


def whole_over(detector: Detector, blocks: list[np.ndarray]) -> Callable[[], None]:
    def run() -> None:
        detector.reset()
        for block in blocks:
            detector.process(block)

    return run


def stepping(step: Step, zero: np.ndarray, blocks: list[np.ndarray]) -> Callable[[], None]:
    def run() -> None:
        state = zero
        for block in blocks:
            _, state = step(block, state)

    return run


def halves_over(path: Path, frames: list[np.ndarray]) -> dict[str, Callable[[], None]]:
    """The encoder and the head apart, over blocks of frames; nothing if an exported graph has no such seam."""
    halves = halves_of(path)
    if halves is None:
        return {}
    encode, encoder_zero, head, head_zero = halves.open()
    taps = [encode(block, encoder_zero)[0] for block in frames]
    return {"encoder": stepping(encode, encoder_zero, frames), "head": stepping(head, head_zero, taps)}


def cases(path: Path, blocks_ms: list[int], seconds: float) -> Iterator[tuple[Case, Callable[[], None]]]:
    """What there is to time for one model file: each part, runtime and block size."""
    samples = sound(seconds)
    detector = Detector.load(path)
    settings = from_dict(FeatureSettings, detector.info["features"], str(path))
    frames = log_mel.extract(samples, settings)[None]
    runtime = "ONNX Runtime" if path.suffix == ".onnx" else "torch"
    for ms in blocks_ms:
        heard = sliced(samples, ms * SAMPLE_RATE // 1000)
        inputs = [block[None] for block in sliced(frames[0], ms * SAMPLE_RATE // 1000 // settings.hop)]
        parts = {"features": features_over(heard, settings), "whole": whole_over(detector, heard)}
        parts |= halves_over(path, inputs)
        for part in PARTS:
            if part in parts:
                yield (path.stem, runtime, ms, part), parts[part]


def measure(timed: dict[Case, Callable[[], None]], seconds: float, repeats: int) -> dict[Case, float]:
    """CPU seconds for an hour of audio: the least of `repeats` rounds, after one that warms up."""
    least: dict[Case, float] = {}
    for turn in range(repeats + 1):
        for case, run in timed.items():
            began = time.process_time()
            run()
            spent = (time.process_time() - began) * 3600 / seconds
            if turn:
                least[case] = min(spent, least.get(case, spent))
    return least


def report(
    paths: list[Path], blocks_ms: list[int], seconds: float, repeats: int, memory_s: float, folder: Path
) -> dict:
    """All measurements as `{"machine", "speed": [...], "memory": [...]}`; trained models are exported and timed as
    ONNX too."""
    found = {"machine": machine()}
    for path in [path for path in paths if path.suffix != ".onnx"]:
        from wakeword.export import export_onnx

        export_onnx(path, folder / f"{path.stem}.onnx")
        paths = [*paths, folder / f"{path.stem}.onnx"]
    timed: dict[Case, Callable[[], None]] = {}
    for path in paths:
        timed |= dict(cases(path, blocks_ms, seconds))
    rows: dict[tuple, dict] = {}
    for (model, runtime, ms, part), spent in measure(timed, seconds, repeats).items():
        row = rows.setdefault((model, runtime, ms), {"model": model, "runtime": runtime, "block ms": ms})
        row[part] = spent
    columns = ("model", "runtime", "block ms", *PARTS)
    found["speed"] = [{name: row.get(name) for name in columns} for _, row in sorted(rows.items())]
    exported = [path for path in paths if path.suffix == ".onnx"]
    found["memory"] = [listening_memory(path, memory_s) for path in exported]
    return found


def text(found: dict) -> str:
    """The report as Markdown."""
    lines = [about(found["machine"]), ""]
    lines += ["CPU seconds for an hour of audio, one thread:", "", markdown(found["speed"]), ""]
    if any(found["memory"]):
        lines += [
            "The listening process (base install, raw samples in, blocks as `wakeword listen` takes them):",
            "",
            markdown(found["memory"]),
            "",
        ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", nargs="+", type=Path, default=[], metavar="FILE", help=".wakeword or .onnx files")
    parser.add_argument(
        "--phrases", type=number(least=1), default=1, help="also random models that listen for so many phrases"
    )
    parser.add_argument(
        "--blocks", nargs="+", type=number(least=40), default=[40, 80, 1000], metavar="MS", help="block sizes"
    )
    parser.add_argument(
        "--seconds", type=number(float, above=0), default=60.0, help="length of the stream that is timed"
    )
    parser.add_argument("--repeats", type=number(least=1), default=5, help="rounds, of which the least counts")
    parser.add_argument(
        "--memory-seconds", type=number(float, above=0), default=600.0, help="stream of the listening process"
    )
    add_outputs(parser)
    options = parser.parse_args()
    if any(ms % 40 or ms > 1000 * options.seconds for ms in options.blocks):
        parser.error("--blocks: multiples of 40 ms, the encoder's frame, and no longer than the stream")
    if len({path.stem for path in options.model}) < len(options.model):
        parser.error("--model: the files need different names")

    def work() -> None:
        with tempfile.TemporaryDirectory() as name:
            folder, counts = Path(name), sorted({1, options.phrases})
            paths = options.model or [random_model(size, n, folder) for size in ("base", "micro") for n in counts]
            found = report(paths, options.blocks, options.seconds, options.repeats, options.memory_seconds, folder)
            publish(found, text, options)

    return exit_status(work, "speed")


if __name__ == "__main__":
    sys.exit(main())
