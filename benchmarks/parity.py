"""An exported C directory, or another exported file, beside the model that it was made of, on the same audio.

    python benchmarks/parity.py computer-c/ computer.wakeword --positives clips/ --negatives speech/ --noise noise/

The C code is compiled for this machine, a .tflite, .pte or .onnx file run by its runtime. It hears what the float model
(torch, streaming) hears: the clips as one stream, clean and, with --noise, at --snr, and hours without the phrase.
Printed are how far scores differ, the hits in common at the model's threshold, misses and false alarms there, and the
miss rate at --fa false alarms an hour (in hindsight). Clips and recordings that their manifests keep for testing are
left out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from wakeword.cli import bar, exit_status
from wakeword.clips import Clip, find_clips, for_development, in_pieces, told_seconds
from wakeword.detector import Detector, output_of
from wakeword.errors import Skipped, WakewordError
from wakeword.export.c_host import CHost
from wakeword.metrics import Track, alarms, det_curve, hits, miss_at
from wakeword.runtimes import is_exported, is_litert, is_pte
from wakeword.streams import join, negative_stream, noise_bed, positive_stream, score_stream

SAME_S = 0.1 + 1e-6
"""Hits no further apart are the same."""


def at_most(clips: list[Clip], hours: float) -> list[Clip]:
    """Clips of so many hours, from all over the list."""
    chosen, seconds = [], 0.0
    for index in np.argsort(np.arange(len(clips)) * 0.618034 % 1):
        if seconds < 3600 * hours:
            chosen.append(clips[index])
            seconds += told_seconds(clips[index]) or 0.0
    return chosen


def in_common(one: np.ndarray, other: np.ndarray) -> int:
    """How many times of `one` have one of `other` within `SAME_S`."""
    return sum(bool(len(other)) and float(np.abs(other - time_s).min()) <= SAME_S for time_s in one)


def tracks_of(detectors: list, pieces, output: int) -> list[Track]:
    """A track of each detector on the same stream, which is held in memory (an hour of it takes 230 MB)."""
    whole = [join(pieces)]
    return [score_stream(detector, whole)[0][output] for detector in detectors]


def exported(path: Path, library: Path) -> tuple[str, CHost | Detector]:
    """What hears for an exported model, and its name in the table."""
    if is_exported(path):
        name = "LiteRT" if is_litert(path) else "ExecuTorch" if is_pte(path) else "ONNX"
        return name, Detector.load(path)
    return "C", CHost(path, library)


def rows(
    name: str,
    positives: dict[str, list[Track]],
    negatives: list[Track],
    threshold: float,
    wait: float,
    rate: float,
) -> str:
    """The table: each condition's score differences, hits in common, misses; the negatives' false alarms."""
    lines = [
        f"| | largest, mean difference of scores | hits, float | hits, {name} | in common | missed, float "
        f"| missed, {name} | missed at {rate:g} FA/h, float | {name} |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for heard, tracks in [*positives.items(), ("negatives", negatives)]:
        apart = np.abs(tracks[0].score - tracks[1].score)
        fired = [alarms(track.time_s, track.score, threshold, wait) for track in tracks]
        cells = [heard, f"{apart.max():.3f}, {apart.mean():.1e}", *(str(len(each)) for each in fired)]
        cells.append(str(in_common(*fired)))
        if heard == "negatives":
            cells += [f"{len(each) / track.hours:.2f} FA/h" for each, track in zip(fired, tracks, strict=True)] + [
                "",
                "",
            ]
        else:
            clips = len(tracks[0].starts_s)
            cells += [f"{int(np.isnan(hits(track, threshold, wait)).sum())} of {clips}" for track in tracks]
            for track, other in zip(tracks, negatives, strict=True):
                point = miss_at(det_curve([track], [other], refractory_s=wait), rate)
                cells.append("none" if point is None else f"{100 * point.miss_rate:.1f} %")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exported", metavar="DIR|FILE", type=Path)
    parser.add_argument("model", metavar="MODEL", help="the .wakeword file that it was made of")
    parser.add_argument("--phrase", help="which phrase, where the model listens for several")
    parser.add_argument("--positives", nargs="+", required=True, metavar="PATH")
    parser.add_argument("--negatives", nargs="+", required=True, metavar="PATH")
    parser.add_argument("--noise", nargs="+", default=[], metavar="PATH")
    parser.add_argument("--snr", type=float, default=10.0, metavar="DB")
    parser.add_argument("--hours", type=float, default=1.0, help="of negatives (1)")
    parser.add_argument("--fa", type=float, default=0.5, help="false alarms an hour of the last columns (0.5)")
    args = parser.parse_args()
    reference, skipped, progress = Detector.load(args.model), Skipped(), bar()
    output = output_of(args.phrase, reference.phrases)
    clips = for_development(find_clips(args.positives))
    unsaid = at_most(in_pieces(for_development(find_clips(args.negatives))), args.hours)
    noise = noise_bed(for_development(find_clips(args.noise)), skipped) if args.noise else None
    with tempfile.TemporaryDirectory() as temporary:
        kind, device = exported(args.exported, Path(temporary) / "model.so")
        if device.info != reference.info:
            raise WakewordError(f"{args.exported}: not made of {args.model}, or before its thresholds were set anew")
        detectors, positives = [reference, device], {}
        for name, snr in [("clips, clean", None), *([(f"clips, {args.snr:g} dB", args.snr)] if args.noise else [])]:
            progress(f"hearing {name}", 0.0)
            pieces = positive_stream(clips, noise=noise if snr is not None else None, snr_db=snr, skipped=skipped)
            positives[name] = tracks_of(detectors, pieces, output)
        progress("hearing negatives", 0.0)
        negatives = tracks_of(detectors, negative_stream(unsaid, skipped=skipped), output)
    threshold = reference.thresholds[output]
    print(
        f"'{reference.phrases[output]}', threshold {threshold:.4f}, {len(clips)} clips, {negatives[0].hours:.2f} h of "
        f"negatives. {skipped.summary()}\n"
    )
    print(rows(kind, positives, negatives, threshold, reference.refractory_s, args.fa))


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
