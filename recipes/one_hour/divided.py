"""What the heads of studies train on, and what they are tested on: clips, speech without the words, and noise.

What is chosen by the test clips, the test noise or the test negatives of run.py could no longer be tested on them. So
studies divide what trains there: two fifths of the clips, half of the speakers of the negatives and a quarter of the
noise recordings are development data.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path

import lhotse
import run as one_hour

from wakeword.audio.clips import Clip, find_clips, for_training, in_pieces, share_of
from wakeword.errors import ManifestError
from wakeword.pretraining.data import Source, read_manifest
from wakeword.pretraining.data import held_out as holds_out
from wakeword.training.material import split_clips, without_phrases

CLIPS = 0.4
"""Of the clips of a word that train elsewhere, the share that tests."""
SPEAKERS = 0.5
"""Of the speakers of the negatives that train elsewhere, where no encoder holds some out."""
NOISE = 0.25
"""Of the noise recordings that train elsewhere."""
NOISES = ("noise-esc10", "noise-speech-commands")
TAKE = re.compile(r"-[A-Z](-\d+)?$")
"""What ESC puts behind the names of pieces of one recording."""


def clips_of(config: one_hour.Config, manifest: str = "") -> dict[str, list[Clip]]:
    """For each word the clips of its manifest, or those of one `manifest` whose transcript is the word.

    Raises:
        ManifestError: a manifest is unusable, or nobody says a word in the one.
    """
    if not manifest:
        return {word: find_clips([one_hour.manifest(config, f"wakewords-{word}")]) for word in config.words}
    path = one_hour.manifest(config, manifest)
    said = find_clips([path])
    found = {word: [clip for clip in said if clip.text == word] for word in config.words}
    for word, clips in found.items():
        if not clips:
            raise ManifestError(f"{path}: no utterance whose transcript is '{word}': choose words that it holds")
    return found


def divide(clips: dict[str, list[Clip]], held_out: float = 0.0) -> dict[str, tuple[list[Clip], list[Clip]]]:
    """For each word its clips to train on, and those to test on, of other speakers where they are named.

    `held_out`: as in `negatives_of`, so that nobody tests with a word whose other speech trains.

    Raises:
        ManifestError: none of a word is left to train on, or to test on.
    """
    found = {word: by_speaker(for_training(each), CLIPS, held_out) for word, each in clips.items()}
    for word, sides in found.items():
        if not all(sides):
            raise ManifestError(f"'{word}': its clips do not divide: record more speakers, or change held_out")
    return found


@cache
def negatives_of(config: one_hour.Config, held_out: float = 0.0) -> tuple[list[Clip], list[Clip]]:
    """Speech without the words: what the heads train on, and what they are tested on, of other speakers.

    Args:
        held_out: the share of the speakers who test, as pretraining holds them out (`data.held_out`), so that neither
            the head nor an encoder that holds out as many has heard them. 0: `SPEAKERS` of them, chosen otherwise.

    Raises:
        ManifestError: nobody is left to train on, or to test on.
    """
    heard = one_hour.chosen(config, config.negatives, Path(config.folder) / "negatives.jsonl.gz")
    unsaid = without_phrases(in_pieces(for_training(find_clips([decoded(heard)]))), config.words)
    training, tests = by_speaker(unsaid, SPEAKERS, held_out)
    if not training or not tests:
        raise ManifestError(f"{heard}: its speakers do not divide: name negatives of more, or change held_out")
    return training, tests


def by_speaker(clips: list[Clip], fraction: float, held_out: float) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and to test on: as `material.split_clips`, or as pretraining divides them (`held_out`).

    By the latter a clip without a speaker trains: nobody can say that no encoder has heard him. Where no clip has one,
    they divide as by the former.
    """
    if not held_out or not any(clip.speaker for clip in clips):
        return split_clips(clips, fraction, seed=0)
    unheard = [bool(clip.speaker) and holds_out(clip.speaker, held_out) for clip in clips]
    return (
        [clip for clip, new in zip(clips, unheard, strict=True) if not new],
        [clip for clip, new in zip(clips, unheard, strict=True) if new],
    )


def training_noise(folder: str | Path) -> str:
    """Where `divide_noise` leaves the manifest of the noise that trains."""
    return str(Path(folder) / "training_noise.jsonl.gz")


def divide_noise(config: one_hour.Config) -> tuple[str, list[Clip]]:
    """The manifest of the noise that heads train with, and the noise that they are tested with.

    Neither is noise that run.py tests with. All pieces of one recording lie on one side, by a hash of its name.

    Raises:
        ManifestError: a manifest is unusable, or there are no two recordings.
    """
    cuts = one_hour.read(config, tuple(map(Source, NOISES)))
    ranked = sorted({source_of(cut) for cut in cuts}, key=share_of)
    if len(ranked) < 2:
        raise ManifestError(f"{one_hour.manifest(config, NOISES[0])}: one recording to train on: two are needed")
    tests = set(ranked[: max(1, round(NOISE * len(ranked)))])
    training, development = training_noise(config.folder), Path(config.folder) / "development_noise.jsonl.gz"
    one_hour.keep(cuts.filter(lambda cut: source_of(cut) not in tests).to_eager(), Path(training))
    one_hour.keep(cuts.filter(lambda cut: source_of(cut) in tests).to_eager(), development)
    return training, find_clips([development])


def source_of(cut) -> str:
    """The name of the recording that a noise was cut from."""
    return TAKE.sub("", cut.recording_id)


def decoded(manifest: str) -> str:
    """The manifest of the same utterances with decoded audio beside it, which many probes read faster."""
    # Its own name for each list of utterances, so that a changed list is decoded anew.
    digest = hashlib.sha256("\n".join(cut.id for cut in read_manifest(manifest)).encode()).hexdigest()[:8]
    path = Path(manifest).with_name(Path(manifest).name.replace(".jsonl", f"_decoded_{digest}.jsonl"))
    if not path.exists():
        kept: lhotse.CutSet = read_manifest(manifest).save_audios(path.with_name(path.name.partition(".")[0]))
        one_hour.keep(kept, path)
    return str(path)
