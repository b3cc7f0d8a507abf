"""Scripts written for cmd_queue run with `import qrec as cmd_queue`: the calls of its examples, with their results.

What is spelt oddly here (`with_gaurds`, `print_commands(1, 1)`, `check_other_sessions=0`) is spelt so there.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from typing import Any

import psutil
import pytest

import qrec as cmd_queue
from tests.cmd_queue import are_in_order, counts, over
from tests.cmd_queue import printed as printed
from tests.helpers import wait_until

# `start` ends whatever a queue leaves running.
pytestmark = pytest.mark.usefixtures("start", "here")

both = pytest.mark.parametrize("backend", ["serial", "tmux"])


def stand(state: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """How a queue stands, in a word and in numbers."""
    return state["status"], counts(state)


def done(passed: int, failed: int = 0, skipped: int = 0) -> tuple[str, dict[str, Any]]:
    """The same of a queue that is over."""
    return "done", over(passed, failed, skipped)


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# The README's examples


def test_two_jobs_are_shown(printed, here):
    queue = cmd_queue.Queue.create(backend="serial", name="bakery")
    mix = queue.submit('echo "dough" > dough', name="mix")
    queue.submit("cat dough", depends=[mix], name="bake")
    queue.print_commands()
    assert are_in_order(printed(), "mix", 'echo "dough" > dough', "bake", "cat dough")
    assert not (here / "dough").exists()


def test_five_jobs_run(printed, here):
    self = cmd_queue.Queue.create(name="five", backend="serial")
    job1 = self.submit("echo 1 >> ran")
    job2 = self.submit("echo 2 >> ran", depends=[job1])
    job3 = self.submit("echo 3 >> ran")
    self.submit("echo 4 >> ran", depends=[job2, job3])
    self.submit("echo 5 >> ran", depends=[job1])
    self.print_graph()
    drawn = printed()
    self.print_commands()
    shown = printed()
    self.run()
    for number in range(5):
        assert f"five-job-{number}" in drawn
        assert f"five-job-{number}" in shown
        assert f"echo {number + 1} >> ran" in shown
    order = (here / "ran").read_text().split()
    assert sorted(order) == ["1", "2", "3", "4", "5"]
    assert order.index("1") < order.index("2") < order.index("4")
    assert order.index("3") < order.index("4")
    assert order.index("1") < order.index("5")
    assert self.read_state()["name"] == "five"
    assert stand(self.read_state()) == done(5)


@both
def test_ten_jobs_one_of_which_fails(backend, printed, here):
    """`size` is for tmux; serial takes it and does without."""
    self = cmd_queue.Queue.create(size=4, name="ten", backend=backend)
    job1 = self.submit("touch job1 && sleep 0.01")
    self.submit("ls job1 > job2", depends=[job1])
    self.submit("touch job3")
    self.submit("touch job4")
    self.submit("ls job1 > job5", depends=[job1])
    self.submit("touch job6")
    self.submit("touch job7 && false")
    job8 = self.submit("touch job8")
    job9 = self.submit("ls job8 > job9", depends=[job8])
    self.submit("ls job9 > job10", depends=[job9])
    self.print_commands()
    shown = printed()
    self.print_commands(1, 1)
    in_full = printed()
    self.run(block=True)
    for number in range(10):
        assert f"ten-job-{number}" in shown
        assert f"ten-job-{number}" in in_full
    assert are_in_order(shown, "ten-job-7", "touch job8", "ls job8 > job9", "ls job9 > job10")
    assert sorted(path.name for path in here.iterdir()) == sorted(f"job{number}" for number in range(1, 11))
    assert stand(self.read_state()) == done(9, failed=1)


def test_chains_side_by_side(printed, here):
    n = 2
    self = cmd_queue.Queue.create(size=n, name="chains", backend="tmux")
    first_job = None
    for i in range(n):
        prev_job = None
        for j in range(4):
            job = self.submit(f'echo "{i}.{j}" >> chain{i}', depends=prev_job)
            prev_job = job
            first_job = first_job or job
    self.submit("cat chain0 chain1 > last", depends=[prev_job, first_job])
    self.print_commands(style="rich")
    assert "chains-job-8" in printed()
    self.print_graph()
    assert "chains-job-8" in printed()
    assert self.is_available()
    returned = self.run(block=True, other_session_handler="kill")
    # the last job waits for the whole of the second chain, but only for the first job of the first
    assert are_in_order((here / "last").read_text(), "0.0", "1.0", "1.1", "1.2", "1.3")
    assert (here / "chain0").read_text().split() == ["0.0", "0.1", "0.2", "0.3"]
    assert stand(returned) == stand(self.read_state()) == done(9)


# The examples of its modules


def test_backends_of_this_machine():
    backends = cmd_queue.Queue.available_backends()
    assert backends[:2] == ["serial", "tmux"]
    assert set(backends) <= {"serial", "tmux", "slurm", "airflow", "local"}


def recipe(backend="serial", **options):
    queue = cmd_queue.Queue.create(backend=backend, **options)
    peel = queue.submit('echo "peel" >> log', name="peel")
    boil = queue.submit('echo "boil" >> log', name="boil")
    slice_ = queue.submit('echo "slice" >> log', depends=[peel], name="slice")
    drain = queue.submit('echo "drain" >> log', depends=[boil], name="drain")
    queue.submit('echo "serve" >> log', depends=[slice_, drain], name="serve")
    sweep = queue.submit('echo "sweep" >> log', depends=[], name="sweep")
    queue.submit('echo "mop" >> log', depends=[sweep], name="mop")
    return queue


STEPS = "peel boil slice drain serve sweep mop".split()


@both
def test_graph(backend, printed):
    recipe(backend).print_graph(reduced=False)
    assert [line.rstrip() for line in printed().strip().splitlines()] == [
        "Graph:",
        "╟── peel",
        "╎   └─╼ slice",
        "╎       └─╼ serve ╾ drain",
        "╟── boil",
        "╎   └─╼ drain",
        "╎       └─╼  ...",
        "╙── sweep",
        "    └─╼ mop",
    ]


def test_a_reduced_graph_leaves_out_what_follows_from_the_rest(printed):
    self = cmd_queue.Queue.create(size=5, name="cut")
    job1 = self.submit("true", name="one")
    job2 = self.submit("true", depends=[job1], name="two")
    self.submit("true", depends=[job1, job2], name="three")
    self.print_graph(reduced=False)
    assert are_in_order(printed(), "one", "├─╼ two", "└─╼ three ╾ one")
    self.print_graph()
    assert "three ╾" not in printed()
    self.print_graph(vertical_chains=True)
    assert re.search(r"one\s+╽\s+two\s+╽\s+three", printed())


def test_plain_commands(printed):
    queue = recipe()
    queue.print_commands(style="plain")
    shown = printed()
    assert are_in_order(shown, *(f'echo "{step}" >> log' for step in STEPS))
    assert all(re.search(rf"\b{number}\b.*\b{step}$", shown, re.M) for number, step in enumerate(STEPS, 1))


@both
def test_run_in_full_words(backend, here):
    queue = recipe(backend)
    queue.run(block=True, system=True)
    assert sorted((here / "log").read_text().split()) == sorted(STEPS)
    assert stand(queue.read_state()) == done(7)


def test_another_backend_for_the_same_jobs(printed, here):
    queue = recipe(name="kitchen")
    tmux_queue = queue.change_backend("tmux", size=2)
    tmux_queue.print_commands(style="plain", with_locks=0)
    shown = printed()
    assert all(f'echo "{step}" >> log' in shown for step in STEPS)
    assert not (here / "log").exists()
    tmux_queue.run(with_textual="auto", check_other_sessions=False)
    ran = (here / "log").read_text().split()
    assert ran.index("peel") < ran.index("slice") < ran.index("serve")
    assert ran.index("boil") < ran.index("drain") < ran.index("serve")
    assert ran.index("sweep") < ran.index("mop")
    assert stand(tmux_queue.read_state()) == done(7)
    assert [job.name for job in queue.change_backend("serial").jobs] == STEPS


@both
def test_a_queue_named_by_its_backend_only(backend, here):
    queue = cmd_queue.Queue.create(backend=backend)
    job1 = queue.submit('echo "one" > one && sleep 0.01')
    queue.submit("cp one two", depends=[job1])
    queue.run()
    assert (here / "two").read_text() == "one\n"
    assert stand(queue.read_state()) == done(2)


def test_the_backend_comes_first(here):
    queue = cmd_queue.Queue.create("serial", name="first")
    queue.submit("touch ran")
    queue.run()
    assert (here / "ran").exists()


@both
def test_what_follows_a_failure_is_skipped(backend, printed, here):
    self = cmd_queue.Queue.create(backend=backend, name="fails", rootid="again")
    job1 = self.submit('echo "fails" && false')
    self.submit("touch works && true")
    self.submit("touch never && true", depends=job1)
    self.print_commands(1, 1)
    assert "fails-job-2" in printed()
    self.run()
    assert [path.name for path in here.iterdir()] == ["works"]
    assert stand(self.read_state()) == done(1, failed=1, skipped=1)


@both
def test_failures_spread(backend, here):
    self = cmd_queue.Queue.create(backend=backend)
    job1 = self.submit("touch job1 && false")
    job2 = self.submit("touch job2", depends=[job1])
    self.submit("touch job3", depends=[job2])
    job4 = self.submit("touch job4 && true")
    job5 = self.submit("touch job5 && false", depends=[job4])
    self.submit("touch job6", depends=[job5])
    self.submit("touch job7", depends=[job4, job2])
    self.submit("touch job8", depends=[job4, job1])
    self.print_commands()
    self.run()
    assert sorted(path.name for path in here.iterdir()) == ["job1", "job4", "job5"]
    assert stand(self.read_state()) == done(1, failed=2, skipped=5)


@both
def test_trees_that_fail_at_every_level(backend, printed):
    self = cmd_queue.Queue.create(size=2, name="trees", backend=backend)
    for idx in range(2):
        root = self.submit("true")
        left = self.submit("true", depends=[root])
        right = self.submit("false", depends=[root], name=f"right_{idx}")
        left_left = self.submit("true", depends=[left])
        left_right = self.submit("false", depends=[left], name=f"left_right_{idx}")
        self.submit("true", depends=[left_left])
        self.submit("false", depends=[left_left], name=f"leaf_{idx}")
        for parent in (left_right, left_right, right, right):
            self.submit("true", depends=[parent])
    chain = self.submit("true", name="chain1")
    chain = self.submit("false", depends=[chain], name="chain2")
    chain = self.submit("true", depends=[chain], name="chain3")
    self.submit("true", depends=[chain], name="chain4")
    for _ in range(4):
        self.submit("true", name=f"loose_true{_}")
    for _ in range(4):
        self.submit("false", name=f"loose_false{_}")
    self.print_commands()
    self.print_graph()
    assert are_in_order(printed(), "left_right_1", "chain4")
    self.run(with_textual=False, check_other_sessions=0)
    assert stand(self.read_state()) == done(2 * 4 + 1 + 4, failed=2 * 3 + 1 + 4, skipped=2 * 4 + 2)


def test_a_submission_may_name_its_jobs_later(here):
    """Dependencies by `named_jobs`, by name, and as a list of names."""
    self = cmd_queue.Queue.create(backend="tmux", size=1, name="names", gpus=[0, 1])

    def add_edge(name, depends):
        _depends = [self.named_jobs[n] for n in depends if n is not None]
        self.submit(f"echo {name} >> ran", name=name, depends=_depends)

    add_edge("predict", [])
    add_edge("track", ["predict", None])
    self.submit("echo score >> ran", name="score", depends="track")
    self.submit("echo report >> ran", name="report", depends=["track", "score"])
    self.run(block=1, onexit="", check_other_sessions=0)
    assert (here / "ran").read_text().split() == ["predict", "track", "score", "report"]
    assert list(self.named_jobs) == ["predict", "track", "score", "report"]


@both
def test_jobs_with_a_tag_can_be_left_out(backend, printed):
    self = cmd_queue.Queue.create(backend=backend, size=2, name="tagged")
    self.submit("echo bread", name="bread")
    self.submit("echo clean the oven", depends="bread", tags="chores")
    self.submit("echo butter", log=False)
    self.submit("echo jam", log=False, name="jam")
    self.submit("echo clean the jar", depends=["jam", "bread"], tags=["chores", "wet"])
    self.print_commands(with_status=1, with_gaurds=1, with_locks=1, style="rich")
    assert "clean the jar" in printed()
    self.print_commands(with_status=0, with_gaurds=1, with_locks=1, style="plain")
    assert "clean the oven" in printed()
    self.print_commands(with_status=0, with_gaurds=0, with_locks=0, style="auto", exclude_tags="chores")
    shown = printed()
    assert "echo bread" in shown
    assert "echo jam" in shown
    assert "clean the" not in shown


@both
def test_sync_makes_what_comes_later_wait_for_what_is_there(backend, here):
    self = cmd_queue.Queue.create(backend=backend, size=2, name="levels")
    self.add_preamble_command("export FOO=bar")
    job0 = self.submit('echo "0 $FOO" >> ran')
    job1 = self.submit('echo "1 $FOO" >> ran', depends=job0)
    job2 = self.submit('echo "2 $FOO" >> ran')
    assert self.sync() is self
    assert self.all_depends == [job1, job2]
    job3 = self.submit('echo "3 $FOO" >> ran')
    self.sync()
    job4 = self.submit('echo "4 $FOO" >> ran')
    assert (job3.depends, job4.depends) == ([job1, job2], [job3])
    self.run()
    ran = (here / "ran").read_text().splitlines()
    assert sorted(ran) == [f"{number} bar" for number in range(5)]
    assert ran[3:] == ["3 bar", "4 bar"]


def test_a_queue_looked_at_while_it_runs_and_afterwards(printed, here):
    self = cmd_queue.Queue.create(backend="tmux", size=2, name="looked-at")
    job1 = self.submit("echo hello")
    self.submit("sleep 0.01", depends=[job1])
    self.submit("echo err && false")
    self.write()
    assert os.access(self.fpath, os.X_OK)
    self.print_commands()
    self.run(check_other_sessions=0)
    self.monitor()
    self.current_output()
    printed()
    self.kill()
    assert stand(self.read_state()) == done(2, failed=1)


def test_a_queue_that_is_not_waited_for(here):
    """Started, then watched; what the jobs print is in files."""
    queue = cmd_queue.Queue.create(backend="tmux")
    job1 = queue.submit("echo fine", log=True)
    job2 = queue.submit("echo not fine >&2; false", log=True, depends=job1)
    job3 = queue.submit("echo never", log=True, depends=job2)
    queue.print_commands(True, True)
    queue.write()
    assert queue.is_available()
    queue.run(block=0)
    queue.monitor(with_textual=False)
    queue.kill()
    assert "fine" in job1.log_fpath.read_text().splitlines()
    assert "not fine" in job2.log_fpath.read_text().splitlines()
    assert not job3.log_fpath.exists()
    assert stand(queue.read_state()) == done(1, failed=1, skipped=1)


def test_a_queue_that_is_ended(here):
    queue = cmd_queue.Queue.create(backend="tmux", name="endless")
    job = queue.submit("echo $$ > pid; sleep 600; touch over")
    queue.submit("touch next", depends=job)
    queue.run(block=False)
    pid = int(wait_until(lambda: (here / "pid").exists() and (here / "pid").read_text()))
    queue.kill()
    wait_until(lambda: is_gone(pid))
    assert [path.name for path in here.iterdir()] == ["pid"]


# What the parts of a job mean


@both
def test_setup_command_teardown(backend, here):
    queue = cmd_queue.Queue.create(backend=backend, name="brackets")
    queue.submit("echo work >> ran", name="job", setup="echo lend >> ran", teardown="echo return >> ran")
    queue.submit("echo fail >> ran; false", depends="job", teardown=["echo one >> ran", "echo two >> ran"])
    queue.run()
    assert (here / "ran").read_text().split() == ["lend", "work", "return", "fail", "one", "two"]
    assert stand(queue.read_state()) == done(1, failed=1)


@both
def test_a_failing_setup_fails_the_job(backend, here):
    queue = cmd_queue.Queue.create(backend=backend, name="brackets")
    queue.submit("touch work", name="job", setup="false", teardown="touch return")
    queue.submit("touch later", depends="job")
    queue.run()
    assert list(here.iterdir()) == []
    assert stand(queue.read_state()) == done(0, failed=1, skipped=1)


@both
def test_folder_environment_and_preamble(backend, here, tmp_path):
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    queue = cmd_queue.Queue.create(
        backend=backend, name="odd", environ={"FRUIT": "two pears"}, preamble=["export BOWL=blue"]
    )
    queue.add_preamble_command(["export SPOON=tin", "export FORK=steel"])
    queue.submit(
        f'echo "$FRUIT, $BOWL, $SPOON, $FORK, $CUP, $PWD" > {shlex.quote(str(here))}/told',
        cwd=str(folder),
        preamble="export CUP=tea",
    )
    queue.submit("pwd > here")
    queue.run()
    assert queue.header_commands == ["export BOWL=blue", "export SPOON=tin", "export FORK=steel"]
    assert (here / "told").read_text() == f"two pears, blue, tin, steel, tea, {folder}\n"
    assert (here / "here").read_text() == f"{here}\n"


def test_the_folder_of_a_whole_queue(tmp_path):
    queue = cmd_queue.Queue.create(backend="serial", name="elsewhere", cwd=str(tmp_path))
    queue.submit("touch ran")
    queue.run()
    assert (tmp_path / "ran").exists()


def test_gpus_are_spread_over_the_workers(here):
    queue = cmd_queue.Queue.create(backend="tmux", size=2, name="gpus", gpus=[3, 5])
    for number in range(2):  # each waits for the other, so that no worker has both
        queue.submit(f"echo $CUDA_VISIBLE_DEVICES > {number}; while [ ! -s {1 - number} ]; do sleep 0.01; done")
    queue.run()
    assert {path.read_text().strip() for path in here.iterdir()} == {"3", "5"}


@both
def test_written_as_a_script(backend, here):
    queue = cmd_queue.Queue.create(backend=backend, name="script")
    queue.submit("echo ran > ran", name="only")
    queue.write()
    assert os.access(queue.fpath, os.X_OK)
    assert not (here / "ran").exists()
    subprocess.run([queue.fpath], check=True, capture_output=True)
    wait_until(lambda: (here / "ran").exists() and (here / "ran").read_text() == "ran\n")


def test_text_of_the_script():
    queue = cmd_queue.Queue.create(backend="serial", name="text")
    queue.add_preamble_command("export FLAG=1")
    first = queue.submit("echo first", name="one")
    queue.submit("echo second", name="two", depends=first)
    text = queue.finalize_text(with_status=False, with_gaurds=False)
    assert are_in_order(text, "export FLAG=1", "echo first", "echo second")


# What can be asked of queues and jobs


@both
def test_attributes(backend):
    queue = cmd_queue.Queue.create(backend=backend, name="asked", size=3)
    first = queue.submit("echo first")
    second = queue.submit("echo second", depends="asked-job-0", name="second", tags="tag")
    assert len(queue) == 2
    assert queue.name == "asked"
    assert queue.jobs == [first, second]
    assert queue.named_jobs == {"asked-job-0": first, "second": second}
    assert queue.all_depends is None
    assert (first.name, first.command, first.depends, first.tags) == ("asked-job-0", "echo first", [], None)
    assert (second.name, second.command, second.depends, second.tags) == ("second", "echo second", [first], ["tag"])
    assert (bool(first.bookkeeper), first.log) == (False, False)
    assert isinstance(first, cmd_queue.Job)
    assert isinstance(queue, cmd_queue.Queue)


def test_a_queue_that_has_not_run():
    queue = cmd_queue.Queue.create(backend="serial", name="later")
    queue.submit("true")
    state = queue.read_state()
    assert (state["name"], state["total"]) == ("later", 1)
    assert state["status"] != "done"


@both
@pytest.mark.parametrize(
    ("words", "options", "error"),
    [
        ("true", {"name": "taken"}, KeyError),
        ("true", {"depends": "unheard-of"}, KeyError),
        ("true", {"depends": ["taken", "unheard-of"]}, KeyError),
        ("true", {"name": "a:b"}, ValueError),
        (["true"], {}, TypeError),
    ],
)
def test_submissions_that_are_refused(backend, words, options, error):
    queue = cmd_queue.Queue.create(backend=backend, name="refusals")
    queue.submit("true", name="taken")
    with pytest.raises(error):
        queue.submit(words, **options)
    assert len(queue) == 1


@pytest.mark.parametrize(
    ("options", "error"), [({"backend": "unheard-of"}, KeyError), ({"backend": "tmux", "size": 0}, ValueError)]
)
def test_queues_that_are_refused(options, error):
    with pytest.raises(error):
        cmd_queue.Queue.create(name="refused", **options)


def test_an_unknown_style_is_refused():
    with pytest.raises(KeyError):
        recipe().print_commands(style="unheard-of")


@pytest.mark.parametrize("style", ["colors", "rich", "plain"])
def test_styles(style, printed):
    recipe().print_commands(style=style)
    assert are_in_order(printed(), *STEPS)
