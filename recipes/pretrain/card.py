"""Measure what an acoustic model reads wrongly, and write it into its card: `card.py base micro`, from the root.

A model that was just trained ships by `card.py --ship exp/base/base.safetensors`.

First: prepare.py beside this. Measured are the speakers that pretraining held out, the test list of speechocean762 and
VoxForge, which trains nothing that ships; each clean and with the noise that is kept for tests at 10 dB. The figures,
the CPU seconds for an hour of audio (benchmarks/speed.py) and whom to thank (attribution.toml) go into the model file
and the JSON beside it, the error rates also into ERROR_RATES.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import torch

from wakeword import checkpoint
from wakeword.cli import bar
from wakeword.clips import find_clips, for_testing, for_training, share_of
from wakeword.error_rates import error_rates
from wakeword.errors import Skipped, WakewordError
from wakeword.files import replacing
from wakeword.pretrain_config import Config, read_config
from wakeword.settings import read_toml
from wakeword.streams import noise_bed
from wakeword.transcribe import Hearing

HERE = Path(__file__).parent
SNR_DB = 10.0


def sets(config: Config, manifests: str) -> dict[str, list]:
    """The clips to measure on, by name, all of speakers that the model has not heard."""
    trained = [clip for source in config.data for clip in for_training(find_clips([source.manifest]))]
    people = [clip for clip in trained if not clip.attributes.get("synthetic")]
    english = [clip for clip in people if clip.attributes.get("language", "en") == "en" and clip.text]
    held_out = [clip for clip in english if clip.speaker and share_of(clip.speaker) < config.held_out]
    return {
        "held-out speakers": held_out,
        "speechocean762, test": for_testing(find_clips([f"{manifests}/speechocean762_cuts.jsonl.gz"])),
        "VoxForge": for_testing(find_clips([f"{manifests}/voxforge_cuts.jsonl.gz"])),
    }


def measured(path: str, config: Config, manifests: str, progress) -> dict[str, dict]:
    """The rows of a card: `SET, CONDITION` to the rates of all and of groups of speakers."""
    hearing, skipped, found = Hearing(path), Skipped(), {}
    noise = find_clips([f"{manifests}/noise-esc10_cuts.jsonl.gz", f"{manifests}/noise-street_cuts.jsonl.gz"])
    bed = noise_bed(for_testing(noise), skipped)
    chosen = sets(config, manifests)
    for name, clips in chosen.items():
        for condition, snr_db in (("clean", None), (f"{SNR_DB:g} dB", SNR_DB)):
            found[f"{name}, {condition}"] = error_rates(hearing, clips, bed, snr_db, skipped)
            progress(f"{Path(path).stem}", len(found) / (2 * len(chosen)))
    if skipped:
        print(skipped.summary())
    return found


def speed() -> dict[str, dict]:
    """CPU seconds for an hour of audio of the named sizes, part by part, in blocks of 80 ms."""
    script = HERE.parent.parent / "benchmarks" / "speed.py"
    settings = ["--blocks", "80", "--seconds", "30", "--repeats", "5", "--memory-seconds", "1", "--json"]
    told = subprocess.run([sys.executable, str(script), *settings], capture_output=True, text=True)
    if told.returncode:
        raise WakewordError(f"{script}: {told.stderr.strip()[-300:]}")
    found = json.loads(told.stdout)
    machine = found["machine"].get("cpu", "")
    return {
        row["model"]: {
            **{part: round(row[part], 2) for part in ("features", "encoder")},
            "measured": f"ONNX Runtime, one thread, blocks of 80 ms, {machine}",
        }
        for row in found["speed"]
        if row["runtime"] == "ONNX Runtime"
    }


def attributed(card: dict) -> dict:
    """The card with whom to thank for each corpus, and for the teacher."""
    known = read_toml(HERE / "attribution.toml")
    data = {
        name: {**about, "attribution": known["corpora"].get(name, "")} for name, about in card.get("data", {}).items()
    }
    mixed = {
        name: {**(about if isinstance(about, dict) else {"licence": about}), "attribution": known["corpora"][name]}
        if name in known["corpora"]
        else about
        for name, about in card.get("mixed_in", {}).items()
    }
    teacher = known["teacher"].get(card.get("teacher", ""), card.get("teacher", ""))
    return {**card, "data": data, "mixed_in": mixed, "teacher": teacher}


def write_card(path: Path, rates: dict[str, dict], seconds: dict | None = None) -> None:
    """Into the model file, the JSON beside it and, for a shipped model, the list of checksums."""
    card = {**attributed(checkpoint.read_meta(path, "acoustic")["card"]), "error_rates": rates}
    if seconds:
        card["cpu_seconds_an_hour"] = seconds
    checkpoint.rewrite_meta(path, {"card": card})
    with replacing(path.with_suffix(".json")) as temporary:
        temporary.write_text(json.dumps(card, indent=2) + "\n")
    if path.parent == checkpoint.WEIGHTS:
        files = sorted(path.parent.glob("*.safetensors"))
        with replacing(path.parent / "SHA256SUMS") as temporary:
            lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
            temporary.write_text("".join(lines))


def shipped(path: Path) -> str:
    """Copy an acoustic model to those of the package, where its file's name becomes that of the model.

    Raises:
        ModelError: it is none.
    """
    checkpoint.load(path, "acoustic")
    with replacing(checkpoint.WEIGHTS / path.name) as temporary:
        temporary.write_bytes(path.read_bytes())
    return path.stem


def table(rates: dict[str, dict[str, dict]]) -> list[str]:
    """`{model: {set: {group: row}}}` as Markdown, a column a model."""
    models = list(rates)
    lines = [
        f"| set | speakers' group | utterances | speakers | {' | '.join(models)} |",
        "|---|---|---|---|" + "---|" * len(models),
    ]
    for name, groups in rates[models[0]].items():
        for group, row in groups.items():
            cells = [f"{rates[model][name][group]['cer']:.1%}" for model in models]
            lines.append(f"| {name} | {group} | {row['utterances']} | {row['speakers']} | {' | '.join(cells)} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="base, micro, or files of acoustic models")
    parser.add_argument("--config", type=Path, default=HERE / "data.toml", help="the data that they were trained on")
    parser.add_argument("--manifests", default="exp/manifests")
    parser.add_argument("--ship", action="store_true", help="first put these files among the shipped models")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        config = read_config(args.config)
        rates, times = {}, speed()
        if args.ship:
            args.models = [shipped(Path(model)) for model in args.models]
        for model in args.models:
            path = checkpoint.shipped(model)
            rates[Path(model).stem] = measured(str(path), config, args.manifests, bar())
            write_card(path, rates[Path(model).stem], times.get(Path(model).stem))
        text = [
            "# Character error rates",
            "",
            f"Written by `python recipes/pretrain/card.py {' '.join(args.models)}`: greedy CTC, no language model, on",
            "speakers that the models have not heard. The noise (ESC-10 fold 4, a street) is kept from training, and",
            "VoxForge trains nothing that ships: it is the cross-corpus test. Groups are as the corpora say, with at",
            "least 20 utterances. It is the encoder that transfers; these rates say what its CTC layer can read.",
            "",
            *table(rates),
            "",
        ]
        with replacing(HERE / "ERROR_RATES.md") as temporary:
            temporary.write_text("\n".join(text), encoding="utf-8")
    except WakewordError as error:
        print(f"card: {error}", file=sys.stderr)
        return 2
    print("\n".join(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
