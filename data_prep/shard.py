"""Manifests to shards: `python -m data_prep.shard MANIFEST... --out DIR`, for `shar = "DIR"` in a `[[data]]` table.

`python -m data_prep.shard --config FILE.toml --out DIR` makes a folder DIR/NAME of each manifest that it trains on.

The utterances of all manifests are mixed, decoded once, and written as FLAC (16 kHz, mono, 16 bits) in tars of many
(lhotse Shar), with the teacher's frames beside where a teacher is given.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import sys
from dataclasses import dataclass
from pathlib import Path

from wakeword.cli import exit_status, number
from wakeword.errors import ManifestError, Skipped, WakewordError, require
from wakeword.files import check_writable, replacing


@dataclass(frozen=True)
class Sharded:
    """What was written, and what could not be read."""

    shards: int
    cuts: int
    hours: float
    skipped: Skipped


def write_shards(
    manifests: list[str],
    out: str | Path,
    teacher: str = "",
    teacher_cache: str = "",
    shard_size: int = 1000,
    seed: int = 0,
    threads: int = 1,
) -> Sharded:
    """Write the utterances of `manifests` as shards to the folder `out`; all splits and languages, for `Source`
    chooses among them.

    Args:
        teacher: as in a pretraining configuration; its frames come from `teacher_cache`, or are made there.
        shard_size: utterances in a shard.
        seed: of the order in which the utterances are mixed.

    Raises:
        WakewordError: a manifest or the teacher is unusable, no utterance can be read, `out` holds shards already.
    """
    tqdm = require("tqdm").tqdm
    lhotse = require("lhotse")
    from lhotse.shar import SharWriter

    from wakeword.features.log_mel import SAMPLE_RATE
    from wakeword.pretraining.data import read_manifest
    from wakeword.pretraining.shards import INDEX
    from wakeword.pretraining.teacher import cache_teacher

    out = Path(out)
    if (out / INDEX).exists():
        raise WakewordError(f"{out}: holds shards already: name another folder, or remove it")
    cuts = [cut for manifest in manifests for cut in read_manifest(manifest)]
    check_writable(out / INDEX)
    random.Random(seed).shuffle(cuts)
    skipped = Skipped()
    if teacher:
        with tqdm(total=math.ceil(sum(cut.duration for cut in cuts)), unit="s", desc="teacher", disable=None) as bar:
            found, skipped = cache_teacher(
                lhotse.CutSet.from_cuts(cuts), teacher, teacher_cache or out / "teacher", threads, bar.update
            )
        cuts = list(found)
    fields = {"recording": "flac", **({"teacher": "numpy"} if teacher else {})}
    count, seconds = 0, 0.0
    out.mkdir(parents=True, exist_ok=True)
    with SharWriter(out, fields, shard_size, warn_unused_fields=False) as writer:
        for cut in tqdm(cuts, unit="cut", desc="shards", disable=None):
            try:
                if teacher:
                    cut.load_teacher()  # lhotse would write the audio first, and the tars would no longer match
                writer.write(cut.resample(SAMPLE_RATE))
            except Exception as error:  # decoders raise many kinds
                skipped.add(cut.id, f"{cut.id}: {error}".splitlines()[0])
                continue
            count += 1
            seconds += cut.duration
        files = {field: [Path(path).name for path in paths] for field, paths in writer.output_paths.items()}
    if not count:
        raise ManifestError(f"{', '.join(manifests)}: nothing can be read. {skipped.summary()}")
    index = {"cuts": count, "hours": round(seconds / 3600, 4), "teacher": teacher, "files": files}
    if teacher:
        statistics = Path(teacher_cache or out / "teacher") / "statistics.json"
        index["statistics"] = hashlib.sha256(statistics.read_bytes()).hexdigest()
    with replacing(out / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n")
    return Sharded(len(files["cuts"]), count, seconds / 3600, skipped)


def write_shards_of(
    config_file: str,
    out: str | Path,
    teacher: str = "",
    teacher_cache: str = "",
    shard_size: int = 1000,
    seed: int = 0,
    threads: int = 0,
) -> dict[str, Sharded]:
    """Write what a pretraining on manifests takes as shards, with its teacher's frames: a folder in `out` a manifest.

    A folder that is there already stays as it is.

    Args:
        teacher: another one than the configuration's, with a `teacher_cache` of its own.
        threads: of the teacher; 0: as the configuration has it.

    Returns:
        What was written, by folder.

    Raises:
        WakewordError: the configuration, a manifest or the teacher is unusable.
    """
    from wakeword.pretraining.data import read_sources
    from wakeword.pretraining.pretrain_config import read_config
    from wakeword.pretraining.shards import INDEX

    config = read_config(config_file)
    if any(source.shar for source in config.data):
        raise WakewordError(f"{config_file}: its data are shards already: name a configuration of manifests")
    names = [Path(source.manifest).name.partition("_cuts")[0].partition(".")[0] for source in config.data]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise WakewordError(f"{config_file}: two of its manifests are named {twice[0]}: a folder each, so rename one")
    # One cache for all: its frames are standardised by one mean and deviation.
    own = "" if teacher else config.teacher_cache
    cache = teacher_cache or own or str(Path(out) / "teacher")
    made = {}
    for source, name in zip(config.data, names, strict=True):
        folder = Path(out) / name
        if (folder / INDEX).exists():
            print(f"{folder}: kept as it is; delete it to make it again")
            continue
        chosen = read_sources([source])
        folder.mkdir(parents=True, exist_ok=True)
        taken = folder / "taken_cuts.jsonl.gz"
        chosen.to_file(taken)
        asked = teacher or config.teacher, cache, shard_size, seed, threads or config.threads
        found = write_shards([str(taken)], folder, *asked)
        made[str(folder)] = found
    return made


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.shard", description=__doc__.splitlines()[0])
    parser.add_argument("manifests", nargs="*", metavar="MANIFEST", help="of `wakeword prepare`")
    parser.add_argument("--config", metavar="FILE", help="a pretraining configuration: its data and teacher")
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder of shards to be made")
    parser.add_argument("--teacher", default="", help="whose frames (a folder, a package); --config has one")
    parser.add_argument("--teacher-cache", default="", metavar="DIR", help="where its frames are kept (DIR/teacher)")
    parser.add_argument("--size", type=number(least=1), default=1000, help="utterances in a shard (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the order (0)")
    parser.add_argument("--threads", type=number(least=1), help="of the teacher (1)")
    args = parser.parse_args(arguments)
    if bool(args.manifests) == bool(args.config):
        parser.error("give manifests, or --config")
    return exit_status(lambda: write(args), "shard")


def write(args: argparse.Namespace) -> None:
    """Write the shards that the command line asks for, and say how many."""
    own = args.teacher, args.teacher_cache, args.size, args.seed
    if args.config:
        made = write_shards_of(args.config, args.out, *own, args.threads or 0)
    else:
        made = {args.out: write_shards(args.manifests, args.out, *own, args.threads or 1)}
    for place, each in made.items():
        print(f"{place}: {each.cuts} utterances, {each.hours:.2f} h in {each.shards} shards. {each.skipped.summary()}")


if __name__ == "__main__":
    sys.exit(main())
