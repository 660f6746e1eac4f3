"""Who may come in at the web page: each request is checked before anything is done for it.

The address is the loopback's, but that alone keeps nobody out: other users of the machine reach it, and so does any web
page that is open in a browser here, by a form, a script or a name that it lets point here (DNS rebinding).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources

SOCKET = "/socket"
TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}


class Denied(Exception):
    """A request that is refused, in words that fit a status line."""

    def __init__(self, status: int, reason: str):
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Answer:
    """What an allowed request is answered: a file of the page with its headers, or, for `body` None, a websocket."""

    body: bytes | None
    headers: tuple[tuple[str, str], ...] = ()


class Door:
    """Checks requests to one server, which has a token of its own for each start.

    Attributes:
        token: whoever has it is let in: in the address at first, then in a cookie that the page's scripts cannot read.
    """

    def __init__(self, port: int):
        self.token = secrets.token_urlsafe(32)
        self._once: str | None = None
        self._hosts = [f"{name}:{port}" if port != 80 else name for name in ("127.0.0.1", "localhost")]
        self._cookie = f"wakeword_{port}"  # a browser gives cookies to all ports of a host
        # All that is ever served: what a request says is looked up here and never made a path of.
        folder = resources.files("wakeword.listener") / "web"
        self._files = {f"/{file.name}": (file.read_bytes(), file.name) for file in folder.iterdir() if file.is_file()}
        self._files["/"] = self._files.pop("/index.html")

    def address(self) -> str:
        """What the user opens."""
        return f"http://{self._hosts[0]}/?token={self.token}"

    def address_once(self) -> str:
        """The same to be given to a browser, on a command line that others may read: it opens the door once."""
        self._once = secrets.token_urlsafe(32)
        return f"http://{self._hosts[0]}/?token={self._once}"

    def check(self, method: str, target: str, header: Callable[[str], Sequence[str]]) -> Answer:
        """What a request is answered.

        Args:
            target: path and query, as they came.
            header: gives the values of all headers of a name.

        Raises:
            Denied: it is not allowed, or there is no such thing.
        """
        if method != "GET":
            raise Denied(405, "only GET is answered here")
        hosts = list(header("Host"))
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            raise Denied(403, "a request to another host: open the address as it was printed")
        path, _, query = target.partition("?")
        origins = list(header("Origin"))
        if any(origin != f"http://{hosts[0]}" for origin in origins) or (path == SOCKET and len(origins) != 1):
            raise Denied(403, "a request from another page")
        by_address = path == "/" and self._opens(query.removeprefix("token="))
        if not by_address:
            # Pages of other ports of this machine are of the same site, so that their requests bear the cookie.
            if any(site not in ("same-origin", "none") for site in header("Sec-Fetch-Site")):
                raise Denied(403, "a request from another page")
            if not self._has_cookie(header("Cookie")):
                raise Denied(403, "a request without the token: open the address as it was printed")
        if path == SOCKET:
            return Answer(None)
        if path not in self._files:
            raise Denied(404, "there is no such page")
        body, name = self._files[path]
        headers = [("Content-Type", TYPES[name.rpartition(".")[2]])]
        headers += _protecting(hosts[0])
        if by_address:
            headers.append(("Set-Cookie", f"{self._cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"))
        return Answer(body, tuple(headers))

    def _opens(self, said: str) -> bool:
        if self._once is not None and _same(said, self._once):
            self._once = None
            return True
        return _same(said, self.token)

    def _has_cookie(self, values: Sequence[str]) -> bool:
        said = [pair.strip().partition("=") for value in values for pair in value.split(";")]
        return any(name == self._cookie and _same(value, self.token) for name, _, value in said)


def _same(said: str, secret: str) -> bool:
    return secrets.compare_digest(said.encode("utf-8", "surrogateescape"), secret.encode())


def _protecting(host: str) -> list[tuple[str, str]]:
    """What keeps the page to itself: nothing from elsewhere, no script within it, in no frame, in no cache."""
    policy = (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self' ws://{host}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return [
        ("Content-Security-Policy", policy),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Cross-Origin-Opener-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("Cache-Control", "no-store"),
    ]
