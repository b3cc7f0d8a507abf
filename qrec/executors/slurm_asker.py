"""Asks Slurm no more often than is good: all who share a folder share answers, and patience after trouble."""

from __future__ import annotations

import json
import os
import time

from qrec.config import read_text, write_cache
from qrec.executors.slurm_calls import LIMIT, Heard, ask_cluster, by_cluster, joined
from qrec.executors.slurm_jobs import Job
from qrec.output import make_private

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any

    from qrec.executors.slurm_calls import Answer, Key


class Asker:
    """Asks on behalf of every qrec that shares a cache folder.

    Each answer is kept for a moment there, so that many calls at once make one; after trouble a cluster is left
    alone for 2, 4, 8 ... 60 s.  Without a folder that can be written to it just asks.
    """

    FRESH = 0.5  #: seconds an answer counts as new
    LONGEST = 60.0  #: seconds a cluster in trouble is left alone at most
    KEPT = 600.0  #: seconds an answer is kept for times of trouble

    def __init__(self, folder: str, limit: float = LIMIT, now: Callable[[], float] = time.time) -> None:
        self.path = os.path.join(folder, "slurm.json")
        self.limit = limit
        self.now = now

    def ask(self, ids: Iterable[Key], fresh: float = FRESH, insist: bool = False) -> Answer:
        """How jobs stand: as somebody learned less than `fresh` seconds ago, or as Slurm says now.

        `insist`: a person wants to know, so ask although there was trouble.
        """
        began = self.now()
        groups = by_cluster(ids)
        memory = Memory(self.path)
        if all(memory.is_fresh(cluster, wanted, self.now(), fresh) for cluster, wanted in groups.items()):
            return self.told(memory, groups, 0)
        with Lock(self.path + ".lock", 2 * self.limit) as held:
            memory = Memory(self.path)
            calls = 0
            for cluster, wanted in groups.items():
                now = self.now()
                if memory.is_fresh(cluster, wanted, now, max(fresh, now - began)):
                    continue
                if held and (insist or not memory.waits(cluster, "queue", now)):
                    calls += self.renew(memory, cluster, wanted, insist)
            if calls:
                memory.write(self.now() - self.KEPT)
            return self.told(memory, groups, calls, "" if held else "another qrec is still asking Slurm")

    def renew(self, memory: Memory, cluster: str | None, wanted: Sequence[str], insist: bool) -> int:
        """Ask a cluster and remember what it told; return how many calls that took."""
        asked = self.now()
        no_accounts = "" if insist else memory.waits(cluster, "accounts", asked)
        heard = ask_cluster(cluster, wanted, self.limit, no_accounts)
        memory.take(cluster, heard, wanted, asked, self.now(), self.LONGEST)
        return heard.calls

    def told(self, memory: Memory, groups: Mapping[str | None, Sequence[str]], calls: int, trouble: str = "") -> Answer:
        """The answer that the memory holds."""
        heard = {cluster: memory.heard(cluster, wanted, self.now()) for cluster, wanted in groups.items()}
        at = min((memory.at(cluster, wanted) for cluster, wanted in groups.items()), default=self.now())
        answer = joined(heard, at)
        return answer.copy(calls=calls, trouble="; ".join(filter(None, (answer.trouble, trouble))))


class Memory:
    """What was heard of each cluster lately, in a file; one that cannot be read is an empty one."""

    VERSION = 1

    def __init__(self, path: str) -> None:
        self.path = path
        self.clusters: dict[str, dict[str, Any]] = {}
        try:
            kept = json.loads(read_text(path) or "{}")
            if kept.get("version") == self.VERSION:
                self.clusters = dict(kept["clusters"])
        except (OSError, ValueError, KeyError, AttributeError):
            pass

    def of(self, cluster: str | None) -> dict[str, Any]:
        """What is known of a cluster: `jobs`, and the troubles with its `queue` and its `accounts`."""
        return self.clusters.setdefault(cluster or "", {"jobs": {}})

    def entry(self, cluster: str | None, jobid: str) -> dict[str, Any] | None:
        """What was heard of an id: when it was asked for, when the answer came, the jobs."""
        found: dict[str, Any] | None = self.of(cluster)["jobs"].get(jobid)
        return found

    def is_fresh(self, cluster: str | None, wanted: Iterable[str], now: float, fresh: float) -> bool:
        """Whether all that is wanted came less than `fresh` seconds ago; a time to come was another clock's."""
        entries = [self.entry(cluster, jobid) for jobid in wanted]
        return all(entry is not None and 0 <= now - entry["done"] < fresh for entry in entries)

    def waits(self, cluster: str | None, source: str, now: float) -> str:
        """Why a source is not to be asked now; empty if it may be."""
        trouble = self.of(cluster).get(source)
        if not trouble or not now < trouble["until"] <= now + Asker.LONGEST:
            return ""
        return f"{trouble['why']}; asked again in {trouble['until'] - now:.0f} s"

    def take(
        self, cluster: str | None, heard: Heard, wanted: Iterable[str], asked: float, done: float, longest: float
    ) -> None:
        """Remember what was heard, or how often in succession nothing was."""
        known = self.of(cluster)
        for jobid in wanted:
            jobs = [job.asdict() for job in heard.jobs.get(jobid, ())]
            if jobs or "queue" not in heard.trouble:
                known["jobs"][jobid] = {"asked": asked, "done": done, "jobs": jobs, "unknown": jobid in heard.unknown}
        for source in heard.asked:
            if source not in heard.trouble:
                known.pop(source, None)
            else:
                tries = known.get(source, {}).get("tries", 0) + 1
                until = done + min(longest, 2.0**tries)
                known[source] = {"tries": tries, "until": until, "why": heard.trouble[source]}

    def heard(self, cluster: str | None, wanted: Sequence[str], now: float) -> Heard:
        """What was heard of some ids."""
        entries = {jobid: entry for jobid in wanted if (entry := self.entry(cluster, jobid)) is not None}
        jobs = {jobid: tuple(map(Job.from_plain, entry["jobs"])) for jobid, entry in entries.items()}
        all_live = all(any(job.is_live for job in jobs.get(jobid, ())) for jobid in wanted)
        sources = ("queue",) if all_live else ("queue", "accounts")
        troubles = {source: why for source in sources if (why := self.waits(cluster, source, now))}
        return Heard(
            jobs={jobid: runs for jobid, runs in jobs.items() if runs},
            unknown=frozenset(jobid for jobid, entry in entries.items() if entry["unknown"] and not troubles),
            trouble=troubles,
        )

    def at(self, cluster: str | None, wanted: Iterable[str]) -> float:
        """Since when nothing newer is known of some ids; 0 if one was never heard of."""
        return min((entry["asked"] if (entry := self.entry(cluster, jobid)) else 0.0 for jobid in wanted), default=0.0)

    def write(self, oldest: float) -> None:
        """Keep it, without what was heard before `oldest`."""
        for known in self.clusters.values():
            known["jobs"] = {jobid: entry for jobid, entry in known["jobs"].items() if entry["done"] >= oldest}
        write_cache(self.path, {"version": self.VERSION, "clusters": self.clusters})


class Lock:
    """`with Lock(path, limit) as held`: one process at a time, or False after `limit` seconds of waiting.

    Where no lock can be had at all, in a folder that is read-only, everybody is let in.
    """

    PAUSE = 0.02  #: seconds between two looks

    def __init__(self, path: str, limit: float) -> None:
        self.path = path
        self.limit = limit
        self.descriptor = -1

    def __enter__(self) -> bool:
        try:
            make_private(os.path.dirname(self.path))
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return True
        deadline = time.monotonic() + self.limit
        while not self.grab():
            if time.monotonic() > deadline:
                return False
            time.sleep(self.PAUSE)
        return True

    def grab(self) -> bool:
        """Take the lock if it is free."""
        import fcntl

        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
        return True

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
