"""What can go wrong, as sentences a user reads.

    QrecError (1)
    ├── WrongUsage (2)
    ├── StoreError
    │   ├── StoreBusy, StoreBroken, StoreTooNew, StoreUnwritable
    │   ├── NoSuchTask, ManyTasks, DuplicateTask
    │   └── StaleTask, IllegalMove
    ├── CouldNotStart (125)
    │   ├── CommandNotFound (127)
    │   ├── NotExecutable (126)
    │   └── RefusedByHook (126)
    ├── NoSuchQueue, NoSuchJob, DuplicateJob
    └── Refused, BrokenPlugin, NoSuchExecutor, NoSuchAction, NoSuchAttempt

The number is the exit code.  The text of an error is one line: what is wrong and how to mend it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COMPARED = 5000  #: words among which the nearest is looked for
SAID = 200  #: characters of what a stranger's code has raised


def nearest(word: str, known: Iterable[str], likeness: float = 0.6) -> str:
    """The right word that a wrong one was meant to be; nothing if none is near: 1 is the same but for its case."""
    from difflib import get_close_matches
    from itertools import islice

    plain = {name.casefold(): name for name in islice(known, COMPARED)}
    return "".join(plain[name] for name in get_close_matches(word.casefold(), plain, 1, likeness))


def did_you_mean(word: str, known: Iterable[str], otherwise: str) -> str:
    """How a sentence about a wrong word ends: with the nearest right one, else with whatever helps."""
    near = nearest(word, known)
    return f"did you mean {near!r}?" if near else otherwise


def raised(error: BaseException) -> str:
    """What a stranger's code has raised, as a part of one line that can be borne."""
    text = f"{type(error).__name__}: {error}"
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= SAID else f"{line[: SAID - 1]}…"


class QrecError(Exception):
    """Something qrec could not do."""

    exit_code = 1


class WrongUsage(QrecError):
    """The words of the call do not fit together."""

    exit_code = 2


class StoreError(QrecError):
    """The store could not answer."""


class StoreBusy(StoreError):
    """Another process holds the store's lock for longer than the caller was ready to wait."""


class StoreBroken(StoreError):
    """The store's file holds something else than a store."""


class StoreTooNew(StoreError):
    """The store was written by a later qrec."""


class StoreUnwritable(StoreError):
    """The disk is full, the folder read-only, or the right to write is missing."""


class NoSuchTask(StoreError):
    """Nothing in the store goes by that name."""

    def __init__(self, reference: str | None) -> None:
        if reference is None:
            super().__init__("nothing is recorded yet; `qrec run COMMAND` makes the first record")
        else:
            super().__init__(f"no task is called {reference!r}; `qrec ls` lists what there is")


class ManyTasks(StoreError):
    """A prefix fits more than one task."""

    SHOWN = 10

    def __init__(self, reference: str, uids: Sequence[str]) -> None:
        shown = ", ".join(uids[: self.SHOWN]) + (", ..." if len(uids) > self.SHOWN else "")
        super().__init__(f"{reference!r} fits {len(uids)} tasks: {shown}")
        self.uids = tuple(uids)


class DuplicateTask(StoreError):
    """A task with this uid is in the store already."""

    def __init__(self, uid: str) -> None:
        super().__init__(f"{uid} is in the store already")


class StaleTask(StoreError):
    """Somebody else changed the task first: the status or attempt is not what the caller saw."""

    def __init__(self, uid: str, was: str, found: str) -> None:
        super().__init__(f"{uid} is {found} by now, not {was}")


class IllegalMove(StoreError):
    """No task may go from the one status to the other."""

    def __init__(self, was: str, now: str) -> None:
        super().__init__(f"a task that is {was} cannot become {now}")


class CouldNotStart(QrecError):
    """The command never began."""

    exit_code = 125


class NotExecutable(CouldNotStart):
    """The program is there but cannot be executed."""

    exit_code = 126


class CommandNotFound(CouldNotStart):
    """There is no such program."""

    exit_code = 127


class RefusedByHook(CouldNotStart):
    """A hook that is asked before a command begins has said no."""

    exit_code = 126


class Refused(QrecError):
    """What was asked for would do harm or make no sense in the task's present state."""


class NoSuchExecutor(QrecError):
    """No executor goes by that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        there = did_you_mean(name, known, f"there are: {', '.join(known)}")
        super().__init__(f"no executor is called {name!r}; {there}")


class NotOnThisMachine(QrecError):
    """A program that is needed is not installed."""


class BrokenPlugin(QrecError):
    """A plug-in was found but cannot be used."""


class NoSuchAction(QrecError):
    """The task's executor offers no such action."""

    def __init__(self, name: str, executor: str, known: Sequence[str]) -> None:
        there = did_you_mean(name, known, f"they offer: {', '.join(known)}")
        super().__init__(f"{executor} tasks offer no action {name!r}; {there}")


class NoSuchAttempt(QrecError):
    """The task was never run that often."""

    def __init__(self, uid: str, attempt: int, known: Sequence[int]) -> None:
        super().__init__(f"{uid} has no attempt {attempt}; it has: {', '.join(map(str, known))}")


class NoSuchQueue(QrecError):
    """No queue goes by that name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        there = f"there are: {', '.join(sorted(known))}" if known else "there are none yet"
        there = did_you_mean(name, known, f"{there}; `qrec queue new` makes one")
        super().__init__(f"no queue is called {name!r}; {there}")


class NoSuchJob(QrecError):
    """Nothing in the queue, and no task, goes by that name."""

    def __init__(self, queue: str, name: str, known: Iterable[str] = ()) -> None:
        import shlex

        there = did_you_mean(name, known, f"`qrec queue show {shlex.quote(queue)}` lists what there is")
        super().__init__(f"{name!r} is no job of queue {queue!r}; {there}")


class DuplicateJob(QrecError):
    """A job of that name is in the queue already."""

    def __init__(self, queue: str, name: str) -> None:
        super().__init__(f"there is a job {name!r} in queue {queue!r} already; choose another name")
