"""Train a detector for one or several phrases: the head, and what `unfreeze` frees of the encoder, on clips of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wakeword import __version__, examples, tokens
from wakeword.align import LABELS, Located, locate
from wakeword.augment import Augmentation, read_recordings, simulated_rooms
from wakeword.budget import parse_budget
from wakeword.calibrate import Calibration, calibrated
from wakeword.clips import Clip
from wakeword.errors import ConfigError, Skipped
from wakeword.estimates import early, estimate, measure
from wakeword.features import FeatureSettings
from wakeword.fit import fit
from wakeword.head import HeadSizes, WakeModel
from wakeword.losses import LOSSES
from wakeword.material import heard_before, holds, negative_material, phrase_material, weighed
from wakeword.noises import babble, made_noise
from wakeword.settings import MOST_THREADS, from_dict
from wakeword.transfer import Unfreeze, choose_unfreeze, save_wakeword, stacked, trainable

ROOMS = 100
"""Simulated rooms that clips and negatives are heard in, beside recorded ones."""


LEAST = {
    1: ("steps", "batch", "copies", "negative_copies", "smoothing_frames", "threads", "channels"),
    0: ("depth", "seed", "negative_hours", "learning_rate", "encoder_learning_rate", "refractory_s")
    + ("negative_weight", "ctc", "parts", "made_noise", "babble", "spoken", "confusables"),
}
"""The least that settings may be."""


@dataclass(frozen=True)
class Phrase:
    """What clips say, and where they are: folders, audio files or manifests; none, where voices speak it."""

    text: str = ""
    positives: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Paths are folders, audio files or manifests; `output` is the one file that it makes.

    `spoken` clips of each phrase in synthetic voices train with it, or alone; where there are no `negatives`, the
    voices say other sentences. So many `confusables`, texts that sound like the phrase, are spoken as negatives.
    What is spoken stays in `OUTPUT.spoken` (spoken.py).

    `budget` is each phrase's own. `copies` of each clip are heard, each in other surroundings, and `parts` copies of a
    part of it, as negatives. `made_noise` and `babble` count noises made beside the recorded ones, babble of the
    negatives' voices; `channel_probability` is that of a telephone, codec or microphone. The share `speed_probability`
    of the copies is heard at a speed out of the range `speeds`, and all at a level out of `level_dbfs`, drawn evenly.

    `batch` counts the examples of each phrase in a step, and the windows of negatives, the share `hard` of which is
    mined. `labels` is one of `align.LABELS`: what says where the phrase lies in its clips, their energy or the
    acoustic model. `loss` is one of `losses.LOSSES`, `negative_weight` weighs the windows in it, `smoothing` is what
    its targets are short of 1, and `ctc` weighs the spelling of the phrase beside it (speller.py). With `average` the
    weights of the steps are averaged.
    """

    phrases: tuple[Phrase, ...] = ()
    output: str = ""
    negatives: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    rir: tuple[str, ...] = ()
    spoken: int = 0
    confusables: int = 0
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
    smoothing: float = 0.0
    ctc: float = 0.0
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
    `estimates.estimate`), the same that raised the thresholds; `calibrations` are none if there was nothing to
    calibrate on. `notes` tell in a line each what of all this synthetic voices have spoken, and what makes an estimate
    look better than it is.
    """

    path: Path
    unfrozen: str
    located: list[Located]
    calibrations: list[Calibration]
    estimates: list[dict]
    skipped: Skipped
    notes: list[str]


def labels_elsewhere(phrases: list[str]) -> np.ndarray:
    """Int8 `[phrases, outputs]`: what a phrase's clips are to the outputs of the others.

    0, so that these learn not to fire; but -1, which counts neither way, where the other's words are a part of what
    the clip says ("computer" in "hey computer").
    """
    return np.array([[-1 if holds(said, phrase) else 0 for phrase in phrases] for said in phrases], np.int8)


def train(
    config: TrainConfig,
    progress: Callable[[str, float], None] | None = None,
    tell: Callable[[str], None] | None = None,
) -> Trained:
    """Train, calibrate on held-out negatives, and write `config.output`.

    An interrupted run, started again with the same settings, goes on from `OUTPUT.begun` to the same weights.

    Args:
        progress: called with a stage's name and the fraction of it that is done.
        tell: told a line for each phrase after a third of the steps: what is known so far (`estimates.early`).

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
    material = [phrase_material(phrase, config, skipped, progress) for phrase in config.phrases]
    clips, recorded = [each.clips for each in material], [each.recorded for each in material]
    training_negatives, dev_negatives = negative_material(config, skipped, progress)
    # What synthetic voices have in common would be learnt by the encoder too: only recorded clips free it.
    chosen = choose_unfreeze(config.unfreeze, sum(recorded), len(model.encoder.sizes.dilations))

    meta = {
        "phrases": [{"phrase": phrase, "threshold": 0.5, "calibration": None} for phrase in phrases],
        "features": acoustic["features"],
        "smoothing_frames": config.smoothing_frames,
        "refractory_s": config.refractory_s,
    }

    def look() -> None:
        for line in early(model, meta, material, dev_negatives, config.budget):
            tell(line)

    begun = Path(f"{config.output}.begun")
    located, heard = learn(
        model, settings, chosen, config, clips, training_negatives, skipped, progress, begun, recorded, tell and look
    )

    # The file that may be there already is replaced once, at the end.
    misses, calibrations = measure(model, meta, material, dev_negatives, config.budget, skipped, progress)
    card = {
        "acoustic": acoustic["card"],
        "unfrozen": chosen.reason,
        "negative_hours": round(heard * settings.frame_s / 3600 / max(1, config.negative_copies), 2),
        "skipped": len(skipped),
        "seed": config.seed,
        "version": __version__,
    }
    meta["card"] = card
    if calibrations:
        meta["phrases"] = [calibrated(*pair) for pair in zip(meta["phrases"], calibrations, strict=True)]
    estimates = [estimate(misses[entry["phrase"]], entry["threshold"]) for entry in meta["phrases"]]
    card["phrases"] = {
        phrase: {
            "clips": len(each.clips),
            **({"spoken_clips": len(each.clips) - each.recorded} if config.spoken else {}),
            **({"aligned_clips": where.aligned} if config.labels == "aligned" else {}),
            "held_out_clips": len(each.held_out),
            "estimate": estimated,
            "held_out_misses": dataclasses.asdict(misses[phrase]),
        }
        for phrase, each, where, estimated in zip(phrases, material, located, estimates, strict=True)
    }
    save_wakeword(config.output, model, meta)
    begun.unlink(missing_ok=True)
    notes = [each.note for each in material if each.note]
    if calibrations and config.negatives and (told := heard_before(dev_negatives, acoustic["card"])):
        notes.append(told)
    if config.spoken and not config.negatives:
        notes.append(
            f"no negatives given: {len(training_negatives)} clips of synthetic voices trained in their place, and "
            f"{len(dev_negatives)} chose the threshold: choose it on recordings with 'wakeword calibrate'"
        )
    return Trained(Path(config.output), chosen.reason, located, calibrations, estimates, skipped, notes)


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
    recorded: Sequence[int],
    look: Callable[[], None] | None = None,
) -> tuple[list[Located], int]:
    """Train the head of `model`, and what is `chosen` of its encoder, on clips of the phrases and on speech without
    them.

    Args:
        clips: for each phrase its clips, float32 `[samples]` each.
        begun: where an interrupted run leaves its state, and finds it.
        recorded: how many of each phrase's clips are recorded, the first ones; the others are spoken, and weigh less
            (`material.weighed`).
        look: called once, after a third of the steps, while the model is in eval mode.

    Returns:
        Where each phrase lies in its clips, and how many frames of negatives were heard.
    """
    phrases = [phrase.text for phrase in config.phrases]
    boundary = chosen.boundary
    encoder_parameters = trainable(model, chosen, config.seed)
    speech = examples.speech_of(negatives, config.seed, skipped)
    common = augmentation_of(config, speech, skipped), model.encoder, settings, boundary, config.seed
    stream = examples.negatives(negatives, config.negative_copies, config.negative_hours, *common, skipped, progress)
    located = locate(config.labels, clips, phrases, config.acoustic)
    said = [weighed(*each) for each in zip(clips, recorded, strict=True)]
    spans = [weighed(each.spans, count) for each, count in zip(located, recorded, strict=True)]
    heard = said, spans, labels_elsewhere(phrases)
    found = examples.positives(*heard, config.copies, speech, *common, progress)
    cut = examples.positives(*heard, config.parts, speech, *common, progress, cut=True) if config.parts else []
    fit(model, encoder_parameters, found, cut, stream, boundary, config, progress, begun, look)
    return located, len(stream)


def augmentation_of(config: TrainConfig, speech: list[np.ndarray], skipped: Skipped | None = None) -> Augmentation:
    """How training changes what it hears: noise and impulse responses from the configuration's paths, and made ones.

    Args:
        speech: what babble is made of, float32 `[samples]` each.
        skipped: gets the recordings that cannot be read.
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
            *read_recordings(config.noise, skipped=skipped),
            *made_noise(config.made_noise, config.seed),
            *babble(speech, config.babble, config.seed),
        ),
        rirs=read_recordings(config.rir, skipped=skipped),
        rooms=simulated_rooms(ROOMS),
    )


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
        if not phrase.positives and not config.spoken:
            raise ConfigError(
                f"--positives of '{phrase.text}' names nothing: give folders, audio files or manifests of the phrase, "
                "or --text in place of --phrase to have it spoken by synthetic voices"
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
    if config.threads > MOST_THREADS:
        raise ConfigError(f"threads = {config.threads}: must be at most {MOST_THREADS}")
    if not 0 <= config.held_out < 1:
        raise ConfigError(f"held_out = {config.held_out}: must be from 0 to below 1")
    if not 0 <= config.smoothing < 0.5:
        raise ConfigError(f"smoothing = {config.smoothing}: must be from 0 to below 0.5")
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
