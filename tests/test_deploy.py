"""What deploy/ holds: the unit by systemd's own check, the container's command and health check by running them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
UNIT = (DEPLOY / "wakeword.service").read_text()
sys.path.insert(0, str(DEPLOY))

from check import command, copied, instructions, placed  # noqa: E402
from test_listener import FakeSound  # noqa: E402

from wakeword.cli import main  # noqa: E402
from wakeword.errors import WakewordError  # noqa: E402

STEPS = instructions((DEPLOY / "Containerfile").read_text())


@pytest.fixture
def verified(tmp_path):
    """`verified(text)`: what systemd says of a unit, where the command and its settings are installed; its status."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("THE UNIT WAS NOT CHECKED: systemd-analyze is missing (apt install systemd)")
    program = tmp_path / ".local" / "bin" / "wakeword"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)

    def verify(text: str) -> tuple[int, list[str]]:
        unit = tmp_path / "wakeword.service"
        unit.write_text(text)
        env = {**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
        env.pop("XDG_CONFIG_HOME", None)
        done = subprocess.run(
            ["systemd-analyze", "--user", "verify", unit], env=env, capture_output=True, text=True, timeout=60
        )
        return done.returncode, [line for line in done.stderr.splitlines() if "wakeword.service" in line]

    return verify


def test_systemd_accepts_the_unit(verified):
    status, said = verified(UNIT)
    newer = ("RestartSteps", "RestartMaxDelaySec")  # of systemd 254
    assert status == 0 and not [line for line in said if not any(f"'{key}'" in line for key in newer)], said


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("%h/.local/bin/wakeword listen", "%h/.local/bin/wakewort listen"),
        ("Restart=on-failure", "Restart=on-failures"),
        ("NoNewPrivileges=", "NoNewPrivilege="),
    ],
)
def test_systemd_would_tell_of_a_mistake_in_it(verified, right, wrong):
    assert right in UNIT
    status, said = verified(UNIT.replace(right, wrong))
    assert status or len(said) > len(verified(UNIT)[1])


def test_the_unit_waits_for_the_slowest_end_and_does_not_repeat_a_mistake():
    from wakeword.audio import microphone
    from wakeword.listener import near_misses, receivers

    said = dict(line.split("=", 1) for line in UNIT.splitlines() if "=" in line and not line.startswith("#"))
    in_turn_s = microphone.HANGS_AFTER_S + near_misses.LAST_WAIT_S + 2 * receivers.LIMIT_S
    assert int(said["TimeoutStopSec"]) > in_turn_s
    assert said["RestartPreventExitStatus"] == "2" and said["Restart"] == "on-failure"
    assert int(said["SuccessExitStatus"]) == 128 + signal.SIGTERM  # `cli.exit_status` before the listening begins


def test_a_missing_microphone_has_another_status_than_a_mistake(model_files, monkeypatch, capsys):
    for names in ([], ["mic"]):
        monkeypatch.setitem(sys.modules, "sounddevice", FakeSound(names, [], allowed=()))
        assert main(["listen", str(model_files[1])]) == 3
        assert "microphone" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sounddevice", FakeSound(["mic"], [], allowed=()))
    assert main(["listen", str(model_files[1]), "--on-hit", "no-such-program"]) == 2


def test_the_unit_starts_a_command_that_there_is(capsys):
    settings = re.findall(r'^#? ?(\w+)="(.*)"$', (DEPLOY / "listen.env").read_text(), re.MULTILINE)
    models = dict(settings)["MODELS"]
    said = re.search(r"^ExecStart=(.*)$", UNIT, re.MULTILINE)[1].split()
    assert said[1:] == ["listen", "$MODELS", "$OPTIONS"]
    options = [value for name, value in settings if name == "OPTIONS"]
    assert len(options) == 2
    for each in options:
        assert main(["listen", *shlex.split(models), *shlex.split(each)]) == 2
        assert f"{models}: no model file there" in capsys.readouterr().err


def test_the_container_copies_what_there_is_and_is_not_root():
    sources = [
        word for keyword, value in STEPS if keyword == "COPY" and "--from" not in value for word in value.split()
    ]
    assert len(sources) > 6
    assert all((ROOT / word).exists() for word in sources if not word.startswith("/"))
    last = dict(STEPS)
    assert last["USER"] == "wakeword" and any(word == "wakeword" for word in dict(STEPS)["RUN"].split())
    assert [keyword for keyword, _ in STEPS][-2:] == ["ENTRYPOINT", "CMD"]


def test_the_container_starts_a_command_that_there_is(capsys):
    pytest.importorskip("wyoming")
    last = dict(STEPS)
    said = command(last["ENTRYPOINT"]) + command(last["CMD"])
    assert said[0] == "wakeword" and main(said[1:]) == 2
    assert "/models/wakeword.onnx: no model file there" in capsys.readouterr().err


def test_the_health_check_tells_a_server_that_answers_from_others(model_files):
    pytest.importorskip("wyoming")
    asked = [sys.executable, "-S", str(DEPLOY / "healthcheck.py")]
    serve = [sys.executable, "-m", "wakeword", "serve", str(model_files[1]), "--uri", "tcp://127.0.0.1:0"]
    with subprocess.Popen(serve, stderr=subprocess.PIPE, text=True, cwd=ROOT) as server:
        try:
            address = re.search(r"tcp://(\S+)", server.stderr.readline())[1]
            assert subprocess.run([*asked, address]).returncode == 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()
    assert subprocess.run([*asked, address]).returncode == 1
    with socket.create_server(("127.0.0.1", 0)) as other:  # it takes connections and says nothing
        other.settimeout(30)
        asking = subprocess.Popen([*asked, f"127.0.0.1:{other.getsockname()[1]}"])
        connection, _ = other.accept()
        connection.recv(100)
        connection.close()
        assert asking.wait(30) == 1


def test_the_check_of_the_build_reads_a_containerfile(tmp_path):
    text = '# no\nFROM a AS b\nRUN one && \\\n    two\nCOPY x y /opt/z/\nHEALTHCHECK --timeout=3s CMD ["a", "b"]\n'
    steps = instructions(text)
    assert [keyword for keyword, _ in steps] == ["FROM", "RUN", "COPY", "HEALTHCHECK"]
    assert steps[1][1].split() == ["one", "&&", "two"] and command(steps[3][1]) == ["a", "b"]
    assert placed("PATH=/opt/a/bin:$PATH cat '/src[x]' /usr/src", tmp_path) == (
        f"PATH={tmp_path}/opt/a/bin:$PATH cat '{tmp_path}/src[x]' /usr/src"
    )
    (tmp_path / "x").write_text("here")
    (tmp_path / "y").mkdir()
    copied("x y /opt/z/", tmp_path, tmp_path / "root")
    assert (tmp_path / "root/opt/z/x").read_text() == "here"
    with pytest.raises(WakewordError, match="there is no .*gone"):
        copied("gone /opt/", tmp_path, tmp_path / "root")
