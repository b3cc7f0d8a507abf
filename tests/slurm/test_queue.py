"""Queues on a real Slurm: every job an sbatch of its own, with its dependencies."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrec import backends, slurm_queue
from qrec.explain import explain
from qrec.jobs import Jobs
from qrec.task import Status
from tests.helpers import wait_until
from tests.queueing import (
    CRASHED,
    counts,
    find,
    job,
    jobs,
    meanwhile,
    nothing_is_left,
    outcomes,
    stands,
    stderr,
    stepping,
)
from tests.slurm.conftest import call_up, slurm
from tests.slurm.test_asking import stop

# `start` ends whatever a queue leaves running
pytestmark = pytest.mark.usefixtures("start", "here")

#: The same as a worker of tests/queueing.py, on Slurm.
ON_SLURM = "from qrec.slurm_queue import SlurmWorker; worker = SlurmWorker(door, worker.queue, chosen=worker.chosen)\n"
FALL = f"def fall(*words, **named): os._exit({CRASHED})\n"


@pytest.fixture
def started(started: Callable[..., Any]) -> Callable[..., Any]:
    """Starts a worker for Slurm; `extra` is what it changes of itself first."""
    return lambda extra="", **how: started(extra=ON_SLURM + FALL + extra, **how)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, int]]:
    """How often Slurm's programs were called since the last look."""
    folder = tmp_path / "counted"
    folder.mkdir()
    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} >>{folder}/calls\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def counted() -> dict[str, int]:
        told = (folder / "calls").read_text().split() if (folder / "calls").exists() else []
        (folder / "calls").write_text("")
        return {name: told.count(name) for name in set(told)}

    return counted


def on_slurm(queue: Jobs, **options: Any) -> backends.Outcome:
    return backends.run(queue, "slurm", **options)


def jobs_of_slurm(queue: Jobs, name: str) -> list[str]:
    """The ids of all of Slurm's jobs that were submitted for a job."""
    uid = find(queue, name).uid
    lines = slurm("squeue", "--me", "--noheader", "--states=all", "--format=%i %k").out.splitlines()
    return [jobid for jobid, _, comment in (line.strip().partition(" ") for line in lines) if comment.startswith(uid)]


def test_links_and_what_is_kept(home, kind):
    """Dependencies ok, any, failed; what is skipped tells of the cause; codes, streams, scripts."""
    queue = jobs(
        job('echo "out:$V"; echo err >&2; pwd', "a b", env={"V": "x\"$(y)' é"}),
        job("exit 3", "bad"),
        job("true", "after bad", depends=("bad",)),
        job("true", "after that", depends=("after bad",)),
        job("true", "any", depends_any=("bad",)),
        job("echo since bad", "if bad", depends_failed=("bad",)),
        job("true", "if one", depends_failed=("a b", "bad")),
        job("true", "if good", depends_failed=("a b",)),
        job("echo ok", "ok", depends=("a b",), setup="echo set", teardown="echo torn"),
        job(("no-such-program",), "127"),
        queue="my queue",
    )
    told: list[tuple[str | None, str]] = []
    on_slurm(queue, told=lambda task: told.append((task.name, task.status.value)))
    complete = dict.fromkeys(("a b", "any", "if bad", "if one", "ok"), ("complete", 0))
    skipped = dict.fromkeys(("after bad", "after that", "if good"), ("skipped", None))
    found = outcomes(queue)
    assert {name: found[name][0] for name in skipped} == dict.fromkeys(skipped, "skipped")
    assert {name: found[name] for name in found if name not in skipped} == {
        **complete, "bad": ("failed", 3), "127": ("failed", 127),
    }  # fmt: skip
    assert find(queue, "after bad").data["reason"] == "bad failed"
    assert find(queue, "after that").data["reason"] == "bad failed"
    assert find(queue, "if good").data["reason"] == "a b completed"
    assert job_output(queue, "a b") == (f"out:x\"$(y)' é\n{os.getcwd()}\n", "err\n")
    assert job_output(queue, "ok") == ("set\nok\ntorn\n", "")
    assert b"export V=" in queue.door.raw(find(queue, "a b")).extras()["script"]
    assert {("bad", "submitted"), ("bad", "failed"), ("after bad", "skipped"), ("ok", "complete")} <= set(told)
    nothing_is_left(home)


def job_output(queue: Jobs, name: str) -> tuple[str, str]:
    """What a job of Slurm printed."""
    done = find(queue, name)
    executor = queue.door.executor(done.executor)
    return tuple(b"".join(executor.act(stream, done)).decode() for stream in ("output", "error"))  # type: ignore[return-value]


def test_what_a_job_prints_and_sees(here, home):
    hostile = "x\"$(y)' é\nz"
    queue = jobs(
        job('printf %s "$V"; echo err >&2', "a", env={"V": hostile}),
        job("echo in; exit 4", "around", setup="echo set", teardown="echo torn; exit 9"),
        job("echo in", "no setup", setup="exit 6", teardown="echo torn"),
        job("pwd", "--x 'y'"),
        job("seq 200000", "large"),
    )
    on_slurm(queue)
    assert job_output(queue, "a") == (hostile, "err\n")
    assert job_output(queue, "around") == ("set\nin\ntorn\n", "")
    assert job_output(queue, "no setup") == ("", "")
    assert job_output(queue, "--x 'y'") == (f"{here}\n", "")
    expected = "".join(f"{number}\n" for number in range(1, 200001))
    assert job_output(queue, "large")[0] == expected
    assert outcomes(queue)["around"] == ("failed", 4)
    assert outcomes(queue)["no setup"] == ("failed", 6)
    left = {path.stat().st_size for path in (home / "slurm").iterdir()}
    assert left <= {len(expected)}


def test_retries_and_the_queue_again(marks):
    """A try of its own each; what failed for good is retried when asked, here as well."""
    queue = jobs(
        job(marks.once("r", f"[ $(wc -l <{marks.path('r')}) = 2 ]"), "r", retries=1),
        job(marks.once("bad", f"[ -e {marks.path('fine')} ]"), "bad"),
        job(marks.once("after"), "after", depends=("bad",)),
    )
    on_slurm(queue)
    assert outcomes(queue) == {"r": ("complete", 0), "bad": ("failed", 1), "after": ("skipped", None)}
    assert (find(queue, "r").attempt, marks.starts("r")) == (2, 2)
    marks.path("fine").touch()
    queue.retry()
    backends.run(queue, "local")
    assert {name: end[0] for name, end in outcomes(queue).items()} == dict.fromkeys(("r", "bad", "after"), "complete")
    assert [marks.starts(name) for name in ("r", "bad", "after")] == [2, 2, 1]
    assert find(queue, "bad").data["inner"] == "shell"
    assert not {"slurm", "matched"} & find(queue, "bad").data.keys()


def test_resources_are_translated(marks):
    at = time.time() + 3
    queue = jobs(
        job(marks.held("a", "echo $SLURM_CPUS_PER_TASK"), "a", cpus=2, mem=150_000_000, timeout=600, slurm={"nice": 7}),
        job("date +%s", "later", at=at),
    )
    with meanwhile(queue, "slurm"):
        wait_until(lambda: marks.starts("a"), 120)
        shown = slurm("scontrol", "show", "job", jobid_of(queue, "a")).out
        marks.let_go("a")
    assert {"CPUs/Task=2", "MinMemoryNode=150M", "TimeLimit=00:10:00", "Nice=7", "JobName=a"} <= set(words_of(shown))
    assert outcomes(queue) == {"a": ("complete", 0), "later": ("complete", 0)}
    assert float(job_output(queue, "later")[0]) >= at - 1  # Slurm counts whole seconds


def words_of(shown: str) -> list[str]:
    return shown.replace("ReqB:S:C:T", "").split()


def test_what_slurm_refuses(home):
    """It fails with Slurm's words; the others are not concerned."""
    queue = jobs(
        job("true", "bad", slurm={"partition": "no-such-partition"}), job("true", "good"),
        job("true", "after", depends=("bad",)),
    )  # fmt: skip
    on_slurm(queue)
    assert outcomes(queue) == {"bad": ("failed", 1), "after": ("skipped", None), "good": ("complete", 0)}
    assert "no-such-partition" in find(queue, "bad").data["reason"] + stderr(queue, "bad").decode()
    assert "invalid partition" in stderr(queue, "bad").decode()
    nothing_is_left(home)


HOOKS = """
[hooks.guard]
on = "before"
command = "^touch"
run = "echo not today; exit 1"
[hooks.weather]
on = "before"
run = "echo '{\\"sky\\": \\"blue\\"}'"
"""


def test_what_a_hook_refuses(home, here):
    """It never comes to Slurm."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(HOOKS)
    queue = jobs(job("touch file", "bad"), job("true", "good"), job("true", "after", depends=("bad",)))
    on_slurm(queue)
    assert outcomes(queue) == {"bad": ("failed", 126), "after": ("skipped", None), "good": ("complete", 0)}
    assert find(queue, "bad").data["reason"] == "refused by hook guard: not today"
    assert find(queue, "good").facts["weather"] == {"sky": "blue"}
    assert not (here / "file").exists()
    nothing_is_left(home)


def test_what_slurm_has_no_room_for(marks, tmp_path, monkeypatch, started):
    """It is submitted again a little later."""
    folder = tmp_path / "full"
    folder.mkdir()
    refuse = "echo 'sbatch: error: Batch job submission failed: QOSMaxSubmitJobPerUserLimit' >&2; exit 1"
    (folder / "sbatch").write_text(
        f"#!/bin/bash\n{marks.once('sbatch')}\n[ $(wc -l <{marks.path('sbatch')}) != 1 ] || {{ {refuse}; }}\n"
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    queue = jobs(job(marks.once("a"), "a"))
    assert started(extra="import qrec.slurm_queue\nqrec.slurm_queue.LATER = 0.3\n").wait(120) == 0
    assert outcomes(queue) == {"a": ("complete", 0)}
    assert (marks.starts("sbatch"), marks.submissions("a"), find(queue, "a").attempt) == (2, 1, 1)


@pytest.mark.parametrize("taken", [True, False])
def test_what_slurm_may_have_taken_although_it_did_not_answer(marks, tmp_path, monkeypatch, started, taken):
    """It is submitted again only if Slurm, as soon as it answers, does not know of it."""
    folder = tmp_path / "deaf"
    folder.mkdir()
    real = {name: shutil.which(name) for name in ("sbatch", "squeue")}
    unheard = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
    away = "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1"
    first = {"sbatch": f'{real["sbatch"]} "$@" >/dev/null; {unheard}' if taken else unheard, "squeue": away}
    for name, line in first.items():
        trace = f"{marks.once(name)}\n[ $(wc -l <{marks.path(name)}) != 1 ] || {{ {line}; }}\n"
        (folder / name).write_text(f'#!/bin/bash\n{trace}exec {real[name]} "$@"\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    queue = jobs(job(marks.once("a", "exit 3"), "a"))
    assert started(extra="import qrec.slurm_queue\nqrec.slurm_queue.LATER = 0.3\n").wait(120) == 0
    assert outcomes(queue) == {"a": ("failed", 3)}
    assert (marks.submissions("a"), len(jobs_of_slurm(queue, "a"))) == (1, 1)
    assert marks.starts("sbatch") == (1 if taken else 2)


def test_secrets(home):
    """The job has the real ones; neither the record nor the script that is kept has them."""
    secret = "ghp_" + "0123456789abcdefghijABCDEFGHIJ012345"
    queue = jobs(job(f"t() {{ echo ${{#2}}-${{#KEY_TOKEN}}; }}; t --token {secret}", "a", env={"KEY_TOKEN": secret}))
    on_slurm(queue)
    assert job_output(queue, "a") == (f"{len(secret)}-{len(secret)}\n", "")
    holders = [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert holders == []


def test_the_time_limit_of_a_job():
    queue = jobs(job("sleep 600", "a", timeout=3600))
    with meanwhile(queue, "slurm"):
        jobid = jobid_of(queue, "a")
        # refused until it runs, and in the second in which it began
        wait_until(lambda: slurm("scontrol", "update", f"jobid={jobid}", "endtime=now").returncode == 0, 60)
    assert outcomes(queue) == {"a": ("failed", 124)}


def jobid_of(queue: Jobs, name: str) -> str:
    """As soon as it is recorded."""
    return str(wait_until(lambda: find(queue, name).data.get("slurm", {}).get("jobid"), 120))


def test_cancelling():
    """Slurm's job goes; what depends on it is skipped; what still waits here never gets there."""
    queue = jobs(job("sleep 600", "a"), job("true", "b", depends=("a",)))
    with meanwhile(queue, "slurm"):
        jobid, _ = (jobid_of(queue, name) for name in "ab")
        queue.cancel([find(queue, "a")])
    assert stands(queue, "a", Status.CANCELLED)
    assert stands(queue, "b", Status.SKIPPED)
    assert slurm("squeue", "--noheader", "--states=all", f"--jobs={jobid}", "--format=%T").out.strip() == "CANCELLED"


FELL = {
    "before sbatch": "qrec.slurm_queue.slurm_calls.act = fall",
    "behind sbatch": "worker.submitted = fall",
    "recorded": "told = worker.submitted\nworker.submitted = lambda *words: (told(*words), fall())",
}


@pytest.mark.parametrize("point", FELL)
def test_a_worker_falls_dead_as_it_submits(kind, marks, started, point):
    """Whatever Slurm has by then is adopted by its comment; there is one job of Slurm for each of ours."""
    queue = jobs(job(marks.once("a", "exit 3"), "a"), job(marks.once("b"), "b", depends_any=("a",)))
    extra = "import qrec.slurm_queue\n" + FELL[point]
    assert started(extra=extra).wait(60) == CRASHED
    on_slurm(queue)
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("complete", 0)}
    assert (marks.submissions("a"), marks.submissions("b")) == (1, 1)
    assert [len(jobs_of_slurm(queue, name)) for name in "ab"] == [1, 1]


def test_a_worker_is_killed_while_sbatch_goes_on(marks, started, tmp_path, monkeypatch):
    """An sbatch that outlives its worker is waited for, so that nothing is submitted twice."""
    folder = tmp_path / "slow"
    folder.mkdir()
    gate = shlex.quote(str(marks.path("sbatch.gate")))
    (folder / "sbatch").write_text(
        f"#!/bin/bash\n{marks.once('sbatch')}\nuntil [ -e {gate} ]; do sleep 0.05; done\n"
        f'exec {shutil.which("sbatch")} "$@"\n'
    )
    (folder / "sbatch").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    queue = jobs(job(marks.once("a", "exit 3"), "a"))
    process = started()
    marks.began("sbatch")
    process.kill()
    process.wait()
    turns = marks.path("turns")
    extra = f"call = worker.adopt\nworker.adopt = lambda: (call(), open({str(turns)!r}, 'a').write('x'))\n"
    second = started(extra=extra)
    wait_until(lambda: turns.exists() and len(turns.read_text()) > 3, what="the second worker to look")
    assert marks.starts("sbatch") == 1
    marks.let_go("sbatch")
    assert second.wait(120) == 0
    assert outcomes(queue) == {"a": ("failed", 3)}
    assert (marks.submissions("a"), len(jobs_of_slurm(queue, "a")), marks.starts("sbatch")) == (1, 1, 1)


def test_a_worker_is_killed_and_the_next_one_follows(marks, started):
    """Nothing is submitted twice, and what ended meanwhile has its code; Ctrl-C leaves to Slurm what it has."""
    queue = jobs(job(marks.held("a", "exit 3"), "a"), job(marks.once("b"), "b", depends_any=("a",)))
    process = started()
    wait_until(lambda: marks.starts("a") and stands(queue, "b", Status.SUBMITTED), 120)
    process.kill()
    process.wait()
    marks.let_go("a")
    wait_until(lambda: marks.starts("b"), 120)
    second = started()
    assert second.wait(120) == 0
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("complete", 0)}
    assert [len(jobs_of_slurm(queue, name)) for name in "ab"] == [1, 1]


def test_interrupted(marks, started):
    queue = jobs(job(marks.held("a", "exit 3"), "a"))
    process = started()
    wait_until(lambda: marks.starts("a") and "slurm" in find(queue, "a").data, 120)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not find(queue, "a").status.is_final
    marks.let_go("a")
    on_slurm(queue)
    assert outcomes(queue) == {"a": ("failed", 3)}
    assert marks.submissions("a") == 1


def test_forty_jobs_cost_few_calls(calls, record_property):
    """Each is submitted once; to follow them all costs a question now and then."""
    queue = jobs(
        *(job("true", str(number), depends=(str(number - 20),) if number >= 20 else ()) for number in range(40))
    )
    calls()
    began = time.monotonic()
    on_slurm(queue)
    seconds = time.monotonic() - began
    found = calls()
    record_property("calls", str(found))
    assert counts(queue) == {"complete": 40}
    assert found.pop("sbatch") == 40
    assert sum(found.values()) < max(60, 4 * seconds), "a look each second"


def test_parents_outside(qrec, submit):
    """One that has ended is judged here; one that runs on Slurm and was recorded is Slurm's to wait for."""
    qrec("run", "false")
    qrec("run", "sbatch", "--parsable", "--wrap", "sleep 2; exit 5", check=True)
    queue = jobs(
        job("true", "bad", depends=("1",)), job("true", "any", depends_any=("1", "2")),
        job("true", "failed", depends_failed=("2",)),
        job("true", "ok", depends=("2",)),
    )  # fmt: skip
    on_slurm(queue)
    assert {name: end[0] for name, end in outcomes(queue).items()} == {
        "bad": "skipped", "any": "complete", "failed": "complete", "ok": "skipped",
    }  # fmt: skip
    assert find(queue, "bad").data["reason"] == "task 1 failed"
    assert find(queue, "ok").data["reason"] == "task 2 failed"


def test_nothing_more_begins_once_a_job_failed_if_so_wished(marks):
    """What runs goes on; what Slurm has not begun it gives back, and what depends on the failed job is skipped."""
    queue = jobs(
        job(marks.held("bad", "exit 3"), "bad"), job("true", "after", depends=("bad",)),
        job(marks.held("runs"), "runs"), job(marks.once("held"), "held", slurm={"hold": True}),
        job(marks.once("behind"), "behind", depends=("held",)),
    )  # fmt: skip
    with meanwhile(queue, "slurm", fail_fast=True):
        wait_until(lambda: marks.starts("bad") and marks.starts("runs"), 120)
        wait_until(lambda: all(stands(queue, name, Status.SUBMITTED) for name in ("after", "held", "behind")), 120)
        marks.let_go("bad")
        wait_until(lambda: all(stands(queue, name, Status.CANCELLED) for name in ("held", "behind")), 120)
        assert not find(queue, "runs").status.is_final
        marks.let_go("runs")
    ends = {name: end[0] for name, end in outcomes(queue).items()}
    assert ends == {"bad": "failed", "after": "skipped", "runs": "complete", "held": "cancelled", "behind": "cancelled"}


def test_the_controller_goes_down_in_the_midst_and_comes_back(exclusive_cluster, marks, home, monkeypatch):
    """What it has goes on, what it cannot take waits for it, and nothing runs twice."""
    monkeypatch.setattr(slurm_queue, "LATER", 1.0)
    queue = jobs(
        job(marks.held("ends", "exit 3"), "ends"), job(marks.held("lasts", "exit 4"), "lasts"),
        job(marks.once("any"), "any", depends_any=("ends",)), job(marks.once("ok"), "ok", depends=("ends",)),
        job(marks.once("behind"), "behind", depends_failed=("lasts",)),
    )  # fmt: skip
    with meanwhile(queue, "slurm"):
        wait_until(lambda: marks.starts("ends") and marks.starts("lasts"), 120)
        wait_until(lambda: all(stands(queue, name, Status.SUBMITTED) for name in ("any", "ok", "behind")), 120)
        stop("slurmctld")
        marks.let_go("ends")
        jobs(job(marks.once("late"), "late"), job(marks.once("latest"), "latest", depends_any=("lasts", "late")))
        wait_until(lambda: "not_before" in find(queue, "late").data, 120, "sbatch to be tried in vain")
        assert [marks.starts(name) for name in ("any", "late")] == [0, 0]
        call_up()
        marks.let_go("lasts")
        wait_until(lambda: all(one.status.is_final for one in queue.all()), 240, "all to end")
    ends = outcomes(queue)
    assert ends.pop("ok")[0] == "skipped"
    assert ends == {
        "ends": ("failed", 3), "lasts": ("failed", 4),
        **dict.fromkeys(("any", "behind", "late", "latest"), ("complete", 0)),
    }  # fmt: skip
    assert (marks.starts("ok"), {marks.submissions(name) for name in ends}) == (0, {1})
    assert {name: len(jobs_of_slurm(queue, name)) for name in ends} == dict.fromkeys(ends, 1)
    nothing_is_left(home)


def test_a_preamble_reaches_an_sbatch():
    line = ("sbatch", "--wrap", 'test "$V" = "two words"')
    queue = jobs(job(line, "a"), preamble=["export V='two words'"])
    backends.run(queue, "local")
    assert outcomes(queue) == {"a": ("complete", 0)}


def test_a_local_queue_with_an_sbatch(marks):
    """The job is what sbatch submitted: followed to its end, and its code is the job's."""
    queue = jobs(
        job(("sbatch", "--parsable", "--wrap", marks.once("a", "echo out; exit 3")), "a"),
        job(("sbatch", "--wrap", "true"), "b"),
        job("true", "after", depends=("a",)),
        job("true", "any", depends_any=("a", "b")),
    )
    assert find(queue, "a").data["inner"] == "slurm"
    backends.run(queue, "local", workers=2)
    assert outcomes(queue) == {
        "a": ("failed", 3), "b": ("complete", 0), "after": ("skipped", None), "any": ("complete", 0),
    }  # fmt: skip
    assert marks.submissions("a") == 1


def test_a_job_of_an_sbatch_that_lasts_is_submitted_once(kind, marks):
    """However often the worker looks at it: nobody here runs it, and nobody here has gone."""
    queue = jobs(job(("sbatch", "--wrap", marks.held("a", "exit 3")), "a"), job("true", "b", depends_any=("a",)))
    with stepping(queue) as stepper:
        stepper.until(
            lambda: stands(queue, "a", Status.RUNNING) and "state" in find(queue, "a").data.get("slurm", {}), "a", 120
        )
        first = find(queue, "a").data["slurm"]["jobid"]
        for _ in range(5):
            stepper.worker.next_outside = 0.0
            stepper.turn()
        assert (find(queue, "a").status, find(queue, "a").data["slurm"]["jobid"]) == (Status.RUNNING, first)
        assert not any("gone" in line or "killed" in line for line in explain(queue, find(queue, "a")))
        marks.let_go("a")
        stepper.to_the_end(120)
    assert outcomes(queue) == {"a": ("failed", 3), "b": ("complete", 0)}
    assert marks.submissions("a") == 1
