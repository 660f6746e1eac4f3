"""The tables of the comparison, as lines of Markdown; `found` is what `peers.compared` gives."""

from __future__ import annotations

from peers_judged import FEWER, MORE, NOT_REACHED, UNDECIDED, Beside, beside, missed_of, point_of

from wakeword.evaluation.metrics import poisson_interval, wilson_interval

BESIDE = """\
Ours beside each: does it miss fewer of the same clips? In brackets the clips that only ours misses, those that only the
other misses, and the chance p of so uneven a division if neither is better:"""

TRIED = """\
How the network of transfer learning is made was chosen on development data: clips of the words that are held out of
its training, clean and at {snr:g} dB in noise that it trains with, and {hours:.2f} h of training negatives of
speakers that it does not hear; thresholds of hindsight. The mean miss rate over words, conditions and
{rates} false alarms an hour; the first is the one that is compared above:"""


def tables(found: dict, kind: str, rate: float, words: list[str], fresh: bool) -> list[str]:
    """A row for each word and engine, and one for each word and engine beside ours."""
    return [*table(found, kind, rate, words, fresh), "", BESIDE, "", *verdicts(found, kind, rate, words, fresh)]


def table(found: dict, kind: str, rate: float, words: list[str], fresh: bool) -> list[str]:
    """What each engine misses of each of `words`; `fresh`: of the clips without a copy in training."""
    conditions = list(found["results"][0]["det"])
    lines = [
        "| word | engine | clips | false alarms (per hour) | " + " | ".join(f"missed, {c}" for c in conditions) + " |"
    ]
    lines.append("|" + "---|" * (4 + len(conditions)))
    for result in found["results"]:
        if result["word"] not in words:
            continue
        point, hours = point_of(result, kind, rate), result["kinds"][kind]["hours"]
        kept = result["fresh"] if fresh else [True] * result["clips"]
        alarms = alarmed(point["false_alarms"], hours) if point["reached"] else NOT_REACHED
        cells = [result["word"], title(found, result), str(sum(kept)), alarms]
        for name in conditions:
            cells.append(share(len(missed_of(point, name, kept)), sum(kept)) if point["reached"] else "–")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def verdicts(found: dict, kind: str, rate: float, words: list[str], fresh: bool) -> list[str]:
    """Whether ours miss fewer clips than each other engine, a column for each of ours in each condition."""
    columns, cells = [], {}
    for name in found["ours"]:
        for pair in beside(found["results"], name, others(found), kind, rate, fresh):
            column = f"`{name}`, {pair.condition}"
            columns += [column] if column not in columns else []
            cells[pair.word, pair.engine, column] = verdict(pair)
    titles = {result["engine"]: title(found, result) for result in found["results"]}
    lines = ["| word | beside | " + " | ".join(columns) + " |", "|" + "---|" * (2 + len(columns))]
    for word, engine in dict.fromkeys((word, engine) for word, engine, _ in cells if word in words):
        row = [word, titles[engine], *(cells.get((word, engine, column), "–") for column in columns)]
        lines.append("| " + " | ".join(row) + " |")
    return lines if columns else ["None of ours, or nothing beside them, was measured."]


def verdict(pair: Beside) -> str:
    """`fewer (1 : 12, p 0.003)`."""
    counted = pair.verdict in (FEWER, MORE, UNDECIDED)
    return pair.verdict + (f" ({pair.only_ours} : {pair.only_theirs}, p {pair.chance:.2g})" if counted else "")


def title(found: dict, result: dict) -> str:
    """An engine, with the version that was measured."""
    return found["titles"][result["engine"]].format(version=result["version"])


def share(missed: int, clips: int) -> str:
    """`3.7 % (1.7–7.8), 6`: the miss rate, its interval, the count."""
    low, high = wilson_interval(missed, clips)
    return f"{100 * missed / max(1, clips):.1f} % ({100 * low:.1f}–{100 * high:.1f}), {missed}"


def alarmed(count: int, hours: float) -> str:
    """`3 (0.45; 0.09–1.31)`: the count, the rate per hour, its interval."""
    low, high = poisson_interval(count, hours)
    return f"{count} ({count / hours:.2f}; {low:.2f}–{high:.2f})"


def costs(found: dict) -> list[str]:
    """A row for each engine, over the words that it was measured on."""
    lines = ["| engine | CPU s/h | peak MB |", "|---|---|---|"]
    for name in found["titles"]:
        results = [result for result in found["results"] if result["engine"] == name]
        if results:
            spans = [span([result[key] for result in results]) for key in ("cpu_s_per_hour", "peak_mb")]
            lines.append("| " + " | ".join([title(found, results[0]), *spans]) + " |")
    return lines


def span(values: list[float]) -> str:
    """The least and the most, without decimals, or the one that they are."""
    low, high = (f"{value:.0f}" for value in (min(values), max(values)))
    return low if low == high else f"{low}–{high}"


def others(found: dict) -> list[str]:
    """The engines that are not ours."""
    return [name for name in found["titles"] if name not in found["ours"]]


def tried(found: dict) -> list[str]:
    """How the network of transfer learning could be made, and what came of each way; nothing if it was not measured."""
    search = next((result["search"] for result in found["results"] if "search" in result), None)
    if search is None:
        return []
    lines = ["## The ways to transfer learning that were tried", ""]
    rates = ", ".join(f"{rate:g}" for rate in search["rates"])
    lines += [TRIED.format(snr=search["snr_db"], hours=search["hours"], rates=rates), ""]
    lines += [
        "| width of the layers | steps | learning rate | clips heard in noise | missed |",
        "|---|---|---|---|---|",
    ]
    for row in search["tried"]:
        noisy = "yes" if row["noisy"] else "no"
        lines.append(
            f"| {row['width']} | {row['steps']} | {row['learning_rate']:g} | {noisy} | {100 * row['missed']:.2f} % |"
        )
    return [*lines, ""]
