"""The verb `queue`: its own verbs by the file that each is written in, and how their words name queues and jobs."""

from __future__ import annotations

import click

from qrec.cli.groups import Shelved, Verb
from qrec.cli.verbs import completes, examples
from qrec.errors import NoSuchTask, Refused, WrongUsage, did_you_mean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.cli.groups import Shelves
    from qrec.jobs import Jobs
    from qrec.task import Task

#: The verbs by purpose: the file that each is written in, and what it does in a few words.
VERBS: Shelves = {
    "Make": {
        "new": ("queue_making", "make a queue"),
        "submit": ("queue_making", "put a command in"),
        "set": ("queue_making", "change a queue"),
        "edit": ("queue_making", "change a job"),
    },
    "Act": {
        "pause": ("queue_changing", "let no job begin"),
        "resume": ("queue_changing", "let them begin again"),
        "cancel": ("queue_changing", "end jobs"),
        "retry": ("queue_changing", "run them once more"),
    },
    "Care": {
        "clear": ("queue_changing", "forget a queue"),
        "cleanup": ("queue_changing", "end what it left"),
    },
    "Run": {
        "run": ("queue_running", "until all have ended"),
        "monitor": ("queue_running", "watch it live"),
        "wait": ("queue_running", "whoever runs it"),
    },
    "Look": {
        "show": ("queue_looking", "the jobs"),
        "ls": ("queue_looking", "the queues"),
        "status": ("queue_looking", "one in a line"),
        "explain": ("queue_looking", "why a job waits"),
        "log": ("queue_looking", "what a job printed"),
        "graph": ("queue_looking", "what waits for what"),
        "timeline": ("queue_looking", "when each ran"),
    },
}  # fmt: skip
BEHIND = "qrec.command"  #: where click keeps the words behind the first `--`


@click.group(
    "queue", cls=Shelved, shelves=VERBS, prefix="queue_", options_metavar="", subcommand_metavar="VERB ...",
    epilog=examples("qrec queue submit --name prep -- make data\n  qrec queue run"),
)  # fmt: skip
def queue() -> None:
    """Run commands after each other and side by side, each recorded as ever.

    A queue is a named set of jobs.  Where no QUEUE is named, the queue `default` is meant.  JOB is a job's name, or
    its number or uid, as for every task; with a JOB alone, it is looked for in `default`, then in the other queues.
    """


class WithCommand(Verb):
    """A verb that takes a command behind the first `--`, which click would take away.

    No command begins with a dash: if the next word does, it names a queue or a job, and the command is behind another
    `--`, if there is one.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the command aside before click reads the words."""
        if "--" in args:
            place = args.index("--")
            names: list[str] = []
            if args[place + 1 : place + 2] and args[place + 1].startswith("-") and args[place + 1] != "--":
                end = args.index("--", place + 1) if "--" in args[place + 1 :] else len(args)
                names, place = args[place:end], end
            if place < len(args):
                ctx.meta[BEHIND] = tuple(args[place + 1 :])
            args = [*args[: args.index("--")], *names]
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
        known = [*door.store.policies(), *(name for queue in queues(door) for name in queue.names())]
        there = did_you_mean(word, known, "`qrec queue ls` lists the queues")
        raise Refused(f"{word!r} is neither a queue nor a job; {there}") from None
    if task.queue is None:
        raise Refused(f"{task.uid} is no job of a queue")
    queue = queue_of(door, task.queue)
    return queue, queue.find(task.uid)


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
