"""What `qrec run` costs, side by side with what people use instead.

    python bench/speed.py [--runs 11] [--bytes 1e9]

Run it with the Python of an environment that holds qrec (installed, not editable) and con-duct; `make bench` makes
one.  Every figure is the CPU time of a whole process with its children, taken in turn with a reference, A B A B ...:
machines are shared and noisy, so only the ratio pair by pair means something.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

BIN = os.path.dirname(sys.executable)


class Cost:
    """CPU and wall seconds, and the peak memory in MB of the largest process."""

    def __init__(self, argv: Sequence[str], environment: dict[str, str], any_code: bool = False) -> None:
        null = os.open(os.devnull, os.O_RDWR)
        began = time.perf_counter()
        streams = [(os.POSIX_SPAWN_DUP2, null, number) for number in (0, 1, 2)]
        pid = os.posix_spawnp(argv[0], list(argv), environment, file_actions=streams)
        os.close(null)
        _, status, usage = os.wait4(pid, 0)
        assert any_code or status == 0, argv
        self.wall = time.perf_counter() - began
        self.cpu = usage.ru_utime + usage.ru_stime
        self.peak = usage.ru_maxrss / 1000


def compare(name: str, argv: Sequence[str], reference: Sequence[str], runs: int, clean: Callable[[], None]) -> str:
    """A row of the table: medians, and the median of the ratios pair by pair."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "QREC_HOME": home, "DUCT_OUTPUT_PREFIX": os.path.join(home, "duct")}
        pairs = []
        for turn in range(runs + 1):
            one = Cost(argv, environment)
            clean()
            two = Cost(reference, environment)
            clean()
            shutil.rmtree(os.path.join(home, "attempts"), ignore_errors=True)
            if turn:  # the first warms up
                pairs.append((one, two))
    cpu = statistics.median(one.cpu for one, _ in pairs)
    other = statistics.median(two.cpu for _, two in pairs)
    ratios = sorted(one.cpu / two.cpu for one, two in pairs)
    walls = statistics.median(one.wall / two.wall for one, two in pairs)
    middle = statistics.median(ratios)
    peak = max(one.peak for one, _ in pairs)
    return (
        f"| {name} | {cpu * 1000:.0f} | {other * 1000:.0f} | **{middle:.2f}** "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {walls:.2f} | {peak:.0f} |"
    )


def start_up(runs: int) -> None:
    """What stands before every command: recording `true`, against Python itself."""
    python = [sys.executable, "-c", "pass"]
    print(
        "\n| before `true` | CPU ms | `python -c pass` ms | ratio | wall ratio | peak MB |\n|---|---|---|---|---|---|"
    )
    rows = {
        "`qrec run true`": [os.path.join(BIN, "qrec"), "run", "true"],
        "`con-duct run true`": [os.path.join(BIN, "con-duct"), "run", "--clobber", "true"],
        "`python -c 'import click'`": [sys.executable, "-c", "import click"],
    }
    for name, argv in rows.items():
        print(compare(name, argv, python, runs, lambda: None), flush=True)


#: What stands in for somebody's executor: no cheaper than the pattern of the ssh example.
PLUG_IN = r"""
from qrec.executors.shell import ShellExecutor

class Executor{number}(ShellExecutor):
    name = "plug{number}"
    pattern = r"^(\S*/)?plug{number}(\s+-[ab]+(?:[xyz]\s*(?:'[^']*'|\S)+|[abc]))*\s+(--\s+)?(?!-)\S+\s+(?!-)\S"
"""


def install(folder: str, number: int) -> None:
    """A distribution with an executor, as pip would put it there."""
    info = os.path.join(folder, f"plug{number}-1.0.dist-info")
    os.mkdir(info)
    files = {
        os.path.join(folder, f"plug{number}.py"): PLUG_IN.format(number=number),
        os.path.join(info, "METADATA"): f"Metadata-Version: 2.1\nName: plug{number}\nVersion: 1.0\n",
        os.path.join(info, "entry_points.txt"): f"[qrec.executors]\nplug{number} = plug{number}:Executor{number}\n",
    }
    for path, text in files.items():
        with open(path, "w") as file:
            file.write(text)


#: What of a call has to do with plug-ins, timed where nothing else is.
PICK = """
import os, time
import qrec.config, qrec.errors, qrec.output, qrec.task
began = time.thread_time()
from qrec.registry import Registry
Registry(os.environ["QREC_HOME"]).pick_executor("true")
print((time.thread_time() - began) * 1000)
"""


def plug_ins(runs: int, count: int = 10) -> None:
    """What plug-ins that have nothing to do with a command add to it; far less than a whole process may vary by."""
    with tempfile.TemporaryDirectory() as none, tempfile.TemporaryDirectory() as some:
        for number in range(count):
            install(some, number)
        for folder in (none, some) * 3:  # until the caches are warm
            pick(folder)
        pairs = [(pick(none), pick(some)) for _ in range(runs * 3)]
    before, after = (statistics.median(column) for column in zip(*pairs, strict=True))
    added = statistics.median(after - before for before, after in pairs)
    heading = f"| picking an executor for `true` | without plug-ins ms | {count} plug-ins ms | added ms |"
    print(f"\n{heading}\n|---|---|---|---|")
    print(f"| CPU | {before:.2f} | {after:.2f} | **{added:.2f}** |", flush=True)


def pick(folder: str) -> float:
    """CPU milliseconds of that with the plug-ins of a folder."""
    environment = {**os.environ, "PYTHONPATH": folder, "QREC_HOME": os.path.join(folder, "home")}
    done = subprocess.run([sys.executable, "-c", PICK], env=environment, check=True, capture_output=True)
    return float(done.stdout)


def throughput(runs: int, size: int) -> None:
    """A large output, against `tee`."""
    with tempfile.TemporaryDirectory() as folder:
        source, copy = os.path.join(folder, "source"), os.path.join(folder, "copy")
        with open(source, "wb") as file:
            block = os.urandom(1 << 20)
            for _ in range(size >> 20):
                file.write(block)
        tee = ["sh", "-c", f"cat {source} | tee {copy}"]
        print(f"\n| {size / 1e9:g} GB | CPU ms | `cat FILE \\| tee COPY` ms | ratio | wall ratio | peak MB |")
        print("|---|---|---|---|---|---|")
        rows = {
            "`qrec run cat FILE`": [os.path.join(BIN, "qrec"), "run", "cat", source],
            "`con-duct run cat FILE`": [os.path.join(BIN, "con-duct"), "run", "--clobber", "cat", source],
        }

        def clean() -> None:
            if os.path.exists(copy):
                os.unlink(copy)

        for name, argv in rows.items():
            print(compare(name, argv, tee, runs, clean), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--bytes", type=float, default=1e9)
    given = parser.parse_args()
    system = f"{platform.system()} {platform.release().split('-')[0]}, {os.cpu_count()} cores"
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}, {system}, median of {given.runs} pairs")
    start_up(given.runs)
    plug_ins(given.runs)
    throughput(given.runs, int(given.bytes))


if __name__ == "__main__":
    main()
