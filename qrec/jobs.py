"""A queue as the command line, the dashboard and a user's script hold it: submit, look, change, and have it run.

A queue is a name, a policy (how many slots, which GPUs, what goes before every job), and the recorded tasks that were
put into it since it was made.  Nothing here runs a job; that is a worker's (worker.py).
"""

from __future__ import annotations

import os
import time

from qrec.errors import DuplicateJob, NoSuchJob, NoSuchQueue, NoSuchTask, Refused, StoreError, WrongUsage, did_you_mean
from qrec.executors.queue import (
    BROUGHT,
    PRIVATE,
    Job,
    QueueExecutor,
    bash,
    label,
    leave_words,
    queue_line,
    retried,
    with_words,
)
from qrec.executors.shell import SHELL_CHARACTERS
from qrec.graph import cycle, ordered
from qrec.spool import forget_words
from qrec.stores.base import Bundle, Query
from qrec.task import FINAL, UNFINISHED, Record, Status, Task, new_uid, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from qrec.api import Qrec

DEFAULT = "default"  #: the queue that is meant where none is named
#: What a policy may hold.
POLICY = ("workers", "gpus", "mem", "cpus", "preamble", "cwd", "env", "paused", "backend", "since", "created", "size")
#: What may be changed of a job that waits.
EDITABLE = ("priority", "message", "tags", "command", "after", "job", "pwd", "name")
AT_ONCE = 2_000  #: jobs that are handed to the store together
LONGEST_NAME = 200  #: characters of a queue's name


class Submission(Record):
    """A job as it is asked for."""

    command: str | tuple[str, ...]  #: one text is a program's name, or a line for bash; several words are executed
    name: str | None = None
    depends: tuple[str, ...] = ()  #: jobs of the queue by name, or any task; they have to complete
    depends_any: tuple[str, ...] = ()  #: these have to end, however
    depends_failed: tuple[str, ...] = ()  #: of these, one has to end other than complete
    priority: int = 0  #: the higher, the sooner
    retries: int = 0
    backoff: float = 0.0  #: seconds
    timeout: float | None = None  #: seconds
    cpus: int | None = None
    mem: int | None = None  #: bytes
    gpus: int = 0
    cwd: str | None = None
    env: Mapping[str, str] = {}
    preamble: tuple[str, ...] = ()
    setup: str = ""
    teardown: str = ""
    at: float | None = None  #: seconds since the epoch
    message: str = ""
    tags: tuple[str, ...] = ()
    log: bool = True
    slurm: Mapping[str, Any] = {}
    notify: bool = False  #: tell of its end
    if_absent: bool = False  #: not when the same command already waits or runs in the queue


def whole(least: int) -> tuple[Callable[[Any], bool], str]:
    """Whole numbers that a store can keep."""
    told = "a whole number" + (f" from {least}" if least >= 0 else "")
    return lambda value: type(value) is int and least <= value < HIGHEST, told


def is_number(value: Any) -> bool:
    """Whether something is a number of seconds; of those since the epoch, one that a calendar has."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < LATEST


def is_text(value: Any) -> bool:
    """Whether something can be a word of a command: bytes without NUL are behind it."""
    try:
        return isinstance(value, str) and b"\0" not in value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False


def are_texts(value: Any) -> bool:
    """Whether something is any number of texts."""
    return isinstance(value, (tuple, list)) and all(map(is_text, value))


def are_named(value: Any) -> bool:
    """Whether something has values by their names."""
    return isinstance(value, dict) and all(map(is_text, value))


def are_variables(value: Any) -> bool:
    """Whether something can be the variables of a process."""
    return are_named(value) and all(name and "=" not in name and is_text(said) for name, said in value.items())


HIGHEST = 1 << 63
LATEST = 250_000_000_000  #: in the year 9892
#: What the parts of a submission have to be, and how that is called.
PARTS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("name", "cwd", "setup", "teardown", "message"), (is_text, "text")),
    **dict.fromkeys(("depends", "depends_any", "depends_failed", "preamble", "tags"), (are_texts, "a list of texts")),
    **dict.fromkeys(("backoff", "timeout", "at"), (is_number, "a number of seconds")),
    **dict.fromkeys(("log", "notify", "if_absent"), (lambda value: isinstance(value, bool), "true or false")),
    "priority": whole(-HIGHEST), "retries": whole(0), "gpus": whole(0), "mem": whole(0), "cpus": whole(1),
    "env": (are_variables, "an object of variables, each a text"), "slurm": (are_named, "an object of options"),
}  # fmt: skip


def check_parts(parts: Mapping[str, Any]) -> None:
    """Refuse what no worker could read, be it of a new job or a changed one; None is what is not said.  WrongUsage."""
    for name, value in parts.items():
        if name in PARTS and value is not None and not PARTS[name][0](value):
            raise WrongUsage(f"{name!r} is {PARTS[name][1]}, not {shown(value)}")


def shown(value: Any) -> str:
    """A value in a message."""
    return repr(value)[:200]


class Jobs:
    """The jobs of one queue.

    queue = Jobs(Qrec(), "train")
    prep = queue.submit(Submission(command="make data"))
    queue.submit(Submission(command=("python", "train.py"), depends=(prep.uid,)))
    """

    def __init__(self, door: Qrec, name: str = DEFAULT) -> None:
        if not name or "\0" in name or len(name) > LONGEST_NAME:
            raise WrongUsage(f"{name[:50]!r} cannot be the name of a queue")
        self.door = door
        self.store = door.store
        self.name = name
        self._names: tuple[int, dict[str, str]] | None = None  # of the jobs, as of an event

    # The queue

    @property
    def exists(self) -> bool:
        """Whether the queue was made."""
        return self.name in self.store.policies()

    @property
    def policy(self) -> dict[str, Any]:
        """What holds for the queue.  NoSuchQueue if it was never made."""
        policies = self.store.policies()
        if self.name not in policies:
            raise NoSuchQueue(self.name, list(policies))
        return policies[self.name]

    def create(self, *, clear: bool = False, spare: bool = False, **policy: Any) -> None:
        """Make the queue; with `clear` anew, without the jobs it has: those that wait are cancelled.

        Those that run are a reason to refuse; with `spare` they go on, though not as jobs of the new queue.
        """
        with self.store.together():
            if self.exists and not clear:
                raise Refused(f"there is a queue {self.name!r} already; --clear makes it anew")
            if self.exists:
                self.empty(spare)
            since = self.store.highest_number()
            self.store.set_policy(self.name, {**self.checked(policy), "since": since, "created": timestamp()})

    def empty(self, spare: bool = False) -> None:
        """Cancel what waits; refuse if anything runs, unless that is to be spared."""
        running = [job for job in self.unfinished() if job.status is not Status.QUEUED]
        if running and not spare:
            ends = queue_line("cancel", self.name)
            raise Refused(f"{label(running[0])} is {running[0].status}; {ends} ends it first")
        for job in self.unfinished():
            if job.status is Status.QUEUED:
                self.executor.cancel(job)

    def set(self, **policy: Any) -> dict[str, Any]:
        """Change a part of the policy, also while the queue runs; None takes a part away."""
        with self.store.together():
            now = {**self.policy, **self.checked(policy)}
            now = {name: value for name, value in now.items() if value is not None}
            self.store.set_policy(self.name, now)
        return now

    def checked(self, policy: Mapping[str, Any]) -> dict[str, Any]:
        """A policy's parts.  WrongUsage, also for a secret: what holds for a queue is kept as it is said."""
        for line in policy.get("preamble") or ():
            if self.door.redactor.words((line,))[1]:
                raise WrongUsage("the preamble holds a secret, which no queue keeps; set it where the worker runs")
        return checked(policy)

    def forget(self) -> None:
        """Forget the queue: what waits is cancelled, and what has ended stays recorded."""
        with self.store.together():
            self.policy  # noqa: B018  (it must be there)
            self.empty()
            self.store.set_policy(self.name, None)

    @property
    def executor(self) -> QueueExecutor:
        """The executor of queues."""
        found = self.door.executor("queue")
        assert isinstance(found, QueueExecutor)
        return found

    # Looking

    def query(self, statuses: Iterable[Status] = ()) -> Query:
        """The jobs of this generation."""
        return Query(queue=self.name, above=self.policy.get("since", 0), statuses=frozenset(statuses))

    def all(self) -> list[Task]:
        """Every job, oldest first."""
        return self.store.find(self.query())

    def unfinished(self) -> list[Task]:
        """The jobs that have not ended, oldest first."""
        return self.store.find(self.query(UNFINISHED))

    def counts(self) -> dict[str, int]:
        """How many jobs have which status; nothing of those that none has."""
        every = list(self.store.standing(self.query()).values())
        return {status.value: count for status in Status if (count := every.count(status))}

    def refresh(self) -> None:
        """Learn how the jobs stand whose worker has gone."""
        self.door.recorder.take_in()
        self.door.refresh_tasks(self.store.find(self.query({Status.RUNNING, Status.SUBMITTED})))

    def find(self, reference: str) -> Task:
        """A job by its name, its number, or its uid's beginning.  NoSuchJob."""
        query = self.query()
        for job in self.store.newest_first(query.copy(name=reference)):
            return job
        try:
            job = self.store.resolve(reference)
        except NoSuchTask:
            raise NoSuchJob(self.name, reference, self.names()) from None
        if not query.matches(job):
            raise NoSuchJob(self.name, reference, self.names())
        return job

    # Submitting

    def submit(self, job: Submission) -> Task:
        """Put one job into the queue."""
        return self.store.get(self.submit_all([job])[0])

    def submit_all(self, jobs: Sequence[Submission]) -> list[str]:
        """Put jobs into the queue, all or none, and return their uids; they may depend on each other in any order.

        Raises NoSuchJob for an unknown dependency, DuplicateJob, or Refused for a cycle and for what can never run.
        """
        for job in jobs:
            check_parts(vars(job))
        with self.store.together():
            if not self.exists:
                self.create()
            intake = Intake(self, jobs)
            try:
                uids = intake.add()
            except BaseException:
                intake.forget_words(intake.uids)
                raise
            if intake.read_names and uids == intake.uids:
                self._names = self.store.last_event(), intake.names
            return uids

    # Changing

    def pause(self) -> None:
        """Let no more jobs begin."""
        self.set(paused=True)

    def resume(self) -> None:
        """Let jobs begin again."""
        self.set(paused=None)

    def cancel(self, jobs: Sequence[Task] | None = None) -> list[Task]:
        """End jobs; all that have not ended if none are named.  What waits goes first, so that nothing follows."""
        chosen = self.unfinished() if jobs is None else list(jobs)
        chosen.sort(key=lambda job: (job.status is not Status.QUEUED, -job.number))
        return [self.door.executor(job.executor).act("cancel", job) for job in chosen if not job.status.is_final]

    def retry(self, jobs: Sequence[Task] | None = None) -> list[Task]:
        """Let ended jobs wait again, with all that was skipped because of them; all that did not complete if none."""
        with self.store.together():
            every = self.all()
            chosen = {job.uid for job in (every if jobs is None else jobs)}
            if jobs is not None:
                chosen |= below(chosen, [job for job in every if job.status is Status.SKIPPED])
            again = [job for job in every if job.uid in chosen and job.status in FINAL - {Status.COMPLETE}]
            named = {job.uid for job in jobs or ()}
            again += [job for job in every if job.uid in named and job.status is Status.COMPLETE]
            return [retried(self.door.recorder, job, retried=0) for job in again]

    def edit(self, job: Task, *, depends: Mapping[str, Any] | None = None, **fields: Any) -> Task:
        """Change a job that waits: `command`, `name`, `pwd`, `priority`, `message`, `tags`, or parts of its `Job`.

        `depends` holds the dependencies that it shall have instead, by their names in a Submission.
        """
        check_parts(fields)
        own = {name: fields.pop(name) for name in list(fields) if name in EDITABLE}
        with self.store.together():
            job = self.store.get(job.uid)
            if job.status is not Status.QUEUED:
                raise Refused(f"{label(job)} is {job.status}; only a job that waits can be edited")
            intake = Intake(self, [Submission(command="", **(depends or {}))])
            if depends is not None:
                own["after"], links = self.other_links(job, intake)
                fields |= links
            asked = {**job.data.get("job", {}), **fields}
            data = {**job.data, "job": {name: value for name, value in asked.items() if value is not None}}
            if "command" in own or any(name in fields for name in PRIVATE):
                own["argv"], data = self.other_words(job, data, own.pop("command", None), fields, intake)
            if (name := own.get("name")) is not None and name != job.name and name in self.names():
                raise DuplicateJob(self.name, name)
            check_fits(self.policy, label(job), Job(**data["job"]))
            return self.store.swap(job.uid, (job.status, job.attempt), job.status, data=data, **own)

    def other_links(self, job: Task, intake: Intake) -> tuple[tuple[str, ...], dict[str, Any]]:
        """The dependencies that an intake's job names, for a job that is here already.  Refused for a cycle."""
        asked = intake.jobs[0]
        ok, either, failed = (intake.parents(filter(None, words))
                              for words in (asked.depends, asked.depends_any, asked.depends_failed))  # fmt: skip
        after = tuple(dict.fromkeys((*ok, *either, *failed)))
        others = self.unfinished()
        check_cycles(
            {**{one.uid: one.after for one in others}, job.uid: after}, {one.uid: label(one) for one in others}
        )
        return after, {"any": either or None, "failed": failed or None}

    def other_words(
        self,
        job: Task,
        data: dict[str, Any],
        command: str | tuple[str, ...] | None,
        fields: Mapping[str, Any],
        intake: Intake,
    ) -> tuple[tuple[str, ...], dict[str, Any]]:
        """A job's words and notes with another command, other variables or other steps, secrets left out."""
        given, known = with_words(self.door.home, job, Job.of(job))
        argv, parts = given.argv, {name: fields.get(name, getattr(known, name)) for name in PRIVATE}
        if job.data.get("redacted") and "env" in fields:
            parts["env"] = {**known.env, **self.changed(fields["env"], Job.of(job).env)}
        if command is not None:
            argv, data["inner"], data["shell"] = self.words(command)
        shown, parts, count = intake.without_secrets(job.uid, argv, parts)
        others = {name: value for name, value in data["job"].items() if name not in PRIVATE}
        data["job"] = {**others, **{name: value for name, value in parts.items() if value}}
        data["redacted"] = count or None
        return shown, {name: value for name, value in data.items() if value is not None}

    def changed(self, now: Mapping[str, str], before: Mapping[str, str]) -> dict[str, str]:
        """The variables that differ."""
        return {name: value for name, value in now.items() if before.get(name) != value}

    def words(self, command: str | tuple[str, ...]) -> tuple[tuple[str, ...], str, str | None]:
        """A command's words, the executor it matches, and the shell it needs, if any."""
        argv = (command,) if isinstance(command, str) else tuple(command)
        self.check_command(argv)
        shell = bash() if len(argv) == 1 and set(argv[0]) & SHELL_CHARACTERS else None
        import shlex

        inner = self.door.pick_executor(argv[0] if shell else shlex.join(argv))
        return argv, inner, shell

    def check_command(self, command: str | tuple[str, ...]) -> None:
        """Raise WrongUsage for a command that is none."""
        words = (command,) if isinstance(command, str) else command
        if not all(map(is_text, words)):
            raise WrongUsage(f"a command consists of texts, without NULs, not of {shown(words)}")
        if not words or (len(words) == 1 and not words[0].strip()):
            raise WrongUsage("there is no command; write `qrec queue submit [QUEUE] -- COMMAND...`")

    def names(self) -> dict[str, str]:
        """The uid of every job that has a name.

        They are read again only after a change that is not ours: of many submits, each needs them.
        """
        last, known = self.store.last_event(), self._names
        self._names = None  # whoever adds to them gives them back
        return known[1] if known is not None and known[0] == last else self.store.job_names(self.query())


class Intake:
    """Jobs on their way into a queue; made and used while nobody else writes."""

    def __init__(self, queue: Jobs, jobs: Sequence[Submission]) -> None:
        self.queue = queue
        self.store = queue.store
        self.jobs = jobs
        self.policy = queue.policy
        self.uids = [new_uid("queue") for _ in jobs]
        self.read_names = any(self.needs_names(job) for job in jobs)
        self.names = self.store_names()
        self.resolved: dict[str, list[str]] = {}
        brought = {name: os.environ[name] for name in BROUGHT if name in os.environ}
        self.env = {**brought, **self.policy.get("env", {})}
        self.alike = self.what_is_alike()

    def what_is_alike(self) -> dict[str, Any]:
        """What the records of all the jobs have in common."""
        from qrec.api import user
        from qrec.process import here

        folder = self.policy.get("cwd")
        return {
            "pwd": os.path.realpath(folder) if folder else here(), "user": user(), "host": os.uname().nodename,
            "created": timestamp(), "queue": self.queue.name,
        }  # fmt: skip

    def store_names(self) -> dict[str, str]:
        """The uid of every name, those of the new jobs included.  DuplicateJob."""
        names = self.queue.names() if self.read_names else {}
        for job, uid in zip(self.jobs, self.uids, strict=True):
            if job.name is None:
                continue
            if job.name in names:
                raise DuplicateJob(self.queue.name, job.name)
            if not job.name or "\0" in job.name:
                raise WrongUsage(f"{job.name!r} cannot be the name of a job")
            names[job.name] = uid
        return names

    def needs_names(self, job: Submission) -> bool:
        """Whether the names in the queue matter to a job."""
        return job.name is not None or bool(job.depends or job.depends_any or job.depends_failed)

    def add(self) -> list[str]:
        """Add them, all or none, and return their uids; of what is present already, the uid that it has."""
        for job in self.jobs:
            self.check(job)
        links = [tuple(map(self.parents, (job.depends, job.depends_any, job.depends_failed))) for job in self.jobs]
        parents = {uid: [one for kind in each for one in kind] for uid, each in zip(self.uids, links, strict=True)}
        names = (job.name or str(job.command) for job in self.jobs)
        check_cycles(parents, dict(zip(self.uids, names, strict=True)))
        present = self.present() if any(job.if_absent for job in self.jobs) else {}
        uids: list[str] = []
        batch: list[Bundle] = []
        turn = time.time_ns() // 1000
        for number, (job, uid) in enumerate(zip(self.jobs, self.uids, strict=True)):
            task = self.task(job, uid, turn + number, links[number])
            known = present.get((task.command, task.pwd)) if job.if_absent else None
            uids.append(uid if known is None else known)
            if known is not None:
                self.forget_words([uid])
                continue
            batch.append(Bundle(task=task))
            if len(batch) == AT_ONCE:
                self.put(batch)
        self.put(batch)
        return uids

    def put(self, batch: list[Bundle]) -> None:
        """Add some; alone, a job is the one that a person has started last."""
        if len(self.jobs) == 1 and batch:
            self.store.add(batch[0].task)
        else:
            self.store.add_all(batch)
        batch.clear()

    def check(self, job: Submission) -> None:
        """Refuse what cannot be run, before anything is written."""
        self.queue.check_command(job.command)
        if (job.setup or job.teardown) and self.policy.get("backend") != "slurm":
            inner = self.queue.words(job.command)[1]
            if inner != "shell":  # it is the executor's to start, and to end
                raise Refused(f"a setup or teardown cannot go around what {inner} runs; write it into the command")
        if (job.cpus or job.mem or job.gpus) and not job.slurm:
            check_fits(self.policy, job.name or "the job", Job(cpus=job.cpus, mem=job.mem, gpus=job.gpus))

    def present(self) -> dict[tuple[str, str], str]:
        """The uids of what waits or runs, by command and folder."""
        return {(job.command, job.pwd): job.uid for job in self.queue.unfinished()}

    def task(self, job: Submission, uid: str, turn: int, links: tuple[list[str], ...]) -> Task:
        """The record of a job that waits."""
        from qrec.api import notes_for_hooks, unique

        argv, inner, shell = self.queue.words(job.command)
        env = {**self.env, **job.env} if job.env else self.env
        ok, either, failed = links
        data: dict[str, Any] = {"inner": inner, **({"shell": shell} if shell else {}), **notes_for_hooks(job.notify)}
        steps = [*self.policy.get("preamble", ()), *job.preamble]
        parts = {"env": env, "preamble": steps, "setup": job.setup, "teardown": job.teardown}
        shown, parts, count = self.without_secrets(uid, argv, parts)
        if count:
            data["redacted"] = count
        asked: dict[str, Any] = {"any": either, "failed": failed, **parts}
        asked = {name: value for name, value in asked.items() if value}
        asked |= {name: value for name in ALIKE if (value := getattr(job, name)) != getattr(Job, name)}
        alike = {**self.alike, "pwd": os.path.realpath(job.cwd)} if job.cwd else self.alike
        return Task(
            uid=uid, executor="queue", argv=shown, turn=turn, message=job.message, tags=unique(job.tags),
            status=Status.QUEUED, name=job.name, after=tuple(dict.fromkeys((*ok, *either, *failed))),
            priority=job.priority, data={**data, "job": asked}, **alike,
        )  # fmt: skip

    def without_secrets(
        self, uid: str, argv: tuple[str, ...], parts: dict[str, Any]
    ) -> tuple[tuple[str, ...], dict[str, Any], int]:
        """Words and `PRIVATE` parts as they may be recorded; where secrets are left out, a private file keeps them."""
        redactor = self.queue.door.redactor
        shown, count = redactor.words(argv)
        env = parts["env"]
        secret = {name: value for name, value in env.items() if name not in BROUGHT}
        shown_env = {**env, **redactor.variables(secret)} if secret else env
        count += sum(shown_env[name] != value for name, value in env.items())
        steps, more = self.steps_without_secrets(parts)
        count += more
        if count:
            try:
                leave_words(self.queue.door.home, uid, argv, parts)
            except OSError as error:
                raise Refused(f"its secrets cannot be kept for the worker: {error.strerror}") from None
        return shown, {"env": shown_env, **steps}, count

    def steps_without_secrets(self, parts: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        """What goes before and after a job, lines for bash, as it may be recorded; and how many secrets there were."""
        lines = [*parts["preamble"], parts["setup"] or "", parts["teardown"] or ""]
        found = [self.queue.door.redactor.words((line,)) if line else ((line,), 0) for line in lines]
        *preamble, setup, teardown = (words[0] for words, _ in found)
        count = sum(count for _, count in found)
        return {"preamble": preamble, "setup": setup, "teardown": teardown}, count

    def forget_words(self, uids: Iterable[str]) -> None:
        """Remove what was kept for a worker of jobs that do not come in."""
        for uid in uids:
            forget_words(self.queue.door.home, uid)

    def parents(self, references: Iterable[str]) -> list[str]:
        """The uids of those that a job depends on."""
        found = []
        for reference in references:
            if reference not in self.resolved:
                self.resolved[reference] = list(self.resolve(reference))
            found += self.resolved[reference]
        return found

    def resolve(self, reference: str) -> Iterator[str]:
        """The tasks of a word: a job's name, else any task; else several, with commas between them."""
        if reference in self.names:
            yield self.names[reference]
            return
        try:
            yield self.store.resolve(reference).uid
            return
        except StoreError as error:
            if "," not in reference.strip(","):
                unknown = NoSuchJob(self.queue.name, reference, self.names)
                raise unknown if isinstance(error, NoSuchTask) else error from None
        for part in reference.split(","):
            if part:
                yield from self.resolve(part)


#: What a submission and a job call by the same name.
ALIKE = tuple("timeout retries backoff cpus mem gpus at log slurm".split())


def check_fits(policy: Mapping[str, Any], name: str, job: Job) -> None:
    """Refuse what no worker of the queue can ever run, as far as its policy tells."""
    if not (job.cpus or job.mem or job.gpus) or job.slurm or policy.get("backend") == "slurm":
        return
    from qrec.limits import limits_of

    limits = limits_of(policy)
    gpus = job.gpus if limits.gpus else 0  # `queue run --gpus` may still name some
    if lack := limits.lack(job.copy(gpus=gpus)):
        raise Refused(f"{name} can never run: {lack}")


def check_cycles(parents: Mapping[str, Iterable[str]], names: Mapping[str, str]) -> None:
    """Refuse jobs that wait for each other."""
    if round_ := cycle(parents):
        raise Refused("these jobs wait for each other: " + " after ".join(names[uid] for uid in round_))


def checked(policy: Mapping[str, Any]) -> dict[str, Any]:
    """A policy's parts.  WrongUsage."""
    if unknown := set(policy) - set(POLICY):
        name = sorted(unknown)[0]
        raise WrongUsage(f"a queue has no {name!r}; {did_you_mean(name, POLICY, 'it has: ' + ', '.join(POLICY))}")
    workers = policy.get("workers")
    if workers is not None and workers < 1:
        raise WrongUsage("a queue has one slot at least; `qrec queue pause` lets nothing begin")
    return dict(policy)


def below(chosen: Iterable[str], jobs: Sequence[Task]) -> set[str]:
    """Those of some jobs that depend on chosen ones, directly or through others of them."""
    found = set(chosen)
    parents = {job.uid: job.after for job in jobs}
    for uid in ordered(parents):
        if any(parent in found for parent in parents[uid]):
            found.add(uid)
    return found - set(chosen)


def queues(door: Qrec) -> list[Jobs]:
    """Every queue, by name."""
    return [Jobs(door, name) for name in sorted(door.store.policies())]
