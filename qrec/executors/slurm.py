"""Commands that Slurm runs: sbatch is followed to the end of its job, srun and salloc are live as in a plain shell.

What sbatch printed stays the task's stdout and stderr; what the job prints is kept as two more streams when it has
ended, and read where Slurm puts it until then.
"""

from __future__ import annotations

import os
import time
from functools import partial

from qrec.errors import NotOnThisMachine, QrecError, Refused, StaleTask
from qrec.executors import cluster, sbatch
from qrec.executors.base import Option, action
from qrec.executors.shell import ShellExecutor, words_to_run
from qrec.output import (
    FOLD_LIMIT,
    JOB,
    Files,
    JobFiles,
    OfJob,
    attempt_folder,
    last_lines,
    make_private,
    merged,
    read_part,
)
from qrec.task import UNFINISHED, Kept, Status, Task, moment, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    from qrec.executors.cluster import Answer, Job
    from qrec.output import Output
    from qrec.process import Ended
    from qrec.recorder import Outcome, Terms

TAKEN_IN = 64 << 20  #: bytes of each of a job's streams that are taken into the record
GAP = b"\n[... %d bytes left out ...]\n"
LATE_ACCOUNTS = 5.0  #: seconds after a job's end in which its usage is waited for
LOST_AFTER = 120.0  #: seconds after which a job that nobody knows any more was lost by the controller
LOOK = 0.3  #: seconds between two looks at a job that is waited for
CANCELLING = 60.0  #: seconds until a cancelled job is left to Slurm
BLOCK = 1 << 20

#: What a job's final state means beside its code.
MEANINGS = {
    "TIMEOUT": "time limit of the job",
    "DEADLINE": "deadline of the job",
    "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "preempted by another job",
}
FOLLOW = Option(name="follow", kind=bool, default=False, help="Go on as the job prints, until it has ended.")
LINES = Option(name="lines", kind=int, default=None, help="Only the last so many lines.")


class SlurmExecutor(ShellExecutor):
    """What sbatch, srun and salloc start."""

    name: ClassVar[str] = "slurm"

    @property
    def asker(self) -> cluster.Asker:
        """Asks Slurm on behalf of every qrec of this home."""
        folder = os.path.join(self.recorder.home, "cache")
        return cluster.Asker(folder)

    # Starting

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """See Executor."""
        given = task if terms.argv is None else task.copy(argv=terms.argv)
        words = slurm_words(given)
        if sbatch.words_of(words).program == "sbatch":
            asked = sbatch.submission(words, task.pwd, os.environ)
            outcome: Outcome = partial(self.submitted, asked)
        else:
            outcome = self.allocated
        return self.recorder.record(task, words_to_run(given), terms.copy(detach=False), known, outcome)

    def submitted(self, asked: sbatch.Submission, task: Task, ended: Ended, printed: Files) -> dict[str, Any]:
        """What sbatch's end means: the task is Slurm's from now on, if it told a job's id."""
        found = sbatch.jobid_of(printed.read("stdout", 0, FOLD_LIMIT), slurm_words(task))
        if found is None:
            return {}
        jobid, name = found
        self.keep_script(printed.folder, asked, jobid, name)
        note = {
            "jobid": jobid, "cluster": name, "name": asked.name, "sent": time.time(), "array": asked.is_array,
            **output_note(asked, jobid, task.user),
        }  # fmt: skip
        slurm = {key: value for key, value in note.items() if value not in (None, False, "")}
        data = {"slurm": slurm, "submission": {"returncode": ended.returncode}}
        return {"status": Status.SUBMITTED, "returncode": None, "signal": None, "ended": None, "data": data}

    def keep_script(self, folder: str, asked: sbatch.Submission, jobid: str, name: str | None) -> None:
        """Keep the batch script as it was submitted; one that came through stdin is known to Slurm only."""
        try:
            text = asked.script if asked.script is not None else cluster.script(jobid, name).encode()
            make_private(folder)
            with open(os.path.join(folder, "script"), "wb", opener=private) as file:
                file.write(text[: sbatch.LARGEST_SCRIPT])
        except (OSError, QrecError):
            pass  # then it is not known

    def allocated(self, task: Task, ended: Ended, printed: Files) -> dict[str, Any]:
        """What the end of srun or salloc tells beside its code: the job's id."""
        jobid = sbatch.allocation_of(printed.read("stderr", 0, FOLD_LIMIT))
        return {"data": {"slurm": {"jobid": jobid}}} if jobid else {}

    # Following

    def refresh(self, tasks: Sequence[Task]) -> Mapping[str, Task]:
        """See Executor: one question for all of them."""
        changed = dict(super().refresh([task for task in tasks if not is_followed(task)]))
        followed = [task for task in tasks if is_followed(task)]
        if not followed:
            return changed
        answer = self.asker.ask([key_of(task) for task in followed])
        if answer.trouble:
            since = f", as of {local(answer.at)}" if answer.at else ""
            self.recorder.complaints.append(f"Slurm jobs are shown as last known{since}: {answer.trouble}")
        for task in followed:
            now = self.follow(task, answer)
            if now is not task:
                changed[task.uid] = now
        return changed

    def follow(self, task: Task, answer: Answer) -> Task:
        """Record what was learned of a task's job."""
        note = task.data["slurm"]
        jobs = cluster.ours(answer.jobs.get(key_of(task), ()), note.get("sent"), note.get("submit"))
        if not jobs:
            gone = key_of(task) in answer.unknown and time.time() - note.get("sent", 0.0) > LOST_AFTER
            return self.close(task, Status.LOST, note, None) if gone else task
        job = cluster.whole(jobs)
        status = cluster.status_of(job)
        told = {**note, **noted(job)}
        if status is None:
            return task
        if status.is_final:
            return task if self.is_early(job, answer) else self.close(task, status, told, job)
        return self.note(task, status, told, job)

    def is_early(self, job: Job, answer: Answer) -> bool:
        """Whether it has ended so lately that accounting may still be closing it."""
        lately = job.end is not None and time.time() - job.end < LATE_ACCOUNTS
        return lately and not job.accounted and not answer.trouble and job.sure

    def note(self, task: Task, status: Status, told: Mapping[str, Any], job: Job) -> Task:
        """Record that a job waits or runs."""
        if status is task.status and told == task.data["slurm"]:
            return task
        started = timestamp(job.start) if job.start and status is Status.RUNNING else task.started
        try:
            return self.store.swap(
                task.uid, (task.status, task.attempt), status, data={**task.data, "slurm": told}, started=started
            )
        except StaleTask:
            return self.store.get(task.uid)

    def close(self, task: Task, status: Status, told: Mapping[str, Any], job: Job | None) -> Task:
        """Record the end of a job, with what it printed."""
        data = {**task.data, "slurm": {**told}}
        fields: dict[str, Any] = {"ended": timestamp()}
        if job is not None:
            started = {"started": timestamp(job.start)} if job.start else {}
            used = {name: job.used[name] for name in ("cpu", "memory") if job.used.get(name)}
            fields = {
                "returncode": job.returncode, "signal": job.signal, "ended": timestamp(job.end), **started,
                "usage": {**task.usage, **used},
            }  # fmt: skip
        if status is Status.CANCELLED or (task.wish == "cancel" and status is not Status.COMPLETE):
            status = Status.CANCELLED
        printed, data["slurm"]["missing"] = self.take_in(task, data["slurm"])
        data["slurm"] = {name: value for name, value in data["slurm"].items() if value not in ([], None)}
        if job is not None and (meaning := meaning_of(job)):
            data["reason"] = meaning
        elif status is not Status.COMPLETE:
            from qrec.recorder import explained

            data |= explained(task.copy(**fields, status=status, data=data))
        try:
            return self.store.swap(
                task.uid, (task.status, task.attempt), status, kept=self.kept_with(task, printed), data=data, **fields
            )
        except StaleTask:
            return self.store.get(task.uid)

    # Output

    def take_in(self, task: Task, told: Mapping[str, Any]) -> tuple[dict[str, bytes], list[str]]:
        """What a job printed, by stream; and the files that are missing."""
        paths = self.paths_now(told)
        printed, missing = {}, []
        for stream, files in paths.items():
            parts = [(name, ends_of(path)) for name, path in files]
            missing += [path for (_, path), (_, part) in zip(files, parts, strict=True) if part is None]
            many = len(parts) > 1
            found = [(f"==> {name} <==\n".encode() if many else b"") + part for name, part in parts if part is not None]
            if found:
                printed[stream] = b"".join(found)
        return printed, missing

    def paths_now(self, told: Mapping[str, Any]) -> dict[str, list[tuple[str, str]]]:
        """Where each stream of a job is: (job, path) for each of its tasks.  What Slurm itself tells wins."""
        reported = [] if everything_there(told) else self.reported(told)
        paths: dict[str, list[tuple[str, str]]] = {"stdout": [], "stderr": []}
        for job in reported or told.get("files", []):
            paths["stdout"].append((job["jobid"], job["stdout"]))
            if job["stderr"] != job["stdout"]:
                paths["stderr"].append((job["jobid"], job["stderr"]))
        return {stream: [pair for pair in pairs if pair[1] != os.devnull] for stream, pairs in paths.items()}

    def reported(self, told: Mapping[str, Any]) -> list[dict[str, str]]:
        """Where Slurm says that the output is; nothing if it does not know the job any more."""
        try:
            details = cluster.details(told["jobid"], told.get("cluster"))
        except QrecError:
            return []
        known = {"N": told.get("nodes", "").split(",")[0], "t": "0", "n": "0", "s": "batch"}
        jobs = [one for one in details if one.get("StdOut")]
        return [
            {
                "jobid": name_of(one),
                "stdout": sbatch.expand(one["StdOut"], known) or one["StdOut"],
                "stderr": sbatch.expand(one.get("StdErr", one["StdOut"]), known) or one["StdOut"],
            }
            for one in jobs
        ]

    def kept_with(self, task: Task, printed: Mapping[str, bytes]) -> Kept | None:
        """What the store is to keep: the submission's output, and the job's if it is small; else that goes to files."""
        before = self.store.kept(task.uid, task.attempt) or Kept()
        named = {JOB[stream]: content for stream, content in printed.items()}
        if sum(map(len, named.values())) <= FOLD_LIMIT:
            return before.copy(extras={**before.extras, **{name: part for name, part in named.items() if part}})
        folder = attempt_folder(self.recorder.home, task.uid, task.attempt)
        make_private(folder)
        for name, content in named.items():
            with open(os.path.join(folder, name), "wb", opener=private) as file:
                file.write(content)
        return before

    def printed(self, task: Task) -> Output:
        """See Executor: what the job printed, as soon as there is a job."""
        if "submission" not in task.data:
            return super().printed(task)
        if task.status.is_final:
            return OfJob(self.store.output(task))
        return OfJob(JobFiles(self.paths_now(task.data["slurm"])))

    # Actions

    @action()
    def status(self, task: Task) -> dict[str, Any]:
        """Tell how the job stands, as Slurm says."""
        if not is_followed(task) and "state" not in task.data.get("slurm", {}):
            return super().status(task)
        told = task.data["slurm"]
        waits = told.get("state") == "PENDING"
        expected = cluster.expected_start(told["jobid"], told.get("cluster")) if waits and available() else None
        return {
            "jobid": told["jobid"],
            "jobname": told.get("name"),
            "partition": told.get("partition"),
            "alloccpus": told.get("requested", {}).get("cpus"),
            "elapsed": told.get("used", {}).get("elapsed"),
            "state": told.get("state"),
            "exitcode": told.get("exitcode"),
            "reason": told.get("reason"),
            "expected": local(expected) if expected else None,
            "nodes": told.get("nodes"),
            "counts": told.get("counts") or None,
        }

    @action(FOLLOW, LINES)
    def output(self, task: Task, follow: bool = False, lines: int | None = None) -> Iterator[bytes]:
        """Show what the job wrote to stdout."""
        return self.show(task, "stdout", follow, lines)

    @action(FOLLOW, LINES)
    def error(self, task: Task, follow: bool = False, lines: int | None = None) -> Iterator[bytes]:
        """Show what the job wrote to stderr, if that is another file than its stdout."""
        return self.show(task, "stderr", follow, lines)

    def show(self, task: Task, stream: str, follow: bool, lines: int | None) -> Iterator[bytes]:
        """One of a job's streams, or why there is none."""
        self.explain_missing(task, stream)
        output = self.shown(task)
        blocks = merged(output, (stream,)) if lines is None else iter(last_lines(output, lines, (stream,)))
        if not follow:
            return (block for _, block in blocks)
        return self.show_coming(task, stream, output.size(stream), blocks)

    def show_coming(self, task: Task, stream: str, seen: int, blocks: Iterator[tuple[str, bytes]]) -> Iterator[bytes]:
        """What is there, and what comes until the job has ended."""
        yield from (block for _, block in blocks)
        while True:
            now = self.refresh([task]).get(task.uid) or self.store.get(task.uid)
            while block := self.shown(now).read(stream, seen, BLOCK):
                seen += len(block)
                yield block
            if now.status.is_final:
                return
            task = now
            time.sleep(LOOK)

    def explain_missing(self, task: Task, stream: str) -> None:
        """Refuse with the reason where a job's file is not there."""
        told = task.data.get("slurm", {})
        if task.status.is_final and not self.store.output(task).size(JOB[stream]) and told.get("missing"):
            where = ", ".join(told["missing"])
            raise Refused(f"job {told['jobid']} left no output at {where}: {told.get('reason') or told.get('state')}")

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Take the job from the queue, or end it."""
        if not is_followed(task):
            return super().cancel(task)
        self.store.change(task.uid, wish="cancel")
        told = task.data["slurm"]
        cluster.cancel(told["jobid"], told.get("cluster"))
        return self.until_over(task, CANCELLING)

    @action()
    def wait(self, task: Task) -> Task:
        """Wait until the job has ended."""
        return self.until_over(task, float("inf"))

    def until_over(self, task: Task, limit: float) -> Task:
        """The task when its job has ended, or as it stands after so many seconds."""
        deadline = time.monotonic() + limit
        while not task.status.is_final and time.monotonic() < deadline:
            self.refresh([task])
            task = self.store.get(task.uid)
            if not task.status.is_final:
                time.sleep(LOOK)
        return task

    @action()
    def script(self, task: Task) -> Iterator[bytes]:
        """Show the batch script as it was submitted."""
        text = self.store.output(task).extras().get("script")
        if text is None:
            raise Refused(f"no batch script is kept of {task.uid}")
        return iter([text])

    @action(when=frozenset({Status.RUNNING, Status.SUBMITTED}))
    def requeue(self, task: Task) -> Task:
        """Put the job back into the queue, to run again from its start."""
        told = task.data["slurm"]
        cluster.requeue(told["jobid"], told.get("cluster"))
        self.refresh([task])
        return self.store.get(task.uid)

    @action()
    def resources(self, task: Task) -> dict[str, Any]:
        """Compare what was asked for with what was used."""
        told = self.accounted(task).data.get("slurm", {})
        return compared(told.get("requested", {}), told.get("used", {}))

    def accounted(self, task: Task) -> Task:
        """The task with what accounting has told since it was closed."""
        told = task.data.get("slurm", {})
        if told.get("accounted") or "submission" not in task.data:
            return task
        answer = self.asker.ask([key_of(task)], insist=True)
        jobs = cluster.ours(answer.jobs.get(key_of(task), ()), told.get("sent"), told.get("submit"))
        if not jobs:
            return task
        return self.store.change(task.uid, data={**task.data, "slurm": {**told, **noted(cluster.whole(jobs))}})

    @action(when=frozenset({Status.RUNNING}))
    def attach(self, task: Task) -> None:
        """Open a shell inside the running job (srun --overlap)."""
        must_be_here("srun")
        jobid = task.data["slurm"]["jobid"]
        shell = os.environ.get("SHELL") or "/bin/sh"
        os.execvp("srun", ["srun", "--overlap", "--pty", f"--jobid={jobid}", shell])

    @action()
    def array(self, task: Task) -> str:
        """List the tasks of an array, a line each."""
        answer = self.asker.ask([key_of(task)], insist=True)
        told = task.data["slurm"]
        jobs = cluster.ours(answer.jobs.get(key_of(task), ()), told.get("sent"), told.get("submit"))
        if not jobs:
            raise Refused(
                f"Slurm does not know job {told['jobid']} any more{': ' * bool(answer.trouble)}{answer.trouble}"
            )
        return "\n".join(f"{job.jobid:<12}  {job.state:<14}  {job.exitcode:<6}  {job.nodes}".rstrip() for job in jobs)


def slurm_words(task: Task) -> tuple[str, ...]:
    """The words of a Slurm command; a line for the shell is split as a shell would do it."""
    if "shell" not in task.data:
        return task.argv
    import shlex

    try:
        return tuple(shlex.split(task.argv[0]))
    except ValueError:
        return tuple(task.argv[0].split())


def is_followed(task: Task) -> bool:
    """Whether the task is Slurm's now, and not over."""
    return "submission" in task.data and "process" not in task.data and task.status in UNFINISHED


def key_of(task: Task) -> tuple[str | None, str]:
    """By what Slurm knows the task's job."""
    told = task.data.get("slurm", {})
    if "jobid" not in told:
        raise Refused(f"the job of {task.uid} is not known")
    return told.get("cluster"), told["jobid"]


def noted(job: Job) -> dict[str, Any]:
    """What is kept in a task of its job."""
    names = "name state reason exitcode submit nodes partition account requested used restarts accounted counts".split()
    return {name: value for name in names if (value := getattr(job, name)) not in ("", None, {}, 0, False)}


def meaning_of(job: Job) -> str:
    """Why a job failed, where its state says more than its code."""
    if job.exitcode.endswith(":53"):
        return f"Slurm could not launch it ({job.reason or 'the folder of its output may be missing'})"
    meaning = MEANINGS.get(job.state, "")
    if job.counts and len(job.counts) > 1:
        told = ", ".join(f"{number} {state}" for state, number in job.counts.items())
        return f"of its tasks: {told}"
    return meaning


def output_note(asked: sbatch.Submission, jobid: str, user: str) -> dict[str, Any]:
    """Where the output is to be expected; of an array Slurm has to tell, since it may choose the tasks."""
    if asked.is_array:
        return {}
    known = sbatch.known_fields(asked, jobid, user)
    stdout, stderr = sbatch.output_paths(asked, known)
    if stdout is None or stderr is None:
        return {}
    return {"files": [{"jobid": jobid, "stdout": stdout, "stderr": stderr}]}


def everything_there(told: Mapping[str, Any]) -> bool:
    """Whether every file that is expected is there."""
    files = told.get("files", [])
    return bool(files) and all(os.path.exists(one[stream]) for one in files for stream in ("stdout", "stderr"))


def name_of(details: Mapping[str, str]) -> str:
    """A job's id as users are told it, from what `scontrol show job` tells."""
    if "ArrayTaskId" in details:
        return f"{details.get('ArrayJobId', details['JobId'])}_{details['ArrayTaskId']}"
    return details["JobId"]


def ends_of(path: str) -> bytes | None:
    """A file, or its two ends if it is very large; None if it is not there."""
    try:
        size = os.stat(path).st_size
        if size <= TAKEN_IN:
            return read_part(path, 0, None)
        half = TAKEN_IN // 2
        return read_part(path, 0, half) + GAP % (size - 2 * half) + read_part(path, size - half, half)
    except OSError:
        return None


def private(path: str, flags: int) -> int:
    """Open a file that is for the user alone."""
    return os.open(path, flags, 0o600)


def compared(requested: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for against what was used, and a suggestion where they are far apart."""
    from qrec.units import duration, size

    cores = used["cpu"] / used["elapsed"] if used.get("cpu") and used.get("elapsed") else None
    memory, asked = used.get("memory"), requested.get("memory")
    told: dict[str, Any] = {
        "cpus": f"{requested.get('cpus')} asked for, {'?' if cores is None else f'{cores:.2g}'} used on average",
        "memory": f"{size(asked) if asked else '?'} asked for, {size(memory) if memory else '?'} used at most",
        "time": f"{duration(requested.get('time')) or '?'} asked for, {duration(used.get('elapsed')) or '?'} used",
        "gres": requested.get("gres") or None,
    }
    if memory and asked and memory * 2 < asked:
        told["suggestion"] = f"--mem={-(-memory * 5 // 4 >> 20)}M would have been enough"
    return told


def available() -> bool:
    """Whether Slurm's programs are on this machine."""
    import shutil

    return shutil.which("squeue") is not None


def must_be_here(program: str) -> None:
    """Raise unless a program is on this machine."""
    import shutil

    if shutil.which(program) is None:
        raise NotOnThisMachine(f"{program} is not on this machine; Slurm's programs are needed for this")


def local(at: float) -> str:
    """A time for people."""
    return moment(timestamp(at)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
