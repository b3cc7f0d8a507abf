"""A job that runs under a worker's keeper, the folder that it runs in, and jobs whose workers have gone."""

from __future__ import annotations

import os
import signal
import time

from qrec.errors import NoSuchTask, StaleTask
from qrec.executors.queue import Job, is_orphan, make_ready
from qrec.output import (
    BLOCK,
    FOLD_LIMIT,
    MARKS,
    STREAMS,
    Files,
    Writer,
    attempt_folder,
    fold,
    make_private,
    remove_folder,
)
from qrec.process import Identity, family, send, start_ticks, write_all
from qrec.shim import shim_process
from qrec.task import Kept, Status, Task, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from qrec.facts import Changes
    from qrec.process import Ended
    from qrec.stores.base import Store
    from qrec.usage import Meter

LOOK = 0.1  #: seconds between two looks at a running job, and until one is worth more than its end
PATCHED = 1.0  #: seconds a job runs before git is asked what differs from the commit


class Running:
    """A job that runs under our keeper."""

    def __init__(self, task: Task, job: Job, slot: int, folder: str) -> None:
        self.task = task
        self.job = job
        self.slot = slot
        self.folder = folder
        self.pid: int | None = None
        self.seconds = 0.0  #: how long it ran
        self.begin()
        self.told = False  #: whether the store has its pid
        self.ended: Ended | None = None
        self.over_limit = False
        self.kill_at = float("inf")  #: when it is killed, since it was asked to end
        self.asked: list[Identity] = []  #: the processes that were asked
        self.facts: dict[str, Any] = {}
        self.oom_kills = 0
        self.writer: Writer | None = None
        self.meter: Meter | None = None
        self.changes: Changes | None = None
        self.long_after: list[float] | None = None  #: seconds after which hooks want to hear that it still runs
        self.folded = False  #: whether the store has its output
        self.shown = dict.fromkeys(STREAMS, 0)  #: how many bytes of each stream were shown

    def begin(self, ago: float = 0.0) -> None:
        """It begins now, or began so many seconds ago."""
        self.began = time.monotonic() - ago
        self.deadline = self.began + self.job.timeout if self.job.timeout else float("inf")
        self.next_look = self.began + LOOK

    def ask_to_end(self, grace: float, number: int = signal.SIGTERM) -> None:
        """Ask the job's processes to end; they are killed after `grace` seconds."""
        if self.pid is not None and self.kill_at == float("inf"):
            self.asked = family(self.pid)
            for member in self.asked:
                send(member.pid, number)
            self.kill_at = time.monotonic() + grace

    def kill(self) -> None:
        """Kill what is left of the job's processes."""
        for member in [*self.asked, *(family(self.pid) if self.pid is not None else [])]:
            if member.alive():
                send(member.pid, signal.SIGKILL)
        self.kill_at = time.monotonic() + 1.0

    def look(self) -> None:
        """Note how its output has grown and what it uses; ask git, once it runs for a while."""
        now = time.monotonic()
        if self.writer is None:
            self.writer = Writer(self.folder)
            self.writer.began = self.writer.last = self.began
        self.writer.observe()
        self.next_look = now + LOOK
        if self.pid is None:
            return
        if self.meter is None:
            from qrec.usage import Meter

            keeper = self.task.data["process"]["command"][0]
            self.meter = Meter(self.pid, os.path.join(self.folder, "series"), self.began, keeper)
        self.next_look = now + min(LOOK, max(0.0, self.meter.tick()))
        if self.changes is None and now - self.began > PATCHED and "repository" in self.facts:
            from qrec.facts import Changes

            self.changes = Changes(self.task.pwd, os.path.join(self.folder, "patch"))
            self.changes.begin()

    def kept(self) -> Kept | None:
        """What the job has left, with an index of its times, if it is small enough for the store."""
        if self.writer is None:  # it was too short to be looked at, so that there is nothing but its streams
            return self.kept_of_a_moment()
        self.writer.observe()
        self.writer.close()
        return fold(self.folder)

    def kept_of_a_moment(self) -> Kept | None:
        """The same of a job that ran for a moment."""
        files = Files(self.folder)
        sizes = {stream: files.size(stream) for stream in STREAMS}
        if sum(sizes.values()) > FOLD_LIMIT:
            self.look()
            return self.kept()
        passed = round((time.monotonic() - self.began) * 1000)
        lines = [f"{MARKS[stream]} {size}\n" for stream, size in sizes.items() if size]
        timing = "".join(f"{passed if not number else 0} {line}" for number, line in enumerate(lines))
        streams = {stream: files.read(stream) if size else b"" for stream, size in sizes.items()}
        return Kept(stdout=streams["stdout"], stderr=streams["stderr"], timing=timing.encode())

    def show(self) -> None:
        """Print what the job has printed since."""
        files = Files(self.folder)
        for number, stream in enumerate(STREAMS, 1):
            while self.job.log and (block := files.read(stream, self.shown[stream], BLOCK)):
                self.shown[stream] += len(block)
                write_all(number, memoryview(block))


class Orphans:
    """The jobs of this host whose workers have gone: they keep their time limits."""

    def __init__(self, home: str, store: Store, grace: float) -> None:
        self.home = home
        self.store = store
        self.grace = grace
        self.late: dict[str, Running] = {}  #: those that were asked to end

    def hold_to_limits(self, tasks: Mapping[str, Task]) -> None:
        """Ask those of the tasks to end that run longer than they may, and kill who was asked long ago."""
        self.late = {uid: one for uid, one in self.late.items() if uid in tasks}
        for uid, task in tasks.items():
            late = self.late.get(uid)
            if late is not None and late.task.attempt == task.attempt:  # else it has been tried again meanwhile
                if time.monotonic() >= late.kill_at:
                    late.kill()
            elif (one := self.forsaken(task)) is not None and time.monotonic() >= one.deadline and self.note(one):
                one.ask_to_end(self.grace)
                self.late[uid] = one

    def forsaken(self, task: Task) -> Running | None:
        """A job with a time limit that goes on without its worker; None if a task is none."""
        job = Job.of(task)
        is_ours = task.host == os.uname().nodename and task.data.get("inner", "shell") == "shell"
        if not (job.timeout and task.started and is_ours and is_orphan(task)) or task.wish == "cancel":
            return None
        one = Running(task, job, 0, attempt_folder(self.home, task.uid, task.attempt))
        pid, ticks = shim_process(one.folder) or (0, 0)
        if not pid or start_ticks(pid) != ticks:
            return None
        one.pid = pid
        one.begin(ago=time.time() - moment(task.started).timestamp())
        return one

    def note(self, one: Running) -> bool:
        """Leave word for whoever records its end; False if somebody has."""
        task = one.task
        process = {**task.data["process"], "limit": one.job.timeout}
        was = (Status.RUNNING, task.attempt)
        try:
            self.store.swap(task.uid, was, Status.RUNNING, data={**task.data, "process": process})
        except (StaleTask, NoSuchTask):
            return False
        return True


class Folders:
    """Gives jobs their folders, and uses those again that have become empty.

    To remove a folder and make another takes some file systems longer than a short job runs; to rename one does not.
    """

    def __init__(self) -> None:
        self.empty: list[str] = []
        self.parents: set[str] = set()

    def give(self, folder: str) -> None:
        """Make a folder for an attempt.  Raises OSError."""
        parent = os.path.dirname(folder)
        if parent not in self.parents:
            make_private(parent)
            self.parents.add(parent)
        if self.empty:
            try:
                os.rename(self.empty.pop(), folder)
                return
            except OSError:
                pass  # somebody has cleared it away, or there is one already
        make_ready(folder)

    def take_back(self, folder: str) -> None:
        """Empty a folder that nobody needs any more."""
        try:
            for name in os.listdir(folder):
                os.unlink(f"{folder}/{name}")
            self.empty.append(folder)
        except OSError:
            remove_folder(folder)

    def remove(self) -> None:
        """Remove what is empty now."""
        for folder in (*self.empty, *self.parents):
            try:
                os.rmdir(folder)
            except OSError:
                pass  # not empty, or gone
