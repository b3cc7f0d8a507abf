"""The history of atuin: a database that is read and never written, also while atuin uses it."""

from __future__ import annotations

import os
import sqlite3

from qrec.doors.past import Entry
from qrec.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from qrec.doors.intake import Arrival
    from qrec.doors.past import Past

NANOSECONDS = 1_000_000_000
#: Columns that every release has had, and those that came later.
COLUMNS = "id timestamp duration exit command cwd hostname".split()
LATER = "session deleted_at author intent shell".split()


def usual() -> str:
    """Where the database is: in atuin's own folder, or where older releases put it."""
    data = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    places = [f"{os.environ.get('ATUIN_HOME') or '~/.atuin'}/data/history.db", f"{data}/atuin/history.db"]
    paths = [os.path.expanduser(place) for place in places]
    return next((path for path in paths if os.path.exists(path)), paths[-1])


def arrivals(path: str, past: Past) -> Iterator[Arrival]:
    """The commands of a history.  Refused if it is none."""
    return past.arrivals(entries(path, past.shell))


def entries(path: str, shell: str) -> Iterator[Entry]:
    """What each row tells, oldest first."""
    db = opened(path)
    try:
        there = {name for _, name, *_ in db.execute("PRAGMA table_info(history)")}
        if missing := set(COLUMNS) - there:
            raise Refused(f"{path} is no history of atuin: it has no {', '.join(sorted(missing))}")
        columns = ", ".join([*COLUMNS, *(name if name in there else f"NULL AS {name}" for name in LATER)])
        for values in db.execute(f"SELECT {columns} FROM history ORDER BY timestamp, id"):
            row = dict(zip([*COLUMNS, *LATER], values, strict=True))
            if row["deleted_at"] is None:
                yield entry_of(row, shell)
    except sqlite3.Error as error:
        raise Refused(f"{path} cannot be read as a history of atuin: {error}") from error
    finally:
        db.close()


def opened(path: str) -> sqlite3.Connection:
    """The database, for reading.

    Where nothing may be written beside it, SQLite cannot share it with who writes; then nobody does.
    """
    from urllib.parse import quote

    if not os.path.isfile(path):
        raise Refused(f"there is no file {path}; `atuin info` tells where the database is")
    for how in ("mode=ro", "mode=ro&immutable=1"):
        db = sqlite3.connect(f"file:{quote(os.path.abspath(path))}?{how}", uri=True)
        db.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
        try:
            db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            db.close()
            last = error
        else:
            return db
    raise Refused(f"{path} cannot be read as a history of atuin: {last}")


def entry_of(row: dict[str, Any], shell: str) -> Entry:
    """What a row tells.  A command that has not ended, or whose end atuin missed, has the code and duration -1."""
    place = f"entry {row['id']}"
    try:
        host, _, user = str(row["hostname"]).partition(":")
        took, code = int(row["duration"]), int(row["exit"])
        return Entry(
            place=place, command=str(row["command"]), at=int(row["timestamp"]) / NANOSECONDS,
            seconds=took / NANOSECONDS if took >= 0 else None, returncode=code if code >= 0 else None,
            name=str(row["id"]), pwd=str(row["cwd"]), host=host, user=user, message=row["intent"] or "",
            data={"shell": row["shell"] or shell, **({"session": row["session"]} if row["session"] else {})},
        )  # fmt: skip
    except (TypeError, ValueError, OverflowError) as error:
        return Entry(place=place, trouble=f"it cannot be read: {error}")
