"""Jobs that were submitted without qrec, on a real cluster."""

from __future__ import annotations

import pytest

from tests.helpers import wait_until
from tests.slurm.conftest import slurm


@pytest.fixture
def adopt(qrec):
    """Adopts a job; the task as `ls --json` tells of it."""

    def adopt(jobid, *words):
        uid = qrec("adopt", "--slurm", jobid, *words, check=True).out.strip()
        (found,) = (one for one in qrec("ls", "--json").json if one["uid"] == uid)
        return found

    return adopt


def test_a_job_from_its_start_to_its_end(qrec, adopt, submit, batch, tmp_path):
    script = batch("echo out; echo err >&2; until [ -e go ]; do sleep 0.1; done; exit 3")
    jobid = submit("--error", "err.txt", "--job-name", "mine", str(script), "one", "two")
    task = adopt(jobid, "-m", "a note")
    assert (task["executor"], task["message"], task["pwd"]) == ("slurm", "a note", str(tmp_path))
    assert task["status"] in ("submitted", "running")
    assert task["argv"][0] == "sbatch"
    assert task["argv"][-3:] == [str(script), "one", "two"]
    assert (task["data"]["slurm"]["jobid"], task["data"]["slurm"]["name"]) == (jobid, "mine")
    wait_until(lambda: qrec("log").out == "out\nerr\n", 60)
    # as soon as what was heard is old
    wait_until(lambda: qrec("exec", "status", "--json").json["state"] == "RUNNING", 60)
    again = qrec("adopt", "--slurm", jobid)
    assert (again.returncode, "recorded already" in again.err) == (1, True)
    (tmp_path / "go").touch()
    assert qrec("wait", timeout=120).returncode == 3
    told = qrec("get").json["data"]
    assert (told["status"], told["slurm"]["state"]) == ("failed", "FAILED")
    assert (qrec("exec", "output").out, qrec("exec", "error").out) == ("out\n", "err\n")
    assert "echo out" in qrec("exec", "script").out
    assert qrec("adopt", "--slurm", jobid).returncode == 1


def test_a_job_that_has_ended(qrec, adopt, submit, wait_for_state):
    jobid = submit("--wrap", "echo all of it; exit 2")
    wait_for_state(jobid, "FAILED")
    task = adopt(jobid)
    assert (task["argv"][0], task["argv"][-1]) == ("sbatch", "--wrap=echo all of it; exit 2")
    qrec("wait", timeout=120)
    told = qrec("get").json["data"]
    assert (told["status"], told["returncode"]) == ("failed", 2)
    assert qrec("log").out == "all of it\n"


def test_cancel(qrec, adopt, submit, batch, wait_for_state):
    jobid = submit(str(batch("sleep 600")))
    adopt(jobid)
    assert qrec("cancel", timeout=120).returncode == 0
    assert qrec("get").json["data"]["status"] == "cancelled"
    wait_for_state(jobid, "CANCELLED")


def test_an_array(qrec, adopt, submit, batch):
    jobid = submit("--array=1-2", str(batch("echo $SLURM_ARRAY_TASK_ID")))
    adopt(jobid)
    assert qrec("wait", timeout=120).returncode == 0
    assert [line for line in qrec("log").out.splitlines() if line in ("1", "2")] == ["1", "2"]


@pytest.mark.parametrize("jobid", ["99999999", "x", "-1"])
def test_no_such_job(qrec, jobid):
    told = qrec("adopt", f"--slurm={jobid}")
    assert told.returncode == 1
    assert told.err.count("\n") == 1
    assert qrec("ls", "--json").json == []


def test_secrets_stay_out(qrec, adopt, submit, batch):
    secret = "ghp_" + "a1B2" * 9
    jobid = submit(str(batch("true")), secret)
    assert secret not in str(adopt(jobid))
    assert slurm("scontrol", "show", "job", jobid).returncode == 0
