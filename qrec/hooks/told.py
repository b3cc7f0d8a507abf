"""What a hook is told of a task: the words it is called with, its variables, and JSON on its stdin."""

from __future__ import annotations

import os

from qrec.errors import NoSuchTask
from qrec.hook_tables import NOTIFIER, Table
from qrec.output import last_lines, text_lines
from qrec.task import INSIDE, Record, Status, Task
from qrec.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qrec.api import Qrec

LONGEST = 4096  #: characters of a variable
LOOKED_AT = 1 << 16  #: bytes of output among which its last lines are looked for


class Call(Record):
    """A hook's process: what it executes, and what it is told."""

    name: str
    words: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    told: Mapping[str, Any]  #: JSON for its stdin
    limit: float  #: seconds


def call_of(door: Qrec, table: Table, event: str, task: Task) -> Call:
    """The call of a hook for an event of a task.  Raises QrecError for a plug-in that is broken or not there."""
    lines = lines_of(door, table, task)
    jobs = jobs_of(door, task) if event == "queue" else {}
    told = plain({"hook": table.name, "event": event, "last_lines": lines, "jobs": jobs, **published_of(door, task)})
    words: tuple[str, ...] = ("/bin/sh", "-c", str(table.what))
    if table.deed != "run":
        words = python_words(door, table)
        told = {"told": told, "task": plain(task.plain()), "settings": settings(door, table)}
    env = variables(door, table, event, task, lines, jobs)
    cwd = task.pwd if os.path.isdir(task.pwd) else "/"
    return Call(name=table.name, words=words, env=env, told=told, limit=table.limit, cwd=cwd)


def python_words(door: Qrec, table: Table) -> tuple[str, ...]:
    """What runs a hook that is a class: a ready-made one is called like the key that asks for it."""
    import sys

    from qrec.errors import WrongUsage, did_you_mean
    from qrec.process import entry
    from qrec.registry import HOOKS

    name = str(table.what) if table.deed == "hook" else table.deed
    plugin = door.registry.named(HOOKS, name)
    if plugin is None:
        door.registry.check_broken(HOOKS, name)
        known = door.registry.names(HOOKS)
        there = f"there are: {', '.join(known)}"
        raise WrongUsage(f"no plug-in has a hook {name!r}; " + did_you_mean(name, known, there))
    return (sys.executable, "-c", entry("qrec.hooks.python"), plugin.value)


def settings(door: Qrec, table: Table) -> dict[str, Any]:
    """What a class is told of its table."""
    more = {"urls": list(door.setting("notify"))} if table.name == NOTIFIER else {}
    return {**table.written, **more}


def published_of(door: Qrec, task: Task) -> dict[str, Any]:
    """The task as `qrec get` prints it, known to the store or not."""
    from qrec.published import published

    try:
        return door.published(task)
    except NoSuchTask:
        return published(task, door.covered(door.store.output(task)))


def plain(value: Any) -> Any:
    """JSON's own types, with text that can be encoded."""
    import json

    return json.loads(json.dumps(value, default=dict).encode("utf-8", "replace"))


def lines_of(door: Qrec, table: Table, task: Task) -> list[str]:
    """The last lines of a task's output, without the secrets in them."""
    if not table.lines:
        return []
    blocks = [block for _, block in last_lines(door.output(task), table.lines)]
    return [line.rstrip("\r\n") for line in text_lines([b"".join(blocks)[-LOOKED_AT:]])][-table.lines :]


def jobs_of(door: Qrec, task: Task) -> dict[str, int]:
    """How many jobs of a task's queue have which status."""
    from qrec.jobs import Jobs

    queue = Jobs(door, str(task.queue))
    return queue.counts() if queue.exists else {}


def variables(
    door: Qrec, table: Table, event: str, task: Task, lines: list[str], jobs: Mapping[str, int]
) -> dict[str, str]:
    """The environment: ours, and what is told of the task."""
    told = {
        "HOME": door.home, "STORE": door.store.place, "EVENT": event, "TASK": task.uid, "UID": task.uid,
        "NUMBER": task.number, "ATTEMPT": task.attempt, "STATUS": task.status.value, "COMMAND": task.command,
        "RETURNCODE": task.returncode, "SECONDS": None if task.seconds is None else f"{task.seconds:.3f}",
        "TAGS": " ".join(task.tags), "MESSAGE": task.message, "PWD": task.pwd, "HOST": task.host,
        "QUEUE": task.queue, "NAME": task.name, "REASON": task.data.get("reason"), "LAST_LINES": "\n".join(lines),
        "JOBS": counted(jobs) if jobs else None, "QUEUE_STATUS": status_of(jobs) if jobs else None,
    }  # fmt: skip
    every = {f"QREC_{name}": as_variable(name, value) for name, value in told.items()}
    return {**os.environ, **every, INSIDE: table.name}


def status_of(jobs: Mapping[str, int]) -> str:
    """How a queue with these jobs has ended, in a word."""
    return Status.COMPLETE.value if set(jobs) == {Status.COMPLETE.value} else Status.FAILED.value


def as_variable(name: str, value: object) -> str:
    """A value as the environment can hold it: of what is long, the end of output, and the beginning of all else."""
    text = "" if value is None else str(value).replace("\0", "")
    text = text[-LONGEST:] if name == "LAST_LINES" else text[:LONGEST]
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        return ascii(text)
    return text
