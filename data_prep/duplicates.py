"""Which clips of manifests are copies of one recording: `python -m data_prep.duplicates MANIFEST [MANIFEST ...]`."""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections import Counter
from collections.abc import Sequence

from wakeword.audio.clips import Clip, find_clips
from wakeword.cli import exit_status
from wakeword.training.duplicates import groups_of_clips

Place = tuple[str, str]


def copies(manifests: Sequence[str]) -> list[list[tuple[Place, Clip]]]:
    """The groups of two clips or more that are one recording, each clip with its manifest and split, in their order.

    Raises:
        WakewordError: as `clips.find_clips`.
    """
    clips = [((path, clip.split or "no split"), clip) for path in manifests for clip in find_clips([path])]
    found: dict[int, list] = {}
    for entry, group in zip(clips, groups_of_clips([clip for _, clip in clips]), strict=True):
        found.setdefault(group, []).append(entry)
    return [group for group in found.values() if len(group) > 1]


def twins(groups: Sequence[Sequence[tuple[Place, Clip]]]) -> Counter[tuple[Place, Place]]:
    """How many clips of one manifest and split have a twin in another: `{(one, other): clips of one}`."""
    found: Counter = Counter()
    for group in groups:
        within = Counter(place for place, _ in group)
        for one, other in itertools.permutations(within, 2):
            found[one, other] += within[one]
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m data_prep.duplicates", description=__doc__.splitlines()[0])
    parser.add_argument("manifests", nargs="+", metavar="MANIFEST", help="manifests, or folders of clips")
    parser.add_argument("--json", action="store_true", help="a line of JSON for each group")
    args = parser.parse_args(arguments)
    return exit_status(lambda: tell(copies(args.manifests), args.json), "duplicates")


def tell(groups: Sequence[Sequence[tuple[Place, Clip]]], as_json: bool) -> None:
    """Print the groups, a line each, and how many clips of one split have a twin in another."""
    for group in groups:
        if as_json:
            clips = [{"manifest": path, "split": split, "clip": clip.name} for (path, split), clip in group]
            print(json.dumps({"clips": clips}))
        else:
            print(" = ".join(clip.name for _, clip in group))
    # Beside the lines of JSON, not among them.
    told = sys.stderr if as_json else sys.stdout
    print(f"{sum(map(len, groups))} clips are copies of each other, of {len(groups)} recordings", file=told)
    for (one, other), count in sorted(twins(groups).items()):
        print(f"{count} clips of {' '.join(one)} have a twin in {' '.join(other)}", file=told)


if __name__ == "__main__":
    sys.exit(main())
