"""qrec diff: what differs between two tasks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import psutil
import pytest

from qrec.api import Qrec
from qrec.compare import OutputDifference, word_changes
from qrec.output import Files, InStore
from qrec.stores.base import Bundle
from qrec.task import Kept, Status, Task, new_uid, timestamp
from tests.helpers import wait_until
from tests.test_look_back import in_terminal


@pytest.fixture
def without_diff(tmp_path: Path) -> str:
    """A PATH on which there is all that a test needs, but no program called diff."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "printf", "seq"):
        (folder / name).symlink_to(str(shutil.which(name)))
    return str(folder)


def remember(*outputs: bytes, **fields) -> None:
    """Tasks that have nothing different but what they printed."""
    at = timestamp()
    one = Task(uid="", executor="shell", argv=("x",), status=Status.COMPLETE, returncode=0, created=at, started=at,
               ended=at, **fields)  # fmt: skip
    Qrec().store.add_all(
        [Bundle(task=one.copy(uid=new_uid("shell"), number=n), kept={1: Kept(stdout=output)})
         for n, output in enumerate(outputs, 1)]
    )  # fmt: skip


def test_two_runs(home, qrec, tmp_path):
    (tmp_path / "other").mkdir()
    qrec("run", "sh", "-c", "seq 9; echo same >&2", check=True)
    qrec("run", "-m", "a note", "sh", "-c", "seq 8; echo 9a; echo same >&2; exit 3", cwd=tmp_path / "other")
    shown = qrec("diff", "1", "2")
    assert (shown.returncode, shown.err) == (1, "")
    lines = [" ".join(line.split()) for line in shown.out.partition("output\n")[0].splitlines()]
    assert lines[0] == "command"
    assert "exit code 0 → 3" in lines
    assert "status complete → failed" in lines
    assert "note (none) → a note" in lines
    assert f"folder {tmp_path} → {tmp_path / 'other'}" in lines
    assert any(line.startswith("arguments sh -c [-'seq 9;") for line in lines)
    assert shown.out.partition("output\n")[2] == ("--- 1 stdout\n+++ 2 stdout\n@@ -6,4 +6,4 @@\n 6\n 7\n 8\n-9\n+9a\n")
    assert "same" not in shown.out.partition("output\n")[2]


def test_a_task_and_itself(home, qrec):
    qrec("run", "seq", "3", check=True)
    shown = qrec("diff", "1", "1")
    assert (shown.returncode, shown.out, shown.err) == (0, "", "qrec: nothing differs\n")
    told = qrec("diff", "1", "1", "--json").json
    assert (told["command"], told["facts"], told["usage"], told["output"]) == ({}, {}, {}, {})


def test_two_attempts(home, kind, qrec, tmp_path):
    for word in ("one", "two", "three"):
        (tmp_path / "file").write_text(f"{word}\n")
        qrec(*(["run", "cat", "file"] if word == "one" else ["rerun", "1"]), check=True)
    for words, old, new in (
        (["1", "--attempt", "1"], (1, "one"), (3, "three")),
        (["1", "--attempt", "1", "--attempt", "2"], (1, "one"), (2, "two")),
        (["1", "1", "--attempt", "3", "--attempt", "1"], (3, "three"), (1, "one")),
    ):
        _, _, output = qrec("diff", *words).out.partition("output\n")
        assert output == (
            f"--- 1 attempt {old[0]} stdout\n+++ 1 attempt {new[0]} stdout\n@@ -1 +1 @@\n-{old[1]}\n+{new[1]}\n"
        )


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["1"], "name two tasks"),
        (["1", "99"], "'99'"),
        (["99", "1"], "'99'"),
        (["1", "--attempt", "7"], "no attempt 7"),
        (["1", "--attempt", "1", "--attempt", "1", "--attempt", "1"], "two attempts"),
        ([], "Missing argument"),
        (["1", "1", "-U", "-1"], "-U"),
    ],
)
def test_trouble_is_2_as_for_diff(home, qrec, words, part):
    qrec("run", "true", check=True)
    shown = qrec("diff", *words)
    assert (shown.returncode, shown.out, shown.err.count("\n")) == (2, "", 1)
    assert part in shown.err


def test_options(home, qrec):
    remember(*(("".join(f"{n}\n" for n in range(9)) + end).encode() for end in ("a\n", "b\n")))
    assert qrec("diff", "1", "2", "--stat").out == "output\n   stdout differs, 20 and 20 bytes\n"
    assert qrec("diff", "1", "2", "-U", "1").out == (
        "output\n--- 1 stdout\n+++ 2 stdout\n@@ -9,2 +9,2 @@\n 8\n-a\n+b\n"
    )
    told = qrec("diff", "1", "2", "-U0", "--json")
    assert told.returncode == 1
    assert '"stdout": "--- 1 stdout\\n+++ 2 stdout\\n@@ -10 +10 @@\\n-a\\n+b\\n"' in told.out


def test_facts_and_usage(home, qrec):
    at = timestamp()
    store = Qrec().store
    for n, facts, usage in (
        (1, {"commit": "a", "slurm": {"SLURM_JOB_ID": "1"}}, {"cpu": 1.5, "memory": 1000}),
        (2, {"commit": "a", "slurm": {"SLURM_JOB_ID": "2"}, "python": "/env"}, {"cpu": 1.5, "memory": 2000}),
    ):
        one = Task(uid=new_uid("shell"), executor="shell", argv=("x",), number=n, status=Status.COMPLETE, created=at,
                   facts=facts, usage=usage)  # fmt: skip
        store.add_all([Bundle(task=one)])
    assert qrec("diff", "1", "2").out == (
        "facts\n   slurm SLURM_JOB_ID  1 → 2\n   python              (none) → /env\nusage\n   memory  1.0 kB → 2.0 kB\n"
    )


def test_output_that_is_no_text(home, qrec):
    remember(b"a\0b\n", b"text\n")
    assert qrec("diff", "1", "2").out == "output\nstdout differs, 4 and 5 bytes\n"


def test_bytes_are_exact_for_programs(home, qrec):
    remember(b"\xff\x1b[31mred\r\n", b"\xfe\n")
    assert qrec("diff", "1", "2").stdout == (
        b"output\n--- 1 stdout\n+++ 2 stdout\n@@ -1 +1 @@\n-\xff\x1b[31mred\r\n+\xfe\n"
    )


def test_colours_for_people_and_nothing_that_moves_the_cursor(home, start):
    remember(b"\x1b[2Ja\n", b"b\n")
    shown, code = in_terminal(start, "diff", "1", "2")
    assert code == 1
    assert "\x1b[31m-\\x1b[2Ja\x1b[0m\n" in shown
    assert "\x1b[32m+b\x1b[0m\n" in shown
    assert "\x1b" not in in_terminal(start, "diff", "1", "2", "--no-color")[0]
    assert "\x1b" not in in_terminal(start, "diff", "1", "2", env={"NO_COLOR": "1"})[0]


def test_a_task_that_still_prints(home, start, qrec):
    process = start("run", "sh", "-c", "echo one; exec sleep 60")
    assert process.stdout.readline() == b"one\n"
    wait_until(lambda: qrec("log", "1").out == "one\n")
    qrec("run", "echo", "two", check=True)
    assert qrec("diff", "1", "2").out.endswith("--- 1 stdout\n+++ 2 stdout\n@@ -1 +1 @@\n-one\n+two\n")


# How the lines are compared


def unified(old: bytes, new: bytes, **how) -> bytes:
    outputs = InStore(Kept(stdout=old)), InStore(Kept(stdout=new))
    return b"".join(OutputDifference("stdout", outputs, ("1", "2")).unified(**how))


CASES = [
    (b"a\nb\nc\n", b"a\nB\nc\n"),
    (b"", b"a\n"),
    (b"a", b"a\n"),
    (b"a\nb", b"c"),
    (b"\xff\r\n", b"\xfe\r"),
    (b"".join(b"%d\n" % n for n in range(100)), b"".join(b"%d\n" % n for n in range(100) if n % 40)),
]


@pytest.mark.parametrize(("old", "new"), CASES, ids=range(len(CASES)))
def test_the_program_and_python_tell_the_same(old, new, without_diff, monkeypatch):
    by_program = unified(old, new)
    assert by_program.startswith(b"--- 1 stdout\n+++ 2 stdout\n@@ ")
    monkeypatch.setenv("PATH", without_diff)
    assert unified(old, new) == by_program


def test_without_the_program_much_output_is_not_compared(without_diff, monkeypatch):
    monkeypatch.setenv("PATH", without_diff)
    told = unified(b"a\n" * 600_000, b"b\n")
    assert told == b"stdout differs, 1,200,000 and 2 bytes, too much to compare without the program `diff`\n"


def test_a_fake_diff_that_gives_up_early(tmp_path, monkeypatch):
    fake = tmp_path / "diff"
    fake.write_text("#!/bin/sh\nexit 2\n")
    fake.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    told = unified(b"a\n" * 600_000, b"b\n" * 600_000)
    assert told == b"stdout differs, 1,200,000 and 1,200,000 bytes, too much for `diff`, which ended with 2\n"


def test_a_reader_that_leaves_early():
    outputs = InStore(Kept(stdout=b"a\n" * 600_000)), InStore(Kept(stdout=b"b\n" * 600_000))
    pieces = OutputDifference("stdout", outputs, ("1", "2")).unified()
    assert next(pieces) == b"--- 1 stdout\n"
    pieces.close()  # type: ignore[attr-defined]
    assert "diff" not in [child.name() for child in psutil.Process().children()]


def test_a_large_output_is_not_held_in_memory(tmp_path):
    for name, end in (("a", b"one\n"), ("b", b"two\n")):
        (tmp_path / name).mkdir()
        with open(tmp_path / name / "stdout", "wb") as file:
            for _ in range(48):
                file.write(b"0123456789abcde\n" * 65_536)
            file.write(end)
    from tracemalloc import get_traced_memory, start, stop

    outputs = Files(str(tmp_path / "a")), Files(str(tmp_path / "b"))
    start()
    told = b"".join(OutputDifference("stdout", outputs, ("1", "2")).unified(0))
    peak = get_traced_memory()[1]
    stop()
    assert told == b"--- 1 stdout\n+++ 2 stdout\n@@ -3145729 +3145729 @@\n-one\n+two\n"
    assert peak < 10_000_000  # of 50 MB a side


def test_words_that_changed():
    assert word_changes(["a", "b", "c"], ["a", "x", "c"]) == [(["a"], ["a"]), (["b"], ["x"]), (["c"], ["c"])]
    many = ["x"] * 5_000
    assert word_changes(many, ["y"]) == [(many, ["y"])]
