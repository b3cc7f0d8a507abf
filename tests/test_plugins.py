"""Plug-ins as people have them: installed, upgraded and removed by pip; and those that come as examples."""

from __future__ import annotations

import ast
import json
import os
import shutil
import site as python_site
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from qrec import __version__
from tests.helpers import ROOT, Result, environment
from tests.test_registry import ROBOT, VAULT, install, program, write
from tests.test_registry import site as site

EXAMPLES = ROOT / "examples"
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation", "--quiet", "--disable-pip-version-check")
PROJECT = """\
[build-system]
requires = ["setuptools>=64"]
build-backend = "setuptools.build_meta"

[project]
name = "qrec-robot"
version = "{version}"

[project.entry-points."qrec.executors"]
robot = "qrec_robot:Robot"

[tool.setuptools]
py-modules = ["qrec_robot"]
"""


class Venv:
    """An environment that has qrec and what it needs, and what a test installs."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.python = folder / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", *options, folder], check=True)
        (packages,) = folder.glob("lib/python*/site-packages")
        (packages / "outer.pth").write_text("\n".join([str(ROOT), *python_site.getsitepackages()]))

    def pip(self, *words: str | Path) -> None:
        """Without any network."""
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--python", self.python, *words], capture_output=True, env=environment()
        )
        assert done.returncode == 0, done

    def install(self, source: Path, *words: str) -> None:
        """From a folder, which is left as it is but for what pip puts into it."""
        self.pip("install", *OFFLINE, *words, source)

    def run(self, *words: str | Path, **popen: object) -> Result:
        """A call of this Python."""
        done = subprocess.run([self.python, *words], capture_output=True, stdin=subprocess.DEVNULL, **popen)  # type: ignore[call-overload]
        return Result(done.args, done.returncode, done.stdout, done.stderr)

    def qrec(self, *words: str, **popen: object) -> Result:
        """A call of its qrec."""
        return self.run("-m", "qrec", *words, **popen)


@pytest.fixture
def venv(tmp_path: Path, home: Path) -> Venv:
    return Venv(tmp_path / "venv")


def robot(folder: Path, version: str = "1.0", pattern: str = "robot") -> Path:
    """The source of a distribution that offers an executor."""
    folder.mkdir(exist_ok=True)
    (folder / "pyproject.toml").write_text(PROJECT.format(version=version))
    code = textwrap.dedent(ROBOT).replace("robot\\b", f"{pattern}\\b")
    if (folder / "qrec_robot.py").exists():
        write(folder / "qrec_robot.py", code)
    else:
        (folder / "qrec_robot.py").write_text(code)
    return folder


def taken_by(venv: Venv, word: str, folder: Path) -> str:
    """The executor that a program's call comes to."""
    program(folder, word)
    done = venv.qrec("run", f"./{word}", cwd=folder)
    assert (done.out, done.err.count("\n")) == ("beep\n", 1), done
    return done.err[1:].partition("-")[0]


# pip


@pytest.mark.timeout(300)
def test_what_pip_does_is_noticed_at_once(venv, home, tmp_path):
    source = tmp_path / "source"
    assert taken_by(venv, "robot", tmp_path) == "shell"
    venv.install(robot(source))
    assert taken_by(venv, "robot", tmp_path) == "robot"
    cache = home / "cache" / "plugins.json"
    assert taken_by(venv, "robot", tmp_path) == "robot"
    before = cache.stat()
    assert taken_by(venv, "robot", tmp_path) == "robot"
    assert cache.stat().st_ino == before.st_ino, "nobody is asked again"
    venv.install(robot(source, "2.0", "droid"), "--upgrade")
    assert (taken_by(venv, "robot", tmp_path), taken_by(venv, "droid", tmp_path)) == ("shell", "robot")
    venv.install(robot(source, "2.0", "robot"), "--force-reinstall")
    assert (taken_by(venv, "robot", tmp_path), taken_by(venv, "droid", tmp_path)) == ("robot", "shell")
    venv.pip("uninstall", "--yes", "--quiet", "qrec-robot")
    assert taken_by(venv, "robot", tmp_path) == "shell"
    assert venv.qrec("run", "-e", "robot", "true").returncode == 1


@pytest.mark.timeout(300)
def test_an_editable_install_is_followed_as_it_is_edited(venv, tmp_path):
    source = robot(tmp_path / "source")
    venv.install(source, "--editable")
    assert taken_by(venv, "robot", tmp_path) == "robot"
    robot(source, pattern="droid")
    assert (taken_by(venv, "robot", tmp_path), taken_by(venv, "droid", tmp_path)) == ("shell", "robot")
    write(source / "qrec_robot.py", "nonsense")
    done = venv.qrec("run", "echo", "hi")
    assert done.out == "hi\n"
    assert "plug-in robot (qrec-robot 1.0) is left out: NameError: name 'nonsense' is not defined" in done.err
    venv.pip("uninstall", "--yes", "--quiet", "qrec-robot")
    assert taken_by(venv, "droid", tmp_path) == "shell"


@pytest.mark.timeout(300)
def test_a_plugin_in_the_users_own_packages(tmp_path, home, monkeypatch):
    monkeypatch.setenv("PYTHONUSERBASE", str(tmp_path / "base"))
    venv = Venv(tmp_path / "venv", "--system-site-packages")
    assert taken_by(venv, "robot", tmp_path) == "shell"
    venv.install(robot(tmp_path / "source"), "--user")
    assert taken_by(venv, "robot", tmp_path) == "robot"
    venv.install(robot(tmp_path / "source", "2.0", "droid"), "--user", "--upgrade")
    assert (taken_by(venv, "robot", tmp_path), taken_by(venv, "droid", tmp_path)) == ("shell", "robot")
    shutil.rmtree(tmp_path / "base")
    assert taken_by(venv, "droid", tmp_path) == "shell"


# The examples


#: By -k: those that take long do so in parts, side by side.
PARTS = {"qrec-ssh": ("test_ssh", "not test_ssh")}


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "part"),
    [
        (path.parent.name, part)
        for path in sorted(EXAMPLES.glob("*/pyproject.toml"))
        for part in PARTS.get(path.parent.name, ("",))
    ],
)
def test_an_example_passes_its_own_tests(venv, tmp_path, name, part):
    """With nothing of pytest's but pytest itself."""
    source = tmp_path / "example"
    shutil.copytree(EXAMPLES / name, source, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    venv.install(source)
    shutil.rmtree(source / name.replace("-", "_"))  # what was installed is tested, and not what lies here
    shutil.rmtree(source / "build", ignore_errors=True)
    alone = {**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "TMPDIR": str(tmp_path)}
    for own in [variable for variable in alone if variable.startswith(("PYTEST_XDIST", "PYTEST_ADDOPTS", "QREC_"))]:
        del alone[own]
    done = venv.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", "-k", part, cwd=source, env=alone)
    assert done.returncode == 0, done.out[-5000:]
    assert " passed" in done.out
    assert "skipped" not in done.out or os.environ.get("QREC_NO_SKIPS") != "1"


def test_the_suites_need_pytest_and_nothing_else():
    ours = {"qrec", "pytest", *sys.stdlib_module_names, "tomlkit"}  # the last comes with qrec
    for path in (ROOT / "qrec" / "testing").glob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        named = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        named |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
        assert {name.partition(".")[0] for name in named} <= ours, path


# `qrec plugins`


def test_what_there_is(site, home, qrec):
    install(site, "robot", ROBOT)
    install(site, "vault", VAULT, "qrec.stores")
    rows = qrec("plugins", "--json").json
    assert [(row["kind"], row["name"]) for row in rows][:2] == [("executor", "robot"), ("executor", "shell")]
    assert ("store", "vault") in [(row["kind"], row["name"]) for row in rows]
    assert {row["kind"] for row in rows} == {"executor", "store", "hook"}
    assert rows[0] == {
        "kind": "executor", "name": "robot", "pattern": r"^(\S*/)?robot\b", "class": "qrec_robot:Robot",
        "origin": "qrec_robot", "version": "1.0", "broken": "",
    }  # fmt: skip
    assert {(row["origin"], row["version"]) for row in rows} == {
        ("qrec", __version__), ("qrec_robot", "1.0"), ("qrec_vault", "1.0")
    }  # fmt: skip
    lines = qrec("plugins", check=True).out.splitlines()
    assert lines[1].split() == ["executor", "robot", "qrec_robot", "1.0", r"^(\S*/)?robot\b"]


def test_what_is_broken(site, home, qrec):
    install(site, "broken", "import no_such_module")
    done = qrec("plugins", check=True)
    said = "plug-in broken (qrec_broken 1.0) is left out: ModuleNotFoundError: No module named 'no_such_module'"
    assert done.out.splitlines()[-1] == f"executor: {said}"
    assert done.err == "", "once is enough"
    (row,) = [row for row in qrec("plugins", "--json").json if row["broken"]]
    assert (row["name"], row["broken"]) == ("broken", said.partition(": ")[2])
    write(site / "qrec_broken.py", ROBOT.replace("Robot", "Broken").replace('"robot"', '"broken"'))
    assert [row["broken"] for row in qrec("plugins", "--json").json if row["name"] == "broken"] == [""]


def test_it_looks_anew_whatever_the_cache_says(site, home, qrec):
    install(site, "robot", ROBOT)
    qrec("plugins", check=True)
    cache = home / "cache" / "plugins.json"
    kept = json.loads(cache.read_text())
    for found in kept.values():
        found["plugins"][0]["pattern"] = "^other"
    cache.write_text(json.dumps(kept))
    (row,) = [row for row in qrec("plugins", "--json").json if row["name"] == "robot"]
    assert row["pattern"] == r"^(\S*/)?robot\b"


def test_it_says_nothing_of_stores_that_do_not_open(home, qrec: Callable[..., Result]):
    home.mkdir()
    (home / "config.toml").write_text("store = [")
    (home / "qrec.db").write_text("no database")
    assert qrec("plugins", check=True).out.startswith("kind ")
