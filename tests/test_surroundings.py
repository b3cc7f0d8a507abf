"""What a record knows beside the output: usage over time, facts, reasons, secrets; of real runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from qrec.api import Qrec
from qrec.recorder import WORTHWHILE
from tests.helpers import Result, wait_until
from tests.terminals import Terminal

SPIN = "import time\nwhile time.process_time() < {}: pass"
#: Uses 0.6 s of CPU, and is there until it is told to go.
SPIN_AND_WAIT = SPIN.format(0.6) + "\nimport os\nwhile not os.path.exists('go'): time.sleep(0.02)"


def data(qrec, *words: str) -> dict[str, object]:
    found: dict[str, object] = qrec("get", *words).json["data"]
    return found


# Usage


def test_usage_of_the_whole_tree_with_what_left_it(kind, qrec, start, tmp_path):
    """A child with a session of its own, and a grandchild without parents: both are measured."""
    (tmp_path / "away.py").write_text("""
import os, time
def until(name):
    while not os.path.exists(name): time.sleep(0.02)
if os.fork() == 0:
    os.setsid()
    until("seen")
    if os.fork() == 0:
        x = bytearray(80_000_000)
        until("go")
    os._exit(0)
os.wait()
until("go")
""")
    runner = start("run", sys.executable, "away.py")
    wait_until(lambda: qrec("ls", "--json").json)

    def most(what: str) -> int:
        return max((point[what] for point in qrec("usage", "--json").json["points"]), default=0)

    wait_until(lambda: most("processes") == 2, 60)
    (tmp_path / "seen").touch()
    wait_until(lambda: most("memory") > 80_000_000, 60)
    (tmp_path / "go").touch()
    runner.wait(60)
    assert qrec("ls", "--json").json[0]["usage"]["memory"] > 80_000_000
    assert most("memory") > 80_000_000


def used(qrec) -> bool:
    """Whether it is known by now that the running command has used much."""
    shown = qrec("usage", "--json")
    return shown.returncode == 0 and any(point["cpu"] > 0.3 for point in shown.json["points"])


def test_usage_is_drawn(qrec, start, tmp_path):
    runner = start("run", sys.executable, "-c", SPIN_AND_WAIT)
    wait_until(lambda: used(qrec), 60)
    (tmp_path / "go").touch()
    assert runner.wait(60) == 0
    shown = qrec("usage").out
    assert "CPU, cores in use" in shown
    assert "memory" in shown
    assert data(qrec)["usage"]["cpu"] > 0.3  # type: ignore[index]
    assert "cpu" in qrec("ls", "--columns", "number,cpu,memory,command").out


def test_usage_of_a_running_task(qrec, start):
    start("run", sys.executable, "-c", SPIN.format(30))
    wait_until(lambda: qrec("ls", "--json").json)
    wait_until(lambda: qrec("usage", "--json").json["points"])


def test_usage_of_a_short_command(qrec):
    qrec("run", "true", check=True)
    shown = qrec("usage")
    assert "cpu" in shown.out
    took = qrec("ls", "--json").json[0]["seconds"]
    assert qrec("usage", "--json").json["points"] == [] or took >= WORTHWHILE  # on a machine that is busy


def test_usage_of_a_detached_command(qrec, tmp_path):
    qrec("run", "-d", sys.executable, "-c", SPIN_AND_WAIT, check=True)
    wait_until(lambda: used(qrec), 60)
    (tmp_path / "go").touch()
    qrec("wait", check=True)
    assert qrec("ls", "--json").json[0]["usage"]["cpu"] > 0.3
    assert qrec("usage", "--json").json["points"]


def test_usage_of_a_lost_command(qrec, start, tmp_path):
    runner = start("run", "sh", "-c", "echo $$ >pid; sleep 60")
    wait_until(lambda: qrec("ls", "--json").json)
    wait_until(lambda: (tmp_path / "pid").exists() and qrec("usage", "--json").json["points"])
    runner.kill()
    runner.wait()
    os.kill(int((tmp_path / "pid").read_text()), 9)
    wait_until(lambda: data(qrec)["status"] == "lost")
    assert data(qrec)["usage"]["memory"] > 0  # type: ignore[index]


# Facts


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder: Path = tmp_path / "repository"
    folder.mkdir()
    (folder / "file").write_text("one\n")
    for words in (["init", "-q", "-b", "work"], ["add", "."], ["commit", "-qm", "first"]):
        name = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *name, *words], cwd=folder, check=True)
    return folder


#: A command that is there until the git that was asked about its folder has ended.
UNTIL_ASKED = """
until [ -s "$ASKED" ]; do sleep 0.01; done
until grep -q "^State:.Z" "/proc/$(cat "$ASKED")/status"; do sleep 0.01; done
rm "$ASKED"
"""


@pytest.fixture
def noticed(tmp_path) -> dict[str, str]:
    """Variables with which `UNTIL_ASKED` hears of git."""
    folder = tmp_path / "noticed"
    folder.mkdir()
    (folder / "git").write_text(f'#!/bin/sh\necho $$ >"$ASKED"\nexec {shutil.which("git")} "$@"\n')
    (folder / "git").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}", "ASKED": str(tmp_path / "asked")}


def test_facts_of_a_clean_and_of_a_dirty_repository(kind, qrec, repository, noticed):
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True).stdout.strip()
    qrec("run", "sh", "-c", UNTIL_ASKED, cwd=repository, env=noticed, check=True)
    facts = data(qrec)["facts"]
    assert (facts["commit"], facts["branch"], facts["dirty"]) == (commit, "work", False)  # type: ignore[index]
    (repository / "file").write_text("two\n")
    qrec("run", "sh", "-c", UNTIL_ASKED, cwd=repository, env=noticed, check=True)
    assert data(qrec)["facts"]["dirty"] is True  # type: ignore[index]
    assert len(qrec("ls", "--commit", commit[:8], "--json").json) == 2
    exported = json.loads(qrec("export", "jsonl", "2").out)
    assert "-one\n+two\n" in exported["data"]["streams"]["1"]["patch"]


def test_facts_of_the_machine_and_the_environment(qrec):
    env = {"OMP_NUM_THREADS": "3", "WANDB_MODE": "offline", "SECRET_TOKEN": "x" * 20, "SLURM_JOB_ID": "42"}
    qrec("config", "set", "variables", "WANDB_*")
    qrec("run", "true", env=env, check=True)
    facts = data(qrec)["facts"]
    assert facts["environment"]["OMP_NUM_THREADS"] == "3"  # type: ignore[index]
    assert facts["environment"]["WANDB_MODE"] == "offline"  # type: ignore[index]
    assert "SECRET_TOKEN" not in facts["environment"]  # type: ignore[index]
    assert facts["slurm"]["SLURM_JOB_ID"] == "42"  # type: ignore[index]
    assert facts["cpus"] >= 1  # type: ignore[index]
    assert facts["memory"] > 10**8  # type: ignore[index]


# Reasons


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["sh", "-c", "exit 3"], "exit code 3"),
        (["sh", "-c", "kill -SEGV $$"], "killed by SIGSEGV"),
        (["no-such-command"], "command not found"),
        (["/etc/passwd"], "not executable"),
        (["--timeout", "100ms", "sleep", "9"], "time limit of 0.1 s"),
    ],
)
def test_the_reason_is_told_and_kept(kind, qrec, command, reason):
    ended = qrec("run", *command)
    assert data(qrec)["reason"] == reason
    assert reason in ended.err or reason == "exit code 3"


def test_out_of_memory_as_a_fake_counter_of_the_kernel_tells(kind, home, monkeypatch):
    killed = iter((3, 4))
    monkeypatch.setattr("qrec.recorder.oom_kills", lambda: next(killed))
    task = Qrec().run(["sh", "-c", "kill -KILL $$"])
    assert (task.returncode, task.data["reason"]) == (137, "killed by SIGKILL, out of memory")


def test_no_reason_for_what_went_well(qrec):
    qrec("run", "true", check=True)
    assert "reason" not in data(qrec)


# Secrets

TOKEN = "ghp_" + "a1B2" * 9


def stored(home: Path) -> bytes:
    """Everything in the home, whatever file it is in."""
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


def told_without(shown: Result, secret: str) -> bool:
    return shown.returncode == 0 and secret not in shown.out + shown.err


def test_secrets_in_words_run_and_are_not_stored(kind, qrec, home):
    shown = qrec("run", "-q", "echo", "--password=hunter22", "--token", TOKEN, check=True)
    assert shown.out == f"--password=hunter22 --token {TOKEN}\n"
    task = qrec("ls", "--json").json[0]
    assert task["argv"] == ["echo", "--password=[redacted]", "--token", "[redacted]"]
    assert task["data"]["redacted"] == 2


def test_secrets_never_reach_the_disk(kind, qrec, home):
    qrec("run", "-q", "true", "--password=hunter22", f"https://me:{TOKEN}@example.org", check=True)
    qrec("search", "true")
    assert b"hunter22" not in stored(home)
    assert TOKEN.encode() not in stored(home)


def test_secrets_of_a_line_for_the_shell(qrec):
    shown = qrec("run", "-q", f"API_TOKEN={TOKEN} sh -c 'echo $API_TOKEN'", check=True)
    assert shown.out == f"{TOKEN}\n"
    assert TOKEN not in qrec("ls", "--json").out


def test_output_is_exact_on_disk_and_covered_where_it_is_shown(kind, qrec):
    qrec("run", "-q", "sh", "-c", f"echo before; echo key {TOKEN} end; echo after", check=True)
    covered = f"before\nkey {'*' * len(TOKEN)} end\nafter\n"
    assert qrec("log").out == covered
    assert qrec("log", "-n", "2").out == "".join(covered.splitlines(keepends=True)[1:])
    assert told_without(qrec("get"), TOKEN)
    assert told_without(qrec("exec", "output"), TOKEN)
    assert told_without(qrec("export", "jsonl"), TOKEN)
    assert told_without(qrec("search", "before"), TOKEN)
    assert told_without(qrec("search", "key"), TOKEN)
    assert qrec("search", TOKEN, "--json").json == []
    assert TOKEN in qrec("--reveal", "log").out
    assert TOKEN in qrec("log", "--reveal").out
    assert TOKEN in qrec("--reveal", "get").out
    assert TOKEN in qrec("export", "jsonl", "--reveal").out
    assert len(qrec("search", TOKEN, "--reveal", "--json").json) == 1


def test_own_patterns(qrec):
    qrec("config", "set", "secrets", "PROJECT-[0-9]+")
    qrec("run", "-q", "echo", "PROJECT-123", "PROJECT-x", check=True)
    assert qrec("ls", "--json").json[0]["argv"] == ["echo", "[redacted]", "PROJECT-x"]
    assert qrec("log").out == "*********** PROJECT-x\n"


def test_a_wrong_pattern_of_the_users_stops_nothing(qrec, home):
    home.mkdir()
    (home / "config.toml").write_text('secrets = ["("]\n')
    ended = qrec("run", "echo", "yes")
    assert (ended.returncode, ended.out) == (0, "yes\n")
    assert "regular expression" in ended.err


@pytest.mark.parametrize("options", [[], ["--pty"]], ids=["pipe", "pty"])
def test_redacted_before_it_is_written(kind, qrec, home, options):
    script = f"import sys, time\nsys.stdout.write('key {TOKEN[:9]}')\nsys.stdout.flush()\ntime.sleep(0.1)\n"
    script += f"print('{TOKEN[9:]} end')"
    (home.parent / "talk.py").write_text(script)
    shown = qrec("run", "-q", "--redact-output", *options, sys.executable, "talk.py", check=True)
    assert shown.out == f"key {TOKEN} end\n"
    assert qrec("--reveal", "log").out == "key [redacted] end\n"
    assert data(qrec)["redacted_output"] == 1
    assert TOKEN.encode() not in stored(home)


def test_rerun_asks_for_what_is_missing(qrec):
    qrec("run", "-q", "echo", "--password=hunter22", check=True)
    refused = qrec("rerun")
    assert (refused.returncode, refused.err.count("\n")) == (1, 1)
    assert "terminal" in refused.err


def test_rerun_asks_at_the_terminal(qrec):
    qrec("run", "-q", "echo", "--password=hunter22", check=True)
    with Terminal([sys.executable, "-m", "qrec", "rerun"]) as terminal:
        terminal.wait_for(b"[redacted]")
        terminal.wait_until(lambda: not terminal.modes()[3] & termios.ECHO, "the terminal to hide what is typed")
        terminal.send(b"geheim77\n")
        assert terminal.end() == 0
        assert b"--password=geheim77\r\n" in terminal.seen
        assert terminal.seen.count(b"geheim77") == 1, "what is typed is not shown"
    assert qrec("ls", "--json").json[0]["argv"] == ["echo", "--password=[redacted]"]
    assert "geheim77" in qrec("--reveal", "log").out
