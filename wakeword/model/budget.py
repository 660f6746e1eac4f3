"""Budgets of false alarms: from text to a rate per hour, and back."""

from __future__ import annotations

import re

from wakeword.errors import WakewordError

UNIT_HOURS = {"s": 1 / 3600, "min": 1 / 60, "m": 1 / 60, "h": 1.0, "hr": 1.0, "d": 24.0, "w": 168.0}
UNIT_HOURS |= {"second": 1 / 3600, "minute": 1 / 60, "hour": 1.0, "day": 24.0, "week": 168.0, "month": 730.5}
BUDGET = re.compile(
    # With an exponent, as Python writes numbers below 0.0001.
    r"(?P<count>once|one|twice|(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?)\s*(?:times?|false alarms?|fa)?"
    r"(?:\s*(?:/|per\b|a\b|an\b|every\b|in\b)\s*(?P<length>\d+(?:\.\d*)?|\.\d+)?\s*(?P<unit>[a-z]+))?"
)
LEAST, MOST = 1e-9, 1e9
"""False alarms per hour beyond which no budget means anything."""


def parse_budget(budget: str | float) -> float:
    """False alarms per hour from "0.5/h", "1 per 24 h", "2 per day", "once a week", or a number (per hour).

    Raises:
        WakewordError: anything else, or a rate that is not above zero, or is beyond all reason.
    """
    remedy = "say it as '0.5/h', '1 per 24 h', '2 per day' or a number of false alarms per hour"
    match = BUDGET.fullmatch(str(budget).strip().lower())
    if match is None:
        raise WakewordError(f"false-alarm budget {str(budget)!r} is not understood: {remedy}")
    count = float({"once": 1, "one": 1, "twice": 2}.get(match["count"], match["count"]))
    hours = 1.0
    if match["unit"] is not None:
        unit = match["unit"]
        if unit not in UNIT_HOURS and len(unit) > 2:  # a plural; "ms" is none of "m"
            unit = unit.removesuffix("s")
        if unit not in UNIT_HOURS:
            raise WakewordError(f"false-alarm budget {str(budget)!r}: unknown unit {match['unit']!r}: {remedy}")
        hours = UNIT_HOURS[unit] * (1.0 if match["length"] is None else float(match["length"]))
    if hours <= 0 or count <= 0:
        raise WakewordError(
            f"false-alarm budget {str(budget)!r} is not above zero: no detector can promise that: {remedy}"
        )
    if not LEAST <= count / hours <= MOST:
        raise WakewordError(f"false-alarm budget {str(budget)!r} is beyond what audio can show: {remedy}")
    return count / hours


def in_words(fa_per_hour: float) -> str:
    """A rate as people say it, to three digits: "1 per 24 h", "5 per h". `parse_budget` reads it."""
    if fa_per_hour == 0 or fa_per_hour >= 1:
        return f"{three_digits(fa_per_hour)} per h"
    return f"1 per {three_digits(1 / fa_per_hour)} h".replace("per 1 h", "per h")


def three_digits(value: float) -> str:
    """A number to three digits, without an exponent below ten billion."""
    return f"{float(f'{value:.3g}'):.10g}"
