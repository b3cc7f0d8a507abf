"""What real shells offer when somebody presses Tab."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.cli.completion import SCRIPTS
from tests.helpers import environment
from tests.test_look_back import add, call

SHELLS = ["bash", "zsh", "fish"]


def needs(shell: str) -> None:
    """Skip where the shell is missing; CI has it, by tools/setup."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")


@pytest.fixture(autouse=True)
def on_path(monkeypatch, home):
    """The shells find qrec, which they call by its name."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture
def history(home):
    """Three tasks, of which one is still running."""
    store = Qrec().store
    return [
        add(store, "make all", tags=("paper", "a b")),
        add(store, "sh -c 'echo \t,:%'", tags=("paper", "$(touch x)")),
        add(store, "sleep 60", status="running"),
    ]


def run_shell(*words: str) -> list[str]:
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return [line for line in done.stdout.splitlines() if line]


def bash(*words: str) -> list[str]:
    """What bash's COMPREPLY holds for these words, of which the last is being typed."""
    needs("bash")
    script = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _qrec_completion qrec; printf "%s\\n" "${COMPREPLY[@]}"'
    return run_shell("bash", "--norc", "-c", f"{SCRIPTS['bash']}\n{script}", "bash", *words)


def fish(line: str) -> list[str]:
    """What fish offers for a line, with descriptions behind a tab."""
    needs("fish")
    return run_shell("fish", "--no-config", "-c", f"{SCRIPTS['fish']}\ncomplete -C {line!r}")


class Zsh:
    """A zsh in a terminal.  Ctrl-X prints the line as it stands, since what zsh offers is only to be seen."""

    START = """
        PS1='> '
        unsetopt beep prompt_sp
        setopt auto_list no_auto_menu no_always_last_prompt
        LISTMAX=1000
        autoload -Uz compinit
        compinit -u -D
        show() { print -r -- "<<$BUFFER>>"; BUFFER=; zle .reset-prompt }
        zle -N show
        bindkey '^X' show
        eval "$(qrec completion zsh)"
        print ready:
    """

    def __init__(self, folder: Path) -> None:
        needs("zsh")
        (folder / ".zshrc").write_text(self.START)
        self.ours, theirs = pty.openpty()
        size: dict[str, str | None] = {"COLUMNS": "200", "LINES": "50", "TERM": "dumb", "ZDOTDIR": str(folder)}
        self.shell = subprocess.Popen(
            ["zsh", "-d", "-i"],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(size),
            start_new_session=True,
        )
        os.close(theirs)
        self.say("", "ready:\r\n")

    def say(self, keys: str, until: str) -> str:
        """Type, and return what is shown until these words come."""
        os.write(self.ours, keys.encode())
        shown, deadline = "", time.monotonic() + 60
        while until not in shown:
            left = deadline - time.monotonic()
            assert select.select([self.ours], [], [], max(0, left))[0], (keys, shown)
            shown += os.read(self.ours, 65536).decode("utf-8", "replace")
        return shown

    def completed(self, line: str) -> str:
        """What one Tab makes of a line."""
        return self.say(line + "\t\x18", ">>").rpartition("<<")[2].partition(">>")[0]

    def listed(self, line: str, last: str) -> str:
        """What one Tab lists, up to the words that come last."""
        shown = self.say(line + "\t", last)
        self.say("\x18", ">>")
        return shown.partition(line)[2]

    def close(self) -> None:
        self.shell.kill()
        self.shell.wait()
        os.close(self.ours)


@pytest.fixture
def zsh(tmp_path):
    shell = Zsh(tmp_path)
    yield shell
    shell.close()


# What is offered


def test_the_scripts_are_printed():
    for shell in SHELLS:
        assert call("completion", shell, check=True).out == SCRIPTS[shell]
    assert call("completion", "tcsh").returncode == 2


def test_verbs_and_options(home):
    assert {"run", "ls", "export", "store", "completion"} <= set(bash("qrec", ""))
    assert bash("qrec", "ge") == ["get"]
    assert bash("qrec", "store", "") == ["copy", "schema"]
    assert "--columns" in bash("qrec", "ls", "--c")


def test_task_numbers_newest_first_and_uids(history):
    assert bash("qrec", "get", "") == ["3", "2", "1"]
    assert bash("qrec", "log", "2") == ["2"]
    assert bash("qrec", "note", history[0].uid[:12]) == [history[0].uid]
    assert bash("qrec", "cancel", "") == ["3"], "only what still runs can be cancelled"
    assert bash("qrec", "export", "jsonl", "1", "") == ["3", "2", "1"]
    assert bash("qrec", "clear", "") == ["3", "2", "1", "shell", "slurm", "tmux", "queue", "typed"]


def test_numbers_that_begin_so(home):
    store = Qrec().store
    for _ in range(12):
        add(store)
    assert bash("qrec", "get", "1") == ["12", "11", "10", "1"]


def test_actions_and_their_tasks(history):
    assert bash("qrec", "exec", "st") == ["status"]
    assert bash("qrec", "exec", "")[:4] == ["status", "output", "error", "cancel"]
    assert bash("qrec", "exec", "")[-3:] == ["3", "2", "1"]
    assert bash("qrec", "exec", "status", "") == ["3", "2", "1"]
    assert bash("qrec", "exec", "3", "c") == ["cancel"]


def test_tags_whatever_they_contain(history):
    assert bash("qrec", "tag", "3", "pa") == ["paper"]
    assert bash("qrec", "ls", "--tag", "") == ["paper", r"\$\(touch\ x\)", r"a\ b"], (
        "the most frequent first, all quoted"
    )
    assert bash("qrec", "search", "-t", "a") == [r"a\ b"]
    assert bash("qrec", "ls", "--tag", "=", "p") == ["paper"], "bash takes --tag=p apart"
    assert not Path("x").exists()


def test_values_of_options(history, tmp_path):
    assert bash("qrec", "ls", "--status", "f") == ["failed"]
    assert bash("qrec", "ls", "sh") == ["shell"]
    assert bash("qrec", "run", "-e", "") == ["shell", "slurm", "tmux", "queue", "typed"]
    assert bash("qrec", "--store", "f") == ["filesystem"]
    assert bash("qrec", "store", "copy", "sqlite", "fi") == ["filesystem"]
    assert bash("qrec", "config", "set", "gr") == ["grace"]
    assert bash("qrec", "export", "c") == ["csv"]
    assert bash("qrec", "ls", "--columns", "number,mem") == ["number,memory"]


def test_the_home_that_the_line_names(history, tmp_path):
    add(Qrec(str(tmp_path / "other")).store)
    assert bash("qrec", "--home", str(tmp_path / "other"), "get", "") == ["1"]
    assert bash("qrec", "--home", str(tmp_path / "none"), "get", "") == []


def test_after_run_the_command_is_completed_as_if_alone(history, tmp_path):
    tool = tmp_path / "bin" / "a-tool-of-this-test"
    tool.parent.mkdir()
    tool.touch(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
        assert bash("qrec", "run", "a-tool-of") == [tool.name]
        assert bash("qrec", "-q", "run", "-t", "x", "a-tool-of") == [tool.name]
    assert "--timeout" in bash("qrec", "run", "--t")
    assert bash("qrec", "run", "-t", "pa") == ["paper"], "an option's value is still ours"
    assert bash("qrec", "run", "ls", "--t") == [], "an option of ls is none of ours"


def test_nothing_is_offered_and_nothing_said_where_something_is_wrong(home):
    home.mkdir()
    (home / "qrec.db").write_bytes(b"no database at all" * 100)
    done = subprocess.run(
        [sys.executable, "-m", "qrec"],
        env=environment({"_QREC_COMPLETE": "bash_complete", "COMP_WORDS": "qrec\nget\n", "COMP_CWORD": "2"}),
        capture_output=True,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    assert bash("qrec", "get", "") == []
    assert "get" in bash("qrec", "g")


def test_completion_leaves_run_alone(qrec, history):
    """The variable in the environment means something only where no word was given."""
    assert qrec("-q", "run", "echo", "x", env={"_QREC_COMPLETE": "bash_complete"}).stdout == b"x\n"


# The other shells


def test_fish(history, tmp_path):
    assert fish("qrec get ") == ["3\tsleep 60", "2\tsh -c 'echo \\t,:%'", "1\tmake all"]
    assert fish("qrec ge") == ["get\tPrint all that is known of a task, as JSON."]
    assert fish("qrec ls --tag=pa") == ["--tag=paper"]
    assert [line.partition("\t")[0] for line in fish("qrec exec 3 can")] == ["cancel"]
    (tmp_path / "some-file").touch()
    assert fish(f"qrec import jsonl {tmp_path}/some") == [f"{tmp_path}/some-file"]
    assert fish(f"qrec run cat {tmp_path}/some") == [f"{tmp_path}/some-file"]
    assert "paper" in fish("qrec --quiet run --tag pa")


def test_zsh(history, zsh, tmp_path):
    assert zsh.completed("qrec ge") == "qrec get "
    assert zsh.completed("qrec tag 3 pa") == "qrec tag 3 paper "
    assert zsh.completed("qrec tag 3 a") == "qrec tag 3 a\\ b "
    assert zsh.completed("qrec exec 3 can") == "qrec exec 3 cancel "
    assert zsh.completed(f"qrec note {history[1].uid[:14]}") == f"qrec note {history[1].uid} "
    (tmp_path / "some-file").touch()
    assert zsh.completed(f"qrec run cat {tmp_path}/some") == f"qrec run cat {tmp_path}/some-file "
    assert zsh.completed(f"qrec import jsonl {tmp_path}/some") == f"qrec import jsonl {tmp_path}/some-file "
    shown = zsh.listed("qrec get ", "make all")
    assert [line.split() for line in shown.splitlines() if " -- " in line] == [
        ["3", "--", "sleep", "60"],
        ["2", "--", "sh", "-c", "'echo", "\\t,:%'"],
        ["1", "--", "make", "all"],
    ]
