"""The runs that made an acoustic model, as its card tells of them: one after the other, each from the one before."""

from __future__ import annotations

LENGTHS = ("hours_heard", "hours_of_this_run", "steps_in_all", "steps", "note", "commit", "resumed")
LENGTHS += ("begun_anew",)
"""What `as_lines` tells of the entries of a card."""


def rounded(hours: float, own: float) -> float:
    """Hours to a tenth, or to a thousandth (four seconds) where a run heard less than one of its own."""
    return round(hours, 1 if own >= 1 else 3)


def added_up(hours_heard: float, steps: int, before: list[dict]) -> dict:
    """What a card says of how long a model was trained; `hours_heard` and `steps_in_all` are of all its runs.

    Args:
        hours_heard: of all runs.
        steps: of the last run.
        before: the runs before it, the first one first. `steps_in_all` is left out where one does not tell its steps.
    """
    all_steps = [*(run.get("steps") for run in before), steps]
    in_all = {} if None in all_steps else {"steps_in_all": sum(all_steps)}
    own = hours_heard - (before[-1]["hours_heard"] if before else 0.0)
    return {"hours_heard": hours_heard, "hours_of_this_run": rounded(own, own), **in_all, "steps": steps}


def commits(run: dict) -> list[str]:
    """Those of the code that a run went through, the first one first."""
    return list(dict.fromkeys([run.get("commit", "–"), *(each["commit"] for each in run.get("resumed", []))]))


def as_lines(card: dict) -> list[str]:
    """The runs of a card, a line each: commits, hours of its own, steps, layers that began anew, note. None of a card
    that tells no hours."""
    try:
        runs = [*card.get("begun_from", []), card]
        lines = []
        for index, run in enumerate(runs):
            told = added_up(run["hours_heard"], run.get("steps"), runs[:index])
            length = f"{told['hours_of_this_run']:g} h" + (f", {told['steps']} steps" if told["steps"] else "")
            made_by = f"run {index + 1}, commit {', then '.join(commits(run))}"
            anew = f" Begun anew: {', '.join(run['begun_anew'])}." if run.get("begun_anew") else ""
            lines.append(f"{made_by}: {length}.{anew} {run.get('note', '')}".strip())
        steps = f", {told['steps_in_all']} steps" if "steps_in_all" in told else ""
        return [*lines, f"in all {card['hours_heard']:g} h{steps}"]
    except (KeyError, TypeError, AttributeError, ValueError):  # a card is what its file says
        return []
