"""The verb that serves detectors to other programs."""

from __future__ import annotations

import argparse

from wakeword.cli import say, say_thresholds, threshold_arguments, verb
from wakeword.errors import require


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help=".wakeword, .onnx, .tflite or .pte files")
    parser.add_argument(
        "--uri",
        default="tcp://127.0.0.1:10400",
        metavar="tcp://HOST:PORT",
        help="where to listen (tcp://127.0.0.1:10400, for this machine alone; tcp://0.0.0.0:10400 for others too)",
    )
    threshold_arguments(parser)


@verb(
    "serve",
    "Serve detectors to Home Assistant and other Wyoming clients",
    "wakeword serve computer.onnx jarvis.onnx --uri tcp://0.0.0.0:10400",
    _serve_arguments,
)
def _serve(args) -> None:
    require("wyoming", "serve")
    from wakeword.detector.detector import Detector
    from wakeword.listener.serve import serve

    detectors = [Detector.load(model, args.threshold, args.sensitivity, args.budget) for model in args.models]
    say_thresholds(args, detectors)
    served = serve(detectors, args.uri, say)
    say(f"{served.clients} client(s), {served.hits} hit(s)")
