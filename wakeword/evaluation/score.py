"""Scores of recordings: what `wakeword score` writes and evaluation counts."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from wakeword.audio.clips import Clip, clip_blocks
from wakeword.detector.detector import Detector


def score_clip(
    detector: Detector, clip: Clip, warn: Callable[[str], None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """A recording from its start, as a fresh stream: `time_s` float64 `[frames]`, `score` float32 `[frames, phrases]`.

    It is read by `clip_blocks`. A silent or clipped recording is scored as any; `warn` is told of that.

    Raises:
        AudioError: it cannot be read.
    """
    detector.reset()
    found = [detector.scores(block) for block in clip_blocks(clip, warn)]
    return np.concatenate([time_s for time_s, _ in found]), np.concatenate([score for _, score in found])
