"""`wakeword listen` from the command line: what a hit says and to whom, how it ends, what a terminal shows."""

from __future__ import annotations

import io
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")  # the models below are made with it
pytest.importorskip("onnx")

from web import web_server  # noqa: E402

from wakeword.audio.waveform import write_wav  # noqa: E402
from wakeword.cli import main  # noqa: E402
from wakeword.detector.detector import Detector, Hit  # noqa: E402
from wakeword.listener import near_misses, receivers  # noqa: E402
from wakeword.verbs.listen import _stoppable  # noqa: E402

LISTEN = [sys.executable, "-m", "wakeword", "listen"]
SURE = ["--threshold", "1e-6"]


@pytest.fixture
def good(tmp_path, speech_like) -> str:
    write_wav(tmp_path / "good.wav", speech_like(2, 1))
    return str(tmp_path / "good.wav")


@pytest.fixture
def models(model_files, several_files) -> list[str]:
    return [str(model_files[1]), str(several_files[1])]


def pcm(samples: np.ndarray) -> bytes:
    return (samples * 32767).astype("<i2").tobytes()


def test_a_json_line_says_when_what_and_by_which_model(models, good, capsys) -> None:
    assert main(["listen", *models, "--file", good, *SURE, "--json"]) == 0
    said = capsys.readouterr()
    events = [json.loads(line) for line in said.out.splitlines()]
    assert [(event["model"], event["phrase"]) for event in events] == [
        (models[0], "hello"),
        *((models[1], phrase) for phrase in ("one", "two", "three")),
    ]
    for event in events:
        assert set(event) == {"utc", "phrase", "model", "score", "time_s", "delay_s"}
        when = datetime.strptime(event["utc"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
        assert abs(datetime.now(timezone.utc) - when) < timedelta(minutes=5)
        assert event["delay_s"] is None, "a file comes faster than sound"
        assert 0 < event["score"] <= 1 and event["time_s"] == 0.04
    told = said.err.splitlines()
    assert told == [
        "wakeword: 2 models, 2 encoder(s) to run",
        "wakeword: 4 hit(s) in 2.0 s of sound, 0 overrun(s)",
    ]


def test_a_hit_in_raw_samples_says_how_late_it_is(models, speech_like, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=io.BytesIO(pcm(speech_like(1, 1)))))
    assert main(["listen", models[0], "--file", "-", *SURE, "--json"]) == 0
    (event,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    # Its block of 80 ms ends 40 ms after the first score's last sound.
    assert 0.04 <= event["delay_s"] < 10


def test_each_hit_goes_to_the_command_and_to_the_web_address(models, good, tmp_path, capsys) -> None:
    keep = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read()); print('noise')"
    command = shlex.join([sys.executable, "-S", "-c", keep, str(tmp_path / "hits.jsonl")])
    with web_server() as server:
        to = ["--on-hit", command, "--webhook", server.url + "/hit"]
        assert main(["listen", *models, "--file", good, *SURE, "--json", *to]) == 0
    said = capsys.readouterr()
    events = [json.loads(line) for line in said.out.splitlines()]
    assert len(events) == 4
    assert [json.loads(line) for line in (tmp_path / "hits.jsonl").read_text().splitlines()] == events
    assert [event for _, _, event in server.got] == events
    assert "--on-hit: 4 delivered, 0 failed, 0 dropped" in said.err
    assert "--webhook: 4 delivered, 0 failed, 0 dropped" in said.err


def test_receivers_that_hang_or_are_gone_never_stop_the_listening(models, tmp_path, speech_like, monkeypatch, capsys):
    monkeypatch.setattr(receivers, "LIMIT_S", 0.3)
    detector = Detector.load(models[0])
    sound = speech_like(60, 2)
    threshold = float(np.median(detector.scores(sound)[1]))
    write_wav(tmp_path / "long.wav", sound)
    to = ["--on-hit", "sleep 100", "--webhook", "http://127.0.0.1:9/"]
    given = ["listen", models[0], "--file", str(tmp_path / "long.wav"), "--threshold", str(threshold), "--json"]
    assert main(given) == 0
    alone = [json.loads(line)["time_s"] for line in capsys.readouterr().out.splitlines()]
    assert len(alone) > receivers.MOST_WAITING + 5
    assert main([*given, *to]) == 0
    said = capsys.readouterr()
    assert [json.loads(line)["time_s"] for line in said.out.splitlines()] == alone
    told = said.err.splitlines()
    assert len([line for line in told if "--on-hit: killed after 0.3 s" in line]) <= 1, "told for each hit"
    (summary,) = [line for line in told if "--on-hit: " in line and "dropped" in line]
    delivered, failed, dropped = (int(word) for word in summary.replace(",", "").split() if word.isdigit())
    assert delivered == 0 and dropped >= 5 and failed + dropped in (len(alone) - 1, len(alone))
    assert any("--webhook: 127.0.0.1: " in line and "refused" in line for line in told)


@pytest.mark.parametrize("flag, value", [("--on-hit", "no-such-program"), ("--webhook", "ftp://x/y")])
def test_a_receiver_that_cannot_be_is_refused_before_the_listening(models, good, flag, value, capsys) -> None:
    assert main(["listen", models[0], "--file", good, *SURE, flag, value]) == 2
    said = capsys.readouterr()
    assert not said.out and len(said.err.splitlines()) == 1 and flag in said.err


def test_json_times_are_of_milliseconds(models, good, speech_like, monkeypatch, capsys) -> None:
    """The 435th score is known after 435 x 0.04 s, which is 17.400000000000002 in binary."""
    monkeypatch.setattr(Detector, "process", lambda self, samples: [Hit("hello", 0.04 * 435, 0.9)])
    assert main(["listen", models[0], "--file", good, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and all('"time_s": 17.4,' in line for line in lines)


@pytest.mark.parametrize("view", [["--json"], []])
def test_a_reader_that_is_gone_ends_it_and_so_does_a_full_disk(models, good, view) -> None:
    command = [*LISTEN, *models, "--file", good, *SURE, *view]
    given = {"stderr": subprocess.PIPE, "cwd": Path(__file__).parents[1], "timeout": 120}
    ours, theirs = os.pipe()
    os.close(ours)
    gone = subprocess.run(command, stdout=theirs, **given)
    os.close(theirs)
    assert gone.returncode == 1 and b"Traceback" not in gone.stderr and b"hit(s)" not in gone.stderr
    if not Path("/dev/full").exists():
        pytest.skip("NO FULL DEVICE HERE: a full disk is not tested")
    with open("/dev/full", "w") as full:
        told = subprocess.run(command, stdout=full, **given)
    lines = [line for line in told.stderr.decode().splitlines() if "encoder(s) to run" not in line]
    assert told.returncode == 2 and lines == ["wakeword: the output: No space left on device"], told.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_a_summary(models, speech_like, number) -> None:
    command = [*LISTEN, models[0], "--file", "-", *SURE, "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[1]
    ) as process:
        process.stdin.write(pcm(speech_like(1, 1)))
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        process.send_signal(number)
        out, err = process.communicate(timeout=120)  # and closes the input, which alone would end it
    assert process.returncode == 0 and not out and first["phrase"] == "hello"
    told = err.decode().splitlines()
    assert len(told) == 1 and told[0].startswith("wakeword: 1 hit(s) in ") and told[0].endswith(" 0 overrun(s)")


def test_a_signal_waits_until_a_hit_is_told_and_the_next_ends_at_once() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    done = []
    with _stoppable() as uninterrupted:
        while True:
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGTERM)
                done.append("told")
            done.append("went on")
    assert done == ["told"]
    with _stoppable() as uninterrupted, uninterrupted():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("still at it after a second signal")
    with _stoppable():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
        done.append("went on")
    assert done == ["told"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_a_signal_while_receivers_are_waited_for_ends_that_with_the_summary(models, good, monkeypatch, capsys) -> None:
    close, waits = receivers.Receiver.close, []

    def interrupted(self, timeout_s):
        waits.append(timeout_s)
        if len(waits) == 1:
            threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        close(self, timeout_s)

    monkeypatch.setattr(receivers.Receiver, "close", interrupted)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        to = ["--on-hit", "sleep 15", "--webhook", f"http://127.0.0.1:{silent.getsockname()[1]}/"]
        assert main(["listen", models[0], "--file", good, *SURE, *to]) == 0
        told = capsys.readouterr().err.splitlines()  # before the server goes, which the webhook left behind may tell
    assert waits == [receivers.LIMIT_S, 0.0], "one signal ends the wait for all"
    assert told == [
        "wakeword: --on-hit: 0 delivered, 0 failed, 1 dropped",
        "wakeword: --webhook: 0 delivered, 0 failed, 1 dropped",
        "wakeword: 1 hit(s) in 2.0 s of sound, 0 overrun(s)",
    ]


def test_a_signal_while_a_slow_disk_is_waited_for_ends_that_with_the_summary(
    models, good, tmp_path, monkeypatch, capsys
):
    released = threading.Event()
    monkeypatch.setattr(near_misses, "keep", lambda *_: released.wait(60))
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    close = near_misses.NearMisses.close
    monkeypatch.setattr(near_misses.NearMisses, "close", lambda self: (timer.start(), close(self)))
    assert main(["listen", models[0], "--file", good, *SURE, "--save-near-misses", str(tmp_path / "near")]) == 0
    released.set()
    told = capsys.readouterr().err.splitlines()
    assert told[-2].endswith("near, 1 lost") and told[-1].startswith("wakeword: 1 hit(s)")


def in_terminal(command: list[str], sound: bytes) -> str:
    """What a command writes to a terminal that is its standard output."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    shown = []

    def read() -> None:
        try:
            while data := os.read(ours, 4096):
                shown.append(data)
        except OSError:  # Linux ends a terminal so
            pass

    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=theirs, env=environment, cwd=Path(__file__).parents[1]
    )
    os.close(theirs)
    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    process.communicate(sound, timeout=120)
    reader.join(30)
    os.close(ours)
    assert process.returncode == 0
    return b"".join(shown).decode()


def test_a_terminal_gets_a_view_and_lines_if_it_wants(models, speech_like) -> None:
    pytest.importorskip("rich", reason="NO LIVE VIEW: rich is missing (pip install '.[view]')")
    command = [*LISTEN, *models, "--file", "-", "--threshold", "1e-6"]
    shown = in_terminal(command, pcm(speech_like(2, 1)))
    assert "dBFS" in shown and "of 0.000" in shown and "4 hit(s), 0 overrun(s)" in shown and "\x1b[" in shown
    assert all(phrase in shown for phrase in ("hello", "one", "two", "three"))
    plain = in_terminal([*command, "--plain"], pcm(speech_like(2, 1)))
    assert "\x1b" not in plain and [line.split()[2] for line in plain.splitlines()] == ["hello", "one", "two", "three"]
