"""Alphanumeric audio: a name, a telephone number and an address by each of 70 people of many accents.

https://github.com/Sakshee5/alphanumeric-audio-dataset. One row of `metadata.csv` a recording; a row holds all three
texts, and the recording's folder (Names, Numbers, Addresses) says which one is spoken.

67 of the addresses have digits ("48 Ridge Road 407") and stay as published: the table does not say whether one read
"four oh seven" or "four hundred and seven", and from 4 to 39 s for texts of like length some even spelt the names. A
guessed transcript would teach CTC what was not said, so these train without it.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, folder, write_manifest
from data_prep.listings import table
from data_prep.words import DIGITS
from wakeword.errors import ManifestError

LICENCE = "MIT"
REMEDY = "give the folder with metadata.csv and audio_data/ as published"
COLUMNS = ("Response_ID", "file_name", "Age", "Gender", "Native Language", "Name", "Number", "Address")
KINDS = {"Names": "Name", "Numbers": "Number", "Addresses": "Address"}


def prepare_alphanumeric(src: str | Path, out: str | Path, name: str = "alphanumeric") -> Prepared:
    """All recordings. `custom["kind"]` is name, number or address.

    Numbers were read digit by digit, so the table's "8885" becomes "eight eight eight five". Names were *spelt* letter
    by letter, which no writing of the name says: they have no text. Addresses are as published: see above.

    Raises:
        ManifestError: metadata.csv is missing or malformed, or a recording lies in none of the three folders.
    """
    src = folder(src, REMEDY)
    utterances = []
    for row in table(src / "metadata.csv", COLUMNS, REMEDY):
        kind = KINDS.get(Path(row["file_name"]).parent.name)
        if kind is None:
            raise ManifestError(
                f"{src / 'metadata.csv'}: {row['file_name']} is in none of {', '.join(KINDS)}: {REMEDY}"
            )
        utterances.append(
            Utterance(
                id=f"{kind.lower()}-{row['Response_ID']}",
                path=src / row["file_name"],
                text=spoken(row[kind], kind),
                speaker=f"alphanumeric-{row['Response_ID']}",
                language="en",
                gender=row["Gender"],
                custom={"split": "train", "kind": kind.lower(), "age": row["Age"], "accent": row["Native Language"]},
            )
        )
    return write_manifest(name, utterances, out, LICENCE, src)


def spoken(text: str, kind: str) -> str | None:
    """What was said for an entry of the table; None where its writing does not tell."""
    if kind == "Name":
        return None
    if kind == "Number" and text.isascii() and text.isdigit():
        return " ".join(DIGITS[int(digit)] for digit in text)
    return text
