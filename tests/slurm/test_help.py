"""The examples in help texts that want a real cluster."""

from __future__ import annotations

import shlex

from qrec.api import Qrec
from tests.helpers import wait_until
from tests.test_help import EXAMPLES, action_examples


def test_a_job_is_adopted(qrec, submit):
    (line,) = (line for line in EXAMPLES[("adopt",)] if "--slurm" in line)
    jobid = submit("--hold", "--wrap", "true")
    qrec(*shlex.split(line.replace("103", jobid))[1:], check=True)
    assert qrec("ls", "--json").json[0]["data"]["slurm"]["jobid"] == jobid


def test_the_actions_of_a_job(qrec, home, tmp_path):
    """The twelfth task, which is also the last started; what changes it comes last."""
    door = Qrec()
    for _ in range(11):
        door.run(["true"], show=False, cwd=str(tmp_path))
    qrec("run", "sbatch", "--array=0-1", "--wrap", "echo out", check=True)
    actions = [name for name in door.actions("slurm") if name not in ("cancel", "attach", "requeue")]
    actions.sort(key=lambda name: name != "wait")
    for line in [line for name in actions for line in action_examples(name)]:
        qrec(*shlex.split(line)[1:], check=True)
    assert qrec("exec", "output", "12").out.count("\nout\n") == 2
    for line in action_examples("requeue"):
        qrec(*shlex.split(line)[1:], check=True)
        qrec("wait", "12", check=True)
    qrec("run", "sbatch", "--hold", "--wrap", "true", check=True)
    qrec(*shlex.split(action_examples("cancel")[0])[1:], check=True)
    wait_until(lambda: qrec("ls", "--json", "-n", "1").json[0]["status"] == "cancelled", 60)
