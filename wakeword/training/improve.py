"""A detector made better by what its listener kept: the head fine-tuned, calibrated, and held against the old one."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from wakeword import __version__
from wakeword.acoustic.align import Located
from wakeword.audio.clips import Clip
from wakeword.audio.levels import active_span
from wakeword.detector.detector import Detector
from wakeword.errors import ConfigError, ModelError, Skipped
from wakeword.evaluation.calibrate import Calibration, calibrate, calibrated
from wakeword.evaluation.misses import HELD_OUT, Misses, count_misses, with_misses
from wakeword.features.log_mel import FeatureSettings
from wakeword.files import check_writable
from wakeword.head.transfer import choose_unfreeze, load_wakeword, save_wakeword
from wakeword.model.budget import parse_budget
from wakeword.model.runtimes import is_exported, running
from wakeword.settings import from_dict
from wakeword.training import guard
from wakeword.training.estimates import estimate
from wakeword.training.improve_material import cut, divided, negatives_of, reviewed
from wakeword.training.train import learn
from wakeword.training.train_config import Phrase, TrainConfig, check

GIVEN_AS_TEST = "given to improve as a test"

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class ImproveConfig:
    """What `improve` works on. Paths are folders, audio files or manifests.

    `kept` is the reviewed folder. `phrases` are the model's own, each with the clips that it was trained on;
    `negatives` (and `noise`, `rir`) what it was trained with. `tests` are clips of each phrase, in the same order, and
    `test_negatives` hours, that neither model has heard: where there are none, a share of what is given is held out.
    `dev` are hours to calibrate on; where there are none, a share of the negatives. `budget` is each phrase's own if it
    is empty, and `seed` the one that the model was trained with if None.
    """

    model: str
    kept: str
    output: str
    phrases: tuple[Phrase, ...]
    negatives: tuple[str, ...]
    tests: tuple[tuple[str, ...], ...] = ()
    test_negatives: tuple[str, ...] = ()
    dev: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    rir: tuple[str, ...] = ()
    budget: str = ""
    steps: int = 300
    learning_rate: float = 5e-4
    negative_hours: float = 5.0
    copies: int = 8
    batch: int = 24
    seed: int | None = None
    threads: int = 2


@dataclass(frozen=True)
class Improved:
    """What came of it: by phrase the comparison (`guard.compare`) with how many kept clips were confirmed and refused;
    `worse` says why the model was not written, and is empty where it was."""

    path: Path
    phrases: list[dict]
    worse: list[str]
    skipped: Skipped


def improve(config: ImproveConfig, progress: Progress | None = None) -> Improved:
    """Fine-tune the head of a model on reviewed clips and its own material; write it only if it did not get worse.

    Clips that the review confirmed are further positives, and those that it refused further negatives. None of them is
    in the test: they were chosen by the old model's scores, so that they show its mistakes alone. The encoder stays as
    it is. Both models are judged on the same streams, each at the threshold of its own file, since these are what a
    listener would have; `guard.compare` says what is worse. An interrupted run goes on from `OUTPUT.begun`.

    Raises:
        WakewordError: nothing reviewed, too little to train, calibrate or test on, or the same recording for training
            and testing. ModelError: no trained model, or an exported one. ConfigError: phrases that are not the
            model's, or as `train_config.check`.
    """
    progress = progress or (lambda stage, fraction: None)
    if is_exported(config.model):
        raise ModelError(
            f"{config.model}: an exported model cannot be trained on: give the .wakeword file it came from"
        )
    model, meta = load_wakeword(config.model)
    names = [entry["phrase"] for entry in meta["phrases"]]
    training = _training(config, meta)
    check(training)
    check_writable(config.output)
    torch.manual_seed(training.seed)
    torch.set_num_threads(config.threads)
    skipped = Skipped()
    confirmed, refused = reviewed(config.kept, names, skipped)
    given = divided(config, training, skipped)

    detector = Detector(*running(model, meta))
    before = guard.judge(detector, given.tests, given.test_negatives, skipped, progress)
    clips, located = [], []
    for output, (name, said) in enumerate(zip(names, given.clips, strict=True)):
        spans = [active_span(clip) for clip in said]
        further, places = cut(confirmed[name], detector, output, said, spans, skipped)
        clips.append([*said, *further])
        located.append(Located([*spans, *places]))
    negatives = negatives_of(given.negatives, [path for path, _ in refused], config.negative_hours, training.seed)
    settings = from_dict(FeatureSettings, meta["features"], config.model)
    frozen = choose_unfreeze("none", 0, model.encoder.sizes)
    begun, counts = Path(f"{config.output}.begun"), [len(said) for said in clips]
    learn(model, settings, frozen, training, clips, located, negatives, skipped, progress, begun, counts)

    detector = Detector(*running(model, meta))
    held_out = {
        name: count_misses(detector, output, out, skipped, progress)
        for output, (name, out) in enumerate(zip(names, given.held_out, strict=True))
    }
    chosen = _calibrated(detector, given.dev, config.budget, held_out, progress)
    detector.thresholds = [each.threshold for each in chosen]
    after = guard.judge(detector, given.tests, given.test_negatives, skipped, progress)
    phrases = [
        {
            "phrase": name,
            "confirmed": len(confirmed[name]),
            "refused": sum(about.phrase == name for _, about in refused),
            "fa_per_hour_budget": each.fa_per_hour_budget,
            **guard.compare(old, new, each.fa_per_hour_budget),
        }
        for name, each, old, new in zip(names, chosen, before, after, strict=True)
    ]
    worse = [f"'{each['phrase']}': {reason}" for each in phrases for reason in each["worse"]]
    if not worse:
        are = GIVEN_AS_TEST if config.tests else HELD_OUT
        known = [dataclasses.replace(new.misses, clips_are=are) for new in after]
        chosen = [_told(*pair) for pair in zip(chosen, known, strict=True)]
        meta["phrases"] = [calibrated(*pair) for pair in zip(meta["phrases"], chosen, strict=True)]
        meta["card"] = _card(meta, config, training, phrases, known, held_out, counts)
        save_wakeword(config.output, model, meta)
    begun.unlink(missing_ok=True)
    return Improved(Path(config.output), phrases, worse, skipped)


def _training(config: ImproveConfig, meta: dict) -> TrainConfig:
    """The training that the improvement is, its phrases in the order of the model's outputs."""
    names = [entry["phrase"] for entry in meta["phrases"]]
    given = {phrase.text: phrase for phrase in config.phrases}
    if sorted(given) != sorted(names) or len(given) != len(config.phrases):
        raise ConfigError(
            f"{config.model} listens for {', '.join(map(repr, names))}: give --phrase and --positives for each of them"
        )
    if config.tests and len(config.tests) != len(config.phrases):
        raise ConfigError("--test-positives: give it for each phrase, in the order of --phrase, or for none")
    if not config.negatives:
        raise ConfigError("--negatives names nothing: give the speech that the model was trained with")
    card = meta.get("card") if isinstance(meta.get("card"), dict) else {}
    seed = config.seed if config.seed is not None else card.get("seed", 0)
    return TrainConfig(
        phrases=tuple(given[name] for name in names),
        output=config.output,
        negatives=config.negatives,
        noise=config.noise,
        rir=config.rir,
        # What was begun is taken up by a run with the same settings: these weights are one of them.
        acoustic=hashlib.sha256(Path(config.model).read_bytes()).hexdigest(),
        unfreeze="none",
        budget=config.budget or TrainConfig.budget,
        copies=config.copies,
        negative_hours=1e6,  # what is heard is chosen here (`negatives_of`)
        steps=config.steps,
        batch=config.batch,
        learning_rate=config.learning_rate,
        smoothing_frames=meta["smoothing_frames"],
        refractory_s=meta["refractory_s"],
        seed=seed,
        threads=config.threads,
    )


def _calibrated(
    detector: Detector, dev: Sequence[Clip], budget: str, held_out: Mapping[str, Misses], progress: Progress
) -> list[Calibration]:
    """For each phrase the threshold for a budget, or for the one that it had (0.5 an hour if it had none)."""
    entries = detector.info["phrases"]
    own = [(entry.get("calibration") or {}).get("fa_per_hour_budget", TrainConfig.budget) for entry in entries]
    wanted = [parse_budget(budget or each) for each in own]
    found = {rate: calibrate(detector, dev, rate, progress, held_out) for rate in dict.fromkeys(wanted)}
    return [found[rate][output] for output, rate in enumerate(wanted)]


def _told(calibration: Calibration, misses: Misses) -> Calibration:
    """The calibration with the misses at its thresholds."""
    curve = tuple(with_misses(point, misses) for point in calibration.curve)
    return dataclasses.replace(with_misses(calibration, misses), positives=misses.clips_are, curve=curve)


def _card(meta: dict, config: ImproveConfig, training: TrainConfig, phrases, known, held_out, counts) -> dict:
    """The old card with what is now known of each phrase, and the comparison behind those of earlier improvements."""
    card = dict(meta["card"]) if isinstance(meta.get("card"), dict) else {}
    said = dict(card["phrases"]) if isinstance(card.get("phrases"), dict) else {}
    for entry, misses, count in zip(meta["phrases"], known, counts, strict=True):
        said[entry["phrase"]] = {
            **said.get(entry["phrase"], {}),
            "clips": count,
            "held_out_clips": held_out[entry["phrase"]].clips,
            "estimate": estimate(misses, entry["threshold"]),
            "held_out_misses": dataclasses.asdict(held_out[entry["phrase"]]),
        }
    step = {
        "from_sha256": training.acoustic,
        "steps": config.steps,
        "learning_rate": config.learning_rate,
        "seed": training.seed,
        "version": __version__,
        "phrases": phrases,
    }
    return {**card, "phrases": said, "improved": [*card.get("improved", []), step], "version": __version__}
