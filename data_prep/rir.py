"""Room impulse responses: any tree of them, mono or multi-channel (RIRS_NOISES, BUT ReverbDB, one's own)."""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, file_key, folder, write_manifest
from data_prep.download import Archive, download

# T. Ko et al., "A study on data augmentation of reverberant speech for robust speech recognition", ICASSP 2017.
RIRS_NOISES = Archive("https://www.openslr.org/resources/28/rirs_noises.zip", "md5:e6f48e257286e05de56413b4779d8ffb")
REMEDY = "give a folder that holds room impulse responses as audio files"


def download_rirs_noises(target_dir: str | Path) -> Path:
    """Fetch and unpack RIRS_NOISES (1.3 GB); give the folder of its simulated room impulse responses.

    `real_rirs_isotropic_noises` beside it holds recorded ones, whose file names have "rir" where they are no noise.

    Raises:
        WakewordError: see `download.download`.
    """
    return download(RIRS_NOISES, Path(target_dir), "RIRS_NOISES") / "simulated_rirs"


def prepare_rir(src: str | Path, out: str | Path, name: str = "rir", licence: str = "unknown") -> Prepared:
    """Every impulse response below `src` as a cut of its whole recording, all channels, without supervision.

    `CutSet.from_file(manifest)` gives the cuts and `RecordingSet.from_recordings(cut.recording for cut in cuts)` the
    recordings that lhotse's reverberation takes.

    Raises:
        ManifestError: no audio below `src`.
    """
    src = folder(src, REMEDY)
    custom: dict[str, str | int] = {"split": "train", "kind": "rir"}
    utterances = [Utterance(file_key(path, src), path, custom=custom, speech=False) for path in audio_files(src)]
    return write_manifest(name, utterances, out, licence, src)
