"""What Slurm knows of jobs: one question for many of them, and words for the few things to be done with one.

Nothing here knows of tasks but their Status.  A question that failed never means that a job is gone.
"""

from __future__ import annotations

import json
import os
import re
import signal as signals
import time

from qrec.config import read_text, write_cache
from qrec.errors import QrecError, Refused
from qrec.output import make_private
from qrec.task import Record, Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    Key = tuple[str | None, str]  #: a cluster (None: the one that is asked by default), and a job's id there

#: How many seconds one command of Slurm's may take.
LIMIT = 10.0
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


# Calling Slurm


class NoAnswer(QrecError):
    """A command of Slurm's is missing, failed, or took too long."""


class Said(Record):
    """What a command answered."""

    code: int
    out: str
    err: str


#: Variables that would change what Slurm's commands print or do; without the kept ones they may not find the cluster.
MEDDLING = re.compile(r"SLURM_|S(BATCH|QUEUE|ACCT|CANCEL|CONTROL|RUN|ALLOC|INFO)_")
KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"})


def clean_environment() -> dict[str, str]:
    """Our variables without those that change what Slurm prints; times come as seconds since the epoch."""
    kept = {name: value for name, value in os.environ.items() if name in KEPT or not MEDDLING.match(name)}
    return {**kept, "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}


def call(words: Sequence[str], limit: float = LIMIT, env: Mapping[str, str] | None = None) -> Said:
    """Run one of Slurm's commands to its end.  NoAnswer if it is not there, or not done in `limit` seconds."""
    import subprocess

    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environment() if env is None else env,
            start_new_session=True,  # a group of its own, which can be killed; and Ctrl-C is for us
        )
    except OSError as error:
        why = "is not on PATH here" if isinstance(error, FileNotFoundError) else f"cannot be run: {error.strerror}"
        raise NoAnswer(f"{words[0]} {why}") from None
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        raise NoAnswer(f"{words[0]} did not answer within {limit:g} s") from None
    finally:
        if process.returncode is None:
            kill(process)
    return Said(code=process.returncode, out=out.decode(errors="replace"), err=err.decode(errors="replace"))


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a call and all it has started; one that hangs in the kernel is not waited for."""
    import subprocess

    os.killpg(process.pid, signals.SIGKILL)
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
    try:
        process.wait(1)
    except subprocess.TimeoutExpired:
        pass


def complaint(said: Said, program: str) -> str:
    """What a command complained of, in one line."""
    told = said.err.splitlines()
    told = [line for line in told if ": fatal: " in line] or told  # what comes before leads up to it
    lines = [re.sub(r"^(\w+: )?((fatal|error): )*", "", line.strip()) for line in told if line.strip()]
    first = re.sub(r"^slurm_\w+(\(\))?( error)?: ", "", lines[0]) if lines else f"ended with {said.code}"
    return f"{program}: {first}"


def words_for(program: str, cluster: str | None) -> list[str]:
    """How a command for one cluster begins."""
    return [program] if cluster is None else [program, f"--clusters={cluster}"]


# Asking


class Heard(Record):
    """What one cluster told."""

    jobs: Mapping[str, tuple[Job, ...]]  #: by the ids that were asked for: all runs there were, the oldest first
    unknown: frozenset[str] = frozenset()  #: ids that nothing is known of, or nothing that could still be true
    trouble: Mapping[str, str] = {}  #: what could not be asked (`queue`, `accounts`), and why
    asked: frozenset[str] = frozenset()  #: which of the two were asked
    calls: int = 0


class Answer(Record):
    """What was learned of some jobs."""

    jobs: Mapping[Key, tuple[Job, ...]]  #: all runs there were under each id; `ours` picks
    at: float = 0.0  #: how old the oldest of it may be; 0 if Slurm never answered
    trouble: str = ""  #: one sentence, if something could not be asked
    calls: int = 0  #: how many commands were run
    #: Ids that the queue does not know and accounting has not closed, although both were asked.  Just submitted, a
    #: job may be among them for seconds; one that stays was lost in a crash of the controller.
    unknown: frozenset[Key] = frozenset()


def ask(ids: Iterable[Key], limit: float = LIMIT) -> Answer:
    """Learn how jobs stand: for each cluster one squeue, then one sacct for what does not live there any more."""
    at = time.time()
    heard = {cluster: ask_cluster(cluster, wanted, limit) for cluster, wanted in by_cluster(ids).items()}
    return joined(heard, 0.0 if any("queue" in one.trouble for one in heard.values()) else at)


def by_cluster(ids: Iterable[Key]) -> dict[str | None, list[str]]:
    """The ids of each cluster, each once."""
    groups: dict[str | None, list[str]] = {}
    for cluster, jobid in dict.fromkeys(ids):
        groups.setdefault(cluster or None, []).append(jobid)
    return groups


def joined(heard: Mapping[str | None, Heard], at: float) -> Answer:
    """What several clusters told, as one."""
    return Answer(
        jobs={(cluster, jobid): jobs for cluster, one in heard.items() for jobid, jobs in one.jobs.items()},
        at=at,
        trouble="; ".join(dict.fromkeys(why for one in heard.values() for why in one.trouble.values())),
        calls=sum(one.calls for one in heard.values()),
        unknown=frozenset((cluster, jobid) for cluster, one in heard.items() for jobid in one.unknown),
    )


def ask_cluster(cluster: str | None, ids: Sequence[str], limit: float = LIMIT, no_accounts: str = "") -> Heard:
    """Ask one cluster.  `no_accounts` is why accounting is not to be asked this time."""
    sound = [jobid for jobid in ids if is_jobid(jobid)]
    queue = inquiry(queue_words(cluster), sound, limit)
    in_queue = by_name(jobs_in_queue(queue.out, cluster))
    rest = [jobid for jobid in sound if not any(job.is_live for job in in_queue.get(jobid, ()))]
    books = (
        Inquiry(trouble=no_accounts if rest else "") if no_accounts else inquiry(account_words(cluster), rest, limit)
    )
    in_books = by_name(jobs_in_accounts(books.out, cluster))
    told = {one: combined(in_queue.get(one, ()), in_books.get(one, ()), not queue.trouble) for one in sound}
    sources = {"queue": queue, "accounts": books}
    trouble = {name: source.trouble for name, source in sources.items() if source.trouble}
    return Heard(
        jobs={jobid: jobs for jobid, jobs in told.items() if jobs},
        unknown=frozenset() if trouble else frozenset(ids) - known_of(told, rest),
        trouble=trouble,
        asked=frozenset(name for name, source in sources.items() if source.calls),
        calls=queue.calls + books.calls,
    )


def known_of(told: Mapping[str, Sequence[Job]], rest: Sequence[str]) -> set[str]:
    """The ids that live in the queue (are not among the rest), or have ended."""
    return {jobid for jobid, jobs in told.items() if jobid not in rest or (jobs and jobs[-1].is_final)}


def queue_words(cluster: str | None) -> list[str]:
    """squeue, for finished jobs too, each task of an array by itself."""
    columns = ",".join(f"{name}:{width}{MARK}" for name, width in QUEUE.items())
    return [*words_for("squeue", cluster), "--noheader", "--states=all", "--array", "--Format", columns]


def account_words(cluster: str | None) -> list[str]:
    """sacct, with every run of a job that was put back into the queue."""
    form = ["--noheader", "--parsable2", f"--delimiter={MARK}", "--duplicates", f"--format={','.join(ACCOUNTS)}"]
    return [*words_for("sacct", cluster), *form]


class Inquiry(Record):
    """The answer of one program about many ids."""

    out: str = ""
    trouble: str = ""
    calls: int = 0


#: How many bytes of ids go into one call.
CHUNK = 80_000


def inquiry(words: Sequence[str], ids: Sequence[str], limit: float) -> Inquiry:
    """Ask a program about all ids, in one call unless the command line would become too long."""
    printed: list[str] = []
    calls = 0
    left = list(chunks(ids))
    while left:
        chunk = left.pop()
        calls += 1
        try:
            said = call([*words, "--jobs", ",".join(chunk)], limit)
        except NoAnswer as error:
            return Inquiry(trouble=str(error), calls=calls)
        if "Invalid job id" in said.err and len(chunk) > 1:  # one that is no id keeps the others from being told
            left += [chunk[: len(chunk) // 2], chunk[len(chunk) // 2 :]]
        elif failed(said):
            return Inquiry(trouble=complaint(said, words[0]), calls=calls)
        else:
            printed.append(said.out)
    return Inquiry(out="\n".join(printed), calls=calls)


def chunks(ids: Sequence[str]) -> Iterator[list[str]]:
    """The ids, as many at a time as go into one call."""
    chunk: list[str] = []
    room = CHUNK
    for jobid in ids:
        room -= len(jobid) + 1
        if room < 0:
            yield chunk
            chunk, room = [], CHUNK - len(jobid) - 1
        chunk.append(jobid)
    if chunk:
        yield chunk


def failed(said: Said) -> bool:
    """Whether a question was not answered.  That an id is unknown, or that no accounts are kept, is an answer."""
    if any(answer in said.err for answer in ("Invalid job id", "accounting storage is disabled")):
        return False
    return said.code != 0 or (not said.out and "error:" in said.err)


def is_jobid(text: str) -> bool:
    """Whether it may stand in a command line as the id of a job."""
    return re.fullmatch(r"[0-9]+([_+][0-9]+)?", text) is not None


def by_name(jobs: Iterable[Job]) -> dict[str, list[Job]]:
    """The jobs under every id by which they can be asked for."""
    named: dict[str, list[Job]] = {}
    for job in jobs:
        for name in {job.jobid, job.raw, base(job.jobid)}:
            named.setdefault(name, []).append(job)
    return named


def combined(in_queue: Sequence[Job], in_books: Sequence[Job], sure: bool) -> tuple[Job, ...]:
    """What the queue and accounting say of one id, as one: all runs, the oldest first.

    Accounting lags: that a job lives counts only if the queue, which was asked first, has nothing of it.  If the
    queue could not be asked, accounting counts only where all has ended.
    """
    if not sure:
        over = not any(job.is_live for job in newest(in_books))
        return tuple(job.copy(sure=False) for job in in_books) if over else ()
    counts = [job for job in in_books if not (in_queue and job.is_live) or job.state == "REQUEUED"]
    runs = {(job.jobid, job.submit): job for job in counts}
    for job in in_queue:
        runs[job.jobid, job.submit] = merged(job, runs.get((job.jobid, job.submit)), in_books)
    return tuple(sorted(runs.values(), key=lambda job: job.submit or 0.0))


def merged(job: Job, booked: Job | None, in_books: Iterable[Job]) -> Job:
    """A job of the queue with what accounting adds."""
    if booked is not None:
        return job.copy(
            used={**job.used, **booked.used}, accounted=booked.accounted, earlier=booked.earlier, by=booked.by
        )
    before = [one for one in in_books if one.jobid == job.jobid and one.state in PUT_BACK and job.restarts]
    submits = (submit for one in before for submit in (*one.earlier, one.submit) if submit is not None)
    return job.copy(earlier=tuple(dict.fromkeys(submits)))


# Asking no more often than is good


class Asker:
    """Asks on behalf of every qrec that shares a cache folder.

    Each answer is kept for a moment there, so that many calls at once make one; after trouble a cluster is left
    alone for 2, 4, 8 ... 60 s.  Without a folder that can be written to it just asks.
    """

    FRESH = 0.5  #: seconds an answer counts as new
    LONGEST = 60.0  #: seconds a cluster in trouble is left alone at most
    KEPT = 600.0  #: seconds an answer is kept for times of trouble

    def __init__(self, folder: str, limit: float = LIMIT, now: Callable[[], float] = time.time) -> None:
        self.path = os.path.join(folder, "slurm.json")
        self.limit = limit
        self.now = now

    def ask(self, ids: Iterable[Key], fresh: float = FRESH, insist: bool = False) -> Answer:
        """How jobs stand: as somebody learned less than `fresh` seconds ago, or as Slurm says now.

        `insist`: a person wants to know, so ask although there was trouble.
        """
        began = self.now()
        groups = by_cluster(ids)
        memory = Memory(self.path)
        if all(memory.is_fresh(cluster, wanted, self.now(), fresh) for cluster, wanted in groups.items()):
            return self.told(memory, groups, 0)
        with Lock(self.path + ".lock", 2 * self.limit) as held:
            memory = Memory(self.path)
            calls = 0
            for cluster, wanted in groups.items():
                now = self.now()
                if memory.is_fresh(cluster, wanted, now, max(fresh, now - began)):
                    continue
                if held and (insist or not memory.waits(cluster, "queue", now)):
                    calls += self.renew(memory, cluster, wanted, insist)
            if calls:
                memory.write(self.now() - self.KEPT)
            return self.told(memory, groups, calls, "" if held else "another qrec is still asking Slurm")

    def renew(self, memory: Memory, cluster: str | None, wanted: Sequence[str], insist: bool) -> int:
        """Ask a cluster and remember what it told; return how many calls that took."""
        asked = self.now()
        no_accounts = "" if insist else memory.waits(cluster, "accounts", asked)
        heard = ask_cluster(cluster, wanted, self.limit, no_accounts)
        memory.take(cluster, heard, wanted, asked, self.now(), self.LONGEST)
        return heard.calls

    def told(self, memory: Memory, groups: Mapping[str | None, Sequence[str]], calls: int, trouble: str = "") -> Answer:
        """The answer that the memory holds."""
        heard = {cluster: memory.heard(cluster, wanted, self.now()) for cluster, wanted in groups.items()}
        at = min((memory.at(cluster, wanted) for cluster, wanted in groups.items()), default=self.now())
        answer = joined(heard, at)
        return answer.copy(calls=calls, trouble="; ".join(filter(None, (answer.trouble, trouble))))


class Memory:
    """What was heard of each cluster lately, in a file; one that cannot be read is an empty one."""

    VERSION = 1

    def __init__(self, path: str) -> None:
        self.path = path
        self.clusters: dict[str, dict[str, Any]] = {}
        try:
            kept = json.loads(read_text(path) or "{}")
            if kept.get("version") == self.VERSION:
                self.clusters = dict(kept["clusters"])
        except (OSError, ValueError, KeyError, AttributeError):
            pass

    def of(self, cluster: str | None) -> dict[str, Any]:
        """What is known of a cluster: `jobs`, and the troubles with its `queue` and its `accounts`."""
        return self.clusters.setdefault(cluster or "", {"jobs": {}})

    def entry(self, cluster: str | None, jobid: str) -> dict[str, Any] | None:
        """What was heard of an id: when it was asked for, when the answer came, the jobs."""
        found: dict[str, Any] | None = self.of(cluster)["jobs"].get(jobid)
        return found

    def is_fresh(self, cluster: str | None, wanted: Iterable[str], now: float, fresh: float) -> bool:
        """Whether all that is wanted came less than `fresh` seconds ago; a time to come was another clock's."""
        entries = [self.entry(cluster, jobid) for jobid in wanted]
        return all(entry is not None and 0 <= now - entry["done"] < fresh for entry in entries)

    def waits(self, cluster: str | None, source: str, now: float) -> str:
        """Why a source is not to be asked now; empty if it may be."""
        trouble = self.of(cluster).get(source)
        if not trouble or not now < trouble["until"] <= now + Asker.LONGEST:
            return ""
        return f"{trouble['why']}; asked again in {trouble['until'] - now:.0f} s"

    def take(
        self, cluster: str | None, heard: Heard, wanted: Iterable[str], asked: float, done: float, longest: float
    ) -> None:
        """Remember what was heard, or how often in succession nothing was."""
        known = self.of(cluster)
        for jobid in wanted:
            jobs = [job.asdict() for job in heard.jobs.get(jobid, ())]
            if jobs or "queue" not in heard.trouble:
                known["jobs"][jobid] = {"asked": asked, "done": done, "jobs": jobs, "unknown": jobid in heard.unknown}
        for source in heard.asked:
            if source not in heard.trouble:
                known.pop(source, None)
            else:
                tries = known.get(source, {}).get("tries", 0) + 1
                until = done + min(longest, 2.0**tries)
                known[source] = {"tries": tries, "until": until, "why": heard.trouble[source]}

    def heard(self, cluster: str | None, wanted: Sequence[str], now: float) -> Heard:
        """What was heard of some ids."""
        entries = {jobid: entry for jobid in wanted if (entry := self.entry(cluster, jobid)) is not None}
        jobs = {jobid: tuple(map(Job.from_plain, entry["jobs"])) for jobid, entry in entries.items()}
        all_live = all(any(job.is_live for job in jobs.get(jobid, ())) for jobid in wanted)
        sources = ("queue",) if all_live else ("queue", "accounts")
        troubles = {source: why for source in sources if (why := self.waits(cluster, source, now))}
        return Heard(
            jobs={jobid: runs for jobid, runs in jobs.items() if runs},
            unknown=frozenset(jobid for jobid, entry in entries.items() if entry["unknown"] and not troubles),
            trouble=troubles,
        )

    def at(self, cluster: str | None, wanted: Iterable[str]) -> float:
        """Since when nothing newer is known of some ids; 0 if one was never heard of."""
        return min((entry["asked"] if (entry := self.entry(cluster, jobid)) else 0.0 for jobid in wanted), default=0.0)

    def write(self, oldest: float) -> None:
        """Keep it, without what was heard before `oldest`."""
        for known in self.clusters.values():
            known["jobs"] = {jobid: entry for jobid, entry in known["jobs"].items() if entry["done"] >= oldest}
        write_cache(self.path, {"version": self.VERSION, "clusters": self.clusters})


class Lock:
    """`with Lock(path, limit) as held`: one process at a time, or False after `limit` seconds of waiting.

    Where no lock can be had at all, in a folder that is read-only, everybody is let in.
    """

    PAUSE = 0.02  #: seconds between two looks

    def __init__(self, path: str, limit: float) -> None:
        self.path = path
        self.limit = limit
        self.descriptor = -1

    def __enter__(self) -> bool:
        try:
            make_private(os.path.dirname(self.path))
            self.descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return True
        deadline = time.monotonic() + self.limit
        while not self.grab():
            if time.monotonic() > deadline:
                return False
            time.sleep(self.PAUSE)
        return True

    def grab(self) -> bool:
        """Take the lock if it is free."""
        import fcntl

        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            pass  # a file system without locks
        return True

    def __exit__(self, *_: object) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


# Acting


def act(words: Sequence[str], limit: float = LIMIT, env: Mapping[str, str] | None = None) -> str:
    """Have Slurm do something; return what it printed.  Refused with its words, NoAnswer if it says nothing."""
    said = call(words, limit, env)
    if said.code != 0 or (not said.out and said.err.strip()):  # `write batch_script` fails with 0
        raise Refused(complaint(said, words[0]))
    return said.out


def checked(jobid: str) -> str:
    """The id, if it is one: no text that was read somewhere is to become an option.  Refused otherwise."""
    if not is_jobid(jobid):
        raise Refused(f"{jobid!r} is no id of a Slurm job")
    return jobid


def cancel(jobid: str, cluster: str | None = None) -> None:
    """End a job, or take it from the queue; one that has ended already is left alone.  Refused, NoAnswer."""
    act([*words_for("scancel", cluster), checked(jobid)])


def send_signal(jobid: str, name: str, cluster: str | None = None, script: bool = False) -> None:
    """Send a signal (`USR1`, `10`) to a running job's steps, or to the batch script alone.  Refused, NoAnswer."""
    if not re.fullmatch(r"[A-Za-z0-9]+", name):
        raise Refused(f"{name!r} is no signal")
    to = ["--batch"] if script else []
    act([*words_for("scancel", cluster), f"--signal={name}", *to, checked(jobid)])


def requeue(jobid: str, cluster: str | None = None) -> None:
    """Put a job back into the queue, to run again from its start.  Refused, NoAnswer."""
    act([*words_for("scontrol", cluster), "requeue", checked(jobid)])


def expected_start(jobid: str, cluster: str | None = None) -> float | None:
    """When Slurm thinks a waiting job will start, in seconds since the epoch; None if it cannot tell."""
    words = ["--start", "--noheader", "--format=%S", f"--jobs={checked(jobid)}"]
    times = [epoch(word) for word in act([*words_for("squeue", cluster), *words]).split()]
    return least(times)


def script(jobid: str, cluster: str | None = None) -> str:
    """The batch script of a job that the controller still knows.  Refused, NoAnswer."""
    return act([*words_for("scontrol", cluster), "write", "batch_script", checked(jobid), "-"])


def details(jobid: str, cluster: str | None = None) -> list[dict[str, str]]:
    """All that the controller tells of a job, of each task by itself if it is an array.  Refused, NoAnswer."""
    return described(act([*words_for("scontrol", cluster), "show", "job", checked(jobid)]))


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
