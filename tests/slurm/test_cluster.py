"""The cluster under the other tests: it runs jobs, tells how they ended, and nothing stays in its queue."""

from __future__ import annotations

from tests.helpers import wait_until
from tests.slurm.conftest import cancel_jobs, slurm, state_of


def test_a_job_runs(batch, submit, wait_for_state, tmp_path):
    script = batch("echo from $SLURM_JOB_ID; exit 3")
    jobid = submit(script)
    assert wait_for_state(jobid, "COMPLETED", "FAILED") == "FAILED"
    assert (tmp_path / f"slurm-{jobid}.out").read_text() == f"from {jobid}\n"


def test_accounting_learns_of_it(submit, wait_for_state):
    jobid = submit("--wrap", "true")
    wait_for_state(jobid, "COMPLETED")
    words = ["sacct", "-nXP", "-j", jobid, "-o", "jobid,state,exitcode"]
    wait_until(lambda: slurm(*words).out == f"{jobid}|COMPLETED|0:0\n", 60, "sacct")


def test_jobs_run_side_by_side(submit, wait_for_state):
    jobs = [submit("--wrap", "sleep 600") for _ in range(4)]
    assert {wait_for_state(jobid, "RUNNING") for jobid in jobs} == {"RUNNING"}


def test_leftovers_are_cancelled(tmp_path, monkeypatch, wait_for_state):
    """Also those of which nobody has told."""
    ours, other = tmp_path / "ours", tmp_path / "ours too"
    ids = []
    for folder in (ours, other):
        folder.mkdir()
        monkeypatch.chdir(folder)
        ids.append(slurm("sbatch", "--parsable", "--wrap", "sleep 600").out.strip())
    cancel_jobs(ours, set())
    assert wait_for_state(ids[0], "CANCELLED")
    assert state_of(ids[1]) in ("PENDING", "RUNNING")
    cancel_jobs(tmp_path / "elsewhere", {ids[1]})
    assert wait_for_state(ids[1], "CANCELLED")
