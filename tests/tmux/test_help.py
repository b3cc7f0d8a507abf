"""The examples in help texts that want a real tmux, or a process that runs."""

from __future__ import annotations

import shlex
import subprocess
import sys

from qrec.api import Qrec
from tests.helpers import wait_until
from tests.terminals import Terminal
from tests.test_help import EXAMPLES, action_examples
from tests.tmux.test_executor import has_clients


def test_what_runs_in_tmux_is_adopted(qrec, tmux, start):
    tmux("new-session", "-d", "-s", "work", "-n", "first", "sleep 600")
    tmux("new-window", "-d", "-t", "=work:1", "sleep 600")
    lines = [line for line in EXAMPLES[("adopt",)] if "--tmux" in line]
    assert len(lines) == 2
    for line in lines:
        qrec(*shlex.split(line)[1:], check=True)
        assert qrec("ls", "--json", "-n", "1").json[0]["status"] == "running"
        qrec("cancel", check=True)


def test_a_process_is_adopted(qrec, start):
    (line,) = (line for line in EXAMPLES[("adopt",)] if "--pid" in line)
    process = subprocess.Popen(["sleep", "600"])
    try:
        qrec(*shlex.split(line.replace("4242", str(process.pid)))[1:], check=True)
        assert qrec("ls", "--json").json[0]["status"] == "running"
    finally:
        process.kill()
        process.wait()


def test_the_actions_of_a_task_in_tmux(qrec, home, tmp_path, tmux):
    """The twelfth, which is also the last started; what ends it comes last."""
    door = Qrec()
    for _ in range(11):
        door.run(["true"], show=False, cwd=str(tmp_path))
    qrec("run", "-e", "tmux", "read first; read second; sleep 600", check=True)
    actions = [name for name in door.actions("tmux") if name not in ("attach", "cancel", "wait")]
    for line in [line for name in actions for line in action_examples(name)]:
        qrec(*shlex.split(line)[1:], check=True)
    for line in action_examples("attach"):
        with Terminal([sys.executable, "-m", "qrec", *shlex.split(line)[1:]], TERM="xterm") as terminal:
            wait_until(lambda: has_clients(qrec, 1), what="the terminal to show the session")
            tmux("detach-client", "-s", qrec("exec", "status", "--json").json["session"])
            assert terminal.end() == 0
    first, second = action_examples("cancel")
    qrec(*shlex.split(first)[1:], check=True)
    wait_until(lambda: qrec("ls", "--json", "-n", "1").json[0]["status"] == "cancelled")
    for line in action_examples("wait"):
        qrec(*shlex.split(line)[1:], check=True)
    assert "is cancelled" in qrec(*shlex.split(second)[1:]).err
