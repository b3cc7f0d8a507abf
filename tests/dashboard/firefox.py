"""Firefox, as it comes: spoken to in WebDriver BiDi, since Playwright drives no other than its own build."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import simple_websocket

from tests.helpers import wait_until

#: No look for updates, news or portals: nothing but what a test asks for.
QUIET = """\
user_pref("app.update.auto", false);
user_pref("app.normandy.enabled", false);
user_pref("browser.aboutConfig.showWarning", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("browser.safebrowsing.downloads.enabled", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "http://127.0.0.1:9/");
user_pref("toolkit.telemetry.enabled", false);
"""
LISTENING = re.compile(rb"BiDi listening on (ws://\S+)")


class Socket(simple_websocket.Client):  # type: ignore[misc]
    """A client whose Host has the port in it: Firefox takes no other."""

    host: str

    def handshake(self) -> None:
        self.host = f"{self.host}:{self.port}"
        super().handshake()


class Firefox:
    """One window.  `complaints` are the errors that its pages told on the console, `asked` the addresses they used."""

    def __init__(self, address: str) -> None:
        self.socket = Socket(f"{address}/session")
        self.numbers = itertools.count(1)
        self.answers: dict[int, Any] = {}
        self.complaints: list[str] = []
        self.asked: set[str] = set()
        threading.Thread(target=self.listen, daemon=True).start()
        self.call("session.new", capabilities={})
        self.call("session.subscribe", events=["log.entryAdded", "network.beforeRequestSent"])
        self.window = self.call("browsingContext.create", type="tab")["context"]

    def listen(self) -> None:
        try:
            while True:
                self.take(json.loads(self.socket.receive()))
        except simple_websocket.ConnectionClosed:
            pass

    def take(self, message: Any) -> None:
        if "id" in message:
            self.answers[message["id"]] = message
        elif message["method"] == "log.entryAdded" and message["params"]["level"] == "error":
            self.complaints.append(message["params"]["text"])
        elif message["method"] == "network.beforeRequestSent":
            self.asked.add(message["params"]["request"]["url"])

    def call(self, method: str, **params: Any) -> Any:
        """Have something done, and wait until it is."""
        number = next(self.numbers)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        answer = wait_until(lambda: self.answers.pop(number, None), 60, method)
        assert answer["type"] == "success", answer
        return answer["result"]

    def show(self, address: str) -> None:
        """Load a page."""
        self.call("browsingContext.navigate", context=self.window, url=address, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """A text, number or truth that a page tells."""
        told = self.call(
            "script.evaluate", expression=expression, target={"context": self.window}, awaitPromise=True
        )  # fmt: skip
        assert told["type"] == "success", told
        return told["result"].get("value")

    @property
    def text(self) -> str:
        """What is to be read on the page."""
        return str(self.evaluate("document.body?.innerText"))


@contextmanager
def started(folder: Path) -> Iterator[Firefox]:
    """Firefox, with a profile of its own in a folder, until the end of the `with`."""
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if not program:
        pytest.skip("needs Firefox")
    (folder / "user.js").write_text(QUIET)
    words = [program, "--headless", "--no-remote", "--profile", str(folder), "--remote-debugging-port=0", "about:blank"]
    with open(folder / "said", "wb") as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
    try:
        told = wait_until(lambda: LISTENING.findall((folder / "said").read_bytes()), 90, "Firefox to listen")
        yield Firefox(told[0].decode())
    finally:
        process.terminate()
        process.wait(60)
