"""What tests share that is no fixture."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psutil

from qrec.testing.processes import wait_until as wait_until

#: The checkout.
ROOT = Path(__file__).resolve().parent.parent


class Result(subprocess.CompletedProcess[bytes]):
    """How a call of the qrec program went: `stdout` and `stderr` are bytes, `out` and `err` the same as text."""

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def json(self) -> Any:
        """What the program printed, parsed; a failed call shows itself instead of a parser's complaint."""
        assert self.returncode == 0, self
        return json.loads(self.stdout)

    def __repr__(self) -> str:
        return f"{self.args} ended with {self.returncode}\nstdout: {self.stdout!r}\nstderr: {self.stderr!r}"


def environment(changes: dict[str, str | None] | None = None) -> dict[str, str]:
    """The environment of this test with `changes`; None takes a variable away."""
    merged = {**os.environ, **(changes or {})}
    return {name: value for name, value in merged.items() if value is not None}


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process a test has started, however it has detached itself.

    All are given a HOME in the test's folder; one with another HOME is known by whatever else names that folder.
    """
    return [
        process
        for process in psutil.process_iter(["environ"])
        if process.pid != os.getpid() and names(process.info["environ"] or {}, folder)
    ]


def names(variables: dict[str, str], folder: Path) -> bool:
    return any(f"{value}/".startswith(f"{folder}/") for value in variables.values())


def kill_processes_of(folder: Path) -> None:
    """Ends what a test has left behind, until nothing of it is left: one may start another while we look."""

    def nothing_left() -> bool:
        left = processes_of(folder)
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return not left

    wait_until(nothing_left, what=f"the processes of {folder} to end")
