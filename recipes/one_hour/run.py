"""Train and test three phrases on the shared clips: `python recipes/one_hour/run.py`, from the repository's root.

First: python recipes/pretrain/prepare.py --shared ../shared/corpora --out exp/manifests
What is done already (a model and its report in exp/one_hour) is not done again, unless its settings, utterances or
acoustic model have changed; RESULTS.md is written at the end.
`--robustness` trains the same, and measures and writes ROBUSTNESS.md instead: what is missed in noise, in rooms, at
levels and speeds, and what sets the models off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from wakeword.audio.clips import Clip, find_clips, for_testing, in_pieces
from wakeword.cli import bar, exit_status
from wakeword.detector.detector import Detector
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.evaluate import NOISY_HOURS, evaluate, evaluate_robustness, score_negatives
from wakeword.head.transfer import ALL_FROM, NARROW, NARROW_FROM, TOP_BLOCKS, UNFREEZE_FROM
from wakeword.model.checkpoint import digest_without_card, shipped
from wakeword.pretraining.data import Source, read_sources
from wakeword.training.material import holds

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
from once import made_of, once  # noqa: E402
from pages import write_results, write_robustness  # noqa: E402


@dataclass(frozen=True)
class Config:
    words: tuple[str, ...] = ()
    acoustic: tuple[str, ...] = ("base",)
    unfreeze: str = "auto"
    manifests: str = "exp/manifests"
    folder: str = "exp/one_hour"
    snr_db: float = 10.0
    fa_rates: tuple[float, ...] = (0.5, 0.1)
    threads: int = 2
    seed: int = 0
    steps: int = 1000
    copies: int = 8
    negative_hours: float = 10.0
    negative_copies: int = 2
    negatives: tuple[Source, ...] = ()
    test_negatives: tuple[Source, ...] = ()
    other_words: tuple[str, ...] = ()
    test_rir: tuple[str, ...] = ()
    noisy_hours: float = NOISY_HOURS


@dataclass(frozen=True)
class Negatives:
    """The manifests of negatives that train and of those that test, and a sentence on what these leave out."""

    train: str
    test: str
    left_out: str


def manifest(config: Config, name: str) -> str:
    return f"{config.manifests}/{name}_cuts.jsonl.gz"


def read(config: Config, sources: tuple[Source, ...]):
    """The sources' utterances, a CutSet."""
    return read_sources([replace(source, manifest=manifest(config, source.manifest)) for source in sources])


def chosen(config: Config, sources: tuple[Source, ...], path: Path) -> str:
    """One manifest of the sources' utterances."""
    keep(read(config, sources), path)
    return str(path)


def keep(cuts, path: Path) -> None:
    """Write a manifest that other processes may be reading, or writing, at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    begun = path.with_name(f"begun-{os.getpid()}-{path.name}")  # its suffix tells lhotse the format
    cuts.to_file(begun)
    begun.replace(path)


@cache
def negatives_of(config: Config) -> Negatives:
    """The negatives, written anew: those that test without the utterances in which one of the words is said, since a
    detector that hears it there is right. (What trains leaves them out by itself.)"""
    folder = Path(config.folder)
    train = chosen(config, config.negatives, folder / "negatives.jsonl.gz")
    everything = read(config, config.test_negatives)
    said = [cut for cut in everything if says(cut, config.words)]
    test = folder / "test_negatives.jsonl.gz"
    keep(everything.filter(lambda cut: not says(cut, config.words)).to_eager(), test)
    seconds = sum(cut.duration for cut in said)
    left_out = f"{len(said)} utterances of these corpora ({seconds:.0f} s) are left out: by their transcripts"
    return Negatives(train, str(test), f"{left_out}, one of the words ({', '.join(config.words)}) is said in them.")


def says(cut, words: Iterable[str]) -> bool:
    """Whether an utterance's transcript, where it has one, holds one of the words."""
    return any(holds(each.text or "", word) for each in cut.supervisions for word in words)


def settings_of(config: Config, word: str, acoustic: str, negatives: str):
    """How a phrase is trained, a TrainConfig; its output lies in a folder of its own."""
    from wakeword.training.train_config import Phrase, TrainConfig

    folder = Path(config.folder) / f"{word}-{Path(acoustic).stem}-{config.unfreeze}"
    return TrainConfig(
        phrases=(Phrase(word, (manifest(config, f"wakewords-{word}"),)),),
        negatives=(negatives,),
        noise=(manifest(config, "noise-esc10"), manifest(config, "noise-speech-commands")),
        rir=(manifest(config, "rir"),),
        acoustic=acoustic,
        unfreeze=config.unfreeze,
        output=str(folder / f"{word}.wakeword"),
        threads=config.threads,
        seed=config.seed,
        steps=config.steps,
        copies=config.copies,
        negative_hours=config.negative_hours,
        negative_copies=config.negative_copies,
    )


def trained_of(settings) -> str:
    """What a model is made of: all settings that may change it, the rule of `--unfreeze auto`, the utterances, and the
    acoustic model's weights."""
    positives = [path for phrase in settings.phrases for path in phrase.positives]
    heard = [*positives, *settings.negatives, *settings.noise, *settings.rir]
    # Not the whole file: a card that tells more of the same weights changes no model.
    acoustic = digest_without_card(shipped(settings.acoustic))
    policy = UNFREEZE_FROM, NARROW_FROM, ALL_FROM, TOP_BLOCKS, NARROW
    return made_of(replace(settings, output="", threads=1), policy, acoustic, files=heard)


def trained(settings) -> dict:
    """Train a phrase if it is not trained so yet: its word, acoustic model, budget and folder, and how long it took."""
    from wakeword.training.train import train

    folder = Path(settings.output).parent
    timing = folder / "training.json"

    def make() -> None:
        began = time.process_time()
        found = train(settings, bar())
        timing.write_text(json.dumps({"cpu_seconds": time.process_time() - began, "unfrozen": found.unfrozen}))

    once(Path(settings.output), trained_of(settings), make)
    run = {"word": settings.phrases[0].text, "acoustic": Path(settings.acoustic).stem, "folder": folder}
    return {**run, "budget": settings.budget, **json.loads(timing.read_text())}


def said(config: Config, word: str) -> tuple[list[Clip], list[Clip]]:
    """The test clips of a word, and those of them whose recording has no copy among the training clips."""
    everything = find_clips([manifest(config, f"wakewords-{word}")])
    heard = {clip.attributes.get("group") for clip in everything if clip.split == "train"}
    positives = for_testing(everything)
    return positives, [clip for clip in positives if clip.attributes.get("group") not in heard - {None}]


def unheard_noise(config: Config) -> list[Clip]:
    return for_testing(find_clips([manifest(config, "noise-esc10"), manifest(config, "noise-street")]))


def tested_of(config: Config, settings, test_negatives: str, *further: str) -> str:
    """What a report is made of: the model, what it is tested on (`further` manifests too), and how."""
    names = ["noise-esc10", "noise-street", *further]
    positives = [path for phrase in settings.phrases for path in phrase.positives]
    files = [settings.output, *positives, test_negatives, *(manifest(config, name) for name in names)]
    return made_of(config.snr_db, config.fa_rates, config.noisy_hours, files=files)


def one(config: Config, settings, test_negatives: str) -> dict:
    """Train a phrase, and test it if that is not done yet."""
    run = trained(settings)
    positives, fresh = said(config, run["word"])
    made = tested_of(config, settings, test_negatives)

    skipped = Skipped()

    @cache
    def heard():
        # Both reports have the same negatives, and hearing these takes most of their time.
        negatives = in_pieces(find_clips([test_negatives]))
        return score_negatives(Detector.load(settings.output), negatives, progress=bar(), skipped=skipped)

    def test(clips: list[Clip], report: Path) -> None:
        evaluate(
            Detector.load(settings.output),
            clips,
            (),
            noise=unheard_noise(config),
            snrs=(None, config.snr_db),
            fa_rates=config.fa_rates,
            report_dir=report,
            progress=bar(),
            heard_before=heard(),
            skipped=Skipped(dict(skipped.reasons)),
        )

    # Some recordings stand in the corpus several times, on both sides of the split: only the fresh clips are new.
    tests = [(positives, "report")]
    if len(fresh) < len(positives):
        tests.append((fresh, "report_fresh"))
    else:  # the page shows what lies there
        shutil.rmtree(run["folder"] / "report_fresh", ignore_errors=True)
    for clips, name in tests:
        report = run["folder"] / name
        once(report / "report.json", made, partial(test, clips, report))
    return run


def robust(config: Config, settings, test_negatives: str) -> dict:
    """Train a phrase, and measure what it is missed for and what sets it off, if that is not done yet."""
    run = trained(settings)
    report = run["folder"] / "robustness" / "report.json"
    words = [f"wakewords-{word}" for word in config.other_words if word != run["word"]]

    def test() -> None:
        began = time.process_time()
        evaluate_robustness(
            Detector.load(settings.output),
            said(config, run["word"])[1],
            in_pieces(find_clips([test_negatives])),
            noise=unheard_noise(config),
            rir=find_clips([manifest(config, name) for name in config.test_rir]),
            # No model has heard any clip of another word, neither those that train theirs.
            others={"other trigger words": find_clips([manifest(config, name) for name in words])},
            noisy_hours=config.noisy_hours,
            snrs=(None, config.snr_db),
            fa_rates=config.fa_rates[:1],
            report_dir=report.parent,
            progress=bar(),
        )
        print(f"{report.parent}: {time.process_time() - began:.0f} CPU seconds", file=sys.stderr)

    once(report, tested_of(config, settings, test_negatives, *config.test_rir, *words), test)
    return {**run, "robustness": json.loads(report.read_text())}


def check_words(config: Config, args: argparse.Namespace) -> None:
    """Refuse words of the command line that the configuration does not have.

    Raises:
        WakewordError: there are such.
    """
    unknown = set(args.words or ()) - set(config.words)
    if unknown:
        raise WakewordError(f"--words {' '.join(sorted(unknown))}: {args.config} has {', '.join(config.words)}")


def main() -> int:
    from wakeword.settings import from_dict, read_toml

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE / "config.toml")
    parser.add_argument("--results", type=Path, default=HERE / "RESULTS.md")
    parser.add_argument("--words", nargs="+", help="only these of the words in the config")
    parser.add_argument(
        "--robustness",
        type=Path,
        nargs="?",
        const=HERE / "ROBUSTNESS.md",
        metavar="FILE",
        help="measure and write this instead of RESULTS.md (ROBUSTNESS.md)",
    )
    args = parser.parse_args()

    def work() -> None:
        config = from_dict(Config, read_toml(args.config), str(args.config))
        check_words(config, args)
        negatives = negatives_of(config)  # of all words, so that each is tested on the same
        if args.words:
            config = replace(config, words=tuple(args.words))
        pairs = [(word, acoustic) for acoustic in config.acoustic for word in config.words]
        measure = robust if args.robustness else one
        runs = [measure(config, settings_of(config, *pair, negatives.train), negatives.test) for pair in pairs]
        written = args.robustness or args.results
        if args.robustness:
            write_robustness(runs, config, written)
        else:
            write_results(runs, config, written, negatives.left_out)
        print(written.read_text())

    return exit_status(work, "one_hour")


if __name__ == "__main__":
    sys.exit(main())
