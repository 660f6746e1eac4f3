"""What the entries of a manifest's line must be; what is wrong is told with the line."""

from __future__ import annotations

import math
from typing import Any

from wakeword.errors import ManifestError


def typed(table: dict, name: str, kind: type, place: str) -> Any:
    """An entry of a table, if it is of that type.

    Raises:
        ManifestError: it is missing, or of another; `place` says where.
    """
    if not isinstance(table.get(name), kind):
        raise ManifestError(f"{place}: '{name}' is missing or not a {kind.__name__}: make the manifest again")
    return table[name]


def seconds(value: Any, name: str, place: str, least: float) -> float:
    """A time in seconds.

    Raises:
        ManifestError: it is no finite number of at least `least`; `name` and `place` say what and where.
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e9
    if not number or not math.isfinite(value) or value < least:
        raise ManifestError(f"{place}: '{name}' is no time in seconds: make the manifest again")
    return float(value)


def check_cut(cut, place: str) -> None:
    """Refuse a lhotse cut without a recording, or with a time or a text that is none: lhotse itself takes any type.

    Raises:
        ManifestError: it is such a one.
    """
    if cut.recording is None:
        raise ManifestError(f"{place}: 'recording' is missing: make the manifest again")
    seconds(cut.start, "start", place, least=0.0)
    seconds(cut.duration, "duration", place, least=1e-4)
    _texts(place, id=cut.id, recording=cut.recording.id)
    for said in cut.supervisions:
        _texts(place, text=said.text, speaker=said.speaker, language=said.language)
    if cut.custom:
        _texts(place, **{name: cut.custom.get(name) for name in ("corpus", "licence", "split")})


def _texts(place: str, **values: Any) -> None:
    for name, value in values.items():
        if value is not None and not isinstance(value, str):
            kind = type(value).__name__
            raise ManifestError(f"{place}: '{name}' is of type {kind}, not text: make the manifest again")
