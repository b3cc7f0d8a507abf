"""The verbs that start a command."""

from __future__ import annotations

import sys

import click

from qrec.cli.verbs import TASK, completes, looking, tell, verb
from qrec.cli.words import CWD, JSON, MESSAGE, PATIENCE, QUIET, RUN, TERMS
from qrec.task import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from qrec.task import Task


@verb(
    "qrec run make test\n  qrec run -m 'before the release' -t ci make test\n  qrec run 'grep -c error *.log | sort'",
    *RUN,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(given: dict[str, Any], command: tuple[str, ...]) -> int:
    """Run a command and record it.

    Output, input, signals and exit code are as without qrec.  Options end at the first word of the command. One
    argument with blanks or shell characters is a line for your $SHELL.
    """
    from qrec.cli.run import run

    return run(given, command)


@verb("qrec rerun 12\n  qrec -m 'with the fix' rerun", MESSAGE, CWD, *TERMS, QUIET, JSON)
@TASK
def rerun(given: dict[str, Any], task: str | None) -> int:
    """Run a recorded command again, in its folder.

    The task keeps its uid; the attempt before is kept (`get --attempt 1`).
    """
    from qrec.cli.run import rerun

    return rerun(given, task)


@verb("qrec wait 12\n  qrec wait 12 13 --timeout 1h && echo both are complete", PATIENCE, QUIET, JSON)
@click.argument("tasks", nargs=-1, metavar="[TASK]...", shell_complete=completes("running"))
def wait(given: dict[str, Any], tasks: tuple[str, ...]) -> int:
    """Wait until tasks have ended, wherever they run.

    A line for each as it ends.  The exit code is that of the task; of several, that of the first that failed; 124 after
    --timeout.
    """
    from qrec.cli.run import closing_line, time_limit
    from qrec.cli.show import put, put_json

    door = looking(given)
    names = tasks or (None,)
    ended = []
    for task in door.wait(names, time_limit(given["timeout"])):
        ended.append(task)
        if not (given["json"] or given["quiet"]):
            put(closing_line(task))
            sys.stdout.flush()
    if given["json"]:
        put_json([task.summary() for task in ended])
    tell(door)
    return code_of(ended, len({door.store.resolve(name).uid for name in names}))


def code_of(ended: Sequence[Task], wanted: int) -> int:
    """The exit code that tells of all: 0 if every task is complete."""
    from qrec.recorder import TIMED_OUT

    if len(ended) < wanted:
        return TIMED_OUT
    return next((task.returncode or 1 for task in ended if task.status is not Status.COMPLETE), 0)
