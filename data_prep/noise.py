"""Noise: any tree of recordings (MUSAN, ESC-50 and ESC-10, DEMAND, a folder of one's own); the folder says the kind.

K. J. Piczak, "ESC: Dataset for Environmental Sound Classification", ACM Multimedia 2015.
D. Snyder, G. Chen, D. Povey, "MUSAN: A Music, Speech, and Noise Corpus", 2015. https://www.openslr.org/17
"""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, folder, write_manifest

REMEDY = "give a folder that holds noise recordings (a folder a kind)"
# ESC-50 is "1-100032-A-0", ESC-10 "1-100032-A": the fold, the freesound clip, the take, the class.
ESC_NAME = re.compile(r"(\d)-\d+-[A-Z](-\d+)?")


def prepare_noise(
    src: str | Path,
    out: str | Path,
    name: str = "noise",
    licence: str = "unknown",
    test_fold: int = 4,
    piece_s: float = 30.0,
) -> Prepared:
    """Every recording below `src`, in pieces of at most `piece_s` seconds, without supervision.

    `custom["kind"]` is the folder, `custom["fold"]` the fold of a file named as ESC names them; the split is test for
    `test_fold` and train for everything else. A piece's cut id begins with its recording's.

    Raises:
        ManifestError: no audio below `src`.
    """
    src = folder(src, REMEDY)
    utterances = []
    for path in audio_files(src):
        inside = path.relative_to(src)
        custom: dict[str, str | int] = {"split": "train", "kind": (src / inside).parent.name}
        if match := ESC_NAME.fullmatch(path.stem):
            fold = int(match[1])
            custom |= {"fold": fold, "split": "test" if fold == test_fold else "train"}
        key = re.sub(r"\W+", "-", inside.with_suffix("").as_posix())
        utterances.append(Utterance(key, path, custom=custom, speech=False))
    return write_manifest(name, utterances, out, licence, src, piece_s=piece_s)
