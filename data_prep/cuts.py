"""Manifest lines without lhotse, which the base install does not have: what `record` and `synthesise` write."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable
from pathlib import Path

from wakeword.audio.waveform import SAMPLE_RATE
from wakeword.errors import ManifestError
from wakeword.files import replacing


def mono_cut(
    path: Path, samples: int, text: str, speaker: str | None, custom: dict, start: int = 0, end: int | None = None
) -> dict:
    """A lhotse MonoCut of a 16 kHz mono file of `samples` samples; the text is said from sample `start` to `end`.

    Its id is the file's name without the suffix.
    """
    name, duration = path.stem, samples / SAMPLE_RATE
    end = samples if end is None else end
    supervision = {
        "id": name,
        "recording_id": name,
        "start": start / SAMPLE_RATE,
        "duration": round((end - start) / SAMPLE_RATE, 8),
        "channel": 0,
        "text": text,
        "language": "en",
    }
    if speaker:
        supervision["speaker"] = speaker
    recording = {
        "id": name,
        "sources": [{"type": "file", "channels": [0], "source": str(path)}],
        "sampling_rate": SAMPLE_RATE,
        "num_samples": samples,
        "duration": duration,
        "channel_ids": [0],
    }
    return {
        "id": name,
        "start": 0,
        "duration": duration,
        "channel": 0,
        "supervisions": [supervision],
        "recording": recording,
        "custom": custom,
        "type": "MonoCut",
    }


def write_cuts(manifest: Path, cuts: Iterable[dict], mode: int | None = None) -> None:
    """Write a `.jsonl.gz` manifest; `mode` are the file's permissions, the usual ones if None.

    Raises:
        WakewordError: it cannot be written.
    """
    with replacing(manifest, mode) as temporary, gzip.open(temporary, "wt", encoding="utf-8") as lines:
        for cut in cuts:
            lines.write(json.dumps(cut, ensure_ascii=False) + "\n")


def read_cuts(manifest: Path) -> list[dict]:
    """The cuts of a manifest written here; none if it is not there.

    Raises:
        ManifestError: it is damaged.
    """
    if not manifest.exists():
        return []
    try:
        with gzip.open(manifest, "rt", encoding="utf-8") as lines:
            cuts = [json.loads(line) for line in lines if line.strip()]
        if not all(isinstance(cut, dict) and isinstance(cut.get("id"), str) for cut in cuts):
            raise ValueError("a line of it is no cut")
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ManifestError(f"{manifest}: cannot be read ({error}): delete it or choose another folder") from error
    return cuts
