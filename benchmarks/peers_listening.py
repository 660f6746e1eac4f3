"""The engines' processes: their environment, what each makes of a file of samples, and tracks of that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from peers_sensitivities import pseudo_score
from peers_streams import Sound

from wakeword.errors import WakewordError
from wakeword.evaluation.metrics import Track
from wakeword.files import replacing

REQUIREMENTS = Path(__file__).with_name("peers-requirements.txt")
CHILD = Path(__file__).with_name("peers_engines.py")


@dataclass(frozen=True)
class Engine:
    """A detector to compare.

    Attributes:
        name: as --only and the files say it; title: as the report does, with `{version}` for the package's.
        runs: its name in peers_engines.py.
        words: those that it has a model for; None where it can be given any.
        package: of peers-requirements.txt, in whose environment it runs; empty: in this one.
    """

    name: str
    title: str
    runs: str
    words: tuple[str, ...] | None = None
    package: str = ""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def environment(folder: Path, requirements: Path = REQUIREMENTS) -> Path:
    """The Python of the peers' environment, made on first use and when the requirements have changed.

    Raises:
        WakewordError: it cannot be made, or pip fails; what pip said stands in `folder`.log.
    """
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp, wanted = folder / "installed.txt", requirements.read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return python
    say(f"making {folder} from {requirements}")
    try:
        venv.EnvBuilder(clear=True, with_pip=True).create(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        raise WakewordError(f"{folder}: no environment could be made ({error}): install python3-venv") from error
    # Without dependencies: the file names them all, and says why.
    command = [python, "-m", "pip", "install", "--no-deps", "-r", requirements]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        log = folder.with_name(f"{folder.name}.log")
        log.write_text(done.stdout, encoding="utf-8")
        errors = [line for line in done.stdout.splitlines() if line.startswith("ERROR")] or ["no reason given"]
        raise WakewordError(f"{requirements}: pip failed ({errors[0]}): mend it and run this again; all it said: {log}")
    stamp.write_text(wanted, encoding="utf-8")
    return python


def version_of(package: str, requirements: Path = REQUIREMENTS) -> str:
    """The version of a package that the requirements pin; empty if they do not."""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        name, _, version = line.partition(";")[0].partition("==")
        if name.strip() == package:
            return version.strip()
    return ""


def heard(python: Path | str, engine: str, sound: Path, options: dict, out: Path, child: Path = CHILD) -> dict:
    """What an engine makes of a file of samples, as peers_engines.py says; from `out` where it is there already.

    Raises:
        WakewordError: the engine's process failed; with its reason.
    """
    asked = json.dumps(by_content(options), sort_keys=True)
    try:
        with np.load(out) as file:
            found = dict(file)
        if str(found.get("asked")) == asked:
            return found
    except (OSError, ValueError, BadZipFile):
        pass
    began = time.monotonic()
    with replacing(out) as temporary:
        # Isolated (-I), so that neither this folder's modules nor PYTHONPATH stand before the environment's own.
        command = [str(python), "-I", str(child), engine, str(sound), str(temporary), json.dumps(options)]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
            raise WakewordError(f"{engine}: its process, {python}, failed on {sound}: {said}")
        with np.load(temporary) as file:
            found = {**file, "asked": np.array(asked)}
        np.savez(temporary, **found)
    cost = found["cpu_s"] * 3600 / max(1e-9, found["seconds"])
    say(f"  {out.stem}: {time.monotonic() - began:.0f} s, {cost:.1f} CPU s an hour")
    return found


def by_content(options: dict) -> dict:
    """Options with files told by what they hold, so that a model trained anew is heard anew."""
    files = {
        name: sha256(Path(options[name]).read_bytes()).hexdigest() for name in ("model", "head") if name in options
    }
    return {**options, **files}


@dataclass(frozen=True)
class Heard:
    """What an engine made of a stream: its track, CPU seconds for an hour of audio, peak memory in MB."""

    track: Track
    cpu_s_per_hour: float
    peak_mb: float


def listened(
    engine: Engine,
    python: Path | str,
    options: dict,
    sound: Sound,
    folder: Path,
    sensitivities: Sequence[float] = (),
) -> Heard:
    """An engine's scores of a stream; of one that has sensitivities the pseudo-scores of its runs at these, ascending,
    with the mean of their costs."""
    word = options["word"]
    name = f"{engine.name}-{word}-{sound.path.stem.removeprefix(f'{word}-')}"
    asked = [(f"{name}-at-{value:g}", {**options, "sensitivity": value}) for value in sensitivities] or [
        (name, options)
    ]
    runs = [heard(python, engine.runs, sound.path, each, folder / f"{stem}.npz") for stem, each in asked]
    scores = [run["score"] for run in runs]
    score = pseudo_score(scores) if sensitivities else scores[0]
    time_s = float(runs[0]["hop_s"]) * np.arange(1, len(score) + 1)
    return Heard(
        Track(time_s, score.astype(np.float32), sound.hours, sound.starts_s, sound.ends_s),
        float(np.mean([run["cpu_s"] / run["seconds"] * 3600 for run in runs])),
        float(max(run["peak_mb"] for run in runs)),
    )
