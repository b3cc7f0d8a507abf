"""A hook's process, with its limits: it may fail, hang, or flood, and is over when its time is.

It has a session of its own, so that what it has left behind in its group can be ended with it.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import time

from qrec.errors import CouldNotStart
from qrec.process import exit_descriptor, spawn
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qrec.hooks.told import Call

BLOCK = 1 << 16
KEPT = 1 << 16  #: bytes of stdout that are kept, its last
KEPT_ERRORS = 4096  #: the same of stderr
FREE = 1 << 20  #: bytes that may come as fast as they like
PAUSE = 0.02  #: seconds between two blocks of a flood
TIMED_OUT = 124
LAST = 1.0  #: seconds that a killed process may take to be gone
SAID = 200  #: characters of what it said last


class Outcome(Record):
    """How a hook went."""

    returncode: int
    signal: int | None = None
    seconds: float
    limit: float = 0.0  #: the time limit that ended it; 0 if none did
    out: bytes = b""  #: the end of what it printed
    errors: bytes = b""

    @property
    def said(self) -> str:
        """The last line it printed, or what ended it; where it failed that is on stderr, if anything is."""
        if self.limit:
            return f"it did not end within {self.limit:g} s"
        first, second = (self.errors, self.out) if self.returncode else (self.out, self.errors)
        return last_line(first) or last_line(second)


class Process:
    """A hook's process while it runs.  Making one raises CouldNotStart, OSError."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.kept = [b"", b""]
        self.taken = 0
        self.not_before = 0.0  #: when a flood is read on
        self.ears: list[int] = []  #: where we hear its 1 and 2; below 0 once it has closed that
        given: list[int] = []  #: its 0, 1 and 2
        self.began = time.monotonic()
        try:
            given.append(filled(json.dumps(call.told).encode()))
            for _ in range(2):
                ear, mouth = os.pipe()
                self.ears.append(ear)
                given.append(mouth)
            self.pid = spawn(call.words, dict(enumerate(given)), cwd=call.cwd, env=call.env, new_session=True)
            self.exit = watched(self.pid)
        except BaseException:
            self.close()
            raise
        finally:
            for number in given:
                os.close(number)
        for ear in self.ears:
            os.set_blocking(ear, False)
        self.deadline = self.began + call.limit

    def close(self) -> None:
        """Hear nothing more."""
        for ear in self.ears:
            if ear >= 0:
                os.close(ear)
        self.ears = []

    def wanted(self) -> Sequence[int]:
        """What tells that there is something to be done: its end, and output if it is time for that."""
        heard = self.ears if time.monotonic() >= self.not_before else ()
        return (self.exit, *(ear for ear in heard if ear >= 0))

    def wait_until(self) -> float:
        """When something has to be done at the latest."""
        return min(self.deadline, self.not_before if self.not_before > time.monotonic() else self.deadline)

    def step(self, ready: Sequence[int]) -> Outcome | None:
        """Take what it has printed; how it went, if it is over."""
        for number, ear in enumerate(self.ears):
            if ear in ready:
                self.take(number, ear)
        if self.exit in ready:
            return self.end(0.0)
        return self.end(self.call.limit) if time.monotonic() >= self.deadline else None

    def take(self, number: int, ear: int) -> int:
        """Take a block of a stream; a flood is slowed down, and the process with it."""
        try:
            block = os.read(ear, BLOCK)
        except BlockingIOError:
            return 0
        if not block:  # closed: its end tells the rest
            self.ears[number] = -1
            os.close(ear)
            return 0
        self.kept[number] = (self.kept[number] + block)[-(KEPT_ERRORS if number else KEPT) :]
        self.taken += len(block)
        if self.taken > FREE:
            self.not_before = time.monotonic() + PAUSE
        return len(block)

    def end(self, limit: float) -> Outcome:
        """It is over: what is left of its group is ended, and the last words are taken."""
        seconds = time.monotonic() - self.began
        kill_group(self.pid)
        code = self.reap()
        os.close(self.exit)
        for number, ear in enumerate(self.ears):
            most = KEPT // BLOCK + 1
            while most and ear >= 0 and self.take(number, ear):
                most -= 1
        self.close()
        return Outcome(
            returncode=TIMED_OUT if limit else code if code >= 0 else 128 - code, signal=-code if code < 0 else None,
            seconds=round(seconds, 3), limit=limit, out=self.kept[0], errors=self.kept[1],
        )  # fmt: skip

    def reap(self) -> int:
        """Its code, below 0 for a signal; what cannot be killed, or hangs in the kernel, is not waited for."""
        poll = select.poll()
        poll.register(self.exit, select.POLLIN)
        if not poll.poll(LAST * 1000):
            return -signal.SIGKILL
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def run(call: Call) -> Outcome:
    """Run a hook to its end."""
    try:
        process = Process(call)
    except (CouldNotStart, OSError) as error:
        return not_started(error)
    try:
        while (outcome := process.step(ready_of([process]))) is None:
            pass
        return outcome
    except BaseException:
        process.end(0.0)
        raise


def not_started(error: Exception) -> Outcome:
    """The outcome of a hook that could not be started."""
    code = error.exit_code if isinstance(error, CouldNotStart) else CouldNotStart.exit_code
    return Outcome(returncode=code, seconds=0.0, errors=str(error).encode("utf-8", "replace"))


def ready_of(processes: Sequence[Process], until: float = float("inf")) -> list[int]:
    """Wait until there is something to be done for one of these processes; the descriptors that tell so."""
    poll = select.poll()
    for process in processes:
        for number in process.wanted():
            poll.register(number, select.POLLIN)
    left = min((process.wait_until() for process in processes), default=until)
    timeout = max(0.0, min(left, until) - time.monotonic())
    return [number for number, _ in poll.poll(timeout * 1000 + 1)]


def watched(pid: int) -> int:
    """What tells of the end of a child of ours; where there is nothing, it is ended.  Raises OSError."""
    try:
        return exit_descriptor(pid)
    except OSError:
        kill_group(pid)
        os.waitpid(pid, 0)
        raise


def filled(content: bytes) -> int:
    """A descriptor from which that can be read: a file, since a hook need not read it.  Raises OSError."""
    descriptor = nameless()
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def nameless() -> int:
    """A file without a name, in memory where that can be had: a full disk is what a hook may be there to tell of."""
    if hasattr(os, "memfd_create"):  # not in every Python that was built for old systems
        return os.memfd_create("qrec-hook")
    import tempfile

    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def kill_group(pid: int) -> None:
    """Kill all that is left of the group of a process that was not waited for yet."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


CONTROLS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def last_line(printed: bytes) -> str:
    """The last line with anything in it, as it may stand in a record."""
    lines = [line for line in CONTROLS.sub("", printed.decode("utf-8", "replace")).splitlines() if line.strip()]
    return lines[-1].strip()[:SAID] if lines else ""
