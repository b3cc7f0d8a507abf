"""A front door for many threads."""

from __future__ import annotations

import os
import threading
from collections import deque

from qrec.api import Qrec
from qrec.config import Config
from qrec.errors import WrongUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from qrec.redact import Redactor
    from qrec.task import Status


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
        self.covering: Redactor | None = None  #: what the settings said last, when they could be understood
        #: Has the unfinished tasks looked at, in place of whoever asks; None: each does it.
        self.freshen: Callable[[], object] | None = None
        self.counted: tuple[int, Mapping[Status, int]] | None = (
            None  #: as of an event, how many tasks have which status
        )

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
    stamp: object = None  #: of the config file when the secrets in it were read

    @property
    def redactor(self) -> Redactor:
        """See Qrec; as the settings say now, since a server runs for days."""
        stamp = stamp_of(self.config.path)
        if stamp != self.stamp:
            self.stamp = stamp
            self.doors.covering = described(self.home) or self.doors.covering
            self._redactor = self.recorder.redactor = self.doors.covering or self._redactor
        return super().redactor

    def tally(self) -> Mapping[Status, int]:
        """How many tasks have which status: of a million they are counted again only after a change."""
        now, known = self.store.last_event(), self.doors.counted
        if known is None or known[0] != now:
            known = self.doors.counted = now, self.store.tally()
        return known[1]

    def refresh(self) -> None:
        """See Qrec."""
        if self.doors.freshen is None:
            self.look()
        else:
            self.doors.freshen()

    def look(self) -> None:
        """Learn it ourselves."""
        super().refresh()


def stamp_of(path: str) -> object:
    """What changes with a file; None if there is none."""
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def described(home: str) -> Redactor | None:
    """What covers the secrets that the settings describe; None for settings that cannot be understood."""
    from qrec.redact import Redactor

    config = Config(home)
    try:
        return Redactor(config.get("secrets")) if config.complaint is None else None
    except WrongUsage:
        return None
