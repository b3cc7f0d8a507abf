"""The verb that records what was started without qrec."""

from __future__ import annotations

import click

from qrec.cli import say
from qrec.cli.verbs import front_door, tell, verb
from qrec.cli.words import JSON, MESSAGE, QUIET, SOCKET, TAG

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

NO_OUTPUT = "what it prints cannot be recorded, only its usage and its end"


@verb(
    "qrec adopt --tmux work\n  qrec adopt --tmux work:1.0 -m 'the long one'\n  qrec adopt --pid 4242\n"
    "  qrec adopt --slurm 103",
    MESSAGE,
    TAG,
    SOCKET.copy(help="tmux's server, for --tmux; else that of the settings."),
    QUIET,
    JSON,
)
@click.option("--tmux", metavar="SESSION[:WINDOW.PANE]", help="A pane of tmux: what it prints, from now on.")
@click.option("--pid", type=click.IntRange(1), metavar="PID", help="A process: its usage and its end, not its output.")
@click.option("--slurm", metavar="JOBID", help="A job of Slurm, as if `qrec run sbatch` had submitted it.")
def adopt(given: dict[str, Any], tmux: str | None, pid: int | None, slurm: str | None) -> None:
    """Record from now on what was started without qrec.

    Prints the task's uid and returns; the task is looked after to its end.  Of what was not started by qrec the
    return code is known in tmux, on Slurm, and on Linux 6.15 or later; else the task is `lost` when it has ended.
    """
    door = front_door(given)
    task = door.adopt(
        tmux=tmux, pid=pid, slurm=slurm, socket=given["socket"] or "", message=given["message"] or "",
        tags=given["tag"],
    )  # fmt: skip
    tell(door)
    if pid is not None and not given["quiet"]:
        say(NO_OUTPUT)
    if given["json"]:
        from qrec.cli.show import put_json

        put_json(task.summary())
    else:
        click.echo(task.uid)
