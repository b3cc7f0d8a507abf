"""An output in time: its blocks and when they came, laid out in lines, its silences, and how to play it back.

A piece is (seconds since the start, stream, bytes).
"""

from __future__ import annotations

import time

from qrec.output import BLOCK, STREAMS, Ahead, last_spans, pieces, sequence
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from qrec.output import Output

    Piece = tuple[float, str, bytes]

QUOTED = 2048  #: bytes that are looked at for a line before or after a silence


def last_pieces(output: Output, lines: int, streams: Sequence[str] = STREAMS) -> tuple[Iterator[Piece], set[str]]:
    """The end of `pieces` that holds the last so many laid-out lines, and the streams that begin amidst a line."""
    found = last_spans(output, lines, streams, apart=True)
    first = {stream: start for _, stream, start, _ in reversed(found)}
    amidst = {stream for stream, start in first.items() if start and output.read(stream, start - 1, 1) != b"\n"}
    ahead = Ahead(output)
    return ((at, stream, ahead.read(stream, start, size)) for at, stream, start, size in found), amidst


# Lines


def laid_out(
    told: Iterable[Piece],
    lead: Callable[[float, str, bool], bytes],
    trail: Callable[[str], bytes],
    amidst: Collection[str] = (),
) -> Iterator[bytes]:
    """Pieces with something before and after each line.

    No line holds both streams: where the other begins to speak, a line is broken off.  `lead` gets the time, the stream
    and whether the line goes on from where that stream was broken off; `amidst` names the streams that begin so.
    """
    unfinished = set(amidst)
    current = ""
    for at, stream, block in told:
        parts = []
        if current not in ("", stream):
            parts += [trail(current), b"\n"]
        if current != stream:
            parts.append(lead(at, stream, stream in unfinished))
        whole = block.endswith(b"\n")
        parts.append(block[: len(block) - whole].replace(b"\n", trail(stream) + b"\n" + lead(at, stream, False)))
        if whole:
            parts += [trail(stream), b"\n"]
            unfinished.discard(stream)
        else:
            unfinished.add(stream)
        current = "" if whole else stream
        yield b"".join(parts)
    if current:
        yield trail(current)


def lines(told: Iterable[Piece]) -> Iterator[Piece]:
    """The same lines one by one, each with its newline and the time of its first byte; very long ones in parts."""
    since, current, held = 0.0, "", bytearray()
    for at, stream, block in told:
        if held and stream != current:
            yield since, current, bytes(held)
            held.clear()
        current = stream
        *whole, rest = block.split(b"\n")
        for part in whole:
            yield since if held else at, stream, bytes(held) + part + b"\n"
            held.clear()
        since = since if held else at
        held += rest
        if len(held) >= BLOCK:
            yield since, stream, bytes(held)
            held.clear()
    if held:
        yield since, current, bytes(held)


# Silences


class Silence(Record):
    """A while in which nothing came."""

    at: float  #: when it began, in seconds since the start
    seconds: float  #: how long it was
    line: int  #: the number of the line after which it was, as `qrec log` prints them; 0 before the first
    after: bytes | None  #: the end of what was printed before; None at the beginning
    before: bytes | None  #: the beginning of what was printed then; None at the end


def longest_silence(output: Output, streams: Sequence[str], whole: float | None) -> float:
    """The seconds of the longest silence; `whole` is how long the task took, None if nobody knows."""
    longest = last = 0.0
    for at, stream, _ in sequence(output):
        if stream in streams:
            longest, last = max(longest, at - last), at
    return longest if whole is None else max(longest, whole - last)


def silences(output: Output, streams: Sequence[str], least: float, whole: float | None) -> Iterator[Silence]:
    """Where nothing came for at least so many seconds, the beginning and the end included."""
    last, count, tail = 0.0, 0, b""
    for at, _, block in pieces(output, streams):
        if at - last >= least:
            yield silence(last, at - last, count, tail, block)
        last = at
        count += block.count(b"\n")
        tail = (tail + block[-QUOTED:])[-QUOTED:]
    if whole is not None and whole - last >= least:
        yield silence(last, whole - last, count, tail, None)


def silence(at: float, seconds: float, count: int, tail: bytes, block: bytes | None) -> Silence:
    """A silence after so many newlines, between the end of what was and the beginning of what came."""
    *_, after = tail.removesuffix(b"\n").split(b"\n")
    line = count + bool(tail and not tail.endswith(b"\n"))
    before = None if block is None else block[:QUOTED].partition(b"\n")[0]
    return Silence(at=at, seconds=seconds, line=line, after=after if tail else None, before=before)


# Playing back


def play(
    told: Iterable[Piece],
    write: Callable[[str, bytes], None],
    speed: float = 1.0,
    longest: float = float("inf"),
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Write pieces in their rhythm, so many times as fast, with no pause over `longest` seconds.

    The time that writing takes is no time to wait; what a slow reader delays is not hurried after.
    """
    due, before = clock(), 0.0
    for at, stream, block in told:
        due, before = due + min((at - before) / speed, longest), at
        now = clock()
        if due > now:
            sleep(due - now)
        due = max(due, now)
        write(stream, block)
