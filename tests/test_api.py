"""The front door, as a user's own program holds it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import qrec
from qrec import Qrec, Query, Status, Task, spool
from qrec.errors import (
    NoSuchAction,
    NoSuchAttempt,
    NoSuchExecutor,
    NoSuchTask,
    QrecError,
    Refused,
    StoreError,
    WrongUsage,
)
from tests.helpers import environment, wait_until


@pytest.fixture(params=["sqlite", "filesystem"])
def door(request: pytest.FixtureRequest, home: Path) -> Qrec:
    """The front door, on each store in turn."""
    return Qrec(store=request.param)


def out(door: Qrec, task: Task) -> bytes:
    return door.output(task).read("stdout")


# The shortest way


def test_import_qrec_and_run(home, tmp_path, monkeypatch, capfd):
    program = tmp_path / "bin" / "make"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "making $*"; exit 2\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    task = qrec.run("make test", message="before the release")
    assert isinstance(task, qrec.Task)
    assert (task.status, task.returncode, task.message, task.number) == (Status.FAILED, 2, "before the release", 1)
    assert (task.argv, task.command) == (("make test",), "make test")
    assert task.data == {"shell": "/bin/sh", "reason": "exit code 2"}
    assert capfd.readouterr() == ("making test\n", ""), "the output passes through, and nothing else"
    assert (home / "qrec.db").exists()
    assert Qrec().get() == task


def test_options_of_run(home, tmp_path):
    task = qrec.run(["pwd"], tags=["a", "b", "a", ""], cwd=str(tmp_path), timeout=60, executor="shell", show=False)
    assert (task.tags, task.pwd, task.executor, task.status) == (("a", "b"), str(tmp_path), "shell", Status.COMPLETE)


def test_the_public_names():
    assert set(qrec.__all__) == {"Job", "Qrec", "Query", "Queue", "Status", "Task", "__version__", "run"}
    for name in qrec.__all__:
        assert getattr(qrec, name) is not None
    with pytest.raises(AttributeError, match="module 'qrec' has no attribute 'nope'"):
        qrec.nope  # noqa: B018


# Running


def test_run(door):
    task = door.run(["sh", "-c", "echo out; echo err >&2; exit 3"], message="m", tags=["t"], show=False)
    assert (task.status, task.returncode, task.signal, task.attempt) == (Status.FAILED, 3, None, 1)
    assert out(door, task) == b"out\n"
    assert door.output(task).read("stderr") == b"err\n"
    assert task.uid.startswith("shell-")
    assert task.pid
    assert task.seconds is not None
    assert task.created <= (task.started or "") <= (task.ended or "")
    assert door.get() == door.get("1") == door.get(task.uid) == door.find()[0] == task


def test_what_is_shown_and_what_is_not(door, capfd):
    door.run(["sh", "-c", "echo out; echo err >&2"])
    assert capfd.readouterr() == ("out\n", "err\n")
    task = door.run(["sh", "-c", "echo out; echo err >&2"], show=False)
    assert capfd.readouterr() == ("", "")
    assert out(door, task) == b"out\n"


def test_a_command_that_cannot_start_raises_nothing(door, capfd):
    for words, code in ((["no-such-program"], 127), (["/etc/passwd"], 126), ("", 127)):
        task = door.run(words, show=False)
        assert (task.returncode, task.status) == (code, Status.FAILED)
        assert door.get() == task
        assert door.output(task).read("stderr").startswith(b"qrec: ")
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_is_not_there(door, tmp_path):
    task = door.run(["true"], cwd=str(tmp_path / "nowhere"), show=False)
    assert (task.returncode, task.status) == (125, Status.FAILED)
    assert b"nowhere" in door.output(task).read("stderr")


def test_no_command_at_all(door):
    with pytest.raises(WrongUsage, match="there is no command"):
        door.run([])
    with pytest.raises(NoSuchExecutor):
        door.run(["true"], executor="nope")
    assert door.find() == []


def test_another_folder_without_moving(door, tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path)
    task = door.run(["pwd"], cwd="there", show=False)
    assert os.getcwd() == str(tmp_path)
    assert (out(door, task), task.pwd) == (f"{tmp_path}/there\n".encode(), f"{tmp_path}/there")
    again = door.rerun(show=False)
    assert os.getcwd() == str(tmp_path)
    assert out(door, again) == f"{tmp_path}/there\n".encode()


def test_a_time_limit(door):
    door.recorder.grace = 0.3
    for limit in (0.5, 10.0, 50.0):  # on a busy machine the first may be over before the command has begun
        task = door.run(["sh", "-c", "echo before; sleep 600"], timeout=limit, show=False)
        assert (task.status, task.returncode, task.data["reason"]) == (Status.FAILED, 124, f"time limit of {limit:g} s")
        if out(door, task):
            break
    assert out(door, task) == b"before\n"
    assert door.run(["true"], timeout=60, show=False).status is Status.COMPLETE


def test_signal_handlers_are_left_as_they_were(door):
    watched = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGPIPE)
    before = [signal.getsignal(number) for number in watched]
    door.run(["true"], show=False)
    door.run(["true"], show=False, timeout=60)
    assert [signal.getsignal(number) for number in watched] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def test_no_descriptor_and_no_thread_is_left(door):
    door.run(["true"], show=False)
    gc.collect()  # what tests before have left
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        door.run(["true"], show=False)
        door.run(["no-such-program"], show=False)
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) <= before


# Looking back


def test_get_and_its_attempts(door):
    with pytest.raises(NoSuchTask, match="nothing is recorded yet"):
        door.get()
    first = door.run(["true"], show=False)
    second = door.run(["false"], show=False)
    assert door.get() == second
    again = door.rerun("1", show=False)
    assert door.get() == again
    assert (again.uid, again.attempt) == (first.uid, 2)
    assert door.get("1", attempt=2) == again
    assert door.get("1", attempt=1).ended == first.ended
    with pytest.raises(NoSuchAttempt, match="has no attempt 3; it has: 1, 2"):
        door.get("1", attempt=3)
    with pytest.raises(NoSuchTask, match="'nope'"):
        door.get("nope")
    with pytest.raises(NoSuchTask):  # the word of all uids names none
        door.get("shell")


def test_find(door):
    codes = [door.run(["sh", "-c", f"exit {code}"], show=False).returncode for code in (0, 1, 0, 2)]
    assert [task.returncode for task in door.find()] == codes
    failed = Query(statuses=frozenset({Status.FAILED}))
    assert [task.number for task in door.find(failed)] == [2, 4]
    assert [task.number for task in door.find(limit=2)] == [3, 4]
    assert (door.count(), door.count(failed)) == (4, 2)


def test_search(door):
    door.run(["echo", "Needle"], message="hay", show=False)
    door.run(["echo", "hay"], show=False)
    (hit,) = door.search(["needle"])
    assert hit.task == door.get("1")
    assert [(match.where, match.line, match.text) for match in hit.matches] == [
        ("command", 1, "echo Needle"), ("stdout", 1, "Needle"),
    ]  # fmt: skip
    assert [hit.task.number for hit in door.search(["hay"])] == [1, 2]
    assert [hit.task.number for hit in door.search(["hay", "needle"])] == [1]
    with pytest.raises(WrongUsage):
        door.search([])


def test_follow(door):
    running = threading.Thread(
        target=door.run, args=(["sh", "-c", "echo one; echo two >&2; echo three"],), kwargs={"show": False}
    )
    running.start()
    task = wait_until(door.find)[0]
    blocks = list(door.follow(task, ["stdout", "stderr"]))
    running.join()
    assert b"".join(block for stream, block in blocks if stream == "stdout") == b"one\nthree\n"
    assert b"".join(block for stream, block in blocks if stream == "stderr") == b"two\n"


def test_published(door):
    task = door.run(["echo", "hi"], show=False)
    told = door.published(task)
    assert (told["uid"], told["data"]["output"], told["data"]["attempts"]) == (task.uid, ["hi\n"], [1])


# Acting


def test_note_and_tag(door):
    door.run(["true"], show=False)
    assert door.note(None, "a note").message == "a note"
    assert door.tag("1", add=["a", "b", "a"]).tags == ("a", "b")
    assert door.tag("1", add=["c"], remove=["a"]).tags == ("b", "c")
    assert (door.get().message, door.get().tags) == ("a note", ("b", "c"))


def test_cancel(door):
    running = threading.Thread(target=door.run, args=(["sleep", "60"],), kwargs={"show": False})
    running.start()
    wait_until(lambda: [task for task in door.find() if task.pid])
    task = Qrec(store=door.store.name).cancel("1")
    running.join(60)
    assert not running.is_alive()
    assert (task.status, task.signal) == (Status.CANCELLED, signal.SIGTERM)
    with pytest.raises(Refused, match="is cancelled; cancel is for tasks that are"):
        door.cancel("1")
    with pytest.raises(NoSuchAction):
        door.act("1", "explode")


def test_clear(door, home):
    for words in (["seq", "30000"], ["true"], ["echo", "stays"]):
        door.run(words, show=False)
    tasks = door.cleared("1")
    assert [task.number for task in tasks] == [1]
    assert door.clear(tasks) == []
    assert [task.number for task in door.find()] == [2, 3]
    assert not list(home.glob("attempts/*/*"))
    with pytest.raises(NoSuchTask):
        door.cleared(tasks[0].uid)
    assert [task.number for task in door.cleared("shell")] == [task.number for task in door.cleared(None)] == [2, 3]
    assert [task.number for task in door.find()] == [2, 3], "asking removes nothing"


def test_an_unfinished_task_is_cleared_by_force_only(door):
    running = threading.Thread(target=door.run, args=(["sleep", "60"],), kwargs={"show": False})
    running.start()
    wait_until(lambda: [task for task in door.find() if task.pid])
    (left,) = door.clear(door.cleared("1"))
    assert left.status is Status.RUNNING
    assert door.find()
    assert door.clear(door.cleared("1"), force=True) == []
    running.join(60)
    assert door.find() == []


def test_errors_are_of_one_family():
    for kind in (StoreError, Refused, NoSuchAction, NoSuchAttempt, NoSuchExecutor, WrongUsage, NoSuchTask):
        assert issubclass(kind, QrecError)


# Threads and interrupts


@pytest.mark.parametrize("shared", [True, False])
def test_many_threads_run_at_once(home, shared):
    door = Qrec()
    doors = [door if shared else Qrec() for _ in range(24)]

    def one(number: int) -> Task:
        return doors[number].run(["sh", "-c", f"echo out {number}; echo err {number} >&2; exit {number}"], show=False)

    with ThreadPoolExecutor(8) as threads:
        ended = list(threads.map(one, range(24)))
    assert [task.returncode for task in ended] == list(range(24))
    # A busy machine may keep the store from taking an end at once: the record waits then, and nothing of it is lost.
    assert [one for mine in doors for one in mine.complaints if " waits in " not in one] == []
    door.recorder.take_in()
    tasks = [door.get(task.uid) for task in ended]
    assert sorted(task.number for task in tasks) == list(range(1, 25))
    for number, task in enumerate(tasks):
        assert (task.returncode, task.ended) == (number, ended[number].ended)
        assert out(door, task) == f"out {number}\n".encode()
        assert door.output(task).read("stderr") == f"err {number}\n".encode()


def test_a_time_limit_in_a_thread_ends_its_own_command_only(home, tmp_path):
    door = Qrec()
    go = tmp_path / "go"
    with ThreadPoolExecutor(2) as threads:
        short = threads.submit(door.run, ["sleep", "600"], timeout=0.3, show=False)
        line = 'until [ -e "$0" ]; do sleep 0.02; done; echo done'
        other = threads.submit(door.run, ["sh", "-c", line, str(go)], show=False)
        try:
            assert short.result(60).returncode == 124
        finally:
            go.touch()
        assert (other.result(60).returncode, out(door, other.result())) == (0, b"done\n")


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
import qrec
try:
    qrec.run(["sh", "-c", "echo on; exec sleep 60"], message="library")
except KeyboardInterrupt:
    print("interrupted", flush=True)
task = qrec.Qrec().get()
print(task.status, task.returncode, task.signal, flush=True)
print(qrec.run(["echo", "next"]).status)
"""


@pytest.mark.parametrize("kind", ["sqlite", "filesystem"])
def test_an_interrupt_in_a_program_that_uses_us_closes_the_record(home, kind):
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED], stdout=subprocess.PIPE, env=environment({"QREC_STORE": kind})
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == b"on\n"
        door = Qrec(store=kind)
        pid = wait_until(lambda: [task.pid for task in door.find() if task.pid])[0]
        program.send_signal(signal.SIGINT)
        rest = program.stdout.read().decode().splitlines()
        assert program.wait(60) == 0
    assert rest == ["interrupted", "cancelled 130 2", "next", "complete"]
    with pytest.raises(ProcessLookupError):
        os.kill(pid or 0, 0)
    first = door.get("1")
    assert (first.message, first.status, out(door, first)) == ("library", Status.CANCELLED, b"on\n")


def test_an_interrupt_while_the_command_ignores_it(home):
    script = INTERRUPTED.replace("echo on; exec sleep 60", "trap '' INT; echo on; while :; do sleep 0.1; done")
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment({"QREC_GRACE": "0.3"})
    ) as program:
        assert program.stdout
        assert program.stdout.readline() == b"on\n"
        wait_until(lambda: [task for task in Qrec().find() if task.pid])
        program.send_signal(signal.SIGINT)
        rest = program.stdout.read().decode().splitlines()
        assert program.wait(60) == 0
    assert rest[0] == "interrupted"
    assert Qrec().get("1").status is Status.CANCELLED


def test_a_record_waits_for_the_store_it_is_meant_for(home):
    here, there = Qrec(store="sqlite"), Qrec(store="filesystem")
    task = here.new_task("true").copy(status=Status.COMPLETE, returncode=0)
    spool.put(here.home, task, here.store.place)
    assert there.find() == []
    assert [(found.uid, found.returncode) for found in here.find()] == [(task.uid, 0)]
    assert not list((home / "incoming").iterdir())


def test_a_detached_command_is_settled_by_whoever_comes_next(kind, home, tmp_path):
    door = Qrec()
    task = door.new_task(["sh", "-c", "pwd; echo err >&2; exit 3"], cwd=str(tmp_path))
    begun = door.recorder.detach(task, task.argv).task
    assert begun.status is Status.RUNNING
    later = Qrec()
    wait_until(lambda: later.get(task.uid).status.is_final)
    ended = later.get(task.uid)
    assert (ended.status, ended.returncode) == (Status.FAILED, 3)
    output = later.output(ended)
    assert (output.read("stdout"), output.read("stderr")) == (f"{tmp_path}\n".encode(), b"err\n")
    # the one who closes the record removes them after that
    wait_until(lambda: not list(home.glob("attempts/*/*")), what="the files to go")


def test_a_store_with_a_mistake_in_it_does_not_harm_the_command(home, monkeypatch, capfd):
    door = Qrec(store="sqlite")

    def mistaken(*_: object, **__: object) -> None:
        raise KeyError("a mistake in a plug-in")

    monkeypatch.setattr(door.store, "add", mistaken)
    task = door.run(["sh", "-c", "echo out; exit 4"])
    assert (task.status, task.returncode, capfd.readouterr().out) == (Status.FAILED, 4, "out\n")
    assert "mistake" in door.complaints[0]
    assert [found.returncode for found in Qrec(store="sqlite").find()] == [4], "the record waited"
