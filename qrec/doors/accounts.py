"""What Slurm's accounting knows of jobs, as sacct tells it: asked now, or printed before with `sacct --parsable2`.

A job is a task, an array with all its tasks is one, and steps are none.  What qrec has submitted itself, or adopted,
is known by its job's id and not taken in again.
"""

from __future__ import annotations

import time
from functools import partial

from qrec.doors.past import Entry
from qrec.errors import Refused
from qrec.executors import joboutput, sbatch, slurm_calls, slurm_jobs
from qrec.executors.slurm import TASKS_KEPT, begun_of, ending_of, noted, reason_of, told_words
from qrec.output import JOB
from qrec.stores.base import Query
from qrec.task import Record, Status, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from qrec.doors.intake import Arrival
    from qrec.doors.past import Past
    from qrec.executors.slurm_jobs import Job
    from qrec.stores.base import Bundle, Store
    from qrec.task import Task

LIMIT = 300.0  #: seconds that sacct may take to tell of years
DAY = 86_400.0
#: What is asked for beside what the executor asks for; a release that has no SubmitLine is asked without.
MORE = ("User", "Cluster", "SubmitLine")
NEEDED = ("JobID", "State")
#: Which column takes the bars that are one too many: they may stand in these only.
FREE = ("SubmitLine", "JobName", "Comment", "WorkDir")
AROUND = 60.0  #: seconds around a job in which a file must have been changed last to be its output


class Submitted(Record):
    """One submission: its job, or the tasks of its array, as they were in the end."""

    jobid: str  #: the array's own
    at: float | None  #: when it was submitted first, in seconds since the epoch
    jobs: tuple[Job, ...]
    row: Mapping[str, str]  #: what sacct printed of the first


# Asking, or reading what was printed


def asked(user: str, since: float | None) -> Iterator[dict[str, str]]:
    """What sacct tells now of a user's jobs, all of them or since a time.  Refused if it does not."""
    fields = [*slurm_jobs.ACCOUNTS, *MORE]
    try:
        said = call(user, since, fields)
        if "nvalid field" in said.err:
            fields.remove("SubmitLine")
            said = call(user, since, fields)
    except slurm_calls.NoAnswer as error:
        cure = "`qrec import sacct FILE` reads what `sacct --parsable2` has printed elsewhere"
        raise Refused(f"{error}; {cure}") from None
    if slurm_calls.failed(said) or (not said.out.strip() and said.err.strip()):
        raise Refused(slurm_calls.complaint(said, "sacct"))
    return slurm_jobs.rows(said.out, fields)


def call(user: str, since: float | None, fields: Sequence[str]) -> slurm_calls.Said:
    """One question.  Up to now, sacct would leave out what its clock, or the database's, calls this moment."""
    begin, end = (time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(at)) for at in (since or 0, time.time() + DAY))
    *words, _ = slurm_calls.account_words(None)
    span = (f"--starttime={begin}", f"--endtime={end}")
    return slurm_calls.call([*words, f"--format={','.join(fields)}", f"--user={user}", *span], LIMIT)


def printed(lines: Iterable[bytes]) -> Iterator[dict[str, str] | tuple[str, str]]:
    """The rows that `sacct --parsable2` printed with its headings; of a bad one where it is, and why.  Refused."""
    rest = iter(lines)
    first = next(rest, b"").decode("utf-8", "replace").rstrip("\n")
    end = "|" if first.endswith("|") else ""  # as `--parsable` prints it
    names = first.removesuffix(end).split("|")
    if missing := [name for name in NEEDED if name not in names]:
        raise Refused(
            f"this was not printed by `sacct --parsable2`: its first line does not name {' and '.join(missing)}"
        )
    for number, line in enumerate(rest, 2):
        values = fitted(line.decode("utf-8", "surrogateescape").rstrip("\n").removesuffix(end), names)
        if values is not None:
            yield dict(zip(names, values, strict=True))
        elif line.strip():
            yield f"line {number}", f"it has not the {len(names)} columns that the first line names"


def fitted(line: str, names: Sequence[str]) -> list[str] | None:
    """The values of a line; bars in the one column that may hold some belong to it.  None if they do not fit."""
    values = line.split("|")
    more = len(values) - len(names)
    free = [names.index(name) for name in FREE if name in names]
    if more > 0 and free:
        at = free[0]
        values[at : at + more + 1] = ["|".join(values[at : at + more + 1])]
    return values if len(values) == len(names) else None


def completed(row: Mapping[str, str]) -> dict[str, str]:
    """A row with all that is read of one: what was not asked for is empty, or told in other words."""
    whole = {**dict.fromkeys((*slurm_jobs.ACCOUNTS, *MORE), ""), **row}
    for name, unit in (("Elapsed", 1), ("Timelimit", 60)):
        seconds = slurm_jobs.duration(row.get(name, ""))
        if seconds is not None and not whole[f"{name}Raw"]:
            whole[f"{name}Raw"] = str(int(seconds // unit))
    whole["JobIDRaw"] = whole["JobIDRaw"] or whole["JobID"]
    return whole


# Jobs


def submissions(rows: Iterable[Mapping[str, str]]) -> list[Submitted]:
    """What was submitted, oldest first; a job's id may have been given again years later."""
    whole = list(map(completed, rows))
    first: dict[str, Mapping[str, str]] = {}
    for row in whole:
        if "." not in row["JobID"]:
            first.setdefault(slurm_jobs.base(row["JobID"]), row)
    found: dict[tuple[str, float | None], list[Job]] = {}
    for job in slurm_jobs.jobs_in_rows(whole):
        found.setdefault((slurm_jobs.base(job.jobid), job.earlier[0] if job.earlier else job.submit), []).append(job)
    every = [
        Submitted(jobid=jobid, at=at, jobs=slurm_jobs.newest(jobs), row=first[jobid])
        for (jobid, at), jobs in found.items()
    ]
    return sorted(every, key=lambda one: (one.at or 0.0, joboutput.place_of(one.jobid)))


def arrivals(lines: Iterable[bytes] | None, past: Past, store: Store, since: float | None = None) -> Iterator[Arrival]:
    """The jobs that sacct tells of: those of the lines, or if there are none, the user's as of now."""
    from qrec.doors.intake import Arrival

    rows: list[Mapping[str, str]] = []
    for row in asked(past.user, since) if lines is None else printed(lines):
        if isinstance(row, tuple):
            yield Arrival(place=row[0], trouble=row[1])
        else:
            rows.append(row)
    known = recorded(store)
    for one in submissions(rows):
        yield arrival(one, past, known)


def recorded(store: Store) -> dict[str, list[Task]]:
    """The tasks that have a job, by its id."""
    found: dict[str, list[Task]] = {}
    for executor in ("slurm", "queue"):
        for task in store.newest_first(Query(executor=executor)):
            if jobid := task.data.get("slurm", {}).get("jobid"):
                found.setdefault(jobid, []).append(task)
    return found


def arrival(one: Submitted, past: Past, known: Mapping[str, Sequence[Task]]) -> Arrival:
    """A job as a task: the one that has it, or a new one."""
    job = slurm_jobs.whole(one.jobs)
    status = slurm_jobs.status_of(job)
    if status is None:
        trouble = f"no status stands for Slurm's state {job.state!r}"
        return past.arrival(Entry(place=f"job {one.jobid}", trouble=trouble))
    words = told_words(one.row["SubmitLine"]) or ("sbatch", "--job-name", job.name)
    entry = Entry(
        place=f"job {one.jobid}", command=" ".join(words), argv=words, at=one.at, pwd=job.workdir,
        user=slurm_jobs.told(one.row["User"]), name=f"{one.row['Cluster']}\0{one.jobid}\0{one.at or ''}",
        data={"submission": {"returncode": 0}, "slurm": note_of(one, job, words)},
    )  # fmt: skip
    made = past.arrival(entry, partial(with_output, job=job) if status.is_final else None)
    if made.bundle is None:
        return made
    task = as_it_stands(made.bundle.task, status, job)
    ours = [task for task in known.get(one.jobid, ()) if has(task, job, one.row["Cluster"])]
    return made.copy(bundle=made.bundle.copy(task=task.copy(uid=ours[0].uid) if ours else task))


def note_of(one: Submitted, job: Job, words: Sequence[str]) -> dict[str, Any]:
    """What the executor knows of a job that it has submitted."""
    note: dict[str, Any] = {"jobid": one.jobid, "name": job.name, "workdir": job.workdir, "sent": one.at}
    if sbatch.words_of(words).program == "sbatch" and job.workdir:
        described = joboutput.described(sbatch.submission(words, job.workdir, {}))
        options = {name: value for name, value in described["options"].items() if name != "chdir"}
        note["asked"] = {"folder": job.workdir, "options": {**options, "job-name": job.name}}
        note["files"] = joboutput.expected(note, one.jobs, slurm_jobs.told(one.row["User"]))
        note["begun"] = begun_of(one.jobs)
    note["array"] = any("_" in each.jobid for each in one.jobs)
    note["tasks"] = [[each.jobid, each.state, each.exitcode, each.nodes] for each in one.jobs[:TASKS_KEPT]]
    told = {**note, **noted(job)} if note["array"] else {**note, **noted(job), "tasks": None}
    return {name: value for name, value in told.items() if value not in (None, False, "", [])}


def as_it_stands(task: Task, status: Status, job: Job) -> Task:
    """The task with how its job has ended, or that it has not."""
    task = task.copy(status=status, returncode=None, started=timestamp(job.start) if job.start else task.started)
    if not status.is_final:
        return task
    task = task.copy(**{**ending_of(task, job), "ended": timestamp(job.end) if job.end else None})
    reason = reason_of(task, job)
    return task.copy(data={**task.data, "reason": reason}) if reason else task


def has(task: Task, job: Job, name: str) -> bool:
    """Whether a task has this job, and not another that was given its id."""
    told = task.data["slurm"]
    if told.get("cluster") and name and told["cluster"] != name:
        return False
    return slurm_jobs.same(job, told.get("sent"), told.get("submit"))


def with_output(bundle: Bundle, home: str, job: Job) -> Bundle:
    """The task with what its job has printed, as far as those files surely are its own."""
    note = dict(bundle.task.data["slurm"])
    note["files"] = [one for one in note.get("files", ()) if is_own(one["stdout"], job)]
    taken = joboutput.take_in(home, bundle.task, None, note, None)
    told = {**note, "missing": list(taken.missing), "taken": taken.marks}
    slurm = {name: value for name, value in told.items() if value not in ([], {}, None)}
    task = bundle.task.copy(data={**bundle.task.data, "slurm": slurm})
    some = taken.kept is not None and any(taken.kept.extras.get(name) for name in JOB.values())
    return bundle.copy(task=task, kept={task.attempt: taken.kept} if some and taken.kept else {})


def is_own(path: str, job: Job) -> bool:
    """Whether a file was changed last while a job ran: another one may have written to the same path since."""
    mark = joboutput.mark_of(path)
    if mark is None:
        return True  # it is missed
    at = mark[1] / 1e9
    return job.start is not None and job.end is not None and job.start - AROUND <= at <= job.end + AROUND
