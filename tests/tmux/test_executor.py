"""Commands in a real tmux, on a server of the test's own."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shlex
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path

import psutil
import pytest

from qrec.api import Qrec
from qrec.executors.tmux import TmuxExecutor, ask_to_end, call_of, plain_words, window_name
from qrec.registry import BUILTIN, Registry
from qrec.task import Status, Task
from tests.helpers import environment, processes_of, wait_until
from tests.terminals import Terminal, Tmux, ways

#: Waits until it is let go, whatever it has been sent before by the shell that starts it.
HOLD = "until [ -e go ]; do sleep 0.02; done"
LINE = shlex.join([sys.executable, "-m", "qrec"])


def last(qrec) -> Task:
    """The task last started, as it stands."""
    return Task.from_plain(qrec("ls", "--json", "-n", "1").json[0])


def in_tmux(qrec, *words, **popen) -> Task:
    """Run that in a session of qrec's own."""
    qrec("run", "-e", "tmux", *words, check=True, **popen)
    return last(qrec)


def ended(qrec) -> Task:
    """The task last started, when it is over."""
    qrec("wait")
    return last(qrec)


def log(qrec, stream: str = "stdout") -> bytes:
    printed: bytes = qrec("log", f"--{stream}", check=True).stdout
    return printed


def has_clients(qrec, number: int) -> bool:
    """Whether so many terminals show the session of the task last started."""
    return int(qrec("exec", "status", "--json").json["attached"]) == number


def has_printed(qrec, words: str) -> bool:
    return words in log(qrec).decode()


# Which command lines


@pytest.mark.parametrize(
    "line",
    [
        "tmux new-session -d x", "tmux new x", "tmux new-window x", "tmux neww x", "tmux split-window x", "tmux splitw",
        "/usr/bin/tmux new -d", "tmux -L name new -d", "tmux -Lname new", "tmux -2u -S '/a b/c' -f file splitw -h x",
    ],
)  # fmt: skip
def test_lines_that_open_a_pane_are_taken(home, line):
    assert Registry(str(home)).pick_executor(line) == "tmux"


@pytest.mark.parametrize(
    "line",
    [
        "tmux", "tmux ls", "tmux attach -t new", "tmux -L new ls", "tmux kill-session -t new-session", "xtmux new",
        "echo tmux new", "tmux newish", "tmux send-keys new-window",
    ],
)  # fmt: skip
def test_other_lines_are_not(home, line):
    assert Registry(str(home)).pick_executor(line) == "shell"


def test_the_registry_and_the_executor_agree():
    assert TmuxExecutor.pattern in {plugin.pattern for plugin in BUILTIN}


@pytest.mark.parametrize(
    ("words", "command", "detached"),
    [
        ("tmux new -d -s x 'a b'", ("a b",), True),
        ("tmux -L n new -s x a b", ("a", "b"), False),
        ("tmux neww a 'b\\;'", ("a", "b;"), True),
        ("tmux new -d a ';' splitw b", (), False),
        ("tmux new -A -s x a", ("a",), False),
        ("tmux new -A -s '#{pid}' a", (), False),
        ("tmux new -d", (), True),
        ("tmux new -d 'a;'", ("a",), True),
        ("tmux new -d a 'b;;' ';'", ("a", "b;"), True),
        ("tmux new -d a '' ';'", ("a", ""), True),
        ("tmux new -d 'a;' b", (), False),
    ],
)
def test_what_a_line_asks_for(words, command, detached):
    call = call_of(Task(uid="", executor="tmux", argv=tuple(shlex.split(words))))
    assert call is not None
    assert (call.command, call.detached) == (command, detached)


@pytest.mark.parametrize(
    "line",
    [
        "tmux new -d 'a; b'", '  tmux new "a \'b\'"x -c=d e\\;\t',
        "tmux a'' '' \"\" 'b\\n' \"c\\n\\\"\\\\\"", "/ü/tmux @1 %2 a=b",
    ],
)  # fmt: skip
def test_plain_words_are_those_of_the_shell(line):
    told = subprocess.run(["sh", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True).stdout
    assert plain_words(line) == tuple(told.split("\0")[:-1])


@pytest.mark.parametrize(
    "line", ["", "a b*", "a $B", 'a "$B"', 'a "`b`"', "a\nb", "a; b", "a >b", "a ~", "a # b", "a 'b", "a =b"]
)
def test_what_only_a_shell_understands(line):
    assert plain_words(line) == ()


@pytest.mark.parametrize(
    ("line", "name"), [("echo '#(touch x) #{pid}'", "echo touch x pid"), ("x" * 30, "x" * 20), ("'!'", "qrec")]
)
def test_the_name_of_a_window(line, name):
    assert window_name(Task(uid="", executor="tmux", argv=(line,), data={"shell": "sh"})) == name


# A session of qrec's own


def test_streams_are_apart_and_the_record_is_like_any_other(qrec, tmux, kind):
    script = "import os, sys; print(os.getpid()); os.write(1, bytes(range(256))); sys.stderr.write('oops\\n'); exit(3)"
    told = qrec("run", "-e", "tmux", sys.executable, "-c", script, check=True)
    task = ended(qrec)
    assert told.err == f"[{task.uid}][running in tmux session {task.data['tmux']['session']}]\n"
    assert (task.executor, task.status, task.returncode) == ("tmux", "failed", 3)
    assert log(qrec) == f"{task.pid}\n".encode() + bytes(range(256))
    assert log(qrec, "stderr") == b"oops\n"
    assert task.usage["cpu"] > 0
    assert task.facts
    assert task.data["reason"] == "exit code 3"


def test_a_server_that_is_about_to_go_is_asked_again(qrec, tmux, tmp_path):
    """It has just lost its last session, again and again."""
    stop = tmp_path / "stop"
    goes = f"until [ -e {stop} ]; do tmux new-session -d true; done"
    with subprocess.Popen(["sh", "-c", goes], stderr=subprocess.PIPE, env=environment()) as others:
        try:
            tasks = [in_tmux(qrec, "echo", str(number)) for number in range(10)]
        finally:
            stop.touch()
        assert b"server exited" in others.communicate()[1]
    qrec("wait", *(task.uid for task in tasks))
    shown = [(task.status, task.returncode) for task in map(Task.from_plain, qrec("ls", "--json").json)]
    assert shown == [(Status.COMPLETE, 0)] * len(tasks)


def test_nothing_depends_on_the_server(qrec, tmux, old_server, tmp_path):
    """Neither its environment, nor its folder, nor its umask, nor its limits."""
    odd = {"ODD": "a\nb \udcff'\"#{pid}$", "PWD": str(tmp_path)}
    script = (
        "import os, json, resource as r\n"
        "print(json.dumps([dict(os.environ), os.getcwd(), os.umask(0), r.getrlimit(r.RLIMIT_NOFILE)]))"
    )
    before, files = os.umask(0o027), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (333, files[1]))
    try:
        direct = json.loads(qrec("run", "-q", sys.executable, "-c", script, env=odd, check=True).out)
        in_tmux(qrec, sys.executable, "-c", script, env=odd)
    finally:
        os.umask(before)
        resource.setrlimit(resource.RLIMIT_NOFILE, files)
    ended(qrec)
    seen = json.loads(log(qrec))
    pane = {
        name: seen[0].pop(name, None) for name in ("TERM", "TERM_PROGRAM", "TERM_PROGRAM_VERSION", "TMUX", "TMUX_PANE")
    }
    direct[0].pop("TERM")
    assert seen == direct
    assert pane["TMUX"]
    assert pane["TMUX_PANE"]


def test_a_hard_limit_that_is_lower_is_the_nearest():
    script = (
        "import os, resource as r; from qrec.pane import take_limits; r.setrlimit(r.RLIMIT_NOFILE, (99, 99))\n"
        "os.geteuid() or os.setuid(65534)\n"
        "take_limits({'RLIMIT_NOFILE': [333, 4444], 'RLIMIT_CORE': [0, 0]})\n"
        "print(r.getrlimit(r.RLIMIT_NOFILE), r.getrlimit(r.RLIMIT_CORE))"
    )
    assert subprocess.check_output([sys.executable, "-c", script], text=True) == "(99, 99) (0, 0)\n"


def test_home_and_store_are_those_of_the_call(qrec, tmux, old_server, tmp_path):
    other = ("--home", str(tmp_path / "other"), "--store", "filesystem")
    qrec(*other, "run", "-e", "tmux", "echo", "there", check=True)
    qrec(*other, "wait", check=True)
    assert qrec(*other, "log", check=True).out == "there\n"
    assert qrec("ls", "--json").json == []


def test_it_goes_on_when_the_terminal_is_closed(qrec, tmux, home, tmp_path):
    script = (
        f"cd {shlex.quote(str(tmp_path))}; {LINE} run -e tmux sh -c {shlex.quote(HOLD + '; echo on')}; echo back; cat"
    )
    with Terminal(["sh", "-c", script]) as terminal:
        terminal.wait_for(b"back")
    assert last(qrec).status == "running"
    (tmp_path / "go").touch()
    assert ended(qrec).status == "complete"
    assert log(qrec) == b"on\n"


def test_a_command_that_is_not_there(qrec, tmux):
    told = qrec("run", "-e", "tmux", "no-such-program")
    assert told.returncode == 127
    assert last(qrec).data["reason"] == "command not found"


def test_no_tmux(qrec, tmp_path, home):
    told = qrec("run", "-e", "tmux", "true", env={"PATH": str(tmp_path)})
    assert told.returncode == 127
    assert told.err.startswith("qrec: tmux: command not found\n")
    assert last(qrec).status == "failed"
    assert os.listdir(home / "incoming") == []


def test_a_server_that_refuses(qrec, tmp_path, home):
    told = qrec("run", "-e", "tmux", "true", env={"QREC_TMUX_SOCKET": str(tmp_path / "none" / "socket")})
    assert told.returncode == 125
    assert "qrec: tmux: " in told.err
    assert last(qrec).status == "failed"
    assert os.listdir(home / "incoming") == []


def test_the_socket_is_a_setting(qrec, tmux):
    qrec("config", "set", "tmux_socket", "aside", check=True)
    task = in_tmux(qrec, "sleep", "600")
    assert tmux("-L", "aside", "list-sessions", "-F", "#{session_name}").split() == [task.data["tmux"]["session"]]
    qrec("cancel", check=True)


@pytest.mark.parametrize("by_path", [False, True])
def test_the_socket_is_an_option(qrec, tmux, tmp_path, by_path):
    """Which a rerun goes back to, unless it is told otherwise."""
    name = f"{os.environ['TMUX_TMPDIR']}/there" if by_path else "there"
    given = ("-S" if by_path else "-L", name)
    qrec("config", "set", "tmux_socket", "aside", check=True)
    task = in_tmux(qrec, "--socket", name, "sleep", "600")
    assert tmux(*given, "list-sessions", "-F", "#{session_name}").split() == [task.data["tmux"]["session"]]
    qrec("cancel", check=True)
    qrec("rerun", check=True)
    assert last(qrec).data["tmux"]["socket"] == task.data["tmux"]["socket"]
    qrec("cancel", check=True)
    qrec("rerun", "--socket", "elsewhere", check=True)
    assert last(qrec).data["tmux"]["socket"].endswith("elsewhere")
    qrec("cancel", check=True)


@pytest.mark.parametrize("words", [["run"], ["run", "-e", "shell"], ["rerun"]])
def test_the_socket_is_for_tmux_only(qrec, words):
    qrec("run", "-q", "true", check=True)
    told = qrec(*words, "--socket", "x", *(["true"] if "run" in words else []))
    assert told.returncode == 2
    assert "--socket is for" in told.err
    assert len(qrec("ls", "--json").json) == 1


def test_what_waits_for_the_pane_is_private_and_soon_gone(qrec, tmux, home):
    in_tmux(qrec, "sleep", "600")
    wait_until(lambda: os.listdir(home / "incoming") == [], what="the recorder to have told the store")


def test_rerun_is_another_session(qrec, tmux):
    in_tmux(qrec, "sh", "-c", "echo once")
    first = ended(qrec)
    qrec("rerun", check=True)
    second = ended(qrec)
    assert (second.uid, second.attempt, second.status) == (first.uid, 2, "complete")
    assert second.data["tmux"]["session"] == first.data["tmux"]["session"] + "-2"
    assert log(qrec) == b"once\n"


def test_a_rerun_that_cannot_start_is_an_attempt(qrec, tmux, tmp_path):
    in_tmux(qrec, "true")
    ended(qrec)
    assert qrec("rerun", env={"PATH": str(tmp_path)}).returncode == 127
    assert (last(qrec).attempt, last(qrec).status, last(qrec).returncode) == (2, "failed", 127)


def test_secrets_stay_out(qrec, tmux, home):
    """Those among the words, and with --redact-output those that are printed; the command gets them."""
    secret = "ghp_" + "a1B2" * 9
    script = f"echo {secret}; [ $1 = {secret} ]"
    qrec("run", "--redact-output", "-e", "tmux", "sh", "-c", script, "sh", secret, check=True)
    assert ended(qrec).status == "complete"
    wait_until(lambda: not tmux("list-sessions", check=False), what="the recorder, which still removes files, to end")
    assert secret not in qrec("log", "--reveal").out + qrec("get").out
    assert secret.encode() not in b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def test_what_no_pane_came_for_is_removed(qrec, tmux, home):
    in_tmux(qrec, "true")
    old, new = home / "incoming" / "tmux-old.pane", home / "incoming" / "tmux-new.pane"
    for path in (old, new):
        path.touch()
    os.utime(old, (0, 0))
    in_tmux(qrec, "true")
    assert (old.exists(), new.exists()) == (False, True)


def test_a_time_limit(qrec, tmux):
    qrec("run", "--timeout", "0.3", "-e", "tmux", "sleep", "600", check=True)
    assert (ended(qrec).returncode, last(qrec).status) == (124, "failed")


# tmux's own command lines


@pytest.mark.parametrize("name", ["a.b", "a:b", "two words", "it's", 'say "x"', "-x", "#{pid}", "ü"])
def test_names_of_sessions(qrec, tmux, name, tmp_path):
    given = qrec(
        "run", "tmux", "new-session", "-d", f"-s{name}", "echo out; echo err >&2; " + HOLD + "; exit 4", check=True
    )
    task = last(qrec)
    assert task.status == "running"
    assert task.data["tmux"]["session"] in tmux("list-sessions", "-F", "#{session_name}").splitlines()
    assert f"[running in tmux session {task.data['tmux']['session']}]" in given.err
    (tmp_path / "go").touch()
    assert (ended(qrec).returncode, log(qrec), log(qrec, "stderr")) == (4, b"out\n", b"err\n")


def test_several_words_are_no_line_for_the_shell(qrec, tmux):
    qrec("run", "tmux", "new", "-d", "printf", "%s|", "a b", "$HOME", "x\\;", check=True)
    ended(qrec)
    assert log(qrec) == b"a b|$HOME|x;|"


def test_options_of_tmux_hold(qrec, tmux, old_server, tmp_path):
    (tmp_path / "there").mkdir()
    line = "echo $FROM $PWD $OLD; pwd"
    told = qrec(
        "run", "tmux", "neww", "-P", "-F", "said", "-e", "FROM=tmux", "-c", str(tmp_path / "there"), line, check=True
    )
    task = ended(qrec)
    assert told.out == "said\n"
    assert log(qrec).decode() == f"tmux {tmp_path}/there\n{tmp_path}/there\n"
    assert task.pwd == str(tmp_path / "there")


def test_split(qrec, tmux, old_server):
    qrec("run", "tmux", "splitw", "-t", "old", "exit 5", check=True)
    task = ended(qrec)
    assert (task.returncode, task.data["tmux"]["session"]) == (5, "old")
    wait_until(lambda: len(tmux("list-panes", "-t", "old").splitlines()) == 1)
    told = qrec("exec", "status", "--json").json
    assert (told["session"], told.get("pane")) == ("old", None)


def test_what_tmux_refuses_has_failed(qrec, tmux, old_server, home):
    told = qrec("run", "tmux", "new-session", "-d", "-s", "old", "echo never")
    assert told.returncode == 1
    assert told.err.startswith("duplicate session: old\n")
    assert (last(qrec).status, log(qrec, "stderr")) == ("failed", b"duplicate session: old\n")
    assert os.listdir(home / "incoming") == []


def test_a_session_in_this_terminal(qrec, tmux, tmp_path):
    line = "echo begun; read word; echo got $word; exit 6"
    with Terminal(
        [sys.executable, "-m", "qrec", "run", "tmux", "new-session", "-s", "here", line], TERM="xterm"
    ) as terminal:
        terminal.wait_for(b"begun")
        assert last(qrec).status == "running"
        terminal.send(b"it\r")
        assert terminal.end() == 6
    assert log(qrec) == b"begun\ngot it\n"


@pytest.mark.parametrize(
    "words",
    [
        ["tmux new-session -d -s t 'echo x; exit 9'"],
        ["tmux", "new-session", "-A", "-d", "-s", "t.1", "echo x; exit 9"],
        ["tmux", "new-session", "-d", "echo x; exit 9;"],
    ],
)
def test_other_ways_to_say_it(qrec, tmux, old_server, words):
    """One line, a session that might have been there, and an end of the command for tmux."""
    assert "[running in tmux session " in qrec("run", *words, check=True).err
    assert (ended(qrec).returncode, log(qrec)) == (9, b"x\n")


def test_what_may_open_no_pane_is_run_as_given(qrec, tmux):
    """And it is said that it is no record of what runs there."""
    lines = (["tmux", "new-session", "-d", "-s", "a.b c", "cat", ";", "neww", "cat"], ["tmux new -d -s $0 'exec cat'"])
    for words, name in zip(lines, ("'a_b c'", "SESSION"), strict=True):
        told = qrec("run", *words, check=True)
        assert f"is not recorded; `qrec adopt --tmux {name}` does" in told.err
        assert last(qrec).status == "complete"
    assert "a_b c" in tmux("list-sessions", "-F", "#{session_name}").splitlines()
    there = qrec("run", "tmux", "new-session", "-A", "-d", "-s", "a.b c", "exit 9")
    assert "session 'a_b c' is there already; tmux only attaches to it" in there.err
    refused = qrec("exec", "screen")
    assert refused.returncode == 1
    assert "no pane in tmux" in refused.err


# From outside


@pytest.mark.parametrize("kill", ["session", "server", "pane"])
def test_killed_from_outside(qrec, tmux, kill):
    task = in_tmux(qrec, "sh", "-c", "trap 'echo bye; exit 129' HUP; echo begun; while :; do sleep 0.05; done")
    wait_until(lambda: log(qrec) == b"begun\n")
    target = {"session": ["-t", task.data["tmux"]["session"]], "server": [], "pane": ["-t", task.data["tmux"]["pane"]]}
    tmux(f"kill-{kill}", *target[kill])
    over = ended(qrec)
    assert (over.status, over.data["interrupted"]) == ("cancelled", signal.SIGHUP)
    assert log(qrec) == b"begun\nbye\n"


def test_recorder_and_command_killed(qrec, tmux):
    task = in_tmux(qrec, "sh", "-c", "echo begun; exec sleep 600")
    wait_until(lambda: log(qrec) == b"begun\n")
    for pid in (task.data["process"]["recorder"][0], task.pid):
        os.kill(int(pid or 0), signal.SIGKILL)
    wait_until(lambda: last(qrec).status == "lost")
    assert log(qrec) == b"begun\n"


def test_the_machine_was_booted(qrec, tmux, home, tmp_path):
    """The record says so by a boot id that is not this one."""
    task = in_tmux(qrec, "sh", "-c", "echo begun; until [ -e go ]; do sleep 0.05; done")
    wait_until(lambda: log(qrec) == b"begun\n")
    for process in psutil.Process(task.data["process"]["recorder"][0]), psutil.Process(task.pid):
        process.suspend()  # gone with the machine
    store = Qrec(str(home)).store
    store.change(task.uid, data={**task.data, "process": {**task.data["process"], "boot": "another"}})
    assert last(qrec).status == "lost"
    (tmp_path / "go").touch()
    qrec("rerun", check=True)
    assert (ended(qrec).status, last(qrec).attempt) == ("complete", 2)


def test_another_server_with_the_same_ids_is_left_alone(qrec, tmux):
    task = in_tmux(qrec, "sh", "-c", "trap '' HUP; while :; do sleep 0.05; done")
    tmux("kill-server")
    wait_until(lambda: not (Path(task.data["tmux"]["socket"]).exists() and tmux("ls", check=False)))
    tmux("new-session", "-d", "-x", "80", "cat")
    assert tmux("list-panes", "-a", "-F", "#{pane_id}").split() == [task.data["tmux"]["pane"]]
    told = qrec("exec", "send", "--text", "rm", "--enter")
    assert told.returncode == 1
    assert "is gone" in told.err
    assert tmux("capture-pane", "-p").strip() == ""


# Actions


def test_cancel_interrupts_first(qrec, tmux):
    script = (
        "import time\ntry: print('in', flush=True); time.sleep(600)\nexcept KeyboardInterrupt: print('saved'); exit(7)"
    )
    in_tmux(qrec, sys.executable, "-c", script)
    wait_until(lambda: log(qrec) == b"in\n")
    qrec("cancel", check=True)
    task = last(qrec)
    assert (task.status, task.returncode, log(qrec)) == ("cancelled", 7, b"in\nsaved\n")


def test_cancel_terminates_next_and_kills_at_last(qrec, tmux, home, monkeypatch):
    """Here each signal has the time that its answer takes."""
    script = "trap 'echo INT' INT; trap 'echo TERM' TERM; echo in; while :; do sleep 0.05; done"
    task = in_tmux(qrec, "sh", "-c", script)
    wait_until(lambda: log(qrec) == b"in\n")

    def until_answered(pid: int, number: int, _: float) -> None:
        ask_to_end(pid, number, 0)
        wait_until(lambda: has_printed(qrec, signal.Signals(number).name.removeprefix("SIG")))

    monkeypatch.setattr("qrec.executors.tmux.ask_to_end", until_answered)
    Qrec(str(home)).cancel()
    over = last(qrec)
    assert (over.status, over.signal) == ("cancelled", signal.SIGKILL)
    assert log(qrec).decode().split()[:3] == ["in", "INT", "TERM"]
    assert task.data["tmux"]["session"] not in tmux("list-sessions", "-F", "#{session_name}", check=False).split()


def test_a_pane_that_would_stay_goes_with_a_cancel(qrec, tmux, old_server):
    tmux("set", "-g", "remain-on-exit", "on")
    task = in_tmux(qrec, "sleep", "600")
    qrec("cancel", check=True)
    assert task.data["tmux"]["session"] not in tmux("list-sessions", "-F", "#{session_name}").split()


def test_status_screen_and_send(qrec, tmux):
    task = in_tmux(
        qrec, "sh", "-c", "printf '\\033[31mred\\033[0m\\n'; while read -r word; do echo \"got <$word>\"; done"
    )
    wait_until(lambda: "red" in qrec("exec", "screen").out)
    assert "\x1b[31mred" in qrec("exec", "screen").out
    told = qrec("exec", "status", "--json").json
    assert (told["status"], told["pid"], told["pane"]) == ("running", task.pid, task.data["tmux"]["pane"])
    assert (told["session"], told["attached"], told["dead"]) == (task.data["tmux"]["session"], "0", "0")
    words = ['it\'s #{pid} "$HOME";', "-l ü Enter", "a\\;", ";"]
    for word in words:
        qrec("exec", "send", f"--text={word}", "--enter", check=True)
    wanted = "red\n" + "".join(f"got <{word}>\n" for word in words)
    wait_until(lambda: log(qrec).decode().replace("\x1b[31m", "").replace("\x1b[0m", "") == wanted, what=wanted)
    assert qrec("exec", "send").returncode == 1
    qrec("cancel", check=True)
    assert qrec("exec", "screen").returncode == 1


def test_send_takes_words(qrec, tmux):
    """Behind the task; behind `--` they are for the task last started."""
    in_tmux(qrec, "sh", "-c", 'while read -r word; do echo "got <$word>"; done')
    for words in (["1", "a", "b"], ["1", "--", "--enter"], ["--", "c"], ["--", "status"]):
        at = words.index("--") if "--" in words else len(words)
        qrec("exec", "send", "--enter", *words[:at], *words[at:], check=True)
    wait_until(lambda: log(qrec) == b"got <a b>\ngot <--enter>\ngot <c>\ngot <status>\n")
    assert qrec("exec", "send", "1", "a", "--text", "b").returncode == 2
    assert qrec("exec", "send", "yes").returncode == 1  # no task
    assert "[TEXT]..." in qrec("exec", "send", "--help").out


@pytest.mark.parametrize("line", ["%s", "\033[31m%.6s\033[1m%s\033[0m", "%080d %s"])
def test_the_screen_covers_secrets(qrec, tmux, line):
    """Also where colours or the border of the window part them."""
    secret = "ghp_" + "a1B2" * 9
    words = {1: (secret,), 2: (secret, secret[6:]), 80: ("1", secret)}[80 if "%080d" in line else line.count("%")]
    in_tmux(qrec, "sh", "-c", f"printf '{line}\nend\n' \"$@\"; sleep 600", "sh", *words)
    wait_until(lambda: "end" in qrec("exec", "screen").out)
    assert "a1B2" not in qrec("exec", "screen").out
    assert "***" in qrec("exec", "screen").out
    assert "a1B2" in qrec("--reveal", "exec", "screen").out


def test_cancel_closes_a_session_only_if_it_is_qrecs(qrec, tmux, old_server):
    """Whatever else somebody has opened in it."""
    script = "trap '' INT TERM HUP; echo in; while :; do sleep 0.05; done"
    grace = {"QREC_GRACE": "0.2"}
    task = in_tmux(qrec, "sh", "-c", script, env=grace)
    wait_until(lambda: log(qrec) == b"in\n")
    tmux("new-window", "-d", "-t", task.data["tmux"]["session"], "sleep 600")
    qrec("cancel", check=True, env=grace)
    assert tmux("list-sessions", "-F", "#{session_name}").split() == ["old"]
    qrec("run", "tmux", "splitw", "-t", "old", script, check=True)
    wait_until(lambda: log(qrec) == b"in\n")
    assert len(tmux("list-panes", "-t", "old").splitlines()) == 2
    qrec("cancel", check=True, env=grace)
    wait_until(lambda: len(tmux("list-panes", "-t", "old").splitlines()) == 1)


def test_attach_wants_a_terminal(qrec, tmux):
    in_tmux(qrec, "sleep", "600")
    told = qrec("exec", "attach")
    assert told.returncode == 1
    assert "a terminal is needed" in told.err


def test_two_terminals_at_once(qrec, tmux, tmp_path, home):
    """One command, begun in one terminal and attached to from both; what is typed in either arrives."""
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    path = ways(tmp_path)["native"]
    with Tmux(path, tmp_path / "one") as one, Tmux(path, tmp_path / "two") as two:
        one.type(f"unset TMUX; {LINE} run -q -e tmux sh -c 'while read -r word; do echo \"got <$word>\"; done'")
        one.press("Enter")
        wait_until(lambda: qrec("ls", "--json").json)
        for number, (terminal, word) in enumerate(((one, "first"), (two, "second")), 1):
            terminal.type(f"unset TMUX; clear; {LINE} exec attach")
            terminal.press("Enter")
            wait_until(partial(has_clients, qrec, number))
            terminal.settle("[qrec-")  # tmux counts a client before it has drawn; a person types after that
            terminal.type(word)
            terminal.press("Enter")
            wait_until(partial(has_printed, qrec, f"got <{word}>"))
        assert "got <first>" in one.settle("got <second>")
        qrec("cancel", check=True)
        assert "exited" in one.settle("[exited]")
        assert "exited" in two.settle("[exited]")


def test_four_calls_at_once(qrec, start, tmux):
    """Several of each, while two terminals show the session."""
    task = in_tmux(qrec, "sh", "-c", 'while read -r word; do echo "got <$word>"; done')
    words = ["tmux", "attach", "-t", task.data["tmux"]["session"]]
    with Terminal(words, TERM="xterm") as one, Terminal(words, TERM="xterm") as two:
        one.wait_until(lambda: two.look() and has_clients(qrec, 2))
        sends = [start("exec", "send", "1", f"word{number}\n") for number in range(4)]
        others = [start("exec", verb, "1") for verb in ("status", "output", "screen", "status")]
        assert [call.wait(60) for call in (*sends, *others)] == [0] * 8
        wait_until(lambda: one.look() and two.look() and log(qrec).count(b"got <") == 4)
        assert sorted(log(qrec).decode().split()[1::2]) == [f"<word{number}>" for number in range(4)]
        cancels = [start("cancel", "1") for _ in range(2)]
        codes = [call.wait(60) for call in cancels]
        assert 0 in codes
        assert set(codes) <= {0, 1}  # who comes late is told that it is over
        one.end()
        two.end()
    assert last(qrec).status == "cancelled"


def test_the_store_is_busy_while_a_pane_starts(qrec, start, tmux, tmp_path, home):
    """The command runs, and its record comes."""
    qrec("run", "-q", "true", check=True)
    with sqlite3.connect(Qrec(str(home)).store.location, isolation_level=None) as store:
        store.execute("BEGIN EXCLUSIVE")
        call = start("run", "-e", "tmux", "sh", "-c", "echo ran; touch ran; " + HOLD)
        wait_until((tmp_path / "ran").exists)
        assert call.wait(60) == 0
        store.execute("ROLLBACK")
    (tmp_path / "go").touch()
    wait_until(lambda: last(qrec).status == "complete")
    assert (last(qrec).executor, log(qrec)) == ("tmux", b"ran\n")


def test_attach_inside_switches_and_back(qrec, tmux, tmp_path):
    """A client that shows a session of the same server shows the task's then, and its own when the task is over."""

    def seen(session: str) -> bool:
        told: str = tmux("list-clients", "-F", "#{client_session}")
        return told.split() == [session]

    with Terminal(["tmux", "new-session", "-s", "mine", "sh"], TERM="xterm") as terminal:
        wait_until(lambda: "mine" in tmux("list-sessions", "-F", "#{session_name}", check=False))
        tmux("new-session", "-d", "-s", "another", "sleep 600")
        for end in (lambda: (tmp_path / "go").touch(), lambda: qrec("cancel", check=True)):
            task = in_tmux(qrec, "sh", "-c", HOLD)
            terminal.send(f"{LINE} exec attach\r".encode())
            terminal.wait_until(partial(seen, task.data["tmux"]["session"]))
            end()
            terminal.wait_until(partial(seen, "mine"))
            (tmp_path / "go").unlink(missing_ok=True)
        tmux("kill-server")
        terminal.end()


def test_attach_inside_without_tmux_knowing(qrec, tmux):
    """Nested, as who unsets TMUX wants it: a client in a pane of the same server."""
    with Terminal(["tmux", "new-session", "-s", "mine", "sh"], TERM="xterm") as terminal:
        wait_until(lambda: "mine" in tmux("list-sessions", "-F", "#{session_name}", check=False))
        task = in_tmux(qrec, "sh", "-c", 'echo up; read -r word; echo "got <$word>"')
        terminal.send(f"unset TMUX; {LINE} exec attach\r".encode())
        name = task.data["tmux"]["session"]
        terminal.wait_until(lambda: name in tmux("list-clients", "-F", "#{client_session}").split())
        shown = f"[{name[:9]}"  # tmux counts a client before it has drawn; a person types after that
        terminal.wait_until(lambda: shown in tmux("capture-pane", "-p", "-t", "mine"))
        terminal.send(b"it\r")
        terminal.wait_until(lambda: last(qrec).status == "complete")
        tmux("kill-server")
        terminal.end()
    assert log(qrec) == b"up\ngot <it>\n"


# Much at once


def test_a_hundred_megabytes_are_exact(qrec, tmux, tmp_path):
    """All of which has scrolled away."""
    count = 100_000_000
    script = (
        "import os, hashlib\n"
        "block, sum = os.urandom(62_500).hex().replace('a', '\\n').encode(), hashlib.sha256()\n"
        f"for _ in range({count} // 125_000): sum.update(block); assert os.write(1, block) == 125_000\n"
        "open('sum', 'w').write(sum.hexdigest())"
    )
    in_tmux(qrec, sys.executable, "-c", script)
    qrec("wait", check=True, timeout=110)
    assert last(qrec).status == "complete"
    output = log(qrec)
    assert len(output) == count
    assert hashlib.sha256(output).hexdigest() == (tmp_path / "sum").read_text()


def test_fifty_at_once(qrec, start, tmux, tmp_path):
    calls = [start("run", "-q", "-e", "tmux", "sh", "-c", f"echo {number}; exit {number}") for number in range(50)]
    results = [call.communicate(timeout=100) for call in calls]
    assert [call.returncode for call in calls] == [0] * 50, results
    qrec("wait", *(str(number) for number in range(1, 51)), timeout=100)
    tasks = qrec("ls", "-n", "60", "--json").json
    assert sorted(task["returncode"] for task in tasks) == list(range(50))
    assert {task["status"] for task in tasks if task["returncode"]} == {Status.FAILED}
    for task in tasks[::10]:
        assert qrec("log", str(task["number"])).out == f"{task['returncode']}\n"
    wait_until(lambda: not [one for one in processes_of(tmp_path) if "tmux" in one.name()], what="tmux's server to end")
