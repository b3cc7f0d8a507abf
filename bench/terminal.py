"""What `qrec run` costs a command that prints much to a terminal, side by side with script(1) and with nothing.

    python bench/terminal.py [--runs 3] [--bytes 200e6]

Run it with the Python of an environment that holds qrec (installed, not editable).  The commands print lines of 66
bytes to a pseudo-terminal that this program empties.  CPU time is that of the command and what records it, without the
reader; each is run in turn with the bare command, A B A B ..., and the ratios are taken pair by pair.
"""

from __future__ import annotations

import argparse
import os
import platform
import pty
import shlex
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence

BIN = os.path.dirname(sys.executable)


class Cost:
    """CPU and wall seconds of a command in a terminal, emptied by us."""

    def __init__(self, argv: Sequence[str], expected: int, environment: dict[str, str]) -> None:
        began = time.perf_counter()
        pid, master = pty.fork()
        if not pid:
            os.execvpe(argv[0], list(argv), environment)
        shown = drain(master)
        _, status, usage = os.wait4(pid, 0)
        os.close(master)
        assert status == 0, argv
        assert shown == expected, f"{argv} showed {shown} bytes"
        self.wall = time.perf_counter() - began
        self.cpu = usage.ru_utime + usage.ru_stime


def drain(master: int) -> int:
    """Read to the end; return how many bytes there were."""
    shown = 0
    try:
        while block := os.read(master, 1 << 16):
            shown += len(block)
    except OSError:  # EIO: the other end is closed
        pass
    return shown


def compare(name: str, argv: Sequence[str], reference: Sequence[str], expected: int, runs: int) -> str:
    """A row of the table: medians, and the medians of the ratios pair by pair."""
    pairs = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "QREC_HOME": home}
            pairs.append((Cost(argv, expected, environment), Cost(reference, expected, environment)))
    cpu, wall = (statistics.median(getattr(one, figure) for one, _ in pairs) for figure in ("cpu", "wall"))
    cpus = sorted(one.cpu / two.cpu for one, two in pairs)
    walls = sorted(one.wall / two.wall for one, two in pairs)
    return (
        f"| {name} | {cpu:.2f} | **{statistics.median(cpus):.2f}** ({cpus[0]:.2f} to {cpus[-1]:.2f}) "
        f"| {wall:.2f} | **{statistics.median(walls):.2f}** ({walls[0]:.2f} to {walls[-1]:.2f}) |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--bytes", type=float, default=200e6)
    given = parser.parse_args()
    lines = int(given.bytes) // 66
    system = f"{platform.system()} {platform.release().split('-')[0]}, {os.cpu_count()} cores"
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {system}, median of {given.runs} pairs")
    print(f"\n| {lines * 66 / 1e6:g} MB to a terminal | CPU s | ratio to the bare command | wall s | ratio |")
    print("|---|---|---|---|---|")
    with tempfile.NamedTemporaryFile() as file:
        for start in range(0, lines, 10000):
            file.write((b"0123456789" * 6 + b"abcde\n") * min(10000, lines - start))
        file.flush()
        bare = ["cat", file.name]
        rows = {
            "`qrec run cat FILE`": [os.path.join(BIN, "qrec"), "run", "-q", *bare],
            "`qrec run --one-stream cat FILE`": [os.path.join(BIN, "qrec"), "run", "-q", "--one-stream", *bare],
            "`script -qec 'cat FILE' COPY`": ["script", "-qec", shlex.join(bare), file.name + ".copy"],
        }
        try:
            for name, argv in rows.items():
                print(compare(name, argv, bare, lines * 67, given.runs), flush=True)
        finally:
            if os.path.exists(file.name + ".copy"):
                os.unlink(file.name + ".copy")


if __name__ == "__main__":
    main()
