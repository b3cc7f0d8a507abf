"""Commands in tmux: in a session of qrec's own, or where a tmux command line puts them.

Inside the pane a recorder runs the command as `qrec run` does in any terminal, see pane.py.  So a task in tmux is
recorded like one of the shell, and what is to be done here is to start that recorder and to talk to tmux.
"""

from __future__ import annotations

import os
import re
import signal
import time

from qrec import spool
from qrec.errors import CouldNotStart, NoSuchTask, Refused, StoreError
from qrec.executors.base import Option, action
from qrec.executors.shell import ShellExecutor, words_to_run
from qrec.pane import entry_path, leave_entry, take_back, words_for
from qrec.process import Ended, end_family, family, own_environment, reap, send, spawn, start_ticks
from qrec.recorder import Recording, elsewhere, runs
from qrec.task import UNFINISHED, Record, Status, Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, ClassVar

    from qrec.recorder import Terms

PATTERN = (
    r"^(\S*/)?tmux(\s+-[2CDluUNvV]+|\s+-[cfLST]\s*('[^']*'|[^\s']+))*"
    r"\s+(new-session|new|new-window|neww|split-window|splitw)(\s|$)"
)
#: The options of tmux, and of those of its commands that start one of ours, as getopt has them.
OPTIONS = "2CDluUNvVc:f:L:S:T:"
COMMANDS = {
    "new-session": "AdDEPXc:e:F:f:n:s:t:x:y:",
    "new-window": "abdkPSc:e:F:n:t:",
    "split-window": "bdfhIPvZc:e:F:l:p:t:",
}
SHORT = {"new": "new-session", "neww": "new-window", "splitw": "split-window"}
PATIENCE = 30.0  #: seconds that a pane has to begin
IN_SPOOL = 1.0  #: seconds after which a record that the store does not take is taken from where it waits
LOOK = 0.01  #: seconds between two looks
PIECE = 2000  #: letters that are sent at once; tmux takes no message above 16 KiB
TEXT = Option(name="text", default="", help="What to type.")
ENTER = Option(name="enter", kind=bool, default=False, help="Press Enter afterwards.")


class TmuxExecutor(ShellExecutor):
    """What runs in tmux."""

    name: ClassVar[str] = "tmux"
    pattern: ClassVar[str] = PATTERN

    # Starting

    def launch(self, task: Task, terms: Terms, known: bool = False) -> Task:
        """See Executor."""
        given = task if terms.argv is None else task.copy(argv=terms.argv)
        call = call_of(given)
        if call is None:
            return self.start(task, self.own_session(task), words_to_run(given), terms, known)
        if not call.command:
            return super().launch(task, terms, known)
        return self.start(task, call, call.command, terms, known)

    def own_session(self, task: Task) -> Call:
        """What opens a session for a task."""
        from qrec.config import Config

        uuid = task.uid.partition("-")[2]
        name = f"qrec-{uuid[:8]}" + f"-{task.attempt}" * (task.attempt > 1)
        socket = Config(self.recorder.home).get("tmux_socket")
        where = ("-S" if "/" in socket else "-L", socket) if socket else ()
        words = ("tmux", *where, "new-session", "-d", "-P", "-F", "#{pane_pid}", "-s", name)
        return Call(words=words, own=True, detached=True)

    def start(self, task: Task, call: Call, words: tuple[str, ...], terms: Terms, known: bool) -> Task:
        """Let a pane record the command; return the task when it runs there, or when tmux has left the terminal."""
        path = entry_path(self.recorder.home, task.uid)
        folder = "" if call.folder else here()
        in_shell = len(words) == 1 and not call.own
        request = self.recorder_request(task, words, terms, known)
        try:
            leave_entry(path, request, terms, in_shell, folder, (*call.variables, *(["PWD"] if call.folder else [])))
            client = call.run(words_for(path), elsewhere(task.pwd))
        except (CouldNotStart, OSError) as error:
            take_back(path)
            return self.refused(task, f"qrec: {error}\n", getattr(error, "exit_code", CouldNotStart.exit_code), known)
        if client.failed and take_back(path):
            return self.refused(task, client.stderr, CouldNotStart.exit_code if call.own else client.code or 1, known)
        begun = self.begun(task, path, client.pane)
        if begun is None:
            line = "qrec: the process that was to record in tmux has ended; `qrec doctor` may tell why\n"
            return self.refused(task, line, CouldNotStart.exit_code, known)
        return as_begun(begun) if call.detached else begun

    def recorder_request(self, task: Task, words: tuple[str, ...], terms: Terms, known: bool) -> Any:
        """What a recorder in another process is told."""
        from qrec.observer import Request

        redactor = self.recorder.redactor
        return Request(
            home=self.recorder.home, store=self.store.place, task=task.plain(), words=words, timeout=terms.timeout,
            known=known, grace=self.recorder.grace, variables=self.recorder.variables,
            secrets=[rule.source for rule in redactor.own] if redactor else (),
        )  # fmt: skip

    def refused(self, task: Task, line: str, code: int, known: bool) -> Task:
        """Record and tell that it could not be started."""
        recording = Recording(self.recorder, task, known)
        recording.announce()
        words = line.encode("utf-8", "surrogateescape")
        recording.writer.write("stderr", memoryview(words))
        try:
            os.write(2, words)
        except OSError:
            pass  # nobody is there to read it
        return recording.close(Ended(returncode=code))

    def begun(self, task: Task, path: str, pane: int | None) -> Task | None:
        """The task as soon as its recorder has told of it; None if it never will."""
        deadline = time.monotonic() + PATIENCE
        waits = float("inf")  #: when a record that waits for the store is good enough
        while True:
            gone = (pane is not None and start_ticks(pane) is None) or time.monotonic() > deadline
            if found := self.told(task):
                return found
            left = spool.read(spool.spool_path(self.recorder.home, task.uid, task.attempt), self.store.place)
            if left is not None and "tmux" in left.data:
                waits = min(waits, time.monotonic() + IN_SPOOL)
                if gone or time.monotonic() > waits:
                    return left
            elif gone:
                take_back(path)
                return None
            time.sleep(LOOK)

    def told(self, task: Task) -> Task | None:
        """What the store has been told by the recorder in the pane."""
        try:
            now = self.store.get(task.uid)
        except NoSuchTask:
            return None
        except StoreError:
            return None  # then what waits for it is looked at
        return now if now.attempt == task.attempt and "tmux" in now.data else None

    # Actions

    @action()
    def status(self, task: Task) -> dict[str, Any]:
        """Tell how the task stands, and where in tmux it is."""
        told = {**super().status(task), "session": task.data.get("tmux", {}).get("session")}
        try:
            pane = Pane(task)
        except Refused:
            return told
        names = ("session", "window", "attached", "dead")
        what = "#{session_name}\t#{window_index}: #{window_name}\t#{session_attached}\t#{pane_dead}"
        return {**told, "pane": pane.id, **dict(zip(names, pane.ask(what).split("\t"), strict=False))}

    @action()
    def attach(self, task: Task) -> Iterator[bytes]:
        """Show the task's session in this terminal (prefix d leaves it)."""
        pane = Pane(task)
        if not os.isatty(0):
            raise Refused(f"a terminal is needed: call `qrec exec attach {task.number}` in one")
        pane.call("select-window")
        pane.call("select-pane")
        inside = same_file(os.environ.get("TMUX", "").rpartition(",")[0].rpartition(",")[0], pane.socket)
        env = dict(os.environ) if inside else {name: os.environ[name] for name in os.environ if name != "TMUX"}
        verb = "switch-client" if inside else "attach-session"
        os.execvpe("tmux", ["tmux", "-S", pane.socket, verb, "-t", pane.id], env)

    @action()
    def screen(self, task: Task) -> Iterator[bytes]:
        """Show what is to be seen in the pane now, with its colours."""
        lines = Pane(task).call("capture-pane", "-e", "-p")
        return iter([f"{line}\n".encode("utf-8", "surrogateescape") for line in lines])

    @action(TEXT, ENTER, when=frozenset({Status.RUNNING}))
    def send(self, task: Task, text: str, enter: bool) -> str:
        """Type into the running command: --text 'yes' --enter."""
        if not (text or enter):
            raise Refused("there is nothing to type; say --text WORDS, --enter, or both")
        pane = Pane(task)
        for start in range(0, len(text), PIECE):
            pane.call("send-keys", "-l", "--", literal(text[start : start + PIECE]))
        if enter:
            pane.call("send-keys", "Enter")
        return f"typed into {pane.id} of session {pane.ask('#{session_name}')}"

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Interrupt the command, then ask it to end, then kill it and its session."""
        self.store.change(task.uid, wish="cancel")
        for number in (signal.SIGINT, signal.SIGTERM):
            if task.pid is not None and runs(task, "command"):
                ask_to_end(task.pid, number, self.recorder.grace)
        if task.pid is not None and runs(task, "command"):
            end_family(task.pid, 0)
        ended = self.until_closed(task)
        try:
            Pane(ended).call("kill-pane")  # it may stay when its process has ended
        except Refused:
            pass  # it is gone
        return ended

    @action()
    def wait(self, task: Task) -> Task:
        """Wait until the command has ended."""
        return task if task.status.is_final else self.until_closed(task)


class Pane:
    """A task's pane, as long as it is there.  Raises Refused if it is not, also when talked to later."""

    def __init__(self, task: Task) -> None:
        told = task.data.get("tmux", {})
        if "pane" not in told:
            raise Refused(f"{task.uid} has no pane in tmux that qrec knows of")
        self.uid = task.uid
        self.id: str = told["pane"]
        self.socket: str = told["socket"]
        if self.ask("#{pid}") != told["server"]:  # another server gives the same ids again
            raise self.gone()

    def gone(self) -> Refused:
        """What is said of a pane that is not there any more."""
        return Refused(f"the pane of {self.uid} is gone; `qrec log` shows what was printed in it")

    def ask(self, what: str) -> str:
        """What tmux tells of it."""
        return "".join(self.call("display-message", "-p", what)[:1])

    def call(self, verb: str, *words: str) -> list[str]:
        """The lines that a command of tmux prints about it."""
        from libtmux import Server
        from libtmux.exc import LibTmuxException

        try:
            done = Server(socket_path=self.socket).cmd(verb, *words, target=self.id)
        except (LibTmuxException, OSError) as error:
            raise Refused(f"tmux cannot be asked: {str(error) or type(error).__name__}") from None
        if done.returncode:
            raise self.gone()
        return list(done.stdout)


class Client(Record):
    """How a call of tmux went."""

    code: int
    stderr: str = ""
    pane: int | None = None  #: the process in the new pane, where we asked for it

    @property
    def failed(self) -> bool:
        """Whether there is no pane; tmux ends with 0 even where it could start no server."""
        return bool(self.code or self.stderr)


class Call(Record):
    """A tmux command line that opens a pane."""

    words: tuple[str, ...]  #: all before the command
    command: tuple[str, ...] = ()  #: what runs in the pane; none: a shell, or something that is to be left as it is
    own: bool = False  #: whether it is qrec's
    detached: bool = False  #: whether it returns at once
    folder: bool = False  #: whether it names the folder
    variables: tuple[str, ...] = ()  #: those that it sets

    def run(self, pane: tuple[str, ...], folder: str | None) -> Client:
        """Call tmux with these words for the pane.  Raises CouldNotStart, OSError."""
        return self.run_aside(pane, folder) if self.detached else run_here((*self.words, *pane), folder)

    def run_aside(self, pane: tuple[str, ...], folder: str | None) -> Client:
        """The same for one that returns at once."""
        import shutil
        import subprocess

        from qrec.errors import CommandNotFound

        if shutil.which(self.words[0]) is None:
            raise CommandNotFound(f"{self.words[0]}: command not found")
        out = subprocess.PIPE if self.own else None
        done = subprocess.run(
            [*self.words, *pane], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, cwd=folder,
            env=own_environment(), check=False,
        )  # fmt: skip
        number = (done.stdout or b"").strip()
        said = done.stderr.decode("utf-8", "surrogateescape")
        said = f"qrec: tmux: {said}" if self.own and said else said
        return Client(code=done.returncode, stderr=said, pane=int(number) if number.isdigit() else None)


def run_here(words: Sequence[str], folder: str | None) -> Client:
    """Let tmux have this terminal until it leaves it.  Raises CouldNotStart."""
    pid = spawn(words, {}, cwd=folder)
    while True:
        try:
            return Client(code=reap(pid).returncode)
        except KeyboardInterrupt:
            continue  # it is the client's


def call_of(task: Task) -> Call | None:
    """What a command line asks of tmux; None if it is none that opens a pane."""
    import getopt

    if "shell" in task.data:
        return Call(words=task.argv) if re.search(PATTERN, task.argv[0]) else None
    if os.path.basename(task.argv[0]) != "tmux":
        return None
    try:
        before, rest = getopt.getopt(list(task.argv[1:]), OPTIONS)
        verb = SHORT.get(rest[0], rest[0]) if rest else ""
        if verb not in COMMANDS:
            return None
        options, command = getopt.getopt(rest[1:], COMMANDS[verb])
    except getopt.GetoptError:
        return Call(words=task.argv) if re.search(PATTERN, task.command) else None
    given = dict(options)
    if any(map(is_separator, rest)) or given.keys() & {"-A", "-S", "-I"} or "-C" in dict(before):
        return Call(words=task.argv)  # several commands, or perhaps no new pane
    return Call(
        words=task.argv[: len(task.argv) - len(command)], command=tuple(map(unquoted, command)),
        detached="-d" in given or verb != "new-session", folder="-c" in given,
        variables=tuple(value.partition("=")[0] for name, value in options if name == "-e"),
    )  # fmt: skip


def is_separator(word: str) -> bool:
    """Whether tmux takes the end of a word for the end of a command."""
    return word.endswith(";") and not word.endswith("\\;")


def unquoted(word: str) -> str:
    """A word as tmux understands it."""
    return word[:-2] + ";" if word.endswith("\\;") else word


def literal(word: str) -> str:
    """What tmux understands as that word."""
    return word[:-1] + "\\;" if word.endswith(";") else word


def ask_to_end(pid: int, number: int, grace: float) -> None:
    """Send a signal to a process and its descendants; return when they have ended, or after so many seconds."""
    members = family(pid)
    for member in members:
        send(member.pid, number)
    deadline = time.monotonic() + grace
    while any(member.alive() for member in members) and time.monotonic() < deadline:
        time.sleep(LOOK)


def as_begun(task: Task) -> Task:
    """The task as it was when it began, however quickly it has ended: what `qrec run` tells is no matter of luck."""
    if not task.status.is_final or task.pid is None:
        return task
    data = {name: value for name, value in task.data.items() if name not in ("reason", "interrupted")}
    return task.copy(status=Status.RUNNING, returncode=None, signal=None, ended=None, usage={}, data=data)


def same_file(one: str, other: str) -> bool:
    """Whether two paths name the same."""
    try:
        return bool(one) and os.path.samefile(one, other)
    except OSError:
        return False


def here() -> str:
    """The working folder; nothing if it has been removed under us."""
    try:
        return os.getcwd()
    except OSError:
        return ""
