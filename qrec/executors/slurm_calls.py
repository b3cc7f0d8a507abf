"""Calls of Slurm's commands: one question for many jobs, and the few things to be done with one.

A question that failed never means that a job is gone.
"""

from __future__ import annotations

import os
import re
import signal as signals
import time

from qrec.errors import QrecError, Refused
from qrec.executors.slurm_jobs import (
    ACCOUNTS,
    MARK,
    PUT_BACK,
    QUEUE,
    base,
    described,
    epoch,
    jobs_in_accounts,
    jobs_in_queue,
    least,
    newest,
)
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from qrec.executors.slurm_jobs import Job

    Key = tuple[str | None, str]  #: a cluster (None: the one that is asked by default), and a job's id there

#: How many seconds one command of Slurm's may take.
LIMIT = 10.0


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
