"""Queues in tests: jobs that leave a trace of every start, jobs that wait for the test, and workers in processes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qrec import backends
from qrec.api import Qrec
from qrec.errors import StoreError
from qrec.jobs import DEFAULT, Jobs, Submission
from qrec.stores.base import Store
from qrec.task import Status, Task
from qrec.worker import Worker
from tests.helpers import environment, wait_until

#: A worker as a process: what it is told is the one word behind; `extra` may change qrec before it works.
PROGRAM = """\
import json, os, signal, sys
from qrec.api import Qrec
from qrec.worker import Worker
import qrec.keeper, qrec.worker
how = json.loads(sys.argv[1])
door = Qrec()
worker = Worker(door, how.pop("queue"), **how)
{extra}
worker.run()
"""
CRASHED = 86  #: the code of a worker that was made to fall dead at a certain point


class Marks:
    """A folder in which jobs leave traces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def path(self, name: str) -> Path:
        return self.folder / name

    def once(self, name: str, then: str = "true") -> str:
        """A line for bash that leaves a trace of being run; see `starts`."""
        return f"echo ${{SLURM_JOB_ID:-here}}.${{SLURM_RESTART_COUNT:-0}} >>{shlex.quote(str(self.path(name)))}; {then}"

    def held(self, name: str, then: str = "true") -> str:
        """The same, and it goes on when the test says so."""
        gate = shlex.quote(str(self.path(f"{name}.gate")))
        return self.once(name, f"until [ -e {gate} ]; do sleep 0.02; done; {then}")

    def let_go(self, *names: str) -> None:
        for name in names:
            self.path(f"{name}.gate").touch()

    def starts(self, name: str) -> int:
        """How often the job of that name was run."""
        return len(self.path(name).read_text().split()) if self.path(name).exists() else 0

    def submissions(self, name: str) -> int:
        """How many jobs of Slurm have run the job of that name; Slurm may begin the same one again by itself."""
        return len({trace.split(".")[0] for trace in self.path(name).read_text().split()})

    def began(self, *names: str) -> None:
        """Waits until each of them runs."""
        for name in names:
            wait_until(lambda name=name: self.starts(name), what=f"job {name} to begin")  # type: ignore[misc]


def jobs(*submissions: Submission, queue: str = DEFAULT, **policy: Any) -> Jobs:
    """A queue of the test's home, with these jobs."""
    found = Jobs(Qrec(), queue)
    if not found.exists:
        found.create(**policy)
    found.submit_all(submissions)
    return found


def job(command: str | tuple[str, ...], name: str | None = None, **fields: Any) -> Submission:
    return Submission(command=command, name=name, **fields)


def worker(queue: Jobs, **how: Any) -> Worker:
    """A worker in this process, with a door of its own; everything but its slots is as it comes."""
    told = how.pop("told", lambda task: None)
    options = {name: how.pop(name) for name in ("fail_fast", "keep", "show", "slot") if name in how}
    return Worker(Qrec(), queue.name, chosen=how, told=told, **options)


@contextmanager
def stepping(queue: Jobs, **how: Any) -> Iterator[Stepper]:
    """A worker whose turns the test makes."""
    stepper = Stepper(worker(queue, **how))
    try:
        yield stepper
    finally:
        if stepper.worker.keeper is not None:
            stepper.worker.keeper.close()


class Stepper:
    """Makes the turns of a worker."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def turns(self, number: int) -> None:
        for _ in range(number):
            self.turn()

    def turn(self) -> None:
        self.worker.step()
        self.worker.rest()

    def until(self, condition: Callable[[], Any], what: str = "", timeout: float = 60) -> None:
        """Turn after turn until it is so."""

        def turned() -> Any:
            self.turn()
            return condition()

        wait_until(turned, timeout, what)

    def to_the_end(self, timeout: float = 60) -> None:
        self.until(self.worker.is_over, "the worker to be done", timeout)


@contextmanager
def meanwhile(queue: Jobs, backend: str, **options: Any) -> Iterator[None]:
    """The queue runs while the test looks, by a thread with a door of its own; it is waited for."""
    own, ended = Jobs(Qrec(), queue.name), []
    thread = threading.Thread(target=lambda: ended.append(backends.run(own, backend, **options)), daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join(120)
    assert ended, f"running {queue.name} on {backend} failed, or did not end"


def start_worker(started: list[subprocess.Popen[bytes]], queue: str = DEFAULT, *, extra: str = "", **how: Any) -> Any:
    """A worker in a process of its own; `how` are its arguments and what Popen takes as `popen`."""
    popen = {"start_new_session": True, "stdin": subprocess.DEVNULL, **how.pop("popen", {})}
    chosen = {name: how.pop(name) for name in ("workers", "gpus", "cpus", "mem") if name in how}
    words = [sys.executable, "-c", PROGRAM.format(extra=extra), json.dumps({"queue": queue, "chosen": chosen, **how})]
    process = subprocess.Popen(words, env=environment(popen.pop("changes", None)), **popen)
    started.append(process)
    return process


def end_all(started: list[subprocess.Popen[bytes]]) -> None:
    """Kills the workers that are left."""
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe:
                pipe.close()


def by_name(queue: Jobs) -> dict[str, Task]:
    """Every job by its name, as the store has it."""
    return {str(job.name): job for job in queue.all()}


def outcomes(queue: Jobs) -> dict[str, tuple[str, int | None]]:
    """Of every job how it stands, and its code."""
    return {name: (job.status.value, job.returncode) for name, job in by_name(queue).items()}


def find(queue: Jobs, name: str) -> Task:
    return by_name(queue)[name]


def stands(queue: Jobs, name: str, *statuses: Status) -> bool:
    return find(queue, name).status in statuses


def stdout(queue: Jobs, name: str) -> bytes:
    return queue.door.raw(find(queue, name)).read("stdout")


def stderr(queue: Jobs, name: str) -> bytes:
    return queue.door.raw(find(queue, name)).read("stderr")


def counts(queue: Jobs) -> Counter[str]:
    return Counter(queue.counts())


def nothing_is_left(home: Path) -> None:
    """No files of jobs, or for them."""
    folders = (home / "attempts", home / "incoming", home / "slurm")
    left = [path for folder in folders for path in folder.rglob("*") if path.is_file()]
    assert not left


def is_there(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return state(pid) != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pid_of(marks: Marks, name: str) -> int:
    """The pid that a job has left under this name."""
    return int(wait_until(lambda: marks.path(name).exists() and marks.path(name).read_text().strip(), what=name))


def pid_in(queue: Jobs, name: str) -> int:
    """The pid of a job as soon as it is recorded."""
    return wait_until(lambda: find(queue, name).pid or 0, what=f"{name} to be told")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def state(pid: int) -> str:
    """The letter for what a process does, as ps(1) has it."""
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def stop(pid: int, store: Store) -> None:
    """Stops a process at a moment when it does not keep others from writing to the store."""

    def is_stopped() -> bool:
        os.kill(pid, signal.SIGSTOP)
        wait_until(lambda: state(pid) == "T", what=f"{pid} to stop")
        try:
            with store.together():
                return True
        except StoreError:
            os.kill(pid, signal.SIGCONT)
            return False

    store.patience, before = 0.5, store.patience
    wait_until(is_stopped, what=f"{pid} to stop without a lock")
    store.patience = before
