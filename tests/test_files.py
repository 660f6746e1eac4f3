"""Files that are whole or not there, however the writing ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from wakeword.errors import WakewordError
from wakeword.files import LEFTOVER_AGE_S, check_writable, new_folder, replacing

WRITER = """
import sys, time
from wakeword import cli
from wakeword.files import replacing

@cli.verb("write", "", "", lambda parser: parser.add_argument("path"))
def _write(args):
    with replacing(args.path) as temporary:
        temporary.write_bytes(b"half")
        print(temporary, flush=True)
        time.sleep(60)

sys.exit(cli.main(["write", sys.argv[1]]))
"""


def stopped_while_writing(path: Path, number: int) -> tuple[int, Path]:
    """The exit code of a process that was sent a signal while it wrote, and its temporary file's name."""
    command = [sys.executable, "-c", WRITER, str(path)]
    # A shell's background job, which these tests may be, hands down that SIGINT is ignored.
    heed = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
    writer = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=heed)
    with writer:
        temporary = Path(writer.stdout.readline().strip())
        writer.send_signal(number)
        return writer.wait(timeout=30), temporary


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit, GeneratorExit, ValueError])
def test_a_write_that_ends_early_leaves_the_old_file_and_nothing_else(tmp_path, end):
    path = tmp_path / "training.safetensors"
    path.write_bytes(b"old")
    with pytest.raises(end), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise end
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == [path.name]


@pytest.mark.skipif(sys.platform == "win32", reason="Unix's permissions")
def test_files_get_the_permissions_that_the_umask_leaves_and_it_is_never_set(tmp_path, monkeypatch):
    """Set for a moment to be read, it would hold for what other threads make in it, too."""
    before = os.umask(0o027)
    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", lambda mask: pytest.fail("set"))
        for name, mode in (("usual", None), ("private", 0o600)):
            with replacing(tmp_path / name, mode) as temporary:
                temporary.unlink()  # as a writer that has a temporary file of its own
                temporary.touch(0o644)
    os.umask(before)
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {"usual": 0o640, "private": 0o600}


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="no /proc here")
def test_a_folder_that_takes_no_files_is_told_with_the_remedy():
    for path in ("/proc/model.safetensors", "/proc/none/model.safetensors"):
        with pytest.raises(WakewordError, match=f"{path}: cannot be written .*: free space or choose another place"):
            check_writable(path)


def test_a_place_is_tried_without_touching_what_is_there(tmp_path):
    path = tmp_path / "new" / "model.safetensors"
    check_writable(path)
    assert os.listdir(path.parent) == []
    path.write_bytes(b"old")
    check_writable(path)
    assert path.read_bytes() == b"old" and os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["folder", "file/model", "file/below/model"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(WakewordError, match=f"{name}: cannot be written .*another place") as caught:
        check_writable(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as Unix does")
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_command_that_is_told_to_end_removes_its_temporary_file(tmp_path, number, code):
    assert stopped_while_writing(tmp_path / "training.safetensors", number)[0] == code
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals as Unix does")
def test_what_a_killed_process_left_goes_with_a_later_write_and_nothing_else_does(tmp_path):
    path = tmp_path / "training.safetensors"
    code, left = stopped_while_writing(path, signal.SIGKILL)
    assert code == -signal.SIGKILL and os.listdir(tmp_path) == [left.name]
    fresh = left.with_name(left.name.replace(left.stem[-8:], "abcdefgh"))
    others = [tmp_path / ".training-notes.safetensors", tmp_path / "training-unfinished-abcdefgh.safetensors", fresh]
    old = time.time() - LEFTOVER_AGE_S - 60
    for file in others:
        file.touch()
    for file in (left, *others[:2]):
        os.utime(file, (old, old))
    with replacing(path) as temporary:
        temporary.write_bytes(b"new")
    assert sorted(os.listdir(tmp_path)) == sorted(file.name for file in (path, *others))


@pytest.mark.parametrize("made", [new_folder, replacing])
def test_folders_that_were_not_there_go_with_what_was_refused(tmp_path, made):
    path = tmp_path / "new" / "newer" / "out"
    with pytest.raises(WakewordError, match="too large"), made(path):
        raise WakewordError("too large")
    assert os.listdir(tmp_path) == []
    (tmp_path / "new").mkdir()
    with pytest.raises(WakewordError, match="too large"), made(path):
        (tmp_path / "new" / "newer" / "mine").touch()
        raise WakewordError("too large")
    assert os.listdir(tmp_path / "new" / "newer") == ["mine"], "what another wrote there, or less, is gone"
    with made(path):
        pass
    assert path.exists()


def test_an_error_about_another_file_is_not_told_of_the_folder(tmp_path):
    path = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="other"), new_folder(path):
        (tmp_path / "other").read_bytes()
    with pytest.raises(WakewordError, match=f"{path}: cannot be written"), new_folder(path) as temporary:
        (temporary / "no" / "such").write_bytes(b"")
    assert os.listdir(tmp_path) == []


def test_what_was_left_of_a_folder_goes_with_a_later_one(tmp_path):
    """Whatever stands before it in the listing, and what is no one's but the user's stays."""
    old = time.time() - LEFTOVER_AGE_S - 60
    left = [tmp_path / f".computer-c-unfinished-{number:08}" for number in range(5)]
    for each in left:
        each.mkdir()
        (each / "model.json").touch()
    left.append(tmp_path / ".computer-unfinished-abcdefgh.onnx")
    left[-1].touch()
    (tmp_path / ".computer-c-unfinished-fresh123").mkdir()
    for each in left:
        os.utime(each, (old, old))
    with new_folder(tmp_path / "computer-c"):
        pass
    assert sorted(os.listdir(tmp_path)) == [".computer-c-unfinished-fresh123", "computer-c"]
