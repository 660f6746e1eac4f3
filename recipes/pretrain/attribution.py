"""Whom a card thanks, and under which licences: what attribution.toml says of the corpora, voices and teachers."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from wakeword.errors import WakewordError
from wakeword.settings import read_toml

FILE = Path(__file__).with_suffix(".toml")
OF_THE_VOICE = "that of the voice"
"""The licence of synthetic speech by its manifest (data_prep.synthesise)."""


def attributed(card: dict) -> dict:
    """The card with whom to thank for each corpus, of the runs before too, and for the teacher; with the licences of
    synthetic voices by engine.

    Raises:
        WakewordError: attribution.toml names nobody for one of them, or no licence of an engine.
    """
    known = read_toml(FILE)
    teacher = card.get("teacher", "")
    if teacher and teacher not in (*known["teacher"], *known["teacher"].values()):
        raise WakewordError(f"{FILE}: names nobody for the teacher '{teacher}': add whom to thank")
    told = {**credited(card, known), "teacher": known["teacher"].get(teacher, teacher)}
    if "begun_from" in card:
        told["begun_from"] = [credited(run, known) for run in card["begun_from"]]
    return told


def credited(run: dict, known: dict) -> dict:
    """A run of a card with whom to thank for its corpora."""

    def of(corpus: str, about) -> dict:
        if corpus not in known["corpora"]:
            raise WakewordError(f"{FILE}: names nobody for the corpus '{corpus}': add whom to thank")
        about = about if isinstance(about, dict) else {"licence": about}
        if about["licence"] == OF_THE_VOICE:
            # A card of an earlier version does not tell the engines: those of synthetic.py, which the file names.
            about = {**about, "licence": by_engine(about.get("engines", known["engines"]), known["engines"])}
        return {**about, "attribution": known["corpora"][corpus]}

    named = {key: run[key] for key in ("data", "mixed_in") if key in run}
    return {**run, **{key: {name: of(name, about) for name, about in named[key].items()} for key in named}}


def by_engine(engines: Collection[str], licences: dict[str, str]) -> str:
    """The licences of the engines that spoke, in a line."""
    if unknown := sorted(set(engines) - set(licences)):
        raise WakewordError(f"{FILE}: no licence of the engine '{unknown[0]}': add it")
    return "; ".join(licences[engine] for engine in sorted(engines))
