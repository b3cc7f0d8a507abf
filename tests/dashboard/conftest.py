"""A server for every test that asks for one, on a port of its own; and one browser for all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.dashboard.browser import browser as browser
from tests.dashboard.browser import look as look
from tests.dashboard.browser import page as page
from tests.dashboard.served import Served

#: Seconds after which a server tells what it has found until then: however busy a machine is, here it finds all.
PATIENT = {
    "listing.PATIENCE": 60, "executors.PATIENCE": 60, "logs.SEARCH_LOOK": 60, "seek.PATIENCE": 60, "seek.LIMIT": 60,
    "tasks.SHOWING": 60, "feed.SILENCE": 60,
}  # fmt: skip
LIMITS = Path(__file__).parent / "limits"


@pytest.fixture
def serve(start: Callable[..., subprocess.Popen[bytes]], home: Path) -> Callable[..., Served]:
    """Starts servers of the test's home: `serve("--read-only")`; `limits` are constants of qrec.dashboard's modules."""

    def serve(*words: str, limits: Mapping[str, float] = PATIENT) -> Served:
        port = () if "--unix" in words or "--port" in words else ("--port", "0")
        path = os.pathsep.join(filter(None, (str(LIMITS), os.environ.get("PYTHONPATH"))))
        env: dict[str, str | None] = {"PYTHONPATH": path, "TEST_LIMITS": json.dumps({**PATIENT, **limits})}
        return Served(start("start", "--no-open", *port, *words, env=env if limits else None), home)

    return serve


@pytest.fixture
def server(serve: Callable[..., Served]) -> Served:
    """A server of the test's home, which is `kind`'s store if the test asks for that, too."""
    return serve()
