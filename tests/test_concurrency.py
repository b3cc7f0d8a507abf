"""Many at once, and a store that somebody else holds: cases 7 and 8 of what must work."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from qrec import Qrec, Status, spool
from qrec.process import start_ticks
from tests.helpers import Result, wait_until


@pytest.fixture(params=["sqlite", "sqlite on a network", "filesystem"])
def store(request, monkeypatch) -> str:
    monkeypatch.setenv("QREC_STORE", request.param.split()[0])
    return str(request.param)


local_stores = pytest.mark.parametrize("store", ["sqlite", "filesystem"], indirect=True)

# 7. Many at once


@local_stores
def test_7_get_shows_what_was_run_last_six_times(qrec, store):
    for word in map(str, range(6)):
        qrec("run", "echo", word, check=True)
        data = qrec("get").json["data"]
        assert (data["cmd"], data["output"]) == (["echo", word], [word + "\n"])


@local_stores
def test_7_the_latest_is_right_however_fast_they_come(home, store):
    """Six of them take less than a tenth of a second in one process."""
    door = Qrec()
    for word in map(str, range(6)):
        assert door.run(["echo", word], show=False).uid == door.get().uid
        assert door.get().argv == ("echo", word)


@local_stores
def test_7_fifty_at_once_on_a_store_that_is_not_there_yet(start, qrec, store, home):
    assert not home.exists()
    all_at_once(start, qrec, 50)
    assert sorted(task["number"] for task in recorded(qrec)) == list(range(1, 51))


@local_stores
def test_7_two_hundred_at_once(start, qrec, store):
    qrec("run", "echo", "-1", check=True)
    all_at_once(start, qrec, 200)
    assert sorted(task["number"] for task in recorded(qrec)) == list(range(1, 202))


def recorded(qrec: Callable[..., Result]) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = qrec("ls", "--all", "--json").json
    return tasks


def all_at_once(start: Callable[..., subprocess.Popen[bytes]], qrec: Callable[..., Result], count: int) -> None:
    """So many calls, each of which must succeed, be on record as complete, and have kept its own output."""
    before = {task["uid"] for task in recorded(qrec)}
    ran = [start("run", "echo", str(number), stdout=subprocess.DEVNULL) for number in range(count)]
    talk = [process.communicate()[1].decode() for process in ran]
    assert [process.returncode for process in ran] == [0] * count, talk
    assert [words for words in talk if "in part" in words] == []
    tasks = [task for task in recorded(qrec) if task["uid"] not in before]
    assert sorted(int(task["argv"][1]) for task in tasks) == list(range(count))
    assert {(task["status"], task["returncode"]) for task in tasks} == {("complete", 0)}
    store = Qrec().store
    for task in tasks:
        assert store.output(store.get(task["uid"])).read("stdout").decode() == task["argv"][1] + "\n"
    assert not list(Path(store.home, "incoming").iterdir())


# 8. The store is held by another process

#: Longer than qrec may keep a command waiting, several times over; the lock is held until the test has seen enough.
LONG = 10


@contextlib.contextmanager
def held(home: Path, store: str) -> Iterator[None]:
    """Hold the store's lock as a writer would, in a process that is none of qrec's."""
    if store == "filesystem":
        with open(home / "tasks" / "lock", "r+b") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        return
    with contextlib.closing(sqlite3.connect(home / "qrec.db", isolation_level=None)) as db:
        db.execute("BEGIN EXCLUSIVE")
        yield
        db.execute("ROLLBACK")


@pytest.fixture
def warm(qrec, home, store) -> None:
    """A store with one task, with the journal that it would have on a network file system if that is asked for."""
    qrec("run", "echo", "warm", check=True)
    if store == "sqlite on a network":
        with contextlib.closing(sqlite3.connect(home / "qrec.db")) as db:
            assert db.execute("PRAGMA journal_mode = DELETE").fetchone() == ("delete",)


def started(command: str) -> list[str]:
    """A line for the shell that first tells the time."""
    return ["sh", "-c", "date +%s.%N; " + command]


@pytest.mark.usefixtures("warm")
def test_8_the_lock_is_held_while_a_command_starts_and_ends(qrec, home, store):
    with held(home, store):
        called = time.time()
        result = qrec("run", *started("echo out; echo err >&2; exit 3"))
        over = time.time()
    began = float(result.out.split()[0])
    assert result.returncode == 3
    assert began - called < LONG
    assert over - began < LONG
    assert "err\n" in result.err
    waits = [line for line in result.err.splitlines() if line.startswith("qrec: ")]
    assert len(waits) == 1
    assert "incoming" in waits[0]
    first, second = qrec("ls", "--json").json
    assert first["argv"] == ["echo", "warm"]
    assert (second["status"], second["returncode"], second["number"]) == ("failed", 3, 2)
    assert qrec("log").out.splitlines()[1:] == ["out", "err"]
    assert qrec("search", "err", "out").out
    assert not list((home / "incoming").iterdir())


@pytest.mark.usefixtures("warm")
def test_8_the_lock_is_held_while_a_command_starts(qrec, start, home, store):
    """Its output is seen meanwhile, and it is on record as soon as the lock is gone."""
    with held(home, store):
        called = time.time()
        process = start("run", *started("read word; echo $word"), stdin=subprocess.PIPE)
        assert float(process.stdout.readline()) - called < LONG
    wait_until(lambda: running(qrec))
    assert running(qrec)["pid"]
    process.communicate(b"go on\n")
    assert process.returncode == 0
    assert [task["status"] for task in qrec("ls", "--json").json] == ["complete", "complete"]
    assert qrec("log").out.splitlines()[1:] == ["go on"]


@pytest.mark.usefixtures("warm")
def test_8_the_lock_is_held_while_a_command_ends(qrec, start, home, store):
    process = start("-q", "run", "sh", "-c", "read word; echo $word; date +%s.%N; exit 4", stdin=subprocess.PIPE)
    wait_until(lambda: running(qrec))
    with held(home, store):
        out, err = process.communicate(b"go on\n")
        over = time.time()
        assert process.returncode == 4
        assert over - float(out.split()[-1]) < LONG
    assert err.count(b"\n") == 1
    assert [(task["status"], task["returncode"]) for task in qrec("ls", "--json").json] == [
        ("complete", 0),
        ("failed", 4),
    ]
    assert qrec("log").out.splitlines()[0] == "go on"


def running(qrec: Callable[..., Result]) -> dict[str, Any]:
    """The task that runs, or an empty one."""
    tasks: list[dict[str, Any]] = qrec("ls", "--status", "running", "--json").json
    return tasks[-1] if tasks else {}


@pytest.mark.usefixtures("warm")
@local_stores
def test_8_reading_does_not_wait(qrec, home, store):
    with held(home, store):
        assert [task["argv"] for task in qrec("ls", "--json").json] == [["echo", "warm"]]
        assert qrec("get").json["data"]["output"] == ["warm\n"]
        assert qrec("log").out == "warm\n"
        assert qrec("search", "warm", "--json").json[0]["number"] == 1


@pytest.mark.usefixtures("warm")
def test_8_many_records_wait_and_none_is_lost(qrec, start, home, store):
    with held(home, store):
        ran = [start("run", "sh", "-c", f"echo {number}; exit {number}") for number in range(10)]
        assert [process.wait() for process in ran] == list(range(10))
        assert start("run", "sh", "-c", "echo 10; exit 10").wait() == 10
    tasks = qrec("ls", "--json").json[1:]
    assert sorted(task["returncode"] for task in tasks) == list(range(11))
    door = Qrec()
    for task in tasks:
        assert door.output(door.get(task["uid"])).read("stdout") == b"%d\n" % task["returncode"]
    assert qrec("get").json["data"]["cmd"] == ["sh", "-c", "echo 10; exit 10"], "the last that was started"


def test_8_somebody_else_makes_the_store_and_hangs(qrec, home):
    """A new store is made under a file lock, which may be held for long on a sick network."""
    home.mkdir()
    with open(home / "qrec.db.lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert qrec("run", "echo", "out", timeout=LONG).out == "out\n"
    assert [task["status"] for task in qrec("ls", "--json").json] == ["complete"]


@pytest.mark.usefixtures("warm")
@local_stores
def test_8_a_recorder_that_is_killed_while_the_store_is_held(qrec, start, home, store):
    """What it left behind tells that the command ran, and what it printed."""
    with held(home, store):
        process = start("run", "sh", "-c", "echo out; echo $$; exec sleep 600")
        process.stdout.readline()
        pid = int(process.stdout.readline())
        wait_until(lambda: qrec_left(home))
        process.kill()
        process.wait()
        os.kill(pid, 9)
        wait_until(lambda: start_ticks(pid) is None)
    task = qrec("ls", "--json").json[-1]
    assert (task["status"], task["argv"][2]) == ("lost", "echo out; echo $$; exec sleep 600")
    assert qrec("log").out.startswith("out\n")


def qrec_left(home: Path) -> list[Path]:
    return list((home / "attempts").rglob("stdout"))


@pytest.mark.usefixtures("warm")
@local_stores
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_8_a_signal_between_the_commands_end_and_its_record(qrec, start, home, store, number):
    """Ctrl-C pressed once more, or a machine that goes down: the code is known by now, and must come to the record."""
    process = start("-q", "run", "sh", "-c", "read word; exit 4", stdin=subprocess.PIPE)
    wait_until(lambda: running(qrec))
    pid = running(qrec)["pid"]
    with held(home, store):
        process.stdin.write(b"\n")
        process.stdin.flush()
        wait_until(lambda: not psutil.pid_exists(pid))
        process.send_signal(number)
        process.communicate()
    task = qrec("ls", "--json").json[-1]
    assert (task["status"], task["returncode"]) == ("failed", 4)


def test_8_what_waits_is_taken_in_by_the_next_run_too(qrec, home):
    """Not only by those who look."""
    door = Qrec()
    left = door.new_task("true").copy(status=Status.COMPLETE, returncode=0)
    spool.put(str(home), left, door.store.place)
    qrec("run", "false")
    assert not list((home / "incoming").iterdir())
    assert door.store.get(left.uid).returncode == 0
