"""qrec why: how a task ended, what that means, and what was different when it went well."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.output import InStore
from qrec.reason import reason
from qrec.stores.base import Bundle
from qrec.task import Kept, Status, Task, new_uid, timestamp
from qrec.why import MEANINGS, best, explanation, likeness, program
from tests.helpers import wait_until

SCRIPT = """
import sys
print("reading", file=sys.stderr)
if "bad" in sys.argv:
    import no_such_module
"""


def task(*argv: str, **fields) -> Task:
    given = {"executor": "shell", "argv": argv or ("true",), "pwd": "/here", "status": Status.FAILED, "pid": 1}
    return Task(uid=new_uid("shell"), **{**given, **fields})


@pytest.fixture
def script(tmp_path: Path) -> str:
    (tmp_path / "train.py").write_text(SCRIPT)
    return "train.py"


# The short phrase


@pytest.mark.parametrize(
    ("fields", "kills", "phrase"),
    [
        ({"returncode": 3}, 0, "exit code 3"),
        ({"returncode": 137, "signal": 9}, 0, "killed by SIGKILL"),
        ({"returncode": 137, "signal": 9}, 1, "killed by SIGKILL, out of memory"),
        ({"returncode": 139, "signal": 11}, 1, "killed by SIGSEGV; meanwhile a process was killed, out of memory"),
        ({"returncode": 1}, 2, "exit code 1; meanwhile 2 processes were killed, out of memory"),
        ({"returncode": 168, "signal": 40}, 0, "killed by signal 40"),
        ({"returncode": 137}, 0, "exit code 137 (as a shell tells of SIGKILL)"),
        ({"returncode": 137}, 1, "exit code 137 (as a shell tells of SIGKILL), out of memory"),
        ({"returncode": 129}, 0, "exit code 129"),
        ({"returncode": 200}, 0, "exit code 200"),
        ({"returncode": 127, "pid": None}, 0, "command not found"),
        ({"returncode": 126, "pid": None}, 0, "not executable"),
        ({"returncode": 125, "pid": None}, 0, "could not be started"),
        ({"returncode": 127}, 0, "exit code 127 (as a shell tells of a command that was not found)"),
        ({"returncode": 255}, 0, "exit code 255"),
        ({"returncode": 255, "argv": ("/usr/bin/ssh", "x")}, 0, "exit code 255 (as ssh tells of an error of its own)"),
        ({"returncode": 124}, 0, "exit code 124"),
        ({"returncode": 124, "data": {"reason": "time limit of 600 s"}}, 0, "time limit of 600 s"),
        ({"returncode": None}, 0, "failed"),
        ({"status": Status.CANCELLED, "data": {"interrupted": 2}, "returncode": 130}, 0, "interrupted by SIGINT"),
        ({"status": Status.CANCELLED, "signal": 15}, 0, "cancelled, killed by SIGTERM"),
        ({"status": Status.CANCELLED}, 0, "cancelled"),
        ({"status": Status.CANCELLED, "data": {"reason": "exit code 1"}}, 0, "cancelled"),
        ({"status": Status.LOST}, 0, "nobody saw how it ended"),
        ({"status": Status.SKIPPED}, 0, "something it depends on did not complete"),
        ({"status": Status.COMPLETE, "returncode": 0}, 3, ""),
        ({"status": Status.RUNNING}, 0, ""),
        ({"status": Status.QUEUED}, 0, ""),
    ],
)
def test_the_reason(fields, kills, phrase):
    assert reason(task(**fields), kills) == phrase


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM])
def test_a_death_by_signal(home, qrec, number):
    qrec("run", "sh", "-c", f"kill -{int(number)} $$")
    told = qrec("why", "--json").json
    assert told["reason"] == f"killed by {number.name}"
    assert told["explanation"]
    assert told["traceback"] is told["last"] is None


def test_a_code_with_which_a_shell_tells_of_a_signal(home, qrec):
    qrec("run", "sh", "-c", "sh -c 'kill -SEGV $$'; exit $?")
    told = qrec("why", "--json").json
    assert told["task"]["signal"] is None
    assert told["reason"] == "exit code 139 (as a shell tells of SIGSEGV)"


def test_commands_that_never_began(home, qrec, tmp_path):
    (tmp_path / "plain").write_text("echo a\n")
    for word, phrase in (("no-such-program", "command not found"), ("./plain", "not executable")):
        qrec("run", word)
        told = qrec("why", "--json").json
        assert told["reason"] == phrase
        assert told["explanation"]
        assert phrase in qrec("why", check=True).out


def test_a_time_limit(home, qrec):
    qrec("run", "--timeout", "0.2", "sh", "-c", "echo 'no: Permission denied' >&2; sleep 60")
    told = qrec("why", "--json").json
    assert told["reason"] == "time limit of 0.2 s"
    assert told["explanation"] == "it was ended by `--timeout`"


# What it means


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("numpy.core._exceptions._ArrayMemoryError: Unable to allocate 8. TiB", "Python could not get the memory"),
        ("MemoryError", "Python could not get the memory"),
        ("  what():  std::bad_alloc", "a C++ program"),
        ("fork: retry: Cannot allocate memory", "the system refused memory"),
        ("torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to", "memory of the GPU"),
        ("cp: error writing 'x': No space left on device", "a disk was full"),
        ("cat: /root/x: Permission denied", "the user may not"),
        ("git@host: Permission denied (publickey,password).", "none of the ways to log in: publickey,password"),
        ("cat: x: No such file or directory", "was not there"),
        ("ModuleNotFoundError: No module named 'yaml.x'", "does not find the module yaml.x"),
        ("/usr/bin/python3: No module named pytest", "does not find the module pytest"),
        ("bash: line 3: gcc: command not found", "no program gcc on PATH"),
        ("sh: 1: gcc: not found", "no program gcc on PATH"),
        ("zsh:1: command not found: gcc", "no program gcc on PATH"),
        ("./run.sh: line 4: 12345 Killed                  python train.py", "killed with SIGKILL"),
        ("make: *** [Makefile:2: all] Killed", "killed with SIGKILL"),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=4.0", "memory of the machine, the job"),
        ("slurmstepd: error: *** JOB 4 ON n1 CANCELLED AT 2026-11-22T10:00:00 DUE TO TIME LIMIT ***", "Slurm's time"),
        ("a.out: error while loading shared libraries: libx.so.1: cannot open shared object file: No such file or "
         "directory", "shared library libx.so.1"),
        ("ImportError: liby.so: cannot open shared object file: No such file or directory", "shared library liby.so"),
    ],
)  # fmt: skip
def test_what_a_line_means(line, part):
    output = InStore(Kept(stderr=f"before\n{line}\nmake: *** [x] Error 1\nbye\n".encode()))
    assert part in explanation(task(returncode=1), output)


@pytest.mark.parametrize("line", ["Error 404: not found", "killed 3 enemies", "MemoryErrors: 0", "x: 3 not found"])
def test_what_may_mean_anything_is_left_alone(line):
    assert explanation(task(returncode=1), InStore(Kept(stderr=f"{line}\n".encode()))) == ""


def test_the_last_line_that_says_something_counts():
    told = b"find: x: Permission denied\n\x1b[31mOSError: [Errno 28] No space left on device\x1b[0m\nbye\n"
    assert explanation(task(returncode=1), InStore(Kept(stderr=told))).startswith("a disk was full")
    assert explanation(task(returncode=1), InStore(Kept(stdout=told))).startswith("a disk was full")


def test_long_ago_is_not_the_cause():
    told = b"x: Permission denied\n" + b"fine\n" * 200
    assert explanation(task(returncode=1), InStore(Kept(stderr=told))) == ""


def test_a_kill_for_want_of_memory():
    told = InStore(Kept(stderr=b"x: Permission denied\n"))
    noted = {"reason": "killed by SIGKILL, out of memory"}
    assert "memory of the machine" in explanation(task(returncode=137, signal=9, data=noted), told)
    other = {"reason": "exit code 1; meanwhile a process was killed, out of memory"}
    assert explanation(task(returncode=1, data=other), told) == "the user may not do that with the file"


def test_every_meaning_is_a_phrase():
    for _, meaning in MEANINGS:
        assert not meaning.endswith(".")
        assert meaning.format("x")


# Which run is like it


@pytest.mark.parametrize(
    ("one", "other", "rank"),
    [
        (task("make", "-j4"), task("make", "-j4"), 1),
        (task("make", "-j4", pwd="/there"), task("make", "-j4"), 2),
        (task("python", "t.py", "1"), task("python3.11", "-u", "t.py", "2"), 3),
        (task("make", "a"), task("/usr/bin/make", "b"), 3),
        (task("python", "t.py", pwd="/there"), task("python", "t.py", "2"), 4),
        (task("python t.py | tee x", data={"shell": "sh"}), task("python", "t.py"), 3),
        (task("python", "t.py"), task("python", "u.py"), None),
        (task("python", "-m", "a"), task("python", "-m", "b"), None),
        (task("make"), task("cmake"), None),
        (task("cd a; make", data={"shell": "sh"}), task("cd b; ls", data={"shell": "sh"}), None),
        (task("it's", data={"shell": "sh"}), task("it's not", data={"shell": "sh"}), None),
    ],
)
def test_how_alike_two_commands_are(one, other, rank):
    assert likeness(one, other) == rank


def test_the_newest_of_those_most_alike():
    failed = task("python", "t.py", "2")
    far, near, like, same = (
        task("python", "t.py", pwd="/x"), task("python", "t.py"), task(*failed.argv, pwd="/x"), task(*failed.argv),
    )  # fmt: skip
    assert best([far, near, like, same, task(*failed.argv)], failed) == same
    assert best([far, near, like], failed) == like
    assert best([far, near, task("python", "t.py", "9")], failed) == near
    assert best([task("ls")], failed) is None


def test_programs():
    assert program(task("FOO=1 python x", data={"shell": "sh"})) is None
    assert program(task("java", "-jar", "a.jar", "x")) == ("java", "-jar", "a.jar")
    assert program(task("python3", "-c", "1")) == ("python", "-c")
    assert program(task("7z", "x")) == ("7z",)


# The verb


def test_a_failure_beside_the_last_good_run(home, kind, qrec, script):
    for word in ("good", "bad"):
        qrec("run", "python3", script, word, "--lr", "2")
    told = qrec("why", "--json").json
    number, good = told["task"]["number"], told["good"]["number"]  # a busy machine may have them taken in late
    assert (told["reason"], told["traceback"]["stream"], told["traceback"]["line"]) == ("exit code 1", "stderr", 2)
    assert told["traceback"]["text"].startswith("Traceback (most recent call last):\n")
    assert told["traceback"]["text"].endswith("\nModuleNotFoundError: No module named 'no_such_module'")
    assert told["last"]["lines"][0] == "reading"
    assert told["good"]["status"] == "complete"
    assert told["differs"][0] == {
        "what": "arguments",
        "good": ["python3", script, "good", "--lr", "2"],
        "this": ["python3", script, "bad", "--lr", "2"],
    }

    shown = qrec("why", check=True)
    assert shown.err == ""
    head, ended, cause, *_ = shown.out.splitlines()
    assert head == f"{number}  python3 {script} bad --lr 2"
    assert ended.startswith("   failed ")
    assert os.uname().nodename in ended
    assert cause == "   exit code 1: the Python that ran does not find the module no_such_module"
    assert "stderr, lines 2 to " in shown.out
    assert f"what differs from the last good run, task {good} " in shown.out
    shown_rows = [line.split(maxsplit=1) for line in shown.out.splitlines()]
    assert ["arguments", f"python3 {script} [-good-]{{+bad+}} --lr 2"] in shown_rows
    assert "\x1b" not in shown.out


def test_the_attempt_before_comes_first(home, qrec, tmp_path):
    qrec("run", "sh", "-c", "cat there")
    (tmp_path / "there").write_text("")
    qrec("rerun", "1", check=True)
    qrec("run", "sh", "-c", "cat there", check=True)
    (tmp_path / "there").unlink()
    qrec("rerun", "1")
    told = qrec("why", "--json").json
    assert (told["task"]["number"], told["task"]["attempt"]) == (1, 3)
    assert (told["good"]["number"], told["good"]["attempt"]) == (1, 2)
    assert "the last good run, attempt 2" in qrec("why", check=True).out
    # of an attempt that nothing went before, those since tell something too
    first = qrec("why", "1", "--attempt", "1", "--json").json
    assert (first["task"]["attempt"], first["good"]["attempt"]) == (1, 2)


def test_no_good_run(home, qrec):
    qrec("run", "false")
    told = qrec("why", "--json").json
    assert (told["good"], told["differs"], told["last"]) == (None, [], None)
    assert "there is none to compare with" in qrec("why", check=True).out


def test_the_last_lines_of_stderr(home, qrec):
    qrec("run", "sh", "-c", r"seq 5; seq 20 >&2; printf '1%%\r2%%\r\033[1mdone\033[0m\n' >&2; exit 3")
    lines = [*map(str, range(12, 21)), "done"]
    assert qrec("why", "--json").json["last"] == {"stream": "stderr", "lines": lines}
    shown = qrec("why", check=True).out
    assert "the end of stderr" in shown
    assert "\n   12\n" in shown
    assert "\n   11\n" not in shown


def test_one_that_completed_points_to_the_last_that_failed(home, qrec):
    qrec("run", "true", check=True)
    shown = qrec("why", check=True)
    assert (shown.out, shown.err) == ("1 (true): it completed; none has failed\n", "")
    qrec("run", "false")
    qrec("run", "true", check=True)
    assert qrec("why", check=True).out == "3 (true): it completed; the last that failed is 2: `qrec why 2`\n"
    told = qrec("why", "--json").json
    assert (told["reason"], told["explanation"], told["last_failed"]) == (None, "it completed", 2)


def test_one_that_runs(home, start, qrec):
    start("run", "sleep", "60")
    wait_until(lambda: qrec("ls", "--json", "--status", "running").json)
    shown = qrec("why", check=True)
    assert shown.out == "1 (sleep 60): it still runs; `qrec log 1 -f` shows what it prints\n"


def test_one_that_was_interrupted(home, start, qrec):
    process = start("run", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    process.wait()
    told = qrec("why", "--json").json
    assert told["reason"] == "interrupted by SIGTERM"
    assert "qrec received SIGTERM" in told["explanation"]


def test_one_that_was_cancelled(home, start, qrec):
    process = start("run", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout.readline() == b"ready\n"
    qrec("cancel", check=True)
    told = qrec("why", "1", "--json").json
    assert told["task"]["status"] == "cancelled"
    assert told["reason"].startswith("cancelled")
    assert told["explanation"] == "somebody cancelled it: with `qrec cancel`, in the dashboard, or where it ran"


def test_one_that_is_lost(home, qrec):
    store = Qrec().store
    store.add_all([Bundle(task=task("make", number=1, status=Status.LOST, pid=None, created=timestamp()))])
    shown = qrec("why", "1", check=True).out
    assert "nobody saw how it ended" in shown
    assert "its process is gone" in shown


def test_what_surrounded_it(home, qrec):
    slurm = {"SLURM_JOB_ID": "1", "SLURM_JOB_PARTITION": "short"}
    facts = {"commit": "a" * 40, "branch": "main", "dirty": False, "memory": 8_000_000_000, "slurm": slurm,
             "environment": {"PATH": "/a:/b:/c", "OMP_NUM_THREADS": "4"}}  # fmt: skip
    later = {**facts, "commit": "b" * 40, "dirty": True, "slurm": {**slurm, "SLURM_JOB_ID": "2"},
             "environment": {"PATH": "/a:/x:/c", "LANG": "C"}}  # fmt: skip
    patch = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n-b\n+c\n"
    good = task("make", number=1, status=Status.COMPLETE, returncode=0, created=timestamp(1e9), facts=facts, host="a",
                usage={"memory": 1_000_000, "cpu": 1.0})  # fmt: skip
    failed = task("make", number=2, returncode=2, created=timestamp(2e9), facts=later, host="b",
                  usage={"memory": 3_000_000, "cpu": 2.0})  # fmt: skip
    Qrec().store.add_all([Bundle(task=good), Bundle(task=failed, kept={1: Kept(extras={"patch": patch})})])
    differs = {one["what"]: (one["good"], one["this"]) for one in qrec("why", "2", "--json").json["differs"]}
    assert differs == {
        "host": ("a", "b"),
        "commit": ("a" * 40, "b" * 40),
        "dirty": (False, True),
        "environment PATH": ("/a:/b:/c", "/a:/x:/c"),
        "environment OMP_NUM_THREADS": ("4", None),
        "environment LANG": (None, "C"),
        "uncommitted changes": (None, "1 file, +1 -2"),
        "memory used": (1_000_000, 3_000_000),
    }
    shown = {" ".join(line.split()) for line in qrec("why", "2", check=True).out.splitlines()}
    assert "environment PATH /a:[-/b-]{+/x+}:/c" in shown
    assert "environment OMP_NUM_THREADS 4 → (none)" in shown
    assert "commit aaaaaaaaaaaa → bbbbbbbbbbbb" in shown
    assert "memory used 1.0 MB → 3.0 MB" in shown
    assert "dirty no → yes" in shown


def test_nothing_recorded_yet(home, qrec):
    shown = qrec("why")
    assert (shown.returncode, shown.out, shown.err.count("\n")) == (1, "", 1)


def test_from_python(home):
    door = Qrec()
    failed = door.run(["sh", "-c", "echo 'x: error: no' >&2; exit 4"], show=False)
    found = door.why(failed.uid)
    assert (found.reason, found.good) == ("exit code 4", None)
    assert found.traceback is not None
    assert found.traceback.text == "x: error: no"
    assert json.dumps(found.task.summary())
