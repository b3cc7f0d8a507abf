"""Values on which careless code trips: the same in every run, and without a library that would have to be installed."""

from __future__ import annotations

import functools
import os
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from qrec.stores.base import Query
from qrec.task import Status, Task, new_uid

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")

#: Names of folders.
WEIRD = [
    "two words",
    "quote ' and \"",
    "new\nline",
    "gr\u00fc\u00df-\u65e5\u672c",
    "50%25?x=1#y&z",
    "-rf",
    "semi;colon$HOME",
    "dots..db",
]
CHARACTERS = "abAB01 \0\n\r\t\x1b\x7f\\'\"%_*?[]{}\u00df\u00e4\u0130\u2028\u65e5\U0001f600\ufeff\x1e"
NUMBERS = [0, 1, -1, 2**31, -(2**60), 2**60, 0.1, -0.0, 1e300, 5e-324, 12345678.9]
TIMES = ["2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z", "2026-06-01T12:00:00.000000Z"]
FOLDERS = ["/", "/a", "/a/b", "/ab", "/a_b", "/axb", "/a%", "/a/b/c", "/A", "", "/gr\u00fc\u00df/x", "/gr\u00fc\u00df"]
TAGS = ["a", "b", "A", "a b", "%", "\u00e9", "a,b"]
QUEUES = ["q", "Q", "a b/..", "\udcff"]
NAMES = ["1", "001", "True", "--x", 'it\'s "so"', "new\nline", "\u00e9", "\udcff", ""]


def examples(count: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Do a test so often, each time with other samples: `def test_x(self, store, samples)`.

    A failure names the seed: `Samples(7)` gives the same again.
    """

    def often(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(self: Any, store: Any) -> None:
            for seed in range(count):
                try:
                    test(self, store, Samples(seed))
                except Exception as error:
                    raise AssertionError(f"with Samples({seed}): {error}") from error

        del run.__wrapped__  # pytest would look for a fixture `samples`
        return run

    return often


class Samples(Random):
    """Values by chance, which a seed repeats."""

    def several(self, one: Callable[[], T], most: int, least: int = 0) -> list[T]:
        """Some of them."""
        return [one() for _ in range(self.randint(least, most))]

    def some(self, values: Sequence[T], most: int) -> list[T]:
        """Some of these, each once."""
        return self.sample(list(values), self.randint(0, min(most, len(values))))

    def maybe(self, value: T) -> T | None:
        """This or nothing."""
        return value if self.random() < 0.5 else None

    def block(self, most: int = 12, least: int = 0) -> bytes:
        """Any bytes."""
        return self.randbytes(self.randint(least, most))

    def word(self) -> str:
        """Bytes as an operating system hands them over: any but NUL, UTF-8 or not."""
        raw = self.choice([self.block(), self.text().encode()])
        return os.fsdecode(raw.replace(b"\0", b""))

    def text(self) -> str:
        """Any characters."""
        return "".join(self.several(lambda: self.choice(CHARACTERS), 8))

    def json(self, deep: int = 2) -> Any:
        """Anything that JSON can tell."""
        kind = self.randrange(6 if deep else 4)
        if kind == 4:
            return self.several(lambda: self.json(deep - 1), 3)
        if kind == 5:
            return self.notes(deep - 1)
        return [None, self.random() < 0.5, self.choice(NUMBERS), self.text()][kind]

    def notes(self, deep: int = 2) -> dict[str, Any]:
        """An object of JSON."""
        return {self.text(): self.json(deep) for _ in range(self.randint(0, 3))}

    def task(self) -> Task:
        """A task that queries may or may not find."""
        executor = self.choice(["shell", "slurm", "Shell"])
        return Task(
            uid=new_uid(executor), executor=executor, argv=("x",), status=self.choice(list(Status)),
            created=self.choice(TIMES), pwd=self.choice(FOLDERS), tags=tuple(self.some(TAGS, 3)),
            host=self.choice(["box", "Box", ""]), user=self.choice(["ada", "ben"]),
            returncode=self.choice([None, 0, 1, 137]), started=self.maybe(self.choice(TIMES)),
            ended=self.maybe(self.choice(TIMES)), usage=self.part({"memory": self.choice([0, 5, 10**12]), "cpu": 0.5}),
            facts=self.part({"commit": self.choice(["abc1", "ab*", "[a"]), "dirty": True}),
            queue=self.maybe(self.choice(QUEUES)), name=self.maybe(self.choice(NAMES)),
        )  # fmt: skip

    def part(self, notes: dict[str, Any]) -> dict[str, Any]:
        """Some of these notes."""
        return {name: notes[name] for name in self.some(list(notes), len(notes))}

    def query(self) -> Query:
        """A query of one to three facets."""
        facets: dict[str, Any] = {
            "statuses": frozenset(self.some(list(Status), 3)), "executor": self.choice(["shell", "slurm", "tmux"]),
            "tags": frozenset(self.some(TAGS, 2)), "since": self.choice(TIMES), "until": self.choice(TIMES),
            "cwd": self.choice([*FOLDERS, "/a/", "//"]), "host": self.choice(["box", ""]), "user": "ada",
            "commit": self.choice(["ab", "ab*", "[", ""]), "longer": self.choice([0.0, 0.5, 60.0, 1e9]),
            "memory_over": self.choice([0, 5, 10**9]), "code": self.choice([0, 1, 137]),
            "queue": self.choice([*QUEUES, "", "nobody"]), "name": self.choice([*NAMES, "nobody"]),
            "above": self.randint(0, 200),
        }  # fmt: skip
        return Query(**{name: facets[name] for name in self.sample(list(facets), self.randint(1, 3))})
