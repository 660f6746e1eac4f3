"""The `wakeword` command: each verb is a parser and a call into the module that does the work."""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from wakeword._version import __version__
from wakeword.errors import DeviceError, WakewordError

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector

WARNINGS_SHOWN = 10
REASONS = ("skipped", "reasons")
"""Of a report the entries whose values, why files were skipped, name their files themselves."""
MODULES = (
    "make",
    "study",
    "use",
    "export",
    "parity",
    "listen",
    "improve",
    "serve",
    "demo",
)
VERBS: dict[str, tuple[Callable, Callable, str, str]] = {}


def verb(name: str, help_text: str, example: str, arguments: Callable):
    """Register a function as a verb: its arguments, one line of help, and an example for `--help`."""

    def register(run: Callable) -> Callable:
        VERBS[name] = (arguments, run, help_text, example)
        return run

    return register


def main(argv: list[str] | None = None) -> int:
    """Run a command line; the exit code is 0, or as `exit_status` and, after SIGTERM, 143."""
    for module in MODULES:  # importing them fills VERBS
        importlib.import_module(f"wakeword.verbs.{module}")

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

    def work() -> None:
        args = parser.parse_args(argv)
        VERBS[args.verb][1](args)

    return exit_status(work)


def exit_status(work: Callable[[], int | None], name: str = "wakeword") -> int:
    """Do the work of a command or a script, and give its exit status; what went wrong is one line that begins `name`.

    Returns:
        What `work` returns (0 for None); 2 for a user's mistake or a file that cannot be read or written, 3 for a
        microphone that is missing, 130 after Ctrl-C, 1 where the reader of the output is gone. SIGTERM ends the process
        with 143, in order.
    """
    try:
        with _terminated_in_order():
            return work() or 0
    except WakewordError as error:
        say(str(error), name)
        return 3 if isinstance(error, DeviceError) else 2
    except KeyboardInterrupt:
        say("interrupted", name)
        return 130
    except BrokenPipeError:  # The reader of our output is gone (`| head`).
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        say(f"{error.filename or 'the output'}: {error.strerror or error}", name)
        return 2


def number(kind: type = int, least: float | None = None, above: float | None = None) -> Callable[[str], float]:
    """An argparse `type`: a finite int or float, `least` or more, or above `above`; anything else is a usage error."""
    wanted = "a whole number" if kind is int else "a number"
    wanted += f", {least:g} or more" if least is not None else f", above {above:g}" if above is not None else ""

    def convert(text: str) -> float:
        try:
            value = kind(text)
            fine = math.isfinite(value)
        except (ValueError, OverflowError):
            fine = False
        if not fine or (least is not None and value < least) or (above is not None and value <= above):
            raise argparse.ArgumentTypeError(f"must be {wanted}, not '{text}'")
        return value

    return convert


@contextmanager
def _terminated_in_order() -> Iterator[None]:
    """SIGTERM as an exception, so that no file is left half written; as it is by default it ends a process at once."""

    def stop(*_) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    if ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def show(report: dict, as_json: bool, text: str | None = None) -> None:
    """Print a report as one JSON object, or as text (`key: value` lines where none is given)."""
    if as_json:
        print(json.dumps(report, default=str))
    else:
        print(text if text is not None else "\n".join(f"{key}: {_few(key, value)}" for key, value in report.items()))


def _few(name: str, value: object) -> object:
    """The value of an entry for people: of many (the reasons why files were skipped) the first few."""
    if not isinstance(value, dict):
        return value
    first = list(value.items())[:WARNINGS_SHOWN]
    shown = "; ".join(str(each) if name in REASONS else f"{key} {_inside(key, each)}" for key, each in first)
    more = len(value) - WARNINGS_SHOWN
    return shown + (f"; and {more} more: --json lists all" if more > 0 else "")


def _inside(name: str, value: object) -> object:
    return f"({_few(name, value)})" if isinstance(value, dict) else value


def say(line: str, name: str = "wakeword") -> None:
    """Print a line for the user, beside the report, on standard error."""
    print(f"{name}: {line}", file=sys.stderr, flush=True)


def say_warnings(warnings: dict[str, str]) -> None:
    """Warn of the first files that are silent or clipped, and say how many more there are."""
    for name, reason in list(warnings.items())[:WARNINGS_SHOWN]:
        say(f"warning: {name}: {reason}")
    if len(warnings) > WARNINGS_SHOWN:
        say(f"warning: {len(warnings) - WARNINGS_SHOWN} more silent or clipped: --json lists all")


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


def json_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="report as one JSON object")


def acoustic_flag(parser: argparse.ArgumentParser) -> None:
    from wakeword.model.checkpoint import shipped_names

    names = ", ".join(shipped_names())
    parser.add_argument("--acoustic", default="base", help=f"{names}, or the file of an acoustic model (base)")


def threshold_arguments(parser: argparse.ArgumentParser) -> None:
    """What `Detector.load` takes in place of the thresholds of a model."""
    parser.add_argument("--threshold", type=float, help="for all phrases, in place of the models' own")
    parser.add_argument(
        "--sensitivity", type=float, help="0 to 1: fewer misses, more false alarms; 0.5 is as the model is calibrated"
    )
    parser.add_argument(
        "--budget", help="false alarms of each phrase, in place of a sensitivity: '1 per 24 h', '0.5/h'"
    )


def say_thresholds(args: argparse.Namespace, detectors: Sequence[Detector]) -> None:
    """Say the thresholds that follow from a curve: nobody has named them."""
    if args.sensitivity is not None or args.budget is not None:
        for detector in detectors:
            for phrase, threshold in zip(detector.phrases, detector.thresholds, strict=True):
                say(f"'{phrase}': threshold {threshold:.4f}")


if __name__ == "__main__":
    # Through the package, so that the verbs register in the same module that runs them.
    from wakeword.cli import main

    sys.exit(main())
