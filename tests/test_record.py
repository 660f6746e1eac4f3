"""Guided recording with a recorder, a player and a keyboard that are given."""

import argparse

import numpy as np
import pytest

from data_prep import record as module
from data_prep.cuts import read_cuts
from data_prep.record import problem, record
from wakeword.audio.clips import find_clips
from wakeword.audio.waveform import read_audio
from wakeword.errors import WakewordError

RATE = 16000


def take(peak=0.3, noise=0.001, start=0.7, length=0.8, seconds=2.5):
    """A burst of harmonics, as a phrase is, in the noise of a room."""
    x = noise * np.random.default_rng(1).standard_normal(round(seconds * RATE))
    t = np.arange(round(length * RATE)) / RATE
    voice = sum(np.sin(2 * np.pi * 130 * k * t) / k for k in range(1, 20)) * np.hanning(len(t)) ** 0.3
    at = round(start * RATE)
    x[at : at + len(t)] += peak * voice[: len(x) - at] / np.abs(voice).max()
    return np.clip(x, -1, 1).astype(np.float32)


GOOD, SILENT = take(), np.zeros(40000, np.float32)


class Desk:
    """What a session sees: takes in turn, answers in turn, and what was shown and played."""

    def __init__(self, takes, answers):
        self.takes, self.answers, self.shown, self.played = list(takes), list(answers), [], []

    def recorder(self, seconds, ready):
        assert seconds == 2.5
        ready()
        return self.takes.pop(0)

    def input(self, prompt):
        answer = self.answers.pop(0)
        if isinstance(answer, type):
            raise answer
        return answer

    def session(self, out, n=1, **more):
        more = {"player": self.played.append, "sleep": lambda s: None, **more}
        return record(
            "Hey, Computer", out, n, recorder=self.recorder, input_fn=self.input, say=self.shown.append, **more
        )

    def said(self, text):
        return any(text in line for line in self.shown)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (SILENT, "silence"),
        (take(peak=0.0001, noise=0.00001), "silence"),
        (take(peak=0.008, noise=0.0001), "too quiet"),
        (take(peak=6.0), "clipped"),
        (0.1 * np.random.default_rng(0).standard_normal(40000).astype(np.float32), "no phrase heard"),
        (take(start=0.0), "cut off at the start"),
        (take(start=2.0), "cut off at the end"),
    ],
)
def test_a_bad_take_says_why(samples, reason):
    assert problem(samples).startswith(reason)


@pytest.mark.parametrize("samples", [GOOD, take(peak=0.05), take(peak=0.9), take(noise=0.01)])
def test_a_good_take_has_no_problem(samples):
    assert problem(samples) is None


def test_clips_are_kept_with_their_samples_and_manifest(tmp_path):
    desk = Desk([GOOD, 0.5 * GOOD], ["", "", "k"])
    done = desk.session(tmp_path, n=2, speaker="Ann Lee")
    assert [p.name for p in done.paths] == ["hey-computer_ann-lee_0001.wav", "hey-computer_ann-lee_0002.wav"]
    assert done.complete and done.dropped == 0
    np.testing.assert_allclose(read_audio(done.paths[1]), 0.5 * GOOD, atol=1 / 32768)
    clips = find_clips(done.manifest)
    assert [c.path for c in clips] == done.paths
    assert {(c.speaker, c.text, c.split) for c in clips} == {("Ann Lee", "Hey, Computer", "train")}
    assert desk.said("3") and desk.said("now: Hey, Computer") and desk.said("2 clip(s) kept")


def test_silent_and_clipped_takes_are_repeated_with_the_reason(tmp_path):
    desk = Desk([SILENT, take(peak=6.0), GOOD], ["", "", "r", ""])
    done = desk.session(tmp_path)
    assert len(done.paths) == 1 and done.dropped == 2 and not desk.takes
    assert desk.said("silence: is the microphone muted") and desk.said("clipped (")
    np.testing.assert_allclose(read_audio(done.paths[0]), GOOD, atol=1 / 32768)


def test_a_bad_take_can_be_kept_and_any_be_played(tmp_path):
    desk = Desk([take(peak=6.0)], ["", "p", "what?", "k"])
    done = desk.session(tmp_path)
    assert len(done.paths) == 1 and len(desk.played) == 1 and len(desk.played[0]) == 40000


def test_a_player_that_fails_does_not_end_the_session(tmp_path):
    def player(samples):
        raise WakewordError("it cannot be played (no loudspeaker): connect a loudspeaker")

    desk = Desk([GOOD], ["", "p", "k"])
    assert len(desk.session(tmp_path, player=player).paths) == 1 and desk.said("connect a loudspeaker")


def test_quit_drops_the_take_and_the_count_goes_on_in_the_next_run(tmp_path):
    first = Desk([GOOD, GOOD, GOOD], ["", "", "", "q"]).session(tmp_path, n=5)
    assert len(first.paths) == 2 and not first.complete and first.dropped == 1
    second = Desk([GOOD], ["", ""]).session(tmp_path)
    assert second.paths[0].name == "hey-computer_0003.wav"
    assert [cut["id"][-4:] for cut in read_cuts(second.manifest)] == ["0001", "0002", "0003"]
    # Another speaker has a count of his own, and a gap is not filled.
    first.paths[0].unlink()
    assert Desk([GOOD], ["", ""]).session(tmp_path, speaker="bo").paths[0].name == "hey-computer_bo_0001.wav"
    assert Desk([GOOD], ["", ""]).session(tmp_path).paths[0].name == "hey-computer_0004.wav"


@pytest.mark.parametrize("end", [KeyboardInterrupt, EOFError])
def test_ctrl_c_and_the_end_of_input_keep_what_is_recorded(tmp_path, end):
    done = Desk([GOOD, GOOD], ["", "", end]).session(tmp_path, n=4)
    assert len(done.paths) == 1 and done.paths[0].exists() and not done.complete
    assert len(read_cuts(done.manifest)) == 1


def test_ctrl_c_while_recording(tmp_path):
    desk = Desk([GOOD], ["", ""])
    takes = iter([GOOD])

    def recorder(seconds, ready):
        ready()
        try:
            return next(takes)
        except StopIteration:
            raise KeyboardInterrupt from None

    done = record(
        "hey", tmp_path, 3, input_fn=desk.input, recorder=recorder, say=desk.shown.append, sleep=lambda s: None
    )
    assert [p.name for p in done.paths] == ["hey_0001.wav"]


def test_without_a_keyboard(tmp_path):
    with pytest.raises(WakewordError, match="no keyboard"):
        Desk([], [EOFError]).session(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"phrase": " "}, "no letter or digit"),
        ({"n": 0}, "cannot be recorded"),
        ({"seconds": float("nan")}, "cannot be recorded"),
        ({"seconds": 100}, "cannot be recorded"),
        ({"speaker": "?"}, "give a name"),
    ],
)
def test_wrong_arguments(tmp_path, arguments, message):
    with pytest.raises(WakewordError, match=message):
        record(**{"phrase": "hey", "out_dir": tmp_path, **arguments}, input_fn=lambda p: "", recorder=None)


def test_a_damaged_manifest_is_noticed_before_anything_is_recorded(tmp_path):
    (tmp_path / "recorded_cuts.jsonl.gz").write_bytes(b"\x1f\x8bno")
    desk = Desk([GOOD], ["", ""])
    with pytest.raises(WakewordError, match="recorded_cuts"):
        desk.session(tmp_path)
    assert len(desk.takes) == 1


def test_the_microphone_gives_whole_clips_and_its_loss_is_told(monkeypatch):
    blocks = [np.full(640, 9.0, np.float32)] + [np.full(640, float(i), np.float32) for i in range(20)]
    ready = []
    monkeypatch.setattr(module, "microphone_blocks", lambda device: (b for b in blocks))
    samples = module.from_microphone(0.5, lambda: ready.append(1))
    assert len(samples) == 8000 and samples[0] == 0.0 and samples[-1] == 12.0 and ready == [1]
    blocks[5] = None
    with pytest.raises(WakewordError, match="lost"):
        module.from_microphone(0.5, lambda: None)


def test_the_command(monkeypatch, tmp_path):
    desk = Desk([GOOD, GOOD], ["", "", ""])
    monkeypatch.setattr(module, "from_microphone", lambda seconds, ready, device: desk.recorder(seconds, ready))
    monkeypatch.setattr(module.time, "sleep", lambda s: None)
    monkeypatch.setattr("builtins.input", desk.input)
    parser = argparse.ArgumentParser()
    module.add_arguments(parser)
    result = module.run(parser.parse_args(["hey computer", str(tmp_path), "-n", "2", "--speaker", "Ann"]))
    assert result["clips"] == 2 and result["complete"] and result["dropped"] == 0
    assert result["files"][1].endswith("hey-computer_ann_0002.wav")
