"""Corpora of single words whose file names say the word and the speaker: DSPSpeech-20 and the Free Spoken Digits."""

from __future__ import annotations

from pathlib import Path

from data_prep.common import Prepared, Utterance, audio_files, folder, write_manifest
from wakeword.errors import ManifestError

# In the order of their labels, 00 to 19, as the corpus's README lists them.
DSPSPEECH20 = (
    *("数字", "语音", "语言", "识别", "中国", "总工", "北京", "背景", "上海", "商行", "复旦", "饭店"),
    *("speech", "speaker", "signal", "process", "print", "open", "close", "project"),
)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def prepare_dspspeech20(src: str | Path, out: str | Path, name: str = "dspspeech20") -> Prepared:
    """Twenty words by 34 students, `SPEAKER/SPEAKER-LABEL-N.wav`. https://github.com/zhongyuchen/DSPSpeech-20

    Raises:
        ManifestError: a file is not named so.
    """
    remedy = "give the folder speech_data of DSPSpeech-20, or the one that holds it (SPEAKER-LABEL-N.wav)"
    src = folder(src, remedy)
    utterances = []
    for path in audio_files(src):
        speaker, label, _ = _parts(path, "-", remedy)
        if not label.isdecimal() or int(label) >= len(DSPSPEECH20):
            raise ManifestError(f"{path}: no word has the label {label}: {remedy}")
        word = DSPSPEECH20[int(label)]
        utterances.append(
            Utterance(
                id=path.stem,
                path=path,
                text=word,
                speaker=f"dspspeech20-{speaker}",
                language="en" if word.isascii() else "zh",
                custom={"split": "train"},
            )
        )
    return write_manifest(name, utterances, out, "MIT", src)


def prepare_spoken_digits(src: str | Path, out: str | Path, name: str = "spoken-digits") -> Prepared:
    """The Free Spoken Digit Dataset, `recordings/DIGIT_SPEAKER_N.wav`.

    https://github.com/Jakobovski/free-spoken-digit-dataset; its own split: takes 0 to 4 of each speaker are the test.

    Raises:
        ManifestError: a file is not named so.
    """
    remedy = (
        "give the folder recordings of the Free Spoken Digit Dataset, or the one that holds it (DIGIT_SPEAKER_N.wav)"
    )
    src = folder(src, remedy)
    utterances = []
    for path in audio_files(src):
        digit, speaker, take = _parts(path, "_", remedy)
        if not (len(digit) == 1 and digit in "0123456789" and take.isdecimal()):
            raise ManifestError(f"{path}: {digit} is no digit, or {take} no number: {remedy}")
        told = {"split": "test" if int(take) < 5 else "train"}
        utterances.append(Utterance(path.stem, path, DIGITS[int(digit)], f"spoken-digits-{speaker}", "en", None, told))
    return write_manifest(name, utterances, out, "CC BY-SA 4.0", src)


def _parts(path: Path, separator: str, remedy: str) -> list[str]:
    parts = path.stem.split(separator)
    if len(parts) != 3 or not all(parts):
        raise ManifestError(f"{path}: the name does not say word and speaker: {remedy}")
    return parts
