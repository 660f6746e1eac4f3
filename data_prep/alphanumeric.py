"""Alphanumeric audio: a name, a telephone number and an address by each of 70 people of many accents.

https://github.com/Sakshee5/alphanumeric-audio-dataset. One row of `metadata.csv` a recording; a row holds all three
texts, and the recording's folder (Names, Numbers, Addresses) says which one is spoken.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, folder, write_manifest
from data_prep.listings import table
from wakeword.errors import ManifestError

LICENCE = "MIT"
REMEDY = "give the folder with metadata.csv and audio_data/ as published"
COLUMNS = ("Response_ID", "file_name", "Age", "Gender", "Native Language", "Name", "Number", "Address")
KINDS = {"Names": "Name", "Numbers": "Number", "Addresses": "Address"}


def prepare_alphanumeric(src: str | Path, out: str | Path, name: str = "alphanumeric") -> Prepared:
    """All recordings. `custom["kind"]` is name, number or address.

    The text is as published: names are *spelt* letter by letter and numbers read digit by digit in the recordings,
    while the table has "Saffron Robles" and "8885112931": expand them before training on them.

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
                text=row[kind],
                speaker=f"alphanumeric-{row['Response_ID']}",
                language="en",
                gender=row["Gender"],
                custom={"split": "train", "kind": kind.lower(), "age": row["Age"], "accent": row["Native Language"]},
            )
        )
    return write_manifest(name, utterances, out, LICENCE, src)
