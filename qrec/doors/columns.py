"""Tasks as rows of chosen columns, and rows as CSV."""

from __future__ import annotations

import json
from itertools import chain

from qrec.errors import WrongUsage, did_you_mean
from qrec.task import SUMMARY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from qrec.task import Task

#: What a row can hold: the keys of `ls --json`, and what its `usage` holds that people ask for.
COLUMNS = (*SUMMARY, "cpu", "memory")
#: What `ls` calls some of them in its own headings.
SHORT = {"when": "started", "took": "seconds", "code": "returncode"}


def named_columns(words: str) -> tuple[str, ...]:
    """The columns that a list with commas names, or WrongUsage."""
    given = (name.strip() for name in words.split(","))
    names = tuple(SHORT.get(name, name) for name in given if name)
    if unknown := [name for name in names if name not in COLUMNS]:
        there = did_you_mean(unknown[0], COLUMNS, f"there are: {', '.join(COLUMNS)}")
        raise WrongUsage(f"no column is called {unknown[0]!r}; {there}")
    if not names:
        raise WrongUsage(f"name columns, with commas between them; there are: {', '.join(COLUMNS)}")
    return names


def row_of(task: Task, names: Sequence[str]) -> dict[str, Any]:
    """The named columns of a task."""
    whole = {**task.summary(), **{name: task.usage.get(name) for name in ("cpu", "memory")}}
    return {name: whole[name] for name in names}


def csv_lines(headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Rows as CSV in UTF-8, with a line of headings.  By hand, since Python 3.10's csv refuses NUL."""
    for row in chain([headings], rows):
        yield (",".join(quoted(csv_cell(value)) for value in row) + "\n").encode("utf-8", "backslashreplace")


def quoted(cell: str) -> str:
    """A cell that no comma, quote or line break of its own ends."""
    return '"' + cell.replace('"', '""') + '"' if any(sign in cell for sign in ',"\r\n') else cell


def csv_cell(value: Any) -> str:
    """A value as text: nothing for what is missing or empty, JSON for lists and objects."""
    if value is None or value in ((), [], {}):
        return ""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    if isinstance(value, (list, tuple, dict, bool)):
        return json.dumps(value, ensure_ascii=False)
    return str(value)
