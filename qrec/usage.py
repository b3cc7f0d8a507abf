"""CPU and memory of a recorded command and of all its descendants over time.

`Meter` looks at the process tree every now and then and keeps what it saw as a series of `Point`s, one text line each,
in a file beside the attempt's output; `points` reads them, also while the command runs or after a crash.  Everything
comes from Linux's /proc; where there is none, nothing is measured.

What is not seen: what a process did after it was last looked at, unless somebody who was asked to wait for it told the
kernel so; and a process whose parents were gone before anybody looked, unless it stayed in a group or session of ours.
"""

from __future__ import annotations

import errno
import os
import re
import time
from _thread import start_new_thread

from qrec.output import TRIES, make_private
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from typing import Any

    from qrec.process import Ended

FIRST = 0.1  #: seconds until the first look: what is over before costs nothing
LONGEST = 5.0  #: seconds between two looks at most, if they are cheap enough
GROWTH = 64  #: the pause between two looks is this part of the time that the command has been running
SHARE = 0.003  #: of one core, for looking
ALLOWANCE = 0.02  #: seconds of CPU that may be spent on looking before the share counts
GPU_FIRST = 1.0  #: seconds until graphics devices are looked at, which is dear to begin with
DAY = 86400.0  #: what `tick` returns when it has no more wish
LIMIT = 1024  #: points in a series at most
THINNED = LIMIT * 3 // 4  #: points that thinning leaves at most, so that it is rare

PROC = "/proc"
NVIDIA = "/dev/nvidiactl"  #: is there if a driver for NVIDIA's devices runs
TICKS = os.sysconf("SC_CLK_TCK")  #: a second of CPU, as /proc counts it
PAGE = os.sysconf("SC_PAGE_SIZE")

#: Places of fields of /proc/PID/stat behind the name, which may hold anything, blanks and parentheses included.
STATE, PARENT, GROUP, SESSION = 0, 1, 2, 3
UTIME, STIME, CUTIME, CSTIME = 11, 12, 13, 14
THREADS, STARTED, RESIDENT = 17, 19, 21


# The series


class Point(Record):
    """The process tree at some time, or over the span that ends then."""

    at: float  #: seconds since the start
    cpu: float  #: seconds used until then
    memory: int  #: bytes resident, summed over the processes, shared pages each time; the highest within the span
    processes: int  #: most at once within the span, zombies not counted
    read: int  #: bytes read until then, from wherever
    written: int  #: bytes written until then, to wherever
    gpu_memory: int | None = None  #: bytes on graphics devices, the highest within the span
    gpu: float | None = None  #: load of the devices that the tree is on, 0 to 1, on average over the span


LINE = re.compile(
    rb"(\d{1,12}\.\d\d) (\d{1,12}\.\d\d) (\d{1,15}) (\d{1,9}) (\d{1,18}) (\d{1,18})(?: (\d{1,15}) (\d\.\d\d))?"
)


def points(data: bytes) -> list[Point]:
    """Read a series, possibly one that a crash has cut off or damaged: what is no whole line is left out."""
    found: list[Point] = []
    for line in data.split(b"\n")[:-1]:
        match = LINE.fullmatch(line)
        if match and (not found or float(match[1]) >= found[-1].at):
            found.append(point_of(match))
    return found


def point_of(match: re.Match[bytes]) -> Point:
    """The point that a line tells of."""
    at, cpu, memory, processes, read, written, gpu_memory, gpu = match.groups()
    return Point(
        at=float(at), cpu=float(cpu), memory=int(memory) * 1024, processes=int(processes), read=int(read),
        written=int(written), gpu_memory=None if gpu_memory is None else int(gpu_memory) * 1024,
        gpu=None if gpu is None else float(gpu),
    )  # fmt: skip


def line_of(point: Point) -> bytes:
    """A point as a line: memory in KiB, which is exact, the rest as it is."""
    line = b"%.2f %.2f %d %d %d %d" % (
        point.at, point.cpu, point.memory // 1024, point.processes, point.read, point.written,
    )  # fmt: skip
    if point.gpu_memory is None or point.gpu is None:
        return line + b"\n"
    return line + b" %d %.2f\n" % (point.gpu_memory // 1024, min(point.gpu, 1.0))


def joined(first: Point, second: Point, start: float) -> Point:
    """One point for two that follow each other; the first began at `start`."""
    return second.copy(
        memory=max(first.memory, second.memory),
        processes=max(first.processes, second.processes),
        gpu_memory=max((p.gpu_memory for p in (first, second) if p.gpu_memory is not None), default=None),
        gpu=joined_load(first, second, start),
    )


def joined_load(first: Point, second: Point, start: float) -> float | None:
    """The load of the graphics devices over two points, each as long as it is."""
    if first.gpu is None or second.gpu is None:
        return second.gpu if first.gpu is None else first.gpu
    whole = second.at - start
    share = (first.at - start) / whole if whole > 0 else 0.0
    return first.gpu * share + second.gpu * (1 - share)


def thinned(series: Iterable[Point], span: float) -> list[Point]:
    """The same series with one point for each `span` seconds at most."""
    kept: list[Point] = []
    for point in series:
        if kept and same_span(kept[-1], point, span):
            kept[-1] = joined(kept[-1], point, kept[-2].at if len(kept) > 1 else 0.0)
        else:
            kept.append(point)
    return kept


def same_span(first: Point, second: Point, span: float) -> bool:
    """Whether two points share a span."""
    return int(first.at / span) == int(second.at / span)


def figures(series: Iterable[Point]) -> dict[str, Any]:
    """The figures for `Task.usage` as far as a series tells them, for a command whose end nobody saw; {} for none."""
    whole = thinned(series, float("inf"))
    told = whole[0].asdict() if whole else {}
    return {name: value for name, value in told.items() if name != "at" and value is not None}


class Series:
    """Writes points to a file, so that what was seen is there even if we are killed.

    The last line is written anew as long as its span lasts; it never gets shorter, since all in it only grows.  A
    failure ends the writing and nothing else.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.file = -1
        self.broken = False
        self.span = FIRST
        self.forget()

    def forget(self) -> None:
        """Begin with an empty file."""
        self.count = 0
        self.offset = 0  #: where the last line begins
        self.size = 0  #: where it ends
        self.start = 0.0  #: the time at which the last point begins
        self.last: Point | None = None

    def add(self, point: Point) -> None:
        """Write down a point."""
        if self.broken:
            return
        try:
            self.put(point)
        except OSError:
            self.broken = True

    def put(self, point: Point) -> None:
        """Join the point to the last one or append it."""
        if self.file < 0:
            self.file = created(self.path)
        if self.count >= LIMIT and not (self.last and same_span(self.last, point, self.span)):
            self.thin()
        if self.last and same_span(self.last, point, self.span):
            self.write(joined(self.last, point, self.start))
            return
        self.start = self.last.at if self.last else 0.0
        self.offset = self.size
        self.count += 1
        self.write(point)

    def write(self, point: Point) -> None:
        """Write the last line."""
        line = line_of(point)
        self.last = point
        self.size = self.offset + len(line)
        write_at(self.file, line, self.offset)

    def thin(self) -> None:
        """Double the span of a point until enough have found together, and put the new file in the place of the old."""
        kept = points(os.pread(self.file, os.fstat(self.file).st_size, 0))
        while len(kept) > THINNED:
            self.span *= 2
            kept = thinned(kept, self.span)
        lines = [line_of(point) for point in kept]
        self.replace(b"".join(lines))
        self.forget()
        if kept:
            self.count, self.last = len(kept), kept[-1]
            self.start = kept[-2].at if len(kept) > 1 else 0.0
            self.size = sum(map(len, lines))
            self.offset = self.size - len(lines[-1])

    def replace(self, data: bytes) -> None:
        """Give the file another content, all at once."""
        path = f"{self.path}.new"
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            write_at(file, data, 0)
            os.replace(path, self.path)
        except OSError:
            os.close(file)
            os.unlink(path)
            raise
        os.close(self.file)
        self.file = file

    def close(self) -> None:
        """Write no more."""
        if self.file >= 0:
            os.close(self.file)
        self.file, self.broken = -1, True


def created(path: str) -> int:
    """Open a new file, and make the folder if it is missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
    for _ in range(TRIES):
        try:
            return os.open(path, flags, 0o600)
        except FileNotFoundError:
            make_private(os.path.dirname(path))
    return os.open(path, flags, 0o600)


def write_at(file: int, data: bytes, offset: int) -> None:
    """Write all of it; half of it means that the disk is full."""
    if os.pwrite(file, data, offset) < len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


# The process tree


def contents(pid: int, name: str) -> bytes:
    """One of the files of a process; none of those read here is longer."""
    file = os.open(f"{PROC}/{pid}/{name}", os.O_RDONLY)
    try:
        return os.read(file, 8192)
    finally:
        os.close(file)


def fields_of(stat: bytes) -> list[bytes]:
    """The fields of a /proc/PID/stat that follow the name."""
    return stat.rpartition(b")")[2].split()


class Sums:
    """What only grows: CPU (in ticks), bytes read, bytes written."""

    __slots__ = ("cpu", "read", "written")

    def __init__(self, cpu: int = 0, read: int = 0, written: int = 0) -> None:
        self.cpu, self.read, self.written = cpu, read, written

    def add(self, other: Sums) -> None:
        """Add what somebody else has used."""
        self.cpu += other.cpu
        self.read += other.read
        self.written += other.written

    def raise_to(self, other: Sums) -> None:
        """Be at least as much as the other in everything."""
        self.cpu = max(self.cpu, other.cpu)
        self.read = max(self.read, other.read)
        self.written = max(self.written, other.written)


class Member:
    """A process of the tree as it was last seen.

    When a process has waited for a child, the kernel adds what the child used to `waited`, and what it read and wrote
    to the process's own.  A process that ignores SIGCHLD gets nothing; `heritage` is what its ended children had when
    they were last seen, and the larger of both counts.
    """

    __slots__ = (
        "founder",
        "heritage",
        "least",
        "own",
        "parent",
        "peak",
        "pid",
        "resident",
        "running",
        "started",
        "waited",
    )

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.started = fields[STARTED]
        self.own = Sums()
        self.heritage = Sums()
        self.least = 0  #: ticks of CPU that it is known from elsewhere to have used
        self.peak = 0  #: bytes resident at its own peak, if that was looked at
        self.take(fields)

    def take(self, fields: list[bytes]) -> None:
        """Note what its stat tells, and what it read and wrote."""
        self.parent = int(fields[PARENT])
        self.founder = self.pid in (int(fields[GROUP]), int(fields[SESSION]))  #: of a group or session
        self.own.cpu = int(fields[UTIME]) + int(fields[STIME])
        self.waited = int(fields[CUTIME]) + int(fields[CSTIME])
        self.resident = int(fields[RESIDENT]) * PAGE
        dead = fields[STATE] in (b"Z", b"X")
        self.running = not dead or int(fields[THREADS]) > 1
        if dead and self.running:  # only its first thread has ended, and that has no memory any more
            self.resident = resident_of_threads(self.pid)
        try:
            words = contents(self.pid, "io").split(None, 4)
            self.own.read, self.own.written = int(words[1]), int(words[3])
        except (OSError, ValueError, IndexError):
            pass  # another user's, or it ends just now

    def look(self) -> bool:
        """Look again; False if it is gone."""
        try:
            fields = fields_of(contents(self.pid, "stat"))
        except (FileNotFoundError, ProcessLookupError):
            return False
        except OSError:
            return True  # forbidden from now on, or we have no descriptor left: it stays as it was
        if fields[STARTED] != self.started:
            return False  # the number is somebody else's now
        self.take(fields)
        return True

    def total(self) -> Sums:
        """What it used, together with the ended children that it waited for."""
        cpu = max(self.own.cpu + max(self.waited, self.heritage.cpu), self.least)
        read, written = max(self.own.read, self.heritage.read), max(self.own.written, self.heritage.written)
        return Sums(cpu, read, written)

    def new_peak(self) -> int:
        """Its peak of resident memory in bytes if that has grown since it was last asked for, else 0."""
        before = self.peak
        try:
            rest = contents(self.pid, "status").partition(b"\nVmHWM:")[2]
            self.peak = int(rest.split(None, 1)[0]) * 1024
        except (OSError, ValueError, IndexError):
            return 0  # it ends just now
        return self.peak if self.peak > before else 0


def resident_of_threads(pid: int) -> int:
    """Bytes resident, asked of whichever thread still knows."""
    try:
        threads = os.listdir(f"{PROC}/{pid}/task")
        return max(int(contents(pid, f"task/{thread}/statm").split()[1]) for thread in threads) * PAGE
    except (OSError, ValueError, IndexError):
        return 0


def newest_pid() -> int:
    """The number that the kernel gave last; 0 if it does not tell."""
    try:
        with open(f"{PROC}/loadavg", "rb", buffering=0) as file:
            return int(file.read().split()[-1])
    except (OSError, ValueError, IndexError):
        return 0


class Tree:
    """A child of ours, or of `parent`, and all its descendants.

    Also those that have left its group or session or lost their parents.

    Every look reads the members parents first.  So a child that its parent has waited for meanwhile is either still
    to be seen, and not in what the parent was seen to have, or gone: nothing is ever counted twice.
    """

    def __init__(self, pid: int, parent: int | None = None) -> None:
        self.pid = pid
        self.parent = os.getpid() if parent is None else parent
        self.members: dict[int, Member] = {}  #: parents before their children
        self.strangers: set[str] = set()  #: the names in /proc that need not be looked at
        self.founders: set[int] = set()  #: members that are gone, whose groups or sessions may not be
        self.newest = pid
        self.left = Sums()  #: of members that are gone without a member that inherits from them
        self.sums = Sums()
        self.resident = 0  #: bytes now
        self.memory = 0  #: bytes at most, as far as is known, since the look before
        self.processes = 0

    def look(self) -> bool:
        """Look at all members and find new ones; False if there is nothing to be seen (any more)."""
        if not self.members and not self.begin():
            return False
        names = set(os.listdir(PROC))
        self.visit()
        self.find(names)
        self.count()
        return True

    def begin(self) -> bool:
        """Look at the first process; False if it is not there, or not the child that is known by this number."""
        try:
            fields = fields_of(contents(self.pid, "stat"))
        except OSError:
            return False
        if int(fields[PARENT]) != self.parent:
            return False
        self.members[self.pid] = Member(self.pid, fields)
        # Numbers are given in turn: what has a smaller one is older, unless they have begun anew since.
        self.strangers = {name for name in os.listdir(PROC) if name.isdigit() and int(name) <= self.pid}
        return True

    def visit(self) -> None:
        """Look at the members again, and let those that are gone hand on what they had, children first."""
        gone = [member for member in self.members.values() if not member.look()]
        for member in reversed(gone):
            heir = self.members.get(member.parent)
            (heir.heritage if heir else self.left).add(member.total())
            del self.members[member.pid]
            self.strangers.discard(str(member.pid))
            if member.founder:
                self.founders.add(member.pid)

    def find(self, names: set[str]) -> None:
        """Take in what belongs to the tree among the processes that were not there before."""
        newest = newest_pid()
        if newest < self.newest:
            self.strangers = set()  # numbers are given anew: a known one may be somebody else's by now
        self.newest = newest
        self.founders -= {founder for founder in self.founders if str(founder) in names}  # somebody else by now
        fresh: dict[int, list[bytes]] = {}
        for pid in sorted(int(name) for name in names - self.strangers if name.isdigit()):
            try:
                if pid not in self.members:
                    fresh[pid] = fields_of(contents(pid, "stat"))
            except OSError:
                pass  # over already, or hidden from us
        self.strangers = names
        while joining := [pid for pid, fields in fresh.items() if self.is_ours(fields)]:
            self.members.update((pid, Member(pid, fresh.pop(pid))) for pid in joining)

    def is_ours(self, fields: list[bytes]) -> bool:
        """Whether a process is the child of a member, or in a group or session that a member has founded.

        The kernel gives no number anew as long as a group or session goes by it.
        """
        if any(int(fields[place]) in self.members for place in (PARENT, GROUP, SESSION)):
            return True
        return any(int(fields[place]) in self.founders for place in (GROUP, SESSION))

    def count(self) -> None:
        """Sum up what was seen."""
        members = self.members.values()
        self.raise_sums()
        self.resident = sum(member.resident for member in members)
        self.processes = sum(member.running for member in members)
        largest = max(members, key=lambda member: member.resident, default=None)
        self.memory = max(self.resident, largest.new_peak() if largest else 0)

    def raise_sums(self) -> None:
        """Sum up what only grows."""
        sums = Sums()
        sums.add(self.left)
        for member in self.members.values():
            sums.add(member.total())
        self.sums.raise_to(sums)

    def end(self, cpu: float) -> None:
        """The first process has ended and has used, together with those it waited for, so many seconds of CPU."""
        if first := self.members.get(self.pid):
            first.least = round(cpu * TICKS)
        self.visit()
        self.raise_sums()


# Graphics devices


class Gpu:
    """What the tree uses of NVIDIA's devices, if there are any and `pynvml` is installed.

    The driver may take its time, seconds at first, so it is asked in a thread: `usage` is its last answer.
    """

    def __init__(self) -> None:
        self.usage: tuple[int, float] | None = None  #: bytes, and load from 0 to 1; None where nobody knows
        self.cost = 0.0  #: seconds of CPU spent on asking
        self.over = not os.path.exists(NVIDIA)
        self.asking = False
        self.nvml: Any = None

    def ask(self, pids: Collection[int]) -> None:
        """Ask for these processes, unless the answer before is still awaited."""
        if not (self.over or self.asking):
            self.asking = True
            start_new_thread(self.measure, (frozenset(pids),))

    def measure(self, pids: frozenset[int]) -> None:
        """Ask the driver; its first failure is the last."""
        try:
            self.usage = self.measured(pids)
        except Exception:
            self.usage, self.over = None, True
        self.cost += time.thread_time()
        self.asking = False

    def measured(self, pids: frozenset[int]) -> tuple[int, float]:
        """Bytes that the processes hold on all devices, and the average load of those they are on."""
        if self.nvml is None:
            from importlib import import_module

            nvml = import_module("pynvml")
            nvml.nvmlInit()
            self.nvml = nvml
        memory, loads = 0, []
        for number in range(self.nvml.nvmlDeviceGetCount()):
            device = self.nvml.nvmlDeviceGetHandleByIndex(number)
            held = self.held(device, pids)
            if held:
                memory += sum(held.values())
                loads.append(self.nvml.nvmlDeviceGetUtilizationRates(device).gpu / 100)
        return memory, sum(loads) / len(loads) if loads else 0.0

    def held(self, device: Any, pids: frozenset[int]) -> dict[int, int]:
        """Bytes that each of the processes holds on a device; one that both computes and draws is listed twice."""
        held: dict[int, int] = {}
        for ask in (self.nvml.nvmlDeviceGetComputeRunningProcesses, self.nvml.nvmlDeviceGetGraphicsRunningProcesses):
            for process in ask(device):
                if process.pid in pids:
                    held[process.pid] = max(held.get(process.pid, 0), process.usedGpuMemory or 0)
        return held


# Measuring


class Meter:
    """Measures a child process and all its descendants over time; nothing in it raises.

    CPU is that of the living, of the ended that were waited for, and of the others as it was when they were last seen.
    Memory is the sum of what is resident; pages that processes share count for each.  `read` and `written` are the
    bytes that went through read and write calls, from and to anything: files, pipes, sockets, from the cache or not,
    but not what was mapped.  Of other users' processes they are not known and left out.

        meter = Meter(pid, os.path.join(folder, "series"))
        while running:
            wait(meter.tick())
        usage = meter.close(reap(pid))
    """

    def __init__(self, pid: int, path: str, began: float | None = None, parent: int | None = None) -> None:
        """`path` is the file for the series; `began` when the process was started, by `time.monotonic`, if not now.

        `parent` has started it, if we have not.
        """
        self.began = time.monotonic() if began is None else began
        self.due = self.began + FIRST
        self.tree = Tree(pid, parent)
        self.series = Series(path)
        self.gpu: Gpu | None = None
        self.spent = 0.0  #: seconds of CPU, our own
        self.seen = 0.0  #: seconds until the last look; 0 before the first
        self.figures: dict[str, Any] = {}
        self.gpu_time = self.gpu_load = 0.0  #: seconds, and seconds times load

    def tick(self) -> float:
        """Look if it is time to; return the seconds after which to call again."""
        now = time.monotonic()
        try:
            if now >= self.due:
                self.due = self.sample(now)
        except Exception:  # whatever it is, the command must not suffer; too many open files may be fewer soon
            self.due = now + LONGEST
        return min(max(0.0, self.due - time.monotonic()), DAY)

    def sample(self, now: float) -> float:
        """Look, write down what was seen, and return when to look again."""
        began, spent = time.thread_time(), self.spent
        if not self.tree.look():
            return float("inf")
        self.note(now - self.began, self.tree.memory, self.ask_gpu(now))
        self.spent += time.thread_time() - began
        return self.next_look(now, self.spent - spent)

    def next_look(self, now: float, cost: float) -> float:
        """When to look again, so that looks that cost as much as the last stay within our share of a core."""
        pause = min(max((now - self.began) / GROWTH, FIRST), LONGEST)
        spent = self.spent + (self.gpu.cost if self.gpu else 0.0)
        return max(now + pause, self.began + (spent + cost - ALLOWANCE) / SHARE)

    def ask_gpu(self, now: float) -> tuple[int, float] | None:
        """What is known of the graphics devices by now."""
        if now - self.began < GPU_FIRST:
            return None
        if self.gpu is None:
            self.gpu = Gpu()
        self.gpu.ask(self.tree.members)
        return self.gpu.usage

    def note(self, at: float, memory: int, gpu: tuple[int, float] | None) -> None:
        """Add what was seen to the figures and to the series."""
        tree, before = self.tree, self.figures
        cpu, read, written = tree.sums.cpu / TICKS, tree.sums.read, tree.sums.written
        processes = max(before.get("processes", 0), tree.processes)
        peak = max(before.get("memory", 0), memory)
        gpu_figures = self.gpu_figures(at - self.seen, gpu)
        self.figures = {
            "cpu": round(cpu, 3), "memory": peak, "processes": processes, "read": read, "written": written,
        } | gpu_figures  # fmt: skip
        self.seen = at
        gpu_memory, load = gpu or (None, None)
        self.series.add(
            Point(
                at=round(at, 2), cpu=cpu, memory=memory, processes=tree.processes, read=read, written=written,
                gpu_memory=gpu_memory, gpu=load,
            )
        )  # fmt: skip

    def gpu_figures(self, passed: float, gpu: tuple[int, float] | None) -> dict[str, Any]:
        """Peak and average of the graphics devices; nothing if there are none."""
        if gpu is not None:
            self.gpu_time += passed
            self.gpu_load += passed * gpu[1]
            peak = max(self.figures.get("gpu_memory", 0), gpu[0])
            return {"gpu_memory": peak, "gpu": round(self.gpu_load / (self.gpu_time or 1.0), 3)}
        return {name: self.figures[name] for name in ("gpu_memory", "gpu") if name in self.figures}

    def close(self, ended: Ended | None = None) -> dict[str, Any]:
        """End the series and return the figures for `Task.usage`; none if the command was over before the first look.

        How the process ended, as `reap` tells it, completes them by what happened after the last look.
        """
        try:
            if self.figures:
                self.finish(ended)
            self.series.close()
        except Exception:  # as in tick
            pass
        self.due = float("inf")
        return self.figures

    def finish(self, ended: Ended | None) -> None:
        """Note the last figures: memory is, over the span since the last look, at least what it was then."""
        self.tree.end(ended.cpu if ended else 0.0)
        self.note(time.monotonic() - self.began, self.tree.resident, self.gpu.usage if self.gpu else None)
        if ended:
            self.figures["memory"] = max(self.figures["memory"], ended.memory)
