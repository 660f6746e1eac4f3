"""Trigger-word clips and negatives to what is heard in training, computed once.

That is what the frozen part of the encoder gives, or the features where none of it is frozen.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from wakeword.acoustic.encoder import FRAMES_PER_STEP, Encoder
from wakeword.audio.clips import Clip, read_clips
from wakeword.audio.levels import Span, active_span
from wakeword.augmentation.augment import Augmentation, at_pitch, at_speed, augment, piece_of
from wakeword.errors import Skipped, WakewordError
from wakeword.features.log_mel import SAMPLE_RATE, FeatureSettings, extract
from wakeword.head.transfer import lower

LATEST_S = 0.28
"""How long after the phrase's end its frames still count as the phrase."""
UNSURE_S = 0.4
"""Frames that neither count as the phrase nor against it: this long after `LATEST_S`, and the phrase itself."""

LONGEST = 20 * SAMPLE_RATE
"""Samples of negatives that are heard at a time."""
FADE = 160
"""Samples over which a part of a clip comes and goes, so that its edge is no click."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Example:
    """A clip in its surroundings: inputs of what trains, float16 `[frames, dims]`, labels int8 `[frames, outputs]`.

    A label is 1 where the output's phrase has just ended, 0 where it has not, -1 where it does not matter. The phrase
    is that of `output`, and lies in the frames of `place`, from its first to behind its last; None where only a part of
    it is said.
    """

    frames: np.ndarray
    labels: np.ndarray
    output: int = 0
    place: tuple[int, int] | None = None


def frozen(encoder: Encoder, samples: np.ndarray, settings: FeatureSettings, boundary: int) -> np.ndarray:
    """What `transfer.lower` makes of a recording: float16 `[frames of 40 ms, dims]`."""
    features = extract(samples, settings)
    features = features[: len(features) // FRAMES_PER_STEP * FRAMES_PER_STEP]
    with torch.inference_mode():
        return lower(encoder, torch.from_numpy(features)[None], boundary)[0].half().numpy()


def label(frames: int, frame_s: float, start_s: float, end_s: float) -> np.ndarray:
    """Labels int8 `[frames]`, `frame_s` seconds each, of a clip whose phrase lies between `start_s` and `end_s`.

    1 from the phrase's end for `LATEST_S`; -1 (no loss) in the phrase and for `UNSURE_S` after; 0 elsewhere.
    """
    known_s = frame_s * (1 + np.arange(frames))
    labels = np.zeros(frames, np.int8)
    labels[(known_s >= start_s + 0.5 * (end_s - start_s)) & (known_s < end_s + LATEST_S + UNSURE_S)] = -1
    labels[(known_s >= end_s) & (known_s < end_s + LATEST_S)] = 1
    return labels


def positive(samples: np.ndarray, span: Span, speech: list[np.ndarray], settings: Augmentation, rng) -> tuple:
    """A clip, with its phrase at `span`, at another speed and pitch, amid running speech or quiet, in a room and noise.

    Returns:
        The audio, and where in it the phrase begins and ends, in seconds.
    """
    start_s, end_s = span
    factor = 1.0
    if rng.random() < settings.speed_probability:
        factor = float(rng.uniform(*settings.speeds))
        samples = at_speed(samples, factor)
    if settings.pitch_probability and rng.random() < settings.pitch_probability:
        samples = at_pitch(samples, float(rng.uniform(*settings.pitch_semitones)))

    def surroundings(shortest_s: float, longest_s: float) -> np.ndarray:
        length = int(rng.uniform(shortest_s, longest_s) * SAMPLE_RATE)
        if speech and rng.random() < settings.amid_probability:
            other = piece_of(speech, length, rng)
            # At about the clip's own loudness, whatever the corpus was recorded at.
            return other * float(rng.uniform(0.3, 1.2) * samples.std() / max(1e-4, other.std()))
        return (rng.standard_normal(length) * 1e-4).astype(np.float32)

    before, after = surroundings(0.3, 2.0), surroundings(0.5, 1.5)
    whole = np.concatenate([before, samples, after]).astype(np.float32)
    lead_s = len(before) / SAMPLE_RATE
    start_s, end_s = lead_s + start_s / factor, lead_s + end_s / factor
    spoken = slice(int(start_s * SAMPLE_RATE), int(end_s * SAMPLE_RATE) + 1)
    return augment(whole, settings, rng, spoken), start_s, end_s


def partly(samples: np.ndarray, span: Span, rng: np.random.Generator) -> np.ndarray:
    """The beginning of a clip or its end, with a quarter to two thirds of its phrase: float32 `[samples]`."""
    start_s, end_s = span
    kept = rng.uniform(0.25, 0.65)
    first = rng.random() < 0.5
    cut = int((start_s + (kept if first else 1 - kept) * (end_s - start_s)) * SAMPLE_RATE)
    part = (samples[:cut] if first else samples[cut:]).copy()
    fade = np.linspace(0, 1, min(FADE, len(part)), dtype=np.float32)
    part[len(part) - len(fade) :] *= fade[::-1]
    part[: len(fade)] *= fade
    return part


def positives(
    clips: Sequence[list[np.ndarray]],
    spans: Sequence[list[Span]],
    elsewhere: np.ndarray,
    copies: int,
    speech: list[np.ndarray],
    augmentation: Augmentation,
    encoder: Encoder,
    settings: FeatureSettings,
    boundary: int,
    seed: int,
    progress: Progress,
    cut: bool = False,
) -> list[list[Example]]:
    """For each phrase, `copies` examples of each of its clips, every one in other surroundings.

    Args:
        clips: for each phrase its clips, float32 `[samples]`.
        spans: where in each of them the phrase lies, in seconds (`align.locate`).
        elsewhere: int8 `[phrases, outputs]`, the label of a phrase's clips for the outputs of the others: 0 or -1.
        cut: of a part of each clip (`partly`), in which no phrase of its own ends: negatives that begin or end as
            the phrase does.
    """
    found: list[list[Example]] = [[] for _ in clips]
    said = [list(zip(*each, strict=True)) for each in zip(clips, spans, strict=True)]
    order = [(output, clip) for output, each in enumerate(said) for _ in range(copies) for clip in each]
    for index, (output, (clip, span)) in enumerate(order):
        rng = np.random.default_rng([seed, 4 if cut else 1, index])
        if cut:
            clip = partly(clip, span, rng)
            span = active_span(clip)
        samples, start_s, end_s = positive(clip, span, speech, augmentation, rng)
        frames = frozen(encoder, samples, settings, boundary)
        labels = np.repeat(elsewhere[output : output + 1], len(frames), axis=0)
        labels[:, output] = 0 if cut else label(len(frames), settings.frame_s, start_s, end_s)
        place = None if cut else (int(start_s / settings.frame_s), int((end_s + LATEST_S) / settings.frame_s) + 1)
        found[output].append(Example(frames, labels, output, place))
        progress("parts" if cut else "clips", (index + 1) / len(order))
    return found


def speech_of(clips: list[Clip], seed: int, skipped: Skipped, most: int = 500) -> list[np.ndarray]:
    """A random choice of `most` recordings of a second or more, what clips of the phrase are put amid.

    Each float32 `[samples]`, at most 20 s of it.
    """
    found: list[np.ndarray] = []
    for index in np.random.default_rng([seed, 2]).permutation(len(clips)):
        if len(found) == most:
            break
        for _, samples in read_clips([clips[index]], skipped, check=False):
            if len(samples) > SAMPLE_RATE:
                found.append(samples[:LONGEST])
    return found


def negatives(
    clips: list[Clip],
    copies: int,
    most_hours: float,
    augmentation: Augmentation,
    encoder: Encoder,
    settings: FeatureSettings,
    boundary: int,
    seed: int,
    skipped: Skipped,
    progress: Progress,
) -> np.ndarray:
    """Running audio without the phrases: one long stream, float16 `[frames, dims]`.

    Each recording is heard `copies` times, the first time as it is, then augmented; a random choice of `most_hours`.

    Raises:
        WakewordError: no room for it.
    """
    pieces = negative_pieces(clips, copies, most_hours, augmentation, seed, skipped, progress)
    return on_disk(frozen(encoder, piece, settings, boundary) for piece in pieces)


def negative_pieces(
    clips: list[Clip],
    copies: int,
    most_hours: float,
    augmentation: Augmentation,
    seed: int,
    skipped: Skipped,
    progress: Progress,
) -> Iterator[np.ndarray]:
    """The audio of `negatives`, float32 `[samples]`, at most 20 s a piece."""
    rng = np.random.default_rng([seed, 2])
    seconds = 0.0
    for place, index in enumerate(rng.permutation(len(clips))):
        for _, samples in read_clips([clips[index]], skipped, check=False):
            seconds += len(samples) / SAMPLE_RATE
            for copy in range(copies):
                for start in range(0, len(samples), LONGEST):
                    piece = samples[start : start + LONGEST]
                    yield augment(piece, augmentation, rng) if copy and len(piece) else piece
        progress("negatives", max((place + 1) / len(clips), min(1.0, seconds / 3600 / most_hours)))
        if seconds > most_hours * 3600:
            break


def on_disk(pieces: Iterable[np.ndarray]) -> np.ndarray:
    """Float16 `[frames, dims]` each, one after the other in a temporary file that ends with the process.

    Of a wide encoder these are gigabytes, of which training looks at a few at a time.

    Raises:
        WakewordError: no room for it.
    """
    shape = (0, 0)
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            try:
                file.write(piece.tobytes())
                file.flush()
            except OSError as error:
                raise WakewordError(
                    f"{tempfile.gettempdir()}: no room for what the negatives become ({error.strerror}): set TMPDIR "
                    "to a folder on a larger disk, or give fewer hours of them"
                ) from error
            shape = (shape[0] + len(piece), piece.shape[1])
        # Copies on writing: torch wants arrays that can be written to.
        return np.memmap(file, np.float16, "c", shape=shape) if shape[0] else np.zeros(shape, np.float16)
