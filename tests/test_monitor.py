"""The live view of a queue: what it learns, how it looks, and that leaving it ends nothing."""

from __future__ import annotations

import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from rich.cells import cell_len

from qrec.api import Qrec
from qrec.errors import NoSuchQueue, NoSuchTask
from qrec.jobs import Jobs, Submission
from qrec.monitor import bar_marks, drawn, monitor, pace, shared
from qrec.task import Status, Task, timestamp
from qrec.watch import Active, View, Watch, end_of, told
from tests.helpers import kill_processes_of, wait_until
from tests.terminals import INTR, Terminal, Tmux, plain, way

WORKER = """
import sys
from qrec.api import Qrec
from qrec.worker import Worker
Worker(Qrec(), sys.argv[1], keep="keep" in sys.argv).run()
"""
MONITOR = """
import sys
from qrec.api import Qrec
from qrec.monitor import monitor
sys.exit(monitor(Qrec(), sys.argv[1], interval=0.1))
"""
CALL = [sys.executable, "-c", MONITOR, "train"]
ESCAPE = "\x1b"


@pytest.fixture
def jobs(kind) -> Jobs:
    queue = Jobs(Qrec(), "train")
    queue.create()
    return queue


@pytest.fixture
def one(home) -> Jobs:
    """The same on the default store only."""
    queue = Jobs(Qrec(), "train")
    queue.create()
    return queue


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a worker of the queue."""
    started = []

    def work(*words: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-c", WORKER, "train", *words], start_new_session=True)
        started.append(process)
        return process

    yield work
    kill_processes_of(tmp_path)
    for process in started:
        process.wait()


def submit(queue: Jobs, command: str, name: str | None = None, **more) -> Task:
    return queue.submit(Submission(command=command, name=name, **more))


def move(queue: Jobs, job: Task, *statuses: Status) -> Task:
    """Lead a job through these."""
    for status in statuses:
        job = queue.store.get(job.uid)
        was = (job.status, job.attempt)
        fields: dict[str, Any] = {}
        if status is Status.RUNNING:
            fields["started"] = timestamp()
        elif status.is_final:
            fields["ended"] = timestamp()
        if job.status.is_final and not status.is_final:
            job = queue.store.archive(job.uid, was, status)
        else:
            job = queue.store.swap(job.uid, was, status, **fields)
    return job


def piped(**popen) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(CALL, capture_output=True, timeout=60, **popen)


# What it learns


def test_how_jobs_stand(jobs):
    every = [jobs.store.get(uid) for uid in jobs.submit_all([Submission(command="true") for _ in range(5)])]
    submit(Jobs(jobs.door, "other"), "true")
    move(jobs, every[3], Status.RUNNING, Status.FAILED)
    found = jobs.store.standing(jobs.query())
    assert list(found.items()) == [(task.uid, task.status) for task in jobs.all()]
    assert jobs.store.standing(jobs.query({Status.FAILED})) == {every[3].uid: Status.FAILED}


def test_changes_are_told_once_and_nothing_is_told_of_what_was_there(jobs):
    first, second = [
        jobs.store.get(uid) for uid in jobs.submit_all([Submission(command="true", name=name) for name in ("a", "b")])
    ]
    move(jobs, first, Status.RUNNING)
    watch = Watch(Qrec(), "train")
    assert watch.look() == []
    assert list(watch.running) == [first.uid]
    move(jobs, first, Status.COMPLETE)
    move(jobs, second, Status.RUNNING, Status.FAILED)
    seen = watch.look()
    assert [(change.was, change.task.name, change.task.status) for change in seen] == [
        (Status.RUNNING, "a", Status.COMPLETE),
        (Status.QUEUED, "b", Status.FAILED),
    ]
    assert watch.look() == []
    assert [task.name for task in watch.view(9).failures] == ["b"]


def agrees(watch: Watch, queue: Jobs) -> None:
    """What is known of the queue is how it is."""
    every = queue.all()
    assert watch.statuses == {task.uid: task.status for task in every}
    assert +watch.counts == Counter(task.status for task in every)
    assert watch.running.keys() == {task.uid for task in every if task.status is Status.RUNNING}
    assert watch.waiting.keys() == {task.uid for task in every if task.status is Status.QUEUED}
    failed = {Status.FAILED, Status.LOST, Status.CANCELLED}
    assert watch.failures.keys() == {task.uid for task in every if task.status in failed}


@pytest.mark.parametrize("seed", range(4))
def test_what_is_known_stays_true_whatever_happens(jobs, seed):
    chance = random.Random(seed)
    watch = Watch(Qrec(), "train")
    watch.look()
    for _ in range(60):
        every = jobs.all()
        job = chance.choice(every) if every else None
        what = chance.randrange(8)
        if job is None or what == 0:
            [
                jobs.store.get(uid)
                for uid in jobs.submit_all([Submission(command="true") for _ in range(chance.randrange(1, 4))])
            ]
        elif what == 1 and job.status.is_final:
            jobs.store.delete(job.uid)
        elif what == 2:
            jobs.store.change(job.uid, message="a note")
        elif what == 3 and not any(job.status is Status.RUNNING for job in every):
            jobs.create(clear=True)
        elif what == 4:
            submit(Jobs(jobs.door, "other"), "true")
        elif job.status is Status.QUEUED:
            move(jobs, job, chance.choice([Status.RUNNING, Status.SKIPPED, Status.CANCELLED]))
        elif job.status is Status.RUNNING:
            move(jobs, job, chance.choice([Status.COMPLETE, Status.FAILED, Status.LOST, Status.QUEUED]))
        else:
            move(jobs, job, Status.QUEUED)
        if chance.random() < 0.5:
            watch.look()
            agrees(watch, jobs)


def test_changes_that_the_store_has_forgotten_the_events_of(one):
    job = submit(one, "true", "a")
    watch = Watch(Qrec(), "train")
    watch.look()
    move(one, job, Status.RUNNING, Status.COMPLETE)
    with one.store.together():
        for number in range(4_000):
            one.store.change(job.uid, priority=number)
    assert one.store.events()[0].sequence > watch.cursor + 1
    assert [(change.was, change.task.name) for change in watch.look()] == [(Status.QUEUED, "a")]
    agrees(watch, one)


def test_a_look_reads_what_has_changed_and_no_more(jobs, monkeypatch):
    every = [jobs.store.get(uid) for uid in jobs.submit_all([Submission(command="true") for _ in range(300)])]
    watch = Watch(Qrec(), "train")
    watch.look()
    watch.view(10)
    read: list[str] = []
    get, standing = watch.store.get, watch.store.standing

    def noted(what: str, call: Callable[[Any], Any], asked: Any) -> Any:
        read.append(what)
        return call(asked)

    monkeypatch.setattr(watch.store, "get", lambda uid: noted(uid, get, uid))
    monkeypatch.setattr(watch.store, "standing", lambda query: noted("all", standing, query))
    monkeypatch.setattr(watch, "next_refresh", float("inf"))
    assert watch.look() == []
    watch.view(10)
    assert read == []
    move(jobs, every[7], Status.RUNNING)
    watch.look()
    view = watch.view(10)
    assert read == [every[7].uid]
    assert (view.counts[Status.QUEUED], view.begun) == (299, 1)


def test_what_comes_next_and_why_not_yet(jobs):
    outside = jobs.door.run("true", show=False)
    first = submit(jobs, "true", "first")
    submit(jobs, "true", "second", depends=("first",))
    submit(jobs, "true", "third", depends=("first", "second", str(outside.number)))
    submit(jobs, "true", "later", at=time.time() + 3600)
    submit(jobs, "true", "urgent", priority=3)
    watch = Watch(Qrec(), "train")
    watch.look()
    why = [(task.name, why) for task, why in watch.view(9).waiting]
    assert why[:2] == [("urgent", "ready"), ("first", "ready")]
    assert why[2][0] == "later"
    assert why[2][1].startswith("not before ")
    assert why[3:] == [("second", "after first"), ("third", "after first and 1 more")]
    jobs.pause()
    move(jobs, first, Status.RUNNING, Status.FAILED)
    watch.look()
    view = watch.view(9)
    assert view.paused
    shown = {task.name: why for task, why in view.waiting}
    assert shown["urgent"] == "paused"
    assert shown["second"] == "will be skipped: first did not complete"


def test_what_can_never_run_says_so(one, work):
    one.set(mem=1 << 60, paused=True)
    submit(one, "true", "huge", mem=1 << 59)
    work("keep")
    watch = Watch(Qrec(), "train")
    wait_until(lambda: (watch.look(), watch.view(0).workers)[1])
    one.set(mem=1 << 20)
    watch.look()
    assert watch.view(9).waiting[0][1].startswith("can never run: it asks for")


def test_the_pace_and_the_time_left(one):
    every = [one.store.get(uid) for uid in one.submit_all([Submission(command="true") for _ in range(10)])]
    watch = Watch(Qrec(), "train")
    watch.look()
    move(one, every[0], Status.RUNNING)
    watch.look()
    assert watch.view(0).seconds_left is None
    for job in every[1:5]:
        move(one, job, Status.RUNNING, Status.COMPLETE)
    watch.look()
    watch.ends.appendleft((time.time() - 400, 0))
    view = watch.view(0)
    assert view.rate == pytest.approx(0.01, rel=0.1)
    assert view.seconds_left is None  # nobody begins what waits
    assert view.copy(workers=1).seconds_left == pytest.approx(600, rel=0.1)
    assert view.copy(workers=1, paused=True).seconds_left is None
    assert view.copy(counts={Status.SUBMITTED: 6}).seconds_left == pytest.approx(600, rel=0.1)
    move(one, every[6], Status.RUNNING)
    late = Watch(Qrec(), "train")
    late.look()
    assert late.ends[0][1] == 1  # one who comes later knows the pace, too, of all that were seen to complete but one
    move(one, every[0], Status.QUEUED)
    move(one, every[6], Status.QUEUED)
    one.pause()
    watch.look()
    assert watch.view(0).seconds_left is None


def test_what_a_running_job_uses_and_prints(jobs, work):
    burn = "print('password=hunter2secret', flush=True)\nwhile True: pass"
    submit(jobs, f"{shlex.quote(sys.executable)} -c {shlex.quote(burn)}", "burn")
    work()
    watch = Watch(Qrec(), "train")

    def active() -> Active | None:
        watch.look()
        running = watch.view(9).running
        return running[0] if running and running[0].line and running[0].cpu else None

    found = wait_until(active, 60)
    assert found is not None
    assert found.line.startswith("password=***")
    assert "hunter2secret" not in found.line
    assert found.cpu is not None
    assert found.cpu > 0
    assert found.memory is not None
    assert found.memory > 1e6


def test_the_last_line_of_an_output(one, tmp_path):
    said = "first\\nold\\r\\033[31mnew\\033[0m\\n\\n   \\n"
    task = one.door.run(f"printf '{said}'; printf 'x%.0s' $(seq 9000) >&2", show=False)
    output = one.door.output(task)
    assert end_of(output, "stdout", output.size("stdout")) == "new"
    assert set(end_of(output, "stderr", output.size("stderr"))) == {"x"}


def test_a_job_whose_worker_and_all_else_died_is_lost(jobs, work, tmp_path):
    submit(jobs, "sleep 600", "gone")
    worker = work()
    watch = Watch(Qrec(), "train")
    wait_until(lambda: (watch.look(), [job for job in watch.running.values() if job.pid])[1])
    family = psutil.Process(worker.pid).children(recursive=True)
    for process in (psutil.Process(worker.pid), *family):
        process.kill()
    worker.wait()
    wait_until(lambda: (watch.look(), watch.counts[Status.LOST])[1], 60)
    wait_until(lambda: (watch.look(), watch.is_over)[1])


def test_it_is_not_over_while_a_worker_waits_for_more(one, work):
    submit(one, "true")
    worker = work("keep")
    watch = Watch(Qrec(), "train")
    wait_until(lambda: (watch.look(), watch.counts[Status.COMPLETE])[1])
    for _ in range(5):
        watch.look()
    assert not watch.is_over
    worker.terminate()
    worker.wait()
    assert watch.is_over


def test_what_another_scheduler_has_runs_too(jobs, monkeypatch):
    job = submit(jobs, "true", "a")
    watch = Watch(Qrec(), "train")
    watch.look()
    monkeypatch.setattr(watch, "next_refresh", float("inf"))
    move(jobs, job, Status.SUBMITTED)
    (change,) = watch.look()
    assert list(told(change, set())) == ["1 a was submitted"]
    view = watch.view(9)
    assert [(one.task.name, one.cpu, one.memory, one.line) for one in view.running] == [("a", None, None, "")]
    assert (view.begun, view.left) == (1, 1)


# How it looks


def example(count: int = 3, **changes) -> View:
    def job(number: int, status: Status) -> Task:
        name = ["train", "名前" * 20, "a\nb\x1b[31m" + "c" * 60][number % 3]
        return Task(
            uid=f"queue-{number}", executor="queue", argv=("true",), number=number, name=name, status=status,
            started=timestamp(), ended=timestamp() if status.is_final else None, returncode=3,
        )  # fmt: skip

    counts = dict.fromkeys((Status.COMPLETE, Status.FAILED, Status.SKIPPED), count) | {Status.RUNNING: count}
    fields = {
        "name": "the queue", "counts": counts | {Status.QUEUED: count}, "paused": False, "workers": 1, "slots": 4,
        "rate": 2.0, "trouble": "",
        "running": [Active(task=job(n, Status.RUNNING), cpu=1.5, memory=1 << 30, line="epoch") for n in range(count)],
        "failures": [job(n, Status.FAILED) for n in range(count)],
        "waiting": [(job(n, Status.QUEUED), "ready") for n in range(count)],
    }  # fmt: skip
    return View(**{**fields, **changes})


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_it_fits_every_terminal(count):
    view = example(count, trouble="the store is busy")
    for columns in (1, 2, 10, 20, 39, 40, 56, 71, 72, 80, 132):
        for rows in (1, 2, 3, 5, 8, 10, 24, 60):
            lines = [line.plain for line in drawn(view, columns, rows)]
            assert len(lines) <= rows, (columns, rows)
            assert max(map(cell_len, lines)) <= columns, (columns, rows)
            assert all(line.isprintable() for line in lines)


def test_what_an_ordinary_terminal_shows():
    text = "\n".join(line.plain for line in drawn(example(), 80, 24))
    for words in ("the queue  running", " 60%  9 of 15", "3 running  3 queued  3 complete", "3 of 4 slots, 1 worker",
                  "2 jobs/s, 3.0 s left", "running 3\n", "150%", "1.1 GB  epoch", "not completed 3\n", "exit code 3",
                  "waiting 3\n", "q leaves"):  # fmt: skip
        assert words in text, text


def test_what_a_narrow_terminal_shows():
    text = "\n".join(line.plain for line in drawn(example(), 40, 40))
    for words in ("3 failed", "running 3\n", "\n  epoch\n", "exit code 3", "ready"):
        assert words in text, text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"paused": True}, "paused"),
        ({"workers": 0, "slots": None, "counts": {Status.QUEUED: 1}}, "no worker runs it"),
        ({"workers": 0, "slots": None, "counts": {Status.QUEUED: 1, Status.RUNNING: 1}}, "no worker runs it"),
        ({"workers": 0, "slots": None, "counts": {Status.SUBMITTED: 1}}, "running"),
        ({"counts": {Status.COMPLETE: 1}}, "all completed"),
        ({"counts": {Status.COMPLETE: 1, Status.SKIPPED: 1}}, "ended"),
        ({"counts": {}}, "no jobs"),
        ({"trouble": "the store is busy"}, "the store is busy"),
    ],
)
def test_what_goes_on(changes, words):
    assert words in "\n".join(line.plain for line in drawn(example(**changes), 80, 24))


def test_lines_are_shared():
    assert shared(20, [5, 0, 100]) == [5, 0, 15]
    assert shared(4, [5, 3, 7]) == [4, 0, 0]
    assert shared(12, [50, 9, 9]) == [6, 3, 3]
    assert shared(-3, [5, 5]) == [0, 0]


def test_paces_and_bars():
    assert [pace(rate) for rate in (1234.5, 12.34, 0.5, 0.001)] == ["1,234 jobs/s", "12.3 jobs/s", "30 jobs/min",
                                                                    "3.6 jobs/h"]  # fmt: skip
    assert bar_marks("latin-1") == ("#", "x", ".")
    assert bar_marks("utf-8") == ("█", "▓", "░")


# Lines


def gated(queue: Jobs, folder: Path) -> Path:
    """Put a job in front that ends once the file is there."""
    gate = folder / "gate"
    submit(queue, f"while [ ! -e {shlex.quote(str(gate))} ]; do sleep 0.02; done", "gate")
    return gate


def opened(process: subprocess.Popen[bytes], gate: Path) -> list[str]:
    """Wait until the monitor has told of the job in front, let that end, and return the lines that follow."""
    assert process.stdout is not None
    first = process.stdout.readline()
    assert re.fullmatch(rb"1 gate (began|running, [\d.]+ m?s)\n", first), first + process.stdout.read()
    gate.touch()
    out, _ = process.communicate(timeout=60)
    ended, *lines = [re.sub(r"[\d.]+ m?s$", "T", line) for line in out.decode().splitlines()]
    assert ended == "1 gate complete, T"
    return lines


def test_lines_for_whoever_is_no_terminal(jobs, work, tmp_path, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    gate = gated(jobs, tmp_path)
    submit(jobs, "true", "good")
    submit(jobs, "exit 3", "bad")
    submit(jobs, "true", "never", depends=("bad",))
    submit(jobs, "true", "odd\x1b[31m\nname")
    work()
    with subprocess.Popen(CALL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        *seen, last = opened(process, gate)
    assert process.returncode == 1
    assert ESCAPE not in "".join(seen)
    assert sorted(seen) == sorted(
        ["2 good began", "2 good complete, T", "3 bad began", "3 bad failed: exit code 3, T",
         "4 never skipped: bad failed", "5 odd\\x1b[31m\\nname began", "5 odd\\x1b[31m\\nname complete, T"]
    )  # fmt: skip
    assert last == "queue train: 3 complete, 1 failed, 1 skipped"
    assert (
        seen.index("2 good began") < seen.index("2 good complete, T") < seen.index("5 odd\\x1b[31m\\nname complete, T")
    )


def test_every_one_of_many_short_jobs_is_told_of(jobs, work, tmp_path):
    gate = gated(jobs, tmp_path)
    [jobs.store.get(uid) for uid in jobs.submit_all([Submission(command="true") for _ in range(60)])]
    work()
    with subprocess.Popen(CALL, stdout=subprocess.PIPE) as process:
        *seen, last = opened(process, gate)
    assert process.returncode == 0
    assert sorted(seen) == sorted(
        f"{number} true {what}" for number in range(2, 62) for what in ("began", "complete, T")
    )
    assert last == "queue train: 61 complete"


def test_what_is_over_already(one):
    assert piped().stdout == b"queue train: no jobs\n"
    assert monitor(Qrec(), "train") == 0
    move(one, submit(one, "true"), Status.RUNNING, Status.FAILED)
    done = piped()
    assert (done.returncode, done.stdout) == (1, b"queue train: 1 failed\n")


def test_a_queue_that_nobody_made(home):
    with pytest.raises(NoSuchQueue, match="no queue is called 'nothing'"):
        monitor(Qrec(), "nothing")


def test_nobody_reads_any_more(one, work):
    submit(one, "exec sleep 600", "long")
    work()
    line = f"{shlex.join(CALL)} | head -n 1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, timeout=60)
    assert done.stderr == b""
    assert done.stdout.startswith(b"1 long ")
    assert one.counts() == {"running": 1}


def test_a_terminal_that_cannot_draw_gets_lines(one):
    job = submit(one, "true", "a")
    move(one, job, Status.RUNNING)
    one.store.change(job.uid, data={"process": {}})  # nobody knows where it runs, so that it counts as running
    with Terminal(CALL, TERM="dumb") as terminal:
        terminal.wait_for(b"1 a running")
        move(one, job, Status.COMPLETE)
        assert terminal.end() == 0
        assert ESCAPE.encode() not in terminal.seen
        assert b"queue train: 1 complete\r\n" in terminal.seen


def test_words_for_a_job_that_was_given_back(one):
    job = submit(one, "true", "a")
    watch = Watch(Qrec(), "train")
    watch.look()
    begun: set[tuple[str, int]] = set()
    lines = []
    for status in (Status.RUNNING, Status.QUEUED, Status.RUNNING, Status.FAILED, Status.QUEUED, Status.RUNNING):
        move(one, job, status)
        lines += [line.partition(":")[0] for change in watch.look() for line in told(change, begun)]
    assert lines == ["1 a began", "1 a failed", "1 a began"]


# The terminal


@pytest.fixture
def shell(tmp_path, home) -> Iterator[Callable[..., Tmux]]:
    """A shell in tmux, in which `q` is the monitor of the queue."""
    opened = []

    def shell(size: tuple[int, int] = (24, 80)) -> Tmux:
        path = way(tmp_path / "shell", f"exec {shlex.join(CALL)}")
        tmux = Tmux(path, tmp_path / "shell", size)
        opened.append(tmux)
        tmux.settle("@")
        return tmux

    yield shell
    for tmux in opened:
        tmux.call("kill-server")
    kill_processes_of(tmp_path)


def see(tmux: Tmux, *wanted: str) -> None:
    """Wait until all that is to be seen."""

    def seen() -> bool:
        shown = plain(tmux.screen())
        return all(words in shown for words in wanted)

    wait_until(seen, 40, f"{wanted}")


def test_it_is_drawn_and_left_with_q(one, work, shell):
    submit(one, "echo hello; exec sleep 600", "long")
    submit(one, "true", "second")
    work()
    tmux = shell()
    tmux.type("q")
    tmux.press("Enter")
    see(tmux, "running 1", "long", "hello", "waiting 1", "second  ready", "1 of 1 slot", "alternate")
    tmux.resize((20, 40))
    see(tmux, "running 1", "\n  hello", "second  ready")
    tmux.resize((8, 100))
    see(tmux, "q leaves, and the jobs go on", "1 of 1 slot, 1 worker")
    tmux.type("q")
    see(tmux, "queue train: 1 running, 1 queued", "normal", "shown")
    tmux.type("echo code $?; stty -a | grep -o ' icanon'")
    tmux.press("Enter")
    see(tmux, "code 1", "\n icanon")
    assert one.counts() == {"running": 1, "queued": 1}


def test_it_stops_with_ctrl_z_and_goes_on(one, work, shell):
    submit(one, "exec sleep 600", "long")
    work()
    tmux = shell()
    tmux.type("q")
    tmux.press("Enter")
    see(tmux, "running 1")
    tmux.press("C-z")
    see(tmux, "topped", "normal")
    tmux.type("stty -a | grep -o ' icanon'")
    tmux.press("Enter")
    see(tmux, "\n icanon")
    tmux.type("fg")
    tmux.press("Enter")
    see(tmux, "running 1", "alternate")
    tmux.press("C-c")
    see(tmux, "normal")
    tmux.type("echo code $?")
    tmux.press("Enter")
    see(tmux, "code 130")
    assert one.counts() == {"running": 1}


def test_it_ends_when_all_has_ended(one, work):
    submit(one, "true", "a")
    with Terminal(CALL, TERM="xterm") as terminal:
        terminal.wait_for(b"no worker runs it")
        work()
        assert terminal.end() == 0
        assert terminal.seen.endswith(b"queue train: 1 complete\r\n")


def test_no_colours_where_none_are_wanted(one):
    submit(one, "true", "a")
    colour = re.compile(rb"\x1b\[(?:\d+;)*[34][0-7][;m]")
    for variable, wanted in ((None, True), ("1", False)):
        with Terminal(CALL, TERM="xterm", NO_COLOR=variable) as terminal:
            terminal.wait_for(b"no worker runs it")
            terminal.send(b"q")
            assert terminal.end() == 1
            assert bool(colour.search(terminal.seen)) == wanted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_given_back_whatever_ends_it(one, work, number):
    submit(one, "exec sleep 600", "long")
    work()
    with Terminal(CALL, TERM="xterm") as terminal:
        before = terminal.modes()
        terminal.wait_for(b"1 running")
        if number == signal.SIGINT:
            terminal.send(INTR)
        else:
            os.kill(terminal.pid, number)
        assert terminal.end() == (130 if number == signal.SIGINT else -number)
        assert terminal.modes() == before
        assert b"\x1b[?1049l" in terminal.seen
        assert b"\x1b[?25h" in terminal.seen
    assert one.counts() == {"running": 1}


def test_a_closed_terminal_ends_it_and_nothing_else(one, work, tmp_path):
    submit(one, f"while [ ! -e {shlex.quote(str(tmp_path / 'go'))} ]; do sleep 0.05; done", "long")
    work()
    terminal = Terminal(CALL, TERM="xterm")
    terminal.wait_for(b"long")
    os.close(terminal.master)
    status = wait_until(lambda: [status for pid, status in [os.waitpid(terminal.pid, os.WNOHANG)] if pid])
    assert os.waitstatus_to_exitcode(status[0]) == -signal.SIGHUP
    (tmp_path / "go").touch()
    wait_until(lambda: one.counts() == {"complete": 1})


def test_a_queue_that_is_forgotten_meanwhile(one):
    submit(one, "true", "a")
    with Terminal(CALL, TERM="xterm") as terminal:
        terminal.wait_for(b"no worker runs it")
        one.forget()
        assert terminal.end() == 1
        assert b"no queue is called 'train'" in terminal.seen


def test_a_job_is_removed_between_two_looks(jobs):
    job = move(jobs, submit(jobs, "true"), Status.RUNNING, Status.FAILED)
    watch = Watch(Qrec(), "train")
    watch.look()
    jobs.store.delete(job.uid)
    watch.look()
    assert watch.view(9).total == 0
    with pytest.raises(NoSuchTask):
        jobs.store.get(job.uid)
