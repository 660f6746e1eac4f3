"""What happens to clean training audio: rooms, noise, speed and level on the waveform, masks on the log-mels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import soxr
import torch
from lhotse.audio.mixer import AudioMixer
from lhotse.augmentation.utils import FastRandomRIRGenerator

from wakeword.clips import find_clips, for_training, read_clips
from wakeword.errors import Skipped, WakewordError
from wakeword.features import SAMPLE_RATE


@dataclass(frozen=True)
class Augmentation:
    """How often and how strongly. `noise`, `rirs` and `rooms` are float32 `[samples]`; each may be empty.

    `rirs` are recorded impulse responses, `rooms` simulated ones (`simulated_rooms`).
    """

    noise_probability: float = 0.6
    snr_db: tuple[float, ...] = (0.0, 25.0)
    rir_probability: float = 0.25
    simulated_rir_share: float = 0.7
    level_dbfs: tuple[float, ...] = (-45.0, -15.0)
    time_masks: int = 2
    time_mask_frames: int = 20
    frequency_masks: int = 2
    frequency_mask_bands: int = 8
    noise: tuple[np.ndarray, ...] = field(default=(), repr=False)
    rirs: tuple[np.ndarray, ...] = field(default=(), repr=False)
    rooms: tuple[np.ndarray, ...] = field(default=(), repr=False)


def read_recordings(paths: Sequence[str], most_hours: float = 3.0, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Noise or impulse responses from folders, files or manifests, without what their manifests keep for testing.

    A random choice of `most_hours` where there is more, since they are held in memory.

    Raises:
        WakewordError: a path does not exist, or nothing in it can be read.
    """
    if not paths:
        return ()
    clips = for_training(find_clips(paths))
    skipped, found, seconds = Skipped(), [], 0.0
    for index in np.random.default_rng(seed).permutation(len(clips)):
        for _, samples in read_clips([clips[index]], skipped, check=False):
            found.append(samples)
            seconds += len(samples) / SAMPLE_RATE
        if seconds > most_hours * 3600:
            break
    if not found:
        raise WakewordError(f"{', '.join(map(str, paths))}: none of the recordings can be read. {skipped.summary()}")
    return tuple(found)


def piece_of(recordings: Sequence[np.ndarray], samples: int, rng: np.random.Generator) -> np.ndarray:
    """A random piece of a random recording, repeated where it is too short: float32 `[samples]`."""
    recording = recordings[rng.integers(len(recordings))]
    if len(recording) >= samples:
        start = int(rng.integers(len(recording) - samples + 1))
        return recording[start : start + samples]
    return np.resize(np.roll(recording, -int(rng.integers(len(recording)))), samples)


def augment(samples: np.ndarray, settings: Augmentation, rng: np.random.Generator) -> np.ndarray:
    """One recording as it may sound elsewhere: in a room, in noise, near or far. Same length, float32 `[samples]`.

    The SNR is mean power over mean power.
    """
    if rng.random() < settings.rir_probability and (settings.rirs or settings.rooms):
        simulated = rng.random() < settings.simulated_rir_share
        responses = settings.rooms if settings.rooms and (simulated or not settings.rirs) else settings.rirs
        samples = reverberated(samples, responses[rng.integers(len(responses))])
    if settings.noise and rng.random() < settings.noise_probability:
        noise = piece_of(settings.noise, len(samples), rng)
        if np.any(noise) and np.any(samples):
            mixer = AudioMixer(samples[None], sampling_rate=SAMPLE_RATE)
            mixer.add_to_mix(noise[None], snr=float(rng.uniform(*settings.snr_db)))
            samples = mixer.mixed_mono_audio[0]
    return at_level(samples, float(rng.uniform(*settings.level_dbfs)))


@lru_cache(maxsize=2)
def simulated_rooms(count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Impulse responses of `count` random rooms by lhotse's generator, each float32 `[samples]`.

    Luo and Yu 2022, https://arxiv.org/abs/2208.04101. One takes as long to make as to hear ten seconds of speech in
    it, so they are made once. The same `seed` gives the same rooms.
    """
    rooms = []
    # Beside its two generators lhotse draws from torch's: without this, a resumed run hears other rooms.
    with torch.random.fork_rng(devices=[]):
        for index in range(count):
            room_seed, source_seed = np.random.default_rng([seed, index]).integers(2**31, size=2).tolist()
            torch.default_generator.manual_seed(room_seed)
            room = FastRandomRIRGenerator(sr=SAMPLE_RATE, room_seed=room_seed, source_seed=source_seed)()[0]
            rooms.append(np.asarray(room / np.abs(room).max(), np.float32))
    return tuple(rooms)


def reverberated(samples: np.ndarray, rir: np.ndarray) -> np.ndarray:
    """In the room of an impulse response, in time with its loudest path: float32, as long as `samples`."""
    size = 1 << int(np.ceil(np.log2(len(samples) + len(rir))))
    full = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(rir, size), size)
    start = int(np.argmax(np.abs(rir)))
    return full[start : start + len(samples)].astype(np.float32)


def at_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Faster (`factor` above 1) and higher, or slower and lower: float32 `[samples / factor]`, about."""
    return soxr.resample(samples, SAMPLE_RATE * factor, SAMPLE_RATE)


def at_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """Scale to a level, root mean square in dB below full scale; peaks that do not fit are clipped."""
    rms = float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if len(samples) else 0.0
    return np.clip(samples * (10 ** (dbfs / 20) / max(rms, 1e-6)), -1.0, 1.0).astype(np.float32)


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
