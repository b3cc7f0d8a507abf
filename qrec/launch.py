"""A process that launches one job of a queue as its command's own executor does, and records it: sbatch, tmux ...

A worker has no time to wait for it, and may be killed; this process has nothing else to do.
"""

from __future__ import annotations

import os
import sys

from qrec.process import entry, spawn, start_ticks
from qrec.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM = entry("qrec.launch")
MOST_TOLD = 64 << 10  #: bytes of what a preamble has said that are kept if it fails
OF_SHELL = (b"_", b"SHLVL", b"PWD", b"OLDPWD")  #: what is about a shell itself


def launch(home: str, store: str, task: Task) -> int:
    """Start the process for a task that was claimed; return its pid.  Raises CouldNotStart."""
    null = os.open(os.devnull, os.O_RDWR)
    try:
        words = [sys.executable, "-c", PROGRAM, home, store, task.uid]
        return spawn(words, {0: null, 1: null, 2: null}, new_session=True)
    finally:
        os.close(null)


#: Runs the steps of a preamble, and tells on the descriptor that its first word names what has become of the variables.
STEPS = 'qrec_told=$1; shift; for qrec_step; do eval "$qrec_step" || exit; done; env -0 >&"$qrec_told"'
#: Ends as a preamble that has failed did, having said what it said.
FAILED = 'printf %s "$2" >&2; exit "$1"'


def prepare(preamble: Sequence[str]) -> tuple[str, ...] | None:
    """Run a preamble in a shell, and take over its variables: what is launched is no part of that shell.

    Returns a command that fails as the preamble did, if it did.
    """
    import subprocess
    import tempfile

    from qrec.executors.queue import bash

    with tempfile.TemporaryFile() as told:
        words = [bash(), "-c", STEPS, "qrec-job", str(told.fileno()), *preamble]
        done = subprocess.run(
            words, pass_fds=[told.fileno()], check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        if done.returncode:
            code = done.returncode if done.returncode > 0 else 128 - done.returncode
            return ("/bin/sh", "-c", FAILED, "qrec-job", str(code), os.fsdecode(done.stdout[-MOST_TOLD:]))
        told.seek(0)
        variables = [line.partition(b"=") for line in told.read().split(b"\0") if line]
    for name in os.environb.keys() - {name for name, _, _ in variables}:
        del os.environb[name]
    os.environb.update({name: value for name, _, value in variables if name not in OF_SHELL})
    return None


def main() -> None:
    """Launch the task that is named, unless somebody has begun it."""
    from qrec.api import Qrec
    from qrec.errors import RefusedByHook
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
    is_apart = task.data.get("inner", "shell") != "shell"  # else its shell runs the preamble
    failure = prepare(job.preamble) if job.preamble and is_apart else None
    if failure is not None:
        door.recorder.record(task, failure, Terms(show=False, take_signals=True), known=True)
        return
    terms = Terms(show=False, take_signals=True, timeout=job.timeout, argv=given.argv if given is not task else None)
    try:
        task = door.asked(task)
    except RefusedByHook as error:
        door.recorder.refuse(task, error, known=True)
        return
    executor.launch(task, terms, known=True)
