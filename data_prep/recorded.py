"""A folder of recorded clips of a phrase: what makes a good one, their names, their manifest."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np

from data_prep.cuts import mono_cut, read_cuts, write_cuts
from data_prep.synthesise import check_phrase
from wakeword.audio.waveform import SAMPLE_RATE, SILENT_DBFS, quality, write_wav
from wakeword.errors import WakewordError
from wakeword.files import check_writable

SECONDS = 2.5
MOST_SECONDS = 30.0
MOST_CLIPS = 5000  # of one phrase in one folder: more than anybody says, few enough for a disk
FILE_MODE, FOLDER_MODE = 0o600, 0o700  # a voice is its speaker's own
QUIET_DBFS = -35.0  # a peak below this leaves 16-bit speech near the noise of most microphones
CLIPPED = 0.001  # of the samples: a single overloaded vowel
OVER_ROOM_DB = 12.0  # the loudest 25 ms over the quietest fifth
EDGE_S, EDGE_DB = 0.05, 12.0  # speech as loud as this below the loudest, this near an end, is cut off


def problem(samples: np.ndarray) -> str | None:
    """Why a take, float32 [samples] at 16 kHz, should be repeated, in words for who speaks; None if it is good."""
    found = quality(samples)
    if found.peak_dbfs < SILENT_DBFS:
        return "silence: is the microphone muted, or the wrong one?"
    if found.clipped_fraction > CLIPPED:
        return f"clipped ({found.clipped_fraction:.1%} of the samples): move back, or turn the gain down"
    if found.peak_dbfs < QUIET_DBFS:
        return f"too quiet (peak {found.peak_dbfs:.0f} dBFS): come nearer, or turn the gain up"
    size = SAMPLE_RATE // 40
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1e-12)
    loudest = level.max()
    if loudest - np.quantile(level, 0.2) < OVER_ROOM_DB:
        return "no phrase heard over the noise of the room: speak louder, or find a quieter place"
    edge = round(EDGE_S * SAMPLE_RATE / size)
    if level[:edge].max() > loudest - EDGE_DB:
        return "cut off at the start: wait for 'now'"
    if level[-edge:].max() > loudest - EDGE_DB:
        return "cut off at the end: begin sooner after 'now', or record longer clips"
    return None


class ClipFolder:
    """Clips of one phrase in a folder, `PHRASE_0001.wav` (`PHRASE_SPEAKER_0001.wav` with a speaker), 16 kHz mono.

    The count goes on from what is there. The manifest, `recorded_cuts.jsonl.gz`, is written after each clip. Clips can
    be read by their owner alone.

    Attributes:
        text, speaker, seconds: what is said, by whom (or None), and how long a clip is.
        folder, manifest: where they lie.
    """

    def __init__(
        self, folder: str | os.PathLike, phrase: str, speaker: str | None = None, seconds: float = SECONDS
    ) -> None:
        """Take a folder as it is; it is made with the first clip.

        Raises:
            WakewordError: the phrase, the speaker's name or `seconds` is no good, the folder cannot be listed, or its
                manifest is damaged.
        """
        self.text = check_phrase(phrase)
        if not 0.5 <= seconds <= MOST_SECONDS:
            raise WakewordError(f"clips of {seconds:g} s cannot be recorded: give 0.5 to {MOST_SECONDS:g} s")
        if speaker is not None and not _slug(speaker):
            raise WakewordError(f"the speaker {speaker!r} has no letter or digit: give a name")
        self.speaker, self.seconds = speaker, seconds
        self.folder = Path(folder).expanduser().resolve()
        self.manifest = self.folder / "recorded_cuts.jsonl.gz"
        self._cuts = read_cuts(self.manifest)
        self._stem = "_".join(filter(None, [_slug(self.text), _slug(speaker or "")]))
        self._last = self._last_number()

    def check_writable(self) -> None:
        """Make the folder, and refuse now what would be refused once someone has spoken.

        Raises:
            WakewordError: the folder cannot be made or written.
        """
        self._make()
        check_writable(self.folder / f"{self._stem}.wav")

    def keep(self, samples: np.ndarray) -> Path:
        """Write a clip, float32 [samples], whole or not at all.

        Raises:
            WakewordError: it cannot be written, or the folder holds `MOST_CLIPS` of this phrase.
        """
        if len(self.clips()) >= MOST_CLIPS:
            raise WakewordError(f"{self.folder}: holds {MOST_CLIPS} clips of '{self.text}': choose another folder")
        self._make()
        self._last = max(self._last, self._last_number()) + 1
        path = self.folder / f"{self._stem}_{self._last:04d}.wav"
        write_wav(path, samples, FILE_MODE)
        custom = {"corpus": "recorded", "licence": "own", "split": "train"}
        self._write_without(path, [mono_cut(path, len(samples), self.text, self.speaker, custom)])
        return path

    def clips(self) -> list[Path]:
        """The clips of the phrase, by all speakers, in order of their names."""
        pattern = re.compile(re.escape(_slug(self.text)) + r"(?:_[^_/]+)?_\d{4,}\.wav")
        return [self.folder / name for name, regular in self._entries() if regular and pattern.fullmatch(name)]

    def find(self, name: str) -> Path:
        """The clip of that name: looked up among those there are, never made a path of.

        Raises:
            WakewordError: there is none.
        """
        for path in self.clips():
            if path.name == name:
                return path
        raise WakewordError("there is no such clip of this phrase: it may have been deleted meanwhile")

    def remove(self, name: str) -> None:
        """Delete a clip, and its line in the manifest.

        Raises:
            WakewordError: there is none of that name, or it cannot be deleted.
        """
        path = self.find(name)
        try:
            path.unlink()
        except OSError as error:
            raise WakewordError(f"{path}: cannot be deleted ({error.strerror})") from error
        self._write_without(path, [])

    def _write_without(self, path: Path, more: list[dict]) -> None:
        self._cuts = [cut for cut in self._cuts if cut["id"] != path.stem] + more
        write_cuts(self.manifest, self._cuts, FILE_MODE)

    def _make(self) -> None:
        try:
            self.folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise WakewordError(
                f"{self.folder}: cannot be a folder for clips ({error.strerror}): choose another place"
            ) from error

    def _last_number(self) -> int:
        pattern = re.compile(re.escape(self._stem) + r"_(\d{4,})\.wav")
        found = [pattern.fullmatch(name) for name, _ in self._entries()]
        return max((int(match[1]) for match in found if match), default=0)

    def _entries(self) -> list[tuple[str, bool]]:
        """Each name in the folder, and whether it is a regular file: a link leads anywhere."""
        try:
            with os.scandir(self.folder) as entries:
                return sorted((entry.name, entry.is_file(follow_symlinks=False)) for entry in entries)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise WakewordError(f"{self.folder}: cannot be listed ({error.strerror}): choose another folder") from error


def _slug(text: str) -> str:
    return re.sub(r"[\W_]+", "-", text.casefold()).strip("-")
