"""A microphone as 16 kHz blocks: capturing, and its loss and return."""

from __future__ import annotations

import contextlib
import logging
import queue
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from wakeword.audio.input_devices import HANGS_AFTER_S, card_unnumbered, choose, sounddevice, within
from wakeword.audio.input_faults import SUSPENDED_S, InputFaults, suspended_s
from wakeword.audio.ring import Ring
from wakeword.audio.waveform import SAMPLE_RATE, StreamResampler
from wakeword.errors import DeviceError, WakewordError

BLOCK_S = 0.08
GATHERED_S = 0.32
"""How long blocks wait, to be heard together, while detectors rest (a gate is shut): to wake up costs more CPU time
than to hear a block. A phrase is known later after it has opened the gate (benchmarks/gate.py), so hits hardly wait."""
HELD_S = 10.0
LOST_AFTER_S = 3.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 10.0
STEADY_S = 5.0
"""How much sound a microphone must give until it is back: one with a loose contact comes and goes."""

_log = logging.getLogger("wakeword")


@dataclass
class Capture:
    """What a microphone has been through: blocks dropped, times that its sound ended, when its newest block came in."""

    overruns: int = 0
    losses: int = 0
    arrived_s: float | None = None
    """By `time.monotonic`; of the block that was yielded last."""
    resting: bool = False
    """Set by who hears, after a block: nothing is lost if the next ones come late, together (see `GATHERED_S`)."""


def microphone_blocks(
    device: str | int | None = None,
    on_status: Callable[[str], None] | None = None,
    capture: Capture | None = None,
) -> Iterator[np.ndarray | None]:
    """Yield what a microphone hears as float32 [samples] blocks, 16 kHz mono, for ever.

    A microphone that vanishes is waited for, longer with each attempt up to 10 s; None is yielded before the first
    block of each that succeeds, and after the machine has slept. That it is back is told, and the waits are short
    again, once it has given sound for `STEADY_S`. PortAudio is started anew for each attempt (only then does it list
    devices), which ends other PortAudio streams of the process. `capture` is kept up to date.

    Raises:
        DeviceError: at the start, that there is no such device or it gives no sound; at any time, that the sound system
            hangs.
    """
    sd = sounddevice()
    tell, capture = on_status or _log.warning, capture or Capture()
    name = lost = ""
    wait_s = FIRST_WAIT_S
    while True:
        heard_s, info = 0.0, None
        try:
            info = choose(device, name)
            for block in _captured(sd, info, tell, capture):
                if name and not heard_s:
                    yield None
                name = info["name"]
                heard_s += 0 if block is None else len(block) / SAMPLE_RATE
                if heard_s >= STEADY_S:
                    if lost:
                        same = card_unnumbered(name) == card_unnumbered(lost)
                        tell(f"microphone '{name}' is back" if same else f"listening on '{name}' now")
                    lost, wait_s = "", FIRST_WAIT_S
                yield block
        except (WakewordError, sd.PortAudioError) as error:
            if not name:
                raise DeviceError(_opening_failed(error, info)) from error
            if heard_s:
                capture.losses += 1
            if not lost:
                tell(f"microphone '{name}' is lost ({error}): waiting for it to come back")
                lost = name
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        within(HANGS_AFTER_S, lambda: _restart(sd))


def _opening_failed(error: Exception, info: dict[str, Any] | None) -> str:
    if info is None or isinstance(error, DeviceError):
        return str(error)
    if isinstance(error, WakewordError):
        return f"microphone '{info['name']}' opens, but {error}: connect it anew, or choose another with --device"
    return (
        f"microphone '{info['name']}' cannot be opened ({error}): another program may hold it; close that or choose "
        "another device"
    )


def _open(sd: ModuleType, info: dict[str, Any], callback: Callable) -> Any:
    """Open a stream with the device's own rate and channels.

    Sound servers offer 32 and more channels that exist only on demand: of more than two, fewer are tried first.
    """
    most = info["channels"]
    counts = [most] if most <= 2 else [1, 2, most]
    for channels in counts:
        try:
            return sd.RawInputStream(
                device=info["index"],
                channels=channels,
                samplerate=info["sample_rate"],
                blocksize=round(BLOCK_S * info["sample_rate"]),
                dtype="float32",
                callback=callback,
            )
        except sd.PortAudioError:
            if channels == counts[-1]:
                raise
    raise AssertionError("unreachable")


def _captured(
    sd: ModuleType, info: dict[str, Any], tell: Callable[[str], None], capture: Capture
) -> Iterator[np.ndarray | None]:
    """Yield resampled blocks, None after a sleep, until the device fails: then raise WakewordError, PortAudioError."""
    ring: Ring | None = None
    overflows = 0

    def callback(block: memoryview, frames: int, when: object, status: Any) -> None:
        nonlocal overflows
        ring.put(block)
        if status.input_overflow:
            overflows += 1

    stream = within(HANGS_AFTER_S, lambda: _open(sd, info, callback))
    before, slept_s, capture.resting = capture.overruns, suspended_s(), False
    try:
        slots = round(HELD_S / BLOCK_S)
        ring = Ring(slots, stream.blocksize, stream.channels)
        within(HANGS_AFTER_S, stream.start)
        resampler = StreamResampler(stream.samplerate, stream.channels)
        faults = InputFaults(tell, info["name"])
        last = time.monotonic()
        while True:
            if capture.resting:
                time.sleep(GATHERED_S)  # and not in `get`, where each block would wake us
            try:
                block, capture.arrived_s = ring.get(0.5, most=slots if capture.resting else 1)
            except queue.Empty:
                if not stream.active:
                    raise WakewordError("its stream ended") from None
                if time.monotonic() - last > LOST_AFTER_S:
                    raise WakewordError(f"no sound from it for {LOST_AFTER_S:g} s") from None
                continue
            last = time.monotonic()
            if (asleep_s := suspended_s() - slept_s) > SUSPENDED_S:
                slept_s += asleep_s
                tell(f"the machine slept for {asleep_s:.0f} s: listening again")
                yield None
            samples = resampler.process(block)
            dropped = ring.overruns + overflows
            capture.overruns = before + dropped
            faults.block(block, dropped, resampler.nonfinite)
            if len(samples):
                yield samples
    finally:
        # A sound server that died can hold a stream's end for ever.
        within(HANGS_AFTER_S, lambda: stream.close(ignore_errors=True))


def _restart(sd: ModuleType) -> None:
    # Either may fail while a sound server is away; the next look for a device then says so.
    for step in (sd._terminate, sd._initialize):
        with contextlib.suppress(sd.PortAudioError):
            step()
