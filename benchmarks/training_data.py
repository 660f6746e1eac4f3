"""What the data of pretraining costs, whole and part by part; training.py reports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from wakeword import WakewordError
from wakeword.augmentation.augment import mask
from wakeword.features.log_mel import SAMPLE_RATE, extract
from wakeword.pretraining import pretrain
from wakeword.pretraining.batches import Utterances, at_random, batches
from wakeword.pretraining.pretrain_config import Config
from wakeword.pretraining.pretrain_mixed import augmentation_of


def rates(name: str, marks: list[tuple[float, float, float]]) -> dict:
    """From the first mark (wall seconds, CPU seconds, seconds of audio) to the last, as a row of the report.

    Raises:
        WakewordError: there is one mark, or none.
    """
    if len(marks) < 2:
        raise WakewordError("the configuration's utterances make no two batches: name more data")
    wall, cpu, audio = (last - first for first, last in zip(marks[0], marks[-1], strict=True))
    return {
        "measured": name,
        "hours a minute": audio / 3600 / (wall / 60),
        "s a step": wall / (len(marks) - 1),
        "CPU s a step": cpu / (len(marks) - 1),
        "audio s a step": audio / (len(marks) - 1),
    }


def decoded(cuts, config: Config) -> Iterator[np.ndarray]:
    """The utterances of the first epoch at 16 kHz, float32 `[samples]`."""
    for cut in pretrain.of_epoch(cuts, config, 0):
        yield cut.resample(SAMPLE_RATE).load_audio()[0]


def reading_alone(cuts, config: Config, steps: int) -> dict:
    """Decoding and resampling, in this process, of the audio of so many steps; nothing is made of it."""
    marks, audio = [], 0.0
    for samples in decoded(cuts, config):
        if marks:
            audio += len(samples) / SAMPLE_RATE
        if audio >= len(marks) * config.batch_seconds:
            marks.append((time.perf_counter(), time.process_time(), audio))
        if len(marks) > steps:
            break
    return rates("reading alone", marks)


def in_batches(utterances: Iterator[np.ndarray], seconds: float) -> Iterator[list[np.ndarray]]:
    """The utterances in lists of `seconds` of audio or a little more; a last list of less is left out."""
    held: list[np.ndarray] = []
    for samples in utterances:
        held.append(samples)
        if sum(map(len, held)) >= seconds * SAMPLE_RATE:
            yield held
            held = []


def parts_alone(cuts, config: Config, steps: int, scratch: Path) -> list[dict]:
    """Rows of the parts of the data, in this process, on the same utterances, which are in memory before each part.

    Speed, rooms, noise and channels; log-mels and masks of what these made; and what a loop would do in place of all
    that if log-mels were cached: read them, of 16 bits and a file an utterance, and mask them. The files are in the
    system's cache, and the noise in them is what it was when they were written.
    """
    augmentation, rng = augmentation_of(config), np.random.default_rng(config.seed)
    written: list[tuple[list[Path], float]] = []
    spent: dict[str, list[tuple]] = {}

    def timed(name: str, seconds: float, work: Callable, of: list) -> list:
        marks = spent.setdefault(name, [(0.0, 0.0, 0.0)])
        wall, cpu = time.perf_counter(), time.process_time()
        found = [work(each) for each in of]
        passed = (time.perf_counter() - wall, time.process_time() - cpu, seconds)
        marks.append(tuple(sum(pair) for pair in zip(marks[-1], passed, strict=True)))
        return found

    def heard_elsewhere(samples: np.ndarray) -> np.ndarray:
        return at_random(samples, augmentation, rng)[0]

    def made(samples: np.ndarray) -> np.ndarray:
        return mask(extract(samples, config.features), augmentation, rng)

    def read(file: Path) -> np.ndarray:
        return mask(np.load(file).astype(np.float32), augmentation, rng)

    folder = scratch / "log-mels"
    folder.mkdir()
    for batch in islice(in_batches(decoded(cuts, config), config.batch_seconds), steps + 1):
        seconds = sum(map(len, batch)) / SAMPLE_RATE
        mixed = timed("noise and rooms alone", seconds, heard_elsewhere, batch)
        features = timed("features alone", seconds, made, mixed)
        files = [folder / f"{len(written)}-{index}.npy" for index in range(len(features))]
        for file, each in zip(files, features, strict=True):
            np.save(file, each.astype(np.float16))
        written.append((files, seconds))
    for files, seconds in written:
        timed("features cached", seconds, read, files)
    # The first batch warms caches.
    return [rates(name, marks[1:]) for name, marks in spent.items()] or [rates("features alone", [])]


def data_alone(cuts, config: Config, steps: int) -> tuple[dict, list[dict]]:
    """The pipeline (reading, resampling, noise and rooms, features, masks) without training; the row and the batches.

    The CPU time is this process's: with `workers` above 0 most of the work is done in others.
    """
    augmentation = augmentation_of(config)
    held, marks, audio = [], [], 0.0
    for epoch in range(steps + 1):
        dataset = Utterances(config.features, augmentation, config.seed, epoch)
        loader = batches(pretrain.of_epoch(cuts, config, epoch), dataset, config.batch_seconds, 0, config.workers)
        for batch in islice(loader, steps + 1 - len(held)):
            if "features" in batch:
                audio += batch["seconds"]
                held.append(batch)
                marks.append((time.perf_counter(), time.process_time(), audio))
        if len(held) > steps:
            break
    return rates("data alone", marks), held
