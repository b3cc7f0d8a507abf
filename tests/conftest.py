"""Every test gets a home of its own, and every process it starts is gone when it ends."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.helpers import ROOT, Result, environment, kill_processes_of

# pytest calls what it finds in a conftest under these names
from tests.no_skips import pytest_make_collect_report as pytest_make_collect_report
from tests.no_skips import pytest_runtest_makereport as pytest_runtest_makereport

if TYPE_CHECKING:
    from tests.queueing import Marks

# What the shell that started pytest may say to qrec, or to a program that qrec starts.
FOREIGN = tuple("QREC_ XDG_ SLURM_ SBATCH_ TMUX GIT_ NO_COLOR FORCE_COLOR CLICOLOR COLUMNS LINES MAKE MFLAGS".split())


def pytest_configure(config: pytest.Config) -> None:
    """Nothing that whoever started us has arranged for itself is for the tests.

    Signals are ignored in what a shell runs in the background; and thousands of qrec's processes that compile all they
    import take twice the time.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    if config.rootpath == ROOT:  # the suites of tests/test_conftest.py would only wait for its import
        let_examples_take_their_time()


def let_examples_take_their_time() -> None:
    """Hypothesis gives one a fifth of a second, unless it is told otherwise; a busy machine may stall for longer.

    The whole check takes the same examples each time: it tells what a change has broken, not what chance has found.
    """
    from hypothesis import HealthCheck, settings

    always = bool(os.environ.get("QREC_NO_SKIPS"))
    settings.register_profile("busy", deadline=None, derandomize=always, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy")


def pytest_xdist_auto_num_workers() -> int:
    """Two for each CPU, as most tests wait half of their time, and one that mostly waits for the cluster."""
    return 2 * len(os.sched_getaffinity(0)) + 1


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Slurm's first: they wait for the cluster, and some want it for themselves, so one worker begins with all of them.

    The others, which have no tests left later on, take what it has not come to.
    """
    items.sort(key=lambda item: "slurm" not in item.path.parts)


@pytest.fixture(autouse=True)
def user_home(tmp_path: Path) -> Iterator[Path]:
    """No test sees the user's home, settings, or tmux server, not even one that asks for no fixture."""
    user_home = tmp_path / "user"
    user_home.mkdir()
    # not below tmp_path: the path of a socket must stay under 108 bytes
    tmux = Path(tempfile.mkdtemp(prefix="qrec-tmux-"))
    # not the fixture monkeypatch, which a test may undo
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(FOREIGN)]:
            patch.delenv(name)
        patch.setenv("HOME", str(user_home))
        patch.setenv("LC_ALL", "C.UTF-8")
        patch.setenv("SHELL", "/bin/sh")
        patch.setenv("TERM", "xterm")
        patch.setenv("TMUX_TMPDIR", str(tmux))
        yield user_home
    if any(tmux.iterdir()):
        kill_processes_of(tmp_path)
    shutil.rmtree(tmux)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """QREC_HOME, for this process and for those it starts; qrec makes the folder when it needs it."""
    path = tmp_path / "home"
    monkeypatch.setenv("QREC_HOME", str(path))
    return path


@pytest.fixture
def start(home: Path, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts the real program: `start("run", "sleep", "60")` gives a Popen with pipes for stdout and stderr.

    `env` holds changes to the environment (None takes a variable away); whatever else Popen takes may be given. The
    program leads a session of its own, runs in tmp_path, and is killed in the end with all it has started.
    """
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *words: str | os.PathLike[str], env: dict[str, str | None] | None = None, **popen: Any
    ) -> subprocess.Popen[bytes]:
        defaults: dict[str, Any] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "cwd": tmp_path,
            "start_new_session": True,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "qrec", *words], env=environment(env), **{**defaults, **popen}
        )
        started.append(process)
        return process

    yield start
    for process in started:
        end(process)
    kill_processes_of(tmp_path)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kills a program that a test has left running, and closes our ends of its pipes."""
    if process.poll() is None:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe:
            pipe.close()


@pytest.fixture
def qrec(start: Callable[..., subprocess.Popen[bytes]], tmp_path: Path) -> Callable[..., Result]:
    """Runs the real program to its end: `qrec("run", "ls", check=True).out`.

    Takes what `start` takes, and `input` (bytes, or text), `check` (a code other than 0 fails the test) and `timeout`.
    """

    def qrec(
        *words: str | os.PathLike[str],
        input: bytes | str | None = None,
        check: bool = False,
        timeout: float = 60,
        **popen: Any,
    ) -> Result:
        if input is not None:
            popen["stdin"] = subprocess.PIPE
        process = start(*words, **popen)
        try:
            stdout, stderr = process.communicate(input.encode() if isinstance(input, str) else input, timeout)
        except subprocess.TimeoutExpired:
            # what qrec has started holds the pipes open, so it has to go as well before the output can be shown
            process.kill()
            kill_processes_of(tmp_path)
            raise AssertionError(f"{words} took more than {timeout:g} s: {process.communicate()}") from None
        result = Result(process.args, process.returncode, stdout, stderr)
        assert result.returncode == 0 or not check, result
        return result

    return qrec


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder we are in, under a name that wants quotes: jobs run where they were submitted."""
    path = tmp_path / "here it's"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


@pytest.fixture
def marks(tmp_path: Path) -> Marks:
    """Where jobs leave traces."""
    from tests.queueing import Marks

    return Marks(tmp_path / "marks")


@pytest.fixture
def started(start: Callable[..., Any]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a worker in a process of its own: `started("queue", workers=2)`."""
    from tests.queueing import end_all, start_worker

    processes: list[subprocess.Popen[bytes]] = []
    yield lambda *words, **how: start_worker(processes, *words, **how)
    end_all(processes)


@pytest.fixture(params=["sqlite", "filesystem"])
def kind(request: pytest.FixtureRequest, home: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each store in turn, for this process and those it starts."""
    kind: str = request.param
    monkeypatch.setenv("QREC_STORE", kind)
    return kind
