"""Why a job of a queue is not running: what it waits for, what is in its way, or how it ended."""

from __future__ import annotations

import os
import time
from datetime import datetime

from qrec.errors import NoSuchTask
from qrec.executors.queue import Job, is_orphan, label, queue_line
from qrec.graph import ANY, FAILED
from qrec.limits import asks_for, limits_of
from qrec.presence import workers
from qrec.reason import beside_status, reason
from qrec.stores.base import Query
from qrec.task import Status, Task
from qrec.units import duration, size
from qrec.worker import WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.jobs import Jobs
    from qrec.limits import Limits

#: What it means that somebody is missing.
MISSING = {
    "": "",
    "worker": "; its worker has gone, and the next `qrec queue run` takes it over",
    "keeper": "; the process that kept it was killed, so nobody will learn its return code",
}
NAMED = 5  #: jobs that a sentence names; of more it tells how many


def explain(queue: Jobs, job: Task) -> list[str]:
    """Sentences, without their full stops, on why a job is not running, or how it stands."""
    return Picture(queue, queue.unfinished()).explain(job)


def waits_outside(door: Qrec, parents: Iterable[str]) -> list[str]:
    """What is waited for that is no job of the queue, as sentences without their full stops."""
    tasks = [task for uid in parents if (task := door.known(uid)) is not None and not task.status.is_final]
    found = []
    for task in sorted(tasks, key=lambda task: task.number)[:NAMED]:
        why = why_elsewhere(door, task)
        found.append(f"waits for {label(task)}, which is {task.status}" + (f" ({why})" if why else ""))
    return found + [f"waits for {len(tasks) - NAMED} more"] * (len(tasks) > NAMED)


def why_elsewhere(door: Qrec, parent: Task) -> str:
    """Why a job of another queue does not begin, if nobody lets it."""
    if parent.queue is None or parent.status is not Status.QUEUED:
        return ""
    policy = door.store.policies().get(parent.queue)
    if policy is None:
        return f"queue {parent.queue} is not there any more"
    if policy.get("paused"):
        return f"queue {parent.queue} is paused; {queue_line('resume', parent.queue)} lets jobs begin"
    if not workers(door.home, parent.queue):
        return f"no worker runs queue {parent.queue}; {queue_line('run', parent.queue)} starts one"
    return f"in queue {parent.queue}"


class Crew:
    """A worker of the queue, with what it may use and what it runs."""

    def __init__(self, about: Mapping[str, Any], policy: Mapping[str, Any]) -> None:
        self.pid = about["pid"]
        self.host = about["host"]
        self.keeps = bool(about.get("keep"))  #: whether it stays when all has ended
        self.limits: Limits = limits_of(policy, **about.get("chosen", {}))
        self.running: list[Task] = []

    @property
    def free_slots(self) -> int:
        """How many jobs more it could run."""
        return self.limits.slots - len(self.running)

    def free(self, name: str) -> int:
        """What is left of its `cpus` or `mem`."""
        left: int = getattr(self.limits, name) - sum(getattr(Job.of(task), name) or 0 for task in self.running)
        return left


class Picture:
    """A queue at one moment.  `jobs` are all of it, or those that have not ended."""

    def __init__(self, queue: Jobs, jobs: Sequence[Task]) -> None:
        self.queue = queue
        self.policy = queue.policy
        self.now = time.time()
        self.tasks: dict[str, Task | None] = {job.uid: job for job in jobs}
        self.running = [job for job in jobs if job.status is Status.RUNNING and "slot" in job.data]
        self.crews = self.find_crews()
        self._waiting: list[Task] | None = None
        self._devices: dict[str, list[Task]] | None = None

    def find_crews(self) -> list[Crew]:
        """The workers, each with the jobs that it runs; those of a dead one count for each of its host."""
        by_recorder: dict[tuple[int, ...], list[Task]] = {}
        for job in self.running:
            recorder = tuple(job.data.get("process", {}).get("recorder", ()))
            by_recorder.setdefault(recorder, []).append(job)
        found = []
        for about in workers(self.queue.door.home, self.queue.name):
            crew = Crew(about, self.policy)
            crew.running = by_recorder.pop((about["pid"], about["ticks"]), [])
            found.append(crew)
        orphans = [job for jobs in by_recorder.values() for job in jobs]
        for crew in found:
            crew.running += [job for job in orphans if job.host == crew.host]
        return found

    def task(self, uid: str) -> Task | None:
        """The task of a uid, be it of this queue or not; None if it is gone."""
        if uid not in self.tasks:
            try:
                self.tasks[uid] = self.queue.store.get(uid)
            except NoSuchTask:
                self.tasks[uid] = None
        return self.tasks[uid]

    # Dependencies

    def waits_for(self, job: Task) -> list[str]:
        """Those of a waiting job's parents that have not ended."""
        if job.status is not Status.QUEUED:
            return []
        return [uid for uid in job.after if (parent := self.task(uid)) is not None and not parent.status.is_final]

    def doom(self, job: Task) -> str:
        """Why a waiting job can never run, if something that it depends on did not end as it should."""
        for uid, kind in Job.of(job).links(job.after):
            parent = self.task(uid)
            if kind not in (ANY, FAILED) and (parent is None or parent.status.is_final):
                if parent is None:
                    return f"{uid} is gone"
                if parent.status is not Status.COMPLETE:
                    return f"{label(parent)} {WORDS[parent.status]}"
        return "nothing of that failed for whose failure it waited" if self.nothing_failed(job) else ""

    def nothing_failed(self, job: Task) -> bool:
        """Whether all has completed for the failure of one of which a job was to begin."""
        parents = [self.task(uid) for uid in Job.of(job).failed]
        return bool(parents) and all(parent is not None and parent.status is Status.COMPLETE for parent in parents)

    @property
    def waiting(self) -> list[Task]:
        """The jobs that wait for nothing but a worker, in the order in which one takes them."""
        if self._waiting is None:
            ready = [
                job
                for job in list(self.tasks.values())  # a look at their parents adds to them
                if job is not None and job.queue == self.queue.name and job.status is Status.QUEUED
                and not self.waits_for(job) and not self.doom(job) and not self.is_later(job)
            ]  # fmt: skip
            self._waiting = sorted(ready, key=lambda job: (-job.priority, job.number))
        return self._waiting

    def is_later(self, job: Task) -> bool:
        """Whether a job must not begin yet."""
        at = Job.of(job).at
        return at is not None and at > self.now

    # In a few words

    def why(self, job: Task) -> str:
        """The first reason in a few words; nothing for what runs or has completed."""
        if job.status is not Status.QUEUED:
            return self.standing(job)
        if waits := self.waits_for(job):
            return f"waits for {some([self.label(uid) for uid in waits], 3)}"
        if doom := self.doom(job):
            return f"will be skipped: {doom}"
        if self.policy.get("paused"):
            return "the queue is paused"
        if self.is_later(job):
            return f"not before {clock(Job.of(job).at or 0)}"
        if lack := self.lack(job):
            return f"can never run: {lack}"
        if lack := self.lack_of_gpus(job):
            return lack
        if not self.crews:
            return "no worker runs"
        if not any(crew.free_slots > 0 for crew in self.crews):
            return "no slot is free"
        return self.shortage(job) or "is ready"

    def standing(self, job: Task) -> str:
        """How a job stands that does not wait, as far as its status does not tell."""
        if job.status is Status.SUBMITTED:
            told = job.data.get("slurm", {})
            return " ".join(str(told[name]) for name in ("state", "reason") if told.get(name))
        if job.status is Status.RUNNING:
            return f"its {gone} has gone" if (gone := self.missing(job)) else ""
        return "" if job.status is Status.COMPLETE else reason(job)

    def missing(self, job: Task) -> str:
        """Who does not look after a running job any more: its worker, or the keeper that its worker had for it."""
        if not is_orphan(job):
            return ""
        return "worker" if "recorder" in job.data["process"] else "keeper"

    def label(self, uid: str) -> str:
        """What a task is called in a sentence."""
        parent = self.task(uid)
        return uid if parent is None else label(parent)

    def lack(self, job: Task) -> str:
        """Why a job can never run within the limits of any worker; without workers, those of the policy."""
        asked = Job.of(job)
        if not self.crews:
            limits = limits_of(self.policy)
            if not limits.gpus:
                asked = asked.copy(gpus=0)  # a worker may yet be given some: see `lack_of_gpus`
            return "" if self.policy.get("backend") == "slurm" else limits.lack(asked)
        lacks = [crew.limits.lack(asked) for crew in self.crews]
        return lacks[0] if all(lacks) else ""

    def lack_of_gpus(self, job: Task) -> str:
        """What a job asks for that a worker would only have if it was given some."""
        gpus = Job.of(job).gpus
        if self.crews or not gpus or self.policy.get("gpus") or self.policy.get("backend") == "slurm":
            return ""
        return f"{asks_for(gpus)}, and the queue has none"

    def shortage(self, job: Task) -> str:
        """What no worker has enough of right now, in a few words."""
        asked = Job.of(job)
        short = [self.short_of(crew, asked) for crew in self.crews if crew.free_slots > 0]
        if not all(short):
            return ""
        return f"not enough {short[0][0]} free" if short else ""

    def short_of(self, crew: Crew, asked: Job) -> list[str]:
        """What a worker has not enough of for a job."""
        found = []
        if asked.cpus and asked.cpus > crew.free("cpus"):
            found.append("CPUs")
        if asked.mem and asked.mem > crew.free("mem"):
            found.append("memory")
        if asked.gpus > len(set(self.free_devices(crew))):
            found.append("GPUs")
        return found

    # GPUs

    @property
    def devices(self) -> dict[str, list[Task]]:
        """Who holds which GPU, on any host: any running task, whichever queue it belongs to."""
        if self._devices is None:
            self._devices = {}
            for task in self.queue.store.newest_first(Query(statuses=frozenset({Status.RUNNING}))):
                for device in task.data.get("gpus", ()):
                    self._devices.setdefault(f"{task.host}:{device}", []).append(task)
        return self._devices

    def holders(self, crew: Crew, device: str) -> list[Task]:
        """Who holds a GPU of a worker's host."""
        return self.devices.get(f"{crew.host}:{device}", [])

    def free_devices(self, crew: Crew) -> list[str]:
        """The GPUs that a worker could give to a job now."""
        left = list(crew.limits.gpus)
        for device in set(left):
            for _ in self.holders(crew, device):
                if device in left:
                    left.remove(device)
        return left

    # In sentences

    def explain(self, job: Task) -> list[str]:
        """Why a job is not running, or how it stands."""
        if job.status is not Status.QUEUED:
            return [self.told(job)]
        if waits := self.waits_for(job):
            return [*self.about_parents(job, waits), *self.about_queue()]
        if doom := self.doom(job):
            return [f"it will be skipped as soon as a worker sees it: {doom}"]
        found = [*self.about_gpus_to_come(job), *self.about_queue(), *self.about_time(job)]
        if lack := self.lack(job):
            changes = queue_line("edit", self.queue.name, job.name or str(job.number))
            return [f"it can never run: {lack}; {changes} changes what it asks for", *found]
        found += [*self.about_slots(), *self.about_room(job), *self.about_others(job)]
        return found or ["it is ready, and begins in a moment"]

    def told(self, job: Task) -> str:
        """How a job stands that does not wait."""
        took = f" after {duration(job.seconds)}" if job.seconds is not None else ""
        in_vain = job.status is Status.SKIPPED and self.nothing_failed(job)
        again = "" if in_vain else f"; {self.to_retry(job)} wait again"
        why = f": {beside_status(job)}" if beside_status(job) else ""
        if job.status is Status.COMPLETE:
            return f"it completed{took}"
        if job.status is Status.CANCELLED and job.started is None:
            return f"it was cancelled before it began{again}"
        if job.status.is_final:
            return f"it {WORDS[job.status]}{took}{why}{again}"
        if job.status is Status.SUBMITTED:
            said = self.standing(job)
            return f"Slurm has it as job {job.data.get('slurm', {}).get('jobid', 'unknown')}" + (
                f": {said}" if said else ""
            )
        since = f"it has been running for {duration(job.seconds)}" if job.seconds is not None else "it runs"
        where = f" on {job.host}" if job.host != os.uname().nodename else ""
        devices = f" with GPU {', '.join(job.data['gpus'])}" if job.data.get("gpus") else ""
        return f"{since}{where}{devices}{MISSING[self.missing(job)]}"

    def to_retry(self, job: Task) -> str:
        """What lets an ended job run after all, and what else."""
        if job.status is Status.SKIPPED:  # it alone would be skipped once more
            return f"{queue_line('retry', self.queue.name)} lets it and all else that did not complete"
        return f"{queue_line('retry', self.queue.name, job.name or str(job.number))} lets it"

    def about_parents(self, job: Task, waits: Sequence[str]) -> list[str]:
        """What it waits for, and how that stands."""
        kinds = dict(Job.of(job).links(job.after))
        found = []
        for uid in waits[:NAMED]:
            parent = self.task(uid)
            assert parent is not None
            is_here = parent.queue == self.queue.name
            why = self.why(parent) if is_here else why_elsewhere(self.queue.door, parent)
            more = f" ({why})" if why else ""
            how = {ANY: " to end, however", FAILED: " to fail"}.get(kinds[uid], "")
            found.append(f"it waits for {label(parent)}{how}, which is {parent.status}{more}")
        if len(waits) > NAMED:
            found.append(f"it waits for {len(waits) - NAMED} more")
        return found

    def about_queue(self) -> list[str]:
        """What keeps all jobs of the queue from beginning."""
        name = self.queue.name
        found = []
        if self.policy.get("paused"):
            found.append(f"the queue is paused; {queue_line('resume', name)} lets jobs begin")
        if not self.crews:
            found.append(f"no worker runs; {queue_line('run', name)} starts one")
        return found

    def about_gpus_to_come(self, job: Task) -> list[str]:
        """How a worker could be given the GPUs that it asks for."""
        names = queue_line("set", self.queue.name, "--gpus", "0,1")
        return [f"{lack}; {names} names some"] if (lack := self.lack_of_gpus(job)) else []

    def about_time(self, job: Task) -> list[str]:
        """Until when it must wait."""
        if not self.is_later(job):
            return []
        asked = Job.of(job)
        left = duration((asked.at or 0) - self.now)
        tried = job.data.get("retried", 0)
        if tried:
            return [
                f"it failed, and is tried again at {clock(asked.at or 0)}, in {left} (retry {tried} of {asked.retries})"
            ]
        return [f"it must not begin before {clock(asked.at or 0)}, in {left}"]

    def about_slots(self) -> list[str]:
        """Whether all slots are taken, and by whom."""
        if not self.crews or any(crew.free_slots > 0 for crew in self.crews):
            return []
        slots = sum(crew.limits.slots for crew in self.crews)
        jobs = [label(job) for crew in self.crews for job in crew.running]
        taken = "the only slot is taken" if slots == 1 else f"all {slots} slots are taken"
        return [f"{taken}: by {some(dict.fromkeys(jobs))}"]

    def about_room(self, job: Task) -> list[str]:
        """What is short of CPUs, memory and GPUs, and who has it."""
        asked = Job.of(job)
        shortages = [self.short_of(crew, asked) for crew in self.crews]
        if not shortages or not all(shortages):
            return []
        crew = self.crews[0]
        told = {"CPUs": self.about_cpus, "memory": self.about_memory, "GPUs": self.about_gpus}
        return [told[name](crew, asked) for name in shortages[0]]

    def about_cpus(self, crew: Crew, asked: Job) -> str:
        """Who has the CPUs."""
        held = [f"{label(one)} ({Job.of(one).cpus})" for one in crew.running if Job.of(one).cpus]
        free = f"{crew.free('cpus')} of {crew.limits.cpus}"
        return f"it asks for {asked.cpus} CPUs, and {free} are free; the others are held by {some(held)}"

    def about_memory(self, crew: Crew, asked: Job) -> str:
        """Who has the memory."""
        held = [f"{label(one)} ({size(Job.of(one).mem or 0)})" for one in crew.running if Job.of(one).mem]
        free = f"{size(max(0, crew.free('mem')))} of {size(crew.limits.mem)}"
        return f"it asks for {size(asked.mem or 0)} of memory, and {free} are free; the rest is held by {some(held)}"

    def about_gpus(self, crew: Crew, asked: Job) -> str:
        """Who has the GPUs."""
        devices = dict.fromkeys(crew.limits.gpus)
        held = [f"{name} by {self.named(holder)}" for name in devices for holder in self.holders(crew, name)]
        free = f"{len(set(self.free_devices(crew)))} of {len(devices)} are free"
        return f"{asks_for(asked.gpus)}, and {free}; held are {some(held)}"

    def named(self, task: Task) -> str:
        """A task, and its queue if it is of another."""
        if task.queue == self.queue.name:
            return label(task)
        return f"{label(task)} of queue {task.queue}" if task.queue else label(task)

    def about_others(self, job: Task) -> list[str]:
        """Which ready jobs go first."""
        first = []
        for other in self.waiting:
            if other.uid == job.uid:
                break
            first.append(label(other) + (f" (priority {other.priority})" if other.priority > job.priority else ""))
        if not first:
            return []
        one = len(first) == 1
        return [f"{len(first)} ready job{'' if one else 's'} go{'es' if one else ''} first: {some(first)}"]


def some(words: Iterable[str], most: int = NAMED) -> str:
    """Some of several words, and how many more there are."""
    every = list(words)
    if not every:
        return "nobody of this queue"
    more = len(every) - most
    return ", ".join(every[:most]) + (f" and {more} more" if more > 0 else "")


def clock(at: float) -> str:
    """A time for people: local, with its day unless that is today."""
    local = datetime.fromtimestamp(at).astimezone()
    today = datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M:%S")
