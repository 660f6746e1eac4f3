"""The card of an acoustic model: on what, with which teacher, how long and from what it was trained."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from pathlib import Path

from wakeword._version import __version__, commit
from wakeword.model import checkpoint
from wakeword.model.lineage import added_up, rounded
from wakeword.pretraining.pretrain_config import Config
from wakeword.pretraining.pretrain_state import Progress

LINEAGE = ("hours_heard", "steps", "data", "mixed_in", "teacher", "held_out_speakers", "note")
LINEAGE += ("command", "commit", "resumed", "begun_anew")
"""What a card tells of each run before."""


def card_of(
    config: Config,
    training,
    held,
    validated: int,
    progress: Progress,
    result: dict,
    also: Collection[str] = (),
    mixed_in: dict[str, str] | None = None,
) -> dict:
    """On what, with which teacher and how long a model was trained, and what it does on held-out speakers.

    Args:
        training, held: the utterances that train, and those of held-out speakers.
        validated: how many of these `result` is of.
        also: the speakers who were held out whatever their hash.
        mixed_in: the licences of the noise, impulse responses and babble that were read, by corpus.
    """
    kept_back = [(cut.duration, is_transcribed(cut)) for cut in held]
    before = progress.origin.get("begun_from", [])
    own = progress.seconds / 3600
    heard = rounded(own + (before[-1]["hours_heard"] if before else 0.0), own)
    return {
        "name": config.size,
        "data": hours_of(training),
        "mixed_in": dict(sorted((mixed_in or {}).items())),
        "made": {
            "noises": config.made_noise,
            "babble_mixtures": config.babble_mixtures,
            "rooms": config.simulated_rooms,
        },
        "held_out": config.held_out,
        "held_out_also": sorted(also),
        "held_out_hours": round(sum(seconds for seconds, _ in kept_back) / 3600, 3),
        "held_out_utterances": len(kept_back),
        "held_out_transcribed": sum(transcribed for _, transcribed in kept_back),
        "validated_utterances": validated,
        "held_out_speakers": {name: round(value, 4) for name, value in result.items()},
        "teacher": config.teacher,
        **added_up(heard, progress.step, before),
        "distillation_delay_s": config.delay_frames * config.features.frame_s,
        "note": config.card,
        "version": __version__,
        **progress.origin,
    }


def hours_of(cuts) -> dict[str, dict]:
    """By corpus its hours, those that have token ids and so train CTC too (`transcribed_hours`), and its licence; of
    synthetic speech also the hours by engine, which a speaker's name begins with (`data_prep.synthesise`), since each
    voice is under a licence of its own."""
    found: dict[str, dict] = {}
    for cut in cuts:
        custom, hours = cut.custom or {}, cut.duration / 3600
        nothing = {"hours": 0.0, "transcribed_hours": 0.0, "licence": custom.get("licence", "?")}
        about = found.setdefault(custom.get("corpus", "?"), nothing)
        for key in ("hours", "transcribed_hours")[: 1 + is_transcribed(cut)]:
            about[key] += hours
        if custom.get("synthetic"):
            engine = cut.supervisions[0].speaker.split(":")[0]
            engines = about.setdefault("engines", {})
            engines[engine] = engines.get(engine, 0.0) + hours
    # Rounded once, at the end: thousands of equally short utterances would all be rounded the same way.
    for about in found.values():
        for told in (about, about.get("engines", {})):
            told.update({key: round(value, 5) for key, value in told.items() if isinstance(value, float)})
    return found


def is_transcribed(cut) -> bool:
    """Whether an utterance has token ids (`data.tokenised`)."""
    return bool((cut.custom or {}).get("tokens"))


def origin(config: Config, anew: Collection[str] = ()) -> dict:
    """What a card says of how a run began: the command, the commit, and the runs before, the first one first.

    Args:
        anew: the layers that were not taken over from the last of them.
    """
    before = []
    if config.init:
        card = checkpoint.read_meta(checkpoint.shipped(config.init), "acoustic")["card"]
        before = [*card.get("begun_from", []), {key: card[key] for key in LINEAGE if key in card}]
    return {**made_by(), "resumed": [], "begun_anew": list(anew), "begun_from": before}


def resumed(told: dict, step: int) -> dict:
    """What `origin` told, and since which step another command or commit has gone on."""
    last, now = (told.get("resumed") or [told])[-1], made_by()
    if all(last.get(key) == now[key] for key in now):
        return told
    return {**told, "resumed": [*told.get("resumed", []), {"step": step, **now}]}


def made_by() -> dict[str, str]:
    """The command that runs, as it would be typed, and the commit of its code."""
    program = Path(sys.argv[0])
    command = program.name if program.suffix != ".py" else f"python -m {program.parent.name}"
    if "TORCHELASTIC_RUN_ID" in os.environ:  # how torchrun starts its processes
        module = program.parent.name if program.stem == "__main__" else f"{program.parent.name}.{program.stem}"
        command = f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', '1')} -m {module}"
    return {"command": " ".join([command, *sys.argv[1:]]), "commit": commit()}
