"""A module a corpus: `download_x(target_dir)` where there is a public source, `prepare_x(src, out)` for a manifest.

Importing it needs neither torch nor lhotse; preparing needs `wakeword[train]`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from data_prep import (
    alphanumeric,
    commonvoice,
    librispeech,
    ljspeech,
    negatives,
    noise,
    rir,
    speech_commands,
    speechocean762,
    text_beside,
    voxforge,
    wakewords,
    words,
)
from data_prep.common import Prepared


@dataclass(frozen=True)
class Corpus:
    """What is known of a corpus: how to prepare it, how to fetch it (None: not without its publisher's consent)."""

    prepare: Callable[..., Prepared]
    help: str
    licence: str = "its own"
    url: str | None = None
    download: Callable[..., Path] | None = None


CORPORA: dict[str, Corpus] = {
    "librispeech": Corpus(
        librispeech.prepare_librispeech,
        "read English books; also mini-LibriSpeech",
        librispeech.LICENCE,
        "https://www.openslr.org/12",
        librispeech.download_librispeech,
    ),
    "librispeech-audio": Corpus(
        librispeech.prepare_librispeech_audio,
        "LibriSpeech recordings without their transcripts, in any tree",
        librispeech.LICENCE,
        "https://www.openslr.org/12",
    ),
    "commonvoice": Corpus(
        commonvoice.prepare_commonvoice,
        "Common Voice, validated.tsv or validated.csv, one language or many",
        commonvoice.LICENCE,
        "https://commonvoice.mozilla.org/datasets",
    ),
    "speechocean762": Corpus(
        speechocean762.prepare_speechocean762,
        "English read by Mandarin speakers, half of them children",
        speechocean762.LICENCE,
        "https://www.openslr.org/101",
        speechocean762.download_speechocean762,
    ),
    "voxforge": Corpus(
        voxforge.prepare_voxforge,
        "sentences read on people's own microphones (GPL: split test only)",
        voxforge.LICENCE,
        "https://www.voxforge.org",
    ),
    "speech-commands": Corpus(
        speech_commands.prepare_speech_commands,
        "Speech Commands v2: one-second words",
        speech_commands.LICENCE,
        "https://arxiv.org/abs/1804.03209",
        speech_commands.download_speech_commands,
    ),
    "dspspeech20": Corpus(
        words.prepare_dspspeech20,
        "twenty words by 34 students",
        "MIT",
        "https://github.com/zhongyuchen/DSPSpeech-20",
    ),
    "spoken-digits": Corpus(
        words.prepare_spoken_digits,
        "the Free Spoken Digit Dataset",
        "CC BY-SA 4.0",
        "https://github.com/Jakobovski/free-spoken-digit-dataset",
    ),
    "ljspeech": Corpus(
        ljspeech.prepare_ljspeech,
        "LJSpeech and voices laid out like it (metadata.csv, wavs/)",
        "public domain",
        "https://keithito.com/LJ-Speech-Dataset/",
        ljspeech.download_ljspeech,
    ),
    "text-beside": Corpus(text_beside.prepare_text_beside, "recordings with NAME.txt beside each"),
    "alphanumeric": Corpus(
        alphanumeric.prepare_alphanumeric,
        "names, numbers and addresses in many accents",
        alphanumeric.LICENCE,
        "https://github.com/Sakshee5/alphanumeric-audio-dataset",
    ),
    "wakewords": Corpus(wakewords.prepare_wakewords, "a folder of clips of one phrase (--phrase)"),
    "noise": Corpus(noise.prepare_noise, "any tree of noise, a folder a kind"),
    "musan": Corpus(
        noise.prepare_noise,
        "MUSAN: noise, but music and speech too; give SRC/musan/noise for noise alone",
        "CC BY 4.0",
        "https://www.openslr.org/17",
        noise.download_musan,
    ),
    "esc50": Corpus(
        noise.prepare_noise,
        "ESC-50 environmental sounds",
        "CC BY-NC 3.0",
        "https://github.com/karolpiczak/ESC-50",
        noise.download_esc50,
    ),
    "rir": Corpus(rir.prepare_rir, "any tree of room impulse responses"),
    "rirs-noises": Corpus(
        rir.prepare_rir, "RIRS_NOISES", "Apache-2.0", "https://www.openslr.org/28", rir.download_rirs_noises
    ),
    "negatives": Corpus(negatives.prepare_negatives, "long recordings without the wake word, no transcripts"),
}
