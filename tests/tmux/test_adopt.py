"""Panes that were opened without qrec, and shells that qrec opens: one stream, from some moment on."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys

import pytest

from qrec.process import start_ticks
from qrec.task import Task
from tests.helpers import wait_until
from tests.terminals import Terminal
from tests.tmux.test_executor import ended, last, log

HOLD = "until [ -e go ]; do sleep 0.02; done"


@pytest.fixture
def pane(tmux, tmp_path):
    """Opens a session with a command, without qrec; its pane's id."""

    def pane(line: str, name: str = "mine") -> str:
        told: str = tmux("new-session", "-d", "-P", "-F", "#{pane_id}", "-s", name, "-c", str(tmp_path), line)
        return told.strip()

    return pane


def adopt(qrec, *words) -> Task:
    uid = qrec("adopt", *words, check=True).out.strip()
    task = last(qrec)
    assert (task.uid, task.executor) == (uid, "tmux")
    return task


def shown(tmux, pane: str, words: str) -> None:
    wait_until(lambda: words in tmux("capture-pane", "-p", "-t", pane), what=words)


@pytest.mark.parametrize("home_name", ["home", "ho'me \"#{pid}; %H $x \\\\ ü"])
@pytest.mark.parametrize(("end", "code", "number"), [("exit 0", 0, None), ("exit 7", 7, None), ("kill -9 $$", 137, 9)])
def test_from_its_history_to_its_end(qrec, tmux, pane, tmp_path, monkeypatch, home_name, end, code, number):
    monkeypatch.setenv("QREC_HOME", str(tmp_path / home_name))
    tmux("new-session", "-d", "-s", "other", "sleep 600")
    script = f"echo before; {HOLD}; echo after; echo err >&2; {end}"
    shown(tmux, pane(shlex.join(["exec", "sh", "-c", script])), "before")
    task = adopt(qrec, "--tmux", "mine", "-m", "a note")
    assert (task.status, task.message, task.pwd) == ("running", "a note", str(tmp_path))
    assert task.argv == ("sh", "-c", script)
    assert (log(qrec), log(qrec, "stderr")) == (b"before\n", b"")
    (tmp_path / "go").touch()
    over = ended(qrec)
    assert (over.status, over.returncode, over.signal) == ("failed" if code else "complete", code, number)
    assert log(qrec) == b"before\nafter\r\nerr\r\n"
    wait_until(lambda: tmux("list-sessions", "-F", "#{session_name}").split() == ["other"])
    qrec("rerun", env={"QREC_GRACE": "1"}, check=True)
    again = ended(qrec)
    assert (again.attempt, again.returncode, log(qrec), log(qrec, "stderr")) == (2, code, b"before\nafter\n", b"err\n")


def test_megabytes_are_exact(qrec, tmux, pane, tmp_path):
    pane(f"stty -opost; {HOLD}; seq 1000000")
    adopt(qrec, "--tmux", "mine")
    (tmp_path / "go").touch()
    assert ended(qrec).status == "complete"
    assert log(qrec) == b"".join(b"%d\n" % number for number in range(1, 1_000_001))


def test_send_screen_and_cancel(qrec, tmux, pane):
    place = pane('while read -r word; do echo "got <$word>"; done')
    tmux("split-window", "-d", "-t", place, "sleep 600")
    adopt(qrec, "--tmux", "mine:0.0")
    qrec("exec", "send", "--enter", "--", "hello", check=True)
    wait_until(lambda: b"got <hello>" in log(qrec))
    assert "got <hello>" in qrec("exec", "screen").out
    qrec("cancel", check=True)
    assert last(qrec).status == "cancelled"
    wait_until(lambda: len(tmux("list-panes", "-t", "mine").splitlines()) == 1)


@pytest.mark.parametrize("kill", ["session", "server", "pane"])
def test_killed_from_outside(qrec, tmux, pane, kill):
    place = pane("exec sleep 600")
    adopt(qrec, "--tmux", "mine")
    tmux(f"kill-{kill}", *{"session": ["-t", "mine"], "server": [], "pane": ["-t", place]}[kill])
    over = ended(qrec)
    assert over.ended is not None
    assert (over.status, over.signal) in (
        ("cancelled", signal.SIGHUP),
        ("lost", None),
    )  # where the kernel tells, or not


def test_the_observer_is_killed(qrec, tmux, pane, tmp_path):
    """tmux goes on to write what is printed, and tells the code; the pane closes as it would have."""
    tmux("new-session", "-d", "-s", "other", "sleep 600")
    pane(f"{HOLD}; echo on; exit 3")
    task = adopt(qrec, "--tmux", "mine")
    os.kill(task.data["process"]["recorder"][0], signal.SIGKILL)
    assert last(qrec).status == "running"
    server = int(task.data["tmux"]["server"])
    os.kill(server, signal.SIGSTOP)  # it takes its time
    try:
        (tmp_path / "go").touch()
        wait_until(lambda: start_ticks(task.pid or 0) is None, what="the command to end")
        assert last(qrec).status == "running"
    finally:
        os.kill(server, signal.SIGCONT)
    wait_until(lambda: tmux("list-sessions", "-F", "#{session_name}").split() == ["other"])
    over = ended(qrec)
    assert (over.status, over.returncode, log(qrec)) == ("failed", 3, b"on\r\n")


@pytest.mark.parametrize(("remain", "code", "stays"), [("on", 0, True), ("failed", 0, False), ("failed", 2, True)])
def test_a_pane_stays_if_it_would_have(qrec, tmux, pane, tmp_path, remain, code, stays):
    tmux("new-session", "-d", "-s", "other", "sleep 600")
    tmux("set-option", "-g", "remain-on-exit", remain)
    place = pane(f"{HOLD}; exit {code}")
    adopt(qrec, "--tmux", "mine")
    (tmp_path / "go").touch()
    assert ended(qrec).returncode == code
    wait_until(lambda: tmux("show-options", "-p", "-t", place, check=False) == "")
    assert (place in tmux("list-panes", "-a", "-F", "#{pane_id}").split()) == stays
    assert tmux("show-hooks", "-p", "-t", place, check=False) == ""


def test_what_is_not_there(qrec, tmux, pane):
    """Nothing else is taken in its place."""
    pane("exec sleep 600")
    for name in ("other", "min", "mine:9", "mine:there", "mine:0.7", "%99", "@99", "$99"):
        told = qrec("adopt", "--tmux", name)
        assert (told.returncode, told.err) == (1, f"qrec: tmux has no session, window or pane {name!r}\n")
    assert qrec("ls", "--json").json == []


@pytest.mark.parametrize("which", ["twice", "ours", "piped", "dead"])
def test_what_is_refused(qrec, tmux, pane, which):
    place, name = pane("exec sleep 600"), "mine"
    if which == "twice":
        adopt(qrec, "--tmux", name)
        words = "recorded already, as task 1"
    elif which == "ours":
        qrec("run", "-e", "tmux", "sleep", "600", check=True)
        name, words = last(qrec).data["tmux"]["session"], "as task 1"
    elif which == "piped":
        tmux("pipe-pane", "-t", place, "cat >/dev/null")
        words = "pipe-pane"
    else:
        tmux("set-option", "-p", "-t", place, "remain-on-exit", "on")
        tmux("respawn-pane", "-k", "-t", place, "true")
        wait_until(lambda: tmux("display-message", "-p", "-t", place, "#{pane_dead}").strip() == "1")
        words = "ended"
    before = len(qrec("ls", "--json").json)
    told = qrec("adopt", "--tmux", name)
    assert told.returncode == 1
    assert words in told.err
    assert told.err.count("\n") == 1
    assert len(qrec("ls", "--json").json) == before


def test_another_server(qrec, tmux):
    tmux("-L", "aside", "new-session", "-d", "-s", "mine", "exec sleep 600")
    assert qrec("adopt", "--tmux", "mine").returncode == 1
    task = adopt(qrec, "--tmux", "mine", "--socket", "aside")
    assert task.data["tmux"]["socket"].endswith("/aside")
    qrec("cancel", check=True)
    tmux("-L", "aside", "kill-server", check=False)


# Shells that qrec opens


def tmux_sessions() -> list[str]:
    """The sessions there are; none where the server has gone with the last of them."""
    words = ["tmux", "list-sessions", "-F", "#{session_name}"]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout.split()


def test_a_session_without_a_command(qrec, tmux, tmp_path, kind):
    told = qrec("run", "tmux", "new-session", "-d", "-s", "work", "-P", check=True)
    assert told.out == "work:\n"
    task = last(qrec)
    assert told.err == f"[{task.uid}][running in tmux session work]\n"
    assert (task.status, task.argv) == ("running", ("tmux", "new-session", "-d", "-s", "work", "-P"))
    qrec("exec", "send", "--enter", "--", "echo $((6*7)); exit 5", check=True)
    over = ended(qrec)
    assert (over.status, over.returncode) == ("failed", 5)
    assert b"42\r\n" in log(qrec)
    wait_until(lambda: "work" not in tmux_sessions())
    qrec("rerun", check=True)
    assert (last(qrec).status, last(qrec).attempt) == ("running", 2)
    qrec("exec", "send", "--enter", "--", "exit", check=True)
    assert ended(qrec).status == "complete"


def test_a_refusal(qrec, tmux, old_server):
    told = qrec("run", "tmux", "new-session", "-d", "-s", "old")
    assert (told.returncode, last(qrec).status) == (1, "failed")
    assert told.err.startswith("duplicate session: old\n")


def test_in_this_terminal(qrec, tmux):
    line = [sys.executable, "-m", "qrec", "run", "tmux", "new-session", "-s", "here"]
    with Terminal(line, TERM="xterm") as terminal:
        terminal.wait_until(lambda: (found := qrec("ls", "--json").json) and found[0]["status"] == "running")
        terminal.wait_for(b"$ " if os.geteuid() else b"# ")  # as a person does, who types into what is seen
        terminal.send(b"echo $((6*7)); exit 6\r")
        assert terminal.end() == 6
    assert last(qrec).returncode == 6
    assert b"42\r\n" in log(qrec)


def test_left_in_this_terminal(qrec, tmux):
    line = [sys.executable, "-m", "qrec", "run", "tmux", "new-session", "-s", "here"]
    with Terminal(line, TERM="xterm") as terminal:
        terminal.wait_until(lambda: (found := qrec("ls", "--json").json) and found[0]["status"] == "running")
        tmux("detach-client", "-s", "here")
        terminal.wait_for(b"[running in tmux session here]")
        assert terminal.end() == 0
    assert last(qrec).status == "running"
