"""Plain data: Task, its Status and which may follow which, Event, and what is asked of a store."""

from __future__ import annotations

import enum
import os
import time
from datetime import datetime, timezone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from typing_extensions import Self, dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True)
class Record:
    """A frozen record: annotated names are its fields, class attributes their defaults.

    The standard library's dataclasses would do, but importing them costs more than Python's own start, and
    `qrec run` stands in front of everything people run.
    """

    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = tuple(name for name in cls.__annotations__ if not name.startswith("_"))
        cls._required = frozenset(name for name in cls._fields if not hasattr(cls, name))  # type: ignore[attr-defined]

    def __init__(self, **values: Any) -> None:
        unknown = values.keys() - set(self._fields)
        missing = self._required - values.keys()  # type: ignore[attr-defined]
        if unknown or missing:
            raise TypeError(f"{type(self).__name__}: unknown {sorted(unknown)}, missing {sorted(missing)}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is frozen")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.asdict() == other.asdict()

    def __hash__(self) -> int:
        """Of the fields that cannot change inside."""
        return hash(tuple(value for value in self.asdict().values() if not isinstance(value, (dict, list))))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__dict__.items())})"

    def copy(self, **changes: Any) -> Self:
        """The same record with some fields changed."""
        return type(self)(**{**self.__dict__, **changes})

    def asdict(self) -> dict[str, Any]:
        """Every field and its value, in the order of their declaration."""
        return {name: getattr(self, name) for name in self._fields}


class Status(str, enum.Enum):
    """How a task stands.  `is_final` and the legal moves come from `MOVES`."""

    QUEUED = "queued"  #: waits for a worker
    RUNNING = "running"  #: a recorder has started it
    SUBMITTED = "submitted"  #: another scheduler has it
    COMPLETE = "complete"  #: ended with 0
    FAILED = "failed"  #: ended otherwise, a time limit included
    CANCELLED = "cancelled"  #: ended through `qrec cancel`, or by a signal that qrec received
    SKIPPED = "skipped"  #: something it depends on did not complete
    LOST = "lost"  #: its process is gone and nobody saw how

    __str__ = str.__str__

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to the task unless somebody asks for it."""
        return self not in UNFINISHED

    def may_become(self, now: Status) -> bool:
        """Whether a task of this status may take the status `now`."""
        return now in MOVES[self]


UNFINISHED = frozenset({Status.QUEUED, Status.RUNNING, Status.SUBMITTED})
FINAL = frozenset(Status) - UNFINISHED
#: The note of the executor that a queue's job matches, as long as another one has it.
MATCHED = "matched"
#: The note of a task whose end its user wants to hear of: the terminal where that was said, empty if there was none.
NOTIFY = "notify"
#: The note of a task that a hook has started, with its name, and the variable of the hook's processes that tells it.
BY_HOOK, INSIDE = "by_hook", "QREC_HOOK"

#: Which status may follow which.  A move to the same status states more about it (the pid, say).
MOVES: Mapping[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.QUEUED, Status.RUNNING, Status.SUBMITTED, Status.CANCELLED, Status.SKIPPED}),
    Status.RUNNING: frozenset(Status) - {Status.SKIPPED},
    Status.SUBMITTED: frozenset(Status) - {Status.QUEUED},
    Status.COMPLETE: UNFINISHED,
    Status.FAILED: UNFINISHED,
    Status.CANCELLED: UNFINISHED,
    Status.SKIPPED: UNFINISHED,
    Status.LOST: frozenset(Status),
}


class Task(Record):
    """One recorded command.

    The uid stays for ever; status, pid, times, code, usage and the like tell of the current attempt.
    """

    uid: str  #: `<executor>-<uuid4>`
    executor: str  #: where it runs
    argv: tuple[str, ...]  #: the words exactly; never split from text again
    number: int = 0  #: 1, 2, 3 ..., given by the store, never reused
    turn: int = 0  #: grows each time a person starts a task; the newest is the one meant where none is named
    message: str = ""  #: its note
    tags: tuple[str, ...] = ()  #: in the order they were given
    pwd: str = ""  #: the folder it runs in
    user: str = ""  #: who ran it
    host: str = ""  #: the machine it ran on
    status: Status = Status.RUNNING  #: how it stands
    attempt: int = 1  #: how often it has been started
    pid: int | None = None  #: the process, on its host
    returncode: int | None = None  #: as a shell tells it: 128+n for a death by signal n
    signal: int | None = None  #: the signal that ended it, which tells signal 9 from `exit 137`
    created: str = ""  #: times are ISO 8601 in UTC with microseconds
    started: str | None = None  #: when the attempt began
    ended: str | None = None  #: when the attempt ended
    usage: Mapping[str, Any] = {}  #: `cpu` in seconds, `memory` (peak of the largest process) in bytes
    facts: Mapping[str, Any] = {}  #: what surrounded the command
    queue: str | None = None  #: the queue it was put into
    name: str | None = None  #: the job's name in its queue
    after: tuple[str, ...] = ()  #: uids it depends on
    priority: int = 0  #: the higher, the sooner, among the ready ones of its queue
    wish: str | None = None  #: `cancel`, once somebody asked for it
    data: Mapping[str, Any] = {}  #: the executor's own notes

    @property
    def command(self) -> str:
        """The command as text, for showing and for matching only."""
        if len(self.argv) == 1 and "shell" in self.data:
            return self.argv[0]
        import shlex

        return shlex.join(self.argv)

    @property
    def began(self) -> float:
        """When the current attempt began, or else the task was made: seconds since the epoch; 0 if nobody knows."""
        stamp = self.started or self.created
        return moment(stamp).timestamp() if stamp else 0.0

    @property
    def seconds(self) -> float | None:
        """How long the current attempt ran, or has been running; None before it began, or if nobody saw it end."""
        if self.started is None or (self.ended is None and self.status.is_final):
            return None
        end = moment(self.ended) if self.ended else datetime.now(timezone.utc)
        return max(0.0, (end - moment(self.started)).total_seconds())

    def plain(self) -> dict[str, Any]:
        """Every field in JSON's types; `from_plain` makes the task again."""
        values = self.asdict()
        values["status"] = self.status.value
        return values

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Task:
        """The task of which `plain` told, in this or another version: unknown fields are left out, missing default."""
        known: dict[str, Any] = {name: value for name, value in values.items() if name in cls._fields}
        known.update((name, tuple(known[name])) for name in ("argv", "tags", "after") if name in known)
        known["status"] = Status(known.get("status", Status.RUNNING))
        return cls(**known)

    def summary(self) -> dict[str, Any]:
        """The row that `ls --json` prints.  The keys are published."""
        row: dict[str, Any] = self.plain()
        row.update(command=self.command, seconds=self.seconds)
        return {name: list(row[name]) if isinstance(row[name], tuple) else row[name] for name in SUMMARY}


#: The keys of `ls --json`, in their order.
SUMMARY: tuple[str, ...] = tuple(
    """number uid executor command argv message tags status returncode signal pid pwd user host created started ended
    seconds attempt queue name after priority usage facts data""".split()
)


class Event(Record):
    """One change of one task, numbered in the order it was written."""

    sequence: int  #: 1, 2, 3 ...
    uid: str  #: the task's
    number: int  #: the task's
    kind: str  #: `added`, `status`, `note`, `tags`, `data`, `removed` ...
    at: str  #: when


class Kept(Record):
    """What an attempt left, when its output is small enough to live inside the store."""

    stdout: bytes = b""
    stderr: bytes = b""
    timing: bytes = b""
    extras: Mapping[str, bytes] = {}  #: what else was recorded of it, by name: `series`, `patch`

    @classmethod
    def from_parts(cls, parts: Mapping[str, bytes]) -> Kept:
        """From all its parts by name."""
        own = {name: parts[name] for name in ("stdout", "stderr", "timing") if name in parts}
        return cls(**own, extras={name: parts[name] for name in parts if name not in own})

    def parts(self) -> dict[str, bytes]:
        """All its parts by name."""
        return {"stdout": self.stdout, "stderr": self.stderr, "timing": self.timing, **self.extras}


def new_uid(executor: str) -> str:
    """`<executor>-<uuid4>`, made by hand: `import uuid` costs more than the sixteen bytes are worth."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    digits = raw.hex()
    return "-".join((executor, digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def timestamp(at: float | None = None) -> str:
    """A time (seconds since the epoch; now if None) as it is stored: `2026-11-22T00:10:31.123456Z`."""
    when = datetime.fromtimestamp(time.time() if at is None else at, timezone.utc)
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def moment(stamp: str) -> datetime:
    """The time that `timestamp` wrote."""
    return datetime.fromisoformat(stamp.rstrip("Z")).replace(tzinfo=timezone.utc)
