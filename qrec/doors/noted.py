"""What shells set up by `qrec init` have noted of lines that their own histories tell of, too."""

from __future__ import annotations

from bisect import bisect_left

from qrec.stores.base import Query
from qrec.task import moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qrec.stores.base import Store
    from qrec.task import Task

NEAR = 2.0  #: seconds between two tellings of one start, at most: histories know whole seconds


class Noted:
    """The lines that were noted as they were typed, with their starts.  Read when somebody first asks."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.starts: dict[str, list[float]] | None = None

    def has(self, task: Task) -> bool:
        """Whether what a history tells is among them; never, if it does not tell when."""
        if task.started is None:
            return False
        starts, at = self.read().get(task.command, []), seconds(task.started)
        nearest = starts[bisect_left(starts, at - NEAR) :][:1]
        return bool(nearest) and nearest[0] <= at + NEAR

    def read(self) -> dict[str, list[float]]:
        """The starts of each line, in order."""
        if self.starts is None:
            self.starts = {}
            for task in self.store.oldest_first(Query(executor="typed")):
                if task.started and "origin" not in task.data:  # which would tell of another import
                    self.starts.setdefault(task.command, []).append(seconds(task.started))
            for starts in self.starts.values():
                starts.sort()
        return self.starts


def seconds(stamp: str) -> float:
    """A timestamp in seconds since the epoch."""
    return moment(stamp).timestamp()
