"""A shell that does what a page says, one command after another."""

from __future__ import annotations

import os
import re
import secrets
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tests.helpers import environment

#: Seconds that one command may take.
LONGEST = 200

#: What a reader has; a pytest without our plug-ins, which take longer to be loaded than the tests of a page.
VARIABLES: dict[str, str | None] = {
    "SHELL": "/bin/bash", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_XDIST_WORKER": None, "PYTEST_ADDOPTS": None,
}  # fmt: skip

#: What bash says of a job that was killed, whenever it happens to notice.
NOTICE = re.compile(r"^bash: line \d+: +\d+ (Killed|Terminated).*\n", re.MULTILINE)


class Shell:
    """A bash that is told one command after another, as by a person: folder, variables and jobs stay."""

    def __init__(self, folder: Path) -> None:
        self.environment = environment({"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **VARIABLES})
        # a pytest tidies up what others have left where it puts its folders, which may be much
        self.environment["PYTEST_DEBUG_TEMPROOT"] = str(folder.parent)
        self.process = self.started(["bash", "--norc", "--noprofile"], folder, subprocess.PIPE)

    def started(self, words: list[str], folder: Path, stdin: int) -> subprocess.Popen[bytes]:
        """A process with both its streams in one pipe."""
        return subprocess.Popen(
            words, cwd=folder, env=self.environment, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, str]:
        """The code of a command and what it printed, on both streams."""
        mark = f"\n{secrets.token_hex(8)} "
        words = f"eval {shlex.quote(command)} </dev/null; printf {shlex.quote(mark + '%d')}'\\n' $?\n"
        stdin, stdout = pipes_of(self.process)
        stdin.write(words.encode())
        stdin.flush()
        text = read_until(stdout, lambda text: mark in text and text.endswith("\n"))
        printed, found, code = text.partition(mark)
        assert found, f"{command!r} did not end in {LONGEST} s, or ended the shell; it printed:\n{text}"
        return int(code.split()[0]), NOTICE.sub("", printed)

    def interrupt(self, command: str, is_enough: Callable[[str], bool]) -> tuple[str, str]:
        """What a command printed that goes on until Ctrl-C, before and after; that is pressed when it is enough."""
        folder = Path(self.run("pwd")[1].strip())
        process = self.started(["bash", "-c", f"exec {command}"], folder, subprocess.DEVNULL)
        assert process.stdout
        with process.stdout as stdout:
            before = read_until(stdout, is_enough)
            os.killpg(process.pid, signal.SIGINT)
            rest = read_until(stdout, lambda text: False)
            process.wait(LONGEST)
        return before, rest

    def close(self) -> None:
        """End it; what it has started is for others to find."""
        self.process.kill()
        self.process.wait()
        for pipe in pipes_of(self.process):
            pipe.close()


def pipes_of(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert process.stdin
    assert process.stdout
    return process.stdin, process.stdout


def read_until(pipe: IO[bytes], is_enough: Callable[[str], bool]) -> str:
    """What comes through a pipe until it is enough, or nothing more comes, or it takes too long."""
    deadline = time.monotonic() + LONGEST
    got = b""
    while not is_enough(got.decode(errors="replace")):
        if not select.select([pipe], [], [], max(0, deadline - time.monotonic()))[0]:
            break
        piece = os.read(pipe.fileno(), 1 << 16)
        if not piece:
            break
        got += piece
    return got.decode(errors="replace")
