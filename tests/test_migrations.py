"""Stores that an earlier qrec wrote are brought forward in place, with all that is in them."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from qrec.stores.base import Query
from qrec.stores.sqlite import VERSION, SqliteStore, empty_store
from qrec.task import Kept, Status
from qrec.testing.stores import make

#: What each later version has brought; taken away again, a store is as the version before left it.
BROUGHT = {
    2: "DROP TABLE extras",
    3: "DROP INDEX tasks_queue; DROP TABLE queues",
    4: "DROP INDEX tasks_started; DROP INDEX tasks_seconds; DROP INDEX tasks_memory",
}


def set_back(place: Path, version: int) -> None:
    """Makes a store what it was under an earlier version."""
    with contextlib.closing(sqlite3.connect(place)) as db:
        for later in range(VERSION, version, -1):
            db.executescript(BROUGHT[later])
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()


def tables(db: sqlite3.Connection) -> set[tuple[str, str]]:
    return {
        (name, " ".join(sql.split())) for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE sql <> ''")
    }


def test_every_version_is_brought_forward(tmp_path):
    for version in range(1, VERSION):
        home = tmp_path / str(version)
        store = SqliteStore(str(home))
        task = store.add(make(queue="q", name="job"))
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"before", timing=b"t"))
        store.close()
        set_back(home / "qrec.db", version)
        again = SqliteStore(str(home))
        assert again.kept(task.uid, 1) == Kept(stdout=b"before", timing=b"t")
        assert again.get(task.uid).status is Status.COMPLETE
        assert again.version() == VERSION
        assert (again.policies(), again.job_names(Query(queue="q"))) == ({}, {"job": task.uid})
        again.set_policy("q", {"workers": 2})
        assert again.policies() == {"q": {"workers": 2}}
        again.close()
        with contextlib.closing(sqlite3.connect(home / "qrec.db")) as db, contextlib.closing(empty_store()) as new:
            assert tables(db) == tables(new)


def test_there_is_a_way_back_in_this_file_for_every_version():
    assert sorted(BROUGHT) == list(range(2, VERSION + 1))
