"""What an acoustic model hears: the greedy CTC text of a recording, with the time of each word."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wakeword.acoustic.acoustic_file import load_acoustic
from wakeword.acoustic.encoder import AcousticModel
from wakeword.acoustic.tokens import BLANK
from wakeword.audio.clips import Clip, clip_blocks
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.features import log_mel
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings
from wakeword.settings import from_dict

PIECE_FRAMES = 50
SILENCE_AFTER_S = 0.24
"""Silence put behind a recording's end: letters come out late. 20 recordings cut off in mid-speech gained letters in
10 cases of `base` with 0.16 s and in none with more; of `micro` in 6 cases, and in 4 with 0.24 s."""


@dataclass(frozen=True)
class Word:
    """A word as the model spells it (phones: `K-AE-T`), and the seconds from its first frame to its last one's end.

    A frame counts as the 40 ms of audio that complete it. CTC (Graves et al. 2006) does not tie a letter to the moment
    of its sound: in 52 clips of "computer", the first letter that `base` heard began 0.27 s (median) after the word
    did, and the last one ended 0.18 s after it.
    """

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Transcript:
    """The words of a recording of `seconds` seconds."""

    words: tuple[Word, ...]
    seconds: float

    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.words)


class Hearing:
    """An acoustic model that reads whole recordings; load it once for many.

    Args:
        acoustic: the name of a shipped model (`base`, `micro`) or a file.

    Raises:
        ModelError: no such model, or a foreign, truncated or older file.
    """

    def __init__(self, acoustic: str | os.PathLike = "base"):
        self.model, meta = load_acoustic(acoustic)
        self.settings = from_dict(FeatureSettings, meta["features"], str(acoustic))
        self.symbols: list[str] = meta["tokens"]

    def transcribe(self, audio: Clip | str | os.PathLike, warn: Callable[[str], None] | None = None) -> Transcript:
        """A recording from its start; `warn` is told if it is silent or clipped.

        Memory does not grow with the length of a whole file.

        Raises:
            AudioError: it cannot be read.
        """
        clip = audio if isinstance(audio, Clip) else Clip(Path(audio))
        return self.hear(clip_blocks(clip, warn))

    def hear(self, blocks: Iterable[np.ndarray]) -> Transcript:
        """Blocks of one stream, float32 `[samples]` at 16 kHz, of any sizes: the sizes do not change the result."""
        heard = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal heard
            for block in blocks:
                heard += len(block)
                yield block
            yield np.zeros(round(SILENCE_AFTER_S * SAMPLE_RATE), np.float32)

        words = list(timed_words(best_path(self.model, self.settings, counted()), self.symbols, self.settings.frame_s))
        seconds = heard / SAMPLE_RATE
        # What came out in the silence behind the end belongs to the end.
        found = [Word(word.text, min(word.start_s, seconds), min(word.end_s, seconds)) for word in words]
        return Transcript(tuple(found), seconds)


def transcribe(audio: Clip | str | os.PathLike, acoustic: str | os.PathLike = "base") -> Transcript:
    """The greedy CTC text of one recording, with times; `Hearing` is the same for many.

    Raises:
        ModelError: no such acoustic model. AudioError: the recording cannot be read.
    """
    return Hearing(acoustic).transcribe(audio)


def best_path(model: AcousticModel, settings: FeatureSettings, blocks: Iterable[np.ndarray]) -> Iterator[int]:
    """The likeliest token of each encoder frame, blank included, of a stream in blocks of any sizes.

    The model hears pieces of one fixed size whatever the blocks are, so that not even the rounding of its sums depends
    on them. Only a piece and the two states (features, encoder) are held.
    """
    heard, state = log_mel.initial_state(settings), model.encoder.initial_state()
    for piece in _pieces(blocks, settings.hop * FRAMES_PER_STEP, PIECE_FRAMES):
        frames, heard = log_mel.step(piece, heard, settings)
        with torch.inference_mode():
            outputs, state = model.encoder.step(torch.from_numpy(frames)[None], state)
            ids = model.ctc(outputs[-1])[0].argmax(dim=-1)
        yield from ids.tolist()


def _pieces(blocks: Iterable[np.ndarray], frame: int, frames: int) -> Iterator[np.ndarray]:
    """The same samples in pieces of `frames` encoder frames of `frame` samples; at the end, the whole frames left."""
    held = np.zeros(0, np.float32)
    for block in blocks:
        held = np.concatenate([held, block])
        whole = len(held) // (frame * frames) * frame * frames
        yield from held[:whole].reshape(-1, frame * frames)
        held = held[whole:].copy()
    if last := len(held) // frame * frame:
        yield held[:last]


def timed_words(path: Iterable[int], symbols: list[str], frame_s: float) -> Iterator[Word]:
    """The words of a best path as they end: repeats merged, blanks out, parted at spaces. A frame is `frame_s` long."""
    between = "" if all(len(symbol) == 1 for symbol in symbols[BLANK + 1 :]) else "-"  # letters, or phones
    letters, start, end, previous = "", 0, 0, BLANK
    for frame, index in enumerate(path):
        if index == previous and index != BLANK and symbols[index] != " ":
            end = frame + 1  # the same letter, longer
        elif index != BLANK and symbols[index] != " ":
            start = start if letters else frame
            letters, end = letters + between * bool(letters) + symbols[index], frame + 1
        elif index != BLANK and letters:
            yield _word(letters, start, end, frame_s)
            letters = ""
        previous = index
    if letters:
        yield _word(letters, start, end, frame_s)


def _word(letters: str, start: int, end: int, frame_s: float) -> Word:
    return Word(letters, round(start * frame_s, 2), round(end * frame_s, 2))
