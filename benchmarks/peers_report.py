"""The page of the comparison: what was heard, which aims hold, the tables."""

from __future__ import annotations

import textwrap
from itertools import product
from pathlib import Path

import numpy as np
from machine import about
from peers_judged import CHANCE, FEWER, MORE, NOT_REACHED, RATES, Beside, beside, same_word, within
from peers_plot import plot_det
from peers_sensitivities import FINEST, SENSITIVITIES
from peers_tables import costs, others, tables, tried

from wakeword.evaluation.metrics import too_wide
from wakeword.files import replacing

AIM_RATES = (0.5, 0.1)
CPU_AIMS = {"base": 24.0, "micro": 10.0}
"""CPU seconds for an hour of audio."""

HEARD = """\
Written by `python benchmarks/peers.py`. Every engine heard the same samples (16 kHz, 16 bits), each stream from its
start to its end: the odd clips of each word as one stream with pauses,
{conditions} (ESC-10 fold 4, a street), and {hours:.2f} h of other, clean speech that no
training of ours has heard ({corpora}).
{left_out}
A detection in a clip or up to 1 s after it is a hit; an engine gives at most one alarm a second. Thresholds are those
of hindsight, the lowest that keep a rate of false alarms on these very negatives, for every engine alike: they compare
engines, and flatter all of them. Intervals are 95 % (misses: Wilson's, the count follows; false alarms: Garwood's)."""

NOTES = """\
- Ours and transfer learning have trained on the even clips of these corpora, both on the same, so they know the rooms
  and some of the speakers; nothing says that the other engines do. The clips come from the wake-word benchmark of
  Porcupine's makers.
- Porcupine gives no score. Its points are runs at the sensitivities
  {sensitivities}, and at others around each rate, no farther apart than
  {finest:g}; `rate not reached`: even the lowest gave more false alarms.
- The pretrained models of openWakeWord and microWakeWord have 'alexa' of these words (and 'hey jarvis', but the clips
  say 'jarvis'). PocketSphinx spots any word of its dictionary, here in one pass at a low threshold, which tells what
  it spots at higher ones.
- Transfer learning: openWakeWord's small network on Google's frozen speech embedding, trained here on the clips,
  negatives, noise and rooms that ours are trained on, in the way that was best of several (last section). One seed, as
  for ours.
- Ours were measured by these clips and hours each time that they changed, and a choice was made by the clips once
  (README.md says which); none was made by them for the others.
- Misses in noise stand beside false alarms of clean speech. What noise under the speech does to the latter is told for
  ours alone, in recipes/one_hour/ROBUSTNESS.md."""

FOREIGN = """\
- Of some of these corpora our training has heard other speakers, the other engines as far as we know none. So all is
  told a second time for the {hours:.2f} h that are foreign to all: {corpora} (what there is
  of Common Voice is in languages that no training of ours has; of other languages in it ours have heard some)."""

AIM = """\
The aim: at 0.5 and at 0.1 false alarms an hour, clean and in noise, `base` misses fewer clips than every other engine
on every word, and `micro` fewer than all but `base`. A comparison is one of a word, another engine and a condition.
Lower, equal, higher: by the numbers of clips that ours and the other miss. Fewer, more shown: of the clips that only
one of the two misses so many are of one that chance alone would do it in under {chance:.0%} of cases (sign test,
two-sided, at thresholds taken as given; each comparison by itself, without a correction for their number). An engine
that cannot keep the rate is counted apart. The aim holds where ours is lower in all others, and is shown where chance
would not do it in any; where neither misses any clip, none can be lower, and the last column says in how many."""

COPIES = """\
Some recordings stand in these corpora more than once, and on both sides of the split. The same on the test clips whose
recording has no copy among the training clips, for the words that have copies:"""

COST = """\
CPU seconds (process time, all threads) for an hour of audio, without loading, over the negatives, and the most resident
memory of the process while it heard the clips of a word; the range over the words, and for Porcupine the mean time over
its sensitivities. Each engine runs as its Python package runs it (openWakeWord's imports scikit-learn), ours and the
transfer learning in ONNX Runtime, on blocks of 80 ms where the engine leaves the choice. A Python process with numpy
that does nothing but read the samples has {nothing_mb:.0f} MB."""


def write_comparison(found: dict, path: Path) -> None:
    """The page, and beside it the plot of the same name as PNG."""
    plot = path.with_suffix(".png")
    with replacing(plot) as temporary:
        plot_det(found, temporary)
    with replacing(path) as temporary:
        temporary.write_text(page(found, plot.name), encoding="utf-8")


def page(found: dict, plot: str) -> str:
    """The comparison as Markdown; `found` is what `peers.compared` gives."""
    first = found["results"][0]
    conditions = list(first["det"])
    hours = {kind: each["hours"] for kind, each in first["kinds"].items()}
    text = ["# Beside other engines", ""]
    if found["limited"]:
        text += [f"A trial, on the first {found['limited']:g} h of negatives alone: its numbers show nothing.", ""]
    text += [
        HEARD.format(
            conditions=" and with held-out noise at ".join(conditions),
            hours=hours["all"],
            corpora=", ".join(found["corpora"]),
            left_out=found["left_out"],
        ),
        "",
        "## What it shows",
        "",
        *summary(found, list(hours)),
        "",
        f"![DET curves]({plot})",
        "",
        "## Before comparing",
        "",
        NOTES.format(sensitivities=", ".join(f"{value:g}" for value in SENSITIVITIES), finest=FINEST),
    ]
    if "foreign" in hours:
        text.append(FOREIGN.format(hours=hours["foreign"], corpora=" and ".join(found["foreign"])))
    unproven = [too_wide(hours["all"], rate) for rate in RATES if too_wide(hours["all"], rate)]
    text += [textwrap.fill(f"- {note}.", 120, subsequent_indent="  ") for note in unproven]
    copied = [
        word for word in found["words"] if any(r["word"] == word and not all(r["fresh"]) for r in found["results"])
    ]
    for kind in hours:
        text += ["", f"## {kind_title(kind)}, {hours[kind]:.2f} h"]
        for rate in RATES:
            text += ["", f"### At most {rate:g} false alarms an hour", ""]
            if too_wide(hours[kind], rate):
                text += [f"{hours[kind]:.2f} h cannot prove this rate; the table says what they show.", ""]
            text += tables(found, kind, rate, found["words"], fresh=False)
            if copied:
                text += ["", COPIES, "", *tables(found, kind, rate, copied, fresh=True)]
    text += ["", "## Cost", "", COST.format(nothing_mb=found["nothing_mb"]), "", *costs(found)]
    text += ["", *tried(found)]
    return "\n".join([*text, about(found["machine"]), ""])


def kind_title(kind: str) -> str:
    return {"all": "All negatives", "foreign": "Negatives foreign to all"}[kind]


def summary(found: dict, kinds: list[str]) -> list[str]:
    """The aims, and which hold."""
    heads = ["model", "negatives", "clips", "at most", "comparisons", "lower", "equal", "higher"]
    heads += ["fewer shown", "more shown", "rate not reached by the other", "holds"]
    lines = [AIM.format(chance=CHANCE), "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    copied = not all(all(result["fresh"]) for result in found["results"])
    for name, kind, fresh, rate in product(found["ours"], kinds, (False, True) if copied else (False,), AIM_RATES):
        pairs = list(beside(found["results"], name, others(found), kind, rate, fresh))
        if pairs:
            clips = "without a copy" if fresh else "all"
            cells = [f"`{name}`", kind_title(kind).lower(), clips, f"{rate:g} per h", *tally(pairs)]
            lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *at_one_alarm(found)]
    if found["missing"]:
        lines += ["", f"Not measured, and so not among the comparisons: {', '.join(found['missing'])}."]
    lines += ["", "CPU seconds for an hour of audio (below), the most over the words:", ""]
    for name, most in CPU_AIMS.items():
        seconds = [result["cpu_s_per_hour"] for result in found["results"] if result["engine"] == name]
        if seconds:
            held = "holds" if max(seconds) <= most else "does not hold"
            lines.append(f"- `{name}`: {max(seconds):.1f}; the aim, at most {most:g}, {held}.")
    return lines


def at_one_alarm(found: dict) -> list[str]:
    """How ours stand beside the others at the lowest rate at which no single recording decides."""
    hours = found["results"][0]["kinds"]["all"]["hours"]
    lines = [
        f"At none, one recording decides. At one false alarm in all {hours:.2f} h ({1 / hours:.2g} an hour), on all",
        "clips, by the DET curves, ours miss, of the comparisons with engines that can keep that:",
        "",
    ]
    for name in found["ours"]:
        signs = []
        for ours, theirs in same_word(found["results"], name, others(found)):
            for condition in ours["det"]:
                own, other = (least_missed(each, condition, 1) for each in (ours, theirs))
                signs += [] if other is None else [1 if own is None else (own > other) - (own < other)]
        fewer, equal, more = (signs.count(sign) for sign in (-1, 0, 1))
        lines.append(f"- `{name}`: fewer clips in {fewer}, as many in {equal}, more in {more}.")
    return lines


def least_missed(result: dict, condition: str, alarms: int) -> float | None:
    """The lowest miss rate of a DET curve with so many false alarms of all negatives at most; None if it has none."""
    det, hours = result["det"][condition], result["kinds"]["all"]["hours"]
    kept = within(np.multiply(det["fa_per_hour"], hours), hours, alarms / hours)
    return min(np.compress(kept, det["miss_rate"]).tolist(), default=None)


def tally(pairs: list[Beside]) -> list[str]:
    """What comparisons add up to, and whether an aim holds by them."""
    reached = [pair for pair in pairs if pair.verdict != NOT_REACHED]
    lower = sum(pair.ours < pair.theirs for pair in reached)
    equal = sum(pair.ours == pair.theirs for pair in reached)
    by_verdict = [sum(pair.verdict == verdict for pair in pairs) for verdict in (FEWER, MORE, NOT_REACHED)]
    perfect = sum(pair.ours == pair.theirs == 0 for pair in reached)
    if not reached:
        holds = "nobody else keeps the rate"
    elif lower == len(reached):
        holds = "yes, and shown" if by_verdict[0] == len(reached) else "yes, not shown"
    else:
        holds = f"but for {perfect} where neither misses any" if lower + perfect == len(reached) else "no"
    return [str(count) for count in (len(pairs), lower, equal, len(reached) - lower - equal, *by_verdict)] + [holds]
