"""ERROR_RATES.md, from the cards of the shipped models; card.py, which writes them, writes it too."""

from __future__ import annotations

HELD_OUT = "held-out speakers"
CLEAN = f"{HELD_OUT}, clean"
"""The set that pretraining validates on as well, and its row without noise."""


def same_set(card: dict) -> bool:
    """Whether a run's own error rate at its end is of the utterances of the row `CLEAN`, all of them."""
    rates, own = card.get("error_rates", {}), card.get("held_out_speakers", {})
    all_heard = card.get("validated_utterances") == card.get("held_out_utterances")
    return "cer" in own and all_heard and rates[CLEAN]["all"]["utterances"] == card.get("held_out_transcribed")


def error_rates_text(cards: dict[str, dict]) -> list[str]:
    """The page's lines, of the cards by their models' names; those without error rates are left out."""
    cards = {name: card for name, card in cards.items() if "error_rates" in card}
    return [
        "# Character error rates",
        "",
        "Written by `python recipes/pretrain/card.py`: greedy CTC, no language model, on speakers that the models have",
        "not heard. The files that ship, whose weights have 16 bits, gave these rates. The noise (ESC-10 fold 4, a",
        "street) is kept from training, and VoxForge trains nothing that ships: it is the cross-corpus test. Groups",
        "are as the corpora say, with at least 20 utterances. It is the encoder that transfers; these rates say what",
        "its CTC layer can read. A rate is of all letters of its utterances together, so long ones weigh more; among",
        "the held-out speakers' are many of a single word (corpora of digits and words).",
        "",
        *notes(cards),
        *(table({name: card["error_rates"] for name, card in cards.items()}) if cards else []),
        "",
    ]


def notes(cards: dict[str, dict]) -> list[str]:
    """How the held-out speakers' rates stand to what each run found itself, as a Markdown list; nothing where no card
    tells."""
    counts = dict.fromkeys(filter(None, map(counted, cards.values())))  # those of models with the same data once
    runs = [line for name, card in cards.items() if (line := at_the_end(name, card))]
    rounding = [
        f"- `{name}`, {CLEAN}: 32 bits: {card['unrounded_cer']:.2%}, 16 bits as shipped: "
        f"{card['error_rates'][CLEAN]['all']['cer']:.2%}."
        for name, card in cards.items()
        if "unrounded_cer" in card
    ]
    lines = [*counts, *runs, *rounding]
    return [*lines, ""] if lines else []


def counted(card: dict) -> str:
    """Why the table has fewer utterances of held-out speakers than training held out."""
    if "held_out_transcribed" not in card:
        return ""
    return (
        f"- {HELD_OUT}: training held out {card['held_out_utterances']} utterances of people, of which "
        f"{card['held_out_transcribed']} are English with a transcript in letters. Only these have characters to get "
        "wrong; the others (other languages, no transcript, digits) count in the distillation loss alone."
    )


def at_the_end(name: str, card: dict) -> str:
    """What a run found itself, where that is of the same utterances."""
    if not same_set(card):
        return ""
    return (
        f"- `{name}` at its run's end: {card['held_out_speakers']['cer']:.2%} of the same utterances' characters, with "
        f"weights of 32 bits (here: {card['error_rates'][CLEAN]['all']['cer']:.2%}). There an utterance ends with its "
        "last sample; here, as in listening, 0.24 s of silence follow, in which the last letters come out."
    )


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
