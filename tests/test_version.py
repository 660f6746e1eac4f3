"""The commit that a card names: that of the source tree, where there is one."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wakeword import __version__, _version


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The module as it would be in another folder, `tmp_path`/wakeword."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    (tmp_path / "wakeword").mkdir()
    copy = Path(shutil.copy(_version.__file__, tmp_path / "wakeword"))
    spec = importlib.util.spec_from_file_location("version_elsewhere", copy)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def git(folder, *arguments):
    own = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *own, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_outside_a_checkout_there_is_no_commit(elsewhere, tmp_path):
    assert elsewhere.__version__ == __version__
    assert elsewhere.commit() == ""
    (tmp_path / ".git").mkdir()
    assert elsewhere.commit() == "", "an empty folder is no checkout"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_in_a_checkout_it_is_its_commit_and_whether_it_was_changed_since(elsewhere, tmp_path, monkeypatch):
    git(tmp_path, "init", "-q")
    assert elsewhere.commit() == "", "nothing is committed yet"
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    first = elsewhere.commit()
    assert re.fullmatch("[0-9a-f]{12}", first) and git(tmp_path, "rev-parse", "HEAD").startswith(first)
    monkeypatch.chdir(tmp_path.parent)
    assert elsewhere.commit() == first, "it hangs on the working folder"
    with open(tmp_path / "wakeword" / "_version.py", "a") as file:
        file.write("# changed\n")
    assert elsewhere.commit() == f"{first}-dirty"
    git(tmp_path, "commit", "-q", "-a", "-m", "second")
    (tmp_path / "RESULTS.md").write_text("1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "third")
    (tmp_path / "RESULTS.md").write_text("2\n")
    assert elsewhere.commit() == git(tmp_path, "rev-parse", "--short=12", "HEAD").strip(), "a result is no code"
    assert elsewhere.commit() not in ("", first)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert elsewhere.commit() == "", "without git"
