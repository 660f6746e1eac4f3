"""How the network of transfer learning is best made: a small grid, on development data alone.

The data are of the kind that our own studies choose by: clips of the words that are held out of training, clean and in
noise that training has, and training negatives of speakers who do not train. The settings are the same for all words,
as ours are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import peers_transfer
from peers_engines import DIMS, EMBEDDINGS, probability
from peers_judged import RATES
from peers_streams import Sound, digest, said, unsaid
from peers_transfer import HOP_S, NOISE, Setting, Task, fitted, heard_of

from wakeword.audio.clips import find_clips, for_training
from wakeword.evaluation.calibrate import lowest_within
from wakeword.evaluation.metrics import Track, hits
from wakeword.files import replacing

GRID = (
    Setting(),
    Setting(width=32),
    Setting(width=256),
    Setting(steps_each=1),
    Setting(steps_each=9),
    Setting(learning_rate=3e-4),
    Setting(learning_rate=3e-3),
    Setting(noisy=False),
)
"""One change at a time; `searched` adds the best value of each."""
AT_A_TIME = 4096


def searched(missed: Callable[[Setting], float], grid: Sequence[Setting] = GRID) -> list[tuple[Setting, float]]:
    """Each setting of the grid, and the best values of its axes together, with what `missed` gives of each; best first.

    The best value of an axis is that of the best setting among those that change nothing else. Of equals the earlier
    of the grid comes first.
    """
    found = [(setting, missed(setting)) for setting in grid]
    best = {}
    for field in fields(Setting):
        others = {each.name: getattr(Setting(), each.name) for each in fields(Setting) if each != field}
        axis = [pair for pair in found if others.items() <= asdict(pair[0]).items()]
        best[field.name] = getattr(min(axis, key=lambda pair: pair[1])[0], field.name)
    together = Setting(**best)
    if together not in grid:
        found.append((together, missed(together)))
    return sorted(found, key=lambda pair: pair[1])


def scored(frames: np.ndarray, head: dict[str, np.ndarray]) -> np.ndarray:
    """The network's scores float [frames] of embeddings [frames, 96], as peers_engines.transfer gives them."""
    padded = np.concatenate([np.zeros((EMBEDDINGS - 1, DIMS), np.float32), frames])
    windows = np.lib.stride_tricks.sliding_window_view(padded, EMBEDDINGS, axis=0).transpose(0, 2, 1)
    parts = [probability(windows[i : i + AT_A_TIME], head) for i in range(0, len(windows), AT_A_TIME)]
    return np.concatenate(parts)


def track_of(frames: np.ndarray, sound: Sound, head: dict[str, np.ndarray]) -> Track:
    time_s = HOP_S * np.arange(1, len(frames) + 1)
    return Track(time_s, scored(frames, head), sound.hours, sound.starts_s, sound.ends_s)


def miss_rate(negatives: Track, positives: Sequence[Track]) -> float:
    """The mean over conditions and `RATES` of the miss rates at thresholds of hindsight."""
    thresholds = [lowest_within([negatives], negatives.hours, rate) for rate in RATES]
    return float(np.mean([np.isnan(hits(track, threshold)).mean() for track in positives for threshold in thresholds]))


def development(task: Task, word: str) -> list[Sound]:
    """The held-out clips of a word, clean and in noise that trains."""
    _, held_out = task.clips(word)
    bed = for_training(find_clips([task.manifest(f"noise-{name}") for name in NOISE]))
    return [
        said(f"{word}-held-out", held_out, bed if snr_db is not None else [], snr_db, task.folder, task.skipped)
        for snr_db in (None, task.config.snr_db)
    ]


def frames_of(task: Task, sound: Sound) -> np.ndarray:
    """The embeddings of a stream, kept beside it."""
    path = sound.path.with_name(f"{sound.path.stem}-embedding.npz")
    if not path.exists():
        frames = task.embed(sound.path)
        with replacing(path) as temporary:
            np.savez(temporary, frames=frames)
    with np.load(path) as file:
        return file["frames"]


def trained(task: Task, word: str, grid: Sequence[Setting] = GRID) -> Path:
    """The file of a word's network, made in the way that is best for all words; in it `search`, JSON: what was tried.

    All words' networks of all settings are trained for it, unless they are in `task.folder` already.
    """
    config, words = task.config, task.config.words
    material = [task.unsaid(), [task.clips(each) for each in words], config.copies, config.negative_copies]
    material += [config.negative_hours, config.steps, config.seed, config.snr_db, grid, RATES]
    # Of whatever network it is: code that changes what is learnt changes the names.
    made_of = digest([material, *(Path(file).read_bytes() for file in (__file__, peers_transfer.__file__))])
    path = task.folder / f"{word}-network-{made_of}.npz"
    if path.exists():
        return path
    others = unsaid("held-out-speakers", task.unsaid()[1], task.folder, task.skipped)
    tests = {each: [(frames_of(task, sound), sound) for sound in development(task, each)] for each in words}
    aside = frames_of(task, others)
    stream, clips = heard_of(task, words, {setting.noisy for setting in grid})

    def network(setting: Setting, word: str) -> dict[str, np.ndarray]:
        """A network with its miss rate on development data, as `missed`."""
        kept = task.folder / f"{word}-tried-{digest([made_of, setting])}.npz"
        if not kept.exists():
            head = fitted(clips[word, setting.noisy], stream, config.steps, config.seed, setting)
            tracks = [track_of(*test, head) for test in tests[word]]
            missed = miss_rate(track_of(aside, others, head), tracks)
            with replacing(kept) as temporary:
                np.savez(temporary, missed=missed, **head)
        with np.load(kept) as file:
            return dict(file)

    found = searched(lambda setting: float(np.mean([network(setting, each)["missed"] for each in words])), grid)
    tried = [
        {**asdict(setting), "steps": setting.steps_each * config.steps, "missed": missed} for setting, missed in found
    ]
    search = {"tried": tried, "rates": RATES, "snr_db": config.snr_db, "hours": others.hours}
    with replacing(path) as temporary:
        np.savez(temporary, **network(found[0][0], word), search=json.dumps(search))
    return path
