"""The log as a file: read as far as it has grown, written to by one process at a time."""

from __future__ import annotations

import fcntl
import json
import os
import threading
import time
from contextlib import contextmanager

from qrec.errors import DuplicateTask, NoSuchTask, StaleTask, StoreBroken, StoreBusy, StoreTooNew, StoreUnwritable
from qrec.output import make_private, private
from qrec.stores.base import (
    REMOVED,
    Store,
    change_kind,
    check_changeable,
    check_final,
    check_move,
    kept_by_hooks,
    next_attempt,
)
from qrec.task import Kept, Status, Task, timestamp
from qrec_log.book import FORMAT, Book, heading, line_of, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from qrec.stores.base import Bundle, Query
    from qrec.task import Event
    from qrec_log.book import Entry

PAUSE = 0.002  #: seconds between two tries to get the lock
WORTHWHILE = 1000  #: steps more than tasks, before it is worth while to write a shorter log


class Reader(threading.local):
    """What one thread has read of the file, and what it is about to write."""

    def __init__(self) -> None:
        self.book = Book()
        self.file: tuple[int, int] | None = None  #: which file that was
        self.position = 0  #: up to where, always the end of a line
        self.lock: int | None = None
        self.entries: list[Entry] = []  #: of the step that has begun


class LogStore(Store):
    """Everything in one file of text, which only ever grows; for a history of some ten thousand tasks.

    Each call of qrec reads all of it, and afterwards what is new.
    """

    name = "log"

    def __init__(self, home: str, location: str | None = None) -> None:
        super().__init__(home, location)
        self.mine = Reader()

    @staticmethod
    def default_location(home: str) -> str:
        """See Store."""
        return os.path.join(home, "history.jsonl")

    def close(self) -> None:
        """See Store."""
        self.mine.__init__()  # type: ignore[misc]  # this thread's part of it

    # The file

    @property
    def book(self) -> Book:
        """All that is known now."""
        if self.mine.lock is None:
            self.read()
        return self.mine.book

    def read(self) -> None:
        """Read what has been written since the last time; all of it, if that is another file."""
        try:
            file = os.open(self.location, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self.forget()
            return
        except OSError as error:
            raise StoreBroken(f"{self.location}: {error.strerror}") from None
        with open(file, "rb") as stream:
            stat = os.fstat(file)
            if (stat.st_dev, stat.st_ino) != self.mine.file or stat.st_size < self.mine.position:
                self.forget()
                self.mine.file = stat.st_dev, stat.st_ino
            if stat.st_size > self.mine.position:
                stream.seek(self.mine.position)
                self.take(stream.read())

    def forget(self) -> None:
        """Know nothing."""
        self.mine.book, self.mine.file, self.mine.position = Book(), None, 0

    def take(self, block: bytes) -> None:
        """Take in whole lines; half a one is still being written, or was by somebody who died of it."""
        for line in block.splitlines(keepends=True):
            if not line.endswith(b"\n"):
                return
            try:
                self.take_line(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self.forget()
                raise StoreBroken(f"{self.location} is no log of qrec's: {type(error).__name__}: {error}") from None
            self.mine.position += len(line)

    def take_line(self, step: Any) -> None:
        """Let a step be true."""
        if self.mine.position == 0:
            if step["qrec-log"] > FORMAT:
                raise StoreTooNew(f"{self.location} was written by a later qrec-log; install that")
            return
        self.mine.book.steps += 1
        for entry in step:
            self.mine.book.take(entry)

    @contextmanager
    def together(self) -> Iterator[None]:
        """See Store: one line."""
        if self.mine.lock is not None:
            yield
            return
        self.mine.lock = self.locked()
        try:
            self.read()
            yield
            if self.mine.entries:
                self.write(line_of(self.mine.entries))
                self.mine.book.steps += 1
        except BaseException:
            self.forget()  # what was taken in and not written is not true
            raise
        finally:
            os.close(self.mine.lock)
            wrote, self.mine.lock, self.mine.entries = bool(self.mine.entries), None, []
        if wrote:
            self.wake()

    def locked(self) -> int:
        """The lock that writers wait for, in a file beside the log.  Raises StoreBusy, StoreUnwritable."""
        deadline = time.monotonic() + self.patience
        try:
            make_private(os.path.dirname(self.location))
            lock = private(f"{self.location}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnwritable(f"{self.location}: {error.strerror}") from None
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(lock)
                    raise StoreBusy(f"another process has been writing to {self.location} for too long") from None
                time.sleep(PAUSE)

    def write(self, line: bytes) -> None:
        """Append a line, whole or not at all.  Raises StoreUnwritable."""
        try:
            file = private(self.location, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC)
        except OSError as error:
            raise StoreUnwritable(f"{self.location}: {error.strerror}") from None
        block = line if self.mine.position else heading() + line
        try:
            os.ftruncate(file, self.mine.position)  # what somebody could not write to its end
            if os.pwrite(file, block, self.mine.position) < len(block):
                raise OSError(0, "the disk is full")
        except OSError as error:
            os.ftruncate(file, self.mine.position)
            raise StoreUnwritable(f"{self.location}: {error.strerror}") from None
        finally:
            stat = os.fstat(file)
            os.close(file)
        self.mine.file, self.mine.position = (stat.st_dev, stat.st_ino), self.mine.position + len(block)

    def put(self, kind: str, task: Task, **told: Any) -> Task:
        """Make an entry of what a task is like from now on; return it as it will be read."""
        entry = {"event": [kind, task.uid, task.number, timestamp()], "uid": task.uid, "task": task.plain(), **told}
        self.enter(entry)
        return self.mine.book.tasks[task.uid]

    def enter(self, entry: Entry) -> None:
        """Make an entry part of the step; in the types in which it will be read again."""
        entry = json.loads(json.dumps(entry, default=dict))
        self.mine.book.take(entry)
        self.mine.entries.append(entry)

    # Writing

    def add(self, task: Task) -> Task:
        """See Store."""
        with self.together():
            book = self.mine.book
            if task.uid in book.tasks:
                raise DuplicateTask(task.uid)
            raised = max(task.turn, book.turn + 1) if task.turn and not task.status.is_final else task.turn
            task = task.copy(number=book.highest + 1, turn=raised)
            self.moved(task, None)
            return self.put("added", task)

    def swap(
        self, uid: str, was: tuple[Status, int], now: Status, *, kept: Kept | None = None, known: Task | None = None,
        **fields: Any,
    ) -> Task:  # fmt: skip
        """See Store."""
        with self.together():
            task = self.as_it_was(uid, was)
            check_move(was[0], now)
            changed = task.copy(status=now, **kept_by_hooks(task, fields))
            self.moved(changed, task.status)
            return self.put("status", changed, **({} if kept is None else {"kept": {task.attempt: packed(kept)}}))

    def archive(self, uid: str, was: tuple[Status, int], now: Status, **fields: Any) -> Task:
        """See Store."""
        with self.together():
            task = self.as_it_was(uid, was)
            check_move(was[0], now, archive=True)
            if fields.get("turn"):
                fields["turn"] = max(fields["turn"], self.mine.book.turn + 1)
            begun = next_attempt(task, now, fields)
            self.moved(begun, None)
            before = [*self.mine.book.before.get(uid, ()), task]
            return self.put("status", begun, before=[one.plain() for one in before])

    def change(self, uid: str, **fields: Any) -> Task:
        """See Store."""
        check_changeable(fields)
        with self.together():
            task = self.mine.book.get(uid)
            return self.put(change_kind(list(fields)), task.copy(**kept_by_hooks(task, fields))) if fields else task

    def delete(self, uid: str) -> None:
        """See Store."""
        with self.together():
            task = self.mine.book.get(uid)
            self.enter({"event": ["removed", uid, task.number, timestamp()], "uid": uid, "task": None})

    def strip(self, uid: str, was: tuple[Status, int], sizes: Mapping[int, int]) -> Task:
        """See Store."""
        with self.together():
            task = self.as_it_was(uid, was)
            check_final(was[0])
            every = [*self.mine.book.before.get(uid, ()), task]
            *before, task = (
                one.copy(data={**one.data, REMOVED: sizes[one.attempt]}) if one.attempt in sizes else one
                for one in every
            )
            kept = {n: packed(Kept(extras=one.extras)) for n, one in self.mine.book.kept.get(uid, {}).items()
                    if n in sizes}  # fmt: skip
            return self.put("output", task, before=[one.plain() for one in before], kept=kept)

    def add_all(self, bundles: Sequence[Bundle]) -> int:
        """See Store."""
        with self.together():
            return sum(self.add_whole(bundle) for bundle in bundles)

    def add_whole(self, bundle: Bundle) -> bool:
        """Take in one; whether it was new."""
        highest, task = self.mine.book.highest, bundle.task
        if task.uid in self.mine.book.tasks:
            return False
        number = task.number if task.number > highest else highest + 1
        before = [one.copy(number=number).plain() for one in bundle.attempts]
        kept = {attempt: packed(one) for attempt, one in bundle.kept.items()}
        self.put("added", task.copy(number=number), before=before, kept=kept)
        return True

    def set_policy(self, queue: str, policy: Mapping[str, Any] | None) -> None:
        """See Store."""
        with self.together():
            given = None if policy is None else dict(policy)
            self.enter({"event": ["queue", queue, 0, timestamp()], "policy": [queue, given]})

    def as_it_was(self, uid: str, was: tuple[Status, int]) -> Task:
        """The task, if it is as the caller saw it.  NoSuchTask, StaleTask."""
        task = self.mine.book.get(uid)
        if (task.status, task.attempt) != was:
            found = f"{task.status.value} (attempt {task.attempt})"
            raise StaleTask(uid, f"{was[0].value} (attempt {was[1]})", found)
        return task

    # Reading

    def policies(self) -> dict[str, dict[str, Any]]:
        """See Store."""
        return dict(self.book.policies)

    def pulse(self) -> object:
        """See Store."""
        try:
            stat = os.stat(self.location)
        except OSError:
            return None
        return stat.st_ino, stat.st_size, stat.st_mtime_ns

    def last_event(self) -> int:
        """See Store."""
        return self.book.sequence

    def get(self, uid: str) -> Task:
        """See Store."""
        return self.book.get(uid)

    def numbered(self, number: int) -> Task:
        """See Store."""
        book = self.book
        if number not in book.numbers:
            raise NoSuchTask(str(number))
        return book.tasks[book.numbers[number]]

    def highest_number(self) -> int:
        """See Store."""
        return self.book.highest

    def latest(self) -> Task:
        """See Store."""
        tasks = self.book.tasks.values()
        if not tasks:
            raise NoSuchTask(None)
        return max(tasks, key=lambda task: (max(task.turn, 0), task.number))

    def starting_with(self, prefix: str, limit: int = 100) -> Sequence[str]:
        """See Store."""
        tasks = self.book.tasks.values()
        found = [
            task.uid
            for task in tasks
            if task.uid.startswith(prefix) or task.uid.removeprefix(f"{task.executor}-").startswith(prefix)
        ]
        return sorted(found)[:limit]

    def newest_first(self, query: Query) -> Iterator[Task]:
        """See Store."""
        return (task for task in self.book.newest_first() if query.matches(task))

    def count(self, query: Query) -> int:
        """See Store."""
        return sum(1 for _ in self.newest_first(query))

    def attempts(self, uid: str) -> Sequence[Task]:
        """See Store."""
        self.book.get(uid)
        return list(self.mine.book.before.get(uid, ()))

    def kept(self, uid: str, attempt: int) -> Kept | None:
        """See Store."""
        return self.book.kept.get(uid, {}).get(attempt)

    def events(self, after: int = 0) -> Sequence[Event]:
        """See Store."""
        return [event for event in self.book.events if event.sequence > after]

    # Upkeep

    def compact(self, thorough: bool = False) -> None:
        """See Store: write a log that tells the same in fewer words, and put it in the place of the old one."""
        if not os.path.exists(self.location):
            return
        with self.together():
            book = self.mine.book
            if not thorough and book.steps < 2 * len(book.tasks) + WORTHWHILE:
                return
            fresh = f"{self.location}.new"
            try:
                with open(fresh, "wb", opener=private) as file:
                    file.writelines(book.lines())
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(fresh, self.location)
            except OSError as error:
                raise StoreUnwritable(f"{fresh}: {error.strerror}") from None
            self.forget()
