"""What a pretraining run is: its stages, data, teacher and schedule, from a TOML file."""

from __future__ import annotations

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path

from wakeword.acoustic.encoder import SIZES, EncoderSizes
from wakeword.acoustic.tokens import UNITS
from wakeword.errors import ConfigError
from wakeword.features.log_mel import LOG_MEL, FeatureSettings
from wakeword.pretraining.data import Source
from wakeword.settings import MOST_THREADS, from_dict, read_toml

MOST_DELAY = 50
"""Frames (2 s): beyond, short utterances have nothing left to distil."""


@dataclass(frozen=True)
class Stage:
    """A stretch of training: how many steps, and the weight of each loss. A weight of 0 leaves its loss out.

    With `frozen_norms` the statistics of batch normalisation are measured over `settle_batches` where the stage begins
    and then stay, so that what trains is the network that will run (norms.py). Without, each batch is normalised by its
    own, which random weights need to begin with.
    """

    steps: int = 1000
    distil: float = 1.0
    ctc: float = 0.0
    frozen_norms: bool = False


@dataclass(frozen=True)
class Config:
    """A pretraining run. Manifests come from `wakeword prepare`.

    `size` names the encoder, or is any name where `sizes` gives its dimensions. `output` is the model file, `folder`
    what the run keeps to resume from. `held_out` is the share of the speakers that only validate; `held_out_each` makes
    that at least one of each corpus that has two or more. `minutes` is
    how much of the speech of the others trains, utterances chosen by a hash of their names and the seed, held in memory
    where they are in shards (0: all of it, read as it goes). `units` are
    what CTC writes, `characters` or `phones`.

    `teacher` is what `teacher.load_teacher` takes, `teacher_cache` the folder of its
    frames (`folder`/teacher if empty). Frame `t + delay_frames` of the student (`features.frame_s` each) predicts frame
    `t` of the teacher. A batch has `batch_seconds` of audio; `warmup`, `checkpoint_every` and `validate_every` count
    steps. `settle_batches` are those over which the statistics of normalisation are measured anew at the end (0: they
    stay as trained). `clip_gradient` is the largest norm of the gradient, `snr_db` the range of the noise, drawn evenly
    in dB, `simulated_rooms` how many impulse responses are made beside the recorded `rirs`, `made_noise` how many
    noises beside the recorded `noise`, and `babble_mixtures` how many of several talkers out of `babble` (manifests, as
    `data`). `card` is a line for the model's card.

    `init` is an acoustic model to start from (`base`, `micro` or a file; empty: random weights): its encoder and CTC
    layer, whose dimensions must be these; the layer towards the teacher is new, and so is the stem where its features
    are of another front end. `precision` is `32`, or `bf16` for matrix products in bfloat16 (weights, losses and
    moments stay in float32); `compile` lets `torch.compile` make one kernel of many, which takes a C++ compiler, and
    minutes at the start; several processes go on without. Where `torchrun` starts several, a batch is `batch_seconds`
    over all of them, and `threads` and `workers` are each one's.

    A run that was interrupted goes on from its `folder` where `card`, `output`, `folder`, `threads`, `workers`,
    `device`, `compile`, `checkpoint_every`, `validate_every` and `settle_batches` may be others, and the number of
    processes too; with another value of any other setting (`precision` among them) it is refused.
    """

    size: str = "base"
    output: str = "acoustic.safetensors"
    folder: str = "exp"
    data: tuple[Source, ...] = ()
    held_out: float = 0.06
    held_out_each: bool = False
    minutes: float = 0.0
    noise: tuple[str, ...] = ()
    rirs: tuple[str, ...] = ()
    units: str = "characters"
    teacher: str = ""
    teacher_cache: str = ""
    delay_frames: int = 4
    stages: tuple[Stage, ...] = (Stage(),)
    batch_seconds: float = 120.0
    learning_rate: float = 2e-3
    warmup: int = 200
    weight_decay: float = 1e-2
    settle_batches: int = 200
    clip_gradient: float = 5.0
    seed: int = 0
    workers: int = 1
    threads: int = 2
    device: str = "auto"
    precision: str = "32"
    compile: bool = False
    init: str = ""
    checkpoint_every: int = 250
    validate_every: int = 500
    snr_db: tuple[float, ...] = (0.0, 25.0)
    noise_probability: float = 0.6
    rir_probability: float = 0.25
    simulated_rooms: int = 300
    made_noise: int = 0
    babble_mixtures: int = 0
    babble: tuple[Source, ...] = ()
    channel_probability: float = 0.0
    speed_probability: float = 0.0
    sizes: EncoderSizes = EncoderSizes()
    features: FeatureSettings = FeatureSettings()
    card: str = ""


def read_config(path: str | Path) -> Config:
    """A run from its TOML file; relative paths inside it are seen from the working folder.

    Raises:
        ConfigError: no such file, not TOML, an unknown key, a value of the wrong type or out of range.
    """
    return config_of(read_toml(path), str(path))


def config_of(values: dict, path: str) -> Config:
    """A run from its settings as TOML gives them, checked; `path` says where they come from.

    Raises:
        ConfigError: as `read_config`, or a source is named twice.
    """
    config = from_dict(Config, values, path)
    if config.size not in SIZES and "sizes" not in values:
        raise ConfigError(f"{path}: size = '{config.size}': one of {', '.join(SIZES)}, or give a [sizes] table")
    if "sizes" not in values:
        sizes = SIZES[config.size]
        if config.features.front_end != LOG_MEL:
            sizes = dataclasses.replace(sizes, mels=config.features.mels)
        config = dataclasses.replace(config, sizes=sizes)
    if not config.data:
        raise ConfigError(f"{path}: no [[data]] table: name at least one manifest")
    if len({bool(source.shar) for source in config.data}) > 1:
        raise ConfigError(f"{path}: [[data]]: manifests or shards, not both: make shards of the manifests too")
    wrong = out_of_range(config) or twice("data", config.data) or twice("babble", config.babble)
    if wrong:
        raise ConfigError(f"{path}: {wrong}")
    if any(stage.distil for stage in config.stages) and not config.teacher:
        raise ConfigError(f"{path}: a stage distils, but 'teacher' names none: set it, or distil = 0")
    if bool(config.babble) != bool(config.babble_mixtures) or any(source.shar for source in config.babble):
        raise ConfigError(f"{path}: babble: give [[babble]] manifests and babble_mixtures, how many, or neither")
    if not config.stages:
        raise ConfigError(f"{path}: no [[stages]] table: name at least one")
    return config


def twice(table: str, sources: tuple[Source, ...]) -> str:
    """Which source is the same as one before, in a sentence; empty if there is none.

    Two that overlap (other languages or splits of the same place) are as meant; the same again is a slip.
    """
    seen: dict[tuple, int] = {}
    for index, source in enumerate(sources):
        place = source.manifest or source.shar
        same = seen.setdefault((os.path.normpath(place), *map(frozenset, (source.languages, source.splits))), index)
        if same != index:
            return f"{table}[{index}]: '{place}' is {table}[{same}] again, and would be heard twice: remove one"
    return ""


def out_of_range(config: Config) -> str:
    """The first setting that cannot work, with what it must be; empty if there is none."""
    counts = ("warmup", "workers", "delay_frames", "simulated_rooms", "made_noise", "babble_mixtures")
    counts += ("settle_batches", "weight_decay", "minutes")
    positive = ("batch_seconds", "learning_rate", "clip_gradient", "checkpoint_every", "validate_every", "threads")
    shares = ("noise_probability", "rir_probability", "channel_probability", "speed_probability")
    rules = [(name, getattr(config, name) > 0, "above 0") for name in positive]
    rules += [(name, getattr(config, name) >= 0, "0 or more") for name in counts]
    rules += [(name, 0 <= getattr(config, name) <= 1, "from 0 to 1") for name in shares]
    rules += [
        ("seed", 0 <= config.seed < 2**32, f"from 0 to {2**32 - 1}"),
        ("held_out", 0 <= config.held_out < 1, "from 0 to below 1"),
        ("delay_frames", config.delay_frames <= MOST_DELAY, f"at most {MOST_DELAY}"),
        ("threads", config.threads <= MOST_THREADS, f"at most {MOST_THREADS}"),
        ("workers", config.workers <= MOST_THREADS, f"at most {MOST_THREADS}"),
        ("snr_db", len(config.snr_db) == 2 and config.snr_db[0] <= config.snr_db[1], "the lowest and the highest"),
        ("units", config.units in UNITS, " or ".join(UNITS)),
        ("precision", config.precision in ("32", "bf16"), "32 or bf16"),
        ("device", re.fullmatch(r"auto|cpu|cuda(:\d+)?", config.device), "auto, cpu, cuda or cuda:N"),
    ]
    for name, fine, must in rules:
        if not fine:
            return f"{name} = {getattr(config, name)}: must be {must}"
    for index, stage in enumerate(config.stages):
        rules = [("steps", stage.steps >= 1, "1 or more")]
        rules += [(name, getattr(stage, name) >= 0, "0 or more") for name in ("distil", "ctc")]
        for name, fine, must in rules:
            if not fine:
                return f"stages[{index}]: {name} = {getattr(stage, name)}: must be {must}"
        if not (stage.distil or stage.ctc):
            return f"stages[{index}]: distil and ctc are both 0: it would learn nothing"
    if config.features.mels != config.sizes.mels:
        return f"mels are {config.features.mels} in features, {config.sizes.mels} in sizes: must be equal"
    return ""
