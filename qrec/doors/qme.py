"""An existing home of QueueMe (`~/.qme`), whose two stores are read and never written.

`database/<executor>/<uid>.json` is what its filesystem store leaves; `qme.db`, or the file that `config.ini` names,
has a table `task`.  Either tells of a task in the shape that `qrec get` has kept.
"""

from __future__ import annotations

import configparser
import glob
import json
import os
import sqlite3

from qrec.doors.intake import Arrival, read
from qrec.doors.records import UID, NotATask, from_published, stamp_of, uuid_of
from qrec.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from qrec.stores.base import Bundle


def arrivals(folder: str) -> list[Arrival]:
    """Every task of a QueueMe home, oldest first, so that numbers tell their order."""
    if not os.path.isdir(folder):
        raise Refused(f"there is no folder {folder}; QueueMe's home is ~/.qme by default")
    found = [*from_files(folder), *(arrival for path in databases(folder) for arrival in from_database(path))]
    if not found and not os.path.isdir(os.path.join(folder, "database")) and not databases(folder):
        raise Refused(f"{folder} is no home of QueueMe: it has neither database/ nor qme.db")
    return sorted(found, key=lambda arrival: arrival.bundle.task.created if arrival.bundle else "")


def from_files(folder: str) -> Iterator[Arrival]:
    """The tasks of its filesystem store."""
    for path in sorted(glob.glob(os.path.join(glob.escape(folder), "database", "*", "*.json"))):
        yield read(path, from_file, path)


def from_file(path: str) -> Bundle:
    """The task of one file."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            told = json.load(file)
    except (OSError, ValueError, RecursionError) as error:
        raise NotATask(f"it cannot be read: {error}") from None
    return adopted(told)


def databases(folder: str) -> list[str]:
    """The files of its sqlite store: as it is named by default, and as the settings name it."""
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(os.path.join(folder, "config.ini"), encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        pass  # QueueMe itself would not start with these
    names = dict.fromkeys(("qme.db", settings.defaults().get("databaseconnect", "")))
    paths = (os.path.join(folder, name) for name in names if name.endswith(".db"))
    return [path for path in paths if os.path.isfile(path)]


def from_database(path: str) -> Iterator[Arrival]:
    """The tasks of its sqlite store."""
    from urllib.parse import quote

    db = sqlite3.connect(f"file:{quote(os.path.abspath(path))}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT taskid, executor_name, command, timestamp, data FROM task").fetchall()
    except sqlite3.Error as error:
        raise Refused(f"{path} cannot be read as QueueMe's: {error}") from error
    finally:
        db.close()
    for row in rows:
        yield read(f"{path}, {row[0]}", from_row, *row)


def from_row(uid: Any, executor: Any, command: Any, created: Any, data: Any) -> Bundle:
    """The task of one row; SQLite gave it its time, in UTC, when it was made."""
    try:
        told = json.loads(data) if data else {}
    except (ValueError, TypeError, RecursionError) as error:
        raise NotATask(f"its data cannot be read: {error}") from None
    began = stamp_of(f"{created}+00:00") if created else None
    return adopted({"uid": uid, "executor": executor, "command": command, "data": told}, began)


def adopted(told: Any, created: str | None = None) -> Bundle:
    """A task of QueueMe's as one of ours; a uid of another form is replaced, always by the same."""
    if not isinstance(told, dict) or not isinstance(told.get("data") or {}, dict):
        raise NotATask("this is no task of QueueMe's")
    uid = str(told.get("uid"))
    if UID.fullmatch(uid):
        return from_published(told, created)
    data = {**(told.get("data") or {}), "qme": uid}
    return from_published({**told, "uid": f"{told.get('executor')}-{uuid_of(uid)}", "data": data}, created)
