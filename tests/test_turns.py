"""All who write to a store in WAL mode take turns, and only who has the turn writes the log into the file."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from qrec.errors import StoreBusy
from qrec.stores.base import Query
from qrec.stores.sqlite import LOG_LIMIT, SqliteStore, locked
from qrec.task import Kept, Status
from qrec.testing.stores import make

WRITER = """
import sys
from qrec.stores.sqlite import SqliteStore
from qrec.task import Kept, Status
from qrec.testing.stores import make
store = SqliteStore(sys.argv[1])
store.patience = 60
for number in range(100):
    task = store.add(make(status=Status.RUNNING))
    store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"x" * 30_000))
"""


@pytest.fixture
def store(tmp_path: Path) -> SqliteStore:
    store = SqliteStore(str(tmp_path))
    store.add(make())
    return store


def log_of(store: SqliteStore) -> Path:
    return Path(store.location + "-wal")


def test_no_connection_writes_the_log_by_itself(store):
    assert store.connection().execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)


def test_the_log_stays_small_and_nothing_is_lost_while_many_write(store):
    words = [sys.executable, "-c", WRITER, store.home]
    writers = [subprocess.Popen(words) for _ in range(4)]
    try:
        assert [writer.wait(100) for writer in writers] == [0, 0, 0, 0]
    finally:
        for writer in writers:
            writer.kill()
    assert log_of(store).stat().st_size < LOG_LIMIT + (1 << 20)
    tasks = store.find(Query(statuses=frozenset({Status.COMPLETE})), None)
    outputs = [kept for task in tasks if (kept := store.kept(task.uid, 1))]
    assert sum(len(kept.stdout) for kept in outputs) == 400 * 30_000
    assert store.connection().execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_reader_of_the_past_is_let_be(store):
    """What it reads cannot be written into the file; the log grows until it has gone, and is emptied then."""
    with contextlib.closing(sqlite3.connect(store.location, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        before = reader.execute("SELECT count(*) FROM tasks").fetchone()
        for _ in range(100):
            task = store.add(make(status=Status.RUNNING))
            store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"x" * 60_000))
        assert log_of(store).stat().st_size > LOG_LIMIT
        assert reader.execute("SELECT count(*) FROM tasks").fetchone() == before
    store.add(make())
    assert log_of(store).stat().st_size == 0


def test_who_does_not_get_a_turn_in_time_is_told(store):
    store.patience = 0.05
    with locked(store.location, 1), pytest.raises(StoreBusy):
        store.add(make())
    assert store.add(make()).number == 2


def test_without_a_place_for_the_lock_it_goes_on(store):
    Path(store.location + ".lock").unlink()
    Path(store.location + ".lock").mkdir()
    assert store.add(make()).number == 2
