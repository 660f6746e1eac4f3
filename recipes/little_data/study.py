"""A detector from little data and from none: misses by the number of recorded clips, with and without spoken ones, of
three words, of one speaker's own, of words with many clips, and from the text alone.

    python recipes/little_data/study.py [--only NAME ...] [--seeds 1 2] [--limit N]     from the repository's root

First: python recipes/pretrain/prepare.py --shared ../shared/corpora --out exp/manifests
A trial trains and tests all words (../one_hour/probe.py), or one word of one speaker, and adds a line to study.jsonl,
which is kept in the repository: what stands there is not run again. The page is RESULTS.md, with curve.png.
"""

from __future__ import annotations

import os
import statistics
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from wakeword.errors import ConfigError
from wakeword.evaluation.report import blank
from wakeword.files import replacing
from wakeword.settings import from_dict, read_toml

HERE = Path(__file__).parent
HELD_OUT = 0.4
"""The share of a manifest's speakers who test, with its words and with their other speech."""
LINES, PAGE, PLOT = HERE / "study.jsonl", HERE / "RESULTS.md", HERE / "curve.png"
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "one_hour")]
import divided  # noqa: E402
import probe as probing  # noqa: E402
import studies  # noqa: E402


@dataclass(frozen=True)
class Case(studies.Variant):
    """So many recorded `clips` of each of the `words` (of none: those of the study) train on an acoustic model; they
    are the utterances of `manifest` with such a transcript, or have manifests of their own. With `voices_alone` no
    recording trains at all, of speech, noise or rooms."""

    acoustic: str = ""
    clips: int = 0
    words: tuple[str, ...] = ()
    manifest: str = ""
    voices_alone: bool = False

    @property
    def series(self) -> str:
        """What the cases that differ in the number of clips alone have in common."""
        return self.acoustic + (" + spoken" if "spoken" in self.changes else "")


@dataclass(frozen=True)
class Study:
    """Recorded `clips` of each word, with and without `spoken` ones; the same of the `personal` word, whose clips are
    of one speaker, and of the words of `many`, of which there are more in `many_manifest`; and once `confusables` with
    what is spoken alone, and that without any recording. `words` changes the configuration of the words, `common`
    the settings of training."""

    words_config: str = ""
    folder: str = "exp/head_study"
    acoustic: tuple[str, ...] = ("micro",)
    seeds: tuple[int, ...] = (1, 2, 3)
    clips: tuple[int, ...] = (0, 3, 10, 30, 100)
    spoken: int = 200
    confusables: int = 0
    personal: str = ""
    personal_clips: tuple[int, ...] = ()
    many: tuple[str, ...] = ()
    many_manifest: str = ""
    many_clips: tuple[int, ...] = ()
    words: dict = field(default_factory=dict)
    common: dict = field(default_factory=dict)

    @property
    def variants(self) -> tuple[Case, ...]:
        """The cases, in the order of the table."""
        kinds = (self.curve, self.persons, self.more)
        return tuple(case for acoustic in self.acoustic for kind in kinds for case in kind(acoustic))

    def curve(self, acoustic: str) -> list[Case]:
        """Those of the study's words."""
        found = [self._case(acoustic, *each) for each in with_and_without(self.clips)]
        found += [self._case(acoustic, 0, True, confusables=self.confusables)] * bool(self.confusables)
        found += [self._voices_alone(acoustic)] * (0 in self.clips)
        return [case for case in found if case.clips or "spoken" in case.changes]

    def persons(self, acoustic: str) -> list[Case]:
        """Those of one speaker's word."""
        alone = dict(words=(self.personal,), which=self.personal, of="of one speaker, who tests too")
        return [self._case(acoustic, *each, **alone) for each in with_and_without(self.personal_clips)]

    def more(self, acoustic: str) -> list[Case]:
        """Those of the words of which there are many clips."""
        many = dict(words=self.many, which="/".join(self.many), manifest=self.many_manifest)
        return [self._case(acoustic, *each, **many) for each in with_and_without(self.many_clips)]

    def _voices_alone(self, acoustic: str) -> Case:
        """What `wakeword train --text` does, given nothing else."""
        spoken = self._case(acoustic, 0, True)
        changes = {**spoken.changes, "noise": [], "rir": []}
        asks = (
            f"{spoken.asks}, other sentences by the same voices in place of recorded speech, no recorded noise or room"
        )
        return replace(spoken, name=f"{acoustic}, text alone", asks=asks, changes=changes, voices_alone=True)

    def _case(
        self,
        acoustic: str,
        clips: int,
        spoken: bool,
        confusables: int = 0,
        words: tuple[str, ...] = (),
        which: str = "",
        of: str = "of each word",
        manifest: str = "",
    ) -> Case:
        changes = {**self.common, **({"spoken": self.spoken} if spoken else {})}
        changes |= {"confusables": confusables} if confusables else {}
        parts = [acoustic, which, f"{clips} clips" + " + spoken" * spoken + " + confusables" * bool(confusables)]
        asks = f"{clips} recorded clips {of}"
        asks += f", {self.spoken} spoken" * spoken + f", {confusables} texts that sound alike" * bool(confusables)
        return Case(", ".join(filter(None, parts)), asks, changes, acoustic, clips, words, manifest)


def with_and_without(clips: tuple[int, ...]) -> list[tuple[int, bool]]:
    """Numbers of recorded clips, without spoken ones and with them."""
    return [(number, spoken) for spoken in (False, True) for number in clips]


def read_study(path: Path) -> Study:
    """The study of a TOML file.

    Raises:
        ConfigError: an unknown key, a number that cannot work, or a case that comes twice.
    """
    study = from_dict(Study, read_toml(path), str(path))
    if min((*study.clips, study.confusables), default=0) < 0 or study.spoken < 1:
        raise ConfigError(f"{path}: clips and confusables must be 0 or more, spoken 1 or more")
    if bool(study.personal) != bool(study.personal_clips) or min(study.personal_clips, default=1) < 1:
        raise ConfigError(f"{path}: personal names a word, personal_clips how many of its clips train, 1 or more each")
    settings = study.many, study.many_manifest, study.many_clips
    if len(set(map(bool, settings))) > 1 or min(study.many_clips, default=1) < 1:
        raise ConfigError(
            f"{path}: many names words, many_manifest who says them, many_clips how many train, 1 or more"
        )
    studies.check_names(study.variants, path)
    for case in study.variants:
        probing.training_of(words_of(study, case, seed=1), {**case.changes, "acoustic": case.acoustic})
    return study


def words_of(study: Study, case: Case, seed: int) -> probing.one_hour.Config:
    """The words of a case, and how long they train."""
    changes = {**study.words, **({"words": case.words} if case.words else {})}
    return probing.words_of(study.words_config, changes, study.folder, seed)


def trial(study: Study, case: Case, seed: int) -> dict:
    """Train and test one case with one seed: a line of study.jsonl."""
    words, began = words_of(study, case, seed), cpu_seconds()
    clips, held_out = divided.clips_of(words, case.manifest), HELD_OUT if case.manifest else 0.0
    found = probing.probed(
        case.acoustic,
        words,
        case.changes,
        case.clips,
        clips,
        text_alone=not case.clips,
        held_out=held_out,
        spoken_negatives=case.voices_alone,
    )
    seconds = cpu_seconds() - began
    tests = {word: len(test) for word, (_, test) in divided.divide(clips, held_out).items()}
    line = {"variant": case.name, "seed": seed, "missed": found["missed"], "test_clips": tests}
    line["blocks_trained"] = found["blocks_trained"]
    return {**line, "negative_hours": found["hours"], "cpu_seconds": round(seconds)}


def cpu_seconds() -> float:
    """What this process has used, and the programs that spoke for it."""
    return sum(os.times()[:4])


def write(study: Study, lines: list[dict]) -> list[str]:
    """Write RESULTS.md and the curve; the tables."""
    more = {
        "blocks that train": lambda done: str(done[0]["blocks_trained"] or "none"),
        "CPU seconds": lambda done: f"{statistics.mean(row['cpu_seconds'] for row in done):.0f}",
    }
    groups = [
        [case for acoustic in study.acoustic for case in of(acoustic)]
        for of in (study.curve, study.persons, study.more)
    ]
    curve, persons, many = (studies.table(cases, lines, more) for cases in groups)
    if curve:
        plot(groups[0], lines, PLOT)
    text = [
        "Written by `python recipes/little_data/study.py` (study.toml beside it, a line a trial in study.jsonl). One",
        "head for all words, and as much of the encoder as `--unfreeze auto` says by their number, trained",
        "for less than `wakeword train` does. Missed of the development clips that do",
        f"not train ({tested(groups[0], lines)}), clean and with noise, means over the words with the",
        "range of the seeds, at the threshold that gives so many false alarms per hour in so many hours of speech by",
        "others, in hindsight. A seed chooses the recorded clips, and takes and variation of the spoken ones. Recorded",
        "speech of the recipes' corpora is negative in all trials, also where no clip of the words is recorded, but",
        "for `text alone`. The heads hear neither these speakers nor this noise; the acoustic models have heard nearly",
        "all of both in their pretraining, in all rows alike. Beside those that test no word of the first table has",
        "200 clips: those of the last have.",
        "",
        *(curve or ["No trial is done yet."]),
        "",
        *(["![misses by the number of recorded clips](curve.png)", ""] if curve else []),
    ]
    of_one = (
        f'One speaker\'s own word ("{study.personal}"), tested on other clips of the same: more '
        "noise lies in them than in those above"
    )
    of_many = (
        f"Words with more clips, of `{study.many_manifest}`, tested by speakers whom no head hears. The acoustic "
        "models have heard these very words from most of them: compare the rows with each other alone"
    )
    for told, cases, rows in ((of_one, groups[1], persons), (of_many, groups[2], many)):
        text += [f"{told} ({tested(cases, lines)}):", "", *rows, ""] if rows else []
    studies.write_section("# Little and no data", text[:-1], PAGE)
    return [*curve, "", *persons, "", *many]


def tested(cases: list[Case], lines: list[dict]) -> str:
    """The clips and hours that the rates of cases are of."""
    rows = [row for row in lines if row["variant"] in {case.name for case in cases}]
    counts = {word: count for row in rows for word, count in row["test_clips"].items()}
    hours = " or ".join(sorted({f"{row['negative_hours']:.1f}" for row in rows}))
    clips = ", ".join(f"{count} of {word}" for word, count in counts.items())
    return f"{clips}; {hours} h of speech" if rows else "none yet"


def plot(cases: list[Case], lines: list[dict], path: Path) -> None:
    """Misses over the number of recorded clips, a panel a condition; bars from the least to the most of the seeds.

    Raises:
        WakewordError: matplotlib is not installed.
    """
    figure = blank(figsize=(10, 4), dpi=90)
    conditions = sorted({name for row in lines for word in row["missed"].values() for name in word}, reverse=True)
    cases = [case for case in cases if "confusables" not in case.changes and not case.voices_alone]
    ticks = sorted({case.clips for case in cases})
    for axis, condition in zip(
        figure.subplots(1, len(conditions), sharey=True, squeeze=False)[0], conditions, strict=True
    ):
        for series in dict.fromkeys(case.series for case in cases):
            places, middle, below, above = [], [], [], []
            for case in (case for case in cases if case.series == series):
                rates = [mean_missed(row, condition) for row in lines if row["variant"] == case.name]
                if rates:
                    places.append(ticks.index(case.clips))
                    middle.append(100 * statistics.mean(rates))
                    below.append(middle[-1] - 100 * min(rates))
                    above.append(100 * max(rates) - middle[-1])
            axis.errorbar(places, middle, (below, above), fmt="o-", ms=4, capsize=3, label=series)
        axis.set(title=condition, xlabel="recorded clips of each word", ylabel="missed, %", ylim=(0, None))
        axis.set_xticks(range(len(ticks)), [str(tick) for tick in ticks])
        axis.grid(alpha=0.3)
        axis.legend()
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def mean_missed(row: dict, condition: str) -> float:
    """`studies.missed` at the first of the false alarms per hour."""
    return studies.missed(row, condition, next(iter(next(iter(row["missed"].values()))[condition])))


if __name__ == "__main__":
    sys.exit(
        studies.run(__doc__, HERE / "study.toml", LINES, read_study, trial, write, lambda study, case: case.acoustic)
    )
