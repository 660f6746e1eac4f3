"""Measure what an acoustic model reads wrongly, and write it into its card: `card.py base micro`, from the root.

A model that was just trained ships by `card.py --ship exp/base/base.safetensors`.

First: prepare.py and synthetic.py beside this. Measured are the speakers that pretraining held out, the test list of
speechocean762 and VoxForge, which trains nothing that ships; each clean and with the noise that is kept for tests at
10 dB. The figures,
the CPU seconds for an hour of audio (benchmarks/speed.py) and whom to thank (attribution.toml) go into the model file
and the JSON beside it, the error rates also into ERROR_RATES.md.
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

import torch

from wakeword import checkpoint
from wakeword.cli import bar, exit_status
from wakeword.clips import find_clips, for_testing, for_training, told_seconds
from wakeword.data import MAX_S, MIN_S, held_out
from wakeword.error_rates import error_rates
from wakeword.errors import Skipped, WakewordError
from wakeword.files import replacing
from wakeword.head import HeadSizes
from wakeword.pretrain_config import Config, read_config
from wakeword.settings import read_toml
from wakeword.streams import noise_bed
from wakeword.transcribe import Hearing
from wakeword.transfer import save_wakeword, stacked

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
        "held-out speakers": unheard,
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


def attributed(card: dict) -> dict:
    """The card with whom to thank for each corpus, and for the teacher.

    Raises:
        WakewordError: attribution.toml names nobody for one of them.
    """
    known = read_toml(HERE / "attribution.toml")

    def of(corpus: str, about) -> dict:
        if corpus not in known["corpora"]:
            raise WakewordError(
                f"{HERE / 'attribution.toml'}: names nobody for the corpus '{corpus}': add whom to thank"
            )
        about = about if isinstance(about, dict) else {"licence": about}
        return {**about, "attribution": known["corpora"][corpus]}

    told = {key: {name: of(name, about) for name, about in card.get(key, {}).items()} for key in ("data", "mixed_in")}
    teacher = card.get("teacher", "")
    if teacher and teacher not in (*known["teacher"], *known["teacher"].values()):
        raise WakewordError(f"{HERE / 'attribution.toml'}: names nobody for the teacher '{teacher}': add whom to thank")
    return {**card, **told, "teacher": known["teacher"].get(teacher, teacher)}


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


def table(rates: dict[str, dict[str, dict]]) -> list[str]:
    """`{model: {set: {group: row}}}` as Markdown, a column a model."""
    models = list(rates)
    lines = [
        f"| set | speakers' group | utterances | speakers | {' | '.join(models)} |",
        "|---|---|---|---|" + "---|" * len(models),
    ]
    for name, groups in rates[models[0]].items():
        for group, row in groups.items():
            each = (rates[model].get(name, {}).get(group) for model in models)
            cells = [f"{found['cer']:.1%}" if found else "–" for found in each]
            lines.append(f"| {name} | {group} | {row['utterances']} | {row['speakers']} | {' | '.join(cells)} |")
    return lines


def check(card: dict, config: Config, ship: bool) -> None:
    """Refuse a model whose figures would be wrong, or whose making nobody could repeat.

    Raises:
        WakewordError: it held out other speakers than the configuration says, or code that is in no commit made it.
    """
    if card.get("held_out", config.held_out) != config.held_out:
        raise WakewordError(
            f"the model held out {card['held_out']:g} of the speakers, the configuration says {config.held_out:g}: the "
            "error rates would be of speakers that it has heard: set held_out in a copy of it"
        )
    if ship and card.get("commit", "").endswith("-dirty"):
        raise WakewordError(f"commit {card['commit']}: trained by code that is in no commit: nobody could repeat it")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="base, micro, or files of acoustic models")
    parser.add_argument("--config", type=Path, default=HERE / "data.toml", help="the data that they were trained on")
    parser.add_argument("--manifests", default="exp/manifests")
    parser.add_argument("--ship", action="store_true", help="then make these files the shipped models of their names")
    args = parser.parse_args()
    return exit_status(lambda: write_cards(args), "card")


def write_cards(args: argparse.Namespace) -> None:
    """Measure the models and write their cards, and the page of all error rates."""
    torch.set_num_threads(1)
    config = read_config(args.config)
    for model in args.models:
        path = checkpoint.shipped(model)
        card = attributed(checkpoint.read_meta(path, "acoustic")["card"])
        check(card, config, args.ship)
        rates = measured(str(path), config, args.manifests, bar(), card.get("held_out_also", ()))
        write_card(path, {**card, "error_rates": rates, "cpu_seconds_an_hour": speed(path)})
        if args.ship or path.parent == checkpoint.WEIGHTS:
            install(path, checkpoint.WEIGHTS)
    with replacing(HERE / "ERROR_RATES.md") as temporary:
        temporary.write_text("\n".join(error_rates_text()), encoding="utf-8")


def error_rates_text() -> list[str]:
    """ERROR_RATES.md, from the cards of the shipped models."""
    cards = {file.stem: json.loads(file.read_text()) for file in sorted(checkpoint.WEIGHTS.glob("*.json"))}
    rates = {name: card["error_rates"] for name, card in cards.items() if "error_rates" in card}
    return [
        "# Character error rates",
        "",
        "Written by `python recipes/pretrain/card.py`: greedy CTC, no language model, on speakers that the models have",
        "not heard. The noise (ESC-10 fold 4, a street) is kept from training, and VoxForge trains nothing that ships:",
        "it is the cross-corpus test. Groups are as the corpora say, with at least 20 utterances. It is the encoder",
        "that transfers; these rates say what its CTC layer can read.",
        "",
        *(table(rates) if rates else []),
        "",
    ]


if __name__ == "__main__":
    sys.exit(main())
