"""Where a program tells what went wrong: tracebacks, panics and first errors in an output.  Pure functions."""

from __future__ import annotations

import re

from qrec.output import STREAMS, text
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qrec.output import Output

HEAD, TAIL = 8 << 20, 1 << 20  #: bytes searched at the beginning and at the end of each stream
SPAN = 1 << 20  #: characters in which an excerpt must end
SHOWN = 30  #: lines of an excerpt that are shown
SHOWN_AHEAD = 10  #: of these, from its beginning, if it is longer
LONGEST = 500  #: characters shown of a line
BETWEEN = 20  #: lines between an error and the sentence that chains the next one to it

ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|[]PX^_][^\x07\x1b\n]*(?:\x07|\x1b\\)?|[ -/]*[0-~])")
CONTROLS = bytes(n for n in range(32) if n not in b"\n\r\t") + b"\x7f"
C1 = re.compile("[\x80-\x9f]")


class Excerpt(Record):
    """Some lines of a stream."""

    stream: str
    line: int  #: the first one's number, from 1; counted back from the end, negative, if nobody read all before it
    lines: tuple[str, ...]
    count: int  #: how many lines it has; `lines` may leave out its middle

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


class Kind(Record):
    """How one sort of message looks."""

    hint: str  #: plain text in its first line
    start: re.Pattern[str]  #: matches at the beginning of its first line
    goes_on: re.Pattern[str]  #: matches at the beginning of each line that follows
    free: int = 0  #: lines after the first that belong to it whatever they are


def kind(hint: str, start: str, goes_on: str = r"(?!)", free: int = 0) -> Kind:
    """A kind from its expressions."""
    return Kind(hint=hint, start=re.compile(start), goes_on=re.compile(goes_on), free=free)


PYTHON = kind("Traceback (most recent call last)", r"(.*)Traceback \(most recent call last\)")
CHAINED = re.compile(r"During handling of the above exception|The above exception was the direct cause")
GO = r"\s|\[signal |goroutine \d|\S+\(.*\)$|created by |panic: |exit status|$"

#: What is certainly the story of an error.
STORIES = (
    PYTHON,
    kind("panicked at", r"thread '.*' (?:\(\d+\) )?panicked at ", r"\s+\S|note: |stack backtrace:", free=1),
    kind("panic: ", r"panic: .*\n(?:.*\n){0,10}?goroutine \d+ \[", GO),
    kind("fatal error: ", r"fatal error: .*\n(?:.*\n){0,10}?goroutine \d+ \[", GO),
    kind("Exception in thread \"", r'Exception in thread "', r"\s+at |\s+\.\.\. \d+ |Caused by: |\s+Suppressed: "),
    kind("terminate called ", r"terminate called ", r"\s+what\(\):"),
    kind("Assertion ", r".{0,500}Assertion [`'].{0,2000}?' failed"),
    kind("Error", r"(?:Uncaught )?\w*Error(?: \[\w+\])?: .*\n\s+at \S", r"\s+at "),
    kind("ERROR: ", r"ERROR: .*\n(?:.*\n){0,6}?Stacktrace:", r"\s|Stacktrace:|in expression |caused by: |$"),
)  # fmt: skip
#: Single lines that tell of an error, perhaps of one that was overcome.
LINES = (
    kind("rror", r"(?:\S.*?: )?(?:fatal )?error(?:\[\w+\])?: ", r"\s*\d* +\||\s+\S"),
    kind("Error", r"(?:CMake )?Error(?: in | at |: )", r"\s+\S|Calls: |Execution halted"),
    kind("*** ", r"\w*make(?:\[\d+\])?: \*\*\* "),
    kind(": line ", r"\S+: line \d+: "),
    kind("not found", r"\S+: \d+: .*: not found"),
    kind("E   ", r"E   +\S", r"E\b|$|\S+:\d+: "),
)


# Output as people read it


def clean(block: bytes) -> str:
    """Text without control sequences, each line as it stood in the end where it was written over by `\\r`."""
    if b"\x1b" in block:
        block = ESCAPES.sub(b"", block)
    block = block.translate(None, CONTROLS)
    if b"\r" in block:
        block = b"\n".join(line.rstrip(b"\r").rpartition(b"\r")[2] for line in block.split(b"\n"))
    told = text(block)
    return told if told.isascii() else C1.sub("", told)


def windows(output: Output, stream: str) -> Iterator[tuple[int, str]]:
    """The searched parts of a stream, each with the number of its first line, as `Excerpt` counts."""
    size = output.size(stream)
    if size <= HEAD + TAIL:
        yield 1, clean(output.read(stream, 0, size))
        return
    yield 1, clean(output.read(stream, 0, HEAD))
    tail = output.read(stream, size - TAIL, TAIL)
    tail = tail[tail.find(b"\n") + 1 :]
    yield -(tail.count(b"\n") + (not tail.endswith(b"\n"))), clean(tail)


def last_lines(output: Output, lines: int) -> Excerpt | None:
    """The last lines of stderr, or of stdout if stderr says nothing; None if neither does."""
    for stream in reversed(STREAMS):
        size = output.size(stream)
        start = max(0, size - lines * 4096)
        block = output.read(stream, start, size - start)
        if start and b"\n" in block:
            block = block[block.find(b"\n") + 1 :]
        found = clean(block).rstrip().split("\n")
        if found != [""]:
            found = found[-lines:]
            return Excerpt(stream=stream, line=-len(found), lines=shortened(found), count=len(found))
    return None


# Finding


def find(output: Output) -> Excerpt | None:
    """The first traceback of an output, or the like of it; else the first line that tells of an error.

    Looks into stderr first, then into stdout, of each into the first 8 MiB and the last 1 MiB.
    """
    for kinds in (STORIES, LINES):
        for stream in reversed(STREAMS):
            for first, body in windows(output, stream):
                found = find_in(body, kinds)
                if found is not None:
                    start, lines = found
                    return Excerpt(stream=stream, line=first + body.count("\n", 0, start), lines=bounded(lines),
                                   count=len(lines))  # fmt: skip
    return None


def find_in(body: str, kinds: Sequence[Kind]) -> tuple[int, list[str]] | None:
    """Where in a text the first message of these kinds begins, and its lines."""
    starts = [(start, place) for place, kind in enumerate(kinds) if (start := first_of(body, kind)) is not None]
    if not starts:
        return None
    start, place = min(starts)
    return start, message(body[start : start + SPAN].split("\n"), kinds[place])


def first_of(body: str, kind: Kind) -> int | None:
    """Where in a text the first message of a kind begins."""
    found = body.find(kind.hint)
    while found >= 0:
        start = body.rfind("\n", 0, found) + 1
        if kind.start.match(body, start):
            return start
        end = body.find("\n", found)
        found = body.find(kind.hint, end) if end >= 0 else -1
    return None


def message(lines: list[str], kind: Kind) -> list[str]:
    """The lines of a message, of those from its first on."""
    if kind is PYTHON:
        return python_message(lines)
    end = 1 + kind.free
    while end < len(lines) and kind.goes_on.match(lines[end]):
        end += 1
    return without_blank_end(lines[:end])


def without_blank_end(lines: list[str]) -> list[str]:
    """Lines up to the last that says something."""
    while lines and not lines[-1].strip():
        lines.pop()
    return lines


def python_message(lines: list[str]) -> list[str]:
    """A traceback of Python's to its last line, with all that are chained to it."""
    ahead = lines[0].partition("Traceback (")[0]  # what a logger or launcher writes in front of each line
    if ahead.lstrip().startswith("+ "):
        return group_message(lines)
    own = [line.removeprefix(ahead) for line in lines]
    end: int | None = 0
    while end is not None:
        last = end_of_traceback(own, end)
        end = next_in_chain(own, last)
    return without_blank_end(lines[:last])


def group_message(lines: list[str]) -> list[str]:
    """A traceback of an exception group, which is drawn with a border."""
    end = 1
    while end < len(lines) and re.match(r"\s*[|+]", lines[end]):
        end += 1
    return lines[:end]


def end_of_traceback(lines: list[str], start: int) -> int:
    """Behind the error that a traceback ends with."""
    end = past_indented(lines, start + 1)
    return past_indented(lines, end + 1)


def past_indented(lines: list[str], start: int) -> int:
    """Behind the lines that begin with a blank."""
    end = start
    while end < len(lines) and lines[end][:1] in (" ", "\t"):
        end += 1
    return end


def next_in_chain(lines: list[str], start: int) -> int | None:
    """The first line of the traceback that is chained to the one before, if there is one."""
    for at in range(start, min(start + BETWEEN, len(lines))):
        if PYTHON.hint in lines[at]:
            return None
        if CHAINED.match(lines[at]):
            return next((n for n in range(at, min(at + 3, len(lines))) if PYTHON.hint in lines[n]), None)
    return None


# Showing


def bounded(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines in a number that fits a screen, with a line that tells how many are left out."""
    if len(lines) <= SHOWN:
        return shortened(lines)
    tail = lines[len(lines) - (SHOWN - SHOWN_AHEAD - 1) :]
    left_out = len(lines) - SHOWN_AHEAD - len(tail)
    return (*shortened(lines[:SHOWN_AHEAD]), f"[... {left_out:,} lines ...]", *shortened(tail))


def shortened(lines: Sequence[str]) -> tuple[str, ...]:
    """Lines, the very long ones with an ellipsis for their end."""
    return tuple(line if len(line) <= LONGEST else line[: LONGEST - 1] + "…" for line in lines)
