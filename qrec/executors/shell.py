"""The default executor: runs the command here and now, as the shell would."""

from __future__ import annotations

import os

from qrec.errors import Refused, WrongUsage
from qrec.executors.base import Executor, action
from qrec.output import STREAMS, merged
from qrec.process import end_family
from qrec.recorder import runs
from qrec.task import UNFINISHED, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    from qrec.recorder import Terms


class ShellExecutor(Executor):
    """Commands that run in the foreground of whoever typed them."""

    name: ClassVar[str] = "shell"

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """See Executor."""
        words = words_to_run(task if terms.argv is None else task.copy(argv=terms.argv))
        start = self.recorder.send_off if terms.detach else self.recorder.record
        return start(task, words, terms, known)

    def adopt(self, task: Task, what: str, recordable: Callable[[Task], Task], socket: str = "") -> Task:
        """See Executor: a process."""
        from qrec import adopted

        if not what.isdecimal():
            raise WrongUsage(f"{what!r} is no pid")
        if int(what) in adopted.ancestors(os.getpid()):
            raise Refused(f"process {what} is this call of qrec itself, or one that it was started from")
        return adopted.adopt(self.recorder, task, adopted.process_of(int(what)), recordable)

    def refresh(self, tasks: Sequence[Task]) -> Mapping[str, Task]:
        """See Executor."""
        settled = ((task, self.recorder.settle(task)) for task in tasks)
        return {now.uid: now for was, now in settled if now is not was}

    def until_closed(self, task: Task) -> Task:
        """Wait for the task's recorder to close it, or close it ourselves if there is none."""
        import time

        while True:
            now = self.recorder.settle(self.store.get(task.uid))
            if now.status.is_final or now.attempt != task.attempt or runs(now, "recorder") is None:
                return now
            time.sleep(0.02)

    @action()
    def status(self, task: Task) -> dict[str, Any]:
        """Tell how the task stands."""
        running = task.status is Status.RUNNING
        return {
            "status": task.status.value,
            "pid": task.pid,
            "alive": runs(task, "command") if running else False,
            "returncode": task.returncode,
            "signal": task.signal,
            "seconds": task.seconds,
        }

    @action()
    def output(self, task: Task) -> Iterator[bytes]:
        """Show what the command wrote to stdout."""
        return (block for _, block in merged(self.shown(task), STREAMS[:1]))

    @action()
    def error(self, task: Task) -> Iterator[bytes]:
        """Show what the command wrote to stderr."""
        return (block for _, block in merged(self.shown(task), STREAMS[1:]))

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Ask the command to end, and kill it if it does not."""
        self.store.change(task.uid, wish="cancel")
        if task.pid is not None and runs(task, "command"):
            end_family(task.pid, self.recorder.grace)
        return self.until_closed(task)


def words_to_run(task: Task) -> tuple[str, ...]:
    """The words that are executed: the recorded ones, or the shell and its line."""
    shell = task.data.get("shell")
    return (shell, "-c", task.argv[0]) if shell else task.argv


def shell_for(argv: Sequence[str], preferred: str) -> str | None:
    """The shell that one argument needs, if it is more than the name of a program; else None."""
    if len(argv) != 1 or not set(argv[0]) & SHELL_CHARACTERS:
        return None
    return preferred or os.environ.get("SHELL") or "/bin/sh"


#: One argument that holds any of these is a line for the shell, and not the name of a program.
SHELL_CHARACTERS = frozenset(" \t\n|&;<>()$`\\\"'*?[]#~{}")
