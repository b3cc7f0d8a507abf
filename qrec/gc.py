"""Keeping a history to a size or an age: first large output is compressed, then what is least missed goes.

The order, each the oldest first, and no further than the limits ask for:

    1  tasks that are too old
    2  the output of tasks that went well (complete, cancelled or skipped, without tag or note)
    3  those tasks
    4  the output of tasks that failed or were lost, or have a tag or a note
    5  those tasks

Unfinished tasks, and those that an unfinished one waits for, are never touched.
"""

from __future__ import annotations

import errno
import os
import time
from contextlib import contextmanager
from itertools import islice

from qrec.compressed import FRESH, LARGE, SUFFIX, compress, estimated
from qrec.errors import NoSuchTask, Refused, StaleTask, StoreBroken, StoreBusy, StoreUnwritable
from qrec.output import EXTRAS, JOB, ROOM, STREAMS, attempt_folder, file_size, listed, remove_folder, uids_with_folders
from qrec.stores.base import REMOVED, Query, every_entry
from qrec.task import UNFINISHED, Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from qrec.api import Qrec

FILES = (*STREAMS, *JOB.values(), "timing")  #: what is output, of all that lies in an attempt's folder
SMALL = 1024  #: bytes of output that are not worth removing by themselves: the record takes as many
RECORD = 1500  #: bytes that a record takes in a store, about
INDEXED = 1.75  #: bytes that go from a store with each byte of output, its index included
SAMPLE = 200  #: tasks at either end of a history by which the rest is judged
ROUNDS = 20  #: how often it is measured what is left, and more removed
MARGIN = 0.99  #: of the limit that is aimed at where the first round did not suffice
QUIET = 86_400  #: seconds without a change after which nobody writes to a file, where the system cannot tell
UNHURT = frozenset({Status.COMPLETE, Status.CANCELLED, Status.SKIPPED})


class Limits(Record):
    """What a history is kept to; None: no limit."""

    size: int | None = None  #: bytes of the home and its store
    age: float | None = None  #: seconds since a task ended
    precious: bool = False  #: whether failed, tagged and noted tasks may become too old, too


class Step(Record):
    """One thing that is to be done, or was."""

    what: str  #: `compress`, `output` or `task`
    task: Task
    freed: int  #: bytes, about


def limits_of(door: Qrec, size: str | None = None, age: str | None = None, precious: bool = False) -> Limits:
    """The limits that are asked for, else those that are set.  An empty word is no limit."""
    from qrec.units import seconds, size_in_bytes

    size = door.setting("keep_size") if size is None else size
    age = door.setting("keep_age") if age is None else age
    return Limits(size=size_in_bytes(size) if size else None, age=seconds(age) if age else None, precious=precious)


@contextmanager
def alone(home: str) -> Iterator[None]:
    """Be the only one who collects in this home; Refused if somebody else does."""
    import fcntl

    if not os.path.isdir(home):
        yield
        return
    try:
        file = os.open(os.path.join(home, "gc.lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreUnwritable(f"{home}: {error.strerror or error}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Refused(f"another `qrec gc` is at work in {home}; wait until it is done") from None
    finally:
        os.close(file)


# Compressing


def compressible(door: Qrec) -> Iterator[tuple[Task, str]]:
    """The large files of ended tasks, oldest first, each with its task."""
    tasks = [task for uid in uids_with_folders(door.home) if (task := readable(door, uid))]
    for task in sorted((task for task in tasks if task.status.is_final), key=lambda task: task.number):
        for folder in folders_of(door, task):
            for name in FILES:
                path = os.path.join(folder, name)
                if file_size(path) > LARGE:
                    yield task, path


def folders_of(door: Qrec, task: Task) -> list[str]:
    """Where the output of a task's attempts lies, if it is in files."""
    return [attempt_folder(door.home, task.uid, attempt) for attempt in range(1, task.attempt + 1)]


def plan_compression(door: Qrec) -> list[Step]:
    """What compressing would save, a step a task."""
    saved: dict[str, Step] = {}
    for task, path in compressible(door):
        size = 0 if is_written(path) else estimated(path)
        if size:
            before = saved[task.uid].freed if task.uid in saved else 0
            saved[task.uid] = Step(what="compress", task=task, freed=before + size)
    return list(saved.values())


def compress_all(door: Qrec, watch: Callable[[Iterable[Step]], Iterable[Step]] = iter) -> list[Step]:
    """Compress what is large; return what that saved, a step a task.  The steps pass through `watch` as they begin."""
    done: dict[str, int] = {}
    tasks: dict[str, Task] = {}

    def each() -> Iterator[Step]:
        for task, path in compressible(door):
            yield Step(what="compress", task=task, freed=file_size(path))
            tasks[task.uid] = task
            done[task.uid] = done.get(task.uid, 0) + compress_file(door, path)

    for _ in watch(each()):
        pass
    return [Step(what="compress", task=tasks[uid], freed=freed) for uid, freed in done.items() if freed]


def compress_file(door: Qrec, path: str) -> int:
    """Compress one file; return the bytes that saves.  What is in the way is told, and the file stays as it is."""
    try:
        return 0 if is_written(path) else compress(path)
    except FileNotFoundError:
        return 0  # cleared meanwhile
    except OSError as error:
        door.complaints.append(f"not compressed: {os.path.dirname(path)}: {error.strerror or error}")
    except StoreUnwritable as error:
        door.complaints.append(f"not compressed: {error}")
    return 0


def is_written(path: str) -> bool:
    """Whether somebody has the file open for writing: a program that the command has left behind, say.

    The kernel gives a lease on a file that nobody writes to; closing it lets go of that at once.  Where it gives none
    at all, a file has to be quiet for a day.
    """
    import fcntl
    import signal

    from qrec.stores.sqlite import is_local

    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        if hasattr(fcntl, "F_SETLEASE"):
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # sent if it is opened just then; does nothing
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
            return False
    except OSError as error:
        if error.errno == errno.EAGAIN and is_local(path):
            return True
    finally:
        os.close(file)
    return time.time() - os.stat(path).st_mtime < QUIET


# Removing


def used(door: Qrec) -> int:
    """Bytes that the home and its store take, without what the store can give back."""
    store = door.store.location
    own = (entry for entry in every_entry(door.home) if not entry.path.startswith(store))
    return door.store.size() + sum(size_of(entry) for entry in own)


def size_of(entry: os.DirEntry[str]) -> int:
    """The size of a file; nothing for a folder, or what is gone meanwhile."""
    try:
        return entry.stat(follow_symlinks=False).st_size if entry.is_file(follow_symlinks=False) else 0
    except OSError:
        return 0


def is_precious(task: Task) -> bool:
    """Whether it is kept as long as possible: it failed or was lost, or somebody said something about it."""
    return bool(task.status not in UNHURT or task.tags or task.message)


def plan(door: Qrec, limits: Limits, packed: Iterable[Step] = ()) -> list[Step]:
    """What has to go, one step a task; `packed` is what is going to be compressed before."""
    saved = {step.task.uid: step.freed for step in packed}
    weight = weigh(door)
    needed = {uid for task in door.store.find(Query(statuses=UNFINISHED)) for uid in task.after}
    old = (step for step in too_old(door, limits, weight) if step.task.uid not in needed)
    steps = {step.task.uid: less(step, saved) for step in old}
    if limits.size is None:
        return list(steps.values())
    over = used(door) - limits.size - sum(saved.values()) - sum(step.freed for step in steps.values())
    for step in in_order(door, weight) if over > 0 else ():
        step = less(step, saved)
        before = steps.get(step.task.uid)
        if step.task.uid in needed or (before and before.what == "task"):
            continue
        steps[step.task.uid] = step
        over -= step.freed - (before.freed if before else 0)
        if over <= 0:
            break
    return list(steps.values())


def less(step: Step, saved: Mapping[str, int]) -> Step:
    """The step, which frees less if compressing has saved some of it before."""
    return step.copy(freed=max(0, step.freed - saved.get(step.task.uid, 0)))


def too_old(door: Qrec, limits: Limits, weight: float = 1) -> Iterator[Step]:
    """The tasks that have outlived the limit."""
    if limits.age is None:
        return
    until = timestamp(time.time() - limits.age)
    for task in door.store.oldest_first(Query(until=until)):
        over = task.status.is_final and (task.ended or task.created) < until
        if over and (limits.precious or not is_precious(task)):
            yield whole_task(door, task, weight)


def spared(door: Qrec, limits: Limits) -> int:
    """How many tasks are too old but precious."""
    if limits.age is None or limits.precious:
        return 0
    steps = too_old(door, limits.copy(precious=True))
    return sum(is_precious(step.task) for step in steps)


def in_order(door: Qrec, weight: float) -> Iterator[Step]:
    """All that could go, what is least missed first."""
    for precious in (False, True):
        for step_of in (only_output, whole_task):
            for task in door.store.oldest_first(Query()):
                if task.status.is_final and is_precious(task) is precious:
                    step = step_of(door, task, weight)
                    if step.freed:
                        yield step


def weigh(door: Qrec) -> float:
    """How many bytes of the store's files one byte of a task stands for, learned from the oldest and the newest."""
    count = door.store.count(Query())
    if count < SAMPLE:
        return 1.0
    sample = [*islice(door.store.oldest_first(Query()), SAMPLE), *door.store.find(limit=SAMPLE)]
    seem = sum(RECORD + in_store(door, task) for task in sample) / len(sample)
    return min(2.0, max(0.1, door.store.size() / (count * seem)))


def only_output(door: Qrec, task: Task, weight: float) -> Step:
    """Removing what a task printed; it frees nothing if that is not worth it."""
    files = sum(file_size(path) for folder in folders_of(door, task) for path in output_in(folder))
    size = files + round(weight * in_store(door, task, FILES))
    return Step(what="output", task=task, freed=size if size > SMALL else 0)


def whole_task(door: Qrec, task: Task, weight: float) -> Step:
    """Removing a task with all it left."""
    files = sum(file_size(os.path.join(folder, name)) for folder in folders_of(door, task) for name in listed(folder))
    return Step(what="task", task=task, freed=files + round(weight * (RECORD + in_store(door, task))))


def in_store(door: Qrec, task: Task, names: Iterable[str] | None = None) -> int:
    """Bytes that the store would have less without the output of a task, or these parts of it."""
    try:
        kept = door.store.bundle(task).kept.values()
    except NoSuchTask:
        return 0  # removed meanwhile
    parts = (item for one in kept for item in one.parts().items())
    return round(INDEXED * sum(len(content) for name, content in parts if names is None or name in names))


def output_in(folder: str) -> list[str]:
    """The files in a folder that hold output, compressed or not."""
    names = {name + suffix for name in FILES for suffix in ("", SUFFIX, FRESH)}
    return [os.path.join(folder, name) for name in listed(folder) if name in names]


def remove(
    door: Qrec, limits: Limits, steps: list[Step], watch: Callable[[list[Step]], Iterable[Step]] = iter
) -> list[Step]:
    """Do what was planned, and more if it did not free as much as was thought; return what was done."""
    done: list[Step] = []
    count = door.store.count(Query())
    for _ in range(ROUNDS):
        now = [step for step in watch(steps) if apply(door, step)]
        done += now
        compact(door, thorough=10 * len(done) > count)
        if not now or limits.size is None or used(door) <= limits.size:
            break
        steps = plan(door, limits.copy(size=round(limits.size * MARGIN)))
    return [*{step.task.uid: step for step in done}.values()]


def compact(door: Qrec, thorough: bool) -> None:
    """Let the store give back space; if it has no time for that now, the next call does it."""
    try:
        door.store.compact(thorough)
    except (StoreBusy, StoreUnwritable) as error:
        door.complaints.append(f"the store's file was left as it is: {error}")


def apply(door: Qrec, step: Step) -> bool:
    """Take one step; False if the task is another by now, and has to be judged anew."""
    now = readable(door, step.task.uid)
    if now is None or standing(now) != standing(step.task):
        return False
    if step.what == "task":
        return not door.clear([now])
    try:
        strip(door, now)
    except (StaleTask, NoSuchTask):
        return False
    return True


def standing(task: Task) -> tuple[object, ...]:
    """What decides whether a task may go."""
    return task.status, task.attempt, task.tags, task.message


def strip(door: Qrec, task: Task) -> None:
    """Remove what a task printed: first from the record, so that nobody reads what is going."""
    was, sizes = (task.status, task.attempt), printed(door, task)
    try:
        door.store.strip(task.uid, was, sizes)
    except StoreUnwritable:
        if not is_full(door.home):
            raise
        remove_all_output(door, task)  # its own files make the room that the record needs
        door.store.strip(task.uid, was, sizes)
    remove_all_output(door, task)


def printed(door: Qrec, task: Task) -> dict[int, int]:
    """By attempt, how many bytes of output there are."""
    attempts = [one for one in (*door.store.attempts(task.uid), task) if REMOVED not in one.data]
    outputs = {one.attempt: door.store.output(one) for one in attempts}
    sizes = {attempt: sum(map(output.size, FILES[:-1])) for attempt, output in outputs.items()}
    return {attempt: size for attempt, size in sizes.items() if size}


def remove_all_output(door: Qrec, task: Task) -> None:
    """Remove the output of every attempt."""
    for folder in folders_of(door, task):
        remove_output(folder)


def remove_output(folder: str) -> None:
    """Remove the files of an attempt's output; what was recorded beside it stays."""
    if set(listed(folder)) & set(EXTRAS):
        for path in output_in(folder):
            os.unlink(path)
    else:
        remove_folder(folder)


def is_full(folder: str) -> bool:
    """Whether a disk has no room left to speak of."""
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize < ROOM


def sweep(door: Qrec) -> None:
    """Remove what calls before this one have left when they were killed; nobody else may collect meanwhile."""
    for entry in every_entry(os.path.join(door.home, "attempts")):
        if entry.name.endswith(FRESH):
            os.unlink(entry.path)
    for folder in stripped(door):
        remove_output(folder)


def stripped(door: Qrec) -> list[str]:
    """The folders with output of which the record says that it was removed."""
    tasks = [task for uid in uids_with_folders(door.home) if (task := readable(door, uid))]
    attempts = [one for task in tasks for one in (*door.store.attempts(task.uid), task) if REMOVED in one.data]
    folders = [attempt_folder(door.home, one.uid, one.attempt) for one in attempts]
    return [folder for folder in folders if os.path.isdir(folder) and (output_in(folder) or not listed(folder))]


def readable(door: Qrec, uid: str) -> Task | None:
    """The task of this uid, if there is one and its record is whole."""
    try:
        return door.known(uid)
    except StoreBroken:
        return None
