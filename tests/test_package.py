"""What an installed qrec consists of. Distributions are built from a copy of the checkout."""

from __future__ import annotations

import configparser
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import qrec as package
from tests.helpers import ROOT

# Folders that hold no file yet carry one all the same, as soon as there is one.
PROBES = [
    "qrec/templates/probe.html",
    "qrec/templates/deep/er/probe.html",
    "qrec/static/probe.css",
    "qrec/static/js/probe.js",
]

# Tests that run at the same time write some of these, and what vanishes while it is copied is an error.
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".venv*", ".*_cache", ".hypothesis", ".ci", "__pycache__", "build", "dist", "*.egg-info"
)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("package") / "checkout"
    shutil.copytree(ROOT, copy, ignore=NOT_COPIED)
    for probe in PROBES:
        (copy / probe).parent.mkdir(parents=True, exist_ok=True)
        (copy / probe).write_text("probe")
    return copy


@pytest.fixture(scope="module")
def sdist(checkout) -> Path:
    return build("sdist", checkout, checkout.parent)


@pytest.fixture(scope="module")
def wheel(sdist) -> Path:
    """Built from the sdist, as pip does it: what the sdist lacks, the wheel lacks."""
    unpacked = sdist.parent / "unpacked"
    unpacked.mkdir()
    # Python's own tarfile wants a filter from 3.12 on, which 3.11.2 does not know
    subprocess.run(["tar", "-xf", sdist, "-C", unpacked], check=True)
    return build("wheel", next(unpacked.iterdir()), sdist.parent)


def build(kind: str, source: Path, target: Path) -> Path:
    """Without an isolated environment, so that no network is needed."""
    code = f"from setuptools import build_meta; build_meta.build_{kind}({str(target)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, check=True, capture_output=True)
    (built,) = target.glob("*.tar.gz" if kind == "sdist" else "*.whl")
    return built


@pytest.fixture(scope="module")
def in_sdist(sdist) -> set[str]:
    with tarfile.open(sdist) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


@pytest.fixture(scope="module")
def in_wheel(wheel) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def package_files(checkout) -> set[str]:
    """All files of the package, but for the placeholders that git needs to keep an empty folder."""
    files = {path for path in (checkout / "qrec").rglob("*") if path.is_file() and not path.name.startswith(".")}
    return {path.relative_to(checkout).as_posix() for path in files}


def test_wheel_carries_every_file_of_the_package(in_wheel, package_files):
    assert {*PROBES, "qrec/py.typed", "qrec/__init__.py"} <= package_files
    assert {name for name in in_wheel if name.startswith("qrec/")} == package_files


def test_wheel_carries_nothing_else(in_wheel, wheel):
    assert {name.partition("/")[0] for name in in_wheel} == {"qrec", f"qrec-{package.__version__}.dist-info"}


def test_sdist_carries_every_file_of_the_package(in_sdist, package_files):
    assert package_files <= in_sdist


def test_sdist_carries_what_it_takes_to_test_it(in_sdist):
    assert {"LICENSE", "CHANGELOG.md", "Makefile", "pyproject.toml", "setup.cfg", "setup.py"} <= in_sdist
    assert {"tools/setup", "tools/demo", "tests/conftest.py", "tests/helpers.py", "tests/test_package.py"} <= in_sdist


def test_wheel_installs_the_program(wheel):
    with zipfile.ZipFile(wheel) as archive:
        entry_points = configparser.ConfigParser()
        entry_points.read_string(archive.read(f"qrec-{package.__version__}.dist-info/entry_points.txt").decode())
    assert entry_points["console_scripts"]["qrec"] == "qrec.cli:main"


def test_installed_version_is_the_one_in_the_code():
    assert importlib.metadata.version("qrec") == package.__version__


def test_editable_install_costs_no_start_up_time():
    """It is a line in a .pth file, not an import hook that every start of Python pays for: package_dir in setup.cfg."""
    modules = subprocess.run(
        [sys.executable, "-c", "import sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    ).stdout.split()
    assert not [name for name in modules if name.startswith("__editable__")]


def test_setup_py_only_calls_setup():
    """All metadata is in setup.cfg."""
    assert (ROOT / "setup.py").read_text().split() == ["from", "setuptools", "import", "setup", "setup()"]


def test_demo_shows_what_it_records(tmp_path, monkeypatch):
    """`make demo`, without the setting up. It leaves nothing behind."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    demo = subprocess.run(
        ROOT / "tools" / "demo", check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert demo.returncode == 0, demo.stderr
    searched = demo.stdout.partition("$ qrec search files")[2]
    assert "which files are here" in searched.partition("$ qrec get")[0]
    assert '"command": "cat qrec/*.py | wc -l"' in demo.stdout.partition("$ qrec get")[2]
    assert [path.name for path in tmp_path.iterdir()] == ["user"]
