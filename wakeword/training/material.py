"""What a training hears and what it holds out: the clips of a phrase, recorded and spoken, and speech without it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from wakeword.acoustic import tokens
from wakeword.acoustic.lexicon import frequent_words
from wakeword.audio.clips import (
    Clip,
    find_clips,
    for_training,
    in_pieces,
    read_clips,
    refuse_shared,
    share_of,
    told_seconds,
)
from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.misses import HELD_OUT
from wakeword.training import spoken
from wakeword.training.confusables import known_words, speak_confusables
from wakeword.training.duplicates import closed, groups_of_clips

FEWEST_CLIPS = 3
"""Recorded clips to train on, where voices speak none."""
LONGEST_S = 20.0
"""A longer recording is no clip of a phrase: nobody knows where in it that is, and a batch is as long as the longest of
its clips, so that minutes take gigabytes."""
FEWEST_SPEAKERS = 4
MOST_OF_ONE = 0.5
"""With fewer speakers, or where one has more than this share of the clips, clips are held out one by one: without his,
next to nothing would be left to train on."""
MOST_COMPARED = 1000
"""So many clips of unknown speakers are compared with each other for copies of one recording, about a CPU minute."""
HELD_OUT_VOICES = "spoken by other synthetic voices, which says little of people"
MOST_TIMES = 10
"""So many times as often as a spoken clip a recorded one is heard, at most."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Material:
    """A phrase's clips to train on, float32 `[samples]` each, of which the first `recorded` are recorded and the others
    spoken; the clips held out, not yet read, and which these are; one line for the user, if voices spoke."""

    clips: list[np.ndarray]
    recorded: int
    held_out: list[Clip]
    held_out_are: str = HELD_OUT
    note: str = ""


def phrase_material(phrase, config, skipped: Skipped, progress: Progress) -> Material:
    """The clips of a phrase, with those that voices speak of it (`config.spoken`).

    Recorded clips alone are held out, where they are enough to spare some; else spoken ones, of other voices.

    Args:
        phrase: a `train_config.Phrase`. config: a `train_config.TrainConfig`.

    Raises:
        WakewordError: as `usable_clips` and `spoken.speak_phrase`.
    """
    recorded, held_out, uncompared = usable_clips(phrase, config, skipped) if phrase.positives else ([], [], "")
    if not config.spoken:
        return Material(recorded, len(recorded), held_out, note=uncompared)
    folder = spoken_folder(config)
    said = spoken.speak_phrase(phrase.text, folder, config.spoken, config.seed, config.acoustic, skipped, progress)
    note = (
        f"'{phrase.text}': {len(recorded)} recorded clips, {len(said.clips)} spoken by {said.voices} synthetic voices"
    )
    if held_out:
        told = "; ".join(filter(None, [note, uncompared]))
        return Material([*recorded, *said.clips], len(recorded), held_out, note=told)
    if said.held_out:
        note += f"; held out are {len(said.held_out)} clips {HELD_OUT_VOICES} ({said.held_out_voices} of them)"
    else:
        note += "; too few voices are installed to hold some out"
    return Material([*recorded, *said.clips], len(recorded), said.held_out, HELD_OUT_VOICES, note)


def weighed(items: Sequence, recorded: int) -> list:
    """What belongs to a phrase's clips, one by one, with that of the `recorded` ones, which come first, repeated.

    So that people are half of what is heard, where they are not too few for it (`MOST_TIMES`).
    """
    times = min(MOST_TIMES, max(1, round((len(items) - recorded) / max(1, recorded))))
    return [*items[:recorded]] * times + [*items[recorded:]]


def _once(clips: Iterable[Clip]) -> list[Clip]:
    """The clips without those that are named again, as by a folder and the one above it: what is held out twice makes
    an interval look narrower than it is."""
    found: dict[tuple, Clip] = {}
    for clip in clips:
        found.setdefault((os.path.abspath(clip.path), clip.start_s, clip.duration_s, clip.channel), clip)
    return list(found.values())


def _short(clip: Clip, seconds: float | None, skipped: Skipped) -> bool:
    """Whether a recording may be a clip of a phrase, as far as its length is known; else `skipped` says so."""
    if seconds is None or seconds <= LONGEST_S:
        return True
    skipped.add(clip.name, f"{clip.name}: {seconds:.0f} s are no clip of a phrase: cut it to {LONGEST_S:g} s or less")
    return False


def may_hide_copies(clips: list[Clip]) -> bool:
    """Whether copies of one recording could fall on both sides of a split, for all that the manifests say."""
    if all(_groups(clips)):
        return False
    return not all(clip.speaker for clip in clips) or not _divide([clip.speaker for clip in clips])


def negative_material(
    config, given: tuple[list[Clip], list[Clip]], skipped: Skipped, progress: Progress
) -> tuple[list[Clip], list[Clip]]:
    """The negatives that train, and those that the threshold is chosen on, of those `given` (`check_given`).

    Where none are given and voices speak the phrase, they say other sentences too; with `config.confusables` also what
    sounds like it, which trains alone.

    Raises:
        WakewordError: as `spoken.speak_sentences` and `confusables.speak_confusables`.
    """
    texts, folder = [phrase.text for phrase in config.phrases], spoken_folder(config)
    training, dev = given
    if config.spoken and not config.negatives:
        training, dev = spoken.speak_sentences(texts, folder, config.seed, skipped, progress)
    if config.confusables:
        common = folder, config.seed, config.acoustic, skipped, progress
        training = training + speak_confusables(texts, config.confusables, *common)
    return training, dev


def heard_before(negatives: list[Clip], card: dict) -> str:
    """One line for the user if an acoustic model, by its card, was trained on corpora that these negatives are of."""
    known = card.get("data") if isinstance(card.get("data"), dict) else {}
    corpora = sorted({clip.corpus for clip in negatives if clip.corpus} & known.keys())
    if not corpora:
        return ""
    share = sum(clip.corpus in corpora for clip in negatives) / len(negatives)
    return (
        f"{share:.0%} of the negatives that chose the threshold are of corpora that the acoustic model was trained on "
        f"({', '.join(corpora)}): expect more false alarms on other speech, and run 'wakeword calibrate' on hours of "
        "your own"
    )


def spoken_folder(config) -> str:
    """Where the spoken clips of a training are kept."""
    return f"{config.output}.spoken"


def split_clips(
    clips: list[Clip], fraction: float, seed: int, fewest: int = 0, groups: list[int] | None = None
) -> tuple[list[Clip], list[Clip]]:
    """Clips to train on and clips held out: whole speakers where several are named and none has most of the clips, else
    files or parts of them.

    `fraction` of the names is held out, but at least `fewest` and never all. They are chosen by a hash of the name, a
    file's below the folder that holds all files: so where the clips lie does not change the choice.

    Args:
        groups: for each clip the index of the first that is the same recording, as `duplicates.groups_of_clips` finds
            them: those stay on one side, with all of their speakers.
    """
    # Copies of one recording, where the manifest tells them, stay on one side.
    above = os.path.commonpath([clip.path.absolute().parent for clip in clips]) if clips else ""
    files = [os.path.relpath(clip.path.absolute(), above) for clip in clips]
    names = [clip.speaker or group or file for clip, group, file in zip(clips, _groups(clips), files, strict=True)]
    if not _divide(names):
        own = [f"{file} {clip.start_s}" for clip, file in zip(clips, files, strict=True)]
        names = [group or name for group, name in zip(_groups(clips), own, strict=True)]
    if groups is not None:
        first = closed(len(clips), [(i, names.index(name)) for i, name in enumerate(names)] + [*enumerate(groups)])
        names = [names[i] for i in first]
    ranked = sorted(set(names), key=lambda name: share_of(f"{seed}/{name}"))
    count = max(round(fraction * len(ranked)), fewest)
    out = set(ranked[: min(count, len(ranked) - 1)])
    return (
        [clip for clip, name in zip(clips, names, strict=True) if name not in out],
        [clip for clip, name in zip(clips, names, strict=True) if name in out],
    )


def _divide(names: Sequence[str | None]) -> bool:
    """Whether clips can be parted by these, a speaker or a file for each."""
    counts = Counter(names)
    return len(counts) >= FEWEST_SPEAKERS and max(counts.values()) <= MOST_OF_ONE * len(names)


def _groups(clips: list[Clip]) -> list[str]:
    """For each clip the copies of one recording that it is of, by its manifest; "" where that says nothing."""
    found = [clip.attributes.get("group") for clip in clips]
    return ["" if group is None else str(group) for group in found]


def check_given(config) -> tuple[list[Clip], list[Clip]]:
    """Refuse what is wrong with the paths and phrases before anything is read or spoken, which may take minutes.

    Returns:
        The given negatives, as `split_negatives` parts them.

    Raises:
        WakewordError: as `check_apart`, `split_negatives`, `clips.find_clips` and `confusables.known_words`.
    """
    check_apart(config)
    negatives = split_negatives(config)
    for paths in filter(None, (config.noise, config.rir)):
        find_clips(paths)
    if config.confusables:
        for phrase in config.phrases:
            known_words(phrase.text)
        frequent_words()
    return negatives


def check_apart(config) -> None:
    """Refuse clips that are of two phrases, or of a phrase and among the negatives.

    Negatives whose transcript holds a phrase are no matter, as they do not train.

    Raises:
        WakewordError: there are such clips; or as `clips.find_clips`.
    """
    texts = [phrase.text for phrase in config.phrases]
    others = [
        (f"--positives of '{phrase.text}'", for_training(find_clips(phrase.positives)))
        for phrase in config.phrases
        if phrase.positives
    ]
    if config.negatives:
        others.append(("--negatives", without_phrases(for_training(find_clips(config.negatives)), texts)))
    why = "it would teach to hear a phrase and not to hear it"
    for (one, clips), (other, more) in combinations(others, 2):
        refuse_shared(clips, more, f"{one} and {other}", why)


def split_negatives(config) -> tuple[list[Clip], list[Clip]]:
    """The negatives that train, and a quarter of their speakers that the threshold is chosen on instead.

    Raises:
        WakewordError: none of those that are given can train.
    """
    if not config.negatives:
        return [], []
    given = find_clips(config.negatives)
    kept = for_training(given)
    heard = without_phrases(kept, [phrase.text for phrase in config.phrases])
    if not heard:
        raise WakewordError(
            f"{', '.join(map(str, config.negatives))}: none of the {len(given)} negatives can train: "
            f"{len(given) - len(kept)} are kept for testing by their manifests, in {len(kept)} a phrase is said: "
            "give other speech"
        )
    return split_clips(in_pieces(heard), 0.25, config.seed)


def without_phrases(clips: list[Clip], phrases: Iterable[str]) -> list[Clip]:
    """The clips whose transcript, where there is one, holds none of the phrases."""
    phrases = list(phrases)
    return [clip for clip in clips if not any(holds(clip.text or "", phrase) for phrase in phrases)]


def holds(text: str, phrase: str) -> bool:
    """Whether a text has the words of the phrase in it, one after the other, as `tokens.words` has them."""
    return f" {' '.join(tokens.words(phrase))} " in f" {' '.join(tokens.words(text))} "


def usable_clips(phrase, config, skipped: Skipped) -> tuple[list[np.ndarray], list[Clip], str]:
    """A phrase's recorded clips to train on, float32 `[samples]` each; those held out, not yet read; and one line for
    the user, if copies of one recording may be on both sides.

    None is held out where fewer than `FEWEST_CLIPS` would be left. One is enough beside spoken ones.

    Raises:
        WakewordError: no such path, or too few clips.
    """
    given = _once(find_clips(phrase.positives))
    kept = for_training(given)
    everything = [clip for clip in kept if _short(clip, told_seconds(clip), skipped)]
    hidden, few = may_hide_copies(everything), len(everything) <= MOST_COMPARED
    groups = groups_of_clips(everything) if hidden and few else None
    training, held_out = split_clips(everything, config.held_out, config.seed, fewest=1, groups=groups)
    if len(training) < FEWEST_CLIPS:
        training, held_out = everything, []
    clips = [
        samples
        for clip, samples in read_clips(training, skipped)
        if _short(clip, len(samples) / SAMPLE_RATE, skipped)  # of some files nothing tells it before
    ]
    needed = 1 if config.spoken else FEWEST_CLIPS
    tests = len(given) - len(kept)
    if len(clips) < needed:
        raise WakewordError(
            f"{', '.join(map(str, phrase.positives))}: only {len(clips)} usable clip(s) of '{phrase.text}' left to "
            f"train on beside {len(held_out)} held out, {needed} are needed: record more"
            + ("" if config.spoken else ", or let voices speak others (--spoken)")
            + (f" ({tests} more are kept for testing by their manifests)" if tests else "")
            + (f" ({skipped.summary()})" if skipped else "")
        )
    uncompared = ""
    if held_out and hidden and not few:
        uncompared = (
            f"'{phrase.text}': {len(everything)} clips of unnamed speakers are too many to be compared with each "
            "other: copies of those that train may be among those held out, and make the estimate look better"
        )
    return clips, held_out, uncompared
