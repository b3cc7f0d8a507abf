"""Nothing is lost and nothing run twice: workers and keepers are killed, stopped and interrupted, the store fails."""

from __future__ import annotations

import os
import pty
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from qrec.api import Qrec
from qrec.explain import Picture, explain
from qrec.jobs import Jobs
from qrec.keeper import Began, Done, Keeper, Order
from qrec.output import attempt_folder
from qrec.presence import workers
from qrec.task import Status
from tests.helpers import wait_until
from tests.queueing import (
    CRASHED,
    find,
    is_there,
    job,
    jobs,
    kill,
    nothing_is_left,
    outcomes,
    pid_in,
    pid_of,
    stands,
    stderr,
    stdout,
    stepping,
    stop,
    worker,
)
from tests.test_trouble import SMALL_DISK as SMALL_DISK
from tests.test_trouble import Disk, fill, make_room, whole
from tests.test_trouble import disk as disk

# `start` ends whatever a queue leaves running
pytestmark = pytest.mark.usefixtures("start", "here")


def run(queue: Jobs, **how: Any) -> None:
    """What the next worker does."""
    one = worker(queue, **how)
    one.run()
    assert one.door.complaints == []


def killed(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def keeper_of(queue: Jobs, name: str) -> int:
    return int(find(queue, name).data["process"]["command"][0])


# Workers are killed


def test_killed_at_random(kind, marks, started):
    """Two workers at a time, killed at any moment: every job exactly once, and with its real code."""
    chance = random.Random(5)
    names = [str(number) for number in range(30)]
    codes = {name: chance.choice([0, 0, 0, 7]) for name in names}
    queue = jobs(*(
        job(
            marks.once(name, f"sleep {chance.choice([0, 0, 0.01, 0.05, 0.3])}; echo {name}; exit {codes[name]}"), name,
            depends_any=tuple({chance.choice(names[:number]) for _ in range(chance.choice([0, 0, 1, 2])) if number}),
        ) for number, name in enumerate(names)
    ))  # fmt: skip
    kills, left = 0, len(names)
    moment = 0.2  #: longer on a machine on which they come to nothing in it
    while left:
        pair = [started(workers=2) for _ in range(2)]
        for process in pair:
            try:
                process.wait(chance.uniform(moment, 2 * moment))
            except subprocess.TimeoutExpired:
                killed(process)
                kills += 1
        before, left = left, len(queue.unfinished())
        moment *= 1.3 if left == before else 1
        assert kills < 200
    assert kills
    ended = {name: ("failed" if code else "complete", code) for name, code in codes.items()}
    assert outcomes(queue) == ended
    assert [marks.starts(name) for name in names] == [1] * len(names)
    assert [stdout(queue, name).decode() for name in names] == [f"{name}\n" for name in names]
    assert {done.attempt for done in queue.all()} == {1}


#: Where a worker falls dead: the line that is put into its process.
POINTS = {
    "before the first turn": "worker.step = fall",
    "in the claim, not committed": "worker.claim = then_fall(worker.claim)",
    "claimed": "worker.begin = fall",
    "one begun, others claimed": "worker.begin_here = then_fall(worker.begin_here)",
    "its folder was made": "qrec.worker.job_words = fall",
    "before the keeper hears": "qrec.keeper.Keeper.start = fall",
    "the keeper has half a line": "qrec.keeper.Keeper.say = lambda one, words: (os.write(one.mouth, b'{'), fall())",
    "when it has begun": "worker.hear = when(lambda: any(one.pid for one in worker.running.values()), worker.hear)",
    "when it is told": "worker.tell = then_fall(worker.tell)",
    "when one has ended": "worker.hear = when(lambda: any(one.ended for one in worker.running.values()), worker.hear)",
    "in the settling, not committed": "worker.settle = when(lambda: not done or done[-1], worker.settle)",
    "settled, not put away": "worker.put_away = lambda tasks: tasks and fall()",
    "in the midst of putting away": "worker.folders.take_back = then_fall(worker.folders.take_back)",
    "when one was skipped": "worker.skip = when(lambda: done[-1], worker.skip)",
}
#: Between an end's commit and the removal of its files; nothing refers to them any more.
LEAVES = (
    "in the settling, not committed",
    "settled, not put away",
    "in the midst of putting away",
    "when one was skipped",
)
FALLING = f"""
done = []
def fall(*words, **named):
    os._exit({CRASHED})
def then_fall(function):
    return lambda *words, **named: (function(*words, **named), fall())
def when(condition, function):
    def wrapped(*words, **named):
        done.append(function(*words, **named))
        if condition():
            fall()
        return done[-1]
    return wrapped
"""


@pytest.mark.parametrize("point", POINTS)
def test_a_worker_falls_dead(kind, marks, started, home, point):
    """The next one ends all, each job exactly once."""
    line = marks.held if point == "when it is told" else marks.once
    queue = jobs(
        job(line("bad", "echo bad; exit 3"), "bad"),
        job(line("good", "echo good"), "good"),
        job(marks.once("later"), "later", depends_any=("bad", "good")),
        job(marks.once("never"), "never", depends=("bad",)),
        workers=2,
    )
    process = started(extra=FALLING + POINTS[point])
    assert process.wait(60) == CRASHED
    marks.let_go("bad", "good")
    run(queue)
    assert outcomes(queue) == {
        "bad": ("failed", 3), "good": ("complete", 0), "later": ("complete", 0), "never": ("skipped", None),
    }  # fmt: skip
    assert [marks.starts(name) for name in ("bad", "good", "later", "never")] == [1, 1, 1, 0]
    assert (stdout(queue, "bad"), stdout(queue, "good")) == (b"bad\n", b"good\n")
    assert {done.attempt for done in queue.all()} == {1}
    if point not in LEAVES:
        nothing_is_left(home)


def test_a_killed_launcher_is_followed(marks, started):
    """A job that is launched by a process of its own does not end with the worker."""
    queue = jobs(job(("tmux", "new-session", "-d", marks.held("a", "exit 3")), "a"))
    process = started()
    marks.began("a")
    killed(process)
    marks.let_go("a")
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 3)}
    assert marks.starts("a") == 1


@pytest.mark.parametrize(
    "point",
    [
        "qrec.worker.make_ready = then_fall(qrec.worker.make_ready)",
        "worker.begin_launch = then_fall(worker.begin_launch)",
    ],
)
def test_a_worker_falls_dead_as_it_launches(marks, started, point):
    queue = jobs(job(("tmux", "new-session", "-d", marks.once("a", "exit 3")), "a"))
    assert started(extra=FALLING + point).wait(60) == CRASHED
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 3)}
    assert marks.starts("a") == 1


def test_the_next_worker_follows_what_runs(kind, marks, started):
    """It has its real code, its output, and is not begun again; the slot is taken."""
    queue = jobs(job(marks.held("a", "echo end; echo err >&2; exit 5"), "a"), job(marks.once("b"), "b"), workers=1)
    process = started()
    first = pid_in(queue, "a")
    killed(process)
    with stepping(queue) as stepper:
        stepper.turns(3)
        assert outcomes(queue) == {"a": ("running", None), "b": ("queued", None)}
        marks.let_go("a")
        stepper.to_the_end()
    assert outcomes(queue) == {"a": ("failed", 5), "b": ("complete", 0)}
    assert (stdout(queue, "a"), stderr(queue, "a")) == (b"end\n", b"err\n")
    assert (find(queue, "a").pid, marks.starts("a")) == (first, 1)


def test_what_ended_while_nobody_worked(kind, marks, started):
    """The keeper goes when its last job has; looking alone settles them."""
    queue = jobs(job(marks.held("a", "echo end; exit 5"), "a"), job(marks.held("b", "kill -SEGV $$"), "b"), workers=2)
    process = started()
    marks.began("a", "b")
    keeper = keeper_of(queue, "a")
    killed(process)
    marks.let_go("a", "b")
    wait_until(lambda: not is_there(keeper), what="the keeper to go")
    assert workers(queue.door.home) == []
    queue.refresh()
    assert outcomes(queue) == {"a": ("failed", 5), "b": ("failed", 139)}
    assert find(queue, "b").signal == 11
    assert stdout(queue, "a") == b"end\n"


def test_a_stopped_worker(marks, started):
    """Another works meanwhile; what the stopped one runs goes on; woken, it finds all done."""
    names = [str(number) for number in range(6)]
    queue = jobs(job(marks.held("a", "exit 4"), "a"), *(job(marks.once(name), name) for name in names), workers=1)
    process = started()
    marks.began("a")
    stop(process.pid, queue.store)
    other = started()
    wait_until(lambda: all(stands(queue, name, Status.COMPLETE) for name in names))
    marks.let_go("a")
    assert other.wait(60) == 0
    assert outcomes(queue)["a"] == ("failed", 4)
    process.send_signal(signal.SIGCONT)
    assert process.wait(60) == 0
    assert outcomes(queue) == {"a": ("failed", 4), **dict.fromkeys(names, ("complete", 0))}
    assert [marks.starts(name) for name in ("a", *names)] == [1] * 7


# Keepers are killed


def test_worker_and_keeper_are_killed(kind, marks, started):
    """Lost is only what has gone with them; what still runs is followed to its end, which nobody sees."""
    queue = jobs(
        job(marks.held("gone", f"echo $$ >{marks.path('pid')}"), "gone"), job(marks.held("lives"), "lives"),
        job(marks.held("ended", "exit 3"), "ended"), job(marks.once("next"), "next"),
        job("true", "after", depends=("lives",)), job("true", "any", depends_any=("lives", "gone")), workers=3,
    )  # fmt: skip
    process = started()
    gone, lives = pid_in(queue, "gone"), pid_in(queue, "lives")
    pid_in(queue, "ended")
    keeper = keeper_of(queue, "gone")
    process.send_signal(signal.SIGSTOP)
    marks.let_go("ended")
    folder = attempt_folder(queue.door.home, find(queue, "ended").uid, 1)
    wait_until(lambda: Path(folder, "started").read_text().count("\n") == 2)
    killed(process)
    kill(keeper)
    kill(gone)
    with stepping(queue) as stepper:
        stepper.until(lambda: stands(queue, "gone", Status.LOST) and stands(queue, "next", Status.COMPLETE))
        assert outcomes(queue)["ended"] == ("failed", 3)
        assert stands(queue, "lives", Status.RUNNING)
        assert is_there(lives)
        marks.let_go("lives")
        stepper.to_the_end()
    assert outcomes(queue) == {
        "gone": ("lost", None), "lives": ("lost", None), "ended": ("failed", 3), "next": ("complete", 0),
        "after": ("skipped", None), "any": ("complete", 0),
    }  # fmt: skip
    assert find(queue, "after").data["reason"] == "lives was lost"
    assert [marks.starts(name) for name in ("gone", "lives", "ended", "next")] == [1] * 4
    queue.retry([find(queue, "lives")])
    run(queue)
    assert outcomes(queue)["after"] == ("complete", 0)


def test_a_keeper_is_killed(marks):
    """The worker gets itself another; the orphans keep their slots until they have ended, which nobody sees."""
    queue = jobs(job(marks.held("a"), "a"), job(marks.held("b"), "b"), job(marks.held("c"), "c"), workers=2)
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("a") and marks.starts("b"))
        stepper.until(lambda: all(one.pid for one in stepper.worker.running.values()))
        assert stepper.worker.keeper
        kill(stepper.worker.keeper.pid)
        stepper.until(lambda: stepper.worker.keeper is None)
        stepper.turns(3)
        assert outcomes(queue) == {"a": ("running", None), "b": ("running", None), "c": ("queued", None)}
        assert Picture(queue, queue.all()).why(find(queue, "a")) == "its keeper has gone"
        (said,) = explain(queue, find(queue, "a"))
        assert said.endswith("; the process that kept it was killed, so nobody will learn its return code")
        marks.let_go("a")
        stepper.until(lambda: marks.starts("c"))
        assert stands(queue, "a", Status.LOST)
        assert stands(queue, "b", Status.RUNNING)
        marks.let_go("b", "c")
        stepper.to_the_end()
    assert outcomes(queue) == {"a": ("lost", None), "b": ("lost", None), "c": ("complete", 0)}
    assert [marks.starts(name) for name in "abc"] == [1, 1, 1]


def test_a_keeper_is_killed_while_the_store_is_busy(marks):
    queue = jobs(job(marks.held("a"), "a"), job(marks.held("b"), "b"), workers=2)
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("a") and marks.starts("b"))
        stepper.worker.store.patience = 0.05
        assert stepper.worker.keeper
        with Qrec().store.together():
            kill(stepper.worker.keeper.pid)
            stepper.until(lambda: stepper.worker.keeper is None or stepper.worker.keeper.gone)
            stepper.turns(2)
        marks.let_go("a", "b")
        stepper.to_the_end()
    assert outcomes(queue) == {"a": ("lost", None), "b": ("lost", None)}


#: Where a keeper falls dead, and how the first job stands then.
KEEPERS_POINTS = {
    "before it takes the job": ("k.Keeping.start = fall", ("complete", 0), 1),
    "when it has taken the job": ("k.Keeping.spawn = fall", ("lost", None), 0),
    "before it tells of the end": ("k.Keeping.tell_end = fall", ("complete", 0), 1),
}


@pytest.mark.parametrize("point", KEEPERS_POINTS)
def test_a_keeper_falls_dead(kind, marks, point):
    """A job that was taken by one that fell is lost; any other runs exactly once."""
    line, end, starts = KEEPERS_POINTS[point]
    queue = jobs(job(marks.once("a"), "a"), job(marks.once("b"), "b"), workers=1)
    program = f"import os, qrec.keeper as k\ndef fall(*words): os._exit({CRASHED})\n{line}\nk.main()"
    with stepping(queue) as stepper, pytest.MonkeyPatch.context() as patch:
        patch.setattr("qrec.keeper.PROGRAM", program)
        stepper.until(lambda: stepper.worker.keeper is not None)
        patch.undo()
        stepper.to_the_end()
    assert outcomes(queue) == {"a": end, "b": ("complete", 0)}
    assert (marks.starts("a"), marks.starts("b")) == (starts, 1)


def test_a_keeper_falls_dead_before_it_has_told_of_its_job(kind, marks):
    """Nobody knows the job's pid, and still it is not called lost as long as it runs."""
    queue = jobs(job(marks.held("a", "true"), "a"))
    program = f"import os, qrec.keeper as k\nk.start_ticks = lambda pid: os._exit({CRASHED})\nk.main()"
    with stepping(queue) as stepper, pytest.MonkeyPatch.context() as patch:
        patch.setattr("qrec.keeper.PROGRAM", program)
        stepper.until(lambda: marks.starts("a"))
        stepper.until(lambda: stepper.worker.keeper is None)
        stepper.worker.next_outside = 0.0
        stepper.turns(3)
        assert outcomes(queue) == {"a": ("running", None)}
        marks.let_go("a")
        stepper.to_the_end()
    assert outcomes(queue) == {"a": ("lost", None)}
    assert marks.starts("a") == 1


# Signals to a worker


def test_interrupted_once(kind, marks, started):
    """It claims no more, and waits for what runs; the jobs hear nothing of it."""
    queue = jobs(job(marks.held("a", "exit 3"), "a"), job(marks.once("b"), "b"), workers=1)
    process = started()
    marks.began("a")
    os.killpg(process.pid, signal.SIGINT)
    marks.let_go("a")
    assert process.wait(60) == 0
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("queued", None)}
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("complete", 0)}


def test_interrupted_twice(kind, marks, started):
    """What runs is ended; what waits goes on waiting."""
    queue = jobs(
        job(marks.once("a", "sleep 60"), "a", retries=3, teardown="echo torn"), job(marks.once("b"), "b"), workers=1
    )
    heard = str(marks.path("heard"))  # two signals of a kind may become one
    process = started(extra=f"worker.on_interrupt = lambda: open({heard!r}, 'w').close()")
    marks.began("a")
    process.send_signal(signal.SIGINT)
    wait_until(marks.path("heard").exists)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert outcomes(queue) == {"a": ("cancelled", 143), "b": ("queued", None)}
    assert stdout(queue, "a") == b"torn\n"


def test_interrupted_twice_before_the_job_has_begun(marks, started):
    """The keeper is slow: the job is ended as soon as it begins."""
    queue = jobs(job(marks.once("a", "sleep 60"), "a"), workers=1)
    extra = """
call = worker.begin_here
def begin_here(one):
    os.kill(worker.keeper.pid, signal.SIGSTOP)
    call(one)
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
    os.kill(worker.keeper.pid, signal.SIGCONT)
worker.begin_here = begin_here
"""
    assert started(extra=extra).wait(60) == 0
    assert stands(queue, "a", Status.CANCELLED)


def test_secrets_of_a_job_that_is_adopted(kind, marks, started, home):
    """What was kept for its workers goes when it completes, whoever learns of it."""
    queue = jobs(job(marks.held("a", "echo ${#KEY_TOKEN}"), "a", env={"KEY_TOKEN": "ghp_" + "0123456789" * 3}))
    assert list((home / "incoming").iterdir())
    process = started()
    marks.began("a")
    killed(process)
    marks.let_go("a")
    run(queue)
    assert (outcomes(queue), stdout(queue, "a")) == ({"a": ("complete", 0)}, b"34\n")
    nothing_is_left(home)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_told_to_go(kind, marks, started, number):
    """It goes at once; its jobs go on, and the next worker has their codes."""
    queue = jobs(job(marks.held("a", "exit 3"), "a"), job(marks.once("b"), "b"), workers=1)
    process = started()
    running = pid_in(queue, "a")
    process.send_signal(number)
    assert process.wait(60) == 0
    assert is_there(running)
    assert outcomes(queue) == {"a": ("running", None), "b": ("queued", None)}
    assert workers(queue.door.home) == []
    marks.let_go("a")
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("complete", 0)}
    assert marks.starts("a") == 1


def test_the_terminal_is_closed(marks, started):
    """As a closed window does it: worker and jobs lose the terminal, the jobs do not notice."""
    queue = jobs(job(marks.held("a", "echo still here; exit 3"), "a"), workers=1)
    master, slave = pty.openpty()
    extra = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"
    process = started(extra=extra, popen={"stdin": slave, "stdout": slave, "stderr": slave})
    os.close(slave)
    running = pid_in(queue, "a")
    os.close(master)
    assert process.wait(60) == 0
    assert is_there(running)
    marks.let_go("a")
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 3)}
    assert stdout(queue, "a") == b"still here\n"


# The store fails


def test_the_store_is_locked_for_long(kind, marks, started):
    """Longer than a worker waits: it tries again, and neither loses a job nor runs one twice."""
    names = [str(number) for number in range(30)]
    queue = jobs(job(marks.held("a"), "a"), *(job(marks.once(name, "exit 3"), name) for name in names), workers=2)
    process = started(extra="door.store.patience = 0.1", popen={"stderr": subprocess.PIPE})
    marks.began("a")
    for _ in range(2):
        with queue.store.together():
            marks.let_go("a")
            time.sleep(0.6)  # longer than it waits
    assert process.wait(60) == 0
    assert outcomes(queue) == {"a": ("complete", 0), **dict.fromkeys(names, ("failed", 3))}
    assert [marks.starts(name) for name in ("a", *names)] == [1] * 31
    assert process.stderr.read() == b""


@pytest.mark.parametrize("fails", range(1, 6))
def test_the_store_fails_in_the_midst_of_a_turn(kind, marks, started, fails):
    """One change fails, at any place of the transaction: what was written of it, if anything, is found and mended."""
    names = [str(number) for number in range(4)]
    queue = jobs(*(job(marks.once(name, "exit 3"), name) for name in names), workers=2)
    extra = f"""
from qrec.explain import Picture, explain
from qrec.errors import StoreError
call, times = door.store.swap, []
def swap(*words, **named):
    times.append(0)
    if len(times) == {fails}:
        raise StoreError("the store fails, in this test")
    return call(*words, **named)
door.store.swap = swap
qrec.worker.TRY_AGAIN = 0.05
"""
    assert started(extra=extra).wait(60) == 0
    assert outcomes(queue) == dict.fromkeys(names, ("failed", 3))
    assert [marks.starts(name) for name in names] == [1] * 4


def test_the_disk_is_full(kind, marks, disk, home, tmp_path):
    """The worker waits for room; then all run, each exactly once."""
    names = [str(number) for number in range(6)]
    queue = jobs(*(job(marks.once(name, f"echo {name}; exit 3"), name) for name in names), workers=2)
    queue.store.close()
    full: Disk = disk(SMALL_DISK, home, home.rename(home.with_name("before")))
    fill(full, home)
    words = [sys.executable, "-c", WORKING, str(marks.path("trouble"))]
    process = subprocess.Popen([*full.enter, "sh", "-c", 'cd "$1"; shift; exec "$@"', "sh", str(tmp_path), *words])
    try:
        wait_until(lambda: marks.path("trouble").exists() or process.poll() is not None, what="the worker to meet it")
        make_room(full, home)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            killed(process)
    told = full.do(sys.executable, "-c", TELLING, check=True).out.splitlines()
    assert told == [f"{name} failed 3 {name}" for name in names]
    assert [marks.starts(name) for name in names] == [1] * 6
    assert whole(full, home)


WORKING = """
import sys
from qrec.api import Qrec
from qrec.worker import Worker
worker = Worker(Qrec(), "default")
call = worker.complain
def complain(error):
    open(sys.argv[1], "w").close()
    call(error)
worker.complain = complain
worker.run()
"""
TELLING = """
from qrec.api import Qrec
from qrec.explain import Picture, explain
from qrec.jobs import Jobs
queue = Jobs(Qrec())
for job in queue.all():
    print(job.name, job.status.value, job.returncode, queue.door.raw(job).read("stdout").decode().strip())
"""


# The keeper by itself


@pytest.fixture
def keeper() -> Iterator[Keeper]:
    keeper = Keeper()
    yield keeper
    if keeper.mouth >= 0:
        keeper.close()


def order(folder: Path, *words: str, **fields: Any) -> Order:
    """An order with its folder made."""
    folder.mkdir(exist_ok=True)
    named = {"key": folder.name, "folder": str(folder), "words": words, "cwd": "/", "slots": 2, **fields}
    return Order(**named)


def heard(keeper: Keeper, number: int) -> list[Began | Done]:
    """The next so many words of a keeper."""
    told: list[Began | Done] = []

    def are_enough() -> bool:
        told.extend(keeper.news())
        return len(told) >= number

    wait_until(are_enough, what=f"{number} words of the keeper")
    return told


def test_what_a_keeper_tells(keeper, tmp_path):
    keeper.start(order(tmp_path / "a", "sh", "-c", "echo out; echo err >&2; pwd; echo $X; exit 3", env={"X": "a b"}))
    began, done = heard(keeper, 2)
    assert isinstance(began, Began)
    assert isinstance(done, Done)
    assert (began.key, began.slot, done.key) == ("a", 0, "a")
    assert done.ended
    assert (done.ended.returncode, done.ended.signal) == (3, None)
    assert (tmp_path / "a" / "stdout").read_text() == "out\n/\na b\n"
    assert (tmp_path / "a" / "stderr").read_text() == "err\n"
    first, second = (tmp_path / "a" / "started").read_text().splitlines()
    assert first.split()[0] == str(began.pid)
    assert second.split()[:2] == ["3", "0"]
    assert (tmp_path / "a" / "started").stat().st_mode & 0o77 == 0


def test_a_program_is_looked_for_on_the_path_of_its_job(keeper, tmp_path):
    """A relative folder of it counts from the job's."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "ls").write_text("#!/bin/sh\necho mine\n")
    (tmp_path / "bin" / "ls").chmod(0o755)
    for name, folder in (("a", str(tmp_path / "bin")), ("b", "bin")):
        path = f"{folder}:{os.environ['PATH']}"
        keeper.start(order(tmp_path / name, "ls", cwd=str(tmp_path), env={"PATH": path}))
    heard(keeper, 4)
    assert [(tmp_path / name / "stdout").read_text() for name in "ab"] == ["mine\n"] * 2


def test_what_cannot_be_started(keeper, tmp_path):
    keeper.start(order(tmp_path / "a", "no-such-program"))
    keeper.start(order(tmp_path / "b", "true", cwd="/no/such/folder"))
    keeper.start(Order(key="c", folder=str(tmp_path / "missing"), words=("true",), cwd="/", slots=2))
    codes = {word.key: word.ended.returncode for word in heard(keeper, 3) if isinstance(word, Done) and word.ended}
    assert codes == {"a": 127, "b": 125, "c": 125}
    assert b"no-such-program" in (tmp_path / "a" / "stderr").read_bytes()


def test_nobody_runs_it_twice(keeper, tmp_path):
    """Who creates `started` has it."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "started").touch()
    keeper.start(order(tmp_path / "a", "touch", str(tmp_path / "ran")))
    (word,) = heard(keeper, 1)
    assert isinstance(word, Done)
    assert word.ended is None
    assert not (tmp_path / "ran").exists()


def test_slots_and_calling_back(keeper, tmp_path, marks):
    for name in "abcd":
        keeper.start(order(tmp_path / name, "sh", "-c", marks.held(name)))
    assert {word.key: word.slot for word in heard(keeper, 2) if isinstance(word, Began)} == {"a": 0, "b": 1}
    marks.let_go("b")
    words = heard(keeper, 2)
    assert [type(word) for word in words] == [Done, Began]
    assert (words[1].key, getattr(words[1], "slot", None)) == ("c", 1)
    keeper.call_back()
    (word,) = heard(keeper, 1)
    assert isinstance(word, Done)
    assert (word.key, word.ended) == ("d", None)
    marks.let_go("a", "c", "d")
    heard(keeper, 2)
    assert marks.starts("d") == 0


def test_let_go_of(keeper, tmp_path, marks):
    """It forgets what waits, and goes when its last job has."""
    for name in "abc":
        keeper.start(order(tmp_path / name, "sh", "-c", marks.held(name, "exit 4"), slots=1))
    heard(keeper, 1)
    keeper.close()
    keeper.mouth = -1
    marks.let_go("a", "b", "c")
    wait_until(lambda: not is_there(keeper.pid), what="the keeper to go")
    assert (tmp_path / "a" / "started").read_text().splitlines()[1].startswith("4 0 ")
    assert [marks.starts(name) for name in "abc"] == [1, 0, 0]


def test_signals_and_descriptors_of_a_job(keeper, tmp_path):
    """The keeper does not hear signals, and its jobs do; they get nothing of it but their streams."""
    keeper.start(order(tmp_path / "first", "true"))
    heard(keeper, 2)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT):
        os.kill(keeper.pid, number)
    show = """
import os, signal
of_python = {signal.SIGPIPE, signal.SIGXFSZ}
ignored = {one for one in signal.valid_signals() if signal.getsignal(one) == signal.SIG_IGN}
print(ignored - of_python, signal.pthread_sigmask(0, []), os.getpgid(0) == os.getpid())
"""
    keeper.start(order(tmp_path / "a", sys.executable, "-c", show))
    keeper.start(order(tmp_path / "b", "sh", "-c", "ls -l /proc/self/fd | grep -c '\\->'; readlink /proc/self/fd/0"))
    heard(keeper, 4)
    assert (tmp_path / "a" / "stdout").read_text() == "set() set() True\n"
    assert (tmp_path / "b" / "stdout").read_text().splitlines()[1] == "/dev/null"
    assert int((tmp_path / "b" / "stdout").read_text().splitlines()[0]) <= 4  # the folder that ls reads is one


def test_nobody_listens(keeper, tmp_path):
    """A worker that does not read for long holds up no job, and hears all in the end."""
    number = 2000
    for name in range(number):
        (tmp_path / str(name)).mkdir()
        (tmp_path / str(name) / "started").touch()
        keeper.start(order(tmp_path / str(name), "true", key=f"{name} {'x' * 100}"))
    keeper.start(order(tmp_path / "last", "true"))
    wait_until(
        lambda: (
            (tmp_path / "last" / "started").exists() and (tmp_path / "last" / "started").read_text().count("\n") == 2
        )
    )
    assert len(heard(keeper, number + 2)) == number + 2


def test_a_descendant_that_is_left_ends_with_nobody(keeper, tmp_path, marks):
    """What a job leaves behind is neither waited for nor ended."""
    keeper.start(order(tmp_path / "a", "sh", "-c", f"sleep 60 & echo $! >{shlex.quote(str(marks.path('pid')))}"))
    heard(keeper, 2)
    assert is_there(pid_of(marks, "pid"))
    kill(pid_of(marks, "pid"))
