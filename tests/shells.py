"""Interactive shells on terminals, into which the tests type."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import psutil

from qrec.api import Qrec, Query
from qrec.task import Task
from tests.helpers import is_called
from tests.terminals import INTR, STOP, Terminal

PRESS_AGAIN = 3.0  #: seconds until somebody at the keyboard would do so
ARGV = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
    "fish": ("fish", "--no-config", "-i", "-C", "function fish_prompt; echo '@ '; end"),
}
INIT = {
    "bash": 'eval "$(qrec init bash)"',
    "zsh": 'eval "$(qrec init zsh)"',
    "fish": "qrec init fish | source",
}


class Shell(Terminal):
    """A shell that was set up by `qrec init`, unless `init` is another line.

    A line behind a space is not recorded: the tests ask with such ones.
    """

    def __init__(self, kind: str, folder: Path, init: str | None = None, **changes: str | None) -> None:
        self.kind = kind
        self.marks = itertools.count(100)
        plain: dict[str, str | None] = {
            "TERM": "xterm", "PS1": "@ ", "HISTFILE": None, "QREC_SHELL_TYPED": "1", "fish_greeting": "", **changes
        }  # fmt: skip
        super().__init__(ARGV[kind], (50, 200), **plain)
        self.type(f" cd '{folder}'")
        self.type(INIT[kind] if init is None else init)

    def __enter__(self) -> Shell:
        return self

    def type(self, *lines: str) -> None:
        """Type lines, and wait until the shell has done with them."""
        for line in lines:
            self.send(line.encode() + b"\r")
        self.settle()

    def settle(self) -> None:
        """Wait until the shell has read all that was typed."""
        mark = next(self.marks)
        sum_of = f"(math {mark} + 1000)" if self.kind == "fish" else f"$(({mark} + 1000))"
        self.send(f" echo '<'{sum_of}'>'\r".encode())
        self.wait_for(b"<%d>" % (mark + 1000))
        self.wait_for(b"@ ")  # what is typed before that is not edited, and thrown away by Ctrl-C

    def interrupt(self, key: bytes = INTR) -> None:
        """Press Ctrl-C, or another key that the terminal takes, and wait for a prompt: it throws away what is typed."""
        self.look()
        self.taken = len(self.seen)
        wanted = (b"^Z" if key == STOP else b"^C") if self.kind == "fish" else b"@ "
        again = 0.0
        while wanted not in self.seen[self.taken :]:  # bash overlooks one that comes right before it reads
            if time.monotonic() > again:
                again = time.monotonic() + PRESS_AGAIN
                self.send(key)
            if not self.look(0.2):
                break
        self.wait_for(wanted)
        self.settle()

    def runs(self, name: str) -> list[psutil.Process]:
        """The processes of that program which it, or one of its children, has started."""
        return [one for one in psutil.Process(self.pid).children(recursive=True) if is_called(one, name)]

    def ask(self, words: str) -> str:
        """What a command prints, without its being recorded."""
        mark = next(self.marks)
        self.send(f" echo '<''{mark}:'; {words}; echo ':''{mark}>'\r".encode())
        self.wait_for(b"<%d:\r\n" % mark)
        told = self.wait_for(b":%d>" % mark).decode()
        self.wait_for(b"@ ")
        return told.removesuffix(f":{mark}>").replace("\r\n", "\n").strip("\n")


def typed() -> list[Task]:
    """The lines that were recorded as typed, in their order."""
    return sorted(Qrec().find(Query(executor="typed"), None), key=lambda task: task.created)


def lines() -> list[str]:
    """The same as text."""
    return [task.command for task in typed()]


def spools(home: Path) -> list[Path]:
    """The files to which shells append."""
    return sorted(home.glob("typed/*"))


def spooled(home: Path) -> bytes:
    """All that is in them."""
    return b"".join(path.read_bytes() for path in spools(home))
