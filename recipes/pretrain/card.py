"""Measure what an acoustic model reads wrongly, and write it into its card: `card.py base micro`, from the root.

A model that was just trained ships by `card.py --ship exp/base/base.safetensors`.

First: prepare.py and synthetic.py beside this. Measured are the speakers that pretraining held out, the test list of
speechocean762 and VoxForge, which trains nothing that ships; each clean and with the noise that is kept for tests at
10 dB. The figures, the CPU seconds for an hour of audio (benchmarks/speed.py), whom to thank (attribution.toml) and the
hours with transcripts, where training did not count them, go into the model file and the JSON beside it, the error
rates also into ERROR_RATES.md (rates_page.py).

The shipped weights have 16 bits. `card.py base --unrounded exp/base/training.safetensors` reads the clean held-out
speakers with the 32 bits of the run's checkpoint too, and the page then tells both rates; a card that is written
without it tells the one.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

import rates_page
import torch
from attribution import attributed

from wakeword.acoustic.acoustic_file import PARAMETERS_ARE
from wakeword.acoustic.transcribe import Hearing
from wakeword.audio.clips import find_clips, for_testing, for_training, told_seconds
from wakeword.cli import bar, exit_status
from wakeword.errors import Skipped, WakewordError
from wakeword.evaluation.error_rates import error_rates
from wakeword.evaluation.streams import noise_bed
from wakeword.files import replacing
from wakeword.head.layers import HeadSizes
from wakeword.head.transfer import save_wakeword, stacked
from wakeword.model import checkpoint
from wakeword.model.lineage import added_up, commits
from wakeword.pretraining.data import MAX_S, MIN_S, held_out, of_people, read_sources, split_speakers, with_tokens
from wakeword.pretraining.pretrain_card import hours_of, is_transcribed
from wakeword.pretraining.pretrain_config import Config, read_config

HERE = Path(__file__).parent
SNR_DB = 10.0


def sets(config: Config, manifests: str, also: Collection[str] = ()) -> dict[str, list]:
    """The clips to measure on, by name, all of speakers that the model has not heard.

    `also` are those whom its training held out whatever their hash.

    Raises:
        WakewordError: the configuration is one of shards, which hold no clips to be found.
    """
    if any(source.shar for source in config.data):
        raise WakewordError(
            "the configuration trains on shards: name that of their manifests (data.toml) with --config"
        )
    trained = [clip for source in config.data for clip in for_training(find_clips([source.manifest]))]
    people = [clip for clip in trained if not clip.attributes.get("synthetic")]
    english = [clip for clip in people if clip.attributes.get("language", "en") == "en" and clip.text]
    # Of the lengths that training takes, so that its own figure is of the same utterances.
    usual = [clip for clip in english if MIN_S <= (told_seconds(clip) or 0.0) <= MAX_S]
    unheard = [clip for clip in usual if clip.speaker and held_out(clip.speaker, config.held_out, also)]
    return {
        rates_page.HELD_OUT: unheard,
        "speechocean762, test": for_testing(find_clips([f"{manifests}/speechocean762_cuts.jsonl.gz"])),
        "VoxForge": for_testing(find_clips([f"{manifests}/voxforge_cuts.jsonl.gz"])),
    }


def measured(path: str, config: Config, manifests: str, progress, also: Collection[str] = ()) -> dict[str, dict]:
    """The rows of a card: `SET, CONDITION` to the rates of all and of groups of speakers."""
    hearing, skipped, found = Hearing(path), Skipped(), {}
    noise = find_clips([f"{manifests}/noise-esc10_cuts.jsonl.gz", f"{manifests}/noise-street_cuts.jsonl.gz"])
    bed = noise_bed(for_testing(noise), skipped)
    chosen = sets(config, manifests, also)
    for name, clips in chosen.items():
        for condition, snr_db in (("clean", None), (f"{SNR_DB:g} dB", SNR_DB)):
            found[f"{name}, {condition}"] = error_rates(hearing, clips, bed, snr_db, skipped)
            progress(f"{Path(path).stem}", len(found) / (2 * len(chosen)))
    if skipped:
        print(skipped.summary())
    return found


def speed(path: Path) -> dict:
    """CPU seconds for an hour of audio, features and encoder apart, in blocks of 80 ms."""
    script = HERE.parent.parent / "benchmarks" / "speed.py"
    settings = ["--blocks", "80", "--seconds", "30", "--repeats", "5", "--memory-seconds", "1", "--json"]
    with tempfile.TemporaryDirectory() as scratch:
        # The benchmark times wake models: the encoder is the same under any head.
        model, meta = stacked(str(path), HeadSizes())
        file = Path(scratch) / "timed.wakeword"
        own = {"phrases": [{"phrase": "timed", "threshold": 0.9}], "smoothing_frames": 3, "refractory_s": 1.0}
        save_wakeword(file, model.eval(), {**own, "features": meta["features"]})
        command = [sys.executable, str(script), "--model", str(file), *settings]
        told = subprocess.run(command, capture_output=True, text=True)
    if told.returncode:
        raise WakewordError(f"{script}: {told.stderr.strip()[-300:]}")
    found = json.loads(told.stdout)
    row = next(row for row in found["speed"] if row["runtime"] == "ONNX Runtime")
    machine = found["machine"].get("cpu", "")
    return {
        "features": round(row["features"], 2),
        "encoder": round(row["encoder"], 2),
        "measured": f"ONNX Runtime, one thread, blocks of 80 ms, {machine}",
    }


def completed(card: dict, config: Config) -> dict:
    """The card with what its training, if it was of an earlier version, did not count: the steps of all runs, the hours
    with transcripts, the held-out utterances with one.

    A corpus of which `config` has other hours than the card stays without.
    """
    before = card.get("begun_from", [])
    card = {**card, **added_up(card["hours_heard"], card["steps"], before), "parameters_are": PARAMETERS_ARE}
    if "held_out_transcribed" in card and all("transcribed_hours" in about for about in card["data"].values()):
        return card
    cuts, _ = with_tokens(read_sources(list(config.data)), card["units"])
    training, held = split_speakers(cuts, card["held_out"], card.get("held_out_also", ()))
    counted, people = hours_of(training), list(of_people(held))
    data = {}
    for corpus, about in card["data"].items():
        found = counted.get(corpus, {"hours": 0.0})
        if abs(found["hours"] - about["hours"]) < 0.001:
            transcribed = min(about["hours"], found["transcribed_hours"])  # each is rounded in its own way
            about = {"hours": about["hours"], "transcribed_hours": transcribed} | about
        elif "transcribed_hours" not in about:
            print(f"{corpus}: {found['hours']} h by the manifests, {about['hours']} h by the card: not counted anew")
        data[corpus] = about
    if len(people) == card["held_out_utterances"]:
        card["held_out_transcribed"] = sum(map(is_transcribed, people))
    return {**card, "data": data}


def unrounded_cer(path: Path, training: Path, config: Config, manifests: str, also: Collection[str]) -> float:
    """The error rate of the clean held-out speakers by the weights of a run's checkpoint, which have 32 bits.

    Raises:
        ModelError: no checkpoint of a run. WakewordError: that of another model.
    """
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / path.name
        write_unrounded(path, training, file)
        clips = sets(config, manifests, also)[rates_page.HELD_OUT]
        return error_rates(Hearing(str(file)), clips)["all"]["cer"]


def write_unrounded(path: Path, training: Path, to: Path) -> None:
    """Write the acoustic model of `path` with the checkpoint's weights where its own are rounded to 16 bits.

    The others (the normalisation's, which may be measured anew after the last checkpoint) have 32 bits as shipped.
    """
    shipped, meta = checkpoint.load(path, "acoustic")
    trained, _ = checkpoint.load(training, "training")
    for name, tensor in shipped.items():
        if tensor.is_floating_point() and tensor.dim() > 1:
            whole = trained.get(f"model/{name}")
            if whole is None or not torch.equal(whole.half().float(), tensor):
                raise WakewordError(f"{training}: not the checkpoint that {path} was written from: name its run's own")
            shipped[name] = whole
    checkpoint.save(to, shipped, "acoustic", {key: meta[key] for key in meta if key not in ("format", "kind")})


def write_card(path: Path, card: dict) -> None:
    """Into the model file, and into the JSON beside it."""
    checkpoint.rewrite_meta(path, {"card": card})
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")


def install(path: Path, folder: Path) -> None:
    """Make an acoustic model one of the shipped ones, under its file's name."""
    for suffix in (".safetensors", ".json"):
        file = path.with_suffix(suffix)
        if file.parent.resolve() != folder.resolve():
            with replacing(folder / file.name) as temporary:
                temporary.write_bytes(file.read_bytes())
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(folder.glob("*.safetensors"))
    ]
    with replacing(folder / "SHA256SUMS") as temporary:
        temporary.write_text("".join(lines))


def check(card: dict, config: Config, ship: bool) -> None:
    """Refuse a model whose figures would be wrong, or whose making nobody could repeat.

    Raises:
        WakewordError: it held out other speakers than the configuration says, or code that is in no commit made it, at
            the run's start or where it was taken up. The runs before are told with their commits, but cannot be mended.
    """
    if card.get("held_out", config.held_out) != config.held_out:
        raise WakewordError(
            f"the model held out {card['held_out']:g} of the speakers, the configuration says {config.held_out:g}: the "
            "error rates would be of speakers that it has heard: set held_out in a copy of it"
        )
    dirty = [commit for commit in commits(card) if commit.endswith("-dirty")]
    if ship and dirty:
        raise WakewordError(f"commit {', '.join(dirty)}: trained by code that is in no commit: nobody could repeat it")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="base, micro, or files of acoustic models")
    parser.add_argument("--config", type=Path, default=HERE / "data.toml", help="the data that they were trained on")
    parser.add_argument("--manifests", default="exp/manifests")
    parser.add_argument("--ship", action="store_true", help="then make these files the shipped models of their names")
    parser.add_argument(
        "--unrounded", nargs="+", type=Path, metavar="CHECKPOINT", help="the models' training.safetensors, in order"
    )
    args = parser.parse_args()
    return exit_status(lambda: write_cards(args), "card")


def write_cards(args: argparse.Namespace) -> None:
    """Measure the models and write their cards, and the page of all error rates."""
    torch.set_num_threads(1)
    config = read_config(args.config)
    if args.unrounded and len(args.unrounded) != len(args.models):
        raise WakewordError(f"{len(args.models)} models, {len(args.unrounded)} of --unrounded: name one each, in order")
    for model, training in zip(args.models, args.unrounded or [None] * len(args.models), strict=True):
        path = checkpoint.shipped(model)
        card = attributed(checkpoint.read_meta(path, "acoustic")["card"])
        check(card, config, args.ship)
        card, also = completed(card, config), card.get("held_out_also", ())
        card.pop("unrounded_cer", None)
        if training:
            card["unrounded_cer"] = unrounded_cer(path, training, config, args.manifests, also)
        rates = measured(str(path), config, args.manifests, bar(), also)
        # Under its file's name: of one size several may ship.
        write_card(path, {**card, "name": path.stem, "error_rates": rates, "cpu_seconds_an_hour": speed(path)})
        if args.ship or path.parent == checkpoint.WEIGHTS:
            install(path, checkpoint.WEIGHTS)
    cards = {file.stem: json.loads(file.read_text()) for file in sorted(checkpoint.WEIGHTS.glob("*.json"))}
    with replacing(HERE / "ERROR_RATES.md") as temporary:
        temporary.write_text("\n".join(rates_page.error_rates_text(cards)), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
