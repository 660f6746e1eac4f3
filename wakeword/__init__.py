"""wakeword: train, run and ship wake-word detectors from about an hour of clips."""

from wakeword._version import __version__
from wakeword.errors import WakewordError

__all__ = ["Detector", "Hit", "WakewordError", "__version__"]


def __getattr__(name: str):
    # Imported on first use, so that preparing data does not load the inference runtime.
    if name in ("Detector", "Hit"):
        from wakeword import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'wakeword' has no attribute '{name}'")
