"""The verbs that start a command."""

from __future__ import annotations

import click

from qrec.cli.verbs import TASK, verb
from qrec.cli.words import CWD, JSON, MESSAGE, QUIET, RUN, TERMS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
