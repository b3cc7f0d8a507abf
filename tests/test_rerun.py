"""The same command again, in its folder: one task, several attempts."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from qrec.api import Qrec
from tests.helpers import wait_until
from tests.test_look_back import call, one_line


def script(path: Path, *lines: str) -> Path:
    """A program that a test can change."""
    path.write_text("\n".join(("#!/bin/sh", *lines, "")))
    path.chmod(0o755)
    return path


def data(*words: str) -> dict:  # type: ignore[type-arg]
    """What `get` tells."""
    return dict(call("get", *words).json["data"])


@pytest.mark.parametrize(
    "words",
    [
        ["printf", "<%s>", "a  b", "$HOME", "it's", "new\nline", "", "*", "-m", "--", "\\"],
        ["printf", "<%s>", os.fsdecode(b"caf\xe9")],
        ["printf '<%s>' 'a  b' \"$PWD\" | cat"],
        ["sh", "-c", 'printf "<%s>" "$@"', "sh", "--", "-x"],
    ],
    ids=["words", "bytes", "line", "inner dashes"],
)
def test_the_same_words_in_the_same_folder(kind, qrec, tmp_path, words):
    (tmp_path / "there").mkdir()
    first = qrec("run", "-q", *words, cwd=tmp_path / "there", check=True)
    before = call("get").json
    again = qrec("rerun", "-q", cwd="/", check=True)
    after = call("get").json
    assert again.stdout == first.stdout != b""
    assert after["uid"] == before["uid"]
    assert after["data"]["cmd"] == before["data"]["cmd"] == words
    assert after["data"]["pwd"] == before["data"]["pwd"] == str(tmp_path / "there")
    assert after["data"]["number"] == 1
    assert len(call("ls", "--json").json) == 1


def test_attempts_are_kept(kind, qrec, tmp_path):
    program = script(tmp_path / "program", "echo first; echo oops >&2; exit 3")
    assert qrec("run", "-q", "-m", "a note", "-t", "x", program).returncode == 3
    first = data()
    for number, word in ((2, "second"), (3, "third")):
        script(program, f"echo {word}")
        again = qrec("rerun", "1")
        assert (again.out, again.returncode) == (f"{word}\n", 0)
        assert f"[{call('get').json['uid']}][returncode: 0]" in again.err
        assert data()["attempt"] == number
    assert [data("--attempt", str(number))["output"] for number in (1, 2, 3)] == [
        ["first\n"],
        ["second\n"],
        ["third\n"],
    ]
    assert [data("--attempt", str(number))["returncode"] for number in (1, 2, 3)] == [3, 0, 0]
    assert data("--attempt", "1") == {**first, "attempts": [1, 2, 3]}
    assert call("log", "--attempt", "1").out == "first\noops\n"
    assert call("log", "--attempt", "1", "--stderr").out == "oops\n"
    assert call("log").out == "third\n"
    now = data()
    assert (now["attempts"], now["status"], now["error"], now["message"], now["tags"]) == (
        [1, 2, 3], "complete", [], "a note", ["x"],
    )  # fmt: skip
    assert first["ended"] <= data("--attempt", "2")["started"] <= now["started"] <= now["ended"]
    assert now["created"] == first["created"]


def test_a_large_attempt_stays_readable(kind, qrec, tmp_path):
    program = script(tmp_path / "program", "seq 50000")
    first = qrec("run", "-q", program, check=True).stdout
    script(program, "echo small")
    qrec("rerun", "-q", check=True)
    assert qrec("log", "--attempt", "1").stdout == first
    assert call("log").out == "small\n"
    call("clear", "1", "-y", check=True)
    assert not list((tmp_path / "home").glob("attempts/*/*")), "all attempts went with the task"


@pytest.mark.parametrize("words", [["-m", "new", "rerun"], ["rerun", "-m", "new"], ["-m", "old", "rerun", "-m", "new"]])
def test_a_rerun_may_change_the_note(kind, qrec, words):
    qrec("run", "-q", "-m", "first", "true", check=True)
    qrec("-q", *words, check=True)
    assert data()["message"] == "new"
    qrec("rerun", "-q", check=True)
    assert data()["message"] == "new"


def test_the_note_can_be_emptied(home, qrec):
    qrec("run", "-q", "-m", "first", "true", check=True)
    qrec("rerun", "-q", "-m", "", check=True)
    assert data()["message"] == ""


def test_an_unfinished_task_is_refused(kind, start):
    start("run", "sleep", "60")
    (row,) = wait_until(lambda: call("ls", "--json").json)
    assert one_line(call("rerun", "-m", "new")) == f"{row['uid']} is running; `qrec cancel 1` ends it"
    (after,) = call("ls", "--json").json
    assert (after["attempt"], after["message"], after["status"]) == (1, "", "running")


def test_a_folder_that_is_gone_is_refused(kind, qrec, tmp_path):
    (tmp_path / "gone").mkdir()
    qrec("run", "-q", "-m", "old", "pwd", cwd=tmp_path / "gone", check=True)
    (tmp_path / "gone").rmdir()
    said = f"the folder {tmp_path}/gone is not there any more; name another with --cwd"
    assert one_line(call("rerun", "-m", "new")) == said
    assert (data()["attempt"], data()["message"]) == (1, "old")
    again = qrec("rerun", "-q", "--cwd", tmp_path, check=True)
    assert again.out == f"{tmp_path}\n"
    assert data()["pwd"] == str(tmp_path)
    assert data("--attempt", "1")["pwd"] == f"{tmp_path}/gone"


def test_a_folder_that_may_not_be_entered_is_told(kind, qrec, tmp_path):
    folder = tmp_path / "there"
    folder.mkdir()
    qrec("run", "-q", "pwd", cwd=folder, check=True)
    folder.rmdir()
    folder.write_text("a file by now")
    assert "--cwd" in one_line(call("rerun"))


def test_a_line_is_run_again_by_the_same_shell(kind, qrec, tmp_path):
    """And not by the one that is set by now."""
    shell = script(tmp_path / "myshell", 'echo "myshell: $2"; exec /bin/sh "$@"')
    qrec("run", "-q", "echo  a   b; exit 3", env={"SHELL": str(shell)})
    assert call("log").out == "myshell: echo  a   b; exit 3\na b\n"
    again = qrec("rerun", "-q", env={"SHELL": "/bin/false"})
    assert (again.out, again.returncode) == ("myshell: echo  a   b; exit 3\na b\n", 3)
    assert data()["cmd"] == ["echo  a   b; exit 3"]
    assert data()["shell"] == str(shell)


def test_a_single_word_stays_a_program(home, qrec, tmp_path):
    script(tmp_path / "program", "echo ran")
    qrec("run", "-q", "./program", env={"SHELL": "/bin/false"}, check=True)
    assert qrec("rerun", "-q", env={"SHELL": "/bin/false"}, check=True).out == "ran\n"


@pytest.mark.parametrize(
    ("words", "code"),
    [(["false"], 1), (["sh", "-c", "kill -9 $$"], 137), (["no-such-program"], 127), (["/etc/passwd"], 126)],
)
def test_a_rerun_ends_as_its_command_does(home, qrec, words, code):
    assert qrec("run", "-q", *words).returncode == code
    assert qrec("rerun", "-q").returncode == code
    assert (data()["returncode"], data()["attempts"]) == (code, [1, 2])


def test_stdin_and_the_time_limit(home, qrec):
    qrec("run", "-q", "cat", input=b"first", check=True)
    assert qrec("rerun", "-q", input=b"second", check=True).stdout == b"second"
    qrec("run", "-q", "sh", "-c", "test -e go && exec sleep 60; touch go", check=True)
    again = qrec("rerun", "--timeout", "0.2s")
    assert again.returncode == 124
    assert (data()["status"], data()["reason"]) == ("failed", "time limit of 0.2 s")


def test_a_cancelled_task_may_be_run_again(kind, start, qrec, tmp_path):
    running = start("run", "-q", "sh", "-c", "test -e go || exec sleep 60")
    wait_until(lambda: call("ls", "--json", "--status", "running").json)
    call("cancel", check=True)
    assert running.wait(60) == 128 + signal.SIGTERM
    (tmp_path / "go").touch()
    assert qrec("rerun", "-q").returncode == 0
    now = data()
    assert (now["status"], now["signal"], data("--attempt", "1")["status"]) == ("complete", None, "cancelled")


def test_a_running_rerun_can_be_seen_and_cancelled(kind, start, qrec, tmp_path):
    program = script(tmp_path / "program", "echo first")
    qrec("run", "-q", program, check=True)
    script(program, "echo second; exec sleep 60")
    again = start("rerun", "-q")
    assert again.stdout is not None
    assert again.stdout.readline() == b"second\n"
    wait_until(lambda: data()["pid"] is not None)
    now = data()
    assert (now["status"], now["attempt"], now["output"], now["returncode"]) == ("running", 2, ["second\n"], None)
    call("cancel", check=True)
    assert again.wait(60) == 128 + signal.SIGTERM
    assert (data()["status"], data("--attempt", "1")["status"]) == ("cancelled", "complete")


def test_of_two_reruns_at_once_one_is_refused(kind, start, qrec, tmp_path):
    """The one that comes second sees that the task has begun, whenever it looked."""
    script(tmp_path / "program", "test -e slow || exit 0; echo on; exec sleep 60")
    qrec("run", "-q", "./program", check=True)
    (tmp_path / "slow").touch()
    both = [start("rerun", "-q") for _ in range(2)]
    wait_until(lambda: any(process.poll() is not None for process in both))
    (refused,) = [process for process in both if process.poll() is not None]
    _, err = refused.communicate(timeout=60)
    assert refused.returncode == 1
    assert (err.count(b"\n"), b"Traceback" in err, b"running" in err) == (1, False, True)
    wait_until(lambda: data()["pid"] is not None)
    assert data()["attempts"] == [1, 2]
    call("cancel", check=True)


def test_rerun_as_json(home, qrec):
    qrec("run", "-q", "echo", "hi", check=True)
    again = qrec("rerun", "--json")
    assert again.out == "hi\n"
    row = json.loads(again.err)
    assert (row["number"], row["attempt"], row["status"]) == (1, 2, "complete")


def test_the_front_door_reruns_without_moving(home, tmp_path):
    (tmp_path / "there").mkdir()
    before = os.getcwd()
    door = Qrec()
    first = door.run(["pwd"], cwd=str(tmp_path / "there"), show=False)
    again = door.rerun(first.uid, message="again", show=False)
    assert os.getcwd() == before
    assert (again.uid, again.attempt, again.message, again.pwd) == (first.uid, 2, "again", str(tmp_path / "there"))
    assert [task.attempt for task in door.store.attempts(first.uid)] == [1]
    assert door.output(again).read("stdout") == door.output(first).read("stdout") == f"{tmp_path}/there\n".encode()


def test_the_home_stays_private(home, qrec):
    qrec("run", "-q", "seq", "50000", stdout=subprocess.DEVNULL)
    qrec("rerun", "-q", stdout=subprocess.DEVNULL)
    for path in (home, *home.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
