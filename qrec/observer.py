"""The process that looks after a command which outlives the terminal and the qrec that started it.

It is told on stdin what to run, tells on stdout that it runs (or why not), and observes it to its end: output, usage
and time limit.  If it is killed, the shim still keeps the return code, and the next qrec call closes the record.
"""

from __future__ import annotations

import json
import os
import sys

from qrec.errors import CouldNotStart, QrecError
from qrec.process import entry, spawn
from qrec.task import Record, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.recorder import Outcome, Recorder, Recording

PROGRAM = entry("qrec.observer")


class Request(Record):
    """What an observer is to do."""

    home: str
    store: str  #: its URL
    task: dict[str, Any]
    words: Sequence[str]  #: what is executed
    timeout: float | None = None  #: seconds
    known: bool = False  #: whether the store has the attempt
    grace: float
    variables: Sequence[str] = ()  #: to be recorded, too
    secrets: Sequence[str] = ()  #: the user's own patterns
    adopt: Sequence[int] = ()  #: pid and start ticks of what runs already and is to be looked after, see adopted.py


def send_off(request: Request, program: str | None = None) -> tuple[Task, list[str]]:
    """Start an observer with a session of its own; return the task as it runs, and its complaints.

    Raises CouldNotStart.
    """
    asked, ask = os.pipe()
    told, tell = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)
    try:
        spawn([sys.executable, "-c", program or PROGRAM], {0: asked, 1: tell, 2: null}, new_session=True)
    finally:
        for number in (asked, tell, null):
            os.close(number)
    with open(ask, "w") as out, open(told) as back:
        try:
            json.dump(request.asdict(), out, default=dict)
            out.close()
        except BrokenPipeError:
            pass  # it has ended, and its answer tells why
        return understood(back.read())


def understood(answer: str) -> tuple[Task, list[str]]:
    """What an observer told."""
    if not answer:
        raise CouldNotStart("the process that was to look after the command has ended; `qrec doctor` may tell why")
    told = json.loads(answer)
    if "error" in told:
        raise CouldNotStart(told["error"])
    return Task.from_plain(told["task"]), told["complaints"]


def main() -> None:
    """Do what is asked on stdin."""
    request = Request(**json.load(sys.stdin))
    try:
        recorder = recorder_of(request)
        recording = recorder.detach(Task.from_plain(request.task), tuple(request.words), request.known)
    except (QrecError, OSError) as error:
        answer({"error": str(error)})
        return
    answer({"task": recording.task.plain(), "complaints": recorder.complaints})
    recording.outcome = outcome_of(recorder, recording.task)
    look_after(recording, request.timeout)


def recorder_of(request: Request) -> Recorder:
    """The recorder for a home and a store."""
    from qrec.config import Config
    from qrec.recorder import Recorder
    from qrec.redact import Redactor
    from qrec.registry import Registry

    store = Registry(request.home).store(request.home, request.store)
    if (config := Config(request.home)).written.get("hooks"):
        from qrec.firing import attach

        attach(store, config)
    recorder = Recorder(request.home, store, request.grace)
    recorder.variables = tuple(request.variables)
    recorder.redactor = Redactor(request.secrets)
    return recorder


def outcome_of(recorder: Recorder, task: Task) -> Outcome | None:
    """What the task's executor makes of its end, where that is more than the shell makes of it."""
    from qrec.registry import Registry

    if task.executor in ("shell", "queue"):
        return None
    try:
        return getattr(Registry(recorder.home).executor(task.executor)(recorder), "outcome", None)
    except Exception:  # its plug-in has gone, or is broken; the command runs already
        return None


def answer(words: dict[str, Any]) -> None:
    """Tell whoever has started us, and let them go on."""
    try:
        os.write(1, json.dumps(words, default=dict).encode())
    except BrokenPipeError:
        pass  # they did not wait
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1):
        os.dup2(null, number)


def look_after(recording: Recording, timeout: float | None) -> None:
    """Observe the command to its end."""
    if recording.shim is not None:
        recording.observe(recording.shim, timeout)
