"""The histories that bash, zsh and fish write, read as the shells themselves read them."""

from __future__ import annotations

import os
import re
from itertools import chain, islice

from qrec.doors.past import Entry
from qrec.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Numbered = Iterator[tuple[int, bytes]]

FISH = b"- cmd: "
#: How a zsh tells when a command began and how long it took; an old one, when it ended.
EXTENDED = re.compile(rb": *(\d+):(\d+);")
STAMP = re.compile(rb"#(\d+)\s*")
SURELY_STAMP = re.compile(rb"#\d{9,}\s*")  #: one since 1973, and no comment
LOOKED_AT = 20  #: lines that tell whether a file is text
META = re.compile(rb"\x83(.)", re.DOTALL)
FISH_ESCAPE = re.compile(rb"\\([\\n])")


def in_words(line: bytes) -> str:
    """A line as the operating system hands words over."""
    return os.fsdecode(line)


def place(number: int) -> str:
    """What a line is called."""
    return f"line {number}"


def looked_at(lines: Iterable[bytes], shell: str) -> Iterator[bytes]:
    """The lines, if the first of them may be that shell's.  Refused if it is surely something else's."""
    rest = iter(lines)
    head = list(islice(rest, LOOKED_AT))
    first = head[0] if head else b""
    if (found := owner(head)) not in (None, shell):
        cure = f"; `qrec import {found}` reads it" if found in READERS else ""
        raise Refused(f"this is no history of {shell}: it looks like {NAMES[found or '']}{cure}")
    if shell == "fish" and first.strip() and found is None:
        raise Refused("this is no history of fish: it does not begin with `- cmd: `")
    return chain(head, rest)


def owner(head: Sequence[bytes]) -> str | None:
    """Whose file begins with such lines, as far as that is sure."""
    first = head[0] if head else b""
    if first.startswith(b"SQLite format 3\0"):
        return "atuin"
    if b"\0" in first or sum(b"\0" in line for line in head) > 1:
        return ""  # in one place a shell may have left them that was cut off
    if first.startswith(FISH):
        return "fish"
    if first.startswith(b"Seq\tHost\tStarttime\t"):
        return "parallel-joblog"
    return "zsh" if EXTENDED.match(first) else "bash" if SURELY_STAMP.fullmatch(first) else None


NAMES = {
    "": "no text at all", "atuin": "a database", "fish": "fish's", "zsh": "zsh's", "bash": "bash's",
    "parallel-joblog": "a joblog of GNU parallel",
}  # fmt: skip


# bash


def bash(lines: Iterable[bytes]) -> Iterator[Entry]:
    """What bash wrote: a command a line, after a line `#SECONDS` if HISTTIMEFORMAT was set.

    A command of several lines is whole only in a file that begins with a time; the next time ends it.
    """
    numbered = enumerate(looked_at(lines, "bash"), 1)
    first = next(numbered, None)
    if first is None:
        return iter(())
    every = chain([first], numbered)
    return stamped(every) if STAMP.fullmatch(first[1]) else single(every)


def single(numbered: Numbered) -> Iterator[Entry]:
    """Each line as a command, some with a time before it."""
    at: float | None = None
    for number, line in numbered:
        if match := STAMP.fullmatch(line):
            at = float(match[1])
        else:
            yield Entry(place=place(number), command=in_words(line.rstrip(b"\n")), at=at)
            at = None


def stamped(numbered: Numbered) -> Iterator[Entry]:
    """All between two times as one command."""
    at, begin = 0.0, 0
    held: list[bytes] = []
    for number, line in numbered:
        if match := STAMP.fullmatch(line):
            if held:
                yield stamped_entry(begin, held, at)
            at, begin, held = float(match[1]), number + 1, []
        else:
            held.append(line)
    if held:
        yield stamped_entry(begin, held, at)


def stamped_entry(number: int, held: list[bytes], at: float) -> Entry:
    """A command of one or several lines."""
    return Entry(place=place(number), command=in_words(b"".join(held).rstrip(b"\n")), at=at)


# zsh


def zsh(lines: Iterable[bytes]) -> Iterator[Entry]:
    """What zsh wrote, with EXTENDED_HISTORY or without.

    A line that ends with a backslash goes on.  Bytes that zsh uses itself are written as \\x83 and the byte ^ 32.
    """
    for number, line in whole_lines(looked_at(lines, "zsh")):
        match = EXTENDED.match(line) if line.startswith(b":") else None
        if match is None:
            text, at, seconds = line[1:] if line.startswith(b"\\:") else line, None, None
        else:
            at, seconds = float(match[1]), float(match[2])
            seconds = seconds - at if seconds >= at else seconds
            text = line[match.end() :]
        if b"\x83" in text:
            text = META.sub(lambda found: bytes([found[1][0] ^ 32]), text)
        # 0 is also what is written while a command still runs, so it tells nothing
        yield Entry(place=place(number), command=in_words(text), at=at, seconds=seconds or None)


def whole_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, bytes]]:
    """The commands with the number of their first line.

    A blank at the end of a command was added by zsh if it follows a backslash, which would not end the command else.
    """
    held: list[bytes] = []
    begin = 1
    for number, line in enumerate(lines, 1):
        if line.endswith(b"\\\n"):
            held.append(line[:-2])
            continue
        line = b"\n".join([*held, line.removesuffix(b"\n")]) if held else line.removesuffix(b"\n")
        yield begin, line[:-1] if line.endswith(b" ") and line.rstrip(b" ").endswith(b"\\") else line
        held, begin = [], number + 1
    if held:
        yield begin, b"\n".join(held)


# fish


def fish(lines: Iterable[bytes]) -> Iterator[Entry]:
    """What fish wrote: `- cmd: LINE`, `  when: SECONDS`, and the paths that occur in it, which are not wanted."""
    begin, command, at = 0, b"", None
    for number, line in enumerate(looked_at(lines, "fish"), 1):
        if line.startswith(FISH):
            if begin:
                yield fish_entry(begin, command, at)
            begin, command, at = number, line[len(FISH) :].removesuffix(b"\n"), None
        elif line.startswith(b"  when: ") and line[8:].strip().isdigit():
            at = float(line[8:])
        elif line.strip() and not line.startswith((b"  paths:", b"    - ")):
            yield Entry(place=place(number), trouble="fish writes no such line")
    if begin:
        yield fish_entry(begin, command, at)


def fish_entry(number: int, command: bytes, at: float | None) -> Entry:
    """One command; a line's end is written as `\\n`, a backslash twice."""
    if b"\\" in command:
        command = FISH_ESCAPE.sub(lambda found: b"\n" if found[1] == b"n" else b"\\", command)
    return Entry(place=place(number), command=in_words(command), at=at)


READERS = {"bash": bash, "zsh": zsh, "fish": fish}
