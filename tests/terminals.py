"""Terminals played by the tests: `Terminal`, which sees each byte, and `Tmux`, which sees what a person would see."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.helpers import environment, wait_until

SIZE = (24, 80)
PATIENCE = 40.0  #: seconds; only a failure takes so long
NATIVE = 'exec "$@"'
RECORDED = f'exec {shlex.quote(sys.executable)} -m qrec run -q "$@"'
INTR, QUIT, STOP, EOF = b"\x03", b"\x1c", b"\x1a", b"\x04"


def ways(folder: Path) -> dict[str, str]:
    """Two values of PATH: what a user types as `q COMMAND` runs it plainly with one, through qrec with the other.

    So the same is typed in both, and shells show the same.
    """
    return {name: way(folder / name, line) for name, line in (("native", NATIVE), ("recorded", RECORDED))}


def way(folder: Path, line: str) -> str:
    """A value of PATH with which `q COMMAND` runs that line of sh."""
    folder.mkdir(exist_ok=True)
    (folder / "q").write_text(f"#!/bin/sh\n{line}\n")
    (folder / "q").chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


class Terminal:
    """A program that leads a session on a terminal of its own.

    with Terminal(["cat"]) as terminal:
        terminal.send(b"a\\n")
        terminal.wait_for(b"a\\r\\na\\r\\n")
        terminal.send(EOF)
        assert terminal.end() == 0
    """

    def __init__(self, argv: Sequence[str], size: tuple[int, int] = SIZE, **changes: str | None) -> None:
        self.seen = b""  #: all it has shown
        self.taken = 0  #: how much of that somebody has waited for
        self.code: int | None = None
        variables = environment({"TERM": "dumb", **changes})
        self.pid, self.master = pty.fork()
        if not self.pid:
            self.become(argv, size, variables)
        os.set_blocking(self.master, False)

    def become(self, argv: Sequence[str], size: tuple[int, int], variables: dict[str, str]) -> None:
        """In the child."""
        try:
            set_size(0, size)
            for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)  # ignored by pytest's workers, and by Python: that is inherited
            os.execvpe(argv[0], list(argv), variables)
        finally:
            os._exit(127)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.master)
        if self.code is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)

    def send(self, keys: bytes) -> None:
        """Type."""
        assert os.write(self.master, keys) == len(keys)

    def resize(self, size: tuple[int, int]) -> None:
        """Give the window another size."""
        set_size(self.master, size)

    def modes(self) -> list[Any]:
        """Its modes, as the program at its other end would see them."""
        return termios.tcgetattr(self.master)

    def look(self, patience: float = 0) -> bool:
        """Read what has been shown by now; False when nobody is left to show anything."""
        while select.select([self.master], [], [], patience)[0]:
            try:
                self.seen += os.read(self.master, 65536)
            except BlockingIOError:  # it was less than it seemed
                break
            except OSError:  # EIO: nobody holds the other end
                return False
            patience = 0
        return True

    def wait_for(self, wanted: bytes) -> bytes:
        """Wait until that is shown; return all that was shown since the last time, up to that."""
        deadline = time.monotonic() + PATIENCE
        while (at := self.seen.find(wanted, self.taken)) < 0:
            alive = self.look(0.2)
            assert alive or wanted in self.seen[self.taken :], f"ended before {wanted!r}, seen {self.seen!r}"
            assert time.monotonic() < deadline, f"waited for {wanted!r}, seen {self.seen!r}"
        part = self.seen[self.taken : at + len(wanted)]
        self.taken = at + len(wanted)
        return part

    def wait_until(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait for something that is not to be seen here, without leaving the program to write to a full terminal."""

        def look() -> Any:
            self.look()
            return condition()

        return wait_until(look, PATIENCE, what)

    def end(self) -> int:
        """Wait until the program has ended; return its code, negative for a signal."""

        def ended() -> bool:
            self.look(0.02)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            return bool(pid)

        wait_until(ended, PATIENCE, f"the end, seen {self.seen!r}")
        self.look()
        assert self.code is not None
        return self.code

    def recorder(self) -> psutil.Process:
        """The qrec that runs here."""

        def look() -> list[psutil.Process]:
            return [each for each in psutil.Process(self.pid).children(recursive=True) if is_qrec(each)]

        found: list[psutil.Process] = self.wait_until(look, "qrec to run")
        return found[0]


def is_qrec(process: psutil.Process) -> bool:
    try:
        return process.cmdline()[1:3] == ["-m", "qrec"]
    except psutil.Error:
        return False


def set_size(descriptor: int, size: tuple[int, int]) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))


PROMPT = b"\r\n@ "


class Shell(Terminal):
    """An interactive bash, which has job control, at its prompt."""

    argv = ("bash", "--norc", "--noprofile", "-i")

    def __init__(self, path: str, folder: Path, **changes: str | None) -> None:
        rules = folder / "inputrc"
        rules.write_text("set enable-bracketed-paste off\nset editing-mode emacs\n")
        plain: dict[str, str | None] = {"INPUTRC": str(rules), "HISTFILE": None, "PS1": "@ ", "PATH": path}
        super().__init__(self.argv, (24, 200), **{**plain, **changes})
        self.send(b"echo up\n")
        self.wait_for(b"\r\nup" + PROMPT)

    def __enter__(self) -> Shell:
        return self

    def run(self, line: str) -> bytes:
        """Type a line and wait for the next prompt; return what was shown between."""
        self.start(line)
        return self.prompt()

    def start(self, line: str) -> None:
        """Type a line and wait until the shell has taken it."""
        self.send(line.encode() + b"\n")
        self.wait_for(line.encode() + b"\r\n")

    def prompt(self) -> bytes:
        """Wait for the next prompt; return what was shown before."""
        if self.seen[: self.taken].endswith(b"\r\n"):
            self.taken -= 2  # the prompt may follow it at once
        return masked(self.wait_for(PROMPT).removesuffix(PROMPT).removeprefix(b"\r\n"))

    def job(self) -> psutil.Process:
        """The leader of its only job."""
        (process,) = psutil.Process(self.pid).children()
        return process


def masked(text: bytes) -> bytes:
    """Without the numbers of processes and terminals."""
    return re.sub(rb"/dev/pts/\d+", b"/dev/pts/N", re.sub(rb"^(\[\d+\][+-]?) \d+", rb"\1 PID", text, flags=re.M))


class Tmux:
    """A window of tmux with a shell, on a server of its own; `inside` a folder, or the one above `folder`."""

    quiet = 0.3  #: seconds without a change after which a screen counts as drawn

    def __init__(self, path: str, folder: Path, size: tuple[int, int] = SIZE, inside: Path | None = None) -> None:
        self.name = f"qrec-test-{os.getpid()}-{folder.name}"
        script = folder / "bashrc"
        script.write_text(
            f"PATH={shlex.quote(path)}; PS1='@ '; unset HISTFILE; cd {shlex.quote(str(inside or folder.parent))}\n"
            "bind 'set enable-bracketed-paste off'; shopt -u checkwinsize; set +o history\n"
        )
        rows, columns = size
        (folder / "tmux.conf").write_text("set -g status off\nset -g escape-time 0\nset -g default-terminal screen\n")
        self.call("-f", str(folder / "tmux.conf"), "new-session", "-d", "-x", str(columns), "-y", str(rows),
                  f"exec bash --noprofile --rcfile {shlex.quote(str(script))} -i")  # fmt: skip

    def __enter__(self) -> Tmux:
        return self

    def __exit__(self, *_: object) -> None:
        self.call("kill-server")

    def call(self, *words: str) -> str:
        return subprocess.run(["tmux", "-L", self.name, *words], check=True, capture_output=True, text=True).stdout

    def type(self, text: str) -> None:
        """Type that literally."""
        self.call("send-keys", "-l", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys by tmux's names for them."""
        self.call("send-keys", *keys)

    def resize(self, size: tuple[int, int]) -> None:
        rows, columns = size
        self.call("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> str:
        """What is to be seen, and where the cursor is."""
        where = "#{cursor_x},#{cursor_y} #{?cursor_flag,shown,hidden} #{?alternate_on,alternate,normal}"
        return self.call("display-message", "-p", where, ";", "capture-pane", "-p", "-e")

    def settle(self, wanted: str) -> str:
        """Wait until that is to be seen and nothing changes any more; return what is to be seen then."""
        deadline = time.monotonic() + PATIENCE
        last, since = "", time.monotonic()
        while not (has(plain(last), wanted) and time.monotonic() - since > self.quiet):
            assert time.monotonic() < deadline, f"waited for {wanted!r}, seen:\n{plain(last)}"
            time.sleep(0.03)
            if (now := self.screen()) != last:
                last, since = now, time.monotonic()
        return last


def has(shown: str, wanted: str) -> bool:
    """Whether that is to be seen; a prompt, "@", only with nothing behind it."""
    return "@" in map(str.rstrip, shown.splitlines()) if wanted == "@" else wanted in shown


def plain(screen: str) -> str:
    """A screen without its colours."""
    return re.sub(r"\x1b\[[0-9;]*m|[\x0e\x0f]", "", screen)
