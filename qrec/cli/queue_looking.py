"""The verbs that look at queues and their jobs."""

from __future__ import annotations

import sys

import click

from qrec.cli.queueing import ONE, QUEUE, choose, choose_one, queue_of
from qrec.cli.verbs import looking, tell, verb
from qrec.cli.words import JSON, REVEAL
from qrec.errors import Refused, WrongUsage
from qrec.task import Status
from qrec.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from qrec.explain import Picture
    from qrec.jobs import Jobs
    from qrec.task import Task

HEADINGS = ("", "name", "status", "took", "why", "command")
DRAWN = 10_000  #: jobs above which `show` leaves the graph to `graph`


@verb("qrec queue show\n  qrec queue show train --json\n  qrec queue show train --script", JSON, name="show")
@QUEUE
@click.option("--script", "as_script", is_flag=True, help="As bash that needs neither qrec nor Python.")
@click.option("--backend", metavar="NAME", help="As such a script for serial, tmux or slurm.")
def queue_show(given: dict[str, Any], queue: str | None, as_script: bool, backend: str | None) -> None:
    """Show the jobs of a queue.

    How each stands, what it waits for and why; then how they depend on each other.
    """
    from qrec.cli.show import put, put_json
    from qrec.explain import Picture

    door = looking(given)
    found = queue_of(door, queue)
    found.refresh()
    jobs = found.all()
    if as_script or backend is not None:
        put_script(found, jobs, backend)
        tell(door)
        return
    picture = Picture(found, jobs)
    if given["json"]:
        put_json(published(found, jobs, picture))
    else:
        put(heading(found, picture))
        for line in table(jobs, picture):
            put(line)
        if any(job.after for job in jobs) and len(jobs) <= DRAWN:
            put()
            put_graph(jobs, picture.task)
    tell(door)


def put_script(queue: Jobs, jobs: Sequence[Task], backend: str | None) -> None:
    """The queue as a script of bash, byte for byte."""
    from qrec.script import BACKENDS, script

    policy = queue.policy
    usual = str(policy.get("backend"))
    chosen = backend or (usual if usual in BACKENDS else "serial")
    inside = {job.uid for job in jobs}
    others = dict.fromkeys(uid for job in jobs for uid in job.after if uid not in inside)
    outside = {uid: task for uid in others if (task := queue.door.known(uid)) is not None}
    text = script(jobs, policy, queue.name, chosen, outside)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def published(queue: Jobs, jobs: Sequence[Task], picture: Picture) -> dict[str, Any]:
    """A queue as JSON.  The keys are published."""
    from qrec.presence import workers

    return {
        "queue": queue.name,
        "jobs": [published_job(job, picture) for job in jobs],
        "counts": queue.counts(),
        "policy": picture.policy,
        "workers": workers(queue.door.home, queue.name),
    }


def published_job(job: Task, picture: Picture) -> dict[str, Any]:
    """A job as JSON."""
    first = {
        "name": job.name, "number": job.number, "uid": job.uid, "status": job.status.value, "command": job.command,
        "after": list(job.after), "waits_for": picture.waits_for(job), "why": picture.why(job),
    }  # fmt: skip
    return {**first, **job.summary(), **first}


def heading(queue: Jobs, picture: Picture) -> str:
    """How a queue stands, in one line."""
    from qrec.cli.show import printable

    slots = picture.policy.get("workers", 1)
    crews = len(picture.crews)
    kept = sum(crew.keeps for crew in picture.crews)
    told = [counted(queue.counts()), f"{crews} worker{'s' * (crews != 1)}" + kept_of(kept, crews)]
    if crews:
        slots = sum(crew.limits.slots for crew in picture.crews)
    told.append(f"{slots} slot{'s' * (slots != 1)}")
    told += ["paused"] * bool(picture.policy.get("paused"))
    return f"{printable(queue.name)}: {'; '.join(told)}"


def kept_of(kept: int, crews: int) -> str:
    """How many of the workers stay when all has ended; nothing if none does."""
    return (" (kept)" if kept == crews else f" ({kept} kept)") if kept else ""


def table(jobs: Sequence[Task], picture: Picture) -> list[str]:
    """The lines of a table of jobs that fits the terminal."""
    from qrec.cli.grid import grid
    from qrec.cli.show import COLOURS
    from qrec.units import duration

    rows = [
        (str(job.number), job.name or "", job.status.value, duration(job.seconds), picture.why(job), job.command)
        for job in jobs
    ]
    if not rows:
        return []
    colours = {(line, 2): COLOURS[job.status] for line, job in enumerate(jobs)}
    return list(grid(HEADINGS, rows, {0, 3}, colours))


def put_graph(jobs: Sequence[Task], known: Callable[[str], Task | None]) -> None:
    """How jobs depend on each other, and on what is elsewhere, drawn with characters."""
    from qrec.cli.show import printable, put
    from qrec.drawing import label_of, network_text

    inside = {job.uid for job in jobs}
    others = [known(uid) for uid in dict.fromkeys(uid for job in jobs for uid in job.after) if uid not in inside]
    outside = [task.copy(after=()) for task in others if task is not None]
    where = {task.uid: f" of queue {task.queue}" if task.queue else "" for task in outside}

    def label(job: Task) -> str:
        return f"{printable(label_of(job) + where.get(job.uid, ''))} ({job.status})"

    for line in network_text([*outside, *jobs], label=label).splitlines():
        put(line)


@verb("qrec queue graph\n  qrec queue graph train --json", JSON, name="graph")
@QUEUE
def queue_graph(given: dict[str, Any], queue: str | None) -> None:
    """Draw how the jobs of a queue depend on each other."""
    from qrec.cli.show import put_json

    door = looking(given)
    jobs = queue_of(door, queue).all()
    if given["json"]:
        from qrec.executors.queue import Job

        put_json({
            "nodes": [{"uid": job.uid, "number": job.number, "name": job.name, "status": job.status} for job in jobs],
            "links": [{"from": uid, "to": job.uid, "kind": kind}
                      for job in jobs for uid, kind in Job.of(job).links(job.after)],
        })  # fmt: skip
    else:
        put_graph(jobs, door.known)
    tell(door)


@verb("qrec queue timeline\n  qrec queue timeline train --json", JSON, name="timeline")
@QUEUE
def queue_timeline(given: dict[str, Any], queue: str | None) -> None:
    """Draw when each job ran, a line a slot."""
    from qrec.cli.gantt import bars, gantt
    from qrec.cli.show import columns, put, put_json

    door = looking(given)
    found = queue_of(door, queue)
    found.refresh()
    jobs = found.all()
    if given["json"]:
        put_json([bar.asdict() for bar in bars(jobs)])
    else:
        for line in gantt(jobs, columns() or 100):
            put(line)
    tell(door)


@verb("qrec queue ls\n  qrec queue ls --json", JSON, name="ls")
def queue_ls(given: dict[str, Any]) -> None:
    """List the queues."""
    from qrec.cli import say
    from qrec.cli.grid import grid
    from qrec.cli.show import put, put_json
    from qrec.jobs import queues

    door = looking(given)
    found = queues(door)
    for queue in found:
        queue.refresh()
    rows = [listed(queue) for queue in found]
    if given["json"]:
        put_json(rows)
    elif rows:
        for line in grid(("queue", "slots", "workers", "", "jobs"), list(map(cells, rows)), {1, 2}):
            put(line)
    else:
        say("there is no queue yet; `qrec queue submit -- COMMAND...` makes one")
    tell(door)


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """A queue as a row of the list."""
    crews = f"{row['workers']}{kept_of(row['kept'], row['workers'])}"
    return row["name"], str(row["slots"]), crews, "paused" if row["paused"] else "", counted(row["counts"])


def listed(queue: Jobs) -> dict[str, Any]:
    """A queue in the list."""
    from qrec.presence import workers

    policy, there = queue.policy, workers(queue.door.home, queue.name)
    return {
        "name": queue.name, "slots": policy.get("workers", 1), "workers": len(there),
        "kept": sum(bool(about.get("keep")) for about in there),
        "paused": bool(policy.get("paused")), "counts": queue.counts(), "created": policy.get("created"),
    }  # fmt: skip


@verb("qrec queue status\n  qrec queue status train --json", JSON, name="status")
@QUEUE
def queue_status(given: dict[str, Any], queue: str | None) -> None:
    """Tell how a queue stands, in one line."""
    from qrec.cli.show import put, put_json
    from qrec.explain import Picture

    door = looking(given)
    found = queue_of(door, queue)
    found.refresh()
    if given["json"]:
        put_json(listed(found))
    else:
        put(heading(found, Picture(found, found.store.find(found.query({Status.RUNNING})))))
    tell(door)


@verb("qrec queue explain eval-3\n  qrec queue explain train eval-3", JSON, name="explain")
@ONE
def queue_explain(given: dict[str, Any], words: tuple[str, ...]) -> None:
    """Tell why a job is not running.

    What it waits for, who has its slot, memory or GPU, or what goes first.
    """
    from qrec.cli.show import printable, put, put_json
    from qrec.executors.queue import label
    from qrec.explain import explain

    door = looking(given)
    queue, job = choose_one(door, words, "explain")
    queue.refresh()
    job = queue.store.get(job.uid)
    sentences = explain(queue, job)
    if given["json"]:
        put_json({"queue": queue.name, "uid": job.uid, "name": job.name, "status": job.status, "why": sentences})
    else:
        put(f"{printable(label(job))} is {job.status}")
        for sentence in sentences:
            put(f"  {printable(sentence)}")
    tell(door)


@verb("qrec queue log train -f\n  qrec queue log demo train -n 20", JSON, REVEAL, name="log")
@ONE
@click.option("-f", "--follow", is_flag=True, help="Go on as the job prints, until it has ended.")
@click.option("-n", "lines", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
def queue_log(given: dict[str, Any], words: tuple[str, ...], follow: bool, lines: int | None) -> None:
    """Print what a job printed.

    Without JOB, the one that began last.  `qrec log` takes the same jobs by number and uid, and has more options.
    """
    from qrec.cli.printed import print_log, tell_nothing
    from qrec.output import STREAMS

    door = looking(given)
    queue, jobs = choose(door, words)
    if len(jobs) > 1:
        raise WrongUsage("name one job; write `qrec queue log [QUEUE] [JOB]`")
    queue.refresh()
    job = queue.store.get(jobs[0].uid) if jobs else latest(queue)
    print_log(door, job, STREAMS, lines, follow, given["json"])
    tell_nothing(door, queue.store.get(job.uid), STREAMS)
    tell(door)


def latest(queue: Jobs) -> Task:
    """The job that began last.  Refused if none has begun."""
    begun = [job for job in queue.all() if job.started is not None]
    if not begun:
        raise Refused(f"no job of queue {queue.name!r} has begun yet")
    return max(begun, key=lambda job: job.started or "")
