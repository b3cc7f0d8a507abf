"""The layout of a graph, and what of it is folded away: pure functions."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrec.dashboard.folding import folded, near
from qrec.dashboard.layout import SPACING, Piece, inversions, layout, shelved, spaced
from qrec.graph import cycle

#: However long a machine stands still in the middle of it.
patiently = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def dag(count: int, width: int, seed: int = 1) -> tuple[list[str], list[tuple[str, str]]]:
    """A graph as queues have them: each node waits for one or two of those shortly before."""
    chance = random.Random(seed)
    nodes = [f"n{at}" for at in range(count)]
    links = [
        (nodes[chance.randrange(max(0, at - 3 * width), at)], nodes[at])
        for at in range(width, count)
        for _ in range(chance.choice((1, 1, 2)))
    ]
    return nodes, list(dict.fromkeys(links))


def crossings(nodes, links, drawn) -> int:
    """How many pairs of links between neighbouring columns cross, counted one by one."""
    lines: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for (source, target), bends in zip(links, drawn.bends, strict=True):
        lines += pairwise([drawn.places[source], *bends, drawn.places[target]])
    return sum(
        (a[0][1] - b[0][1]) * (a[1][1] - b[1][1]) < 0
        for at, a in enumerate(lines)
        for b in lines[at + 1 :]
        if a[0][0] == b[0][0] and a[1][0] == b[1][0]
    )


@st.composite
def graphs(draw):
    count = draw(st.integers(1, 25))
    pairs = draw(st.lists(st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)), max_size=40))
    names = [f"n{at}" for at in range(count)]
    links = dict.fromkeys((names[min(pair)], names[max(pair)]) for pair in pairs if pair[0] != pair[1])
    return draw(st.permutations(names)), list(links)


@patiently
@given(graphs())
def test_every_node_stands_behind_its_parents_and_on_no_other(graph):
    nodes, links = graph
    drawn = layout(nodes, links)
    assert set(drawn.places) == set(nodes)
    assert all(drawn.places[source][0] < drawn.places[target][0] for source, target in links)
    columns: dict[float, list[float]] = {}
    for column, row in drawn.places.values():
        columns.setdefault(column, []).append(row)
    assert all(b - a > 1 - 1e-6 for rows in columns.values() for a, b in pairwise(sorted(rows)))


@patiently
@given(graphs())
def test_a_link_turns_once_in_each_column_that_it_passes_and_runs_through_no_node(graph):
    nodes, links = graph
    drawn = layout(nodes, links)
    for (source, target), bends in zip(links, drawn.bends, strict=True):
        first, last = drawn.places[source][0], drawn.places[target][0]
        assert [column for column, _ in bends] == [first + step for step in range(1, round(last - first))]
        for column, row in bends:
            near_by = [there for other, there in drawn.places.values() if other == column]
            assert all(abs(there - row) > SPACING - 1e-6 for there in near_by)


@patiently
@given(graphs())
def test_the_picture_holds_all_that_is_drawn(graph):
    nodes, links = graph
    drawn = layout(nodes, links)
    points = [*drawn.places.values(), *(point for bends in drawn.bends for point in bends)]
    assert all(0 <= column <= drawn.columns - 1 and -1e-9 <= row <= drawn.rows - 1 + 1e-6 for column, row in points)


def test_the_same_graph_is_drawn_the_same():
    nodes, links = dag(300, 20)
    assert layout(nodes, links) == layout(list(nodes), list(links))


def test_few_links_cross(monkeypatch):
    nodes, links = dag(150, 12)
    sorted_ones = crossings(nodes, links, layout(nodes, links))
    with monkeypatch.context() as patch:
        patch.setattr(Piece, "uncross", lambda self: [layer.sort() for layer in self.layers])
        unsorted_ones = crossings(nodes, links, layout(nodes, links))
    assert 0 < sorted_ones < unsorted_ones / 2


def test_a_tree_has_no_crossing():
    tree = [(f"n{(at - 1) // 2}", f"n{at}") for at in range(1, 63)]
    assert crossings([f"n{at}" for at in range(63)], tree, layout([f"n{at}" for at in range(63)], tree)) == 0


def test_a_chain_is_straight():
    nodes = [f"n{at}" for at in range(9)]
    links = [*pairwise(nodes), ("n0", "n8")]
    drawn = layout(nodes, links)
    assert len({round(row, 6) for _, row in (drawn.places[node] for node in nodes[1:-1])}) == 1


def test_what_has_no_parents_stands_right_before_what_waits_for_it():
    drawn = layout(["a", "b", "c", "late", "d"], [("a", "b"), ("b", "c"), ("c", "d"), ("late", "d")])
    assert drawn.places["late"][0] == drawn.places["c"][0] == drawn.places["d"][0] - 1


def test_loose_nodes_make_a_block():
    drawn = layout([f"n{at}" for at in range(1000)], [])
    assert 10 < drawn.columns < 40
    assert len(set(drawn.places.values())) == 1000


def test_circles_and_strangers_do_no_harm():
    drawn = layout(["a", "b", "c"], [("a", "b"), ("b", "a"), ("a", "a"), ("nobody", "c"), ("b", "c")])
    assert set(drawn.places) == {"a", "b", "c"}
    assert drawn.places["a"][0] != drawn.places["b"][0]


def test_nothing_is_drawn_of_nothing():
    assert layout([], []).columns == 0


def test_very_long_links_get_a_bounded_number_of_bends():
    nodes = [f"n{at}" for at in range(1500)]
    links = [*pairwise(nodes), *((node, nodes[-1]) for node in nodes[:-2])]
    drawn = layout(nodes, links)
    assert sum(map(len, drawn.bends)) < 4 * (len(nodes) + len(links))
    assert len(drawn.bends[len(nodes)]) == 2


def test_a_large_graph_takes_steps_in_proportion(monkeypatch):
    """Counted in calls of the sweeps and not in seconds: the columns of a graph are each sorted so often at most."""
    from qrec.dashboard import layout as module

    sorted_nodes: list[int] = []
    plain = module.Piece.sort

    def sort(piece, layer, neighbours):
        sorted_nodes.append(len(layer))
        plain(piece, layer, neighbours)

    monkeypatch.setattr(module.Piece, "sort", sort)
    nodes, links = dag(5000, 70)
    drawn = layout(nodes, links)
    assert len(drawn.places) == 5000
    assert sum(sorted_nodes) <= 2 * module.ROUNDS * (module.STAND_INS + 1) * (len(nodes) + len(links))


@pytest.mark.parametrize("numbers", [[], [0], [2, 1, 0], [0, 2, 1, 1, 0]])
def test_inversions(numbers):
    expected = sum(a > b for at, a in enumerate(numbers) for b in numbers[at + 1 :])
    assert inversions(numbers, 3) == expected


@patiently
@given(st.lists(st.tuples(st.floats(-50, 50), st.sampled_from([1.0, 3.0])), min_size=1, max_size=20))
def test_spacing_keeps_order_and_gaps_and_the_middle(wanted):
    places, weights = [place for place, _ in wanted], [weight for _, weight in wanted]
    found = spaced(places, weights, [1.0] * (len(wanted) - 1))
    assert all(b - a > 1 - 1e-9 for a, b in pairwise(found))
    middle = sum(w * f for w, f in zip(weights, found, strict=True))
    assert middle == pytest.approx(sum(w * p for w, p in zip(weights, places, strict=True)), abs=1e-6)


def test_what_has_room_stands_where_it_wants():
    assert spaced([0.0, 5.0, 9.0], [1.0] * 3, [1.0] * 2) == [0.0, 5.0, 9.0]


def test_boxes_are_put_side_by_side():
    places = list(shelved([(2.0, 3.0)] * 12))
    assert len(set(places)) == 12
    assert len({row for _, row in places}) > 1


# Folding


def test_surroundings():
    parents = {"a": [], "b": [("a", "ok")], "c": [("b", "ok")], "d": [("c", "any")], "x": [("a", "ok")]}
    assert near("c", parents, 1) == {"b", "c", "d"}
    assert near("c", parents, 2) == {"a", "b", "c", "d"}
    assert near("c", parents, 0) == {"c"}


def quotient(parents, heads):
    found: dict[str, set[str]] = {head: set() for head in heads.values()}
    for child, links in parents.items():
        found[heads[child]] |= {heads[parent] for parent, _ in links} - {heads[child]}
    return found


def sizes(heads) -> dict[str, int]:
    found: dict[str, int] = {}
    for head in heads.values():
        found[head] = found.get(head, 0) + 1
    return found


def fan(done: int, waiting: int) -> tuple[dict[str, str], dict[str, list[tuple[str, str]]]]:
    """One job before, and one after, many that are alike."""
    middle = [f"m{at}" for at in range(done + waiting)]
    statuses = {
        "first": "complete",
        **{name: "complete" if at < done else "queued" for at, name in enumerate(middle)},
        "last": "blocked",
    }
    parents = {"first": [], **{name: [("first", "ok")] for name in middle}, "last": [(name, "ok") for name in middle]}
    return statuses, parents


def test_a_small_graph_is_drawn_whole():
    statuses, parents = fan(15, 15)
    assert folded(statuses, parents) == {node: node for node in statuses}


def test_what_is_alike_becomes_one():
    statuses, parents = fan(48, 100)
    heads = folded(statuses, parents)
    assert sorted(sizes(heads).values()) == [1, 1, 48, 100]
    assert {node: heads[node] for node in ("first", "m47", "m48")} == {"first": "first", "m47": "m0", "m48": "m48"}


def test_one_that_is_wanted_apart_stays_so():
    statuses, parents = fan(48, 100)
    heads = folded(statuses, parents, ["m0", "m60"])
    assert sizes(heads)["m0"] == sizes(heads)["m60"] == 1
    assert sorted(sizes(heads).values()) == [1, 1, 1, 1, 47, 99]


def test_all_that_is_done_and_apart_from_the_rest_becomes_one():
    parents: dict[str, list[tuple[str, str]]] = {}
    for chain in range(30):
        for step in range(4):
            parents[f"c{chain}.{step}"] = [(f"c{chain}.{step - 1}", "ok")] if step else []
    statuses = {node: "complete" if int(node[1:].split(".")[0]) < 25 else "queued" for node in parents}
    heads = folded(statuses, parents)
    assert sorted(sizes(heads).values()) == [1] * 20 + [100]


def test_of_a_long_chain_what_is_done_becomes_one_but_for_its_end():
    nodes = [f"n{at}" for at in range(60)]
    parents = {node: [(nodes[at - 1], "ok")] if at else [] for at, node in enumerate(nodes)}
    statuses = {node: "complete" if at < 50 else "queued" for at, node in enumerate(nodes)}
    heads = folded(statuses, parents)
    assert sizes(heads)["n0"] == 49
    assert heads["n49"] == "n49"


@patiently
@given(st.integers(0, 10_000), st.integers(41, 120))
def test_what_is_folded_has_one_status_and_makes_no_circle(seed, count):
    chance = random.Random(seed)
    nodes, links = dag(count, chance.choice((3, 10, 30)), seed)
    parents: dict[str, list[tuple[str, str]]] = {node: [] for node in nodes}
    for source, target in links:
        parents[target].append((source, chance.choice(("ok", "ok", "any", "failed"))))
    statuses = {node: chance.choice(("complete", "complete", "queued", "failed")) for node in nodes}
    heads = folded(statuses, parents, chance.sample(nodes, 2))
    assert all(statuses[node] == statuses[head] for node, head in heads.items())
    assert cycle(quotient(parents, heads)) == []
