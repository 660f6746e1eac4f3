"""Several models' parity in one table: `python benchmarks/parity_sum.py KEPT...`, folders of `parity.py --keep`.

Clips, hits and false alarms are added up over the models, format by format; of differences the largest is told, and the
mean of the models' means. A format that not every folder has is told of those that have it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from machine import markdown
from parity import FORMATS

from wakeword.cli import exit_status
from wakeword.errors import WakewordError
from wakeword.evaluation.parity_card import SIDES, difference
from wakeword.export.parity import NEGATIVES
from wakeword.model.runtimes import exported_meta


def cards(folders: list[Path], place: str) -> list[dict]:
    """What the exported models of a format say of their parity, a phrase each."""
    metas = [exported_meta(folder / place) for folder in folders if (folder / place).exists()]
    return [told for meta in metas for told in meta.get("parity", {}).values()]


def summed(heard: str, told: list[dict]) -> dict:
    """A row of the table: one condition of one format."""
    each = [card["heard"][heard] for card in told]
    largest = max(one["largest_difference"] for one in each)
    row = {
        "largest, mean difference": f"{difference(largest)}, {sum(o['mean_difference'] for o in each) / len(each):.1e}"
    }
    row |= {f"hits, {side}": sum(one["hits"][side] for one in each) for side in SIDES}
    row["in common"] = sum(one["hits"]["in_common"] for one in each)
    if heard == NEGATIVES:
        hours = sum(card["hours"] for card in told)
        return row | {f"missed, {side}": f"{row[f'hits, {side}']} alarm(s) in {hours:.2f} h" for side in SIDES}
    for key, name in (("missed", "missed"), ("missed_at", f"at {told[0]['fa_per_hour']:g} FA/h")):
        for side in SIDES:
            counts = [one[key][side] for one in each if one[key][side]]
            row[f"{name}, {side}"] = f"{sum(one['missed'] for one in counts)} of {sum(one['clips'] for one in counts)}"
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="KEPT")
    folders = parser.parse_args().folders
    found = {name: cards(folders, place) for name, (place, _) in FORMATS.items()}
    rows = [
        {"format": name, "models": len(told), "heard": heard, **summed(heard, told)}
        for name, told in found.items()
        if told
        for heard in told[0]["heard"]
    ]
    if not rows:
        raise WakewordError(f"{folders[0]}: no exported model with its parity: make it by parity.py --keep")
    print(markdown(rows))


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
