"""Records that the store does not have yet: `<home>/incoming/<uid>.<attempt>.json`.

Every attempt writes its record here before its command starts and takes it away once the store has it.  So a
command never waits for a store that is locked, full or broken, and the next qrec call takes in what was left.

`<home>/incoming/<uid>.cleared` tells that somebody is removing a task with its files; if they are killed on the way,
the next qrec call ends it.

`<home>/incoming/<uid>.words` holds the words and variables of a queue's job whose record leaves secrets out.
"""

from __future__ import annotations

import json
import os

from qrec.config import replace_file
from qrec.output import listed, make_private
from qrec.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


def spool_path(home: str, uid: str, attempt: int) -> str:
    """Where the record of an attempt waits."""
    return os.path.join(home, "incoming", f"{uid}.{attempt}.json")


def put(home: str, task: Task, store: str) -> None:
    """Leave a record for whoever opens that store next.  Raises OSError."""
    write(spool_path(home, task.uid, task.attempt), task, store)


def write(path: str, task: Task, store: str) -> None:
    """Write a task and its store to a file.  Raises OSError."""
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
    yield from sorted(left(home, store, ".json"), key=lambda task: task.created)


def left(home: str, store: str, ending: str) -> list[Task]:
    """The tasks for that store in the files whose names end so."""
    folder = os.path.join(home, "incoming")
    paths = [os.path.join(folder, name) for name in listed(folder) if name.endswith(ending)]
    return [task for path in paths if (task := read(path, store)) is not None]


# Removal


def removal_path(home: str, uid: str) -> str:
    """What tells that a task is being removed."""
    return os.path.join(home, "incoming", f"{uid}.cleared")


def put_removal(home: str, task: Task, store: str) -> None:
    """Tell that whoever is named as the task's recorder is removing it."""
    try:
        write(removal_path(home, task.uid), task, store)
    except OSError:
        pass  # a full disk must keep nobody from making room; `qrec doctor` finds what a killed call leaves


def drop_removal(home: str, task: Task) -> None:
    """The task is gone with its files, or was not touched."""
    try:
        os.unlink(removal_path(home, task.uid))
    except OSError:
        pass  # nothing was told


def removals(home: str, store: str) -> list[Task]:
    """The tasks that somebody is removing, or was."""
    return left(home, store, ".cleared")


def read(path: str, store: str) -> Task | None:
    """The record in a file; None if it was taken in meanwhile, waits for another store, or is none."""
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        meant = isinstance(values, dict) and values.get("store") == store
        return Task.from_plain(values) if meant else None
    except (OSError, ValueError, TypeError):
        return None


# What the record leaves out

WORDS = ".words"


def private_words(home: str, uid: str) -> str:
    """The file with the words and variables of a job whose record leaves secrets out."""
    return os.path.join(home, "incoming", f"{uid}{WORDS}")


def forget_words(home: str, uid: str) -> None:
    """Remove what was kept for the worker."""
    try:
        os.unlink(private_words(home, uid))
    except OSError:
        pass  # there were none
