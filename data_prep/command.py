"""`wakeword prepare CORPUS SRC OUT`: a corpus on disk (or fetched) to a manifest."""

from __future__ import annotations

import argparse
import inspect
from pathlib import Path

from data_prep import CORPORA
from wakeword.errors import WakewordError

# Options that only some corpora know, as their prepare (or download) functions name them.
OPTIONS = (
    "phrase",
    "even_odd",
    "name",
    "speaker",
    "language",
    "languages",
    "gender",
    "licence",
    "split",
    "parts",
    "duplicates",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `wakeword prepare` takes."""
    listed = "\n".join(
        f"  {name:18} {corpus.help} [{corpus.licence}{'; --download' if corpus.download else ''}]"
        for name, corpus in CORPORA.items()
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"corpora:\n{listed}"
    parser.add_argument("corpus", choices=CORPORA, metavar="CORPUS", help="one of the corpora below")
    parser.add_argument("src", type=Path, metavar="SRC", help="its folder; with --download, where to unpack it")
    parser.add_argument("out", type=Path, metavar="OUT", help="the folder that gets NAME_cuts.jsonl.gz")
    parser.add_argument("--download", action="store_true", help="fetch it from its publisher first (resumes)")
    parser.add_argument("--parts", nargs="+", metavar="PART", help="librispeech --download: subsets to fetch")
    parser.add_argument("--phrase", help="wakewords: what the clips say")
    parser.add_argument("--even-odd", action="store_true", default=None, help="wakewords: odd clips are the test split")
    parser.add_argument(
        "--duplicates", action="store_true", default=None, help="wakewords: find clips that are one recording (slow)"
    )
    parser.add_argument("--name", help="name the manifest and its cuts so, instead of by the corpus")
    parser.add_argument("--speaker", help="wakewords, text-beside, ljspeech: who speaks in all of it")
    parser.add_argument("--language", help="the language spoken, where the corpus does not say it (en)")
    parser.add_argument("--languages", nargs="+", metavar="CODE", help="commonvoice: keep only these")
    parser.add_argument("--gender", choices=("female", "male"), help="ljspeech, text-beside: the speaker's")
    parser.add_argument("--licence", help="the licence, where the corpus does not say it")
    parser.add_argument("--split", choices=("train", "dev", "test"), help="negatives: their split (train)")


def run(args: argparse.Namespace) -> dict:
    """Prepare a corpus; give its manifest, size, skipped files and what of its text CTC cannot spell, ready for JSON.

    Raises:
        WakewordError: an option that the corpus does not know, no public source for --download, or what
            `prepare_x` and `download_x` raise.
    """
    corpus = CORPORA[args.corpus]
    given = {name: value for name in OPTIONS if (value := getattr(args, name, None)) is not None}
    parts = {"parts": given.pop("parts")} if "parts" in given else {}
    known = inspect.signature(corpus.prepare).parameters
    if unknown := [f"--{name.replace('_', '-')}" for name in given if name not in known]:
        raise WakewordError(f"{args.corpus}: has no option {', '.join(unknown)}: leave it out")
    if "name" in given and (not given["name"].strip() or Path(given["name"]).name != given["name"]):
        raise WakewordError(f"--name {given['name']!r}: no name for NAME_cuts.jsonl.gz: give one without a folder")
    if "phrase" in known and not given.get("phrase", "").strip():
        raise WakewordError(f"{args.src}: what do the clips say? give --phrase")
    if parts and not (args.download and corpus.download and "parts" in inspect.signature(corpus.download).parameters):
        raise WakewordError(f"{args.corpus}: --parts goes with librispeech --download: leave it out")
    # The same function prepares several corpora; what sets them apart is their name and licence.
    if "name" in known and known["name"].default != args.corpus and args.corpus not in ("wakewords", "text-beside"):
        given.setdefault("name", args.corpus)
    if "licence" in known and corpus.url:
        given.setdefault("licence", corpus.licence)
    src = args.src
    if args.download:
        if corpus.download is None:
            place = f"get it from {corpus.url}" if corpus.url else "it is your own data"
            raise WakewordError(f"{args.corpus}: has no public download: {place}, then prepare without --download")
        src = corpus.download(src, **parts)
    made = corpus.prepare(src, args.out, **given)
    report = {
        "corpus": args.corpus,
        "manifest": str(made.manifest),
        "cuts": made.cuts,
        "hours": round(made.hours, 4),
        "speakers": made.speakers,
        "skipped": len(made.skipped),
        "reasons": dict(made.skipped.reasons),
        "outside_alphabet": len(made.outside),
    }
    # Last, so that it is the last line of the text.
    return {**report, "note": made.alphabet_note()} if made.outside else report
