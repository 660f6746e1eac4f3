"""How much an acoustic model, or a way to train, is worth to a wake head: heads trained and tested in minutes.

Less is done than by run.py beside this (fewer copies and negatives, thresholds in hindsight alone), and what the
encoder gives is computed once for all words, so that many can be compared, on development data (divided.py).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from wakeword.acoustic.align import locate
from wakeword.audio.clips import Clip, read_clips
from wakeword.errors import Skipped
from wakeword.evaluation.calibrate import lowest_within
from wakeword.evaluation.metrics import hits
from wakeword.evaluation.streams import negative_stream, noise_bed, positive_stream
from wakeword.features.log_mel import SAMPLE_RATE, FeatureSettings
from wakeword.head.layers import HeadSizes, WakeModel
from wakeword.head.transfer import Unfreeze, choose_unfreeze, stacked
from wakeword.settings import from_dict, read_toml
from wakeword.training.confusables import speak_confusables
from wakeword.training.spoken import speak_phrase, speak_sentences
from wakeword.training.train import learn
from wakeword.training.train_config import Phrase, TrainConfig, check

sys.path.insert(0, str(Path(__file__).parent))
import divided  # noqa: E402
import run as one_hour  # noqa: E402
from heard import kept, kept_encoded, tracks  # noqa: E402


def words_of(path: str, changes: dict, folder: str | Path, seed: int) -> one_hour.Config:
    """The words of a TOML file, and how long they train; `folder` keeps what probes share.

    Raises:
        ConfigError: no such file, or an unknown key in it or in `changes`.
    """
    words = from_dict(one_hour.Config, {**read_toml(path), **changes}, path)
    return replace(words, folder=str(folder), seed=seed)


def training_of(config: one_hour.Config, changes: dict) -> TrainConfig:
    """The training of a head for the words; `changes` are settings of `TrainConfig`.

    Raises:
        ConfigError: one of them is unknown, or cannot work.
    """
    values = {
        "noise": [divided.training_noise(config.folder)],
        "rir": [one_hour.manifest(config, "rir")],
        "unfreeze": config.unfreeze,
        "output": "none",
        **{name: getattr(config, name) for name in ("steps", "copies", "seed", "threads")},
        **{name: getattr(config, name) for name in ("negative_hours", "negative_copies")},
        **changes,
    }
    phrases = tuple(Phrase(word, (one_hour.manifest(config, f"wakewords-{word}"),)) for word in config.words)
    training = replace(from_dict(TrainConfig, values, "changes"), phrases=phrases)
    check(training)
    return training


def probed(
    acoustic: str,
    config: one_hour.Config,
    changes: dict | None = None,
    most_clips: int = 0,
    clips: dict[str, list[Clip]] | None = None,
    text_alone: bool = False,
    held_out: float = 0.0,
    spoken_negatives: bool = False,
) -> dict:
    """Train one head with an output for each word, in a third of the time of three, and test it.

    Args:
        acoustic: an acoustic model's name or file.
        config: the words, their negatives, and how long to train.
        changes: as in `training_of`.
        most_clips: so many of each word's clips train, chosen by the seed; 0: all.
        clips: those of each word; none: those that the manifests of the words keep for training.
        text_alone: none of them trains, only what voices speak (`changes` says how much).
        held_out: the share of the speakers who test, as `divided.negatives_of` takes it.
        spoken_negatives: no recorded speech trains either, only other sentences of the voices.

    Returns:
        `missed`: miss rates by word, condition and asked false alarms per hour, at the thresholds of hindsight;
        `tested`, the number of clips, and `hours` of negatives behind them; `blocks_trained` of the encoder;
        `trained`, the number of clips that trained beside what voices spoke, and the `minutes` of them.

    Raises:
        ConfigError: as `training_of`.
        ManifestError: as `divided.negatives_of` and `divided.divide_noise`.
    """
    skipped = Skipped()
    run = training_of(config, {**(changes or {}), "acoustic": acoustic})
    _, noise = divided.divide_noise(config)
    negatives, others = divided.negatives_of(replace(config, seed=0), held_out)
    clips = divided.divide(divided.clips_of(config) if clips is None else clips, held_out)
    said = [[] for _ in clips] if text_alone else read_chosen(clips, most_clips, config.seed, skipped)
    recorded = [len(each) for each in said]
    recorded_amount = amount(said)
    said, negatives = with_spoken(run, said, [] if spoken_negatives else negatives, config.folder, skipped)
    model, settings, chosen = trained(run, said, negatives, skipped, recorded)

    bed = noise_bed(noise, skipped)
    unheard = kept(config.folder, settings, others, lambda: negative_stream(others, skipped=skipped))
    # Where the encoder does not train, other heads hear the same from it.
    blocks = len(model.encoder.sizes.dilations) - chosen.boundary
    pieces = None if blocks else kept_encoded(config.folder, model.encoder, unheard)
    missed: dict[str, dict] = {}
    for output, (word, alarms) in enumerate(zip(config.words, tracks(model, settings, unheard, pieces), strict=True)):
        rates = {rate: lowest_within([alarms], alarms.hours, rate) for rate in config.fa_rates}
        test = clips[word][1]
        for name, snr_db in (("clean", None), (f"{config.snr_db:g} dB", config.snr_db)):
            make = partial(positive_stream, test, noise=bed, snr_db=snr_db, skipped=skipped)
            heard = kept(config.folder, settings, [*test, *noise, snr_db], make)
            track = tracks(model, settings, heard)[output]
            found = {rate: np.isnan(hits(track, threshold)).mean() for rate, threshold in rates.items()}
            missed.setdefault(word, {})[name] = {f"{rate:g}": round(float(miss), 4) for rate, miss in found.items()}
    return {
        "missed": missed,
        "tested": sum(len(test) for _, test in clips.values()),
        "hours": round(alarms.hours, 2),
        "blocks_trained": blocks,
        **recorded_amount,
    }


def read_chosen(
    clips: dict[str, tuple[list[Clip], list[Clip]]], most: int, seed: int, skipped: Skipped
) -> list[list[np.ndarray]]:
    """For each word the clips that train, at most `most` (0: all), float32 `[samples]` each."""
    return [
        [samples for _, samples in read_clips(chosen_clips(training, most, seed), skipped)]
        for training, _ in clips.values()
    ]


def amount(said: list[list[np.ndarray]]) -> dict[str, float]:
    """How many clips of all words train, and how many minutes they last."""
    minutes = sum(len(samples) for each in said for samples in each) / SAMPLE_RATE / 60
    return {"trained": sum(map(len, said)), "minutes": round(minutes, 2)}


def chosen_clips(clips: list[Clip], most: int, seed: int) -> list[Clip]:
    """All clips (`most` is 0), or a choice of `most` of them; of fewer clips the first of those of more."""
    if not most:
        return clips
    return [clips[index] for index in np.random.default_rng([seed, 6]).permutation(len(clips))[:most]]


def with_spoken(
    run: TrainConfig, said: list[list[np.ndarray]], negatives: list[Clip], folder: str, skipped: Skipped
) -> tuple[list[list[np.ndarray]], list[Clip]]:
    """The clips of each phrase, and the negatives, with what synthetic voices speak where the training asks for it; of
    no negatives those that they speak in their place, as in `wakeword train`."""
    quiet, place = lambda stage, fraction: None, Path(folder) / "spoken"
    texts = [phrase.text for phrase in run.phrases]
    if run.spoken and not negatives:
        negatives, _ = speak_sentences(texts, place, run.seed, skipped, quiet)
    if run.spoken:
        common = place, run.spoken, run.seed, run.acoustic, skipped, quiet
        said = [[*each, *speak_phrase(text, *common).clips] for text, each in zip(texts, said, strict=True)]
    if run.confusables:
        common = place, run.seed, run.acoustic, skipped, quiet
        negatives = negatives + speak_confusables(texts, run.confusables, *common)
    return said, negatives


def trained(
    run: TrainConfig,
    said: list[list[np.ndarray]],
    negatives: list[Clip],
    skipped: Skipped,
    recorded: list[int],
) -> tuple[WakeModel, FeatureSettings, Unfreeze]:
    """The model of a training, the features that it hears, and what of its encoder trained.

    Args:
        said: the clips of each phrase, float32 `[samples]` each.
        negatives: speech without the phrases.
        recorded: how many of the clips of each are no synthetic voice's, as `train.learn` takes it.
    """
    quiet = lambda stage, fraction: None  # noqa: E731
    torch.manual_seed(run.seed)
    torch.set_num_threads(run.threads)
    model, meta = stacked(run.acoustic, HeadSizes(run.depth, run.channels, outputs=len(run.phrases)))
    settings = from_dict(FeatureSettings, meta["features"], run.acoustic)
    spoken = sum(map(len, said)) - sum(recorded)
    chosen = choose_unfreeze(run.unfreeze, sum(recorded), model.encoder.sizes, spoken)
    located = locate(run.labels, said, [phrase.text for phrase in run.phrases], run.acoustic)
    with tempfile.TemporaryDirectory() as scratch:
        learn(model, settings, chosen, run, said, located, negatives, skipped, quiet, Path(scratch) / "begun", recorded)
    return model, settings, chosen
