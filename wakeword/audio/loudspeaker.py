"""Audio out: a clip to the loudspeaker."""

from __future__ import annotations

import numpy as np
import soxr

from wakeword.audio.input_devices import list_devices
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import WakewordError


def play(samples: np.ndarray) -> None:
    """Play float32 [samples], 16 kHz, and wait for the end.

    Raises:
        WakewordError: no PortAudio, or no loudspeaker takes it.
    """
    list_devices()  # says what is missing if the import below would fail
    import sounddevice

    try:
        # Not every device takes 16 kHz.
        rate = sounddevice.query_devices(kind="output")["default_samplerate"]
        sounddevice.play(soxr.resample(samples, SAMPLE_RATE, rate), rate)
        sounddevice.wait()
    except (sounddevice.PortAudioError, ValueError) as error:
        raise WakewordError(f"it cannot be played ({error}): connect a loudspeaker") from error
