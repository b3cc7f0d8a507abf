"""The contract of a store: the only code that remembers."""

from __future__ import annotations

import abc
import itertools
import os
import time
from contextlib import contextmanager

from qrec.errors import IllegalMove, ManyTasks, NoSuchTask
from qrec.notify import tell_all
from qrec.output import Files, InStore, Moving, attempt_folder
from qrec.task import NOTIFY, Kept, Record, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Any, ClassVar

    from qrec.firing import Firing
    from qrec.output import Output
    from qrec.task import Event

#: What `change` may set: everything a person or an executor says about a task without touching its status.
CHANGEABLE = frozenset({"message", "tags", "priority", "wish", "data", "turn"})

#: What belongs to the task and not to one attempt: a new attempt keeps it.
LASTING = frozenset({"uid", "executor", "argv", "number", "created", "turn", "message", "tags", "pwd", "user", "host",
                     "queue", "name", "after", "priority"})  # fmt: skip


#: What lists may be sorted by.
SORTED_BY = ("number", "started", "seconds", "memory")

#: The note of what hooks have done, which stays with a task whoever writes its other notes; and of how many at most.
BY_HOOKS, MOST_BY_HOOKS = "hooks", 200

#: What the notes of an attempt call the bytes of its output once that was removed and the record kept.
REMOVED = "output_removed"
UUID, LEAST = 36, 4  #: characters of a uid's random part, and of them those at least that stand for it


class Query(Record):
    """Which tasks are asked for.  Every facet that is set must hold; the default asks for all."""

    statuses: frozenset[Status] = frozenset()  #: any of these
    executor: str | None = None
    tags: frozenset[str] = frozenset()  #: all of these
    host: str | None = None
    user: str | None = None
    cwd: str | None = None  #: recorded in this folder or below it
    commit: str | None = None  #: the beginning of the git commit in its facts
    since: str | None = None  #: created at or after this timestamp
    until: str | None = None  #: created before this timestamp
    longer: float | None = None  #: ran for so many seconds or more
    memory_over: int | None = None  #: used more bytes of memory than this
    code: int | None = None  #: ended with this return code
    queue: str | None = None  #: put into this queue
    name: str | None = None  #: of this name in its queue
    above: int | None = None  #: with a number above this
    below: int | None = None  #: with a number below this

    def matches(self, task: Task) -> bool:
        """The meaning of the facets, for stores without a query language; the contract suite holds others to it."""
        return (
            (not self.statuses or task.status in self.statuses)
            and (self.executor is None or task.executor == self.executor)
            and self.tags <= set(task.tags)
            and (self.host is None or task.host == self.host)
            and (self.user is None or task.user == self.user)
            and (self.cwd is None or is_below(task.pwd, self.cwd))
            and (self.commit is None or str(task.facts.get("commit", "")).startswith(self.commit))
            and (self.since is None or task.created >= self.since)
            and (self.until is None or task.created < self.until)
            and (self.longer is None or ran(task) >= self.longer)
            and (self.memory_over is None or task.usage.get("memory", 0) > self.memory_over)
            and (self.code is None or task.returncode == self.code)
            and (self.queue is None or task.queue == self.queue)
            and (self.name is None or task.name == self.name)
            and (self.above is None or task.number > self.above)
            and (self.below is None or task.number < self.below)
        )


class Order(Record):
    """In which order a page of tasks is wanted, and where it begins."""

    by: str = "number"  #: one of SORTED_BY; those that have none count as the least
    descending: bool = True
    after: tuple[Any, int] | None = None  #: the page begins behind this value and number

    def place(self, task: Task) -> tuple[Any, int]:
        """Where a task stands; by what a record says, so that what still runs does not move."""
        return self.value(task), task.number

    def value(self, task: Task) -> Any:
        """What it is sorted by."""
        if self.by == "number":
            return task.number
        if self.by == "started":
            return task.started or ""
        if self.by == "memory":
            return task.usage.get("memory", -1)
        return -1.0 if task.ended is None or task.seconds is None else task.seconds


class Page(Record):
    """Some tasks in an order, and up to where was looked for them; None if there are no more."""

    tasks: Sequence[Task]
    place: tuple[Any, int] | None


class Bundle(Record):
    """All that a store has of one task, to be carried to another."""

    task: Task
    attempts: tuple[Task, ...] = ()  #: those before the current one
    kept: Mapping[int, Kept] = {}  #: by attempt, the output that lives in the store


class Fault(Record):
    """Something in a store that does not agree with the rest."""

    kind: str  #: what `mend` goes by
    text: str  #: a sentence without its full stop
    mendable: bool = False


def first_of(tasks: Iterator[Task], order: Order, limit: int, deadline: float) -> Page:
    """The first of some tasks, as far as there is time."""
    found: list[Task] = []
    while len(found) < limit and time.monotonic() < deadline:
        task = next(tasks, None)
        if task is None:
            return Page(tasks=found, place=None)
        found.append(task)
    return Page(tasks=found, place=order.place(found[-1]) if found else order.after)


def by_place(placed: tuple[tuple[Any, int], Task]) -> tuple[Any, int]:
    """What tasks with their places are sorted by."""
    return placed[0]


def ran(task: Task) -> float:
    """How long a task ran, in seconds; nothing is as short as what never began, or whose end nobody saw."""
    return -1.0 if task.seconds is None else task.seconds


def is_below(folder: str, top: str) -> bool:
    """Whether `folder` is `top` or lies in it, by name alone."""
    return folder == top or folder.startswith(top.rstrip("/") + "/")


class Store(abc.ABC):
    """Remembers tasks, the attempts before, small output, and the order of changes.

    A store is made on a home folder and opens itself at first use; making one touches nothing.  Every writing
    method is atomic: the change and its event are seen together or not at all, by every process, and a crash leaves
    the state before or after.  Writers wait for each other up to `patience` seconds, then raise StoreBusy.  Readers
    never wait for writers.  Any method may raise StoreError: StoreBroken, StoreTooNew and StoreUnwritable
    tell the user in one line what to mend.
    """

    #: The name by which settings and `--store` pick it.
    name: ClassVar[str]
    #: Seconds a writer waits for another.
    patience: float = 30.0
    #: What notes the hooks that a change is for; None: nobody has any.
    firing: Firing | None = None
    #: What the last listing had to leave out because it could not be read.
    broken: Sequence[str] = ()

    def __init__(self, home: str, location: str | None = None) -> None:
        self.home = home
        self.location = location or self.default_location(home)

    @property
    def place(self) -> str:
        """Which store this is, among those that a home may know."""
        return f"{self.name}:{os.path.realpath(self.location)}"

    @staticmethod
    @abc.abstractmethod
    def default_location(home: str) -> str:
        """Where the store lives in a home when no URL says otherwise."""

    @abc.abstractmethod
    def close(self) -> None:
        """Let go of files and connections.  The store opens itself again when used."""

    # What a store calls when it writes

    def moved(self, task: Task, was: Status | None) -> None:
        """In the step by which a task takes its status, before anybody sees it: hooks may wait for it.  Never fails.

        `was` is the status before; None for a new task, and for a new attempt.  Whoever finds the task changed already
        does not come here; what comes in by `add_all` does not, either.
        """
        if self.firing is None and NOTIFY in task.data:
            from qrec.firing import attach

            attach(self)
        if self.firing is not None:
            self.firing.moved(task, was)

    def wake(self) -> None:
        """After a step: send a byte to whoever wants to know of it at once.  Waits for nobody, and never fails."""
        tell_all(self.home)
        if self.firing is not None:
            self.firing.committed()

    # Writing

    @abc.abstractmethod
    def add(self, task: Task) -> Task:
        """Remember a new task; return it with its number, and with its turn where it had none above the others.

        Numbers grow by the order of adding and are never given twice, not even after `delete`.  A task whose `turn` is
        0 was started by no person and keeps 0; any other turn is raised above every turn there is, unless the task is
        final already: then it is taken in late, and its turn is its own.  Raises DuplicateTask if the uid is present.
        """

    @abc.abstractmethod
    def swap(
        self, uid: str, was: tuple[Status, int], now: Status, *, kept: Kept | None = None, known: Task | None = None,
        **fields: Any,
    ) -> Task:  # fmt: skip
        """Compare and set: give the task the status `now` and these fields if its (status, attempt) still is `was`.

        Writes only the named fields, and `kept` as the attempt's output, in one transaction with the event.  Of any
        number of callers with the same `was`, one wins; the others get StaleTask.  IllegalMove if no task
        may go that way; a move from a final to an unfinished status is for `archive`.  NoSuchTask if it is gone.

        Whoever has just read the task may say so with `known`: a store may then do without reading it again, and return
        what was known with these fields.  Like `archive` and `change`, keeps what hooks have noted in `data`.
        """

    @abc.abstractmethod
    def archive(self, uid: str, was: tuple[Status, int], now: Status, **fields: Any) -> Task:
        """Open the next attempt: like `swap` from a final to an unfinished status, with the attempt before kept.

        All that belongs to one attempt (pid, times, codes, usage, facts, data, wish, output) is set aside under the old
        attempt's number and starts anew from its defaults and `fields`.  A positive `turn` in `fields` is raised above
        all others.
        """

    @abc.abstractmethod
    def change(self, uid: str, **fields: Any) -> Task:
        """Set some of `CHANGEABLE` whatever the status; the rest of the record is not written.  NoSuchTask if gone.

        No field, no event.
        """

    @abc.abstractmethod
    def delete(self, uid: str) -> None:
        """Forget the task, its attempts, its kept output and all that search knows of it.  NoSuchTask if gone.

        Files of large output belong to the caller.
        """

    @abc.abstractmethod
    def strip(self, uid: str, was: tuple[Status, int], sizes: Mapping[int, int]) -> Task:
        """Forget what these attempts printed; note in the data of each, as `REMOVED`, how many bytes that was.

        Compares like `swap`: StaleTask if the (status, attempt) is another by now, IllegalMove if it is unfinished.
        Search forgets it too; what was recorded beside the output is kept.  Files belong to the caller, who removes
        them afterwards: from here on nobody reads them.
        """

    @abc.abstractmethod
    def add_all(self, bundles: Sequence[Bundle]) -> int:
        """Take in tasks as they are, each whole with its attempts and output; return how many were new.

        A uid that is present is passed over.  A number higher than all there are is kept; a task with another is given
        the next.  Turns are kept.
        """

    @abc.abstractmethod
    def together(self) -> AbstractContextManager[None]:
        """Let all that this thread does with the store inside the `with` be one step: nobody else writes in between.

        What is read inside is what will be written to.  An error that leaves the `with` takes the changes back, as
        does a crash, if the store can do so (sqlite); else the changes before it stay, each whole.  One inside another
        is a part of it.  Keep it short.
        """

    @abc.abstractmethod
    def set_policy(self, queue: str, policy: Mapping[str, Any] | None) -> None:
        """Remember what holds for a queue, in place of what did; None forgets it.  To change a part, see `together`."""

    # Reading

    @abc.abstractmethod
    def policies(self) -> dict[str, dict[str, Any]]:
        """What holds for each queue, by its name."""

    @abc.abstractmethod
    def pulse(self) -> object:
        """Something that is another whenever somebody else has changed the store since; quickly had."""

    @abc.abstractmethod
    def last_event(self) -> int:
        """The sequence number of the newest event; 0 in a new store."""

    @abc.abstractmethod
    def get(self, uid: str) -> Task:
        """The task of exactly this uid, or NoSuchTask."""

    @abc.abstractmethod
    def numbered(self, number: int) -> Task:
        """The task of this number, or NoSuchTask."""

    @abc.abstractmethod
    def highest_number(self) -> int:
        """The highest number that was ever given; 0 in a new store."""

    @abc.abstractmethod
    def latest(self) -> Task:
        """The task with the highest positive turn, else the highest number; NoSuchTask in an empty store."""

    @abc.abstractmethod
    def starting_with(self, prefix: str, limit: int = 100) -> Sequence[str]:
        """The uids that begin with the prefix, or whose part after the executor's name does; sorted."""

    @abc.abstractmethod
    def newest_first(self, query: Query) -> Iterator[Task]:
        """The tasks that match, by descending number, produced as they are asked for."""

    @abc.abstractmethod
    def count(self, query: Query) -> int:
        """How many tasks match."""

    @abc.abstractmethod
    def attempts(self, uid: str) -> Sequence[Task]:
        """The attempts before the current one, oldest first, each as the task it was."""

    @abc.abstractmethod
    def kept(self, uid: str, attempt: int) -> Kept | None:
        """The output of an attempt if the store holds it; None if it is in files, or if there never was any."""

    @abc.abstractmethod
    def events(self, after: int = 0) -> Sequence[Event]:
        """The changes since that sequence number, oldest first.

        At least the newest 1,000 are remembered.  Where `after` is older than that, the first event's sequence is
        greater than `after + 1`, and the caller reads everything anew.
        """

    def candidates(self, words: Sequence[str], query: Query) -> Iterator[Task]:
        """Tasks, newest first, among which are all that match the query and hold every word (folded by casefold).

        Only words of three characters and more are given.  The caller compares; a store with an index leaves out what
        cannot match.
        """
        return self.newest_first(query)

    # Upkeep

    def size(self) -> int:
        """Bytes that the store's files take, without those that `compact` can give back."""
        return sum(file.stat().st_size for file in files_at(self.location))

    def compact(self, thorough: bool = False) -> None:  # noqa: B027
        """Give back the space that removed tasks have left, if it is worth the work.  Holds nobody up for long.

        `thorough` is for when a good part of all tasks has gone.
        """

    def check(self) -> Iterator[Fault]:
        """What is not as it should be; changes nothing.  StoreError if the store cannot be read at all."""
        return iter(())

    def mend(self, fault: Fault) -> None:  # noqa: B027
        """Put right what `check` found and called mendable.  StoreError if that cannot be done."""

    # What follows from the rest

    def oldest_first(self, query: Query) -> Iterator[Task]:
        """The tasks that match, by ascending number, for reading a whole history.

        One that is changed or removed meanwhile may be told as it was.
        """
        uids = [task.uid for task in self.newest_first(query)]
        while uids:
            try:
                yield self.get(uids.pop())
            except NoSuchTask:
                pass  # removed meanwhile

    def bundle(self, task: Task) -> Bundle:
        """All that the store has of a task."""
        attempts = tuple(self.attempts(task.uid))
        every = {one.attempt: self.kept(task.uid, one.attempt) for one in (*attempts, task)}
        return Bundle(task=task, attempts=attempts, kept={n: kept for n, kept in every.items() if kept is not None})

    def output(self, task: Task) -> Output:
        """What an attempt printed, finished or not.

        It moves from files into the store at its end, the store first.
        """
        folder = attempt_folder(self.home, task.uid, task.attempt)
        kept = self.kept(task.uid, task.attempt)
        moving = Moving(folder, lambda: self.kept(task.uid, task.attempt))
        output = moving if kept is None else InStore(kept, Files(folder))
        return InStore(Kept(extras=output.extras())) if REMOVED in task.data else output

    def job_names(self, query: Query) -> dict[str, str]:
        """The uids of the jobs that match and have a name, by that; of two with one name, the newer."""
        found: dict[str, str] = {}
        for task in self.newest_first(query):
            if task.name is not None:
                found.setdefault(task.name, task.uid)
        return found

    def statuses(self, uids: Iterable[str]) -> dict[str, Status]:
        """How these tasks stand; those that are gone are left out."""
        found = {}
        for uid in uids:
            try:
                found[uid] = self.get(uid).status
            except NoSuchTask:
                continue
        return found

    def ends(self, since: str, among: int) -> dict[str, tuple[str, Status]]:
        """When and how those tasks ended that did so at or after a timestamp, of the newest `among`; by uid."""
        tasks = itertools.islice(self.newest_first(Query()), among)
        return {
            task.uid: (task.ended, task.status)
            for task in tasks
            if task.status.is_final and task.ended is not None and task.ended >= since
        }

    def standing(self, query: Query) -> dict[str, Status]:
        """How each of the tasks that match stands, by its uid, oldest first."""
        return dict([(task.uid, task.status) for task in self.newest_first(query)][::-1])

    def page(self, query: Query, order: Order, limit: int, patience: float = float("inf")) -> Page:
        """The first `limit` tasks that match, in this order; fewer if `patience` seconds end before all were seen."""
        if order.by == "number" and order.descending:
            last = query.below if order.after is None else min(order.after[1], query.below or order.after[1])
            return first_of(self.newest_first(query.copy(below=last)), order, limit, time.monotonic() + patience)
        down, after = order.descending, order.after
        places = sorted(((order.place(task), task) for task in self.newest_first(query)), key=by_place, reverse=down)
        behind = (task for place, task in places if after is None or (place < after if down else place > after))
        return first_of(behind, order, limit, float("inf"))

    def runs(self, commands: Sequence[str], below: int, within: int) -> list[Task]:
        """The tasks with one of these command lines, newest first, among the `within` numbers below one."""
        wanted = set(commands)
        query = Query(below=below, above=below - within - 1)
        return [task for task in self.newest_first(query) if task.command in wanted]

    def tally(self) -> dict[Status, int]:
        """How many tasks there are of each status."""
        found: dict[Status, int] = {}
        for task in self.newest_first(Query()):
            found[task.status] = found.get(task.status, 0) + 1
        return found

    @contextmanager
    def hurried(self, seconds: float) -> Iterator[None]:
        """What this thread reads inside the `with` may end in StoreBusy when so many seconds have passed."""
        yield

    def find(self, query: Query | None = None, limit: int | None = None) -> list[Task]:
        """The newest `limit` tasks that match (None: all of them), by ascending number."""
        found: list[Task] = []
        for task in self.newest_first(query or Query()):
            if limit is not None and len(found) >= limit:
                break
            found.append(task)
        return found[::-1]

    def resolve(self, reference: str | None) -> Task:
        """The task a person means: by number, uid, unique prefix of either half of it, or the last started.

        A few digits are a number, be there such a task or not, and a few letters are nothing: a slip must not hit
        another.  Raises NoSuchTask, or ManyTasks with the candidates.
        """
        if reference is None:
            return self.latest()
        is_number = reference.isascii() and reference.isdecimal()
        if is_number and int(reference[:20]) <= self.highest_number():
            return self.numbered(int(reference))  # or nothing: the number of a removed task never means another
        uids = [uid for uid in self.starting_with(reference) if stands_for(reference, uid)]
        if not uids:
            raise NoSuchTask(reference)
        if len(uids) > 1 and reference not in uids:
            raise ManyTasks(reference, uids)
        return self.get(reference if reference in uids else uids[0])


def stands_for(beginning: str, uid: str) -> bool:
    """Whether the beginning of either half of a uid is long enough to mean it."""
    executor, random = uid[:-UUID], uid[-UUID:]
    return beginning == uid or beginning.startswith((random[:LEAST], executor + random[:LEAST]))


def files_at(location: str) -> Iterator[os.DirEntry[str]]:
    """The files whose path begins with a location: those in the folder, or the file and what lies beside it."""
    folder, name = os.path.split(location)
    for entry in scanned(folder):
        if entry.name.startswith(name) and entry.is_file(follow_symlinks=False):
            yield entry
    yield from (entry for entry in every_entry(location) if entry.is_file(follow_symlinks=False))


def every_entry(folder: str) -> Iterator[os.DirEntry[str]]:
    """All there is in a folder and those below it, folders first; what is gone meanwhile is left out."""
    for entry in scanned(folder):
        yield entry
        if entry.is_dir(follow_symlinks=False):
            yield from every_entry(entry.path)


def scanned(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def check_move(was: Status, now: Status, *, archive: bool = False) -> None:
    """Raise IllegalMove unless a task may go from `was` to `now` by `swap`, or by `archive`."""
    opens_attempt = was.is_final and not now.is_final and was is not Status.LOST
    if (
        not was.may_become(now)
        or (opens_attempt and not archive)
        or (archive and not (was.is_final and not now.is_final))
    ):
        raise IllegalMove(was.value, now.value)


def check_final(was: Status) -> None:
    """Raise IllegalMove for what may only be done to ended tasks."""
    if not was.is_final:
        raise IllegalMove(was.value, was.value)


def check_changeable(fields: Iterable[str]) -> None:
    """Raise TypeError for a field that `change` may not set: a programmer's mistake, never a user's."""
    if wrong := set(fields) - CHANGEABLE:
        raise TypeError(f"change() cannot set {', '.join(sorted(wrong))}")


def change_kind(fields: Sequence[str]) -> str:
    """What an event of `change` is called: `note` if there is one, else by its first field."""
    return "note" if "message" in fields else next(iter(fields))


def next_attempt(task: Task, now: Status, fields: Mapping[str, Any]) -> Task:
    """The task as its next attempt begins: what lasts is kept, the rest starts from its defaults."""
    lasting = {name: getattr(task, name) for name in LASTING}
    fields = kept_by_hooks(task, {"data": {}, **fields})
    return Task(**{**lasting, "attempt": task.attempt + 1, "status": now, **fields})


def kept_by_hooks(task: Task, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields to be written, with what hooks have noted meanwhile: it is only ever added to, so the longer is newer."""
    noted = task.data.get(BY_HOOKS, ())
    if not noted or "data" not in fields or len(fields["data"].get(BY_HOOKS, ())) >= len(noted):
        return dict(fields)
    return {**fields, "data": {**fields["data"], BY_HOOKS: noted}}
