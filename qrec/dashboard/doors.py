"""A front door for many threads."""

from __future__ import annotations

import threading
from collections import deque

from qrec.api import Qrec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Doors:
    """Looks like a `Qrec`; each thread that uses it has one of its own until it gives it back.

    A Qrec holds what belongs to one piece of work: complaints, patience, connections.  Those that are given back are
    used again.
    """

    def __init__(self, home: str | None = None, store: str | None = None) -> None:
        self._local = threading.local()
        first = Door(home, store)
        first.doors = self
        self._chosen = first.home, first.store.place
        self._idle: deque[Door] = deque([first])
        #: Has the unfinished tasks looked at, in place of whoever asks; None: each does it.
        self.freshen: Callable[[], object] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.mine(), name)

    def mine(self) -> Door:
        """The calling thread's."""
        held: Door | None = getattr(self._local, "door", None)
        if held is None:
            try:
                held = self._idle.pop()
            except IndexError:
                held = Door(*self._chosen)
                held.doors = self
            self._local.door = held
        return held

    def give_back(self) -> None:
        """End what the calling thread does with its door; connections belong to threads and are closed."""
        held: Door | None = getattr(self._local, "door", None)
        if held is not None:
            self._local.door = None
            held.complaints.clear()
            held.store.close()
            self._idle.append(held)


class Door(Qrec):
    """One thread's: what every look needs, to learn how the unfinished tasks stand, one does for all of them."""

    doors: Doors

    def refresh(self) -> None:
        """See Qrec."""
        if self.doors.freshen is None:
            self.look()
        else:
            self.doors.freshen()

    def look(self) -> None:
        """Learn it ourselves."""
        super().refresh()
