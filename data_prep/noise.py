"""Noise: any tree of recordings (MUSAN, ESC-50 and ESC-10, DEMAND, a folder of one's own); the folder says the kind.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
D. Snyder, G. Chen, D. Povey, "MUSAN: A Music, Speech, and Noise Corpus", 2015. https://www.openslr.org/17
"""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, file_key, folder, write_manifest
from data_prep.download import Archive, download

REMEDY = "give a folder that holds noise recordings (a folder a kind)"
MUSAN = Archive("https://www.openslr.org/resources/17/musan.tar.gz", "md5:0c472d4fc0c5141eca47ad1ffeb2a7df")
# GitHub packs it on demand and gives neither digest nor size; the archive's own CRCs are checked in unpacking.
ESC50 = Archive("https://github.com/karolpiczak/ESC-50/archive/refs/heads/master.zip")
# ESC-50 is "1-100032-A-0", ESC-10 "1-100032-A": the fold, the freesound clip, the take, the class.
ESC_NAME = re.compile(r"(\d)-\d+-[A-Z](-\d+)?")


def download_musan(target_dir: str | Path) -> Path:
    """Fetch and unpack MUSAN (11 GB: noise, music and speech); give its folder.

    Only its `noise/` is without speech and music.

    Raises:
        WakewordError: see `download.download`.
    """
    return download(MUSAN, Path(target_dir), "musan")


def download_esc50(target_dir: str | Path) -> Path:
    """Fetch and unpack ESC-50 (0.6 GB); give the folder of its recordings.

    Raises:
        WakewordError: see `download.download`.
    """
    return download(ESC50, Path(target_dir), "ESC-50-master") / "audio"


def prepare_noise(
    src: str | Path,
    out: str | Path,
    name: str = "noise",
    licence: str = "unknown",
    test_fold: int = 4,
    piece_s: float = 30.0,
) -> Prepared:
    """Every recording below `src`, in pieces of `piece_s` seconds, without supervision.

    `custom["kind"]` is the folder, `custom["fold"]` the fold of a file named as ESC names them; the split is test for
    `test_fold` and train for everything else. A piece's cut id begins with its recording's.

    Raises:
        ManifestError: no audio below `src`.
    """
    src = folder(src, REMEDY)
    utterances = []
    for path in audio_files(src):
        custom: dict[str, str | int] = {"split": "train", "kind": path.parent.name}
        if match := ESC_NAME.fullmatch(path.stem):
            fold = int(match[1])
            custom |= {"fold": fold, "split": "test" if fold == test_fold else "train"}
        utterances.append(Utterance(file_key(path, src), path, custom=custom, speech=False))
    return write_manifest(name, utterances, out, licence, src, piece_s=piece_s)
