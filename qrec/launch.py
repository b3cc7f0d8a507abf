"""A process that launches one job of a queue as its command's own executor does, and records it: sbatch, tmux ...

A worker has no time to wait for it, and may be killed; this process has nothing else to do.
"""

from __future__ import annotations

import os
import sys

from qrec.process import entry, spawn, start_ticks
from qrec.task import Task

PROGRAM = entry("qrec.launch")


def launch(home: str, store: str, task: Task) -> int:
    """Start the process for a task that was claimed; return its pid.  Raises CouldNotStart."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        words = [sys.executable, "-c", PROGRAM, home, store, task.uid]
        return spawn(words, {0: null, 1: null, 2: null}, new_session=True)
    finally:
        os.close(null)


def main() -> None:
    """Launch the task that is named, unless somebody has begun it."""
    from qrec.api import Qrec
    from qrec.executors.queue import Job, QueueExecutor, make_started, with_words
    from qrec.output import attempt_folder
    from qrec.recorder import Terms

    home, store, uid = sys.argv[1:4]
    door = Qrec(home, store)
    task = door.store.get(uid)
    try:  # our pid, by which others see that it goes on until we have told the store of ourselves
        line = f"{os.getpid()} {start_ticks(os.getpid()) or 0}\n".encode()
        if not make_started(attempt_folder(home, uid, task.attempt), line):
            return
    except OSError:
        return
    executor = door.executor("queue")
    assert isinstance(executor, QueueExecutor)
    given, job = with_words(home, task, Job.of(task))
    os.environ.update(job.env)
    if job.gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(task.data.get("gpus", ()))
    if task.pwd:
        os.chdir(task.pwd)
    os.environ["QREC_TASK"] = uid
    terms = Terms(show=False, take_signals=True, timeout=job.timeout, argv=given.argv if given is not task else None)
    executor.launch(task, terms, known=True)
