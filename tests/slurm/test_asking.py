"""What a real Slurm tells of jobs, and what is done with them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from qrec.errors import Refused
from qrec.executors import slurm_calls, slurm_jobs
from qrec.executors.slurm_asker import Asker
from qrec.executors.slurm_calls import Answer, NoAnswer
from qrec.executors.slurm_jobs import Job, ours, same, status_of, whole
from qrec.task import Status
from tests.helpers import wait_until
from tests.slurm.conftest import Cluster, call_up

#: Where tests/slurm/up keeps the ids of its daemons.
DAEMONS = Path("/run/qrec-slurm")


def ask(*jobids: str) -> Answer:
    answer = slurm_calls.ask([(None, jobid) for jobid in jobids], 60)
    assert answer.trouble == ""
    return answer


def job(jobid: str) -> Job:
    """The job as a whole, as soon as anything is known of it."""
    return whole(wait_until(lambda: ask(jobid).jobs.get((None, jobid), ())))


def ended(jobid: str) -> Job:
    """The job when it has ended and accounting has closed it."""
    wait_until(lambda: job(jobid).is_final, 120, f"job {jobid} to end")
    wait_until(lambda: job(jobid).accounted, 60, f"accounting to close {jobid}")
    return job(jobid)


def running(jobid: str) -> Job:
    wait_until(lambda: job(jobid).state == "RUNNING", 120, f"job {jobid} to run")
    return job(jobid)


def outcome(told: Job) -> tuple[str, Status | None, int | None, int | None]:
    return told.state, status_of(told), told.returncode, told.signal


def test_success(submit, tmp_path):
    before = time.time()
    jobid = submit("--job-name=a b|c\nd", "--comment=x, y", "--cpus-per-task=2", "--time=7", "--wrap", "echo hi")
    told = ended(jobid)
    assert outcome(told) == ("COMPLETED", Status.COMPLETE, 0, None)
    assert (told.jobid, told.raw, told.name, told.comment) == (jobid, jobid, "a b|c\nd", "x, y")
    assert told.workdir == str(tmp_path)
    assert (told.requested["cpus"], told.requested["time"]) == (2, 420.0)
    assert told.requested["memory"] > 0
    assert told.nodes
    assert told.partition
    assert told.submit is not None
    assert told.start is not None
    assert told.end is not None
    assert before - 2 <= told.submit <= told.start <= told.end <= time.time() + 2
    assert told.used["memory"] > 0
    assert {"elapsed", "cpu"} <= told.used.keys()
    assert same(told, before, None)
    assert same(told, None, told.submit)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("exit 3", ("FAILED", Status.FAILED, 3, None)),
        ("no-such-program-at-all", ("FAILED", Status.FAILED, 127, None)),
        ("kill -KILL $$", ("FAILED", Status.FAILED, 137, 9)),
    ],
)
def test_failure(submit, line, told):
    assert outcome(ended(submit("--wrap", line))) == told


def test_output_into_a_folder_that_is_not_there(submit, tmp_path):
    told = ended(submit(f"--output={tmp_path}/missing/out", "--wrap", "true"))
    assert outcome(told) == ("FAILED", Status.FAILED, 125, None)


def test_time_limit(submit):
    jobid = submit("--wrap", "sleep 1000")
    running(jobid)
    # refused in the second in which the job began
    wait_until(lambda: subprocess.run(["scontrol", "update", f"jobid={jobid}", "endtime=now"]).returncode == 0)
    assert outcome(ended(jobid)) == ("TIMEOUT", Status.FAILED, 124, None)


def test_out_of_memory(submit):
    told = ended(submit("--mem=100M", "--wrap", "exec python3 -c 'bytearray(400 << 20)'"))
    assert (status_of(told), told.returncode, told.signal) == (Status.FAILED, 137, 9)


def test_cancelling_what_waits(submit):
    jobid = submit("--hold", "--wrap", "true")
    told = job(jobid)
    assert (told.state, status_of(told), told.reason) == ("PENDING", Status.SUBMITTED, "JobHeldUser")
    slurm_calls.cancel(jobid)
    assert outcome(ended(jobid)) == ("CANCELLED", Status.CANCELLED, None, None)


def test_cancelling_what_runs(submit):
    jobid = submit("--wrap", "sleep 1000")
    assert status_of(running(jobid)) is Status.RUNNING
    slurm_calls.cancel(jobid)
    told = ended(jobid)
    assert (told.state, status_of(told)) == ("CANCELLED", Status.CANCELLED)
    slurm_calls.cancel(jobid)  # once more does no harm


def test_a_dependency_that_fails(submit):
    first = submit("--hold", "--wrap", "exit 1")
    waits = submit(f"--dependency=afterok:{first}", "--wrap", "true")
    falls = submit(f"--dependency=afterok:{first}", "--kill-on-invalid-dep=yes", "--wrap", "true")
    assert first in job(waits).dependency
    subprocess.run(["scontrol", "release", first], check=True)
    ended(first)
    wait_until(lambda: job(waits).reason == "DependencyNeverSatisfied")
    assert status_of(job(waits)) is Status.SUBMITTED
    told = ended(falls)
    assert (status_of(told), told.reason) == (Status.CANCELLED, "DependencyNeverSatisfied")


def test_an_array(submit):
    jobid = submit("--array=0-3%2", "--hold", "--wrap", "test $SLURM_ARRAY_TASK_ID != 2")
    assert job(jobid).counts == {"PENDING": 4}
    assert status_of(job(jobid)) is Status.SUBMITTED
    subprocess.run(["scontrol", "release", jobid], check=True)
    told = ended(jobid)
    assert outcome(told) == ("FAILED", Status.FAILED, 1, None)
    assert (told.jobid, told.counts) == (jobid, {"COMPLETED": 3, "FAILED": 1})
    assert status_of(job(f"{jobid}_2")) is Status.FAILED
    assert outcome(ended(f"{jobid}_1")) == ("COMPLETED", Status.COMPLETE, 0, None)
    assert ask(jobid).calls == 2


def test_what_accounting_alone_tells_of_an_array(submit, monkeypatch):
    """As if the controller had forgotten it."""
    jobid = submit("--array=0-1", "--hold", "--wrap", "true")
    wait_until(lambda: len(booked(jobid)) == 2, 60, "accounting to know the array")
    assert [told.state for told in booked(jobid)] == ["PENDING", "PENDING"]
    subprocess.run(["scontrol", "release", jobid], check=True)
    ended(jobid)
    assert sorted((told.jobid, told.state) for told in booked(jobid)) == [
        (f"{jobid}_{n}", "COMPLETED") for n in range(2)
    ]


def booked(jobid: str) -> list[Job]:
    """What accounting alone tells."""
    books = slurm_calls.inquiry(slurm_calls.account_words(None), [jobid], 60)
    assert not books.trouble
    return slurm_jobs.jobs_in_accounts(books.out)


def test_putting_a_job_back(submit, tmp_path):
    jobid = submit("--wrap", "test $SLURM_RESTART_COUNT || { touch ready; sleep 1000; }")
    wait_until((tmp_path / "ready").exists, 60)
    first = running(jobid)
    slurm_calls.requeue(jobid)
    wait_until(lambda: job(jobid).restarts == 1)
    told = ended(jobid)
    assert outcome(told) == ("COMPLETED", Status.COMPLETE, 0, None)
    assert told.submit is not None
    assert first.submit is not None
    assert told.submit > first.submit
    assert same(told, None, first.submit)
    runs = ask(jobid).jobs[None, jobid]
    assert [run.state for run in runs] == ["REQUEUED", "COMPLETED"]
    assert ours(runs, None, first.submit) == (told,)
    # accounting alone knows as much
    assert same(booked(jobid)[-1], None, first.submit)


def test_an_id_that_nobody_knows(submit):
    unknown = str(int(submit("--hold", "--wrap", "true")) + 5_000_000)
    answer = ask(unknown)
    assert (answer.jobs, set(answer.unknown), answer.calls) == ({}, {(None, unknown)}, 2)


def test_what_cannot_be_an_id_hides_nobody(submit):
    jobid, other = (submit("--hold", "--wrap", "true") for _ in range(2))
    too_large = "4000000000"
    answer = ask(jobid, too_large, other)
    assert set(answer.jobs) == {(None, jobid), (None, other)}
    assert set(answer.unknown) == {(None, too_large)}


def test_many_jobs_cost_one_call(submit, tmp_path):
    script = "for i in $(seq 100); do sbatch --parsable --hold --wrap true; done"
    jobids = subprocess.run(
        ["sh", "-c", script], check=True, capture_output=True, text=True, cwd=tmp_path
    ).stdout.split()
    answer = ask(*jobids)
    assert (len(answer.jobs), answer.calls) == (100, 1)
    subprocess.run(["scancel", *jobids], check=True)
    wait_until(lambda: all(runs[-1].is_final for runs in ask(*jobids).jobs.values()))
    answer = ask(*jobids)
    assert (len(answer.jobs), answer.calls, answer.unknown) == (100, 2, frozenset())


def test_a_named_cluster(submit):
    jobid = submit("--hold", "--wrap", "true")
    shown = subprocess.run(["scontrol", "show", "config"], check=True, capture_output=True, text=True).stdout
    name = next(line.split()[-1] for line in shown.splitlines() if line.startswith("ClusterName"))
    answer = slurm_calls.ask([(name, jobid)])
    assert answer.trouble == ""
    (told,) = answer.jobs[name, jobid]
    assert (told.cluster, told.state) == (name, "PENDING")
    slurm_calls.cancel(jobid, name)
    wait_until(lambda: job(jobid).state == "CANCELLED")


def test_a_cluster_that_is_not_there():
    answer = slurm_calls.ask([("no-such-cluster", "1")])
    assert answer.jobs == {}
    assert "no-such-cluster" in answer.trouble


def test_the_users_own_settings_change_nothing(submit, monkeypatch):
    jobid = submit("--hold", "--wrap", "true")
    for name, value in {
        "SQUEUE_FORMAT": "%j",
        "SQUEUE_STATES": "RUNNING",
        "SQUEUE_USERS": "nobody",
        "SACCT_FORMAT": "jobname",
        "SLURM_TIME_FORMAT": "relative",
        "SLURM_CLUSTERS": "no-such-cluster",
        "LC_ALL": "C.UTF-8",
    }.items():
        monkeypatch.setenv(name, value)
    assert job(jobid).state == "PENDING"


def test_what_can_be_asked_of_one_job(submit, batch, tmp_path):
    path = batch("echo its own text")
    jobid = submit("--begin=now+1hour", "--output=out-%j.txt", path)
    assert "its own text" in slurm_calls.script(jobid)
    (told,) = slurm_calls.details(jobid)
    assert (told["JobId"], told["Command"], told["StdOut"]) == (jobid, str(path), f"{tmp_path}/out-{jobid}.txt")
    wait_until(lambda: (slurm_calls.expected_start(jobid) or 0) > time.time() + 1800, 60)
    assert slurm_calls.expected_start(submit("--hold", "--wrap", "true")) is None


def test_a_signal_to_the_script(submit, tmp_path):
    jobid = submit("--wrap", "trap 'exit 9' USR1; touch ready; while :; do sleep 0.1; done")
    wait_until((tmp_path / "ready").exists, 60)
    slurm_calls.send_signal(jobid, "USR1", script=True)
    assert outcome(ended(jobid)) == ("FAILED", Status.FAILED, 9, None)


def test_refusals_are_slurms_words(submit):
    nobody = "4000000000"
    for refused in (slurm_calls.requeue, slurm_calls.script, slurm_calls.details):
        with pytest.raises(Refused, match=r"^scontrol: .*[Ii]nvalid job id") as caught:
            refused(nobody)
        assert "\n" not in str(caught.value)
    with pytest.raises(Refused, match="scancel: "):
        slurm_calls.send_signal(submit("--hold", "--wrap", "true"), "NOSUCH")


# With daemons that are stopped


def stop(daemon: str) -> None:
    pid = int((DAEMONS / f"{daemon}.pid").read_text())
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not is_running(pid), 60, f"{daemon} to end")


def is_running(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_controller_that_is_down_makes_the_state_old(exclusive_cluster: Cluster, submit, tmp_path):
    lives = submit("--wrap", "while ! test -e go; do sleep 0.1; done; exit 4")
    over = submit("--wrap", "exit 3")
    running(lives)
    ended(over)
    asker = Asker(str(tmp_path / "cache"), limit=60)
    ids = [(None, lives), (None, over)]
    heard = asker.ask(ids)
    assert (heard.trouble, heard.jobs[None, lives][0].state) == ("", "RUNNING")
    stop("slurmctld")
    (tmp_path / "go").touch()
    asker.limit, now = 2, time.time()
    asker.now = lambda: now  # the time for which the controller is left alone does not pass
    answer = asker.ask(ids, fresh=0)
    assert "squeue" in answer.trouble
    assert answer.at == heard.at
    assert answer.unknown == frozenset()
    assert answer.jobs[None, lives][0].state == "RUNNING"
    assert answer.jobs[None, over][0].returncode == 3
    again = asker.ask(ids, fresh=0)
    assert (again.calls, again.jobs, again.at) == (0, answer.jobs, heard.at)
    assert "asked again in" in again.trouble
    with pytest.raises((NoAnswer, Refused)):
        slurm_calls.act(["scontrol", "show", "job", lives], 2)
    call_up()
    asker.limit, asker.now = 60, time.time
    assert asker.ask(ids, fresh=0, insist=True).trouble == ""
    assert outcome(ended(lives)) == ("FAILED", Status.FAILED, 4, None)


def test_accounting_that_is_down_hides_nothing_of_the_queue(exclusive_cluster: Cluster, submit, tmp_path):
    stop("slurmdbd")
    jobid = submit("--wrap", "exit 3")
    wait_until(lambda: (jobs := slurm_calls.ask([(None, jobid)]).jobs) and whole(jobs[None, jobid]).is_final, 120)
    unknown = str(int(jobid) + 5_000_000)
    answer = slurm_calls.ask([(None, jobid), (None, unknown)])
    (told,) = answer.jobs[None, jobid]
    assert outcome(told) == ("FAILED", Status.FAILED, 3, None)
    assert (told.accounted, answer.unknown) == (False, frozenset())
    assert answer.trouble.startswith("sacct: ")
    call_up()
    assert "cpu" in ended(jobid).used
