"""The command lines and programs of docs/export.md, for tests that run them as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

DOCS = (Path(__file__).parents[1] / "docs" / "export.md").read_text(encoding="utf-8")


def command(start: str) -> list[str]:
    """The words of the first command line that begins with `start` (a regular expression), with what continues it."""
    line = re.search(rf"^{start}(?:\\\n|[^\n])*", DOCS, re.MULTILINE)[0]
    return shlex.split(line.replace("\\\n", ""), comments=True)


def program(name: str, language: str = "python") -> str:
    """The program whose first lines name it: `# with_onnx.py: ...`."""
    return re.search(rf"```{language}\n((?:<!doctype html>\n)?(?:#|<!--) {name}.*?)```", DOCS, re.DOTALL)[1]
