"""Which nodes of a large graph are drawn as one, and which belong to the surroundings of a node.  Pure functions."""

from __future__ import annotations

from qrec.graph import ordered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    Parents = Mapping[str, Sequence[tuple[str, str]]]  #: of each node, with the kind of the link

DONE = "complete"
SMALL = 40  #: nodes up to which everything is drawn
ALIKE_DONE, ALIKE = 3, 6  #: how many nodes with the same neighbours become one
MANY = 300  #: nodes above which the last done ones before the others are folded away as well


def near(node: str, parents: Parents, hops: int) -> set[str]:
    """The node with all that it can be reached from, or reaches, in so many steps."""
    children: dict[str, list[str]] = {}
    for child, above in parents.items():
        for parent, _ in above:
            children.setdefault(parent, []).append(child)
    over = {child: [parent for parent, _ in above] for child, above in parents.items()}
    return {one for one in reached(node, over, hops) | reached(node, children, hops) if one in parents}


def reached(node: str, steps: Mapping[str, Sequence[str]], hops: int) -> set[str]:
    """What is reached from a node in so many steps."""
    seen, edge = {node}, [node]
    for _ in range(hops):
        edge = [other for one in edge for other in steps.get(one, ()) if other not in seen]
        seen.update(edge)
    return seen


def folded(statuses: Mapping[str, str], parents: Parents, apart: Collection[str] = ()) -> dict[str, str]:
    """By node, the one that stands for it; itself if it is drawn by itself, as those in `apart` always are.

    What is folded can be drawn as one without a circle in the graph: nodes that are alike in their neighbours and their
    status; all that is done and hangs together; and what is done and lies above the rest.
    """
    if len(statuses) <= SMALL:
        return {node: node for node in statuses}
    fixed = set(apart)
    heads = without(fixed, alike(statuses, parents))
    heads = joined(heads, done_pieces(statuses, parents, heads, fixed))
    heads = joined(heads, done_above(statuses, parents, heads, fixed, keep_last=True))
    if len(set(heads.values())) > MANY:
        heads = joined(heads, done_above(statuses, parents, heads, fixed, keep_last=False))
    return heads


def without(fixed: Collection[str], heads: Mapping[str, str]) -> dict[str, str]:
    """The same groups, with some nodes taken out of them; another stands for the group then."""
    found: dict[str, str] = {}
    instead: dict[str, str] = {}
    for node, head in heads.items():
        found[node] = node if node in fixed else instead.setdefault(head, node)
    return found


def joined(first: Mapping[str, str], second: Mapping[str, str]) -> dict[str, str]:
    """Groups, and groups of those."""
    return {node: second.get(head, head) for node, head in first.items()}


def alike(statuses: Mapping[str, str], parents: Parents) -> dict[str, str]:
    """Groups of nodes with the same status, parents and children."""
    below: dict[str, list[tuple[str, str]]] = {node: [] for node in statuses}
    for child, above in parents.items():
        for parent, kind in above:
            if parent in below:
                below[parent].append((child, kind))
    groups: dict[object, list[str]] = {}
    for node, status in statuses.items():
        key = (status, frozenset(parents.get(node, ())), frozenset(below[node]))
        groups.setdefault(key, []).append(node)
    heads = {node: node for node in statuses}
    for group in groups.values():
        if len(group) >= (ALIKE_DONE if statuses[group[0]] == DONE else ALIKE):
            heads.update(dict.fromkeys(group, group[0]))
    return heads


def between(parents: Parents, heads: Mapping[str, str]) -> dict[str, list[str]]:
    """The parents of each group."""
    found: dict[str, dict[str, None]] = {head: {} for head in heads.values()}
    for child, above in parents.items():
        for parent, _ in above:
            if parent in heads and child in heads and heads[parent] != heads[child]:
                found[heads[child]][heads[parent]] = None
    return {head: list(above) for head, above in found.items()}


def pieces(nodes: Iterable[str], parents: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """What hangs together among some nodes: by node, the first of its piece."""
    heads = {node: node for node in nodes}

    def top(node: str) -> str:
        while heads[node] != node:
            heads[node] = node = heads[heads[node]]
        return node

    for node in heads:
        for parent in parents[node]:
            if parent in heads:
                heads[top(node)] = top(parent)
    first: dict[str, str] = {}
    return {node: first.setdefault(top(node), node) for node in heads}


def done_pieces(
    statuses: Mapping[str, str], parents: Parents, heads: Mapping[str, str], fixed: Collection[str]
) -> dict[str, str]:
    """All that is done and not linked to anything else becomes one."""
    above = between(parents, heads)
    piece = pieces(above, above)
    open_pieces = {piece[head] for head in above if statuses[head] != DONE or head in fixed}
    over = [head for head in above if piece[head] not in open_pieces]
    return dict.fromkeys(over, over[0]) if over else {}


def done_above(
    statuses: Mapping[str, str], parents: Parents, heads: Mapping[str, str], fixed: Collection[str], keep_last: bool
) -> dict[str, str]:
    """What is done, with all that is above it, becomes one where it hangs together.

    `keep_last` leaves out what others wait for that are not done, and all below that.
    """
    above = between(parents, heads)
    done: dict[str, None] = {}
    order = ordered(above)
    for head in order:
        if statuses[head] == DONE and head not in fixed and all(parent in done for parent in above[head]):
            done[head] = None
    if keep_last:
        last = {parent for head in above if head not in done for parent in above[head]} & done.keys()
        kept: dict[str, None] = {}
        for head in done:
            if head not in last and all(parent in kept for parent in above[head]):
                kept[head] = None
        done = kept
    found = pieces(done, above)
    sizes: dict[str, int] = {}
    for head in found.values():
        sizes[head] = sizes.get(head, 0) + 1
    return {node: head for node, head in found.items() if sizes[head] > 1}
