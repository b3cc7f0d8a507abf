"""The default executor: runs the command here and now, as the shell would."""

from __future__ import annotations

import os

from qrec.errors import CouldNotStart, Refused, WrongUsage, raised
from qrec.executors.base import Executor, action
from qrec.output import STREAMS, merged
from qrec.process import end_family
from qrec.recorder import runs
from qrec.task import UNFINISHED, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    from qrec.output import Files
    from qrec.process import Ended
    from qrec.recorder import Terms


class ShellExecutor(Executor):
    """Commands that run in the foreground of whoever typed them.

    An executor for a program that is started from here subclasses this, and has all that can be done with a command of
    the shell.  It may say otherwise what is executed (`words`), what is worth noting (`notes`) and what the end means
    (`outcome`).
    """

    name: ClassVar[str] = "shell"

    def words(self, task: Task) -> Sequence[str]:
        """What is executed for a task: its words, or others around them, `("docker", "run", "image", *task.argv)`.

        Where one word is a line for the shell, `super().words(task)` has the shell in front of it.
        """
        return words_to_run(task)

    def notes(self, task: Task) -> Mapping[str, Any]:
        """What is worth noting before it begins, in the types of JSON; kept in the task's `data` under our name."""
        return {}

    def outcome(self, task: Task, ended: Ended, output: Files) -> dict[str, Any]:
        """Fields of the record that are to come out otherwise than the return code says, `{"data": {"reason": ...}}`.

        Not asked where a time limit has ended it, or where the recorder was killed.
        """
        return {}

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """See Executor."""
        try:
            words = self.told_words(task if terms.argv is None else task.copy(argv=terms.argv))
        except CouldNotStart as error:
            return self.recorder.refuse(task, error, known)
        task = self.noted(task)
        if terms.detach:
            return self.recorder.send_off(task, words, terms, known)
        return self.recorder.record(task, words, terms, known, self.outcome)

    def told_words(self, task: Task) -> tuple[str, ...]:
        """What is executed.  Raises CouldNotStart where the executor's author was mistaken."""
        try:
            words = self.words(task)
            if isinstance(words, (str, bytes)) or not words:
                raise TypeError(f"these are no words: {words!r}")
            return tuple(map(os.fsdecode, words))
        except Exception as error:
            raise CouldNotStart(f"executor {self.name} cannot tell what to run: {raised(error)}") from error

    def noted(self, task: Task) -> Task:
        """The task with what is worth noting; that this cannot be told is no reason not to run it."""
        try:
            notes = dict(self.notes(task))
        except Exception as error:
            self.recorder.complaints.append(f"{self.name}: nothing noted: {raised(error)}")
            return task
        return task.copy(data={**task.data, self.name: notes}) if notes else task

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
