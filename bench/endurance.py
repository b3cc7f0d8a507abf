"""What a long run costs while it is recorded, and how large the index of its output grows.

    python bench/endurance.py [--seconds 120] [--bytes 1e9]

Run it with the Python of an environment that holds qrec (installed, not editable).  The CPU of qrec itself is read from
/proc as the run goes on, so what stands before the command does not count; next to it that of con-duct, if it is there.
"""

from __future__ import annotations

import argparse
import glob
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

BIN = os.path.dirname(sys.executable)
SETTLED = 10  #: seconds after the start in which sampling is quick, and which are shown by themselves
TICKS = os.sysconf("SC_CLK_TCK")

#: How the output comes, by what it is called: a program that writes so many bytes to stdout and stderr together.
RHYTHMS = {
    "one stream, 1 MB writes": "b = b'x' * 999_999 + b'\\n'\nfor _ in range(n // len(b)): w(1, b)",
    "one stream, lines of 66 bytes": "b = b'x' * 65 + b'\\n'\nfor _ in range(n // len(b)): w(1, b)",
    "both streams in turn, lines of 66 bytes": "b = b'x' * 65 + b'\\n'\nfor i in range(n // len(b)): w(1 + i % 2, b)",
}


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used, without its children."""
    with open(f"/proc/{pid}/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def endurance(name: str, argv: Sequence[str], seconds: float) -> str:
    """A row: CPU in percent of a core while the recorded command sleeps."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "QREC_HOME": home, "DUCT_OUTPUT_PREFIX": os.path.join(home, "duct")}
        null = subprocess.DEVNULL
        process = subprocess.Popen([*argv, "sleep", "100000"], env=environment, stdin=null, stdout=null, stderr=null)
        time.sleep(1)
        first = cpu_of(process.pid)
        time.sleep(SETTLED)
        second = cpu_of(process.pid)
        time.sleep(seconds)
        third = cpu_of(process.pid)
        process.send_signal(signal.SIGTERM)
        subprocess.run(["pkill", "-f", "sleep 100000"], check=False)
        process.wait()
    early, late = (second - first) / SETTLED * 100, (third - second) / seconds * 100
    return f"| {name} | {early:.2f} % | **{late:.3f} %** |"


def index(name: str, program: str, size: int) -> str:
    """A row: bytes of the timing index for an output of so many bytes."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "QREC_HOME": home}
        script = f"import os\nw, n = os.write, {size}\n{program}"
        null = subprocess.DEVNULL
        words = [os.path.join(BIN, "qrec"), "-q", "run", sys.executable, "-c", script]
        subprocess.run(words, env=environment, stdout=null, stderr=null, check=True)
        (folder,) = glob.glob(os.path.join(home, "attempts", "*", "*"))
        sizes = {file: os.path.getsize(os.path.join(folder, file)) for file in os.listdir(folder)}
    written = sizes.get("stdout", 0) + sizes.get("stderr", 0)
    return (
        f"| {name} | {written / 1e6:.0f} | {sizes['timing'] / 1000:.0f} | **{sizes['timing'] / written * 1e6:.0f}** |"
    )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--bytes", type=float, default=1e9)
    given = parser.parse_args()
    print(f"\n| while `sleep` is recorded | first {SETTLED} s | the {given.seconds:g} s after that |\n|---|---|---|")
    recorders = {"qrec run": [os.path.join(BIN, "qrec"), "run"]}
    if os.path.exists(os.path.join(BIN, "con-duct")):
        recorders["con-duct run"] = [os.path.join(BIN, "con-duct"), "run"]
    for name, argv in recorders.items():
        print(endurance(f"`{name}`", argv, given.seconds), flush=True)
    print("\n| output | MB | index kB | kB per GB |\n|---|---|---|---|")
    for name, program in RHYTHMS.items():
        print(index(name, program, int(given.bytes)), flush=True)


if __name__ == "__main__":
    main()
