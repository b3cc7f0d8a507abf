"""Which job an srun or salloc has made, or runs in.

salloc tells, and srun does where it has to wait; else the cluster is asked: while srun runs, its steps are known by its
pid; when it has ended, its job by session and time.  That happens beside the command, which never waits for it.
"""

from __future__ import annotations

import os

from qrec.errors import QrecError
from qrec.executors import sbatch, slurm_calls, slurm_jobs
from qrec.output import FOLD_LIMIT
from qrec.task import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qrec.output import Output
    from qrec.task import Task

FIRST = 0.3  #: seconds until an srun's step is looked for
LONGEST = 60.0  #: seconds between two looks at most
BESIDE = 5.0  #: seconds such a look may take: nobody waits for it
AT_END = 2.0  #: seconds the last look may take, when the command has ended


class Looker:
    """`with Looker(words) as looker`: looks for the job of an srun below this process, until it is found."""

    def __init__(self, words: Sequence[str]) -> None:
        import threading

        self.cluster = sbatch.words_of(words).options.get("clusters")
        self.jobid = given(words)
        self.over = threading.Event()

    def __enter__(self) -> Looker:
        if self.jobid is None:
            self.begin()
        return self

    def begin(self) -> None:
        """Look from a thread that takes no signals: they are for whoever looks after the command."""
        import signal
        import threading

        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            threading.Thread(target=self.look, daemon=True).start()
        except RuntimeError:
            pass  # no more threads: the last look may find it
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def __exit__(self, *_: object) -> None:
        self.over.set()

    def look(self) -> None:
        """Look at growing intervals."""
        pause = FIRST
        while self.jobid is None and not self.over.wait(pause):
            self.jobid = of_steps(os.getpid(), self.cluster)
            pause = min(pause * 2, LONGEST)


def given(words: Sequence[str]) -> str | None:
    """The job in which an srun makes a step, as its words or the environment say."""
    asked = sbatch.words_of(words)
    if asked.program != "srun":
        return None
    named = asked.options.get("jobid") or os.environ.get("SLURM_JOB_ID", "")
    return named if slurm_calls.is_jobid(named) else None


def of_steps(pid: int, name: str | None, limit: float = BESIDE) -> str | None:
    """The job of an srun that a process has started, itself or through others; None if there is none now."""
    try:
        steps = slurm_calls.call([*slurm_calls.words_for("scontrol", name), "show", "step"], limit).out
    except QrecError:
        return None
    host = os.uname().nodename
    for below in descendants(pid):
        if jobid := sbatch.job_of_srun(steps, below, host):
            return jobid
    return None


def descendants(pid: int) -> list[int]:
    """A process and all below it."""
    children: dict[int, list[int]] = {}
    for name in filter(str.isdecimal, os.listdir("/proc")):
        children.setdefault(parent_of(name), []).append(int(name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def parent_of(pid: str) -> int:
    """The id of a process's parent; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def told(output: Output) -> str | None:
    """The id that salloc, or an srun that had to wait, has told."""
    return sbatch.allocation_of(output.read("stderr", 0, FOLD_LIMIT)) or sbatch.allocation_of(
        output.read("stdout", 0, FOLD_LIMIT)  # where one terminal is for both
    )


def of_session(task: Task, began: float, ended: float, name: str | None) -> str | None:
    """The one job that was made from our session, or the command's own, between two times; None if there are more."""
    columns = "JobID:16,AllocSID:16,SubmitTime:24"
    words = [*slurm_calls.words_for("squeue", name), "--noheader", "--states=all", f"--users={os.getuid()}"]
    try:
        said = slurm_calls.call([*words, "--Format", columns], AT_END)
    except QrecError:
        return None
    sessions = {str(os.getsid(0)), str(task.pid)}
    rows = [row.split() for row in said.out.splitlines()]
    times = {row[0]: slurm_jobs.epoch(row[2]) for row in rows if len(row) == 3 and row[1] in sessions}
    found = [jobid for jobid, at in times.items() if at is not None and int(began) <= at <= ended]
    return found[0] if len(found) == 1 else None


def of_running(task: Task) -> str | None:
    """The job of an srun or salloc that runs on this machine."""
    name = sbatch.words_of(task.argv).options.get("clusters")
    return of_steps(task.pid, name) if task.pid and task.host == os.uname().nodename else None


def at_end(task: Task, printed: Output, looker: Looker, ended: float) -> str | None:
    """The job of an srun or salloc that has ended."""
    began = moment(task.started).timestamp() if task.started else ended
    return looker.jobid or told(printed) or of_session(task, began, ended, looker.cluster)
