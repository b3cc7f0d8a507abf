"""A queue's worker with real jobs: how they end, what they see, when they may begin.

What happens where workers and keepers are killed is in test_keeper.py.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from qrec import backends
from qrec.api import Qrec
from qrec.errors import CouldNotStart, NoSuchQueue, Refused, WrongUsage
from qrec.jobs import Jobs
from qrec.limits import Room
from qrec.output import merged
from qrec.presence import workers
from qrec.running import Running
from qrec.task import Status, moment
from qrec.worker import Worker
from tests.helpers import wait_until
from tests.queueing import (
    Marks,
    Stepper,
    by_name,
    counts,
    find,
    job,
    jobs,
    nothing_is_left,
    outcomes,
    pid_in,
    pid_of,
    stands,
    state,
    stderr,
    stdout,
    stepping,
    worker,
)

# `start` ends whatever a queue leaves running
pytestmark = pytest.mark.usefixtures("start", "here")

SECRET = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"


def run(queue: Jobs, **how: Any) -> list[tuple[str | None, str]]:
    """Runs the queue to its end; returns what was told of its jobs."""
    told: list[tuple[str | None, str]] = []
    one = worker(queue, told=lambda task: told.append((task.name, task.status.value)), **how)
    one.run()
    assert one.door.complaints == []
    return told


def begun(told: list[tuple[str | None, str]]) -> list[str | None]:
    return [name for name, status in told if status == "running"]


# How jobs end


def test_only_the_job_is_concerned(kind, home):
    """Whatever a job does to its shell, the others do not notice."""
    queue = jobs(
        job("echo hi; exit 3", "exit"),
        job("cd /; V=1; exit 126", "126"),
        job("if true", "syntax"),
        job(("no-such-program", "x"), "127"),
        job("kill -KILL $$", "killed"),
        job("exec 1>&- 2>&-; set -e; false; true", "closed"),
        job("kill -STOP $$; echo woken", "stopped"),
        job("pwd; echo ${V-unset}", "after"),
        workers=3,
    )
    with stepping(queue) as stepper:
        stepper.until(lambda: (pid := find(queue, "stopped").pid) is not None and state(pid) == "T")
        os.kill(find(queue, "stopped").pid or 0, signal.SIGCONT)
        stepper.to_the_end()
    assert outcomes(queue) == {
        "exit": ("failed", 3),
        "126": ("failed", 126),
        "syntax": ("failed", 2),
        "127": ("failed", 127),
        "killed": ("failed", 137),
        "closed": ("failed", 1),
        "stopped": ("complete", 0),
        "after": ("complete", 0),
    }
    assert find(queue, "killed").signal == 9
    assert stdout(queue, "after") == f"{os.getcwd()}\nunset\n".encode()
    assert stdout(queue, "stopped") == b"woken\n"
    assert b"no-such-program" in stderr(queue, "127")
    assert b"syntax error" in stderr(queue, "syntax")
    nothing_is_left(home)


def test_links(kind):
    """What must complete, what must end, and what must fail; the skipped tell of the first cause."""
    queue = jobs(
        job("exit 3", "bad"),
        job("true", "good"),
        job("true", "after good", depends=("good",)),
        job("true", "after bad", depends=("bad",)),
        job("true", "after that", depends=("after bad",)),
        job("true", "any", depends_any=("bad", "after bad")),
        job("true", "if bad", depends_failed=("bad",)),
        job("true", "if one", depends_failed=("good", "bad")),
        job("true", "if good", depends_failed=("good",)),
        job("true", "both", depends=("good",), depends_failed=("bad",)),
        job("true", "neither", depends=("bad",), depends_failed=("good",)),
    )
    run(queue, workers=2)
    ran = {name for name, job in by_name(queue).items() if job.status is Status.COMPLETE}
    assert ran == {"good", "after good", "any", "if bad", "if one", "both"}
    reasons = {name: job.data["reason"] for name, job in by_name(queue).items() if job.status is Status.SKIPPED}
    assert reasons == {
        "after bad": "bad failed",
        "after that": "bad failed",
        "if good": "good completed",
        "neither": reasons["neither"],
    }
    assert reasons["neither"] in ("bad failed", "good completed")


def test_run_again(kind, marks):
    """What completed is not repeated; what failed waits for `retry`, which brings the skipped along."""
    queue = jobs(
        job(marks.once("a"), "a"),
        job(marks.once("b", f"[ -e {marks.path('fine')} ]"), "b"),
        job(marks.once("c"), "c", depends=("b",)),
    )
    run(queue)
    run(queue)
    assert [marks.starts(name) for name in "abc"] == [1, 1, 0]
    marks.path("fine").touch()
    queue.retry([find(queue, "b")])
    run(queue)
    assert outcomes(queue) == dict.fromkeys("abc", ("complete", 0))
    assert [marks.starts(name) for name in "abc"] == [1, 2, 1]
    assert find(queue, "b").attempt == 2
    assert "reason" not in find(queue, "b").data


def test_fail_fast(kind, marks):
    """Nothing begins behind a failure, also where jobs are so short that others would be ordered ahead."""
    queue = jobs(job("true", "good"), job("exit 1", "bad"), job(marks.once("after"), "after"))
    with stepping(queue, fail_fast=True) as stepper:
        stepper.worker.pace = 0.0
        stepper.to_the_end()
    assert outcomes(queue) == {"good": ("complete", 0), "bad": ("failed", 1), "after": ("queued", None)}
    assert marks.starts("after") == 0


def test_fail_fast_waits_for_the_last_try(marks):
    queue = jobs(
        job(marks.once("a", f"[ $(wc -l <{marks.path('a')}) = 2 ]"), "a", retries=1), job("true", "b", depends=("a",))
    )
    run(queue, fail_fast=True)
    assert counts(queue) == {"complete": 2}


def test_time_limit(kind):
    """It is asked to end, and killed if it does not."""
    queue = jobs(
        job("sleep 60", "sleeps", timeout=0.3),
        job("trap '' TERM; while :; do sleep 0.05; done", "stubborn", timeout=0.3),
        job("trap 'exit 0' TERM; sleep 60 & wait", "polite", timeout=0.3),
        job("true", "quick", timeout=30),
        job("true", "after", depends_any=("sleeps",)),
        workers=4,
    )
    with stepping(queue) as stepper:
        stepper.worker.grace = 0.3
        stepper.to_the_end()
    assert outcomes(queue) == {
        **dict.fromkeys(("sleeps", "stubborn", "polite"), ("failed", 124)),
        **dict.fromkeys(("quick", "after"), ("complete", 0)),
    }
    assert find(queue, "sleeps").data["reason"] == "time limit of 0.3 s"


def test_retries(kind, marks):
    """Each try is kept, and each pause is twice the one before."""
    line = marks.once("r", f"echo try; [ $(wc -l <{marks.path('r')}) = 3 ] || exit 5")
    queue = jobs(
        job(line, "r", retries=3, backoff=0.2), job("exit 1", "no", retries=1), job("true", "after", depends=("r",))
    )
    run(queue)
    done = find(queue, "r")
    assert (done.status, done.attempt, marks.starts("r")) == (Status.COMPLETE, 3, 3)
    tries = [*queue.store.attempts(done.uid), done]
    assert [one.returncode for one in tries] == [5, 5, 0]
    times = [(moment(one.started or ""), moment(one.ended or "")) for one in tries]
    pauses = [(after[0] - before[1]).total_seconds() for before, after in pairwise(times)]
    assert pauses[0] >= 0.19
    assert pauses[1] >= 0.39
    assert outcomes(queue)["no"] == ("failed", 1)
    assert find(queue, "no").attempt == 2
    assert outcomes(queue)["after"] == ("complete", 0)


# Setup and teardown


def signalled(queue: Jobs, marks: Marks, name: str, number: int, whole: bool) -> None:
    """Sends a signal to the job's process, or to all of its group, once it runs."""
    marks.began(name)
    pid = pid_in(queue, name)
    (os.killpg if whole else os.kill)(pid, number)


def test_teardown(kind, marks, started):
    around = {"setup": "X=1; echo set", "teardown": "echo torn $X; exit 9"}
    told = {"term": signal.SIGTERM, "term all": signal.SIGTERM, "int": signal.SIGINT, "hup all": signal.SIGHUP}
    queue = jobs(
        job("echo in $X", "good", **around),
        job("echo in; exit 3", "bad", **around),
        job(("sh", "-c", "echo words; exit 4"), "words", **around),
        job("cd /; X=2; exit", "changes", **around),
        job("if true", "syntax", **around),
        job("echo in", "setup fails", setup="echo no; exit 7", teardown="echo torn"),
        job("echo in", "setup errs", setup="false", teardown="echo torn"),
        job("echo in", "preamble fails", preamble=("false",), setup="echo set", teardown="echo torn"),
        job("echo $A $B", "preamble", preamble=("A=1", "B=$A$A"), teardown="echo $B"),
        *(job(marks.once(name, "sleep 60; echo no"), name, **around) for name in told),
        job(
            f"trap 'echo caught; exit 4' TERM; {marks.once('caught', 'while :; do sleep 0.02; done')}",
            "caught",
            **around,
        ),
        workers=8,
    )
    process = started()
    for name, number in {**told, "caught": signal.SIGTERM}.items():
        signalled(queue, marks, name, number, name.endswith("all"))
    assert process.wait(60) == 0
    said = {
        name: (job.returncode, stdout(queue, name).decode().split("\n")[:-1]) for name, job in by_name(queue).items()
    }
    assert said == {
        "good": (0, ["set", "in 1", "torn 1"]),
        "bad": (3, ["set", "in", "torn 1"]),
        "words": (4, ["set", "words", "torn 1"]),
        "changes": (0, ["set", "torn 1"]),
        "syntax": (2, ["set", "torn 1"]),
        "setup fails": (7, ["no"]),
        "setup errs": (1, []),
        "preamble fails": (1, []),
        "preamble": (0, ["1 11", "11"]),
        "term": (143, ["set", "torn 1"]),
        "term all": (143, ["set", "torn 1"]),
        "int": (130, ["set", "torn 1"]),
        "hup all": (129, ["set", "torn 1"]),
        "caught": (4, ["set", "caught", "torn 1"]),
    }


def test_a_job_is_torn_down_after_its_time_limit(marks):
    queue = jobs(job(marks.once("a", "sleep 60"), "a", timeout=600, setup="X=1; echo set", teardown="echo torn $X"))
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("a") and all(one.pid for one in stepper.worker.running.values()))
        for one in stepper.worker.running.values():
            one.deadline = 0.0
        stepper.to_the_end()
    assert outcomes(queue) == {"a": ("failed", 124)}
    assert stdout(queue, "a") == b"set\ntorn 1\n"


def test_a_cancelled_job_is_torn_down(marks, started):
    queue = jobs(job(marks.once("a", "sleep 60"), "a", teardown="echo torn"), job(marks.once("b"), "b", depends=("a",)))
    process = started()
    marks.began("a")
    queue.cancel([find(queue, "a")])
    assert process.wait(60) == 0
    assert outcomes(queue) == {"a": ("cancelled", 143), "b": ("skipped", None)}
    assert stdout(queue, "a") == b"torn\n"
    assert find(queue, "b").data["reason"] == "a was cancelled"


# What is kept of a job


def test_a_hundred_megabytes():
    line = "seq 14000000 | head -c 100000000"
    queue = jobs(job(line, "out"), job(f"{line} >&2", "err"), workers=2)
    run(queue)
    whole = subprocess.run(line, shell=True, capture_output=True).stdout
    for name in ("out", "err"):
        output = queue.door.raw(find(queue, name))
        assert (output.size("stdout"), output.size("stderr")) == ((len(whole), 0) if name == "out" else (0, len(whole)))
        assert hashlib.sha256(output.read(f"std{name}")).digest() == hashlib.sha256(whole).digest()
        assert outcomes(queue)[name] == ("complete", 0)


def test_streams_and_their_order(kind, marks):
    """Apart, byte by byte, and in their order where they were looked at in time."""
    binary = shlex.join([sys.executable, "-c", "import os; os.write(1, bytes(range(256)) * 3)"])
    steps = "; ".join(f"echo {number} >&{1 + number % 2}; {marks.held(str(number))}" for number in range(3))
    queue = jobs(
        job(binary, "binary"), job("true", "nothing"), job(steps, "steps"), job("printf x; printf y >&2", "short"),
        workers=2,
    )  # fmt: skip
    with stepping(queue) as stepper:
        for number, (stream, size) in enumerate([("stdout", 2), ("stderr", 2), ("stdout", 4)]):
            stepper.until(partial(has_seen, stepper, find(queue, "steps").uid, stream, size))
            marks.let_go(str(number))
        stepper.to_the_end()
    assert stdout(queue, "binary") == bytes(range(256)) * 3
    assert (stdout(queue, "nothing"), stderr(queue, "nothing")) == (b"", b"")
    assert (stdout(queue, "steps"), stderr(queue, "steps")) == (b"0\n2\n", b"1\n")
    assert [block for _, block in merged(queue.door.raw(find(queue, "steps")))] == [b"0\n", b"1\n", b"2\n"]
    assert (stdout(queue, "short"), stderr(queue, "short")) == (b"x", b"y")
    assert queue.door.raw(find(queue, "short")).timing()


def has_seen(stepper: Stepper, uid: str, stream: str, size: int) -> bool:
    """Whether the worker has looked at so much of a job's stream."""
    one = stepper.worker.running.get(uid)
    return one is not None and one.writer is not None and one.writer.sizes[stream] >= size


def test_somebody_keeps_the_output_open(kind, marks):
    """The job has ended when its own process has."""
    left = f"(echo $BASHPID >{marks.path('pid')}; exec sleep 60) &"
    queue = jobs(job(f"{left} until [ -s {marks.path('pid')} ]; do sleep 0.01; done; echo now"))
    run(queue)
    assert counts(queue) == {"complete": 1}
    assert queue.door.raw(queue.all()[0]).read("stdout") == b"now\n"
    assert state(pid_of(marks, "pid")) in "SRD"
    os.kill(pid_of(marks, "pid"), signal.SIGKILL)


def test_usage_and_facts(here, marks):
    for words in (["init", "-q"], ["-c", "user.name=x", "-c", "user.email=x", "commit", "-qm", "x", "--allow-empty"]):
        subprocess.run(["git", *words], check=True)
    burn = (
        "import time; x = bytearray(60 << 20); end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    )
    queue = jobs(
        job(f"{shlex.join([sys.executable, '-c', burn])}; {marks.held('burns')}", "burns"), job("true", "short")
    )
    with stepping(queue) as stepper:
        stepper.until(lambda: any(one.meter is not None for one in stepper.worker.running.values()))
        marks.let_go("burns")
        stepper.to_the_end()
    burns, short = find(queue, "burns"), find(queue, "short")
    assert burns.usage["cpu"] >= 0.4
    assert burns.usage["memory"] > 60 << 20
    assert (burns.seconds or 0) >= 0.4
    assert queue.door.raw(burns).extras()["series"]
    assert burns.facts["repository"] == str(here)
    assert burns.facts["environment"]["PATH"] == os.environ["PATH"]
    assert {"cpu"} <= short.usage.keys()
    assert short.facts.keys() >= burns.facts.keys() - {"dirty", "patch", "changes"}
    assert (burns.pid, burns.host, burns.pwd) == (burns.pid, os.uname().nodename, str(here))
    assert burns.pid
    assert short.pid


def test_secrets(kind, home):
    """The record has none; the job has the real ones, at each try; the file goes when it completes."""
    line = (
        f"[ --token = --token ] && deploy() {{ echo $#-${{#2}}-${{#KEY_TOKEN}}; }}; deploy --token {SECRET}; [ -e ok ]"
    )
    queue = jobs(job(line, "a", env={"KEY_TOKEN": SECRET, "PLAIN": "x"}))
    words = home / "incoming" / f"{find(queue, 'a').uid}.words"
    assert words.stat().st_mode & 0o77 == 0
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 1)}
    Path("ok").touch()
    queue.retry()
    run(queue)
    assert outcomes(queue) == {"a": ("complete", 0)}
    assert stdout(queue, "a") == f"2-{len(SECRET)}-{len(SECRET)}\n".encode()
    assert SECRET not in str(find(queue, "a").plain())
    assert find(queue, "a").data["job"]["env"]["PLAIN"] == "x"
    assert not words.exists()
    holders = [path for path in home.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert holders == []


# What a job sees


HOSTILE = ["a b", '"', "'", "$(touch pwned)", "`touch pwned`", "a\nb", "\\", "*", "-n", "é☃", "", "x=y", " "]


def test_variables_are_exact(kind):
    given = {f"V{number}": value for number, value in enumerate(HOSTILE)}
    line = shlex.join(
        [sys.executable, "-c", "import os, sys; print([os.environ[f'V{i}'] for i in range(int(sys.argv[1]))])"]
    )
    queue = jobs(
        job(f"{line} {len(given)}", "line", env=given),
        job((*shlex.split(line), str(len(given))), "words", env=given),
        job(f"{line} {len(given)}", "wrapped", env=given, setup="true", teardown="true"),
        env={"OF_QUEUE": "q", "V0": "hidden"},
    )
    jobs(job("echo $OF_QUEUE", "queue's"), job("echo $OF_QUEUE", "own", env={"OF_QUEUE": "own"}))
    run(queue)
    for name in ("line", "words", "wrapped"):
        assert stdout(queue, name).decode() == f"{list(given.values())}\n"
    assert (stdout(queue, "queue's"), stdout(queue, "own")) == (b"q\n", b"own\n")
    assert not Path("pwned").exists()


def test_bytes_that_are_no_text(kind, here):
    """In a word, in a variable, in the folder."""
    raw = os.fsdecode(b"\xff\xfe x")
    (here / raw).mkdir()
    queue = jobs(
        job(("printf", "%s", raw), "word"),
        job('printf %s "$V"', "variable", env={"V": raw}),
        job(f"printf %s {shlex.quote(raw)}", "line"),
        job("pwd", "folder", cwd=str(here / raw)),
    )
    run(queue)
    assert {stdout(queue, name) for name in ("word", "variable", "line")} == {b"\xff\xfe x"}
    assert stdout(queue, "folder") == os.fsencode(here / raw) + b"\n"


def test_variables_of_the_submitter_and_of_the_worker(monkeypatch, started):
    monkeypatch.setenv("PATH", f"/of/submitter:{os.environ['PATH']}")
    monkeypatch.setenv("WHO", "submitter")
    monkeypatch.setenv("VIRTUAL_ENV", "/venv of submitter")
    queue = jobs(job('echo "$WHO:${PATH%%:*}:$VIRTUAL_ENV:$QREC_TASK:$PWD"', "a"))
    monkeypatch.setenv("PATH", os.environ["PATH"].replace("/of/submitter", "/of/worker"))
    process = started(popen={"changes": {"WHO": "worker", "VIRTUAL_ENV": None}, "cwd": "/"})
    assert process.wait(60) == 0
    assert (
        stdout(queue, "a").decode() == f"worker:/of/submitter:/venv of submitter:{find(queue, 'a').uid}:{os.getcwd()}\n"
    )


@pytest.mark.parametrize("folder", ["a b", "it's", 'a "b"', "$(x)", "a\nb", "-x", "é"])
def test_folders(here, folder):
    (here / folder).mkdir()
    queue = jobs(
        job("pwd; cat -- f", "a", cwd=str(here / folder)),
        job(("pwd", "-P"), "b", cwd=str(here / folder), teardown="pwd"),
    )
    (here / folder / "f").write_text("found")
    run(queue)
    assert stdout(queue, "a").decode() == f"{here / folder}\nfound"
    assert stdout(queue, "b").decode() == f"{here / folder}\n" * 2


def test_a_folder_that_is_gone(here):
    (here / "gone").mkdir()
    queue = jobs(job("true", "a", cwd=str(here / "gone")), job("true", "b"))
    (here / "gone").rmdir()
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 125), "b": ("complete", 0)}
    assert str(here / "gone").encode() in stderr(queue, "a")


NAMES = [
    "1",
    "001",
    "j",
    "True",
    "a b",
    "--x",
    "it's",
    '"q"',
    "a\nb",
    "é☃",
    "a,b",
    "$(x)",
    "*",
    "queue-",
    "None",
    "a/b",
]


def test_names(kind):
    """A name is one only as it is written, whatever else it may look like."""
    given = [job("echo $0", "1")]
    given += [job("true", name, depends=(before,)) for before, name in pairwise(NAMES)]
    queue = jobs(*given)
    told = run(queue)
    assert begun(told) == NAMES
    assert [find(queue, name).name for name in NAMES] == NAMES
    assert [queue.find(name).uid for name in NAMES] == [find(queue, name).uid for name in NAMES]
    parents = {job.uid: job.name for job in queue.all()}
    assert [[parents[uid] for uid in find(queue, name).after] for name in NAMES[1:]] == [[name] for name in NAMES[:-1]]


@pytest.mark.parametrize("name", ["a b", "it's", '"', "a/b", "..", "a\nb", "--x", "é", "x" * 200])
def test_queue_names(name, started):
    queue = jobs(job("true", "a"), queue=name)
    other = jobs(job("true", "b"), queue="other")
    assert started(name).wait(60) == 0
    assert outcomes(queue) == {"a": ("complete", 0)}
    assert outcomes(other) == {"b": ("queued", None)}


# When they begin


def test_priority_then_age(kind):
    ranks = {"a": 0, "b": 5, "c": 0, "d": 5, "e": -1}
    queue = jobs(*(job("true", name, priority=rank) for name, rank in ranks.items()), workers=1)
    assert begun(run(queue)) == ["b", "d", "a", "c", "e"]


def test_another_priority_while_it_waits(kind, marks):
    queue = jobs(job(marks.held("a"), "a"), job("true", "b"), job("true", "c"), workers=1)
    with stepping(queue) as stepper:
        order: list[str | None] = []
        stepper.worker.told = lambda task: order.append(task.name) if task.status is Status.RUNNING else None
        stepper.until(lambda: marks.starts("a"))
        queue.edit(find(queue, "c"), priority=3)
        marks.let_go("a")
        stepper.to_the_end()
    assert order == ["a", "c", "b"]


def test_not_before_its_time(kind):
    queue = jobs(job("date +%s.%N", "later", at=time.time() + 600), job("true", "now"), job("true", "past", at=1.0))
    order: list[str | None] = []
    with stepping(
        queue, told=lambda task: order.append(task.name) if task.status is Status.RUNNING else None
    ) as stepper:
        stepper.until(lambda: counts(queue) == {"complete": 2, "queued": 1})
        at = time.time() + 0.5
        queue.edit(find(queue, "later"), at=at)
        stepper.to_the_end()
    assert order == ["now", "past", "later"]
    assert float(stdout(queue, "later")) >= at


def test_pause_and_resume(kind, marks):
    queue = jobs(job(marks.held("a"), "a"), job("true", "b"), workers=2)
    with stepping(queue) as stepper:
        queue.pause()
        stepper.turns(3)
        assert outcomes(queue) == dict.fromkeys("ab", ("queued", None))
        queue.resume()
        stepper.until(lambda: stands(queue, "b", Status.COMPLETE))
        queue.pause()
        queue.submit(job("true", "c"))
        stepper.turns(3)
        marks.let_go("a")
        stepper.until(lambda: stands(queue, "a", Status.COMPLETE))
        stepper.turns(3)
        assert stands(queue, "c", Status.QUEUED)
        assert not stepper.worker.is_over()
        queue.resume()
        stepper.to_the_end()
    assert counts(queue) == {"complete": 3}


def test_a_pause_calls_back_what_was_ordered_ahead(marks):
    """Short jobs are ordered some at a time; none begins behind a pause but those that had."""
    queue = jobs(*(job(marks.held(name), name) for name in "abc"), workers=1)
    with stepping(queue) as stepper:
        stepper.worker.pace = 0.0
        stepper.turn()
        assert len(stepper.worker.running) == 3
        queue.pause()
        stepper.until(lambda: len(stepper.worker.running) == 1)
        marks.let_go("a", "b", "c")
        stepper.until(lambda: not stepper.worker.running)
        stepper.turns(3)
        assert counts(queue) == {"complete": 1, "queued": 2}
        assert [marks.starts(name) for name in "abc"] == [1, 0, 0]
        queue.resume()
        stepper.to_the_end()
    assert counts(queue) == {"complete": 3}
    assert {job.attempt for job in queue.all()} == {1}


def test_more_slots_while_it_runs(kind, marks):
    queue = jobs(*(job(marks.held(name), name) for name in "abc"), workers=1)
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("a"))
        stepper.turns(3)
        assert counts(queue) == {"running": 1, "queued": 2}
        queue.set(workers=2)
        stepper.until(lambda: marks.starts("b"))
        stepper.turns(3)
        assert counts(queue) == {"running": 2, "queued": 1}
        queue.set(workers=1)
        marks.let_go("a")
        stepper.until(lambda: stands(queue, "a", Status.COMPLETE))
        stepper.turns(3)
        assert counts(queue) == {"running": 1, "queued": 1, "complete": 1}
        marks.let_go("b", "c")
        stepper.to_the_end()


def test_what_arrives_while_it_runs(kind, started):
    queue = jobs()
    process = started(keep=True)
    for number in range(3):
        queue.submit(job("true", str(number)))
        wait_until(lambda number=number: stands(queue, str(number), Status.COMPLETE))  # type: ignore[misc]
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0


def test_a_worker_goes_with_its_queue(kind, home, marks):
    """It is none of the new one's; what runs is looked after to its end, and not tried again."""
    queue = jobs(job(marks.held("a", "exit 3"), "a", retries=1))
    with stepping(queue, keep=True) as stepper, stepper.worker.presence:
        stepper.until(lambda: marks.starts("a"))
        old = find(queue, "a").uid
        assert backends.has_worker(queue)
        queue.create(clear=True, spare=True)
        queue.submit(job(marks.once("new"), "new"))
        assert not backends.has_worker(queue), "who is about to go does not count"
        stepper.until(lambda: stepper.worker.is_past)
        assert workers(str(home)) == []
        stepper.turns(3)
        assert not stepper.worker.is_over()
        marks.let_go("a")
        stepper.to_the_end()
    assert queue.store.get(old).status is Status.FAILED
    assert (marks.starts("a"), marks.starts("new"), counts(queue)) == (1, 0, {"queued": 1})
    with stepping(queue, keep=True) as stepper:
        stepper.until(lambda: stands(queue, "new", Status.COMPLETE))
        assert not stepper.worker.is_over()
        queue.forget()
        stepper.to_the_end()


def test_changes_of_what_waits(kind, marks):
    """Another command, another dependency's end, cancelled before it begins."""
    queue = jobs(
        job(marks.held("a"), "a"), job("echo old", "b"), job("true", "c"), job("true", "d", depends=("c",)), workers=1
    )
    told: list[tuple[str | None, str]] = []
    with stepping(queue, told=lambda task: told.append((task.name, task.status.value))) as stepper:
        stepper.until(lambda: marks.starts("a"))
        queue.edit(find(queue, "b"), command="echo new")
        queue.cancel([find(queue, "c")])
        marks.let_go("a")
        stepper.to_the_end()
    assert stdout(queue, "b") == b"new\n"
    assert outcomes(queue) == {
        "a": ("complete", 0),
        "b": ("complete", 0),
        "c": ("cancelled", None),
        "d": ("skipped", None),
    }
    assert [status for name, status in told if name == "c"] == ["cancelled"]


def test_cancelled_before_its_keeper_has_it(kind, marks):
    """The wish comes when the job is claimed, and its process is not known yet."""
    queue = jobs(job(marks.held("first"), "first"), job("sleep 60", "a"), workers=1)
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("first"))
        keeper = stepper.worker.keeper
        assert keeper

        def slowly(one: Running) -> None:
            os.kill(keeper.pid, signal.SIGSTOP)
            Worker.begin_here(stepper.worker, one)

        stepper.worker.begin_here = slowly  # type: ignore[method-assign]
        marks.let_go("first")
        stepper.until(lambda: stands(queue, "a", Status.RUNNING))
        queue.store.change(find(queue, "a").uid, wish="cancel")
        stepper.turns(3)
        os.kill(keeper.pid, signal.SIGCONT)
        stepper.to_the_end()
    assert stands(queue, "a", Status.CANCELLED)


# What they need


def test_cpus(marks):
    """What does not fit lets smaller ones pass, and what it lacks is kept for it."""
    queue = jobs(
        job(marks.held("three"), "three", cpus=3),
        job(marks.held("two"), "two", cpus=2),
        job(marks.held("one"), "one", cpus=1),
        job(marks.held("none"), "none"),
        workers=4,
        cpus=4,
    )
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("three") and marks.starts("none"))
        stepper.turns(3)
        assert counts(queue) == {"running": 2, "queued": 2}
        marks.let_go("three")
        stepper.until(lambda: marks.starts("two") and marks.starts("one"))
        marks.let_go("two", "one", "none")
        stepper.to_the_end()


def test_memory(marks):
    queue = jobs(
        *(job(marks.held(name), name, mem=600) for name in "ab"),
        job(marks.held("c"), "c", mem=300),
        workers=3,
        mem=1000,
    )
    with stepping(queue) as stepper:
        stepper.until(lambda: marks.starts("a"))
        stepper.turns(3)
        assert counts(queue) == {"running": 1, "queued": 2}
        marks.let_go("a", "b", "c")
        stepper.to_the_end()
    assert counts(queue) == {"complete": 3}


def test_what_can_never_fit(marks):
    """It is refused, or told with its reason; what stands behind it runs.  It may fit later on."""
    queue = jobs(workers=2, cpus=2)
    with pytest.raises(Refused, match="big can never run: it asks for 3 CPUs, and there are 2"):
        queue.submit(job("true", "big", cpus=3))
    assert queue.all() == []
    queue.submit_all([job("true", "gpu", gpus=1), job("true", "after", depends=("gpu",)), job("true", "other")])
    one = worker(queue)
    one.run()
    assert not backends.has_more(queue, one)
    assert outcomes(queue) == {"gpu": ("queued", None), "after": ("queued", None), "other": ("complete", 0)}
    assert one.never == {find(queue, "gpu").uid: "it asks for 1 GPU, and this worker has 0"}
    with stepping(queue, keep=True) as stepper:
        stepper.until(lambda: stepper.worker.never)
        queue.set(gpus=["7"])
        stepper.until(lambda: counts(queue) == {"complete": 3})


def test_jobs_that_do_not_fit_hold_up_none_that_do(marks):
    """However many wait for a device, the others begin; none of those is read more than once a turn."""
    queue = jobs(
        job(marks.held("first"), "first", gpus=1), *(job("true", f"gpu {number}", gpus=1) for number in range(150)),
        job(marks.once("cpu"), "cpu"), job("true", "two", gpus=2), gpus=["0", "1"], workers=4,
    )  # fmt: skip
    jobs(job(marks.held("other"), "other", gpus=1), queue="other", gpus=["1"])
    with stepping(Jobs(Qrec(), "other")) as holder, stepping(queue) as stepper:
        holder.until(lambda: marks.starts("other"))
        stepper.until(lambda: marks.starts("cpu") and stands(queue, "cpu", Status.COMPLETE))
        assert counts(queue) == {"running": 1, "complete": 1, "queued": 151}
        read: list[str] = []

        def noted(uid: str, room: Room) -> Any:
            read.append(uid)
            return Worker.fitting(stepper.worker, uid, room)

        stepper.worker.fitting = noted  # type: ignore[method-assign]
        stepper.worker.pulse = None
        stepper.turn()
        assert len(read) == 2, "one of each kind"
        queue.cancel([one for one in queue.all() if str(one.name).startswith("gpu") and one.name != "gpu 7"])
        marks.let_go("first", "other")
        holder.to_the_end()
        stepper.to_the_end()
    assert {name for name, how in outcomes(queue).items() if how[0] == "complete"} == {"first", "cpu", "gpu 7", "two"}


def test_a_worker_that_gets_no_keeper(monkeypatch):
    """It complains once, and tries again."""

    def none() -> None:
        raise CouldNotStart("no keeper today")

    queue = jobs(job("true", "a"), job("true", "b"), workers=2)
    with stepping(queue) as stepper, monkeypatch.context() as patch:
        patch.setattr("qrec.worker.Keeper", none)
        for _ in range(2):
            stepper.worker.pause_until = 0.0
            stepper.worker.step()
        patch.undo()
        assert stepper.worker.door.complaints == ["no keeper today"]
        stepper.worker.pause_until = 0.0
        stepper.to_the_end()
    assert counts(queue) == {"complete": 2}


def test_devices_are_never_shared(kind, marks, started):
    """Two workers, ten jobs: never two on one device at a time, and each sees its own."""
    lock = str(marks.path("lock"))
    line = f'mkdir "{lock}.$CUDA_VISIBLE_DEVICES" && sleep 0.05 && rmdir "{lock}.$CUDA_VISIBLE_DEVICES"'
    queue = jobs(
        *(job(f"{line} && echo $CUDA_VISIBLE_DEVICES", str(number), gpus=1) for number in range(10)),
        gpus=["0", "1"], workers=2,
    )  # fmt: skip
    for process in [started() for _ in range(2)]:
        assert process.wait(60) == 0
    assert outcomes(queue) == {str(number): ("complete", 0) for number in range(10)}
    for done in queue.all():
        assert queue.door.raw(done).read("stdout").decode().split() == done.data["gpus"]
    assert {device for done in queue.all() for device in done.data["gpus"]} == {"0", "1"}


def test_a_worker_for_each_device(marks, started):
    """Both work at the same time: each of two jobs waits for the other's trace."""
    meet = "; ".join(f"until [ -e {marks.path(name)} ]; do sleep 0.02; done" for name in "01")
    line = f"touch {marks.folder}/$CUDA_VISIBLE_DEVICES; {meet}; echo $CUDA_VISIBLE_DEVICES"
    queue = jobs(*(job(line, str(number), gpus=1) for number in range(10)))
    for process in [started(gpus=[device]) for device in "01"]:
        assert process.wait(60) == 0
    assert counts(queue) == {"complete": 10}
    assert {stdout(queue, str(number)) for number in range(10)} == {b"0\n", b"1\n"}


def test_a_device_that_is_named_twice(marks):
    queue = jobs(*(job(marks.held(name, "echo $CUDA_VISIBLE_DEVICES"), name, gpus=1) for name in "abc"), workers=3)
    with stepping(queue, workers=3, gpus=["0", "0"]) as stepper:
        stepper.until(lambda: marks.starts("a") and marks.starts("b"))
        stepper.turns(3)
        assert counts(queue) == {"running": 2, "queued": 1}
        marks.let_go("a", "b", "c")
        stepper.to_the_end()
    assert {stdout(queue, name) for name in "abc"} == {b"0\n"}


def test_several_devices_and_none(marks):
    show = "echo ${CUDA_VISIBLE_DEVICES-unset}"
    queue = jobs(job(show, "two", gpus=2), job(show, "none"), job(show, "too many", gpus=4))
    one = worker(queue, gpus=["a", "b", "b", "c"])
    one.run()
    assert (stdout(queue, "two"), stdout(queue, "none")) == (b"a,b\n", b"\n")
    assert list(one.never) == [find(queue, "too many").uid]


def test_devices_of_another_queue_are_busy(kind, marks):
    other = jobs(job(marks.held("x"), "x", gpus=1), queue="other")
    queue = jobs(job("echo $CUDA_VISIBLE_DEVICES", "a", gpus=1), workers=2)
    with stepping(other, gpus=["0"]) as holder, stepping(queue, gpus=["0"]) as stepper:
        holder.until(lambda: marks.starts("x"))
        stepper.turns(5)
        assert stands(queue, "a", Status.QUEUED)
        marks.let_go("x")
        holder.to_the_end()
        stepper.to_the_end()
    assert stdout(queue, "a") == b"0\n"


def test_devices_of_a_job_whose_worker_is_dead(kind, marks, started):
    """They are free when it has ended, though nobody of its queue looks."""
    other = jobs(job(marks.held("x"), "x", gpus=1), queue="other")
    queue = jobs(job("echo $CUDA_VISIBLE_DEVICES", "a", gpus=1))
    process = started("other", gpus=["0"])
    marks.began("x")
    process.kill()
    process.wait()
    with stepping(queue, gpus=["0"]) as stepper:
        stepper.turns(3)
        assert stands(queue, "a", Status.QUEUED)
        marks.let_go("x")
        stepper.to_the_end()
    assert (stdout(queue, "a"), find(other, "x").status) == (b"0\n", Status.COMPLETE)


def test_a_time_limit_outlives_its_worker(kind, marks, started):
    """The next worker holds the jobs that it takes over to it, also if they do not want to end; a retry begins anew."""
    queue = jobs(
        job(marks.once("sleeps", f"[ $(wc -l <{marks.path('sleeps')}) = 2 ] || sleep 600"), "sleeps",
            timeout=2, retries=1),
        job(marks.once("stubborn", "trap '' TERM; while :; do sleep 0.05; done"), "stubborn", timeout=2),
        job(marks.held("patient"), "patient", timeout=600),
        job(marks.held("free"), "free"),
        workers=4,
    )  # fmt: skip
    process = started()
    marks.began("sleeps", "stubborn", "patient", "free")
    process.kill()
    process.wait()
    with stepping(queue) as stepper:
        stepper.worker.orphans.grace = 0.3
        stepper.until(lambda: find(queue, "sleeps").status is Status.COMPLETE)
        stepper.until(lambda: find(queue, "stubborn").status is Status.FAILED)
        assert stands(queue, "patient", Status.RUNNING)
        assert stands(queue, "free", Status.RUNNING)
        marks.let_go("patient", "free")
        stepper.to_the_end()
    assert outcomes(queue) == {
        **dict.fromkeys(("sleeps", "patient", "free"), ("complete", 0)), "stubborn": ("failed", 124),
    }  # fmt: skip
    assert find(queue, "stubborn").data["reason"] == "time limit of 2 s"
    first = queue.store.attempts(find(queue, "sleeps").uid)[0]
    assert (first.status, first.returncode, first.data["reason"]) == (Status.FAILED, 124, "time limit of 2 s")


# Parents outside of the queue


def test_parents_that_have_ended(kind, qrec):
    qrec("run", "true", check=True)
    qrec("run", "false")
    queue = jobs(job("true", "by number", depends=("1",)))
    good, bad = (queue.store.resolve(number) for number in "12")
    queue.submit_all([
        job("true", "by uid", depends=(good.uid,)), job("true", "bad", depends=(bad.uid,)),
        job("true", "any", depends_any=("2",)), job("true", "failed", depends_failed=("2",)),
        job("true", "both", depends=(f"{good.number},by uid",)),
    ])  # fmt: skip
    run(queue)
    assert outcomes(queue) == {
        **dict.fromkeys(("by number", "by uid", "any", "failed", "both"), ("complete", 0)),
        "bad": ("skipped", None),
    }
    assert find(queue, "bad").data["reason"] == "task 2 failed"


@pytest.mark.parametrize("ends", ["true", "false", "killed", "removed"])
def test_a_parent_that_runs_elsewhere(kind, qrec, start, marks, ends):
    """It runs in another terminal; it ends, its recorder is killed, it is forgotten."""
    parent = start("run", "sh", "-c", marks.held("p", ends if ends in ("true", "false") else "true"))
    marks.began("p")
    wait_until(lambda: Qrec().store.highest_number() == 1)
    queue = jobs(job("true", "a", depends=("1",)), job("true", "any", depends_any=("1",)))
    with stepping(queue) as stepper:
        stepper.turns(3)
        assert counts(queue) == {"queued": 2}
        assert not stepper.worker.is_over()
        if ends == "killed":
            pid = queue.store.resolve("1").pid or 0
            parent.kill()
            parent.wait()
            os.kill(pid, signal.SIGKILL)
        elif ends == "removed":
            queue.store.delete(queue.store.resolve("1").uid)
        else:
            marks.let_go("p")
        stepper.to_the_end()
    wanted = ("complete", 0) if ends == "true" else ("skipped", None)
    assert outcomes(queue) == {"a": wanted, "any": ("complete", 0)}


# Jobs whose command has an executor of its own


def test_a_job_in_tmux(kind, monkeypatch):
    """It is launched as its command's executor does, and followed to its end."""
    line = "tmux new-session -d 'echo out; exit 3'"
    queue = jobs(
        job(tuple(shlex.split(line)), "a", env={"V": "x"}), job("true", "b", depends=("a",)), job("echo c", "c")
    )
    assert find(queue, "a").data["inner"] == "tmux"
    run(queue)
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("skipped", None), "c": ("complete", 0)}
    assert b"out" in stdout(queue, "a")


@pytest.mark.parametrize("step", ["echo said; exit 7", "echo said; false"])
def test_a_preamble_reaches_what_is_launched(kind, step):
    """Its variables do; if it fails, so does the job, and nothing is launched."""
    line = """tmux new-session -d 'echo "$V of $W"'"""
    queue = jobs(job(tuple(shlex.split(line)), "a", preamble=("W='two words'", "export W")), preamble=["export V=its"])
    jobs(job(("tmux", "new-session", "-d", "true"), "bad", preamble=(step,)))
    run(queue)
    assert outcomes(queue) == {"a": ("complete", 0), "bad": ("failed", 7 if "7" in step else 1)}
    assert b"its of two words" in stdout(queue, "a")
    assert stderr(queue, "bad") == b"said\n"


# Backends


def test_backends(kind):
    queue = jobs(*(job("true", str(number)) for number in range(3)), job("false", "bad"))
    seen: list[str] = []
    outcome = backends.run(queue, told=lambda task: seen.append(task.status.value))
    assert (outcome.interrupted, outcome.left, dict(outcome.never)) == (False, False, {})
    assert Counter(seen) == {"running": 4, "complete": 3, "failed": 1}
    with pytest.raises(WrongUsage, match="there is no backend 'nosuch'; there are: local, serial, tmux, slurm"):
        backends.run(queue, "nosuch")
    with pytest.raises(NoSuchQueue):
        backends.run(Jobs(Qrec(), "nosuch"))


def test_serial_is_one_at_a_time(marks):
    lock = marks.path("lock")
    queue = jobs(
        *(job(f"mkdir {lock} || exit 1; sleep 0.02; rmdir {lock}") for _ in range(5)), workers=4, backend="serial"
    )
    backends.run(queue)
    assert counts(queue) == {"complete": 5}


def test_two_run_one_queue(kind, started):
    """What one of them has submitted, another may run; none is run twice, and both end."""
    queue = jobs(
        *(job("echo x", str(number), depends=(str(number - 3),) if number > 2 else ()) for number in range(30))
    )
    for process in [started(workers=2) for _ in range(3)]:
        assert process.wait(60) == 0
    assert counts(queue) == {"complete": 30}
    assert {done.attempt for done in queue.all()} == {1}
