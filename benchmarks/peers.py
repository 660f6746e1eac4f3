"""Our detectors beside engines that people use today, on the same audio: `python benchmarks/peers.py`, from the
repository's root.

First: recipes/pretrain/prepare.py (manifests) and recipes/one_hour/run.py (our models). The peers are installed into
an environment of their own, exp/peers/venv, from peers-requirements.txt; nothing of it touches this one. Each engine
hears each stream in a process of its own. What is done already is not done again (exp/peers; --again forgets it), so
an interrupted run goes on. At the end docs/comparison.md and .png are written from all that was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from hashlib import sha256
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # read when numpy and torch are loaded, here and in the engines' processes

import numpy as np  # noqa: E402

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "recipes" / "one_hour"))
import run as one_hour  # noqa: E402
from machine import machine  # noqa: E402
from peers_listening import (  # noqa: E402
    SENSITIVITIES,
    Engine,
    by_content,
    environment,
    heard,
    listened,
    say,
    version_of,
)
from peers_report import RATES, judged, write_comparison  # noqa: E402
from peers_streams import Sound, condition_name, digest, missing_manifests, negatives, positives  # noqa: E402

from wakeword.cli import exit_status, number  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.files import replacing  # noqa: E402
from wakeword.settings import from_dict, read_toml  # noqa: E402

ENGINES = (
    Engine("base", "ours, `base`", "wakeword"),
    Engine("micro", "ours, `micro`", "wakeword"),
    Engine(
        "transfer", "transfer learning on the embedding in openWakeWord {version}", "transfer", None, "openwakeword"
    ),
    Engine("porcupine", "Porcupine {version}", "porcupine", ("alexa", "computer", "jarvis"), "pvporcupine"),
    Engine("openwakeword", "openWakeWord {version}", "openwakeword", ("alexa",), "openwakeword"),
    Engine("microwakeword", "microWakeWord {version}", "microwakeword", ("alexa",), "pymicro-wakeword"),
    Engine("pocketsphinx", "PocketSphinx {version}", "pocketsphinx", None, "pocketsphinx"),
)


def missing_model(model: Path) -> None:
    """Say which command makes our models, if one is missing.

    Raises:
        WakewordError: it is.
    """
    if not model.exists():
        raise WakewordError(f"{model}: no such model: run 'python recipes/one_hour/run.py' first")


def exported(model: Path, folder: Path) -> Path:
    """Our trained model as ONNX, the form that runs without torch."""
    from wakeword.export import export_onnx

    path = folder / f"{model.parent.name}-{sha256(model.read_bytes()).hexdigest()[:12]}.onnx"
    if not path.exists():
        export_onnx(model, path)
    return path


def options_of(engine: Engine, word: str, config: one_hour.Config, folder: Path, peers: Path, skipped: Skipped) -> dict:
    """What peers_engines.py is told for an engine and a word; the model is exported, or trained, if it is not yet."""
    if engine.runs == "wakeword":
        return {"word": word, "model": str(exported(model_of(config, engine, word), folder / "ours"))}
    found = {"word": word, "version": version_of(engine.package)}
    if engine.runs == "transfer":
        from peers_transfer import trained

        def embed(samples: Path) -> np.ndarray:
            with tempfile.TemporaryDirectory(dir=samples.parent) as scratch:
                return heard(peers, "embedding", samples, {}, Path(scratch) / "embedding.npz")["score"]

        manifest = partial(one_hour.manifest, config)
        unsaid = one_hour.chosen(config, config.negatives, folder / "negatives.jsonl.gz")
        found["head"] = str(trained(config, word, manifest, unsaid, folder / "transfer", embed, skipped))
    return found


def model_of(config: one_hour.Config, engine: Engine, word: str) -> Path:
    """Where recipes/one_hour leaves our model of a word."""
    return Path(config.folder) / f"{word}-{engine.name}-{config.unfreeze}" / f"{word}.wakeword"


def chosen_pairs(config: one_hour.Config, args: argparse.Namespace) -> list[tuple[Engine, str]]:
    """The engines and words to measure: those that were asked for and that the engine has.

    Raises:
        WakewordError: a word that the configuration does not name.
    """
    unknown = set(args.words or ()) - set(config.words)
    if unknown:
        raise WakewordError(f"--words {' '.join(sorted(unknown))}: {args.config} has {', '.join(config.words)}")
    engines = [engine for engine in ENGINES if not args.only or engine.name in args.only]
    words = [word for word in config.words if not args.words or word in args.words]
    return [(engine, word) for engine in engines for word in words if engine.words is None or word in engine.words]


def check(config: one_hour.Config, pairs: list[tuple[Engine, str]]) -> None:
    """Say what is missing before hours of listening.

    Raises:
        WakewordError: a manifest or a model, with the command that makes it.
    """
    names = [source.manifest for source in (*config.negatives, *config.test_negatives)]
    names += ["noise-esc10", "noise-street", "noise-speech-commands", "rir"]
    names += [f"wakewords-{word}" for word in config.words]
    missing_manifests(one_hour.manifest(config, name) for name in names)
    for engine, word in pairs:
        if engine.runs == "wakeword":
            missing_model(model_of(config, engine, word))


def compared(config: one_hour.Config, args: argparse.Namespace) -> dict:
    """Measure what was asked for; all that was measured on these negatives, now or before, as `page` wants it."""
    folder, skipped = args.folder, Skipped()
    pairs = chosen_pairs(config, args)
    check(config, pairs)
    peers = environment(folder / "venv") if any(engine.package for engine, _ in pairs) else Path()
    say("streams")
    test = one_hour.chosen(config, config.test_negatives, folder / "test_negatives.jsonl.gz")
    others = negatives(test, folder / "audio", args.limit_hours, skipped)
    results = folder / f"results-{others.path.stem}"
    if args.again:
        forget(pairs, folder, results)
    nothing = heard(sys.executable, "nothing", others.path, {}, folder / "scores" / f"nothing-{others.path.stem}.npz")
    for engine, word in pairs:
        say(f"{engine.name}, {word}")
        measure(engine, word, config, folder, peers, others, results / f"{engine.name}-{word}.json", skipped)
    if len(skipped):
        say(skipped.summary())
    found = measured(results, config.words)
    if not found:
        raise WakewordError("nothing to compare: none of the chosen engines has a model of the chosen words")
    return {
        "machine": machine(),
        "titles": {engine.name: engine.title for engine in ENGINES},
        "words": list(config.words),
        "corpora": [source.manifest for source in config.test_negatives],
        "limited": args.limit_hours,
        "sensitivities": list(SENSITIVITIES),
        "nothing_mb": float(nothing["peak_mb"]),
        "results": found,
    }


def measure(
    engine: Engine,
    word: str,
    config: one_hour.Config,
    folder: Path,
    peers: Path,
    others: Sound,
    result: Path,
    skipped: Skipped,
) -> None:
    """Write what an engine reaches for a word into `result`, unless the same stands there already."""
    python = peers if engine.package else sys.executable
    options = options_of(engine, word, config, folder, peers, skipped)
    manifest = partial(one_hour.manifest, config)
    noise = [manifest("noise-esc10"), manifest("noise-street")]
    sounds = {
        condition_name(snr): positives(word, manifest(f"wakewords-{word}"), noise, snr, folder / "audio", skipped)
        for snr in (None, config.snr_db)
    }
    streams = [sound.path.stem for sound in (others, *sounds.values())]
    made_of = digest([sorted(by_content(options).items()), streams, SENSITIVITIES, RATES])
    if result.exists() and json.loads(result.read_text(encoding="utf-8"))["made_of"] == made_of:
        return
    false = listened(engine, python, options, others, folder / "scores")
    true = {name: listened(engine, python, options, sound, folder / "scores") for name, sound in sounds.items()}
    found = judged(false.track, {name: (true[name].track, sound.fresh) for name, sound in sounds.items()})
    found |= {"engine": engine.name, "version": options.get("version", ""), "word": word, "made_of": made_of}
    # Time from the long stream, memory from the short ones, on which fewer scores are held.
    found |= {"cpu_s_per_hour": false.cpu_s_per_hour, "peak_mb": max(each.peak_mb for each in true.values())}
    with replacing(result) as temporary:
        temporary.write_text(json.dumps(found) + "\n", encoding="utf-8")


def forget(pairs: Iterable[tuple[Engine, str]], folder: Path, results: Path) -> None:
    """Remove what is kept of some engines and words, so that they are measured anew."""
    for engine, word in pairs:
        (results / f"{engine.name}-{word}.json").unlink(missing_ok=True)
        kept = list((folder / "scores").glob(f"{engine.name}-{word}-*.npz"))
        kept += (folder / "transfer").glob(f"{word}-*.npz") if engine.runs == "transfer" else ()
        for path in kept:
            path.unlink()


def measured(results: Path, words: Iterable[str]) -> list[dict]:
    """The results in a folder, by word and in the order of `ENGINES`."""
    paths = [results / f"{engine.name}-{word}.json" for word in words for engine in ENGINES]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def parsed(arguments: list[str] | None = None) -> argparse.Namespace:
    names = [engine.name for engine in ENGINES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=HERE.parent / "recipes" / "one_hour" / "config.toml")
    parser.add_argument("--only", nargs="+", choices=names, metavar="ENGINE", help=f"of {', '.join(names)}")
    parser.add_argument("--words", nargs="+", help="only these of the words in the config")
    hours = number(float, above=0)
    parser.add_argument("--limit-hours", type=hours, metavar="H", help="the first hours of negatives, for a trial")
    parser.add_argument("--again", action="store_true", help="measure the chosen engines and words anew")
    parser.add_argument("--folder", type=Path, default=Path("exp/peers"), help="for all that is kept")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="docs/comparison.md; of a trial FOLDER/trial.md")
    args = parser.parse_args(arguments)
    if args.output is None:
        trial = args.folder / "trial.md"
        args.output = HERE.parent / "docs" / "comparison.md" if args.limit_hours is None else trial
    return args


def main() -> int:
    args = parsed()

    def work() -> None:
        config = from_dict(one_hour.Config, read_toml(args.config), str(args.config))
        write_comparison(compared(config, args), args.output)
        print(args.output.read_text(encoding="utf-8"))

    return exit_status(work, "peers")


if __name__ == "__main__":
    sys.exit(main())
