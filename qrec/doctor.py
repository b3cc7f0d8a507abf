"""Is all well with the home and its store?  Looks, tells, and mends what can be mended without any loss.

Each check is a small function that yields findings; one that breaks is a finding itself, and the others go on.
"""

from __future__ import annotations

import os
import shutil
import time
from functools import cached_property

from qrec.api import Qrec
from qrec.config import SETTINGS, Config, unknown_words
from qrec.errors import NoSuchTask, QrecError
from qrec.gc import remove_output, stripped
from qrec.hook_tables import tables_of
from qrec.output import (
    STREAMS,
    attempt_folder,
    file_size,
    listed,
    remove_file,
    remove_folder,
    sums,
    uids_with_folders,
)
from qrec.recorder import runs
from qrec.registry import STORES, Registry
from qrec.spool import WORDS
from qrec.stores.base import Query, every_entry, scanned
from qrec.stores.sqlite import LOCAL, file_system
from qrec.task import Record, Status, Task, timestamp
from qrec.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from qrec.stores.base import Store

OK, MENDED, PROBLEM, NOTE = "ok", "mended", "problem", "note"

#: What qrec puts into its home, by its name or the beginning of it; nothing else in there is touched.
OURS = ("config.toml", "qrec.db", "tasks", "attempts", "incoming", "workers", "slurm", "notify", "dashboard", "cache",
        "gc.lock", "hooks", "typed")  # fmt: skip
AN_HOUR = 3600  #: seconds after which nobody is still at work on a file
NEWEST = 10_000  #: tasks that are looked through for hosts
LITTLE, VERY_LITTLE = 1 << 30, 64 << 20  #: bytes that are still free on a disk
FEW_NAMES = 1000  #: files that can still be made on a disk
AHEAD = 300  #: seconds by which a clock may be ahead
NAMED = 5  #: things that are told one by one
OLDEST_WITH_TRIGRAM = (3, 34)
TOOLS = {
    "git": "commits and patches of what runs in a repository",
    "tmux": "tasks that run on in tmux",
    "sbatch": "tasks of Slurm",
    "diff": "comparing the output of two tasks outside qrec",
}


class Finding(Record):
    """What a check has to say."""

    check: str
    state: str  #: `ok`, `mended`, `problem` or `note`
    text: str  #: a clear sentence
    hint: str = ""  #: what to do about it


class Doctor:
    """One examination of a home; `dry` only looks.

    `store` is the name or URL of the store to look at, if it is not the one that is set.
    """

    def __init__(self, home: str, store: str | None = None, dry: bool = False, remove_orphans: bool = False) -> None:
        self.home = home
        self.store_choice = store
        self.dry = dry
        self.remove_orphans = remove_orphans
        self.name = ""  #: of the check that is at work

    @cached_property
    def door(self) -> Qrec:
        """The home as every other verb sees it."""
        return Qrec(self.home, self.store_choice)

    @cached_property
    def opens(self) -> bool:
        """Whether the store can be read; if not, that is told once."""
        try:
            self.door.store.highest_number()
        except QrecError:
            return False
        return True

    def examine(self) -> Iterator[Finding]:
        """All that there is to say, check by check."""
        if not os.path.isdir(self.home):
            self.name = "home"
            yield from check_home(self)
            return
        for name, check in CHECKS.items():
            self.name = name
            if name not in WITHOUT_STORE and not self.opens:
                continue
            try:
                yield from list(check(self)) or [self.ok(SAID_IF_WELL[name])]
            except Exception as error:  # one broken check must not hide what the others find
                yield self.problem(f"could not be checked: {told(error)}")
        if "door" in self.__dict__:
            self.door.store.close()

    # What a check can find

    def ok(self, text: str) -> Finding:
        """All is well."""
        return Finding(check=self.name, state=OK, text=text)

    def note(self, text: str, hint: str = "") -> Finding:
        """Worth knowing."""
        return Finding(check=self.name, state=NOTE, text=text, hint=hint)

    def problem(self, text: str, hint: str = "") -> Finding:
        """Not well, and not to be mended by us."""
        return Finding(check=self.name, state=PROBLEM, text=text, hint=hint)

    def mend(self, text: str, how: Callable[[], object], hint: str = "") -> Finding:
        """Not well: mended, unless we are only to look or it cannot be done."""
        if self.dry:
            return self.problem(text, "`qrec doctor` mends it")
        try:
            how()
        except (OSError, QrecError) as error:
            return self.problem(f"{text}, and it could not be mended: {told(error)}", hint)
        return Finding(check=self.name, state=MENDED, text=text)


def each(do: Callable[[Any], object], things: Iterable[Any]) -> Callable[[], None]:
    """What does something to each of them."""

    def do_all() -> None:
        for thing in things:
            do(thing)

    return do_all


def told(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, QrecError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    return f"{type(error).__name__}: {error}"


def count(number: int, what: str) -> str:
    """So many of them."""
    return f"{number:,} {what}{'s' * (number != 1)}"


def some(things: Sequence[str]) -> str:
    """The first few of many."""
    more = len(things) - NAMED
    return ", ".join(things[:NAMED]) + (f" and {more:,} more" if more > 0 else "")


# The home


def check_home(doctor: Doctor) -> Iterator[Finding]:
    """Whether it is there, is ours, and can be written to."""
    home = doctor.home
    if not os.path.lexists(home):
        yield doctor.note(f"{home} is not there yet", "the first `qrec run` makes it")
    elif not os.path.isdir(home):
        yield doctor.problem(f"{home} is no folder", "move it away, or name another with --home")
    elif os.stat(home).st_uid != os.geteuid():
        owner = os.stat(home).st_uid
        yield doctor.problem(f"{home} belongs to another user (uid {owner})", "name one of your own with --home")
    elif not os.access(home, os.W_OK | os.X_OK):
        yield doctor.problem(f"{home} cannot be written to", "see to its rights, or whether its disk is read-only")
    else:
        yield doctor.ok(f"{home} is there and yours")


def check_rights(doctor: Doctor) -> Iterator[Finding]:
    """Whether nobody else may read it; only what is ours is touched, since a home may be any folder."""
    entries = [entry for entry in scanned(doctor.home) if is_ours(entry.name)]
    others = [entry.name for entry in scanned(doctor.home) if not is_ours(entry.name)]
    wrong = [path for entry in entries for path in wrongs_in(entry)]
    if not others and wrong_rights(doctor.home, os.stat(doctor.home), True):
        wrong.append(doctor.home)
    if wrong:
        text = f"{count(len(wrong), 'file or folder')} had rights that are not for you alone: {some(wrong)}"
        text = text.replace("file or folders", "files or folders")
        yield doctor.mend(text, each(make_private, wrong), "`chown` what is not yours")
    if others:
        yield doctor.note(f"other things are in the home and were left as they are: {some(sorted(others))}")


def is_ours(name: str) -> bool:
    """Whether something in the home is of qrec's making."""
    return name in OURS or name.startswith(tuple(f"{ours}{mark}" for ours in OURS for mark in "-."))


def wrongs_in(entry: os.DirEntry[str]) -> Iterator[str]:
    """The path of an entry, and of all below it, that others may read or we may not."""
    every = [entry, *(every_entry(entry.path) if entry.is_dir(follow_symlinks=False) else ())]
    for one in every:
        try:
            stat = one.stat(follow_symlinks=False)
        except OSError:
            continue  # gone meanwhile
        if not one.is_symlink() and wrong_rights(one.path, stat, one.is_dir(follow_symlinks=False)):
            yield one.path


def wrong_rights(path: str, stat: os.stat_result, is_folder: bool) -> bool:
    """Whether something may be read by others, or not by us."""
    needed = 0o700 if is_folder else 0o600
    return bool(stat.st_mode & 0o077 or (stat.st_mode & needed) != needed)


def make_private(path: str) -> None:
    """Give a file or folder the rights it should have, and what is in a folder that could not be looked into."""
    if not os.path.lexists(path):
        return  # gone meanwhile
    was_shut = os.path.isdir(path) and not os.access(path, os.R_OK | os.X_OK)
    os.chmod(path, 0o700 if os.path.isdir(path) else 0o600)
    for entry in every_entry(path) if was_shut else ():
        if not entry.is_symlink():
            os.chmod(entry.path, 0o700 if entry.is_dir() else 0o600)


def check_disk(doctor: Doctor) -> Iterator[Finding]:
    """Whether there is room, and what kind of file system it is."""
    disk = os.statvfs(doctor.home)
    free = disk.f_bavail * disk.f_frsize
    hint = "free some, or let `qrec gc --size` keep the history small"
    if free < VERY_LITTLE or (disk.f_files and disk.f_favail < FEW_NAMES):
        yield doctor.problem(f"the disk of the home is full ({size(free)} free)", hint)
    elif free < LITTLE:
        yield doctor.note(f"the disk of the home is nearly full ({size(free)} free)", hint)
    else:
        yield doctor.ok(f"{size(free)} are free")


def check_file_system(doctor: Doctor) -> Iterator[Finding]:
    """Whether the files are where SQLite may share memory."""
    kind = file_system(doctor.home)
    if kind in LOCAL:
        yield doctor.ok(f"{kind}, which lives on this machine")
        return
    which = f"on {kind}" if kind else "on a file system that does not tell its kind"
    yield doctor.note(
        f"the home is {which}, which may be shared by machines",
        "`qrec store copy sqlite filesystem` and `qrec config set store filesystem` suit it best",
    )


# Settings


def check_config(doctor: Doctor) -> Iterator[Finding]:
    """Whether the file can be read and every setting makes sense."""
    config = Config(doctor.home)
    if config.complaint is not None:
        yield doctor.problem(str(config.complaint), "mend it; until then the defaults hold")
    for setting in SETTINGS:
        try:
            config.get(setting.name)
        except QrecError as error:
            yield doctor.problem(str(error), f"`qrec config set {setting.name} VALUE`; until then the default holds")
    for complaint in tables_of(config.written)[1]:
        yield doctor.problem(complaint, f"mend it in {config.path}; the others are called")
    for complaint in unknown_words(config.written):
        yield doctor.problem(complaint, f"look for a slip in {config.path}")


def check_plugins(doctor: Doctor) -> Iterator[Finding]:
    """Whether every plug-in can be loaded."""
    registry = Registry(doctor.home, anew=True)
    complaints = [plugin.complaint for plugin in registry.broken]
    for plugin in registry.plugins:
        try:
            registry.load(plugin)
        except QrecError as error:
            complaints.append(str(error))
    for complaint in complaints:
        yield doctor.problem(complaint, "mend or uninstall it; `qrec plugins` tells all of them")


def check_tools(doctor: Doctor) -> Iterator[Finding]:
    """What of the programs that qrec can make use of is there."""
    missing = [name for name in TOOLS if shutil.which(name) is None]
    for name in missing:
        yield doctor.note(f"{name} is not on PATH", f"it is needed for {TOOLS[name]}")
    if len(missing) < len(TOOLS):
        yield doctor.ok(f"found: {', '.join(name for name in TOOLS if name not in missing)}")


# The store


def check_store(doctor: Doctor) -> Iterator[Finding]:
    """Whether it opens, and is one that this qrec understands."""
    try:
        store = doctor.door.store
        store.highest_number()
    except QrecError as error:
        hint = "put back a copy of it; `qrec run` goes on meanwhile, and its records wait"
        yield doctor.problem(str(error), hint)
        return
    yield doctor.ok(f"{store.place} opens, with {count(store.count(Query()), 'task')}")


def check_integrity(doctor: Doctor) -> Iterator[Finding]:
    """Whether what the store holds agrees with itself."""
    store = doctor.door.store
    hint = "put back a copy, or save what can be read: `qrec export jsonl -o FILE`"
    for fault in list(store.check()):
        if fault.mendable:
            yield doctor.mend(fault.text, each(store.mend, [fault]), hint)
        else:
            yield doctor.problem(fault.text, hint)


def check_sqlite(doctor: Doctor) -> Iterator[Finding]:
    """Whether SQLite can search, and is not used in a way that its file system does not bear."""
    import sqlite3

    store = doctor.door.store
    if sqlite3.sqlite_version_info < OLDEST_WITH_TRIGRAM:
        hint = "a newer SQLite, or `qrec config set store filesystem`"
        yield doctor.problem(f"SQLite {sqlite3.sqlite_version} has no trigram index, which search needs", hint)
    if store.name == "sqlite" and file_system(os.path.dirname(store.location)) not in LOCAL and in_wal_mode(store):
        yield doctor.problem(
            f"{store.location} keeps a write-ahead log on a file system that machines may share: it can be damaged",
            "copy it to another store (`qrec store copy`), or `PRAGMA journal_mode = DELETE` while no qrec runs",
        )


def in_wal_mode(store: Store) -> bool:
    """Whether a SQLite file says so of itself, in its 19th byte."""
    try:
        with open(store.location, "rb") as file:
            return file.read(20)[18:19] == b"\2"
    except OSError:
        return False


# Tasks


def check_incoming(doctor: Doctor) -> Iterator[Finding]:
    """Whether records wait that could be taken in, or cannot be read."""
    from qrec import spool

    folder = os.path.join(doctor.home, "incoming")
    place = doctor.door.store.place
    names = [name for name in listed(folder) if name.endswith(".json")]
    stores = {path: store_of(path) for path in (os.path.join(folder, name) for name in names)}
    spoilt = [path for path, store in stores.items() if store is None]
    elsewhere = [store for store in stores.values() if store and store != place]
    if waiting := [task for task in spool.waiting(doctor.home, place) if not is_recorded(task)]:
        text = f"{count(len(waiting), 'record')} waited for the store"
        yield doctor.mend(text, doctor.door.recorder.take_in, "they are kept, and the next call tries again")
    for path in spoilt[:NAMED]:
        yield doctor.problem(f"{path} is no record", "move it away once you have seen what is in it")
    for store in sorted(set(elsewhere)):
        yield doctor.note(f"{count(elsewhere.count(store), 'record')} wait for {store}", f"`qrec --store {store} ls`")


def store_of(path: str) -> str | None:
    """The store that a waiting record is meant for; None if it is none, an empty word if it is gone meanwhile."""
    import json

    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        Task.from_plain(values)
        return str(values["store"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def is_recorded(task: Task) -> bool:
    """Whether somebody is still at work on a waiting record, as far as can be known here."""
    return not task.status.is_final and runs(task, "recorder") is not False


def check_running(doctor: Doctor) -> Iterator[Finding]:
    """Whether what is said to run has somebody who records it."""
    running = doctor.door.store.find(Query(statuses=frozenset({Status.RUNNING})))
    gone = [task for task in running if task.data.get("process") and runs(task, "recorder") is False]
    gone = [task for task in gone if runs(task, "command") is False]
    if gone:
        text = f"{count(len(gone), 'running task')} had nobody left who records it: {some([t.uid for t in gone])}"
        yield doctor.mend(text, each(doctor.door.refresh_tasks, [gone]))
    elif running:
        yield doctor.ok(f"{count(len(running), 'task')} run{'s' * (len(running) == 1)}")


def check_hosts(doctor: Doctor) -> Iterator[Finding]:
    """Whether several machines share the home: only its own can say what became of a task."""
    hosts = sorted({task.host for task in doctor.door.store.find(limit=NEWEST) if task.host})
    if len(hosts) > 1:
        yield doctor.note(
            f"several machines share this home: {some(hosts)}", "each must have the right time, and see the same files"
        )


def check_clock(doctor: Doctor) -> Iterator[Finding]:
    """Whether tasks come from the future."""
    ahead = doctor.door.store.find(Query(since=timestamp(time.time() + AHEAD)), limit=1)
    if ahead:
        yield doctor.note(
            f"task {ahead[0].number} was recorded in the future, at {ahead[0].created}",
            "this clock is slow, or was fast then",
        )


# Files


def check_output(doctor: Doctor) -> Iterator[Finding]:
    """Whether the output that is in files is whole."""
    store = doctor.door.store
    attempts = (task for uid in sorted(uids_with_folders(doctor.home)) for task in ended_attempts(store, uid))
    found = ((task, lacks(store, task)) for task in attempts)
    broken = [f"task {task.number}, attempt {task.attempt}, {why}" for task, why in found if why]
    for text in broken[:NAMED]:
        yield doctor.problem(text, "put back a copy of its folder below attempts/, or `qrec clear` the task")
    if len(broken) > NAMED:
        yield doctor.problem(f"and {len(broken) - NAMED:,} more")


def ended_attempts(store: Store, uid: str) -> list[Task]:
    """The attempts of a task that have ended; none if there is no such task, or its record is broken."""
    try:
        return [task for task in (*store.attempts(uid), store.get(uid)) if task.status.is_final]
    except QrecError:
        return []


def lacks(store: Store, task: Task) -> str:
    """What is wrong with an attempt's output: less is there than its index tells of, or it cannot be read."""
    try:
        output = store.output(task)
        _, told_of = sums(output.timing())
        for stream in STREAMS:
            there = output.size(stream)
            output.read(stream, max(0, there - 1), 1)
            if there < told_of[stream]:
                return f"has lost {size(told_of[stream] - there)} of its {stream}"
    except QrecError as error:
        return f"cannot be read: {error}"
    return ""


def check_orphans(doctor: Doctor) -> Iterator[Finding]:
    """Whether output lies about that no store of this home knows."""
    stores = every_store(doctor)
    lost = list(orphans(doctor.home, stores))
    words = list(orphaned_words(doctor.home, stores))
    for store in stores:
        store.close()
    if removed := stripped(doctor.door):
        text = f"the output of {count(len(removed), 'attempt')} had outlived its removal"
        yield doctor.mend(text, each(remove_output, removed))
    if words:
        text = f"the secrets of {count(len(words), 'job')} are kept of which no store knows: {some(words)}"
        yield from remove_orphans(doctor, text, each(remove_file, words))
    if not lost:
        return
    total = sum(file_size(entry.path) for folder in lost for entry in scanned(folder))
    text = f"{count(len(lost), 'output')} ({size(total)}) of no task that is known: {some(lost)}"
    yield from remove_orphans(doctor, text, each(remove_folder, lost))


def remove_orphans(doctor: Doctor, text: str, how: Callable[[], object]) -> Iterator[Finding]:
    """Tell of what belongs to no task, and remove it if that is wanted."""
    if doctor.remove_orphans:
        yield doctor.mend(text, how)
    else:
        yield doctor.problem(text, "`qrec doctor --remove-orphans`, unless another store (--store) uses this home")


def every_store(doctor: Doctor) -> list[Store]:
    """The stores that may know of output in this home.  QrecError if one of them cannot be asked."""
    registry = doctor.door.registry
    every = [registry.store(doctor.home, plugin.name) for plugin in registry.plugins if plugin.group == STORES]
    stores = [doctor.door.store, *(store for store in every if os.path.exists(store.location))]
    written = Config(doctor.home).written.get("store")
    stores += [registry.store(doctor.home, written)] if written else []
    unique = list({store.place: store for store in stores}.values())
    for store in unique:
        store.count(Query())
    return unique


def orphans(home: str, stores: Sequence[Store]) -> Iterator[str]:
    """The folders below attempts/ that belong to no task, and that nobody has touched for an hour."""
    waiting = {name.removesuffix(".json") for name in listed(os.path.join(home, "incoming"))}
    top = os.path.join(home, "attempts")
    for entry in (entry for part in scanned(top) for entry in scanned(part.path)):
        uid, _, attempt = entry.name.rpartition(".")
        is_attempt = attempt.isdecimal() and attempt_folder(home, uid, int(attempt)) == entry.path
        if is_attempt and entry.name not in waiting and is_old(entry) and not is_known(stores, uid, int(attempt)):
            yield entry.path


def orphaned_words(home: str, stores: Sequence[Store]) -> Iterator[str]:
    """The words that are kept for workers, of jobs that are not there any more."""
    for entry in scanned(os.path.join(home, "incoming")):
        if entry.name.endswith(WORDS) and is_old(entry) and not is_known(stores, entry.name.removesuffix(WORDS), 1):
            yield entry.path


def is_known(stores: Sequence[Store], uid: str, attempt: int) -> bool:
    """Whether a store has that attempt of a task; one that is there but cannot be read may have it."""
    for store in stores:
        try:
            if store.get(uid).attempt >= attempt:
                return True
        except NoSuchTask:
            continue
        except QrecError:
            return True
    return False


def is_old(entry: os.DirEntry[str]) -> bool:
    """Whether a folder, and all that is in it, or a file, has not been touched for an hour."""
    times = [one.stat(follow_symlinks=False).st_mtime for one in (entry, *scanned(entry.path))]
    return time.time() - max(times) > AN_HOUR


def check_leftovers(doctor: Doctor) -> Iterator[Finding]:
    """Whether crashes have left half-written files."""
    left = [path for path in half_written(doctor.home) if os.path.exists(path)]
    if left:
        text = f"{count(len(left), 'half-written file')} {'was' if len(left) == 1 else 'were'} left by a crash"
        yield doctor.mend(f"{text}: {some(left)}", each(remove_file, left))


def half_written(home: str) -> Iterator[str]:
    """Files that were to be put in the place of others, and are too old for that to happen still."""
    for folder in (home, *(os.path.join(home, name) for name in ("cache", "incoming", "workers"))):
        for entry in scanned(folder):
            name, _, last = entry.name.rpartition(".")
            replaces = last.isdecimal() and name.endswith((".json", ".toml", WORDS))
            if (replaces or entry.name.startswith("qrec.db.new")) and is_old(entry):
                yield entry.path
    for entry in every_entry(os.path.join(home, "attempts")):
        if entry.name.endswith(".gz.new") and is_old(entry):
            yield entry.path


CHECKS: dict[str, Callable[[Doctor], Iterator[Finding]]] = {
    "home": check_home,
    "rights": check_rights,
    "disk": check_disk,
    "file system": check_file_system,
    "config": check_config,
    "plug-ins": check_plugins,
    "store": check_store,
    "sqlite": check_sqlite,
    "integrity": check_integrity,
    "incoming": check_incoming,
    "running": check_running,
    "output": check_output,
    "orphans": check_orphans,
    "leftovers": check_leftovers,
    "hosts": check_hosts,
    "clock": check_clock,
    "tools": check_tools,
}
WITHOUT_STORE = frozenset(
    {"home", "rights", "disk", "file system", "config", "plug-ins", "store", "leftovers", "tools"}
)
SAID_IF_WELL = {
    "home": "is there",
    "rights": "everything is for you alone",
    "disk": "has room",
    "file system": "lives on this machine",
    "config": "every setting makes sense",
    "plug-ins": "all can be loaded",
    "store": "opens",
    "sqlite": "can search",
    "integrity": "records, attempts, outputs and the search index agree",
    "incoming": "no record waits",
    "running": "nothing runs",
    "output": "all that is in files is whole",
    "orphans": "every output belongs to a task",
    "leftovers": "no crash has left anything",
    "hosts": "one machine uses this home",
    "clock": "no task comes from the future",
    "tools": "none are needed",
}
