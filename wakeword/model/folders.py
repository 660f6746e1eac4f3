"""What exported folders (C, ESPHome, web) say of themselves: their `model.json`, with the model's meta in it."""

from __future__ import annotations

import json
from pathlib import Path

from wakeword.errors import ConfigError, ModelError
from wakeword.files import replacing
from wakeword.model.checkpoint import checked
from wakeword.model.description import described

ABOUT = "model.json"


def is_folder(path: str | Path) -> bool:
    """Whether a path is a folder that describes itself as exported ones do."""
    return (Path(path) / ABOUT).is_file()


def read_folder(folder: str | Path) -> dict:
    """What a folder's `model.json` holds; `meta` in it is the model's.

    Raises:
        ModelError: it is none, or a damaged one.
    """
    try:
        told = json.loads((Path(folder) / ABOUT).read_text(encoding="utf-8"))
        described(checked(folder, told["meta"], "wakeword"))
    except (OSError, ValueError, RecursionError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: not a folder that 'wakeword export' wrote, or a damaged one: export it again"
        ) from error
    except ConfigError as error:
        raise ModelError(f"{Path(folder) / ABOUT}: {error}: damaged: export it again") from error
    return told


def rewrite_folder_meta(folder: str | Path, changes: dict) -> None:
    """Change entries of the meta in a folder's `model.json`; no other file is touched.

    C code and ESPHome's manifest have thresholds of their own, which stay.

    Raises:
        ModelError: not an exported folder. WakewordError: it cannot be written.
    """
    told = read_folder(folder)
    told["meta"] = {**told["meta"], **changes}
    with replacing(Path(folder) / ABOUT) as temporary:
        temporary.write_text(json.dumps(told, indent=1), encoding="utf-8")
