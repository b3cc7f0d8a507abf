"""When hooks are due: whoever changes a task's status notes it for the runner, and does not wait.

A note is a small file in `<home>/hooks/<host>/`, written before the change is committed; the runner (hooks/runner.py),
which is started after it, makes sure that the change was made.  So nobody's death in between makes an end unheard, and
since only one of all who want to close an attempt does so, each end is noted once.  Notes wait for the next call of
qrec if no runner could be started.
"""

from __future__ import annotations

import json
import os
import sys
import zlib

from qrec.config import Config, replace_file
from qrec.errors import CouldNotStart
from qrec.hook_tables import ENDS, EVENT_OF, NOTIFIER, tables_of
from qrec.output import listed, make_private
from qrec.process import entry, spawn
from qrec.stores.base import Query
from qrec.task import BY_HOOK, INSIDE, NOTIFY, UNFINISHED, Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qrec.stores.base import Store

PROGRAM = entry("qrec.hooks.runner")
NOTE = ".json"  #: how the name of a note ends
BEGUN = ".begun"  #: the same of one whose hook was called
LOCKED = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
LOCK = "lock"  #: the file that a runner holds locked as long as it looks for notes


class Note(Record):
    """One hook that is due."""

    uid: str
    attempt: int
    event: str  #: of hook_tables.EVENTS
    hook: str  #: its name
    store: str  #: the place of the task's store
    at: str  #: when it was noted


class Firing:
    """Notes what is due in one store.  No method here raises: nothing may suffer from a hook."""

    def __init__(self, store: Store, config: Config) -> None:
        self.store = store
        self.config = config
        self.folder = folder_of(store.home)
        self.fresh = False  #: whether something was noted of which no runner knows yet
        self.runners: list[int] = []  #: pids of those that we have started
        self.complaints: list[str] = []  #: sentences for the user; a Qrec puts its own list here
        self.take_tables()

    def take_tables(self) -> None:
        """Understand what the config file says."""
        self.written = self.config.written
        self.tables, complaints = tables_of(self.written)
        for complaint in complaints:
            self.complain(complaint)

    def complain(self, sentence: str) -> None:
        """Tell the user, once: a worker lives for days, and so may its trouble."""
        if sentence not in self.complaints:
            self.complaints.append(sentence)

    def renew(self) -> None:
        """Take the config file as it is now: a worker lives for days."""
        self.config.renew()
        if self.config.written is not self.written:
            self.take_tables()

    def moved(self, task: Task, was: Status | None) -> None:
        """A task is about to take its status; `was` is the one before."""
        event = EVENT_OF.get(task.status)
        if event is None or is_quiet(task) or not is_news(task.status, was):
            return
        try:
            self.note_all(event, task, was)
        except Exception as error:  # a store's, while it is asked what else is in the queue
            self.complain(f"hooks were not called: {error}")

    def note_all(self, event: str, task: Task, was: Status | None) -> None:
        """Note every hook that waits for it."""
        self.renew()
        for table in self.tables:
            if table.wants(event, task):
                self.note(task, event, table.name)
        if event in (*ENDS, "skipped") and NOTIFY in task.data:
            self.note(task, event, NOTIFIER)
        if task.status.is_final and task.queue is not None and (was is None or not was.is_final):
            self.look_at_queue(task)

    def look_at_queue(self, task: Task) -> None:
        """The queue has ended if nothing else of it is unfinished."""
        tables = [table for table in self.tables if table.wants("queue", task)]
        if tables and not is_tried_again(task) and not is_anything_left(self.store, task):
            for table in tables:
                self.note(task, "queue", table.name)

    def asks(self, task: Task) -> bool:
        """Whether a hook wants to be asked before a task begins."""
        return not is_quiet(task) and any(table.wants("before", task) for table in self.tables)

    def long_after(self, task: Task) -> list[float]:
        """After how many seconds somebody wants to hear that a task still runs; ascending."""
        if is_quiet(task):
            return []
        return sorted({table.longer_than or 0.0 for table in self.tables if table.wants("long", task)})

    def is_long(self, task: Task, seconds: float) -> None:
        """A task has run for so long."""
        for table in self.tables:
            if table.longer_than == seconds and table.wants("long", task) and not has_fired(task, table.name, "long"):
                self.note(task, "long", table.name)
        self.committed()

    def note(self, task: Task, event: str, hook: str) -> None:
        """Leave word for the runner."""
        note = Note(
            uid=task.uid, attempt=task.attempt, event=event, hook=hook, store=self.store.place, at=timestamp()
        )  # fmt: skip
        path = os.path.join(self.folder, name_of(note))
        content = json.dumps(note.asdict()).encode()
        try:
            try:
                replace_file(path, content)
            except FileNotFoundError:
                make_private(self.folder)
                replace_file(path, content)
            self.fresh = True
        except (OSError, ValueError) as error:
            self.complain(f"hook {hook} was not called: {error}")

    def see_to_left(self) -> None:
        """Let a runner see to what was noted by those who died before they could start one."""
        if waiting(self.store.home):
            self.fresh = True
            self.committed()

    def committed(self) -> None:
        """What was noted has come true: let a runner see to it, if there is none who will."""
        self.runners = [pid for pid in self.runners if not is_reaped(pid)]
        if self.fresh:
            self.fresh = False
            if (pid := start_runner(self.store.home)) is not None:
                self.runners.append(pid)


def attach(store: Store, config: Config | None = None) -> Firing:
    """Let the changes in a store fire the hooks of its home."""
    if store.firing is None:
        store.firing = Firing(store, Config(store.home) if config is None else config)
    return store.firing


def folder_of(home: str) -> str:
    """Where the notes of this host wait: a desktop, or a program, is not to be had on another one."""
    return os.path.join(home, "hooks", os.uname().nodename)


def name_of(note: Note) -> str:
    """The file of a note: of each hook, one for each event of an attempt."""
    hook = zlib.crc32(note.hook.encode("utf-8", "replace"))
    return f"{note.uid.replace('/', '_')}.{note.attempt}.{note.event}.{hook:08x}{NOTE}"


def is_quiet(task: Task) -> bool:
    """Whether a task fires no hooks, since one has started it, or we are inside of one: that would never end."""
    return BY_HOOK in task.data or bool(os.environ.get(INSIDE))


def is_news(now: Status, was: Status | None) -> bool:
    """Whether a status tells of an event: a task that goes from here to another scheduler has begun before."""
    return was is not now and not (was in (Status.RUNNING, Status.SUBMITTED) and not now.is_final)


def is_tried_again(task: Task) -> bool:
    """Whether a job that has failed has tries left."""
    return task.status is Status.FAILED and task.data.get("retried", 0) < task.data.get("job", {}).get("retries", 0)


def is_anything_left(store: Store, task: Task) -> bool:
    """Whether anything but this task is unfinished in its queue."""
    since = store.policies().get(task.queue or "", {}).get("since", 0)
    unfinished = Query(queue=task.queue, above=since, statuses=UNFINISHED)
    return any(other.uid != task.uid for other in store.newest_first(unfinished))


def has_fired(task: Task, hook: str, event: str) -> bool:
    """Whether a hook was called already for this event of the task's attempt."""
    done = (hook, event, task.attempt)
    return any((one.get("name"), one.get("event"), one.get("attempt")) == done for one in results(task))


def results(task: Task) -> Sequence[dict[str, object]]:
    """What hooks have done for a task."""
    found = task.data.get("hooks", ())
    return [one for one in found if isinstance(one, dict)] if isinstance(found, (list, tuple)) else ()


def waiting(home: str) -> list[str]:
    """The notes that no runner has done with."""
    return [name for name in listed(folder_of(home)) if name.endswith((NOTE, BEGUN))]


def is_served(home: str) -> bool:
    """Whether a runner will see what has been noted by now: it looks once more after it has let go of the lock."""
    import fcntl

    try:
        file = os.open(os.path.join(folder_of(home), LOCK), LOCKED, 0o600)
    except OSError:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)  # as many as want to know may ask at a time
        return False
    except OSError:
        return True
    finally:
        os.close(file)


def start_runner(home: str) -> int | None:
    """Start a runner, if there is none; its pid, for somebody has to reap it."""
    if is_served(home):
        return None
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return spawn([sys.executable, "-c", PROGRAM, home], {0: null, 1: null, 2: null}, new_session=True)
    except CouldNotStart:
        return None  # the notes wait for the next call
    finally:
        os.close(null)


def is_reaped(pid: int) -> bool:
    """Whether a child of ours has ended."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] != 0
    except OSError:
        return True
