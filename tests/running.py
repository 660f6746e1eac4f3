"""A command that runs until it is told to end, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

LATE_S = 120


class Running:
    """Python code in a process, and what it has said on standard error."""

    def __init__(self, folder: Path, code: str, *arguments: str):
        self.path = folder / "stderr"
        with open(self.path, "wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, *arguments], stderr=errors, cwd=Path(__file__).parents[1]
            )

    def __enter__(self):
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()

    def lines(self) -> list[str]:
        return self.path.read_text().splitlines()

    def wait_for(self, text: str, since: int = 0) -> str:
        deadline = time.monotonic() + LATE_S
        while time.monotonic() < deadline:
            if found := [line for line in self.lines()[since:] if text in line]:
                return found[0]
            assert self.process.poll() is None, self.lines()
            time.sleep(0.05)
        raise AssertionError(f"no line with {text!r} in {self.lines()[since:]}")

    def memory_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024

    def cpu_s(self) -> float:
        user, system = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        try:
            return self.process.wait(LATE_S)
        finally:
            self.process.kill()
