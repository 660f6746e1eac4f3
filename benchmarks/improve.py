"""What `wakeword improve` brings on real speech: a detector of a few clips listens, is corrected, and trains on that.

    python recipes/pretrain/prepare.py --shared FOLDER --out exp/manifests
    python benchmarks/improve.py exp/manifests --word alexa

As a user would, command by command: `train` on `--clips` clips of the word, and `calibrate`; `listen
--save-near-misses` to the word said by others in noise, and to an hour of other speech; a review, which the truth makes
here in place of an ear; `improve`, with the threshold chosen on what `calibrate` had. Both models are then tested on
clips, noise and speakers that neither has heard, nor the listener.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from machine import about, add_outputs, machine, markdown, publish  # noqa: E402

from data_prep.cuts import read_cuts, write_cuts  # noqa: E402
from wakeword import cli  # noqa: E402
from wakeword.audio.clips import find_clips, for_testing, share_of  # noqa: E402
from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.detector.detector import Detector  # noqa: E402
from wakeword.errors import Skipped, WakewordError  # noqa: E402
from wakeword.evaluation.evaluate import evaluate  # noqa: E402
from wakeword.evaluation.report import false_alarms_text, missed_text  # noqa: E402
from wakeword.evaluation.streams import Event, join, negative_stream, noise_bed, positive_stream  # noqa: E402
from wakeword.listener.kept import NO, YES, decide, kept_clips  # noqa: E402
from wakeword.training.guard import table  # noqa: E402

LATE_S = 1.0
"""A hit so long after a clip's end still is of it."""
MORE_HOURS = ("speechocean762", "librispeech-audio")
"""Of these the part for testing, beside VoxForge's other speakers."""
HEARD, EVENINGS = 0.4, 0.25
"""Of VoxForge's speakers, by a hash, those whom the listener hears, and those on whom thresholds are chosen."""
TRAINING_NOISE = ("noise-esc10", "noise-speech-commands")


class Manifests:
    """The recipes' manifests, and parts of them in a folder of its own."""

    def __init__(self, given: Path, folder: Path):
        self.given, self.folder = given, folder

    def path(self, name: str) -> str:
        return str(self.given / f"{name}_cuts.jsonl.gz")

    def cuts(self, name: str) -> list[dict]:
        found = read_cuts(Path(self.path(name)))
        if not found:
            raise WakewordError(f"{self.path(name)}: no such manifest: run recipes/pretrain/prepare.py")
        return found

    def part(self, name: str, cuts: Iterable[dict]) -> str:
        path = self.folder / f"{name}.jsonl.gz"
        write_cuts(path, cuts)
        return str(path)


def divided(cuts: list[dict], count: int) -> tuple[list[dict], list[dict], list[dict]]:
    """A word's clips: the first `count` to train on, the rest of that half to be said at home, and those that test;
    the copies of a recording are on one side."""
    group = {cut["id"]: cut["custom"].get("group", cut["id"]) for cut in cuts}
    training = [cut for cut in cuts if cut["custom"]["split"] == "train"]
    own, own_groups = training[:count], {group[cut["id"]] for cut in training[:count]}
    home = [cut for cut in training[count:] if group[cut["id"]] not in own_groups]
    known = own_groups | {group[cut["id"]] for cut in home}
    tests = [cut for cut in cuts if cut["custom"]["split"] == "test" and group[cut["id"]] not in known]
    if min(map(len, (own, home, tests))) == 0 or len(own) < count:
        raise WakewordError(f"{len(training)} clips to train on are too few for --clips {count} and others at home")
    return own, home, tests


def run(*arguments: str) -> str:
    """A command of wakeword; what it printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        status = cli.main([*arguments])
    if status and not printed.getvalue():  # a refusal by `improve` prints its report, others have told why
        raise SystemExit(status)
    return printed.getvalue()


def reviewed(folder: Path, said: Callable[[float], bool]) -> Counter:
    """Decide on every clip that is undecided: by kind and decision, how many."""
    skipped, found = Skipped(), Counter()
    for path, told in kept_clips(folder, skipped):
        if not told.decision:
            answer = YES if said(told.stream_s) else NO
            decide(path, told, answer)
            found[f"{told.kind}, {answer}"] += 1
    return found


def within(events: Sequence[Event]) -> Callable[[float], bool]:
    """Whether a time of a stream, in seconds, is in one of its clips or just behind."""
    starts, ends = (np.array([getattr(event, edge) for event in events]) for edge in ("start_s", "end_s"))
    return lambda time_s: bool(((starts < time_s) & (time_s <= ends + LATE_S)).any())


def listened(model: Path, recording: Path, samples: np.ndarray, kept: Path) -> None:
    write_wav(recording, samples)
    run("listen", str(model), "--file", str(recording), "--save-near-misses", str(kept), "--json")
    recording.unlink()


def row(name: str, report: dict) -> list[dict]:
    """The table's rows of a model: at its own threshold, and in hindsight at one for so many false alarms an hour."""
    found = []
    for point in report["operating_points"]:
        rate = point["asked_fa_per_hour"]
        each = {"model": name, "threshold": "its own" if rate is None else f"hindsight, {rate:g} FA/h"}
        each |= {f"missed, {heard}": missed_text(told) for heard, told in point["conditions"].items()}
        found.append(each | {"false alarms": false_alarms_text(point["false_alarms"]["clean"])})
    return found


def page(found: dict) -> str:
    """The report as Markdown."""
    heard = found["heard"]
    return "\n".join(
        [
            about(found["machine"]),
            "",
            f"'{found['word']}' on `{found['acoustic']}`, from {heard['own']} clips. Listened to {heard['home']} clips "
            f"of others at {found['snr_db']:g} dB and {heard['home_hours']:.2f} h of other speech. Kept and reviewed: "
            f"{', '.join(f'{count} {kind}' for kind, count in found['kept'].items()) or 'none'}. "
            f"The new model was {'written' if found['written'] else 'refused: ' + '; '.join(found['worse'])}.",
            "",
            markdown(found["rows"]),
            "",
            "What `improve` said:",
            "",
            "```",
            *(line for each in found["phrases"] for line in table(each, each["fa_per_hour_budget"])),
            "```",
        ]
    )


def measured(said: argparse.Namespace, folder: Path) -> dict:
    manifests = Manifests(said.manifests, folder)
    own, home, tests = divided(manifests.cuts(f"wakewords-{said.word}"), said.clips)
    speakers = manifests.cuts("voxforge")
    share = {cut["id"]: share_of(cut["supervisions"][0]["speaker"]) for cut in speakers}
    at_home = [cut for cut in speakers if share[cut["id"]] < HEARD]
    evenings = [
        {**cut, "custom": {**cut["custom"], "split": "dev"}}
        for cut in speakers
        if HEARD <= share[cut["id"]] < HEARD + EVENINGS
    ]
    strangers = [cut for cut in speakers if share[cut["id"]] >= HEARD + EVENINGS]
    strangers += [cut for name in MORE_HOURS for cut in manifests.cuts(name) if cut["custom"]["split"] == "test"]
    parts = {"own": own, "home": home, "tests": tests, "at_home": at_home, "evenings": evenings, "strangers": strangers}
    path = {name: manifests.part(name, cuts) for name, cuts in parts.items()}

    given = ["--positives", path["own"], "--negatives", *map(manifests.path, said.negatives)]
    given += ["--noise", *map(manifests.path, TRAINING_NOISE), "--threads", str(said.threads)]
    old, new, kept = (folder / name for name in ("old.wakeword", "new.wakeword", "kept"))
    run("train", "--phrase", said.word, *given, "--acoustic", said.acoustic, "--output", str(old))
    run("calibrate", str(old), "--negatives", path["evenings"], "--budget", "0.5/h")

    skipped = Skipped()
    noise = for_testing(find_clips([manifests.path(TRAINING_NOISE[0])]))
    bed = noise_bed([*noise[::2], *find_clips([manifests.path("noise-street")])], skipped)
    room = join(positive_stream(find_clips([path["home"]]), noise=bed, snr_db=said.snr))
    listened(old, folder / "home.wav", room.samples, kept)
    decided = reviewed(kept, within(room.events))
    others = join(negative_stream(find_clips([path["at_home"]])))
    listened(old, folder / "others.wav", others.samples, kept)
    decided += reviewed(kept, lambda _: False)

    tested = ["--test-positives", path["tests"], "--test-negatives", path["strangers"], "--dev", path["evenings"]]
    done = json.loads(run("improve", str(old), str(kept), *given, *tested, "--output", str(new), "--json"))
    clips, hours = find_clips([path["tests"]]), find_clips([path["strangers"]])
    conditions = {"noise": noise[1::2], "snrs": (None, said.snr), "fa_rates": (0.5,)}
    rows = []
    for name, model in (("before", old), ("after", new)):
        if model.exists():
            report = evaluate(Detector.load(model), clips, hours, **conditions, progress=cli.bar(), skipped=skipped)
            rows += row(name, report)
    heard = {"own": len(own), "home": len(home), "home_hours": sum(e.end_s - e.start_s for e in others.events) / 3600}
    told = {"word": said.word, "acoustic": said.acoustic, "snr_db": said.snr, "heard": heard, "kept": decided}
    return {**told, "written": done["written"], "worse": done["worse"], "phrases": done["phrases"], "rows": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifests", type=Path, help="the folder that recipes/pretrain/prepare.py filled")
    parser.add_argument("--word", default="alexa", help="(alexa)")
    parser.add_argument("--acoustic", default="micro", help="(micro)")
    parser.add_argument("--clips", type=cli.number(least=3), default=10, help="of the word, to train on (10)")
    parser.add_argument(
        "--snr", type=cli.number(float), default=10.0, metavar="DB", help="at home, and in the test (10)"
    )
    parser.add_argument(
        "--negatives", nargs="+", default=["librispeech", "speechocean762", "kathleen"], help="manifests that train"
    )
    parser.add_argument("--threads", type=cli.number(least=1), default=1)
    add_outputs(parser)
    said = parser.parse_args()
    found = {"machine": machine()}
    with TemporaryDirectory() as folder:
        found |= measured(said, Path(folder))
    publish(found, page, said)


if __name__ == "__main__":
    raise SystemExit(cli.exit_status(main))
