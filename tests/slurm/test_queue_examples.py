"""Scripts written for cmd_queue's slurm backend run with `import qrec as cmd_queue`, on a real cluster."""

from __future__ import annotations

import re

import pytest

import qrec as cmd_queue
from tests.cmd_queue import are_in_order, counts, over
from tests.cmd_queue import printed as printed
from tests.helpers import wait_until

# `start` ends whatever a queue leaves running.
pytestmark = pytest.mark.usefixtures("start", "here")

#: What a job can tell of itself: its name, partition and cores.
ABOUT = 'echo "$SLURM_JOB_NAME $SLURM_JOB_PARTITION $SLURM_CPUS_PER_TASK"'


def test_slurm_is_available():
    assert "slurm" in cmd_queue.Queue.available_backends()
    assert cmd_queue.Queue.create(backend="slurm").is_available()


def test_the_example(printed, here):
    """Its text says `parition`: an option that nobody knows is passed over, with a warning."""
    self = cmd_queue.Queue.create(name="pond", backend="slurm")
    job1 = self.submit(f"{ABOUT} > job1 && sleep 0.01", cpus=1, mem="100MB")
    with pytest.warns(UserWarning, match=r"parition.*is partition= meant"):
        self.submit(f"{ABOUT} > job2", depends=[job1], parition="unheard-of")
    self.submit(f"{ABOUT} > job3", depends=[job1], partition="short")
    self.submit("echo err && false")
    job5 = self.submit("touch job5")
    job6 = self.submit("ls job5 > job6", depends=[job5])
    self.submit("ls job6 > job7", depends=[job6])
    self.print_commands()
    shown = printed()
    self.print_commands(1, 1)
    in_full = printed()
    state = self.run(block=True)
    assert are_in_order(shown, "sleep 0.01", "> job2")
    assert are_in_order(in_full, "ls job5 > job6", "ls job6 > job7")
    assert (here / "job1").read_text().split()[-2:] == ["debug", "1"]
    assert (here / "job2").read_text().split()[1] == "debug"
    assert (here / "job3").read_text().split()[1] == "short"
    assert (here / "job7").read_text() == "job6\n"
    assert counts(state) == over(6, failed=1)


def test_options_become_those_of_sbatch(printed):
    """Those of the queue are for all its jobs, unless a job has its own."""
    self = cmd_queue.Queue.create(name="options", backend="slurm", partition="short", size=4)
    self.submit("true", name="wide", cpus=4, mem="8GB", time="0:05:00", gres="gpu:1", hold=True)
    self.submit("true", name="other", depends="wide", partition="debug", mem=800, begin=60, account=None)
    self.print_commands(style="plain")
    wide, other = printed().split("other", 1)
    for option in (
        r"cpus-per-task=4\b",
        r"mem=8000M?\b",
        "time=.?0:05:00",
        "gres=.?gpu:1",
        "hold",
        "partition=.?short",
    ):
        assert re.search(f"--{option}", wide), option
    for option in ("partition=.?debug", r"mem=800M?\b", r"begin=.?now\+60", "dependency=.?afterok:"):
        assert re.search(f"--{option}", other), option
    assert "--hold" not in other
    assert "account" not in other


def test_a_chain_by_objects_names_and_one_object(here):
    queue = cmd_queue.Queue.create(backend="slurm")
    job0 = queue.submit("echo root >> ran", name="first job", begin=0)
    job1 = queue.submit("echo 1 >> ran", depends=job0)
    queue.submit('echo "$SLURM_JOBID" > id; echo 2 >> ran', depends=[job0, job1], name="two")
    queue.submit("echo 3 >> ran", depends="two")
    queue.print_graph()
    queue.run()
    assert (here / "ran").read_text().split() == ["root", "1", "2", "3"]
    assert (here / "id").read_text().strip().isdigit()


def test_levels_in_a_shell_of_ones_choice(here):
    self = cmd_queue.Queue.create(backend="slurm", shell="/bin/bash")
    self.add_preamble_command("export FOO=bar")
    job0 = self.submit('echo "0 $FOO" >> ran')
    self.submit('echo "1 $FOO" >> ran', depends=job0)
    assert self.sync() is self
    self.submit('[[ $FOO == bar ]] && echo "2 $FOO" >> ran')
    self.run()
    assert (here / "ran").read_text().splitlines() == ["0 bar", "1 bar", "2 bar"]


def test_failures_spread(here):
    """What can never run is taken from Slurm's queue, not left there for ever."""
    queue = cmd_queue.Queue.create(backend="slurm", name="failures")
    job0 = queue.submit("touch job0", name="job0")
    job1 = queue.submit("touch job1 && true", depends=[job0])
    queue.submit("touch job2 && false", depends=[job1])
    job3 = queue.submit("touch job3 && false", depends=[job0])
    queue.submit("touch job4 && true", depends=[job3])
    queue.submit("touch job5 && false", depends=[job3, job1])
    queue.print_commands()
    state = queue.run()
    assert sorted(path.name for path in here.iterdir()) == ["job0", "job1", "job2", "job3"]
    assert counts(state) == over(2, failed=2, skipped=2)


def test_setup_and_teardown(here):
    queue = cmd_queue.Queue.create(backend="slurm", name="brackets")
    queue.submit(
        "echo work >> ran", setup="echo lend >> ran", teardown="echo return >> ran", preamble="echo pre >> ran"
    )
    queue.submit("touch never", setup="false", teardown="touch never")
    state = queue.run(block=True, monitor="none", with_textual=False)
    assert (here / "ran").read_text().split() == ["pre", "lend", "work", "return"]
    assert not (here / "never").exists()
    assert counts(state) == over(1, failed=1)


def test_another_backend_for_the_same_jobs(here):
    queue = cmd_queue.Queue.create(backend="serial", name="moved")
    queue.submit("echo one > one", name="one")
    queue.submit("cp one two", depends=["one"], name="two")
    slurm_queue = queue.change_backend("slurm")
    slurm_queue.print_commands(style="plain")
    slurm_queue.run()
    assert (here / "two").read_text() == "one\n"


def test_a_queue_that_is_not_waited_for_can_be_ended(here):
    queue = cmd_queue.Queue.create(backend="slurm", name="endless")
    job = queue.submit("touch begun; sleep 600; touch over")
    queue.submit("touch next", depends=job)
    assert queue.run(block=False) is None
    wait_until((here / "begun").exists, 120)
    queue.kill()
    queue.monitor()
    assert [path.name for path in here.iterdir()] == ["begun"]


def test_what_jobs_print_can_be_read(here):
    queue = cmd_queue.Queue.create(backend="slurm", name="outputs")
    queue.submit("echo result=42", name="prints")
    queue.run()
    assert [job.output_fpath.read_text() for job in queue.jobs] == ["result=42\n"]
