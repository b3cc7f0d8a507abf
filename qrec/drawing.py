"""The graph of a queue as text, in networkx's drawing: each job once, on a line of its own, below what it waits for.

╟── peel
╎   └─╼ slice
╎       └─╼ serve ╾ drain
╙── boil
    └─╼ drain
        └─╼  ...
"""

from __future__ import annotations

from qrec.graph import ordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qrec.task import Task

DEEP = 24  #: levels from which on a drawing would be wider than a screen: chains are drawn straight down then
DEEPEST = 200  #: levels that are drawn at all; what lies deeper is `...`
MOST_REDUCED = 20_000  #: jobs above which nothing is left out of the graph, as that would take too much memory
LONGEST = 60  #: characters of a command that stands for its job


def network_text(
    jobs: Sequence[Task],
    reduced: bool = True,
    vertical_chains: bool = False,
    label: Callable[[Task], str] | None = None,
) -> str:
    """The jobs and what they wait for; reduced, without the dependencies that follow from others.

    `vertical_chains` draws what follows on one job only straight below it, as is done anyway where the drawing would
    be too wide.  What is no job of the queue is not drawn.
    """
    import networkx

    parents = parents_of(jobs)
    depth = depth_of(parents)
    if reduced and len(parents) <= MOST_REDUCED:
        parents = without_shortcuts(parents)
    graph = networkx.DiGraph()
    graph.add_nodes_from((job.uid, {"label": (label or label_of)(job)}) for job in jobs)
    graph.add_edges_from((parent, uid) for uid, above in parents.items() for parent in above)
    sources = [uid for uid, above in parents.items() if not above]
    is_deep = depth > DEEP
    lines = networkx.generate_network_text(
        graph, sources=sources or None, vertical_chains=vertical_chains or is_deep,
        max_depth=DEEPEST if is_deep else None,
    )  # fmt: skip
    return "".join(f"{line.rstrip()}\n" for line in lines)


def label_of(job: Task) -> str:
    """What stands for a job: its name, else its number and command."""
    text = " ".join((job.name or f"{job.number} {job.command}").split())
    if job.name is None and len(text) > LONGEST:
        text = f"{text[: LONGEST - 1]}…"
    return "".join(char if char.isprintable() else "?" for char in text)


def parents_of(jobs: Sequence[Task]) -> dict[str, list[str]]:
    """By uid, the jobs among these that each waits for, in the order of the jobs."""
    known = {job.uid for job in jobs}
    return {job.uid: [uid for uid in job.after if uid in known] for job in jobs}


def depth_of(parents: Mapping[str, Sequence[str]]) -> int:
    """How many jobs the longest chain has."""
    levels: dict[str, int] = {}
    for uid in ordered(parents):
        levels[uid] = 1 + max((levels[parent] for parent in parents[uid]), default=0)
    return max(levels.values(), default=0)


def without_shortcuts(parents: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """The same graph without the links that follow from others; who is above whom is kept in the bits of an integer."""
    order = ordered(parents)
    bits = {uid: 1 << place for place, uid in enumerate(order)}
    above: dict[str, int] = {}
    kept = {uid: list(parents[uid]) for uid in parents}
    for uid in order:
        beyond = 0  # what is above its parents
        for parent in parents[uid]:
            beyond |= above[parent]
        kept[uid] = [parent for parent in parents[uid] if not beyond & bits[parent]]
        for parent in kept[uid]:
            beyond |= bits[parent]
        above[uid] = beyond
    return kept
