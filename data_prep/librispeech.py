"""LibriSpeech and mini-LibriSpeech: read English books, `SUBSET/SPEAKER/CHAPTER/SPEAKER-CHAPTER-N.flac`.

V. Panayotov, G. Chen, D. Povey, S. Khudanpur, "LibriSpeech: an ASR corpus based on public domain audio books",
ICASSP 2015. https://www.openslr.org/12 and https://www.openslr.org/31
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, folder, write_manifest
from data_prep.download import Archive, download
from data_prep.listings import lines, pairs
from wakeword.errors import ManifestError, WakewordError

LICENCE = "CC BY 4.0"
OPENSLR = "https://www.openslr.org/resources"
# The MD5 digests of md5sum.txt beside the archives.
PARTS = {
    "dev-clean-2": Archive(f"{OPENSLR}/31/dev-clean-2.tar.gz", "md5:6d7ab67ac6a1d2c993d050e16d61080d"),
    "train-clean-5": Archive(f"{OPENSLR}/31/train-clean-5.tar.gz", "md5:5df7d4e78065366204ca6845bb08f490"),
    "dev-clean": Archive(f"{OPENSLR}/12/dev-clean.tar.gz", "md5:42e2234ba48799c1f50f24a7926300a1"),
    "dev-other": Archive(f"{OPENSLR}/12/dev-other.tar.gz", "md5:c8d0bcc9cca99d4f8b62fcc847357931"),
    "test-clean": Archive(f"{OPENSLR}/12/test-clean.tar.gz", "md5:32fa31d27d2e1cad72775fee3f4849a9"),
    "test-other": Archive(f"{OPENSLR}/12/test-other.tar.gz", "md5:fb5a50374b501bb3bac4815ee91d3135"),
    "train-clean-100": Archive(f"{OPENSLR}/12/train-clean-100.tar.gz", "md5:2a93770f6d5c6c964bc36631d331a522"),
    "train-clean-360": Archive(f"{OPENSLR}/12/train-clean-360.tar.gz", "md5:c0e676e450a7ff2f54aeade5171606fa"),
    "train-other-500": Archive(f"{OPENSLR}/12/train-other-500.tar.gz", "md5:d1a0fd59409feb2c614ce4d30c387708"),
}
REMEDY = "give the folder LibriSpeech as published (SUBSET/SPEAKER/CHAPTER/*.trans.txt), or a subset of it"


def download_librispeech(target_dir: str | Path, parts: Sequence[str] = ("dev-clean-2", "train-clean-5")) -> Path:
    """Fetch and unpack subsets (by default mini-LibriSpeech, 0.46 GB); give the folder LibriSpeech that holds them.

    Raises:
        WakewordError: an unknown part; else see `download.download`.
    """
    if unknown := [part for part in parts if part not in PARTS]:
        raise WakewordError(f"LibriSpeech has no part {', '.join(unknown)}: choose from {', '.join(PARTS)}")
    for part in parts:
        download(PARTS[part], Path(target_dir), f"LibriSpeech/{part}")
    return Path(target_dir).expanduser().resolve() / "LibriSpeech"


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
