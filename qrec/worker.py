"""A worker: takes the ready jobs of a queue, has them run, and records how they went.

There may be any number of workers; they share nothing but the store, and claim jobs there by compare-and-set.  A
worker is one loop in one process.  Its jobs are started by a keeper (keeper.py) that outlives it: a worker may be
killed at any moment, and the next one adopts what runs, settles what has ended, and puts back what had not begun.

`step` is what one turn of the loop does, as named steps; all that it writes is one transaction.
"""

from __future__ import annotations

import heapq
import os
import select
import signal
import time

from qrec.errors import CouldNotStart, NoSuchTask, QrecError, StaleTask, StoreError
from qrec.executors.queue import (
    Job,
    before_its_run,
    has_begun,
    is_orphan,
    job_words,
    label,
    make_ready,
    retried,
    with_words,
)
from qrec.firing import attach
from qrec.graph import Board
from qrec.keeper import Began, Keeper, Order
from qrec.limits import Limits, Room, limits_of, needs
from qrec.notify import Ear
from qrec.output import Writer, attempt_folder
from qrec.presence import Presence
from qrec.process import boot_id, pid_namespace, start_ticks
from qrec.recorder import ended_fields, explained, oom_kills
from qrec.running import LOOK, Folders, Orphans, Running
from qrec.spool import forget_words
from qrec.stores.base import Query
from qrec.task import Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
    from typing import Any

    from qrec.api import Qrec

POLL = 0.05  #: seconds between two looks at the store while nothing happens here, where nobody can tell us
LISTENING = 0.5  #: the same where we are told, as far as it is done on this machine
OUTSIDE = 1.0  #: seconds between two looks at parents that are not of this queue, and at other workers' jobs
PACE = 8  #: over how many jobs the pace is averaged
FACTS = 5.0  #: seconds for which what surrounds a folder is taken to be the same
SKIPPED_AT_ONCE = 500  #: doomed jobs in one transaction
SHORT = 0.02  #: seconds below which jobs are so short that some are ordered ahead
AHEAD = 16  #: how many
TOGETHER = 0.005  #: seconds in which the ends of such jobs are gathered, to be written down at once
CALLED_BACK = 0.1  #: seconds after which what was ordered ahead and has not begun is called back
TRY_AGAIN = 1.0  #: seconds until a store that failed is asked again


class Worker:
    """Runs the jobs of one queue, and of one generation of it, until all have ended.

    `told` is called with each job that has begun, has ended, or was skipped.
    """

    keeps = True  #: whether its jobs run here

    def __init__(
        self,
        door: Qrec,
        queue: str,
        *,
        chosen: Mapping[str, Any] | None = None,
        fail_fast: bool = False,
        keep: bool = False,
        show: bool = False,
        slot: int | None = None,
        told: Callable[[Task], None] = lambda task: None,
    ) -> None:
        self.door = door
        self.home = door.home
        self.store = door.store
        self.firing = attach(door.store, door.config)
        self.queue = queue
        self.chosen = dict(chosen or {})  #: limits that were chosen for this worker, whatever the policy says
        self.fail_fast = fail_fast
        self.keep = keep
        self.show = show
        self.slot = slot or 0  #: the first of its slots, where several workers have numbered theirs
        self.is_numbered = slot is not None
        self.told = told
        self.grace = door.recorder.grace
        self.mine = [os.getpid(), start_ticks(os.getpid()) or 0]
        self.where = {"boot": boot_id(), "namespace": pid_namespace()}
        self.host = os.uname().nodename
        self.keeper: Keeper | None = None
        self.ear: Ear | None = None
        self.running: dict[str, Running] = {}
        self.elsewhere: dict[str, Task] = {}  #: jobs of this queue that run, but not under us
        self.launched: set[str] = set()  #: those of them whose launcher we have started
        self.later: list[tuple[float, str]] = []  #: heap of jobs that must not begin yet
        self.short: set[Hashable] = set()  #: what ready jobs need that did not fit
        self.holders: list[str] = []  #: the tasks that held devices when somebody needed some
        self.never: dict[str, str] = {}  #: jobs that will never fit, each with the reason
        self.folders = Folders()
        self.orphans = Orphans(self.home, self.store, self.grace)
        self.pace = 1.0  #: seconds that jobs have taken lately
        self.called_back: list[Running] = []  #: claimed, and not begun after all
        self.claiming: set[str] = set()  #: being claimed: a store that fails then may have written some of it
        self.created: str | None = None  #: when the queue was made, by which its generations are told apart
        self.since = 0  #: the number above which its jobs are
        self.presence = Presence(self)
        self.reset()
        self.is_past = False  #: whether the queue was cleared meanwhile, or made anew
        self.stopping = False  #: whether no more jobs are claimed
        self.interrupted = False  #: whether somebody has pressed Ctrl-C
        self.on_interrupt: Callable[[], None] = lambda: None  #: called then
        self.on_wait: Callable[[str], None] = lambda sentence: None  #: called with what all that is left waits for
        self.waits: list[str] = []  #: that, as of the last look
        self.told_waits: list[str] = []  #: and as it was told
        self.leaving = False  #: whether we go at once, and leave our jobs to the next worker
        self.cancelling = False  #: whether what runs is to be ended
        self.facts: dict[tuple[Any, ...], tuple[float, dict[str, Any]]] = {}
        self.next_outside = 0.0
        self.pause_until = 0.0

    # The loop

    def run(self) -> None:
        """Work until nothing is left to do."""
        with self.presence, signals(self):
            self.listen()
            self.call_keeper()
            try:
                while not self.is_over():
                    self.step()
                    self.rest()
            finally:
                self.folders.remove()
                if self.ear is not None:
                    self.ear.close()
                if self.keeper is not None:
                    self.keeper.close()

    def call_keeper(self) -> None:
        """Have a keeper start while we read the queue; that there can be none matters only when there is a job."""
        if self.keeper is None and self.keeps:
            try:
                self.keeper = Keeper()
            except CouldNotStart:
                pass

    def listen(self) -> None:
        """Have others tell us of changes, if the home is a place for that."""
        try:
            self.ear = Ear(self.home)
        except OSError:
            self.ear = None

    def step(self) -> None:
        """One turn: hear what happened, write it down, begin what can begin."""
        self.hear()
        self.look()
        if time.monotonic() < self.pause_until:
            return
        try:
            self.cancel_launched()
            self.look_outside()
            if not self.has_business():
                return
            with self.store.together():
                self.learn()
                done = self.settle()
                skipped = self.skip()
                claimed = self.claim()
                self.pulse: Any = self.store.pulse()
                self.cursor = self.store.last_event()
        except (StoreError, CouldNotStart) as error:  # also where there can be no keeper
            self.complain(error)
            return
        self.called_back.clear()
        self.claiming.clear()
        self.put_away(done)
        for task in (*done, *skipped):
            self.told(task)
        self.begin(claimed)

    def has_business(self) -> bool:
        """Whether there is something to be read or written."""
        if self.board is None or self.board.doomed or self.store.pulse() != self.pulse:
            return True
        now = time.monotonic()
        if any(one.ended or (not one.told and now - one.began > LOOK) for one in self.running.values()):
            return True
        due = bool(self.later) and self.later[0][0] <= time.time()
        due = due or (self.board.has_ready(self.short) and len(self.running) < self.places)
        return (self.may_claim and due) or bool(self.called_back)

    @property
    def places(self) -> int:
        """How many jobs may be claimed at a time: some ahead where they are short."""
        return self.limits.slots + AHEAD * (self.pace < SHORT and not self.fail_fast)

    @property
    def may_claim(self) -> bool:
        """Whether jobs may begin now."""
        return not (self.stopping or self.leaving or self.policy.get("paused"))

    def is_over(self) -> bool:
        """Whether there is nothing left to wait for."""
        if self.leaving or self.board is None:
            return self.leaving
        if self.running or self.called_back:
            return False
        if self.stopping:
            return not self.launched
        return not (self.keep or self.elsewhere) and (not self.board or self.is_stuck())

    def is_stuck(self) -> bool:
        """Whether all that waits will never fit, or waits for what never will."""
        assert self.board is not None
        may_come = self.board.doomed or self.board.ready or self.later
        return bool(self.never) and not may_come and all(uid in self.board.jobs for uid in self.board.parents())

    def rest(self) -> None:
        """Wait until something happens, or until it is time to look again."""
        if self.pace < SHORT and len(self.running) > self.limits.slots:
            time.sleep(TOGETHER)
            return
        ears: list[Any] = [self.keeper.ear] if self.keeper is not None and not self.keeper.gone else []
        now = time.monotonic()
        due = [now + (POLL if self.ear is None else LISTENING)]
        due += [min(one.next_look, one.deadline, one.kill_at) for one in self.running.values()]
        due += [now + self.later[0][0] - time.time()] if self.later else []
        heard, _, _ = select.select([*ears, *([self.ear] if self.ear else [])], [], [], max(0.0, min(due) - now))
        if self.ear in heard and self.ear is not None:
            self.ear.drain()

    def reset(self) -> None:
        """Forget what is known of the store: it is read anew."""
        self.board: Board | None = None
        self.pulse = None
        self.cursor = 0
        self.policy: dict[str, Any] = {}
        self.limits = Limits()

    def complain(self, error: Exception) -> None:
        """The store did not do what it was asked: try again soon, from what it really has."""
        if str(error) not in self.door.complaints:
            self.door.complaints.append(str(error))
        self.reset()
        self.pause_until = time.monotonic() + TRY_AGAIN

    # Hearing

    def hear(self) -> None:
        """What the keeper tells."""
        if self.keeper is None:
            return
        for word in self.keeper.news():
            one = self.running.get(word.key)
            if one is None:
                continue
            if isinstance(word, Began):
                one.pid, one.slot = word.pid, word.slot + self.slot
                one.begin()
                if self.cancelling or one.task.wish == "cancel":  # somebody wished so before it had begun
                    self.cancel(one)
            elif word.ended is not None:
                one.ended, one.seconds = word.ended, word.seconds
                self.pace += (word.seconds - self.pace) / PACE
            elif has_begun(one.folder):  # somebody else has begun it: it is theirs
                self.elsewhere[word.key] = self.running.pop(word.key).task
            else:
                self.called_back.append(self.running.pop(word.key))
        if self.keeper.gone:
            self.lose_keeper()

    def cancel(self, one: Running) -> None:
        """Ask a job to end that nobody wants any more."""
        one.task = one.task.copy(wish="cancel")
        one.ask_to_end(self.grace)

    def cancel_launched(self) -> None:
        """End what goes on without us, if what runs is to be ended; what has only begun to be launched comes later."""
        for uid in self.launched if self.cancelling else ():
            task = self.door.known(uid)
            if task is None or task.status.is_final or task.wish == "cancel":
                continue
            try:
                self.door.executor(task.executor).act("cancel", task)
            except StoreError:
                raise
            except QrecError:
                pass  # there is nothing yet that could be ended
            self.next_outside = 0.0

    def lose_keeper(self) -> None:
        """The keeper was killed: what it ran goes on without it, and is looked at as another worker's."""
        for uid, one in [(uid, one) for uid, one in self.running.items() if one.ended is None]:
            process = {name: value for name, value in one.task.data["process"].items() if name != "recorder"}
            was = (Status.RUNNING, one.task.attempt)
            try:
                data = {**one.task.data, "process": process}
                self.elsewhere[uid] = self.store.swap(uid, was, Status.RUNNING, data=data, pid=one.pid)
            except (StaleTask, NoSuchTask):
                self.elsewhere[uid] = one.task
            except StoreError as error:  # the rest in the next turn: as ours, nobody would look at them
                self.complain(error)
                return
            del self.running[uid]
        if self.keeper is not None:
            self.keeper.close()
        self.keeper = None

    def look(self) -> None:
        """See to the running jobs whose time has come."""
        now = time.monotonic()
        has_more = self.keeper is not None and len(self.running) > self.limits.slots
        if self.keeper is not None and has_more and (not self.may_claim or self.is_anyone_late(now)):
            self.pace = 1.0
            self.keeper.call_back()
        for one in self.running.values():
            if one.ended is not None or one.pid is None:
                continue
            if now >= one.deadline:
                one.deadline, one.over_limit = float("inf"), True
                one.ask_to_end(self.grace)
            if now >= one.kill_at:
                one.kill()
            if now >= one.next_look:
                one.look()
                self.look_at_time(one, now)
                if self.show:
                    one.show()

    def look_at_time(self, one: Running, now: float) -> None:
        """Tell the hooks that wait for a job to run for long."""
        if one.long_after is None:
            one.long_after = self.firing.long_after(one.task)
        while one.long_after and now - one.began >= one.long_after[0]:
            self.firing.is_long(one.task, one.long_after.pop(0))

    def is_anyone_late(self, now: float) -> bool:
        """Whether a job that was ordered ahead has waited for longer than a moment."""
        waiting = (one for one in self.running.values() if one.pid is None and not one.ended)
        return any(now - one.began > CALLED_BACK for one in waiting)

    def learn(self) -> None:
        """What others have changed in the store since the last turn."""
        if self.board is None:
            self.load()
        elif (pulse := self.store.pulse()) != self.pulse:
            self.pulse = pulse
            events = self.store.events(self.cursor)
            if events and events[0].sequence > self.cursor + 1:
                self.load()
            else:
                self.cursor = events[-1].sequence if events else self.cursor
                for uid, kind in dict.fromkeys((event.uid, event.kind) for event in events):
                    self.take_note(uid, kind)

    def load(self) -> None:
        """Read the whole queue: what waits, and what runs."""
        self.pulse = self.store.pulse()
        self.cursor = self.store.last_event()
        self.read_policy()
        self.board = Board()
        self.elsewhere.clear()
        self.later.clear()
        self.never.clear()
        names: dict[str, str] = {}
        waiting = []
        unfinished = frozenset({Status.QUEUED, Status.RUNNING, Status.SUBMITTED})
        for task in self.store.newest_first(self.query(unfinished)):
            if task.status is Status.QUEUED:
                job = Job.of(task)
                links = [(names.setdefault(uid, uid), kind) for uid, kind in job.links(task.after)]
                waiting.append((names.setdefault(task.uid, task.uid), task.number, task.priority, links, needs(job)))
            elif task.uid in self.claiming and task.data["process"].get("recorder") == self.mine:
                folder = attempt_folder(self.home, task.uid, task.attempt)
                self.called_back.append(Running(task, Job.of(task), 0, folder))
            elif task.uid not in self.running:
                self.elsewhere[task.uid] = task
        known = self.store.statuses(dict.fromkeys(uid for *_, links, _ in waiting for uid, _ in links))
        for uid, number, priority, links, what in reversed(waiting):
            self.board.add(uid, number, priority, links, known, what)
        self.next_outside = 0.0

    def query(self, statuses: frozenset[Status] = frozenset()) -> Query:
        """The jobs of this generation."""
        return Query(queue=self.queue, above=self.since, statuses=statuses)

    def read_policy(self) -> None:
        """What holds for the queue now; of one that was cleared, or made anew, nothing is for us but what runs."""
        policy = self.store.policies().get(self.queue, {})
        if self.created is None:
            self.created, self.since = policy.get("created"), policy.get("since", 0)
        if policy.get("created") != self.created:
            self.become_past()
            return
        self.policy = policy
        self.limits = limits_of(self.policy, **self.chosen)

    def become_past(self) -> None:
        """The queue is there no more, or has begun anew: take nothing more, and go as soon as what runs has ended."""
        if not self.is_past:
            self.door.complaints.append(f"queue {self.queue!r} was cleared or made anew: its worker goes")
        self.is_past = self.stopping = True
        self.presence.leave()

    def take_note(self, uid: str, kind: str) -> None:
        """One change that somebody has made."""
        assert self.board is not None
        if kind == "queue":
            if uid == self.queue:
                self.read_policy()
                self.look_again()
            return
        known = uid in self.running or uid in self.elsewhere or uid in self.board.jobs or uid in self.board.children
        if not known and (kind == "data" or not uid.startswith("queue-")):  # what a hook notes of an ended job, say
            return
        try:
            task = self.store.get(uid)
        except NoSuchTask:
            self.board.remove(uid)
            self.elsewhere.pop(uid, None)
            self.board.ended(uid, Status.LOST)
            return
        if uid in self.running:
            self.take_note_of_ours(self.running[uid], task)
        else:
            self.consider(task)

    def look_again(self) -> None:
        """Let the jobs be looked at again that would never have fitted."""
        assert self.board is not None
        for uid in self.never.keys() & self.board.jobs.keys():
            self.board.put_back(uid)
        self.never.clear()

    def take_note_of_ours(self, one: Running, task: Task) -> None:
        """Somebody has changed a job that we run: a wish, a note, or its record was closed."""
        if task.attempt != one.task.attempt or task.status is not Status.RUNNING:
            del self.running[task.uid]
            self.consider(task)
            return
        one.task = task
        if task.wish == "cancel":
            one.ask_to_end(self.grace)

    def consider(self, task: Task) -> None:
        """Let the board know how a task stands that is not run by us."""
        assert self.board is not None
        ours = task.queue == self.queue and task.number > self.since
        if ours and task.status is Status.QUEUED:
            self.elsewhere.pop(task.uid, None)
            self.enter(task)
            return
        has_waited = task.uid in self.board.jobs
        self.board.remove(task.uid)
        self.never.pop(task.uid, None)
        if task.status.is_final:
            if has_waited and task.status is Status.CANCELLED:
                self.told(task)
            if self.elsewhere.pop(task.uid, None) is not None and self.is_tried_again(task):
                return
            if task.uid in self.launched:
                self.launched.discard(task.uid)
                self.told(task)
                self.stopping = self.stopping or (self.fail_fast and task.status is not Status.COMPLETE)
            self.board.ended(task.uid, task.status)
            if ours and task.status is Status.COMPLETE and task.data.get("redacted"):
                forget_words(self.home, task.uid)
        elif ours:
            self.elsewhere[task.uid] = task

    def is_tried_again(self, task: Task) -> bool:
        """Let a job that has failed without a worker wait for its next try; False if it has none."""
        job = Job.of(task)
        if "slot" not in task.data or not self.may_be_retried(job, task):
            return False
        try:
            again = self.retry(job, task)
        except (StaleTask, NoSuchTask):
            return False  # another worker was quicker, and is heard of
        self.launched.discard(task.uid)
        self.enter(again)
        return True

    def enter(self, task: Task) -> None:
        """A job that waits, new or changed."""
        assert self.board is not None
        job = Job.of(task)
        links = job.links(task.after)
        known = self.board.jobs.get(task.uid)
        if known is not None and (known.priority, known.links, known.needs) == (task.priority, links, needs(job)):
            if task.uid in self.never:  # what it asks for may have been changed
                del self.never[task.uid]
                self.board.put_back(task.uid)
            if any(uid == task.uid for _, uid in self.later):  # its time, too
                self.later = [(at, uid) for at, uid in self.later if uid != task.uid]
                heapq.heapify(self.later)
                self.board.put_back(task.uid)
            return
        self.board.remove(task.uid)
        self.never.pop(task.uid, None)
        statuses = self.store.statuses(uid for uid, _ in links)
        self.board.add(task.uid, task.number, task.priority, links, statuses, needs(job))

    def look_outside(self) -> None:
        """How others stand: parents that are no jobs of this queue, holders of devices, jobs whose worker has gone."""
        if self.board is None or time.monotonic() < self.next_outside:
            return
        self.next_outside = time.monotonic() + OUTSIDE
        outside = {uid for uid in self.board.parents() if uid not in self.board.jobs and uid not in self.running}
        others = {*outside, *self.elsewhere, *(self.holders if self.short else ())} - self.running.keys()
        if not others:
            return
        tasks = [task for uid in others if (task := self.door.known(uid)) is not None]
        self.door.refresh_tasks([task for task in tasks if task.status in (Status.RUNNING, Status.SUBMITTED)])
        for task in tasks:
            now = self.door.known(task.uid) or task.copy(status=Status.LOST)
            if now.status is not task.status:  # what it held may be free; the store tells us of no change of our own
                self.short.clear()
            self.consider(now)
        for uid in outside - {task.uid for task in tasks}:
            self.board.ended(uid, Status.LOST)
        self.orphans.hold_to_limits(self.elsewhere)
        self.tell_waits(outside)

    def tell_waits(self, outside: Iterable[str]) -> None:
        """Say what all that is left waits for, if that is elsewhere, and has been so from one look to the next."""
        from qrec.explain import waits_outside

        is_idle = not (self.running or self.elsewhere)
        waits = waits_outside(self.door, outside) if is_idle else []
        if waits == self.waits and waits != self.told_waits:
            self.told_waits = waits
            for sentence in waits:
                self.on_wait(sentence)
        self.waits = waits

    # Writing down

    def settle(self) -> list[Task]:
        """Record the jobs that have ended, and those that run long enough to be told of; return the ended."""
        assert self.board is not None
        done = []
        now = time.monotonic()
        self.give_back()
        for one in list(self.running.values()):
            if one.ended is not None:
                task = self.close(one)
                done.append(task)
                if self.may_be_retried(one.job, task):
                    self.enter(self.retry(one.job, task))
                elif task.status.is_final:
                    self.board.ended(task.uid, task.status)
                    self.stopping = self.stopping or (self.fail_fast and task.status is not Status.COMPLETE)
            elif not one.told and one.pid is not None and now - one.began > LOOK:
                self.tell(one)
        return done

    def give_back(self) -> None:
        """Let the jobs wait again that were ordered ahead in vain."""
        for one in self.called_back:
            was, data = (Status.RUNNING, one.task.attempt), before_its_run(one.task)
            try:
                self.enter(self.store.swap(one.task.uid, was, Status.QUEUED, started=None, data=data))
            except (StaleTask, NoSuchTask):
                pass  # somebody was quicker

    def tell(self, one: Running) -> None:
        """Record the pid of a job that runs, and what surrounds it."""
        one.facts = self.surroundings(one)
        running = Status.RUNNING
        try:
            one.task = self.store.swap(one.task.uid, (running, one.task.attempt), running, pid=one.pid, facts=one.facts)
        except (StaleTask, NoSuchTask):
            pass  # whoever closed it is noticed by the event
        one.told = True

    def surroundings(self, one: Running) -> dict[str, Any]:
        """What surrounds a job; the same for all in a folder for a while."""
        from qrec.facts import surroundings

        now = time.monotonic()
        key = (one.task.pwd, *one.job.env.items())
        found = self.facts.get(key)
        if found is None or now > found[0]:
            recorder, env = self.door.recorder, {**os.environ, **one.job.env}
            facts = surroundings(one.task.pwd, env, recorder.variables, recorder.redactor)
            facts.pop("terminal", None)
            self.facts = {name: old for name, old in self.facts.items() if now <= old[0]}
            found = self.facts[key] = (now + FACTS, facts)
        return found[1]

    def close(self, one: Running) -> Task:
        """Record how a job ended; the task as it stands then: it waits again if it is to be retried."""
        assert one.ended is not None
        task, ended = one.task, one.ended
        fields = ended_fields(task, ended, limit=one.job.timeout if one.over_limit else None)
        if one.meter is not None:
            fields["usage"] |= {name: value for name, value in one.meter.close(ended).items() if value}
        if not one.told:
            fields["facts"] = one.facts = self.surroundings(one)
            fields["pid"] = one.pid
        if one.changes is not None:
            fields["facts"] = {**one.facts, **one.changes.finish(0.1)}
        fields["data"]["slot"] = one.slot
        if one.seconds:
            fields["started"] = timestamp(ended.at - one.seconds)
        status = fields.pop("status")
        if (task.wish == "cancel" or self.cancelling) and status is not Status.COMPLETE:
            status = Status.CANCELLED
        killed = oom_kills() - one.oom_kills if ended.signal == signal.SIGKILL else 0
        fields["data"] |= explained(task.copy(status=status, **fields), killed)
        kept = one.kept()
        try:
            done = self.store.swap(task.uid, (Status.RUNNING, task.attempt), status, kept=kept, known=task, **fields)
        except (StaleTask, NoSuchTask):
            return self.door.known(task.uid) or task.copy(status=Status.LOST)
        one.folded = kept is not None
        return done

    def may_be_retried(self, job: Job, task: Task) -> bool:
        """Whether a job that has failed is tried again by itself."""
        tried = task.data.get("retried", 0) < job.retries
        return task.status is Status.FAILED and tried and not (self.cancelling or self.is_past)

    def retry(self, job: Job, task: Task) -> Task:
        """The task as it waits for its next try."""
        tried = task.data.get("retried", 0)
        asked = {**task.data["job"], "at": time.time() + job.backoff * 2**tried}
        return retried(self.door.recorder, task, retried=tried + 1, job=asked)

    def put_away(self, done: Sequence[Task]) -> None:
        """Remove the files of what the store has taken over."""
        for task in done:
            one = self.running.pop(task.uid, None)
            if one is None:
                continue
            if self.show:
                one.show()
            if one.folded:
                self.folders.take_back(one.folder)
            if task.status is Status.COMPLETE:  # anything else may be tried again
                forget_words(self.home, task.uid)

    def skip(self) -> list[Task]:
        """Record the jobs that will never run, since something they depend on did not end as it should."""
        assert self.board is not None
        skipped: list[Task] = []
        why: dict[str, str] = {}
        while len(skipped) < SKIPPED_AT_ONCE and (doomed := self.board.take_doomed(SKIPPED_AT_ONCE)):
            for uid, parent in doomed.items():
                task = self.door.known(uid)
                self.board.remove(uid)
                if task is None or task.status is not Status.QUEUED:
                    continue
                why[uid] = why.get(parent) or self.reason_of(parent)
                was, data = (Status.QUEUED, task.attempt), {**task.data, "reason": why[uid]}
                skipped.append(self.store.swap(uid, was, Status.SKIPPED, data=data))
                self.board.ended(uid, Status.SKIPPED)
        return skipped

    def reason_of(self, parent: str) -> str:
        """Why nothing can come of those that depend on a parent."""
        task = self.door.known(parent)
        if task is None:
            return f"{parent} is gone"
        if task.status is Status.SKIPPED and task.data.get("reason"):
            return str(task.data["reason"])
        return f"{label(task)} {WORDS.get(task.status, task.status)}"

    # Beginning

    def claim(self) -> list[Running]:
        """Take the ready jobs that fit, by priority and age."""
        assert self.board is not None
        self.wake()
        if not self.may_claim:
            return []
        self.short.clear()
        room, ready = self.room(), self.board.take_ready(self.short)
        claimed: list[Running] = []
        while room.slots > 0 and (uid := next(ready, None)) is not None:
            found = self.fitting(uid, room)
            if found is not None and (one := self.claim_one(*found, claimed)) is not None:
                claimed.append(one)
        return claimed

    def wake(self) -> None:
        """Let the jobs be ready whose time has come."""
        assert self.board is not None
        while self.later and self.later[0][0] <= time.time():
            _, uid = heapq.heappop(self.later)
            if uid in self.board.jobs:
                self.board.put_back(uid)

    def room(self) -> Room:
        """What is left of the limits: other workers of the queue here share its CPUs and memory, but not our slots."""
        room = Room(self.limits.copy(slots=self.places))
        for one in self.running.values():
            if one.ended is None:
                room.occupy(one.job)
        for task in self.elsewhere.values():
            if task.status is Status.RUNNING and task.host == self.host:
                room.occupy(Job.of(task), slot=task.uid in self.launched or self.is_orphan_of_ours(task))
        return room

    def is_orphan_of_ours(self, task: Task) -> bool:
        """Whether a job's worker has gone, and nobody else counts its slot."""
        if not is_orphan(task):
            return False
        return not self.is_numbered or 0 <= task.data.get("slot", 0) - self.slot < self.limits.slots

    def fitting(self, uid: str, room: Room) -> tuple[Task, Job, tuple[str, ...]] | None:
        """A ready job, if it may and can begin now, with the devices for it; else it is put where it belongs."""
        assert self.board is not None
        task = self.door.known(uid)
        if task is None or task.status is not Status.QUEUED:
            self.board.remove(uid)
            return None
        job = Job.of(task)
        if job.at is not None and job.at > time.time():
            heapq.heappush(self.later, (job.at, uid))
        elif lack := self.limits.lack(job):
            self.never[uid] = lack
        else:
            if job.gpus and not room.looked:
                room.hold(self.devices_in_use())
            devices = room.take(job)
            if devices is not None:
                return task, job, devices
            self.short.add(needs(job))
            self.board.put_back(uid)
        return None

    def devices_in_use(self) -> list[str]:
        """The GPUs that any running task of this host holds, whichever queue or worker started it."""
        running = self.store.newest_first(Query(statuses=frozenset({Status.RUNNING}), host=self.host))
        holders = [task for task in running if task.data.get("gpus")]
        self.holders = [task.uid for task in holders]
        return [str(device) for task in holders for device in task.data["gpus"]]

    def claim_one(self, task: Task, job: Job, devices: tuple[str, ...], claimed: Sequence[Running]) -> Running | None:
        """Claim a job; None if another worker was quicker."""
        assert self.board is not None
        taken = {one.slot for one in (*self.running.values(), *claimed) if not one.ended}
        slot = next(number for number in range(self.slot, self.slot + len(taken) + 1) if number not in taken)
        process: dict[str, Any] = {**self.where, "recorder": self.mine}
        if task.data.get("inner", "shell") == "shell":
            keeper = self.keeper = self.keeper or Keeper()
            process["command"] = [keeper.pid, keeper.ticks]
        data = {**before_its_run(task), "process": process, "slot": slot}
        if devices:
            data["gpus"] = list(devices)
        self.board.remove(task.uid)
        self.claiming.add(task.uid)
        try:
            now = self.store.swap(
                task.uid, (Status.QUEUED, task.attempt), Status.RUNNING, known=task, started=timestamp(),
                host=self.host, data=data,
            )  # fmt: skip
        except (StaleTask, NoSuchTask):
            return None
        return Running(now, job, slot, attempt_folder(self.home, task.uid, task.attempt))

    def begin(self, claimed: Sequence[Running]) -> None:
        """Have the claimed jobs started."""
        for one in claimed:
            self.told(one.task)
            self.running[one.task.uid] = one
            one.oom_kills = self.oom_kills()
            if one.task.data.get("inner", "shell") == "shell" and not self.firing.asks(one.task):
                self.begin_here(one)
            else:
                self.begin_launch(one)

    def oom_kills(self) -> int:
        """The kernel's count of kills for want of memory, read once a look."""
        now = time.monotonic()
        if now > self.facts.get((), (0.0, {}))[0]:
            self.facts[()] = (now + LOOK, {"kills": oom_kills()})
        return int(self.facts[()][1]["kills"])

    def begin_here(self, one: Running) -> None:
        """Have the keeper start a job."""
        assert self.keeper is not None
        try:
            self.folders.give(one.folder)
            task, job = with_words(self.home, one.task, one.job)
        except (OSError, CouldNotStart) as error:
            self.could_not_begin(one, error)
            return
        env = {**job.env, "QREC_TASK": task.uid}
        if one.job.gpus or self.limits.gpus:
            env["CUDA_VISIBLE_DEVICES"] = ",".join(one.task.data.get("gpus", ()))
        words, slots = job_words(task, job), self.limits.slots
        order = Order(key=task.uid, folder=one.folder, words=words, cwd=task.pwd or "/", env=env, slots=slots)
        self.keeper.start(order)

    def could_not_begin(self, one: Running, error: Exception) -> None:
        """A job that cannot be started; the reason is its stderr."""
        from qrec.process import Ended

        one.writer = Writer(one.folder)
        one.writer.write("stderr", memoryview(f"qrec: {error}\n".encode("utf-8", "replace")))
        one.ended = Ended(returncode=CouldNotStart.exit_code, at=time.time())

    def begin_launch(self, one: Running) -> None:
        """Have a process of its own launch a job, as its command's executor does; that one records it, too."""
        from qrec.launch import launch

        try:
            make_ready(one.folder)
            launch(self.home, self.store.place, one.task)
        except (OSError, QrecError) as error:
            self.could_not_begin(one, error)
            return
        self.elsewhere[one.task.uid] = self.running.pop(one.task.uid).task
        self.launched.add(one.task.uid)


#: How an end is told of in a reason.
WORDS = {
    Status.COMPLETE: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "was cancelled",
    Status.LOST: "was lost",
    Status.SKIPPED: "was skipped",
}


class signals:
    """What a worker does with Ctrl-C and the like, as long as the `with` lasts.

    The first Ctrl-C ends the claiming, the second what runs.  A closed terminal, or SIGTERM, ends the worker alone: its
    jobs go on, and the next worker takes them over.
    """

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.before: dict[int, Any] = {}

    def __enter__(self) -> None:
        try:
            self.before = {number: signal.signal(number, self.take) for number in (signal.SIGINT, *self.LEAVE)}
        except ValueError:
            pass  # not in the main thread: then they are somebody else's

    LEAVE = (signal.SIGTERM, signal.SIGHUP)

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def take(self, number: int, _: object) -> None:
        """One signal."""
        worker = self.worker
        if number in self.LEAVE:
            worker.leaving = True
        elif not worker.interrupted:
            worker.interrupted = worker.stopping = True
            worker.on_interrupt()
        else:
            worker.cancelling = True
            for one in worker.running.values():
                worker.cancel(one)
