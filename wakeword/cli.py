"""The `wakeword` command: each verb is a parser and a call into the module that does the work."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from wakeword._version import __version__
from wakeword.errors import Skipped, WakewordError

VERBS: dict[str, tuple[Callable, Callable, str, str]] = {}


def verb(name: str, help_text: str, example: str, arguments: Callable):
    """Register a function as a verb: its arguments, one line of help, and an example for `--help`."""

    def register(run: Callable) -> Callable:
        VERBS[name] = (arguments, run, help_text, example)
        return run

    return register


def main(argv: list[str] | None = None) -> int:
    """Run a command line; the exit code is 0, 2 for a user's mistake, 130 after Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="wakeword", description="Train, run and ship wake-word detectors from an hour of clips or less."
    )
    parser.add_argument("--version", action="version", version=f"wakeword {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    chosen = next((argument for argument in (sys.argv[1:] if argv is None else argv) if argument in VERBS), None)
    for name, (arguments, _, help_text, example) in VERBS.items():
        one = verbs.add_parser(
            name,
            help=help_text,
            description=f"{help_text}\n\nexample:\n  {example}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:  # Only the chosen verb's arguments are built: some need optional packages.
            arguments(one)
    try:
        args = parser.parse_args(argv)
        VERBS[args.verb][1](args)
    except WakewordError as error:
        print(f"wakeword: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("wakeword: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # The reader of our output is gone (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"wakeword: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def show(report: dict, as_json: bool, text: str | None = None) -> None:
    """Print a report as one JSON object, or as text (`key: value` lines where none is given)."""
    if as_json:
        print(json.dumps(report, default=str))
    else:
        print(text if text is not None else "\n".join(f"{key}: {value}" for key, value in report.items()))


def bar() -> Callable[[str, float], None]:
    """A progress bar a stage on standard error; plain lines where that is no terminal."""
    state = {"stage": None, "tenth": -1}

    def progress(stage: str, fraction: float) -> None:
        tenth = int(fraction * (50 if sys.stderr.isatty() else 4))
        if (stage, tenth) == (state["stage"], state["tenth"]):
            return
        if sys.stderr.isatty():
            filled = int(30 * min(1.0, fraction))
            end = "\n" if fraction >= 1 else ""
            print(f"\r{stage:>12} [{'#' * filled}{'.' * (30 - filled)}] {fraction:4.0%}", end=end, file=sys.stderr)
        else:
            print(f"{stage}: {fraction:.0%}", file=sys.stderr)
        sys.stderr.flush()
        state.update(stage=stage, tenth=tenth)

    return progress


def _json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="report as one JSON object")


def _data_prep(module: str) -> tuple[Callable, Callable]:
    def load():
        import importlib

        return importlib.import_module(f"data_prep.{module}")

    def arguments(parser: argparse.ArgumentParser) -> None:
        load().add_arguments(parser)
        if not any("--json" in action.option_strings for action in parser._actions):
            _json_flag(parser)

    return arguments, lambda args: show(load().run(args), args.json)


for _name, _module, _help, _example in (
    ("prepare", "command", "A corpus on disk, or fetched, to a manifest", "prepare librispeech LibriSpeech manifests"),
    ("record", "record", "Record clips of your phrase, guided", 'record "hey computer" clips/ -n 30'),
    (
        "synthesise",
        "synthesise",
        "Clips of a phrase in many synthetic voices",
        'synthesise "hey computer" clips/ -n 500',
    ),
):
    verb(_name, _help, f"wakeword {_example}", _data_prep(_module)[0])(_data_prep(_module)[1])


def _pretrain_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG.toml")
    parser.add_argument("--steps", type=int, help="stop after this many steps in all, with a checkpoint to resume from")
    _json_flag(parser)


@verb(
    "pretrain",
    "Pretrain an acoustic model: distillation and CTC; resumes",
    "wakeword pretrain recipes/pretrain/base.toml",
    _pretrain_arguments,
)
def _pretrain(args) -> None:
    from wakeword.errors import require

    require("torch")
    from wakeword.pretrain import pretrain
    from wakeword.pretrain_config import read_config

    path = pretrain(read_config(args.config), args.steps)
    show({"acoustic": str(path), **json.loads(path.with_suffix(".json").read_text())}, args.json)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--phrase", required=True, help="what the clips say")
    parser.add_argument(
        "--positives", nargs="+", required=True, metavar="PATH", help="clips: folders, files, manifests"
    )
    parser.add_argument("--negatives", nargs="+", default=[], metavar="PATH", help="speech without the phrase")
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH", help="noise to mix in")
    parser.add_argument("--rir", nargs="+", default=[], metavar="PATH", help="room impulse responses")
    parser.add_argument("--acoustic", default="base", help="base, micro, or the file of an acoustic model (base)")
    parser.add_argument("--unfreeze", default="auto", help="auto, none, all, or how many top blocks (auto)")
    parser.add_argument("--budget", default="0.5 per h", help="false alarms to calibrate for (0.5 per h)")
    parser.add_argument("--depth", type=int, default=4, help="new layers before the output node; 0: none (4)")
    parser.add_argument("--steps", type=int, default=1000, help="training steps (1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", required=True, metavar="FILE.wakeword")
    _json_flag(parser)


@verb(
    "train",
    "Train a detector for a phrase from clips of it",
    "wakeword train --phrase computer --positives clips/ --negatives speech/ --noise noise/ --output computer.wakeword",
    _train_arguments,
)
def _train(args) -> None:
    from wakeword.errors import require

    require("torch")
    from wakeword.train import TrainConfig, train

    given = {key: value for key, value in vars(args).items() if key in TrainConfig.__dataclass_fields__}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    trained = train(TrainConfig(**given), bar())
    estimate = trained.estimate
    low, high = estimate["miss_rate_interval"]
    lines = [
        f"{trained.path}: '{args.phrase}' on {args.acoustic}; {trained.unfrozen}",
        f"first estimate, clean: missed {estimate['missed']} of {estimate['clips']} held-out clips "
        f"(95 % interval {low:.1%} to {high:.1%})",
    ]
    if trained.calibration:
        calibration = trained.calibration
        lines.append(
            f"threshold {calibration.threshold:.4f}: {calibration.fa_per_hour_observed:.2f} false alarms per hour on "
            f"{calibration.hours:.2f} h of held-out negatives. {calibration.note}"
        )
    else:
        lines.append("threshold 0.5, not calibrated: give --negatives, or run 'wakeword calibrate'")
    lines += [trained.skipped.summary()] if len(trained.skipped) else []
    report = {
        "model": str(trained.path),
        "unfrozen": trained.unfrozen,
        "estimate": estimate,
        "calibration": dataclasses.asdict(trained.calibration) if trained.calibration else None,
        "skipped": trained.skipped.reasons,
    }
    show(report, args.json, "\n".join(lines))


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .wakeword or .onnx file")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="folders, audio files or manifests")
    parser.add_argument("--output", required=True, metavar="scores.npz")
    _json_flag(parser)


@verb(
    "score",
    "Scores of audio files as arrays, for tools of your own",
    "wakeword score computer.onnx recordings/ --output scores.npz",
    _score_arguments,
)
def _score(args) -> None:
    import numpy as np

    from wakeword.clips import find_clips
    from wakeword.detector import Detector
    from wakeword.files import replacing
    from wakeword.score import score_clip

    detector, skipped, arrays = Detector.load(args.model), Skipped(), {}
    clips, progress = find_clips(args.audio), bar()
    for index, clip in enumerate(clips):
        try:
            time_s, score = score_clip(detector, clip)
            name = str(clip.path) + (f"@{clip.start_s:g}" if clip.duration_s is not None else "")
            arrays[f"{name}/time_s"], arrays[f"{name}/score"] = time_s, score
        except WakewordError as error:
            skipped.add(clip.path, error)
        progress("scoring", (index + 1) / len(clips))
    if not arrays:
        raise WakewordError(f"none of {len(clips)} file(s) could be scored. {skipped.summary()}")
    with replacing(args.output) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
    report = {"output": args.output, "files": len(arrays) // 2, "skipped": skipped.reasons}
    show(report, args.json, f"{args.output}: {len(arrays) // 2} file(s). {skipped.summary()}")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .wakeword or .onnx file")
    parser.add_argument("--positives", nargs="+", required=True, metavar="PATH", help="clips of the phrase")
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH", help="hours without the phrase")
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH", help="noise for the noisy condition")
    parser.add_argument("--snr", nargs="+", type=float, default=[10.0], metavar="DB", help="SNRs with --noise (10)")
    parser.add_argument("--dev", nargs="+", default=[], metavar="PATH", help="other negatives, to choose thresholds on")
    parser.add_argument("--report", metavar="DIR", help="write report.json, report.md and det.png here")
    _json_flag(parser)


@verb(
    "evaluate",
    "Miss rate at false alarms per hour, on streams",
    "wakeword evaluate computer.onnx --positives test-clips/ --negatives hours-of-speech/ --report report/",
    _evaluate_arguments,
)
def _evaluate(args) -> None:
    from wakeword.clips import find_clips, for_testing, in_pieces
    from wakeword.detector import Detector
    from wakeword.evaluate import evaluate, format_report

    report = evaluate(
        Detector.load(args.model),
        for_testing(find_clips(args.positives)),
        in_pieces(for_testing(find_clips(args.negatives))),
        noise=for_testing(find_clips(args.noise)) if args.noise else None,
        snrs=(None, *args.snr) if args.noise else (None,),
        dev=in_pieces(find_clips(args.dev)) if args.dev else None,
        report_dir=args.report,
        progress=bar(),
    )
    show(report, args.json, format_report(report))


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .wakeword or .onnx file; its threshold is replaced")
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH", help="hours without the phrase")
    parser.add_argument("--budget", required=True, help="'1 per 24 h', '0.5/h', '2 per day'")
    _json_flag(parser)


@verb(
    "calibrate",
    "Choose the threshold for a false-alarm budget",
    'wakeword calibrate computer.wakeword --negatives hours-of-speech/ --budget "1 per 24 h"',
    _calibrate_arguments,
)
def _calibrate(args) -> None:
    from wakeword.calibrate import calibrate
    from wakeword.checkpoint import rewrite_meta
    from wakeword.clips import find_clips, in_pieces
    from wakeword.detector import Detector

    calibration = calibrate(Detector.load(args.model), in_pieces(find_clips(args.negatives)), args.budget, bar())
    changes = {"threshold": calibration.threshold, "calibration": dataclasses.asdict(calibration)}
    if args.model.endswith(".onnx"):
        from wakeword.errors import require

        require("torch")
        from wakeword.export import set_onnx_meta

        set_onnx_meta(args.model, changes)
    else:
        rewrite_meta(args.model, changes)
    text = (
        f"{args.model}: threshold {calibration.threshold:.4f}, {calibration.fa_per_hour_observed:.3f} false alarms per "
        f"hour on {calibration.hours:.2f} h. {calibration.note}"
    )
    show(dataclasses.asdict(calibration), args.json, text)


def _listen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help=".wakeword or .onnx files, one or several")
    parser.add_argument("--device", help="the microphone: its number or a part of its name (the default one)")
    parser.add_argument("--list-devices", action="store_true", help="list the input devices and stop")
    parser.add_argument("--file", metavar="AUDIO", help="listen to a recording; '-' is raw 16 kHz 16-bit mono PCM")
    parser.add_argument("--threshold", type=float, help="in place of the models' own")
    parser.add_argument("--json", action="store_true", help="one JSON object a hit")


@verb(
    "listen",
    "Listen on a microphone or to a file, and print each hit",
    "wakeword listen computer.onnx jarvis.onnx --json",
    _listen_arguments,
)
def _listen(args) -> None:
    from wakeword.detector import Detector
    from wakeword.listener import list_devices, listen

    if args.list_devices:
        for device in list_devices():
            show(device, args.json, f"{device['index']:3} {device['name']}")
        return
    if not args.models:
        raise WakewordError("no model to listen with: name one or several .wakeword or .onnx files")
    detectors = [Detector.load(model, threshold=args.threshold) for model in args.models]
    device = int(args.device) if args.device and args.device.isdigit() else args.device
    raw = sys.stdin.buffer if args.file == "-" else None

    def status(line: str) -> None:
        print(f"wakeword: {line}", file=sys.stderr, flush=True)

    count = 0
    for hit in listen(detectors, device, None if raw else args.file, raw, status):
        count += 1
        text = f"{hit.time_s:9.2f} s  {hit.phrase}  {hit.score:.3f}"
        show(dataclasses.asdict(hit), args.json, text)
        sys.stdout.flush()
    status(f"{count} hit(s)")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL.wakeword")
    parser.add_argument("--format", choices=["onnx"], default="onnx")
    parser.add_argument("--output", required=True, metavar="FILE.onnx")
    _json_flag(parser)


@verb(
    "export",
    "The same model for elsewhere",
    "wakeword export computer.wakeword --format onnx --output computer.onnx",
    _export_arguments,
)
def _export(args) -> None:
    from wakeword.errors import require

    require("torch")
    from wakeword.export import export_onnx

    difference = export_onnx(args.model, args.output)
    report = {"output": args.output, "largest_difference": difference, "bytes": Path(args.output).stat().st_size}
    text = f"{args.output}: {report['bytes']} bytes, posteriors within {difference:.1e} of {args.model}"
    show(report, args.json, text)


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .wakeword, .onnx or acoustic model file, or base or micro")
    _json_flag(parser)


@verb("info", "What a model file says of itself", "wakeword info computer.wakeword", _info_arguments)
def _info(args) -> None:
    from wakeword.checkpoint import read_meta, shipped
    from wakeword.detector import load_onnx

    meta = load_onnx(args.model)[2] if args.model.endswith(".onnx") else read_meta(shipped(args.model))
    show(meta, args.json, json.dumps(meta, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    sys.exit(main())
