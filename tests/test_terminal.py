"""A recorded command in a terminal: each test does the same without qrec and with it, and compares byte for byte.

What is compared is what the terminal shows, the codes, and the terminal's modes afterwards.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.helpers import kill_processes_of, wait_until
from tests.terminals import EOF, INTR, QUIT, STOP, Shell, Terminal, masked, way, ways

PYTHON = sys.executable


@pytest.fixture
def paths(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Two values of PATH, see `ways`; what the test starts is gone at its end."""
    monkeypatch.chdir(tmp_path)
    yield ways(tmp_path)
    kill_processes_of(tmp_path)


@pytest.fixture
def alike(paths: dict[str, str]) -> Callable[..., bytes]:
    """Asserts that something goes alike without qrec and with it; returns what it gave."""

    def alike(scenario: Callable[[str], Any], mend: Callable[[Any], Any] = lambda result: result) -> Any:
        native, recorded = scenario(paths["native"]), scenario(paths["recorded"])
        assert mend(recorded) == mend(native)
        return native

    return alike


def sh(line: str, path: str, *words: str) -> Terminal:
    """A line of sh in a terminal."""
    return Terminal(["sh", "-c", line, "sh", *words], PATH=path)


def once(line: str, *words: str) -> Callable[[str], tuple[bytes, list[Any], int]]:
    """A scenario without keys: what a line of sh shows, the terminal's modes at its end, and its code."""

    def scenario(path: str) -> tuple[bytes, list[Any], int]:
        with sh(line, path, *words) as terminal:
            code = terminal.end()
            return masked(terminal.seen), terminal.modes(), code

    return scenario


def in_any_order(result: tuple[bytes, list[Any], int]) -> tuple[list[bytes], list[Any], int]:
    """The same without the order of its lines: a busy kernel may hand two terminals' output on in the other one."""
    shown, modes, code = result
    return sorted(shown.splitlines()), modes, code


def python(text: str) -> list[str]:
    return [PYTHON, "-c", text]


#: A program that waits to be interrupted.  What a shell in its place does depends on where that meets it.
WAITER = python("""
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
print("up", flush=True)
while True:
    signal.pause()
""")
SURVIVOR = python("""
import os, signal, time
def survive(*_):
    os.write(1, b"caught\\n")  # print might be busy with the line before
    raise SystemExit(4)
signal.signal(signal.SIGINT, survive)
os.write(1, b"up\\n")
time.sleep(60)
""")


# Without keys


@pytest.mark.parametrize(
    "words",
    [
        ["printf", r"a\nb\r\nc\n\n\td\b"],
        python("import os; os.write(1, bytes(range(256))); os.write(2, bytes(range(256)))"),
        ["sh", "-c", "echo a; exit 7"],
        ["stty", "-a"],
        ["sh", "-c", "stty size; stty size <&1; stty size <&2"],
        ["sh", "-c", "tty; for fd in 0 1 2; do test -t $fd; echo $?; done"],
        python("import os; print(os.get_terminal_size(), os.ttyname(0), os.tcgetpgrp(0) == os.getpgrp())"),
        python("open('/dev/tty', 'w').write('a\\n')"),
        ["setsid", "-w", "sh", "-c", "echo a; stty size; exit 3"],
        ["setsid", "-w", "sh", "-c", "echo b >&2; exit 3"],
        ["stty", "-echo"],
        ["sh", "-c", "stty -echo <&1"],
        ["sh", "-c", "stty cbreak <&2; printf 'a\nb\n'"],
        ["sh", "-c", "stty raw; printf 'a\nb\n'"],
        ["sh", "-c", "stty raw <&1"],
        ["sh", "-c", "stty erase x <&1"],
        ["sh", "-c", "exec 3<&1; s=$(stty -g <&3); stty raw <&3; stty $s <&3; printf 'a\nb\n'"],
        ["nohup", "echo", "a"],
    ],
    ids=lambda words: " ".join(words)[-40:],
)
def test_a_command_shows_what_it_shows_without_qrec(alike, words):
    alike(once('q "$@"; echo "<$?>"', *words))


def test_limits_a_private_terminal_shows_that_it_is_one(alike):
    """As the manual says."""

    def mend(result):
        seen, *rest = result
        return seen.replace(b"\r\n-opost", b"\r\nopost").replace(b" extproc", b" -extproc"), *rest

    alike(once("q sh -c 'stty -a <&1; stty -a <&2'"), mend)


def test_a_death_by_signal_is_a_code_as_shells_tell_it(alike):
    native = alike(once("q sh -c 'echo a; kill -9 $$' 2>/dev/null; echo $?"))
    assert native[0] == b"a\r\n137\r\n"


# Streams elsewhere

FILES = "for fd in 0 1 2; do test -t $fd; echo $?; done; cat; echo err >&2; exit 5"


@pytest.mark.parametrize(
    "line",
    [
        "q sh -c '{}' </dev/null; echo $?",
        "echo in | q sh -c '{}' 2>&1 | cat",
        "echo in | q sh -c '{}' 2>file; echo $?; cat file",
        "echo in | q sh -c '{}' >file; echo $?; cat file",
        "echo in | q sh -c '{}' >file 2>&1; echo $?; cat file",
        "echo in | q sh -c '{}' 2>/dev/null | cat",
        "printf 'a\nb\n' >file; q sh -c '{}' <file; echo $?",
        "q sh -c '{}' <&- ; echo $?",
        "q sh -c '{}' </dev/null >&- ; echo $?",
        "q sh -c '{}' </dev/null 2>&- ; echo $?",
        "yes | q head -2",
        "q yes | head -1; echo $?",
        "echo in | q q q sh -c '{}' 2>&1; echo $?",
    ],
)
def test_streams_that_are_no_terminals(alike, line):
    alike(once(line.replace("{}", FILES)), in_any_order)


def test_without_any_terminal(alike, tmp_path):
    line = "setsid -w q sh -c 'test -t 1; echo $?; true </dev/tty; exit 3' </dev/null >file 2>&1; echo $?; cat file"
    assert alike(once(line))[0].startswith(b"3\r\n1\r\n")


# Order

IN_TURN = """
import os
while (order := os.read(0, 100).strip()):
    for mark in order:
        os.write(2 if mark == ord("e") else 1, bytes([mark]))
"""


@pytest.mark.parametrize("order", ["oe", "eo"])
def test_what_is_written_to_both_streams_at_once_is_shown_in_that_order(paths, order):
    with sh('stty -echo; echo up; q "$@"', paths["recorded"], *python(IN_TURN)) as terminal:
        terminal.wait_for(b"up\r\n")
        right = 0
        for _ in range(50):
            terminal.send(f"{order}\n".encode())
            terminal.wait_until(lambda: len(terminal.seen) - terminal.taken == 2)
            right += terminal.seen[terminal.taken :] == order.encode()
            terminal.taken += 2
        assert right > 30  # the kernel itself may turn them round on a busy machine; a fixed order would be 0 for one
        terminal.send(EOF)
        assert terminal.end() == 0


# Keys


def test_a_line_is_edited_by_the_kernel(alike):
    def scenario(path):
        with sh("stty -echoctl; q sh -c 'echo up; cat'; echo $?", path) as terminal:
            terminal.wait_for(b"up\r\n")
            terminal.send(b"wrong\x15righx\x7ft\n")
            terminal.wait_for(b"right\r\n")
            terminal.send(EOF)
            return terminal.end(), terminal.seen, terminal.modes()

    alike(scenario)


def script(words: list[str], name: str = "script") -> str:
    """Puts a program for Python into the current folder; returns the command that runs it."""
    Path(name).write_text(words[-1])
    return f"{PYTHON} {name}"


@pytest.mark.parametrize(("key", "code"), [(INTR, 130), (QUIT, 131)])
def test_a_key_that_ends_a_command_ends_it_at_once_and_the_shell_knows(alike, tmp_path, key, code):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.run("ulimit -c 0")
            shell.start("q " + script(WAITER))
            shell.wait_for(b"up\r\n")
            shell.send(key)
            shown = shell.prompt()
            return shown, shell.run("echo $?"), shell.modes()

    assert alike(scenario)[1] == b"%d" % code


def test_an_interrupt_ends_a_loop_of_the_shell(alike):
    def scenario(path):
        with sh('for i in 1 2 3; do q "$@"; done; echo after', path, *WAITER) as terminal:
            terminal.wait_for(b"up\r\n")
            terminal.send(INTR)
            return terminal.end(), terminal.seen

    assert alike(scenario)[0] == -signal.SIGINT


def test_a_command_that_survives_the_interrupt(alike):
    def scenario(path):
        with sh('trap : INT; q "$@"; echo $?', path, *SURVIVOR) as terminal:
            terminal.wait_for(b"up\r\n")
            terminal.send(INTR)
            return terminal.end(), terminal.seen

    assert alike(scenario)[1].endswith(b"caught\r\n4\r\n")


def test_a_password_is_asked_for_and_not_shown(alike):
    program = python("import getpass; print('<' + getpass.getpass('secret: ') + '>')")

    def scenario(path):
        with sh('q "$@"', path, *program) as terminal:
            terminal.wait_for(b"secret: ")
            before = terminal.modes()[3] & termios.ECHO
            terminal.send(b"a b\n")
            return terminal.end(), terminal.seen, before, terminal.modes()

    assert b"<a b>" in alike(scenario)[1]


READER = """
import os, sys, termios, tty
number = int(sys.argv[1])
saved = termios.tcgetattr(number)
tty.setcbreak(number)
os.write(number, b"up")
key = os.read(number, 1)
termios.tcsetattr(number, termios.TCSADRAIN, saved)
os.write(number, b"<" + key + b">\\n")
"""


@pytest.mark.parametrize("number", [0, 2])
def test_a_single_key_from_whichever_stream(alike, number):
    def scenario(path):
        with sh('q "$@"; echo "$?"', path, *python(READER), str(number)) as terminal:
            terminal.wait_for(b"up")
            terminal.send(b"k")
            return terminal.end(), terminal.seen, terminal.modes()

    alike(scenario)


CURSES = """
import curses, sys
def play(screen):
    screen.addstr(2, 3, "play")
    screen.refresh()
    return screen.getch()
key = curses.wrapper(play)
print("key", key)
print("> ", end="", flush=True)  # input's own goes to stderr, another terminal
print("line", input())
"""


def test_curses_and_then_a_line(alike):
    def scenario(path):
        with sh('TERM=xterm; q "$@"; echo "$?"', path, *python(CURSES)) as terminal:
            terminal.wait_for(b"play")
            during = terminal.modes()
            terminal.send(b"k")
            terminal.wait_for(b"> ")
            after = terminal.modes()
            terminal.send(b"words\n")
            return terminal.end(), terminal.seen, during, after, terminal.modes()

    alike(scenario)


def test_keys_typed_before_the_command_reads_are_its_own_and_those_after_it_the_shells(alike, tmp_path):
    def scenario(path):
        go = tmp_path / "go"
        go.unlink(missing_ok=True)
        with Shell(path, tmp_path) as shell:
            shell.start(f"q sh -c 'echo up; until test -e {go}; do sleep .01; done; read line; echo \"<$line>\"'")
            shell.wait_for(b"up\r\n")
            shell.send(b"for the command\necho for the shell\n")
            shell.wait_for(b"for the shell\r\n")
            go.touch()
            return shell.wait_for(b"<for the command>"), shell.wait_for(b"\r\nfor the shell"), shell.prompt()

    alike(scenario)


# Sizes

SIZES = """
import fcntl, os, signal, struct, termios
def sizes():
    return [struct.unpack("HH4x", fcntl.ioctl(number, termios.TIOCGWINSZ, bytes(8))) for number in (0, 1, 2)]
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
print("up", flush=True)
while sizes()[0] != (50, 100) or len({*sizes()}) > 1:
    signal.sigwait({signal.SIGWINCH})
print(sizes(), flush=True)
"""


def test_a_new_size_comes_to_all_streams_and_is_told(alike):
    def scenario(path):
        with sh('q "$@"', path, *python(SIZES)) as terminal:
            terminal.wait_for(b"up\r\n")
            terminal.resize((30, 90))
            terminal.resize((50, 100))
            return terminal.end(), terminal.seen

    alike(scenario)


# Job control

UNTIL = python("""
import os, sys, time
print("up", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
print("done")
raise SystemExit(6)
""")


def ended(shell: Shell, job: psutil.Process) -> bytes:
    """What the shell says until that job has ended; bash may overlook an end until another child of it has one."""
    said = b""

    def gone() -> bool:
        nonlocal said
        said += shell.run("/bin/true")
        return not job.is_running()

    shell.wait_until(gone, "the job to end")
    return said + shell.run("")


def is_stopped(process: psutil.Process) -> bool:
    return process.status() == psutil.STATUS_STOPPED


def test_stopping_a_job_and_going_on_with_it(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.start("q sh -c 'echo up; exec cat'")
            shell.wait_for(b"up\r\n")
            shell.send(STOP)
            shown = [shell.prompt(), shell.run("echo $?"), shell.run("jobs")]
            modes = [shell.modes()]
            shell.start("fg")
            shell.wait_for(b"exec cat'\r\n")
            shell.send(b"line\n")
            shell.wait_for(b"line\r\nline\r\n")
            shell.send(STOP)
            shown.append(shell.prompt())
            job = shell.job()
            told = b"Terminated" in shell.run("kill %1") + ended(shell, job)
            modes.append(shell.modes())
            return shown, modes, told

    assert b"Stopped" in alike(scenario)[0][2]


def test_a_job_goes_on_in_the_background(alike, tmp_path):
    def scenario(path):
        go = tmp_path / "go"
        go.unlink(missing_ok=True)
        with Shell(path, tmp_path) as shell:
            shell.start(f"q {script(UNTIL)} go")
            shell.wait_for(b"up\r\n")
            shell.send(STOP)
            shown = [shell.prompt(), shell.run("bg"), shell.run("jobs")]
            go.touch()
            shell.wait_for(b"done\r\n")
            return shown, shell.run("wait %1; echo $?")

    alike(scenario)


def test_the_foreground_and_an_interrupt_there(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.start("q " + script(WAITER))
            shell.wait_for(b"up\r\n")
            shell.send(STOP)
            shown = [shell.prompt(), shell.run("bg")]
            shell.start("fg")
            shell.wait_until(lambda: os.tcgetpgrp(shell.master) == shell.job().pid, "the job to be in front")
            shell.send(INTR)
            return shown, shell.prompt(), shell.run("echo $?"), shell.modes()

    alike(scenario)


def test_a_job_that_stops_itself(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shown = [shell.run("q sh -c 'echo a; kill -STOP $$; echo b; exit 3'"), shell.run("echo $?")]
            return shown, shell.run("fg"), shell.run("echo $?")

    assert alike(scenario)[2] == b"3"


def test_a_job_in_the_background_stops_when_it_reads(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.run("q cat &")
            job = shell.job()
            shell.wait_until(lambda: is_stopped(job), "the job to stop")
            shell.run("/bin/true")  # bash may overlook a stop until another child of it has ended
            stopped = shell.run("jobs")[-40:]
            shell.start("fg")
            shell.wait_for(b"q cat\r\n")
            shell.send(b"line\n" + EOF)
            return stopped, shell.prompt(), shell.run("echo $?"), shell.modes()

    alike(scenario)


def test_a_job_in_the_background_stops_when_it_writes_where_the_terminal_says_so(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.run("stty tostop")
            shell.run("q sh -c 'echo words; exit 4' &")
            job = shell.job()
            shell.wait_until(lambda: is_stopped(job), "the job to stop")
            shell.run("/bin/true")  # bash may overlook a stop until another child of it has ended
            stopped = shell.run("jobs")[-40:]
            return stopped, shell.run("fg"), shell.run("echo $?"), shell.modes()

    alike(scenario)


def test_another_shell(alike):
    """Some of its words only, since zsh draws its lines anew with each key."""

    def scenario(path):
        with Terminal(["zsh", "-f"], PATH=path, HISTFILE=None) as shell:
            shell.send(b"PS1='@ '; echo u''p\n")
            shell.wait_for(b"up")
            shell.send(b"q sh -c 'echo begu''n; exec cat'\n")
            shell.wait_for(b"begun\r\n")
            shell.send(STOP)
            shell.wait_for(b"suspended")
            shell.send(b"echo code $?; fg\n")
            code = shell.wait_for(b"\r\ncode 1")[-6:], shell.wait_for(b"\r\n")
            shell.wait_for(b"exec cat'\r\n")
            shell.send(b"line\n")
            shell.wait_for(b"line\r\nline\r\n")
            shell.send(INTR)
            shell.wait_for(b"@ ")
            shell.send(b"echo code $?\n")
            return code, shell.wait_for(b"\r\ncode 1")[-6:], shell.wait_for(b"\r\n")

    alike(scenario)


def test_a_script_with_job_control(alike):
    """`set -m` gives each command a process group of its own, and the terminal to it."""
    line = "set -m; q sh -c 'stty size; kill -STOP $$; echo b; exit 3'; echo $?; fg >/dev/null; echo $?"

    def scenario(path):
        with Terminal(["bash", "-c", line], PATH=path) as terminal:
            return terminal.end(), re.sub(rb"line 1: +\d+", b"line 1: PID", masked(terminal.seen)), terminal.modes()

    alike(scenario)


def test_a_run_in_a_run_in_a_run(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.start("q q q sh -c 'echo up; exec cat'")
            shell.wait_for(b"up\r\n")
            shell.send(STOP)
            shown = [shell.prompt(), shell.run("jobs")]
            shell.start("fg")
            shell.wait_for(b"exec cat'\r\n")
            shell.send(b"line\n")
            shell.wait_for(b"line\r\nline\r\n")
            shell.send(INTR)
            return shown, shell.prompt(), shell.run("echo $?"), shell.modes()

    alike(scenario)


# The record

BOTH = r"printf 'a\nb\r\n\377\0c\n'; printf 'err\r\n\n' >&2; exit 3"


def test_the_record_has_what_was_written_and_the_streams_apart(paths, qrec):
    with sh('q sh -c "$1"; echo $?', paths["recorded"], BOTH) as terminal:
        terminal.end()
    assert qrec("log", "--stdout").stdout == b"a\nb\r\n\xff\0c\n"
    assert qrec("log", "--stderr").stdout == b"err\r\n\n"
    assert qrec("get").json["data"]["returncode"] == 3


def test_a_large_record_is_exact(paths, qrec):
    text = python("import os; [os.write(1, b'%d\\n' % n * 50) for n in range(4000)]")
    with sh('q "$@"', paths["recorded"], *text) as terminal:
        assert terminal.end() == 0
    written = b"".join(b"%d\n" % n * 50 for n in range(4000))
    assert qrec("log", "--stdout").stdout == written
    assert terminal.seen == written.replace(b"\n", b"\r\n")


def test_what_is_typed_is_not_recorded(paths, qrec):
    with sh("q sh -c 'echo up; read line; echo \"<$line>\"'", paths["recorded"]) as terminal:
        terminal.wait_for(b"up\r\n")
        terminal.send(b"words\n")
        terminal.end()
    assert qrec("log").stdout == b"up\n<words>\n"


def test_a_grandchild_goes_on_writing_to_the_terminal(alike, tmp_path):
    def scenario(path):
        go = tmp_path / "go"
        go.unlink(missing_ok=True)
        line = "(until test -e go; do sleep .01; done; echo late; echo later >&2; echo end) & echo early"
        with Shell(path, tmp_path) as shell:
            shown = shell.run(f'q sh -c "{line}"')
            go.touch()
            shell.wait_until(lambda: b"end\r\n" in shell.seen and b"later\r\n" in shell.seen, "both streams")
            return shown, sorted(shell.seen[shell.taken :].split()), shell.modes()

    alike(scenario)


def test_qrec_is_killed(paths, tmp_path, qrec):
    """The command is not harmed, but what it prints from then on has nowhere to go."""
    program = python("""
import os, time
os.write(1, b"up\\n")
while not os.path.exists("go"):
    time.sleep(0.01)
try:
    os.write(1, b"more\\n")
except OSError as error:
    open("met", "w").write(os.strerror(error.errno))
""")
    with Shell(paths["recorded"], tmp_path) as shell:
        shell.run("true")
        modes = shell.modes()
        shell.start("q " + script(program))
        shell.wait_for(b"up\r\n")
        shell.recorder().kill()
        assert b"Killed" in shell.prompt()
        assert shell.modes() == modes
        assert shell.run("echo $?") == b"137"
        Path("go").touch()
        shell.wait_until(lambda: os.path.exists("met") and Path("met").read_text(), "the command to go on")
    assert Path("met").read_text() == "Input/output error"
    assert qrec("log").stdout == b"up\n"
    assert (
        wait_until(lambda: (task := qrec("ls", "--json").json[0])["status"] != "running" and task)["status"] == "lost"
    )


@pytest.mark.parametrize(("options", "answers"), [("--pty", b"0\r\n0\r\n"), ("--no-pty", b"1\r\n1\r\n")])
def test_terminals_by_wish(paths, options, answers):
    with sh(
        f"{PYTHON} -m qrec run -q {options} sh -c 'test -t 1; echo $?; test -t 2; echo $?'", paths["native"]
    ) as one:
        assert one.end() == 0
        assert one.seen == answers


def test_terminals_without_one_of_ours(qrec):
    result = qrec("run", "-q", "--pty", "sh", "-c", "test -t 1 && test -t 2 && stty size <&1; echo err >&2; exit 3")
    assert (result.returncode, result.stdout, result.stderr) == (3, b"24 80\n", b"err\n")


@pytest.mark.parametrize("options", ["--pty --no-pty", "--pty --one-stream", "--no-pty --one-stream"])
def test_the_wishes_exclude_each_other(qrec, options):
    result = qrec("run", *options.split(), "true")
    assert result.returncode == 2
    assert b"exclude each other" in result.stderr


# One terminal for everything


@pytest.fixture
def alike_in_one(alike, paths: dict[str, str], tmp_path: Path) -> Any:
    """As `alike`, through `qrec run --one-stream`."""
    line = f'exec {PYTHON} -m qrec run -q --one-stream "$@"'
    paths["recorded"] = way(tmp_path / "one", line)
    return alike


@pytest.mark.parametrize(
    "words",
    [
        ["printf", r"a\nb\r\nc\n\n\td\b"],
        ["sh", "-c", "echo a; echo b >&2; echo c; stty size; stty size <&1; exit 7"],
        ["sh", "-c", "stty -a; stty -a <&1"],
        ["sh", "-c", "for fd in 0 1 2; do test -t $fd; echo $?; done"],
        python("open('/dev/tty', 'w').write('a\\n')"),
    ],
    ids=lambda words: " ".join(words)[-40:],
)
def test_one_terminal_shows_the_same(alike_in_one, words):
    alike_in_one(once('q "$@"; echo "<$?>"', *words))


@pytest.mark.parametrize(
    "line", ["printf 'a\\nb\\n' | q cat; echo $?", "printf 'a\\nb\\n' >file; q cat <file; echo $?"]
)
def test_one_terminal_is_fed_from_elsewhere(paths, alike_in_one, line):
    """What is fed is what a terminal's user types: it is echoed, and the end is a key too."""
    with sh(line, paths["recorded"]) as terminal:
        terminal.end()
    assert terminal.seen.endswith(b"0\r\n")
    assert terminal.seen.count(b"a\r\n") == terminal.seen.count(b"b\r\n") == 2


def test_a_shell_with_job_control_in_one_terminal(alike_in_one, tmp_path):
    rules = tmp_path / "inputrc"
    rules.write_text("set enable-bracketed-paste off\n")
    (tmp_path / "job").write_text(WAITER[-1])

    def scenario(path):
        with Terminal(["sh", "-c", "PS1='@ ' q bash --norc --noprofile -i; echo $?"], PATH=path, HISTFILE=None,
                      INPUTRC=str(rules)) as terminal:  # fmt: skip
            terminal.wait_for(b"@ ")
            terminal.send(f"{PYTHON} job\n".encode())
            terminal.wait_for(b"up\r\n")
            terminal.send(STOP)
            terminal.wait_for(b"Stopped")
            terminal.wait_for(b"\r\n@ ")
            terminal.send(b"fg\n")
            terminal.wait_for(b" job\r\n")
            inner = [
                each for each in psutil.Process(terminal.pid).children(recursive=True) if each.cmdline()[1:] == ["job"]
            ]
            terminal.wait_until(lambda: not is_stopped(inner[0]), "the job to go on")
            terminal.send(INTR)
            terminal.wait_for(b"\r\n@ ")
            terminal.send(b"echo $?; exit 5\n")
            return terminal.end(), terminal.seen, terminal.modes()

    assert b"130\r\n" in alike_in_one(scenario)[1]


def test_one_terminal_has_the_size_of_ours(alike_in_one):
    def scenario(path):
        with sh('q "$@"', path, *python(SIZES)) as terminal:
            terminal.wait_for(b"up\r\n")
            terminal.resize((50, 100))
            return terminal.end(), terminal.seen, terminal.modes()

    alike_in_one(scenario)


def test_one_terminal_gives_ours_back_when_qrec_is_told_to_end(alike_in_one, paths, tmp_path):
    with Shell(paths["recorded"], tmp_path) as shell:
        shell.run("true")
        modes = shell.modes()
        shell.start("q " + script(WAITER))
        shell.wait_for(b"up\r\n")
        assert shell.modes() != modes
        shell.recorder().terminate()
        shell.prompt()
        assert shell.modes() == modes
        assert shell.run("echo $?") == b"143"
