"""A real server of the dashboard, and a client that says exactly what a test wants it to say."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import re
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import simple_websocket

from tests.helpers import wait_until


class Answer:
    """What came back."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status = response.status
        self.headers = response.headers
        self.body = response.read()

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def cookie(self) -> str:
        """What the answer sets, as it is sent back."""
        return (self.headers["Set-Cookie"] or "").partition(";")[0]

    def __repr__(self) -> str:
        return f"{self.status} {dict(self.headers)}\n{self.body[:2000]!r}"


class Wire:
    """A page's socket: as much of Socket.IO as a page needs.  `heard` are the events, oldest first."""

    def __init__(self, host: str, headers: Mapping[str, str]) -> None:
        address = f"ws://{host}/socket.io/?EIO=4&transport=websocket"
        self.socket = simple_websocket.Client(address, headers=dict(headers))
        self.heard: list[tuple[str, Any]] = []
        self.answered = 0
        self.asked = 0
        self.refusal = ""
        self.connected = True
        self.open = threading.Event()
        self.socket.send("40")
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()
        assert self.open.wait(60), "the server did not answer"

    def listen(self) -> None:
        try:
            while True:
                self.take(str(self.socket.receive()))
        except simple_websocket.ConnectionClosed:
            for packet in self.socket.input_buffer:  # what came before the end, which it has not given out
                self.take(str(packet))
            self.connected = False
            self.open.set()

    def take(self, packet: str) -> None:
        if packet == "2":
            self.socket.send("3")
        elif packet.startswith(("40", "44", "41")):
            self.refusal = packet[2:] if packet.startswith("44") else ""
            self.connected = packet.startswith("40")
            self.open.set()
        elif packet.startswith("42"):
            name, *words = json.loads(packet[2:])
            self.heard.append((name, words[0] if words else None))
        elif packet.startswith("43"):
            self.answered += 1

    def emit(self, name: str, *words: Any) -> None:
        """Say something, and wait until it was heard where somebody listens to it."""
        self.asked += 1
        self.socket.send(f"42{self.asked}" + json.dumps([name, *words]))

    def watch(self, what: Any) -> None:
        """Watch something, from now on."""
        before = self.answered
        self.emit("watch", what)
        wait_until(lambda: self.answered > before, what="the server to have heard it")

    def told(self, name: str) -> list[Any]:
        """What the events of this name said."""
        return [what for heard, what in list(self.heard) if heard == name]

    def close(self) -> None:
        try:
            self.socket.close()
        except simple_websocket.ConnectionClosed:
            pass
        self.thread.join(60)

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Served:
    """A server that runs: `served.get("/tasks.json").json`, as somebody who has logged in."""

    def __init__(self, process: subprocess.Popen[bytes], home: Path) -> None:
        self.process = process
        self.home = home
        self.first_url = line_of(process)  #: with the token that it printed
        self.folder = home / "dashboard" / os.uname().nodename
        self.known = json.loads((self.folder / "server.json").read_text())
        self.port: int = self.known["port"]
        self.unix: str = self.known["unix"]
        self.host = f"127.0.0.1:{self.port}" if self.port else "localhost"
        self.base = f"http://{self.host}"
        self.session: dict[str, str] = {}

    def url(self) -> str:
        """An address with a fresh token, as `qrec start` would print it."""
        told = self.ask("POST", "/api/token", {"Authorization": f"Bearer {self.known['secret']}"})
        return f"{self.base}/?token={told.json['token']}"

    def ask(
        self, method: str, path: str, headers: Mapping[str, str | None] | None = None, body: bytes | None = None
    ) -> Answer:
        """A request with these headers and no others but Host and Content-Length; None leaves one of those out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port or 80, timeout=60)
        if self.unix:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(self.unix)
        try:
            chosen: dict[str, str | None] = {"Host": self.host, **(headers or {})}
            if body is not None:
                chosen.setdefault("Content-Length", str(len(body)))
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in chosen.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            return Answer(connection.getresponse())
        finally:
            connection.close()

    def log_in(self) -> dict[str, str]:
        """The headers of a page that has a session."""
        if not self.session:
            path = urlsplit(self.url())
            cookie = self.ask("GET", f"{path.path}?{path.query}").cookie
            page = self.ask("GET", "/tasks", {"Cookie": cookie}).text
            found = re.search(r'data-csrf="(\w+)"', page)
            assert found, page
            self.session = {"Cookie": cookie, "Origin": self.base, "X-Qrec-CSRF": found[1]}
        return self.session

    def get(self, path: str) -> Answer:
        """As a page asks."""
        return self.ask("GET", path, {"Cookie": self.log_in()["Cookie"]})

    def post(self, path: str, body: Any = None, **changed: str | None) -> Answer:
        """As a page changes something; `changed` are other headers, None for one that is left out."""
        given = {name.replace("_", "-"): value for name, value in changed.items()}
        headers = {**self.log_in(), "Content-Type": "application/json", **given}
        return self.ask("POST", path, headers, json.dumps(body if body is not None else {}).encode())

    def delete(self, path: str) -> Answer:
        """As a page removes something."""
        return self.ask("DELETE", path, self.log_in())

    def connect(self) -> Wire:
        """A page's socket; the test closes it."""
        return Wire(self.host, {"Cookie": self.log_in()["Cookie"]})

    def end(self, number: int = signal.SIGTERM) -> int:
        """End the server; its return code."""
        self.process.send_signal(number)
        return self.process.wait(60)


def in_turn(*lines: str, pause: float = 0.05) -> str:
    """A script that prints lines, those with a `!` before them to stderr: each when the one before was recorded."""
    steps = []
    for line in lines:
        words, stream = (line[1:], "stderr") if line.startswith("!") else (line, "stdout")
        recorded = f'"$QREC_HOME"/attempts/*/*/{stream}'
        steps.append(f"echo {words}{' >&2' if stream == 'stderr' else ''}")
        steps.append(f"until grep -qsx '{words}' {recorded}; do sleep 0.02; done; sleep {pause}")
    return "; ".join(steps[:-1])


#: Goes on until its use was looked at twice.
MEASURED = 'until [ "$(cat "$QREC_HOME"/attempts/*/*/series 2>/dev/null | wc -l)" -ge 2 ]; do sleep 0.05; done'
#: Uses the CPU, and goes on as long.
BUSY = f"i=0; while [ $i -lt 50000 ]; do i=$((i+1)); done; {MEASURED}"


def free_port() -> int:
    """A port that nobody is given who asks for any: it stays free while nobody listens there."""
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def line_of(process: subprocess.Popen[bytes]) -> str:
    """The line that a server prints when it is ready."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 60)[0], "the server said nothing"
    line = process.stdout.readline().decode().strip()
    if not line:
        assert process.stderr is not None
        raise AssertionError(process.stderr.read().decode())
    return line
