"""The input devices that there are, and which of them is meant."""

from __future__ import annotations

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from types import ModuleType
from typing import Any

from wakeword.errors import DeviceError, WakewordError

HANGS_AFTER_S = 15.0
NO_DEVICE = "no microphone: the system has no input device: connect one, or give a file or raw audio"


def list_devices() -> list[dict[str, Any]]:
    """The input devices: `index`, `name`, `channels`, `sample_rate` in Hz, and whether it is the `default`.

    Raises:
        WakewordError: as `sounddevice`.
    """
    sd = sounddevice()
    default = sd.default.device[0]
    return [
        {
            "index": index,
            "name": info["name"],
            "channels": info["max_input_channels"],
            "sample_rate": info["default_samplerate"],
            "default": index == default,
        }
        for index, info in enumerate(sd.query_devices())
        if info["max_input_channels"] > 0
    ]


def choose(wanted: str | int | None, lost: str = "") -> dict[str, Any]:
    """The device of `list_devices` that is wanted: by its number, its name or a part of it; None is the default one.

    `lost`: the name of what was wanted before it was lost. It is looked for first, and nothing by a number: those
    change when devices come and go, the numbers of ALSA's cards within the names too.

    Raises:
        WakewordError: there is none, or no such device.
    """
    devices = list_devices()
    if not devices:
        raise WakewordError(NO_DEVICE)
    if wanted is None:
        return next((each for each in devices if each["default"]), devices[0])
    text = str(wanted)
    if lost:
        ways = [
            lambda each: lost == each["name"],
            lambda each: card_unnumbered(lost) == card_unnumbered(each["name"]),
        ]
    else:
        ways = [lambda each: text == str(each["index"])]
    if not (lost and text.isdecimal()):
        ways += [lambda each: text == each["name"], lambda each: text.lower() in each["name"].lower()]
    for fits in ways:
        if text and (found := [each for each in devices if fits(each)]):
            return found[0]
    known = ", ".join(f"{each['index']} {each['name']}" for each in devices)
    raise WakewordError(f"no microphone '{wanted}': choose one of: {known}")


def card_unnumbered(name: str) -> str:
    """A device's name without the number of its card, which ALSA's end in: 'USB Audio: - (hw:1,0)'."""
    return re.sub(r" *\(hw:[^)]*\)$", "", name)


def sounddevice() -> ModuleType:
    """The package sounddevice. Importing it starts PortAudio.

    Raises:
        WakewordError: it, or the PortAudio library, is missing or does not start. DeviceError: the sound system hangs.
    """
    try:
        return within(HANGS_AFTER_S, _imported)
    except OSError as error:
        raise WakewordError(
            f"the PortAudio library cannot be loaded ({error}): apt install libportaudio2, or your system's package"
        ) from error
    except ImportError as error:
        raise WakewordError(f"the package sounddevice is missing ({error}): pip install sounddevice") from error
    except WakewordError:
        raise
    except Exception as error:  # sounddevice.PortAudioError: importing also starts PortAudio
        raise DeviceError(f"the sound system does not start ({error}): check its configuration") from error


def _imported() -> ModuleType:
    import sounddevice

    return sounddevice


def within(seconds: float, action: Callable[[], Any]) -> Any:
    """What `action` gives, or raises. It may hang in the sound system, where no signal reaches Python: it runs in a
    thread of its own, and is given up on after `seconds`.

    Raises:
        DeviceError: it hangs.
    """
    ended: Future = Future()

    def work() -> None:
        try:
            ended.set_result(action())
        except BaseException as error:  # it is the caller's
            ended.set_exception(error)

    with _standard_error_back(ended):
        threading.Thread(target=work, daemon=True).start()
        if not wait([ended], seconds).done:
            raise DeviceError("the sound system hangs: restart it (and this program)")
    return ended.result()


@contextlib.contextmanager
def _standard_error_back(ended: Future) -> Iterator[None]:
    """Where the block ends before what it waits for, standard error is what it was: sounddevice sends it nowhere while
    PortAudio starts, and would leave it there if that hangs."""
    try:
        before = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        yield
    finally:
        if not ended.done():
            os.dup2(before, 2)
        os.close(before)
