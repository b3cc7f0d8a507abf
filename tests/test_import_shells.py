"""Histories of bash, zsh and fish come in as those shells have written them."""

from __future__ import annotations

import os
import resource
import shutil
import stat
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from qrec.api import Qrec
from qrec.doors import shells, sources
from qrec.doors.intake import Intake
from qrec.redact import Redactor
from qrec.task import Status, timestamp
from tests.test_look_back import call, one_line

#: A command line may hold any bytes but NUL.
ANY = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
BYTES = st.binary(min_size=1, max_size=8).map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
PIECES = st.lists(st.sampled_from(["\\", "\n", " ", ":", "#1", "a", ";", "\udc83", "é"]), min_size=1).map("".join)
COMMANDS = st.lists(ANY | BYTES | PIECES, min_size=1, max_size=6)
quickly = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

ZSH = 'for line; do print -rs -- "$line"; done; fc -W "$FILE"'
BASH = """unset HISTFILE; [ ! "$TIMES" ] || HISTTIMEFORMAT=%s; set -o history
for line; do history -s -- "$line"; done; history -w "$FILE" """


def written_by_zsh(file: Path, commands: Sequence[str], extended: bool = True) -> Path:
    """The history of a zsh in which these were typed."""
    options = ["-o", "extendedhistory"] if extended else []
    shell(["zsh", "-f", "-i", *options, "-c", ZSH, "zsh", *commands], FILE=str(file), HISTSIZE="999", SAVEHIST="999")
    return file


def written_by_bash(file: Path, commands: Sequence[str], times: bool = True) -> Path:
    """The history of a bash in which these were typed."""
    shell(["bash", "--norc", "-c", BASH, "bash", *commands], FILE=str(file), TIMES="yes" if times else "")
    return file


def written_by_fish(home: Path, typed: bytes) -> Path:
    """The history of a fish in whose terminal this was typed."""
    variables = {"PATH": os.environ["PATH"], "HOME": str(home), "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    # where that is there, no process goes on that reads all pages of the manual, for a quarter of a minute
    (home / ".local/share/fish/generated_completions").mkdir(parents=True)
    line = ["script", "-qec", "fish -i", "/dev/null"]
    subprocess.run(line, input=typed, env=variables, check=True, capture_output=True, timeout=60)
    return home / ".local/share/fish/fish_history"


def shell(words: Sequence[str], **variables: str) -> None:
    subprocess.run(words, env={**os.environ, **variables}, check=True, stdin=subprocess.DEVNULL, timeout=60)


def lines_of(file: Path) -> list[bytes]:
    with open(file, "rb") as opened:
        return list(opened)


def tasks() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = call("ls", "--json", "--all", check=True).json
    return found


# What the shells write


@quickly
@given(COMMANDS, st.booleans())
@example(["a\\", "a\\ ", "a\\\nb", "\\\n", ": 1:2;x", ":", "\\:x", "\udc83\udca3", "x\n\ny\n", " \n"], True)
@example(["a\\", "a\\ ", "a\\\nb", ": 12:3;x", "\\:x"], False)
def test_any_command_comes_back_from_zsh(tmp_path_factory, commands, extended):
    assume(extended or not any(command.startswith("\\:") for command in commands))  # zsh itself reads it as `:`
    file = written_by_zsh(tmp_path_factory.mktemp("zsh") / "history", commands, extended)
    entries = list(shells.zsh(lines_of(file)))
    assert [entry.command for entry in entries] == commands
    assert all((entry.at is not None) == extended for entry in entries)


@quickly
@given(COMMANDS)
@example(["for i in 1 2\ndo\n\necho $i\ndone", "a", "#x", "a\\", "a"])
def test_any_command_comes_back_from_bash_with_times(tmp_path_factory, commands):
    assume(not any(line[:1] == "#" and line[1:2].isdigit() for one in commands for line in one.split("\n")))
    assume(all(one == one.strip("\n") for one in commands))
    file = written_by_bash(tmp_path_factory.mktemp("bash") / "history", commands)
    entries = list(shells.bash(lines_of(file)))
    assert [entry.command for entry in entries] == commands
    assert all(entry.at for entry in entries)


def test_bash_without_times_has_a_command_a_line(tmp_path):
    file = written_by_bash(tmp_path / "history", ["ls", "for i in 1\ndo echo\ndone", "ls"], times=False)
    entries = list(shells.bash(lines_of(file)))
    assert [entry.command for entry in entries] == ["ls", "for i in 1", "do echo", "done", "ls"]
    assert {entry.at for entry in entries} == {None}


def test_a_bash_history_in_which_times_began_later():
    entries = list(shells.bash([b"ls\n", b"#x 1\n", b"#1700000000\n", b"make\n", b"make test"]))
    assert [(one.place, one.command, one.at) for one in entries] == [
        ("line 1", "ls", None), ("line 2", "#x 1", None), ("line 4", "make", 1.7e9), ("line 5", "make test", None),
    ]  # fmt: skip


def test_what_was_typed_in_fish_comes_in(home, tmp_path):
    typed = ["echo one", "echo 'a\\\\b'", "for i in 1\necho $i\nend", "echo ü: - cmd: x", "ls /", "exit"]
    file = written_by_fish(tmp_path, "".join(f"{line}\n" for line in typed).encode())
    assert call("import", "fish", file, check=True).out == "6 tasks taken in\n"
    found = tasks()
    assert [task["command"] for task in found] == typed
    assert all(task["started"] and task["data"] == {"origin": "fish", "shell": "fish"} for task in found)


def fish_line(command: str) -> bytes:
    """As fish writes it."""
    return b"- cmd: " + os.fsencode(command).replace(b"\\", b"\\\\").replace(b"\n", b"\\n") + b"\n  when: 1700000000\n"


@given(COMMANDS)
def test_any_command_comes_back_from_lines_as_fish_writes_them(commands):
    text = b"".join(map(fish_line, commands))
    assert [entry.command for entry in shells.fish(text.splitlines(keepends=True))] == commands or b"\r" in text


def test_how_zsh_tells_of_time():
    lines = [b": 100:7;took\n", b": 100:0;who knows\n", b": 100:160;an old zsh\n", b"plain\n", b":  100:1;padded\n"]
    assert [(one.command, one.at, one.seconds) for one in shells.zsh(lines)] == [
        ("took", 100, 7), ("who knows", 100, None), ("an old zsh", 100, 60), ("plain", None, None), ("padded", 100, 1),
    ]  # fmt: skip


# As tasks


def test_what_a_task_of_a_history_is(home, kind, tmp_path):
    (tmp_path / "h").write_bytes(b": 1700000000:90;make test\n: 1700000100:0;cd /tmp\n")
    assert call("import", "zsh", tmp_path / "h", check=True).out == "2 tasks taken in\n"
    first, second = tasks()
    assert first["executor"] == "typed"
    assert first["uid"].startswith("typed-")
    assert (first["argv"], first["tags"]) == (["make test"], ["from-zsh"])
    assert (first["data"]["origin"], first["data"]["shell"]) == ("zsh", "zsh")
    assert (first["status"], first["returncode"], first["signal"]) == ("complete", None, None), "nobody noted it"
    assert (first["pwd"], first["host"], first["pid"]) == ("", "", None), "zsh does not tell"
    assert (first["started"], first["created"], first["seconds"]) == (timestamp(1.7e9), timestamp(1.7e9), 90)
    assert (second["ended"], second["seconds"]) == (None, None)
    assert [one["number"] for one in call("ls", "-t", "from-zsh", "--json").json] == [1, 2]
    assert call("search", "make test", "--json").json[0]["number"] == 1
    assert call("get", "1").json["data"]["output"] == []
    assert "make test" in call("ls", check=True).out


def test_an_import_is_never_what_one_has_started_last(home, kind, tmp_path):
    door = Qrec()
    own = door.run(["true"], show=False)
    (tmp_path / "h").write_bytes(b": 1700000000:0;a\n: 99999999999:0;b\n")
    call("import", "zsh", tmp_path / "h", check=True)
    assert door.store.latest().uid == own.uid
    assert call("get", check=True).json["uid"] == own.uid


@pytest.mark.parametrize(("form", "write"), [("zsh", written_by_zsh), ("bash", written_by_bash)])
def test_a_history_that_has_grown_brings_only_what_is_new(home, kind, tmp_path, form, write):
    file = write(tmp_path / "h", ["ls", "make", "ls"])
    assert call("import", form, file, check=True).out == "3 tasks taken in\n"
    assert call("import", form, file, check=True).out == "0 tasks taken in, 3 here already\n"
    with open(file, "ab") as more:
        more.write({"bash": b"#1900000000\nls\n", "zsh": b": 1900000000:0;ls\n"}[form])
    assert call("import", form, file, check=True).out == "1 task taken in, 3 here already\n"
    assert [one["command"] for one in tasks()] == ["ls", "make", "ls", "ls"]


def test_lines_without_a_time_are_known_by_how_often_they_occur(home, tmp_path):
    file = tmp_path / "h"
    file.write_bytes(b"ls\nmake\nls\n")
    os.utime(file, (1.7e9, 1.7e9))
    assert call("import", "bash", file, check=True).out == "3 tasks taken in\n"
    with open(file, "ab") as more:
        more.write(b"make\nls\n")
    assert call("import", "bash", file, check=True).out == "2 tasks taken in, 3 here already\n"
    file.write_bytes(b"ls\nmake\nls\ndate\n")  # bash has dropped the oldest
    assert call("import", "bash", file, check=True).out == "1 task taken in, 3 here already\n"
    found = tasks()
    assert [one["command"] for one in found] == ["ls", "make", "ls", "make", "ls", "date"]
    assert {one["created"] for one in found[:3]} == {timestamp(1.7e9)}, "they were typed by then"
    assert {one["started"] for one in found} == {None}


def test_histories_of_two_machines_are_told_apart(home, tmp_path):
    (tmp_path / "h").write_bytes(b"ls\n")
    for host in ("one", "two", "two"):
        call("import", "bash", tmp_path / "h", "--host", host, check=True)
    assert [one["host"] for one in tasks()] == ["one", "two"]
    assert "--host is for histories that do not tell it" in one_line(call("import", "atuin", "--host", "x"), 2)


def test_secrets_are_left_out_and_the_uid_tells_nothing_of_them(home, kind, tmp_path):
    (tmp_path / "h").write_bytes(b": 1:0;curl -u me:hunter2 host\n: 2:0;export API_TOKEN=abc123def456\n")
    call("import", "zsh", tmp_path / "h", check=True)
    found = tasks()
    assert [one["command"] for one in found] == ["curl -u me:[redacted] host", "export API_TOKEN=[redacted]"]
    assert [one["data"]["redacted"] for one in found] == [1, 1]
    for path in Path(home).rglob("*"):
        assert path.is_dir() or not {b"hunter2", b"abc123def456"} & set(path.read_bytes().split()), path
    (tmp_path / "h").write_bytes(b": 1:0;curl -u me:another1 host\n")
    assert call("import", "zsh", tmp_path / "h").out == "0 tasks taken in, 1 here already\n"


def test_only_a_part_of_a_history(home, tmp_path):
    (tmp_path / "h").write_bytes(b": 1600000000:0;a\n: 1650000000:0;b\n: 1700000000:0;c\n")
    words = ("--since", "2021-01-01", "--until", "2023-01-01")
    assert call("import", "zsh", tmp_path / "h", *words, check=True).out == "1 task taken in\n"
    assert [one["command"] for one in tasks()] == ["b"]


# What is wrong


def test_bad_lines_are_named_and_the_rest_comes_in(home, tmp_path):
    (tmp_path / "h").write_bytes(b": 1:0;a\n: 99999999999999999:0;b\n: 2:0;c\0d\n\n: 3:0;d\n")
    done = call("import", "zsh", tmp_path / "h")
    assert (done.returncode, done.out) == (1, "2 tasks taken in, 2 bad\n")
    assert done.err.splitlines() == [
        f"qrec: {tmp_path}/h, line 2: 1e+17 is no time",
        f"qrec: {tmp_path}/h, line 3: a NUL byte is in it, which no command can hold",
    ]
    (tmp_path / "f").write_bytes(b"- cmd: a\n  when: 1\nrubbish\n- cmd: b\n")
    done = call("import", "fish", tmp_path / "f")
    assert (done.out, done.err) == (
        "2 tasks taken in, 1 bad\n", f"qrec: {tmp_path}/f, line 3: fish writes no such line\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("form", "text", "told"),
    [
        ("bash", b": 1:0;ls\n", "this is no history of bash: it looks like zsh's; `qrec import zsh` reads it"),
        ("zsh", b"- cmd: ls\n", "this is no history of zsh: it looks like fish's; `qrec import fish` reads it"),
        ("zsh", b"\x7fELF\0\0\n", "this is no history of zsh: it looks like no text at all"),
        ("fish", b"ls\n", "this is no history of fish: it does not begin with `- cmd: `"),
        ("bash", b"\x91Yg\n\x03\0\xe1\x1c\n\0e\x14\n", "this is no history of bash: it looks like no text at all"),
        ("zsh", b"SQLite format 3\0", "this is no history of zsh: it looks like a database"),
    ],
)
def test_a_wrong_file_gets_one_line(home, tmp_path, form, text, told):
    (tmp_path / "h").write_bytes(text)
    assert one_line(call("import", form, tmp_path / "h")) == told
    assert not (home / "qrec.db").exists() or tasks() == []


@pytest.mark.parametrize("form", ["bash", "zsh", "fish"])
def test_an_empty_history_brings_nothing(home, tmp_path, form):
    (tmp_path / "h").write_bytes(b"")
    assert call("import", form, tmp_path / "h", check=True).out == "0 tasks taken in\n"


def test_a_history_is_found_where_the_shell_puts_it(home, user_home, monkeypatch, qrec):
    for variable in ("XDG_DATA_HOME", "ZDOTDIR", "HISTFILE"):
        monkeypatch.delenv(variable, raising=False)
    assert "cannot be read: No such file" in one_line(call("import", "zsh"))
    (user_home / ".zsh_history").write_bytes(b": 1:0;in zsh\n")
    (user_home / ".bash_history").write_bytes(b"in bash\n")
    (user_home / ".local/share/fish").mkdir(parents=True)
    (user_home / ".local/share/fish/fish_history").write_bytes(fish_line("in fish"))
    for form in ("zsh", "bash", "fish"):
        assert call("import", form, check=True).out == "1 task taken in\n"
    monkeypatch.setenv("HISTFILE", str(user_home / "own"))
    monkeypatch.setenv("SHELL", "/usr/bin/zsh")
    (user_home / "own").write_bytes(b": 5:0;in my own\n")
    assert call("import", "zsh", check=True).out == "1 task taken in\n"
    assert call("import", "bash", check=True).out == "0 tasks taken in, 1 here already\n"
    assert qrec("import", "zsh", "-", input=b": 9:0;piped\n", check=True).out == "1 task taken in\n"
    assert [one["command"] for one in tasks()] == ["in zsh", "in bash", "in fish", "in my own", "piped"]


def test_the_source_is_read_and_nothing_else(home, tmp_path):
    file = tmp_path / "h"
    file.write_bytes(b"ls\n")
    file.chmod(0o400)
    before = os.stat(file)
    call("import", "bash", file, check=True)
    after = os.stat(file)
    assert (after.st_mtime_ns, after.st_ino, stat.S_IMODE(after.st_mode)) == (before.st_mtime_ns, before.st_ino, 0o400)
    assert sorted(os.listdir(tmp_path)) == sorted({"h", "user", *({"home"} if home.exists() else set())})


def test_what_came_in_can_go_again(home, kind, tmp_path):
    (tmp_path / "h").write_bytes(b"a\nb\n")
    call("import", "bash", tmp_path / "h", check=True)
    (tmp_path / "z").write_bytes(b": 1:0;of zsh\n")
    call("import", "zsh", tmp_path / "z", check=True)
    assert call("clear", "--tag", "from-bash", "-y", check=True).out == "2 tasks removed\n"
    assert [one["command"] for one in tasks()] == ["of zsh"]
    assert call("import", "bash", tmp_path / "h", check=True).out == "2 tasks taken in\n"


# Much of it


def given_zsh(store, path: Path) -> sources.Given:
    return sources.Given(form="zsh", path=str(path), redactor=Redactor(), store=store, user="me")


def test_a_large_history_needs_little_time_and_memory(home, tmp_path):
    """The rate is told of CPU time, and a fifth of what is promised is enough here: other tests run beside it."""
    file = tmp_path / "h"
    with open(file, "w") as out:
        out.writelines(f": {1_600_000_000 + at}:0;git commit -m 'number {at}' && make -j8 target_{at % 97}\n"
                       for at in range(10_000))  # fmt: skip
    store = Qrec().store
    taken: Callable[[], float] = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_utime  # noqa: E731
    began = taken()
    intake = Intake(store, lambda told: pytest.fail(told))
    with open(file, "rb") as lines:
        intake.take(sources.arrivals(given_zsh(store, file), lines))
    assert intake.counts() == {"new": 10_000, "present": 0, "bad": 0}
    assert taken() - began < 10_000 / 1_000
    assert intake.batch == []


def test_statuses_of_what_is_over():
    from qrec.doors.past import status_of

    assert [status_of(code) for code in (None, 0, 1, 130)] == [
        Status.COMPLETE, Status.COMPLETE, Status.FAILED, Status.FAILED,
    ]  # fmt: skip


def test_the_shells_are_here():
    assert all(map(shutil.which, ("bash", "zsh", "fish", "script")))
