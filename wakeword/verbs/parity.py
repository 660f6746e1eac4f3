"""The verb `parity`: an exported model beside the model that it was made of."""

from __future__ import annotations

import argparse
from pathlib import Path

from wakeword.cli import bar, json_flag, number, show, verb
from wakeword.errors import Skipped, WakewordError, require

SPLIT_HELP = """
Nothing is chosen on what is heard. So, as in 'evaluate', of a corpus of which a manifest keeps
clips for testing those alone are heard; of folders, and of corpora that keep none, all clips.
"""


def heard_arguments(parser: argparse.ArgumentParser) -> None:
    """What `material` reads: the audio on which models are compared."""
    parser.add_argument("--phrase", help="which phrase, where the model listens for several")
    parser.add_argument("--positives", nargs="+", required=True, metavar="PATH", help="clips of the phrase")
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH", help="hours without the phrase")
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH", help="noise for the noisy condition")
    decibels = number(float)
    parser.add_argument("--snr", nargs="+", type=decibels, metavar="DB", help="SNRs with --noise (10)")
    hours, rate = number(float, above=0), number(float, above=0)
    parser.add_argument("--hours", type=hours, default=1.0, help="of the negatives, from all over them (1)")
    parser.add_argument("--fa", type=rate, default=0.5, help="false alarms an hour at which misses are told too (0.5)")


def material(args: argparse.Namespace) -> dict:
    """Arguments of `parity.measure` for what the user named.

    Raises:
        WakewordError: a path that is not there, a manifest that cannot be read, clips that are both positives and
            negatives, or SNRs without noise.
    """
    if args.snr and not args.noise:
        raise WakewordError("--snr belongs to --noise: add that, or leave it out")
    from wakeword.audio.clips import BOTH_TESTED, find_clips, for_testing, refuse_shared
    from wakeword.export.parity import at_most

    positives, negatives = (for_testing(find_clips(paths)) for paths in (args.positives, args.negatives))
    refuse_shared(positives, negatives, "--positives and --negatives", BOTH_TESTED)
    return {
        "positives": positives,
        "negatives": at_most(negatives, args.hours),
        "noise": for_testing(find_clips(args.noise)) if args.noise else (),
        "snrs": args.snr or [10.0],
        "fa_per_hour": args.fa,
        "phrase": args.phrase,
    }


def _parity_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description += f"\n{SPLIT_HELP}"
    parser.add_argument("exported", metavar="EXPORTED", help="a .onnx, .tflite or .pte file, or a folder")
    parser.add_argument("model", metavar="MODEL.wakeword", help="what it was exported from")
    heard_arguments(parser)
    json_flag(parser)


@verb(
    "parity",
    "An exported model beside the one that it was made of, on the same audio; the result goes into its card",
    "wakeword parity computer.tflite computer.wakeword --positives test-clips/ --negatives hours-of-speech/",
    _parity_arguments,
)
def _parity(args) -> None:
    require("torch")
    from wakeword.detector.detector import output_of
    from wakeword.evaluation.parity_card import as_lines
    from wakeword.export import parity
    from wakeword.files import check_writable
    from wakeword.model.folders import ABOUT, is_folder
    from wakeword.model.runtimes import exported_meta

    meta = exported_meta(args.exported)
    phrases = [entry["phrase"] for entry in meta["phrases"]]
    phrase = phrases[output_of(args.phrase, phrases)]  # before hours are heard
    check_writable(Path(args.exported, ABOUT) if is_folder(args.exported) else args.exported)
    skipped = Skipped()
    (found,) = parity.measure(args.model, [args.exported], **material(args), skipped=skipped, progress=bar())
    parity.write(args.exported, phrase, found)
    report = {"exported": args.exported, "model": args.model, "phrase": phrase, **found, "skipped": skipped.reasons}
    lines = [*as_lines({**meta, "parity": {phrase: found}}), skipped.summary(), f"written into {args.exported}"]
    show(report, args.json, "\n".join(line for line in lines if line))
