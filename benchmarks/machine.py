"""What a benchmark ran on, and its report: printed, and written where the user wants it."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from wakeword.files import replacing


def machine() -> dict:
    """CPU model, cores, load and versions; a package that is not installed is left out."""
    found = {"cpu": cpu_model(), "cores": os.cpu_count(), "system": f"{platform.system()} {platform.machine()}"}
    if hasattr(os, "getloadavg"):
        found["load before"] = round(os.getloadavg()[0], 2)
    found["python"] = platform.python_version()
    for package in ("numpy", "onnxruntime", "torch", "wakeword"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def cpu_model() -> str:
    """The processor's name as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the options that `publish` reads."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--output", type=Path, metavar="FILE.md", help="also write the tables there")


def publish(found: dict, text: Callable[[dict], str], options: argparse.Namespace) -> None:
    """Print a report as JSON or as `text` makes Markdown of it; the Markdown also goes to `options.output`, if given.

    Raises:
        WakewordError: that file cannot be written; the report is printed by then.
    """
    print(json.dumps(found, indent=2) if options.json else text(found), flush=True)
    if options.output:
        with replacing(options.output) as temporary:
            temporary.write_text(text(found), encoding="utf-8")


def about(found: dict) -> str:
    """The report's first line, from what `machine` found."""
    return "Machine: " + ", ".join(f"{name} {value}" for name, value in found.items())


def markdown(rows: list[dict]) -> str:
    """A table; the columns are the keys of the first row, missing values are shown as a dash."""
    columns = list(rows[0])
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    lines = [columns, ["-" * width for width in widths], *cells]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def _cell(value) -> str:
    if value is None:
        return "-"
    return f"{value:.2f}" if isinstance(value, float) else str(value)
