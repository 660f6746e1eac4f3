"""Train a detector for one or several phrases: the head, and what `unfreeze` frees of the encoder, on clips of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wakeword import __version__, examples, tokens
from wakeword.align import LABELS, Located, locate
from wakeword.augment import Augmentation, read_recordings, simulated_rooms
from wakeword.budget import parse_budget
from wakeword.calibrate import Calibration, calibrate, calibrated
from wakeword.clips import Clip, find_clips, for_training, in_pieces, read_clips, share_of
from wakeword.detector import Detector
from wakeword.duplicates import closed, groups_of_clips
from wakeword.errors import ConfigError, Skipped, WakewordError
from wakeword.features import FeatureSettings
from wakeword.fit import fit
from wakeword.head import HeadSizes, WakeModel
from wakeword.losses import LOSSES
from wakeword.metrics import wilson_interval
from wakeword.misses import Misses, count_misses
from wakeword.noises import babble, made_noise
from wakeword.runtimes import running
from wakeword.settings import from_dict
from wakeword.transfer import Unfreeze, choose_unfreeze, save_wakeword, stacked, trainable

FEWEST_CLIPS = 3
MOST_COMPARED = 1000
"""So many clips of unknown speakers are compared with each other for copies of one recording, about a CPU minute."""
ROOMS = 100
"""Simulated rooms that clips and negatives are heard in, beside recorded ones."""


LEAST = {
    1: ("steps", "batch", "copies", "negative_copies", "smoothing_frames", "threads", "channels"),
    0: ("depth", "seed", "negative_hours", "learning_rate", "encoder_learning_rate", "refractory_s")
    + ("negative_weight", "parts", "made_noise", "babble"),
}
"""The least that settings may be."""


@dataclass(frozen=True)
class Phrase:
    """What clips say, and where they are: folders, audio files or manifests."""

    text: str = ""
    positives: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Paths are folders, audio files or manifests; `output` is the one file that it makes.

    `budget` is each phrase's own. `copies` of each clip are heard, each in other surroundings, and `parts` copies of a
    part of it, as negatives. `made_noise` and `babble` count noises made beside the recorded ones, babble of the
    negatives' voices; `channel_probability` is that of a telephone, codec or microphone. The share `speed_probability`
    of the copies is heard at a speed out of the range `speeds`, and all at a level out of `level_dbfs`, drawn evenly.

    `batch` counts the examples of each phrase in a step, and the windows of negatives, the share `hard` of which is
    mined. `labels` is one of `align.LABELS`: what says where the phrase lies in its clips, their energy or the
    acoustic model. `loss` is one of `losses.LOSSES`, `negative_weight` weighs the windows in it; with `average` the
    weights of the steps are averaged.
    """

    phrases: tuple[Phrase, ...] = ()
    output: str = ""
    negatives: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    rir: tuple[str, ...] = ()
    acoustic: str = "base"
    unfreeze: str = "auto"
    budget: str = "0.5 per h"
    depth: int = 4
    channels: int = 48
    copies: int = 8
    negative_copies: int = 2
    negative_hours: float = 5.0
    held_out: float = 0.2
    steps: int = 1000
    batch: int = 24
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 3e-4
    labels: str = "energy"
    loss: str = "frames"
    negative_weight: float = 1.0
    hard: float = 0.5
    average: bool = True
    parts: int = 0
    noise_probability: float = 0.6
    snr_db: tuple[float, ...] = (0.0, 25.0)
    made_noise: int = 0
    babble: int = 0
    rir_probability: float = 0.3
    channel_probability: float = 0.0
    speed_probability: float = 0.67
    speeds: tuple[float, ...] = (0.9, 1.1)
    level_dbfs: tuple[float, ...] = (-45.0, -15.0)
    smoothing_frames: int = 3
    refractory_s: float = 1.0
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True)
class Trained:
    """What a run made: the file, what was unfrozen and why, and for each phrase what is known of it.

    `located` says where each phrase lies in the clips that trained. `estimates` are of held-out clips (see
    `estimate`); `calibrations` are none if there was nothing to calibrate on.
    """

    path: Path
    unfrozen: str
    located: list[Located]
    calibrations: list[Calibration]
    estimates: list[dict]
    skipped: Skipped


def split_clips(
    clips: list[Clip], fraction: float, seed: int, fewest: int = 0, groups: list[int] | None = None
) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips held out: whole speakers where several are named, else files or parts of them.

    `fraction` of the names is held out, but at least `fewest` and never all. They are chosen by a hash of the name, a
    file's below the folder that holds all files: so where the clips lie does not change the choice.

    Args:
        groups: for each clip the index of the first that is the same recording, as `duplicates.groups_of_clips` finds
            them: those stay on one side, with all of their speakers.
    """
    # Copies of one recording, where the manifest tells them, stay on one side.
    above = os.path.commonpath([clip.path.absolute().parent for clip in clips]) if clips else ""
    files = [os.path.relpath(clip.path.absolute(), above) for clip in clips]
    names = [clip.speaker or str(clip.attributes.get("group", file)) for clip, file in zip(clips, files, strict=True)]
    if len(set(names)) < 4:
        names = [f"{file} {clip.start_s}" for clip, file in zip(clips, files, strict=True)]
    if groups is not None:
        first = closed(len(clips), [(i, names.index(name)) for i, name in enumerate(names)] + [*enumerate(groups)])
        names = [names[i] for i in first]
    ranked = sorted(set(names), key=lambda name: share_of(f"{seed}/{name}"))
    count = max(round(fraction * len(ranked)), fewest)
    out = set(ranked[: min(count, len(ranked) - 1)])
    return (
        [clip for clip, name in zip(clips, names, strict=True) if name not in out],
        [clip for clip, name in zip(clips, names, strict=True) if name in out],
    )


def split_negatives(config: TrainConfig) -> tuple[list[Clip], list[Clip]]:
    """The negatives that train, and a quarter of their speakers that the threshold is chosen on instead."""
    if not config.negatives:
        return [], []
    heard = without_phrases(in_pieces(for_training(find_clips(config.negatives))), [p.text for p in config.phrases])
    return split_clips(heard, 0.25, config.seed) if heard else ([], [])


def without_phrases(clips: list[Clip], phrases: Iterable[str]) -> list[Clip]:
    """The clips whose transcript, where there is one, holds none of the phrases."""
    phrases = list(phrases)
    return [clip for clip in clips if not any(holds(clip.text or "", phrase) for phrase in phrases)]


def holds(text: str, phrase: str) -> bool:
    """Whether a text has the words of the phrase in it, one after the other; one that cannot be spelled has not."""
    wanted = f" {tokens.normalise(phrase)} "
    try:
        return wanted in f" {tokens.normalise(text)} "
    except tokens.TextError:
        return False


def labels_elsewhere(phrases: list[str]) -> np.ndarray:
    """Int8 `[phrases, outputs]`: what a phrase's clips are to the outputs of the others.

    0, so that these learn not to fire; but -1, which counts neither way, where the other's words are a part of what
    the clip says ("computer" in "hey computer").
    """
    return np.array([[-1 if holds(said, phrase) else 0 for phrase in phrases] for said in phrases], np.int8)


def train(config: TrainConfig, progress: Callable[[str, float], None] | None = None) -> Trained:
    """Train, calibrate on held-out negatives, and write `config.output`.

    An interrupted run, started again with the same settings, goes on from `OUTPUT.begun` to the same weights.

    Args:
        progress: called with a stage's name and the fraction of it that is done.

    Raises:
        WakewordError: too few usable clips, no such path, an unusable setting.
    """
    progress = progress or (lambda stage, fraction: None)
    check(config)
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    skipped = Skipped()

    head = HeadSizes(config.depth, config.channels, outputs=len(config.phrases))
    model, acoustic = stacked(config.acoustic, head)
    settings = from_dict(FeatureSettings, acoustic["features"], config.acoustic)
    phrases = [phrase.text for phrase in config.phrases]
    clips, dev_clips = zip(*[usable_clips(phrase, config, skipped) for phrase in config.phrases], strict=True)
    training_negatives, dev_negatives = split_negatives(config)
    chosen = choose_unfreeze(config.unfreeze, sum(map(len, clips)), len(model.encoder.sizes.dilations))

    begun = Path(f"{config.output}.begun")
    located, heard = learn(model, settings, chosen, config, clips, training_negatives, skipped, progress, begun)

    card = {
        "acoustic": acoustic["card"],
        "unfrozen": chosen.reason,
        "negative_hours": round(heard * settings.frame_s / 3600 / max(1, config.negative_copies), 2),
        "skipped": len(skipped),
        "seed": config.seed,
        "version": __version__,
    }
    meta = {
        "phrases": [{"phrase": phrase, "threshold": 0.5, "calibration": None} for phrase in phrases],
        "features": acoustic["features"],
        "smoothing_frames": config.smoothing_frames,
        "refractory_s": config.refractory_s,
        "card": card,
    }
    # The file that may be there already is replaced once, at the end.
    detector = Detector(*running(model, meta))
    misses = {
        phrase: count_misses(detector, output, held_out, skipped, progress)
        for output, (phrase, held_out) in enumerate(zip(phrases, dev_clips, strict=True))
    }
    calibrations: list[Calibration] = []
    if dev_negatives:
        try:
            calibrations = calibrate(detector, dev_negatives, config.budget, progress, misses)
        except WakewordError as error:  # Too little to calibrate on must not lose what was trained.
            skipped.add("calibration", f"not calibrated: {error}")
    if calibrations:
        meta["phrases"] = [calibrated(*pair) for pair in zip(meta["phrases"], calibrations, strict=True)]
    estimates = [estimate(misses[entry["phrase"]], entry["threshold"]) for entry in meta["phrases"]]
    card["phrases"] = {
        phrase: {
            "clips": len(said),
            **({"aligned_clips": where.aligned} if config.labels == "aligned" else {}),
            "held_out_clips": len(held_out),
            "estimate": estimated,
            "held_out_misses": dataclasses.asdict(misses[phrase]),
        }
        for phrase, said, where, held_out, estimated in zip(phrases, clips, located, dev_clips, estimates, strict=True)
    }
    save_wakeword(config.output, model, meta)
    begun.unlink(missing_ok=True)
    return Trained(Path(config.output), chosen.reason, located, calibrations, estimates, skipped)


def learn(
    model: WakeModel,
    settings: FeatureSettings,
    chosen: Unfreeze,
    config: TrainConfig,
    clips: Sequence[list[np.ndarray]],
    negatives: list[Clip],
    skipped: Skipped,
    progress: Callable[[str, float], None],
    begun: Path,
) -> tuple[list[Located], int]:
    """Train the head of `model`, and what is `chosen` of its encoder, on clips of the phrases and on speech without
    them.

    Args:
        clips: for each phrase its clips, float32 `[samples]` each.
        begun: where an interrupted run leaves its state, and finds it.

    Returns:
        Where each phrase lies in its clips, and how many frames of negatives were heard.
    """
    phrases = [phrase.text for phrase in config.phrases]
    boundary = chosen.boundary
    encoder_parameters = trainable(model, chosen, config.seed)
    speech = examples.speech_of(negatives, config.seed, skipped)
    common = augmentation_of(config, speech), model.encoder, settings, boundary, config.seed
    stream = examples.negatives(negatives, config.negative_copies, config.negative_hours, *common, skipped, progress)
    located = locate(config.labels, clips, phrases, config.acoustic)
    heard = clips, [each.spans for each in located], labels_elsewhere(phrases)
    found = examples.positives(*heard, config.copies, speech, *common, progress)
    cut = examples.positives(*heard, config.parts, speech, *common, progress, cut=True) if config.parts else []
    fit(model, encoder_parameters, found, cut, stream, boundary, config, progress, begun)
    return located, len(stream)


def augmentation_of(config: TrainConfig, speech: list[np.ndarray]) -> Augmentation:
    """How training changes what it hears: noise and impulse responses from the configuration's paths, and made ones.

    Args:
        speech: what babble is made of, float32 `[samples]` each.
    """
    return Augmentation(
        noise_probability=config.noise_probability,
        snr_db=config.snr_db,
        rir_probability=config.rir_probability,
        channel_probability=config.channel_probability,
        speed_probability=config.speed_probability,
        speeds=config.speeds,
        level_dbfs=config.level_dbfs,
        noise=(
            *read_recordings(config.noise),
            *made_noise(config.made_noise, config.seed),
            *babble(speech, config.babble, config.seed),
        ),
        rirs=read_recordings(config.rir),
        rooms=simulated_rooms(ROOMS),
    )


def usable_clips(phrase: Phrase, config: TrainConfig, skipped: Skipped) -> tuple[list[np.ndarray], list[Clip]]:
    """A phrase's clips to train on, float32 `[samples]` each, and those held out, not yet read.

    Raises:
        WakewordError: no such path, or too few clips.
    """
    everything = for_training(find_clips(phrase.positives))
    groups = None
    if len(everything) <= MOST_COMPARED and not all(clip.speaker or "group" in clip.attributes for clip in everything):
        groups = groups_of_clips(everything)
    training, held_out = split_clips(everything, config.held_out, config.seed, fewest=1, groups=groups)
    clips = [samples for _, samples in read_clips(training, skipped)]
    if len(clips) < FEWEST_CLIPS:
        raise WakewordError(
            f"{', '.join(map(str, phrase.positives))}: only {len(clips)} usable clip(s) of '{phrase.text}' left to "
            f"train on beside {len(held_out)} held out, {FEWEST_CLIPS} are needed: record more"
            + (f" ({skipped.summary()})" if skipped else "")
        )
    return clips, held_out


def check(config: TrainConfig) -> None:
    """Refuse what cannot work before hours of reading.

    Raises:
        ConfigError: a missing or impossible setting.
    """
    if not config.phrases:
        raise ConfigError("no phrase: say what the clips say with --phrase")
    spelled: list[str] = []
    for phrase in config.phrases:
        if not phrase.text.strip():
            raise ConfigError("--phrase is empty: say what the clips say")
        tokens.encode(phrase.text)
        if not phrase.positives:
            raise ConfigError(
                f"--positives of '{phrase.text}' names nothing: give folders, audio files or manifests of the phrase"
            )
        if tokens.normalise(phrase.text) in spelled:
            raise ConfigError(f"--phrase {phrase.text}: named twice: give all its clips to one --positives")
        spelled.append(tokens.normalise(phrase.text))
    if not config.output:
        raise ConfigError("--output is empty: say where the model goes")
    for least, names in LEAST.items():
        for name in names:
            if not getattr(config, name) >= least:
                raise ConfigError(f"{name} = {getattr(config, name)}: must be {least} or more")
    if not 0 <= config.held_out < 1:
        raise ConfigError(f"held_out = {config.held_out}: must be from 0 to below 1")
    for name in ("hard", "noise_probability", "rir_probability", "channel_probability", "speed_probability"):
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{name} = {getattr(config, name)}: must be from 0 to 1")
    for name, unit in (("snr_db", "in dB"), ("level_dbfs", "in dBFS"), ("speeds", "above 0")):
        ends = getattr(config, name)
        if len(ends) != 2 or not ends[0] <= ends[1] or (name == "speeds" and not ends[0] > 0):
            raise ConfigError(f"{name} = {list(ends)}: must be the least and the most, {unit}")
    if config.labels not in LABELS:
        raise ConfigError(f"labels = {config.labels!r}: must be one of {', '.join(LABELS)}")
    if config.loss not in LOSSES:
        raise ConfigError(f"loss = {config.loss!r}: must be one of {', '.join(LOSSES)}")
    parse_budget(config.budget)


def estimate(misses: Misses, threshold: float) -> dict:
    """Misses of one phrase at its threshold, on clips that did not train, with a 95 % interval."""
    missed = misses.at(threshold)
    low, high = wilson_interval(missed, misses.clips)
    return {"clips": misses.clips, "missed": missed, "miss_rate_interval": [round(low, 4), round(high, 4)]}
