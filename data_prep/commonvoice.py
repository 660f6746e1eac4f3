"""Mozilla Common Voice: sentences read by volunteers, `validated.tsv` beside `clips/`; also kept as `validated.csv`.

R. Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020.
https://commonvoice.mozilla.org/datasets gives the archives only to those who accept its terms with an e-mail address
or an account, so there is no download here.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, first_place, folder, write_manifest
from data_prep.listings import table
from wakeword.errors import ManifestError

LICENCE = "CC0 1.0"
REMEDY = "give a language's folder of a Common Voice release (validated.tsv and clips/), or the folder of such folders"
COLUMNS = ("client_id", "path", "sentence")


def prepare_commonvoice(
    src: str | Path, out: str | Path, name: str = "commonvoice", languages: list[str] | None = None
) -> Prepared:
    """The validated clips of one language or of many.

    `split` is the release's own where train.tsv, dev.tsv and test.tsv are there, and train otherwise. `client_id` is
    one for all releases up to its renewal, so the speakers are named `commonvoice-...` whatever `name` is.

    Args:
        languages: keep only these (as the column `locale` or, without it, the folder has them); all if None.

    Raises:
        ManifestError: no validated.tsv or validated.csv, a column is missing, or a row is malformed.
    """
    src = folder(src, REMEDY)
    listings = [
        p for kind in ("tsv", "csv") for p in (src / f"validated.{kind}", *sorted(src.glob(f"*/validated.{kind}")))
    ]
    listings = [p for p in listings if p.is_file()]
    if not listings:
        raise ManifestError(f"{src}: no validated.tsv or validated.csv in it or its folders: {REMEDY}")
    utterances = []
    for listing in listings:
        splits = _splits(listing)
        for row in table(listing, COLUMNS, REMEDY, delimiter="\t" if listing.suffix == ".tsv" else ","):
            language = row.get("locale") or listing.parent.name
            if languages and language not in languages:
                continue
            # Later releases name the column "accents".
            accent = row.get("accent") or row.get("accents")
            told = {"age": row.get("age"), "accent": accent}
            utterances.append(
                Utterance(
                    id=Path(row["path"]).stem,
                    path=first_place([listing.parent / inside / row["path"] for inside in ("clips", "data", "")]),
                    text=row["sentence"],
                    speaker=f"commonvoice-{row['client_id']}" if row["client_id"].strip() else None,
                    language=language,
                    gender=row.get("gender"),
                    custom={"split": splits.get(row["path"], "train"), **{k: v for k, v in told.items() if v}},
                )
            )
    if languages and not utterances:
        raise ManifestError(f"{src}: no clip in {', '.join(languages)}: name languages that the listing has")
    return write_manifest(name, utterances, out, LICENCE, src)


def _splits(listing: Path) -> dict[str, str]:
    """Clip to split, from the release's own lists beside the listing (none in samples)."""
    delimiter = "\t" if listing.suffix == ".tsv" else ","
    found = {}
    for split in ("train", "dev", "test"):
        part = listing.with_name(f"{split}{listing.suffix}")
        if part.is_file():
            found.update({row["path"]: split for row in table(part, ("path",), REMEDY, delimiter)})
    return found
