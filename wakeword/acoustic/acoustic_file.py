"""The file of an acoustic model: encoder and CTC layer, and the card that says on what they were trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from wakeword.acoustic import tokens
from wakeword.acoustic.encoder import AcousticModel, EncoderSizes
from wakeword.errors import ConfigError, ModelError
from wakeword.features.log_mel import FeatureSettings
from wakeword.files import check_writable, replacing
from wakeword.model import checkpoint
from wakeword.settings import from_dict

PARAMETERS_ARE = "the encoder's alone, without the CTC layer's"


def check_place(path: Path) -> None:
    """Refuse now a place where `save_acoustic` could not write the model and its card: before hours of work.

    Raises:
        ConfigError: the card would go where the model does.
        WakewordError: one of the two cannot be written.
    """
    card = path.with_suffix(".json")
    if path.name.lower() == card.name.lower():
        raise ConfigError(f"output = '{path}': the model's card is the .json file: let it end in .safetensors")
    for file in (path, card):
        check_writable(file)


def save_acoustic(
    path: Path, model: AcousticModel, features: FeatureSettings, card: dict, units: str = "characters"
) -> None:
    """Encoder and CTC layer in 16 bits, without the layer towards the teacher; the card inside, and beside as JSON.

    Raises:
        WakewordError: as `check_place`.
    """
    check_place(path)
    card = {
        **card,
        "parameters": sum(parameter.numel() for parameter in model.encoder.parameters()),
        "parameters_are": PARAMETERS_ARE,
        "receptive_field_s": round(model.encoder.receptive_field_s(features), 3),
        "look_ahead_s": 0.0,
        "units": units,
    }
    meta = {
        "sizes": dataclasses.asdict(model.encoder.sizes),
        "features": dataclasses.asdict(features),
        "tokens": list(tokens.UNITS[units]),
        "card": card,
    }
    tensors = {name: t for name, t in model.state_dict().items() if not name.startswith("teacher.")}
    tensors = {name: t.half() if t.is_floating_point() and t.dim() > 1 else t for name, t in tensors.items()}
    checkpoint.save(path, tensors, "acoustic", meta)
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")


def load_acoustic(path: str | Path) -> tuple[AcousticModel, dict]:
    """An acoustic model in eval mode, and its meta.

    Args:
        path: the name of a shipped model (`base`, `micro`) or a file.

    Raises:
        ModelError: no such model, or a foreign, truncated or older file.
    """
    tensors, meta = checkpoint.load(checkpoint.shipped(str(path)), "acoustic")
    try:
        model = AcousticModel(from_dict(EncoderSizes, meta["sizes"], str(path)), len(meta["tokens"]))
        model.load_state_dict(tensors)
    except (RuntimeError, KeyError, TypeError, ValueError, ConfigError) as error:
        raise ModelError(f"{path}: its weights do not fit its sizes: it is damaged") from error
    return model.eval(), meta
