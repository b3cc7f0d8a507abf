"""A recorded command behaves as it does without qrec: cases 1 to 6 of what must work."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qrec import Qrec, Status, Task
from qrec.output import attempt_folder
from qrec.recorder import lost_fields
from tests.helpers import Result, environment, wait_until

BYTES = b"a\xff\r\n\0b"

#: What a program would print that shows the words it was given.
WORDS = "import json, sys; print(json.dumps(sys.argv[1:]))"


@pytest.fixture(params=["sqlite", "filesystem"])
def store(request, monkeypatch) -> str:
    monkeypatch.setenv("QREC_STORE", request.param)
    return str(request.param)


on_both_stores = pytest.mark.usefixtures("store")


def executable(path: Path, text: str, mode: int = 0o755) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return str(path)


# 1. Exit codes


@pytest.mark.parametrize(
    ("words", "code", "death"),
    [
        (["true"], 0, None),
        (["false"], 1, None),
        (["bash", "-c", "exit 7"], 7, None),
        (["bash", "-c", "kill -9 $$"], 137, 9),
        (["bash", "-c", "exit 137"], 137, None),
        (["bash", "-c", "kill -SEGV $$"], 139, 11),
        (["no-such-program"], 127, None),
        (["./no-such-program"], 127, None),
        (["./no-such-folder/program"], 127, None),
        (["./not-executable"], 126, None),
        (["./no-interpreter"], 126, None),
        (["/"], 126, None),
        (["no-such-program with words"], 127, None),
        (["exit 7"], 7, None),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_1_the_exit_code_is_the_commands_and_so_says_the_record(qrec, tmp_path, words, code, death):
    executable(tmp_path / "not-executable", "#!/bin/sh\n", 0o644)
    executable(tmp_path / "no-interpreter", "#!/no/such/interpreter\n")
    assert qrec("run", *words).returncode == code
    (task,) = qrec("ls", "--json").json
    assert (task["returncode"], task["signal"]) == (code, death)
    assert task["status"] == ("failed" if code else "complete")
    data = qrec("get").json["data"]
    assert (data["returncode"], data["signal"]) == (code, death)


@on_both_stores
def test_1_a_command_that_somebody_kills(qrec, start):
    process = start("run", "sleep", "600")
    os.kill(running(qrec)["pid"], signal.SIGKILL)
    assert process.wait() == 137
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"], task["signal"]) == ("failed", 137, 9)


@pytest.mark.parametrize("words", [["no-such-program"], ["./not-executable"]])
@pytest.mark.parametrize("folder", [[], ["--cwd", "below"]])
def test_1_a_command_that_cannot_start_says_so_once_and_on_record(qrec, tmp_path, words, folder):
    (tmp_path / "below").mkdir()
    for place in (tmp_path, tmp_path / "below"):
        executable(place / "not-executable", "#!/bin/sh\n", 0o644)
    result = qrec("-q", "run", *folder, *words)
    assert result.stdout == b""
    assert result.err.count("\n") == 1
    assert words[0] in result.err
    assert qrec("log").out == result.err


# 2. Output


def test_2_output_is_visible_before_the_command_ends(start, qrec):
    process = start(
        "run", "sh", "-c", "printf 'no newline'; read word; echo $word; echo aside >&2", stdin=subprocess.PIPE
    )
    assert process.stdout.read(10) == b"no newline"
    wait_until(lambda: qrec("log").stdout == b"no newline")
    process.stdin.write(b"reply\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"reply\n"
    assert process.stderr.readline() == b"aside\n"
    assert process.wait() == 0


@on_both_stores
@pytest.mark.parametrize(("redirect", "stream"), [("", "stdout"), (" >&2", "stderr")])
def test_2_every_byte_is_kept(qrec, home, redirect, stream):
    result = qrec("-q", "run", "sh", "-c", r"printf 'a\377\r\n\000b'" + redirect, check=True)
    assert getattr(result, stream) == BYTES
    assert qrec("log").stdout == qrec("log", f"--{stream}").stdout == BYTES
    assert qrec("exec", {"stdout": "output", "stderr": "error"}[stream]).stdout == BYTES
    door = Qrec()
    kept = door.store.kept(door.get().uid, 1)
    assert kept is not None
    assert getattr(kept, stream) == BYTES
    # small output is in the store, and its files are gone
    assert not [*home.rglob("stdout"), *home.rglob("stderr"), *home.rglob("timing")]


@on_both_stores
def test_2_text_shows_undecodable_bytes_with_replacement(qrec):
    qrec("run", "printf", r"a\377\r\n\000b", check=True)
    assert qrec("get").json["data"]["output"] == ["a\ufffd\r\n", "\0b"]
    assert json.loads(qrec("log", "--json").out)["text"] == "a\ufffd\r\n\0b"
    assert qrec("exec", "output", "--json").json == ["a\ufffd\r\n", "\0b"]
    (hit,) = qrec("search", "printf", "a\ufffd", "--json").json
    assert {"where": "stdout", "line": 1, "text": "a\ufffd\r"} in hit["matches"]
    shown = qrec("search", "a\ufffd", check=True)
    assert "a\ufffd\\r" in shown.out
    assert shown.err == ""


@on_both_stores
def test_2_words_that_are_not_utf8(qrec):
    word = os.fsdecode(b"\xff\xfe")
    assert qrec("-q", "run", "printf", "%s", word, check=True).stdout == b"\xff\xfe"
    assert qrec("get").json["data"]["cmd"] == ["printf", "%s", word]
    for verb in (["ls"], ["search", "printf"], ["exec", "status"]):
        result = qrec(*verb, check=True)
        assert result.err == ""
    assert qrec("-q", "rerun", check=True).stdout == b"\xff\xfe"


def test_2_a_disk_that_is_full_where_the_output_goes_is_no_secret(qrec):
    """`echo` itself would have said so; its pipe took the line."""
    with open("/dev/full", "wb") as full:
        result = qrec("-q", "run", "echo", "lost", stdout=full)
    assert "space" in result.err
    assert qrec("log").out == "lost\n"


# 3. A long command


def test_3_waiting_costs_nothing(tmp_path, home, qrec):
    """A few looks at what the command uses; a busy machine makes Python's start dearer, too."""
    qrec("run", "true", check=True)
    assert cpu_seconds("run", "sleep", "3") < cpu_seconds("run", "true") + 0.25


def cpu_seconds(*words: str) -> float:
    """User and system time of a call of qrec with its command."""
    process = subprocess.Popen([sys.executable, "-m", "qrec", *words], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def running(qrec: Callable[..., Result]) -> dict[str, Any]:
    """The task that runs, as soon as one is seen to."""
    found: list[dict[str, Any]] = wait_until(
        lambda: [task for task in qrec("ls", "--status", "running", "--json").json if task["pid"]]
    )
    return found[-1]


@on_both_stores
def test_3_a_running_task_is_seen_from_another_terminal(start, qrec):
    process = start("run", "sleep", "600")
    task = running(qrec)
    assert psutil.Process(task["pid"]).cmdline() == ["sleep", "600"]
    assert task["returncode"] is None
    assert qrec("get").json["data"]["status"] == "running"
    assert qrec("get").json["data"]["pid"] == task["pid"]
    assert " running " in qrec("ls").out
    assert process.poll() is None


# 4. Words


@on_both_stores
def test_4_words_reach_the_command_exactly_and_again(qrec):
    words = ["a  b", "$HOME", "it's", "new\nline", "", "*", "--", "-m", "\\"]
    first = qrec("-q", "run", sys.executable, "-c", WORDS, *words)
    assert first.json == words
    assert qrec("get").json["data"]["cmd"] == [sys.executable, "-c", WORDS, *words]
    assert qrec("-q", "rerun").json == words
    (task,) = qrec("ls", "--json").json
    assert task["argv"] == [sys.executable, "-c", WORDS, *words]
    assert shlex.split(task["command"]) == task["argv"]
    assert task["attempt"] == 2


def test_4_the_words_of_the_issue(qrec):
    words = ["echo", "a  b", "$HOME", "it's", "new\nline"]
    assert qrec("-q", "run", *words).out == "a  b $HOME it's new\nline\n"
    assert qrec("-q", "rerun").out == "a  b $HOME it's new\nline\n"
    assert qrec("get").json["data"]["cmd"] == words


@pytest.mark.parametrize("before", [[], ["--"], ["-m", "note"], ["-m", "note", "--"]])
def test_4_the_commands_own_dashes_stay(qrec, tmp_path, before):
    executable(tmp_path / "bin" / "git", '#!/bin/sh\nprintf "%s|" "$@"\n')
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    result = qrec("-q", "run", *before, "git", "log", "--", "f", env={"PATH": path})
    assert result.out == "log|--|f|"
    assert qrec("get").json["data"]["cmd"] == ["git", "log", "--", "f"]


@pytest.mark.parametrize(
    "options", [["-m", "x", "run"], ["run", "-m", "x"], ["run", "--message=x", "-t", "a", "-t", "b"]]
)
def test_4_options_of_qrec_end_where_the_command_begins(qrec, options):
    assert qrec("-q", *options, "echo", "-m", "y", "--json", "-q").out == "-m y --json -q\n"
    data = qrec("get").json["data"]
    assert data["message"] == "x"
    assert data["tags"] == (["a", "b"] if "-t" in options else [])


@pytest.mark.parametrize(
    ("line", "shown"),
    [("echo one two", "one two\n"), ("echo $((1+1))|cat", "2\n"), ("pwd", None), ("echo '$HOME'", "$HOME\n")],
)
def test_4_one_argument_is_a_program_or_a_line_for_the_shell(qrec, tmp_path, line, shown):
    assert qrec("-q", "run", line).out == (f"{tmp_path}\n" if shown is None else shown)
    assert qrec("-q", "rerun").out == (f"{tmp_path}\n" if shown is None else shown)
    task = qrec("get").json
    assert task["data"]["cmd"] == [line]
    assert task["command"] == line
    assert task["data"].get("shell") == (None if line == "pwd" else "/bin/sh")


# 5. Nobody reads on


@on_both_stores
def test_5_a_reader_that_has_enough_ends_the_command(start, qrec):
    process = start("run", "yes")
    head = subprocess.run(["head", "-1"], stdin=process.stdout, capture_output=True, check=True)
    process.stdout.close()
    assert head.stdout == b"y\n"
    assert process.wait() == 128 + signal.SIGPIPE
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"], task["signal"]) == ("failed", 141, signal.SIGPIPE)


def test_5_the_other_stream_goes_on(start, qrec):
    script = "while echo out; do :; done 2>/dev/null; echo 'the other stream' >&2; exit 3"
    process = start("-q", "run", sys.executable, "-c", IGNORES_PIPE, "sh", "-c", script)
    process.stdout.close()
    assert process.stderr.read() == b"the other stream\n"
    assert process.wait() == 3


#: Runs a program that is told by an error that nobody reads, and not killed.
IGNORES_PIPE = (
    "import os, signal, sys; signal.signal(signal.SIGPIPE, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
)

# 6. Signals

#: A command that tells of each signal it gets, and dies of the first when SIGUSR1 comes.  It ends well when run again.
#: It takes those that wait in the order of their numbers, so SIGUSR1 never overtakes another.
COUNTS = """
import os, signal, sys
if os.path.exists("again"):
    sys.exit()
open("again", "w").close()
number = int(sys.argv[1])
signal.signal(number, signal.SIG_DFL)
before = signal.pthread_sigmask(signal.SIG_BLOCK, {number, signal.SIGUSR1})
print("ready", flush=True)
while (got := signal.sigwait({number, signal.SIGUSR1})) != signal.SIGUSR1:
    print("got", int(got), flush=True)
    open("told", "a").close()
signal.pthread_sigmask(signal.SIG_SETMASK, before)
os.kill(os.getpid(), number)
"""
DEADLY = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT]


def counts(number: int) -> list[str]:
    return [sys.executable, "-c", COUNTS, str(int(number))]


@on_both_stores
@pytest.mark.parametrize("number", DEADLY)
def test_6_a_signal_to_qrec_alone_reaches_the_command_once(start, qrec, number):
    process = start("run", *counts(number))
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, number)
    assert process.stdout.readline() == b"got %d\n" % number
    # Passed on behind any second one, as signals wait in the order of their numbers.
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait() == -number
    assert process.stdout.read() == b""
    cancelled_by(qrec, number, f"ready\ngot {int(number)}\n")


def cancelled_by(qrec: Callable[..., Result], number: int, printed: str) -> None:
    """The record tells so, with what was printed so far, and the task can be run again."""
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"], task["signal"]) == ("cancelled", 128 + number, number)
    assert qrec("log").out.replace("\r", "") == printed
    again = qrec("rerun")
    assert again.returncode == 0, again
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["attempt"]) == ("complete", 2)
    assert qrec("log", "--attempt", "1").out.replace("\r", "") == printed
    assert qrec("get", "--attempt", "1").json["data"]["status"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_6_a_command_that_takes_a_signal_in_its_stride(start, qrec, number):
    """It decides itself how it ends, so qrec follows it."""
    script = f"trap 'echo well; exit 5' {int(number)}; echo ready; while :; do read line || sleep 0.01; done"
    process = start("run", "sh", "-c", script)
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, number)
    assert process.wait() == 5
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"], task["signal"]) == ("failed", 5, None)
    assert qrec("log").out == "ready\nwell\n"


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_6_other_signals_are_passed_on_too(start, number):
    process = start("run", "sh", "-c", f"trap 'echo got; exit' {int(number)}; echo ready; while :; do sleep 0.01; done")
    assert process.stdout.readline() == b"ready\n"
    os.kill(process.pid, number)
    assert process.stdout.readline() == b"got\n"
    assert process.wait() == 0


def test_6_what_was_ignored_stays_ignored(start):
    """nohup."""
    ignore = "import json, signal; print(json.dumps(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN))"
    process = start("-q", "run", sys.executable, "-c", ignore, preexec_fn=ignore_hangups)
    assert json.load(process.stdout) is True


def ignore_hangups() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def test_6_nothing_else_of_the_signals_is_changed_for_the_command(qrec):
    """Python ignores SIGPIPE, and qrec blocks what it watches; its command must not notice."""
    show = ["grep", "-E", "^Sig(Blk|Ign|Cgt)", "/proc/self/status"]
    without = subprocess.run(show, capture_output=True, env=environment(), check=True, text=True).stdout
    assert signals(qrec("-q", "run", *show).out) == signals(without)


def signals(status: str) -> list[int]:
    """Blocked, ignored and caught signals; 32 and 33 are libc's own, and ignored after every posix_spawn."""
    return [int(line.split()[1], 16) & ~(1 << 31 | 1 << 32) for line in status.splitlines()]


# 6. Ctrl-C


class Terminal:
    """A terminal with a keyboard: what it shows, and what is typed."""

    def __init__(self) -> None:
        self.keyboard, self.screen = os.openpty()
        self.shown = b""

    def popen(self) -> dict[str, Any]:
        """What makes a process the leader of this terminal's session; Popen itself calls setsid."""
        return {
            "stdin": self.screen,
            "stdout": self.screen,
            "stderr": self.screen,
            "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        }

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def shows(self, text: bytes) -> None:
        """Wait until it shows this, and forget what came before."""
        while text not in self.shown:
            self.shown += os.read(self.keyboard, 4096)
        self.shown = self.shown.partition(text)[2]

    def hang_up(self) -> None:
        for descriptor in (self.keyboard, self.screen):
            if descriptor >= 0:
                os.close(descriptor)
        self.keyboard = self.screen = -1


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.hang_up()


@pytest.mark.parametrize(("key", "number"), [(b"\x03", signal.SIGINT), (b"\x1c", signal.SIGQUIT)])
def test_6_ctrl_c_reaches_the_command_once(start, qrec, tmp_path, terminal, key, number):
    process = start("run", *counts(number), **terminal.popen())
    terminal.shows(b"ready")
    # qrec sleeps until the command has taken its signal: a second one right behind the first would melt into it
    os.kill(process.pid, signal.SIGSTOP)
    terminal.type(key)
    wait_until((tmp_path / "told").exists)
    os.kill(process.pid, signal.SIGCONT)
    os.kill(process.pid, signal.SIGUSR1)
    assert process.wait() == -number
    cancelled_by(qrec, number, f"ready\ngot {int(number)}\n")


def test_6_ctrl_c_at_a_command_that_dies_of_it(start, qrec, terminal):
    process = start("run", "sh", "-c", "echo so far; exec sleep 600", **terminal.popen())
    terminal.shows(b"so far")
    terminal.type(b"\x03")
    assert process.wait() == -signal.SIGINT
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["signal"]) == ("cancelled", signal.SIGINT)
    assert qrec("log").out.split() == ["so", "far"]


@pytest.mark.parametrize("how", ["--pty", "--no-pty"])
def test_6_a_command_that_is_stopped_goes_on_when_it_is_continued(start, qrec, tmp_path, how):
    """Without a terminal there is no shell that would continue qrec if it stopped with the command."""
    process = start("-q", "run", how, "sh", "-c", "echo ready; until [ -e go ]; do sleep 0.02; done; echo over")
    assert process.stdout.readline().split() == [b"ready"]
    command = psutil.Process(running(qrec)["pid"])
    command.suspend()
    wait_until(lambda: command.status() == psutil.STATUS_STOPPED)
    time.sleep(0.5)  # qrec shall do nothing, which no condition can show
    assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED
    command.resume()
    (tmp_path / "go").touch()
    assert process.stdout.read().split() == [b"over"]
    assert process.wait() == 0


@pytest.mark.parametrize("turn", range(5))
def test_6_the_signal_and_the_end_are_seen_at_once(start, qrec, terminal, turn):
    """On a busy machine the command is dead before qrec has looked at its own signal; five turns of one race."""
    process = start("run", "sh", "-c", "echo so far; exec sleep 600", **terminal.popen())
    terminal.shows(b"so far")
    pid = running(qrec)["pid"]
    os.kill(process.pid, signal.SIGSTOP)
    terminal.type(b"\x03")
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    os.kill(process.pid, signal.SIGCONT)
    assert process.wait() == -signal.SIGINT
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["signal"]) == ("cancelled", signal.SIGINT)


def test_6_ctrl_c_stops_a_loop_of_the_shell(terminal, start, tmp_path, qrec):
    """bash goes on with a loop unless what it waited for died of the signal."""
    loop = f"for i in 1 2 3; do {sys.executable} -m qrec run sh -c 'echo loop; exec sleep 600'; done; echo went on"
    process = subprocess.Popen(["bash", "-c", loop], cwd=tmp_path, start_new_session=True, **terminal.popen())
    terminal.shows(b"loop")
    terminal.type(b"\x03")
    assert process.wait() == -signal.SIGINT
    assert [task["status"] for task in qrec("ls", "--json").json] == ["cancelled"]


def test_6_ctrl_z_and_back(terminal, start, tmp_path, qrec):
    shell = subprocess.Popen(
        ["bash", "--norc", "-i"],
        cwd=tmp_path,
        start_new_session=True,
        env=environment({"PS1": "$ "}),
        **terminal.popen(),
    )
    terminal.type(f"{sys.executable} -m qrec -q run sh -c 'echo re''ady; read line; echo got $line'\n".encode())
    terminal.shows(b"ready")
    pid = running(qrec)["pid"]
    terminal.type(b"\x1a")
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    terminal.shows(b"Stopped")
    terminal.type(b"fg\n")
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_SLEEPING)
    terminal.type(b"a word\n")
    terminal.shows(b"got a word")
    terminal.type(b"exit\n")
    shell.wait()
    assert [task["status"] for task in qrec("ls", "--json").json] == ["complete"]


def test_6_a_terminal_that_is_closed(start, qrec, terminal):
    """qrec leads its session, as in `xterm -e qrec run ...` or a tmux window: the kernel tells it alone."""
    process = start("run", "sleep", "600", **terminal.popen())
    pid = running(qrec)["pid"]
    terminal.hang_up()
    assert process.wait(60) == -signal.SIGHUP
    assert not psutil.pid_exists(pid)
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["signal"]) == ("cancelled", signal.SIGHUP)


# What else must be as without qrec


def test_stdin_reaches_the_command(qrec):
    assert qrec("-q", "run", "cat", input=BYTES).stdout == BYTES


def test_streams_stay_apart(qrec):
    result = qrec("-q", "run", "sh", "-c", "echo out; echo err >&2", check=True)
    assert (result.out, result.err) == ("out\n", "err\n")
    assert (qrec("log", "--stdout").out, qrec("log", "--stderr").out) == ("out\n", "err\n")
    assert qrec("log").out == "out\nerr\n"


def test_the_closing_line(qrec):
    result = qrec("run", "false")
    uid = qrec("get").json["uid"]
    assert result.stdout == b""
    assert result.err.startswith(f"[{uid}][returncode: 1] ")
    assert result.err.count("\n") == 1


#: Is deaf to SIGTERM, if it was started so, until it has said something.
SAYS_FIRST = """
import signal, time
print("so far", flush=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
time.sleep(600)
"""


def test_a_time_limit(qrec):
    result = qrec("run", "--timeout", "0.2s", sys.executable, "-c", SAYS_FIRST, preexec_fn=block_terminations)
    assert result.returncode == 124
    assert result.out == "so far\n"
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"], task["signal"]) == ("failed", 124, signal.SIGTERM)


def block_terminations() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def test_what_was_kept_by_who_called_it_lost_too_early_stays(home, store, monkeypatch):
    """They remove the files just when we look at them for the record that tells better."""
    door, other = Qrec(), Qrec()
    look = door.store.get

    def called_lost(uid: str) -> Task:
        monkeypatch.setattr(door.store, "get", look)
        task = other.store.get(uid)
        fields = lost_fields(task)
        assert other.recorder.finish(task, fields.pop("status"), fields).status is Status.LOST
        folder = Path(attempt_folder(str(home), uid, 1))
        folder.mkdir(parents=True)
        (folder / "stderr").write_bytes(b"err\n")  # not removed yet
        return look(uid)

    monkeypatch.setattr(door.store, "get", called_lost)
    task = door.run(["sh", "-c", "echo out; echo err >&2; exit 3"], show=False)
    assert (task.status, task.returncode) == (Status.FAILED, 3)
    kept = Qrec().store.kept(task.uid, 1)
    assert kept is not None
    assert (kept.stdout, kept.stderr) == (b"out\n", b"err\n")


def test_a_time_limit_that_is_not_reached(qrec):
    assert qrec("run", "--timeout", "10m", "true").returncode == 0


def test_another_folder(qrec, tmp_path):
    (tmp_path / "below").mkdir()
    show = ["sh", "-c", 'pwd; echo "$PWD"']
    assert qrec("-q", "run", "--cwd", "below", *show).out == f"{tmp_path / 'below'}\n" * 2
    assert qrec("get").json["data"]["pwd"] == str(tmp_path / "below")
    assert qrec("-q", "rerun").out == f"{tmp_path / 'below'}\n" * 2


def test_a_folder_that_is_not_there(qrec):
    result = qrec("-q", "run", "--cwd", "nowhere", "true")
    assert result.returncode == 125
    assert result.err.count("\n") == 1
    assert "nowhere" in result.err


@pytest.mark.parametrize("where", ["talks", "is silent"])
def test_what_the_command_leaves_in_the_background_does_not_hold_qrec(start, qrec, where):
    """A daemon that still has the streams open: a shell would not wait for it either."""
    left = "while echo talk; do :; done" if where == "talks" else "sleep 600"
    with open(os.devnull, "wb") as null:
        process = start("-q", "run", "sh", "-c", f"{left} & exit 4", stdout=null)
        assert process.wait(60) == 4
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"]) == ("failed", 4)
