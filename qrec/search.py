"""What it means that a task holds a word: folding, comparing, and where the matches are.  Pure functions.

Every store compares the same way; an index only narrows down what has to be compared.
"""

from __future__ import annotations

from itertools import chain, islice

from qrec.output import STREAMS, text
from qrec.task import Record, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qrec.output import Output

GAP = "\n\0\n"  #: stands for the middle of a large stream that was not read
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


def fields(task: Task, output: Output, deep: bool = False) -> dict[str, str]:
    """Every text of a task that is searched, by its place."""
    spoken = {"command": task.command, "message": task.message, "tags": "\n".join(task.tags)}
    return {**spoken, **{stream: searched(output, stream, deep) for stream in STREAMS}}


def searched(output: Output, stream: str, deep: bool) -> str:
    """The part of a stream that is searched: all of it, or its two ends."""
    size = output.size(stream)
    if deep or size <= 2 * ENDS:
        return text(output.read(stream))
    return text(output.read(stream, 0, ENDS)) + GAP + text(output.read(stream, size - ENDS, ENDS))


def document(places: dict[str, str]) -> str:
    """What an index is given of a task."""
    return fold("\n".join(places.values()))


def pieces(word: str, limit: int = 32) -> list[str]:
    """The distinct three-character pieces of a folded word, at most `limit` of them, spread over the word."""
    every = list(dict.fromkeys(word[i : i + PIECE] for i in range(len(word) - PIECE + 1)))
    step = max(1, -(-len(every) // limit))
    return every[::step]


def matches(places: dict[str, str], words: Sequence[str]) -> tuple[Match, ...]:
    """Where the folded words are, or nothing unless each of them is somewhere."""
    folded = {where: fold(body) for where, body in places.items()}
    if not all(any(word in body for body in folded.values()) for word in words):
        return ()
    found = [match for where in places for match in matching_lines(where, places[where], words)]
    return tuple(found) or (Match(where="command", line=1, text=places["command"]),)


def matching_lines(where: str, body: str, words: Sequence[str]) -> Iterator[Match]:
    """The first few lines of a text that hold any of the words."""
    head, _, tail = body.partition(GAP)
    numbered = chain(enumerate(head.split("\n"), 1), ((0, line) for line in tail.split("\n")))
    found = (Match(where=where, line=number, text=line) for number, line in numbered if holds_any(line, words))
    return islice(found, SHOWN_LINES)


def holds_any(line: str, words: Sequence[str]) -> bool:
    """Whether any of the folded words is in the line."""
    folded = fold(line)
    return any(word in folded for word in words)


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
