"""A real Slurm for the tests in this folder: the one that is there, else one that is brought up for them.

Every test here has a part in the cluster. Tests run at the same time, also those of other pytest runs, so a test
knows its own jobs by their ids only. What a test has left in the queue is cancelled when it ends.

Job scripts and output are in tmp_path. On a cluster whose nodes do not share this machine's /tmp, name another place:
--basetemp=FOLDER.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.helpers import Result, wait_until

HERE = Path(__file__).parent
CONFIGURATION = Path("/etc/slurm/slurm.conf")
MARK = "# written by qrec's tests/slurm/up"

#: Goes into a job whose memory is looked at: a job may be over before Slurm has measured it for the first time.
UNTIL_MEASURED = """\
until sstat --noheader --parsable2 --jobs=$SLURM_JOB_ID.batch --format=MaxRSS | grep -q "[1-9]"; do
    sleep 0.1
done
"""

#: Locks, shared by xdist's workers and by other runs; files are never removed, as somebody may hold them open.
LOCKS = Path(tempfile.gettempdir()) / f"qrec-slurm-{os.getuid()}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the cluster, and for the packages where nothing is installed yet."""
    for item in items:
        if HERE in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(600))


# Locks


@contextmanager
def lock(name: str, kind: int = fcntl.LOCK_EX) -> Iterator[int]:
    LOCKS.mkdir(mode=0o700, exist_ok=True)
    assert LOCKS.stat().st_uid == os.getuid(), f"{LOCKS} is somebody else's"
    file = os.open(LOCKS / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, kind)
        yield file
    finally:
        os.close(file)


def has_others(file: int) -> bool:
    """Whether anybody else holds the lock that we hold; if nobody does, it is exclusively ours from now on."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


# The cluster


class Cluster(NamedTuple):
    """`ours`: tests/slurm/up has made it, so a test that has it for itself may stop its daemons."""

    ours: bool


def outside() -> dict[str, str]:
    """The environment without what a shell says to Slurm, as every test has it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}


def is_ours() -> bool:
    return CONFIGURATION.exists() and MARK in CONFIGURATION.read_text(errors="replace")


def answers() -> bool:
    try:
        return bool(slurm("sinfo", "--noheader", env=outside()).stdout)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return False


def call_up() -> str:
    """What tests/slurm/up says; skips where no Slurm can be had."""
    done = subprocess.run([HERE / "up"], env=outside(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode == 2:
        pytest.skip(f"no Slurm here: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def bring_up() -> None:
    """Brings the cluster up, unless it is; remembers whether it has to go when the tests are over.

    It does so before it begins: we may be killed, and what we have started goes on.
    """
    passing = LOCKS / "passing"
    has_to_go = passing.exists()
    passing.touch()
    try:
        has_to_go = has_to_go or "already up" not in call_up()
    finally:
        if not has_to_go:
            passing.unlink()


def take_down() -> None:
    """Not a cluster that was up before us."""
    if (LOCKS / "passing").exists():
        subprocess.run([HERE / "down", "--wipe"], env=outside(), stdin=subprocess.DEVNULL, check=True)
        (LOCKS / "passing").unlink()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster that answers. Whoever is the last to need one that was brought up for the tests takes it away again."""
    if not is_ours() and answers():
        yield Cluster(ours=False)
        return
    with lock("users", fcntl.LOCK_SH) as users:
        # not while a test of another worker, or run, has stopped a daemon: to us the cluster would seem to be down
        with turn(fcntl.LOCK_SH), lock("up-and-down"):
            bring_up()
        yield Cluster(ours=True)
        with lock("up-and-down"):
            if not has_others(users):
                take_down()


@contextmanager
def turn(kind: int) -> Iterator[None]:
    """Together with all others, or alone; who waits to be alone lets nobody pass."""
    with lock("door") as door, lock("room", kind):
        fcntl.flock(door, fcntl.LOCK_UN)
        yield


@pytest.fixture(autouse=True)
def take_part(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[None]:
    """No test runs while another has the cluster for itself."""
    alone = "exclusive_cluster" in request.fixturenames
    with turn(fcntl.LOCK_EX if alone else fcntl.LOCK_SH):
        yield


@pytest.fixture
def exclusive_cluster(cluster: Cluster, take_part: None) -> Iterator[Cluster]:
    """The cluster for this test alone, which may stop what it likes: all runs again when it is over."""
    if not cluster.ours:
        pytest.skip("this cluster is somebody else's")
    yield cluster
    call_up()


# What tests do with it


def slurm(*words: str | os.PathLike[str], input: str | None = None, **popen: Any) -> Result:
    """A call of one of Slurm's programs, to its end; takes what Popen takes."""
    given = {"stdin": subprocess.DEVNULL} if input is None else {"input": input.encode()}
    done = subprocess.run(words, capture_output=True, timeout=60, **given, **popen)
    return Result(done.args, done.returncode, done.stdout, done.stderr)


def state_of(jobid: str) -> str:
    """One word, as squeue tells it, for jobs that are over too; of an array's tasks the states that occur, sorted."""
    done = slurm("squeue", "--noheader", "--array", "--states=all", f"--jobs={jobid}", "--format=%T")
    return " ".join(sorted(set(done.out.split())))


@pytest.fixture
def wait_for_state() -> Callable[..., str]:
    """`wait_for_state(jobid, "RUNNING", "COMPLETED")` waits until it is one of these, and tells which."""

    def wait_for_state(jobid: str, *states: str) -> str:
        def found() -> str:
            state = state_of(jobid)
            return state if state in states else ""

        return wait_until(found, 120, f"job {jobid} to be {' or '.join(states)}; it is {state_of(jobid)!r}")

    return wait_for_state


@pytest.fixture
def batch(tmp_path: Path) -> Callable[..., Path]:
    """Writes a job script: `batch("echo hi")`, `batch(text, "my job.sh")`; a first line for sh is added if missing."""

    def batch(text: str, name: str = "job.sh") -> Path:
        path = tmp_path / name
        path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return batch


def cancel_jobs(folder: Path, ids: set[str]) -> None:
    """Those with these ids, and those submitted in the folder or below."""
    listed = slurm("squeue", "--noheader", "--format=%F %Z").out.splitlines()
    rows = [line.partition(" ") for line in listed]
    ids = ids | {jobid for jobid, _, workdir in rows if f"{workdir}/".startswith(f"{folder}/")}
    if ids:
        slurm("scancel", "--quiet", *ids)


@pytest.fixture
def leftovers(tmp_path: Path) -> Iterator[set[str]]:
    """Ids of jobs to be cancelled in the end; those submitted in tmp_path are found without being added."""
    ids: set[str] = set()
    yield ids
    cancel_jobs(tmp_path, ids)


@pytest.fixture(autouse=True)
def cancel_leftovers(take_part: None, leftovers: set[str]) -> None:
    """No test leaves jobs in the queue."""


@pytest.fixture
def submit(leftovers: set[str], tmp_path: Path) -> Callable[..., str]:
    """Calls sbatch with these words, in tmp_path unless told otherwise (`cwd`), and returns the job's id."""

    def submit(*words: str | os.PathLike[str], input: str | None = None, cwd: Path = tmp_path) -> str:
        done = slurm("sbatch", "--parsable", *words, input=input, cwd=cwd)
        assert done.returncode == 0, done
        jobid = done.out.split(";")[0].strip()
        leftovers.add(jobid)
        return jobid

    return submit
