"""Scores of recordings: what `wakeword score` writes and evaluation counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wakeword.audio import file_blocks, read_audio, told_of_faults
from wakeword.clips import Clip
from wakeword.detector import Detector


def score_clip(
    detector: Detector, clip: Clip, warn: Callable[[str], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A recording from its start, as a fresh stream: `time_s` float64 and `score` float32, both `[frames]`.

    Whole files are read in blocks, so that an hour needs no more memory than a minute. A silent or clipped recording
    is scored as any; `warn` is told of that.

    Raises:
        AudioError: it cannot be read.
    """
    detector.reset()
    whole = clip.start_s == 0 and clip.duration_s is None
    blocks = file_blocks(clip.path, 32000) if whole else [read_audio(clip.path, clip.start_s, clip.duration_s)]
    blocks = blocks if warn is None else told_of_faults(blocks, warn)
    found = [detector.scores(block) for block in blocks]
    return np.concatenate([time_s for time_s, _ in found]), np.concatenate([score for _, score in found])
