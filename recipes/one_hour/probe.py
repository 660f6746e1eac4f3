"""How much an acoustic model, or a way to train, is worth to a wake head: heads trained and tested in minutes.

Less is done than by run.py beside this (fewer copies and negatives, thresholds in hindsight alone), and what the
encoder gives is computed once for all words, so that many can be compared. They are compared on development data, for
what is chosen by the test clips could no longer be tested on them: `HELD_OUT` of the clips that train, and half of the
speakers of the negatives, whom the encoder may have heard but the heads do not. The noise is that of the tests.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import lhotse
import numpy as np
import torch

from wakeword import features
from wakeword.calibrate import lowest_within
from wakeword.clips import Clip, find_clips, for_testing, for_training, in_pieces, read_clips
from wakeword.data import read_manifest
from wakeword.errors import Skipped
from wakeword.features import FRAMES_PER_STEP, FeatureSettings
from wakeword.files import replacing
from wakeword.head import HeadSizes, WakeModel
from wakeword.material import split_clips, without_phrases
from wakeword.metrics import Track, hits
from wakeword.settings import from_dict
from wakeword.spoken import speak_confusables, speak_phrase
from wakeword.streams import Stream, negative_stream, noise_bed, positive_stream
from wakeword.train import Phrase, TrainConfig, check, learn
from wakeword.transfer import choose_unfreeze, stacked

sys.path.insert(0, str(Path(__file__).parent))
import run as one_hour  # noqa: E402

SMOOTHING_S = 0.12
HELD_OUT = 0.4
"""Of the clips of a word that train elsewhere."""
AT_A_TIME = 500 * FRAMES_PER_STEP
"""Log-mel frames that an encoder hears at a time: more do not fit a CPU's cache."""


def training_of(config: one_hour.Config, changes: dict) -> TrainConfig:
    """The training of a head for the words; `changes` are settings of `TrainConfig`.

    Raises:
        ConfigError: one of them is unknown, or cannot work.
    """
    values = {
        "noise": [one_hour.manifest(config, f"noise-{name}") for name in ("esc10", "speech-commands")],
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


def probe(
    acoustic: str,
    config: one_hour.Config,
    changes: dict | None = None,
    most_clips: int = 0,
    text_alone: bool = False,
) -> dict[str, dict[str, dict[str, float]]]:
    """Miss rates by word, condition and asked false alarms per hour, at the thresholds of hindsight.

    One head has an output for each word: it trains in a third of the time of three.

    Args:
        acoustic: an acoustic model's name or file.
        config: the words, their negatives, and how long to train.
        changes: as in `training_of`.
        most_clips: so many of each word's clips train, chosen by the seed; 0: all.
        text_alone: none of them trains, only what voices speak (`changes` says how much).

    Raises:
        ConfigError: as there.
    """
    skipped = Skipped()
    run = training_of(config, {**(changes or {}), "acoustic": acoustic})
    negatives, others = negatives_of(replace(config, seed=0))
    clips = {word: find_clips([one_hour.manifest(config, f"wakewords-{word}")]) for word in config.words}
    divided = {word: split_clips(for_training(each), HELD_OUT, seed=0) for word, each in clips.items()}
    said = [
        [samples for _, samples in read_clips(chosen_clips(training, most_clips, config.seed), skipped)]
        for training, _ in divided.values()
    ]
    said = [[] for _ in said] if text_alone else said
    recorded = [len(each) for each in said]
    said, negatives = with_spoken(run, said, negatives, config.folder, skipped)
    model, settings = trained(run, said, negatives, skipped, recorded)

    noise = find_clips([one_hour.manifest(config, f"noise-{name}") for name in ("esc10", "street")])
    bed = noise_bed(for_testing(noise), skipped)
    unheard = kept(config.folder, settings, others, lambda: negative_stream(others, skipped=skipped))
    missed: dict[str, dict] = {}
    for output, (word, alarms) in enumerate(zip(config.words, tracks(model, settings, unheard), strict=True)):
        rates = {rate: lowest_within([alarms], alarms.hours, rate) for rate in config.fa_rates}
        test = divided[word][1]
        for name, snr_db in (("clean", None), (f"{config.snr_db:g} dB", config.snr_db)):
            make = partial(positive_stream, test, noise=bed, snr_db=snr_db, skipped=skipped)
            heard = kept(config.folder, settings, [*test, *noise, snr_db], make)
            track = tracks(model, settings, heard)[output]
            found = {rate: np.isnan(hits(track, threshold)).mean() for rate, threshold in rates.items()}
            missed.setdefault(word, {})[name] = {f"{rate:g}": round(float(miss), 4) for rate, miss in found.items()}
    return missed


@cache
def negatives_of(config: one_hour.Config) -> tuple[list[Clip], list[Clip]]:
    """Speech without the words: what the heads train on, and what they are tested on, of other speakers."""
    heard = one_hour.chosen(config, config.negatives, Path(config.folder) / "negatives.jsonl.gz")
    unsaid = without_phrases(in_pieces(for_training(find_clips([decoded(heard)]))), config.words)
    return split_clips(unsaid, 0.5, seed=0)


def chosen_clips(clips: list[Clip], most: int, seed: int) -> list[Clip]:
    """All clips (`most` is 0), or a choice of `most` of them; of fewer clips the first of those of more."""
    if not most:
        return clips
    return [clips[index] for index in np.random.default_rng([seed, 6]).permutation(len(clips))[:most]]


def with_spoken(
    run: TrainConfig, said: list[list[np.ndarray]], negatives: list[Clip], folder: str, skipped: Skipped
) -> tuple[list[list[np.ndarray]], list[Clip]]:
    """The clips of each phrase, and the negatives, with what synthetic voices speak where the training asks for it."""
    quiet, place = lambda stage, fraction: None, Path(folder) / "spoken"
    texts = [phrase.text for phrase in run.phrases]
    if run.spoken:
        common = place, run.spoken, run.seed, run.acoustic, skipped, quiet
        said = [[*each, *speak_phrase(text, *common).clips] for text, each in zip(texts, said, strict=True)]
    if run.confusables:
        negatives = negatives + speak_confusables(texts, run.confusables, place, run.seed, skipped, quiet)
    return said, negatives


def trained(
    run: TrainConfig,
    said: list[list[np.ndarray]],
    negatives: list[Clip],
    skipped: Skipped,
    recorded: list[int] | None = None,
) -> tuple[WakeModel, FeatureSettings]:
    """The model of a training, and the features that it hears.

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
    blocks = len(model.encoder.sizes.dilations)
    boundary = choose_unfreeze(run.unfreeze, min(recorded or map(len, said)), blocks).boundary
    with tempfile.TemporaryDirectory() as scratch:
        learn(model, settings, boundary, run, said, negatives, skipped, quiet, Path(scratch) / "begun", recorded)
    return model, settings


def decoded(manifest: str) -> str:
    """The manifest of the same utterances with decoded audio beside it, which many probes read faster."""
    # Its own name for each list of utterances, so that a changed list is decoded anew.
    digest = hashlib.sha256("\n".join(cut.id for cut in read_manifest(manifest)).encode()).hexdigest()[:8]
    path = Path(manifest).with_name(Path(manifest).name.replace(".jsonl", f"_decoded_{digest}.jsonl"))
    if not path.exists():
        kept: lhotse.CutSet = read_manifest(manifest).save_audios(path.with_name(path.name.partition(".")[0]))
        begun = path.with_name(f"begun-{path.name}")  # its suffix tells lhotse the format
        kept.to_file(begun)
        begun.replace(path)
    return str(path)


@dataclass(frozen=True)
class Heard:
    """A stream's log-mel frames, float32 `[frames, mels]`, and its clips' starts and ends, seconds, `[clips]` each."""

    frames: np.ndarray
    starts_s: np.ndarray
    ends_s: np.ndarray


def heard(pieces: Iterable[Stream], settings: FeatureSettings) -> Heard:
    """The features of a whole stream, as a detector computes them piece by piece."""
    state, frames, events = features.initial_state(settings), [], []
    for piece in pieces:
        events += piece.events
        found, state = features.step(piece.samples, state, settings)
        frames.append(found)
    starts, ends = (np.array([getattr(event, name) for event in events]) for name in ("start_s", "end_s"))
    return Heard(np.concatenate(frames), starts, ends)


def kept(folder: str, settings: FeatureSettings, made_of: list, make: Callable[[], Iterable[Stream]]) -> Heard:
    """`heard` of a stream, from a file in `folder` where another probe left it; `made_of` tells it from others."""
    digest = hashlib.sha256(repr((settings, made_of)).encode()).hexdigest()[:16]
    path = Path(folder) / f"features_{digest}.npz"
    if not path.exists():
        found = heard(make(), settings)
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(found))
    with np.load(path) as file:
        return Heard(**file)


def tracks(model: WakeModel, settings: FeatureSettings, stream: Heard) -> list[Track]:
    """The scores of a model over a stream, a track for each of its outputs."""
    state, head_state = model.encoder.initial_state(), torch.zeros(1, model.head.stack.state_size)
    posteriors: list[np.ndarray] = []
    whole = len(stream.frames) // FRAMES_PER_STEP * FRAMES_PER_STEP
    with torch.inference_mode():
        for start in range(0, whole, AT_A_TIME):
            piece = torch.from_numpy(stream.frames[start : min(whole, start + AT_A_TIME)])
            taps, state = model.encoder.step(piece[None], state)
            logits, head_state = model.head(torch.cat(taps, dim=-1), head_state)
            posteriors.append(torch.sigmoid(logits[0]).numpy())
    window = np.full(round(SMOOTHING_S / settings.frame_s), settings.frame_s / SMOOTHING_S, np.float32)
    time_s = settings.frame_s * np.arange(1, whole // FRAMES_PER_STEP + 1)
    hours = float((stream.ends_s - stream.starts_s).sum()) / 3600
    return [
        Track(time_s, np.convolve(output, window)[: 1 - len(window)], hours, stream.starts_s, stream.ends_s)
        for output in np.concatenate(posteriors).T
    ]
