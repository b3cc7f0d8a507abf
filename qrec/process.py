"""One child process: how its streams are connected, how it is signalled, how it ended.  Knows nothing of tasks.

A child in the foreground stays in qrec's own session and process group, so that Ctrl-C, job control and the
terminal stay the kernel's business; its stdout and stderr are pipes that `Pump` empties.  What runs
unattended is the business of `shim`.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import time
from _thread import start_new_thread

from qrec.errors import CommandNotFound, CouldNotStart, NotExecutable
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Any, Protocol

    class Sink(Protocol):
        """Where the bytes of the child's streams are recorded."""

        def write(self, stream: str, block: memoryview) -> None:
            """Record a block.  Never raises: what cannot be recorded must not disturb the command."""


BLOCK = 1 << 20  #: bytes a read asks for, and the size wished for each pipe
QUIET = 0.15  #: seconds of silence after the command's end until a grandchild's hold on its streams is given up
LINGER = 1.0  #: seconds after the command's end until even a talking grandchild is handed over
GRACE = 10.0  #: seconds between asking a process to end and killing it
MEMORY_UNIT = 1 if os.uname().sysname == "Darwin" else 1024  #: bytes in a unit of `ru_maxrss`
COERCED = ("C.UTF-8", "C.utf8", "UTF-8")  #: what Python sets LC_CTYPE to where there is no locale
#: What does not end the search for a program on PATH.
SEARCH_ON = (errno.EACCES, errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.ENODEV, errno.ETIMEDOUT)
THREADS = 17  #: index of `num_threads` among the fields of /proc/PID/stat that follow the name
START_TICKS = 19  #: index of `starttime` among the fields of /proc/PID/stat that follow the name


# Who a process is


class Identity(Record):
    """A process for ever: its pid alone is given again to others."""

    host: str
    boot: str  #: the kernel's boot id; a process of another boot is gone
    namespace: str  #: the pid namespace; only the same one may say that a process is gone
    pid: int
    ticks: int  #: clock ticks between boot and the start of the process

    def alive(self) -> bool | None:
        """Whether the process runs; None where this host or namespace cannot know, or we may open no file just now."""
        if self.host != os.uname().nodename:
            return None
        try:
            if self.boot != read_boot_id():
                return False
            if self.namespace != pid_namespace():
                return None
            return read_start_ticks(self.pid) == self.ticks
        except OSError:
            return None


def identity(pid: int) -> Identity:
    """The identity of a process that runs now."""
    return Identity(
        host=os.uname().nodename, boot=boot_id(), namespace=pid_namespace(), pid=pid, ticks=start_ticks(pid) or 0
    )


def boot_id() -> str:
    """The kernel's name for the time since it was booted; empty where there is none."""
    try:
        return read_boot_id()
    except OSError:
        return ""


def read_boot_id() -> str:
    """The same; raises OSError where there may be one."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""


def pid_namespace() -> str:
    """The namespace in which pids are counted here; empty where there is none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def start_ticks(pid: int) -> int | None:
    """When the process started, in ticks since boot; None if there is no such process or only its corpse."""
    try:
        return read_start_ticks(pid)
    except OSError:
        return None


def read_start_ticks(pid: int) -> int | None:
    """The same; raises OSError if it cannot be told now, as when we have too many files open."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None if os.path.isdir("/proc/self") else start_ticks_elsewhere(pid)
    if fields[0] in (b"Z", b"X") and int(fields[THREADS]) <= 1:  # else only its first thread has ended
        return None
    return int(fields[START_TICKS])


def start_ticks_elsewhere(pid: int) -> int | None:
    """`start_ticks` by psutil, for systems without /proc: hundredths of a second since the epoch."""
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else round(process.create_time() * 100)
    except psutil.Error:
        return None


# Starting and ending


class Ended(Record):
    """How a process ended."""

    returncode: int  #: as a shell tells it
    signal: int | None = None
    at: float = 0.0  #: when, in seconds since the epoch; 0 if nobody looked
    cpu: float = 0.0  #: seconds in user and kernel mode, children that were waited for included
    memory: int = 0  #: bytes, the peak of the largest process; 0 if it is not known


def spawn(
    argv: Sequence[str],
    streams: Mapping[int, int | None],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    mask: Iterable[int] = (),
    own_group: bool = False,
    new_session: bool = False,
    session: str | None = None,
) -> int:
    """Start a program, found on the PATH that it is given, and return its pid.

    `streams` says which of our descriptors it gets as its 0, 1 or 2; None closes one; those not named are inherited.
    `mask` is its signal mask; `session` the path of a terminal that rules its own session, and is its 0, 1 and 2.
    The signals that Python ignores at its start are restored; SIGCHLD, too.
    Raises CommandNotFound, NotExecutable, or CouldNotStart.
    """
    hear_of_children()
    env = own_environment() if env is None else dict(env)
    if cwd is not None:
        argv, env["PWD"] = in_folder(argv, cwd), cwd
    apart: dict[str, Any] = {"setpgroup": 0} if own_group else {"setsid": True} if new_session or session else {}
    restored = [s for s in (getattr(signal, "SIGPIPE", None), getattr(signal, "SIGXFSZ", None)) if s]

    def start(words: Sequence[str]) -> int:
        actions = [*redirections(streams), *(session_of(session) if session else ())]
        return first_that_starts(places_of(words[0], env), lambda place: os.posix_spawnp(
            place, list(words), env, file_actions=actions, setsigmask=mask, setsigdef=restored, **apart
        ))  # fmt: skip

    try:
        return start(argv)
    except OSError as error:
        if error.errno == errno.ENOEXEC:  # a script without `#!`: shells, env and nohup give it to sh
            return start(["/bin/sh", find_program(argv[0], env), *argv[1:]])
        raise start_error(argv[0], error) from None
    except ValueError:
        if not argv[0]:
            raise CommandNotFound("'': command not found") from None
        raise CouldNotStart(f"{argv[0]!r}: a NUL character cannot be part of a command") from None


def entry(module: str) -> str:
    """What a Python of our own executes: the `main` of a module.

    Nothing of the folder that we happen to be in shall take the place of a module.
    """
    return f"import sys; sys.path = [path for path in sys.path if path]; from {module} import main; main()"


def redirections(streams: Mapping[int, int | None]) -> list[tuple[Any, ...]]:
    """What a child does with its descriptors before it begins."""
    return [
        (os.POSIX_SPAWN_CLOSE, number) if source is None else (os.POSIX_SPAWN_DUP2, source, number)
        for number, source in streams.items()
    ]


def session_of(terminal: str) -> list[tuple[Any, ...]]:
    """What makes a terminal the ruler of a child's session: the first that the leader opens becomes it."""
    opened = (os.POSIX_SPAWN_OPEN, 0, terminal, os.O_RDWR, 0)
    return [opened, *((os.POSIX_SPAWN_DUP2, 0, number) for number in (1, 2))]


def hear_of_children() -> None:
    """Let children be waited for: as long as SIGCHLD is ignored the kernel keeps no word of how they ended.

    Raises CouldNotStart in a thread of a program that ignores it.
    """
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        except ValueError:
            raise CouldNotStart("this program ignores SIGCHLD, so nobody would learn how the command ended") from None


def own_environment() -> dict[str, str]:
    """Our variables as they were given to us: where there is no locale, Python chooses one for itself and all below."""
    env = dict(os.environ)
    if env.get("LC_CTYPE") in COERCED and not env.get("LC_ALL"):
        try:
            with open("/proc/self/environ", "rb") as file:
                given = [line[9:] for line in file.read().split(b"\0") if line.startswith(b"LC_CTYPE=")]
        except OSError:
            return env
        del env["LC_CTYPE"]
        for value in given:
            env["LC_CTYPE"] = os.fsdecode(value)
    return env


def here() -> str:
    """The working folder; nothing if it has been removed under us."""
    try:
        return os.getcwd()
    except OSError:
        return ""


def in_folder(argv: Sequence[str], folder: str) -> list[str]:
    """The words that run a command in another folder without moving qrec itself, which others may be using."""
    must_exist(folder)
    return ["/bin/sh", "-c", 'cd -- "$1" || exit 125; shift; exec "$@"', "qrec", folder, *argv]


def must_exist(folder: str) -> None:
    """Raise CouldNotStart unless the folder is there."""
    if not os.path.isdir(folder):
        raise CouldNotStart(f"the folder {folder} is not there; name another with --cwd")


def find_program(name: str, env: Mapping[str, str]) -> str:
    """The path that a search of PATH finds for a program."""
    import shutil

    return shutil.which(name, path=env.get("PATH")) or name


def places_of(program: str, env: Mapping[str, str]) -> list[str]:
    """Where a search of an environment's PATH may find a program: where there is one; everywhere if there is none.

    The system searches our own PATH by itself, and at less cost: that of a program is its name.
    """
    if "/" in program or not program or env.get("PATH") == os.environ.get("PATH"):
        return [program]
    places = [f"{folder or '.'}/{program}" for folder in env.get("PATH", os.defpath).split(":")]
    return [place for place in places if os.access(place, os.X_OK)] or places


def first_that_starts(places: Iterable[str], start: Callable[[str], int]) -> int:
    """What `start` returns for the first place where it can; as execvp(3) does it, trouble with one is not the end.

    Raises OSError if there is none; that something must not be executed is told rather than that nothing is there.
    """
    trouble: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    for place in places:
        try:
            return start(place)
        except OSError as error:
            if error.errno not in SEARCH_ON:
                raise
            trouble = trouble if isinstance(trouble, PermissionError) else error
    raise trouble


def start_error(program: str, error: OSError) -> CouldNotStart:
    """What a failed start means, as a shell would tell it."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and not ("/" in program and os.path.exists(program)):
        return CommandNotFound(f"{program}: command not found")
    if error.errno in (errno.EAGAIN, errno.ENOMEM):
        return CouldNotStart(f"{program}: {error.strerror}")
    if error.errno == errno.ENOENT:
        return NotExecutable(f"{program}: its interpreter is not there")
    return NotExecutable(f"{program}: {error.strerror}")


def own_peak() -> int:
    """Our own peak of resident memory, in bytes; not that of getrusage, which is inherited in the same way."""
    if line := own_status("VmHWM"):
        return int(line) * 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * MEMORY_UNIT


def own_status(name: str) -> str:
    """One of the figures that Linux tells of this process; nothing elsewhere."""
    try:
        with open("/proc/self/status") as file:
            return next((line.split()[1] for line in file if line.startswith(f"{name}:")), "")
    except OSError:
        return ""


def own_umask() -> str:
    """Our umask in octal digits; to be asked for by the usual call it would have to be changed, under other threads."""
    return own_status("Umask") or "022"


def reap(pid: int, floor: int = 0) -> Ended:
    """Wait for a child and tell how it ended.

    Until it executes its program a child shares our memory, and the kernel counts that as its own: a peak that is
    not above `floor`, our own peak at its start, says nothing and is left out.
    """
    _, status, usage = os.wait4(pid, 0)
    return ended_so(status, usage, floor)


def reap_any(floor: int = 0) -> tuple[int, Ended] | None:
    """The pid of a child that has ended, and how; None if there is none now."""
    try:
        pid, status, usage = os.wait4(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, ended_so(status, usage, floor)) if pid else None


def ended_so(status: int, usage: Any, floor: int) -> Ended:
    """What the kernel tells of a child's end."""
    death = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return Ended(
        returncode=128 + death if death else os.WEXITSTATUS(status),
        signal=death,
        at=time.time(),
        cpu=usage.ru_utime + usage.ru_stime,
        memory=peak if (peak := usage.ru_maxrss * MEMORY_UNIT) > floor else 0,
    )


def send(pid: int, number: int) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        pass


def family(pid: int) -> list[Identity]:
    """A process and all its descendants, parents first."""
    import psutil

    try:
        top = psutil.Process(pid)
        return [identity(process.pid) for process in (top, *top.children(recursive=True))]
    except psutil.Error:
        return []


def end_family(pid: int, grace: float = GRACE, first: int = signal.SIGTERM) -> None:
    """Ask a process and its descendants to end; kill what is left after `grace` seconds; return when they are gone."""
    members = family(pid)
    for member in members:
        send(member.pid, first)
    deadline = time.monotonic() + grace
    while any(member.alive() for member in members):
        if time.monotonic() > deadline:
            for member in members + family(pid):
                if member.alive():
                    send(member.pid, signal.SIGKILL)
            deadline += GRACE
        time.sleep(0.02)


# Streams in the foreground


def closed_descriptors() -> set[int]:
    """Which of 0, 1 and 2 were closed by whoever started us, each now held by /dev/null.

    Left free, a pipe or the database would get that number, and the command's output would end up in it.
    """
    closed = set()
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            closed.add(number)
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
    return closed


class Tap:
    """One stream of the child: read from a pipe, recorded, then passed on."""

    def __init__(self, name: str, target: int | None) -> None:
        self.name = name
        self.target = target
        self.trouble: OSError | None = None
        self.more = False  #: whether the last read may have left something
        self.owed = 0  #: bytes at most that are read however long it takes: the command's own, after its end
        self.source, self.inlet = self.open()
        os.set_blocking(self.source, False)

    def open(self) -> tuple[int, int]:
        """Our end and the child's."""
        source, inlet = os.pipe()
        widen(source)
        return source, inlet

    @property
    def is_open(self) -> bool:
        """Whether more may come."""
        return self.source >= 0

    def pump(self, buffer: memoryview, sink: Sink) -> bool:
        """Move one block.  False when there is none now, or never again."""
        size = self.read(buffer)
        if size is None:
            return False
        if not size:
            self.close()
            return False
        self.take(buffer[:size], sink)
        return self.is_open

    def read(self, buffer: memoryview) -> int | None:
        """Read what is there: how many bytes; 0 at the end, None if there is nothing now."""
        self.more = False
        try:
            size = os.readv(self.source, [buffer])
            self.more = size == len(buffer)
            self.owed -= size
            return size
        except BlockingIOError:
            self.owed = 0
            return None
        except OSError as error:
            if error.errno != errno.EIO:  # EIO: nobody holds the other end of a terminal any more
                self.trouble = error
            return 0

    def take(self, block: memoryview, sink: Sink) -> None:
        """Record a block and pass it on."""
        sink.write(self.name, block)
        self.pass_on(block)

    def pass_on(self, block: memoryview) -> None:
        """Write a block to where the user sees it; if nobody reads there any more, the command is told by SIGPIPE."""
        if self.target is None:
            return
        try:
            write_all(self.target, block)
        except BrokenPipeError:
            self.close()
        except OSError as error:
            self.trouble = error
            self.close()

    def close_inlet(self) -> None:
        """Close our copy of the child's end, so that the end of the stream can be seen."""
        if self.inlet >= 0:
            os.close(self.inlet)
            self.inlet = -1

    def close(self) -> None:
        """Read no more."""
        if self.source >= 0:
            os.close(self.source)
            self.source = -1

    def hand_over(self) -> None:
        """Let `cat` go on passing the stream, for a grandchild that outlives the command and still writes to it."""
        if self.target is not None and self.is_open:
            os.set_blocking(self.source, True)
            try:
                os.posix_spawnp(
                    "cat", ["cat"], os.environ, setsid=True,
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, self.source, 0), (os.POSIX_SPAWN_DUP2, self.target, 1),
                        # It takes the end of a terminal for an error, of which the user is not to be told.
                        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                    ],
                )  # fmt: skip
            except (OSError, NotImplementedError):
                pass  # then the grandchild meets a closed pipe
        self.close()


def widen(pipe: int) -> None:
    """Wish for a pipe as large as one read; fewer wake-ups for large output."""
    try:
        import fcntl

        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, BLOCK)
    except (AttributeError, OSError):
        pass  # not Linux, or the user's allowance of pipe memory is used up


def write_all(target: int, block: memoryview) -> None:
    """Write every byte, also to a descriptor that somebody else has made non-blocking."""
    while block:
        try:
            block = block[os.write(target, block) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(target, select.POLLOUT)
            poll.poll()


#: The streams that are recorded, by their descriptors.
RECORDED = {1: "stdout", 2: "stderr"}


class Channels:
    """How a child's streams are connected: stdout and stderr to pipes, stdin to our own.

    `shown` tells which are passed on to ours; None: none.  `closed` are those that were closed for us.
    """

    alarm: Alarm | None = None  #: rings when `attend` is to be called
    job_control = False  #: whether we stop when the command has stopped, and not before
    trouble: OSError | None = None  #: why its output is not recorded

    def __init__(self, show: bool, closed: Iterable[int]) -> None:
        self.closed = set(closed)
        self.taps: list[Tap] = []
        try:
            for number, name in RECORDED.items():
                if number not in self.closed:
                    self.taps.append(self.tap(name, number if show else None))
        except OSError:
            for tap in self.taps:
                tap.close_inlet()
                tap.close()
            raise

    def tap(self, name: str, target: int | None) -> Tap:
        """The connection of one stream."""
        return Tap(name, target)

    def start(self, words: Sequence[str], cwd: str | None, mask: Iterable[int]) -> int:
        """Start the child; return its pid."""
        streams: dict[int, int | None] = dict.fromkeys(self.closed)
        streams.update(
            (number, tap.inlet) for number, name in RECORDED.items() for tap in self.taps if tap.name == name
        )
        try:
            return spawn(words, streams, cwd=cwd, mask=mask)
        finally:
            for tap in self.taps:
                tap.close_inlet()

    def attend(self) -> None:
        """Look at what the alarm rings for."""

    def tick(self) -> float:
        """Look at what nobody tells of; return the seconds until the next time."""
        return float("inf")

    def serve(self, pump: Pump) -> None:
        """Take part in the pumping."""
        if self.alarm is not None:
            pump.listen(self.alarm, self.attend)

    def close(self) -> None:
        """The child has ended, and its streams have."""


class Unrecorded(Channels):
    """A child that has our own streams, since there was nothing to connect it by."""

    def __init__(self, closed: Iterable[int], trouble: OSError) -> None:
        self.closed = set(closed)
        self.taps = []
        self.trouble = trouble


class Alarm:
    """Wakes a pump from another thread."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def ring(self) -> None:
        """Something is to be looked at."""
        os.eventfd_write(self.descriptor, 1)

    def silence(self) -> None:
        """It is being looked at."""
        try:
            os.eventfd_read(self.descriptor)
        except BlockingIOError:
            pass


class Pump:
    """Empties the taps of one child until it has ended.

    Edge-triggered epoll reports the streams in the order in which they were written to, which keeps the order of
    stdout and stderr as fine as our wake-ups; a fixed order would turn it round half the time.
    """

    def __init__(self, pid: int, taps: Sequence[Tap], sink: Sink) -> None:
        self.pid = pid
        self.taps = {tap.source: tap for tap in taps}
        self.sink = sink
        self.buffer = memoryview(bytearray(BLOCK))
        self.exit = exit_descriptor(pid)
        self.floor = own_peak()
        self.ready = select.epoll()
        self.ready.register(self.exit, select.EPOLLIN)
        for source in self.taps:
            self.ready.register(source, select.EPOLLIN | select.EPOLLET)
        self.waiting: dict[int, None] = {}  #: an ordered set of sources that may hold more
        self.heard: dict[int, Callable[[], None]] = {}
        self.next_tick = 0.0

    def listen(self, alarm: Alarm, attend: Callable[[], None]) -> None:
        """Call `attend` when the alarm rings."""

        def answer() -> None:
            alarm.silence()
            attend()

        self.hear(alarm.descriptor, answer)

    def hear(self, descriptor: int, answer: Callable[[], None]) -> None:
        """Call `answer` whenever the descriptor is readable.  Raises PermissionError for a file, which always is."""
        self.ready.register(descriptor, select.EPOLLIN)
        self.heard[descriptor] = answer

    def hear_no_more(self, descriptor: int) -> None:
        """Stop calling."""
        self.ready.unregister(descriptor)
        del self.heard[descriptor]

    def run(self, tick: Callable[[], float] = lambda: float("inf")) -> Ended:
        """Pump until the child has ended and its streams are empty, or held open by others only; reap it.

        `tick` does what has to be done now and then, and returns the seconds until it wants to be called again.
        """
        self.pump_until_exit(tick)
        self.ready.unregister(self.exit)
        os.close(self.exit)
        ended = reap(self.pid, self.floor)
        self.drain()
        self.ready.close()
        return ended

    def pump_until_exit(self, tick: Callable[[], float]) -> None:
        """Pump while the child lives."""
        over = False
        while not over:
            now = time.monotonic()
            if now >= self.next_tick:
                self.next_tick = now + tick()
            found = self.poll(0.0 if self.waiting else max(0.0, self.next_tick - time.monotonic()))
            over = self.exit in found
            self.move(found, until=min(self.next_tick, now + LINGER))

    def poll(self, patience: float) -> list[int]:
        """What has become ready within so many seconds; alarms are answered."""
        found = [number for number, _ in self.ready.poll(None if patience == float("inf") else patience)]
        for number in found:
            if answer := self.heard.get(number):
                answer()
        return found

    def drain(self) -> None:
        """Pump what the child has left, however slow disk and reader are; then what others write, until silence.

        Whoever goes on longer is handed over.
        """
        for tap in self.open_taps():
            tap.owed = BLOCK
        self.exhaust(until=0.0)
        deadline = time.monotonic() + LINGER
        self.exhaust(deadline)
        while self.open_taps() and time.monotonic() < deadline and self.poll(QUIET):
            self.exhaust(deadline)
        for tap in self.open_taps():
            tap.hand_over()

    def exhaust(self, until: float = float("inf")) -> None:
        """Pump what is there, and see which streams have ended."""
        while self.move(self.taps, until) and self.goes_on(until):
            pass

    def goes_on(self, until: float) -> bool:
        """Whether there is time left, or something that has to be read anyway."""
        return time.monotonic() < until or any(tap.owed > 0 for tap in self.open_taps())

    def move(self, sources: Iterable[int], until: float = float("inf")) -> bool:
        """Move blocks from the sources in turn, and from those that become ready meanwhile, until all are empty.

        Returns whether there was something to move.  What a read has emptied is not read again before we are told of
        it: what came meanwhile may be younger than what waits in the other stream.  Those that are not empty by the
        time `until` are kept in `waiting`: edge-triggered, they are not told again.
        """
        moved = False
        self.waiting.update(dict.fromkeys(source for source in sources if source in self.taps))
        while self.waiting:
            source = next(iter(self.waiting))
            del self.waiting[source]
            tap = self.taps[source]
            if tap.is_open and tap.pump(self.buffer, self.sink):
                moved = True
                late = (number for number in self.poll(0) if number in self.taps)
                self.waiting.update(dict.fromkeys((*late, source) if tap.more else late))
            if not self.goes_on(until):
                break
        return moved

    def open_taps(self) -> list[Tap]:
        """The taps that have not seen the end of their stream."""
        return [tap for tap in self.taps.values() if tap.is_open]


def exit_descriptor(pid: int) -> int:
    """A descriptor that becomes readable when the child ends, without reaping it."""
    if hasattr(os, "pidfd_open"):
        try:
            return os.pidfd_open(pid)
        except OSError:
            pass  # a kernel before 5.3
    outlet, inlet = os.pipe()

    def wait() -> None:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        finally:
            os.close(inlet)

    start_new_thread(wait, ())
    return outlet
