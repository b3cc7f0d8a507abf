"""What shells note of each line that is typed, `<home>/typed/HOST.PID.START`, and how it becomes tasks.

A shell that was set up by `qrec init` appends to a file of its own by its own means; no process is started for it.

    qrec-typed  VERSION  TAKEN  SHELL  HOST  PID  TICKS  BOOT  START  NAMESPACE  USER  STORE  .
    S  N  TIME  FOLDER  COMMAND  .      command N begins; said again, it is what was said last
    E  N  TIME  CODE  .                 it is over
    A  N  .                             it was given up before it began

Fields stand between tabs; the dot tells that the line is whole.  In a field `\\`, `\n`, `\t` and `\0` are a backslash,
a line end, a tab and a NUL.  Times are in microseconds since the epoch.

Only commands that are over are taken in: one that goes on stays in the file until it ends, or its shell is gone.  The
shell may append at any time, so nothing is renamed or cut: what is taken in is first in the store, then replaced
by line ends where it stands, and TAKEN tells how many bytes that is.  Whoever is killed between takes the same lines
in again, as the same tasks.  The file goes when its shell is gone.
"""

from __future__ import annotations

import os
import re
import stat
import time

from qrec.output import listed
from qrec.process import Identity
from qrec.task import Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from qrec.redact import Redactor
    from qrec.stores.base import Store

MARK = "qrec-typed\t1\t"  #: what a file begins with; TAKEN follows, always as wide
TAKEN = "%010d"
HEAD = 12  #: fields of a file's first line
KINDS = {"S": 4, "E": 3, "A": 1}  #: kinds of lines, and how many fields each has behind that
BAD = ".bad"  #: how the name of a file ends in which lines are set aside
FORGOTTEN = 7 * 24 * 3600.0  #: seconds without a line after which a shell counts as gone where nobody can look
STOPPED = (147, 148, 149, 150)  #: codes that tell of a command which was stopped, as by Ctrl-Z
ENDS_SHELL = re.compile(r"(exit|logout)\b")  #: commands of which no end is ever told
ESCAPES = {"n": "\n", "t": "\t", "0": "\0"}


# Lines


class BadLine(Exception):
    """A line that tells of nothing; the text says why."""


def escaped(text: str) -> str:
    """A text as a field."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\0", "\\0")


def plain(field: str) -> str:
    """The text that a field stands for."""
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), field) if "\\" in field else field


def fields_of(line: bytes) -> list[str]:
    """The fields of a line.  BadLine if it is not whole."""
    *fields, dot = os.fsdecode(line).split("\t")
    if dot != "." or not fields:
        raise BadLine("a line is not whole")
    return [plain(field) for field in fields]


def number_of(field: str) -> int:
    """A field that is a number."""
    if not (field.isascii() and field.isdecimal()) or len(field) > 18:
        raise BadLine(f"{field!r:.40} is no number")
    return int(field)


def time_of(field: str) -> float:
    """A field that is a time, in seconds since the epoch."""
    microseconds = number_of(field)
    if microseconds > 10**17:
        raise BadLine(f"{field!r:.40} is no time")
    return microseconds / 1e6


class Command:
    """What the lines tell of one command."""

    def __init__(self, number: int, place: int) -> None:
        self.number = number
        self.place = place  #: where its first line stands
        self.began = 0.0
        self.folder = ""
        self.line = ""
        self.ended: float | None = None
        self.code: int | None = None
        self.given_up = False

    @property
    def is_open(self) -> bool:
        """Whether it may still go on."""
        return self.ended is None and not self.given_up

    def take(self, kind: str, rest: Sequence[str]) -> None:
        """What one more line tells."""
        if kind == "S":
            self.began, self.folder, self.line = time_of(rest[0]), rest[1], rest[2]
        elif kind == "E":
            self.ended, self.code = time_of(rest[0]), number_of(rest[1])
        else:
            self.given_up = True


class Lines:
    """The whole lines of one file from a place on."""

    def __init__(self, data: bytes, place: int) -> None:
        self.commands: dict[int, Command] = {}
        self.bad: list[tuple[int, bytes, str]] = []  #: lines that tell of nothing: where, which, and why
        for line in data.split(b"\n")[:-1]:
            if line:
                self.read(line, place)
            place += len(line) + 1
        self.end = place

    def read(self, line: bytes, place: int) -> None:
        """Read one line."""
        try:
            kind, *rest = fields_of(line)
            if len(rest) != KINDS.get(kind):
                raise BadLine("a line tells neither of a start nor of an end")
            number = number_of(rest[0])
            command = self.commands.get(number) or Command(number, place)
            command.take(kind, rest[1:])
            if kind == "S":  # one whose start could not be written is told of nowhere else
                self.commands[number] = command
        except BadLine as error:
            self.bad.append((place, line, str(error)))

    def going_on(self) -> Command | None:
        """The command that may still go on: the last one only, as a shell does one after the other."""
        last = self.commands[max(self.commands)] if self.commands else None
        return last if last is not None and last.is_open else None


# Files


class Shell(Record):
    """What stands above a shell's lines."""

    kind: str  #: bash, zsh, fish
    process: Identity
    start: str  #: when it was set up; with its host and pid that names it for ever
    user: str
    store: str  #: which one its commands are for

    @property
    def name(self) -> str:
        """Its name, the same for all it does."""
        return f"{self.process.host}.{self.process.pid}.{self.start}"

    @classmethod
    def of(cls, fields: Sequence[str]) -> Shell:
        """The shell of these fields, from the kind on."""
        kind, host, pid, ticks, boot, start, namespace, user, store = fields
        process = Identity(host=host, boot=boot, namespace=namespace, pid=number_of(pid), ticks=number_of(ticks))
        return cls(kind=kind, process=process, start=start, user=user, store=store)


class File:
    """A shell's file.  BadLine if it is none."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.status = os.fstat(descriptor)
        head = os.pread(descriptor, 65536, 0).partition(b"\n")[0]
        fields = fields_of(head)
        if not head.startswith(MARK.encode()) or len(fields) != HEAD:
            raise BadLine("it is no file of this version of qrec")
        self.shell = Shell.of(fields[3:])
        self.base = len(head) + 1  #: where the lines begin
        self.start = self.base + number_of(fields[2])  #: where those begin that nobody has taken in

    def lines(self) -> Lines:
        """What nobody has taken in yet."""
        blocks, place = [], self.start
        while block := os.pread(self.descriptor, 1 << 20, place):
            blocks.append(block)
            place += len(block)
        return Lines(b"".join(blocks), self.start)

    def is_over(self) -> bool:
        """Whether its shell is gone."""
        alive = self.shell.process.alive()
        return time.time() - self.status.st_mtime > FORGOTTEN if alive is None else not alive

    def wipe(self, end: int) -> None:
        """Put line ends in place of all up to there, and note how far that is."""
        if end > self.start:
            os.pwrite(self.descriptor, b"\n" * (end - self.start), self.start)
            os.pwrite(self.descriptor, (TAKEN % (end - self.base)).encode(), len(MARK))


def opened(path: str) -> File | None:
    """A shell's file; None if it is gone, belongs to somebody else, or is being made.  BadLine if it is none."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if stat.S_ISREG(os.fstat(descriptor).st_mode) and os.pread(descriptor, 65536, 0).count(b"\n"):
            file = File(path, descriptor)
            descriptor = -1
            return file
        return None
    finally:
        if descriptor >= 0:
            os.close(descriptor)


# Taking in


class TakeIn:
    """Takes what shells have noted into a store.

    `ignored` are regular expressions of lines that are left out, in case a shell does not know of one yet.  What is
    wrong is told to `complain`, a sentence each.
    """

    def __init__(
        self, store: Store, redactor: Redactor, ignored: Sequence[str], complain: Callable[[str], None]
    ) -> None:
        self.store = store
        self.redactor = redactor
        self.ignored = [re.compile(one, re.DOTALL) for one in (r"^\s", *ignored)]
        self.complain = complain

    def all(self, folder: str, most: int | None = None) -> None:
        """Take in what is for this store, unless that is more than so many bytes.

        Raises StoreError or OSError; then it is there still.
        """
        files = list(self.files(folder))
        try:
            if most is None or sum(file.status.st_size - file.start for file in files) <= most:
                for file in files:
                    self.take(file)
        finally:
            for file in files:
                os.close(file.descriptor)

    def files(self, folder: str) -> Iterator[File]:
        """The shells' files for this store, opened."""
        for name in sorted(listed(folder)):
            path = os.path.join(folder, name)
            try:
                file = None if name.endswith(BAD) else opened(path)
            except BadLine as error:
                self.complain(f"{path} is left alone: {error}")
                continue
            if file is not None and file.shell.store == self.store.place:
                yield file
            elif file is not None:
                os.close(file.descriptor)

    def take(self, file: File) -> None:
        """Take in what one shell did; what goes on stays, unless the shell is gone."""
        is_over = file.is_over()  # before its lines are read: then these are all
        lines = file.lines()
        going_on = None if is_over else lines.going_on()
        end = lines.end if going_on is None else going_on.place
        self.add(file.shell, [command for command in lines.commands.values() if command is not going_on])
        self.set_aside(file, [(line, why) for place, line, why in lines.bad if place < end])
        if is_over:
            os.unlink(file.path)
        else:
            file.wipe(end)

    def add(self, shell: Shell, commands: Sequence[Command]) -> None:
        """Give the store the tasks of these commands."""
        if not commands:
            return
        from qrec.doors.intake import Arrival, Intake
        from qrec.stores.base import Bundle

        wanted = (command for command in commands if self.is_wanted(command))
        tasks = (self.task(shell, command) for command in wanted)
        Intake(self.store, self.complain).take(Arrival(place=shell.name, bundle=Bundle(task=task)) for task in tasks)

    def is_wanted(self, command: Command) -> bool:
        """Whether a command is to be recorded."""
        if command.given_up or (command.ended is None and ENDS_SHELL.match(command.line)):
            return False
        return not any(one.search(command.line) for one in self.ignored)

    def task(self, shell: Shell, command: Command) -> Task:
        """The task of a command."""
        from qrec.doors.records import uuid_of

        (line,), secrets = self.redactor.words((command.line,))
        began, uuid = timestamp(command.began), uuid_of(f"{shell.name}/{command.number}")
        data = {"shell": shell.kind, "typed": {"session": shell.name, "line": command.number}}
        task = Task(
            uid=f"typed-{uuid}", executor="typed", argv=(line,), pwd=command.folder, user=shell.user,
            host=shell.process.host, created=began, started=began,
            data={**data, "redacted": secrets} if secrets else data,
        )  # fmt: skip
        return with_outcome(task, command)

    def set_aside(self, file: File, bad: Sequence[tuple[bytes, str]]) -> None:
        """Keep lines that tell of nothing where somebody may look at them, and tell of it."""
        if not bad:
            return
        path = file.path + BAD
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600), "wb") as kept:
                kept.write(self.redactor.data(b"".join(line + b"\n" for line, _ in bad))[0])
        except OSError:
            pass  # as on a full disk, which has spoiled them
        count = f"{len(bad)} lines are" if len(bad) > 1 else "a line is"
        self.complain(f"of what was typed {count} left out, and kept in {path}: {bad[0][1]}")


def with_outcome(task: Task, command: Command) -> Task:
    """The task as its command came out; what nobody saw end has no code."""
    from qrec.recorder import explained

    if command.ended is None or command.code in STOPPED:
        how = "stopped at the terminal" if command.code in STOPPED else "its shell was gone"
        return task.copy(status=Status.LOST, data={**task.data, "reason": f"{how}, and nobody saw how it ended"})
    status = Status.FAILED if command.code else Status.COMPLETE
    ended = task.copy(status=status, returncode=command.code, ended=timestamp(command.ended))
    return ended.copy(data={**task.data, **explained(ended)})
