"""Long listening: a process that hears raw samples for half an hour, a detector that hears a simulated day."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("onnx")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from listening import resident  # noqa: E402
from soak import between, cheap_model, soak, tile_of  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.metrics import alarms  # noqa: E402

TILE_S, TILES = 60, 30


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc to see memory")
def test_half_an_hour_of_listening_takes_no_more_memory_and_hits_as_scoring_does(model_files, speech_like) -> None:
    """The command itself, in the blocks of a microphone; its sound is a minute, repeated."""
    tile = np.clip(speech_like(TILE_S, 3), -1, 1)
    tile = (tile * 32767).astype("<i2")
    detector = Detector.load(model_files[1])
    time_s, score = detector.scores(np.tile(tile.astype(np.float32) / 32768, 2))
    threshold = between(score[:, 0])
    found = alarms(time_s, score[:, 0], threshold, detector.refractory_s)
    first, repeated = found[found <= TILE_S + 1e-6], found[found > TILE_S + 1e-6]
    expected = np.concatenate([first, *(repeated + TILE_S * index for index in range(TILES - 1))])
    assert len(repeated) >= 5

    command = [sys.executable, "-m", "wakeword", "listen", str(model_files[1]), "--file", "-", "--json"]
    command += ["--threshold", repr(threshold)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        hits: list[dict] = []
        reader = threading.Thread(target=lambda: hits.extend(map(json.loads, process.stdout)), daemon=True)
        reader.start()
        memory = []
        for _ in range(TILES):
            process.stdin.write(tile.tobytes())
            memory.append(resident(process.pid)[0])  # all but the 2 s that a pipe holds was heard
        process.stdin.close()
        reader.join(120)
        told = process.stderr.read().decode()
    assert process.returncode == 0 and f"{len(expected)} hit(s) in {TILE_S * TILES:.1f} s of sound" in told
    assert [hit["time_s"] for hit in hits] == pytest.approx(expected.tolist(), abs=1e-6), "the clock drifted"
    assert memory[-1] - memory[2] < 3, f"MB after each minute: {memory}"


def test_a_simulated_day_keeps_its_clock_its_memory_and_its_hits(tmp_path) -> None:
    """In blocks of a minute, with features of 100 ms; `benchmarks/soak.py` does the same for a week."""
    found = soak(Detector.load(cheap_model(tmp_path / "cheap.onnx")), 24.0, 60.0, tile_of(600.0))
    assert found.hours == 24 and found.hits == found.hits_offline > 1000
    assert found.clock_error_s < 1e-6 and found.hit_error_s < 1e-6
    assert found.end_mb - found.early_mb < 3
