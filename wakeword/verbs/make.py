"""The verbs that make: corpora and clips, an acoustic model, a detector."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import os
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

from wakeword.cli import acoustic_flag, bar, json_flag, number, say, show, verb
from wakeword.errors import WakewordError, require


def _data_prep(module: str) -> tuple[Callable, Callable]:
    def load():
        return importlib.import_module(f"data_prep.{module}")

    def arguments(parser: argparse.ArgumentParser) -> None:
        load().add_arguments(parser)
        if not any("--json" in action.option_strings for action in parser._actions):
            json_flag(parser)

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
    parser.add_argument(
        "--steps", type=number(least=1), help="stop after this many steps in all, with a checkpoint to resume from"
    )
    json_flag(parser)


@verb(
    "pretrain",
    "Pretrain an acoustic model: distillation and CTC; resumes",
    "wakeword pretrain recipes/pretrain/base.toml",
    _pretrain_arguments,
)
def _pretrain(args) -> None:
    require("torch")
    from wakeword.pretraining.pretrain import pretrain
    from wakeword.pretraining.pretrain_config import read_config

    path = pretrain(read_config(args.config), args.steps)
    if os.environ.get("RANK", "0") == "0":  # of torchrun's processes, the first
        show({"acoustic": str(path), **json.loads(path.with_suffix(".json").read_text())}, args.json)


def _train_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--phrase",
        action="append",
        default=[],
        dest="phrases",
        metavar="PHRASE",
        help="what the clips say; again, with its own --positives, for each further phrase",
    )
    parser.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="PHRASE",
        help="in place of --phrase: synthetic voices speak it, and --positives may be left out",
    )
    parser.add_argument(
        "--positives",
        nargs="+",
        action="append",
        default=[],
        metavar="PATH",
        help="clips of the phrase: folders, files, manifests; the first --positives are of the first --phrase",
    )
    parser.add_argument(
        "--spoken",
        type=number(least=0),
        metavar="N",
        help="clips of each phrase in synthetic voices, beside those of --positives (200 with --text, else 0)",
    )
    parser.add_argument(
        "--confusables",
        type=number(least=0),
        default=0,
        metavar="N",
        help="have so many words and pairs that sound like a phrase spoken as negatives (0)",
    )
    parser.add_argument(
        "--negatives",
        nargs="+",
        default=[],
        metavar="PATH",
        help="speech without the phrases; where voices speak and none is given, they say other sentences too",
    )
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH", help="noise to mix in")
    parser.add_argument("--rir", nargs="+", default=[], metavar="PATH", help="room impulse responses")
    acoustic_flag(parser)
    parser.add_argument(
        "--unfreeze", default="auto", help="auto, none, all, how many top blocks, retrain or scratch (auto)"
    )
    parser.add_argument("--budget", default="0.5 per h", help="false alarms of each phrase to allow (0.5 per h)")
    parser.add_argument(
        "--labels",
        default="energy",
        help="energy, or aligned: the acoustic model says where the phrase lies in its clips (energy)",
    )
    parser.add_argument("--depth", type=int, default=4, help="new layers before the output nodes; 0: none (4)")
    parser.add_argument("--steps", type=int, default=1000, help="training steps (1000)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", required=True, metavar="FILE.wakeword")
    json_flag(parser)


def phrases_asked(args: argparse.Namespace) -> tuple[list[str], int]:
    """The phrases of `wakeword train`, and how many clips of each are spoken.

    Raises:
        WakewordError: --phrase and --text, neither, or not one --positives for each.
    """
    from wakeword.training.spoken import SPOKEN

    if bool(args.phrases) == bool(args.text):
        raise WakewordError("give --phrase, or --text in place of it, which has the phrase spoken by synthetic voices")
    phrases = args.phrases or args.text
    spoken = args.spoken if args.spoken is not None else SPOKEN * bool(args.text)
    if len(phrases) != len(args.positives) and (args.positives or not spoken):
        raise WakewordError(
            f"{'--text' if args.text else '--phrase'} is given {len(phrases)} time(s) and --positives "
            f"{len(args.positives)}: each phrase takes one --positives with all its clips, in the same order"
        )
    return phrases, spoken


@verb(
    "train",
    "Train a detector for a phrase, or several, from clips of it",
    "wakeword train --phrase computer --positives clips/ --negatives speech/ --noise noise/ --output computer.wakeword",
    _train_arguments,
)
def _train(args) -> None:
    require("torch")
    from wakeword.training.train import train
    from wakeword.training.train_config import Phrase, TrainConfig

    args.phrases, args.spoken = phrases_asked(args)
    given = {key: value for key, value in vars(args).items() if key in TrainConfig.__dataclass_fields__}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    given["phrases"] = tuple(
        Phrase(text, tuple(paths)) for text, paths in zip_longest(args.phrases, args.positives, fillvalue=())
    )
    trained = train(TrainConfig(**given), bar(), say)
    lines = [f"{trained.path}: {', '.join(map(repr, args.phrases))} on {args.acoustic}; {trained.unfrozen}"]
    if args.labels == "aligned":
        lines += [found.summary(phrase) for phrase, found in zip(args.phrases, trained.located, strict=True)]
    phrases = []
    for phrase, estimate, calibration in zip_longest(args.phrases, trained.estimates, trained.calibrations):
        low, high = estimate["miss_rate_interval"]
        missed = f"missed {estimate['missed']} of {estimate['clips']} clips {estimate['clips_are']}"
        missed = f"{missed} ({low:.1%} to {high:.1%}, 95 %)" if estimate["clips"] else "misses not known: none held out"
        told = calibration.summary() if calibration else f"threshold 0.5, not calibrated: {missed}"
        lines.append(f"'{phrase}', first estimate, clean: {told}")
        found = dataclasses.asdict(calibration) if calibration else None
        phrases.append({"phrase": phrase, "estimate": estimate, "calibration": found})
    lines += trained.notes
    lines += (
        []
        if trained.calibrations or args.negatives
        else ["to calibrate, give --negatives, or run 'wakeword calibrate'"]
    )
    lines += [trained.skipped.summary()] if len(trained.skipped) else []
    report = {
        "model": str(trained.path),
        "unfrozen": trained.unfrozen,
        "phrases": phrases,
        "notes": trained.notes,
        "skipped": trained.skipped.reasons,
    }
    show(report, args.json, "\n".join(lines))
