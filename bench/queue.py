"""What a queue costs, side by side with what people use instead.

    python bench/queue.py [--jobs 2000] [--rounds 5] [--large 100000] [--cmd-queue PYTHON]

Run it with the Python of an environment that holds qrec.  GNU parallel, make and a Python with cmd_queue are taken if
they are there.  Every tool runs the same jobs in turn, round by round: machines are shared and noisy, so only the ratio
within a round means something.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

BIN = os.path.dirname(sys.executable)
QREC = os.path.join(BIN, "qrec")
CMD_QUEUE = """
import random, sys
import cmd_queue
backend, jobs, tangled = sys.argv[1], int(sys.argv[2]), sys.argv[3] == "tangled"
queue = cmd_queue.Queue.create(backend=backend, name="bench", size=2)
rnd, known = random.Random(1), []
for number in range(jobs):
    depends = rnd.sample(known[-50:], min(len(known), rnd.randrange(3))) if tangled else None
    known.append(queue.submit("true", name=f"j{number}", depends=depends))
how = {"verbose": 0} if backend == "serial" else {"monitor": "none", "other_session_handler": "ignore"}
queue.run(block=True, **how)
"""


class Place:
    """A folder of its own for every run, with a home of qrec in it."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix="bench")
        self.environment = {
            **os.environ, "QREC_HOME": self.at("home"), "XDG_CACHE_HOME": self.at("cache"), "HOME": self.path,
            "TMUX_TMPDIR": self.path,
        }  # fmt: skip
        self.environment.pop("TMUX", None)

    def at(self, name: str) -> str:
        """A path in it."""
        return os.path.join(self.path, name)

    def write(self, name: str, text: str) -> str:
        """A file in it."""
        with open(self.at(name), "w", encoding="utf-8") as file:
            file.write(text)
        return self.at(name)

    def call(self, *argv: str, codes: tuple[int, ...] = (0,)) -> tuple[float, float]:
        """Wall and CPU seconds of a command with its children."""
        began, before = time.perf_counter(), cpu_of_children()
        done = subprocess.run(
            argv, env=self.environment, cwd=self.path, stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
        cpu = cpu_of_children() - before
        assert done.returncode in codes, (argv, done.stdout[-500:], done.stderr[-500:])
        return time.perf_counter() - began, cpu

    def remove(self) -> None:
        """Everything goes."""
        subprocess.run(["tmux", "kill-server"], env=self.environment, capture_output=True, check=False)
        shutil.rmtree(self.path, ignore_errors=True)


def cpu_of_children() -> float:
    """CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# The tools; each returns the seconds that so many `true` took


def xargs(place: Place, jobs: int) -> float:
    """The reference: it records nothing."""
    return place.call("sh", "-c", f"yes | head -{jobs} | xargs -P2 -I_ true")[0]


def make(place: Place, jobs: int) -> float:
    """It records nothing either."""
    names = " ".join(f"j{number}" for number in range(jobs))
    path = place.write("Makefile", f".PHONY: all {names}\nall: {names}\n{names}:\n\t@true x\n")
    return place.call("make", "-s", "-j2", "-f", path)[0]


def parallel(place: Place, jobs: int) -> float:
    """GNU parallel, which records times and codes in its job log."""
    path = place.write("jobs", "true\n" * jobs)
    return place.call("sh", "-c", f"parallel --will-cite --joblog {place.at('log')} -j2 < {path}")[0]


def qrec(place: Place, jobs: int, tangled: bool = False) -> float:
    """All of it: two slots, output, usage, facts."""
    submit(place, jobs, tangled)
    return place.call(QREC, "-q", "queue", "run", "--workers", "2")[0]


def qrec_tangled(place: Place, jobs: int) -> float:
    """The same with random dependencies."""
    return qrec(place, jobs, tangled=True)


def submit(place: Place, jobs: int, tangled: bool, each: int = 3, reach: int = 50) -> tuple[float, float]:
    """Submit so many `true` from a file; what it took."""
    rnd = random.Random(1)
    lines = []
    for number in range(jobs):
        parents = {
            f'"j{rnd.randrange(max(0, number - reach), number)}"' for _ in range(each if tangled and number else 0)
        }
        lines.append(f'{{"name": "j{number}", "argv": ["true"], "depends": [{", ".join(sorted(parents))}]}}\n')
    path = place.write("jobs.jsonl", "".join(lines))
    return place.call(QREC, "-q", "queue", "submit", "--from", path)


def cmd_queue(python: str, backend: str, tangled: bool) -> Callable[[Place, int], float]:
    """cmd_queue, less the time in which it does the same with no job at all."""

    def run(place: Place, jobs: int) -> float:
        path = place.write("cq.py", CMD_QUEUE)
        how = "tangled" if tangled else "plain"
        return place.call(python, path, backend, str(jobs), how)[0]

    return run


def compare(tools: dict[str, tuple[Callable[[Place, int], float], int]], jobs: int, rounds: int) -> None:
    """A table: jobs a second, and the ratio to xargs in the same round."""
    rates: dict[str, list[float]] = {name: [] for name in tools}
    for _ in range(rounds):
        for name, (tool, share) in tools.items():
            place = Place()
            try:
                number = max(1, jobs // share)
                rates[name].append(number / tool(place, number))
            finally:
                place.remove()
    reference = rates["`xargs -P2`"]
    print(f"\n| {jobs:,} `true`, two slots | jobs/s | to xargs |\n|---|---|---|")
    for name, found in rates.items():
        ratios = sorted(one / other for one, other in zip(found, reference, strict=True))
        span = f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        print(f"| {name} | {statistics.median(found):.0f} | **{statistics.median(ratios):.2f}** {span} |", flush=True)


def all_tools(python: str | None) -> dict[str, tuple[Callable[[Place, int], float], int]]:
    """What there is; the slow ones get a share of the jobs."""
    tools: dict[str, tuple[Callable[[Place, int], float], int]] = {"`xargs -P2`": (xargs, 1), "`make -j2`": (make, 1)}
    tools["`qrec queue run`"] = (qrec, 1)
    tools["`qrec queue run`, random dependencies"] = (qrec_tangled, 1)
    if shutil.which("parallel"):
        tools["GNU parallel `--joblog`"] = (parallel, 2)
    if python:
        tools["cmd_queue serial"] = (cmd_queue(python, "serial", False), 2)
        tools["cmd_queue tmux, random dependencies"] = (cmd_queue(python, "tmux", True), 10)
    return tools


# A large queue


def large(jobs: int) -> None:
    """Submit a large queue from a file, run it, and see that nothing grows."""
    place = Place()
    try:
        wall, cpu = submit(place, jobs, tangled=True, reach=20_000)
        peak = peak_of([QREC, "queue", "submit", "second", "--from", place.at("jobs.jsonl")], place)
        print(f"\n{jobs:,} jobs with {3 * jobs:,} random dependencies: submitted from a file in {wall:.1f} s ", end="")
        print(f"({cpu:.1f} s of CPU, {peak:.0f} MB)", flush=True)
        program = place.write("watch.py", WATCH)
        done = subprocess.run(
            [sys.executable, program, str(jobs)], env=place.environment, capture_output=True, text=True, check=False
        )
        print(done.stdout, done.stderr[-1000:], end="", flush=True)
    finally:
        place.remove()


WATCH = """
import resource, sys, time
from qrec.api import Qrec
from qrec.jobs import Jobs
from qrec.worker import Worker

jobs = int(sys.argv[1])
door, ended, order = Qrec(), 0, {}
step = jobs // 10
marks = [(time.perf_counter(), time.process_time())]

def told(task):
    global ended
    if task.status.is_final:
        order[task.uid] = ended
        ended += 1
        if ended % step == 0:
            marks.append((time.perf_counter(), time.process_time()))
    else:
        assert all(parent in order for parent in task.after), "begun before what it depends on had ended"

worker = Worker(door, "default", chosen={"workers": 2}, told=told)
worker.run()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
parts = [(two[0] - one[0], (two[1] - one[1]) * 1000 / step) for one, two in zip(marks, marks[1:])]
rate = jobs / (marks[-1][0] - marks[0][0])
print(f"run: {rate:.0f} jobs/s, {peak:.0f} MB; the worker's CPU a job, tenth by tenth, in ms:",
      " ".join(f"{cpu:.2f}" for _, cpu in parts))
print("all complete:", Jobs(door).counts() == {"complete": jobs})
"""


def peak_of(argv: list[str], place: Place) -> float:
    """The peak of memory of a command, in MB."""
    null = os.open(os.devnull, os.O_RDWR)
    pid = os.posix_spawn(
        argv[0], argv, place.environment, file_actions=[(os.POSIX_SPAWN_DUP2, null, n) for n in (0, 1, 2)]
    )
    os.close(null)
    return os.wait4(pid, 0)[2].ru_maxrss / 1000


# Small things


def small(rounds: int) -> None:
    """One submit against bare Python, a chain shown, an idle worker, and how soon it begins."""
    place = Place()
    try:
        rows = []
        for _ in range(rounds + 1):
            one = place.call(QREC, "-q", "queue", "submit", "--", "true")[1]
            rows.append((one, place.call(sys.executable, "-c", "pass")[1]))
        ratios = [one / bare for one, bare in rows[1:]]
        print(f"\n`queue submit` of one job: {statistics.median(ratios):.1f} times `python -c pass` (CPU)")
        lines = [f'{{"name": "c{n}", "argv": ["true"], "depends": {"[]" if not n else f"""["c{n - 1}"]"""}}}\n'
                 for n in range(5000)]  # fmt: skip
        place.call(QREC, "-q", "queue", "submit", "chain", "--from", place.write("chain", "".join(lines)))
        shown = statistics.median(place.call(QREC, "queue", "show", "chain")[0] for _ in range(3))
        version = statistics.median(place.call(QREC, "--version")[0] for _ in range(3))
        print(f"`queue show` of a chain of 5,000 jobs: {shown:.2f} s, of which `qrec --version` takes {version:.2f}")
        idle(place)
    finally:
        place.remove()


def idle(place: Place) -> None:
    """What a waiting worker costs, and how soon a job begins."""
    place.call(QREC, "queue", "new", "idle")
    worker = subprocess.Popen([QREC, "-q", "queue", "run", "idle", "--keep"], env=place.environment)
    time.sleep(3)
    before = cpu_of(worker.pid)
    time.sleep(20)
    print(f"an idle `queue run --keep`: {(cpu_of(worker.pid) - before) / 20 * 100:.2f} % of a core")
    delays = []
    for number in range(20):
        mark = place.at(f"mark{number}")
        place.call(QREC, "-q", "queue", "submit", "idle", "--", "touch", mark)
        submitted = time.time()
        while not os.path.exists(mark):
            time.sleep(0.001)
        delays.append(os.stat(mark).st_mtime - submitted)
    worker.terminate()
    worker.wait()
    delays.sort()
    print(f"a job begins {delays[10] * 1000:.0f} ms (at most {delays[-1] * 1000:.0f} ms) after `submit` has returned")


def cpu_of(pid: int) -> float:
    """CPU seconds of a process."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def read_versions() -> Iterator[str]:
    """What is compared with."""
    for argv in (["parallel", "--version"], ["make", "--version"], ["xargs", "--version"]):
        if shutil.which(argv[0]):
            said = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
            yield re.split(r"\n", said)[0]


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", type=int, default=100_000)
    parser.add_argument("--cmd-queue", metavar="PYTHON")
    parser.add_argument("--only", choices=("compare", "large", "small"))
    given = parser.parse_args()
    print("; ".join(read_versions()))
    if given.only in (None, "compare"):
        compare(all_tools(given.cmd_queue), given.jobs, given.rounds)
    if given.only in (None, "small"):
        small(given.rounds)
    if given.only in (None, "large"):
        large(given.large)


if __name__ == "__main__":
    main()
