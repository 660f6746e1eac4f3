"""The smallest run of everything: pretrain a tiny acoustic model, train a phrase on it, hear it in a stream.

    python recipes/tiny/run.py [--shared ../shared] [--out exp/tiny]

Writes OUT/tiny.safetensors, OUT/computer.wakeword, OUT/computer.onnx and OUT/result.json, whose numbers RESULTS.md
lists. A killed pretraining goes on where it was.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from data_prep.cuts import read_cuts, write_cuts
from data_prep.librispeech import prepare_librispeech
from data_prep.synthesise import synthesise, synthesise_speech
from data_prep.voices import NO_VOICES, Voice, installed_voices
from wakeword.audio.clips import Clip, find_clips
from wakeword.cli import bar, exit_status
from wakeword.detector.detector import Detector
from wakeword.errors import WakewordError
from wakeword.evaluation.evaluate import evaluate
from wakeword.export import export_onnx
from wakeword.files import replacing
from wakeword.pretraining.data import Source
from wakeword.pretraining.pretrain import pretrain
from wakeword.pretraining.pretrain_config import Config
from wakeword.settings import from_dict, read_toml
from wakeword.training.train import train
from wakeword.training.train_config import Phrase, TrainConfig

HERE = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Data:
    """How much of each kind."""

    speakers: int = 10
    utterances: int = 12
    clips: int = 80
    test_clips: int = 30
    negatives: int = 150


@dataclasses.dataclass(frozen=True)
class Heard:
    """Manifests and clips: speech for pretraining and as negatives, the phrase to train on, both to test on."""

    speech: Path
    positives: tuple[str, ...]
    negatives: Path
    test_positives: list[Clip]
    test_negatives: list[Clip]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    beside = HERE.parents[2] / "shared"
    parser.add_argument("--shared", type=Path, default=beside, help="the folder with corpora/ (beside the checkout)")
    parser.add_argument("--out", type=Path, default=Path("exp/tiny"), help="where all that is made goes (exp/tiny)")
    args = parser.parse_args()

    def work() -> None:
        tiny(args.shared / "corpora", args.out)

    return exit_status(work, "tiny")


def tiny(corpora: Path, out: Path) -> dict:
    """Run the recipe; return what result.json holds."""
    settings = read_toml(HERE / "config.toml")
    data = from_dict(Data, settings["data"], "config.toml: data")
    config = from_dict(TrainConfig, settings["train"], "config.toml: train")
    phrase, progress = config.phrases[0].text, bar()
    real = (corpora / "wake-words" / phrase).is_dir()
    heard = recorded(corpora, phrase, data, out) if real else spoken(phrase, data, out)

    pretraining = dataclasses.replace(
        from_dict(Config, settings["pretrain"], "config.toml: pretrain"),
        data=(Source(str(heard.speech)),),
        output=str(out / "tiny.safetensors"),
        folder=str(out / "pretrain"),
    )
    acoustic = pretrain(pretraining)

    model = out / f"{phrase}.wakeword"
    trained = train(
        dataclasses.replace(
            config,
            acoustic=str(acoustic),
            phrases=(Phrase(phrase, heard.positives),),
            negatives=(str(heard.negatives),),
            output=str(model),
        ),
        progress,
    )

    exported = model.with_suffix(".onnx")
    exported.unlink(missing_ok=True)  # of an earlier run
    difference = export_onnx(model, exported)
    report = evaluate(
        Detector.load(exported), heard.test_positives, heard.test_negatives, snrs=(None,), progress=progress
    )
    point = report["operating_points"][0]
    result = {
        "recordings": "real" if real else "synthetic",
        "pretraining": json.loads(acoustic.with_suffix(".json").read_text())["held_out_speakers"],
        "clips": len(heard.positives),
        "unfrozen": trained.unfrozen,
        "threshold": point["threshold"],
        "test_clips": point["conditions"]["clean"]["clips"],
        "missed": point["conditions"]["clean"]["missed"],
        "false_alarms": point["false_alarms"]["clean"]["count"],
        "negative_hours": point["false_alarms"]["clean"]["hours"],
        "onnx_difference": difference,
    }
    with replacing(out / "result.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return result


def recorded(corpora: Path, phrase: str, data: Data, out: Path) -> Heard:
    """Real recordings: some LibriSpeech speakers pretrain and are negatives, the last ones test."""
    folders = sorted(path for path in (corpora / "LibriSpeech" / "train-clean-5").iterdir() if path.is_dir())
    parts = {"speech": folders[: data.speakers], "test": folders[-2:]}
    cuts: dict[str, list[dict]] = {"speech": [], "test": []}
    for use, chosen in parts.items():
        for folder in chosen:
            manifest = out / "corpora" / folder.name / "librispeech_cuts.jsonl.gz"
            if not manifest.exists():
                prepare_librispeech(folder, manifest.parent)
            cuts[use] += read_cuts(manifest)[: data.utterances]
        write_cuts(out / f"{use}.jsonl.gz", cuts[use])
    write_cuts(out / "negatives.jsonl.gz", cuts["speech"][: data.negatives])
    # The split of these clips: sorted by name, an even index trains, an odd one tests.
    clips = find_clips(corpora / "wake-words" / phrase)
    return Heard(
        out / "speech.jsonl.gz",
        tuple(str(clip.path) for clip in clips[0::2][: data.clips]),
        out / "negatives.jsonl.gz",
        clips[1::2][: data.test_clips],
        find_clips(out / "test.jsonl.gz"),
    )


def spoken(phrase: str, data: Data, out: Path) -> Heard:
    """Synthetic voices, for a machine without recordings; training and test share the voices."""
    voices = installed_voices()
    if not voices:
        raise WakewordError(NO_VOICES)
    # Enough speakers to hold some out, without one of every accent of every engine.
    voices = voices[:: max(1, len(voices) // 24)]

    def speech(name: str, count: int, seed: int) -> Path:
        return synthesise_speech(None, out / name, count, seed, phrase, voices).manifest

    def clips(name: str, count: int, seed: int, voices: list[Voice] = voices) -> list[Clip]:
        return [Clip(path) for path in synthesise(phrase, out / name, count, seed, voices).paths]

    return Heard(
        speech("speech", data.speakers * data.utterances, 0),
        tuple(str(clip.path) for clip in clips("positives", data.clips, 1)),
        speech("negatives", data.negatives, 2),
        clips("test-positives", data.test_clips, 3),
        find_clips(speech("test-negatives", data.negatives // 2, 4)),
    )


if __name__ == "__main__":
    sys.exit(main())
