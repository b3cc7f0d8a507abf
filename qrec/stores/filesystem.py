"""Tasks as plain JSON files, one a task: for a home on a network file system, and for whoever likes files.

    tasks/schema                        the generation of this layout
    tasks/lock                          locked while somebody writes; holds the counters
    tasks/events                        the newest changes, one JSON object a line
    tasks/queues                        what holds for each queue
    tasks/7/7123.shell-97b1….json       task 7123: the task, the attempts before it, its small output

The name of a file tells number and uid, so that most look-ups list folders and open one file.  Files of tasks are only
ever replaced whole, so that readers need no lock.  Meant for ten thousand tasks.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from _thread import get_ident
from contextlib import contextmanager

from qrec.errors import (
    DuplicateTask,
    NoSuchTask,
    StaleTask,
    StoreBroken,
    StoreBusy,
    StoreError,
    StoreTooNew,
    StoreUnwritable,
)
from qrec.output import JOB, remove_file
from qrec.stores.base import (
    REMOVED,
    Bundle,
    Fault,
    Query,
    Store,
    change_kind,
    check_changeable,
    check_final,
    check_move,
    kept_by_hooks,
    next_attempt,
)
from qrec.task import UNFINISHED, Event, Kept, Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import Any

#: The generation of the layout that this code writes, and the newest it reads.
SCHEMA = 1
#: How many numbers share a folder.
PER_FOLDER = 1000
#: How many events are left when their file has grown beyond so many bytes.
REMEMBERED, EVENTS_SIZE = 1000, 512 * 1024
#: Bytes at the end of that file which surely hold its last few lines.
TAIL = 8192
#: Seconds between two tries for the lock: the first pause and the longest.
FIRST_PAUSE, LONGEST_PAUSE = 0.001, 0.05
#: How often a file is opened again that another host replaced under our eyes.
STALE_TRIES = 5
#: What a file is called until it is put into its place, and how many seconds that takes at most.
FRESH, ONE_WRITE = ".new", 600

#: What the parsing of a file that is no task may raise.
SPOILT = (ValueError, TypeError, KeyError, AttributeError, RecursionError)

REMEDIES = {
    errno.ENOSPC: "free some space on that disk",
    errno.EDQUOT: "free some of your quota",
    errno.EROFS: "choose a writable place with --home",
    errno.EACCES: "change its permissions, or choose another place with --home",
    errno.EPERM: "change its owner or permissions, or choose another place with --home",
    errno.EIO: "check that disk, then try again",
    errno.ENOTDIR: "move away the file that stands there, or choose another place with --home",
    errno.ENOLCK: "that file system cannot lock files, so choose another place with --home",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class FilesystemStore(Store):
    """One JSON file a task; safe on NFS.

    One spoilt file must not hide the others: `newest_first` and what rests on it pass over files that cannot be read,
    and `broken` lists their paths afterwards.  Asking for such a task by uid or number raises StoreBroken or
    StoreTooNew; `delete` gets rid of a broken one.
    """

    name = "filesystem"

    def __init__(self, home: str, location: str | None = None) -> None:
        super().__init__(home, location)
        self.broken: list[str] = []
        self._schema_known = False
        self._where: dict[str, str] = {}  # uid -> path, as far as seen
        self._highest = 0  # the highest number seen
        self._complete = 0  # up to this number all have been seen, the lock being held
        self._held: tuple[int, Lock] | None = None  # the thread that does several things together, and its lock
        self._settled: object = None  # how the file of events stood when its last change had been made

    @staticmethod
    def default_location(home: str) -> str:
        """The folder `tasks` in the home."""
        return os.path.join(home, "tasks")

    def close(self) -> None:
        """Forget what was seen of the folder; no file stays open between two calls."""
        self._schema_known = False
        self._where, self._highest, self._complete = {}, 0, 0

    # Writing

    @contextmanager
    def together(self) -> Iterator[None]:
        """See Store: the lock is held all the time.  A crash leaves the changes before it, each whole."""
        if self._held_here():
            yield
            return
        with self._founded() as lock:
            self._mark_schema()
            self._held = (get_ident(), lock)
            try:
                yield
            finally:
                self._held = None

    def _held_here(self) -> Lock | None:
        """The lock, if this thread holds it."""
        held = self._held
        return held[1] if held and held[0] == get_ident() else None

    def set_policy(self, queue: str, policy: Mapping[str, Any] | None) -> None:
        """See Store: one file for all queues, replaced whole."""
        with self._founded():
            self._mark_schema()
            policies = {name: old for name, old in self.policies().items() if name != queue}
            if policy is not None:
                policies[queue] = dict(policy)
            sequence = self._last_sequence() + 1
            path = self._path("queues")
            os.replace(write_beside(path, json.dumps(policies, default=dict).encode() + b"\n"), path)
            self._append(Event(sequence=sequence, uid=queue, number=0, kind="queue", at=timestamp()))

    def add(self, task: Task) -> Task:
        """Remember a new task; the first one makes the folder.

        Raises StoreError for a uid that cannot be part of a file's name (empty, or with a slash or a NUL in it).
        """
        check_file_name(task.uid)
        if not self._highest:
            self._learn()  # the long look happens before the lock, so that others do not wait for it
        with self._founded() as lock:
            counters = self._counters_for_adding(lock)
            if self._holds(task.uid):
                raise DuplicateTask(task.uid)
            admitted, counters = admit(task, counters, self._highest)
            self.moved(admitted, None)
            return self._add(lock, Bundle(task=task), admitted, counters)

    def add_all(self, bundles: Sequence[Bundle]) -> int:
        """Take in whole tasks, one file after the other: a crash leaves the first of them, each complete."""
        for bundle in bundles:
            check_file_name(bundle.task.uid)
        self._learn()
        with self._founded() as lock:
            new = 0
            for bundle in bundles:
                counters = self._counters_for_adding(lock)
                if not self._holds(bundle.task.uid):
                    self._add(lock, bundle, *admit_whole(bundle.task, counters, self._highest))
                    new += 1
            return new

    def _counters_for_adding(self, lock: Lock) -> Counters:
        """The counters, once everything that was added is known: a look without the lock may have missed some."""
        self._mark_schema()
        counters = self._counters(lock)
        if counters.number != self._complete:
            self._learn()
        return counters

    def _add(self, lock: Lock, bundle: Bundle, task: Task, counters: Counters) -> Task:
        """Write the file of a new task."""
        # Spent before the file exists: a crash in between leaves a gap, never a second task 7.
        lock.save(counters)
        document = Document.whole(self._new_path(task), bundle.copy(task=task))
        self._commit(document, "added", durable=False)
        self._where[task.uid] = document.path
        self._highest = self._complete = task.number
        return task

    def swap(
        self, uid: str, was: tuple[Status, int], now: Status, *, kept: Kept | None = None, known: Task | None = None,
        **fields: Any,
    ) -> Task:  # fmt: skip
        """Compare under the lock, and set by one rename."""
        check_move(was[0], now)
        with self._lock(uid):
            document = self._document(uid)
            document.expect(was)
            document.task = document.task.copy(status=now, **kept_by_hooks(document.task, fields))
            if kept is not None:
                document.keep(kept)
            self.moved(document.task, was[0])
            return self._commit(document, "status")

    def archive(self, uid: str, was: tuple[Status, int], now: Status, **fields: Any) -> Task:
        """Open the next attempt; output stays filed under the number of the attempt it belongs to."""
        check_move(was[0], now, archive=True)
        with self._lock(uid) as lock:
            document = self._document(uid)
            document.expect(was)
            document.open_attempt(now, self._with_turn(lock, uid, fields))
            self.moved(document.task, None)
            return self._commit(document, "status")

    def change(self, uid: str, **fields: Any) -> Task:
        """Set some of `CHANGEABLE`."""
        check_changeable(fields)
        if not fields:
            return self.get(uid)
        with self._lock(uid) as lock:
            document = self._document(uid)
            document.task = document.task.copy(**kept_by_hooks(document.task, fields))
            if "turn" in fields:
                lock.save(self._counters(lock).seen(document.task))
            return self._commit(document, change_kind(tuple(fields)))

    def delete(self, uid: str) -> None:
        """Forget the task: all there is about it is in its one file, which may be a spoilt one."""
        with self._lock(uid):
            document = self._to_delete(uid)
            self._append(self._next_event(document, "removed"))
            os.unlink(document.path)
            remove_file(self._mark(document.task))

    def strip(self, uid: str, was: tuple[Status, int], sizes: Mapping[int, int]) -> Task:
        """Leave the streams out of the file, and note how long they were."""
        check_final(was[0])
        with self._lock(uid):
            document = self._document(uid)
            document.expect(was)
            document.strip(sizes)
            return self._commit(document, "output")

    # Reading

    def policies(self) -> dict[str, dict[str, Any]]:
        """See Store."""
        self._check_schema()
        path = self._path("queues")
        try:
            return {str(name): dict(policy) for name, policy in json.loads(read_whole(path) or b"{}").items()}
        except SPOILT as error:
            raise spoilt(path) from error

    def pulse(self) -> object:
        """See Store: how the file of events stands, and whether the change that it tells of last has been made."""
        try:
            found = os.stat(self._path("events"))
        except OSError:
            return None
        pulse = found.st_ino, found.st_size, found.st_mtime_ns
        if self._settled != pulse:
            events = self._last_events()
            if events and not self._came_true(events[-1]):
                return (*pulse, "announced")
            self._settled = pulse
        return pulse

    def last_event(self) -> int:
        """See Store."""
        self._check_schema()
        return self._last_sequence()

    def get(self, uid: str) -> Task:
        """The task of exactly this uid, or NoSuchTask."""
        return self._document(uid).task

    def numbered(self, number: int) -> Task:
        """The task of this number, or NoSuchTask."""
        self._check_schema()
        for path in self._files_in(number // PER_FOLDER):
            if number_of(path) == number and (document := read_document(path)):
                return document.task
        raise NoSuchTask(str(number))

    def highest_number(self) -> int:
        """As the counters tell; without them, the highest in use."""
        self._check_schema()
        counters = read_counters(read_whole(self._path("lock")))
        if counters is None:
            self._learn(anew=True)
        return counters.number if counters else self._highest

    def latest(self) -> Task:
        """The task with the highest turn.

        The counters know it, unless that task was deleted or its writer died on the way; then all tasks are read.
        """
        self._check_schema()
        counters = read_counters(read_whole(self._path("lock")))
        found = self._task_of_turn(counters) if counters else None
        if found is None:
            nobody_has_a_turn = counters is not None and not counters.turn
            tasks = self.newest_first(Query())
            found = next(tasks, None) if nobody_has_a_turn else max(tasks, key=by_turn, default=None)
        if found is None:
            raise NoSuchTask(None)
        return found

    def starting_with(self, prefix: str, limit: int = 100) -> list[str]:
        """The uids that begin with the prefix, or whose part after the executor's name does; sorted."""
        self._learn(anew=True)
        return sorted(uid for uid in self._where if uid.startswith(prefix) or uuid_of(uid).startswith(prefix))[:limit]

    def newest_first(self, query: Query) -> Iterator[Task]:
        """The tasks that match, by descending number; each file is read when its turn comes."""
        return self._read_those_that(query, lambda content: True)

    def candidates(self, words: Sequence[str], query: Query) -> Iterator[Task]:
        """Leaves out the tasks whose file, unparsed, shows that a word is not in it: most, and quickly."""
        plain = [word for word in words if PLAIN.issuperset(word)]
        return self._read_those_that(query, lambda content: may_hold(content, plain))

    def _read_those_that(self, query: Query, promise: Callable[[bytes], bool]) -> Iterator[Task]:
        """The tasks that match, of the files whose content promises something."""
        self.broken = []
        paths = self._unfinished() if query.statuses and query.statuses <= UNFINISHED else self._every_file()
        for path in paths:
            task = self._readable(path, promise)
            if task and query.matches(task):
                yield task

    def count(self, query: Query) -> int:
        """How many tasks match.  How many there are at all is told by the names, so that counts spoilt files too."""
        if query == Query():
            self._learn(anew=True)
            return len(self._where)
        return sum(1 for _ in self.newest_first(query))

    def attempts(self, uid: str) -> list[Task]:
        """The attempts before the current one, oldest first.  NoSuchTask if the task is gone."""
        return self._document(uid).attempts()

    def kept(self, uid: str, attempt: int) -> Kept | None:
        """The output of an attempt if the task's file holds it; None as well if the task is gone."""
        try:
            return self._document(uid).kept(attempt)
        except NoSuchTask:
            return None

    def events(self, after: int = 0) -> list[Event]:
        """The changes since that sequence number, oldest first."""
        self._check_schema()
        events = read_events(read_whole(self._path("events")) or b"", after)
        return events if not events or self._came_true(events[-1]) else events[:-1]

    # Upkeep

    def check(self) -> Iterator[Fault]:
        """Files that cannot be read, two files of one task, marks that do not agree, what a crash has left."""
        self._check_schema()
        seen: dict[str, str] = {}
        unfinished = set()
        for path in self._every_file():
            uid = uid_of(path)
            if uid in seen:
                yield Fault(kind="twice", text=f"{shown(path)} is of the same task as {shown(seen[uid])}")
            seen[uid] = path
            try:
                document = read_document(path)
                if document:
                    document.check()
            except StoreError as error:
                yield Fault(kind="task", text=str(error))
                continue
            if document and not document.task.status.is_final:
                unfinished.add(self._mark(document.task))
        try:
            self.policies()
        except StoreBroken as error:
            yield Fault(kind="queue", text=str(error))
        yield from self._check_marks(unfinished)
        if left := [path for path in self._left_behind() if older_than_a_write(path)]:
            yield Fault(kind="left", text=f"a crash has left {shown(left[0])}", mendable=True)

    def _check_marks(self, unfinished: set[str]) -> Iterator[Fault]:
        """Whether the marks tell which tasks are unfinished.  Looks again at what seems wrong: tasks end meanwhile."""
        missing = [path for path in unfinished if not os.path.exists(path) and self._is_unfinished(path)]
        if missing:
            text = f"{len(missing)} unfinished task{'s' * (len(missing) != 1)} would not be seen as such"
            yield Fault(kind="marks", text=text, mendable=True)
        marks = {os.path.join(self._path("unfinished"), name) for name in names_in(self._path("unfinished"))}
        idle = [path for path in marks - unfinished if os.path.exists(path) and not self._is_unfinished(path)]
        if idle:
            text = f"{len(idle)} mark{'s' * (len(idle) != 1)} of unfinished tasks have outlived their reason"
            yield Fault(kind="marks", text=text, mendable=True)

    def _is_unfinished(self, mark: str) -> bool:
        """Whether the task of a mark is unfinished; one that cannot be read may be."""
        number, _, uid = os.path.basename(mark).partition(".")
        if not number.isdecimal():
            return False
        try:
            document = read_document(path_in(self._path(str(int(number) // PER_FOLDER)), int(number), uid))
        except StoreError:
            return True
        return document is not None and not document.task.status.is_final

    def _left_behind(self) -> list[str]:
        """Files that a writer was about to put into their place; the next one in the same folder sweeps them up."""
        folders = [self.location, *(self._path(str(folder)) for folder in self._folders())]
        return [path for folder in folders if os.path.exists(path := os.path.join(folder, FRESH))]

    def mend(self, fault: Fault) -> None:
        """See Store; nobody else writes meanwhile."""
        with self._founded():
            if fault.kind == "left":
                for path in self._left_behind():
                    remove_file(path)
            if fault.kind == "marks":
                self._mark_anew()

    def _mark_anew(self) -> None:
        """Make the marks agree with the tasks; the lock must be held."""
        folder = self._path("unfinished")
        marks = {os.path.join(folder, name) for name in names_in(folder)}
        unfinished = {self._mark(task) for task in self._read_those_that(Query(), lambda content: True)
                      if not task.status.is_final}  # fmt: skip
        make_folder(folder)
        for path in unfinished - marks:
            write_mark(path)
        for path in marks - unfinished:
            if not self._is_unfinished(path):
                remove_file(path)

    # Finding files

    def _path(self, name: str) -> str:
        return os.path.join(self.location, name)

    def _check_schema(self) -> None:
        """Look once which generation of the layout is there; where there is none yet, look again next time."""
        if self._schema_known:
            return
        found = read_whole(self._path("schema"))
        if found is not None:
            check_schema(parse_schema(found, self.location), self.location)
            self._schema_known = True

    def _folders(self) -> list[int]:
        """The folders of tasks, newest first."""
        self._check_schema()
        return sorted((int(name) for name in names_in(self.location) if name.isdecimal()), reverse=True)

    def _every_file(self) -> Iterator[str]:
        """The files of all tasks, newest first."""
        for folder in self._folders():
            yield from self._files_in(folder)

    def _unfinished(self) -> list[str]:
        """The files of the tasks that are marked as unfinished, newest first; a mark may outlive its reason."""
        marks = (name.partition(".") for name in names_in(self._path("unfinished")))
        numbered = sorted(((int(number), uid) for number, _, uid in marks if number.isdecimal()), reverse=True)
        return [path_in(self._path(str(number // PER_FOLDER)), number, uid) for number, uid in numbered]

    def _mark(self, task: Task) -> str:
        """The file whose existence says that the task may be unfinished: those are asked for by every verb."""
        return os.path.join(self._path("unfinished"), f"{task.number}.{task.uid}")

    def _files_in(self, folder: int) -> list[str]:
        """The files of tasks in a folder, newest first."""
        top = self._path(str(folder))
        paths = (os.path.join(top, name) for name in names_in(top) if is_task(name))
        return sorted(paths, key=number_of, reverse=True)

    def _learn(self, *, anew: bool = False) -> None:
        """Take in which tasks there are.

        Numbers only grow, so whatever was added since the last look is in the newest folder seen then or in a newer
        one.  What was deleted since is noticed when it is opened.
        """
        if anew:
            self._where, self._highest = {}, 0
        seen = self._highest // PER_FOLDER
        for folder in self._folders():
            if folder < seen:
                break
            top = self._path(str(folder))
            for name in names_in(top):  # thousands, on the path of `qrec run`: no call and no sorting in here
                number, _, rest = name.partition(".")
                if rest.endswith(".json") and number.isdecimal():
                    self._where[rest[:-5]] = f"{top}/{name}"
                    self._highest = max(self._highest, int(number))

    def _holds(self, uid: str) -> bool:
        return uid in self._where and os.path.exists(self._where[uid])

    def _new_path(self, task: Task) -> str:
        folder = self._path(str(task.number // PER_FOLDER))
        make_folder(folder)
        return path_in(folder, task.number, task.uid)

    # Reading files

    def _document(self, uid: str) -> Document:
        path, content = self._content(uid)
        return Document.parse(path, content)

    def _content(self, uid: str) -> tuple[str, bytes]:
        """A task's file where it was seen last, else where a fresh look finds it; NoSuchTask."""
        for look in (False, True):
            if look:
                self._learn(anew=True)
            path = self._where.get(uid)
            if path and (content := read_whole(path)) is not None:
                return path, content
        raise NoSuchTask(uid)

    def _to_delete(self, uid: str) -> Document:
        """A task's file, of which only the name matters, so that a spoilt one can be got rid of."""
        path, content = self._content(uid)
        try:
            return Document.parse(path, content)
        except StoreBroken:
            return Document(path, {}, Task(uid=uid, executor="", argv=(), number=number_of(path)))

    def _readable(self, path: str, promise: Callable[[bytes], bool]) -> Task | None:
        try:
            content = read_whole(path)
            return Document.parse(path, content).task if content is not None and promise(content) else None
        except StoreError:
            self.broken.append(path)
            return None

    # The counters

    def _counters(self, lock: Lock) -> Counters:
        """The counters, or what can be known of them where somebody deleted the lock file."""
        if lock.counters:
            return lock.counters
        events = read_events(read_whole(self._path("events")) or b"", 0)
        number = max((event.number for event in events), default=0)
        last = max(self.newest_first(Query()), key=by_turn, default=None)
        if last is None or not last.turn:
            return Counters(number=number)
        return Counters(number=number, turn=last.turn, latest=last.uid)

    def _task_of_turn(self, counters: Counters) -> Task | None:
        """The task that was given the highest turn, unless it is gone or never came to have it."""
        if not counters.turn:
            return None
        try:
            task = self.get(counters.latest)
        except StoreError:
            return None
        return task if task.turn == counters.turn else None

    def _with_turn(self, lock: Lock, uid: str, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields with a positive turn raised above all others; the counters remember whose it is."""
        if fields.get("turn", 0) <= 0:
            return fields
        counters = self._counters(lock).next_turn(uid, fields["turn"])
        lock.save(counters)
        return {**fields, "turn": counters.turn}

    # Writing files

    def _founded(self) -> Lock | Joined:
        """The lock of a store that is made where it is missing."""
        self._check_schema()
        make_folder(self.location)
        return self._taken_or_new()

    def _lock(self, uid: str) -> Lock | Joined:
        """The lock for changing a task.  Where there is no store there is no task, and none is made."""
        self._check_schema()
        if not os.path.isdir(self.location):
            raise NoSuchTask(uid)
        return self._taken_or_new()

    def _taken_or_new(self) -> Lock | Joined:
        """A lock of our own, unless this thread holds it already."""
        held = self._held_here()
        return Joined(held) if held else Lock(self._path("lock"), self.patience, self.wake)

    def _mark_schema(self) -> None:
        path = self._path("schema")
        if not os.path.exists(path):
            os.replace(write_beside(path, b"%d\n" % SCHEMA), path)

    def _commit(self, document: Document, kind: str, *, durable: bool = True) -> Task:
        """Write a changed task and its event, seen together or not at all; the lock must be held.

        The event is appended first, and counts only once the task's file bears its sequence number (`_came_true`): so
        the one rename at the end reveals both.  A crash before it leaves an event that nobody is shown, and whose
        sequence number the next writer gives anew.  A full disk is mostly met before either.

        `durable` waits for the disk.  It matters where older content would be lost with the new; a new task has none.
        """
        event = self._next_event(document, kind)
        document.sequence = event.sequence
        fresh = write_beside(document.path, document.encoded(), durable=durable)
        if not document.task.status.is_final:
            make_folder(self._path("unfinished"))
            write_mark(self._mark(document.task))
        self._append(event)
        os.replace(fresh, document.path)
        if document.task.status.is_final:
            remove_file(self._mark(document.task))
        return document.task

    def _next_event(self, document: Document, kind: str) -> Event:
        task = document.task
        sequence = max(self._last_sequence(), document.sequence) + 1
        return Event(sequence=sequence, uid=task.uid, number=task.number, kind=kind, at=timestamp())

    def _last_sequence(self) -> int:
        events = self._last_events()
        if events and not self._came_true(events[-1]):
            events.pop()
        return events[-1].sequence if events else 0

    def _last_events(self) -> list[Event]:
        """The newest events, one at least if there is any."""
        path = self._path("events")
        return read_events(read_whole(path, tail=TAIL) or b"", 0) or read_events(read_whole(path) or b"", 0)

    def _came_true(self, event: Event) -> bool:
        """Whether the change that the last event announces was made: its writer may be about to, or may have died."""
        if event.kind == "queue":
            return True  # told of afterwards
        path = path_in(self._path(str(event.number // PER_FOLDER)), event.number, event.uid)
        try:
            document = read_document(path)
        except StoreError:
            return event.kind != "removed"
        if document is None:
            return event.kind != "added"
        return event.kind != "removed" and document.sequence >= event.sequence

    def _append(self, event: Event) -> None:
        path = self._path("events")
        line = json.dumps(event.asdict()).encode() + b"\n"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except FileNotFoundError:
            os.replace(write_beside(path, line), path)
            return
        try:
            size = os.fstat(descriptor).st_size
            if size > EVENTS_SIZE:
                self._compact(event, line)
                return
            torn = size and os.pread(descriptor, 1, size - 1) != b"\n"  # its writer died in mid-line
            write_all(descriptor, b"\n" + line if torn else line)
        finally:
            os.close(descriptor)

    def _compact(self, event: Event, line: bytes) -> None:
        """Write the file of events anew with the newest before this one, and this one."""
        path = self._path("events")
        known = [old for old in read_events(read_whole(path) or b"", 0) if old.sequence < event.sequence]
        lines = [json.dumps(old.asdict()).encode() + b"\n" for old in known[-REMEMBERED:]]
        os.replace(write_beside(path, b"".join(lines) + line), path)


class Document:
    """What one file holds: a task, the attempts before, small output.

    The parsed JSON is kept and written back with what changed, so that fields of a later qrec outlive an earlier one.
    """

    def __init__(self, path: str, content: dict[str, Any], task: Task) -> None:
        self.path = path
        self.task = task
        self.sequence: int = content.get("sequence", 0)  #: of the last event that tells of this task
        self._content = content

    @classmethod
    def parse(cls, path: str, text: bytes) -> Document:
        """What the file says; StoreTooNew, or StoreBroken if it is no task."""
        try:
            content = json.loads(text)
            schema = int(content.get("schema", SCHEMA))
        except SPOILT as error:
            raise spoilt(path) from error
        check_schema(schema, path)
        try:
            return cls(path, content, parse_task(content["task"], path))
        except SPOILT as error:
            raise spoilt(path) from error

    @classmethod
    def whole(cls, path: str, bundle: Bundle) -> Document:
        """A file for a task that comes with attempts and output."""
        content: dict[str, Any] = {}
        if bundle.attempts:
            content["attempts"] = [attempt.copy(number=bundle.task.number).plain() for attempt in bundle.attempts]
        if bundle.kept:
            content["kept"] = {str(attempt): streams_of(kept) for attempt, kept in bundle.kept.items()}
        return cls(path, content, bundle.task)

    def expect(self, was: tuple[Status, int]) -> None:
        """Raise StaleTask unless the task is as the caller saw it."""
        found = (self.task.status, self.task.attempt)
        if found != was:
            raise StaleTask(self.task.uid, standing(*was), standing(*found))

    def open_attempt(self, now: Status, fields: Mapping[str, Any]) -> None:
        """Set the attempt aside and begin the next."""
        self._content = {**self._content, "attempts": [*self._content.get("attempts", ()), self._plain_task()]}
        self.task = next_attempt(self.task, now, fields)

    def keep(self, kept: Kept) -> None:
        """Take in the output of the current attempt."""
        before = self._content.get("kept", {})
        self._content = {**self._content, "kept": {**before, str(self.task.attempt): streams_of(kept)}}

    def strip(self, sizes: Mapping[int, int]) -> None:
        """Leave out what these attempts printed, and note how long it was."""
        self._content = {**self._content}
        if "kept" in self._content:
            self._content["kept"] = {
                attempt: {**without_job(parts), **NO_STREAMS} if int(attempt) in sizes else parts
                for attempt, parts in self._content["kept"].items()
            }
        if "attempts" in self._content:
            self._content["attempts"] = [stripped(plain, sizes) for plain in self._content["attempts"]]
        if self.task.attempt in sizes:
            self.task = self.task.copy(data={**self.task.data, REMOVED: sizes[self.task.attempt]})

    def check(self) -> None:
        """Raise StoreBroken if a part of the file cannot be read."""
        self.attempts()
        for attempt in self._content.get("kept", {}):
            self.kept(attempt)

    def attempts(self) -> list[Task]:
        """The attempts before, oldest first."""
        try:
            return [parse_task(plain, self.path) for plain in self._content.get("attempts", ())]
        except SPOILT as error:
            raise spoilt(self.path) from error

    def kept(self, attempt: int | str) -> Kept | None:
        """The output of an attempt, or None."""
        try:
            streams = self._content.get("kept", {}).get(str(attempt))
            if streams is None:
                return None
            return Kept.from_parts({name: bytes_of(part) for name, part in streams.items()})
        except SPOILT as error:
            raise spoilt(self.path) from error

    def encoded(self) -> bytes:
        """The file's content.  All of it is ASCII: a word of the command line need not be valid Unicode."""
        stated = {"schema": SCHEMA, "sequence": self.sequence, "task": self._plain_task()}
        others = {name: value for name, value in self._content.items() if name not in stated}
        return json.dumps({**stated, **others}, default=dict).encode() + b"\n"

    def _plain_task(self) -> dict[str, Any]:
        return {**self._content.get("task", {}), **self.task.asdict()}


class Counters(Record):
    """What must be known before a task is written."""

    number: int = 0  #: the highest number ever given
    turn: int = 0  #: the highest turn ever given
    latest: str = ""  #: the uid it was given to

    def seen(self, task: Task) -> Counters:
        """With a turn that the task brought along."""
        return self.copy(turn=task.turn, latest=task.uid) if task.turn > self.turn else self

    def next_turn(self, uid: str, wanted: int = 1) -> Counters:
        """With a turn above all others for this task."""
        return self.copy(turn=max(wanted, self.turn + 1), latest=uid)


def admit(task: Task, counters: Counters, highest: int) -> tuple[Task, Counters]:
    """A new task with its number and turn, and the counters after that.  `highest` is the highest in use."""
    counters = counters.copy(number=max(counters.number, highest) + 1)
    task = task.copy(number=counters.number)
    if task.turn <= 0 or task.status.is_final:
        return task, counters.seen(task)
    counters = counters.next_turn(task.uid, task.turn)
    return task.copy(turn=counters.turn), counters


#: Characters that stand in a file as they stand in the task: neither escaped by JSON, nor added by quoting a command.
PLAIN = frozenset(map(chr, range(0x21, 0x7F))) - set("\"\\'")


def may_hold(content: bytes, words: Sequence[str]) -> bool:
    """Whether a task's file may hold all these plain, folded words.

    Unknown where something is written otherwise than it reads (escapes, base64) or where the output, or that of a job
    which was submitted, is in files.
    """
    text = content.decode("ascii", "replace").lower()
    if "\\u" in text or '"base64"' in text or '"kept"' not in text:
        return True
    if '"submission"' in text and '"job.std' not in text:
        return True
    return all(word in text for word in words)


def admit_whole(task: Task, counters: Counters, highest: int) -> tuple[Task, Counters]:
    """A task taken in as it is: its number is kept if it is above all there are."""
    number = max(task.number, counters.number + 1, highest + 1)
    return task.copy(number=number), counters.copy(number=number).seen(task)


#: What is left of an output that was removed.
NO_STREAMS = {"stdout": "", "stderr": "", "timing": ""}


def without_job(parts: dict[str, Any]) -> dict[str, Any]:
    """The parts of an output but for what a job printed."""
    return {name: part for name, part in parts.items() if name not in JOB.values()}


def stripped(plain: dict[str, Any], sizes: Mapping[int, int]) -> dict[str, Any]:
    """An attempt before, with the note if it is one of those whose output was removed."""
    attempt = plain.get("attempt", 1)
    if attempt not in sizes:
        return plain
    return {**plain, "data": {**plain.get("data", {}), REMOVED: sizes[attempt]}}


def streams_of(kept: Kept) -> dict[str, Any]:
    """Kept output as JSON."""
    return {name: text_of(data) for name, data in kept.parts().items()}


class Lock:
    """The right to write, as long as the `with` lasts; the locked file holds the counters.

    They live in here since NFS promises fresh content of a locked file above all others.  They are written in place: a
    few bytes inside one block, which no crash of a process tears.  What the system refuses inside the `with` leaves it
    as StoreUnwritable.
    """

    def __init__(self, path: str, patience: float, tell: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self.patience = patience
        self.tell = tell  #: called when something was written and the lock is free again
        self.counters: Counters | None = None
        self._descriptor = -1

    def __enter__(self) -> Lock:
        deadline = time.monotonic() + self.patience
        pause = FIRST_PAUSE
        while not self._taken():
            left = deadline - time.monotonic()
            if left <= 0:
                raise busy(self.path, self.patience)
            time.sleep(min(pause, left))
            pause = min(2 * pause, LONGEST_PAUSE)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        os.close(self._descriptor)
        if isinstance(error, OSError):
            raise unwritable(error, self.path) from error
        if error is None:
            self.tell()

    def save(self, counters: Counters) -> None:
        """Write the counters down; only the first line of the file counts, so it may keep longer words behind it."""
        os.pwrite(self._descriptor, json.dumps(counters.asdict()).encode() + b"\n", 0)
        self.counters = counters

    def _taken(self) -> bool:
        """Try once.  The file is opened anew each time, since somebody may have deleted the one we had."""
        try:
            self._descriptor = self._opened()
        except OSError as error:
            raise unwritable(error, self.path) from error
        try:
            if self._locked():
                self.counters = read_counters(os.pread(self._descriptor, TAIL, 0))
                return True
        except OSError as error:
            os.close(self._descriptor)
            raise unwritable(error, self.path) from error
        os.close(self._descriptor)
        return False

    def _opened(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR)
        except FileNotFoundError:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            os.fchmod(descriptor, 0o600)
            return descriptor

    def _locked(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return os.fstat(self._descriptor).st_nlink > 0


class Joined:
    """A part of what is done together: the lock is held until all of it is done."""

    def __init__(self, lock: Lock) -> None:
        self.lock = lock

    def __enter__(self) -> Lock:
        return self.lock

    def __exit__(self, *_: object) -> None:
        pass


# Names of files


def is_task(name: str) -> bool:
    """Whether a file's name is that of a task; temporary files and the silly names of NFS are not."""
    return name.endswith(".json") and name.partition(".")[0].isdecimal()


def path_in(folder: str, number: int, uid: str) -> str:
    """Where a task's file is."""
    return os.path.join(folder, f"{number}.{uid}.json")


def number_of(path: str) -> int:
    """The number that a task's path tells."""
    return int(path[path.rfind("/") + 1 :].partition(".")[0])


def uid_of(path: str) -> str:
    """The uid that a task's path tells."""
    return path[path.rfind("/") + 1 :].partition(".")[2][: -len(".json")]


def uuid_of(uid: str) -> str:
    """What follows the executor's name, which may have dashes of its own."""
    return "-".join(uid.rsplit("-", 5)[1:])


def check_file_name(uid: str) -> None:
    """Raise StoreError for a uid that would lead out of the folder: it may come from a file somebody else wrote."""
    if not uid or "/" in uid or "\0" in uid:
        raise StoreError(f"{uid!r} cannot be the uid of a task: slashes and NULs are not allowed in it")


# Parts of a document


def parse_task(plain: Mapping[str, Any], path: str) -> Task:
    """A task as the file tells it; who it is, the file's name tells."""
    return Task.from_plain({**plain, "uid": uid_of(path), "number": number_of(path)})


def text_of(data: bytes) -> str | dict[str, str]:
    """Bytes as JSON can hold them: readable where they are UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        import base64

        return {"base64": base64.b64encode(data).decode()}


def bytes_of(text: str | dict[str, str]) -> bytes:
    """The bytes that `text_of` put into words."""
    if isinstance(text, str):
        return text.encode()
    import base64

    return base64.b64decode(text["base64"])


def parse_schema(text: bytes, path: str) -> int:
    """The generation that a store says it is of."""
    try:
        return int(text)
    except ValueError as error:
        raise spoilt(path) from error


def check_schema(found: int, path: str) -> None:
    """Raise StoreTooNew for what a later qrec wrote."""
    if found > SCHEMA:
        raise StoreTooNew(
            f"{shown(path)} was written by a later qrec (schema {found}, this one reads {SCHEMA}); "
            "upgrade qrec, or choose another place with --home"
        )


def standing(status: Status, attempt: int) -> str:
    """How a task stands, in words."""
    return f"{status} in attempt {attempt}"


def by_turn(task: Task) -> tuple[int, int]:
    """The order in which tasks are the latest."""
    return task.turn, task.number


# Events and counters


def read_events(content: bytes, after: int) -> list[Event]:
    """The events behind `after`, oldest first.  Torn lines are left out.

    Read backwards, and only downwards: of two events with one number the first never came true.
    """
    events: list[Event] = []
    for line in reversed(content.splitlines()):
        event = parse_event(line)
        if event is None or (events and event.sequence >= events[-1].sequence):
            continue
        if event.sequence <= after:
            break
        events.append(event)
    return events[::-1]


def parse_event(line: bytes) -> Event | None:
    """The event of a line, or None where a crash left half of one."""
    try:
        plain = json.loads(line)
        return Event(**{name: plain[name] for name in Event._fields})
    except SPOILT:
        return None


def read_counters(content: bytes | None) -> Counters | None:
    """The counters that the lock file holds, or None where it is new."""
    try:
        plain = json.loads((content or b"").partition(b"\n")[0])
        return Counters(**{name: plain[name] for name in Counters._fields})
    except SPOILT:
        return None


# Files and folders


def read_document(path: str) -> Document | None:
    """The document of a path, or None if the task was deleted meanwhile."""
    content = read_whole(path)
    return None if content is None else Document.parse(path, content)


def read_whole(path: str, *, tail: int | None = None) -> bytes | None:
    """A file's content (or its last `tail` bytes), or None if there is no such file.

    NFS answers ESTALE where another host replaced the file between opening and reading; its name leads to the new one.
    """
    for tries_left in reversed(range(STALE_TRIES)):
        try:
            return read_once(path, tail)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno != errno.ESTALE or not tries_left:
                raise unwritable(error, path) from error
    raise AssertionError("the last try returns or raises")


def read_once(path: str, tail: int | None) -> bytes:
    """A file's content, or its last `tail` bytes."""
    with open(path, "rb") as file:
        if tail is not None:
            file.seek(max(0, os.fstat(file.fileno()).st_size - tail))
        return file.read()


def names_in(folder: str) -> list[str]:
    """The names in a folder; a missing one is an empty one."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise unwritable(error, folder) from error


def make_folder(path: str) -> None:
    """Make a folder and those above it where they are missing, for their owner alone."""
    if os.path.isdir(path):
        return
    above = os.path.dirname(path.rstrip("/"))
    if above:
        make_folder(above)
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, 0o700)  # the umask may have taken away even our own rights
    except OSError as error:
        if not os.path.isdir(path):
            raise unwritable(error, path) from error


def write_beside(path: str, content: bytes, *, durable: bool = True) -> str:
    """Write what is to replace a file into a new one beside it; return that one's path.

    Only who holds the lock writes, so one temporary name a folder is enough, and a crash leaves one file at most, which
    the next writer sweeps up.
    """
    fresh = os.path.join(os.path.dirname(path), FRESH)
    try:
        descriptor = create(fresh)
    except FileExistsError:
        os.unlink(fresh)
        descriptor = create(fresh)
    try:
        write_all(descriptor, content)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)  # raises as well: NFS may tell of a full disk only now
    return fresh


def older_than_a_write(path: str) -> bool:
    """Whether a file is older than any writer needs."""
    try:
        return time.time() - os.stat(path).st_mtime > ONE_WRITE
    except OSError:
        return False


def write_mark(path: str) -> None:
    """Make an empty file; one that is there is as good."""
    try:
        os.close(create(path))
    except FileExistsError:
        pass


def create(path: str) -> int:
    """A descriptor for writing to a file that was not there before, readable by its owner alone."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.fchmod(descriptor, 0o600)  # the umask may have taken away even our own rights
    return descriptor


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of it, however little each call takes."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


# Trouble in words


def shown(path: str) -> str:
    """A path within a one-line message."""
    return path if path.isprintable() else repr(path)


def spoilt(path: str) -> StoreBroken:
    """The error for a file that is no task or no store."""
    return StoreBroken(f"{shown(path)} is damaged or no file of qrec's; move it away, or put back a copy of it")


def busy(path: str, patience: float) -> StoreBusy:
    """The error for a lock that did not come free."""
    return StoreBusy(f"{shown(path)} was locked by another qrec for {patience:g} s; try again, or run `fuser` on it")


def unwritable(error: OSError, path: str) -> StoreUnwritable:
    """The error for what the system refused, naming the path it spoke of."""
    path = error.filename if isinstance(error.filename, str) else path
    remedy = REMEDIES.get(error.errno or 0, "choose another place with --home")
    return StoreUnwritable(f"cannot use {shown(path)}: {(error.strerror or str(error)).lower()}; {remedy}")
