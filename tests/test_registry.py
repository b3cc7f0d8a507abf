"""Plug-ins: executors and stores of other people, from real distributions on the path of Python."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrec.errors import NoSuchExecutor, WrongUsage
from qrec.registry import EXECUTORS, STORES, Plugin, Registry
from tests.helpers import Result, wait_until
from tests.test_look_back import one_line

ROBOT = '''
from qrec.executors.base import Option, action
from qrec.executors.shell import ShellExecutor

class Robot(ShellExecutor):
    name = "robot"
    pattern = r"^(\\S*/)?robot\\b"

    @action(Option(name="times", kind=int, default=1, help="Often."), Option(name="out_loud", kind=bool, default=False))
    def wave(self, task, times, out_loud):
        """Wave to the task."""
        return {"waves": times, "loud": out_loud, "task": task.number}
'''

VAULT = """
from qrec.stores.filesystem import FilesystemStore

class Vault(FilesystemStore):
    name = "vault"
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path of every Python that is started."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return folder


def install(site: Path, name: str, code: str, group: str = EXECUTORS, value: str = "") -> None:
    """Put a distribution there, as pip would: a module, and a dist-info folder that names what it offers."""
    module = f"qrec_{name}"
    (site / f"{module}.py").write_text(textwrap.dedent(code))
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value or f'{module}:{name.capitalize()}'}\n")
    (info / "RECORD").write_text("")


def program(folder: Path, name: str, line: str = "echo beep") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
    return path


# An executor


@pytest.fixture
def robot(site: Path, home: Path, tmp_path: Path) -> Path:
    """A plug-in executor, and the program it is for."""
    install(site, "robot", ROBOT)
    return program(tmp_path, "robot")


def executors(qrec: Callable[..., Result]) -> list[str]:
    return [row["executor"] for row in qrec("ls", "--json").json]


def test_a_plugged_in_executor_is_picked_by_its_pattern(robot, qrec):
    result = qrec("run", "./robot", "--fast")
    assert (result.out, result.returncode) == ("beep\n", 0)
    assert result.err.startswith("[robot-")
    assert qrec("run", "-q", "echo", "robot").out == "robot\n"
    assert qrec("run", "-q", "./robot; true", check=True).out == "beep\n", "a line for the shell is matched as text"
    assert executors(qrec) == ["robot", "shell", "robot"]
    assert [row["number"] for row in qrec("ls", "robot", "--json").json] == [1, 3]
    got = qrec("get", "1").json
    assert (got["executor"], got["command"]) == ("robot", "./robot --fast")
    assert got["uid"].startswith("robot-")
    assert qrec("get", got["uid"][:14]).json == got


def test_a_plugged_in_executor_is_picked_by_name(robot, qrec):
    assert qrec("run", "-q", "-e", "robot", "echo", "hi", check=True).out == "hi\n"
    assert qrec("run", "-q", "-e", "shell", "./robot", check=True).out == "beep\n"
    assert executors(qrec) == ["robot", "shell"]
    said = one_line(qrec("run", "-e", "nope", "touch", "touched"))
    assert said == "no executor is called 'nope'; there are: robot, shell, slurm, tmux, queue"
    assert executors(qrec) == ["robot", "shell"]


def test_its_tasks_stay_its_own(robot, qrec):
    qrec("run", "-q", "./robot", check=True)
    qrec("run", "-q", "true", check=True)
    qrec("rerun", "-q", "1", check=True)
    assert executors(qrec) == ["robot", "shell"]
    assert qrec("clear", "robot", "-y", check=True).out == "1 task removed\n"
    assert executors(qrec) == ["shell"]


def test_its_own_action_is_offered(robot, qrec):
    qrec("run", "-q", "./robot", check=True)
    qrec("run", "-q", "true", check=True)
    offered = qrec("exec", "robot", "--json").json
    assert list(offered) == ["status", "output", "error", "cancel", "wave"]
    assert offered["wave"] == "Wave to the task."
    assert "wave        Wave to the task.\n" in qrec("exec", "1").out
    assert qrec("exec", "wave", "1", "--json").json == {"waves": 1, "loud": False, "task": 1}
    assert qrec("exec", "1", "wave").out == "waves       1\nloud        False\ntask        1\n"
    assert qrec("exec", "output", "1").out == "beep\n"
    said = "shell tasks offer no action 'wave'; they offer: status, output, error, cancel"
    assert one_line(qrec("exec", "wave", "2")) == said


@pytest.mark.parametrize(
    "words",
    [
        "wave 1 --times 3 --out-loud",
        "wave 1 --times=3 --out-loud",
        "wave --out-loud --times=3",
        "wave --out-loud 1 --times 3",
        "wave --times 3 --out-loud",
        "--times 3 --out-loud wave 1",
        "1 --times 3 wave --out-loud",
    ],
)
def test_options_of_an_action_are_flags(robot, qrec, words):
    qrec("run", "-q", "./robot", check=True)
    assert qrec("exec", *words.split(), "--json").json == {"waves": 3, "loud": True, "task": 1}


def test_an_option_may_have_the_number_of_the_task(robot, qrec):
    qrec("run", "-q", "./robot", check=True)
    assert qrec("exec", "wave", "1", "--times", "1", "--json").json == {"waves": 1, "loud": False, "task": 1}


def test_wrong_options_of_an_action_are_wrong_usage(robot, qrec):
    qrec("run", "-q", "./robot", check=True)
    assert "'many' is not a valid integer" in one_line(qrec("exec", "wave", "1", "--times", "many"), 2)
    assert "'--high'" in one_line(qrec("exec", "wave", "1", "--high"), 2)


def test_the_options_of_an_action_can_be_learned(robot, qrec):
    qrec("run", "-q", "./robot", check=True)
    shown = qrec("exec", "wave", "1", "--help", check=True).out
    assert "--times" in shown
    assert "Wave to the task." in shown


# A store


def test_a_plugged_in_store(site, home, qrec, tmp_path):
    install(site, "vault", VAULT, STORES)
    qrec("--store", "vault", "run", "-q", "true", check=True)
    qrec("--store", f"vault:{tmp_path}/place", "run", "-q", "echo", "there", check=True)
    assert (tmp_path / "place").is_dir()
    assert [row["command"] for row in qrec("ls", "--json", env={"QREC_STORE": f"vault:{tmp_path}/place"}).json] == [
        "echo there"
    ]
    qrec("config", "--database", "vault", check=True)
    assert [row["command"] for row in qrec("ls", "--json").json] == ["true"]
    assert "there are: vault, sqlite, filesystem, or NAME:PATH" in one_line(qrec("--store", "nope", "ls"), 2)


def test_a_store_whose_plugin_has_gone(site, home, qrec):
    install(site, "vault", VAULT, STORES)
    qrec("config", "--database", "vault", check=True)
    uninstall(site, "vault")
    result = qrec("run", "-q", "echo", "ran")
    assert (result.out, result.returncode, result.err.count("\n")) == ("ran\n", 0, 1)
    assert "no store is called 'vault'" in result.err


def uninstall(site: Path, name: str) -> None:
    (site / f"qrec_{name}.py").unlink()
    info = site / f"qrec_{name}-1.0.dist-info"
    for path in info.iterdir():
        path.unlink()
    info.rmdir()


# Broken ones

BROKEN = {
    "a mistake in it": ("raise ZeroDivisionError('no')", ""),
    "a slip of the pen": ("class Broken(:", ""),
    "something missing": ("import no_such_module", ""),
    "no such class": ("", ""),
    "no such module": ("", "no_such_module:Broken"),
    "a wrong pattern": ("class Broken:\n    pattern = '('", ""),
    "a pattern of the wrong kind": ("class Broken:\n    pattern = 5", ""),
    "an exit": ("raise SystemExit(3)", ""),
}


@pytest.mark.parametrize(("code", "value"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_in_one_line(robot, site, qrec, code, value):
    """And everything else works, other plug-ins included."""
    install(site, "broken", code, value=value)
    result = qrec("run", "-q", "./robot")
    assert (result.out, result.returncode) == ("beep\n", 0)
    assert result.err.count("\n") == 1, result
    assert result.err.startswith("qrec: plug-in broken (qrec_broken) is left out: ")
    listed = qrec("ls", "--json")
    assert listed.json[0]["executor"] == "robot"
    assert listed.err == result.err
    assert qrec("exec", "wave", "--json").json["waves"] == 1
    assert "there are: robot, shell, slurm, tmux, queue" in one_line(qrec("run", "-e", "broken", "true"))


@pytest.fixture
def broke_later(robot: Path, site: Path, qrec: Callable[..., Result]) -> Path:
    """The plug-in worked, has been remembered, and does not work any more: no folder has changed."""
    for _ in range(2):
        qrec("run", "-q", "./robot", check=True)
    module = site / "qrec_robot.py"
    before = site.stat()
    with module.open("w") as file:
        file.write("import no_such_module\n")
    os.utime(site, ns=(before.st_atime_ns, before.st_mtime_ns))
    for cached in site.glob("__pycache__/*"):
        cached.unlink()
    return robot


def test_a_plugin_that_broke_later_does_not_stop_others(broke_later, qrec):
    assert qrec("run", "-q", "echo", "hi", check=True).out == "hi\n"
    assert len(qrec("ls", "--json").json) == 3
    assert qrec("exec", "status", "3", "--json").json["status"] == "complete"
    assert qrec("exec", "shell", "--json").json


@pytest.mark.parametrize(
    "words", [["run", "./robot"], ["run", "-e", "robot", "true"], ["exec", "wave", "1"], ["rerun", "1"]]
)
def test_a_plugin_that_broke_later_is_named(broke_later, qrec, words):
    result = qrec(*words)
    assert result.err.count("\n") in (1, 2)
    said = result.err.splitlines()[0]
    assert "robot" in said
    assert "error of qrec's own" not in said


def test_a_running_task_of_a_plugin_that_broke_is_listed(robot, site, qrec, start):
    start("run", "-q", "-e", "robot", "sh", "-c", "echo on; exec sleep 60")
    wait_until(lambda: qrec("ls", "--json").json)
    (site / "qrec_robot.py").write_text("import no_such_module\n")
    for cached in site.glob("__pycache__/*"):
        cached.unlink()
    for _ in range(2):
        listed = qrec("ls", "--json")
        assert [row["status"] for row in listed.json] == ["running"]
        assert "robot" in listed.err


def test_a_rerun_without_its_executor_leaves_the_record_as_it_was(robot, site, qrec):
    qrec("run", "-q", "./robot", check=True)
    before = qrec("get").json
    uninstall(site, "robot")
    assert "no executor is called 'robot'" in one_line(qrec("rerun", "-m", "new"))
    assert qrec("get").json == before


def test_tasks_of_an_executor_that_has_gone_can_be_looked_at(robot, site, qrec):
    qrec("run", "-q", "./robot", check=True)
    uninstall(site, "robot")
    assert qrec("get").json["executor"] == "robot"
    assert qrec("log").out == "beep\n"
    assert qrec("search", "beep", "--json").json
    assert "no executor is called 'robot'" in one_line(qrec("exec", "status"))
    assert qrec("clear", "1", "-y", check=True).out == "1 task removed\n"


# Discovery


@contextlib.contextmanager
def on_path(folder: Path) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        modules = set(sys.modules)
        yield
        for name in set(sys.modules) - modules:
            del sys.modules[name]
        importlib.invalidate_caches()


def test_discovery_is_remembered_and_renewed(site, home, monkeypatch):
    asked: list[int] = []
    discover = Registry.discover

    def watched(self: Registry) -> Iterator[Plugin]:
        asked.append(1)
        return discover(self)

    monkeypatch.setattr(Registry, "discover", watched)

    def names() -> list[str]:
        importlib.invalidate_caches()
        return list(Registry(str(home)).names(EXECUTORS))

    def settled() -> list[str]:
        """Importing may have written `__pycache__` there, which looks like an installation, once."""
        names()
        names()
        asked.clear()
        found = names()
        assert not asked, "the third time nobody is asked"
        return found

    with on_path(site):
        assert settled() == ["shell", "slurm", "tmux", "queue"]
        install(site, "robot", ROBOT)
        assert names() == ["robot", "shell", "slurm", "tmux", "queue"]
        assert asked
        assert settled() == ["robot", "shell", "slurm", "tmux", "queue"]
        assert Registry(str(home)).pick_executor("/opt/robot --fast") == "robot"
        install(site, "second", ROBOT.replace("robot", "second").replace("Robot", "Second"))
        assert set(settled()) == {"robot", "second", "shell", "slurm", "tmux", "queue"}
        uninstall(site, "robot")
        assert settled() == ["second", "shell", "slurm", "tmux", "queue"]


def test_a_broken_plugin_is_asked_for_again_each_time(site, home):
    """It may have been mended meanwhile, and nothing tells so."""
    install(site, "robot", "import no_such_module")
    with on_path(site):
        assert len(Registry(str(home)).complaints) == 1
        assert len(Registry(str(home)).complaints) == 1
        (site / "qrec_robot.py").write_text(ROBOT)
        importlib.invalidate_caches()
        mended = Registry(str(home))
        assert (mended.complaints, mended.names(EXECUTORS)) == ([], ["robot", "shell", "slurm", "tmux", "queue"])


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"key": 1}', '{"key": [], "plugins": [{"x": 1}]}'])
def test_a_spoilt_cache_is_made_again(home, content):
    Registry(str(home))
    cache = home / "cache" / "plugins.json"
    good = cache.read_text()
    cache.write_text(content)
    assert Registry(str(home)).names(EXECUTORS) == ["shell", "slurm", "tmux", "queue"]
    assert cache.read_text() == good


def test_what_is_built_in(home):
    registry = Registry(str(home))
    assert registry.names(EXECUTORS) == ["shell", "slurm", "tmux", "queue"]
    assert registry.names(STORES) == ["sqlite", "filesystem"]
    assert registry.pick_executor("squeue; sbatch job.sh") == "shell"
    assert registry.pick_executor("/opt/slurm/bin/sbatch job.sh") == "slurm"
    assert registry.executor("shell").name == "shell"
    with pytest.raises(NoSuchExecutor):
        registry.executor("sqlite")
    for name, store in (("sqlite", "SqliteStore"), ("filesystem", "FilesystemStore")):
        assert type(registry.store(str(home), name)).__name__ == store
    for wrong in ("", "shell", "sqlite:", "nope:/x", "SQLITE"):
        with pytest.raises(WrongUsage):
            registry.store(str(home), wrong)
