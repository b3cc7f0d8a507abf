"""What `--help` shows: verbs by purpose, and examples that really work."""

from __future__ import annotations

import gc
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

import qrec as package
from qrec.api import Qrec
from qrec.backends import run
from qrec.cli.groups import Group, OneOf, Shelved, folded
from qrec.cli.verbs import qrec as program
from qrec.cli.words import ALWAYS
from qrec.jobs import Jobs
from qrec.task import Status
from tests.helpers import Result, environment, kill_processes_of, wait_until
from tests.queueing import job, jobs
from tests.terminals import Terminal
from tests.test_look_back import call, in_terminal


def every_command(
    command: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """`("config", "get")` and its command, and so on; the first is the program itself."""
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None, f"{name} is on the list and is not there"
            yield from every_command(inner, (*path, name))


COMMANDS = dict(every_command(program))
IDS = {path: " ".join(("qrec", *path)) for path in COMMANDS}


def examples_in(text: str) -> list[str]:
    """The lines at the end of a help text."""
    _, _, lines = text.partition("\n  Examples:\n")
    return [line.strip() for line in lines.splitlines()]


EXAMPLES = {
    path: examples_in("\n  " + (command.epilog or "").removeprefix("\b\n")) for path, command in COMMANDS.items()
}


def action_examples(name: str) -> list[str]:
    """The examples in the help of an action."""
    return examples_in(call("exec", name, "--help", check=True).out)


# The list of verbs


def test_the_help_fits_a_small_terminal(home, monkeypatch):
    for columns in (80, 100, 200):
        monkeypatch.setenv("COLUMNS", str(columns))
        for option in ("-h", "--help"):
            lines = call(option, check=True).out.splitlines()
            assert len(lines) <= 24
            assert max(map(len, lines)) <= min(columns, 100)
    assert not home.exists()


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("path", [(), ("queue",)], ids=IDS.get)
def test_every_verb_is_listed_under_its_heading(home, monkeypatch, path, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    shown = call(*path, "--help", check=True).out
    command = COMMANDS[path]
    assert isinstance(command, Shelved)
    for heading, verbs in command.shelves.items():
        names = [*verbs]
        assert re.search(rf"(^|\s){heading} +{names[0]} ", shown, re.MULTILINE)
        for name, (_, told) in verbs.items():
            assert re.search(rf"(^|\s){name} +{re.escape(told)}(  |$)", shown, re.MULTILINE)


def test_examples_fit_a_narrow_terminal(home, start):
    shown = in_terminal(start, "queue", "submit", "--help", columns=60)[0].replace("\r\n", "\n")
    assert max(map(len, shown.splitlines())) < 60
    assert " \\\n" in shown
    assert examples_in(re.sub(r" \\\n +", " ", shown)) == EXAMPLES["queue", "submit"]
    assert list(folded("  sort -u 'a  b' \"c d\"", 14)) == ["  sort -u \\", "      'a  b' \\", '      "c d"']


def test_the_list_costs_no_verbs_file(home):
    show = "import sys; from qrec.cli.verbs import qrec; qrec.get_help(__import__('click').Context(qrec)); " + (
        "print(*(name for name in sys.modules if name.startswith('qrec.cli.')))"
    )
    done = subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"qrec.cli.groups", "qrec.cli.verbs", "qrec.cli.words"}


def test_every_option_before_the_verb_is_in_the_list(home):
    shown = call("--help", check=True).out
    assert all(name in shown for flag in ALWAYS for name in flag.names)


@pytest.mark.parametrize("path", [("wait",), ("queue", "wait")], ids=IDS.get)
def test_waiting_ends_nothing(home, path):
    """It has a `--timeout` of its own."""
    shown = call(*path, "--help", check=True).out
    assert "Wait no longer than" in shown
    assert "End the command" not in shown


def test_bare_qrec_shows_the_help(home):
    result = call()
    assert (result.returncode, result.err) == (2, call("--help").out)


def test_version(home):
    assert call("--version", check=True).out == f"qrec {package.__version__}\n"


@pytest.mark.parametrize("path", COMMANDS, ids=IDS.get)
def test_all_help_ends_with_two_examples(home, path):
    for option in ("--help", "-h"):
        shown = call(*path, option, check=True)
        assert shown.err == ""
        assert shown.out.startswith(f"Usage: {IDS[path]} ")
        examples = examples_in(shown.out)
        assert len(examples) >= 2
        assert all(f"qrec {' '.join(path)}".strip() in line or "qrec -m" in line for line in examples[:2]) or not path
        assert all(len(line) <= 100 for line in shown.out.splitlines())
    assert not home.exists()


def test_groups_and_choices_are_those_that_know_the_nearest_word():
    """So that no verb, wherever it is written, answers a wrong word in another way."""
    for path, command in COMMANDS.items():
        assert isinstance(command, Group) or not isinstance(command, click.Group), path
        for parameter in command.params:
            assert isinstance(parameter.type, OneOf) or not isinstance(parameter.type, click.Choice), (path, parameter)


@pytest.mark.parametrize("executor", ["shell", "slurm", "tmux", "queue", "typed"])
def test_the_help_of_every_action_ends_with_two_examples(home, executor):
    for name in Qrec().actions(executor):
        first, second = action_examples(name)
        assert first.startswith(f"qrec exec {name}")
        assert second.startswith(f"qrec exec {name} ")


# The examples are read


def calls_in(line: str) -> list[list[str]]:
    """The words of each call of qrec in a line of shell."""
    inner = re.findall(r"\$\((qrec [^)]*)\)", line)
    if inner:
        return [shlex.split(one)[1:] for one in inner]
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if word and set(word) <= set("|&;<>"):
            found.append([])
        else:
            found[-1].append(word)
    return [words[1:] for words in found if words[:1] == ["qrec"]]


@pytest.mark.parametrize("path", COMMANDS, ids=IDS.get)
def test_examples_are_read_without_complaint(home, path, monkeypatch):
    """Each to its last word, by the verb it is meant for; nothing is done."""
    read: list[str] = []
    monkeypatch.setattr(click.Command, "invoke", lambda _, context: read.append(context.command_path))
    for line in EXAMPLES[path]:
        for words in calls_in(line):
            program.main(words, prog_name="qrec", standalone_mode=False)
            assert read[-1].startswith(IDS[path])
    assert read


# The examples are run

#: What an example needs that is not qrec's, and would be slow or is not on every machine.
STUBS = {"jq": "exec cat", "less": "exec cat", "python": "exit 0", "vi": "test $# = 1"}
#: By their beginning, the examples for which the jobs of all queues have to have ended.
AFTERWARDS = tuple(f"qrec queue {verb}" for verb in ("wait", "monitor", "log", "retry", "cleanup", "timeline"))
#: Those that are for what runs, and those for which there must be nothing yet.
MEANWHILE, BEFORE = ("qrec cancel",), ("qrec queue new", "qrec import")
#: Those that ask, or that need a terminal, and what is answered.
ANSWERS = {"qrec clear 12": b"y\n", "qrec queue clear train": b"y\n"}
#: Codes that tell that something has failed.
CODES = {"qrec queue wait train --timeout 8h": 1, "qrec queue monitor train": 1}
DIFFERS = "qrec diff"  #: its code tells whether anything differs, be it the time that was taken
#: A server, which would go on for ever, and what needs somebody else's process; there are tests of their own.
ELSEWHERE = ("qrec start", "qrec adopt --pid", "qrec adopt --tmux", "qrec adopt --slurm")


def furnish(folder: Path) -> None:
    """Put what the examples speak of into a new folder."""
    for place in ("venv/bin", "programs"):
        (folder / place).mkdir(parents=True)
    (folder / "Makefile").write_text("test data:\n\t@echo made $@\n")
    (folder / "today.log").write_text("an error\n")
    (folder / "words.txt").write_text("b\na\n")
    (folder / "jobs.jsonl").write_text('{"name": "first", "command": "true"}\n')
    (folder / "venv/bin/activate").write_text("")
    for name, line in {**STUBS, "qrec": f'exec {shlex.quote(sys.executable)} -m qrec "$@"'}.items():
        (folder / "programs" / name).write_text(f"#!/bin/sh\n{line}\n")
        (folder / "programs" / name).chmod(0o755)


def fill(folder: Path) -> None:
    """A history of 14 tasks, the twelfth with three attempts, and three queues whose jobs wait."""
    door = Qrec()
    jobs(job("make data", "first"), job("true", "second"))
    jobs(job("true", "prep"), job("test ! -e broken", "eval-3"), job("true", "eval-4"), queue="train")
    jobs(job("true", "train"), queue="demo")
    for number in range(7, 15):
        words = ["make", "no-such-target"] if number == 11 else ["make", "test"]
        door.run(words, show=False, cwd=str(folder), tags=["paper"])
    for _ in range(2):
        door.rerun("12", show=False)


def run_all(folder: Path) -> None:
    """Have the queues run, with one job that fails."""
    (folder / "broken").touch()
    for name in ("default", "train", "demo"):
        run(Jobs(Qrec(), name))
    (folder / "broken").unlink()
    assert {task.status for task in Qrec().find(limit=None)} == {Status.COMPLETE, Status.FAILED}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two homes, as they are before and after the queues have run, and the folder all was run in."""
    stage = tmp_path_factory.mktemp("stage")
    furnish(stage / "work")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(stage / "work")
        patch.setenv("QREC_HOME", str(stage / "waiting"))
        fill(stage / "work")
        assert call("export", "jsonl", "-o", "history.jsonl").returncode == 0
        shutil.copytree(stage / "waiting", stage / "ended")
        patch.setenv("QREC_HOME", str(stage / "ended"))
        run_all(stage / "work")
    gc.collect()  # a store that is closed while its files are copied takes one away
    return stage


@pytest.fixture
def shell(stage: Path, home: Path, start: object, user_home: Path) -> Callable[[str], Result]:
    """Runs a line as a user would type it, in a home that is as the line wants it."""

    def shell(line: str) -> Result:
        if home.exists():
            kill_processes_of(home.parent)  # a hook, or a command that goes on, would make it anew
            shutil.rmtree(home)
        if line.startswith(MEANWHILE):
            begin_two(stage / "work")
        elif not line.startswith(BEFORE):
            shutil.copytree(stage / ("ended" if line.startswith(AFTERWARDS) else "waiting"), home)
        home.mkdir(mode=0o700, exist_ok=True)
        (home / "config.toml").write_text('[hooks.phone]\non = "failed"\nrun = "cat"\n')
        (home / "config.toml").chmod(0o600)
        (user_home / ".qme" / "database").mkdir(parents=True, exist_ok=True)
        (user_home / ".zsh_history").write_text(": 1700000000:2;make\n")
        env = environment({"PATH": f"{stage}/work/programs:{os.environ['PATH']}", "EDITOR": "vi"})
        if line in ANSWERS:
            return answered(line, env, stage / "work")
        program = "fish" if " fish " in line else "bash"
        done = subprocess.run(
            [program, "-c", line],
            env=env,
            cwd=stage / "work",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=100,
        )
        return Result(done.args, done.returncode, done.stdout, done.stderr)

    return shell


def answered(line: str, env: dict[str, str], folder: Path) -> Result:
    """The same in a terminal, where somebody answers."""
    words = ["env", f"PATH={env['PATH']}", "bash", "-c", f"cd {shlex.quote(str(folder))} && {line}"]
    with Terminal(words) as terminal:
        terminal.wait_for(b"]: ")
        terminal.send(ANSWERS[line])
        return Result(line, terminal.end(), terminal.seen, b"")


def begin_two(folder: Path) -> None:
    """Tasks 12 and 13 run."""
    door = Qrec()
    for _ in range(11):
        door.run(["true"], show=False, cwd=str(folder))
    for _ in range(2):
        door.run(["sleep", "600"], show=False, cwd=str(folder), detach=True)
    wait_until(lambda: all(door.get(number).pid for number in ("12", "13")), what="both to run")


@pytest.mark.parametrize("path", [path for path in COMMANDS if path], ids=IDS.get)
def test_examples_work(shell, path):
    for line in EXAMPLES[path]:
        if not line.startswith(ELSEWHERE):
            done = shell(line)
            assert done.returncode in ((0, 1) if line.startswith(DIFFERS) else (CODES.get(line, 0),)), done
            assert "Traceback" not in done.err
            assert "did you mean" not in done.err
