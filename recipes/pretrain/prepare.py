"""Prepare every corpus of a shared folder for pretraining: `prepare.py --shared ../shared/corpora --out DIR`.

Each corpus becomes DIR/<name>_cuts.jsonl.gz; a table of hours, speakers and skipped files is printed. A corpus whose
manifest is there already is prepared anew only with --again.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

from data_prep.alphanumeric import prepare_alphanumeric
from data_prep.commonvoice import prepare_commonvoice
from data_prep.librispeech import prepare_librispeech, prepare_librispeech_audio
from data_prep.noise import prepare_noise
from data_prep.rir import prepare_rir
from data_prep.speechocean762 import prepare_speechocean762
from data_prep.text_beside import prepare_text_beside
from data_prep.voxforge import prepare_voxforge
from data_prep.wakewords import prepare_wakewords
from data_prep.words import prepare_dspspeech20, prepare_spoken_digits
from wakeword.cli import exit_status
from wakeword.errors import WakewordError

PICOVOICE = "Apache-2.0"
CORPORA = {
    # manifest name: (folder, prepare function)
    "librispeech": ("LibriSpeech", prepare_librispeech),
    "speechocean762": ("speechocean762", prepare_speechocean762),
    "kathleen": ("kathleen", partial(prepare_text_beside, speaker="kathleen", gender="female", licence="CC0 1.0")),
    "alphanumeric": ("alphanumeric", prepare_alphanumeric),
    "commonvoice-rit": ("common-voice-en-rit", prepare_commonvoice),
    "commonvoice": ("common-voice-6.1-sample", prepare_commonvoice),
    "dspspeech20": ("dspspeech20", prepare_dspspeech20),
    "spoken-digits": ("free-spoken-digit-dataset", prepare_spoken_digits),
    "voxforge": ("voxforge", prepare_voxforge),
    "librispeech-audio": ("resemblyzer-librispeech", prepare_librispeech_audio),
    "wakewords-alexa": (
        "wake-words/alexa",
        partial(prepare_wakewords, phrase="alexa", even_odd=True, duplicates=True, licence=PICOVOICE),
    ),
    "wakewords-computer": (
        "wake-words/computer",
        partial(prepare_wakewords, phrase="computer", even_odd=True, duplicates=True, licence=PICOVOICE),
    ),
    "wakewords-jarvis": (
        "wake-words/jarvis",
        partial(prepare_wakewords, phrase="jarvis", even_odd=True, duplicates=True, licence=PICOVOICE),
    ),
    "wakewords-athena": (
        "wake-words/athena",
        partial(prepare_wakewords, phrase="athena", speaker="1", duplicates=True, licence="public domain"),
    ),
    "noise-esc10": ("noise/esc10", partial(prepare_noise, licence="CC BY 3.0")),
    "noise-speech-commands": ("noise/speech-commands", partial(prepare_noise, licence="CC BY 4.0")),
    "noise-street": ("noise/street", partial(prepare_noise, licence="CC BY")),
    "rir": ("rir/speechbrain", partial(prepare_rir, licence="Apache-2.0")),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, required=True, help="the folder that holds the corpora")
    parser.add_argument("--out", type=Path, required=True, help="where the manifests go")
    parser.add_argument("--again", action="store_true", help="prepare also what is there already")
    args = parser.parse_args()
    return exit_status(lambda: prepare_all(args), "prepare")


def prepare_all(args: argparse.Namespace) -> int:
    """Prepare what is missing and print the table; 1 if a corpus could not be prepared."""
    failed = 0
    print(f"{'corpus':24}{'cuts':>8}{'hours':>9}{'speakers':>10}{'skipped':>9}", flush=True)
    for name, (place, prepare) in CORPORA.items():
        if (args.out / f"{name}_cuts.jsonl.gz").is_file() and not args.again:
            print(f"{name:24}{'kept':>8}", flush=True)
            continue
        try:
            made = prepare(args.shared / place, args.out, name=name)
        except WakewordError as error:
            failed += 1
            print(f"{name:24}  error: {error}", flush=True)
            continue
        print(f"{name:24}{made.cuts:8}{made.hours:9.2f}{made.speakers:10}{len(made.skipped):9}", flush=True)
        if made.skipped:
            print(f"{'':24}  {made.skipped.summary()}", flush=True)
        if made.outside:
            print(f"{'':24}  {made.alphabet_note()}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
