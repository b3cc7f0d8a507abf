"""How far a long job has come: shown after its first second, and only to people at a terminal."""

from __future__ import annotations

import os
import sys
import time

from qrec.units import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import TypeVar

    from typing_extensions import Self

    T = TypeVar("T")

PATIENCE = 1.0  #: seconds that need no explanation
REDRAWN = 0.1  #: seconds between two updates
BAR = 20  #: characters
NARROW = 80  #: columns of a terminal that does not tell


class Progress:
    """A line on stderr with how much is done, the rate and the time left; nothing for quick jobs and for programs.

    `total` is in whatever unit `advance` is told of, bytes say; the rate counts tasks.
    """

    def __init__(self, what: str, total: float | None = None) -> None:
        self.what = what
        self.total = total
        self.done = 0.0
        self.count = 0
        self.began = time.monotonic()
        self.due = self.began + PATIENCE
        self.shown = False
        self.watched = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.shown:
            self.write("")

    def advance(self, step: float = 1, count: int = 1) -> None:
        """So much more is done, which is so many tasks."""
        self.done += step
        self.count += count
        if self.watched and time.monotonic() >= self.due:
            self.due = time.monotonic() + REDRAWN
            self.write(self.line(time.monotonic() - self.began))

    def line(self, seconds: float) -> str:
        """How it stands after so many seconds."""
        told = f"{self.what}: {self.count:,} task{'s' * (self.count != 1)}, {self.count / seconds:,.0f}/s"
        if not self.total or not self.done:
            return told
        part = min(1.0, self.done / self.total)
        filled = round(part * BAR)
        left = duration(max(1, round(seconds * (1 - part) / part)))
        return f"{told}  [{'#' * filled}{'.' * (BAR - filled)}] {part:.0%}, {left} left"

    def write(self, line: str) -> None:
        """Put the line in place of the one before, cut to the terminal: the cursor must stay in it."""
        self.shown = bool(line)
        sys.stderr.write("\r" + line[: terminal_columns() - 1] + "\x1b[K")
        sys.stderr.flush()


def terminal_columns() -> int:
    """The columns of the terminal behind stderr."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or NARROW
    except OSError:
        return NARROW


def track(things: Iterable[T], what: str, total: float | None = None) -> Iterator[T]:
    """The things one by one, showing how far they have come."""
    with Progress(what, total) as progress:
        for thing in things:
            yield thing
            progress.advance()
