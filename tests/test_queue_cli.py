"""`qrec queue` by real processes: what is said, what is refused, what is run."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qrec.api import Qrec
from qrec.cli.gantt import gantt
from qrec.explain import explain
from qrec.jobs import Jobs
from qrec.presence import workers
from qrec.task import Status, Task, timestamp
from tests.helpers import Result, wait_until
from tests.terminals import INTR, Terminal
from tests.test_look_back import call, one_line

Call = Callable[..., Result]
ODD_NAMES = ["1", "001", "j", "True", "a b", "--x", "it's", '"q"', "$(x)", "two\nlines", "ä✓", "a,b", "{x}", "\\"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in the test's folder."""
    monkeypatch.chdir(tmp_path)


def submit(*words: str, **how: Any) -> str:
    """Submits a job in this process; its uid."""
    return call("queue", "submit", *words, check=True, **how).out.strip()


def shown(queue: str = "default") -> dict[str, dict[str, Any]]:
    """The jobs of a queue by name, else by command."""
    return {job["name"] or job["command"]: job for job in call("queue", "show", queue, "--json").json["jobs"]}


def statuses(queue: str = "default") -> dict[str, str]:
    return {name: job["status"] for name, job in shown(queue).items()}


# Case 1: a failure


def test_1_what_depends_on_a_failure_is_skipped(kind, qrec, marks):
    submit("--name", "bad", "--", marks.once("bad", "exit 3"))
    submit("--name", "child", "--depends", "bad", "--", marks.once("child"))
    submit("--name", "grandchild", "--depends", "child", "--", marks.once("grandchild"))
    submit("--name", "free", "--", marks.once("free"))
    submit("--name", "after", "--depends-any", "bad", "--", marks.once("after"))
    submit("--name", "rescue", "--depends-failed", "bad", "--", marks.once("rescue"))
    submit("--name", "no rescue", "--depends-failed", "free", "--", marks.once("no rescue"))
    result = qrec("queue", "run")
    assert result.returncode == 1, result
    assert result.out == ""
    skipped = ("child", "grandchild", "no rescue")
    assert statuses() == {
        "bad": "failed", "child": "skipped", "grandchild": "skipped", "free": "complete", "after": "complete",
        "rescue": "complete", "no rescue": "skipped",
    }  # fmt: skip
    assert {name: job["why"] for name, job in shown().items() if name in skipped[:2]} == {
        "child": "bad failed", "grandchild": "bad failed",
    }  # fmt: skip
    assert [marks.starts(name) for name in skipped] == [0, 0, 0]
    assert [marks.starts(name) for name in ("bad", "free", "after", "rescue")] == [1, 1, 1, 1]
    lines = result.err.splitlines()
    assert lines[0].split()[:3] == ["failed", "1", "bad"], "piped, only failures are told, and the end"
    assert {line.split()[0] for line in lines[1:-1]} == {"skipped"}
    assert lines[-1].startswith("[default] 7 jobs: ")
    assert "3 complete, 1 failed, 3 skipped" in lines[-1]


def test_1_all_well(home, qrec, marks):
    submit("--", marks.once("one"))
    first = qrec("queue", "run", check=True)
    assert first.err.startswith("[default] 1 job: 1 complete; "), first
    again = qrec("queue", "run", check=True)
    assert again.err.startswith("[default] 1 job: 1 complete; ")
    assert marks.starts("one") == 1, "what completed is not repeated"
    submit("--", marks.once("two"))
    assert qrec("queue", "run", "-q", check=True).err == ""
    assert marks.starts("two") == 1
    assert qrec("-q", "queue", "run", "--json", check=True).json == {
        "queue": "default", "counts": {"complete": 2}, "jobs": 2,
    }  # fmt: skip


def test_1_what_failed_waits_for_retry(home, qrec, marks):
    submit("--name", "bad", "--", marks.once("bad", f"test -e {shlex.quote(str(marks.path('good')))}"))
    submit("--name", "child", "--depends", "bad", "--", marks.once("child"))
    assert qrec("queue", "run", "-q").returncode == 1
    assert qrec("queue", "run", "-q").returncode == 1
    assert marks.starts("bad") == 1
    marks.path("good").touch()
    assert call("queue", "retry", "--failed", check=True).out == "bad is queued\nchild is queued\n"
    assert qrec("queue", "run", "-q").returncode == 0
    assert (marks.starts("bad"), marks.starts("child")) == (2, 1)
    assert "nothing" in call("queue", "retry", check=True).err
    assert call("queue", "retry", "child", check=True).out == "child is queued\n", "one that completed only if named"


# Case 2: only the job itself is concerned


def test_2_what_jobs_do_concerns_them_alone(kind, qrec, marks):
    submit("--name", "exit", "--", "cd /; export X=1; exit 3")
    submit("--name", "126", "--", "sh", "-c", "exit 126")
    submit("--name", "syntax", "--", "if then (")
    submit("--name", "missing", "--", "no-such-program-here", "x")
    submit("--name", "well", "--", "pwd; echo ${X-unset}")
    assert qrec("queue", "run", "-q").returncode == 1
    codes = {name: job["returncode"] for name, job in shown().items()}
    assert codes == {"exit": 3, "126": 126, "syntax": 2, "missing": 127, "well": 0}
    assert call("queue", "log", "well", check=True).out == f"{os.getcwd()}\nunset\n"


# Case 3: names and values


@pytest.mark.parametrize("queue", ["default", "a queue", 'it\'s "q"', "1", "ä/✓"])
def test_3_names_are_exact(home, qrec, tmp_path, queue):
    folder = tmp_path / 'it\'s a "folder" $(x)'
    folder.mkdir()
    before: list[str] = []
    for name in ODD_NAMES:
        words = [f"--name={name}", "--cwd", str(folder), "--env", f"V={name}'\"$(x)", *before]
        submit(queue, *words, "--", "sh", "-c", 'printf %s "$V$PWD"')
        before = [f"--depends={name}"]
    assert qrec("queue", "run", "-q", queue).returncode == 0
    jobs = call("queue", "show", "--json", queue).json
    assert jobs["queue"] == queue
    assert [job["name"] for job in jobs["jobs"]] == ODD_NAMES
    uids = [job["uid"] for job in jobs["jobs"]]
    assert [job["after"] for job in jobs["jobs"]] == [[], *([uid] for uid in uids[:-1])]
    for name in ODD_NAMES:
        assert call("queue", "log", "--", queue, name, check=True).out == f"{name}'\"$(x){folder}"
    assert "two\\nlines" in call("queue", "show", queue, check=True).out


# Case 4: refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--depends", "nope", "--", "true"], "'nope'"),
        (["--depends-any", "a,nope", "--", "true"], "'nope'"),
        (["--depends-failed", "nope", "--", "true"], "'nope'"),
        (["--name", "a", "--", "true"], "'a'"),
        (["--name", "me", "--depends", "me", "--", "true"], "me"),
        (["--name", "", "--", "true"], "''"),
        (["--cpus", "100000", "--", "true"], "100000 CPUs"),
        (["--name", "big", "--mem", "1000T", "--", "true"], "big"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_4_refused_at_submit_and_nothing_stored(kind, words, said):
    submit("--name", "a", "--", "true")
    result = call("queue", "submit", *words)
    assert result.returncode in (1, 2)
    assert said in one_line(result, result.returncode)
    assert statuses() == {"a": "queued"}
    assert len(call("ls", "--json").json) == 1


def test_4_a_cycle_in_a_file(kind, tmp_path):
    rows: list[dict[str, Any]] = [
        {"name": a, "command": "true", "depends": b} for a, b in (("x", "z"), ("y", "x"), ("z", "y"), ("w", []))
    ]
    (tmp_path / "jobs").write_text("\n".join(map(json.dumps, rows)))
    said = one_line(call("queue", "submit", "--from", str(tmp_path / "jobs")))
    assert all(name in said for name in ("x", "y", "z"))
    assert call("ls", "--json").json == []


@pytest.mark.parametrize("verb", ["show", "run", "status", "wait", "pause", "resume", "cancel nope", "retry nope",
                                  "graph", "timeline", "clear", "monitor", "explain nope", "log nope", "cleanup",
                                  "edit nope --priority 1", "set --workers 2"])  # fmt: skip
def test_4_a_queue_that_is_missing(home, verb):
    words = verb.split()
    named = words if "nope" in words else [*words, "nope"]
    assert "nope" in one_line(call("queue", *named))
    if "nope" not in words and words[0] not in ("cleanup", "set"):
        assert "default" in one_line(call("queue", *words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["true"], "`--`"),
        (["default", "true"], "`--`"),
        ([], "`--`"),
        (["a", "b", "--", "true"], "'b'"),
        (["--"], "command"),
        (["--", ""], "command"),
        (["--from", "/nope"], "/nope"),
        (["--from", "/nope", "--", "true"], "--from"),
        (["--from", "/nope", "--sweep", "a=1"], "--from"),
        (["--sweep", "a=-", "--sweep", "b=-", "--", "{a}{b}"], "stdin"),
        (["--sweep", "a=1", "--", "true"], "{a}"),
        (["--at", "soon", "--", "true"], "soon"),
        (["--mem", "much", "--", "true"], "much"),
        (["--env", "A", "--", "true"], "'A'"),
        (["--retries", "-1", "--", "true"], "-1"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_wrong_words(home, words, said):
    result = call("queue", "submit", *words)
    assert said in one_line(result, 2)
    assert not (home / "qrec.db").exists() or not call("queue", "ls", "--json").json


def test_4_fifty_submits_at_once(kind, start):
    running = [start("queue", "submit", "--name", f"j{number}", "--", "echo", str(number)) for number in range(50)]
    results = [process.communicate(timeout=100) for process in running]
    assert [process.returncode for process in running] == [0] * 50, results
    jobs = shown()
    assert set(jobs) == {f"j{number}" for number in range(50)}
    assert {job["uid"] for job in jobs.values()} == {out.decode().strip() for out, _ in results}
    assert sorted(job["number"] for job in jobs.values()) == list(range(1, 51))


def test_names_with_commas_come_first(home):
    for name in ("a", "b", "a,b"):
        submit("--name", name, "--", "true")
    uids = {name: job["uid"] for name, job in shown().items()}
    submit("--name", "whole", "--depends", "a,b", "--", "true")
    submit("--name", "parts", "--depends", "b,a", "--", "true")
    submit("--name", "both", "--depends", "a", "--depends", "a,b", "--depends-any", "b", "--", "true")
    jobs = shown()
    assert jobs["whole"]["after"] == [uids["a,b"]]
    assert jobs["parts"]["after"] == [uids["b"], uids["a"]]
    assert jobs["both"]["after"] == [uids["a"], uids["a,b"], uids["b"]]
    assert jobs["both"]["waits_for"] == jobs["both"]["after"]


def test_a_job_may_wait_for_any_task(home, qrec, start, marks):
    running = start("run", "sh", "-c", marks.held("outside", "exit 4"))
    marks.began("outside")
    wait_until(lambda: call("ls", "--json").json, what="its record")
    submit("--depends", "1", "--name", "good", "--", marks.once("good"))
    submit("--depends-any", "1", "--name", "any", "--", marks.once("any"))
    process = start("queue", "run")
    assert explained("good")[0] == "it waits for task 1, which is running"
    marks.let_go("outside")
    assert running.wait(60) == 4
    assert process.wait(60) == 1
    assert statuses() == {"good": "skipped", "any": "complete"}


def test_what_is_waited_for_elsewhere_is_told_once(home, start):
    submit("first", "--name", "prep", "--", "true")
    uid = call("queue", "show", "first", "--json").json["jobs"][0]["uid"]
    submit("second", "--depends", uid, "--", "true")
    process = start("queue", "run", "second")
    assert process.stderr.readline().decode() == (
        "qrec: queue 'second' waits for prep, which is queued"
        " (no worker runs queue first; `qrec queue run first` starts one)\n"
    )
    call("queue", "pause", "first", check=True)
    assert process.stderr.readline().decode() == (
        "qrec: queue 'second' waits for prep, which is queued"
        " (queue first is paused; `qrec queue resume first` lets jobs begin)\n"
    )
    call("queue", "resume", "first", check=True)
    assert call("queue", "run", "first").returncode == 0
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 0
    assert b"prep" not in rest.replace(b"no worker runs queue first", b"") or b"resume" not in rest


# Submitting


def test_the_words_reach_the_command(home, qrec):
    submit("q", "-m", "a note", "-t", "x", "--", "printf", "%s|", "a b", "--", "-m", "--json", "")
    submit("q", "--", "printf '%s|' 'one argument' $((1 + 1))")
    submit("q", "--", "true")
    assert qrec("queue", "run", "q", "-q").returncode == 0
    printf, line, true = call("queue", "show", "q", "--json").json["jobs"]
    assert call("log", str(printf["number"])).out == "a b|--|-m|--json||"
    assert (printf["message"], printf["tags"], printf["pwd"]) == ("a note", ["x"], os.getcwd())
    assert call("log", str(line["number"])).out == "one argument|2|"
    assert line["data"]["shell"].endswith("bash")
    assert true["argv"] == ["true"]


def test_jobs_see_path_and_own_variables(home, qrec, tmp_path, monkeypatch):
    monkeypatch.setenv("VIRTUAL_ENV", "/venv of mine")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("OTHER", "of the submitter")
    submit("--env", "A=$(x)\n'\"", "--", 'printf "%s|" "$VIRTUAL_ENV" "${PATH%%:*}" "$OTHER" "$A"')
    environment: dict[str, str | None] = {"VIRTUAL_ENV": None, "PATH": os.defpath, "OTHER": "of the worker"}
    assert qrec("queue", "run", "-q", env=environment).returncode == 0
    assert call("queue", "log").out == f"/venv of mine|{tmp_path}|of the worker|$(x)\n'\"|"


def test_many_at_once(kind, qrec, tmp_path):
    (tmp_path / "jobs").write_text(
        '{"name": "b", "command": "cat a", "depends": "a"}\n{"name": "a", "argv": ["echo"]}\n'
    )
    result = call("queue", "submit", "many", "--from", str(tmp_path / "jobs"), "--priority", "3", check=True)
    jobs = shown("many")
    assert result.out.split() == [jobs["b"]["uid"], jobs["a"]["uid"]]
    assert jobs["b"]["after"] == [jobs["a"]["uid"]], "a line may name one further down"
    assert {job["priority"] for job in jobs.values()} == {3}
    result = qrec("queue", "submit", "lines", "--from", "-", input="echo 'a b'\n# no\nfalse\n", check=True)
    assert [job["command"] for job in call("queue", "show", "lines", "--json").json["jobs"]] == ["echo 'a b'", "false"]


def test_a_sweep(home, qrec):
    words = ["--sweep", "lr=0.1,1", "--sweep", "name=-", "--name", "{name}/{lr}", "--", "echo", "{lr}", "{name}"]
    result = qrec("queue", "submit", *words, input="a b\nc\n", check=True)
    assert len(result.out.split()) == 4
    assert [job["argv"] for job in shown().values()] == [
        ["echo", "0.1", "a b"], ["echo", "0.1", "c"], ["echo", "1", "a b"], ["echo", "1", "c"],
    ]  # fmt: skip
    assert list(shown()) == ["a b/0.1", "c/0.1", "a b/1", "c/1"]


def test_if_absent(home, qrec):
    first = submit("--if-absent", "--", "echo", "x")
    assert submit("--if-absent", "--", "echo", "x") == first
    assert submit("--if-absent", "--", "echo x") == first, "`show` calls both the same"
    assert submit("--", "echo", "x") != first
    assert submit("--if-absent", "--", "echo", "y") != first
    assert len(call("ls", "--json").json) == 3
    assert qrec("queue", "run", "-q").returncode == 0
    assert submit("--if-absent", "--", "echo", "x") != first, "it has ended"


def test_json_of_submit(home):
    (row,) = call("queue", "submit", "--json", "--name", "x", "--", "true").json
    assert (row["name"], row["status"], row["queue"], row["number"]) == ("x", "queued", "default", 1)


def test_a_secret_is_not_stored(home, qrec):
    secret = "ghp_" + "A1b2C3d4E5" * 4
    submit("--name", "a", "--env", f"API_TOKEN={secret}", "--", f"echo {secret} | wc -c; echo ${{#API_TOKEN}}")
    call("queue", "edit", "a", "--priority", "1", "--env", "MORE=1", check=True)
    assert secret not in call("queue", "show", "--json").out
    assert qrec("queue", "run", "-q").returncode == 0
    assert call("queue", "log", "a").out == f"{len(secret) + 1}\n{len(secret)}\n", "and the job has it"
    assert "API_TOKEN" in one_line(call("queue", "new", "x", "--env", f"API_TOKEN={secret}"), 2)


def test_a_secret_in_what_goes_around_a_job_is_not_stored(kind, home, qrec):
    secret = "ghp_" + "A1b2C3d4E5" * 4
    around = ["--setup", f"t={secret}", "--teardown", f"echo {secret} | wc -c"]
    submit("--name", "a", *around, "--", "echo ${#t}")
    call("queue", "edit", "a", "--teardown", f"echo x {secret} | wc -c", "--env", "MORE=1", check=True)
    call("queue", "edit", "a", "--priority", "2", check=True)
    assert qrec("queue", "run", "-q").returncode == 0
    assert call("queue", "log", "a").out == f"{len(secret)}\n{len(secret) + 3}\n"
    holders = [path for path in home.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert holders == []
    assert "submit it again" in one_line(call("rerun", "1"))
    assert statuses() == {"a": "complete"}, "and nothing has changed"
    assert "secret" in one_line(call("queue", "new", "x", "--preamble", f"export T={secret}"), 2)
    assert "secret" in one_line(call("queue", "set", "default", "--preamble", f"export T={secret}"), 2)


# Queues


def test_new_and_set(home, qrec):
    assert call("queue", "new", "q", "--workers", "2", "--gpus", "0,1", "--mem", "16G", check=True).out.startswith(
        "q: 2 slots\n"
    )
    assert "'q'" in one_line(call("queue", "new", "q"))
    assert call("queue", "set", "q", "--workers", "4", "--gpus", "", "--preamble", "x=1", "--json").json.items() >= {
        "queue": "q", "workers": 4, "mem": 16_000_000_000, "preamble": ["x=1"],
    }.items()  # fmt: skip
    submit("q", "--name", "x", "--", "echo $x")
    assert qrec("queue", "run", "-q", "q").returncode == 0
    assert call("queue", "log", "q", "x").out == "1\n"
    submit("q", "--name", "y", "--", "true")
    call("queue", "new", "q", "--clear", check=True)
    assert call("queue", "show", "q", "--json").json["jobs"] == []
    assert [task["status"] for task in call("ls", "--json").json] == ["complete", "cancelled"]
    (listed,) = call("queue", "ls", "--json").json
    assert (listed["name"], listed["slots"], listed["counts"]) == ("q", 1, {})


@pytest.mark.parametrize("words", [["--workers", "0"], ["--mem", "x"], ["--env", "A"], ["--backend", "nope"]])
def test_a_policy_that_makes_no_sense(home, words):
    one_line(call("queue", "new", "q", *words), 2)
    assert call("queue", "ls", "--json").json == []


def test_clear_forgets_a_queue_and_keeps_the_tasks(home, qrec):
    submit("--name", "done", "--", "true")
    assert qrec("queue", "run", "-q").returncode == 0
    submit("--", "true")
    assert "1 job" in one_line(call("queue", "clear"))
    call("queue", "clear", "-y", check=True)
    assert call("queue", "ls", "--json").json == []
    assert [task["status"] for task in call("ls", "--json").json] == ["complete", "cancelled"]
    submit("--name", "done", "--", "true")
    assert list(shown()) == ["done"], "a new queue of that name knows nothing of the old one"


def test_words_name_queues_and_jobs(home):
    for queue, name in (("default", "x"), ("a", "x"), ("a", "y"), ("b", "y"), ("b", "a"), ("b", "z")):
        submit(queue, "--name", name, "--", "true")
    numbers = {
        (queue, job["name"]): job["number"]
        for queue in ("a", "b")
        for job in call("queue", "show", queue, "--json").json["jobs"]
    }

    def named(*words: str) -> str:
        result = call("queue", "explain", *words, "--json")
        return result.json["queue"] if result.returncode == 0 else one_line(result, result.returncode)

    assert named("x") == "default"
    assert named("a", "x") == "a"
    assert named("z") == "b", "only b has it"
    assert "several queues: a, b" in named("y")
    assert "name one job" in named("a"), "the queue, not b's job of that name"
    assert named("b", "a") == "b"
    assert named(str(numbers["b", "y"])) == "b"
    uid = call("queue", "show", "b", "--json").json["jobs"][0]["uid"]
    assert (named(uid[6:10]), named("b", uid[:10])) == ("b", "b")
    assert all(f"{slip!r} is no job of queue 'b'" in named("b", slip) for slip in (uid[:8], uid[:9], "queue"))
    assert f"{uid[6:9]!r} is neither a queue nor a job" in named(uid[6:9])
    assert f"{uid[6:9]!r} is no job" in one_line(call("queue", "submit", "--depends", uid[6:9], "--", "true"))
    assert f"{uid!r} is no job of queue 'a'" in named("a", uid)
    call("queue", "cancel", "b", check=True)
    call("queue", "new", "b", "--clear", check=True)
    assert f"{uid!r} is no job of queue 'b'" in named(uid), "it was one of that queue before"
    assert "'nope'" in named("nope")
    assert "'z'" in named("a", "z")


# Case 8: changing what runs


def working(start: Callable[..., subprocess.Popen[bytes]], home: Path, *words: str) -> subprocess.Popen[bytes]:
    """A worker as a process, as soon as it works."""
    process = start("queue", "run", *words)
    wait_until(lambda: workers(str(home)) or process.poll() is not None, what="a worker")
    return process


def test_what_a_worker_was_told_for_itself_stays(home, start, marks):
    submit("--name", "a", "--", marks.held("a"))
    process = working(start, home, "--workers", "2")
    marks.began("a")
    told = call("queue", "set", "default", "--workers", "4", "--cpus", "8", check=True)
    assert told.out.startswith("default: 4 slots\n")
    assert told.err == "qrec: who runs 'default' now was started with --workers of its own, and keeps to that\n"
    assert call("queue", "set", "default", "--cpus", "9", check=True).err == ""
    marks.let_go("a")
    assert process.wait(60) == 0
    assert call("queue", "set", "default", "--workers", "3", check=True).err == ""


def test_8_pause_and_resume(kind, home, start, marks):
    submit("--name", "a", "--", marks.held("a"))
    submit("--name", "b", "--", marks.once("b"))
    process = working(start, home)
    marks.began("a")
    call("queue", "pause", check=True)
    marks.let_go("a")
    wait_until(lambda: statuses()["a"] == "complete", what="a to end")
    submit("--name", "c", "--", marks.once("c"))
    assert call("queue", "explain", "b").out.splitlines()[1].strip().startswith("the queue is paused")
    assert shown()["c"]["why"] == "the queue is paused"
    assert "paused" in call("queue", "status").out
    assert statuses() == {"a": "complete", "b": "queued", "c": "queued"}
    assert process.poll() is None, "a paused queue is waited for"
    call("queue", "resume", check=True)
    assert process.wait(60) == 0
    assert (marks.starts("b"), marks.starts("c")) == (1, 1)


def test_8_priority_and_edit(kind, home, start, marks):
    submit("--name", "first", "--", marks.held("first"))
    process = working(start, home)
    marks.began("first")
    order = marks.path("order")
    for name, priority in (("low", "-1"), ("middle", "0"), ("high", "5"), ("edited", "0")):
        submit("--name", name, "--priority", priority, "--", f"echo {name} >>{shlex.quote(str(order))}")
    explained = call("queue", "explain", "middle").out
    assert "the only slot is taken: by first" in explained
    assert "1 ready job goes first: high (priority 5)" in explained
    assert shown()["middle"]["why"] == "no slot is free"
    edit = ["--priority", "7", "--env", "X=new", "--name", "renamed", "-m", "changed", "--"]
    call("queue", "edit", "edited", *edit, f"echo renamed $X >>{shlex.quote(str(order))}", check=True)
    marks.let_go("first")
    assert process.wait(60) == 0
    assert order.read_text() == "renamed new\nhigh\nmiddle\nlow\n"
    job = shown()["renamed"]
    assert (job["message"], job["attempt"], job["number"]) == ("changed", 1, 5)
    assert "renamed is complete" in one_line(call("queue", "edit", "renamed", "--priority", "1"))


def test_8_a_name_that_begins_with_a_dash(home):
    submit("--name", "-m", "--", "echo", "before")
    call("queue", "edit", "--priority", "3", "--", "-m", check=True)
    call("queue", "edit", "-m", "a note", "--", "-m", "--", "echo", "--", "after", check=True)
    (job,) = call("queue", "show", "--json").json["jobs"]
    assert (job["priority"], job["message"], job["argv"]) == (3, "a note", ["echo", "--", "after"])
    call("queue", "edit", "default", "--cpus", "1", "--", "-m", check=True)
    assert "neither a queue nor a job" in one_line(call("queue", "edit", "--cpus", "1", "--", "-x"))


def test_8_edit_dependencies(home):
    for name in ("a", "b", "c"):
        submit("--name", name, "--", "true")
    call("queue", "edit", "b", "--depends", "a", check=True)
    call("queue", "edit", "c", "--depends", "b", check=True)
    assert "a" in one_line(call("queue", "edit", "a", "--depends-any", "c"))
    assert "nope" in one_line(call("queue", "edit", "a", "--depends", "nope"))
    jobs = shown()
    assert (jobs["a"]["after"], jobs["c"]["after"]) == ([], [jobs["b"]["uid"]])
    call("queue", "edit", "c", "--depends-any", "a", check=True)
    assert shown()["c"]["after"] == [jobs["a"]["uid"]]
    call("queue", "edit", "c", "--depends", "", check=True)
    assert shown()["c"]["after"] == []
    assert "'a'" in one_line(call("queue", "edit", "c", "--name", "a"))
    one_line(call("queue", "edit", "c"), 2)
    assert "CPUs" in one_line(call("queue", "edit", "c", "--cpus", "100000"))


def test_8_cancel(kind, home, start, marks):
    submit("--name", "runs", "--", marks.held("runs"))
    submit("--name", "child", "--depends", "runs", "--", marks.once("child"))
    submit("--name", "waits", "--", marks.once("waits"))
    submit("--name", "stays", "--", marks.once("stays"))
    process = working(start, home)
    marks.began("runs")
    assert call("queue", "cancel", "waits", check=True).out == "waits is cancelled\n"
    assert "waits is cancelled already" in one_line(call("queue", "cancel", "waits"))
    assert call("queue", "cancel", "runs", check=True).out == "runs is cancelled\n"
    assert process.wait(60) == 1
    assert statuses() == {"runs": "cancelled", "child": "skipped", "waits": "cancelled", "stays": "complete"}
    assert (marks.starts("child"), marks.starts("waits")) == (0, 0)
    for name in ("x", "y"):
        submit("--name", name, "--", "true")
    assert call("queue", "cancel", check=True).out == "y is cancelled\nx is cancelled\n", "all that has not ended"


def test_8_at(home, qrec, marks):
    submit("--name", "later", "--at", "1d", "--", marks.once("later"))
    submit("--name", "tomorrow", "--at", "1d", "--", marks.once("tomorrow"))
    assert shown()["later"]["why"].startswith("not before ")
    assert "must not begin before" in call("queue", "explain", "tomorrow").out
    call("queue", "edit", "tomorrow", "--at", "", check=True)
    began = time.time()
    call("queue", "edit", "later", "--at", "+2s", check=True)
    assert qrec("queue", "run", "-q").returncode == 0
    assert time.time() - began >= 2
    assert (marks.starts("later"), marks.starts("tomorrow")) == (1, 1)


def test_8_at_is_edited_while_a_worker_waits(home, start, marks):
    submit("--name", "tomorrow", "--at", "1d", "--", marks.once("tomorrow"))
    process = working(start, home)
    call("queue", "edit", "tomorrow", "--at", "", check=True)
    assert process.wait(60) == 0
    assert marks.starts("tomorrow") == 1


def test_8_timeouts_and_retries(home, qrec, marks):
    submit("--name", "slow", "--timeout", "200ms", "--", "sleep 600")
    submit("--name", "third", "--retries", "5", "--backoff", "50ms", "--",
           marks.once("third", f"test $(wc -l <{shlex.quote(str(marks.path('third')))}) = 3"))  # fmt: skip
    submit("--name", "never", "--retries", "1", "--", marks.once("never", "exit 9"))
    done = qrec("queue", "run")
    assert done.returncode == 1
    told = sorted(line.partition(" ms")[0].rpartition(", ")[0] for line in done.err.splitlines() if "never" in line)
    assert told == ["failed       3  never  exit code 9, try 1 of 2", "failed       3  never  exit code 9, try 2 of 2"]
    jobs = shown()
    assert {name: (job["status"], job["returncode"], job["attempt"]) for name, job in jobs.items()} == {
        "slow": ("failed", 124, 1), "third": ("complete", 0, 3), "never": ("failed", 9, 2),
    }  # fmt: skip
    assert (marks.starts("third"), marks.starts("never")) == (3, 2)


# Running


def test_fail_fast(home, qrec, marks):
    submit("--name", "bad", "--", "false")
    submit("--name", "next", "--", marks.once("next"))
    assert qrec("queue", "run", "--fail-fast", "-q").returncode == 1
    assert statuses() == {"bad": "failed", "next": "queued"}
    assert marks.starts("next") == 0


def test_what_can_never_run_is_named(home, qrec, marks):
    submit("--name", "gpu", "--gpus", "2", "--", "true")
    submit("--name", "child", "--depends", "gpu", "--", "true")
    submit("--name", "well", "--", marks.once("well"))
    lack = "it asks for 2 GPUs, and the queue has none"
    assert explained("gpu")[0] == f"{lack}; `qrec queue set default --gpus 0,1` names some"
    assert shown()["gpu"]["why"] == lack
    result = qrec("queue", "run", "--gpus", "0", timeout=60)
    assert result.returncode == 1
    assert "qrec: gpu can never run: it asks for 2 GPUs, and this worker has 1" in result.err.splitlines()
    assert statuses() == {"gpu": "queued", "child": "queued", "well": "complete"}


def test_unknown_backends(home, qrec):
    submit("--", "true")
    assert "nope" in one_line(call("queue", "run", "--backend", "nope"), 2)
    assert call("queue", "run", "--backend", "serial", check=True).err.startswith("[default] 1 job: 1 complete; ")


def test_workers_are_slots(home, qrec, marks):
    for name in ("a", "b", "c"):
        gates = " ".join(f"-e {shlex.quote(str(marks.path(other)))} -a" for other in ("a", "b", "c"))
        submit("--name", name, "--timeout", "30s", "--", marks.once(name, f"until [ {gates} 1 ]; do sleep 0.02; done"))
    assert qrec("queue", "run", "--workers", "3", "-q").returncode == 0, "all three ran at the same time"
    drawn = call("queue", "timeline", check=True).out.splitlines()
    assert [line[:6] for line in drawn[:3]] == ["slot 0", "slot 1", "slot 2"]
    assert {row["slot"] for row in call("queue", "timeline", "--json").json} == {"slot 0", "slot 1", "slot 2"}


def test_interrupted_once_it_begins_nothing_and_twice_it_ends_what_runs(home, start, marks):
    submit("--name", "runs", "--", marks.held("runs", "exit 0"))
    submit("--name", "next", "--", marks.once("next"))
    process = working(start, home)
    marks.began("runs")
    process.send_signal(signal.SIGINT)
    submit("--name", "seen", "--", "true")
    marks.let_go("runs")
    assert process.wait(60) == 130
    assert statuses() == {"runs": "complete", "next": "queued", "seen": "queued"}
    submit("--name", "held", "--priority", "9", "--", marks.held("held"))
    process = working(start, home)
    marks.began("held")
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    assert b"Ctrl-C again" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert statuses()["held"] == "cancelled"


def test_a_worker_that_is_told_to_go_leaves_its_jobs_to_the_next(kind, home, qrec, start, marks):
    submit("--name", "runs", "--", marks.held("runs", "exit 5"))
    submit("--name", "next", "--", marks.once("next"))
    process = working(start, home)
    marks.began("runs")
    process.terminate()
    assert process.wait(60) == 143
    wait_until(lambda: shown()["runs"]["why"] == "its worker has gone", what="that to be told")
    assert "its worker has gone" in explained("runs")[0]
    assert statuses() == {"runs": "running", "next": "queued"}
    second = start("queue", "run")
    marks.let_go("runs")
    assert second.wait(60) == 1
    assert {name: job["returncode"] for name, job in shown().items()} == {"runs": 5, "next": 0}
    assert (marks.starts("runs"), marks.starts("next")) == (1, 1)


def test_a_terminal_sees_each_job(home, tmp_path, marks):
    submit("--name", "well", "--", marks.once("well"))
    submit("--name", "bad", "--", "exit 3")
    submit("--name", "child", "--depends", "bad", "--", "true")
    with Terminal(qrec_words("queue", "run"), (24, 60), TERM="xterm", NO_COLOR="1") as terminal:
        assert terminal.end() == 1
    lines = terminal.seen.decode().replace("\r", "").splitlines()
    assert [line.split()[:3] for line in lines[:-1]] == [
        ["running", "1", "well"], ["complete", "1", "well"], ["running", "2", "bad"], ["failed", "2", "bad"],
        ["skipped", "3", "child"],
    ]  # fmt: skip
    assert all(len(line) <= 60 for line in lines[:-1])
    assert lines[-1].startswith("[default] 3 jobs: 1 complete, 1 failed, 1 skipped; ")


def test_ctrl_c_in_a_terminal(home, marks):
    submit("--name", "runs", "--", marks.held("runs"))
    submit("--name", "next", "--", marks.once("next"))
    with Terminal(qrec_words("queue", "run")) as terminal:
        marks.began("runs")
        terminal.send(INTR)
        terminal.wait_for(b"Ctrl-C again")
        marks.let_go("runs")
        assert terminal.end() == 130
    assert statuses() == {"runs": "complete", "next": "queued"}, "the terminal's signal does not reach the job"


def qrec_words(*words: str) -> list[str]:
    import sys

    return [sys.executable, "-m", "qrec", *words]


# In the background


@pytest.fixture
def idle(home: Path) -> Iterator[Callable[[], bool]]:
    """Whether no worker is there; all are told to go in the end."""
    yield lambda: not workers(str(home))
    for about in workers(str(home)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(about["pid"], signal.SIGTERM)


def test_detached(kind, home, qrec, marks, idle):
    call("queue", "new", "a queue", "--workers", "2")
    submit("a queue", "--name", "a", "--", marks.held("a"))
    result = qrec("queue", "run", "a queue", "--detach", "--json")
    told = result.json
    (about,) = workers(str(home))
    assert (about["pid"], about["queue"]) == (told["pid"], "a queue")
    marks.began("a")
    marks.let_go("a")
    assert qrec("queue", "wait", "a queue", "--timeout", "60", check=True).out == "1 complete\n"
    wait_until(idle, what="the worker to go")
    wait_until(lambda: "[a queue] 1 job: 1 complete; " in Path(told["log"]).read_text(), what="its last word")
    assert call("queue", "cleanup", check=True).out.count("\n") == 1
    assert not Path(told["log"]).exists()
    assert call("queue", "cleanup", check=True).out == ""


def test_start_starts_one_worker(kind, home, start, marks, idle):
    running = [start("queue", "submit", "--start", "--", marks.held(str(number))) for number in range(4)]
    assert [process.wait(60) for process in running] == [0] * 4
    assert len(workers(str(home))) == 1
    marks.let_go(*map(str, range(4)))
    assert call("queue", "wait", "--timeout", "60").returncode == 0
    assert [marks.starts(str(number)) for number in range(4)] == [1] * 4


def test_a_job_for_a_worker_that_is_about_to_go_is_run(home, qrec, idle):
    for number in range(10):
        qrec("queue", "submit", "--start", "--name", str(number), "--", "true", check=True)
        if number % 2:
            wait_until(lambda: statuses()[str(number)] == "complete", what=str(number))  # noqa: B023
    assert qrec("queue", "wait", "--timeout", "60").returncode == 0
    assert set(statuses().values()) == {"complete"}


def test_keep(home, start, marks):
    submit("--name", "a", "--", marks.once("a"))
    process = working(start, home, "--keep")
    marks.began("a")
    wait_until(lambda: statuses()["a"] == "complete")
    submit("--name", "b", "--", marks.once("b"))
    marks.began("b")
    wait_until(lambda: statuses()["b"] == "complete")
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130


def test_workers_that_stay_are_named_and_end(home, qrec, marks, idle):
    """One goes with its queue; one that has nothing to do is ended by `cleanup`, if its queue is named."""
    submit("a", "--name", "a", "--", marks.held("a"))
    submit("b", "--", "true")
    for queue in "ab":
        qrec("queue", "run", queue, "--keep", "--detach", check=True)
    marks.began("a")
    wait_until(lambda: call("queue", "status", "b").out == "b: 1 complete; 1 worker (kept); 1 slot\n", what="b's end")
    assert [line.split()[:4] for line in call("queue", "ls").out.splitlines()[1:]] == [
        ["a", "1", "1", "(kept)"],
        ["b", "1", "1", "(kept)"],
    ]
    assert {row["name"]: row["kept"] for row in call("queue", "ls", "--json").json} == {"a": 1, "b": 1}
    for words in ([], ["a"]):
        assert call("queue", "cleanup", *words, check=True).out == ""
    assert len(workers(str(home))) == 2
    (about,) = workers(str(home), "b")
    assert call("queue", "cleanup", "b", check=True).out.startswith(f"b: worker {about['pid']} removed\nb: the log ")
    assert [about["queue"] for about in workers(str(home))] == ["a"]
    marks.let_go("a")
    wait_until(lambda: call("queue", "status", "a").out.startswith("a: 1 complete"), what="a's end")
    call("queue", "clear", "a", check=True)
    wait_until(idle, what="the worker to go with its queue")


def test_wait(home, start, marks):
    submit("--name", "a", "--", marks.held("a", "exit 5"))
    result = call("queue", "wait", "--timeout", "50ms")
    assert (result.returncode, result.out) == (124, "1 queued\n")
    assert result.err == "qrec: no worker runs queue 'default' yet; `qrec queue run default` starts one\n"
    process = working(start, home)
    waiting = start("queue", "wait", "--json")
    marks.began("a")
    marks.let_go("a")
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 1
    assert json.loads(out) == {"queue": "default", "counts": {"failed": 1}, "jobs": 1}
    assert process.wait(60) == 1


# Explaining


def explained(*words: str) -> list[str]:
    sentences: list[str] = call("queue", "explain", *words, "--json").json["why"]
    return sentences


def test_explain(home, start, marks):
    call("queue", "new", "default", "--workers", "3", "--gpus", "0,1", "--mem", "10G", "--cpus", "4")
    submit("--name", "big", "--gpus", "2", "--mem", "8G", "--cpus", "3", "--", marks.held("big"))
    assert explained("big") == ["no worker runs; `qrec queue run default` starts one"]
    process = working(start, home)
    marks.began("big")
    submit("--name", "cpu", "--cpus", "2", "--", "true")
    submit("--name", "mem", "--mem", "3G", "--", "true")
    submit("--name", "gpu", "--gpus", "1", "--", "true")
    submit("--name", "child", "--depends", "cpu", "--depends-any", "big", "--", "true")
    call("queue", "submit", "other", "--name", "there", "--gpus", "1", "--", "true")
    wait_until(lambda: "gpus" in shown()["big"]["data"])
    assert explained("cpu") == ["it asks for 2 CPUs, and 1 of 4 are free; the others are held by big (3)"]
    assert (
        explained("mem")[0]
        == "it asks for 3.0 GB of memory, and 2.0 GB of 10 GB are free; the rest is held by big (8.0 GB)"
    )
    (gpu, _) = explained("gpu")
    assert gpu == "it asks for 1 GPU, and 0 of 2 are free; held are 0 by big, 1 by big"
    assert explained("child") == [
        "it waits for cpu, which is queued (not enough CPUs free)",
        "it waits for big to end, however, which is running",
    ]
    assert {name: job["why"] for name, job in shown().items()} == {
        "big": "", "cpu": "not enough CPUs free", "mem": "not enough memory free", "gpu": "not enough GPUs free",
        "child": "waits for cpu, big",
    }  # fmt: skip
    assert explained("big")[0].endswith(" with GPU 0, 1")
    call("queue", "edit", "gpu", "--gpus", "3", "--json")
    marks.let_go("big")
    assert process.wait(60) == 0
    assert explained("child")[0].startswith("it completed after ")


def test_explain_tells_slurms_own_reason(home):
    uid = submit("--name", "a", "--", "true")
    submit("--name", "b", "--depends", "a", "--", "true")
    data = {"slurm": {"jobid": "7", "state": "PENDING", "reason": "Priority"}}
    Qrec().store.swap(uid, (Status.QUEUED, 1), Status.SUBMITTED, data=data)
    queue = Jobs(Qrec())
    assert explain(queue, queue.find("a")) == ["Slurm has it as job 7: PENDING Priority"]
    assert explain(queue, queue.find("b"))[0] == "it waits for a, which is submitted (PENDING Priority)"


def test_explain_names_who_holds_a_gpu_in_another_queue(home, start, marks):
    submit("one", "--name", "there", "--gpus", "1", "--", marks.held("there"))
    submit("two", "--name", "here", "--gpus", "1", "--", marks.once("here"))
    processes = [start("queue", "run", "one", "--gpus", "0")]
    marks.began("there")
    processes.append(start("queue", "run", "two", "--gpus", "0"))
    wait_until(lambda: workers(str(home), "two"), what="the second worker")
    assert explained("two", "here") == ["it asks for 1 GPU, and 0 of 1 are free; held are 0 by there of queue one"]
    assert marks.starts("here") == 0
    marks.let_go("there")
    assert [process.wait(60) for process in processes] == [0, 0]
    assert marks.starts("here") == 1


def test_explain_a_parent_where_nobody_works(home):
    submit("an other", "--name", "there", "--", "true")
    submit("--name", "here", "--depends", "1", "--", "true")
    assert explained("here")[0] == (
        "it waits for there, which is queued (no worker runs queue an other; `qrec queue run 'an other'` starts one)"
    )
    call("queue", "clear", "an other", "-y", check=True)
    assert explained("here") == ["it will be skipped as soon as a worker sees it: there was cancelled"]


def test_explain_jobs_whose_parents_are_elsewhere(home, tmp_path):
    """All that are ready are compared, and each has a parent that no look at the queue has seen."""
    door = Qrec()
    for name in ("a", "b", "c"):
        submit("--name", name, "--depends", door.run(["true"], show=False, cwd=str(tmp_path)).uid, "--", "true")
    assert explained("c")[-1] == "2 ready jobs go first: a, b"


def test_explain_what_ended(home, qrec):
    submit("--name", "bad", "--", "exit 3")
    submit("--name", "child", "--depends", "bad", "--", "true")
    submit("--name", "gone", "--", "true")
    call("queue", "cancel", "gone", check=True)
    assert qrec("queue", "run", "-q").returncode == 1
    again = "; `qrec queue retry default {}` lets it wait again"
    (bad,) = explained("bad")
    assert bad.startswith("it failed after ")
    assert bad.endswith(": exit code 3" + again.format("bad"))
    assert explained("child") == [
        "it was skipped: bad failed; `qrec queue retry default` lets it and all else that did not complete wait again"
    ]
    assert explained("gone") == ["it was cancelled before it began" + again.format("gone")]
    submit("--name", "fine", "--", "true")
    submit("--name", "rescue", "--depends-failed", "fine", "--", "true")
    assert qrec("queue", "run", "-q").returncode == 1
    assert explained("rescue") == ["it was skipped: fine completed"], "and would be once more"
    submit("--name", "late", "--depends", "child", "--", "true")
    assert explained("late") == ["it will be skipped as soon as a worker sees it: child was skipped"]
    assert shown()["late"]["why"] == "will be skipped: child was skipped"


# Looking


def test_show(home, qrec):
    submit("--name", "prep", "--", "true")
    submit("--name", "train", "--depends", "prep", "--", "echo", "\x1b[31mred")
    out = call("queue", "show", check=True).out
    assert out.splitlines()[0] == "default: 2 queued; 0 workers; 1 slot"
    assert out.splitlines()[2].split() == ["1", "prep", "queued", "no", "worker", "runs", "true"]
    assert "└─╼ train (queued)" in out
    assert "\x1b" not in out
    assert call("queue", "graph", check=True).out in out
    submit("other", "--name", "there", "--depends", "1", "--", "true")
    drawn = call("queue", "graph", "other", check=True).out
    assert drawn == "╙── prep of queue default (queued)\n    └─╼ there (queued)\n"
    links = call("queue", "graph", "--json").json["links"]
    assert [(link["kind"], link["to"]) for link in links] == [("ok", shown()["train"]["uid"])]
    assert call("queue", "show", "--json").json.keys() >= {"queue", "jobs", "counts", "policy", "workers"}


def test_show_as_a_script(home, qrec, tmp_path):
    submit("--name", "prep", "--cwd", str(tmp_path), "--", "echo 'a b' >made")
    submit("--depends", "prep", "--cwd", str(tmp_path), "--", "pwd")
    script = call("queue", "show", "--script", check=True).out
    assert script.startswith("#!/usr/bin/env bash\n")
    assert "backend tmux" in call("queue", "show", "--backend", "tmux", check=True).out
    assert "nope" in one_line(call("queue", "show", "--backend", "nope"), 2)
    (tmp_path / "q.sh").write_text(script)
    done = subprocess.run(["bash", "q.sh"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0, done
    assert (tmp_path / "made").read_text() == "a b\n"


def test_log_follows(home, start, marks):
    submit("--name", "a", "--", "echo one; " + marks.held("a", "echo two"))
    process = working(start, home)
    marks.began("a")
    following = start("queue", "log", "-f")
    assert following.stdout is not None
    assert following.stdout.readline() == b"one\n"
    marks.let_go("a")
    assert following.stdout.readline() == b"two\n"
    assert following.wait(60) == 0
    assert process.wait(60) == 0
    assert call("queue", "log", "a", "-n", "1").out == "two\n"


def ran(number: int, slot: int, start: float, end: float | None, status: Status, name: str | None = None) -> Task:
    """A job that ran from one second to another."""
    return Task(
        uid=f"queue-{number}", executor="queue", argv=("x",), number=number, name=name, status=status,
        started=timestamp(start), ended=None if end is None else timestamp(end), data={"slot": slot},
    )  # fmt: skip


def test_a_timeline_is_to_scale():
    jobs = [
        ran(1, 0, 0, 20, Status.COMPLETE, "one"),
        ran(2, 0, 20, 40, Status.FAILED, "a name that is too long"),
        ran(3, 1, 10, None, Status.RUNNING),
        ran(4, 0, 30, 39, Status.LOST),
        ran(5, 10, 5, 5, Status.COMPLETE),
        Task(uid="queue-6", executor="queue", argv=("x",), status=Status.QUEUED),
    ]
    assert gantt(jobs, 28, now=40.0) == [
        "slot 0  [one=====][xxxxxxxx]",
        "                       [4xx]",
        "slot 1       [3~~~~~~~~~~~~~",
        "slot 10   |",
        "        0             40.0 s",
        "        = complete, x not, ~",
    ]
    assert gantt([jobs[-1]], 28) == ["no job has begun"]


def test_log_before_anything_has_begun(home):
    submit("--", "true")
    assert "has begun" in one_line(call("queue", "log"))


def test_an_empty_list(home):
    result = call("queue", "ls", check=True)
    assert (result.out, result.err.count("\n")) == ("", 1)
    assert call("queue", "ls", "--json").json == []


def test_the_other_verbs_know_the_jobs(kind, home, qrec):
    uid = submit("--name", "a", "--setup", "echo begin", "--teardown", "echo end", "--", "echo x; false")
    assert qrec("queue", "run", "-q").returncode == 1
    assert call("log", uid).out == "begin\nx\nend\n"
    assert [row["uid"] for row in call("search", "begin", "--json").json] == [uid]
    assert qrec("rerun", "-q", uid).returncode == 1
    assert shown()["a"]["attempt"] == 2
    assert call("log", uid).out == "begin\nx\nend\n", "with all that was said when it was submitted"
    call("queue", "retry", "a", check=True)
    assert qrec("queue", "run", "-q").returncode == 1
    assert call("log", uid).out == "begin\nx\nend\n"


def test_a_rerun_has_the_variables_that_are_known(home, qrec):
    """A secret that nobody knows any more is the caller's, if he has it."""
    secret = "ghp_" + "A1b2C3d4E5" * 4
    submit("--name", "a", "--env", "V=x", "--env", f"API_TOKEN={secret}", "--", "echo $V ${#API_TOKEN}")
    assert qrec("queue", "run", "-q").returncode == 0
    assert qrec("rerun", "-q", env={"API_TOKEN": "short"}).out == "x 5\n"


def test_completion(home):
    from qrec.cli.completion import command_start, words_of_jobs

    assert command_start(["queue", "submit", "q", "-m", "note", "--", "ls", "--"], "f") == 6
    assert command_start(["queue", "submit", "q", "-m", "note", "--"], "l") == 6
    assert command_start(["queue", "submit", "q"], "--") is None
    submit("a queue", "--name", "a job", "--", "true")
    submit("--name", "b", "--", "true")
    assert Jobs(Qrec(), "a queue").names().keys() == {"a job"}

    class Context:
        def __init__(self, *words: str) -> None:
            self.params = {"words": words}

    def offered(*words: str) -> list[str]:
        return [item.value for item in words_of_jobs(Qrec(), Context(*words), "")]  # type: ignore[arg-type]

    assert offered() == ["a queue", "default", "b"]
    assert offered("a queue") == ["a job"]
