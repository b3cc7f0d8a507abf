"""`qrec queue` with tmux, by real processes and terminals: what a person at the command line sees of it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import pytest

from qrec.api import Qrec
from qrec.jobs import Jobs
from qrec.presence import workers
from qrec.task import Status
from tests.helpers import wait_until
from tests.queueing import find, job, jobs, outcomes, stands
from tests.terminals import INTR, Terminal

pytestmark = pytest.mark.usefixtures("start", "tmux", "here")
RUN = [sys.executable, "-m", "qrec", "queue", "run"]


def names_of(tmux: Callable[..., str]) -> list[str]:
    return sorted(tmux("list-sessions", "-F", "#{session_name}", check=False).split("\n")[:-1])


def test_ctrl_c_leaves_the_sessions_and_another_run_continues(kind, home, qrec, tmux, marks):
    """And a session in which a job failed stays if asked, until `cleanup`."""
    queue = jobs(job(marks.held("a", "exit 4"), "a"), job(marks.once("b"), "b", depends_any=("a",)))
    with Terminal([*RUN, "--backend", "tmux", "--on-fail", "keep"]) as terminal:
        marks.began("a")
        terminal.wait_for(b"running")
        terminal.send(INTR)
        assert terminal.end() == 130
        assert b"the jobs go on; `tmux attach -t qrec-default-0`" in terminal.seen
    assert names_of(tmux) == ["qrec-default-0"]
    assert len(workers(str(home))) == 1
    marks.let_go("a")
    assert qrec("queue", "wait", "-q").returncode == 1
    assert outcomes(queue) == {"a": ("failed", 4), "b": ("complete", 0)}
    wait_until(lambda: not workers(str(home)), what="the worker to go")
    again = qrec("queue", "run", "--backend", "tmux", "--on-fail", "keep")
    assert (again.returncode, marks.starts("a"), marks.starts("b")) == (1, 1, 1), again
    wait_until(lambda: not workers(str(home)), what="the worker that found nothing to go, or it would take what comes")
    jobs(job("exit 5", "c"))
    assert qrec("queue", "run", "--backend", "tmux", "--on-fail", "keep").returncode == 1
    wait_until(lambda: tmux("list-panes", "-a", "-F", "#{pane_dead}") == "1\n", what="the pane to be dead")
    assert qrec("queue", "cleanup", check=True).out == "default: session qrec-default-0 removed\n"
    assert names_of(tmux) == []


def test_a_run_whose_sessions_are_gone_says_so(home, qrec, tmux, marks):
    queue = jobs(job(marks.held("a"), "a"))
    with Terminal([*RUN, "--backend", "tmux"]) as terminal:
        marks.began("a")
        terminal.wait_for(b"running")
        tmux("kill-server")
        terminal.wait_for(b"what ran in them goes on; `qrec queue run default` takes it over")
        assert terminal.end() == 1
    marks.let_go("a")
    qrec("queue", "run", check=True)
    assert outcomes(queue) == {"a": ("complete", 0)}
    assert marks.starts("a") == 1


def test_a_second_run_while_sessions_work(kind, home, qrec, start, tmux, marks):
    """Its worker takes the place of the one there was; both end, and nothing is run twice."""
    queue = jobs(job(marks.held("a"), "a"))
    first = start("queue", "run", "--backend", "tmux")
    marks.began("a")
    jobs(job(marks.once("late"), "late"))
    (before,) = workers(str(home))
    second = start("queue", "run", "--backend", "tmux")
    wait_until(lambda: any(about["pid"] != before["pid"] for about in workers(str(home))), what="the other worker")
    marks.let_go("a")
    assert [first.wait(60), second.wait(60)] == [0, 0]
    assert outcomes(queue) == {"a": ("complete", 0), "late": ("complete", 0)}
    assert (marks.starts("a"), marks.starts("late")) == (1, 1)


def test_detached(kind, home, qrec, start, tmux, marks):
    """It returns as soon as the sessions work, though the jobs go on."""
    queue = jobs(job(marks.held("a"), "a"), job(marks.held("b"), "b"))
    qrec("queue", "run", "--backend", "tmux", "--workers", "2", "--detach", check=True, timeout=60)
    assert workers(str(home), "default")
    assert not any(job.status.is_final for job in queue.all()), "it has not waited for them"
    marks.began("a", "b")
    assert names_of(tmux) == ["qrec-default-0", "qrec-default-1"]
    marks.let_go("a", "b")
    assert qrec("queue", "wait", "--timeout", "60").returncode == 0


def test_detached_without_tmux(home, qrec, tmp_path):
    jobs(job("true", "a"))
    result = qrec("queue", "run", "--backend", "tmux", "--detach", env={"PATH": str(tmp_path)})
    assert result.returncode not in (0, 1)
    assert "tmux" in result.err
    assert result.err.count("\n") == 1


# Jobs that are sessions themselves, under a worker of the usual kind


def test_interrupted_once_waits_for_what_was_launched(kind, start, tmux, marks):
    queue = jobs(job(("tmux", "new-session", "-d", marks.held("a", "exit 3")), "a"), job(marks.once("b"), "b"))
    process = start("queue", "run")
    marks.began("a")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert b"Ctrl-C again" in process.stderr.readline()
    marks.let_go("a")
    assert process.wait(60) == 130
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("queued", None)}


def test_interrupted_twice_ends_what_was_launched(kind, start, tmux, marks):
    queue = jobs(job(("tmux", "new-session", "-d", marks.held("a")), "a", retries=2))
    process = start("queue", "run")
    marks.began("a")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert b"Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert stands(queue, "a", Status.CANCELLED)
    assert names_of(tmux) == []


def test_what_was_launched_is_tried_again_and_told(kind, qrec, tmux, marks):
    queue = jobs(
        job(("tmux", "new-session", "-d", marks.once("a", "exit 3")), "a", retries=2),
        job(marks.once("b"), "b", depends_failed=("a",)),
    )
    result = qrec("queue", "run")
    assert result.returncode == 1
    assert [line.split()[:3] for line in result.err.splitlines() if line.startswith("failed")] == [["failed", "1", "a"]]
    assert (marks.starts("a"), find(queue, "a").attempt, marks.starts("b")) == (3, 3, 1)


def test_fail_fast_heeds_what_was_launched(kind, qrec, tmux, marks):
    queue = jobs(
        job(("tmux", "new-session", "-d", marks.once("a", "exit 3")), "a"),
        job(marks.once("b"), "b", depends_any=("a",)),
    )
    assert qrec("queue", "run", "--fail-fast").returncode == 1
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("queued", None)}


def test_rerun_is_a_session_again(kind, qrec, tmux, marks):
    """The record keeps what the command is, and what was asked for."""
    queue = jobs(job(("tmux", "new-session", "-d", marks.once("a", "echo out")), "a", env={"V": "x"}))
    assert qrec("queue", "run").returncode == 0
    assert qrec("rerun", find(queue, "a").uid, check=True)
    wait_until(lambda: marks.starts("a") == 2, what="the second session")
    qrec("wait", find(queue, "a").uid, check=True)
    found = Jobs(Qrec()).find("a")
    assert (found.data["inner"], found.data["job"]["env"]["V"], found.attempt) == ("tmux", "x", 2)
    assert os.listdir(marks.folder)


def test_a_session_has_its_devices(qrec, tmux, marks):
    told = marks.path("told")
    line = f"echo $CUDA_VISIBLE_DEVICES >>'{told}'"
    queue = jobs(*(job(("tmux", "new-session", "-d", line), name, gpus=1) for name in "ab"), gpus=["3"], workers=2)
    assert qrec("queue", "run").returncode == 0
    assert outcomes(queue) == dict.fromkeys("ab", ("complete", 0))
    assert told.read_text() == "3\n3\n"


def test_nothing_goes_around_a_session(home, qrec):
    """Nobody would run it: so it is refused, and not left out in silence."""
    result = qrec("queue", "submit", "--teardown", "echo end", "--", "tmux", "new-session", "-d", "true")
    assert result.returncode == 1, result
    assert "teardown" in result.err
    assert qrec("ls", "--json").json == []


def test_one_slot_is_one_session(kind, qrec, tmux, marks):
    lock = marks.path("lock")
    line = f"mkdir '{lock}' || exit 1; sleep 0.1; rmdir '{lock}'"
    queue = jobs(job(("tmux", "new-session", "-d", line), "a"), job(line, "b"), job(line, "c"))
    assert qrec("queue", "run").returncode == 0
    assert outcomes(queue) == dict.fromkeys("abc", ("complete", 0))


def test_a_server_that_is_about_to_go(kind, qrec, tmux):
    """What has just ended takes no new session with it."""
    for number in range(4):
        jobs(job("exit 3", str(number)))
        assert qrec("queue", "run", "--backend", "tmux", "--on-fail", "keep").returncode == 1
    assert {done.status for done in Jobs(Qrec()).all()} == {Status.FAILED}
