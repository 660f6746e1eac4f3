"""wakeword: train, run and ship wake-word detectors from about an hour of clips."""

import os

# GNU OpenMP's threads, which are torch's, wait for each other in a busy loop of some milliseconds: with another process
# on the same cores, training on two threads is then four times slower than on one. Read when torch is loaded.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from wakeword._version import __version__  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402

__all__ = ["Detector", "Hit", "WakewordError", "__version__"]


def __getattr__(name: str):
    # Imported on first use, so that preparing data does not load the inference runtime.
    if name in ("Detector", "Hit"):
        from wakeword.detector import detector

        return getattr(detector, name)
    raise AttributeError(f"module 'wakeword' has no attribute '{name}'")
