"""What the config file says of hooks: each `[hooks.NAME]` says when something is to happen, and what.

    [hooks.phone]
    on = "failed"
    longer_than = "10m"
    tag = "train"
    webhook = "https://ntfy.sh/my-runs"

A table that cannot be understood is named in one line and left out; it hurts nothing else.
"""

from __future__ import annotations

import re

from qrec.config import as_address, as_list, as_seconds, as_switch, as_text
from qrec.errors import QrecError, WrongUsage, did_you_mean
from qrec.task import MATCHED, NOTIFY, UNFINISHED, Record, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from typing import Any

#: How a task may end; `skipped` never began, and so is no end that `ended` means.
ENDS = ("complete", "failed", "cancelled", "lost")
#: What a hook may wait for.
EVENTS = ("before", "started", "ended", *ENDS, "skipped", "long", "queue")
#: What is told of a task that takes a status; `submitted` is a start, too: another scheduler has it.
EVENT_OF = {status: status.value for status in Status if status not in UNFINISHED} | {
    Status.RUNNING: "started",
    Status.SUBMITTED: "started",
}  # fmt: skip
LIMIT = 60.0  #: seconds a hook may take, at most and if nothing is said
LIMIT_BEFORE = 10.0  #: seconds a hook may keep a command waiting, if nothing is said
LINES = 10  #: lines of output that a hook is given
MOST_LINES = 1000
#: Keys that say what is to happen, one of which a table has.
DEEDS = ("run", "desktop", "mail", "webhook", "hook")
#: What the hook is called that tells of the ends of `run --notify`.
NOTIFIER = "--notify"


class Table(Record):
    """One hook of the config file."""

    name: str
    on: frozenset[str] = frozenset()  #: of EVENTS
    longer_than: float | None = None  #: seconds
    tag: tuple[str, ...] = ()  #: one of these; this and what follows is empty where it does not matter
    command: str = ""  #: a regular expression that is found in the command
    executor: tuple[str, ...] = ()
    queue: tuple[str, ...] = ()
    host: tuple[str, ...] = ()
    code: tuple[int, ...] = ()
    limit: float = LIMIT  #: seconds
    lines: int = LINES
    deed: str  #: of DEEDS
    what: Any = None  #: what the table says of that
    written: Mapping[str, Any] = {}  #: the table itself

    def wants(self, event: str, task: Task) -> bool:
        """Whether it waits for that event of that task."""
        if not (event in self.on or (event in ENDS and "ended" in self.on)) or not self.fits(task):
            return False
        if event not in ENDS:
            return True
        return ran_so_long(task, self.longer_than) and (not self.code or task.returncode in self.code)

    def fits(self, task: Task) -> bool:
        """Whether it is meant for tasks like this one."""
        return (
            (not self.tag or not set(self.tag).isdisjoint(task.tags))
            and (not self.executor or not executors_of(task).isdisjoint(self.executor))
            and (not self.queue or task.queue in self.queue)
            and (not self.host or task.host in self.host)
            and (not self.command or re.search(self.command, task.command) is not None)
        )


def executors_of(task: Task) -> set[object]:
    """The executor of a task, and of a queue's job the one that its command matches."""
    return {task.executor, task.data.get(MATCHED)} | ({task.data.get("inner")} - {"shell"})


def notifier(terminal: str) -> Table:
    """The hook that `run --notify` asks for, from this terminal."""
    return Table(name=NOTIFIER, deed=NOTIFY, written={"terminal": terminal})


def ran_so_long(task: Task, seconds: float | None) -> bool:
    """Whether an ended task ran for at least so many seconds; nobody knows it of one whose end nobody saw."""
    return seconds is None or (task.seconds is not None and task.seconds >= seconds)


def tables_of(written: Mapping[str, Any]) -> tuple[list[Table], list[str]]:
    """The hooks of a config file, and a sentence for each that cannot be understood."""
    hooks = written.get("hooks", {})
    if not isinstance(hooks, dict):
        return [], ["hooks are left out: write them as tables, [hooks.NAME]"]
    tables, complaints = [], []
    for name, values in hooks.items():
        try:
            tables.append(table_of(name, values))
        except QrecError as error:
            complaints.append(f"hook {name} is left out: {error}")
    return tables, complaints


def table_of(name: str, written: Any) -> Table:
    """One table.  Raises WrongUsage with what is wrong with it."""
    if not isinstance(written, dict):
        raise WrongUsage(f"write it as a table, [hooks.{'NAME' if name in KEYS else name}]")
    for key in written:
        if key not in KEYS:
            raise WrongUsage(f"there is no key {key!r}; {nearest(key, KEYS)}")
    values = {key: read(key, value) for key, value in written.items()}
    if "on" not in values:
        raise WrongUsage(f"it does not say when; write on = {EVENTS[2]!r}, or another of: {', '.join(EVENTS)}")
    deeds = [deed for deed in DEEDS if values.get(deed)]
    if len(deeds) != 1:
        raise WrongUsage(f"it has to say one thing to do, and says {' and '.join(deeds) or 'none'}: {', '.join(DEEDS)}")
    table = Table(
        name=name, deed=deeds[0], what=values[deeds[0]], written=written,
        **{key: value for key, value in values.items() if key in Table._fields},
    )  # fmt: skip
    check_sense(table)
    return table.copy(limit=LIMIT_BEFORE) if "before" in table.on and "limit" not in values else table


def check_sense(table: Table) -> None:
    """Raise WrongUsage for what cannot be meant."""
    if "long" in table.on and table.longer_than is None:
        raise WrongUsage('on = "long" needs longer_than = "2h", or another time')
    if table.longer_than is not None and table.on.isdisjoint(("long", "ended", *ENDS)):
        raise WrongUsage(f"longer_than is of no use with on = {', '.join(sorted(table.on))}")
    if "before" in table.on and (table.deed not in ("run", "hook") or len(table.on) > 1):
        raise WrongUsage('on = "before" stands alone, and goes with run or hook')


def read(key: str, value: Any) -> Any:
    """A key's value.  Raises WrongUsage with the key's name."""
    try:
        return KEYS[key](value)
    except QrecError as error:
        raise WrongUsage(f"{key}: {error}") from None


def nearest(word: str, known: Collection[str]) -> str:
    """What was meant perhaps, or all there is."""
    return did_you_mean(word, known, f"there are: {', '.join(known)}")


def as_words(value: Any) -> tuple[str, ...]:
    """One word, or a list of them."""
    return (value,) if isinstance(value, str) else as_list(value)


def as_events(value: Any) -> frozenset[str]:
    """What a hook waits for."""
    words = as_words(value)
    for word in words:
        if word not in EVENTS:
            raise WrongUsage(f"nothing is called {word!r}; {nearest(word, EVENTS)}")
    if not words:
        raise WrongUsage(f"nothing is named; there are: {', '.join(EVENTS)}")
    return frozenset(words)


def as_pattern(value: Any) -> str:
    """A regular expression."""
    try:
        re.compile(as_text(value))
    except (re.error, RecursionError, OverflowError) as error:
        raise WrongUsage(f"{value!r} is no regular expression: {error}") from None
    return str(value)


def as_codes(value: Any) -> tuple[int, ...]:
    """One return code, or a list of them."""
    codes = tuple(value) if isinstance(value, list) else (value,)
    if not all(type(code) is int for code in codes):
        raise WrongUsage(f"{value!r} is no exit code; write 2, or [1, 2]")
    return codes


def as_limit(value: Any) -> float:
    """The time that a hook may take, in seconds."""
    limit = as_seconds(value)
    if not 0 < limit <= LIMIT:
        raise WrongUsage(f"{value!r} is not above 0 and up to {LIMIT:g} s")
    return limit


def as_count(value: Any) -> int:
    """How many lines a hook is given."""
    if type(value) is not int or not 0 <= value <= MOST_LINES:
        raise WrongUsage(f"{value!r} is no number from 0 to {MOST_LINES}")
    return value


def as_anything(value: Any) -> Any:
    """What a plug-in understands."""
    return value


#: The keys of a table, and what makes a value of what was written.
KEYS: dict[str, Callable[[Any], Any]] = {
    "on": as_events, "longer_than": as_seconds, "tag": as_words, "command": as_pattern, "executor": as_words,
    "queue": as_words, "host": as_words, "code": as_codes, "limit": as_limit, "lines": as_count, "run": as_text,
    "desktop": as_switch, "mail": as_text, "webhook": as_address, "hook": as_text, "server": as_text, "sender": as_text,
    "options": as_anything,
}  # fmt: skip
