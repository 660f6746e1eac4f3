"""Listening: over a (software) sound card, and with a stand-in for PortAudio for faults that no card has on demand."""

from __future__ import annotations

import io
import itertools
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import types
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from pulse import pulse_null_sink

from wakeword.audio import input_faults, microphone
from wakeword.audio.waveform import write_wav
from wakeword.errors import AudioError, WakewordError
from wakeword.listener.listener import hear, list_devices, listen, microphone_blocks, pcm_blocks

ONSETS_S = (0.5, 1.2, 2.5)
LEVEL = 0.4


@dataclass(frozen=True)
class Hit:
    phrase: str
    time_s: float
    score: float


class EnergyDetector:
    """Fires at the first loud 10 ms after 0.2 s of quiet; the score is the RMS of the 100 ms that follow."""

    phrase, threshold, resting = "loud", 0.05, False

    def __init__(self) -> None:
        self.resets = 0
        self.reset()

    def reset(self) -> None:
        self.resets += 1
        self.held, self.frames, self.quiet, self.onset, self.burst = np.zeros(0, np.float32), 0, 0, None, []

    def process(self, samples: np.ndarray) -> list[Hit]:
        assert samples.dtype == np.float32 and samples.ndim == 1
        self.held = np.concatenate([self.held, samples])
        hits = []
        while len(self.held) >= 160:
            power, self.held = float(np.mean(self.held[:160] ** 2)), self.held[160:]
            if power**0.5 > self.threshold and self.onset is None and self.quiet >= 20:
                self.onset = self.frames * 0.01
            elif self.onset is not None:
                self.burst.append(power)
                if len(self.burst) == 10:
                    hits.append(Hit(self.phrase, self.onset, float(np.mean(self.burst)) ** 0.5))
                    self.onset, self.burst = None, []
            self.quiet = 0 if power**0.5 > self.threshold else self.quiet + 1
            self.frames += 1
        return hits


def bursts(rate: int, channels: int = 1) -> np.ndarray:
    """0.2 s tones at ONSETS_S, RMS LEVEL, float32 [samples, channels]."""
    time_s = np.arange(round(3.2 * rate)) / rate
    tone = np.sqrt(2) * LEVEL * np.sin(2 * np.pi * 440 * time_s)
    gate = np.any([(time_s >= onset) & (time_s < onset + 0.2) for onset in ONSETS_S], axis=0)
    return np.repeat((tone * gate).astype(np.float32)[:, None], channels, axis=1)


def check_bursts(hits: list[Hit], first_s: float | None) -> None:
    times = [hit.time_s for hit in hits]
    assert len(times) == len(ONSETS_S), times
    if first_s is not None:
        assert times[0] == pytest.approx(first_s, abs=0.011)
    assert np.diff(times) == pytest.approx(np.diff(ONSETS_S), abs=0.021)
    assert [hit.score for hit in hits] == pytest.approx([LEVEL] * len(ONSETS_S), rel=0.05)


# --- over PulseAudio: a process of its own, since PortAudio lists devices when it starts ---


def record(device: str = "") -> None:
    """What the recording process runs: a JSON line for each hit and each status line."""
    say = lambda **line: print(json.dumps(line), flush=True)  # noqa: E731
    try:
        for hit in listen([EnergyDetector()], device=device or None, on_status=lambda text: say(status=text)):
            say(time_s=hit.time_s, score=hit.score, at=time.time())
    except WakewordError as error:
        say(error=str(error))
        raise SystemExit(2) from None


class Ear:
    """The recording process and what it has said so far."""

    def __init__(self, env: dict[str, str], device: str = "") -> None:
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_listener as t; "
        self.process = subprocess.Popen(
            [sys.executable, "-c", code + f"t.record({device!r})"], env=env, stdout=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[dict] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.lines.put(json.loads(line))

    def next(self, key: str, timeout_s: float = 30.0) -> dict:
        ends = time.monotonic() + timeout_s
        while (left := ends - time.monotonic()) > 0:
            try:
                line = self.lines.get(timeout=min(left, 0.5))
            except queue.Empty:
                assert self.process.poll() is None or self.lines.qsize(), "the recording process ended"
                continue
            assert "error" not in line or key == "error", line
            if key in line and "only zeros" not in line.get("status", ""):
                return line
        raise AssertionError(f"no {key} in {timeout_s} s")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def beeps(tmp_path: Path) -> Path:
    path = tmp_path / "beeps.wav"
    soundfile.write(path, bursts(48000, 2), 48000)
    return path


def play_until_heard(pulse, ear: Ear, path: Path) -> None:
    """The recorder takes a while to open the device: play until it hears."""
    for _ in range(10):
        pulse.play(path)
        try:
            ear.next("time_s", 1.0)
        except AssertionError:
            assert ear.process.poll() is None, "the recording process ended"
            continue
        time.sleep(1.0)
        while not ear.lines.empty():
            ear.lines.get()
        return
    raise AssertionError("the microphone hears nothing")


@pytest.mark.parametrize("device", ["", "PULSE"])
def test_hears_a_file_played_into_the_sound_card(beeps: Path, device: str) -> None:
    with pulse_null_sink() as pulse:
        ear = Ear(pulse.env, device)
        try:
            play_until_heard(pulse, ear, beeps)
            started = time.time()
            player = pulse.play(beeps, wait=False)
            hits = [ear.next("time_s") for _ in ONSETS_S]
            player.communicate(timeout=30)
        finally:
            ear.close()
    check_bursts([Hit("loud", hit["time_s"], hit["score"]) for hit in hits], None)
    # Bursts are told 0.1 s after their onset; paplay takes up to 2 s of buffer before the sink gives them out.
    assert hits[0]["at"] - started < ONSETS_S[0] + 3.0


def test_a_sound_card_that_vanishes_is_reported_once_and_waited_for(beeps: Path) -> None:
    with pulse_null_sink() as pulse:
        ear = Ear(pulse.env)
        try:
            play_until_heard(pulse, ear, beeps)
            before = time.monotonic()
            pulse.stop()
            lost = ear.next("status")["status"]
            assert "is lost" in lost and "\n" not in lost
            assert time.monotonic() - before < 20
            time.sleep(3)
            assert ear.lines.empty(), "reported more than once"
            pulse.start()
            assert "is back" in ear.next("status")["status"]
            play_until_heard(pulse, ear, beeps)
            pulse.play(beeps)
            hits = [ear.next("time_s") for _ in ONSETS_S]
            check_bursts([Hit("loud", hit["time_s"], hit["score"]) for hit in hits], None)
        finally:
            ear.close()


def test_no_sound_card_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    if Path("/proc/asound").exists() or sys.platform != "linux":
        pytest.skip("this machine may have a sound card")
    nowhere = f"unix:{tmp_path}/none"
    env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PULSE_SERVER": nowhere}
    try:
        import sounddevice  # noqa: F401
    except OSError:
        pytest.skip("PortAudio is missing (apt install libportaudio2)")
    ear = Ear(env)
    try:
        error = ear.next("error", 120)["error"]
        assert ear.process.wait(timeout=10) == 2
    finally:
        ear.close()
    assert "no microphone" in error and "connect one" in error and "\n" not in error


# --- files and raw samples ---


@pytest.mark.parametrize(("rate", "channels"), [(16000, 1), (8000, 1), (96000, 2), (44100, 3)])
def test_hears_a_file_of_any_rate(tmp_path: Path, rate: int, channels: int) -> None:
    soundfile.write(tmp_path / "x.wav", bursts(rate, channels), rate)
    check_bursts(list(listen([EnergyDetector()], file=tmp_path / "x.wav")), ONSETS_S[0])


def test_each_detector_gets_everything(tmp_path: Path) -> None:
    write_wav(tmp_path / "x.wav", bursts(16000)[:, 0])
    detectors = [EnergyDetector(), EnergyDetector()]
    hits = list(listen(detectors, file=tmp_path / "x.wav"))
    assert len(hits) == 2 * len(ONSETS_S) and [each.resets for each in detectors] == [2, 2]


def test_a_file_that_is_none_is_an_error() -> None:
    with pytest.raises(AudioError, match="no such file"):
        list(listen([EnergyDetector()], file="nowhere.wav"))


class Trickle(io.RawIOBase):
    """A pipe that gives what it has: `sizes` bytes at a time, in turn."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes = data, itertools.cycle(sizes)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        size = min(next(self.sizes), len(buffer), len(self.data))
        buffer[:size], self.data = self.data[:size], self.data[size:]
        return size


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 5000), min_size=1, max_size=5), st.booleans(), st.booleans())
def test_raw_samples_arrive_whole_however_they_are_cut(sizes: list[int], buffered: bool, odd: bool) -> None:
    samples = np.random.default_rng(0).integers(-32768, 32767, 8000).astype("<i2")
    stream = Trickle(samples.tobytes() + (b"\x01" if odd else b""), sizes)
    blocks = list(pcm_blocks(io.BufferedReader(stream) if buffered else stream))
    assert np.array_equal(np.concatenate(blocks), samples.astype(np.float32) / 32768)


def test_hears_raw_samples() -> None:
    pcm = (bursts(16000)[:, 0] * 32767).astype("<i2").tobytes()
    check_bursts(list(listen([EnergyDetector()], raw=io.BytesIO(pcm))), ONSETS_S[0])


# --- faults that no sound card has on demand: a stand-in for PortAudio ---


class PortAudioError(Exception):
    pass


STEADY = round(microphone.STEADY_S / 0.04)
"""Blocks of `block`, after which a microphone is back."""


class FakeStream:
    def __init__(self, sound, device, channels, samplerate, blocksize, dtype, callback) -> None:
        sound.opened.append((sound.devices[device]["name"], channels))
        if channels not in sound.allowed:
            raise PortAudioError("Invalid number of channels")
        self.channels, self.samplerate, self.active = channels, sound.reported or samplerate, True
        self.blocksize = blocksize
        self.sound, self.callback = sound, callback

    def start(self) -> None:
        """Give the next session's blocks at once, as a driver does after the reader was held up."""
        blocks = next(self.sound.sessions)
        for block in blocks:
            status = types.SimpleNamespace(input_overflow=False)
            self.callback(block.data.cast("B"), len(block), None, status)
        self.active = False

    def close(self, ignore_errors: bool = True) -> None:
        self.sound.closed += 1


class FakeSound(types.ModuleType):
    """Devices, and for each opening of one the blocks that it gives before it fails."""

    def __init__(self, names, sessions, channels=1, allowed=(1, 2), rate=16000.0, reported=None) -> None:
        super().__init__("sounddevice")
        self.reported = reported
        self.PortAudioError, self.opened, self.closed, self.restarts, self.allowed = PortAudioError, [], 0, 0, allowed
        self.devices = [
            {"name": name, "max_input_channels": channels if name != "speaker" else 0, "default_samplerate": rate}
            for name in names
        ]
        self.default = types.SimpleNamespace(device=(-1, -1))
        self.sessions = iter(sessions)

    def query_devices(self):
        return self.devices

    def RawInputStream(self, **given) -> FakeStream:  # noqa: N802
        return FakeStream(self, **given)

    def _terminate(self) -> None:
        raise PortAudioError("not initialized")

    def _initialize(self) -> None:
        self.restarts += 1
        self.devices = self.devices[::-1]


@pytest.fixture
def use(monkeypatch):
    def install(*given, **more) -> FakeSound:
        fake = FakeSound(*given, **more)
        monkeypatch.setitem(sys.modules, "sounddevice", fake)
        monkeypatch.setattr(microphone, "FIRST_WAIT_S", 0.01)
        return fake

    return install


def block(value: float, size: int = 640) -> np.ndarray:
    return np.full(size, value, np.float32)


def test_a_lost_device_is_found_again_by_name_and_the_gap_is_marked(use) -> None:
    fake = use(["speaker", "mic A", "mic B"], [[block(0.1)], [], [block(0.2)] * STEADY, []])
    told: list[str] = []
    blocks = list(itertools.islice(microphone_blocks(2, told.append), 2 + STEADY))
    assert blocks[1] is None and blocks[0][0] == pytest.approx(0.1) and blocks[2][0] == pytest.approx(0.2)
    assert {name for name, _ in fake.opened} == {"mic B"} and fake.restarts == 2
    assert len(told) == 2 and "lost" in told[0] and "back" in told[1]


def renumbered(fake: FakeSound, *names: str, default: int = -1) -> None:
    """From the next attempt on there are other devices."""

    def restart() -> None:
        kinds = {"default_samplerate": 16000.0, "max_input_channels": 1}
        fake.devices = [{"name": name, **kinds} for name in names]
        fake.default.device = (default, -1)

    fake._initialize = restart


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """The seconds that were waited before each attempt, in no time; 20 are too many."""
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        assert len(waited) < 20, "it is not found"

    monkeypatch.setattr(microphone, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    return waited


@pytest.mark.parametrize(
    "wanted, after, found, line",
    [
        ("usb", ["Dock", "USB mic: - (hw:2,0)"], "USB mic: - (hw:2,0)", "microphone 'USB mic: - (hw:2,0)' is back"),
        (1, ["Dock", "USB mic: - (hw:2,0)"], "USB mic: - (hw:2,0)", "microphone 'USB mic: - (hw:2,0)' is back"),
        # Two of a kind: the one in the same place is the one that was heard.
        ("usb", ["USB mic: - (hw:0,0)", "USB mic: - (hw:1,0)"], "USB mic: - (hw:1,0)", "is back"),
        ("usb", ["Dock", "Other USB mic: - (hw:2,0)"], "Other USB mic: - (hw:2,0)", "listening on 'Other USB mic"),
        (None, ["Dock", "Built-in: - (hw:0,0)"], "Built-in: - (hw:0,0)", "listening on 'Built-in: - (hw:0,0)' now"),
    ],
)
def test_what_is_listened_to_after_a_loss_is_the_same_card_or_named(use, waits, wanted, after, found, line) -> None:
    fake = use(["Built-in: - (hw:0,0)", "USB mic: - (hw:1,0)"], [[block(0.1)], [block(0.2)] * STEADY])
    fake.default.device = (1, -1)
    renumbered(fake, *after, default=1)
    told: list[str] = []
    list(itertools.islice(microphone_blocks(wanted, told.append), 2 + STEADY))
    assert [name for name, _ in fake.opened] == ["USB mic: - (hw:1,0)", found]
    assert len(told) == 2 and "'USB mic: - (hw:1,0)' is lost" in told[0] and line in told[1], told


def test_a_device_chosen_by_its_number_is_not_another_one_with_that_number(use, monkeypatch) -> None:
    fake = use(["Built-in", "USB mic"], [[block(0.1)]])
    renumbered(fake, "Dock", "Webcam 1")
    waits = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            renumbered(fake, "Dock", "Webcam 1", "USB mic")
            fake.sessions = iter([[block(0.2)]])

    monkeypatch.setattr(microphone, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    list(itertools.islice(microphone_blocks("1", lambda line: None), 3))
    assert [name for name, _ in fake.opened] == ["USB mic", "USB mic"]


def test_a_loose_contact_is_told_once_and_the_waits_grow(use, waits, monkeypatch) -> None:
    use(["mic"], [*([[block(0.1)]] * 8), [block(0.2)] * STEADY, [block(0.3)]])
    monkeypatch.setattr(microphone, "FIRST_WAIT_S", 0.5)
    told: list[str] = []
    capture = microphone.Capture()
    listening = microphone_blocks(on_status=told.append, capture=capture)
    blocks = list(itertools.islice(listening, 15))
    assert [each is None for each in blocks] == [False, *[True, False] * 7], "all that comes is heard"
    assert len(told) == 1 and "lost" in told[0]
    assert waits == [0.5, 1, 2, 4, 8, 10, 10] and capture.losses == 7
    list(itertools.islice(listening, 1 + STEADY))
    assert len(told) == 2 and "is back" in told[1], "it gave sound for long enough"
    list(itertools.islice(listening, 2))
    assert len(told) == 3 and "lost" in told[2] and waits[-2:] == [10, 0.5]


def test_a_device_that_opens_and_gives_no_sound_is_lost(use, monkeypatch) -> None:
    monkeypatch.setattr(microphone, "LOST_AFTER_S", 0.2)
    # Its stream goes on, as that of a driver which hangs does; not for ever, so that this test ends.
    polls = iter(range(20))
    active = property(lambda self: next(polls, None) is not None, lambda self, value: None)
    monkeypatch.setattr(FakeStream, "active", active, raising=False)
    fake = use(["mic"], [[block(0.1)], [], [block(0.2)] * STEADY])
    told: list[str] = []
    blocks = list(itertools.islice(microphone_blocks(on_status=told.append), 2 + STEADY))
    assert blocks[1] is None and blocks[2][0] == pytest.approx(0.2) and fake.closed >= 2
    assert len(told) == 2 and "no sound from it for 0.2 s" in told[0] and "back" in told[1]
    use(["mic"], [[]])
    with pytest.raises(WakewordError, match="^microphone 'mic' opens, but no sound from it for 0.2 s: connect"):
        next(microphone_blocks())


def test_a_device_with_a_clock_of_its_own_loses_no_block(use) -> None:
    """It takes the rate that it is asked for, and then says that its own is a little less."""
    asked = [block(0.1, 3840)] * 3
    use(["mic"], [asked], rate=48000.0, reported=47990.0)
    capture = microphone.Capture()
    blocks = list(itertools.islice(microphone_blocks(on_status=lambda line: None, capture=capture), 2))
    assert all(len(each) for each in blocks) and capture.overruns == 0


def test_hits_keep_their_time_over_a_gap(use) -> None:
    sound = bursts(16000)[:, 0]
    use(["mic"], [list(sound.reshape(-1, 640)), [block(0.0)], list(sound.reshape(-1, 640))])
    detector = EnergyDetector()
    hits = list(itertools.islice(listen([detector], on_status=lambda text: None), 6))
    check_bursts(hits[:3], ONSETS_S[0])
    check_bursts(hits[3:], 3.2 + 0.04 + ONSETS_S[0])
    assert detector.resets == 4


def test_a_full_buffer_drops_and_counts_and_never_waits(use) -> None:
    most = round(microphone.HELD_S / microphone.BLOCK_S)
    use(["mic"], [[block(0.1)] * (most + 7)])
    told: list[str] = []
    blocks = list(itertools.islice(microphone_blocks(on_status=told.append), most))
    assert len(blocks) == most and "7 block(s) of sound dropped" in told[0]


class Sleeper(EnergyDetector):
    """Rests wherever it has heard nothing for a while."""

    @property
    def resting(self) -> bool:
        return self.quiet >= 20


@pytest.fixture
def naps(monkeypatch) -> list[float]:
    """For how long the microphone's reader slept, each time; it sleeps for no time here."""
    found: list[float] = []
    monkeypatch.setattr(microphone, "time", types.SimpleNamespace(monotonic=time.monotonic, sleep=found.append))
    return found


@pytest.mark.parametrize(
    ("kinds", "sleeps", "pieces"),
    [([EnergyDetector], 0, 80), ([EnergyDetector, Sleeper], 0, 80), ([Sleeper], 1, 6)],
    ids=["none rests", "one of two rests", "all rest"],
)
def test_while_all_detectors_rest_blocks_are_heard_together_and_nothing_else_changes(use, naps, kinds, sleeps, pieces):
    sound = bursts(16000)[:, 0]
    use(["mic"], [list(sound.reshape(-1, 640))])
    heard = []
    for each in hear([kind() for kind in kinds], on_status=lambda text: None):
        heard.append(each)
        if each.time_s > 3.19:
            break
    np.testing.assert_array_equal(np.concatenate([each.samples for each in heard]), sound)
    check_bursts([hit for each in heard for index, hit in each.hits if index == 0], ONSETS_S[0])
    # It rests after five blocks, 0.2 s; the stand-in has given all its blocks by then.
    assert len(heard) == pieces and naps == [microphone.GATHERED_S] * sleeps


def test_detectors_that_rested_hear_each_block_after_a_loss(use, naps):
    use(["mic"], [[block(0.0)] * 20, [block(0.0)] * 20])
    capture = microphone.Capture()
    blocks = hear([Sleeper()], on_status=lambda text: None, capture=capture)
    sizes = [len(next(blocks).samples) // 640 for _ in range(12)]
    assert capture.losses == 1 and sizes == [1] * 5 + [15] + [1] * 5 + [15]


def test_samples_that_are_no_numbers_become_zero_and_are_told_of(use) -> None:
    bad = block(0.25)
    bad[[3, 5]] = np.nan, np.inf
    use(["mic"], [[bad, block(0.25)]])
    told: list[str] = []
    first, second = itertools.islice(microphone_blocks(on_status=told.append), 2)
    assert np.isfinite(first).all() and (first == 0).sum() == 2 and "2 sample(s) NaN" in told[0]
    assert (second == 0.25).all()


@pytest.mark.parametrize(
    ("channels", "allowed", "used"), [(2, (2,), 2), (32, (1, 2, 32), 1), (6, (6,), 6), (128, (2, 128), 2)]
)
def test_opens_with_channels_that_the_device_has(use, channels: int, allowed: tuple, used: int) -> None:
    fake = use(["mic"], [[np.full((640, used), 0.5, np.float32)]], channels=channels, allowed=allowed)
    assert next(microphone_blocks()) == pytest.approx(block(0.5))
    assert fake.opened[-1][1] == used


def test_a_device_that_does_not_open_is_one_line(use) -> None:
    use(["mic"], [], allowed=())
    with pytest.raises(WakewordError, match="^microphone 'mic' cannot be opened.*another program") as caught:
        next(microphone_blocks())
    assert "\n" not in str(caught.value)


def test_an_unknown_device_names_those_there_are(use) -> None:
    use(["speaker", "mic A"], [])
    for wanted in ("webcam", "", 0, 7):
        with pytest.raises(WakewordError, match="choose one of: 1 mic A"):
            next(microphone_blocks(wanted))
    assert [each["name"] for each in list_devices()] == ["mic A"]


def test_only_outputs_are_no_microphone(use) -> None:
    use(["speaker"], [])
    with pytest.raises(WakewordError, match="no microphone"):
        next(microphone_blocks())


def test_a_microphone_that_gives_only_zeros_is_told_of(use, monkeypatch) -> None:
    monkeypatch.setattr(input_faults, "SILENCE_S", 0.0)
    use(["mic"], [[block(0.0)] * 3])
    told: list[str] = []
    assert len(list(itertools.islice(microphone_blocks(on_status=told.append), 3))) == 3
    assert len(told) == 1 and "muted" in told[0]


def test_a_microphone_that_falls_silent_later_is_told_of_once_until_it_sounds(use, monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(input_faults, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    told: list[str] = []
    faults = input_faults.InputFaults(told.append, "mic")

    def give(value: float, seconds: float) -> None:
        for _ in range(round(seconds)):
            now[0] += 1
            faults.block(block(value), 0, 0)

    give(0.1, 5), give(0.0, 59)
    assert not told, "a room may be quiet for a while"
    give(0.0, 600)
    assert len(told) == 1 and "only zeros" in told[0]
    give(0.1, 1), give(0.0, 59)
    assert len(told) == 1
    give(0.0, 10)
    assert len(told) == 2


def test_a_microphone_that_clips_is_told_of_at_most_once_a_minute(monkeypatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(input_faults, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    told: list[str] = []
    faults = input_faults.InputFaults(told.append, "mic")
    loud = block(0.5)
    loud[:64] = 1.0
    for sound, lines in ((block(0.9), 0), (loud, 1), (loud, 2)):
        for _ in range(60):
            now[0] += 1
            faults.block(sound, 0, 0)
        assert len(told) == lines
    assert "10% of its samples at full scale" in told[0] and "gain" in told[0]


def test_after_a_sleep_of_the_machine_the_stream_begins_anew(use, monkeypatch) -> None:
    sound = bursts(16000)[:, 0]
    use(["mic"], [list(sound.reshape(-1, 640))])
    readings = itertools.chain([5.0] * 41, itertools.repeat(7205.0))
    monkeypatch.setattr(microphone, "suspended_s", lambda: next(readings))
    told: list[str] = []
    detector = EnergyDetector()
    hits = list(itertools.islice(listen([detector], on_status=told.append), 3))
    assert told == ["the machine slept for 7200 s: listening again"] and detector.resets == 3
    check_bursts(hits, ONSETS_S[0])


def test_a_machine_that_does_not_sleep_has_slept_for_no_time() -> None:
    before = input_faults.suspended_s()
    time.sleep(0.2)
    assert abs(input_faults.suspended_s() - before) < 0.1


def test_a_clock_that_jumps_changes_nothing(use, monkeypatch) -> None:
    """An hour ahead, years back: only durations count, and they are not taken from it."""
    sound = bursts(16000)[:, 0]
    use(["mic"], [list(sound.reshape(-1, 640))])
    jumps = itertools.cycle([2e9, 0.0, 1e9, 4e9])
    monkeypatch.setattr(time, "time", lambda: next(jumps))
    told: list[str] = []
    heard = list(itertools.islice(hear([EnergyDetector()], on_status=told.append), 80))
    assert not told
    check_bursts([hit for each in heard for _, hit in each.hits], ONSETS_S[0])
    assert [each.time_s for each in heard] == pytest.approx([0.04 * count for count in range(1, 81)])
    delays = [each.delay_s(hit) for each in heard for _, hit in each.hits]
    assert all(0 <= delay < 60 for delay in delays), delays


def test_what_a_microphone_went_through_is_counted(use) -> None:
    most = round(microphone.HELD_S / microphone.BLOCK_S)
    use(["mic"], [[block(0.1)] * (most + 7), [], [block(0.2)] * (most + 2), [block(0.3)]])
    capture = microphone.Capture()
    blocks = list(itertools.islice(microphone_blocks(on_status=lambda line: None, capture=capture), 2 * most + 3))
    assert capture.overruns == 9 and capture.losses == 2
    assert blocks[-1][0] == pytest.approx(0.3) and [each is None for each in blocks].count(True) == 2


def test_the_delay_of_a_hit_counts_from_its_last_sound(tmp_path: Path) -> None:
    """The score of a burst is known 0.1 s after its onset, the block ends later: that part of it came earlier."""
    pcm = (bursts(16000)[:, 0] * 32767).astype("<i2").tobytes()
    for heard in hear([EnergyDetector()], raw=io.BytesIO(pcm)):
        for _, hit in heard.hits:
            least = heard.time_s - hit.time_s
            assert 0.04 < least < 0.3 and least <= heard.delay_s(hit) < least + 60
            break
    write_wav(tmp_path / "x.wav", bursts(16000)[:, 0])
    for heard in hear([EnergyDetector()], file=tmp_path / "x.wav"):
        assert heard.arrived_s is None and all(heard.delay_s(hit) is None for _, hit in heard.hits)


def test_closing_the_generator_closes_the_device(use) -> None:
    fake = use(["mic"], [[block(0.1)] * 3])
    blocks = microphone_blocks()
    next(blocks)
    blocks.close()
    assert fake.closed == 1


def test_a_sound_system_that_hangs_is_given_up_on(use, monkeypatch) -> None:
    fake = use(["mic"], [[block(0.1)], []])
    monkeypatch.setattr(microphone, "HANGS_AFTER_S", 0.1)
    fake._terminate = lambda: time.sleep(3)
    with pytest.raises(WakewordError, match="hangs"):
        list(microphone_blocks(on_status=lambda text: None))


@pytest.mark.parametrize("where", ["_open", "start"])
def test_a_device_that_hangs_as_it_is_opened_is_given_up_on(use, monkeypatch, where) -> None:
    use(["mic"], [[block(0.1)]])
    monkeypatch.setattr(microphone, "HANGS_AFTER_S", 0.1)
    monkeypatch.setattr(*((microphone, where) if where == "_open" else (FakeStream, where)), lambda *_: time.sleep(3))
    with pytest.raises(WakewordError, match="hangs"):
        next(microphone_blocks())


HANGING = """
import os, time
print('here', flush=True)
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # as sounddevice does while PortAudio starts
time.sleep({seconds})
"""


@pytest.mark.parametrize("number", [None, signal.SIGINT])
def test_a_sound_system_that_hangs_at_the_start_is_one_line_and_can_be_interrupted(tmp_path: Path, number) -> None:
    (tmp_path / "sounddevice.py").write_text(HANGING.format(seconds=60))
    # What a shell starts in the background, a whole test run perhaps, ignores SIGINT, and so do its children.
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    code += "from wakeword import cli; from wakeword.audio import input_devices; "
    code += f"input_devices.HANGS_AFTER_S = {60 if number else 0.2}; sys.exit(cli.main(['listen', '--list-devices']))"
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-c", code]
    given = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": Path(__file__).parents[1], "text": True}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **given) as process:
        try:
            process.stdout.readline()
            if number is not None:
                time.sleep(1)
                process.send_signal(number)
            _, said = process.communicate(timeout=30)
        finally:
            process.kill()
    expected = (3, "wakeword: the sound system hangs: restart it (and this program)\n")
    assert (process.returncode, said) == (expected if number is None else (130, "wakeword: interrupted\n"))


def test_without_portaudio_the_package_is_named(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    with pytest.raises(WakewordError, match="apt install libportaudio2"):
        list_devices()
