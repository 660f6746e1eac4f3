"""The trained model that an export is made of, checked: what it says of itself goes where nobody checks it again."""

from __future__ import annotations

from pathlib import Path

import torch

from wakeword.description import described
from wakeword.errors import ConfigError, ModelError
from wakeword.head import WakeModel
from wakeword.transfer import load_wakeword


def load_source(path: str | Path) -> tuple[WakeModel, dict]:
    """A trained model in eval mode, and its meta, as `transfer.load_wakeword`.

    Raises:
        ModelError: as there; or its description is not one that a detector can go by, or a weight is no finite number.
    """
    model, meta = load_wakeword(path)
    try:
        said, _ = described(meta)
        if said.features.mels != model.encoder.sizes.mels:
            raise ConfigError(f"features of {said.features.mels} bands, weights for {model.encoder.sizes.mels}")
    except ConfigError as error:
        raise ModelError(f"{path}: {error}: damaged, or made by another version: train it again") from error
    if not all(bool(torch.isfinite(each).all()) for each in model.state_dict().values()):
        raise ModelError(f"{path}: not all of its weights are finite numbers: train it again")
    return model, meta
