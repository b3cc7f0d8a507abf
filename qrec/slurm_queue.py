"""A queue on a Slurm cluster: every job an sbatch of its own, whose dependencies Slurm itself looks after.

A job is submitted as soon as all its parents have ended, or are Slurm's as well: then it is told of them by their ids.
Parents that have ended are judged here, by the record, since Slurm lets a dependency on an id that it has forgotten
pass.  What became of the jobs is learned by one question for all of them.
"""

from __future__ import annotations

import os
import shlex
import time

from qrec.errors import QrecError, RefusedByHook, StoreError
from qrec.executors import joboutput, sbatch, slurm_calls
from qrec.executors.queue import Job, before_its_run, job_words, retried, with_words
from qrec.graph import ANY, FAILED, OK
from qrec.output import listed, make_private, private
from qrec.process import own_environment
from qrec.recorder import command_line, runs
from qrec.task import MATCHED, Kept, Status, Task, moment, timestamp
from qrec.worker import Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from qrec.running import Running

AT_ONCE = 25  #: jobs that are submitted before the others are looked at again
ANSWER = 60.0  #: seconds that sbatch may take
FORGETS = 240.0  #: seconds for which the controller surely still knows a job that has ended
LATER = 10.0  #: seconds until a job is submitted again that Slurm had no room for, or until Slurm is asked again
#: What a link means to Slurm.
AFTER = {OK: "afterok", ANY: "afterany", FAILED: "afternotok"}
#: What Slurm's commands say when nobody was there to be told anything.
AWAY = ("(connect failure)",)
#: What sbatch says when it is worth to try again, as Slurm has not taken the job.
BUSY = (*AWAY, "QOSMaxSubmitJob", "AssocMaxSubmitJob", "temporarily",
        "Job violates accounting/QOS policy (job submit limit")  # fmt: skip
#: What it says when Slurm may have taken the job, or may do so yet: no answer came.
UNHEARD = ("Socket timed out", "Unable to contact slurm controller", "Slurm controller not responding",
           "missing socket error", "Zero Bytes were transmitted or received", "Message receive failure",
           "Message send failure", "Connection reset by peer", "did not answer within")  # fmt: skip


class SlurmWorker(Worker):
    """Submits the jobs of a queue, and follows them to their end."""

    keeps = False
    mark = "submitting"  #: in the notes of a job that is on its way to Slurm
    withdrawn = False  #: whether Slurm was told that nothing more is to begin

    def __init__(self, *words: Any, **how: Any) -> None:
        super().__init__(*words, **how)
        self.failed: set[str] = set()  #: jobs that did not complete, so that nothing more is to begin
        self.ask_again = 0.0  #: when Slurm, which did not answer, is worth another call
        self.doubtful: dict[str, float] = {}  #: when Slurm was first heard not to have a job that it may have taken

    def claim(self) -> list[Running]:
        """Nothing runs here; jobs are submitted outside of the transaction, since that takes a while."""
        return []

    def has_business(self) -> bool:
        """See Worker."""
        return self.board is None or bool(self.board.doomed) or self.store.pulse() != self.pulse

    def step(self) -> None:
        """See Worker."""
        super().step()
        if self.board is None or time.monotonic() < max(self.pause_until, self.ask_again):
            return
        try:
            if self.failed and not self.withdrawn:
                self.try_to_withdraw()
            if not (self.interrupted or self.leaving):
                self.adopt()
            if self.may_claim:
                self.submit_some()
        except StoreError as error:
            self.complain(error)
        except QrecError as error:
            self.leave_alone(str(error))

    def leave_alone(self, why: str) -> None:
        """Slurm does not answer: it is called again a little later, and Ctrl-C need not wait for call after call."""
        if why not in self.door.complaints:
            self.door.complaints.append(why)
        self.ask_again = time.monotonic() + LATER

    def submit_some(self) -> None:
        """Submit some of the jobs whose parents have all ended, or are Slurm's."""
        assert self.board is not None
        left = AT_ONCE
        for uid in sorted(self.board.jobs, key=lambda uid: self.board.jobs[uid].number if self.board else 0):
            waiting = self.board.jobs.get(uid)
            if waiting is None or uid in self.board.doomed or uid in self.never:
                continue
            conditions = self.conditions(waiting.links, waiting.failed)
            if conditions is None:
                continue
            task = self.door.known(uid)
            if task is None or task.status is not Status.QUEUED or not self.is_due(task):
                continue
            self.submit(task, conditions)
            left -= 1
            if not left or time.monotonic() < self.ask_again:
                return

    def is_due(self, task: Task) -> bool:
        """Whether a job may be submitted now: one that Slurm had no room for waits a little."""
        return float(task.data.get("not_before", 0.0)) <= time.time()

    def conditions(self, links: Sequence[tuple[str, str]], failed: bool) -> list[str] | None:
        """What Slurm is to wait for; None as long as it cannot be told in its words."""
        told = []
        unfinished = [(uid, kind) for uid, kind in links if uid in self.elsewhere or self.is_unfinished(uid)]
        several = sum(kind == FAILED for _, kind in links) > 1
        for uid, kind in unfinished:
            slurm = self.elsewhere[uid].data.get("slurm", {}) if uid in self.elsewhere else {}
            if "jobid" not in slurm or slurm.get("cluster") or (kind == FAILED and (several or failed)):
                return None
            told.append(f"{AFTER[kind]}:{slurm['jobid']}")
        return told

    def is_unfinished(self, uid: str) -> bool:
        """Whether a parent has still to end."""
        return self.board is not None and uid in self.board.children

    def submit(self, task: Task, conditions: Sequence[str]) -> None:
        """Submit a job."""
        assert self.board is not None
        process = {**self.where, "recorder": self.mine}
        notes = before_its_run(task)
        notes |= {"inner": "slurm", MATCHED: notes.get("inner", "shell")}
        data = {**notes, "process": process, self.mark: time.time()}
        now = self.store.swap(
            task.uid, (Status.QUEUED, task.attempt), Status.RUNNING, known=task, started=timestamp(),
            host=self.host, data=data,
        )  # fmt: skip
        self.board.remove(task.uid)
        try:
            facts = self.door.asked(now).facts
            given, job = with_words(self.home, now, Job.of(now))
            script = script_of(given, job)
            words = self.words(now, job, conditions)
            printed = slurm_calls.act([*words, self.keep_script(now, script)], ANSWER, jobs_environment())
        except RefusedByHook as error:
            self.give_up(now, str(error), error.exit_code)
            return
        except (QrecError, OSError) as error:
            self.not_submitted(now, str(error))
            return
        found = sbatch.jobid_of(printed, words)
        if found is None:
            self.not_submitted(now, f"sbatch told no job's id: {printed.strip()[:200]}")
            return
        asked = sbatch.submission([*words, "-"], task.pwd, {})
        shown = script if given is now else script_of(now, Job.of(now))  # without secrets
        self.submitted(now.copy(facts=facts), found, asked, shown)

    def submitted(
        self, task: Task, found: tuple[str, str | None], asked: sbatch.Submission | None, script: str | None
    ) -> None:
        """Record that Slurm has a job."""
        jobid, name = found
        note: dict[str, Any] = {"jobid": jobid, "cluster": name, "sent": task.data[self.mark], "workdir": task.pwd}
        if asked is not None:
            note |= {"name": asked.name, "asked": joboutput.described(asked)}
        data = {key: value for key, value in task.data.items() if key not in (self.mark, "process")}
        data |= {"slurm": {key: value for key, value in note.items() if value}, "submission": {"returncode": 0}}
        kept = Kept(extras={"script": script.encode("utf-8", "surrogateescape")} if script else {})
        was = (Status.RUNNING, task.attempt)
        now = self.store.swap(task.uid, was, Status.SUBMITTED, kept=kept, started=None, data=data, facts=task.facts)
        self.elsewhere[task.uid] = now
        self.told(now)

    def not_submitted(self, task: Task, why: str) -> None:
        """Record what Slurm did not take; try again later where that may help.

        What it may have taken is left as it is: `adopt` sees to it as soon as Slurm tells.
        """
        if says(why, AWAY) or (says(why, UNHEARD) and not says(why, BUSY)):
            self.leave_alone(why)
        if not says(why, (*BUSY, *UNHEARD)):
            self.give_up(task, f"not submitted: {why}")
            return
        if not says(why, BUSY):
            self.elsewhere[task.uid] = task
            return
        self.remove_files(task)
        data = self.notes_before(task) | {"not_before": time.time() + LATER}
        self.enter(self.store.swap(task.uid, (Status.RUNNING, task.attempt), Status.QUEUED, started=None, data=data))

    def notes_before(self, task: Task) -> dict[str, Any]:
        """The notes of a job as they were before we tried to submit it."""
        return {key: value for key, value in before_its_run(task).items() if key != self.mark}

    def give_up(self, task: Task, why: str, code: int = 1) -> None:
        """Record a job that never came to Slurm."""
        assert self.board is not None
        self.remove_files(task)
        data = self.notes_before(task) | {"reason": why}
        kept = Kept(stderr=f"{why}\n".encode("utf-8", "surrogateescape"))
        was = (Status.RUNNING, task.attempt)
        now = self.store.swap(task.uid, was, Status.FAILED, returncode=code, ended=timestamp(), data=data, kept=kept)
        self.board.ended(task.uid, Status.FAILED)
        self.told(now)
        self.stop_if_failed(now)

    def words(self, task: Task, job: Job, conditions: Sequence[str]) -> list[str]:
        """The call of sbatch, without the script."""
        place = os.path.join(self.home, "slurm", f"{task.uid}.{task.attempt}").replace("\\", "\\\\").replace("%", "%%")
        asked: dict[str, Any] = {
            "parsable": True, "job-name": task.name or f"qrec-{task.number}", "chdir": task.pwd or None,
            "output": f"{place}.out", "error": f"{place}.err", "comment": comment_of(task),
            "dependency": ",".join(conditions) or None, "kill-on-invalid-dep": "yes" if conditions else None,
            "cpus-per-task": job.cpus, "mem": f"{-(-job.mem // 1_000_000)}M" if job.mem else None,
            "gres": f"gpu:{job.gpus}" if job.gpus else None, "begin": begin_of(job.at),
            "time": time_of(job.timeout), "nice": -task.priority if task.priority else None,
            **{name.replace("_", "-"): value for name, value in job.slurm.items()},
        }  # fmt: skip
        return ["sbatch", *flags(asked)]

    def keep_script(self, task: Task, script: str) -> str:
        """Write the script that sbatch reads; it keeps a copy of its own."""
        path = os.path.join(self.home, "slurm", f"{task.uid}.{task.attempt}.sh")
        make_private(os.path.dirname(path))
        with open(path, "w", encoding="utf-8", errors="surrogateescape", opener=private) as file:
            file.write(script)
        return path

    # What goes on

    def consider(self, task: Task) -> None:
        """See Worker: what has failed may be tried again, what Slurm gave up is skipped with the reason."""
        assert self.board is not None
        if task.queue == self.queue and "submission" in task.data and task.status.is_final:
            self.clear_away(task)
            job = Job.of(task)
            tried = task.data.get("retried", 0)
            if task.status is Status.FAILED and tried < job.retries and not self.cancelling:
                notes = {**task.data["job"], "at": time.time() + job.backoff * 2**tried}
                task = retried(self.door.recorder, task, retried=tried + 1, job=notes)
            elif task.uid in self.elsewhere:
                task = self.explained(task)
                self.told(task)
                self.stop_if_failed(task)
        super().consider(task)

    def stop_if_failed(self, task: Task) -> None:
        """Let nothing more begin once a job did not complete, where that is wished."""
        if self.fail_fast and task.status is not Status.COMPLETE:
            self.failed.add(task.uid)
            self.stopping = True

    def is_over(self) -> bool:
        """See Worker: what had begun when a job failed is followed to its end."""
        if self.failed and not (self.interrupted or self.leaving):
            return self.board is not None and not self.elsewhere
        return super().is_over()

    def try_to_withdraw(self) -> None:
        """Once Slurm and the store let us."""
        try:
            self.withdraw()
        except StoreError:
            raise
        except QrecError as error:
            if says(str(error), (*AWAY, *UNHEARD)):
                raise
            self.door.complaints.append(str(error))  # what Slurm has goes on
        self.withdrawn = True

    def withdraw(self) -> None:
        """Take from Slurm what has not begun after a job failed; what depends on that one, Slurm itself gives up."""
        by_cluster: dict[str | None, list[str]] = {}
        for task in self.not_begun():
            slurm = self.store.change(task.uid, wish="cancel").data["slurm"]
            by_cluster.setdefault(slurm.get("cluster"), []).append(slurm["jobid"])
        for name, ids in by_cluster.items():
            slurm_calls.act([*slurm_calls.words_for("scancel", name), "--quiet", *ids], ANSWER)

    def not_begun(self) -> list[Task]:
        """The jobs that Slurm has, and would begin although one has failed."""
        given = [task for task in self.elsewhere.values() if "jobid" in task.data.get("slurm", {})]
        doomed, known = set(self.failed), 0
        while len(doomed) > known:
            known = len(doomed)
            needs = ((task.uid, uid) for task in given for uid, kind in Job.of(task).links(task.after) if kind == OK)
            doomed |= {uid for uid, parent in list(needs) if parent in doomed}
        return [task for task in given if task.status is Status.SUBMITTED and task.uid not in doomed]

    def explained(self, task: Task) -> Task:
        """A skipped job with the parent because of which."""
        culprit = self.culprit(task)
        while culprit is not None and (above := self.culprit(culprit)) is not None:
            culprit = above
        if culprit is None:
            return task
        return self.store.change(task.uid, data={**task.data, "reason": self.reason_of(culprit.uid)})

    def culprit(self, task: Task) -> Task | None:
        """The parent that did not end as a skipped job needed it."""
        if task.status is not Status.SKIPPED or "submission" not in task.data:
            return None
        for uid, kind in Job.of(task).links(task.after):
            parent = self.door.known(uid)
            if parent is None or not parent.status.is_final or kind == ANY:
                continue
            if (parent.status is Status.COMPLETE) == (kind == FAILED):
                return parent
        return None

    def clear_away(self, task: Task) -> None:
        """Remove the files that were only there for Slurm, once the store has what is in them."""
        if task.data.get("slurm", {}).get("taken") is None and task.status is not Status.SKIPPED:
            return
        self.remove_files(task)

    def remove_files(self, task: Task) -> None:
        """Remove the script, and what a job has printed."""
        for end in ("sh", "out", "err"):
            try:
                os.unlink(os.path.join(self.home, "slurm", f"{task.uid}.{task.attempt}.{end}"))
            except OSError:
                pass  # it has none

    def adopt(self) -> None:
        """See to jobs of which nobody heard whether Slurm took them: it has them, by their comment, or has not.

        Their worker died while it submitted them, or Slurm did not answer us.
        """
        left = [task for task in self.elsewhere.values() if self.is_left(task)]
        if left:
            calls = set(command_lines())  # an sbatch outlives its worker, and may still submit
            left = [task for task in left if not any(flag_of(task) in call for call in calls)]
        if not left:
            return
        known = dict(comments())
        for task in left:
            if comment_of(task) in known:
                asked = sbatch.submission([*self.words(task, Job.of(task), ()), "-"], task.pwd, {})
                self.submitted(task, (known[comment_of(task)], None), asked, None)
            elif self.may_come_yet(task):
                continue
            elif time.time() - float(task.data[self.mark]) < FORGETS:
                was, data = (Status.RUNNING, task.attempt), self.notes_before(task)
                self.enter(self.store.swap(task.uid, was, Status.QUEUED, started=None, data=data))
                self.elsewhere.pop(task.uid, None)
            else:
                data = {**before_its_run(task), "reason": "nobody knows whether Slurm has taken it"}
                self.store.swap(task.uid, (Status.RUNNING, task.attempt), Status.LOST, data=data)
            self.doubtful.pop(task.uid, None)

    def is_left(self, task: Task) -> bool:
        """Whether somebody died while submitting a job, or we did not hear what became of it."""
        if task.status is not Status.RUNNING or self.mark not in task.data:
            return False
        return self.is_mine(task) or runs(task, "recorder") is False

    def is_mine(self, task: Task) -> bool:
        """Whether we have submitted a job ourselves."""
        return bool(task.data.get("process") == {**self.where, "recorder": self.mine})

    def may_come_yet(self, task: Task) -> bool:
        """Whether Slurm, which answers again, may still come to what it was sent while it did not."""
        if not self.is_mine(task):
            return False
        now = time.monotonic()
        if self.doubtful.setdefault(task.uid, now) + LATER <= now:
            return False
        self.ask_again = now + LATER
        return True


def says(text: str, signs: Sequence[str]) -> bool:
    """Whether one of the signs is in a text."""
    return any(sign in text for sign in signs)


def jobs_environment() -> dict[str, str]:
    """Our variables without those of a job that we may be in ourselves."""
    kept = own_environment()
    return {name: value for name, value in kept.items() if name in slurm_calls.KEPT or not name.startswith("SLURM_")}


def script_of(task: Task, job: Job) -> str:
    """The batch script of a job."""
    lines = ["#!/bin/bash", *(f"export {name}={shlex.quote(value)}" for name, value in job.env.items())]
    lines.append(f"export QREC_TASK={task.uid}")
    return "\n".join([*lines, f"exec -- {shlex.join(job_words(task, job))}"]) + "\n"


def comment_of(task: Task) -> str:
    """By what a job is known whose id was not heard."""
    return f"{task.uid}.{task.attempt}"


def flag_of(task: Task) -> bytes:
    """The word that tells sbatch of it."""
    return f"\0--comment={comment_of(task)}\0".encode()


def command_lines() -> Iterator[bytes]:
    """The words of all processes here."""
    return (command_line(name) for name in listed("/proc") if name.isdecimal())


def comments() -> Iterator[tuple[str, str]]:
    """The comments of our jobs that the controller knows, and their ids."""
    told = slurm_calls.act(["squeue", "--me", "--noheader", "--states=all", "--format=%i %k"], ANSWER)
    for line in told.splitlines():
        jobid, _, comment = line.strip().partition(" ")
        yield comment, jobid


def flags(asked: Mapping[str, Any]) -> Iterator[str]:
    """Options as words; nothing of those that are not asked for."""
    for name, value in asked.items():
        if value is True:
            yield f"--{name}"
        elif value is not None and value is not False:
            yield f"--{name}={value}"


def begin_of(at: float | None) -> str | None:
    """A time in Slurm's words: local, without a zone."""
    return moment(timestamp(at)).astimezone().strftime("%Y-%m-%dT%H:%M:%S") if at and at > time.time() else None


def time_of(seconds: float | None) -> str | None:
    """A limit in Slurm's words."""
    if seconds is None:
        return None
    whole = max(1, round(seconds))
    return f"{whole // 60}:{whole % 60:02}"
