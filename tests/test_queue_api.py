"""`qrec.Queue` beyond the examples of cmd_queue: what it records, what it keeps apart, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import psutil
import pytest

import qrec as package
from qrec import Job, Qrec, Queue
from qrec.errors import QrecError, Refused, WrongUsage
from qrec.jobs import Jobs, Submission
from qrec.queue_words import UnknownBackendError, slurm_options
from tests.helpers import wait_until
from tests.terminals import Terminal

pytestmark = pytest.mark.usefixtures("start", "here")

KEYS = ["name", "status", "passed", "failed", "skipped", "total"]


def statuses(queue: Queue) -> list[str]:
    return [job.status for job in queue.jobs]


def ends(queue: Queue) -> tuple[int, int, int]:
    state = queue.read_state()
    assert list(state) == KEYS
    return state["passed"], state["failed"], state["skipped"]


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def script(text: str) -> list[str]:
    return [sys.executable, "-c", f"import qrec\n{text}"]


# What is recorded


def test_what_is_submitted_is_seen_by_everybody(kind, qrec):
    queue = Queue.create(name="seen")
    queue.submit("echo a", name="a", tags=["t"], message="why")
    queue.submit("echo b", depends="a")
    rows = qrec("ls", "--json").json
    assert [(row["queue"], row["name"], row["status"], row["command"]) for row in rows] == [
        ("seen", "a", "queued", "echo a"),
        ("seen", "seen-job-1", "queued", "echo b"),
    ]
    assert (rows[0]["tags"], rows[0]["message"], rows[1]["after"]) == (["t"], "why", [rows[0]["uid"]])
    queue.run(verbose=0)
    assert [row["status"] for row in qrec("ls", "--json").json] == ["complete"] * 2


def test_a_queue_is_opened_and_goes_on(kind):
    queue = Queue.create("local", "again", size=2, preamble="x=1", cwd="/", environ={"E": "e"})
    queue.submit("true", name="first")
    queue.run()
    opened = Queue.open("again")
    assert (opened.backend, opened.size, opened.preamble, opened.cwd) == ("local", 2, ["x=1"], "/")
    assert (opened.environ, opened.fpath) == ({"E": "e"}, queue.fpath)
    second = opened.submit("echo $x$E$PWD", depends="first")
    assert (second.name, second.depends) == ("again-job-1", [opened.named_jobs["first"]])
    assert opened.run() == {"name": "again", "status": "done", "passed": 2, "failed": 0, "skipped": 0, "total": 2}
    assert second.log_fpath.read_text() == "1e/\n"
    assert [job.name for job in Queue.open("again").jobs] == ["first", "again-job-1"]


def test_there_must_be_a_queue_to_be_opened(home):
    with pytest.raises(QrecError, match="'nowhere'"):
        Queue.open("nowhere")


def test_another_home(tmp_path, home):
    queue = Queue.create(name="far", home=str(tmp_path / "far"), store="filesystem")
    queue.submit("true")
    queue.run(verbose=0)
    assert (tmp_path / "far" / "tasks").is_dir()
    assert not home.exists()
    assert ends(Queue.open("far", home=str(tmp_path / "far"), store="filesystem")) == (1, 0, 0)


def test_create_begins_a_generation_of_its_own(kind):
    old = Queue.create(name="gen")
    first = old.submit("true", name="same")
    new = Queue.create(name="gen")
    assert (len(new), new.read_state()["total"], first.status) == (0, 0, "cancelled")
    new.submit("true", name="same")
    assert new.run(verbose=0)["passed"] == 1
    assert old.rootid != new.rootid


def test_run_does_not_repeat_what_is_complete(here):
    queue = Queue.create(name="twice")
    queue.submit("echo 1 >> ran")
    queue.submit("echo 2 >> ran; false")
    assert queue.run(verbose=0) == queue.run(verbose=0)
    assert (here / "ran").read_text().split() == ["1", "2"]
    queue.submit("echo 3 >> ran")
    assert queue.run(verbose=0)["passed"] == 2
    assert (here / "ran").read_text().split() == ["1", "2", "3"]


@pytest.mark.parametrize("backend", ["serial", "local", "tmux"])
def test_the_state_is_told_alike_everywhere(backend):
    queue = Queue.create(backend, "alike")
    assert queue.read_state() == {"name": "alike", "status": "init", "passed": 0, "failed": 0, "skipped": 0, "total": 0}
    bad = queue.submit("false")
    queue.submit("true", depends=bad)
    queue.submit("true")
    assert (queue.read_state()["status"], ends(queue)) == ("init", (0, 0, 0))
    returned = queue.run(verbose=0)
    assert returned == queue.read_state()
    assert (returned["status"], ends(queue)) == ("done", (1, 1, 1))


def test_an_empty_queue_is_done_once_it_has_run(here):
    queue = Queue.create(name="empty")
    assert queue.run() == {"name": "empty", "status": "done", "passed": 0, "failed": 0, "skipped": 0, "total": 0}


def test_a_hundred_jobs_at_once_are_in_order(here):
    queue = Queue.create("local", "many", size=4)
    last = None
    for number in range(100):
        last = queue.submit(f"echo {number} >> ran", depends=last)
    queue.run()
    assert [int(line) for line in (here / "ran").read_text().split()] == list(range(100))


# Submitting


@pytest.mark.parametrize(
    "name", ["1", "001", "j", "True", "a b", "--x", "it's", 'a "b"', "$(touch x)", "two\nlines", "ünï “x”", "a/../b"]
)
def test_names_are_exact(name, here, capfd):
    queue = Queue.create(name=name)
    first = queue.submit("echo $$", name=name)
    queue.submit("true", depends=name)
    assert list(queue.named_jobs) == [name, f"{name}-job-1"]
    queue.print_graph()
    queue.print_commands()
    assert queue.run(verbose=0)["passed"] == 2
    assert first.log_fpath.read_text().strip().isdigit()
    assert first.log_fpath.parent == queue.job_info_dpath
    queue.write()
    assert list(here.iterdir()) == []


def test_what_cannot_be_depended_on():
    queue = Queue.create(name="refused")
    for nothing in ("unheard-of", "shell", "99", ["unheard-of"]):
        with pytest.raises(KeyError, match=r"^'(unheard-of|shell|99)' is no job of queue 'refused'"):
            queue.submit("true", depends=nothing)
    with pytest.raises(TypeError, match="not int"):
        queue.submit("true", depends=[0])
    with pytest.raises(Refused, match="not submitted yet"):
        queue.submit("true", depends=Job("true", name="loose"))
    assert (len(queue), queue.jobs, queue.read_state()["total"]) == (0, [], 0)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("timeout", "abc"), ("timeout", object()), ("timeout", -1), ("timeout", float("nan")), ("backoff", [2]),
        ("retries", -1), ("retries", "x"), ("priority", 1 << 63), ("cpus", 0), ("cpus", "x"), ("mem", -1), ("mem", "x"),
        ("tags", 5), ("message", 3), ("name", 7), ("cwd", 5), ("environ", 5), ("environ", {"A=B": 1}), ("at", 1e300),
        ("begin", object()), ("setup", "\0"), ("tags", "\ud800"),
    ],
)  # fmt: skip
def test_what_no_worker_could_read_is_refused(option, value):
    queue = Queue.create("local", name="values")
    with pytest.raises(WrongUsage) as raised:
        queue.submit("true", **{option: value})
    assert "\n" not in str(raised.value)
    assert queue.read_state()["total"] == 0


@pytest.mark.parametrize("words", ["a\0b", "\ud800"])
def test_a_command_that_no_process_can_have(words):
    with pytest.raises(WrongUsage, match="a command consists of texts"):
        Queue.create(name="values").submit(words)


def test_values_may_be_said_in_words():
    job = Queue.create(name="values").submit("true", timeout="1m 30s", backoff="2s", retries=1, tags="a")
    assert {name: job.task.data["job"][name] for name in ("timeout", "backoff", "retries")} == {
        "timeout": 90.0, "backoff": 2.0, "retries": 1,
    }  # fmt: skip
    with pytest.raises(WrongUsage, match="'retries' is a whole number from 0, not -1"):
        job.home.core.edit(job.task, retries=-1)


def test_a_taken_name_leaves_nothing_behind(here):
    queue = Queue.create(name="taken")
    queue.submit("true", name="a")
    with pytest.raises(KeyError, match="there is a job 'a' in queue 'taken' already"):
        queue.submit("touch ran", name="a")
    assert queue.run(verbose=0)["total"] == 1
    assert not (here / "ran").exists()


def test_names_that_others_have_taken():
    one, other = Queue.create(name="shared"), Queue.open("shared")
    one.submit("true")
    one.submit("true", name="b")
    assert other.submit("true", depends="b").name == "shared-job-2"
    with pytest.raises(KeyError, match="'b'"):
        other.submit("true", name="b")
    assert [job.name for job in other.jobs] == ["shared-job-0", "b", "shared-job-2"]


def test_many_processes_submit_to_one_queue(kind):
    Queue.create(name="crowd").submit("true", name="first")
    text = "q = qrec.Queue.open('crowd'); print(*(q.submit('true', depends='first').name for _ in range(5)))"
    crowd = [subprocess.Popen(script(text), stdout=subprocess.PIPE, text=True) for _ in range(4)]
    names = [name for process in crowd for name in process.communicate(timeout=100)[0].split()]
    assert sorted(names) == sorted(f"crowd-job-{number}" for number in range(1, 21))
    assert len(Queue.open("crowd")) == 21


def test_what_was_refused_leaves_no_name_behind(kind, home):
    queue = Jobs(Qrec(), "names")
    queue.submit(Submission(command="true", name="a"))
    for wrong in (["b", "a"], ["b", "b"]):
        with pytest.raises(QrecError, match="already"):
            queue.submit_all([Submission(command="true", name=name) for name in wrong])
    with pytest.raises(QrecError, match="'x' is no job"):
        queue.submit(Submission(command="true", name="b", depends=("x",)))
    queue.submit(Submission(command="true", name="b", depends=("a",)))
    assert list(queue.names()) == ["a", "b"]


def test_any_recorded_task_may_be_waited_for(here):
    bad, good = package.run("false", show=False), package.run("true", show=False)
    queue = Queue.create(name="out")
    queue.submit("true", depends=good)
    queue.submit("true", depends=str(good.number))
    queue.submit("true", depends=bad.uid)
    queue.submit("true", depends_any=[bad, "out-job-0"])
    queue.submit("true", depends_failed=bad)
    queue.submit("true", depends_failed="out-job-0")
    queue.run(verbose=0)
    assert statuses(queue) == ["complete", "complete", "skipped", "complete", "complete", "skipped"]
    queue.print_graph()


def test_a_job_made_beforehand():
    queue = Queue.create(name="made")
    first = Job("true", name="first", tags="t")
    assert queue.submit(first) is first
    second = queue.submit(Job("true", depends=first))
    assert (second.name, second.depends, first.queue) == ("made-job-1", [first], queue)
    with pytest.raises(KeyError, match="'first'"):
        queue.submit(first)
    assert len(queue) == 2


def test_jobs_that_keep_the_books_are_not_counted(here):
    queue = Queue.create(name="books")
    queue.submit("touch ran", name="books", bookkeeper=1)
    named = queue.submit("true")
    assert (len(queue), queue.num_real_jobs, len(queue.jobs), named.name) == (1, 1, 2, "books-job-0")
    queue.run(verbose=0)
    assert (ends(queue), queue.read_state()["total"]) == ((1, 0, 0), 1)
    assert (here / "ran").exists()


def test_unknown_keywords_are_told_of_once():
    with pytest.warns(UserWarning, match=r"Queue\.create knows no sizes= and passes it over; is size= meant"):
        queue = Queue.create(name="warns", sizes=3)
    with pytest.warns(UserWarning, match="submit knows no kwd=.*is cwd= meant") as caught:
        queue.submit("true", kwd="/")
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        queue.submit("true", kwd="/")
        queue.submit("true", partition="short", gres="gpu:1", hold=True, log=True, info_dpath="x")
    with pytest.warns(UserWarning, match="run knows no blocks="):
        queue.run(verbose=0, blocks=True)
    assert ends(queue) == (3, 0, 0)


def test_what_can_never_run_is_refused():
    queue = Queue.create(name="never")
    with pytest.raises(Refused, match="can never run: it asks for 100000 CPUs"):
        queue.submit("true", cpus=100000)
    with pytest.raises(Refused, match="of memory"):
        queue.submit("true", mem="900TB")
    assert queue.submit("true", mem=1, cpus=1).task.data["job"] == {
        **queue.jobs[0].task.data["job"], "mem": 1_000_000, "cpus": 1,
    }  # fmt: skip


def test_gpus():
    queue = Queue.create("local", "gpus", size=3, gpus="7,8")
    one = queue.submit("echo $CUDA_VISIBLE_DEVICES")
    both = queue.submit("echo $CUDA_VISIBLE_DEVICES", gpus=2)
    none = queue.submit("echo [$CUDA_VISIBLE_DEVICES]", gpus=0)
    queue.run()
    assert one.log_fpath.read_text() == "7\n"
    assert sorted(both.log_fpath.read_text().strip().split(",")) == ["7", "8"]
    assert none.log_fpath.read_text() == "[]\n"
    without = Queue.create(name="gpus")
    with pytest.warns(UserWarning, match="the queue has none"):
        without.submit("true", gpus=1)
    assert without.run(verbose=0)["passed"] == 1


def test_options_of_qrec(here):
    queue = Queue.create(name="ours")
    tried = queue.submit("echo x >> tries; test $(wc -l < tries) = 3", retries=2, backoff=0.01)
    long = queue.submit("sleep 60", timeout=0.2)
    late = queue.submit("true", begin=0.2)
    queue.submit("echo low >> order", priority=1)
    queue.submit("echo high >> order", priority=2)
    queue.run(verbose=0)
    assert [job.status for job in (tried, long, late)] == ["complete", "failed", "complete"]
    assert long.task.returncode == 124
    assert str(late.task.started) > late.task.created
    assert (here / "order").read_text().split() == ["high", "low"]
    with pytest.raises(QrecError, match="no time to come"):
        queue.submit("true", begin="soon")


# What goes around the jobs


def test_values_of_the_environment_are_exact(kind):
    value = """it's "$(touch x)" `touch x` $HOME \\ \t\n"""
    queue = Queue.create(name="env", environ={"V": value, "N": 1})
    job = queue.submit('printf "%s" "$V$N$W"', environ={"W": value, "N": "2"})
    queue.run(verbose=0)
    assert job.log_fpath.read_text() == f"{value}2{value}"


def test_secrets_reach_the_job_and_no_record(home, here):
    secret = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789ABCDEF"
    queue = Queue.create(name="secret", environ={"OPENAI_API_KEY": secret, "PLAIN": "x"})
    queue.submit("echo $OPENAI_API_KEY > told", name="one")
    queue.change_backend("serial", name="copy").run(verbose=0)
    assert (here / "told").read_text() == f"{secret}\n"
    private = "*.words"  # for the workers, until the jobs have run
    for path in (path for path in home.rglob("*") if path.is_file() and not path.match(private)):
        assert secret.encode() not in path.read_bytes()
    assert queue.core.policy["env"] == {"PLAIN": "x"}
    (here / "told").unlink()
    opened = Queue.open("secret")
    opened.change_backend("serial", name="copy").run(verbose=0)
    assert (here / "told").read_text() == f"{secret}\n"
    with pytest.warns(UserWarning, match="secrets are left out of the script"):
        assert secret not in queue.finalize_text()
    queue.run(verbose=0)
    with pytest.raises(Refused, match="secrets of the job 'one'"):
        Queue.open("secret").change_backend("serial")


def test_a_preamble_is_for_the_jobs_before_it_as_well(kind, here):
    queue = Queue.create(name="pre", preamble=["a=1"])
    queue.submit("echo $a$b$c >> ran", preamble="c=${b}3", setup=["d=4", "echo $d >> ran"])
    queue.add_preamble_command("b=2")
    queue.submit("echo $a$b >> ran")
    queue.header_commands.append("e=5")
    queue.submit("echo $a$e >> ran")
    text = queue.finalize_text()
    assert (text.count("a=1"), text.count("b=2")) == (1, 1)
    queue.run(verbose=0)
    assert (here / "ran").read_text().split() == ["4", "1223", "12", "15"]
    (here / "ran").unlink()
    subprocess.run([queue.write()], check=True, capture_output=True)
    assert (here / "ran").read_text().split() == ["4", "1223", "12", "15"]


def test_a_copy_has_all_that_was_asked_for(here):
    queue = Queue.create("tmux", "origin", size=2, preamble="p=1", environ={"E": "e"})
    bad = queue.submit("false", name="bad", tags="t")
    queue.submit("echo $p$E$s >> ran", depends_failed=bad, setup="s=2", teardown="echo torn >> ran")
    queue.submit("echo any >> ran", depends=None, depends_any=["bad", "origin-job-1"])
    for copy in (queue.change_backend("serial"), Queue.open("origin").change_backend("serial")):
        assert [job.name for job in copy.jobs] == [job.name for job in queue.jobs]
        copy.run(verbose=0)
        assert (here / "ran").read_text().split() == ["1e2", "torn", "any"]
        assert copy.jobs[0].task.tags == ("t",)
        (here / "ran").unlink()
    assert statuses(queue) == ["queued"] * 3


def test_size_may_be_changed():
    queue = Queue.create("local", "size", size=2)
    queue.size = 3
    assert (Queue.open("size").size, queue.core.policy["workers"]) == (3, 3)
    with pytest.raises(ValueError, match="one slot"):
        queue.size = 0


# Files of jobs


def test_files_tell_how_jobs_have_ended(tmp_path):
    queue = Queue.create(name="files", dpath=tmp_path / "folder")
    good = queue.submit("echo out; echo err >&2")
    bad = queue.submit("exit 3")
    skipped = queue.submit("true", depends=bad)
    assert not any(path.exists() for job in queue.jobs for path in (job.log_fpath, job.stat_fpath, job.pass_fpath))
    queue.run(verbose=0)
    there = [[path.exists() for path in (job.pass_fpath, job.fail_fpath, job.skip_fpath)] for job in queue.jobs]
    assert there == [[True, False, False], [False, True, False], [False, False, True]]
    assert sorted(good.log_fpath.read_text().split()) == ["err", "out"]
    assert (bad.log_fpath.read_text(), skipped.log_fpath.exists()) == ("", False)
    assert [json.loads(job.stat_fpath.read_text())["ret"] for job in queue.jobs] == [0, 3, None]
    assert good.log_fpath.is_relative_to(tmp_path / "folder")
    assert good.log_fpath.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Refused, match="in no queue yet"):
        _ = Job("true").log_fpath


def test_files_are_in_the_cache_by_default(user_home, monkeypatch, tmp_path):
    assert Queue.create(name="there").dpath.is_relative_to(user_home / ".cache" / "qrec")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    queue = Queue.create(name="there")
    assert queue.write().is_relative_to(tmp_path / "cache")
    assert queue.dpath.stat().st_mode & 0o777 == 0o700


# Others


def running(here: Path, queue: Queue) -> int:
    """Have a job run that does not end by itself; its pid."""
    queue.submit("echo $$ > pid; sleep 600")
    queue.submit("touch next")
    queue.run(block=False)
    return int(wait_until(lambda: (here / "pid").exists() and (here / "pid").read_text()))


def test_jobs_of_the_same_name_that_still_run_are_ended(here, monkeypatch):
    monkeypatch.setattr("sys.stdin", None)
    old = Queue.create(name="busy")
    pid = running(here, old)
    assert old.read_state()["status"] == "run"
    new = Queue.create(name="busy")
    wait_until(lambda: is_gone(pid))
    assert statuses(old) == ["cancelled"] * 2
    new.submit("touch new")
    assert not (here / "new").exists()
    assert new.run(verbose=0)["passed"] == 1
    assert not (here / "next").exists()


def test_jobs_of_the_same_name_may_be_left_alone(here):
    old = Queue.create(name="busy")
    pid = running(here, old)
    new = Queue.create(name="busy", other_session_handler="ignore")
    assert (statuses(old), new.read_state()["total"]) == (["running", "cancelled"], 0)
    assert not is_gone(pid)
    old.jobs[0].home.core.cancel([old.jobs[0].task])


def yes(question: str) -> str:
    print(question)
    return "y"


def test_nobody_to_be_asked_is_a_no(here, monkeypatch, capsys):
    pid = running(here, Queue.create(name="busy"))
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(EOFError))
    with pytest.raises(Refused, match="still at work"):
        Queue.create(name="busy", other_session_handler="ask")
    assert not is_gone(pid)
    monkeypatch.setattr("builtins.input", yes)
    Queue.create(name="busy", other_session_handler="ask")
    wait_until(lambda: is_gone(pid))
    assert "'busy' is still at work" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: Queue.create(name="x", other_session_handler="unheard-of"), KeyError),
        (lambda: Queue.create("serial", "x").run(other_session_handler="unheard-of"), KeyError),
        (lambda: Queue.create("serial", "x").run(monitor="unheard-of"), ValueError),
        (lambda: Queue.create("airflow"), UnknownBackendError),
        (lambda: Queue.create("local", size=0), ValueError),
    ],
)
def test_what_there_is_not(call, error):
    with pytest.raises(error):
        call()


def test_queues_without_a_name_do_not_meet():
    one, two = Queue.create(), Queue.create()
    assert (one.name, two.name) == ("unnamed", "unnamed-2")
    one.submit("true")
    two.submit("true")
    assert (one.run(verbose=0)["passed"], two.run(verbose=0)["passed"]) == (1, 1)
    assert Queue.create().name == "unnamed"


def test_a_queue_that_runs_by_itself(here):
    queue = Queue.create(name="alone")
    queue.submit("touch one; while [ ! -e go ]; do sleep 0.01; done")
    queue.submit("touch two")
    assert queue.run(block=False) is None
    wait_until((here / "one").exists)
    assert queue.read_state()["status"] == "run"
    (here / "go").touch()
    assert queue.monitor() == {"name": "alone", "status": "done", "passed": 2, "failed": 0, "skipped": 0, "total": 2}


def test_monitoring_what_nobody_runs_ends():
    queue = Queue.create(name="idle")
    queue.submit("true")
    assert queue.monitor()["status"] == "init"


def test_killed(here):
    queue = Queue.create(name="killed")
    pid = running(here, queue)
    queue.kill()
    wait_until(lambda: is_gone(pid))
    assert (queue.read_state()["status"], ends(queue)) == ("done", (0, 0, 2))
    queue.kill()


# As a script


def test_output_is_shown_by_a_serial_queue(capfd):
    queue = Queue.create(name="shown")
    queue.submit("echo quiet")
    queue.run(verbose=0)
    assert "quiet" not in capfd.readouterr().out
    queue.submit("echo loud")
    queue.run()
    assert "loud" in capfd.readouterr().out
    queue.current_output()
    assert capfd.readouterr().out == "--- shown-job-0 [complete]\nquiet\n--- shown-job-1 [complete]\nloud\n"


def test_ctrl_c_ends_the_script_after_what_runs(here, tmp_path):
    text = """
q = qrec.Queue.create(name='c')
q.submit('echo $$ > pid; while [ ! -e go ]; do sleep 0.01; done; touch ended')
q.submit('touch next')
q.run()
open('after', 'w')
"""
    with open(tmp_path / "err", "wb") as err:
        process = subprocess.Popen(script(text), stderr=err, start_new_session=True)
    wait_until((here / "pid").exists)
    process.send_signal(signal.SIGINT)
    (here / "go").touch()
    assert process.wait(60) == -signal.SIGINT
    assert (tmp_path / "err").read_text().splitlines()[-1] == "KeyboardInterrupt"
    assert sorted(path.name for path in here.iterdir()) == ["ended", "go", "pid"]
    queue = Queue.open("c")
    assert queue.read_state()["status"] == "stopped"
    assert queue.run(verbose=0)["passed"] == 2


def test_a_script_that_is_told_to_go_leaves_its_jobs(here):
    text = "q = qrec.Queue.create(name='t'); q.submit('echo $$ > pid; sleep 600'); q.run(); open('after', 'w')"
    process = subprocess.Popen(script(text), start_new_session=True)
    pid = int(wait_until(lambda: (here / "pid").exists() and (here / "pid").read_text()))
    process.terminate()  # at a moment when the job's pid is in no record yet, like as not
    assert process.wait(60) == -signal.SIGTERM
    assert not is_gone(pid)
    assert not (here / "after").exists()
    Queue.open("t").kill()
    wait_until(lambda: is_gone(pid))


def test_colours_are_for_terminals(capfd):
    Queue.create(name="colours").submit("echo 'red'", name="job")
    Queue.open("colours").print_commands()
    plain = capfd.readouterr().out
    assert "\x1b" not in plain
    show = script("qrec.Queue.open('colours').print_commands()")
    with Terminal(show, TERM="xterm") as terminal:
        terminal.end()
        assert b"\x1b[" in terminal.seen
    with Terminal(show, TERM="xterm", NO_COLOR="1") as terminal:
        terminal.end()
        assert terminal.seen.replace(b"\r\n", b"\n").decode() == plain


def test_a_script_without_the_jobs_of_a_tag(here):
    queue = Queue.create(name="tags")
    queue.submit("touch left-out", name="out", tags="chore")
    queue.submit("touch kept", depends="out")
    queue.submit("touch any", depends_any="out")
    text = queue.finalize_text(exclude_tags="chore")
    subprocess.run(["bash", "-c", text], check=True, capture_output=True)
    assert {path.name for path in here.iterdir()} >= {"kept", "any"}
    assert not (here / "left-out").exists()


def test_a_long_chain_is_drawn(capfd):
    queue = Queue.create("local", "chain")
    last = None
    for _ in range(300):
        last = queue.submit("true", depends=last)
    capfd.readouterr()
    queue.print_graph()
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith("chain-job-299")]
    assert max(map(len, lines)) < 40


# Slurm, as far as it goes without one


def test_options_of_sbatch():
    said = {
        "partition": "a b", "cpus_per_task": 2, "hold": True, "requeue": 0, "account": None, "exclusive": True,
        "nice": 5, "mem": 100, "begin": 60, "log": True, "nodes": "2-4", "output_fpath": "/o",
    }  # fmt: skip
    assert slurm_options(said) == {
        "partition": "a b", "cpus-per-task": "2", "hold": True, "exclusive": True, "nice": "5", "begin": "now+60",
        "nodes": "2-4", "output": "/o",
    }  # fmt: skip


def test_calls_of_sbatch_are_printed(capfd):
    queue = Queue.create("slurm", "pond", partition="short", mem="8GB", gpus=1, preamble="module load x")
    queue.submit("echo 'a'", name="one", cpus=4, timeout=90)
    queue.submit(
        "true", name="a: b", depends="one", depends_any=[], partition="long", mem=100, gpus=0, begin="now+1hour"
    )
    queue.print_commands(style="plain")
    first, second = (line for line in capfd.readouterr().out.splitlines() if line.startswith("JOB_"))
    for option in "--cpus-per-task=4 --mem=8000M --gres=gpu:1 --partition=short --time=1:30 --job-name=one".split():
        assert option in first.split()
    for option in ["--mem=100M", "--partition=long", "'--job-name=a: b'", '"--dependency=afterok:$JOB_1"']:
        assert option in second
    assert "--begin=now+1hour" in second
    assert "gres" not in second
    assert os.environ.get("SLURM_JOB_ID") is None
