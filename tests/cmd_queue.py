"""What the tests of scripts that were written for cmd_queue share."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

ESCAPE = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def printed(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What has been printed since the last call, without colours."""
    return lambda: ESCAPE.sub("", capfd.readouterr().out)


def counts(state: dict[str, Any]) -> dict[str, Any]:
    """How many jobs of a queue passed, failed and were skipped."""
    return {key: state[key] for key in ("passed", "failed", "skipped", "total")}


def over(passed: int, failed: int = 0, skipped: int = 0) -> dict[str, Any]:
    """The counts of a queue that is over."""
    return {"passed": passed, "failed": failed, "skipped": skipped, "total": passed + failed + skipped}


def are_in_order(text: str, *words: str) -> bool:
    """Whether all the words are in the text, each behind the one before."""
    return re.search(".*".join(map(re.escape, words)), text, re.DOTALL) is not None
