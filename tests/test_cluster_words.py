"""What is made of Slurm's words, and how often it is asked: without a Slurm, with programs that stand in for it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.errors import Refused
from qrec.executors import slurm_asker, slurm_calls, slurm_jobs
from qrec.executors.slurm import SlurmExecutor
from qrec.executors.slurm_asker import Asker
from qrec.executors.slurm_calls import NoAnswer
from qrec.executors.slurm_jobs import MARK, QUEUE, Job, ours, same, status_of, whole
from qrec.task import Status
from qrec.testing.stores import make
from tests.helpers import ROOT, wait_until


def job(jobid: str = "42", state: str = "RUNNING", **values) -> Job:
    return Job(**{"jobid": jobid, "raw": jobid, "state": state, "submit": 1000.0, **values})


# States and codes


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("PENDING", Status.SUBMITTED),
        ("REQUEUE_HOLD", Status.SUBMITTED),
        ("SPECIAL_EXIT", Status.SUBMITTED),
        ("COMPLETING", Status.RUNNING),
        ("SUSPENDED", Status.RUNNING),
        ("COMPLETED", Status.COMPLETE),
        ("TIMEOUT", Status.FAILED),
        ("DEADLINE", Status.FAILED),
        ("REVOKED", Status.CANCELLED),
        ("SOMETHING_NEW", None),
        ("", None),
    ],
)
def test_what_a_state_stands_for(state, status):
    assert status_of(job(state=state)) is status


@pytest.mark.parametrize("state", ["NODE_FAIL", "PREEMPTED"])
def test_a_job_that_may_come_back_is_over_only_if_the_queue_agrees(state):
    assert status_of(job(state=state, sure=True)) is Status.FAILED
    assert status_of(job(state=state, sure=False)) is None


def test_a_dependency_that_cannot_be_satisfied_keeps_a_job_waiting_until_it_is_cancelled():
    reason = "DependencyNeverSatisfied"
    assert status_of(job(state="PENDING", reason=reason)) is Status.SUBMITTED
    assert status_of(job(state="CANCELLED", reason=reason)) is Status.CANCELLED


@pytest.mark.parametrize(
    ("state", "exitcode", "ending"),
    [
        ("COMPLETED", "0:0", (0, None)),
        ("FAILED", "3:0", (3, None)),
        ("FAILED", "127:0", (127, None)),
        ("FAILED", "137:0", (137, None)),
        ("FAILED", "0:9", (137, 9)),
        ("FAILED", "0:53", (125, None)),
        ("FAILED", "0:125", (137, 9)),
        ("OUT_OF_MEMORY", "0:0", (137, 9)),
        ("TIMEOUT", "0:0", (124, None)),
        ("TIMEOUT", "0:15", (124, None)),
        ("CANCELLED", "0:15", (143, 15)),
        ("CANCELLED", "0:0", (None, None)),
        ("NODE_FAIL", "0:0", (None, None)),
        ("RUNNING", "0:0", (None, None)),
        ("FAILED", "", (None, None)),
    ],
)
def test_codes(state, exitcode, ending):
    told = job(state=state, exitcode=exitcode)
    assert (told.returncode, told.signal) == ending


@pytest.mark.parametrize(
    ("status", "exitcode"),
    [("0", "0:0"), ("768", "3:0"), ("9", "0:9"), ("139", "0:11"), ("4021", "0:53"), ("253", "0:125"), ("", "0:0")],
)
def test_the_queue_tells_a_wait_status(status, exitcode):
    assert slurm_jobs.exitcode(status) == exitcode


@pytest.mark.parametrize(
    ("parent", "kinds", "status"),
    [
        (Status.COMPLETE, "failed", Status.SKIPPED),
        (Status.FAILED, "", Status.SKIPPED),
        (Status.COMPLETE, "", Status.CANCELLED),
        (Status.FAILED, "any", Status.CANCELLED),
    ],
)
def test_a_job_that_slurm_took_away_is_skipped_where_its_parents_ended_otherwise_fake(home, parent, kinds, status):
    """The controller may tell that it was cancelled, and not why."""
    door = Qrec()
    first = door.store.add(make(queue="q", status=parent))
    asked = {"job": {kinds: [first.uid]}} if kinds else {}
    task = door.store.add(
        make(executor="queue", queue="q", status=Status.SUBMITTED, after=(first.uid,), data={**asked, "slurm": {}})
    )
    executor = door.executor("slurm")
    assert isinstance(executor, SlurmExecutor)
    assert executor.close(task, Status.CANCELLED, {}, job(state="CANCELLED", reason="Dependency")).status is status


# Which job is ours


def test_an_id_that_was_given_again_is_not_ours_fake():
    assert same(job(submit=1000.0), None, known_submit=1000.0)
    assert not same(job(submit=1007.0), None, known_submit=1000.0)
    assert not same(job(submit=1000.0 + 86400), 1000.0, None)
    assert same(job(submit=1007.0), 1000.0, None)


def test_a_job_that_was_put_back_is_still_ours_fake():
    assert same(job(submit=1500.0, restarts=1), None, 1000.0)
    assert same(job(submit=1500.0, earlier=(1000.0,)), None, 1000.0)
    assert not same(job(submit=1500.0, earlier=(1200.0,)), None, 1000.0)
    assert not same(job(submit=500.0, restarts=1), None, 1000.0)


def test_ours_is_the_newest_run_of_our_job_fake():
    first = job(state="COMPLETED")
    stranger = job(state="FAILED", submit=9000.0)
    assert ours([first, stranger], None, 1000.0) == (first,)
    again = job(state="COMPLETED", submit=2000.0, earlier=(1000.0,))
    assert ours([again, job(state="REQUEUED")], None, 1000.0) == (again,)
    assert ours([stranger], None, 1000.0) == ()


# Arrays


@pytest.mark.parametrize(
    ("states", "state"),
    [
        ("COMPLETED COMPLETED", "COMPLETED"),
        ("COMPLETED FAILED CANCELLED", "FAILED"),
        ("COMPLETED TIMEOUT", "TIMEOUT"),
        ("COMPLETED CANCELLED", "CANCELLED"),
        ("FAILED RUNNING PENDING", "RUNNING"),
        ("FAILED PENDING", "RUNNING"),
        ("PENDING PENDING", "PENDING"),
        ("COMPLETED NEWER_WORD", "NEWER_WORD"),
    ],
)
def test_a_whole_array(states, state):
    tasks = [job(f"42_{n}", word) for n, word in enumerate(states.split())]
    told = whole(tasks)
    assert (told.jobid, told.state) == ("42", state)
    assert sum(told.counts.values()) == len(tasks)


def test_an_array_counts_adds_up_and_takes_the_largest_memory():
    tasks = [
        job("42_0", "COMPLETED", start=10.0, end=20.0, used={"cpu": 1.0, "memory": 7}),
        job("42_1", "FAILED", start=5.0, end=15.0, used={"cpu": 2.0, "memory": 5}, exitcode="3:0"),
    ]
    told = whole(tasks)
    assert (told.start, told.end, told.used) == (5.0, 20.0, {"cpu": 3.0, "memory": 7})
    assert (told.returncode, told.counts) == (3, {"COMPLETED": 1, "FAILED": 1})


def test_the_last_run_of_each_task_counts():
    runs = [job("42_0", "COMPLETED", submit=2000.0), job("42_0", "REQUEUED"), job("42_1", "COMPLETED")]
    assert whole(runs).counts == {"COMPLETED": 2}
    assert status_of(whole([job("42", "REQUEUED"), job("42", "COMPLETED", submit=2000.0)])) is Status.COMPLETE


def test_an_array_of_which_tasks_are_not_seen_is_not_over():
    tasks = [job("42_0", "COMPLETED")]
    assert status_of(whole(tasks, expected=2)) is Status.RUNNING
    assert status_of(whole([*tasks, job("42_1", "COMPLETED")], expected=2)) is Status.COMPLETE


def test_tasks_that_accounting_tells_of_in_one_row():
    names = [one.jobid for one in slurm_jobs.unfolded(job("6_[0-2,8,10-14:2%4]"))]
    assert names == ["6_0", "6_1", "6_2", "6_8", "6_10", "6_12", "6_14"]
    assert [one.jobid for one in slurm_jobs.unfolded(job("6_[0,3,..."))] == ["6_[0,3,..."]
    assert [one.jobid for one in slurm_jobs.unfolded(job("6_1"))] == ["6_1"]


# What is printed


def queue_row(jobid: str, state: str = "RUNNING", **values: str) -> str:
    """A row as squeue prints it; newlines and all."""
    row = {**dict.fromkeys(QUEUE, "N/A"), "JobArrayID": jobid, "JobID": jobid, "State": state, "SubmitTime": "1000"}
    row.update(values)
    return "".join(f"{row[name]:{width}}{MARK}" for name, width in QUEUE.items()) + "\n"


def books_row(jobid: str, state: str, submit: int = 1000, **values: str) -> str:
    row = {**dict.fromkeys(slurm_jobs.ACCOUNTS, ""), "JobID": jobid, "JobIDRaw": jobid, "State": state}
    row.update({"Submit": str(submit), "ExitCode": "0:0", **values})
    return MARK.join(row[name] for name in slurm_jobs.ACCOUNTS) + "\n"


def test_rows_of_the_queue():
    text = "CLUSTER: far\n" + queue_row("7", Name="a|b\n8\nc", Comment="x, y") + queue_row("9_1", "PENDING")
    first, second = slurm_jobs.jobs_in_queue(text, "far")
    assert (first.jobid, first.name, first.comment, first.cluster) == ("7", "a|b\n8\nc", "x, y", "far")
    assert (second.jobid, second.state, second.reason) == ("9_1", "PENDING", "")


def test_the_queue_guesses_when_a_job_starts_and_ends():
    waits, runs, over = slurm_jobs.jobs_in_queue(
        "".join(
            queue_row(jobid, state, StartTime="2000", EndTime="3000")
            for jobid, state in (("1", "PENDING"), ("2", "RUNNING"), ("3", "COMPLETED"))
        )
    )
    assert (waits.expected, waits.start, waits.end) == (2000.0, None, None)
    assert (runs.expected, runs.start, runs.end) == (None, 2000.0, None)
    assert (over.start, over.end, over.used) == (2000.0, 3000.0, {"elapsed": 1000.0})


def test_rows_of_accounting_with_their_steps():
    text = (
        books_row("7", "CANCELLED by 0", ElapsedRaw="61", TotalCPU="01:00.500", TimelimitRaw="60", JobName="a\n8 b")
        + books_row("7.batch", "CANCELLED", MaxRSS="2816K")
        + books_row("7.0", "COMPLETED", MaxRSS="1.5G")
        + books_row("7.extern", "COMPLETED")
        + books_row("8", "RUNNING", ReqTRES="billing=1,cpu=2,gres/gpu=1,mem=100M,node=1", TimelimitRaw="UNLIMITED")
        + books_row("8.batch", "RUNNING", MaxRSS="1K")
    )
    first, second = slurm_jobs.jobs_in_accounts(text)
    assert first.used == {"elapsed": 61, "cpu": 60.5, "memory": 3 << 29}
    assert (first.state, first.name, first.requested) == ("CANCELLED", "a\n8 b", {"time": 3600.0})
    assert (second.used, second.accounted) == ({}, False)
    assert second.requested == {"cpus": 2, "memory": 100 << 20, "gres": "gpu=1"}


def test_runs_that_were_put_back_are_chained():
    text = books_row("7", "REQUEUED", 1000) + books_row("7", "NODE_FAIL", 2000) + books_row("7", "COMPLETED", 3000)
    assert [run.earlier for run in slurm_jobs.jobs_in_accounts(text)] == [(), (1000.0,), (1000.0, 2000.0)]
    text = books_row("7", "RUNNING", 1000) + books_row("7", "COMPLETED", 3000)
    assert [run.earlier for run in slurm_jobs.jobs_in_accounts(text)] == [(), ()]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1-02:03:04", 93784.0), ("02:03:04", 7384.0), ("03:04.567", 184.567), ("UNLIMITED", None), ("", None)],
)
def test_durations(text, seconds):
    assert slurm_jobs.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"), [("308K", 315392), ("1.5G", 3 << 29), ("12", 12), ("4Gn", 4 << 30), ("", None)]
)
def test_sizes(text, size):
    assert slurm_jobs.size(text) == size


def test_times_are_read_in_either_form():
    assert slurm_jobs.epoch("1795321268") == 1795321268.0
    assert slurm_jobs.epoch(time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(1795321268))) == 1795321268.0
    assert [slurm_jobs.epoch(word) for word in ("Unknown", "N/A", "0", "")] == [None] * 4


def test_details_of_jobs():
    first, second = slurm_jobs.described(
        "JobId=1 JobName=a b=c\nname Q=1\n   UserId=root(0) GroupId=root(0)\n"
        "   JobState=PENDING Reason=Nodes required for job are DOWN Dependency=(null)\n"
        "   NumCPUs=1 CPUs/Task=1 ReqB:S:C:T=0:0:*:*\n   Comment=x WorkDir=y\n   StdOut=/a b/c=d\n   Power=\n   \n\n"
        "JobId=2 ArrayJobId=1 ArrayTaskId=0-3 JobName=wrap\n   JobState=RUNNING Reason=None\n\n"
    )
    assert first["JobName"] == "a b=c\nname Q=1"
    assert (first["Reason"], first["Dependency"]) == ("Nodes required for job are DOWN", "")
    assert (first["Comment"], first["StdOut"], first["CPUs/Task"]) == ("x WorkDir=y", "/a b/c=d", "1")
    assert second == {"JobId": "2", "ArrayJobId": "1", "ArrayTaskId": "0-3", "JobName": "wrap", "JobState": "RUNNING",
                      "Reason": ""}  # fmt: skip


def test_jobs_go_through_json():
    told = job("42_1", "COMPLETED", earlier=(1.0, 2.0), used={"cpu": 1.5}, start=3.0)
    assert Job.from_plain({**json.loads(json.dumps(told.asdict())), "later": "field"}) == told


def test_ids_go_into_calls_that_are_not_too_long():
    ids = [str(10**9 + n) for n in range(20_000)]
    parts = list(slurm_calls.chunks(ids))
    assert [jobid for part in parts for jobid in part] == ids
    assert len(parts) == 3
    assert max(len(",".join(part)) for part in parts) < 100_000
    assert list(slurm_calls.chunks([])) == []


# Calling programs


@pytest.fixture
def program(tmp_path, monkeypatch):
    """`program("squeue", "echo hi")` puts a program first on PATH; `calls` tells how often it was called."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    def program(name: str, script: str) -> None:
        fresh = folder / f"{name}.new"
        fresh.write_text(f'#!/bin/sh\necho "$@" >>{folder}/{name}.calls\n{script}\n')
        fresh.chmod(0o755)
        fresh.rename(folder / name)

    program.folder = folder  # type: ignore[attr-defined]
    return program


def calls(program, name: str) -> int:
    path: Path = program.folder / f"{name}.calls"
    return len(path.read_text().splitlines()) if path.exists() else 0


def prints(text: str, folder: Path, name: str) -> str:
    (folder / name).write_text(text)
    return f"cat {folder / name}"


DOWN = 'echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2; exit 1'
NO_BOOKS = 'echo "sacct: error: Problem talking to the database: Connection refused" >&2; exit 1'


def test_a_program_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = slurm_calls.ask([(None, "1")])
    assert answer.trouble == "squeue is not on PATH here; sacct is not on PATH here"
    assert (answer.jobs, answer.unknown, answer.at) == ({}, frozenset(), 0.0)


def test_a_program_that_hangs_is_killed_with_all_it_started(program):
    program("squeue", "sleep 1000 & echo $! >$0.pid; wait")
    with pytest.raises(NoAnswer, match=r"squeue did not answer within 0\.5 s"):
        slurm_calls.call(["squeue"], 0.5)
    path = program.folder / "squeue.pid"
    if path.exists():  # it may have been killed before it got that far
        wait_until(lambda: not alive(int(path.read_text())))


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_variables_that_meddle_are_taken_away(program, monkeypatch):
    for name in ("SQUEUE_FORMAT", "SACCT_FORMAT", "SLURM_CLUSTERS", "SBATCH_X", "SLURM_TIME_FORMAT", "SLURM_CONF"):
        monkeypatch.setenv(name, "x")
    program("squeue", "env | grep -E '^(SL|SB|SQ|SA|LC_ALL)' | sort; cat")
    words = slurm_calls.call(["squeue"]).out.split()
    assert words == ["LC_ALL=C", "SLURM_CONF=x", "SLURM_TIME_FORMAT=%s"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (DOWN, "squeue: Unable to contact slurm controller (connect failure)"),
        ("echo 'squeue: error: No such thing' >&2; echo more >&2; exit 1", "squeue: No such thing"),
        ("echo 'squeue: error: lookup' >&2; echo 'squeue: fatal: No source' >&2; exit 1", "squeue: No source"),
        ("exit 3", "squeue: ended with 3"),
    ],
)
def test_complaints_are_one_line(program, text, line):
    program("squeue", text)
    assert slurm_calls.complaint(slurm_calls.call(["squeue"]), "squeue") == line


def test_an_unknown_id_is_no_trouble(program):
    program("squeue", 'echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1')
    program("sacct", "true")
    answer = slurm_calls.ask([(None, "1")])
    assert (answer.trouble, answer.calls, set(answer.unknown)) == ("", 2, {(None, "1")})


def test_one_bad_id_does_not_hide_the_others(program):
    """As squeue does it: what is too large for an id makes it refuse the whole list."""
    bad = 'echo "squeue: error: Invalid job id: 4000000000" >&2; exit 1'
    rows = queue_row("1") + queue_row("2") + queue_row("3")
    program("squeue", f'case "$*" in *4000000000*) {bad};; esac; ' + prints(rows, program.folder, "rows"))
    program("sacct", "true")
    answer = slurm_calls.ask([(None, jobid) for jobid in ("1", "4000000000", "2", "3")])
    assert set(answer.jobs) == {(None, "1"), (None, "2"), (None, "3")}
    assert (answer.trouble, set(answer.unknown)) == ("", {(None, "4000000000")})


def test_no_accounts_are_no_trouble(program):
    program("squeue", "true")
    program("sacct", 'echo "Slurm accounting storage is disabled" >&2; exit 1')
    assert slurm_calls.ask([(None, "1")]).trouble == ""


@pytest.mark.parametrize("jobid", ["--help", "1 2", "1,2", "", "x", "1\n"])
def test_what_is_no_id_is_not_asked_for(program, jobid):
    program("squeue", "true")
    program("sacct", "true")
    assert slurm_calls.ask([(None, jobid)]).calls == 0
    with pytest.raises(Refused, match="no id of a Slurm job"):
        slurm_calls.cancel(jobid)


def test_each_cluster_is_asked_by_itself(program):
    program("squeue", prints(queue_row("1") + queue_row("2"), program.folder, "rows"))
    answer = slurm_calls.ask([(None, "1"), ("far", "2"), (None, "2")])
    assert answer.calls == 2
    assert set(answer.jobs) == {(None, "1"), ("far", "2"), (None, "2")}
    assert "--clusters=far" in (program.folder / "squeue.calls").read_text()


def test_only_accounting_says_what_left_the_queue(program):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    program("sacct", prints(books_row("2", "FAILED", ExitCode="3:0"), program.folder, "books"))
    answer = slurm_calls.ask([(None, "1"), (None, "2"), (None, "3")])
    assert [jobs[-1].state for jobs in answer.jobs.values()] == ["RUNNING", "FAILED"]
    assert answer.unknown == {(None, "3")}
    assert (program.folder / "sacct.calls").read_text().endswith("--jobs 2,3\n")


def test_accounting_that_lags_does_not_revive_a_job(program):
    program("squeue", prints(queue_row("1", "COMPLETED", exit_code="0"), program.folder, "rows"))
    program("sacct", prints(books_row("1", "RUNNING"), program.folder, "books"))
    (told,) = slurm_calls.ask([(None, "1")]).jobs[None, "1"]
    assert (told.state, told.accounted) == ("COMPLETED", False)


def test_a_lost_job_that_accounting_thinks_is_running_is_unknown(program):
    program("squeue", "true")
    program("sacct", prints(books_row("1", "RUNNING"), program.folder, "books"))
    answer = slurm_calls.ask([(None, "1")])
    assert answer.unknown == {(None, "1")}
    assert status_of(whole(answer.jobs[None, "1"])) is Status.RUNNING


def test_a_failed_node_does_not_end_a_job_that_is_in_the_queue_again(program):
    program("squeue", prints(queue_row("1", "PENDING", RestartCnt="1", SubmitTime="2000"), program.folder, "rows"))
    program("sacct", prints(books_row("1", "NODE_FAIL"), program.folder, "books"))
    (told,) = ours(slurm_calls.ask([(None, "1")]).jobs[None, "1"], None, 1000.0)
    assert status_of(told) is Status.SUBMITTED


def test_runs_that_were_put_back_do_not_count_as_living(program):
    books = books_row("1", "REQUEUED", 1000) + books_row("1", "COMPLETED", 2000)
    program("squeue", prints(queue_row("1", "COMPLETED", SubmitTime="2000"), program.folder, "rows"))
    program("sacct", prints(books, program.folder, "books"))
    runs = slurm_calls.ask([(None, "1")]).jobs[None, "1"]
    assert [(run.state, run.accounted) for run in runs] == [("REQUEUED", False), ("COMPLETED", True)]
    program("squeue", DOWN)
    runs = slurm_calls.ask([(None, "1")]).jobs[None, "1"]
    assert [run.state for run in runs] == ["REQUEUED", "COMPLETED"]


def test_with_the_controller_down_accounting_counts_where_all_has_ended(program):
    program("squeue", DOWN)
    books = books_row("1", "COMPLETED") + books_row("2", "RUNNING") + books_row("3", "NODE_FAIL")
    books += books_row("4_0", "COMPLETED") + books_row("4_[1-2]", "PENDING")
    program("sacct", prints(books, program.folder, "books"))
    answer = slurm_calls.ask([(None, jobid) for jobid in "1234"])
    assert {key[1]: status_of(whole(jobs)) for key, jobs in answer.jobs.items()} == {"1": Status.COMPLETE, "3": None}
    assert (answer.at, answer.unknown) == (0.0, frozenset())
    assert "Unable to contact" in answer.trouble


def test_half_an_answer_is_none(program, monkeypatch):
    monkeypatch.setattr(slurm_calls, "CHUNK", 4)
    program("squeue", f'case "$*" in *22*) {DOWN};; esac; ' + prints(queue_row("11"), program.folder, "rows"))
    program("sacct", "true")
    answer = slurm_calls.ask([(None, "11"), (None, "22")])
    assert (answer.jobs, answer.unknown) == ({}, frozenset())
    assert answer.trouble


# How often is asked


class Clock:
    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def asker(tmp_path, clock) -> Asker:
    return Asker(str(tmp_path / "cache"), now=clock)


def test_many_programs_at_once_make_one_call(program, tmp_path):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    script = (
        "import sys; from qrec.executors.slurm_asker import Asker\n"
        "sys.stdin.read()\n"
        "print(Asker(sys.argv[1]).ask([(None, '1')], fresh=600).jobs[None, '1'][0].state)"
    )
    words = [sys.executable, "-c", script, str(tmp_path / "cache")]
    started = [
        subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True) for _ in range(12)
    ]
    for process in started:
        assert process.stdin
        process.stdin.close()
    for process in started:
        with process:
            assert process.stdout
            assert process.stdout.read() == "RUNNING\n"
    assert calls(program, "squeue") == 1


def test_an_answer_counts_as_new_for_a_moment(program, asker, clock):
    program("squeue", prints(queue_row("1") + queue_row("2"), program.folder, "rows"))
    one = [(None, "1")]
    assert asker.ask(one).calls == 1
    clock.time += 0.4
    again = asker.ask(one)
    assert (again.calls, again.at, again.jobs[None, "1"][0].state) == (0, 1_000_000.0, "RUNNING")
    assert asker.ask([(None, "2")]).calls == 1
    clock.time += 0.2
    assert asker.ask(one).calls == 1
    clock.time -= 1000
    assert asker.ask(one).calls == 1


def test_no_ids_cost_nothing(asker, clock):
    answer = asker.ask([])
    assert (answer.calls, answer.jobs, answer.trouble, answer.at) == (0, {}, "", clock.time)


def test_after_trouble_the_controller_is_left_alone_longer_and_longer(program, asker, clock):
    program("squeue", DOWN)
    program("sacct", "true")
    one = [(None, "1")]
    pauses = []
    for _ in range(8):
        before = calls(program, "squeue")
        assert "Unable to contact" in asker.ask(one).trouble
        assert calls(program, "squeue") == before + 1
        pause = 0
        while True:
            clock.time += 1
            pause += 1
            answer = asker.ask(one) if clock.time < until(asker) else None
            if answer is None:
                break
            assert answer.calls == 0
            assert "asked again in" in answer.trouble
        pauses.append(pause)
    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


def until(asker: Asker) -> float:
    return float(json.loads(Path(asker.path).read_text())["clusters"][""]["queue"]["until"])


def test_trouble_makes_the_state_old_and_says_so(program, asker, clock):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    asked = clock.time
    asker.ask([(None, "1")])
    clock.time += 30
    program("squeue", DOWN)
    program("sacct", "true")
    for _ in range(2):
        answer = asker.ask([(None, "1")])
        assert answer.jobs[None, "1"][0].state == "RUNNING"
        assert (answer.at, answer.unknown) == (asked, frozenset())
        assert "Unable to contact" in answer.trouble
    program("squeue", prints(queue_row("1", "COMPLETED"), program.folder, "rows"))
    assert asker.ask([(None, "1")]).jobs[None, "1"][0].state == "RUNNING"
    insisted = asker.ask([(None, "1")], insist=True)
    assert (insisted.jobs[None, "1"][0].state, insisted.trouble, insisted.at) == ("COMPLETED", "", clock.time)
    clock.time += 1
    assert asker.ask([(None, "1")]).calls == 2


def test_accounting_in_trouble_does_not_keep_the_queue_from_being_asked(program, asker, clock):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    program("sacct", NO_BOOKS)
    both = [(None, "1"), (None, "2")]
    answer = asker.ask(both)
    assert (answer.calls, list(answer.jobs), answer.unknown) == (2, [(None, "1")], frozenset())
    assert "Connection refused" in answer.trouble
    clock.time += 1
    answer = asker.ask(both)
    assert (answer.calls, calls(program, "sacct")) == (1, 1)
    assert "Connection refused" in answer.trouble
    clock.time += 1.5
    assert asker.ask([(None, "1")]).trouble == ""
    asker.ask(both)
    assert calls(program, "sacct") == 2
    clock.time += 3.5
    asker.ask(both)
    assert calls(program, "sacct") == 2


def test_one_cluster_in_trouble_does_not_hold_up_another(program, asker, clock):
    row = prints(queue_row("1"), program.folder, "rows")
    program("squeue", f'case "$*" in *far*) {DOWN};; esac; {row}')
    program("sacct", "true")
    asker.ask([("far", "1")])
    clock.time += 1
    answer = asker.ask([("far", "1"), (None, "1")])
    assert (answer.calls, list(answer.jobs)) == (1, [(None, "1")])
    assert "Unable to contact" in answer.trouble


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"version": 99}', '{"version": 1}', '{"version": 1, "clusters": []}']
)
def test_a_memory_that_cannot_be_read_is_an_empty_one(program, asker, text):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    Path(asker.path).parent.mkdir()
    Path(asker.path).write_text(text)
    assert asker.ask([(None, "1")]).calls == 1


def test_without_a_folder_it_just_asks(program, tmp_path):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    (tmp_path / "file").write_text("")
    asker = Asker(str(tmp_path / "file" / "cache"))
    for _ in range(2):
        answer = asker.ask([(None, "1")])
        assert (answer.calls, answer.jobs[None, "1"][0].state) == (1, "RUNNING")


def test_who_waits_too_long_for_another_answers_from_memory(program, tmp_path):
    program("squeue", prints(queue_row("1"), program.folder, "rows"))
    asker = Asker(str(tmp_path / "cache"), limit=0.05)
    with slurm_asker.Lock(asker.path + ".lock", 1) as held:
        assert held
        answer = asker.ask([(None, "1")])
    assert (answer.calls, answer.trouble) == (0, "another qrec is still asking Slurm")


def test_old_answers_are_forgotten(program, asker, clock):
    program("squeue", prints(queue_row("1") + queue_row("2"), program.folder, "rows"))
    asker.ask([(None, "1")])
    clock.time += Asker.KEPT + 1
    asker.ask([(None, "2")])
    assert list(json.loads(Path(asker.path).read_text())["clusters"][""]["jobs"]) == ["2"]
    assert Path(asker.path).stat().st_mode & 0o777 == 0o600


def test_ctrl_c_ends_the_call(program, monkeypatch):
    """It is in a group of its own, so the terminal does not tell it."""
    pid = program.folder / "squeue.pid"
    program("squeue", "echo $$ >$0.new.pid; mv $0.new.pid $0.pid; sleep 1000")

    def interrupted(*_, **__):
        wait_until(pid.exists)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        slurm_calls.call(["squeue"], 60)
    assert not alive(int(pid.read_text()))


def test_a_task_that_accounting_tells_of_by_the_arrays_id_counts_once():
    tasks = [slurm_jobs.Job(jobid=f"7_{n}", raw=str(7 + n), state="COMPLETED", submit=1.0) for n in range(3)]
    lagging = slurm_jobs.Job(jobid="7", raw="7", state="COMPLETED", submit=1.0)
    assert slurm_jobs.whole([*tasks, lagging]).counts == {"COMPLETED": 3}
    assert slurm_jobs.whole([lagging]) == lagging
