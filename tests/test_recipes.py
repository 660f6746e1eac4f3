"""The smallest recipe, from corpora to a stream heard by the exported model, as one types it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("lhotse")

ROOT = Path(__file__).parents[1]


def test_the_tiny_recipe_goes_all_the_way(shared, tmp_path) -> None:
    command = [sys.executable, str(ROOT / "recipes" / "tiny" / "run.py"), "--shared", str(shared.parent)]
    done = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["recordings"] == "real" and result["test_clips"] == 30
    # A model of a minute: half of the phrases, and not an alarm in each utterance of others.
    assert result["missed"] <= 15 and result["false_alarms"] <= 10
    assert result["onnx_difference"] <= 1e-4
    for name in ("tiny.safetensors", "computer.wakeword", "computer.onnx"):
        assert (tmp_path / name).stat().st_size > 10_000
