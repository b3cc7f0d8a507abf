"""What is shown has no secrets, even where a record holds some."""

from __future__ import annotations

import shlex

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from qrec.api import Qrec
    from qrec.task import Task

    Row = dict[str, Any]


def without_secrets(door: Qrec, task: Task) -> Row:
    """The summary of a task with whatever looks like a secret covered, should its record hold one."""
    redactor = door.redactor
    shown: Row = covered(door, task.summary())
    argv, count = redactor.words(task.argv)
    if count:
        shown["argv"] = list(argv)
        shown["command"] = argv[0] if len(argv) == 1 and "shell" in task.data else shlex.join(argv)
    return shown


def covered(door: Qrec, value: Any) -> Any:
    """The same value with secrets covered in all its texts: all at once, since that is several times as quick."""
    from qrec.shown import masked_text

    texts: list[str] = []
    collect(value, texts)
    joined = SEPARATOR.join(texts)
    shown = masked_text(joined, door.redactor)
    if shown == joined:
        return value
    parts = shown.split(SEPARATOR)
    if len(parts) != len(texts):
        parts = [masked_text(text, door.redactor) for text in texts]
    return replaced(value, iter(parts))


SEPARATOR = "\n\x1e\n"


def collect(value: Any, texts: list[str]) -> None:
    """Every text in a value, in order."""
    if isinstance(value, str):
        texts.append(value)
    elif isinstance(value, dict):
        for one in value.values():
            collect(one, texts)
    elif isinstance(value, (list, tuple)):
        for one in value:
            collect(one, texts)


def replaced(value: Any, texts: Iterable[str]) -> Any:
    """The value with other texts in the places that `collect` saw."""
    left = iter(texts)
    if isinstance(value, str):
        return next(left)
    if isinstance(value, dict):
        return {name: replaced(one, left) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [replaced(one, left) for one in value]
    return value
