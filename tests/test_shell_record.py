"""Lines that fit `shell.record` are run by `qrec run`, and mean the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from qrec.api import Qrec, Query
from qrec.config import Config
from tests.shells import Shell, lines
from tests.test_look_back import call, one_line

KINDS = ["bash", "zsh", "fish"]
RULE = r"^([A-Z]+=[^ ]* )?(seq|sh|sleep|tool|mine|cat|gone|echo) "


@pytest.fixture(autouse=True)
def on_path(monkeypatch, home, tmp_path):
    """The shells find qrec, which they call by its name, and a program of this test."""
    tool = tmp_path / "bin" / "tool"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nprintf "%s|" "$X" "$@"; echo\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("QREC_SHELL_RECORD", RULE)


@pytest.fixture(params=KINDS)
def shell(request, home, tmp_path):
    with Shell(request.param, tmp_path) as shell:
        yield shell


def recorded() -> list[list[str]]:
    """The words of what was recorded whole."""
    return [list(task.argv) for task in Qrec().find(Query(executor="shell"), None)]


def test_a_command_is_recorded_with_its_output_and_code(shell):
    shell.type("sh -c 'echo out; echo err >&2; exit 7'", f"echo is-{'$status' if shell.kind == 'fish' else '$?'}")
    assert recorded() == [["sh", "-c", "echo out; echo err >&2; exit 7"]]
    (task,) = Qrec().find(Query(executor="shell"))
    assert (task.returncode, Qrec().output(task).read("stdout")) == (7, b"out\n")
    assert b"is-7" in shell.seen
    assert [line[:4] for line in lines()] == ["echo"], "what is built into the shell is not changed"


def test_words_are_the_shells_own(shell, tmp_path):
    (tmp_path / "a b.x").touch()
    shell.type(
        "tool  $HOME *.x 'a  b' \"c $HOME\" \\\\ '' '*' >seen", "X=y tool z >>seen", "tool 1 2>&1 | cat - >>seen"
    )
    assert recorded() == [["tool", os.environ["HOME"], "a b.x", "a  b", f"c {os.environ['HOME']}", "\\", "", "*"],
                          ["tool", "z"], ["tool", "1"]]  # fmt: skip
    assert (tmp_path / "seen").read_text() == "|{0}|a b.x|a  b|c {0}|\\||*|\ny|z|\n|1|\n".format(os.environ["HOME"])


def test_the_history_has_what_was_typed(shell, home):
    shell.type("seq 2", "true")
    shell.send(b"\x1b[A" * 3 + b"\r")  # past what `type` has asked
    shell.settle()
    assert recorded() == [["seq", "2"], ["seq", "2"]]
    assert lines() == ["true"]


def test_the_terminal_is_its_own(shell):
    shell.type("sh -c 'test -t 0 && test -t 1 && echo is-a-$((40 + 2))-terminal'")
    assert b"is-a-42-terminal" in shell.seen
    shell.send(b"sleep 60\r")
    shell.wait_until(lambda: shell.runs("sleep"))
    shell.interrupt()
    assert [task.returncode for task in Qrec().find(Query(executor="shell"))] == [0, 130]


#: What is left as it is, by its shell; each would be something else, or is not the program that its name says.
LEFT_ALONE = {
    "bash": ["seq 1 && seq 2", "seq 1; true", "seq $(seq 1)", "echo 1", "seq 2 & wait", "(seq 1)",
             "mine 1", "cat <<X\nX", "seq `seq 1`", 'seq "$(seq 1)"',
             "gone 1", "seq 1 ||\ntrue", "seq 1 |\ncat", "seq '1\n2'", "cat <(seq 1)",
             "seq 1 \\\n2", "cat <<< x"],
    "zsh": ["seq 1 && seq 2", "seq 1; true", "seq $(seq 1)", "echo 1", "seq 2 & wait", "(seq 1)", "mine 1",
            "cat <<X\nX", "seq `seq 1`", "gone 1", "seq 1 |\ncat", "cat <(seq 1)", "cat =(seq 1)"],
    "fish": ["seq 1; and seq 2", "seq 1 && seq 2", "seq (seq 1)", "echo 1", "seq 2 &", "mine 1", "gone 1",
             "seq 1 |\ncat"],
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_just_a_program_is_left_alone(kind, home, tmp_path):
    with Shell(kind, tmp_path) as shell:
        shell.type(
            " alias tool='true'", " function mine; true; end" if kind == "fish" else " mine() { true; }", "tool 1"
        )
        for line in LEFT_ALONE[kind]:
            shell.send(line.replace("\n", "\r").encode() + b"\r")
            shell.settle()
        assert recorded() == []
        assert [line.replace("\n    ", "\n") for line in lines()] == ["tool 1", *LEFT_ALONE[kind]]


def test_nothing_is_left_behind(shell, tmp_path):
    """A script that is read later calls the program itself."""
    (tmp_path / "script").write_text("seq 3 >three\n")
    shell.type("seq 2", " source ./script")
    assert recorded() == [["seq", "2"]]
    assert (tmp_path / "three").read_text() == "1\n2\n3\n"


def test_without_qrec_on_the_path_it_runs_as_it_is(shell, tmp_path):
    path = os.environ["PATH"].replace(str(Path(sys.executable).parent), "/nowhere")
    shell.type(f" set -gx PATH {path.replace(':', ' ')}" if shell.kind == "fish" else f" PATH={path}", "tool 1 >seen")
    assert (tmp_path / "seen").read_text() == "|1|\n"
    assert lines() == ["tool 1 >seen"]


def test_hidden_lines_are_not_recorded_whole_either(home, tmp_path):
    for kind in KINDS:
        with Shell(kind, tmp_path, QREC_SHELL_IGNORE="--quiet", QREC_SHELL_TYPED="no") as shell:
            shell.type(" tool 1", "tool --quiet", "true", "tool 2")
    assert recorded() == [["tool", "2"]] * 3
    assert lines() == [], "it was not asked for"


def test_the_home_and_store_that_init_was_given(tmp_path, home):
    for kind in KINDS:
        init = f"qrec --home '{tmp_path}/a b' --store filesystem init {kind}"
        with Shell(kind, tmp_path, f"{init} | source" if kind == "fish" else f'eval "$({init})"') as shell:
            shell.type("tool 1", "true")
    assert not (home / "qrec.db").exists()
    door = Qrec(f"{tmp_path}/a b", "filesystem")
    assert sorted(task.command for task in door.find()) == ["tool 1"] * 3 + ["true"] * 3


# What init prints


CHECKS = {"bash": ["shellcheck", "-s", "bash"], "zsh": ["zsh", "-n"], "fish": ["fish", "--no-execute"]}


def checked(kind: str, script: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*CHECKS[kind], *options, str(script)], capture_output=True, text=True)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_printed_is_sound(kind, tmp_path, home):
    script = tmp_path / "script"
    script.write_text(call("init", kind, "--record", check=True).out)
    done = checked(kind, script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("kind", KINDS)
def test_odd_names_and_patterns_reach_the_shell(kind, tmp_path, home, monkeypatch):
    monkeypatch.setenv("QREC_SHELL_IGNORE", 'it\'s "odd" \\\\ $x `y`\n%s @HINTS@')
    script = tmp_path / "script"
    script.write_text(call("--home", tmp_path / 'it\'s "a" $home\\', "init", kind, "--record", check=True).out)
    done = checked(kind, script, *(["-S", "warning"] if kind == "bash" else []))  # some are strange to look at
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    run = {"fish": "echo $_qrec_folder; echo $_qrec_ignore"}.get(kind, 'printf "%s\\n" "$_qrec_folder" "$_qrec_ignore"')
    done = subprocess.run([kind, "-c", f". {script}; {run}"], capture_output=True, text=True)
    assert done.stdout == f'{tmp_path}/it\'s "a" $home\\/typed\n(it\'s "odd" \\\\ $x `y`)|(%s @HINTS@)\n'


def test_only_completion_where_nothing_else_is_asked_for(home, monkeypatch):
    monkeypatch.setenv("QREC_SHELL_RECORD", "")
    assert call("init", "bash").out == call("completion", "bash").out
    assert "_qrec_" in call("init", "bash", "--record").out
    monkeypatch.setenv("QREC_SHELL_TYPED", "1")
    assert call("init", "bash", "--no-record").out == call("completion", "bash").out


def test_completion_comes_with_it(home, tmp_path):
    with Shell("bash", tmp_path) as shell:
        assert "_qrec_completion" in shell.ask("complete -p qrec")


def test_patterns_that_shells_do_not_know_are_refused(home, monkeypatch):
    for pattern, what in ((r"\d+", r"'\\d'"), ("(?:a)", "'(?'"), ("a*?", "'*?'"), ("(", "no regular expression")):
        assert what in one_line(call("config", "set", "shell.record", pattern), 2)
        assert what in one_line(call("config", "set", "shell.ignore", pattern), 2)
    monkeypatch.setenv("QREC_SHELL_RECORD", "[")
    assert "no regular expression" in one_line(call("init", "bash"), 2)


def test_the_table_of_the_settings(home):
    home.mkdir()
    (home / "config.toml").write_text('[shell]\ntyped = true\nignore = ["^a"]\nrecord = "^b "\n')
    config = Config(str(home), {})
    assert (config.get("shell.typed"), config.get("shell.ignore"), config.get("shell.record")) == (True, ("^a",), "^b ")
    assert (config.get("shell"), config.source("shell"), config.source("shell.typed")) == ("", "default", "config file")
    config.set("shell", "/bin/zsh")
    assert Config(str(home), {}).get("shell") == "/bin/zsh"


def test_a_shell_that_was_set_before_moves_into_the_table(home):
    config = Config(str(home), {})
    config.set("shell", "/bin/zsh")
    config.set("shell.typed", "yes")
    config.set("quiet", "yes")
    again = Config(str(home), {})
    assert (again.get("shell"), again.get("shell.typed"), again.get("quiet")) == ("/bin/zsh", True, True)
