"""What the Slurm executor does where there is no cluster, or where a real one cannot be made to do it."""

from __future__ import annotations

import json
import os

import pytest

from qrec.errors import Refused
from qrec.executors import joboutput
from qrec.executors.slurm import SlurmExecutor, clock, compared, explain_missing, noted, reason_of, waiting_for
from qrec.executors.slurm_jobs import QUEUE, Job
from qrec.output import JobFiles
from qrec.task import Kept, Status, Task
from tests.helpers import wait_until


def job(**values) -> Job:
    return Job(**{"jobid": "5", "raw": "5", "state": "RUNNING", **values})


def task(**values) -> Task:
    return Task(**{"uid": "slurm-1", "executor": "slurm", "argv": ("sbatch", "x"), "user": "me", **values})


# Pure reading


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "00:00:00"), (59.9, "00:00:59"), (3661, "01:01:01"), (90061, "1-01:01:01")]
)
def test_times_are_told_as_slurm_does(seconds, shown):
    assert clock(seconds) == shown


@pytest.mark.parametrize(
    ("nodes", "name"), [("", None), ("n1", "n1"), ("gpu[03-05,7],login", "gpu03"), ("a.b.c,d", "a"), ("n[7,9]", "n7")]
)
def test_the_first_node(nodes, name):
    assert joboutput.node_field(nodes).get("N") == name


def test_tasks_are_in_the_order_of_their_numbers():
    jobs = [job(jobid=f"5_{n}") for n in (10, 9, 0)] + [job(jobid="5_[11-12]")]
    assert [one.jobid for one in joboutput.in_order(jobs)] == ["5_0", "5_9", "5_10"]
    told = [
        {"JobId": str(40 + n), "ArrayJobId": "5", "ArrayTaskId": str(n), "NodeList": "n1", "StdOut": f"/w/{n}"}
        for n in (10, 9)
    ]
    told.append({"JobId": "5", "ArrayJobId": "5", "ArrayTaskId": "11-12", "NodeList": "n1", "StdOut": "/w/4294967294"})
    assert [one["jobid"] for one in joboutput.reported(told, None)["5"]] == ["5_9", "5_10"]


def test_where_output_is_expected(tmp_path):
    from qrec.executors.sbatch import submission

    asked = submission(["sbatch", "-a", "1-2", "-o", "%x-%A-%a-%N-%u", "-J", "n", "x"], str(tmp_path), {})
    note = {"asked": json.loads(json.dumps(joboutput.described(asked)))}
    (found,) = joboutput.expected(note, [job(jobid="5_2", raw="7", nodes="n[1-2]")], "me")
    assert found == {"jobid": "5_2", **dict.fromkeys(("stdout", "stderr"), f"{tmp_path}/n-5-2-n1-me")}
    assert joboutput.expected(note, [job(jobid="5_2")], "me") == []  # nobody knows the node yet
    assert joboutput.expected({}, [job()], "me") == []


def test_files_that_grow_at_once_are_read_without_loss(tmp_path):
    paths = {"stdout": [("5_1", str(tmp_path / "1")), ("5_2", str(tmp_path / "2"))], "stderr": []}
    growing = joboutput.Growing(paths, JobFiles({}))
    (tmp_path / "2").write_text("b")
    assert growing.read("job.stdout", 0, 10) == b"b"
    (tmp_path / "1").write_text("aa")
    (tmp_path / "2").write_text("bcd")
    assert growing.read("job.stdout", 1, 3) == b"aac"
    assert (growing.read("job.stdout", 4), growing.size("job.stdout")) == (b"d", 5)
    (tmp_path / "1").unlink()
    assert growing.read("job.stdout") == b"bcd"


def test_what_the_run_before_has_left_is_not_this_ones(tmp_path):
    """A job that is put back writes its file anew when it begins; until then, or for ever, the old one is there."""
    out = tmp_path / "out"
    out.write_text("before")
    note = {"files": [{"jobid": "5", "stdout": str(out), "stderr": str(out)}]}
    left = json.loads(json.dumps(joboutput.take_in(str(tmp_path), task(), Kept(), note, None).marks))
    growing = joboutput.Growing(joboutput.paths_in(note), JobFiles({}), left)
    assert (growing.size("job.stdout"), growing.read("job.stdout")) == (0, b"")
    taken = joboutput.take_in(str(tmp_path), task(), Kept(), {**note, "left": left}, None)
    assert (taken.missing, taken.marks, taken.kept) == ((), {}, None)
    out.write_text("now")
    assert growing.read("job.stdout") == b"now"
    taken = joboutput.take_in(str(tmp_path), task(), Kept(), {**note, "left": left}, None)
    assert taken.kept is not None
    assert taken.kept.extras == {"job.stdout": b"now"}


def test_what_has_not_changed_is_not_taken_in_again(tmp_path):
    (tmp_path / "out").write_text("x")
    note = {"files": [{"jobid": "5", "stdout": str(tmp_path / "out"), "stderr": str(tmp_path / "no")}]}
    first = joboutput.take_in(str(tmp_path), task(), Kept(stdout=b"Submitted"), note, None)
    assert first.kept is not None
    assert (first.kept.stdout, first.kept.extras) == (b"Submitted", {"job.stdout": b"x"})
    assert first.missing == (str(tmp_path / "no"),)
    note["taken"] = json.loads(json.dumps(first.marks))
    assert joboutput.take_in(str(tmp_path), task(), first.kept, note, None).kept is None
    (tmp_path / "out").write_text("xy")
    again = joboutput.take_in(str(tmp_path), task(), first.kept, note, None)
    assert again.kept is not None
    assert again.kept.extras == {"job.stdout": b"xy"}


def test_a_pipe_is_no_output(tmp_path):
    os.mkfifo(tmp_path / "out")
    note = {"files": [{"jobid": "5", "stdout": str(tmp_path / "out"), "stderr": "/dev/null"}]}
    taken = joboutput.take_in(str(tmp_path), task(), Kept(), note, None)
    assert (taken.kept, taken.missing) == (None, (str(tmp_path / "out"),))


def test_a_reason_of_the_past_is_not_told_any_more():
    assert "reason" in noted(job(state="PENDING", reason="Resources"))
    assert noted(job(reason="")) == {"state": "RUNNING", "exitcode": "0:0"}


@pytest.mark.parametrize(
    ("status", "values", "told"),
    [
        (Status.COMPLETE, {"state": "COMPLETED"}, ""),
        (Status.FAILED, {"state": "TIMEOUT"}, "time limit of the job"),
        (Status.FAILED, {"state": "NODE_FAIL"}, "its node failed"),
        (Status.FAILED, {"state": "FAILED", "exitcode": "0:53"}, "Slurm could not launch it; the folder"),
        (Status.FAILED, {"state": "FAILED", "counts": {"FAILED": 1, "COMPLETED": 2}}, "of its tasks 2 COMPLETED, 1 F"),
        (Status.CANCELLED, {"state": "CANCELLED"}, "cancelled"),
        (Status.CANCELLED, {"state": "CANCELLED", "reason": "DependencyNeverSatisfied"}, "what it depends on did not"),
    ],
)
def test_why_a_job_did_not_complete(status, values, told):
    reason = reason_of(task(status=status), job(**values))
    assert reason.startswith(told)
    assert bool(reason) == bool(told)


@pytest.mark.parametrize(
    ("options", "by", "told"),
    [
        ({"dependency": "afterok:4"}, "", "what it depends on did not end as it should"),
        ({"dependency": "afterok:4"}, "1000", "cancelled"),
        ({}, "", "cancelled"),
    ],
)
def test_a_job_that_slurm_took_away_at_once_is_known_by_what_it_asked_for(options, by, told):
    """Where accounting alone is heard, it tells of no reason."""
    data = {"slurm": {"asked": {"options": options}}}
    gone = job(state="CANCELLED", accounted=True, by=by)
    assert reason_of(task(status=Status.CANCELLED, data=data), gone) == told


def test_why_a_job_will_never_start():
    assert "more time" in waiting_for({"state": "PENDING", "reason": "PartitionTimeLimit"})
    assert waiting_for({"state": "PENDING", "reason": "Priority"}) == ""


@pytest.mark.parametrize(
    ("requested", "used", "state", "suggestion"),
    [
        ({}, {}, "", None),
        ({"memory": 100 << 20}, {"memory": 80 << 20}, "COMPLETED", None),
        ({"memory": 100 << 20}, {"memory": 40 << 20}, "COMPLETED", "--mem=50M would have been enough"),
        ({"memory": 100 << 20}, {}, "OUT_OF_MEMORY", "ask for more memory: --mem=200M"),
        ({"time": 600.0}, {"elapsed": 600}, "TIMEOUT", "ask for more time: --time=20"),
        ({"time": 6000.0}, {"elapsed": 600}, "COMPLETED", "--time=15 would have been enough"),
        ({"cpus": 4}, {"elapsed": 100, "cpu": 99.0}, "COMPLETED", "1 CPUs would have been enough"),
    ],
)
def test_suggestions(requested, used, state, suggestion):
    assert compared(requested, used, state)["suggestion"] == suggestion


def test_output_on_the_disk_of_another_machine():
    slurm = {"jobid": "5", "missing": ["/scratch/out"], "nodes": "n1"}
    with pytest.raises(Refused, match=r"^job 5 left no output at /scratch/out: it was removed, or n1 does not share"):
        explain_missing(task(status=Status.COMPLETE, data={"slurm": slurm}))


# Without Slurm


def test_without_slurm(qrec, home, monkeypatch, tmp_path):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    done = qrec("run", "sbatch", "job.sh")
    assert (done.returncode, "sbatch: command not found" in done.err) == (127, True)
    assert qrec("ls", "--json").json[0]["status"] == "failed"
    qrec("run", "/bin/true", check=True)
    assert qrec("exec", "status", "1", "--json").json["status"] == "failed"


# With programs that stand in for Slurm


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """`fake("squeue", "echo hi")` puts a program first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def fake(name, script):
        fresh = folder / f"{name}.new"
        fresh.write_text(f"#!/bin/sh\n{script}\n")
        fresh.chmod(0o755)
        fresh.rename(folder / name)

    for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun"):
        fake(name, "exit 1")
    return fake


def queue_row(jobid="7", state="RUNNING", **values):
    """What squeue prints of a job."""
    from qrec.executors.slurm_jobs import MARK

    told = {"JobArrayID": jobid, "JobID": jobid, "State": state, "exit_code": "0", "RestartCnt": "0", **values}
    return "printf '%s\\n' '" + MARK.join(told.get(name, "N/A") for name in QUEUE) + "'"


def test_a_fake_cluster_that_vanishes_leaves_old_states(fake, qrec, home, tmp_path, monkeypatch):
    fake("sbatch", "echo Submitted batch job 7")
    qrec("run", "sbatch", "x", check=True)
    fake("squeue", queue_row())
    assert qrec("ls", "--json").json[0]["status"] == "running"
    for name in ("squeue", "sacct", "scontrol", "scancel", "srun"):
        (tmp_path / "bin" / name).unlink()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for name in "cancel wait requeue".split():
        done = qrec("exec", name)
        assert (done.returncode, done.err.count("\n"), "is not on PATH here" in done.err) == (1, 1, True), done
    wait_until(lambda: "squeue is not on PATH here" in qrec("ls").err)  # as soon as what was heard is old
    done = qrec("exec", "status", "--json")
    assert (done.json["state"], "as of 20" in done.err) == ("RUNNING", True)


def test_a_fake_job_that_nobody_knows_is_lost_after_a_while_and_not_at_once(fake, qrec, home):
    from qrec.api import Qrec

    fake("sbatch", "echo Submitted batch job 7")
    qrec("run", "sbatch", "x", check=True)
    fake("squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    fake("sacct", "exit 0")
    assert qrec("ls", "--json").json[0]["status"] == "submitted"
    fake("sacct", "echo 'sacct: error: down' >&2; exit 1")
    (home / "cache" / "slurm.json").unlink()
    door = Qrec()
    found = door.store.latest()
    sent = found.data["slurm"]["sent"] - 1000
    door.store.change(found.uid, data={**found.data, "slurm": {**found.data["slurm"], "sent": sent}})
    wait_until(lambda: "sacct: down" in qrec("ls").err)
    assert qrec("ls", "--json").json[0]["status"] == "submitted"
    fake("sacct", "exit 0")
    wait_until(lambda: qrec("ls", "--json").json[0]["status"] == "lost")


def test_without_accounts_a_fake_job_that_has_ended_is_closed_at_once(fake, qrec, home, tmp_path):
    (tmp_path / "slurm-7.out").write_text("hi\n")
    fake("sbatch", "echo Submitted batch job 7")
    qrec("run", "sbatch", "x", check=True)
    now = "'$(date +%s)'"
    fake(
        "squeue", queue_row(state="FAILED", exit_code="768", SubmitTime=now, StartTime=now, EndTime=now, NodeList="n1")
    )
    fake("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    fake("scontrol", "echo 'AccountingStorageType   = accounting_storage/none'")
    found = qrec("ls", "--json").json[0]
    assert (found["status"], found["returncode"]) == ("failed", 3)
    assert qrec("log").out == "hi\n"


def test_a_fake_sbatch_that_is_cancelled_as_it_submits(fake, qrec, start, home, tmp_path):
    """Its job is cancelled, though nobody knew its id when the wish came."""
    fake("sbatch", f"touch {tmp_path}/began; while ! test -e {tmp_path}/go; do sleep 0.02; done; echo 7")
    fake(
        "squeue",
        f"if test -e {tmp_path}/gone; then {queue_row(state='CANCELLED')}; else {queue_row(state='PENDING')}; fi",
    )
    fake("sacct", "exit 1")
    fake("scancel", f'echo "$@" >{tmp_path}/gone')
    submitting = start("run", "sbatch", "--parsable", "x")
    wait_until((tmp_path / "began").exists)
    wait_until(lambda: qrec("ls", "--json").json)
    cancelling = start("cancel")
    (tmp_path / "go").touch()
    assert cancelling.wait(60) == 0
    assert submitting.wait(60) == 0
    assert qrec("ls", "--json").json[0]["status"] == "cancelled"
    assert (tmp_path / "gone").read_text() == "7\n"


def test_a_fake_controller_that_refuses_to_cancel_leaves_the_wish_unsaid(fake, qrec, home):
    fake("sbatch", "echo Submitted batch job 7")
    qrec("run", "sbatch", "x", check=True)
    fake("squeue", queue_row())
    fake("scancel", "echo 'scancel: error: Access denied' >&2; exit 1")
    done = qrec("cancel")
    assert (done.returncode, done.err) == (1, "qrec: scancel: Access denied\n")
    fake("squeue", queue_row(state="FAILED", exit_code="256"))
    wait_until(lambda: qrec("ls", "--json").json[0]["status"] == "failed")


def test_a_fake_job_under_a_later_name_and_time_is_not_ours(fake, qrec, home):
    """The controller has forgotten ours in a crash, and given its id again a minute later."""
    fake("sbatch", "echo Submitted batch job 7")
    qrec("run", "sbatch", "x", check=True)
    late = "'$(($(date +%s) + 60))'"
    fake("squeue", queue_row(SubmitTime=late, Name="another", WorkDir="/elsewhere"))
    assert qrec("ls", "--json").json[0]["status"] == "submitted"


def test_a_fake_srun_is_not_held_up_by_programs_that_hang(fake, qrec, home):
    for name in ("squeue", "scontrol"):
        fake(name, "exec sleep 1000")
    fake("srun", "echo live; exit 3")
    done = qrec("run", "srun", "x")
    assert (done.returncode, done.out) == (3, "live\n")
    assert "slurm" not in qrec("ls", "--json").json[0]["data"]


def test_asking_becomes_rarer_with_a_fake_job_that_stays_as_it_is(fake, qrec, start, home):
    from qrec.api import Qrec

    fake("sbatch", "echo Submitted batch job 7")
    qrec("run", "sbatch", "x", check=True)
    fake("squeue", queue_row())
    door = Qrec()
    executor = door.executor("slurm")
    assert isinstance(executor, SlurmExecutor)
    now = [1e9]
    executor.asker.now = lambda: now[0]
    wait_for = executor.patience
    pauses = []
    for _ in range(40):
        executor.refresh([door.store.latest()])
        pauses.append(executor.patience)
        now[0] += executor.patience + 0.01
    assert pauses[0] == wait_for
    assert pauses == sorted(pauses)
    assert pauses[-1] == 10
