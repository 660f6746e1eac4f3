"""What an improvement hears: reviewed clips, the user's own clips and negatives; and what of these it is tested on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from wakeword.audio.clips import (
    BOTH_TESTED,
    Clip,
    find_clips,
    for_development,
    for_testing,
    for_training,
    in_pieces,
    refuse_shared,
    told_seconds,
)
from wakeword.audio.levels import Span
from wakeword.audio.waveform import SAMPLE_RATE, check_clip, read_audio
from wakeword.detector.detector import Detector
from wakeword.errors import AudioError, Skipped, WakewordError
from wakeword.evaluation.calibrate import LEAST_HOURS
from wakeword.evaluation.streams import faded
from wakeword.listener.kept import HIT, NO, YES, Kept, kept_clips
from wakeword.training.material import check_apart, split_clips, split_negatives, usable_clips

REFUSED_TIMES = 4
"""How often a refused clip is among the negatives, each time in other surroundings."""
BEFORE_S = 0.2
"""What a confirmed clip keeps before the phrase."""
LONGER = 1.25
"""The phrase in a confirmed clip may be so many times as long as nearly all clips of it that were given."""
NEAR_S = (0.2, 0.8)
"""How long before a hit, which is where the score reaches the threshold, and after it, the score may be highest."""
BEHIND_S = 0.5
"""Of silence, heard after a clip: the score is highest some time after the phrase."""
TOGETHER_S = 6.0
"""Kept clips of so near times may hold the same sound."""
TESTED = "a test on it would show nothing"

KeptClips = list[tuple[Path, Kept]]


@dataclass(frozen=True)
class Given:
    """The user's own material, divided: for each phrase clips to train on, float32 [samples], those held out, and those
    to test on; negatives to train on, to calibrate on and to test on."""

    clips: list[list[np.ndarray]]
    held_out: list[list[Clip]]
    tests: list[list[Clip]]
    negatives: list[Clip]
    dev: list[Clip]
    test_negatives: list[Clip]


def reviewed(folder: str, phrases: Sequence[str], skipped: Skipped) -> tuple[dict[str, KeptClips], KeptClips]:
    """The kept clips of some phrases that were confirmed, by phrase, and those that were refused.

    A refused clip that may hold a hit of another phrase, one that was not refused itself, is left out: as a negative it
    would teach not to hear that.

    Raises:
        WakewordError: nothing of these phrases was confirmed or refused; or as `kept.kept_clips`.
    """
    clips = kept_clips(folder, skipped)
    mine = [(path, about) for path, about in clips if about.phrase in phrases]
    confirmed = {
        phrase: [(path, about) for path, about in mine if (about.phrase, about.decision) == (phrase, YES)]
        for phrase in phrases
    }
    hits = [about for _, about in mine if about.kind == HIT and about.decision != NO]
    refused = []
    for path, about in mine:
        if about.decision != NO:
            continue
        if any(hit.phrase != about.phrase and _apart_s(hit, about) < TOGETHER_S for hit in hits):
            skipped.add(path, f"{path}: not used, it may hold a hit of another phrase")
        else:
            refused.append((path, about))
    if not refused and not any(confirmed.values()):
        undecided = sum(about.decision == "" for _, about in mine)
        raise WakewordError(
            f"{folder}: nothing reviewed of {', '.join(map(repr, phrases))} ({undecided} clip(s) undecided): run "
            "'wakeword review' on it"
        )
    return confirmed, refused


def cut(
    kept: KeptClips,
    detector: Detector,
    output: int,
    said: Sequence[np.ndarray],
    spans: Sequence[Span],
    skipped: Skipped,
) -> tuple[list[np.ndarray], list[Span]]:
    """Confirmed clips from just before the phrase on, float32 [samples] each, and where in them it lies, in seconds.

    Speech may lie before and behind it, or noise over it, in which energy finds it anywhere, and an end that is too
    early teaches to fire in the middle of the phrase. It ends as long before the detector's highest score as it does in
    clips where its end is known. (The hit itself tells less: how early it comes depends on the threshold.)

    Args:
        detector: that heard them. output: of the phrase.
        said: clips of the phrase, float32 [samples] each, and in `spans` where in these it lies.
    """
    known = zip(said, spans, strict=True)
    late_s = float(np.median([_highest_s(detector, output, clip) - end for clip, (_, end) in known]))
    lengths = [end - start for start, end in spans]
    length_s, longest_s = np.quantile(lengths, [0.5, 0.95]).tolist()
    clips, places = [], []
    for path, about in kept:
        try:
            samples = read_audio(path)
            end_s = min(_highest_s(detector, output, samples, about.at_s) - late_s, len(samples) / SAMPLE_RATE)
            first = max(0.0, end_s - LONGER * longest_s - BEFORE_S)
            if end_s - first < 0.5 * longest_s:
                raise AudioError(f"{path}: not used, it has too little before the hit to hold the phrase")
            piece = samples[round(first * SAMPLE_RATE) :]
            check_clip(piece, path)
        except AudioError as error:
            skipped.add(path, error)
        else:
            clips.append(faded(piece))
            places.append((max(0.0, end_s - first - length_s), end_s - first))
    return clips, places


def _highest_s(detector: Detector, output: int, samples: np.ndarray, near_s: float | None = None) -> float:
    """When the score of an output is highest, in seconds: in all of a recording and just behind, or near a time.

    Raises:
        AudioError: the recording has nothing there.
    """
    detector.reset()
    time_s, score = detector.scores(np.pad(samples, (0, round(BEHIND_S * SAMPLE_RATE))))
    score = score[:, output]
    if near_s is not None:
        score = np.where((time_s >= near_s - NEAR_S[0]) & (time_s <= near_s + NEAR_S[1]), score, -1)
    if score.max(initial=-1) < 0:
        raise AudioError(f"a hit at {near_s:g} s, in a recording of {len(samples) / SAMPLE_RATE:.2f} s")
    return float(time_s[np.argmax(score)])


def divided(config, training, skipped: Skipped) -> Given:
    """The user's material as `improve.ImproveConfig` says: tests that are given, else a share that is held out.

    What training held out with the same seed and paths is held out here too: these clips raise the new threshold as
    they raised the old one (`calibrate.choose_threshold`), and are the test where no other is given. Of the quarter of
    the negatives that training chose the threshold on, half does so again and half is the test, where no others are
    given: the old threshold has heard that half, which speaks for the old model if for any.

    Args:
        config: an `improve.ImproveConfig`. training: the `train_config.TrainConfig` made of it.

    Raises:
        WakewordError: too little of something, or a recording both to train (or calibrate) and to test on, or both of a
            phrase and a negative.
    """
    check_apart(training)
    train_negatives, held = split_negatives(training)
    dev = in_pieces(for_development(find_clips(config.dev))) if config.dev else []
    test_negatives = in_pieces(for_testing(find_clips(config.test_negatives))) if config.test_negatives else []
    if dev and test_negatives:
        train_negatives, held = train_negatives + held, []
    elif test_negatives:
        dev = held
    elif dev:
        test_negatives = held
    else:
        dev, test_negatives = split_clips(held, 0.5, training.seed) if held else ([], [])
    if sum(told_seconds(clip) or 0 for clip in dev) < LEAST_HOURS * 3600:
        raise WakewordError(
            "less than a minute of negatives to calibrate on: give more --negatives, or others by --dev"
        )
    if not train_negatives or not test_negatives:
        raise WakewordError(
            "too few negatives to train and test on: give more --negatives, or others by --test-negatives"
        )
    clips, held_out, tests = [], [], []
    # By the phrase: those of `training` are in the order of the model's outputs, whatever order they were given in.
    given = dict(zip((phrase.text for phrase in config.phrases), config.tests, strict=False))
    for phrase in training.phrases:
        said, out, _ = usable_clips(phrase, training, skipped)
        test = out
        if config.tests:
            test = for_testing(find_clips(given[phrase.text]))
            refuse_shared(for_training(find_clips(phrase.positives)), test, "--positives and --test-positives", TESTED)
        of_phrase = f"clips of '{phrase.text}' to test on and negatives"
        refuse_shared(test, [*dev, *test_negatives], of_phrase, BOTH_TESTED)
        if not test:
            raise WakewordError(f"no clips of '{phrase.text}' to test on: give some by --test-positives")
        clips.append(said)
        held_out.append(out)
        tests.append(test)
    trains = "what trains (--negatives, --dev) and --test-negatives"
    refuse_shared([*train_negatives, *dev], test_negatives, trains, TESTED)
    return Given(clips, held_out, tests, train_negatives, dev, test_negatives)


def negatives_of(given: list[Clip], refused: Iterable[Path], most_hours: float, seed: int) -> list[Clip]:
    """A random choice of `most_hours` of the given negatives, and all refused clips, `REFUSED_TIMES` each."""
    chosen, seconds = [], 0.0
    for index in np.random.default_rng([seed, 5]).permutation(len(given)):
        chosen.append(given[index])
        seconds += told_seconds(given[index]) or 0.0
        if seconds > most_hours * 3600:
            break
    return chosen + [Clip(path) for path in refused] * REFUSED_TIMES


def _apart_s(one: Kept, other: Kept) -> float:
    """Seconds of sound between two kept clips; by the clock where no stream is told."""
    if one.stream and other.stream:
        return abs(one.stream_s - other.stream_s) if one.stream == other.stream else math.inf
    try:
        times = [datetime.fromisoformat(each.utc.replace("Z", "+00:00")) for each in (one, other)]
        return abs((times[0] - times[1]).total_seconds())
    except (ValueError, TypeError):
        return 0.0  # a time that cannot be read may be any
