"""Where the nodes of a graph stand when it is drawn from left to right.

After Sugiyama: every node in the column behind the last of its parents, stand-ins where a link passes a column, an
order in each column with few crossings, and rows that make links straight.  What hangs together is drawn apart from
the rest.  All of it is pure, gives the same for the same graph, and takes little more time than the number of links.
"""

from __future__ import annotations

from itertools import pairwise
from math import sqrt

from qrec.graph import ordered
from qrec.task import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    Point = tuple[float, float]  #: column and row

ROUNDS = 4  #: sweeps there and back that look for fewer crossings
STAND_INS = 3  #: for each node and link, how many stand-ins there may be; of the longest links only the ends get any
SPACING = 0.55  #: rows between a stand-in and its neighbour; between nodes it is 1
HEAVY = 3.0  #: how much more than a node a stand-in wants its link straight
SHAPE = 8.0  #: rows that are as high as a column is wide, in the picture that is aimed at
BETWEEN = 0.6  #: rows between two things that do not hang together


class Layout(Record):
    """A drawing, in columns and rows."""

    places: Mapping[str, Point]  #: of every node
    bends: Sequence[Sequence[Point]]  #: of every link, where it turns between its ends
    columns: float
    rows: float


def layout(nodes: Sequence[str], links: Sequence[tuple[str, str]]) -> Layout:
    """Draw a graph.  Links to what is no node are passed over, and so is the direction of those that close a circle."""
    known = set(nodes)
    drawn = [(number, *link) for number, link in enumerate(links) if known.issuperset(link) and link[0] != link[1]]
    pieces = [Piece(*piece) for piece in parts(nodes, drawn)]
    places: dict[str, Point] = {}
    bends: list[Sequence[Point]] = [()] * len(links)
    columns = rows = 0.0
    for piece, (column, row) in zip(pieces, shelved([piece.size for piece in pieces]), strict=True):
        for node, (x, y) in piece.places():
            places[node] = column + x, row + y
        for number, points in piece.bends():
            bends[number] = tuple((column + x, row + y) for x, y in points)
        columns, rows = max(columns, column + piece.size[0]), max(rows, row + piece.size[1])
    return Layout(places=places, bends=bends, columns=columns, rows=rows)


def parts(
    nodes: Sequence[str], links: Sequence[tuple[int, str, str]]
) -> list[tuple[list[str], list[tuple[int, str, str]]]]:
    """What hangs together: nodes and links, the largest first."""
    head = {node: node for node in nodes}

    def top(node: str) -> str:
        while head[node] != node:
            head[node] = node = head[head[node]]
        return node

    for _, source, target in links:
        head[top(target)] = top(source)
    found: dict[str, tuple[list[str], list[tuple[int, str, str]]]] = {}
    for node in nodes:
        found.setdefault(top(node), ([], []))[0].append(node)
    for link in links:
        found[top(link[1])][1].append(link)
    return sorted(found.values(), key=lambda part: -len(part[0]))


def shelved(sizes: Sequence[Point]) -> Iterator[Point]:
    """Places for boxes of these sizes, in lines from left to right, so that the whole is not much longer than high."""
    area = sum(columns * (rows + BETWEEN) for columns, rows in sizes)
    width = max([sqrt(1.6 * area / SHAPE), *(columns for columns, _ in sizes)], default=0.0)
    column = row = height = 0.0
    for columns, rows in sizes:
        if column and column + columns > width + 1e-9:
            column, row, height = 0.0, row + height + BETWEEN, 0.0
        yield column, row
        column, height = column + columns, max(height, rows)


class Piece:
    """A part that hangs together.  Nodes are numbers here, stand-ins those above them."""

    def __init__(self, nodes: Sequence[str], links: Sequence[tuple[int, str, str]]) -> None:
        self.nodes = nodes
        number = {node: place for place, node in enumerate(nodes)}
        pairs = dict.fromkeys((number[source], number[target]) for _, source, target in links)
        self.order, turned = in_order(len(nodes), pairs)
        self.links = [(which, number[source], number[target]) for which, source, target in links]
        self.forward = [pair if pair not in turned else pair[::-1] for pair in pairs]
        self.rank = ranks(self.order, self.forward)
        self.chains: dict[tuple[int, int], list[int]] = {}  #: the stand-ins of a link
        self.put_stand_ins()
        self.layers = self.first_order()
        self.uncross()
        self.row = self.rows()
        least = min(self.row)
        self.row = [row - least for row in self.row]
        self.size: Point = (float(len(self.layers)), max(self.row) + 1.0)

    # What comes out

    def places(self) -> Iterator[tuple[str, Point]]:
        """Where each node stands."""
        for number, node in enumerate(self.nodes):
            yield node, (float(self.rank[number]), self.row[number])

    def bends(self) -> Iterator[tuple[int, list[Point]]]:
        """Where each link turns."""
        for which, source, target in self.links:
            chain = self.chains.get((source, target)) or self.chains.get((target, source), [])[::-1]
            if chain:
                yield which, [(float(self.rank[one]), self.row[one]) for one in chain]

    # Columns

    def put_stand_ins(self) -> None:
        """Split the links that pass columns; short ones first, as long as there may be more."""
        count = len(self.nodes)
        self.above: list[list[int]] = [[] for _ in self.nodes]
        self.below: list[list[int]] = [[] for _ in self.nodes]
        left = STAND_INS * (count + len(self.forward)) + 200
        spans = sorted(self.forward, key=lambda pair: self.rank[pair[1]] - self.rank[pair[0]])
        for source, target in spans:
            first, last = self.rank[source] + 1, self.rank[target] - 1
            passed = list(range(first, last + 1))
            if len(passed) > 2 and len(passed) > left:
                passed = [first, last]
            left -= len(passed)
            chain = [self.stand_in(rank) for rank in passed]
            if chain:
                self.chains[source, target] = chain
            for upper, lower in zip([source, *chain], [*chain, target], strict=True):
                self.below[upper].append(lower)
                self.above[lower].append(upper)

    def stand_in(self, rank: int) -> int:
        """A new one."""
        self.rank.append(rank)
        self.above.append([])
        self.below.append([])
        return len(self.rank) - 1

    # Order in the columns

    def first_order(self) -> list[list[int]]:
        """The columns, in the order of a walk that goes deep first, which keeps together what hangs together."""
        layers: list[list[int]] = [[] for _ in range(max(self.rank) + 1)]
        seen = [False] * len(self.rank)
        stack = [node for node in reversed(self.order) if not self.above[node]]
        while stack:
            node = stack.pop()
            if seen[node]:
                continue
            seen[node] = True
            layers[self.rank[node]].append(node)
            stack.extend(child for child in reversed(self.below[node]) if not seen[child])
        return layers

    def uncross(self) -> None:
        """Sort the columns by where their neighbours stand, there and back, and keep the best that is seen."""
        self.place = [0.0] * len(self.rank)
        for layer in self.layers:
            self.note(layer)
        best, fewest = [list(layer) for layer in self.layers], self.crossings()
        for _ in range(ROUNDS):
            if not fewest:
                break
            for layer in self.layers[1:]:
                self.sort(layer, self.above)
            for layer in self.layers[-2::-1]:
                self.sort(layer, self.below)
            found = self.crossings()
            if found < fewest:
                best, fewest = [list(layer) for layer in self.layers], found
        self.layers = best

    def note(self, layer: Sequence[int]) -> None:
        """Where the nodes of a column stand, from 0 to 1, so that long and short columns compare."""
        step = 1.0 / len(layer)
        for at, node in enumerate(layer):
            self.place[node] = (at + 0.5) * step

    def sort(self, layer: list[int], neighbours: Sequence[Sequence[int]]) -> None:
        """Put each node of a column where the middle of its neighbours is."""
        place = self.place
        keys = {
            node: sum([place[one] for one in near]) / len(near) if (near := neighbours[node]) else place[node]
            for node in layer
        }
        layer.sort(key=keys.__getitem__)
        self.note(layer)

    def crossings(self) -> int:
        """How often links cross between neighbouring columns."""
        index = [0] * len(self.rank)
        for layer in self.layers:
            for at, node in enumerate(layer):
                index[node] = at
        total = 0
        for layer, behind in pairwise(self.layers):
            rank = self.rank[behind[0]]
            ends = [
                at for node in layer for at in sorted(index[one] for one in self.below[node] if self.rank[one] == rank)
            ]
            total += inversions(ends, len(behind))
        return total

    # Rows

    def rows(self) -> list[float]:
        """The row of each: near the middle of its neighbours, as far as the order and the spacing let it."""
        row = [0.0] * len(self.rank)
        for layer in self.layers:
            for node, first in zip(layer, spaced([0.0] * len(layer), *self.needs(layer)), strict=True):
                row[node] = first
        both = [above + below for above, below in zip(self.above, self.below, strict=True)]
        for layers, neighbours in (
            (self.layers, self.above), (self.layers[::-1], self.below), (self.layers, both), (self.layers[::-1], both),
        ):  # fmt: skip
            for layer in layers:
                wanted = [
                    sum([row[one] for one in near]) / len(near) if (near := neighbours[node]) else row[node]
                    for node in layer
                ]
                for node, found in zip(layer, spaced(wanted, *self.needs(layer)), strict=True):
                    row[node] = found
        for layer in self.layers:
            self.straighten(layer, row)
        return row

    def straighten(self, layer: Sequence[int], row: list[float]) -> None:
        """Put what has one parent, and is its only child, exactly beside it, if there is room."""
        _, gaps = self.needs(layer)
        for at, node in enumerate(layer):
            if len(self.above[node]) != 1 or len(self.below[self.above[node][0]]) != 1:
                continue
            wanted = row[self.above[node][0]]
            least = row[layer[at - 1]] + gaps[at - 1] if at else wanted
            most = row[layer[at + 1]] - gaps[at] if at < len(gaps) else wanted
            if least <= wanted <= most:
                row[node] = wanted

    def needs(self, layer: Sequence[int]) -> tuple[list[float], list[float]]:
        """How much each node of a column weighs, and the room that each needs before the next."""
        count = len(self.nodes)
        weights = [1.0 if node < count else HEAVY for node in layer]
        gaps = [1.0 if a < count and b < count else SPACING for a, b in pairwise(layer)]
        return weights, gaps


def in_order(count: int, pairs: Iterable[tuple[int, int]]) -> tuple[list[int], set[tuple[int, int]]]:
    """The nodes with parents before their children, and the pairs that do not fit, as they close a circle."""
    parents: dict[str, list[str]] = {str(node): [] for node in range(count)}
    for source, target in pairs:
        parents[str(target)].append(str(source))
    order = [int(node) for node in ordered(parents)]
    if len(order) == count:
        return order, set()
    seen = set(order)
    order += [node for node in range(count) if node not in seen]
    place = {node: at for at, node in enumerate(order)}
    return order, {pair for pair in pairs if place[pair[0]] > place[pair[1]]}


def ranks(order: Sequence[int], pairs: Iterable[tuple[int, int]]) -> list[int]:
    """The column of each node: behind all its parents; what has none stands right before its first child."""
    above: list[list[int]] = [[] for _ in order]
    below: list[list[int]] = [[] for _ in order]
    for source, target in pairs:
        below[source].append(target)
        above[target].append(source)
    rank = [0] * len(order)
    for node in order:
        if above[node]:
            rank[node] = 1 + max(rank[parent] for parent in above[node])
    for node in order:
        if not above[node] and below[node]:
            rank[node] = min(rank[child] for child in below[node]) - 1
    return rank


def inversions(ends: Sequence[int], count: int) -> int:
    """How many pairs of numbers below `count` stand in the wrong order."""
    tree = [0] * (count + 1)
    total = 0
    for seen, end in enumerate(ends):
        at, before = end + 1, 0
        while at:
            before += tree[at]
            at &= at - 1
        total += seen - before
        at = end + 1
        while at <= count:
            tree[at] += 1
            at += at & -at
    return total


def spaced(wanted: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """Places as near as can be to the wanted ones (least squares), in their order and with these gaps between them.

    Neighbours that would come too close form a block, which stands where all of it together is wanted.
    """
    blocks: list[tuple[float, float, int]] = []  # weight, weighted sum of what is wanted, how many
    offset, offsets = 0.0, []
    for at, place in enumerate(wanted):
        offset += gaps[at - 1] if at else 0.0
        offsets.append(offset)
        weight, total, count = weights[at], weights[at] * (place - offset), 1
        while blocks and blocks[-1][1] * weight >= total * blocks[-1][0]:
            before = blocks.pop()
            weight, total, count = weight + before[0], total + before[1], count + before[2]
        blocks.append((weight, total, count))
    found = [total / weight for weight, total, count in blocks for _ in range(count)]
    return [place + offset for place, offset in zip(found, offsets, strict=True)]
