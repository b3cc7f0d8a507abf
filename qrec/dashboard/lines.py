"""The lines of an output: where each begins in a stream that may be huge and may grow, without reading it each time.

Both streams together are one sequence of bytes in the order in which they came; a `place` counts these bytes.  What is
remembered is the state at every 32 KiB: how many rows were before, and where the line began that is open there.  A row
is found by reading on from the nearest of these.

A line ends with a newline, or where the other stream begins to speak.  A row is a line; of an index with frames, it
is a frame, which is what lies between carriage returns.  After 16 KiB of one frame the line goes on in another row.
"""

from __future__ import annotations

import re
import time
from array import array
from bisect import bisect_left, bisect_right

from qrec.output import LINE, NAMES, STREAMS, OfJob
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qrec.output import Output

CHUNK = 32 * 1024  #: bytes between two remembered states
PIECE = 16 * 1024  #: bytes of a frame after which its line goes on in another row
CLEAN = PIECE // 2  #: a frame longer than a piece has an aligned stretch of this length without an end
BLOCK = 1 << 20  #: bytes that are read at a time while the index is built
WINDOW = 512 * 1024  #: bytes of rows that are given at a time
END = re.compile(rb"\n|\r\n?")
CUT, FRAME, WHOLE = range(3)  #: why a row ends: it is too long, it is overwritten, its line is over


class Layout:
    """The order of the streams: runs of bytes of one stream each, and the times at which they came.

    What the timing index does not tell of yet stands at the end, standard output first, and may still move there.
    """

    def __init__(self, streams: Sequence[str]) -> None:
        self.streams = streams
        self.starts = array("Q")  #: the place where each run begins
        self.kinds = bytearray()  #: its stream, as an index of STREAMS
        self.offsets = array("Q")  #: where it begins in its stream
        self.size = 0
        self.marks = array("Q")  #: places at which the time changes
        self.times = array("Q")  #: and the milliseconds since the start there
        self.read = 0  #: bytes of the timing index that were taken in
        self.passed = 0
        self.told = dict.fromkeys(STREAMS, 0)  #: bytes of each stream whose order is known
        self.loose: list[tuple[str, int]] = []  #: streams and sizes of what stands at the end
        self.settled = (0, 0)  #: how many runs and bytes there are without that

    def update(self, output: Output) -> int | None:
        """Take in what has come; the place up to which all stays as it was, or None if the output has shrunk."""
        index = output.read("timing", self.read)
        sizes = {stream: output.size(stream) for stream in STREAMS}
        loose = dict(self.loose)
        if any(sizes[stream] < self.told[stream] + loose.get(stream, 0) for stream in STREAMS):
            return None
        was, place = self.loose, self.settled[1]
        self.shorten()
        told = list(self.take_in(index, sizes))
        self.loose = [(stream, sizes[stream] - self.told[stream]) for stream in STREAMS if stream in self.streams]
        self.loose = [(stream, size) for stream, size in self.loose if size]
        same = place + common(was, told + self.loose)
        if isinstance(output, OfJob):  # nobody tells of it later, so it came as we see it
            for stream, size in self.loose:
                self.told[stream] += size
                self.add(stream, size)
            self.loose, self.settled = [], (len(self.starts), self.size)
        for stream, size in self.loose:
            self.add(stream, size, self.told[stream])
        return same

    def shorten(self) -> None:
        """Take away what stands at the end."""
        runs, self.size = self.settled
        del self.starts[runs:], self.kinds[runs:], self.offsets[runs:]

    def take_in(self, index: bytes, sizes: dict[str, int]) -> Iterator[tuple[str, int]]:
        """Add the blocks that whole lines of the timing index tell of."""
        end = index.rfind(b"\n") + 1
        self.read += end
        for pause, mark, told in re.findall(LINE, index[:end]):
            self.passed += int(pause)
            stream = NAMES[mark.decode()]
            size = min(int(told), sizes[stream] - self.told[stream])
            if size <= 0:
                continue
            self.told[stream] += size
            if stream in self.streams:
                if not self.times or self.times[-1] != self.passed:
                    self.marks.append(self.size)
                    self.times.append(self.passed)
                self.add(stream, size)
                yield stream, size
        self.settled = len(self.starts), self.size

    def add(self, stream: str, size: int, offset: int | None = None) -> None:
        """Put so many bytes of a stream behind what there is."""
        kind = STREAMS.index(stream)
        if not self.kinds or self.kinds[-1] != kind:
            self.starts.append(self.size)
            self.kinds.append(kind)
            self.offsets.append(self.told[stream] - size if offset is None else offset)
        self.size += size

    def time(self, place: int) -> int | None:
        """Milliseconds since the start when this place was printed; None if nobody knows."""
        number = bisect_right(self.marks, place) - 1
        return self.times[number] if number >= 0 else None

    def place(self, at: int) -> int:
        """The first place that was printed so many milliseconds after the start, or later."""
        number = bisect_left(self.times, at)
        return self.marks[number] if number < len(self.marks) else max(0, self.size - 1)

    def run(self, place: int) -> tuple[int, int, str, int]:
        """The run that has this place: from where to where, its stream, and what is to be added for an offset."""
        number = bisect_right(self.starts, place) - 1
        start = self.starts[number]
        end = self.starts[number + 1] if number + 1 < len(self.starts) else self.size
        return start, end, STREAMS[self.kinds[number]], self.offsets[number] - start

    def places(self, stream: str, offsets: Sequence[int]) -> list[int]:
        """The places of sorted offsets in a stream."""
        kind = STREAMS.index(stream)
        runs = [number for number, one in enumerate(self.kinds) if one == kind]
        begins = [self.offsets[number] for number in runs]
        found = []
        for offset in offsets:
            number = runs[max(0, bisect_right(begins, offset) - 1)] if runs else -1
            if number >= 0:
                found.append(self.starts[number] + offset - self.offsets[number])
        return found

    @property
    def weight(self) -> int:
        """About how many bytes of memory this takes."""
        return 17 * len(self.starts) + 16 * len(self.marks)


def common(first: Sequence[tuple[str, int]], second: Sequence[tuple[str, int]]) -> int:
    """How many bytes of two orders of streams are the same from the beginning."""
    same = 0
    left = list(second)[::-1]
    for stream, size in first:
        while size:
            if not left or left[-1][0] != stream:
                return same
            _, has = left.pop()
            step = min(size, has)
            same, size = same + step, size - step
            if has > step:
                left.append((stream, has - step))
    return same


class State(Record):
    """What is known at a place."""

    place: int = 0
    rows: int = 0  #: rows that ended before
    lines: int = 0  #: lines that ended before
    line: int = 0  #: where the open line began, or went on in another row
    frame: int = 0  #: where its last frame began
    returns: int = 0  #: and how many frames were before that
    plain: int = 0  #: whether nothing but newlines ended rows since the state before


class Row(Record):
    """A row of an output."""

    row: int  #: its number, from 0
    line: int  #: the number of its line, from 0
    stream: str
    place: int  #: where it begins
    start: int  #: where what is shown of it begins in its stream
    end: int  #: and ends, its line end included
    returns: int  #: frames of it that are not between `start` and `end`
    is_cut: bool  #: whether it ends amidst a frame
    is_rest: bool  #: whether it goes on with a line that was cut


class Index:
    """Finds the rows of an output by their numbers.  Not for several threads at once."""

    def __init__(self, streams: Sequence[str] = STREAMS, frames: bool = False) -> None:
        self.streams = tuple(streams)
        self.frames = frames
        self.begin()

    def begin(self) -> None:
        """Know nothing."""
        self.layout = Layout(self.streams)
        self.columns = {name: array("Q", [0]) for name in State._fields}
        self.now = State()

    @property
    def total(self) -> int:
        """How many rows there are by now."""
        begin = self.now.frame if self.frames else self.now.line
        return self.now.rows + (begin < self.layout.size)

    @property
    def lines(self) -> int:
        """How many lines there are by now: fewer than rows where some are long, or where rows are frames."""
        return self.now.lines + (self.now.line < self.layout.size)

    @property
    def is_whole(self) -> bool:
        """Whether all that there is was looked at; the last byte may be waited for to know what follows it."""
        return self.now.place >= self.layout.size - 1

    @property
    def weight(self) -> int:
        """About how many bytes of memory this takes."""
        return self.layout.weight + 8 * len(State._fields) * len(self.columns["place"])

    def update(self, output: Output, seconds: float = float("inf")) -> None:
        """Take in what has come, for so many seconds at most."""
        before = self.layout.size
        same = self.layout.update(output)
        if same is None:
            self.begin()
            self.layout.update(output)
        elif same < before and same <= self.now.place:
            self.forget(same - 1)  # what a carriage return there means may have changed, too
        self.scan(output, time.monotonic() + seconds)

    def state(self, number: int) -> State:
        """A remembered state."""
        return State(**{name: column[number] for name, column in self.columns.items()})

    def forget(self, place: int) -> None:
        """Go back to the last state at or before a place."""
        kept = max(1, bisect_right(self.columns["place"], place))
        for column in self.columns.values():
            del column[kept:]
        self.now = self.state(kept - 1)

    def scan(self, output: Output, deadline: float) -> None:
        """Look at what was not looked at yet."""
        ahead = Ahead(output)
        counter = Counter(self.now, self.frames)
        while counter.place < self.layout.size and time.monotonic() < deadline:
            start, end, stream, shift = self.layout.run(counter.place)
            if counter.place == start:
                counter.break_off()
            block = ahead.read(stream, counter.place + shift, min(BLOCK, end - counter.place))
            if block.endswith(b"\r") and (len(block) < end - counter.place or end == self.layout.size):
                block = block[:-1]  # whether a newline follows is to be seen
            if not block:
                break
            for state in counter.count(block, self.columns["place"][-1]):
                for column, value in zip(self.columns.values(), state, strict=True):
                    column.append(value)
        self.now = State(**dict(zip(State._fields, counter.state(), strict=True)))

    def rows(self, output: Output, first: int, count: int, limit: int = WINDOW) -> list[Row]:
        """Rows from a number on, fewer if they have more than `limit` bytes; at least one, if there is one."""
        found: list[Row] = []
        size = 0
        for row in self.rows_from(output, first):
            found.append(row)
            size += row.end - row.start
            if len(found) >= count or size >= limit:
                break
        return found

    def rows_from(self, output: Output, first: int) -> Iterator[Row]:
        """All rows from a number on."""
        return self.walk(output, self.last_with(first), first)

    def last_with(self, row: int) -> int:
        """The last state before which no more than so many rows ended: that row is open there, or begins after it."""
        return bisect_right(self.columns["rows"], row) - 1

    def walk(self, output: Output, number: int, first: int = 0) -> Iterator[Row]:
        """All rows from the one on that is open at a state, or from the one with a number."""
        walker = Walker(self.frames, first)
        self.place(walker, number, output)
        while walker.place < self.layout.size:
            start, end, stream, shift = self.layout.run(walker.place)
            if walker.place == start:
                yield from walker.break_off()
            walker.stream, walker.shift = stream, shift
            block = output.read(stream, walker.place + shift, min(CHUNK, end - walker.place))
            if block.endswith(b"\r") and 1 < len(block) < end - walker.place:
                block = block[:-1]
            if not block:
                break
            yield from walker.walk(block)
            farther = self.last_with(walker.number)
            if self.columns["place"][farther] > walker.place:  # all that is between is in this row
                self.place(walker, farther, output)
        if walker.is_open and walker.number >= first:
            yield walker.row(walker.place)

    def place(self, walker: Walker, number: int, output: Output) -> None:
        """Let a walker go on from a state."""
        walker.go_to(self.state(number))
        if walker.is_open:
            start, _, walker.stream, walker.shift = self.layout.run(walker.begin)
            before = output.read(walker.stream, walker.begin + walker.shift - 1, 1) if walker.begin > start else b""
            walker.is_rest = before not in (b"", b"\n", b"\r")  # other rows begin behind such an end

    def row_of_line(self, output: Output, line: int) -> int:
        """The first row of a line."""
        for row in self.walk(output, max(0, bisect_left(self.columns["lines"], line) - 1)):
            if row.line >= line:
                return row.row
        return max(0, self.total - 1)

    def rows_at(self, output: Output, places: Sequence[int]) -> list[int]:
        """The numbers of the rows that hold these sorted places, each once."""
        found: list[int] = []
        at = 0
        ends = self.columns["place"]
        ahead = Ahead(output)
        while at < len(places):
            number = bisect_right(ends, places[at]) - 1
            end = ends[number + 1] if number + 1 < len(ends) else self.layout.size
            here = places[at : bisect_left(places, end, at)] or places[at : at + 1]
            at += len(here)
            told = self.quick_rows(ahead, number, end, here)
            found += told if told is not None else self.slow_rows(output, number, here)
        return sorted(set(found))

    def quick_rows(self, ahead: Ahead, number: int, end: int, places: Sequence[int]) -> list[int] | None:
        """The same for places after one state; None if newlines are not all that ends a row there."""
        start = self.columns["place"][number]
        first, last, stream, shift = self.layout.run(start)
        rows, plain = self.columns["rows"], self.columns["plain"]
        if start == first or end > last or number + 1 >= len(rows) or not plain[number + 1]:
            return None
        block = ahead.read(stream, start + shift, end - start)
        count, seen, told = rows[number], 0, []
        for at in (place - start for place in places):
            if at - seen < len(block) - at:
                count += block.count(b"\n", seen, at)
            else:
                count = rows[number + 1] - block.count(b"\n", at)
            seen = at
            told.append(count)
        return told

    def slow_rows(self, output: Output, number: int, places: Sequence[int]) -> list[int]:
        """The same, row by row."""
        begins: list[int] = []
        for row in self.walk(output, number):
            if row.place > places[-1]:
                break
            begins.append(row.place)
        return [self.columns["rows"][number] + max(0, bisect_right(begins, place) - 1) for place in places]


class Ahead:
    """Reads large blocks where small ones are asked for, one after the other."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.held: dict[str, tuple[int, bytes]] = {}

    def read(self, stream: str, start: int, size: int) -> bytes:
        """Bytes of a stream from `start`; fewer if it has become shorter."""
        begin, block = self.held.get(stream, (0, b""))
        if start < begin or start + size > begin + len(block):
            begin, block = start, self.output.read(stream, start, BLOCK)
            self.held[stream] = begin, block
        if start == begin and size >= len(block):
            return block
        return block[start - begin : start - begin + size]


class Counter:
    """Counts rows as fast as may be."""

    def __init__(self, state: State, frames: bool) -> None:
        self.place, self.rows, self.lines = state.place, state.rows, state.lines
        self.line, self.frame, self.returns = state.line, state.frame, state.returns
        self.frames = frames
        self.plain = state.plain

    def state(self) -> tuple[int, ...]:
        """What is known now: the values of a `State`, since making one for each chunk takes as long as to count."""
        return self.place, self.rows, self.lines, self.line, self.frame, self.returns, self.plain

    def break_off(self) -> None:
        """End the open line, if there is one: the other stream speaks."""
        self.rows += (self.frame if self.frames else self.line) < self.place
        self.lines += self.line < self.place
        self.plain &= self.line == self.place
        self.line = self.frame = self.place
        self.returns = 0

    def count(self, block: bytes, last: int) -> Iterator[tuple[int, ...]]:
        """Count what comes next, and tell the state at each chunk's end; the last was told at that place."""
        at, returning = 0, b"\r" in block
        while at < len(block):
            end = min(at + max(2, CHUNK - (self.place - last)), len(block))
            if returning and end < len(block) and block[end - 1] == 13:
                end += -1 if end - 1 > at else 1
            self.part(block, at, end, returning)
            self.place += end - at
            at = end
            if self.place - last >= CHUNK - 2:
                last = self.place
                yield self.state()
                self.plain = 1

    def part(self, block: bytes, at: int, end: int, returning: bool) -> None:
        """Count what is between two positions."""
        if self.has_long(block, at, end, returning):
            self.step(block, at, end)
            return
        newlines = block.count(b"\n", at, end)
        self.lines += newlines
        self.rows += newlines
        newest = block.rfind(b"\n", at, end) if newlines else -1
        if newest >= 0:
            self.line = self.frame = self.place + newest + 1 - at
            self.returns = 0
        if returning and (overs := block.count(b"\r", at, end)):
            if self.frames:
                self.plain = 0
                self.rows += overs - block.count(b"\r\n", at, end)
            rest = max(at, newest + 1)
            self.returns += block.count(b"\r", rest, end)
            newest = block.rfind(b"\r", rest, end)
            if newest >= 0:
                self.frame = self.place + newest + 1 - at

    def has_long(self, block: bytes, at: int, end: int, returning: bool) -> bool:
        """Whether there may be a frame longer than a piece."""

        def is_clean(start: int, stop: int) -> bool:
            return block.find(b"\n", start, stop) < 0 and (not returning or block.find(b"\r", start, stop) < 0)

        limit = at + PIECE - (self.place - self.frame)
        if limit < end and (limit <= at or is_clean(at, limit + 1)):
            return True
        return any(is_clean(start, start + CLEAN) for start in range(at, end - CLEAN + 1, CLEAN))

    def step(self, block: bytes, at: int, end: int) -> None:
        """Count one end after the other."""
        self.plain = 0
        for place, kind in ends(block, at, end, self.place, self.frame):
            if kind == FRAME:
                self.rows += self.frames
                self.returns += 1
            else:
                self.rows += 1
                self.lines += kind == WHOLE
                self.line = place
                self.returns = 0
            self.frame = place


def ends(block: bytes, at: int, end: int, place: int, frame: int) -> Iterator[tuple[int, int]]:
    """Where rows end between two positions, and why; `place` is that of the first, `frame` where the open one began."""
    shift = place - at
    if block.find(b"\n", at, end) >= 0 or block.find(b"\r", at, end) >= 0:
        for match in END.finditer(block, at, end):
            start = match.start() + shift
            while start - frame > PIECE:
                frame += PIECE
                yield frame, CUT
            frame = match.end() + shift
            yield frame, WHOLE if block[match.end() - 1] == 10 else FRAME
    while end + shift - frame > PIECE:
        frame += PIECE
        yield frame, CUT


class Walker:
    """Goes from row to row."""

    def __init__(self, frames: bool, first: int = 0) -> None:
        self.frames = frames
        self.first = first  #: the number of the first row that is told
        self.stream, self.shift = STREAMS[0], 0
        self.go_to(State())

    def go_to(self, state: State) -> None:
        """Go on from a state."""
        self.place, self.number, self.lines = state.place, state.rows, state.lines
        self.line, self.begin = state.line, state.frame if self.frames else state.line
        self.frame = self.before = state.frame
        self.returns = self.spared = 0 if self.frames else state.returns
        self.is_rest = False  #: whether the row goes on with a line that was cut

    @property
    def is_open(self) -> bool:
        """Whether a row has begun."""
        return self.begin < self.place

    def row(self, end: int, is_cut: bool = False) -> Row:
        """The open row, which ends here.  Of a long one only the last two frames are shown."""
        is_long = end - self.begin > PIECE
        return Row(
            row=self.number, line=self.lines, stream=self.stream, place=self.begin,
            start=(self.before if is_long else self.begin) + self.shift, end=end + self.shift,
            returns=self.spared if is_long else 0, is_cut=is_cut, is_rest=self.is_rest,
        )  # fmt: skip

    def next_row(self, place: int, is_rest: bool = False) -> None:
        """A row begins."""
        self.number += 1
        self.is_rest = is_rest
        self.begin = self.frame = self.before = place
        self.returns = self.spared = 0

    def next_line(self, place: int) -> None:
        """A line begins."""
        self.line = place
        self.lines += 1

    def break_off(self) -> Iterator[Row]:
        """End the open line, if there is one: the other stream speaks."""
        if self.is_open:
            if self.number >= self.first:
                yield self.row(self.place)
            self.next_row(self.place)
        if self.line < self.place:
            self.next_line(self.place)

    def walk(self, block: bytes) -> Iterator[Row]:
        """The rows that end in what comes next."""
        start = self.place
        self.place += len(block)
        for place, kind in ends(block, 0, len(block), start, self.frame):
            if kind == FRAME and not self.frames:
                self.before, self.frame = self.frame, place
                self.spared, self.returns = self.returns, self.returns + 1
                continue
            if self.number >= self.first:
                yield self.row(place, kind == CUT)
            self.next_row(place, is_rest=kind == CUT)
            if kind == WHOLE:
                self.next_line(place)
