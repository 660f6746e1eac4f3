"""Audio in: any file or device to float32 [samples], 16 kHz, mono, in [-1, 1]."""

from __future__ import annotations

import os
import wave
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr

from wakeword.audio.decode import decoded_blocks
from wakeword.errors import AudioError
from wakeword.files import replacing

SAMPLE_RATE = 16000
AUDIO_SUFFIXES = frozenset(
    (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64")
    + (".m4a", ".aac", ".mp4", ".webm", ".amr", ".wma", ".3gp", ".mka")
)
SILENT_DBFS = -60.0
FULL_SCALE = 0.999
CLIPPED_MOST = 0.05
LOUDEST = 100.0  # 40 dB over full scale: no float recording means that


@dataclass(frozen=True)
class AudioQuality:
    """Level of a clip: peak and RMS in dB relative to full scale, and the fraction of samples at full scale."""

    peak_dbfs: float
    rms_dbfs: float
    clipped_fraction: float


@dataclass
class Level:
    """The level of audio that comes in blocks."""

    count: int = 0
    peak: float = 0.0
    energy: float = 0.0
    full: int = 0

    def add(self, samples: np.ndarray) -> None:
        size = np.abs(samples.astype(np.float64))
        self.count += len(size)
        self.peak = max(self.peak, float(size.max(initial=0.0)))
        self.energy += float(size @ size)
        self.full += int(np.count_nonzero(size >= FULL_SCALE))

    def quality(self) -> AudioQuality:
        """Of all blocks so far; the levels of digital silence, and of nothing, are -inf."""
        count = max(self.count, 1)
        with np.errstate(divide="ignore"):
            peak, rms = 20 * np.log10([self.peak, np.sqrt(self.energy / count)])
        return AudioQuality(float(peak), float(rms), self.full / count)


class StreamResampler:
    """Blocks of a device's rate and channels to 16 kHz mono, with the filter's state kept between blocks.

    Resampling is libsoxr's (band-limited, linear phase), which holds back up to 40 ms of 44.1 or 48 kHz sound; its
    delay is compensated, so output sample `k` lies at
    `k / 16000` seconds of input. Where a channel is NaN or infinite the sample becomes zero; `nonfinite` counts.
    """

    def __init__(self, rate_in: float, channels: int = 1):
        self.channels = channels
        self.nonfinite = 0
        self._stream = None if rate_in == SAMPLE_RATE else soxr.ResampleStream(rate_in, SAMPLE_RATE, 1, "float32")

    def process(self, block: np.ndarray) -> np.ndarray:
        """Take a block [n, channels] (or [n] if mono), float32 or int16; give float32 [m], m possibly 0."""
        block = np.asarray(block)
        if block.dtype == np.int16:
            block = block.astype(np.float32) / 32768.0
        mono = block.astype(np.float32).reshape(-1, self.channels)
        mono = mono[:, 0] if self.channels == 1 else mono.mean(axis=1)
        if not np.isfinite(mono).all():
            bad = ~np.isfinite(mono)
            self.nonfinite += int(bad.sum())
            mono[bad] = 0.0
        if self._stream is None or not len(mono):
            return mono
        return self._stream.resample_chunk(mono)

    def flush(self) -> np.ndarray:
        """Give what the filter still holds, float32 [m]; the stream is over."""
        if self._stream is None:
            return np.zeros(0, np.float32)
        return self._stream.resample_chunk(np.zeros(0, np.float32), last=True)


def pcm_samples(data: bytes, width: int) -> np.ndarray:
    """Raw integers of `width` bytes (1 to 4), little-endian, as float32 [samples] in [-1, 1].

    Those of one byte are unsigned, as in WAV. `data` holds whole samples.
    """
    if width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128) / 128
    if width == 3:  # as the upper three bytes of four
        whole = np.zeros((len(data) // 3, 4), np.uint8)
        whole[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data, width = whole.tobytes(), 4
    return np.frombuffer(data, f"<i{width}").astype(np.float32) / 2.0 ** (8 * width - 1)


def int16_of(samples: np.ndarray) -> np.ndarray:
    """Float32 [samples] as little-endian int16, rounded; values beyond full scale are clipped."""
    return np.clip(np.round(np.asarray(samples, np.float64) * 32768.0), -32768, 32767).astype("<i2")


def pcm16(samples: np.ndarray) -> bytes:
    """`int16_of` samples as raw bytes."""
    return int16_of(samples).tobytes()


def read_audio(
    path: str | os.PathLike, start_s: float = 0.0, duration_s: float | None = None, channel: int | None = None
) -> np.ndarray:
    """Read a file (or `duration_s` seconds of it from `start_s`) as float32 [samples], 16 kHz mono.

    WAV, FLAC, Ogg (Vorbis, Opus), MP3 and others are read by libsndfile; M4A, AAC, WebM, AMR and the rest by the
    program `ffmpeg` where it is installed. Channels are averaged, or one of them (from 0) is taken.

    Raises:
        AudioError: the file is missing, a folder, empty, truncated, damaged or no audio; it has samples that are
            NaN or infinite; or it has no samples in the part asked for, or no such channel.
    """
    return np.concatenate(list(_resampled(path, start_s, duration_s, channel)))


def file_blocks(path: str | os.PathLike, block_samples: int = 1600, channel: int | None = None) -> Iterator[np.ndarray]:
    """Stream a file as float32 blocks [block_samples], 16 kHz mono; the last may be shorter.

    Together the blocks equal `read_audio(path, channel=channel)`; the file is never held in memory whole.

    Raises:
        AudioError: as `read_audio`; for damage in the middle, once it is reached.
    """
    held = np.zeros(0, np.float32)
    for piece in _resampled(path, channel=channel):
        held = np.concatenate([held, piece])
        whole = len(held) // block_samples * block_samples
        yield from held[:whole].reshape(-1, block_samples)
        held = held[whole:].copy()
    if len(held):
        yield held


def quality(samples: np.ndarray) -> AudioQuality:
    """Measure float32 [samples]; the levels of digital silence are -inf."""
    level = Level()
    level.add(samples)
    return level.quality()


def fault(found: AudioQuality) -> str:
    """Why audio that should hold speech cannot: its peak is below -60 dBFS, or more than 5 % of it is at full scale.

    Empty if it can.
    """
    if found.peak_dbfs < SILENT_DBFS:
        return f"silent (peak {found.peak_dbfs:.0f} dBFS): record it again, nearer or louder"
    if found.clipped_fraction > CLIPPED_MOST:
        return f"clipped ({found.clipped_fraction:.0%} of its samples at full scale): record it again with less gain"
    return ""


def check_clip(samples: np.ndarray, path: object) -> AudioQuality:
    """Check that a clip that should hold speech can: not silent, not badly clipped (`fault`).

    Raises:
        AudioError: it is one of these.
    """
    found = quality(samples)
    if reason := fault(found):
        raise AudioError(f"{path}: {reason}")
    return found


def told_of_faults(blocks: Iterable[np.ndarray], tell: Callable[[str], None]) -> Iterator[np.ndarray]:
    """The same blocks; at their end, `tell` is told of the `fault` of them all, if there is one."""
    level = Level()
    for block in blocks:
        level.add(block)
        yield block
    if reason := fault(level.quality()):
        tell(reason)


def write_wav(path: str | os.PathLike, samples: np.ndarray, mode: int | None = None) -> None:
    """Write float32 [samples], 16 kHz, as 16-bit PCM WAV; values beyond full scale are clipped.

    `mode` are the file's permissions, the usual ones if None.

    Raises:
        AudioError: samples that are NaN or infinite. WakewordError: the file cannot be written.
    """
    if not np.isfinite(samples).all():
        raise AudioError(f"{path}: not written, the samples hold NaN or infinity: give finite ones")
    with replacing(path, mode) as temporary, wave.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(pcm16(samples))


def _resampled(
    path: str | os.PathLike, start_s: float = 0.0, duration_s: float | None = None, channel: int | None = None
) -> Iterator[np.ndarray]:
    path = Path(path)
    resampler, heard = None, 0
    for rate, block in decoded_blocks(path, start_s, duration_s):
        if channel is not None:
            if channel >= block.shape[1]:
                raise AudioError(f"{path}: has {block.shape[1]} channel(s), no channel {channel}: prepare it again")
            block = block[:, [channel]]
        if not np.isfinite(block).all():
            raise AudioError(f"{path}: holds samples that are NaN or infinite: export it again")
        if np.abs(block).max(initial=0) > LOUDEST:
            raise AudioError(f"{path}: float samples far beyond full scale (1.0): scale them to [-1, 1]")
        if resampler is None:
            resampler = StreamResampler(rate, block.shape[1])
        piece = resampler.process(block)
        heard += len(piece)
        yield piece
    if resampler is not None:
        piece = resampler.flush()
        heard += len(piece)
        yield piece
    if not heard:
        part = f" from {start_s:g} s on" if start_s else ""
        raise AudioError(f"{path}: has no samples{part}: check the file or leave it out")
