"""What a live view of a queue tells: read from the store once, and kept up to date by its events.

A look costs as much as has changed since the last one, however many jobs there are.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from itertools import islice

from qrec.errors import StoreBusy, StoreUnwritable
from qrec.executors.queue import Job, label
from qrec.jobs import Jobs
from qrec.limits import limits_of
from qrec.output import STREAMS, Files, attempt_folder, file_size, text
from qrec.presence import workers
from qrec.reason import reason
from qrec.task import UNFINISHED, Record, Status, moment
from qrec.terminal_text import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.output import Output
    from qrec.task import Task

REFRESHED = 2.0  #: seconds between two looks at the jobs whose worker may have gone
PATIENCE = 0.5  #: seconds that such a look waits for who writes to the store
SCANNED = 1_000  #: of the jobs that wait, how many of the oldest are looked through for those that come next
FAILURES = 100  #: how many are remembered
TAIL = 4096  #: bytes of the end of an output, or of a series, that are read
WINDOW = 60.0  #: seconds over which the pace is averaged
FEW = 10  #: jobs that have to have ended in that time, else it is averaged over longer
FEWEST = 2  #: ends that tell of any pace at all
SAMPLES = 2_000
BEGUN = frozenset({Status.RUNNING, Status.SUBMITTED})
FAILED = frozenset({Status.FAILED, Status.LOST, Status.CANCELLED})
RAN = FAILED | {Status.COMPLETE}


class Change(Record):
    """What has become of a job."""

    was: Status | None  #: how it stood; None if it is new
    task: Task


class Active(Record):
    """A job that runs."""

    task: Task
    cpu: float | None  #: cores in use
    memory: int | None  #: bytes
    line: str  #: the last that it printed


class View(Record):
    """A queue at one moment."""

    name: str
    counts: Mapping[Status, int]
    paused: bool
    workers: int
    slots: int | None  #: that its workers have together; None if there is none
    rate: float | None  #: jobs that end in a second
    running: Sequence[Active]
    failures: Sequence[Task]  #: the last to end first
    waiting: Sequence[tuple[Task, str]]  #: those that come next, each with what it waits for
    trouble: str  #: what keeps us from knowing more

    @property
    def total(self) -> int:
        """How many jobs there are."""
        return sum(self.counts.values())

    @property
    def left(self) -> int:
        """How many have not ended."""
        return sum(self.counts.get(status, 0) for status in UNFINISHED)

    @property
    def begun(self) -> int:
        """How many run, here or elsewhere."""
        return sum(self.counts.get(status, 0) for status in BEGUN)

    @property
    def failed(self) -> int:
        """How many have begun, or were cancelled, and did not complete."""
        return sum(self.counts.get(status, 0) for status in FAILED)

    @property
    def is_unattended(self) -> bool:
        """Whether nobody will begin what waits, though something may run on."""
        return not self.workers and bool(self.counts.get(Status.QUEUED) or not self.begun)

    @property
    def seconds_left(self) -> float | None:
        """When all will have ended, if it goes on as it does; None if nobody can know."""
        stands_still = self.is_unattended or (self.paused and self.counts.get(Status.QUEUED))
        return self.left / self.rate if self.rate and self.left and not stands_still else None

    @property
    def succeeded(self) -> bool:
        """Whether every job has completed."""
        return self.counts.get(Status.COMPLETE, 0) == self.total


class Watch:
    """Follows a queue.  NoSuchQueue if there is none.

    watch = Watch(Qrec(), "train")
    while not watch.is_over:
        for change in watch.look(): ...
    """

    def __init__(self, door: Qrec, name: str) -> None:
        self.door = door
        self.store = door.store
        self.jobs = Jobs(door, name)
        self.policy = self.jobs.policy
        self.statuses: dict[str, Status] | None = None  #: of every job, oldest first; None before the first look
        self.counts: Counter[Status] = Counter()
        self.running: dict[str, Task] = {}
        self.waiting: dict[str, Task | None] = {}  #: None for those that nobody has asked for
        self.failures: dict[str, Task] = {}
        self.ends: deque[tuple[float, int]] = deque(maxlen=SAMPLES)  #: times, and how many jobs had run until then
        self.lines = LastLines(door)
        self.pulse: object = None
        self.cursor = 0
        self.next_refresh = 0.0
        self.idle = 0  #: how many looks in a row have found nothing that has not ended
        self.trouble = ""
        self.next: tuple[int, list[tuple[Task, str]]] | None = None  #: what `next_waiting` has found, for so many rows

    # Learning

    def look(self) -> list[Change]:
        """Learn what has changed since the last look; nothing is told of what the first finds."""
        changes = self.learn() if self.refresh() or self.store.pulse() != self.pulse else []
        self.note_pace()
        self.idle = 0 if any(self.counts[status] for status in UNFINISHED) else self.idle + 1
        return changes

    def refresh(self) -> bool:
        """Every now and then, have the jobs looked at whose worker may have gone; whether that was done now."""
        if time.monotonic() < self.next_refresh:
            return False
        patience, self.store.patience = self.store.patience, min(self.store.patience, PATIENCE)
        complaints = len(self.door.complaints)
        try:
            self.door.recorder.take_in()
            self.door.refresh_tasks(list(self.running.values()))
            self.trouble = self.door.complaints[-1] if len(self.door.complaints) > complaints else ""
        except (StoreBusy, StoreUnwritable) as error:
            self.trouble = f"shown as last recorded: {error}"
        finally:
            self.store.patience = patience
            self.next_refresh = time.monotonic() + REFRESHED
        return True

    def learn(self) -> list[Change]:
        """Take in what the store has to tell."""
        self.next = None
        self.pulse = self.store.pulse()  # first: what changes from here on is for the next look
        since, self.policy = self.policy.get("since", 0), self.jobs.policy
        events = self.store.events(self.cursor)
        if self.statuses is None or self.policy.get("since", 0) != since or missed(events, self.cursor):
            return self.load()
        if events:
            self.cursor = events[-1].sequence
        uids = dict.fromkeys(event.uid for event in events)
        return [change for uid in uids if (change := self.take(uid)) is not None]

    def load(self) -> list[Change]:
        """Read how every job stands."""
        before, self.cursor = self.statuses, self.store.last_event()
        self.statuses = now = self.store.standing(self.jobs.query())
        self.counts = Counter(now.values())
        self.running = self.tasks(uid for uid, status in now.items() if status in BEGUN)
        self.waiting = {uid: None for uid, status in now.items() if status is Status.QUEUED}
        failed = [uid for uid, status in now.items() if status in FAILED]
        self.failures = self.tasks(iter(failed[-FAILURES:]))
        if before is None:
            self.estimate()
            return []
        changed = {uid: before.get(uid) for uid, status in now.items() if before.get(uid) is not status}
        return [Change(was=changed[uid], task=task) for uid, task in self.tasks(iter(changed)).items()]

    def tasks(self, uids: Iterator[str]) -> dict[str, Task]:
        """The tasks of these uids; those that are gone are left out."""
        return {uid: task for uid in uids if (task := self.door.known(uid)) is not None}

    def take(self, uid: str) -> Change | None:
        """Take in how a task stands that something has happened to; the change, if it is a job of ours."""
        assert self.statuses is not None
        was = self.statuses.get(uid)
        if was is None and not uid.startswith("queue-"):
            return None
        task = self.door.known(uid)
        if was is not None:
            self.forget(uid, was)
        if task is None or task.queue != self.jobs.name or task.number <= self.policy.get("since", 0):
            return None
        self.remember(task)
        return None if was is task.status else Change(was=was, task=task)

    def forget(self, uid: str, was: Status) -> None:
        """Leave a job out of everything."""
        assert self.statuses is not None
        del self.statuses[uid]
        self.counts[was] -= 1
        for where in (self.running, self.waiting, self.failures):
            where.pop(uid, None)

    def remember(self, task: Task) -> None:
        """Put a job where it belongs."""
        assert self.statuses is not None
        self.statuses[task.uid] = task.status
        self.counts[task.status] += 1
        if task.status in BEGUN:
            self.running[task.uid] = task
        elif task.status is Status.QUEUED:
            self.waiting[task.uid] = task if len(self.waiting) < SCANNED else None
        elif task.status in FAILED:
            self.failures[task.uid] = task
            if len(self.failures) > 2 * FAILURES:
                self.failures = {task.uid: task for task in by_end(self.failures.values())[FAILURES:]}

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to wait for.  A job that is retried by itself may be failed for a moment."""
        return self.idle > 1 and not any(one.get("keep") for one in workers(self.door.home, self.jobs.name))

    # The pace

    @property
    def ran(self) -> int:
        """How many jobs have ended that had begun."""
        return sum(self.counts[status] for status in RAN)

    def note_pace(self) -> None:
        """Note how many have ended by now."""
        ran = self.ran
        if self.ends and ran < self.ends[-1][1]:  # some are retried
            self.ends.clear()
        if not self.ends or ran > self.ends[-1][1]:
            self.ends.append((time.time(), ran))

    def estimate(self) -> None:
        """Take the pace at first from the ends that the newest jobs tell of."""
        complete = [uid for uid, status in (self.statuses or {}).items() if status is Status.COMPLETE]
        newest = self.tasks(iter(complete[-FEW:] if self.running else ())).values()
        ends = sorted(moment(task.ended).timestamp() for task in newest if task.ended)
        self.ends.clear()
        if len(ends) > 1:
            self.ends.append((ends[0], self.ran - len(ends) + 1))

    def rate(self) -> float | None:
        """Jobs that end in a second: over the last minute, or over as long as it took a few to end."""
        now, ran = time.time(), self.ran
        begin, count = now, ran
        for begin, count in reversed(self.ends):
            if now - begin >= WINDOW and ran - count >= FEW:
                break
        return (ran - count) / (now - begin) if ran - count >= FEWEST and now - begin >= 1.0 else None

    # Showing

    def view(self, rows: int) -> View:
        """The queue as it stands, with at most so many jobs of each kind."""
        there = workers(self.door.home, self.jobs.name)
        slots = sum(limits_of(self.policy, **(one.get("chosen") or {})).slots for one in there) if there else None
        oldest = sorted(self.running.values(), key=lambda task: (task.started or "", task.number))
        active = [self.active(task) for task in oldest[:rows]]
        self.lines.keep(one.task for one in active)
        return View(
            name=self.jobs.name, counts=dict(self.counts), paused=bool(self.policy.get("paused")), workers=len(there),
            slots=slots, rate=self.rate(), running=active, failures=by_end(self.failures.values())[::-1][:rows],
            waiting=self.next_waiting(rows), trouble=self.trouble,
        )  # fmt: skip

    def active(self, task: Task) -> Active:
        """A job that runs, with what it uses and prints."""
        cpu, memory = usage_now(self.door.home, task)
        return Active(task=task, cpu=cpu, memory=memory, line=self.lines.of(task))

    def next_waiting(self, rows: int) -> list[tuple[Task, str]]:
        """The jobs that come next: those that may begin by priority and age, then the others by age."""
        if self.next is None or self.next[0] != rows:
            self.next = rows, self.find_next(rows)
        return self.next[1]

    def find_next(self, rows: int) -> list[tuple[Task, str]]:
        """The same, found anew."""
        chosen = list(islice(self.waiting, SCANNED))
        self.waiting.update(self.tasks(uid for uid in chosen if self.waiting[uid] is None))
        tasks = [task for uid in chosen if (task := self.waiting[uid]) is not None]
        outside = {uid for task in tasks for uid in task.after} - (self.statuses or {}).keys()
        known = {**self.store.statuses(outside), **(self.statuses or {})}
        every = [Waits(task, known) for task in tasks]
        every.sort(key=lambda one: (one.rank, -one.task.priority * (one.rank == 0), one.task.number))
        return [(one.task, self.why(one)) for one in every[:rows]]

    def why(self, one: Waits) -> str:
        """What a job waits for, in a few words."""
        if one.open:
            more = f" and {len(one.open) - 1} more" if len(one.open) > 1 else ""
            return f"after {self.called(one.open[0])}{more}"
        if one.doomed:
            return f"will be skipped: {self.called(one.doomed)} did not complete"
        if one.job.at is not None and one.job.at > time.time():
            return "not before " + time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(one.job.at))
        if lack := self.lack(one.job):
            return f"can never run: {lack}"
        return "paused" if self.policy.get("paused") else "ready"

    def lack(self, job: Job) -> str:
        """Why no worker that is there will ever run a job."""
        asks = job.cpus or job.mem or job.gpus
        there = workers(self.door.home, self.jobs.name) if asks and not job.slurm else []
        lacks = [limits_of(self.policy, **(one.get("chosen") or {})).lack(job) for one in there]
        return lacks[0] if lacks and all(lacks) else ""

    def called(self, uid: str) -> str:
        """What a task is called."""
        task = self.running.get(uid) or self.waiting.get(uid) or self.door.known(uid)
        return label(task) if task else "a task that is gone"


class Waits:
    """What a job waits for."""

    def __init__(self, task: Task, known: Mapping[str, Status]) -> None:
        self.task = task
        self.job = Job.of(task)
        links = self.job.links(task.after)
        stand = {uid: known.get(uid, Status.LOST) for uid, _ in links}
        self.open = [uid for uid, status in stand.items() if not status.is_final]
        bad = (uid for uid, kind in links if kind == "ok" and stand[uid] not in (*UNFINISHED, Status.COMPLETE))
        self.doomed = next(bad, "")
        later = self.job.at is not None and self.job.at > time.time()
        self.rank = 2 if self.open or self.doomed else int(later)  #: the lower, the sooner it begins


class LastLines:
    """The last line that each of some running jobs has printed; read anew only where something was printed since."""

    def __init__(self, door: Qrec) -> None:
        self.door = door
        self.known: dict[tuple[str, int], tuple[dict[str, int], str]] = {}

    def of(self, task: Task) -> str:
        """The last line of a job, secrets covered; nothing if it has not printed any."""
        key = (task.uid, task.attempt)
        sizes, line = self.known.get(key, ({}, ""))
        output = self.door.output(task)
        now = {stream: output.size(stream) for stream in STREAMS}
        for stream in STREAMS:
            if now[stream] > sizes.get(stream, 0) and (found := end_of(output, stream, now[stream])):
                line = found
                break
        self.known[key] = now, line
        return line

    def keep(self, tasks: Iterator[Task]) -> None:
        """Forget all but these."""
        keys = {(task.uid, task.attempt) for task in tasks}
        self.known = {key: value for key, value in self.known.items() if key in keys}


def end_of(output: Output, stream: str, size: int) -> str:
    """The last line of a stream that is not blank, as it would stand in a terminal."""
    start = max(0, size - TAIL)
    lines = plain(text(output.read(stream, start, size - start))).split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def usage_now(home: str, task: Task) -> tuple[float | None, int | None]:
    """The cores and the bytes of memory that a running job uses, as it was last looked at."""
    from qrec.usage import points

    files = Files(attempt_folder(home, task.uid, task.attempt))
    start = max(0, file_size(files.path("series")) - TAIL)
    block = files.read("series", start)
    series = points(block[block.find(b"\n") + 1 :] if start else block)
    if not series:
        return None, None
    last = series[-1]
    before = series[-2] if len(series) > 1 else last.copy(at=0.0, cpu=0.0)
    passed = last.at - before.at
    return (max(0.0, last.cpu - before.cpu) / passed if passed > 0 else None), last.memory


def by_end(tasks: Any) -> list[Task]:
    """Tasks in the order in which they ended."""
    return sorted(tasks, key=lambda task: (task.ended or task.created, task.number))


def missed(events: Sequence[Any], cursor: int) -> bool:
    """Whether some events are forgotten already that came after the cursor."""
    return bool(events) and events[0].sequence > cursor + 1


def told(change: Change, begun: set[tuple[str, int]]) -> Iterator[str]:
    """A change in words, for whoever reads lines: a job that began and ended meanwhile has two.

    `begun` is which attempts have been told of and have not ended: a worker may give back what it has claimed.
    """
    task = change.task
    name, key = f"{task.number} {task.name or task.command}", (task.uid, task.attempt)
    if task.status is Status.SUBMITTED:
        yield f"{name} was submitted"
    elif key not in begun and (task.status is Status.RUNNING or (task.status.is_final and task.started)):
        yield f"{name} began"
        begun.add(key)
    if task.status.is_final:
        begun.discard(key)
        from qrec.units import duration

        took = f", {duration(task.seconds)}" if task.seconds is not None and task.status in RAN else ""
        why = f": {reason(task)}" if task.status is not Status.COMPLETE else ""
        yield f"{name} {task.status}{why}{took}"
