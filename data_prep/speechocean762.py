"""speechocean762: English read by 250 Mandarin speakers, half of them children. Kaldi lists in train/ and test/.

J. Zhang et al., "speechocean762: An Open-Source Non-native English Speech Corpus For Pronunciation Assessment",
Interspeech 2021. https://www.openslr.org/101
"""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, folder, write_manifest
from data_prep.download import Archive, download
from data_prep.listings import pairs
from wakeword.errors import ManifestError

LICENCE = "free for commercial and other use, with attribution"
# openslr.org gives no digest for it.
ARCHIVE = Archive("https://www.openslr.org/resources/101/speechocean762.tar.gz")
REMEDY = "give the folder speechocean762 as published (train/, test/ and WAVE/)"


def download_speechocean762(target_dir: str | Path) -> Path:
    """Fetch and unpack the corpus (0.5 GB); give its folder.

    Raises:
        WakewordError: see `download.download`.
    """
    return download(ARCHIVE, Path(target_dir), "speechocean762")


def prepare_speechocean762(src: str | Path, out: str | Path, name: str = "speechocean762") -> Prepared:
    """Both lists, with the publisher's own split.

    Raises:
        ManifestError: a list is missing or malformed, or an utterance has no speaker or audio in the lists.
    """
    src = folder(src, REMEDY)
    utterances = []
    for split in ("train", "test"):
        part = src / split
        audio, speakers = dict(pairs(part / "wav.scp", REMEDY)), dict(pairs(part / "utt2spk", REMEDY))
        genders, ages = dict(pairs(part / "spk2gender", REMEDY)), dict(pairs(part / "spk2age", REMEDY))
        for key, text in pairs(part / "text", REMEDY):
            if key not in audio or key not in speakers:
                raise ManifestError(f"{part}: utterance {key} of text is not in wav.scp and utt2spk: {REMEDY}")
            speaker = speakers[key]
            age = {"age": ages[speaker]} if speaker in ages else {}
            utterances.append(
                Utterance(
                    id=key,
                    path=src / audio[key],
                    text=text,
                    speaker=f"speechocean762-{speaker}",
                    language="en",
                    gender=genders.get(speaker),
                    custom={"split": split, "accent": "Mandarin", **age},
                )
            )
    return write_manifest(name, utterances, out, LICENCE, src)
