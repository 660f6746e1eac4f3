"""The whole way in a few minutes: recordings -> train -> calibrate -> export -> evaluate -> listen -> report.

    python recipes/demo/run.py [--shared ../shared] [--out demo] [--phrase computer] [--acoustic base] [--fast]

The threshold is fixed on development data before the test recordings are heard. Evaluation and listening use the
exported model; listening runs in a process that cannot import torch.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import page
import recordings
import stream

from wakeword.audio.clips import find_clips
from wakeword.cli import acoustic_flag, bar, exit_status, number
from wakeword.detector.detector import Detector
from wakeword.evaluation.calibrate import calibrate, calibrated
from wakeword.evaluation.evaluate import evaluate
from wakeword.evaluation.misses import held_out_misses
from wakeword.files import replacing
from wakeword.model.checkpoint import rewrite_meta


def main() -> int:
    args = arguments()
    return exit_status(lambda: demo(args), "demo")


def demo(args: argparse.Namespace) -> None:
    from wakeword.export import export_onnx
    from wakeword.training.train import train
    from wakeword.training.train_config import Phrase, TrainConfig

    out, share, progress = args.out.resolve(), 0.3 if args.fast else 1.0, bar()
    model = out / (re.sub(r"\W+", "-", args.phrase.lower()).strip("-") + ".wakeword")
    exported = model.with_suffix(".onnx")
    times: dict[str, tuple[float, float]] = {}

    with step("recordings", times):
        corpora = args.shared / "corpora"
        if (corpora / "wake-words" / args.phrase).is_dir():
            found = recordings.real(corpora.resolve(), args.phrase, out / "data", share, progress)
        else:
            print(f"no clips of '{args.phrase}' below {corpora}: speaking our own (synthetic) ones")
            found = recordings.synthetic(args.phrase, out / "data", share, progress)

    with step("train", times):
        trained = train(
            TrainConfig(
                phrases=(Phrase(args.phrase, (str(found.positives.manifest),)),),
                negatives=(str(found.negatives.manifest),),
                noise=(str(found.noise.manifest),),
                rir=(str(found.rir.manifest),) if found.rir else (),
                acoustic=args.acoustic,
                budget=args.budget,
                copies=4 if args.fast else 6,
                negative_hours=2.0,
                steps=300 if args.fast else 600,
                threads=args.threads,
                output=str(model),
            ),
            progress,
        )
        print(f"{model.name}: {trained.unfrozen}")

    with step("calibrate", times):
        detector = Detector.load(model)
        misses = held_out_misses(model, detector.info)
        (calibration,) = calibrate(detector, find_clips(found.dev.manifest), args.budget, progress, misses)
        rewrite_meta(model, {"phrases": [calibrated(*detector.info["phrases"], calibration)]})
        print(calibration.summary())

    with step("export", times):
        exported.unlink(missing_ok=True)  # of an earlier run
        difference = export_onnx(model, exported)
        print(f"{exported.name}: {exported.stat().st_size / 1e6:.2f} MB, within {difference:.0e} of {model.name}")

    with step("evaluate", times):
        evaluation = evaluate(
            Detector.load(exported),
            find_clips(found.test_positives.manifest),
            find_clips(found.test_negatives.manifest),
            noise=find_clips(found.test_noise.manifest),
            snrs=(None, 10.0),
            report_dir=out / "evaluation",
            progress=progress,
        )

    with step("listen", times):
        recorded = stream.record(
            found.test_positives.manifest, found.test_negatives.manifest, out / "stream.wav", 12 if args.fast else 30
        )
        outcome = stream.compare(stream.listen(exported, recorded, progress), recorded.said)

    text = page.page(
        args.phrase,
        args.acoustic,
        found,
        trained,
        calibration,
        evaluation,
        recorded,
        outcome,
        times,
        model,
        args.budget,
    )
    with replacing(out / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    print(f"\n{text}\nThis report: {out / 'report.md'}. Try it: {Path(sys.prefix) / 'bin/wakeword'} listen {exported}")


@contextmanager
def step(name: str, times: dict[str, tuple[float, float]]):
    """Name a step on the terminal and note the seconds it took, by the clock and of CPU, its processes with it."""
    print(f"== {name}", flush=True)
    clock, cpu = time.monotonic(), sum(os.times()[:4])
    yield
    times[name] = time.monotonic() - clock, sum(os.times()[:4]) - cpu


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = Path(__file__).resolve().parents[3] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="the folder with corpora/ (beside the checkout)")
    parser.add_argument("--out", type=Path, default=Path("demo"), help="where all that is made goes (demo)")
    parser.add_argument("--phrase", default="computer", help="spoken by machine if there are no clips of it (computer)")
    acoustic_flag(parser)
    parser.add_argument("--budget", default="1 per h", help="false alarms to calibrate for (1 per h)")
    parser.add_argument(
        "--threads", type=number(least=1), default=os.cpu_count() or 1, help="for training (all there are)"
    )
    parser.add_argument("--fast", action="store_true", help="a third of the data and steps, for a first look")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
