"""The verb that runs for weeks: listen."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, BinaryIO

from wakeword.cli import say, say_thresholds, show, threshold_arguments, verb
from wakeword.errors import WakewordError
from wakeword.verbs.improve import keep_arguments, keeping

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector
    from wakeword.features.log_mel import FeatureSettings
    from wakeword.listener.receivers import Receiver


def _listen_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models",
        nargs="*",
        metavar="MODEL",
        help=".wakeword, .onnx, .tflite or .pte files; export to .onnx what is left running: "
        ".wakeword costs several times the CPU and memory",
    )
    parser.add_argument("--device", help="the microphone: its number or a part of its name (the default one)")
    parser.add_argument("--list-devices", action="store_true", help="list the input devices, one a line, and stop")
    parser.add_argument("--file", metavar="AUDIO", help="listen to a recording; '-' is raw 16 kHz 16-bit mono PCM")
    threshold_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a hit, or a device")
    parser.add_argument(
        "--on-hit",
        metavar="COMMAND",
        help="run this for each hit, without a shell; the hit is JSON on its input, and in WAKEWORD_PHRASE and others",
    )
    parser.add_argument("--webhook", metavar="URL", help="post each hit there as JSON")
    parser.add_argument("--gate", action="store_true", help="spare the CPU while nothing is heard but the room")
    parser.add_argument("--plain", action="store_true", help="lines also in a terminal, in place of the live view")
    keep_arguments(parser)


@verb(
    "listen",
    "Listen on a microphone or to a file, and print each hit",
    "wakeword listen computer.onnx jarvis.onnx --json --on-hit 'paplay ding.wav'",
    _listen_arguments,
)
def _listen(args) -> None:
    from wakeword.audio.microphone import Capture
    from wakeword.detector.together import load_together
    from wakeword.listener.listener import hear

    if args.list_devices:
        _list_devices(args.json)
        return
    if not args.models:
        raise WakewordError("no model to listen with: name one or several .wakeword or .onnx files")
    if args.device is not None and args.file is not None:
        raise WakewordError("--device and --file: give a microphone or a recording, not both")
    detectors = load_together(args.models, args.threshold, args.sensitivity, args.budget, args.gate)
    _say_what_is_set(args, detectors)
    raw = _standard_input() if args.file == "-" else None
    file = None if raw else args.file
    # The view is for people who watch something live; a file is over before it is drawn.
    viewed = sys.stdout.isatty() and not (args.json or args.plain or file) and _has_rich()
    capture, count, heard_s = Capture(), 0, 0.0
    with ExitStack() as stack:
        view, tell = None, say
        if viewed:
            from wakeword.listener.view import View

            view = stack.enter_context(View(detectors))
            tell = view.tell
        receivers = _receivers(args, tell, viewed)
        stack.callback(_finish, receivers, tell)
        keep = stack.enter_context(keeping(args, detectors, tell, _stoppable))
        with _stoppable() as uninterrupted:
            for heard in hear(detectors, args.device, file, raw, tell, capture, keep):
                with uninterrupted():
                    heard_s = heard.time_s
                    for index, hit in heard.hits:
                        count += 1
                        event = heard.event(hit, args.models[index])
                        for receiver in receivers:
                            receiver.give(event)
                        line = f"{hit.time_s:9.2f} s  {hit.phrase}  {hit.score:.3f}"
                        if view:
                            view.hit(f"{event['utc']}  {line}")
                        else:
                            show(event, args.json, line)
                            sys.stdout.flush()
                    if view:
                        view.block(heard, capture.overruns)
    lost = f", the microphone lost {capture.losses} time(s)" if capture.losses else ""
    opened = f"; the gate was open for {_opened(args.models, detectors)} of the last stream" if args.gate else ""
    say(f"{count} hit(s) in {heard_s:.1f} s of sound, {capture.overruns} overrun(s){lost}{opened}")


def _opened(models: Sequence[str], detectors: Sequence[Detector]) -> str:
    """The share of each gate: models of the same features have one in common."""
    gates: dict[FeatureSettings, tuple[float, list[str]]] = {}
    for model, detector in zip(models, detectors, strict=True):
        _, names = gates.setdefault(detector.feature_settings, (detector.gate_open, []))
        names.append(os.path.basename(model))
    if len(gates) == 1:
        return f"{detectors[0].gate_open:.0%}"
    return " and ".join(f"{share:.0%} ({', '.join(names)})" for share, names in gates.values())


def _list_devices(as_json: bool) -> None:
    from wakeword.audio.input_devices import NO_DEVICE, list_devices

    devices = list_devices()
    for device in devices:
        show(device, as_json, f"{device['index']:3} {device['name']}")
    if not devices:
        raise WakewordError(NO_DEVICE)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise WakewordError("--file -: standard input is closed: pipe raw samples into it, or name a file")
    return sys.stdin.buffer


def _say_what_is_set(args, detectors: list) -> None:
    from wakeword.detector.together import encoders

    say_thresholds(args, detectors)
    if len(detectors) > 1:
        say(f"{len(detectors)} models, {encoders(detectors)} encoder(s) to run")


def _has_rich() -> bool:
    if importlib.util.find_spec("rich") is None:
        say("no live view (pip install 'wakeword[view]'): hits are printed as lines")
        return False
    return True


def _receivers(args, tell: Callable[[str], None], quiet: bool) -> list[Receiver]:
    if args.on_hit is None and args.webhook is None:
        return []
    from wakeword.listener import receivers

    deliver = []
    if args.on_hit is not None:
        deliver.append(("--on-hit", receivers.command(args.on_hit, quiet, receivers.LIMIT_S)))
    if args.webhook is not None:
        deliver.append(("--webhook", receivers.webhook(args.webhook, receivers.LIMIT_S)))
    return [receivers.Receiver(name, each, tell) for name, each in deliver]


def _finish(receivers: list[Receiver], tell: Callable[[str], None]) -> None:
    """Wait until what they have is delivered; a signal ends the wait for all of them."""
    from wakeword.listener.receivers import LIMIT_S

    wait_s = LIMIT_S
    for receiver in receivers:
        ended = False
        with _stoppable():
            receiver.close(wait_s)
            ended = True
        wait_s = wait_s if ended else 0.0
        tell(receiver.summary())


@contextmanager
def _stoppable() -> Iterator[Callable]:
    """End the block at SIGINT or SIGTERM as if it were over; inside `with uninterrupted():`, once that has ended.

    A second signal ends that too: it may wait for a reader of our output that sleeps. Both are the usual end of a
    listener. Set here, since a shell starts background jobs with SIGINT ignored.
    """
    held = stopped = False

    def stop(*_) -> None:
        nonlocal stopped
        again, stopped = stopped, True
        if again or not held:
            raise KeyboardInterrupt

    @contextmanager
    def uninterrupted() -> Iterator[None]:
        nonlocal held
        held = True
        try:
            yield
        finally:
            held = False
        if stopped:
            raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield uninterrupted
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
