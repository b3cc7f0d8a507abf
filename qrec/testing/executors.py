"""What every executor promises.  Subclass `ExecutorContract`, name your class, and run pytest.

    class TestMyExecutor(ExecutorContract):
        @pytest.fixture
        def kind(self):
            return MyExecutor

        @pytest.fixture
        def command(self):  # the words that have it run a line of sh
            return lambda line: ("mine", "--here", "sh", "-c", line)

The class must be installed under its name (`pip install -e .`), since it is also used by processes of qrec's own.
Commands have to run on this machine: tests look at files that they write.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from qrec.api import Qrec
from qrec.errors import NoSuchAction, QrecError, Refused
from qrec.executors.base import Action, Executor, Option
from qrec.registry import EXECUTORS, load_value
from qrec.task import UNFINISHED, Status, Task
from qrec.testing.processes import wait_until
from qrec.testing.samples import WEIRD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Command = Callable[[str], Sequence[str]]

#: What a pattern is tried on in a process of its own, since nothing can stop a match that takes for ever.
MATCH = """
import re, sys
pattern = re.compile(sys.argv[1])
for line in sys.stdin.read().split("\\0"):
    pattern.search(line)
"""
LONGEST = 30  #: seconds that a pattern may take for what takes a good one some milliseconds
#: A word that every redactor takes for a secret, in a line of sh that does not print it.
SECRET = "tomato7Tomato7tomato"
KEEPS_SECRET = f"test --password={SECRET} = --password={SECRET[:6]}''{SECRET[6:]} && echo known"


class ExecutorContract:
    """Give `kind` and `command`; everything else follows."""

    #: Whether stdout and stderr are kept apart, and byte by byte; not so where a terminal lies between.
    keeps_apart: ClassVar[bool] = True
    #: Whether `run` returns when the command has ended, unless it is to be detached.
    waits: ClassVar[bool] = True
    #: Actions that are not tried: they need a person, or begin something.
    untried: ClassVar[frozenset[str]] = frozenset({"attach"})
    #: Names of folders that its program does not bear.
    unbearable: ClassVar[frozenset[str]] = frozenset()

    @pytest.fixture
    def kind(self) -> type[Executor]:
        """The class."""
        raise NotImplementedError

    @pytest.fixture
    def command(self) -> Command:
        """What makes the words that have the executor run a line of sh."""
        return lambda line: ("sh", "-c", line)

    @pytest.fixture
    def claimed(self, kind: type[Executor], command: Command) -> list[str]:
        """Command lines that the pattern takes, if there is one."""
        return [shlex.join(command("true"))] if kind.pattern else []

    @pytest.fixture
    def unclaimed(self) -> list[str]:
        """Command lines that one might take for its own, and that it leaves to others."""
        return []

    @pytest.fixture
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A home of the test's own, for this process and those that it starts."""
        monkeypatch.setenv("QREC_HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    @pytest.fixture
    def door(self, home: Path) -> Qrec:
        """The front door of that home."""
        return Qrec(str(home))

    @pytest.fixture
    def run(self, kind: type[Executor], door: Qrec, command: Command, tmp_path: Path) -> Callable[..., Task]:
        """Has the executor run a line of sh in tmp_path, and waits for its end."""

        def run(line: str, **terms: Any) -> Task:
            task = door.run(command(line), **{"executor": kind.name, "show": False, "cwd": str(tmp_path), **terms})
            return task if task.status.is_final else ended(door, task)

        return run

    @pytest.fixture
    def begin(self, kind: type[Executor], door: Qrec, command: Command, tmp_path: Path) -> Callable[[str], Task]:
        """Has the executor run a line of sh, and waits until it has begun."""

        def begin(line: str) -> Task:
            line = f"echo $$ > pid; {line}"
            terms: dict[str, Any] = {"executor": kind.name, "show": False, "cwd": str(tmp_path), "detach": self.waits}
            task = door.run(command(line), **terms)
            wait_until(lambda: pid_in(tmp_path / "pid"), what="the command to begin")
            return door.store.get(task.uid)

        return begin

    # What it says of itself

    def test_it_is_known_by_its_name(self, kind, door):
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.-]*", kind.name)
        assert door.registry.executor(kind.name) is kind, "install the package: pip install -e ."
        assert (kind.__doc__ or "").strip(), "the dashboard shows what the class says of itself"

    def test_its_pattern_takes_its_own(self, kind, door, claimed):
        assert isinstance(kind.pattern, str)
        assert {line: door.registry.pick_executor(line) for line in claimed} == dict.fromkeys(claimed, kind.name)
        assert door.registry.named(EXECUTORS, kind.name).pattern == kind.pattern or not claimed

    def test_its_pattern_takes_nothing_else(self, kind, door, unclaimed):
        lines = [*of_others(kind.name), *unclaimed]
        wrong = [line for line in lines if kind.name != "shell" and door.registry.pick_executor(line) == kind.name]
        assert wrong == []

    def test_its_pattern_comes_to_an_end(self, kind, claimed):
        """Every command line is matched, also one that somebody has made for it."""
        firsts = {"x", kind.name, *(line.split()[0] for line in claimed)}
        tails = [" -x", " '", "'", ' "', " ", "-", " -o x", " a=b", "/", "\\", " -L" + "x" * 50]
        lines = [first + tail * 2000 + end for first in firsts for tail in tails for end in ("", "!", "\n'")]
        done = subprocess.Popen([sys.executable, "-c", MATCH, kind.pattern], stdin=subprocess.PIPE)
        try:
            done.communicate("\0".join(lines).encode(), timeout=LONGEST)
        except subprocess.TimeoutExpired:
            done.kill()
            done.communicate()
        assert done.returncode == 0, "some line takes it too long"

    def test_its_actions_are_well_formed(self, kind):
        actions = kind.actions()
        assert {"status", "output", "error", "cancel"} <= set(actions)
        for name, one in actions.items():
            assert re.fullmatch(r"[a-z][a-z0-9_-]*", name), name
            assert callable(getattr(kind, one.method)), name
            assert re.fullmatch(r"[A-Z].*\.", one.help), f"{name}: its docstring is what users see: a sentence"
            assert len(one.help) < 120, name
            assert one.when, f"{name} is for no task at all"
            shorts = [option.short for option in one.options if option.short]
            assert len(shorts) == len(set(shorts)), name
            assert sum(option.positional for option in one.options) <= 1, name
            for option in one.options:
                self.check_option(name, option)

    def check_option(self, action: str, option: Option) -> None:
        """Whether an option can become a flag and a field."""
        where = f"{action} --{option.name}"
        assert re.fullmatch(r"[a-z][a-z0-9_]*", option.name), where
        assert option.name not in ("task", "help", "json"), where
        assert option.kind in (str, int, float, bool), where
        assert len(option.short) <= 1, where
        assert option.help, f"{where} is documented nowhere"
        assert option.check(None) == option.default, where
        if option.default is not None:
            assert option.check(option.default) == option.default, where
        assert not option.choices or option.kind is str, where

    # Running

    def test_a_command_that_goes_well(self, kind, door, run):
        task = run("echo to stdout; echo to stderr >&2")
        assert (task.status, task.returncode, task.executor) == (Status.COMPLETE, 0, kind.name)
        assert task.uid.startswith(f"{kind.name}-")
        assert door.store.get(task.uid) == task
        assert (task.started or "") <= (task.ended or "")
        printed = door.output(task)
        if self.keeps_apart:
            assert (printed.read("stdout"), printed.read("stderr")) == (b"to stdout\n", b"to stderr\n")
        else:
            assert printed.read("stdout").split() == b"to stdout to stderr".split()

    def test_a_command_that_fails(self, door, run):
        task = run("echo oops >&2; exit 3")
        assert (task.status, task.returncode) == (Status.FAILED, 3)
        assert task.data["reason"]
        assert json.loads(json.dumps(task.plain())) == json.loads(json.dumps(door.store.get(task.uid).plain()))

    def test_a_command_that_is_not_there(self, run):
        task = run("exec /no/such/program")
        assert task.status is Status.FAILED
        assert task.returncode == 127

    def test_every_byte_is_kept(self, door, run):
        if not self.keeps_apart:
            return
        task = run("printf '\\377\\001\\r\\n\\033[0mx'; i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); done >&2")
        assert door.output(task).read("stdout") == b"\xff\x01\r\n\x1b[0mx"
        assert door.output(task).read("stderr").split() == [b"%d" % number for number in range(3000)]

    @pytest.mark.parametrize("folder", WEIRD)
    def test_it_may_be_started_anywhere(self, run, tmp_path, folder):
        if folder in self.unbearable:
            return
        place = tmp_path / folder
        place.mkdir()
        task = run("true", cwd=str(place))
        assert (task.status, task.pwd) == (Status.COMPLETE, str(place))

    def test_a_time_limit(self, run):
        if not self.waits:
            return
        task = run("sleep 600", timeout=0.5)
        assert (task.status, task.returncode) == (Status.FAILED, 124)

    def test_a_rerun_keeps_the_attempt_before(self, kind, door, run, tmp_path):
        first = run("echo one; test -e again && echo two; test -e again")
        (tmp_path / "again").touch()
        again = door.rerun(first.uid, show=False)
        again = again if again.status.is_final else ended(door, again)
        assert (again.uid, again.attempt, again.executor) == (first.uid, 2, kind.name)
        assert (again.status, again.returncode) == (Status.COMPLETE, 0)
        (before,) = door.store.attempts(first.uid)
        assert (before.status, before.returncode) == (first.status, first.returncode)
        printed = [door.output(one).read("stdout").split() for one in (before, again)]
        assert printed == [[b"one"], [b"one", b"two"]]

    # While it runs

    def test_what_runs_is_running_until_it_ends(self, kind, door, begin, tmp_path):
        task = begin("until [ -e go ]; do sleep 0.02; done; exit 4")
        assert task.status in UNFINISHED
        executor = door.executor(kind.name)
        assert all(now.status in UNFINISHED for now in executor.refresh([task]).values())
        (tmp_path / "go").touch()
        now = ended(door, task)
        assert (now.status, now.returncode) == (Status.FAILED, 4)
        with pytest.raises(Refused):
            door.act(task.uid, "cancel")

    def test_cancel_ends_it(self, door, begin, tmp_path):
        task = begin("exec sleep 600")
        pid = pid_in(tmp_path / "pid")
        now = door.act(task.uid, "cancel")
        assert now.status is Status.CANCELLED
        assert door.store.get(task.uid).status is Status.CANCELLED
        wait_until(lambda: not is_alive(pid), what="the command to end")

    def test_the_output_of_what_runs_can_be_read(self, door, begin, tmp_path):
        task = begin("echo so far; until [ -e go ]; do sleep 0.02; done")
        wait_until(lambda: b"so far" in b"".join(door.act(task.uid, "output")), what="the output")
        (tmp_path / "go").touch()
        assert ended(door, task).status is Status.COMPLETE

    def test_whoever_recorded_it_was_killed(self, door, begin, tmp_path):
        """Its task is not called over while the command goes on, nor unfinished for ever afterwards."""
        task = begin("until [ -e go ]; do sleep 0.02; done; touch done")
        pid = pid_in(tmp_path / "pid")
        recorder = task.data.get("process", {}).get("recorder", [os.getpid()])[0]
        if recorder == os.getpid():
            return  # nobody has to stay for it
        os.kill(recorder, signal.SIGKILL)
        wait_until(lambda: not is_alive(recorder), what="its recorder to be gone")
        assert door.get(task.uid).status in UNFINISHED or not is_alive(pid)
        (tmp_path / "go").touch()
        wait_until(lambda: not is_alive(pid), what="the command to end")
        now = ended(door, task)
        assert now.status is (Status.COMPLETE if (tmp_path / "done").exists() else now.status)
        assert now.status is not Status.RUNNING

    def test_nothing_is_refreshed_at_once(self, kind, door):
        assert dict(door.executor(kind.name).refresh([])) == {}

    # What can be done with a task

    def test_what_it_tells_of_a_task(self, door, run):
        task = run("echo out; echo err >&2; exit 3")
        assert isinstance(json.loads(json.dumps(door.act(task.uid, "status"))), dict)
        assert b"out" in b"".join(door.act(task.uid, "output"))
        error = b"".join(door.act(task.uid, "error"))
        assert b"err\n" in error or not self.keeps_apart
        with pytest.raises(NoSuchAction):
            door.act(task.uid, "no-such-action")

    def test_no_action_makes_a_mess_of_an_ended_task(self, kind, door, run):
        """It does what it does, or says in one line why not."""
        task = run("true")
        for name, one in kind.actions().items():
            if name not in self.untried and task.status in one.when:
                self.try_action(door, task, one)
        now = door.store.get(task.uid)
        assert (now.status, now.attempt) == (Status.COMPLETE, 1)

    def try_action(self, door: Qrec, task: Task, action: Action) -> None:
        """Do it with its defaults."""
        refusal = ""
        try:
            told = door.act(task.uid, action.name)
            if hasattr(told, "__next__"):
                assert all(isinstance(block, bytes) for block in told), action.name
            elif not isinstance(told, Task):
                json.dumps(told)
        except QrecError as error:
            refusal = str(error)
        assert "\n" not in refusal, action.name

    def test_what_cannot_be_adopted_is_refused(self, kind, door):
        from qrec.task import new_uid

        draft = Task(uid=new_uid(kind.name), executor=kind.name, argv=())
        with pytest.raises(QrecError):
            door.executor(kind.name).adopt(draft, "no such thing", lambda task: task)
        assert door.store.find() == []

    # Secrets, and trouble

    def test_secrets_reach_the_command_and_nothing_else(self, door, run, home):
        task = run(KEEPS_SECRET)
        assert task.status is Status.COMPLETE, "the command is to be given what was typed"
        assert door.output(task).read("stdout").split() == [b"known"]
        assert SECRET not in json.dumps(door.store.get(task.uid).plain())
        assert [path for path in files_in(home) if SECRET.encode() in path.read_bytes()] == []

    def test_a_home_that_cannot_be_made_keeps_no_command_from_running(self, kind, command, tmp_path):
        if not self.waits:
            return
        (tmp_path / "file").write_text("in the way")
        door = Qrec(str(tmp_path / "file" / "home"))
        task = door.run(command("echo hi > written; exit 5"), executor=kind.name, show=False, cwd=str(tmp_path))
        assert (task.returncode, (tmp_path / "written").read_text()) == (5, "hi\n")
        assert door.complaints
        assert not any("\n" in complaint for complaint in door.complaints)

    # Among others

    def test_a_job_of_a_queue_comes_here_too(self, kind, home, command, tmp_path):
        if not kind.pattern:
            return
        line = shlex.join(command("echo a job; exit 6"))
        for words in (["submit", "--cwd", str(tmp_path), "--", *command("echo a job; exit 6")], ["run"]):
            subprocess.run(
                [sys.executable, "-m", "qrec", "queue", *words], check=words[0] == "submit", capture_output=True
            )
        door = Qrec(str(home))
        task = ended(door, door.get())
        assert (task.executor, task.command, task.data.get("inner", task.data.get("matched"))) == (
            "queue",
            line,
            kind.name,
        )
        assert (task.status, task.returncode) == (Status.FAILED, 6)
        assert door.output(task).read("stdout").split() == b"a job".split()

    def test_its_panel_shows_a_task(self, kind, door, run):
        from qrec.dashboard.panels import rendered

        task = run("exit 3")
        json.dumps(door.executor(kind.name).panel_data(task))
        assert bool(rendered(door, task)) == bool(kind.panel)

    def test_qrec_plugins_names_it(self, kind, home):
        done = subprocess.run([sys.executable, "-m", "qrec", "plugins", "--json"], check=True, capture_output=True)
        (row,) = [one for one in json.loads(done.stdout) if (one["kind"], one["name"]) == ("executor", kind.name)]
        assert row["broken"] == ""
        assert load_value(row["class"]) is kind


def of_others(name: str) -> list[str]:
    """Command lines in which no executor of that name has a part."""
    named = [
        f"echo {name}", f"which {name}", f"man {name}", f"{name}-other x", f"x{name} x", f"./{name}.sh x",
        f"cat {name}/x", f"grep -r {name} .", f"vim {name}", f"PATH=x {name}x y", f"make # {name}",
    ]  # fmt: skip
    return ["", "true", "echo hi", "python train.py --lr 0.1", "sh -c 'echo a b'", "a 'b c' \"d\" \\e", *named]


def ended(door: Qrec, task: Task) -> Task:
    """The task when it is over."""
    found = list(door.wait([task.uid], timeout=120))
    assert found, f"it has not ended: {door.store.get(task.uid)}"
    return found[0]


def pid_in(path: Path) -> int:
    """The pid that a command has written; 0 as long as it has not."""
    try:
        return int(path.read_text() or 0)
    except FileNotFoundError:
        return 0


def is_alive(pid: int) -> bool:
    """Whether a process runs, and does not only wait for its parent to hear of its end."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (OSError, IndexError):
        return False


def files_in(folder: Path) -> list[Path]:
    """Every file below."""
    return [path for path in folder.rglob("*") if path.is_file()]
