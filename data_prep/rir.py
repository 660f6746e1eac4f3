"""Room impulse responses: any tree of them, mono or multi-channel (RIRS_NOISES, BUT ReverbDB, one's own)."""

from __future__ import annotations

import re
from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, folder, write_manifest

REMEDY = "give a folder that holds room impulse responses as audio files"


def prepare_rir(src: str | Path, out: str | Path, name: str = "rir", licence: str = "unknown") -> Prepared:
    """Every impulse response below `src` as a cut of its whole recording, all channels, without supervision.

    `CutSet.from_file(manifest)` gives the cuts and `RecordingSet.from_recordings(cut.recording for cut in cuts)` the
    recordings that lhotse's reverberation takes.

    Raises:
        ManifestError: no audio below `src`.
    """
    src = folder(src, REMEDY)
    utterances = []
    for path in audio_files(src):
        key = re.sub(r"\W+", "-", path.relative_to(src).with_suffix("").as_posix())
        utterances.append(Utterance(key, path, custom={"split": "train", "kind": "rir"}, speech=False))
    return write_manifest(name, utterances, out, licence, src)
