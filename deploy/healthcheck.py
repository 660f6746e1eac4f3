"""Whether a Wyoming server answers: exit status 0 if so. `python healthcheck.py [HOST:PORT]` (127.0.0.1:10400)"""

from __future__ import annotations

import socket
import sys

WAIT_S = 5.0


def healthy(address: str) -> bool:
    """A ping is answered with a pong within `WAIT_S`."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), WAIT_S) as connection:
            connection.sendall(b'{"type": "ping"}\n')
            return b'"pong"' in connection.makefile("rb").readline(4096)
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy((sys.argv[1:] or ["127.0.0.1:10400"])[0]) else 1)
