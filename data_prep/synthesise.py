"""Clips of a phrase, and running speech without it, in every text-to-speech voice that is installed.

Each voice says the text a few times (other pace, other ending, so other intonation); every clip is one of these takes
with a tempo, a pitch and formants of its own (`data_prep.vary`), so that few voices give many speakers. Training on
synthetic speech in many voices follows J. Lin et al., "Training keyword spotters with limited and synthesized speech
data", ICASSP 2020.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import wave
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cuts import mono_cut, write_cuts
from data_prep.sentences import SENTENCES
from data_prep.takes import SLOW_ENGINES, TAKES, Take, in_turn, render, take_of
from data_prep.voices import NO_VOICES, Voice, installed_voices, speak
from wakeword.audio.waveform import SAMPLE_RATE, write_wav
from wakeword.errors import Skipped, WakewordError
from wakeword.files import replacing

LONGEST_PHRASE = 100  # characters
RECORD = "synthesis.json"


@dataclass(frozen=True)
class Synthesised:
    """The clips of this call (new and kept), how many each voice has, what was left out, and the manifest of them."""

    paths: list[Path]
    by_voice: dict[str, int]
    skipped: Skipped
    manifest: Path


def synthesise(
    phrase: str,
    out_dir: str | os.PathLike,
    n: int = 500,
    seed: int = 0,
    voices: Sequence[Voice] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Synthesised:
    """Write `n` clips of `phrase` to `out_dir`, 16 kHz mono WAV `NNNNN_engine_voice_seed.wav`, and their manifest.

    It is `clips_cuts.jsonl.gz`. Around the phrase lie 0.3-1 s of noise of at most -65 dBFS; the supervision in the
    manifest says where in the clip the phrase is. The same arguments and voices give the same clips. Clips that are
    there already are kept, so an interrupted call is continued by another, and a larger `n` adds to them.

    Args:
        voices: those to use; all that are installed (or those that began the folder) if None.
        progress: called with (clips done, n).

    Raises:
        WakewordError: the phrase is empty, without a letter or digit, or longer than 100 characters; no voice is
            installed; the folder holds the clips of another phrase, seed or other voices; or no voice says the phrase.
    """
    text = check_phrase(phrase)
    _check_numbers(n, seed)
    voices = _begin(Path(out_dir), {"kind": "phrase", "text": text, "seed": seed}, voices)
    takes = []
    for index, voice in enumerate(in_turn(voices, n, seed)):
        rng = np.random.default_rng([seed, index])
        ending, speed = TAKES[rng.integers(2 if voice.engine in SLOW_ENGINES else len(TAKES))]
        takes.append(take_of(index, voice, text, text + ending, speed, seed, rng))
    return _write(takes, Path(out_dir), "wake-phrase", progress)


def synthesise_speech(
    sentences: Iterable[str] | None,
    out_dir: str | os.PathLike,
    n: int | None = None,
    seed: int = 0,
    avoid: str | Iterable[str] = (),
    voices: Sequence[Voice] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Synthesised:
    """Write running speech as negatives, in the same voices and of the same form as `synthesise`.

    Args:
        sentences: what is said, a sentence a clip; those of `data_prep.sentences` if None.
        n: how many clips; the sentences are said again, by other voices, as often as needed. Each once if None.
        avoid: phrases; sentences whose letters hold one of them (also across words: "comp utter") are left out.

    Raises:
        WakewordError: no sentence is left, or as `synthesise`.
    """
    avoid = [avoid] if isinstance(avoid, str) else list(avoid)
    banned = [_letters(check_phrase(phrase)) for phrase in avoid]
    given = [" ".join(sentence.split()) for sentence in (SENTENCES if sentences is None else sentences)]
    said = [s for s in given if _letters(s) and not any(phrase in _letters(s) for phrase in banned)]
    if not said:
        raise WakewordError(
            f"no sentence is left to say ({len(given)} given, those with {', '.join(avoid) or 'no letters'} left out): "
            "give other sentences"
        )
    n = len(said) if n is None else n
    _check_numbers(n, seed)
    digest = f"{len(said)} sentences, {zlib.crc32(chr(10).join(said).encode()):08x}"
    voices = _begin(Path(out_dir), {"kind": "speech", "text": digest, "seed": seed}, voices)
    takes, order = [], np.arange(0)
    for index, voice in enumerate(in_turn(voices, n, seed)):
        if index % len(said) == 0:
            order = np.random.default_rng([seed, 1, index]).permutation(len(said))
        text = said[order[index % len(said)]]
        takes.append(take_of(index, voice, text, text, 1.0, seed, np.random.default_rng([seed, index])))
    return _write(takes, Path(out_dir), "speech", progress)


def check_phrase(phrase: str) -> str:
    """The phrase with single spaces.

    Raises:
        WakewordError: it is empty, has no letter or digit, or is longer than 100 characters.
    """
    text = " ".join(phrase.split())
    if not _letters(text) or not text.isprintable():
        raise WakewordError(f"the phrase {phrase!r} has no letter or digit to say: give one such as 'hey computer'")
    if len(text) > LONGEST_PHRASE:
        raise WakewordError(f"the phrase '{text[:40]}...' is longer than {LONGEST_PHRASE} characters: shorten it")
    return text


def _check_numbers(n: int, seed: int) -> None:
    if n < 1 or seed < 0:
        raise WakewordError(f"{n} clips with seed {seed} cannot be made: give at least 1 clip and a seed of 0 or more")


def _letters(text: str) -> str:
    return "".join(c for c in text.casefold() if c.isalnum())


def _begin(out_dir: Path, about: dict, voices: Sequence[Voice] | None) -> list[Voice]:
    """Write what the folder holds beside the clips, or check that it holds the same; give the voices."""
    record = out_dir.expanduser() / RECORD
    other = f"{out_dir}: holds the clips of another call ({RECORD}): choose another folder or delete it"
    stored = None
    if record.exists():
        try:
            stored = json.loads(record.read_text(encoding="utf-8"))
            began = [Voice(engine, name) for engine, name in stored.pop("voices")]
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise WakewordError(f"{record}: cannot be read ({error}): choose another folder or delete it") from error
        if stored != about or (voices is not None and sorted(set(voices)) != began):
            raise WakewordError(other)
        return began
    voices = sorted(set(installed_voices() if voices is None else voices))
    if not voices:
        raise WakewordError(NO_VOICES)
    with replacing(record) as temporary:
        listed = [[voice.engine, voice.name] for voice in voices]
        temporary.write_text(json.dumps({**about, "voices": listed}, indent=1), encoding="utf-8")
    return voices


def _write(takes: list[Take], out_dir: Path, corpus: str, progress: Callable[[int, int], None] | None) -> Synthesised:
    out_dir = out_dir.expanduser().resolve()
    skipped, lengths, failed = Skipped(), {}, {}
    pending = []
    for take in takes:
        length = _length(out_dir / f"{take.name}.wav")
        if length > take.before + take.after:
            lengths[take.name] = length
        else:
            pending.append(take)
    # The clips of one take follow each other, so that it is spoken once and only one is held.
    pending.sort(key=lambda take: (take.voice, take.spoken, take.speed))
    said, spoken = None, (np.zeros(0, np.float32), 0.0)
    for done, take in enumerate(pending, len(lengths)):
        if progress:
            progress(done, len(takes))
        path = out_dir / f"{take.name}.wav"
        key = (take.voice, take.spoken, take.speed)
        if key != said and key not in failed:
            try:
                said, spoken = key, speak(*key)
            except WakewordError as error:
                failed[key] = error
        if key in failed:
            skipped.add(path, failed[key])
            continue
        samples = render(take, *spoken)
        write_wav(path, samples)
        lengths[take.name] = len(samples)
    if not lengths:
        raise WakewordError(f"{out_dir}: no clip could be made: {skipped.summary()}")
    made = [take for take in takes if take.name in lengths]
    manifest = out_dir / "clips_cuts.jsonl.gz"
    write_cuts(manifest, (_cut(take, out_dir / f"{take.name}.wav", lengths[take.name], corpus) for take in made))
    by_voice: dict[str, int] = {}
    for take in made:
        by_voice[str(take.voice)] = by_voice.get(str(take.voice), 0) + 1
    if progress:
        progress(len(takes), len(takes))
    return Synthesised([out_dir / f"{take.name}.wav" for take in made], by_voice, skipped, manifest)


def _length(path: Path) -> int:
    """Samples of a clip written before; 0 if there is none, or it is not one."""
    try:
        with wave.open(str(path), "rb") as file:
            return file.getnframes() if file.getframerate() == SAMPLE_RATE and file.getnchannels() == 1 else 0
    except (OSError, EOFError, wave.Error):
        return 0


def _cut(take: Take, path: Path, length: int, corpus: str) -> dict:
    """The manifest's line; its supervision spans the phrase alone, without the silence around it."""
    custom = {"corpus": f"synthetic-{corpus}", "licence": "that of the voice", "split": "train", "synthetic": True}
    custom |= {
        "tempo": round(take.tempo, 3),
        "semitones": round(take.semitones, 2),
        "formants": round(take.formants, 3),
    }
    return mono_cut(path, length, take.text, str(take.voice), custom, take.before, length - take.after)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `wakeword synthesise`."""
    parser.add_argument("phrase", help="what is said, e.g. 'hey computer'")
    parser.add_argument("out", help="folder for the clips")
    parser.add_argument("-n", type=int, default=500, help="how many clips (default 500)")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other clips (default 0)")
    parser.add_argument("--voices", help="only these, e.g. hibari,espeak:en-us (default: all that are installed)")
    parser.add_argument("--speech", metavar="DIR", help="also write running speech without the phrase, as negatives")
    parser.add_argument("--sentences", metavar="FILE", help="what --speech says, a sentence a line (default: its own)")


def run(args: argparse.Namespace) -> dict:
    """Do what the command line asks for; give what was made, ready for JSON.

    Raises:
        WakewordError: as `synthesise`; no voice matches --voices; the file of sentences cannot be read.
    """
    if args.sentences and not args.speech:
        raise WakewordError("--sentences is what --speech says: give --speech DIR too")
    voices = matching(args.voices) if args.voices else None
    sentences = _sentences(args.sentences) if args.sentences else None
    result = _report(synthesise(args.phrase, args.out, args.n, args.seed, voices, _counter("clips")))
    if args.speech:
        done = synthesise_speech(sentences, args.speech, None, args.seed, args.phrase, voices, _counter("sentences"))
        result["speech"] = _report(done)
    return result


def _counter(what: str) -> Callable[[int, int], None] | None:
    """Progress for a terminal: one line that counts."""
    if not sys.stderr.isatty():
        return None
    return lambda done, n: print(f"\r{done}/{n} {what}", end="\n" if done == n else "", file=sys.stderr, flush=True)


def _report(made: Synthesised) -> dict:
    engines: dict[str, int] = {}
    for voice, clips in made.by_voice.items():
        engine = voice.partition(":")[0]
        engines[engine] = engines.get(engine, 0) + clips
    return {
        "clips": len(made.paths),
        "folder": str(made.manifest.parent),
        "manifest": str(made.manifest),
        "voices": len(made.by_voice),
        "engines": engines,
        "skipped": made.skipped.reasons,
    }


def matching(wanted: str, option: str = "--voices") -> list[Voice]:
    """The installed voices whose names begin so, of beginnings parted by commas, e.g. `hibari,espeak:en-us`.

    Raises:
        WakewordError: no voice is installed, or none begins as one of them; it tells of the engines that there are.
    """
    voices = installed_voices()
    if not voices:
        raise WakewordError(NO_VOICES)
    chosen = []
    for word in wanted.split(","):
        found = [v for v in voices if str(v).startswith(word.strip())] if word.strip() else []
        if not found:
            engines = ", ".join(sorted({v.engine for v in voices}))
            raise WakewordError(f"{option} {word.strip()!r}: no installed voice begins so: installed are {engines}")
        chosen += found
    return chosen


def _sentences(path: str) -> list[str]:
    try:
        return [line for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise WakewordError(f"{path}: cannot be read as sentences ({error}): give a UTF-8 text, one a line") from error
