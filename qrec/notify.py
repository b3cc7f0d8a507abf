"""How processes of one home tell each other at once that the store has changed: a byte to each socket in a folder.

A byte carries nothing and allows nothing; whoever hears it looks at the store.  Who does not hear it, since it is on
another machine or the socket's buffer is full, looks now and then anyway.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

#: The folder of a home with a socket for each process that listens, HOST.PID.ID.sock.
NOTIFY = "notify"
#: Bytes that the address of a socket may have.
LONGEST_ADDRESS = 100


def tell_all(home: str) -> None:
    """Send a byte to whoever listens on this machine.  Waits for nobody, and never fails."""
    folder = os.path.join(home, NOTIFY)
    try:
        names = os.listdir(folder)
    except OSError:
        return  # nobody ever wanted to hear
    here = f"{os.uname().nodename}."
    if names := [name for name in names if name.startswith(here)]:
        send_all(folder, names)


def send_all(folder: str, names: Sequence[str]) -> None:
    """Send a byte to the sockets of these names; remove those of processes that are gone."""
    descriptor = -1
    try:
        from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_DGRAM, socket  # not `socket`, which takes milliseconds

        if len(os.fsencode(folder)) + max(map(len, names)) >= LONGEST_ADDRESS:
            descriptor = os.open(folder, os.O_RDONLY)
        mouth = socket(AF_UNIX, SOCK_DGRAM)
    except (ImportError, OSError):
        return
    where = folder if descriptor < 0 else f"/proc/self/fd/{descriptor}"
    for name in names:
        try:
            mouth.sendto(b"1", MSG_DONTWAIT, f"{where}/{name}")
        except ConnectionRefusedError:
            remove(f"{folder}/{name}")
        except OSError:
            pass  # it has enough to do already
    mouth.close()
    if descriptor >= 0:
        os.close(descriptor)


class Ear:
    """A socket in the home, to which whoever has changed the store sends a byte.  Making one raises OSError."""

    def __init__(self, home: str) -> None:
        import socket

        folder = os.path.join(home, NOTIFY)
        os.makedirs(folder, 0o700, exist_ok=True)
        self.path = os.path.join(folder, f"{os.uname().nodename}.{os.getpid()}.{id(self):x}.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        remove(self.path)
        self.socket.bind(self.address)
        self.outer, self.inner = socket.socketpair()
        for one in (self.socket, self.outer, self.inner):
            one.setblocking(False)
        os.chmod(self.path, 0o600)

    @property
    def address(self) -> str:
        """Its path, or another that is short enough for a socket's."""
        if len(os.fsencode(self.path)) < LONGEST_ADDRESS:
            return self.path
        return f"/proc/self/fd/{self.folder}/{os.path.basename(self.path)}"

    def fileno(self) -> int:
        """What can be read when somebody has sent a byte."""
        return self.socket.fileno()

    def hear(self, timeout: float | None) -> None:
        """Wait for a byte, or so many seconds; take whatever else has come."""
        import select

        select.select([self.socket, self.inner], [], [], timeout)
        self.drain()

    def drain(self) -> None:
        """Take what has come."""
        for one in (self.socket, self.inner):
            try:
                while one.recv(64):
                    pass
            except OSError:
                pass  # nothing more

    def wake(self) -> None:
        """Wake our own thread."""
        try:
            self.outer.send(b"1")
        except OSError:
            pass  # full, so it wakes anyway

    def leave(self) -> None:
        """Let nobody send any more, and wake our own thread, if it waits."""
        remove(self.path)
        self.wake()

    def close(self) -> None:
        """Hear nothing more; no thread of ours may be waiting."""
        self.leave()
        for one in (self.socket, self.outer, self.inner):
            one.close()
        os.close(self.folder)


def remove(path: str) -> None:
    """Remove a file that may be gone."""
    try:
        os.unlink(path)
    except OSError:
        pass
