"""LibriSpeech and mini-LibriSpeech: read English books, `SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-N.flac`.

V. Panayotov, G. Chen, D. Povey, S. Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio books",
ICASSP 2015. https://www.openslr.org/12 and https://www.openslr.org/31
"""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, folder, lines, pairs, write_manifest
from wakeword.errors import ManifestError

LICENCE = "CC BY 4.0"
REMEDY = "give the folder LibriSpeech as published (SUBSET/SPEAKER/CHAPTER/*.trans.txt), or a subset of it"


def prepare_librispeech(src: str | Path, out: str | Path, name: str = "librispeech") -> Prepared:
    """Every transcribed subset below `src`. `split` is train, dev or test, from the subset's name.

    Raises:
        ManifestError: there is no transcript below `src`, or one has a malformed line.
    """
    src = folder(src, REMEDY)
    transcripts = sorted(src.rglob("*.trans.txt"))
    if not transcripts:
        raise ManifestError(f"{src}: no *.trans.txt below it: {REMEDY}")
    genders = _genders(src)
    utterances = []
    for transcript in transcripts:
        subset = transcript.parent.parent.parent.name
        for key, text in pairs(transcript, REMEDY):
            utterances.append(_utterance(key, transcript.parent / f"{key}.flac", subset, genders, text))
    return write_manifest(name, utterances, out, LICENCE, src)


def prepare_librispeech_audio(src: str | Path, out: str | Path, name: str = "librispeech-audio") -> Prepared:
    """LibriSpeech recordings without transcripts, in any tree: the file name `SPEAKER-CHAPTER-N` says the speaker.

    Speakers are named as in `prepare_librispeech`: they are the same people, so a speaker held out there can be held
    out here.

    Raises:
        ManifestError: no file below `src` has such a name.
    """
    src = folder(src, "give a folder of LibriSpeech audio files")
    utterances = []
    genders = _genders(src)
    for path in audio_files(src):
        if re.fullmatch(r"\d+-\d+-\d+", path.stem):
            subset = next((p for p in path.relative_to(src).parts[::-1] if re.search("train-|dev-|test-", p)), "train-")
            subset = re.sub(r".*(?=(train|dev|test)-)", "", subset)
            utterances.append(_utterance(path.stem, path, subset, genders, None))
    return write_manifest(name, utterances, out, LICENCE, src)


def _utterance(key: str, path: Path, subset: str, genders: dict[str, str], text: str | None) -> Utterance:
    speaker = key.split("-")[0]
    split = subset.split("-")[0]
    return Utterance(
        id=key,
        path=path,
        text=text,
        speaker=f"librispeech-{speaker}",
        language="en",
        gender=genders.get(speaker),
        custom={"split": split if split in ("train", "dev", "test") else "train", "subset": subset},
    )


def _genders(src: Path) -> dict[str, str]:
    """Reader id to gender, from each SPEAKERS.TXT beside or below `src`; without one, genders are unknown."""
    found = {}
    for listing in [*sorted(src.rglob("SPEAKERS.TXT")), *src.parent.glob("SPEAKERS.TXT")]:
        for line in lines(listing, REMEDY):
            fields = [field.strip() for field in line.split("|")]
            if not line.startswith(";") and len(fields) >= 4:
                found[fields[0]] = fields[1]
    return found
