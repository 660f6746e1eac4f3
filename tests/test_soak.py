"""Long listening: a process that hears raw samples, a detector that hears a simulated week, a sound card's stand-in.

Memory is that of a process of its own: in one that ran other tests, what they left behind comes and goes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soxr

pytest.importorskip("torch")
pytest.importorskip("onnx")

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from listening import resident  # noqa: E402
from soak import Soak, between, cheap_model, soak, tile_of  # noqa: E402
from test_listener import FakeSound, FakeStream  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.audio.microphone import BLOCK_S, Capture  # noqa: E402
from wakeword.audio.waveform import StreamResampler, read_audio  # noqa: E402
from wakeword.errors import Skipped  # noqa: E402
from wakeword.evaluation.metrics import alarms  # noqa: E402
from wakeword.listener.kept import HIT, Bounds, kept_clips  # noqa: E402
from wakeword.listener.listener import hear  # noqa: E402
from wakeword.listener.near_misses import NearMisses  # noqa: E402

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


def in_a_process_of_its_own(function, *args):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def simulated_week(folder: Path) -> Soak:
    return soak(Detector.load(cheap_model(folder / "cheap.onnx")), 168.0, 60.0, tile_of(600.0))


def test_a_simulated_week_keeps_its_clock_its_memory_and_its_hits(tmp_path) -> None:
    """In blocks of a minute, with features of 100 ms: a minute of CPU."""
    found = in_a_process_of_its_own(simulated_week, tmp_path)
    assert found.hours == 168 and found.hits == found.hits_offline > 100_000
    assert found.clock_error_s < 1e-6 and found.hit_error_s < 1e-6
    assert found.end_mb - found.early_mb < 3


class Played(FakeStream):
    """A device that gives its blocks from a thread of its own, as a driver does."""

    def start(self) -> None:
        threading.Thread(target=super().start, daemon=True).start()


class SoundCard(FakeSound):
    def InputStream(self, **given) -> Played:  # noqa: N802
        return Played(self, **given)

    RawInputStream = InputStream


def test_twenty_minutes_through_ring_resampler_and_kept_clips_drift_nowhere(tmp_path) -> None:
    in_a_process_of_its_own(twenty_minutes, tmp_path)


def twenty_minutes(folder: Path) -> None:
    """A minute of 44.1 kHz in stereo, again and again; hits and near misses are kept, and the last 20 stay."""
    rate, count = 44100, 20
    minute = soxr.resample(tile_of(float(TILE_S)), 16000, rate)
    minute = np.stack([1.2 * minute, 0.8 * minute], axis=1).astype(np.float32)
    blocks = np.split(minute, round(TILE_S / BLOCK_S))
    detector = Detector.load(cheap_model(folder / "cheap.onnx"))
    offline = StreamResampler(rate, 2).process(np.concatenate([minute] * 3))
    time_s, score = detector.scores(offline)
    detector.thresholds = [between(score[:, 0])]
    found = alarms(time_s, score[:, 0], detector.thresholds[0], detector.refractory_s)
    first, repeated = found[found <= TILE_S + 1e-6], found[(found > TILE_S + 1e-6) & (found <= 2 * TILE_S + 1e-6)]
    expected = np.concatenate([first, *(repeated + TILE_S * index for index in range(count - 1))])
    assert len(repeated) >= 5

    turns = threading.Semaphore(50)  # the ring holds 125 blocks

    def played():
        for number in range(len(blocks) * count):
            turns.acquire()
            yield blocks[number % len(blocks)]

    sys.modules["sounddevice"] = SoundCard(["mic"], [played()], channels=2, rate=float(rate))
    told: list[str] = []
    keep = NearMisses(folder / "near", [detector], Bounds(clips=20), on_status=told.append)
    capture, hits, memory = Capture(), [], []
    for heard in hear([detector], on_status=told.append, capture=capture, keep=keep):
        turns.release()
        hits += [hit.time_s for _, hit in heard.hits]
        while keep._waiting.qsize() > 8:  # sound comes faster than a disk may be
            time.sleep(0.001)
        if heard.time_s >= TILE_S * (len(memory) + 1) - 0.1:  # what the resampler holds back
            memory.append(resident(os.getpid())[0])
        if len(memory) == count:
            break
    keep.close()
    lag_s = TILE_S * count - heard.time_s
    assert 0 <= lag_s < 0.1 and capture.overruns == 0 and told == []
    assert hits == pytest.approx(expected[expected <= heard.time_s].tolist(), abs=1e-6), "the clock drifted"
    assert memory[-1] - memory[2] < 3, f"MB after each minute: {memory}"
    clips = [(path, about) for path, about in kept_clips(folder / "near", Skipped()) if about.kind == HIT]
    assert keep.lost == 0 and keep.kept >= len(hits) and 1 <= len(clips) <= 20
    for path, about in clips:
        assert np.abs(np.array(hits) - about.stream_s).min() < 0.001, "a hit that nobody was told of"
        samples = read_audio(path)
        at = round(16000 * (about.stream_s - about.at_s)) % (16000 * TILE_S) + 16000 * TILE_S
        np.testing.assert_allclose(samples, offline[at : at + len(samples)], atol=1e-3)
