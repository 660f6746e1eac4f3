"""What a gate costs and spares: misses, false alarms and CPU time with it and without, side by side.

    python benchmarks/gate.py alexa.onnx --positives exp/manifests/wakewords-alexa_cuts.jsonl.gz \\
        --negatives exp/manifests/voxforge_cuts.jsonl.gz --noise exp/manifests/noise-{esc10,street}_cuts.jsonl.gz

Clips are those that their manifests keep for testing, where some do; `--training-clips` takes the others, to choose on.
`--alone` runs no detector: it counts the clips, all that are given and whatever is said in them, at whose end the gate
is shut, which is what a gate can lose; it is cheap and needs no model of their phrase. `--webrtc` adds how the voice
activity detector of webrtcvad-wheels would have decided, with the same hold.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"  # read when numpy is loaded

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))

from machine import about, add_outputs, machine, markdown, publish  # noqa: E402
from peers_streams import first_hours  # noqa: E402
from speed import measure, sliced, whole_over  # noqa: E402

from wakeword import Detector  # noqa: E402
from wakeword.audio.clips import Clip, find_clips, for_testing, for_training, in_pieces  # noqa: E402
from wakeword.audio.microphone import GATHERED_S  # noqa: E402
from wakeword.audio.waveform import SAMPLE_RATE  # noqa: E402
from wakeword.cli import exit_status, number, say  # noqa: E402
from wakeword.detector.detector import output_of  # noqa: E402
from wakeword.detector.gate import HOLD_S, gate_of  # noqa: E402
from wakeword.errors import Skipped, WakewordError, require  # noqa: E402
from wakeword.evaluation.metrics import Track, count_alarms, hits, poisson_interval, wilson_interval  # noqa: E402
from wakeword.evaluation.streams import Stream, join, negative_stream, noise_bed, positive_stream, score_stream  # noqa: E402
from wakeword.features.log_mel import FRAMES_PER_STEP, extract  # noqa: E402

BLOCK_S = 0.08
QUIET_DBFS = -75.0
AROUND_S = (-0.2, 0.5)
"""About the end of a phrase, by energy: hits of clips that are found come then."""


def steady(seconds: float, dbfs: float = -26.0) -> np.ndarray:
    """A fan: pink noise, float32 `[samples]`."""
    count = round(seconds * SAMPLE_RATE)
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(count))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 30)), count)
    return (noise * 10 ** (dbfs / 20) / np.sqrt(np.mean(noise**2))).astype(np.float32)


def heard(detectors: list[Detector], output: int, stream: Stream) -> list[Track]:
    """The tracks of a phrase without a gate and with."""
    return [score_stream(detector, [stream])[0][output] for detector in detectors]


def missed_row(condition: str, detectors: list[Detector], output: int, stream: Stream) -> dict:
    """A line of the table of misses, at the model's own threshold."""
    at, pause_s = detectors[0].thresholds[output], detectors[0].refractory_s
    known_s = [hits(track, at, pause_s) for track in heard(detectors, output, stream)]
    lost = [np.isnan(each) for each in known_s]
    is_open = decisions(stream.samples, detectors[0], False)["ours"]
    lead_s = open_before(known_s[1][~lost[1]], is_open, detectors[0].feature_settings.frame_s)
    return {
        "condition": condition,
        "clips": len(stream.events),
        "missed without": _share(lost[0]),
        "missed with": _share(lost[1]),
        "newly missed": int((lost[1] & ~lost[0]).sum()),
        "newly found": int((lost[0] & ~lost[1]).sum()),
        "least s from opening to hit": float(lead_s.min()) if len(lead_s) else None,
        f"hits sooner than {GATHERED_S:g} s": int((lead_s < GATHERED_S).sum()),
        "gate open %": 100 * detectors[1].gate_open,
    }


def open_before(known_s: np.ndarray, is_open: np.ndarray, frame_s: float) -> np.ndarray:
    """For how long the gate had been open when each hit was known, in seconds of the stream, float64 `[hits]`.

    `listen` hears that a gate opens up to `GATHERED_S` late, which delays a hit that comes sooner, and no other.
    """
    opens = np.flatnonzero(np.diff(is_open, prepend=False) & is_open)
    frames = np.round(known_s / frame_s).astype(int) - 1
    return (frames - opens[np.searchsorted(opens, frames, side="right") - 1]) * frame_s


def _share(lost: np.ndarray) -> str:
    low, high = wilson_interval(int(lost.sum()), len(lost))
    return f"{int(lost.sum())}: {100 * lost.mean():.2f} % ({100 * low:.1f}-{100 * high:.1f})"


def alarm_row(name: str, detectors: list[Detector], output: int, stream: Stream) -> dict:
    """A line of the table of false alarms."""
    at, pause_s = detectors[0].thresholds[output], detectors[0].refractory_s
    row: dict = {"negatives": name}
    for which, track in zip(("without", "with"), heard(detectors, output, stream), strict=True):
        count = int(count_alarms([track], [at], pause_s)[0])
        low, high = poisson_interval(count, track.hours)
        row |= {"hours": track.hours, f"FA/h {which}": f"{count / track.hours:.2f} ({low:.2f}-{high:.2f})"}
    return row | {"gate open %": 100 * detectors[1].gate_open}


def cpu_rows(detectors: list[Detector], sounds: dict[str, np.ndarray], repeats: int) -> list[dict]:
    """CPU seconds an hour of samples to hits, in live blocks of 80 ms."""
    rows = []
    for name, samples in sounds.items():
        blocks = sliced(samples, round(BLOCK_S * SAMPLE_RATE))
        timed = {
            (which,): whole_over(detector, blocks)
            for which, detector in zip(("without", "with"), detectors, strict=True)
        }
        spent = measure(timed, len(samples) / SAMPLE_RATE, repeats)
        row = {"sound": name, "seconds": len(samples) / SAMPLE_RATE}
        row |= {f"CPU s/h {which}": value for (which,), value in spent.items()}
        rows.append(row | {"gate open %": 100 * detectors[1].gate_open})
    return rows


def decisions(samples: np.ndarray, detector: Detector, webrtc: bool) -> dict[str, np.ndarray]:
    """Whether each gate is open, bool [encoder frames]: ours, and the library's at each of its settings."""
    decide, room = gate_of(detector.feature_settings)
    frames = extract(samples, detector.feature_settings)
    found = {"ours": np.array(decide(frames[: len(frames) // FRAMES_PER_STEP * FRAMES_PER_STEP], room)[0])}
    if not webrtc:
        return found
    vad = require("webrtcvad")
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    size = 2 * SAMPLE_RATE // 100
    hold = round(HOLD_S / detector.feature_settings.frame_s)
    for aggressiveness in range(4):
        each = vad.Vad(aggressiveness)
        voiced = np.array([each.is_speech(pcm[i : i + size], SAMPLE_RATE) for i in range(0, len(pcm) - size + 1, size)])
        voiced = voiced[: len(found["ours"]) * FRAMES_PER_STEP].reshape(-1, FRAMES_PER_STEP).any(1)
        last = np.maximum.accumulate(np.where(voiced, np.arange(len(voiced)), -hold))
        found[f"webrtcvad {aggressiveness}"] = np.arange(len(voiced)) - last < hold
    return found


def gate_rows(condition: str, detectors: list[Detector], output: int, stream: Stream) -> list[dict]:
    """How each gate would have done: clips lost and the share of time for which it is open."""
    track = heard(detectors[:1], output, stream)[0]
    at, pause_s = detectors[0].thresholds[output], detectors[0].refractory_s
    found = ~np.isnan(hits(track, at, pause_s))
    rows = []
    for name, is_open in decisions(stream.samples, detectors[0], True).items():
        through = Track(track.time_s, track.score * is_open, track.hours, track.starts_s, track.ends_s)
        lost = int((found & np.isnan(hits(through, at, pause_s))).sum())
        rows.append({"condition": condition, "gate": name, "lost": lost, "of": int(found.sum())})
        rows[-1]["open %"] = 100 * float(is_open.mean())
    return rows


def alone_row(condition: str, detector: Detector, stream: Stream) -> dict:
    """For how many clips the gate is shut anywhere about the phrase's end."""
    is_open = decisions(stream.samples, detector, False)["ours"]
    frame_s = detector.feature_settings.frame_s
    lost = 0
    for event in stream.events:
        first, last = (round((event.speech_end_s + around) / frame_s) for around in AROUND_S)
        lost += not is_open[max(0, first) : last + 1].all()
    count = len(stream.events)
    most = 100 * poisson_interval(lost, count, confidence=0.9)[1]
    return {"condition": condition, "clips": count, "shut": lost, "at most %": most, "open %": 100 * is_open.mean()}


def chosen(paths: Iterable[str], training: bool) -> list[Clip]:
    return (for_training if training else for_testing)(find_clips(paths))


def report(args: argparse.Namespace) -> dict:
    detectors = [Detector.load(args.model), Detector.load(args.model, gate=True)]
    skipped = Skipped()
    clips = find_clips(args.positives) if args.alone else chosen(args.positives, args.training_clips)
    bed = noise_bed(chosen(args.noise, args.training_clips), skipped)
    kinds = {"noise": bed, "steady noise": steady(60)}
    under = {f"{kind}, {snr_db:g} dB": (noise, snr_db) for snr_db in args.snr for kind, noise in kinds.items()}
    rows: dict[str, list[dict]] = {name: [] for name in TABLES}
    output = None if args.alone else output_of(args.phrase, detectors[0].phrases)
    for condition, (noise, snr_db) in {"clean": (None, None), **under}.items():
        say(condition, "gate")
        stream = join(positive_stream(clips, noise=noise, snr_db=snr_db, skipped=skipped))
        if not stream.events:
            raise WakewordError(f"no positives to measure misses on: {skipped.summary() or 'none given'}")
        if args.alone:
            rows["alone"].append(alone_row(condition, detectors[0], stream))
            continue
        rows["misses"].append(missed_row(condition, detectors, output, stream))
        if args.webrtc:
            rows["gates"] += gate_rows(condition, detectors, output, stream)
    found = {"machine": machine(), "model": str(args.model), "threshold": detectors[0].thresholds[output or 0]}
    if args.alone:
        return found | rows
    say("negatives", "gate")
    others = first_hours(in_pieces(chosen(args.negatives, args.training_clips)), args.limit_hours)
    negatives = join(negative_stream(others, skipped=skipped))
    if not negatives.events:
        raise WakewordError(f"no negatives to count false alarms on: {skipped.summary() or 'none given'}")
    rows["alarms"] = [alarm_row("clean", detectors, output, negatives)]
    say("CPU time", "gate")
    count = round(args.cpu_seconds * SAMPLE_RATE)
    sounds = {
        "speech": negatives.samples[:count],
        "noise": bed[:count],
        "a fan": steady(args.cpu_seconds, -40),
        "a quiet room": steady(args.cpu_seconds, QUIET_DBFS),
    }
    if args.webrtc:
        rows["gates"] += [
            {"condition": f"{name} alone", "gate": gate, "open %": 100 * float(is_open.mean())}
            for name, samples in sounds.items()
            for gate, is_open in decisions(samples, detectors[0], True).items()
        ]
    rows["cpu"] = cpu_rows(detectors, sounds, args.repeats)
    if len(skipped):
        say(skipped.summary(), "gate")
    return found | rows


TABLES: dict[str, Callable[[dict], str]] = {
    "misses": lambda found: f"Misses at the threshold of {Path(found['model']).name}, {found['threshold']:.3f}",
    "alone": lambda found: "Clips at whose end the gate is shut, and the most that may be (95 %, one-sided)",
    "gates": lambda found: "Which gate would have lost what",
    "alarms": lambda found: "False alarms",
    "cpu": lambda found: f"CPU seconds for an hour of sound, one thread, blocks of {1000 * BLOCK_S:.0f} ms",
}


def text(found: dict) -> str:
    """The report as Markdown."""
    lines = [about(found["machine"]), ""]
    for name, title in TABLES.items():
        if found[name]:
            lines += [f"{title(found)}:", "", markdown(found[name]), ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a .wakeword or .onnx file")
    parser.add_argument("--phrase", help="which phrase, where the model listens for several")
    parser.add_argument("--positives", nargs="+", required=True, metavar="PATH", help="clips of the phrase")
    parser.add_argument("--negatives", nargs="+", metavar="PATH", help="speech without the phrase")
    parser.add_argument("--noise", nargs="+", required=True, metavar="PATH", help="noise to hear the clips in")
    parser.add_argument("--snr", nargs="+", type=float, default=[10.0, 0.0], metavar="DB", help="(10 0)")
    parser.add_argument("--training-clips", action="store_true", help="the clips that are not kept for testing")
    parser.add_argument("--alone", action="store_true", help="the gate alone, on all clips; needs no --negatives")
    parser.add_argument("--webrtc", action="store_true", help="also decide by webrtcvad (pip install webrtcvad-wheels)")
    hours = number(float, above=0)
    parser.add_argument("--limit-hours", type=hours, default=1.0, metavar="H", help="hours of negatives (1)")
    parser.add_argument("--cpu-seconds", type=hours, default=120.0, metavar="S", help="of each sound timed (120)")
    parser.add_argument("--repeats", type=number(least=1), default=2, help="rounds, of which the least counts (2)")
    add_outputs(parser)
    args = parser.parse_args()
    if not (args.alone or args.negatives):
        parser.error("--negatives: give speech without the phrase, or --alone")
    return exit_status(lambda: publish(report(args), text, args), "gate")


if __name__ == "__main__":
    sys.exit(main())
