"""Speech Commands: one-second words, a folder a word, `WORD/SPEAKER_nohash_N.wav`, and background noise.

P. Warden, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", 2018, arXiv:1804.03209.
"""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, folder, write_manifest
from data_prep.download import Archive, download
from data_prep.listings import lines
from wakeword.errors import ManifestError

LICENCE = "CC BY 4.0"
REMEDY = "give the folder of Speech Commands v2 as published (WORD/*.wav, testing_list.txt, validation_list.txt)"
BACKGROUND = "_background_noise_"
ARCHIVE = Archive(
    "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
)


def download_speech_commands(target_dir: str | Path) -> Path:
    """Fetch and unpack version 0.02 (2.3 GB) into `target_dir/speech_commands_v0.02`; give that folder.

    Raises:
        WakewordError: see `download.download`.
    """
    return download(ARCHIVE, Path(target_dir) / "speech_commands_v0.02")


def prepare_speech_commands(src: str | Path, out: str | Path, name: str = "speech-commands") -> Prepared:
    """All words, with the publisher's split (its validation list is `dev`).

    The recordings of `_background_noise_` become cuts of 30 s without supervision, `custom["kind"]` "background".

    Raises:
        ManifestError: a list is missing or names no such word folder, or there is no word.
    """
    src = folder(src, REMEDY)
    splits = {}
    for split, listing in (("test", "testing_list.txt"), ("dev", "validation_list.txt")):
        for line in lines(src / listing, REMEDY):
            entry = Path(line.strip())
            if len(entry.parts) != 2 or not (src / entry.parts[0]).is_dir():
                raise ManifestError(f"{src / listing}: {line.strip()[:60]!r} is not WORD/FILE of a word here: {REMEDY}")
            splits[entry.with_suffix("").as_posix()] = split
    utterances = []
    for path in audio_files(src):
        inside = path.relative_to(src).with_suffix("")
        if len(inside.parts) != 2:
            continue
        word, stem = inside.parts
        key = f"{word.strip('_')}-{stem}"
        if word == BACKGROUND:
            utterances.append(Utterance(key, path, custom={"split": "train", "kind": "background"}, speech=False))
            continue
        speaker = stem.partition("_nohash_")[0]
        told = {"split": splits.get(inside.as_posix(), "train")}
        utterances.append(Utterance(key, path, word, f"speech-commands-{speaker}", "en", None, told))
    return write_manifest(name, utterances, out, LICENCE, src, piece_s=30.0)
