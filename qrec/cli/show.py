"""How tasks, hits and tables look in a terminal."""

from __future__ import annotations

import json
import os
import shutil
import sys
import unicodedata
from datetime import datetime

from qrec.search import fold, marked
from qrec.task import Status, Task, moment
from qrec.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any

    from qrec.search import Hit, Match

COLOURS = {
    Status.COMPLETE: "32", Status.FAILED: "31", Status.LOST: "31", Status.CANCELLED: "33", Status.SKIPPED: "33",
    Status.RUNNING: "36", Status.SUBMITTED: "36", Status.QUEUED: "36",
}  # fmt: skip
HEADINGS = ("", "uid", "when", "took", "status", "code", "command")
GIVE_WAY = ("uid", "when", "took")  #: columns that are left out where the command has not ENOUGH room
ENOUGH = 20
MARK = "1;33"  #: bold yellow
DIM = "2"
AROUND = 200  #: characters shown of a very long matching line where the terminal sets no width


def is_terminal() -> bool:
    """Whether people read our stdout."""
    return sys.stdout.isatty()


def in_colour() -> bool:
    """Whether to use colours."""
    return is_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def columns() -> int | None:
    """The width to fit; None where the reader is a program, which wants everything."""
    return shutil.get_terminal_size().columns if is_terminal() else None


def paint(text: str, colour: str) -> str:
    """Text in a colour, if colours are on."""
    return f"\x1b[{colour}m{text}\x1b[0m" if in_colour() and text else text


def printable(text: str) -> str:
    """Text in one line that cannot do anything to a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def width(text: str) -> int:
    """How many columns of a terminal a printable text takes."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)


def cut(text: str, room: int | None) -> str:
    """Text that fits, with an ellipsis where something was cut off."""
    if room is None or width(text) <= room:
        return text
    kept = text[: max(0, room - 1)]
    while kept and width(kept) > room - 1:
        kept = kept[:-1]
    return kept + "…"


def put(line: str = "") -> None:
    """A line on stdout, whatever its encoding."""
    sys.stdout.write(
        line.encode(sys.stdout.encoding or "utf-8", "replace").decode(sys.stdout.encoding or "utf-8") + "\n"
    )


def put_json(value: Any) -> None:
    """JSON on stdout; undecodable bytes of a command stay escapes."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    try:
        text.encode()
    except UnicodeEncodeError:
        text = json.dumps(value, indent=2, default=str)
    put(text)


def short_uid(task: Task) -> str:
    """As much of the uid as tells tasks apart in practice."""
    return task.uid[: len(task.executor) + 9]


def when(stamp: str) -> str:
    """A stored time for people: local, and no longer than needed; nothing where none is known."""
    if not stamp:
        return ""
    local = moment(stamp).astimezone()
    today = datetime.now().astimezone().date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M")


def cells(task: Task) -> tuple[str, ...]:
    """A task as a row of `HEADINGS`."""
    code = "" if task.returncode is None else str(task.returncode)
    took = duration(task.seconds)
    command = printable(task.command) + (f"  # {printable(task.message)}" if task.message else "")
    return str(task.number), short_uid(task), when(task.started or task.created), took, task.status.value, code, command


def table(tasks: Sequence[Task]) -> Iterator[str]:
    """The lines of a table of tasks that fits the terminal."""
    rows = [HEADINGS, *map(cells, tasks)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    places, left = fitting(widths, columns())
    for row, task in zip(rows, (None, *tasks), strict=True):
        yield table_line(row, widths, places, left, task)


def fitting(widths: Sequence[int], room: int | None) -> tuple[list[int], int | None]:
    """Which columns are shown before the command, and how much room that has; on narrow terminals some give way."""
    places = list(range(len(HEADINGS) - 1))
    if room is None:
        return places, None
    for name in GIVE_WAY:
        if room - sum(widths[place] + 2 for place in places) >= ENOUGH:
            break
        places.remove(HEADINGS.index(name))
    return places, max(1, room - sum(widths[place] + 2 for place in places))


def table_line(
    row: Sequence[str], widths: Sequence[int], places: Sequence[int], left: int | None, task: Task | None
) -> str:
    """One line of the table; numbers, times and codes stand at the right of their column."""
    padded = []
    for place in places:
        heading, cell, room = HEADINGS[place], row[place], widths[place]
        cell = cell.rjust(room) if heading in ("", "took", "code") else cell.ljust(room)
        padded.append(paint(cell, COLOURS[task.status]) if task and heading == "status" else cell)
    line = "  ".join([*padded, cut(row[-1], left)])
    return line if task else paint(line, DIM)


def hit_lines(hit: Hit, words: Sequence[str]) -> Iterator[str]:
    """A hit: the task in one line, then the lines that match."""
    task = hit.task
    code = "" if task.returncode is None else f" {task.returncode}"
    head = f"{task.number}  {short_uid(task)}  {when(task.started or task.created)}  "
    status = paint(f"{task.status.value}{code}", COLOURS[task.status])
    room = columns()
    left = None if room is None else max(10, room - width(head) - len(f"{task.status.value}{code}") - 2)
    folded = [fold(word) for word in words if word]
    command, spans = shown(task.command, marked(task.command, folded))
    whole = cut(command, left) == command
    yield f"{paint(head, DIM)}{status}  {with_marks(command, spans) if whole else cut(command, left)}"
    for match in hit.matches:
        if not (whole and match.where == "command"):  # then its matches are marked above
            yield "    " + match_line(match, folded, None if room is None else room - 4)


def match_line(match: Match, words: Sequence[str], room: int | None) -> str:
    """A matching line with its place, its matches marked."""
    place = match.where if match.where in ("command", "message", "tags") else f"{match.where}:{match.line or 'end'}"
    line, spans = shown(match.text, marked(match.text, words))
    line, spans = around(line, spans, (room or AROUND + len(place) + 2) - len(place) - 2)
    return f"{paint(place, DIM)}: {with_marks(line, spans)}"


def shown(line: str, spans: Sequence[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """A line made printable, and where its matches are then."""
    places = [0]
    for character in line:
        places.append(places[-1] + len(printable(character)))
    return printable(line), [(places[start], places[end]) for start, end in spans]


def around(line: str, spans: Sequence[tuple[int, int]], room: int) -> tuple[str, list[tuple[int, int]]]:
    """The part of a line around its first match that fits, and the matches in it."""
    if width(line) <= room:
        return line, list(spans)
    if not spans:
        return cut(line, room), []
    start = max(0, spans[0][0] - room // 3)
    ahead = "…" * (start > 0)
    part = ahead + line[start:]
    part = cut(part, room)
    shift, end = len(ahead) - start, len(part) - part.endswith("…")
    return part, [(max(a + shift, len(ahead)), min(b + shift, end)) for a, b in spans if b > start and a + shift < end]


def with_marks(line: str, spans: Iterable[tuple[int, int]]) -> str:
    """The printable line with its matches in colour."""
    done, position = "", 0
    for start, end in spans:
        done += line[position:start] + paint(line[start:end], MARK)
        position = end
    return done + line[position:]
