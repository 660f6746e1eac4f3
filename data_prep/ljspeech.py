"""LJSpeech and voices laid out like it: `metadata.csv` with lines `ID|TEXT` or `ID|TEXT|NORMALISED`, beside `wavs/`.

K. Ito, L. Johnson, "The LJ Speech Dataset", 2017. https://keithito.com/LJ-Speech-Dataset/
"""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, first_place, folder, write_manifest
from data_prep.download import Archive, download
from data_prep.listings import lines
from wakeword.errors import ManifestError

REMEDY = "give a folder with metadata.csv (ID|TEXT or ID|TEXT|NORMALISED a line, no header) and wavs/"
ARCHIVE = Archive(
    "https://data.keithito.com/data/speech/LJSpeech-1.1.tar.bz2",
    "sha256:be1a30453f28eb8dd26af4101ae40cbf2c50413b1bb21936cbcdc6fae3de8aa5",
)


def download_ljspeech(target_dir: str | Path) -> Path:
    """Fetch and unpack LJSpeech 1.1 (2.6 GB); give its folder.

    Raises:
        WakewordError: see `download.download`.
    """
    return download(ARCHIVE, Path(target_dir), "LJSpeech-1.1")


def prepare_ljspeech(
    src: str | Path,
    out: str | Path,
    name: str = "ljspeech",
    speaker: str = "1",
    language: str = "en",
    gender: str | None = None,
    licence: str = "public domain",
) -> Prepared:
    """One speaker's recordings; the text is the normalised one where there is one (numbers in words).

    Raises:
        ManifestError: metadata.csv is missing, or a line has neither two nor three fields.
    """
    src = folder(src, REMEDY)
    listing = src / "metadata.csv"
    utterances = []
    for number, line in enumerate(lines(listing, REMEDY), 1):
        fields = [field.strip() for field in line.split("|")]
        texts = [field for field in fields[1:] if field]
        if len(fields) not in (2, 3) or not fields[0] or not texts:
            raise ManifestError(f"{listing}: line {number} is malformed ({line[:60]!r}): {REMEDY}")
        places = [src / inside / fields[0] for inside in ("wavs", "wav", "audio", "")]
        utterances.append(
            Utterance(
                id=fields[0].replace("/", "-"),
                path=first_place(places),
                text=texts[-1],
                speaker=f"{name}-{speaker}",
                language=language,
                gender=gender,
                custom={"split": "train"},
            )
        )
    return write_manifest(name, utterances, out, licence, src)
