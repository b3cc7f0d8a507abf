"""How far a long job has come: shown after its first second, and only to people at a terminal."""

from __future__ import annotations

import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from types import TracebackType
    from typing import TypeVar

    import rich.progress
    from typing_extensions import Self

    T = TypeVar("T")

PATIENCE = 1.0  #: seconds that need no explanation
REDRAWN = 0.1  #: seconds between two updates


class Progress:
    """A line on stderr with a bar, the rate and the time left; nothing at all for quick jobs and for programs.

    `total` is in whatever unit `advance` is told of, bytes say; the rate counts things.  Without a total there is no bar.
    """

    def __init__(self, what: str, total: float | None = None, things: str = "tasks") -> None:
        self.what = what
        self.total = total
        self.things = things
        self.done = 0.0
        self.count = 0
        self.began = time.monotonic()
        self.due = self.began + PATIENCE
        self.bar: rich.progress.Progress | None = None
        self.watched = sys.stderr is not None and sys.stderr.isatty()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def advance(self, step: float = 1, count: int = 1) -> None:
        """So much more is done."""
        self.done += step
        self.count += count
        if self.watched and time.monotonic() >= self.due:
            self.draw()

    def draw(self) -> None:
        """Bring what is shown up to date."""
        now = time.monotonic()
        self.due = now + REDRAWN
        if self.bar is None:
            self.bar = started(self.what, self.total)
        rate = f"{self.count:,} {self.things}, {self.count / (now - self.began):,.0f}/s"
        self.bar.update(self.bar.task_ids[0], completed=self.done, rate=rate)


def started(what: str, total: float | None) -> rich.progress.Progress:
    """A bar on stderr that goes away when the job is done."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), TextColumn("{task.percentage:.0f}%"), TimeRemainingColumn()) if total else ()
    bar = Bar(
        TextColumn(what), *columns, TextColumn("{task.fields[rate]}"), console=Console(stderr=True), transient=True
    )
    bar.add_task(what, total=total, rate="")
    bar.start()
    return bar


def track(things: Iterable[T], what: str, total: float | None = None) -> Iterator[T]:
    """The things one by one, showing how far they have come."""
    with Progress(what, total) as progress:
        for thing in things:
            yield thing
            progress.advance()
