"""Clips of hits and near misses: what is kept, how much, for whom to read, and what a full disk does."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wakeword.audio.waveform import SAMPLE_RATE, read_audio, write_wav
from wakeword.cli import main
from wakeword.detector.detector import Hit
from wakeword.detector.trigger import Trigger
from wakeword.errors import Skipped, WakewordError
from wakeword.listener import kept
from wakeword.listener.kept import HIT, NEAR_MISS, Bounds, Kept, decide, keep, kept_clips, private_folder
from wakeword.listener.listener import listen
from wakeword.listener.near_misses import NEAR, NearMisses
from wakeword.model.curve import logit
from wakeword.training.improve_material import reviewed


class Scripted:
    """A detector whose score is what the audio is: the mean of each 40 ms; what is heard is so known to the test."""

    resting = False

    def __init__(self, threshold: float = 0.8, phrases: tuple[str, ...] = ("hello",)):
        self.phrases, self.thresholds = phrases, (threshold,) * len(phrases)
        self.reset()

    def reset(self) -> None:
        self.held, self.frames = np.zeros(0, np.float32), 0
        self.triggers = [Trigger(threshold) for threshold in self.thresholds]

    def scores(self, block):
        held = np.concatenate([self.held, block])
        count = len(held) // 640
        self.held = held[count * 640 :]
        time_s = 0.04 * (self.frames + 1 + np.arange(count))
        self.frames += count
        score = held[: count * 640].reshape(-1, 640).mean(axis=1)
        return time_s, np.repeat(score[:, None], len(self.phrases), axis=1)

    def hits_in(self, time_s, score):
        return [
            Hit(phrase, float(time_s[i]), float(score[i, output]))
            for output, phrase in enumerate(self.phrases)
            for i in self.triggers[output].step(time_s, score[:, output])
        ]


def audio_of(*levels: tuple[float, float]) -> np.ndarray:
    """(level, seconds) one after the other, float32 [samples]."""
    return np.concatenate([np.full(round(seconds * SAMPLE_RATE), level, np.float32) for level, seconds in levels])


@pytest.fixture
def listened(monkeypatch):
    """`listened(folder, audio, *detectors)`: what a listener keeps of a microphone: the recorder, hits, clips."""

    def listen_to(folder, audio, *detectors, size=1280, gap=None, **options):
        detectors = detectors or (Scripted(),)
        blocks: list = [audio[i : i + size] for i in range(0, len(audio), size)]
        if gap is not None:
            blocks.insert(gap, None)  # lost, and back
        monkeypatch.setattr("wakeword.listener.listener.microphone_blocks", lambda *_: iter(blocks))
        recorder = NearMisses(folder, detectors, **options)
        hits = list(listen(list(detectors), keep=recorder))
        recorder.close()
        return recorder, hits, kept_clips(folder, Skipped()) if recorder.kept else []

    return listen_to


def test_a_second_stream_begins_afresh_and_what_went_on_in_the_first_is_kept(tmp_path, monkeypatch):
    detector = Scripted()
    recorder = NearMisses(tmp_path / "near", [detector])
    # The first ends amid a near miss; what is said before 4 s of the second must not be looked for in it.
    for audio in (audio_of((0.1, 3), (0.6, 0.5)), audio_of((0.1, 1), (0.9, 0.4), (0.1, 1))):
        monkeypatch.setattr("wakeword.listener.listener.microphone_blocks", lambda *_, a=audio: iter(np.split(a, 10)))
        list(listen([detector], keep=recorder))
    recorder.close()
    (near_path, near), (hit_path, hit) = kept_clips(tmp_path / "near", Skipped())
    assert [near.kind, hit.kind] == [NEAR_MISS, HIT] and near.stream != hit.stream
    assert near.stream_s == pytest.approx(3.04) and hit.stream_s == hit.at_s == pytest.approx(1.04)
    for path, about, level in ((near_path, near, 0.6), (hit_path, hit, 0.9)):
        samples = read_audio(path)
        at = round(about.at_s * SAMPLE_RATE)
        assert samples[at - 600 : at].mean() == pytest.approx(level, abs=0.01) and samples[: at - 640].max() < 0.11


@pytest.mark.parametrize("size", [160, 1280, 5000])
def test_the_seconds_before_a_hit_and_before_a_near_miss_are_kept(tmp_path, listened, size):
    audio = audio_of((0.1, 6), (0.5, 0.4), (0.1, 4), (0.9, 0.4), (0.1, 3), (0.2, 1), (0.1, 1))
    assert logit(0.8) - NEAR < logit(0.5) and logit(0.2) < logit(0.8) - NEAR  # 0.5 is near, 0.2 is not
    recorder, hits, clips = listened(tmp_path / "near", audio, size=size)
    assert [about.kind for _, about in clips] == [NEAR_MISS, HIT] and recorder.kept == 2 and len(hits) == 1
    (near_path, near), (hit_path, hit) = clips
    assert near.score == pytest.approx(0.5, abs=1e-4) and near.threshold == 0.8 and near.phrase == "hello"
    assert hit.score == pytest.approx(hits[0].score) and hit.utc.endswith("Z") and hit.utc > near.utc
    for path, about, level in ((near_path, near, 0.5), (hit_path, hit, 0.9)):
        samples = read_audio(path)
        assert about.at_s == pytest.approx(4.0, abs=0.001)
        # The first frame of the excursion ends at `at_s`, where the score was known, and the clip goes on to its end.
        at = round(about.at_s * SAMPLE_RATE)
        assert samples[at - 600 : at].mean() == pytest.approx(level, abs=0.01)
        assert samples[: at - 640].max() < 0.11
        assert len(samples) / SAMPLE_RATE == pytest.approx(4.4, abs=0.05 + size / SAMPLE_RATE)


def test_only_their_owner_can_read_folder_and_clips(tmp_path, listened):
    before = os.umask(0)
    try:
        listened(tmp_path / "near", audio_of((0.1, 2), (0.9, 0.4), (0.1, 1)))
    finally:
        os.umask(before)
    assert (tmp_path / "near").stat().st_mode & 0o777 == 0o700
    files = list((tmp_path / "near").iterdir())
    assert len(files) == 2 and {path.stat().st_mode & 0o777 for path in files} == {0o600}
    decide(*kept_clips(tmp_path / "near", Skipped())[0], "yes")
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}


def test_a_folder_that_others_may_read_is_taken_only_if_nothing_is_in_it(tmp_path):
    empty, full = tmp_path / "empty", tmp_path / "full"
    for folder in (empty, full):
        folder.mkdir()
        folder.chmod(0o755)
    (full / "letters.txt").touch()
    assert private_folder(empty).stat().st_mode & 0o777 == 0o700
    with pytest.raises(WakewordError, match="full: others may read this folder.*choose a new one"):
        private_folder(full)
    assert full.stat().st_mode & 0o777 == 0o755
    with pytest.raises(WakewordError, match="letters.txt: cannot be a folder"):
        private_folder(full / "letters.txt")


def test_two_hits_in_one_excursion_are_two_clips_and_the_second_does_not_hold_the_first(tmp_path, listened):
    audio = audio_of((0.1, 5), (0.9, 0.4), (0.6, 1.2), (0.9, 0.4), (0.1, 2))
    _, hits, clips = listened(tmp_path / "near", audio)
    assert len(hits) == 2 and [about.kind for _, about in clips] == [HIT, HIT]
    (_, first), (_, second) = clips
    assert first.at_s == pytest.approx(4.0, abs=0.001)
    assert second.at_s == pytest.approx(hits[1].time_s - hits[0].time_s, abs=0.001)


def test_a_score_that_stays_near_is_one_clip_and_one_that_flutters_few(tmp_path, listened):
    _, _, clips = listened(tmp_path / "stays", audio_of((0.1, 5), (0.6, 30), (0.1, 2)))
    assert len(clips) == 1 and len(read_audio(clips[0][0])) < 7 * SAMPLE_RATE
    flutter = audio_of(*[(0.6, 0.08), (0.1, 0.08)] * 50)  # 8 s
    _, _, clips = listened(tmp_path / "flutters", flutter)
    assert 5 <= len(clips) <= 8


def test_each_phrase_of_each_detector_is_watched_on_its_own(tmp_path, listened):
    audio = audio_of((0.1, 2), (0.9, 0.4), (0.1, 1))
    _, hits, clips = listened(tmp_path / "near", audio, Scripted(0.8), Scripted(0.95, ("yes", "no")))
    found = [(about.phrase, about.kind) for _, about in clips]
    assert sorted(found) == [("hello", HIT), ("no", NEAR_MISS), ("yes", NEAR_MISS)] and len(hits) == 1


def test_a_recording_is_heard_at_once_and_its_clips_are_apart_all_the_same(tmp_path, listened):
    """Two phrases, both heard three times in a minute of sound, which is a moment by the clock."""
    times = ("no", "no"), ("yes", "yes"), ("no", "yes")
    audio = audio_of(*[part for _ in times for part in ((0.1, 20), (0.9, 0.4))], (0.1, 2))
    detectors = [Scripted(0.8, (name,)) for name in ("one", "two")]
    _, hits, clips = listened(tmp_path / "near", audio, *detectors)
    known = sorted((hit.time_s, hit.phrase) for hit in hits)
    found = sorted((about.stream_s, about.phrase) for _, about in clips)
    assert [name for _, name in found] == [name for _, name in known] == ["one", "two"] * 3
    assert [when for when, _ in found] == pytest.approx([when for when, _ in known], abs=0.001)
    assert len({about.stream for _, about in clips}) == 1
    for path, about in clips:
        decide(path, about, times[round(about.stream_s // 20.4)][["one", "two"].index(about.phrase)])
    skipped = Skipped()
    confirmed, refused = reviewed(str(tmp_path / "near"), ["one", "two"], skipped)
    # The third is of both phrases; the first and the second lie 20 s apart.
    assert [len(confirmed[name]) for name in ("one", "two")] == [1, 2]
    assert sorted(about.phrase for _, about in refused) == ["one", "two"] and len(skipped) == 1


def test_clips_of_two_recordings_are_apart_and_old_sidecars_go_by_the_clock(tmp_path, listened):
    folder = tmp_path / "near"
    audio = audio_of((0.1, 3), (0.9, 0.4), (0.1, 2))
    for name in ("one", "two"):
        _, _, clips = listened(folder, audio, Scripted(0.8, (name,)))
    assert len({about.stream for _, about in clips}) == 2
    for (path, about), decision in zip(clips, ("no", "yes"), strict=True):
        decide(path, about, decision)
    assert len(reviewed(str(folder), ["one", "two"], Skipped())[1]) == 1
    for path, _ in clips:  # as written before there were streams
        said = json.loads(path.with_suffix(".json").read_text())
        old = {key: value for key, value in said.items() if not key.startswith("stream")}
        path.with_suffix(".json").write_text(json.dumps(old))
    assert reviewed(str(folder), ["one", "two"], Skipped())[1] == []


def test_a_lost_microphone_and_the_end_keep_what_was_going_on(tmp_path, listened):
    audio = audio_of((0.1, 2), (0.6, 0.16))
    recorder, _, clips = listened(tmp_path / "near", np.concatenate([audio, audio]), gap=27)
    assert [about.kind for _, about in clips] == [NEAR_MISS] * 2 and recorder.kept == 2
    assert clips[0][1].stream != clips[1][1].stream
    # Nothing of before the loss is in the second one.
    assert clips[1][1].at_s == pytest.approx(2.04, abs=0.001)


def about(index: int = 0, kind: str = HIT) -> Kept:
    return Kept("hello", kind, 0.9, 0.8, 1.0, f"2026-01-01T00:00:{index:02d}.000Z")


def test_the_folder_is_bounded_in_count_and_the_oldest_go_first(tmp_path):
    folder = private_folder(tmp_path / "near")
    (folder / "notes.txt").write_text("mine")
    for index in range(7):
        keep(folder, np.zeros(16000, np.float32), about(59 - index), Bounds(clips=3))  # a clock that runs backwards
        assert len(list(folder.glob("*.wav"))) <= 3
    clips = kept_clips(folder, Skipped())
    assert [path.name for path, _ in clips] == ["000005_hit.wav", "000006_hit.wav", "000007_hit.wav"]
    assert len(list(folder.iterdir())) == 7 and (folder / "notes.txt").read_text() == "mine"


def test_listeners_that_fill_one_folder_at_once_keep_each_its_own(tmp_path, monkeypatch):
    folder = private_folder(tmp_path / "near")
    before = kept._stems(folder)
    monkeypatch.setattr(kept, "_stems", lambda _: before)  # as both see it: the other one's clip comes a moment later
    for level in (0.1, 0.2):
        said = Kept(f"{level}", HIT, 0.9, 0.8, 1.0, "")
        keep(folder, np.full(16000, level, np.float32), said, Bounds())
    monkeypatch.undo()
    clips = kept_clips(folder, Skipped())
    assert [float(said.phrase) for _, said in clips] == [0.1, 0.2]
    assert [read_audio(path).mean() for path, _ in clips] == pytest.approx([0.1, 0.2], abs=1e-3)


def test_the_folder_is_bounded_in_size(tmp_path):
    folder, most = private_folder(tmp_path / "near"), 1_000_000
    for _ in range(12):
        keep(folder, np.zeros(4 * 16000, np.float32), about(), Bounds(clips=100, megabytes=1))
        assert sum(path.stat().st_size for path in folder.iterdir()) <= most
    assert len(kept_clips(folder, Skipped())) == 7  # of 128 kB each
    # What a killed process left half is removed in its turn, and is no clip.
    (folder / "000001_hit.json").write_text("{")
    (folder / "000002_near-miss.wav").write_bytes(b"x" * 500_000)
    skipped = Skipped()
    assert len(kept_clips(folder, skipped)) == 7 and list(map(os.path.basename, skipped.reasons)) == [
        "000002_near-miss.wav"
    ]
    keep(folder, np.zeros(4 * 16000, np.float32), about(), Bounds(clips=100, megabytes=1))
    assert not (folder / "000001_hit.json").exists() and not (folder / "000002_near-miss.wav").exists()


FULL_DISK = """
import resource, sys
from wakeword.cli import main

# More than a sidecar, less than a clip: a real short write.
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sys.exit(main(["listen", sys.argv[1], "--file", sys.argv[2], "--threshold", "0.6", "--save-near-misses", sys.argv[3]]))
"""


@pytest.fixture
def recording(tmp_path, speech_like) -> Path:
    write_wav(tmp_path / "long.wav", speech_like(9, 1))
    return tmp_path / "long.wav"


@pytest.mark.skipif(sys.platform == "win32", reason="limits the size of files as Unix does")
def test_a_full_disk_is_one_warning_and_listening_goes_on(tmp_path, model_files, recording):
    command = [sys.executable, "-c", FULL_DISK, str(model_files[1]), str(recording), str(tmp_path / "near")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=Path(__file__).parents[1])
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 1, "the hits are told all the same"
    assert done.stderr.count("a clip was not kept") == 1 and "File too large" in done.stderr
    lost = re.search(r"0 clip\(s\) kept in .*, (\d+) lost", done.stderr)
    assert lost and int(lost[1]) >= 2 and "Traceback" not in done.stderr, done.stderr
    assert list((tmp_path / "near").iterdir()) == [], "half a clip was left"


def test_many_clips_that_cannot_be_written_are_told_once(tmp_path):
    told: list[str] = []
    detector = Scripted()
    recorder = NearMisses(tmp_path / "near", [detector], on_status=told.append)
    (tmp_path / "near").rmdir()
    (tmp_path / "near").touch()  # a file in its place: nobody can write there, not even root
    audio = audio_of(*[(0.1, 1.2), (0.9, 0.2)] * 5, (0.1, 1))
    hits = []
    for block in np.split(audio, 100):
        recorder.hear(block)
        hits += recorder.process(detector, block)
    recorder.close()
    assert len(hits) == 5 and recorder.lost == 5 and recorder.kept == 0
    assert len(told) == 1 and "near" in told[0] and "listening goes on" in told[0]


def test_listen_keeps_nothing_unless_asked_and_tells_of_privacy_once(tmp_path, model_files, recording, capsys):
    """With a real model and a real file; the scores are of random weights."""
    there = set(tmp_path.iterdir())
    command = ["listen", str(model_files[1]), "--file", str(recording), "--threshold", "0.6"]
    assert main(command) == 0
    plain = capsys.readouterr()
    assert set(tmp_path.iterdir()) == there and "kept" not in plain.err
    assert main([*command, "--save-near-misses", str(tmp_path / "near"), "--keep-clips", "4"]) == 0
    said = capsys.readouterr()
    assert said.out == plain.out, "the hits are the same"
    assert said.err.count("tell those who are heard") == 1
    clips = kept_clips(tmp_path / "near", Skipped())
    assert 1 <= len(clips) <= 4
    whole = read_audio(recording)
    for path, each in clips:
        samples = read_audio(path)
        first = samples[:400]
        places = np.flatnonzero(np.abs(np.lib.stride_tricks.sliding_window_view(whole, 400) - first).max(axis=1) < 1e-3)
        assert len(places) and each.at_s <= 4.0 and len(samples) <= 7 * SAMPLE_RATE
    assert any(each.kind == HIT for _, each in clips) == bool(plain.out)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"decision": "perhaps"}, "decision = 'perhaps'"),
        ({"kind": "miss"}, "kind = 'miss'"),
        ({"at_s": "late"}, "at_s = 'late'"),
        ({"mood": 1}, "unknown key 'mood'"),
    ],
)
def test_a_sidecar_that_cannot_be_is_passed_over_and_named(tmp_path, change, told):
    folder = private_folder(tmp_path / "near")
    good = keep(folder, np.zeros(16000, np.float32), about(), Bounds())
    bad = keep(folder, np.zeros(16000, np.float32), about(), Bounds()).with_suffix(".json")
    bad.write_text(json.dumps({**json.loads(bad.read_text()), **change}))
    skipped = Skipped()
    assert [path for path, _ in kept_clips(folder, skipped)] == [good] and told in skipped.summary()
