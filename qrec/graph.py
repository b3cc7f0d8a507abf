"""Which job may run: pure functions and one pure object on the graph of dependencies.

A link says what must become of a parent before its child may run: `OK` that it completes, `ANY` that it ends, `FAILED`
that of all parents linked so, once they have ended, one at least did not complete.
"""

from __future__ import annotations

import heapq
from itertools import islice

from qrec.task import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence

    #: A parent's uid and the kind of the link.
    Link = tuple[str, str]
    #: By which a ready job stands among the others: -priority, number, uid.
    Entry = tuple[int, int, str]

OK, ANY, FAILED = "ok", "any", "failed"
KINDS = (OK, ANY, FAILED)


class Waiting:
    """A job that has not begun, as the board knows it."""

    __slots__ = ("failed", "links", "needs", "number", "open", "place", "priority", "uid", "wants_failure")

    def __init__(self, uid: str, number: int, priority: int, links: Sequence[Link], needs: Hashable) -> None:
        self.uid = uid
        self.number = number
        self.priority = priority
        self.links = links
        self.needs = needs  #: if one job does not fit now, none does that needs the same and comes behind it
        self.open = 0  #: how many parents have not ended
        self.wants_failure = any(kind == FAILED for _, kind in links)
        self.failed = False  #: whether one of those that may fail did
        self.place: Entry | None = None  #: where it stands among the ready ones


class Board:
    """The jobs that wait, and what they wait for; told of every end, it knows at once which become ready or doomed.

    Ended jobs leave no trace here, so that neither memory nor time grows with what is over.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, Waiting] = {}
        self.children: dict[str, list[str]] = {}  #: parent -> those that wait for it
        self.doomed: dict[str, str] = {}  #: job -> the parent because of which it will never run
        self.ready: dict[Hashable, list[Entry]] = {}  #: heaps by what is needed; they may hold what has left

    def __len__(self) -> int:
        return len(self.jobs)

    def add(
        self,
        uid: str,
        number: int,
        priority: int,
        links: Sequence[Link],
        known: Mapping[str, Status],
        needs: Hashable = None,
    ) -> None:
        """A job that waits; `known` tells how its parents stand.  One that is not there any more can never complete."""
        job = self.jobs[uid] = Waiting(uid, number, priority, links, needs)
        for parent, kind in links:
            status = known.get(parent, Status.LOST)
            if status.is_final:
                self._judge(job, parent, kind, status)
            else:
                job.open += 1
                self.children.setdefault(parent, []).append(uid)
        self._sort(job)

    def remove(self, uid: str) -> None:
        """A job that does not wait any more, whatever became of it; those that wait for it go on waiting.

        Its parents find out when they end: to look through all their children now would take long.
        """
        self.jobs.pop(uid, None)
        self.doomed.pop(uid, None)

    def ended(self, uid: str, status: Status) -> None:
        """A parent has ended so."""
        for child in dict.fromkeys(self.children.pop(uid, ())):  # who came back may be there twice
            job = self.jobs.get(child)
            if job is None:
                continue
            for parent, kind in job.links:
                if parent == uid:
                    job.open -= 1
                    self._judge(job, parent, kind, status)
            self._sort(job)

    def parents(self) -> Iterable[str]:
        """Those that somebody waits for."""
        return self.children.keys()

    def prioritize(self, uid: str, priority: int) -> None:
        """Another priority."""
        job = self.jobs[uid]
        job.priority = priority
        self._sort(job)

    def take_ready(self, short: Container[Hashable] = ()) -> Iterator[str]:
        """The ready jobs, by descending priority, then age.  Each is given once; `put_back` what was not begun.

        Those stay that need what is in `short`, which may grow meanwhile.
        """
        while found := [needs for needs in self.ready if needs not in short]:
            needs = min(found, key=lambda needs: self.ready[needs][0])
            entry = heapq.heappop(self.ready[needs])
            if not self.ready[needs]:
                del self.ready[needs]
            job = self.jobs.get(entry[2])
            if job is not None and job.place is entry:  # it may have left, come back, or moved
                job.place = None
                yield job.uid

    def has_ready(self, short: Container[Hashable] = ()) -> bool:
        """Whether there may be any for `take_ready`."""
        return any(needs not in short for needs in self.ready)

    def put_back(self, uid: str) -> None:
        """A ready job that could not begin now."""
        self._sort(self.jobs[uid])

    def take_doomed(self, limit: int) -> dict[str, str]:
        """Some of the jobs that will never run, each with the parent because of which; each is given once."""
        chosen = dict(islice(self.doomed.items(), limit))
        for uid in chosen:
            del self.doomed[uid]
        return chosen

    def _judge(self, job: Waiting, parent: str, kind: str, status: Status) -> None:
        """What the end of a parent means to a job."""
        if kind == OK and status is not Status.COMPLETE:
            self.doomed.setdefault(job.uid, parent)
        if kind == FAILED:
            job.failed = job.failed or status is not Status.COMPLETE

    def _sort(self, job: Waiting) -> None:
        """Put a job where it belongs by what it waits for."""
        if job.open or job.uid in self.doomed:
            return
        if job.wants_failure and not job.failed:
            self.doomed[job.uid] = next(parent for parent, kind in job.links if kind == FAILED)
            return
        entry = (-job.priority, job.number, job.uid)
        if job.place != entry:
            job.place = entry
            heapq.heappush(self.ready.setdefault(job.needs, []), entry)


def cycle(parents: Mapping[str, Iterable[str]]) -> list[str]:
    """A cycle among nodes and their parents, each before one of its parents, the first again at the end; or nothing."""
    over: set[str] = set()
    for start in parents:
        path: dict[str, Iterator[str]] = {}
        here: str | None = start
        while here is not None and here not in over:
            if here not in path:
                path[here] = iter(parents.get(here, ()))
            above = next(path[here], None)
            if above is None:
                path.popitem()
                over.add(here)
                here = next(reversed(path), None)
            elif above in path:
                round_ = list(path)[list(path).index(above) :]
                return [*round_, above]
            elif above not in over:
                here = above
    return []


def ordered(parents: Mapping[str, Iterable[str]]) -> list[str]:
    """The nodes, every parent before its children, otherwise in the order in which they are given.

    Parents that are no nodes do not count.  What is in a cycle, or below one, is left out.
    """
    place = {node: number for number, node in enumerate(parents)}
    children: dict[str, list[str]] = {}
    missing: dict[str, int] = {}
    for node, above in parents.items():
        known = [parent for parent in dict.fromkeys(above) if parent in place]
        missing[node] = len(known)
        for parent in known:
            children.setdefault(parent, []).append(node)
    ready = [(place[node], node) for node, count in missing.items() if not count]
    heapq.heapify(ready)
    done = []
    while ready:
        _, node = heapq.heappop(ready)
        done.append(node)
        for child in children.get(node, ()):
            missing[child] -= 1
            if not missing[child]:
                heapq.heappush(ready, (place[child], child))
    return done
