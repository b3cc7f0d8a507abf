"""Slurm's jobs as plain data, and how they are read from what its commands print.

Nothing here knows of tasks but their Status, and nothing is asked.
"""

from __future__ import annotations

import re
import signal as signals
import time

from qrec.task import Record, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

#: How many seconds our clock and the controller's may differ.
SKEW = 300.0


# Jobs


class Job(Record):
    """One run of one job, of one task of an array, or of one part of a heterogeneous job."""

    jobid: str  #: as users are told it: `42`, `42_1`, `42+1`
    raw: str  #: the id underneath, a number of its own for each task of an array
    state: str  #: Slurm's word: `PENDING`, `COMPLETED` ...
    cluster: str | None = None  #: None: the one that is asked by default
    name: str = ""
    reason: str = ""  #: why it waits, or how it failed
    by: str = ""  #: the id of the user who cancelled it, if accounting tells of one
    exitcode: str = "0:0"  #: code:signal, as Slurm tells it
    submit: float | None = None  #: times are in seconds since the epoch; a requeued job has been submitted anew
    start: float | None = None
    end: float | None = None
    expected: float | None = None  #: when a waiting job may start, if Slurm has thought about it
    nodes: str = ""  #: `node[1-3]`
    partition: str = ""
    account: str = ""
    requested: Mapping[str, Any] = {}  #: `cpus`, `memory` in bytes, `time` in seconds, `gres` as text
    used: Mapping[str, Any] = {}  #: `elapsed` and `cpu` in seconds, `memory` (peak of the largest process) in bytes
    dependency: str = ""
    workdir: str = ""
    stdout: str = ""  #: only `details` tells
    stderr: str = ""  #: only `details` tells
    comment: str = ""
    restarts: int = 0  #: how often it was put back into the queue
    earlier: tuple[float, ...] = ()  #: the submit times of runs that ended by being put back, if accounting knows them
    sure: bool = True  #: whether the queue was asked, too, and does not say otherwise
    accounted: bool = False  #: whether accounting has closed it, so that no more is to be learned
    counts: Mapping[str, int] = {}  #: for a whole array: how many tasks are in which state

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return STATUSES.get(self.state) in (Status.SUBMITTED, Status.RUNNING)

    @property
    def is_final(self) -> bool:
        """Whether its state will not change by itself."""
        return (status := status_of(self)) is not None and status.is_final

    @property
    def returncode(self) -> int | None:
        """The code as a shell would tell it; None while it lives, or if it ended without one."""
        return ending(self)[0]

    @property
    def signal(self) -> int | None:
        """The signal that ended it."""
        return ending(self)[1]

    @classmethod
    def from_plain(cls, values: Mapping[str, Any]) -> Job:
        """The job of which `asdict`, through JSON, told."""
        known = {name: value for name, value in values.items() if name in cls._fields}
        return cls(**{**known, "earlier": tuple(known.get("earlier", ()))})


#: Each of Slurm's words and the status it stands for.  Newer releases may add some: those change nothing.
STATUSES = {
    word: status
    for status, words in {
        Status.SUBMITTED: "PENDING CONFIGURING REQUEUED REQUEUE_HOLD REQUEUE_FED RESV_DEL_HOLD SPECIAL_EXIT",
        Status.RUNNING: "RUNNING COMPLETING SUSPENDED STOPPED SIGNALING STAGE_OUT RESIZING",
        Status.COMPLETE: "COMPLETED",
        Status.FAILED: "FAILED TIMEOUT OUT_OF_MEMORY DEADLINE BOOT_FAIL NODE_FAIL PREEMPTED",
        Status.CANCELLED: "CANCELLED REVOKED",
    }.items()
    for word in words.split()
}
#: After these a job may come back under its id, while accounting still tells of the end.
RETURNING = frozenset({"NODE_FAIL", "PREEMPTED"})
#: A run that ended so was followed by another of the same job.
PUT_BACK = RETURNING | {"REQUEUED"}


def status_of(job: Job) -> Status | None:
    """The status a job's state stands for; None: leave it as it is."""
    if job.state in RETURNING and not job.sure:
        return None
    return STATUSES.get(job.state)


def ending(job: Job) -> tuple[int | None, int | None]:
    """Return code and signal of a job.

    The state decides: `0:0` is also what jobs show that were cancelled, or lost with their node.
    """
    status = STATUSES.get(job.state)
    if status is None or not status.is_final:
        return None, None
    special = {"TIMEOUT": (124, None), "OUT_OF_MEMORY": (137, int(signals.SIGKILL))}
    if job.state in special:
        return special[job.state]
    code, signal = (number(part) or 0 for part in f"{job.exitcode}:0".split(":")[:2])
    if signal == LAUNCH_FAILURE:
        return 125, None
    if signal == OUT_OF_MEMORY:
        return special["OUT_OF_MEMORY"]
    if signal:
        return 128 + signal, signal
    return (code, None) if code or status is Status.COMPLETE else (None, None)


#: In place of a signal: the job could not be launched, or was out of memory.
LAUNCH_FAILURE, OUT_OF_MEMORY = 53, 125


def same(job: Job, submitted_at: float | None, known_submit: float | None) -> bool:
    """Whether a job is the one we know, and not another that was given its id.

    A controller that crashes gives ids again, and so does one that has come to the largest.  `known_submit` is the
    submit time that Slurm told before; without it, `submitted_at` tells when, by our clock, the job was sent.
    """
    since, tolerance = (known_submit, 1.0) if known_submit is not None else (submitted_at, SKEW)
    if since is None or job.submit is None:
        return True
    if any(abs(submit - since) <= tolerance for submit in (job.submit, *job.earlier)):
        return True
    return job.restarts > 0 and job.submit > since


def ours(jobs: Iterable[Job], submitted_at: float | None, known_submit: float | None) -> tuple[Job, ...]:
    """Of all runs under an id those that are ours, and of each job the newest."""
    return newest(job for job in jobs if same(job, submitted_at, known_submit))


def newest(runs: Iterable[Job]) -> tuple[Job, ...]:
    """Of each job the last run.

    As long as accounting lags it tells of a task of an array by the array's own id: that one is counted by its name.
    """
    last = {job.jobid: job for job in sorted(runs, key=lambda job: job.submit or 0.0)}
    arrays = {base(jobid) for jobid in last if "_" in jobid}
    return tuple(job for jobid, job in last.items() if jobid not in arrays)


def whole(jobs: Sequence[Job], expected: int = 0) -> Job:
    """The tasks of an array as one job: running if any lives, failed if any failed, complete if all are.

    There is at least one; of each the last run counts.  `expected` is how many there are to be: while fewer are seen
    it is not over.
    """
    jobs = newest(jobs)
    if len(jobs) == 1 and expected < 2:
        return jobs[0]
    first = deciding(jobs, expected)
    over = first.is_final
    return first.copy(
        jobid=base(first.jobid),
        raw=base(first.jobid),
        submit=least(job.submit for job in jobs),
        start=least(job.start for job in jobs),
        end=max((job.end for job in jobs if job.end is not None), default=None) if over else None,
        used=used_by_all(jobs),
        sure=all(job.sure for job in jobs),
        accounted=all(job.accounted for job in jobs),
        counts=counted(jobs),
    )


def deciding(jobs: Sequence[Job], expected: int) -> Job:
    """The task whose state is that of the whole array."""
    by_status: dict[Status | None, Job] = {}
    for job in jobs:
        by_status.setdefault(status_of(job), job)
    started = by_status.keys() - {Status.SUBMITTED}
    some_wait = Status.SUBMITTED in by_status
    if (some_wait and started) or (len(jobs) < expected and not some_wait):
        by_status.setdefault(Status.RUNNING, jobs[0].copy(state="RUNNING", reason="", exitcode="0:0"))
    return next(by_status[status] for status in ORDER if status in by_status)


#: The first of these that a task of an array has is that of the array.
ORDER = (Status.RUNNING, Status.SUBMITTED, None, Status.FAILED, Status.CANCELLED, Status.COMPLETE)
OVER = frozenset(ORDER[3:])


def used_by_all(jobs: Iterable[Job]) -> dict[str, Any]:
    """What the tasks of an array used: their time added up, the largest peak of memory."""
    used: dict[str, Any] = {}
    for job in jobs:
        for name, value in job.used.items():
            used[name] = max(used.get(name, 0), value) if name == "memory" else used.get(name, 0) + value
    return used


def counted(jobs: Iterable[Job]) -> dict[str, int]:
    """How many jobs are in which state."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.state] = counts.get(job.state, 0) + 1
    return counts


def least(times: Iterable[float | None]) -> float | None:
    """The first of some times."""
    return min((at for at in times if at is not None), default=None)


def base(jobid: str) -> str:
    """The id of an array or heterogeneous job, from that of one of its tasks or parts."""
    return re.split(r"[_+]", jobid)[0]


# Reading what Slurm prints

#: Ends a field; no name or comment holds it.
MARK = "\x1f"
#: A new row: names and comments may hold ends of lines.
ROW = re.compile(rf"\n(?=[0-9][\w\[\],%.+:-]* *{MARK})")
#: What Slurm writes where there is nothing.
NOTHING = frozenset({"", "(null)", "N/A", "None", "None assigned", "Unknown", "Invalid", "NONE"})

#: What squeue is asked for, and how wide each column is, as it cuts what is longer.  Of its two kinds of format only
#: this one has the exit code, without which a site that keeps no accounts could not tell how a job ended.
QUEUE = {
    "JobArrayID": 48,
    "JobID": 16,
    "State": 24,
    "exit_code": 12,
    "RestartCnt": 8,
    "SubmitTime": 24,
    "StartTime": 24,
    "EndTime": 24,
    "TimeLimit": 16,
    "tres-alloc": 160,
    "NodeList": 200,
    "Partition": 60,
    "Account": 60,
    "Reason": 240,
    "Dependency": 240,
    "Comment": 200,
    "WorkDir": 480,
    "Name": 200,
}
#: What sacct is asked for.  The steps' rows have to come with it, as only they know of the memory.
ACCOUNTS = """
    JobID JobIDRaw State ExitCode Submit Start End ElapsedRaw TotalCPU MaxRSS TimelimitRaw ReqTRES NodeList
    Partition Account Reason Comment WorkDir JobName
""".split()


def rows(text: str, names: Sequence[str]) -> Iterator[dict[str, str]]:
    """Each row that was printed, as values by name; what is no row (headings, warnings) is left out."""
    for line in ROW.split("\n" + text):
        values = line.strip("\n").split(MARK)
        if len(values) == len(names):
            yield {name: value.strip() for name, value in zip(names, values, strict=True)}


def jobs_in_queue(text: str, cluster: str | None = None) -> list[Job]:
    """What squeue printed."""
    return [queued(row, cluster) for row in rows(text.replace(f"{MARK}\n", "\n"), list(QUEUE))]


def queued(row: Mapping[str, str], cluster: str | None) -> Job:
    """One row of squeue."""
    state = state_word(row["State"])
    waits = STATUSES.get(state) is Status.SUBMITTED
    over = STATUSES.get(state) in OVER
    start, end = epoch(row["StartTime"]), epoch(row["EndTime"])
    return Job(
        jobid=row["JobArrayID"],
        raw=row["JobID"],
        cluster=cluster,
        state=state,
        exitcode=exitcode(row["exit_code"]),
        restarts=number(row["RestartCnt"]) or 0,
        submit=epoch(row["SubmitTime"]),
        start=None if waits else start,
        end=end if over else None,
        expected=start if waits else None,
        requested=requested(row["tres-alloc"], duration(row["TimeLimit"])),
        used={"elapsed": end - start} if over and start is not None and end is not None else {},
        dependency=told(row["Dependency"]),
        **common(row),
    )


def common(row: Mapping[str, str]) -> dict[str, Any]:
    """The fields that squeue and sacct tell alike."""
    names = {"NodeList": "nodes", "Partition": "partition", "Account": "account", "Reason": "reason"}
    names.update({"Comment": "comment", "WorkDir": "workdir", "Name": "name", "JobName": "name"})
    return {ours: told(row[theirs]) for theirs, ours in names.items() if theirs in row}


def jobs_in_accounts(text: str, cluster: str | None = None) -> list[Job]:
    """What sacct printed: all runs of each job, the oldest first, with what their steps used."""
    return jobs_in_rows(rows(text, ACCOUNTS), cluster)


def jobs_in_rows(rows: Iterable[Mapping[str, str]], cluster: str | None = None) -> list[Job]:
    """The same of rows by the names of `ACCOUNTS`."""
    jobs: list[Job] = []
    for row in rows:
        if "." not in row["JobID"]:
            jobs.append(accounted(row, cluster))
        elif jobs and jobs[-1].jobid == row["JobID"].split(".")[0]:
            jobs[-1] = with_step(jobs[-1], row)
    return chained([task for job in jobs for task in unfolded(job)])


def accounted(row: Mapping[str, str], cluster: str | None) -> Job:
    """The main row of a job."""
    state = state_word(row["State"])
    over = STATUSES.get(state) in OVER
    elapsed, cpu = number(row["ElapsedRaw"]), duration(row["TotalCPU"])
    minutes = number(row["TimelimitRaw"])
    return Job(
        jobid=row["JobID"],
        raw=row["JobIDRaw"],
        cluster=cluster,
        state=state,
        by=row["State"].partition(" by ")[2],
        exitcode=row["ExitCode"],
        submit=epoch(row["Submit"]),
        start=epoch(row["Start"]),
        end=epoch(row["End"]) if over else None,
        requested=requested(row["ReqTRES"], None if minutes is None else minutes * 60.0),
        used={name: value for name, value in (("elapsed", elapsed), ("cpu", cpu)) if over and value is not None},
        accounted=over,
        **common(row),
    )


def with_step(job: Job, row: Mapping[str, str]) -> Job:
    """The job with the memory one of its steps used."""
    peak = size(row["MaxRSS"])
    if peak is None or not job.accounted:
        return job
    return job.copy(used={**job.used, "memory": max(peak, job.used.get("memory", 0))})


def unfolded(job: Job) -> list[Job]:
    """The tasks of an array that accounting tells of in one row: `6_[0-2,8%4]`."""
    array, _, tasks = job.jobid.partition("_[")
    ranges = [re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part) for part in re.sub(r"[]%].*", "", tasks).split(",")]
    if not tasks or not all(ranges):
        return [job]
    spans = [(int(found[1]), int(found[2] or found[1]), int(found[3] or 1)) for found in ranges if found]
    return [job.copy(jobid=f"{array}_{n}") for low, high, step in spans for n in range(low, high + 1, step)]


def chained(jobs: Sequence[Job]) -> list[Job]:
    """The jobs, each knowing the runs it had before."""
    last: dict[str, Job] = {}
    done = []
    for job in sorted(jobs, key=lambda job: job.submit or 0.0):
        before = last.get(job.jobid)
        if before is not None and before.state in PUT_BACK and before.submit is not None:
            job = job.copy(earlier=(*before.earlier, before.submit))
        last[job.jobid] = job
        done.append(job)
    return done


def state_word(text: str) -> str:
    """`CANCELLED` from `CANCELLED by 0` or `CANCELLED+`."""
    return (text.split() or [""])[0].rstrip("+").upper()


def told(text: str) -> str:
    """A text, or none where Slurm says that there is none."""
    return "" if text in NOTHING else text


def exitcode(text: str) -> str:
    """`code:signal` from the status that squeue prints; the code is left over where a signal ended the job."""
    status = number(text) or 0
    signal = status & 0x7F
    return f"{0 if signal else status >> 8 & 0xFF}:{signal}"


def number(text: str) -> int | None:
    """A number, or None where there is a word."""
    return int(text) if re.fullmatch(r"[0-9]+", text) else None


def epoch(text: str) -> float | None:
    """A time; Slurm prints its own format where ours is not understood."""
    if (at := number(text)) is not None:
        return float(at) or None
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def duration(text: str) -> float | None:
    """Seconds, from `1-02:03:04`, `02:03:04` or `03:04.567`; None where it is no time (`UNLIMITED`)."""
    found = re.fullmatch(r"(?:(\d+)-)?(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)", text)
    if not found:
        return None
    days, hours, minutes, seconds = (float(part or 0) for part in found.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


def size(text: str) -> int | None:
    """Bytes, from `100M` or `1.50G`; None where it is no size."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGTP]?)[nc]?", text)
    return int(float(found[1]) * 1024 ** " KMGTP".index(found[2] or " ")) if found else None


def requested(tres: str, seconds: float | None) -> dict[str, Any]:
    """What was asked for, from `cpu=1,mem=100M,gres/gpu=2` and a time limit."""
    pairs = dict(part.split("=", 1) for part in tres.split(",") if "=" in part)
    gres = ",".join(f"{name[5:]}={value}" for name, value in pairs.items() if name.startswith("gres/"))
    found = {
        "cpus": number(pairs.get("cpu", "")),
        "memory": size(pairs.get("mem", "")),
        "time": seconds,
        "gres": gres or None,
    }
    return {name: value for name, value in found.items() if value is not None}


#: Begins a value of `scontrol show job`.
NAMED = re.compile(r"(?:^|(?<= ))([A-Z][A-Za-z:/]*)=")
#: Their values may hold anything, and are the last of their line.
FREE = frozenset("JobName Comment AdminComment SystemComment Command WorkDir StdErr StdIn StdOut".split())


def described(text: str) -> list[dict[str, str]]:
    """What `scontrol show job` printed, by name, for each job."""
    jobs: list[dict[str, str]] = []
    last = ""
    for line in text.splitlines():
        if line.startswith("JobId="):
            jobs.append({})
        elif jobs and last in FREE and line.strip() and not (line.startswith("   ") and NAMED.match(line.strip())):
            jobs[-1][last] += "\n" + line
            continue
        if jobs:
            for last, value in pairs(line.strip()):
                jobs[-1][last] = told(value)
    return jobs


def pairs(line: str) -> Iterator[tuple[str, str]]:
    """The names and values of one line."""
    found = list(NAMED.finditer(line))
    ends = [match.start() for match in found[1:]] + [len(line)]
    for match, end in zip(found, ends):  # noqa: B905 - an empty line has an end, too
        if match[1] in FREE:
            yield match[1], line[match.end() :]
            return
        yield match[1], line[match.end() : end].strip()
