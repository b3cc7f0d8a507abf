"""Plain data: records that cannot change, statuses and which may follow which, and a task's way through JSON."""

from __future__ import annotations

import json
import os
import pickle
import re
import uuid
from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.task import FINAL, MOVES, SUMMARY, UNFINISHED, Event, Record, Status, Task, moment, new_uid, timestamp

STAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")

#: Words as the operating system hands them over: any bytes but NUL, UTF-8 or not.
WORDS = st.binary(max_size=16).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=8,
)
NOTES = st.dictionaries(WORDS, JSON, max_size=3)
NUMBERS = st.none() | st.integers(0, 2**40)
TIMES = st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)).map(
    lambda when: timestamp(when.replace(tzinfo=timezone.utc).timestamp())
)
WORD_TUPLES = st.lists(WORDS, max_size=4).map(tuple)
TASKS = st.builds(
    Task,
    uid=WORDS,
    executor=WORDS,
    argv=WORD_TUPLES,
    number=st.integers(0, 2**40),
    turn=st.integers(0, 2**60),
    message=WORDS,
    tags=WORD_TUPLES,
    pwd=WORDS,
    user=WORDS,
    host=WORDS,
    status=st.sampled_from(Status),
    attempt=st.integers(1, 1000),
    pid=NUMBERS,
    returncode=NUMBERS,
    signal=NUMBERS,
    created=TIMES,
    started=st.none() | TIMES,
    ended=st.none() | TIMES,
    usage=NOTES,
    facts=NOTES,
    queue=st.none() | WORDS,
    name=st.none() | WORDS,
    after=WORD_TUPLES,
    priority=st.integers(-100, 100),
    wish=st.none() | st.just("cancel"),
    data=NOTES,
)


class Point(Record):
    x: int
    y: int = 0


def make(**fields):
    return Task(**{"uid": "shell-1", "executor": "shell", "argv": ("true",), **fields})


# Record


def test_a_record_has_its_fields_and_their_defaults():
    assert (Point(x=1).x, Point(x=1).y, Point(x=1, y=2).y) == (1, 0, 2)
    assert Point(y=2, x=1).asdict() == {"x": 1, "y": 2}
    assert list(Point(y=2, x=1).asdict()) == ["x", "y"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Point: unknown [], missing ['x']"),
        ({"y": 1}, "Point: unknown [], missing ['x']"),
        ({"x": 1, "z": 3}, "Point: unknown ['z'], missing []"),
        ({"x": 1, "_fields": ()}, "Point: unknown ['_fields'], missing []"),
        ({"x": 1, "copy": None}, "Point: unknown ['copy'], missing []"),
    ],
)
def test_a_record_takes_its_fields_only(values, said):
    with pytest.raises(TypeError) as caught:
        Point(**values)
    assert str(caught.value) == said


def test_a_record_is_frozen():
    point = Point(x=1)
    with pytest.raises(AttributeError, match="Point is frozen"):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(AttributeError, match="Point is frozen"):
        point.z = 2
    with pytest.raises(AttributeError, match="Point is frozen"):
        del point.x
    assert point == Point(x=1)


def test_a_copy_is_changed_and_the_original_is_not():
    point = Point(x=1, y=2)
    assert (point.copy(x=5), point) == (Point(x=5, y=2), Point(x=1, y=2))
    with pytest.raises(TypeError, match="unknown"):
        point.copy(z=1)


def test_records_are_equal_by_value_and_by_kind():
    class Spot(Record):
        x: int
        y: int = 0

    assert Point(x=1) == Point(x=1, y=0)
    assert Point(x=1) != Point(x=2)
    assert Point(x=1) != Spot(x=1)
    assert Point(x=1) != {"x": 1, "y": 0}
    assert len({Point(x=1), Point(x=1, y=0), Point(x=2)}) == 2


@pytest.mark.parametrize(
    "data",
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"a": 1}, {"a": 1.0}), ({"a": True}, {"a": 1})],
    ids=["order", "kind of number", "true"],
)
def test_equal_tasks_have_equal_hashes(data):
    one, other = (make(data=given) for given in data)
    assert one == other
    assert hash(one) == hash(other)


def test_a_record_shows_what_it_holds():
    assert repr(Point(x=1)) == "Point(x=1)"
    assert repr(Point(x=1, y=2)) == "Point(x=1, y=2)"


def test_records_travel_between_processes():
    task = make(data={"a": [1]}, tags=("x",))
    assert pickle.loads(pickle.dumps(task)) == task


# Status


def test_the_final_statuses():
    assert {status.value for status in FINAL} == {"complete", "failed", "cancelled", "skipped", "lost"}
    assert {status.value for status in UNFINISHED} == {"queued", "running", "submitted"}
    assert all(status.is_final == (status in FINAL) for status in Status)


#: Written out once more, from the words of the design, so that a slip in the table is seen.
LEGAL = {
    "queued": "queued running submitted cancelled skipped",
    "running": "queued running submitted complete failed cancelled lost",
    "submitted": "running submitted complete failed cancelled skipped lost",
    "complete": "queued running submitted",
    "failed": "queued running submitted",
    "cancelled": "queued running submitted",
    "skipped": "queued running submitted",
    "lost": "queued running submitted complete failed cancelled skipped lost",
}


@pytest.mark.parametrize("was", Status)
@pytest.mark.parametrize("now", Status)
def test_which_status_may_follow_which(was, now):
    assert was.may_become(now) == (now.value in LEGAL[was.value].split())


def test_the_table_names_every_status():
    assert MOVES.keys() == set(Status)


def test_a_status_is_its_word():
    assert f"{Status.COMPLETE}" == str(Status.COMPLETE) == "complete"
    assert {"complete": 1}[Status.COMPLETE] == 1
    assert json.dumps(Status.LOST) == '"lost"'


# Task


@given(TASKS)
def test_a_task_comes_back_from_json_as_it_was(task):
    assert Task.from_plain(json.loads(json.dumps(task.plain()))) == task


@given(st.lists(st.binary(max_size=16).map(lambda raw: raw.replace(b"\0", b"")), min_size=1, max_size=4))
def test_undecodable_words_survive_json_byte_for_byte(words):
    task = make(argv=tuple(map(os.fsdecode, words)))
    back = Task.from_plain(json.loads(json.dumps(task.plain())))
    assert list(map(os.fsencode, back.argv)) == words


def test_a_task_of_another_version_is_understood():
    plain = {"uid": "shell-1", "executor": "shell", "argv": ["ls"], "status": "failed", "mood": "bad", "gpu": {"n": 1}}
    assert Task.from_plain(plain) == make(argv=("ls",), status=Status.FAILED)


def test_what_an_older_version_did_not_write_has_its_default():
    task = Task.from_plain({"uid": "shell-1", "executor": "shell", "argv": []})
    assert (task.tags, task.after, task.attempt, task.status, task.started) == ((), (), 1, Status.RUNNING, None)


@pytest.mark.parametrize("plain", [{}, {"uid": "x", "executor": "shell"}, {"argv": ["ls"]}])
def test_what_is_no_task_is_refused(plain):
    with pytest.raises(TypeError, match="missing"):
        Task.from_plain(plain)


def test_a_status_of_another_version_is_refused():
    with pytest.raises(ValueError, match="dreaming"):
        Task.from_plain({**make().plain(), "status": "dreaming"})


@pytest.mark.parametrize(
    ("argv", "data", "command"),
    [
        (("ls", "-l"), {}, "ls -l"),
        (("echo", "a  b", "$HOME", "it's", ""), {}, """echo 'a  b' '$HOME' 'it'"'"'s' ''"""),
        (("make test | tail",), {"shell": "/bin/sh"}, "make test | tail"),
        (("a program with blanks",), {}, "'a program with blanks'"),
        (("echo", "a b"), {"shell": "/bin/sh"}, "echo 'a b'"),
    ],
)
def test_the_command_as_text(argv, data, command):
    assert make(argv=argv, data=data).command == command


def test_how_long_a_task_ran():
    began, ended = "2026-11-22T00:00:00.000000Z", "2026-11-22T00:00:01.500000Z"
    assert make().seconds is None
    assert make(started=began, ended=ended, status=Status.COMPLETE).seconds == 1.5
    assert make(started=began, status=Status.LOST).seconds is None
    assert make(started=ended, ended=began, status=Status.COMPLETE).seconds == 0, "the clock was set back"
    hour_ago = timestamp((datetime.now(timezone.utc) - timedelta(hours=1)).timestamp())
    assert make(started=hour_ago).seconds == pytest.approx(3600, abs=60)


def test_the_published_row():
    """These keys are published: they may become more, and none may go or be called otherwise."""
    promised = """number uid executor command argv message tags status returncode signal pid pwd user host created
        started ended seconds attempt queue name after"""
    row = make(number=3, tags=("x",), status=Status.FAILED).summary()
    assert list(row)[:22] == promised.split()
    assert tuple(row) == SUMMARY
    assert (row["argv"], row["tags"], row["status"], row["number"]) == (["true"], ["x"], "failed", 3)
    json.dumps(row)


# Uids and times


def test_uids_are_the_executor_and_a_uuid():
    uids = {new_uid("my-queue") for _ in range(100)}
    assert len(uids) == 100
    for uid in uids:
        parsed = uuid.UUID(uid.removeprefix("my-queue-"))
        assert (str(parsed), parsed.version, parsed.variant) == (uid.removeprefix("my-queue-"), 4, uuid.RFC_4122)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_times_come_back_to_the_microsecond(when):
    when = when.replace(tzinfo=timezone.utc)
    stamp = timestamp(when.timestamp())
    assert STAMP.fullmatch(stamp)
    assert abs(moment(stamp) - when) <= timedelta(microseconds=1)


@given(TIMES, TIMES)
def test_stored_times_sort_as_text(one, other):
    assert (one < other) == (moment(one) < moment(other))


def test_now_is_now():
    before = datetime.now(timezone.utc)
    assert before - timedelta(milliseconds=1) <= moment(timestamp()) <= datetime.now(timezone.utc)


def test_an_event_is_a_record():
    event = Event(sequence=1, uid="shell-1", number=1, kind="added", at=timestamp())
    assert event.copy(kind="status").kind == "status"
