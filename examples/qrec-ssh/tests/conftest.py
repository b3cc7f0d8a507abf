"""A real sshd on the loopback interface, with keys, a port and a configuration of its own."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
SERVER = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
AcceptEnv LC_*
"""
CLIENT = """\
Host box
    HostName 127.0.0.1
    Port {port}
Host nobody
    HostName 127.0.0.1
    Port 1
Host *
    IdentityFile {folder}/user
    IdentitiesOnly yes
    UserKnownHostsFile {folder}/known
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking no
    LogLevel ERROR
"""


class Sshd:
    """The server; `config` is the file for ssh's -F, in which it is called `box`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = folder / "config"
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True, capture_output=True
            )
        if os.geteuid() == 0:  # where a server of root's puts nothing, and will not start without
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        """On a port that is free."""
        for _ in range(10):
            port = self.port = free_port()
            (self.folder / "server").write_text(SERVER.format(port=port, folder=self.folder))
            self.config.write_text(CLIENT.format(port=port, folder=self.folder))
            with open(self.folder / "log", "ab") as log:
                process = subprocess.Popen(
                    [SSHD, "-D", "-e", "-f", str(self.folder / "server")], stderr=log, start_new_session=True
                )
            if answers(port, process):
                return process
        raise AssertionError((self.folder / "log").read_text())

    def sessions(self) -> list[int]:
        """The pids of all that it has started."""
        every = [(int(pid), parent_of(pid)) for pid in os.listdir("/proc") if pid.isdecimal()]
        found = [self.process.pid]
        for one in found:
            found += [pid for pid, parent in every if parent == one]
        return found[1:]

    def hang_up(self) -> None:
        """Cut every connection."""
        for pid in self.sessions():
            try:
                if Path(f"/proc/{pid}/comm").read_text().startswith("sshd"):
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    def orphans(self) -> list[int]:
        """The pids of what runs on after its connection was cut."""
        mark = f" 127.0.0.1 {self.port}\0".encode()
        return [int(pid) for pid in os.listdir("/proc") if pid.isdecimal() and mark in environment_of(pid)]

    def stop(self) -> None:
        """End it with all that it has started."""
        for pid in [*self.sessions(), self.process.pid, *self.orphans()]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def answers(port: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether it takes connections, and has not ended."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return True
    return False


def environment_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def parent_of(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One for all tests of a process."""
    if SSHD is None:
        pytest.skip("needs sshd")
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def ssh(sshd: Sshd) -> tuple[str, ...]:
    """The words before those for the other machine."""
    return ("ssh", "-F", str(sshd.config), "box")


@pytest.fixture
def there(ssh: tuple[str, ...], tmp_path: Path) -> Callable[[str], Sequence[str]]:
    """The words that have a line of sh run there, in tmp_path."""
    return lambda line: (*ssh, shlex.join(["sh", "-c", f"cd {shlex.quote(str(tmp_path))} || exit; {line}"]))
