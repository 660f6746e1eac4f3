"""A web server on the loopback address that keeps what is posted to it.

with web_server() as server:
    ...   # post to server.url
    server.got   # [(path, headers, what the JSON held), ...]
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer


@contextmanager
def web_server() -> Iterator[HTTPServer]:
    """Serve for the time of the block; `status` is what it answers, 204 at first."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["Content-Length"]))
            served.got.append((self.path, dict(self.headers), json.loads(body)))
            self.send_response(served.status)
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *said) -> None:
            pass

    served = HTTPServer(("127.0.0.1", 0), Handler)
    served.got, served.status = [], 204
    served.url = f"http://127.0.0.1:{served.server_port}"
    threading.Thread(target=served.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        served.shutdown()
        served.server_close()
