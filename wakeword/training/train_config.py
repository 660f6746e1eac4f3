"""The settings of a training run, and what of them cannot work."""

from __future__ import annotations

from dataclasses import dataclass

from wakeword.acoustic import tokens
from wakeword.acoustic.align import LABELS
from wakeword.errors import ConfigError
from wakeword.model.budget import parse_budget
from wakeword.model.description import check_line
from wakeword.model.runtimes import is_exported
from wakeword.settings import MOST_THREADS
from wakeword.training.losses import LOSSES

LEAST = {
    1: ("steps", "batch", "copies", "negative_copies", "smoothing_frames", "threads", "channels"),
    0: ("depth", "seed", "negative_hours", "learning_rate", "encoder_learning_rate", "refractory_s")
    + ("negative_weight", "ctc", "parts", "made_noise", "babble", "spoken", "confusables"),
}
"""The least that settings may be."""
SHARES = ("hard", *(f"{what}_probability" for what in ("noise", "rir", "channel", "speed", "pitch", "amid")))
"""Those that must be from 0 to 1."""
MOST = {"threads": MOST_THREADS, "depth": 100, "seed": 2**63 - 1}
"""The most: torch takes no larger seed, and layers without end take all memory."""


@dataclass(frozen=True)
class Phrase:
    """What clips say, and where they are: folders, audio files or manifests; none, where voices speak it."""

    text: str = ""
    positives: tuple[str, ...] = ()


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Paths are folders, audio files or manifests; `output` is the one file that it makes.

    `spoken` clips of each phrase in synthetic voices train with it, or alone; where there are no `negatives`, the
    voices say other sentences. So many `confusables`, texts that sound like the phrase, are spoken as negatives.
    What is spoken stays in `OUTPUT.spoken` (spoken.py).

    `budget` is each phrase's own. `copies` of each clip are heard, each in other surroundings, and `parts` copies of a
    part of it, as negatives. `made_noise` and `babble` count noises made beside the recorded ones, babble of the
    negatives' voices; `channel_probability` is that of a telephone, codec or microphone. The share `speed_probability`
    of the copies is heard at a speed out of the range `speeds`, which moves the pitch with it, `pitch_probability` at
    another pitch alone, out of `pitch_semitones`, and all at a level out of `level_dbfs`, drawn evenly. Running speech
    of the negatives comes before a copy with `amid_probability`, and behind it with the same.

    `batch` counts the examples of each phrase in a step, and the windows of negatives, the share `hard` of which is
    mined. `labels` is one of `align.LABELS`: what says where the phrase lies in its clips, their energy or the
    acoustic model. `loss` is one of `losses.LOSSES`, `negative_weight` weighs the windows in it, `smoothing` is what
    its targets are short of 1, and `ctc` weighs the spelling of the phrase beside it (speller.py). With `average` the
    weights of the steps are averaged.
    """

    phrases: tuple[Phrase, ...] = ()
    output: str = ""
    negatives: tuple[str, ...] = ()
    noise: tuple[str, ...] = ()
    rir: tuple[str, ...] = ()
    spoken: int = 0
    confusables: int = 0
    acoustic: str = "base"
    unfreeze: str = "auto"
    budget: str = "0.5 per h"
    depth: int = 4
    channels: int = 48
    copies: int = 8
    negative_copies: int = 2
    negative_hours: float = 10.0
    held_out: float = 0.2
    steps: int = 1000
    batch: int = 24
    learning_rate: float = 2e-3
    encoder_learning_rate: float = 3e-4
    labels: str = "energy"
    loss: str = "frames"
    negative_weight: float = 1.0
    smoothing: float = 0.0
    ctc: float = 0.0
    hard: float = 0.5
    average: bool = True
    parts: int = 0
    noise_probability: float = 0.6
    snr_db: tuple[float, ...] = (0.0, 25.0)
    made_noise: int = 0
    babble: int = 0
    rir_probability: float = 0.3
    channel_probability: float = 0.0
    speed_probability: float = 0.67
    speeds: tuple[float, ...] = (0.9, 1.1)
    pitch_probability: float = 0.0
    pitch_semitones: tuple[float, ...] = (-3.0, 3.0)
    level_dbfs: tuple[float, ...] = (-45.0, -15.0)
    amid_probability: float = 0.5
    smoothing_frames: int = 3
    refractory_s: float = 1.0
    seed: int = 0
    threads: int = 2


def check(config: TrainConfig) -> None:
    """Refuse what cannot work before hours of reading.

    Raises:
        ConfigError: a missing or impossible setting.
    """
    if not config.phrases:
        raise ConfigError("no phrase: say what the clips say with --phrase")
    spelled: list[list[str]] = []
    for phrase in config.phrases:
        if not phrase.text.strip():
            raise ConfigError("a phrase is empty: give its words to --phrase or --text")
        check_line(phrase.text)
        if config.spoken or config.ctc or config.confusables or not tokens.in_letters(phrase.text):
            tokens.encode(phrase.text)
        if not phrase.positives and not config.spoken:
            raise ConfigError(
                f"--positives of '{phrase.text}' names nothing: give folders, audio files or manifests of the phrase, "
                "or --text in place of --phrase to have it spoken by synthetic voices"
            )
        words = tokens.words(phrase.text)
        if words in spelled:
            raise ConfigError(f"--phrase {phrase.text}: named twice: give all its clips to one --positives")
        spelled.append(words)
    if not config.output:
        raise ConfigError("--output is empty: say where the model goes")
    if is_exported(config.output):  # readers go by the name
        raise ConfigError(f"--output {config.output}: the name of an exported model: name it .wakeword and export that")
    for least, names in LEAST.items():
        for name in names:
            if not getattr(config, name) >= least:
                raise ConfigError(f"{name} = {getattr(config, name)}: must be {least} or more")
    for name, most in MOST.items():
        if getattr(config, name) > most:
            raise ConfigError(f"{name} = {getattr(config, name)}: must be at most {most}")
    if not 0 <= config.held_out < 1:
        raise ConfigError(f"held_out = {config.held_out}: must be from 0 to below 1")
    if not 0 <= config.smoothing < 0.5:
        raise ConfigError(f"smoothing = {config.smoothing}: must be from 0 to below 0.5")
    for name in SHARES:
        if not 0 <= getattr(config, name) <= 1:
            raise ConfigError(f"{name} = {getattr(config, name)}: must be from 0 to 1")
    for name, unit in (
        ("snr_db", "in dB"),
        ("level_dbfs", "in dBFS"),
        ("speeds", "above 0"),
        ("pitch_semitones", "in semitones"),
    ):
        ends = getattr(config, name)
        if len(ends) != 2 or not ends[0] <= ends[1] or (name == "speeds" and not ends[0] > 0):
            raise ConfigError(f"{name} = {list(ends)}: must be the least and the most, {unit}")
    if config.labels not in LABELS:
        raise ConfigError(f"labels = {config.labels!r}: must be one of {', '.join(LABELS)}")
    if config.loss not in LOSSES:
        raise ConfigError(f"loss = {config.loss!r}: must be one of {', '.join(LOSSES)}")
    parse_budget(config.budget)
