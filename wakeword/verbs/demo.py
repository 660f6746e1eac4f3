"""The verb that shows a web page: demo."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from wakeword.cli import number, say, say_thresholds, threshold_arguments, verb
from wakeword.errors import WakewordError, require

if TYPE_CHECKING:
    from data_prep.recorded import ClipFolder
    from wakeword.detector.detector import Detector


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help=".wakeword, .onnx, .tflite or .pte files")
    parser.add_argument("--port", type=number(least=0), default=10480, help="on 127.0.0.1; 0 takes a free one (10480)")
    parser.add_argument("--open", action="store_true", help="open the page in the default browser")
    threshold_arguments(parser)
    parser.add_argument(
        "--record", metavar="DIR", help="record clips there, as 'wakeword record' does; also without MODEL"
    )
    parser.add_argument("--phrase", help="what the clips say (what the models listen for, if that is one phrase)")
    parser.add_argument("--speaker", help="who speaks; part of the clips' names and of their manifest")
    parser.add_argument("--seconds", type=float, help="length of a clip (2.5)")


@verb(
    "demo",
    "A web page on this machine: level, scores and hits, live; records clips",
    'wakeword demo computer.onnx --record clips/ --phrase "hey computer"',
    _demo_arguments,
)
def _demo(args) -> None:
    require("websockets.asyncio.server", "demo")
    from wakeword.detector.together import load_together
    from wakeword.listener.demo import demo

    if not args.models and args.record is None:
        raise WakewordError("nothing to show: name one or several .wakeword or .onnx files, or a folder to --record to")
    detectors = load_together(args.models, args.threshold, args.sensitivity, args.budget)
    say_thresholds(args, detectors)
    shown = demo(detectors, args.models, args.port, _clips(args, detectors), say, args.open)
    say(f"{shown.pages} page(s), {shown.hits} hit(s), {shown.clips} clip(s) recorded, {shown.refused} refusal(s)")


def _clips(args: argparse.Namespace, detectors: list[Detector]) -> ClipFolder | None:
    if args.record is None:
        if any(given is not None for given in (args.phrase, args.speaker, args.seconds)):
            raise WakewordError("--phrase, --speaker and --seconds are of clips: say with --record where these go")
        return None
    from data_prep.recorded import SECONDS, ClipFolder

    phrases = {phrase for detector in detectors for phrase in detector.phrases}
    if args.phrase is None and len(phrases) != 1:
        raise WakewordError("--record: say with --phrase what the clips say")
    phrase = phrases.pop() if args.phrase is None else args.phrase
    seconds = SECONDS if args.seconds is None else args.seconds
    clips = ClipFolder(args.record, phrase, args.speaker, seconds)
    clips.check_writable()
    say(
        f"clips of '{clips.text}' are recorded to {clips.folder}: a voice identifies its speaker, so ask whoever speaks"
    )
    return clips
