"""Keeping a history to a size or an age."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrec import Qrec
from qrec.errors import NoSuchTask, StaleTask
from qrec.gc import Limits, Step, alone, apply, compressible, is_written, plan, remove, sweep, used
from qrec.output import attempt_folder
from qrec.stores.base import REMOVED
from qrec.stores.sqlite import SqliteStore
from qrec.task import Kept, Status, Task, new_uid, timestamp
from tests.helpers import environment
from tests.test_trouble import Disk, disk  # noqa: F401

LARGE = 200_000
DAY = 86_400.0


ONLY_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@pytest.fixture(autouse=True)
def each_store(kind: str) -> str:
    return kind


@pytest.fixture
def door(home: Path) -> Qrec:
    return Qrec()


def put(door: Qrec, *, size: int = 0, days: float = 0, kept: bytes = b"", **fields: Any) -> Task:
    """An ended task of that age, with so much output in files, or some in the store."""
    at = timestamp(timestamp_of_days_ago(days))
    given = {"uid": new_uid("shell"), "executor": "shell", "argv": ("echo", "x"), "pwd": "/", "created": at, "turn": 1}
    status = fields.pop("status", Status.COMPLETE)
    task = door.store.add(Task(**{**given, **fields}))
    if status is Status.RUNNING:
        return task
    if size:
        write(door, task, size)
    return door.store.swap(
        task.uid, (Status.RUNNING, 1), status, started=at, ended=at, kept=Kept(stdout=kept) if kept else None
    )


def timestamp_of_days_ago(days: float) -> float:
    import time

    return time.time() - days * DAY


def write(door: Qrec, task: Task, size: int, attempt: int = 1) -> Path:
    """Output that does not shrink, so that sizes are what they are called."""
    folder = Path(attempt_folder(door.home, task.uid, attempt))
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(os.urandom(size))
    (folder / "timing").write_bytes(b"0 o %d\n" % size)
    return folder


def numbers(door: Qrec) -> list[int]:
    return [task.number for task in door.store.find()]


def steps(planned: list[Step]) -> list[tuple[str, int]]:
    return [(step.what, step.task.number) for step in planned]


# Compressing, as users see it


@pytest.fixture
def history(qrec) -> Callable[..., bytes]:
    """Three tasks: a large one that was run twice, a small one, one with two streams; and all they printed."""
    qrec("-q", "run", "sh", "-c", "seq 40000; echo needle-one", check=True)
    qrec("-q", "rerun", "1", check=True)
    qrec("-q", "run", "echo", "small", check=True)
    qrec("-q", "run", "sh", "-c", "seq 20000; seq 30000 >&2; echo needle-two; exit 3")

    def told() -> bytes:
        words = [["log", "1"], ["log", "1", "--attempt", "1"], ["log", "2"], ["log", "3", "--stderr"],
                 ["log", "3", "--stdout", "-n", "3"], ["log", "1", "-n", "100"], ["export", "jsonl"],
                 ["search", "--deep", "19999", "--json"], ["search", "needle-one", "--json"], ["get", "3"],
                 ["exec", "output", "1"], ["log", "3", "--json"]]  # fmt: skip
        return b"\0".join(qrec(*line, check=True).stdout for line in words)

    return told


def test_every_verb_reads_compressed_output_as_before(qrec, home, history):
    before = history()
    result = qrec("gc", "-y")
    assert result.returncode == 0, result
    assert result.out.startswith("the output of 2 tasks compressed: ")
    names = [path.name for path in (home / "attempts").glob("*/*/std*")]
    assert sorted(names) == ["stderr.gz", "stdout.gz", "stdout.gz", "stdout.gz"]
    assert history() == before
    for packed in (home / "attempts").rglob("*.gz"):
        subprocess.run(["gzip", "--test", packed], check=True)
    assert qrec("gc", "-y").out.startswith("nothing to do: ")


@pytest.mark.usefixtures("history")
def test_rerun_clear_and_copies_of_what_is_compressed(qrec, home, tmp_path):
    whole = qrec("log", "1").stdout
    qrec("gc", "-y", check=True)
    qrec("store", "copy", "sqlite", f"filesystem:{tmp_path}/copied", check=True)
    qrec("-q", "rerun", "1", check=True)
    assert qrec("log", "1", "--attempt", "2").stdout == qrec("log", "1").stdout == whole
    qrec("clear", "1", "3", "-y", check=True)
    assert not list((home / "attempts").rglob("*"))


def test_no_compress(qrec, home):
    qrec("-q", "run", "seq", "40000", check=True)
    assert qrec("gc", "-y", "--no-compress").out.startswith("nothing to do")
    assert [path.name for path in (home / "attempts").glob("*/*/stdout*")] == ["stdout"]


def test_a_dry_run_does_nothing_and_says_what_would_be(qrec, home, history):
    before = {path: path.read_bytes() for path in (home / "attempts").rglob("*") if path.is_file()}
    result = qrec("gc", "--dry-run", "--size", "1k", check=True)
    lines = result.out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == ["compress", "compress", "remove", "remove", "remove"]
    assert "would" in lines[-1]
    told = qrec("gc", "--dry-run", "--size", "1k", "--json").json
    assert told["dry_run"] is True
    assert [(step["what"], step["number"]) for step in told["steps"]] == [
        ("compress", 1), ("compress", 3), ("task", 1), ("task", 2), ("task", 3)
    ]  # fmt: skip
    assert {path: path.read_bytes() for path in (home / "attempts").rglob("*") if path.is_file()} == before
    assert [task["number"] for task in qrec("ls", "--json").json] == [1, 2, 3]
    done = qrec("gc", "-y", "--size", "1k", "--json").json
    assert {(step["what"], step["number"]) for step in done["steps"]} >= {("task", 1), ("task", 2), ("task", 3)}
    assert qrec("ls", "--json").json == []


def test_a_home_that_is_not_there(qrec, home):
    for words in (["gc"], ["gc", "--dry-run"], ["gc", "--size", "1k", "-y"]):
        assert qrec(*words).returncode == 0
    assert not (home / "gc.lock").exists() or (home / "gc.lock").stat().st_mode & 0o777 == 0o600


def test_limits_that_make_no_sense(qrec):
    for words in (["--size", "much"], ["--older", "long"]):
        result = qrec("gc", "-y", *words)
        assert (result.returncode, result.err.count("\n"), result.out) == (2, 1, "")


def test_limits_from_the_settings(qrec, door):
    put(door, days=400)
    put(door)
    qrec("config", "set", "keep_age", "180d", check=True)
    assert qrec("gc", "-y", "--older", "", check=True).out.startswith("nothing to do")
    assert qrec("gc", "-y", check=True).out.startswith("1 task removed")
    assert numbers(door) == [2]
    assert qrec("config", "set", "keep_size", "lots").returncode == 2
    qrec("config", "set", "keep_size", "1k", check=True)
    qrec("gc", "-y", check=True)
    assert numbers(door) == []


def test_what_is_still_written_is_left_alone(door):
    """A program that the command has left behind may go on writing into its file."""
    task = put(door, size=LARGE)
    ((_, path),) = compressible(door)
    assert not is_written(path)
    with open(path, "ab"):
        assert is_written(path)
    assert not is_written(path)
    assert door.store.get(task.uid) == task


def test_unfinished_tasks_are_not_compressed(door):
    task = put(door, size=LARGE)
    assert [found.uid for found, _ in compressible(door)] == [task.uid]
    door.store.archive(task.uid, (Status.COMPLETE, 1), Status.RUNNING)
    assert list(compressible(door)) == []


def test_a_full_disk_loses_nothing(qrec, home, disk):  # noqa: F811
    """There is no room for the compressed file; removing works all the same."""
    qrec("-q", "run", "seq", "40000", check=True)
    qrec("-q", "run", "-t", "keep", "seq", "50000", check=True)
    whole = qrec("log", "1").stdout
    small = 'mkdir "$1"; mount -t tmpfs -o size=2m tmpfs "$1"; cp -a "$2/." "$1"'
    full: Disk = disk(small, home, home.rename(home.with_name("before")))
    full.do("sh", "-c", 'cat /dev/zero >>"$1"; cat /dev/zero >>"$1"; true', "sh", home / "filler")
    result = full.qrec("gc", "-y")
    assert result.returncode == 0, result
    assert "not compressed" in result.err
    assert "space" in result.err
    assert full.qrec("log", "1").stdout == whole
    assert not list(full.sees(home).rglob("*.gz*"))
    limit = full.sees(home / "filler").stat().st_size + 400_000
    assert full.qrec("gc", "-y", "--no-compress", "--size", str(limit)).returncode == 0
    assert full.qrec("log", "1").stdout == b""
    assert "removed" in full.qrec("log", "1").err
    assert len(full.qrec("log", "2").stdout) > LARGE


# What goes, and in which order


@pytest.fixture
def seven(door: Qrec) -> Qrec:
    """Of each kind one, the oldest first."""
    put(door, size=LARGE, days=9)
    put(door, size=LARGE, days=8, status=Status.FAILED)
    put(door, size=LARGE, days=7, tags=("paper",))
    put(door, size=LARGE, days=6, message="a note")
    put(door, size=LARGE, days=5, status=Status.LOST)
    put(door, size=LARGE, days=4, status=Status.CANCELLED)
    put(door, size=LARGE, days=3)
    put(door, size=LARGE, days=30, status=Status.RUNNING)
    return door


@pytest.mark.parametrize(
    ("freed", "expected"),
    [
        (0, []),
        (1, [("output", 1)]),
        (LARGE - 100, [("output", 1)]),
        (LARGE + 100, [("output", 1), ("output", 6)]),
        (3 * LARGE - 100, [("output", 1), ("output", 6), ("output", 7)]),
        (3 * LARGE + 1000, [("task", 1), ("output", 6), ("output", 7)]),
        (3 * LARGE + 6000, [("task", 1), ("task", 6), ("task", 7), ("output", 2)]),
        (5 * LARGE, [("task", 1), ("task", 6), ("task", 7), ("output", 2), ("output", 3)]),
        (10**9, [("task", number) for number in (1, 6, 7, 2, 3, 4, 5)]),
    ],
)
def test_the_order(seven, freed, expected):
    planned = plan(seven, Limits(size=used(seven) - freed))
    assert steps(planned) == expected
    assert not freed or sum(step.freed for step in planned) >= min(freed, 7 * LARGE)


def test_by_age(seven):
    assert steps(plan(seven, Limits(age=3.5 * DAY))) == [("task", 1), ("task", 6)]
    every = steps(plan(seven, Limits(age=3.5 * DAY, precious=True)))
    assert every == [("task", number) for number in range(1, 7)]
    assert steps(plan(seven, Limits(age=3.5 * DAY, size=used(seven) - 3 * LARGE + 1000))) == [
        ("task", 1), ("task", 6), ("output", 7)
    ]  # fmt: skip


def test_what_is_old_but_precious_is_told(qrec, seven):
    result = qrec("gc", "-y", "--older", "1d", check=True)
    assert result.out.startswith("3 tasks removed")
    assert "4 older tasks failed" in result.err
    assert "--all" in result.err
    assert numbers(seven) == [2, 3, 4, 5, 8]
    assert qrec("gc", "-y", "--older", "1d", "--all", check=True).err == ""
    assert numbers(seven) == [8]


def test_it_keeps_to_a_size(qrec, home, seven):
    for limit in (1_300_000, 900_000, 500_000, 300_000):
        result = qrec("gc", "-y", "--size", str(limit), check=True)
        assert result.err == ""
        assert used(Qrec()) <= limit
        assert used(Qrec()) > limit - LARGE - 100_000  # and no further than needed
    assert 8 in numbers(seven)


def test_more_is_left_than_wished(qrec, seven):
    result = qrec("gc", "-y", "--size", "10", check=True)
    assert numbers(seven) == [8]
    assert "more than 10 B" in result.err


def test_tasks_that_others_wait_for_stay(door):
    first = put(door, size=LARGE, days=9)
    put(door, size=LARGE, days=8)
    put(door, status=Status.RUNNING, after=(first.uid,))
    assert steps(plan(door, Limits(size=0, age=DAY))) == [("task", 2)]


def test_many_small_outputs_in_the_store(qrec, door):
    for number in range(60):
        put(door, kept=os.urandom(20_000).hex().encode(), days=60 - number)
    before = used(door)
    result = qrec("gc", "-y", "--size", str(before // 2), check=True)
    assert used(Qrec()) <= before // 2
    assert "the output of" in result.out
    tasks = door.store.find()
    assert len(tasks) == 60
    stripped = [REMOVED in task.data for task in tasks]
    assert stripped == sorted(stripped, reverse=True)  # the oldest
    assert 20 < sum(stripped) < 45
    on_disk = sum(
        path.stat().st_size for path in Path(door.home).rglob("*") if path.is_file() and "shm" not in path.name
    )
    assert on_disk < 0.6 * before


# Removed output


def test_removed_output_is_told(qrec, home, door):
    task = put(door, size=LARGE)
    write(door, task, LARGE // 2, attempt=2)
    door.store.archive(task.uid, (Status.COMPLETE, 1), Status.RUNNING)
    door.store.swap(task.uid, (Status.RUNNING, 2), Status.COMPLETE)
    assert apply(door, Step(what="output", task=door.store.get(task.uid), freed=0))
    assert not list((home / "attempts").rglob("*"))
    for attempt, size in (("1", LARGE), ("2", LARGE // 2)):
        log = qrec("log", "1", "--attempt", attempt)
        assert (log.returncode, log.stdout) == (0, b"")
        assert "removed by `gc`" in log.err
        told = qrec("get", "1", "--attempt", attempt).json["data"]
        assert (told[REMOVED], told["output"], told["status"]) == (size, [], "complete")
    assert qrec("search", "echo").err == ""
    assert qrec("ls").err == ""
    qrec("-q", "rerun", "1", check=True)
    assert (qrec("log", "1").out, qrec("log", "1").err) == ("x\n", "")
    assert REMOVED not in qrec("get", "1").json["data"]


def test_removed_output_is_not_found_any_more(qrec, door, kind):
    put(door, kept=b"a needle in it\n", message="kept words")
    assert len(qrec("search", "needle", "--json").json) == 1
    (task,) = door.store.find()
    assert apply(door, Step(what="output", task=task, freed=0))
    assert qrec("search", "needle", "--json").json == []
    assert len(qrec("search", "kept", "--json").json) == 1
    assert list(door.store.check()) == []
    qrec("clear", "1", "-y", check=True)
    assert list(Qrec().store.check()) == []


def test_what_was_recorded_beside_the_output_stays(door):
    task = put(door)
    folder = write(door, task, LARGE)
    (folder / "patch").write_bytes(b"a patch")
    assert apply(door, Step(what="output", task=task, freed=0))
    assert os.listdir(folder) == ["patch"]
    assert door.store.output(door.store.get(task.uid)).extras() == {"patch": b"a patch"}


def test_what_changes_meanwhile_is_spared(door):
    for change in ({"tags": ("x",)}, {"message": "x"}):
        task = put(door, size=LARGE)
        step = Step(what="task", task=task, freed=0)
        door.store.change(task.uid, **change)
        assert not apply(door, step)
    task = put(door, size=LARGE)
    door.store.archive(task.uid, (Status.COMPLETE, 1), Status.RUNNING)
    for what in ("task", "output"):
        assert not apply(door, Step(what=what, task=task, freed=0))
    with pytest.raises(StaleTask):
        door.store.strip(task.uid, (Status.COMPLETE, 1), {1: 5})
    assert numbers(door) == [1, 2, 3]
    gone = put(door)
    door.store.delete(gone.uid)
    assert not apply(door, Step(what="output", task=gone, freed=0))
    with pytest.raises(NoSuchTask):
        door.store.strip(gone.uid, (Status.COMPLETE, 1), {1: 5})


def test_a_kill_between_record_and_files(qrec, home, door):
    """The record says that the output is removed, so nobody reads what is left of it, and the next call takes it."""
    task = put(door, size=LARGE)
    door.store.strip(task.uid, (Status.COMPLETE, 1), {1: LARGE})
    assert list((home / "attempts").rglob("stdout"))
    assert qrec("log", "1").stdout == b""
    qrec("gc", "-y", check=True)
    assert not list((home / "attempts").rglob("*"))


def test_leftovers_of_a_killed_call_are_swept(home, door):
    task = put(door, size=LARGE)
    left = Path(attempt_folder(door.home, task.uid, 1)) / "stdout.gz.new"
    left.write_bytes(b"half")
    sweep(door)
    assert not left.exists()
    assert door.store.output(task).size("stdout") == LARGE


#: Collects, and dies right before the so-many-th call that changes anything.
DIE = """
import os, signal, sys
left = int(sys.argv.pop(1))
def mortal(call):
    def called(*given, **more):
        global left
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return call(*given, **more)
    return called
for name in "rename replace unlink rmdir".split():
    setattr(os, name, mortal(getattr(os, name)))
from qrec.cli import main
main()
"""


def test_a_kill_at_any_moment_leaves_each_task_whole_or_gone(home, door, tmp_path):
    """Output that no record tells of is an orphan; a record never stands without its output unless it says so."""
    put(door, size=LARGE, days=9)
    put(door, size=LARGE, days=8)
    task = put(door, days=7)
    folder = Path(attempt_folder(door.home, task.uid, 1))
    folder.mkdir(parents=True)
    (folder / "stdout").write_bytes(b"a line that shrinks\n" * 10_000)
    limit = used(door) - 2 * LARGE
    door.store.close()
    first = home.rename(tmp_path / "first")
    moment, code = 0, -signal.SIGKILL
    while code:
        subprocess.run(["cp", "-a", first, home], check=True)
        words = ["gc", "-y", "--size", str(limit)]
        code = subprocess.run(
            [sys.executable, "-c", DIE, str(moment), *words], env=environment(), capture_output=True
        ).returncode
        assert code in (0, -signal.SIGKILL)
        after = Qrec()
        for task in after.store.find():
            size = 200_000 if REMOVED not in task.data else 0
            assert after.store.output(task).size("stdout") == size
        sweep(after)
        assert not list(home.rglob("*.gz.new"))
        told = {task.uid for task in after.store.find() if REMOVED not in task.data}
        found = {path.name.rpartition(".")[0] for path in (home / "attempts").glob("*/*")}
        assert told <= found
        assert not any(map(after.known, found - told))
        remove(after, Limits(size=limit), plan(after, Limits(size=limit)))
        assert used(after) <= limit
        after.store.close()
        subprocess.run(["rm", "-r", home], check=True)
        moment += 1
    assert moment > 8


# Alone


def test_two_at_once(qrec, home, door):
    put(door, days=400)
    with alone(door.home):
        result = qrec("gc", "-y", "--older", "1d")
        assert (result.returncode, result.out, result.err.count("\n")) == (1, "", 1)
        assert "another `qrec gc`" in result.err
        assert qrec("gc", "--dry-run", "--older", "1d").returncode == 0
        assert numbers(door) == [1]
    assert qrec("gc", "-y", "--older", "1d").returncode == 0
    assert numbers(door) == []


def test_the_lock_of_one_that_was_killed_does_not_count(qrec, home, door, start):
    put(door, days=400)
    script = "import sys, time; from qrec.gc import alone\n"
    script += "with alone(sys.argv[1]): print('held', flush=True); time.sleep(600)"
    holder = subprocess.Popen([sys.executable, "-c", script, home], stdout=subprocess.PIPE, env=environment())
    assert holder.stdout
    assert holder.stdout.readline() == b"held\n"
    assert qrec("gc", "-y").returncode == 1
    holder.kill()
    holder.communicate()
    assert qrec("gc", "-y").returncode == 0


def test_recording_goes_on_meanwhile(qrec, home, door):
    """Runs while another process collects: each ends with its code, and its record is there."""
    for _ in range(30):
        put(door, kept=os.urandom(10_000).hex().encode(), days=9)
    collector = subprocess.Popen(
        [sys.executable, "-m", "qrec", "gc", "-y", "--size", "200k"], env=environment(), stdout=subprocess.DEVNULL
    )
    for number in range(5):
        assert qrec("-q", "run", "-t", "new", "sh", "-c", f"exit {number}").returncode == number
    assert collector.wait() == 0
    assert [task["returncode"] for task in qrec("ls", "--tag", "new", "--json").json] == list(range(5))


# Asking


@pytest.fixture
def terminal(tmp_path, home) -> Iterator[Callable[[bytes], int]]:
    with contextlib.ExitStack() as opened:

        def terminal(answer: bytes) -> int:
            keyboard, screen = os.openpty()
            process = subprocess.Popen(
                [sys.executable, "-m", "qrec", "gc", "--older", "1d"],
                stdin=screen, stdout=screen, stderr=screen, env=environment(), start_new_session=True,
            )  # fmt: skip
            os.close(screen)
            opened.callback(os.close, keyboard)
            shown = b""
            while b"[y/N]" not in shown:
                shown += os.read(keyboard, 1000)
            assert b"Remove 1 task (about" in shown
            os.write(keyboard, answer)
            return process.wait()

        yield terminal


def test_in_a_terminal_it_asks(door, terminal):
    put(door, days=400)
    assert terminal(b"n\n") == 1
    assert numbers(door) == [1]
    assert terminal(b"y\n") == 0
    assert numbers(door) == []


# SQLite's file


@ONLY_SQLITE
def test_the_file_shrinks(qrec, home, tmp_path):
    for name, incremental in (("new", True), ("old", False)):
        store = SqliteStore(str(tmp_path / name))
        door = Qrec(str(tmp_path / name), "sqlite")
        for _ in range(100):
            put(door, kept=os.urandom(10_000).hex().encode(), days=9)
        door.store.catch_up()  # type: ignore[attr-defined]
        store.close()
        door.store.close()
        if not incremental:
            with contextlib.closing(sqlite3.connect(tmp_path / name / "qrec.db")) as db:
                db.execute("PRAGMA auto_vacuum = 0")
                db.execute("VACUUM")
        size = (tmp_path / name / "qrec.db").stat().st_size
        assert size > 1_000_000
        result = qrec("--home", tmp_path / name, "--store", "sqlite", "gc", "-y", "--older", "1d", check=True)
        assert result.out.startswith("100 tasks removed")
        assert (tmp_path / name / "qrec.db").stat().st_size < 0.1 * size
        assert list(SqliteStore(str(tmp_path / name)).check()) == []


@ONLY_SQLITE
def test_a_file_that_is_in_use_is_left_as_it_is(door):
    """Somebody writes: giving space back can wait."""
    put(door)
    with contextlib.closing(sqlite3.connect(door.store.location, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        door.store.patience = 0.1
        door.store.compact()
    assert numbers(door) == [1]


def test_it_removes_nothing_unasked(qrec):
    qrec("run", "true", check=True)
    refused = qrec("gc", "--older", "0s")
    assert (refused.returncode, refused.out, refused.err.count("\n")) == (1, "", 1)
    assert "say -y" in refused.err
    assert len(qrec("ls", "--json").json) == 1
