"""What a prompt costs in a shell that notes what is typed, beside one that does not.

    python bench/shell.py [--prompts 300]

Two interactive shells of a kind, on pseudo-terminals, are given the same line in turn, A B A B ...: one was set up by
`qrec init`, the other was not.  Each is timed from the Enter key to its next prompt; what counts is the median of the
differences.  Run it with the Python of an environment that holds qrec.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import platform
import pty
import select
import signal
import statistics
import struct
import sys
import tempfile
import termios
import time

BIN = os.path.dirname(sys.executable)
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], 'eval "$(qrec init bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'eval "$(qrec init zsh)"'),
    "fish": (["fish", "--no-config", "-i", "-C", "function fish_prompt; set -g n (math 0$n + 1); echo -n p$n'> '; end"],
             "qrec init fish | source"),
}  # fmt: skip
#: What is switched on: nothing, the light record, and that with patterns of lines to leave out and to record whole.
SET_UP = {
    "typed": {"QREC_SHELL_TYPED": "1"},
    "typed, ignore, record": {
        "QREC_SHELL_TYPED": "1", "QREC_SHELL_IGNORE": "^vault \n--quiet", "QREC_SHELL_RECORD": "^(python|make) ",
    },
}  # fmt: skip
LINES = {"true": "true", "a long one": "true " + "--name=value/of/some/length " * 12}


class Shell:
    """An interactive shell at its prompt."""

    def __init__(self, kind: str, home: str, init: str, settings: dict[str, str]) -> None:
        argv, _ = SHELLS[kind]
        self.kind = kind
        self.prompts = 0
        self.pid, self.master = pty.fork()
        if not self.pid:
            path = f"{BIN}:{os.environ['PATH']}"
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
            os.chdir(home)
            os.environ.update(TERM="xterm", QREC_HOME=home, HOME=home, PATH=path, fish_greeting="", **settings)
            os.execvp(argv[0], argv)
        self.wait()
        self.take(f" {init}")

    def mark(self) -> bytes:
        """What is shown once for each prompt, however often it is drawn."""
        return b"p%d> " % self.prompts if self.kind == "fish" else b"\x1b[?2004h"

    def wait(self) -> None:
        """Wait for the next prompt."""
        self.prompts += 1
        seen = b""
        while self.mark() not in seen:
            if not select.select([self.master], [], [], 30)[0]:
                raise TimeoutError(repr(seen))
            seen += os.read(self.master, 65536)

    def take(self, line: str) -> tuple[float, float]:
        """How many seconds a line takes, from Enter to the next prompt; and how many of CPU, with its being typed."""
        used = self.used()
        os.write(self.master, line.encode())
        while select.select([self.master], [], [], 0.005)[0]:  # until it is drawn
            os.read(self.master, 65536)
        began = time.perf_counter()
        os.write(self.master, b"\r")
        self.wait()
        return time.perf_counter() - began, self.used() - used

    def used(self) -> float:
        """Seconds of CPU that it has used itself."""
        with open(f"/proc/{self.pid}/schedstat") as file:
            return int(file.read().split()[0]) / 1e9

    def faults(self) -> int:
        """Page faults of the processes it has started and waited for; no more of them, no more processes."""
        with open(f"/proc/{self.pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[8])

    def close(self) -> None:
        """End it."""
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.master)


def row(kind: str, name: str, line: str, prompts: int) -> str:
    """A line of the table."""
    with tempfile.TemporaryDirectory() as home:
        bare = Shell(kind, home, "true", {})
        ours = Shell(kind, home, SHELLS[kind][1], SET_UP[name])
        pairs = []
        for turn in range(prompts + 20):
            before = ours.faults()
            pair = ours.take(LINES[line]), bare.take(LINES[line])
            if turn >= 20:  # the first warm up
                pairs.append(pair)
                assert ours.faults() == before, "a process was started"
        for shell in (bare, ours):
            shell.close()
    return f"| {kind}, {name} | {line} | {compared(pairs, 0)} | {compared(pairs, 1)} |"


def compared(pairs: list[tuple[tuple[float, float], tuple[float, float]]], what: int) -> str:
    """Without, with, and the median of the differences pair by pair, in milliseconds; with the half around it."""
    ours, bare = ([pair[which][what] * 1000 for pair in pairs] for which in (0, 1))
    more = sorted(one - two for one, two in zip(ours, bare, strict=True))
    half = f"{more[len(more) // 4]:.2f} to {more[len(more) * 3 // 4]:.2f}"
    return f"{statistics.median(bare):.2f} | {statistics.median(ours):.2f} | **{statistics.median(more):.2f}** ({half})"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=300)
    given = parser.parse_args()
    system = f"{platform.system()} {platform.release().split('-')[0]}, {os.cpu_count()} cores"
    print(f"{time.strftime('%Y-%m-%d')}, {system}, load {os.getloadavg()[0]:.0f}, {given.prompts} pairs each")
    print("\n| ms | line | Enter to prompt, without | with | more | CPU, without | with | more |")
    print("|---|---|---|---|---|---|---|---|")
    for kind in SHELLS:
        for name in SET_UP:
            for line in LINES:
                print(row(kind, name, line, given.prompts), flush=True)


if __name__ == "__main__":
    main()
