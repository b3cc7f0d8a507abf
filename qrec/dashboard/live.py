"""The machine and the running tasks, looked at every two seconds as long as somebody watches."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections import deque
from contextlib import suppress

from qrec.dashboard.covering import covered
from qrec.dashboard.listing import row
from qrec.errors import QrecError
from qrec.stores.base import Query
from qrec.task import UNFINISHED, Record, Status, moment, timestamp
from qrec.watch import LastLines, usage_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from flask import Flask

    from qrec.api import Qrec
    from qrec.dashboard.feed import Feed
    from qrec.task import Event, Task

    Row = dict[str, Any]

EACH = 2.0  #: seconds between two looks
KEPT = 450  #: looks that are remembered: 15 minutes
WANTED = 3 * EACH  #: seconds for which a request counts as watching
FIRST = 0.2  #: seconds over which the first look measures
PATIENCE = 2.0  #: seconds that a request waits for the first look
MOST = 100  #: running tasks that are shown
FINAL = ("complete", "failed", "other")
AMONG = {"sqlite": 10_000}  #: the newest tasks of which it is told when they ended, of those that did before we look
AMONG_FILES = 1000  #: the same of a store without a query language


def register(app: Flask, door: Qrec) -> None:
    """Add the route of the live page."""
    from flask import jsonify

    sampler = Sampler(door, app.config.get("feed"))
    app.config["sampler"] = sampler

    @app.get("/live.json")
    def live() -> Any:
        return jsonify(sampler.told())


class Sample(Record):
    """The machine at one moment."""

    at: float  #: seconds since the epoch
    cpu: float  #: percent of all cores
    memory: int  #: bytes in use
    load: float  #: of the last minute
    read: float  #: bytes a second, from all disks
    written: float
    complete: int = 0  #: tasks that have ended since the look before
    failed: int = 0
    other: int = 0


class Sampler:
    """Looks while somebody watches, and remembers for a while."""

    def __init__(self, door: Qrec, feed: Feed | None) -> None:
        self.door = door
        self.feed = feed
        self.lock = threading.Lock()
        self.thread: threading.Thread | None = None
        self.wanted = 0.0
        self.looked = threading.Event()
        self.samples: deque[Sample] = deque(maxlen=KEPT)
        self.running: list[Row] = []
        self.count = 0
        self.lines = LastLines(door)
        self.io: tuple[float, int, int] | None = None
        self.cursor: int | None = None
        self.before: list[Row] = []  #: how many tasks had ended when somebody began to watch: `at`, and each of FINAL

    def told(self) -> Row:
        """All that the page begins with; from here on somebody watches."""
        self.want()
        self.looked.wait(PATIENCE)
        samples = list(self.samples)
        names = Sample._fields
        return {
            **machine(self.door.home),
            "names": list(names),
            "columns": [[getattr(sample, name) for sample in samples] for name in names],
            "before": self.before, "each": EACH, "kept": EACH * KEPT,
            "running": self.running, "count": self.count, "sequence": self.door.store.last_event(),
        }  # fmt: skip

    def want(self) -> None:
        """Begin to look, unless that is done already."""
        with self.lock:
            self.wanted = time.monotonic()
            if self.thread is None:
                self.looked.clear()
                self.thread = threading.Thread(target=self.run, daemon=True, name="sampler")
                self.thread.start()

    def is_wanted(self) -> bool:
        """Whether somebody watches."""
        if self.feed is not None and self.feed.over.is_set():
            return False
        watched = self.feed is not None and self.feed.is_watched("live")
        return watched or time.monotonic() - self.wanted < WANTED

    def goes_on(self) -> bool:
        """Whether to look again; what ends here can begin again at once."""
        with self.lock:
            if not self.is_wanted():
                self.thread = None
            return self.thread is not None

    def run(self) -> None:
        """Look until nobody watches."""
        import psutil

        psutil.cpu_percent()
        self.io = self.cursor = None
        self.traffic(time.monotonic())
        with suppress(QrecError, OSError):  # then it is told from the first look on
            self.look_back()
        pause = FIRST
        while self.goes_on():
            self.rest(pause)
            pause = EACH
            try:
                self.look()
            except (QrecError, OSError):
                pass  # what is shown is as of the look before
            finally:
                self.looked.set()
                getattr(self.door, "give_back", lambda: None)()

    def look_back(self) -> None:
        """Count what ended while nobody watched, which the store knows; from here on each look tells of its own."""
        store = self.door.store
        self.cursor = store.last_event()
        ends = store.ends(timestamp(time.time() - EACH * KEPT), AMONG.get(store.name, AMONG_FILES))
        for uid in changed(store.events(self.cursor)):
            ends.pop(uid, None)  # the first look tells of it
        counts: dict[int, Row] = {}
        for ended, status in ends.values():
            at = round(moment(ended).timestamp() / EACH)
            told = counts.setdefault(at, {"at": at * EACH, **dict.fromkeys(FINAL, 0)})
            told[name_of(status)] += 1
        self.before = list(counts.values())
        none = dict.fromkeys(FINAL, 0)
        self.samples = deque((sample.copy(**none) for sample in self.samples), maxlen=self.samples.maxlen)

    def rest(self, seconds: float) -> None:
        """Wait, unless the server ends."""
        if self.feed is not None:
            self.feed.over.wait(seconds)
        else:
            time.sleep(seconds)

    def look(self) -> None:
        """One look at everything, told to all who watch."""
        import psutil

        memory = psutil.virtual_memory()
        read, written = self.traffic(time.monotonic())
        sample = Sample(
            at=round(time.time(), 2), cpu=psutil.cpu_percent(), memory=memory.total - memory.available,
            load=round(os.getloadavg()[0], 2), read=read, written=written, **self.ends(),
        )  # fmt: skip
        self.samples.append(sample)
        self.running, self.count = self.active()
        if self.feed is not None:
            told = {**machine(self.door.home), "sample": sample.asdict()}
            self.feed.tell("live", {**told, "running": self.running, "count": self.count}, "live")

    def traffic(self, now: float) -> tuple[float, float]:
        """Bytes a second that were read from and written to disks since the look before."""
        import psutil

        try:
            counters = psutil.disk_io_counters()
        except (OSError, RuntimeError):
            counters = None
        if counters is None:
            return 0.0, 0.0
        before, self.io = self.io, (now, counters.read_bytes, counters.write_bytes)
        if before is None or now <= before[0]:
            return 0.0, 0.0
        passed = now - before[0]
        read, written = (max(0, new - old) / passed for new, old in zip(self.io[1:], before[1:], strict=True))
        return round(read), round(written)

    def ends(self) -> dict[str, int]:
        """How many tasks have ended since the look before, and how."""
        store = self.door.store
        told = dict.fromkeys(FINAL, 0)
        if self.cursor is None:
            self.cursor = store.last_event()
            return told
        events = store.events(self.cursor)
        if not events:
            return told
        statuses = store.statuses(changed(events))
        # Of those that have changed since, it is not known to which of the changes their status belongs: the next time.
        later = changed(store.events(events[-1].sequence))
        self.cursor = events[-1].sequence
        for uid, status in statuses.items():
            if status.is_final and uid not in later:
                told[name_of(status)] += 1
        return told

    def active(self) -> tuple[list[Row], int]:
        """The running tasks, those that began first before the others, and how many there are."""
        tasks = self.door.store.find(Query(statuses=UNFINISHED - {Status.QUEUED}))
        self.lines.keep(iter(tasks[:MOST]))
        return [self.shown(task) for task in tasks[:MOST]], len(tasks)

    def shown(self, task: Task) -> Row:
        """A running task with what it uses and has printed last."""
        names = "uid number status command executor host pwd user started seconds queue name".split()
        told = row(self.door, task)
        cpu, memory = usage_now(self.door.home, task)
        line: str = covered(self.door, self.lines.of(task)[:300])
        return {**{name: told[name] for name in names}, "cpu": cpu, "memory": memory, "line": line}


def name_of(status: Status) -> str:
    """Under which name of FINAL an end is counted."""
    return status.value if status in (Status.COMPLETE, Status.FAILED) else "other"


def changed(events: Sequence[Event]) -> set[str]:
    """The tasks whose status some changes may have changed."""
    return {event.uid for event in events if event.kind in ("status", "added")}


def machine(home: str) -> Row:
    """What this machine is, and has left."""
    import psutil

    memory = psutil.virtual_memory()
    try:
        disk: Row | None = {"total": (usage := shutil.disk_usage(home)).total, "free": usage.free}
    except OSError:
        disk = None
    return {
        "host": os.uname().nodename, "up": round(time.time() - psutil.boot_time()), "cores": os.cpu_count() or 1,
        "memory_total": memory.total, "disk": disk, "load": [round(one, 2) for one in os.getloadavg()],
    }  # fmt: skip
