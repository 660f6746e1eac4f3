"""Clips to continuous streams, as a detector hears them: pauses between, noise under all of it, scores out.

A detector that is judged on one clip at a time starts each from silence and cannot carry anything from one to the
next. Streams are generated piece by piece, so hours of them need no memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from wakeword.audio.clips import Clip, read_clips
from wakeword.audio.levels import active_power, active_span, noise_power
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import AudioError, Skipped
from wakeword.evaluation.metrics import Track

if TYPE_CHECKING:
    from wakeword.detector.detector import Detector

DITHER_RMS = 1e-4  # -80 dBFS: digital silence never comes from a microphone, and log-mel features show it
FADE_S = 0.005  # at a clip's ends; a splice would click
TAIL_S = 2.0  # after the last clip: late scores, and a detection's second of grace
PEAK_MOST = 0.99
BLOCK_SAMPLES = 30 * SAMPLE_RATE  # fed to a detector at a time

Progress = Callable[[str, float], None]

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""A clip's samples, and random numbers of its own, to what is heard in their place; both float32 [samples]."""


@dataclass(frozen=True)
class Event:
    """A clip in a stream; all times in seconds of stream. The phrase ends, by energy, at `speech_end_s`."""

    start_s: float
    end_s: float
    speech_end_s: float
    clip: Clip


@dataclass(frozen=True)
class Stream:
    """Consecutive audio, float32 [samples], with the clips that lie in it."""

    samples: np.ndarray
    events: list[Event]


def mix_at_snr(speech: np.ndarray, noise: np.ndarray, snr_db: float, seed: int = 0) -> np.ndarray:
    """Speech with noise under all of it, float32 [len(speech)].

    SNR is the speech's active power (`levels.active_power`) over the whole noise recording's mean power
    (`levels.noise_power`). The noise starts at a random place (`seed`) and is looped. A mixture that would clip is
    scaled down, both parts alike.

    Raises:
        AudioError: the noise is empty or silent.
    """
    noise = np.asarray(noise, np.float32)
    gain = _noise_gain(speech, _power_or_error(noise), snr_db)
    offset = int(np.random.default_rng(seed).integers(len(noise)))
    mixed = np.asarray(speech, np.float32) + np.float32(gain) * _looped(noise, offset, len(speech))
    return mixed * np.float32(_headroom(mixed))


def noise_bed(clips: Iterable[Clip], skipped: Skipped, seed: int = 0, most_s: float = 1200.0) -> np.ndarray:
    """One noise recording out of many, float32 [samples]: shuffled, each brought to the same mean power, joined.

    Loud recordings would otherwise set the noise level for all. At most `most_s` seconds are used.

    Raises:
        AudioError: no clip could be used.
    """
    clips = list(clips)
    order = np.random.default_rng(seed).permutation(len(clips))
    parts, held = [], 0
    for clip, samples in read_clips([clips[i] for i in order], skipped, check=False):
        power = noise_power(samples)
        if power == 0.0:
            skipped.add(clip.path, f"{clip.path}: silent, no use as noise: leave it out")
            continue
        part = faded(samples[: int(most_s * SAMPLE_RATE) - held] * np.float32(0.05 / math.sqrt(power)))
        parts.append(part)
        held += len(part)
        if held >= int(most_s * SAMPLE_RATE):
            break
    if not parts:
        raise AudioError(f"no noise: none of {len(clips)} file(s) could be used: {skipped.summary(1) or 'none given'}")
    return np.concatenate(parts)


def positive_stream(
    clips: Sequence[Clip],
    pause_s: tuple[float, float] = (0.5, 1.5),
    noise: np.ndarray | None = None,
    snr_db: float | None = None,
    seed: int = 0,
    skipped: Skipped | None = None,
    change: Change | None = None,
) -> Iterator[Stream]:
    """All clips of the phrase, in pieces of one pause and one clip each; a last piece is a pause alone.

    Pauses last uniformly between the two values of `pause_s` and hold faint dither. With `noise` (float32 [samples])
    and `snr_db`, noise runs on through clips and pauses; its gain is set for each clip as in `mix_at_snr` and moves
    during the pause. The same `seed` gives the same pauses and noise: at each SNR the same noise lies under a clip.
    `change` is made to each clip first, with the same random numbers whatever it is. Clips that cannot be read, are
    silent or clipped go to `skipped`.

    Raises:
        AudioError: the noise is empty or silent.
    """
    yield from _concatenated(clips, pause_s, noise, snr_db, seed, skipped, check=True, change=change)


def negative_stream(
    clips: Sequence[Clip],
    pause_s: tuple[float, float] = (0.2, 0.5),
    noise: np.ndarray | None = None,
    snr_db: float | None = None,
    seed: int = 0,
    skipped: Skipped | None = None,
) -> Iterator[Stream]:
    """Audio without the phrase, as `positive_stream`; silence and clipping are no fault here and are kept."""
    yield from _concatenated(clips, pause_s, noise, snr_db, seed, skipped, check=False)


def join(pieces: Iterable[Stream]) -> Stream:
    """A whole stream in memory."""
    pieces = list(pieces)
    samples = [p.samples for p in pieces] or [np.zeros(0, np.float32)]
    return Stream(np.concatenate(samples), [e for p in pieces for e in p.events])


def score_stream(
    detector: Detector,
    pieces: Iterable[Stream],
    clip_count: int = 0,
    progress: Progress | None = None,
    stage: str = "",
) -> tuple[list[Track], list[Event]]:
    """Reset a detector and let it hear a stream: the scores of each of its phrases, and the events.

    Each track has the clips' times; its `hours` are those of the clips: pauses do not count, since nothing happens in
    them. `progress` is called with `stage` and the fraction of `clip_count` clips heard.
    """
    detector.reset()
    times, scores, events = [np.zeros(0)], [np.zeros((0, len(detector.phrases)), np.float32)], []
    for piece in pieces:
        for i in range(0, len(piece.samples), BLOCK_SAMPLES):
            time_s, score = detector.scores(piece.samples[i : i + BLOCK_SAMPLES])
            times.append(time_s)
            scores.append(score)
        events += piece.events
        if progress is not None and clip_count:
            progress(stage, len(events) / clip_count)
    if progress is not None:
        progress(stage, 1.0)
    starts, ends = np.asarray([e.start_s for e in events]), np.asarray([e.end_s for e in events])
    hours = float((ends - starts).sum()) / 3600
    time_s = np.concatenate(times)
    return [Track(time_s, score, hours, starts, ends) for score in np.concatenate(scores).T.copy()], events


def _concatenated(clips, pause_s, noise, snr_db, seed, skipped, check, change=None) -> Iterator[Stream]:
    # A stream of random numbers for each purpose: noise does not change the pauses, so conditions compare.
    pauses, dither, offsets = (np.random.default_rng([seed, purpose]) for purpose in range(3))
    power = offset = 0
    if noise is not None and snr_db is not None:
        noise = np.asarray(noise, np.float32)
        power, offset = _power_or_error(noise), int(offsets.integers(len(noise)))
    gain = scale = None
    heard = 0

    def pause_of(seconds: float) -> np.ndarray:
        return dither.standard_normal(int(seconds * SAMPLE_RATE), np.float32) * np.float32(DITHER_RMS)

    heard_clips = read_clips(clips, skipped if skipped is not None else Skipped(), check)
    for index, (clip, speech) in enumerate(heard_clips):
        if change is not None:
            speech = change(speech, np.random.default_rng([seed, 3, index]))
        pause = pause_of(pauses.uniform(*pause_s))
        samples = np.concatenate([pause, faded(speech)])
        if power:
            new = _noise_gain(speech, power, snr_db)
            samples += _ramp(new if gain is None else gain, new, len(pause), len(speech)) * _looped(
                noise, offset + heard, len(samples)
            )
            gain, new = new, _headroom(samples)
            samples *= _ramp(new if scale is None else scale, new, len(pause), len(speech))
            np.clip(samples, -1, 1, out=samples)
            scale = new
        start, end = (heard + len(pause)) / SAMPLE_RATE, (heard + len(samples)) / SAMPLE_RATE
        heard += len(samples)
        yield Stream(samples, [Event(start, end, start + active_span(speech)[1], clip)])
    if heard:
        tail = pause_of(TAIL_S)
        if power:
            tail += np.float32(gain * scale) * _looped(noise, offset + heard, len(tail))
        yield Stream(np.clip(tail, -1, 1), [])


def _power_or_error(noise: np.ndarray) -> float:
    power = noise_power(noise)
    if power == 0.0:
        raise AudioError("the noise recording is empty or silent: choose another")
    return power


def _noise_gain(speech: np.ndarray, power: float, snr_db: float) -> float:
    return math.sqrt(active_power(speech) / power / 10 ** (snr_db / 10))


def _looped(noise: np.ndarray, offset: int, count: int) -> np.ndarray:
    return noise.take(np.arange(offset, offset + count), mode="wrap")


def _headroom(samples: np.ndarray) -> float:
    peak = float(np.abs(samples).max(initial=0.0))
    return PEAK_MOST / peak if peak > 1.0 else 1.0


def _ramp(before: float, after: float, pause: int, rest: int) -> np.ndarray:
    return np.concatenate([np.linspace(before, after, pause), np.full(rest, after)]).astype(np.float32)


def faded(samples: np.ndarray) -> np.ndarray:
    """The samples, float32 [samples], coming and going over `FADE_S`."""
    samples = np.array(samples, np.float32)
    count = min(int(FADE_S * SAMPLE_RATE), len(samples) // 2)
    if count:
        slope = np.linspace(0, 1, count, dtype=np.float32)
        samples[:count] *= slope
        samples[-count:] *= slope[::-1]
    return samples
