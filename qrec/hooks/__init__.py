"""Hooks in Python: a class whose methods do nothing until they are overridden.

    from qrec.hooks import Hook

    class Lamp(Hook):
        def failed(self, task):
            switch("red", self.settings["options"]["lamp"])

An entry point of the group `qrec.hooks` gives it its name; `[hooks.NAME] on = "failed", hook = "lamp"` has it called.
It runs in a process of its own, with the limits of every hook: it may fail, hang, or print whatever it likes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from qrec.task import Task


class Hook:
    """Something that is done when a task changes.  One is made for each event.

    A method that raises has failed, which is noted with the task.  What a method prints is noted, too, its last line.
    """

    def __init__(self, event: str, settings: Mapping[str, Any], told: Mapping[str, Any]) -> None:
        self.event = event  #: `failed`, `long` ...
        self.settings = settings  #: the table of the config file, with whatever its `options` say
        self.told = told  #: what a hook that is a command reads on stdin

    @property
    def lines(self) -> Sequence[str]:
        """The last lines of the task's output."""
        lines: Sequence[str] = self.told["last_lines"]
        return lines

    def before(self, task: Task) -> Mapping[str, Any] | None:
        """A command is about to begin.  What is returned becomes a part of its facts; Refused says that it must not."""
        return None

    def started(self, task: Task) -> None:
        """It has begun, or was handed to another scheduler."""

    def complete(self, task: Task) -> None:
        """It has ended with 0."""

    def failed(self, task: Task) -> None:
        """It has ended otherwise."""

    def cancelled(self, task: Task) -> None:
        """It was ended by qrec."""

    def lost(self, task: Task) -> None:
        """It is gone, and nobody saw how."""

    def ended(self, task: Task) -> None:
        """It has ended, in whichever of these ways; called after the method of that."""

    def skipped(self, task: Task) -> None:
        """A job will not run, since something it depends on did not end as it should."""

    def long(self, task: Task) -> None:
        """It has been running for `longer_than`, and goes on."""

    def queue(self, task: Task) -> None:
        """The last unfinished job of its queue, this one, has ended; `told["jobs"]` counts its jobs by status."""

    def happen(self, task: Task) -> Mapping[str, Any] | None:
        """Call the methods of the event; the answer is that of `before`."""
        from qrec.hook_tables import ENDS

        answer: Mapping[str, Any] | None = getattr(self, self.event)(task)
        if self.event in ENDS:
            self.ended(task)
        return answer
