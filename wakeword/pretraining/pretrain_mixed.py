"""What a pretraining mixes into its utterances: recorded and made noise, babble of training speakers, rooms."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np

from wakeword.audio.clips import Clip
from wakeword.augmentation.augment import Augmentation, read_recordings, simulated_rooms
from wakeword.augmentation.noises import babble, made_noise
from wakeword.errors import Skipped, WakewordError
from wakeword.features.log_mel import SAMPLE_RATE
from wakeword.pretraining.data import read_sources, split_speakers
from wakeword.pretraining.pretrain_config import Config

BABBLE_S = 3600.0
"""Of speech that babble is made of."""


@dataclass
class Mixed:
    """What was read to be mixed in: its corpora and their licences, as manifests tell them; and what could not be."""

    licences: dict[str, str] = field(default_factory=dict)
    skipped: Skipped = field(default_factory=Skipped)

    def add(self, corpus: str | None, licence: object) -> None:
        self.licences[corpus or "unnamed"] = str(licence or "?")


def augmentation_of(config: Config, also: Collection[str] = (), mixed: Mixed | None = None) -> Augmentation:
    """The run's augmentation, its recordings read; `also` are speakers held out whatever their hash.

    `mixed` gets what was read, and what could not be.

    Raises:
        WakewordError: nothing of the noise, the impulse responses or the babble can be read.
    """
    mixed = mixed or Mixed()
    read: list[Clip] = []
    noise = read_recordings(config.noise, skipped=mixed.skipped, read=read)
    rirs = read_recordings(config.rirs, skipped=mixed.skipped, read=read)
    for clip in read:
        mixed.add(clip.corpus, clip.attributes.get("licence"))
    said = babble(talkers(config, mixed, also), config.babble_mixtures, config.seed)
    return Augmentation(
        noise_probability=config.noise_probability,
        snr_db=config.snr_db,
        rir_probability=config.rir_probability,
        channel_probability=config.channel_probability,
        speed_probability=config.speed_probability,
        noise=(*noise, *made_noise(config.made_noise, config.seed), *said),
        rirs=rirs,
        rooms=simulated_rooms(config.simulated_rooms),
    )


def check_mixed(config: Config) -> None:
    """Refuse now what `augmentation_of` would refuse for want of a recording: one of each kind is read.

    Raises:
        WakewordError: as `augmentation_of`.
    """
    for paths in (config.noise, config.rirs):
        read_recordings(paths, most_hours=0.0)
    talkers(config, Mixed(), most_s=0.0)


def talkers(config: Config, mixed: Mixed, also: Collection[str] = (), most_s: float = BABBLE_S) -> list[np.ndarray]:
    """An hour (`most_s`) of speech for babble, of speakers that train: float32 `[samples]` each.

    Raises:
        WakewordError: there is none.
    """
    if not config.babble:
        return []
    cuts, _ = split_speakers(read_sources(list(config.babble)), config.held_out, also)
    cuts = list(cuts)
    said, seconds, unreadable = [], 0.0, Skipped()
    for index in np.random.default_rng(config.seed).permutation(len(cuts)):
        cut = cuts[index]
        try:
            samples = cut.resample(SAMPLE_RATE).load_audio()[0]
            if not (np.isfinite(samples).all() and samples.any()):
                raise ValueError("silent, or no numbers")
        except Exception as error:  # decoders raise many kinds; an hour is there without this one
            unreadable.add(cut.id, f"{cut.id}: {' '.join(str(error).split())[:200]}")
            continue
        said.append(samples)
        seconds += cut.duration
        custom = cut.custom or {}
        mixed.add(custom.get("corpus"), custom.get("licence"))
        if seconds > most_s:
            break
    if not said:
        reason = unreadable.summary() or "All its speakers are held out: name a manifest of others"
        raise WakewordError(
            f"babble: nothing of {', '.join(source.manifest for source in config.babble)} can be mixed in. {reason}"
        )
    mixed.skipped.reasons.update(unreadable.reasons)
    return said
