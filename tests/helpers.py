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
    found = []
    for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))):
        if pid != os.getpid() and names(environment_of(pid), os.fsencode(folder)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
    return found


def environment_of(pid: int) -> bytes:
    """As it was given to that program; nothing of one that has ended, or is somebody else's."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return file.read()
    except OSError:
        return b""


def names(variables: bytes, folder: bytes) -> bool:
    """Whether the value of a variable is a folder, or a place in it."""
    if folder not in variables:
        return False
    return any((one.partition(b"=")[2] + b"/").startswith(folder + b"/") for one in variables.split(b"\0"))


def is_called(process: psutil.Process, name: str) -> bool:
    """Whether a process runs that program; one that ends while we look does not."""
    try:
        return process.name() == name
    except psutil.Error:
        return False


def kill_processes_of(folder: Path, but: int | None = None) -> None:
    """Ends what a test has left behind, until nothing of it is left: one may start another while we look."""

    def nothing_left() -> bool:
        left = [process for process in processes_of(folder) if process.pid != but]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        return not left

    wait_until(nothing_left, what=f"the processes of {folder} to end")
