"""Which job may run: the board of dependencies, held to a model that is slow and obvious."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrec.graph import ANY, FAILED, KINDS, OK, Board, cycle, ordered
from qrec.task import FINAL, Status

BAD = sorted(FINAL - {Status.COMPLETE})

Links = list[tuple[str, str]]


class Model:
    """What a board promises, worked out anew for every question from all that ever happened."""

    def __init__(self) -> None:
        self.waiting: dict[str, tuple[int, int, Links]] = {}  # uid -> priority, number, links
        self.judged: dict[str, dict[tuple[str, str], Status]] = {}  # uid -> link -> how that parent ended

    def add(self, uid: str, number: int, priority: int, links: Links, known: Mapping[str, Status]) -> None:
        self.waiting[uid] = (priority, number, links)
        ended = {link: known.get(link[0], Status.LOST) for link in links}
        self.judged[uid] = {link: status for link, status in ended.items() if status.is_final}

    def ended(self, uid: str, status: Status) -> None:
        for child, (_, _, links) in self.waiting.items():
            for link in links:
                if link[0] == uid:
                    self.judged[child].setdefault(link, status)

    def is_doomed(self, uid: str) -> bool:
        _, _, links = self.waiting[uid]
        judged = self.judged[uid]
        if any(judged.get(link, Status.COMPLETE) is not Status.COMPLETE for link in links if link[1] == OK):
            return True
        wanted = [link for link in links if link[1] == FAILED]
        all_ended = all(link in judged for link in links)
        return bool(wanted) and all_ended and all(judged[link] is Status.COMPLETE for link in wanted)

    def is_ready(self, uid: str) -> bool:
        return all(link in self.judged[uid] for link in self.waiting[uid][2]) and not self.is_doomed(uid)

    def ready(self) -> list[str]:
        """By descending priority, then age."""
        return sorted(
            filter(self.is_ready, self.waiting), key=lambda uid: (-self.waiting[uid][0], self.waiting[uid][1])
        )

    def doomed(self) -> set[str]:
        return set(filter(self.is_doomed, self.waiting))


def ready_of(board: Board) -> list[str]:
    """All that is ready; it is still so afterwards."""
    found = list(board.take_ready())
    for uid in found:
        board.put_back(uid)
    return found


def board_of(*jobs: tuple[str, int, int, Links], known: Mapping[str, Status] | None = None) -> Board:
    """A board with jobs, whose parents wait unless `known` says otherwise."""
    board = Board()
    parents = {parent: Status.QUEUED for *_, links in jobs for parent, _ in links}
    for uid, number, priority, links in jobs:
        board.add(uid, number, priority, links, {**parents, **(known or {})})
    return board


# Against the model


@st.composite
def dags(draw: st.DrawFn) -> dict[str, tuple[int, Links]]:
    """Jobs with their priority and links, each to earlier ones only; a parent may have several kinds of links."""
    jobs: dict[str, tuple[int, Links]] = {}
    for number in range(draw(st.integers(1, 9))):
        link = st.tuples(st.sampled_from([*jobs, "outside", "gone"]), st.sampled_from(KINDS))
        jobs[f"job-{number}"] = (
            draw(st.integers(-1, 1)),
            draw(st.lists(link, max_size=4, unique_by=lambda one: one[0])),
        )
    return jobs


@given(jobs=dags(), data=st.data())
@settings(deadline=None, max_examples=300)
def test_the_board_is_as_the_model_says(jobs, data):
    """Random jobs with all kinds of links end in random order, come back, change, and go."""
    board, model = Board(), Model()
    status = {**dict.fromkeys(jobs, Status.QUEUED), "outside": Status.RUNNING}
    numbers = {uid: number for number, uid in enumerate(data.draw(st.permutations(sorted(jobs))))}

    def add(uid: str) -> None:
        priority, links = jobs[uid]
        for one in (board, model):
            one.add(uid, numbers[uid], priority, links, status)

    def end(uid: str, how: Status) -> None:
        """Somebody took it from the board before, if it was a job."""
        board.remove(uid)
        model.waiting.pop(uid, None)
        status[uid] = how
        for one in (board, model):
            one.ended(uid, how)

    def check() -> None:
        assert set(board.jobs) == set(model.waiting)
        assert len(board) == len(model.waiting)
        assert set(board.doomed) == model.doomed()
        assert ready_of(board) == model.ready()
        waited_for = {link[0] for uid, judged in model.judged.items() for link in jobs[uid][1]
                      if uid in model.waiting and link not in judged}  # fmt: skip
        assert waited_for <= set(board.parents())

    for uid in data.draw(st.permutations(sorted(jobs))):
        add(uid)
        check()
    for _ in range(data.draw(st.integers(0, 14))):
        unfinished = sorted(uid for uid, how in status.items() if not how.is_final)
        finals = sorted(set(jobs) - set(model.waiting))
        step = data.draw(st.sampled_from(["end", "end", "again", "remove", "priority"]))
        if step == "end" and unfinished:
            end(data.draw(st.sampled_from(unfinished)), data.draw(st.sampled_from([Status.COMPLETE, *BAD])))
        if step == "again" and finals:
            uid = data.draw(st.sampled_from(finals))
            status[uid] = Status.QUEUED
            add(uid)
        if step == "remove" and model.waiting:  # claimed: it runs, and its children go on waiting
            uid = data.draw(st.sampled_from(sorted(model.waiting)))
            board.remove(uid)
            del model.waiting[uid]
            status[uid] = Status.RUNNING
        if step == "priority" and model.waiting:
            uid = data.draw(st.sampled_from(sorted(model.waiting)))
            jobs[uid] = (data.draw(st.integers(-2, 2)), jobs[uid][1])
            model.waiting[uid] = (jobs[uid][0], *model.waiting[uid][1:])
            board.prioritize(uid, jobs[uid][0])
        check()


@given(jobs=dags(), data=st.data())
@settings(deadline=None, max_examples=100)
def test_every_job_is_run_or_doomed_once(jobs, data):
    """As a worker does it: parents run before their children, and in the end nothing waits."""
    uids = {uid: number for number, uid in enumerate(jobs)}
    board = Board()
    for uid in data.draw(st.permutations(sorted(jobs))):
        board.add(uid, uids[uid], jobs[uid][0], jobs[uid][1], {**dict.fromkeys(jobs, Status.QUEUED),
                                                                "outside": Status.COMPLETE})  # fmt: skip
    ends: dict[str, Status] = {"outside": Status.COMPLETE, "gone": Status.LOST}
    while len(board):
        batch = list(islice(board.take_ready(), data.draw(st.integers(1, 3))))
        doomed = board.take_doomed(2)
        assert batch or doomed, "nobody waits for ever"
        for uid in batch:
            assert all(parent in ends for parent, _ in jobs[uid][1])
            assert all(ends[parent] is Status.COMPLETE for parent, kind in jobs[uid][1] if kind == OK)
        for uid, why in doomed.items():
            assert why in {parent for parent, _ in jobs[uid][1]}
            assert why in ends
        for uid in (*batch, *doomed):
            assert uid not in ends
            ends[uid] = Status.SKIPPED if uid in doomed else data.draw(st.sampled_from([Status.COMPLETE, *BAD]))
            board.remove(uid)
            board.ended(uid, ends[uid])
    assert jobs.keys() <= ends.keys()
    assert list(board.parents()) == []


# One by one


@pytest.mark.parametrize("how", sorted(FINAL))
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_end_of_a_parent_means(kind, how):
    board = board_of(("child", 2, 0, [("parent", kind)]))
    assert (ready_of(board), board.doomed) == ([], {})
    board.ended("parent", how)
    may_run = {OK: how is Status.COMPLETE, ANY: True, FAILED: how is not Status.COMPLETE}[kind]
    assert ready_of(board) == (["child"] if may_run else [])
    assert board.doomed == ({} if may_run else {"child": "parent"})
    known = board_of(("child", 2, 0, [("parent", kind)]), known={"parent": how})
    assert (ready_of(known), known.doomed) == (ready_of(board), board.doomed), "nor does it matter when it is known"


def test_one_that_failed_is_enough_for_what_waits_for_a_failure():
    links = [("a", FAILED), ("b", FAILED), ("c", OK)]
    for ends in ([Status.COMPLETE, Status.FAILED], [Status.FAILED, Status.COMPLETE]):
        board = board_of(("child", 9, 0, links))
        for parent, how in zip("ab", ends, strict=True):
            board.ended(parent, how)
        assert ready_of(board) == [], "all must have ended"
        board.ended("c", Status.COMPLETE)
        assert ready_of(board) == ["child"]
    board = board_of(("child", 9, 0, links))
    for parent in "abc":
        board.ended(parent, Status.COMPLETE)
    assert board.doomed == {"child": "a"}


def test_doom_is_known_before_all_have_ended_and_names_the_first():
    board = board_of(("child", 9, 0, [("a", OK), ("b", OK), ("c", ANY)]))
    board.ended("b", Status.FAILED)
    assert board.doomed == {"child": "b"}
    board.ended("a", Status.CANCELLED)
    board.ended("c", Status.FAILED)
    assert (board.take_doomed(9), ready_of(board)) == ({"child": "b"}, [])
    assert board.take_doomed(9) == {}, "each is given once"


def test_the_ready_ones_come_by_priority_then_age():
    board = board_of(("old", 1, 0, []), ("new", 3, 0, []), ("urgent", 4, 5, []), ("late", 2, -1, []))
    assert ready_of(board) == ["urgent", "old", "new", "late"]
    board.prioritize("late", 9)
    assert ready_of(board) == ["late", "urgent", "old", "new"]
    board.prioritize("late", 0)
    board.remove("urgent")
    assert ready_of(board) == ["old", "late", "new"]
    taken = board.take_ready()
    assert [next(taken), next(taken)] == ["old", "late"]
    assert list(board.take_ready()) == ["new"], "each is given once"
    board.put_back("late")
    assert list(board.take_ready()) == ["late"]


def test_a_doomed_job_that_comes_back_is_judged_anew():
    board = board_of(("child", 2, 0, [("parent", OK)]))
    board.ended("parent", Status.FAILED)
    assert board.take_doomed(1) == {"child": "parent"}
    board.remove("child")
    board.add("parent", 1, 0, [], {})
    board.add("child", 2, 0, [("parent", OK)], {"parent": Status.QUEUED})
    assert ready_of(board) == ["parent"]
    board.remove("parent")
    board.ended("parent", Status.COMPLETE)
    assert (ready_of(board), board.doomed) == (["child"], {})


def test_a_thousand_children_of_one_that_ends_and_no_trace_of_the_ended():
    board = board_of(*((f"child-{number}", number, 0, [("parent", OK)]) for number in range(1000)))
    board.ended("parent", Status.COMPLETE)
    for uid in list(board.take_ready()):
        board.remove(uid)
        board.ended(uid, Status.COMPLETE)
    assert (len(board), list(board.parents()), board.ready, board.doomed) == (0, [], {}, {})


def test_behind_one_that_does_not_fit_none_is_given_that_needs_the_same():
    """All others are, in their order; the next time they are there again."""
    board = Board()
    for number, (uid, what) in enumerate([("a", 1), ("b", 1), ("c", None), ("d", 2), ("e", 1), ("f", None)]):
        board.add(uid, number, int(uid == "f"), [], {}, needs=what)
    short: set[int] = set()
    taken = []
    for uid in board.take_ready(short):
        taken.append(uid)
        if uid == "b":
            short.add(1)
            board.put_back(uid)
    assert taken == ["f", "a", "b", "c", "d"]
    assert (board.has_ready(short), board.has_ready()) == (False, True)
    assert list(board.take_ready()) == ["b", "e"]
    assert not board.has_ready()


# Cycles and order

GRAPHS = st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdefx"), max_size=3), max_size=6)


def reaches(parents: Mapping[str, list[str]], start: str) -> set[str]:
    """All that is above a node, itself if it is in a cycle."""
    found: set[str] = set()
    fresh = set(parents.get(start, ()))
    while fresh:
        found |= fresh
        fresh = {above for node in fresh for above in parents.get(node, ())} - found
    return found


@given(GRAPHS)
@settings(deadline=None, max_examples=300)
def test_a_cycle_is_found_if_there_is_one(parents):
    found = cycle(parents)
    assert bool(found) == any(node in reaches(parents, node) for node in parents)
    if found:
        assert found[0] == found[-1]
        assert len(set(found)) == len(found) - 1
        assert all(after in parents[node] for node, after in pairwise(found))


@given(GRAPHS)
@settings(deadline=None, max_examples=300)
def test_order_puts_parents_first_and_keeps_what_was_given(parents):
    found = ordered(parents)
    sound = [
        node for node in parents if not any(one in reaches(parents, one) for one in {node, *reaches(parents, node)})
    ]
    assert sorted(found) == sorted(sound)
    assert all(found.index(above) < place for place, node in enumerate(found) for above in parents[node]
               if above in parents)  # fmt: skip
    # at every step it takes the first given of those that can come
    for place, node in enumerate(found):
        done = set(found[:place])
        can = [one for one in sound if one not in done and all(up in done for up in parents[one] if up in parents)]
        assert node == can[0]


def test_what_is_in_order_already_stays_so():
    assert ordered({"a": [], "b": ["a"], "c": [], "d": ["c", "a", "elsewhere"]}) == list("abcd")
    assert ordered({"d": ["a"], "c": [], "a": []}) == list("cad")
    assert ordered({}) == cycle({}) == []


def test_a_cycle_is_told_as_what_waits_for_what():
    assert cycle({"a": ["a"]}) == ["a", "a"]
    assert cycle({"a": ["b"], "b": ["c"], "c": ["d"], "d": ["b"]}) == list("bcdb")


def test_neither_depth_nor_width_is_a_problem():
    chain = {str(number): [str(number - 1)] for number in range(50_000, 0, -1)}
    assert cycle(chain) == []
    assert ordered(chain) == [str(number) for number in range(1, 50_001)]
    assert len(cycle({**chain, "1": ["50000"]})) == 50_001
