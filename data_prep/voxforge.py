"""VoxForge: sentences read on people's own microphones, a folder a session: `etc/PROMPTS` beside `wav/` or `flac/`.

https://www.voxforge.org, GPL v3: `split` is test throughout, so that nothing which ships is trained on it unawares.
The site has no archive of all sessions, only a page of them, so there is no download here.
"""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.common import Prepared, Utterance, first_place, folder, write_manifest
from data_prep.listings import lines, pairs
from wakeword.errors import ManifestError

LICENCE = "GPL-3.0"
REMEDY = "give a folder of VoxForge sessions (SPEAKER-DATE-ID/etc/PROMPTS)"


def prepare_voxforge(src: str | Path, out: str | Path, name: str = "voxforge", language: str = "en") -> Prepared:
    """Every session below `src`. A speaker is a user name; each session of "anonymous" counts as one of its own.

    Raises:
        ManifestError: no session below `src`, or a malformed PROMPTS line.
    """
    src = folder(src, REMEDY)
    prompts = sorted(src.glob("*/etc/PROMPTS"))
    if not prompts:
        raise ManifestError(f"{src}: no SESSION/etc/PROMPTS below it: {REMEDY}")
    utterances = []
    for listing in prompts:
        session = listing.parent.parent
        user = re.sub(r"-\d{6,8}.*", "", session.name)
        told = _readme(listing.with_name("README"))
        extra = {"age": told.get("age range"), "accent": told.get("pronunciation dialect")}
        for key, text in pairs(listing, REMEDY):
            # PROMPTS points into folders of its own making ("SESSION/mfc/a0502"); only the last part is a file here.
            stem = key.replace("*", "").rsplit("/", 1)[-1]
            places = [session / kind / stem for kind in ("wav", "flac")]
            utterances.append(
                Utterance(
                    id=f"{session.name}-{stem}",
                    path=first_place(places),
                    text=text,
                    speaker=f"voxforge-{session.name if user.lower() == 'anonymous' else user}",
                    language=language,
                    gender=told.get("gender"),
                    custom={"split": "test", **{k: v for k, v in extra.items() if v}},
                )
            )
    return write_manifest(name, utterances, out, LICENCE, src)


def _readme(path: Path) -> dict[str, str]:
    """The `Key: value` lines of a session's README, keys in lower case; a session may have none."""
    if not path.is_file():
        return {}
    split = (line.partition(":") for line in lines(path, REMEDY))
    found = {key.strip().lower(): value.strip(" \t;[]") for key, _, value in split}
    return {k: v for k, v in found.items() if v.lower() not in ("", "n/a", "unknown", "please select")}
