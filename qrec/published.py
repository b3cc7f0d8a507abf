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
    return {
        "executor": task.executor,
        "uid": task.uid,
        "command": task.command,
        "data": {
            "pwd": task.pwd,
            "user": task.user,
            "timestamp": task.started or task.created,
            "message": task.message,
            **{PUBLISHED[stream]: lines(task, output, stream) for stream in STREAMS},
            "returncode": task.returncode,
            "pid": task.pid,
            "cmd": list(task.argv),
            "status": task.status.value,
            **more(task),
            "bytes": {PUBLISHED[stream]: output.size(stream) for stream in STREAMS},
            "attempts": list(attempts) or [task.attempt],
        },
    }


def lines(task: Task, output: Output, stream: str) -> list[str]:
    """A stream as lines."""
    head, left_out, tail = head_and_tail(output, stream)
    if not left_out:
        return text_lines([head])
    gap = f"[... {left_out:,} bytes left out; `qrec log {task.number or task.uid} --{stream}` shows all ...]\n"
    return [*text_lines([head]), gap, *text_lines([tail])]


def more(task: Task) -> dict[str, Any]:
    """What was not published at first."""
    row = task.summary()
    first = ("number", "tags", "attempt", "signal", "host", "created", "started", "ended", "seconds", "usage", "facts")
    later = {name: row[name] for name in ("queue", "name", "after") if row[name]}
    return {**{name: row[name] for name in first}, **later, **row["data"]}
