"""Character error rates of an acoustic model: what its CTC layer reads, greedily, against the transcripts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from wakeword.acoustic import tokens
from wakeword.acoustic.transcribe import Hearing
from wakeword.audio.clips import Clip, read_clips
from wakeword.errors import Skipped, WakewordError, require
from wakeword.evaluation.groups import corpus_of, groups_of
from wakeword.evaluation.streams import mix_at_snr

LEAST_UTTERANCES = 20
"""Groups of speakers with fewer say nothing."""


@dataclass
class Rate:
    """Edits (insertions, deletions, substitutions) and the characters said, over some utterances."""

    utterances: int = 0
    characters: int = 0
    edits: int = 0
    speakers: set[str] = field(default_factory=set)

    def add(self, speaker: str | None, said: str, heard: str) -> None:
        self.utterances += 1
        self.characters += len(said)
        self.edits += require("torchaudio").functional.edit_distance(heard, said)
        self.speakers |= {speaker} - {None}

    def row(self) -> dict:
        """As a card holds it: the rate, and on how much."""
        return {
            "cer": round(self.edits / max(1, self.characters), 4),
            "utterances": self.utterances,
            "characters": self.characters,
            "speakers": len(self.speakers),
        }


def error_rates(
    hearing: Hearing,
    clips: Iterable[Clip],
    noise: np.ndarray | None = None,
    snr_db: float | None = None,
    skipped: Skipped | None = None,
    seed: int = 0,
) -> dict[str, dict]:
    """Character error rates over clips with English transcripts: of `all`, and of groups of speakers that are named.

    Args:
        hearing: the acoustic model.
        noise: float32 `[samples]`, mixed under each clip at `snr_db`, where both are given.
        skipped: gets the clips that cannot be read or spelt.

    Returns:
        A row (`cer`, `utterances`, `characters`, `speakers`) for `all`, for each corpus where there are several, and
        for groups such as `gender: female`.
    """
    if hearing.symbols != list(tokens.SYMBOLS):
        raise WakewordError("this acoustic model does not write characters: the rates are of characters alone")
    skipped = skipped if skipped is not None else Skipped()
    found: dict[str, Rate] = {"all": Rate()}
    for index, (clip, samples) in enumerate(read_clips(clips, skipped, check=False)):
        try:
            said = tokens.normalise(clip.text or "")
        except tokens.TextError as error:
            skipped.add(clip.path, error)
            continue
        if not said:
            continue
        if noise is not None and snr_db is not None and np.any(samples):
            samples = mix_at_snr(samples, noise, snr_db, seed=seed + index)
        heard = hearing.hear([samples]).text
        corpus = f"corpus: {corpus_of(clip)}"
        for name in ["all", corpus, *groups_of(clip)]:
            found.setdefault(name, Rate()).add(clip.speaker, said, heard)
    corpora = [name for name in found if name.startswith("corpus: ")]
    if len(corpora) == 1:
        del found[corpora[0]]
    kept = {name: rate for name, rate in found.items() if name == "all" or rate.utterances >= LEAST_UTTERANCES}
    return {name: kept[name].row() for name in ["all", *sorted(kept.keys() - {"all"})]}
