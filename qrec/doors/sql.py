"""Questions in SQL to the sqlite store, which nothing that is asked can change."""

from __future__ import annotations

import math
import os
import sqlite3
from urllib.parse import quote

from qrec.doors.jsonl import written
from qrec.errors import Refused, WrongUsage
from qrec.stores.sqlite import SqliteStore, empty_store
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from qrec.stores.base import Store

READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_RECURSIVE})
#: Pragmas that only tell, and those that SQLite's own search asks for.
TELLING = frozenset(
    """data_version foreign_key_list function_list index_info index_list index_xinfo table_info table_list table_xinfo
    user_version""".split()
)
#: Pragmas of those that would write if they were given a value.
SETTING = frozenset({"user_version"})
BUSY = 30  #: seconds to wait for a writer, where readers must (a rollback journal)


class Answer(Record):
    """What a query gives: the names of its columns, and its rows as they come."""

    headings: tuple[str, ...]
    rows: Iterator[tuple[Any, ...]]


def ask(store: Store, question: str) -> Answer:
    """The answer of a SELECT.  Refused for whatever is more than that, and for stores without SQL."""
    if not isinstance(store, SqliteStore):
        raise Refused(
            f"the {store.name} store has no SQL; "
            f"`qrec store copy {store.name} sqlite` makes a copy that has, which `qrec --store sqlite sql ...` asks"
        )
    db = reader(store)
    try:
        cursor = db.execute(question)
    except (sqlite3.Error, sqlite3.Warning) as error:
        db.close()
        raise sql_error(error) from error
    if cursor.description is None:
        db.close()
        raise WrongUsage("that asks nothing; write `qrec sql 'select number, command from tasks'`")
    return Answer(headings=distinct([column[0] for column in cursor.description]), rows=fetched(cursor))


def reader(store: SqliteStore) -> sqlite3.Connection:
    """A connection that cannot write."""
    store.connection()  # brings an old store forward, and says what is wrong with one that is none
    if os.path.exists(store.location):
        db = sqlite3.connect(f"file:{quote(store.location)}?mode=ro", uri=True, timeout=BUSY, isolation_level=None)
    else:
        db = empty_store()
    db.text_factory = as_text
    db.set_authorizer(authorize)
    return db


def authorize(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    """Whether SQLite may do a part of what a statement asks for."""
    allowed = action in READING
    if action == sqlite3.SQLITE_UPDATE:  # asked when a virtual table says how it looks; no statement can do it
        allowed = first == "sqlite_master"
    if action == sqlite3.SQLITE_FUNCTION:
        allowed = second != "load_extension"
    if action == sqlite3.SQLITE_PRAGMA:
        allowed = first in TELLING and (second is None or first not in SETTING)
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY


def fetched(cursor: sqlite3.Cursor) -> Iterator[tuple[Any, ...]]:
    """The rows as they are asked for."""
    try:
        yield from cursor
    except sqlite3.Error as error:
        raise sql_error(error) from error
    finally:
        cursor.connection.close()


def sql_error(error: Exception) -> Refused:
    """What SQLite says, and what it means here."""
    words = str(error)
    if any(sign in words for sign in ("not authorized", "denied", "prohibited", "readonly")):
        return Refused(f"`qrec sql` only reads: {words}")
    if "one statement" in words:
        return Refused("`qrec sql` takes one statement at a time")
    return Refused(f"{words}; `qrec store schema` tells what there is")


def distinct(names: Sequence[str]) -> tuple[str, ...]:
    """The names of columns, made different where two are the same: `n`, `n_2`."""
    seen: dict[str, int] = {}
    for name in names:
        fresh, count = name, 1
        while fresh in seen:
            count += 1
            fresh = f"{name}_{count}"
        seen[fresh] = count
    return tuple(seen)


def as_text(raw: bytes) -> str:
    """Text from SQLite, which does not promise that it is UTF-8."""
    return raw.decode("utf-8", "backslashreplace")


def json_value(value: Any) -> Any:
    """A value in JSON's types."""
    if isinstance(value, bytes):
        return written(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
