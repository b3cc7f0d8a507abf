"""What a long history costs: a store of a million tasks against a store of one.

    python bench/million.py [--tasks 1000000] [--runs 11] [--home DIR]

Makes the stores (kept in --home if it is given, and made once), then takes each verb's CPU time on the large store and
on a store of one task in turn; the difference is what the history costs.  Run it with the Python of an environment
that holds qrec, installed and not editable.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial

from speed import BIN, Cost

from qrec.stores.base import Bundle
from qrec.stores.filesystem import FilesystemStore
from qrec.stores.sqlite import SqliteStore
from qrec.task import Kept, Status, Task, new_uid, timestamp

BATCH = 5_000
NEEDLE = "xyzzyplugh"
OUTPUT = 500  #: bytes of output of each task
PROGRAMS = ("make", "python train.py", "gcc -O2 -c", "git log", "pytest -x", "bwa mem", "grep -rn", "cargo build")
SYLLABLES = "ba co de fi ga hu in jo ke lo mi nu or pa qua re si ta un ver wo xe yo za ing tion er st".split()
LEVELS = ("INFO", "INFO", "INFO", "DEBUG", "WARNING", "ERROR")


class Author:
    """Writes commands and logs from a vocabulary in which, as in real text, few words are most of what is said."""

    def __init__(self) -> None:
        self.dice = random.Random(7)
        words = ["".join(self.dice.choices(SYLLABLES, k=self.dice.randint(1, 4))) for _ in range(20_000)]
        self.words = self.dice.choices(words, weights=[1 / (rank + 1) for rank in range(len(words))], k=200_000)

    def some(self, count: int) -> str:
        """So many words."""
        start = self.dice.randrange(len(self.words) - count)
        return " ".join(self.words[start : start + count])

    def output(self) -> str:
        """A log of OUTPUT bytes."""
        lines = []
        for _ in range(8):
            clock = f"{self.dice.randrange(24):02}:{self.dice.randrange(60):02}:{self.dice.randrange(60):02}"
            lines.append(f"{clock} {self.dice.choice(LEVELS)} {self.some(6)} {self.dice.randrange(10**6)}")
        return ("\n".join(lines) + " " + self.some(40))[: OUTPUT - 1] + "\n"

    def bundle(self, index: int, of: int) -> Bundle:
        """One task with its output."""
        argv = (*self.dice.choice(PROGRAMS).split(), f"--{self.some(1)}", f"data/{self.some(1)}/{index}.txt")
        output = self.output()
        if index == of // 2:
            output = NEEDLE + output[len(NEEDLE) :]
        code = 0 if self.dice.random() < 0.9 else 1
        began = 1.6e9 + index * 100
        task = Task(
            uid=new_uid("shell"), executor="shell", argv=argv, turn=index + 1, user="ada", host="box",
            pwd=f"/home/ada/project{index % 50}", status=Status.FAILED if code else Status.COMPLETE, returncode=code,
            pid=1000 + index % 30_000, created=timestamp(began), started=timestamp(began),
            ended=timestamp(began + self.dice.expovariate(0.1)), usage={"cpu": 0.5, "memory": 50_000_000},
        )  # fmt: skip
        return Bundle(task=task, kept={1: Kept(stdout=output.encode(), timing=b"0 o 500\n")})


def fill(store: SqliteStore | FilesystemStore, count: int) -> None:
    """Fill a store, and tell how quickly, and how large it is against the text in it."""
    author = Author()
    spent = text = 0.0
    for start in range(0, count, BATCH):
        bundles = [author.bundle(start + offset, count) for offset in range(min(BATCH, count - start))]
        text += sum(len(bundle.task.command) + OUTPUT for bundle in bundles)
        began = time.process_time()
        store.add_all(bundles)
        spent += time.process_time() - began
    store.close()
    size = sum(os.path.getsize(path) for path in files_of(store.location))
    print(f"\n{store.name}: {count:,} tasks added at {count / spent:,.0f} a CPU second, index included; ", end="")
    print(f"the store is {size / text:.2f} times the text of {text / 1e6:,.1f} MB")


def apart(work: Callable[[], None]) -> None:
    """Do something in a process of its own: what it needs in memory would count as every measured verb's."""
    pid = os.fork()
    if not pid:
        work()
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)


def files_of(location: str) -> Iterator[str]:
    """Every file of a store."""
    if os.path.isfile(location):
        yield from (location + end for end in ("", "-wal") if os.path.exists(location + end))
    for folder, _, names in os.walk(location):
        yield from (os.path.join(folder, name) for name in names)


def verbs(common: str) -> dict[str, list[str]]:
    """What is measured."""
    return {
        "`ls`": ["ls"],
        "`ls --failed`": ["ls", "--failed"],
        "`get`": ["get"],
        "`get NUMBER`": ["get", "1"],
        "`search` a rare word": ["search", NEEDLE],
        "`search` a common word": ["search", common],
        "`search` a common word `--failed`": ["search", common, "--failed"],
        "`search` two words": ["search", common, "train.py"],
        "`search` what is nowhere": ["search", "qqqqzzzz"],
        "`run true`": ["run", "true"],
    }


def measure(large: str, small: str, store: str, runs: int) -> None:
    """A row for each verb."""
    common = "warning"
    print("\n| verb | CPU ms, large store | CPU ms, one task | more | peak MB |\n|---|---|---|---|---|")
    for name, words in verbs(common).items():
        pairs = []
        for turn in range(runs + 1):
            pair = [
                Cost(
                    [os.path.join(BIN, "qrec"), "--store", store, *words],
                    {**os.environ, "QREC_HOME": home},
                    any_code=True,
                )
                for home in (large, small)
            ]
            pairs += [pair] if turn else []
        here, there = (statistics.median(pair[side].cpu for pair in pairs) * 1000 for side in (0, 1))
        more = statistics.median((a.cpu - b.cpu) * 1000 for a, b in pairs)
        print(
            f"| {name} | {here:.0f} | {there:.0f} | **{more:.1f}** | {max(a.peak for a, _ in pairs):.0f} |", flush=True
        )


def main() -> None:
    """Make the stores and measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--files", type=int, default=10_000, help="tasks in the filesystem store")
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--home")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        top = given.home or temporary
        print(f"{time.strftime('%Y-%m-%d')}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
        for kind, count in ((SqliteStore, given.tasks), (FilesystemStore, given.files)):
            large, small = (os.path.join(top, f"{kind.name}-{size}") for size in (count, 1))
            for home, size in ((large, count), (small, 1)):
                if not os.path.exists(home):
                    apart(partial(fill, kind(home), size))
            measure(large, small, kind.name, given.runs)


if __name__ == "__main__":
    main()
