"""Actions: what a task's executor offers, and cancelling."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import psutil
import pytest

from qrec.api import Qrec
from qrec.process import send
from qrec.task import SUMMARY, Kept
from tests.helpers import wait_until
from tests.test_look_back import add, call, numbers, one_line

OFFERED = ["status", "output", "error", "cancel"]


@pytest.fixture
def door(kind: str) -> Qrec:
    return Qrec()


@pytest.fixture
def running(start: Callable[..., subprocess.Popen[bytes]], home: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `sh -c SCRIPT` under qrec; returns when the script has printed a line and the store knows its pid."""

    def running(script: str, **options: object) -> subprocess.Popen[bytes]:
        process = start("run", "sh", "-c", script, **options)
        assert process.stdout is not None
        assert process.stdout.readline()
        wait_until(lambda: [row for row in call("ls", "--json", "--status", "running").json if row["pid"]])
        return process

    return running


def is_listed(number: int, status: str) -> bool:
    return number in numbers(call("ls", "--json", "--status", status))


# Which words mean what


def test_action_and_task_in_either_order(door):
    add(door.store, "echo one", kept=Kept(stdout=b"one\n"))
    uid = add(door.store, "echo two", kept=Kept(stdout=b"two\n")).uid
    assert call("exec", "output").out == "two\n"
    assert call("exec", "output", "1").out == call("exec", "1", "output").out == "one\n"
    assert call("exec", "output", uid[:12]).out == call("exec", uid, "output").out == "two\n"


def test_without_an_action_they_are_listed(kind, door):
    def listed(*words: str) -> list[str]:
        return [line.split()[0] for line in call("exec", *words, check=True).out.splitlines()]

    assert listed("shell") == OFFERED, "an executor's name needs no task"
    add(door.store)
    assert listed() == listed("1") == listed("shell") == OFFERED
    assert list(call("exec", "shell", "--json").json) == list(call("exec", "1", "--json").json) == OFFERED
    assert all(call("exec", "shell", "--json").json.values()), "each says what it does"


def test_an_empty_store_has_nothing_to_act_on(kind, home):
    for words in (["exec"], ["exec", "status"], ["cancel"]):
        assert one_line(call(*words)) == "nothing is recorded yet; `qrec run COMMAND` makes the first record"


def test_an_unknown_action_is_told_with_those_there_are(kind, door):
    add(door.store)
    said = "shell tasks offer no action 'explode'; they offer: status, output, error, cancel"
    assert one_line(call("exec", "explode", "1")) == said
    assert one_line(call("exec", "1", "explode")) == said
    assert "'explode'" in one_line(call("exec", "explode")), "a task or an action"
    assert "'explode'" in one_line(call("exec", "status", "explode"))
    assert "'explode'" in one_line(call("exec", "explode", "status"))


def test_an_interrupted_action_says_nothing_of_what_was_done(kind, door, monkeypatch):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    add(door.store)
    monkeypatch.setattr(Qrec, "act", interrupted)
    result = call("exec", "status")
    assert (result.returncode, result.out + result.err.strip()) == (130, "")


def test_more_words_than_an_action_takes_are_wrong(kind, door):
    add(door.store)
    for words in (["status", "1", "2"], ["status", "--loud"], ["status", "1", "--loud"], ["status", "1", "status"]):
        one_line(call("exec", *words), 2)


def test_help_tells_whose_action_it_is(kind, door):
    """Of the executor of the task that is named; else of all that have the action, and of options that not all have."""
    add(door.store)
    every = call("exec", "output", "--help", check=True).out
    assert re.search(r"^  shell, .*: Show what the command wrote to stdout\.$", every, re.MULTILINE)
    assert re.search(r"^  slurm: Show what the job wrote to stdout\.$", every, re.MULTILINE)
    assert re.search(r"--follow +Go on .*\(slurm\)$", every, re.MULTILINE)
    for words in (["output", "1", "--help"], ["1", "output", "--help"]):
        one = call("exec", *words, check=True).out
        assert "\n  Show what the command wrote to stdout.\n" in one
        assert "--follow" not in one
    assert call("exec", "output", "--help", "99").out == every, "no task"
    assert one_line(call("exec", "output", "-n", "1"), 2) == "output has no option 'lines' for such a task"


# What shell tasks offer


def test_the_status_of_an_ended_task(kind, qrec):
    qrec("run", "-q", "sh", "-c", "kill -9 $$")
    told = call("exec", "status", "--json").json
    assert list(told) == ["status", "pid", "alive", "returncode", "signal", "seconds"]
    assert told == {**told, "status": "failed", "alive": False, "returncode": 137, "signal": 9}
    shown = dict(line.split(None, 1) for line in call("exec", "status").out.splitlines())
    assert (shown["status"], shown["returncode"], shown["alive"]) == ("failed", "137", "False")


def test_the_status_of_a_running_task(kind, running):
    process = running("echo on; exec sleep 60")
    told = call("exec", "status", "--json").json
    assert (told["status"], told["alive"], told["returncode"], told["signal"]) == ("running", True, None, None)
    wait_until(lambda: psutil.Process(told["pid"]).cmdline() == ["sleep", "60"])
    assert psutil.Process(told["pid"]).ppid() == process.pid
    assert 0 < told["seconds"] < 60


def test_output_and_error(kind, qrec):
    qrec("run", "-q", r"printf 'a\377\n\0b'; printf 'oops\r\n' >&2", check=True)
    assert call("exec", "output").stdout == b"a\xff\n\0b"
    assert call("exec", "error").stdout == b"oops\r\n"
    assert call("exec", "output", "--json").json == ["a\ufffd\n", "\0b"]
    assert call("exec", "error", "--json").json == ["oops\r\n"]


def test_much_output(kind, qrec):
    printed = qrec("run", "-q", "seq", "100000", check=True).stdout
    assert qrec("exec", "output").stdout == printed
    assert call("exec", "error").stdout == b""


def test_the_output_of_a_running_task(kind, running):
    running("echo so far; exec sleep 60")
    assert call("exec", "output").out == "so far\n"


# Cancelling


@pytest.mark.parametrize("words", [["cancel"], ["cancel", "1"], ["exec", "cancel"], ["exec", "1", "cancel"]])
def test_cancel(kind, running, words):
    process = running("echo on; exec sleep 60")
    uid = call("ls", "--json").json[0]["uid"]
    assert call(*words, check=True).out == f"{uid} is cancelled\n"
    assert process.wait(60) == 128 + signal.SIGTERM
    (row,) = call("ls", "--json").json
    assert (row["status"], row["returncode"], row["signal"]) == ("cancelled", 143, 15)
    assert row["ended"]
    assert not psutil.pid_exists(row["pid"])
    assert call("log").out == "on\n"


def test_cancel_says_how_it_ended_in_json(kind, running):
    running("echo on; exec sleep 60")
    row = call("cancel", "--json").json
    assert (tuple(row), row["status"]) == (SUMMARY, "cancelled")


def test_cancelling_several(kind, start):
    for number in range(2):
        start("run", "sleep", "60")
        wait_until(partial(is_listed, number + 1, "running"))
    assert [line.split(" is ")[1] for line in call("cancel", "1", "2").out.splitlines()] == ["cancelled", "cancelled"]
    assert {row["status"] for row in call("ls", "--json").json} == {"cancelled"}


def test_cancelling_several_as_json_is_one_document(home, start):
    for number in range(2):
        start("run", "sleep", "60")
        wait_until(partial(is_listed, number + 1, "running"))
    rows = call("cancel", "1", "2", "--json").json
    assert [row["number"] for row in rows] == [1, 2]


def test_one_of_several_that_cannot_be_cancelled_keeps_no_other_from_it(home, start):
    add(Qrec().store)
    start("run", "sleep", "60")
    wait_until(lambda: call("ls", "--json", "--status", "running").json)
    result = call("cancel", "1", "2")
    assert result.returncode == 1
    assert "is complete" in result.err
    assert [row["status"] for row in call("ls", "--json").json] == ["complete", "cancelled"]


def test_a_command_that_does_not_listen_is_killed(kind, running, monkeypatch):
    monkeypatch.setenv("QREC_GRACE", "0.3")
    process = running("trap 'echo no' TERM; echo on; while :; do sleep 0.1; done")
    monkeypatch.setattr("qrec.process.send", after_its_answer(Qrec()))
    assert call("cancel", check=True).out.endswith(" is cancelled\n")
    assert process.wait(60) == 137
    (row,) = call("ls", "--json").json
    assert (row["status"], row["returncode"], row["signal"]) == ("cancelled", 137, 9)
    assert call("log", "--stdout").out == "on\nno\n", "it was asked first"


def after_its_answer(door: Qrec) -> Callable[[int, int], None]:
    """What sends a signal, SIGKILL not before the command has answered to the one before, however busy the machine."""

    def send_in_time(pid: int, number: int) -> None:
        if number == signal.SIGKILL:
            wait_until(lambda: b"no\n" in door.output(door.get()).read("stdout"), what="its answer")
        send(pid, number)

    return send_in_time


@pytest.mark.parametrize("words", [["cancel"], ["exec", "cancel"]])
def test_who_does_not_wait_for_the_end_is_told_how_far_it_got(home, start, running, words):
    process = running("trap 'echo no' TERM; echo on; while :; do sleep 0.1; done")
    canceller = start(*words, env={"QREC_GRACE": "600"})
    assert process.stdout is not None
    assert process.stdout.readline() == b"no\n"
    canceller.send_signal(signal.SIGINT)
    _, said = canceller.communicate(timeout=60)
    (row,) = call("ls", "--json").json
    told = f"qrec: {row['uid']} was asked to end, and is running still; `qrec cancel 1` goes on with it\n"
    assert (canceller.returncode, said.decode()) == (130, told)


def test_a_command_that_ends_in_its_own_way_is_cancelled_all_the_same(kind, running):
    process = running("trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.1; done")
    call("cancel", check=True)
    assert process.wait(60) == 0
    (row,) = call("ls", "--json").json
    assert (row["status"], row["returncode"], row["signal"]) == ("cancelled", 0, None)
    assert call("log", "--stdout").out == "on\nbye\n"


def test_a_whole_tree_is_cancelled(kind, running, monkeypatch):
    """Children and grandchildren, those that ignore SIGTERM too."""
    monkeypatch.setenv("QREC_GRACE", "0.5")
    process = running("""
        sleep 60 &
        sh -c 'trap "" TERM; sleep 60 & sleep 60; :' &
        sh -c 'sh -c "sleep 60; :"; :' &
        echo on
        wait
    """)
    shell = psutil.Process(call("exec", "status", "--json").json["pid"])
    wait_until(lambda: len(shell.children(recursive=True)) == 7)
    family = [shell, *shell.children(recursive=True)]
    call("cancel", check=True)
    process.wait(60)
    gone, alive = psutil.wait_procs(family, timeout=60)
    assert not alive
    assert len(gone) == 8


def test_others_in_the_same_group_are_left_alone(kind, start):
    """`qrec run` shares the process group of the script that calls it."""
    script = f"sleep 61 & echo $!; exec {sys.executable} -m qrec run sleep 62"
    process = start("run", "-q", "sh", "-c", script)
    assert process.stdout is not None
    other = psutil.Process(int(process.stdout.readline()))
    wait_until(lambda: len(call("ls", "--json", "--status", "running").json) == 2)
    inner = max(call("ls", "--json").json, key=lambda row: row["created"])
    assert inner["argv"] == ["sleep", "62"]
    call("cancel", inner["uid"], check=True)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert other.is_running()
    assert other.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("words", [["cancel"], ["exec", "cancel"], ["cancel", "1"]])
def test_an_ended_task_cannot_be_cancelled(kind, door, words):
    task = add(door.store, status="failed")
    said = one_line(call(*words))
    assert said == f"{task.uid} is failed; cancel is for tasks that are queued, running, submitted"
    assert call("ls", "--json").json[0]["status"] == "failed"
    assert door.store.get(task.uid).wish is None


def test_a_task_whose_recorder_was_killed_can_be_cancelled(kind, running):
    process = running("echo on; exec sleep 60")
    pid = call("get").json["data"]["pid"]
    process.kill()
    process.wait()
    command = psutil.Process(pid)
    assert call("cancel", check=True).out.endswith(" is cancelled\n")
    command.wait(60)
    (row,) = call("ls", "--json").json
    assert row["status"] == "cancelled"


def test_the_front_door_cancels(kind, door, running):
    running("echo on; exec sleep 60")
    task = door.cancel()
    assert (task.status, task.signal) == ("cancelled", 15)
    assert door.actions("shell").keys() == set(OFFERED)
    assert door.act("1", "status")["status"] == "cancelled"
