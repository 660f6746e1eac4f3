"""Going through kept clips, with a keyboard and a loudspeaker that are given."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from wakeword.cli import main
from wakeword.errors import Skipped, WakewordError
from wakeword.listener.kept import HIT, NEAR_MISS, Bounds, Kept, keep, kept_clips, private_folder
from wakeword.listener.review import review


@pytest.fixture
def folder(tmp_path, speech_like) -> Path:
    """Four clips, hits and near misses."""
    folder = private_folder(tmp_path / "near")
    for index in range(4):
        kind = (HIT, NEAR_MISS)[index % 2]
        keep(folder, speech_like(1, index), Kept("hey you", kind, 0.9, 0.8, 0.5, f"2026-01-0{index + 1}"), Bounds())
    return folder


class Desk:
    """Answers from a list, then the end of the input; what was played and said."""

    def __init__(self, *answers):
        self.answers, self.played, self.lines = list(answers), [], []

    def input(self, prompt):
        if not self.answers:
            raise EOFError
        answer = self.answers.pop(0)
        if isinstance(answer, type):
            raise answer
        return answer

    def session(self, folder, **more):
        more = {"player": self.played.append, **more}
        return review(folder, input_fn=self.input, say=self.lines.append, **more)


def decisions(folder) -> list[str]:
    return [about.decision for _, about in kept_clips(folder, Skipped())]


def test_each_clip_is_played_asked_about_and_decided(folder, speech_like):
    desk = Desk("y", "N", "?", "p", " s ", "yes")
    done = desk.session(folder)
    assert decisions(folder) == ["yes", "no", "skip", "yes"]
    assert done.decided == {"yes": 2, "no": 1, "skip": 1} and done.left == 0 and not done.skipped
    assert len(desk.played) == 5, "each once, and one again"
    for played, index in zip(desk.played, (0, 1, 2, 2, 3), strict=True):
        assert np.abs(played - speech_like(1, index)).max() < 1e-3
    assert sum("'hey you', a near miss, score 0.900 of 0.800" in line for line in desk.lines) == 2


@pytest.mark.parametrize("end", ["q", KeyboardInterrupt, None])
def test_another_session_goes_on_where_one_ended(folder, end):
    first = Desk("y", *filter(None, [end]))
    assert first.session(folder).left == 3
    assert decisions(folder) == ["yes", "", "", ""]
    second = Desk("n", "n", "s")
    assert second.session(folder).left == 0 and len(second.played) == 3
    assert decisions(folder) == ["yes", "no", "no", "skip"]
    assert Desk().session(folder).decided == {"yes": 0, "no": 0, "skip": 0}
    again = Desk("y")
    assert again.session(folder, skipped_again=True).decided["yes"] == 1 and decisions(folder)[3] == "yes"


def test_without_sound_the_place_of_each_clip_is_told_and_the_session_goes_on(folder):
    def player(samples):
        raise WakewordError("it cannot be played: connect a loudspeaker")

    desk = Desk("y", "n", "n", "n")
    desk.session(folder, player=player)
    assert decisions(folder) == ["yes", "no", "no", "no"]
    told = [line for line in desk.lines if "connect a loudspeaker" in line]
    assert len(told) == 4 and str(folder / "000001_hit.wav") in told[0]


def test_clips_that_are_damaged_or_removed_meanwhile_are_passed_over(folder):
    (folder / "000001_hit.wav").write_bytes(b"RIFF")

    class Removing(Desk):
        def input(self, prompt):
            (folder / "000003_hit.wav").unlink(missing_ok=True)
            return super().input(prompt)

    desk = Removing("y", "y")
    done = desk.session(folder)
    assert done.decided["yes"] == 2 and done.left == 0 and len(done.skipped) == 2
    assert [about.decision for _, about in kept_clips(folder, Skipped())] == ["", "yes", "yes"]


def test_a_decision_that_cannot_be_written_leaves_the_sidecar_whole(folder, monkeypatch):
    before = (folder / "000001_hit.json").read_bytes()

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WakewordError, match="No space left.*free space"):
        Desk("y").session(folder)
    assert (folder / "000001_hit.json").read_bytes() == before and len(list(folder.iterdir())) == 8


def test_the_command_says_what_is_missing(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    monkeypatch.setitem(sys.modules, "sounddevice", None)  # no sound
    for where, told in (
        (folder, "no keyboard"),
        (tmp_path / "nowhere", "nowhere: no such folder"),
        (tmp_path, "no kept clips in it"),
    ):
        assert main(["review", str(where)]) == 2
        error = capsys.readouterr().err
        assert told in error.splitlines()[-1] and "Traceback" not in error
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\nn\nq\n"))
    assert main(["review", str(folder), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"yes": 1, "no": 1, "skip": 0, "left": 2, "unusable": {}}
