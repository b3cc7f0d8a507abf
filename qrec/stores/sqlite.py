"""The store in one SQLite file: real columns, a trigram index for search, safe for any number of processes.

The record path uses the standard library's `sqlite3`; old stores are migrated through `sqlite_utils`, which
is imported only then.  Users' queries have a connection of their own, which cannot write (`qrec.doors.sql`).
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from _thread import _local
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
from qrec.output import JOB, make_private
from qrec.stores.base import (
    REMOVED,
    Bundle,
    Fault,
    Order,
    Page,
    Query,
    Store,
    change_kind,
    check_changeable,
    check_final,
    check_move,
    kept_by_hooks,
    next_attempt,
)
from qrec.task import FINAL, Event, Kept, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    import sqlite_utils

#: Fields that are JSON; NULL where they are empty, as they mostly are.
JSON_FIELDS: dict[str, type] = {"tags": tuple, "after": tuple, "usage": dict, "facts": dict, "data": dict}
#: Fields with a column of the same name.
PLAIN_FIELDS = tuple(name for name in Task._fields if name != "argv")
#: What is read to make a task; `argv` is NULL where the command says it all.
COLUMNS = (*PLAIN_FIELDS, "command", "argv", "cpu", "memory")
#: Parts of `usage` with columns of their own, for people's queries.
USAGE = ("cpu", "memory")
REMEMBERED_EVENTS = 2_000
PRUNED_EVERY = 500  #: events between two prunings
UUID = 37  #: characters of a uid after the executor's name
LOOKED_AT_ONCE = 5_000  #: tasks among which those of a page are looked for, at first
PAGE = 1_000  #: tasks read at a time by those who read them all
MANY = 500  #: values in one statement
INDEXED_AT_ONCE = 5_000  #: tasks that one search takes into the index before it answers
INDEXED_TEXT = 4 << 20  #: characters of the same
INCREMENTAL = 2  #: SQLite's word for a file that gives back free pages step by step
GIVEN_BACK_AT_ONCE = 1_000  #: pages
MERGED_AT_ONCE = 500  #: pages of the index
REWRITTEN = 256 << 20  #: bytes of a file that are still quickly written anew
GLANCE = 200  #: milliseconds that upkeep waits for others
SHORT, LONG = 0.0005, 0.01  #: seconds between two looks at a lock that somebody holds
LOG_LIMIT = 4 << 20  #: bytes of the log that are still added to
SAMPLE = 100  #: tasks at either end by which the index is tried
BELONGING = ("outputs", "attempts", "extras")  #: tables whose rows belong to a task
WITHOUT_TASK = "number NOT IN (SELECT number FROM tasks)"

TASK_COLUMNS = """
    uid TEXT NOT NULL, executor TEXT NOT NULL, command TEXT NOT NULL, argv TEXT, turn INTEGER NOT NULL,
    message TEXT NOT NULL, tags TEXT, pwd TEXT NOT NULL, user TEXT NOT NULL, host TEXT NOT NULL, status TEXT NOT NULL,
    attempt INTEGER NOT NULL, pid INTEGER, returncode INTEGER, signal INTEGER, created TEXT NOT NULL, started TEXT,
    ended TEXT, seconds REAL, cpu REAL, memory INTEGER, usage TEXT, facts TEXT, queue TEXT, name TEXT, after TEXT,
    priority INTEGER NOT NULL, wish TEXT, data TEXT
"""
OUTPUT_COLUMNS = "stdout BLOB, stderr BLOB, timing BLOB"
OUTPUT = ("stdout", "stderr", "timing")
EXTRAS = """
CREATE TABLE IF NOT EXISTS extras (number INTEGER NOT NULL, attempt INTEGER NOT NULL, name TEXT NOT NULL,
    content BLOB NOT NULL, PRIMARY KEY (number, attempt, name))
"""
QUEUES = "CREATE TABLE IF NOT EXISTS queues (name TEXT PRIMARY KEY, policy TEXT NOT NULL)"
#: What tasks may be sorted by, as SQL.
SORTED = {"number": "number", "started": "coalesce(started, '')", "seconds": "coalesce(seconds, -1)",
          "memory": "coalesce(memory, -1)"}  # fmt: skip
SORTING = "; ".join(
    f"CREATE INDEX IF NOT EXISTS tasks_{name} ON tasks({SORTED[name]})" for name in ("started", "seconds", "memory")
)
QUEUED = "CREATE INDEX IF NOT EXISTS tasks_queue ON tasks(queue, number) WHERE queue IS NOT NULL"
SEARCH = """
CREATE VIRTUAL TABLE search USING fts5(text, content='', columnsize=0, detail=none,
    tokenize='trigram case_sensitive 1')
"""

SCHEMA = f"""
CREATE TABLE tasks (number INTEGER PRIMARY KEY AUTOINCREMENT, {TASK_COLUMNS}, indexed INTEGER NOT NULL DEFAULT 0);
CREATE UNIQUE INDEX tasks_uid ON tasks(uid);
CREATE INDEX tasks_turn ON tasks(turn);
CREATE INDEX tasks_not_complete ON tasks(status) WHERE status <> 'complete';
CREATE INDEX tasks_unindexed ON tasks(number) WHERE indexed = 0;
CREATE TABLE outputs (number INTEGER PRIMARY KEY, {OUTPUT_COLUMNS});
CREATE TABLE attempts (number INTEGER NOT NULL, {TASK_COLUMNS}, {OUTPUT_COLUMNS}, PRIMARY KEY (number, attempt));
CREATE TABLE events (sequence INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT NOT NULL, number INTEGER NOT NULL,
    kind TEXT NOT NULL, at TEXT NOT NULL);
{SEARCH};
{EXTRAS};
{QUEUES};
{QUEUED};
{SORTING};
"""


def add_extras(db: sqlite_utils.Database) -> None:
    """1 to 2: what is recorded beside the output."""
    db.execute(EXTRAS)


def add_queues(db: sqlite_utils.Database) -> None:
    """2 to 3: what holds for queues, and their tasks found quickly."""
    db.execute(QUEUES)
    db.execute(QUEUED)


def add_sorting(db: sqlite_utils.Database) -> None:
    """3 to 4: long lists sorted by other things than their numbers."""
    for statement in SORTING.split("; "):
        db.execute(statement)


#: What takes an old store one version further, each in a transaction; a new store is made by SCHEMA as it is now.
#: Never change an entry once it was published: add one.
MIGRATIONS: tuple[Callable[[sqlite_utils.Database], None], ...] = (add_extras, add_queues, add_sorting)
VERSION = 1 + len(MIGRATIONS)


class SqliteStore(Store):
    """Tasks in `<home>/qrec.db`.  See `Store` for what every method promises."""

    name: ClassVar[str] = "sqlite"

    def __init__(self, home: str, location: str | None = None) -> None:
        super().__init__(home, location)
        self.local = _local()  # SQLite connections belong to their thread

    @staticmethod
    def default_location(home: str) -> str:
        """The file in the home."""
        return os.path.join(home, "qrec.db")

    # Connections

    def connection(self, create: bool = False) -> sqlite3.Connection:
        """This thread's connection.  Reading where no store is gives an empty one that lives in memory."""
        db: sqlite3.Connection | None = getattr(self.local, "db", None)
        if db is None:
            if not os.path.exists(self.location):
                if not create:
                    return empty_store()
                self.make()
            db = self.local.db = self.open()
            self.local.opened = getattr(self.local, "opened", 0) + 1
        return db

    def open(self) -> sqlite3.Connection:
        """Open the file and see that it is a store that this qrec understands."""
        with translated(self.location):
            db, version = open_file(self.location, self.patience)
        if version < VERSION:
            self.make()
        elif version > VERSION:
            raise StoreTooNew(
                f"{self.location} was written by a later qrec (schema {version}, this one knows {VERSION}); "
                "upgrade qrec, or name another store with --store"
            )
        return db

    def make(self) -> None:
        """Make the store if there is none, and bring an old one forward, one process at a time."""
        with translated(self.location):
            make_private(os.path.dirname(self.location))
            with locked(self.location, self.patience):
                if not os.path.exists(self.location):
                    make_file(self.location)
                elif self.version() < VERSION:
                    migrate(self.location)

    def version(self) -> int:
        """The schema version of the file."""
        with translated(self.location):
            db = connect(self.location, self.patience)
            try:
                return int(db.execute("PRAGMA user_version").fetchone()[0])
            finally:
                db.close()

    def close(self) -> None:
        """Close this thread's connection."""
        db: sqlite3.Connection | None = getattr(self.local, "db", None)
        if db is not None:
            db.close()
            self.local.db = None

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One writing transaction: all of it or nothing.  Within another it is a part of that."""
        db = self.connection(create=True)
        if db.in_transaction:
            with translated(self.location):
                yield db
            return
        with self.turn() as patience:
            db.execute(f"PRAGMA busy_timeout = {round(patience * 1000)}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:  # a full disk has rolled back by itself
                    db.execute("ROLLBACK")
                raise
        self.wake()

    @contextmanager
    def turn(self) -> Iterator[float]:
        """Have the file to ourselves among all that write to it; gives the seconds of patience that are left.

        Before 3.51.3, SQLite may lose what was committed if a log is begun anew while another connection writes it
        into the file (sqlite.org/wal.html, "the WAL-reset bug"), and few systems have a later one.  So no connection
        of ours writes the log by itself; who has the turn does, when it has grown.
        """
        deadline = time.monotonic() + self.patience
        try:
            lock = take_lock(self.location, self.patience)
        except OSError:
            lock = None  # a full disk, say: SQLite's own lock has to do, and the log stays as it is
        try:
            with translated(self.location):
                yield max(0.0, deadline - time.monotonic())
            if lock is not None and log_size(self.location) > LOG_LIMIT:
                self.empty_log()
        finally:
            if lock is not None:
                os.close(lock)

    def query(self, sql: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a SELECT, as they are asked for."""
        with translated(self.location):
            yield from self.connection().execute(sql, values)

    @contextmanager
    def together(self) -> Iterator[None]:
        """See Store."""
        with self.transaction():
            yield

    # Writing

    def add(self, task: Task) -> Task:
        """See Store."""
        with self.transaction() as db:
            turn = raised(db, task.turn) if task.turn and not task.status.is_final else task.turn
            values = row_of(task.copy(turn=turn))
            del values["number"]
            try:
                number = db.execute(*insert("tasks", values)).lastrowid
            except sqlite3.IntegrityError:
                raise DuplicateTask(task.uid) from None
            added = task.copy(number=number, turn=turn)
            note_event(db, added.uid, added.number, "added")
            self.moved(added, None)
        return added

    def swap(
        self, uid: str, was: tuple[Status, int], now: Status, *, kept: Kept | None = None, known: Task | None = None,
        **fields: Any,
    ) -> Task:  # fmt: skip
        """See Store."""
        check_move(was[0], now)
        with self.transaction() as db:
            task = claim(db, uid, was) if known is None else known
            if task.status.is_final:
                unindex(self, db, task)
            fields = kept_by_hooks(task, fields)
            task = task.copy(status=now, **fields)
            if not update(db, task, ("status", *fields), was):
                claim(db, uid, was)  # tells what it is by now
            if kept is not None:
                keep(db, task, kept)
            note_event(db, task.uid, task.number, "status")
            self.moved(task, was[0])
        return task

    def archive(self, uid: str, was: tuple[Status, int], now: Status, **fields: Any) -> Task:
        """See Store."""
        check_move(was[0], now, archive=True)
        with self.transaction() as db:
            task = claim(db, uid, was)
            unindex(self, db, task)
            set_aside(db, task)
            if fields.get("turn"):
                fields["turn"] = raised(db, fields["turn"])
            task = next_attempt(task, now, fields)
            update(db, task, Task._fields)
            note_event(db, task.uid, task.number, "status")
            self.moved(task, None)
        return task

    def change(self, uid: str, **fields: Any) -> Task:
        """See Store."""
        check_changeable(fields)
        with self.transaction() as db:
            task = self.get(uid)
            if not fields:
                return task
            if fields.keys() & {"message", "tags"}:
                unindex(self, db, task)
            fields = kept_by_hooks(task, fields)
            task = task.copy(**fields)
            update(db, task, tuple(fields))
            note_event(db, task.uid, task.number, change_kind(tuple(fields)))
        return task

    def delete(self, uid: str) -> None:
        """See Store."""
        with self.transaction() as db:
            task = self.get(uid)
            unindex(self, db, task)
            for table in ("tasks", "attempts", "outputs", "extras"):
                db.execute(f"DELETE FROM {table} WHERE number = ?", (task.number,))
            note_event(db, task.uid, task.number, "removed")

    def strip(self, uid: str, was: tuple[Status, int], sizes: Mapping[int, int]) -> Task:
        """See Store."""
        check_final(was[0])
        with self.transaction() as db:
            task = claim(db, uid, was)
            unindex(self, db, task)
            if task.attempt in sizes:
                empty(db, "outputs", "number = ?", task.number)
                forget_job(db, task)
                task = task.copy(data={**task.data, REMOVED: sizes[task.attempt]})
                update(db, task, ("data",))
            for before in self.attempts(uid):
                if before.attempt in sizes:
                    data = to_json({**before.data, REMOVED: sizes[before.attempt]})
                    chosen = "number = ? AND attempt = ?"
                    empty(db, "attempts", f"{chosen} AND stdout IS NOT NULL", task.number, before.attempt)
                    forget_job(db, task.copy(attempt=before.attempt))
                    db.execute(f"UPDATE attempts SET data = ? WHERE {chosen}", (data, task.number, before.attempt))
            note_event(db, task.uid, task.number, "output")
        return task

    def add_all(self, bundles: Sequence[Bundle]) -> int:
        """See Store.  What comes with all its output is indexed at once."""
        with self.transaction() as db:
            present = {
                row[0]
                for start in range(0, len(bundles), MANY)
                for row in db.execute(*uids_among([bundle.task.uid for bundle in bundles[start : start + MANY]]))
            }
            fresh = list({bundle.task.uid: bundle for bundle in bundles if bundle.task.uid not in present}.values())
            add_rows(db, fresh)
        return len(fresh)

    def set_policy(self, queue: str, policy: Mapping[str, Any] | None) -> None:
        """See Store."""
        with self.transaction() as db:
            if policy is None:
                db.execute("DELETE FROM queues WHERE name = ?", (column("name", queue),))
            else:
                values = (column("name", queue), json.dumps(policy, default=dict))
                db.execute("INSERT OR REPLACE INTO queues (name, policy) VALUES (?, ?)", values)
            note_event(db, queue, 0, "queue")

    # Reading

    def policies(self) -> dict[str, dict[str, Any]]:
        """See Store."""
        try:
            rows = self.query("SELECT name, policy FROM queues")
            return {as_text(name): json.loads(policy) for name, policy in rows}
        except ValueError as error:
            words = f"{self.location} holds a queue that cannot be read"
            raise StoreBroken(f"{words}; `qrec doctor` tells which") from error

    def pulse(self) -> object:
        """See Store: SQLite tells whether another connection has committed since this one was opened."""
        (version,) = next(self.query("PRAGMA data_version"))
        return getattr(self.local, "opened", 0), version

    def last_event(self) -> int:
        """See Store."""
        return int(next(self.query("SELECT seq FROM sqlite_sequence WHERE name = 'events'"), (0,))[0])

    def job_names(self, query: Query) -> dict[str, str]:
        """See Store."""
        condition, values = where(query)
        sql = f"SELECT name, uid FROM tasks WHERE name IS NOT NULL AND {condition} ORDER BY number"
        return {as_text(name): uid for name, uid in self.query(sql, values)}

    def statuses(self, uids: Iterable[str]) -> dict[str, Status]:
        """See Store."""
        wanted = [uid for uid in uids if encodable(uid)]
        found: dict[str, Status] = {}
        for start in range(0, len(wanted), MANY):
            some = wanted[start : start + MANY]
            sql = f"SELECT uid, status FROM tasks WHERE uid IN ({', '.join('?' * len(some))})"
            found.update((uid, Status(status)) for uid, status in self.query(sql, some))
        return found

    def ends(self, since: str, among: int) -> dict[str, tuple[str, Status]]:
        """See Store."""
        sql = (
            "SELECT uid, ended, status FROM (SELECT uid, ended, status FROM tasks ORDER BY number DESC LIMIT ?) "
            "WHERE ended >= ?"
        )
        rows = ((as_text(uid), ended, Status(status)) for uid, ended, status in self.query(sql, (among, since)))
        return {uid: (ended, status) for uid, ended, status in rows if status.is_final}

    def standing(self, query: Query) -> dict[str, Status]:
        """See Store."""
        condition, values = where(query)
        rows = self.query(f"SELECT uid, status FROM tasks WHERE {condition} ORDER BY number", values)
        every = {status.value: status for status in Status}
        return {uid: every[status] for uid, status in rows}

    def get(self, uid: str) -> Task:
        """See Store."""
        return self.one("uid = ?", uid, uid)

    def numbered(self, number: int) -> Task:
        """See Store."""
        return self.one("number = ?", number, str(number))

    def one(self, condition: str, value: object, reference: str) -> Task:
        """The task that fulfils a condition, or NoSuchTask."""
        for row in self.query(f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE {condition}", (value,)):
            return task_of(row)
        raise NoSuchTask(reference)

    def highest_number(self) -> int:
        """See Store."""
        row = next(self.query("SELECT seq FROM sqlite_sequence WHERE name = 'tasks'"), (0,))
        return int(row[0])

    def latest(self) -> Task:
        """See Store."""
        order = "ORDER BY turn DESC, number DESC"
        for row in self.query(f"SELECT {', '.join(COLUMNS)} FROM tasks {order} LIMIT 1"):
            return task_of(row)
        raise NoSuchTask(None)

    def starting_with(self, prefix: str, limit: int = 100) -> Sequence[str]:
        """See Store."""
        found: set[str] = set()
        for start in (prefix, *(f"{executor}-{prefix}" for executor in self.executors())):
            sql = "SELECT uid FROM tasks WHERE uid >= ? AND uid < ? ORDER BY uid LIMIT ?"
            found.update(row[0] for row in self.query(sql, (start, start + "\U0010ffff", limit)))
        return sorted(found)[:limit]

    def executors(self) -> Iterator[str]:
        """The executors of all tasks, by a few jumps along the index of uids."""
        after = ""
        while row := next(self.query("SELECT uid FROM tasks WHERE uid > ? ORDER BY uid LIMIT 1", (after,)), None):
            executor = row[0][:-UUID]
            if executor:
                yield executor
            after = max(row[0], executor + ".")  # the character after `-`

    def newest_first(self, query: Query) -> Iterator[Task]:
        """See Store."""
        if len(query.statuses) > 1 and Status.COMPLETE not in query.statuses:
            # For one status its index tells the order too; of several, SQLite would sort all there are.
            each = [self.newest_first(query.copy(statuses=frozenset({status}))) for status in query.statuses]
            return newest(each)
        condition, values = where(query)
        return self.tasks(f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE {condition} ORDER BY number DESC", values)

    def oldest_first(self, query: Query) -> Iterator[Task]:
        """See Store.  Read a page at a time: neither memory nor the store's log grows with the history."""
        condition, values = where(query)
        page = f"number > ? AND {condition} ORDER BY number LIMIT {PAGE}"
        after = 0
        while tasks := list(self.tasks(f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE {page}", (after, *values))):
            yield from tasks
            after = tasks[-1].number

    def tasks(self, sql: str, values: Sequence[Any]) -> Iterator[Task]:
        """The rows of a SELECT as tasks."""
        return map(task_of, self.query(sql, values))

    def count(self, query: Query) -> int:
        """See Store."""
        condition, values = where(query)
        return int(next(self.query(f"SELECT count(*) FROM tasks WHERE {condition}", values))[0])

    def page(self, query: Query, order: Order, limit: int, patience: float = float("inf")) -> Page:
        """See Store: looked for in ever larger stretches of the order, as long as there is time."""
        deadline = time.monotonic() + patience
        found: list[Task] = []
        many, place = LOOKED_AT_ONCE if query != Query() else limit, order.after
        last, tasks = self.stretch(query, order, many, limit)  # one always, or nobody would ever come further
        while True:
            found += tasks
            if len(found) >= limit:
                return Page(tasks=found, place=order.place(found[-1]))
            place = last
            left = deadline - time.monotonic()
            if place is None or left <= 0:
                return Page(tasks=found, place=place)
            many *= 2
            try:
                with self.hurried(left):
                    last, tasks = self.stretch(query, order.copy(after=place), many, limit - len(found))
            except StoreBusy:
                return Page(tasks=found, place=place)

    def stretch(self, query: Query, order: Order, many: int, limit: int) -> tuple[tuple[Any, int] | None, list[Task]]:
        """The first tasks that match, of the next so many; and the place of the last of those, None at the end."""
        condition, values = where(query)
        names, way = ", ".join(COLUMNS), "DESC" if order.descending else "ASC"
        if order.by == "number":
            last, among, bounds = self.next_numbers(query, order, many)
        else:
            last, among, bounds = self.next_places(order, many)
        sql = (
            f"SELECT {names} FROM tasks WHERE {among} AND {condition} "
            f"ORDER BY {SORTED[order.by]} {way}, number {way} LIMIT ?"
        )
        return last, list(self.tasks(sql, (*bounds, *values, limit)))

    def next_numbers(self, query: Query, order: Order, many: int) -> tuple[tuple[int, int] | None, str, list[Any]]:
        """A range of numbers."""
        highest = self.highest_number()
        if order.descending:
            start = order.after[1] if order.after else highest + 1
            last = max(start - many, 0)
            return ((last, last) if last > 1 else None), "number < ? AND number >= ?", [start, last]
        start = order.after[1] if order.after else 0
        last = start + many
        return ((last, last) if last < highest else None), "number > ? AND number <= ?", [start, last]

    def next_places(self, order: Order, many: int) -> tuple[tuple[Any, int] | None, str, list[Any]]:
        """The tasks that come next in an order."""
        key, way, sign = SORTED[order.by], *(("DESC", "<") if order.descending else ("ASC", ">"))
        behind, values = "1", []
        if order.after is not None:  # said twice, since only the first leads SQLite into the index
            behind, values = f"{key} {sign}= ? AND ({key}, number) {sign} (?, ?)", [order.after[0], *order.after]
        rest = f"FROM tasks WHERE {behind} ORDER BY {key} {way}, number {way}"
        last = next(self.query(f"SELECT {key}, number {rest} LIMIT 1 OFFSET ?", (*values, many - 1)), None)
        return last and (last[0], last[1]), f"number IN (SELECT number {rest} LIMIT ?)", [*values, many]

    def runs(self, commands: Sequence[str], below: int, within: int) -> list[Task]:
        """See Store."""
        some = [column("command", command) for command in commands][:MANY]
        sql = (
            f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE number < ? AND number >= ? "
            f"AND command IN ({', '.join('?' * len(some))}) ORDER BY number DESC"
        )
        return list(self.tasks(sql, (below, below - within, *some)))

    def tally(self) -> dict[Status, int]:
        """See Store: the many that completed are what is left of all."""
        (every,) = next(self.query("SELECT count(*) FROM tasks"))
        others = dict(self.query("SELECT status, count(*) FROM tasks WHERE status <> 'complete' GROUP BY status"))
        found = {Status(name): count for name, count in others.items()}
        return {**found, Status.COMPLETE: every - sum(found.values())}

    @contextmanager
    def hurried(self, seconds: float) -> Iterator[None]:
        """See Store."""
        if seconds == float("inf"):
            yield
            return
        deadline = time.monotonic() + seconds
        db = self.connection()
        db.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
        try:
            yield
        finally:
            db.set_progress_handler(None, 0)

    def attempts(self, uid: str) -> Sequence[Task]:
        """See Store."""
        task = self.get(uid)
        sql = f"SELECT {', '.join(COLUMNS)} FROM attempts WHERE number = ? ORDER BY attempt"
        return list(self.tasks(sql, (task.number,)))

    def kept(self, uid: str, attempt: int) -> Kept | None:
        """See Store."""
        names = ", ".join(OUTPUT)
        now = f"SELECT number, {names} FROM outputs JOIN tasks USING (number) WHERE uid = ? AND attempt = ?"
        before = f"SELECT number, {names} FROM attempts WHERE uid = ? AND attempt = ? AND stdout IS NOT NULL"
        for number, *streams in self.query(f"{now} UNION ALL {before}", (uid, attempt) * 2):
            extras = self.query("SELECT name, content FROM extras WHERE number = ? AND attempt = ?", (number, attempt))
            return Kept(**dict(zip(OUTPUT, streams, strict=True)), extras=dict(extras))
        return None

    def events(self, after: int = 0) -> Sequence[Event]:
        """See Store."""
        sql = "SELECT sequence, uid, number, kind, at FROM events WHERE sequence > ? ORDER BY sequence"
        rows = (dict(zip(Event._fields, row, strict=True)) for row in self.query(sql, (after,)))
        return [Event(**{**row, "uid": as_text(row["uid"])}) for row in rows]

    # Searching

    def candidates(self, words: Sequence[str], query: Query) -> Iterator[Task]:
        """See Store.  The index answers for what it holds; what is not in it yet is all handed out."""
        if not words:
            return self.newest_first(query)
        self.catch_up()
        condition, values = where(query)
        columns = ", ".join(f"tasks.{name}" for name in COLUMNS)
        found = self.tasks(
            f"SELECT {columns} FROM search CROSS JOIN tasks ON tasks.number = search.rowid "
            f"WHERE search MATCH ? AND {condition} ORDER BY search.rowid DESC",
            (match_expression(words), *values),
        )
        others = self.tasks(
            f"SELECT {columns} FROM tasks INDEXED BY tasks_unindexed "
            f"WHERE indexed = 0 AND {condition} ORDER BY number DESC",
            values,
        )
        return newest([found, others])

    def catch_up(self, limit: int = INDEXED_AT_ONCE) -> int:
        """Take ended tasks into the search index, newest first and as many as a moment allows; return how many.

        Done by those who search and not when a command ends, since a long output takes a second to index.
        """
        if not os.path.exists(self.location):
            return 0
        statuses = ", ".join(f"'{status.value}'" for status in FINAL)
        sql = (
            f"SELECT {', '.join(COLUMNS)} FROM tasks "
            f"WHERE indexed = 0 AND status IN ({statuses}) ORDER BY number DESC LIMIT ?"
        )
        if next(self.query(sql, (1,)), None) is None:
            return 0
        patience, self.patience = self.patience, min(self.patience, 0.2)
        try:
            with self.transaction() as db:
                return index(self, db, list(self.tasks(sql, (limit,))))
        except (StoreBusy, StoreUnwritable):
            return 0  # then they are compared one by one
        finally:
            self.patience = patience

    # Upkeep

    def size(self) -> int:
        """See Store."""
        return (self.pages("page_count") - self.pages("freelist_count")) * self.pages("page_size")

    def pages(self, what: str) -> int:
        """A number that SQLite tells of its file."""
        return int(next(self.query(f"PRAGMA {what}"))[0])

    def compact(self, thorough: bool = False) -> None:
        """See Store.

        The file lets go of its free pages, and before that the index of what it was told to forget, in small steps.  A
        file that was not made for that is written anew, if that takes a moment only.
        """
        if not os.path.exists(self.location):
            return
        if thorough:
            self.merge_index()
        free = self.pages("freelist_count")
        if self.pages("auto_vacuum") == INCREMENTAL:
            while free and (left := self.give_back()) < free:
                free = left
        elif free * 4 > self.pages("page_count") and self.fits(self.size()):
            with self.turn():
                self.connection().execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
                self.connection().execute("VACUUM")
        with self.turn():
            self.empty_log(GLANCE)

    def empty_log(self, patience: int = 0) -> None:
        """Write the log into the file, as far as its readers let us within so many milliseconds."""
        db = self.connection()
        try:
            db.execute(f"PRAGMA busy_timeout = {patience}")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError:
            pass  # a full disk, say: all of it stays in the log
        finally:
            db.execute(f"PRAGMA busy_timeout = {round(self.patience * 1000)}")

    def merge_index(self) -> None:
        """Write the search index anew, a little at a time, so that removed tasks take no room in it."""
        command = "INSERT INTO search(search, rank) VALUES ('merge', ?)"
        with self.transaction() as db:
            db.execute(command, (-MERGED_AT_ONCE,))
        more = True
        while more:
            with self.transaction() as db:
                before = db.total_changes
                db.execute(command, (MERGED_AT_ONCE,))
                more = db.total_changes - before > 1

    def give_back(self) -> int:
        """Cut some free pages off the file; return how many are left."""
        for _ in self.query(f"PRAGMA incremental_vacuum({GIVEN_BACK_AT_ONCE})"):
            pass
        return self.pages("freelist_count")

    def fits(self, size: int) -> bool:
        """Whether a file of this size is quickly written, and has room twice: as a copy, and in the log."""
        disk = os.statvfs(os.path.dirname(self.location))
        return size <= REWRITTEN and disk.f_bavail * disk.f_frsize > 2 * size

    def check(self) -> Iterator[Fault]:
        """See Store."""
        if not os.path.exists(self.location):
            return
        self.highest_number()
        for look in (self.check_file, self.check_rows, self.check_index):
            try:
                yield from look()
            except (StoreBusy, StoreUnwritable):
                raise
            except StoreError as error:
                yield Fault(kind="file", text=str(error))
                return

    def check_file(self) -> Iterator[Fault]:
        """What SQLite itself finds wrong."""
        found = [row[0] for row in self.query("PRAGMA integrity_check(5)")]
        # later releases look at the search index here too; we do that ourselves
        found = [line for line in found if line != "ok" and "fts5" not in line.lower()]
        if found and all(" index " in f"{line} " for line in found):
            yield Fault(kind="indexes", text=f"an index does not agree with its table ({found[0]})", mendable=True)
        elif found:
            yield Fault(kind="file", text=f"{self.location} is damaged: {'; '.join(found[:3])}")

    def check_rows(self) -> Iterator[Fault]:
        """Rows that belong to no task, and tasks that cannot be read."""
        for table in BELONGING:
            (count,) = next(self.query(f"SELECT count(*) FROM {table} WHERE {WITHOUT_TASK}"))
            if count:
                text = f"{count} row{'s' * (count != 1)} of {table} belong to no task"
                yield Fault(kind="rows", text=text, mendable=True)
        known = ", ".join(f"'{status.value}'" for status in Status)
        spoilt = [f"({name} IS NOT NULL AND NOT json_valid({name}))" for name in (*JSON_FIELDS, "argv")]
        sql = f"SELECT number FROM tasks WHERE status NOT IN ({known}) OR {' OR '.join(spoilt)} LIMIT 5"
        for (number,) in self.query(sql):
            yield Fault(kind="task", text=f"task {number} cannot be read")
        for (name,) in self.query("SELECT name FROM queues WHERE NOT json_valid(policy)"):
            yield Fault(kind="queue", text=f"what holds for the queue {as_text(name)!r} cannot be read")

    def check_index(self) -> Iterator[Fault]:
        """Whether the search index is whole, and knows the tasks that it is said to know."""
        try:
            with self.transaction() as db:  # SQLite wants the right to write for this
                db.execute("INSERT INTO search(search) VALUES ('integrity-check')")
            unknown = [task.number for task in self.sample() if not self.index_knows(task)]
        except StoreUnwritable:
            return  # on a disk where nothing can be written, all that reads works
        except StoreBroken:
            yield Fault(kind="search", text="the search index is damaged", mendable=True)
            return
        if unknown:
            yield Fault(kind="search", text=f"the search index does not know task {unknown[0]}", mendable=True)

    def sample(self) -> list[Task]:
        """Some tasks that are said to be in the index: the oldest, the newest."""
        columns = ", ".join(COLUMNS)
        sql = f"SELECT {columns} FROM tasks WHERE indexed = 1 ORDER BY number {{}} LIMIT {SAMPLE}"
        return [task for order in ("", "DESC") for task in self.tasks(sql.format(order), ())]

    def index_knows(self, task: Task) -> bool:
        """Whether the index finds a task by some of what it was given."""
        from qrec.search import pieces

        words = [word for word in indexed_text(self, task)[:1000].split("\n") if len(pieces(word)) > 0]
        if not words:
            return True
        sql = "SELECT 1 FROM search WHERE search MATCH ? AND rowid = ?"
        return next(self.query(sql, (match_expression(words[:3]), task.number)), None) is not None

    def mend(self, fault: Fault) -> None:
        """See Store."""
        with self.transaction() as db:
            if fault.kind == "indexes":
                db.execute("REINDEX")
            if fault.kind == "rows":
                for table in BELONGING:
                    db.execute(f"DELETE FROM {table} WHERE {WITHOUT_TASK}")
            if fault.kind == "search":
                db.execute("DROP TABLE search")
                db.execute(SEARCH)
                db.execute("UPDATE tasks SET indexed = 0 WHERE indexed = 1")
        if fault.kind == "search":
            while self.catch_up():
                pass


def newest(streams: Sequence[Iterator[Task]]) -> Iterator[Task]:
    """Several streams of tasks, newest first, as one."""
    import heapq

    return heapq.merge(*streams, key=lambda task: task.number, reverse=True)


# Opening and making


class Connection(sqlite3.Connection):
    """A connection that closes itself when nobody holds it any more: programs that use us as a library come and go."""

    def __del__(self) -> None:
        try:
            self.close()
        except sqlite3.Error:
            pass  # collected by another thread than its own


def connect(path: str, patience: float) -> sqlite3.Connection:
    """A connection that begins and ends its transactions itself."""
    db = sqlite3.connect(path, timeout=patience, isolation_level=None, factory=Connection)
    db.execute("PRAGMA synchronous = NORMAL")
    db.execute("PRAGMA wal_autocheckpoint = 0")  # see SqliteStore.turn
    return db


def open_file(path: str, patience: float) -> tuple[sqlite3.Connection, int]:
    """A connection and the schema version of what it leads to.

    Where nothing can be written, SQLite does not read a store in WAL mode either, unless it is told that nothing will
    change; that is true if no log lies beside it.
    """
    try:
        db = connect(path, patience)
        return db, db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.OperationalError:
        if os.access(os.path.dirname(path), os.W_OK) or not os.path.isfile(path) or os.path.exists(path + "-wal"):
            raise
        from urllib.parse import quote

        db = sqlite3.connect(f"file:{quote(path)}?immutable=1", uri=True, isolation_level=None, factory=Connection)
        return db, db.execute("PRAGMA user_version").fetchone()[0]


def log_size(path: str) -> int:
    """The bytes of the log beside a store; 0 where it has none."""
    try:
        return os.stat(path + "-wal").st_size
    except OSError:
        return 0


def empty_store() -> sqlite3.Connection:
    """A store with nothing in it, for readers that come before the first writer."""
    db = sqlite3.connect(":memory:", isolation_level=None, factory=Connection)
    lay_out(db)
    return db


def make_file(path: str) -> None:
    """Make a whole store beside its place and move it there, so that nobody ever opens half of one."""
    fresh = path + ".new"
    for leftover in (fresh, fresh + "-wal", fresh + "-shm", fresh + "-journal"):
        if os.path.exists(leftover):
            os.unlink(leftover)
    os.close(os.open(fresh, os.O_CREAT | os.O_WRONLY, 0o600))
    db = connect(fresh, 0)
    db.execute(f"PRAGMA auto_vacuum = {INCREMENTAL}")
    if is_local(path):
        db.execute("PRAGMA journal_mode = WAL")
    lay_out(db)
    db.close()
    os.rename(fresh, path)


def lay_out(db: sqlite3.Connection) -> None:
    """Make the tables of a new store, all or none."""
    db.executescript(f"BEGIN IMMEDIATE; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT")


def migrate(path: str) -> None:
    """Bring an old store forward in place; an empty file becomes a new one."""
    import sqlite_utils

    db = connect(path, 30)
    have = db.execute("PRAGMA user_version").fetchone()[0]
    tables = sqlite_utils.Database(db, execute_plugins=False)
    if not have and tables.table_names():
        raise StoreBroken(f"{path} is a database of something else; name another with --store")
    if not have:
        lay_out(db)
        have = VERSION
    for version, step in enumerate(MIGRATIONS[have - 1 :], have + 1):
        db.execute("BEGIN IMMEDIATE")
        step(tables)
        db.execute(f"PRAGMA user_version = {version}")
        db.execute("COMMIT")
    db.close()


#: File systems that are known to live on this machine: only there may processes share memory, as WAL needs.
LOCAL = frozenset("ext2 ext3 ext4 xfs btrfs zfs tmpfs overlay f2fs bcachefs ramfs apfs reiserfs jfs".split())


def is_local(path: str) -> bool:
    """Whether the file lies on a file system of this machine; not knowing means no."""
    return file_system(os.path.dirname(path)) in LOCAL


def file_system(folder: str) -> str:
    """The kind of the file system that a folder lies on, as the kernel calls it; empty if it does not say."""
    folder = os.path.realpath(folder)
    best, kind = "", ""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as mounts:
            for line in mounts:
                words, _, rest = line.partition(" - ")
                top = words.split()[4].encode("latin-1", "ignore").decode("unicode_escape")
                if len(top) >= len(best) and (folder + "/").startswith(top.rstrip("/") + "/"):
                    best, kind = top, rest.split()[0]
    except OSError:
        return "apfs" if os.uname().sysname == "Darwin" else ""
    return kind


@contextmanager
def locked(path: str, patience: float) -> Iterator[None]:
    """Hold the lock file of a store.  Raises StoreBusy, OSError."""
    lock = take_lock(path, patience)
    try:
        yield
    finally:
        os.close(lock)


def take_lock(path: str, patience: float) -> int:
    """The descriptor of a store's lock file, which is held until that is closed.

    Raises StoreBusy if somebody else holds it for longer than `patience` seconds, OSError if there can be none.
    """
    import fcntl

    file = os.open(path + ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    deadline, pause = time.monotonic() + patience, SHORT
    try:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return file
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise StoreBusy(f"{path} is held by another process") from None
            time.sleep(pause)
            pause = min(2 * pause, LONG)
    except BaseException:
        os.close(file)
        raise


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn SQLite's and the system's errors into sentences about this store."""
    try:
        yield
    except sqlite3.Error as error:
        raise store_error(path, error) from error
    except OSError as error:
        raise StoreUnwritable(f"{path}: {error.strerror or error}") from error


def store_error(path: str, error: sqlite3.Error) -> StoreError:
    """What one of SQLite's errors means to a user.  Its codes come with Python 3.11 only, so the words decide."""
    words = str(error)
    if "locked" in words or "busy" in words or words == "interrupted":
        return StoreBusy(f"{path} is held by another process")
    if any(sign in words for sign in ("readonly", "full", "unable to open", "disk I/O")):
        return StoreUnwritable(f"{path}: {words}; free some space, or see to its rights")
    if any(sign in words for sign in ("not a database", "malformed", "no such table", "no such column")):
        return StoreBroken(f"{path} is no qrec store ({words}); move it away, or name another with --store")
    return StoreError(f"{path}: {words}")


# Rows


def row_of(task: Task) -> dict[str, Any]:
    """A task as columns."""
    row = {}
    for name in PLAIN_FIELDS:
        value = getattr(task, name)
        row[name] = value if type(value) is int else column(name, value)
    row.update(derived(task))
    return row


def derived(task: Task) -> dict[str, Any]:
    """The columns that tell the same in another way, or a part of a field."""
    command = task.command
    rest = {name: value for name, value in task.usage.items() if name not in USAGE}
    return {
        "usage": column("usage", rest), **{name: task.usage.get(name) for name in USAGE},
        "command": column("command", command), "argv": None if tells_argv(command, task) else to_json(task.argv),
        "seconds": task.seconds if task.ended else None,
    }  # fmt: skip


def column(name: str, value: Any) -> Any:
    """A field as SQLite keeps it.  Text with bytes that are not UTF-8 (a folder's name, say) is kept as those bytes."""
    if not value:  # most are empty
        return None if name in JSON_FIELDS else value
    if name in JSON_FIELDS:
        return to_json(value)
    if isinstance(value, Status):
        return value.value
    if isinstance(value, str) and not encodable(value):
        return os.fsencode(value)
    return value


def as_text(value: str | bytes) -> str:
    """Text that `column` may have kept as bytes."""
    return os.fsdecode(value)


def to_json(value: Any) -> str:
    """JSON; readable where its characters can be stored."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if encodable(text) else json.dumps(value, separators=(",", ":"))


def tells_argv(command: str, task: Task) -> bool:
    """Whether the command line gives the exact words back: it is one line for a shell, or no word needed quoting."""
    return argv_of(command, task.data) == task.argv and encodable(command)


def argv_of(command: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    """The words of a command line that `tells_argv`."""
    return (command,) if "shell" in data else tuple(command.split(" "))


def encodable(text: str) -> bool:
    """Whether text is free of the lone surrogates by which Python tells of undecodable bytes."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def task_of(row: Sequence[Any]) -> Task:
    """Columns as a task."""
    values = dict(zip(COLUMNS, row, strict=True))
    for name, value in values.items():
        if isinstance(value, bytes):
            values[name] = os.fsdecode(value)
    for name, kind in JSON_FIELDS.items():
        values[name] = kind() if values[name] is None else kind(json.loads(values[name]))
    command, argv = values.pop("command"), values.pop("argv")
    values["argv"] = argv_of(command, values["data"]) if argv is None else tuple(json.loads(argv))
    for name in USAGE:
        if (value := values.pop(name)) is not None:
            values["usage"][name] = value
    values["status"] = Status(values["status"])
    return Task(**values)


def insert(table: str, values: dict[str, Any]) -> tuple[str, list[Any]]:
    """An INSERT and its values."""
    return f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})", list(values.values())


#: Fields that are written in more columns than their own.
WRITTEN_IN = {"argv": ("argv", "command"), "data": ("data", "argv", "command"), "usage": ("usage", *USAGE)}
DERIVED = frozenset({"usage", *USAGE, "command", "argv", "seconds"})
WRITTEN_IN |= {name: (name, "seconds") for name in ("started", "ended")}


def update(db: sqlite3.Connection, task: Task, names: Sequence[str], was: tuple[Status, int] | None = None) -> bool:
    """Write the named fields of a task, if it still is as it was; False if it is not."""
    columns = list(dict.fromkeys(column for name in names for column in WRITTEN_IN.get(name, (name,))))
    others = derived(task) if DERIVED.intersection(columns) else {}
    values = [others[name] if name in others else column(name, getattr(task, name)) for name in columns]
    sql = f"UPDATE tasks SET {' = ?, '.join(columns)} = ? WHERE uid = ?"
    values.append(task.uid)
    if was is not None:
        sql += " AND status = ? AND attempt = ?"
        values += [was[0].value, was[1]]
    return db.execute(sql, values).rowcount == 1


def uids_among(uids: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Which of the uids are there."""
    return f"SELECT uid FROM tasks WHERE uid IN ({', '.join('?' * len(uids))})", uids


def add_rows(db: sqlite3.Connection, bundles: Sequence[Bundle]) -> None:
    """Insert whole tasks, table by table: several times as quick as task by task."""
    (number,) = db.execute("SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'tasks'").fetchone()
    rows: dict[str, list[dict[str, Any]]] = {"tasks": [], "outputs": [], "attempts": [], "events": []}
    rows["extras"] = []
    indexed = []
    now = timestamp()
    for bundle in bundles:
        number = max(bundle.task.number, number + 1)
        task = bundle.task if bundle.task.number == number else bundle.task.copy(number=number)
        kept = bundle.kept.get(task.attempt)
        text = text_at_once(task, kept)
        rows["tasks"].append({**row_of(task), "indexed": int(text is not None)})
        if text is not None:
            indexed.append((number, text))
        if kept is not None:
            rows["outputs"].append({"number": number, **streams_of(kept)})
        for attempt in bundle.attempts:
            output = bundle.kept.get(attempt.attempt)
            streams = streams_of(output) if output else dict.fromkeys(OUTPUT)
            rows["attempts"].append({**row_of(attempt.copy(number=number)), **streams})
        rows["events"].append({"uid": task.uid, "number": number, "kind": "added", "at": now})
        for which, beside in bundle.kept.items():
            rows["extras"] += extra_rows(number, which, beside)
    for table, values in rows.items():
        if values:
            db.executemany(insert(table, values[0])[0], [tuple(row.values()) for row in values])
    db.executemany("INSERT INTO search(rowid, text) VALUES (?, ?)", indexed)
    db.execute("DELETE FROM events WHERE sequence <= (SELECT max(sequence) FROM events) - ?", (REMEMBERED_EVENTS,))


def text_at_once(task: Task, kept: Kept | None) -> str | None:
    """What the index is given of a task that comes with its output; None if that is still growing, or in files."""
    from qrec.output import InStore
    from qrec.search import document

    if not task.status.is_final or kept is None:
        return None
    return storable(document(task, InStore(kept)))


def empty(db: sqlite3.Connection, table: str, condition: str, *values: object) -> None:
    """Forget the streams in some rows, which stay: what was recorded beside the output is found through them."""
    nothing = ", ".join(f"{name} = x''" for name in OUTPUT)
    db.execute(f"UPDATE {table} SET {nothing} WHERE {condition}", values)


def forget_job(db: sqlite3.Connection, task: Task) -> None:
    """Forget what a job printed for an attempt."""
    for name in JOB.values():
        db.execute(
            "DELETE FROM extras WHERE number = ? AND attempt = ? AND name = ?", (task.number, task.attempt, name)
        )


def set_aside(db: sqlite3.Connection, task: Task) -> None:
    """Move the attempt that has ended, with its output, to the attempts before."""
    names, output = ", ".join(COLUMNS), ", ".join(OUTPUT)
    db.execute(
        f"INSERT INTO attempts ({names}, {output}) "
        f"SELECT {names}, {output} FROM tasks LEFT JOIN outputs USING (number) WHERE number = ?",
        (task.number,),
    )
    db.execute("DELETE FROM outputs WHERE number = ?", (task.number,))


def claim(db: sqlite3.Connection, uid: str, was: tuple[Status, int]) -> Task:
    """The task, if its status and attempt are what the caller saw."""
    row = db.execute(f"SELECT {', '.join(COLUMNS)} FROM tasks WHERE uid = ?", (uid,)).fetchone()
    if row is None:
        raise NoSuchTask(uid)
    task = task_of(row)
    if (task.status, task.attempt) != was:
        raise StaleTask(uid, f"{was[0].value} (attempt {was[1]})", f"{task.status.value} (attempt {task.attempt})")
    return task


def raised(db: sqlite3.Connection, turn: int) -> int:
    """A turn above all others."""
    highest = db.execute("SELECT max(turn) FROM tasks").fetchone()[0]
    return max(turn, (highest or 0) + 1)


def keep(db: sqlite3.Connection, task: Task, kept: Kept) -> None:
    """Keep the current attempt's output; silence takes no row."""
    if kept != Kept():
        sql, values = insert("outputs", {"number": task.number, **streams_of(kept)})
        db.execute(sql.replace("INSERT", "INSERT OR REPLACE", 1), values)
    for row in extra_rows(task.number, task.attempt, kept):
        sql, values = insert("extras", row)
        db.execute(sql.replace("INSERT", "INSERT OR REPLACE", 1), values)


def streams_of(kept: Kept) -> dict[str, bytes]:
    """The parts that have columns."""
    return {name: getattr(kept, name) for name in OUTPUT}


def extra_rows(number: int, attempt: int, kept: Kept) -> list[dict[str, Any]]:
    """The parts that have rows."""
    return [
        {"number": number, "attempt": attempt, "name": name, "content": content}
        for name, content in kept.extras.items()
    ]


def note_event(db: sqlite3.Connection, uid: str, number: int, kind: str) -> None:
    """Note a change; forget old ones now and then."""
    sql = "INSERT INTO events (uid, number, kind, at) VALUES (?, ?, ?, ?)"
    sequence = db.execute(sql, (column("uid", uid), number, kind, timestamp())).lastrowid or 0
    if sequence % PRUNED_EVERY == 0:
        db.execute("DELETE FROM events WHERE sequence <= ?", (sequence - REMEMBERED_EVENTS,))


def where(query: Query) -> tuple[str, list[Any]]:
    """A query as an SQL condition and its values."""
    terms: list[tuple[str, tuple[Any, ...]]] = [("1", ())]
    if query.statuses:
        marks = ", ".join("?" * len(query.statuses))
        terms.append((f"status IN ({marks})", tuple(sorted(status.value for status in query.statuses))))
        if Status.COMPLETE not in query.statuses:
            terms.append(("status <> 'complete'", ()))  # leads SQLite to the index of what is not complete
    if query.executor is not None:
        terms.append(("executor = ?", (query.executor,)))
    # The plus keeps SQLite from the index of queues: those that are not complete are fewer, and indexed, too.
    queue = "+queue" if query.statuses and Status.COMPLETE not in query.statuses else "queue"
    equal = {"host": query.host, "user": query.user, "returncode": query.code, queue: query.queue, "name": query.name}
    terms += [(f"{name} = ?", (column(name, value),)) for name, value in equal.items() if value is not None]
    if query.code:
        terms.append(("status <> 'complete'", ()))
    if query.commit is not None:
        terms.append(("coalesce(json_extract(facts, '$.commit'), '') GLOB ?", (glob_prefix(query.commit),)))
    if query.longer is not None:
        so_long_ago = timestamp(time.time() - query.longer)
        unfinished = "ended IS NULL AND status IN ('queued', 'running', 'submitted')"
        terms.append((f"(seconds >= ? OR ({unfinished} AND started <= ?))", (query.longer, so_long_ago)))
    if query.memory_over is not None:
        terms.append(("memory > ?", (query.memory_over,)))
    if query.since is not None:
        terms.append(("created >= ?", (query.since,)))
    if query.above is not None:
        terms.append(("number > ?", (query.above,)))
    if query.below is not None:
        terms.append(("number < ?", (query.below,)))
    if query.until is not None:
        terms.append(("created < ?", (query.until,)))
    if query.cwd is not None:
        folder, below = os.fsencode(query.cwd), os.fsencode(query.cwd.rstrip("/") + "/")
        bytewise = "CAST(pwd AS BLOB)"  # a folder's name need not be text
        terms.append((f"({bytewise} = ? OR substr({bytewise}, 1, ?) = ?)", (folder, len(below), below)))
    terms += [("EXISTS (SELECT 1 FROM json_each(tags) WHERE value = ?)", (tag,)) for tag in sorted(query.tags)]
    return " AND ".join(term for term, _ in terms), [value for _, values in terms for value in values]


# The search index


def match_expression(words: Sequence[str]) -> str:
    """What the index is asked: every three-character piece of every word."""
    from qrec.search import pieces

    every = dict.fromkeys(piece for word in words for piece in pieces(storable(word)))
    return " AND ".join('"' + piece.replace('"', '""') + '"' for piece in every)


def index(store: SqliteStore, db: sqlite3.Connection, tasks: Sequence[Task]) -> int:
    """Take tasks into the index until the text is more than a moment's work."""
    done = length = 0
    for task in tasks:
        if length > INDEXED_TEXT:
            break
        words = indexed_text(store, task)
        db.execute("INSERT INTO search(rowid, text) VALUES (?, ?)", (task.number, words))
        db.execute("UPDATE tasks SET indexed = 1 WHERE number = ?", (task.number,))
        done, length = done + 1, length + len(words)
    return done


def unindex(store: SqliteStore, db: sqlite3.Connection, task: Task) -> None:
    """Take a task out of the index, which wants to be told what it was given."""
    (indexed,) = db.execute("SELECT indexed FROM tasks WHERE number = ?", (task.number,)).fetchone()
    if indexed:
        words = indexed_text(store, task)
        db.execute("INSERT INTO search(search, rowid, text) VALUES ('delete', ?, ?)", (task.number, words))
        db.execute("UPDATE tasks SET indexed = 0 WHERE number = ?", (task.number,))


def indexed_text(store: SqliteStore, task: Task) -> str:
    """What the index is given of a task."""
    from qrec.search import document

    return storable(document(task, store.output(task)))


def storable(text: str) -> str:
    """Text that can be written as UTF-8."""
    return text if encodable(text) else text.encode("utf-8", "replace").decode()


def glob_prefix(prefix: str) -> str:
    """A GLOB pattern for what begins so."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in prefix) + "*"
