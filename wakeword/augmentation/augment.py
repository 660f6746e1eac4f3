"""What happens to clean audio in training: rooms, noise, channel, speed and level of the waveform, masked log-mels."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import librosa
import numpy as np
import soundfile
import soxr
from lhotse.audio.mixer import AudioMixer
from scipy.fft import irfft, next_fast_len, rfft
from scipy.signal import fftconvolve

from wakeword.audio.clips import Clip, find_clips, for_training, read_clips
from wakeword.errors import Skipped, WakewordError, require
from wakeword.features.log_mel import SAMPLE_RATE

MOST_REFLECTIONS = 17
"""Of sound in a simulated room, image by image; their number grows with the cube."""

SOUND_M_S = 343.0

TELEPHONE_RATE, TELEPHONE_HZ = 8000, (300.0, 3400.0)
"""Of ITU-T G.711 and the band of G.712."""


@dataclass(frozen=True)
class Augmentation:
    """How often and how strongly. `noise`, `rirs` and `rooms` are float32 `[samples]`; each may be empty.

    `rirs` are recorded impulse responses, `rooms` simulated ones (`simulated_rooms`). `amid_probability` is that of
    running speech before a clip of a phrase, and the same behind it.
    """

    noise_probability: float = 0.6
    snr_db: tuple[float, ...] = (0.0, 25.0)
    rir_probability: float = 0.25
    simulated_rir_share: float = 0.7
    channel_probability: float = 0.0
    speed_probability: float = 0.0
    speeds: tuple[float, ...] = (0.9, 1.1)
    pitch_probability: float = 0.0
    pitch_semitones: tuple[float, ...] = (-3.0, 3.0)
    level_dbfs: tuple[float, ...] = (-45.0, -15.0)
    amid_probability: float = 0.5
    time_masks: int = 2
    time_mask_frames: int = 20
    frequency_masks: int = 2
    frequency_mask_bands: int = 8
    noise: tuple[np.ndarray, ...] = field(default=(), repr=False)
    rirs: tuple[np.ndarray, ...] = field(default=(), repr=False)
    rooms: tuple[np.ndarray, ...] = field(default=(), repr=False)


def read_recordings(
    paths: Sequence[str],
    most_hours: float = 3.0,
    seed: int = 0,
    skipped: Skipped | None = None,
    read: list[Clip] | None = None,
) -> tuple[np.ndarray, ...]:
    """Noise or impulse responses from folders, files or manifests, without what their manifests keep for testing.

    A random choice of `most_hours` where there is more, since they are held in memory.

    Args:
        skipped: gets those that cannot be read, or are silent throughout.
        read: gets the clips that were read.

    Raises:
        WakewordError: a path does not exist, or nothing in it can be heard.
    """
    if not paths:
        return ()
    clips = for_training(find_clips(paths))
    unreadable, found, seconds = Skipped(), [], 0.0
    for index in np.random.default_rng(seed).permutation(len(clips)):
        for clip, samples in read_clips([clips[index]], unreadable, check=False):
            if not np.any(samples):  # as a room, it would leave nothing of what is heard in it
                unreadable.add(clip.name, f"{clip.name}: silent: leave it out")
                continue
            found.append(samples)
            seconds += len(samples) / SAMPLE_RATE
            if read is not None:
                read.append(clip)
        if seconds > most_hours * 3600:
            break
    if not found:
        reason = unreadable.summary() or "Their manifests keep all of them for testing: name others"
        raise WakewordError(f"{', '.join(map(str, paths))}: none of the recordings can be heard. {reason}")
    if skipped is not None:
        skipped.reasons.update(unreadable.reasons)
    return tuple(found)


def piece_of(recordings: Sequence[np.ndarray], samples: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a random recording, repeated where it is too short: float32 `[samples]`."""
    recording = recordings[rng.integers(len(recordings))]
    if len(recording) >= samples:
        start = int(rng.integers(len(recording) - samples + 1))
        return recording[start : start + samples]
    return np.resize(np.roll(recording, -int(rng.integers(len(recording)))), samples)


def augment(
    samples: np.ndarray, settings: Augmentation, rng: np.random.Generator, spoken: slice = slice(None)
) -> np.ndarray:
    """One recording as it may sound elsewhere: in a room, in noise, near or far. Same length, float32 `[samples]`.

    The SNR is mean power over mean power, of the recording where it is `spoken`.
    """
    if rng.random() < settings.rir_probability and (settings.rirs or settings.rooms):
        simulated = rng.random() < settings.simulated_rir_share
        responses = settings.rooms if settings.rooms and (simulated or not settings.rirs) else settings.rirs
        samples = reverberated(samples, responses[rng.integers(len(responses))])
    if settings.noise and rng.random() < settings.noise_probability:
        noise = piece_of(settings.noise, len(samples), rng)
        if np.any(noise) and np.any(samples):
            # The mixer's own reference is the whole of it, quiet surroundings too.
            mixer = AudioMixer(samples[None], SAMPLE_RATE, reference_energy=float(np.mean(samples[spoken] ** 2)))
            mixer.add_to_mix(noise[None], snr=float(rng.uniform(*settings.snr_db)))
            samples = mixer.mixed_mono_audio[0]
    if len(samples) and rng.random() < settings.channel_probability:
        samples = through_channel(samples, rng)
    return at_level(samples, float(rng.uniform(*settings.level_dbfs)))


@lru_cache(maxsize=2)
def simulated_rooms(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Impulse responses of `count` random rooms, each float32 `[samples]`; the same `seed` gives the same rooms.

    Boxes from a closet to a hall, from dry to echoing, with the talker near the microphone or across the room, by the
    image source method (Allen and Berkley 1979, https://doi.org/10.1121/1.382599) of pyroomacoustics, its images
    moved by up to 8 cm, which takes away the box's too regular echoes. After its first 17 reflections sound has no
    direction left, and goes on as noise that decays by 60 dB in the room's time.
    """
    acoustics = require("pyroomacoustics", "train")
    rooms, index = [], 0
    while len(rooms) < count:
        rng = np.random.default_rng([seed, index])
        index += 1
        size = rng.uniform([2.0, 2.0, 2.2], [10.0, 8.0, 3.6])
        try:
            decay_s = rng.uniform(0.12, 0.9)
            absorption, order = acoustics.inverse_sabine(decay_s, size)
        except ValueError:
            continue  # no wall absorbs so much
        box = acoustics.ShoeBox(
            size, fs=SAMPLE_RATE, materials=acoustics.Material(absorption), max_order=min(order, MOST_REFLECTIONS)
        )
        microphone = rng.uniform(0.3, size - 0.3)
        away = rng.standard_normal(3) * [1, 1, 0.3]
        away *= np.exp(rng.uniform(np.log(0.2), np.log(6.0))) / np.linalg.norm(away)
        box.add_microphone(microphone)
        box.add_source(np.clip(microphone + away, 0.2, size - 0.2))
        box.image_source_model()
        # As use_rand_ism does, which draws from numpy's global state: a resumed run would hear other rooms.
        reflected = box.sources[0].orders > 0
        box.sources[0].images[:, reflected] += rng.uniform(-0.08, 0.08, size=(3, int(reflected.sum())))
        box.compute_rir()
        response = box.rir[0][0]
        if order > MOST_REFLECTIONS:
            whole = int(MOST_REFLECTIONS * size.min() / SOUND_M_S * SAMPLE_RATE)
            response = with_tail(response, whole, decay_s, rng)
        rooms.append(np.asarray(response / np.abs(response).max(), np.float32))
    return tuple(rooms)


def with_tail(response: np.ndarray, whole: int, decay_s: float, rng: np.random.Generator) -> np.ndarray:
    """An impulse response whose first `whole` samples have all their reflections, with decaying noise for the rest.

    Args:
        decay_s: seconds until the noise is 60 dB down.
    """
    whole = min(whole, len(response))
    level = np.sqrt(np.mean(response[max(0, whole - SAMPLE_RATE // 50) : whole] ** 2))
    time_s = np.arange(int(decay_s * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time_s)) * level * 10 ** (-3 * time_s / decay_s)
    return np.concatenate([response[:whole], tail])


def reverberated(samples: np.ndarray, rir: np.ndarray) -> np.ndarray:
    """In the room of an impulse response, in time with its loudest path: float32, as long as `samples`."""
    start = int(np.argmax(np.abs(rir)))
    return fftconvolve(samples, rir)[start : start + len(samples)].astype(np.float32, copy=False)


def through_channel(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A recording after a telephone, a lossy codec or a microphone of its own colour: float32, the same length."""
    kind = rng.integers(4)
    if kind == 0:
        narrow = soxr.resample(coloured_by(samples, np.zeros(1), *TELEPHONE_HZ), SAMPLE_RATE, TELEPHONE_RATE)
        wide = soxr.resample(_coded(narrow, TELEPHONE_RATE, format="WAV", subtype="ULAW"), TELEPHONE_RATE, SAMPLE_RATE)
        return np.resize(wide, len(samples)).astype(np.float32)
    if kind == 1:
        lossy = dict(format="MP3", subtype="MPEG_LAYER_III", compression_level=float(rng.uniform(0.6, 0.99)))
        return np.resize(_coded(samples, SAMPLE_RATE, **lossy), len(samples))
    return coloured_by(samples, rng.normal(0, 4, size=8), rng.uniform(20, 300), rng.uniform(3500, 9000))


def coloured_by(samples: np.ndarray, octaves_db: np.ndarray, low_hz: float, high_hz: float) -> np.ndarray:
    """Between two edges of Butterworth's slopes, with gains at 60 Hz and each octave above: float32 `[samples]`."""
    size = next_fast_len(len(samples), real=True)  # as it is, a prime number of samples takes ten times as long
    spectrum = rfft(samples, size)
    hz = np.linspace(0, SAMPLE_RATE / 2, len(spectrum))
    gain_db = np.interp(np.log2(np.maximum(hz, 60) / 60), np.arange(len(octaves_db)), octaves_db)
    edges = 1 / np.sqrt((1 + (low_hz / np.maximum(hz, 1)) ** 4) * (1 + (hz / high_hz) ** 8))
    return irfft(spectrum * 10 ** (gain_db / 20) * edges, size)[: len(samples)].astype(np.float32)


def _coded(samples: np.ndarray, rate: int, **codec) -> np.ndarray:
    """There and back through a codec of libsndfile, as `soundfile.write` names it."""
    loudest = max(1e-6, float(np.abs(samples).max(initial=0)))
    file = io.BytesIO()
    soundfile.write(file, samples / loudest * 0.9, rate, **codec)
    file.seek(0)
    return soundfile.read(file, dtype="float32")[0] * np.float32(loudest / 0.9)


def at_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Speed perturbation (Ko et al. 2015, https://doi.org/10.21437/Interspeech.2015-711): faster and higher where
    `factor` is above 1, else slower and lower. float32 `[samples / factor]`, about.
    """
    return soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)


def at_pitch(samples: np.ndarray, semitones: float) -> np.ndarray:
    """Another pitch at the same speed: float32, the same length.

    By librosa's phase vocoder (Flanagan and Golden 1966, https://doi.org/10.1002/j.1538-7305.1966.tb01706.x), which
    moves the formants too, as a larger or smaller talker's are.
    """
    if not len(samples):
        return samples
    window = 512  # 32 ms: a longer one smears the stops of speech
    return librosa.effects.pitch_shift(samples, sr=SAMPLE_RATE, n_steps=semitones, n_fft=window)


def at_level(samples: np.ndarray, dbfs: float, power: float | None = None) -> np.ndarray:
    """Scale to a level, root mean square in dB below full scale; peaks that do not fit are clipped.

    Args:
        power: what is brought to that level, where it is not the mean power of all: that of the speech, for one.
    """
    if power is None:
        power = float(np.mean(samples.astype(np.float64) ** 2)) if len(samples) else 0.0
    return np.clip(samples * (10 ** (dbfs / 20) / max(math.sqrt(power), 1e-6)), -1.0, 1.0).astype(np.float32)


def mask(features: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """SpecAugment (Park et al. 2019, https://arxiv.org/abs/1904.08779) without warping: masks in time and frequency.

    Returns:
        A masked copy of float32 `[frames, mels]`.
    """
    features = features.copy()
    frames, mels = features.shape
    fill = features.mean() if features.size else 0.0
    for _ in range(settings.time_masks):
        width = int(rng.integers(0, settings.time_mask_frames + 1))
        start = int(rng.integers(0, max(1, frames - width)))
        features[start : start + width] = fill
    for _ in range(settings.frequency_masks):
        width = int(rng.integers(0, settings.frequency_mask_bands + 1))
        start = int(rng.integers(0, max(1, mels - width)))
        features[:, start : start + width] = fill
    return features
