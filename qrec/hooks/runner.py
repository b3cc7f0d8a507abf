"""The runner: the process that calls the hooks that are due.  One at a time on each host, and none if nothing is due.

It takes the notes that firing.py has left, makes sure that what they tell has come true, calls the hooks, and records
with the task how they went.  One that hangs holds up its own next calls only: each hook has its own few at a time.  A
note is marked before its hook begins and removed when that is recorded: a runner that is killed lets no hook happen
twice, and the next one records that nobody knows how it went.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections import Counter, deque
from contextlib import suppress

from qrec.api import Qrec
from qrec.config import Config
from qrec.errors import NoSuchTask, QrecError
from qrec.firing import BEGUN, LOCK, LOCKED, NOTE, Note, folder_of, has_fired, is_anything_left, results
from qrec.hook_tables import NOTIFIER, Table, notifier, tables_of
from qrec.hooks.commands import Outcome, Process, not_started, ready_of
from qrec.hooks.told import call_of
from qrec.notify import remove
from qrec.output import listed
from qrec.reason import NEVER_BEGAN
from qrec.registry import written
from qrec.shown import masked_text
from qrec.stores.base import BY_HOOKS, MOST_BY_HOOKS
from qrec.task import NOTIFY, Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

EACH = 2  #: calls of one hook at a time
AT_ONCE = 32  #: calls of all hooks at a time
LOOKED = 0.2  #: seconds after which new notes are looked for while hooks run
GATHERED = 0.2  #: seconds in which outcomes are gathered, to be written down at once
SLOWLY = 10  #: how nice we are
ASKED = 20  #: tries for the lock, which somebody may hold for a moment to see whether we are there
PAUSE = 0.01  #: seconds between two of them
GIVEN_UP = 7 * 86_400  #: seconds after which nobody waits for a store any more that cannot be asked


class Due(Record):
    """A hook that was called, or is about to be."""

    note: Note
    path: str  #: of the marked note
    when: str = ""


class Runner:
    """Calls the hooks of one home that are due on this host."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.folder = folder_of(home)
        self.config = Config(home)
        self.written: Mapping[str, Any] | None = None
        self.tables: dict[str, Table] = {}
        self.doors: dict[str, Qrec] = {}
        self.ahead: dict[str, deque[str]] = {}  #: names of notes by their hook, the oldest first
        self.look_by = 0.0
        self.postponed: set[str] = set()  #: names of those that nothing can be done about now
        self.running: list[tuple[Due, Process]] = []
        self.done: list[tuple[Due, Outcome | None]] = []
        self.write_by = float("inf")

    def run(self) -> None:
        """Call what is due; look once more after the lock is free, since until then others rely on us."""
        while (lock := locked(os.path.join(self.folder, LOCK))) is not None:
            try:
                self.bury()
                self.work()
            finally:
                os.close(lock)
            if not self.look():
                return

    def look(self) -> bool:
        """Find the notes that have come, the oldest first; whether there are any to be dealt with."""
        known = self.postponed.union(*self.ahead.values())
        names = {name for name in listed(self.folder) if name.endswith(NOTE)} - known
        for name in sorted(names, key=lambda name: written(os.path.join(self.folder, name))):
            self.ahead.setdefault(hook_of(name), deque()).append(name)
        self.look_by = time.monotonic() + LOOKED
        return bool(self.ahead)

    def work(self) -> None:
        """Call hooks until none is due and all have ended."""
        while True:
            while (name := self.next()) is not None:
                self.begin(name)
            if self.running:
                self.step()
            if time.monotonic() >= self.write_by or not self.running:
                self.write_down()
                if not self.running and not self.look():
                    return

    def next(self) -> str | None:
        """The name of a note that can be dealt with now: its hook is not busy with what was noted before."""
        if not self.ahead or time.monotonic() >= self.look_by:
            self.look()
        if len(self.running) >= AT_ONCE:
            return None
        calls = Counter(hook_of(due.path) for due, _ in self.running)
        for hook, names in self.ahead.items():
            if calls[hook] < EACH:
                name = names.popleft()
                if not names:
                    del self.ahead[hook]
                return name
        return None

    # Beginning

    def begin(self, name: str) -> None:
        """Call the hook of a note, if what it tells has come true."""
        path = os.path.join(self.folder, name)
        note, table = read(path), None
        if note is not None and not self.is_called(note) and (table := self.table(note)) is not None:
            try:
                door = self.door(note.store)
                task = attempt_of(door, note)
            except QrecError:  # its store cannot be asked: the next runner tries again
                if time.time() - written(path) / 1e9 < GIVEN_UP:
                    self.postponed.add(name)
                    return
                task = None
            if task is not None:
                self.call(path, note, table, door, task)
                return
        remove(path)

    def is_called(self, note: Note) -> bool:
        """Whether the same was noted a moment ago, by another who saw it, and is not written down yet."""
        called = [due.note for due, _ in (*self.running, *self.done)]
        return any(one.copy(at=note.at) == note for one in called)

    def call(self, path: str, note: Note, table: Table, door: Qrec, task: Task) -> None:
        """Start its process."""
        due = Due(note=note, path=path.removesuffix(NOTE) + BEGUN, when=timestamp())
        try:
            os.rename(path, due.path)
        except OSError:  # the home was taken away, or cannot be written to
            self.postponed.add(os.path.basename(path))
            return
        try:
            made = notifier(str(task.data.get(NOTIFY, ""))) if note.hook == NOTIFIER else table
            self.running.append((due, Process(call_of(door, made, note.event, task))))
        except (QrecError, OSError) as error:
            self.end(due, not_started(error))

    def table(self, note: Note) -> Table | None:
        """What the config file says of a note's hook now."""
        if note.hook == NOTIFIER:
            return notifier("")
        self.config.renew()
        if self.config.written is not self.written:
            self.written = self.config.written
            self.tables = {table.name: table for table in tables_of(self.written)[0]}
        return self.tables.get(note.hook)

    def door(self, store: str) -> Qrec:
        """The front door to a store."""
        if store not in self.doors:
            self.doors[store] = Qrec(self.home, store)
        return self.doors[store]

    # Ending

    def step(self) -> None:
        """Wait for what the hooks do next."""
        ready = ready_of([process for _, process in self.running], min(self.write_by, self.look_by))
        for one in list(self.running):
            due, process = one
            if (outcome := process.step(ready)) is not None:
                self.running.remove(one)
                self.end(due, outcome)

    def end(self, due: Due, outcome: Outcome | None) -> None:
        """A hook is over; None if nobody knows how it went."""
        self.done.append((due, outcome))
        self.write_by = min(self.write_by, time.monotonic() + GATHERED)

    def bury(self) -> None:
        """Record the hooks that a killed runner had called."""
        for path in (os.path.join(self.folder, name) for name in listed(self.folder) if name.endswith(BEGUN)):
            if (note := read(path)) is not None:
                self.end(Due(note=note, path=path, when=note.at), None)
            else:
                remove(path)
        self.write_down()

    def write_down(self) -> None:
        """Record how the hooks went, a step for each store, and forget their notes."""
        for store in {due.note.store for due, _ in self.done}:
            some = [(due, outcome) for due, outcome in self.done if due.note.store == store]
            try:
                door = self.door(store)
                with door.store.together():
                    for due, outcome in some:
                        record(door, due, outcome)
            except QrecError:
                pass  # the store has been taken away, or its disk is full: what was done was done
            for due, _ in some:
                remove(due.path)
        self.done.clear()
        self.write_by = float("inf")


def record(door: Qrec, due: Due, outcome: Outcome | None) -> None:
    """Record with its task how a hook went."""
    try:
        task = door.store.get(due.note.uid)
    except NoSuchTask:
        return  # cleared meanwhile
    said = "nobody knows how it went: qrec's runner was killed" if outcome is None else outcome.said
    told = {
        "name": due.note.hook, "event": due.note.event, "attempt": due.note.attempt, "when": due.when,
        "code": outcome and outcome.returncode, "seconds": outcome and outcome.seconds,
        "said": masked_text(said, door.redactor),
    }  # fmt: skip
    door.store.change(task.uid, data={**task.data, BY_HOOKS: [*results(task), told][-MOST_BY_HOOKS:]})


def attempt_of(door: Qrec, note: Note) -> Task | None:
    """The attempt that a note tells of; None if what it tells has not come true, or was told already.

    A note is written a moment before the change; whoever has the lock of the store knows that the moment is over.
    """
    if (task := attempt_now(door, note)) is not None:
        return task
    with door.store.together():
        return attempt_now(door, note)


def attempt_now(door: Qrec, note: Note) -> Task | None:
    """The same, as it looks now."""
    try:
        now = door.store.get(note.uid)
    except NoSuchTask:
        return None
    if has_fired(now.copy(attempt=note.attempt), note.hook, note.event):
        return None
    attempts = (now,) if now.attempt == note.attempt else door.store.attempts(note.uid)
    task = next((task for task in attempts if task.attempt == note.attempt), None)
    return task if task is not None and has_come_true(door, note, task, now) else None


def has_come_true(door: Qrec, note: Note, task: Task, now: Task) -> bool:
    """Whether that has happened to an attempt which a note tells; the task may be in a later one now."""
    if note.event == "started":
        return task.status not in (Status.QUEUED, Status.SKIPPED) and not (task.pid is None and has_not_begun(task))
    if note.event == "queue":
        return now.status.is_final and not is_anything_left(door.store, now)
    return note.event == "long" or task.status.value == note.event or (note.event == "lost" and task.status.is_final)


def has_not_begun(task: Task) -> bool:
    """Whether an ended attempt could not be started."""
    return task.status is Status.FAILED and task.returncode in NEVER_BEGAN


def hook_of(name: str) -> str:
    """What the name of a note says of its hook (firing.name_of)."""
    return name.split(".")[-2]


def read(path: str) -> Note | None:
    """A note; None if it is gone or none."""
    try:
        with open(path, encoding="utf-8") as file:
            return Note(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None


def locked(path: str) -> int | None:
    """A descriptor that holds the lock; None if another runner does."""
    try:
        file = os.open(path, LOCKED, 0o600)
    except OSError:
        return None
    for _ in range(ASKED):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except OSError:
            time.sleep(PAUSE)
    os.close(file)
    return None


def main() -> None:
    """Call what is due in the home that is named."""
    for number in map(int, listed("/proc/self/fd")):
        if number > 2:  # what our starter's user has open is none of ours
            with suppress(OSError):
                os.close(number)
    os.nice(SLOWLY)
    os.chdir("/")
    Runner(sys.argv[1]).run()
