"""What every corpus module shares: finding audio, probing it once, writing one lhotse CutSet whole or not at all."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.listings import gender_of
from wakeword.acoustic import tokens
from wakeword.audio.decode import decoded_blocks
from wakeword.audio.waveform import AUDIO_SUFFIXES
from wakeword.errors import AudioError, ManifestError, Skipped, require
from wakeword.files import check_writable, replacing

# The commonest first: `find_audio` tries them in this order.
SUFFIXES = (".wav", ".flac", ".opus", ".ogg", ".mp3", *sorted(AUDIO_SUFFIXES))


@dataclass(frozen=True)
class Prepared:
    """What a prepare function made: the manifest, its size, and the files that it passed over.

    `speakers` counts those that are known by name. `outside` has, by cut id, the English texts that the alphabet of
    CTC cannot spell (digits, other scripts): they are in the manifest, but train without CTC.
    """

    manifest: Path
    cuts: int
    hours: float
    speakers: int
    skipped: Skipped
    outside: dict[str, str] = field(default_factory=dict)

    def alphabet_note(self) -> str:
        """One line: how many texts the alphabet cannot spell, and the first of them; empty if it can spell all."""
        if not self.outside:
            return ""
        first, text = next(iter(self.outside.items()))
        have = "1 utterance has" if len(self.outside) == 1 else f"{len(self.outside)} utterances have"
        return f"{have} text outside the alphabet (first: {first} {text[:60]!r}): CTC training will skip them"


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
    found = (p for p in src.rglob("*") if p.suffix.lower() in AUDIO_SUFFIXES and p.is_file())
    return sorted(p for p in found if not any(part.startswith(".") for part in p.relative_to(src).parts))


def file_key(path: Path, src: Path, dashed: str = r"\W+") -> str:
    """What a file is called inside its corpus: its path below `src` without the suffix, `dashed` (a regex) as "-"."""
    return re.sub(dashed, "-", path.relative_to(src).with_suffix("").as_posix())


def find_audio(listed: Path) -> Path | None:
    """The listed file, or the same name with another audio suffix (a corpus is often kept transcoded), or None."""
    if listed.is_file():
        return listed
    # Not with_suffix for a name without an audio suffix: "a.b" would lose its ".b".
    stem = listed.with_suffix("") if listed.suffix.lower() in AUDIO_SUFFIXES else listed
    candidates = (stem.with_name(stem.name + form) for suffix in SUFFIXES for form in (suffix, suffix.upper()))
    return next((path for path in candidates if path.is_file()), None)


def first_place(places: Sequence[Path]) -> Path:
    """The first of several places where a listed file may lie at which it does; the first of all if at none."""
    return next((place for place in places if find_audio(place)), places[0])


def probe(path: Path) -> tuple[int, int]:
    """Decode a file once from end to end: its sample rate in Hz and how many samples there are.

    Raises:
        AudioError: the file is missing, empty, damaged or no audio, or holds nothing but digital silence.
    """
    rate, samples, peak = 0, 0, 0.0
    for rate, block in decoded_blocks(path):  # noqa: B007
        samples += len(block)
        peak = max(peak, float(block.max()), -float(block.min()))
    if not 0 < peak < float("inf"):
        raise AudioError(f"{path}: no samples, digital silence, or infinite ones: record it again or leave it out")
    return rate, samples


def write_manifest(
    name: str,
    utterances: Iterable[Utterance],
    out: str | os.PathLike,
    licence: str,
    src: Path,
    piece_s: float | None = None,
) -> Prepared:
    """Probe each utterance's audio once and write `out/<name>_cuts.jsonl.gz`.

    Args:
        name: the corpus, as it stands in the manifest's name, in each cut's id and in `custom["corpus"]`.
        licence: as it stands in `custom["licence"]`; an utterance's own `custom` goes before it.
        src: the corpus's folder, for the message if nothing in it is usable.
        piece_s: cut each recording into pieces of so many seconds; the last may be up to a second longer.

    Raises:
        ManifestError: `src` gave no usable utterance at all.
        WakewordError: lhotse or tqdm is not installed, or the manifest cannot be written.
    """
    lhotse, tqdm = require("lhotse"), require("tqdm")
    out = Path(out).expanduser().resolve()
    manifest = out / f"{name}_cuts.jsonl.gz"
    check_writable(manifest)  # before hours of probing
    skipped, ids, cuts, speakers, seconds, outside = Skipped(), set(), [], set(), 0.0, {}

    def make(utterance: Utterance) -> list | str:
        path = find_audio(utterance.path)
        if path is None:
            return f"{utterance.path}: listed, but there is no such file, nor one with another audio suffix"
        try:
            return _cuts(name, path, utterance, {"corpus": name, "licence": licence, **utterance.custom}, piece_s)
        except AudioError as error:
            return str(error)
        except Exception as error:  # lhotse raises many kinds for a file that only it cannot read
            return f"{path}: lhotse cannot use it ({' '.join(str(error).split())[:200]})"

    utterances = list(utterances)
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        done = zip(utterances, pool.map(make, utterances), strict=True)
        for utterance, made in tqdm.tqdm(done, total=len(utterances), desc=name, unit="file", disable=None):
            if isinstance(made, str):
                skipped.add(utterance.path, made)
            elif utterance.id in ids:
                skipped.add(f"{utterance.path} ({utterance.id})", f"{utterance.path}: listed twice as {utterance.id}")
            else:
                ids.add(utterance.id)
                cuts += made
                seconds += sum(cut.duration for cut in made)
                if not spellable(utterance):
                    outside.update((cut.id, utterance.text) for cut in made)
                if utterance.speech and utterance.speaker:
                    speakers.add(utterance.speaker)
    finally:
        # After an interruption nobody wants to wait for the probes that are still queued.
        pool.shutdown(cancel_futures=True)
    if not cuts:
        why = skipped.summary() or "no audio is listed or found"
        raise ManifestError(f"{src}: nothing to prepare for {name} ({why}): check the folder and its layout")
    with replacing(manifest) as temporary:
        lhotse.CutSet.from_cuts(cuts).to_jsonl(temporary)
    return Prepared(manifest, len(cuts), seconds / 3600, len(speakers), skipped, outside)


def spellable(utterance: Utterance) -> bool:
    """Whether CTC can learn from the text; also true where it never would: without a text, in another language."""
    if not (utterance.speech and utterance.text and (utterance.language or "en").lower().startswith("en")):
        return True
    try:
        return bool(tokens.encode(utterance.text))
    except tokens.TextError:
        return False


def _cuts(name: str, path: Path, utterance: Utterance, custom: dict, piece_s: float | None) -> list:
    """The cuts of one file, each with its supervision; multi-channel only where there is no speech to supervise."""
    lhotse = require("lhotse")
    id_ = f"{name}-{utterance.id}"
    rate, samples = probe(path)
    recording = lhotse.Recording.from_file(str(path), recording_id=id_)
    # An Ogg or MP3 header may announce some samples more than there are; what follows believes the manifest.
    if rate == recording.sampling_rate and samples < recording.num_samples:
        recording.num_samples, recording.duration = samples, samples / rate
    cuts = []
    starts = _starts(recording.duration, piece_s)
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], recording.duration], strict=True)):
        piece_id = f"{id_}-{i:04d}" if len(starts) > 1 else id_
        if not utterance.speech and recording.num_channels > 1:
            cut = recording.to_cut().truncate(offset=start, duration=round(end - start, 8))
            cut.id = piece_id
        else:
            cut = lhotse.MonoCut(piece_id, start, round(end - start, 8), channel=0, recording=recording)
        if utterance.speech:
            supervision = lhotse.SupervisionSegment(
                id=piece_id,
                recording_id=id_,
                start=0.0,
                duration=cut.duration,
                text=utterance.text,
                speaker=utterance.speaker,
                language=utterance.language,
                gender=gender_of(utterance.gender),
            )
            cut.supervisions = [supervision]
        cut.custom = dict(custom)
        lhotse.qa.validate(cut)
        cuts.append(cut)
    return cuts


def _starts(duration: float, piece_s: float | None) -> list[float]:
    """Where the pieces of a recording begin, in seconds; a rest of under a second stays with the piece before it."""
    count = 1 if piece_s is None else max(1, int((duration - 1.0) // piece_s) + 1)
    return [i * (piece_s or 0.0) for i in range(count)]
