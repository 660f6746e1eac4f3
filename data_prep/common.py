"""What every corpus module shares: finding audio, probing it once, and writing one lhotse CutSet, whole or not at all."""

from __future__ import annotations

import csv
import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from wakeword.errors import ManifestError, Skipped, require
from wakeword.files import replacing

AUDIO_SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3", ".WAV", ".FLAC", ".OPUS", ".OGG", ".MP3")
BLOCK = 1 << 18  # samples decoded at a time, so that hours of recording need no hours of memory


@dataclass(frozen=True)
class Prepared:
    """What a prepare function made: the manifest, its size, and the files that it passed over."""

    manifest: Path
    cuts: int
    hours: float
    speakers: int
    skipped: Skipped


@dataclass
class Utterance:
    """One audio file as its corpus lists it.

    `path` is the listed file; on disk its suffix may differ. `speech=False` (noise, room impulse responses) gives a
    cut without supervision. `gender` is taken as published and normalised to "female" or "male".
    """

    id: str
    path: Path
    text: str | None = None
    speaker: str | None = None
    language: str | None = None
    gender: str | None = None
    custom: dict[str, str | int] = field(default_factory=dict)
    speech: bool = True


def folder(src: str | os.PathLike, remedy: str) -> Path:
    """`src` as an absolute path.

    Raises:
        ManifestError: it is no folder.
    """
    src = Path(src).expanduser().resolve()
    if not src.is_dir():
        raise ManifestError(f"{src}: no such folder: {remedy}")
    return src


def audio_files(src: Path) -> list[Path]:
    """Every audio file below `src`, sorted by path; hidden files and folders are left out."""
    found = (p for p in src.rglob("*") if p.suffix in AUDIO_SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(src).parts))


def find_audio(listed: Path) -> Path | None:
    """The listed file, or the same name with another audio suffix (a corpus is often kept transcoded)."""
    if listed.is_file():
        return listed
    # Not with_suffix for a name without an audio suffix: "a.b" would lose its ".b".
    stem = listed.with_suffix("") if listed.suffix in AUDIO_SUFFIXES else listed
    candidates = (stem.with_name(stem.name + suffix) for suffix in AUDIO_SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def lines(path: Path, remedy: str) -> list[str]:
    """The lines of a listing that are not blank. Old corpora mix UTF-8 and Latin-1, so what is not UTF-8 is Latin-1.

    Raises:
        ManifestError: the file is missing or cannot be read.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: the listing cannot be read ({error.strerror or error}): {remedy}") from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    # Not splitlines(): a transcript may hold U+2028 and the like.
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]


def pairs(path: Path, remedy: str) -> Iterator[tuple[str, str]]:
    """`key text` lines (Kaldi's text, wav.scp, utt2spk; LibriSpeech's trans.txt).

    Raises:
        ManifestError: the file is missing, or a line has a key alone.
    """
    for number, line in enumerate(lines(path, remedy), 1):
        key, _, value = line.strip().replace("\t", " ", 1).partition(" ")
        if not value.strip():
            raise ManifestError(f"{path}: line {number} is not 'KEY VALUE' ({line[:60]!r}): {remedy}")
        yield key, value.strip()


def table(path: Path, required: Iterable[str], remedy: str, delimiter: str = ",") -> Iterator[dict[str, str]]:
    """The rows of a table with a header line. In a TSV quotes are letters like any other (as Common Voice has it).

    Raises:
        ManifestError: the file is missing, a required column is, or a row has more or fewer fields than the header.
    """
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    rows = csv.reader((line + "\n" for line in lines(path, remedy)), delimiter=delimiter, quoting=quoting)
    try:
        header = next(rows, [])
        if missing := [name for name in required if name not in header]:
            raise ManifestError(f"{path}: the header has no column {', '.join(missing)}: {remedy}")
        for row in rows:
            if len(row) != len(header):
                raise ManifestError(
                    f"{path}: row {rows.line_num} has {len(row)} fields where the header has {len(header)}: {remedy}"
                )
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise ManifestError(f"{path}: line {rows.line_num} cannot be read ({error}): {remedy}") from error


def gender_of(published: str | None) -> str | None:
    """ "female" or "male" for what corpora write (F, m, Female, "male;"), None for anything else."""
    return {"f": "female", "m": "male"}.get((published or "").strip(" ;[]()").lower()[:1])


def probe(path: Path) -> str | None:
    """Decode a file once from end to end; why it cannot be used, or None if it can."""
    soundfile = require("soundfile")
    try:
        if path.stat().st_size == 0:
            return "empty file"
        decoded, peak = 0, 0.0
        with soundfile.SoundFile(path) as audio:
            announced = audio.frames
            while len(block := audio.read(BLOCK, dtype="float32", always_2d=True)):
                decoded += len(block)
                peak = max(peak, float(block.max()), -float(block.min()))
    except (OSError, RuntimeError) as error:  # soundfile's own error is a RuntimeError
        return f"cannot be decoded ({error})"
    if decoded == 0:
        return "holds no samples"
    if decoded < announced:
        return f"damaged: {decoded} of {announced} samples can be decoded"
    return None if 0 < peak < float("inf") else "holds nothing but digital silence, or is not finite"


def write_manifest(
    name: str,
    utterances: Iterable[Utterance],
    out: str | os.PathLike,
    licence: str,
    src: Path,
    piece_s: float | None = None,
    add: Callable[[Utterance, Path], dict] | None = None,
) -> Prepared:
    """Probe each utterance's audio once and write `out/<name>_cuts.jsonl.gz`.

    Args:
        name: the corpus, as it stands in the manifest's name, in each cut's id and in `custom["corpus"]`.
        piece_s: cut each recording into pieces of at most so many seconds (none shorter than a second, unless the
            recording is).
        add: further `custom` entries for an utterance whose audio was found, by the path of its audio.

    Raises:
        ManifestError: `src` gave no usable utterance at all.
    """
    lhotse, tqdm = require("lhotse"), require("tqdm")
    out = Path(out).expanduser().resolve()
    skipped, ids, cuts, speakers, seconds = Skipped(), set(), [], set(), 0.0

    def make(utterance: Utterance) -> tuple[Utterance, list | str]:
        path = find_audio(utterance.path)
        if path is None:
            return utterance, "listed, but there is no such file (nor one with another audio suffix)"
        if reason := probe(path):
            return utterance, reason
        try:
            custom = {"corpus": name, "licence": licence, **utterance.custom, **(add(utterance, path) if add else {})}
            return utterance, _cuts(lhotse, f"{name}-{utterance.id}", path, utterance, custom, piece_s)
        except Exception as error:  # lhotse raises many kinds for a file that only it cannot read
            return utterance, f"lhotse cannot use it ({' '.join(str(error).split())[:200]})"

    utterances = list(utterances)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        done = pool.map(make, utterances)
        for utterance, made in tqdm.tqdm(done, total=len(utterances), desc=name, unit="file", disable=None):
            if isinstance(made, str):
                skipped.add(utterance.path, f"{utterance.path}: {made}")
            elif utterance.id in ids:
                skipped.add(f"{utterance.path} ({utterance.id})", f"{utterance.path}: listed twice as {utterance.id}")
            else:
                ids.add(utterance.id)
                cuts += made
                seconds += sum(cut.duration for cut in made)
                if utterance.speech and utterance.speaker:
                    speakers.add(utterance.speaker)
    if not cuts:
        why = skipped.summary() or "no audio is listed or found"
        raise ManifestError(f"{src}: nothing to prepare for {name} ({why}): check the folder and its layout")
    manifest = out / f"{name}_cuts.jsonl.gz"
    with replacing(manifest) as temporary:
        lhotse.CutSet.from_cuts(cuts).to_jsonl(temporary)
    return Prepared(manifest, len(cuts), seconds / 3600, len(speakers), skipped)


def _cuts(lhotse, id_: str, path: Path, utterance: Utterance, custom: dict, piece_s: float | None) -> list:
    """The cuts of one file, each with its supervision; multi-channel only where there is no speech to supervise."""
    recording = lhotse.Recording.from_file(str(path), recording_id=id_)
    starts = [0.0]
    if piece_s and recording.duration > piece_s:
        starts = [
            i * piece_s
            for i in itertools.takewhile(lambda i: i * piece_s <= recording.duration - 1.0, itertools.count())
        ]
    made = []
    for i, start in enumerate(starts):
        end = starts[i + 1] if i + 1 < len(starts) else min(recording.duration, start + (piece_s or recording.duration))
        piece_id = f"{id_}-{i:04d}" if len(starts) > 1 else id_
        if not utterance.speech and recording.num_channels > 1:
            cut = recording.to_cut().truncate(offset=start, duration=end - start)
            cut.id = piece_id
        else:
            cut = lhotse.MonoCut(piece_id, start, round(end - start, 8), channel=0, recording=recording)
        if utterance.speech:
            cut.supervisions = [
                lhotse.SupervisionSegment(
                    id=piece_id,
                    recording_id=id_,
                    start=0.0,
                    duration=cut.duration,
                    channel=0,
                    text=utterance.text,
                    speaker=utterance.speaker,
                    language=utterance.language,
                    gender=gender_of(utterance.gender),
                )
            ]
        cut.custom = dict(custom)
        lhotse.qa.validate(cut)
        made.append(cut)
    return made
