"""How the id of a job is learned from what sbatch, srun and salloc print, and, of a silent srun, from the cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from qrec.executors.sbatch import allocation_of, job_of_srun, jobid_of
from tests.helpers import wait_until
from tests.slurm.conftest import slurm


@pytest.mark.parametrize(
    "words", [[], ["--parsable"], ["-a", "1-2"], ["--clusters", "CLUSTER"], ["--pars", "-M", "CLUSTER"], ["-v"]]
)
def test_sbatch_tells(words, tmp_path, monkeypatch, leftovers):
    monkeypatch.chdir(tmp_path)
    config = slurm("scontrol", "show", "config").out
    name = next(line.split()[-1] for line in config.splitlines() if line.startswith("ClusterName"))
    words = ["sbatch", "--hold", *words, "--wrap", "true"]
    words = [word.replace("CLUSTER", name) for word in words]
    found = jobid_of(slurm(*words).stdout, words)
    assert found is not None
    leftovers.add(found[0])
    assert found[1] == (name if name in words else None)
    assert slurm("squeue", "-h", "-j", found[0], "-o", "%F %Z").out.split("\n")[0] == f"{found[0]} {tmp_path}"


def test_a_quiet_sbatch_tells_nothing(tmp_path):
    words = ["sbatch", "-Q", "--hold", "--wrap", "true"]
    assert jobid_of(slurm(*words, cwd=tmp_path).stdout, words) is None


def test_salloc_tells(tmp_path):
    done = slurm("salloc", "sh", "-c", "echo $SLURM_JOB_ID", cwd=tmp_path)
    assert allocation_of(done.stderr) == done.out.strip()


@pytest.mark.parametrize("program", ["srun", "salloc"])
def test_who_waits_tells(program, tmp_path, leftovers):
    words = [program, "--begin=now+1hour", "true"]
    with open(tmp_path / "said", "wb") as said:
        process = subprocess.Popen(words, stderr=said, stdin=subprocess.DEVNULL, cwd=tmp_path)
    try:
        jobid = wait_until(lambda: allocation_of((tmp_path / "said").read_bytes()) or "", 60)
        leftovers.add(jobid)
        assert slurm("squeue", "-h", "-j", jobid, "-o", "%T").out == "PENDING\n"
        slurm("scancel", jobid)
    finally:
        process.terminate()
        process.wait()


def test_the_job_of_a_silent_srun(tmp_path, leftovers):
    """While its step runs, it is known by the pid of srun."""
    (tmp_path / "go").touch()
    waiting = ["srun", "sh", "-c", "echo $SLURM_JOB_ID >>ids; while [ -e go ]; do sleep 0.1; done"]
    process = subprocess.Popen(waiting, stdin=subprocess.DEVNULL, cwd=tmp_path)
    try:
        wait_until(lambda: (tmp_path / "ids").exists() and (tmp_path / "ids").read_text(), 120)
        steps = slurm("scontrol", "show", "step").stdout
        jobid = job_of_srun(steps, process.pid, os.uname().nodename)
        assert jobid == Path(tmp_path / "ids").read_text().strip()
    finally:
        (tmp_path / "go").unlink()
        process.wait()
