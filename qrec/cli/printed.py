"""What a task printed: as it was, with times, and played back."""

from __future__ import annotations

import json
import os
import signal
import sys
import time

import click

from qrec.cli import say
from qrec.cli.verbs import ATTEMPT, TASK, looking, tell, verb
from qrec.cli.words import JSON, REVEAL
from qrec.errors import WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

    from qrec.api import Qrec
    from qrec.output import Output
    from qrec.task import Task
    from qrec.timeline import Piece, Silence

STREAM_COLOURS = {"stdout": "", "stderr": "31"}  #: in a terminal stderr is red
MARKS = {"stdout": "O", "stderr": "E"}
RESTORED = "\x1b[0m\x1b(B\x1b[?25h\x1b[?7h\x1b[?1l\x1b>\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l"
ASIDE = (b"\x1b[?1049", b"\x1b[?1047", b"\x1b[?47")  #: what changes to a terminal's second screen, or back

NAP = 0.1  #: seconds

ONLY_STDOUT = click.option("--stdout", "only", flag_value="stdout", help="Only what went to stdout.")
ONLY_STDERR = click.option("--stderr", "only", flag_value="stderr", help="Only what went to stderr.")


@verb("qrec log 12 -f\n  qrec log --stderr -n 20\n  qrec log --merged --timestamps\n  qrec log --slow 5s", JSON, REVEAL)
@TASK
@ATTEMPT
@click.option("-f", "--follow", is_flag=True, help="Go on as the task prints, until it has ended.")
@ONLY_STDOUT
@ONLY_STDERR
@click.option("-n", "lines", type=click.IntRange(0), metavar="N", help="Only the last N lines.")
@click.option("--merged", is_flag=True, help="Tell the streams apart: stderr in red, or O and E before each line.")
@click.option("--color", "--colour", "colour", is_flag=True, help="Use colours though stdout is no terminal.")
@click.option("--timestamps", "stamps", flag_value="clock", help="The time of day when it came before each line.")
@click.option("--relative", "stamps", flag_value="relative", help="The seconds since the start before each line.")
@click.option("--slow", metavar="TIME", help="List where nothing came for 5s, 500ms, 1m30s ... or longer.")
def log(
    given: dict[str, Any], task: str | None, attempt: int | None, follow: bool, only: str | None, lines: int | None,
    merged: bool, colour: bool, stamps: str | None, slow: str | None,
) -> None:  # fmt: skip
    """Print what a task printed, byte for byte, both streams in their order.

    --merged, --timestamps and --relative print lines instead: one that is broken off because the other stream begins
    to speak ends there.  Without colours --merged puts two characters before each: O for stdout or E for stderr, and
    a blank, or + where a line goes on that was broken off.
    """
    from qrec.output import STREAMS, Frozen

    in_lines = merged or stamps is not None
    if slow is not None and (follow or in_lines):
        raise WrongUsage("--slow is a list of its own; leave out -f, --merged, --timestamps and --relative")
    least = None if slow is None else shortest(slow)
    door = looking(given)
    found = door.get(task, attempt)
    streams = STREAMS if only is None else (only,)
    if least is not None:
        print_silences(found, Frozen(door.output(found)), streams, lines, least, given["json"])
    elif in_lines:
        layout = Layout(found, merged, stamps, colour)
        told, amidst = timed(door, found, streams, lines, follow)
        (print_json_lines if given["json"] else print_lines)(told, amidst, layout, follow)
    else:
        print_log(door, found, streams, lines, follow, given["json"])
    if in_lines or least is not None:
        tell_nothing(door, found, streams)
    tell(door)


def print_log(door: Qrec, found: Task, streams: Sequence[str], lines: int | None, follow: bool, as_json: bool) -> None:
    """Print what was printed as it is."""
    from qrec.output import Frozen, last_lines, merged

    if follow:
        blocks = door.follow(found, streams, lines)
    else:
        output = Frozen(door.output(found))
        blocks = merged(output, streams) if lines is None else last_lines(output, lines, streams)
    (print_json_log if as_json else print_blocks)(blocks, follow)


def print_blocks(blocks: Iterable[tuple[str, bytes]], follow: bool) -> None:
    """Bytes on stdout, as they come if they are followed."""
    for _, block in blocks:
        put_block(block, follow)


def put_block(block: bytes, follow: bool) -> None:
    """A block on stdout, at once if somebody waits for more."""
    sys.stdout.buffer.write(block)
    if follow:
        sys.stdout.buffer.flush()


def print_json_log(blocks: Iterable[tuple[str, bytes]], follow: bool) -> None:
    """One JSON object a block: its stream and text."""
    from qrec.output import text

    for stream, block in blocks:
        put_block(json.dumps({"stream": stream, "text": text(block)}).encode() + b"\n", follow)


def tell_nothing(door: Qrec, task: Task, streams: Sequence[str]) -> None:
    """Say so if the task printed nothing."""
    if not any(map(door.output(task).size, streams)):
        say(f"{task.number} printed nothing" + (f" on {streams[0]}" if len(streams) == 1 else ""))


# Lines


class Layout:
    """How lines are shown: what stands before and after each."""

    def __init__(self, task: Task, merged: bool, stamps: str | None, colour: bool) -> None:
        from qrec.cli.show import in_colour

        self.began = task.began
        self.merged = merged
        self.stamps = stamps
        self.colour = colour or in_colour()

    def lead(self, at: float, stream: str, goes_on: bool) -> bytes:
        """What stands before a line."""
        return (self.stamp(at) + self.mark(stream, goes_on)).encode()

    def trail(self, stream: str) -> bytes:
        """What stands after a line."""
        return b"\x1b[0m" if self.merged and self.colour and STREAM_COLOURS[stream] else b""

    def stamp(self, at: float) -> str:
        """When a line came."""
        if self.stamps is None:
            return ""
        told = f"{at:9.3f}" if self.stamps == "relative" else clock(self.began + at)
        return f"\x1b[2m{told}\x1b[0m " if self.colour else f"{told} "

    def mark(self, stream: str, goes_on: bool) -> str:
        """Of which stream a line is."""
        if not self.merged:
            return ""
        if self.colour:
            return f"\x1b[{STREAM_COLOURS[stream]}m" if STREAM_COLOURS[stream] else ""
        return MARKS[stream] + ("+" if goes_on else " ")


def clock(seconds: float) -> str:
    """The local time of day in milliseconds."""
    shown = round(seconds, 3)
    return time.strftime("%H:%M:%S", time.localtime(shown)) + f"{shown % 1:.3f}"[1:]


def timed(
    door: Qrec, task: Task, streams: Sequence[str], lines: int | None, follow: bool
) -> tuple[Iterator[Piece], set[str]]:
    """What was printed and when it came, the last lines only if so many are asked for, and what comes; and the
    streams that begin amidst a line."""
    from itertools import chain

    from qrec.output import Frozen, pieces
    from qrec.timeline import last_pieces

    begun = Frozen(door.output(task))
    told, amidst = (pieces(begun, streams), set()) if lines is None else last_pieces(begun, lines, streams)
    return chain(told, coming(door, task, streams, dict(begun.sizes)) if follow else ()), amidst


def coming(door: Qrec, task: Task, streams: Sequence[str], sizes: dict[str, int]) -> Iterator[Piece]:
    """What the task prints from now on, with the time at which we saw it; ends when the task has ended."""
    start = task.began
    for stream, block in door.coming(task, streams, sizes):
        yield max(0.0, time.time() - start), stream, block


def print_lines(told: Iterable[Piece], amidst: set[str], layout: Layout, follow: bool) -> None:
    """Lines on stdout, as they come if they are followed."""
    from qrec.timeline import laid_out

    for block in laid_out(told, layout.lead, layout.trail, amidst):
        put_block(block, follow)


def print_json_lines(told: Iterable[Piece], amidst: set[str], layout: Layout, follow: bool) -> None:
    """One JSON object a line: its stream, when it came, the seconds since the start, and its text."""
    from qrec.output import text
    from qrec.task import timestamp
    from qrec.timeline import lines

    last, stamp = -1.0, ""
    for at, stream, line in lines(told):
        if at != last:  # many lines come at once
            last, stamp = at, timestamp(layout.began + at)
        row = {"stream": stream, "at": stamp, "seconds": round(at, 3), "text": text(line)}
        put_block(json.dumps(row).encode() + b"\n", follow)


# Silences


def shortest(words: str) -> float:
    """The seconds of the shortest silence that is listed."""
    from qrec.units import seconds

    least = seconds(words)
    if least < 0.001:
        raise WrongUsage("--slow wants a time above zero: 5s, 500ms, 1m30s ...")
    return least


def print_silences(
    task: Task, output: Output, streams: Sequence[str], last: int | None, least: float, as_json: bool
) -> None:
    """List where nothing came for at least so many seconds, and how long that was together."""
    from collections import deque

    from qrec.timeline import longest_silence, silences

    whole = task.seconds
    longest = longest_silence(output, streams, whole)
    found = silences(output, streams, least, whole) if longest >= least else iter(())
    shown = found if last is None else iter(deque(found, last))
    if as_json:
        put_array(silence_row(silence, longest) for silence in shown)
    else:
        put_silences(shown, least, longest, whole)


def silence_row(silence: Silence, longest: float) -> dict[str, Any]:
    """A silence in JSON's types."""
    return {
        "at": round(silence.at, 3), "seconds": round(silence.seconds, 3), "line": silence.line,
        "after": quoted(silence.after), "before": quoted(silence.before), "longest": silence.seconds == longest,
    }  # fmt: skip


def quoted(line: bytes | None) -> str | None:
    """A line as text that a terminal would show."""
    from qrec.output import text
    from qrec.terminal_text import plain

    return None if line is None else plain(text(line)).rpartition("\n")[2]


def put_array(rows: Iterable[dict[str, Any]]) -> None:
    """A JSON array with an object a line, as they come."""
    before = "["
    for row in rows:
        sys.stdout.write(before + json.dumps(row))
        before = ",\n "
    sys.stdout.write("[]\n" if before == "[" else "]\n")


def put_silences(found: Iterable[Silence], least: float, longest: float, whole: float | None) -> None:
    """Silences for people, the longest marked, and their sum."""
    from qrec.cli.show import MARK, columns, cut, paint, put
    from qrec.units import duration

    count, total, room = 0, 0.0, columns()
    for silence in found:
        count, total = count + 1, total + silence.seconds
        mark = "*" if silence.seconds == longest else " "
        line = cut(f"{mark} {duration(silence.seconds):>7}  {place(silence)}", room)
        put(paint(line, MARK) if mark == "*" else line)
    told = f"{count} silence{'s' * (count != 1)} of {duration(least)} or longer"
    told += f", {duration(total)} together" * bool(count)
    put(told + (f", of {duration(whole)}" if whole is not None else ""))


def place(silence: Silence) -> str:
    """Between which lines a silence is."""
    from qrec.cli.show import printable

    after, before = (
        None if line is None else printable(quoted(line) or "") for line in (silence.after, silence.before)
    )
    told = "before the first line" if after is None else f"after line {silence.line}: {after}"
    if before is None:
        return "nothing was printed" if after is None else f"{told}  until the end"
    return f"{told}: {before}" if after is None else f"{told}  before: {before}"


# Playing back


@verb("qrec replay 12 --speed 4 --max-pause 1s\n  qrec replay --stdout", REVEAL)
@TASK
@ATTEMPT
@click.option("--speed", type=float, default=1.0, metavar="N", help="So many times as fast.")
@click.option("--max-pause", "longest", metavar="TIME", help="No pause longer than 1s, 500ms ...")
@ONLY_STDOUT
@ONLY_STDERR
def replay(
    given: dict[str, Any], task: str | None, attempt: int | None, speed: float, longest: str | None, only: str | None
) -> None:
    """Play what a task printed once more, in its rhythm: stdout on stdout, stderr on stderr, byte for byte.

    Ctrl-C ends it, and leaves no colours behind.
    """
    from qrec.output import STREAMS, Frozen, pieces
    from qrec.timeline import play
    from qrec.units import seconds

    if not 0 < speed < float("inf"):
        raise WrongUsage("--speed wants a number above zero: 2 is twice as fast, 0.5 half as fast")
    pause = float("inf") if longest is None else seconds(longest)
    door = looking(given)
    found = door.get(task, attempt)
    streams = STREAMS if only is None else (only,)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Stage() as stage:
            play(pieces(Frozen(door.output(found)), streams), stage.write, speed, pause, sleep=rest)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)  # so that a shell's loop ends, too
    tell_nothing(door, found, streams)
    tell(door)


def rest(seconds: float) -> None:
    """Sleep, in naps: a Ctrl-C in the moment before one is heard only after it."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, NAP))


class Stage:
    """Our stdout and stderr while something is played there; a terminal is left as if nothing had been."""

    def __init__(self, write: Callable[[int, bytes], int] = os.write) -> None:
        self.put = write
        self.tail = b""
        self.touched = self.aside = False

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        if self.touched and os.isatty(1):
            self.put(1, (RESTORED + "\x1b[?1049l" * self.aside).encode())

    def write(self, stream: str, block: bytes) -> None:
        """Write a block where it was written."""
        self.look(block)
        file = 1 if stream == "stdout" else 2
        while block:
            block = block[self.put(file, block) :]

    def look(self, block: bytes) -> None:
        """Note what the block does to a terminal."""
        seen = self.tail + block
        self.touched = self.touched or b"\x1b" in seen
        last = max((seen.rfind(change), len(change)) for change in ASIDE)
        if last[0] >= 0 and (ending := seen[sum(last) : sum(last) + 1]):
            self.aside = ending == b"h"
        self.tail = seen[-8:]
