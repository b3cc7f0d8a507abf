"""A task's page, and what its executor tells and offers: JSON, and no HTTP."""

from __future__ import annotations

import json
import os
import time

from qrec.dashboard import panels
from qrec.dashboard.covering import covered, without_secrets
from qrec.dashboard.listing import history, row
from qrec.errors import NoSuchAttempt, NoSuchTask, QrecError, Refused
from qrec.task import Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.api import Qrec
    from qrec.executors.base import Action

    Row = dict[str, Any]

TEXT = 1 << 20  #: bytes of what an action shows
SHOWING = 10.0  #: seconds an action may go on telling
FOLLOWERS = 500  #: jobs that wait for one, that are named
OUTPUT_LINES = 2_000  #: lines of a diff

#: Actions that need what a page has not, with what to do instead.
NOT_HERE = {
    "attach": "it needs a terminal: `qrec exec attach {}`",
    "wait": "this page waits by itself",
}
#: Actions that only tell something, as far as we know them, and so are shown by themselves.
TELLING = {"slurm": ("status", "resources", "script"), "tmux": ("status",), "shell": (), "queue": ()}


# Finding


def resolve(door: Qrec, reference: str) -> Task:
    """The task of a number, a uid or a prefix."""
    if not reference or len(reference) > 200:
        raise NoSuchTask(reference[:50])
    return door.store.resolve(reference)


def attempt(door: Qrec, task: Task, number: int | None) -> Task:
    """One of its attempts; the current one if none is named."""
    if number is None or number == task.attempt:
        return task
    before = door.store.attempts(task.uid)
    for one in before:
        if one.attempt == number:
            return one
    raise NoSuchAttempt(task.uid, number, [*(one.attempt for one in before), task.attempt])


# The page


def told(door: Qrec, reference: str, number: int | None = None) -> Row:
    """All that a task's page begins with."""
    from qrec.reason import reason

    sequence = door.store.last_event()
    now = resolve(door, reference)
    task = attempt(door, now, number)
    shown = without_secrets(door, task)
    facts = shown.pop("facts")
    attempts = [*door.store.attempts(now.uid), now]
    return {
        "task": {**shown, "wish": task.wish, "reason": reason(task), "history": history(door, [now]).get(now.uid, [])},
        "current": now.attempt,
        "attempts": [brief(door, one) for one in attempts],
        "actions": actions(door, now),
        "can": possible(door, now),
        "facts": facts,
        "why": {"reason": reason(task), "explanation": explained(door, task)},
        "queue": queue_of(door, now),
        "panel": {
            "executor": task.executor,
            "data": shown["data"],
            "shows": shows(door, now),
            "own": panels.has_panel(door, now),
        },
        "output": {stream: door.output(task).size(stream) for stream in ("stdout", "stderr")},
        "sequence": sequence,
    }


def brief(door: Qrec, task: Task) -> Row:
    """An attempt in a list of them."""
    from qrec.reason import reason

    names = ("attempt", "status", "returncode", "signal", "started", "ended", "host", "pwd", "usage")
    row = task.summary()
    return {**{name: row[name] for name in names}, "seconds": task.seconds, "reason": reason(task)}


def explained(door: Qrec, task: Task) -> str:
    """What its end means."""
    from qrec.why import explanation

    try:
        return explanation(task, door.output(task))
    except (QrecError, OSError):
        return ""


def actions(door: Qrec, task: Task) -> list[Row]:
    """What the task's executor offers, each to become a button."""
    try:
        offered = door.actions(task.executor)
        inner = task.data.get("inner")
        if task.executor == "queue" and inner not in (None, "shell"):
            offered = {**offered, **door.actions(str(inner))}
    except QrecError:
        return []  # its plug-in is gone
    return [described(action, task) for action in offered.values()]


def described(action: Action, task: Task) -> Row:
    """An action with its options, and whether it makes sense now."""
    why_not = ""
    try:
        action.check(task)
    except Refused as error:
        why_not = str(error)
    why_not = why_not or NOT_HERE.get(action.name, "").format(task.number)
    return {
        "name": action.name, "help": action.help, "enabled": not why_not, "why_not": why_not,
        "options": [
            {"name": option.name, "kind": option.kind.__name__, "default": option.default, "help": option.help,
             "positional": option.positional, "choices": option.choices}
            for option in action.options if option.name != "follow"
        ],
    }  # fmt: skip


def possible(door: Qrec, task: Task) -> Row:
    """What can be done with any task, and why not."""
    from qrec.redact import REDACTED

    ended = "" if task.status.is_final else f"it is {task.status}; cancel it first"
    gone = "" if os.path.isdir(task.pwd) else f"the folder {task.pwd} is not there any more"
    secrets = sum(word.count(REDACTED) for word in task.argv) if task.data.get("redacted") else 0
    cancel = "" if not task.status.is_final else f"it is {task.status} already"
    return {
        "rerun": {
            "enabled": not (ended or gone), "why_not": ended or gone, "secrets": secrets,
            "environment": environment(door, task),
        },
        "delete": {"enabled": not ended, "why_not": ended},
        "cancel": {"enabled": not cancel, "why_not": cancel},
        "note": {"enabled": True, "why_not": ""},
        "tag": {"enabled": True, "why_not": ""},
    }  # fmt: skip


def environment(door: Qrec, task: Task) -> list[Row] | None:
    """The recorded variables that it would have otherwise if it ran again from here; None if none were recorded."""
    from qrec.compare import differences
    from qrec.executors.queue import Job
    from qrec.facts import recorded
    from qrec.process import own_environment

    before = task.facts.get("environment")
    if not before:
        return None
    names = (*door.recorder.variables, *before)
    now = recorded({**own_environment(), **Job.of(task).env}, names, door.redactor)
    rows: list[Row] = covered(door, [plain(difference) for difference in differences(before, now)])
    return rows


def queue_of(door: Qrec, task: Task) -> Row | None:
    """For a job of a queue: what it waits for and what waits for it."""
    if task.queue is None:
        return None
    from qrec.jobs import Jobs

    told: Row = {"name": task.queue, "job": task.name, "after": [], "blocks": []}
    for uid in task.after:
        try:
            told["after"].append(linked(door, door.store.get(uid)))
        except NoSuchTask:
            told["after"].append({"uid": uid, "gone": True})
    jobs = Jobs(door, task.queue).all()
    told["blocks"] = [linked(door, job) for job in jobs if task.uid in job.after][:FOLLOWERS]
    return {**told, "why": waits(door, task)}


def linked(door: Qrec, task: Task) -> Row:
    """A job that is named beside another."""
    names = ("uid", "number", "name", "status")
    row = without_secrets(door, task)
    return {**{name: row[name] for name in names}, "command": row["command"]}


def waits(door: Qrec, task: Task) -> list[str]:
    """Why a job waits, in sentences."""
    if task.status is not Status.QUEUED:
        return []
    try:
        from qrec.explain import explain
        from qrec.jobs import Jobs

        return explain(Jobs(door, task.queue or ""), task)
    except QrecError:
        return []


def shows(door: Qrec, task: Task) -> list[str]:
    """What `panel` tells of a task of this kind."""
    name = panels.kind_of(task)
    told = [*TELLING.get(name, ())]
    return [*told, "screen"] if name == "tmux" and not task.status.is_final else told


def panel(door: Qrec, reference: str) -> Row:
    """What the executor itself tells of the task; each part is what it says, or why it says nothing."""
    task = resolve(door, reference)
    parts: Row = {}
    for name in shows(door, task):
        try:
            parts[name] = outcome(door, door.executor(task.executor).act(name, task))
        except QrecError as error:
            parts[name] = {"error": str(error)}
    return {"uid": task.uid, "executor": task.executor, "parts": parts, "own": panels.told(door, task)}


def screen(door: Qrec, reference: str) -> Row:
    """What is to be seen in a task's terminal now."""
    task = resolve(door, reference)
    return {
        "uid": task.uid,
        "status": task.status.value,
        **outcome(door, door.executor(task.executor).act("screen", task)),
    }


def why(door: Qrec, reference: str, number: int | None = None) -> Row:
    """Why it failed, and what differs from the last good run."""
    from qrec.why import last_good
    from qrec.why import why as found

    task = attempt(door, resolve(door, reference), number)
    failed = task.status.is_final and task.status is not Status.COMPLETE
    good = last_good(door.store, task) if failed else None
    known = found(task, door.output(task), good, door.output(good) if good else None)
    excerpts = {"traceback": known.traceback, "last": known.last}
    return {
        "reason": known.reason, "explanation": known.explanation,
        **{name: None if excerpt is None else plain(excerpt) for name, excerpt in excerpts.items()},
        "good": None if good is None else linked(door, good) | {"attempt": good.attempt},
        "differs": covered(door, [plain(difference) for difference in known.differs]),
    }  # fmt: skip


def plain(record: Any) -> Any:
    """A record in JSON's types."""
    if hasattr(record, "asdict"):
        return {name: plain(value) for name, value in record.asdict().items()}
    if isinstance(record, (list, tuple)):
        return [plain(value) for value in record]
    if isinstance(record, bytes):
        return record.decode("utf-8", "replace")
    return record


def diff(door: Qrec, first: tuple[str, int | None], second: tuple[str, int | None]) -> Row:
    """What differs between two tasks, or two attempts of one."""
    one, other = (attempt(door, resolve(door, reference), number) for reference, number in (first, second))
    known = door.diff(one, other)
    return {
        "first": linked(door, one) | {"attempt": one.attempt},
        "second": linked(door, other) | {"attempt": other.attempt},
        "same": not known,
        **{
            name: covered(door, [plain(difference) for difference in getattr(known, name)])
            for name in ("command", "facts", "usage")
        },
        "output": [unified(output) for output in known.output],
    }  # fmt: skip


def unified(output: Any) -> Row:
    """How a stream differs, line by line, as far as anybody reads."""
    lines: list[str] = []
    left = b""
    more = False
    for piece in output.unified():
        left += piece
        if left.endswith(b"\n") or len(left) > 4096:
            lines.append(left.decode("utf-8", "replace").rstrip("\n"))
            left = b""
        if len(lines) >= OUTPUT_LINES:
            more = True
            break
    if left and not more:
        lines.append(left.decode("utf-8", "replace"))
    return {"stream": output.stream, "lines": lines, "more": more}


def executors(door: Qrec) -> Row:
    """Every executor and what it offers."""
    from qrec.registry import EXECUTORS

    told: list[Row] = []
    for name in door.registry.names(EXECUTORS):
        plugin = door.registry.named(EXECUTORS, name)
        try:
            offered = [{"name": action.name, "help": action.help} for action in door.actions(name).values()]
        except QrecError as error:
            told.append({"name": name, "broken": str(error)})
            continue
        told.append({"name": name, "pattern": plugin.pattern if plugin else "", "actions": offered})
    return {"executors": told}


# What an action tells


def outcome(door: Qrec, result: Any) -> Row:
    """What an action told, as JSON."""
    if isinstance(result, Task):
        return {"task": row(door, result)}
    if result is None or isinstance(result, (str, int, float, bool, dict, list, tuple)):
        return {"result": covered(door, json.loads(json.dumps(result, default=str)))}
    if isinstance(result, bytes):
        result = iter([result])
    block, deadline = b"", time.monotonic() + SHOWING
    for piece in result:
        block += piece
        if len(block) > TEXT or time.monotonic() > deadline:
            break
    else:
        return {"text": text(door, block), "truncated": False}
    return {"text": text(door, block[:TEXT]), "truncated": True}


def text(door: Qrec, block: bytes) -> str:
    """Bytes as they are shown."""
    from qrec.shown import masked

    return masked(block, door.redactor).decode("utf-8", "replace")
