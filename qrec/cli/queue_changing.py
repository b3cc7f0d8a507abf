"""The verbs that change what becomes of a queue and its jobs."""

from __future__ import annotations

import sys

import click

from qrec.cli import say
from qrec.cli.queueing import QUEUE, WORDS, choose, put_jobs, queue_of
from qrec.cli.verbs import front_door, tell, verb
from qrec.cli.words import JSON, YES
from qrec.errors import Refused, WrongUsage
from qrec.task import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qrec.jobs import Jobs
    from qrec.task import Task


@verb("qrec queue pause\n  qrec queue pause train", JSON, name="pause")
@QUEUE
def queue_pause(given: dict[str, Any], queue: str | None) -> None:
    """Let no more jobs begin; what runs goes on."""
    door = front_door(given)
    found = queue_of(door, queue)
    found.pause()
    confirm(given, found)
    tell(door)


@verb("qrec queue resume\n  qrec queue resume train --json", JSON, name="resume")
@QUEUE
def queue_resume(given: dict[str, Any], queue: str | None) -> None:
    """Let jobs begin again."""
    door = front_door(given)
    found = queue_of(door, queue)
    found.resume()
    confirm(given, found)
    tell(door)


def confirm(given: dict[str, Any], queue: Jobs) -> None:
    """Whether it is paused, for programs; people asked for it and need no answer."""
    from qrec.cli.show import put_json

    if given["json"]:
        put_json({"queue": queue.name, "paused": bool(queue.policy.get("paused"))})


@verb("qrec queue cancel train\n  qrec queue cancel train eval-3 eval-4", JSON, name="cancel")
@WORDS
def queue_cancel(given: dict[str, Any], words: tuple[str, ...]) -> None:
    """End jobs that wait or run.

    What waits goes out of the queue, what runs is asked to end.  If no job is named, all that have not ended.
    """
    door = front_door(given)
    queue, jobs = choose(door, words)
    if ended := [job for job in jobs if job.status.is_final]:
        raise Refused(f"{name_of(ended[0])} is {ended[0].status} already")
    put_jobs(given, queue.cancel(jobs or None))
    tell(door)


@verb("qrec queue retry\n  qrec queue retry --failed train\n  qrec queue retry train eval-3", JSON, name="retry")
@WORDS
@click.option("--failed", is_flag=True, help="All that failed or were lost.")
def queue_retry(given: dict[str, Any], words: tuple[str, ...], failed: bool) -> None:
    """Let ended jobs wait again.

    With everything that was skipped because of them.  If no job is named, all that did not complete.
    """
    door = front_door(given)
    queue, jobs = choose(door, words)
    if jobs and failed:
        raise WrongUsage("name jobs or say --failed, not both")
    queue.refresh()
    if unfinished := [job for job in map(queue.store.get, (job.uid for job in jobs)) if not job.status.is_final]:
        raise Refused(f"{name_of(unfinished[0])} is {unfinished[0].status}; only what has ended can be tried again")
    chosen: list[Task] | None = jobs or None
    if failed:
        chosen = queue.store.find(queue.query({Status.FAILED, Status.LOST}))
    again = queue.retry(chosen)
    if not again:
        say("there is nothing to try again")
    put_jobs(given, again)
    tell(door)


def name_of(job: Task) -> str:
    """What a job is called in a sentence."""
    from qrec.executors.queue import label

    return label(job)


@verb("qrec queue clear train\n  qrec queue clear train -y", YES, JSON, name="clear")
@QUEUE
def queue_clear(given: dict[str, Any], queue: str | None) -> None:
    """Forget a queue.

    What waits is cancelled; what has ended stays recorded, as `qrec ls` shows it.
    """
    door = front_door(given)
    found = queue_of(door, queue)
    found.refresh()
    waiting = found.store.count(found.query({Status.QUEUED}))
    if waiting and not given["yes"]:
        what = f"{waiting:,} job{'s' * (waiting != 1)} of queue {found.name!r}"
        if not sys.stdin.isatty():
            raise Refused(f"this would cancel {what}; say -y where nobody can be asked")
        click.confirm(f"Cancel {what}?", abort=True, err=True)
    found.forget()
    if given["json"]:
        from qrec.cli.show import put_json

        put_json({"queue": found.name, "cancelled": waiting})
    tell(door)


@verb("qrec queue cleanup\n  qrec queue cleanup train --json", JSON, name="cleanup")
@QUEUE
def queue_cleanup(given: dict[str, Any], queue: str | None) -> None:
    """End what finished queues have left.

    Sessions, and logs of workers; of all queues unless one is named.  Of one that is named, also workers that --keep
    lets stay.
    """
    from qrec.backends import clean_up
    from qrec.cli.show import printable, put, put_json
    from qrec.jobs import queues

    door = front_door(given)
    chosen = queues(door) if queue is None else [queue_of(door, queue)]
    for one in chosen:
        one.refresh()
    removed = {one.name: left for one in chosen if (left := clean_up(one, dismiss=queue is not None))}
    if given["json"]:
        put_json(removed)
    for name, left in () if given["json"] else removed.items():
        for what in left:
            put(f"{printable(name)}: {printable(what)} removed")
    tell(door)
