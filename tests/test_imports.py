"""What may import what: `qrec run` must start fast, and the house has floors."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers import ROOT, environment

PACKAGE = ROOT / "qrec"

#: Each of these costs more than all that `qrec run` needs, or drags in one that does.
DEAR = """
    argparse asyncio click concurrent contextvars copy dataclasses decimal difflib email flask hashlib http
    importlib.metadata inspect libtmux locale logging multiprocessing networkx pathlib pickle platform pprint psutil
    random rich secrets shutil socket sqlite_utils ssl subprocess tempfile textwrap threading tomli tomllib tomlkit
    traceback typing typing_extensions urllib uuid weakref xml zipfile
""".split()

#: Imports nothing by itself but what is wanted, and tells what has come with that.
SHOW = """
import os, sys
before = set(sys.modules)
def leave(code):
    os.write(9, "\\n".join(sorted(set(sys.modules) - before)).encode())
    os.close(9)
    exit(code)
exit, os._exit = os._exit, leave
sys.argv = ["qrec", *sys.argv[1:]]
from qrec.cli import main
main()
"""


def modules(*words: str) -> set[str]:
    """What a call of qrec imports that Python does not by itself; -S, since what .pth files import is not ours."""
    reader, writer = os.pipe()
    script = [sys.executable, "-S", "-c", SHOW, *words]
    paths = ":".join(path for path in sys.path if path)
    shell = f'exec 9>&{writer}; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", shell, "bash", *script],
        env=environment({"PYTHONPATH": f"{ROOT}:{paths}"}),
        pass_fds=[writer],
        capture_output=True,
        cwd=ROOT,
    )
    assert done.returncode == 0, done
    with open(reader, "rb") as file:
        os.close(writer)
        found = set(file.read().decode().split())
    assert "qrec.cli" in found
    return found


@pytest.fixture(params=["sqlite", "filesystem"])
def store(request, monkeypatch, home) -> str:
    """A store and caches that are there already."""
    monkeypatch.setenv("QREC_STORE", request.param)
    for _ in range(2):
        modules("-q", "run", "true")
    return str(request.param)


@pytest.mark.parametrize(
    "words", [["run", "true"], ["-q", "run", "true"], ["run", "-m", "note", "-t", "tag", "echo", "a b"]]
)
def test_running_imports_little(store, words):
    found = modules(*words)
    assert "qrec.recorder" in found
    assert sorted(found & set(DEAR)) == []


def test_a_short_run_after_a_config_file_was_written(store, home):
    (home / "config.toml").write_text(f'store = "{store}"\n')
    modules("run", "true")
    assert sorted(modules("run", "true") & set(DEAR)) == []


def test_the_other_store_stays_outside(store):
    other = {"sqlite": "qrec.stores.filesystem", "filesystem": "qrec.stores.sqlite"}[store]
    found = modules("run", "true")
    assert other not in found
    assert ("sqlite3" in found) == (store == "sqlite")


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["ls"], ["get"]])
def test_looking_back_imports_no_giants(store, words):
    giants = {"sqlite_utils", "networkx", "libtmux", "flask", "psutil", "rich", "pandas", "numpy", "asyncio"}
    assert sorted(modules(*words) & giants) == []


def test_importing_qrec_imports_nothing_else():
    show = "import sys; before = set(sys.modules); import qrec; print(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-S", "-c", show], capture_output=True, cwd=ROOT, check=True, text=True)
    assert set(done.stdout.split()) <= {"qrec", "__future__"}


# The house

#: From the ground up; a floor may take several lines.
FLOORS = (
    "errors task units quoting reason",
    """config hook_tables registry discovery process signals shim terminal output shown compressed search spool usage
    facts graph redact tracebacks timeline terminal_text notify""",
    "stores firing recorder observer keeper adopted pane published why compare",
    "executors typed doors",
    """api hooks worker limits running presence jobs launch queue queue_job queue_words script backends sessions
    slurm_queue explain sweep drawing gc doctor watch""",
    "__init__ __main__ cli dashboard monitor progress testing",
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}


def imports(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Which of our modules are imported below a node, and in which line; `if TYPE_CHECKING` does not count."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            continue
        if isinstance(child, ast.Import):
            yield from ((child.lineno, alias.name) for alias in child.names)
        if isinstance(child, ast.ImportFrom):
            yield from ((child.lineno, f"{child.module}.{alias.name}") for alias in child.names)
        yield from imports(child)


def floor_of(dotted: str) -> int | None:
    """On which floor the thing that is imported lives; None if it is not ours."""
    first, *rest = dotted.split(".")
    if first != "qrec":
        return None
    is_module = bool(rest) and any((PACKAGE / name).exists() for name in (rest[0], f"{rest[0]}.py"))
    return FLOOR.get(rest[0] if is_module else "__init__")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downward_only(path: Path):
    name = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert name in FLOOR, f"qrec/{name} has no floor yet: give it the lowest on which all that it imports is below"
    here = FLOOR[name]
    found = [(line, name, floor_of(name)) for line, name in imports(ast.parse(path.read_text()))]
    assert [(line, name) for line, name, floor in found if floor is not None and floor > here] == []


def test_no_import_is_relative():
    """The test above would not see them."""
    for path in PACKAGE.rglob("*.py"):
        assert not [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom) and node.level
        ]
