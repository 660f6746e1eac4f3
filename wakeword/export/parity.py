"""Exported models beside the model that they were made of, on the same audio: `wakeword parity`.

All hear one stream at once: the clips, clean and in noise, and hours without the phrase. Each is run as it is on its
target, as far as this machine can: C compiled here, the others by their runtimes. Nothing is chosen on what is heard.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from wakeword import __version__
from wakeword.audio.clips import Clip, in_pieces, told_seconds
from wakeword.detector.detector import Detector, output_of
from wakeword.errors import ModelError, Skipped, WakewordError
from wakeword.evaluation.conditions import noisy, ordered
from wakeword.evaluation.metrics import Track, alarms, det_curve, hits, miss_at, too_wide
from wakeword.evaluation.operating import alarm_figures, miss_figures
from wakeword.evaluation.parity_card import SIDES
from wakeword.evaluation.streams import Progress, Stream, negative_stream, noise_bed, positive_stream, score_stream
from wakeword.export.c_host import CHost
from wakeword.export.calibration import SAME_S, spread
from wakeword.export.esphome_host import EsphomeHost
from wakeword.export.web_host import web_host
from wakeword.model.folders import read_folder
from wakeword.model.runtimes import exported_meta, is_litert, is_onnx, is_pte, rewrite_model_meta

_RUNTIMES = (
    (is_onnx, "ONNX Runtime", "onnxruntime"),
    (is_litert, "LiteRT", "ai-edge-litert"),
    (is_pte, "ExecuTorch", "executorch"),
)
NEGATIVES = "negatives"
Host = Detector | CHost | EsphomeHost


def host_of(path: Path, library: Path) -> tuple[str, Host]:
    """What runs an exported model, in words, and it as what has `reset`, `scores` and `info` of a `Detector`.

    Args:
        library: where C code is compiled to.

    Raises:
        ModelError: not an exported model. WakewordError: what runs it is not installed.
    """
    for known, name, package in _RUNTIMES:
        if known(path):
            return _with_version(name, package), Detector.load(path)
    told = read_folder(path)
    if "manifest" in told:
        return _with_version("pymicro-wakeword", "pymicro-wakeword"), EsphomeHost(path)
    if "dtype" in told:
        host = CHost(path, library)
        return f"C ({host.dtype})", host
    return f"the page's graph in {_with_version(*_RUNTIMES[0][1:])}", web_host(path)


def _with_version(name: str, package: str) -> str:
    try:
        return f"{name} {metadata.version(package)}"
    except metadata.PackageNotFoundError:  # a build of another name
        return name


def made_of(exported: dict, trained: dict) -> bool:
    """Whether the meta of an exported model is that of a trained one, whatever their thresholds, which `calibrate`
    changes in either."""

    def same(meta: dict) -> dict:
        phrases = [{**entry, "threshold": None, "calibration": None} for entry in meta["phrases"]]
        return {**meta, "phrases": phrases, "parity": None}

    return same(exported) == same(trained)


class _Abreast:
    """Several detectors on one stream, as one whose phrases are the same phrase as each of them hears it."""

    def __init__(self, detectors: Sequence[Host], output: int):
        self.detectors, self.output, self.phrases = detectors, output, range(len(detectors))

    def reset(self) -> None:
        for detector in self.detectors:
            detector.reset()

    def scores(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [detector.scores(samples) for detector in self.detectors]
        return found[0][0], np.stack([score[:, self.output] for _, score in found], axis=1)


def measure(
    model: str | Path,
    exported: Sequence[str | Path],
    positives: Sequence[Clip],
    negatives: Sequence[Clip],
    noise: Sequence[Clip] = (),
    snrs: Sequence[float] = (10.0,),
    fa_per_hour: float = 0.5,
    phrase: str | None = None,
    skipped: Skipped | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """What parity of each exported model's phrase there is; `write` puts it into its meta.

    Hits, misses and false alarms are those at the exported model's own threshold, for both models. `missed_at` are
    the misses at the threshold that keeps `fa_per_hour` on these negatives, each model's own, in hindsight. Scores are
    posteriors averaged over the model's `smoothing_frames`, which is what a threshold meets.

    Args:
        model: the `.wakeword` file.
        negatives: clips without the phrase; the clean ones count for all conditions.
        noise: recordings mixed under the positives at each of `snrs`, beside the clean condition.
        skipped: gets what cannot be read.

    Raises:
        ModelError: not a trained model, not exported ones, or these were not made of it.
        WakewordError: a runtime, a C compiler or torch is missing, nothing could be read, or no `phrase` is named of
            several.
    """
    reference, skipped = Detector.load(model), skipped if skipped is not None else Skipped()
    output = output_of(phrase, reference.phrases)
    with TemporaryDirectory() as folder:
        hosts = [host_of(Path(path), Path(folder) / f"{number}.so") for number, path in enumerate(exported)]
        for path, (_, host) in zip(exported, hosts, strict=True):
            if not made_of(host.info, reference.info):
                raise ModelError(f"{path}: not made of {model}: give the .wakeword file that it was exported from")
        together = _Abreast([reference, *(host for _, host in hosts)], output)
        heard = tracks_of(together, positives, negatives, noise, snrs, skipped, progress)
    found = []
    for number, (runtime, host) in enumerate(hosts, 1):
        pairs = {name: (tracks[0], tracks[number]) for name, tracks in heard.items()}
        threshold = host.info["phrases"][output]["threshold"]
        told = {"measured": date.today().isoformat(), "version": __version__, "runtime": runtime}
        told |= {"threshold": threshold, "smoothing_frames": host.info["smoothing_frames"], "skipped": len(skipped)}
        window = host.info["smoothing_frames"]
        found.append(told | beside(pairs, threshold, reference.refractory_s, fa_per_hour, window))
    return found


def tracks_of(
    detector: Host | _Abreast,
    positives: Sequence[Clip],
    negatives: Sequence[Clip],
    noise: Sequence[Clip],
    snrs: Sequence[float],
    skipped: Skipped,
    progress: Progress | None = None,
) -> dict[str, list[Track]]:
    """A detector's tracks, of each of its phrases, on the same stream: by condition, `NEGATIVES` the last.

    Raises:
        WakewordError: nothing could be read.
    """
    bed = noise_bed(noise, skipped) if noise else None

    def heard(pieces: Iterable[Stream], count: int, stage: str) -> list[Track]:
        tracks, events = score_stream(detector, pieces, count, progress, stage)
        if not events or not tracks[0].hours:
            raise WakewordError(f"no {stage} to compare on: {skipped.summary() or 'none given'}")
        return tracks

    said = {}
    for name, condition in ordered([noisy(None), *map(noisy, snrs if noise else ())]).items():
        pieces = positive_stream(positives, noise=bed, snr_db=condition.snr_db, skipped=skipped)
        said[name] = heard(pieces, len(positives), f"positives, {name}")
    said[NEGATIVES] = heard(negative_stream(negatives, skipped=skipped), len(negatives), NEGATIVES)
    return said


def beside(
    pairs: Mapping[str, tuple[Track, Track]], threshold: float, pause_s: float, fa_per_hour: float, window: int
) -> dict[str, Any]:
    """Both tracks of each condition, the negatives the last, side by side.

    The difference of scores is that from where they are averages of `window` posteriors: ESPHome's component and
    pymicro-wakeword have none before.
    """
    negatives, heard = pairs[NEGATIVES], {}
    for name, pair in pairs.items():
        fired = [alarms(track.time_s, track.score, threshold, pause_s) for track in pair]
        counted = {**dict(zip(SIDES, map(len, fired), strict=True)), "in_common": in_common(*fired)}
        heard[name] = {**_apart([pair], window), "hits": counted}
        if name == NEGATIVES:
            rates = [alarm_figures(len(times), pair[0].hours, len(pair[0].starts_s), fa_per_hour) for times in fired]
            heard[name]["false_alarms"] = dict(zip(SIDES, rates, strict=True))
            continue
        missed = [_missed(track, threshold, pause_s) for track in pair]
        points = [
            miss_at(det_curve([one], [other], refractory_s=pause_s), fa_per_hour)
            for one, other in zip(pair, negatives, strict=True)
        ]
        at = [
            point and {"threshold": point.threshold, **_missed(track, point.threshold, pause_s)}
            for point, track in zip(points, pair, strict=True)
        ]
        heard[name] |= {"missed": dict(zip(SIDES, missed, strict=True)), "missed_at": dict(zip(SIDES, at, strict=True))}
    hours = negatives[0].hours
    return {
        "clips": max(len(pair[0].starts_s) for name, pair in pairs.items() if name != NEGATIVES),
        "hours": hours,
        "fa_per_hour": fa_per_hour,
        **_apart(pairs.values(), window),
        "heard": heard,
        "note": too_wide(hours, fa_per_hour),
    }


def _missed(track: Track, threshold: float, pause_s: float) -> dict[str, Any]:
    return miss_figures(np.isnan(hits(track, threshold, pause_s)))


def _apart(pairs: Iterable[tuple[Track, Track]], window: int) -> dict[str, float]:
    apart = np.concatenate([np.abs(one.score - other.score)[window - 1 :] for one, other in pairs])
    return {"largest_difference": float(apart.max()), "mean_difference": float(apart.mean(dtype=np.float64))}


def in_common(one: np.ndarray, other: np.ndarray) -> int:
    """How many of `one`, times in seconds, have one of `other` at most `SAME_S` away."""
    return sum(bool(len(other)) and float(np.abs(other - time_s).min()) <= SAME_S for time_s in one)


def at_most(clips: Iterable[Clip], hours: float) -> list[Clip]:
    """Pieces of clips that make about so many hours, from all over them; fewer where there are not so many."""
    chosen, seconds = [], 0.0
    for clip in spread(in_pieces(clips)):
        if seconds < 3600 * hours:
            chosen.append(clip)
            seconds += told_seconds(clip) or 0.0
    return chosen


def write(path: str | Path, phrase: str, parity: dict[str, Any]) -> None:
    """Put a phrase's parity into an exported model's meta, beside that of other phrases.

    Raises:
        WakewordError: it cannot be written; it is then as it was.
    """
    before = exported_meta(path).get("parity")
    rewrite_model_meta(path, {"parity": {**(before if isinstance(before, dict) else {}), phrase: parity}})
