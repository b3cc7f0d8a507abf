"""A server of tmux that is the test's own; the folder of its socket is private in every test."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from qrec.pane import GOING, GOING_LOOK, TRIES
from tests.helpers import environment

#: What a server that somebody else has started would have: nothing of ours but its place.
BARE = ("HOME", "PATH", "TMUX_TMPDIR")


@pytest.fixture
def tmux() -> Iterator[Callable[..., str]]:
    """Calls tmux: `tmux("kill-server")` returns what it prints.

    A server that is about to go, as its last session has just ended, takes no new one: then another is asked.
    """

    def tmux(*words: str, check: bool = True) -> str:
        for left in reversed(range(TRIES if "new-session" in words else 1)):
            done = subprocess.run(["tmux", *words], check=False, capture_output=True, text=True, env=environment())
            if not (left and GOING.search(done.stderr)):
                break
            time.sleep(GOING_LOOK)
        if check:
            done.check_returncode()
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
