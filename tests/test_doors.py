"""What leaves through one door comes in through another and is the same: export, import, copy."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import sqlite3
import stat
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qrec import progress
from qrec.api import Qrec
from qrec.doors import intake, jsonl
from qrec.doors.carry import batches, carry, whole
from qrec.doors.records import NotATask, uuid_of
from qrec.errors import StoreBusy
from qrec.jobs import Jobs, Submission
from qrec.output import FOLD_LIMIT, attempt_folder
from qrec.registry import Registry
from qrec.stores.base import Bundle, Query, Store
from qrec.task import SUMMARY, UNFINISHED, Kept, Status, Task, new_uid, timestamp
from tests.helpers import wait_until
from tests.terminals import Terminal
from tests.test_look_back import add, call, one_line

STORES = ["sqlite", "filesystem"]
UUID = "97b1d8a2-8d7f-4d2a-bb1a-27b1d8a28d7f"

#: As the operating system hands words over: any bytes but NUL.
WORDS = st.text(max_size=6) | st.binary(max_size=6).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
NUMBERS = st.integers(-(2**62), 2**62)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.text(max_size=4), JSON, max_size=2)
TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2999, 1, 1)).map(
    lambda at: timestamp(at.replace(tzinfo=timezone.utc).timestamp())
)
BYTES = st.binary(max_size=30) | st.text(max_size=20).map(str.encode) | st.sampled_from([b"\0", b"\xff\n", b"\r\n\0"])
EXTRAS = st.dictionaries(st.sampled_from(["series", "patch"]), BYTES.filter(bool))
OUTPUTS = st.none() | st.builds(
    Kept, stdout=BYTES, stderr=BYTES, timing=st.sampled_from([b"", b"0 o 5\n", b"\xfe"]), extras=EXTRAS
)
FIELDS = st.fixed_dictionaries(
    {
        "executor": st.sampled_from(["shell", "slurm", "my-own.1"]),
        "argv": st.lists(WORDS, max_size=4).map(tuple),
        "turn": st.integers(0, 2**62),
        "message": WORDS,
        "tags": st.lists(st.text(min_size=1, max_size=4), max_size=2).map(tuple),
        "pwd": WORDS,
        "user": WORDS,
        "host": WORDS,
        "status": st.sampled_from(Status),
        "pid": st.none() | NUMBERS,
        "returncode": st.none() | NUMBERS,
        "signal": st.none() | NUMBERS,
        "created": TIMES,
        "started": st.none() | TIMES,
        "ended": st.none() | TIMES,
        "usage": st.fixed_dictionaries({}, optional={"cpu": st.floats(0, 1e9), "memory": NUMBERS, "threads": JSON}),
        "facts": OBJECTS,
        "queue": st.none() | st.text(max_size=4),
        "name": st.none() | st.text(max_size=4),
        "after": st.lists(st.text(max_size=4), max_size=2).map(tuple),
        "priority": NUMBERS,
        "wish": st.none() | st.just("cancel"),
        "data": OBJECTS | st.just({"shell": "/bin/sh"}),
    }
)


@st.composite
def bundles(draw: st.DrawFn) -> list[Bundle]:
    """A few tasks with attempts and outputs, their numbers with gaps between them."""
    made, number = [], 0
    for fields in draw(st.lists(FIELDS, max_size=3)):
        number += draw(st.sampled_from([1, 2, 2**40]))
        task = Task(**fields, uid=new_uid(fields["executor"]), number=number, attempt=draw(st.integers(1, 3)))
        before = tuple(
            task.copy(attempt=n, status=Status.FAILED, data=draw(OBJECTS), usage={}) for n in range(1, task.attempt)
        )
        kept = {n: output for n in range(1, task.attempt + 1) if (output := draw(OUTPUTS)) is not None}
        made.append(Bundle(task=task, attempts=before, kept=kept))
    return made


def opened(kind: str, home: str | Path) -> Store:
    return Registry(str(home)).store(str(home), kind)


def contents(store: Store) -> list[Bundle]:
    return [store.bundle(task) for task in store.find()]


def refuse(complaint: str) -> None:
    raise AssertionError(complaint)


quickly = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Round trips


@pytest.mark.parametrize(("source", "target"), [*itertools.product(STORES, STORES)])
def test_jsonl_brings_everything_back(source, target):
    @quickly
    @given(bundles())
    def check(given: list[Bundle]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            here, there = opened(source, folder), opened(target, f"{folder}/there")
            here.add_all(given)
            lines = [jsonl.line_of(here, task) for task in here.find()]
            taken = intake.Intake(there, refuse)
            taken.take(jsonl.arrivals(lines))
            assert contents(there) == contents(here) == given
            assert taken.counts() == {"new": len(given), "present": 0, "bad": 0}
            again = [jsonl.line_of(there, task) for task in there.find()]
            assert [*map(json.loads, again)] == [*map(json.loads, lines)] or running(given)
            close(here, there)

    check()


def running(given: list[Bundle]) -> bool:
    """Whether a line would tell how long a task has been running by now."""
    return any(bundle.task.status in UNFINISHED and bundle.task.started for bundle in given)


def close(*stores: Store) -> None:
    for store in stores:
        store.close()


@pytest.mark.parametrize(("source", "target"), [*itertools.permutations(STORES)])
def test_there_and_back_again_between_stores(source, target):
    @quickly
    @given(bundles())
    def check(given: list[Bundle]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            here, there, back = (
                opened(source, folder),
                opened(target, folder),
                opened(f"{source}:{folder}/back", folder),
            )
            here.add_all(given)
            assert list(carry(here, there, here.oldest_first(Query()))) == ([(len(given),) * 2] if given else [])
            list(carry(there, back, there.oldest_first(Query())))
            assert contents(back) == contents(there) == contents(here) == given
            assert sum(new for _, new in carry(here, there, here.oldest_first(Query()))) == 0
            close(here, there, back)

    check()


@given(st.binary(max_size=50))
def test_any_bytes_can_be_written_in_json(data):
    assert jsonl.bytes_of(json.loads(json.dumps(jsonl.written(data)))) == data


@pytest.fixture(params=STORES)
def kind(request, monkeypatch, home) -> str:
    """Each store in turn."""
    kind: str = request.param
    monkeypatch.setenv("QREC_STORE", kind)
    return kind


@pytest.fixture
def door(kind) -> Qrec:
    return Qrec()


@pytest.fixture
def other(tmp_path) -> str:
    """Another home."""
    return str(tmp_path / "other")


def tree(folder: str) -> dict[str, bytes]:
    """The files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in Path(folder).rglob("*") if path.is_file()}


def attempts_of(home: str) -> dict[str, bytes]:
    return tree(os.path.join(home, "attempts"))


BOTH_ENDS = "head -c 70000 /dev/zero; echo end; printf '\\377' >&2"


@pytest.fixture
def history(door, qrec):
    """Two attempts of a small task, with a note; a large one; one that failed."""
    qrec("-q", "run", "-m", "a note", "-t", "ci", "sh", "-c", "printf 'a\\377'; echo b >&2; test -e x || exit 3")
    qrec("-q", "run", "sh", "-c", BOTH_ENDS)
    qrec("-q", "run", "false")
    qrec("-q", "rerun", "1")
    return door


@pytest.mark.parametrize("target", STORES)
def test_what_has_ended_since_it_came_in_is_named(qrec, start, other, tmp_path, target):
    qrec("-q", "run", "true", check=True)
    process = start("-q", "run", "sh", "-c", "until [ -e go ]; do sleep 0.02; done; exit 3")
    wait_until(lambda: [task["status"] for task in qrec("ls", "--json").json] == ["complete", "running"])
    before, after = tmp_path / "before", tmp_path / "after"
    call("export", "jsonl", "-o", before, check=True)
    (tmp_path / "go").touch()
    assert process.wait(60) == 3
    call("export", "jsonl", "-o", after, check=True)
    there = ("--home", other, "--store", target)
    call(*there, "import", "jsonl", before, check=True)
    again = call(*there, "import", "jsonl", after, check=True)
    uid = qrec("get", "2").json["uid"]
    assert again.out == "0 tasks taken in, 2 here already\n"
    assert again.err == (
        "qrec: 1 of these has ended since, which is not taken over; "
        f"to have it, import again after `qrec clear {uid}`\n"
    )
    assert call(*there, "ls", "--json").json[1]["status"] == "lost"
    call(*there, "clear", "-y", uid, check=True)
    assert call(*there, "import", "jsonl", after, check=True).err == ""
    assert call(*there, "get", uid).json["data"]["returncode"] == 3
    assert call(*there, "import", "jsonl", before, check=True).err == ""


@pytest.mark.parametrize("target", STORES)
def test_export_and_import_by_the_command_line(history, home, other, tmp_path, target):
    file = tmp_path / "history.jsonl"
    call("export", "jsonl", "-o", file, check=True)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert file.read_bytes() == call("export", "jsonl", check=True).stdout
    assert len(file.read_bytes().splitlines()) == 3
    there = ("--home", other, "--store", target)
    assert call(*there, "import", "jsonl", file, check=True).out == "3 tasks taken in\n"
    assert call(*there, "import", "jsonl", file, check=True).out == "0 tasks taken in, 3 here already\n"
    assert call(*there, "export", "jsonl", check=True).stdout == file.read_bytes()
    assert call(*there, "log", "2", "--stdout", check=True).stdout == bytes(70000) + b"end\n"
    assert call(*there, "get", "1", "--attempt", "1").json["data"]["returncode"] == 3
    assert attempts_of(other) == attempts_of(str(home)), "what is large lies in files, and nothing else does"
    assert {stat.S_IMODE(path.stat().st_mode) for path in Path(other, "attempts").rglob("*")} == {0o600, 0o700}


def test_much_output_comes_in_with_what_was_recorded_beside_it(kind, home, tmp_path):
    kept = Kept(stdout=bytes(FOLD_LIMIT + 1), extras={"series": b"0.10 0.05 10 1 0 0\n", "patch": b"+x\n"})
    task = Task(uid=new_uid("shell"), executor="shell", argv=("x",), status=Status.COMPLETE, created=timestamp())
    taken = intake.Intake(Qrec().store, refuse)
    taken.take([intake.Arrival(place="line 1", bundle=Bundle(task=task, kept={1: kept}))])
    output = Qrec().store.output(task)
    assert (output.size("stdout"), output.extras()) == (FOLD_LIMIT + 1, dict(kept.extras))


def test_an_export_tells_what_get_tells_and_more(history):
    line = json.loads(call("export", "jsonl", "1").stdout)
    got = call("get", "1").json
    more = ("attempts", "streams")
    assert {**line["data"], "attempts": got["data"]["attempts"]} == {**got["data"], "streams": line["data"]["streams"]}
    assert {name: line[name] for name in line if name != "data"} == {name: got[name] for name in got if name != "data"}
    assert [(one["attempt"], one["returncode"]) for one in line["data"]["attempts"]] == [(1, 3), (2, 3)]
    assert line["data"]["streams"]["1"]["stdout"] == {"base64": "Yf8="}
    assert line["data"]["streams"]["2"]["stderr"] == "b\n"
    assert line["data"]["streams"]["2"]["timing"].count("\n") in (1, 2)
    assert list(line["data"])[-1] == more[-1]


def test_what_is_exported(history, tmp_path):
    def exported(*words: str) -> list[int]:
        lines = call("export", "jsonl", *words, check=True).stdout.splitlines()
        return [json.loads(line)["data"]["number"] for line in lines]

    assert exported() == exported("--all") == [1, 2, 3]
    assert exported("3", "1") == [1, 3]
    assert exported("-n", "2") == [2, 3]
    assert exported("--failed") == [1, 3]
    assert exported("--failed", "-n", "1") == [3]
    assert exported("--tag", "ci") == [1]
    assert exported("1", "2", "--failed") == [1]
    assert exported("-e", "shell", "--code", "1") == [3]
    assert one_line(call("export", "jsonl", "nope")) == "no task is called 'nope'; `qrec ls` lists what there is"
    assert call("export", "jsonl", "--tag", "none").err == "qrec: no task matches\n"
    assert call("export", "yaml").returncode == 2


def test_csv_has_the_columns_of_ls(history, tmp_path):
    rows = list(csv.DictReader(io.StringIO(call("export", "csv", check=True).out)))
    listed = call("ls", "--json").json
    assert [list(row) for row in rows] == [list(SUMMARY)] * 3
    assert [row["number"] for row in rows] == ["1", "2", "3"]
    assert json.loads(rows[0]["argv"]) == listed[0]["argv"]
    assert (rows[0]["command"], rows[0]["message"], rows[0]["tags"]) == (listed[0]["command"], "a note", '["ci"]')
    assert (rows[1]["returncode"], rows[1]["signal"], rows[1]["tags"]) == ("0", "", "")
    call("export", "csv", "--failed", "-o", tmp_path / "f.csv", check=True)
    assert [row["number"] for row in csv.DictReader(io.StringIO((tmp_path / "f.csv").read_text()))] == ["1", "3"]


def test_an_export_that_fails_leaves_the_file_before(history, tmp_path):
    assert "cannot be written: Is a directory" in one_line(call("export", "jsonl", "-o", tmp_path))
    assert "cannot be written: No such file" in one_line(call("export", "jsonl", "-o", tmp_path / "no" / "file"))
    file = tmp_path / "file"
    file.write_text("before")
    assert call("export", "jsonl", "nope", "-o", file).returncode == 1
    assert (file.read_text(), list(tmp_path.glob("file*"))) == ("before", [file])


def test_an_empty_store_exports_and_copies_nothing(kind, tmp_path):
    assert call("export", "jsonl", check=True).stdout == b""
    assert call("export", "csv", check=True).out == ",".join(SUMMARY) + "\n"
    assert call("import", "jsonl", "/dev/null", check=True).out == "0 tasks taken in\n"
    done = call("store", "copy", kind, f"{kind}:{tmp_path}/copy", check=True)
    assert (done.out, done.err) == ("0 tasks taken in\n", f"qrec: {kind} holds no task\n")


# Coming in


def plain(nth: int = 1, **data: Any) -> dict[str, Any]:
    """A task as QueueMe prints it."""
    told = {
        "pwd": "/home/me", "user": "me", "timestamp": "2020-05-21 14:03:12.123456", "output": ["a\n", "b\n"],
        "error": [], "returncode": 0, "pid": 20852, "cmd": ["ls", "/home/me"], "status": "complete",
    }  # fmt: skip
    uid = f"shell-{UUID[:-2]}{nth:02}"
    return {"executor": "shell", "uid": uid, "command": "ls /home/me", "data": {**told, **data}}


def taken(told: dict[str, Any]) -> Task:
    return jsonl.bundle_of(json.dumps(told).encode()).task


def test_a_published_object_is_taken_in(kind, tmp_path):
    (tmp_path / "plain").write_text(json.dumps(plain(message="hello")))
    assert call("import", "jsonl", tmp_path / "plain", check=True).out == "1 task taken in\n"
    got = call("get", "shell-97b1").json
    at = datetime(2020, 5, 21, 14, 3, 12, 123456).astimezone(timezone.utc)
    assert got["data"]["timestamp"] == timestamp(at.timestamp())
    published = {**plain(message="hello")["data"], "timestamp": got["data"]["timestamp"]}
    assert {name: got["data"][name] for name in published} == published
    assert got["command"] == "ls /home/me"
    assert call("log", "1").stdout == b"a\nb\n"


def test_a_published_object_without_a_time_is_listed(kind, tmp_path):
    (tmp_path / "plain").write_text(json.dumps(plain(timestamp=None)))
    call("import", "jsonl", tmp_path / "plain", check=True)
    assert "ls /home/me" in call("ls", check=True).out
    assert call("log", "1", "--relative", check=True).out == "    0.000 a\n    0.000 b\n"
    head = json.loads(call("export", "asciicast", "1", check=True).out.splitlines()[0])
    assert "timestamp" not in head
    nowhere = json.dumps({**plain(timestamp=None), "uid": new_uid("shell"), "data": {**plain()["data"], "pwd": ""}})
    (tmp_path / "nowhere").write_text(nowhere)
    call("import", "jsonl", tmp_path / "nowhere", check=True)
    assert call("rerun", "2").err == "qrec: its folder is not known; name one with --cwd\n"


@pytest.mark.parametrize("indent", [None, 2, 4])
def test_what_get_prints_is_taken_in_elsewhere(history, other, tmp_path, indent):
    got = call("get", "1").json
    text = json.dumps(got, indent=indent)
    (tmp_path / "got").write_text(f"{text}\n{json.dumps(plain(), indent=indent)}")
    assert call("--home", other, "import", "jsonl", tmp_path / "got", check=True).out == "2 tasks taken in\n"
    there = call("--home", other, "get", "1").json
    assert there["data"].pop("attempts") == [2]
    assert got["data"].pop("attempts") == [1, 2], "which get tells of, and no more"
    got["data"]["output"] = ["a\N{REPLACEMENT CHARACTER}"]
    got["data"]["bytes"]["output"] = 4
    assert there == got


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({}, ("complete", 0, None)),
        ({"returncode": 1}, ("failed", 1, None)),  # QueueMe calls complete whatever has ended
        ({"returncode": 1, "status": None, "pid": None}, ("failed", 1, None)),  # a program it did not find
        ({"returncode": None, "status": None}, ("lost", None, None)),  # it died on the way
        ({"returncode": None, "status": "running"}, ("lost", None, None)),
        ({"returncode": -9}, ("failed", 137, 9)),
        ({"returncode": 130, "status": "cancelled", "signal": 2}, ("cancelled", 130, 2)),
        ({"returncode": None, "status": "submitted"}, ("submitted", None, None)),
    ],
)
def test_how_a_published_task_ended(data, expected):
    task = taken(plain(**data))
    assert (task.status.value, task.returncode, task.signal) == expected


def test_what_a_published_object_tells():
    task = taken(plain(jobid="42", outputfile="/x", message="hi", tags=["a"], number=7, cmd=["a b", ""]))
    assert (task.argv, task.message, task.tags, task.number) == (("a b", ""), "hi", ("a",), 7)
    assert task.data == {"jobid": "42", "outputfile": "/x"}
    assert (task.started, task.ended) == (None, task.created), "QueueMe notes when a command has ended"
    assert task.turn == datetime.fromisoformat(task.created.replace("Z", "+00:00")).timestamp() * 1e6
    only_text = taken({**plain(cmd=[]), "command": "ls 'x y"})
    assert (only_text.argv, only_text.command) == (("ls 'x y",), "ls 'x y")
    bare = taken({"executor": "shell", "uid": f"shell-{UUID}"})
    assert (bare.status, bare.argv, bare.turn) == (Status.LOST, (), 0)


BAD = [
    (b"nonsense", "this is not JSON: Expecting value"),
    (b"{", "this is not JSON: Expecting property name enclosed in double quotes"),
    (b"\xff", "this is not JSON: "),
    (b"[" * 100_000, "this is not JSON: "),
    (b"[1]", "this is no task as `qrec get` prints it"),
    (b'"x"', "this is no task"),
    (b'{"data": 5}', "this is no task"),
    (json.dumps({**plain(), "uid": "shell-1"}), "'shell-1' is no uid of the form shell-<uuid>"),
    (json.dumps({**plain(), "uid": f"../x-{UUID}", "executor": "../x"}), "is no uid of the form"),
    (json.dumps({**plain(), "uid": f"a-..-{UUID}", "executor": "a-.."}), "is no uid of the form"),
    (json.dumps({**plain(), "uid": f"{'a' * 70}-{UUID}", "executor": "a" * 70}), "is no uid of the form"),
    (json.dumps({**plain(), "executor": "slurm"}), "is no uid of the form slurm-<uuid>"),
    (json.dumps({**plain(), "executor": 5}), "its executor cannot be 5"),
    (json.dumps(plain(timestamp="yesterday")), "'yesterday' is no time"),
    (json.dumps(plain(timestamp=5)), "5 is no time"),
    (json.dumps(plain(cmd=["a", 5])), "its argv cannot hold anything but text"),
    (json.dumps(plain(cmd="a b")), "its argv cannot be 'a b'"),
    (json.dumps(plain(output=[5])), "its output is no list of lines"),
    (json.dumps(plain(pid=2**64)), "its pid is too large"),
    (json.dumps(plain(returncode="0")), "its returncode cannot be '0'"),
    (json.dumps(plain(status="done")), "no status is called 'done'"),
    (json.dumps(plain(number=-1)), "numbers and attempts are counted from 1"),
    (json.dumps(plain(usage={"cpu": float("nan")})), "NaN is no number of JSON"),
]


@pytest.mark.parametrize(("line", "told"), BAD, ids=range(len(BAD)))
def test_why_a_line_is_bad(line, told):
    with pytest.raises(NotATask) as raised:
        jsonl.bundle_of(line if isinstance(line, bytes) else line.encode())
    assert told in str(raised.value)
    assert len(str(raised.value)) < 300


def record(**fields: Any) -> dict[str, Any]:
    """A full record, in JSON's types."""
    return {**Task(uid=f"shell-{UUID}", executor="shell", argv=("x",), status=Status.COMPLETE).plain(), **fields}


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"attempts": [record(started="2020")]}, "its started is no time: '2020'"),
        ({"attempts": [record(started="2020-13-01T00:00:00.000000Z")]}, "its started is no time"),
        ({"attempts": [record(attempt=0)]}, "counted from 1"),
        ({"attempts": [record(turn=True)]}, "its turn cannot be True"),
        ({"attempts": [record(), record()]}, "its attempts do not belong together"),
        ({"attempts": [record(uid=f"shell-{'0' * 8}{UUID[8:]}"), record(attempt=2)]}, "do not belong together"),
        ({"attempts": [5, record()]}, "one of its attempts is no record"),
        ({"attempts": [{"uid": "x", "executor": "y"}]}, "it has no argv"),
        ({"attempts": [record()], "streams": {"2": {}}}, "its streams belong to no attempt"),
        ({"attempts": [record()], "streams": {"1": {"stdout": {"base64": "?"}}}}, "its streams cannot be read"),
        ({"attempts": [record()], "streams": {"1": {"stdout": ["x"]}}}, "its streams cannot be read"),
        ({"attempts": [record()], "streams": ["x"]}, "its streams cannot be read"),
    ],
)
def test_why_an_export_is_bad(data, told):
    with pytest.raises(NotATask, match=told):
        jsonl.bundle_of(json.dumps({"data": data}).encode())


def test_a_record_of_a_later_qrec_is_read():
    told = {"data": {"attempts": [record(colour="blue")], "streams": {}, "smell": 1}, "sound": 2}
    assert taken(told) == Task(uid=f"shell-{UUID}", executor="shell", argv=("x",), status=Status.COMPLETE)
    few = {name: record()[name] for name in ("uid", "executor", "argv")}
    assert taken({"data": {"attempts": [few]}}).status is Status.RUNNING


def test_bad_lines_do_not_stop_the_good_ones(kind, tmp_path):
    lines = [json.dumps(plain(1)), "oops", "", json.dumps(plain(2)), json.dumps({**plain(3), "uid": "x"})]
    (tmp_path / "mixed").write_text("\n".join(lines))
    done = call("import", "jsonl", tmp_path / "mixed")
    assert (done.returncode, done.out) == (1, "2 tasks taken in, 2 bad\n")
    first, second = done.err.splitlines()
    assert first == f"qrec: {tmp_path}/mixed, line 2: this is not JSON: Expecting value"
    assert second.startswith(f"qrec: {tmp_path}/mixed, line 5: 'x' is no uid")
    assert call("import", "jsonl", tmp_path / "mixed", "--json").returncode == 1
    assert json.loads(call("--json", "import", "jsonl", tmp_path / "mixed").out) == {"new": 0, "present": 2, "bad": 2}


def test_much_that_is_bad_is_counted_and_not_told(kind, tmp_path):
    (tmp_path / "noise").write_bytes(b"noise\n" * 1000)
    done = call("import", "jsonl", tmp_path / "noise")
    assert done.out == "0 tasks taken in, 1,000 bad\n"
    assert len(done.err.splitlines()) == 101


def test_a_stream_of_lines_from_stdin(history, qrec, other):
    exported = call("export", "jsonl").stdout
    done = qrec("--home", other, "import", "jsonl", "-", input=exported)
    assert (done.returncode, done.out, done.err) == (0, "3 tasks taken in\n", "")
    assert "line 2" in qrec("--home", other, "import", "jsonl", "-", input=b"{}\nx\n").err


def test_what_holds_for_queues_goes_along(home, other, tmp_path):
    """Also for one without jobs; and jobs of an earlier queue of that name are not taken for jobs of this one."""
    call("queue", "submit", "train", "--name", "old", "--", "true", check=True)
    call("queue", "new", "train", "--clear", "--workers", "3", "--preamble", "export A=b", check=True)
    call("queue", "submit", "train", "--name", "new", "--", "true", check=True)
    call("queue", "new", "empty", "--cpus", "2", check=True)
    policies = Qrec().store.policies()
    some, every = (call("export", "jsonl", *words, check=True).stdout for words in (["2"], []))
    assert [json.loads(line)["data"].get("queues", {}).keys() for line in every.splitlines()] == [
        set(),
        {"train", "empty"},
    ]
    assert json.loads(some)["data"]["queues"].keys() == {"train"}
    (tmp_path / "file").write_bytes(every)
    door = Qrec(str(other))
    for _ in range(2):
        call("--home", other, "import", "jsonl", tmp_path / "file", check=True)
        assert door.store.policies() == policies
        assert [job.name for job in Jobs(door, "train").all()] == ["new"]
    call("--home", other, "queue", "set", "train", "--workers", "7", check=True)
    call("--home", other, "import", "jsonl", tmp_path / "file", check=True)
    assert door.store.policies()["train"]["workers"] == 7, "it was there already"


@pytest.mark.parametrize(
    "told", ["5", '{"policy": 3}', '{"policy": {"workers": "many"}}', '{"policy": {"no": 1}}', "{}"]
)
def test_what_cannot_hold_for_a_queue_is_told(home, other, tmp_path, told):
    add(Qrec().store)
    line = json.loads(call("export", "jsonl", check=True).out)
    line["data"]["queues"] = {"bad": json.loads(told)}
    (tmp_path / "file").write_text(json.dumps(line))
    done = call("--home", other, "import", "jsonl", tmp_path / "file", check=True)
    assert done.err.startswith("qrec: queue 'bad': ")
    assert (done.err.count("\n"), done.out) == (1, "1 task taken in\n")
    assert Qrec(str(other)).store.policies() == {}


def test_import_needs_a_file(kind, tmp_path):
    assert "cannot be read: No such file" in one_line(call("import", "jsonl", tmp_path / "none"))
    assert "cannot be read: Is a directory" in one_line(call("import", "jsonl", tmp_path))


def test_what_one_store_cannot_hold_is_told_and_the_rest_comes_in(home):
    """Half a surrogate pair, which no operating system hands over, is nothing for SQLite; files of JSON take it."""
    lines = [json.dumps(plain(n, message="\ud800" if n == 4 else "")).encode() for n in range(9)]
    complaints: list[str] = []
    taken = intake.Intake(opened("sqlite", home), complaints.append)
    taken.take(jsonl.arrivals(lines))
    assert taken.counts() == {"new": 8, "present": 0, "bad": 1}
    assert complaints[0].startswith("line 5: the store cannot hold it (")
    files = intake.Intake(opened("filesystem", home), refuse)
    files.take(jsonl.arrivals(lines))
    assert files.counts() == {"new": 9, "present": 0, "bad": 0}


def test_a_busy_store_ends_the_import(home, monkeypatch):
    store = opened("sqlite", home)
    add(store)
    db = sqlite3.connect(store.location, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    store.patience = 0.01
    with pytest.raises(StoreBusy):
        intake.Intake(store, refuse).take(jsonl.arrivals([json.dumps(plain()).encode()]))
    db.close()


def test_numbers_are_kept_where_they_are_free(kind, door, other, tmp_path):
    for number in range(4):
        add(door.store, f"echo {number}")
    call("clear", "2", "-y", check=True)
    (tmp_path / "out").write_bytes(call("export", "jsonl").stdout)
    call("--home", other, "import", "jsonl", tmp_path / "out", check=True)
    assert [task.number for task in Qrec(other).store.find()] == [1, 3, 4]
    third = str(tmp_path / "third")
    add(Qrec(third).store)
    call("--home", third, "import", "jsonl", tmp_path / "out", check=True)
    assert [task.number for task in Qrec(third).store.find()] == [1, 2, 3, 4]


def test_batches_are_many_or_large(home, monkeypatch):
    monkeypatch.setattr(intake, "BATCH", 3)
    monkeypatch.setattr(intake, "BATCH_BYTES", 500)
    store = opened("sqlite", home)
    sizes: list[int] = []
    add_all = store.add_all

    def counting(batch: list[Bundle]) -> int:
        sizes.append(len(batch))
        return add_all(batch)

    monkeypatch.setattr(store, "add_all", counting)
    lines = [json.dumps(plain(n, output=["x" * 600] if n == 4 else [])).encode() for n in range(8)]
    intake.Intake(store, refuse).take(jsonl.arrivals(lines))
    assert sizes == [3, 2, 3]


def test_a_large_output_never_touches_the_files_of_a_present_task(kind, door, home, tmp_path):
    big = json.dumps(plain(output=["~" * (FOLD_LIMIT + 1)]))
    (tmp_path / "big").write_text(f"{big}\n{big.replace('~', '+')}\n")
    assert call("import", "jsonl", tmp_path / "big", check=True).out == "1 task taken in, 1 here already\n"
    assert set(call("log", "1").stdout) == set(b"~")
    assert door.store.kept(plain()["uid"], 1) is None
    (tmp_path / "big").write_text(big.replace("~", "-"))
    assert call("import", "jsonl", tmp_path / "big", check=True).out == "0 tasks taken in, 1 here already\n"
    assert set(call("log", "1").stdout) == set(b"~")


def test_a_large_output_that_cannot_be_written_is_one_line(kind, home, tmp_path):
    home.mkdir()
    (home / "attempts").write_text("in the way")
    (tmp_path / "big").write_text(json.dumps(plain(output=["x" * (FOLD_LIMIT + 1)])))
    assert "attempts" in one_line(call("import", "jsonl", tmp_path / "big"))
    assert call("ls", "--json").json == []


# From QueueMe


@pytest.fixture
def queueme(tmp_path):
    """A home of QueueMe with both its stores, as it lays them out."""
    top = tmp_path / "qme home"
    notes = {"jobid": "904366", "outputfile": "/x/slurm.out"}
    for number, executor, data in ((1, "shell", {}), (2, "slurm", notes)):
        folder = top / "database" / executor
        folder.mkdir(parents=True)
        uid = f"{executor}-{UUID[:-2]}{number:02}"
        at = f"2021-0{number}-01 10:00:00.500000"
        told = {**plain(number, timestamp=at, **data), "executor": executor, "uid": uid}
        (folder / f"{uid}.json").write_text(json.dumps(told, indent=4, separators=(",", ": ")))
    (top / "config.ini").write_text("[DEFAULT]\ndatabase = sqlite\ndatabaseconnect = own%name.db\n\n[executor.shell]\n")
    make_database(top / "qme.db", [(f"shell-{UUID[:-2]}03", "echo x", "2020-01-01 00:00:00", plain(3)["data"])])
    make_database(top / "own%name.db", [("shell-old-name", "echo y", "2020-02-01 00:00:00.000000", None)])
    return top


def make_database(path: Path, rows: list[tuple[str, str, str, Any]]) -> None:
    db = sqlite3.connect(path)
    db.execute(
        "CREATE TABLE task (taskid VARCHAR(150) NOT NULL, command VARCHAR(500), timestamp DATETIME, "
        "executor_name VARCHAR(50), data TEXT, PRIMARY KEY (taskid))"
    )
    for uid, command, at, data in rows:
        db.execute("INSERT INTO task VALUES (?, ?, ?, 'shell', ?)", (uid, command, at, data and json.dumps(data)))
    db.commit()
    db.close()


def test_both_stores_of_queueme(kind, queueme):
    before = tree(str(queueme))
    assert call("import", "qme", queueme, check=True).out == "4 tasks taken in\n"
    assert call("import", "qme", queueme, check=True).out == "0 tasks taken in, 4 here already\n"
    assert tree(str(queueme)) == before
    rows = call("ls", "--json").json
    assert [row["uid"].partition("-")[0] for row in rows] == ["shell", "shell", "shell", "slurm"]
    assert [row["uid"][-2:] for row in rows if row["uid"].startswith(("shell-97", "slurm-97"))] == ["03", "01", "02"]
    assert [row["created"][:7] for row in rows] == ["2020-01", "2020-02", "2021-01", "2021-02"]
    assert rows[0]["started"] == "2020-01-01T00:00:00.000000Z", "SQLite's own clock, which is UTC"
    assert rows[1]["uid"] == f"shell-{uuid_of('shell-old-name')}"
    assert (rows[1]["status"], rows[1]["command"], rows[1]["data"]["qme"]) == ("lost", "echo y", "shell-old-name")
    assert rows[3]["data"] == {"jobid": "904366", "outputfile": "/x/slurm.out"}
    assert call("log", "3").stdout == b"a\nb\n"
    assert [task.uid for task in [Qrec().store.latest()]] == [rows[3]["uid"]]


def test_bad_files_of_queueme_are_told(kind, queueme):
    (queueme / "database" / "shell" / "a.json").write_text("{")
    (queueme / "database" / "shell" / "b.json").write_text("[]")
    done = call("import", "qme", queueme)
    assert (done.returncode, done.out) == (1, "4 tasks taken in, 2 bad\n")
    assert [line.partition(": ")[2].partition(": ")[0] for line in done.err.splitlines()] == [
        f"{queueme}/database/shell/a.json", f"{queueme}/database/shell/b.json",
    ]  # fmt: skip


def test_what_is_no_home_of_queueme(kind, tmp_path):
    assert "there is no folder" in one_line(call("import", "qme", tmp_path / "none"))
    assert "is no home of QueueMe" in one_line(call("import", "qme", tmp_path))
    (tmp_path / "qme.db").write_text("no database")
    assert "cannot be read as QueueMe's" in one_line(call("import", "qme", tmp_path))


# From store to store


@pytest.fixture
def another(kind) -> str:
    return next(name for name in STORES if name != kind)


def test_store_copy(kind, another, history, home):
    told = call("export", "jsonl").stdout
    assert call("store", "copy", kind, another, check=True).out == "3 tasks taken in\n"
    assert call("--json", "store", "copy", kind, another).json == {"new": 0, "present": 3}
    copied = call("--store", another, "export", "jsonl").stdout
    assert list(map(json.loads, copied.splitlines())) == list(map(json.loads, told.splitlines()))
    assert call("--store", another, "log", "2", "--stdout").stdout == bytes(70000) + b"end\n"
    assert Qrec(store=another).store.latest().number == 1, "turns are kept"
    assert call("--store", another, "search", "note", "--json").json[0]["number"] == 1


@pytest.fixture
def queue(door, history):
    """A queue of which all parts are used, in its second generation, behind tasks of other kinds."""
    queue = Jobs(door, "a q")
    queue.submit(Submission(command="true", name="prep"))
    policy: dict[str, Any] = {
        "workers": 2,
        "gpus": ["0", "0"],
        "paused": True,
        "preamble": ["set -e"],
        "env": {"K": "$(x)"},
    }
    queue.create(clear=True, **policy)
    prep = queue.submit(Submission(command="true", name="prep", priority=3))
    other = queue.submit(Submission(command=("echo", "a b"), name="it's", depends=("prep",), depends_any=("1",)))
    queue.submit(Submission(command="true", depends_failed=(prep.uid, other.uid), retries=2, cpus=1, setup="a", at=1e9))
    return queue


def test_jobs_come_back_as_they_were(queue, home, other, tmp_path):
    call("export", "jsonl", "-o", tmp_path / "file", check=True)
    for target in STORES:
        there = opened(target, other)
        call("--home", other, "--store", target, "import", "jsonl", tmp_path / "file", check=True)
        assert there.find() == queue.store.find()
    told = json.loads((tmp_path / "file").read_text().splitlines()[-2])["data"]
    prep, second, third = queue.all()
    assert (told["queue"], told["name"], told["after"]) == ("a q", "it's", [prep.uid, queue.store.numbered(1).uid])
    assert there.get(prep.uid).priority == 3
    job = there.get(third.uid).data["job"]
    assert {name: job[name] for name in job if name != "env"} == {
        "failed": [prep.uid, second.uid], "retries": 2, "cpus": 1, "setup": "a", "at": 1e9, "preamble": ["set -e"]
    }  # fmt: skip


def test_store_copy_takes_queues_along(kind, another, queue):
    assert call("--json", "store", "copy", kind, another, check=True).json == {"new": 7, "present": 0}
    there = Jobs(Qrec(store=another), "a q")
    assert (there.policy, there.all()) == (queue.policy, queue.all())
    there.set(workers=5)
    queue.set(workers=1)
    assert call("--json", "store", "copy", kind, another, check=True).json == {"new": 0, "present": 7}
    assert there.policy["workers"] == 5, "a queue that is there is let alone"


def test_a_copied_queue_has_its_jobs_though_the_numbers_are_others(kind, another, queue):
    target = Qrec(store=another).store
    for _ in range(20):
        add(target)
    queue.store.set_policy("empty", {"since": 3})
    call("store", "copy", kind, another, check=True)
    there = Jobs(Qrec(store=another), "a q")
    assert [job.number for job in queue.all()] == [5, 6, 7]
    assert [job.number for job in there.all()] == [25, 26, 27]
    assert [job.uid for job in there.all()] == [job.uid for job in queue.all()]
    assert there.policy == {**queue.policy, "since": 24}
    assert there.names().keys() == {"prep", "it's"}
    assert Jobs(Qrec(store=another), "empty").all() == []
    assert target.policies()["empty"]["since"] == 27


def test_store_copy_by_url(kind, history, tmp_path):
    place = f"{kind}:{tmp_path / 'else where'}"
    call("store", "copy", kind, place, check=True)
    assert call("--store", place, "ls", "--json").json == call("ls", "--json").json


def test_store_copy_needs_two_stores(kind, history, home):
    place = Qrec().store.location
    for other in (kind, f"{kind}:{place}"):
        done = call("store", "copy", kind, other)
        assert (done.returncode, done.err) == (2, "qrec: FROM and TO are the same store\n")
    assert call("store", "copy", kind, "nosuch").returncode == 2


def test_store_copy_tells_of_what_has_not_ended(kind, another, door):
    add(door.store, "sleep 60", status="running")
    done = call("store", "copy", kind, another, check=True)
    assert done.err == f"qrec: 1 task had not ended; the end will be recorded in {kind} only\n"


def test_carrying_to_another_home_takes_the_files_along(kind, history, other):
    there = opened(kind, other)
    assert list(carry(history.store, there, history.store.find())) == [(3, 3)]
    assert attempts_of(other) == attempts_of(history.home)
    large = history.store.numbered(2)
    (Path(attempt_folder(other, large.uid, 1)) / "stdout").write_bytes(b"theirs")
    list(carry(history.store, there, history.store.find()))
    assert there.output(large).read("stdout") == b"theirs"


def test_what_is_removed_while_it_goes_out_is_left_out(kind, door):
    tasks = [add(door.store) for _ in range(3)]
    going = door.store.oldest_first(Query())
    assert next(going) == tasks[0]
    door.store.delete(tasks[1].uid)
    assert [bundle.task for batch in batches(door.store, going) for bundle in batch] == [tasks[2]]
    door.store.delete(tasks[0].uid)
    assert [len(batch) for batch in batches(door.store, tasks)] == [1]


def test_what_starts_anew_while_it_goes_out_goes_as_it_was(kind, door):
    before = add(door.store, kept=Kept(stdout=b"first"))
    door.store.archive(before.uid, (before.status, 1), Status.RUNNING)
    bundle = whole(door.store, before)
    assert (bundle.attempts, bundle.kept[1].stdout) == ((), b"first")


# Progress


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def test_progress_tells_rate_and_time_left(monkeypatch, clock):
    monkeypatch.setattr("sys.stderr", terminal := Screen())
    with progress.Progress("importing", 1000) as bar:
        bar.advance(10)
        assert terminal.getvalue() == "", "a second needs no explanation"
        clock[0] += 2
        bar.advance(240, count=100)
        assert terminal.getvalue() == "\rimporting: 101 tasks, 50/s  [#####...............] 25%, 6.0 s left\x1b[K"
        bar.advance(500)
        assert terminal.getvalue().count("\r") == 1, "ten times a second is enough"
    assert terminal.getvalue().endswith("\r\x1b[K"), "it leaves nothing behind"


def test_progress_without_a_known_end(monkeypatch, clock):
    monkeypatch.setattr("sys.stderr", terminal := Screen())
    things = progress.track("ab", "copying")
    assert next(things) == "a"
    clock[0] += 4
    assert list(things) == ["b"]
    assert terminal.getvalue() == "\rcopying: 1 task, 0/s\x1b[K\r\x1b[K"


def test_programs_see_no_progress(monkeypatch, clock, capsys):
    for _ in progress.track("abc", "copying", 3):
        clock[0] += 5
    monkeypatch.setattr("sys.stderr", None)
    assert list(progress.track("abc", "copying", 3)) == ["a", "b", "c"]
    assert capsys.readouterr().err == ""


def test_a_long_import_shows_how_far_it_is(start, home, tmp_path):
    """Through a pipe in which another line comes now and then, until it has shown something: that is after a second."""
    fifo, enough = tmp_path / "fifo", tmp_path / "enough"
    os.mkfifo(fifo)
    script = f"exec >{fifo}; until [ -e {enough} ]; do printf '%s\\n' \"$LINE\"; sleep 0.2; done"
    with Terminal([sys.executable, "-m", "qrec", "import", "jsonl", str(fifo)], TERM="xterm") as terminal:
        start("-q", "run", "sh", "-c", script, env={"LINE": json.dumps(plain()), "QREC_HOME": str(tmp_path / "feeder")})
        terminal.wait_for(b"\rimporting: ")
        enough.touch()
        assert terminal.end() == 0
        last = terminal.seen.rpartition(b"\x1b[K")[2].decode()
    assert re.fullmatch(r"1 task taken in, \d+ here already\r\n", last)
