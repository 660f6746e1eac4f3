"""What a build of the Containerfile does, without a container: `python deploy/check.py`, in the repository's root.

Its COPY and RUN steps are made in order in a temporary folder, which stands for the image's root; a step that makes
users is told and left out. Then the image's command serves a model there, and its health check asks it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "benchmarks")]

from wakeword.cli import exit_status, say  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402

CONTAINERFILE = HERE / "Containerfile"
IMAGE_PATHS = ("/src", "/opt", "/models")
STARTS_WITHIN_S = 60.0


def instructions(text: str) -> list[tuple[str, str]]:
    """The instructions of a Containerfile in order, as (keyword, the rest); continued lines are joined."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    whole = "\n".join(lines).replace("\\\n", " ")
    return [(line.split()[0].upper(), line.split(maxsplit=1)[1].strip()) for line in whole.splitlines()]


def command(text: str) -> list[str]:
    """Of an ENTRYPOINT, CMD or HEALTHCHECK: the JSON list at its end."""
    return json.loads(text[text.index("[") :])


def copied(value: str, context: Path, root: Path) -> None:
    """Make a COPY step.

    Raises:
        WakewordError: a source is not there.
    """
    words = value.split()
    from_stage = words[0].startswith("--from=")
    *sources, target = words[1:] if from_stage else words
    for source in sources:
        path = Path(placed(source, root)) if from_stage else context / source
        if not path.exists():
            raise WakewordError(f"COPY {value}: there is no {path}: mend the Containerfile")
        to = Path(placed(target, root))
        if from_stage and to == path:  # one root stands for all stages
            continue
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, to, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
        elif target.endswith("/"):
            to.mkdir(exist_ok=True)
            shutil.copy2(path, to / path.name)
        else:
            shutil.copy2(path, to)


def placed(text: str, root: Path) -> str:
    """A command or path of the image with its absolute paths in `root`."""
    return re.sub(rf"(?<![\w.])(?={'|'.join(IMAGE_PATHS)}\b)", str(root), text)


def built(steps: list[tuple[str, str]], context: Path, root: Path) -> dict[str, str]:
    """Make all steps in `root`; the environment of the image's processes.

    Raises:
        WakewordError: a step fails.
    """
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    # The Python that made the present environment, as an image's own.
    env["PATH"] = f"{Path(sys.base_prefix) / 'bin'}:{env['PATH']}"
    for keyword, value in steps:
        if keyword == "COPY":
            copied(value, context, root)
        elif keyword == "RUN" and value.startswith("useradd"):
            say(f"left out: RUN {value}", "check")
        elif keyword == "RUN":
            say(f"RUN {value}", "check")
            if status := subprocess.run(["sh", "-ec", placed(value, root)], env=env, stdout=sys.stderr).returncode:
                raise WakewordError(f"RUN {value}: ended with status {status}: its message stands above")
        elif keyword == "ENV":
            for setting in value.split():
                name, _, content = placed(setting, root).partition("=")
                env[name] = content.replace("$PATH", env["PATH"])
    return env


def served(steps: list[tuple[str, str]], env: dict[str, str], root: Path) -> None:
    """Start the image's command and ask its health until it is well; then stop it.

    Raises:
        WakewordError: it is not well within a minute, is well without a server, or does not end in order.
    """
    last = dict(steps)
    said = [placed(word, root) for word in (*command(last["ENTRYPOINT"]), *command(last["CMD"]))]
    # Here it is this machine that would be open to all: its loopback, and a port that nobody has.
    said[-1] = "tcp://127.0.0.1:0"
    program = shutil.which(said[0], path=env["PATH"])
    if program is None or not program.startswith(str(root)):
        raise WakewordError(f"ENTRYPOINT {said[0]}: found {program}, and not one that the build installed")
    health = [placed(word, root) for word in command(last["HEALTHCHECK"])]
    with subprocess.Popen([program, *said[1:]], env=env, cwd=root, stderr=subprocess.PIPE, text=True) as server:
        try:
            line = server.stderr.readline()
            found = re.search(r"tcp://(127\.0\.0\.1:\d+)", line)
            if not found:
                raise WakewordError(f"{' '.join(said)}: did not begin to serve: {line.strip() or 'it said nothing'}")
            asked = [*health, found[1]]
            ends = time.monotonic() + STARTS_WITHIN_S
            while (status := subprocess.run(asked, env=env, cwd=root).returncode) and time.monotonic() < ends:
                time.sleep(1)
            server.send_signal(signal.SIGTERM)
            ended = server.wait(30)
        finally:
            server.kill()
    if status or ended:
        raise WakewordError(f"the health check gave {status}, the server's end {ended}: both should be 0")
    if subprocess.run(asked, env=env, cwd=root).returncode == 0:
        raise WakewordError("the health check is content without a server")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, metavar="FILE.onnx", help="to serve (one with random weights)")
    args = parser.parse_args()
    steps = instructions(CONTAINERFILE.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "root"
        (root / "models").mkdir(parents=True)
        env = built(steps, HERE.parent, root)
        if args.model is None:
            from speed import random_model

            from wakeword.export import export_onnx

            export_onnx(random_model("micro", 1, Path(name)), root / "models" / "wakeword.onnx")
        else:
            shutil.copy2(args.model, root / "models" / "wakeword.onnx")
        served(steps, env, root)
    say("the steps of the Containerfile work, its command serves and is healthy", "check")


if __name__ == "__main__":
    sys.exit(exit_status(main, "check"))
