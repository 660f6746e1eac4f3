"""The verbs that use a detector: score, evaluate, calibrate, info."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from functools import partial

from wakeword.cli import bar, json_flag, say_warnings, show, verb
from wakeword.errors import ConfigError, ModelError, Skipped, WakewordError

SNR_DB = 10.0
"""Of the noisy condition, where nobody names others."""


def _score_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .wakeword, .onnx, .tflite or .pte file")
    parser.add_argument("audio", nargs="+", metavar="AUDIO", help="folders, audio files or manifests")
    parser.add_argument("--output", required=True, metavar="scores.npz")
    json_flag(parser)


@verb(
    "score",
    "Scores of audio files as arrays, for tools of your own",
    "wakeword score computer.onnx recordings/ --output scores.npz",
    _score_arguments,
)
def _score(args) -> None:
    import numpy as np

    from wakeword.audio.clips import find_clips
    from wakeword.detector.detector import Detector
    from wakeword.evaluation.score import score_clip
    from wakeword.files import replacing

    detector, skipped, arrays, warnings = Detector.load(args.model), Skipped(), {}, {}
    clips, progress = find_clips(args.audio), bar()
    for index, clip in enumerate(clips):
        try:
            scored = score_clip(detector, clip, partial(warnings.__setitem__, clip.name))
            arrays[f"{clip.name}/time_s"], arrays[f"{clip.name}/score"] = scored
        except WakewordError as error:
            skipped.add(clip.path, error)
        progress("scoring", (index + 1) / len(clips))
    if not arrays:
        raise WakewordError(f"none of {len(clips)} file(s) could be scored. {skipped.summary()}")
    files = len(arrays) // 2
    with replacing(args.output) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, phrases=np.array(detector.phrases), **arrays)
    say_warnings(warnings)
    report = {
        "output": args.output,
        "phrases": detector.phrases,
        "files": files,
        "warnings": warnings,
        "skipped": skipped.reasons,
    }
    show(report, args.json, f"{args.output}: {files} file(s). {skipped.summary()}")


def _evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a .wakeword, .onnx, .tflite or .pte file")
    parser.add_argument("--phrase", help="which phrase, where the model listens for several")
    parser.add_argument("--positives", nargs="+", required=True, metavar="PATH", help="clips of the phrase")
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH", help="hours without the phrase")
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH", help="noise for the noisy condition")
    parser.add_argument("--snr", nargs="+", type=float, metavar="DB", help="SNRs with --noise (10)")
    parser.add_argument(
        "--robustness",
        action="store_true",
        help="also at SNRs of 20 to 0 dB, in rooms, at levels and at speeds; a table for each in the report",
    )
    parser.add_argument("--rir", nargs="+", default=[], metavar="PATH", help="recorded rooms for --robustness")
    parser.add_argument(
        "--other-words", nargs="+", default=[], metavar="PATH", help="clips of other trigger words, counted apart"
    )
    parser.add_argument("--dev", nargs="+", default=[], metavar="PATH", help="other negatives, to choose thresholds on")
    parser.add_argument("--report", metavar="DIR", help="write report.json, report.md and det.png here")
    json_flag(parser)


@verb(
    "evaluate",
    "Miss rate at false alarms per hour, on streams",
    "wakeword evaluate computer.onnx --positives test-clips/ --negatives hours-of-speech/ --report report/",
    _evaluate_arguments,
)
def _evaluate(args) -> None:
    from wakeword.audio.clips import find_clips, for_development, for_testing, in_pieces
    from wakeword.detector.detector import Detector, output_of
    from wakeword.evaluation.conditions import noisy
    from wakeword.evaluation.evaluate import evaluate, evaluate_robustness, format_report

    detector = Detector.load(args.model)
    output_of(args.phrase, detector.phrases)  # before folders are searched
    if args.rir and not args.robustness:
        raise WakewordError("--rir belongs to --robustness: add that, or leave the rooms out")
    if args.snr and not args.noise:
        raise WakewordError("--snr belongs to --noise: name recordings of noise, or leave the SNRs out")
    snrs = [noisy(snr_db).snr_db for snr_db in args.snr or [SNR_DB]]  # before hours are heard
    positives, negatives = (for_testing(find_clips(paths)) for paths in (args.positives, args.negatives))
    dev, other_words = (find_clips(paths) if paths else [] for paths in (args.dev, args.other_words))
    dev, other_words = for_development(dev), for_testing(other_words)
    measure = evaluate
    if args.robustness:
        measure = partial(evaluate_robustness, rir=for_testing(find_clips(args.rir)) if args.rir else ())
    report = measure(
        detector,
        positives,
        in_pieces(negatives),
        noise=for_testing(find_clips(args.noise)) if args.noise else None,
        snrs=(None, *snrs) if args.noise else (None,),
        dev=in_pieces(dev) if args.dev else None,
        others={"other trigger words": other_words} if args.other_words else None,
        report_dir=args.report,
        progress=bar(),
        phrase=args.phrase,
    )
    show(report, args.json, format_report(report))


def _calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="a .wakeword, .onnx, .tflite or .pte file; thresholds and curves are replaced"
    )
    parser.add_argument("--phrase", help="replace the threshold and curve of this phrase alone")
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH", help="hours without the phrase")
    parser.add_argument(
        "--positives",
        nargs="+",
        metavar="PATH",
        help="clips of the phrase that did not train: tell the misses on them (those that training held out)",
    )
    parser.add_argument("--budget", required=True, help="of each phrase: '1 per 24 h', '0.5/h', '2 per day'")
    json_flag(parser)


@verb(
    "calibrate",
    "Choose the thresholds for a false-alarm budget",
    'wakeword calibrate computer.wakeword --negatives hours-of-speech/ --budget "1 per 24 h"',
    _calibrate_arguments,
)
def _calibrate(args) -> None:
    from wakeword.audio.clips import BOTH_TESTED, find_clips, for_development, for_testing, in_pieces, refuse_shared
    from wakeword.detector.detector import Detector, output_of
    from wakeword.evaluation.calibrate import calibrate, calibrated
    from wakeword.evaluation.misses import count_misses, held_out_misses
    from wakeword.model.budget import parse_budget
    from wakeword.model.curve import table
    from wakeword.model.runtimes import rewrite_model_meta

    parse_budget(args.budget)  # before hours are heard
    detector, skipped = Detector.load(args.model), Skipped()
    chosen = range(len(detector.phrases))
    if args.phrase is not None or args.positives:  # the clips are of one phrase
        chosen = [output_of(args.phrase, detector.phrases)]
    negatives = in_pieces(for_development(find_clips(args.negatives)))
    told = None
    if args.positives:
        # Nothing is chosen on them, and those that a manifest does not keep for testing may have trained the model.
        clips = for_testing(find_clips(args.positives))
        refuse_shared(clips, negatives, "--positives and --negatives", BOTH_TESTED)
        heard = count_misses(detector, chosen[0], clips, skipped, bar())
        if not heard.clips:
            raise WakewordError(f"no positives to measure misses on: {skipped.summary() or 'none given'}")
        told = {detector.phrases[chosen[0]]: replace(heard, clips_are="given to calibrate")}
    held_out = held_out_misses(args.model, detector.info)
    calibrations = calibrate(detector, negatives, args.budget, bar(), held_out, told)
    entries = list(detector.info["phrases"])
    for output in chosen:
        entries[output] = calibrated(entries[output], calibrations[output])
    rewrite_model_meta(args.model, {"phrases": entries})
    lines = []
    for output in chosen:
        lines.append(f"{args.model}: '{detector.phrases[output]}': {calibrations[output].summary()}")
        lines += _replaced(detector.info["phrases"][output].get("calibration"), calibrations[output].hours)
        lines += ["  " + line for line in table(calibrations[output].curve)]
    lines += [skipped.summary()] if skipped else []
    report = {"model": args.model, "phrases": [entries[output] for output in chosen], "skipped": skipped.reasons}
    show(report, args.json, "\n".join(lines))


def _replaced(before: dict | None, hours: float) -> list[str]:
    """A line where a calibration takes the place of one that heard more hours."""
    heard = (before or {}).get("hours")
    if not isinstance(heard, (int, float)) or heard <= hours:
        return []
    return [f"  it takes the place of one by {heard:.2f} h of negatives, which tell more: give more that did not train"]


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="a .wakeword, .onnx, .tflite, .pte or acoustic model file, an exported folder, or the name "
        "of an acoustic model that ships",
    )
    json_flag(parser)


@verb("info", "What a model file says of itself", "wakeword info computer.wakeword", _info_arguments)
def _info(args) -> None:
    from wakeword.model.checkpoint import read_meta, shipped
    from wakeword.model.folders import is_folder
    from wakeword.model.runtimes import exported_meta, is_exported

    exported = is_exported(args.model) or is_folder(args.model)
    meta = exported_meta(args.model) if exported else read_meta(shipped(args.model))
    show(meta, args.json, "" if args.json else _described(args.model, meta))


def _described(path: str, meta: dict) -> str:
    """A model's meta as text: as JSON, but for curves and parity, which follow, and what is long and read by few."""
    from wakeword.evaluation.parity_card import as_lines as parity_lines
    from wakeword.model.budget import in_words
    from wakeword.model.curve import curve_of, table
    from wakeword.model.lineage import LENGTHS, as_lines

    shown = _without(meta, ("curve", "held_out_misses", "held_out_also", "begun_from", "parity"))
    card, last = shown.get("card"), "--json shows all of it"
    runs = as_lines(meta["card"]) if isinstance(card, dict) else []
    for key in LENGTHS if runs else ():
        card.pop(key, None)
    if isinstance(card, dict) and isinstance(card.get("error_rates"), dict):
        card["error_rates"] = {name: _of_all(rows) for name, rows in card["error_rates"].items()}
        last += ": the error rates by groups of speakers (gender, age, accent, corpus) too"
    lines = [json.dumps(shown, indent=2, ensure_ascii=False), *([""] * bool(runs)), *runs]
    phrases = meta.get("phrases")
    for entry in phrases if isinstance(phrases, list) else []:
        try:
            curve = curve_of(entry.get("calibration"), entry.get("threshold")) if isinstance(entry, dict) else None
        except ConfigError as error:
            raise ModelError(f"{path}: {error}: damaged: train or export it again") from error
        if curve is not None:
            lines += ["", f"'{entry.get('phrase')}', calibrated for {in_words(curve.budget)}; its curve:"]
            lines += ["  " + line for line in table(curve.points)]
    parity = parity_lines(meta)
    return "\n".join([*lines, *([""] * bool(parity)), *parity, "", last])


def _of_all(rows):
    return rows.get("all", rows) if isinstance(rows, dict) else rows


def _without(value, names: tuple[str, ...]):
    """A JSON value without the entries of these names, at any depth."""
    if isinstance(value, dict):
        return {key: _without(each, names) for key, each in value.items() if key not in names}
    return [_without(each, names) for each in value] if isinstance(value, list) else value
