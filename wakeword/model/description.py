"""What of a model's meta a detector goes by, checked: what a file or folder says of itself may be damaged."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from wakeword.errors import ConfigError
from wakeword.features.log_mel import FeatureSettings
from wakeword.model.curve import checked_threshold
from wakeword.settings import known


def check_line(phrase: str) -> None:
    """Refuse a phrase that would not be shown as it is, on one line: a terminal obeys control characters.

    Raises:
        ConfigError: it has one, or a line's end.
    """
    if any(unicodedata.category(letter) in ("Cc", "Zl", "Zp") for letter in phrase):
        raise ConfigError(f"phrase {ascii(phrase)}: must be one line of text without control characters")


@dataclass(frozen=True)
class Phrase:
    """A phrase's entry."""

    phrase: str
    threshold: float
    calibration: dict | None = None

    def __post_init__(self):
        check_line(self.phrase)
        checked_threshold(self.threshold)


@dataclass(frozen=True)
class Description:
    """All of it; `phrases` as they stand there."""

    phrases: tuple[dict, ...]
    refractory_s: float
    smoothing_frames: int
    features: FeatureSettings

    def __post_init__(self):
        if self.smoothing_frames < 1:
            raise ConfigError(f"smoothing_frames = {self.smoothing_frames}: must be 1 or more")
        if not self.phrases:
            raise ConfigError("phrases is empty: there must be one at least")


def described(meta: dict) -> tuple[Description, list[Phrase]]:
    """The description in a model's meta, and its phrases.

    Raises:
        ConfigError: an entry is missing, or has a value that cannot be.
    """
    said = known(Description, meta, "its description")
    return said, [known(Phrase, each, "its description: phrases") for each in said.phrases]
