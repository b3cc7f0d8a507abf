"""A server for every test that asks for one, on a port of its own; and one browser for all."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.dashboard.browser import browser as browser
from tests.dashboard.browser import look as look
from tests.dashboard.browser import page as page
from tests.dashboard.served import Served


@pytest.fixture
def serve(start: Callable[..., subprocess.Popen[bytes]], home: Path) -> Callable[..., Served]:
    """Starts servers of the test's home: `serve("--read-only")`."""

    def serve(*words: str, before: tuple[str, ...] = ()) -> Served:
        port = () if "--unix" in words or "--port" in words else ("--port", "0")
        return Served(start(*before, "start", "--no-open", *port, *words), home)

    return serve


@pytest.fixture
def server(serve: Callable[..., Served]) -> Served:
    """A server of the test's home, which is `kind`'s store if the test asks for that, too."""
    return serve()
