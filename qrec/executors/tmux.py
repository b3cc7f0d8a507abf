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
from qrec.pane import GOING, GOING_LOOK, TRIES, entry_path, leave_entry, send_back, take_back, words_for
from qrec.process import Ended, end_family, family, here, own_environment, reap, send, spawn, start_ticks
from qrec.recorder import Recording, elsewhere, runs
from qrec.shown import Masked
from qrec.task import UNFINISHED, Record, Status, Task, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any, ClassVar

    from qrec.recorder import Terms
    from qrec.redact import Redactor

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
NOT_IN_NAMES = re.compile("[:.]")  #: letters in whose place tmux puts another in the name of a session
#: A line that is the same words for every shell: nothing in it is expanded, assigned, or goes somewhere else.
WORD = r"""(?:[\w%+,./:@-]|(?<=\S)=|\\[^\w\n]|'(?:[^'\\]|\\(?!['\\]))*'|"(?:[^"\\$`\n]|\\[^$`\n])*")+"""
PLAIN = re.compile(rf"[ \t]*{WORD}(?:[ \t]+{WORD})*[ \t]*")
SHORT = {"new": "new-session", "neww": "new-window", "splitw": "split-window"}
#: What tmux is asked of a pane, and the names of what follows the pid in it.
PLACE = "#{pane_pid}\t#{socket_path}\t#{pid}\t#{pane_id}\t#{window_id}\t#{session_name}"
PLACED = ("socket", "server", "pane", "window", "session")
#: What its commands print after -P, unless -F tells them.
TOLD = {
    "new-session": "#{session_name}:",
    "new-window": "#{session_name}:#{window_index}.#{pane_index}",
    "split-window": "#{session_name}:#{window_index}.#{pane_index}",
}
PATIENCE = 30.0  #: seconds that a pane has to begin
IN_SPOOL = 1.0  #: seconds after which a record that the store does not take is taken from where it waits
LOOK = 0.01  #: seconds between two looks
SHOWN = 20  #: letters of a command in the name of its window
PIECE = 2000  #: letters that are sent at once; tmux takes no message above 16 KiB
TEXT = Option(name="text", default="", help="What to type.", positional=True)
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
            socket = terms.socket or self.socket_before(task)
            return self.start(task, self.own_session(task, socket), words_to_run(given), terms, known)
        if terms.socket:
            self.recorder.complaints.append(
                "--socket is for a session of qrec's own; this line names its server itself"
            )
        if left_alone := self.why_left_alone(call):
            self.recorder.complaints.append(left_alone)
            return super().launch(task, terms, known)
        if call.verb:
            return self.open_shell(task, call, terms, known)
        return self.start(task, call, call.command, terms, known)

    def why_left_alone(self, call: Call) -> str:
        """Why only the client of a line is recorded; nothing if the command in it is, too."""
        import shlex

        if not (call.command or call.verb):
            name = shlex.quote(call.session) if call.session else "SESSION"
            return f"what this line runs in tmux is not recorded; `qrec adopt --tmux {name}` does that"
        try:
            there = call.may_attach and is_there(call.server, f"={call.session}:")
        except Refused:
            there = False  # not even a server
        return f"session {call.session!r} is there already; tmux only attaches to it" if there else ""

    def own_session(self, task: Task, socket: str) -> Call:
        """What opens a session for a task."""
        uuid = task.uid.partition("-")[2]
        name = f"qrec-{uuid[:8]}" + f"-{task.attempt}" * (task.attempt > 1)
        words = ("tmux", *self.server(socket), "new-session", "-d", "-P", "-F", "#{pane_pid}", "-s", name)
        return Call(words=(*words, "-n", window_name(task)), own=True, detached=True)

    def server(self, socket: str) -> tuple[str, ...]:
        """The options that name tmux's server: the one that is asked for, else that of the settings."""
        from qrec.config import Config

        socket = socket or Config(self.recorder.home).get("tmux_socket")
        return ("-S" if "/" in socket else "-L", socket) if socket else ()

    def socket_before(self, task: Task) -> str:
        """Where the attempt before was; nothing if there was none."""
        try:
            before = self.store.attempts(task.uid) if task.attempt > 1 else []
        except StoreError:
            return ""
        return str(before[-1].data.get("tmux", {}).get("socket", "")) if before else ""

    def start(self, task: Task, call: Call, words: tuple[str, ...], terms: Terms, known: bool) -> Task:
        """Let a pane record the command; return the task when it runs there, or when tmux has left the terminal."""
        path = entry_path(self.recorder.home, task.uid)
        folder = "" if call.folder else here()
        in_shell = len(words) == 1 and not call.own
        request = self.recorder_request(task, words, terms, known)
        try:
            variables = (*call.variables, *(["PWD"] if call.folder else []))
            leave_entry(path, request, terms, in_shell, folder, variables, call.own)
            client, begun = self.opened(task, call, path)
        except (CouldNotStart, OSError) as error:
            take_back(path)
            return self.refused(task, f"qrec: {error}\n", getattr(error, "exit_code", CouldNotStart.exit_code), known)
        if begun is None:
            if take_back(path) and client.failed:
                code = CouldNotStart.exit_code if call.own else client.code or 1
                return self.refused(task, client.stderr, code, known)
            line = "qrec: the process that was to record in tmux has ended; `qrec doctor` may tell why\n"
            return self.refused(task, line, CouldNotStart.exit_code, known)
        return as_begun(begun) if call.detached else begun

    def opened(self, task: Task, call: Call, path: str) -> tuple[Client, Task | None]:
        """How tmux was called, and the task as soon as it runs in a pane; None for it if it never will.

        A server whose last session has just ended is about to go, and takes no other or takes it along: for a session
        of qrec's own it is called again.  Raises CouldNotStart, OSError.
        """
        for left in reversed(range(TRIES if call.own else 1)):
            client = call.run(words_for(path), elsewhere(task.pwd))
            begun = None if client.failed and os.path.exists(path) else self.begun(task, client.pane)
            untouched = begun is None and os.path.exists(path)
            if not (left and untouched and (client.going or has_ended(client.pane))):
                break
            time.sleep(GOING_LOOK)
        return client, begun

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

    # Adopting

    def adopt(self, task: Task, what: str, recordable: Callable[[Task], Task], socket: str = "") -> Task:
        """See Executor: a pane, named as `SESSION[:WINDOW.PANE]`."""
        from qrec import adopted

        place = place_of(self.server(socket), target_of(what))
        if place is None:
            raise Refused(f"tmux has no session, window or pane {what!r}")
        self.refuse_recorded(place)
        task = task.copy(data={**task.data, "tmux": place.notes})
        return adopted.adopt(self.recorder, task, adopted.process_of(place.pid), recordable)

    def refuse_recorded(self, place: Place) -> None:
        """Raise Refused if a task that runs has that pane."""
        from qrec.stores.base import Query

        for task in self.store.find(Query(statuses=frozenset({Status.RUNNING}), executor=self.name)):
            known = task.data.get("tmux", {})
            same = all(known.get(name) == place.notes[name] for name in ("socket", "server", "pane"))
            if same and runs(task, "command") is not False:
                raise Refused(f"pane {place.notes['pane']} is recorded already, as task {task.number} ({task.uid})")

    def open_shell(self, task: Task, call: Call, terms: Terms, known: bool) -> Task:
        """Run a line that opens a pane with a shell in it, and adopt that: a shell cannot do with two streams."""
        if terms.timeout is not None or terms.redactor is not None:
            self.recorder.complaints.append("a shell in tmux is only looked after: no time limit, no --redact-output")
        try:
            if not call.detached:
                return self.open_shell_here(task, call, known)
            told, place, shown = call.run_telling(elsewhere(task.pwd))
        except (CouldNotStart, OSError) as error:
            return self.refused(task, f"qrec: {error}\n", getattr(error, "exit_code", CouldNotStart.exit_code), known)
        if place is None:
            return self.refused(task, told.stderr, told.code or 1, known)
        show(shown)
        return self.adopt_opened(task, place, known)

    def open_shell_here(self, task: Task, call: Call, known: bool) -> Task:
        """The same where tmux takes this terminal: the pane is adopted once it is there.  Raises CouldNotStart."""
        from qrec.adopted import Exit

        pid = spawn(call.words, {}, cwd=elsewhere(task.pwd))
        client, place = Exit(pid, start_ticks(pid) or 0), None
        while place is None and not client.wait(LOOK * 5):
            place = place_of_client(call.server, pid)
        begun = self.adopt_opened(task, place, known) if place else None
        code = reaped(pid)
        if begun is None:
            return self.refused(task, "", code or 1, known)
        return begun if begun.status.is_final or runs(begun, "command") else self.until_closed(begun)

    def adopt_opened(self, task: Task, place: Place, known: bool) -> Task:
        """Have the shell in a pane that was opened just now looked after as the task's; return it as it runs."""
        from qrec import adopted

        noted = task.copy(data={**task.data, "tmux": place.notes, "adopted": {"at": timestamp()}}, started=timestamp())
        try:
            return adopted.look_after(self.recorder, noted, adopted.process_of(place.pid), known)
        except (Refused, OSError) as error:
            return self.refused(noted, f"qrec: not recorded: {error}\n", CouldNotStart.exit_code, known)

    def begun(self, task: Task, pane: int | None) -> Task | None:
        """The task as soon as its recorder has told of it; None if it never will."""
        deadline = time.monotonic() + PATIENCE
        waits = float("inf")  #: when a record that waits for the store is good enough
        while True:
            gone = has_ended(pane) or time.monotonic() > deadline
            if found := self.told(task):
                return found
            left = spool.read(spool.spool_path(self.recorder.home, task.uid, task.attempt), self.store.place)
            if left is not None and "tmux" in left.data:
                waits = min(waits, time.monotonic() + IN_SPOOL)
                if gone or (time.monotonic() > waits and is_on_its_way(left)):
                    return left
            elif gone:
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
        has_begun = now.pid is not None or now.status.is_final  # else it is just being closed, as it never began
        return now if now.attempt == task.attempt and "tmux" in now.data and has_begun else None

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
        lines = Pane(task).call("capture-pane", "-e", "-p", "-J")  # lines that go on in the next are one
        seen = "".join(f"{line.rstrip()}\n" for line in lines)
        output = self.shown(task)
        if isinstance(output, Masked):
            seen = masked_screen(seen, output.redactor)
        return iter([seen.encode("utf-8", "surrogateescape")])

    @action(TEXT, ENTER, when=frozenset({Status.RUNNING}))
    def send(self, task: Task, text: str, enter: bool) -> str:
        """Type into the running command."""
        if not (text or enter):
            raise Refused(f"there is nothing to type: `qrec exec send {task.number} TEXT`, --enter, or both")
        pane = Pane(task)
        session = pane.ask("#{session_name}")  # before: what is typed may end it
        for start in range(0, len(text), PIECE):
            pane.call("send-keys", "-l", "--", literal(text[start : start + PIECE]))
        if enter:
            pane.call("send-keys", "Enter")
        return f"typed into {pane.id} of session {session}"

    @action(when=UNFINISHED)
    def cancel(self, task: Task) -> Task:
        """Interrupt the command, then ask it to end, then kill it and its session.

        Each after a grace time.  A session goes only if it is qrec's own; in anybody else's only the pane does.
        """
        self.store.change(task.uid, wish="cancel")
        place = self.place_to_close(task)
        for number in (signal.SIGINT, signal.SIGTERM):
            if task.pid is not None and runs(task, "command"):
                ask_to_end(task.pid, number, self.recorder.grace)
        if place:
            send_back(place[0], task.data["tmux"]["pane"])
        if task.pid is not None and runs(task, "command"):
            end_family(task.pid, 0)
            close_place(place)
        ended = self.until_closed(task)
        try:
            Pane(ended).call("kill-pane")  # it may stay when its process has ended
        except Refused:
            pass  # it is gone
        return ended

    def place_to_close(self, task: Task) -> tuple[str, ...]:
        """The socket, and the words of tmux that close what the task runs in; nothing if that is gone."""
        try:
            pane = Pane(task)
            name, session = pane.ask("#{session_name}\t#{session_id}").split("\t")
        except (Refused, ValueError):
            return ()
        return (pane.socket, *(("kill-session", "-t", session) if is_own(task, name) else ("kill-pane", "-t", pane.id)))

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
        if self.ask("#{pid}\t#{pane_id}") != f"{told['server']}\t{self.id}":  # another server gives the same ids again
            raise self.gone()

    def gone(self) -> Refused:
        """What is said of a pane that is not there any more."""
        return Refused(f"the pane of {self.uid} is gone; `qrec log` shows what was printed in it")

    def ask(self, what: str) -> str:
        """What tmux tells of it; as little as it can where it is gone, which it takes for no error."""
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

    @property
    def going(self) -> bool:
        """Whether the server had just lost its last session."""
        return GOING.search(self.stderr) is not None


class Call(Record):
    """A tmux command line that opens a pane."""

    words: tuple[str, ...]  #: all before the command
    command: tuple[str, ...] = ()  #: what runs in the pane; none: a shell, or something that is to be left as it is
    own: bool = False  #: whether it is qrec's
    detached: bool = False  #: whether it returns at once
    folder: bool = False  #: whether it names the folder
    variables: tuple[str, ...] = ()  #: those that it sets
    server: tuple[str, ...] = ()  #: the options that name the server
    verb: str = ""  #: what opens a pane with a shell in it; empty for all else
    head: int = 0  #: how many of the words come before its options
    options: tuple[tuple[str, str], ...] = ()  #: those of the verb
    session: str = ""  #: the name that it gives to a session
    may_attach: bool = False  #: whether it starts nothing where that session is there

    def run_telling(self, folder: str | None) -> tuple[Client, Place | None, str]:
        """Open a pane with a shell: how that went, which pane it is, and what is to be printed where -P asks for it.

        Raises CouldNotStart, OSError.
        """
        given = dict(self.options)
        kept = [word for name, value in self.options if name not in ("-P", "-F") for word in (name, value) if word]
        done = run_aside((*self.words[: self.head], *kept, "-P", "-F", PLACE), folder, catch=True)
        client, place = client_of(done), place_told(done.stdout.decode("utf-8", "surrogateescape"))
        if place is None or "-P" not in given:
            return client, place, ""
        from qrec.adopted import called_tmux

        told = ("display-message", "-p", "-t", place.notes["pane"], given.get("-F", TOLD[self.verb]))
        return client, place, called_tmux(("-S", place.notes["socket"]), *told)

    def run(self, pane: tuple[str, ...], folder: str | None) -> Client:
        """Call tmux with these words for the pane.  Raises CouldNotStart, OSError."""
        return self.run_aside(pane, folder) if self.detached else run_here((*self.words, *pane), folder)

    def run_aside(self, pane: tuple[str, ...], folder: str | None) -> Client:
        """The same for one that returns at once."""
        client = client_of(done := run_aside((*self.words, *pane), folder, catch=self.own))
        number = (done.stdout or b"").strip()
        said = f"qrec: tmux: {client.stderr}" if self.own and client.stderr else client.stderr
        return client.copy(stderr=said, pane=int(number) if number.isdigit() else None)


def run_aside(words: Sequence[str], folder: str | None, catch: bool) -> subprocess.CompletedProcess[bytes]:
    """Call tmux, and catch what it prints.  Raises CouldNotStart, OSError."""
    import shutil
    import subprocess

    from qrec.errors import CommandNotFound

    if shutil.which(words[0]) is None:
        raise CommandNotFound(f"{words[0]}: command not found")
    return subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE if catch else None, stderr=subprocess.PIPE, cwd=folder,
        env=own_environment(), check=False,
    )  # fmt: skip


def has_ended(pid: int | None) -> bool:
    """Whether it is known that this process is not there any more."""
    return pid is not None and start_ticks(pid) is None


def client_of(done: subprocess.CompletedProcess[bytes]) -> Client:
    """How a call of tmux went."""
    return Client(code=done.returncode, stderr=done.stderr.decode("utf-8", "surrogateescape"))


def run_here(words: Sequence[str], folder: str | None) -> Client:
    """Let tmux have this terminal until it leaves it.  Raises CouldNotStart."""
    return Client(code=reaped(spawn(words, {}, cwd=folder)))


def reaped(pid: int) -> int:
    """The code of a client, as soon as it has left the terminal."""
    while True:
        try:
            return reap(pid).returncode
        except KeyboardInterrupt:
            continue  # it is the client's


class Place(Record):
    """A pane as tmux tells of it."""

    pid: int  #: of the process in it
    notes: Mapping[str, str]  #: what a task has of it


def place_told(line: str) -> Place | None:
    """The pane of which `PLACE` has told."""
    pid, *rest = line.rstrip("\n").split("\t", len(PLACED))
    return Place(pid=int(pid), notes=dict(zip(PLACED, rest, strict=False))) if pid.isdigit() and rest[1:] else None


def place_of(server: tuple[str, ...], target: str) -> Place | None:
    """The pane that a target of tmux names; None if there is none.  Raises Refused."""
    from qrec.adopted import called_tmux

    if not is_there(server, target):
        return None
    return place_told(called_tmux(server, "display-message", "-p", "-t", target, PLACE))


def is_there(server: tuple[str, ...], target: str) -> bool:
    """Whether tmux has exactly that; `display-message` tells of the nearest pane instead.  Raises Refused."""
    from qrec.adopted import called_tmux

    try:
        called_tmux(server, "has-session", "-t", target)
    except Refused as error:
        if "can't find" not in str(error):
            raise
        return False
    return True


def place_of_client(server: tuple[str, ...], pid: int) -> Place | None:
    """The pane that a client of tmux shows; None as long as it shows none."""
    from qrec.adopted import called_tmux

    try:
        lines = called_tmux(server, "list-clients", "-F", f"#{{client_pid}}\t{PLACE}").splitlines()
    except Refused:
        return None  # there is no server yet
    return next(
        (place_told(rest) for own, _, rest in (line.partition("\t") for line in lines) if own == str(pid)), None
    )


def target_of(what: str) -> str:
    """What tmux understands as exactly that session, with its window and pane if they are named."""
    if what[:1] in ("%", "@", "$", "="):
        return what
    return f"={what}" if ":" in what else f"={what}:"


def window_name(task: Task) -> str:
    """What the status line is to show of a task: its command in short, without what tmux takes for a format."""
    return " ".join(re.sub(r"[^\w./=+-]+", " ", task.command).split())[:SHOWN] or "qrec"


def is_own(task: Task, session: str) -> bool:
    """Whether the session that a task's pane is in was made for it, and is nobody else's."""
    return "adopted" not in task.data and call_of(task) is None and session == task.data["tmux"].get("session")


def close_place(words: Sequence[str]) -> None:
    """Close a session or a pane, if it is still there."""
    from qrec.adopted import called_tmux

    if not words:
        return
    try:
        called_tmux(("-S", words[0]), *words[1:])
    except Refused:
        pass  # it is gone


def show(text: str) -> None:
    """Print what tmux would have printed."""
    try:
        os.write(1, text.encode("utf-8", "surrogateescape"))
    except OSError:
        pass  # nobody is there to read it


def masked_screen(seen: str, redactor: Redactor) -> str:
    """A screen without its secrets: colours in the midst of one do not hide it."""
    from qrec.adopted import COLOURS
    from qrec.shown import masked

    letters = seen.encode("utf-8", "surrogateescape").decode("latin-1")  # one for each byte
    plain, covered, start = COLOURS.split(letters), "", 0
    bare = masked("".join(plain).encode("latin-1"), redactor).decode("latin-1")
    for text, colour in zip(plain, [*COLOURS.findall(letters), ""], strict=True):
        covered += bare[start : start + len(text)] + colour
        start += len(text)
    return covered.encode("latin-1").decode("utf-8", "surrogateescape")


def call_of(task: Task) -> Call | None:
    """What a command line asks of tmux; None if it is none that opens a pane."""
    import getopt

    argv = ended_words(plain_words(task.argv[0]) if "shell" in task.data else task.argv)
    as_it_is = Call(words=task.argv) if re.search(PATTERN, task.command) else None
    if os.path.basename(argv[0] if argv else "") != "tmux":
        return as_it_is if "shell" in task.data else None
    try:
        before, rest = getopt.getopt(list(argv[1:]), OPTIONS)
        verb = SHORT.get(rest[0], rest[0]) if rest else ""
        if verb not in COMMANDS:
            return None
        options, command = getopt.getopt(rest[1:], COMMANDS[verb])
    except getopt.GetoptError:
        return as_it_is
    given = dict(options)
    session = NOT_IN_NAMES.sub("_", given.get("-s", "").rstrip(";"))
    may_attach = bool("-A" in given and session)
    if any(map(is_separator, rest)) or given.keys() & {"-S", "-I"} or "-C" in dict(before):
        return Call(words=task.argv, session=session)  # several commands, or perhaps no new pane
    if may_attach and "#" in session:
        return Call(words=task.argv)  # only tmux knows what it stands for
    return Call(
        words=argv[: len(argv) - len(command)], command=tuple(map(unquoted, command)),
        server=tuple(word for name, value in before if name in ("-L", "-S") for word in (name, value)),
        verb="" if command else verb, head=len(argv) - len(rest) + 1, options=tuple(options), session=session,
        may_attach=may_attach, detached="-d" in given or verb != "new-session", folder="-c" in given,
        variables=tuple(value.partition("=")[0] for name, value in options if name == "-e"),
    )  # fmt: skip


def plain_words(line: str) -> tuple[str, ...]:
    """The words of a line that any shell takes for them and nothing else; none if it holds more than plain words."""
    import shlex

    return tuple(shlex.split(line)) if PLAIN.fullmatch(line) else ()


def ended_words(words: tuple[str, ...]) -> tuple[str, ...]:
    """Words for tmux without a `;` that ends them all, behind which nothing comes."""
    while words and is_separator(words[-1]):
        last = literal(words[-1][:-1])
        words = (*words[:-1], last) if last else words[:-1]
    return words


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


def is_on_its_way(task: Task) -> bool:
    """Whether the recorder that has left a record for the store has started the command, or has seen its end."""
    return task.status.is_final or len(family(task.data["process"]["recorder"][0])) > 1


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
