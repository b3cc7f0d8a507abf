"""Queues for scripts, spoken to as cmd_queue is: its scripts run with `import qrec as cmd_queue`.

    queue = qrec.Queue.create(backend="tmux", name="demo", size=4)
    first = queue.submit("make data")
    queue.submit("make model", depends=[first], name="model")
    queue.print_graph()
    state = queue.run()

What is submitted is recorded at once, so any terminal sees it.  `Jobs` (jobs.py) does the work, and raises what is
wrong with a submission; here is only what cmd_queue calls things, and what it expects to be there: files of a job's
output, say, which are written when somebody asks for them.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
import zlib
from pathlib import Path

from qrec import backends
from qrec.api import Qrec
from qrec.drawing import network_text
from qrec.errors import DuplicateJob, NoSuchTask, NotOnThisMachine, QrecError, Refused
from qrec.executors.queue import Job as Asked
from qrec.executors.queue import queue_line, with_words
from qrec.graph import OK
from qrec.jobs import Jobs, Submission
from qrec.presence import workers
from qrec.queue_job import Job, plain, show, write
from qrec.queue_words import (
    BACKENDS,
    EVERY,
    HANDLERS,
    KINDS,
    LOCAL,
    MONITORS,
    NOTHING,
    OPTIONS,
    SBATCH,
    SERIAL,
    SLURM,
    TMUX,
    DuplicateJobError,
    UnknownBackendError,
    UnknownJobError,
    bytes_of,
    epoch,
    heed,
    listed,
    sbatch_calls,
    seconds_of,
    slurm_options,
    text_of,
    texts,
    variables_of,
    warn,
    whole_of,
)
from qrec.script import commands, script
from qrec.task import UNFINISHED, Status, Task, moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import Any, TypeAlias

    #: What may be depended on.
    Parent: TypeAlias = "Job | Task | str"

UNNAMED = "unnamed"  #: what a queue is called whose script does not care
MADE_LATELY = 3600.0  #: seconds for which an empty queue is taken to be somebody's who is about to fill it
PATIENCE = 60.0  #: seconds that jobs and workers have to end
LOOKED = 0.05  #: seconds between two looks at them
ANSWER = 10.0  #: seconds in which Slurm tells whether it is there
SHOWN = 20  #: lines of each job's output in an overview


class Queue:
    """Jobs that depend on each other, and what runs them: see `create`, `submit` and `run`."""

    def __init__(self, core: Jobs, backend: str, dpath: str | os.PathLike[str] | None = None, rootid: str = "") -> None:
        self.core = core
        self.backend = backend
        self.rootid = rootid or root_of(core)
        self.pathid = f"{plain(core.name)}_{self.rootid}"
        self.dpath = Path(dpath) if dpath is not None else cache() / self.pathid
        self.environ: dict[str, str] = {}
        self.preamble: list[str] = []
        self.gpus: list[str] = []
        self.cwd: str | None = None
        self.shared: dict[str, Any] = {}  #: options of sbatch and the like that hold for all jobs
        self.jobs: list[Job] = []
        self.named_jobs: dict[str, Job] = {}
        self.known: dict[str, Job] = {}  #: the jobs by uid
        self.num_real_jobs = 0  #: without those that only keep the books
        self.all_depends: list[Job] | None = None
        self.unused_kwargs: dict[str, Any] = {}
        self.has_run = False

    @classmethod
    def create(
        cls,
        backend: str = SERIAL,
        name: str | None = None,
        size: int | None = None,
        gpus: Any = None,
        environ: Mapping[str, Any] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        preamble: str | Iterable[str] | None = None,
        dpath: str | os.PathLike[str] | None = None,
        *,
        gres: Any = None,
        rootid: str = "",
        home: str | None = None,
        store: str | None = None,
        other_session_handler: str = "auto",
        **options: Any,
    ) -> Queue:
        """A new queue, or a new generation of the one of that name, whose waiting jobs are cancelled.

        `size` is the number of jobs at a time (tmux, local).  `gpus` names devices, each for one job at a time unless
        it is named twice; a job that does not say gets one.  `environ`, `cwd` and `preamble` are for every job.
        `dpath` is where scripts and logs are written.  Options of sbatch are those of every job of a slurm queue.
        Jobs of that name that still run are ended (`other_session_handler` "kill"), left alone ("ignore"), or the user
        is asked ("ask"); "auto" asks where there is a terminal, and otherwise ends them.
        """
        refuse_unknown(backend, other_session_handler)
        if size is not None and size < 1 and backend in (TMUX, LOCAL):
            raise ValueError(f"a queue has one slot at least, not {size}")
        heed(options, (*OPTIONS, *SBATCH, *NOTHING["create"]), cls.create)
        door = Qrec(home, store)
        variables = {str(key): str(value) for key, value in (environ or {}).items()}
        devices = texts(gres if gpus is None else gpus, split=True) if backend != SLURM else []
        limits = {key: options[key] for key in ("cpus", "mem") if options.get(key) and backend != SLURM}
        policy = {
            "backend": backend, "workers": size if backend in (TMUX, LOCAL) else None, "gpus": devices,
            "cwd": os.path.realpath(cwd) if cwd else None, "preamble": texts(preamble), "cpus": limits.get("cpus"),
            "env": unsecret(door, variables), "mem": bytes_of(limits.get("mem")),
        }  # fmt: skip
        core = begun(door, name, other_session_handler, {key: value for key, value in policy.items() if value})
        queue = cls(core, backend, dpath, rootid)
        queue.environ, queue.preamble, queue.gpus = variables, texts(preamble), devices
        queue.cwd = str(policy["cwd"]) if cwd else None
        if backend == SLURM:
            queue.shared = {**options, **({} if gpus is None else {"gpus": gpus}), **({"gres": gres} if gres else {})}
        queue.unused_kwargs = dict(options)
        return queue

    @classmethod
    def open(
        cls,
        name: str,
        backend: str | None = None,
        dpath: str | os.PathLike[str] | None = None,
        *,
        home: str | None = None,
        store: str | None = None,
    ) -> Queue:
        """The queue of that name, with the jobs it has.  NoSuchQueue."""
        core = Jobs(Qrec(home, store), name)
        policy = core.policy
        chosen = backend or policy.get("backend") or SERIAL
        refuse_unknown(chosen)
        queue = cls(core, chosen, dpath)
        queue.environ, queue.cwd = dict(policy.get("env", {})), policy.get("cwd")
        queue.preamble, queue.gpus = list(policy.get("preamble", ())), list(map(str, policy.get("gpus", ())))
        queue.take_in()
        return queue

    def take_in(self) -> None:
        """Learn of the jobs that others have submitted."""
        for task in self.core.all():
            if task.uid not in self.known:
                job = Job.of(task, self)
                own = job.kwargs.get("preamble", [])
                if own[: len(self.preamble)] == self.preamble:
                    job.kwargs["preamble"] = own[len(self.preamble) :]
                self.keep(job)
                links = Asked.of(task).links(task.after)
                job.depends = [self.known.get(uid) or self.outside(uid) for uid, kind in links if kind == OK]

    def outside(self, uid: str) -> Job:
        """Something that a job waits for and that is no job of this queue."""
        task = self.core.door.known(uid)
        return Job(None, uid).bound(self, task or Task(uid=uid, executor="queue", argv=()))

    # What it is

    @property
    def name(self) -> str:
        """What it is called."""
        return self.core.name

    @property
    def size(self) -> int:
        """How many jobs run at a time; may be changed while they do."""
        return 1 if self.backend == SERIAL else int(self.core.policy.get("workers") or 1)

    @size.setter
    def size(self, count: int) -> None:
        if count < 1:
            raise ValueError(f"a queue has one slot at least, not {count}")
        self.core.set(workers=count)

    def __len__(self) -> int:
        return self.num_real_jobs

    def __repr__(self) -> str:
        return f"<Queue({self.name} on {self.backend} - {len(self)})>"

    @staticmethod
    def available_backends() -> list[str]:
        """The backends that can be used on this machine."""
        return [name for name in EVERY if is_there(name)]

    def is_available(self) -> bool:
        """Whether the queue's backend can be used on this machine."""
        return is_there(self.backend)

    @property
    def fpath(self) -> Path:
        """The script that `write` writes."""
        return self.dpath / f"{self.pathid}.sh"

    @property
    def job_info_dpath(self) -> Path:
        """The folder of the jobs' logs and the like."""
        return self.dpath / f"{self.pathid}.jobs"

    log_dpath = job_info_dpath

    # Submitting

    def submit(self, command: str | Job, name: str | None = None, depends: Any = None, **options: Any) -> Job:
        """Put a job into the queue: a line for bash.

        `depends` are jobs, names of jobs, or any recorded tasks, all of which have to complete.  Options: `cwd`,
        `environ`, `preamble`, `setup`, `teardown`, `log`, `tags`, `cpus`, `gpus`, `mem` (megabytes, or "8GB"), `begin`
        (seconds from now), and those of sbatch for a slurm queue; of qrec `depends_any`, `depends_failed`, `priority`,
        `retries`, `backoff` and `timeout` (seconds, or "90s"), `at`, `message`.  Unknown ones are passed over with a
        warning.

        KeyError for an unknown dependency and for a name that is taken, WrongUsage for a value that an option cannot
        have; nothing is submitted then.
        """
        if isinstance(command, Job):
            job = command
        elif isinstance(command, str):
            heed(options, (*OPTIONS, *SBATCH), self.submit)
            job = Job(command, name, depends, **options)
        else:
            raise TypeError(f"a command is a text or a Job, not {type(command).__name__}")
        if job.queue is not None:
            raise DuplicateJobError(job.queue.name, str(job.name))
        if job.name is not None:
            return self.put_in([job])[0]
        while True:
            job.name = self.free_name()
            try:
                return self.put_in([job])[0]
            except DuplicateJobError:  # somebody else has taken it meanwhile
                self.take_in()

    def free_name(self) -> str:
        """A name for a job that was given none."""
        number = self.num_real_jobs
        while (name := f"{self.name}-job-{number}") in self.named_jobs:
            number += 1
        return name

    def put_in(self, jobs: Sequence[Job]) -> list[Job]:
        """Record jobs that have names, all or none; each may depend on those before it."""
        new: dict[str, Job] = {}
        for job in jobs:
            name = str(job.name)
            if ":" in name and self.backend != SLURM:
                raise ValueError(f"{name!r} cannot be the name of a job: it has a colon")
            if name in self.named_jobs or name in new:
                raise DuplicateJobError(self.name, name)
            job.depends = self.parents([*(self.all_depends or ()), *job.depends], new)
            new[name] = job
        self.settle_preamble()
        try:
            uids = self.core.submit_all([self.submission(job, new) for job in jobs])
        except DuplicateJob as error:
            raise DuplicateJobError(self.name, next((name for name in new if repr(name) in str(error)), "")) from None
        for job, uid in zip(jobs, uids, strict=True):
            self.keep(job.bound(self, self.core.store.get(uid)))
        return list(jobs)

    def keep(self, job: Job) -> None:
        """Remember a job that is in the queue."""
        self.jobs.append(job)
        self.named_jobs[str(job.name)] = self.known[job.uid] = job
        self.num_real_jobs += not job.bookkeeper

    def parents(self, references: Iterable[Parent | None], new: Mapping[str, Job] | None = None) -> list[Job]:
        """The jobs that are meant, once each.  UnknownJobError."""
        found = (self.parent(one, new or {}) for one in references if one is not None)
        return list({id(job): job for job in found}.values())

    def parent(self, one: Parent, new: Mapping[str, Job]) -> Job:
        """A job: itself, by its name here, or by number or uid of any recorded task."""
        if isinstance(one, Job):
            if not one.uid and one not in new.values():
                raise Refused(f"the job {one.name or one.command!r} was not submitted yet, so nothing can wait for it")
            return one
        if not isinstance(one, (str, Task)):
            raise TypeError(f"a dependency is a job, its name or a recorded task, not {type(one).__name__}")
        word = one if isinstance(one, str) else one.uid
        if word in new or word in self.named_jobs:
            return new.get(word) or self.named_jobs[word]
        known = next(self.core.store.newest_first(self.core.query().copy(name=word)), None)
        if known is None and re.fullmatch(r"\d+|[a-z_]+-[0-9a-f-]+", word):
            try:
                known = self.core.store.resolve(word)
            except NoSuchTask:
                pass
        if known is None:
            raise UnknownJobError(self.name, word)
        return self.known.get(known.uid) or Job.of(known, self)

    def submission(self, job: Job, new: Mapping[str, Job]) -> Submission:
        """A job in the words of `Jobs`."""
        said = {**self.shared, **job.kwargs}
        setup, is_slurm = texts(said.get("setup")), self.backend == SLURM
        return Submission(
            command=str(job.command), name=job.name, depends=references(job.depends),
            depends_any=references(self.parents(listed(said.get("depends_any")), new)),
            depends_failed=references(self.parents(listed(said.get("depends_failed")), new)),
            priority=0 if is_slurm else whole_of(said.get("priority") or 0), cpus=whole_of(said.get("cpus")),
            retries=whole_of(said.get("retries") or 0), backoff=seconds_of(said.get("backoff") or 0),
            timeout=seconds_of(said.get("timeout")),
            mem=bytes_of(said.get("mem")), gpus=self.count_gpus(said.get("gpus")), cwd=text_of(said.get("cwd")),
            env={**self.environ, **variables_of(said.get("environ"))},
            preamble=(*texts(said.get("preamble")), *setup[:-1]), setup=setup[-1] if setup else "",
            teardown="\n".join(texts(said.get("teardown"))),
            at=epoch(said.get("at") or (None if is_slurm else said.get("begin"))),
            message=said.get("message") or "", tags=tuple(job.tags or ()),
            slurm=slurm_options(said) if is_slurm else {},
        )  # fmt: skip

    def count_gpus(self, said: Any) -> int:
        """How many GPUs a job asks for: one, where the queue has some and the job does not say."""
        count = said if isinstance(said, int) else len(texts(said, split=True))
        if self.backend == SLURM or self.gpus:
            return int(bool(self.gpus) if said is None else count)
        if count:
            warn("gpus= is passed over: the queue has none; name them in Queue.create(gpus=[0, 1])")
        return 0

    def sync(self) -> Queue:
        """Let all that is submitted from now on wait for all that is there."""
        followed = {id(parent) for job in self.jobs for parent in job.depends}
        self.all_depends = [job for job in self.jobs if id(job) not in followed]
        return self

    def add_preamble_command(self, command: str | Iterable[str]) -> None:
        """Have a command executed before each job, also before those that wait already."""
        self.preamble += texts(command)
        self.settle_preamble()

    add_header_command = add_preamble_command

    @property
    def header_commands(self) -> list[str]:
        """What is executed before each job."""
        return self.preamble

    def settle_preamble(self) -> None:
        """Let the queue and its waiting jobs have the preamble as it is now."""
        before = list(self.core.policy.get("preamble", ()))
        if before == self.preamble:
            return
        with self.core.store.together():
            self.core.set(preamble=list(self.preamble))
            for task in self.core.store.find(self.core.query({Status.QUEUED})):
                own = list(with_words(self.core.door.home, task, Asked.of(task))[1].preamble)
                own = own[len(before) :] if own[: len(before)] == before else own
                self.core.edit(task, preamble=[*self.preamble, *own])

    def change_backend(self, backend: str, **options: Any) -> Queue:
        """Another queue with the same jobs, none of which has run; this one stays as it is."""
        if gone := [job for job in self.jobs if job.lacks_secrets()]:
            raise Refused(f"secrets of the job {gone[0].name!r} are not known any more; submit it anew")
        home, place = self.core.door.home, self.core.store.place
        common = {
            "environ": self.environ, "preamble": self.preamble, "cwd": self.cwd, "size": self.size,
            "gpus": self.gpus or None, "home": home, "store": place,
        }  # fmt: skip
        name = options.pop("name", None) or unused_name(self.core.door, f"{self.name}-{backend}")
        other = Queue.create(backend, name, **{**common, **options})
        other.put_in([self.copy_of(job) for job in self.jobs])
        return other

    def copy_of(self, job: Job) -> Job:
        """A job for another queue, with its dependencies by the names that their copies have, or else by uid."""
        kinds = {"depends": job.depends, **{kind: self.parents(listed(job.kwargs.get(kind))) for kind in KINDS}}
        words = {kind: [self.word_of(one) for one in several] for kind, several in kinds.items()}
        return Job(job.command, job.name, **{**job.kwargs, **words})

    def word_of(self, job: Job) -> str:
        """By what a copy of the queue knows a job: one of ours by its name."""
        return str(job.name) if job.uid in self.known else job.uid

    # Looking

    def tasks(self, exclude_tags: str | Iterable[str] | None = None) -> list[Task]:
        """The records of all jobs, oldest first; without those that have one of these tags, and links to them."""
        every = self.core.all()
        excluded = set(texts(exclude_tags))
        gone = {task.uid for task in every if excluded & set(task.tags)}
        return [without_links(task, gone) if gone else task for task in every if task.uid not in gone]

    def print_graph(self, reduced: bool = True, vertical_chains: bool = False) -> None:
        """Draw what waits for what; reduced, without the links that follow from others."""
        print(f"\nGraph{' (reduced)' if reduced else ''}:")
        print(network_text(self.core.all(), reduced, vertical_chains))

    def write_network_text(self, reduced: bool = True, rich: Any = "auto", vertical_chains: bool = False) -> None:
        """The same."""
        self.print_graph(reduced, vertical_chains)

    def print_commands(
        self,
        with_status: Any = False,
        with_gaurds: Any = False,
        with_locks: Any = True,
        exclude_tags: str | Iterable[str] | None = None,
        style: str = "colors",
        **options: Any,
    ) -> None:
        """Print the commands with their numbers and names; with status or guards, the script that runs them.

        In colours if there is a terminal for them and the style is not "plain".
        """
        heed(options, ("colors", "with_rich"), self.print_commands)
        if style == "auto" or "colors" in options:
            style = "colors" if options.get("colors") else "plain"
        self.settle_preamble()
        if with_status or with_gaurds:
            text = f"# --- {self.fpath}\n{self.finalize_text(exclude_tags=exclude_tags)}"
        elif self.backend == SLURM:
            text = "\n".join(sbatch_calls(self.tasks(exclude_tags)))
        else:
            text = commands(self.tasks(exclude_tags))
        show(text, style)

    rprint = print_commands

    def finalize_text(
        self,
        with_status: Any = True,
        with_gaurds: Any = True,
        with_locks: Any = True,
        exclude_tags: str | Iterable[str] | None = None,
        **ignored: Any,
    ) -> str:
        """A bash script that runs the jobs without qrec, whatever has become of them here; see script.py."""
        self.settle_preamble()
        tasks = self.tasks(exclude_tags)
        own = {task.uid for task in tasks}
        outside = {uid: self.core.door.known(uid) for task in tasks for uid in task.after if uid not in own}
        known = {uid: task for uid, task in outside.items() if task is not None}
        if any(task.data.get("redacted") for task in tasks):
            warn("secrets are left out of the script: the jobs that have some will not run as they should")
        kind = self.backend if self.backend in BACKENDS else SERIAL
        return script(tasks, self.core.policy, self.name, kind, known)

    def write(self) -> Path:
        """Write that script to `fpath`, and return its path."""
        write(self.fpath, [self.finalize_text().encode("utf-8", "surrogateescape")], 0o700)
        return self.fpath

    def read_state(self) -> dict[str, Any]:
        """`{name, status, passed, failed, skipped, total}`; status is `init`, `run`, `done`, or `stopped` in between.

        Lost jobs have failed, cancelled ones were skipped.
        """
        self.core.refresh()
        counts = self.core.counts()
        for job in self.jobs:
            if job.bookkeeper:
                counts[job.status] -= 1
        passed, failed, skipped = (sum(counts.get(word, 0) for word in words) for words in COUNTED)
        total = sum(counts.values())
        return {
            "name": self.name, "status": self.state_word(counts, passed + failed + skipped, total), "passed": passed,
            "failed": failed, "skipped": skipped, "total": total,
        }  # fmt: skip

    def state_word(self, counts: Mapping[str, int], ended: int, total: int) -> str:
        """How the queue stands as a whole."""
        if ended == total and (total or self.has_run):
            return "done"
        if counts.get("running", 0) + counts.get("submitted", 0) or self.is_worked_on():
            return "run"
        return "stopped" if ended else "init"

    def is_worked_on(self) -> bool:
        """Whether anybody runs its jobs."""
        return bool(workers(self.core.door.home, self.name))

    def current_output(self, lines: int = SHOWN) -> None:
        """Print the end of what each job has printed that has begun."""
        for job in self.jobs:
            path = job.log_fpath
            if not path.exists():
                continue
            print(f"--- {job.name} [{job.status}]")
            print(*path.read_text("utf-8", "replace").splitlines()[-lines:], sep="\n")

    capture = job_details = current_output

    # Running

    def run(
        self,
        block: Any = True,
        *,
        onfail: str = "",
        onexit: str = "",
        other_session_handler: str = "auto",
        monitor: str = "hybrid",
        system: Any = False,
        verbose: int = 3,
        fail_fast: bool = False,
        **ignored: Any,
    ) -> Any:
        """Run what has not run, and return `read_state()` when all has ended; see `create` for other sessions.

        What has completed is not repeated.  With block=False the jobs run on by themselves, and nothing is returned.
        A serial queue shows what its jobs print, unless verbose=0.  onfail="keep": sessions of tmux with a failed job
        stay.  `fail_fast`: nothing begins any more once a job has failed.  onexit="capture" prints the end of what
        each job has printed.  A failed job raises nothing; Ctrl-C raises KeyboardInterrupt, and a second one ends what
        runs.
        """
        heed(ignored, NOTHING["run"], self.run)
        if other_session_handler not in HANDLERS:
            raise KeyError(other_session_handler)
        if monitor not in MONITORS:
            raise ValueError(f"monitor={monitor!r} is none of {', '.join(MONITORS)}")
        if not self.is_available():
            raise NotOnThisMachine(f"the backend {self.backend} is not available on this machine")
        self.settle_preamble()
        self.has_run = True
        how = {"fail_fast": fail_fast or (self.backend == SLURM and onfail == "kill")}
        if self.core.store.count(self.core.query(UNFINISHED)):
            if not block:
                self.start(onfail, **how)
                return None
            is_shown = bool(self.backend == SERIAL and (system or verbose))
            told = nobody if is_shown or not verbose else tell
            self.conclude(backends.run(self.core, self.backend, show=is_shown, on_fail=onfail, told=told, **how))
        if onexit == "capture":
            self.current_output()
        return self.read_state() if block else None

    def start(self, onfail: str, fail_fast: bool) -> None:
        """Have the jobs run by others than us."""
        if self.backend == TMUX:
            from qrec import sessions

            sessions.start(self.core, self.size, chosen={}, on_fail=onfail, fail_fast=fail_fast)
        else:
            backends.start_detached(self.core, self.backend, fail_fast=fail_fast)

    def conclude(self, outcome: backends.Outcome) -> None:
        """Say what has to be said after a run, and end as whoever ended it wants."""
        door = self.core.door
        for uid, why in outcome.never.items():
            task = door.known(uid)
            door.complaints.append(f"{task.name or task.number if task else uid} can never run here: {why}")
        for complaint in door.complaints:
            print(f"qrec: {complaint}", file=sys.stderr)
        door.complaints.clear()
        if outcome.interrupted:
            raise KeyboardInterrupt
        if outcome.left:
            signal.raise_signal(signal.SIGTERM)

    def monitor(self, *ignored: Any, **options: Any) -> dict[str, Any]:
        """Wait until all jobs have ended, or nobody runs them any more; return `read_state()`."""
        heed(options, (*NOTHING["run"], "onfail", "onexit"), self.monitor)
        backends.follow(self.core, tell, self.core.store.last_event(), self.goes_on)
        return self.read_state()

    def goes_on(self) -> bool:
        """Whether something runs, or may begin."""
        if self.is_worked_on():
            return True
        self.core.refresh()
        return bool(self.core.store.count(self.core.query({Status.RUNNING, Status.SUBMITTED})))

    def kill(self) -> None:
        """End all that runs, and take what waits out of the queue."""
        self.core.refresh()
        self.core.cancel()
        if self.backend == TMUX:
            from qrec import sessions

            sessions.end(self.core)


#: Which statuses count as passed, failed and skipped.
COUNTED = (("complete",), ("failed", "lost"), ("skipped", "cancelled"))


# To begin


def refuse_unknown(backend: str, handler: str = "auto") -> None:
    """Raise UnknownBackendError or KeyError for words that name none."""
    if backend not in EVERY:
        raise UnknownBackendError(f"there is no backend {backend!r}; there are: {', '.join(EVERY)}")
    if handler not in HANDLERS:
        raise KeyError(handler)


def begun(door: Qrec, name: str | None, handler: str, policy: Mapping[str, Any]) -> Jobs:
    """A fresh generation of a queue."""
    if not name:
        with door.store.together():
            core = Jobs(door, unused_name(door, UNNAMED))
            core.create(clear=True, **policy)
            return core
    core = Jobs(door, str(name))
    if core.exists and is_busy(core) and handler != "ignore":
        end_others(core, handler)
    core.create(clear=True, spare=handler == "ignore", **policy)
    return core


def unused_name(door: Qrec, stem: str) -> str:
    """The first of NAME, NAME-2, NAME-3 ... that no queue has in which somebody is interested."""
    policies, number, name = door.store.policies(), 1, stem
    while name in policies and is_wanted(Jobs(door, name), policies[name]):
        number += 1
        name = f"{stem}-{number}"
    return name


def is_wanted(core: Jobs, policy: Mapping[str, Any]) -> bool:
    """Whether a queue has jobs that have not ended, or was made a while ago to be filled."""
    if core.store.count(core.query(UNFINISHED)):
        return True
    is_new = time.time() - moment(policy["created"]).timestamp() < MADE_LATELY if policy.get("created") else False
    return is_new and not core.store.count(core.query())


def is_busy(core: Jobs) -> bool:
    """Whether jobs of a queue run, or a worker is there that is not meant to stay."""
    core.refresh()
    if core.store.count(core.query({Status.RUNNING, Status.SUBMITTED})):
        return True
    return any(not worker.get("keep") for worker in workers(core.door.home, core.name))


def end_others(core: Jobs, handler: str) -> None:
    """End the jobs that run in a queue of the same name, if the user agrees.  Refused."""
    is_asked = handler == "ask" or (handler == "auto" and sys.stdin is not None and sys.stdin.isatty())
    if is_asked and not agrees(f"The queue {core.name!r} is still at work. End its jobs? [y/N] "):
        raise Refused(f"the queue {core.name!r} is still at work; choose another name, or end it first")
    core.cancel()
    deadline = time.monotonic() + PATIENCE
    while is_busy(core):
        if time.monotonic() > deadline:
            raise Refused(f"the jobs of the queue {core.name!r} do not end; see {queue_line('show', core.name)}")
        time.sleep(LOOKED)


def agrees(question: str) -> bool:
    """Ask the user; nobody there is a no."""
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def is_there(backend: str) -> bool:
    """Whether a backend can be used on this machine."""
    import shutil

    if backend == TMUX:
        return shutil.which("tmux") is not None
    if backend != SLURM:
        return True
    if shutil.which("sbatch") is None:
        return False
    from qrec.executors import slurm_calls

    try:
        slurm_calls.act(["sinfo", "--noheader"], ANSWER)
    except (QrecError, OSError):
        return False
    return True


# What is said of queues and jobs


def references(jobs: Iterable[Job]) -> tuple[str, ...]:
    """By what `Jobs` knows them: those that come with them have no uid yet."""
    return tuple(job.uid or str(job.name) for job in jobs)


def without_links(task: Task, gone: Collection[str]) -> Task:
    """A job that does not wait for certain others."""
    asked = dict(task.data.get("job", {}))
    for kind in {"any", "failed"} & asked.keys():
        asked[kind] = [uid for uid in asked[kind] if uid not in gone]
    after = tuple(uid for uid in task.after if uid not in gone)
    return task.copy(after=after, data={**task.data, "job": asked})


def unsecret(door: Qrec, variables: dict[str, str]) -> dict[str, str]:
    """The variables that may be written down for all to see who may see the queue."""
    shown = door.redactor.variables(variables) if variables else {}
    return {name: value for name, value in variables.items() if shown[name] == value}


# Files and the terminal


def cache() -> Path:
    """Where scripts and logs are written if nobody says where: all of it can be made again."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return Path(base if os.path.isabs(base) else os.path.expanduser("~/.cache")) / "qrec" / "queues"


def root_of(core: Jobs) -> str:
    """What tells a generation of a queue from others: the day it was made, and some letters."""
    policy = core.policy
    who = f"{core.store.place}\0{core.name}\0{policy.get('since')}"
    return f"{policy.get('created', '')[:10]}_{zlib.crc32(who.encode('utf-8', 'surrogateescape')):08x}"


def nobody(task: Task) -> None:
    """Whom nobody tells of a job."""


def tell(task: Task) -> None:
    """Tell a user who sits at a terminal how a job has ended."""
    if task.status.is_final and sys.stderr.isatty():
        print(f"[{task.name or task.number}][{task.status}]", file=sys.stderr)


__all__ = ["DuplicateJobError", "Job", "Queue", "UnknownBackendError", "UnknownJobError"]
