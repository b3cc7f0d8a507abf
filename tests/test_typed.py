"""How what shells have noted becomes tasks: once, whole, and whatever happens on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from qrec import typed as taking
from qrec.api import Qrec, Query
from qrec.executors.typed import TypedExecutor
from qrec.process import boot_id, pid_namespace, start_ticks
from qrec.task import Status, Task
from qrec.typed import escaped, fields_of, plain
from tests.helpers import processes_of
from tests.test_look_back import add, call, one_line

NOW = 1_795_000_000_000_000


class Noted:
    """A file as a shell writes it."""

    def __init__(self, home: Path, pid: int | None = None, **about: object) -> None:
        self.pid = os.getpid() if pid is None else pid
        known = {
            "mark": "qrec-typed", "version": 1, "taken": "0000000000", "kind": "bash", "host": os.uname().nodename,
            "pid": self.pid, "ticks": start_ticks(self.pid) or 1, "boot": boot_id(), "start": 17,
            "namespace": pid_namespace(), "user": "ada", "store": Qrec(str(home)).store.place,
        } | about  # fmt: skip
        (home / "typed").mkdir(mode=0o700, parents=True, exist_ok=True)
        self.path = home / "typed" / f"{known['host']}.{self.pid}.{known['start']}"
        self.path.write_bytes("\t".join(str(value) for value in (*known.values(), ".")).encode() + b"\n")

    def write(self, *lines: str) -> None:
        """Lines of fields, `S 1 COMMAND` and so on."""
        with open(self.path, "ab") as file:
            for line in lines:
                file.write(f"\n{line}\t.\n".encode())

    def start(self, number: int, command: str, folder: str = "/a") -> None:
        self.write(f"S\t{number}\t{NOW + number * 10}\t{escaped(folder)}\t{escaped(command)}")

    def end(self, number: int, code: int = 0) -> None:
        self.write(f"E\t{number}\t{NOW + number * 10 + 5}\t{code}")

    def done(self, number: int, command: str, code: int = 0) -> None:
        self.start(number, command)
        self.end(number, code)

    @property
    def left(self) -> bytes:
        """What it still tells."""
        return b"\n".join(line for line in self.path.read_bytes().split(b"\n")[1:] if line)


@pytest.fixture
def noted(home: Path, kind: str) -> Noted:
    """The file of a shell that runs: this process."""
    return Noted(home)


def gone(home: Path, **about: object) -> Noted:
    """The file of a shell that is gone."""
    return Noted(home, **{"ticks": 1, "start": 18, **about})  # type: ignore[arg-type]  # none of them is the pid


def tasks() -> list[Task]:
    return Qrec().find(Query(executor="typed"), None)


def lines() -> list[str]:
    return [task.command for task in tasks()]


# Fields


@pytest.mark.parametrize("text", ["", "a b", "a\\nb", "a\nb\tc\\", "\\\\n", "\0\\0", "\udcff\\t", "ä\r\x85 "])
def test_a_field_stands_for_its_text(text):
    assert plain(escaped(text)) == text
    assert fields_of(os.fsencode(f"{escaped(text)}\t.")) == [text]
    assert not set(escaped(text)) & set("\n\t\0")


# What becomes of them


def test_a_command(noted):
    noted.start(1, "make 'a\nb'", "/a\tb")
    noted.end(1, 2)
    (task,) = tasks()
    assert (task.argv, task.pwd, task.user, task.host) == (("make 'a\nb'",), "/a\tb", "ada", os.uname().nodename)
    assert (task.status, task.returncode, task.seconds, task.turn) == (Status.FAILED, 2, 5e-6, 0)
    assert task.data == {"shell": "bash", "typed": {"session": noted.path.name, "line": 1}, "reason": "exit code 2"}
    assert noted.left == b""


def test_taken_in_once_whoever_looks(noted):
    noted.done(1, "one")
    before = noted.path.read_bytes()
    (first,) = tasks()
    noted.path.write_bytes(before)
    noted.done(2, "two")
    assert [task.command for task in tasks() if task.uid == first.uid] == ["one"]
    assert lines() == ["one", "two"]


def test_the_newest_is_still_what_was_started_with_qrec(noted):
    run = add(Qrec().store, "make")
    noted.done(1, "ls")
    assert len(Qrec().find()) == 2
    assert Qrec().get().uid == run.uid
    assert [row["command"] for row in call("ls", "typed", "--json").json] == ["ls"]
    assert [row["command"] for row in call("search", "-e", "typed", "ls", "--json").json] == ["ls"]


def test_one_that_goes_on_waits_in_the_file(noted):
    noted.done(1, "one")
    noted.start(2, "sleep 60")
    assert lines() == ["one"]
    assert noted.left.count(b"\n") == 0
    noted.end(2)
    noted.start(3, "three")
    assert lines() == ["one", "sleep 60"]
    noted.write("A\t3")
    assert (lines(), noted.left) == (["one", "sleep 60"], b"")


def test_what_was_said_last_counts(noted):
    noted.start(1, "for i in 1 2")
    noted.start(1, "for i in 1 2\ndo true; done")
    noted.end(1)
    assert lines() == ["for i in 1 2\ndo true; done"]


def test_a_shell_that_is_gone(home, kind):
    noted = gone(home)
    noted.done(1, "one")
    noted.start(2, "sleep 60")
    one, lost = tasks()
    assert (one.status, lost.status, lost.returncode, lost.ended) == (Status.COMPLETE, Status.LOST, None, None)
    assert not noted.path.exists()


@pytest.mark.parametrize("line", ["exit", "exit 3", "logout"])
def test_the_end_of_a_shell_is_no_command(home, line):
    noted = gone(home)
    noted.start(1, line)
    assert lines() == []
    assert not noted.path.exists()


def test_an_end_that_could_not_be_written(noted):
    noted.start(1, "one")
    noted.start(2, "two")
    noted.end(2)
    assert [(task.command, task.status) for task in tasks()] == [("one", Status.LOST), ("two", Status.COMPLETE)]


def test_lines_that_are_not_whole_yet_wait(noted):
    noted.done(1, "one")
    with open(noted.path, "ab") as file:
        file.write(b"\nS\t2\t1795000000000000\t/a\ttw")
        file.flush()
        assert lines() == ["one"]
        file.write(b"o\t.\n\nE\t2\t1795000000000009\t0\t.\n")
    assert lines() == ["one", "two"]


def test_what_tells_of_nothing_is_set_aside(noted, home):
    noted.done(1, "one")
    noted.write("S\t2\t17x\t/a\ttwo --password hunter2hunter2", "nonsense", "E\t1\t5", "S\t-1\t5\t/a\tthree")
    with open(noted.path, "ab") as file:
        file.write(b"\nS\t3\t1795000000000000\t/a\tcut off\n\xff\xfe\n")
    noted.done(4, "four")
    result = call("ls", "typed", "--json")
    assert [row["command"] for row in result.json] == ["one", "four"]
    bad = Path(f"{noted.path}.bad")
    assert result.err.count("\n") == 1
    assert f"6 lines are left out, and kept in {bad}" in result.err
    assert bad.stat().st_mode & 0o777 == 0o600
    assert bad.read_bytes().count(b"\n") == 6
    assert b"hunter2" not in bad.read_bytes()
    assert (call("ls", "typed").err, noted.left) == ("", b""), "it is told once"


def test_other_things_in_the_folder_are_left_alone(noted, home, tmp_path):
    (tmp_path / "secret").write_text("qrec-typed\t1")
    (home / "typed" / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(home / "typed" / "pipe")
    (home / "typed" / "empty").touch()
    (home / "typed" / "folder").mkdir()
    Noted(home, version=2, start=20)
    (home / "typed" / "text").write_text("hello\n")
    noted.done(1, "one")
    result = call("ls", "typed", "--json")
    assert [row["command"] for row in result.json] == ["one"]
    assert sorted(line.split(" is ")[0].rpartition("/")[2] for line in result.err.splitlines()) == sorted(
        [f"{os.uname().nodename}.{os.getpid()}.20", "text"]
    )
    assert len(os.listdir(home / "typed")) == 7


def test_what_is_for_another_store_waits_for_it(home):
    noted = Noted(home, store=Qrec(str(home), "filesystem").store.place)
    noted.done(1, "one")
    assert lines() == []
    assert [task.command for task in Qrec(store="filesystem").find()] == ["one"]


def test_shells_elsewhere(home):
    """Their lines are taken in; their files go when nothing has come for a week."""
    one, other = Noted(home, host="elsewhere", start=1), Noted(home, namespace="pid:[1]", start=2)
    one.done(1, "one")
    other.done(1, "two")
    assert sorted(lines()) == ["one", "two"]
    for noted in (one, other):
        assert noted.path.exists()
        os.utime(noted.path, (0, 0))
    assert sorted(lines()) == ["one", "two"]
    assert not one.path.exists()
    assert not other.path.exists()


def test_secrets_and_patterns(noted, monkeypatch):
    monkeypatch.setenv("QREC_SHELL_IGNORE", "^vault")
    noted.done(1, "curl --password hunter2hunter2 x")
    noted.done(2, "vault x")
    noted.done(3, " hidden")
    (task,) = tasks()
    assert (task.command, task.data["redacted"]) == ("curl --password [redacted] x", 1)
    assert b"hunter2" not in noted.path.read_bytes()


# Interruptions


@pytest.mark.parametrize("place", ["add_all", "wipe", "pwrite 1", "pwrite 2"])
def test_a_kill_at_any_point_adds_nothing_twice(noted, monkeypatch, place):
    for number in range(1, 6):
        noted.done(number, f"true {number}")
    noted.start(6, "sleep 60")

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        if place == "add_all":
            patch.setattr(type(Qrec().store), "add_all", kill)
        elif place == "wipe":
            patch.setattr(taking.File, "wipe", kill)
        else:
            calls = iter(range(int(place[-1]) - 1))
            real = os.pwrite
            patch.setattr(os, "pwrite", lambda *given: real(*given) if next(calls, None) is not None else kill())
        with pytest.raises(Killed):
            tasks()
    assert lines() == [f"true {number}" for number in range(1, 6)]
    noted.end(6)
    assert lines()[5:] == ["sleep 60"]
    assert len(lines()) == 6


def test_a_store_that_cannot_be_written_now(noted, monkeypatch):
    from qrec.errors import StoreBusy

    noted.done(1, "one")

    def busy(*_: object) -> int:
        raise StoreBusy("somebody writes")

    with monkeypatch.context() as patch:
        patch.setattr(type(Qrec().store), "add_all", busy)
        assert lines() == []
    assert lines() == ["one"]


WRITER = """
import sys, time
path, count = sys.argv[1], int(sys.argv[2])
for n in range(1, count + 1):
    for line in (f"S\\t{n}\\t{1795 * 10**12 + n}\\t/\\ttrue {n}\\t.", f"E\\t{n}\\t{1795 * 10**12 + n + 1}\\t0\\t."):
        with open(path, "ab", buffering=0) as file:
            half = len(line) // 2
            file.write(b"\\n" + line[:half].encode())
            file.write(line[half:].encode() + b"\\n")
"""


def test_a_shell_that_appends_while_many_take_in(noted):
    """Each line is written in two halves; nothing is lost, and nothing comes twice."""
    count = 1500
    writer = subprocess.Popen([sys.executable, "-c", WRITER, noted.path, str(count)])
    failed: list[BaseException] = []

    def look() -> None:
        try:
            while writer.poll() is None:
                Qrec().refresh()
        except BaseException as error:
            failed.append(error)

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert (writer.wait(), failed) == (0, [])
    assert sorted(int(line.split()[1]) for line in lines()) == list(range(1, count + 1))
    assert noted.left == b""
    assert list(noted.path.parent.glob("*.bad")) == []


# Acting on them


def test_it_can_be_run_again(noted, qrec, tmp_path):
    noted.start(1, 'echo "$((40 + 2))" $0', str(tmp_path))
    noted.end(1)
    (task,) = tasks()
    result = qrec("rerun", task.uid, check=True)
    assert result.out == "42 bash\n"
    (again,) = tasks()
    assert (again.attempt, again.status, again.pwd) == (2, Status.COMPLETE, str(tmp_path))
    assert qrec("log", task.uid).out == "42 bash\n"
    assert qrec("get", "--attempt", "1", task.uid).json["data"]["typed"]["line"] == 1


def test_nothing_new_begins_as_typed(qrec):
    assert "leave out `-e typed`" in one_line(qrec("run", "-e", "typed", "true"), 1)
    assert TypedExecutor.pattern == ""


def test_run_takes_in_a_little(qrec, home, noted):
    noted.done(1, "one")
    qrec("-q", "run", "true", check=True)
    assert noted.left == b""
    for number in range(2, 600):
        noted.done(number, "true")
    left = noted.left
    qrec("-q", "run", "true", check=True)
    assert noted.left == left, "that is for those who look"
    assert len(tasks()) == 599
    assert noted.left == b""


def test_a_killed_take_in_leaves_all(home, noted, start):
    """A real kill, wherever it comes."""
    for number in range(1, 4000):
        noted.done(number, f"true {number}")
    process = start("ls", "-n", "1")
    deadline = time.monotonic() + 0.3
    while time.monotonic() < deadline and process.poll() is None and b"\n\n\n\n" not in noted.path.read_bytes()[:2000]:
        pass
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(tasks()) == 3999
    assert len({task.command for task in tasks()}) == 3999
    assert not [one for one in processes_of(home) if one.pid == process.pid]
