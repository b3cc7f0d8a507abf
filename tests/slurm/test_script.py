"""A queue as a bash script, on a real cluster."""

from __future__ import annotations

import re
import subprocess

from qrec.script import script
from tests.helpers import environment, wait_until
from tests.slurm.conftest import slurm, state_of
from tests.test_script import shellcheck, states, task


def test_jobs_and_what_depends_on_them(tmp_path, leftovers, wait_for_state):
    jobs = [
        task(
            1, "echo $V; touch begun; until [ -e go ]; do sleep 0.1; done", env={"V": "it's $x"}, cpus=2, mem=50 << 20
        ),
        task(2, "exit 3", [1], teardown="echo torn", name="two\nlines"),
        task(3, "echo never", [2]),
        task(4, "echo anyway", [2, 3], any=[2, 3]),
        task(5, "echo mended", [1, 2], failed=[1, 2]),
        task(6, "echo never", [1], failed=[1]),
        task(7, "sleep 1000", [1], timeout=1, at=1.0),
        task(8, ["echo", "a b", "$x"], [1], gpus=1),
    ]
    path = tmp_path / "script.sh"
    path.write_text(script([job.copy(pwd=str(tmp_path)) for job in jobs], {}, "a 'queue'", "slurm"))
    shellcheck(path)

    def submit(*codes: int) -> dict[int, str]:
        surroundings = environment({"QREC_STATE": str(tmp_path / "state")})
        done = subprocess.run(
            ["bash", path], env=surroundings, stdin=subprocess.DEVNULL, capture_output=True, text=True
        )
        assert done.returncode in codes, (done.stdout, done.stderr)
        found = re.findall(r"^(\d+)[^:]*: job (\d+)$", done.stdout, re.MULTILINE)
        leftovers.update(jobid for _, jobid in found)
        return {int(number): jobid for number, jobid in found}

    ids = submit(0)
    assert sorted(ids) == list(range(1, 9))
    wait_until((tmp_path / "begun").exists, 120)
    assert submit(0) == {}
    (tmp_path / "go").touch()
    ends = {n: wait_for_state(jobid, "COMPLETED", "FAILED", "CANCELLED") for n, jobid in ids.items()}
    assert ends == {
        1: "COMPLETED", 2: "FAILED", 3: "CANCELLED", 4: "COMPLETED", 5: "COMPLETED", 6: "CANCELLED", 7: "FAILED",
        8: "COMPLETED",
    }  # fmt: skip
    assert states(tmp_path) == {1: "done", 2: "failed 3", 4: "done", 5: "done", 7: "failed 124", 8: "done"}
    outputs = [(tmp_path / "state" / f"{n}.out").read_text() for n in (1, 2, 4, 5, 8)]
    assert outputs == ["it's $x\n", "torn\n", "anyway\n", "mended\n", "a b $x\n"]
    details = slurm("scontrol", "show", "job", ids[1]).out
    assert "NumCPUs=2" in details
    assert "MinMemoryNode=50M" in details
    again = submit(0, 1)  # 1 where what fails has failed again already
    assert sorted(again) == [2, 3, 7]
    assert state_of(again[2])
