"""Runs recorded commands again, in a process of its own: what the dashboard starts outlives it and is never in its way.

It is told on stdin what to run and tells on stdout, a line each, how that went.
"""

from __future__ import annotations

import json
import os
import select
import sys

from qrec.errors import QrecError, Refused
from qrec.process import entry, spawn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

PATIENCE = 60.0  #: seconds for a start; one that takes longer goes on without being waited for
PROGRAM = entry("qrec.dashboard.again")


def start(home: str, store: str, wanted: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Start commands; each is `{"uid": ...}`, to be run again, or `{"argv": [...]}` with `cwd`, to be run anew.

    Returns for each `{"uid": ...}` of its task, or `{"error": a sentence}`.
    """
    asked, ask = os.pipe()
    told, tell = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        pid = spawn([sys.executable, "-c", PROGRAM, home, store], {0: asked, 1: tell, 2: null}, new_session=True)
    finally:
        for number in (asked, tell, null):
            os.close(number)
    with open(ask, "w") as out:
        try:
            json.dump(list(wanted), out)
        except BrokenPipeError:
            pass  # it has ended, and says nothing
    answers = list(lines(told, len(wanted)))
    os.close(told)
    reap(pid)
    silent = {"error": "the process that was to start it has not answered; `qrec doctor` may tell why"}
    return [*answers, *([silent] * (len(wanted) - len(answers)))]


def lines(told: int, count: int) -> Iterator[dict[str, Any]]:
    """What the process tells, as long as that does not take too long."""
    kept = b""
    while count and select.select([told], [], [], PATIENCE)[0]:
        block = os.read(told, 1 << 16)
        if not block:
            return
        *whole, kept = (kept + block).split(b"\n")
        for line in whole:
            yield json.loads(line)
            count -= 1


def reap(pid: int) -> None:
    """Wait for the end of the process, without being held up by one that takes its time."""
    import threading

    def wait() -> None:
        try:
            os.waitpid(pid, 0)
        except ChildProcessError:
            pass

    threading.Thread(target=wait, daemon=True, name="reap").start()


def main() -> None:
    """Do what is asked on stdin."""
    from qrec.api import Qrec

    home, store = sys.argv[1:3]
    wanted = json.load(sys.stdin)
    null = os.open(os.devnull, os.O_RDWR)
    answers = os.dup(1)
    for number in (0, 1):
        os.dup2(null, number)
    door = Qrec(home, store)
    for one in wanted:
        try:
            told: dict[str, Any] = {"uid": started(door, one)}
        except QrecError as error:
            told = {"error": str(error)}
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error} (an error of qrec's own)"}
        try:
            os.write(answers, json.dumps(told).encode() + b"\n")
        except BrokenPipeError:
            pass  # nobody waits any more; what was asked for is done all the same


def started(door: Any, one: Mapping[str, Any]) -> str:
    """Start one; return the uid of its task."""
    if "uid" in one:
        secrets = one.get("secrets")
        task = door.rerun(
            one["uid"], message=one.get("message"), show=False, detach=True,
            secrets=None if secrets is None else lambda count: given(secrets, count),
        )  # fmt: skip
    else:
        os.chdir(one["cwd"])
        task = door.run(one["argv"], cwd=one["cwd"], message=one.get("message") or "", tags=one.get("tags", ()),
                        show=False, detach=True)  # fmt: skip
    return str(task.uid)


def given(secrets: Sequence[str], count: int) -> Sequence[str]:
    """The secrets, if they are as many as were left out."""
    if len(secrets) != count:
        raise Refused(f"{count} secrets were left out of its record, and {len(secrets)} were given")
    return secrets
