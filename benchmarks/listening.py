"""A listening process on a base install, from outside: its memory, and the CPU time that it spends on an hour."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from wakeword import WakewordError
from wakeword.features.log_mel import SAMPLE_RATE

LISTENER = """
import json, sys, time
for name in ("torch", "torchaudio", "lhotse", "librosa", "safetensors", "scipy", "matplotlib", "onnx"):
    sys.modules[name] = None
import wakeword
from wakeword.listener.listener import listen
detector = wakeword.Detector.load(sys.argv[1])
began = time.process_time()
hits = sum(1 for hit in listen([detector], raw=sys.stdin.buffer))
print(json.dumps({"cpu_s": time.process_time() - began, "hits": hits}))
"""
"""The listening process of a base install: what the extras bring cannot be imported."""


def sound(seconds: float) -> np.ndarray:
    """Noise that rises and falls like syllables, float32 `[samples]`; what it is hardly matters for the time."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    level = 10 ** (-2.5 + 1.5 * np.sin(2 * np.pi * 4 * time_s))
    return (level * rng.standard_normal(len(time_s))).clip(-1, 1).astype(np.float32)


def listening_memory(path: Path, seconds: float) -> dict:
    """A process that listens to raw samples on its standard input: memory in MB (10**6 bytes), CPU seconds an hour.

    `early` is the resident memory after a tenth of the stream, `steady` after all of it, `peak` the most there was.
    Without Linux's /proc nothing is measured and the answer is empty.

    Raises:
        WakewordError: the process failed; it says why on its standard error.
    """
    if not Path("/proc/self/status").exists():
        return {}
    pcm = (sound(seconds) * 32767).astype("<i2").tobytes()
    tenth = len(pcm) // 20 * 2
    found = {"model": path.stem}
    command = [sys.executable, "-c", LISTENER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            for name, part in (("early", pcm[:tenth]), ("steady", pcm[tenth:])):
                process.stdin.write(part)
                process.stdin.flush()
                time.sleep(0.5)  # until what the pipe still holds is heard
                found[f"{name} MB"], found["peak MB"] = resident(process.pid)
            said, _ = process.communicate()
        except (BrokenPipeError, KeyError):
            process.kill()
            said = b""
    if process.returncode or not said:
        raise WakewordError(f"{path}: the listening process failed: its message stands above")
    found["CPU s/h"] = json.loads(said)["cpu_s"] * 3600 / seconds
    return found


def resident(pid: int) -> tuple[float, float]:
    """Resident memory of a process and its peak, in MB (VmRSS and VmHWM).

    Raises:
        KeyError: the process has ended.
    """
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    status = dict(line.split(":", 1) for line in lines)
    rss, peak = (int(status[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return rss, peak
