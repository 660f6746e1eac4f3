"""What `listen` shows in a terminal: the level, each phrase's score and threshold, the last hits."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import numpy as np

from wakeword.detector.detector import Detector
from wakeword.errors import require
from wakeword.listener.listener import Heard

REFRESH_S = 0.25
LAST_HITS = 5
BAR = 40
QUIETEST_DBFS = -60.0
FALL = 0.8


def bar(value: float, mark: float | None = None, width: int = BAR) -> str:
    """`value` and `mark` in [0, 1] as a bar of `width` characters, the mark a line in it."""
    filled = round(width * min(1.0, max(0.0, value)))
    cells = ["█"] * filled + ["·"] * (width - filled)
    if mark is not None:
        cells[min(width - 1, int(width * mark))] = "│"
    return "".join(cells)


class View:
    """Redraws a few lines at most four times a second; other lines go above them by `tell`.

    Raises:
        WakewordError: the package rich is missing.
    """

    def __init__(self, detectors: Sequence[Detector], console=None):
        require("rich", "view")
        from rich.console import Console
        from rich.live import Live

        self._detectors = detectors
        self._level = 0.0
        self._scores = [[0.0] * len(detector.phrases) for detector in detectors]
        self._hits: deque[str] = deque(maxlen=LAST_HITS)
        self._heard_s, self._overruns, self._count = 0.0, 0, 0
        self._drawn = -REFRESH_S
        # No thread of its own: it draws when sound comes, so nothing is drawn that was not heard.
        self._live = Live(console=console or Console(), auto_refresh=False, transient=False)

    def __enter__(self) -> View:
        self._live.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._live.__exit__(*error)

    def tell(self, line: str) -> None:
        """A line above the view."""
        from rich.text import Text

        self._live.console.print(Text(f"wakeword: {line}"))

    def block(self, heard: Heard, overruns: int) -> None:
        """A block that was heard; the scores since the last drawing are shown by their highest."""
        self._level = max(self._level * FALL, float(np.sqrt(np.mean(np.square(heard.samples)))))
        for scores, detector in zip(self._scores, self._detectors, strict=True):
            if detector.peaks is not None:
                scores[:] = [max(FALL * old, new) for old, new in zip(scores, detector.peaks, strict=True)]
        self._heard_s, self._overruns = heard.time_s, overruns
        now = time.monotonic()
        if now - self._drawn >= REFRESH_S:
            self._drawn = now
            self._live.update(self.lines(), refresh=True)

    def hit(self, line: str) -> None:
        """One hit more, as a line."""
        self._count += 1
        self._hits.append(line)
        self._drawn = -REFRESH_S  # seen at once

    def lines(self):
        """What is drawn, a `rich.text.Text`."""
        from rich.text import Text

        level = 20 * np.log10(max(self._level, 1e-9))
        shown = Text()
        shown.append(f"{'level':>16} {bar(1 - level / QUIETEST_DBFS)} {max(level, -99):4.0f} dBFS\n")
        for scores, detector in zip(self._scores, self._detectors, strict=True):
            for score, phrase, threshold in zip(scores, detector.phrases, detector.thresholds, strict=True):
                style = "bold green" if score >= threshold else ""
                line = f"{phrase[:16]:>16} {bar(score, threshold)} {score:.3f} of {threshold:.3f}\n"
                shown.append(line, style)
        shown.append(f"{'heard':>16} {self._heard_s:.0f} s, {self._count} hit(s), {self._overruns} overrun(s)", "dim")
        for line in self._hits:
            shown.append(f"\n{'':16} {line}")
        return shown
