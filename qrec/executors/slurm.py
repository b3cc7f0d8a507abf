"""Commands that Slurm runs: sbatch is followed to the end of its job, srun and salloc are live as in a plain shell.

What sbatch printed stays the task's stdout and stderr; what the job prints is kept as two more streams when it has
ended, and read where Slurm puts it until then.
"""

from __future__ import annotations

import os
import time
from functools import partial

from qrec.errors import NotOnThisMachine, QrecError, Refused, StaleTask
from qrec.executors import joboutput, sbatch, slurm_asker, slurm_calls, slurm_jobs
from qrec.executors.base import Option, action
from qrec.executors.shell import ShellExecutor, words_to_run
from qrec.output import BLOCK, FOLD_LIMIT, OfJob, last_lines, make_private, merged, private
from qrec.recorder import runs
from qrec.stores.base import REMOVED, Query
from qrec.task import UNFINISHED, Kept, Status, Task, moment, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    from qrec.executors.allocation import Looker
    from qrec.executors.slurm_calls import Answer
    from qrec.executors.slurm_jobs import Job
    from qrec.output import Files, Output
    from qrec.process import Ended
    from qrec.recorder import Outcome, Recorder, Terms
    from qrec.redact import Redactor

AT_SUBMIT = 1.0  #: seconds Slurm may take to tell the script of a job that has just been submitted
LATE_ACCOUNTS = 5.0  #: seconds after a job's end in which its usage is waited for
LATE_STEPS = 600.0  #: seconds after a job's end in which accounting, which closed the job, may still tell of its steps
LOST_AFTER = 120.0  #: seconds after which a job that nobody knows any more was lost by the controller
LOOK = 0.3  #: seconds between two looks at a job that is waited for
SELDOM = 10.0  #: seconds between two questions to Slurm, at most, while somebody waits and nothing happens
SLOWER = 1.2  #: by how much longer each of these pauses is
CANCELLING = 60.0  #: seconds until a cancelled job is left to Slurm
SUBMITTING = 10.0  #: seconds in which an sbatch that is to be cancelled may end by itself
PROMPTLY = 5.0  #: seconds around a submission in which a job under its id is no other
TASKS_KEPT = 1000  #: tasks of an array of which the record tells one by one

#: What a job's final state means beside its code.
MEANINGS = {
    "TIMEOUT": "time limit of the job",
    "DEADLINE": "deadline of the job",
    "OUT_OF_MEMORY": "out of memory",
    "NODE_FAIL": "its node failed",
    "BOOT_FAIL": "its node did not boot",
    "PREEMPTED": "preempted by another job",
}
#: What is told of a job as it stands; what was told before does not count any more.
PASSING = "state reason exitcode start end nodes used restarts accounted counts".split()
LASTING = "name submit partition account requested".split()
#: Which line of Slurm's configuration tells of accounts, and what it says where there are none.
BOOKS, NO_BOOKS = "AccountingStorageType", ("", "(null)", "accounting_storage/none")
#: Reasons for which a job waits until somebody does something about it.
FOR_EVER = {
    "DependencyNeverSatisfied": "what it depends on did not end as it should",
    "PartitionTimeLimit": "it asks for more time than the partition allows",
    "PartitionNodeLimit": "it asks for more nodes than the partition has",
    "PartitionConfig": "it asks for more than the partition has",
    "BadConstraints": "no node is as it asks for",
    "JobHeldUser": "it is held: `scontrol release` lets it go",
    "JobHeldAdmin": "an administrator holds it",
}
FOLLOW = Option(name="follow", kind=bool, default=False, help="Go on as the job prints, until it has ended.", short="f")
LINES = Option(name="lines", kind=int, default=None, help="Only the last so many lines.", short="n")


class SlurmExecutor(ShellExecutor):
    """What sbatch, srun and salloc start."""

    name: ClassVar[str] = "slurm"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self.asker = slurm_asker.Asker(os.path.join(recorder.home, "cache"))  #: asks for every qrec of this home
        self.patience = slurm_asker.Asker.FRESH  #: how old an answer may be, as nothing has changed for a while
        self.early = False  #: whether a job has ended whose accounts are still to come
        self.books: dict[str | None, bool] = {}  #: which clusters keep accounts, as far as it was asked
        self.growing: dict[str, joboutput.Growing] = {}  #: output of running arrays, as far as it has been read

    # Starting

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """See Executor."""
        given = task if terms.argv is None else task.copy(argv=terms.argv)
        words = slurm_words(given)
        if sbatch.words_of(words).program == "sbatch":
            asked = sbatch.submission(words, task.pwd, os.environ)
            outcome: Outcome = partial(self.submitted, asked)
            return self.recorder.record(task, words_to_run(given), terms.copy(detach=False), known, outcome)
        if terms.detach:
            return super().launch(task, terms, known)
        from qrec.executors.allocation import Looker

        with Looker(words) as looker:
            outcome = partial(self.allocated, looker)
            return self.recorder.record(task, words_to_run(given), terms, known, outcome)

    def adopt(self, task: Task, what: str, recordable: Callable[[Task], Task], socket: str = "") -> Task:
        """See Executor: a job, which is followed from now on as if we had submitted it."""
        must_be_here("squeue")
        jobid = slurm_calls.checked(what)
        answer = self.asker.ask([(None, jobid)], fresh=0.0, insist=True)
        jobs = slurm_jobs.newest(answer.jobs.get((None, jobid), ()))
        if not jobs:
            raise Refused(answer.trouble or f"Slurm knows no job {jobid}")
        job = slurm_jobs.whole(jobs)
        self.refuse_recorded(jobid, job)
        script = script_of(jobid)
        words = submit_words(jobid, job, script)
        asked = joboutput.described(sbatch.submission(words, job.workdir, {}))
        options = {name: value for name, value in asked["options"].items() if name != "chdir"}
        note = {
            "jobid": jobid, "name": job.name, "workdir": job.workdir, "sent": job.submit,
            "array": "_" in jobs[0].jobid or "array" in options,
            "asked": {"folder": job.workdir, "options": {**options, "job-name": job.name}},
        }  # fmt: skip
        slurm = {key: value for key, value in note.items() if value not in (None, False, "")}
        data = {"slurm": slurm, "submission": {"returncode": 0}, "adopted": {"at": timestamp()}}
        started = timestamp(job.submit) if job.submit else task.created
        draft = task.copy(argv=words, pwd=job.workdir, status=Status.SUBMITTED, started=started, data=data)
        added = self.store.add(recordable(draft))
        if script:
            now, kept = Status.SUBMITTED, Kept(extras={"script": self.recordable(script.encode())})
            added = self.store.swap(added.uid, (now, added.attempt), now, kept=kept)
        return self.look(added)

    def refuse_recorded(self, jobid: str, job: Job) -> None:
        """Raise Refused if a task has the job already."""
        for task in self.store.find(Query(executor=self.name)):
            told = task.data.get("slurm", {})
            if told.get("jobid") != jobid or told.get("cluster"):
                continue
            if not task.status.is_final or slurm_jobs.same(job, told.get("sent"), told.get("submit")):
                raise Refused(f"job {jobid} is recorded already, as task {task.number} ({task.uid})")

    def submitted(self, asked: sbatch.Submission, task: Task, ended: Ended, printed: Files) -> dict[str, Any]:
        """What sbatch's end means: the task is Slurm's from now on, if it told a job's id."""
        found = sbatch.jobid_of(printed.read("stdout", 0, FOLD_LIMIT), slurm_words(task))
        if found is None:
            return {}
        jobid, name = found
        self.keep_script(printed.folder, asked, jobid, name)
        note = {
            "jobid": jobid, "cluster": name, "name": asked.name, "workdir": asked.chdir, "sent": time.time(),
            "array": asked.is_array, "asked": joboutput.described(asked),
        }  # fmt: skip
        slurm = {key: value for key, value in note.items() if value not in (None, False, "")}
        data = {"slurm": slurm, "submission": {"returncode": ended.returncode, "cpu": round(ended.cpu, 3)}}
        fields = {"status": Status.SUBMITTED, "returncode": None, "signal": None, "ended": None}
        return {**fields, "usage": {}, "data": data}

    def keep_script(self, folder: str, asked: sbatch.Submission, jobid: str, name: str | None) -> None:
        """Keep the batch script as it was submitted; one that came through stdin is known to Slurm only."""
        try:
            words = [*slurm_calls.words_for("scontrol", name), "write", "batch_script", jobid, "-"]
            text = asked.script if asked.script is not None else slurm_calls.act(words, AT_SUBMIT).encode()
            make_private(folder)
            with open(os.path.join(folder, "script"), "wb", opener=private) as file:
                file.write(self.recordable(text))
        except (OSError, QrecError):
            pass  # then it is not known

    def recordable(self, script: bytes) -> bytes:
        """A batch script as it is kept: one made of --wrap is a word of the command, and so without secrets."""
        from qrec.redact import Redactor

        if script.startswith(WRAPPED.encode()):
            redactor = self.recorder.redactor or Redactor()
            text = script.decode("utf-8", "surrogateescape").removeprefix(WRAPPED)
            (word,), _ = redactor.words((f"--wrap={text}",))
            script = f"{WRAPPED}{word.removeprefix('--wrap=')}".encode("utf-8", "surrogateescape")
        return script[: sbatch.LARGEST_SCRIPT]

    def allocated(self, looker: Looker, task: Task, ended: Ended, printed: Files) -> dict[str, Any]:
        """What the end of srun or salloc tells beside its code: the job's id."""
        from qrec.executors.allocation import at_end

        jobid = at_end(task, printed, looker, ended.at or time.time())
        note = {"jobid": jobid, **({"cluster": looker.cluster} if looker.cluster else {})}
        return {"data": {"slurm": note}} if jobid else {}

    # Following

    def refresh(self, tasks: Sequence[Task]) -> Mapping[str, Task]:
        """See Executor: one question for all of them.

        Who waits asks ever less often, up to `SELDOM`, as long as nothing changes.
        """
        changed = dict(super().refresh([task for task in tasks if not is_followed(task)]))
        followed = [task for task in tasks if is_followed(task)]
        if not followed:
            return changed
        answer = self.asker.ask([key_of(task) for task in followed], fresh=self.patience)
        self.complain(answer)
        self.early = False
        now = self.follow(followed, answer)
        changed.update(now)
        slower = min(SELDOM, self.patience * SLOWER ** bool(answer.calls))
        self.patience = slurm_asker.Asker.FRESH if now or self.early else max(slower, slurm_asker.Asker.FRESH)
        return changed

    def look(self, task: Task) -> Task:
        """The task as Slurm says now, and not a moment ago."""
        self.patience = 0.0
        self.refresh([task])
        return self.store.get(task.uid)

    def complain(self, answer: Answer) -> None:
        """Tell the user, once, that what is shown is old."""
        start = "Slurm jobs are shown as last known"
        self.recorder.complaints[:] = [one for one in self.recorder.complaints if not one.startswith(start)]
        if answer.trouble:
            since = f", as of {local(answer.at)}" if answer.at else ""
            self.recorder.complaints.append(f"{start}{since}: {answer.trouble}")

    def follow(self, tasks: Sequence[Task], answer: Answer) -> dict[str, Task]:
        """Record what was learned of these tasks' jobs; return those that have changed."""
        found = {task.uid: self.ours(task, answer) for task in tasks}
        located = self.located([task for task in tasks if found[task.uid]], found)
        changed = {}
        for task in tasks:
            now = self.take(task, found[task.uid], located.get(task.uid, {}), answer)
            if now is not task:
                changed[task.uid] = now
        return changed

    def ours(self, task: Task, answer: Answer) -> tuple[Job, ...]:
        """The jobs under a task's id that are its own."""
        note = task.data["slurm"]
        jobs = slurm_jobs.ours(answer.jobs.get(key_of(task), ()), note.get("sent"), note.get("submit"))
        if not jobs or note.get("submit") is not None or self.is_surely(task, jobs[0]):
            return jobs
        return ()

    def is_surely(self, task: Task, job: Job) -> bool:
        """Whether a job that is seen for the first time is the one that was submitted.

        A controller that crashed may have forgotten that one, and given its id to another soon after.
        """
        note = task.data["slurm"]
        sent, submit = note.get("sent"), job.earlier[0] if job.earlier else job.submit
        if sent is None or submit is None:
            return True
        if abs(submit - sent) > PROMPTLY and (job.name, job.workdir) != (note.get("name"), note.get("workdir")):
            return False
        if submit <= sent:
            return True
        others = self.store.find(Query(executor=self.name, since=timestamp(sent)))
        rivals = [one for one in others if one.uid != task.uid and one.data.get("slurm", {}).get("sent")]
        same = [one.data["slurm"]["sent"] for one in rivals if key_of(one) == key_of(task)]
        return all(abs(submit - sent) <= abs(submit - other) for other in same)

    def located(self, tasks: Sequence[Task], found: Mapping[str, Sequence[Job]]) -> dict[str, dict[str, Any]]:
        """Where the output of jobs is that have begun since they were looked at; Slurm is asked once for all."""
        begun = {task.uid: begun_of(found[task.uid]) for task in tasks}
        new = [task for task in tasks if begun[task.uid] and begun[task.uid] != task.data["slurm"].get("begun")]
        told = joboutput.ask_where([key_of(task) for task in new]) if new else {}
        notes = {}
        for task in new:
            jobs = [job for job in found[task.uid] if not is_waiting(job)]
            files = joboutput.expected(task.data["slurm"], jobs, task.user)
            known = {one["jobid"]: one for one in (*files, *told.get(key_of(task), ()))}
            every = sorted(known.values(), key=lambda one: joboutput.place_of(one["jobid"]))
            notes[task.uid] = {"files": every, "begun": begun[task.uid]}
        return notes

    def take(self, task: Task, jobs: Sequence[Job], where: Mapping[str, Any], answer: Answer) -> Task:
        """Record what was learned of one task's job."""
        note = task.data["slurm"]
        if not jobs:
            gone = key_of(task) in answer.unknown or (not answer.trouble and key_of(task) in answer.jobs)
            old = time.time() - note.get("sent", 0.0) > LOST_AFTER
            return self.close(task, Status.LOST, note, None) if gone and old else task
        job = slurm_jobs.whole(jobs)
        status = slurm_jobs.status_of(job)
        told = {**note, **noted(job), **where}
        told = {name: value for name, value in told.items() if name not in PASSING or name in noted(job)}
        if status is None:
            return task
        if not status.is_final:
            return self.note(task, status, told, job)
        if self.is_early(job, answer):
            return self.note(task, task.status, {**note, **where}, job)
        if len(jobs) > 1:
            rows = sorted(jobs, key=lambda one: ("[" in one.jobid, joboutput.place_of(one.jobid)))
            told["tasks"] = [[one.jobid, one.state, one.exitcode, one.nodes] for one in rows[:TASKS_KEPT]]
        return self.close(task, status, told, job)

    def is_early(self, job: Job, answer: Answer) -> bool:
        """Whether it has ended so lately that accounting, if there is any, may still be closing it."""
        lately = job.end is not None and -1 < time.time() - job.end < LATE_ACCOUNTS
        open_yet = lately and job.sure and not job.accounted and not answer.trouble
        self.early = (open_yet and self.keeps_accounts(job.cluster)) or self.early
        return open_yet and self.keeps_accounts(job.cluster)

    def keeps_accounts(self, name: str | None) -> bool:
        """Whether a cluster keeps accounts."""
        if name not in self.books:
            try:
                config = slurm_calls.act([*slurm_calls.words_for("scontrol", name), "show", "config"])
            except QrecError:
                return False  # it cannot be waited for
            kinds = (line.partition("=")[2].strip() for line in config.splitlines() if line.startswith(BOOKS))
            self.books[name] = next(kinds, "") not in NO_BOOKS
        return self.books[name]

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

    def is_doomed(self, task: Task) -> bool:
        """Whether a queue's job has parents that did not end as it needs; Slurm does not always tell that reason."""
        from qrec.executors.queue import Job
        from qrec.graph import Board

        links, board = Job.of(task).links(task.after), Board()
        board.add(task.uid, task.number, 0, links, self.store.statuses(uid for uid, _ in links))
        return task.uid in board.doomed

    def close(self, task: Task, status: Status, told: Mapping[str, Any], job: Job | None) -> Task:
        """Record the end of a job, with what it printed."""
        if task.wish == "cancel" and status is not Status.COMPLETE:
            status = Status.CANCELLED
        elif task.queue is not None and status is Status.CANCELLED and job is not None:
            status = Status.SKIPPED if was_in_vain(job, task) or self.is_doomed(task) else status
        before = self.store.kept(task.uid, task.attempt)
        redactor = self.redactor if "redacted_output" in task.data else None
        taken = joboutput.take_in(self.recorder.home, task, before, told, redactor)
        slurm = {**told, "missing": list(taken.missing), "taken": taken.marks}
        fields = ending_of(task, job)
        fields["data"] = {
            **{name: value for name, value in task.data.items() if name not in ("reason", "interrupted")},
            "slurm": {name: value for name, value in slurm.items() if value not in ([], {}, None)},
        }
        if reason := reason_of(task.copy(**fields, status=status), job):
            fields["data"]["reason"] = reason
        try:
            return self.store.swap(task.uid, (task.status, task.attempt), status, kept=taken.kept, **fields)
        except StaleTask:
            return self.store.get(task.uid)

    @property
    def redactor(self) -> Redactor:
        """What takes secrets out of output."""
        from qrec.redact import Redactor

        return self.recorder.redactor or Redactor()

    # Output

    def printed(self, task: Task) -> Output:
        """See Executor: what the job printed, as soon as there is a job."""
        kept = self.store.output(task)
        if "submission" not in task.data or REMOVED in task.data:
            return kept
        name = f"{task.uid}.{task.attempt}"
        paths, left = joboutput.paths_in(task.data["slurm"]), task.data["slurm"].get("left")
        if not task.status.is_final and max(map(len, paths.values())) > 1:
            growing = self.growing.setdefault(name, joboutput.Growing(paths, kept, left))
            growing.add(paths)
            return OfJob(growing)
        if task.status.is_final:
            return OfJob(self.growing.pop(name, kept))  # whoever reads on does so where they are
        return OfJob(joboutput.Growing(paths, kept, left))

    # Actions

    @action()
    def status(self, task: Task) -> dict[str, Any]:
        """Tell how the job stands, as Slurm says."""
        told = task.data.get("slurm", {})
        if "submission" not in task.data:
            return {**super().status(task), "jobid": told.get("jobid") or self.live_job(task)}
        more = {
            "reason": waiting_for(told) or told.get("reason"),
            "expected": self.expected(told),
            "nodes": told.get("nodes"),
            "tasks": counts_of(told),
        }
        elapsed = task.seconds if told.get("state") == "RUNNING" else told.get("used", {}).get("elapsed")
        return {
            "jobid": told["jobid"],
            "jobname": told.get("name"),
            "partition": told.get("partition"),
            "alloccpus": text_of(told.get("requested", {}).get("cpus")),
            "elapsed": clock(elapsed),
            "state": told.get("state"),
            "exitcode": told.get("exitcode"),
            **{name: value for name, value in more.items() if value},
        }

    def expected(self, told: Mapping[str, Any]) -> str | None:
        """When a waiting job may start, for people; None if nobody can tell."""
        if told.get("state") != "PENDING":
            return None
        try:
            at = slurm_calls.expected_start(told["jobid"], told.get("cluster"))
        except QrecError:
            return None
        return local(at) if at else None

    def live_job(self, task: Task) -> str | None:
        """The job of an srun or salloc that runs now."""
        if task.status.is_final or sbatch.words_of(slurm_words(task)).program == "sbatch":
            return None
        from qrec.executors.allocation import of_running, told

        return told(self.store.output(task)) or of_running(task)

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
        explain_missing(task)
        if follow:
            return self.show_coming(task, stream, lines)
        output = self.shown(task)
        return (
            block for _, block in (merged(output, (stream,)) if lines is None else last_lines(output, lines, (stream,)))
        )

    def show_coming(self, task: Task, stream: str, lines: int | None) -> Iterator[bytes]:
        """What is there, and what comes until the job has ended."""
        from qrec.output import Frozen

        begun = Frozen(self.shown(task))
        seen = begun.size(stream)
        yield from (
            block for _, block in (merged(begun, (stream,)) if lines is None else last_lines(begun, lines, (stream,)))
        )
        while not task.status.is_final:
            time.sleep(LOOK)
            self.refresh([task])
            task = self.store.get(task.uid)
            output = self.shown(task)
            while block := output.read(stream, seen, BLOCK):
                seen += len(block)
                yield block
        explain_missing(task)

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Take the job from the queue, or end it."""
        if not is_followed(task):
            self.let_submit(task)
            task = super().cancel(task)
        if not is_followed(task):
            return task
        must_be_here("scancel")
        self.store.change(task.uid, wish="cancel")
        told = task.data["slurm"]
        try:
            slurm_calls.cancel(told["jobid"], told.get("cluster"))
        except QrecError:
            self.store.change(task.uid, wish=None)
            raise
        self.look(task)
        return self.until_over(task, CANCELLING)

    def let_submit(self, task: Task) -> None:
        """Let an sbatch end that is just submitting: killed now, it would leave a job of which nobody knows."""
        if sbatch.words_of(slurm_words(task)).program != "sbatch":
            return
        deadline = time.monotonic() + SUBMITTING
        while time.monotonic() < deadline and task.status is Status.RUNNING and "process" in task.data:
            if sbatch.jobid_of(self.store.output(task).read("stdout", 0, FOLD_LIMIT), slurm_words(task)):
                return  # it waits for the job
            time.sleep(0.05)
            task = self.store.get(task.uid)

    def until_closed(self, task: Task) -> Task:
        """As in a shell; but a job may have come of it, which goes on."""
        while True:
            now = self.recorder.settle(self.store.get(task.uid))
            if now.status.is_final or is_followed(now) or now.attempt != task.attempt or runs(now, "recorder") is None:
                return now
            time.sleep(0.02)

    @action()
    def wait(self, task: Task) -> Task:
        """Wait until the job has ended."""
        return self.until_over(task, float("inf"))

    def until_over(self, task: Task, limit: float) -> Task:
        """The task when its job has ended, or as it stands after so many seconds."""
        deadline = time.monotonic() + limit
        while not task.status.is_final and time.monotonic() < deadline:
            if is_followed(task):
                must_be_here("squeue")
            self.refresh([task])
            task = self.store.get(task.uid)
            if not task.status.is_final:
                time.sleep(LOOK)
        return task

    @action()
    def script(self, task: Task) -> Iterator[bytes]:
        """Show the batch script as it was submitted."""
        for attempt in (
            task,
            *reversed(self.store.attempts(task.uid)),
        ):  # a job that was put back has that of the first
            if text := self.shown(attempt).extras().get("script"):
                return iter([text])
        raise Refused(f"no batch script is kept of {task.uid}")

    @action()
    def requeue(self, task: Task) -> Task:
        """Put the job back into the queue, to run again from its start."""
        if "submission" not in task.data:
            raise Refused(f"{task.uid} is no batch job; `qrec rerun` runs it again")
        must_be_here("scontrol")
        told = task.data["slurm"]
        slurm_calls.requeue(told["jobid"], told.get("cluster"))
        if task.status.is_final:
            task = self.begin_again(task)
        return self.look(task)

    def begin_again(self, task: Task) -> Task:
        """Open the next attempt for a job that was over; what it printed before is kept."""
        data = {name: value for name, value in task.data.items() if name not in ("reason", REMOVED)}
        gone = (*PASSING, "tasks", "begun", "taken", "missing")
        told = task.data["slurm"]
        data["slurm"] = {name: value for name, value in told.items() if name not in gone}
        data["slurm"]["left"] = {**told.get("left", {}), **told.get("taken", {})}
        was, turn = (task.status, task.attempt), time.time_ns() // 1000
        return self.store.archive(task.uid, was, Status.SUBMITTED, turn=turn, started=timestamp(), data=data)

    @action()
    def resources(self, task: Task) -> dict[str, Any]:
        """Compare what was asked for with what was used."""
        if "submission" not in task.data:
            raise Refused(f"{task.uid} is no batch job; `qrec usage` shows what it used here")
        told = self.accounted(task).data["slurm"]
        return compared(told.get("requested", {}), told.get("used", {}), told.get("state", ""))

    def accounted(self, task: Task) -> Task:
        """The task with what accounting has told since it was closed."""
        told = task.data["slurm"]
        steps_may_come = "memory" not in told.get("used", {}) and time.time() - (told.get("end") or 0.0) < LATE_STEPS
        if (told.get("accounted") and not steps_may_come) or not task.status.is_final:
            return task
        answer = self.asker.ask([key_of(task)], insist=True)
        jobs = slurm_jobs.ours(answer.jobs.get(key_of(task), ()), told.get("sent"), told.get("submit"))
        if not jobs or not (job := slurm_jobs.whole(jobs)).is_final:
            return task
        data = {**task.data, "slurm": {**told, **noted(job)}}
        return self.store.change(task.uid, data=data)

    @action(when=frozenset({Status.RUNNING}))
    def attach(self, task: Task) -> Iterator[bytes]:
        """Open a shell inside the running job (srun --overlap)."""
        import subprocess

        must_be_here("srun")
        jobid = task.data.get("slurm", {}).get("jobid") or self.live_job(task)
        if jobid is None:
            raise Refused(f"the job of {task.uid} is not known")
        if not os.isatty(0):
            raise Refused(f"a terminal is needed: call `qrec exec attach {task.number}` in one")
        words = slurm_calls.words_for("srun", task.data.get("slurm", {}).get("cluster"))
        shell = os.environ.get("SHELL") or "/bin/sh"
        env = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith("SLURM_") or name in slurm_calls.KEPT
        }
        subprocess.run([*words, "--overlap", "--pty", f"--jobid={jobid}", shell], env=env, check=False)
        return iter(())

    @action()
    def array(self, task: Task) -> str:
        """List the tasks of an array, a line each."""
        told = task.data.get("slurm", {})
        if not told.get("array"):
            raise Refused(f"{task.uid} is no array of jobs")
        rows = told.get("tasks", [])
        if not (rows and task.status.is_final):
            must_be_here("squeue")
            answer = self.asker.ask([key_of(task)])
            jobs = slurm_jobs.ours(answer.jobs.get(key_of(task), ()), told.get("sent"), told.get("submit"))
            rows = [(job.jobid, job.state, job.exitcode, job.nodes) for job in joboutput.in_order(jobs)]
            if not rows:
                raise Refused(
                    f"Slurm tells nothing of job {told['jobid']}{': ' * bool(answer.trouble)}{answer.trouble}"
                )
        return "\n".join(f"{jobid:<12}  {state:<14}  {code:<6}  {nodes}".rstrip() for jobid, state, code, nodes in rows)


def script_of(jobid: str) -> str:
    """The batch script of a job, if Slurm still has it."""
    try:
        return slurm_calls.script(jobid)
    except QrecError:
        return ""


#: How a batch script begins that sbatch has made of --wrap.
WRAPPED = "#!/bin/sh\n# This script was created by sbatch --wrap.\n\n"


def submit_words(jobid: str, job: Job, text: str) -> tuple[str, ...]:
    """The words with which a job was submitted, as accounting tells the line; else the batch script, or its name.

    The line is told without its quotes: what follows --wrap is taken for one word, and for what the script has.
    """
    try:
        told = slurm_calls.act(
            ["sacct", "--noheader", "--parsable2", "--allocations", "--format=SubmitLine", "-j", jobid]
        )
    except QrecError:
        told = ""
    line = told.partition("\n")[0].strip()
    if text.startswith(WRAPPED):
        head, wrap, _ = line.partition(" --wrap")
        script = text.removeprefix(WRAPPED).rstrip("\n")
        return (*(head.split() if wrap else ("sbatch", "--job-name", job.name)), f"--wrap={script}")
    if line:
        return told_words(line)
    details = joboutput.details(jobid, None)
    command = details[0].get("Command", "") if details else ""
    return ("sbatch", *(command.split() or ["--job-name", job.name]))


def told_words(line: str) -> tuple[str, ...]:
    """The words of a line that accounting tells without its quotes."""
    head, wrap, script = line.partition(" --wrap")
    return (*head.split(), f"--wrap={script[1:]}") if wrap and script[:1] in ("=", " ") else tuple(line.split())


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


def is_waiting(job: Job) -> bool:
    """Whether it has not begun."""
    return slurm_jobs.STATUSES.get(job.state) is Status.SUBMITTED


def begun_of(jobs: Sequence[Job]) -> str:
    """What tells whether more tasks have begun than before, or have begun anew; nothing if none has."""
    begun = [job for job in jobs if not is_waiting(job) and job.start]
    return f"{len(begun)} {sum(job.restarts for job in begun)} {begun[0].nodes}" if begun else ""


def noted(job: Job) -> dict[str, Any]:
    """What is kept in a task of its job."""
    values = {name: getattr(job, name) for name in (*LASTING, *PASSING)}
    return {name: value for name, value in values.items() if value not in ("", None, {}, 0, False)}


def usage_of(job: Job) -> dict[str, Any]:
    """What a job used, by the names that every task's usage has."""
    return {name: job.used[name] for name in ("cpu", "memory") if job.used.get(name)}


def ending_of(task: Task, job: Job | None) -> dict[str, Any]:
    """The fields that tell how a job ended."""
    if job is None:
        return {"ended": timestamp()}
    started = {"started": timestamp(job.start)} if job.start else {}
    return {
        "returncode": job.returncode, "signal": job.signal, "ended": timestamp(job.end), **started,
        "usage": {**task.usage, **usage_of(job)},
    }  # fmt: skip


def reason_of(task: Task, job: Job | None) -> str:
    """Why a job did not complete, in a few words."""
    from qrec.reason import reason

    if task.status is Status.COMPLETE:
        return ""
    if job is None:
        return "Slurm does not know its job any more"
    if len(job.counts) > 1:
        return "of its tasks " + ", ".join(f"{number} {state}" for state, number in sorted(job.counts.items()))
    if task.status is Status.CANCELLED and task.wish is None and was_in_vain(job, task):
        return FOR_EVER["DependencyNeverSatisfied"]
    if job.exitcode.endswith(f":{slurm_jobs.LAUNCH_FAILURE}"):
        return "Slurm could not launch it; the folder of its output may be missing"
    return MEANINGS.get(job.state, "") or reason(task)


def was_in_vain(job: Job, task: Task) -> bool:
    """Whether Slurm itself took a job from the queue, since what it waited for did not come.

    Accounting tells of the reason that it had while there was hope, or of none if it had no time to wait, but also of
    who cancels a job.
    """
    if job.reason == "DependencyNeverSatisfied":
        return True
    asked = task.data.get("slurm", {}).get("asked", {}).get("options", {})
    while_there_was_hope = ("Dependency", "") if task.after or "dependency" in asked else ("Dependency",)
    return job.accounted and not job.by and job.reason in while_there_was_hope


def waiting_for(told: Mapping[str, Any]) -> str:
    """Why a job will never start by itself."""
    reason = told.get("reason", "")
    return f"{reason}: {FOR_EVER[reason]}" if told.get("state") == "PENDING" and reason in FOR_EVER else ""


def counts_of(told: Mapping[str, Any]) -> str | None:
    """How many tasks of an array are in which state."""
    return ", ".join(f"{number} {state}" for state, number in sorted(told.get("counts", {}).items())) or None


def text_of(value: Any) -> str | None:
    """A number as Slurm would tell it."""
    return None if value is None else str(value)


def clock(seconds: float | None) -> str:
    """A length of time as Slurm tells it: `1-02:03:04`."""
    days, left = divmod(int(seconds or 0), 86_400)
    return f"{days}-" * bool(days) + f"{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"


def explain_missing(task: Task) -> None:
    """Refuse with the reason where a job's files are not there."""
    told = task.data.get("slurm", {})
    if not task.status.is_final or not told.get("missing") or told.get("taken"):
        return
    where, jobid, nodes = ", ".join(told["missing"]), told["jobid"], told.get("nodes")
    if task.returncode == COULD_NOT_LAUNCH:
        why = task.data.get("reason", "Slurm could not launch it")
    elif not nodes:
        why = "it never ran"
    else:
        why = f"it was removed, or {nodes} does not share that folder with this machine"
    raise Refused(f"job {jobid} left no output at {where}: {why}")


COULD_NOT_LAUNCH = 125


def compared(requested: Mapping[str, Any], used: Mapping[str, Any], state: str) -> dict[str, Any]:
    """What was asked for against what was used, and a suggestion where they are far apart."""
    from qrec.units import duration, size

    cores = cores_used(used)
    memory, asked = used.get("memory"), requested.get("memory")
    return {
        "cpus": f"{requested.get('cpus', '?')} asked for, {'?' if cores is None else f'{cores:.2g}'} used on average",
        "memory": f"{size(asked) if asked else '?'} asked for, {size(memory) if memory else '?'} used at most",
        "time": f"{duration(requested.get('time')) or '?'} asked for, {duration(used.get('elapsed')) or '?'} used",
        "gres": requested.get("gres") or None,
        "suggestion": "; ".join(suggestions(requested, used, state)) or None,
    }


def cores_used(used: Mapping[str, Any]) -> float | None:
    """How many cores were busy on average."""
    return used["cpu"] / used["elapsed"] if used.get("elapsed") and "cpu" in used else None


def suggestions(requested: Mapping[str, Any], used: Mapping[str, Any], state: str) -> Iterator[str]:
    """What to ask for next time."""
    memory, asked = used.get("memory", 0), requested.get("memory", 0)
    elapsed, limit = used.get("elapsed") or 0, requested.get("time") or 0
    cores, cpus = cores_used(used), requested.get("cpus", 1)
    if state == "OUT_OF_MEMORY":
        yield f"ask for more memory: --mem={-(-asked * 2 >> 20)}M" if asked else "ask for more memory"
    elif memory and memory * 2 < asked:
        yield f"--mem={max(1, -(-memory * 5 // 4 >> 20))}M would have been enough"
    if state == "TIMEOUT":
        yield f"ask for more time: --time={-(-int(limit) * 2 // 60)}"
    elif elapsed > 60 and elapsed * 4 < limit:
        yield f"--time={-(-int(elapsed) * 3 // 2 // 60)} would have been enough"
    if cores is not None and elapsed > 60 and cores * 2 < cpus:
        yield f"{max(1, round(cores + 0.4))} CPUs would have been enough"


def must_be_here(program: str) -> None:
    """Raise unless a program is on this machine."""
    import shutil

    if shutil.which(program) is None:
        raise NotOnThisMachine(f"{program} is not on PATH here: Slurm's programs are needed for this")


def local(at: float) -> str:
    """A time for people."""
    return moment(timestamp(at)).astimezone().strftime("%Y-%m-%d %H:%M:%S")
