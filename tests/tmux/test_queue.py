"""Queues whose workers are sessions of a real tmux, on a server of the test's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from qrec import backends, sessions
from qrec.errors import CouldNotStart
from qrec.jobs import Jobs
from qrec.presence import workers
from qrec.task import Status
from tests.helpers import wait_until
from tests.queueing import by_name, counts, find, job, jobs, meanwhile, outcomes, stands, stdout
from tests.terminals import Terminal

# `start` ends whatever a queue leaves running
pytestmark = pytest.mark.usefixtures("start", "tmux", "here")


def in_tmux(queue: Jobs, **options: Any) -> backends.Outcome:
    return backends.run(queue, "tmux", **options)


def names_of(tmux: Callable[..., str]) -> list[str]:
    return sorted(tmux("list-sessions", "-F", "#{session_name}", check=False).split("\n")[:-1])


def gone(queue: Jobs) -> None:
    wait_until(lambda: not sessions.sessions(queue), what="the sessions to end")


def test_as_many_sessions_as_slots(kind, tmux, marks):
    """No more and no fewer; they end when all is done, and each ran one job at a time."""
    queue = jobs(*(job(marks.held(str(number)), str(number)) for number in range(5)), workers=2)
    with meanwhile(queue, "tmux", workers=3):
        marks.began("0", "1", "2")
        assert names_of(tmux) == [f"qrec-default-{number}" for number in range(3)] == sorted(sessions.sessions(queue))
        assert counts(queue) == {"running": 3, "queued": 2}
        assert len(workers(queue.door.home, "default")) == 3
        marks.let_go(*map(str, range(5)))
    gone(queue)
    assert counts(queue) == {"complete": 5}
    assert {done.data["slot"] for done in queue.all()} == {0, 1, 2}
    assert workers(queue.door.home) == []


def test_what_is_told_and_what_is_returned(kind):
    queue = jobs(job("exit 3", "bad"), job("true", "after", depends=("bad",)), job("true", "good"), queue="a.b: c")
    told: list[tuple[str | None, str]] = []
    outcome = in_tmux(queue, workers=2, told=lambda task: told.append((task.name, task.status.value)))
    assert len(outcome.sessions) == len(set(outcome.sessions)) == 2
    assert {("bad", "failed"), ("after", "skipped"), ("good", "complete")} <= set(told)
    assert outcomes(queue) == {"bad": ("failed", 3), "after": ("skipped", None), "good": ("complete", 0)}
    gone(queue)


def test_environment_and_folder_of_the_caller(old_server, tmux, here, monkeypatch):
    """And not those of tmux's server, which somebody else has started."""
    monkeypatch.setenv("OF_CALLER", hostile := "a 'b' \"c\" $(d) é\nf")
    queue = jobs(job('printf "%s:%s:%s" "$OF_CALLER" "$OLD" "$PWD"', "a", env={"X": "y"}))
    in_tmux(queue)
    assert stdout(queue, "a").decode() == f"{hostile}::{here}"
    gone(queue)
    assert names_of(tmux) == ["old"]


def test_attaching(marks, tmux):
    """A terminal shows what the job prints while it runs."""
    queue = jobs(job(marks.held("a", "echo the end"), "a"), job("echo quiet one", "b", log=False, depends=("a",)))
    queue.edit(find(queue, "a"), command="echo live words; " + marks.held("a"))
    with meanwhile(queue, "tmux"):
        marks.began("a")
        with Terminal(["tmux", "attach", "-t", sessions.session_name("default", 0)], TERM="xterm") as terminal:
            terminal.wait_for(b"live words")
            marks.let_go("a")
            terminal.wait_for(b"exited")
    assert counts(queue) == {"complete": 2}


def test_sessions_with_a_failure_stay_if_asked(tmux):
    queue = jobs(job("echo words of it; exit 3", "bad"), job("true", "good", depends_any=("bad",)))
    in_tmux(queue, on_fail="keep")
    (name,) = sessions.sessions(queue)
    wait_until(lambda: is_dead(tmux, name), what="the pane to be dead")
    shown = tmux("capture-pane", "-p", "-t", f"={name}:")
    assert "words of it" in shown
    assert "[bad][failed]" in shown
    queue.retry()
    in_tmux(queue, on_fail="keep")  # takes the place of the one that stayed
    wait_until(lambda: is_dead(tmux, name), what="the pane to be dead again")
    assert sessions.end(queue) == [name]
    gone(queue)
    good = jobs(job("true"), queue="good")
    in_tmux(good, on_fail="keep")
    gone(good)


def is_dead(tmux: Callable[..., str], name: str) -> bool:
    return tmux("display-message", "-p", "-t", f"={name}:", "#{pane_dead}") == "1\n"


def test_the_server_is_killed(kind, tmux, marks):
    """The jobs go on; the next run, of whatever kind, has their real codes and runs the rest."""
    queue = jobs(
        job(marks.held("a", "echo end; exit 3"), "a"),
        job(marks.held("b"), "b"),
        *(job(marks.once(name), name, depends_any=("a",)) for name in "cde"),
    )
    with meanwhile(queue, "tmux", workers=2):
        marks.began("a", "b")
        wait_until(lambda: all(find(queue, name).pid for name in "ab"))
        tmux("kill-server")
    wait_until(lambda: not workers(queue.door.home), what="the workers to go")
    assert {name: job.status for name, job in by_name(queue).items() if name in "ab"} == dict.fromkeys(
        "ab", Status.RUNNING
    )
    marks.let_go("a")
    with meanwhile(queue, "tmux", workers=2):
        wait_until(lambda: all(stands(queue, name, Status.COMPLETE) for name in "cde"))
        marks.let_go("b")
    assert outcomes(queue) == {"a": ("failed", 3), **dict.fromkeys("bcde", ("complete", 0))}
    assert stdout(queue, "a") == b"end\n"
    assert [marks.starts(name) for name in "abcde"] == [1] * 5
    assert {done.attempt for done in queue.all()} == {1}
    gone(queue)


def test_a_session_is_killed(tmux, marks):
    """The others go on, and take over what it ran."""
    queue = jobs(
        job(marks.held("a", "exit 3"), "a"), job(marks.held("b"), "b"), job(marks.once("c"), "c", depends_any=("a",))
    )
    with meanwhile(queue, "tmux", workers=2):
        marks.began("a", "b")
        tmux("kill-session", "-t", f"={sessions.session_name('default', find(queue, 'a').data['slot'])}")
        marks.let_go("a")
        wait_until(lambda: marks.starts("c") or stands(queue, "a", Status.FAILED))
        marks.let_go("b")
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("complete", 0), "c": ("complete", 0)}


def test_ended_while_it_runs(marks):
    """`end` ends the sessions; what runs goes on."""
    queue = jobs(job(marks.held("a"), "a"))
    with meanwhile(queue, "tmux"):
        marks.began("a")
        wait_until(lambda: find(queue, "a").pid)
        assert sessions.end(queue) == ["qrec-default-0"]
    assert stands(queue, "a", Status.RUNNING)
    marks.let_go("a")
    in_tmux(queue)
    assert outcomes(queue) == {"a": ("complete", 0)}


def test_sessions_that_stay(marks, tmux):
    """With `keep` they take what arrives, until they are ended."""
    queue = jobs(job(marks.once("a"), "a"))
    with meanwhile(queue, "tmux", keep=True, workers=2):
        wait_until(lambda: stands(queue, "a", Status.COMPLETE))
        queue.submit(job(marks.once("b"), "b"))
        wait_until(lambda: stands(queue, "b", Status.COMPLETE))
        assert len(sessions.sessions(queue)) == 2
        sessions.end(queue)
    wait_until(lambda: not workers(queue.door.home), what="the workers to go")


def test_devices(marks, tmux):
    lock = str(marks.path("lock"))
    line = f'mkdir "{lock}.$CUDA_VISIBLE_DEVICES" && sleep 0.05 && rmdir "{lock}.$CUDA_VISIBLE_DEVICES"'
    queue = jobs(
        *(job(f"{line} && echo $CUDA_VISIBLE_DEVICES", str(number), gpus=1) for number in range(8)), gpus=["0", "1"]
    )
    in_tmux(queue, workers=4)
    assert counts(queue) == {"complete": 8}
    assert {stdout(queue, str(number)) for number in range(8)} <= {b"0\n", b"1\n"}
    gone(queue)


def test_queues_whose_names_look_alike(tmux, marks):
    """`a.b` and `a:b` are two queues, and have sessions of their own."""
    pair = [jobs(job(marks.held(name), name), queue=queue) for name, queue in (("x", "a.b"), ("y", "a:b"))]
    with meanwhile(pair[0], "tmux"), meanwhile(pair[1], "tmux"):
        marks.began("x", "y")
        assert len(names_of(tmux)) == 2
        assert len(sessions.end(pair[0])) == 1
        assert names_of(tmux) == sessions.sessions(pair[1]) != []
        marks.let_go("x", "y")
    in_tmux(pair[0])
    assert [counts(queue) for queue in pair] == [{"complete": 1}] * 2


def test_no_tmux(tmp_path):
    """One line, and the jobs wait as before."""
    queue = jobs(job("true", "a"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(CouldNotStart, match="tmux"):
            in_tmux(queue)
    assert outcomes(queue) == {"a": ("queued", None)}
    left = [name for name in os.listdir(queue.door.home + "/incoming") if not name.startswith(".")]
    assert left == []
