"""Adverse surroundings: the command's own result is never disturbed, and the record is as complete as it can be.

What concerns disks that are full or read-only, and stores that are something else from the start, is in test_trouble.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest

from qrec.api import Qrec
from qrec.process import start_ticks
from qrec.task import Status
from tests.helpers import ROOT, environment, wait_until
from tests.terminals import Terminal
from tests.test_look_back import call

QREC = [sys.executable, "-m", "qrec"]
MODES = ["pipes", "terminal", "detached"]
FAILS = "echo out; exit 3"


class Outcome(NamedTuple):
    """What the caller of qrec sees of a command; of a detached one, what the record says."""

    code: int | None
    out: bytes
    told: bytes = b""  #: stderr


@pytest.fixture(params=MODES)
def mode(request) -> str:
    return str(request.param)


@pytest.fixture
def run(mode, qrec, tmp_path) -> Callable[..., Outcome]:
    """Runs a command to its end in one of the modes; `wrap` are words before qrec's, which set the surroundings."""

    def run(*words: str, wrap: tuple[str, ...] = (), env: dict[str, Any] | None = None) -> Outcome:
        if mode == "terminal":
            with Terminal([*wrap, *QREC, "-q", "run", *words], **(env or {})) as terminal:
                return Outcome(terminal.end(), terminal.seen.replace(b"\r\n", b"\n"))
        asked = ["-d", *words] if mode == "detached" else words
        done = subprocess.run(
            [*wrap, *QREC, "-q", "run", *asked], capture_output=True, env=environment(env), timeout=60
        )
        if mode == "pipes":
            return Outcome(done.returncode, done.stdout, done.stderr)
        assert done.returncode == 0, done
        uid = done.stdout.decode().strip()
        qrec("wait", uid)
        wait_until(lambda: not observers(tmp_path), what="the observer to end")
        return Outcome(newest(qrec)["returncode"], qrec("log", uid).stdout, done.stderr)

    return run


def newest(qrec) -> dict[str, Any]:
    task: dict[str, Any] = qrec("ls", "--json").json[-1]
    return task


def python(code: str, *words: str) -> tuple[str, ...]:
    """Words that change this process by some Python, and then become what follows."""
    then = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    return (sys.executable, "-c", f"{code}\n{then}", *words)


def location(home: Path, kind: str) -> Path:
    return home / ("qrec.db" if kind == "sqlite" else "tasks")


# In the middle of a run


@pytest.fixture
def during(mode, qrec, home, tmp_path) -> Callable[[str], Outcome]:
    """Runs a command that does something to the home once its first output is on record, and then says more.

    By then the store knows of it, and all files that are made before it says more are there: `rm -r` meets no new one.
    """

    def during(deed: str) -> Outcome:
        script = f"""
            echo first; until grep -qs first attempts/*/*/stdout; do sleep 0.01; done
            until [ -z "$(ls incoming)" ] && [ -s "$(echo attempts/*/*/series)" ]; do sleep 0.01; done
            {deed}; echo second; touch {shlex.quote(str(tmp_path / "over"))}; exit 3
        """
        words = ["sh", "-c", f"cd {shlex.quote(str(home))}; {script}"]
        qrec("run", "echo", "before", check=True)
        if mode == "terminal":
            with Terminal([*QREC, "-q", "run", *words]) as terminal:
                return Outcome(terminal.end(), terminal.seen.replace(b"\r\n", b"\n"))
        done = qrec("-q", "run", *(["-d"] if mode == "detached" else []), *words)
        wait_until((tmp_path / "over").exists)
        if mode == "pipes":
            return Outcome(done.returncode, done.stdout, done.stderr)
        wait_until(lambda: not observers(tmp_path), what="the observer to end")
        return Outcome(None, b"")

    return during


def observers(folder: Path) -> list[psutil.Process]:
    """What looks after detached commands of this test."""
    found = []
    for process in psutil.process_iter(["cmdline", "environ"]):
        variables = process.info["environ"] or {}
        if "qrec.observer" in str(process.info["cmdline"]) and variables.get("QREC_HOME", "").startswith(str(folder)):
            found.append(process)
    return found


def undisturbed(outcome: Outcome) -> None:
    """The caller has got all and the code; qrec has said one line at most."""
    if outcome.code is None:
        return
    assert outcome.code == 3, outcome
    lines = outcome.out.splitlines() + outcome.told.splitlines()
    assert lines[:2] == [b"first", b"second"], outcome
    assert len(lines) <= 3, outcome
    assert all(line.startswith(b"qrec: ") for line in lines[2:]), outcome


def test_the_home_is_removed(during, qrec, kind, home):
    undisturbed(outcome := during(f"cd /; rm -rf {shlex.quote(str(home))}"))
    assert outcome.code is None or b"removed" in outcome.out + outcome.told
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"]) == ("failed", 3)


def test_the_store_is_removed(during, qrec, kind, home):
    """The output lies elsewhere, and is kept."""
    undisturbed(outcome := during(f"rm -rf {location(home, kind)}*"))
    assert outcome.code is None or b"removed" in outcome.out + outcome.told
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"]) == ("failed", 3)
    assert qrec("log", "--stdout").out == "first\nsecond\n"


def test_the_output_is_removed(during, qrec, kind):
    undisturbed(outcome := during("rm -rf attempts"))
    assert outcome.code is None or b"removed" in outcome.out + outcome.told
    task = newest(qrec)
    assert (task["number"], task["status"], task["returncode"]) == (2, "failed", 3)


def test_garbage_takes_the_place_of_the_store(during, qrec, kind, home):
    place = location(home, kind)
    undisturbed(during(f"rm -rf {place}*; head -c 10000 /dev/urandom >{place}"))
    looked = qrec("ls")
    assert (looked.returncode, looked.out) == (1, "")
    assert str(place) in looked.err
    # put out of the way, it makes room for a new store, and the record that waits comes in
    place.rename(home / "garbage")
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["returncode"]) == ("failed", 3)
    assert qrec("log", "--stdout").out == "first\nsecond\n"


def test_a_file_takes_the_place_of_the_home(during, home, kind):
    undisturbed(during(f"cd /; until [ -f {home} ]; do rm -rf {home}; touch {home}; done"))  # qrec may make it anew
    home.unlink()


def test_the_home_becomes_read_only(during, qrec, home, kind, monkeypatch):
    """For a user whom rights concern: root without the power to pass over them."""
    mine = f"setpriv --bounding-set=-dac_override -- {sys.executable}" if os.geteuid() == 0 else sys.executable
    wrapped = home.parent / "python"
    wrapped.write_text(f'#!/bin/sh\nexec {mine} "$@"\n')
    wrapped.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(wrapped))
    monkeypatch.setitem(globals(), "QREC", [str(wrapped), "-m", "qrec"])
    undisturbed(during(f"chmod -R a-w {shlex.quote(str(home))}"))
    subprocess.run(["chmod", "-R", "u+w", str(home)], check=True)
    task = newest(qrec)
    # its code was known only to the qrec that could not write it down
    assert (task["number"], task["status"]) in ((2, "failed"), (2, "lost"))
    assert qrec("log", "2", "--stdout").out.startswith("first\n")


@contextlib.contextmanager
def held(home: Path, kind: str) -> Iterator[None]:
    """Somebody else has the store."""
    if kind == "sqlite":
        with contextlib.closing(sqlite3.connect(home / "qrec.db", isolation_level=None)) as db:
            db.execute("BEGIN EXCLUSIVE")
            yield
        return
    with contextlib.ExitStack() as opened:
        for path in (home / "tasks").glob("*lock*"):
            fcntl.flock(opened.enter_context(path.open("a")), fcntl.LOCK_EX)
        yield


def test_the_store_is_held_for_the_whole_run(qrec, home, kind, tmp_path):
    """On a terminal; for pipes see test_concurrency."""
    qrec("run", "true", check=True)
    with held(home, kind), Terminal([*QREC, "-q", "run", "sh", "-c", FAILS]) as terminal:
        assert terminal.end() == 3
        assert terminal.seen.startswith(b"out\r\n")
    assert [task["returncode"] for task in qrec("ls", "--json").json] == [0, 3]
    assert qrec("log").out == "out\n"


def test_the_store_is_held_at_the_end_and_somebody_looks_after_it(qrec, start, home, kind, tmp_path):
    """A worker, or `wait`, finds the recorder gone: what it has left tells more than that."""
    process = start("-q", "run", "sh", "-c", f"until [ -e go ]; do sleep 0.02; done; {FAILS}")
    door = Qrec(str(home))
    wait_until(lambda: [task.pid for task in door.find()] not in ([], [None]))
    (task,) = door.find()
    with held(home, kind):
        (tmp_path / "go").touch()
        assert process.wait(60) == 3
    door.refresh_tasks([task])
    (found,) = door.store.find()
    assert (found.status, found.returncode) == (Status.FAILED, 3)
    assert door.store.output(found).read("stdout") == b"out\n"
    assert not list(home.glob("incoming/*.json"))


def test_the_store_is_held_under_a_detached_command(qrec, home, kind):
    qrec("run", "true", check=True)
    with held(home, kind):
        assert qrec("-q", "run", "-d", "sh", "-c", FAILS).returncode == 0
        wait_until(lambda: b"out\n" in [path.read_bytes() for path in home.glob("attempts/*/*/stdout")])
        wait_until(lambda: not observers(home.parent), what="the observer to end")
    assert [task["returncode"] for task in qrec("ls", "--json").json] == [0, 3]
    assert qrec("log").out == "out\n"


# Clocks and pids


@pytest.mark.parametrize("by", [-86400, 86400])
def test_a_fake_clock_jumps_during_a_run(qrec, home, kind, tmp_path, by):
    """In qrec alone: the machine's own is for others, too."""
    changed = tmp_path / "changed"
    clock = f"""
import os, runpy, time
real = time.time
time.time = lambda: real() + {by} * os.path.exists({str(changed)!r})
runpy.run_module("qrec", run_name="__main__")
"""
    qrec("run", "echo", "before", check=True)
    recorded = f"grep -qs two {shlex.quote(str(home))}/attempts/*/*/stderr"
    script = f"echo one; touch {changed}; echo two >&2; until {recorded}; do sleep 0.01; done; sleep 0.1"
    script += "; echo three; exit 3"
    words = [sys.executable, "-c", clock, "-q", "run", "sh", "-c", script]
    done = subprocess.run(words, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"one\nthree\n", b"two\n")
    changed.unlink()
    qrec("run", "echo", "after", check=True)
    tasks = qrec("ls", "--json").json
    assert [(task["number"], task["returncode"]) for task in tasks] == [(1, 0), (2, 3), (3, 0)]
    assert all(task["seconds"] >= 0 for task in tasks)
    assert qrec("log").out == "after\n"
    # the index is by a clock that nobody sets
    pauses = [float(line.split()[0]) for line in qrec("log", "2", "--relative").out.splitlines()]
    assert len(pauses) == 3
    assert 0 <= pauses[0] <= pauses[1] < pauses[2] < 60


@pytest.fixture
def alone(start, qrec, home, kind) -> dict[str, Any]:
    """The record of a command whose recorder was killed together with it, before anybody has looked."""
    runner = start("run", "sleep", "600")
    task = wait_until(lambda: [task for task in qrec("ls", "--json").json if task["status"] == "running"])[0]
    os.kill(task["pid"], signal.SIGSTOP)
    runner.kill()
    runner.wait()
    os.kill(task["pid"], signal.SIGKILL)
    wait_until(lambda: start_ticks(task["pid"]) is None)
    return dict(task)


def retold(home: Path, kind: str, uid: str, **host: str) -> Callable[..., None]:
    """Writes another process, or another host, into the record of a task."""

    def retold(process: dict[str, Any]) -> None:
        if kind == "filesystem":
            (path,) = home.glob(f"tasks/*/*{uid}.json")
            record = json.loads(path.read_text())
            inner = record.get("task", record)
            inner["data"]["process"].update(process)
            inner.update(host)
            path.write_text(json.dumps(record))
            return
        with contextlib.closing(sqlite3.connect(home / "qrec.db")) as db:
            (data,) = db.execute("SELECT data FROM tasks WHERE uid = ?", [uid]).fetchone()
            found = json.loads(data)
            found["process"].update(process)
            db.execute("UPDATE tasks SET data = ? WHERE uid = ?", [json.dumps(found), uid])
            for name, value in host.items():
                db.execute(f"UPDATE tasks SET {name} = ? WHERE uid = ?", [value, uid])
            db.commit()

    return retold


def test_a_pid_that_somebody_else_has_now(alone, qrec, home, kind):
    """The same pid, but another start: not ours."""
    foreign = [os.getpid(), 1]
    retold(home, kind, alone["uid"])({"recorder": foreign, "command": foreign})
    assert newest(qrec)["status"] == "lost"
    assert qrec("cancel", "1").returncode == 1


def test_a_pid_of_another_boot(alone, qrec, home, kind):
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    living = [os.getpid(), ticks]
    change = retold(home, kind, alone["uid"])
    change({"recorder": living, "command": living})
    assert newest(qrec)["status"] == "running"
    change({"boot": "another"})
    assert newest(qrec)["status"] == "lost"


@pytest.mark.parametrize("place", [{"namespace": "pid:[1]"}, {}])
def test_what_runs_elsewhere_is_not_called_lost(alone, qrec, home, kind, place):
    """In another namespace, or on another host: only those know."""
    host = {} if place else {"host": "elsewhere"}
    retold(home, kind, alone["uid"], **host)({**place, "recorder": [1, 1], "command": [1, 1]})
    assert newest(qrec)["status"] == "running"


# Limits


def limited(name: str, value: int) -> tuple[str, ...]:
    return python(f"import resource; resource.setrlimit(resource.{name}, ({value}, {value}))")


@pytest.mark.parametrize("limit", range(9, 17))
def test_few_descriptors(run, qrec, mode, kind, limit):
    """Whatever is too much for the limit, it is not the command."""
    qrec("run", "true", check=True)
    more = {"pipes": 0, "terminal": 3, "detached": 8}[mode]
    outcome = run("sh", "-c", FAILS, wrap=limited("RLIMIT_NOFILE", limit + more))
    assert outcome.code == 3, outcome
    assert outcome.out.startswith(b"out\n"), outcome
    assert (newest(qrec)["argv"], newest(qrec)["returncode"]) == (["sh", "-c", FAILS], 3)


def test_five_thousand_descriptors_are_inherited(run):
    """As they would be without qrec; a detached command has them, too."""
    code = "import os, resource; resource.setrlimit(resource.RLIMIT_NOFILE, (6000, 6000))\n"
    code += "for number in range(1000, 6000): os.dup2(0, number)"
    count = "import os; print(sum(int(name) >= 1000 for name in os.listdir('/proc/self/fd')))"
    assert run(sys.executable, "-c", count, wrap=python(code))[:2] == (0, b"5000\n")


def test_files_may_not_grow(qrec, kind, mode, run, tmp_path):
    """The command has its own signal, and qrec outlives the limit on its own files."""
    script = f"trap '' XFSZ; exec dd if=/dev/zero of={tmp_path}/file bs=200000 count=1"
    killed = f"dd if=/dev/zero of={tmp_path}/file bs=200000 count=2 2>/dev/null; echo $?; exit 3"
    limit = limited("RLIMIT_FSIZE", 100_000)
    assert run("sh", "-c", killed, wrap=limit)[:2] == (3, b"153\n")
    assert run("sh", "-c", script, wrap=limit).code == 1
    if mode != "detached":  # there the output is a file of the command's own
        outcome = run("sh", "-c", "head -c 300000 /dev/zero; exit 3", wrap=limit)
        assert (outcome.code, outcome.out[:300_000]) == (3, bytes(300_000))
        assert newest(qrec)["returncode"] == 3


@pytest.mark.parametrize("size", [0, 1000])
def test_no_file_may_grow_at_all(qrec, kind, size):
    limit = limited("RLIMIT_FSIZE", size)
    done = subprocess.run([*limit, *QREC, "-q", "run", "sh", "-c", FAILS], capture_output=True)
    assert (done.returncode, done.stdout) == (3, b"out\n"), done
    assert done.stderr.count(b"\n") == 1
    assert done.stderr.startswith(b"qrec: ")


def test_no_thread_can_be_started(qrec, kind):
    """For want of memory, or of processes that the user may have."""
    code = """
import _thread, runpy
def start_new_thread(*_):
    raise RuntimeError("can't start new thread")
_thread.start_new_thread = start_new_thread
runpy.run_module("qrec", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code, "-q", "run", "sh", "-c", FAILS], capture_output=True)
    assert (done.returncode, done.stdout) == (3, b"out\n"), done
    assert done.stderr.startswith(b"qrec: no thread")
    assert newest(qrec)["returncode"] == 3


def test_no_terminal_is_to_be_had(qrec, kind):
    """The command has the real one then; nothing is kept of what it says, but how it ended is."""
    code = """
import os, runpy
def openpty():
    raise OSError(28, "No space left on device")
os.openpty = openpty
runpy.run_module("qrec", run_name="__main__")
"""
    with Terminal([sys.executable, "-c", code, "-q", "run", "sh", "-c", f"test -t 1 && {FAILS}"]) as terminal:
        assert terminal.end() == 3
        assert terminal.seen.startswith(b"out\r\nqrec: output not recorded")
    assert newest(qrec)["returncode"] == 3


@pytest.mark.parametrize(
    "code",
    [
        "import signal; signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "import signal; signal.signal(signal.SIGPIPE, signal.SIG_IGN)",
        "import signal; signal.pthread_sigmask(0, signal.valid_signals())",
    ],
)
def test_signals_are_ignored_or_blocked_by_whoever_starts_qrec(run, qrec, kind, code):
    for script in (FAILS, f"sleep 0.3; {FAILS}"):
        assert run("sh", "-c", script, wrap=python(code))[:2] == (3, b"out\n")
        assert (newest(qrec)["status"], newest(qrec)["returncode"]) == ("failed", 3)


def test_an_output_that_does_not_block(qrec):
    """Somebody else has made the pipe so; nothing is lost, however slowly it is read."""
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    with subprocess.Popen([*QREC, "-q", "run", "head", "-c", "3000000", "/dev/zero"], stdout=theirs) as process:
        os.close(theirs)
        with open(ours, "rb") as file:
            assert len(file.read()) == 3_000_000
    assert process.returncode == 0


# One line without an end

MB = 1_000_000


@pytest.fixture
def measured(tmp_path, start, home) -> Callable[..., tuple[int, int, int]]:
    """Runs qrec, reads all it prints, and tells its code, its own peak of memory, and how much it has printed."""
    tell = """
import os, sys
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "qrec", *sys.argv[1:]], os.environ)
os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss * 1024, file=sys.stderr)
"""

    def measured(*words: str) -> tuple[int, int, int]:
        process = subprocess.Popen([sys.executable, "-c", tell, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        assert process.stderr
        size = 0
        while block := process.stdout.read(1 << 20):
            size += len(block)
        code, peak = process.stderr.read().split()[-2:]
        process.communicate()
        return int(code), int(peak), size

    return measured


@pytest.mark.timeout(180)
def test_an_endless_line(measured, qrec):
    """150 MB of it, more than qrec may ever take; see test_large_output for what looks at other sizes."""
    size = 150 * MB
    script = f"yes | tr -d '\\n' | head -c {size}"
    code, peak, came = measured("-q", "run", "sh", "-c", script)
    assert (code, came) == (0, size)
    assert peak < 60 * MB
    for words, least in ((["log"], size), (["log", "-n", "1"], size), (["get"], 1), (["search", "--deep", "nope"], 0)):
        code, peak, came = measured(*words)
        assert code in (0, 1), words
        assert came >= least, words
        assert peak < 120 * MB, words
    qrec("clear", "1", "-y", check=True)


# Every encoding

RANDOM = bytes((number * 7919 + number // 251) % 256 for number in range(20_000))
OUTPUTS = {
    "random": RANDOM,
    "utf-16": "\ufeffé€😀\n".encode("utf-16"),
    "latin-1": "déjà vu\n".encode("latin-1"),
    "NUL": b"a\0b\0\0\n\0",
    "overlong": b"\xc0\xaf \xe0\x80\xaf \xf4\x90\x80\x80 \xed\xa0\x80\n",
    "half a character": "é".encode()[:1],
    "separators": "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\rh\r\n".encode(),
    "ANSI": b"\x1b[31m\x1b]0;title\x07\x1b[2J\x1b[?1049h\x1bP1;2|x\x1b\\\\" * 500 + b"\x1b[",
}


def test_every_encoding(run, mode, qrec, kind, tmp_path):
    for name, content in OUTPUTS.items():
        (tmp_path / "content").write_bytes(content)
        script = f"cat {tmp_path}/content; cat {tmp_path}/content >&2"
        assert run("sh", "-c", script).code == 0, name
        for stream in ("--stdout", "--stderr"):
            assert qrec("log", stream).stdout == content, name
        for words in (["log", "--merged"], ["log", "--relative"], ["log", "-n", "2"], ["get"]):
            assert call(*words).returncode == 0, (name, words)
    assert [task["status"] for task in qrec("ls", "--json").json] == ["complete"] * len(OUTPUTS)
    assert len(qrec("search", "cat", "--json").json) == len(OUTPUTS)
    for words in (["ls"], ["get"], ["search", "cat"]):
        assert qrec(*words).returncode == 0, words
    for line in qrec("export", "jsonl", check=True).stdout.splitlines():
        json.loads(line)


@pytest.mark.parametrize("locale", ["C", "POSIX", "C.UTF-8", "xx_YY.ISO-8859-1"])
def test_words_that_are_no_text(run, qrec, kind, mode, locale):
    word = os.fsdecode(b"\xff\xfe \xed\xa0\x80 \xc3\xa9")
    outcome = run("printf", "%s", word, env={"LC_ALL": locale})
    assert (outcome.code, outcome.out) == (0, os.fsencode(word))
    for words in (["ls"], ["ls", "--json"], ["get"], ["search", "printf"], ["export", "jsonl"]):
        done = qrec(*words, env={"LC_ALL": locale})
        assert (done.returncode, done.stderr) == (0, b""), done
    assert newest(qrec)["argv"][:2] == ["printf", "%s"]


# Names

LONG = "x" * 250
NAMES = {
    "quotes": b"a 'b' \"c\" `d` $e \\\\ ;&|<>*?[x]~#!",
    "newline": b"a\nb\n",
    "blanks": b" a\tb ",
    "no text": b"\xff\xfe\x80",
    "long": b"x" * 255,
    "dash": b"-rf",
    "percent": b"%s%20?mode=ro#x",
}


@pytest.fixture(params=NAMES)
def strange(request, tmp_path) -> Path:
    folder: Path = tmp_path / os.fsdecode(NAMES[request.param])
    folder.mkdir()
    return folder


def test_folders_with_strange_names(run, qrec, kind, strange, monkeypatch):
    """The one we are in, and the home."""
    monkeypatch.chdir(strange)
    monkeypatch.setenv("QREC_HOME", str(strange.parent / "homes" / strange.name))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    out = run("sh", "-c", "pwd; exit 3")
    assert out.code == 3
    assert out.out.startswith(os.fsencode(strange) + b"\n")
    task = qrec("ls", "--json").json[0]
    assert (task["returncode"], len(qrec("search", "exit 3", "--json").json)) == (3, 1)
    # and from elsewhere once more
    monkeypatch.chdir("/")
    assert qrec("-q", "rerun", "1").stdout == os.fsencode(strange) + b"\n"


def test_a_path_almost_too_long(run, qrec, kind, tmp_path, monkeypatch):
    """We are in a folder whose path is as long as paths may be."""
    folder = str(tmp_path)
    monkeypatch.chdir(folder)
    while len(folder) < 4095 - len(LONG) - 1:
        folder += f"/{LONG}"
        os.mkdir(LONG)
        os.chdir(LONG)
    assert run("sh", "-c", FAILS)[:2] == (3, b"out\n")
    assert newest(qrec)["pwd"] == folder


def test_a_path_too_long(run, qrec, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir(LONG)
        os.chdir(LONG)
    assert run("sh", "-c", FAILS)[:2] == (3, b"out\n")
    assert newest(qrec)["returncode"] == 3


@pytest.mark.parametrize("depth", [4, 14, 15, 16, 20])
def test_a_home_whose_path_is_too_long(kind, mode, tmp_path, depth):
    home = str(tmp_path / "/".join([LONG] * depth))
    done = subprocess.run(
        [*QREC, "--home", home, "-q", "run", "sh", "-c", FAILS], capture_output=True, env=environment()
    )
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert done.stderr.count(b"\n") <= 1
    assert b"Traceback" not in done.stderr


def test_the_folder_is_removed_before_qrec_starts(run, qrec, kind, tmp_path):
    gone = (
        f"import os; os.mkdir({str(tmp_path / 'gone')!r}); os.chdir({str(tmp_path / 'gone')!r}); os.rmdir(os.getcwd())"
    )
    for words in (["/bin/echo", "out"], ["/bin/echo out; exit 0"]):
        with contextlib.suppress(FileExistsError):
            outcome = run(*words, wrap=python(gone))
            assert outcome.code == 0
            assert b"out\n" in outcome.out
    assert newest(qrec)["returncode"] == 0


# The environment


SURROUNDINGS: dict[str, dict[str, str | None]] = {
    "no HOME": {"HOME": None},
    "an empty HOME": {"HOME": ""},
    "a HOME that is not there": {"HOME": "/nonexistent"},
    "no SHELL": {"SHELL": None},
    "no PATH": {"PATH": None},
    "no TERM": {"TERM": None},
    "a TMPDIR that is not there": {"TMPDIR": "/nonexistent"},
    "a strange TZ": {"TZ": "No/Where:::"},
    "LC_ALL=C": {"LC_ALL": "C"},
    "no locale of that name": {"LC_ALL": "xx_YY.KOI8-R"},
    "no UTF-8": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


#: Those that are about text are for both stores: one of them names its files.
EVERYWHERE = [(kind, name) for kind in ("sqlite", "filesystem") for name in SURROUNDINGS
              if kind == "sqlite" or SURROUNDINGS[name].keys() & {"LC_ALL"}]  # fmt: skip


@pytest.mark.parametrize(("kind", "name"), EVERYWHERE, indirect=["kind"])
def test_a_strange_environment(run, qrec, kind, name):
    changes = SURROUNDINGS[name]
    for words in (["/bin/sh", "-c", "echo é; exit 3"], ["echo é; exit 3"]):
        outcome = run(*words, env=changes)
        assert outcome.code == 3, outcome
        assert outcome.out.endswith("é\n".encode()), outcome
        assert newest(qrec)["returncode"] == 3
    for words in (["ls"], ["ls", "--json"], ["get"], ["log"], ["search", "exit"]):
        looked = qrec(*words, env=changes)
        assert (looked.returncode, looked.stderr) == (0, b""), looked


def test_an_empty_environment(kind, tmp_path, home):
    done = subprocess.run(
        [*QREC, "--home", str(home), "-q", "run", "/usr/bin/env"], env={}, cwd=ROOT, capture_output=True
    )
    native = subprocess.run(["/usr/bin/env"], env={}, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, native.stdout, b"")


@pytest.mark.parametrize("umask", ["000", "777", "027"])
def test_umask(run, qrec, kind, home, umask):
    code = f"import os; os.umask(0o{umask})"
    outcome = run("sh", "-c", "umask; exit 3", wrap=python(code))
    assert outcome.code == 3
    assert outcome.out == f"0{umask}\n".encode()
    assert newest(qrec)["returncode"] == 3
    assert qrec("log").stdout == outcome.out
    assert home.stat().st_mode & 0o777 == 0o700
    for path in home.rglob("*") if umask != "777" else ():
        assert not path.stat().st_mode & 0o077, path


# What a command inherits

#: Prints how it finds the world.  Two signals are the C library's own: posix_spawn ignores them in every child.
VIEW = """
import json, os, resource, signal, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
limits = [getattr(resource, name) for name in sorted(dir(resource)) if name.startswith("RLIMIT_")]
try:
    terminal = os.ttyname(os.open("/dev/tty", os.O_RDWR))
    front = os.tcgetpgrp(os.open("/dev/tty", os.O_RDWR)) == os.getpgrp()
except OSError:
    terminal = front = None
print(json.dumps({
    "umask": status["Umask"], "blocked": status["SigBlk"], "caught": status["SigCgt"],
    "ignored": hex(int(status["SigIgn"], 16) & ~(3 << 31)),
    "limits": [resource.getrlimit(limit) for limit in limits], "nice": os.nice(0), "cwd": os.getcwd(),
    "descriptors": sorted(int(name) for name in os.listdir("/proc/self/fd"))[:-1],
    "environment": sorted(f"{name!r}={value!r}" for name, value in os.environb.items() if name != b"_"),
    "leads": os.getpgrp() == os.getpid(), "same group": os.getpgrp() == int(sys.argv[1]),
    "same session": os.getsid(0) == int(sys.argv[2]), "terminal": terminal is not None, "front": front,
    "argv": sys.argv[3:], "stdin": os.readlink("/proc/self/fd/0").split(":")[0].rstrip("0123456789"),
    "tty": [os.isatty(number) for number in (0, 1, 2)], "ids": [os.getuid(), os.getgid(), os.getgroups()],
    "affinity": sorted(os.sched_getaffinity(0)), "oom": open("/proc/self/oom_score_adj").read(),
    "dumpable": status["NoNewPrivs"], "scheduler": os.sched_getscheduler(0), "personality": status["Seccomp"],
}))
"""
#: Makes the surroundings strange, then runs what follows; the view is to be compared with our group and session.
STRANGE = r"""
import os, resource, signal, sys
os.umask(0o031); os.nice(3)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0)); resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))
for number in (signal.SIGHUP, signal.SIGUSR2, signal.SIGRTMIN + 3): signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGVTALRM, signal.SIGRTMIN + 4, signal.SIGTTOU})
signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.dup2(2, 7); os.dup2(2, 42); os.dup2(0, 9)
environment = {**os.environb, b"BASH_FUNC_f%%": b"() { :; }", b"a.b": b"\xff\xfe", b"EMPTY": b"", b"LINES": b"7\n"}
at = sys.argv.index("VIEW")
program = [sys.executable, "-S", "-c", sys.argv[at + 1]]
words = [*sys.argv[1:at], *program, str(os.getpgrp()), str(os.getsid(0)), "", "-x", "é"]
os.execvpe(words[0], words, environment)
"""


def view(terminal: bool, *words: str) -> dict[str, Any]:
    """How the world looks from inside, where `words` run the command."""
    argv = [sys.executable, "-c", STRANGE, *words, "VIEW", VIEW]
    if terminal:
        with Terminal(argv) as opened:
            assert opened.end() == 0, opened.seen
            shown = opened.seen
    else:
        shown = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=True).stdout
    found: dict[str, Any] = json.loads(shown)
    return found


@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
def test_a_command_finds_what_it_would_find_without_qrec(home, terminal):
    native, recorded = view(terminal), view(terminal, *QREC, "-q", "run")
    assert native["ignored"] != "0x0"
    if terminal:  # natively it leads a group of its own only because it was started as the leader of the session
        assert native.pop("leads") != recorded.pop("leads")
    else:
        del native["leads"], recorded["leads"]
    assert recorded == native


def test_files_that_were_opened_for_the_command(qrec, tmp_path):
    """`3>file` in a shell."""
    line = f"{shlex.join(QREC)} -q run sh -c 'echo three >&3; echo nine >&9' 3>{tmp_path}/3 9>{tmp_path}/9"
    subprocess.run(["bash", "-c", line], check=True)
    assert ((tmp_path / "3").read_text(), (tmp_path / "9").read_text()) == ("three\n", "nine\n")
