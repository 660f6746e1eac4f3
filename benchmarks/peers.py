"""Our detectors beside engines that people use today, on the same audio: `python benchmarks/peers.py`, from the
repository's root.

First: recipes/pretrain/prepare.py (manifests) and recipes/one_hour/run.py (our models). The peers are installed into
an environment of their own, exp/peers/venv, from peers-requirements.txt; nothing of it touches this one. Each engine
hears each stream in a process of its own. What is done already is not done again (exp/peers; --again forgets it), so
an interrupted run goes on. At the end docs/comparison.md and .png are written from all that was measured. All of it
takes some six CPU hours: Porcupine's runs at its sensitivities and the search for the best network of transfer learning
about two each. --limit-hours and --only try parts of it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from functools import partial
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"  # read when numpy and torch are loaded, here and in the engines' processes

import numpy as np  # noqa: E402

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "recipes" / "one_hour"))
import run as one_hour  # noqa: E402
from machine import machine  # noqa: E402
from peers_judged import RATES, judged  # noqa: E402
from peers_listening import (  # noqa: E402
    Engine,
    by_content,
    environment,
    heard,
    listened,
    say,
)
from peers_models import check, model_digest, options_of  # noqa: E402
from peers_report import write_comparison  # noqa: E402
from peers_sensitivities import FINEST, SENSITIVITIES, refined  # noqa: E402
from peers_streams import (  # noqa: E402
    FOREIGN,
    Sound,
    condition_name,
    digest,
    negatives,
    positives,
)

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


def chosen_pairs(config: one_hour.Config, args: argparse.Namespace) -> list[tuple[Engine, str]]:
    """The engines and words to measure: those that were asked for and that the engine has.

    Raises:
        WakewordError: a word that the configuration does not name.
    """
    one_hour.check_words(config, args)
    engines = [engine for engine in ENGINES if not args.only or engine.name in args.only]
    words = [word for word in config.words if not args.words or word in args.words]
    return [(engine, word) for engine in engines for word in words if engine.words is None or word in engine.words]


def compared(config: one_hour.Config, args: argparse.Namespace) -> dict:
    """Measure what was asked for; all that was measured on these negatives, now or before, as `page` wants it."""
    folder, skipped = args.folder, Skipped()
    pairs = chosen_pairs(config, args)
    check(config, pairs)
    peers = environment(folder / "venv") if any(engine.package for engine, _ in pairs) else Path()
    say("streams")
    unheard = one_hour.negatives_of(config)
    others = negatives(unheard.test, folder / "audio", args.limit_hours, skipped)
    results = folder / f"results-{others.path.stem}"
    if args.again:
        forget(pairs, folder, results)
    nothing = heard(sys.executable, "nothing", others.path, {}, folder / "scores" / f"nothing-{others.path.stem}.npz")
    for engine, word in pairs:
        say(f"{engine.name}, {word}")
        measure(engine, word, config, folder, peers, others, results / f"{engine.name}-{word}.json", skipped)
    if len(skipped):
        say(skipped.summary())
    found = measured(results, config)
    if not found:
        raise WakewordError("nothing to compare: none of the chosen engines has a model of the chosen words")
    return {
        "machine": machine(),
        "titles": {engine.name: engine.title for engine in ENGINES},
        "ours": [engine.name for engine in ENGINES if engine.runs == "wakeword"],
        "missing": absent(found, config.words),
        "words": list(config.words),
        "corpora": [source.manifest for source in config.test_negatives],
        "foreign": [name for name in FOREIGN if name in others.corpus],
        "left_out": unheard.left_out,
        "limited": args.limit_hours,
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
    model = model_digest(config, engine, word)
    made_of = digest([sorted(by_content(options).items()), streams, SENSITIVITIES, FINEST, FOREIGN, RATES, model])
    if result.exists() and json.loads(result.read_text(encoding="utf-8"))["made_of"] == made_of:
        return
    hear = partial(listened, engine, python, options, folder=folder / "scores")
    at: tuple[float, ...] = ()
    if engine.runs == "porcupine":
        at = refined(lambda value: hear(others, sensitivities=(value,)).track, others.kinds.values(), RATES)
    false = hear(others, sensitivities=at)
    true = {name: hear(sound, sensitivities=at) for name, sound in sounds.items()}
    tracks = {name: (true[name].track, sound.fresh) for name, sound in sounds.items()}
    found = judged(false.track, others.kinds, tracks)
    found |= {"engine": engine.name, "version": options.get("version", ""), "word": word, "made_of": made_of}
    found |= {"streams": streams, "model": model}
    if engine.runs == "transfer":
        with np.load(options["head"]) as head:
            found["search"] = json.loads(str(head["search"]))
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


def measured(results: Path, config: one_hour.Config) -> list[dict]:
    """The results in a folder, by word and in the order of `ENGINES`; of each word those of the streams that were heard
    last, since only misses of the same clips can be compared, and of our models those that were trained last."""
    found = []
    for word in config.words:
        paths = {engine: path for engine in ENGINES if (path := results / f"{engine.name}-{word}.json").exists()}
        read = {engine: json.loads(path.read_text(encoding="utf-8")) for engine, path in paths.items()}
        last = max(paths, key=lambda engine: paths[engine].stat().st_mtime_ns, default=None)
        for engine, path in paths.items():
            result = read[engine]
            if result["streams"] != read[last]["streams"]:
                say(f"{path}: of other clips than were heard last, left out: measure it again")
            elif result.get("model", "") != model_digest(config, engine, word):
                say(f"{path}: of a model that has been trained anew since, left out: measure it again")
            else:
                found.append(result)
    return found


def absent(results: list[dict], words: Iterable[str]) -> list[str]:
    """The engines that have a model of a word and were not measured with it."""
    done = {(result["engine"], result["word"]) for result in results}
    return [
        f"{engine.name} ({word})"
        for engine in ENGINES
        for word in words
        if (engine.words is None or word in engine.words) and (engine.name, word) not in done
    ]


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
