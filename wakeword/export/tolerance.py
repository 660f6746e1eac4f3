"""How far an exported model of the same arithmetic may lie from the model it was made of, and noise to find out by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from wakeword.errors import WakewordError
from wakeword.features.log_mel import FRAMES_PER_STEP, FeatureSettings

MOST = 1e-4


def refuse_apart(output: Path, difference: float) -> None:
    """Refuse a model whose posteriors differ by more than `MOST`, or by what is no number.

    Raises:
        WakewordError: they do.
    """
    if not difference <= MOST:
        raise WakewordError(f"{output}: the exported model differs by {difference:.1e}: not written")


def noise(settings: FeatureSettings, blocks: int) -> Iterator[np.ndarray]:
    """Noise of changing loudness, float32 `[samples]`, in blocks of one step of the network to nineteen."""
    rng = np.random.default_rng(0)
    for _ in range(blocks):
        count = FRAMES_PER_STEP * settings.hop * int(rng.integers(1, 20))
        yield (10 ** rng.uniform(-4, -0.7) * rng.standard_normal(count)).astype(np.float32)
