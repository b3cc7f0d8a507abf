"""What one task printed, for players of terminal sessions (asciicast v2), and as plain text.

The format: https://docs.asciinema.org/manual/asciicast/v2/
"""

from __future__ import annotations

import codecs
import json
import re

from qrec.output import STREAMS, pieces
from qrec.terminal_text import Screen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from qrec.output import Output
    from qrec.task import Task

SIZE = (80, 24)  #: columns and lines of a terminal of which nothing is known
LARGEST = 10_000
BARE_NEWLINE = re.compile(r"(?<!\r)\n")


def asciicast(task: Task, output: Output) -> Iterator[bytes]:
    """The lines of an asciicast v2: the header, then [seconds, "o", text] for each piece of output."""
    yield line(header(task))
    before = ""
    for at, text in decoded(output):
        shown = as_in_terminal(text, before)
        before = "\r" if text.endswith("\r") else ""
        yield line([round(at, 3), "o", shown])


def line(value: Any) -> bytes:
    """A value as a line of JSON; words of a command that are no text lose what JSON cannot hold."""
    return json.dumps(value).encode() + b"\n"


def header(task: Task) -> dict[str, Any]:
    """What a player is told of a task."""
    columns, lines = size_of(task.facts)
    known = task.facts.get("environment")
    surroundings = known if isinstance(known, dict) else {}
    told = {"SHELL": surroundings.get("SHELL") or task.data.get("shell"), "TERM": surroundings.get("TERM")}
    about: dict[str, Any] = {"version": 2, "width": columns, "height": lines}
    if task.began:
        about["timestamp"] = int(task.began)
    about["command"] = clean(task.command)
    if task.message:
        about["title"] = clean(task.message)
    about["env"] = {name: clean(value) for name, value in told.items() if isinstance(value, str)}
    return about


def clean(words: str) -> str:
    """Text without the stand-ins for bytes that were none, which strict readers of JSON refuse."""
    return words.encode("utf-8", "replace").decode()


def size_of(facts: Mapping[str, Any]) -> tuple[int, int]:
    """The columns and lines of the terminal that the command saw; the usual ones if it saw none."""
    columns, lines = facts.get("columns"), facts.get("lines")
    if (
        isinstance(columns, int)
        and isinstance(lines, int)
        and min(columns, lines) > 0
        and max(columns, lines) <= LARGEST
    ):
        return columns, lines
    return SIZE


def decoded(output: Output) -> Iterator[tuple[float, str]]:
    """The output as text with its times; a character that blocks have cut comes with its last byte."""
    decoders = {stream: codecs.getincrementaldecoder("utf-8")("replace") for stream in STREAMS}
    at = 0.0
    for at, stream, block in pieces(output):
        if text := decoders[stream].decode(block):
            yield at, text
    for stream in STREAMS:
        if text := decoders[stream].decode(b"", True):
            yield at, text


def as_in_terminal(text: str, before: str) -> str:
    """Text as a terminal's driver passes it on: each newline goes back to the first column, too.

    `before` is the carriage return before it, if there was one.
    """
    return BARE_NEWLINE.sub("\r\n", before + text)[len(before) :] if "\n" in text else text


def plain_text(task: Task, output: Output) -> Iterator[bytes]:
    """What stands in a terminal in the end, as text that ends with a newline."""
    screen = Screen(size_of(task.facts)[1])
    last = ""
    for _, text in decoded(output):
        if settled := screen.feed(text):
            last = settled
            yield settled.encode()
    rest = screen.close()
    yield rest.encode()
    if not (rest or last or "\n").endswith("\n"):
        yield b"\n"
