"""What real shells note of what is typed, and that nobody notices."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from qrec.task import Status, moment
from tests.shells import INIT, Shell, lines, spooled, spools, typed
from tests.terminals import STOP
from tests.test_look_back import call

KINDS = ["bash", "zsh", "fish"]


@pytest.fixture(autouse=True)
def on_path(monkeypatch, home):
    """The shells find qrec, which they call by its name."""
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")


@pytest.fixture(params=KINDS)
def shell(request, home, tmp_path):
    """Each shell in turn; two patterns say what is not to be recorded."""
    with Shell(request.param, tmp_path, QREC_SHELL_IGNORE="^vault\nhush[0-9]", HISTCONTROL="ignorespace") as shell:
        yield shell


@pytest.fixture
def bash(home, tmp_path):
    with Shell("bash", tmp_path) as shell:
        yield shell


# What is recorded


def test_command_folder_times_and_code(shell, tmp_path, home):
    (tmp_path / "a\tb").mkdir()
    began = time.time()
    shell.type("false", "cd a*", "true", "sh -c 'exit 7'", "no-such-program-here")
    false, cd, true, seven, none = typed()
    assert [task.command for task in (false, cd, true, seven)] == ["false", "cd a*", "true", "sh -c 'exit 7'"]
    assert [task.returncode for task in (false, cd, true, seven, none)] == [1, 0, 0, 7, 127]
    assert [task.status for task in (false, true, none)] == [Status.FAILED, Status.COMPLETE, Status.FAILED]
    assert [task.pwd for task in (false, cd, true)] == [str(tmp_path), str(tmp_path), str(tmp_path / "a\tb")]
    assert (false.host, false.data["shell"], false.executor) == (os.uname().nodename, shell.kind, "typed")
    assert (false.data["reason"], "reason" in true.data) == ("exit code 1", False)
    times = [moment(stamp or "").timestamp() for task in (false, cd, true) for stamp in (task.started, task.ended)]
    assert times == sorted(times)
    assert began - 0.05 < times[0], "fish's clock counts hundredths of a second"
    assert times[-1] < time.time() + 0.05


def test_any_characters(shell):
    odd = ["echo 'a  b'\"c\"\\\\d", "echo 'tab\\tand\\nmore'", "echo ä€😀 %s %%", "echo '-n' | cat", 'echo "\'"']
    shell.type(*odd)
    assert lines() == odd


def test_lines_of_several_lines(shell):
    parts = ("for i in 1 2", "echo  $i", "end") if shell.kind == "fish" else ("for i in 1 2", "do echo  $i", "done")
    shell.send("\r".join(parts).encode() + b"\r")
    shell.settle()
    (task,) = typed()
    assert [part.strip() for part in task.command.split("\n")] == list(parts)
    assert "echo  $i" in task.command, "as it was typed"


def test_a_pasted_text_of_several_lines(bash):
    bash.send(b"\x1b[200~echo one\necho two\x1b[201~\r")
    bash.settle()
    assert lines() == ["echo one\necho two"]


def test_what_begins_with_a_space_or_fits_a_pattern_is_never_written(shell, home):
    shell.type(" echo hidden-1", "vault hidden-2", "true vault", "echo 'hidden-3 hush7'", "echo seen")
    if shell.kind != "fish":
        shell.send(b"echo hidden-4 |\\\rcat hush7\r")
        shell.settle()
        shell.send(b"echo 'hidden-5\rhush7'\r")
        shell.settle()
    assert b"hidden-" not in spooled(home)
    assert lines() == ["true vault", "echo seen"]


def test_what_begins_with_qrec_records_itself(bash, home):
    bash.type("qrec run -q true", "X=1 qrec ls -n 1", "command qrec ls -n 1", f"{sys.prefix}/bin/qrec ls -n1")
    bash.type(" alias q='qrec run -q'", "q true", "qreca", "echo qrec")
    assert lines() == ["qreca", "echo qrec"]


def test_what_the_history_expands(shell):
    if shell.kind == "fish":
        shell.type("echo '!'")
        assert lines() == ["echo '!'"]
        return
    shell.type("echo one", "echo two !!", "echo '!'", "echo !no-such-line-in-the-history")
    assert lines() == ["echo one", "echo two echo one", "echo '!'"]
    shell.type(" echo hidden-6")
    assert lines() == ["echo one", "echo two echo one", "echo '!'"], "what stands for nothing never begins"
    shell.type(" set +o history" if shell.kind == "bash" else " HISTSIZE=0", "echo three")
    assert lines()[-1] == "echo three"


@pytest.mark.parametrize("kind", ["bash", "zsh"])
def test_what_was_given_up_is_not_recorded(kind, home, tmp_path):
    with Shell(kind, tmp_path, PS2="more: ") as shell:
        shell.send(b"echo giv")
        shell.wait_for(b"giv")
        shell.interrupt()
        shell.send(b"\r\rfor i in 1 2\r")
        shell.wait_for(b"more: ")
        shell.interrupt()
        shell.type("echo )", "echo done")
        assert lines() == ["echo done"]


def test_a_command_that_is_interrupted(shell):
    shell.send(b"sleep 60\r")
    shell.wait_until(lambda: shell.runs("sleep"))
    assert lines() == [], "it is taken in when it is over"
    shell.interrupt()
    assert [(task.command, task.returncode) for task in typed()] == [("sleep 60", 130)]


def test_a_command_that_is_stopped_has_no_end(shell):
    shell.type(" sh -c 'exit 3'")
    shell.send(b"sleep 60\r")
    shell.wait_until(lambda: shell.runs("sleep"))
    shell.interrupt(STOP)
    (task,) = typed()
    assert (task.status, task.returncode, task.ended) == (Status.LOST, None, None)
    assert task.data["reason"].startswith("stopped at the terminal")
    shell.type("sh -c 'exit 4'")
    assert [task.returncode for task in typed()] == [None, 4], "though a stopped job is there"
    psutil.Process(shell.pid).children()[0].kill()


# That nobody notices


def asked(shell: Shell, questions: list[str]) -> list[str]:
    return [shell.ask(question) for question in questions]


def test_codes_and_parameters_are_as_without(tmp_path, home):
    """The same is typed into a shell with and one without."""
    script = {
        "bash": ["false", "echo $? $PIPESTATUS >>F", "true | false | true", "echo ${PIPESTATUS[@]} $? >>F", "(exit 9)",
                 "echo $? >>F", "echo a b", "echo $_ >>F", "[[ abc =~ b(.) ]]", "echo ${BASH_REMATCH[@]} >>F",
                 "set -- x y", "echo $# $1 >>F", "REPLY=r; false", "echo $REPLY $? >>F", "", "echo $? >>F",
                 "false", "", "echo $? >>F", "sleep 0 & wait $!", "echo $? >>F", "! true", "echo $? >>F"],
        "zsh": ["false", "echo $? $pipestatus >>F", "true | false | true", "echo $pipestatus $? >>F", "(exit 9)",
                "echo $? >>F", "[[ abc =~ 'b(.)' ]]", "echo $match $MATCH >>F", "false", "", "echo $? >>F"],
        "fish": ["false", "echo $status $pipestatus >>F", "true | false | true", "echo $pipestatus $status >>F",
                 "sh -c 'exit 9'", "echo $status >>F", "false", "", "echo $status >>F"],
    }  # fmt: skip
    for kind in KINDS:
        told = []
        for name, init in (("with", None), ("without", " true")):
            file = tmp_path / f"{kind}-{name}"
            with Shell(kind, tmp_path, init) as shell:
                shell.type(*(line.replace("F", str(file)) for line in script[kind]))
            told.append(file.read_text())
        assert told[0] == told[1], kind
    assert len(typed()) > 30


@pytest.mark.parametrize(
    "option", ["set -u", "set -e", "set -o noclobber", "set -o posix", "shopt -s nocasematch extglob"]
)
def test_options_of_bash(bash, option):
    bash.type(option, "true", "! true", 'cat <<<"x"', "echo last")
    assert lines() == [option, "true", "! true", 'cat <<<"x"', "echo last"]


@pytest.mark.parametrize(
    "option",
    ["setopt err_exit", "setopt no_unset", "setopt noclobber", "setopt ksh_arrays sh_word_split", "setopt glob_subst"],
)
def test_options_of_zsh(home, tmp_path, option):
    with Shell("zsh", tmp_path) as zsh:
        zsh.type(option, "true", "! true", "echo last")
        assert lines() == [option, "true", "! true", "echo last"]


def test_prompts_that_expand_nothing(bash):
    bash.type(" shopt -u promptvars", "echo one", "for i in 1 2\rdo true; done")
    assert b"_qrec" not in bash.seen[bash.seen.rindex(b"echo one") :]
    assert lines() == ["echo one", "for i in 1 2\ndo true; done"]


def test_no_process_is_started(shell):
    def faults() -> int:
        """Of the processes that the shell has started: one more process, and there are more."""
        return int(Path(f"/proc/{shell.pid}/stat").read_text().rpartition(")")[2].split()[8])

    shell.type("true")
    before = faults()
    shell.type("true", "cd .", "echo 'a\\b' $HOME")
    assert faults() == before
    assert len(lines()) == 4


def test_tracing_is_not_spoiled(bash):
    bash.type(" set -x", "true")
    assert b"printf" not in bash.seen
    assert b"READLINE" not in bash.seen
    assert lines() == ["true"]


#: What people and programs do with the prompt, before and after; each writes what it sees to a file.
PROMPTS = {
    "a command before": ("PROMPT_COMMAND='echo $? ${PIPESTATUS[@]} >>F'", ""),
    "a command after": ("", "PROMPT_COMMAND='echo $? ${PIPESTATUS[@]} >>F'"),
    "in front of what is there": ("", 'PROMPT_COMMAND="echo \\$? \\${PIPESTATUS[@]} >>F; $PROMPT_COMMAND"'),
    "behind what is there": ("", 'PROMPT_COMMAND="$PROMPT_COMMAND; echo \\$? >>F"'),
    "several": ("PROMPT_COMMAND=(true 'echo $? ${PIPESTATUS[@]} >>F')", ""),
    "a trap as well": ("T() { echo \"$BASH_COMMAND\" >>F; }; trap T DEBUG; PROMPT_COMMAND='echo $? >>F'", ""),
    "ends in a semicolon": ("PROMPT_COMMAND='echo $? >>F;'", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_prompt_commands_of_others(home, tmp_path, name):
    before, after = (part.replace("F", str(tmp_path / "seen")) for part in PROMPTS[name])
    with Shell("bash", tmp_path, f" {before}") as shell:
        shell.type(f" {INIT['bash']}", *([f" {after}"] if after else []), " true")
        shell.type("(exit 9)", "true | false", "(exit 3)", " true")
        told = (tmp_path / "seen").read_text().splitlines()
        assert {"9", "0 1" if "PIPE" in before + after else "1", "3"} <= {line.replace("9 9", "9").replace("3 3", "3")
               .replace("1 0 1", "0 1") for line in told}  # fmt: skip
        assert [(task.command, task.returncode) for task in typed()] == [
            ("(exit 9)", 9),
            ("true | false", 1),
            ("(exit 3)", 3),
        ]


def test_a_second_init_changes_nothing(shell, home):
    shell.type(" " + INIT[shell.kind], "true", " " + INIT[shell.kind], "false")
    assert (lines(), len(spools(home))) == (["true", "false"], 1)


def test_what_a_command_reads_is_not_recorded(bash):
    bash.send(b"f() { read -e -p 'name: ' name; echo \"got $name\"; }; f\r")
    bash.wait_for(b"name: ")
    bash.send(b"not a command\r")
    bash.wait_for(b"got not a command")
    bash.type("true")
    assert [line[:3] for line in lines()] == ["f()", "tru"]


def test_vi_mode(bash):
    bash.type(" set -o vi", "echo one")
    bash.send(b"echo two\x1b0\r")
    bash.settle()
    assert lines() == ["echo one", "echo two"]


def test_what_is_seen_is_the_same(tmp_path, home):
    """Long lines, and a prompt of two lines."""
    from tests.terminals import Tmux

    shown = []
    for name in ("with", "without"):
        folder = tmp_path / name
        folder.mkdir()
        with Tmux(os.environ["PATH"], folder, (24, 40)) as tmux:
            tmux.settle("@")
            if name == "with":
                tmux.type(' eval "$(QREC_SHELL_TYPED=1 qrec init bash)"')
                tmux.press("Enter")
            tmux.type(" PS1='\\n~\\n@ '; clear")
            tmux.press("Enter")
            tmux.settle("~\n@\n")
            tmux.quiet = 0.1  # from here on each step shows that it is over, however long it takes
            tmux.type("echo " + "0123456789" * 11)
            tmux.press("Left", "Left", "Enter")
            tmux.settle("\n" + "0123456789" * 3 + "\n\n~\n@\n")
            for line, then in (("cat <<X | tr a-z A-Z", "A-Z\n>\n"), ("body", "> body\n>\n")):
                tmux.type(line)
                tmux.press("Enter")
                tmux.settle(then)
            tmux.press("X", "Enter")
            shown.append(tmux.settle("BODY\n\n~\n@\n"))
    assert shown[0] == shown[1]
    assert lines()[-2:] == ["echo " + "0123456789" * 11, "cat <<X | tr a-z A-Z\nbody\nX"]


# Ends of shells


def test_a_killed_shell_loses_nothing(shell, home):
    shell.type("echo one")
    shell.send(b"sleep 60\r")
    (sleep,) = shell.wait_until(lambda: b"sleep 60" in spooled(home) and shell.runs("sleep"))
    os.kill(shell.pid, signal.SIGKILL)
    shell.end()
    with contextlib.suppress(psutil.NoSuchProcess):  # the end of its session's leader may have ended it
        sleep.kill()
    one, lost = typed()
    assert (one.command, one.status) == ("echo one", Status.COMPLETE)
    assert (lost.command, lost.status, lost.returncode) == ("sleep 60", Status.LOST, None)
    assert lost.data["reason"] == "its shell was gone, and nobody saw how it ended"
    assert spools(home) == []


def test_the_end_of_a_shell_is_no_command(shell, home):
    shell.type("true")
    shell.send(b"exit 4\r")
    assert shell.end() == 4
    assert lines() in (["true"], ["true", "exit 4"]), "fish tells of its end"
    assert spools(home) == []


def test_two_terminals_and_shells_in_shells(tmp_path, home):
    with Shell("bash", tmp_path) as one, Shell("zsh", tmp_path) as two:
        one.type("echo 1")
        two.type("echo 2")
        one.type("(echo 3; echo 4)", "exec bash --norc --noprofile -i", " PS1='@ '; " + INIT["bash"], "echo 5")
        two.send(b"bash --norc --noprofile -i\r")
        two.type(" " + INIT["bash"], "echo 6")
        two.send(b"exit\r")
        two.type("echo 7")
        assert lines() == ["echo 1", "echo 2", "(echo 3; echo 4)", "echo 5", *lines()[4:]]
        assert {"echo 6", "echo 7", "bash --norc --noprofile -i"} == set(lines()[4:])
    assert len({task.data["typed"]["session"] for task in typed()}) == 4


# Where nothing can be written


def test_the_folder_is_removed(shell, home):
    shell.type("echo one")
    assert lines() == ["echo one"]
    for path in spools(home):
        path.unlink()
    (home / "typed").rmdir()
    shell.type("echo two")
    assert lines() == ["echo one", "echo two"]
    assert {path.stat().st_mode & 0o777 for path in (home / "typed", *spools(home))} == {0o700, 0o600}


def test_only_the_user_may_read_it(shell, home):
    shell.type(" umask 022", "echo one")
    assert {path.stat().st_mode & 0o777 for path in (home, home / "typed", *spools(home))} == {0o700, 0o600}
    assert shell.ask("umask").endswith("22")


@pytest.mark.parametrize("kind", KINDS)
def test_where_nothing_can_be_written_one_line_says_so(kind, home, tmp_path):
    home.mkdir()
    (home / "typed").write_text("no folder")
    with Shell(kind, tmp_path) as shell:
        shell.type("sh -c 'exit 3'", f"echo code-{'$status' if kind == 'fish' else '$?'}", "true", "false")
        assert shell.seen.count(b"what you type is not recorded") == 1
        assert b"code-3" in shell.seen


def test_a_full_disk(shell, home):
    shell.type("echo one")
    (spool,) = spools(home)
    spool.rename(home / "kept")
    spool.symlink_to("/dev/full")
    shell.type("echo two", "echo three")
    assert shell.seen.count(b"what you type is not recorded") == 1
    assert b"rror" not in shell.seen
    spool.unlink()
    (home / "kept").rename(spool)
    shell.type("echo four")
    assert lines() == ["echo one", "echo four"]


# Secrets


def test_a_secret_is_soon_gone(shell, home):
    shell.type("true --password hunter2-hunter2")
    shell.wait_until(lambda: spools(home) and b"hunter2" not in spooled(home), "the secret to be taken out")
    (task,) = typed()
    assert (task.command, task.data["redacted"]) == ("true --password [redacted]", 1)


def test_a_secret_is_not_there_while_its_command_runs(shell, home):
    shell.type("true")
    shell.send(b"sleep 60 || true --token=abcdefgh1234\r")
    shell.wait_until(lambda: shell.runs("sleep"))
    assert b"abcdefgh" not in spooled(home)
    shell.interrupt()


# Nothing for those who did not ask


def test_nothing_is_recorded_where_it_was_not_asked_for(home, tmp_path):
    with Shell("bash", tmp_path, QREC_SHELL_TYPED=None) as shell:
        shell.type("true")
        assert shell.ask("echo $PROMPT_COMMAND.$PS0.") == ".."
    with Shell("bash", tmp_path, TERM="dumb") as shell:
        shell.type("true")
        assert shell.ask("echo $PROMPT_COMMAND.$PS0.") == "..", "a program plays the terminal"
    assert not (home / "typed").exists()


# Its own history, which tells the same


@pytest.mark.parametrize(
    ("kind", "old", "keep"),
    [("bash", "#1600000000\nmake old\n", "history -a"), ("zsh", ": 1600000000:0;make old\n", "fc -A")],
)
def test_what_was_typed_does_not_come_in_again_with_the_shells_history(kind, old, keep, home, tmp_path):
    file = tmp_path / "history"
    file.write_text(old)
    set_up = {"bash": "HISTTIMEFORMAT=%s HISTCONTROL=ignorespace", "zsh": "setopt extendedhistory histignorespace"}
    variables = {"HISTSIZE": "99", "HISTFILESIZE": "99", "SAVEHIST": "99"}
    with Shell(kind, tmp_path, **variables) as shell:
        shell.type(" " + set_up[kind], "echo one", "false", "echo one", f" {keep} '{file}'")
        assert file.read_text().count("echo one") == 2
        told = call("import", kind, file, check=True).out
    assert told.endswith(" taken in, 3 here already\n"), "the others were typed before there was a record"
    assert [lines().count(line) for line in ("make old", "echo one", "false")] == [1, 2, 1]
    assert call("import", kind, file, check=True).out.startswith("0 tasks taken in")
