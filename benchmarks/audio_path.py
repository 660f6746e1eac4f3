"""Listeners at a real audio path: delay after the phrase's end, misses, CPU time and memory.

    python benchmarks/audio_path.py --models alexa.onnx computer.onnx jarvis.onnx --minutes 60 \\
        --positives exp/manifests/wakewords-alexa_cuts.jsonl.gz

Clips of the first model's phrase are played into a null sink of PulseAudio, 2 to 8 s apart, after `--idle-minutes` of a
quiet room. Its monitor is the microphone of all listeners, which run at the same time: `wakeword listen` with the first
model, the same with `--gate`, and with all models (fewer than five are filled up with random weights); and for alexa
openWakeWord and microWakeWord, each at the threshold that its makers set, with this model alone and with four others
beside it, in an environment of their own (exp/peers/venv; `--no-peers` leaves them out).

A delay is from the end of the phrase by energy, as `evaluate` has it, to when the hit was told: a recorder on the same
monitor says when each clip came out of it, to about 20 ms, by finding the clip in what it recorded.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from audio_path_delays import GRACE_S, Recorder, delays, played_at  # noqa: E402
from listening import resident  # noqa: E402
from machine import about, add_outputs, machine, markdown, publish  # noqa: E402
from peers_listening import environment, version_of  # noqa: E402
from speed import random_model  # noqa: E402
from virtual_sound import Pulse, pulse_null_sink  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.audio.clips import find_clips, for_testing  # noqa: E402
from wakeword.audio.waveform import SAMPLE_RATE, write_wav  # noqa: E402
from wakeword.cli import exit_status, number, say  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.evaluation.metrics import delay_stats, poisson_interval, wilson_interval  # noqa: E402
from wakeword.evaluation.streams import Event, join, positive_stream  # noqa: E402

HERE = Path(__file__).parent
PAUSE_S = (2.0, 8.0)
MANY = 5
PEERS = {"openwakeword": ("openwakeword", 0.5), "microwakeword": ("pymicro-wakeword", 0.9)}
"""Package, and the threshold of its makers: openWakeWord's README; the cutoff in microWakeWord's model of alexa."""
BESIDE = {
    "openwakeword": ("hey_mycroft", "hey_jarvis", "hey_rhasspy", "weather"),
    "microwakeword": ("hey_jarvis", "hey_mycroft", "okay_nabu", "hey_jarvis"),
}
"""Beside alexa, to make five models; microWakeWord's package has four, so that one of them runs twice."""
ROOM_RMS = 2e-4  # -74 dBFS
CHILD = HERE / "audio_path_engine.py"


@dataclass
class Listener:
    """A running listener. `hits`: when it told of each of the phrase, in seconds of `time.time`."""

    name: str
    models: int
    process: subprocess.Popen
    model: str = ""
    hits: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    memory_mb: tuple[float, float] = (0.0, 0.0)

    def read(self) -> None:
        """Take its lines until it ends."""
        for line in self.process.stdout:
            said = json.loads(line)
            if said.get("model", "") == self.model:
                utc = said["utc"]
                self.hits.append(
                    utc if isinstance(utc, float) else datetime.fromisoformat(utc[:-1] + "+00:00").timestamp()
                )

    def look(self) -> None:
        """Note its CPU time until now, of all threads, and its memory.

        Raises:
            WakewordError: it has ended.
        """
        try:
            user, system = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
            self.memory_mb = resident(self.process.pid)
        except (OSError, KeyError) as error:
            raise WakewordError(f"{self.name}: it has ended: what it said stands above") from error
        self.cpu_s.append((int(user) + int(system)) / os.sysconf("SC_CLK_TCK"))


def peer_commands(python: Path) -> list[tuple[str, int, list[str]]]:
    """For each other engine its name and version, how many models it runs, and the command: one model, and five."""
    found = []
    for engine, (package, threshold) in PEERS.items():
        for beside in ((), BESIDE[engine]):
            said = json.dumps({"word": "alexa", "threshold": threshold, "beside": beside})
            # Not resolved: an environment's Python is known by its place.
            command = [os.path.abspath(python), "-I", str(CHILD), engine, said]
            found.append((f"{package} {version_of(package)}", 1 + len(beside), command))
    return found


@contextmanager
def listening(pulse: Pulse, models: list[Path], peers: Path | None) -> Iterator[list[Listener]]:
    """All listeners, once each records from the monitor; without those of others if `peers`, their Python, is None.

    Raises:
        WakewordError: one of them does not.
    """
    ours = [os.path.abspath(path) for path in models]
    listen = [sys.executable, "-m", "wakeword", "listen", "--json", "--device", "pulse"]
    wanted = [("ours", 1, [*listen, ours[0]]), ("ours, --gate", 1, [*listen, "--gate", ours[0]])]
    if len(ours) > 1:
        wanted.append(("ours", len(ours), [*listen, *ours]))
    wanted += peer_commands(peers) if peers else []
    env = {**pulse.env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parent)}
    found: list[Listener] = []
    try:
        for name, models, command in wanted:
            own = ours[0] if name.startswith("ours") else ""
            process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, cwd=HERE.parent)
            found.append(Listener(name, models, process, own))
            threading.Thread(target=found[-1].read, daemon=True).start()
        ends = time.monotonic() + 120
        while pulse.listeners() < len(found) + 1:
            ended = [each.name for each in found if each.process.poll() is not None]
            if ended or time.monotonic() > ends:
                raise WakewordError(f"{', '.join(ended) or 'a listener'}: does not listen: what it said stands above")
            time.sleep(0.5)
        yield found
    finally:
        for each in found:
            each.process.send_signal(signal.SIGTERM)
        for each in found:
            try:
                each.process.wait(30)
            except subprocess.TimeoutExpired:
                each.process.kill()


def filled(models: list[Path], folder: Path) -> list[Path]:
    """The models and, up to `MANY`, others of the first one's size with random weights, which cost as much."""
    from wakeword.acoustic.encoder import SIZES
    from wakeword.export import export_onnx

    channels = Detector.load(models[0]).info["sizes"]["encoder"]["channels"]
    size = next((name for name, sizes in SIZES.items() if sizes.channels == channels), "micro")
    others = [folder / f"random-{seed}.onnx" for seed in range(MANY - len(models))]
    for seed, path in enumerate(others):
        export_onnx(random_model(size, 1, folder, seed), path)
    return [*models, *others]


def sound(args: argparse.Namespace, skipped: Skipped) -> tuple[np.ndarray, list[Event]]:
    """What is played, int16 [samples], and the phrases in it: a quiet room, then clips until the minutes are full."""
    clips = for_testing(find_clips(args.positives))
    pieces, heard, wanted = [], 0, args.minutes * 60 * SAMPLE_RATE
    rounds = 1 + int(args.minutes * 60 / (PAUSE_S[0] * len(clips)))
    for piece in positive_stream(clips * rounds, PAUSE_S, skipped=skipped):
        if heard + len(piece.samples) > wanted:
            break
        pieces.append(piece)
        heard += len(piece.samples)
    if not pieces:
        raise WakewordError(f"no clip fits into {args.minutes:g} minutes. {skipped.summary()}")
    stream = join(pieces)
    idle_s = args.idle_minutes * 60
    samples = np.concatenate([np.zeros(round(idle_s * SAMPLE_RATE), np.float32), stream.samples])
    samples += np.random.default_rng(0).standard_normal(len(samples), np.float32) * np.float32(ROOM_RMS)
    moved = [Event(e.start_s + idle_s, e.end_s + idle_s, e.speech_end_s + idle_s, e.clip) for e in stream.events]
    return (np.clip(samples, -1, 1) * 32767).astype("<i2"), moved


def report(args: argparse.Namespace) -> dict:
    """Play, and what came of it."""
    word = Detector.load(args.models[0]).phrases[0]
    peers = environment(args.folder / "venv") if args.peers and word == "alexa" else None
    skipped = Skipped()
    samples, events = sound(args, skipped)
    idle_s, all_s = args.idle_minutes * 60, len(samples) / SAMPLE_RATE
    with tempfile.TemporaryDirectory() as name, pulse_null_sink() as pulse:
        write_wav(Path(name) / "played.wav", samples.astype(np.float32) / 32768)
        recorder = Recorder(pulse)
        try:
            with listening(pulse, filled(args.models, Path(name)), peers) as listeners:
                say(f"{len(listeners)} listeners; playing for {all_s / 60:.1f} minutes", "audio_path")
                began_s = time.time()
                player = pulse.play(Path(name) / "played.wav", wait=False)
                for until_s in (args.settle_s, idle_s, all_s):
                    time.sleep(max(0.0, began_s + until_s - time.time()))
                    for each in listeners:
                        each.look()
                player.communicate(timeout=60)
                time.sleep(GRACE_S)
        finally:
            recorder.close()
        ends_s = np.array(list(played_at(recorder, samples, events, began_s)))
    known = ~np.isnan(ends_s)
    if not known.any():
        raise WakewordError("none of the clips came out of the sound card: is the machine too slow?")
    lengths_s = np.array([event.speech_end_s - event.start_s for event in events])
    rows = []
    for each in listeners:
        delay_s, others = delays(ends_s[known], lengths_s[known], each.hits)
        rows.append(row_of(each, delay_s, others, idle_s - args.settle_s, all_s - idle_s))
    if len(skipped):
        say(skipped.summary(), "audio_path")
    played = {"phrase": word, "minutes": (all_s - idle_s) / 60, "clips": int(known.sum()), "lost": int((~known).sum())}
    return {"machine": machine(), "played": played, "listeners": rows}


def row_of(listener: Listener, delay_s: np.ndarray, others: int, idle_s: float, speech_s: float) -> dict:
    """A line of the table."""
    missed, stats = np.isnan(delay_s), delay_stats(delay_s)
    low, high = wilson_interval(int(missed.sum()), len(delay_s))
    hours = (idle_s + speech_s) / 3600
    began, quiet, ended = listener.cpu_s
    return {
        "listener": listener.name,
        "models": listener.models,
        "missed %": f"{100 * missed.mean():.1f} ({100 * low:.1f}-{100 * high:.1f})",
        "other hits/h": f"{others / hours:.1f} (to {poisson_interval(others, hours)[1]:.1f})",
        "delay s, median": stats["median_s"],
        "95th percentile": stats["p95_s"],
        "CPU s/h": (ended - quiet) / speech_s * 3600,
        "CPU s/h, quiet room": (quiet - began) / idle_s * 3600,
        "% of a core, quiet": 100 * (quiet - began) / idle_s,
        "memory MB": listener.memory_mb[0],
        "peak MB": listener.memory_mb[1],
    }


def text(found: dict) -> str:
    """The report as Markdown."""
    played = found["played"]
    return "\n".join(
        [
            about(found["machine"]),
            "",
            f"{played['clips']} times '{played['phrase']}' in {played['minutes']:.1f} minutes"
            + (f", {played['lost']} more not found in what was recorded" if played["lost"] else "")
            + ", all listeners at the same time:",
            "",
            markdown(found["listeners"]),
            "",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", type=Path, required=True, metavar="FILE.onnx", help="the phrase's first")
    parser.add_argument("--positives", nargs="+", required=True, metavar="PATH", help="clips of the first one's phrase")
    minutes = number(float, above=0)
    parser.add_argument("--minutes", type=minutes, default=60.0, help="of phrases and pauses (60)")
    parser.add_argument("--idle-minutes", type=minutes, default=5.0, help="of a quiet room before (5)")
    parser.add_argument("--settle-s", type=minutes, default=20.0, metavar="S", help="of it that do not count (20)")
    parser.add_argument("--no-peers", dest="peers", action="store_false", help="without the other engines")
    parser.add_argument("--folder", type=Path, default=Path("exp/peers"), help="where the peers' environment lies")
    add_outputs(parser)
    args = parser.parse_args()
    if args.settle_s >= 60 * args.idle_minutes:
        parser.error("--settle-s: less than --idle-minutes, a part of which it is")
    return exit_status(lambda: publish(report(args), text, args), "audio_path")


if __name__ == "__main__":
    sys.exit(main())
