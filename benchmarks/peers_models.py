"""What the engines run: our models, and the network of transfer learning."""

from __future__ import annotations

import tempfile
from functools import partial
from hashlib import sha256
from pathlib import Path

import numpy as np
import once
import run as one_hour
from peers_listening import Engine, heard, version_of
from peers_streams import missing_manifests

from wakeword.errors import Skipped, WakewordError


def exported(model: Path, folder: Path) -> Path:
    """Our trained model as ONNX, the form that runs without torch."""
    from wakeword.export import export_onnx

    path = folder / f"{model.parent.name}-{sha256(model.read_bytes()).hexdigest()[:12]}.onnx"
    if not path.exists():
        export_onnx(model, path)
    return path


def options_of(engine: Engine, word: str, config: one_hour.Config, folder: Path, peers: Path, skipped: Skipped) -> dict:
    """What peers_engines.py is told for an engine and a word; the model is exported, or trained, if it is not yet."""
    if engine.runs == "wakeword":
        return {"word": word, "model": str(exported(model_of(config, engine, word), folder / "ours"))}
    found = {"word": word, "version": version_of(engine.package)}
    if engine.runs == "transfer":
        from peers_search import trained
        from peers_transfer import Task

        def embed(samples: Path) -> np.ndarray:
            with tempfile.TemporaryDirectory(dir=samples.parent) as scratch:
                return heard(peers, "embedding", samples, {}, Path(scratch) / "embedding.npz")["score"]

        manifest, unsaid = partial(one_hour.manifest, config), one_hour.negatives_of(config).train
        found["head"] = str(trained(Task(config, manifest, unsaid, folder / "transfer", embed, skipped), word))
    return found


def model_of(config: one_hour.Config, engine: Engine, word: str) -> Path:
    """Where recipes/one_hour leaves our model of a word."""
    return Path(one_hour.settings_of(config, word, engine.name, "").output)


def model_digest(config: one_hour.Config, engine: Engine, word: str) -> str:
    """The SHA-256 of our model of a word, "" if there is none; of another engine "", as its version tells."""
    path = model_of(config, engine, word) if engine.runs == "wakeword" else None
    return sha256(path.read_bytes()).hexdigest() if path and path.exists() else ""


def check(config: one_hour.Config, pairs: list[tuple[Engine, str]]) -> None:
    """Say what is missing before hours of listening.

    Raises:
        WakewordError: a manifest or a model is missing, or a model was trained otherwise than it would be now; with the
            command that makes it.
    """
    names = [source.manifest for source in (*config.negatives, *config.test_negatives)]
    names += ["noise-esc10", "noise-street", "noise-speech-commands", "rir"]
    names += [f"wakewords-{word}" for word in config.words]
    missing_manifests(one_hour.manifest(config, name) for name in names)
    ours = [(engine, word) for engine, word in pairs if engine.runs == "wakeword"]
    for model in (model_of(config, *pair) for pair in ours):
        if not model.exists():
            raise WakewordError(f"{model}: no such model: run 'python recipes/one_hour/run.py' first")
    train = one_hour.negatives_of(config).train if ours else ""
    for engine, word in ours:
        settings = one_hour.settings_of(config, word, engine.name, train)
        if not once.is_made(Path(settings.output), one_hour.trained_of(settings)):
            raise WakewordError(
                f"{settings.output}: its settings, recordings or acoustic model have changed since it was trained: run "
                "'python recipes/one_hour/run.py' first"
            )
