"""What training a phrase costs: the frozen part of the encoder, steps of the loop, the look for hard negatives.

    python benchmarks/phrase.py --threads 2
    python benchmarks/phrase.py --whole exp/manifests    # and all of it, on recordings: recipes/pretrain/prepare.py's

The audio is generated noise, which costs what speech does. Steps are timed by the loop's own progress: the median
before and after what trains of the encoder begins to. `--whole` trains a word as recipes/one_hour/run.py does, but
on clips of both its halves, so that there are 200 beside those that are held out: to be timed, not tested.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import wakeword  # noqa: F401  (before torch: it tells torch's threads how to wait)

# isort: split
sys.path.insert(0, str(Path(__file__).parent.parent / "recipes" / "one_hour"))
import numpy as np
import run as one_hour
import torch
from lhotse import CutSet
from machine import about, add_outputs, machine, markdown, publish

from wakeword.cli import bar, exit_status, number
from wakeword.errors import WakewordError
from wakeword.features.log_mel import SAMPLE_RATE, FeatureSettings
from wakeword.head.layers import HeadSizes
from wakeword.head.transfer import choose_unfreeze, stacked, unfreeze
from wakeword.model import checkpoint
from wakeword.settings import from_dict, read_toml
from wakeword.training import fit
from wakeword.training.examples import Example, frozen, label
from wakeword.training.train import train
from wakeword.training.train_config import Phrase, TrainConfig

CLIPS = 200
"""As many as an hour's recipe has; `auto` then frees blocks."""


def report(acoustic: str, threads: int, minutes: float, steps: int, wanted: str) -> list[dict]:
    """Rows of what was measured for one acoustic model, in seconds by the clock and of CPU."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    model, meta = stacked(acoustic, HeadSizes())
    settings = from_dict(FeatureSettings, meta["features"], acoustic)
    boundary = choose_unfreeze(wanted, CLIPS, model.encoder.sizes).boundary
    encoder_parameters = unfreeze(model, boundary)
    rng = np.random.default_rng(0)

    def outputs(seconds: float) -> np.ndarray:
        samples = (0.1 * rng.standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)
        return frozen(model.encoder, samples, settings, boundary)

    outputs(20.0)
    pieces, clock, cpu = timed(lambda: [outputs(20.0) for _ in range(round(3 * minutes))])
    rows = [row(acoustic, "frozen part, an hour of audio", clock, cpu, 60 / minutes)]
    stream = np.concatenate(pieces)

    _, clock, cpu = timed(lambda: fit.hardest(model, stream, boundary))
    rows.append(row(acoustic, "a look for hard negatives, an hour", clock, cpu, 60 / minutes))

    examples = []
    for _ in range(40):
        frames = outputs(rng.uniform(3.0, 6.0))
        examples.append(Example(frames, label(len(frames), settings.frame_s, 1.0, 1.8)[:, None]))
    marks = []

    def progress(stage: str, fraction: float) -> None:
        marks.append((time.perf_counter(), time.process_time()))

    with tempfile.TemporaryDirectory() as scratch:
        config = TrainConfig(steps=steps)
        fit.fit(model, encoder_parameters, [examples], [], stream, boundary, config, progress, Path(scratch) / "begun")
    each = np.diff(np.array(marks), axis=0)
    thaw = steps // 3
    for name, part in (("head alone", each[: thaw - 1]), (f"head and the encoder above block {boundary}", each[thaw:])):
        rows.append(row(acoustic, f"a step, {name}", *np.median(part, axis=0).tolist(), 1.0))
    return rows


def whole(acoustic: str, config: one_hour.Config, word: str, clips: int = CLIPS) -> dict:
    """A row of a word's whole training, by a fifth more than `clips` of its clips, which is held out.

    Raises:
        WakewordError: the word has fewer.
    """
    wanted = round(1.2 * clips)
    said = list(CutSet.from_file(one_hour.manifest(config, f"wakewords-{word}")))[:wanted]
    if len(said) < wanted:
        raise WakewordError(f"'{word}' has {len(said)} clips, and {wanted} are to be trained with and held out")
    for cut in said:
        cut.custom = {key: value for key, value in (cut.custom or {}).items() if key != "split"}
    with tempfile.TemporaryDirectory() as folder:
        config = replace(config, folder=folder)
        negatives = one_hour.negatives_of(config).train
        settings = one_hour.settings_of(config, word, acoustic, negatives)
        positives = Path(settings.output).with_name("clips_cuts.jsonl.gz")
        one_hour.keep(CutSet.from_cuts(said), positives)
        settings = replace(settings, phrases=(Phrase(word, (str(positives),)),))
        _, clock, cpu = timed(lambda: train(settings, bar()))
        card = checkpoint.read_meta(settings.output)["card"]
    trained, hours = card["phrases"][word]["clips"], card["negative_hours"]
    return row(acoustic, f"all of it: {trained} clips, {hours:g} h of negatives", clock, cpu, 1.0)


def timed(work: Callable):
    """What `work` returns, and its seconds by the clock and of CPU."""
    clock, cpu = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - clock, time.process_time() - cpu


def row(acoustic: str, measured: str, clock: float, cpu: float, times: float) -> dict:
    return {"model": acoustic, "measured": measured, "clock s": clock * times, "CPU s": cpu * times}


def text(found: dict) -> str:
    """The report as Markdown."""
    heading = f"{about(found['machine'])}\n\nTraining a phrase, {found['threads']} thread(s):"
    return f"{heading}\n\n{markdown(found['phrase'])}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--acoustic", nargs="+", default=["base", "micro"], help="acoustic models (base micro)")
    parser.add_argument("--threads", type=number(least=1), default=2, help="torch's threads (2)")
    parser.add_argument(
        "--minutes", type=number(float, least=1), default=10.0, help="of audio for the frozen part (10)"
    )
    parser.add_argument("--steps", type=number(least=9), default=60, help="steps that are timed (60)")
    parser.add_argument("--unfreeze", default="auto", help="what of the encoder trains, as in `wakeword train` (auto)")
    parser.add_argument("--whole", metavar="FOLDER", help="the manifests of a whole training, of --word")
    parser.add_argument("--word", default="computer", help="(computer)")
    add_outputs(parser)
    options = parser.parse_args()

    def work() -> None:
        found = {"machine": machine(), "threads": options.threads, "phrase": []}
        config = from_dict(one_hour.Config, read_toml(one_hour.HERE / "config.toml"), "config.toml")
        config = replace(config, manifests=options.whole, threads=options.threads, unfreeze=options.unfreeze)
        for acoustic in options.acoustic:
            found["phrase"] += report(acoustic, options.threads, options.minutes, options.steps, options.unfreeze)
            if options.whole:
                found["phrase"].append(whole(acoustic, config, options.word))
        publish(found, text, options)

    return exit_status(work, "phrase")


if __name__ == "__main__":
    sys.exit(main())
