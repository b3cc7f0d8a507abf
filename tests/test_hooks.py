"""Hooks: what is called when, with what, and how little it can harm."""

from __future__ import annotations

import contextlib
import email
import email.policy
import gc
import http.server
import json
import os
import signal
import socketserver
import sqlite3
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from qrec.api import Qrec, Query
from qrec.errors import CouldNotStart, StaleTask
from qrec.executors.base import Executor
from qrec.firing import Note, folder_of, name_of
from qrec.hook_tables import NOTIFIER, table_of, tables_of
from qrec.hooks.commands import Process, last_line, ready_of
from qrec.hooks.notices import is_known
from qrec.hooks.runner import Runner
from qrec.hooks.told import Call
from qrec.registry import HOOKS
from qrec.task import Status, Task, new_uid, timestamp
from tests.helpers import is_called, processes_of, wait_until
from tests.test_imports import modules
from tests.test_registry import install
from tests.test_registry import site as site


@pytest.fixture
def hooks(home: Path, start: Callable[..., Any]) -> Callable[[str], None]:
    """Writes the config file; `start` ends whatever a hook has left behind."""

    def write(text: str) -> None:
        home.mkdir(exist_ok=True)
        (home / "config.toml").write_text(text)

    return write


def results(reference: str | None = None) -> list[dict[str, Any]]:
    """What hooks have done for a task."""
    return list(Qrec().store.resolve(reference).data.get("hooks", ()))


def wait_for_results(count: int = 1, reference: str | None = None) -> list[dict[str, Any]]:
    """The same, once so many are there."""
    return wait_until(lambda: found if len(found := results(reference)) >= count else [], what="hooks to be recorded")


def wait_for_quiet(home: Path) -> None:
    """Until no hook is due any more, and none runs."""
    wait_until(lambda: not [name for name in os.listdir(home / "hooks" / os.uname().nodename) if name != "lock"])


def events(task: list[dict[str, Any]]) -> list[str]:
    return sorted(one["event"] for one in task)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


# What the config file says


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"on": "faild", "run": "true"}, "did you mean 'failed'"),
        ({"on": "failed", "rum": "true"}, "did you mean 'run'"),
        ({"on": "failed"}, "one thing to do, and says none"),
        ({"on": "failed", "run": "true", "desktop": True}, "says run and desktop"),
        ({"run": "true"}, "does not say when"),
        ({"on": [], "run": "true"}, "nothing is named"),
        ({"on": 5, "run": "true"}, "on: 5 is no list"),
        ({"on": "failed", "run": 5}, "run: 5 is no text"),
        ({"on": "long", "run": "true"}, "needs longer_than"),
        ({"on": "started", "longer_than": "5m", "run": "true"}, "longer_than is of no use"),
        ({"on": "failed", "longer_than": "soon", "run": "true"}, "longer_than: 'soon' is no duration"),
        ({"on": "failed", "command": "(", "run": "true"}, "command: '(' is no regular expression"),
        ({"on": "failed", "code": "one", "run": "true"}, "code: 'one' is no exit code"),
        ({"on": "failed", "limit": "2h", "run": "true"}, "limit: '2h' is not above 0 and up to 60 s"),
        ({"on": "failed", "lines": -1, "run": "true"}, "lines: -1 is no number"),
        ({"on": ["before", "failed"], "run": "true"}, "stands alone"),
        ({"on": "before", "desktop": True}, "goes with run or hook"),
        ({"on": "failed", "webhook": "ntfy"}, "webhook: 'ntfy' is no address; write https://"),
        ("true", "write it as a table, [hooks.bad]"),
    ],
)
def test_a_table_that_cannot_be_understood_is_named(table, words):
    found, complaints = tables_of({"hooks": {"good": {"on": "ended", "run": "true"}, "bad": table}})
    assert [one.name for one in found] == ["good"]
    assert len(complaints) == 1
    assert complaints[0].startswith("hook bad is left out: ")
    assert words in complaints[0]


def test_hooks_that_are_no_tables():
    assert tables_of({"hooks": 5}) == ([], ["hooks are left out: write them as tables, [hooks.NAME]"])
    assert tables_of({"hooks": {"run": "true"}})[1] == ["hook run is left out: write it as a table, [hooks.NAME]"]


def ended(**fields: Any) -> Task:
    given = {"status": Status.FAILED, "returncode": 2, "started": timestamp(0), "ended": timestamp(60), **fields}
    return Task(uid="shell-1", executor="shell", argv=("make", "test"), host="box", **given)


@pytest.mark.parametrize(
    ("conditions", "is_wanted"),
    [
        ({}, True),
        ({"longer_than": "1m"}, True),
        ({"longer_than": "61s"}, False),
        ({"tag": ["x", "ci"]}, True),
        ({"tag": "x"}, False),
        ({"command": r"^make\b"}, True),
        ({"command": "^test"}, False),
        ({"executor": "shell"}, True),
        ({"executor": "slurm"}, False),
        ({"queue": "train"}, False),
        ({"host": "box"}, True),
        ({"host": ["a", "b"]}, False),
        ({"code": [1, 2]}, True),
        ({"code": 1}, False),
        ({"tag": "ci", "code": 1}, False),
    ],
)
def test_conditions(conditions, is_wanted):
    table = table_of("x", {"on": "ended", "run": "true", **conditions})
    assert table.wants("failed", ended(tags=("ci",))) is is_wanted


def test_how_long_it_ran_is_not_known_of_a_lost_task():
    lost = ended(status=Status.LOST, ended=None)
    assert table_of("x", {"on": "lost", "run": "true"}).wants("lost", lost)
    assert not table_of("x", {"on": "lost", "run": "true", "longer_than": "1s"}).wants("lost", lost)


def test_skipped_jobs_have_not_ended():
    assert not table_of("x", {"on": "ended", "run": "true"}).wants("skipped", ended(status=Status.SKIPPED))


def test_the_last_line_of_what_a_hook_said():
    assert last_line(b"one\n\x1b[31mtwo\x1b[0m \n\n") == "two"
    assert last_line(b"") == ""
    assert last_line(b"x" * 1000) == "x" * 200


# What is called


def test_a_hook_is_told_of_the_task(kind, hooks, qrec, tmp_path):
    hooks("""
        [hooks.tell]
        on = "failed"
        lines = 2
        run = 'cat > told; env > variables; echo one; echo "it is done"'
    """)
    secret = "hunter2hunter2"
    line = f"for n in 1 2 3; do echo line $n; done; echo password={secret}; exit 3"
    qrec("run", "-t", "ci", "-m", "a note", line)
    (result,) = wait_for_results()
    assert (result["name"], result["event"], result["attempt"]) == ("tell", "failed", 1)
    assert (result["code"], result["said"]) == (0, "it is done")
    assert result["seconds"] >= 0
    task = Qrec().store.resolve(None)
    told = json.loads((tmp_path / "told").read_text())
    assert (told["hook"], told["event"], told["uid"]) == ("tell", "failed", task.uid)
    assert told["data"]["returncode"] == 3
    assert told["last_lines"] == ["line 3", "password=" + "*" * len(secret)]
    assert secret not in (tmp_path / "told").read_text()
    variables = dict(one.partition("=")[::2] for one in lines(tmp_path / "variables"))
    assert variables["QREC_UID"] == variables["QREC_TASK"] == task.uid
    expected = {"STATUS": "failed", "EVENT": "failed", "RETURNCODE": "3", "TAGS": "ci", "NUMBER": "1", "ATTEMPT": "1"}
    assert {name: variables[f"QREC_{name}"] for name in expected} == expected
    assert variables["QREC_LAST_LINES"] == "line 3"  # and one more, which env prints on the next line
    assert secret not in (tmp_path / "variables").read_text()


def test_only_what_is_waited_for(kind, hooks, qrec, home):
    hooks('[hooks.a]\non = ["failed", "started"]\nrun = "true"\n[hooks.b]\non = "ended"\ncode = 0\nrun = "true"')
    qrec("run", "true", check=True)
    qrec("run", "false")
    assert events(wait_for_results(2, "1")) == ["complete", "started"]
    assert events(wait_for_results(2, "2")) == ["failed", "started"]
    wait_for_quiet(home)
    assert len(results("1")) == len(results("2")) == 2


def test_each_attempt_is_an_end_of_its_own(kind, hooks, qrec):
    hooks('[hooks.a]\non = "failed"\nrun = "echo $QREC_ATTEMPT"')
    qrec("run", "false")
    wait_for_results()
    qrec("rerun")
    assert [(one["attempt"], one["said"]) for one in wait_for_results(2)] == [(1, "1"), (2, "2")]


def test_what_could_not_begin_has_not_started(hooks, qrec, home):
    hooks('[hooks.a]\non = ["started", "failed"]\nrun = "true"')
    assert qrec("run", "there-is-no-such-program").returncode == 127
    wait_for_results()
    wait_for_quiet(home)
    assert events(results()) == ["failed"]


def test_a_cancelled_task(kind, hooks, qrec, start):
    hooks('[hooks.a]\non = ["cancelled", "failed"]\nrun = "true"')
    start("run", "sleep", "60")
    wait_until(lambda: Qrec().store.count(Query(statuses=frozenset({Status.RUNNING}))))
    qrec("cancel", check=True)
    assert events(wait_for_results()) == ["cancelled"]


def test_a_detached_task(kind, hooks, qrec):
    hooks('[hooks.a]\non = "ended"\nrun = "true"')
    qrec("run", "-d", "sh", "-c", "exit 4", check=True)
    assert events(wait_for_results()) == ["failed"]


def test_a_config_file_is_read_again_by_those_who_live_long(hooks, home, qrec):
    door = Qrec()
    door.run("false", show=False)
    hooks('[hooks.a]\non = "failed"\nrun = "true"')
    door.refresh()
    door.run("false", show=False)
    assert [one["name"] for one in wait_for_results(1, "2")] == ["a"]
    hooks('[hooks.b]\non = "failed"\nrun = "true"')
    door.run("false", show=False)
    assert [one["name"] for one in wait_for_results(1, "3")] == ["b"]
    assert results("1") == []


def test_a_hook_that_cannot_be_understood_hurts_nothing(hooks, qrec):
    hooks('[hooks.bad]\non = "faild"\nrun = "true"\n[hooks.good]\non = "complete"\nrun = "true"')
    done = qrec("run", "echo", "hello", check=True)
    assert done.out == "hello\n"
    assert done.err.count("hook bad is left out") == 1
    assert [one["name"] for one in wait_for_results()] == ["good"]
    assert "hook bad is left out" in qrec("doctor").out


def test_what_cannot_be_noted_is_told(kind, hooks, qrec, home):
    hooks('[hooks.a]\non = "failed"\nrun = "true"')
    home.mkdir(exist_ok=True)
    (home / "hooks").write_text("in the way")
    done = qrec("run", "sh", "-c", "echo hello; exit 3")
    assert (done.returncode, done.out) == (3, "hello\n")
    assert done.err.count("hook a was not called: ") == 1
    hooks("")
    assert qrec("run", "--notify", "true").err.count("hook --notify was not called: ") == 1


# Limits


def call(*words: str) -> Call:
    return Call(name="a", words=words, env=dict(os.environ), cwd="/", told={"event": "failed"}, limit=30.0)


def test_a_hook_that_has_closed_its_streams_wakes_nobody():
    process = Process(call("sh", "-c", "exec >&- 2>&-; sleep 0.3; exit 7"))
    steps = 1
    while (outcome := process.step(ready_of([process]))) is None:
        steps += 1
    assert outcome.returncode == 7
    assert steps <= 3, "one for each stream, and one for its end"


def test_a_hook_that_cannot_be_killed_is_not_waited_for(monkeypatch):
    process = Process(call("sleep", "600").copy(limit=0.05))
    with monkeypatch.context() as patch:
        patch.setattr("qrec.hooks.commands.kill_group", lambda pid: None)
        while (outcome := process.step(ready_of([process]))) is None:
            pass
    assert (outcome.returncode, outcome.limit) == (124, 0.05)
    os.kill(process.pid, signal.SIGKILL)
    os.waitpid(process.pid, 0)


def test_a_hook_that_cannot_be_started_leaves_nothing_open(monkeypatch):
    gc.collect()  # what tests before have left
    before = os.listdir("/proc/self/fd")
    with pytest.raises(CouldNotStart):
        Process(call("\0"))
    assert os.listdir("/proc/self/fd") == before
    with monkeypatch.context() as patch:
        patch.setattr(os, "pipe", lambda: os.open("/no/such/file", os.O_RDONLY))
        with pytest.raises(OSError, match="No such file"):
            Process(call("true"))
    assert os.listdir("/proc/self/fd") == before


def test_nobody_waits_for_a_hook(kind, hooks, qrec, tmp_path):
    os.mkfifo(tmp_path / "gate")
    hooks('[hooks.slow]\non = "ended"\nrun = "cat gate"')
    qrec("run", "true", check=True)  # which would not return, if it waited
    assert results() == []
    (tmp_path / "gate").write_text("open\n")
    assert [one["said"] for one in wait_for_results()] == ["open"]


def test_a_hook_that_hangs_holds_up_no_other(hooks, qrec, tmp_path, home):
    table = 'on = "complete"\nlimit = "60s"\n'
    dead, phone = "until [ -e gate ]; do sleep 0.01; done", "echo $QREC_NUMBER >> calls"
    hooks(f'[hooks.dead]\n{table}run = "{dead}"\n[hooks.phone]\n{table}run = "{phone}"')
    qrec("queue", "submit", "--sweep", "n=1..8", "--", "true", "{n}", check=True)
    qrec("queue", "run", check=True)
    wait_until(lambda: len(lines(tmp_path / "calls")) == 8)
    qrec("run", "true", check=True)  # whose note comes while the runner is busy
    wait_until(lambda: lines(tmp_path / "calls")[8:] == ["9"])
    (tmp_path / "gate").touch()
    wait_for_quiet(home)
    assert {len(task.data["hooks"]) for task in Qrec().find()} == {2}


def test_a_hook_that_fails(hooks, qrec):
    hooks('[hooks.a]\non = "complete"\nrun = "echo first; echo oh dear >&2; exit 7"')
    qrec("run", "true", check=True)
    assert [(one["code"], one["said"]) for one in wait_for_results()] == [(7, "oh dear")]


def test_a_hook_that_hangs_is_ended_with_all_it_has_started(hooks, qrec, tmp_path):
    hooks('[hooks.a]\non = "complete"\nlimit = "0.3s"\nrun = "trap : TERM INT; sleep 600 & wait; wait"')
    qrec("run", "true", check=True)
    (result,) = wait_for_results()
    assert (result["code"], result["said"]) == (124, "it did not end within 0.3 s")
    # by its name, since on a busy machine its time may be over before it has noted anything
    wait_until(lambda: not [one for one in processes_of(tmp_path) if is_called(one, "sleep")])


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_what_a_hook_leaves_behind_is_ended(hooks, qrec, tmp_path):
    hooks('[hooks.a]\non = "complete"\nrun = "sleep 600 & echo $! > pid; echo done"')
    qrec("run", "true", check=True)
    assert [one["said"] for one in wait_for_results()] == ["done"]
    wait_until(lambda: not is_alive(int((tmp_path / "pid").read_text())))


def test_nobody_waits_for_a_daemon(hooks, qrec, tmp_path):
    hooks(
        '[hooks.a]\non = "complete"\n'
        "run = \"setsid sh -c 'echo $$ > pid; exec sleep 600' & until [ -s pid ]; do :; done\""
    )
    qrec("run", "true", check=True)
    assert [one["code"] for one in wait_for_results()] == [0]
    assert is_alive(int((tmp_path / "pid").read_text()))


def test_a_flood_is_drained(hooks, qrec):
    hooks('[hooks.a]\non = "complete"\nrun = "yes | head -c 3000000; echo the end"')
    qrec("run", "true", check=True)
    assert [(one["code"], one["said"]) for one in wait_for_results()] == [(0, "the end")]


def test_an_endless_flood_is_ended(hooks, qrec):
    hooks('[hooks.a]\non = "complete"\nlimit = "0.5s"\nrun = "yes"')
    qrec("run", "true", check=True)
    assert [one["code"] for one in wait_for_results()] == [124]


def test_a_hook_that_closes_its_streams(hooks, qrec):
    hooks('[hooks.a]\non = "complete"\nrun = "echo bye; exec >&- 2>&- <&-; sleep 0.2; exit 3"')
    qrec("run", "true", check=True)
    assert [(one["code"], one["said"]) for one in wait_for_results()] == [(3, "bye")]


def test_what_a_hook_runs_fires_no_hooks(hooks, qrec, tmp_path, home):
    run = f"echo called >> calls; {sys.executable} -m qrec run -d false; {sys.executable} -m qrec rerun $QREC_UID"
    hooks(f'[hooks.a]\non = ["failed", "started"]\nlimit = "60s"\nrun = "{run}"')
    qrec("run", "sh", "-c", "exit 3")
    wait_for_results(2, "1")
    wait_until(lambda: all(task.status.is_final for task in Qrec().find()))
    wait_for_quiet(home)
    assert lines(tmp_path / "calls") == ["called", "called"]
    assert {task.data["by_hook"] for task in Qrec().find() if task.number > 1} == {"a"}


# Deaths


KILLED = """
import os, signal, sys
from qrec.api import Qrec
from qrec.firing import Firing

def die():
    os.kill(os.getpid(), signal.SIGKILL)

note = Firing.note
if sys.argv[1] == "noted":
    Firing.note = lambda self, *given: (note(self, *given), die())
else:
    Firing.committed = lambda self: self.fresh and die()
Qrec().run(["false"], show=False)
"""


def killed(where: str) -> None:
    """A recorder that dies when a hook was noted, before the change is seen, or right after it was committed."""
    done = subprocess.run([sys.executable, "-c", KILLED, where], capture_output=True)
    assert done.returncode == -signal.SIGKILL, done


def test_a_recorder_killed_right_after_the_commit(kind, hooks, qrec, tmp_path, home):
    hooks(f'[hooks.a]\non = "failed"\nrun = "echo called >> {tmp_path}/calls"')
    killed("committed")
    assert [task.status for task in Qrec().store.find()] == [Status.FAILED]
    assert lines(tmp_path / "calls") == []
    for _ in range(3):
        qrec("ls", check=True)
    assert events(wait_for_results()) == ["failed"]
    wait_for_quiet(home)
    assert lines(tmp_path / "calls") == ["called"]


def test_a_recorder_killed_right_before_the_commit(kind, hooks, qrec, home):
    hooks('[hooks.a]\non = ["failed", "lost"]\nrun = "true"')
    killed("noted")
    assert [task.status for task in Qrec().store.find()] == [Status.RUNNING]
    qrec("ls", check=True)
    wait_for_results()
    wait_for_quiet(home)
    assert events(results()) == ["lost"]


def test_a_runner_that_is_killed_lets_no_hook_happen_twice(kind, hooks, qrec, tmp_path, home):
    hooks('[hooks.a]\non = "failed"\nrun = "echo $PPID >> calls; sleep 600"')
    qrec("run", "false")
    (runner,) = wait_until(lambda: lines(tmp_path / "calls"))
    os.kill(int(runner), signal.SIGKILL)
    wait_until(lambda: not is_alive(int(runner)))
    qrec("ls", check=True)
    (result,) = wait_for_results()
    assert (result["code"], result["seconds"]) == (None, None)
    assert "runner was killed" in result["said"]
    wait_for_quiet(home)
    assert lines(tmp_path / "calls") == [runner]


@pytest.mark.parametrize(("days", "is_kept"), [(0, True), (8, False)])
def test_a_store_that_cannot_be_asked_is_not_waited_for_for_ever(home, days, is_kept):
    note = Note(uid=new_uid("shell"), attempt=1, event="failed", hook=NOTIFIER, store="gone:/x", at=timestamp())
    path = Path(folder_of(str(home)), name_of(note))
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(note.asdict()))
    at = time.time() - days * 86_400
    os.utime(path, (at, at))
    Runner(str(home)).run()
    assert path.exists() == is_kept


def test_a_lost_task_is_told_once_by_many_who_find_it(kind, hooks, qrec, start, tmp_path, home):
    hooks('[hooks.a]\non = "lost"\nrun = "echo called >> calls"')
    process = start("run", "sleep", "600")
    running = Query(statuses=frozenset({Status.RUNNING}))
    (task,) = wait_until(lambda: [task for task in Qrec().store.find(running) if task.pid])
    process.kill()
    process.wait()
    assert task.pid
    pid = task.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    for one in [start("ls") for _ in range(4)]:
        assert one.wait() == 0
    assert events(wait_for_results()) == ["lost"]
    wait_for_quiet(home)
    assert lines(tmp_path / "calls") == ["called"]


def test_a_record_that_is_taken_in_late(hooks, qrec, home):
    """The store was locked when the command ended."""
    hooks('[hooks.a]\non = "failed"\nrun = "true"')
    qrec("run", "true", check=True)
    db = sqlite3.connect(home / "qrec.db", isolation_level=None)
    db.execute("BEGIN EXCLUSIVE")
    qrec("run", "false")
    db.execute("ROLLBACK")
    db.close()
    qrec("ls", check=True)
    assert events(wait_for_results(1, "2")) == ["failed"]
    qrec("ls", check=True)
    wait_for_quiet(home)
    assert len(results("2")) == 1


# Other schedulers


class Cluster(Executor):
    """Stands for a scheduler: tells that what was submitted is over as soon as it is told to."""

    name = "cluster"
    over = False

    def refresh(self, tasks: Any) -> dict[str, Task]:
        changed = {}
        for task in tasks if self.over else ():
            with contextlib.suppress(StaleTask):
                was = (task.status, task.attempt)
                changed[task.uid] = self.store.swap(task.uid, was, Status.FAILED, returncode=1, ended=timestamp())
        return changed


@pytest.fixture
def submitted(kind: str, start: Callable[..., Any]) -> Callable[[float], list[Qrec]]:
    """Makes a task that was submitted so many seconds ago, and two who look after it."""

    def submitted(ago: float = 0.0) -> list[Qrec]:
        doors, at = [Qrec(), Qrec()], timestamp(time.time() - ago)
        uid, status = new_uid("cluster"), Status.SUBMITTED
        doors[0].store.add(Task(uid=uid, executor="cluster", argv=("x",), status=status, created=at, started=at))
        for door in doors:
            door.executors["cluster"] = Cluster(door.recorder)
        return doors

    return submitted


def test_a_job_of_another_scheduler_ends_once(hooks, home, submitted, monkeypatch):
    hooks('[hooks.a]\non = ["ended", "started"]\nrun = "true"')
    doors = submitted()
    assert events(wait_for_results()) == ["started"]
    tasks = doors[0].store.find()  # both have seen that it runs
    monkeypatch.setattr(Cluster, "over", True)
    for door in doors:
        door.refresh_tasks(tasks)
    assert events(wait_for_results(2)) == ["failed", "started"]
    wait_for_quiet(home)
    assert len(results()) == 2


def test_a_job_of_another_scheduler_is_long_once(hooks, home, submitted):
    hooks(
        '[hooks.a]\non = "long"\nlonger_than = "1h"\nrun = "true"\n'
        '[hooks.b]\non = "long"\nlonger_than = "3h"\nrun = "true"'
    )
    first, second = submitted(7200)
    for door in (first, second, first):
        door.refresh()
    wait_for_results()
    second.refresh()
    wait_for_quiet(home)
    assert events(results()) == ["long"]


# What runs for long


@pytest.mark.parametrize("how", [["run"], ["run", "-d"]])
def test_a_command_that_runs_for_long(kind, hooks, qrec, tmp_path, home, how):
    """It ends when both hooks have been called, and not before."""
    hooks(
        '[hooks.a]\non = "long"\nlonger_than = "0.2s"\nrun = "echo $QREC_STATUS; echo a >> calls"\n'
        '[hooks.b]\non = ["long", "complete"]\nlonger_than = "0.3s"\nrun = "echo b >> calls"\n'
        '[hooks.c]\non = "long"\nlonger_than = "1h"\nrun = "true"\n'
    )
    qrec(*how, "sh", "-c", "touch calls; until [ $(wc -l < calls) = 2 ]; do sleep 0.02; done", check=True)
    found = wait_for_results(3)
    wait_for_quiet(home)
    assert sorted((one["name"], one["event"]) for one in results()) == [("a", "long"), ("b", "complete"), ("b", "long")]
    assert [one["said"] for one in found if one["name"] == "a"] == ["running"]


def test_a_short_command_is_not_long(hooks, qrec, home):
    hooks('[hooks.a]\non = "long"\nlonger_than = "1h"\nrun = "true"')
    qrec("run", "sleep", "0.3", check=True)
    assert not (home / "hooks").exists()


# Queues


def test_the_jobs_of_a_queue(kind, hooks, qrec, tmp_path, home):
    hooks(
        '[hooks.a]\non = ["ended", "skipped"]\nrun = "echo $QREC_EVENT $QREC_COMMAND >> calls"\n'
        '[hooks.q]\non = "queue"\nrun = "echo $QREC_QUEUE $QREC_QUEUE_STATUS: $QREC_JOBS >> drained"\n'
    )
    qrec("queue", "submit", "q", "--sweep", "n=1..6", "--", "true", "{n}", check=True)
    qrec("queue", "submit", "q", "--name", "bad", "--", "false", check=True)
    qrec("queue", "submit", "q", "--depends", "bad", "--sweep", "n=1..3", "--", "echo", "{n}", check=True)
    qrec("queue", "run", "q", "--workers", "3")
    wait_until(lambda: len(lines(tmp_path / "calls")) == 10)
    wait_for_quiet(home)
    expected = [f"complete true {n}" for n in range(1, 7)] + ["failed false"] + [f"skipped echo {n}" for n in (1, 2, 3)]
    assert sorted(lines(tmp_path / "calls")) == sorted(expected)
    assert lines(tmp_path / "drained") == ["q failed: 6 complete, 1 failed, 3 skipped"]
    qrec("queue", "retry", "q", check=True)
    qrec("queue", "run", "q")
    wait_until(lambda: len(lines(tmp_path / "drained")) == 2)
    wait_for_quiet(home)
    assert lines(tmp_path / "drained") == ["q failed: 6 complete, 1 failed, 3 skipped"] * 2
    qrec("queue", "submit", "good", "--", "true", check=True)
    qrec("queue", "run", "good", check=True)
    wait_until(lambda: len(lines(tmp_path / "drained")) == 3)
    assert lines(tmp_path / "drained")[-1] == "good complete: 1 complete"


def test_a_job_that_is_tried_again_has_not_ended_its_queue(kind, hooks, qrec, tmp_path, home):
    hooks(
        '[hooks.a]\non = "failed"\nrun = "echo $QREC_ATTEMPT >> calls"\n'
        '[hooks.q]\non = "queue"\nrun = "echo $QREC_ATTEMPT >> drained"\n'
    )
    qrec("queue", "submit", "--retries", "2", "--", "false", check=True)
    qrec("queue", "run")
    wait_until(lambda: len(lines(tmp_path / "calls")) == 3 and lines(tmp_path / "drained"))
    wait_for_quiet(home)
    assert sorted(lines(tmp_path / "calls")) == ["1", "2", "3"]
    assert lines(tmp_path / "drained") == ["3"]
    assert sorted(one["attempt"] for one in results() if one["event"] == "failed") == [1, 2, 3]


def test_a_job_that_runs_for_long(kind, hooks, qrec, home):
    hooks('[hooks.a]\non = "long"\nlonger_than = "0.2s"\nrun = "echo a >> calls"')
    qrec("queue", "submit", "--", "until [ -s calls ]; do sleep 0.02; done", check=True)
    qrec("queue", "run", check=True)
    wait_for_results()
    wait_for_quiet(home)
    assert events(results()) == ["long"]


def test_what_a_hook_notes_while_a_job_runs_is_kept(kind, hooks, qrec):
    """The worker, too, writes the notes of its jobs."""
    hooks('[hooks.a]\non = ["started", "complete"]\nrun = "true"')
    recorded = f"{sys.executable} -m qrec get $QREC_TASK | grep -q '\"hooks\":'"  # the command's own are escaped
    qrec("queue", "submit", "--", f"until {recorded}; do sleep 0.05; done", check=True)
    qrec("queue", "run", check=True)
    assert events(wait_for_results(2)) == ["complete", "started"]


# Tasks that come from elsewhere


def test_imports_and_copies_fire_nothing(hooks, qrec, tmp_path):
    qrec("run", "false")
    (tmp_path / "tasks").write_text(qrec("export", "jsonl", check=True).out)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.toml").write_text('[hooks.a]\non = ["ended", "started"]\nrun = "true"')
    qrec("--home", other, "import", "jsonl", "tasks", check=True)
    qrec("--home", other, "store", "copy", "sqlite", "filesystem", check=True)
    assert len(qrec("--home", other, "ls", "--json").json) == 1
    assert not (other / "hooks").exists()


# Before a command begins


def test_a_command_that_is_refused(kind, hooks, qrec, tmp_path):
    hooks(
        '[hooks.guard]\non = "before"\ncommand = "^touch"\nlimit = "60s"\n'
        'run = "cat >&2; echo >&2; echo not today >&2; exit 3"'
    )
    done = qrec("-q", "run", "touch", "file")
    assert (done.returncode, done.out) == (126, "")
    assert done.err == "qrec: refused by hook guard: not today\n"
    assert not (tmp_path / "file").exists()
    task = Qrec().store.resolve(None)
    assert (task.status, task.returncode, task.pid) == (Status.FAILED, 126, None)
    assert task.data["reason"] == "refused by hook guard: not today"
    assert qrec("run", "touch", "file").err.count("refused by hook guard: not today") == 1
    assert qrec("run", "echo", "fine", check=True).out == "fine\n"
    assert qrec("run", "-d", "touch", "file").returncode == 126
    assert not (tmp_path / "file").exists()


FACTS = """
[hooks.weather]
on = "before"
limit = "60s"
run = "cat facts"
[hooks.words]
on = "before"
limit = "60s"
run = "echo this is no JSON"
"""


def test_facts_that_a_hook_adds(kind, hooks, qrec, tmp_path):
    hooks(FACTS)
    (tmp_path / "facts").write_text('{"sky": "blue"}\n')
    qrec("run", "true", check=True)
    facts = Qrec().store.resolve(None).facts
    assert facts["weather"] == {"sky": "blue"}
    assert "words" not in facts
    assert len(facts) > 1  # those that everybody has
    (tmp_path / "facts").write_text('{"sky": "grey"}\n')
    qrec("rerun", check=True)
    assert Qrec().store.resolve(None).facts["weather"] == {"sky": "grey"}
    qrec("run", "-d", "true", check=True)
    assert Qrec().store.resolve(None).facts["weather"] == {"sky": "grey"}


@pytest.mark.parametrize(
    ("run", "words"),
    [
        ("sleep 600", "it did not end within 0.2 s"),
        ("there-is-no-such-program", "not found"),
        ("kill -9 $$", "exit code 137"),
    ],
)
def test_a_broken_hook_refuses_nothing(hooks, qrec, run, words):
    limit = "0.2s" if "sleep" in run else "60s"
    hooks(f'[hooks.guard]\non = "before"\nlimit = "{limit}"\nrun = "{run}"')
    done = qrec("run", "echo", "fine", check=True)
    assert done.out == "fine\n"
    assert "hook guard was passed over: " in done.err
    assert words in done.err


def test_a_rerun_that_is_refused(hooks, qrec, tmp_path):
    hooks('[hooks.guard]\non = "before"\nlimit = "60s"\nrun = "[ ! -e closed ]"')
    qrec("run", "true", check=True)
    (tmp_path / "closed").touch()
    done = qrec("rerun")
    assert (done.returncode, done.err) == (126, "qrec: refused by hook guard: exit code 1\n")
    assert Qrec().store.resolve(None).attempt == 1


def test_a_job_that_is_refused(kind, hooks, qrec, tmp_path):
    hooks('[hooks.guard]\non = "before"\ncommand = "^touch"\nlimit = "60s"\nrun = "exit 1"' + FACTS)
    (tmp_path / "facts").write_text('{"sky": "blue"}\n')
    qrec("queue", "submit", "--name", "no", "--", "touch", "file", check=True)
    qrec("queue", "submit", "--name", "yes", "--", "echo", "fine", check=True)
    qrec("queue", "run")
    no, yes = Qrec().store.find()
    assert (no.status, no.returncode) == (Status.FAILED, 126)
    assert no.data["reason"] == "refused by hook guard: exit code 1"
    assert (yes.status, yes.facts["weather"]) == (Status.COMPLETE, {"sky": "blue"})
    assert Qrec().output(yes).read("stdout") == b"fine\n"
    assert not (tmp_path / "file").exists()


# Hooks in Python

LAMP = """
import sys

from qrec.errors import Refused
from qrec.hooks import Hook

class Lamp(Hook):
    name = "lamp"

    def before(self, task):
        if "dark" in task.command:
            raise Refused("it is dark")
        if "slip" in task.command:
            return undefined
        if "leave" in task.command:
            sys.exit("no lamp")
        return {"lamp": self.settings["options"]["which"]}

    def failed(self, task):
        print(f"{self.event} {task.number} {self.settings['options']['which']} {self.lines}")

    def ended(self, task):
        print("ended after all")

    def cancelled(self, task):
        raise ValueError("oh")
"""


def test_a_hook_that_is_a_class(site, hooks, qrec):
    install(site, "lamp", LAMP, HOOKS)
    table = 'hook = "lamp"\noptions = {which = "red"}\n'
    hooks(f'[hooks.a]\non = ["ended", "started"]\n{table}[hooks.b]\non = "before"\nlimit = "60s"\n{table}')
    qrec("run", "sh", "-c", "echo x; exit 1")
    found = {one["event"]: one for one in wait_for_results(2)}
    assert (found["failed"]["code"], found["failed"]["said"]) == (0, "ended after all")
    assert (found["started"]["code"], found["started"]["said"]) == (0, "")
    assert Qrec().store.resolve(None).facts["b"] == {"lamp": "red"}
    assert qrec("hooks", "test", "a", "1").err.splitlines()[:2] == ["failed 1 red ['x']", "ended after all"]
    refused = qrec("-q", "run", "echo", "dark")
    assert (refused.returncode, refused.err) == (126, "qrec: refused by hook b: it is dark\n")
    slipped = qrec("run", "echo", "slip")
    assert (slipped.returncode, slipped.out) == (0, "slip\n")
    assert "hook b was passed over: NameError: name 'undefined' is not defined" in slipped.err
    left = qrec("run", "echo", "leave")
    assert (left.returncode, left.out) == (0, "leave\n")
    assert "hook b was passed over: SystemExit: no lamp" in left.err
    failed = qrec("hooks", "test", "a", "1", "--event", "cancelled")
    assert failed.returncode == 1
    assert "ValueError: oh" in failed.err


def test_a_hook_that_is_not_installed(hooks, qrec):
    hooks('[hooks.a]\non = "failed"\nhook = "lamb"')
    qrec("run", "false")
    (result,) = wait_for_results()
    assert (result["code"], "no plug-in has a hook 'lamb'" in result["said"]) == (125, True)
    hooks('[hooks.a]\non = "failed"\nhook = "dekstop"')
    assert "no plug-in has a hook 'dekstop'; did you mean 'desktop'?" in qrec("hooks", "test", "a").err


def test_a_hook_whose_plug_in_is_broken(site, hooks, qrec):
    install(site, "lamp", "import no_such_module", HOOKS)
    hooks('[hooks.a]\non = "failed"\nhook = "lamp"')
    qrec("run", "false")
    (result,) = wait_for_results()
    assert result["code"] == 125
    assert result["said"].startswith("plug-in lamp (qrec_lamp 1.0) is left out: ModuleNotFoundError")


# Messages


@pytest.fixture
def web() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    """A web server on this machine: its address, and what was sent to it."""
    got: list[tuple[str, bytes]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if "refuse" not in self.path else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}", got
        server.shutdown()


def test_a_webhook(hooks, qrec, web):
    address, got = web
    hooks(
        f'[hooks.a]\non = "failed"\nwebhook = "http://{address}/runs?key=1"\n'
        f'[hooks.b]\non = "failed"\nwebhook = "ntfy://{address}/topic"\n'
        f'[hooks.c]\non = "failed"\nwebhook = "http://{address}/refuse"\n'
    )
    qrec("run", "-t", "ci", "sh", "-c", "echo the last line; exit 5")
    found = {one["name"]: one for one in wait_for_results(3)}
    assert (found["a"]["code"], found["b"]["code"], found["c"]["code"]) == (0, 0, 1)
    assert "500" in found["c"]["said"]
    sent = {path.partition("?")[0]: (path, json.loads(body)) for path, body in got}
    path, body = sent["/runs"]
    assert path == "/runs?key=1"
    task = Qrec().store.resolve(None)
    assert (body["uid"], body["event"], body["status"], body["returncode"]) == (task.uid, "failed", "failed", "5")
    assert (body["command"], body["tags"], body["hook"]) == (task.command, "ci", "a")
    assert "failed after" in body["title"]
    assert "the last line" in body["message"]
    assert sent["/"][1]["topic"] == "topic"


def test_a_webhook_about_a_queue(hooks, qrec, web):
    address, got = web
    hooks(f'[hooks.a]\non = "queue"\nwebhook = "http://{address}/runs"\n')
    qrec("queue", "submit", "night", "--sweep", "code=0,1,0", "--", "sh", "-c", "exit {code}", check=True)
    qrec("queue", "run", "night")
    wait_until(lambda: got)
    body = json.loads(got[0][1])
    assert body["title"] == "queue night has ended: 2 complete, 1 failed"
    assert (body["event"], body["queue"], body["jobs"]) == ("queue", "night", "2 complete, 1 failed")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_addresses_that_apprise_knows():
    assert is_known("https://ntfy.sh/mytopic")
    assert is_known("https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7F")
    assert not is_known("https://example.org/hook")


class Mailbox(socketserver.StreamRequestHandler):
    """A mail server's part of the talk, as RFC 5321 has it."""

    got: ClassVar[list[bytes]] = []

    def handle(self) -> None:
        self.say("220 here")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.say("354 go on")
                Mailbox.got.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.say("221 bye" if word == b"QUIT" else "250 fine")

    def say(self, words: str) -> None:
        self.wfile.write(words.encode() + b"\r\n")


def test_a_mail(hooks, qrec):
    Mailbox.got.clear()
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mailbox) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"127.0.0.1:{server.server_address[1]}"
        hooks(
            f'[hooks.a]\non = "failed"\nmail = "me@example.org"\nsender = "box@example.org"\nserver = "{place}"\n'
            '[hooks.b]\non = "failed"\nmail = "me@example.org"\nserver = "gopher://x"\n'
        )
        qrec("run", "sh", "-c", "echo the last line; exit 5")
        found = {one["name"]: one for one in wait_for_results(2)}
        server.shutdown()
    assert (found["a"]["code"], found["b"]["code"]) == (0, 1), found
    assert "is no mail server" in found["b"]["said"]
    (mail,) = [email.message_from_bytes(raw, policy=email.policy.default) for raw in Mailbox.got]
    assert "me@example.org" in mail["To"]
    assert "box@example.org" in mail["From"]
    assert "failed after" in mail["Subject"]
    assert "the last line" in mail.as_string()


NOTIFY_SEND = """#!/bin/sh
printf '%s\\n' "$@" >> {path}
"""


@pytest.fixture
def desktop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for notify-send on PATH, where no bus of a desktop answers; returns the file with its words."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "notify-send"
    program.write_text(NOTIFY_SEND.format(path=tmp_path / "shown"))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", "unix:path=/nonexistent")
    return tmp_path / "shown"


@pytest.fixture
def no_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing tells of one."""
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "DBUS_SESSION_BUS_ADDRESS"):
        monkeypatch.delenv(name, raising=False)


def test_a_desktop(hooks, qrec, desktop):
    hooks('[hooks.a]\non = "failed"\ndesktop = true')
    qrec("run", "sh", "-c", "echo the last line; exit 5")
    assert [one["code"] for one in wait_for_results()] == [0]
    shown = desktop.read_text()
    assert "failed after" in shown
    assert "the last line" in shown


def test_where_there_is_no_desktop(hooks, qrec, no_desktop):
    hooks('[hooks.a]\non = "failed"\ndesktop = true')
    qrec("run", "false")
    (result,) = wait_for_results()
    assert (result["code"], "no desktop" in result["said"]) == (1, True)


# run --notify


def test_notify_on_the_desktop(hooks, qrec, desktop):
    qrec("run", "--notify", "true", check=True)
    (result,) = wait_for_results()
    assert (result["name"], result["code"]) == ("--notify", 0)
    assert "true: complete after" in desktop.read_text()


def test_notify_at_an_address(kind, hooks, qrec, web):
    address, got = web
    hooks(f'notify = ["json://{address}/"]')
    qrec("run", "--notify", "false")
    wait_for_results()
    qrec("rerun", "--notify")
    wait_for_results(2)
    qrec("rerun")
    assert [json.loads(body)["title"].startswith("false: failed after") for _, body in got] == [True, True]
    assert len(results()) == 2


def test_notify_of_a_job(kind, hooks, qrec, web):
    address, _ = web
    hooks(f'notify = ["json://{address}/"]')
    qrec("queue", "submit", "--notify", "--", "true", check=True)
    qrec("queue", "submit", "--", "true", check=True)
    qrec("queue", "run", check=True)
    assert [one["name"] for one in wait_for_results(1, "1")] == ["--notify"]
    assert results("2") == []


def test_notify_in_the_terminal(hooks, start, no_desktop):
    master, slave = os.openpty()
    tty.setraw(slave)
    try:
        process = start("-q", "run", "--notify", "-d", "sh", "-c", "exit 3", stdin=slave, stdout=slave, stderr=slave)
        seen = b""
        while b"\a" not in seen or not seen.endswith(b"\n"):
            seen += os.read(master, 1000)
        assert process.wait() == 0
    finally:
        os.close(slave)
        os.close(master)
    assert b"\aqrec: task 1: sh -c 'exit 3': failed after" in seen
    assert [one["code"] for one in wait_for_results()] == [0]


# qrec hooks


def test_the_list_of_hooks(hooks, qrec):
    hooks(
        '[hooks.phone]\non = ["failed", "lost"]\ntag = "train"\nlonger_than = "10m"\n'
        'webhook = "ntfy://me:secret@example.org/runs"\n[hooks.bad]\non = "x"\nrun = "true"'
    )
    done = qrec("hooks", "list", check=True)
    for words in ("phone", "failed, lost", "longer_than 600s", "tag train", "ntfy://...@example.org/runs"):
        assert words in done.out
    assert "secret" not in done.out
    assert "hook bad is left out" in done.err
    (phone,) = qrec("hooks", "list", "--json").json
    assert (phone["name"], phone["on"], phone["deed"]) == ("phone", ["failed", "lost"], "webhook")


def test_a_list_that_is_empty_or_of_many_lines(hooks, qrec, home):
    assert "there is no hook yet; `qrec hooks --help` shows one" in qrec("hooks", "list", check=True).err
    assert qrec("hooks", "list", "--json").json == []
    hooks('[hooks.a]\non = "failed"\nrun = """\necho one\necho two"""')
    assert qrec("hooks", "list", check=True).out == "a           failed              run echo one; echo two\n"


def test_a_table_whose_name_has_a_slip(hooks, qrec, home):
    hooks('[hook.a]\non = "failed"\nrun = "true"')
    assert qrec("hooks", "list", check=True).err == "qrec: there is no table [hook]; did you mean [hooks]?\n"
    qrec("run", "false")
    hooks("[hooks.a")
    assert "is not valid TOML" in qrec("hooks", "test", "a").err


def test_a_hook_is_tried(kind, hooks, qrec, home):
    hooks(
        '[hooks.a]\non = "failed"\ntag = "x"\nrun = "echo $QREC_EVENT $QREC_NUMBER; echo more >&2; exit 3"\n'
        '[hooks.bad]\non = "x"\nrun = "true"'
    )
    qrec("run", "false")
    done = qrec("hooks", "test", "a")
    assert done.returncode == 3
    assert done.out.startswith("failed 1\nhook a: exit code 3 after 0.")
    assert done.err.startswith("more\n")
    assert qrec("hooks", "test", "a", "1", "--event", "lost").out.startswith("lost 1\n")
    about = json.loads(qrec("hooks", "test", "a", "1", "--json").out)
    assert (about["code"], about["said"]) == (3, "more")
    assert results() == []
    assert not (home / "hooks").exists()
    assert "no hook is called 'aa'; did you mean 'a'?" in qrec("hooks", "test", "aa").err
    assert "hook bad is left out" in qrec("hooks", "test", "bad").err
    assert qrec("hooks", "test", "a", "--event", "los").returncode == 2


# Cost


def test_without_hooks_nothing_of_them_is_loaded(home):
    modules("run", "true")
    found = modules("run", "true")
    assert [name for name in found if "hook" in name or "firing" in name] == []


def test_many_ends_at_once_call_each_hook_once(hooks, qrec, home, tmp_path):
    hooks('[hooks.a]\non = "complete"\nrun = "echo $QREC_NUMBER >> calls"')
    qrec("queue", "submit", "--sweep", "n=1..60", "--", "true", "{n}", check=True)
    qrec("queue", "run", "--workers", "4", check=True)
    wait_until(lambda: len(lines(tmp_path / "calls")) >= 60, timeout=60)
    wait_for_quiet(home)
    assert sorted(map(int, lines(tmp_path / "calls"))) == list(range(1, 61))
    assert all(len(task.data["hooks"]) == 1 for task in Qrec().store.find())
