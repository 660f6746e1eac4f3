"""A folder of clips of one phrase."""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, file_key, folder, write_manifest
from wakeword.audio.clips import Clip
from wakeword.training.duplicates import groups_of_clips

REMEDY = "give a folder that holds clips of the phrase"


def prepare_wakewords(
    src: str | Path,
    out: str | Path,
    phrase: str,
    even_odd: bool = False,
    name: str | None = None,
    speaker: str | None = None,
    language: str = "en",
    licence: str = "unknown",
    duplicates: bool = False,
) -> Prepared:
    """Every clip below `src`, with the phrase as its text.

    Args:
        even_odd: clips of an even index in the sorted order of their paths train, those of an odd one test; otherwise
            all train. The index counts every audio file, also those that turn out to be damaged.
        duplicates: look for clips that are one recording; `custom["group"]` is then the index of the first of them
            (a clip's own, mostly). The split stays; leave test clips out whose group has a clip that trains.
        speaker: who says all of them; unknown if None.

    Raises:
        ManifestError: no usable clip below `src`.
    """
    src = folder(src, REMEDY)
    name = name or "wakewords-" + re.sub(r"\W+", "-", phrase.lower()).strip("-")
    utterances = []
    paths = audio_files(src)
    groups = groups_of_clips([Clip(path) for path in paths]) if duplicates else None
    for index, path in enumerate(paths):
        key = file_key(path, src, "/")
        custom = {"split": "test" if even_odd and index % 2 else "train", "index": index}
        if groups is not None:
            custom["group"] = groups[index]
        who = f"{name}-{speaker}" if speaker else None
        utterances.append(Utterance(key, path, phrase, who, language, None, custom))
    return write_manifest(name, utterances, out, licence, src)
