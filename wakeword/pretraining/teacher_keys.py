"""Of which recording each of a teacher's cached arrays is: a small index beside them.

`recordings.jsonl` has a line `[utterance, key]` for each array, and the last one of an utterance counts. Caches of
earlier versions have none, and arrays that it does not tell of are taken by their length alone.
"""

from __future__ import annotations

import json
from pathlib import Path

INDEX = "recordings.jsonl"


def key_of(cut) -> list:
    """What an utterance is a part of, as far as its manifest tells: rate, samples, start in seconds, channel, and the
    file's name without folder and suffix, so that a corpus may move, or become FLAC."""
    recording = cut.recording
    names = [Path(source.source).stem for source in recording.sources if source.type == "file"]
    return [recording.sampling_rate, recording.num_samples, round(cut.start, 3), cut.channel, *names]


def read_keys(folder: Path) -> dict[str, list]:
    """The keys by utterance; a line that is broken off tells of none."""
    known: dict[str, list] = {}
    try:
        lines = (folder / INDEX).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            name, key = json.loads(line)
            known[name] = key
        except (ValueError, TypeError):
            continue
    return known


def add_key(folder: Path, cut) -> None:
    """Tell of which recording the utterance's array is, which must not be there yet: a kill in between leaves none."""
    # One write of one line: runs that share a cache may add theirs at the same time.
    with open(folder / INDEX, "a", encoding="utf-8") as index:
        index.write(json.dumps([cut.id, key_of(cut)]) + "\n")
