"""The audio that sets the ranges of a quantised model, and such a model beside the float one on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np

from wakeword.audio.clips import Clip, find_clips, for_development, for_training, read_clips
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.detector.detector import Detector
from wakeword.errors import Skipped, WakewordError
from wakeword.export.layers import Layer
from wakeword.export.quantise import peaks_of
from wakeword.features.log_mel import FRAME_S, FRAMES_PER_STEP, FeatureSettings, extract

MOST_SECONDS = 600.0
"""Of the calibration audio so much is heard, clips from all of it."""
LEAST_SECONDS = 60.0
"""Of less audio a user is warned: what is louder than all of it exceeds the ranges."""
SAME_S = 0.1 + 1e-6


@dataclass(frozen=True)
class Parity:
    """A quantised model beside the float model on the same audio: posteriors, and hits at the model's thresholds.

    `same_hits` are those of the float model that the quantised one has too, at most `SAME_S` away.
    """

    seconds: float
    largest_difference: float
    mean_difference: float
    hits: int
    same_hits: int
    hits_quantised: int

    def summary(self) -> str:
        return (
            f"posteriors within {self.largest_difference:.3f} of the float model's, {self.mean_difference:.1e} on "
            f"average, over {self.seconds:.0f} s of the calibration audio; {self.hits} hit(s) there before, "
            f"{self.hits_quantised} after, {self.same_hits} the same"
        )

    def warnings(self) -> list[str]:
        """What makes the audio doubtful as one that sets ranges, a line each."""
        found = []
        if self.seconds < LEAST_SECONDS:
            found.append(
                f"calibrated on {self.seconds:.0f} s of audio alone: give --calibrate-on a minute or more, of the "
                "phrase, speech and noise"
            )
        if not self.hits:
            found.append("the model heard no phrase in the calibration audio: give --calibrate-on clips of it too")
        return found


def in_steps(features: np.ndarray) -> np.ndarray:
    """`[frames, mels]` -> `[frames / 4, 4 * mels]`."""
    steps = len(features) // FRAMES_PER_STEP
    return features[: FRAMES_PER_STEP * steps].reshape(steps, FRAMES_PER_STEP * features.shape[1])


def peaks_heard(layers: list[Layer], heard: list[np.ndarray], settings: FeatureSettings) -> list[float]:
    """The largest magnitude of each value over recordings float32 `[samples]`."""
    return peaks_of(layers, (in_steps(extract(samples, settings)) for samples in heard))


def calibration_audio(paths: Sequence[str], skipped: Skipped, progress: Callable) -> list[np.ndarray]:
    """Some minutes of the clips that PATHs name, of each path alike, those kept for testing left out.

    Those shorter than an encoder frame, in which a model hears nothing, go to `skipped`.

    Raises:
        WakewordError: a path that is not there, or no clip that can be read.
    """
    for_development(find_clips(paths))  # refuses paths of test clips alone
    # A clip of each path in turns, and those of a path from all over it: neighbours are often of one speaker.
    by_path = [spread(for_training(find_clips([path]))) for path in paths]
    turns = [clip for turn in zip_longest(*by_path) for clip in turn if clip is not None]
    heard, seconds = [], 0.0
    for clip, samples in read_clips(turns, skipped, check=False):
        if len(samples) < FRAME_S * SAMPLE_RATE:
            skipped.add(
                f"{clip.path} at {clip.start_s:g} s", f"{clip.path}: shorter than {1000 * FRAME_S:.0f} ms: leave it out"
            )
            continue
        heard.append(samples[: int(SAMPLE_RATE * MOST_SECONDS)])
        seconds += len(heard[-1]) / SAMPLE_RATE
        progress("calibrating", min(1.0, seconds / MOST_SECONDS))
        if seconds >= MOST_SECONDS:
            break
    if not heard:
        raise WakewordError(f"no audio to calibrate on: {skipped.summary() or 'the recordings are empty'}")
    return heard


def spread(clips: list[Clip]) -> list[Clip]:
    """The same clips in such an order that the first of them are from all over the list, however many are taken."""
    # Multiples of the golden section, modulo 1, never cluster.
    return [clips[index] for index in np.argsort(np.arange(len(clips)) * 0.618034 % 1)]


def compared(reference: tuple, quantised: tuple, meta: dict, heard: list[np.ndarray]) -> Parity:
    """A quantised model beside a reference, each a `runtimes.Step` and its zero state, on recordings float32
    `[samples]`, each from the zero state."""
    detectors = Detector(*reference, meta), Detector(*quantised, meta)
    differences, hits, settings = [], ([], []), detectors[0].feature_settings
    for number, samples in enumerate(heard):
        frames = extract(samples, settings)
        frames = frames[None, : len(frames) // FRAMES_PER_STEP * FRAMES_PER_STEP]
        if frames.shape[1]:
            pair = [step(frames, zero)[0] for step, zero in (reference, quantised)]
            differences.append(np.abs(pair[0] - pair[1]).ravel())
        for detector, found in zip(detectors, hits, strict=True):
            detector.reset()
            found += [(number, hit.phrase, hit.time_s) for hit in detector.process(samples)]
    every = np.concatenate([np.zeros(1), *differences])
    return Parity(
        sum(map(len, heard)) / SAMPLE_RATE,
        float(every.max()),
        float(every.mean()),
        len(hits[0]),
        sum(any(one[:2] == other[:2] and abs(one[2] - other[2]) <= SAME_S for other in hits[1]) for one in hits[0]),
        len(hits[1]),
    )
