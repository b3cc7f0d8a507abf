"""The words of the command line: how they are read, and what is said about wrong ones."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrec.api import Qrec
from qrec.cli import run as running
from qrec.cli.verbs import qrec as group
from qrec.cli.words import ALWAYS, RUN, Flag, NotPlain, read_run
from tests.test_look_back import add, call, one_line

# Where options end


@pytest.mark.parametrize(
    ("words", "argv"),
    [
        (["run", "echo", "-m", "x", "--json", "-h"], ["echo", "-m", "x", "--json", "-h"]),
        (["run", "-m", "n", "echo", "-q"], ["echo", "-q"]),
        (["run", "echo", "--", "f"], ["echo", "--", "f"]),
        (["run", "--", "echo", "--", "f"], ["echo", "--", "f"]),
        (["run", "-m", "n", "--", "echo", "--", "f"], ["echo", "--", "f"]),
        (["--", "run", "echo", "a"], ["echo", "a"]),
        (["-m", "n", "--", "run", "--", "echo", "a"], ["echo", "a"]),
        (["run", "echo", "", "-"], ["echo", "", "-"]),
        (["run", "-mnote", "echo", "--debug"], ["echo", "--debug"]),
        (["run", "-qm", "note", "echo", "--", "--help"], ["echo", "--", "--help"]),
        (["run", "--message=", "echo", "--home", "x"], ["echo", "--home", "x"]),
        (["run", "-t", "-x", "-t", "--", "echo", "-t"], ["echo", "-t"]),
    ],
    ids=" ".join,
)
def test_options_end_at_the_first_word(home, qrec, words, argv):
    result = qrec(*words, check=True)
    (row,) = call("ls", "--json").json
    assert row["argv"] == argv
    assert result.out == " ".join(argv[1:]) + "\n"


def test_a_command_that_begins_with_a_dash_needs_the_dashes(home, qrec, tmp_path):
    (tmp_path / "-odd").write_text("#!/bin/sh\necho odd\n")
    (tmp_path / "-odd").chmod(0o755)
    environment: dict[str, str | None] = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert qrec("run", "-q", "--", "-odd", env=environment, check=True).out == "odd\n"
    assert one_line(qrec("run", "-q", "-odd", env=environment), 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("-m one run true", "one"),
        ("run -m one true", "one"),
        ("-m one run -m two true", "two"),
        ("--message=one run true", "one"),
        ("run --message one -m two true", "two"),
        ("-m one run -m '' true", ""),
        ("-m '' run true", ""),
        ("-m -- run true", "--"),
        ("-m run run true", "run"),
    ],
)
def test_a_note_before_the_verb_and_after_it(home, qrec, words, message):
    qrec("-q", *shlex.split(words), check=True)
    (row,) = call("ls", "--json").json
    assert (row["message"], row["argv"]) == (message, ["true"])


def test_options_of_run(home, qrec, tmp_path):
    (tmp_path / "there").mkdir()
    result = qrec("run", "-t", "a", "--tag=b", "-t", "a", "--cwd", "there", "--timeout", "10m", "-e", "shell", "pwd")
    assert result.out == f"{tmp_path}/there\n"
    (row,) = call("ls", "--json").json
    assert (row["tags"], row["pwd"], row["executor"]) == (["a", "b"], f"{tmp_path}/there", "shell")


@pytest.mark.parametrize(
    "words",
    [
        "--foo",
        "-x",
        "run --foo ls",
        "run -x ls",
        "run -m note --foo ls",
        "run --json=yes ls",
        "run -m",
        "run",
        "run --",
        "run -m note",
        "--home",
        "nope",
        "ls --foo",
        "get 1 2",
        "get --foo",
        "log --both",
        "note",
        "config nope",
        "config set store",
        "clear --foo",
        "rerun 1 2",
        "run --timeout soon true",
        "cancel --foo",
        "search --foo x",
    ],
)
def test_wrong_usage_is_one_line_and_2(home, qrec, words):
    one_line(call(*words.split()), 2)
    assert not (home / "qrec.db").exists(), "and nothing was run or recorded"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("run --foo ls", "No such option '--foo'; `qrec run --help` tells more"),
        ("config set store", "Missing argument 'VALUE'; `qrec config set --help` tells more"),
        ("get 1 2", "Got unexpected extra argument (2); `qrec get --help` tells more"),
        ("init", "Missing argument 'bash|zsh|fish'. Choose from: bash, zsh, fish; `qrec init --help` tells more"),
        ("gc --older", "Option '--older' requires an argument; `qrec gc --help` tells more"),
    ],
)
def test_wrong_usage_names_what_helps(home, words, said):
    assert one_line(call(*words.split()), 2) == said


@pytest.mark.parametrize(
    "words", ["get nope", "log nope", "rerun nope", "exec status nope", "cancel nope", "run -e nope ls"]
)
def test_what_cannot_be_done_is_one_line_and_1(home, words):
    add(Qrec().store)
    assert "'nope'" in one_line(call(*words.split()), 1)


def test_a_traceback_is_for_those_who_ask(home, qrec):
    for words in (["get", "nope"], ["run", "--timeout", "soon", "true"], ["ls", "--since", "soon"]):
        assert "Traceback" not in qrec(*words).err
        result = qrec("--debug", *words)
        assert "Traceback" in result.err
        assert result.returncode != 0


def test_debug_is_no_option_of_the_command(home, qrec):
    result = qrec("run", "-q", "--", "sh", "-c", "exit 3", "--debug")
    assert (result.returncode, result.err) == (3, "")


def test_an_unforeseen_error_is_one_line_as_well(home, monkeypatch):
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr(Qrec, "find", broken)
    result = call("ls")
    said = "qrec: ZeroDivisionError: two lines (an error of qrec's own; --debug shows where)\n"
    assert (result.returncode, result.out, result.err) == (1, "", said)
    with pytest.raises(ZeroDivisionError):
        call("--debug", "ls")


# The two readers

VALUES = ["", "note", "two words", "-", "--", "-x", "--json", "run", "10m", "shell", "\u00e9\udcff", "a=b", "="]
NAMES = [name for flag in {*ALWAYS, *RUN} for name in flag.names]
ODD = [
    "-mnote",
    "-qm",
    "-mq",
    "-tx",
    "--mess",
    "--message=",
    "--quiet=yes",
    "--home=",
    "-h",
    "--help",
    "--version",
    "-e=",
]


@st.composite
def options(draw: st.DrawFn, flags: Sequence[Flag]) -> list[str]:
    """Options that are right, in every way of writing them."""
    words: list[str] = []
    for flag in draw(st.lists(st.sampled_from(flags), max_size=4)):
        name, value = draw(st.sampled_from(flag.names)), draw(st.sampled_from(VALUES))
        written = [name] if not flag.metavar else [f"{name}={value}"] if name.startswith("--") else [name, value]
        words += draw(st.sampled_from([written, [name, value]])) if flag.metavar else written
    return words + draw(st.sampled_from([[], [], ["--"]]))


WORDS = st.sampled_from([*NAMES, *VALUES, *ODD]) | st.text("-m=qrun \u00e9", max_size=4)
COMMANDS = st.lists(WORDS, max_size=4)
RIGHT = st.builds(
    lambda before, after, command: [*before, "run", *after, "program", *command],
    options(ALWAYS),
    options(RUN),
    COMMANDS,
)
ANY = st.builds(
    lambda before, right, after, command: [*before, *right, "run", *after, *command],
    st.lists(WORDS, max_size=2), options(ALWAYS), st.lists(WORDS, max_size=2) | options(RUN), COMMANDS,
)  # fmt: skip


def click_reads(words: list[str]) -> tuple[dict[str, Any], list[str]]:
    """The options and the command with which click would run."""
    caught: list[tuple[dict[str, Any], list[str]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "run", lambda options, command: caught.append((dict(options), list(command))))
        group.main(list(words), prog_name="qrec", standalone_mode=False)
    ((options, command),) = caught
    return options, command


@given(RIGHT)
def test_both_readers_agree(words):
    assert read_run(words) == click_reads(words)


@given(ANY)
def test_both_readers_agree_wherever_the_small_one_reads(words):
    """And what click refuses, or shows help for, the small one passes up, so that click says what is wrong."""
    try:
        read = read_run(words)
    except NotPlain:
        return
    assert click_reads(words) == read


@pytest.mark.parametrize(
    "words",
    [
        "run true",
        "run -q true",
        "-m x run -t a -t b --cwd / --timeout 1 -e shell --json echo a",
        "--home h --store s run -- true",
        "--home=h --store=s -- run true",
    ],
)
def test_plain_calls_take_the_fast_way(words):
    assert read_run(words.split()) == click_reads(words.split())


def test_the_words_are_left_as_they_were():
    words = ["-m", "x", "run", "true"]
    read_run(words)
    assert words == ["-m", "x", "run", "true"]


# One argument

CHARACTERS = " \t\n|&;<>()$`\\\"'*?[]#~{}"


@pytest.mark.parametrize("character", CHARACTERS)
def test_one_argument_with_a_blank_or_shell_character_is_a_line(home, monkeypatch, character):
    monkeypatch.setenv("SHELL", "/bin/my shell")
    task = Qrec().new_task([f"a{character}b"])
    assert (task.argv, task.data, task.command) == ((f"a{character}b",), {"shell": "/bin/my shell"}, f"a{character}b")


@pytest.mark.parametrize("word", ["ls", "./a.out", "/bin/ls", "a-b_c+d,e:f@g%h=i", "\u00e9", "-", "--"])
def test_one_plain_word_is_a_program(home, word):
    task = Qrec().new_task([word])
    assert (task.argv, task.data) == ((word,), {})


def test_several_arguments_are_executed_as_they_are(home, qrec):
    assert Qrec().new_task(["echo", "a | b"]).data == {}
    assert qrec("run", "-q", "echo", "a | b", "$HOME").out == "a | b $HOME\n"


def test_a_line_is_for_the_users_shell(home, qrec, tmp_path):
    assert qrec("run", "-q", "echo a | tr a b; exit 3").out == "b\n"
    shell = tmp_path / "my shell"
    shell.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    shell.chmod(0o755)
    assert qrec("run", "-q", "echo a | b", env={"SHELL": str(shell)}).out == "<-c><echo a | b>"
    assert qrec("run", "-q", "echo a  b", env={"SHELL": None}).out == "a b\n", "without one, /bin/sh"
    assert qrec("run", "-q", "echo a  b", env={"SHELL": ""}).out == "a b\n"
    assert qrec("run", "-q", "true x", env={"SHELL": "/no/such/shell"}).returncode == 127


def test_an_empty_command(home, qrec):
    result = qrec("run", "-q", "")
    assert result.returncode == 127
    assert result.err.count("\n") == 1
    (row,) = call("ls", "--json").json
    assert (row["argv"], row["returncode"]) == ([""], 127)
