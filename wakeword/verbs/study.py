"""The verbs that look before training: what an acoustic model hears, how well a phrase suits."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from functools import partial

from wakeword.cli import acoustic_flag, bar, json_flag, say_warnings, show, verb
from wakeword.errors import Skipped, WakewordError, require


def _transcribe_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("audio", nargs="+", metavar="FILE", help="audio files, folders or manifests")
    acoustic_flag(parser)
    json_flag(parser)


@verb(
    "transcribe",
    "What an acoustic model hears: its letters, with times (some 0.2 s later than their sounds)",
    "wakeword transcribe recording.m4a --acoustic base",
    _transcribe_arguments,
)
def _transcribe(args) -> None:
    from wakeword.audio.clips import find_clips

    clips = find_clips(args.audio)
    require("torch")
    from wakeword.acoustic.transcribe import Hearing

    hearing, skipped, found, warnings = Hearing(args.acoustic), Skipped(), {}, {}
    # On a terminal the transcripts themselves tell how far it is.
    progress = bar() if args.json or not sys.stdout.isatty() else lambda stage, fraction: None
    for index, clip in enumerate(clips):
        try:
            found[clip.name] = hearing.transcribe(clip, partial(warnings.__setitem__, clip.name))
        except WakewordError as error:
            skipped.add(clip.path, error)
        else:
            if not args.json:
                print("\n".join(_lines(clip.name, found[clip.name])), flush=True)
        progress("transcribing", (index + 1) / len(clips))
    if not found:
        raise WakewordError(f"none of {len(clips)} file(s) could be transcribed. {skipped.summary()}")
    say_warnings(warnings)
    if args.json:
        files = {name: {"text": each.text, **dataclasses.asdict(each)} for name, each in found.items()}
        show({"acoustic": args.acoustic, "files": files, "warnings": warnings, "skipped": skipped.reasons}, True)
    elif skipped:
        print(skipped.summary())


def _lines(name: str, transcript) -> list[str]:
    """A transcript as text: what was heard, then each word with its times."""
    words = (f"  {word.start_s:9.2f} {word.end_s:9.2f}  {word.text}" for word in transcript.words)
    return [f"{name}: {transcript.text or '(nothing heard)'}", *words]


def _phrase_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("phrase", nargs="+", help="the words, spelled out")
    parser.add_argument(
        "--phones",
        action="append",
        metavar="ARPABET",
        help="how the whole phrase is said, in place of the dictionary's way; again for another way",
    )
    parser.add_argument(
        "--speech", nargs="+", metavar="PATH", help="manifests of transcribed speech: count what sounds like it there"
    )
    parser.add_argument(
        "--compare",
        nargs="+",
        default=[],
        metavar="PHRASE",
        help="other phrases to read its numbers by, measured alike",
    )
    parser.add_argument("--most", type=int, default=10, metavar="N", help="words shown in each list (10; --json: all)")
    json_flag(parser)


@verb(
    "phrase",
    "How well a phrase suits: its length, what sounds like it or has it in it, and how often that comes",
    'wakeword phrase "hey computer" --compare alexa computer --speech manifests/librispeech_cuts.jsonl.gz',
    _phrase_arguments,
)
def _phrase(args) -> None:
    from wakeword.audio.clips import find_clips
    from wakeword.phrases.phrase import examine, format_comparison, format_report

    if args.most < 0:
        raise WakewordError(f"--most {args.most}: give the number of words to show in each list, 0 or more")
    speech = find_clips(args.speech) if args.speech else None
    report = examine(" ".join(args.phrase), args.phones, speech)
    others = []
    for phrase in args.compare:
        try:
            others.append(examine(phrase, None, speech))
        except WakewordError as error:
            raise WakewordError(f"--compare {phrase!r}: {error} (--phones is for the first phrase alone)") from error
    text = format_report(report, args.most)
    if others:
        text += "\n" + format_comparison([report, *others])
    if speech is None:
        text += "\nhow often it would come in real speech: --speech MANIFEST ... counts it in transcripts"
    show({**report.as_dict(), "compared": [other.as_dict() for other in others]}, args.json, text)
