"""What an exported model's meta tells of its parity with the model that it was made of, in lines.

`wakeword.export.parity` measures it, on a machine with torch; this reads it anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from wakeword.evaluation.report import false_alarms_text, missed_text

SIDES = ("float", "exported")
"""The model in torch, and what was made of it."""


def as_lines(meta: dict) -> list[str]:
    """The parity of each phrase of a meta, in lines; none of a meta that tells of none."""
    parity = meta.get("parity")
    if not parity:
        return []
    try:
        thresholds = {entry["phrase"]: entry["threshold"] for entry in meta["phrases"]}
        return [line for phrase, told in parity.items() for line in _lines(phrase, told, thresholds[phrase])]
    except (KeyError, TypeError, AttributeError, ValueError):  # a card is what its file says
        return ["its parity cannot be read: run 'wakeword parity' again"]


def _lines(phrase: str, told: dict[str, Any], threshold: float) -> Iterator[str]:
    yield (
        f"'{phrase}', {told['runtime']} beside the model that it was made of (wakeword parity, {told['measured']}): "
        f"{told['clips']} clips, {told['hours']:.2f} h of negatives"
    )
    yield f"  scores {_apart(told)} (posteriors averaged over {told['smoothing_frames']} frames)"
    if told["threshold"] != threshold:
        yield (
            f"  hits are those at the threshold {told['threshold']:.4f}, which has been changed to {threshold:.4f}: "
            "run 'wakeword parity' again"
        )
    for heard, found in told["heard"].items():
        float_hits, exported_hits, common = (found["hits"][side] for side in (*SIDES, "in_common"))
        yield f"  {heard}: {float_hits} hits before, {exported_hits} after, {common} in common; scores {_apart(found)}"
        if "false_alarms" in found:
            yield f"    false alarms {_both(found['false_alarms'], false_alarms_text)}"
            continue
        yield f"    missed {_both(found['missed'], missed_text)}"
        yield f"    missed at {told['fa_per_hour']:g}/h, in hindsight, {_both(found['missed_at'], missed_text)}"
    yield from [f"  {told['note']}"] if told["note"] else []


def _apart(found: dict[str, Any]) -> str:
    return f"at most {difference(found['largest_difference'])} apart, {found['mean_difference']:.1e} on average"


def difference(largest: float) -> str:
    """A difference of scores to three decimals, if it shows there."""
    return f"{largest:.3f}" if largest >= 5e-4 or not largest else f"{largest:.1e}"


def _both(found: dict[str, Any], text) -> str:
    return "; ".join(
        f"{when} {text(found[side]) if found[side] else 'no threshold has so few'}"
        for when, side in zip(("before", "after"), SIDES, strict=True)
    )
