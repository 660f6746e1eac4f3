"""One loop: the head, and what is unfrozen of the encoder, on what the frozen part gave."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from wakeword.errors import ModelError
from wakeword.head.layers import WakeModel
from wakeword.head.transfer import memory_frames, upper
from wakeword.model import checkpoint
from wakeword.training.examples import Example
from wakeword.training.losses import other_loss, phrase_loss
from wakeword.training.speller import Speller
from wakeword.training.steps import Steps

WINDOW = 75
"""Encoder frames (3 s) of a window of negatives that count in the loss."""


def fit(
    model: WakeModel,
    encoder_parameters: list[Tensor],
    positives: list[list[Example]],
    parts: list[list[Example]],
    stream: np.ndarray,
    boundary: int,
    config,
    progress: Callable[[str, float], None],
    begun: Path,
    look: Callable[[], None] | None = None,
) -> None:
    """Train the head, and what trains of the encoder, as `steps.Steps` says.

    Each batch: `config.batch` examples of each phrase, and as many windows of the negative stream, the share
    `config.hard` of them from where the highest of the model's own scores was highest at its last look (hard
    negatives). The loss is `config.loss` (losses.py), that of the windows times `config.negative_weight`,
    and `config.ctc` times that of spelling the phrases (speller.py).

    Of several phrases each output hears in each batch what it would hear alone: as many of its own examples and of
    the windows, at the same weights. Only the other phrases' examples are added, which together weigh as much as the
    surroundings of its own, whether they are of one other phrase or of nine. The loss is the mean over the outputs, so
    that its size, and with it the clipping of gradients, does not grow with their number.

    Args:
        positives: for each phrase its examples, from `examples.positives`.
        parts: for each phrase examples of parts of it; may be empty. A third as many as of the phrase are heard.
        stream: negatives, float16 `[frames, dims]`, from `examples.negatives`; may be empty. One shorter than a
            window is heard over and over.
        config: a `train_config.TrainConfig`.
        begun: where an interrupted run leaves its state, and finds it.
        look: called once, after a third of the steps, while the model is in eval mode.
    """
    speller = Speller(model.head.width, [phrase.text for phrase in config.phrases]) if config.ctc else None
    steps = Steps(model, encoder_parameters, config, speller)
    warm = memory_frames(model.encoder, boundary) + model.head.memory_frames
    if 0 < len(stream) <= WINDOW + warm:
        stream = np.resize(stream, (WINDOW + warm + 1, stream.shape[1]))
    most = len(stream) - WINDOW - warm
    look_every = max(50, config.steps // 6)
    identity = _identity(config, [*positives, *parts], stream, model)
    first, hard = _resume(begun, identity, model, steps)
    model.head.train()
    for step in range(first, config.steps):
        if step and step % look_every == 0 and step != first:
            if most > 0:
                hard = hardest(model, stream, boundary)
            _save(begun, identity, step, hard, model, steps)
        if look is not None and step and step == config.steps // 3:
            with at_rest(model):
                look()
        steps.begin(step)

        rng = np.random.default_rng([config.seed, 3, step])
        batch = [said[index] for said in positives for index in rng.integers(len(said), size=config.batch)]
        if parts:
            batch += [said[index] for said in parts for index in rng.integers(len(said), size=config.batch // 3)]
        inputs, labels = padded(batch)
        heard = [inputs]
        if most > 0:
            starts = rng.integers(most, size=config.batch)
            if len(hard):
                count = round(config.hard * config.batch)
                near = rng.choice(hard, size=count) - warm - rng.integers(10, WINDOW - 10, size=count)
                starts[:count] = np.clip(near, 0, most - 1)
            heard.append(torch.from_numpy(np.stack([stream[s : s + warm + WINDOW] for s in starts])).float())
        said, *others = hidden_of_each(model, heard, boundary)
        loss = phrase_loss(model.head.output(said), labels, config.loss, config.smoothing)
        for windows in others:  # whose first frames lack their past
            loss = loss + config.negative_weight * other_loss(model.head.output(windows[:, warm:]), config.loss)
        if speller is not None:
            loss = loss + config.ctc * speller(said, batch)
        steps.take(step, loss)
        progress("training", (step + 1) / config.steps)
    steps.finish()
    model.eval()


def padded(batch: list[Example]) -> tuple[Tensor, Tensor]:
    """Inputs float32 `[batch, frames, dims]` and labels int8 `[batch, frames, outputs]`, -1 where there is nothing."""
    frames = max(len(example.frames) for example in batch)
    inputs = np.zeros((len(batch), frames, batch[0].frames.shape[1]), np.float32)
    labels = np.full((len(batch), frames, batch[0].labels.shape[1]), -1, np.int8)
    for row, example in enumerate(batch):
        inputs[row, : len(example.frames)] = example.frames
        # The last frame repeated, so that padding does not look like a sound of its own to the normalisation.
        inputs[row, len(example.frames) :] = example.frames[-1]
        labels[row, : len(example.labels)] = example.labels
    return torch.from_numpy(inputs), torch.from_numpy(labels)


def logits_of(model: WakeModel, inputs: Tensor, boundary: int) -> Tensor:
    """Logits `[batch, frames, outputs]` from what `transfer.lower` gave, `[batch, frames, dims]`."""
    return model.head.output(hidden_of_each(model, [inputs], boundary)[0])


def hidden_of_each(model: WakeModel, batches: list[Tensor], boundary: int) -> list[Tensor]:
    """What the output nodes hear, `[batch, frames, width]`, of several batches from `transfer.lower`, in one pass.

    Normalised each by its own statistics, phrases and other speech would be told apart by what is not there later.
    """
    frames = max(batch.shape[1] for batch in batches)
    longer = [torch.cat([batch, batch[:, -1:].expand(-1, frames - batch.shape[1], -1)], dim=1) for batch in batches]
    taps = upper(model.encoder, torch.cat(longer), boundary)
    hidden, _ = model.head.hidden(taps, taps.new_zeros(len(taps), model.head.stack.state_size))
    found = hidden.split([len(batch) for batch in batches])
    return [each[:, : batch.shape[1]] for each, batch in zip(found, batches, strict=True)]


@contextmanager
def at_rest(model: WakeModel) -> Iterator[None]:
    """The model in eval mode; afterwards its parts are as they were."""
    parts = {part: part.training for part in (model.encoder, model.head)}
    model.eval()
    try:
        yield
    finally:
        for part, training in parts.items():
            part.train(training)


@torch.no_grad()
def hardest(model: WakeModel, stream: np.ndarray, boundary: int, share: float = 0.002) -> np.ndarray:
    """Frames int64 `[n]` of the negative stream where the highest of the outputs is highest."""
    warm = memory_frames(model.encoder, boundary) + model.head.memory_frames
    scores = np.full(len(stream), -np.inf, np.float32)
    with at_rest(model):
        for start in range(0, len(stream), 2000):
            first = max(0, start - warm)
            piece = torch.from_numpy(stream[first : start + 2000]).float()[None]
            scores[start : start + 2000] = logits_of(model, piece, boundary)[0, start - first :].amax(dim=-1).numpy()
    count = min(len(stream), max(200, int(share * len(stream))))
    return np.sort(np.argpartition(-scores, count - 1)[:count])


def _identity(config, positives: list[list[Example]], stream: np.ndarray, model: WakeModel) -> str:
    """What must be the same for a state to be taken up: the settings (but for the threads), the data, and the weights
    that training begins with: a file of the same name may hold another acoustic model by now."""
    settings = json.dumps(dataclasses.asdict(dataclasses.replace(config, threads=0)), sort_keys=True)
    digest = hashlib.sha256(settings.encode())
    ends = [said[place].frames for said in positives for place in (0, -1)]
    weights = (tensor.numpy() for tensor in model.state_dict().values())
    for values in (*ends, stream[:1000], stream[-1000:], *weights):
        digest.update(np.ascontiguousarray(values).tobytes())
    digest.update(f"{[len(said) for said in positives]} {len(stream)}".encode())
    return digest.hexdigest()


def _save(begun: Path, identity: str, step: int, hard: np.ndarray, model: WakeModel, steps: Steps) -> None:
    tensors = {f"model/{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"average/{index}": tensor for index, tensor in enumerate(steps.average)}
    tensors |= {f"more/{index}": tensor.detach() for index, tensor in enumerate(steps.more)}
    tensors |= checkpoint.optimizer_tensors(steps.optimizer)
    tensors["hard"] = torch.from_numpy(hard)
    checkpoint.save(begun, tensors, "training", {"identity": identity, "step": step})


def _resume(begun: Path, identity: str, model: WakeModel, steps: Steps) -> tuple[int, np.ndarray]:
    """The step to go on with, and the hard frames; a state of another run, or a damaged one, is passed over."""
    try:
        tensors, meta = checkpoint.load(begun, "training")
    except ModelError:
        return 0, np.zeros(0, np.int64)
    if meta.get("identity") != identity:
        return 0, np.zeros(0, np.int64)
    model.load_state_dict({k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")})
    checkpoint.load_optimizer(steps.optimizer, tensors)
    for index, mean in enumerate(steps.average):
        mean.copy_(tensors[f"average/{index}"])
    with torch.no_grad():
        for index, parameter in enumerate(steps.more):
            parameter.copy_(tensors[f"more/{index}"])
    return meta["step"], tensors["hard"].numpy()
