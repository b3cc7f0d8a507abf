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
from tests.terminals import EOF, INTR, QUIT, STOP, Shell, Terminal, masked, ways

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
            return terminal.seen, terminal.modes(), code

    return scenario


def python(text: str) -> list[str]:
    return [PYTHON, "-c", text]


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
        ["setsid", "-w", "sh", "-c", "echo a; stty size; echo b >&2; exit 3"],
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
        "echo in | q q q sh -c '{}'; echo $?",
    ],
)
def test_streams_that_are_no_terminals(alike, line):
    alike(once(line.replace("{}", FILES)))


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
    with sh("stty -echo; echo up; q \"$@\"", paths["recorded"], *python(IN_TURN)) as terminal:
        terminal.wait_for(b"up\r\n")
        for _ in range(50):
            terminal.send(f"{order}\n".encode())
            assert terminal.wait_for(order[-1:].encode()) == order.encode()
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


@pytest.mark.parametrize(("key", "code"), [(INTR, 130), (QUIT, 131)])
def test_a_key_that_ends_a_command_ends_it_at_once_and_the_shell_knows(alike, tmp_path, key, code):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.start("ulimit -c 0; q sh -c 'echo up; sleep 60'")
            shell.wait_for(b"up\r\n")
            shell.send(key)
            shown = shell.prompt()
            return shown, shell.run("echo $?"), shell.modes()

    assert alike(scenario)[1] == b"%d" % code


def test_an_interrupt_ends_a_loop_of_the_shell(alike, tmp_path):
    def scenario(path):
        with sh("for i in 1 2 3; do q sh -c 'echo up; sleep 60'; done; echo after", path) as terminal:
            terminal.wait_for(b"up\r\n")
            terminal.send(INTR)
            return terminal.end(), terminal.seen

    assert alike(scenario)[0] == -signal.SIGINT


SURVIVOR = """
import signal
signal.signal(signal.SIGINT, lambda *_: print("caught", flush=True))
print("up", flush=True)
signal.pause()
raise SystemExit(4)
"""


def test_a_command_that_survives_the_interrupt(alike):
    def scenario(path):
        with sh('trap : INT; q "$@"; echo $?', path, *python(SURVIVOR)) as terminal:
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
print("line", input("> "))
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
        go = tmp_path / f"go-{len(path)}"
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
            shown.append(shell.run("kill %1; wait %1; echo $?"))
            modes.append(shell.modes())
            return shown, modes

    assert b"Stopped" in alike(scenario)[0][2]


def test_a_job_goes_on_in_the_background(alike, tmp_path):
    def scenario(path):
        go = tmp_path / f"go-{len(path)}"
        (tmp_path / "job").write_text(f"echo up; until test -e {go}; do sleep .01; done; echo done; exit 6")
        with Shell(path, tmp_path) as shell:
            shell.start("q sh job")
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
            shown = [shell.run("q sleep 60 &")]
            shell.start("fg")
            shell.wait_for(b"q sleep 60\r\n")
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
            shown = shell.run("q cat &")
            job = psutil.Process(shell.pid).children()[0]
            shell.wait_until(lambda: is_stopped(job), "the job to stop")
            after = shell.run("jobs")
            shell.start("fg")
            shell.wait_for(b"q cat\r\n")
            shell.send(b"line\n" + EOF)
            return shown, after[-40:], shell.prompt(), shell.run("echo $?"), shell.modes()

    alike(scenario)


def test_a_job_in_the_background_stops_when_it_writes_where_the_terminal_says_so(alike, tmp_path):
    def scenario(path):
        with Shell(path, tmp_path) as shell:
            shell.run("stty tostop")
            shown = shell.run("q sh -c 'echo words; exit 4' &")
            job = psutil.Process(shell.pid).children()[0]
            shell.wait_until(lambda: is_stopped(job), "the job to stop")
            shown += shell.run("true") and b""
            return shown, shell.run("fg").replace(b"words", b""), shell.run("echo $?"), shell.modes()

    alike(scenario)


@pytest.mark.parametrize("argv", [("zsh", "-f"), ("bash", "--norc", "--noprofile", "-i")], ids=["zsh", "bash"])
def test_other_shells(alike, tmp_path, argv):
    """A shell's words only, since zsh draws its lines anew with each key."""

    def scenario(path):
        with Terminal(argv, PATH=path, PS1="@ ", HISTFILE=None, ENV=None) as shell:
            shell.send(b"PS1='@ '; echo u''p\n")
            shell.wait_for(b"up")
            shell.send(b"q sh -c 'echo begu''n; exec cat'\n")
            shell.wait_for(b"begun\r\n")
            shell.send(STOP)
            shell.wait_for(b"topped")
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
