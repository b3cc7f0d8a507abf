"""Plug-ins: executors and stores of other people, from real distributions on the path of Python."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qrec import discovery
from qrec.api import Qrec
from qrec.discovery import needed_by
from qrec.errors import NoSuchExecutor, WrongUsage
from qrec.registry import BUILTIN, EXECUTORS, STORES, Plugin, Registry
from tests.helpers import Result, wait_until
from tests.test_imports import modules
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


def install(site: Path, name: str, code: str, group: str = EXECUTORS, value: str = "") -> Path:
    """Put a distribution there, as pip would: a module, and a dist-info folder that names what it offers."""
    module = f"qrec_{name}"
    (site / f"{module}.py").write_text(textwrap.dedent(code))
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value or f'{module}:{name.capitalize()}'}\n")
    (info / "RECORD").write_text("")
    return info


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
    assert said == "no executor is called 'nope'; there are: robot, shell, slurm, tmux, queue, typed"
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

SHELL = "from qrec.executors.shell import ShellExecutor\nclass Broken(ShellExecutor):\n    name = 'broken'\n"
BROKEN = {
    "a mistake in it": ("raise ZeroDivisionError('not\\ntoday')", "", "ZeroDivisionError: not today"),
    "a slip of the pen": ("class Broken(:", "", "SyntaxError: "),
    "something missing": ("import no_such_module", "", "No module named 'no_such_module'"),
    "no such class": ("", "", "has no attribute 'Broken'"),
    "no such module": ("", "no_such_module:Broken", "No module named 'no_such_module'"),
    "no class named": ("", "qrec_broken", ""),
    "a wrong pattern": (SHELL + "    pattern = '('", "", "its pattern is no regular expression: missing )"),
    "a pattern of the wrong kind": (SHELL + "    pattern = 5", "", "its pattern is no regular expression: "),
    "a pattern of bytes": (SHELL + "    pattern = b'x'", "", "its pattern is no text"),
    "an exit": ("raise SystemExit(3)", "", "SystemExit: 3"),
    "an interrupt": ("raise KeyboardInterrupt", "", "KeyboardInterrupt"),
    "an end": ("import os; os._exit(0)", "", "its import ends the process"),
    "a crash": ("import os; os.kill(os.getpid(), 11)", "", "its import kills the process (signal 11)"),
    "a stack that grows": ("def f(): f()\nf()", "", "RecursionError"),
    "another kind of class": ("class Broken: pass", "", "is no subclass of qrec.executors.base.Executor"),
    "no class at all": ("Broken = 5", "", "is no subclass of qrec.executors.base.Executor"),
    "another name": (SHELL + "    name = 'other'", "", "its class is called 'other', and its entry point 'broken'"),
}


@pytest.mark.parametrize(("code", "value", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_in_one_line(robot, site, qrec, code, value, why):
    """And everything else works, other plug-ins included; who has read of it once is not told again and again."""
    install(site, "broken", f"print('spoilt')\n{code}", value=value)
    result = qrec("run", "-q", "./robot")
    assert (result.out, result.returncode) == ("beep\n", 0)
    assert result.err.count("\n") == 1, result
    assert result.err.startswith("qrec: plug-in broken (qrec_broken 1.0) is left out: ")
    assert why in result.err
    listed = qrec("ls", "--json")
    assert listed.json[0]["executor"] == "robot"
    assert listed.err == ""
    assert qrec("exec", "wave", "--json").json["waves"] == 1
    assert one_line(qrec("run", "-e", "broken", "true")) == f"{said(result)}; `qrec plugins` looks again"


def said(result: Result) -> str:
    return result.err.strip().removeprefix("qrec: ")


def test_doctor_and_plugins_always_name_a_broken_plugin(site, home, qrec):
    install(site, "broken", "import no_such_module")
    why = said(qrec("run", "-q", "true"))
    for _ in range(2):
        assert why in qrec("doctor").out
        assert why in qrec("plugins", check=True).out
    assert qrec("ls").err == ""


def test_every_change_is_told_once(site, home, qrec):
    install(site, "broken", "import no_such_module")
    assert "no_such_module" in qrec("run", "-q", "true").err
    assert qrec("run", "-q", "true").err == ""
    write(site / "qrec_broken.py", "import no_other_module")
    assert "no_other_module" in qrec("run", "-q", "true").err
    install(site, "worse", "import no_such_module")
    assert qrec("run", "-q", "true").err.count("\n") == 2
    assert qrec("run", "-q", "true").err == ""


def write(path: Path, code: str) -> None:
    """Change a module, at another moment than before however coarse the clock of its disk is."""
    before = path.stat()
    path.write_text(textwrap.dedent(code))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))


def test_what_nobody_has_read_is_told_later(site, home, qrec):
    install(site, "broken", "import no_such_module")
    Registry(str(home))
    assert "no_such_module" in qrec("ls").err
    assert "no_such_module" not in qrec("ls").err


def test_a_plugin_that_never_ends_its_import(robot, site, home, monkeypatch):
    """It is asked first, and alone with little patience: the others have all the time that a busy machine takes."""
    install(site, "broken", "import time; time.sleep(1000)")
    install(site, "zebra", ROBOT.replace("robot", "zebra").replace("Robot", "Zebra"))
    ask = discovery.ask
    monkeypatch.setattr(discovery, "ask", lambda first, patience: ask(first, 60 if first else patience))
    with on_path(site):
        found = {plugin.name: plugin.broken for plugin in discovery.discover(patience=1)}
    assert found == {"broken": "its import takes more than 1 s", "robot": "", "zebra": ""}


def test_what_a_plugin_prints_spoils_nothing(site, home, qrec, tmp_path):
    install(site, "robot", "print('hello')\n" + ROBOT)
    program(tmp_path, "robot")
    assert qrec("run", "-q", "./robot").out == "beep\n"
    shown = qrec("exec", "wave", "--json")
    assert (shown.json["waves"], shown.err) == (1, "hello\n")


def test_of_two_plugins_with_one_name_the_first_counts(robot, site, qrec):
    rename(install(site, "second", ROBOT.replace("Robot", "Second")), "second", "robot")
    result = qrec("run", "-q", "./robot")
    assert (result.out, said(result)) == (
        "beep\n", "plug-in robot (qrec_second 1.0) is left out: qrec_robot has an executor of that name"
    )  # fmt: skip
    assert executors(qrec) == ["robot"]


def rename(info: Path, before: str, after: str) -> None:
    """Let a distribution offer something under another name."""
    path = info / "entry_points.txt"
    path.write_text(path.read_text().replace(f"{before} =", f"{after} ="))


@pytest.mark.parametrize(("group", "taken"), [(EXECUTORS, "shell"), (EXECUTORS, "slurm"), (STORES, "sqlite")])
def test_a_builtin_keeps_its_name(site, home, qrec, group, taken):
    code = {EXECUTORS: ROBOT, STORES: VAULT}[group].replace("robot", taken).replace("vault", taken)
    name = {EXECUTORS: "robot", STORES: "vault"}[group]
    rename(install(site, name, code, group), name, taken)
    result = qrec("run", "-q", "echo", "hi")
    assert result.out == "hi\n"
    assert said(result).startswith(f"plug-in {taken} (qrec_{name} 1.0) is left out: qrec itself has a")
    assert executors(qrec) == ["shell"]


def test_a_store_that_lacks_something(site, home, qrec):
    install(site, "thin", "from qrec.stores.base import Store\nclass Thin(Store):\n    name = 'thin'", STORES)
    result = qrec("--store", "thin", "ls")
    assert result.returncode == 2
    assert "plug-in thin (qrec_thin 1.0) is left out: its class lacks add, add_all, archive" in result.err


@pytest.mark.parametrize("name", ["two words", "-e", "1", "a/b", "a:b", ".."])
def test_a_name_that_cannot_be_one(site, home, name):
    rename(install(site, "robot", ROBOT), "robot", name)
    with on_path(site):
        registry = Registry(str(home))
    assert registry.names(EXECUTORS) == ["shell", "slurm", "tmux", "queue", "typed"]
    assert len(registry.broken) == 1


def test_a_spoilt_distribution_hides_no_other(robot, site, home, qrec):
    for number, (file, content) in enumerate(
        [("entry_points.txt", "[qrec.executors]\nnonsense\n"), ("entry_points.txt", "[qrec.executors\n"),
         ("METADATA", ""), ("entry_points.txt", "[qrec.executors]\nx = \n")]
    ):  # fmt: skip
        info = site / f"spoilt{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: spoilt{number}\nVersion: 1.0\n")
        (info / file).write_text(content)
    assert qrec("run", "-q", "./robot", check=True).out == "beep\n"
    assert executors(qrec) == ["robot"]


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

    def watched(self: Registry) -> list[Plugin] | None:
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
        assert settled() == ["shell", "slurm", "tmux", "queue", "typed"]
        install(site, "robot", ROBOT)
        assert names() == ["robot", "shell", "slurm", "tmux", "queue", "typed"]
        assert asked
        assert settled() == ["robot", "shell", "slurm", "tmux", "queue", "typed"]
        assert Registry(str(home)).pick_executor("/opt/robot --fast") == "robot"
        install(site, "second", ROBOT.replace("robot", "second").replace("Robot", "Second"))
        assert set(settled()) == {"robot", "second", "shell", "slurm", "tmux", "queue", "typed"}
        uninstall(site, "robot")
        assert settled() == ["second", "shell", "slurm", "tmux", "queue", "typed"]


def test_a_plugin_that_was_mended_in_its_place_is_noticed(site, home):
    """As an editable install is, without any installer."""
    install(site, "robot", "import no_such_module")
    with on_path(site):
        assert len(Registry(str(home)).complaints) == 1
        write(site / "qrec_robot.py", ROBOT)
        mended = Registry(str(home))
        assert (mended.complaints, mended.names(EXECUTORS)) == (
            [],
            ["robot", "shell", "slurm", "tmux", "queue", "typed"],
        )
        write(site / "qrec_robot.py", ROBOT.replace("robot\\b", "droid\\b"))
        assert Registry(str(home)).pick_executor("droid") == "robot"


def test_a_plugin_is_imported_where_it_is_used_and_nowhere_else(robot, site, home):
    with on_path(site):
        for _ in range(2):
            modules("-q", "run", "true")
        assert not modules("-q", "run", "true") & {"qrec_robot", "qrec.discovery", "importlib.metadata", "subprocess"}
        assert "qrec_robot" in modules("-q", "run", "-e", "robot", "true")


def test_pythons_that_share_a_home_do_not_disturb_each_other(robot, home, qrec, monkeypatch):
    qrec("run", "-q", "./robot", check=True)
    cache = home / "cache" / "plugins.json"
    mine = json.loads(cache.read_text())
    (prefix,) = mine
    (home / "other").mkdir()
    monkeypatch.setattr(sys, "prefix", str(home / "other"))
    assert Registry(str(home)).names(EXECUTORS)
    monkeypatch.setattr(sys, "prefix", str(home / "gone"))
    assert Registry(str(home)).names(EXECUTORS)
    both = json.loads(cache.read_text())
    assert list(both) == [prefix, str(home / "other"), str(home / "gone")]
    assert both[prefix] == mine[prefix]
    Registry(str(home), anew=True)
    assert list(json.loads(cache.read_text())) == [prefix, str(home / "other"), str(home / "gone")]
    (home / "other").rmdir()
    Registry(str(home), anew=True)
    assert list(json.loads(cache.read_text())) == [prefix, str(home / "gone")]


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", "null", '{"PREFIX": 1}', '{"PREFIX": {"key": [], "told": 1, "plugins": [{"x": 1}]}}',
     '{"PREFIX": {"plugins": 5}}', '{"PREFIX": {"key": [], "told": true, "plugins": []}}'],
)  # fmt: skip
def test_a_spoilt_cache_is_made_again(home, content):
    Registry(str(home))
    cache = home / "cache" / "plugins.json"
    good = cache.read_text()
    cache.write_text(content.replace("PREFIX", sys.prefix))
    assert Registry(str(home)).names(EXECUTORS) == ["shell", "slurm", "tmux", "queue", "typed"]
    assert cache.read_text() == good


@pytest.mark.parametrize(
    ("pattern", "needed"),
    [
        (r"^(\S*/)?robot\b", "robot"), ("robot|droid", ""), ("(?i)robot", ""), ("(?i:robot)x", "x"),
        ("(robot)+", "robot"),
        ("(robot)*", ""), ("(?:ro)(?:bot){2,}", "bot"), ("ro?bots", "bots"), ("[r]obot", "robot"), ("(?=robot)r", "r"),
        ("(?!robot)r", "r"), (r"\Srobot", "robot"), ("", ""), ("(?x) ro bot # droid", "robot"), ("r(?#bot)o", "ro"),
        ("(?P<a>ab)(?P=a)", "ab"), ("\u00e4b", "\u00e4b"), ("(", ""),
    ],
)  # fmt: skip
def test_what_stands_in_all_that_a_pattern_takes(pattern, needed):
    assert needed_by(pattern) == needed


def test_builtins_say_it_themselves():
    assert {plugin.name: plugin.needs for plugin in BUILTIN} == {
        plugin.name: needed_by(plugin.pattern) if plugin.pattern else "" for plugin in BUILTIN
    }


def test_what_is_built_in(home):
    registry = Registry(str(home))
    assert registry.names(EXECUTORS) == ["shell", "slurm", "tmux", "queue", "typed"]
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


# What an executor that is nearly the shell says otherwise

TRUCK = '''
from qrec.executors.shell import ShellExecutor
from qrec.executors.base import Option, action

class Truck(ShellExecutor):
    """Commands that are carried."""

    name = "truck"
    pattern = r"^truck\\s"

    def words(self, task):
        return ("env", "LOAD=full", *super().words(task)[1:]) if task.argv[0] == "truck" else super().words(task)

    def notes(self, task):
        return {"load": 1 / (len(task.argv) - 1)}

    def outcome(self, task, ended, output):
        if ended.returncode == 7:
            return {"data": {"reason": "the truck fell over: " + output.read("stderr").decode().strip()}}
        return {}

    @action(
        Option(name="speed", default="slow", choices=("slow", "fast"), help="How."),
        Option(name="far", kind=float, default=1.5), Option(name="lights", kind=bool, default=True),
    )
    def drive(self, task, speed, far, lights):
        """Drive on."""
        return [speed, far, lights]

    @action()
    def park(self, task):
        """Stand still."""
        return task.data["place"]
'''


@pytest.fixture
def truck(site: Path, home: Path) -> None:
    install(site, "truck", TRUCK)


def test_ten_lines_suffice(truck, qrec):
    result = qrec("run", "truck", "sh", "-c", "echo $LOAD; echo oops >&2; exit 7")
    assert (result.out, result.returncode) == ("full\n", 7)
    assert "[returncode: 7] the truck fell over: oops, " in result.err
    got = qrec("get").json
    assert (got["executor"], got["data"]["truck"]) == ("truck", {"load": 1 / 3})
    assert got["data"]["cmd"] == ["truck", "sh", "-c", "echo $LOAD; echo oops >&2; exit 7"]
    assert qrec("rerun", "-q").returncode == 7
    assert qrec("why").out.count("the truck fell over")
    assert list(qrec("exec", "truck", "--json").json) == ["status", "output", "error", "cancel", "drive", "park"]
    assert (qrec("exec", "output").out, qrec("exec", "error").out) == ("full\n", "oops\n")


def test_a_detached_command_has_its_outcome_too(truck, qrec):
    uid = qrec("run", "--detach", "truck", "sh", "-c", "echo oops >&2; exit 7", check=True).out.strip()
    assert qrec("wait", uid).returncode
    assert qrec("get", uid).json["data"]["reason"] == "the truck fell over: oops"


def test_a_job_of_a_queue_is_carried_too(truck, qrec):
    qrec("queue", "submit", "--", "truck", "sh", "-c", "echo $LOAD", check=True)
    qrec("queue", "run", check=True)
    assert qrec("log", check=True).out == "full\n"
    assert qrec("get").json["data"]["truck"] == {"load": 1 / 3}


def test_a_note_that_cannot_be_made_stops_no_command(truck, qrec):
    result = qrec("run", "-q", "-e", "truck", "true")
    assert (result.returncode, said(result)) == (0, "truck: nothing noted: ZeroDivisionError: division by zero")
    assert qrec("get").json["data"]["status"] == "complete"


WORDS = {
    "raise KeyError('x')": "KeyError: 'x'", "return 5": "TypeError: ", "return 'nice true'": "TypeError: ",
    "raise OSError('a\\n\\x1b[2J b' + 'x' * 500)": f"OSError: a [2J b{'x' * 183}…",
}  # fmt: skip


@pytest.mark.parametrize("slip", WORDS)
def test_words_that_cannot_be_told_are_the_mistake_of_the_executor(site, home, qrec, slip):
    said = f"executor truck cannot tell what to run: {WORDS[slip]}"
    install(site, "truck", re.sub(r"return \(\"env\".*", lambda _: slip, TRUCK))
    result = qrec("run", "truck", "true")
    assert result.returncode == 125
    assert f"][returncode: 125] {said}" in result.err
    assert result.err.count("\n") == 1
    about = qrec("get").json["data"]
    assert (about["status"], about["reason"].startswith(said)) == ("failed", True)
    qrec("queue", "submit", "--", "truck", "true", check=True)
    assert qrec("queue", "run").returncode == 1
    assert qrec("get").json["data"]["reason"].startswith(said)


def test_an_action_that_fails_is_the_mistake_of_the_executor(truck, qrec):
    qrec("run", "-q", "truck", "true", check=True)
    result = qrec("exec", "park")
    assert (result.returncode, result.err) == (1, "qrec: park of executor truck failed: KeyError: 'place'\n")
    assert "Traceback" in qrec("--debug", "exec", "park").err


def test_what_an_option_may_be(truck, site, home, qrec):
    qrec("run", "-q", "truck", "true", check=True)
    shown = qrec("exec", "drive", "--help", check=True).out
    for words in ("--speed [slow|fast]", "--far FLOAT", "--lights / --no-lights"):
        assert words in shown
    assert qrec("exec", "drive", "--json").json == ["slow", 1.5, True]
    assert qrec("exec", "drive", "--speed", "fast", "--far", "2", "--no-lights", "--json").json == ["fast", 2.0, False]
    assert "is none of slow, fast" in one_line(qrec("exec", "drive", "--speed", "mad"), 2)
    with on_path(site):
        door = Qrec(str(home))
        assert door.act(None, "drive", far=2) == ["slow", 2.0, True]
        for wrong in ({"speed": "mad"}, {"far": "2"}, {"lights": 1}, {"speed": 5}, {"other": 1}):
            with pytest.raises(WrongUsage):
                door.act(None, "drive", **wrong)
