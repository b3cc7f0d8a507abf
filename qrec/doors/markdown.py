"""Tasks as a report in Markdown: what ran, how it went, and the end of what it printed.

Whatever a command or its output holds, the report stays what CommonMark reads as headings, tables and blocks of code.
"""

from __future__ import annotations

import re

from qrec.errors import NoSuchTask
from qrec.output import last_lines
from qrec.terminal_text import plain
from qrec.units import duration, size
from qrec.why import why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from qrec.output import Output
    from qrec.task import Task

LINES = 20  #: of the end of an output
WIDE = 500  #: characters of such a line
TITLE = 80  #: characters of a command in a heading
#: What means something to Markdown wherever it stands, and what does at the beginning of a line.
SIGNS = re.compile(r"([\\`*_{}\[\]<>()#|~&!$])")
BEGINNING = re.compile(r"(\d+(?=\.)|)([-+=.:])")
BACKTICKS = re.compile("`+")


def report(tasks: Iterable[Task], printed: Callable[[Task], Output]) -> Iterator[bytes]:
    """The report, a task at a time; `printed` gives what may be told of a task's output."""
    yield b"# Recorded commands\n"
    for task in tasks:
        try:
            yield encoded(f"\n{chapter(task, printed(task))}")
        except NoSuchTask:
            pass  # removed meanwhile


def chapter(task: Task, output: Output) -> str:
    """All about one task."""
    parts = [
        f"## {task.number}: {code(cut(one_line(task.command), TITLE)) or '(no command)'}",
        note(task.message),
        block(task.command, "sh"),
        table(facts(task)),
        *failure(task, output),
        *ending(output),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def facts(task: Task) -> Iterator[tuple[str, Any]]:
    """What is told in the table."""
    usage, about = task.usage, task.facts
    yield "status", task.status.value
    yield "exit code", task.returncode
    yield "began", task.started or task.created
    yield "took", None if task.seconds is None else duration(task.seconds)
    yield "memory", size(usage["memory"]) if usage.get("memory") else None
    yield "CPU", duration(usage["cpu"]) if usage.get("cpu") else None
    yield "host", task.host
    yield "folder", task.pwd
    yield "git commit", about.get("commit")
    yield "git branch", about.get("branch")
    yield "tags", ", ".join(task.tags)
    yield "queue", task.queue
    yield "uid", task.uid


def failure(task: Task, output: Output) -> Iterator[str]:
    """Why it did not complete, as far as that is known."""
    told = why(task, output, None, None)
    if not told.reason:
        return
    yield f"**Why:** {text(told.reason)}{': ' * bool(told.explanation)}{text(told.explanation)}"
    if told.traceback is not None:
        yield block(told.traceback.text)


def ending(output: Output) -> Iterator[str]:
    """The last lines of what it printed."""
    printed = b"".join(part for _, part in last_lines(output, LINES)).decode("utf-8", "replace")
    shown = [cut(line, WIDE) for line in plain(printed).split("\n")]
    if any(shown):
        yield f"The end of its output:\n\n{block(chr(10).join(shown))}"


# Markdown


def encoded(words: str) -> bytes:
    """UTF-8; what is none becomes question marks, and NUL, which Markdown has not, what Markdown makes of it."""
    return words.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")


def one_line(words: str) -> str:
    """A text in one line, in which nothing is hidden."""
    return "".join(char if char.isprintable() else " " for char in words).strip()


def cut(words: str, room: int) -> str:
    """As much of a text as there is room for."""
    return words if len(words) <= room else f"{words[: room - 1]}\N{HORIZONTAL ELLIPSIS}"


def text(words: str) -> str:
    """A text in which nothing is Markdown's."""
    return escaped(one_line(words))


def escaped(line: str) -> str:
    """A line with a backslash before each sign that would mean something."""
    line = SIGNS.sub(r"\\\1", line)
    start = BEGINNING.match(line)
    return f"{start[1]}\\{line[start.start(2) :]}" if start else line


def note(words: str) -> str:
    """A note as a quotation, a paragraph a line."""
    return "\n>\n".join(f"> {text(line)}" for line in words.splitlines() if line.strip())


def table(rows: Iterable[tuple[str, Any]]) -> str:
    """A table of what is known."""
    known = [f"| {name} | {text(str(value))} |" for name, value in rows if value not in (None, "")]
    return "\n".join(["| | |", "|---|---|", *known])


def code(words: str) -> str:
    """Code within a line; more backticks around it than there are in it."""
    if not words:
        return ""
    around = "`" * (longest(words) + 1)
    pad = " " * (words[0] == "`" or words[-1] == "`")
    return f"{around}{pad}{words}{pad}{around}"


def block(words: str, language: str = "") -> str:
    """A block of code, in a fence that is longer than any in it."""
    fence = "`" * max(3, longest(words) + 1)
    lines = words.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    return f"{fence}{language}\n{lines}\n{fence}"


def longest(words: str) -> int:
    """How many backticks stand in a row at most."""
    return max(map(len, BACKTICKS.findall(words)), default=0)
