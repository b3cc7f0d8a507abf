"""get, ls, log, note and tag: what has been recorded, as programs and people read it."""

from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import re
import select
import shlex
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from qrec import cli
from qrec.api import Qrec
from qrec.cli.show import width
from qrec.stores.base import Store
from qrec.task import SUMMARY, Kept, Status, Task, new_uid, timestamp
from tests.helpers import Result, wait_until

HOUR_AGO, DAY_AGO, WEEK_AGO = (
    timestamp((datetime.now(timezone.utc) - timedelta(hours=hours)).timestamp()) for hours in (1, 24, 168)
)

#: The keys of the published shape, in their order, and those that came later.
PUBLISHED = "pwd user timestamp message output error returncode pid cmd status".split()
LATER = "number tags attempt signal host created started ended seconds usage facts reason bytes attempts".split()

ESCAPES = re.compile(r"\x1b\[[0-9;]*m")


class Left(BaseException):
    """What `os._exit` would have done."""


def call(*words: str | os.PathLike[str], check: bool = False) -> Result:
    """The command line in this process, where another one would add nothing but its start: no terminal, no stdin."""
    kept = os.dup(1), os.dup(2), sys.stdout, sys.stderr, signal.getsignal(signal.SIGPIPE)

    def leave(code: int) -> None:
        sys.stdout.flush()
        raise Left(code)

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        patch.setattr(cli, "leave", leave)
        try:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), "utf-8", "surrogateescape")
            sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), "utf-8", "backslashreplace")
            cli.main([os.fspath(word) for word in words])
        except Left as left:
            (code,) = left.args
            sys.stderr.flush()
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            os.close(kept[0])
            os.close(kept[1])
            sys.stdout, sys.stderr = kept[2:4]
            signal.signal(signal.SIGPIPE, kept[4])
        out.seek(0)
        err.seek(0)
        result = Result(["qrec", *words], code, out.read(), err.read())
    assert code == 0 or not check, result
    return result


def in_terminal(
    start: Callable[..., subprocess.Popen[bytes]], *words: str, columns: int = 80, **options: Any
) -> tuple[str, int]:
    """What the real program shows in a terminal of so many columns, stdout and stderr together, and its exit code."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    process = start(*words, stdin=theirs, stdout=theirs, stderr=theirs, **options)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while True:
        assert select.select([ours], [], [], max(0, deadline - time.monotonic()))[0], (words, shown)
        try:
            shown += os.read(ours, 65536)
        except OSError as error:
            if error.errno == errno.EIO:
                break  # nobody has the terminal open any more
            raise
    os.close(ours)
    return shown.decode().replace("\r\n", "\n"), process.wait(60)


def plain(shown: str) -> str:
    """Without colours."""
    return ESCAPES.sub("", shown)


def lines(shown: str) -> list[str]:
    """The lines of a terminal, without colours; split at newlines and nothing else."""
    return plain(shown).removesuffix("\n").split("\n")


def one_line(result: Result, code: int = 1) -> str:
    """The one line on stderr with which a call says that it could not."""
    assert (result.returncode, result.stdout) == (code, b""), result
    assert result.err.startswith("qrec: "), result
    assert result.err.endswith("\n"), result
    assert result.err.count("\n") == 1, result
    assert "Traceback" not in result.err, result
    assert "error of qrec's own" not in result.err, result
    return result.err.removeprefix("qrec: ").removesuffix("\n")


@pytest.fixture
def door(home: Path) -> Qrec:
    """The front door of the test's home."""
    return Qrec()


def add(store: Store, command: str = "true", **fields: Any) -> Task:
    """Put a task into the store as if it had been run."""
    kept = fields.pop("kept", Kept())
    status = Status(fields.pop("status", "complete"))
    given: dict[str, Any] = {
        "uid": new_uid(fields.get("executor", "shell")),
        "executor": "shell",
        "argv": tuple(shlex.split(command)),
        "created": HOUR_AGO,
        "started": HOUR_AGO,
        "turn": 1,
        **fields,
    }
    if not status.is_final or status is Status.SKIPPED:
        return store.add(Task(**given, status=status))
    given = {"ended": HOUR_AGO, "returncode": 0 if status is Status.COMPLETE else 1, **given}
    end = {name: given.pop(name) for name in ("ended", "returncode")}
    task = store.add(Task(**given, status=Status.RUNNING))
    return store.swap(task.uid, (Status.RUNNING, 1), status, kept=kept, **end)


def numbers(result: Result) -> list[int]:
    return [row["number"] for row in result.json]


# get


def test_get_prints_the_published_shape(kind, qrec, tmp_path):
    qrec("run", "-m", "a note", "-t", "ci", "sh", "-c", "echo line; echo oops >&2; printf end; exit 3", "x y")
    got = call("get").json
    assert list(got) == ["executor", "uid", "command", "data"]
    assert got["executor"] == "shell"
    assert re.fullmatch(r"shell-[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", got["uid"])
    assert got["command"] == "sh -c 'echo line; echo oops >&2; printf end; exit 3' 'x y'"
    data = got["data"]
    assert list(data)[: len(PUBLISHED)] == PUBLISHED
    assert [name for name in data if name not in PUBLISHED] == LATER
    assert (data["pwd"], data["message"], data["tags"]) == (str(tmp_path), "a note", ["ci"])
    assert (data["output"], data["error"]) == (["line\n", "end"], ["oops\n"])
    assert (data["returncode"], data["signal"], data["status"]) == (3, None, "failed")
    assert data["cmd"] == ["sh", "-c", "echo line; echo oops >&2; printf end; exit 3", "x y"]
    assert data["bytes"] == {"output": 8, "error": 5}
    assert (data["attempt"], data["attempts"], data["number"]) == (1, [1], 1)
    assert isinstance(data["pid"], int)
    assert isinstance(data["user"], str)
    began = datetime.fromisoformat(data["timestamp"].replace("Z", "+00:00"))
    assert datetime.now(timezone.utc) - timedelta(minutes=5) < began <= datetime.now(timezone.utc)
    assert data["timestamp"] == data["started"] < data["ended"]


def test_json_makes_no_difference_to_get(door):
    add(door.store)
    assert call("get", "--json").json == call("--json", "get").json == call("get").json


def test_what_an_executor_notes_never_hides_a_published_key(door):
    add(door.store, "sbatch job.sh", data={"status": "PENDING", "returncode": "?", "jobid": "42", "number": None})
    data = call("get").json["data"]
    assert (data["status"], data["returncode"], data["number"], data["jobid"]) == ("complete", 0, 1, "42")


def test_undecodable_bytes_are_shown_with_replacement(kind, qrec):
    qrec("run", "printf", r"a\377\r\n\0b")
    assert call("get").json["data"]["output"] == ["a\ufffd\r\n", "\0b"]


def test_undecodable_words_are_escapes_in_json(kind, qrec):
    assert qrec("run", "printf", "%s", os.fsdecode(b"caf\xe9")).stdout == b"caf\xe9"
    result = call("get")
    assert os.fsencode(result.json["data"]["cmd"][2]) == b"caf\xe9"
    assert result.stdout.isascii()


def test_get_of_much_output_tells_what_it_leaves_out(kind, qrec):
    qrec("run", "-q", "seq", "100000", check=True)
    result = call("get")
    output = result.json["data"]["output"]
    assert (output[0], output[-1]) == ("1\n", "100000\n")
    (gap,) = [line for line in output if not line.strip().isdigit()]
    told = re.fullmatch(r"\[\.\.\. ([\d,]+) bytes left out; `qrec log 1 --stdout` shows all \.\.\.\]\n", gap)
    assert told, gap
    shown = sum(len(line) for line in output if line != gap)
    assert shown + int(told[1].replace(",", "")) == result.json["data"]["bytes"]["output"] == 588895
    assert len(result.stdout) < 300_000


def test_attempts_in_get(kind, qrec, tmp_path):
    qrec("run", "-q", "sh", "-c", "cat word; exit $(cat word)", env={"LC_ALL": "C"})
    (tmp_path / "word").write_text("7\n")
    assert qrec("rerun", "-q").returncode == 7
    now, first = call("get").json, call("get", "--attempt", "1").json
    assert now["uid"] == first["uid"]
    assert call("get", "1", "--attempt", "2").json == now
    assert now["data"]["attempts"] == first["data"]["attempts"] == [1, 2]
    assert (now["data"]["output"], now["data"]["returncode"]) == (["7\n"], 7)
    assert (first["data"]["output"], first["data"]["error"] != []) == ([], True)
    said = one_line(call("get", "--attempt", "3"))
    assert said == f"{now['uid']} has no attempt 3; it has: 1, 2"


@pytest.mark.parametrize("number", ["0", "-1", "x"])
def test_attempts_begin_with_one(door, number):
    add(door.store)
    assert "--attempt" in one_line(call("get", "--attempt", number), 2)


def test_an_old_attempt_with_much_output_says_how_to_see_it(home, qrec):
    qrec("run", "-q", "seq", "100000", check=True)
    qrec("rerun", "-q", check=True)
    (gap,) = [line for line in call("get", "--attempt", "1").json["data"]["output"] if not line.strip().isdigit()]
    command = re.search("`(.*)`", gap)
    assert command
    shown = call(*command[1].split()[1:])
    assert shown.stdout == call("log", "--attempt", "1").stdout
    assert "--attempt 1" in command[1]


# Which task is meant


def test_the_task_meant_is_the_one_a_person_started_last(kind, qrec):
    qrec("run", "-q", "true", check=True)
    qrec("run", "-q", "echo", "second", check=True)
    assert call("get").json["data"]["number"] == 2
    call("note", "1", "a note makes it no newer", check=True)
    call("tag", "1", "x", check=True)
    call("get", "1", check=True)
    assert call("get").json["data"]["number"] == 2
    qrec("rerun", "-q", "1", check=True)
    assert call("get").json["data"]["number"] == 1
    assert qrec("log").stdout == b""
    qrec("run", "-q", "echo", "third", check=True)
    assert qrec("log").stdout == b"third\n"


def test_every_verb_takes_every_way_of_naming_a_task(kind, door):
    first = add(door.store, "echo one", uid="shell-11aa0000-0000-4000-8000-000000000000")
    second = add(door.store, "echo two", uid="shell-11aabb00-0000-4000-8000-000000000000")
    for reference in ("1", first.uid, "shell-11aa0", "11aa0", "11aa0000-0000-4000-8000-000000000000"):
        assert call("get", reference).json["uid"] == first.uid
        assert call("log", reference).returncode == 0
        assert call("tag", reference, "--json").json == []
        assert call("note", reference, "x", "--json").json["uid"] == first.uid
        assert call("exec", "status", reference, "--json").json["status"] == "complete"
    for words in ("get T", "log T", "rerun T", "note T x", "tag T", "exec status T", "cancel T", "clear T"):
        said = one_line(call(*words.replace("T", "shell-11aa").split()))
        assert said == f"'shell-11aa' fits 2 tasks: {first.uid}, {second.uid}"
        said = one_line(call(*words.replace("T", "nope").split()))
        assert said == "no task is called 'nope'; `qrec ls` lists what there is"


def test_the_number_of_a_cleared_task_means_no_other(kind, door):
    """Numbers are never given again, so that nobody clears, by the same words again, a task whose uid begins so."""
    add(door.store)
    other = add(door.store, uid="shell-1111b000-0000-4000-8000-000000000000")
    call("clear", "1", "-y", check=True)
    for verb in (["get", "1"], ["note", "1", "x"], ["clear", "1", "-y"], ["clear", "111", "-y"]):
        assert one_line(call(*verb)) == f"no task is called '{verb[1]}'; `qrec ls` lists what there is"
    assert call("get", "1111").json["uid"] == other.uid, "so many digits are no slip"


def test_an_empty_store(kind, home):
    assert (call("ls").returncode, call("ls").stdout) == (0, b"")
    assert call("ls").err == "qrec: nothing is recorded yet\n"
    assert call("ls", "--json").json == []
    assert call("search", "word").returncode == 0
    assert call("search", "word", "--json").json == []
    for verb in ("get", "log", "rerun", "cancel"):
        assert one_line(call(verb)) == "nothing is recorded yet; `qrec run COMMAND` makes the first record"
    for words in ("get 1", "log 1", "note 1 x", "tag 1 x", "clear 1 -y"):
        assert one_line(call(*words.split())) == "no task is called '1'; `qrec ls` lists what there is"
    assert not (home / "qrec.db").exists(), "looking makes nothing"


# ls


def test_ls_in_a_pipe_shows_all_of_every_line(kind, door):
    add(door.store, "echo " + "long " * 60)
    add(door.store, "false", status="failed", message="broken\nagain", returncode=137)
    head, first, second = call("ls").out.splitlines()
    assert head.split() == ["uid", "when", "took", "status", "code", "command"]
    assert first.split()[0] == "1"
    assert first.endswith("echo " + "long " * 59 + "long")
    assert second.split()[0] == "2"
    assert "failed" in second
    assert second.endswith("137  false  # broken\\nagain")
    assert "\x1b" not in call("ls").out


def test_ls_in_a_terminal_fits_and_has_colours(kind, start, door):
    for number in range(60):
        add(
            door.store,
            f"echo {number} " + "much " * 40,
            message="a note " * 20,
            status="failed" if number % 2 else "complete",
        )
    add(door.store, "echo " + "\u65e5\u672c\u8a9e" * 60)
    add(door.store, "echo e\u0301" + "u\u0308" * 100)
    add(door.store, "echo \U0001f600" * 40)
    add(door.store, "printf '\x1b[31m\x07\u202e\\n\n'" * 10)
    shown, code = in_terminal(start, "ls")
    assert code == 0
    rows = lines(shown)
    *rows, more = rows
    assert more == "14 more before these; --all lists them"
    assert len(rows) == 51
    assert [row.split()[0] for row in rows[1:]] == [str(number) for number in range(15, 65)]
    assert max(map(width, rows)) <= 80
    assert all(row.endswith("\u2026") for row in rows[1:])
    assert "\x1b[31mfailed" in shown
    assert "\x1b[32mcomplete" in shown
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u202e]", ESCAPES.sub("", shown)), "nothing a command holds acts on it"


@pytest.mark.parametrize("columns", [60, 200])
def test_ls_fits_other_terminals(start, door, columns):
    add(door.store, "echo " + "much " * 60)
    shown, _ = in_terminal(start, "ls", columns=columns)
    assert [width(row) for row in lines(shown)][1:] == [columns]


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_ls_without_colours(start, door, changes):
    add(door.store, "false", status="failed")
    shown, _ = in_terminal(start, "ls", env=changes)
    assert "failed" in shown
    assert "\x1b" not in shown


def test_an_empty_no_color_counts_as_unset(start, door):
    add(door.store, "false", status="failed")
    assert "\x1b[31m" in in_terminal(start, "ls", env={"NO_COLOR": ""})[0]


def test_how_many_are_listed(kind, door):
    for _ in range(53):
        add(door.store)
    assert numbers(call("ls", "--json")) == list(range(4, 54))
    assert numbers(call("ls", "--json", "--all")) == list(range(1, 54))
    assert numbers(call("ls", "--json", "-n", "2")) == [52, 53]
    assert numbers(call("ls", "--json", "-n", "99")) == list(range(1, 54))
    listed = call("ls")
    assert len(listed.out.splitlines()) == 51
    assert listed.err == "3 more before these; --all lists them\n"
    assert (call("ls", "--all").err, call("ls", "-n", "51").err) == ("", "")
    for wrong in ("0", "-3", "many"):
        assert "-n" in one_line(call("ls", "-n", wrong), 2)


def test_the_line_of_how_many_more_counts_what_the_filters_let_through(kind, door):
    for number in range(60):
        add(door.store, tags=("x",) if number < 52 else ())
    assert call("ls", "--tag", "x").err == "2 more before these; --all lists them\n"


def test_the_rows_of_ls_json(kind, door):
    added = add(door.store, "echo 'a b'", message="m", tags=("t", "u"), pwd="/tmp", user="me", host="here")
    (row,) = call("ls", "--json").json
    assert tuple(row) == SUMMARY
    assert row == {**added.summary(), "number": 1}
    assert (row["command"], row["argv"], row["tags"]) == ("echo 'a b'", ["echo", "a b"], ["t", "u"])
    assert row["created"] == HOUR_AGO
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", row["created"])
    assert row["seconds"] == 0
    assert call("--json", "ls").json == [row]


@pytest.fixture
def many(kind: str, door: Qrec, tmp_path: Path) -> Store:
    """Twelve tasks of every sort."""
    store = door.store
    (tmp_path / "a" / "b").mkdir(parents=True)
    folder = str(tmp_path / "a")
    add(store, "echo 1", created=WEEK_AGO, pwd=folder, tags=("ci",))
    add(store, "echo 2", created=WEEK_AGO, pwd=folder + "/b", status="failed")
    add(store, "echo 3", created=DAY_AGO, pwd=folder + "bc", status="lost", tags=("ci", "night"))
    add(store, "echo 4", created=DAY_AGO, pwd="/", status="cancelled")
    add(store, "echo 5", created=DAY_AGO, pwd=folder, status="skipped", tags=("CI",))
    add(store, "echo 6", pwd=folder + "/b/c", status="failed", tags=("night", "ci"))
    add(store, "echo 7", pwd=folder, status="queued")
    add(store, "echo 8", pwd=folder, status="submitted", tags=("night",))
    return store


FILTERS: list[tuple[str, list[int]]] = [
    ("", [1, 2, 3, 4, 5, 6, 7, 8]),
    ("--status complete", [1]),
    ("--status failed", [2, 6]),
    ("--status failed --status lost --status queued", [2, 3, 6, 7]),
    ("--failed", [2, 3, 6]),
    ("--failed --status cancelled", [2, 3, 4, 6]),
    ("--status submitted", [8]),
    ("--tag ci", [1, 3, 6]),
    ("-t ci --tag night", [3, 6]),
    ("--tag nowhere", []),
    ("--since 2h", [6, 7, 8]),
    ("--since 2d", [3, 4, 5, 6, 7, 8]),
    ("--until 2h", [1, 2, 3, 4, 5]),
    ("--since 2d --until 2h", [3, 4, 5]),
    ("--since 2099-01-01", []),
    (f"--since {DAY_AGO}", [3, 4, 5, 6, 7, 8]),
    (f"--until {DAY_AGO}", [1, 2]),
    ("--cwd a", [1, 2, 5, 6, 7, 8]),
    ("--cwd a/b", [2, 6]),
    ("--cwd a/../a/b/", [2, 6]),
    ("--cwd /", [1, 2, 3, 4, 5, 6, 7, 8]),
    ("--cwd a --failed --since 2d", [6]),
    ("--failed -n 2", [3, 6]),
    ("--failed --tag ci --until 2h", [3]),
    ("--cwd a --all", [1, 2, 5, 6, 7, 8]),
]


def test_filters(many, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {words: numbers(call("ls", "--json", *words.split())) for words, _ in FILTERS} == dict(FILTERS)


def test_filters_narrow_a_search_in_the_same_way(many, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert {words: numbers(call("search", "echo", "--json", *words.split())) for words, _ in FILTERS} == dict(FILTERS)


def test_cwd_dot_is_where_we_are(many, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert numbers(call("ls", "--json", "--cwd", ".")) == [2, 6]
    assert numbers(call("ls", "--json", "--cwd", "..")) == [1, 2, 5, 6, 7, 8]


def test_a_folder_may_be_named_through_a_link(home, qrec, tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    qrec("run", "-q", "true", cwd=tmp_path / "real", check=True)
    qrec("run", "-q", "true", cwd=tmp_path / "link", check=True)
    qrec("run", "-q", "--cwd", "link", "true", check=True)
    for folder in ("real", "link"):
        assert numbers(qrec("ls", "--json", "--cwd", folder)) == [1, 2, 3]
        assert numbers(qrec("ls", "--json", "--cwd", ".", cwd=tmp_path / folder)) == [1, 2, 3]


def test_no_task_matches(many):
    result = call("ls", "--tag", "nowhere")
    assert (result.returncode, result.out, result.err) == (0, "", "qrec: no task matches\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--status done", "--status: 'done'"),
        ("--since tomorrow", "'tomorrow' is no time; write 2d (ago), today, 2026-11-20 or '2026-11-20 14:30'"),
        ("--until soon", "'soon' is no time; write 2d (ago), today, 2026-11-20 or '2026-11-20 14:30'"),
        ("shell slurm", "unexpected extra argument"),
    ],
)
def test_wrong_filters(many, words, said):
    assert said in one_line(call("ls", *words.split()), 2)


def test_ls_of_one_executor(many):
    add(many, "sbatch job.sh", executor="slurm")
    assert numbers(call("ls", "shell", "--json", "--failed")) == [2, 3, 6]
    assert numbers(call("ls", "--json", "-n", "1")) == [9]
    assert numbers(call("ls", "shell", "--json", "-n", "1")) == [8]
    assert one_line(call("ls", "nope")) == "no executor is called 'nope'; there are: shell, slurm, tmux, queue, typed"


def test_a_running_task_is_listed_with_its_pid(kind, start, qrec):
    running = start("run", "sh", "-c", "echo $$; exec sleep 60")
    assert running.stdout is not None
    pid = int(running.stdout.readline())
    (row,) = wait_until(lambda: call("ls", "--json", "--status", "running").json)
    assert (row["pid"], row["status"], row["returncode"], row["ended"]) == (pid, "running", None, None)
    assert row["seconds"] > 0
    assert re.search(r"^1  shell-\w{8}  [\d:]{8} +[\d.]+ m?s  running +sh -c", call("ls").out, re.MULTILINE)
    assert call("get").json["data"]["output"] == [f"{pid}\n"]


# log


def test_log_is_byte_exact(kind, qrec, tmp_path):
    noise = bytes(range(256)) * 3 + b"\r\n\0\xff"
    (tmp_path / "noise").write_bytes(noise)
    qrec("run", "-q", "cat", "noise", check=True)
    assert call("log").stdout == call("log", "1").stdout == call("log", "--stdout").stdout == noise
    assert call("log", "--stderr").stdout == b""


def test_log_of_much_output_is_byte_exact(kind, qrec, tmp_path):
    noise = os.urandom(300_000)
    (tmp_path / "noise").write_bytes(noise)
    qrec("run", "-q", "cat", "noise", check=True)
    assert qrec("log").stdout == noise


WORDS = ("one", "two", "three")


def turns(folder: Path) -> Callable[[], object]:
    """Makes a pipe `turn` from which a script reads a line whenever the returned function is called."""
    os.mkfifo(folder / "turn")
    pipe = os.open(folder / "turn", os.O_RDWR | os.O_CLOEXEC)
    return lambda: os.write(pipe, b"\n")


def speak_in_turn(start: Callable[..., subprocess.Popen[bytes]], folder: Path) -> None:
    """Record a command that writes to one stream, then the other, each time when qrec has passed the word before on."""
    go = turns(folder)
    script = "exec 3< turn; for word in $0 $@; do echo $word; read x <&3; echo $word! >&2; read x <&3; done"
    speaking = start("run", "-q", "sh", "-c", script, *WORDS)
    assert speaking.stdout
    assert speaking.stderr
    for word in WORDS:
        assert speaking.stdout.readline().decode() == f"{word}\n"
        go()
        assert speaking.stderr.readline().decode() == f"{word}!\n"
        go()
    assert speaking.wait(60) == 0


def test_log_tells_the_streams_apart_and_keeps_their_order(kind, start, tmp_path):
    speak_in_turn(start, tmp_path)
    assert call("log").out == "one\none!\ntwo\ntwo!\nthree\nthree!\n"
    assert call("log", "--stdout").out == "one\ntwo\nthree\n"
    assert call("log", "--stderr").out == "one!\ntwo!\nthree!\n"
    assert call("log", "-n", "2").out == "three\nthree!\n"
    assert call("log", "-n", "2", "--stdout").out == "two\nthree\n"
    assert call("log", "-n", "0").out == ""
    assert call("log", "-n", "99").out == call("log").out
    assert "-n" in one_line(call("log", "-n", "-1"), 2)


def test_the_last_lines_of_an_unfinished_line(kind, qrec):
    qrec("run", "-q", "printf", r"one\ntwo\nthree", check=True)
    assert call("log", "-n", "1").out == "three"
    assert call("log", "-n", "2").out == "two\nthree"


def test_log_of_an_attempt(kind, qrec, tmp_path):
    (tmp_path / "word").write_text("first\n")
    qrec("run", "-q", "cat", "word", check=True)
    (tmp_path / "word").write_text("second\n")
    qrec("rerun", "-q", check=True)
    assert [call("log", "--attempt", n).out for n in ("1", "2")] == ["first\n", "second\n"]
    assert call("log").out == "second\n"
    assert call("log", "1", "--attempt", "1", "-n", "1", "--json").json == {"stream": "stdout", "text": "first\n"}
    assert "has no attempt 3; it has: 1, 2" in one_line(call("log", "--attempt", "3"))


def test_log_as_json_is_a_line_a_block(kind, qrec):
    qrec("run", "-q", r"printf 'a\377'; sleep 0.05; echo b >&2", check=True)
    blocks = [json.loads(line) for line in call("log", "--json").out.splitlines()]
    assert blocks == [{"stream": "stdout", "text": "a\ufffd"}, {"stream": "stderr", "text": "b\n"}]


@pytest.mark.parametrize("option", [[], ["--stdout"], ["--stderr"]])
def test_following_a_command_while_it_writes(kind, start, tmp_path, option):
    go = turns(tmp_path)
    next_turn = "; read x <&3; "
    script = next_turn.join((r"exec 3< turn; printf 'first\377\n'", "echo oops >&2", "echo second", "printf end"))
    speaking = start("run", "-q", "sh", "-c", script, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: call("ls", "--json").json)
    following = start("log", "-f", *option)
    assert following.stdout
    for line, stream in ((b"first\xff\n", "--stdout"), (b"oops\n", "--stderr"), (b"second\n", "--stdout")):
        if option in ([], [stream]):
            assert following.stdout.readline() == line
        assert (speaking.poll(), following.poll()) == (None, None)
        go()
    assert following.stdout.read() == (b"end" if option != ["--stderr"] else b"")
    assert (following.wait(60), speaking.wait(60)) == (0, 0)


def test_following_what_has_ended(kind, start, tmp_path):
    speak_in_turn(start, tmp_path)
    assert sorted(call("log", "-f").out.splitlines()) == sorted(call("log").out.splitlines())
    assert call("log", "-f", "--stderr").out == "one!\ntwo!\nthree!\n"


def test_following_keeps_the_order_of_what_was_there_before(start, tmp_path):
    speak_in_turn(start, tmp_path)
    assert call("log", "-f").out == call("log").out


def test_following_from_the_last_lines(home, qrec):
    qrec("run", "-q", "seq", "10", check=True)
    assert call("log", "-f", "-n", "2").out == "9\n10\n"


def test_following_as_json(home, qrec):
    qrec("run", "-q", "echo", "x", check=True)
    assert call("log", "-f", "--json").json == {"stream": "stdout", "text": "x\n"}


def test_following_ends_with_ctrl_c(home, start):
    start("run", "sh", "-c", "echo on; exec sleep 60", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: call("ls", "--json").json)
    # whoever started pytest may have it ignored
    following = start("log", "-f", preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    assert following.stdout
    assert following.stdout.readline() == b"on\n"
    following.send_signal(signal.SIGINT)
    _, err = following.communicate(timeout=60)
    assert following.returncode in (130, -signal.SIGINT)
    assert err.strip() == b""
    assert call("ls", "--json").json[0]["status"] == "running", "and the task goes on"


@pytest.mark.parametrize(
    "verb", [["log"], ["log", "-f"], ["ls", "--all"], ["ls", "--all", "--json"], ["search", "word"]]
)
def test_a_reader_that_leaves_is_no_error(home, start, door, verb):
    """`qrec log | head -1`."""
    big = Kept(stdout=b"word " * 12_000)
    for _ in range(80):
        add(door.store, "echo " + "word " * 1000)
    add(door.store, "echo many", kept=big)
    reading, writing = os.pipe()
    process = start(*verb, stdout=writing)
    os.close(writing)
    assert os.read(reading, 1)
    os.close(reading)
    assert process.wait(60) in (-signal.SIGPIPE, 0)
    assert process.stderr is not None
    assert process.stderr.read() == b""


# note and tag


def test_note(kind, door):
    add(door.store, message="old")
    assert call("note", "1", "a", "new  note", check=True).stdout == b""
    assert call("get").json["data"]["message"] == "a new  note"
    row = call("note", "1", "gr\u00fc\u00dfe", "--json").json
    assert (row["message"], tuple(row)) == ("gr\u00fc\u00dfe", SUMMARY)
    call("note", "1", "", check=True)
    assert call("get").json["data"]["message"] == ""
    call("note", "1", "--", "-x", check=True)
    assert call("get").json["data"]["message"] == "-x"
    assert "'TEXT...'" in one_line(call("note", "1"), 2)
    assert "'TASK'" in one_line(call("note"), 2)


def test_tag(kind, door):
    add(door.store, tags=("old",))
    assert call("tag", "1", "b", "a", "b", check=True).stdout == b""
    assert call("tag", "1").out == "old\nb\na\n"
    assert call("tag", "1", "--json").json == ["old", "b", "a"]
    row = call("tag", "1", "c", "-r", "old", "--remove", "b", "--json").json
    assert (row["tags"], tuple(row)) == (["a", "c"], SUMMARY)
    call("tag", "1", "-r", "never there", check=True)
    call("tag", "1", "", check=True)
    assert call("tag", "1").out == "a\nc\n"


def test_a_note_made_during_a_run_survives_its_end(kind, start, tmp_path):
    go = turns(tmp_path)
    running = start("run", "-q", "-m", "before", "sh", "-c", "read x < turn")
    wait_until(lambda: call("ls", "--json").json)
    call("note", "1", "during", check=True)
    call("tag", "1", "x", check=True)
    go()
    assert running.wait(60) == 0
    data = call("get").json["data"]
    assert (data["message"], data["tags"], data["status"]) == ("during", ["x"], "complete")


# --json


def test_json_on_every_verb(kind, qrec):
    """Before the verb or after it; what a command prints stays its own, so `run` and `rerun` tell on stderr."""
    ran = qrec("run", "--json", "echo", "hi")
    assert ran.out == "hi\n"
    row = json.loads(ran.err)
    assert (tuple(row), row["status"], row["number"]) == (SUMMARY, "complete", 1)
    again = qrec("--json", "rerun")
    assert (again.out, json.loads(again.err)["attempt"]) == ("hi\n", 2)
    for words in (["get"], ["ls"], ["search", "hi"], ["log"], ["note", "1", "n"], ["tag", "1", "t"], ["tag", "1"],
                  ["exec"], ["exec", "shell"], ["exec", "status"], ["exec", "output"]):  # fmt: skip
        assert call(*words, "--json").json == call("--json", *words).json, words
    for words in (["config", "list"], ["config", "get", "store"], ["config", "path"]):
        json.loads(call("--json", *words, check=True).out)
        json.loads(call(*words, "--json", check=True).out)
    uid = call("get").json["uid"]
    assert call("clear", "1", "-y", "--json").json == {"removed": [uid], "left": []}
    assert call("clear", "--all", "-y", "--json").json == {"removed": [], "left": []}


FACETS = [
    (["--queue", "nightly"], [3]),
    (["--host", "box"], [1]),
    (["--user", "ada"], [1, 2]),
    (["--commit", "abc"], [2]),
    (["--code", "137"], [3]),
    (["--longer", "1m"], [2]),
    (["--mem-over", "1G"], [1, 3]),
    (["--mem-over", "1G", "--user", "ada"], [1]),
    (["--executor", "shell", "--longer", "500ms", "--failed"], [3]),
]


@pytest.mark.parametrize(("words", "expected"), FACETS, ids=lambda value: " ".join(map(str, value)))
def test_every_facet_narrows_ls_and_search(kind, door, words, expected):
    began = "2026-11-01T10:00:00.000000Z"
    short, long = "2026-11-01T10:00:01.000000Z", "2026-11-01T10:02:00.000000Z"
    small, large = {"memory": 10**6}, {"memory": 2 * 10**9}
    add(door.store, "make a", host="box", user="ada", started=began, ended=began, usage=large)
    add(door.store, "make b", user="ada", started=began, ended=long, usage=small, facts={"commit": "abcdef"})
    failed = {"status": "failed", "returncode": 137, "queue": "nightly"}
    add(door.store, "make c", user="ben", started=began, ended=short, usage=large, **failed)
    listing = [word for word in words if word not in ("--executor", "shell")]
    rows = call("ls", *listing, "--json").json
    assert [row["number"] for row in rows] == expected
    assert [row["number"] for row in call("search", "make", *words, "--json").json] == expected
