"""What was started without qrec, and is recorded from some moment on."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from qrec.adopted import Exit, as_history, ended_by, process_of
from qrec.api import Qrec
from qrec.errors import Refused
from qrec.process import start_ticks
from qrec.task import Status, Task
from tests.helpers import environment, wait_until
from tests.queueing import is_there

HOLD = "echo begun; until [ -e go ]; do sleep 0.02; done; exit 5"


@pytest.fixture
def alone(tmp_path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts something without qrec."""
    started = []

    def alone(*words, **popen) -> subprocess.Popen[bytes]:
        given = {"cwd": tmp_path, "stdout": subprocess.DEVNULL, "env": environment(), **popen}
        started.append(subprocess.Popen(words, start_new_session=True, **given))
        return started[-1]

    yield alone
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def history(home) -> Qrec:
    return Qrec(str(home))


def adopt(qrec, *words) -> Task:
    """Adopt that; the task as it stands, once it is in the store."""
    uid = qrec("adopt", *words, check=True).out.strip()
    return now(qrec, uid)


def now(qrec, uid: str) -> Task:
    (found,) = (one for one in qrec("ls", "--json").json if one["uid"] == uid)
    return Task.from_plain(found)


def code_is_told() -> bool:
    """Whether this kernel tells how a process ended that is no child of ours."""
    process = subprocess.Popen(["sh", "-c", "read x; exit 3"], stdin=subprocess.PIPE)
    end = Exit(process.pid, start_ticks(process.pid) or 0)
    process.communicate()
    return end.status() is not None


# A process


def test_a_process_to_its_end(qrec, alone, tmp_path, kind):
    process = alone("sh", "-c", HOLD, "two words")
    told = qrec("adopt", "--pid", str(process.pid), "-m", "a note", "-t", "tag", check=True)
    assert "what it prints cannot be recorded" in told.err
    task = now(qrec, told.out.strip())
    assert (task.executor, task.status, task.pid) == ("shell", "running", process.pid)
    assert task.argv == ("sh", "-c", HOLD, "two words")
    assert (task.pwd, task.message, task.tags) == (str(tmp_path), "a note", ("tag",))
    assert task.started is not None
    assert task.started < task.created
    wait_until(lambda: qrec("usage", "--json").json["points"])
    (tmp_path / "go").touch()
    process.wait()
    qrec("wait")
    over = now(qrec, task.uid)
    assert over.ended is not None
    if code_is_told():
        assert (over.status, over.returncode) == ("failed", 5)
    else:
        assert (over.status, over.returncode) == ("lost", None)
        assert "cannot be known" in over.data["reason"]
    assert over.usage["memory"] > 0
    (tmp_path / "go").touch()
    assert qrec("rerun", "-q").returncode == 5
    assert (now(qrec, task.uid).attempt, qrec("log").out) == (2, "begun\n")


def test_where_nobody_tells_the_code_the_task_is_lost(qrec, alone, tmp_path, history, monkeypatch):
    """As on an older kernel."""
    monkeypatch.setattr(Exit, "status", lambda self: None)
    process = alone("sh", "-c", HOLD)
    found = process_of(process.pid)
    from qrec.adopted import Adoption

    task = history.new_task(["sh"], executor="shell")
    adoption = Adoption(history.recorder, task.copy(argv=found.argv), False, found.pid, found.ticks)
    adoption.begin()
    (tmp_path / "go").touch()
    process.wait()
    over = adoption.look_after()
    assert (over.status, over.returncode, over.signal) == (Status.LOST, None, None)
    assert over.ended is not None
    assert "cannot be known" in over.data["reason"]
    assert now(qrec, task.uid).status == "lost"


@pytest.mark.parametrize(("script", "code", "number"), [("exit 0", 0, None), ("kill -9 $$", 137, 9)])
def test_the_code_of_a_corpse(alone, script, code, number):
    """Which nobody has taken note of."""
    process = alone("sh", "-c", f"read x; {script}", stdin=subprocess.PIPE)
    end = Exit(process.pid, start_ticks(process.pid) or 0)
    process.stdin.close()
    assert end.wait(30)
    told = ended_by(end.status())
    assert told is not None
    assert (told.returncode, told.signal) == (code, number)


def test_cancel_ends_it_with_what_it_started(qrec, alone):
    process = alone("sh", "-c", "sleep 600 & wait")
    child = wait_until(lambda: psutil.Process(process.pid).children())[0]
    task = adopt(qrec, "--pid", str(process.pid))
    qrec("cancel", check=True)
    assert process.wait() == -signal.SIGTERM
    wait_until(lambda: not is_there(child.pid), what="the child to end")
    assert now(qrec, task.uid).status == "cancelled"


def test_secrets_stay_out(qrec, alone, home):
    secret = "ghp_" + "a1B2" * 9
    process = alone("sh", "-c", "exec sleep 600", "--password=hunter22", secret)
    wait_until(lambda: psutil.Process(process.pid).name() == "sleep")
    process = alone(sys.executable, "-c", "import time; time.sleep(600)", secret, "--password=hunter22")
    wait_until(lambda: secret in psutil.Process(process.pid).cmdline())
    task = adopt(qrec, "--pid", str(process.pid))
    assert task.data["redacted"] == 2
    wait_until(lambda: os.listdir(home / "incoming") == [], what="the store to have it")
    everything = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    assert secret.encode() not in everything
    assert b"hunter22" not in everything


def test_the_observer_is_killed(qrec, alone):
    """The task goes on, and is settled when the process is gone."""
    process = alone("sleep", "600")
    task = adopt(qrec, "--pid", str(process.pid))
    os.kill(task.data["process"]["recorder"][0], signal.SIGKILL)
    assert now(qrec, task.uid).status == "running"
    process.kill()
    process.wait()
    assert wait_until(lambda: now(qrec, task.uid).status.is_final)
    assert now(qrec, task.uid).status == "lost"


def test_the_store_is_busy(qrec, alone, history, tmp_path):
    """The record waits, and comes."""
    history.run("true", show=False)
    process = alone("sh", "-c", HOLD)
    with sqlite3.connect(history.store.location, isolation_level=None) as store:
        store.execute("BEGIN IMMEDIATE")
        uid = qrec("adopt", "--pid", str(process.pid), check=True).out.strip()
        store.execute("ROLLBACK")
    wait_until(lambda: uid in [one["uid"] for one in qrec("ls", "--json").json])
    assert now(qrec, uid).status == "running"
    (tmp_path / "go").touch()
    process.wait()
    wait_until(lambda: now(qrec, uid).status.is_final)


@pytest.mark.parametrize("which", ["nobody", "self", "kernel", "twice", "thread", "ours"])
def test_what_is_refused(qrec, alone, which):
    process = alone("sleep", "600")
    pid, words = process.pid, "recorded already, as task 1"
    if which == "nobody":
        process.kill()
        process.wait()
        words = "there is no process"
    elif which == "self":
        pid, words = os.getpid(), "started from"
    elif which == "kernel":
        pid, words = 2, "kernel"
        if not os.path.exists("/proc/2/cmdline") or psutil.Process(2).name() != "kthreadd":
            pid, words = os.getpid(), "started from"  # a namespace without any
    elif which == "twice":
        adopt(qrec, "--pid", str(pid))
    elif which == "thread":
        script = "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start(); time.sleep(600)"
        process = alone(sys.executable, "-c", script)
        task = f"/proc/{process.pid}/task"
        wait_until(lambda: len(os.listdir(task)) == 2)
        pid = next(int(name) for name in os.listdir(task) if name != str(process.pid))
        words = f"thread of process {process.pid}"
    else:
        qrec("run", "--detach", "sleep", "600", check=True)
        pid = now(qrec, qrec("ls", "--json").json[0]["uid"]).pid
    told = qrec("adopt", "--pid", str(pid))
    assert told.returncode == 1
    assert words in told.err
    assert told.err.count("\n") == 1
    assert len(qrec("ls", "--json").json) == (which in ("twice", "ours"))
    qrec("clear", "--all", "--force", "-y")


def test_another_users_process(qrec, alone, tmp_path):
    """Asked for by a user who may not even send it a signal; or by us, for one of root's."""
    if os.geteuid():
        told = qrec("adopt", "--pid", "1")
        assert told.returncode == 1
        return
    process = alone("sleep", "600")
    outlet, inlet = os.pipe()
    if not (child := os.fork()):
        try:
            os.setgid(65534)
            os.setuid(65534)
            process_of(process.pid)
        except Refused as error:
            os.write(inlet, str(error).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(inlet)
    with open(outlet) as told:
        assert "another user's" in told.read()


@pytest.mark.parametrize("words", [[], ["--pid", "1", "--tmux", "x"], ["--pid", "7", "--socket", "x"], ["--pid", "x"]])
def test_wrong_usage(qrec, words):
    told = qrec("adopt", *words)
    assert told.returncode == 2
    assert "integer range" not in told.err


def test_two_at_once_make_one_task(qrec, start, alone):
    process = alone("sleep", "600")
    calls = [start("adopt", "-q", "--pid", str(process.pid)) for _ in range(3)]
    assert sorted(call.wait(60) for call in calls) == [0, 1, 1]
    assert len(qrec("ls", "--json").json) == 1


def test_the_python_door(alone, history):
    process = alone("sleep", "600")
    task = history.adopt(pid=process.pid, message="a note")
    assert (task.status, task.argv, task.message) == (Status.RUNNING, ("sleep", "600"), "a note")
    with pytest.raises(Refused):
        history.adopt(pid=process.pid)
    process.kill()
    process.wait()
    assert [one.uid for one in history.wait([task.uid])] == [task.uid]


@pytest.mark.parametrize(
    ("screen", "cursor", "text"),
    [
        ("", 0, ""), ("\n\n", 0, ""), ("a\nb  \n\n", 0, "a\nb\n"), ("a\n$\n\n", 2, "a\n$ "),
        ("\x1b[31m$\x1b[0m\n", 2, "\x1b[31m$\x1b[0m "),
    ],
)  # fmt: skip
def test_history(screen, cursor, text):
    assert as_history(screen, cursor) == text
