"""Recordings with a text file beside each: `a.wav` and `a.txt` (Rhasspy's voices, VCTK-like and home-made folders)."""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, file_key, folder, write_manifest
from data_prep.listings import lines
from wakeword.errors import ManifestError

REMEDY = "put the transcript of each recording beside it, as NAME.txt"


def prepare_text_beside(
    src: str | Path,
    out: str | Path,
    name: str | None = None,
    speaker: str | None = None,
    language: str = "en",
    gender: str | None = None,
    licence: str = "unknown",
) -> Prepared:
    """Every recording below `src` that has its text beside it; the others are skipped and counted.

    Args:
        name: the corpus; the folder's name if None.
        speaker: who speaks in all of it; if None, files in folders are by a speaker a folder, and those that lie in
            `src` itself by one speaker named as the corpus.

    Raises:
        ManifestError: no recording below `src` has a text.
    """
    src = folder(src, REMEDY)
    name = name or src.name.lower()
    utterances, alone = [], []
    for path in audio_files(src):
        transcript = path.with_suffix(".txt")
        text = " ".join(" ".join(lines(transcript, REMEDY)).split()) if transcript.is_file() else ""
        if not text:
            alone.append(path)
            continue
        inside = path.relative_to(src).parent.as_posix()
        who = speaker or (inside if inside != "." else "1")
        key = file_key(path, src, "/")
        told = {"split": "train"}
        utterances.append(Utterance(key, path, text, f"{name}-{who}", language, gender, told))
    if not utterances:
        raise ManifestError(f"{src}: no recording with a text beside it: {REMEDY}")
    prepared = write_manifest(name, utterances, out, licence, src)
    for path in alone:
        prepared.skipped.add(path, f"{path}: no transcript beside it")
    return prepared
