"""Flash and RAM of an exported C directory: by Arm's compiler where there is one, else by the arrays alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wakeword.errors import WakewordError

COMPILER = "arm-none-eabi-gcc"
FLAGS = ("-std=c99", "-O2", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")


@dataclass(frozen=True)
class Size:
    """Bytes of flash and of static RAM (the stack is not in it); `measured` is a key of `_TOLD`."""

    flash: int
    ram: int
    measured: str


_TOLD = {
    "arrays": f"the arrays alone, without code: {COMPILER} is not installed",
    "cortex-m4": f"compiled for Cortex-M4F by {COMPILER} -O2, without what it takes of the C library",
    "tflite-micro": "the file; the arena, as tflite-micro measures it here, and the states beside it; no code",
    "arena": "the file; the arena, states in it, as tflite-micro measures it here; no code",
    "bound": "the file; for the arena what no arrangement exceeds, since tflite-micro is not installed; no code",
    "file": "the file, and the states twice, without the arena's other parts: tflite-micro is not installed",
}


def told(size: Size) -> str:
    """How it was counted, in words."""
    return _TOLD[size.measured]


def check_budgets(source: object, size: Size, flash: int | None, ram: int | None, integer: bool) -> None:
    """Refuse what takes more bytes than a budget, if there is one.

    Raises:
        WakewordError: it does.
    """
    for what, taken, budget in (("flash", size.flash, flash), ("RAM", size.ram, ram)):
        if budget is not None and taken > budget:
            raise WakewordError(
                f"{source}: {taken} bytes of {what} ({told(size)}) are more than --budget-{what.lower()} {budget}: "
                f"{'raise it' if integer else 'use int8 or raise it'}, or train on a smaller model"
            )


def measured(folder: Path) -> Size | None:
    """The size of a directory's sources, compiled for a Cortex-M4F; None without the compiler (and its C library).

    Raises:
        WakewordError: they do not compile.
    """
    if shutil.which(COMPILER) is None:
        return None
    flash = ram = 0
    sources = sorted(str(path) for path in folder.glob("*.c") if path.name != "example.c")
    with tempfile.TemporaryDirectory() as temporary:
        command = [COMPILER, *FLAGS, "-c", *(str(Path(each).absolute()) for each in sources)]
        done = subprocess.run(command, cwd=temporary, capture_output=True, text=True)
        if "fatal error" in done.stderr:  # the compiler is there without the headers of a C library
            return None
        if done.returncode:
            raise WakewordError(f"{folder}: {COMPILER} does not compile it: {done.stderr.splitlines()[-1]}")
        objects = sorted(str(path) for path in Path(temporary).glob("*.o"))
        table = subprocess.run([COMPILER.replace("gcc", "size"), *objects], capture_output=True, text=True, check=True)
    for text, data, bss in re.findall(r"^\s*(\d+)\s+(\d+)\s+(\d+)", table.stdout, re.MULTILINE):
        flash += int(text) + int(data)
        ram += int(data) + int(bss)
    return Size(flash, ram, "cortex-m4")


def parse_size(text: str) -> int:
    """Bytes of `350K`, `1M` or `65536`; K is 1024.

    Raises:
        WakewordError: anything else.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d+)?)([KkMm]?)[Bb]?", text.strip())
    size = int(float(found[1]) * {"": 1, "k": 1024, "m": 1024**2}[found[2].lower()]) if found else 0
    if size < 1:
        raise WakewordError(f"size {text!r}: give bytes, or as 350K or 1M (K is 1024)")
    return size
