"""Looking after a process that was started without qrec, to its end.

It is no child of ours.  Its end is seen by a descriptor of it, and its return code where the kernel tells it (Linux
6.15 and later) or where the tmux around it does: else nobody can know it, and the task is `lost` with the time of its
end.  Like an observer this runs in a process of its own; if that is killed, the next qrec call settles the record.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import struct
import sys
import time

from qrec.errors import CouldNotStart, QrecError, Refused
from qrec.process import Ended, entry, start_ticks
from qrec.recorder import LOOK, Recording
from qrec.registry import written
from qrec.task import Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from qrec.observer import Request
    from qrec.output import Files
    from qrec.recorder import Recorder
    from qrec.stores.base import Store
    from qrec.usage import Meter

#: What the process that looks after it executes; see observer.py.
PROGRAM = entry("qrec.adopted")
UNKNOWN = "it ended, but its return code cannot be known: it was no child of qrec's"
SETTLING = 0.01  #: seconds after which a process that is just executing its program has done so
SELDOM = 1.0  #: seconds between two looks at a process of which no descriptor is to be had
REAPED = 1.0  #: seconds that a parent has to take note of its child's end
QUIET = 0.3  #: seconds after which nothing more comes from a pane whose command has ended
LATE = 2.0  #: seconds that tmux has to see to the end of a pane
PIPED = 3.0  #: seconds in which the last output of a pane has been written
CLOSED = 30.0  #: the same where tmux closes the pane, which ends the pipe
UNHEARD = 10.0  #: seconds that tmux has to tell of the end of a pane that nobody looks after
KERNEL_THREAD = 0x0020_0000  #: among the flags of a process
PARENT, FLAGS, EXIT_CODE = 1, 6, 49  #: fields of /proc/PID/stat, counted from the state

#: struct pidfd_info: mask, cgroup, eleven ids, exit code.  With it goes the bit of the mask that says there is a code.
INFO, HAS_CODE = "QQ11Ii", 1 << 3
GET_INFO = 3 << 30 | struct.calcsize(INFO) << 16 | 0xFF << 8 | 11


# What is there to be adopted


class Found(Record):
    """A process that runs."""

    pid: int
    ticks: int  #: when it began, in ticks since boot
    argv: tuple[str, ...]
    pwd: str

    @property
    def started(self) -> str:
        """When it began, as times are stored."""
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - self.ticks / os.sysconf("SC_CLK_TCK")
        return timestamp(time.time() - age)


def process_of(pid: int) -> Found:
    """A process that may be adopted.  Raises Refused with the reason why it may not."""
    ticks = start_ticks(pid)
    if pid < 1 or ticks is None:
        raise Refused(f"there is no process {pid}, or it has ended")
    try:
        stat, status = fields_of(pid), status_of(pid)
        if status["Tgid"] != str(pid):
            raise Refused(f"{pid} is a thread of process {status['Tgid']}; adopt that one")
        if int(stat[FLAGS]) & KERNEL_THREAD:
            raise Refused(f"{pid} is a thread of the kernel")
        os.kill(pid, 0)
        return Found(pid=pid, ticks=ticks, argv=words_of(pid, status["Name"]), pwd=folder_of(pid))
    except PermissionError:
        raise Refused(f"process {pid} is another user's, or not to be looked at") from None
    except (OSError, IndexError, KeyError):
        raise Refused(f"process {pid} has just ended") from None


def fields_of(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the state on.  Raises OSError."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        return file.read().rpartition(b")")[2].split()


def status_of(pid: int) -> dict[str, str]:
    """The lines of /proc/PID/status.  Raises OSError."""
    with open(f"/proc/{pid}/status", errors="replace") as file:
        return {name: value.strip() for name, _, value in (line.partition(":") for line in file)}


def command_line(pid: int) -> bytes:
    """The words of a process as the kernel tells them, after a moment: while a program is executed it tells a part."""
    time.sleep(SETTLING)
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read()


def words_of(pid: int, name: str) -> tuple[str, ...]:
    """The words of a process; the dash before the name of a login shell is told as the option it stands for."""
    line = command_line(pid)
    while (again := command_line(pid)) != line:
        line = again  # it is just executing its program
    words = os.fsdecode(line).rstrip("\0").split("\0")
    if len(words) == 1 and words[0].startswith("-") and len(words[0]) > 1:
        return (words[0][1:], "-l")
    return tuple(words) if words[0] else (name,)


def folder_of(pid: int) -> str:
    """Where a process is.  Raises OSError."""
    folder, gone = os.readlink(f"/proc/{pid}/cwd"), " (deleted)"
    return folder.removesuffix(gone) if not os.path.isdir(folder) else folder


def environment_of(pid: int) -> dict[str, str]:
    """The environment that a process began with; nothing if it is not to be seen."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            entries = os.fsdecode(file.read()).split("\0")
    except OSError:
        return {}
    return {name: value for name, equals, value in (entry.partition("=") for entry in entries) if equals}


def ancestors(pid: int) -> Iterator[int]:
    """A process and those above it."""
    while pid > 0:
        yield pid
        try:
            pid = int(fields_of(pid)[PARENT])
        except (OSError, IndexError):
            return


def refuse_recorded(store: Store, found: Found) -> None:
    """Raise Refused if a task that runs has the process already, or is recorded by it."""
    from qrec.stores.base import Query

    own = [found.pid, found.ticks]
    for task in store.find(Query(statuses=frozenset({Status.RUNNING}))):
        process = task.data.get("process", {})
        if task.host != os.uname().nodename or not process:
            continue
        if list(process.get("command", ())) == own or (task.pid == found.pid and is_younger(task, found)):
            raise Refused(f"process {found.pid} is recorded already, as task {task.number} ({task.uid})")
        if list(process.get("recorder", ())) == own:
            raise Refused(f"process {found.pid} is qrec's own: it records task {task.number} ({task.uid})")


def is_younger(task: Task, found: Found) -> bool:
    """Whether a process began with a task or later, so that a pid in the record is its own."""
    return task.started is not None and found.started >= timestamp(seconds_of(task.started) - 1)


def seconds_of(stamp: str) -> float:
    """A stored time in seconds since the epoch."""
    from qrec.task import moment

    return moment(stamp).timestamp()


def one_at_a_time(home: str) -> int:
    """A descriptor; as long as it is open, no other call adopts anything into this home."""
    import fcntl

    from qrec.output import make_private

    make_private(home)
    folder = os.open(home, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
    except OSError:
        pass  # a file system without locks
    return folder


# How it ends


class Exit:
    """The end of a process that is no child of ours.  Raises Refused if it is not there (any more)."""

    def __init__(self, pid: int, ticks: int) -> None:
        self.pid, self.ticks = pid, ticks
        self.descriptor = -1
        try:
            self.descriptor = os.pidfd_open(pid)
        except (OSError, AttributeError):
            pass  # an older kernel: it is looked at now and then
        if start_ticks(pid) != ticks:
            raise Refused(f"process {pid} has just ended")

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, or ends within so many seconds."""
        if self.descriptor >= 0:
            return self.heard(select.POLLIN, seconds)
        time.sleep(min(seconds, SELDOM))
        return start_ticks(self.pid) != self.ticks

    def heard(self, what: int, seconds: float) -> bool:
        """Whether that is told by its descriptor within so many seconds."""
        poll = select.poll()
        poll.register(self.descriptor, what)
        return bool(poll.poll(seconds * 1000))

    def status(self) -> int | None:
        """How it ended, as wait(2) tells it; None if nobody can know.

        The kernel tells it when the parent has heard of it, and not before; until then the corpse does.
        """
        if self.descriptor < 0:
            return None
        return self.told() if self.heard(0, REAPED) else self.of_corpse()

    def told(self) -> int | None:
        """What the kernel tells of a process that is gone altogether."""
        import fcntl

        info = bytearray(struct.pack(INFO, HAS_CODE, *[0] * 13))
        try:
            fcntl.ioctl(self.descriptor, GET_INFO, info)
        except OSError:
            return None
        mask, *_, code = struct.unpack(INFO, info)
        return int(code) if mask & HAS_CODE else None

    def of_corpse(self) -> int | None:
        """What is to be read of a process whose parent has not taken note yet."""
        try:
            os.readlink(f"/proc/{self.pid}/cwd")
        except FileNotFoundError:
            pass  # as it must be; were it not for us to see, the code would be shown as 0
        except OSError:
            return None
        try:
            fields = fields_of(self.pid)
        except OSError:
            return None
        return int(fields[EXIT_CODE]) if fields[0] == b"Z" else None


def ended_by(status: int | None) -> Ended | None:
    """The end that wait(2) would tell of."""
    if status is None:
        return None
    death = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
    return Ended(returncode=128 + death if death else os.WEXITSTATUS(status), signal=death, at=time.time())


# Panes of tmux


class Spliced(Record):
    """A pane whose output goes into a file from now on, too."""

    socket: str
    pane: str
    folder: str  #: of the attempt

    def options(self) -> tuple[str, str]:
        """What becomes of the pane when its command has ended, and what was said of it for itself.  Raises Refused."""
        remain = self.call("show-options", "-A", "-p", "-v", *self.at, "remain-on-exit").strip()
        return remain, self.call("show-options", "-p", "-v", *self.at, "remain-on-exit").strip()

    def begin(self, remain: str, own: str) -> bytes:
        """Let tmux write what comes; return what was to be seen before, all in one step.  Raises Refused."""
        piped, dead = self.ask("#{pane_pipe}", "#{pane_dead}")
        if dead == "1":
            raise Refused(f"the command in pane {self.pane} has ended")
        if piped == "1":
            raise Refused(f"the output of pane {self.pane} goes elsewhere already (tmux pipe-pane); end that first")
        seen = self.call(
            "display-message", "-p", *self.at, "#{cursor_x}", ";", "capture-pane", "-p", "-e", "-J", "-S", "-",
            *self.at, ";", "pipe-pane", *self.at, self.writer(), ";", "set-option", "-p", *self.at, "remain-on-exit",
            "on", ";", "set-hook", "-p", *self.at, "pane-died", self.at_end(remain, own),
        )  # fmt: skip
        cursor, _, screen = seen.partition("\n")
        return as_history(screen, int(cursor or 0)).encode("utf-8", "surrogateescape")

    @property
    def at(self) -> tuple[str, str]:
        """The words that name the pane."""
        return ("-t", self.pane)

    def go(self) -> None:
        """Let the output that has come meanwhile follow what is in the file."""
        os.close(os.open(os.path.join(self.folder, "ready"), os.O_WRONLY | os.O_CREAT, 0o600))

    def has_ended(self) -> bool:
        """Whether all of the output has been written."""
        return os.path.exists(os.path.join(self.folder, "piped"))

    def writer(self) -> str:
        """The line for sh that takes the pane's output; it waits a while for what was there before."""
        return (
            f'{self.in_folder()}; n=0; until [ -e "$f/ready" ] || [ $n -gt 500 ]; do sleep 0.02; n=$((n+1)); done; '
            'cat >>"$f/stdout"; : >"$f/piped"'
        )

    def at_end(self, remain: str, own: str) -> str:
        """What tmux does when the command has ended: it tells the code, and then what it would have done without us.

        The code is known a moment after the end, not always with it.
        """
        code, number = "#{pane_dead_status}", "#{pane_dead_signal}"
        script = (
            f'{self.in_folder()}; c="{code}"; s="{number}"; [ -n "$c" ] || [ -z "$s" ] || c=$((128+s)); '
            '[ -z "$c" ] || echo "$c" >"$f/ended"'
        )
        closing = {
            "on": "",
            "failed": f"if-shell -F -t {self.pane} '#{{==:{code},0}}' 'kill-pane -t {self.pane}'",
        }.get(remain, f"kill-pane -t {self.pane}")
        steps = (
            "run-shell 'sleep 0.05'",
            f"if-shell -F -t {self.pane} '{code}{number}' '' \"run-shell 'sleep 1'\"",
            f"run-shell -t {self.pane} '{script}'",
            " ".join(self.back(own)),
            f"set-hook -pu -t {self.pane} pane-died",
            closing,
        )
        return " ; ".join(filter(None, steps))

    def back(self, own: str) -> tuple[str, ...]:
        """The words that undo what was said about the pane's end."""
        if own:
            return ("set-option", "-p", *self.at, "remain-on-exit", own)
        return ("set-option", "-pu", *self.at, "remain-on-exit")

    @staticmethod
    def stays(remain: str, code: int) -> bool:
        """Whether the pane is to stay when its command has ended."""
        return remain == "on" or (remain == "failed" and code != 0)

    def see_to_its_end(self, remain: str, own: str, code: int) -> None:
        """Do what tmux was to do when the command has ended, if it does not.

        It is not called where tmux has missed the command's end, as it now and then does.
        """
        try:
            deadline = time.monotonic() + LATE
            while self.ask("#{pane_dead}") == ["1"] and self.call("show-hooks", "-p", *self.at, "pane-died").strip():
                if time.monotonic() > deadline:
                    self.call(*self.back(own), ";", "set-hook", "-pu", *self.at, "pane-died")
                    if not self.stays(remain, code):
                        self.call("kill-pane", *self.at)
                    return
                time.sleep(0.1)
        except Refused:
            pass  # it is gone

    def in_folder(self) -> str:
        """Makes the folder known to sh, in letters that neither sh nor tmux takes for anything else."""
        octal = "".join(f"\\{byte:03o}" for byte in os.fsencode(self.folder))
        return f'f="$(printf "{octal}")"; [ -d "$f" ] || exit 0; umask 077'

    def ask(self, *what: str) -> list[str]:
        """What tmux tells of the pane.  Raises Refused."""
        return self.call("display-message", "-p", *self.at, "\t".join(what)).rstrip("\n").split("\t")

    def call(self, *words: str) -> str:
        """What tmux prints.  Raises Refused."""
        return called_tmux(("-S", self.socket), *words)


def tells_more(folder: str) -> bool:
    """Whether more may come from tmux for a pane whose command has ended, and which nobody looks after.

    The pipe ends when all is told.  It does not where the pane stays, or a child holds it; and it may have been killed.
    """
    if os.path.exists(os.path.join(folder, "piped")):
        return False
    try:  # when somebody first knew that the command has ended
        os.close(os.open(os.path.join(folder, "gone"), os.O_WRONLY | os.O_CREAT, 0o600))
    except OSError:
        return False  # the folder has been removed, or the disk is full
    since, printed, ended = (written(os.path.join(folder, name)) / 1e9 for name in ("gone", "stdout", "ended"))
    patience = PIPED if ended else UNHEARD
    return time.time() - max(since, printed, ended) < patience and time.time() - since < CLOSED


def called_tmux(server: tuple[str, ...], *words: str) -> str:
    """What a call of tmux prints.  Raises Refused with tmux's words."""
    import subprocess

    from qrec.process import own_environment

    given = ["tmux", *server, *words]
    try:
        done = subprocess.run(
            given, stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False, env=own_environment()
        )
    except FileNotFoundError:
        raise Refused("tmux is not on PATH here") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(f"tmux cannot be asked: {error}") from None
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().replace("\n", "; ")
        raise Refused(f"tmux: {said or f'ended with {done.returncode}'}")
    return done.stdout.decode("utf-8", "surrogateescape")


COLOURS = re.compile(r"\x1b\[[0-9;:]*m|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()].|[\x0e\x0f]")


def as_history(screen: str, cursor: int) -> str:
    """What was to be seen in a pane, down to the line of the cursor, which what comes goes on with."""
    lines = [line.rstrip() for line in screen.splitlines()]
    while lines and not COLOURS.sub("", lines[-1]).strip():
        lines.pop()
    if not lines:
        return ""
    last = "\n" if cursor == 0 else " " * (cursor - len(COLOURS.sub("", lines[-1])))
    return "\n".join(lines) + last


# The process that looks after it


class Adoption(Recording):
    """The recording of a process that runs already, from now on."""

    def __init__(self, recorder: Recorder, task: Task, known: bool, pid: int, ticks: int) -> None:
        super().__init__(recorder, task, known, outcome=self.how_it_ended)
        self.pid = pid
        self.exit = Exit(pid, ticks)
        self.known_end = False  #: whether its return code is known
        place = task.data.get("tmux")
        self.pane = Spliced(socket=place["socket"], pane=place["pane"], folder=self.folder) if place else None
        process = {**recorder.claim()["process"], "command": [pid, ticks]}
        self.task = task.copy(pid=pid, data={**task.data, "process": process})

    def begin(self) -> None:
        """Begin to record.  Raises Refused, OSError if it cannot be done."""
        if self.pane is not None:
            self.splice(self.pane)
        self.spool()
        self.task = self.task.copy(facts=self.tried(self.gather, "surroundings") or {})
        self.tell(LOOK * 10)

    def splice(self, pane: Spliced) -> None:
        """Record what a pane shows, and what is written to it from now on."""
        from qrec.output import make_private, remove_folder

        make_private(self.folder)
        try:
            self.options = pane.options()
            seen = pane.begin(*self.options)
        except Refused:
            remove_folder(self.folder)
            raise
        if seen:
            self.writer.write("stdout", memoryview(seen))
        pane.go()

    def gather(self) -> dict[str, Any]:
        """What surrounds the process, by its own folder and environment."""
        from qrec.facts import surroundings

        environment = environment_of(self.pid)
        return surroundings(self.task.pwd, environment, self.recorder.variables, self.recorder.redactor)

    def look_after(self) -> Task:
        """Observe the process to its end, and close the record."""
        pause = 0.0
        while not self.exit.wait(pause):
            self.writer.observe()
            pause = min(self.tell_later(), self.measure(self.pid), LOOK if self.pane else 60.0)
        ended, hung_up = ended_by(self.exit.status()), False
        if self.pane is not None:
            told = self.last_of(self.pane)
            hung_up = told is None and self.pane.has_ended()  # somebody has closed the pane
            ended = told or ended
        self.known_end = ended is not None
        closed = self.close(ended or Ended(returncode=0, at=time.time()), [signal.SIGHUP] if hung_up else None)
        if self.pane is not None:
            self.pane.see_to_its_end(*self.options, ended.returncode if ended else 1)
        return closed

    def last_of(self, pane: Spliced) -> Ended | None:
        """Wait for the last output of a pane; return the end that tmux told, if it did."""
        from qrec.shim import shim_ended

        grew, size, ended, patience = time.monotonic(), -1, None, PIPED
        while not pane.has_ended() and time.monotonic() - grew < patience:
            time.sleep(0.02)
            self.writer.observe()
            if self.writer.sizes["stdout"] != size:
                grew, size = time.monotonic(), self.writer.sizes["stdout"]
            if ended is None and (ended := shim_ended(self.folder)):  # where the pane stays, so does its pipe
                patience = QUIET if pane.stays(self.options[0], ended.returncode) else CLOSED
        self.writer.observe()
        return shim_ended(self.folder)

    def how_it_ended(self, task: Task, ended: Ended, printed: Files) -> dict[str, Any]:
        """What is to be told beside what everybody sees, or in its place."""
        if self.known_end:
            return {}
        return {"status": Status.LOST, "returncode": None, "signal": None, "data": {"reason": UNKNOWN}}

    def measure_now(self, pid: int) -> float:
        """See Recording: with all that it had started before."""
        if self.meter is None:
            self.meter = meter_of(pid, os.path.join(self.folder, "series"), self.started)
        return self.meter.tick()


def meter_of(pid: int, path: str, began: float) -> Meter:
    """A meter for a process that is no child of ours, and has children perhaps."""
    from qrec.usage import Member, Meter, Tree, contents
    from qrec.usage import fields_of as fields

    class Grown(Tree):
        """A process that began before us, with its descendants, old and new."""

        def begin(self) -> bool:
            """See Tree."""
            try:
                self.members[self.pid] = Member(self.pid, fields(contents(self.pid, "stat")))
            except OSError:
                return False
            return True  # and nobody is a stranger: what it has started may have any number by now

    meter = Meter(pid, path, began)
    meter.tree = Grown(pid)
    return meter


def main() -> None:
    """Adopt what stdin tells of."""
    from qrec.observer import Request, answer, recorder_of

    request = Request(**json.load(sys.stdin))
    try:
        adoption = begun(request, recorder_of(request))
    except (QrecError, OSError) as error:
        answer({"error": str(error)})
        return
    answer({"task": adoption.task.plain(), "complaints": adoption.recorder.complaints})
    adoption.look_after()


def begun(request: Request, recorder: Recorder) -> Adoption:
    """The adoption that is asked for.  Raises Refused, OSError."""
    pid, ticks = request.adopt
    adoption = Adoption(recorder, Task.from_plain(request.task), request.known, pid, ticks)
    adoption.begin()
    return adoption


def send_off(recorder: Recorder, task: Task, pid: int, ticks: int, known: bool = False) -> Task:
    """Let a process of its own adopt one; return the task as it runs.  Raises Refused."""
    from qrec import observer

    request = observer.Request(
        home=recorder.home, store=recorder.store.place, task=task.plain(), words=(), known=known, adopt=(pid, ticks),
        grace=recorder.grace, variables=recorder.variables,
        secrets=[rule.source for rule in recorder.redactor.own] if recorder.redactor else (),
    )  # fmt: skip
    try:
        begun, complaints = observer.send_off(request, PROGRAM)
    except CouldNotStart as error:
        raise Refused(str(error)) from None
    recorder.complaints += complaints
    return begun


def adopt(recorder: Recorder, task: Task, found: Found, recordable: Callable[[Task], Task]) -> Task:
    """Make the task that of a process, and have it looked after; return it as it runs.  Raises Refused.

    `recordable` takes the secrets out of a task.
    """
    task = task.copy(
        argv=found.argv, pwd=found.pwd, pid=found.pid, started=found.started,
        data={**task.data, "adopted": {"at": timestamp()}},
    )  # fmt: skip
    return look_after(recorder, recordable(task), found)


def look_after(recorder: Recorder, task: Task, found: Found, known: bool = False) -> Task:
    """Have a process looked after as that task's, unless it is another's already.  Raises Refused."""
    turn = one_at_a_time(recorder.home)
    try:
        refuse_recorded(recorder.store, found)
        return send_off(recorder, task, found.pid, found.ticks, known)
    finally:
        os.close(turn)
