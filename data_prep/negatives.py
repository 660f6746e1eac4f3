"""Recordings in which the phrase is not said, without transcripts: radio, meetings, a living room."""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, file_key, folder, write_manifest

REMEDY = "give a folder that holds recordings without the wake word"


def prepare_negatives(
    src: str | Path,
    out: str | Path,
    name: str = "negatives",
    licence: str = "unknown",
    language: str | None = None,
    speaker_folders: bool = False,
    split: str = "train",
    piece_s: float = 30.0,
) -> Prepared:
    """Every recording below `src`, cut into pieces of `piece_s` seconds; the supervision has no text.

    Args:
        language: what is spoken, e.g. "en"; unknown if None.
        split: all of it is of this split; `custom["split"]`.
        speaker_folders: the folder that a recording lies in names its speaker; otherwise speakers are unknown.

    Raises:
        ManifestError: no audio below `src`.
    """
    src = folder(src, REMEDY)
    utterances = []
    for path in audio_files(src):
        place = path.relative_to(src).parent.name
        who = f"{name}-{place}" if speaker_folders and place else None
        utterances.append(Utterance(file_key(path, src), path, None, who, language, custom={"split": split}))
    return write_manifest(name, utterances, out, licence, src, piece_s=piece_s)
