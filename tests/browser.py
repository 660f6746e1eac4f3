"""A headless Chromium whose microphone is a file, driven over its DevTools protocol.

with Browser(folder, clip) as browser:
    browser.open(url)
    browser.run("document.title")          # any JavaScript; its value
    browser.until("window.done === true")  # waits for it to be true
    browser.requests                       # the addresses that the page asked for
    browser.played                         # how many binary messages its websockets got
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from urllib.request import urlopen

from websockets.sync.client import connect

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
LATE_S = 60


def program() -> str | None:
    """The Chromium that is installed, if one is."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


class Browser:
    def __init__(self, folder: Path, microphone: Path):
        self._folder = folder / "profile"
        self.requests: list[str] = []
        self.errors: list[str] = []
        self._sent = self.played = 0
        with open(folder / "browser.log", "wb") as log:
            self._process = subprocess.Popen(
                [
                    program(),
                    "--headless",
                    "--no-sandbox",  # root in a container has none; the page is our own
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--remote-debugging-port=0",
                    f"--user-data-dir={self._folder}",
                    "--use-fake-device-for-media-stream",
                    "--use-fake-ui-for-media-stream",
                    f"--use-file-for-fake-audio-capture={microphone}",
                    "about:blank",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,  # the program is a script, and starts others
            )

    def __enter__(self) -> Browser:
        with ExitStack() as stack:
            stack.callback(self._process.wait)
            stack.callback(os.killpg, self._process.pid, signal.SIGKILL)
            told = self._folder / "DevToolsActivePort"
            self._wait(lambda: told.exists() and told.read_text().count("\n"), "Chromium to start")
            port = told.read_text().split()[0]
            with urlopen(f"http://127.0.0.1:{port}/json/list", timeout=LATE_S) as listed:
                page = next(each for each in json.load(listed) if each["type"] == "page")
            self._tools = stack.enter_context(connect(page["webSocketDebuggerUrl"], max_size=None))
            for domain in ("Page", "Runtime", "Network", "Log"):
                self._do(f"{domain}.enable")
            self._open = stack.pop_all()
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def open(self, url: str) -> None:
        self._do("Page.navigate", url=url)
        self.until("document.readyState === 'complete'")

    def run(self, script: str):
        """The value of an expression; as if the user had just clicked."""
        found = self._do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, script: str):
        """Wait until the expression is true, and give its value."""
        return self._wait(lambda: self.run(script), script)

    def click(self, name: str) -> None:
        """Click on the element of this id once it can be."""
        self.until(f"!document.getElementById('{name}').disabled")
        self.run(f"document.getElementById('{name}').click()")

    def text(self, name: str) -> str:
        return self.run(f"document.getElementById('{name}').innerText")

    def _wait(self, true, what: str):
        deadline = time.monotonic() + LATE_S
        while time.monotonic() < deadline:
            if value := true():
                return value
            assert self._process.poll() is None, "Chromium ended"
            time.sleep(0.05)
        raise AssertionError(f"waited in vain for {what}; the page's errors: {self.errors}")

    def _do(self, method: str, **parameters) -> dict:
        self._sent += 1
        self._tools.send(json.dumps({"id": self._sent, "method": method, "params": parameters}))
        while True:
            said = json.loads(self._tools.recv(timeout=LATE_S))
            if said.get("id") == self._sent:
                assert "error" not in said, said
                return said["result"]
            self._note(said)

    def _note(self, said: dict) -> None:
        method, about = said["method"], said["params"]
        if method == "Network.requestWillBeSent":
            self.requests.append(about["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(about["url"])
        elif method == "Network.webSocketFrameReceived":
            self.played += about["response"]["opcode"] == 2
        elif method == "Runtime.exceptionThrown":
            self.errors.append(about["exceptionDetails"].get("exception", {}).get("description", str(about)))
        elif method == "Log.entryAdded" and about["entry"]["level"] == "error":
            self.errors.append(f"{about['entry']['text']} {about['entry'].get('url', '')}")
