"""What acoustic models are worth under a wake head: `compare.py base exp/base/base.safetensors`, from the root.

As study.py tests its encoders: heads on each model, frozen, for the words of recipes/one_hour, with several seeds, on
development data. First: prepare.py beside this. A model that is to ship in place of another should be no worse.
"""

from __future__ import annotations

import argparse
import json
import sys

import study

from wakeword.cli import exit_status, number
from wakeword.model.checkpoint import shipped


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="names of shipped models, or files")
    parser.add_argument("--seeds", nargs="+", type=number(least=0), default=[1, 2, 3])
    args = parser.parse_args()
    return exit_status(lambda: compare(args.models, args.seeds), "compare")


def compare(models: list[str], seeds: list[int]) -> None:
    """Print a line for each model and seed as it is done, then the table."""
    settings = study.read_study(study.HERE / "study.toml")
    for model in models:
        shipped(model)  # a name that is none is said before hours of work
    lines = []
    for seed in seeds:
        for model in models:
            found = study.probe.probed(model, study.words_of(settings, seed))
            lines.append({"variant": model, "seed": seed, **found})
            print(json.dumps(lines[-1]), flush=True)
    variants = [study.Variant(model) for model in models]
    print("\n".join([*study.studies.table(variants, lines), "", *study.studies.apart(variants, lines)]))


if __name__ == "__main__":
    sys.exit(main())
