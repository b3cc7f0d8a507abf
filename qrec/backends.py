"""Where the jobs of a queue run: under a worker here, under one that outlives us, in tmux, or on a cluster.

run(Jobs(Qrec(), "train"), "local", workers=4)
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

from qrec.errors import CouldNotStart, StoreUnwritable, WrongUsage, did_you_mean
from qrec.output import make_private
from qrec.presence import who, workers
from qrec.process import entry, send, spawn
from qrec.task import UNFINISHED, Record, Status, Task
from qrec.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from qrec.jobs import Jobs

PROGRAM = entry("qrec.cli")
PATIENCE = 30.0  #: seconds that a detached worker may take to begin
FOLLOWED = 0.1  #: seconds between two looks at what others do
LONGEST = 150  #: characters of a queue's name in the name of a file


def nobody(task: Task) -> None:
    """Whom nobody tells of a job."""


class Options(Record):
    """How the jobs of a queue are to be run; None where the queue's policy says it."""

    workers: int | None = None  #: slots
    gpus: Sequence[str] | None = None  #: names of devices; one that is there twice may be shared by two jobs
    mem: int | None = None  #: bytes
    cpus: int | None = None
    fail_fast: bool = False  #: begin nothing any more once a job did not complete
    keep: bool = False  #: stay when all have ended, and take what arrives
    show: bool = False  #: print what the jobs print
    on_fail: str = ""  #: `keep`: sessions of tmux in which a job has failed stay
    #: called with each job that has begun, has ended, or was skipped
    told: Callable[[Task], None] = staticmethod(nobody)
    on_interrupt: Callable[[], None] = staticmethod(lambda: None)  #: called at the first Ctrl-C
    #: called with a sentence on what all that is left waits for, if that is no job of the queue
    on_wait: Callable[[str], None] = staticmethod(lambda sentence: None)

    @property
    def chosen(self) -> dict[str, Any]:
        """The limits that are to hold whatever the policy says."""
        every = {"workers": self.workers, "gpus": self.gpus, "mem": self.mem, "cpus": self.cpus}
        return {name: value for name, value in every.items() if value is not None}


class Outcome(Record):
    """How a call of `run` ended."""

    interrupted: bool = False  #: by Ctrl-C
    left: bool = False  #: because it was told to go, and leave its jobs to the next
    sessions: Sequence[str] = ()  #: of tmux, in which workers were started
    never: Mapping[str, str] = {}  #: by uid, why jobs can never run here


def run(queue: Jobs, backend: str | None = None, **options: Any) -> Outcome:
    """Run the jobs of a queue until all have ended; `options` are the fields of `Options`.

    Without a backend, the one of the queue's policy.  NoSuchQueue; WrongUsage for an unknown backend.
    """
    policy = queue.policy
    name = backend or policy.get("backend") or "local"
    if name not in BACKENDS:
        raise no_backend(name)
    return BACKENDS[name](queue, Options(**options))


def no_backend(name: str) -> WrongUsage:
    """The error for a word that is no backend."""
    there = did_you_mean(name, BACKENDS, f"there are: {', '.join(BACKENDS)}")
    return WrongUsage(f"there is no backend {name!r}; {there}")


def local(queue: Jobs, options: Options) -> Outcome:
    """So many jobs at a time as there are slots, under one worker in this process."""
    while True:
        worker = Worker(
            queue.door, queue.name, chosen=options.chosen, fail_fast=options.fail_fast, keep=options.keep,
            show=options.show, told=options.told,
        )  # fmt: skip
        worker.on_interrupt, worker.on_wait = options.on_interrupt, options.on_wait
        worker.run()
        if worker.stopping or worker.leaving or not has_more(queue, worker):
            return Outcome(interrupted=worker.interrupted, left=worker.leaving, never=worker.never)


def has_more(queue: Jobs, worker: Worker) -> bool:
    """Whether a job has come that the worker did not see: whoever submitted it may still have seen the worker."""
    return queue.exists and queue.store.count(queue.query({Status.QUEUED})) > len(worker.board or ())


def serial(queue: Jobs, options: Options) -> Outcome:
    """One job after the other."""
    return local(queue, options.copy(workers=1))


def tmux(queue: Jobs, options: Options) -> Outcome:
    """In sessions of tmux, one a slot; Ctrl-C leaves them to themselves."""
    from qrec import sessions

    size = int(options.workers or queue.policy.get("workers") or 1)
    since = queue.store.last_event()
    names = sessions.start(
        queue, size, chosen=options.chosen, on_fail=options.on_fail, fail_fast=options.fail_fast, keep=options.keep
    )

    def works() -> bool:
        return sessions.is_coming(queue) or bool(workers(queue.door.home, queue.name)) or sessions.is_coming(queue)

    try:
        follow(queue, options.told, since, works)
    except KeyboardInterrupt:
        return Outcome(interrupted=True, sessions=names)
    return Outcome(sessions=names)


def slurm(queue: Jobs, options: Options) -> Outcome:
    """As jobs of Slurm; Ctrl-C leaves what was submitted to it."""
    from qrec.slurm_queue import SlurmWorker

    worker = SlurmWorker(
        queue.door, queue.name, chosen=options.chosen, fail_fast=options.fail_fast, keep=options.keep,
        told=options.told,
    )  # fmt: skip
    worker.on_wait = options.on_wait
    worker.run()
    return Outcome(interrupted=worker.interrupted, left=worker.leaving, never=worker.never)


def follow(queue: Jobs, told: Callable[[Task], None], since: int, works: Callable[[], bool]) -> None:
    """Tell of each change of a job by others, until all have ended or nobody works any more."""
    pulse: object = None
    seen: dict[str, tuple[Status, int]] = {}
    while True:
        working = works()
        if (now := queue.store.pulse()) != pulse:
            pulse = now
            for event in queue.store.events(since):
                since = event.sequence
                task = queue.door.known(event.uid) if event.kind == "status" else None
                if task and task.queue == queue.name and seen.get(task.uid) != (task.status, task.attempt):
                    seen[task.uid] = task.status, task.attempt
                    told(task)
            if not queue.store.count(queue.query(UNFINISHED)):
                return
        if not working:
            return
        time.sleep(FOLLOWED)


BACKENDS: dict[str, Callable[[Jobs, Options], Outcome]] = {
    "local": local, "serial": serial, "tmux": tmux, "slurm": slurm,
}  # fmt: skip


# A worker that outlives us


def start_detached(queue: Jobs, backend: str | None = None, **options: Any) -> int:
    """Start `qrec queue run` with a session of its own; return its pid as soon as it works.

    `options` as for `run`.  What it says goes to `log_of`.  Raises CouldNotStart, StoreUnwritable.
    """
    path = log_of(queue)
    make_file(path)
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    words = run_words(queue, backend, Options(**options))
    before = working(queue)
    try:
        pid = spawn([sys.executable, "-c", PROGRAM, *words], {0: null, 1: log, 2: log}, cwd="/", new_session=True)
    finally:
        os.close(null)
        os.close(log)
    wait_for_presence(queue, pid, before, path)
    return pid


def start_if_none(queue: Jobs) -> int | None:
    """Start a detached worker unless the queue has one; return its pid.  Of several callers, one starts it."""
    with alone(queue.door.home):
        return None if has_worker(queue) else start_detached(queue)


def has_worker(queue: Jobs) -> bool:
    """Whether somebody works for a queue; who has done so since before it was made anew is about to go."""
    made = queue.policy.get("created") or ""
    return any(about["since"] >= made for about in workers(queue.door.home, queue.name))


def run_words(queue: Jobs, backend: str | None, options: Options) -> list[str]:
    """The words behind `qrec` that do the same in another process."""
    words = ["--home", queue.door.home, "--store", queue.store.place, "queue", "run"]
    words += ["--backend", backend] if backend else []
    for name, value in options.chosen.items():
        words += [f"--{name}", ",".join(map(str, value)) if name == "gpus" else str(value)]
    words += ["--fail-fast"] * options.fail_fast + ["--keep"] * options.keep
    words += ["--on-fail", options.on_fail] if options.on_fail else []
    return [*words, "--", queue.name]


def wait_for_presence(queue: Jobs, pid: int, before: set[tuple[int, int]], log: str) -> None:
    """Wait until a worker has told that it is there, or its process has ended; CouldNotStart if it could not begin.

    It need not be that process: of tmux, those in the sessions work.
    """
    deadline = time.monotonic() + PATIENCE
    while working(queue) <= before and time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and os.waitstatus_to_exitcode(status) not in (0, 1):
            raise CouldNotStart(f"the worker has ended: {last_line(log) or 'it said nothing'}")
        if ended:
            return
        time.sleep(0.005)


def working(queue: Jobs) -> set[tuple[int, int]]:
    """The processes that work for a queue."""
    return {(about["pid"], about["ticks"]) for about in workers(queue.door.home, queue.name)}


def log_of(queue: Jobs) -> str:
    """Where a detached worker of the queue writes what it has to say."""
    from urllib.parse import quote

    name = quote(queue.name, safe=" ")
    if len(name) > LONGEST:
        import hashlib

        name = name[:LONGEST] + hashlib.sha256(queue.name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return os.path.join(queue.door.home, "workers", f"{name}.log")


def make_file(path: str) -> None:
    """Make a private file if it is not there.  Raises StoreUnwritable."""
    try:
        make_private(os.path.dirname(path))
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise StoreUnwritable(f"{path}: {error.strerror or error}") from None


def last_line(path: str) -> str:
    """The last line of a log."""
    with open(path, "rb") as file:
        lines = file.read().decode("utf-8", "replace").splitlines()
    return lines[-1].removeprefix("qrec: ") if lines else ""


@contextlib.contextmanager
def alone(home: str) -> Iterator[None]:
    """Let nobody else start a worker, or clear up behind one, meanwhile."""
    import fcntl

    path = os.path.join(home, "workers", "lock")
    make_file(path)
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


# What is left behind


def clean_up(queue: Jobs, dismiss: bool = False) -> list[str]:
    """End what is left of a queue, if all its jobs have ended and nobody works; return what that was, in words.

    With `dismiss`, workers that stay for what may come are told to go.
    """
    from qrec import sessions

    path = log_of(queue)
    with alone(queue.door.home):
        if queue.store.count(queue.query(UNFINISHED)):
            return []
        ended = [f"worker {pid}" for pid in dismissed(queue)] if dismiss else []
        if workers(queue.door.home, queue.name):
            return ended
        ended += [f"session {name}" for name in sessions.end(queue)]
        try:
            os.unlink(path)
        except OSError:
            return ended
    return [*ended, f"the log {path}"]


def dismissed(queue: Jobs) -> list[int]:
    """Tell the workers of a queue to go that were asked to stay, as far as they are on this machine; who went."""
    kept = [one for about in workers(queue.door.home, queue.name) if about.get("keep") and (one := who(about)).alive()]
    for one in kept:
        send(one.pid, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    while any(one.alive() for one in kept) and time.monotonic() < deadline:
        time.sleep(0.005)
    return [one.pid for one in kept if not one.alive()]
