"""What it means that a task holds a word: folding, comparing, and where the matches are.  Pure functions.

Every store compares the same way; an index only narrows down what has to be compared.
"""

from __future__ import annotations

from itertools import islice

from qrec.output import JOB, STREAMS, text
from qrec.task import Record, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from qrec.output import Output

BLOCK = 4 << 20  #: bytes of a large stream searched at a time
OVERLAP = 4096  #: bytes of a line without end that are searched twice
GAP = "\n\0 ... \0\n"  #: stands for the middle of a large stream that was not read
PIECE = 3  #: characters an index can look up
ENDS = 1 << 20  #: bytes at either end of a large stream that are searched without `--deep`
SHORT_SCAN = 10_000  #: how many of the newest tasks are searched for words shorter than a piece
SHOWN_LINES = 3  #: matching lines told for each word and place


class Match(Record):
    """A line that holds a word."""

    where: str  #: `command`, `message`, `tags`, `stdout` or `stderr`
    line: int  #: from 1; 0 for a line at the end of a large stream, whose number nobody counted
    text: str


class Hit(Record):
    """A task that holds every word, and where."""

    task: Task
    matches: tuple[Match, ...]


def fold(words: str) -> str:
    """Text as it is compared.  NUL ends the text of SQLite's index, so it counts as a blank."""
    return words.casefold().replace("\0", " ")


class Text:
    """One searched text of a task: its command, its note, or a stream as far as it is searched."""

    def __init__(self, where: str, body: str) -> None:
        self.where = where
        self.body = body

    def held(self, words: Sequence[str]) -> set[str]:
        """Which of the folded words are in it."""
        folded = fold(self.body)
        return {word for word in words if word in folded}

    def lines(self, word: str) -> Iterator[Match]:
        """The lines that hold the folded word, or in which it begins."""
        lines, folded = self.body.split("\n"), fold(self.body)
        gap = self.body.find(GAP)
        counted = len(lines) if gap < 0 else self.body.count("\n", 0, gap) + 1
        row, start, found = 0, 0, folded.find(word)
        while found >= 0:
            row += folded.count("\n", start, found)
            yield Match(where=self.where, line=row + 1 if row < counted else 0, text=lines[row])
            start = folded.find("\n", found)
            found = folded.find(word, start) if start >= 0 else -1


class Deep:
    """A large stream, searched from its first byte to its last, a block at a time; the same verbs as `Text`."""

    def __init__(self, where: str, output: Output) -> None:
        self.where = where
        self.output = output

    def held(self, words: Sequence[str]) -> set[str]:
        """Which of the folded words are in it."""
        found: set[str] = set()
        for _, block in self.blocks():
            folded = folded_block(block)
            found |= {word for word in words if word not in found and word in folded}
            if len(found) == len(words):
                break
        return found

    def lines(self, word: str) -> Iterator[Match]:
        """The lines that hold the folded word."""
        for number, block in self.blocks():
            if word in folded_block(block):
                for line in Text(self.where, text(block)).lines(word):
                    yield line.copy(line=line.line + number)

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """The stream in blocks that end with a line, each with the number of lines before it."""
        number, start, size = 0, 0, self.output.size(self.where)
        while start < size:
            block = self.output.read(self.where, start, BLOCK)
            whole = block[: block.rfind(b"\n") + 1] if start + len(block) < size else block
            if whole:
                yield number, whole
                number += whole.count(b"\n")
                start += len(whole)
            elif block:  # a line longer than a block: the next one begins a little earlier, not to cut a word in two
                yield number, block
                start += len(block) - OVERLAP
            else:
                return


def folded_block(block: bytes) -> str:
    """A block as it is compared; most are ASCII, which folds several times as quickly."""
    if block.isascii():
        return block.lower().replace(b"\0", b" ").decode("ascii")
    return fold(text(block))


def places(task: Task, output: Output, deep: bool = False) -> list[Text | Deep]:
    """Everything of a task that is searched."""
    spoken = {"command": task.command, "message": task.message, "tags": "\n".join(task.tags)}
    sizes = {stream: output.size(stream) for stream in (*STREAMS, *JOB.values())}
    return [
        *(Text(where, body) for where, body in spoken.items()),
        *(
            Deep(stream, output) if deep and size > 2 * ENDS else Text(stream, searched(output, stream))
            for stream, size in sizes.items()
            if size
        ),
    ]


def searched(output: Output, stream: str) -> str:
    """The part of a stream that is searched: all of it, or its two ends."""
    size = output.size(stream)
    if size <= 2 * ENDS:
        return text(output.read(stream))
    return text(output.read(stream, 0, ENDS)) + GAP + text(output.read(stream, size - ENDS, ENDS))


def document(task: Task, output: Output) -> str:
    """What an index is given of a task."""
    bodies = (place.body for place in places(task, output) if isinstance(place, Text))
    return fold("\n".join(bodies))


def pieces(word: str, limit: int = 32) -> list[str]:
    """The distinct three-character pieces of a folded word, at most `limit` of them, spread over the word."""
    every = list(dict.fromkeys(word[i : i + PIECE] for i in range(len(word) - PIECE + 1)))
    step = max(1, -(-len(every) // limit))
    return every[::step]


def matches(task: Task, output: Output, words: Sequence[str], deep: bool = False) -> tuple[Match, ...]:
    """Where the folded words are, the first few lines for each word and place; nothing unless each is somewhere."""
    held = [(place, place.held(words)) for place in places(task, output, deep)]
    if set(words) - set().union(*(some for _, some in held)):
        return ()
    lines = (islice(place.lines(word), SHOWN_LINES) for place, some in held for word in words if word in some)
    return tuple({(match.where, match.line, match.text): match for match in in_order(lines)}.values())


def in_order(lines: Iterable[Iterable[Match]]) -> list[Match]:
    """Matches by place and line; the lines of an end that nobody counted come last."""
    order = ("command", "message", "tags", *STREAMS, *JOB.values())
    every = [match for some in lines for match in some]
    return sorted(every, key=lambda match: (order.index(match.where), match.line or float("inf")))


def marked(line: str, words: Sequence[str]) -> list[tuple[int, int]]:
    """The stretches of a line, as (start, end), in which any of the words occurs; folding may change lengths."""
    origin: list[int] = []
    for position, character in enumerate(line):
        origin += [position] * len(fold(character))
    folded = "".join(map(fold, line))
    hits = set()
    for word in words:
        start = folded.find(word)
        while start >= 0 and word:
            hits.update(origin[start : start + len(word)])
            start = folded.find(word, start + 1)
    return stretches(sorted(hits))


def stretches(positions: Sequence[int]) -> list[tuple[int, int]]:
    """Sorted positions as runs of neighbours."""
    runs: list[tuple[int, int]] = []
    for position in positions:
        if runs and runs[-1][1] == position:
            runs[-1] = runs[-1][0], position + 1
        else:
            runs.append((position, position + 1))
    return runs
