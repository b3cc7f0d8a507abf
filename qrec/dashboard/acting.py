"""What can be done with tasks: JSON, and no HTTP."""

from __future__ import annotations

import os
import threading
import time

from qrec.dashboard.listing import row
from qrec.dashboard.tasks import NOT_HERE, actions, outcome, possible, resolve
from qrec.errors import QrecError, Refused, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.task import Task

    Row = dict[str, Any]

ANSWERED = 1.5  #: seconds that an answer waits for something that goes on by itself
MANY = 500  #: tasks at once


def act(door: Qrec, reference: str, name: str, given: Mapping[str, Any], edit: bool = False) -> Row:
    """Do something with a task; return how it stands then, and what the action told."""
    task = resolve(door, reference)
    if name == "rerun":
        return again(door, [{"uid": task.uid, **rerun_options(given)}])[0]
    if name == "edit":
        return edited(door, task, given, edit)
    if name == "note":
        return {"task": row(door, door.note(task.uid, text_of(given, "message")))}
    if name == "tag":
        return {"task": row(door, door.tag(task.uid, texts_of(given, "add"), texts_of(given, "remove")))}
    if name in NOT_HERE:
        raise Refused(NOT_HERE[name].format(task.number))
    options = options_of(door, task, name, given)
    if name == "cancel":
        return by_itself(door, task, lambda: door.act(task.uid, name, **options))
    return {**outcome(door, door.act(task.uid, name, **options)), "task": row(door, door.store.get(task.uid))}


def by_itself(door: Qrec, task: Task, work: Callable[[], Any]) -> Row:
    """Do what may take its time; `pending` says that it goes on."""
    done = aside(door, [work])[0]
    if isinstance(done, BaseException):
        raise done
    return {"task": row(door, door.store.get(task.uid)), "pending": done is PENDING}


PENDING = object()


def aside(door: Qrec, works: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do several things at a time, each in a thread; what each gave, what it raised, or PENDING, after a moment."""
    done: list[Any] = [PENDING] * len(works)
    give_back = getattr(door, "give_back", lambda: None)

    def do(place: int, work: Callable[[], Any]) -> None:
        try:
            done[place] = work()
        except Exception as error:
            done[place] = error
        finally:
            give_back()

    threads = [
        threading.Thread(target=do, args=(place, work), daemon=True, name="act") for place, work in enumerate(works)
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + ANSWERED
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(done)


def options_of(door: Qrec, task: Task, name: str, given: Mapping[str, Any]) -> Row:
    """The values of an action's options, each of its kind."""
    offered = {one["name"]: one for one in actions(door, task)}
    known = {option["name"]: option["kind"] for option in offered[name]["options"]} if name in offered else {}
    return {key: of_kind(key, known[key], value) for key, value in given.items() if key in known and value is not None}


def of_kind(name: str, kind: str, value: Any) -> Any:
    """A value of JSON as the kind that an option has."""
    if kind == "bool" and isinstance(value, bool):
        return value
    try:
        if kind == "int" and not isinstance(value, bool):
            return int(value)
        if kind == "float" and not isinstance(value, bool):
            return float(value)
    except (TypeError, ValueError, OverflowError):
        pass
    if kind in ("bool", "int", "float") or not isinstance(value, str):
        raise WrongUsage(f"{name} is to be of the kind {kind}")
    return value


def text_of(given: Mapping[str, Any], name: str) -> str:
    """A text that is needed."""
    value = given.get(name)
    if not isinstance(value, str):
        raise WrongUsage(f"{name} is to be a text")
    return value


def texts_of(given: Mapping[str, Any], name: str) -> list[str]:
    """A list of texts that may be missing."""
    value = given.get(name, [])
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise WrongUsage(f"{name} is to be a list of texts")
    return value


# Running again


def rerun_options(given: Mapping[str, Any]) -> Row:
    """What a rerun may be told; a command is not among it."""
    told: Row = {}
    if given.get("message") is not None:
        told["message"] = text_of(given, "message")
    if given.get("secrets") is not None:
        told["secrets"] = texts_of(given, "secrets")
    return told


def again(door: Qrec, wanted: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Start commands in a process of their own; Refused if there is one only and it does not start."""
    from qrec.dashboard.again import start

    for one in wanted:
        task = door.store.get(one["uid"]) if "uid" in one else None
        if task is not None and len(wanted) == 1:
            check_rerun(door, task)
    answers = start(door.home, door.store.place, wanted)
    if len(answers) == 1 and "error" in answers[0]:
        raise Refused(answers[0]["error"])
    return [{"task": row(door, door.store.get(one["uid"]))} if "uid" in one else one for one in answers]


def check_rerun(door: Qrec, task: Task) -> None:
    """Refuse at once what cannot be run again."""
    can = possible(door, task)["rerun"]
    if not can["enabled"]:
        raise Refused(f"{task.uid} cannot be run again: {can['why_not']}")


def edited(door: Qrec, task: Task, given: Mapping[str, Any], allowed: bool) -> Row:
    """Run another command in a task's place: its words as they are, never a line that something is put into."""
    if not allowed:
        raise Refused("commands cannot be written here: the server was started without --allow-edit")
    argv = texts_of(given, "argv")
    if not argv or not argv[0]:
        raise WrongUsage("argv is to be a list of words, the program first")
    if len(argv) == 1 and "shell" not in task.data:
        argv = ["env", "--", *argv]  # one word alone would be read as a line
    folder = given.get("cwd") or task.pwd
    if not isinstance(folder, str) or not os.path.isdir(folder):
        raise Refused(f"the folder {folder} is not there")
    return again(door, [{"argv": argv, "cwd": folder, "tags": list(task.tags), **rerun_options(given)}])[0]


# Many at once


def delete(door: Qrec, reference: str) -> Row:
    """Forget a task with all it left."""
    task = resolve(door, reference)
    if door.clear([task]):
        raise Refused(f"{task.uid} is {task.status}; cancel it first")
    return {"deleted": task.uid}


def bulk(door: Qrec, given: Mapping[str, Any]) -> Row:
    """Do one thing with many tasks; tells which went well, and why the others did not."""
    name, ids = given.get("action"), given.get("ids")
    if name not in ("rerun", "cancel", "delete"):
        raise WrongUsage("action is rerun, cancel or delete")
    if not isinstance(ids, list) or not ids or len(ids) > MANY:
        raise WrongUsage(f"ids is a list of tasks, {MANY} at most")
    done: list[str] = []
    failed: list[Row] = []
    chosen: dict[str, Task] = {}
    for one in ids:
        try:
            task = resolve(door, str(one))
            chosen[task.uid] = task
        except QrecError as error:
            failed.append({"id": one, "why": str(error)})
    work = {"rerun": rerun_all, "cancel": cancel_all, "delete": delete_all}[name]
    for uid, why_not in work(door, list(chosen.values())).items():
        if why_not is None:
            done.append(uid)
        else:
            failed.append({"id": uid, "number": chosen[uid].number, "why": why_not})
    return {"done": done, "failed": failed}


def rerun_all(door: Qrec, tasks: Sequence[Task]) -> dict[str, str | None]:
    """Run tasks again."""
    from qrec.dashboard.again import start

    answers = start(door.home, door.store.place, [{"uid": task.uid} for task in tasks])
    return {task.uid: answer.get("error") for task, answer in zip(tasks, answers, strict=True)}


def cancel_all(door: Qrec, tasks: Sequence[Task]) -> dict[str, str | None]:
    """End tasks; what takes longer goes on."""

    def cancel(task: Task) -> Callable[[], Any]:
        return lambda: door.act(task.uid, "cancel")

    results = aside(door, [cancel(task) for task in tasks])
    return {
        task.uid: str(result) if isinstance(result, BaseException) else None
        for task, result in zip(tasks, results, strict=True)
    }


def delete_all(door: Qrec, tasks: Sequence[Task]) -> dict[str, str | None]:
    """Forget tasks."""
    told: dict[str, str | None] = {}
    for task in tasks:
        try:
            delete(door, task.uid)
            told[task.uid] = None
        except QrecError as error:
            told[task.uid] = str(error)
    return told
