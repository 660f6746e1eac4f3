"""The verbs that make a detector better by what it heard: review, improve; and what `listen` keeps for them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

from wakeword.cli import bar, json_flag, number, say, show, verb
from wakeword.errors import WakewordError, require


def keep_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `wakeword listen` for what it keeps."""
    parser.add_argument(
        "--save-near-misses", metavar="DIR", help="keep the last seconds before each hit and near miss, for 'review'"
    )
    parser.add_argument(
        "--keep-clips", type=number(least=1), default=500, metavar="N", help="so many clips in DIR at most (500)"
    )
    parser.add_argument(
        "--keep-mb", type=number(float, least=1), default=100.0, metavar="MB", help="so many megabytes at most (100)"
    )


@contextmanager
def keeping(args, detectors: Sequence, tell: Callable[[str], None], stoppable: Callable) -> Iterator:
    """The recorder that the arguments ask for (`near_misses.NearMisses`), or None; `tell` gets the privacy notice, and
    in the end what was kept. `with stoppable():` is how long a disk is waited for then.

    Raises:
        WakewordError: as `NearMisses`.
    """
    if args.save_near_misses is None:
        yield None
        return
    from wakeword.listener.near_misses import Bounds, NearMisses

    keep = NearMisses(args.save_near_misses, detectors, Bounds(args.keep_clips, args.keep_mb), on_status=tell)
    tell(keep.notice())
    try:
        yield keep
    finally:
        with stoppable():
            keep.close()
        tell(f"{keep.kept} clip(s) kept in {keep.folder}" + (f", {keep.lost} lost" if keep.lost else ""))


def _review_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", metavar="DIR", help="what 'wakeword listen --save-near-misses DIR' kept")
    parser.add_argument("--skipped", action="store_true", help="ask again about the clips that were skipped")
    json_flag(parser)


@verb(
    "review",
    "Go through kept clips: is the phrase said in them?",
    "wakeword review near-misses/",
    _review_arguments,
)
def _review(args) -> None:
    from wakeword.listener.review import review

    done = review(args.folder, args.skipped, say=say)
    text = ", ".join(f"{count} {decision}" for decision, count in done.decided.items()) + f"; {done.left} left"
    report = {**done.decided, "left": done.left, "unusable": done.skipped.reasons}
    show(report, args.json, "\n".join(filter(None, [text, done.skipped.summary()])))


def _improve_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="the .wakeword file that listened, or that was exported")
    parser.add_argument("kept", metavar="DIR", help="kept clips, reviewed")
    parser.add_argument(
        "--output", required=True, metavar="NEW", help="the new model, if it is not worse; may be MODEL"
    )
    parser.add_argument(
        "--phrase",
        action="append",
        default=[],
        dest="phrases",
        help="where the model listens for several: each of them",
    )
    for name, of in (("--positives", "trained on"), ("--test-positives", "not trained on")):
        parser.add_argument(
            name,
            nargs="+",
            action="append",
            default=[],
            required=name == "--positives",
            metavar="PATH",
            help=f"clips of the phrase that the model was {of}; again for each --phrase",
        )
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH", help="what it was trained with")
    parser.add_argument("--test-negatives", nargs="+", default=[], metavar="PATH", help="hours to test both models on")
    parser.add_argument("--dev", nargs="+", default=[], metavar="PATH", help="hours to choose the threshold on")
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH", help="noise to mix in")
    parser.add_argument("--rir", nargs="+", default=[], metavar="PATH", help="room impulse responses")
    parser.add_argument("--budget", default="", help="false alarms of each phrase to allow (what the model has)")
    parser.add_argument("--steps", type=number(least=1), default=300, help="training steps (300)")
    parser.add_argument("--seed", type=number(least=0), help="(that of the model's training)")
    parser.add_argument("--threads", type=number(least=1), default=os.cpu_count() or 1)
    json_flag(parser)


@verb(
    "improve",
    "Train on reviewed clips; a model that got worse is not written",
    "wakeword improve computer.wakeword near-misses/ --positives clips/ --negatives speech/ --test-positives "
    "test-clips/ --test-negatives hours/ --output better.wakeword",
    _improve_arguments,
)
def _improve(args) -> None:
    require("torch")
    from wakeword.model.checkpoint import read_meta
    from wakeword.model.runtimes import is_exported
    from wakeword.training.guard import table
    from wakeword.training.improve import ImproveConfig, improve
    from wakeword.training.train_config import Phrase

    texts = args.phrases
    if not texts and not is_exported(args.model):
        texts = [entry["phrase"] for entry in read_meta(args.model, "wakeword")["phrases"]]
        if len(texts) > 1:
            raise WakewordError(f"{args.model} listens for {', '.join(map(repr, texts))}: give --phrase for each")
    if texts and len(texts) != len(args.positives):
        raise WakewordError(
            f"--positives is given {len(args.positives)} time(s) for {len(texts)} phrase(s): once for each"
        )
    given = {key: value for key, value in vars(args).items() if key in ImproveConfig.__dataclass_fields__}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    given["phrases"] = tuple(
        Phrase(text, tuple(paths)) for text, paths in zip_longest(texts, args.positives, fillvalue="")
    )
    given["tests"] = tuple(map(tuple, args.test_positives))
    done = improve(ImproveConfig(**given), bar())
    lines = []
    for each in done.phrases:
        lines.append(f"'{each['phrase']}': {each['confirmed']} kept clip(s) confirmed, {each['refused']} refused")
        lines += ["  " + line for line in table(each, each["fa_per_hour_budget"])]
    lines += [done.skipped.summary()] if len(done.skipped) else []
    lines += [] if done.worse else [f"{done.path}: written"]
    report = {
        "model": str(done.path),
        "written": not done.worse,
        "worse": done.worse,
        "phrases": done.phrases,
        "skipped": done.skipped.reasons,
    }
    show(report, args.json, "\n".join(lines))
    if done.worse:
        raise WakewordError(f"{done.path}: not written, the new model is worse: {'; '.join(done.worse)}")
