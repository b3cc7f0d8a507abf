"""A server of tmux that is the test's own; the folder of its socket is private in every test."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.helpers import environment

#: What a server that somebody else has started would have: nothing of ours but its place.
BARE = ("HOME", "PATH", "TMUX_TMPDIR")


@pytest.fixture
def tmux() -> Iterator[Callable[..., str]]:
    """Calls tmux: `tmux("kill-server")` returns what it prints."""

    def tmux(*words: str, check: bool = True) -> str:
        done = subprocess.run(["tmux", *words], check=check, capture_output=True, text=True, env=environment())
        return done.stdout

    yield tmux
    tmux("kill-server", check=False)


@pytest.fixture
def old_server(tmux: Callable[..., str]) -> None:
    """The server runs already, in another folder and with another environment, where programs see the wrong home."""
    every = environment()
    bare = {name: every[name] for name in BARE}
    bare |= {"QREC_HOME": "/nonexistent/home", "PYTHONHOME": "/nonexistent/python", "OLD": "old"}
    subprocess.run(["tmux", "new-session", "-d", "-s", "old", "sleep 600"], check=True, env=bare, cwd="/")
