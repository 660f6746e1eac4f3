"""Which folder of `wakeword` may import which: the way of a block of audio goes in one direction."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "wakeword"
ABOVE = {
    "audio": (),
    "features": ("audio",),
    "model": ("features",),
    "acoustic": ("audio", "features", "model"),
    "head": ("acoustic", "features", "model"),
    "detector": ("features", "model"),
    "augmentation": ("audio", "features"),
    "evaluation": ("acoustic", "audio", "augmentation", "detector", "features", "model"),
    "listener": ("audio", "detector", "features", "model"),
    "export": ("acoustic", "audio", "detector", "evaluation", "features", "head", "model"),
    "phrases": ("acoustic", "audio"),
    "pretraining": ("acoustic", "audio", "augmentation", "features", "model"),
    "training": ("acoustic", "audio", "augmentation", "detector", "evaluation", "features", "head", "model", "phrases")
    + ("listener",),  # what one kept
}
"""What each may import, beside itself and the modules that lie in no folder."""
BACK = {("model/runtimes.py", "head"), ("model/halves.py", "head"), ("detector/detector.py", "listener")}
"""Where a function imports what comes later: a file of torch is built from its layers; `Detector.listen` begins."""


def imported(path: Path) -> set[str]:
    """The folders, and modules in none, that a module imports, at its beginning or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "wakeword":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("wakeword.")}
    return found


def test_every_folder_has_its_place():
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == {*ABOVE, "verbs"}


@pytest.mark.parametrize("folder", ABOVE)
def test_a_folder_imports_from_those_before_it_alone(folder):
    for path in (ROOT / folder).rglob("*.py"):
        here = str(path.relative_to(ROOT))
        others = {name for name in imported(path) if (ROOT / name).is_dir() and (here, name) not in BACK} - {folder}
        assert others <= {*ABOVE[folder]}, f"{path}: {others - {*ABOVE[folder]}}"


def test_what_lies_in_no_folder_imports_none():
    for name in ("errors", "files", "settings"):
        assert not {each for each in imported(ROOT / f"{name}.py") if (ROOT / each).is_dir()}
