"""Settings as data: TOML and JSON to dataclasses, with one clear line for what does not fit."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

from wakeword.errors import ConfigError, require

MOST_THREADS = 1024
"""Or workers. Far more end torch with a segmentation fault, or the machine."""


def read_toml(path: str | Path) -> dict:
    """A TOML file's tables.

    Raises:
        ConfigError: no such file, or not TOML.
    """
    try:
        import tomllib
    except ModuleNotFoundError:
        tomllib = require("tomli")
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}): check the path") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from error


def from_dict(kind: type, values: dict, where: str):
    """A dataclass from parsed TOML or JSON; dataclasses inside it are made from tables, tuples from lists.

    Raises:
        ConfigError: an unknown key, a missing one, or a value of the wrong type, named with `where`.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"{where}: should be a table, not {values!r}")
    types = typing.get_type_hints(kind)
    unknown = [name for name in values if name not in types]
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}: known are {', '.join(sorted(types))}")
    made = {name: _converted(value, types[name], f"{where}: {name}") for name, value in values.items()}
    try:
        return kind(**made)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except TypeError as error:
        raise ConfigError(f"{where}: {error}".replace("__init__() ", "")) from error


def known(kind: type, said: dict, where: str):
    """As `from_dict`, of those entries of a table that the dataclass has fields for; others may say more."""
    if isinstance(said, dict):
        said = {field.name: said[field.name] for field in dataclasses.fields(kind) if field.name in said}
    return from_dict(kind, said, where)


def _converted(value, wanted, where: str):
    if dataclasses.is_dataclass(wanted):
        return from_dict(wanted, value, where)
    if typing.get_origin(wanted) is tuple:
        if isinstance(value, (list, tuple)):
            item = typing.get_args(wanted)[0]
            return tuple(_converted(entry, item, f"{where}[{index}]") for index, entry in enumerate(value))
    elif isinstance(value, bool):
        if wanted is bool:
            return value
    elif wanted is float:
        if isinstance(value, (int, float)):
            if abs(value) < 1e300:
                return float(value)
            raise ConfigError(f"{where} = {value!r}: should be finite")
    elif isinstance(value, wanted):
        return value
    name = "list" if typing.get_origin(wanted) is tuple else getattr(wanted, "__name__", wanted)
    raise ConfigError(f"{where} = {value!r}: should be of type {name}")
