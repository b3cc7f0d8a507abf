"""What the dashboard's server costs, and how quickly it answers; what a browser adds is not measured here.

    python bench/dashboard.py [--home DIR] [--clients 100]

From a commit in another process to the page's socket, on both stores; what a server costs that has nothing to do, and
one that many pages watch; every kind of list over the large store that `million.py --home DIR` has made there.  Run it
with the Python of an environment that holds qrec.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

sys.path.append(str(Path(__file__).resolve().parent.parent))

from qrec.registry import Registry
from tests.dashboard.served import Served

PROGRAM = [sys.executable, "-m", "qrec"]
COMMITS = 100
IDLE = 20.0  #: seconds
BUSY = 10.0
RUNNING = 10
LISTS = (
    "", "sort=seconds", "sort=memory", "order=asc", "status=failed", "status=running", "code=7", "host=x", "tag=x",
    "cwd=/home/ada/project3", "longer=1h", "since=1h", "q=warning", "q=xyzzyplugh", "q=qqqqzzzz", "q=warning+train.py",
)  # fmt: skip


@contextmanager
def server(home: Path, store: str) -> Iterator[Served]:
    """A server of a home, until the end of the `with`."""
    words = [*PROGRAM, "--home", str(home), "--store", store, "start", "--no-open", "--port", "0"]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield Served(process, home)
    finally:
        process.terminate()
        process.communicate()


def cpu(served: Served, seconds: float) -> float:
    """Per cent of a core that the server takes for so long."""
    process = psutil.Process(served.process.pid)
    before = process.cpu_times()
    time.sleep(seconds)
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds * 100


def follow(home: Path, kind: str) -> None:
    """From a commit to the socket, and what it costs to wait for one."""
    subprocess.run([*PROGRAM, "--home", str(home), "--store", kind, "run", "-q", "true"], check=True)
    store = Registry(str(home)).store(str(home), kind)
    uid = store.numbered(1).uid
    delays = []
    with server(home, kind) as served, served.connect() as page:
        page.watch({"tasks": True})
        for turn in range(COMMITS):
            time.sleep(0.15)
            heard = len(page.heard)
            store.change(uid, message=str(turn))
            began = time.perf_counter()
            while len(page.heard) == heard:
                time.sleep(0.0002)
            delays.append((time.perf_counter() - began) * 1000)
        delays.sort()
        idle = cpu(served, IDLE)
    print(
        f"| {kind} | {delays[COMMITS // 2]:.1f} | {delays[COMMITS * 95 // 100]:.1f} | {delays[-1]:.1f} | {idle:.2f} |"
    )


def crowd(home: Path, clients: int) -> None:
    """What many pages cost."""
    loop = "while :; do echo line; sleep 0.1; done"
    words = [*PROGRAM, "--home", str(home), "run", "-q", "sh", "-c", loop]
    with ExitStack() as opened:
        for _ in range(RUNNING):
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            opened.callback(process.wait)
            opened.callback(process.terminate)
        served = opened.enter_context(server(home, "sqlite"))
        while (running := served.get("/tasks.json?status=running").json["tasks"]) and len(running) < RUNNING:
            time.sleep(0.1)
        for number in range(clients):
            page = opened.enter_context(served.connect())
            page.watch({"tasks": True})
            page.watch({"task": running[number % len(running)]["uid"]})
        spent = cpu(served, BUSY)
    print(f"\n{clients} pages and {RUNNING} running tasks, each printing ten lines a second: {spent:.1f} % of a core")


def lists(home: Path) -> None:
    """How long each kind of list takes over a long history."""
    with server(home, "sqlite") as served:
        told = served.get("/tasks.json?limit=1").json
        print(f"\n| of {told['total']:,} tasks | median ms | worst ms | rows | all looked at |\n|---|---|---|---|---|")
        for words in LISTS:
            times = []
            for _ in range(7):
                began = time.perf_counter()
                told = served.get(f"/tasks.json?{words}").json
                times.append((time.perf_counter() - began) * 1000)
            rows, whole = len(told["tasks"]), "no" if told["partial"] else "yes"
            print(f"| `{words or 'all'}` | {statistics.median(times):.0f} | {max(times):.0f} | {rows} | {whole} |")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, help="where million.py has left its stores")
    parser.add_argument("--clients", type=int, default=100)
    given = parser.parse_args()
    print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores\n")
    print("| store | commit to socket, median ms | p95 | worst | idle, % of a core |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("sqlite", "filesystem"):
            follow(Path(folder) / kind, kind)
        crowd(Path(folder) / "crowd", given.clients)
    for large in sorted(given.home.glob("sqlite-*0")) if given.home else ():
        lists(large)


if __name__ == "__main__":
    main()
