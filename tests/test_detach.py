"""Commands that outlive the terminal and qrec: `run --detach`, and `wait`."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from qrec import Qrec
from qrec.output import SILENCE
from tests.helpers import processes_of, wait_until

GO_ON = "until [ -e go ]; do sleep 0.02; done; echo done; echo oops >&2; exit 3"


def detached(qrec, *words: str) -> str:
    uid: str = qrec("run", "-d", *words, check=True).out.strip()
    return uid


def running(qrec) -> dict[str, Any]:
    task: dict[str, Any]
    (task,) = wait_until(lambda: [task for task in qrec("ls", "--json").json if task["status"] == "running"])
    return task


def processes(tmp_path: Path, word: str) -> list[psutil.Process]:
    """What runs for this test with that word among its arguments."""
    found = []
    for process in processes_of(tmp_path):
        try:
            if any(word in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def test_it_returns_at_once_and_the_record_is_closed_with_the_code(kind, qrec, tmp_path):
    uid = detached(qrec, "-m", "note", GO_ON)
    task = running(qrec)
    assert (task["uid"], task["message"], task["returncode"]) == (uid, "note", None)
    (tmp_path / "go").touch()
    assert qrec("wait", uid).returncode == 3
    task = qrec("ls", "--json").json[0]
    assert (task["status"], task["returncode"], task["data"]["reason"]) == ("failed", 3, "exit code 3")
    assert qrec("log", "--stdout").out == "done\n"
    assert qrec("log", "--stderr").out == "oops\n"


def test_its_pid_is_that_of_the_command(qrec, tmp_path):
    detached(qrec, "sh", "-c", "echo $$; exec sleep 60")
    wait_until(lambda: qrec("log").out == f"{running(qrec)['pid']}\n")
    qrec("cancel", check=True)
    assert qrec("ls", "--json").json[0]["status"] == "cancelled"


def test_its_pid_is_learned_late_from_a_slow_shim(home, monkeypatch):
    """A shim that has not told it by the time that is waited for."""
    monkeypatch.setattr("qrec.shim.shim_process_soon", lambda folder: None)
    door = Qrec()
    task = door.new_task(["sh", "-c", "echo $$; until [ -e go ]; do sleep 0.02; done"], cwd=str(home.parent))
    recording = door.recorder.detach(task, task.argv)
    assert recording.shim is not None
    assert door.store.get(task.uid).pid == recording.shim
    told: list[int | None] = []
    tell = recording.tell

    def tell_again(patience: float) -> bool:
        later = tell(patience)
        told.append(door.store.get(task.uid).pid)
        (home.parent / "go").touch()
        return later

    monkeypatch.setattr(recording, "tell", tell_again)
    ended = recording.observe(recording.shim)
    assert told == [ended.pid]
    assert door.output(ended).read("stdout").decode() == f"{ended.pid}\n"


def test_it_has_no_terminal_and_a_session_of_its_own(qrec, tmp_path):
    detached(qrec, "python3", "-c", f"import os; print(os.getsid(0) != {os.getsid(0)}, os.isatty(0))")
    assert qrec("wait").returncode == 0
    assert qrec("log").out == "True False\n"


@pytest.mark.parametrize("who", ["observer", "qrec"])
def test_a_killed_observer_costs_no_code(kind, qrec, tmp_path, who):
    """Whatever is killed but the shim: the next call finds the code."""
    uid = detached(qrec, GO_ON)
    observers = wait_until(lambda: processes(tmp_path, "qrec.observer"))
    for process in observers:
        process.kill()
        process.wait()
    assert qrec("get", uid).json["data"]["status"] == "running"
    (tmp_path / "go").touch()
    assert qrec("wait", uid).returncode == 3
    assert qrec("log").out == "done\noops\n"


def test_a_stopped_observer_does_not_hold_up_the_record(qrec, tmp_path):
    uid = detached(qrec, GO_ON)
    (observer,) = wait_until(lambda: processes(tmp_path, "qrec.observer"))
    observer.suspend()
    (tmp_path / "go").touch()
    assert qrec("wait", uid).returncode == 3
    observer.resume()
    observer.wait()
    assert qrec("get", uid).json["data"]["returncode"] == 3


def test_killed_with_its_shim_it_is_lost(kind, qrec, tmp_path):
    uid = detached(qrec, "echo before; sleep 60")
    wait_until(lambda: qrec("log", uid).out)
    for word in ("qrec.observer", "qrec-shim", "sleep"):
        for process in processes(tmp_path, word):
            process.kill()
    assert qrec("wait", uid).returncode == 1
    task = qrec("ls", "--json").json[0]
    assert (task["status"], task["returncode"]) == ("lost", None)
    assert qrec("log", uid).out == "before\n"


def test_time_limit(qrec, tmp_path):
    uid = detached(qrec, "--timeout", "200ms", "sleep", "60")
    assert qrec("wait", uid).returncode == 124
    data = qrec("get", uid).json["data"]
    assert (data["status"], data["reason"]) == ("failed", "time limit of 0.2 s")


def test_what_cannot_be_found(qrec):
    uid = detached(qrec, "no-such-command-here")
    assert qrec("wait", uid).returncode == 127
    assert "not found" in qrec("log", uid).out


def test_a_folder_that_is_not_there(qrec, tmp_path):
    (tmp_path / "gone").mkdir()
    failed = qrec("run", "-d", "--cwd", "gone/no", "true")
    assert (failed.returncode, failed.err.count("\n")) == (125, 1)
    assert "folder" in failed.err


def test_rerun_detached(kind, qrec):
    qrec("run", "echo", "again", check=True)
    uid = qrec("rerun", "-d", check=True).out.strip()
    assert qrec("wait", uid).returncode == 0
    assert qrec("log", uid).out == "again\n"
    assert qrec("get", uid).json["data"]["attempts"] == [1, 2]


def test_order_and_time_of_what_it_prints(qrec, home, tmp_path):
    """Each is printed when the one before is in the index, where it comes at once after a silence."""
    until = "until [ -e go{} ]; do sleep 0.01; done; echo {}"
    uid = detached(qrec, "; ".join(map(until.format, (1, 2, 3), ("one", "two >&2", "three"))))

    def told() -> int:
        return sum(path.read_bytes().count(b"\n") for path in home.glob("attempts/*/*/timing"))

    for number in (1, 2, 3):
        wait_until(lambda: told() == number - 1)  # noqa: B023
        time.sleep(SILENCE + 0.05)
        (tmp_path / f"go{number}").touch()
    qrec("wait", uid, check=True)
    assert qrec("log", uid).out == "one\ntwo\nthree\n"


def test_large_output(kind, qrec, tmp_path):
    uid = detached(qrec, "seq 1 200000; seq 1 100000 >&2")
    assert qrec("wait", uid, timeout=60).returncode == 0
    assert qrec("log", "--stdout", uid).out == "".join(f"{n}\n" for n in range(1, 200001))
    assert qrec("log", "--stderr", uid).out == "".join(f"{n}\n" for n in range(1, 100001))


# wait


def test_wait_for_several(qrec, tmp_path):
    first = detached(qrec, "until [ -e go ]; do sleep 0.02; done; exit 4")
    second = detached(qrec, "true")
    assert qrec("wait", second).returncode == 0
    late = qrec("wait", first, second, "--timeout", "100ms")
    assert (late.returncode, second in late.out, first in late.out) == (124, True, False)
    (tmp_path / "go").touch()
    both = qrec("wait", second, first, "--json")
    assert both.returncode == 4
    assert {task["uid"]: task["returncode"] for task in json.loads(both.out)} == {first: 4, second: 0}


def test_wait_for_a_command_in_the_foreground(qrec, start, tmp_path):
    runner = start("run", GO_ON)
    running(qrec)
    waiter = start("wait")
    (tmp_path / "go").touch()
    assert waiter.wait(60) == 3
    assert runner.wait(60) == 3


def test_wait_for_what_is_over_or_unknown(qrec):
    qrec("run", "false")
    assert qrec("wait").returncode == 1
    assert qrec("-q", "wait").out == ""
    failed = qrec("wait", "77")
    assert (failed.returncode, failed.err.count("\n")) == (1, 1)


def test_a_hangup_of_the_terminal_does_not_reach_it(qrec, start, tmp_path):
    shell = start("run", "-d", GO_ON, stdin=None)
    uid = shell.communicate()[0].decode().strip()
    os.killpg(shell.pid, signal.SIGHUP) if psutil.pid_exists(shell.pid) else None
    (tmp_path / "go").touch()
    assert qrec("wait", uid).returncode == 3


@pytest.mark.parametrize("how", ["run", "run -d"])
def test_a_cancelled_command_says_so(qrec, start, how):
    start(*how.split(), "sleep", "60")
    running(qrec)
    qrec("cancel", check=True)
    data = qrec("get").json["data"]
    assert (data["status"], data["reason"]) == ("cancelled", "cancelled, killed by SIGTERM")
