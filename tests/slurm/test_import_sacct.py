"""Jobs that were submitted without qrec come in from the accounts of a real Slurm."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qrec.doors import accounts
from qrec.executors import slurm_jobs
from tests.helpers import Result, wait_until
from tests.slurm.conftest import slurm
from tests.test_look_back import call


def sacct(*jobids: str) -> str:
    """What sacct prints of some jobs, with its headings."""
    form = f"--format={','.join([*slurm_jobs.ACCOUNTS, *accounts.MORE])}"
    return slurm("sacct", "--parsable2", form, f"--jobs={','.join(jobids)}").out


@pytest.fixture
def accounted() -> Callable[..., str]:
    """Waits until accounting has closed jobs; returns what sacct prints of them."""

    def accounted(*jobids: str) -> str:
        def closed() -> str:
            told = slurm("sacct", "-nX", "--parsable2", "--format=End,JobID", f"--jobs={','.join(jobids)}").out
            rows = [line for line in told.splitlines() if not line.startswith("Unknown")]
            return sacct(*jobids) if len(rows) == len(told.splitlines()) >= len(jobids) else ""

        return wait_until(closed, 120, f"the accounts of {jobids}")

    return accounted


def imported(text: str, folder: Path) -> Result:
    (folder / "jobs").write_text(text)
    return call("import", "sacct", folder / "jobs", check=True)


def tasks() -> dict[str, dict[str, Any]]:
    """The tasks by the ids of their jobs."""
    every = call("ls", "--json", "--all", check=True).json
    return {one["data"]["slurm"]["jobid"]: one for one in every if "slurm" in one["data"]}


def test_jobs_of_a_real_cluster(home, kind, tmp_path, submit, batch, accounted):
    good = submit(batch("echo hello; echo oops >&2", "my job.sh"), "--job-name=good")
    bad = submit("--output=run.log", "--wrap=echo no; exit 3")
    many = submit("--array=1-2", "--wrap=echo task $SLURM_ARRAY_TASK_ID; test $SLURM_ARRAY_TASK_ID = 1")
    told = accounted(good, bad, f"{many}_1", f"{many}_2")
    assert imported(told, tmp_path).out == "3 tasks taken in\n", "steps are none"
    found = tasks()
    first = found[good]
    assert (first["executor"], first["status"], first["returncode"], first["pwd"]) == (
        "slurm", "complete", 0, str(tmp_path),
    )  # fmt: skip
    assert first["argv"][0] == "sbatch"
    assert first["user"] == slurm_jobs.told(slurm("id", "-un").out.strip())
    assert call("exec", "output", str(first["number"])).out == "hello\noops\n"
    assert (found[bad]["status"], found[bad]["returncode"]) == ("failed", 3)
    assert call("exec", "output", str(found[bad]["number"])).out == "no\n"
    assert (found[many]["status"], found[many]["data"]["slurm"]["array"]) == ("failed", True)
    assert "task 1" in call("exec", "output", str(found[many]["number"])).out
    assert f"{many}_2" in call("exec", "array", str(found[many]["number"])).out
    assert "asked for" in call("exec", "resources", str(first["number"]), check=True).out
    assert imported(told, tmp_path).out == "0 tasks taken in, 3 here already\n"


def test_output_of_a_later_job_at_the_same_path_is_not_that_of_the_first(home, tmp_path, submit, accounted):
    jobid = submit("--output=run.log", "--wrap=echo first")
    told = accounted(jobid)
    (tmp_path / "run.log").write_text("something else\n")
    os.utime(tmp_path / "run.log", (2e9, 2e9))
    imported(told, tmp_path)
    assert call("exec", "output", "1").out == ""


def test_what_qrec_has_submitted_is_not_taken_in_again(home, tmp_path, qrec, accounted, leftovers):
    qrec("-q", "run", "sbatch", "--wrap=true", check=True)
    (jobid,) = tasks()
    leftovers.add(jobid)
    assert imported(accounted(jobid), tmp_path).out == "0 tasks taken in, 1 here already\n"


def test_a_job_that_still_runs_is_followed(home, tmp_path, submit, wait_for_state):
    jobid = submit("--wrap=sleep 600")
    wait_for_state(jobid, "RUNNING")
    text = wait_until(lambda: sacct(jobid) if "RUNNING" in sacct(jobid) else "", 60)
    imported(text, tmp_path)
    assert tasks()[jobid]["status"] == "running"
    slurm("scancel", jobid)
    wait_until(lambda: tasks()[jobid]["status"] == "cancelled", 60)


def test_sacct_itself_is_asked(home, submit, accounted):
    jobid = submit("--wrap=true")
    accounted(jobid)

    def taken_in() -> bool:
        """A question about a span of time may miss what one about the job itself is told already."""
        call("import", "sacct", "--since", "10m", check=True)
        return jobid in tasks()

    wait_until(taken_in, 60)
    assert tasks()[jobid]["status"] == "complete"
