"""How much an acoustic model, or a way to train, is worth to a wake head: heads trained and tested in minutes.

Less is done than by run.py beside this (fewer copies and negatives, thresholds in hindsight alone, no test of single
models as they ship), and what the encoder gives is computed once for all words, so that many can be compared.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import lhotse
import numpy as np
import torch

from wakeword import examples, features
from wakeword.calibrate import lowest_within
from wakeword.clips import find_clips, for_testing, for_training, in_pieces, read_clips
from wakeword.data import read_manifest
from wakeword.errors import Skipped
from wakeword.features import FRAMES_PER_STEP, FeatureSettings
from wakeword.files import replacing
from wakeword.fit import fit
from wakeword.head import HeadSizes, WakeModel
from wakeword.metrics import Track, hits
from wakeword.settings import from_dict
from wakeword.streams import Stream, negative_stream, noise_bed, positive_stream
from wakeword.train import Phrase, TrainConfig, augmentation_of, check, labels_elsewhere, without_phrases
from wakeword.transfer import choose_unfreeze, stacked, unfreeze

sys.path.insert(0, str(Path(__file__).parent))
import run as one_hour  # noqa: E402

SMOOTHING_S = 0.12
AT_A_TIME = 500 * FRAMES_PER_STEP
"""Log-mel frames that an encoder hears at a time: more do not fit a CPU's cache."""


def training_of(config: one_hour.Config, word: str, changes: dict) -> TrainConfig:
    """The training of a word's head; `changes` are settings of `TrainConfig`.

    Raises:
        ConfigError: one of them is unknown, or cannot work.
    """
    clips = one_hour.manifest(config, f"wakewords-{word}")
    values = {
        "noise": [one_hour.manifest(config, f"noise-{name}") for name in ("esc10", "speech-commands")],
        "rir": [one_hour.manifest(config, "rir")],
        "unfreeze": config.unfreeze,
        "output": "none",
        **{name: getattr(config, name) for name in ("steps", "copies", "seed", "threads")},
        **{name: getattr(config, name) for name in ("negative_hours", "negative_copies")},
        **changes,
    }
    training = replace(from_dict(TrainConfig, values, "changes"), phrases=(Phrase(word, (clips,)),))
    check(training)
    return training


def probe(
    acoustic: str, config: one_hour.Config, changes: dict | None = None
) -> dict[str, dict[str, dict[str, float]]]:
    """Miss rates by word, condition and asked false alarms per hour, at the thresholds of hindsight.

    Args:
        acoustic: an acoustic model's name or file.
        config: the words, their negatives, and how long to train.
        changes: as in `training_of`.

    Raises:
        ConfigError: as there.
    """
    skipped, quiet = Skipped(), lambda stage, fraction: None
    negatives, test_negatives = (decoded(path) for path in one_hour.negatives_of(config))
    training = {word: training_of(config, word, changes or {}) for word in config.words}
    shared = training[config.words[0]]
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    model, meta = stacked(acoustic, HeadSizes(shared.depth, shared.channels))
    settings = from_dict(FeatureSettings, meta["features"], acoustic)
    clips = {word: find_clips(each.phrases[0].positives) for word, each in training.items()}
    said = {word: [samples for _, samples in read_clips(for_training(clips[word]), skipped)] for word in training}
    fewest = min(map(len, said.values()))
    boundary = choose_unfreeze(shared.unfreeze, fewest, len(model.encoder.sizes.dilations)).boundary
    unfreeze(model, boundary)
    unsaid = without_phrases(in_pieces(for_training(find_clips([negatives]))), config.words)
    speech = examples.speech_of(unsaid, config.seed, skipped)
    common = augmentation_of(shared, speech), model.encoder, settings, boundary, config.seed
    stream = examples.negatives(unsaid, shared.negative_copies, shared.negative_hours, *common, skipped, quiet)
    heads, test_clips = {}, {word: for_testing(each) for word, each in clips.items()}
    for word, run in training.items():
        heard = [said[word]], labels_elsewhere([word])
        found = examples.positives(*heard, run.copies, speech, *common, quiet)
        cut = examples.positives(*heard, run.parts, speech, *common, quiet, cut=True) if run.parts else []
        own, _ = stacked(acoustic, HeadSizes(run.depth, run.channels))
        with tempfile.TemporaryDirectory() as scratch:
            fit(own, unfreeze(own, boundary), found, cut, stream, boundary, run, quiet, Path(scratch) / "begun")
        heads[word] = own
    noise = find_clips([one_hour.manifest(config, f"noise-{name}") for name in ("esc10", "street")])
    bed = noise_bed(for_testing(noise), skipped)
    others = in_pieces(find_clips([test_negatives]))
    unheard = kept(config.folder, settings, others, lambda: negative_stream(others, skipped=skipped))
    if boundary < len(model.encoder.sizes.dilations):  # each has an encoder of its own
        alarms = {word: tracks([own], settings, unheard)[0] for word, own in heads.items()}
    else:
        alarms = dict(zip(heads, tracks(list(heads.values()), settings, unheard), strict=True))
    thresholds = {
        word: {rate: lowest_within([track], track.hours, rate) for rate in config.fa_rates}
        for word, track in alarms.items()
    }
    missed: dict[str, dict] = {}
    for word, model in heads.items():
        said = test_clips[word]
        for name, snr_db in (("clean", None), (f"{config.snr_db:g} dB", config.snr_db)):
            make = partial(positive_stream, said, noise=bed, snr_db=snr_db, skipped=skipped)
            track = tracks([model], settings, kept(config.folder, settings, [*said, *noise, snr_db], make))[0]
            found = {rate: np.isnan(hits(track, threshold)).mean() for rate, threshold in thresholds[word].items()}
            missed.setdefault(word, {})[name] = {f"{rate:g}": round(float(miss), 4) for rate, miss in found.items()}
    return missed


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


def tracks(models: list[WakeModel], settings: FeatureSettings, stream: Heard) -> list[Track]:
    """The scores of several models of a phrase each that share their encoder over one stream, which it hears once.

    Their heads were trained apart, and share no layer as the outputs of one head do.
    """
    encoder = models[0].encoder
    state = encoder.initial_state()
    states = [torch.zeros(1, model.head.stack.state_size) for model in models]
    posteriors: list[list[np.ndarray]] = [[] for _ in models]
    whole = len(stream.frames) // FRAMES_PER_STEP * FRAMES_PER_STEP
    with torch.inference_mode():
        for start in range(0, whole, AT_A_TIME):
            piece = torch.from_numpy(stream.frames[start : min(whole, start + AT_A_TIME)])
            taps, state = encoder.step(piece[None], state)
            joined = torch.cat(taps, dim=-1)
            for index, model in enumerate(models):
                logits, states[index] = model.head(joined, states[index])
                posteriors[index].append(torch.sigmoid(logits[0, :, 0]).numpy())
    window = np.full(round(SMOOTHING_S / settings.frame_s), settings.frame_s / SMOOTHING_S, np.float32)
    scores = [np.convolve(np.concatenate(each), window)[: 1 - len(window)] for each in posteriors]
    hours = float((stream.ends_s - stream.starts_s).sum()) / 3600
    return [
        Track(settings.frame_s * np.arange(1, len(s) + 1), s, hours, stream.starts_s, stream.ends_s) for s in scores
    ]
