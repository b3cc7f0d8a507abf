"""Commands of Slurm's that qrec records, on a real cluster: followed to the end of their jobs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.task import timestamp
from tests.helpers import wait_until
from tests.slurm.conftest import UNTIL_MEASURED, call_up, slurm, state_of
from tests.slurm.test_asking import DAEMONS, stop
from tests.terminals import Terminal


@pytest.fixture
def sbatch(qrec, leftovers):
    """Runs `qrec run sbatch` with these words, and returns the task as `ls --json` tells of it."""

    def sbatch(*words, before=(), **given):
        done = qrec("run", "--json", *before, "sbatch", *words, check=True, **given)
        told = json.loads(done.stderr.splitlines()[-1])
        leftovers.add(told["data"]["slurm"]["jobid"])
        return told

    return sbatch


@pytest.fixture
def row(qrec):
    """A task as `ls --json` tells of it."""

    def row(number=1):
        return next(one for one in qrec("ls", "--json").json if one["number"] == number)

    return row


@pytest.fixture
def until(row):
    """Waits until a task has one of these statuses."""

    def until(number, *statuses):
        return wait_until(lambda: told if (told := row(number))["status"] in statuses else None, 120, str(statuses))

    return until


def told_by(qrec, action, number=1):
    return qrec("exec", action, str(number), "--json").json


# How jobs end


def test_success(qrec, sbatch, batch, tmp_path):
    batch(f"#!/bin/sh\n#SBATCH --job-name hello\necho out; echo err >&2\n{UNTIL_MEASURED}", "job.sh")
    begun = sbatch("--partition", "short", "job.sh", before=("-m", "a note"))
    jobid = begun["data"]["slurm"]["jobid"]
    assert (begun["status"], begun["executor"], begun["message"]) == ("submitted", "slurm", "a note")
    assert (begun["returncode"], begun["ended"], begun["data"]["submission"]["returncode"]) == (None, None, 0)
    assert qrec("wait", "1").returncode == 0
    told = qrec("get").json["data"]
    assert (told["status"], told["returncode"], told["signal"]) == ("complete", 0, None)
    assert told["output"] == [f"Submitted batch job {jobid}\n"]
    known = told["slurm"]
    assert (known["state"], known["exitcode"], known["name"], known["partition"]) == (
        "COMPLETED", "0:0", "hello", "short",
    )  # fmt: skip
    assert known["submit"] <= known["start"] <= known["end"]
    assert known["nodes"]
    assert known["requested"]["cpus"] == 1
    # accounting may tell of the memory a moment after the end; test_resources waits for it
    assert known["used"].get("memory") == told["usage"].get("memory")
    assert known["files"] == [{"jobid": jobid, **dict.fromkeys(("stdout", "stderr"), f"{tmp_path}/slurm-{jobid}.out")}]
    (tmp_path / f"slurm-{jobid}.out").unlink()
    assert qrec("log").out == "out\nerr\n"
    assert qrec("exec", "output").out == "out\nerr\n"
    assert qrec("exec", "script").out == (tmp_path / "job.sh").read_text()


@pytest.mark.parametrize(
    ("words", "line", "told"),
    [
        ([], "exit 3", ("failed", 3, None, "exit code 3")),
        ([], "kill -SEGV $$", ("failed", 139, 11, "killed by SIGSEGV")),
        ([], "no-such-program", ("failed", 127, None, "exit code 127")),
        (["--mem=100M"], "exec python3 -c 'bytearray(400 << 20)'", ("failed", 137, 9, "out of memory")),
        (["--output=missing/out"], "true", ("failed", 125, None, "Slurm could not launch it")),
    ],
)
def test_failure(qrec, sbatch, row, words, line, told):
    sbatch(*words, "--wrap", line)
    qrec("wait", "1")
    found = row()
    reason = found["data"]["reason"]
    assert (found["status"], found["returncode"], found["signal"], reason[: len(told[3])]) == told
    assert told[3] in qrec("why").out


def test_time_limit(qrec, sbatch, until):
    jobid = sbatch("--wrap", "sleep 1000")["data"]["slurm"]["jobid"]
    until(1, "running")
    # refused in the second in which the job began
    wait_until(lambda: slurm("scontrol", "update", f"jobid={jobid}", "endtime=now").returncode == 0, 60)
    found = until(1, "failed")
    assert (found["returncode"], found["data"]["reason"]) == (124, "time limit of the job")
    assert found["data"]["slurm"]["state"] == "TIMEOUT"
    assert "--time=" in told_by(qrec, "resources")["suggestion"]


def test_cancelling_what_waits(qrec, sbatch, row):
    jobid = sbatch("--hold", "--wrap", "true")["data"]["slurm"]["jobid"]
    status = told_by(qrec, "status")
    assert list(status)[:7] == "jobid jobname partition alloccpus elapsed state exitcode".split()
    assert (status["jobid"], status["alloccpus"], status["state"]) == (jobid, "1", "PENDING")
    assert status["reason"].startswith("JobHeldUser: it is held")
    assert qrec("cancel").out.endswith("is cancelled\n")
    found = row()
    assert (found["status"], found["data"]["reason"]) == ("cancelled", "cancelled")
    assert state_of(jobid) == "CANCELLED"


def test_cancelling_what_runs(qrec, sbatch, until):
    sbatch("--wrap", "echo began; sleep 1000")
    until(1, "running")
    wait_until(lambda: qrec("log").out == "began\n", 60)
    qrec("cancel", check=True)
    found = until(1, "cancelled")
    assert found["data"]["slurm"]["state"] == "CANCELLED"
    assert qrec("log").out.startswith("began\n")


def test_a_job_that_others_cancel(sbatch, until):
    subprocess.run(["scancel", sbatch("--hold", "--wrap", "true")["data"]["slurm"]["jobid"]], check=True)
    assert until(1, "cancelled")["returncode"] is None


def test_a_dependency_that_fails(qrec, sbatch, row, until):
    first = sbatch("--wrap", "exit 1")["data"]["slurm"]["jobid"]
    sbatch("--hold", f"--dependency=afterok:{first}", "--wrap", "true")
    second = row(2)["data"]["slurm"]["jobid"]
    sbatch(f"--dependency=afterok:{first}", "--kill-on-invalid-dep=yes", "--wrap", "true")
    until(1, "failed")
    subprocess.run(["scontrol", "release", second], check=True)
    wait_until(
        lambda: "DependencyNeverSatisfied: what it depends on" in told_by(qrec, "status", 2).get("reason", ""), 60
    )
    assert row(2)["status"] == "submitted"
    found = until(3, "cancelled")
    assert found["data"]["reason"] == "what it depends on did not end as it should"


def test_a_refusal(qrec, row):
    done = qrec("run", "sbatch", "--partition=no-such", "--wrap", "true")
    assert done.returncode == 1
    assert "invalid partition" in done.err
    found = row()
    assert (found["status"], found["returncode"], "slurm" in found["data"]) == ("failed", 1, False)
    assert any("invalid partition" in line for line in qrec("get").json["data"]["error"])


def test_an_array(qrec, sbatch, until):
    jobid = sbatch("--array=0-10", "--wrap", "echo in $SLURM_ARRAY_TASK_ID; test $SLURM_ARRAY_TASK_ID != 2")
    jobid = jobid["data"]["slurm"]["jobid"]
    found = until(1, "failed")
    assert (found["returncode"], found["data"]["reason"]) == (1, "of its tasks 10 COMPLETED, 1 FAILED")
    assert qrec("log").out == "".join(f"==> {jobid}_{n} <==\nin {n}\n" for n in range(11))
    lines = [line.split() for line in qrec("exec", "array").out.splitlines()]
    assert [line[:3] for line in lines] == [
        [f"{jobid}_{n}", "FAILED" if n == 2 else "COMPLETED", "1:0" if n == 2 else "0:0"] for n in range(11)
    ]
    assert told_by(qrec, "status")["tasks"] == "10 COMPLETED, 1 FAILED"
    sbatch("--wrap", "true")
    assert "is no array of jobs" in qrec("exec", "array").err


def test_an_array_in_the_midst(qrec, start, sbatch, until, tmp_path):
    sbatch("--array=1-2", "--wrap", "echo a; while ! test -e go; do sleep 0.1; done; echo b$SLURM_ARRAY_TASK_ID")
    wait_until(lambda: qrec("log").out == "a\na\n", 60)

    def states():
        return [line.split()[1] for line in qrec("exec", "array").out.splitlines()]

    wait_until(lambda: states() == ["RUNNING", "RUNNING"], 60)  # as soon as what was heard is old
    follower = start("log", "-f")
    assert follower.stdout.read(4) == b"a\na\n"
    (tmp_path / "go").touch()
    assert sorted(follower.communicate(timeout=60)[0].split()) == [b"b1", b"b2"]
    until(1, "complete")


def test_putting_a_job_back(qrec, sbatch, until, tmp_path):
    sbatch("--wrap", "echo run $SLURM_RESTART_COUNT; test -e again || sleep 1000")
    until(1, "running")
    wait_until(lambda: qrec("log").out == "run\n", 60)
    (tmp_path / "again").touch()
    qrec("exec", "requeue", check=True)
    found = until(1, "complete")
    assert (found["attempt"], found["data"]["slurm"]["restarts"]) == (1, 1)
    assert qrec("log").out == "run 1\n"
    qrec("exec", "requeue", check=True)  # one that is over runs again, too
    assert until(1, "complete")["data"]["slurm"]["restarts"] == 2
    assert qrec("log").out == "run 2\n"


def test_a_job_that_was_put_back_by_others(sbatch, until, tmp_path):
    jobid = sbatch("--wrap", "test -e again || sleep 1000")["data"]["slurm"]["jobid"]
    until(1, "running")
    (tmp_path / "again").touch()
    subprocess.run(["scontrol", "requeuehold", jobid], check=True)  # so that it still waits when we look
    assert until(1, "submitted")["data"]["slurm"]["state"] == "PENDING"
    subprocess.run(["scontrol", "release", jobid], check=True)
    assert until(1, "complete")


# What is told of a job


@pytest.mark.parametrize("words", [["--parsable"], ["-M", "CLUSTER"], ["--parsable", "--clusters=CLUSTER"]])
def test_the_id_is_understood(qrec, sbatch, row, words):
    shown = slurm("scontrol", "show", "config").out
    name = next(line.split()[-1] for line in shown.splitlines() if line.startswith("ClusterName"))
    told = sbatch(*(word.replace("CLUSTER", name) for word in words), "--wrap", "echo there")
    assert told["data"]["slurm"]["jobid"].isdecimal()
    assert told["data"]["slurm"].get("cluster") == (name if len(words) > 1 else None)
    qrec("wait", "1", check=True)
    assert qrec("log").out == "there\n"


def test_names_with_spaces(qrec, sbatch, batch, tmp_path):
    folder = tmp_path / "a folder"
    folder.mkdir()
    batch("#!/bin/sh\n#SBATCH --error='my %j err'\n#SBATCH -J 'the name'\necho \"$1\"; echo err >&2", "my job.sh")
    sbatch("-D", folder, "--out=out of %x %N.txt", tmp_path / "my job.sh", "a b")
    qrec("wait", "1", check=True)
    (out,) = folder.glob("out of the name *.txt")
    assert out.read_text() == "a b\n"
    out.unlink()
    assert (qrec("log", "--stdout").out, qrec("exec", "error").out) == ("a b\n", "err\n")


def test_a_script_from_stdin_and_a_line_for_the_shell(qrec, row):
    qrec("run", "sbatch", input="#!/bin/sh\necho from stdin\n", check=True)
    qrec("run", "sbatch --wrap 'echo quoted words'", check=True)
    qrec("wait", "1", "2", check=True)
    assert (qrec("log", "1").out, qrec("log", "2").out) == ("from stdin\n", "quoted words\n")
    assert "echo from stdin" in qrec("exec", "script", "1").out


def test_in_a_terminal(home, row, leftovers, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Terminal([sys.executable, "-m", "qrec", "run", "sbatch", "--wrap", "true"]) as terminal:
        terminal.wait_for(b"submitted: job ")
        assert terminal.end() == 0
    assert row()["data"]["slurm"]["jobid"]


def test_following(qrec, start, sbatch, tmp_path):
    sbatch("--wrap", "echo 1; echo 2; while ! test -e go; do sleep 0.1; done; echo 3")
    wait_until(lambda: qrec("exec", "output", "-n", "1").out == "2\n", 60)
    every, last = start("exec", "output", "--follow"), start("exec", "output", "-f", "-n", "1")
    assert (every.stdout.read(4), last.stdout.read(2)) == (b"1\n2\n", b"2\n")
    (tmp_path / "go").touch()
    assert [each.communicate(timeout=60)[0] for each in (every, last)] == [b"3\n", b"3\n"]


def test_a_file_that_is_missing_is_explained(qrec, sbatch, until, tmp_path):
    jobid = sbatch("--wrap", "echo lost; rm slurm-$SLURM_JOB_ID.out")["data"]["slurm"]["jobid"]
    until(1, "complete")
    done = qrec("exec", "output")
    assert done.returncode == 1
    assert f"job {jobid} left no output at {tmp_path}/slurm-{jobid}.out: it was removed, or " in done.err
    sbatch("--output=no/folder", "--wrap", "true")
    until(2, "failed")
    assert f"left no output at {tmp_path}/no/folder: Slurm could not launch it" in qrec("exec", "output").err


def test_output_is_taken_in(qrec, sbatch, kind, home, tmp_path):
    """Small or large, it is looked at like any other task's, and carried along."""
    for many in (3, 100_000):
        sbatch("--error=err%j", "--wrap", f"seq {many}; echo needle{many} >&2; exit 1")
    qrec("wait", "1", "2")
    for left in (*tmp_path.glob("slurm-*.out"), *tmp_path.glob("err*")):
        left.unlink()
    assert qrec("log", "1").out == "1\n2\n3\nneedle3\n"
    assert qrec("log", "2", "--stdout", "-n", "1").out == "100000\n"
    assert qrec("log", "2", "--stderr").out == "needle100000\n"
    assert [one["number"] for one in qrec("search", "needle3", "--json").json] == [1]
    assert [one["number"] for one in qrec("search", "99999", "--json").json] == [2]
    assert "needle3" in qrec("why", "1").out
    assert "+needle100000" in qrec("diff", "1", "2").out
    exported = qrec("export", "jsonl", check=True).stdout
    other = {"QREC_HOME": str(tmp_path / "other")}
    qrec("import", "jsonl", "-", input=exported, env=other, check=True)
    shown = [qrec("log", n, "--stdout").stdout for n in "12"]
    assert [qrec("log", n, "--stdout", env=other).stdout for n in "12"] == shown
    assert "bad" not in qrec("doctor").out
    qrec("gc", check=True)  # compresses
    assert [qrec("log", n, "--stdout").stdout for n in "12"] == shown
    assert list(home.glob("attempts/*/*/job.stdout.gz"))
    qrec("gc", "--size", "100K", "-y", check=True)
    assert not list(home.glob("attempts/*/*/job.std*"))


def test_only_the_ends_of_endless_output_are_taken_in(qrec, sbatch, until, home, tmp_path):
    sbatch("--wrap", "echo first; head -c 100M /dev/zero; echo last")
    until(1, "complete")
    (kept,) = home.glob("attempts/*/*/job.stdout")
    assert 64 << 20 < kept.stat().st_size < 65 << 20
    content = kept.read_bytes()
    assert content.startswith(b"first\n")
    assert content.endswith(b"last\n")
    assert b"bytes left out" in content


def test_secrets(qrec, sbatch, home):
    secret = "ghp_" + "0123456789abcdefABCDEF0123456789abcd"
    sbatch("--wrap", f"echo {secret}", before=("--redact-output",))
    qrec("wait", "1", check=True)
    for words in (("log", "--reveal"), ("exec", "output"), ("exec", "script")):
        assert secret not in qrec(*words).out
    sbatch("--wrap", f"echo {secret}")
    qrec("wait", "2", check=True)
    assert secret not in qrec("log", "2").out
    assert secret in qrec("log", "2", "--reveal").out


def test_running_it_again(qrec, sbatch, row, tmp_path):
    first = sbatch("--output=same", "--wrap", "test -e again && echo second || echo first")["data"]["slurm"]["jobid"]
    qrec("wait", "1", check=True)
    (tmp_path / "again").touch()
    qrec("rerun", "1", check=True)
    qrec("wait", "1", check=True)
    found = row()
    assert (found["attempt"], found["status"]) == (2, "complete")
    assert found["data"]["slurm"]["jobid"] != first
    assert (qrec("log").out, qrec("log", "--attempt", "1").out) == ("second\n", "first\n")


def test_clearing_cancels(qrec, sbatch):
    jobid = sbatch("--hold", "--wrap", "true")["data"]["slurm"]["jobid"]
    assert "was left" in qrec("clear", "1", "-y").err
    qrec("clear", "1", "-y", "--force", check=True)
    assert (qrec("ls", "--json").json, state_of(jobid)) == ([], "CANCELLED")


def test_resources(qrec, sbatch):
    sbatch("--mem=2000M", "--cpus-per-task=2", "--wrap", UNTIL_MEASURED)
    qrec("wait", "1", check=True)

    def accounted():
        told = told_by(qrec, "resources")
        return None if "? used at most" in told["memory"] else told

    told = wait_until(accounted, 60, "accounting to tell of its memory")
    assert told["cpus"].startswith("2 asked for, ")
    assert told["suggestion"].startswith("--mem=")


def test_an_sbatch_that_waits_is_cancelled_with_its_job(qrec, start, row, until, leftovers):
    waiting = start("run", "sbatch", "--wait", "--wrap", "sleep 1000")
    wait_until(lambda: b"Submitted" in qrec("log").stdout, 60)
    jobid = qrec("log").out.split()[-1]
    leftovers.add(jobid)
    assert qrec("cancel").out.endswith("is cancelled\n")
    waiting.wait(60)
    assert (row()["status"], state_of(jobid)) == ("cancelled", "CANCELLED")


# srun and salloc


@pytest.mark.parametrize("words", [["srun", "-Q"], ["srun"], ["salloc"], ["salloc", "-Q"]])
def test_srun_and_salloc_are_live(qrec, row, words):
    done = qrec("run", *words, "sh", "-c", "echo $SLURM_JOB_ID; read line; echo $line; exit 3", input="typed\n")
    jobid, line = done.out.split()
    assert (done.returncode, line) == (3, "typed")
    found = row()
    assert (found["status"], found["returncode"], found["data"]["slurm"]["jobid"]) == ("failed", 3, jobid)


def test_sruns_side_by_side_are_told_apart(start, qrec, tmp_path):
    line = "while ! test -e go; do sleep 0.1; done; echo $SLURM_JOB_ID"
    both = [start("run", "srun", "-Q", "sh", "-c", line) for _ in range(2)]
    wait_until(lambda: len(qrec("ls", "--json").json) == 2, 60)
    wait_until(lambda: sum(bool(told_by(qrec, "status", n).get("jobid")) for n in (1, 2)) == 2, 60)
    seen = {n: told_by(qrec, "status", n)["jobid"] for n in (1, 2)}
    (tmp_path / "go").touch()
    assert {one.communicate(timeout=60)[0].decode().strip() for one in both} == set(seen.values())
    assert {n: qrec("log", str(n)).out.strip() for n in (1, 2)} == seen


def test_a_step_inside_of_an_allocation(row, qrec):
    done = qrec(
        "run", "salloc", "-Q", "sh", "-c", f"{sys.executable} -m qrec run srun true; echo $SLURM_JOB_ID", check=True
    )
    rows = qrec("ls", "--json").json
    assert {one["data"]["slurm"]["jobid"] for one in rows} == {done.out.strip()}
    assert len(rows) == 2


def test_a_signal_reaches_srun(start, row):
    words = ["srun", "sh", "-c", "echo began; sleep 1000"]
    plain = subprocess.Popen(words, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, start_new_session=True)
    recorded = start("run", *words)
    for one in (plain, recorded):
        assert one.stdout is not None
        assert one.stdout.read(6) == b"began\n"
        one.send_signal(signal.SIGTERM)
    assert recorded.wait(60) == plain.wait(60) != 0
    plain.communicate()
    assert row()["status"] in ("cancelled", "failed")


def test_attaching(sbatch, until, home, row):
    sbatch("--wrap", "sleep 1000")
    until(1, "running")
    with Terminal([sys.executable, "-m", "qrec", "exec", "attach"], PS1="> ", SHELL="/bin/sh") as terminal:
        terminal.send(b"echo in $((1 + 1)) $SLURM_JOB_ID\r")
        terminal.wait_for(b"in 2 " + row()["data"]["slurm"]["jobid"].encode())
        terminal.send(b"exit\r")
        assert terminal.end() == 0


def test_attaching_needs_a_terminal(qrec, sbatch, until):
    sbatch("--wrap", "sleep 1000")
    until(1, "running")
    assert "a terminal is needed" in qrec("exec", "attach").err


# Asking


@pytest.fixture
def counted(tmp_path, monkeypatch):
    """The real programs, with a line for each call."""
    folder = tmp_path / "counted"
    folder.mkdir()
    for name in ("squeue", "sacct", "scontrol", "scancel"):
        program = folder / name
        program.write_text(f'#!/bin/sh\necho {name} >>{folder}/calls\nexec {shutil.which(name)} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def counted():
        calls = (folder / "calls").read_text().split() if (folder / "calls").exists() else []
        (folder / "calls").write_text("")
        return {name: calls.count(name) for name in set(calls)}

    return counted


def test_a_hundred_jobs_cost_one_call(qrec, row, counted, home, tmp_path, leftovers):
    door = Qrec()
    for _ in range(100):
        door.run(["sbatch", "--hold", "--wrap", "true"], show=False, cwd=str(tmp_path))
    counted()
    assert {one["status"] for one in qrec("ls", "--json", "--all").json} == {"submitted"}
    assert counted() == {"squeue": 1}
    jobs = [one["data"]["slurm"]["jobid"] for one in qrec("ls", "--json", "--all").json]
    leftovers.update(jobs)
    subprocess.run(["scontrol", "release", ",".join(jobs[:50])], check=True)
    wait_until(lambda: {state_of(jobid) for jobid in jobs[:50]} == {"COMPLETED"}, 120)
    wait_until(
        lambda: slurm("sacct", "-nXP", "-j", ",".join(jobs[:50]), "-o", "state").out.split() == ["COMPLETED"] * 50, 60
    )
    counted()
    looks = []

    def look():
        rows = qrec("ls", "--json", "--all").json
        looks.append(counted())
        return [one for one in rows if one["status"] == "complete"]

    wait_until(lambda: len(look()) == 50)
    for calls in looks:
        assert set(calls) <= {"squeue", "sacct", "scontrol"}
        assert all(number <= 2 for number in calls.values()), looks


def test_two_hundred_jobs_at_once(qrec, counted, home, tmp_path, leftovers, record_property):
    """One qrec for all, as a script would do it."""
    door = Qrec()
    began = time.monotonic()
    for _ in range(200):
        leftovers.add(door.run(["sbatch", "--wrap", "echo done"], show=False, cwd=str(tmp_path)).data["slurm"]["jobid"])
    submitted = time.monotonic()
    assert counted() == {}
    ended = list(door.wait([str(number) for number in range(1, 201)]))
    settled = time.monotonic()
    assert {task.status.value for task in ended} == {"complete"}
    assert {door.store.output(task).read("job.stdout") for task in ended} == {b"done\n"}
    calls = counted()
    figures = {"submitting": submitted - began, "settling": settled - submitted, **calls}
    record_property("figures", figures)
    (Path(os.environ["TMPDIR"]) if "TMPDIR" in os.environ else tmp_path).joinpath("figures").write_text(str(figures))
    assert sum(calls.values()) < max(200, 6 * figures["settling"]), "a look each half second costs three calls"


def test_a_job_that_ended_while_nobody_looked(qrec, sbatch, row, wait_for_state):
    jobid = sbatch("--wrap", "echo alone; exit 7")["data"]["slurm"]["jobid"]
    wait_for_state(jobid, "FAILED")
    wait_until(lambda: slurm("sacct", "-nXP", "-j", jobid, "-o", "state").out == "FAILED\n", 60)
    found = row()
    assert (found["status"], found["returncode"]) == ("failed", 7)
    assert qrec("log").out == "alone\n"


def test_an_id_that_was_used_again_is_another_job(qrec, sbatch, submit, home, row, wait_for_state):
    """As after a crash of the controller: the id that we know is now another job's."""
    sbatch("--hold", "--wrap", "true")
    other = submit("--wrap", "exit 9")
    wait_for_state(other, "FAILED")
    door = Qrec()
    task = door.store.get(door.store.latest().uid)
    note = {**task.data["slurm"], "jobid": other}
    long_ago = {**note, "sent": note["sent"] - 1000}
    door.store.change(task.uid, data={**task.data, "slurm": long_ago})
    found = row()
    assert (found["status"], found["returncode"]) == ("lost", None)
    assert found["data"]["reason"] == "Slurm does not know its job any more"


def test_an_id_that_was_used_again_at_once_is_the_later_ones(qrec, sbatch, home, wait_for_state):
    """Submitted by us, too, from the same folder and under the same name."""
    for _ in range(2):
        sbatch("--wrap", "exit 9")
    door = Qrec()
    first, second = (door.store.numbered(number) for number in (1, 2))
    wait_for_state(second.data["slurm"]["jobid"], "FAILED")
    note = {**first.data["slurm"], "jobid": second.data["slurm"]["jobid"], "sent": first.data["slurm"]["sent"] - 30}
    door.store.change(first.uid, data={**first.data, "slurm": note})
    created = timestamp(note["sent"])
    assert created < second.created
    wait_until(lambda: qrec("ls", "--json").json[1]["status"] == "failed", 60)
    assert [one["status"] for one in qrec("ls", "--json").json] == ["submitted", "failed"]


# With daemons that are stopped


def test_a_controller_that_is_down_makes_the_state_old(exclusive_cluster, qrec, sbatch, until, row, tmp_path):
    sbatch("--wrap", "while ! test -e go; do sleep 0.1; done; exit 4")
    until(1, "running")
    stop("slurmctld")
    (tmp_path / "go").touch()
    # what Slurm told half a second ago is no old news yet
    wait_until(lambda: qrec("ls").err, 60)
    shown = qrec("ls")
    assert " running " in shown.out
    assert "Slurm jobs are shown as last known, as of 20" in shown.err
    assert qrec("cancel").returncode == 1
    assert row()["status"] == "running"
    call_up()
    assert until(1, "failed")["returncode"] == 4


def test_accounting_that_is_down_holds_nothing_up(exclusive_cluster, qrec, sbatch, until, row):
    stop("slurmdbd")
    sbatch("--wrap", "exit 5")
    found = until(1, "failed")
    assert (found["returncode"], "accounted" in found["data"]["slurm"]) == (5, False)
    call_up()

    def is_accounted():
        told_by(qrec, "resources")
        return row()["data"]["slurm"].get("accounted")

    wait_until(is_accounted, 60, "accounting to tell of it")


def test_accounting_that_lags(exclusive_cluster, qrec, sbatch, until, wait_for_state):
    """It answers nothing for a while, and catches up."""
    daemon = int((DAEMONS / "slurmdbd.pid").read_text())
    os.kill(daemon, signal.SIGSTOP)
    try:
        jobid = sbatch("--wrap", "echo late")["data"]["slurm"]["jobid"]
        wait_for_state(jobid, "COMPLETED")
        assert until(1, "complete")["returncode"] == 0
        assert qrec("log").out == "late\n"
    finally:
        os.kill(daemon, signal.SIGCONT)
    wait_until(lambda: "? used at most" not in told_by(qrec, "resources")["memory"], 60)
