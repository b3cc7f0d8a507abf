"""Much output: case 9 of what must work.

Peak memory and CPU are told by a small process between the test and qrec: a child shares its parent's memory until it
executes its program, and pytest's is large.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from tests.helpers import wait_until

MB = 1_000_000
LIMIT = 60 * MB
BLOCKS = 500
THE_END = b"the end\n"

#: Prints so many MB that never repeat: lines of text, bytes that are no text, and an end of its own.
PROGRAM = f"""
import sys
filler = bytes(range(256)) * {MB // 256 + 1}
for number in range(int(sys.argv[1])):
    head = b"block %d\\n" % number
    sys.stdout.buffer.write(head + filler[: {MB} - len(head) - 1] + b"\\n")
sys.stdout.buffer.write(b"the end\\n")
sys.stdout.flush()
print("a word aside", file=sys.stderr)
sys.stdin.read()
"""

#: Runs a program, then tells its exit code, CPU seconds and peak memory.
MEASURE = """
import json, os, sys
pid = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(pid, 0)
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024], file)
"""


class Measured(NamedTuple):
    code: int
    cpu: float
    memory: int
    size: int
    hash: str


@pytest.fixture
def measured(tmp_path, home) -> Callable[..., Measured]:
    """Runs qrec with much output: what it used, and what came out."""

    def measured(*words: str, stdin: int = subprocess.DEVNULL) -> Measured:
        figures = tmp_path / "figures"
        process = subprocess.Popen(
            [sys.executable, "-c", MEASURE, str(figures), sys.executable, "-m", "qrec", *words],
            stdin=stdin,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
        )
        assert process.stdout
        size, digest = 0, hashlib.sha256()
        while block := process.stdout.read(1 << 20):
            size += len(block)
            digest.update(block)
        process.stdout.close()
        assert process.wait() == 0
        code, cpu, memory = json.loads(figures.read_text())
        return Measured(code, cpu, memory, size, digest.hexdigest())

    return measured


def printing(blocks: int) -> tuple[str, ...]:
    """The words that print so much."""
    return (sys.executable, "-c", PROGRAM, str(blocks))


def expected_hash(blocks: int) -> str:
    filler, digest = bytes(range(256)) * (MB // 256 + 1), hashlib.sha256()
    for number in range(blocks):
        head = b"block %d\n" % number
        digest.update(head + filler[: MB - len(head) - 1] + b"\n")
    digest.update(THE_END)
    return digest.hexdigest()


@pytest.mark.parametrize(("store", "blocks"), [("sqlite", BLOCKS), ("filesystem", 120)])
def test_9_five_hundred_megabytes(measured, qrec, home, monkeypatch, store, blocks):
    """It lies in files with either store, so that one of them shows it at full size, the other above the limit."""
    monkeypatch.setenv("QREC_STORE", store)
    exact, size = expected_hash(blocks), blocks * MB + len(THE_END)

    ran = measured("-q", "run", *printing(blocks))
    assert (ran.code, ran.size, ran.hash) == (0, size, exact)
    assert ran.memory < LIMIT

    shown = measured("log", "--stdout")
    assert (shown.code, shown.size, shown.hash) == (0, size, exact)
    assert shown.memory < LIMIT

    # What looks at the record is as quick and as small as for any other.
    for words in (["ls"], ["get"], ["search", "block 0"], ["log", "-n", "1"], ["exec", "status"]):
        looked = measured(*words)
        assert looked.code == 0
        assert looked.cpu < 3, words
        assert looked.memory < 2 * LIMIT, words
        assert looked.size < 500_000, words

    data = qrec("get").json["data"]
    assert data["bytes"] == {"output": size, "error": len("a word aside\n")}
    assert data["error"] == ["a word aside\n"]
    assert data["output"][0] == "block 0\n"
    assert data["output"][-1] == "the end\n"
    (gap,) = (line for line in data["output"] if "left out" in line)
    left_out = size - sum(len(line) for line in data["output"] if line != gap)
    assert "qrec log 1 --stdout" in gap
    # as text the bytes that are not UTF-8 count one character each, so the sum is the bytes'
    assert f"{left_out:,} bytes" in gap
    assert qrec("log", "-n", "1", "--stdout").stdout.endswith(b"the end\n")
    assert qrec("search", "a word aside", "--json").json[0]["number"] == 1
    assert qrec("search", "the end", "--json").json[0]["number"] == 1

    qrec("clear", "1", "-y", check=True)
    assert not list((home / "attempts").rglob("*"))


def test_9_qrec_stays_small_while_it_runs(start, home):
    """Seen from outside, before its end; with nobody reading what it passes on until all is there."""
    process = start("-q", "run", *printing(BLOCKS), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    size = BLOCKS * MB + len(THE_END)
    wait_until(lambda: sum(file.stat().st_size for file in (home / "attempts").rglob("stdout")) == size, 90)
    wait_until(lambda: list((home / "attempts").rglob("stderr")))
    assert peak(process.pid) < LIMIT
    process.stdin.close()
    assert process.wait() == 0
    for file in (home / "attempts").rglob("stdout"):
        file.unlink()


def peak(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def test_9_one_endless_line(qrec, measured):
    """Progress bars and JSON in one line: nowhere a break to cut at."""
    size = 20 * MB
    ran = measured("-q", "run", sys.executable, "-c", f"print('x' * {size}, end='')")
    assert ran.size == size
    shown = measured("get")
    assert shown.size < 500_000
    data = qrec("get").json["data"]
    assert [set(line) == {"x"} for line in data["output"]] == [True, False, True]
    assert f"{size - len(data['output'][0]) - len(data['output'][2]):,} bytes left out" in data["output"][1]
    assert measured("log").size == size


def test_9_a_reader_who_takes_his_time_holds_the_command_back(start, home):
    """Back-pressure: what is not read is not piled up in qrec."""
    process = start("run", *printing(BLOCKS))
    assert process.stdout.read(10) == b"block 0\n\x00\x01"
    blocked = wait_until(lambda: blocked_in_write(process.pid))
    assert blocked
    written = sum(file.stat().st_size for file in (home / "attempts").rglob("stdout"))
    assert written < 20 * MB
    assert peak(process.pid) < LIMIT


def blocked_in_write(pid: int) -> bool:
    """Whether the main thread waits for its reader; write is call number 1 on x86-64, 64 on arm64."""
    try:
        with open(f"/proc/{pid}/task/{pid}/syscall") as file:
            words: list[Any] = file.read().split()
    except OSError:
        return False
    return words[0] in ("1", "64") and words[1] == "0x1"
