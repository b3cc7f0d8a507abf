"""Commands on another machine, which is this one, through a real sshd."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.dashboard.panels import rendered
from qrec.errors import Refused, WrongUsage
from qrec.task import Status
from qrec.testing.processes import wait_until

QREC = (sys.executable, "-m", "qrec")


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("QREC_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def door(home) -> Qrec:
    return Qrec(str(home))


@pytest.fixture
def begin(door, there, tmp_path):
    """Starts a line there, and waits until it runs."""

    def begin(line):
        task = door.run(there(f"echo $$ > pid; {line}"), show=False, detach=True)
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        return door.store.get(task.uid)

    return begin


def run(*words, **settings):
    return subprocess.run([*QREC, *words], capture_output=True, text=True, **settings)


# As without qrec


def test_it_passes_for_ssh(home, ssh):
    for line in ("echo out; echo err >&2; exit 3", "cat; true", "printf 'a\\0b'"):
        plain = subprocess.run([*ssh, line], capture_output=True, text=True, input="typed\n")
        done = run("run", "-q", *ssh, line, input="typed\n")
        assert (done.returncode, done.stdout, done.stderr) == (plain.returncode, plain.stdout, plain.stderr)


def test_what_is_recorded(home, ssh):
    run("run", "-q", *ssh, "echo", "two  words", check=True)
    got = json.loads(run("get", check=True).stdout)
    assert got["executor"] == "ssh"
    assert got["data"]["ssh"] == {"host": "box", "command": "echo two  words", "marked": True}
    assert got["data"]["cmd"] == [*ssh, "echo", "two  words"], "what was typed, and not what was run"
    assert got["data"]["output"] == ["two words\n"]


def test_a_line_for_the_shell(home, ssh):
    done = run("run", "-q", f"{' '.join(ssh)} echo hi | tr h H", check=True)
    assert done.stdout == "Hi\n"
    assert json.loads(run("get").stdout)["data"]["ssh"] == {"host": "box", "marked": False}
    assert "its processes carry no mark" in run("exec", "remote_status").stderr


def test_a_terminal_reaches_the_other_side(home, sshd):
    ours, theirs = pty.openpty()
    words = [*QREC, "run", "-q", "ssh", "-t", "-F", str(sshd.config), "box", "tty && echo yes"]
    process = subprocess.Popen(words, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True)
    os.close(theirs)
    said = b""
    try:
        while block := os.read(ours, 1000):
            said += block
    except OSError:
        pass  # how the end of a terminal is told
    assert process.wait() == 0
    assert b"/dev/pts/" in said
    assert b"yes" in said
    os.close(ours)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_as_it_ends_ssh(home, there, tmp_path, number):
    codes = []
    for before in ((), (*QREC, "run")):
        words = [*before, *there("touch ready; exec sleep 600")]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until((tmp_path / "ready").exists)
        process.send_signal(number)
        codes.append(process.wait())
        (tmp_path / "ready").unlink()
    assert codes[0] == codes[1]
    assert json.loads(run("get").stdout)["data"]["status"] in ("failed", "cancelled")


# The connection


def test_nobody_answers(home, sshd):
    done = run("run", "ssh", "-F", str(sshd.config), "nobody", "true")
    assert done.returncode == 255
    assert "no connection: ssh: connect to host 127.0.0.1 port 1: Connection refused" in done.stderr
    got = json.loads(run("get").stdout)["data"]
    assert (got["status"], got["ssh"]["lost"]) == ("failed", False)


def test_the_connection_is_lost(door, begin, sshd):
    task = begin("exec sleep 600")
    sshd.hang_up()
    (now,) = door.wait([task.uid])
    assert (now.status, now.returncode, now.data["ssh"]["lost"]) == (Status.FAILED, 255, True)
    assert now.data["reason"].startswith("the connection was lost: ")
    # it goes on, though it may have had no time yet to become what it is
    wait_until(
        lambda: [one["command"] for one in door.act(task.uid, "remote_status", timeout=60)["running"]] == ["sleep 600"]
    )
    assert door.act(task.uid, "end_remote", signal="KILL", timeout=60) == {"host": "box", "signalled": 1}
    wait_until(lambda: not door.act(task.uid, "remote_status", timeout=60)["running"])


def test_255_of_the_command_itself(door, there):
    task = door.run(there("echo mine >&2; exit 255"), show=False)
    assert (task.returncode, "lost" in task.data["ssh"]) == (255, False)
    assert "connection" not in task.data["reason"]


# What can be done


def test_where_it_runs(door, there, sshd):
    task = door.run(there("true"), show=False)
    told = door.act(task.uid, "where")
    assert (told["hostname"], told["identityfile"]) == ("127.0.0.1", str(sshd.folder / "user"))


def test_what_runs_there(door, begin, tmp_path):
    task = begin("until [ -e go ]; do sleep 0.02; done")
    pids = [one["pid"] for one in door.act(task.uid, "remote_status", timeout=60)["running"]]
    assert int((tmp_path / "pid").read_text()) in pids
    (tmp_path / "go").touch()
    assert [one.status for one in door.wait([task.uid])] == [Status.COMPLETE]
    told = door.act(task.uid, "remote_status", timeout=60)
    assert told["running"] == []
    assert "it has ended there" in told["note"]


def test_a_signal_for_the_other_side(door, begin, tmp_path):
    task = begin("trap 'exit 9' INT; touch ready; while :; do sleep 0.02; done")
    wait_until((tmp_path / "ready").exists)
    assert door.act(task.uid, "end_remote", signal="INT", timeout=60)["signalled"] >= 1
    assert [one.returncode for one in door.wait([task.uid])] == [9]
    with pytest.raises(WrongUsage, match="signal is one of TERM, INT, HUP, KILL"):
        door.act(task.uid, "end_remote", signal="STOP")


def test_trying_to_reconnect(door, there, sshd):
    task = door.run(there("true"), show=False)
    assert door.act(task.uid, "reconnect", timeout=60)["reached"] is True
    away = door.run(["ssh", "-F", str(sshd.config), "nobody", "true"], show=False)
    told = door.act(away.uid, "reconnect", tries=2, pause=0.0)
    assert (told["reached"], told["tries"]) == (False, 2)
    assert "Connection refused" in told["why"]
    with pytest.raises(Refused, match="Connection refused"):
        door.act(away.uid, "remote_status", timeout=60)


def test_options_are_flags(home, there):
    run("run", "-q", *there("true"), check=True)
    shown = run("exec", "end_remote", "--help", check=True).stdout
    assert "--signal [TERM|INT|HUP|KILL]" in shown
    assert "--timeout FLOAT" in shown
    assert json.loads(run("exec", "reconnect", "--tries", "3", "--pause", "0.1", "--json").stdout)["tries"] == 1


def test_the_panel(door, ssh):
    html = rendered(door, door.run([*ssh, "echo", "<b>&"], show=False))
    assert '<dd class="mono">box</dd>' in html
    assert "echo &lt;b&gt;&amp;" in html
