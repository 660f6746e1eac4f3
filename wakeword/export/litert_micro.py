"""A `.tflite` file in the interpreter of TensorFlow Lite Micro (`tflite-micro` from PyPI): what a device computes, and
the memory that it takes."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np

from wakeword.errors import WakewordError, require
from wakeword.model.litert import schema, stepping

ARENA = 4 << 20
"""Of this many bytes the interpreter takes what it needs."""
_MEASURE = f"""
import sys
from tflite_micro import runtime
interpreter = runtime.Interpreter.from_file(sys.argv[1], arena_size={ARENA})
interpreter.print_allocations()
"""
# While it plans where tensors go, it may need more than it then keeps.
_LEAST = f"""
import sys
from tflite_micro import runtime
for size in range(int(sys.argv[2]), {ARENA}, 256):
    try:
        runtime.Interpreter.from_file(sys.argv[1], arena_size=size)
    except RuntimeError:
        continue
    print(size)
    break
"""


def installed() -> bool:
    return importlib.util.find_spec("tflite_micro") is not None


def arena_bytes(path: Path) -> int:
    """Bytes of the smallest tensor arena in which the interpreter loads a `.tflite` file, to within 256.

    Its structures hold pointers, which are 8 bytes here and 4 on a microcontroller: there it is less.

    Raises:
        WakewordError: the interpreter refuses the file (an operator that it does not know, for one).
    """
    # It tells on the stderr of its process, past Python's.
    told = _run(_MEASURE, path)
    kept = re.search(r"Arena allocation total (\d+) bytes", told.stderr)
    done = _run(_LEAST, path, kept[1]) if kept and not told.returncode else told
    if done.returncode or not done.stdout:
        reason = (told.stderr.strip().splitlines() or ["no reason given"])[0]
        raise WakewordError(f"{path}: TensorFlow Lite Micro refuses it: {reason[:120]}")
    return int(done.stdout)


def _run(code: str, *arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)


def running_micro(content: bytes):
    """As `litert.running_litert`, by TensorFlow Lite Micro.

    Raises:
        WakewordError: tflite-micro is not installed.
    """
    runtime = require("tflite_micro", "litert").runtime
    interpreter = runtime.Interpreter.from_bytes(content, arena_size=ARENA)
    graph = schema().Model.GetRootAs(content).Subgraphs(0)
    inputs = [interpreter.get_input_details(index) for index in range(graph.InputsLength())]
    outputs = [interpreter.get_output_details(index) for index in range(graph.OutputsLength())]

    def invoke(values: list[np.ndarray]) -> list[np.ndarray]:
        for index, value in enumerate(values):
            interpreter.set_input(value, index)
        interpreter.invoke()
        return [interpreter.get_output(index) for index in range(len(outputs))]

    return stepping(invoke, inputs, outputs)
