"""A large recognizer's encoder as the teacher: its frames are computed once for each utterance and kept on disk.

Whisper (Radford et al. 2022, https://arxiv.org/abs/2212.04356) in CTranslate2 form, run by faster-whisper. Its 20 ms
frames are averaged in pairs to the student's 40 ms, each dimension is standardised over the corpus.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.errors import ManifestError, Skipped, WakewordError, require
from wakeword.features.log_mel import FRAME_S, SAMPLE_RATE
from wakeword.files import replacing
from wakeword.pretraining.teacher_keys import add_key, key_of, read_keys
from wakeword.pretraining.teacher_layers import with_layers

WINDOW_S = 30.0
"""Seconds of audio that the teacher takes at once (Whisper's)."""

GAP_S = 0.32
"""Seconds of silence between utterances that share a window, so that they do not run into one another."""


@dataclass(frozen=True)
class Teacher:
    """`encode` takes up to 30 s of audio, float32 `[samples]`, and returns float32 `[frames of 40 ms, dims]`."""

    name: str
    encode: Callable[[np.ndarray], np.ndarray]


def find_model(source: str) -> Path:
    """The folder of a CTranslate2 Whisper model: `source` itself or below it, or inside an installed package.

    `faster_whisper.download_model(SIZE, FOLDER)` fetches such a folder, and so does whoever converts a model.

    Raises:
        WakewordError: neither a folder with `model.bin` nor an installed package that holds one, or only half of it.
    """
    roots = [Path(source)]
    if source.isidentifier():
        spec = importlib.util.find_spec(source)
        if spec is not None:
            roots += [Path(place) for place in spec.submodule_search_locations or []]
    for root in roots:
        for found in [root / "model.bin", *sorted(root.glob("**/model.bin"))]:
            if found.is_file():
                if not (found.parent / "tokenizer.json").is_file():  # faster-whisper would ask the network for it
                    raise WakewordError(
                        f"{found.parent}: has a model.bin but no tokenizer.json: fetch the whole folder"
                    )
                return found.parent
    raise WakewordError(
        f"teacher '{source}': no CTranslate2 Whisper model there: give a folder that holds model.bin (faster-whisper's "
        "download_model fetches one), or the name of an installed package that does"
    )


def load_teacher(source: str, threads: int = 2) -> Teacher:
    """Whisper's encoder, from a folder or an installed package; after `@` the layer whose output is taken.

    Raises:
        WakewordError: no model there, a damaged or incomplete one, no such layer, or faster-whisper is not installed.
    """
    whisper = require("faster_whisper", "teacher")
    # A folder may have the sign in its own name.
    place, at, layer = (source, "", "") if Path(source).exists() else source.rpartition("@")
    with tempfile.TemporaryDirectory() as scratch:
        folder = find_model(place if at else source)
        if at:
            folder = with_layers(folder, layer, Path(scratch), source)
        try:
            model = whisper.WhisperModel(str(folder), device="auto", compute_type="float32", cpu_threads=threads)
        except (RuntimeError, ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise WakewordError(
                f"teacher '{source}': cannot be loaded ({reason}): damaged or incomplete, fetch the whole folder again"
            ) from error

    def encode(samples: np.ndarray) -> np.ndarray:
        frames = -(-len(samples) // int(FRAME_S * SAMPLE_RATE))
        padded = np.zeros(int(WINDOW_S * SAMPLE_RATE), np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        log_mel = model.feature_extractor(padded, padding=0)[:, : int(WINDOW_S * 100)]
        output = np.asarray(model.encode(log_mel))[0]
        return output.reshape(len(output) // 2, 2, -1).mean(axis=1)[:frames]

    return Teacher(source, encode)


def _level(samples: np.ndarray) -> np.ndarray:
    # Whisper's features are relative to the loudest part of the window: a quiet neighbour would be drowned.
    return samples * min(30.0, 0.6 / max(1e-4, float(np.abs(samples).max(initial=0))))


def _windows(cuts, skipped: Skipped) -> Iterator[list[tuple[object, np.ndarray]]]:
    """Packs of `(cut, samples)` that fill the teacher's window; a long cut comes in several pieces, in order."""
    frame = int(FRAME_S * SAMPLE_RATE)
    limit, gap = int(WINDOW_S * SAMPLE_RATE), int(GAP_S * SAMPLE_RATE)
    pack, used = [], 0
    for cut in cuts:
        try:
            samples = cut.resample(SAMPLE_RATE).load_audio()[0]
        except Exception as error:  # Decoders raise many kinds; a damaged file must not end the corpus.
            skipped.add(cut.id, f"{cut.id}: {error}".splitlines()[0])
            continue
        if not np.isfinite(samples).all():  # it would spoil all that shares its window
            skipped.add(cut.id, f"{cut.id}: holds samples that are NaN or infinite: export it again")
            continue
        samples = _level(samples)
        for start in range(0, len(samples), limit):
            piece = samples[start : start + limit]
            if used + len(piece) > limit and pack:
                yield pack
                pack, used = [], 0
            pack.append((cut, piece))
            used += -(-(len(piece) + gap) // frame) * frame
    if pack:
        yield pack


def _encode_pack(teacher: Teacher, pack) -> Iterator[tuple[object, np.ndarray]]:
    frame = int(FRAME_S * SAMPLE_RATE)
    audio = np.zeros(int(WINDOW_S * SAMPLE_RATE), np.float32)
    starts, position = [], 0
    for _, samples in pack:
        starts.append(position)
        audio[position : position + len(samples)] = samples
        position += -(-(len(samples) + int(GAP_S * SAMPLE_RATE)) // frame) * frame
    output = teacher.encode(audio)
    for (cut, samples), start in zip(pack, starts, strict=True):
        yield cut, output[start // frame : start // frame + -(-len(samples) // frame)]


def _statistics(cuts, teacher: Teacher, windows: int) -> dict:
    """Mean and deviation of each dimension over some windows from all over the corpus."""
    step = max(1, len(cuts) // (windows * 8))
    frames = []
    for pack, _ in zip(_windows((cut for cut in list(cuts)[::step]), Skipped()), range(windows), strict=False):
        frames += [output for _, output in _encode_pack(teacher, pack)]
    if not frames:
        raise WakewordError("no utterance could be read for the teacher: check the manifests' audio paths")
    frames = np.concatenate(frames)
    if not np.isfinite(frames).all():
        raise WakewordError(f"teacher '{teacher.name}': its frames are NaN or infinite: damaged, fetch it again")
    return {"teacher": teacher.name, "mean": frames.mean(0).tolist(), "deviation": (frames.std(0) + 1e-5).tolist()}


def _read_statistics(file: Path, source: str) -> tuple[np.ndarray, np.ndarray]:
    try:
        statistics = json.loads(file.read_text())
        made_with, mean, deviation = (statistics[key] for key in ("teacher", "mean", "deviation"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WakewordError(f"{file}: cannot be read: delete its folder, it will be made again") from error
    if made_with != source:
        raise WakewordError(f"{file.parent}: holds frames of '{made_with}': give '{source}' another folder")
    mean, deviation = np.asarray(mean, np.float32), np.asarray(deviation, np.float32)
    if not (np.isfinite(mean).all() and np.isfinite(deviation).all()):
        raise WakewordError(f"{file}: holds NaN or infinity: delete its folder, it will be made again")
    return mean, deviation


def cache_teacher(cuts, source: str, folder: str | Path, threads: int = 2, progress=None) -> tuple[object, Skipped]:
    """Give each cut a custom array `teacher`: float16 `[frames of 40 ms, dims]`, standardised, kept under `folder`.

    An utterance whose array is there already is not computed again, so an interrupted run goes on where it was; one
    whose array is not as long as it, or of another recording by `teacher_keys`, and so another's of the same name, or
    holds NaN or infinity, is.
    A file that was recorded anew under its name, as long as before to the sample, is not told apart; nor is another
    recording within a frame as long where an earlier version made the array. Then delete the folder.

    Args:
        cuts: lhotse CutSet (eager).
        source: a folder with a CTranslate2 Whisper model, or an installed package; `SOURCE@2`: its second layer.
        progress: called with the seconds of audio that are there already, then with those that each window adds.

    Returns:
        The cuts with their arrays, and the utterances that could not be read.

    Raises:
        ManifestError: two utterances of one name are not the same.
        WakewordError: no teacher there, one whose frames are not finite, or `folder` was made with another one.
    """
    lhotse = require("lhotse")
    from lhotse.array import Array, TemporalArray

    _refuse_namesakes(cuts)
    folder = Path(folder)
    statistics_file = folder / "statistics.json"
    path_of = lambda cut: folder / cut.id[-2:].replace("/", "_") / f"{cut.id.replace('/', '_')}.npy"  # noqa: E731
    known = read_keys(folder)
    missing = [cut for cut in cuts if known.get(cut.id, key_of(cut)) != key_of(cut) or not _is_of(path_of(cut), cut)]
    if progress:
        progress(sum(cut.duration for cut in cuts) - sum(cut.duration for cut in missing))
    skipped = Skipped()
    if missing or not statistics_file.exists():
        teacher = load_teacher(source, threads)
        if not statistics_file.exists():
            made = _statistics(cuts, teacher, windows=60)
            with replacing(statistics_file) as temporary:
                temporary.write_text(json.dumps(made))
    mean, deviation = _read_statistics(statistics_file, source)
    for cut in missing:
        path_of(cut).unlink(missing_ok=True)

    pending: dict[str, list[np.ndarray]] = {}
    for pack in _windows(missing, skipped):
        for cut, output in _encode_pack(teacher, pack):
            standard = np.clip((output - mean) / deviation, -10, 10).astype(np.float16)
            pieces = pending.setdefault(cut.id, [])
            pieces.append(standard)
            if sum(map(len, pieces)) >= int(cut.duration / FRAME_S) - 1:
                frames = np.concatenate(pending.pop(cut.id))
                if not np.isfinite(frames).all():
                    skipped.add(cut.id, f"{cut.id}: the teacher's frames of it are NaN: leave it out")
                    continue
                add_key(folder, cut)
                with replacing(path_of(cut)) as temporary, open(temporary, "wb") as file:
                    np.save(file, frames)
        if progress:
            progress(sum(len(samples) for _, samples in pack) / SAMPLE_RATE)

    kept, computed = [], {cut.id for cut in missing}
    for cut in cuts:
        path = path_of(cut)
        if cut.id not in computed or _is_of(path, cut):  # the others were read through above
            shape = list(np.load(path, mmap_mode="r").shape)
            array = Array("numpy_files", str(path.parent), path.name, shape)
            cut.teacher = TemporalArray(array, temporal_dim=0, frame_shift=FRAME_S, start=cut.start)
            kept.append(cut)
    return lhotse.CutSet.from_cuts(kept), skipped


def _refuse_namesakes(cuts) -> None:
    """The cache goes by name: of two recordings with one name, one would get the frames of the other."""
    known: dict[str, tuple] = {}
    for cut in cuts:
        heard = [source.source for source in cut.recording.sources], cut.start, cut.duration, cut.channel
        first = known.setdefault(cut.id, heard)
        if first != heard:
            places = " and ".join(str(sources[0])[:200] for sources, *_ in (first, heard))
            raise ManifestError(
                f"two utterances are named '{cut.id}' ({places}): prepare one of their corpora with another --name"
            )


def _is_of(path: Path, cut) -> bool:
    """Whether the array there is whole, finite and as long as the utterance."""
    try:
        array = np.load(path, mmap_mode="r")
        frames, finite = len(array), np.isfinite(array).all()
    except (OSError, ValueError, TypeError):
        return False
    # A frame that is begun counts, once in each window of a long one; a resampled recording may be a little shorter.
    return finite and int(cut.duration / FRAME_S) - 1 <= frames <= cut.duration / FRAME_S + 1 + cut.duration / WINDOW_S
