"""The graph of a queue as text."""

from __future__ import annotations

import networkx
from hypothesis import given
from hypothesis import strategies as st

from qrec.drawing import DEEP, network_text, without_shortcuts
from qrec.task import Task


def job(number: int, after=(), name: str | None = "", command: str = "true") -> Task:
    """A job called `j1`, `j2` ... unless it is given another name."""
    return Task(
        uid=f"queue-{number}", executor="queue", argv=(command,), number=number,
        after=tuple(f"queue-{up}" for up in after),
        name=f"j{number}" if name == "" else name, data={"shell": "/bin/bash"},
    )  # fmt: skip


def drawn(*jobs: Task, **options) -> list[str]:
    return network_text(jobs, **options).splitlines()


def test_a_job_is_below_what_it_waits_for():
    assert drawn(job(1), job(2, [1]), job(3, [1]), job(4), job(5, [3, 4])) == [
        "╟── j1",
        "╎   ├─╼ j2",
        "╎   └─╼ j3",
        "╎       └─╼ j5 ╾ j4",
        "╙── j4",
        "    └─╼  ...",
    ]


def test_what_follows_from_the_rest_is_left_out():
    jobs = job(1), job(2, [1]), job(3, [1, 2])
    assert drawn(*jobs) == ["╙── j1", "    └─╼ j2", "        └─╼ j3"]
    assert "j3 ╾ j1" in network_text(jobs, reduced=False)
    assert drawn(*jobs, vertical_chains=True) == ["╙── j1", "    ╽", "    j2", "    ╽", "    j3"]


def test_nothing_else_is_drawn():
    assert drawn() == ["╙"]
    assert drawn(job(2, [1])) == ["╙── j2"]


def test_names_take_one_line_and_jobs_without_are_shown_by_their_command():
    assert drawn(job(1, name="a\nb\x1b[31m"), job(7, name=None, command="make  data")) == [
        "╟── a b?[31m",
        "╙── 7 make data",
    ]
    assert drawn(job(1, name=None, command="x" * 200))[0].endswith("x…")
    assert drawn(job(1), label=lambda job: f"<{job.number}>") == ["╙── <1>"]


def test_a_long_chain_is_drawn_straight_down():
    chain = [job(number, [number - 1] if number > 1 else []) for number in range(1, 3001)]
    lines = drawn(*chain)
    assert len(lines) == 2 * len(chain) - 1
    assert max(map(len, lines)) < 20
    assert drawn(*chain[:DEEP])[-1].endswith("└─╼ j24")


def test_a_drawing_has_a_width():
    """Every second job is a leaf, so that nothing can be drawn straight down."""
    lines = drawn(*(job(number, [max(1, (number - 1) // 2 * 2)] if number > 1 else []) for number in range(1, 3001)))
    assert max(map(len, lines)) < 1000
    assert lines[-1].endswith("...")


@given(st.lists(st.sets(st.integers(0, 30), max_size=5), max_size=14))
def test_the_reduction_is_that_of_networkx(graph):
    parents = {str(node): [str(up) for up in sorted(above) if up < node] for node, above in enumerate(graph)}
    reference = networkx.DiGraph()
    reference.add_nodes_from(parents)
    reference.add_edges_from((up, node) for node, above in parents.items() for up in above)
    edges = {(up, node) for node, above in without_shortcuts(parents).items() for up in above}
    assert edges == set(networkx.transitive_reduction(reference).edges)


@given(st.lists(st.sets(st.integers(0, 30), max_size=5), min_size=1, max_size=14))
def test_every_job_is_drawn_once(graph):
    jobs = [job(node, sorted(up for up in above if up < node)) for node, above in enumerate(graph)]
    words = [line.split(" ╾ ")[0].split()[-1] for line in drawn(*jobs)]
    assert sorted(word for word in words if word != "...") == sorted(str(job.name) for job in jobs)
