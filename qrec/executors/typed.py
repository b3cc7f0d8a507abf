"""Lines that a shell noted as they were typed: they ran there, without qrec, and their output was not recorded."""

from __future__ import annotations

from qrec.errors import Refused
from qrec.executors.shell import ShellExecutor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar

    from qrec.recorder import Terms
    from qrec.task import Task


class TypedExecutor(ShellExecutor):
    """What was typed; run again it is a command like any other, its line run by the shell it was typed into."""

    name: ClassVar[str] = "typed"

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """See Executor; nothing begins here."""
        if not known:
            raise Refused("what is typed is recorded by your shell, see `qrec init`; leave out `-e typed`")
        return super().launch(task, terms, known)
