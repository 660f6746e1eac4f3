"""A private PulseAudio daemon with a null sink, whose monitor is the default microphone: a sound card of software.

    with pulse_null_sink() as pulse:
        recorder = subprocess.Popen([...], env=pulse.env)   # PortAudio lists devices when it starts: a new process
        pulse.play("clip.wav")

Needs the programs `pulseaudio`, `pactl` and `paplay`, ALSA's PulseAudio plug-in and PortAudio (Debian: pulseaudio,
pulseaudio-utils, libasound2-plugins, libportaudio2).
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wakeword.errors import WakewordError

ASOUND_CONF = """\
pcm.!default { type pulse }
ctl.!default { type pulse }
"""
RATE = 48000


@dataclass
class Pulse:
    """A running daemon. `env` is the environment in which a process finds it, and nothing else, as its sound card."""

    env: dict[str, str]
    folder: Path
    daemon: subprocess.Popen | None = None

    def play(self, path: str | os.PathLike, wait: bool = True) -> subprocess.Popen:
        """Play a file that libsndfile reads into the null sink, at its own pace, to its end if `wait`.

        Raises:
            WakewordError: it could not be played.
        """
        # paplay in Debian reads WAV, FLAC and Ogg Vorbis; Opus depends on its libsndfile, as ours does.
        player = subprocess.Popen(["paplay", "--device=sink", os.fspath(path)], env=self.env, stderr=subprocess.PIPE)
        if wait:
            _, complaint = player.communicate(timeout=120)
            if player.returncode:
                raise WakewordError(f"{path}: paplay failed: {complaint.decode(errors='replace').strip()}")
        return player

    def start(self) -> None:
        """Start the daemon (again); returns when its null sink is there.

        Raises:
            WakewordError: it does not start; with its last word.
        """
        modules = [
            f"--load=module-native-protocol-unix auth-anonymous=1 socket={self.folder}/native",
            f"--load=module-null-sink sink_name=sink rate={RATE} channels=2",
        ]
        options = ["-n", "--daemonize=no", "--exit-idle-time=-1", "--system=no", "--realtime=no", "--high-priority=no"]
        options += ["--disallow-exit=no", "--use-pid-file=no", "--log-target=stderr"]
        with open(self.folder / "log", "ab") as log:
            self.daemon = subprocess.Popen(["pulseaudio", *options, *modules], env=self.env, stderr=log, stdout=log)
        ends = time.monotonic() + 10
        while time.monotonic() < ends and self.daemon.poll() is None:
            asked = subprocess.run(["pactl", "set-default-source", "sink.monitor"], env=self.env, capture_output=True)
            if asked.returncode == 0:
                return
            time.sleep(0.1)
        log = (self.folder / "log").read_text(errors="replace").strip().splitlines()
        self.stop()
        raise WakewordError(f"pulseaudio does not start here: {log[-1] if log else 'no word from it'}")

    def listeners(self) -> int:
        """How many streams record from it."""
        asked = ["pactl", "list", "short", "source-outputs"]
        return len(subprocess.run(asked, env=self.env, capture_output=True, text=True).stdout.splitlines())

    def stop(self) -> None:
        """End the daemon at once, as a crash or a pulled plug would."""
        if self.daemon is not None and self.daemon.poll() is None:
            self.daemon.send_signal(signal.SIGKILL)
        if self.daemon is not None:
            self.daemon.wait(timeout=10)
        (self.folder / "native").unlink(missing_ok=True)


@contextmanager
def pulse_null_sink() -> Iterator[Pulse]:
    """Run a daemon of one's own for the time of the block.

    Raises:
        WakewordError: that is not possible; with the reason.
    """
    missing = [name for name in ("pulseaudio", "pactl", "paplay") if shutil.which(name) is None]
    if missing:
        raise WakewordError(
            f"no virtual microphone: {', '.join(missing)} missing: apt install pulseaudio pulseaudio-utils"
        )
    # A Unix socket's path may have 107 characters at most, so not in pytest's long temporary folders.
    with tempfile.TemporaryDirectory(prefix="pulse-") as name:
        folder = Path(name)
        (folder / ".asoundrc").write_text(ASOUND_CONF)
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("PULSE_", "DBUS_", "XDG_", "ALSA_"))
        }
        own = {
            "PULSE_SERVER": f"unix:{folder}/native",
            "PULSE_RUNTIME_PATH": name,
            "PULSE_STATE_PATH": name,
            "PULSE_COOKIE": f"{name}/cookie",
            "XDG_RUNTIME_DIR": name,
            "HOME": name,  # the system's ALSA configuration reads ~/.asoundrc
        }
        pulse = Pulse(env={**kept, **own}, folder=folder)
        pulse.start()
        try:
            yield pulse
        finally:
            pulse.stop()
