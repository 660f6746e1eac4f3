"""A detector that needs no training, of a phrase that is a tone, and clips of it."""

import numpy as np

from wakeword.audio.waveform import SAMPLE_RATE, write_wav


class ToneDetector:
    """Hears tones, the first of 1 kHz: the share of a frame's energy that lies there. Streams any block size."""

    refractory_s = 1.0

    def __init__(self, threshold=0.5, frame=640, tones=(1000,)):
        self.phrases, self.thresholds = tuple(f"{tone} Hz" for tone in tones), (threshold,) * len(tones)
        self.frame, self.tones = frame, np.array(tones)
        self.reset()

    def reset(self):
        self.held, self.frames = np.zeros(0, np.float32), 0

    def scores(self, samples):
        held = np.concatenate([self.held, samples])
        count = len(held) // self.frame
        self.held = held[count * self.frame :]
        blocks = held[: count * self.frame].reshape(-1, self.frame).astype(np.float64)
        waves = np.exp(2j * np.pi * self.tones / SAMPLE_RATE * np.arange(self.frame)[:, None])
        share = 2 * np.abs(blocks @ waves) ** 2 / self.frame / ((blocks**2).sum(axis=1, keepdims=True) + 1e-4)
        time_s = self.frame / SAMPLE_RATE * np.arange(self.frames + 1, self.frames + count + 1)
        self.frames += count
        return time_s, np.clip(share, 0, 1).astype(np.float32)


def clip_of(path, tone, seed, seconds=0.4, lead=0.5, trail=0.6):
    """A tone (level `tone`) in faint noise; of zero level, a burst of noise instead."""
    rng = np.random.default_rng(seed)
    samples = rng.standard_normal(int((lead + seconds + trail) * SAMPLE_RATE)) * 1e-3
    inside = slice(int(lead * SAMPLE_RATE), int((lead + seconds) * SAMPLE_RATE))
    count = inside.stop - inside.start
    wave = tone * np.sin(2 * np.pi * 1000 / SAMPLE_RATE * np.arange(count)) if tone else 0
    samples[inside] += wave + rng.standard_normal(count) * (0.02 if tone else 0.1)
    write_wav(path, samples.astype(np.float32))
    return path
