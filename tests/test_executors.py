"""The contract of executors, run over those that come with qrec; slurm's is in tests/slurm."""

from __future__ import annotations

import subprocess

import pytest

from qrec.executors.queue import QueueExecutor
from qrec.executors.shell import ShellExecutor
from qrec.executors.tmux import TmuxExecutor
from qrec.testing import ExecutorContract
from tests.helpers import environment


class TestShell(ExecutorContract):
    @pytest.fixture
    def kind(self):
        return ShellExecutor


class TestQueue(ExecutorContract):
    @pytest.fixture
    def kind(self):
        return QueueExecutor


class TestTmux(ExecutorContract):
    waits = False

    @pytest.fixture
    def kind(self):
        return TmuxExecutor

    @pytest.fixture
    def command(self):
        # One session stays: a server whose last one has just ended refuses the next that is asked for.
        subprocess.run(["tmux", "new-session", "-d", "exec sleep 3600"], check=True, env=environment())
        yield lambda line: ("tmux", "new-session", "-d", line)
        subprocess.run(["tmux", "kill-server"], capture_output=True, env=environment())
