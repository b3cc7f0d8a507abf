"""Jobs of a queue: recorded tasks that wait for others, each run as the executor of its own command would have it.

A worker claims a job and has a keeper start it (worker.py, keeper.py).  What is here belongs to one job: its words and
environment, how it stands once its worker has gone, and what can be done with it.
"""

from __future__ import annotations

import os

from qrec.errors import CouldNotStart, NoSuchTask, Refused, StaleTask
from qrec.executors.base import action
from qrec.executors.shell import ShellExecutor, words_to_run
from qrec.output import attempt_folder, file_size, listed, make_private, private
from qrec.process import end_family, start_ticks
from qrec.recorder import runs, without_process
from qrec.shim import shim_process
from qrec.spool import private_words
from qrec.task import MATCHED, UNFINISHED, Record, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, ClassVar

    from qrec.executors.base import Executor
    from qrec.output import Output
    from qrec.recorder import Recorder, Terms

#: Runs a command between what prepares it and what clears up after it: `bash -c WRAPPED qrec-job COMMAND TEARDOWN
#: STEP...`.  A step that fails ends all.  The command is in a shell of its own, so that its `exit` ends nothing else,
#: and beside this one, which could not hear a signal while it waits for what is in the foreground; a signal is passed
#: on to all of the job, and the rest still happens.  The second `wait` is for the code of a command that took the
#: signal; bash tells -1 if it has learned of its end in the meantime, and the first one knew then.
WRAPPED = """\
qrec_command=$1 qrec_teardown=$2; shift 2
for qrec_step; do eval "$qrec_step" || exit; done
set --
qrec_finish() { qrec_code=$?; trap - EXIT; (eval "$qrec_teardown"); exit "$qrec_code"; }
qrec_pass() { trap : HUP INT QUIT TERM; kill -s "$1" 0; }
trap qrec_finish EXIT
for qrec_step in HUP INT QUIT TERM; do trap "qrec_pass $qrec_step" "$qrec_step"; done
(trap - INT QUIT; eval "$qrec_command") &
qrec_job=$!
wait "$qrec_job"; qrec_told=$?
[ "$qrec_told" -le 128 ] || { wait "$qrec_job"; qrec_last=$?; [ "$qrec_last" -lt 0 ] || qrec_told=$qrec_last; }
exit "$qrec_told"
"""
#: What `started` holds where a claim is being given back: nobody has begun it.
GIVEN_BACK = b"given back\n"
#: What may hold secrets, beside the words.
PRIVATE = ("env", "preamble", "setup", "teardown")
#: The variables of whoever submits that a job sees, beside those of its worker.
BROUGHT = ("PATH", "VIRTUAL_ENV", "CONDA_PREFIX")
#: What belongs to one execution of a job and not to the next.
OF_ONE_RUN = ("process", "slot", "gpus", "reason", "interrupted", "slurm", "submission")


class Job(Record):
    """What was asked for when a job was submitted: a view of its task's notes."""

    any: Sequence[str] = ()  #: those of `after` that only have to end
    failed: Sequence[str] = ()  #: those of `after` of which one has to end other than complete
    env: Mapping[str, str] = {}
    preamble: Sequence[str] = ()  #: commands that go before it, in its shell
    setup: str = ""
    teardown: str = ""
    timeout: float | None = None  #: seconds
    retries: int = 0
    backoff: float = 0.0  #: seconds before the first retry; twice as many before each that follows
    cpus: int | None = None
    mem: int | None = None  #: bytes
    gpus: int = 0
    at: float | None = None  #: not before, in seconds since the epoch
    log: bool = True  #: whether its output is shown by a worker that shows output
    slurm: Mapping[str, Any] = {}  #: options of sbatch by their long names

    @classmethod
    def of(cls, task: Task) -> Job:
        """What was asked for of a task."""
        asked = task.data.get("job", {})
        return cls(**{name: value for name, value in asked.items() if name in cls._fields})

    def asked(self) -> dict[str, Any]:
        """What differs from the defaults, as it is kept in a task's notes: in the types of JSON."""
        asked = {name: value for name, value in self.asdict().items() if value != getattr(Job, name)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asked.items()}

    def links(self, after: Sequence[str]) -> list[tuple[str, str]]:
        """Each parent with the kind of its link."""
        if not (self.any or self.failed):
            return [(uid, "ok") for uid in after]
        kinds = {**dict.fromkeys(after, "ok"), **dict.fromkeys(self.any, "any"), **dict.fromkeys(self.failed, "failed")}
        return list(kinds.items())


def job_words(task: Task, job: Job) -> tuple[str, ...]:
    """What is executed for a job here."""
    words = words_to_run(task)
    steps = [*job.preamble, *([job.setup] if job.setup else [])]
    if not (steps or job.teardown):
        return words
    command = task.argv[0] if "shell" in task.data else f"exec -- {task.command}"
    return (bash(), "-c", WRAPPED, "qrec-job", command, job.teardown, *steps)


def queue_line(verb: str, *words: str) -> str:
    """What somebody may type to do something to a queue, quoted in a sentence."""
    import shlex

    return f"`qrec queue {verb} {shlex.join(words)}`"


def label(task: Task) -> str:
    """What a job is called in a sentence."""
    return task.name or f"task {task.number}"


def bash() -> str:
    """The shell for the lines of a queue: bash, else sh."""
    for path in ("/bin/bash", "/usr/bin/bash"):
        if os.path.exists(path):
            return path
    import shutil

    return shutil.which("bash") or "/bin/sh"


def has_begun(folder: str) -> bool:
    """Whether somebody has begun to run the job of an attempt's folder."""
    try:
        with open(os.path.join(folder, "started"), "rb") as file:
            return file.read() != GIVEN_BACK
    except OSError:
        return False


def mark_given_back(folder: str) -> bool:
    """Keep everybody from beginning what an attempt's folder is for; False if somebody has begun.  Raises OSError."""
    return make_started(folder, GIVEN_BACK) or not has_begun(folder)


def make_started(folder: str, words: bytes) -> bool:
    """Make an attempt's `started`, whole or not at all; False if it is there.  Raises OSError."""
    fresh = os.path.join(folder, f"started.{os.getpid()}")
    with open(fresh, "wb", opener=private) as file:
        file.write(words)
    try:
        os.link(fresh, os.path.join(folder, "started"))
    except FileExistsError:
        return False
    finally:
        os.unlink(fresh)
    return True


def make_ready(folder: str) -> None:
    """Make an attempt's folder, or take it over from who gave the claim back.  Raises OSError."""
    make_private(folder)
    if not has_begun(folder):
        try:
            os.unlink(os.path.join(folder, "started"))
        except FileNotFoundError:
            pass


def is_orphan(task: Task) -> bool:
    """Whether whoever has claimed a job to run it here, or looks after it, is gone.

    What another scheduler runs has nobody here who could go: its submission has ended, and no process is noted.
    """
    is_claimed = task.status is Status.RUNNING and {"slot", "process"} <= task.data.keys()
    return is_claimed and runs(task, "recorder") is False


class QueueExecutor(ShellExecutor):
    """Jobs of queues."""

    name: ClassVar[str] = "queue"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._inner: dict[str, Executor] = {}

    def inner(self, task: Task) -> Executor | None:
        """The executor that the job's command matches; None for the shell, whose ways are our own."""
        name = task.data.get("inner", "shell")
        if name == "shell":
            return None
        if name not in self._inner:
            from qrec.registry import Registry

            self._inner[name] = Registry(self.recorder.home).executor(name)(self.recorder)
            self._inner[name].shown = self.shown
        return self._inner[name]

    def check_rerun(self, task: Task) -> None:
        """See Executor."""
        as_far_as_known(self.recorder.home, task, Job.of(task))

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """Run a job here and now, as `rerun` does; see Executor."""
        inner = self.inner(task)
        if inner is not None:
            return inner.launch(task, terms, known)
        given = task if terms.argv is None else task.copy(argv=terms.argv)
        job = as_far_as_known(self.recorder.home, task, Job.of(task))
        words = job_words(given, job)
        if job.env:
            words = ("env", *(f"{name}={value}" for name, value in job.env.items()), *words)
        start = self.recorder.send_off if terms.detach else self.recorder.record
        return start(task, words, terms, known)

    def printed(self, task: Task) -> Output:
        """See Executor."""
        inner = self.inner(task)
        return inner.printed(task) if inner else super().printed(task)

    # How it stands

    def refresh(self, tasks: Sequence[Task]) -> Mapping[str, Task]:
        """See Executor: each kind as its own executor does it."""
        kinds: dict[str, list[Task]] = {}
        for task in tasks:
            kinds.setdefault(task.data.get("inner", "shell"), []).append(task)
        changed: dict[str, Task] = {}
        for some in kinds.values():
            begun = [now for was in some if (now := self.if_begun(was, changed)) is not None]
            inner = self.inner(some[0])
            changed.update(inner.refresh(begun) if inner else super().refresh(begun))
        return changed

    def if_begun(self, task: Task, changed: dict[str, Task]) -> Task | None:
        """The task, unless nobody ever began to run what a dead worker had claimed: then it waits again.

        What was on its way to Slurm is for the worker to find there.
        """
        if "submitting" in task.data:
            return None
        if not self.is_forsaken(task):
            return None if self.is_untold(task) else task
        now = self.give_back(task)
        if now is not task:
            changed[task.uid] = now
        return None if now is not task else task

    def is_forsaken(self, task: Task) -> bool:
        """Whether a job's worker died before anybody began to run it."""
        return is_orphan(task) and not has_begun(attempt_folder(self.recorder.home, task.uid, task.attempt))

    def is_untold(self, task: Task) -> bool:
        """Whether a job goes on of which the store knows nobody who runs it.

        Its launcher has still to tell of itself, or its keeper was killed before it told the job's pid.
        """
        if task.status is not Status.RUNNING or "slot" not in task.data:
            return False
        if runs(task, "recorder") is not False or runs(task, "command") is not False:
            return False
        folder = attempt_folder(self.recorder.home, task.uid, task.attempt)
        if self.inner(task) is not None:
            return (pair := shim_process(folder)) is not None and start_ticks(pair[0]) == pair[1]
        return file_size(os.path.join(folder, "started")) == 0 and has_processes(task.uid)

    def give_back(self, task: Task) -> Task:
        """Let a job wait again that was claimed and never begun; return it as it stands.

        Whoever creates `started` first wins: the keeper, which may still hear of it, or we.
        """
        folder = attempt_folder(self.recorder.home, task.uid, task.attempt)
        make_private(folder)
        if not mark_given_back(folder):
            return task
        try:
            return self.store.swap(
                task.uid, (task.status, task.attempt), Status.QUEUED, started=None, data=before_its_run(task)
            )
        except (StaleTask, NoSuchTask):
            return self.store.get(task.uid)

    # Actions

    def act(self, name: str, task: Task, **options: Any) -> Any:
        """See Executor: what the command's own executor offers is offered for the job, too."""
        inner = self.inner(task)
        if inner is not None and name in inner.actions() and task.status is not Status.QUEUED:
            return inner.act(name, task, **options)
        return super().act(name, task, **options)

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Take a waiting job out of its queue; ask a running one to end, and kill it if it does not."""
        while task.status is Status.QUEUED:
            try:
                data = {**task.data, "reason": "cancelled before it began"}
                return self.store.swap(
                    task.uid, (task.status, task.attempt), Status.CANCELLED, wish="cancel", data=data
                )
            except StaleTask:
                task = self.store.get(task.uid)  # a worker was quicker
        if task.status.is_final:
            return task
        inner = self.inner(task)
        if inner is not None:
            return inner.cancel(task)
        if runs(task, "recorder") is False:
            self.end_forsaken(task)
        return super().cancel(task)

    def end_forsaken(self, task: Task) -> None:
        """End a job whose worker has gone, perhaps before it could record the job's pid."""
        process = shim_process(attempt_folder(self.recorder.home, task.uid, task.attempt))
        if process is not None and start_ticks(process[0]) == process[1]:
            self.store.change(task.uid, wish="cancel")
            end_family(process[0], self.recorder.grace)

    @action(when=frozenset({Status.FAILED, Status.CANCELLED, Status.SKIPPED, Status.LOST}))
    def retry(self, task: Task) -> Task:
        """Let the job wait for a worker again."""
        return retried(self.recorder, task)


def retried(recorder: Recorder, task: Task, **notes: Any) -> Task:
    """The next attempt of an ended job, which waits for a worker."""
    if task.data.get("redacted") and not os.path.exists(private_words(recorder.home, task.uid)):
        raise Refused(f"secrets were left out of the record of {task.uid}; submit it again, or `qrec rerun` it")
    data = {**before_its_run(task), **notes}
    return recorder.store.archive(task.uid, (task.status, task.attempt), Status.QUEUED, data=data)


def before_its_run(task: Task) -> dict[str, Any]:
    """A job's notes as they were before it ran."""
    notes = {name: value for name, value in without_process(task).items() if name not in OF_ONE_RUN}
    inner = notes.pop(MATCHED, None)
    return {**notes, "inner": inner} if inner else notes


def has_processes(uid: str) -> bool:
    """Whether a process of this job runs here."""
    mark = b"\0QREC_TASK=" + os.fsencode(uid) + b"\0"
    for name in listed("/proc"):
        if not name.isdecimal():
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as file:
                if mark in b"\0" + file.read():
                    return True
        except OSError:
            pass  # somebody else's, or gone
    return False


# What the record leaves out


def leave_words(home: str, uid: str, argv: Sequence[str], parts: Mapping[str, Any]) -> None:
    """Keep a job's words, and its `PRIVATE` parts, for its worker.  Raises OSError."""
    import json

    from qrec.config import replace_file

    path = private_words(home, uid)
    make_private(os.path.dirname(path))
    replace_file(path, json.dumps({**parts, "argv": list(argv)}).encode())


def with_words(home: str, task: Task, job: Job) -> tuple[Task, Job]:
    """The task and the job with all their words.  Raises CouldNotStart if they are not known any more."""
    if not task.data.get("redacted"):
        return task, job
    import json

    try:
        with open(private_words(home, task.uid), encoding="utf-8") as file:
            kept = json.load(file)
    except (OSError, ValueError):
        raise CouldNotStart(
            "secrets were left out of its record, and are not known any more; submit it again"
        ) from None
    return task.copy(argv=tuple(kept["argv"])), job.copy(**{name: kept[name] for name in PRIVATE if name in kept})


def as_far_as_known(home: str, task: Task, job: Job) -> Job:
    """The job with its secrets, or without the variables whose values nobody knows any more.  Raises Refused."""
    try:
        return with_words(home, task, job)[1]
    except CouldNotStart:
        pass
    from qrec.redact import REDACTED

    if any(REDACTED in line for line in (*job.preamble, job.setup, job.teardown)):
        raise Refused(f"secrets were left out of the setup of {task.uid}, and are not known any more; submit it again")
    return job.copy(env={name: value for name, value in job.env.items() if REDACTED not in value})
