"""Takes: which voice speaks which clip, how it is varied, and the clip itself."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np

from data_prep.vary import vary
from data_prep.voices import Voice
from wakeword.audio.waveform import SAMPLE_RATE

TAKES = (("", 1.0), (".", 0.87), ("!", 1.1), ("?", 1.0))  # what follows the phrase, and the voice's own pace
SLOW_ENGINES = {"kokoro", "piper", "festival"}  # these give two takes, not four
NATURAL = {"hibari": 4.0, "kokoro": 4.0, "piper": 4.0}  # how many clips for one of another engine, other things equal
MANY = 16  # voices; more of them do not raise an engine's share
TEMPO, SEMITONES, FORMANTS = (0.8, 1.25), 3.0, (0.85, 1.2)
MOST_WARP = 1.25  # formants moved further than this against the pitch sound like no speaker
SILENCE_S = (0.3, 1.0)
PEAK_DBFS, NOISE_DBFS = (-12.0, -3.0), (-80.0, -65.0)


@dataclass(frozen=True)
class Take:
    """What one clip is made of: a voice that says `spoken` at `speed`, and how it is varied then.

    `speed` and `tempo` are how many times as fast as the voice's own pace, `tempo` that of the finished clip;
    `semitones` and `formants` as `vary.vary` takes them; `before` and `after` are samples of silence at 16 kHz.
    """

    name: str
    voice: Voice
    text: str
    spoken: str
    speed: float
    tempo: float
    semitones: float
    formants: float
    before: int
    after: int
    peak_dbfs: float
    noise_dbfs: float
    seed: tuple[int, int]


def in_turn(voices: list[Voice], n: int, seed: int) -> list[Voice]:
    """A voice for each clip: the engines in turn by their shares, the voices of each in one shuffled order."""
    engines = sorted({voice.engine for voice in voices})
    rng = np.random.default_rng([seed, 0, len(voices)])
    queues = {engine: [v for v in voices if v.engine == engine] for engine in engines}
    for queue in queues.values():
        rng.shuffle(queue)
    share = {e: NATURAL.get(e, 1.0) * min(len(queue), MANY) ** 0.5 for e, queue in queues.items()}
    used = dict.fromkeys(engines, 0)
    chosen = []
    for _ in range(n):
        engine = min(engines, key=lambda e: ((used[e] + 1) / share[e], e))
        chosen.append(queues[engine][used[engine] % len(queues[engine])])
        used[engine] += 1
    return chosen


def split_voices(voices: list[Voice]) -> tuple[list[Voice], list[Voice]]:
    """Voices for training and for testing: every fourth speaker of an engine tests, whatever the accent.

    All voices for both where fewer than three speakers would be left to train on.
    """
    speakers: dict[tuple[str, str], list[Voice]] = {}
    for voice in voices:
        # espeak's "accent+variant" and hibari's "timbre-accent" are one speaker in several accents; kokoro mixes its
        # speakers, so they stay together.
        name = {
            "espeak": voice.name.rpartition("+")[2],
            "hibari": voice.name.rpartition("-")[0],
            "kokoro": "all",
        }.get(voice.engine, voice.name)
        speakers.setdefault((voice.engine, name), []).append(voice)
    testing = set()
    for engine in {engine for engine, _ in speakers}:
        mine = sorted(name for each, name in speakers if each == engine)
        testing |= {(engine, name) for name in mine[3::4]}
    if not testing or len(speakers) - len(testing) < 3:
        return voices, voices
    return (
        [voice for key, group in speakers.items() if key not in testing for voice in group],
        [voice for key, group in speakers.items() if key in testing for voice in group],
    )


def take_of(
    index: int, voice: Voice, text: str, spoken: str, speed: float, seed: int, rng: np.random.Generator
) -> Take:
    """Draw how clip `index`, in which `voice` says `spoken` (of which `text` is the transcript), is varied."""
    tempo = float(np.exp(rng.uniform(*np.log(TEMPO))))
    while True:
        semitones, formants = float(rng.uniform(-SEMITONES, SEMITONES)), float(rng.uniform(*FORMANTS))
        if 1 / MOST_WARP <= formants / 2 ** (semitones / 12) <= MOST_WARP:
            break
    before, after = (int(SAMPLE_RATE * s) for s in rng.uniform(*SILENCE_S, size=2))
    # What is kept of a clip elsewhere goes by its name: another text is another clip.
    said = hashlib.sha256(spoken.encode()).hexdigest()[:6]
    name = f"{index:05d}_{voice.engine}_{re.sub(r'[^A-Za-z0-9-]+', '-', voice.name)}_{seed}_{said}"
    levels = float(rng.uniform(*PEAK_DBFS)), float(rng.uniform(*NOISE_DBFS))
    return Take(name, voice, text, spoken, speed, tempo, semitones, formants, before, after, *levels, (seed, index))


def render(take: Take, samples: np.ndarray, rate: float) -> np.ndarray:
    """A clip, float32 [n] at 16 kHz, of float32 [m] spoken at `rate` Hz.

    Raises:
        ValueError: see `vary.vary`; what was spoken is too short.
    """
    voice = vary(_trimmed(samples, rate), rate, take.tempo / take.speed, take.semitones, take.formants)
    fade = min(80, len(voice) // 2)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    voice[:fade] *= ramp
    voice[len(voice) - fade :] *= ramp[::-1]
    voice *= 10 ** (take.peak_dbfs / 20) / max(float(np.abs(voice).max()), 1e-9)
    clip = np.pad(voice, (take.before, take.after))
    noise = np.random.default_rng([*take.seed, 2]).standard_normal(len(clip), dtype=np.float32)
    return clip + noise * np.float32(10 ** (take.noise_dbfs / 20))


def _trimmed(samples: np.ndarray, rate: float) -> np.ndarray:
    """Without the silence before and after: frames of 10 ms more than 45 dB below the loudest, but 20 ms of it."""
    size = int(rate // 100)
    frames = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    power = np.mean(frames.astype(np.float64) ** 2, axis=1)
    loud = np.flatnonzero(power > power.max() * 10**-4.5)
    return samples[max(0, loud[0] - 2) * size : (loud[-1] + 3) * size]
