"""What a pretraining model makes of the speakers that it does not train on."""

from __future__ import annotations

import torch

from wakeword.acoustic import tokens
from wakeword.acoustic.encoder import AcousticModel
from wakeword.errors import Skipped, require
from wakeword.pretraining import processes
from wakeword.pretraining.batches import Utterances, batches
from wakeword.pretraining.objectives import losses
from wakeword.pretraining.pretrain_config import Config, Stage

FEW = 400
"""Held-out utterances that validate while training."""
MANY = 1000
"""Those that validate at the end where the data is in shards: they are in memory."""


def note_unreadable(batch: dict, unreadable: Skipped) -> None:
    for name in batch["unreadable"]:
        unreadable.add(name, f"{name}: its audio can no longer be read")


@torch.no_grad()
def validate(
    model: AcousticModel,
    cuts,
    config: Config,
    device: torch.device,
    limit: int = FEW,
    unreadable: Skipped | None = None,
) -> dict[str, float]:
    """Losses and the error rate of characters or phones on held-out speakers, without augmentation.

    `unreadable` gets the utterances that could not be read.
    """
    torchaudio = require("torchaudio")
    model.eval()
    dataset = Utterances(config.features, None, config.seed, 0)
    total: dict[str, float] = {"said": 0, "errors": 0}
    counts: dict[str, int] = {}
    both = Stage(distil=1.0 if model.teacher is not None else 0.0, ctc=1.0)
    for batch in batches(cuts.subset(first=min(limit, len(cuts))), dataset, config.batch_seconds, shuffle=False):
        if unreadable is not None:
            note_unreadable(batch, unreadable)
        if "features" not in batch:
            continue
        batch = processes.to_device(batch, device)
        for name, value in losses(model, batch, both, config.delay_frames).items():
            total[name] = total.get(name, 0.0) + float(value)
            counts[name] = counts.get(name, 0) + 1
        best = model.log_probs(batch["features"]).argmax(-1).cpu()
        for row, length in enumerate(batch["token_lengths"].tolist()):
            if length:
                heard = tokens.compared(tokens.merged(best[row, : batch["lengths"][row]].tolist()), config.units)
                said = tokens.compared(batch["tokens"][row, :length].tolist(), config.units)
                total["errors"] += torchaudio.functional.edit_distance(heard, said)
                total["said"] += len(said)
    report = {name: total[name] / counts[name] for name in ("distil", "ctc") if name in counts}
    if total["said"]:
        report["cer" if config.units == "characters" else "per"] = total["errors"] / total["said"]
    return report
