"""Functions that run in real processes of their own, beginning together and killed when a test wants it.

    with Elsewhere(grab, factory) as grabber:
        grabber.go()
        uids = grabber.result()

What is sent there is pickled, so functions are those of a module and arguments plain.  It imports little, as eight
processes start it.
"""

from __future__ import annotations

import os
import pickle
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, TypeVar

from qrec.errors import StaleTask
from qrec.stores.base import Query
from qrec.task import Status, Task, new_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qrec.stores.base import Store

    Factory = Callable[[], Store]

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 60, what: str = "") -> T:
    """Returns what `condition` gives as soon as that is true; fails the test when `timeout` seconds pass first."""
    deadline = time.monotonic() + timeout
    pause = 0.002
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what or condition}, last got {result!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
    return result


class Elsewhere:
    """A call in a process of its own, which is ready when this returns and starts with `go`."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from qrec.testing.processes import serve; serve()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self._send((function, arguments))
        self.hears("ready")

    def __enter__(self) -> Elsewhere:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()

    def go(self) -> None:
        """Let the function begin."""
        self._send("go")

    def hears(self, expected: object) -> None:
        """Wait for what the process says next, which must be this."""
        assert self._next() == expected

    def result(self) -> Any:
        """Wait for what the function returns."""
        kind, value = self._next()
        assert kind == "returned", value
        return value

    def is_busy(self) -> bool:
        """Whether the function is still running."""
        assert self.process.stdout
        return not select.select([self.process.stdout], [], [], 0)[0]

    def kill(self) -> None:
        """SIGKILL, as an out-of-memory killer would."""
        self.process.kill()
        self.process.wait()

    def _send(self, message: object) -> None:
        assert self.process.stdin
        pickle.dump(message, self.process.stdin)
        self.process.stdin.flush()

    def _next(self) -> Any:
        assert self.process.stdout
        return pickle.load(self.process.stdout)


def serve() -> None:
    """What runs on the other side."""
    function, arguments = pickle.load(sys.stdin.buffer)
    say("ready")
    pickle.load(sys.stdin.buffer)
    try:
        say(("returned", function(*arguments)))
    except Exception as error:
        say(("raised", repr(error)))
    sys.stdin.buffer.read()


def say(message: object) -> None:
    """Tell the test something."""
    pickle.dump(message, sys.stdout.buffer)
    sys.stdout.buffer.flush()


def together(count: int, function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What so many processes return that call the same at the same time."""
    others: list[Elsewhere] = []
    try:
        others.extend(Elsewhere(function, *arguments) for _ in range(count))
        for other in others:
            other.go()
        return [other.result() for other in others]
    finally:
        for other in others:
            other.__exit__()


# What they do


def grab(factory: Factory) -> list[str]:
    """Claim queued tasks until none is left; the uids of those won."""
    store = factory()
    won = []
    while queued := store.find(Query(statuses=frozenset({Status.QUEUED}))):
        for task in queued:
            try:
                won.append(store.swap(task.uid, (Status.QUEUED, 1), Status.RUNNING, pid=os.getpid()).uid)
            except StaleTask:
                continue
    return won


def end_once(factory: Factory, uid: str) -> bool:
    """Try to end a running task; whether this process did."""
    try:
        factory().swap(uid, (Status.RUNNING, 1), Status.COMPLETE, pid=os.getpid())
    except StaleTask:
        return False
    return True


def add_some(factory: Factory, count: int) -> list[tuple[int, int]]:
    """Add tasks that a person started; their numbers and turns."""
    store = factory()
    added = [store.add(Task(uid=new_uid("shell"), executor="shell", argv=("true",), turn=1)) for _ in range(count)]
    return [(task.number, task.turn) for task in added]


def note_often(factory: Factory, uid: str, count: int) -> None:
    """Write the notes 1, 2, 3 ..."""
    store = factory()
    for number in range(1, count + 1):
        store.change(uid, message=str(number))


def note_until_told(factory: Factory, uid: str) -> None:
    """Write such notes, until `go` comes once more."""
    store = factory()
    number = 0
    while not select.select([sys.stdin], [], [], 0)[0]:
        number += 1
        store.change(uid, message=str(number))


def add_and_delete(factory: Factory, uids: Sequence[str]) -> None:
    """Add tasks, and delete every other one at once."""
    store = factory()
    for place, uid in enumerate(uids):
        store.add(Task(uid=uid, executor="shell", argv=("true",)))
        if place % 2:
            store.delete(uid)


def count_up(factory: Factory, times: int) -> None:
    """Raise the number in a queue's policy."""
    store = factory()
    for _ in range(times):
        with store.together():
            store.set_policy("q", {"number": store.policies().get("q", {"number": 0})["number"] + 1})


def add_in_two_steps(factory: Factory, uids: Sequence[str]) -> None:
    """Add tasks together, and pause in the middle until told to go on."""
    store = factory()
    middle = len(uids) // 2
    with store.together():
        for place, uid in enumerate(uids):
            if place == middle:
                say("in the middle")
                pickle.load(sys.stdin.buffer)
            store.add(Task(uid=uid, executor="shell", argv=("true",)))


def add_pairs(factory: Factory, count: int) -> None:
    """Add tasks, always two together, which change the policy of a queue, too."""
    store = factory()
    for number in range(1, count + 1):
        with store.together():
            for _ in range(2):
                store.add(Task(uid=new_uid("queue"), executor="queue", argv=("true",), queue="q"))
            store.set_policy("q", {"pairs": number})


def hold(take: Callable[[str], object], location: str) -> None:
    """Keep a store's lock until killed."""
    kept = take(location)
    say("held")
    sys.stdin.buffer.read()
    del kept
