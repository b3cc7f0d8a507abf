"""What every executor promises."""

import pytest
from qrec_ssh.executor import SshExecutor

from qrec.testing import ExecutorContract


class TestSsh(ExecutorContract):
    @pytest.fixture
    def kind(self):
        return SshExecutor

    @pytest.fixture
    def command(self, there):
        return there

    @pytest.fixture
    def claimed(self):
        return [
            "ssh box ls", "/usr/bin/ssh box ls", "ssh me@box -p 22 ls -l", "ssh -p22 -v box ls",
            "ssh -vvtti key box ls", "ssh -o 'ProxyCommand nc %h %p' box -- ls", "ssh -J a,b box 'a b'",
            "ssh -4 -- box ls", "ssh box 'x y' | wc", "ssh ssh://me@box:22 ls", "ssh -oA=b\\ c box ls",
        ]  # fmt: skip

    @pytest.fixture
    def unclaimed(self):
        return [
            "ssh", "ssh box", "ssh -p 22 box", "ssh -V", "ssh -Q cipher", "ssh -O exit box", "ssh-keygen -t x",
            "ssh -N -L 1:a:2 box", "ssh -W a:1 box", "sshfs box: here", "scp box:a b", "ssh box -v", "ssh -i 'a b' box",
        ]  # fmt: skip
