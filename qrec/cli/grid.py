"""Rows of any columns as a table that fits the terminal."""

from __future__ import annotations

import json
import shlex

from qrec.cli.show import COLOURS, DIM, columns, cut, paint, printable, when, width
from qrec.doors.columns import row_of
from qrec.units import duration, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from qrec.task import Task

#: Columns of numbers, which stand at the right.
NUMERIC = frozenset("number returncode signal pid seconds attempt priority cpu memory".split())
NARROWEST = 8  #: columns of a terminal that no column of a table goes below


def task_grid(tasks: Sequence[Task], names: Sequence[str]) -> Iterator[str]:
    """A table of tasks with the named columns."""
    rows = [[shown(name, value) for name, value in row_of(task, names).items()] for task in tasks]
    places = [place for place, name in enumerate(names) if name == "status"]
    colours = {(line, place): COLOURS[task.status] for line, task in enumerate(tasks) for place in places}
    return grid(names, rows, {place for place, name in enumerate(names) if name in NUMERIC}, colours)


def shown(name: str, value: Any) -> str:
    """A column of a task for people."""
    if value in (None, "", [], {}):
        return ""
    if name in ("created", "started", "ended"):
        return when(value)
    if name in ("seconds", "cpu"):
        return duration(value)
    if name == "memory":
        return size(value)
    if isinstance(value, list):
        return shlex.join(value) if name == "argv" else ", ".join(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)


def value_grid(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    """A table of whatever values a database gives."""
    kept = list(rows)
    numeric = {
        place for place in range(len(headings)) if all(isinstance(row[place], (int, float, type(None))) for row in kept)
    }
    return grid(headings, [[plain(value) for value in row] for row in kept], numeric)


def plain(value: Any) -> str:
    """A database's value as text."""
    if value is None:
        return ""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def grid(
    headings: Sequence[str], rows: Sequence[Sequence[str]], right: Collection[int],
    colours: Mapping[tuple[int, int], str] | None = None,
) -> Iterator[str]:  # fmt: skip
    """The lines of a table; columns whose place is in `right` are aligned there."""
    every = [[printable(cell) for cell in row] for row in (headings, *rows)]
    widths = fitted([max(map(width, column)) for column in zip(*every, strict=True)], columns())
    for line, row in enumerate(every, -1):
        fitting = enumerate(zip(row, widths, strict=True))
        cells = [aligned(cut(cell, room), room, place in right) for place, (cell, room) in fitting]
        if line < 0:
            yield paint("  ".join(cells).rstrip(" "), DIM)
        else:
            told = colours or {}
            painted = (paint(cell, told[line, at]) if (line, at) in told else cell for at, cell in enumerate(cells))
            yield "  ".join(painted).rstrip(" ")


def aligned(cell: str, room: int, right: bool) -> str:
    """A cell filled up with blanks."""
    blanks = " " * (room - width(cell))
    return blanks + cell if right else cell + blanks


def fitted(widths: Sequence[int], room: int | None) -> list[int]:
    """The widths of columns, the widest of them narrowed until all fit."""
    limit = max(widths, default=0) if room is None else min(max(widths, default=0), room)
    while room is not None and limit > NARROWEST and sum(min(w, limit) + 2 for w in widths) - 2 > room:
        limit -= 1
    return [min(w, limit) for w in widths]
