"""What the terminal shows: in a string, without a terminal."""

from __future__ import annotations

import io
import types

import numpy as np
import pytest

rich_console = pytest.importorskip("rich.console", reason="NO LIVE VIEW: rich is missing (pip install '.[view]')")

from wakeword.listener import view as module  # noqa: E402
from wakeword.listener.listener import Heard  # noqa: E402
from wakeword.listener.view import BAR, View, bar  # noqa: E402


@pytest.mark.parametrize(
    "value, mark, expected",
    [
        (0.0, None, "·" * 10),
        (1.0, None, "█" * 10),
        (0.5, 0.8, "█████···│·"),
        (0.9, 0.2, "██│██████·"),
        (7.0, 1.0, "█████████│"),
        (-3.0, 0.0, "│·········"),
    ],
)
def test_a_bar(value, mark, expected) -> None:
    assert bar(value, mark, 10) == expected


def detector(phrases, thresholds):
    return types.SimpleNamespace(phrases=phrases, thresholds=thresholds, peaks=None)


def heard(level: float, time_s: float) -> Heard:
    return Heard(np.full(1280, level, np.float32), time_s, [], None)


def test_it_shows_level_scores_thresholds_and_the_last_hits(monkeypatch) -> None:
    monkeypatch.setattr(module, "REFRESH_S", 0.0)
    said = io.StringIO()
    console = rich_console.Console(file=said, force_terminal=True, width=100, color_system=None)
    one, two = detector(("alexa", "jarvis"), (0.5, 0.9)), detector(("computer [red]",), (0.7,))
    with View([one, two], console) as view:
        view.block(heard(0.0, 0.08), 0)
        assert "alexa " + "·" * (BAR // 2) + "│" in view.lines().plain
        one.peaks, two.peaks = (0.625, 0.1), (0.05,)
        for number in range(7):
            view.hit(f"hit number {number}")
        view.tell("microphone 'x [bold]' is lost")
        view.block(heard(0.1, 3600.0), 3)
    shown = view.lines().plain
    assert "-20 dBFS" in shown and "0.625 of 0.500" in shown and "0.100 of 0.900" in shown and "0.050 of 0.700" in shown
    assert "3600 s, 7 hit(s), 3 overrun(s)" in shown
    assert "hit number 6" in shown and "hit number 2" in shown and "hit number 1\n" not in shown, "the last five"
    assert "computer [red]" in said.getvalue() and "wakeword: microphone 'x [bold]' is lost" in said.getvalue()
    assert "hit number 6" in said.getvalue()


def test_a_peak_stays_a_moment_and_falls(monkeypatch) -> None:
    one = detector(("alexa",), (0.5,))
    console = rich_console.Console(file=io.StringIO(), force_terminal=True, width=100)
    with View([one], console) as view:
        one.peaks = (1.0,)
        view.block(heard(0.1, 0.08), 0)
        one.peaks = (0.0,)
        view.block(heard(0.1, 0.16), 0)
        assert "0.800 of 0.500" in view.lines().plain
        for _ in range(30):
            view.block(heard(0.0, 0.16), 0)
    assert "0.001 of" in view.lines().plain


def test_it_draws_four_times_a_second_and_no_more(monkeypatch) -> None:
    now, drawn = [100.0], []
    monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    console = rich_console.Console(file=io.StringIO(), force_terminal=True, width=100)
    with View([detector(("alexa",), (0.5,))], console) as view:
        view._live.update = lambda *given, **more: drawn.append(now[0])
        for number in range(125):
            now[0] = 100 + 0.08 * number
            view.block(heard(0.1, 0.08 * number), 0)
    assert 25 <= len(drawn) <= 40
