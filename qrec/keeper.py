"""The keeper: the small process that starts a worker's jobs, waits for them, and writes down how they ended.

It outlives the worker, so that a killed worker loses no return code; it does for many jobs, side by side and one after
the other, what the shim of process.py does for one.  A job's file `started`, which it makes or leaves alone, gets two
lines: pid and start ticks; code, signal, time, CPU seconds and bytes of memory.

It hears on stdin, a JSON object a line, what to start, and tells on stdout, a line each, what began and what ended.
What is ordered ahead waits here until a slot is free, so that short jobs follow each other at once; an empty object
calls all that waits back.  When its stdin closes it forgets what waits, waits for what still runs, and ends.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from collections import deque

from qrec.errors import CouldNotStart
from qrec.process import Ended, entry, own_peak, reap_any, spawn, start_ticks
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

PROGRAM = entry("qrec.keeper")
BLOCK = 1 << 16
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC


class Order(Record):
    """What a keeper is to start."""

    key: str  #: what the worker calls it
    folder: str  #: the attempt's, which is there; who creates `started` in it runs the job, and nobody runs it twice
    words: Sequence[str]
    cwd: str
    env: Mapping[str, str] = {}  #: what differs from the keeper's own environment
    slots: int  #: it waits until fewer jobs than this run


class Began(Record):
    """A job that a keeper has started."""

    key: str
    pid: int
    slot: int


class Done(Record):
    """A job that has ended; without `ended` it was not started here: it is somebody else's, or was called back."""

    key: str
    ended: Ended | None
    seconds: float = 0.0  #: how long it ran


class Keeper:
    """A worker's hold on its keeper.  Raises CouldNotStart where there can be none."""

    def __init__(self) -> None:
        heard, self.mouth = os.pipe()
        self.ear, told = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        try:
            self.pid = spawn([sys.executable, "-c", PROGRAM], {0: heard, 1: told, 2: null}, new_session=True)
        finally:
            for number in (heard, told, null):
                os.close(number)
        os.set_blocking(self.ear, False)
        self.ticks = start_ticks(self.pid) or 0
        self.rest = b""
        self.gone = False

    def start(self, order: Order) -> None:
        """Have a job started."""
        self.say(order.asdict())

    def call_back(self) -> None:
        """Have all forgotten that was ordered ahead and waits."""
        self.say({})

    def say(self, words: Mapping[str, Any]) -> None:
        """Send one object."""
        line = memoryview(json.dumps(words, default=dict).encode() + b"\n")
        try:
            while line:
                line = line[os.write(self.mouth, line) :]
        except BrokenPipeError:
            self.gone = True

    def news(self) -> list[Began | Done]:
        """What it has told since."""
        read = b""
        while not self.gone:
            try:
                block = os.read(self.ear, BLOCK)
            except BlockingIOError:
                break
            self.gone = not block
            read += block
        *lines, self.rest = (self.rest + read).split(b"\n")
        return [understood(json.loads(line)) for line in lines]

    def close(self) -> None:
        """Let it go: it ends when its last job has."""
        os.close(self.mouth)
        os.close(self.ear)


def understood(told: Sequence[Any]) -> Began | Done:
    """What a line of a keeper's says."""
    key, *words = told
    if len(words) == 2:
        return Began(key=key, pid=words[0], slot=words[1])
    if not words:
        return Done(key=key, ended=None)
    code, number, at, cpu, memory, seconds = words
    ended = Ended(returncode=code, signal=number, at=at, cpu=cpu, memory=memory)
    return Done(key=key, ended=ended, seconds=seconds)


def main() -> None:
    """Keep jobs until nobody asks for more and none is left."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, lambda *_: None)  # and not SIG_IGN, which the jobs would inherit
    Keeping().run()


class Kept:
    """A job that runs."""

    __slots__ = ("began", "order", "slot", "started")

    def __init__(self, order: Order, started: int, slot: int) -> None:
        self.order = order
        self.started = started  #: the file of that name
        self.slot = slot
        self.began = time.monotonic()


class Keeping:
    """The keeper's own work."""

    def __init__(self) -> None:
        self.jobs: dict[int, Kept] = {}  #: by pid
        self.ahead: deque[Order] = deque()  #: what waits for a slot
        self.base = dict(os.environ)
        self.floor = own_peak()
        self.null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.unheard = b""  #: what the worker did not take yet
        self.heard = b""
        self.listening = True
        self.woken, wake = os.pipe()
        for number in (self.woken, wake, 1):
            os.set_blocking(number, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)

    def run(self) -> None:
        """Start what is asked for and reap what ends."""
        poll = select.poll()
        poll.register(0, select.POLLIN)
        poll.register(self.woken, select.POLLIN)
        while self.listening or self.jobs:
            if self.unheard:
                poll.register(1, select.POLLOUT)
            ready = [number for number, _ in poll.poll()]
            if 0 in ready:  # first: behind what has ended nothing begins that nobody asks for any more
                self.listen()
                if not self.listening:
                    poll.unregister(0)
            if self.woken in ready:
                os.read(self.woken, BLOCK)
                self.reap()
                self.go_on()
            if 1 in ready:
                poll.unregister(1)
                self.flush()

    def listen(self) -> None:
        """Start what has been asked for."""
        block = os.read(0, BLOCK)
        self.listening = bool(block)
        *lines, self.heard = (self.heard + block).split(b"\n")
        for words in map(json.loads, lines):
            if words:
                self.ahead.append(Order(**words))
            else:
                self.go_on()
                self.forget()
        if not self.listening:
            self.ahead.clear()
        self.go_on()

    def forget(self) -> None:
        """Forget what waits, and tell the worker."""
        for order in self.ahead:
            self.tell([order.key])
        self.ahead.clear()

    def go_on(self) -> None:
        """Start what waits, as far as there are slots."""
        while self.ahead and len(self.jobs) < self.ahead[0].slots:
            self.start(self.ahead.popleft())

    def start(self, order: Order) -> None:
        """Start a job, unless it was started already."""
        try:
            started = os.open(f"{order.folder}/started", FLAGS | os.O_EXCL, 0o600)
        except FileExistsError:
            self.tell([order.key])
            return
        except OSError as error:  # the disk is full, or the folder was taken away: it has not begun
            write(order.folder, "stderr", f"qrec: {order.folder}: {error.strerror}\n")
            self.tell_end(order, Ended(returncode=CouldNotStart.exit_code, at=time.time()), 0.0)
            return
        try:
            pid = self.spawn(order)
        except (CouldNotStart, OSError) as error:
            code = error.exit_code if isinstance(error, CouldNotStart) else CouldNotStart.exit_code
            write(order.folder, "stderr", f"qrec: {error}\n")
            write_line(started, "0 0\n")
            self.end(Kept(order, started, 0), Ended(returncode=code, at=time.time()))
            return
        job = self.jobs[pid] = Kept(order, started, self.free_slot())
        write_line(started, f"{pid} {start_ticks(pid) or 0}\n")
        self.tell([order.key, pid, job.slot])

    def free_slot(self) -> int:
        """The lowest slot that is free."""
        taken = {job.slot for job in self.jobs.values()}
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def spawn(self, order: Order) -> int:
        """The pid of a job's process, which leads a group of its own.  Raises CouldNotStart, OSError."""
        files = []
        try:
            files += [os.open(f"{order.folder}/{name}", FLAGS | os.O_APPEND, 0o600) for name in STREAMS]
            try:
                os.chdir(order.cwd)
            except OSError:
                raise CouldNotStart(f"the folder {order.cwd} cannot be entered") from None
            env = {**self.base, **order.env, "PWD": order.cwd}
            return spawn(order.words, {0: self.null, 1: files[0], 2: files[1]}, env=env, own_group=True)
        finally:
            for file in files:
                os.close(file)

    def reap(self) -> None:
        """Write down what has ended."""
        while self.jobs and (found := reap_any(self.floor)) is not None:
            pid, ended = found
            if pid in self.jobs:
                self.end(self.jobs.pop(pid), self.with_own_memory(ended))

    def with_own_memory(self, ended: Ended) -> Ended:
        """The end without a peak of memory that may be ours: a child begins with what we have by then."""
        if not ended.memory:
            return ended
        self.floor = own_peak()
        return ended if ended.memory > self.floor else ended.copy(memory=0)

    def end(self, job: Kept, ended: Ended) -> None:
        """Write down how a job ended, and tell the worker, if there is one."""
        seconds = time.monotonic() - job.began  # without the writing: the next of its slot begins meanwhile
        words = (ended.returncode, ended.signal or 0, round(ended.at, 6), round(ended.cpu, 3), ended.memory)
        write_line(job.started, " ".join(map(str, words)) + "\n")
        os.close(job.started)
        self.tell_end(job.order, ended, seconds)

    def tell_end(self, order: Order, ended: Ended, seconds: float) -> None:
        """Tell the worker how a job ended."""
        usage = (round(ended.cpu, 3), ended.memory)
        self.tell([order.key, ended.returncode, ended.signal, ended.at, *usage, seconds])

    def tell(self, words: Sequence[Any]) -> None:
        """Tell the worker something, as far as it listens."""
        self.unheard += json.dumps(words).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Send what is to be told."""
        try:
            self.unheard = self.unheard[os.write(1, self.unheard) :]
        except BlockingIOError:
            pass  # it is busy
        except OSError:
            self.unheard = b""  # it has gone; the files tell the next one


STREAMS = ("stdout", "stderr")


def write(folder: str, name: str, line: str) -> None:
    """Write a line to one of a job's files; what cannot be written is missing there, and the job goes on."""
    try:
        file = os.open(f"{folder}/{name}", FLAGS | os.O_APPEND, 0o600)
    except OSError:
        return
    write_line(file, line)
    os.close(file)


def write_line(file: int, line: str) -> None:
    """Write a line to a file, if it can be written."""
    try:
        os.write(file, line.encode("utf-8", "surrogateescape"))
    except OSError:
        pass
