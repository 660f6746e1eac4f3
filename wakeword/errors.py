"""What a user's mistake looks like: one line, with the file and the remedy."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from types import ModuleType


class WakewordError(Exception):
    """A mistake in the input or the set-up. The message is one line: where, what is wrong, what to do."""


class AudioError(WakewordError):
    """An audio file that cannot be used."""


class ConfigError(WakewordError):
    """A configuration with an unknown key or a value of the wrong type."""


class DeviceError(WakewordError):
    """A microphone or sound system that is missing or fails. It may come by itself, so who restarts us should."""


class ModelError(WakewordError):
    """A model file that is foreign, truncated or of another version."""


class ManifestError(WakewordError):
    """A manifest that is malformed or empty."""


def require(module: str, extra: str = "train", package: str = "") -> ModuleType:
    """Import an optional module, or name the extra that brings it ('' for what `wakeword` itself brings), or the
    package where no extra is for users.

    Raises:
        WakewordError: the module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise WakewordError(
            f"this needs the package '{module.partition('.')[0]}', which is missing or broken "
            f"({error}): pip install {package or (repr(f'wakeword[{extra}]') if extra else 'wakeword')}"
        ) from error


@dataclass
class Skipped:
    """Files that a batch passed over, with the reason for each."""

    reasons: dict[str, str] = field(default_factory=dict)

    def add(self, path: object, reason: object) -> None:
        self.reasons[str(path)] = str(reason)

    def __len__(self) -> int:
        return len(self.reasons)

    def summary(self, most: int = 3) -> str:
        """One line: how many files were skipped and why the first few were; empty if none was."""
        if not self.reasons:
            return ""
        shown = "; ".join(list(self.reasons.values())[:most])
        more = len(self.reasons) - most
        return f"skipped {len(self.reasons)} file(s): {shown}" + (f"; and {more} more" if more > 0 else "")
