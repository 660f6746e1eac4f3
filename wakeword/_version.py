from __future__ import annotations

import subprocess
from pathlib import Path

__version__ = "0.1.0"


def commit() -> str:
    """The commit of the source tree that this package runs from; empty where it is installed without one.

    `-dirty` after it: a Python or TOML file differs from it. Others, such as results, do not change what runs do.
    """
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return ""

    def git(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10)

    try:
        told = git("rev-parse", "--short=12", "HEAD")
        if told.returncode:
            return ""
        changed = git("diff", "--quiet", "HEAD", "--", "*.py", "*.toml").returncode
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return told.stdout.strip() + ("-dirty" if changed else "")
