"""The verb `queue`: its own verbs by the file that each is written in, and how their words name queues and jobs."""

from __future__ import annotations

from importlib import import_module

import click

from qrec.cli.verbs import completes
from qrec.errors import NoSuchTask, Refused, WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.jobs import Jobs
    from qrec.task import Task

#: Each verb and the file that it is written in, in the order in which a newcomer needs them.
WRITTEN_IN = {
    **dict.fromkeys(("new", "submit"), "queue_making"),
    **dict.fromkeys(("run", "monitor"), "queue_running"),
    **dict.fromkeys(("show", "ls", "status"), "queue_looking"),
    "wait": "queue_running",
    **dict.fromkeys(("explain", "log", "graph", "timeline"), "queue_looking"),
    **dict.fromkeys(("pause", "resume", "cancel", "retry"), "queue_changing"),
    **dict.fromkeys(("edit", "set"), "queue_making"),
    **dict.fromkeys(("clear", "cleanup"), "queue_changing"),
}
BEHIND = "qrec.command"  #: where click keeps the words behind the first `--`


class QueueVerbs(click.Group):
    """The verbs of `queue`; the file of one is imported when somebody uses it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In their order."""
        return list(WRITTEN_IN)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The verb of that name."""
        if name not in WRITTEN_IN:
            return None
        module = import_module(f"qrec.cli.{WRITTEN_IN[name]}")
        found: click.Command = getattr(module, f"queue_{name}")
        return found


@click.group(
    "queue", cls=QueueVerbs,
    epilog="\b\nExample:\n  qrec queue submit --name prep -- make data\n"
    "  qrec queue submit --depends prep -- python train.py\n  qrec queue run",
)  # fmt: skip
def queue() -> None:
    """Run commands after each other and side by side, each recorded as ever.

    A queue is a named set of jobs.  Where no QUEUE is named, the queue `default` is meant.  JOB is a job's name, or
    its number or uid, as for every task; with a JOB alone, it is looked for in `default`, then in the other queues.
    """


class WithCommand(click.Command):
    """A verb that takes a command behind the first `--`, which click would take away."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command aside before click reads the words."""
        if "--" in args:
            place = args.index("--")
            ctx.meta[BEHIND] = tuple(args[place + 1 :])
            args = args[:place]
        return super().parse_args(ctx, args)


def command_behind() -> tuple[str, ...] | None:
    """The words behind the first `--`; None if there is none."""
    found: tuple[str, ...] | None = click.get_current_context().meta.get(BEHIND)
    return found


QUEUE = click.argument("queue", required=False, shell_complete=completes("queue"))
WORDS = click.argument("words", nargs=-1, metavar="[QUEUE] [JOB]...", shell_complete=completes("job"))
ONE = click.argument("words", nargs=-1, metavar="[QUEUE] [JOB]", shell_complete=completes("job"))


def queue_of(door: Qrec, name: str | None) -> Jobs:
    """The queue of that name, or `default`.  NoSuchQueue."""
    from qrec.jobs import DEFAULT, Jobs

    found = Jobs(door, DEFAULT if name is None else name)
    found.policy  # noqa: B018  (it must be there)
    return found


def choose(door: Qrec, words: Sequence[str]) -> tuple[Jobs, list[Task]]:
    """The queue and the jobs that `[QUEUE] [JOB]...` mean; a first word that is a queue's name is that queue."""
    queues = door.store.policies()
    if not words or words[0] in queues:
        queue = queue_of(door, words[0] if words else None)
        return queue, [queue.find(word) for word in words[1:]]
    found = [find_anywhere(door, word) for word in words]
    names = {queue.name for queue, _ in found}
    if len(names) > 1:
        raise Refused(f"these are jobs of several queues: {', '.join(sorted(names))}; name those of one at a time")
    return found[0][0], [job for _, job in found]


def find_anywhere(door: Qrec, word: str) -> tuple[Jobs, Task]:
    """A job and its queue, by its name in `default`, or else in the one queue that has it, or as any task is named."""
    from qrec.jobs import DEFAULT, queues

    found = [(queue, job) for queue in queues(door) for job in queue.store.find(queue.query().copy(name=word), 1)]
    for queue, job in found:
        if queue.name == DEFAULT or len(found) == 1:
            return queue, job
    if found:
        names = ", ".join(queue.name for queue, _ in found)
        raise Refused(f"{word!r} is a job of several queues: {names}; write the queue before it")
    try:
        task = door.store.resolve(word)
    except NoSuchTask:
        raise Refused(f"{word!r} is neither a queue nor a job; `qrec queue ls` lists the queues") from None
    if task.queue is None:
        raise Refused(f"{task.uid} is no job of a queue")
    return queue_of(door, task.queue), task


def choose_one(door: Qrec, words: Sequence[str], verb: str) -> tuple[Jobs, Task]:
    """The queue and the one job that the words mean."""
    queue, jobs = choose(door, words)
    if len(jobs) != 1:
        raise WrongUsage(f"name one job; write `qrec queue {verb} [QUEUE] JOB`")
    return queue, jobs[0]


def put_jobs(given: dict[str, Any], jobs: Sequence[Task]) -> None:
    """How changed jobs stand now."""
    from qrec.cli.show import printable, put, put_json
    from qrec.executors.queue import label

    if given["json"]:
        put_json([job.summary() for job in jobs])
    for job in () if given["json"] else jobs:
        put(f"{printable(label(job))} is {job.status}")
