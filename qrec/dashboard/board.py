"""The jobs of the queues that somebody looks at, kept in memory: of each change only what has changed is read."""

from __future__ import annotations

import threading
from collections import OrderedDict

from qrec.errors import NoSuchTask
from qrec.jobs import Jobs
from qrec.task import Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qrec.api import Qrec

KEPT = 6  #: queues
FEW = 300  #: changes up to which each is read by itself


class Board:
    """The jobs of one queue, oldest first, as of an event."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.cursor = -1
        self.since: object = None  #: the generation of the queue, with when it was made
        self.jobs: dict[str, Task] = {}

    def look(self, queue: Jobs) -> dict[str, Task]:
        """The jobs by uid as they stand now; not to be changed.  NoSuchQueue."""
        with self.lock:
            policy = queue.policy
            since = (policy.get("since"), policy.get("created"))
            last = queue.store.last_event()
            if self.cursor < 0 or since != self.since or not self.catch_up(queue, last):
                self.cursor, self.since = last, since
                self.jobs = {job.uid: job for job in queue.all()}
            return self.jobs

    def catch_up(self, queue: Jobs, last: int) -> bool:
        """Read what has changed; False if that would take longer than to read all."""
        if last == self.cursor:
            return True
        events = queue.store.events(self.cursor)
        if last < self.cursor or len(events) > FEW or (events and events[0].sequence > self.cursor + 1):
            return False
        jobs = dict(self.jobs)
        least = queue.policy.get("since", 0)
        for uid in dict.fromkeys(event.uid for event in events if event.kind != "queue"):
            try:
                task = queue.store.get(uid)
            except NoSuchTask:
                jobs.pop(uid, None)
                continue
            if task.queue == self.name and task.number > least:
                jobs[uid] = task
        self.jobs, self.cursor = jobs, max([last, *(event.sequence for event in events)])
        return True


class Boards:
    """Those that were looked at last."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.boards: OrderedDict[str, Board] = OrderedDict()

    def jobs(self, door: Qrec, name: str) -> tuple[Jobs, dict[str, Task]]:
        """A queue and its jobs by uid, oldest first.  NoSuchQueue."""
        queue = Jobs(door, name)
        queue.policy  # noqa: B018  (it must be there)
        with self.lock:
            board = self.boards.pop(name, None) or Board(name)
            self.boards[name] = board
            while len(self.boards) > KEPT:
                self.boards.popitem(last=False)
        return queue, board.look(queue)


def counts(jobs: Mapping[str, Task]) -> dict[str, int]:
    """How many jobs have which status; nothing of those that none has."""
    every = [job.status for job in jobs.values()]
    return {status.value: count for status in Status if (count := every.count(status))}
