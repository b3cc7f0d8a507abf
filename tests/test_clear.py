"""Removing: case 11 of what must work."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qrec import Qrec
from qrec.jobs import Jobs, Submission
from qrec.spool import private_words
from tests.helpers import Result, environment, wait_until


@pytest.fixture(autouse=True, params=["sqlite", "filesystem"])
def store(request, monkeypatch) -> str:
    monkeypatch.setenv("QREC_STORE", request.param)
    return str(request.param)


LARGE = "head -c 100000 /dev/zero | tr '\\0' x; echo large-{}"


@pytest.fixture
def four(qrec) -> None:
    """Two tasks with small output and two with large, of each one that was run twice."""
    door = Qrec()
    for word in ("alpha", "beta"):
        door.run(["echo", word], show=False, tags=["small"])
        door.run(["sh", "-c", LARGE.format(word)], show=False, message=f"note on {word}")
    for number in ("1", "2"):
        door.rerun(number, show=False)
    found = qrec("search", "alpha", "--json").json
    assert [task["number"] for task in found] == [1, 2]


def numbers(qrec: Callable[..., Result]) -> list[int]:
    return [task["number"] for task in qrec("ls", "--json").json]


def remains(home: Path) -> str:
    """Everything that is on disk, as one text."""
    return "".join(path.read_bytes().decode("latin-1") for path in home.rglob("*") if path.is_file())


@pytest.mark.usefixtures("four")
def test_11_clear_removes_what_it_says_and_nothing_else(qrec, home, store):
    before = {task["number"]: task for task in qrec("ls", "--json").json}
    texts = {number: qrec("log", str(number)).stdout for number in (3, 4)}
    files = set((home / "attempts").rglob("stdout"))
    assert len(files) == 3

    result = qrec("clear", "1", "2", "-y")
    assert (result.returncode, result.out) == (0, "2 tasks removed\n")

    assert {task["number"]: task for task in qrec("ls", "--json").json} == {number: before[number] for number in (3, 4)}
    assert {number: qrec("log", str(number)).stdout for number in (3, 4)} == texts
    assert qrec("search", "alpha", "--json").json == []
    assert [task["number"] for task in qrec("search", "beta", "--json").json] == [3, 4]
    # the files of the large outputs: two attempts of task 2 are gone, with their folders
    (left,) = (home / "attempts").rglob("stdout")
    assert left in files
    assert b"large-beta" in left.read_bytes()
    assert len(list((home / "attempts").glob("*/*"))) == 1
    for number in ("1", "2"):
        for verb in (["get", number], ["log", number], ["log", number, "--attempt", "1"]):
            assert qrec(*verb).returncode == 1
    if store == "sqlite":
        search_index_holds(home, "beta", [3, 4])
        search_index_holds(home, "alpha", [])
    else:
        assert "alpha" not in remains(home)


def search_index_holds(home: Path, word: str, numbers: list[int]) -> None:
    """Asks the index itself: contentless, it cannot be asked for anything but matches."""
    match = " AND ".join(f'"{word[i : i + 3]}"' for i in range(len(word) - 2))
    with contextlib.closing(sqlite3.connect(home / "qrec.db")) as db:
        found = db.execute("SELECT rowid FROM search WHERE search MATCH ? ORDER BY rowid", (match,)).fetchall()
        assert [row[0] for row in found] == numbers
        for table in ("attempts", "outputs"):
            rows = db.execute(f"SELECT count(*) FROM {table} WHERE number NOT IN (SELECT number FROM tasks)")
            assert rows.fetchone() == (0,)


@pytest.mark.usefixtures("four")
def test_11_numbers_are_not_given_again(qrec):
    qrec("clear", "4", "-y", check=True)
    qrec("run", "true", check=True)
    assert numbers(qrec) == [1, 2, 3, 5]


@pytest.mark.usefixtures("four")
def test_11_an_unknown_word_removes_nothing(qrec):
    for words in ([""], ["nonsense"], ["nonsense", "1"], ["1", ""], [" "], ["*"], ["%"], ["--al"]):
        result = qrec("clear", *words, "-y", "--force")
        assert result.returncode == (2 if words == ["--al"] else 1), words
        assert result.stdout == b""
        assert result.err.count("\n") == 1
    assert numbers(qrec) == [1, 2, 3, 4]


@pytest.mark.usefixtures("four")
def test_11_without_a_terminal_it_refuses_unless_it_was_told_plainly(qrec):
    for words in ([], ["-y"], ["--force", "-y"], ["1"], ["shell"], ["--all"]):
        result = qrec("clear", *words, input="y\n")
        assert (result.returncode, result.stdout) == (1, b""), words
        assert result.err.count("\n") == 1
        assert "-y" in result.err
        assert ("4 tasks" in result.err) == (words != ["1"])
    assert numbers(qrec) == [1, 2, 3, 4]


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize("words", [["--all", "-y"], ["shell", "-y"]])
def test_11_all_of_them(qrec, home, words):
    assert qrec("clear", *words).out == "4 tasks removed\n"
    assert numbers(qrec) == []
    assert not [path for path in (home / "attempts").rglob("*") if path.is_file()]
    assert qrec("clear", *words).returncode == 0
    assert qrec("run", "true").returncode == 0


@pytest.mark.usefixtures("four")
@pytest.mark.parametrize(("words", "count", "left"), [([], b"4 tasks", []), (["2"], b"task 2", [1, 3, 4])])
@pytest.mark.parametrize("answer", [b"y\n", b"n\n", b"\n", b"\x04"])
def test_11_in_a_terminal_it_asks_and_tells_the_count(qrec, tmp_path, words, count, left, answer):
    keyboard, process = asked_to_clear(tmp_path, *words)
    asked = read_until(keyboard, b"[y/N]")
    assert count in asked
    os.write(keyboard, answer)
    assert process.wait() == (0 if answer == b"y\n" else 1)
    os.close(keyboard)
    assert numbers(qrec) == (left if answer == b"y\n" else [1, 2, 3, 4])


def asked_to_clear(folder: Path, *words: str) -> tuple[int, subprocess.Popen[bytes]]:
    """`qrec clear` in a terminal of its own, and the keyboard of that."""
    keyboard, screen = os.openpty()
    command = [sys.executable, "-m", "qrec", "clear", *words]
    process = subprocess.Popen(
        command, stdin=screen, stdout=screen, stderr=screen, cwd=folder, env=environment(), start_new_session=True
    )
    os.close(screen)
    return keyboard, process


def read_until(descriptor: int, words: bytes) -> bytes:
    shown = b""
    while words not in shown:
        shown += os.read(descriptor, 1000)
    return shown


SECRET = "s3cr3t-token-of-a-service"


@pytest.mark.parametrize("words", [["clear", "queue", "--force", "-y"], ["gc", "--older", "0s", "--all", "-y"]])
def test_11_a_jobs_secrets_go_with_it(qrec, home, words):
    queue = Jobs(Qrec(), "q")
    job = queue.submit(Submission(command=("echo", "hi"), env={"API_TOKEN": SECRET}))
    other = queue.submit(Submission(command=("echo", "hi"), env={"API_TOKEN": f"another-{SECRET}"}))
    if words[0] == "gc":
        queue.cancel([job])
    else:
        words = ["clear", str(job.number), *words[2:]]
    files = [Path(private_words(str(home), one.uid)) for one in (job, other)]
    assert [SECRET in file.read_text() for file in files] == [True, True]
    qrec(*words, check=True)
    assert [file.exists() for file in files] == [False, True]
    assert numbers(qrec) == [other.number]
    assert remains(home).count(SECRET) == 1
    assert list((home / "incoming").glob("*.cleared")) == []


def test_11_secrets_go_though_their_clear_was_killed(qrec, home):
    """After the record, and before the files."""
    door = Qrec()
    job = Jobs(door, "q").submit(Submission(command=("echo", "hi"), env={"API_TOKEN": SECRET}))
    Jobs(door, "q").cancel()
    lines = (
        "import os; from qrec import Qrec; from qrec.recorder import Recorder",
        "Recorder.end_removal = lambda self, task: os._exit(9)",
        f"door = Qrec(); door.remove(door.store.get({job.uid!r}))",
    )
    assert subprocess.run([sys.executable, "-c", "\n".join(lines)], env=environment()).returncode == 9
    assert SECRET in remains(home)
    qrec("ls", check=True)
    assert SECRET not in remains(home)
    assert list((home / "incoming").iterdir()) == []


@pytest.mark.usefixtures("four")
def test_11_unfinished_tasks_are_left_and_named(qrec, start):
    process = start("run", "sleep", "600")
    task = wait_until(lambda: qrec("ls", "--status", "running", "--json").json)[0]
    result = qrec("clear", "--all", "-y")
    assert (result.returncode, result.out) == (0, "4 tasks removed\n")
    assert result.err.count("\n") == 1
    assert task["uid"] in result.err
    assert numbers(qrec) == [5]
    assert process.poll() is None
    assert psutil.pid_exists(task["pid"])


def test_11_force_cancels_first(qrec, start):
    process = start("run", "sleep", "600")
    task = wait_until(lambda: qrec("ls", "--status", "running", "--json").json)[0]
    assert qrec("clear", "1", "--force", "-y").out == "1 task removed\n"
    process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert not psutil.pid_exists(task["pid"])
    assert numbers(qrec) == []


@pytest.mark.usefixtures("four")
def test_11_what_somebody_else_has_cleared_meanwhile_is_gone_as_was_wished(qrec, tmp_path):
    keyboard, process = asked_to_clear(tmp_path)
    read_until(keyboard, b"[y/N]")
    qrec("clear", "2", "-y", check=True)
    os.write(keyboard, b"y\n")
    assert process.wait() == 0
    os.close(keyboard)
    assert numbers(qrec) == []


def test_11_what_runs_on_is_not_confused_by_a_clear(qrec, start, home):
    """A task is cleared while it is being run again: the record of the new attempt must not break every later call."""
    qrec("run", "sh", "-c", "read word; exit 3", check=False)
    process = start("rerun", "1", stdin=subprocess.PIPE)
    wait_until(lambda: qrec("ls", "--status", "running", "--json").json)
    Qrec().store.delete(qrec("ls", "--json").json[0]["uid"])
    process.communicate(b"\n")
    assert process.returncode == 3
    result = qrec("ls")
    assert result.returncode == 0, result
    assert qrec("run", "true").returncode == 0
    assert qrec("ls", "--json").json[-1]["argv"] == ["true"]


def test_11_a_note_made_while_a_task_runs_survives_its_end(qrec, start):
    process = start("run", "-m", "at first", "sh", "-c", "read word; echo $word", stdin=subprocess.PIPE)
    wait_until(lambda: qrec("ls", "--status", "running", "--json").json)
    qrec("note", "1", "seen", "meanwhile", check=True)
    qrec("tag", "1", "kept", check=True)
    process.communicate(b"word\n")
    (task,) = qrec("ls", "--json").json
    assert (task["status"], task["message"], task["tags"]) == ("complete", "seen meanwhile", ["kept"])
    assert qrec("search", "meanwhile", "--json").json[0]["number"] == 1
    assert qrec("search", "at first", "--json").json == []
