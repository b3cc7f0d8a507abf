"""Records that the store does not have yet: `<home>/incoming/<uid>.<attempt>.json`.

Every attempt writes its record here before its command starts and takes it away once the store has it.  So a
command never waits for a store that is locked, full or broken, and the next qrec call takes in what was left.
"""

from __future__ import annotations

import json
import os

from qrec.config import replace_file
from qrec.output import make_private
from qrec.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def spool_path(home: str, uid: str, attempt: int) -> str:
    """Where the record of an attempt waits."""
    return os.path.join(home, "incoming", f"{uid}.{attempt}.json")


def put(home: str, task: Task, store: str) -> None:
    """Leave a record for whoever opens that store next.  Raises OSError."""
    path = spool_path(home, task.uid, task.attempt)
    content = json.dumps({**task.plain(), "store": store}).encode()
    try:
        replace_file(path, content)
    except FileNotFoundError:
        make_private(os.path.dirname(path))
        replace_file(path, content)


def drop(home: str, task: Task) -> None:
    """The store has it."""
    try:
        os.unlink(spool_path(home, task.uid, task.attempt))
    except OSError:
        pass  # it was never written, or somebody took it in


def waiting(home: str, store: str) -> Iterator[Task]:
    """The records that wait for that store, oldest first."""
    folder = os.path.join(home, "incoming")
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".json")]
    except OSError:
        return
    tasks = [task for name in names if (task := read(os.path.join(folder, name), store)) is not None]
    yield from sorted(tasks, key=lambda task: task.created)


def read(path: str, store: str) -> Task | None:
    """The record in a file; None if it was taken in meanwhile, waits for another store, or is none."""
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        meant = isinstance(values, dict) and values.get("store") == store
        return Task.from_plain(values) if meant else None
    except (OSError, ValueError, TypeError):
        return None
