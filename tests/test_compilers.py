"""Reading IREE's program into calls of C, and what `benchmarks/compilers.py` and `cmsis_nn.py` refuse."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from wakeword.cli import exit_status
from wakeword.model.checkpoint import FORMATS

PROGRAM = """
hal.command_buffer.create device(%d) bindings(%c4) : !hal.command_buffer
%function_id = hal.executable.lookup.function target(%e : !e) function(@graph_linked::@static::@wakeword$first) : i64
hal.command_buffer.dispatch<%cmd : !c> target(%e : !e)[%function_id] workgroups([%c8, %c1, %c1]) bindings([
  (%c0 : index)[%c0, %c768],
  (%weights : !hal.buffer)[%c64, %c1000],
  (%c3 : index)[%c0, %c131200]
]) flags("None")
hal.command_buffer.copy_buffer<%cmd : !c> source(%c3 : index)[%c640] target(%c2 : index)[%c0] length(%c160)
%function_id_0 = hal.executable.lookup.function target(%e : !e) function(@graph_linked::@static::@wakeword$last) : i64
hal.command_buffer.dispatch<%cmd : !c> target(%e : !e)[%function_id_0] workgroups([%c1, %c1, %c1]) \
constants([%c512_i32, %c7_i32]) bindings([
  (%c3 : index)[%c0, %c131200],
  (%c2 : index)[%c0, %c42432]
]) flags("None")
"""


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
    return importlib.import_module


def test_the_calls_of_a_program_in_their_order(benchmark):
    calls, names, sizes = benchmark("compilers").steps(PROGRAM.replace("\\\n", ""))
    assert names == ["wakeword$first", "wakeword$last"] and sizes == (131200, 42432)
    first, copy, last = (call.strip() for call in calls)
    assert first == (
        "run(wakeword_first, 8, 0, (const uint32_t[]){0}, 3, (void *const[]){(void *)(features + 0), "
        "(void *)(weights + 64), (void *)(transient + 0)}, (const size_t[]){768, 1000, 131200});"
    )
    assert copy == "memcpy(out + 0, transient + 640, 160);"
    assert last.startswith("run(wakeword_last, 1, 2, (const uint32_t[]){512, 7}, 2,")


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("compilers", ["--graphs", "g.onnx", "--audio", "clips"], "--dtype float32"),
        ("cmsis_nn", ["--cmsis-nn", "cmsis"], "in int8"),
    ],
)
def test_a_directory_of_another_kind_is_refused_in_a_line(
    script, options, said, benchmark, wake_meta, tmp_path, capsys
):
    (tmp_path / "model.json").write_text(
        json.dumps({"meta": wake_meta(said=("computer",), kind="wakeword", format=FORMATS["wakeword"])})
    )
    assert exit_status(lambda: benchmark(script).main([str(tmp_path), *options])) == 2
    error = capsys.readouterr().err
    assert said in error and str(tmp_path) in error and len(error.strip().splitlines()) == 1
