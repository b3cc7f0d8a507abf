"""Records that come from outside: nothing goes into a store that it, or a later reader, would stumble over."""

from __future__ import annotations

import hashlib
import re
from datetime import datetime, timezone

from qrec.errors import QrecError
from qrec.stores.base import Bundle
from qrec.task import Kept, Status, Task, moment, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

#: An executor's name and a uuid.  They become parts of paths, so there is no slash in them and nothing like `..`.
UID = re.compile(r"(\w[\w+]*(?:[.-][\w+]+)*)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
LONGEST = 100  #: characters of a uid
STAMP = len("2026-11-22T00:10:31.123456Z")

NOTHING = type(None)
#: What a field of a record may be.
KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys("uid executor message pwd user host status created".split(), (str,)),
    **dict.fromkeys("started ended queue name wish".split(), (str, NOTHING)),
    **dict.fromkeys("number turn attempt priority".split(), (int,)),
    **dict.fromkeys("pid returncode signal".split(), (int, NOTHING)),
    **dict.fromkeys("argv tags after".split(), (list,)),
    **dict.fromkeys("usage facts data".split(), (dict,)),
}
REQUIRED = ("uid", "executor", "argv")
NUMBERS = tuple(name for name, kinds in KINDS.items() if int in kinds)
WORDS = ("argv", "tags", "after")
TIMES = ("created", "started", "ended")
STATUSES = {status.value: status for status in Status}
LARGEST = 2**63 - 1  #: as databases count

#: Keys of a published `data` that tell of the task itself; all others are its executor's notes.
PUBLISHED = frozenset(
    """pwd user timestamp message output error returncode pid cmd status number tags attempt signal host created started
    ended seconds usage facts queue name after bytes attempts streams""".split()
)


class NotATask(QrecError):
    """What was read is no record of a task; the text says why."""


def task_of(values: Any) -> Task:
    """The task that a plain record tells of, every field checked; or NotATask."""
    if not isinstance(values, dict):
        raise NotATask("one of its attempts is no record")
    for name in REQUIRED:
        if name not in values:
            raise NotATask(f"it has no {name}")
    for name, kinds in KINDS.items():
        if name in values and type(values[name]) not in kinds:
            raise NotATask(f"its {name} cannot be {values[name]!r:.60}")
    check_values(values)
    known = {name: values[name] for name in KINDS if name in values}
    known["status"] = STATUSES[known.get("status", Status.RUNNING.value)]
    known.update((name, tuple(known[name])) for name in WORDS if name in known)
    return Task(**known)


def check_values(values: Mapping[str, Any]) -> None:
    """Raise NotATask for what has the right type and is wrong all the same."""
    if values.get("status", Status.RUNNING.value) not in STATUSES:
        raise NotATask(f"no status is called {values['status']!r:.60}")
    uid = UID.fullmatch(values["uid"])
    if uid is None or uid[1] != values["executor"] or len(values["uid"]) > LONGEST:
        raise NotATask(f"{values['uid']!r:.120} is no uid of the form {values['executor']}-<uuid>")
    for name in WORDS:
        if not all(type(word) is str for word in values.get(name, ())):
            raise NotATask(f"its {name} cannot hold anything but text")
    for name in NUMBERS:
        if not -LARGEST <= (values.get(name) or 0) <= LARGEST:
            raise NotATask(f"its {name} is too large")
    if values.get("number", 0) < 0 or values.get("attempt", 1) < 1:
        raise NotATask("numbers and attempts are counted from 1")
    for name in TIMES:
        check_time(name, values.get(name))


def check_time(name: str, stamp: str | None) -> None:
    """Raise NotATask for what is no time as `timestamp` writes it."""
    if not stamp and (stamp is None or name == "created"):
        return
    try:
        if len(stamp) != STAMP or stamp[-1] != "Z":
            raise ValueError(stamp)
        datetime.fromisoformat(stamp[:-1])
    except ValueError:
        raise NotATask(f"its {name} is no time: {stamp!r:.60}") from None


def uuid_of(name: str) -> str:
    """A uuid that is always the same for a name."""
    digits = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-8{digits[17:20]}-{digits[20:32]}"


# What is published, by this qrec or by others


def from_published(told: Mapping[str, Any], created: str | None = None) -> Bundle:
    """The task that a published object tells of, as far as it does; or NotATask.

    `created` is when it began, where the caller knows better than the object.
    """
    data = told.get("data") or {}
    status, returncode, signal = ending(data)
    stamps = times(data, created, status)
    values = {
        **{name: data[name] for name in KINDS.keys() & data.keys() if name not in NOT_TAKEN and data[name] is not None},
        **stamps,
        "uid": told.get("uid"), "executor": told.get("executor"), "argv": data.get("cmd") or [],
        "status": status, "returncode": returncode, "signal": signal, "turn": turn_of(stamps["created"]),
        "data": {name: value for name, value in data.items() if name not in PUBLISHED},
    }  # fmt: skip
    if not values["argv"] and told.get("command"):  # only the text is known, so it is a line for a shell
        values["argv"], values["data"] = [told["command"]], {"shell": "/bin/sh", **values["data"]}
    task = task_of(values)
    kept = Kept(stdout=printed(data, "output"), stderr=printed(data, "error"))
    return Bundle(task=task, kept={} if kept == Kept() else {task.attempt: kept})


#: Fields that the object does not tell under their own name in `data`.
NOT_TAKEN = frozenset({"uid", "executor", "argv", "turn", "data", "wish", "priority", *TIMES})


def ending(data: Mapping[str, Any]) -> tuple[str, int | None, int | None]:
    """How it ended: status, return code, signal.

    QueueMe says complete of whatever ran to an end, and nothing of what did not; nobody here will learn the end of what
    was still running.  Its negative code tells of a signal, as Python does.
    """
    status, code, signal = data.get("status"), data.get("returncode"), data.get("signal")
    if isinstance(code, int) and code < 0:
        code, signal = 128 - code, -code
    if status in (None, Status.QUEUED.value, Status.RUNNING.value, Status.COMPLETE.value) and code is not None:
        return (Status.FAILED if code else Status.COMPLETE).value, code, signal
    if status in (None, Status.QUEUED.value, Status.RUNNING.value):
        return Status.LOST.value, code, signal
    return status, code, signal


def times(data: Mapping[str, Any], created: str | None, status: str) -> dict[str, str | None]:
    """When it was made, began and ended.

    qrec tells all three.  QueueMe tells one, and writes it when the command has ended.
    """
    told = {name: stamp_of(data[name]) for name in TIMES if data.get(name)}
    at = stamp_of(data["timestamp"]) if data.get("timestamp") else None
    if "created" in told:
        return {"started": None, "ended": None, **told}
    ended = None if status == Status.LOST.value else at
    return {"created": created or at or "", "started": created, "ended": ended}


def stamp_of(words: Any) -> str:
    """A time as it is stored; one without a zone is local."""
    try:
        return timestamp(datetime.fromisoformat(words.replace("Z", "+00:00")).timestamp())
    except (ValueError, AttributeError, TypeError, OverflowError, OSError):
        raise NotATask(f"{words!r:.60} is no time") from None


def turn_of(created: str | None) -> int:
    """The turn of a task that a person started then."""
    if not created:
        return 0
    since = moment(created) - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def printed(data: Mapping[str, Any], name: str) -> bytes:
    """A published stream as bytes."""
    lines = data.get(name) or []
    try:
        return "".join(lines).encode("utf-8", "surrogateescape")
    except (TypeError, UnicodeEncodeError):
        raise NotATask(f"its {name} is no list of lines") from None
