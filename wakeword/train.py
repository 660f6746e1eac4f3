"""Train a detector for a phrase: the head, and what `unfreeze` frees of the encoder, on clips of the phrase."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from wakeword import __version__, examples, tokens
from wakeword.augment import Augmentation, read_recordings
from wakeword.calibrate import Calibration, calibrate, parse_budget
from wakeword.checkpoint import from_dict
from wakeword.clips import Clip, find_clips, for_training, in_pieces, read_clips
from wakeword.detector import Detector
from wakeword.errors import ConfigError, Skipped, WakewordError
from wakeword.features import FeatureSettings
from wakeword.head import HeadSizes, WakeModel
from wakeword.metrics import hits, wilson_interval
from wakeword.streams import positive_stream, score_stream
from wakeword.transfer import choose_unfreeze, memory_frames, save_wakeword, stacked, unfreeze, upper

FEWEST_CLIPS = 3
WINDOW = 75


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Paths are folders, audio files or manifests; `output` is the one file that it makes."""

    phrase: str = ""
    positives: tuple[str, ...] = ()
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
    smoothing_frames: int = 3
    refractory_s: float = 1.0
    seed: int = 0
    threads: int = 2


@dataclass(frozen=True)
class Trained:
    """What a run made: the file, what was unfrozen and why, the calibration, and a first estimate on held-out clips."""

    path: Path
    unfrozen: str
    calibration: Calibration | None
    estimate: dict
    skipped: Skipped


def _share(name: str, seed: int) -> float:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:8], "big") / 2**64


def split_clips(clips: list[Clip], fraction: float, seed: int, fewest: int = 0) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips held out: whole speakers where several are named, else files or parts of them.

    At least `fewest` clips are held out, and never all of them.
    """
    # Copies of one recording, where the manifest tells them, stay on one side.
    names = [clip.speaker or str(clip.attributes.get("group", clip.path)) for clip in clips]
    if len(set(names)) < 4:
        names = [f"{clip.path} {clip.start_s}" for clip in clips]
    ranked = sorted(set(names), key=lambda name: _share(name, seed))
    count = sum(_share(name, seed) < fraction for name in ranked)
    out = set(ranked[: min(max(count, fewest), len(ranked) - 1)])
    return (
        [clip for clip, name in zip(clips, names, strict=True) if name not in out],
        [clip for clip, name in zip(clips, names, strict=True) if name in out],
    )


def without_phrase(clips: list[Clip], phrase: str) -> list[Clip]:
    """The clips whose transcript, where there is one, does not hold the phrase."""
    wanted = f" {tokens.normalise(phrase)} "

    def spoken(clip: Clip) -> str:
        try:
            return f" {tokens.normalise(clip.text or '')} "
        except tokens.TextError:
            return ""

    return [clip for clip in clips if wanted not in spoken(clip)]


def train(config: TrainConfig, progress: Callable[[str, float], None] | None = None) -> Trained:
    """Train, calibrate on held-out negatives, and write `config.output`.

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

    model, acoustic = stacked(config.acoustic, HeadSizes(config.depth, config.channels))
    settings = from_dict(FeatureSettings, acoustic["features"], config.acoustic)
    training_clips, dev_clips = split_clips(
        for_training(find_clips(config.positives)), config.held_out, config.seed, fewest=1
    )
    clips = [samples for _, samples in read_clips(training_clips, skipped)]
    if len(clips) < FEWEST_CLIPS:
        raise WakewordError(
            f"{', '.join(map(str, config.positives))}: only {len(clips)} usable clip(s) of '{config.phrase}' left to "
            f"train on beside {len(dev_clips)} held out, {FEWEST_CLIPS} are needed: record more. {skipped.summary()}"
        )
    heard = (
        without_phrase(in_pieces(for_training(find_clips(config.negatives))), config.phrase) if config.negatives else []
    )
    training_negatives, dev_negatives = split_clips(heard, 0.25, config.seed) if heard else ([], [])
    chosen = choose_unfreeze(config.unfreeze, len(clips), len(model.encoder.sizes.dilations))

    augmentation = Augmentation(
        noise_probability=0.6,
        snr_db=(0.0, 25.0),
        rir_probability=0.3,
        noise=read_recordings(config.noise),
        rirs=read_recordings(config.rir),
    )
    encoder_parameters = unfreeze(model, chosen.boundary)
    common = augmentation, model.encoder, settings, chosen.boundary, config.seed
    stream, speech = examples.negatives(
        training_negatives, config.negative_copies, config.negative_hours, *common, skipped, progress
    )
    found = examples.positives(clips, config.copies, speech, *common, progress)
    fit(model, encoder_parameters, found, stream, chosen.boundary, config, progress)

    card = {
        "phrase": config.phrase,
        "acoustic": acoustic["card"],
        "unfrozen": chosen.reason,
        "clips": len(clips),
        "held_out_clips": len(dev_clips),
        "negative_hours": round(len(stream) * examples.FRAME_S / 3600 / max(1, config.negative_copies), 2),
        "skipped": len(skipped),
        "seed": config.seed,
        "version": __version__,
    }
    meta = {
        "phrase": config.phrase,
        "features": acoustic["features"],
        "smoothing_frames": config.smoothing_frames,
        "refractory_s": config.refractory_s,
        "threshold": 0.5,
        "calibration": None,
        "card": card,
    }
    save_wakeword(config.output, model, meta)
    detector = Detector.load(config.output)
    calibration = calibrate(detector, dev_negatives, parse_budget(config.budget), progress) if dev_negatives else None
    if calibration:
        detector.threshold = meta["threshold"] = calibration.threshold
        meta["calibration"] = dataclasses.asdict(calibration)
    card["estimate"] = estimate(detector, dev_clips, skipped, progress)
    save_wakeword(config.output, model, meta)
    return Trained(Path(config.output), chosen.reason, calibration, card["estimate"], skipped)


def check(config: TrainConfig) -> None:
    """Refuse what cannot work before hours of reading.

    Raises:
        ConfigError: a missing or impossible setting.
    """
    if not config.phrase.strip():
        raise ConfigError("--phrase is empty: say what the clips say")
    tokens.encode(config.phrase)
    if not config.positives:
        raise ConfigError("--positives names nothing: give folders, audio files or manifests of the phrase")
    if not config.output:
        raise ConfigError("--output is empty: say where the model goes")
    if config.steps < 1 or config.batch < 1 or config.copies < 1 or config.smoothing_frames < 1:
        raise ConfigError("steps, batch, copies and smoothing_frames are at least 1")
    parse_budget(config.budget)


def estimate(detector: Detector, clips: list[Clip], skipped: Skipped, progress) -> dict:
    """Misses at the detector's threshold on clips that did not train, with a 95 % interval."""
    pieces = positive_stream(clips, skipped=skipped)
    track, events = score_stream(detector, pieces, len(clips), progress, "estimate")
    detected = int(np.isfinite(hits(track, detector.threshold, detector.refractory_s)).sum())
    missed = len(events) - detected
    low, high = wilson_interval(missed, len(events)) if events else (0.0, 1.0)
    return {"clips": len(events), "missed": missed, "miss_rate_interval": [round(low, 4), round(high, 4)]}


def fit(model: WakeModel, encoder_parameters, positives, stream, boundary: int, config: TrainConfig, progress) -> None:
    """Train the head, and after a third of the steps the unfrozen part of the encoder, on what `lower` gave.

    Each batch: examples of the phrase, and windows of the negative stream, half of them from where the model's own
    score was highest at its last look (hard negatives). Loss: binary cross-entropy a frame, averaged over the frames
    of the phrase, and summed over each window's other frames, so that one false peak weighs as much as a phrase. The
    weights that stay are a moving average over the steps.
    """
    rng = np.random.default_rng([config.seed, 3])
    head_parameters = list(model.head.parameters())
    groups = [{"params": head_parameters, "lr": config.learning_rate}]
    if encoder_parameters:
        groups.append({"params": encoder_parameters, "lr": 0.0})
    optimizer = torch.optim.AdamW(groups, weight_decay=1e-2)
    average = [parameter.detach().clone() for parameter in head_parameters + encoder_parameters]
    warm = memory_frames(model.encoder, boundary) + model.head.memory_frames
    most = len(stream) - WINDOW - warm
    hard = np.zeros(0, np.int64)
    mine_every = max(50, config.steps // 6)
    model.head.train()
    for step in range(config.steps):
        decay = 0.5 * (1 + np.cos(np.pi * step / config.steps)) + 0.01
        optimizer.param_groups[0]["lr"] = config.learning_rate * decay * min(1.0, (step + 1) / 50)
        if encoder_parameters:
            optimizer.param_groups[1]["lr"] = config.encoder_learning_rate * decay * (step > config.steps // 3)
        if most > 0 and step and step % mine_every == 0:
            hard = hardest(model, stream, boundary)

        batch = [positives[index] for index in rng.integers(len(positives), size=config.batch)]
        inputs, labels = padded(batch)
        loss = phrase_loss(model, inputs, labels, boundary)
        if most > 0:
            starts = rng.integers(most, size=config.batch)
            if len(hard):
                half = config.batch // 2
                near = rng.choice(hard, size=half) - warm - rng.integers(10, WINDOW - 10, size=half)
                starts[:half] = np.clip(near, 0, most - 1)
            windows = torch.from_numpy(np.stack([stream[s : s + warm + WINDOW] for s in starts])).float()
            loss = loss + other_loss(model, windows, warm, boundary)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head_parameters + encoder_parameters, 5.0)
        optimizer.step()
        # A moving average that begins as a plain mean (Polyak and Juditsky 1992).
        keep = min(0.99, (step + 1) / (step + 10))
        with torch.no_grad():
            for mean, parameter in zip(average, head_parameters + encoder_parameters, strict=True):
                mean.lerp_(parameter, 1 - keep)
        progress("training", (step + 1) / config.steps)
    with torch.no_grad():
        for mean, parameter in zip(average, head_parameters + encoder_parameters, strict=True):
            parameter.copy_(mean)
    model.eval()


def padded(batch: list[examples.Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs float32 `[batch, frames, dims]` and labels `[batch, frames]`, -1 where there is nothing."""
    frames = max(len(example.frames) for example in batch)
    inputs = np.zeros((len(batch), frames, batch[0].frames.shape[1]), np.float32)
    labels = np.full((len(batch), frames), -1, np.int8)
    for row, example in enumerate(batch):
        inputs[row, : len(example.frames)] = example.frames
        # The last frame repeated, so that padding does not look like a sound of its own to the normalisation.
        inputs[row, len(example.frames) :] = example.frames[-1]
        labels[row, : len(example.labels)] = example.labels
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def logits_of(model: WakeModel, inputs: torch.Tensor, boundary: int) -> torch.Tensor:
    taps = upper(model.encoder, inputs, boundary)
    state = taps.new_zeros(len(taps), model.head.stack.state_size)
    return model.head(taps, state)[0]


def phrase_loss(model: WakeModel, inputs, labels, boundary: int) -> torch.Tensor:
    logits = logits_of(model, inputs, boundary)
    error = functional.binary_cross_entropy_with_logits(logits, (labels == 1).float(), reduction="none")
    said = (error * (labels == 1)).sum() / (labels == 1).sum().clamp(min=1)
    other = (error * (labels == 0)).sum() / len(labels)
    return said + 0.3 * other


def other_loss(model: WakeModel, windows, warm: int, boundary: int) -> torch.Tensor:
    logits = logits_of(model, windows, boundary)[:, warm:]
    return functional.softplus(logits).sum() / len(windows)


@torch.no_grad()
def hardest(model: WakeModel, stream: np.ndarray, boundary: int, share: float = 0.002) -> np.ndarray:
    """Frames int64 `[n]` of the negative stream with the highest scores."""
    model.head.eval()
    warm = memory_frames(model.encoder, boundary) + model.head.memory_frames
    scores = np.full(len(stream), -np.inf, np.float32)
    for start in range(0, len(stream), 2000):
        first = max(0, start - warm)
        piece = torch.from_numpy(stream[first : start + 2000]).float()[None]
        scores[start : start + 2000] = logits_of(model, piece, boundary)[0, start - first :].numpy()
    model.head.train()
    count = min(len(stream), max(200, int(share * len(stream))))
    return np.argpartition(-scores, count - 1)[:count]
