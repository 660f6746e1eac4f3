"""Train a detector for one or several phrases: the head, and what `unfreeze` frees of the encoder, on clips of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from wakeword import __version__
from wakeword.acoustic.align import Located, locate
from wakeword.audio.clips import Clip
from wakeword.augmentation.augment import Augmentation, read_recordings, simulated_rooms
from wakeword.augmentation.noises import babble, made_noise
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.calibrate import Calibration, calibrated
from wakeword.features.log_mel import FeatureSettings
from wakeword.files import check_writable
from wakeword.head.layers import HeadSizes, WakeModel
from wakeword.head.transfer import Unfreeze, choose_unfreeze, save_wakeword, stacked, trainable
from wakeword.settings import from_dict
from wakeword.training import examples
from wakeword.training.estimates import early, estimate, measure
from wakeword.training.fit import fit
from wakeword.training.material import check_given, heard_before, holds, negative_material, phrase_material, weighed
from wakeword.training.train_config import Phrase as Phrase  # with TrainConfig, what callers of `train` need
from wakeword.training.train_config import TrainConfig, check

ROOMS = 100
"""Simulated rooms that clips and negatives are heard in, beside recorded ones."""


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
        tell: told a line for each phrase after a third of the steps: what is known so far (`estimates.early`), and
            before the first that there are no negatives.

    Raises:
        WakewordError: too few usable clips, clips of a phrase that are given as another's or as negatives too, no such
            path, an unusable setting.
    """
    progress = progress or (lambda stage, fraction: None)
    check(config)
    check_writable(config.output)
    given = check_given(config)
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    skipped = Skipped()

    head = HeadSizes(config.depth, config.channels, outputs=len(config.phrases))
    model, acoustic = stacked(config.acoustic, head)
    choose_unfreeze(config.unfreeze, 0, model.encoder.sizes)  # what it cannot be is refused before clips are spoken
    settings = from_dict(FeatureSettings, acoustic["features"], config.acoustic)
    phrases = [phrase.text for phrase in config.phrases]
    material = [phrase_material(phrase, config, skipped, progress) for phrase in config.phrases]
    clips, recorded = [each.clips for each in material], [each.recorded for each in material]
    training_negatives, dev_negatives = negative_material(config, given, skipped, progress)
    if tell and not config.negatives and not config.spoken:
        tell("warning: no negatives: what the phrase is not, the clips alone tell; give hours of other speech")
    spoken = sum(map(len, clips)) - sum(recorded)
    chosen = choose_unfreeze(config.unfreeze, sum(recorded), model.encoder.sizes, spoken)

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
    located = locate(config.labels, clips, phrases, config.acoustic)
    heard = learn(
        model,
        settings,
        chosen,
        config,
        clips,
        located,
        training_negatives,
        skipped,
        progress,
        begun,
        recorded,
        tell and look,
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
    if config.negatives and not dev_negatives:
        notes.append(
            "the negatives are one recording, which trains, so that none chose the threshold: give more of them, or "
            "run 'wakeword calibrate' on others"
        )
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
    located: Sequence[Located],
    negatives: list[Clip],
    skipped: Skipped,
    progress: Callable[[str, float], None],
    begun: Path,
    recorded: Sequence[int],
    look: Callable[[], None] | None = None,
) -> int:
    """Train the head of `model`, and what is `chosen` of its encoder, on clips of the phrases and on speech without
    them.

    Args:
        clips: for each phrase its clips, float32 `[samples]` each. located: where in them it lies.
        begun: where an interrupted run leaves its state, and finds it.
        recorded: how many of each phrase's clips are recorded, the first ones; the others are spoken, and weigh less
            (`material.weighed`).
        look: called once, after a third of the steps, while the model is in eval mode.

    Returns:
        How many frames of negatives were heard.

    Raises:
        WakewordError: no noise or impulse response can be read, or none of the negatives.
    """
    phrases = [phrase.text for phrase in config.phrases]
    boundary = chosen.boundary
    encoder_parameters = trainable(model, chosen, config.seed)
    speech = examples.speech_of(negatives, config.seed, skipped)
    common = augmentation_of(config, speech, skipped), model.encoder, settings, boundary, config.seed
    stream = examples.negatives(negatives, config.negative_copies, config.negative_hours, *common, skipped, progress)
    if negatives and not len(stream):
        why = skipped.summary() or "they are too short"
        raise WakewordError(f"none of the {len(negatives)} negatives that train can be heard: {why}")
    said = [weighed(*each) for each in zip(clips, recorded, strict=True)]
    spans = [weighed(each.spans, count) for each, count in zip(located, recorded, strict=True)]
    heard = said, spans, labels_elsewhere(phrases)
    found = examples.positives(*heard, config.copies, speech, *common, progress)
    cut = examples.positives(*heard, config.parts, speech, *common, progress, cut=True) if config.parts else []
    fit(model, encoder_parameters, found, cut, stream, boundary, config, progress, begun, look)
    return len(stream)


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
        pitch_probability=config.pitch_probability,
        pitch_semitones=config.pitch_semitones,
        level_dbfs=config.level_dbfs,
        amid_probability=config.amid_probability,
        noise=(
            *read_recordings(config.noise, skipped=skipped),
            *made_noise(config.made_noise, config.seed),
            *babble(speech, config.babble, config.seed),
        ),
        rirs=read_recordings(config.rir, skipped=skipped),
        rooms=simulated_rooms(ROOMS),
    )
