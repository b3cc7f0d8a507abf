"""What every store promises.  Subclass `StoreContract`, name your store, and run pytest.

class TestMyStore(StoreContract):
    @pytest.fixture
    def kind(self):
        return MyStore  # called with a home; must be picklable

Where writers wait for a lock, override `take_lock` as well; it is given the store's location, in a process of its own.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest

from qrec.errors import (
    DuplicateTask,
    IllegalMove,
    ManyTasks,
    NoSuchTask,
    StaleTask,
    StoreBusy,
    StoreError,
)
from qrec.output import Frozen, attempt_folder, make_private
from qrec.stores.base import CHANGEABLE, LASTING, REMOVED, SORTED_BY, Bundle, Order, Query, Store
from qrec.task import MOVES, UNFINISHED, Kept, Status, Task, new_uid, timestamp
from qrec.testing.processes import (
    Elsewhere,
    add_and_delete,
    add_in_two_steps,
    add_pairs,
    add_some,
    count_up,
    end_once,
    grab,
    hold,
    note_often,
    note_until_told,
    together,
    wait_until,
)
from qrec.testing.samples import NAMES, QUEUES, TIMES, WEIRD, Samples, examples

Factory = Callable[[], Store]

EVERY_MOVE = list(itertools.product(Status, Status))

#: The task of a store whose lock is held.
HELD = "shell-4e1d0000-0000-4000-8000-000000000000"


class Ear:
    """Hears what a store tells of its changes; None stands for a step that has been made."""

    def __init__(self) -> None:
        self.heard: list[tuple[Status, int, Status | None] | None] = []

    def moved(self, task: Task, was: Status | None) -> None:
        """A task is about to take its status."""
        self.heard.append((task.status, task.attempt, was))

    def committed(self) -> None:
        """It has."""
        self.heard.append(None)


def make(**fields: Any) -> Task:
    """A new task with a uid of its own."""
    given = {"uid": new_uid(fields.get("executor", "shell")), "executor": "shell", "argv": ("echo", "hi")}
    return Task(**{**given, "created": TIMES[0], **fields})


def may_swap(was: Status, now: Status) -> bool:
    """Whether `swap` takes a task from one status to the other."""
    opens_an_attempt = was.is_final and was is not Status.LOST and now in UNFINISHED
    return now in MOVES[was] and not opens_an_attempt


def snapshot(store: Store) -> list[tuple[Any, ...]]:
    """All that a store says of its tasks."""
    tasks = store.find()
    return [(t, list(store.attempts(t.uid)), [store.kept(t.uid, n) for n in range(1, t.attempt + 1)]) for t in tasks]


def notes_told(store: Store, uid: str) -> int:
    """How many notes on a task the events tell of."""
    return sum(event.uid == uid and event.kind not in {"added", "status", "removed"} for event in store.events())


def enter(store: Store) -> None:
    """Do nothing together."""
    with store.together():
        pass


def past(index: int) -> Task:
    """One of many tasks that differ in all that they can be sorted by."""
    status = Status.FAILED if index % 10 == 0 else Status.COMPLETE
    began = 1.6e9 + index
    return make(
        argv=("make", str(index)), turn=index + 1, status=status, returncode=int(status is Status.FAILED),
        created=timestamp(began), started=timestamp(began), ended=timestamp(began + index % 17),
        usage={"memory": index * 7919 % 10_007},
    )  # fmt: skip


def fill(store: Store) -> None:
    """Sixty such tasks, of which the fourth runs once more."""
    store.add_all([Bundle(task=past(index)) for index in range(60)])
    store.add(past(3).copy(status=Status.RUNNING, ended=None, usage={}, started=None))


class StoreContract:
    """Give `kind`; everything else follows."""

    #: Whether an error or a crash in `together` takes back all that was changed there; set it to False if it does not.
    takes_back: ClassVar[bool] = True

    @pytest.fixture
    def kind(self) -> Callable[[str], Store]:
        """What makes a handle on the store of a home folder; it must be picklable."""
        raise NotImplementedError

    @pytest.fixture
    def take_lock(self) -> Callable[[str], object] | None:
        """What takes the lock that writers of the store at a location wait for, for as long as its result lives."""
        return None

    @pytest.fixture
    def home(self, tmp_path: Path) -> Path:
        return tmp_path / "home"

    @pytest.fixture
    def factory(self, kind: Callable[[str], Store], home: Path) -> Factory:
        """Makes one more handle on the same store, here or in another process."""
        return partial(kind, str(home))

    @pytest.fixture
    def store(self, factory: Factory) -> Iterator[Store]:
        with contextlib.closing(factory()) as store:
            yield store

    @pytest.fixture
    def other(self, factory: Factory) -> Iterator[Store]:
        """A second handle, as another process has one."""
        with contextlib.closing(factory()) as store:
            yield store

    # Adding

    def test_a_task_comes_back_as_it_was_added(self, store, other):
        task = make(
            message="a note",
            tags=("x", "y"),
            pwd="/tmp",
            user="me",
            host="here",
            status=Status.FAILED,
            pid=12,
            returncode=137,
            signal=9,
            started=TIMES[0],
            ended=TIMES[1],
            usage={"cpu": 1.5, "memory": 2**40},
            facts={"git": {"commit": "abc", "dirty": False}},
            queue="q",
            name="job",
            after=("shell-1", "shell-2"),
            priority=-3,
            wish="cancel",
            data={"jobid": "4242", "list": [1, None]},
        )
        added = store.add(task)
        assert added == task.copy(number=1)
        assert other.get(task.uid) == other.numbered(1) == other.find()[0] == added

    @examples(60)
    def test_every_word_is_kept_exactly(self, store, samples: Samples):
        argv = tuple(samples.several(samples.word, 4, least=1))
        message, pwd, data = samples.word(), samples.word(), samples.notes()
        added = store.add(make(argv=argv, message=message, pwd=pwd, data=data))
        assert (added.argv, added.message, added.pwd, added.data) == (argv, message, pwd, data)
        assert store.get(added.uid) == added

    def test_numbers_grow_by_one(self, store, other):
        assert [handle.add(make()).number for handle in (store, other, store)] == [1, 2, 3]

    def test_a_number_is_never_given_twice(self, store, factory):
        tasks = [store.add(make()) for _ in range(3)]
        for task in reversed(tasks):
            store.delete(task.uid)
        store.close()
        with contextlib.closing(factory()) as later:
            assert later.add(make()).number == 4

    def test_a_number_in_the_given_task_does_not_matter(self, store):
        assert store.add(make(number=77)).number == 1

    def test_a_uid_is_added_once(self, store, other):
        task = store.add(make(message="first"))
        for handle in (store, other):
            with pytest.raises(DuplicateTask):
                handle.add(task.copy(message="second"))
        assert store.find() == [task]
        assert len(store.events()) == 1

    def test_a_deleted_uid_may_come_again(self, store, other):
        task = store.add(make())
        other.get(task.uid)
        store.delete(task.uid)
        again = store.add(task)
        assert again.number == 2
        assert other.get(task.uid) == store.get(task.uid) == again

    def test_eight_processes_add_at_once(self, store, factory):
        added = [pair for pairs in together(8, add_some, factory, 10) for pair in pairs]
        assert sorted(number for number, _ in added) == list(range(1, 81))
        assert [turn for _, turn in sorted(added)] == sorted({turn for _, turn in added})
        assert [task.number for task in store.find()] == list(range(1, 81))
        assert [event.number for event in store.events()] == list(range(1, 81))

    # Turns

    def test_a_persons_task_gets_a_turn_above_all_others(self, store):
        turns = [store.add(make(turn=1)).turn for _ in range(3)]
        assert turns == sorted(set(turns))
        assert min(turns) > 0

    def test_a_task_that_no_person_started_has_no_turn(self, store):
        person = store.add(make(turn=1))
        worker = store.add(make())
        assert worker.turn == 0
        assert store.latest() == person

    def test_a_task_taken_in_late_does_not_pass_for_the_newest(self, store):
        running = store.add(make(turn=20))
        late = store.add(make(turn=10, status=Status.COMPLETE))
        assert late.turn == 10
        assert store.latest() == running
        assert store.change(late.uid, turn=15).turn == 15
        assert store.latest() == running
        assert store.change(late.uid, turn=30) == store.latest()
        assert store.add(make(turn=1)).turn > 30

    def test_a_rerun_takes_the_newest_turn(self, store):
        first = store.add(make(turn=1, status=Status.QUEUED))
        second = store.add(make(turn=1))
        store.swap(first.uid, (Status.QUEUED, 1), Status.CANCELLED)
        again = store.archive(first.uid, (Status.CANCELLED, 1), Status.RUNNING, turn=1)
        assert again.turn > second.turn
        assert store.latest() == again
        assert store.add(make(turn=1)).turn > again.turn

    def test_a_retry_without_turn_keeps_the_old_one(self, store):
        first = store.add(make(turn=1))
        second = store.add(make(turn=1))
        store.swap(first.uid, (Status.RUNNING, 1), Status.FAILED)
        again = store.archive(first.uid, (Status.FAILED, 1), Status.QUEUED)
        assert again.turn == first.turn
        assert store.latest() == second

    def test_the_latest_after_deleting_is_the_one_before(self, store, other):
        first, second, third = (store.add(make(turn=1)) for _ in range(3))
        store.delete(third.uid)
        assert store.latest() == other.latest() == second
        store.delete(first.uid)
        assert store.latest() == second

    def test_without_turns_the_highest_number_is_the_latest(self, store):
        store.add(make())
        newest = store.add(make())
        assert store.latest() == newest

    # Compare and set

    @pytest.mark.parametrize(("was", "now"), EVERY_MOVE, ids=lambda status: str(status))
    def test_swap_goes_the_legal_ways_only(self, store, was, now):
        task = store.add(make(status=was))
        if may_swap(was, now):
            assert store.swap(task.uid, (was, 1), now, pid=5) == task.copy(status=now, pid=5) == store.get(task.uid)
            assert [event.kind for event in store.events()] == ["added", "status"]
        else:
            with pytest.raises(IllegalMove):
                store.swap(task.uid, (was, 1), now, pid=5)
            assert store.get(task.uid) == task
            assert len(store.events()) == 1

    @pytest.mark.parametrize(("was", "now"), EVERY_MOVE, ids=lambda status: str(status))
    def test_archive_leads_from_final_to_unfinished_only(self, store, was, now):
        task = store.add(make(status=was))
        if was.is_final and not now.is_final:
            assert store.archive(task.uid, (was, 1), now).attempt == 2
            assert [event.kind for event in store.events()] == ["added", "status"]
        else:
            with pytest.raises(IllegalMove):
                store.archive(task.uid, (was, 1), now)
            assert store.get(task.uid) == task
            assert len(store.events()) == 1

    @pytest.mark.parametrize("was", [(Status.QUEUED, 1), (Status.RUNNING, 2), (Status.SUBMITTED, 1)])
    def test_swap_from_what_it_is_not(self, store, was):
        task = store.add(make())
        with pytest.raises(StaleTask, match=task.uid):
            store.swap(task.uid, was, Status.CANCELLED, kept=Kept(stdout=b"lost"), returncode=1)
        assert store.get(task.uid) == task
        assert store.kept(task.uid, 1) is None
        assert len(store.events()) == 1

    @pytest.mark.parametrize("was", [(Status.FAILED, 2), (Status.COMPLETE, 1)])
    def test_archive_from_what_it_is_not(self, store, was):
        task = store.add(make(status=Status.FAILED, turn=1))
        with pytest.raises(StaleTask, match=task.uid):
            store.archive(task.uid, was, Status.QUEUED, turn=1)
        assert store.get(task.uid) == task
        assert store.attempts(task.uid) == []
        assert len(store.events()) == 1
        assert store.latest() == task

    def test_eight_processes_grab_sixty_tasks(self, store, factory):
        queued = {store.add(make(status=Status.QUEUED)).uid for _ in range(60)}
        won = list(itertools.chain.from_iterable(together(8, grab, factory)))
        assert len(won) == 60
        assert set(won) == queued
        assert {task.status for task in store.find()} == {Status.RUNNING}
        assert len(store.events()) == 120

    def test_of_eight_processes_one_ends_a_task(self, store, factory):
        task = store.add(make())
        assert sorted(together(8, end_once, factory, task.uid)) == [False] * 7 + [True]
        assert len(store.events()) == 2

    def test_swap_writes_the_named_fields_only(self, store, other):
        task = store.add(make(facts={"a": 1}, usage={"cpu": 1}, message="before"))
        other.change(task.uid, message="a note made meanwhile", tags=("t",), wish="cancel", priority=4)
        ended = store.swap(task.uid, (Status.RUNNING, 1), Status.CANCELLED, returncode=130, signal=2, ended=TIMES[2])
        changes = {"message": "a note made meanwhile", "tags": ("t",), "wish": "cancel", "priority": 4}
        expected = task.copy(status=Status.CANCELLED, returncode=130, signal=2, ended=TIMES[2], **changes)
        assert ended == store.get(task.uid) == other.get(task.uid) == expected

    def test_swap_of_a_task_that_was_just_read(self, store, other):
        task = store.add(make(status=Status.QUEUED, data={"own": 1}))
        running = store.swap(task.uid, (Status.QUEUED, 1), Status.RUNNING, known=task, pid=5)
        assert running == task.copy(status=Status.RUNNING, pid=5) == other.get(task.uid)
        kept, ending = Kept(stdout=b"out"), {"ended": TIMES[2], "returncode": 0, "data": {"own": 2}}
        ended = store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept, known=running, **ending)
        assert ended == running.copy(status=Status.COMPLETE, **ending) == other.get(task.uid)
        assert other.kept(task.uid, 1) == kept
        assert [event.kind for event in other.events()] == ["added", "status", "status"]

    def test_swap_of_a_task_that_was_read_too_early(self, store, other):
        task = store.add(make(status=Status.QUEUED))
        noted = other.change(task.uid, message="a note made meanwhile", tags=("t",))
        running = store.swap(task.uid, (Status.QUEUED, 1), Status.RUNNING, known=task, pid=5)
        assert (running.status, running.pid) == (Status.RUNNING, 5)
        assert other.get(task.uid) == noted.copy(status=Status.RUNNING, pid=5)
        before = snapshot(other)
        with pytest.raises(StaleTask, match=task.uid):
            store.swap(task.uid, (Status.QUEUED, 1), Status.CANCELLED, kept=Kept(stdout=b"lost"), known=task)
        assert snapshot(other) == before
        assert len(other.events()) == 3
        other.delete(task.uid)
        with pytest.raises(NoSuchTask):
            store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"lost"), known=running)
        assert snapshot(other) == []

    def test_hooks_hear_of_each_change_of_status_once(self, store, monkeypatch):
        ear = Ear()
        monkeypatch.setattr(store, "firing", ear, raising=False)
        task = store.add(make())
        store.swap(task.uid, (Status.RUNNING, 1), Status.FAILED)
        with pytest.raises(StaleTask):
            store.swap(task.uid, (Status.RUNNING, 1), Status.LOST)
        store.change(task.uid, message="a note")
        store.add_all([Bundle(task=make(status=Status.FAILED))])
        store.archive(task.uid, (Status.FAILED, 1), Status.QUEUED)
        heard = [(Status.RUNNING, 1, None), (Status.FAILED, 1, Status.RUNNING), (Status.QUEUED, 2, None)]
        assert [told for told in ear.heard if told is not None] == heard
        assert ear.heard[-1] is None, "it is told that the step has been made"
        ear.heard.clear()
        with store.together():
            store.swap(task.uid, (Status.QUEUED, 2), Status.RUNNING)
            store.swap(task.uid, (Status.RUNNING, 2), Status.COMPLETE)
            assert None not in ear.heard
        assert ear.heard == [(Status.RUNNING, 2, Status.QUEUED), (Status.COMPLETE, 2, Status.RUNNING), None]

    def test_what_hooks_have_noted_is_kept(self, store, other):
        """Whoever ends a task, or runs it again, may have read it before they noted anything."""
        task = store.add(make(data={"own": 1}))
        noted = [{"name": "a"}]
        other.change(task.uid, data={**task.data, "hooks": noted})
        ended = store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, data={"own": 2})
        assert ended.data == other.get(task.uid).data == {"own": 2, "hooks": noted}
        assert store.change(task.uid, data={"own": 3, "hooks": []}).data == {"own": 3, "hooks": noted}
        assert store.change(task.uid, data={"hooks": [*noted, {"name": "b"}]}).data["hooks"] == [*noted, {"name": "b"}]
        again = store.archive(task.uid, (Status.COMPLETE, 1), Status.RUNNING)
        assert again.data == other.get(task.uid).data == {"hooks": [*noted, {"name": "b"}]}

    def test_search_knows_what_a_swap_of_a_known_task_changed(self, store, other):
        task = store.add(make())
        lost = store.swap(task.uid, (Status.RUNNING, 1), Status.LOST)
        list(store.candidates(["needle"], Query()))  # an index may have been filled by this
        store.swap(task.uid, (Status.LOST, 1), Status.FAILED, kept=Kept(stdout=b"a needle\n"), known=lost)
        assert [found.uid for found in other.candidates(["needle"], Query())] == [task.uid]
        assert list(other.check()) == []

    # Several changes together

    def test_what_is_done_together_is_seen_inside_and_afterwards(self, store, other):
        with store.together():
            task = store.add(make(status=Status.QUEUED, queue="q", name="job"))
            running = store.swap(task.uid, (Status.QUEUED, 1), Status.RUNNING)
            store.set_policy("q", {"workers": 2})
            assert store.find() == [store.get(task.uid)] == [running]
            assert (store.policies(), store.job_names(Query())) == ({"q": {"workers": 2}}, {"job": task.uid})
            assert store.last_event() == store.events()[-1].sequence
        assert other.find() == [running]
        assert other.policies() == {"q": {"workers": 2}}
        assert [event.kind for event in other.events()] == ["added", "status", "queue"]

    def test_nothing_together_makes_no_event(self, store, other):
        store.add(make())
        before = other.last_event()
        enter(store)
        assert other.last_event() == before

    def test_together_within_together_is_a_part_of_it(self, store, other):
        other.patience = 0.05
        with store.together():
            with store.together():
                first = store.add(make())
            for write in (lambda: other.add(make()), lambda: enter(other)):
                with pytest.raises(StoreBusy):
                    write()
            second = store.add(make())
        assert other.find() == [first, second]
        assert other.add(make()).number == 3

    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, NoSuchTask])
    @pytest.mark.parametrize("inner", [False, True], ids=["outer", "inner"])
    def test_an_error_in_the_middle(self, store, other, error, inner):
        task = store.add(make(message="before"))
        store.set_policy("q", {"number": 1})
        before, events = snapshot(store), list(store.events())

        def write() -> None:
            with store.together():
                store.change(task.uid, message="after")
                store.set_policy("q", {"number": 2})
                with store.together() if inner else contextlib.nullcontext():
                    store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"out"))
                    store.add(make(uid=HELD))
                    raise error("in the middle")

        with pytest.raises(error):
            write()
        if self.takes_back:
            assert (snapshot(other), list(other.events())) == (before, events)
            assert (other.policies(), other.last_event()) == ({"q": {"number": 1}}, events[-1].sequence)
        else:
            assert [other.get(task.uid).message, other.get(task.uid).status] == ["after", Status.COMPLETE]
            assert (other.policies(), other.kept(task.uid, 1)) == ({"q": {"number": 2}}, Kept(stdout=b"out"))
            assert [event.kind for event in other.events()[-4:]] == ["note", "queue", "status", "added"]
        other.patience = 0.05
        assert other.add(make()).number == other.highest_number(), "the lock is free again"

    def test_an_error_that_is_caught_inside_leaves_the_rest(self, store, other):
        task = store.add(make(status=Status.FAILED))
        with store.together():
            store.change(task.uid, message="before")
            for error, write in {
                StaleTask: lambda: store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"x")),
                IllegalMove: lambda: store.swap(task.uid, (Status.FAILED, 1), Status.RUNNING),
                DuplicateTask: lambda: store.add(task),
                NoSuchTask: lambda: store.change("shell-nobody", message="m"),
            }.items():
                with pytest.raises(error):
                    write()
            stale = task.copy(status=Status.RUNNING)
            with pytest.raises(StaleTask):
                store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, known=stale)
            second = store.add(make())
        assert other.find() == [task.copy(message="before"), second]
        assert other.kept(task.uid, 1) is None
        assert [event.kind for event in other.events()] == ["added", "note", "added"]

    def test_eight_processes_count_together(self, store, factory):
        together(8, count_up, factory, 10)
        assert store.policies() == {"q": {"number": 80}}
        assert len(store.events()) == 80

    def test_others_write_before_or_after(self, store, factory):
        uids = [new_uid("shell") for _ in range(4)]
        store.add(make())
        with Elsewhere(add_in_two_steps, factory, uids) as first, Elsewhere(add_some, factory, 1) as second:
            first.go()
            first.hears("in the middle")
            store.patience = 0.05
            for write in (lambda: store.add(make()), lambda: enter(store), lambda: store.set_policy("q", {})):
                with pytest.raises(StoreBusy):
                    write()
            second.go()
            assert [task.uid for task in store.find()][1:] == ([] if self.takes_back else uids[:2])
            first.go()
            first.result()
            assert [number for number, _ in second.result()] == [6]
        assert [task.uid for task in store.find()][1:5] == uids

    def test_another_thread_is_another_writer(self, store):
        errors = []

        def write() -> None:
            for call in (lambda: store.add(make()), lambda: enter(store)):
                try:
                    call()
                except StoreBusy as error:
                    errors.append(error)
            store.close()

        store.patience = 0.05
        with store.together():
            store.add(make())
            thread = threading.Thread(target=write)
            thread.start()
            thread.join()
            store.add(make())
        assert len(errors) == 2
        assert [task.number for task in store.find()] == [1, 2]

    def test_a_reader_sees_all_that_was_done_together_or_nothing(self, store, factory):
        seen = [0]
        with Elsewhere(add_pairs, factory, 40) as writer:
            writer.go()
            while writer.is_busy():
                seen.append(store.count(Query(queue="q")))
            writer.result()
        assert seen == sorted(seen)
        assert not self.takes_back or {count % 2 for count in seen} == {0}
        assert store.count(Query(queue="q")) == 80

    def test_a_crash_in_the_middle(self, store, factory):
        uids = [new_uid("shell") for _ in range(6)]
        store.add(make())
        with Elsewhere(add_in_two_steps, factory, uids) as writer:
            writer.go()
            writer.hears("in the middle")
            writer.kill()
        whole = [] if self.takes_back else uids[:3]
        assert [task.uid for task in store.find()][1:] == whole
        assert [event.uid for event in store.events()][1:] == whole
        assert store.last_event() == 1 + len(whole)
        assert list(store.check()) == []
        store.patience = 0.05
        assert store.add_all([Bundle(task=make(uid=uid)) for uid in uids]) == 6 - len(whole)

    @pytest.mark.parametrize("moment", [1, 9, 25])
    def test_a_crash_at_any_moment(self, store, factory, moment):
        with Elsewhere(add_pairs, factory, 500) as writer:
            writer.go()
            wait_until(lambda: store.policies().get("q", {}).get("pairs", 0) >= moment)
            writer.kill()
        pairs, tasks = store.policies()["q"]["pairs"], store.find()
        told = [event.uid for event in store.events() if event.kind == "added"]
        assert told == [task.uid for task in tasks][-len(told) :]
        assert len(tasks) in ([2 * pairs] if self.takes_back else [2 * pairs, 2 * pairs + 1, 2 * pairs + 2])
        store.patience = 5
        assert store.add(make()).number == store.highest_number() > len(tasks)

    # Queues

    def test_a_policy_is_remembered_replaced_and_forgotten(self, store, other):
        assert store.policies() == {}
        store.set_policy("q", {"workers": 2, "gpus": ("0", "1"), "env": {"A B": "$(x) 'y'"}, "paused": True})
        assert other.policies() == {"q": {"workers": 2, "gpus": ["0", "1"], "env": {"A B": "$(x) 'y'"}, "paused": True}}
        other.set_policy("r", {})
        other.set_policy("q", {"workers": 3})
        assert store.policies() == {"q": {"workers": 3}, "r": {}}
        store.set_policy("q", None)
        store.set_policy("nobody", None)
        assert store.policies() == other.policies() == {"r": {}}
        store.close()
        assert store.policies() == {"r": {}}
        told = [(event.uid, event.number, event.kind) for event in other.events()]
        assert told == [(name, 0, "queue") for name in ["q", "r", "q", "q", "nobody"]]

    @examples(40)
    def test_policies_are_kept_exactly(self, store, samples: Samples):
        names = [*QUEUES, *filter(None, samples.several(samples.word, 4))]
        changes = samples.several(lambda: (samples.choice(names), samples.maybe(samples.notes())), 6)
        for name in store.policies():
            store.set_policy(name, None)
        expected = {}
        for name, policy in changes:
            store.set_policy(name, policy)
            assert (store.events()[-1].uid, store.events()[-1].sequence) == (name, store.last_event())
            expected[name] = policy
        assert store.policies() == {name: policy for name, policy in expected.items() if policy is not None}

    def test_tasks_are_found_by_their_place_in_a_queue(self, store, other):
        jobs = [store.add(make(queue=queue, name=name)) for queue in ("q", "r") for name in ("a", None, "b")]
        plain = store.add(make())
        assert other.find(Query(queue="q")) == jobs[:3]
        assert other.find(Query(queue="q", above=1)) == jobs[1:3]
        assert other.find(Query(queue="r", name="b")) == [jobs[5]]
        assert other.find(Query(above=5)) == [jobs[5], plain]
        assert other.find(Query(queue="")) == other.find(Query(name="")) == other.find(Query(above=7)) == []
        assert other.count(Query(queue="r", above=4, statuses=frozenset({Status.RUNNING}))) == 2

    def test_the_names_of_jobs(self, store, other):
        jobs = {name: store.add(make(queue="q", name=name)).uid for name in NAMES}
        store.add(make(queue="q"))
        in_r = store.add(make(queue="r", name="1"))
        assert other.job_names(Query(queue="q")) == jobs
        assert other.job_names(Query(queue="r")) == {"1": in_r.uid}
        assert other.job_names(Query(queue="q", above=len(NAMES) - 1)) == {NAMES[-1]: jobs[NAMES[-1]]}
        again = store.add(make(queue="q", name="True"))
        assert other.job_names(Query(queue="q")) == {**jobs, "True": again.uid}, "of two it is the newer"
        assert other.job_names(Query(queue="nobody")) == {}

    def test_how_many_tasks_stand(self, store, other):
        statuses = list(itertools.islice(itertools.cycle(Status), 1100))
        tasks = [make(status=status) for status in statuses]
        store.add_all([Bundle(task=task) for task in tasks])
        expected = {task.uid: task.status for task in tasks}
        store.delete(tasks[7].uid)
        del expected[tasks[7].uid]
        wanted = ["nobody", "\udcff", *(task.uid for task in tasks), tasks[0].uid]
        assert other.statuses(uid for uid in wanted) == expected
        assert other.statuses([tasks[3].uid]) == {tasks[3].uid: tasks[3].status}
        assert other.statuses([]) == {}

    # Learning that something has changed

    def test_every_change_is_felt(self, store, other):
        writes = (
            lambda: store.add(make(uid=HELD)),
            lambda: store.change(HELD, message="m"),
            lambda: store.swap(HELD, (Status.RUNNING, 1), Status.FAILED, kept=Kept(stdout=b"out")),
            lambda: store.strip(HELD, (Status.FAILED, 1), {1: 3}),
            lambda: store.archive(HELD, (Status.FAILED, 1), Status.RUNNING),
            lambda: store.delete(HELD),
            lambda: store.add_all([Bundle(task=make())]),
            lambda: store.set_policy("q", {}),
            lambda: store.set_policy("q", None),
        )
        pulse, last = other.pulse(), other.last_event()
        assert last == 0
        for number, write in enumerate(writes):
            write()
            assert other.pulse() != pulse, number
            assert other.last_event() == store.last_event() == last + 1 == other.events()[-1].sequence, number
            pulse, last = other.pulse(), other.last_event()
            other.find()
            assert other.pulse() == pulse, "looking changes nothing"
        with store.together():
            store.add(make())
            store.add(make())
        assert other.pulse() != pulse
        pulse = other.pulse()
        other.close()
        store.set_policy("q", {})
        assert other.pulse() != pulse, "nor is it missed while nobody has the store open"

    def test_no_change_is_missed(self, store, factory):
        """A change that was seen, and one that was not, lie between two different pulses."""
        task = store.add(make(message="0"))
        looks, after = 0, "0"
        with Elsewhere(note_until_told, factory, task.uid) as writer:
            writer.go()
            while looks < 30 or int(after) < 300:
                pulse, before = store.pulse(), store.get(task.uid).message
                after, later = store.get(task.uid).message, store.pulse()
                assert before == after or pulse != later
                looks += 1
                assert writer.is_busy(), "it writes until it is told to stop"
            writer.go()
            writer.result()

    # Notes

    @pytest.mark.parametrize(
        ("field", "value", "told"),
        [
            ("message", "a\nnote", "note"),
            ("tags", ("b", "a"), "tags"),
            ("priority", 7, "priority"),
            ("wish", "cancel", "wish"),
            ("data", {"jobid": "1", "deep": [{"a": None}]}, "data"),
        ],
    )
    def test_change_sets_one_field(self, store, other, field, value, told):
        task = store.add(make(data={"old": True}))
        other.get(task.uid)
        assert store.change(task.uid, **{field: value}) == task.copy(**{field: value}) == other.get(task.uid)
        assert [event.kind for event in other.events()] == ["added", told]

    def test_change_sets_several_fields_at_once(self, store):
        task = store.add(make())
        assert store.change(task.uid, message="m", tags=("t",)) == task.copy(message="m", tags=("t",))

    def test_changing_nothing_is_harmless(self, store):
        task = store.add(make())
        assert store.change(task.uid) == task

    @pytest.mark.parametrize("status", Status)
    def test_change_does_not_ask_for_the_status(self, store, status):
        task = store.add(make(status=status))
        assert store.change(task.uid, message="m") == task.copy(message="m")

    @pytest.mark.parametrize("field", sorted(set(Task._fields) - CHANGEABLE))
    def test_change_sets_nothing_else(self, store, field):
        task = store.add(make())
        with pytest.raises(TypeError, match=field):
            store.change(task.uid, **{field: getattr(task, field), "message": "no"})
        assert store.get(task.uid) == task

    # Attempts and their output

    def test_the_next_attempt_starts_anew(self, store):
        attempt_fields = {
            "pid": 3,
            "returncode": 1,
            "signal": 15,
            "started": TIMES[0],
            "ended": TIMES[1],
            "usage": {"cpu": 1},
            "facts": {"git": "x"},
            "wish": "cancel",
            "data": {"jobid": "1"},
        }
        task = store.add(
            make(status=Status.FAILED, message="m", tags=("t",), queue="q", name="n", priority=2, **attempt_fields)
        )
        again = store.archive(task.uid, (Status.FAILED, 1), Status.QUEUED, data={"fresh": 1})
        fresh = make(uid=task.uid)
        for field in Task._fields:
            if field in LASTING:
                assert getattr(again, field) == getattr(task, field), field
            elif field in attempt_fields and field != "data":
                assert getattr(again, field) == getattr(fresh, field), field
        assert (again.status, again.attempt, again.data) == (Status.QUEUED, 2, {"fresh": 1})
        assert store.get(task.uid) == again

    def test_attempts_before_are_as_they_were(self, store, other):
        task = store.add(make(status=Status.QUEUED))
        before = []
        for attempt in (1, 2, 3):
            store.swap(task.uid, (Status.QUEUED, attempt), Status.RUNNING, pid=100 + attempt)
            kept = Kept(stdout=b"out %d" % attempt, timing=b"t")
            before.append(store.swap(task.uid, (Status.RUNNING, attempt), Status.FAILED, kept=kept, returncode=attempt))
            store.archive(task.uid, (Status.FAILED, attempt), Status.QUEUED)
        assert list(other.attempts(task.uid)) == before
        assert [other.kept(task.uid, n) for n in (1, 2, 3)] == [
            Kept(stdout=b"out %d" % n, timing=b"t") for n in (1, 2, 3)
        ]
        assert other.kept(task.uid, 4) is None

    def test_attempts_before_are_no_tasks(self, store):
        task = store.add(make(status=Status.FAILED))
        again = store.archive(task.uid, (Status.FAILED, 1), Status.RUNNING)
        assert store.find() == [again]
        assert store.count(Query()) == 1

    def test_output_comes_in_with_the_end(self, store, other):
        task = store.add(make())
        assert store.kept(task.uid, 1) is None
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stderr=b"oops"))
        assert other.kept(task.uid, 1) == Kept(stderr=b"oops")
        assert other.kept(task.uid, 2) is None

    def test_output_that_comes_in_while_somebody_reads_it_is_read_on(self, store, other):
        task = store.add(make())
        folder = attempt_folder(other.home, task.uid, 1)
        make_private(folder)
        kept = Kept(stdout=b"one\ntwo\n", stderr=b"oops", timing=b"0 o 8\n0 e 4\n", extras={"series": b"s"})
        for name, content in {**kept.parts(), **kept.extras}.items():
            Path(folder, name).write_bytes(content)
        begun, unread, frozen = other.output(task), other.output(task), Frozen(other.output(task))
        assert begun.read("stdout", 0, 4) == b"one\n"
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept)
        assert begun.read("stdout", 4) == b"two\n", "the files are still there"
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
            assert (begun.read("stdout", 4), begun.size("stderr")) == (b"two\n", 4)
        os.rmdir(folder)
        assert (begun.read("stdout", 4), begun.read("stdout", 8), begun.size("stderr")) == (b"two\n", b"", 4)
        assert (unread.extras(), unread.timing()) == ({"series": b"s"}, kept.timing)
        assert (frozen.read("stdout"), frozen.read("stderr")) == (kept.stdout, kept.stderr)

    @examples(60)
    def test_output_is_kept_exactly(self, store, samples: Samples):
        task = store.add(make())
        kept = Kept(stdout=samples.block(100), stderr=samples.block(100), timing=samples.block(20, least=1))
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept)
        assert store.kept(task.uid, 1) == kept

    @examples(20)
    def test_what_lies_beside_the_output_is_kept_exactly(self, store, samples: Samples):
        extras = {name: samples.block(50, least=1) for name in samples.some(["series", "patch", "script"], 3)}
        task = store.add(make())
        kept = Kept(stdout=b"one", timing=b"t", extras=extras)
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept)
        store.archive(task.uid, (Status.COMPLETE, 1), Status.RUNNING)
        again = kept.copy(extras={**extras, "series": b"another"})
        store.swap(task.uid, (Status.RUNNING, 2), Status.COMPLETE, kept=again)
        assert [store.kept(task.uid, 1), store.kept(task.uid, 2)] == [kept, again]
        assert dict(store.bundle(store.get(task.uid)).kept) == {1: kept, 2: again}

    @pytest.mark.parametrize("block", [b"\x00\xff\r\n", "\u00e4\u2028\r".encode(), bytes(range(256))])
    def test_much_output_is_kept_exactly(self, store, block):
        task = store.add(make())
        kept = Kept(stdout=block * 9000, stderr=block, timing=b"0 o 1\n")
        store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=kept)
        assert store.kept(task.uid, 1) == kept

    # Deleting

    def test_delete_removes_everything_about_the_task_and_nothing_else(self, store, other):
        tasks = [store.add(make(status=Status.QUEUED, tags=(str(n),))) for n in range(3)]
        for task in tasks:
            store.swap(task.uid, (Status.QUEUED, 1), Status.RUNNING)
            store.swap(task.uid, (Status.RUNNING, 1), Status.FAILED, kept=Kept(stdout=b"x"))
            store.archive(task.uid, (Status.FAILED, 1), Status.RUNNING)
        before = snapshot(other)
        gone = tasks[1]
        store.delete(gone.uid)
        assert snapshot(other) == [before[0], before[2]]
        self.assert_unknown(other, gone)
        store.add(gone)
        assert store.attempts(gone.uid) == []
        assert store.kept(gone.uid, 1) is None

    def assert_unknown(self, store: Store, task: Task) -> None:
        assert store.starting_with(task.uid) == []
        assert store.count(Query()) == len(store.find())
        assert task.uid not in {found.uid for found in store.find()}
        assert store.kept(task.uid, 1) is None
        with pytest.raises(NoSuchTask):
            store.get(task.uid)
        with pytest.raises(NoSuchTask):
            store.numbered(task.number)

    def test_tasks_may_be_deleted_while_they_are_listed(self, store):
        for _ in range(5):
            store.add(make())
        for task in store.newest_first(Query()):
            store.delete(task.uid)
        assert store.find() == []

    # Removing output only

    def test_strip_forgets_what_was_printed_and_nothing_else(self, store, other):
        task = store.add(make(message="a note", tags=("x",)))
        kept = Kept(stdout=b"needle", stderr=b"err", timing=b"0 o 6\n0 e 3\n", extras={"patch": b"a patch"})
        store.swap(task.uid, (Status.RUNNING, 1), Status.FAILED, kept=kept, returncode=3, data={"own": 1})
        store.archive(task.uid, (Status.FAILED, 1), Status.RUNNING)
        ended = store.swap(task.uid, (Status.RUNNING, 2), Status.COMPLETE, kept=kept)
        stripped = store.strip(task.uid, (Status.COMPLETE, 2), {1: 9, 2: 10})
        assert stripped == other.get(task.uid) == ended.copy(data={REMOVED: 10})
        (before,) = other.attempts(task.uid)
        assert (before.data, before.returncode) == ({"own": 1, REMOVED: 9}, 3)
        for one in (before, stripped):
            output = other.output(one)
            assert (output.size("stdout"), output.read("stderr"), output.timing()) == (0, b"", b"")
            assert output.extras() == {"patch": b"a patch"}
        assert (other.events()[-1].kind, other.events()[-1].uid) == ("output", task.uid)
        assert list(other.check()) == []

    def test_strip_leaves_the_other_attempts(self, store, other):
        task = store.add(make())
        first = store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"first"))
        store.archive(task.uid, (Status.COMPLETE, 1), Status.RUNNING)
        second = store.swap(task.uid, (Status.RUNNING, 2), Status.COMPLETE, kept=Kept(stdout=b"second"))
        store.strip(task.uid, (Status.COMPLETE, 2), {1: 5})
        assert other.get(task.uid) == second
        assert other.output(second).read("stdout") == b"second"
        assert list(other.attempts(task.uid)) == [first.copy(data={REMOVED: 5})]

    def test_strip_compares_first(self, store):
        task = store.add(make())
        with pytest.raises(IllegalMove):
            store.strip(task.uid, (Status.RUNNING, 1), {1: 5})
        ended = store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"out"))
        for was in ((Status.FAILED, 1), (Status.COMPLETE, 2)):
            with pytest.raises(StaleTask):
                store.strip(task.uid, was, {1: 5})
        assert store.get(task.uid) == ended
        assert store.output(ended).read("stdout") == b"out"
        with pytest.raises(NoSuchTask):
            store.strip(new_uid("shell"), (Status.COMPLETE, 1), {1: 5})

    # Upkeep

    def test_a_store_in_use_is_well_and_gives_back_what_it_does_not_need(self, store, other):
        assert list(store.check()) == []
        store.compact()
        assert not os.path.exists(store.location), "upkeep makes nothing"
        for number in range(60):
            task = store.add(make())
            if number % 2:
                store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=os.urandom(5000)))
        list(store.candidates(["needle"], Query()))
        full = store.size()
        assert full > 60_000
        assert list(other.check()) == []
        for task in store.find():
            store.delete(task.uid)
        store.compact(thorough=True)
        assert other.size() < full / 2
        assert list(other.check()) == []

    # What is not there

    WRITES: ClassVar[dict[str, Callable[[Store, str], object]]] = {
        "swap": lambda store, uid: store.swap(uid, (Status.RUNNING, 1), Status.FAILED),
        "archive": lambda store, uid: store.archive(uid, (Status.FAILED, 1), Status.RUNNING),
        "change": lambda store, uid: store.change(uid, message="m"),
        "delete": lambda store, uid: store.delete(uid),
    }
    READS: ClassVar[dict[str, Callable[[Store, str], object]]] = {
        "get": lambda store, uid: store.get(uid),
        "numbered": lambda store, _: store.numbered(99),
        "attempts": lambda store, uid: store.attempts(uid),
        "resolve": lambda store, uid: store.resolve(uid),
    }

    @pytest.mark.parametrize("call", [*WRITES, *READS])
    @pytest.mark.parametrize("filled", [False, True], ids=["empty", "filled"])
    def test_asking_for_a_task_that_is_not_there(self, store, call, filled):
        if filled:
            store.add(make())
        before = snapshot(store)
        with pytest.raises(NoSuchTask) as caught:
            {**self.WRITES, **self.READS}[call](store, "shell-nobody")
        assert "\n" not in str(caught.value)
        assert snapshot(store) == before

    @pytest.mark.parametrize("call", [*WRITES, "get", "attempts"])
    def test_a_task_that_another_handle_deleted(self, store, other, call):
        task = store.add(make())
        other.get(task.uid)
        store.delete(task.uid)
        with pytest.raises(NoSuchTask):
            {**self.WRITES, **self.READS}[call](other, task.uid)

    def test_the_latest_of_none(self, store):
        for _ in range(2):
            with pytest.raises(NoSuchTask, match="nothing is recorded yet"):
                store.latest()
            store.delete(store.add(make(turn=1)).uid)

    def test_readers_create_nothing(self, store, home):
        assert store.find() == []
        assert store.count(Query()) == 0
        assert list(store.newest_first(Query(executor="shell"))) == []
        assert list(store.events()) == []
        assert list(store.starting_with("s")) == []
        assert list(store.candidates(["word"], Query())) == []
        assert (store.policies(), store.last_event(), store.pulse()) == ({}, 0, store.pulse())
        assert store.statuses(["shell-1"]) == store.job_names(Query(queue="q")) == store.standing(Query()) == {}
        assert store.kept("shell-1", 1) is None
        for call in self.READS.values():
            with pytest.raises(NoSuchTask):
                call(store, "shell-1")
        store.close()
        assert not home.exists()

    def test_a_handle_sees_the_store_that_is_made_later(self, store, other):
        assert other.find() == []
        task = store.add(make(turn=1))
        assert other.find() == [task]
        assert other.latest() == other.get(task.uid) == task
        assert len(other.events()) == 1

    def test_a_closed_store_opens_itself_again(self, store):
        task = store.add(make())
        store.close()
        store.close()
        assert store.get(task.uid) == task

    # Looking up

    def test_prefixes_of_either_half(self, store):
        rest = "-0000-4000-8000-000000000000"
        uids = [start + rest for start in ("shell-ab000000", "shell-ac000000", "slurm-ab100000", "my-own-ab200000")]
        for uid in uids:
            store.add(make(uid=uid, executor=uid[:-37]))
        assert list(store.starting_with("shell-a")) == uids[:2]
        assert list(store.starting_with("ab")) == [uids[3], uids[0], uids[2]]
        assert list(store.starting_with("ab1")) == [uids[2]]
        assert list(store.starting_with("my-own-ab")) == [uids[3]]
        assert list(store.starting_with(uids[1])) == [uids[1]]
        assert list(store.starting_with("ab", limit=2)) == [uids[3], uids[0]]
        for nobody in ("AB", "own-ab", "a%", "_b", "b", "0000", "shell-ab\n", "*", "[a]"):
            assert list(store.starting_with(nobody)) == [], nobody

    def test_short_uids_of_other_programs(self, store):
        for uid in ("shell-1", "shell-12", "other"):
            store.add(make(uid=uid))
        assert list(store.starting_with("shell")) == ["shell-1", "shell-12"]
        assert list(store.starting_with("o")) == ["other"]
        assert store.resolve("shell-1").uid == "shell-1"

    def test_a_person_names_a_task(self, store):
        first = store.add(make(uid="shell-ab000000-0000-4000-8000-000000000000"))
        second = store.add(make(uid="shell-12345678-0000-4000-8000-000000000000", turn=1))
        assert store.resolve("1") == store.resolve("ab00") == store.resolve("shell-ab00") == first
        assert store.resolve(None) == store.resolve("2") == store.resolve("1234") == store.resolve("12345678") == second
        third = store.add(make(uid="tmux-ab001111-0000-4000-8000-000000000000", executor="tmux"))
        assert store.resolve("shell-ab00") == first
        with pytest.raises(ManyTasks) as caught:
            store.resolve("ab00")
        assert caught.value.uids == (first.uid, third.uid)
        for slip in ("12", "123", "a", "ab0", "shell", "shell-", "shell-ab0"):  # it names nothing, and so nobody
            with pytest.raises(NoSuchTask):
                store.resolve(slip)

    @examples(40)
    def test_queries_mean_what_they_say(self, store, samples: Samples):
        tasks, queries = samples.several(samples.task, 8), samples.several(samples.query, 8, least=1)
        for task in store.find():
            store.delete(task.uid)
        added = [store.add(task) for task in tasks]
        for query in [Query(), *queries]:
            expected = [task for task in added if query.matches(task)]
            assert store.find(query) == expected
            assert list(store.standing(query).items()) == [(task.uid, task.status) for task in expected]
            assert list(store.newest_first(query)) == expected[::-1]
            assert list(store.oldest_first(query)) == expected
            assert store.count(query) == len(expected)
            assert store.find(query, limit=2) == expected[-2:]

    @examples(30)
    def test_whole_tasks_are_taken_in_as_they_are(self, store, samples: Samples):
        tasks, output = samples.several(samples.task, 5), samples.block(20)
        for task in store.find():
            store.delete(task.uid)
        numbered = [task.copy(turn=index) for index, task in enumerate(tasks)]
        before = [task.copy(status=Status.FAILED) for task in numbered]
        kept = {1: Kept(stdout=output), 2: Kept(stderr=output, timing=b"0 e 1\n")}
        bundles = [
            Bundle(task=task.copy(attempt=2), attempts=(old,), kept=kept)
            for task, old in zip(numbered, before, strict=True)
        ]
        assert store.add_all(bundles) == len(bundles)
        assert store.add_all(bundles) == 0, "what is present is passed over"
        for bundle, found in zip(bundles, store.find(), strict=True):
            assert found == bundle.task.copy(number=found.number)
            whole = store.bundle(found)
            assert whole.attempts == tuple(old.copy(number=found.number) for old in bundle.attempts)
            assert {n: one for n, one in whole.kept.items() if one != Kept()} == {
                n: one for n, one in kept.items() if one != Kept()
            }

    def test_a_whole_history_is_read_in_order_while_it_changes(self, store, other):
        tasks = [make() for _ in range(1200)]
        store.add_all([Bundle(task=task) for task in tasks])
        seen = []
        for task in store.oldest_first(Query()):
            if task.number == 3:
                other.delete(tasks[1150].uid)
            seen.append(task.number)
        assert seen == sorted(seen)
        assert {*seen} | {1151} == {*range(1, 1201)}, "only what was removed may be missing"

    def test_a_number_above_all_there_are_is_kept(self, store):
        store.add(make())
        store.add_all([Bundle(task=make(number=41)), Bundle(task=make(number=1))])
        assert [task.number for task in store.find()] == [1, 41, 42]
        assert store.add(make()).number == 43
        assert store.highest_number() == 43

    def test_the_highest_number_is_remembered_when_its_task_is_gone(self, store, other):
        assert store.highest_number() == 0
        tasks = [store.add(make()) for _ in range(3)]
        store.delete(tasks[2].uid)
        assert other.highest_number() == 3

    def test_listing_is_lazy_and_newest_first(self, store, other):
        for _ in range(5):
            store.add(make())
        found = store.newest_first(Query())
        assert iter(found) is found
        assert next(found).number == 5
        other.add(make())  # a listing begun elsewhere holds no lock
        assert [task.number for task in found if task.number < 6] == [4, 3, 2, 1]

    def test_candidates_hold_all_that_match(self, store):
        hit = store.add(make(argv=("echo", "needle"), status=Status.QUEUED))
        store.swap(hit.uid, (Status.QUEUED, 1), Status.RUNNING)
        ended = store.swap(hit.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"a Haystack\n"))
        running = store.add(make(message="Needle in a haystack"))
        for _ in range(2):  # an index may have been filled by the first search
            assert {ended.uid, running.uid} <= {task.uid for task in store.candidates(["needle", "haystack"], Query())}
            only = store.candidates(["needle"], Query(statuses=frozenset({Status.RUNNING})))
            assert [task.uid for task in only] == [running.uid]

    # Lists

    def test_pages_come_as_the_base_class_gives_them(self, store):
        """It sorts in Python what it is given; a store may know a quicker way to the same pages in the same order."""
        fill(store)
        for by, descending in itertools.product(SORTED_BY, (True, False)):
            for query in (Query(), Query(statuses=frozenset({Status.FAILED})), Query(above=20, below=50)):
                order = Order(by=by, descending=descending)
                expected = Store.page(store, query, order, 1000).tasks
                seen: list[Task] = []
                while (page := store.page(query, order, 7)).tasks:
                    seen += page.tasks
                    order = order.copy(after=page.place)
                    if page.place is None:
                        break
                assert [task.number for task in seen] == [task.number for task in expected], (by, descending, query)

    def test_the_runs_of_a_command(self, store):
        fill(store)
        commands = ["make 3", "make 5", "make 77"]
        assert store.runs(commands, 62, 61) == Store.runs(store, commands, 62, 61)
        assert [task.number for task in store.runs(commands, 62, 61)] == [61, 6, 4]
        assert [task.number for task in store.runs(commands, 6, 2)] == [4]
        ended = sorted(task.ended for task in store.newest_first(Query()) if task.ended)
        for since, among in (("", 100), (ended[len(ended) // 2], 100), ("", 30)):
            assert store.ends(since, among) == Store.ends(store, since, among)
        assert len(store.ends(ended[1], 100)) == len([at for at in ended if at >= ended[1]]) > 1

    def test_how_many_have_which_status(self, store):
        assert not any(store.tally().values())
        fill(store)
        counted = {status: count for status, count in store.tally().items() if count}
        assert counted == Store.tally(store) == {Status.RUNNING: 1, Status.FAILED: 6, Status.COMPLETE: 54}
        store.delete(store.numbered(1).uid)
        assert store.tally()[Status.FAILED] == 5

    # Events

    def test_events_tell_every_change_in_order(self, store, other):
        first = store.add(make(status=Status.QUEUED))
        second = other.add(make())
        store.swap(first.uid, (Status.QUEUED, 1), Status.RUNNING)
        other.change(second.uid, message="m")
        other.delete(second.uid)
        store.swap(first.uid, (Status.RUNNING, 1), Status.FAILED)
        store.archive(first.uid, (Status.FAILED, 1), Status.RUNNING)
        events = list(store.events())
        assert events == list(other.events())
        assert {(event.number, event.uid) for event in events} == {(1, first.uid), (2, second.uid)}
        assert [event.number for event in events] == [1, 2, 1, 2, 2, 1, 1]
        kinds = [event.kind for event in events]
        assert kinds == ["added", "added", "status", kinds[3], "removed", "status", "status"]
        assert [event.at for event in events] == sorted(event.at for event in events)

    def test_events_since_one(self, store, other):
        task = store.add(make())
        for number in range(5):
            store.change(task.uid, message=str(number))
        events = list(other.events())
        assert [event.sequence for event in events] == list(range(events[0].sequence, events[0].sequence + 6))
        for place, event in enumerate(events, 1):
            assert list(other.events(event.sequence)) == events[place:]

    def test_a_thousand_events_are_remembered(self, store):
        task = store.add(make())
        for number in range(1100):
            store.change(task.uid, priority=number)
        events = list(store.events())
        assert len(events) >= 1000
        assert [event.sequence for event in events] == list(range(events[0].sequence, events[-1].sequence + 1))
        assert list(store.events(events[-2].sequence)) == events[-1:]

    def test_a_change_and_its_event_are_seen_together(self, store, factory):
        task = store.add(make(message="0"))
        with Elsewhere(note_often, factory, task.uid, 300) as writer:
            writer.go()
            while writer.is_busy():
                told = notes_told(store, task.uid)
                noted = int(store.get(task.uid).message)
                assert told <= noted <= notes_told(store, task.uid)
            writer.result()
        assert store.get(task.uid).message == "300"

    @pytest.mark.parametrize("moment", [1, 20, 50, 90, 140])
    def test_a_killed_writer_leaves_a_change_with_its_event_or_neither(self, store, factory, moment):
        task = store.add(make(message="0"))
        with Elsewhere(note_often, factory, task.uid, 900) as writer:
            writer.go()
            wait_until(lambda: int(store.get(task.uid).message) >= moment)
            writer.kill()
        noted = int(store.get(task.uid).message)
        assert notes_told(store, task.uid) == noted
        store.change(task.uid, message="after")
        assert notes_told(store, task.uid) == noted + 1

    @pytest.mark.parametrize("moment", [1, 15, 40])
    def test_a_killed_adder_leaves_whole_tasks(self, store, factory, moment):
        uids = [new_uid("shell") for _ in range(450)]
        with Elsewhere(add_and_delete, factory, uids) as writer:
            writer.go()
            wait_until(lambda: store.count(Query()) >= moment)
            writer.kill()
        events = list(store.events())
        gone = {event.uid for event in events if event.kind == "removed"}
        left = [event.uid for event in events if event.kind == "added" and event.uid not in gone]
        assert [task.uid for task in store.find()] == left
        assert store.add(make()).number > max(event.number for event in events)

    # Waiting

    @pytest.fixture
    def lock_holder(self, store, take_lock) -> Iterator[Elsewhere]:
        """Another process that holds the lock of the store, which has one task."""
        if take_lock is None:
            pytest.skip("the suite was not told how to lock this store")
        store.add(make(uid=HELD, status=Status.FAILED))
        with Elsewhere(hold, take_lock, store.location) as holder:
            holder.go()
            holder.hears("held")
            yield holder

    @pytest.mark.parametrize("call", ["add", "swap", "archive", "change", "delete", "set_policy", "together"])
    def test_patience_has_an_end(self, store, lock_holder, call):
        writes = {
            **self.WRITES, "add": lambda store, _: store.add(make()),
            "set_policy": lambda store, _: store.set_policy("q", {}), "together": lambda store, _: enter(store),
        }  # fmt: skip
        store.patience = 0.05
        with pytest.raises(StoreBusy) as caught:
            writes[call](store, HELD)
        assert "\n" not in str(caught.value)
        assert [task.uid for task in store.find()] == [HELD]
        lock_holder.kill()
        store.patience = 30
        assert store.change(HELD, message="free again").message == "free again"

    def test_readers_do_not_wait(self, other, store, lock_holder):
        other.patience = 0.05
        task = other.get(HELD)
        assert [task] == other.find() == list(other.newest_first(Query(executor="shell")))
        assert other.latest() == other.numbered(1) == task
        assert other.count(Query()) == len(other.events()) == 1
        assert list(other.starting_with("shell")) == [HELD]
        assert (other.policies(), other.last_event(), other.pulse()) == ({}, 1, other.pulse())
        assert other.statuses([HELD]) == other.standing(Query()) == {HELD: Status.FAILED}
        assert other.job_names(Query()) == {}

    def test_a_writer_waits_its_turn(self, store, factory, lock_holder):
        with Elsewhere(note_often, factory, HELD, 3) as writer:
            writer.go()
            assert store.get(HELD).message == ""
            lock_holder.kill()
            writer.result()
        assert store.get(HELD).message == "3"

    # Places

    @pytest.mark.parametrize("folder", WEIRD)
    def test_weird_places(self, kind, tmp_path, folder):
        home = tmp_path / folder / "home"
        with contextlib.closing(kind(str(home))) as store:
            task = store.add(make(turn=1))
            store.swap(task.uid, (Status.RUNNING, 1), Status.COMPLETE, kept=Kept(stdout=b"x"))
            with contextlib.closing(kind(str(home))) as other:
                assert other.latest().status is Status.COMPLETE
        assert sorted(path.name for path in tmp_path.iterdir() if path.name != "user") == [folder]

    def test_files_are_for_their_owner_alone(self, store, home):
        task = store.add(make())
        store.change(task.uid, message="m")
        store.set_policy("q", {"env": {"KEY": "secret"}})
        if not home.exists():
            pytest.skip("this store keeps no files")
        modes = {path: path.stat().st_mode & 0o777 for path in [home, *home.rglob("*")]}
        assert {path: mode for path, mode in modes.items() if mode != (0o700 if path.is_dir() else 0o600)} == {}

    def test_a_home_that_cannot_be_made(self, kind, tmp_path):
        (tmp_path / "file").write_text("in the way")
        store = kind(str(tmp_path / "file" / "home"))
        with contextlib.closing(store), pytest.raises(StoreError) as caught:
            store.add(make())
        assert "\n" not in str(caught.value)
        assert str(tmp_path / "file") in str(caught.value)
