"""What the demo trains and tests on: real recordings where they lie, else clips that it speaks itself.

Both give manifests in one folder, one for each use, so that every step of the demo can be repeated by hand.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data_prep.cuts import mono_cut, read_cuts, write_cuts
from data_prep.librispeech import prepare_librispeech, prepare_librispeech_audio
from data_prep.noise import prepare_noise
from data_prep.rir import prepare_rir
from data_prep.sentences import SENTENCES
from data_prep.synthesise import Synthesised, synthesise, synthesise_speech
from data_prep.takes import split_voices
from data_prep.voices import NO_VOICES, Voice, installed_voices
from data_prep.voxforge import prepare_voxforge
from data_prep.wakewords import prepare_wakewords
from wakeword.acoustic.tokens import TextError, normalise
from wakeword.audio.waveform import SAMPLE_RATE, write_wav
from wakeword.errors import WakewordError

Progress = Callable[[str, float], None]
SYNTHETIC = (
    "**These are synthetic voices.** No recordings were found, so the demo spoke its own clips with the text-to-speech "
    "voices that are installed, and generated its noise. The numbers show that every step works. They say nothing of "
    "how often people are heard, or of false alarms in a living room: for that, train and test on recordings of people "
    "(`wakeword record`)."
)


@dataclass(frozen=True)
class Part:
    """One use of recordings: a manifest, with what is in it for the report."""

    manifest: Path
    use: str
    source: str
    licence: str
    clips: int
    hours: float


@dataclass(frozen=True)
class Recordings:
    """All that the demo hears. Training, development (`dev`) and test share no recording; `note` says what they are."""

    positives: Part
    negatives: Part
    noise: Part
    rir: Part | None
    dev: Part
    test_positives: Part
    test_negatives: Part
    test_noise: Part
    note: str

    def parts(self) -> list[Part]:
        return [part for part in vars(self).values() if isinstance(part, Part)]


def real(corpora: Path, phrase: str, out: Path, share: float, progress: Progress) -> Recordings:
    """Real recordings in their published layouts below `corpora`; `share` of the hours that the demo usually takes.

    Raises:
        WakewordError: a corpus is missing or malformed.
    """
    made = {}
    wakewords = {"phrase": phrase, "even_odd": True, "duplicates": True}
    jobs = {
        "positives": (prepare_wakewords, f"wake-words/{phrase}", wakewords),
        "librispeech": (prepare_librispeech, "LibriSpeech", {}),
        "librispeech-audio": (prepare_librispeech_audio, "resemblyzer-librispeech", {}),
        "voxforge": (prepare_voxforge, "voxforge", {}),
        "noise": (prepare_noise, "noise/esc10", {}),
        "rir": (prepare_rir, "rir/speechbrain", {}),
    }
    for index, (name, (prepare, folder, options)) in enumerate(jobs.items()):
        progress("listing", index / len(jobs))
        manifest = out / "corpora" / f"{name}_cuts.jsonl.gz"
        if not manifest.exists():
            prepare(corpora / folder, manifest.parent, name=name, **options)
        made[name] = read_cuts(manifest)
    progress("listing", 1.0)

    def split(name: str, wanted: str) -> list[dict]:
        return [cut for cut in made[name] if cut["custom"].get("split") == wanted]

    speech = split("librispeech", "train")
    heard = {speaker(cut) for cut in speech}
    # LibriSpeech's subsets share speakers.
    unheard = [cut for cut in made["librispeech-audio"] if speaker(cut) not in heard]

    training = split("positives", "train")
    known = {cut["custom"]["group"] for cut in training}
    # The benchmark holds many recordings twice; one that trained is no test.
    testing = [cut for cut in split("positives", "test") if cut["custom"]["group"] not in known]

    def part(name: str, use: str, source: str, licence: str, cuts: list[dict], hours: float = np.inf) -> Part:
        return write_part(out / f"{name}.jsonl.gz", use, source, licence, choose(cuts, hours * share))

    def other(cuts: list[dict]) -> list[dict]:
        return [cut for cut in cuts if not says(cut, phrase)]

    clips, picovoice = f"'{phrase}' of the Picovoice wake-word benchmark", "Apache-2.0"
    read = "LibriSpeech (train-clean-5)"
    return Recordings(
        positives=part("positives", "training", f"{clips}, even index", picovoice, training),
        negatives=part("negatives", "training", read, "CC BY 4.0", other(speech), 2.5),
        noise=part("noise", "training", "ESC-10, folds 1-3", "CC BY 3.0", split("noise", "train")),
        rir=part("rir", "training", "SpeechBrain's room impulse responses", "Apache-2.0", made["rir"]),
        dev=part("dev", "threshold", "other LibriSpeech speakers", "CC BY 4.0", other(unheard), 1.0),
        test_positives=part("test-positives", "test", f"{clips}, odd index, no repeats", picovoice, testing),
        test_negatives=part("test-negatives", "test", "VoxForge", "GPL v3", other(made["voxforge"]), 1.0),
        test_noise=part("test-noise", "test", "ESC-10, fold 4", "CC BY 3.0", split("noise", "test")),
        note="These are recordings of people. Test clips that repeat a training recording are left out. The clips' "
        "speakers are not named, so some people may be heard in training and in test clips.",
    )


def synthetic(phrase: str, out: Path, share: float, progress: Progress) -> Recordings:
    """Clips and sentences in the installed voices, some voices kept for testing where there are enough; made noise.

    Raises:
        WakewordError: no voice is installed, or none can say the phrase.
    """
    voices = installed_voices()
    if not voices:
        raise WakewordError(NO_VOICES)
    training, testing = split_voices(voices)
    # Other voices make other clips: a folder for each choice, so that a second run can keep what it finds.
    folder = out / f"spoken-{zlib.crc32(repr((phrase, training, testing)).encode()):08x}"

    def bar(stage: str):
        return lambda done, count: progress(stage, done / count)

    def spoken(name: str, use: str, what: str, made: Synthesised) -> Part:
        source = f"{what} in {len(made.by_voice)} synthetic voices"
        return write_part(out / f"{name}.jsonl.gz", use, source, "the voices'", read_cuts(made.manifest))

    def clips(use: str, count: int, seed: int, voices: list[Voice], name: str) -> Part:
        made = synthesise(phrase, folder / name, max(12, int(count * share)), seed, voices, bar(f"speaking {name}"))
        return spoken(name, use, f"'{phrase}'", made)

    def speech(use: str, count: int, seed: int, voices: list[Voice], name: str, sentences: tuple[str, ...]) -> Part:
        count = max(30, int(count * share))
        done = bar(f"speaking {name}")
        made = synthesise_speech(sentences, folder / name, count, seed, phrase, voices, done)
        return spoken(name, use, f"{len(sentences)} sentences", made)

    apart = f"{len(testing)} of {len(voices)} voices speak only the test clips"
    if set(training) & set(testing):
        apart = f"too few voices ({len(voices)}) to keep some for testing: training and test share them"
    return Recordings(
        positives=clips("training", 240, 0, training, "positives"),
        negatives=speech("training", 900, 1, training, "negatives", tuple(SENTENCES[0::2])),
        noise=made_noise(out, "noise", "training", 0),
        rir=None,
        dev=speech("threshold", 500, 2, training, "dev", tuple(SENTENCES[1::4])),
        test_positives=clips("test", 80, 3, testing, "test-positives"),
        test_negatives=speech("test", 500, 4, testing, "test-negatives", tuple(SENTENCES[3::4])),
        test_noise=made_noise(out, "test-noise", "test", 1),
        note=f"{SYNTHETIC} Here, {apart}.",
    )


def made_noise(out: Path, part: str, use: str, seed: int, seconds: float = 40.0) -> Part:
    """White, pink and brown noise that swells and ebbs, as WAV files in the folder `out/part`."""
    rng = np.random.default_rng([seed, 7])
    count, cuts = int(seconds * SAMPLE_RATE), []
    for name, slope in (("white", 0.0), ("pink", 0.5), ("brown", 1.0)):
        spectrum = np.fft.rfft(rng.standard_normal(count))
        # Amplitude over frequency; below 20 Hz flat, or brown noise would be all rumble.
        spectrum /= np.maximum(np.fft.rfftfreq(count, 1 / SAMPLE_RATE), 20.0) ** slope
        samples = np.fft.irfft(spectrum, count)
        swell = np.interp(np.arange(count), np.linspace(0, count, 40), 10 ** rng.uniform(-0.5, 0, 40))
        path = out.resolve() / part / f"{name}.wav"
        write_wav(path, (0.1 * samples / samples.std() * swell).astype(np.float32))
        cuts.append({**mono_cut(path, count, "", None, {"kind": name}), "supervisions": []})
    return write_part(out / f"{part}.jsonl.gz", use, "generated white, pink and brown noise", "none", cuts)


def speaker(cut: dict) -> str:
    return next((each.get("speaker") or "" for each in cut.get("supervisions") or []), "")


def says(cut: dict, phrase: str) -> bool:
    """Whether the transcript holds the phrase; false where there is none."""
    for supervision in cut.get("supervisions") or []:
        try:
            if f" {normalise(phrase)} " in f" {normalise(supervision.get('text') or '')} ":
                return True
        except TextError:
            continue
    return False


def choose(cuts: list[dict], hours: float, seed: int = 0) -> list[dict]:
    """A random choice of about `hours` hours, in random order; all of them, in their own, if hours is infinite."""
    if not np.isfinite(hours):
        return cuts
    chosen, seconds = [], 0.0
    for index in np.random.default_rng(seed).permutation(len(cuts)):
        if seconds >= hours * 3600:
            break
        chosen.append(cuts[index])
        seconds += cuts[index]["duration"]
    return chosen


def write_part(manifest: Path, use: str, source: str, licence: str, cuts: Iterable[dict]) -> Part:
    cuts = list(cuts)
    if not cuts:
        raise WakewordError(f"{manifest}: nothing is left for it of {source}: give more recordings")
    write_cuts(manifest, cuts)
    return Part(manifest, use, source, licence, len(cuts), sum(cut["duration"] for cut in cuts) / 3600)
