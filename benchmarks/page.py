"""What an open page of `wakeword demo` costs the server: CPU time a stream, with sound at the speed of sound."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from listening import resident, sound
from machine import machine

from wakeword.audio.waveform import SAMPLE_RATE, pcm16
from wakeword.cli import number
from wakeword.errors import require

RATE, BLOCK_S = 48000, 0.08  # what a browser sends


def cpu_s(pid: int) -> float:
    """CPU seconds of a process so far (Linux)."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def measure(model: str, pages: int, seconds: float) -> dict:
    """Percent of a core for each of `pages` streams of `seconds`, and the server's memory in MB (10**6 bytes)."""
    require("websockets", "demo")
    from websockets.sync.client import connect

    pcm = pcm16(sound(3 * BLOCK_S * RATE / SAMPLE_RATE))  # three blocks, again and again
    size = 2 * round(BLOCK_S * RATE)
    command = [sys.executable, "-m", "wakeword", "demo", model, "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server, ExitStack() as stack:
        stack.callback(server.terminate)
        host, token = re.search(r"http://(\S+)/\?token=(\S+)", server.stderr.readline()).groups()
        cookie = {"Cookie": f"wakeword_{host.partition(':')[2]}={token}"}
        about = {"origin": f"http://{host}", "additional_headers": cookie, "compression": None}
        open_pages = [stack.enter_context(connect(f"ws://{host}/socket", **about)) for _ in range(pages)]
        for page in open_pages:
            page.send(json.dumps({"ask": "begin", "rate": RATE}))
        before = None
        for block in range(round(seconds / BLOCK_S)):
            if block == 50:  # what is loaded once is loaded
                before, begun = cpu_s(server.pid), time.monotonic()
            for page in open_pages:
                page.send(pcm[block % 3 * size :][:size])
                while '"heard"' not in page.recv():
                    pass
            if before is not None:
                time.sleep(max(0.0, begun + (block - 49) * BLOCK_S - time.monotonic()))
        passed = time.monotonic() - begun
        percent = 100 * (cpu_s(server.pid) - before) / passed / pages
        return {"pages": pages, "% of a core a page": round(percent, 2), "memory MB": round(resident(server.pid)[0])}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a .wakeword or .onnx file")
    parser.add_argument("--pages", type=number(least=1), default=1, help="open pages, up to 4 (1)")
    parser.add_argument("--seconds", type=number(least=10), default=60, help="how long (60)")
    asked = parser.parse_args()
    print(
        json.dumps({"model": Path(asked.model).name, **measure(asked.model, asked.pages, asked.seconds), **machine()})
    )
