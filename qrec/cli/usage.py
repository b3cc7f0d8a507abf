"""What a task used, drawn over time."""

from __future__ import annotations

import shutil
import sys

import click

from qrec.cli import say
from qrec.cli.verbs import ATTEMPT, TASK, looking, tell, verb
from qrec.cli.words import JSON

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from qrec.task import Task
    from qrec.usage import Point

HEIGHT = 6  #: lines of each chart
WIDTH = 80  #: columns where there is no terminal


@verb("qrec usage 12\n  qrec usage --json | jq '.points[-1].memory'", JSON)
@TASK
@ATTEMPT
@click.option("--height", type=click.IntRange(1, 50), default=HEIGHT, metavar="N", help="Lines of each chart.")
def usage(given: dict[str, Any], task: str | None, attempt: int | None, height: int) -> None:
    """Show the CPU and memory of a task over time, its children's included.

    Also while it runs.  Of a command shorter than a tenth of a second there are the totals only.
    """
    from qrec.cli.show import put, put_json
    from qrec.usage import points

    door = looking(given)
    found = door.get(task, attempt)
    series = points(door.output(found).extras().get("series", b""))
    if given["json"]:
        told = [point.asdict() for point in series]
        put_json({"uid": found.uid, "number": found.number, "usage": found.usage, "points": told})
    for line in () if given["json"] else lines(found, series, height):
        put(line)
    tell(door)


def lines(task: Task, series: list[Point], height: int) -> Iterator[str]:
    """The charts, or what there is instead."""
    from qrec.cli.chart import plot
    from qrec.cli.show import printable

    yield f"{task.number}  {printable(task.command)}"
    width = shutil.get_terminal_size((WIDTH, 24)).columns
    if series:
        yield from plot(series, width, height, sys.stdout.encoding)
    elif task.usage:
        yield ", ".join(totals(task))
    else:
        say("nothing is known of what it used")


def totals(task: Task) -> Iterator[str]:
    """What the kernel tells of a command that was too short to be looked at."""
    from qrec.units import duration, size

    yield f"cpu {duration(task.usage.get('cpu'))}"
    if memory := task.usage.get("memory"):
        yield f"memory {size(memory)}"
