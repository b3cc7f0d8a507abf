"""The shape in which `qrec get` tells of a task.  Scripts lean on its keys: keep them, add more inside `data`."""

from __future__ import annotations

from qrec.output import STREAMS, head_and_tail, text_lines
from qrec.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.output import Output

#: By which name each stream is published.
PUBLISHED = {"stdout": "output", "stderr": "error"}


def published(task: Task, output: Output, attempts: Sequence[int] = ()) -> dict[str, Any]:
    """A task as JSON; of a large stream its head and tail, with a line between that says what is left out."""
    every = list(attempts) or [task.attempt]
    return {
        "executor": task.executor,
        "uid": task.uid,
        "command": task.command,
        "data": {
            "pwd": task.pwd,
            "user": task.user,
            "timestamp": task.started or task.created,
            "message": task.message,
            **{PUBLISHED[stream]: lines(task, output, stream, every[-1]) for stream in STREAMS},
            "returncode": task.returncode,
            "pid": task.pid,
            "cmd": list(task.argv),
            "status": task.status.value,
            **more(task),
            "bytes": {PUBLISHED[stream]: output.size(stream) for stream in STREAMS},
            "attempts": every,
        },
    }


def lines(task: Task, output: Output, stream: str, newest: int) -> list[str]:
    """A stream as lines."""
    head, left_out, tail = head_and_tail(output, stream)
    if not left_out:
        return text_lines([head])
    which = f" --attempt {task.attempt}" if task.attempt != newest else ""
    shows = f"qrec log {task.number or task.uid}{which} --{stream}"
    gap = f"[... {left_out:,} bytes left out; `{shows}` shows all ...]\n"
    return [*text_lines([head]), gap, *text_lines([tail])]


def more(task: Task) -> dict[str, Any]:
    """What was not published at first; of the executor's notes what hides none of it."""
    row = task.summary()
    first = ("number", "tags", "attempt", "signal", "host", "created", "started", "ended", "seconds", "usage", "facts")
    later = {name: row[name] for name in ("queue", "name", "after") if row[name]}
    published = {
        *first,
        "pwd",
        "user",
        "timestamp",
        "message",
        "returncode",
        "pid",
        "cmd",
        "status",
        "bytes",
        "attempts",
    }
    notes = {name: value for name, value in row["data"].items() if name not in published | {*PUBLISHED.values()}}
    return {**{name: row[name] for name in first}, **later, **notes}
