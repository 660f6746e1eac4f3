"""RESULTS.md and training.png from the logs of the two runs: `python recipes/pretrain/results.py`, from the root.

First: prepare.py beside this, then `wakeword pretrain recipes/pretrain/base.toml`, and micro.toml.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import study

from wakeword.errors import WakewordError, require
from wakeword.files import replacing
from wakeword.pretrain_config import read_config

HERE = Path(__file__).parent
LOSSES = ("distil", "ctc")


def read_log(path: Path) -> list[dict]:
    """A run's log. A resumed run writes the steps after its checkpoint again: the last row of a step counts."""
    if not path.exists():
        raise WakewordError(f"{path}: no log there: run 'wakeword pretrain' first")
    rows: dict[tuple, dict] = {}
    for line in path.read_text().splitlines():
        row = json.loads(line)
        rows[row["step"], "held_out" in row] = row
    return [rows[key] for key in sorted(rows)]


def table(size: str, log: list[dict], card: dict) -> list[str]:
    """The held-out speakers over the run."""
    checks = [row for row in log if "held_out" in row]
    speech = sum(corpus["hours"] for corpus in card["data"].values())
    lines = [
        f"## {size}",
        "",
        f"{card['parameters'] / 1e6:.2f} M parameters, {card['hours_heard']} h of audio heard in {card['steps']} "
        f"steps; {speech:.1f} h of speech, {card['held_out_hours']} h of held-out speakers.",
        "",
        "| step | distillation loss | CTC loss | character error rate |",
        "|---|---|---|---|",
    ]
    for row in checks:
        found = row["held_out"]
        cells = [f"{found[name]:.3f}" if name in found else "–" for name in LOSSES]
        lines.append(f"| {row['step']} | {' | '.join(cells)} | {found.get('cer', float('nan')):.1%} |")
    final = card["held_out_speakers"]
    lines.append(f"| end, all | {final['distil']:.3f} | {final['ctc']:.3f} | {final['cer']:.1%} |")
    return [*lines, ""]


def plot(logs: dict[str, list[dict]], path: Path) -> None:
    """Training losses (a line) and held-out ones (points) over the hours heard."""
    pyplot = require("matplotlib.pyplot", "plot")
    require("matplotlib").use("Agg")
    figure, axes = pyplot.subplots(1, len(LOSSES), figsize=(10, 4))
    for axis, name in zip(axes, LOSSES, strict=True):
        for colour, (size, log) in zip(("tab:blue", "tab:orange"), logs.items(), strict=False):
            rows = [row for row in log if name in row]
            axis.plot([row["step"] for row in rows], [row[name] for row in rows], colour, alpha=0.4, lw=0.7, label=size)
            checks = [row for row in log if name in row.get("held_out", {})]
            axis.plot([row["step"] for row in checks], [row["held_out"][name] for row in checks], "o-", color=colour)
        axis.set(title=name, xlabel="step")
        axis.legend()
    figure.tight_layout()
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=90)


def main() -> int:
    text = [
        "# The first acoustic models",
        "",
        "Written by `python recipes/pretrain/results.py` from the logs of `wakeword pretrain",
        "recipes/pretrain/base.toml` and `micro.toml`: teacher Whisper tiny.en, its distillation, then CTC",
        "beside it at a low weight. One seed; both ran at once, one thread each, on a two-core machine",
        "without an accelerator. The rows are on at most 400 held-out utterances, clean, with the",
        "normalisation as it was in training (its statistics follow the last batches, so they jump); the last",
        "row is on all of them, after the statistics were measured anew over 200 batches: the model that",
        "ships. The character error rates say that the CTC layer is no recognizer yet. What the encoder is",
        "worth under a wake head: ../one_hour/RESULTS.md.",
        "",
    ]
    try:
        logs = {}
        for size in ("base", "micro"):
            config = read_config(HERE / f"{size}.toml")
            logs[size] = read_log(Path(config.folder) / "log.jsonl")
            text += table(size, logs[size], json.loads(Path(config.output).with_suffix(".json").read_text()))
        plot(logs, HERE / "training.png")
        with replacing(study.RESULTS) as temporary:
            temporary.write_text("\n".join([*text, "![losses](training.png)", ""]), encoding="utf-8")
        study.write_section(study.read_study(HERE / "study.toml"), study.read_lines())
    except (WakewordError, OSError) as error:
        print(f"results: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
